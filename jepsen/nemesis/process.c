/* Faults of a process: killed, stopped, paused, its clock set apart. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "http.h"
#include "nemesis.h"

bool nemesis_answers(struct run *r, uint32_t i, long timeout_ms)
{
    struct http_answer a;
    http_ask(r->sut.nodes[i].base, "GET", "/api/v1/cluster", NULL, NULL, timeout_ms, true, &a);
    http_close(&a);
    return a.outcome == HTTP_DONE;
}

/* Up again and answering, or `why` says that it is not. */
static bool comes_back(struct run *r, uint32_t i, char *why, size_t size)
{
    nemesis_start_all(r);
    for (uint64_t from = sut_now_ms(); sut_now_ms() - from < 20000; sut_nap(50))
        if (nemesis_answers(r, i, 1000))
            return true;
    snprintf(why, size, "node-%u did not come back", i + 1);
    return false;
}

/* ---- kill ---- */

static bool kill_begin(struct run *r, char *text, size_t size)
{
    uint32_t i = nemesis_target(r);
    bool all = nemesis_chance(r, 8) == 0;
    for (uint32_t k = 0; k < r->sut.n; k++)
        if (all || k == i)
            sut_kill(&r->sut, k);
    snprintf(text, size, all ? "kill -9 all" : "kill -9 node-%u", i + 1);
    return true;
}

static bool kill_calibrate(struct run *r, char *why, size_t size)
{
    pid_t pid = r->sut.nodes[0].pid;
    if (!nemesis_answers(r, 0, 2000)) {
        snprintf(why, size, "node-1 did not answer before");
        return false;
    }
    sut_kill(&r->sut, 0);
    if (kill(pid, 0) == 0 || errno != ESRCH || nemesis_answers(r, 0, 500)) {
        snprintf(why, size, "process %d lives on", (int)pid);
        return false;
    }
    return comes_back(r, 0, why, size);
}

const struct fault fault_kill = {
    "kill", "SIGKILL of a node, or of all", kill_begin, nemesis_start_all, kill_calibrate, 0, false};

/* ---- stop ---- */

static bool stop_begin(struct run *r, char *text, size_t size)
{
    uint32_t i = nemesis_target(r);
    if (!sut_stop(&r->sut, i))
        run_violation(r, "node-%u did not end with status 0 after SIGTERM", i + 1);
    snprintf(text, size, "stop node-%u", i + 1);
    return true;
}

static bool stop_calibrate(struct run *r, char *why, size_t size)
{
    if (!sut_stop(&r->sut, 0) || nemesis_answers(r, 0, 500)) {
        snprintf(why, size, "node-1 did not end with status 0 after SIGTERM");
        return false;
    }
    return comes_back(r, 0, why, size);
}

const struct fault fault_stop = {
    "stop", "SIGTERM of a node", stop_begin, nemesis_start_all, stop_calibrate, 0, false};

/* ---- pause ---- */

static bool pause_begin(struct run *r, char *text, size_t size)
{
    uint32_t i = nemesis_target(r);
    sut_pause(&r->sut, i, true);
    snprintf(text, size, "pause node-%u", i + 1);
    return true;
}

static void pause_end(struct run *r)
{
    for (uint32_t i = 0; i < r->sut.n; i++)
        sut_pause(&r->sut, i, false);
}

static bool pause_calibrate(struct run *r, char *why, size_t size)
{
    if (!nemesis_answers(r, 0, 2000)) {
        snprintf(why, size, "node-1 did not answer before");
        return false;
    }
    sut_pause(&r->sut, 0, true);
    bool still = nemesis_answers(r, 0, 700);
    pause_end(r);
    if (still) {
        snprintf(why, size, "node-1 answers while it is stopped");
        return false;
    }
    return comes_back(r, 0, why, size);
}

const struct fault fault_pause = {"pause", "SIGSTOP of a node", pause_begin, pause_end, pause_calibrate, 0,
                                  false};

/* ---- clock ---- */

/* Below, at and far above what a follower tolerates. */
static bool clock_begin(struct run *r, char *text, size_t size)
{
    static const int64_t offsets_ms[] = {100, -100, 400, -400, 900, -900, 5000, -5000, 60000, -60000};
    uint32_t i = nemesis_target(r);
    int64_t ms = offsets_ms[nemesis_chance(r, sizeof offsets_ms / sizeof offsets_ms[0])];
    sut_clock(&r->sut, i, ms);
    snprintf(text, size, "clock of node-%u %+lld ms", i + 1, (long long)ms);
    return true;
}

static void clock_end(struct run *r)
{
    for (uint32_t i = 0; i < r->sut.n; i++)
        sut_clock(&r->sut, i, 0);
}

/* How far the node's clock stands from ours, as it says in its answers. */
static bool clock_apart_ms(struct run *r, uint32_t i, int64_t *apart)
{
    struct http_answer a;
    struct timespec t;
    http_ask(r->sut.nodes[i].base, "GET", "/api/v1/cluster", NULL, NULL, 2000, true, &a);
    clock_gettime(CLOCK_REALTIME, &t);
    *apart = a.server_ms - ((int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000);
    http_close(&a);
    return a.outcome == HTTP_DONE && a.server_ms != 0;
}

static bool clock_calibrate(struct run *r, char *why, size_t size)
{
    static const int64_t asked_ms[] = {5000, -5000, 0};
    for (int k = 0; k < 3; k++) {
        int64_t apart = 0;
        sut_clock(&r->sut, 0, asked_ms[k]);
        sut_nap(100);
        if (!clock_apart_ms(r, 0, &apart) || apart < asked_ms[k] - 1000 || apart > asked_ms[k] + 1000) {
            snprintf(why, size, "a clock set %lld ms apart is %lld ms apart", (long long)asked_ms[k],
                     (long long)apart);
            clock_end(r);
            return false;
        }
    }
    return true;
}

const struct fault fault_clock = {
    "clock", "a node's clock set apart", clock_begin, clock_end, clock_calibrate, SUT_CLOCKS, false};
