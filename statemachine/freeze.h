/* Freezes as they stand in the store: who holds a resource, who waits for it, what a transaction has.
 * Private to statemachine/: freeze.c (asking, granting, ending), freeze_wait.c (deadlocks), freeze_query.c.
 *
 * Keys and values of STORE_FREEZES; every key begins with its kind
 *   HEAD    resource               -> holders, waiters, is it exclusive; absent: nobody has to do with it
 *   HOLD    resource 0 xid         -> mode, token, since
 *   WAIT    resource 0 rank ticket -> mode, since, deadline, xid; the order of the queue
 *   OF      xid 0 resource         -> state bits, and where its WAIT row is
 *   COUNT   xid                    -> OF rows, of these waiting
 *   COUNT                          -> of all transactions together: what is held, what is waited for
 * META "freeze_token" is the largest token given so far. */
#ifndef STATEMACHINE_FREEZE_H
#define STATEMACHINE_FREEZE_H

#include "txn.h"

/* Resources one transaction may hold, wait for or have waited for: what its end has to walk. */
#define FREEZES_PER_TXN_MAX 512
/* Of these waiting at a time: one per concurrent step. */
#define FREEZE_WAITS_MAX 64
/* Waiters of one resource: what one release may grant at once. */
#define FREEZE_QUEUE_MAX 128
/* Shared holders and waiters of one resource: one answer shows them all. */
#define FREEZE_HOLDERS_MAX 1000
/* Longest wait; whoever wants to wait longer asks again. */
#define FREEZE_WAIT_MS_MAX 3600000
/* Rows one search for a deadlock may read; a larger graph is refused rather than searched in part. */
#define FREEZE_SEARCH_ROWS_MAX 16384

/* Numbers are stored and never reused. */
enum freeze_key_kind {
    FREEZE_KEY_HEAD = 1,
    FREEZE_KEY_HOLD = 2,
    FREEZE_KEY_WAIT = 3,
    FREEZE_KEY_OF = 4,
    FREEZE_KEY_COUNT = 5
};
enum freeze_mode { FREEZE_SHARED = 1, FREEZE_EXCLUSIVE = 2 };
/* An upgrade holds the resource already: nobody behind it could be served before it, so it goes first. */
enum freeze_rank { FREEZE_RANK_UPGRADE = 1, FREEZE_RANK_ASK = 2 };
enum { FREEZE_HELD = 1, FREEZE_WAITING = 2, FREEZE_LATE = 4 /* its wait timed out */ };

struct freeze_head {
    bool stored; /* private: there is a row */
    uint32_t holders, waiters;
    bool exclusive; /* the one holder is */
};
struct freeze_hold {
    enum freeze_mode mode;
    uint64_t token;
    int64_t since_us;
};
struct freeze_wait {
    enum freeze_rank rank;
    uint64_t ticket; /* position of the command that asked */
    enum freeze_mode mode;
    int64_t since_us, deadline_us;
    struct assent_bytes xid; /* borrowed from the store */
};
struct freeze_of {
    uint8_t state; /* 0: nothing */
    enum freeze_rank rank;
    uint64_t ticket;
};
struct freeze_count {
    uint32_t rows, waits; /* of FREEZE_ALL: `rows` are held */
};

const char *freeze_mode_name(enum freeze_mode mode);
static inline bool freeze_conflict(enum freeze_mode a, enum freeze_mode b)
{
    return a == FREEZE_EXCLUSIVE || b == FREEZE_EXCLUSIVE;
}

/* All zero where there is no row. */
struct freeze_head freeze_head_load(struct store_txn *store, struct assent_bytes resource);
struct freeze_of freeze_of_load(struct store_txn *store, struct assent_bytes xid,
                                struct assent_bytes resource);
#define FREEZE_ALL ((struct assent_bytes){NULL, 0})
struct freeze_count freeze_count_load(struct store_txn *store, struct assent_bytes xid);
/* These must be there. */
struct freeze_hold freeze_hold_load(struct store_txn *store, struct assent_bytes resource,
                                    struct assent_bytes xid);
struct freeze_wait freeze_wait_load(struct store_txn *store, struct assent_bytes resource,
                                    enum freeze_rank rank, uint64_t ticket);

/* ---- rows in key order: of a resource's holders or waiters, of a transaction, of all resources */

struct freeze_walk {
    struct store_cursor cursor;
    struct store_key from;
    uint32_t prefix;        /* bytes of `from` every key shares */
    uint32_t cut;           /* of these, kind and name: left off the tails */
    struct store_key after; /* where to begin, when `behind` */
    bool started, behind;
};
/* `name`: resource or xid in front; with HEAD what the resources begin with, part of their tails. */
void freeze_walk_open(struct freeze_walk *w, struct store_txn *store, enum freeze_key_kind kind,
                      struct assent_bytes name);
/* Go on behind the row with this tail. */
void freeze_walk_after(struct freeze_walk *w, struct assent_bytes tail);
/* Go on behind all names of a namespace; `ns` is borrowed until return. */
void freeze_walk_skip(struct freeze_walk *w, struct assent_bytes ns);
/* `tail`: what stands behind kind and name.  Both borrowed until the next write. */
bool freeze_walk_next(struct freeze_walk *w, struct assent_bytes *tail, struct assent_bytes *value);
void freeze_walk_close(struct freeze_walk *w);
/* Values met by a walk. */
struct freeze_head freeze_head_decode(struct assent_bytes value);
struct freeze_hold freeze_hold_decode(struct assent_bytes value);
struct freeze_wait freeze_wait_decode(struct assent_bytes tail, struct assent_bytes value);
struct freeze_of freeze_of_decode(struct assent_bytes value);

/* Write how a transaction stands to a resource, a map. */
void freeze_answer(struct apply *a, struct assent_bytes xid, struct assent_bytes resource);

/* May `xid` begin to wait for the resource?  OK; DEADLOCK when somebody it would wait for waits, through any
 * number of others, for it; LIMIT when the graph is too large to tell. */
int freeze_may_wait(struct apply *a, struct assent_bytes xid, struct assent_bytes resource,
                    enum freeze_mode mode, enum freeze_rank rank);

/* A transaction changes its status: who leaves ACTIVE stops waiting, who has ended releases everything. */
void freeze_follow(struct apply *a, struct assent_bytes xid, enum txn_status from, enum txn_status to);

#endif /* STATEMACHINE_FREEZE_H */
