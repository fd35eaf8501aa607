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
#include <stdio.h>

#include "txn.h"

#define WORD_BYTES 8 /* the longest move */

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

void txn_suspend(struct apply *a, struct assent_bytes xid, struct txn *t, struct assent_bytes reason)
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
    t->suspended_from = t->status;
    txn_because(t, reason);
    txn_move(t, TXN_SUSPENDED);
    txn_save(a, xid, t);
}

/* What could not succeed before, to be called again; 0: this branch has nothing to do. */
static enum sm_op to_repeat(const struct txn *t, const struct branch_plan *plan, enum branch_status status)
{
    if (status == BRANCH_FAILED && txn_stands(t) == TXN_RUNNING)
        return t->mode == TXN_MODE_SAGA ? plan->forward : SM_OP_TRY;
    return status == BRANCH_ACCEPTED ? SM_OP_ACTION : branch_under_way(status);
}

/* The deadline and the calls of an undecided transaction as they would stand without the wait. */
static void active_again(struct apply *a, struct assent_bytes xid, struct txn *t)
{
    int64_t due_us = t->created_us + (int64_t)t->timeout_ms * 1000;
    bool workflow = t->mode == TXN_MODE_WORKFLOW;
    if (t->callback) {
        if (workflow || due_us < a->now_us)
            due_us = a->now_us;
        if (workflow || t->timeout_ms > 0) /* of a message without a timeout nobody is asked */
            txn_whole_due(a, xid, t, workflow ? SM_OP_CALLBACK : SM_OP_QUERY, due_us);
    } else if (t->deadline_us > a->now_us) {
        timer_set(a->txn, t->deadline_us, TIMER_TXN, xid);
    }
}

static void branch_again(struct apply *a, struct assent_bytes xid, const struct txn *t, uint32_t i,
                         struct kept *k, enum sm_op op)
{
    if (k->p.status == BRANCH_ACCEPTED) { /* under way at the participant: its time begins anew */
        branch_accept(a, xid, t, i, &k->plan, &k->p);
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
    work_put(a->txn, due_us, xid, key_bytes(&k->name), op, k->p.attempts, t->token, i);
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
    assert(t->status == TXN_SUSPENDED);
    if (!branch_find(a->txn, xid, branch, &ordinal))
        return refuse(a, ASSENT_BRANCH_NOT_FOUND, "no branch %.*s", (int)branch.size,
                      (const char *)branch.base);
    kept_load(a, xid, t, ordinal, &k);
    if (to_repeat(t, &k.plan, k.p.status) == 0 || !its_turn(t, ordinal))
        return refuse(a, ASSENT_INVALID, "the step is %s", branch_status_name(k.p.status));
    go_on(a, xid, t, ordinal);
    return ASSENT_OK;
}

/* An operator says how a suspended transaction goes on: "retry" what has not succeeded, "skip" one such
 * branch, go "back".  Who and why stand in the log and as the transaction's reason. */
int txn_resume(struct apply *a)
{
    const struct command *c = a->command;
    struct assent_bytes xid = arg_bytes(c, TXN_RESUME_XID), move = arg_bytes(c, TXN_RESUME_MOVE);
    struct assent_bytes branch = arg_bytes(c, TXN_RESUME_BRANCH), by = arg_bytes(c, TXN_RESUME_BY);
    struct assent_bytes why = txn_shortened(arg_bytes(c, TXN_RESUME_REASON), TXN_REASON_BYTES_MAX);
    struct txn t;
    int rv = ASSENT_OK;
    char reason[WORD_BYTES + ASSENT_NAME_BYTES_MAX + TXN_REASON_BYTES_MAX + 8];
    bool skip = bytes_equal(move, bytes_of("skip")), back = bytes_equal(move, bytes_of("back"));
    if (!txn_load(a->txn, xid, &t))
        return txn_not_found(a, xid);
    if (!skip && !back && !bytes_equal(move, bytes_of("retry")))
        return refuse(a, ASSENT_INVALID, "move: retry, skip or back");
    if (why.size == 0)
        return refuse(a, ASSENT_INVALID, "reason: say why");
    if (skip != (branch.size > 0))
        return refuse(a, ASSENT_INVALID, "branch: the step that skip passes over");
    if (t.status != TXN_SUSPENDED)
        return txn_decided(a, &t);
    if (back && t.suspended_from == TXN_COMMITTING)
        return refuse(a, ASSENT_TXN_DECIDED, "the transaction was COMMITTING");
    snprintf(reason, sizeof(reason), "%.*s by %.*s: %.*s", (int)move.size, (const char *)move.base,
             (int)by.size, (const char *)by.base, (int)why.size, (const char *)why.base);
    txn_because(&t, bytes_of(reason));
    if (skip)
        rv = txn_skip(a, xid, &t, branch);
    else if (back && t.suspended_from != TXN_ROLLING_BACK)
        txn_back(a, xid, &t, t.reason);
    else
        txn_unsuspend(a, xid, &t);
    return rv == ASSENT_OK ? txn_answer(a, xid, &t) : rv;
}
