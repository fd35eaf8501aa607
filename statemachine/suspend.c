/* Transactions that wait for an operator, of every mode.
 *
 *   ACTIVE, RUNNING, COMMITTING, ROLLING_BACK --txn_suspend--> SUSPENDED --txn_unsuspend--> where it was
 *                                                                  \--back--> ROLLING_BACK
 *
 * While it waits nothing of it is due: no call, no deadline, and a call that was under way may be reported
 * only after it has been made again.  What a branch came to stays as it was, read through `suspended_from`.
 * Going on calls at once what has not succeeded and nothing else, so that an operator who has repaired a
 * participant loses no work; waits and limits of retries are counted afresh.
 *
 * A decision keeps its token: participants see the same one before and after.  What was not decided gets a
 * new one, larger than that of any call made before. */
#include "audit.h"
#include "mark.h"
#include "settings.h"

enum txn_status txn_stands(const struct txn *t)
{
    return t->status == TXN_SUSPENDED || t->status == TXN_STOPPED ? t->suspended_from : t->status;
}

/* Of calls that go strictly one after the other, only one is under way.  Steps of a saga keep their order in
 * their statuses. */
static bool its_turn(const struct txn *t, uint32_t i)
{
    return t->mode == TXN_MODE_SAGA || t->order == TXN_PARALLEL || i == t->cursor;
}

/* A branch with its name kept over the writes that follow. */
struct kept {
    struct branch_plan plan;
    struct branch_progress p;
    struct store_key name;
    uint8_t error[TXN_ERROR_BYTES_MAX];
};

static void kept_load(struct apply *a, struct assent_bytes xid, const struct txn *t, uint32_t i,
                      struct kept *k)
{
    bool there = branch_plan_load(a->txn, xid, i, &k->plan);
    assert(there);
    branch_progress_load(a->txn, xid, i, t, &k->plan, &k->p);
    assert(k->p.error.size <= TXN_ERROR_BYTES_MAX);
    if (k->p.error.size > 0)
        memcpy(k->error, k->p.error.base, k->p.error.size);
    k->p.error.base = k->error;
    key_init(&k->name);
    key_tail(&k->name, k->plan.name);
}

/* Nothing is due any more. */
static void quiet(struct apply *a, struct assent_bytes xid, struct txn *t)
{
    struct kept k;
    if (t->deadline_us != 0 && (t->status == TXN_ACTIVE || t->status == TXN_RUNNING))
        timer_clear(a->txn, t->deadline_us, TIMER_TXN, xid);
    txn_whole_due(a, xid, t, SM_OP_QUERY, 0);
    for (uint32_t i = 0; i < t->branches && t->status != TXN_ACTIVE; i++) {
        kept_load(a, xid, t, i, &k);
        if (k.p.acknowledge_us != 0) { /* an acknowledgement counts all the same */
            branch_accept_end(a, xid, i, &k.p);
            branch_progress_put(a->txn, xid, i, t, &k.p);
        }
        if (k.p.next_due_us == 0 || !its_turn(t, i))
            continue;
        work_clear(a->txn, k.p.next_due_us, xid, key_bytes(&k.name));
        k.p.next_due_us = 0;
        branch_progress_put(a->txn, xid, i, t, &k.p);
    }
}

/* An operator's pause is on record as such; what the rules put aside is found beside it. */
static void suspend_record(struct apply *a, struct assent_bytes xid, const struct txn *t)
{
    if (a->command != NULL &&
        (a->command->type == COMMAND_TXN_ACT || a->command->type == COMMAND_TXN_ACT_MANY))
        return;
    struct audit entry = {.by = bytes_of(AUDIT_BY_CLUSTER),
                          .act = bytes_of("suspend"),
                          .reason = t->reason,
                          .xid = xid,
                          .before = t->suspended_from,
                          .after = t->status};
    audit_put(a, &entry);
}

void txn_suspend(struct apply *a, struct assent_bytes xid, struct txn *t, struct assent_bytes reason)
{
    MARK(SUSPENDED);
    quiet(a, xid, t);
    t->suspended_from = t->status;
    txn_because(t, reason);
    txn_move(t, TXN_SUSPENDED);
    txn_save(a, xid, t);
    suspend_record(a, xid, t);
}

void txn_stop(struct apply *a, struct assent_bytes xid, struct txn *t)
{
    assert(!txn_ended(t->status));
    if (t->status != TXN_SUSPENDED) {
        quiet(a, xid, t);
        t->suspended_from = t->status;
    }
    if (t->token == 0) /* it was never decided: from here on it is */
        t->token = a->position;
    txn_move(t, TXN_STOPPED);
    t->finished_us = a->now_us;
    timer_set(a->txn, a->now_us + retention_us(a->txn), TIMER_RETENTION, xid);
    txn_save(a, xid, t);
}

/* A call under way stays where it is: it must not be made twice at a time. */
void txn_hurry(struct apply *a, struct assent_bytes xid, struct txn *t)
{
    struct kept k;
    if (t->whole_due_us != 0 && !work_called(a, t->whole_due_us, xid, bytes_of(SM_WHOLE)))
        txn_whole_due(a, xid, t, t->mode == TXN_MODE_WORKFLOW ? SM_OP_CALLBACK : SM_OP_QUERY, a->now_us);
    for (uint32_t i = 0; i < t->branches && t->status != TXN_ACTIVE; i++) {
        kept_load(a, xid, t, i, &k);
        enum sm_op op = branch_under_way(k.p.status);
        if (op == 0 || k.p.next_due_us == 0 || !its_turn(t, i) ||
            work_called(a, k.p.next_due_us, xid, key_bytes(&k.name)))
            continue;
        work_clear(a->txn, k.p.next_due_us, xid, key_bytes(&k.name));
        k.p.errors = 0;
        k.p.next_due_us = a->now_us;
        branch_progress_put(a->txn, xid, i, t, &k.p);
        work_put(a, a->now_us, xid, key_bytes(&k.name), op, k.p.attempts, t->token, i);
    }
    txn_save(a, xid, t);
}

/* What could not succeed before, to be called again; 0: this branch has nothing to do. */
static enum sm_op to_repeat(const struct txn *t, const struct branch_plan *plan, enum branch_status status)
{
    if (status == BRANCH_FAILED && txn_stands(t) == TXN_RUNNING)
        return t->mode == TXN_MODE_SAGA ? plan->forward : SM_OP_TRY;
    enum sm_op op = status == BRANCH_ACCEPTED ? SM_OP_ACTION : branch_under_way(status);
    bool back = op == SM_OP_CANCEL || op == SM_OP_COMPENSATE;
    /* On the way back an action may still stand as it was, until it is its turn to be compensated. */
    return back == (txn_stands(t) == TXN_ROLLING_BACK) ? op : (enum sm_op)0;
}

/* The deadline and the calls of an undecided transaction as they would stand without the wait.  A deadline
 * that has passed meanwhile is none any more, save that of a message, at which it is sent. */
static void active_again(struct apply *a, struct assent_bytes xid, struct txn *t)
{
    int64_t due_us = t->created_us + (int64_t)t->timeout_ms * 1000;
    bool workflow = t->mode == TXN_MODE_WORKFLOW;
    if (t->callback) {
        if (workflow || due_us < a->now_us)
            due_us = a->now_us;
        if (workflow || t->timeout_ms > 0) /* of a message without a timeout nobody is asked */
            txn_whole_due(a, xid, t, workflow ? SM_OP_CALLBACK : SM_OP_QUERY, due_us);
    } else if (t->deadline_us > a->now_us || (t->mode == TXN_MODE_MESSAGE && t->deadline_us != 0)) {
        timer_set(a->txn, t->deadline_us, TIMER_TXN, xid);
    }
}

static void branch_again(struct apply *a, struct assent_bytes xid, const struct txn *t, uint32_t i,
                         struct kept *k, enum sm_op op)
{
    if (k->p.status == BRANCH_ACCEPTED) { /* under way at the participant: its time begins anew */
        branch_accept(a, xid, t, i, key_bytes(&k->name), k->plan.acknowledge_ms, &k->p);
        return;
    }
    int64_t due_us = a->now_us;
    if (t->status == TXN_COMMITTING && phase_two_due_us(t) > due_us)
        due_us = phase_two_due_us(t); /* a message that is not to be delivered yet */
    branch_move(&k->p, branch_doing(op));
    k->p.action = (enum sm_outcome)0;
    k->p.errors = 0;
    k->p.finished_us = 0;
    k->p.next_due_us = due_us;
    branch_progress_put(a->txn, xid, i, t, &k->p);
    work_put(a, due_us, xid, key_bytes(&k->name), op, k->p.attempts, t->token, i);
}

/* As if its call had succeeded. */
static void branch_skip(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t i, struct kept *k,
                        enum sm_op op)
{
    if (k->p.status != branch_doing(op))
        branch_move(&k->p, branch_doing(op));
    branch_move(&k->p, branch_done(op));
    if (op == SM_OP_ACTION)
        k->p.action = SM_OUTCOME_SUCCESS;
    k->p.finished_us = a->now_us;
    branch_progress_put(a->txn, xid, i, t, &k->p);
}

/* Go on; branch `skipped` (t->branches: none) counts as done. */
static void go_on(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t skipped)
{
    struct kept k;
    enum sm_op op, skipped_op = (enum sm_op)0;
    txn_move(t, t->suspended_from);
    t->suspended_from = (enum txn_status)0;
    if (t->status == TXN_RUNNING)
        t->token = a->position;
    if (t->mode == TXN_MODE_SAGA)
        t->saga.retries = 0;
    if (t->status == TXN_ACTIVE)
        active_again(a, xid, t);
    for (uint32_t i = 0; i < t->branches && t->status != TXN_ACTIVE; i++) {
        kept_load(a, xid, t, i, &k);
        op = to_repeat(t, &k.plan, k.p.status);
        if (op == 0 || !its_turn(t, i))
            continue;
        if (i == skipped)
            branch_skip(a, xid, t, i, &k, skipped_op = op);
        else
            branch_again(a, xid, t, i, &k, op);
    }
    if (skipped_op != 0)
        branch_done_next(a, xid, t, skipped, skipped_op);
    else if (t->mode == TXN_MODE_SAGA && t->status == TXN_RUNNING)
        saga_settle(a, xid, t); /* the last step was acknowledged meanwhile */
    txn_save(a, xid, t);
}

void txn_unsuspend(struct apply *a, struct assent_bytes xid, struct txn *t)
{
    assert(t->status == TXN_SUSPENDED);
    go_on(a, xid, t, t->branches);
}

int txn_skip(struct apply *a, struct assent_bytes xid, struct txn *t, struct assent_bytes branch)
{
    struct kept k;
    uint32_t ordinal;
    if (!branch_find(a->txn, xid, branch, &ordinal))
        return refuse(a, ASSENT_BRANCH_NOT_FOUND, "no branch %.*s", (int)branch.size,
                      (const char *)branch.base);
    kept_load(a, xid, t, ordinal, &k);
    enum sm_op op = to_repeat(t, &k.plan, k.p.status);
    if (op == 0 || !its_turn(t, ordinal))
        return refuse(a, ASSENT_INVALID, "the step is %s", branch_status_name(k.p.status));
    if (t->status == TXN_SUSPENDED) {
        go_on(a, xid, t, ordinal);
        return ASSENT_OK;
    }
    if (k.p.next_due_us != 0)
        work_clear(a->txn, k.p.next_due_us, xid, key_bytes(&k.name));
    k.p.next_due_us = 0;
    if (k.p.acknowledge_us != 0)
        branch_accept_end(a, xid, ordinal, &k.p);
    branch_skip(a, xid, t, ordinal, &k, op);
    branch_done_next(a, xid, t, ordinal, op);
    txn_save(a, xid, t);
    return ASSENT_OK;
}
