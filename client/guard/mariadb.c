/* The guard on MariaDB by libmariadb: its statements, and what its errors mean.
 *
 * Texts go as `_utf8mb4 X'..'`: no quoting rules, no sql_mode, no character set of the connection.  The
 * barrier is inserted plainly and 1062 means "there already": `insert ignore` would hide every other fault.
 */
#include <mysql.h>

#include <errmsg.h>
#include <inttypes.h>
#include <mysqld_error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "assent/guard.h"

/* One connection; `wait_s` other than 0 limits the lock waits of the statements that may meet one. */
struct guard_mariadb {
    MYSQL *conn;
    uint32_t wait_s;
};

static const struct {
    unsigned number;
    int code;
} numbers[] = {
    {ER_DUP_ENTRY, ASSENT_EXISTS},
    {ER_LOCK_WAIT_TIMEOUT, ASSENT_BUSY},
    {ER_LOCK_DEADLOCK, ASSENT_BUSY},
    {ER_CHECKREAD, ASSENT_BUSY}, /* innodb_snapshot_isolation */
    {ER_XA_RBDEADLOCK, ASSENT_BUSY},
    {ER_XA_RBTIMEOUT, ASSENT_BUSY},
    {ER_CON_COUNT_ERROR, ASSENT_BUSY},
    {ER_TOO_MANY_USER_CONNECTIONS, ASSENT_BUSY},
    {ER_USER_LIMIT_REACHED, ASSENT_BUSY},
    {ER_STATEMENT_TIMEOUT, ASSENT_TIMEOUT},
    {ER_QUERY_INTERRUPTED, ASSENT_TIMEOUT},
    {CR_CONNECTION_ERROR, ASSENT_UNREACHABLE},
    {CR_CONN_HOST_ERROR, ASSENT_UNREACHABLE},
    {CR_UNKNOWN_HOST, ASSENT_UNREACHABLE},
    {CR_SERVER_GONE_ERROR, ASSENT_UNREACHABLE},
    {CR_SERVER_LOST, ASSENT_UNREACHABLE},
    {CR_SERVER_LOST_EXTENDED, ASSENT_UNREACHABLE},
    {ER_SERVER_SHUTDOWN, ASSENT_UNREACHABLE},
    {ER_CONNECTION_KILLED, ASSENT_UNREACHABLE},
    {ER_NEW_ABORTING_CONNECTION, ASSENT_UNREACHABLE},
    {CR_COMMANDS_OUT_OF_SYNC, ASSENT_INVALID},
    {ER_PARSE_ERROR, ASSENT_INVALID},
    {ER_BAD_FIELD_ERROR, ASSENT_INVALID},
    {ER_XAER_RMFAIL, ASSENT_INVALID},
    {CR_OUT_OF_MEMORY, ASSENT_NOMEM},
    {ER_OUTOFMEMORY, ASSENT_NOMEM},
    {ER_OUT_OF_RESOURCES, ASSENT_NOMEM},
    {ER_RECORD_FILE_FULL, ASSENT_NO_SPACE},
    {ER_DISK_FULL, ASSENT_NO_SPACE},
    {ER_NO_SUCH_TABLE, ASSENT_NOT_FOUND},
    {ER_BAD_DB_ERROR, ASSENT_NOT_FOUND},
    {ER_NO_DB_ERROR, ASSENT_NOT_FOUND},
    {ER_DBACCESS_DENIED_ERROR, ASSENT_FOREIGN},
    {ER_ACCESS_DENIED_ERROR, ASSENT_FOREIGN},
    {ER_TABLEACCESS_DENIED_ERROR, ASSENT_FOREIGN},
    {ER_COLUMNACCESS_DENIED_ERROR, ASSENT_FOREIGN},
    {ER_SPECIFIC_ACCESS_DENIED_ERROR, ASSENT_FOREIGN},
    {ER_OPTION_PREVENTS_STATEMENT, ASSENT_NOT_LEADER}, /* --read-only */
    {ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION, ASSENT_NOT_LEADER},
    {ER_TRUNCATED_WRONG_VALUE_FOR_FIELD, ASSENT_MALFORMED},
    {ER_INVALID_CHARACTER_STRING, ASSENT_MALFORMED},
    {ER_DATA_TOO_LONG, ASSENT_TOO_LARGE},
    {CR_NET_PACKET_TOO_LARGE, ASSENT_TOO_LARGE},
    {CR_MALFORMED_PACKET, ASSENT_PROTOCOL},
    {ER_NOT_SUPPORTED_YET, ASSENT_UNSUPPORTED},
    {ER_NOT_KEYFILE, ASSENT_CORRUPT},
    {ER_CRASHED_ON_USAGE, ASSENT_CORRUPT},
};

static int failed(MYSQL *conn, struct assent_guard_result *result)
{
    unsigned number = mysql_errno(conn);
    result->native = (int)number;
    snprintf(result->sqlstate, sizeof result->sqlstate, "%s", mysql_sqlstate(conn));
    snprintf(result->detail, sizeof result->detail, "%s", mysql_error(conn));
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (numbers[i].number == number)
            return numbers[i].code;
    }
    return ASSENT_IO; /* the number itself is in the result */
}

/* Run one statement.  With `answer`: its rows, to be freed. */
static int run(MYSQL *conn, const char *sql, MYSQL_RES **answer, struct assent_guard_result *result)
{
    if (mysql_real_query(conn, sql, (unsigned long)strlen(sql)) != 0)
        return failed(conn, result);
    if (answer == NULL)
        return ASSENT_OK;
    *answer = mysql_store_result(conn);
    return *answer != NULL ? ASSENT_OK : failed(conn, result);
}

#define LITERAL_BYTES (2 * ASSENT_GUARD_ID_BYTES_MAX + 16)
static const char *literal(char to[LITERAL_BYTES], const char *text)
{
    static const char digits[] = "0123456789abcdef";
    size_t n = (size_t)snprintf(to, LITERAL_BYTES, "_utf8mb4 X'");
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0' && n + 4 < LITERAL_BYTES; c++) {
        to[n++] = digits[*c >> 4];
        to[n++] = digits[*c & 15];
    }
    snprintf(to + n, LITERAL_BYTES - n, "'");
    return to;
}

static const char *wait_limit(const struct guard_mariadb *m, char to[64])
{
    *to = '\0';
    if (m->wait_s != 0)
        snprintf(to, 64, "set statement innodb_lock_wait_timeout=%" PRIu32 " for ", m->wait_s);
    return to;
}

static int mariadb_insert(void *db, const struct assent_guard_barrier *row, bool *inserted,
                          struct assent_guard_result *result)
{
    const struct guard_mariadb *m = db;
    char sql[2048], limit[64], t[6][LITERAL_BYTES];
    snprintf(sql, sizeof sql,
             "%sinsert into %s (trans_type, gid, branch_id, op, barrier_id, reason) "
             "values (%s, %s, %s, %s, %s, %s)",
             wait_limit(m, limit), row->table, literal(t[0], row->trans_type), literal(t[1], row->gid),
             literal(t[2], row->branch), literal(t[3], row->op), literal(t[4], row->barrier_id),
             literal(t[5], row->reason));
    struct assent_guard_result trial = *result;
    int rc = run(m->conn, sql, NULL, &trial);
    *inserted = rc == ASSENT_OK;
    if (rc == ASSENT_EXISTS)
        return ASSENT_OK;
    *result = trial;
    return rc;
}

/* A locking read sees the newest committed row whatever the snapshot. */
static int mariadb_reason(void *db, const struct assent_guard_barrier *row,
                          char reason[ASSENT_GUARD_WORD_BYTES_MAX + 1], struct assent_guard_result *result)
{
    const struct guard_mariadb *m = db;
    char sql[2048], limit[64], t[4][LITERAL_BYTES];
    MYSQL_RES *answer = NULL;
    snprintf(sql, sizeof sql,
             "%sselect reason from %s where gid = %s and branch_id = %s and op = %s and barrier_id = %s "
             "lock in share mode",
             wait_limit(m, limit), row->table, literal(t[0], row->gid), literal(t[1], row->branch),
             literal(t[2], row->op), literal(t[3], row->barrier_id));
    int rc = run(m->conn, sql, &answer, result);
    if (rc != ASSENT_OK)
        return rc;
    MYSQL_ROW cells = mysql_fetch_row(answer);
    if (cells != NULL && cells[0] != NULL)
        snprintf(reason, ASSENT_GUARD_WORD_BYTES_MAX + 1, "%s", cells[0]);
    else
        rc = ASSENT_BUSY; /* it went away between the two statements: ask again */
    mysql_free_result(answer);
    return rc;
}

static const char *branch_table(const struct assent_guard_call *call)
{
    return call->table != NULL ? call->table : ASSENT_GUARD_BRANCH_TABLE;
}

/* Run a statement that gives at most one row (state, token[, calls]). */
static int row_run(MYSQL *conn, const char *sql, struct assent_guard_row *row, long *calls,
                   struct assent_guard_result *result)
{
    MYSQL_RES *answer = NULL;
    int rc = run(conn, sql, &answer, result);
    if (rc != ASSENT_OK)
        return rc;
    MYSQL_ROW cells = mysql_fetch_row(answer);
    row->found = cells != NULL;
    if (cells != NULL) {
        row->state = (enum assent_guard_state)strtol(cells[0], NULL, 10);
        row->token = strtoull(cells[1], NULL, 10);
        if (calls != NULL)
            *calls = strtol(cells[2], NULL, 10);
    }
    mysql_free_result(answer);
    return ASSENT_OK;
}

/* `calls` is 1 only for the statement that made the row; updating it takes the exclusive lock at once (a
 * plain insert would take a shared one, and two repetitions would deadlock when they go on). */
static int mariadb_put(void *db, const struct assent_guard_call *call, enum assent_guard_state state,
                       struct assent_guard_row *row, struct assent_guard_result *result)
{
    const struct guard_mariadb *m = db;
    char sql[2048], limit[64], t[2][LITERAL_BYTES];
    long calls = 0;
    snprintf(sql, sizeof sql,
             "%sinsert into %s (xid, branch, state, token) values (%s, %s, %d, %" PRIu64 ") "
             "on duplicate key update calls = calls + 1 returning state, token, calls",
             wait_limit(m, limit), branch_table(call), literal(t[0], call->gid), literal(t[1], call->branch),
             (int)state, call->token);
    int rc = row_run(m->conn, sql, row, &calls, result);
    row->found = calls != 1;
    return rc;
}

static int mariadb_lock(void *db, const struct assent_guard_call *call, struct assent_guard_row *row,
                        struct assent_guard_result *result)
{
    const struct guard_mariadb *m = db;
    char sql[1024], t[2][LITERAL_BYTES];
    snprintf(sql, sizeof sql, "select state, token from %s where xid = %s and branch = %s for update",
             branch_table(call), literal(t[0], call->gid), literal(t[1], call->branch));
    return row_run(m->conn, sql, row, NULL, result);
}

static int mariadb_set(void *db, const struct assent_guard_call *call, enum assent_guard_state state,
                       uint64_t token, struct assent_guard_result *result)
{
    const struct guard_mariadb *m = db;
    char sql[1024], t[2][LITERAL_BYTES];
    snprintf(sql, sizeof sql,
             "update %s set state = %d, token = %" PRIu64 ", update_time = now(6) "
             "where xid = %s and branch = %s",
             branch_table(call), (int)state, token, literal(t[0], call->gid), literal(t[1], call->branch));
    return run(m->conn, sql, NULL, result);
}

/* With autocommit off every statement is in a transaction, also the first. */
static bool mariadb_open(void *db)
{
    const struct guard_mariadb *m = db;
    unsigned status = 0;
    if (mariadb_get_infov(m->conn, MARIADB_CONNECTION_SERVER_STATUS, &status) != 0)
        return false;
    return (status & SERVER_STATUS_IN_TRANS) != 0 || (status & SERVER_STATUS_AUTOCOMMIT) == 0;
}

static int mariadb_begin(void *db, uint32_t wait_ms, struct assent_guard_result *result)
{
    struct guard_mariadb *m = db;
    m->wait_s = wait_ms / 1000 + (wait_ms % 1000 != 0);
    return run(m->conn, "start transaction read write", NULL, result);
}

static int mariadb_commit(void *db, struct assent_guard_result *result)
{
    const struct guard_mariadb *m = db;
    int rc = run(m->conn, "commit", NULL, result);
    return rc == ASSENT_UNREACHABLE ? ASSENT_UNKNOWN_OUTCOME : rc;
}

static void mariadb_rollback(void *db)
{
    const struct guard_mariadb *m = db;
    (void)mysql_rollback(m->conn); /* a lost connection rolls back by itself */
}

static const struct assent_guard_store store = {
    .insert = mariadb_insert,
    .reason = mariadb_reason,
    .put = mariadb_put,
    .lock = mariadb_lock,
    .set = mariadb_set,
    .open = mariadb_open,
    .begin = mariadb_begin,
    .commit = mariadb_commit,
    .rollback = mariadb_rollback,
};

static int schema_create(MYSQL *conn, const char *table, struct assent_guard_result *result)
{
    char sql[ASSENT_GUARD_TABLE_MAX + 64];
    const char *dot = strchr(table, '.');
    if (dot == NULL)
        return ASSENT_OK;
    snprintf(sql, sizeof sql, "create database if not exists %.*s", (int)(dot - table), table);
    return run(conn, sql, NULL, result);
}

/* Binary collation without padding: "A" and "a", "x" and "x " are different ids. */
int assent_guard_mariadb_create(struct st_mysql *conn, const char *barrier, const char *branch,
                                struct assent_guard_result *result)
{
    char sql[1024];
    struct guard_mariadb m = {.conn = conn};
    memset(result, 0, sizeof *result);
    barrier = barrier != NULL ? barrier : ASSENT_GUARD_BARRIER_TABLE;
    branch = branch != NULL ? branch : ASSENT_GUARD_BRANCH_TABLE;
    if (!assent_guard_table_ok(barrier) || !assent_guard_table_ok(branch) || mariadb_open(&m)) {
        snprintf(result->detail, sizeof result->detail, "%s",
                 mariadb_open(&m) ? "a transaction is open" : "bad name of a table");
        return ASSENT_INVALID;
    }
    int rc = schema_create(conn, barrier, result);
    if (rc == ASSENT_OK)
        rc = schema_create(conn, branch, result);
    snprintf(sql, sizeof sql,
             "create table if not exists %s (id bigint primary key auto_increment, "
             "trans_type varchar(45) default '', gid varchar(128) default '', "
             "branch_id varchar(128) default '', op varchar(45) default '', "
             "barrier_id varchar(45) default '', reason varchar(45) default '', "
             "create_time datetime default now(), update_time datetime default now(), "
             "key (create_time), key (update_time), unique key (gid, branch_id, op, barrier_id)) "
             "engine=InnoDB default charset=utf8mb4 collate=utf8mb4_nopad_bin",
             barrier);
    if (rc == ASSENT_OK)
        rc = run(conn, sql, NULL, result);
    snprintf(sql, sizeof sql,
             "create table if not exists %s (xid varchar(128) not null, branch varchar(128) not null, "
             "state smallint not null, token bigint not null, calls int not null default 1, "
             "create_time datetime(6) not null default now(6), "
             "update_time datetime(6) not null default now(6), primary key (xid, branch)) "
             "engine=InnoDB default charset=utf8mb4 collate=utf8mb4_nopad_bin",
             branch);
    return rc == ASSENT_OK ? run(conn, sql, NULL, result) : rc;
}

int assent_guard_mariadb_enter(struct st_mysql *conn, struct assent_guard_call *call,
                               struct assent_guard_result *result)
{
    struct guard_mariadb m = {.conn = conn};
    return assent_guard_enter(&store, &m, call, result);
}

int assent_guard_mariadb_branch(struct st_mysql *conn, const struct assent_guard_call *call,
                                struct assent_guard_result *result)
{
    struct guard_mariadb m = {.conn = conn};
    return assent_guard_branch(&store, &m, call, result);
}

int assent_guard_mariadb_outcome(struct st_mysql *conn, const struct assent_guard_call *call,
                                 uint32_t wait_ms, struct assent_guard_result *result)
{
    struct guard_mariadb m = {.conn = conn};
    return assent_guard_outcome(&store, &m, call, wait_ms, result);
}

int assent_guard_mariadb_prepared(struct st_mysql *conn, const struct assent_guard_call *call,
                                  uint32_t wait_ms, struct assent_guard_result *result)
{
    struct guard_mariadb m = {.conn = conn};
    return assent_guard_prepared(&store, &m, call, wait_ms, result);
}
