/* The guard on a MariaDB of the test's own. */
#include <mysql.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guard_server.h"
#include "guard_sql.h"

static struct guard_server server;

static void *connect_mariadb(void)
{
    for (;;) {
        MYSQL *conn = mysql_init(NULL);
        assert_non_null(conn);
        if (mysql_real_connect(conn, NULL, "root", "", NULL, 0, server.socket, 0) != NULL) {
            (void)mysql_query(conn, "create database if not exists guard");
            assert_int_equal(mysql_select_db(conn, "guard"), 0);
            return conn;
        }
        mysql_close(conn);
        guard_server_wait(&server);
    }
}
static void disconnect_mariadb(void *conn)
{
    mysql_close(conn);
}
static long number_mariadb(void *conn, const char *text)
{
    if (mysql_query(conn, text) != 0)
        fail_msg("%s: %s", text, mysql_error(conn));
    long n = -1;
    MYSQL_RES *r = mysql_store_result(conn);
    MYSQL_ROW row = r != NULL ? mysql_fetch_row(r) : NULL;
    if (row != NULL && row[0] != NULL)
        n = strtol(row[0], NULL, 10);
    if (r != NULL)
        mysql_free_result(r);
    return n;
}
static void exec_mariadb(void *conn, const char *text)
{
    (void)number_mariadb(conn, text);
}
static int create_mariadb(void *c, const char *barrier, const char *branch,
                          struct assent_guard_result *result)
{
    return assent_guard_mariadb_create(c, barrier, branch, result);
}
static int enter_mariadb(void *c, struct assent_guard_call *call, struct assent_guard_result *result)
{
    return assent_guard_mariadb_enter(c, call, result);
}
static int branch_mariadb(void *c, const struct assent_guard_call *call, struct assent_guard_result *result)
{
    return assent_guard_mariadb_branch(c, call, result);
}
static int outcome_mariadb(void *c, const struct assent_guard_call *call, uint32_t ms,
                           struct assent_guard_result *r)
{
    return assent_guard_mariadb_outcome(c, call, ms, r);
}
static int prepared_mariadb(void *c, const struct assent_guard_call *call, uint32_t ms,
                            struct assent_guard_result *r)
{
    return assent_guard_mariadb_prepared(c, call, ms, r);
}

static void a_killed_session_is_unreachable(void **state)
{
    (void)state;
    struct assent_guard_call call;
    struct assent_guard_result result;
    char text[64];
    MYSQL *victim = connect_mariadb(), *killer = connect_mariadb();
    assert_int_equal(assent_guard_call_init(&call, "tcc", "killed", "01", "try"), ASSENT_OK);
    exec_mariadb(victim, "begin");
    snprintf(text, sizeof text, "kill hard connection %lu", mysql_thread_id(victim));
    exec_mariadb(killer, text);
    assert_int_equal(assent_guard_mariadb_enter(victim, &call, &result), ASSENT_UNREACHABLE);
    assert_true(result.native != 0);
    mysql_close(victim);
    mysql_close(killer);
}

static void the_answer_is_right_within_an_old_snapshot(void **state)
{
    (void)state;
    struct assent_guard_call call;
    struct assent_guard_result result;
    MYSQL *old = connect_mariadb(), *other = connect_mariadb();
    assert_int_equal(assent_guard_call_init(&call, "tcc", "snapshot", "01", "cancel"), ASSENT_OK);
    exec_mariadb(old, "start transaction with consistent snapshot");
    exec_mariadb(other, "begin");
    assert_int_equal(assent_guard_mariadb_enter(other, &call, &result), ASSENT_OK);
    exec_mariadb(other, "commit");
    assert_int_equal(assent_guard_call_init(&call, "tcc", "snapshot", "01", "try"), ASSENT_OK);
    assert_int_equal(assent_guard_mariadb_enter(old, &call, &result), ASSENT_OK);
    assert_int_equal(result.verdict, ASSENT_GUARD_LATE);
    exec_mariadb(old, "rollback");
    mysql_close(old);
    mysql_close(other);
}

int main(void)
{
    const struct guard_sql mariadb = {
        .connect = connect_mariadb,
        .disconnect = disconnect_mariadb,
        .exec = exec_mariadb,
        .number = number_mariadb,
        .create = create_mariadb,
        .enter = enter_mariadb,
        .branch = branch_mariadb,
        .outcome = outcome_mariadb,
        .prepared = prepared_mariadb,
        .xa_begin = "xa start 'guard'",
        .xa_prepare = "xa end 'guard';xa prepare 'guard'",
        .xa_commit = "xa commit 'guard'",
        .xa_rollback = "xa rollback 'guard'",
    };
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_killed_session_is_unreachable),
                                       cmocka_unit_test(the_answer_is_right_within_an_old_snapshot)};
    guard_server_start(&server, GUARD_SERVER_MARIADB);
    int failures = guard_sql_run(&mariadb);
    failures += cmocka_run_group_tests(tests, NULL, NULL);
    guard_server_stop(&server);
    mysql_library_end();
    return failures;
}
