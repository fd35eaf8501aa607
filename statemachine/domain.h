/* The registry behind one vector clock: who is a member, who is leaving, and what each epoch dropped.
 * Private to the vector clock files.
 *
 * Problem: a vector grows with every process that ever took part; dropping an entry makes later comparisons
 * wrong without agreement on when everybody has seen the leaver's last event (Charron-Bost 1991: n processes
 * need n entries).  The log gives that agreement:
 *
 *   1. Retirement records the member's *final* counter f and marks it LEAVING.
 *   2. Each live member is waited for until its own vector holds f (by sync, or by observe).
 *   3. Then the entry is dropped and the *epoch* grows by one; (epoch, name, f) is kept as a record.
 *   4. A stamp of epoch e lacks what was dropped up to e, and knows all of it: an absent dropped member
 *      counts as f.  So a stamp of an older epoch is brought forward by comparing its entry with f and
 * dropping it.
 *   5. Members have join numbers that are never used twice: a name may come back as another member.
 *   6. A member that joins starts from what the retired members knew (row 4 must hold for it too): a join
 *      happens after the last event of every member retired before it.
 * Stamps older than the oldest kept record are refused, never compared wrongly.
 *
 * Rows, all under the clock's name:
 *   STORE_VECTORS        0            epoch, oldest epoch, next join number, members
 *   STORE_VECTORS        1, number    what the member has seen: pairs (number, counter)
 *   STORE_VECTORS        2, number    the stamps in which others showed counters of it that it did not get
 * here STORE_VECTORS        3            what retired members knew STORE_VECTOR_EPOCHS  1, epoch     final
 * counter and name of the member dropped by this epoch STORE_VECTOR_EPOCHS  2, name      the newest epoch
 * that dropped a member of this name */
#ifndef STATEMACHINE_DOMAIN_H
#define STATEMACHINE_DOMAIN_H

#include "apply.h"

/* Records kept per clock; a record has the size of a name.  Tests build with fewer. */
#ifndef DOMAIN_EPOCHS_KEPT
#define DOMAIN_EPOCHS_KEPT 1024
#endif

struct domain_member {
    uint64_t number;          /* join number; members are ordered by it */
    struct assent_bytes name; /* borrows from the domain or from the command */
    bool leaving;
    bool shown;       /* a row 2 exists */
    uint64_t final;   /* of a leaving member */
    uint32_t pending; /* of a leaving member: live members that have not seen `final` */
};

/* Large (about 200 KiB): one per command, on the stack. */
struct domain {
    struct assent_bytes clock; /* borrows from the command */
    uint64_t epoch, oldest, next_number;
    uint32_t n;
    bool exists; /* in the store */
    bool dirty;  /* the registry row must be written */
    struct domain_member members[ASSENT_VECTOR_MEMBERS_MAX];
    uint8_t names[ASSENT_VECTOR_MEMBERS_MAX * ASSENT_NAME_BYTES_MAX]; /* private */
};

/* Counters by place in `members`, not by name: merging is a loop. */
struct domain_counts {
    uint64_t at[ASSENT_VECTOR_MEMBERS_MAX];
};

enum domain_row { DOMAIN_SEEN = 1, DOMAIN_SHOWN = 2, DOMAIN_BASE = 3 };

/* Load the registry, or an empty one for a clock that does not exist. */
void domain_load(struct domain *d, struct store_txn *txn, struct assent_bytes clock);
void domain_save(struct domain *d, struct store_txn *txn);

/* Place of the member of that name, or -1. */
int32_t domain_find(const struct domain *d, struct assent_bytes name);
/* Append a member; `name` must outlive the domain.  -1: ASSENT_VECTOR_MEMBERS_MAX reached. */
int32_t domain_join(struct domain *d, struct assent_bytes name);

/* Counters of a row (of members[i]; i is ignored for DOMAIN_BASE) of current members; others were dropped.
 * False: no such row, all 0. */
bool domain_counts_load(const struct domain *d, struct store_txn *txn, enum domain_row row, uint32_t i,
                        struct domain_counts *out);
void domain_counts_save(const struct domain *d, struct store_txn *txn, enum domain_row row, uint32_t i,
                        const struct domain_counts *counts);
/* What members[i] has seen; a member without a row starts from what the retired knew. */
void domain_seen(const struct domain *d, struct store_txn *txn, uint32_t i, struct domain_counts *out);
/* The largest counter of members[i] known here. */
uint64_t domain_counter(const struct domain *d, struct store_txn *txn, uint32_t i);

/* Mark members[i] as leaving and count whom to wait for. */
void domain_retire(struct domain *d, struct store_txn *txn, uint32_t i);
/* members[i] went from `before` to `after`: who needs to wait for it no longer? */
void domain_progress(struct domain *d, uint32_t i, const struct domain_counts *before,
                     const struct domain_counts *after);
/* Drop every leaving member nobody is waited for, each in an epoch of its own.  `counts` (may be NULL) stays
 * in step with the places. */
void domain_drop(struct domain *d, struct store_txn *txn, struct domain_counts *counts);

/* The epoch that dropped a member of this name, with its final counter; false: none that is remembered. */
bool domain_dropped(const struct domain *d, struct store_txn *txn, struct assent_bytes name, uint64_t *epoch,
                    uint64_t *final);
/* Bring a stamp of epoch `from` forward to epoch `to` (from <= to <= epoch).  `*behind` becomes true when the
 * stamp lacks an event that every stamp of `to` knows.  Returns INVALID (an epoch yet to come),
 * EPOCH_FORGOTTEN, MEMBER_RETIRED (a counter beyond the final one), or OK. */
int domain_forward(struct apply *a, const struct domain *d, struct assent_vector *stamp, uint64_t from,
                   uint64_t to, bool *behind);

#endif /* STATEMACHINE_DOMAIN_H */
