/* Every class of faults, as a table: what breaks, and how it is mended. */
#include <stdio.h>
#include <string.h>

#include "run.h"

static uint64_t chance(struct run *r, uint64_t n)
{
    pthread_mutex_lock(&r->lock);
    uint64_t x = run_random(r, n);
    pthread_mutex_unlock(&r->lock);
    return x;
}

/* The leader in half of the cases, else anybody. */
static uint32_t target(struct run *r)
{
    int leader = sut_leader(&r->sut);
    if (leader >= 0 && chance(r, 2) == 0)
        return (uint32_t)leader;
    return (uint32_t)chance(r, r->sut.n);
}

static bool kill_begin(struct run *r, char *text, size_t size)
{
    uint32_t i = target(r);
    bool all = chance(r, 8) == 0;
    for (uint32_t k = 0; k < r->sut.n; k++)
        if (all || k == i)
            sut_kill(&r->sut, k);
    snprintf(text, size, all ? "kill -9 all" : "kill -9 node-%u", i + 1);
    return true;
}

static void start_all(struct run *r)
{
    for (uint32_t i = 0; i < r->sut.n; i++)
        sut_start(&r->sut, i);
}

static bool stop_begin(struct run *r, char *text, size_t size)
{
    uint32_t i = target(r);
    sut_stop(&r->sut, i);
    snprintf(text, size, "stop node-%u", i + 1);
    return true;
}

static bool pause_begin(struct run *r, char *text, size_t size)
{
    uint32_t i = target(r);
    sut_pause(&r->sut, i, true);
    snprintf(text, size, "pause node-%u", i + 1);
    return true;
}

static void pause_end(struct run *r)
{
    for (uint32_t i = 0; i < r->sut.n; i++)
        sut_pause(&r->sut, i, false);
}

static bool partition_begin(struct run *r, char *text, size_t size)
{
    uint32_t n = r->sut.n, alone = target(r);
    switch (chance(r, 4)) {
    case 0: /* one-way: nobody hears it */
        for (uint32_t k = 0; k < n; k++)
            sut_cut(&r->sut, alone, k, true);
        snprintf(text, size, "node-%u is not heard", alone + 1);
        break;
    case 1: /* one-way: it hears nobody */
        for (uint32_t k = 0; k < n; k++)
            sut_cut(&r->sut, k, alone, true);
        snprintf(text, size, "node-%u hears nobody", alone + 1);
        break;
    case 2: /* a bridge: two that see each other only through the third */
        sut_cut(&r->sut, (alone + 1) % n, (alone + 2) % n, true);
        sut_cut(&r->sut, (alone + 2) % n, (alone + 1) % n, true);
        snprintf(text, size, "node-%u is a bridge", alone + 1);
        break;
    default:
        for (uint32_t k = 0; k < n; k++) {
            sut_cut(&r->sut, alone, k, true);
            sut_cut(&r->sut, k, alone, true);
        }
        snprintf(text, size, "node-%u is cut off", alone + 1);
    }
    return true;
}

static void partition_end(struct run *r)
{
    sut_heal(&r->sut);
}

/* Below, at and far above what a follower tolerates. */
static bool clock_begin(struct run *r, char *text, size_t size)
{
    static const int64_t offsets_ms[] = {100, -100, 400, -400, 900, -900, 5000, -5000, 60000, -60000};
    uint32_t i = target(r);
    int64_t ms = offsets_ms[chance(r, sizeof offsets_ms / sizeof offsets_ms[0])];
    sut_clock(&r->sut, i, ms);
    snprintf(text, size, "clock of node-%u %+lld ms", i + 1, (long long)ms);
    return true;
}

static void clock_end(struct run *r)
{
    for (uint32_t i = 0; i < r->sut.n; i++)
        sut_clock(&r->sut, i, 0);
}

const struct fault faults[] = {
    {"kill", "SIGKILL of a node, or of all", kill_begin, start_all, false, false},
    {"stop", "SIGTERM of a node", stop_begin, start_all, false, false},
    {"pause", "SIGSTOP of a node", pause_begin, pause_end, false, false},
    {"partition", "cables cut, also in one direction only", partition_begin, partition_end, true, false},
    {"clock", "a node's clock set apart", clock_begin, clock_end, false, true},
};
const uint32_t faults_n = sizeof faults / sizeof faults[0];

const struct fault *fault_find(const char *name)
{
    for (uint32_t i = 0; i < faults_n; i++)
        if (strcmp(faults[i].name, name) == 0)
            return &faults[i];
    return NULL;
}
