/* What operators did, and what waits for them, on record.  Private to statemachine/.
 *
 * Keys and values of STORE_AUDIT; every key begins with its kind, `at` is (position, number within it)
 *   ROW  at          -> time, statuses, xid, and who did what, to which branch, and why
 *   NS   ns 0 at     -> nothing: rows of a namespace
 *   TXN  xid 0 at    -> nothing: rows of a transaction
 * Rows outlive their transaction; after the time of settings.h a timer removes them, a few at a time. */
#ifndef STATEMACHINE_AUDIT_H
#define STATEMACHINE_AUDIT_H

#include "txn.h"

#define AUDIT_REASON_BYTES_MAX 1024 /* schema.c allows no longer one */
#define AUDIT_REMOVE_ROWS      256  /* removed by one firing of the timer */
#define AUDIT_TIMELINE_ROWS    50   /* shown with a transaction: the newest ones */
#define AUDIT_BY_CLUSTER       ""   /* nobody: the rules did it */

struct audit {
    struct assent_bytes by, act, reason;
    struct assent_bytes xid, branch; /* empty: it was about something else; the whole transaction */
    enum txn_status before, after;   /* 0: it has none */
    struct assent_bytes subject;     /* what else it was about: a topic, a member; shortened when too long */
};
/* Put it on record; borrows until return. */
void audit_put(struct apply *a, const struct audit *entry);
/* An act of the command at hand, whose fields `by` and the next say who and why; `xid` may be empty. */
void audit_act(struct apply *a, const char *act, struct assent_bytes xid, struct assent_bytes subject,
               uint32_t by);
/* The time rows are kept has changed: look which have had theirs. */
void audit_look(struct apply *a);
/* The pair "timeline": what happened to a transaction, the oldest first. */
void audit_timeline(struct apply *a, struct assent_bytes xid, const struct txn *t);

#endif /* STATEMACHINE_AUDIT_H */
