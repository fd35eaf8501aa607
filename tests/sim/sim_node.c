/* A node of the simulated cluster: state machine, executor and proposals around the consensus core, as node/
 * has them around raftlog. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "assent/error.h"
#include "batch.h"
#include "faults.h"
#include "mark.h"
#include "sim_store.h"
#include "world.h"

#define EPOCH_US     INT64_C(1700000000000000) /* virtual time 0 */
#define MAX_SKEW_US  INT64_C(500000)           /* a stamp further ahead of the node's clock is refused */
#define TICK_LATE_US 1000

static int64_t now_us(const struct sim_node *n)
{
    return (int64_t)cluster_now_us(n->world->cluster);
}

int64_t sim_wall_us(const struct sim_node *n)
{
    int64_t passed = n->clock_stands ? 0 : now_us(n) - n->clock_at_us;
    return n->clock_us + passed + passed / 1000 * n->drift_ppm / 1000;
}

int64_t sim_true_us(const struct world *w)
{
    return EPOCH_US + (int64_t)cluster_now_us(w->cluster);
}

/* From now on it goes another way.  What it gained on the right time since the last bend is noted. */
static void clock_bend(struct sim_node *n, int64_t shows_us)
{
    int64_t gained_us = shows_us - n->clock_us - (now_us(n) - n->clock_at_us);
    n->world->jumped_us += gained_us > 0 ? (uint64_t)gained_us : 0;
    n->clock_us = shows_us;
    n->clock_at_us = now_us(n);
}

void sim_clock_step(struct sim_node *n, int64_t us)
{
    clock_bend(n, sim_true_us(n->world) + us);
}

void sim_clock_drift(struct sim_node *n, int64_t ppm)
{
    clock_bend(n, sim_wall_us(n));
    n->drift_ppm = ppm;
}

void sim_clock_stands(struct sim_node *n, bool stands)
{
    clock_bend(n, sim_wall_us(n));
    n->clock_stands = stands;
}

void sim_clock_right(struct sim_node *n)
{
    clock_bend(n, sim_true_us(n->world));
    n->drift_ppm = 0;
    n->clock_stands = false;
}

/* ---- proposals ---- */

static void proposal_end(struct proposal *p, int status, struct assent_bytes result)
{
    p->cb(p->data, status, result);
    free((void *)(uintptr_t)p->command.base);
    free(p);
}

/* End all that wait, or (gathered) never went out. */
static void proposals_end(struct sim_node *n, int status)
{
    struct proposal *lists[] = {n->waiting, n->gathered};
    n->waiting = n->gathered = NULL;
    n->waiting_last = &n->waiting;
    n->gathered_last = &n->gathered;
    for (int i = 0; i < 2; i++) {
        while (lists[i] != NULL) {
            struct proposal *p = lists[i];
            lists[i] = p->next;
            proposal_end(p, i == 0 ? status : ASSENT_NOT_LEADER, (struct assent_bytes){NULL, 0});
        }
    }
}

/* The end of a turn: what was gathered becomes one entry. */
static void on_flush(void *data, uint64_t boot)
{
    struct sim_node *n = data;
    struct assent_bytes commands[64];
    uint32_t count = 0, bytes = 0;
    uint64_t index = 0;
    if (boot != n->boot)
        return;
    n->flush_due = false;
    for (struct proposal *p = n->gathered; p != NULL && count < 64; p = p->next) {
        commands[count++] = p->command;
        bytes += (uint32_t)p->command.size;
    }
    if (count == 0)
        return;
    struct entry *e = entry_new(ENTRY_COMMAND, batch_size(count, bytes));
    assert(e != NULL);
    int64_t stamp_us = sim_wall_us(n), lead_us = stamp_us - EPOCH_US - now_us(n);
    n->world->lead_us = lead_us > n->world->lead_us ? lead_us : n->world->lead_us;
    n->world->lag_us = -lead_us > n->world->lag_us ? -lead_us : n->world->lag_us;
    batch_encode(e, stamp_us, commands, count);
    struct proposal *batch = n->gathered, **at = &n->gathered;
    for (uint32_t i = 0; i < count; i++)
        at = &(*at)->next;
    n->gathered = *at;
    *at = NULL;
    if (n->gathered == NULL)
        n->gathered_last = &n->gathered;
    int rv = cluster_submit_entry(n->world->cluster, n->id, e, &index);
    if (boot != n->boot) /* it died over it */
        rv = ASSENT_UNKNOWN_OUTCOME;
    for (uint32_t slot = 0; batch != NULL; slot++) {
        struct proposal *p = batch;
        batch = p->next;
        p->next = NULL;
        if (rv != 0) {
            proposal_end(p, rv, (struct assent_bytes){NULL, 0});
            continue;
        }
        p->index = index;
        p->slot = slot;
        p->term = n->term;
        *n->waiting_last = p;
        n->waiting_last = &p->next;
    }
    if (n->gathered != NULL && !n->flush_due) {
        n->flush_due = true;
        cluster_at_node(n->world->cluster, n->id, 0, on_flush, n, n->boot);
    }
}

int sim_propose(struct sim_node *n, struct assent_bytes command, propose_cb cb, void *data)
{
    if (n->sm == NULL || n->role != RAFTLOG_LEADER || !n->ready)
        return ASSENT_NOT_LEADER;
    struct proposal *p = calloc(1, sizeof *p);
    uint8_t *copy = malloc(command.size);
    assert(p != NULL && copy != NULL);
    memcpy(copy, command.base, command.size);
    *p = (struct proposal){.cb = cb, .data = data, .command = {copy, command.size}};
    *n->gathered_last = p;
    n->gathered_last = &p->next;
    if (!n->flush_due) {
        n->flush_due = true;
        cluster_at_node(n->world->cluster, n->id, 0, on_flush, n, n->boot);
    }
    return ASSENT_OK;
}

/* ---- ticks: the leader says that time has passed when something is due ---- */

static void arm_tick(struct sim_node *n);

static void tick_done(void *data, int status, struct assent_bytes result)
{
    struct sim_node *n = data;
    (void)status;
    (void)result;
    n->tick_proposed = false;
    if (n->sm != NULL)
        arm_tick(n);
}

static void on_tick(void *data, uint64_t number)
{
    struct sim_node *n = data;
    struct codec_writer w;
    static const struct command_session none = {.kind = SESSION_NONE};
    if (number != n->tick_number || n->sm == NULL)
        return;
    n->tick_due_us = INT64_MAX;
    if (sm_next_due_us(n->sm) > sim_wall_us(n)) {
        arm_tick(n);
        return;
    }
    codec_writer_init(&w);
    command_begin(&w, COMMAND_TICK, &none, 0);
    n->tick_proposed = sim_propose(n, codec_written(&w), tick_done, n) == ASSENT_OK;
    codec_writer_close(&w);
}

static void arm_tick(struct sim_node *n)
{
    int64_t due_us = sm_next_due_us(n->sm);
    if (n->tick_proposed || n->role != RAFTLOG_LEADER || !n->ready || due_us >= n->tick_due_us)
        return;
    int64_t wait_us = due_us - sim_wall_us(n) + TICK_LATE_US;
    n->tick_due_us = due_us;
    if (wait_us < TICK_LATE_US) /* due: what was refused just now is not asked for again at once */
        wait_us = TICK_LATE_US;
    cluster_at_node(n->world->cluster, n->id, (uint64_t)wait_us, on_tick, n, ++n->tick_number);
}

/* ---- what the executor calls ---- */

struct report {
    struct sim_node *node;
    struct executor *executor;
    void *ticket;
};

static void report_done(void *data, int status, struct assent_bytes bytes)
{
    struct report *r = data;
    struct codec_arena arena;
    struct result result = {.code = status};
    codec_arena_init(&arena);
    if (status == ASSENT_OK && !result_decode(&arena, bytes, &result))
        result.code = ASSENT_MALFORMED;
    uint64_t counted = result.code == ASSENT_OK ? codec_as_uint(codec_get(result.data, "counted")) : 0;
    codec_arena_close(&arena);
    executor_reported(r->executor, r->ticket, result.code, counted);
    free(r);
}

static int report_propose(void *data, struct assent_bytes command, void *ticket)
{
    struct sim_node *n = data;
    struct report *r = malloc(sizeof *r);
    assert(r != NULL);
    *r = (struct report){n, n->executor, ticket};
    int rv = sim_propose(n, command, report_done, r);
    if (rv != ASSENT_OK)
        free(r);
    return rv;
}

static int64_t executor_now(void *data)
{
    return sim_wall_us(data);
}

/* ---- what the cluster calls ---- */

static void image_path(char out[64], uint32_t node, uint64_t index)
{
    snprintf(out, 64, "image/%u/%llu", node, (unsigned long long)index);
}

static void on_event(void *data, const struct sm_event *event)
{
    struct sim_node *n = data;
    oracle_event(n->world, event);
}

static void app_open(void *data, uint32_t id, uint64_t applied, bool kept)
{
    struct world *w = data;
    struct sim_node *n = &w->nodes[id];
    char dir[64], path[64], err[256] = "";
    snprintf(dir, sizeof dir, "state/%u", id);
    struct sm_config config = {.dir = dir, .cluster_tag = 0xa55e47};
    int rv = sm_open(&n->sm, &config, err, sizeof err);
    assert(rv == ASSENT_OK);
    if (!kept && applied > 0) {
        image_path(path, id, applied);
        rv = sm_restore(n->sm, path, err, sizeof err);
        if (rv != ASSENT_OK)
            cluster_fail(w->cluster, "node %u has a snapshot of %llu but no image: %s", id,
                         (unsigned long long)applied, err);
    }
    if (sm_applied_index(n->sm) != applied)
        cluster_fail(w->cluster, "node %u opened its state at %llu, the log goes on behind %llu", id,
                     (unsigned long long)sm_applied_index(n->sm), (unsigned long long)applied);
    if (applied > 0)
        oracle_applied(w, id, applied, sm_digest(n->sm));
    sm_on_event(n->sm, on_event, n);
    n->boot++;
    n->role = RAFTLOG_FOLLOWER;
    n->ready = n->flush_due = n->tick_proposed = false;
    n->tick_due_us = INT64_MAX;
    n->applied = applied;
    struct executor_config executor = {.loop = &n->loop,
                                       .sm = n->sm,
                                       .data = n,
                                       .propose = report_propose,
                                       .now_us = executor_now,
                                       .timeout_ms = 2000,
                                       .breaker_failures = 5, /* as a node's configuration has it */
                                       .breaker_open_ms = 5000,
                                       .report_lazy_ms = w->knobs.report_lazy_ms,
                                       .per_host_max = w->knobs.seed % 3 == 0 ? 1 : 0}; /* 0: the default */
    rv = executor_open(&n->executor, &executor);
    assert(rv == ASSENT_OK);
}

static void on_executor_closed(void *data)
{
    (void)data;
}

static void app_close(void *data, uint32_t id, bool clean)
{
    struct world *w = data;
    struct sim_node *n = &w->nodes[id];
    n->boot++;
    n->role = RAFTLOG_STOPPED;
    n->ready = false;
    executor_stop(n->executor);
    proposals_end(n, ASSENT_UNKNOWN_OUTCOME);
    executor_close(n->executor, on_executor_closed, n);
    n->executor = NULL;
    sm_close(n->sm, clean);
    n->sm = NULL;
    if (!clean) {
        char dir[64];
        snprintf(dir, sizeof dir, "state/%u", id);
        sim_store_unlink(dir);
    }
    faults_died(n);
}

/* Results of this node's own proposals in the entry. */
static void hand_back(struct sim_node *n, const struct entry *e, const struct sm_command *cmds,
                      uint32_t count)
{
    while (n->waiting != NULL && n->waiting->index <= e->index) {
        struct proposal *p = n->waiting;
        bool ours = p->index == e->index && p->term == e->term;
        assert(p->index == e->index || p->term != e->term || p->index < e->index);
        n->waiting = p->next;
        if (n->waiting == NULL)
            n->waiting_last = &n->waiting;
        if (ours && p->slot < count)
            proposal_end(p, ASSENT_OK, cmds[p->slot].result);
        else
            proposal_end(p, ASSENT_UNKNOWN_OUTCOME, (struct assent_bytes){NULL, 0});
    }
}

static void apply_entry(struct sim_node *n, const struct entry *e)
{
    static struct sm_command cmds[ASSENT_ENTRY_COMMANDS_MAX];
    struct batch b = {0};
    if (e->type == ENTRY_COMMAND && !batch_decode(e, &b)) {
        cluster_fail(n->world->cluster, "node %u: entry %llu is no batch", n->id,
                     (unsigned long long)e->index);
        return;
    }
    const uint8_t *at = b.commands;
    for (uint32_t i = 0; i < b.n; i++) {
        uint32_t size = batch_command_size(&b, i);
        cmds[i] = (struct sm_command){
            .index = e->index, .slot = i, .time_us = b.time_us, .command = {at, size}, .awaited = true};
        at += size;
    }
    sm_apply(n->sm, cmds, b.n, e->index);
    n->applied = e->index;
    oracle_applied(n->world, n->id, e->index, sm_digest(n->sm));
    hand_back(n, e, cmds, b.n);
}

static void app_apply(void *data, uint32_t id, struct entry *const *entries, uint32_t count)
{
    struct world *w = data;
    struct sim_node *n = &w->nodes[id];
    for (uint32_t i = 0; i < count; i++)
        apply_entry(n, entries[i]);
    executor_kick(n->executor);
    arm_tick(n);
}

static void app_dump(void *data, uint32_t id, uint64_t index, uint64_t forget)
{
    struct world *w = data;
    struct sim_node *n = &w->nodes[id];
    char path[64];
    uint64_t size, digest;
    assert(sm_applied_index(n->sm) == index);
    image_path(path, id, index);
    int rv = sm_dump(n->sm, sm_pin(n->sm), path, &size, &digest);
    assert(rv == ASSENT_OK);
    (void)forget; /* the one on disk may still be the newest when the node dies now */
}

static void app_fetched(void *data, uint32_t id, uint32_t from, uint64_t index)
{
    char source[64], own[64];
    (void)data;
    image_path(source, from, index);
    image_path(own, id, index);
    sim_store_copy(source, own);
}

static void app_restore(void *data, uint32_t id, uint64_t index)
{
    struct world *w = data;
    struct sim_node *n = &w->nodes[id];
    char path[64], err[256] = "";
    image_path(path, id, index);
    MARK_IF(SNAPSHOT_OF_OPEN, oracle_unfinished(w) > 0);
    int rv = sm_restore(n->sm, path, err, sizeof err);
    if (rv != ASSENT_OK || sm_applied_index(n->sm) != index)
        cluster_fail(w->cluster, "node %u cannot take the snapshot of %llu: %s", id,
                     (unsigned long long)index, err);
    n->applied = index;
    oracle_applied(w, id, index, sm_digest(n->sm));
    if (n->waiting != NULL && n->waiting->index <= index)
        proposals_end(n, ASSENT_UNKNOWN_OUTCOME);
}

/* The role may change inside a call into the core: what follows happens behind it. */
static void on_settle(void *data, uint64_t boot)
{
    struct sim_node *n = data;
    if (boot != n->boot || n->sm == NULL)
        return;
    n->tick_due_us = INT64_MAX; /* what was armed in another term went unheard */
    bool leads = n->role == RAFTLOG_LEADER && n->ready;
    if (leads)
        executor_start(n->executor);
    else
        executor_stop(n->executor);
    if (n->role != RAFTLOG_LEADER)
        proposals_end(n, ASSENT_UNKNOWN_OUTCOME);
    arm_tick(n);
}

static void app_role(void *data, uint32_t id, enum raftlog_role role, uint64_t term, uint64_t leader,
                     bool ready)
{
    struct world *w = data;
    struct sim_node *n = &w->nodes[id];
    w->leaders += role == RAFTLOG_LEADER && n->role != RAFTLOG_LEADER;
    n->role = role;
    n->term = term;
    n->leader = leader;
    n->ready = ready;
    cluster_at_node(w->cluster, n->id, 0, on_settle, n, n->boot);
}

static bool app_admit(void *data, uint32_t id, const struct entry *entry)
{
    struct world *w = data;
    struct batch b;
    if (entry->type != ENTRY_COMMAND)
        return true;
    return batch_decode(entry, &b) && b.time_us <= sim_wall_us(&w->nodes[id]) + MAX_SKEW_US;
}

struct cluster_app sim_nodes_app(struct world *w)
{
    return (struct cluster_app){.data = w,
                                .open = app_open,
                                .close = app_close,
                                .apply = app_apply,
                                .dump = app_dump,
                                .fetched = app_fetched,
                                .restore = app_restore,
                                .role = app_role,
                                .admit = app_admit,
                                .installing = faults_installing};
}

void sim_nodes_init(struct world *w)
{
    for (uint32_t id = 1; id <= w->knobs.nodes + w->knobs.spares; id++) {
        struct sim_node *n = &w->nodes[id];
        *n = (struct sim_node){.world = w, .id = id, .role = RAFTLOG_STOPPED};
        n->waiting_last = &n->waiting;
        n->gathered_last = &n->gathered;
        n->clock_us = EPOCH_US;
        sim_uv_init(&n->loop, n);
    }
}

void sim_nodes_close(struct world *w)
{
    w->over = true;
    for (uint32_t id = 1; id <= w->servers; id++)
        cluster_stop(w->cluster, id);
    cluster_run(w->cluster, 30000); /* what is on its way arrives, and frees itself */
    sim_store_reset();
}
