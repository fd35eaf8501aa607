/* Random faults for some virtual seconds on a cluster of consensus cores, then healing; see core_chaos.h. */
#include "core_chaos.h"

#include <stdio.h>
#include <stdlib.h>

#include "assent/error.h"
#include "core_cluster.h"

const struct chaos_shape chaos_three = {"3 nodes", 3, 3, false, false};
const struct chaos_shape chaos_five = {"5 nodes", 5, 5, false, false};
const struct chaos_shape chaos_changing = {"5 nodes, membership", 5, 3, true, false};
const struct chaos_shape chaos_harsh = {"5 nodes, membership, harsh", 5, 3, true, true};

static void options(struct cluster_options *o, const struct chaos_shape *shape, uint64_t seed,
                    uint32_t guards_off)
{
    cluster_options_init(o, shape->nodes, seed);
    o->voters = shape->voters;
    o->guards_off = guards_off;
    o->drop = 20 + (uint32_t)(seed % 5) * 20;
    o->duplicate = 30;
    o->stale = 10 + (uint32_t)(seed % 3) * 20;
    o->snapshot_every = seed % 4 == 0 ? 0 : 10 + (uint32_t)(seed % 7) * 15;
    o->trailing = (uint32_t)(seed % 5) * 8;
    o->inflight_entries = seed % 6 == 0 ? 2 : 64;
    o->disk_us_max = seed % 3 == 0 ? 60000 : 4000;
    o->election_ms = 200;
    o->heartbeat_ms = 20;
    o->corrupt = shape->harsh ? 5 : 0;
}

static uint32_t some_node(struct cluster *c, const struct chaos_shape *shape)
{
    return 1 + (uint32_t)cluster_random(c, shape->nodes);
}

static void random_member(struct cluster *c, const struct chaos_shape *shape)
{
    static const enum raftlog_change changes[] = {RAFTLOG_ADD,    RAFTLOG_PROMOTE, RAFTLOG_PROMOTE,
                                                  RAFTLOG_DEMOTE, RAFTLOG_REMOVE,  RAFTLOG_TRANSFER};
    uint32_t leader = cluster_leader(c);
    enum raftlog_change change = shape->membership ? changes[cluster_random(c, 6)] : RAFTLOG_TRANSFER;
    if (leader != 0) {
        (void)cluster_member(c, leader, change, some_node(c, shape));
    }
}

static void random_fault(struct cluster *c, const struct chaos_shape *shape)
{
    uint32_t node = some_node(c, shape), other = some_node(c, shape);
    switch (cluster_random(c, 12)) {
    case 0:
    case 1:
        cluster_crash(c, node);
        break;
    case 2:
        cluster_stop(c, node);
        break;
    case 3:
        cluster_isolate(c, node, true);
        break;
    case 4:
        cluster_cut(c, node, other, true);
        break;
    case 5:
    case 6:
        cluster_heal(c);
        break;
    case 7:
        cluster_freeze_disk(c, node, cluster_random(c, 2) == 0);
        break;
    case 8:
        random_member(c, shape);
        break;
    default:
        if (!cluster_up(c, node)) {
            cluster_start(c, node);
        }
    }
}

static void harsh_fault(struct cluster *c, const struct chaos_shape *shape)
{
    uint32_t node = some_node(c, shape), other = some_node(c, shape);
    switch (cluster_random(c, 6)) {
    case 0:
        cluster_crash_inside(c, node, 1 + (uint32_t)cluster_random(c, 12));
        break;
    case 1:
        cluster_pause(c, node, !cluster_paused(c, node));
        break;
    case 2:
        cluster_fail_disk(c, node);
        break;
    case 3:
        cluster_stall_disk(c, node, cluster_random(c, 1000000));
        break;
    case 4:
        cluster_clog(c, node, other, cluster_random(c, 1000000));
        break;
    default:
        cluster_rate(c, node, (int32_t)cluster_random(c, 100000) - 50000);
    }
}

static void random_work(struct cluster *c, const struct chaos_shape *shape)
{
    uint32_t leader = cluster_leader(c);
    uint32_t node = some_node(c, shape);
    if (leader != 0 && cluster_random(c, 4) != 0) {
        (void)cluster_submit(c, leader, 1 + (uint32_t)cluster_random(c, 6));
    }
    /* A deposed leader may still think it leads. */
    (void)cluster_submit(c, node, 1);
    (void)cluster_read(c, some_node(c, shape));
    if (shape->membership && cluster_random(c, 20) == 0) {
        random_member(c, shape);
    }
}

static bool works(struct cluster *c, void *arg)
{
    (void)arg;
    uint32_t leader = cluster_leader(c);
    return leader != 0 && cluster_applied_everywhere(c) >= cluster_status(c, leader).last_index;
}

static bool submits(struct cluster *c, void *arg)
{
    (void)arg;
    uint32_t leader = cluster_leader(c);
    return leader != 0 && cluster_submit(c, leader, 3) == 0;
}

/* Returns the failed oracle's sentence, or NULL. */
static const char *chaos(struct cluster *c, const struct chaos_shape *shape, uint32_t chaos_ms,
                         uint32_t heal_ms)
{
    cluster_start_all(c);
    cluster_chaos(c, true);
    uint64_t until = cluster_now_ms(c) + chaos_ms;
    while (cluster_now_ms(c) < until && cluster_failure(c) == NULL) {
        cluster_run(c, 5 + cluster_random(c, 40));
        random_work(c, shape);
        if (cluster_random(c, 10) == 0) {
            random_fault(c, shape);
        }
        if (shape->harsh && cluster_random(c, 10) == 0) {
            harsh_fault(c, shape);
        }
        cluster_check_durable(c);
    }
    cluster_chaos(c, false);
    cluster_heal(c);
    for (uint32_t i = 1; i <= shape->nodes; i++) {
        cluster_freeze_disk(c, i, false);
        cluster_rate(c, i, 0);
        if (shape->harsh) {
            cluster_crash(c, i); /* with it goes what was still to befall it */
        }
    }
    cluster_start_all(c);
    cluster_run(c, 100);
    bool worked = cluster_run_until(c, works, NULL, heal_ms);
    /* A transfer begun before may still pause proposals. */
    worked =
        worked && cluster_run_until(c, submits, NULL, heal_ms) && cluster_run_until(c, works, NULL, heal_ms);
    if (cluster_failure(c) == NULL && !worked) {
        return "the healed cluster does not work again";
    }
    return cluster_failure(c);
}

const char *chaos_run(const struct chaos_shape *shape, uint64_t seed, uint32_t guards_off, uint64_t *counts)
{
    static char failure[1024];
    struct cluster_options o;
    options(&o, shape, seed, guards_off);
    struct cluster *c = cluster_new(&o);
    const char *why = chaos(c, shape, 8000, 60000);
    if (why != NULL) {
        snprintf(failure, sizeof failure, "seed %llu, %s: %s (again: ASSENT_SEED=%llu test_core_chaos)",
                 (unsigned long long)seed, shape->name, why, (unsigned long long)seed);
        why = failure;
        if (guards_off == 0) {
            cluster_print(c);
        }
    }
    for (uint32_t i = 0; i < 17 && counts != NULL; i++) {
        counts[i] += cluster_guard(c, i);
    }
    cluster_close(c);
    return why;
}
