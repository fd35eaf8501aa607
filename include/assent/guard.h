/* Participants' guard: repeated, late, empty and stale calls of a branch change nothing in your database.
 *
 * A coordinator calls "at least once", and messages overtake each other.  The guard keeps rows in the
 * participant's own database, written in the same local transaction as the effect, and tells for each call
 * whether the business code is to run.  Two layouts:
 *   barrier     DTM's table (dtm_barrier.barrier): shares its rows with participants that use a DTM client
 *   guard row   table assent_branch, one row per (xid, branch), with the state of the branch and the largest
 *               fencing token seen: also refuses stale calls and confirm without try, and answers "did it
 *               commit?" for good
 *
 * Libraries: assent-guard (this logic, libc only) and assent-guard-pq, -mariadb, -redis, each built where its
 * client library was found.  None needs libassent.  A connection belongs to the caller and to one thread.
 *
 *     struct assent_guard_call call;
 *     struct assent_guard_result result;
 *     if (assent_guard_call_query(&call, query_string) != ASSENT_OK) ...400
 *     PQexec(conn, "BEGIN");
 *     int rc = assent_guard_pq_enter(conn, &call, &result);
 *     if (rc == ASSENT_OK && result.verdict == ASSENT_GUARD_RUN) ...the effect, on the same connection
 *     PQexec(conn, rc == ASSENT_OK ? "COMMIT" : "ROLLBACK");
 *     ...answer assent_guard_http(rc, &result)
 *
 * COMMIT whatever the verdict is: the rows of an empty cancel must stay.  ROLLBACK after any error; then the
 * guard remembers nothing, and the repetition of the call runs.  A handler that itself begins again after a
 * rollback fills its call anew (or sets `uses` to 0).
 *
 * Errors (assent/error.h), the same for every database; `result` keeps what the database said, unabridged in
 * its number and SQLSTATE:
 *   ASSENT_INVALID      no open transaction (or one, where there must be none), a bad name, an unknown op
 *   ASSENT_BUSY         lock wait, deadlock, serialization failure, too many connections: call again
 *   ASSENT_UNREACHABLE  the connection is lost; the open transaction is rolled back by the server
 *   ASSENT_UNKNOWN_OUTCOME  the connection was lost where the change may have been made: call again, the
 *                       guard recognises it
 *   ASSENT_NOT_FOUND    no such table: assent_guard_*_create()
 *   ASSENT_NOT_LEADER   a read-only replica answered
 *   ASSENT_FOREIGN      the database refuses this user
 *   ASSENT_NO_SPACE, NOMEM, TIMEOUT, MALFORMED, EXISTS, UNSUPPORTED, CORRUPT, IO as their sentences say; IO
 *                       also for what this version has no row for
 */
#ifndef ASSENT_GUARD_H
#define ASSENT_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "assent/error.h"

struct pg_conn;      /* libpq's PGconn */
struct st_mysql;     /* libmariadb's MYSQL */
struct redisContext; /* hiredis */

/* ---- the call that is guarded */

#define ASSENT_GUARD_ID_BYTES_MAX   128 /* gid and branch: the widths of DTM's columns */
#define ASSENT_GUARD_WORD_BYTES_MAX 45  /* trans_type, op, barrier id, reason */
#define ASSENT_GUARD_TABLE_MAX      127 /* "schema.table", of A-Z a-z 0-9 _ and one dot */
#define ASSENT_GUARD_BARRIER_TABLE  "dtm_barrier.barrier"
#define ASSENT_GUARD_BRANCH_TABLE   "assent_branch"

/* Which branch, which operation.  Fill it by one of the functions below; one per incoming call. */
struct assent_guard_call {
    char trans_type[ASSENT_GUARD_WORD_BYTES_MAX + 1]; /* saga tcc xa msg workflow */
    char gid[ASSENT_GUARD_ID_BYTES_MAX + 1];          /* DTM's gid, assent's xid */
    char branch[ASSENT_GUARD_ID_BYTES_MAX + 1];
    char op[ASSENT_GUARD_WORD_BYTES_MAX + 1]; /* try confirm cancel action compensate commit rollback msg */
    uint64_t token;                           /* fencing token; 0: the caller has none */
    const char *table;                        /* NULL: the layout's default; borrowed */
    uint32_t uses;                            /* barriers entered so far: DTM's two-digit barrier id */
};

/* Fill `call`; the texts are copied.  ASSENT_INVALID: one is NULL, empty or has a control character;
 * ASSENT_TOO_LARGE: longer than its column. */
int assent_guard_call_init(struct assent_guard_call *call, const char *trans_type, const char *gid,
                           const char *branch, const char *op);
/* From the query string of a DTM call ("gid=..&branch_id=01&op=action&trans_type=saga", with or without '?').
 * Other parameters are ignored; of repeated ones the last counts, for that is the coordinator's.
 * ASSENT_MALFORMED: a broken percent escape; else as assent_guard_call_init(). */
int assent_guard_call_query(struct assent_guard_call *call, const char *query);
/* From the headers Assent-Xid, Assent-Branch, Assent-Op, Assent-Token (the last may be absent).  `get` gives
 * the value of a header or NULL.  trans_type follows from the operation. */
int assent_guard_call_headers(struct assent_guard_call *call,
                              const char *(*get)(void *data, const char *header), void *data);

/* ---- what the guard says */

enum assent_guard_verdict {
    ASSENT_GUARD_RUN = 1,   /* first time: run the business code */
    ASSENT_GUARD_DUPLICATE, /* done before: skip it, answer success */
    ASSENT_GUARD_EMPTY,     /* undo of what never was: skip, answer success; a later try will be LATE */
    ASSENT_GUARD_LATE,      /* try or action behind its own undo: skip, refuse */
    ASSENT_GUARD_STALE,     /* the token is older than one seen: skip, refuse (guard row) */
    ASSENT_GUARD_NO_TRY,    /* confirm without a try: skip, refuse (guard row) */
    ASSENT_GUARD_CONFLICT,  /* confirm after cancel, or cancel after confirm: skip, refuse, alarm somebody */
    ASSENT_GUARD_REFUSED,   /* the effect itself refused: balance too low (Redis) */
};
enum assent_guard_outcome {
    ASSENT_GUARD_UNDECIDED = 1, /* a running or prepared transaction holds the row: ask again */
    ASSENT_GUARD_COMMITTED,
    ASSENT_GUARD_ABORTED, /* it did not commit and never will: a tombstone is in its place */
};
enum assent_guard_state { /* of a guard row; the numbers are stored */
                          ASSENT_GUARD_TRIED = 1,
                          ASSENT_GUARD_CONFIRMED = 2,
                          ASSENT_GUARD_CANCELLED = 3,
                          ASSENT_GUARD_TOMBSTONE = 4, /* cancelled or barred before any try */
};

struct assent_guard_result {
    enum assent_guard_verdict verdict; /* of enter and branch; 0 after an error */
    enum assent_guard_outcome outcome; /* of outcome and prepared; 0 after an error */
    int native;                        /* the database's own error number; 0: none */
    char sqlstate[6];                  /* "" without one */
    char detail[256];                  /* what the database said, cut at the end; "" without an error */
};

/* Name of a verdict: "RUN", "DUPLICATE", ...; "UNKNOWN" outside the table.  Static. */
const char *assent_guard_verdict_name(enum assent_guard_verdict verdict);
/* The HTTP status that tells the coordinator: 200; 409 for a refusal, and for an outcome ABORTED (put the
 * word FAILURE in the body for DTM); 425 for UNDECIDED (ONGOING).  An error is 400, 500 or 503: its outcome
 * is open, the coordinator calls again. */
int assent_guard_http(int rc, const struct assent_guard_result *result);

/* ---- PostgreSQL (assent-guard-pq) */

/* Create the barrier table and the guard row's table if absent, outside a transaction.  NULL: the default
 * names.  A schema in a name is created too. */
int assent_guard_pq_create(struct pg_conn *conn, const char *barrier, const char *branch,
                           struct assent_guard_result *result);
/* Barrier: first statement of the caller's open transaction.  May be entered several times in one handler:
 * each use has its own rows (dtm-protocol: barrier id).  XA of DTM: enter with op `action` in the branch
 * before its PREPARE, with op `rollback` after the database's rollback. */
int assent_guard_pq_enter(struct pg_conn *conn, struct assent_guard_call *call,
                          struct assent_guard_result *result);
/* Guard row: likewise.  Operations: try action prepare | confirm commit | cancel compensate rollback. */
int assent_guard_pq_branch(struct pg_conn *conn, const struct assent_guard_call *call,
                           struct assent_guard_result *result);
/* Did phase one of (gid, branch) commit, and does it stand (a cancelled one is ABORTED)?  No open
 * transaction.  A missing row is barred by a tombstone first, so the answer stays true.  Waits at most
 * `wait_ms` (1 or more) for whoever holds the row.  `call->op` is not used. */
int assent_guard_pq_outcome(struct pg_conn *conn, const struct assent_guard_call *call, uint32_t wait_ms,
                            struct assent_guard_result *result);
/* The back-query of a message (DTM's query_prepared): did the local transaction that entered with op `msg`,
 * branch `00` commit?  Same rules. */
int assent_guard_pq_prepared(struct pg_conn *conn, const struct assent_guard_call *call, uint32_t wait_ms,
                             struct assent_guard_result *result);

/* ---- MariaDB 10.5 and later (assent-guard-mariadb).  InnoDB; `wait_ms` is rounded up to seconds.  With
 * autocommit off a transaction is always open: outcome and prepared need it on. */

int assent_guard_mariadb_create(struct st_mysql *conn, const char *barrier, const char *branch,
                                struct assent_guard_result *result);
int assent_guard_mariadb_enter(struct st_mysql *conn, struct assent_guard_call *call,
                               struct assent_guard_result *result);
int assent_guard_mariadb_branch(struct st_mysql *conn, const struct assent_guard_call *call,
                                struct assent_guard_result *result);
int assent_guard_mariadb_outcome(struct st_mysql *conn, const struct assent_guard_call *call,
                                 uint32_t wait_ms, struct assent_guard_result *result);
int assent_guard_mariadb_prepared(struct st_mysql *conn, const struct assent_guard_call *call,
                                  uint32_t wait_ms, struct assent_guard_result *result);

/* ---- Redis (assent-guard-redis).  Guard and effect are one script, hence one atomic step.
 * Keys "<gid>-<branch>-<op>-<barrier id>" as DTM's.  They expire after `ttl_s` seconds: longer than any
 * transaction may take.  In a Redis Cluster the keys fall on several slots: ASSENT_UNSUPPORTED. */

/* Add `amount` to the integer at `key`; a missing key or a result below zero is ASSENT_GUARD_REFUSED and
 * leaves nothing behind. */
int assent_guard_redis_adjust(struct redisContext *redis, struct assent_guard_call *call, const char *key,
                              int64_t amount, uint32_t ttl_s, struct assent_guard_result *result);
/* Any effect: `lua` is the body of a function effect(key, arg), run when the verdict is RUN.  It refuses by
 * `return 'FAILURE'`, before its first write.  An error in it leaves the guard as it was, its own earlier
 * writes stay.  A trusted text of the program, never of a caller. */
int assent_guard_redis_eval(struct redisContext *redis, struct assent_guard_call *call, const char *lua,
                            const char *key, const char *arg, uint32_t ttl_s,
                            struct assent_guard_result *result);
/* The back-query of a message whose effect ran by adjust or eval with op `msg`, branch `00`. */
int assent_guard_redis_prepared(struct redisContext *redis, const struct assent_guard_call *call,
                                uint32_t ttl_s, struct assent_guard_result *result);

/* Guard row: the effect as of eval, judged by the row of (gid, branch) and its token.  The row is the hash
 * "<table>:<gid>:<branch>" (table: `call->table`, else assent_branch) with fields state and token. `ttl_s` 0:
 * it is kept; else it must outlive every call and every question. */
int assent_guard_redis_branch(struct redisContext *redis, const struct assent_guard_call *call,
                              const char *lua, const char *key, const char *arg, uint32_t ttl_s,
                              struct assent_guard_result *result);
/* Did phase one of (gid, branch) run by the former, and does it stand?  A missing row is barred by a
 * tombstone first.  Never UNDECIDED: a script has no state in between. */
int assent_guard_redis_outcome(struct redisContext *redis, const struct assent_guard_call *call,
                               uint32_t ttl_s, struct assent_guard_result *result);

/* ---- another database: fill the table, call the logic */

enum assent_guard_class {
    ASSENT_GUARD_CLASS_TRY,
    ASSENT_GUARD_CLASS_CONFIRM,
    ASSENT_GUARD_CLASS_CANCEL,
    ASSENT_GUARD_CLASS_NR /* an operation the guard row does not know */
};
enum assent_guard_class assent_guard_class_of(const char *op);
/* What a call of a class means to a guard row in a state. */
enum assent_guard_verdict assent_guard_verdict_of(enum assent_guard_state state,
                                                  enum assent_guard_class class_);

struct assent_guard_barrier {
    const char *table, *trans_type, *gid, *branch, *op, *barrier_id, *reason;
};
struct assent_guard_row {
    enum assent_guard_state state;
    uint64_t token;
    bool found; /* was there before */
};
/* Each returns an assent_error and fills native, sqlstate and detail of `result` on an error. */
struct assent_guard_store {
    /* Insert unless (gid, branch, op, barrier_id) is there; wait for who holds that key. */
    int (*insert)(void *db, const struct assent_guard_barrier *row, bool *inserted,
                  struct assent_guard_result *result);
    /* Its reason as last committed, or as this transaction wrote it. */
    int (*reason)(void *db, const struct assent_guard_barrier *row,
                  char reason[ASSENT_GUARD_WORD_BYTES_MAX + 1], struct assent_guard_result *result);
    /* Insert the guard row with this state unless there, lock it, and say what is there now. */
    int (*put)(void *db, const struct assent_guard_call *call, enum assent_guard_state state,
               struct assent_guard_row *row, struct assent_guard_result *result);
    /* Lock it if there. */
    int (*lock)(void *db, const struct assent_guard_call *call, struct assent_guard_row *row,
                struct assent_guard_result *result);
    /* Change the locked row. */
    int (*set)(void *db, const struct assent_guard_call *call, enum assent_guard_state state, uint64_t token,
               struct assent_guard_result *result);
    /* Is a transaction open that the caller's effect will share? */
    bool (*open)(void *db);
    /* A transaction of the guard's own; locks are waited for `wait_ms` at most, then ASSENT_BUSY. */
    int (*begin)(void *db, uint32_t wait_ms, struct assent_guard_result *result);
    int (*commit)(void *db, struct assent_guard_result *result);
    void (*rollback)(void *db);
};
int assent_guard_enter(const struct assent_guard_store *store, void *db, struct assent_guard_call *call,
                       struct assent_guard_result *result);
int assent_guard_branch(const struct assent_guard_store *store, void *db,
                        const struct assent_guard_call *call, struct assent_guard_result *result);
int assent_guard_outcome(const struct assent_guard_store *store, void *db,
                         const struct assent_guard_call *call, uint32_t wait_ms,
                         struct assent_guard_result *result);
int assent_guard_prepared(const struct assent_guard_store *store, void *db,
                          const struct assent_guard_call *call, uint32_t wait_ms,
                          struct assent_guard_result *result);
/* May `table` stand in a statement?  See ASSENT_GUARD_TABLE_MAX. */
bool assent_guard_table_ok(const char *table);
/* The operation this one undoes ("try" of "cancel"), or NULL. */
const char *assent_guard_origin(const char *op);

#ifdef __cplusplus
}
#endif

#endif /* ASSENT_GUARD_H */
