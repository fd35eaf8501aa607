/* One run: knobs from the seed, faults for a while, then healing until everything is done. */
#include "world.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

uint64_t world_random(struct world *w, enum stream stream, uint64_t n)
{
    w->streams[stream]++;
    return n == 0 ? 0 : mix(w->streams[stream] ^ mix(w->knobs.seed * 16 + (uint64_t)stream)) % n;
}

bool world_chance(struct world *w, enum stream stream, uint32_t per_thousand)
{
    static const enum script_channel channels[STREAM_NR] = {
        [STREAM_FAULT] = SCRIPT_ROUND,
        [STREAM_CLIENT] = SCRIPT_CLIENT,
        [STREAM_PARTICIPANT] = SCRIPT_PARTICIPANT,
        [STREAM_CLOCK] = SCRIPT_ROUND,
    };
    bool drawn = per_thousand > 0 && world_random(w, stream, 1000) < per_thousand;
    assert(stream == STREAM_CLIENT || stream == STREAM_PARTICIPANT);
    return per_thousand > 0 &&
           script_decide(w->script, channels[stream], w->streams[stream], drawn, cluster_now_us(w->cluster));
}

bool world_fault(struct world *w, const char *what)
{
    if (!script_decide(w->script, SCRIPT_ROUND, w->round, true, cluster_now_us(w->cluster)))
        return false;
    cluster_say(w->cluster, "FAULT %s", what);
    w->faults++;
    return true;
}

static bool decide_network(void *data, uint64_t n, bool drawn)
{
    struct world *w = data;
    return script_decide(w->script, SCRIPT_NETWORK, n, drawn, cluster_now_us(w->cluster));
}

static void say(void *data, uint64_t at_us, const char *text)
{
    struct world *w = data;
    w->say(w->say_data, at_us, text);
}

/* ---- faults ---- */

static uint32_t some_node(struct world *w)
{
    return 1 + (uint32_t)world_random(w, STREAM_FAULT, w->knobs.nodes);
}

static void fault_crash(struct world *w)
{
    uint32_t node = some_node(w);
    if (!cluster_up(w->cluster, node))
        cluster_start(w->cluster, node);
    else if (world_random(w, STREAM_FAULT, 4) == 0)
        cluster_stop(w->cluster, node);
    else if (world_random(w, STREAM_FAULT, 10) == 0)
        for (uint32_t i = 1; i <= w->knobs.nodes; i++) /* the power of all */
            cluster_crash(w->cluster, i);
    else
        cluster_crash(w->cluster, node);
}

static void fault_partition(struct world *w)
{
    switch (world_random(w, STREAM_FAULT, 4)) {
    case 0:
        cluster_isolate(w->cluster, some_node(w), true);
        break;
    case 1:
        cluster_cut(w->cluster, some_node(w), some_node(w), true);
        break;
    default:
        cluster_heal(w->cluster);
    }
}

static void fault_freeze(struct world *w)
{
    cluster_freeze_disk(w->cluster, some_node(w), world_random(w, STREAM_FAULT, 2) == 0);
}

static void fault_clock(struct world *w)
{
    struct sim_node *n = &w->nodes[some_node(w)];
    n->clock_offset_us = (int64_t)world_random(w, STREAM_FAULT, 2000000) - 1000000;
    n->drift_ppm = (int64_t)world_random(w, STREAM_FAULT, 1000) - 500;
}

static void fault_member(struct world *w)
{
    static const enum raftlog_change changes[] = {RAFTLOG_ADD,    RAFTLOG_PROMOTE, RAFTLOG_PROMOTE,
                                                  RAFTLOG_DEMOTE, RAFTLOG_REMOVE,  RAFTLOG_TRANSFER};
    uint32_t leader = cluster_leader(w->cluster);
    if (leader != 0)
        (void)cluster_member(w->cluster, leader, changes[world_random(w, STREAM_FAULT, 6)], some_node(w));
}

static void fault_outage(struct world *w)
{
    uint32_t which = (uint32_t)world_random(w, STREAM_FAULT, w->knobs.participants);
    participants_outage(w, which, !participants_away(w, which));
}

static void random_fault(struct world *w)
{
    const struct knobs *k = &w->knobs;
    const struct {
        bool on;
        void (*apply)(struct world *w);
        const char *what;
    } faults[] = {
        {k->crashes, fault_crash, "crash"},   {k->partitions, fault_partition, "partition"},
        {k->freezes, fault_freeze, "freeze"}, {k->clocks, fault_clock, "clock"},
        {k->members, fault_member, "member"}, {k->outages, fault_outage, "outage"},
    };
    uint32_t i = (uint32_t)world_random(w, STREAM_FAULT, sizeof faults / sizeof faults[0]);
    if (faults[i].on && world_fault(w, faults[i].what))
        faults[i].apply(w);
}

static void heal(struct world *w)
{
    w->chaos = false;
    cluster_chaos(w->cluster, false);
    cluster_heal(w->cluster);
    for (uint32_t i = 0; i < WORLD_PARTICIPANTS_MAX; i++)
        participants_outage(w, i, false);
    for (uint32_t i = 1; i <= w->knobs.nodes; i++) {
        w->nodes[i].clock_offset_us = 0;
        w->nodes[i].drift_ppm = 0;
        cluster_freeze_disk(w->cluster, i, false);
        if (!cluster_up(w->cluster, i))
            cluster_start(w->cluster, i);
    }
}

/* ---- a run ---- */

static bool done(struct cluster *c, void *arg)
{
    struct world *w = arg;
    uint32_t leader = cluster_leader(c);
    return clients_finished(w) && oracle_unfinished(w) == 0 && leader != 0 &&
           cluster_applied_everywhere(c) >= cluster_status(c, leader).last_index;
}

static const char *run(struct world *w, struct world_report *report)
{
    struct cluster *c = w->cluster;
    cluster_start_all(c);
    clients_start(w);
    w->chaos = true;
    cluster_chaos(c, true);
    uint64_t until = cluster_now_ms(c) + w->knobs.chaos_ms;
    while (cluster_now_ms(c) < until && cluster_failure(c) == NULL) {
        /* Each round has numbers of its own: without its fault the others stay what they are. */
        w->streams[STREAM_FAULT] = ++w->round << 12;
        cluster_run(c, w->knobs.wild ? 5 + world_random(w, STREAM_FAULT, 60)
                                     : 20 + world_random(w, STREAM_FAULT, 400));
        random_fault(w);
        for (uint32_t i = 1; i <= w->knobs.nodes; i++) /* deposed leaders too */
            (void)cluster_read(c, i);                  /* the cluster's own oracle judges it */
    }
    if (cluster_failure(c) != NULL)
        return cluster_failure(c);
    heal(w);
    bool finished = cluster_run_until(c, done, w, w->knobs.heal_ms);
    if (cluster_failure(c) != NULL)
        return cluster_failure(c);
    if (!finished) {
        report->stuck = true;
        oracle_print_unfinished(w);
        cluster_print(c);
        snprintf(w->why, sizeof w->why, "after healing %u transactions do not end%s", oracle_unfinished(w),
                 clients_finished(w) ? "" : ", and clients wait");
        return w->why;
    }
    const char *why = participants_judge(w);
    return why != NULL ? why : clients_judge(w);
}

static void options(struct cluster_options *o, const struct knobs *k)
{
    cluster_options_init(o, k->nodes, k->seed);
    o->voters = k->voters;
    o->heartbeat_ms = 30;
    o->election_ms = 300;
    o->drop = k->drop;
    o->duplicate = k->duplicate;
    o->stale = k->stale;
    o->snapshot_every = k->snapshots ? 20 + (uint32_t)(k->seed % 50) : 0;
    o->trailing = (uint32_t)(k->seed % 5) * 8;
    o->guards_off = k->guards_off;
    if (!k->wild)
        return;
    o->heartbeat_ms = 20;
    o->election_ms = 200;
    o->stale = 10 + (uint32_t)(k->seed % 3) * 20;
    o->snapshot_every = 10 + (uint32_t)(k->seed % 7) * 15;
    o->inflight_entries = k->seed % 6 == 0 ? 2 : 64;
    o->disk_us_max = k->seed % 3 == 0 ? 60000 : 4000;
}

const char *world_run(const struct knobs *k, struct world_report *report)
{
    return world_run_script(k, NULL, NULL, NULL, report);
}

const char *world_run_script(const struct knobs *k, struct script *script,
                             void (*listener)(void *data, uint64_t at_us, const char *text),
                             void *listener_data, struct world_report *report)
{
    static char sentence[1024];
    struct world *w = calloc(1, sizeof *w);
    struct cluster_options o;
    if (w == NULL)
        abort();
    *report = (struct world_report){.stuck = false};
    w->knobs = *k;
    w->app = sim_nodes_app(w);
    options(&o, k);
    o.app = &w->app;
    o.watch_data = w;
    o.decide = decide_network;
    o.say = listener != NULL ? say : NULL;
    w->say = listener;
    w->say_data = listener_data;
    w->script = script;
    if (script != NULL)
        script_rewind(script);
    w->cluster = cluster_new(&o);
    oracle_init(w);
    participants_init(w);
    clients_init(w);
    sim_nodes_init(w);
    const char *why = run(w, report);
    if (why != NULL) {
        snprintf(sentence, sizeof sentence, "%s", why);
        why = sentence;
    }
    report->trace = cluster_trace(w->cluster);
    report->virtual_ms = cluster_now_ms(w->cluster);
    report->faults = w->faults;
    report->leaders = w->leaders;
    report->answers = w->answers;
    for (uint32_t i = 1; i <= k->nodes; i++)
        report->calls += w->nodes[i].calls;
    oracle_report(w, report);
    sim_nodes_close(w);
    clients_close(w);
    participants_close(w);
    oracle_close(w);
    cluster_close(w->cluster);
    free(w);
    return why;
}
