/* Sagas: steps with an action and a compensation each, the whole plan in one command.
 *
 *   RUNNING --every action succeeded--> COMMITTED
 *      |--the same, but onFailure suspend--> SUSPENDED --resume--> RUNNING or ROLLING_BACK
 *      \---an action failed, time is up, rollback--> ROLLING_BACK --every compensation succeeded-->
 * ROLLED_BACK
 *
 *   step:  REGISTERED -> EXECUTING -> EXECUTED -> COMPENSATING -> COMPENSATED
 *                             \-----> FAILED ------^   (from EXECUTING too: nobody knows, it may have
 * happened)
 *
 * Back goes every step whose action was due, the failed one too: a call that failed may have done a part.  A
 * step that could not start is left alone.  Actions start when the steps before them are done, compensations
 * when those behind them are, so that what was built last is taken down first.  A step with no URL is done
 * the moment it is reached, in the same command. Source: Garcia-Molina and Salem, Sagas; the set of
 * compensations is DTM's. */
#include <stdio.h>
#include <stdlib.h>

#include "txn.h"

static bool started(enum branch_status status)
{
    return status == BRANCH_EXECUTING || status == BRANCH_EXECUTED || status == BRANCH_FAILED;
}

static void step_load(struct apply *a, struct assent_bytes xid, const struct txn *t, uint32_t i,
                      struct branch_plan *plan, struct branch_progress *p, uint8_t error[TXN_ERROR_BYTES_MAX])
{
    bool there = branch_plan_load(a->txn, xid, i, plan);
    assert(there);
    branch_progress_load(a->txn, xid, i, t, plan, p);
    assert(p->error.size <= TXN_ERROR_BYTES_MAX);
    if (p->error.size > 0) /* the store takes it back with the next write */
        memcpy(error, p->error.base, p->error.size);
    p->error.base = error;
}

/* The operation of step `i` begins.  True: there was nothing to call, and it is done. */
static bool step_begin(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t i, enum sm_op op)
{
    struct branch_plan plan;
    struct branch_progress p;
    uint8_t error[TXN_ERROR_BYTES_MAX];
    step_load(a, xid, t, i, &plan, &p, error);
    bool call = plan.url[op].size > 0;
    assert(p.waiting == 0);
    branch_move(&p, branch_doing(op));
    p.attempts = p.errors = 0;
    p.next_due_us = call ? a->now_us : 0;
    p.finished_us = 0;
    t->saga.cursor = i;
    if (call) {
        struct store_key name; /* `plan` is borrowed from the store, which is written now */
        key_init(&name);
        key_tail(&name, plan.name);
        branch_progress_put(a->txn, xid, i, t, &p);
        work_put(a->txn, a->now_us, xid, key_bytes(&name), op, 0, t->token, i);
        return false;
    }
    branch_move(&p, branch_done(op));
    p.finished_us = a->now_us;
    if (op == SM_OP_ACTION)
        p.action = SM_OUTCOME_SUCCESS;
    branch_progress_put(a->txn, xid, i, t, &p);
    assert(t->pending > 0);
    t->pending--;
    return true;
}

/* Step `i` is done: which steps waited for it alone?  Gives room for `max`. */
static uint32_t step_followers(struct apply *a, struct assent_bytes xid, const struct txn *t, uint32_t i,
                               enum sm_op op, uint32_t *ready)
{
    bool forward = op == SM_OP_ACTION;
    if (!t->saga.concurrent) {
        if (forward ? i + 1 == t->branches : i == 0)
            return 0;
        ready[0] = forward ? i + 1 : i - 1;
        return 1;
    }
    if (!t->saga.edges)
        return 0;
    uint32_t n, n_ready = 0;
    uint32_t *list = saga_edges(a->txn, xid, i, forward, &n);
    for (uint32_t k = 0; k < n; k++) {
        struct branch_plan plan;
        struct branch_progress p;
        uint8_t error[TXN_ERROR_BYTES_MAX];
        step_load(a, xid, t, list[k], &plan, &p, error);
        assert(p.waiting > 0);
        p.waiting--;
        branch_progress_put(a->txn, xid, list[k], t, &p);
        if (p.waiting == 0)
            ready[n_ready++] = list[k];
    }
    free(list);
    return n_ready;
}

/* Begin what is ready, and what becomes ready because there was nothing to call.  Finishes the saga when
 * nothing is pending. */
static void saga_flow(struct apply *a, struct assent_bytes xid, struct txn *t, enum sm_op op, uint32_t *ready,
                      uint32_t n)
{
    while (n > 0) {
        uint32_t i = ready[--n];
        if (step_begin(a, xid, t, i, op))
            n += step_followers(a, xid, t, i, op, ready + n);
        assert(n <= t->branches);
    }
    if (t->pending > 0)
        return;
    if (t->status == TXN_RUNNING) {
        t->decided_us = a->now_us;
        if (t->deadline_us != 0)
            timer_clear(a->txn, t->deadline_us, TIMER_TXN, xid);
    }
    txn_finish(a, xid, t);
}

/* Room for steps that are ready at a time; a step is ready once. */
static uint32_t *ready_room(const struct txn *t)
{
    uint32_t *ready = calloc(t->saga.concurrent ? t->branches + 1 : 1, sizeof(*ready));
    assert(ready != NULL);
    return ready;
}

/* ---- submit */

static int submit_parse(struct apply *a, struct txn *t)
{
    static_assert((int)SAGA_SUBMIT_STEPS == (int)TXN_BEGIN_BRANCHES,
                  "the head's fields are those of a begin");
    const struct command *c = a->command;
    int rv = txn_parse(a, t, TXN_MODE_SAGA, SAGA_SUBMIT_OPTIONS);
    if (rv != ASSENT_OK)
        return rv;
    struct assent_bytes on_failure = arg_bytes(c, SAGA_SUBMIT_ON_FAILURE);
    t->saga.concurrent = arg_bool(c, SAGA_SUBMIT_CONCURRENT, false);
    t->saga.retry_limit = (uint32_t)arg_uint(c, SAGA_SUBMIT_RETRY_LIMIT, 0);
    if (on_failure.size == 0 || bytes_equal(on_failure, bytes_of("compensate")))
        t->saga.on_failure = SAGA_COMPENSATE;
    else if (bytes_equal(on_failure, bytes_of("retry")))
        t->saga.on_failure = SAGA_RETRY;
    else if (bytes_equal(on_failure, bytes_of("suspend")))
        t->saga.on_failure = SAGA_SUSPEND;
    else
        return refuse(a, ASSENT_INVALID, "onFailure: compensate, retry or suspend");
    if (t->saga.on_failure == SAGA_RETRY && (t->saga.retry_limit > 0 || t->timeout_ms > 0))
        return refuse(a, ASSENT_INVALID, "onFailure retry never turns back: no retryLimit, no timeoutMs");
    t->status = TXN_RUNNING;
    t->token = a->position;
    return ASSENT_OK;
}

static void submit_write(struct apply *a, struct assent_bytes xid, struct txn *t, const struct saga_plan *p)
{
    txn_write(a, xid, t, p->steps, p->n, SAGA_SUBMIT_OPTIONS);
    t->pending = p->n;
    uint32_t *ready = ready_room(t), n = 0;
    if (t->saga.edges)
        saga_edges_put(a, xid, p);
    for (uint32_t i = p->n; t->saga.concurrent && i > 0;
         i--) { /* from the last, so that the first goes first */
        uint32_t before = codec_size(saga_plan_before(a, i - 1));
        if (before > 0) {
            struct branch_progress waits = {.status = BRANCH_REGISTERED, .waiting = before};
            branch_progress_put(a->txn, xid, i - 1, t, &waits);
        } else {
            ready[n++] = i - 1;
        }
    }
    if (!t->saga.concurrent && p->n > 0)
        ready[n++] = 0;
    saga_flow(a, xid, t, SM_OP_ACTION, ready, n);
    free(ready);
    txn_save(a, xid, t);
}

static bool submit_same(struct apply *a, struct assent_bytes xid, const struct txn *there,
                        const struct txn *t, const struct saga_plan *p)
{
    return there->mode == TXN_MODE_SAGA && txn_same(a, xid, there, t, p->steps, p->n) &&
           there->saga.concurrent == t->saga.concurrent && there->saga.edges == t->saga.edges &&
           there->saga.on_failure == t->saga.on_failure && there->saga.retry_limit == t->saga.retry_limit &&
           (!t->saga.edges || saga_edges_same(a, xid, p));
}

/* Submit a saga: begin, plan and first steps in one entry.  Idempotent by xid and content, as begin is. */
int saga_submit(struct apply *a)
{
    char made[TXN_MADE_BYTES];
    struct assent_bytes xid = txn_xid(a, made);
    struct txn t, there;
    struct saga_plan plan;
    int rv = submit_parse(a, &t);
    if (rv != ASSENT_OK)
        return rv;
    rv = saga_plan_parse(a, &t, &plan);
    if (rv == ASSENT_OK) {
        if (!txn_load(a->txn, xid, &there)) {
            submit_write(a, xid, &t, &plan);
            txn_answer_begin(a, xid, &t, true);
        } else if (submit_same(a, xid, &there, &t, &plan)) {
            txn_answer_begin(a, xid, &there, false);
        } else {
            rv = txn_exists(a, xid, &there);
        }
    }
    saga_plan_close(&plan);
    return rv;
}

/* ---- back */

/* Prepare a step for the way back; true: it takes part, and when nothing behind it does, it is `ready`. */
static bool step_turn(struct apply *a, struct assent_bytes xid, const struct txn *t, uint32_t i, bool *ready)
{
    struct branch_plan plan;
    struct branch_progress p;
    uint8_t error[TXN_ERROR_BYTES_MAX];
    step_load(a, xid, t, i, &plan, &p, error);
    if (!started(p.status))
        return false;
    if (p.next_due_us != 0)
        work_clear(a->txn, p.next_due_us, xid, plan.name);
    p.next_due_us = 0;
    p.waiting = 0;
    if (t->saga.edges) {
        uint32_t n;
        uint32_t *behind = saga_edges(a->txn, xid, i, true, &n);
        for (uint32_t k = 0; k < n; k++) {
            struct branch_progress q;
            branch_progress_load(a->txn, xid, behind[k], t, &plan, &q);
            p.waiting += started(q.status);
        }
        free(behind);
    }
    branch_progress_put(a->txn, xid, i, t, &p);
    *ready = p.waiting == 0;
    return true;
}

void saga_back(struct apply *a, struct assent_bytes xid, struct txn *t, struct assent_bytes reason)
{
    if (t->deadline_us != 0)
        timer_clear(a->txn, t->deadline_us, TIMER_TXN, xid);
    txn_move(t, TXN_ROLLING_BACK);
    t->reason = txn_shortened(reason, TXN_REASON_BYTES_MAX);
    t->token = a->position;
    t->decided_us = a->now_us;
    uint32_t *ready = ready_room(t), n = 0;
    bool is_ready;
    t->pending = 0;
    if (!t->saga.concurrent) { /* all steps up to the one under way were reached, in order */
        bool turned = step_turn(a, xid, t, t->saga.cursor, &is_ready);
        assert(turned && is_ready);
        t->pending = t->saga.cursor + 1;
        ready[n++] = t->saga.cursor;
    }
    for (uint32_t i = 0; t->saga.concurrent && i < t->branches; i++) {
        if (!step_turn(a, xid, t, i, &is_ready))
            continue;
        t->pending++;
        if (is_ready)
            ready[n++] = i;
    }
    saga_flow(a, xid, t, SM_OP_COMPENSATE, ready, n);
    free(ready);
    txn_save(a, xid, t);
}

void saga_failed(struct apply *a, struct assent_bytes xid, struct txn *t, struct assent_bytes reason)
{
    if (t->saga.on_failure == SAGA_SUSPEND)
        txn_suspend(a, xid, t, reason);
    else
        saga_back(a, xid, t, reason);
}

/* ---- reports */

void saga_go_on(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t i, enum sm_op op)
{
    assert(t->pending > 0);
    t->pending--;
    uint32_t *ready = ready_room(t);
    saga_flow(a, xid, t, op, ready, step_followers(a, xid, t, i, op, ready));
    free(ready);
}

static void report_success(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t i,
                           struct branch_progress *p, enum sm_op op)
{
    branch_move(p, branch_done(op));
    p->next_due_us = 0;
    p->finished_us = a->now_us;
    if (op == SM_OP_ACTION)
        p->action = SM_OUTCOME_SUCCESS;
    branch_progress_put(a->txn, xid, i, t, p);
    saga_go_on(a, xid, t, i, op);
    txn_save(a, xid, t);
}

/* A step has failed for good. */
static void step_failed(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t i,
                        struct assent_bytes name, struct branch_progress *p)
{
    branch_move(p, BRANCH_FAILED);
    p->action = SM_OUTCOME_FAILURE;
    p->next_due_us = 0;
    p->finished_us = a->now_us;
    branch_progress_put(a->txn, xid, i, t, p);
    char reason[ASSENT_NAME_BYTES_MAX + TXN_ERROR_BYTES_MAX + 16];
    snprintf(reason, sizeof(reason), "step %.*s: %.*s", (int)name.size, (const char *)name.base,
             (int)p->error.size, (const char *)p->error.base);
    saga_failed(a, xid, t, bytes_of(reason));
}

/* Again later, or never: an action whose retries are used up turns the saga back. */
static void report_again(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t i,
                         const struct branch_plan *plan, struct assent_bytes name, struct branch_progress *p,
                         enum sm_op op, bool ongoing)
{
    int64_t wait_us;
    if (op == SM_OP_ACTION && t->saga.retry_limit > 0) {
        t->saga.retries++;
        if (t->saga.retries > t->saga.retry_limit) {
            char reason[64];
            p->next_due_us = 0;
            branch_progress_put(a->txn, xid, i, t, p);
            snprintf(reason, sizeof(reason), "retry limit %u reached", t->saga.retry_limit);
            saga_failed(a, xid, t, bytes_of(reason));
            return;
        }
        txn_save(a, xid, t);
    }
    if (!ongoing && p->errors < UINT32_MAX)
        p->errors++;
    if (!ongoing && branch_given_up(plan, p)) {
        if (op == SM_OP_ACTION && t->saga.on_failure != SAGA_RETRY)
            step_failed(a, xid, t, i, name, p);
        else
            branch_suspend(a, xid, t, i, p, name, op);
        return;
    }
    wait_us = branch_back_off_us(t, plan, i, p->errors > 0 ? p->errors - 1 : 0);
    p->next_due_us = a->now_us + wait_us;
    branch_progress_put(a->txn, xid, i, t, p);
    work_put(a->txn, p->next_due_us, xid, name, op, p->attempts, t->token, i);
}

void saga_report(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t ordinal,
                 const struct branch_plan *plan, struct branch_progress *p, const struct report *r)
{
    enum sm_outcome outcome = r->outcome;
    enum sm_op op = r->op;
    struct assent_bytes error = txn_shortened(r->error, TXN_ERROR_BYTES_MAX);
    struct assent_bytes name = r->branch; /* plan->name, not borrowed */
    uint8_t kept[TXN_ERROR_BYTES_MAX];
    assert(bytes_equal(name, plan->name));
    if (outcome == SM_OUTCOME_SUCCESS) { /* the last error stays to be read */
        error = p->error;
        if (error.size > 0)
            memcpy(kept, error.base, error.size);
        error.base = kept;
    }
    p->error = error;
    p->attempts++;
    work_clear(a->txn, p->next_due_us, xid, name);
    if (outcome == SM_OUTCOME_SUCCESS) {
        report_success(a, xid, t, ordinal, p, op);
    } else if (outcome == SM_OUTCOME_FAILURE && op == SM_OP_ACTION && t->saga.on_failure != SAGA_RETRY) {
        step_failed(a, xid, t, ordinal, name, p);
    } else {
        branch_move(p, branch_doing(op));
        report_again(a, xid, t, ordinal, plan, name, p, op, outcome == SM_OUTCOME_ONGOING);
    }
}
