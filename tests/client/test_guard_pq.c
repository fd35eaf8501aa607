/* The guard on a PostgreSQL of the test's own. */
#include <libpq-fe.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guard_server.h"
#include "guard_sql.h"

static struct guard_server server;

static void *connect_pq(void)
{
    char text[256];
    snprintf(text, sizeof text, "host=%s user=guard dbname=postgres options='-c client_min_messages=error'",
             server.socket);
    for (;;) {
        PGconn *conn = PQconnectdb(text);
        if (PQstatus(conn) == CONNECTION_OK)
            return conn;
        PQfinish(conn);
        guard_server_wait(&server);
    }
}
static void disconnect_pq(void *conn)
{
    PQfinish(conn);
}
static long number_pq(void *conn, const char *text)
{
    PGresult *r = PQexec(conn, text);
    if (PQresultStatus(r) != PGRES_TUPLES_OK && PQresultStatus(r) != PGRES_COMMAND_OK)
        fail_msg("%s: %s", text, PQerrorMessage(conn));
    long n = PQntuples(r) > 0 ? strtol(PQgetvalue(r, 0, 0), NULL, 10) : -1;
    PQclear(r);
    return n;
}
static void exec_pq(void *conn, const char *text)
{
    (void)number_pq(conn, text);
}
static int create_pq(void *c, const char *barrier, const char *branch, struct assent_guard_result *result)
{
    return assent_guard_pq_create(c, barrier, branch, result);
}
static int enter_pq(void *c, struct assent_guard_call *call, struct assent_guard_result *result)
{
    return assent_guard_pq_enter(c, call, result);
}
static int branch_pq(void *c, const struct assent_guard_call *call, struct assent_guard_result *result)
{
    return assent_guard_pq_branch(c, call, result);
}
static int outcome_pq(void *c, const struct assent_guard_call *call, uint32_t ms,
                      struct assent_guard_result *r)
{
    return assent_guard_pq_outcome(c, call, ms, r);
}
static int prepared_pq(void *c, const struct assent_guard_call *call, uint32_t ms,
                       struct assent_guard_result *r)
{
    return assent_guard_pq_prepared(c, call, ms, r);
}

/* An error of the server keeps its SQLSTATE; a killed session is a lost connection. */
static void a_killed_session_is_unreachable(void **state)
{
    (void)state;
    struct assent_guard_call call;
    struct assent_guard_result result;
    char text[96];
    PGconn *victim = connect_pq(), *killer = connect_pq();
    assert_int_equal(assent_guard_call_init(&call, "tcc", "killed", "01", "try"), ASSENT_OK);
    exec_pq(victim, "begin");
    snprintf(text, sizeof text, "select pg_terminate_backend(%d, 10000)::int", PQbackendPID(victim));
    assert_int_equal(number_pq(killer, text) >= 0, 1);
    assert_int_equal(assent_guard_pq_enter(victim, &call, &result), ASSENT_UNREACHABLE);
    assert_true(result.detail[0] != '\0');
    assert_int_equal(assent_guard_http(ASSENT_UNREACHABLE, &result), 503);
    PQfinish(victim);
    PQfinish(killer);
}

static void a_failed_transaction_is_not_entered(void **state)
{
    (void)state;
    struct assent_guard_call call;
    struct assent_guard_result result;
    PGconn *conn = connect_pq();
    assert_int_equal(assent_guard_call_init(&call, "tcc", "failed", "01", "try"), ASSENT_OK);
    exec_pq(conn, "begin");
    PQclear(PQexec(conn, "select 1/0"));
    assert_int_equal(assent_guard_pq_enter(conn, &call, &result), ASSENT_INVALID);
    exec_pq(conn, "rollback");
    exec_pq(conn, "begin read only");
    assert_int_equal(assent_guard_pq_enter(conn, &call, &result), ASSENT_NOT_LEADER);
    assert_string_equal(result.sqlstate, "25006");
    PQfinish(conn);
}

int main(void)
{
    const struct guard_sql pq = {
        .connect = connect_pq,
        .disconnect = disconnect_pq,
        .exec = exec_pq,
        .number = number_pq,
        .create = create_pq,
        .enter = enter_pq,
        .branch = branch_pq,
        .outcome = outcome_pq,
        .prepared = prepared_pq,
        .xa_begin = "begin",
        .xa_prepare = "prepare transaction 'guard'",
        .xa_commit = "commit prepared 'guard'",
        .xa_rollback = "rollback prepared 'guard'",
    };
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_killed_session_is_unreachable),
                                       cmocka_unit_test(a_failed_transaction_is_not_entered)};
    guard_server_start(&server, GUARD_SERVER_POSTGRESQL);
    int failures = guard_sql_run(&pq);
    failures += cmocka_run_group_tests(tests, NULL, NULL);
    guard_server_stop(&server);
    return failures;
}
