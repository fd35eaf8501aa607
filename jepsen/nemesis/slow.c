/* Slow disks: each write or sync of a node takes longer, or seconds.  The leader still leads and heartbeats,
 * but nothing of its own is stored. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http.h"
#include "nemesis.h"

#define SYNCS  "fdatasync,fsync,msync"
#define WRITES "pwrite64,pwritev,fdatasync,fsync,msync"

static const struct {
    const char *what, *calls;
    uint32_t delay_us, every; /* each so-manieth; 0: all */
    bool all;                 /* nodes */
} slows[] = {
    {"every sync takes 100 ms more", SYNCS, 100000, 0, false},
    {"every write and sync takes 10 ms more", WRITES, 10000, 0, false},
    {"every tenth sync takes a second", SYNCS, 1000000, 10, false},
    {"a stall: no sync ends within 3 s", SYNCS, 3000000, 0, false},
    {"every sync takes 50 ms more", SYNCS, 50000, 0, true},
};
static const char *const slow_shapes[] = {"sync", "write", "hiccup", "stall", "all", NULL};

static bool slow_begin(struct run *r, uint32_t shape, char *text, size_t size)
{
    uint32_t one = nemesis_target(r);
    bool any = false;
    for (uint32_t i = 0; i < r->sut.n; i++)
        if (i == one || slows[shape].all)
            any |= tracer_slow(&r->sut, i, slows[shape].calls, slows[shape].delay_us, slows[shape].every);
    if (slows[shape].all)
        snprintf(text, size, "disks of all: %s", slows[shape].what);
    else
        snprintf(text, size, "disk of node-%u: %s", one + 1, slows[shape].what);
    return any;
}

static void slow_end(struct run *r)
{
    for (uint32_t i = 0; i < r->sut.n; i++)
        tracer_end(&r->sut, i);
}

double nemesis_metric(struct run *r, uint32_t i, const char *name)
{
    char *page = http_text(r->sut.nodes[i].base, "/metrics", 2000), *at = page;
    size_t length = strlen(name);
    double value = -1;
    while (at != NULL && value < 0) {
        if (strncmp(at, name, length) == 0 && at[length] == ' ')
            value = strtod(at + length, NULL);
        at = strchr(at, '\n');
        at += at != NULL;
    }
    free(page);
    return value;
}

/* How long the node's own commits to its log took on average, by its metrics, while a few commands passed. */
static double commit_ms(struct run *r, uint32_t i)
{
    const char *sum = "assent_log_disk_commit_seconds_sum", *count = "assent_log_disk_commit_seconds_count";
    double sum_before = nemesis_metric(r, i, sum), count_before = nemesis_metric(r, i, count), commits = 0;
    for (uint64_t from = sut_now_ms(); sut_now_ms() - from < 5000 && commits < 3; sut_nap(10)) {
        nemesis_command_ms(r, i);
        commits = nemesis_metric(r, i, count) - count_before;
    }
    double s = nemesis_metric(r, i, sum) - sum_before;
    return sum_before < 0 || commits < 1 ? -1 : 1000 * s / commits;
}

static bool slow_calibrate(struct run *r, char *why, size_t size)
{
    double before = commit_ms(r, 0);
    bool traced = tracer_slow(&r->sut, 0, SYNCS, 200000, 0);
    double during = commit_ms(r, 0);
    slow_end(r);
    commit_ms(r, 0); /* one that was under way */
    double after = commit_ms(r, 0);
    snprintf(why, size,
             "%sa commit of node-1 to its log took %.1f ms before, %.1f ms with 200 ms more, %.1f ms after",
             traced ? "" : "strace cannot be attached to a node; ", before, during, after);
    return traced && before >= 0 && before < 150 && during >= 200 && after >= 0 && after < 150;
}

const struct fault fault_slow = {.name = "slow",
                                 .what = "a disk that takes long for each write, or seconds for a sync",
                                 .shapes = slow_shapes,
                                 .begin = slow_begin,
                                 .end = slow_end,
                                 .calibrate = slow_calibrate,
                                 .needs = SUT_TRACE};
