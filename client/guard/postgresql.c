/* The guard on PostgreSQL by libpq: its statements, and what its errors mean.
 *
 * `on conflict` waits for a transaction that holds the key, running or prepared, which makes the unique key a
 * compare-and-set.  At REPEATABLE READ and above a key committed after the snapshot gives 40001, not a wrong
 * answer. */
#include <libpq-fe.h>

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "assent/guard.h"

/* SQLSTATEs by longest prefix first; lost connections come before these. */
static const struct {
    const char *prefix;
    int code;
} states[] = {
    {"23505", ASSENT_EXISTS},      {"40001", ASSENT_BUSY},        {"40P01", ASSENT_BUSY},
    {"55P03", ASSENT_BUSY},        {"57014", ASSENT_TIMEOUT},     {"57P01", ASSENT_UNREACHABLE},
    {"57P02", ASSENT_UNREACHABLE}, {"57P03", ASSENT_UNREACHABLE}, {"57P05", ASSENT_UNREACHABLE},
    {"25P03", ASSENT_UNREACHABLE}, {"25006", ASSENT_NOT_LEADER},  {"42P01", ASSENT_NOT_FOUND},
    {"3F000", ASSENT_NOT_FOUND},   {"3D000", ASSENT_NOT_FOUND},   {"42501", ASSENT_FOREIGN},
    {"53100", ASSENT_NO_SPACE},    {"53200", ASSENT_NOMEM},       {"XX001", ASSENT_CORRUPT},
    {"XX002", ASSENT_CORRUPT},     {"08P01", ASSENT_PROTOCOL},    {"08", ASSENT_UNREACHABLE},
    {"0A", ASSENT_UNSUPPORTED},    {"22", ASSENT_MALFORMED},      {"25", ASSENT_INVALID},
    {"28", ASSENT_FOREIGN},        {"40", ASSENT_BUSY},           {"42", ASSENT_INVALID},
    {"53", ASSENT_BUSY},           {"54", ASSENT_TOO_LARGE},
};

static int code_of(PGconn *conn, const char *sqlstate)
{
    if (sqlstate == NULL || *sqlstate == '\0')
        return PQstatus(conn) == CONNECTION_BAD ? ASSENT_UNREACHABLE : ASSENT_IO;
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++) {
        if (strncmp(sqlstate, states[i].prefix, strlen(states[i].prefix)) == 0)
            return states[i].code;
    }
    return ASSENT_IO; /* the state itself is in the result */
}

static void detail_set(struct assent_guard_result *result, const char *text)
{
    snprintf(result->detail, sizeof result->detail, "%s", text);
    size_t n = strlen(result->detail);
    while (n > 0 && result->detail[n - 1] == '\n')
        result->detail[--n] = '\0';
}

static int failed(PGconn *conn, const PGresult *answer, struct assent_guard_result *result)
{
    const char *sqlstate = answer != NULL ? PQresultErrorField(answer, PG_DIAG_SQLSTATE) : NULL;
    const char *text = answer != NULL ? PQresultErrorMessage(answer) : PQerrorMessage(conn);
    snprintf(result->sqlstate, sizeof result->sqlstate, "%s", sqlstate != NULL ? sqlstate : "");
    detail_set(result, text);
    return code_of(conn, sqlstate);
}

/* Run one statement.  `*answer` (may be NULL) is the caller's to clear, NULL after an error. */
static int run(PGconn *conn, const char *sql, int n, const char *const *values, PGresult **answer,
               struct assent_guard_result *result)
{
    PGresult *r = PQexecParams(conn, sql, n, NULL, values, NULL, NULL, 0);
    ExecStatusType status = PQresultStatus(r);
    int rc = ASSENT_OK;
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        rc = failed(conn, r, result);
    if (answer == NULL || rc != ASSENT_OK) {
        PQclear(r);
        r = NULL;
    }
    if (answer != NULL)
        *answer = r;
    return rc;
}

static int pq_insert(void *db, const struct assent_guard_barrier *row, bool *inserted,
                     struct assent_guard_result *result)
{
    char sql[512];
    const char *values[] = {row->trans_type, row->gid, row->branch, row->op, row->barrier_id, row->reason};
    PGresult *answer = NULL;
    snprintf(sql, sizeof sql,
             "insert into %s (trans_type, gid, branch_id, op, barrier_id, reason) "
             "values ($1, $2, $3, $4, $5, $6) on conflict (gid, branch_id, op, barrier_id) do nothing",
             row->table);
    int rc = run(db, sql, 6, values, &answer, result);
    if (rc == ASSENT_OK)
        *inserted = strcmp(PQcmdTuples(answer), "1") == 0;
    PQclear(answer);
    return rc;
}

static int pq_reason(void *db, const struct assent_guard_barrier *row,
                     char reason[ASSENT_GUARD_WORD_BYTES_MAX + 1], struct assent_guard_result *result)
{
    char sql[512];
    const char *values[] = {row->gid, row->branch, row->op, row->barrier_id};
    PGresult *answer = NULL;
    snprintf(sql, sizeof sql,
             "select reason from %s where gid = $1 and branch_id = $2 and op = $3 and barrier_id = $4",
             row->table);
    int rc = run(db, sql, 4, values, &answer, result);
    if (rc != ASSENT_OK)
        return rc;
    if (PQntuples(answer) == 1)
        snprintf(reason, ASSENT_GUARD_WORD_BYTES_MAX + 1, "%s", PQgetvalue(answer, 0, 0));
    else
        rc = ASSENT_BUSY; /* it went away between the two statements: ask again */
    PQclear(answer);
    return rc;
}

static const char *branch_table(const struct assent_guard_call *call)
{
    return call->table != NULL ? call->table : ASSENT_GUARD_BRANCH_TABLE;
}

static void row_read(const PGresult *answer, struct assent_guard_row *row)
{
    row->state = (enum assent_guard_state)strtol(PQgetvalue(answer, 0, 0), NULL, 10);
    row->token = strtoull(PQgetvalue(answer, 0, 1), NULL, 10);
}

/* `calls` is 1 only for the statement that made the row; updating it takes the lock. */
static int pq_put(void *db, const struct assent_guard_call *call, enum assent_guard_state state,
                  struct assent_guard_row *row, struct assent_guard_result *result)
{
    char sql[512], state_text[16], token[24];
    const char *values[] = {call->gid, call->branch, state_text, token};
    PGresult *answer = NULL;
    snprintf(state_text, sizeof state_text, "%d", (int)state);
    snprintf(token, sizeof token, "%" PRIu64, call->token);
    snprintf(sql, sizeof sql,
             "insert into %s as b (xid, branch, state, token) values ($1, $2, $3, $4) "
             "on conflict (xid, branch) do update set calls = b.calls + 1 returning state, token, calls",
             branch_table(call));
    int rc = run(db, sql, 4, values, &answer, result);
    if (rc != ASSENT_OK)
        return rc;
    assert(PQntuples(answer) == 1);
    row_read(answer, row);
    row->found = strcmp(PQgetvalue(answer, 0, 2), "1") != 0;
    PQclear(answer);
    return ASSENT_OK;
}

static int pq_lock(void *db, const struct assent_guard_call *call, struct assent_guard_row *row,
                   struct assent_guard_result *result)
{
    char sql[512];
    const char *values[] = {call->gid, call->branch};
    PGresult *answer = NULL;
    snprintf(sql, sizeof sql, "select state, token from %s where xid = $1 and branch = $2 for update",
             branch_table(call));
    int rc = run(db, sql, 2, values, &answer, result);
    if (rc != ASSENT_OK)
        return rc;
    row->found = PQntuples(answer) == 1;
    if (row->found)
        row_read(answer, row);
    PQclear(answer);
    return ASSENT_OK;
}

static int pq_set(void *db, const struct assent_guard_call *call, enum assent_guard_state state,
                  uint64_t new_token, struct assent_guard_result *result)
{
    char sql[512], state_text[16], token[24];
    const char *values[] = {call->gid, call->branch, state_text, token};
    snprintf(state_text, sizeof state_text, "%d", (int)state);
    snprintf(token, sizeof token, "%" PRIu64, new_token);
    snprintf(sql, sizeof sql,
             "update %s set state = $3, token = $4, update_time = now() where xid = $1 and branch = $2",
             branch_table(call));
    return run(db, sql, 4, values, NULL, result);
}

static bool pq_open(void *db)
{
    return PQtransactionStatus(db) == PQTRANS_INTRANS;
}

static void pq_rollback(void *db)
{
    PQclear(PQexec(db, "rollback")); /* of no interest: a lost connection rolls back by itself */
}

static int pq_begin(void *db, uint32_t wait_ms, struct assent_guard_result *result)
{
    char sql[64];
    int rc = run(db, "begin isolation level read committed read write", 0, NULL, NULL, result);
    if (rc != ASSENT_OK)
        return rc;
    snprintf(sql, sizeof sql, "set local lock_timeout = %" PRIu32, wait_ms > INT32_MAX ? INT32_MAX : wait_ms);
    rc = run(db, sql, 0, NULL, NULL, result);
    if (rc != ASSENT_OK)
        pq_rollback(db);
    return rc;
}

/* COMMIT of a failed transaction is "successful", with the tag ROLLBACK. */
static int pq_commit(void *db, struct assent_guard_result *result)
{
    PGresult *answer = NULL;
    int rc = run(db, "commit", 0, NULL, &answer, result);
    if (rc == ASSENT_OK && strcmp(PQcmdStatus(answer), "COMMIT") != 0) {
        detail_set(result, "the server rolled back instead of committing");
        rc = ASSENT_BUSY;
    }
    PQclear(answer);
    return rc == ASSENT_UNREACHABLE ? ASSENT_UNKNOWN_OUTCOME : rc;
}

static const struct assent_guard_store store = {
    .insert = pq_insert,
    .reason = pq_reason,
    .put = pq_put,
    .lock = pq_lock,
    .set = pq_set,
    .open = pq_open,
    .begin = pq_begin,
    .commit = pq_commit,
    .rollback = pq_rollback,
};

/* The schema part of a name, if it has one. */
static int schema_create(PGconn *conn, const char *table, struct assent_guard_result *result)
{
    char sql[ASSENT_GUARD_TABLE_MAX + 64];
    const char *dot = strchr(table, '.');
    if (dot == NULL)
        return ASSENT_OK;
    snprintf(sql, sizeof sql, "create schema if not exists %.*s", (int)(dot - table), table);
    return run(conn, sql, 0, NULL, NULL, result);
}

static int tables_create(PGconn *conn, const char *barrier, const char *branch,
                         struct assent_guard_result *result)
{
    char sql[1024];
    /* `if not exists` is no protection against another session that creates the same: one at a time. */
    int rc = run(conn, "select pg_advisory_xact_lock(hashtext('assent guard'))", 0, NULL, NULL, result);
    if (rc == ASSENT_OK)
        rc = schema_create(conn, barrier, result);
    if (rc == ASSENT_OK)
        rc = schema_create(conn, branch, result);
    snprintf(sql, sizeof sql,
             "create table if not exists %s (id bigserial primary key, trans_type varchar(45) default '', "
             "gid varchar(128) default '', branch_id varchar(128) default '', op varchar(45) default '', "
             "barrier_id varchar(45) default '', reason varchar(45) default '', "
             "create_time timestamp(0) with time zone default now(), "
             "update_time timestamp(0) with time zone default now(), "
             "constraint uniq_barrier unique (gid, branch_id, op, barrier_id))",
             barrier);
    if (rc == ASSENT_OK)
        rc = run(conn, sql, 0, NULL, NULL, result);
    snprintf(sql, sizeof sql,
             "create table if not exists %s (xid varchar(128), branch varchar(128), state smallint not null, "
             "token bigint not null, calls integer not null default 1, "
             "create_time timestamp with time zone not null default now(), "
             "update_time timestamp with time zone not null default now(), primary key (xid, branch))",
             branch);
    return rc == ASSENT_OK ? run(conn, sql, 0, NULL, NULL, result) : rc;
}

int assent_guard_pq_create(struct pg_conn *conn, const char *barrier, const char *branch,
                           struct assent_guard_result *result)
{
    memset(result, 0, sizeof *result);
    barrier = barrier != NULL ? barrier : ASSENT_GUARD_BARRIER_TABLE;
    branch = branch != NULL ? branch : ASSENT_GUARD_BRANCH_TABLE;
    if (!assent_guard_table_ok(barrier) || !assent_guard_table_ok(branch) || pq_open(conn)) {
        detail_set(result, pq_open(conn) ? "a transaction is open" : "bad name of a table");
        return ASSENT_INVALID;
    }
    int rc = pq_begin(conn, 60 * 1000, result);
    if (rc != ASSENT_OK)
        return rc;
    rc = tables_create(conn, barrier, branch, result);
    if (rc == ASSENT_OK)
        return pq_commit(conn, result);
    pq_rollback(conn);
    return rc;
}

int assent_guard_pq_enter(struct pg_conn *conn, struct assent_guard_call *call,
                          struct assent_guard_result *result)
{
    return assent_guard_enter(&store, conn, call, result);
}

int assent_guard_pq_branch(struct pg_conn *conn, const struct assent_guard_call *call,
                           struct assent_guard_result *result)
{
    return assent_guard_branch(&store, conn, call, result);
}

int assent_guard_pq_outcome(struct pg_conn *conn, const struct assent_guard_call *call, uint32_t wait_ms,
                            struct assent_guard_result *result)
{
    return assent_guard_outcome(&store, conn, call, wait_ms, result);
}

int assent_guard_pq_prepared(struct pg_conn *conn, const struct assent_guard_call *call, uint32_t wait_ms,
                             struct assent_guard_result *result)
{
    return assent_guard_prepared(&store, conn, call, wait_ms, result);
}
