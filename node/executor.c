/* Due work -> HTTP calls -> reports.
 *
 *   (found due) -> QUEUED -> CALLING -> REPORTING -> (gone: the state machine has moved the work)
 *        \___ a slot is free ___^            \-> UNREPORTED -> REPORTING   the proposal was not taken
 *
 * Every piece of due work that was found is in `table` until its report is applied, which keeps one operation
 * of one branch from being called twice at a time.  A pass walks the work index behind the place where the
 * last one ended; what is planned later is due later than the log time at which the pass began, so the next
 * pass starts there and meets little that is in the table already.
 *
 * Each host has a share of the table; what is due beyond it is passed over and stays in the store, and a
 * second walk goes back for it when the host has room again (host.c).  KNOWN_MAX bounds the table: when many
 * hosts have filled it with their shares, the walks wait. */
#include "executor.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "assent/error.h"
#include "executor_private.h"
#include "mark.h"
#include "planted.h"

#define PASS_STEPS 512u /* index steps per loop turn */

/* ---- the table of known work ---- */

static struct call **table_slot(struct executor *ex, struct assent_bytes xid, struct assent_bytes branch,
                                enum sm_op op)
{
    uint32_t h = hash_bytes(2166136261u ^ (uint32_t)op, xid.base, xid.size);
    h = hash_bytes(h * 16777619u, branch.base, branch.size);
    struct call **slot = &ex->table[h & (TABLE_SIZE - 1)];
    for (; *slot != NULL; slot = &(*slot)->next) {
        const struct call *c = *slot;
        if (c->op == op && c->xid_size == xid.size && c->branch_size == branch.size &&
            memcmp(c->key + c->xid_at, xid.base, xid.size) == 0 &&
            memcmp(c->key + c->branch_at, branch.base, branch.size) == 0)
            break;
    }
    return slot;
}

/* ---- one call ---- */

void pass_again(struct executor *ex, int64_t due_us)
{
    if (ex->in_pass && due_us > ex->pass_us)
        return; /* the pass comes there yet */
    if (ex->in_pass && ex->pass_us < ex->pass_from_us)
        ex->pass_from_us = ex->pass_us; /* it ends before it has seen all */
    if (due_us < ex->pass_from_us)
        ex->pass_from_us = due_us;
    ex->in_pass = false;
    ex->dirty = true;
}

void call_free(struct call *c)
{
    struct executor *ex = c->ex;
    struct call **slot = table_slot(ex, call_xid(c), call_branch(c), c->op);
    assert(*slot == c);
    *slot = c->next;
    ex->known--;
    if (c->held_us != INT64_MAX) /* what was passed over is not held up any more */
        pass_again(ex, c->held_us);
    free(c->http);
    free(c);
    wake_in(ex, 0); /* the pass may have waited for room */
}

static struct call *call_new(struct executor *ex, struct call **slot, const struct sm_work_cursor *place,
                             const struct sm_work *work)
{
    assert(*slot == NULL && ex->known < KNOWN_MAX);
    struct call *c = calloc(1, sizeof(*c) + place->size);
    assert(c != NULL);
    c->ex = ex;
    c->state = CALL_QUEUED;
    c->held_us = INT64_MAX;
    c->due_us = work->due_us;
    c->op = work->op;
    c->attempt = work->attempt;
    c->key_size = place->size;
    memcpy(c->key, place->key, place->size);
    c->xid_at = 8; /* behind the due time */
    c->xid_size = (uint32_t)work->xid.size;
    c->branch_at = c->xid_at + c->xid_size + 1;
    c->branch_size = (uint32_t)work->branch.size;
    assert(c->branch_at + c->branch_size == c->key_size);
    assert(memcmp(c->key + c->xid_at, work->xid.base, work->xid.size) == 0);
    *slot = c;
    ex->known++;
    return c;
}

/* ---- planning ---- */

/* Start queued calls while there are slots, hosts taking turns. */
static void start_queued(struct executor *ex)
{
    while (ex->ready != NULL && ex->metrics.in_flight < ex->config.in_flight_max) {
        struct host *h = ex->ready;
        ex->ready = h->ready_next;
        struct call *c = host_pop(ex, h);
        struct sm_work_cursor place = {.size = c->key_size};
        struct sm_work work;
        memcpy(place.key, c->key, c->key_size);
        sm_work_begin(ex->config.sm, &place);
        if (sm_work_at(ex->config.sm, &place, &work) && work.op == c->op) {
            sm_work_load(ex->config.sm, &place, &work);
            call_start(c, h, &work);
            if (c->host == h) /* else it has ended already, and host_update with it */
                host_update(ex, h);
        } else { /* done by somebody else meanwhile */
            c->host = NULL;
            host_update(ex, h);
            call_free(c);
        }
        sm_work_end(ex->config.sm, &place);
    }
}

int64_t executor_now_us(const struct executor *ex)
{
    int64_t now;
    if (ex->config.now_us != NULL) {
        now = ex->config.now_us(ex->config.data);
    } else {
        uv_timeval64_t tv;
        uv_gettimeofday(&tv);
        now = tv.tv_sec * 1000000 + tv.tv_usec;
    }
    int64_t log_us = sm_time_us(ex->config.sm); /* may run ahead of a clock that was set back */
    return now > log_us ? now : log_us;
}

/* The way back of a branch does not start while a call of its way forward may still be at work, nor its
 * confirm while a try is that an operator passed over.  One that has not started never will. */
static bool is_held(struct executor *ex, const struct sm_work *work)
{
    if (work->op != SM_OP_COMPENSATE && work->op != SM_OP_CANCEL && work->op != SM_OP_CONFIRM)
        return false;
    enum sm_op forward = work->op == SM_OP_COMPENSATE ? SM_OP_ACTION : SM_OP_TRY;
    struct call *call = *table_slot(ex, work->xid, work->branch, forward);
    if (call == NULL)
        return false;
    if (PLANTED(CALL_UNDER_CALL))
        return false;
    if (call->state == CALL_QUEUED) {
        host_drop(ex, call);
        return false;
    }
    MARK(BACK_WAITS_FOR_CALL);
    if (work->due_us < call->held_us)
        call->held_us = work->due_us;
    return true;
}

/* Its call is known.  One that was made for another row, before the transaction was paused and went on, is of
 * no use to this one: if it has not started it never will, else this row is looked at again when it ends. */
static bool is_known(struct executor *ex, const struct sm_work *work)
{
    struct call *call = *table_slot(ex, work->xid, work->branch, work->op);
    if (call == NULL || call->due_us == work->due_us)
        return call != NULL;
    if (call->state == CALL_QUEUED) {
        host_drop(ex, call);
        return false;
    }
    if (work->due_us < call->held_us)
        call->held_us = work->due_us;
    return true;
}

/* A piece of due work: known, held, passed over, queued or called. */
static void admit(struct executor *ex, struct sm_work_cursor *place, struct sm_work *work, bool refill)
{
    if (work->waits)
        return; /* polls_turn() goes back for it */
    if (is_known(ex, work) || is_held(ex, work))
        return;
    sm_work_load(ex->config.sm, place, work);
    struct host *h = host_get(ex, work->url);
    if (h == NULL) {
        if (work->due_us < ex->homeless_us)
            ex->homeless_us = work->due_us;
        return;
    }
    if (!host_has_room(ex, h)) {
        host_skip(ex, h, work->due_us, refill);
        return;
    }
    struct call *c = call_new(ex, table_slot(ex, work->xid, work->branch, work->op), place, work);
    if (h->first == NULL && host_has_slot(ex, h) && ex->metrics.in_flight < ex->config.in_flight_max)
        call_start(c, h, work);
    else
        host_push(ex, h, c);
}

/* Walk on: queue what is due, not known and fits.  True: there is no more, and `next_us` is when there will
 * be.
 */
static bool walk(struct executor *ex, struct sm_work_cursor *place, int64_t *at_us, bool refill,
                 int64_t *next_us)
{
    struct sm *sm = ex->config.sm;
    int64_t now = executor_now_us(ex);
    bool over = false;
    sm_work_begin(sm, place);
    for (uint32_t i = 0; i < PASS_STEPS && ex->known < KNOWN_MAX; i++) {
        struct sm_work work;
        if (refill && !ex->refill_all && ex->lists[HOSTS_SEEKING].first == NULL)
            break;
        over = !sm_work_next(sm, place, now, &work);
        if (over) {
            *next_us = work.due_us;
            break;
        }
        *at_us = work.due_us;
        admit(ex, place, &work, refill);
    }
    sm_work_end(sm, place);
    return over;
}

/* The pass over what is due.  It ends, or is left for the next turn. */
static void pass(struct executor *ex)
{
    if (!ex->in_pass) {
        sm_work_place(&ex->place, ex->pass_from_us);
        ex->pass_us = ex->pass_from_us;
        ex->pass_from_us = sm_time_us(ex->config.sm);
        ex->in_pass = true;
        ex->dirty = false;
    }
    /* a call that ends inside may start the pass over */
    if (walk(ex, &ex->place, &ex->pass_us, false, &ex->next_due_us))
        ex->in_pass = false;
}

/* The walk for hosts that have room again, beside the pass, which therefore need not go back. */
static void refill(struct executor *ex)
{
    int64_t next_us;
    if (!ex->in_refill) {
        ex->refill_us = hosts_seek(ex);
        ex->refill_all = ex->homeless_us != INT64_MAX && !hosts_full(ex);
        if (ex->refill_all && ex->homeless_us < ex->refill_us)
            ex->refill_us = ex->homeless_us;
        if (ex->refill_all)
            ex->homeless_us = INT64_MAX;
        if (ex->refill_us == INT64_MAX)
            return;
        sm_work_place(&ex->refill_place, ex->refill_us);
        ex->in_refill = true;
    }
    bool over = walk(ex, &ex->refill_place, &ex->refill_us, true, &next_us);
    if (over || (!ex->refill_all && ex->lists[HOSTS_SEEKING].first == NULL)) {
        ex->in_refill = false;
        hosts_sought(ex);
    }
}

/* What waited while polling was off is due now. */
static void polls_turn(struct executor *ex)
{
    bool polls = sm_polls(ex->config.sm);
    if (polls && !ex->polls)
        pass_again(ex, 0);
    ex->polls = polls;
}

static void on_wake(uv_timer_t *timer);

void wake_in(struct executor *ex, uint64_t ms)
{
    if (ex->running && (!uv_is_active((uv_handle_t *)&ex->timer) || uv_timer_get_due_in(&ex->timer) > ms))
        uv_timer_start(&ex->timer, on_wake, ms, 0);
}

static void on_wake(uv_timer_t *timer)
{
    struct executor *ex = timer->data;
    if (!ex->running)
        return;
    if (ex->unreported != NULL && uv_now(ex->config.loop) >= ex->report_again_ms)
        report_again(ex);
    calls_pretend(ex);
    reports_turn(ex);
    polls_turn(ex);
    if (!ex->in_pass && ex->next_due_us <= executor_now_us(ex))
        ex->dirty = true;
    hosts_turn(ex);
    if (ex->in_pass || ex->dirty)
        pass(ex);
    refill(ex);
    start_queued(ex);
    bool walks = ex->in_pass || ex->in_refill || ex->lists[HOSTS_HUNGRY].first != NULL;
    if ((walks && ex->known < KNOWN_MAX) || (!ex->in_pass && ex->dirty))
        wake_in(ex, 0);
    if (ex->unreported != NULL)
        wake_in(ex, REPORT_RETRY_MS);
    if (!ex->in_pass && ex->next_due_us != INT64_MAX) {
        int64_t wait_us = ex->next_due_us - executor_now_us(ex);
        wake_in(ex, wait_us > 0 ? (uint64_t)wait_us / 1000 + 1 : 0);
    }
}

/* ---- the public face ---- */

int executor_open(struct executor **out, const struct executor_config *config)
{
    struct executor *ex = calloc(1, sizeof(*ex));
    assert(ex != NULL);
    ex->config = *config;
    if (ex->config.in_flight_max == 0)
        ex->config.in_flight_max = 256;
    if (ex->config.per_host_max == 0)
        ex->config.per_host_max = 32;
    if (ex->config.hosts_max == 0)
        ex->config.hosts_max = 16384;
    if (ex->config.timeout_ms == 0)
        ex->config.timeout_ms = 10000;
    if (ex->config.breaker_open_ms == 0)
        ex->config.breaker_open_ms = 5000;
    ex->next_due_us = INT64_MAX;
    struct caller_config caller = {.ca_file = config->ca_file, .insecure = config->verify_nobody};
    int rv = caller_open(&ex->caller, config->loop, &caller);
    if (rv != ASSENT_OK) {
        signature_close(ex->config.keys);
        simulate_close(ex->config.simulate);
        free(ex);
        return rv;
    }
    rv = uv_timer_init(config->loop, &ex->timer);
    assert(rv == 0);
    ex->timer.data = ex;
    codec_writer_init(&ex->report);
    *out = ex;
    return ASSENT_OK;
}

void executor_start(struct executor *ex)
{
    assert(!ex->closing);
    if (ex->running)
        return;
    ex->running = true;
    ex->dirty = true;
    ex->polls = sm_polls(ex->config.sm);
    ex->in_pass = ex->in_refill = false;
    ex->pass_from_us = 0;
    ex->homeless_us = INT64_MAX;
    ex->next_due_us = INT64_MAX;
    wake_in(ex, 0);
}

void executor_stop(struct executor *ex)
{
    if (!ex->running)
        return;
    ex->running = false;
    uv_timer_stop(&ex->timer);
    ex->unreported = ex->gathered = ex->waiting = NULL;
    ex->gathered_n = 0;
    ex->gathered_bytes = 0;
    ex->gathered_urgent = false;
    for (uint32_t i = 0; i < TABLE_SIZE; i++) {
        struct call *next;
        for (struct call *c = ex->table[i]; c != NULL; c = next) {
            next = c->next;
            if (c->state == CALL_REPORTING)
                continue; /* its outcome will come */
            MARK_IF(LEADER_LOST_IN_PHASE_TWO,
                    c->state == CALL_CALLING && (c->op == SM_OP_CONFIRM || c->op == SM_OP_CANCEL));
            MARK_IF(LEADER_LOST_IN_ACTION, c->state == CALL_CALLING && c->op == SM_OP_ACTION);
            MARK_IF(LEADER_LOST_WITH_REPORT, c->state == CALL_GATHERED);
            if (c->state == CALL_CALLING) {
                if (c->http != NULL) /* else it only pretends */
                    caller_drop(c->http);
                ex->metrics.in_flight--;
            }
            ex->metrics.queued -= c->state == CALL_QUEUED;
            ex->metrics.reporting -= c->state == CALL_GATHERED;
            c->host = NULL;
            call_free(c);
        }
    }
    hosts_clear(ex);
    assert(ex->metrics.in_flight == 0 && ex->metrics.queued == 0);
}

void executor_kick(struct executor *ex)
{
    if (!ex->running || ex->closing || ex->dirty)
        return;
    ex->dirty = true;
    wake_in(ex, 0);
}

static void maybe_free(struct executor *ex)
{
    if (!ex->timer_closed || !ex->caller_closed)
        return;
    assert(ex->known == 0);
    codec_writer_close(&ex->report);
    signature_close(ex->config.keys);
    simulate_close(ex->config.simulate);
    void (*cb)(void *) = ex->closed;
    void *data = ex->closed_data;
    free(ex);
    cb(data);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct executor *ex = handle->data;
    ex->timer_closed = true;
    maybe_free(ex);
}

static void on_caller_closed(void *data)
{
    struct executor *ex = data;
    ex->caller_closed = true;
    maybe_free(ex);
}

void close_when_idle(struct executor *ex)
{
    if (ex->closing && ex->known == 0 && !uv_is_closing((uv_handle_t *)&ex->timer))
        uv_close((uv_handle_t *)&ex->timer, on_timer_closed);
}

void executor_close(struct executor *ex, void (*cb)(void *data), void *data)
{
    assert(!ex->closing);
    if (ex->running)
        reports_flush(ex); /* a successor need not make these calls again */
    executor_stop(ex);
    ex->closing = true;
    ex->closed = cb;
    ex->closed_data = data;
    close_when_idle(ex);
    caller_close(ex->caller, on_caller_closed, ex);
}

void executor_metrics(const struct executor *ex, struct executor_metrics *out)
{
    *out = ex->metrics;
}
