/* The table of figures: each measured several times on one local cluster, medians beside their targets. */
#include "assent_bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

enum figure { PER_SECOND, P50_MS, P99_MS };

static const char *const figure_names[] = {[PER_SECOND] = "/s", [P50_MS] = "ms p50", [P99_MS] = "ms p99"};

/* A load, and what is expected of it.  A row with the same load as the one before reuses its runs. */
static const struct row {
    const char *what;
    void (*load)(const struct bench_options *, struct bench_result *);
    const char *op;
    uint32_t connections, pipeline;
    enum figure figure;
    double target;
    bool at_most;
} rows[] = {
    {"http tick, 1 connection", bench_http, "tick", 1, 0, P50_MS, 0.6, true},
    {"http tick, 64 connections", bench_http, "tick", 64, 0, PER_SECOND, 20000, false},
    {"http tick, 256 connections", bench_http, "tick", 256, 0, PER_SECOND, 25000, false},
    {"http tick, 256 connections", bench_http, "tick", 256, 0, P99_MS, 30, true},
    {"http current, 64 connections", bench_http, "current", 64, 0, PER_SECOND, 35000, false},
    {"native tick, pipelined", bench_native, "tick", 1, 4096, PER_SECOND, 100000, false},
    {"tso strict, libassent", bench_tso, "", 1, 16384, PER_SECOND, 2000000, false},
};
enum { ROWS = sizeof rows / sizeof rows[0] };

static double value_of(const struct bench_result *r, enum figure figure)
{
    switch (figure) {
    case PER_SECOND:
        return r->per_second;
    case P50_MS:
        return (double)histogram_at(&r->latency, 0.5) / 1e6;
    case P99_MS:
        return (double)histogram_at(&r->latency, 0.99) / 1e6;
    }
    return 0;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, uint32_t n)
{
    qsort(values, n, sizeof values[0], by_size);
    return n % 2 != 0 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static bool print_row(const struct bench_options *o, const char *what, double measured, double target,
                      bool at_most, const char *unit, uint64_t errors)
{
    bool good = (at_most ? measured <= target : measured >= target) && errors == 0;
    if (o->json) {
        printf(
            "{\"figure\":\"%s\",\"unit\":\"%s\",\"target\":%g,\"measured\":%g,\"errors\":%llu,\"met\":%s}\n",
            what, unit, target, measured, (unsigned long long)errors, good ? "true" : "false");
    } else {
        printf("| %-36s | %s %10.6g %-6s | %12.6g | %6llu | %-6s |\n", what, at_most ? "<=" : ">=", target,
               unit, measured, (unsigned long long)errors, good ? "yes" : "NO");
    }
    return good;
}

/* A figure without a target: a peer's, or one to be read beside others. */
static void print_plain_row(const struct bench_options *o, const char *what, double measured,
                            const char *unit, uint64_t errors, const char *note)
{
    if (o->json) {
        printf("{\"%s\":\"%s\",\"unit\":\"%s\",\"measured\":%g,\"errors\":%llu}\n",
               note[0] != '\0' ? note : "figure", what, unit, measured, (unsigned long long)errors);
    } else {
        printf("| %-36s |    %10s %-6s | %12.6g | %6llu | %-6s |\n", what, "", unit, measured,
               (unsigned long long)errors, note);
    }
}

static void print_machine(void)
{
    char line[256], model[200] = "unknown";
    struct utsname kernel;
    uname(&kernel);
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, "model name : %199[^\n]", model) == 1) {
            break;
        }
    }
    if (f != NULL) {
        fclose(f);
    }
    printf("machine: %ld cores, %s, %s %s; three nodes and the load share them\n",
           sysconf(_SC_NPROCESSORS_ONLN), model, kernel.sysname, kernel.release);
}

/* What the clock that every tick advances stands at; 0 when nobody answers. */
static uint64_t clock_value(struct bench_cluster *c)
{
    char body[1024];
    unsigned long long value = 0;
    int leader = cluster_leader(c, 10000);
    if (leader >= 0 && bench_request(c->nodes[leader].http.text, "GET", "/api/v1/lamport/current?clock=bench",
                                     "", 10000, body, sizeof body) == 200) {
        const char *at = strstr(body, "\"value\":");
        (void)(at != NULL && sscanf(at, "\"value\":%llu", &value) == 1);
    }
    return value;
}

/* Run a row's load.  A tick that was answered but is not in the clock would be an error, and the worst of
 * all. */
static void run_checked(const struct row *row, const struct bench_options *o, struct bench_cluster *c,
                        struct bench_result *r)
{
    uint64_t before = clock_value(c);
    row->load(o, r);
    uint64_t counted = clock_value(c) - before;
    if (strcmp(row->op, "tick") == 0 && !bench_stopped() && counted < r->done) {
        fprintf(stderr, "assent-bench: %llu ticks were answered, the clock moved by %llu\n",
                (unsigned long long)r->done, (unsigned long long)counted);
        r->errors += r->done - counted;
    }
}

/* Both addresses of one row's load are in the cluster; the load finds the leader. */
static bool run_rows(const struct bench_options *o, struct bench_cluster *c)
{
    static struct bench_result results[BENCH_RUNS_MAX];
    bool good = true;
    for (int i = 0; i < ROWS && !bench_stopped(); i++) {
        const struct row *row = &rows[i];
        bool again = i > 0 && row->load == rows[i - 1].load && row->connections == rows[i - 1].connections &&
                     strcmp(row->op, rows[i - 1].op) == 0;
        double values[BENCH_RUNS_MAX];
        uint64_t errors = 0;
        for (uint32_t run = 0; run < o->runs && !bench_stopped(); run++) {
            struct bench_options load = *o;
            load.op = row->op;
            load.connections = row->connections;
            load.pipeline = row->pipeline;
            load.endpoints = row->load == bench_http ? c->http_list : c->native_list;
            if (!again) {
                run_checked(row, &load, c, &results[run]);
            }
            values[run] = value_of(&results[run], row->figure);
            errors += results[run].errors;
        }
        if (!bench_stopped()) {
            good &= print_row(o, row->what, median(values, o->runs), row->target, row->at_most,
                              figure_names[row->figure], errors);
        }
    }
    return good;
}

/* ---- transactions ---- */

/* Every mode with 64 clients, two branches each where there are any. */
static const struct txn_row {
    const char *op, *what;
    double per_second_min, p99_ms_max; /* 0: no target of its own */
} txn_rows[] = {
    {"saga", "saga, 2 calls, submit to COMMITTED", 4000, 60},
    {"dtm-saga", "saga, DTM's door, wait_result", 4000, 60},
    {"saga-empty", "saga, nothing to call", 12000, 0},
    {"message", "message, 2 deliveries", 0, 0},
    {"tcc", "TCC, begin, commit, 2 confirms", 0, 0},
    {"xa", "XA, begin, commit, 2 commits", 0, 0},
};

static bool print_txn(const struct bench_options *o, const struct txn_row *row,
                      const struct txn_result *results)
{
    double per_second[BENCH_RUNS_MAX], p99_ms[BENCH_RUNS_MAX], entries[BENCH_RUNS_MAX];
    double commands[BENCH_RUNS_MAX];
    uint64_t errors = 0;
    char what[64];
    bool good = true;
    for (uint32_t i = 0; i < o->runs; i++) {
        per_second[i] = results[i].r.per_second;
        p99_ms[i] = value_of(&results[i].r, P99_MS);
        entries[i] = results[i].entries;
        commands[i] = results[i].commands;
        errors += results[i].r.errors;
    }
    good &= print_row(o, row->what, median(per_second, o->runs), row->per_second_min, false, "/s", errors);
    if (row->p99_ms_max > 0) {
        snprintf(what, sizeof what, "%s, p99", row->op);
        good &= print_row(o, what, median(p99_ms, o->runs), row->p99_ms_max, true, "ms p99", errors);
    }
    double entries_max, commands_max;
    bench_txn_limits(row->op, &entries_max, &commands_max);
    snprintf(what, sizeof what, "%s, entries each", row->op);
    good &= print_row(o, what, median(entries, o->runs), entries_max, true, "", errors);
    snprintf(what, sizeof what, "%s, commands each", row->op);
    good &= print_row(o, what, median(commands, o->runs), commands_max, true, "", errors);
    return good;
}

static bool run_txn_rows(const struct bench_options *o, struct bench_cluster *c)
{
    static struct txn_result results[BENCH_RUNS_MAX];
    bool good = true;
    struct participant *p = participant_new();
    participant_up(p);
    for (size_t i = 0; i < sizeof txn_rows / sizeof txn_rows[0] && !bench_stopped(); i++) {
        for (uint32_t run = 0; run < o->runs && !bench_stopped(); run++) {
            struct bench_options load = *o;
            load.op = txn_rows[i].op;
            load.connections = 64;
            bench_txn(&load, c, p, &results[run]);
            if (o->verbose) {
                bench_txn_print(&load, &results[run]);
            }
        }
        if (!bench_stopped()) {
            good &= print_txn(o, &txn_rows[i], results);
        }
    }
    participant_free(p);
    return good;
}

/* Once each, on clusters of their own: what they leave behind would be in the other figures. */
static bool run_backlog_rows(const struct bench_options *o)
{
    static struct backlog_result b;
    struct bench_options load = *o;
    char what[64];
    load.transactions = o->transactions != 0 ? o->transactions : 100000;
    struct bench_cluster *c = cluster_start(o);
    bench_backlog(&load, c, &b);
    cluster_stop(c);
    bool good = true;
    snprintf(what, sizeof what, "beside %u due, participant down", load.transactions);
    good &= print_row(o, what, value_of(&b.beside_down, P99_MS), 200, true, "ms p99", b.beside_down.errors);
    good &= print_row(o, "the same, it is back", value_of(&b.beside_back, P99_MS), 200, true, "ms p99",
                      b.beside_back.errors);
    good &= print_row(o, "the backlog is worked off", b.worked_off_s, 60, true, "s", b.left);
    good &= print_row(o, "leader meanwhile, not of files", (double)b.anonymous / 1e6, 200, true, "MB", 0);
    return good;
}

static bool run_listing_rows(const struct bench_options *o)
{
    static struct txn_result filled;
    struct bench_options load = *o;
    char what[64];
    double worst_ms;
    load.transactions = o->transactions != 0 ? o->transactions : 1000000;
    struct bench_cluster *c = cluster_start(o);
    double ms = bench_listing(&load, c, &filled, &worst_ms);
    cluster_stop(c);
    snprintf(what, sizeof what, "page by status of %u", load.transactions);
    return print_row(o, what, ms, 50, true, "ms p50", filled.r.errors);
}

/* The same load on the peer; figures to stand beside ours, without a target. */
static void print_peer(const struct bench_options *o)
{
    static const struct {
        const char *what;
        uint32_t connections;
        enum figure figure;
    } peer_rows[] = {
        {"etcd put, 1 connection", 1, P50_MS},
        {"etcd put, 64 connections", 64, PER_SECOND},
        {"etcd put, 64 connections", 64, P99_MS},
    };
    static struct bench_result results[BENCH_RUNS_MAX];
    struct bench_address leader;
    if (!etcd_installed()) {
        fprintf(stderr, "no etcd here to compare with (Debian: etcd-server)\n");
        return;
    }
    if (!etcd_start(&leader)) {
        fprintf(stderr, "etcd did not elect a leader; no comparison\n");
        etcd_stop();
        return;
    }
    for (size_t i = 0; i < sizeof peer_rows / sizeof peer_rows[0] && !bench_stopped(); i++) {
        double values[BENCH_RUNS_MAX];
        uint64_t errors = 0;
        for (uint32_t run = 0; run < o->runs && !bench_stopped(); run++) {
            struct bench_options load = *o;
            load.op = "etcd-put";
            load.spread = true;
            load.endpoints = leader.text;
            load.connections = peer_rows[i].connections;
            if (i == 0 || peer_rows[i - 1].connections != load.connections) {
                bench_http(&load, &results[run]);
            }
            values[run] = value_of(&results[run], peer_rows[i].figure);
            errors += results[run].errors;
        }
        if (!bench_stopped()) {
            print_plain_row(o, peer_rows[i].what, median(values, o->runs), figure_names[peer_rows[i].figure],
                            errors, "peer");
        }
    }
    etcd_stop();
}

static void print_head(const struct bench_options *o)
{
    if (o->json) {
        return;
    }
    print_machine();
    printf(
        "%u runs of %g s each, medians; default durability; HTTP/JSON, one replicated write per request\n\n",
        o->runs, o->seconds);
    printf(
        "| figure                               | target               |     measured | errors | met    |\n"
        "|--------------------------------------|----------------------|--------------|--------|--------|\n");
}

static bool run_many_rows(const struct bench_options *o)
{
    bool good = true;
    if (!bench_stopped()) {
        good &= run_backlog_rows(o);
    }
    if (!bench_stopped()) {
        good &= run_listing_rows(o);
    }
    return good;
}

bool bench_transactions(const struct bench_options *o)
{
    print_head(o);
    struct bench_cluster *c = cluster_start(o);
    bool good = run_txn_rows(o, c);
    cluster_stop(c);
    return good & run_many_rows(o);
}

bool bench_all(const struct bench_options *o)
{
    static struct bench_result failover;
    uint64_t anonymous;
    struct bench_cluster *c = cluster_start(o);
    uint64_t idle = bench_idle(o, c, &anonymous);
    print_head(o);
    bool good = run_rows(o, c);
    good &= run_txn_rows(o, c);
    if (!bench_stopped()) {
        bench_failover(o, c, &failover);
    }
    if (!bench_stopped()) {
        good &= print_row(o, "kill -9 to the next write", (double)histogram_at(&failover.latency, 0.99) / 1e9,
                          1.5, true, "s p99", failover.errors);
        good &= print_row(o, "idle node, resident", (double)idle / 1e6, 30, true, "MB", 0);
    }
    cluster_stop(c);
    good &= run_many_rows(o);
    print_peer(o);
    return good;
}
