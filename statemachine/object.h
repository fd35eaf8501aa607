/* A versioned object's state: what it has seen, its current siblings, its history.  Private to the version
 * files.
 *
 * A write is a *dot* (node, counter) with a *past*: the vector of what its writer had seen.  One write is
 * older than another exactly when its dot lies in the other's past.  A plain version vector cannot say that
 * two clients wrote through the same node from the same past; the dot can (Preguica, Baquero, Almeida, Fonte,
 * Goncalves 2010: dotted version vectors).
 *
 * What the object has *seen* is a vector plus dots *apart* from it: a write that arrived by merge before an
 * earlier one of the same node.  Without them the earlier one would be taken for known and lost.
 *
 * Rows: STORE_VERSIONS         object               resolution, bounds, seen, apart, siblings
 *       STORE_VERSION_HISTORY  object, position, 0  operation, time, dot, past
 *       STORE_VERSION_HISTORY  object, position, 1  the value, if it has one
 * A sibling is a place in the history, so values are written once and never copied. */
#ifndef STATEMACHINE_OBJECT_H
#define STATEMACHINE_OBJECT_H

#include "apply.h"

#define OBJECT_SIBLINGS_MAX 32
/* Past and value of all siblings together: a reply holds them all. */
#define OBJECT_SIBLING_BYTES_MAX (4 * 1024 * 1024)
#define OBJECT_APART_MAX         256
#define OBJECT_HISTORY_DEFAULT   16

/* Bytes of a full vector in a row. */
#define OBJECT_VECTOR_BYTES_MAX (4 + ASSENT_VECTOR_MEMBERS_MAX * (4 + ASSENT_NAME_BYTES_MAX + 8))
#define OBJECT_DOT_BYTES_MAX    (4 + ASSENT_NAME_BYTES_MAX + 8)
#define OBJECT_ROW_BYTES_MAX                                                                                 \
    (16 + OBJECT_VECTOR_BYTES_MAX + OBJECT_APART_MAX * OBJECT_DOT_BYTES_MAX +                                \
     OBJECT_SIBLINGS_MAX * (OBJECT_DOT_BYTES_MAX + 12))
#define OBJECT_RECORD_BYTES_MAX (16 + OBJECT_DOT_BYTES_MAX + OBJECT_VECTOR_BYTES_MAX)

/* Numbers are stored and never reused. */
enum object_resolution {
    OBJECT_SIBLINGS = 0,   /* keep every concurrent value */
    OBJECT_LAST_WRITE = 1, /* keep the one that came last in the log */
    OBJECT_LARGEST = 2,    /* keep the largest value, see value_compare() in object.c */
    OBJECT_RESOLUTION_NR
};
const char *object_resolution_name(enum object_resolution r);
/* -1: no such name. */
int object_resolution_by_name(struct assent_bytes name);

enum object_op { OBJECT_INCREMENT = 1, OBJECT_MERGE = 2, OBJECT_RESOLVE = 3 };

struct dot {
    struct assent_bytes node;
    uint64_t counter;
};

struct sibling {
    struct dot dot;
    uint64_t position; /* of its record in the history */
    uint32_t size;     /* bytes of past and value */
};

/* Large (about 400 KiB): one per command, on the stack.  Names borrow from `row` or from the command. */
struct object {
    struct assent_bytes name; /* borrows from the command */
    bool exists;
    enum object_resolution resolution;
    uint32_t history;  /* records to keep, beside those of siblings */
    uint32_t recorded; /* records there are */
    struct assent_vector seen;
    uint32_t apart_n, siblings_n;
    struct dot apart[OBJECT_APART_MAX];
    struct sibling siblings[OBJECT_SIBLINGS_MAX + 1]; /* one more while a write is under way */
    struct assent_counter seen_room[ASSENT_VECTOR_MEMBERS_MAX];
    uint8_t row[OBJECT_ROW_BYTES_MAX]; /* private */
};

/* One record of the history.  `past` borrows from `row`. */
struct record {
    enum object_op op;
    int64_t time_us;
    struct dot dot;
    struct assent_vector past;
    struct assent_counter past_room[ASSENT_VECTOR_MEMBERS_MAX];
    uint8_t row[OBJECT_RECORD_BYTES_MAX]; /* private */
};

void object_load(struct object *o, struct store_txn *txn, struct assent_bytes name);
void object_save(const struct object *o, struct store_txn *txn);

/* Has this write been seen? */
bool object_covers(const struct object *o, struct dot dot);
/* The largest counter of a node's writes. */
uint64_t object_counter(const struct object *o, struct assent_bytes node);

/* Add a write: drop the siblings its past covers (all of them with `all`), add it, apply the declared
 * resolution, record it.  Returns LIMIT with the store unchanged. */
int object_write(struct apply *a, struct object *o, enum object_op op, struct dot dot,
                 const struct assent_vector *past, struct assent_bytes value, bool all);
/* Apply the declared resolution to the siblings there are. */
void object_settle(struct object *o, struct store_txn *txn);
/* Drop the oldest records beyond `history`; those of siblings stay. */
void object_trim(struct object *o, struct store_txn *txn);

/* Read a record (it must exist) and its value (empty: none; borrowed from the store). */
void object_record(const struct object *o, struct store_txn *txn, uint64_t position, struct record *out);
struct assent_bytes object_value(const struct object *o, struct store_txn *txn, uint64_t position);
/* Positions of up to `max` records, oldest first, behind the oldest `skip`; returns how many. */
uint32_t object_positions(const struct object *o, struct store_txn *txn, uint32_t skip, uint64_t *positions,
                          uint32_t max);

#endif /* STATEMACHINE_OBJECT_H */
