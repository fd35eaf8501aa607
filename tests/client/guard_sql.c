/* What the guard promises on an SQL database, against a real server. */
#include "guard_sql.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static const struct guard_sql *sql;
static void *a, *b;

static struct assent_guard_call call_of(const char *gid, const char *op, uint64_t token)
{
    struct assent_guard_call call;
    const char *type = strcmp(op, "action") == 0 || strcmp(op, "compensate") == 0 ? "saga"
                       : strcmp(op, "msg") == 0                                   ? "msg"
                                                                                  : "tcc";
    const char *branch = strcmp(op, "msg") == 0 ? "00" : "01";
    assert_int_equal(assent_guard_call_init(&call, type, gid, branch, op), ASSENT_OK);
    call.token = token;
    return call;
}

/* One call of a participant: guard, effect if it is to run, commit. */
static enum assent_guard_verdict barrier(void *conn, const char *gid, const char *op)
{
    struct assent_guard_call call = call_of(gid, op, 0);
    struct assent_guard_result result;
    sql->exec(conn, "begin");
    int rc = sql->enter(conn, &call, &result);
    if (rc != ASSENT_OK)
        fail_msg("%s: %s", assent_guard_verdict_name(result.verdict), result.detail);
    if (result.verdict == ASSENT_GUARD_RUN)
        sql->exec(conn, "update account set balance = balance + 1");
    sql->exec(conn, "commit");
    return result.verdict;
}

static enum assent_guard_verdict row(void *conn, const char *gid, const char *op, uint64_t token)
{
    struct assent_guard_call call = call_of(gid, op, token);
    struct assent_guard_result result;
    sql->exec(conn, "begin");
    int rc = sql->branch(conn, &call, &result);
    if (rc != ASSENT_OK)
        fail_msg("%d: %s", rc, result.detail);
    sql->exec(conn, "commit");
    return result.verdict;
}

static enum assent_guard_outcome outcome(void *conn, const char *gid, uint32_t wait_ms)
{
    struct assent_guard_call call = call_of(gid, "try", 0);
    struct assent_guard_result result;
    int rc = sql->outcome(conn, &call, wait_ms, &result);
    if (rc != ASSENT_OK)
        fail_msg("%d: %s", rc, result.detail);
    return result.outcome;
}

static enum assent_guard_outcome prepared(void *conn, const char *gid)
{
    struct assent_guard_call call = call_of(gid, "msg", 0);
    struct assent_guard_result result;
    int rc = sql->prepared(conn, &call, 1000, &result);
    if (rc != ASSENT_OK)
        fail_msg("%d: %s", rc, result.detail);
    return result.outcome;
}

static void creating_the_tables_again_changes_nothing(void **state)
{
    (void)state;
    struct assent_guard_result result;
    barrier(a, "create", "try");
    assert_int_equal(sql->create(a, NULL, NULL, &result), ASSENT_OK);
    assert_int_equal(sql->number(a, "select count(*) from dtm_barrier.barrier where gid = 'create'"), 1);
    assert_int_equal(sql->create(a, "x; drop", NULL, &result), ASSENT_INVALID);
}

static void a_repeated_confirm_has_one_effect(void **state)
{
    (void)state;
    long before = sql->number(a, "select balance from account");
    assert_int_equal(barrier(a, "repeat", "confirm"), ASSENT_GUARD_RUN);
    assert_int_equal(barrier(b, "repeat", "confirm"), ASSENT_GUARD_DUPLICATE);
    assert_int_equal(sql->number(a, "select balance from account"), before + 1);
}

static void cancel_without_try_is_remembered_and_the_late_try_refused(void **state)
{
    (void)state;
    long before = sql->number(a, "select balance from account");
    assert_int_equal(barrier(a, "empty", "cancel"), ASSENT_GUARD_EMPTY);
    assert_int_equal(barrier(b, "empty", "try"), ASSENT_GUARD_LATE);
    assert_int_equal(barrier(b, "empty", "cancel"), ASSENT_GUARD_DUPLICATE);
    assert_int_equal(barrier(a, "empty-saga", "compensate"), ASSENT_GUARD_EMPTY);
    assert_int_equal(barrier(b, "empty-saga", "action"), ASSENT_GUARD_LATE);
    assert_int_equal(sql->number(a, "select balance from account"), before);
}

static void the_rows_are_those_of_dtm(void **state)
{
    (void)state;
    barrier(a, "rows", "try");
    barrier(a, "rows", "cancel");
    barrier(a, "rows-empty", "compensate");
    const char *q =
        "select count(*) from dtm_barrier.barrier where branch_id = '01' and barrier_id = '01' and ";
    static const char *const rows[] = {
        "gid = 'rows' and op = 'try' and reason = 'try' and trans_type = 'tcc'",
        "gid = 'rows' and op = 'cancel' and reason = 'cancel'",
        "gid = 'rows-empty' and op = 'action' and reason = 'compensate' and trans_type = 'saga'",
        "gid = 'rows-empty' and op = 'compensate' and reason = 'compensate'"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[512];
        snprintf(text, sizeof text, "%s%s", q, rows[i]);
        assert_int_equal(sql->number(a, text), 1);
    }
    assert_int_equal(sql->number(a, "select count(*) from dtm_barrier.barrier where gid like 'rows%'"), 4);
}

static void ids_are_compared_byte_by_byte(void **state)
{
    (void)state;
    assert_int_equal(barrier(a, "Case", "try"), ASSENT_GUARD_RUN);
    assert_int_equal(barrier(a, "case", "try"), ASSENT_GUARD_RUN);
    assert_int_equal(barrier(a, "case ", "try"), ASSENT_GUARD_RUN);
    assert_int_equal(barrier(a, "o'\\\"; --\xc3\xa9", "try"), ASSENT_GUARD_RUN);
    assert_int_equal(barrier(a, "o'\\\"; --\xc3\xa9", "try"), ASSENT_GUARD_DUPLICATE);
}

static void a_rolled_back_call_runs_again(void **state)
{
    (void)state;
    struct assent_guard_call call = call_of("again", "try", 0);
    struct assent_guard_result result;
    sql->exec(a, "begin");
    assert_int_equal(sql->enter(a, &call, &result), ASSENT_OK);
    assert_int_equal(result.verdict, ASSENT_GUARD_RUN);
    sql->exec(a, "rollback");
    assert_int_equal(barrier(a, "again", "try"), ASSENT_GUARD_RUN);
}

static void two_uses_in_one_handler_are_two_barriers(void **state)
{
    (void)state;
    struct assent_guard_call call = call_of("uses", "try", 0);
    struct assent_guard_result result;
    sql->exec(a, "begin");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(sql->enter(a, &call, &result), ASSENT_OK);
        assert_int_equal(result.verdict, ASSENT_GUARD_RUN);
    }
    sql->exec(a, "commit");
    assert_int_equal(sql->number(a, "select count(*) from dtm_barrier.barrier where gid = 'uses' and "
                                    "barrier_id in ('01', '02')"),
                     2);
}

static void without_a_transaction_the_guard_refuses_to_work(void **state)
{
    (void)state;
    struct assent_guard_call call = call_of("closed", "try", 0);
    struct assent_guard_result result;
    assert_int_equal(sql->enter(a, &call, &result), ASSENT_INVALID);
    assert_int_equal(sql->branch(a, &call, &result), ASSENT_INVALID);
    sql->exec(a, "begin");
    assert_int_equal(sql->outcome(a, &call, 1000, &result), ASSENT_INVALID);
    assert_int_equal(sql->prepared(a, &call, 1000, &result), ASSENT_INVALID);
    sql->exec(a, "rollback");
}

static void a_missing_table_is_not_found(void **state)
{
    (void)state;
    struct assent_guard_call call = call_of("missing", "try", 0);
    struct assent_guard_result result;
    call.table = "nowhere";
    sql->exec(a, "begin");
    assert_int_equal(sql->enter(a, &call, &result), ASSENT_NOT_FOUND);
    assert_string_equal(result.sqlstate[0] == '4' && result.detail[0] != '\0' ? "kept" : result.sqlstate,
                        "kept");
    assert_int_equal(assent_guard_http(ASSENT_NOT_FOUND, &result), 500);
    sql->exec(a, "rollback");
}

static void a_message_that_committed_is_committed_and_another_never_will(void **state)
{
    (void)state;
    assert_int_equal(barrier(a, "msg-yes", "msg"), ASSENT_GUARD_RUN);
    assert_int_equal(prepared(b, "msg-yes"), ASSENT_GUARD_COMMITTED);
    assert_int_equal(barrier(a, "msg-yes", "msg"), ASSENT_GUARD_DUPLICATE);
    assert_int_equal(prepared(b, "msg-no"), ASSENT_GUARD_ABORTED);
    assert_int_equal(prepared(a, "msg-no"), ASSENT_GUARD_ABORTED);
    assert_int_equal(barrier(a, "msg-no", "msg"), ASSENT_GUARD_LATE);
    assert_int_equal(sql->number(a, "select count(*) from dtm_barrier.barrier where gid = 'msg-no' and "
                                    "branch_id = '00' and op = 'msg' and barrier_id = '01' and "
                                    "reason = 'rollback' and trans_type = 'msg'"),
                     1);
}

static void a_message_whose_transaction_runs_is_undecided(void **state)
{
    (void)state;
    struct assent_guard_call call = call_of("msg-runs", "msg", 0);
    struct assent_guard_result result;
    sql->exec(a, "begin");
    assert_int_equal(sql->enter(a, &call, &result), ASSENT_OK);
    assert_int_equal(prepared(b, "msg-runs"), ASSENT_GUARD_UNDECIDED);
    sql->exec(a, "commit");
    assert_int_equal(prepared(b, "msg-runs"), ASSENT_GUARD_COMMITTED);
}

static void the_guard_row_follows_try_confirm_cancel(void **state)
{
    (void)state;
    assert_int_equal(row(a, "row", "confirm", 5), ASSENT_GUARD_NO_TRY);
    assert_int_equal(row(a, "row", "try", 0), ASSENT_GUARD_RUN);
    assert_int_equal(row(b, "row", "try", 0), ASSENT_GUARD_DUPLICATE);
    assert_int_equal(row(b, "row", "confirm", 7), ASSENT_GUARD_RUN);
    assert_int_equal(row(a, "row", "confirm", 7), ASSENT_GUARD_DUPLICATE);
    assert_int_equal(row(a, "row", "confirm", 6), ASSENT_GUARD_STALE);
    assert_int_equal(row(a, "row", "cancel", 8), ASSENT_GUARD_CONFLICT);
    assert_int_equal(sql->number(a, "select token from assent_branch where xid = 'row'"), 8);
    assert_int_equal(row(a, "row", "confirm", 7), ASSENT_GUARD_STALE);
    assert_int_equal(row(a, "tomb", "cancel", 3), ASSENT_GUARD_EMPTY);
    assert_int_equal(row(a, "tomb", "try", 0), ASSENT_GUARD_LATE);
    assert_int_equal(row(a, "tomb", "cancel", 3), ASSENT_GUARD_DUPLICATE);
    assert_int_equal(row(a, "tomb", "confirm", 4), ASSENT_GUARD_CONFLICT);
}

static void the_outcome_of_what_never_came_stays_aborted(void **state)
{
    (void)state;
    assert_int_equal(outcome(a, "never", 1000), ASSENT_GUARD_ABORTED);
    assert_int_equal(outcome(b, "never", 1000), ASSENT_GUARD_ABORTED);
    assert_int_equal(row(a, "never", "try", 0), ASSENT_GUARD_LATE);
    assert_int_equal(row(a, "came", "try", 0), ASSENT_GUARD_RUN);
    assert_int_equal(outcome(b, "came", 1000), ASSENT_GUARD_COMMITTED);
    assert_int_equal(row(a, "came", "cancel", 2), ASSENT_GUARD_RUN);
    assert_int_equal(outcome(b, "came", 1000), ASSENT_GUARD_ABORTED);
}

static void each_statement(void *conn, const char *text)
{
    char one[256];
    while (*text != '\0') {
        size_t n = strcspn(text, ";");
        snprintf(one, sizeof one, "%.*s", (int)n, text);
        sql->exec(conn, one);
        text += n + (text[n] == ';');
    }
}

static void a_prepared_branch_is_undecided_until_it_ends(void **state)
{
    (void)state;
    struct assent_guard_call call = call_of("xa", "try", 0);
    struct assent_guard_result result;
    for (int commits = 0; commits < 2; commits++) {
        snprintf(call.gid, sizeof call.gid, "xa-%d", commits);
        each_statement(a, sql->xa_begin);
        assert_int_equal(sql->branch(a, &call, &result), ASSENT_OK);
        assert_int_equal(result.verdict, ASSENT_GUARD_RUN);
        each_statement(a, sql->xa_prepare);
        assert_int_equal(outcome(b, call.gid, 300), ASSENT_GUARD_UNDECIDED);
        each_statement(a, commits ? sql->xa_commit : sql->xa_rollback);
        assert_int_equal(outcome(b, call.gid, 300), commits ? ASSENT_GUARD_COMMITTED : ASSENT_GUARD_ABORTED);
    }
}

/* ---- several connections at once */

#define THREADS 4
#define ROUNDS  25
struct racer {
    pthread_t thread;
    int id, ran, busy;
};
static pthread_barrier_t start;

/* Every thread makes the same calls; a lock conflict is tried again, as a coordinator would. */
static void *race(void *data)
{
    struct racer *r = data;
    void *conn = sql->connect();
    pthread_barrier_wait(&start);
    for (int i = 0; i < ROUNDS;) {
        char gid[32];
        struct assent_guard_result result;
        snprintf(gid, sizeof gid, "race-%d", i);
        struct assent_guard_call call = call_of(gid, r->id % 2 ? "try" : "cancel", 0);
        sql->exec(conn, "begin");
        int rc = i % 2 ? sql->enter(conn, &call, &result) : sql->branch(conn, &call, &result);
        if (rc == ASSENT_OK && result.verdict == ASSENT_GUARD_RUN)
            sql->exec(conn, strcmp(call.op, "try") == 0 ? "update account set balance = balance + 1"
                                                        : "update account set balance = balance - 1");
        sql->exec(conn, rc == ASSENT_OK ? "commit" : "rollback");
        r->ran += rc == ASSENT_OK && result.verdict == ASSENT_GUARD_RUN;
        r->busy += rc == ASSENT_BUSY;
        if (rc != ASSENT_OK && rc != ASSENT_BUSY)
            r->ran = -1000;
        i += rc == ASSENT_OK;
    }
    sql->disconnect(conn);
    return NULL;
}

static void racing_tries_and_cancels_leave_no_reservation(void **state)
{
    (void)state;
    struct racer racers[THREADS] = {{.id = 0}};
    int ran = 0;
    long before = sql->number(a, "select balance from account");
    pthread_barrier_init(&start, NULL, THREADS);
    for (int i = 0; i < THREADS; i++) {
        racers[i].id = i;
        assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(racers[i].thread, NULL);
        assert_true(racers[i].ran >= 0);
        ran += racers[i].ran;
    }
    pthread_barrier_destroy(&start);
    /* each gid: either the try ran once and its cancel once, or neither did */
    assert_int_equal(ran % 2, 0);
    assert_true(ran <= 2 * ROUNDS);
    assert_int_equal(sql->number(a, "select balance from account"), before);
}

static void *confirm_race(void *data)
{
    struct racer *r = data;
    void *conn = sql->connect();
    pthread_barrier_wait(&start);
    for (int i = 0; i < ROUNDS; i++) {
        char gid[32];
        snprintf(gid, sizeof gid, "twice-%d", i);
        r->ran += barrier(conn, gid, "confirm") == ASSENT_GUARD_RUN;
    }
    sql->disconnect(conn);
    return NULL;
}

static void a_confirm_by_two_connections_at_once_has_one_effect(void **state)
{
    (void)state;
    struct racer racers[2] = {{.id = 0}, {.id = 1}};
    long before = sql->number(a, "select balance from account");
    pthread_barrier_init(&start, NULL, 2);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&racers[i].thread, NULL, confirm_race, &racers[i]), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(racers[i].thread, NULL);
    pthread_barrier_destroy(&start);
    assert_int_equal(racers[0].ran + racers[1].ran, ROUNDS);
    assert_int_equal(sql->number(a, "select balance from account"), before + ROUNDS);
}

/* ---- */

static int fresh(void **state)
{
    (void)state;
    a = sql->connect();
    b = sql->connect();
    return 0;
}

static int done(void **state)
{
    (void)state;
    sql->disconnect(a);
    sql->disconnect(b);
    return 0;
}

int guard_sql_run(const struct guard_sql *s)
{
    sql = s;
    void *conn = sql->connect();
    struct assent_guard_result result;
    if (sql->create(conn, NULL, NULL, &result) != ASSENT_OK) {
        fprintf(stderr, "%s\n", result.detail);
        return 1;
    }
    sql->exec(conn, "create table account (balance bigint)");
    sql->exec(conn, "insert into account values (1000)");
    sql->disconnect(conn);
#define CLAIM(name) cmocka_unit_test_setup_teardown(name, fresh, done)
    const struct CMUnitTest tests[] = {
        CLAIM(creating_the_tables_again_changes_nothing),
        CLAIM(a_repeated_confirm_has_one_effect),
        CLAIM(cancel_without_try_is_remembered_and_the_late_try_refused),
        CLAIM(the_rows_are_those_of_dtm),
        CLAIM(ids_are_compared_byte_by_byte),
        CLAIM(a_rolled_back_call_runs_again),
        CLAIM(two_uses_in_one_handler_are_two_barriers),
        CLAIM(without_a_transaction_the_guard_refuses_to_work),
        CLAIM(a_missing_table_is_not_found),
        CLAIM(a_message_that_committed_is_committed_and_another_never_will),
        CLAIM(a_message_whose_transaction_runs_is_undecided),
        CLAIM(the_guard_row_follows_try_confirm_cancel),
        CLAIM(the_outcome_of_what_never_came_stays_aborted),
        CLAIM(a_prepared_branch_is_undecided_until_it_ends),
        CLAIM(racing_tries_and_cancels_leave_no_reservation),
        CLAIM(a_confirm_by_two_connections_at_once_has_one_effect),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
