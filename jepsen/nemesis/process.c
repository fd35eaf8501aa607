/* Faults of a process: killed, stopped, paused. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "nemesis.h"

#define LOOP_MS 400 /* between two deaths of a node that never gets far */

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

#define KILL_LOOP WHOM_NR
static const char *const kill_shapes[] = {"one", "leader", "minority", "majority", "all", "loop", NULL};

static bool kill_begin(struct run *r, uint32_t shape, char *text, size_t size)
{
    char names[128];
    bool loop = shape == KILL_LOOP;
    uint32_t mask = nemesis_whom(r, loop ? WHOM_ONE : (enum whom)shape, names, sizeof names);
    for (uint32_t k = 0; k < r->sut.n; k++)
        if ((mask & (1u << k)) != 0) {
            sut_kill(&r->sut, k);
            r->nemesis->again.node = k;
        }
    r->nemesis->again.loops = loop;
    r->nemesis->again.next_ms = sut_now_ms() + LOOP_MS / 2;
    snprintf(text, size, "kill -9 %s%s", names, loop ? ", again as soon as it is up" : "");
    return mask != 0;
}

static void kill_tick(struct run *r)
{
    if (!r->nemesis->again.loops || sut_now_ms() < r->nemesis->again.next_ms)
        return;
    uint32_t i = r->nemesis->again.node;
    bool up = r->sut.nodes[i].pid != 0;
    if (up)
        sut_kill(&r->sut, i);
    else
        sut_start(&r->sut, i);
    r->nemesis->again.next_ms = sut_now_ms() + (up ? 50 : nemesis_chance(r, LOOP_MS));
}

static void kill_end(struct run *r)
{
    r->nemesis->again.loops = false;
    nemesis_start_all(r);
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

const struct fault fault_kill = {.name = "kill",
                                 .what = "SIGKILL of a node, the leader, several, all; again and again",
                                 .shapes = kill_shapes,
                                 .begin = kill_begin,
                                 .tick = kill_tick,
                                 .end = kill_end,
                                 .calibrate = kill_calibrate};

/* ---- stop ---- */

enum { STOP_ONE, STOP_LEADER, STOP_ROLLING, STOP_ALL };
static const char *const stop_shapes[] = {"one", "leader", "rolling", "all", NULL};

/* It may meet a node that was started a moment ago and has no ear for the signal yet, and ends by it (that a
 * node listens at all is what the self-check shows); when faults overlap, one that fails by another fault.  A
 * crash it must not meet. */
static void stop_node(struct run *r, uint32_t i)
{
    int status = sut_stop(&r->sut, i);
    if (status != 0 && status != 256 + SIGTERM && (r->o.at_once == 1 || status >= 256))
        run_violation(
            r, "node-%u ended with %d after SIGTERM (256 and more: a signal; -1: it did not within 10 s)",
            i + 1, status);
}

static bool stop_begin(struct run *r, uint32_t shape, char *text, size_t size)
{
    int leader = shape == STOP_LEADER ? sut_leader(&r->sut) : (int)nemesis_chance(r, r->sut.n);
    if (leader < 0)
        return false;
    if (shape == STOP_ROLLING || shape == STOP_ALL) {
        for (uint32_t i = 0; i < r->sut.n; i++) {
            stop_node(r, i);
            if (shape == STOP_ROLLING)
                sut_start(&r->sut, i);
        }
        snprintf(text, size, shape == STOP_ALL ? "stop all, one after the other" : "restart all in turn");
        return true;
    }
    stop_node(r, (uint32_t)leader);
    snprintf(text, size, "stop node-%d", leader + 1);
    return true;
}

static bool stop_calibrate(struct run *r, char *why, size_t size)
{
    if (sut_stop(&r->sut, 0) != 0 || nemesis_answers(r, 0, 500)) {
        snprintf(why, size, "node-1 did not end with status 0 after SIGTERM");
        return false;
    }
    return comes_back(r, 0, why, size);
}

const struct fault fault_stop = {.name = "stop",
                                 .what = "SIGTERM of a node, the leader, one after the other, all",
                                 .shapes = stop_shapes,
                                 .begin = stop_begin,
                                 .end = nemesis_start_all,
                                 .calibrate = stop_calibrate};

/* ---- pause ---- */

#define PAUSE_PULSE   WHOM_NR
#define PAUSE_STARVED (WHOM_NR + 1)
#define STARVED_MS    200 /* without a processor, of 250: too short for an election, mostly */
static const char *const pause_shapes[] = {"one", "leader", "minority", "majority",
                                           "all", "pulse",  "starved",  NULL};

static void pause_these(struct run *r, uint32_t mask)
{
    for (uint32_t i = 0; i < r->sut.n; i++)
        sut_pause(&r->sut, i, (mask & (1u << i)) != 0);
}

static bool pause_begin(struct run *r, uint32_t shape, char *text, size_t size)
{
    static const char *const says[] = {
        "pause",
        "pause whoever leads, twice the election timeout, again and again:", "a fifth of the time for"};
    char names[128];
    bool pulse = shape == PAUSE_PULSE, starved = shape == PAUSE_STARVED;
    uint32_t one = nemesis_target(r), mask = 1u << one;
    if (starved)
        whom_text(mask, names, sizeof names);
    else
        mask = nemesis_whom(r, pulse ? WHOM_LEADER : (enum whom)shape, names, sizeof names);
    if (mask == 0)
        return false;
    pause_these(r, mask);
    r->nemesis->again.pulses = pulse;
    r->nemesis->again.starved = starved ? mask : 0;
    r->nemesis->again.next_ms = sut_now_ms() + (starved ? STARVED_MS : 2 * SUT_ELECTION_MS);
    snprintf(text, size, "%s %s", says[pulse ? 1 : starved ? 2 : 0], names);
    return true;
}

/* Two election timeouts stopped, four awake, then whoever leads by then. */
static void pause_tick(struct run *r)
{
    uint32_t starved = r->nemesis->again.starved;
    if ((!r->nemesis->again.pulses && starved == 0) || sut_now_ms() < r->nemesis->again.next_ms)
        return;
    bool paused = false;
    for (uint32_t i = 0; i < r->sut.n; i++)
        paused = paused || r->sut.nodes[i].paused;
    if (starved != 0) {
        pause_these(r, paused ? 0 : starved);
        r->nemesis->again.next_ms = sut_now_ms() + (paused ? STARVED_MS / 4 : STARVED_MS);
        return;
    }
    int leader = paused ? -1 : sut_leader(&r->sut);
    pause_these(r, leader >= 0 ? 1u << leader : 0);
    r->nemesis->again.next_ms = sut_now_ms() + (paused ? 4u : 2u) * SUT_ELECTION_MS;
}

static void pause_end(struct run *r)
{
    r->nemesis->again.pulses = false;
    r->nemesis->again.starved = 0;
    pause_these(r, 0);
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

const struct fault fault_pause = {.name = "pause",
                                  .what = "SIGSTOP of a node, the leader, several, all; again and again",
                                  .shapes = pause_shapes,
                                  .begin = pause_begin,
                                  .tick = pause_tick,
                                  .end = pause_end,
                                  .calibrate = pause_calibrate};
