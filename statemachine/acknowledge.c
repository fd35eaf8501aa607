/* Asynchronous steps of a saga: the participant accepts the call and says later what came of it.
 *
 *   EXECUTING --202, in progress--> ACCEPTED --acknowledged: success--> EXECUTED
 *       |                             |  \-----acknowledged: failure--> FAILED
 *       |                             \--------acknowledgeMs over-----> EXECUTING  (nobody knows)
 *       \--acknowledged before the report of the call arrived: the same ends
 *
 * While a step is ACCEPTED nothing of it is called.  A failure, or no word in time, suspends the saga unless
 * its onFailure says compensate or retry: somebody took the work on, so a person looks first.  An
 * acknowledgement speaks of the step, not of one call of it: the first one counts, its repetition gets the
 * same answer, and a contradicting one is refused.  It counts while the saga waits for an operator too; then
 * the steps behind it start when the saga goes on.  A saga that turns back compensates what is ACCEPTED, and
 * says so to whoever acknowledges afterwards. */
#include <stdio.h>

#include "mark.h"
#include "planted.h"
#include "txn.h"

static struct store_key timer_id(struct assent_bytes xid, uint32_t ordinal)
{
    struct store_key k;
    key_init(&k);
    key_text(&k, xid);
    key_u64(&k, ordinal);
    return k;
}

bool branch_accepts(const struct branch_plan *plan, const struct report *r)
{
    return r->outcome == SM_OUTCOME_ONGOING && r->op == SM_OP_ACTION && plan->acknowledge_ms > 0;
}

void branch_accept(struct apply *a, struct assent_bytes xid, const struct txn *t, uint32_t i,
                   struct assent_bytes name, uint32_t acknowledge_ms, struct branch_progress *p)
{
    struct store_key id = timer_id(xid, i);
    assert(acknowledge_ms > 0 && p->acknowledge_us == 0);
    if (p->status != BRANCH_ACCEPTED) {
        branch_move(p, BRANCH_ACCEPTED);
        branch_event(a, xid, t, name, p->status);
    }
    p->next_due_us = 0;
    p->acknowledge_us = a->now_us + (int64_t)acknowledge_ms * 1000;
    branch_progress_put(a->txn, xid, i, t, p);
    timer_set(a->txn, p->acknowledge_us, TIMER_ACKNOWLEDGE, key_bytes(&id));
}

void branch_accept_end(struct apply *a, struct assent_bytes xid, uint32_t i, struct branch_progress *p)
{
    struct store_key id = timer_id(xid, i);
    if (p->acknowledge_us != 0)
        timer_clear(a->txn, p->acknowledge_us, TIMER_ACKNOWLEDGE, key_bytes(&id));
    p->acknowledge_us = 0;
}

static int answer(struct apply *a, struct assent_bytes xid, const struct txn *t, struct assent_bytes branch,
                  const struct branch_progress *p)
{
    codec_map(a->out, 4);
    codec_pair_text(a->out, "xid", scoped_name(xid, NULL));
    codec_pair_text(a->out, "branch", branch);
    codec_pair_cstr(a->out, "status", txn_status_name(t->status));
    codec_pair_cstr(a->out, "branchStatus", branch_status_name(p->status));
    return ASSENT_OK;
}

/* What follows from an acknowledgement of a step that is under way.  `plan` is of before the writes. */
static void acknowledged(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t i,
                         struct assent_bytes name, struct branch_progress *p, bool success)
{
    MARK_IF(ACKNOWLEDGED_BEFORE_REPORT, p->next_due_us != 0);
    if (p->next_due_us != 0) { /* faster than the report of the call, which finds the step answered */
        work_clear(a->txn, p->next_due_us, xid, name);
        p->next_due_us = 0;
        p->attempts++;
    }
    branch_accept_end(a, xid, i, p);
    if (success) {
        t->failures = 0;
        saga_step_succeeded(a, xid, t, i, name, p, SM_OP_ACTION);
        return;
    }
    t->error = p->error;
    t->failures += t->failures < UINT32_MAX;
    if (t->saga.on_failure == SAGA_RETRY && t->status == TXN_RUNNING) {
        struct branch_plan plan;
        bool there = branch_plan_load(a->txn, xid, i, &plan);
        assert(there);
        branch_move(p, BRANCH_EXECUTING);
        saga_step_again(a, xid, t, i, &plan, name, p, SM_OP_ACTION, false);
    } else {
        saga_step_failed(a, xid, t, i, name, p, true);
    }
}

/* A participant says what came of a step it accepted. */
int branch_acknowledge(struct apply *a)
{
    const struct command *c = a->command;
    struct assent_bytes xid = arg_bytes(c, ACKNOWLEDGE_XID), name = arg_bytes(c, ACKNOWLEDGE_BRANCH);
    struct assent_bytes outcome = arg_bytes(c, ACKNOWLEDGE_OUTCOME), error = arg_bytes(c, ACKNOWLEDGE_ERROR);
    bool success = bytes_equal(outcome, bytes_of("success"));
    struct txn t;
    struct branch_plan plan;
    struct branch_progress p;
    uint32_t i;
    uint8_t kept[TXN_ERROR_BYTES_MAX];
    if (!success && !bytes_equal(outcome, bytes_of("failure")))
        return refuse(a, ASSENT_INVALID, "outcome: success or failure");
    if (!txn_load(a->txn, xid, &t))
        return txn_not_found(a, xid);
    if (!branch_find(a->txn, xid, name, &i) || !branch_plan_load(a->txn, xid, i, &plan))
        return refuse(a, ASSENT_BRANCH_NOT_FOUND, "no branch %.*s", (int)name.size, (const char *)name.base);
    if (plan.acknowledge_ms == 0)
        return refuse(a, ASSENT_INVALID, "the step %.*s is not asynchronous", (int)name.size,
                      (const char *)name.base);
    branch_progress_load(a->txn, xid, i, &t, &plan, &p);
    if (p.action != 0) {
        if ((p.action == SM_OUTCOME_SUCCESS) == success || PLANTED(WORD_TAKEN_BACK))
            return answer(a, xid, &t, name, &p);
        return refuse(a, ASSENT_CONFLICT, "the step has %s before", success ? "failed" : "succeeded");
    }
    MARK_IF(ACKNOWLEDGED_BEHIND_BACK, txn_stands(&t) == TXN_ROLLING_BACK);
    if (t.status == TXN_STOPPED || txn_stands(&t) != TXN_RUNNING)
        return txn_decided(a, &t);
    if (p.status != BRANCH_EXECUTING && p.status != BRANCH_ACCEPTED)
        return refuse(a, ASSENT_CONFLICT, "the step is %s", branch_status_name(p.status));
    if (!success)
        p.error =
            txn_shortened(error.size > 0 ? error : bytes_of("acknowledged as failed"), TXN_ERROR_BYTES_MAX);
    if (p.error.size > 0)
        memcpy(kept, p.error.base, p.error.size);
    p.error.base = kept;
    acknowledged(a, xid, &t, i, name, &p, success);
    txn_save(a, xid, &t);
    return answer(a, xid, &t, name, &p);
}

/* No word came in time. */
static void acknowledge_late(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t i,
                             const struct branch_plan *plan, struct branch_progress *p)
{
    char error[64], reason[ASSENT_NAME_BYTES_MAX + sizeof(error) + 16];
    struct store_key name;
    key_init(&name);
    key_tail(&name, plan->name);
    snprintf(error, sizeof(error), "no acknowledgement within %u ms", plan->acknowledge_ms);
    snprintf(reason, sizeof(reason), "step %.*s: %s", (int)plan->name.size, (const char *)plan->name.base,
             error);
    MARK(ACKNOWLEDGED_NEVER);
    branch_move(p, BRANCH_EXECUTING);
    p->acknowledge_us = 0;
    p->error = t->error = bytes_of(error);
    t->failures += t->failures < UINT32_MAX;
    if (t->saga.on_failure == SAGA_RETRY) {
        saga_step_again(a, xid, t, i, plan, key_bytes(&name), p, SM_OP_ACTION, false);
        txn_save(a, xid, t);
        p->error = (struct assent_bytes){NULL, 0};
        return;
    }
    branch_progress_put(a->txn, xid, i, t, p);
    p->error = (struct assent_bytes){NULL, 0}; /* the sentence ends with this function */
    if (t->saga.on_failure == SAGA_COMPENSATE)
        saga_back(a, xid, t, bytes_of(reason));
    else
        txn_suspend(a, xid, t, bytes_of(reason));
}

void acknowledge_timer(struct apply *a, struct assent_bytes id)
{
    struct assent_bytes tail = id, stored;
    uint64_t ordinal;
    struct txn t;
    struct branch_plan plan;
    struct branch_progress p;
    struct store_key xid; /* `id` may be borrowed from the store */
    bool there = key_take_text(&tail, &stored) && key_take_u64(&tail, &ordinal);
    assert(there);
    key_init(&xid);
    key_tail(&xid, stored);
    there = txn_load(a->txn, key_bytes(&xid), &t) &&
            branch_plan_load(a->txn, key_bytes(&xid), (uint32_t)ordinal, &plan);
    assert(there && t.status == TXN_RUNNING); /* whatever ends the wait clears the timer */
    branch_progress_load(a->txn, key_bytes(&xid), (uint32_t)ordinal, &t, &plan, &p);
    assert(p.status == BRANCH_ACCEPTED && p.acknowledge_us <= a->now_us);
    acknowledge_late(a, key_bytes(&xid), &t, (uint32_t)ordinal, &plan, &p);
}
