/* Branches: registration, headers, reports and their back-off. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sm_harness.h"

#define ok(h, type, args) assert_int_equal(sm_run(h, type, args), ASSENT_OK)

static void begin_two(struct sm_harness *h, const char *options)
{
    char args[512];
    snprintf(args, sizeof(args),
             "{'xid':'t'%s,'branches':[{'branch':'a','confirmUrl':'http://p/c','cancelUrl':'http://p/x'},"
             "{'branch':'b','confirmUrl':'http://q/c','cancelUrl':'http://q/x'}]}",
             options);
    ok(h, COMMAND_TXN_BEGIN, args);
}

static int report(struct sm_harness *h, const char *branch, int op, int attempt, bool success)
{
    char args[300];
    snprintf(args, sizeof(args), "{'xid':'t','branch':'%s','op':%d,'attempt':%d,'success':%s%s}", branch, op,
             attempt, success ? "true" : "false", success ? "" : ",'error':'HTTP 500'");
    return sm_run(h, COMMAND_BRANCH_REPORT, args);
}

static const char *show(struct sm_harness *h, const char *path)
{
    assert_int_equal(sm_ask(h, QUERY_TXN, "{'xid':'t'}"), ASSENT_OK);
    return sm_text(h, path);
}

static int64_t due(struct sm_harness *h, const char *path)
{
    assert_int_equal(sm_ask(h, QUERY_TXN, "{'xid':'t'}"), ASSENT_OK);
    return sm_int(h, path);
}

static void the_last_success_finishes(void **state)
{
    struct sm_harness *h = *state;
    begin_two(h, "");
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'t'}");
    assert_string_equal(show(h, "branches.1.status"), "CONFIRMING");
    assert_int_equal(report(h, "b", SM_OP_CONFIRM, 0, true), ASSENT_OK);
    assert_string_equal(show(h, "status"), "COMMITTING");
    assert_string_equal(show(h, "branches.0.status"), "CONFIRMING");
    assert_string_equal(show(h, "branches.1.status"), "CONFIRMED");
    assert_int_equal(report(h, "a", SM_OP_CONFIRM, 0, true), ASSENT_OK);
    assert_string_equal(show(h, "status"), "COMMITTED");
    assert_int_equal(sm_next_work_us(h->sm), INT64_MAX);
}

static void a_rollback_cancels(void **state)
{
    struct sm_harness *h = *state;
    begin_two(h, "");
    ok(h, COMMAND_TXN_ROLLBACK, "{'xid':'t'}");
    assert_int_equal(report(h, "a", SM_OP_CONFIRM, 0, true), ASSENT_REPORT_STALE);
    assert_int_equal(report(h, "a", SM_OP_CANCEL, 0, true), ASSENT_OK);
    assert_int_equal(report(h, "b", SM_OP_CANCEL, 0, true), ASSENT_OK);
    assert_string_equal(show(h, "status"), "ROLLED_BACK");
    assert_string_equal(show(h, "branches.0.status"), "CANCELLED");
}

static void a_report_of_a_step_past_is_refused(void **state)
{
    struct sm_harness *h = *state;
    begin_two(h, "");
    assert_int_equal(report(h, "a", SM_OP_CONFIRM, 0, true), ASSENT_REPORT_STALE); /* not decided yet */
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'t'}");
    assert_int_equal(report(h, "a", SM_OP_CONFIRM, 1, true), ASSENT_REPORT_STALE);
    assert_int_equal(report(h, "a", SM_OP_CONFIRM, 0, false), ASSENT_OK);
    assert_int_equal(report(h, "a", SM_OP_CONFIRM, 0, true), ASSENT_REPORT_STALE);
    assert_int_equal(report(h, "a", SM_OP_CONFIRM, 1, true), ASSENT_OK);
    assert_int_equal(report(h, "a", SM_OP_CONFIRM, 1, true), ASSENT_REPORT_STALE);
    assert_int_equal(report(h, "a", SM_OP_CONFIRM, 2, false), ASSENT_REPORT_STALE);
    assert_int_equal(report(h, "none", SM_OP_CONFIRM, 0, true), ASSENT_BRANCH_NOT_FOUND);
    assert_int_equal(report(h, "b", 3, 0, true), ASSENT_INVALID);
    assert_int_equal(report(h, "b", SM_OP_CONFIRM, 0, true), ASSENT_OK);
    assert_int_equal(report(h, "b", SM_OP_CONFIRM, 0, true), ASSENT_REPORT_STALE); /* committed */
    assert_int_equal(
        sm_run(h, COMMAND_BRANCH_REPORT, "{'xid':'no','branch':'a','op':1,'attempt':0,'success':true}"),
        ASSENT_TXN_NOT_FOUND);
}

static void failures_back_off_up_to_the_cap(void **state)
{
    static const int64_t wait_ms[] = {100, 200, 400, 800, 1000, 1000, 1000};
    struct sm_harness *h = *state;
    begin_two(h, ",'retryCapMs':1000,'timeoutMs':0");
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'t'}");
    for (int i = 0; i < 7; i++) {
        assert_int_equal(report(h, "a", SM_OP_CONFIRM, i, false), ASSENT_OK);
        assert_true(due(h, "branches.0.nextDueUs") == sm_time_us(h->sm) + wait_ms[i] * 1000);
        assert_int_equal(sm_uint(h, "branches.0.attempts"), i + 1);
        assert_string_equal(sm_text(h, "branches.0.lastError"), "HTTP 500");
    }
    assert_int_equal(report(h, "a", SM_OP_CONFIRM, 7, true), ASSENT_OK);
    assert_true(due(h, "branches.0.nextDueUs") == 0);
    assert_string_equal(sm_text(h, "branches.0.lastError"), "HTTP 500"); /* stays to be read */
    assert_int_equal(sm_uint(h, "branches.0.attempts"), 8);
}

static void a_cap_below_the_base_wins(void **state)
{
    struct sm_harness *h = *state;
    begin_two(h, ",'retryBaseMs':500,'retryCapMs':50");
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'t'}");
    assert_int_equal(report(h, "a", SM_OP_CONFIRM, 0, false), ASSENT_OK);
    assert_true(due(h, "branches.0.nextDueUs") == sm_time_us(h->sm) + 50000);
}

static void a_long_error_is_cut(void **state)
{
    struct sm_harness *h = *state;
    char args[1200], error[800];
    begin_two(h, "");
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'t'}");
    memset(error, 'e', sizeof(error));
    error[799] = 0;
    snprintf(args, sizeof(args), "{'xid':'t','branch':'a','op':1,'attempt':0,'success':false,'error':'%s'}",
             error);
    ok(h, COMMAND_BRANCH_REPORT, args);
    assert_int_equal(strlen(show(h, "branches.0.lastError")), 256);
}

static void registration_is_idempotent_by_name_and_content(void **state)
{
    static const char args[] = "{'xid':'t','branch':'c','confirmUrl':'http://r/c','cancelUrl':'http://r/x',"
                               "'payload':{'n':1},'headers':{'X-A':'1','X-B':'2'},'timeoutMs':100}";
    struct sm_harness *h = *state;
    begin_two(h, "");
    ok(h, COMMAND_TXN_BRANCH, args);
    assert_int_equal(sm_uint(h, "branchCount"), 3);
    ok(h, COMMAND_TXN_BRANCH, args);
    assert_int_equal(sm_uint(h, "branchCount"), 3);
    assert_int_equal(
        sm_run(h, COMMAND_TXN_BRANCH,
               "{'xid':'t','branch':'c','confirmUrl':'http://r/other','cancelUrl':'http://r/x'}"),
        ASSENT_BRANCH_EXISTS);
    assert_string_equal(show(h, "branches.2.confirmUrl"), "http://r/c");
    assert_string_equal(sm_text(h, "branches.2.payload"), "{\"n\":1}");
    assert_string_equal(sm_text(h, "branches.2.headers.X-B"), "2");
    assert_int_equal(sm_uint(h, "branches.2.timeoutMs"), 100);
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'t'}");
    assert_int_equal(sm_run(h, COMMAND_TXN_BRANCH, args), ASSENT_TXN_DECIDED);
    assert_int_equal(
        sm_run(h, COMMAND_TXN_BRANCH, "{'xid':'no','branch':'c','confirmUrl':'','cancelUrl':''}"),
        ASSENT_TXN_NOT_FOUND);
}

static void headers_that_could_do_harm_are_refused(void **state)
{
    static const char *const bad[] = {
        "'X-A':'1\\r\\nX-B: 2'",
        "'X-A':'1\\nHost: x'",
        "'X A':'1'",
        "'X:A':'1'",

        "'Content-Length':'5'",
        "'assent-token':'9'",
        "'Transfer-Encoding':'chunked'",
        "'X-A':'\\u0001'",
        "'Host':'other'",
    };
    struct sm_harness *h = *state;
    begin_two(h, "");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char args[256];
        snprintf(args, sizeof(args),
                 "{'xid':'t','branch':'c','confirmUrl':'http://r/c','cancelUrl':'http://r/x','headers':{%s}}",
                 bad[i]);
        int code = sm_run(h, COMMAND_TXN_BRANCH, args);
        assert_int_equal(code, ASSENT_INVALID);
    }
    assert_int_equal(due(h, "branchCount"), 2);
}

static void urls_are_http_without_spaces(void **state)
{
    static const char *const bad[] = {"p/c", "file:///etc/passwd", "http://", "http://p/a b",
                                      "http://p/\\r\\nX: 1"};
    struct sm_harness *h = *state;
    begin_two(h, "");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char args[256];
        snprintf(args, sizeof(args), "{'xid':'t','branch':'c','confirmUrl':'http://r/c','cancelUrl':'%s'}",
                 bad[i]);
        assert_int_equal(sm_run(h, COMMAND_TXN_BRANCH, args), ASSENT_INVALID);
    }
    ok(h, COMMAND_TXN_BRANCH, "{'xid':'t','branch':'c','confirmUrl':'HTTPS://r/c','cancelUrl':''}");
}

static void ten_thousand_branches_are_the_most(void **state)
{
    struct sm_harness *h = *state;
    size_t room = 10001 * 64 + 64, n = 0;
    char *args = malloc(room);
    assert_non_null(args);
    n += (size_t)snprintf(args, room, "{'xid':'t','timeoutMs':0,'branches':[");
    for (int i = 0; i < 10000; i++)
        n +=
            (size_t)snprintf(args + n, room - n, "%s{'branch':'b%d','confirmUrl':'http://p/','cancelUrl':''}",
                             i > 0 ? "," : "", i);
    snprintf(args + n, room - n, "]}");
    ok(h, COMMAND_TXN_BEGIN, args);
    free(args);
    assert_int_equal(sm_uint(h, "branchCount"), 10000);
    assert_int_equal(sm_run(h, COMMAND_TXN_BRANCH, "{'xid':'t','branch':'c','confirmUrl':'','cancelUrl':''}"),
                     ASSENT_LIMIT);
    ok(h, COMMAND_TXN_BRANCH,
       "{'xid':'t','branch':'b9999','confirmUrl':'http://p/','cancelUrl':''}"); /* is there */
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'t'}");
    assert_int_equal(sm_uint(h, "pendingCount"), 10000);
    assert_int_equal(sm_ask(h, QUERY_TXN, "{'xid':'t'}"), ASSENT_OK);
    assert_int_equal(sm_count(h, "branches"), 1000);
    assert_int_equal(sm_uint(h, "branchesOmitted"), 9000);
    assert_int_equal(report(h, "b9999", SM_OP_CONFIRM, 0, true), ASSENT_OK);
    assert_int_equal(due(h, "pendingCount"), 9999);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, sm_harness_setup, sm_harness_teardown)
    static const struct CMUnitTest tests[] = {
        T(the_last_success_finishes),
        T(a_rollback_cancels),
        T(a_report_of_a_step_past_is_refused),
        T(failures_back_off_up_to_the_cap),
        T(a_cap_below_the_base_wins),
        T(a_long_error_is_cut),
        T(registration_is_idempotent_by_name_and_content),
        T(headers_that_could_do_harm_are_refused),
        T(urls_are_http_without_spaces),
        T(ten_thousand_branches_are_the_most),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
