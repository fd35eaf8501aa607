/* Killed while a snapshot is being installed: a node is left behind until only a snapshot can bring it back,
 * started, and struck down in the middle - it, the leader that serves it, or everybody at once. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "nemesis.h"

#define LAG_MS     30000
#define INSTALL_MS 20000
#define PUSHERS    8

enum { INSTALL_ONE, INSTALL_LEADER, INSTALL_ALL, INSTALL_POWER };
static const char *const install_shapes[] = {"one", "leader", "all", "power", NULL};

/* Many at a time, for a snapshot needs hundreds of entries. */
struct pusher {
    struct run *run;
    uint32_t leader;
    atomic_bool *stop;
    pthread_t thread;
};

static void *push(void *data)
{
    struct pusher *p = data;
    while (!atomic_load(p->stop))
        if (nemesis_command_ms(p->run, p->leader) < 0)
            sut_nap(20);
    return NULL;
}

/* A follower is down until the leader has no longer the entries it wants.  -1: it could not be made so. */
static int left_behind(struct run *r)
{
    struct pusher pushers[PUSHERS];
    atomic_bool stop = false;
    uint32_t started = 0;
    int leader = sut_leader(&r->sut);
    if (leader < 0 || r->sut.n < 2)
        return -1;
    uint32_t i = ((uint32_t)leader + 1 + (uint32_t)nemesis_chance(r, r->sut.n - 1)) % r->sut.n;
    uint64_t wants =
        nemesis_index(r, i, "index") + r->sut.snapshot_entries / 4 + 50; /* a leader keeps a quarter */
    bool behind = false;
    sut_kill(&r->sut, i);
    for (; started < PUSHERS; started++) {
        pushers[started] = (struct pusher){.run = r, .leader = (uint32_t)leader, .stop = &stop};
        if (pthread_create(&pushers[started].thread, NULL, push, &pushers[started]) != 0)
            break;
    }
    for (uint64_t from = sut_now_ms(); !behind && sut_now_ms() - from < LAG_MS; sut_nap(20))
        behind = nemesis_index(r, (uint32_t)leader, "snapshotIndex") > wants;
    atomic_store(&stop, true);
    for (uint32_t k = 0; k < started; k++)
        pthread_join(pushers[k].thread, NULL);
    return behind ? (int)i : -1;
}

/* Started, and its install seen: how long that took in milliseconds, -1: there was none. */
static int64_t installs(struct run *r, uint32_t i)
{
    uint64_t from = sut_now_ms();
    sut_start(&r->sut, i);
    for (; sut_now_ms() - from < INSTALL_MS; sut_nap(5))
        if (nemesis_metric(r, i, "assent_raft_snapshots_installed_total") >= 1)
            return (int64_t)(sut_now_ms() - from);
    return -1;
}

static bool install_begin(struct run *r, uint32_t shape, char *text, size_t size)
{
    static const char *const says[] = {"kill -9 of it", "kill -9 of the leader", "kill -9 of all",
                                       "power cut of all"};
    int behind = left_behind(r), leader = sut_leader(&r->sut);
    if (behind < 0 || leader < 0 || (shape == INSTALL_POWER && (r->sut.wants & SUT_DISKS) == 0)) {
        nemesis_start_all(r);
        return false;
    }
    sut_start(&r->sut, (uint32_t)behind);
    uint64_t after_ms = nemesis_chance(r, r->nemesis->install_ms * 3 / 2 + 1);
    sut_nap((long)after_ms);
    bool before = nemesis_metric(r, (uint32_t)behind, "assent_raft_snapshots_installed_total") < 1;
    for (uint32_t k = 0; k < r->sut.n; k++)
        if (shape >= INSTALL_ALL || (int)k == (shape == INSTALL_LEADER ? leader : behind))
            sut_kill(&r->sut, k);
    if (shape == INSTALL_POWER)
        for (uint32_t k = 0; k < r->sut.n; k++)
            if (!disk_cut(&r->sut, k) || !disk_again(&r->sut, k))
                run_violation(r, "harness error: the power of node-%u's disk cannot be cut", k + 1);
    snprintf(text, size, "%s, %u ms after node-%d, left behind, was started, %s its install", says[shape],
             (unsigned)after_ms, behind + 1, before ? "before the end of" : "after");
    return true;
}

static bool install_calibrate(struct run *r, char *why, size_t size)
{
    snprintf(why, size, "no follower could be left behind");
    int behind = left_behind(r);
    int64_t took = behind >= 0 ? installs(r, (uint32_t)behind) : -1;
    nemesis_start_all(r);
    if (behind >= 0)
        snprintf(why, size, "node-%d, left behind, installed no snapshot", behind + 1);
    r->nemesis->install_ms = took > 0 ? (uint64_t)took : 0;
    return took > 0;
}

const struct fault fault_install = {
    .name = "install",
    .what = "struck down while a snapshot is being installed: one, the leader, all",
    .shapes = install_shapes,
    .begin = install_begin,
    .end = nemesis_start_all,
    .calibrate = install_calibrate,
    .alone = true};
