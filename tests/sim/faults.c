/* What goes wrong with nodes, disks, links and clocks, and how it is healed.
 *
 * One fault at most happens in a round, drawn whole from the round's own numbers, so that it can be left out
 * of a run; what follows from it later (the end of a pause, the steps of a swizzle) is fixed at that moment.
 */
#include "faults.h"

#include <assert.h>
#include <stdio.h>

#define MS UINT64_C(1000)

static uint64_t pick(struct world *w, uint64_t n)
{
    return world_random(w, STREAM_FAULT, n);
}

/* Short ones are frequent: up to `max_us`, each magnitude as often as the next. */
static uint64_t some_while(struct world *w, uint64_t max_us)
{
    return pick(w, max_us >> pick(w, 10)) + 1;
}

/* A server that exists; every second time the leader, for most are followers. */
static uint32_t some_node(struct world *w)
{
    uint32_t leader = cluster_leader(w->cluster);
    uint32_t node = 1 + (uint32_t)pick(w, w->servers);
    return leader != 0 && pick(w, 2) == 0 ? leader : node;
}

static bool usable(const struct world *w, uint32_t node)
{
    return node <= w->servers && !w->nodes[node].gone;
}

/* ---- nodes ---- */

static void fault_crash(struct world *w)
{
    uint32_t node = some_node(w);
    if (pick(w, 4) == 0)
        cluster_stop(w->cluster, node);
    else
        cluster_crash(w->cluster, node);
}

static void fault_inner_crash(struct world *w)
{
    cluster_crash_inside(w->cluster, some_node(w), 1 + (uint32_t)pick(w, 12));
}

/* All, or just as many as a majority needs, at the same moment or each at its next effects. */
static void fault_power_cut(struct world *w)
{
    uint32_t first = 1 + (uint32_t)pick(w, w->servers);
    uint32_t n = pick(w, 2) == 0 ? w->servers : w->knobs.voters / 2 + 1;
    uint64_t inside = pick(w, 2);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t node = 1 + (first + i) % w->servers;
        if (inside != 0)
            cluster_crash_inside(w->cluster, node, 1 + (uint32_t)pick(w, 8));
        else
            cluster_crash(w->cluster, node);
    }
}

static void power_cut_now(void *data, uint64_t arg)
{
    struct world *w = data;
    (void)arg;
    for (uint32_t i = 1; i <= w->servers && w->chaos; i++)
        cluster_crash(w->cluster, i);
}

void faults_installing(void *data, uint32_t node, uint64_t index)
{
    struct world *w = data;
    (void)index;
    if (!w->knobs.install_crashes || !w->chaos || !cluster_chance(w->cluster, 300))
        return;
    cluster_say(w->cluster, "FAULT everything dies while node %u installs", node);
    w->faults++;
    cluster_at(w->cluster, w->round * 7919 % (60 * MS), power_cut_now, w, 0);
}

static void on_resume(void *data, uint64_t node)
{
    struct world *w = data;
    if (!w->nodes[node].gone)
        cluster_pause(w->cluster, (uint32_t)node, false);
}

static void fault_pause(struct world *w)
{
    uint32_t node = some_node(w);
    cluster_pause(w->cluster, node, true);
    cluster_at(w->cluster, some_while(w, 60000 * MS), on_resume, w, node);
}

/* ---- clocks ---- */

static void on_clock_goes(void *data, uint64_t node)
{
    struct world *w = data;
    sim_clock_stands(&w->nodes[node], false);
}

static void fault_clock(struct world *w)
{
    uint32_t node = some_node(w);
    struct sim_node *n = &w->nodes[node];
    switch (pick(w, 8)) {
    case 0: /* a quartz, or nonsense */
        sim_clock_drift(n,
                        pick(w, 4) == 0 ? (int64_t)pick(w, 400000) - 200000 : (int64_t)pick(w, 1000) - 500);
        break;
    case 1:
        cluster_rate(w->cluster, node,
                     pick(w, 4) == 0 ? (int32_t)pick(w, 200000) - 100000 : (int32_t)pick(w, 1000) - 500);
        break;
    case 2:
        sim_clock_stands(n, true);
        cluster_at(w->cluster, some_while(w, 10000 * MS), on_clock_goes, w, node);
        break;
    case 3:
        sim_clock_right(n);
        break;
    default: /* a step, forward or back */
        sim_clock_step(n, (int64_t)some_while(w, 60000 * MS) * (pick(w, 2) == 0 ? 1 : -1));
    }
}

/* ---- disks ---- */

static void fault_freeze(struct world *w)
{
    cluster_stall_disk(w->cluster, some_node(w), some_while(w, 10000 * MS));
}

static void fault_slow_disk(struct world *w)
{
    static const uint32_t times[] = {0, 0, 3, 10, 50};
    cluster_slow_disk(w->cluster, some_node(w), times[pick(w, 5)]);
}

static void fault_sync_error(struct world *w)
{
    cluster_fail_disk(w->cluster, some_node(w));
}

/* ---- links ---- */

static void cut_both(struct world *w, uint32_t a, uint32_t b)
{
    cluster_cut(w->cluster, a, b, true);
    cluster_cut(w->cluster, b, a, true);
}

/* In two parts of any size; with `bridge` one node sees both. */
static void halves(struct world *w, uint32_t bridge)
{
    bool left[WORLD_NODES_MAX + 1] = {false};
    uint32_t size = 1 + (uint32_t)pick(w, w->servers - 1);
    while (size > 0) {
        uint32_t node = 1 + (uint32_t)pick(w, w->servers);
        size -= !left[node];
        left[node] = true;
    }
    for (uint32_t a = 1; a <= w->servers; a++)
        for (uint32_t b = a + 1; b <= w->servers; b++)
            if (left[a] != left[b] && a != bridge && b != bridge)
                cut_both(w, a, b);
}

/* Everybody sees a majority, no two the same. */
static void ring(struct world *w)
{
    uint32_t n = w->servers, sees = n / 4 > 0 ? n / 4 : 1;
    for (uint32_t a = 0; a < n; a++)
        for (uint32_t b = a + 1; b < n; b++)
            if (b - a > sees && n - (b - a) > sees)
                cut_both(w, a + 1, b + 1);
}

/* It speaks and does not hear, or the other way round. */
static void deaf_or_dumb(struct world *w, uint32_t node, bool deaf)
{
    for (uint32_t i = 1; i <= w->servers; i++)
        cluster_cut(w->cluster, deaf ? i : node, deaf ? node : i, true);
}

static void fault_partition(struct world *w)
{
    uint32_t node = some_node(w), other = some_node(w);
    switch (pick(w, 10)) {
    case 0:
    case 1:
        cluster_isolate(w->cluster, node, true);
        break;
    case 2:
        cluster_cut(w->cluster, node, other, true);
        break;
    case 3:
        deaf_or_dumb(w, node, pick(w, 2) == 0);
        break;
    case 4:
        halves(w, 0);
        break;
    case 5:
        halves(w, node);
        break;
    case 6:
        ring(w);
        break;
    default:
        cluster_heal(w->cluster);
    }
}

static void on_swizzle(void *data, uint64_t arg)
{
    struct world *w = data;
    if (w->chaos)
        cluster_isolate(w->cluster, (uint32_t)arg >> 1, (arg & 1) != 0);
}

/* Some are cut off one by one and come back one by one in another order (FoundationDB's swizzle-clog). */
static void fault_swizzle(struct world *w)
{
    uint64_t step_us = 10 * MS + pick(w, 500 * MS), at_us = 0;
    uint32_t size = 1 + (uint32_t)pick(w, w->servers), order[WORLD_NODES_MAX];
    for (uint32_t i = 0; i < w->servers; i++)
        order[i] = i + 1;
    for (uint64_t cut = 1;; cut = 0) {
        for (uint32_t i = 0; i < size; i++) {
            uint32_t j = i + (uint32_t)pick(w, (cut != 0 ? w->servers : size) - i), node = order[j];
            order[j] = order[i];
            order[i] = node;
            at_us += pick(w, 2 * step_us) + 1;
            cluster_at(w->cluster, at_us, on_swizzle, w, (uint64_t)node << 1 | cut);
        }
        if (cut == 0)
            return;
    }
}

static void fault_clog(struct world *w)
{
    uint32_t node = some_node(w), other = some_node(w);
    uint64_t us = some_while(w, 5000 * MS);
    bool all = pick(w, 3) == 0;
    for (uint32_t i = 1; i <= w->servers; i++)
        if (all || i == other)
            cluster_clog(w->cluster, node, i, us);
}

static void on_freed(void *data, uint64_t node)
{
    struct world *w = data;
    if (w->captive != node)
        return;
    w->captive = 0;
    if (w->chaos)
        cluster_isolate(w->cluster, (uint32_t)node, false);
}

/* A leader that is cut off keeps its clients: whatever it answers, it answers alone. */
static void fault_captive(struct world *w)
{
    uint32_t leader = cluster_leader(w->cluster);
    if (leader == 0 || w->captive != 0)
        return;
    w->captive = leader;
    cluster_isolate(w->cluster, leader, true);
    cluster_at(w->cluster, 50 * MS + pick(w, 3000 * MS), on_freed, w, leader);
}

/* ---- members ---- */

static void fault_member(struct world *w)
{
    static const enum raftlog_change changes[] = {RAFTLOG_ADD,    RAFTLOG_PROMOTE, RAFTLOG_PROMOTE,
                                                  RAFTLOG_DEMOTE, RAFTLOG_REMOVE,  RAFTLOG_TRANSFER};
    uint32_t leader = cluster_leader(w->cluster), node = some_node(w);
    enum raftlog_change change = changes[pick(w, 6)];
    if (leader != 0 && usable(w, node) && w->replaced == 0)
        (void)cluster_member(w->cluster, leader, change, node);
}

static const struct raft_server *server_of(const struct raft_configuration *conf, uint32_t id)
{
    for (unsigned i = 0; i < conf->n; i++)
        if (conf->servers[i].id == id)
            return &conf->servers[i];
    return NULL;
}

/* May this machine burn now, so that a majority of voters keeps its disks? */
static bool expendable(struct world *w, uint32_t leader, uint32_t node)
{
    struct raftlog_status s = cluster_status(w->cluster, leader);
    const struct raft_configuration *conf = core_configuration(cluster_core(w->cluster, leader));
    uint32_t voters = 0;
    for (unsigned i = 0; i < conf->n; i++)
        voters += conf->servers[i].role == RAFT_VOTER;
    return node != leader && usable(w, node) && server_of(conf, node) != NULL && voters >= 3 &&
           s.configuration_index <= s.commit_index;
}

/* A machine loses its disk; its operator puts another in its place, with an id of its own. */
static void fault_wipe(struct world *w)
{
    uint32_t leader = cluster_leader(w->cluster), node = 1 + (uint32_t)pick(w, w->servers);
    if (leader == 0 || w->replaced != 0 || w->servers == w->knobs.nodes + w->knobs.spares ||
        !expendable(w, leader, node))
        return;
    cluster_crash(w->cluster, node);
    cluster_wipe_disk(w->cluster, node);
    w->nodes[node].gone = true;
    w->replaced = node;
    w->servers++;
    cluster_start(w->cluster, w->servers);
}

void faults_operate(struct world *w)
{
    uint32_t leader = cluster_leader(w->cluster), new = w->servers;
    if (w->replaced == 0 || leader == 0)
        return;
    const struct raft_configuration *conf = core_configuration(cluster_core(w->cluster, leader));
    const struct raft_server *old = server_of(conf, w->replaced), *now = server_of(conf, new);
    if (old != NULL)
        (void)cluster_member(w->cluster, leader, old->role == RAFT_VOTER ? RAFTLOG_DEMOTE : RAFTLOG_REMOVE,
                             w->replaced);
    else if (now == NULL)
        (void)cluster_member(w->cluster, leader, RAFTLOG_ADD, new);
    else if (now->role != RAFT_VOTER)
        (void)cluster_member(w->cluster, leader, RAFTLOG_PROMOTE, new);
    else
        w->replaced = 0;
}

/* ---- participants ---- */

static void fault_outage(struct world *w)
{
    uint32_t which = (uint32_t)pick(w, w->knobs.participants);
    participants_outage(w, which, !participants_away(w, which));
}

/* ---- rounds ---- */

void faults_round(struct world *w)
{
    const struct knobs *k = &w->knobs;
    const struct {
        bool on;
        void (*apply)(struct world *w);
        const char *what;
    } faults[] = {
        {k->crashes, fault_crash, "crash"},
        {k->inner_crashes, fault_inner_crash, "crash inside"},
        {k->power_cuts, fault_power_cut, "power cut"},
        {k->pauses, fault_pause, "pause"},
        {k->clocks, fault_clock, "clock"},
        {k->members, fault_member, "member"},
        {k->wipes, fault_wipe, "wipe"},
        {k->freezes, fault_freeze, "freeze"},
        {k->slow_disks, fault_slow_disk, "slow disk"},
        {k->sync_errors, fault_sync_error, "sync error"},
        {k->partitions, fault_partition, "partition"},
        {k->partitions, fault_partition, "partition"},
        {k->swizzles, fault_swizzle, "swizzle"},
        {k->clogs, fault_clog, "clog"},
        {k->captive, fault_captive, "captive leader"},
        {k->outages, fault_outage, "outage"},
    };
    uint32_t i = (uint32_t)pick(w, sizeof faults / sizeof faults[0]);
    if (faults[i].on && world_fault(w, faults[i].what))
        faults[i].apply(w);
}

/* ---- starting again ---- */

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static void on_restart(void *data, uint64_t boot)
{
    struct sim_node *n = data;
    if (boot == n->boot && !n->gone && !n->world->over && !cluster_up(n->world->cluster, n->id))
        cluster_start(n->world->cluster, n->id);
}

/* Whoever watches over the process starts it again: at once, or when the others have gone far ahead. */
void faults_died(struct sim_node *n)
{
    uint64_t number = mix(n->world->knobs.seed * 64 + n->id + ((uint64_t)n->boot << 40));
    uint64_t after_us = number % 2 == 0 ? number / 2 % (200 * MS) : number / 2 % (10000 * MS);
    cluster_at(n->world->cluster, 1000 + after_us, on_restart, n, n->boot);
}

/* ---- healing ---- */

/* Just a majority is to live on; what becomes of each of the others is chance. */
static void choose_core(struct world *w)
{
    uint32_t rest = w->servers - (w->servers / 2 + 1);
    while (rest > 0) {
        uint32_t node = 1 + (uint32_t)pick(w, w->servers);
        struct sim_node *n = &w->nodes[node];
        if (n->gone)
            continue;
        rest--;
        n->gone = true;
        switch (pick(w, 4)) {
        case 0:
            cluster_crash(w->cluster, node);
            break;
        case 1:
            cluster_pause(w->cluster, node, true);
            break;
        case 2:
            cluster_freeze_disk(w->cluster, node, true);
            break;
        default:
            break; /* cut off only */
        }
    }
}

static void heal_node(struct world *w, uint32_t node, bool resume)
{
    struct sim_node *n = &w->nodes[node];
    sim_clock_right(n);
    cluster_rate(w->cluster, node, 0);
    cluster_slow_disk(w->cluster, node, 0);
    cluster_freeze_disk(w->cluster, node, false);
    cluster_crash_inside(w->cluster, node, 0);
    if (resume)
        cluster_pause(w->cluster, node, false);
    if (!cluster_up(w->cluster, node))
        cluster_start(w->cluster, node);
}

void faults_heal(struct world *w)
{
    bool resume = pick(w, 2) == 0; /* else each pause goes on for its time */
    w->chaos = false;
    w->captive = 0;
    cluster_chaos(w->cluster, false);
    cluster_heal(w->cluster);
    for (uint32_t i = 0; i < WORLD_PARTICIPANTS_MAX; i++)
        participants_outage(w, i, false);
    if (w->knobs.core_only)
        choose_core(w);
    for (uint32_t i = 1; i <= w->servers; i++) {
        if (!w->nodes[i].gone)
            heal_node(w, i, resume);
        else
            cluster_isolate(w->cluster, i, true);
    }
}

bool faults_healed(struct world *w)
{
    uint32_t leader = cluster_leader(w->cluster);
    if (leader == 0 || w->nodes[leader].gone || w->replaced != 0)
        return false;
    uint64_t term = cluster_status(w->cluster, leader).term;
    for (uint32_t i = 1; i <= w->servers; i++)
        if (!w->nodes[i].gone && (cluster_paused(w->cluster, i) || cluster_status(w->cluster, i).term > term))
            return false; /* a leader that slept may not know yet that it is none */
    uint64_t last = cluster_status(w->cluster, leader).last_index;
    const struct raft_configuration *conf = core_configuration(cluster_core(w->cluster, leader));
    for (unsigned i = 0; i < conf->n; i++) {
        uint32_t id = (uint32_t)conf->servers[i].id;
        if (!w->nodes[id].gone && cluster_status(w->cluster, id).applied_index < last)
            return false;
    }
    return true;
}
