/* The second phase: confirms or cancels of TCC and XA, deliveries of a message.  The decision is made; every
 * branch with something to call is called until it succeeds.
 *
 *   parallel            all at once
 *   forward, reverse    strictly one after the other, in the order of registration or against it: the branch
 *                       under way is the head's `cursor`, those behind it are REGISTERED still
 *
 * A branch with nothing to call counts as done from the decision on.  A decision writes work and no branch
 * rows: until its first report a branch's progress follows from the head (branch_progress_load()), save those
 * whose turn came later. */
#include "mark.h"
#include "txn.h"

enum sm_op phase_two_op(const struct txn *t)
{
    enum txn_status status = txn_stands(t);
    if (t->mode == TXN_MODE_MESSAGE)
        return SM_OP_ACTION;
    return status == TXN_COMMITTING || status == TXN_COMMITTED ? SM_OP_CONFIRM : SM_OP_CANCEL;
}

int64_t phase_two_due_us(const struct txn *t)
{
    int64_t earliest_us = t->created_us + (int64_t)t->delay_ms * 1000;
    return earliest_us > t->decided_us ? earliest_us : t->decided_us;
}

/* Its try was never due: two_phase.c. */
static bool left_alone(struct apply *a, struct assent_bytes xid, const struct txn *t, uint32_t i)
{
    return t->execute && branch_progress_kept(a->txn, xid, i);
}

/* The first call of a branch is due.  A row says so where that does not follow from the head: its turn came
 * later, or the transaction waited for those nested in it. */
static void due_put(struct apply *a, struct assent_bytes xid, const struct txn *t, enum sm_op op, uint32_t i,
                    struct assent_bytes name, int64_t due_us)
{
    assert(due_us >= a->now_us); /* the executor does not look back */
    work_put(a, due_us, xid, name, op, 0, t->token, i);
    if (due_us == phase_two_due_us(t))
        return;
    struct branch_progress turn = {.status = branch_doing(op), .next_due_us = due_us};
    branch_progress_put(a->txn, xid, i, t, &turn);
}

/* The next branch with something to call, from `i` on in the transaction's order, is due. */
static void turn_put(struct apply *a, struct assent_bytes xid, struct txn *t, enum sm_op op, uint32_t i,
                     int64_t due_us)
{
    struct branch_plan plan;
    for (;; i = t->order == TXN_FORWARD ? i + 1 : i - 1) {
        assert(i < t->branches); /* something is pending, so a branch is found before the end */
        bool there = branch_plan_load(a->txn, xid, i, &plan);
        assert(there);
        if (plan.url[op].size > 0 && !left_alone(a, xid, t, i))
            break;
    }
    t->cursor = i;
    due_put(a, xid, t, op, i, plan.name, due_us);
}

static void all_put(struct apply *a, struct assent_bytes xid, const struct txn *t, enum sm_op op,
                    int64_t due_us)
{
    uint32_t planned = 0;
    for (uint32_t i = 0; i < t->branches; i++) {
        struct branch_plan plan;
        bool there = branch_plan_load(a->txn, xid, i, &plan);
        assert(there);
        if (plan.url[op].size == 0 || left_alone(a, xid, t, i))
            continue;
        due_put(a, xid, t, op, i, plan.name, due_us);
        planned++;
    }
    assert(planned == t->pending);
}

void phase_two_begin(struct apply *a, struct assent_bytes xid, struct txn *t)
{
    enum sm_op op = phase_two_op(t);
    int64_t due_us = phase_two_due_us(t) > a->now_us ? phase_two_due_us(t) : a->now_us;
    assert(t->pending > 0);
    if (t->order == TXN_PARALLEL)
        all_put(a, xid, t, op, due_us);
    else
        turn_put(a, xid, t, op, t->order == TXN_FORWARD ? 0 : t->branches - 1, due_us);
}

void phase_two_done(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t ordinal)
{
    enum sm_op op = phase_two_op(t);
    txn_call_succeeded(a, xid, t);
    if (t->order == TXN_PARALLEL || t->pending == 0 || ordinal != t->cursor)
        return;
    turn_put(a, xid, t, op, t->order == TXN_FORWARD ? ordinal + 1 : ordinal - 1, a->now_us);
}

void phase_two_report(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t ordinal,
                      const struct branch_plan *plan, struct branch_progress *p, const struct report *r)
{
    int64_t was_due_us = p->next_due_us;
    p->attempts++;
    if (r->outcome == SM_OUTCOME_SUCCESS) {
        branch_move(p, branch_done(r->op));
        p->next_due_us = 0;
        p->finished_us = a->now_us;
        /* the last error stays to be read */
    } else {
        MARK_IF(PHASE_TWO_AGAIN, r->outcome == SM_OUTCOME_ERROR);
        branch_move(p, branch_doing(r->op));
        p->errors += r->outcome != SM_OUTCOME_ONGOING && p->errors < UINT32_MAX;
        p->next_due_us = a->now_us + branch_wait_us(t, plan, ordinal, p);
        p->error = r->error;
    }
    p->error = txn_shortened(p->error, TXN_ERROR_BYTES_MAX);
    if (p->next_due_us != 0 && branch_given_up(plan, p)) {
        work_clear(a->txn, was_due_us, xid, r->branch);
        branch_suspend(a, xid, t, ordinal, p, r->branch, r->op);
        return;
    }
    branch_progress_put(a->txn, xid, ordinal, t, p);
    work_clear(a->txn, was_due_us, xid, r->branch);
    if (p->next_due_us != 0) {
        work_put(a, p->next_due_us, xid, r->branch, r->op, p->attempts, t->token, ordinal);
    } else {
        branch_event(a, xid, t, r->branch, p->status);
        phase_two_done(a, xid, t, ordinal);
    }
}
