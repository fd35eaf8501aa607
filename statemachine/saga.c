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

#include "mark.h"
#include "nest.h"
#include "planted.h"

static bool started(enum branch_status status)
{
    return (status == BRANCH_EXECUTING && !PLANTED(FORGOTTEN_STEP)) || status == BRANCH_ACCEPTED ||
           status == BRANCH_EXECUTED || status == BRANCH_FAILED;
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

/* The operation of step `i` begins; its call is due when nobody waits for an operator.  True: there was
 * nothing to call, and it is done. */
static bool step_begin(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t i, enum sm_op op)
{
    struct branch_plan plan;
    struct branch_progress p;
    uint8_t error[TXN_ERROR_BYTES_MAX];
    step_load(a, xid, t, i, &plan, &p, error);
    bool call = plan.url[op].size > 0, due = call && t->status != TXN_SUSPENDED;
    assert(p.waiting == 0);
    branch_move(&p, branch_doing(op));
    p.attempts = p.errors = 0;
    p.next_due_us = due ? a->now_us : 0;
    p.finished_us = 0;
    t->saga.cursor = i;
    if (call) {
        struct store_key name; /* `plan` is borrowed from the store, which is written now */
        key_init(&name);
        key_tail(&name, plan.name);
        branch_progress_put(a->txn, xid, i, t, &p);
        if (due)
            work_put(a, a->now_us, xid, key_bytes(&name), op, 0, t->token, i);
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
        bool last = forward ? i + 1 == t->branches : i == 0;
        if (PLANTED(COMPENSATION_FORWARD) && !forward)
            last = t->pending == 0;
        if (last)
            return 0;
        ready[0] = forward || PLANTED(COMPENSATION_FORWARD) ? i + 1 : i - 1;
        return 1;
    }
    if (!t->saga.edges)
        return 0;
    uint32_t n, n_ready = 0;
    uint32_t *list = saga_edges(a->txn, xid, i, forward || PLANTED(COMPENSATION_FORWARD), &n);
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
    saga_settle(a, xid, t);
}

void saga_settle(struct apply *a, struct assent_bytes xid, struct txn *t)
{
    if (t->pending > 0 || t->status == TXN_SUSPENDED || t->waits)
        return;
    if (t->status == TXN_RUNNING && t->open_children > 0)
        return; /* the last one to decide comes back here */
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
    if (arg_present(c, SAGA_SUBMIT_OPTIONS + OPTION_ORDER))
        return refuse(a, ASSENT_INVALID, "order: a saga's steps keep the order of concurrent and after");
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
    t->held = arg_bool(c, SAGA_SUBMIT_OPTIONS + OPTION_HOLD, false);
    if (!t->held) {
        t->status = TXN_RUNNING;
        t->token = a->position;
    }
    return ASSENT_OK;
}

int saga_submit_check(struct apply *a)
{
    struct txn t;
    struct saga_plan plan;
    int rv = submit_parse(a, &t);
    if (rv != ASSENT_OK)
        return rv;
    rv = saga_plan_parse(a, &t, &plan);
    saga_plan_close(&plan);
    return rv;
}

/* The first steps begin. */
static void submit_start(struct apply *a, struct assent_bytes xid, struct txn *t)
{
    uint32_t *ready = ready_room(t), n = 0;
    t->pending = t->branches;
    if (!t->saga.concurrent && t->branches > 0)
        ready[n++] = 0;
    for (uint32_t i = t->branches; t->saga.concurrent && i > 0; i--) { /* so that the first goes first */
        struct branch_plan plan;
        struct branch_progress p;
        uint8_t error[TXN_ERROR_BYTES_MAX];
        step_load(a, xid, t, i - 1, &plan, &p, error);
        if (p.waiting == 0)
            ready[n++] = i - 1;
    }
    saga_flow(a, xid, t, SM_OP_ACTION, ready, n);
    free(ready);
    txn_save(a, xid, t);
}

static void submit_write(struct apply *a, struct assent_bytes xid, struct txn *t, const struct saga_plan *p)
{
    txn_write(a, xid, t, p->steps, p->n, SAGA_SUBMIT_OPTIONS);
    if (t->saga.edges)
        saga_edges_put(a, xid, p);
    for (uint32_t i = 0; t->saga.concurrent && i < p->n; i++) {
        struct branch_progress waits = {.status = BRANCH_REGISTERED};
        waits.waiting = codec_size(saga_plan_before(a, i));
        if (waits.waiting > 0)
            branch_progress_put(a->txn, xid, i, t, &waits);
    }
    nest_join(a, xid, t);
    if (t->held)
        txn_save(a, xid, t);
    else
        submit_start(a, xid, t);
}

/* A prepared saga goes, as it was prepared. */
static void submit_held(struct apply *a, struct assent_bytes xid, struct txn *t)
{
    t->held = false;
    t->token = a->position;
    txn_move(t, TXN_RUNNING);
    submit_start(a, xid, t);
}

static bool submit_same(struct apply *a, struct assent_bytes xid, const struct txn *there,
                        const struct txn *t, const struct saga_plan *p)
{
    return there->mode == TXN_MODE_SAGA && txn_same(a, xid, there, t, p->steps, p->n) &&
           there->saga.concurrent == t->saga.concurrent && there->saga.edges == t->saga.edges &&
           there->saga.on_failure == t->saga.on_failure && there->saga.retry_limit == t->saga.retry_limit &&
           (!t->saga.edges || saga_edges_same(a, xid, p));
}

/* Submit a saga: begin, plan and first steps in one entry.  Idempotent by xid and content, as begin is. Held:
 * the plan alone; the first submission of its xid that is not held starts it, whatever plan comes along. */
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
        bool keep = arg_bool(a->command, SAGA_SUBMIT_OPTIONS + OPTION_KEEP, false);
        if (t.saga.on_failure == SAGA_COMPENSATE && !arg_present(a->command, SAGA_SUBMIT_ON_FAILURE) &&
            saga_plan_asynchronous(&plan))
            t.saga.on_failure = SAGA_UNSAID;
        if (!txn_load(a->txn, xid, &there)) {
            rv = nest_check(a, &t);
            if (rv != ASSENT_OK)
                goto out;
            submit_write(a, xid, &t, &plan);
            txn_answer_begin(a, xid, &t, true);
        } else if (there.mode == TXN_MODE_SAGA && there.status == TXN_ACTIVE && there.held && !t.held) {
            submit_held(a, xid, &there);
            txn_answer_begin(a, xid, &there, false);
        } else if (keep || submit_same(a, xid, &there, &t, &plan)) {
            txn_answer_begin(a, xid, &there, false);
        } else {
            rv = txn_exists(a, xid, &there);
        }
    }
out:
    saga_plan_close(&plan);
    return rv;
}

/* ---- back */

/* Prepare a step for the way back, when those behind it that take part are done; true: it takes part itself.
 */
static bool step_turn(struct apply *a, struct assent_bytes xid, const struct txn *t, uint32_t i)
{
    struct branch_plan plan;
    struct branch_progress p;
    uint8_t error[TXN_ERROR_BYTES_MAX];
    step_load(a, xid, t, i, &plan, &p, error);
    if (!started(p.status))
        return false;
    MARK_IF(BACK_OVER_OPEN_STEP, p.status == BRANCH_EXECUTING);
    MARK_IF(BACK_OVER_ACCEPTED_STEP, p.status == BRANCH_ACCEPTED);
    if (p.next_due_us != 0)
        work_clear(a->txn, p.next_due_us, xid, plan.name);
    branch_accept_end(a, xid, i, &p);
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
    return true;
}

void saga_back(struct apply *a, struct assent_bytes xid, struct txn *t, struct assent_bytes reason)
{
    bool begun = txn_stands(t) != TXN_ACTIVE && t->branches > 0;
    if (t->deadline_us != 0)
        timer_clear(a->txn, t->deadline_us, TIMER_TXN, xid);
    txn_move(t, TXN_ROLLING_BACK);
    txn_because(t, reason);
    t->token = a->position;
    t->decided_us = a->now_us;
    t->finished_us = 0;
    t->pending = 0;
    if (begun && !t->saga.concurrent) { /* all steps up to the one under way were reached, in order */
        bool turned = step_turn(a, xid, t, t->saga.cursor);
        assert(turned);
        t->pending = t->saga.cursor + 1;
    }
    for (uint32_t i = 0; begun && t->saga.concurrent && i < t->branches; i++)
        t->pending += step_turn(a, xid, t, i);
    if (t->children > 0)
        t->waits = true;
    else
        saga_back_begin(a, xid, t);
    txn_save(a, xid, t);
}

void saga_back_begin(struct apply *a, struct assent_bytes xid, struct txn *t)
{
    uint32_t *ready = ready_room(t), n = 0;
    if (!t->saga.concurrent && t->pending > 0)
        ready[n++] = PLANTED(COMPENSATION_FORWARD) ? 0 : t->saga.cursor;
    for (uint32_t i = 0; t->saga.concurrent && t->pending > 0 && i < t->branches; i++) {
        struct branch_plan plan;
        struct branch_progress p;
        uint8_t error[TXN_ERROR_BYTES_MAX];
        step_load(a, xid, t, i, &plan, &p, error);
        if (started(p.status) && p.waiting == 0)
            ready[n++] = i;
    }
    saga_flow(a, xid, t, SM_OP_COMPENSATE, ready, n);
    free(ready);
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

void saga_step_succeeded(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t i,
                         struct assent_bytes name, struct branch_progress *p, enum sm_op op)
{
    branch_move(p, branch_done(op));
    branch_event(a, xid, t, name, p->status);
    p->next_due_us = 0;
    p->finished_us = a->now_us;
    if (op == SM_OP_ACTION)
        p->action = SM_OUTCOME_SUCCESS;
    branch_progress_put(a->txn, xid, i, t, p);
    saga_go_on(a, xid, t, i, op);
    txn_save(a, xid, t);
}

/* Why a step's failure turns the saga back, as its clients know it. */
static void failure_reason(const struct txn *t, struct assent_bytes name, struct assent_bytes url,
                           struct assent_bytes error, char *out, size_t size)
{
    if (t->style == SM_STYLE_DTM) /* the end of the address would push out what the branch said */
        snprintf(out, size, "url:%.*s return failed: %.*s FAILURE", url.size < 100 ? (int)url.size : 100,
                 (const char *)url.base, (int)error.size, (const char *)error.base);
    else
        snprintf(out, size, "step %.*s: %.*s", (int)name.size, (const char *)name.base, (int)error.size,
                 (const char *)error.base);
}

void saga_step_failed(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t i,
                      struct assent_bytes name, struct branch_progress *p, bool acknowledged)
{
    struct branch_plan plan;
    char reason[ASSENT_NAME_BYTES_MAX + TXN_ERROR_BYTES_MAX + 256];
    bool there = branch_plan_load(a->txn, xid, i, &plan);
    assert(there);
    failure_reason(t, name, plan.url[SM_OP_ACTION], p->error, reason, sizeof(reason));
    branch_move(p, BRANCH_FAILED);
    branch_event(a, xid, t, name, p->status);
    p->action = SM_OUTCOME_FAILURE;
    p->next_due_us = 0;
    p->finished_us = a->now_us;
    branch_progress_put(a->txn, xid, i, t, p);
    if (t->status == TXN_SUSPENDED)
        txn_save(a, xid, t); /* whoever it waits for finds it failed */
    else if (acknowledged && t->saga.on_failure == SAGA_UNSAID)
        txn_suspend(a, xid, t, bytes_of(reason));
    else
        saga_failed(a, xid, t, bytes_of(reason));
}

/* One more failed call of an action.  False: it was one too many, and the saga has turned back or waits. */
static bool retry_counted(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t i,
                          struct branch_progress *p)
{
    char reason[96];
    if (t->saga.retry_limit == 0)
        return true;
    t->saga.retries++;
    if (t->saga.retries <= t->saga.retry_limit) {
        txn_save(a, xid, t);
        return true;
    }
    p->next_due_us = 0;
    branch_progress_put(a->txn, xid, i, t, p);
    snprintf(reason, sizeof(reason),
             t->style == SM_STYLE_DTM ? "RetryCount is greater than RetryLimit, RetryLimit: %u"
                                      : "retry limit %u reached",
             t->saga.retry_limit);
    saga_failed(a, xid, t, bytes_of(reason));
    return false;
}

/* Later, or at once where DTM counts calls and does not wait between them, or never. */
void saga_step_again(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t i,
                     const struct branch_plan *plan, struct assent_bytes name, struct branch_progress *p,
                     enum sm_op op, bool ongoing)
{
    int64_t wait_us;
    if (op == SM_OP_ACTION && !retry_counted(a, xid, t, i, p))
        return;
    if (!ongoing && p->errors < UINT32_MAX)
        p->errors++;
    if (!ongoing && branch_given_up(plan, p)) {
        if (op == SM_OP_ACTION && t->saga.on_failure != SAGA_RETRY)
            saga_step_failed(a, xid, t, i, name, p, false);
        else
            branch_suspend(a, xid, t, i, p, name, op);
        return;
    }
    wait_us = branch_wait_us(t, plan, i, p);
    if (t->style == SM_STYLE_DTM && op == SM_OP_ACTION && t->saga.retry_limit > 0)
        wait_us = 0;
    p->next_due_us = a->now_us + wait_us;
    branch_progress_put(a->txn, xid, i, t, p);
    work_put(a, p->next_due_us, xid, name, op, p->attempts, t->token, i);
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
    bool accepted = branch_accepts(plan, r);
    if (outcome == SM_OUTCOME_SUCCESS || accepted) { /* the last error stays to be read */
        error = p->error;
        if (error.size > 0)
            memcpy(kept, error.base, error.size);
        error.base = kept;
    }
    p->error = error;
    p->attempts++;
    work_clear(a->txn, p->next_due_us, xid, name);
    if (outcome == SM_OUTCOME_SUCCESS) {
        saga_step_succeeded(a, xid, t, ordinal, name, p, op);
    } else if (outcome == SM_OUTCOME_FAILURE && op == SM_OP_ACTION && t->saga.on_failure != SAGA_RETRY) {
        saga_step_failed(a, xid, t, ordinal, name, p, false);
    } else if (accepted) {
        branch_accept(a, xid, t, ordinal, name, plan->acknowledge_ms, p);
    } else {
        branch_move(p, branch_doing(op));
        saga_step_again(a, xid, t, ordinal, plan, name, p, op, outcome == SM_OUTCOME_ONGOING);
    }
}
