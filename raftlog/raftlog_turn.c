/* The turn of the loop: effects of the core to the application, what its callbacks asked for into the core.
 *
 * Draining is bounded per turn: a long backlog of committed entries is applied in slices between which
 * heartbeats are answered. */
#include <assert.h>
#include <stdlib.h>

#include "raftlog_private.h"

/* Applying may keep the loop this long per turn: well below a heartbeat. */
#define DRAIN_US 10000
/* Effects, then what callbacks asked for, then its effects: rounds of one turn. */
#define TURN_ROUNDS 4
/* More committed entries than this wait in the log, not in the queue of effects: roles are told in order with
 * what is applied, and a node that replays a long log must not learn seconds late who leads. */
#define ROOM_ENTRIES 1024
#define ROOM_BYTES   (256 * 1024)
/* A node is current while it applies what the leader has committed within this time. */
#define CURRENT_MS 1000

/* ---- effects ---- */

bool effects_empty(const struct raftlog *log)
{
    return log->effects.head == log->effects.n;
}

struct effect *effect_add(struct raftlog *log, enum effect_kind kind)
{
    struct effects *q = &log->effects;
    if (q->n == q->capacity) {
        uint32_t capacity = q->capacity == 0 ? 64 : 2 * q->capacity;
        struct effect *grown = realloc(q->items, capacity * sizeof *grown);
        assert(grown != NULL); /* an effect that is lost would be an answer that never comes */
        q->items = grown;
        q->capacity = capacity;
    }
    assert(q->items != NULL);
    struct effect *e = &q->items[q->n++];
    *e = (struct effect){.kind = kind};
    return e;
}

void effects_add_entries(struct raftlog *log, struct entry *const *entries, uint32_t n)
{
    struct effects *q = &log->effects;
    while (q->entries_n + n > q->entries_capacity) {
        uint32_t capacity = q->entries_capacity == 0 ? 1024 : 2 * q->entries_capacity;
        struct entry **grown = realloc(q->entries, capacity * sizeof(struct entry *));
        assert(grown != NULL);
        q->entries = grown;
        q->entries_capacity = capacity;
    }
    for (uint32_t i = 0; i < n; i++) {
        q->entries[q->entries_n++] = entry_ref(entries[i]);
        q->entries_bytes += entries[i]->size;
    }
    /* neighbours become one, so that one transaction of the application takes both */
    struct effect *last = effects_empty(log) ? NULL : &q->items[q->n - 1];
    if (last == NULL || last->kind != EFFECT_APPLY) {
        last = effect_add(log, EFFECT_APPLY);
    }
    last->entries_n += n;
}

bool effects_room(const struct raftlog *log)
{
    const struct effects *q = &log->effects;
    return q->entries_n - q->entries_head < ROOM_ENTRIES && q->entries_bytes < ROOM_BYTES;
}

static void drain_apply(struct raftlog *log)
{
    struct effects *q = &log->effects;
    const uint32_t want = q->items[q->head].entries_n;
    const uint64_t start_us = log_now_us();
    uint32_t done = apply_some(log, q->entries + q->entries_head, want);
    log->snapshots.apply_us += log_now_us() - start_us;
    for (uint32_t i = 0; i < done; i++) {
        q->entries_bytes -= q->entries[q->entries_head + i]->size;
        entry_unref(q->entries[q->entries_head + i]);
    }
    q->entries_head += done;
    q->items[q->head].entries_n -= done;
    if (done == want) {
        q->head++;
    }
}

static void tell_role(struct raftlog *log, const struct effect *e)
{
    bool was_leader = log->role == RAFTLOG_LEADER;
    bool lost = was_leader && (e->role.role != RAFTLOG_LEADER || e->role.term != log->term);
    log->role = e->role.role;
    log->term = e->role.term;
    log->leader = e->role.leader;
    log->ready = e->role.ready;
    proposals_role(log, lost);
    log->app.role(log->app.data, log->role, log->term, log->leader, log->ready);
}

static void tell_member(struct raftlog *log, const struct effect *e)
{
    struct raftlog_member *req = (struct raftlog_member *)(uintptr_t)e->member.id;
    assert(req == log->member);
    log->member = NULL;
    req->cb(req, e->status, e->member.detail != NULL ? e->member.detail : "");
    free(e->member.detail);
}

/* Hand out what is queued, in order, until it is empty or the time is up. */
static void drain(struct raftlog *log, uint64_t until_us)
{
    struct effects *q = &log->effects;
    while (q->head < q->n && !log->stopped) {
        struct effect e = q->items[q->head]; /* a copy: callbacks may add effects and move the array */
        if (e.kind == EFFECT_APPLY) {
            drain_apply(log);
            if (log_now_us() >= until_us) {
                break;
            }
            continue;
        }
        q->head++;
        if (e.kind == EFFECT_ROLE) {
            tell_role(log, &e);
        } else if (e.kind == EFFECT_READ) {
            reads_done(log, &e);
        } else {
            tell_member(log, &e);
        }
    }
    if (q->head == q->n) {
        assert(log->stopped || q->entries_head == q->entries_n);
        q->head = q->n = 0;
        q->entries_head = q->entries_n = 0;
    }
}

/* What the core would do at once: hand out more of a backlog, answer a read that needs nobody else. */
static void tick_if_due(struct raftlog *log)
{
    if (!log->stopped && log_now_ms() >= core_deadline_ms(log->core)) {
        log_check(log, core_tick(log->core, log_now_ms()));
    }
}

/* Measure our lag behind the leader's commit index in time: how long until we have applied what was committed
 * when the mark was set? */
static void watch_lag(struct raftlog *log)
{
    const uint64_t now_ms = log_now_ms();
    uint64_t commit = 0;
    if (!core_leader_commit(log->core, &commit)) {
        log->current = false;
        log->mark_index = 0;
        return;
    }
    if (log->mark_index != 0 && log->applied_index < log->mark_index) {
        log->current = log->current && now_ms - log->mark_ms <= CURRENT_MS;
        return;
    }
    if (log->mark_index == 0 ? log->applied_index >= commit : now_ms - log->mark_ms <= CURRENT_MS) {
        log->current = true;
    }
    log->mark_index = log->applied_index < commit ? commit : 0;
    log->mark_ms = now_ms;
}

/* Nobody will drain them any more. */
void effects_close(struct raftlog *log)
{
    struct effects *q = &log->effects;
    for (uint32_t i = q->entries_head; i < q->entries_n; i++) {
        entry_unref(q->entries[i]);
    }
    for (uint32_t i = q->head; i < q->n; i++) {
        if (q->items[i].kind == EFFECT_MEMBER) {
            free(q->items[i].member.detail);
        }
    }
    free(q->items);
    free(q->entries);
}

/* ---- the turn ---- */

static void on_timer(uv_timer_t *timer);

/* Follow the core's deadline.  It mostly moves away, so the timer is left alone until it fires too early.  A
 * deadline that has passed fires in a millisecond, and turns in between must not push it away again. */
static void rearm(struct raftlog *log, bool fired)
{
    uint64_t deadline = core_deadline_ms(log->core);
    uint64_t now = log_now_ms();
    uint64_t want = deadline > now ? deadline : now + 1;
    if (!fired && log->timer_ms != 0 && log->timer_ms <= want) {
        return;
    }
    log->timer_ms = want;
    uv_update_time(log->loop); /* uv counts from the start of the turn */
    int rv = uv_timer_start(&log->timer, on_timer, want - now, 0);
    assert(rv == 0);
}

static void on_timer(uv_timer_t *timer)
{
    struct raftlog *log = timer->data;
    log->timer_ms = 0;
    if (log->stopped) {
        return;
    }
    if (log_now_ms() >= core_deadline_ms(log->core)) {
        log_check(log, core_tick(log->core, log_now_ms()));
    }
    if (!log->stopped) {
        rearm(log, true);
    }
}

static void on_idle(uv_idle_t *idle)
{
    (void)idle; /* its existence keeps the loop from sleeping */
}

/* Something failed for good: everybody who waits is told, then the application. */
static void tell_broken(struct raftlog *log)
{
    log->broken_told = true;
    uv_timer_stop(&log->timer);
    uv_idle_stop(&log->idle);
    log_stop_transport(log);
    log->role = RAFTLOG_STOPPED;
    log->leader = 0;
    log->ready = false;
    log_fail_all(log, ASSENT_STOPPED, ASSENT_UNKNOWN_OUTCOME);
    log->app.role(log->app.data, RAFTLOG_STOPPED, log->term, 0, false);
    log->app.broken(log->app.data, log->broken != NULL ? log->broken : "out of memory");
}

void log_turn(struct raftlog *log)
{
    if (log->turning || log->closing || log->broken_told) {
        return;
    }
    log->turning = true;
    const uint64_t until_us = log_now_us() + DRAIN_US;
    for (unsigned round = 0; round < TURN_ROUNDS && !log->stopped; round++) {
        drain(log, until_us);
        if (!log->stopped) {
            reads_flush(log);
            proposals_flush(log);
            snapshots_turn(log);
            tick_if_due(log);
        }
        if (effects_empty(log) || log_now_us() >= until_us) {
            break;
        }
    }
    log->turning = false;
    if (log->closing) {
        return;
    }
    if (log->stopped) {
        tell_broken(log);
        return;
    }
    watch_lag(log);
    transport_flush(log->transport);
    rearm(log, false);
    bool more = !effects_empty(log) || log->open_group != NULL;
    if (more != (uv_is_active((uv_handle_t *)&log->idle) != 0)) {
        int rv = more ? uv_idle_start(&log->idle, on_idle) : uv_idle_stop(&log->idle);
        assert(rv == 0);
    }
}
