/* assent-bench: figures of a running cluster, or of one it starts itself.  Loopback only: a load generator is
 * a weapon elsewhere. */
#include "assent_bench.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static volatile sig_atomic_t stopped;

static void on_signal(int signal)
{
    stopped = signal;
}

bool bench_stopped(void)
{
    return stopped != 0;
}

uint64_t bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void bench_sleep_ms(uint32_t ms)
{
    for (uint32_t left = ms; left > 0 && !bench_stopped();) {
        uint32_t step = left < 50 ? left : 50;
        nanosleep(&(struct timespec){.tv_nsec = (long)step * 1000000}, NULL);
        left -= step;
    }
}

void bench_die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("assent-bench: ", stderr);
    vfprintf(stderr, format, args);
    fputs("\n", stderr);
    va_end(args);
    exit(1); /* atexit() stops clusters */
}

/* ---- histogram ---- */

void histogram_add(struct histogram *h, uint64_t ns)
{
    uint32_t exponent =
        ns < (1u << HISTOGRAM_SUB_BITS) ? 0 : 63 - (uint32_t)__builtin_clzll(ns) - HISTOGRAM_SUB_BITS + 1;
    uint64_t sub = exponent == 0 ? ns : (ns >> (exponent - 1)) & ((1u << HISTOGRAM_SUB_BITS) - 1);
    h->buckets[((uint64_t)exponent << HISTOGRAM_SUB_BITS) | sub]++;
    h->n++;
    h->max = ns > h->max ? ns : h->max;
}

/* Largest value that falls into a bucket. */
static uint64_t bucket_top(uint64_t i)
{
    uint64_t exponent = i >> HISTOGRAM_SUB_BITS, sub = i & ((1u << HISTOGRAM_SUB_BITS) - 1);
    if (exponent == 0) {
        return sub;
    }
    return (((1ull << HISTOGRAM_SUB_BITS) | sub) << (exponent - 1)) + (1ull << (exponent - 1)) - 1;
}

uint64_t histogram_at(const struct histogram *h, double q)
{
    uint64_t want = (uint64_t)(q * (double)h->n + 0.999999), seen = 0;
    for (uint64_t i = 0; i < sizeof h->buckets / sizeof h->buckets[0]; i++) {
        seen += h->buckets[i];
        if (seen >= want && seen > 0) {
            return bucket_top(i) < h->max ? bucket_top(i) : h->max;
        }
    }
    return h->max;
}

void bench_print(const struct bench_options *o, const char *what, const struct bench_result *r)
{
    const struct histogram *h = &r->latency;
    double us[] = {(double)histogram_at(h, 0.5) / 1e3, (double)histogram_at(h, 0.99) / 1e3,
                   (double)histogram_at(h, 0.999) / 1e3, (double)h->max / 1e3};
    if (o->json) {
        printf("{\"bench\":\"%s\",\"perSecond\":%.0f,\"done\":%llu,\"units\":%llu,\"errors\":%llu,"
               "\"seconds\":%.3f,"
               "\"p50Us\":%.1f,\"p99Us\":%.1f,\"p999Us\":%.1f,\"maxUs\":%.1f}\n",
               what, r->per_second, (unsigned long long)r->done, (unsigned long long)r->units,
               (unsigned long long)r->errors, r->seconds, us[0], us[1], us[2], us[3]);
        return;
    }
    printf("%-28s %11.0f/s  p50 %8.3f ms  p99 %8.3f ms  p99.9 %8.3f ms  max %8.3f ms  errors %llu\n", what,
           r->per_second, us[0] / 1e3, us[1] / 1e3, us[2] / 1e3, us[3] / 1e3, (unsigned long long)r->errors);
}

/* ---- command line ---- */

static const char usage[] =
    "usage: assent-bench http|native|tso|txn|backlog|listing|failover|idle|transactions|all [options]\n"
    "  http      HTTP/1.1 keep-alive load on --endpoints (HTTP addresses)\n"
    "  native    pipelined commands on --endpoints (native addresses)\n"
    "  tso       strict timestamps through libassent on --endpoints (native addresses)\n"
    "  txn       whole transactions of --op against a participant, on a cluster of our own\n"
    "  backlog   --transactions due at once for a participant that is down, and then back; others beside "
    "them\n"
    "  listing   pages by status among --transactions finished ones\n"
    "  failover  start a cluster, kill -9 its leader --kills times, time to the first write elsewhere\n"
    "  idle      start a cluster, resident memory of its nodes after --duration of silence\n"
    "  transactions  the rows of `all` that are about transactions\n"
    "  all       start a cluster and print the table of figures with targets, --runs each\n"
    "http, native and tso start a cluster of their own when --endpoints is not given.\n"
    "  --endpoints LIST   host:port,host:port (loopback only); the leader is found among them\n"
    "  --spread           use all endpoints, not the leader's alone (http)\n"
    "  --connections N    default 64 (native: 1)\n"
    "  --pipeline N       unanswered commands in all (native), waiting callers (tso); default 1024\n"
    "  --op NAME          http: tick current sync sequence vector tso begin livez; native: tick current;\n"
    "                     txn: saga saga-concurrent saga-empty message message-prepared tcc xa dtm-saga\n"
    "  --count N          timestamps per call (tso); default 1\n"
    "  --duration S       seconds measured, default 5\n"
    "  --warmup S         seconds before that, default 1\n"
    "  --transactions N   backlog 100000, listing 1000000; txn: end after so many\n"
    "  --kills N          default 20\n"
    "  --runs N           default 3\n"
    "  --assentd PATH     program of local clusters; default: beside this one in the build directory\n"
    "  --keep             keep the directory of a local cluster\n"
    "  --json             one JSON object per line\n";

enum {
    OPT_ENDPOINTS = 256,
    OPT_SPREAD,
    OPT_CONNECTIONS,
    OPT_PIPELINE,
    OPT_OP,
    OPT_COUNT,
    OPT_DURATION,
    OPT_WARMUP,
    OPT_KILLS,
    OPT_TRANSACTIONS,
    OPT_RUNS,
    OPT_ASSENTD,
    OPT_KEEP,
    OPT_JSON,
    OPT_VERBOSE,
    OPT_HELP
};

static const struct option options[] = {
    {"endpoints", required_argument, NULL, OPT_ENDPOINTS},
    {"spread", no_argument, NULL, OPT_SPREAD},
    {"connections", required_argument, NULL, OPT_CONNECTIONS},
    {"pipeline", required_argument, NULL, OPT_PIPELINE},
    {"op", required_argument, NULL, OPT_OP},
    {"count", required_argument, NULL, OPT_COUNT},
    {"duration", required_argument, NULL, OPT_DURATION},
    {"warmup", required_argument, NULL, OPT_WARMUP},
    {"transactions", required_argument, NULL, OPT_TRANSACTIONS},
    {"kills", required_argument, NULL, OPT_KILLS},
    {"runs", required_argument, NULL, OPT_RUNS},
    {"assentd", required_argument, NULL, OPT_ASSENTD},
    {"keep", no_argument, NULL, OPT_KEEP},
    {"json", no_argument, NULL, OPT_JSON},
    {"verbose", no_argument, NULL, OPT_VERBOSE},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

static double number(const char *name, const char *text, double min, double max)
{
    char *end;
    errno = 0;
    double v = strtod(text, &end);
    if (errno != 0 || end == text || *end != '\0' || !(v >= min && v <= max)) {
        bench_die("--%s takes a number from %g to %g", name, min, max);
    }
    return v;
}

static void parse(struct bench_options *o, int argc, char **argv)
{
    int opt;
    while ((opt = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        switch (opt) {
        case OPT_ENDPOINTS:
            o->endpoints = optarg;
            break;
        case OPT_SPREAD:
            o->spread = true;
            break;
        case OPT_CONNECTIONS:
            o->connections = (uint32_t)number("connections", optarg, 1, BENCH_CONNECTIONS_MAX);
            break;
        case OPT_PIPELINE:
            o->pipeline = (uint32_t)number("pipeline", optarg, 1, BENCH_PIPELINE_MAX);
            break;
        case OPT_OP:
            o->op = optarg;
            break;
        case OPT_COUNT:
            o->count = (uint32_t)number("count", optarg, 1, 1 << 18);
            break;
        case OPT_DURATION:
            o->seconds = number("duration", optarg, 0.1, BENCH_SECONDS_MAX);
            break;
        case OPT_WARMUP:
            o->warmup_seconds = number("warmup", optarg, 0, BENCH_SECONDS_MAX);
            break;
        case OPT_TRANSACTIONS:
            o->transactions = (uint32_t)number("transactions", optarg, 1, 1e8);
            break;
        case OPT_KILLS:
            o->kills = (uint32_t)number("kills", optarg, 1, BENCH_KILLS_MAX);
            break;
        case OPT_RUNS:
            o->runs = (uint32_t)number("runs", optarg, 1, BENCH_RUNS_MAX);
            break;
        case OPT_ASSENTD:
            o->assentd = optarg;
            break;
        case OPT_KEEP:
            o->keep = true;
            break;
        case OPT_JSON:
            o->json = true;
            break;
        case OPT_VERBOSE:
            o->verbose = true;
            break;
        case OPT_HELP:
            fputs(usage, stdout);
            exit(0);
        default:
            fputs(usage, stderr);
            exit(2);
        }
    }
}

/* Run a load, on a cluster of our own when none was named. */
static void run_load(struct bench_options *o, const char *what, bool native,
                     void (*load)(const struct bench_options *, struct bench_result *))
{
    static struct bench_result r;
    struct bench_cluster *c = NULL;
    if (o->endpoints == NULL) {
        c = cluster_start(o);
        o->endpoints = native ? c->native_list : c->http_list;
    }
    load(o, &r);
    char name[64];
    snprintf(name, sizeof name, "%s %s", what, o->op != NULL ? o->op : "");
    bench_print(o, name, &r);
    cluster_stop(c);
}

static int run_txn(struct bench_options *o)
{
    static struct txn_result t;
    o->op = o->op != NULL ? o->op : "saga";
    struct bench_cluster *c = cluster_start(o);
    struct participant *p = participant_new();
    participant_up(p);
    bench_txn(o, c, p, &t);
    bench_txn_print(o, &t);
    participant_free(p);
    cluster_stop(c);
    double entries, commands;
    bench_txn_limits(o->op, &entries, &commands);
    bool shared = o->connections < 64 || (t.entries <= entries && t.commands <= commands);
    return t.r.errors == 0 && shared ? 0 : 1;
}

static int run_backlog(struct bench_options *o)
{
    static struct backlog_result b;
    struct bench_cluster *c = cluster_start(o);
    o->transactions = o->transactions != 0 ? o->transactions : 100000;
    bench_backlog(o, c, &b);
    bench_print(o, "beside it, down", &b.beside_down);
    bench_print(o, "beside it, back", &b.beside_back);
    printf(o->json
               ? "{\"bench\":\"backlog\",\"transactions\":%u,\"acceptedPerSecond\":%.0f,\"workedOffS\":%.1f,"
                 "\"residentBytes\":%llu,\"anonymousBytes\":%llu,\"left\":%llu}\n"
               : "backlog of %u: accepted at %.0f/s, worked off %.1f s after the participant's return; "
                 "leader %llu "
                 "bytes resident, %llu of them not mapped from files; %llu left\n",
           o->transactions, b.accepted_per_second, b.worked_off_s, (unsigned long long)b.resident,
           (unsigned long long)b.anonymous, (unsigned long long)b.left);
    cluster_stop(c);
    return b.left == 0 && b.beside_down.errors + b.beside_back.errors == 0 ? 0 : 1;
}

static int run_listing(struct bench_options *o)
{
    static struct txn_result filled;
    double worst_ms;
    struct bench_cluster *c = cluster_start(o);
    o->transactions = o->transactions != 0 ? o->transactions : 1000000;
    double ms = bench_listing(o, c, &filled, &worst_ms);
    printf(o->json ? "{\"bench\":\"listing\",\"transactions\":%u,\"pageMs\":%.3f,\"worstMs\":%.3f,"
                     "\"filledPerSecond\":%.0f}\n"
                   : "listing among %u finished: %.3f ms a page, %.3f ms the worst; filled at %.0f/s\n",
           o->transactions, ms, worst_ms, filled.r.per_second);
    cluster_stop(c);
    return ms > 0 ? 0 : 1;
}

static int run_failover(const struct bench_options *o)
{
    static struct bench_result r;
    struct bench_cluster *c = cluster_start(o);
    bench_failover(o, c, &r);
    bench_print(o, "failover", &r);
    cluster_stop(c);
    return r.errors == 0 ? 0 : 1;
}

static int run_idle(const struct bench_options *o)
{
    uint64_t anonymous;
    struct bench_cluster *c = cluster_start(o);
    uint64_t resident = bench_idle(o, c, &anonymous);
    printf(o->json ? "{\"bench\":\"idle\",\"residentBytes\":%llu,\"anonymousBytes\":%llu}\n"
                   : "idle: %llu bytes resident in the largest node, %llu of them not mapped from files\n",
           (unsigned long long)resident, (unsigned long long)anonymous);
    cluster_stop(c);
    return 0;
}

int main(int argc, char **argv)
{
    struct bench_options o = {
        .pipeline = 1024, .count = 1, .kills = 20, .runs = 3, .seconds = 5, .warmup_seconds = 1};
    const char *command = argc > 1 ? argv[1] : "--help";
    bool native = strcmp(command, "native") == 0;
    o.connections = native ? 1 : 64;
    parse(&o, argc - (command[0] != '-'), argv + (command[0] != '-'));
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    int rc = 0;
    if (strcmp(command, "http") == 0 || native) {
        o.op = o.op != NULL ? o.op : "tick";
        run_load(&o, command, native, native ? bench_native : bench_http);
    } else if (strcmp(command, "tso") == 0) {
        run_load(&o, command, true, bench_tso);
    } else if (strcmp(command, "txn") == 0) {
        rc = run_txn(&o);
    } else if (strcmp(command, "backlog") == 0) {
        rc = run_backlog(&o);
    } else if (strcmp(command, "listing") == 0) {
        rc = run_listing(&o);
    } else if (strcmp(command, "failover") == 0) {
        rc = run_failover(&o);
    } else if (strcmp(command, "idle") == 0) {
        rc = run_idle(&o);
    } else if (strcmp(command, "transactions") == 0) {
        rc = bench_transactions(&o) ? 0 : 1;
    } else if (strcmp(command, "all") == 0) {
        rc = bench_all(&o) ? 0 : 1;
    } else {
        fputs(usage, stderr);
        rc = 2;
    }
    return bench_stopped() ? 130 : rc;
}
