/* TCC and XA whose tries the coordinator calls: a begin with `execute`.
 *
 *   RUNNING --every try succeeded--> COMMITTING (nested: PREPARING)
 *      \--a try FAILURE or given up, timeout, rollback--> ROLLING_BACK
 *
 *   branch:  REGISTERED --its turn--> TRYING --SUCCESS--> TRIED --> CONFIRMING or CANCELLING (phase_two.c)
 *                                     |  \---FAILURE---> FAILED --> CANCELLING
 *                                     ONGOING, ERROR: again after the back-off, until the timeout
 *
 * All tries are due with the begin; with an `order`, forward or reverse, one after the other as the branches
 * were given, because a later try may need what an earlier one reserved.  Back goes every branch whose try
 * was due, the failed one and one that is still under way too: nobody knows what a call that was not answered
 * did, and a cancel without its try changes nothing (the participant's guard).  Branches behind the turn are
 * left alone.  A branch without a tryUrl counts as tried when its turn has come.
 *
 * As in the second phase the begin writes work and no branch rows: until its first report a branch's progress
 * follows from the head.  The decision takes the rows of the tries away, so that the second phase starts as
 * it does elsewhere; a row that stays says that the branch is left alone. */
#include <stdio.h>

#include "mark.h"
#include "planted.h"
#include "txn.h"

void try_progress(const struct txn *t, const struct branch_plan *plan, uint32_t ordinal,
                  struct branch_progress *p)
{
    if (plan->url[SM_OP_TRY].size == 0) {
        if (t->order != TXN_PARALLEL && ordinal > t->cursor && t->pending > 0)
            return;
        branch_move(p, BRANCH_TRYING);
        branch_move(p, BRANCH_TRIED);
        p->finished_us = t->created_us;
    } else if (t->order == TXN_PARALLEL || ordinal == t->cursor) {
        branch_move(p, BRANCH_TRYING);
        p->next_due_us = t->created_us;
    }
}

/* The try of the first branch from `i` on that has one is due.  False: there is none. */
static bool turn_put(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t i)
{
    struct branch_plan plan;
    for (; i < t->branches; i++) {
        bool there = branch_plan_load(a->txn, xid, i, &plan);
        assert(there);
        if (plan.url[SM_OP_TRY].size == 0)
            continue;
        if (t->order != TXN_PARALLEL)
            t->cursor = i;
        work_put(a, a->now_us, xid, plan.name, SM_OP_TRY, 0, t->token, i);
        return true;
    }
    return false;
}

void try_begin(struct apply *a, struct assent_bytes xid, struct txn *t)
{
    struct branch_plan plan;
    assert(t->execute && t->status == TXN_RUNNING && t->pending == 0);
    for (uint32_t i = 0; i < t->branches; i++) {
        bool there = branch_plan_load(a->txn, xid, i, &plan);
        assert(there);
        if (plan.url[SM_OP_TRY].size == 0)
            continue;
        if (t->order == TXN_PARALLEL || t->pending == 0)
            turn_put(a, xid, t, i);
        t->pending++;
    }
    try_settle(a, xid, t);
}

void try_settle(struct apply *a, struct assent_bytes xid, struct txn *t)
{
    assert(t->execute);
    if (t->status == TXN_RUNNING && t->pending == 0 && t->open_children == 0)
        txn_vote(a, xid, t);
}

void try_done(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t ordinal)
{
    assert(t->pending > 0);
    t->pending--;
    if (t->pending > 0 && t->order != TXN_PARALLEL) {
        assert(ordinal == t->cursor);
        bool found = turn_put(a, xid, t, ordinal + 1);
        assert(found);
        struct branch_progress turn = {.status = BRANCH_TRYING, .next_due_us = a->now_us};
        branch_progress_put(a->txn, xid, t->cursor, t, &turn);
    }
    try_settle(a, xid, t);
}

void try_end(struct apply *a, struct assent_bytes xid, struct txn *t, bool back)
{
    uint32_t cancellable = 0;
    for (uint32_t i = 0; i < t->branches; i++) {
        struct branch_plan plan;
        struct branch_progress p;
        bool there = branch_plan_load(a->txn, xid, i, &plan);
        assert(there);
        branch_progress_load(a->txn, xid, i, t, &plan, &p);
        bool alone = back && (p.status == BRANCH_REGISTERED ||
                              (PLANTED(ONLY_TRIED_CANCELLED) && p.status == BRANCH_TRYING));
        struct branch_progress left = {.status = BRANCH_REGISTERED};
        MARK_IF(BACK_OVER_OPEN_TRY, back && !alone && p.status == BRANCH_TRYING);
        MARK_IF(TRY_NEVER_DUE, alone);
        cancellable += !alone && plan.url[SM_OP_CANCEL].size > 0;
        if (p.next_due_us != 0)
            work_clear(a->txn, p.next_due_us, xid, plan.name);
        if (alone)
            branch_progress_put(a->txn, xid, i, t, &left);
        else
            branch_progress_clear(a->txn, xid, i);
    }
    if (back)
        t->cancellable = cancellable;
}

/* The try has failed for good. */
static void try_failed(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t ordinal,
                       struct assent_bytes name, struct branch_progress *p)
{
    char reason[ASSENT_NAME_BYTES_MAX + TXN_ERROR_BYTES_MAX + 16];
    snprintf(reason, sizeof(reason), "try %.*s: %.*s", (int)name.size, (const char *)name.base,
             (int)p->error.size, (const char *)p->error.base);
    branch_move(p, BRANCH_FAILED);
    branch_event(a, xid, t, name, p->status);
    p->next_due_us = 0;
    p->finished_us = a->now_us;
    branch_progress_put(a->txn, xid, ordinal, t, p);
    txn_back(a, xid, t, bytes_of(reason));
}

void try_report(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t ordinal,
                const struct branch_plan *plan, struct branch_progress *p, const struct report *r)
{
    bool ongoing = r->outcome == SM_OUTCOME_ONGOING,
         success = r->outcome == SM_OUTCOME_SUCCESS ||
                   (PLANTED(REFUSED_TRY_COUNTS) && r->outcome == SM_OUTCOME_FAILURE);
    uint8_t kept[TXN_ERROR_BYTES_MAX];
    struct assent_bytes error = success ? p->error : txn_shortened(r->error, TXN_ERROR_BYTES_MAX);
    assert(error.size <= sizeof(kept));
    if (error.size > 0) /* the last error stays to be read */
        memcpy(kept, error.base, error.size);
    p->error = (struct assent_bytes){kept, error.size};
    p->attempts++;
    work_clear(a->txn, p->next_due_us, xid, r->branch);
    if (success) {
        branch_move(p, BRANCH_TRIED);
        branch_event(a, xid, t, r->branch, p->status);
        p->next_due_us = 0;
        p->finished_us = a->now_us;
        branch_progress_put(a->txn, xid, ordinal, t, p);
        try_done(a, xid, t, ordinal);
        return;
    }
    p->errors += !ongoing && p->errors < UINT32_MAX;
    if (r->outcome == SM_OUTCOME_FAILURE || (!ongoing && branch_given_up(plan, p))) {
        try_failed(a, xid, t, ordinal, r->branch, p);
        return;
    }
    branch_move(p, BRANCH_TRYING);
    p->next_due_us = a->now_us + branch_wait_us(t, plan, ordinal, p);
    branch_progress_put(a->txn, xid, ordinal, t, p);
    work_put(a, p->next_due_us, xid, r->branch, SM_OP_TRY, p->attempts, t->token, ordinal);
}
