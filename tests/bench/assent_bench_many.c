/* What many transactions do to a cluster: a backlog that is due all at once, and pages of a long list. */
#include "assent_bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLICE_S    0.5
#define PATIENCE_S 300
#define PAGE_ROWS  100
#define PAGE_RUNS  25
#define BODY_BYTES (1024 * 1024)

/* Transactions of the cluster in that mode and status, by the leader's metrics. */
static uint64_t count_of(struct bench_cluster *c, const char *status)
{
    static char page[256 * 1024];
    char line[128];
    int leader = cluster_leader(c, 10000);
    if (leader < 0 ||
        bench_request(c->nodes[leader].http.text, "GET", "/metrics", "", 10000, page, sizeof page) != 200)
        bench_die("the leader gives no metrics");
    snprintf(line, sizeof line, "\nassent_transactions{mode=\"SAGA\",status=\"%s\"} ", status);
    const char *at = strstr(page, line);
    return at != NULL ? strtoull(at + strlen(line), NULL, 10) : 0;
}

static void take_resident(struct bench_cluster *c, struct backlog_result *out)
{
    uint64_t anonymous, resident;
    int leader = cluster_leader(c, 10000);
    if (leader < 0)
        return;
    resident = cluster_resident(c, leader, &anonymous);
    out->resident = resident > out->resident ? resident : out->resident;
    out->anonymous = anonymous > out->anonymous ? anonymous : out->anonymous;
}

/* Other transactions, for another participant, in slices that are added up. */
static void beside(const struct bench_options *o, struct bench_cluster *c, struct participant *p,
                   double seconds, struct bench_result *sum)
{
    static struct txn_result slice;
    struct bench_options load = *o;
    load.op = "saga";
    load.connections = 16;
    load.transactions = 0;
    load.warmup_seconds = 0;
    load.seconds = seconds;
    bench_txn(&load, c, p, &slice);
    const struct histogram *h = &slice.r.latency;
    for (size_t i = 0; i < sizeof h->buckets / sizeof h->buckets[0]; i++)
        sum->latency.buckets[i] += h->buckets[i];
    sum->latency.n += h->n;
    sum->latency.max = h->max > sum->latency.max ? h->max : sum->latency.max;
    sum->done += slice.r.done;
    sum->errors += slice.r.errors;
    sum->seconds += slice.r.seconds;
    sum->units = sum->done;
    sum->per_second = (double)sum->done / sum->seconds;
}

void bench_backlog(const struct bench_options *o, struct bench_cluster *c, struct backlog_result *out)
{
    static struct txn_result accepted;
    struct participant *down = participant_new(), *up = participant_new();
    struct bench_options load = *o;
    memset(out, 0, sizeof *out);
    participant_up(up);
    load.op = "saga-submit";
    load.connections = 64;
    load.warmup_seconds = 0;
    load.seconds = BENCH_SECONDS_MAX;
    bench_txn(&load, c, down, &accepted);
    out->accepted_per_second = accepted.r.per_second;
    take_resident(c, out);
    beside(o, c, up, o->seconds, &out->beside_down);
    take_resident(c, out);
    participant_up(down);
    uint64_t start = bench_now();
    do {
        beside(o, c, up, SLICE_S, &out->beside_back);
        take_resident(c, out);
        out->left = count_of(c, "RUNNING");
        out->worked_off_s = (double)(bench_now() - start) / 1e9;
    } while (out->left > 0 && out->worked_off_s < PATIENCE_S && !bench_stopped());
    participant_free(up);
    participant_free(down);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median time of a first page of that status, which has `want` rows; the worst of all goes to `worst_ms`. */
static double pages(struct bench_cluster *c, const char *status, uint32_t want, double *worst_ms)
{
    static char body[BODY_BYTES];
    char path[128];
    double ms[PAGE_RUNS] = {0};
    int leader = cluster_leader(c, 10000);
    snprintf(path, sizeof path, "/api/v1/transactions?status=%s&limit=%d", status, PAGE_ROWS);
    for (int i = 0; i < PAGE_RUNS && leader >= 0 && !bench_stopped(); i++) {
        uint32_t rows = 0;
        uint64_t start = bench_now();
        if (bench_request(c->nodes[leader].http.text, "GET", path, "", 60000, body, sizeof body) != 200)
            bench_die("no page: %.200s", body);
        ms[i] = (double)(bench_now() - start) / 1e6;
        for (const char *at = body; (at = strstr(at, "\"xid\":")) != NULL; at++)
            rows++;
        if (rows != want)
            bench_die("a page of %u rows, not of %u", rows, want);
    }
    qsort(ms, PAGE_RUNS, sizeof ms[0], by_size);
    *worst_ms = ms[PAGE_RUNS - 1] > *worst_ms ? ms[PAGE_RUNS - 1] : *worst_ms;
    return ms[PAGE_RUNS / 2];
}

/* A full page, and one of a status nobody has: the list must not be walked for it. */
double bench_listing(const struct bench_options *o, struct bench_cluster *c, struct txn_result *filled,
                     double *worst_ms)
{
    struct participant *p = participant_new();
    struct bench_options load = *o;
    load.op = "saga-empty";
    load.connections = 256;
    load.warmup_seconds = 0;
    load.seconds = BENCH_SECONDS_MAX;
    bench_txn(&load, c, p, filled);
    participant_free(p);
    if (count_of(c, "COMMITTED") < o->transactions)
        bench_die("there are not as many transactions as were finished");
    *worst_ms = 0;
    double full = pages(c, "COMMITTED", PAGE_ROWS, worst_ms), none = pages(c, "ROLLED_BACK", 0, worst_ms);
    return full > none ? full : none;
}
