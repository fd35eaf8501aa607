/* The call of a transaction as a whole: the query of a message, the callback of a workflow.  It is made while
 * the transaction is ACTIVE, one at a time, under the branch name SM_WHOLE; whom it goes to stands in a row
 * of its own (TXN_ROW_CALLBACK), when it is due in the head. */
#include <stdlib.h>

#include "txn.h"

void txn_callback_put(struct store_txn *store, struct assent_bytes xid, struct assent_bytes url,
                      struct assent_bytes name, struct assent_bytes payload)
{
    size_t room = row_bytes_size(url) + row_bytes_size(name) + row_bytes_size(payload);
    struct row_writer w = {malloc(room), 0, room};
    assert(w.base != NULL);
    row_put_bytes(&w, url);
    row_put_bytes(&w, name);
    row_put_bytes(&w, payload);
    txn_row_put(store, xid, TXN_ROW_CALLBACK, row_written(&w));
    free(w.base);
}

void txn_whole_due(struct apply *a, struct assent_bytes xid, struct txn *t, enum sm_op op, int64_t due_us)
{
    if (t->whole_due_us != 0)
        work_clear(a->txn, t->whole_due_us, xid, bytes_of(SM_WHOLE));
    t->whole_due_us = due_us;
    if (due_us != 0)
        work_put(a, due_us, xid, bytes_of(SM_WHOLE), op, t->whole_attempts, a->position, 0);
}

void txn_whole_again(struct apply *a, struct assent_bytes xid, struct txn *t, const struct report *r,
                     int64_t least_us)
{
    t->whole_attempts++;
    if (r->outcome == SM_OUTCOME_ONGOING)
        t->failures = 0; /* somebody is there: the next wait is the first again */
    uint32_t n = t->failures;
    if (n > 0 && t->style != SM_STYLE_DTM) /* DTM doubles before the first wait */
        n--;
    int64_t wait_us = branch_back_off_us(t, NULL, 0, n);
    txn_whole_due(a, xid, t, r->op, a->now_us + (wait_us > least_us ? wait_us : least_us));
}
