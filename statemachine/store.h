/* What the cluster agreed, in LMDB: tables of ordered keys, one write transaction per applied batch,
 * snapshots for readers.
 *
 * The environment runs with NOSYNC: it is a cache of snapshot + log, not the durable truth.  A clean close
 * syncs and sets a mark; without the mark the directory is thrown away at open.  Values are borrowed until
 * the next write or the end of the transaction: decode them, never carry the pointer upward.
 *
 * A failure inside a write transaction means this replica cannot go on: store functions then print what
 * failed and abort() (style: three kinds of "no"). */
#ifndef STATEMACHINE_STORE_H
#define STATEMACHINE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "assent/types.h"

struct store;

/* Of the whole process: who is told when a store cannot go on; does not return.  See sm_on_broken(). */
void store_on_broken(void (*callback)(void *data, const char *sentence), void *data);
/* Tell, and end the process. */
void store_give_up(const char *sentence) __attribute__((noreturn));

/* Tables; the number is part of the snapshot format and never reused. */
enum store_table {
    STORE_META = 0,
    STORE_SESSIONS = 1,
    STORE_REPLIES = 2, /* (client, sequence) or key -> stored reply */
    STORE_TIMERS = 3,  /* (due_us, kind, id) -> nothing */
    STORE_NODES = 4,
    STORE_SEQUENCES = 5,
    STORE_LAMPORT = 6,
    STORE_VECTORS = 7,
    STORE_VECTOR_EPOCHS = 8,
    STORE_VERSIONS = 9,
    STORE_VERSION_HISTORY = 10,
    STORE_EVENTS = 11,
    STORE_EVENT_INDEX = 12,
    STORE_TXNS = 13,
    STORE_BRANCHES = 14,
    STORE_TXN_INDEX = 15,  /* (status, xid) and the like */
    STORE_WORK = 16,       /* (due_us, xid, branch) -> operation */
    STORE_FREEZES = 17,    /* holders of frozen resources and who waits for them: freeze.h */
    STORE_TOPICS = 18,     /* who gets what is sent to a topic: topic.h */
    STORE_AUDIT = 19,      /* what operators did: audit.h */
    STORE_BUSINESS = 20,   /* (namespace, business type) -> what it is: business.c */
    STORE_STATISTICS = 21, /* (namespace, mode, business type) -> what came of its transactions */
    STORE_TABLE_NR = 22
};

/* Open or create.  `*clean` tells whether what is inside may be used; when false the store is empty. */
int store_open(struct store **store, const char *dir, uint64_t map_bytes, bool *clean, char *err,
               size_t err_size);
/* Close; `clean`: sync and mark, so that the next open keeps it. */
void store_close(struct store *store, bool clean);
/* Remove everything (before a restore); inside no transaction. */
void store_wipe(struct store *store);

/* Bytes of the file in use; grows with the state, shrinks only by a restore into a new directory. */
uint64_t store_bytes(const struct store *store);

/* A transaction.  One write transaction at a time, on the loop thread; any number of read transactions. */
struct store_txn;
struct store_txn *store_begin(struct store *store); /* write */
void store_commit(struct store_txn *txn);
struct store_txn *
store_begin_read(struct store *store); /* may be handed to another thread; one thread at a time */
void store_end_read(struct store_txn *txn);
/* Let go of the state a read transaction sees, keeping its memory; take the newest state again.  Cheaper than
 * end and begin. */
void store_reset_read(struct store_txn *txn);
void store_renew_read(struct store_txn *txn);

/* False: no such key. */
bool store_get(struct store_txn *txn, enum store_table table, struct assent_bytes key,
               struct assent_bytes *value);
void store_put(struct store_txn *txn, enum store_table table, struct assent_bytes key,
               struct assent_bytes value);
/* False: it was not there. */
bool store_del(struct store_txn *txn, enum store_table table, struct assent_bytes key);
uint64_t store_count(struct store_txn *txn, enum store_table table);
/* First key of a table; false: the table is empty. */
bool store_first(struct store_txn *txn, enum store_table table, struct assent_bytes *key,
                 struct assent_bytes *value);
/* Puts and deletes in a table since the store was opened: while it stands still, what was read is fresh. */
uint64_t store_writes(const struct store *store, enum store_table table);

/* Walk keys in order from the first >= `from`, or backwards.  The store may be written between steps: each
 * step seeks again. */
struct store_cursor {
    void *cursor; /* private */
};
void store_cursor_open(struct store_cursor *c, struct store_txn *txn, enum store_table table);
bool store_cursor_seek(struct store_cursor *c, struct assent_bytes from, struct assent_bytes *key,
                       struct assent_bytes *value);
bool store_cursor_next(struct store_cursor *c, struct assent_bytes *key, struct assent_bytes *value);
bool store_cursor_prev(struct store_cursor *c, struct assent_bytes *key, struct assent_bytes *value);
/* The last key < `end`. */
bool store_cursor_before(struct store_cursor *c, struct assent_bytes end, struct assent_bytes *key,
                         struct assent_bytes *value);
bool store_cursor_last(struct store_cursor *c, struct assent_bytes *key, struct assent_bytes *value);
void store_cursor_close(struct store_cursor *c);

/* The running digest over every put and delete since the beginning (or since the restored snapshot's own
 * value); stored with the applied index; equal on replicas at the same index. */
uint64_t store_digest(struct store_txn *txn);

/* Where the state stands.  One row of META, written once per transaction and no part of the digest, so that
 * the digest does not depend on how commands were gathered into transactions. */
#define STORE_EXTRA_MAX 64
struct store_place {
    uint64_t index;                 /* of the last applied entry */
    int64_t time_us;                /* of the last applied command */
    uint8_t extra[STORE_EXTRA_MAX]; /* the state machine's own numbers */
};
struct store_place store_place(struct store_txn *txn);
/* Of the write transaction; stored by its commit, with the digest. */
void store_set_place(struct store_txn *txn, const struct store_place *place);

/* Put and delete outside the digest, for rows that are written back at the end of a transaction; what changed
 * them must have gone through store_note().  A note mixes bytes into the digest as a put would. */
void store_put_noted(struct store_txn *txn, enum store_table table, struct assent_bytes key,
                     struct assent_bytes value);
void store_del_noted(struct store_txn *txn, enum store_table table, struct assent_bytes key);
void store_note(struct store_txn *txn, enum store_table table, struct assent_bytes key,
                struct assent_bytes value);

/* Dump all tables in order from a read transaction into a new file; fsync; fill size and digest of the image
 * (XXH3-64 of everything behind the header).  Restore replaces the content after checking format and digest;
 * memory bounded. */
/* The image: a header (magic, format, place, running digest, size and digest of the body), then per row
 * table, key size, value size, key, value in table and key order, then an end mark with the number of rows.
 */
int store_dump(struct store_txn *read, const char *path, uint64_t *size, uint64_t *digest, char *err,
               size_t err_size);
int store_restore(struct store *store, const char *path, char *err, size_t err_size);
/* See sm_image_check(). */
struct sm_image;
int store_image_check(const char *path, uint64_t offset, struct sm_image *out, char *err, size_t err_size);

/* ---- keys: order-preserving pieces ---- */

#define STORE_KEY_MAX 511
struct store_key {
    uint32_t size;
    uint8_t bytes[STORE_KEY_MAX];
};
static inline void key_init(struct store_key *k)
{
    k->size = 0;
}
void key_u64(struct store_key *k, uint64_t v); /* big-endian */
void key_u8(struct store_key *k, uint8_t v);
/* A text in the middle of a key: bytes and a 0 terminator (texts hold no NUL).  At the end use key_tail(). */
void key_text(struct store_key *k, struct assent_bytes v);
void key_tail(struct store_key *k, struct assent_bytes v);
struct assent_bytes key_bytes(const struct store_key *k);
/* Reading back; false when the key is shorter. Each advances `*key`. */
bool key_take_u64(struct assent_bytes *key, uint64_t *v);
bool key_take_u8(struct assent_bytes *key, uint8_t *v);
bool key_take_text(struct assent_bytes *key, struct assent_bytes *v);

#endif /* STATEMACHINE_STORE_H */
