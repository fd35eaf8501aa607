/* Nested transactions: which transaction stands inside which, and what one's end means to its relatives.
 * Private to statemachine/.
 *
 * A transaction begun with `parent` is a child.  It goes its own way until it has nothing more to decide
 * alone:
 *
 *   TCC, XA   commit is a vote: PREPARING until the transaction around it decides, then COMMITTING
 *   saga      runs at once and is COMMITTED when its steps are done, but while a transaction around it is
 *             undecided it may still turn: COMMITTED -> ROLLING_BACK
 *   either    rolls back whenever it must; the parent is not bound by that and may commit without it
 *
 * and a parent heeds its children:
 *
 *   forward   it votes or commits only when no child is undecided (ACTIVE, RUNNING, or SUSPENDED there); a
 * saga or tries whose last call is done stay RUNNING until then, a commit is refused back      it turns its
 * children back first; its own calls begin when all of them are ROLLED_BACK or STOPPED, so the leaves are
 * undone first, level by level decided   when nobody around it can turn it back any more, its children that
 * wait are COMMITTING, and so on down stopped   by an operator: its children are left alone; one that waits
 * for it may be committed or rolled back by itself from then on, as if nothing were around it
 *
 * No deadlock is possible.  A child that waits (PREPARING) waits only for its parent's decision, and a parent
 * never waits for a child that waits: going forward it waits for undecided children alone, which wait for
 * nobody above them; going back nobody waits upward at all.  The parent must exist before its child begins
 * and never changes, so the graph of who waits for whom is a tree walked in one direction at a time.
 *
 * Freezes are another graph; freeze_wait.c searches both together, so a child that would wait for what an
 * ancestor has frozen, or a sibling that votes, is refused.
 *
 * What follows for relatives is done when the command's own work is done, in the order in which transactions
 * moved (struct nest_queue), on heads read afresh: no function that holds a head in its hands sees it change
 * behind its back. */
#ifndef STATEMACHINE_NEST_H
#define STATEMACHINE_NEST_H

#include "txn.h"

/* Levels below the outermost transaction: what one walk upward reads. */
#define NEST_DEPTH_MAX 16
/* Transactions nested in one, at any depth: what one decision may move. */
#define NEST_CHILDREN_MAX 1000

/* Transactions that moved and have relatives; statemachine.c owns it, empty between commands. */
struct nest_queue {
    uint32_t n, at, room;
    struct store_key *xids;
};
void nest_queue_close(struct nest_queue *q);

/* May a transaction with this head begin inside its parent?  INVALID, TXN_NOT_FOUND, TXN_DECIDED, CONFLICT or
 * LIMIT; ASSENT_OK also when it has no parent. */
int nest_check(struct apply *a, const struct txn *t);
/* It begins: its parent knows it, those above count it.  Nothing without a parent. */
void nest_join(struct apply *a, struct assent_bytes xid, const struct txn *t);
/* The status of a transaction changed; its relatives follow at the end of the command. */
void nest_moved(struct apply *a, struct assent_bytes xid, const struct txn *t);
/* Everything that follows from what moved. */
void nest_settle(struct apply *a);

/* Its children, up to `max`, in order of xid. */
uint32_t nest_children(struct store_txn *store, struct assent_bytes xid, struct store_key *out, uint32_t max);
/* Is there a transaction around it whose decision counts? */
bool nest_inside(struct store_txn *store, const struct txn *t);
/* Has it ended, and can nobody around it turn it back?  A COMMITTED saga tells again when this becomes so. */
bool nest_final(struct store_txn *store, const struct txn *t);
/* Has one around it not ended?  Then its rows stay, to be turned back or looked at. */
bool nest_kept(struct store_txn *store, const struct txn *t);
/* Its rows go: so do those that name its children, and the one that names it. */
void nest_forget(struct apply *a, struct assent_bytes xid, const struct txn *t);

#endif /* STATEMACHINE_NEST_H */
