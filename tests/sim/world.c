/* One run: knobs from the seed, faults for a while, then healing until everything is done. */
#include "world.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "faults.h"

#define OPERATE_US 100000 /* between two looks of an operator */

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

/* ---- a run ---- */

static bool done(struct cluster *c, void *arg)
{
    struct world *w = arg;
    (void)c;
    return clients_finished(w) && oracle_unfinished(w) == 0 && faults_healed(w);
}

/* The cluster's own oracle judges it. */
static void read_here(void *data, uint64_t node)
{
    struct world *w = data;
    if (w->chaos)
        (void)cluster_read(w->cluster, (uint32_t)node);
}

static void on_operate(void *data, uint64_t arg)
{
    struct world *w = data;
    if (w->over)
        return;
    faults_operate(w);
    cluster_at(w->cluster, OPERATE_US, on_operate, w, arg);
}

static const char *run(struct world *w, struct world_report *report)
{
    struct cluster *c = w->cluster;
    for (uint32_t i = 1; i <= w->servers; i++)
        cluster_start(c, i);
    clients_start(w);
    on_operate(w, 0);
    w->chaos = true;
    cluster_chaos(c, true);
    uint64_t until = cluster_now_ms(c) + w->knobs.chaos_ms;
    while (cluster_now_ms(c) < until && cluster_failure(c) == NULL) {
        /* Each round has numbers of its own: without its fault the others stay what they are. */
        w->streams[STREAM_FAULT] = ++w->round << 12;
        cluster_run(c, 5 + world_random(w, STREAM_FAULT, w->knobs.calm_ms_max));
        faults_round(w);
        cluster_check_durable(c);
        for (uint32_t i = 1; i <= w->servers; i++) /* deposed leaders too, and those that stand still */
            cluster_at_node(c, i, 0, read_here, w, i);
    }
    if (cluster_failure(c) != NULL)
        return cluster_failure(c);
    w->streams[STREAM_FAULT] = ++w->round << 12;
    faults_heal(w);
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
    cluster_options_init(o, k->nodes + k->spares, k->seed);
    o->voters = k->voters;
    o->heartbeat_ms = 30;
    o->election_ms = 300;
    o->drop = k->drop;
    o->duplicate = k->duplicate;
    o->stale = k->stale;
    o->corrupt = k->corrupt;
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
    w->servers = k->nodes;
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
    for (uint32_t i = 1; i <= w->servers; i++)
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
