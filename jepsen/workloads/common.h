/* What the workloads share: how an answer ends an operation, transactions whose end is waited for, and what a
 * checker reads of them from a history.
 *
 * A workload's checker sees its history and nothing else: what the judge's own participants did is written
 * into it as the last operation, "effects". So a kept history can be judged again, and a self-test is a few
 * lines. */
#ifndef JEPSEN_COMMON_H
#define JEPSEN_COMMON_H

#include "http.h"
#include "run.h"
#include "stub.h"

#define ASK_MS   5000
#define POOL_MAX 100000 /* transactions of one run */

/* OK, FAIL or INFO, and the error. */
void op_ended(const struct http_answer *a, struct op *done);
void nap_ms(uint32_t ms);

/* Transactions that were asked for, until each has ended. */
struct pool {
    struct pooled {
        char xid[40];
        bool ended;
    } * txns;
    uint32_t n, first_open;
    uint64_t until_ns;   /* of the final phase; 0: not begun */
    bool taken;          /* "effects" was asked for */
    bool suspended_ends; /* SUSPENDED is not waited for either */
    struct stub *stub;   /* borrowed; may be NULL */
    /* More for the "effects", into its value; may be NULL. */
    void (*more)(void *user, json_t *value);
    void *user;
};

void pool_open(struct pool *p, struct stub *stub);
void pool_close(struct pool *p);
/* A new name; NULL: no more.  Under the run's lock, as `next` is. */
const char *pool_new(struct run *r, struct pool *p);
/* Ask for the status of an old one; false: there is none. */
bool pool_old(struct run *r, struct pool *p, struct op *invoke);
/* The same of one of the last `n`. */
bool pool_recent(struct run *r, struct pool *p, uint32_t n, struct op *invoke);
/* The final phase: statuses until all have ended, then "effects", once.  A status is a text; "none" is that
 * of a transaction that is not there. */
bool pool_final(struct run *r, struct pool *p, struct op *invoke);
/* Performs "status" and "effects"; false: it is neither. */
bool pool_perform(struct run *r, struct pool *p, const struct sut_node *node, const struct op *invoke,
                  struct op *done);

/* It has ended: not asked for in the final phase any more. */
void pool_ended(struct run *r, struct pool *p, const char *xid);

/* A transaction as a history tells it. */
struct tx {
    const char *xid;      /* borrowed from the history */
    const char *f;        /* of the operation that asked for it, the first of its name; "" unknown */
    const json_t *value;  /* of its invocation */
    const json_t *answer; /* of its completion, if OK */
    bool acknowledged, ended, suspended;
    char side;                     /* 'C' decided for commit, 'R' for rollback, 0 not known */
    uint64_t asked_ns;             /* for it, first */
    uint64_t known_ns, decided_ns; /* since then somebody knew that it is so; 0: never */
};
struct txs {
    struct tx *list;
    size_t n;
    json_t *index; /* xid -> place */
    const json_t *effects;
    bool all_ended;
};

/* What a workload allows beyond what all promise. */
struct txs_rules {
    uint64_t kept_ns; /* so long after it was asked for one may have ended and be forgotten; 0: never */
    bool may_suspend; /* SUSPENDED may be where one ends up */
    bool ends_apart;  /* whether each has ended is told by other operations: the caller looks */
};

/* Collects them, and says what is wrong already: two decisions of one, one seen undecided by somebody who
 * asked after a decision was seen, one that was there and is not any more, an acknowledged one that did not
 * end, no "effects" (unknown).  Each text that completes an operation well is a status that somebody was
 * told.  `rules` may be NULL. */
void txs_open(struct txs *t, const struct history *h, const struct txs_rules *rules, struct verdict *v);
void txs_close(struct txs *t);
struct tx *txs_find(const struct txs *t, const char *xid);

#endif
