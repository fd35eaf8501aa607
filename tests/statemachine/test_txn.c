/* Global transactions: every status against every command, timeouts, retention, counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sm_harness.h"

#define DAY_MS (24ll * 3600 * 1000)

#define ok(h, type, args) assert_int_equal(sm_run(h, type, args), ASSENT_OK)

static const char *status_of(struct sm_harness *h, const char *xid)
{
    char args[300];
    snprintf(args, sizeof(args), "{'xid':'%s'}", xid);
    if (sm_ask(h, QUERY_TXN_STATUS, args) != ASSENT_OK)
        return "";
    return sm_text(h, "status");
}

/* One branch that has something to call both ways. */
static void begin_one(struct sm_harness *h, const char *xid)
{
    char args[512];
    snprintf(args, sizeof(args),
             "{'xid':'%s','branches':[{'branch':'b','confirmUrl':'http://p/c','cancelUrl':'http://p/x'}]}",
             xid);
    ok(h, COMMAND_TXN_BEGIN, args);
}

static void report_one(struct sm_harness *h, const char *xid, int op)
{
    char args[512];
    snprintf(args, sizeof(args), "{'xid':'%s','branch':'b','op':%d,'attempt':0,'success':true}", xid, op);
    ok(h, COMMAND_BRANCH_REPORT, args);
}

/* Bring a transaction into a status. */
static void make(struct sm_harness *h, const char *xid, const char *status)
{
    char args[300];
    begin_one(h, xid);
    snprintf(args, sizeof(args), "{'xid':'%s'}", xid);
    if (strncmp(status, "COMM", 4) == 0)
        ok(h, COMMAND_TXN_COMMIT, args);
    if (strncmp(status, "ROLL", 4) == 0)
        ok(h, COMMAND_TXN_ROLLBACK, args);
    if (strcmp(status, "COMMITTED") == 0)
        report_one(h, xid, SM_OP_CONFIRM);
    if (strcmp(status, "ROLLED_BACK") == 0)
        report_one(h, xid, SM_OP_CANCEL);
    assert_string_equal(status_of(h, xid), status);
}

static void every_command_in_every_status(void **state)
{
    static const struct {
        const char *status;
        uint32_t command;
        int code;
        const char *after;
    } rows[] = {
        {"ACTIVE", COMMAND_TXN_COMMIT, ASSENT_OK, "COMMITTING"},
        {"ACTIVE", COMMAND_TXN_ROLLBACK, ASSENT_OK, "ROLLING_BACK"},
        {"ACTIVE", COMMAND_TXN_BRANCH, ASSENT_OK, "ACTIVE"},
        {"COMMITTING", COMMAND_TXN_COMMIT, ASSENT_OK, "COMMITTING"},
        {"COMMITTING", COMMAND_TXN_ROLLBACK, ASSENT_TXN_DECIDED, "COMMITTING"},
        {"COMMITTING", COMMAND_TXN_BRANCH, ASSENT_TXN_DECIDED, "COMMITTING"},
        {"COMMITTED", COMMAND_TXN_COMMIT, ASSENT_OK, "COMMITTED"},
        {"COMMITTED", COMMAND_TXN_ROLLBACK, ASSENT_TXN_DECIDED, "COMMITTED"},
        {"COMMITTED", COMMAND_TXN_BRANCH, ASSENT_TXN_DECIDED, "COMMITTED"},
        {"ROLLING_BACK", COMMAND_TXN_COMMIT, ASSENT_TXN_DECIDED, "ROLLING_BACK"},
        {"ROLLING_BACK", COMMAND_TXN_ROLLBACK, ASSENT_OK, "ROLLING_BACK"},
        {"ROLLING_BACK", COMMAND_TXN_BRANCH, ASSENT_TXN_DECIDED, "ROLLING_BACK"},
        {"ROLLED_BACK", COMMAND_TXN_COMMIT, ASSENT_TXN_DECIDED, "ROLLED_BACK"},
        {"ROLLED_BACK", COMMAND_TXN_ROLLBACK, ASSENT_OK, "ROLLED_BACK"},
        {"ROLLED_BACK", COMMAND_TXN_BRANCH, ASSENT_TXN_DECIDED, "ROLLED_BACK"},
    };
    struct sm_harness *h = *state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char xid[32], args[300];
        snprintf(xid, sizeof(xid), "row-%zu", i);
        make(h, xid, rows[i].status);
        snprintf(args, sizeof(args),
                 rows[i].command == COMMAND_TXN_BRANCH
                     ? "{'xid':'%s','branch':'new','confirmUrl':'http://p/c','cancelUrl':'http://p/x'}"
                     : "{'xid':'%s'}",
                 xid);
        assert_int_equal(sm_run(h, rows[i].command, args), rows[i].code);
        if (rows[i].code == ASSENT_TXN_DECIDED)
            assert_non_null(strstr(sm_detail(h), rows[i].after));
        assert_string_equal(status_of(h, xid), rows[i].after);
    }
}

static void a_made_xid_is_sixteen_bytes_in_hexadecimal(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN, "{}");
    char first[64];
    snprintf(first, sizeof(first), "%s", sm_text(h, "xid"));
    assert_int_equal(strlen(first), 32);
    assert_int_equal(strspn(first, "0123456789abcdef"), 32);
    ok(h, COMMAND_TXN_BEGIN, "{}");
    assert_true(strcmp(first, sm_text(h, "xid")) < 0); /* in order of begin */
}

static void a_commit_without_branches_finishes_at_once(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'t'}");
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'t'}");
    assert_string_equal(sm_text(h, "status"), "COMMITTED");
    assert_true(sm_int(h, "finishedUs") == sm_int(h, "decidedUs"));
    assert_int_equal(sm_next_work_us(h->sm), INT64_MAX);
}

static void branches_with_nothing_to_call_finish_at_once(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN,
       "{'xid':'t','branches':[{'branch':'b','confirmUrl':'','cancelUrl':'http://p/x'}]}");
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'t'}");
    assert_string_equal(sm_text(h, "status"), "COMMITTED");
    assert_int_equal(sm_ask(h, QUERY_TXN, "{'xid':'t'}"), ASSENT_OK);
    assert_string_equal(sm_text(h, "branches.0.status"), "CONFIRMED");
    assert_int_equal(sm_uint(h, "branches.0.attempts"), 0);
}

static void begin_again_with_equal_content_gives_the_same_transaction(void **state)
{
    static const char args[] =
        "{'xid':'t','mode':'XA','businessType':'order','timeoutMs':5000,'customData':{'a':1},"
        "'traceparent':'%s','branches':[{'branch':'b','confirmUrl':'http://p/c',"
        "'cancelUrl':'http://p/x','payload':{'n':1},'headers':{'X-A':'1'}}]}";
    char text[512];
    struct sm_harness *h = *state;
    snprintf(text, sizeof(text), args, "one");
    ok(h, COMMAND_TXN_BEGIN, text);
    int64_t created = sm_int(h, "createdUs");
    snprintf(text, sizeof(text), args, "two"); /* a retry has its own trace */
    ok(h, COMMAND_TXN_BEGIN, text);
    assert_true(sm_int(h, "createdUs") == created);
    ok(h, COMMAND_TXN_ROLLBACK, "{'xid':'t'}");
    ok(h, COMMAND_TXN_BEGIN, text);
    assert_string_equal(sm_text(h, "status"), "ROLLING_BACK");
}

static void begin_again_with_other_content_is_refused(void **state)
{
    static const char *const others[] = {
        "{'xid':'t','mode':'XA'}",
        "{'xid':'t','timeoutMs':5}",
        "{'xid':'t','businessKey':'k'}",
        "{'xid':'t','customData':{}}",
        "{'xid':'t','branches':[]}",
        "{'xid':'t','branches':[{'branch':'c','confirmUrl':'http://p/c','cancelUrl':'http://p/x'}]}",
        "{'xid':'t','branches':[{'branch':'b','confirmUrl':'http://p/d','cancelUrl':'http://p/x'}]}",
        "{'xid':'t','branches':[{'branch':'b','confirmUrl':'http://p/c','cancelUrl':'http://p/"
        "x','payload':1}]}",
        "{'xid':'t','branches':[{'branch':'b','confirmUrl':'http://p/c','cancelUrl':'http://p/x',"
        "'headers':{'X':'1'}}]}",
    };
    struct sm_harness *h = *state;
    begin_one(h, "t");
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_int_equal(sm_run(h, COMMAND_TXN_BEGIN, others[i]), ASSENT_EXISTS);
    assert_int_equal(sm_ask(h, QUERY_TXN, "{'xid':'t'}"), ASSENT_OK);
    assert_int_equal(sm_count(h, "branches"), 1);
}

static void a_bad_begin_changes_nothing(void **state)
{
    static const char *const bad[] = {
        "{'xid':'t','mode':'SAGA'}",
        "{'xid':'t','mode':'tcc'}",
        "{'xid':'t','timeoutMs':2592000001}",
        "{'xid':'t','retryBaseMs':0}",
        "{'xid':'t','retryCapMs':86400001}",
        "{'xid':'t','branches':[{'branch':'b','confirmUrl':'http://p/c','cancelUrl':'http://p/x'},"
        "{'branch':'a','confirmUrl':'http://p/c','cancelUrl':'http://p/x'},"
        "{'branch':'b','confirmUrl':'http://p/c','cancelUrl':'http://p/x'}]}",
        "{'xid':'t','branches':[{'branch':'b','confirmUrl':'ftp://p/c','cancelUrl':'http://p/x'}]}",
    };
    struct sm_harness *h = *state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(sm_run(h, COMMAND_TXN_BEGIN, bad[i]), ASSENT_INVALID);
        assert_int_equal(sm_ask(h, QUERY_TXN, "{'xid':'t'}"), ASSENT_TXN_NOT_FOUND);
    }
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'t'}");
}

static void an_unknown_xid_is_not_found(void **state)
{
    struct sm_harness *h = *state;
    assert_int_equal(sm_run(h, COMMAND_TXN_COMMIT, "{'xid':'no'}"), ASSENT_TXN_NOT_FOUND);
    assert_int_equal(sm_run(h, COMMAND_TXN_ROLLBACK, "{'xid':'no'}"), ASSENT_TXN_NOT_FOUND);
    assert_int_equal(sm_ask(h, QUERY_TXN_STATUS, "{'xid':'no'}"), ASSENT_TXN_NOT_FOUND);
    assert_int_equal(sm_ask(h, QUERY_TXN, "{'xid':'no'}"), ASSENT_TXN_NOT_FOUND);
}

static void a_passed_deadline_rolls_back(void **state)
{
    struct sm_harness *h = *state;
    begin_one(h, "default");
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'short','timeoutMs':500}");
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'never','timeoutMs':0}");
    make(h, "decided", "COMMITTING");
    sm_advance(h, 600);
    ok(h, COMMAND_TICK, "{}");
    assert_string_equal(status_of(h, "short"), "ROLLED_BACK");
    assert_string_equal(sm_text(h, "reason"), "timeout");
    assert_string_equal(status_of(h, "default"), "ACTIVE");
    sm_advance(h, 60000);
    ok(h, COMMAND_TICK, "{}");
    assert_string_equal(status_of(h, "default"), "ROLLING_BACK");
    assert_string_equal(status_of(h, "decided"), "COMMITTING");
    sm_advance(h, DAY_MS);
    ok(h, COMMAND_TICK, "{}");
    assert_string_equal(status_of(h, "never"), "ACTIVE");
    assert_int_equal(sm_run(h, COMMAND_TXN_COMMIT, "{'xid':'short'}"), ASSENT_TXN_DECIDED);
}

static void a_commit_that_comes_with_the_deadline_is_too_late(void **state)
{
    struct sm_harness *h = *state;
    begin_one(h, "t");
    sm_advance(h, 61000);
    assert_int_equal(sm_run(h, COMMAND_TXN_COMMIT, "{'xid':'t'}"), ASSENT_TXN_DECIDED);
}

static void the_reason_of_a_rollback_is_kept(void **state)
{
    struct sm_harness *h = *state;
    char args[1200], reason[600];
    begin_one(h, "t");
    ok(h, COMMAND_TXN_ROLLBACK, "{'xid':'t','reason':'stock is gone'}");
    ok(h, COMMAND_TXN_ROLLBACK, "{'xid':'t','reason':'another'}");
    status_of(h, "t");
    assert_string_equal(sm_text(h, "reason"), "stock is gone");
    memset(reason, 'x', sizeof(reason));
    memcpy(reason + 255, "\xc3\xa4", 2); /* a letter of two bytes across the bound */
    reason[599] = 0;
    begin_one(h, "long");
    snprintf(args, sizeof(args), "{'xid':'long','reason':'%s'}", reason);
    ok(h, COMMAND_TXN_ROLLBACK, args);
    assert_int_equal(strlen(sm_text(h, "reason")), 255);
}

static void a_finished_transaction_is_removed_after_a_week(void **state)
{
    struct sm_harness *h = *state;
    make(h, "done", "COMMITTED");
    make(h, "undone", "ROLLED_BACK");
    make(h, "working", "COMMITTING");
    sm_advance(h, 7 * DAY_MS - 60000);
    ok(h, COMMAND_TICK, "{}");
    assert_string_equal(status_of(h, "done"), "COMMITTED");
    sm_advance(h, 120000);
    for (int i = 0; i < 5; i++)
        ok(h, COMMAND_TICK, "{}");
    assert_string_equal(status_of(h, "done"), "");
    assert_string_equal(status_of(h, "undone"), "");
    assert_string_equal(status_of(h, "working"), "COMMITTING");
    assert_int_equal(sm_ask(h, QUERY_TXN_LIST, "{}"), ASSENT_OK);
    assert_int_equal(sm_count(h, "transactions"), 1);
    begin_one(h, "done"); /* nothing of the old one is in the way */
    assert_int_equal(sm_ask(h, QUERY_TXN, "{'xid':'done'}"), ASSENT_OK);
    assert_string_equal(sm_text(h, "branches.0.status"), "REGISTERED");
}

static void many_branches_are_removed_a_few_at_a_time(void **state)
{
    struct sm_harness *h = *state;
    char args[256];
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'t','customData':{'a':1}}");
    for (int i = 0; i < 500; i++) {
        snprintf(args, sizeof(args), "{'xid':'t','branch':'b%d','confirmUrl':'','cancelUrl':''}", i);
        ok(h, COMMAND_TXN_BRANCH, args);
    }
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'t'}");
    sm_advance(h, 8 * DAY_MS);
    ok(h, COMMAND_TICK, "{}");
    assert_string_equal(status_of(h, "t"), "COMMITTED"); /* half way */
    assert_int_equal(sm_ask(h, QUERY_TXN, "{'xid':'t'}"), ASSENT_OK);
    int ticks = 1;
    while (strcmp(status_of(h, "t"), "") != 0) {
        sm_advance(h, 10);
        ok(h, COMMAND_TICK, "{}");
        assert_true(++ticks < 10);
    }
    assert_true(ticks >= 4);
}

static uint64_t count_of(struct sm_harness *h, const char *mode, const char *status)
{
    assert_int_equal(sm_ask(h, QUERY_TXN_COUNTS, "{'all':true}"), ASSENT_OK);
    for (uint32_t i = 0; i < sm_count(h, "counts"); i++) {
        char path[64], m[32];
        snprintf(path, sizeof(path), "counts.%u.mode", i);
        snprintf(m, sizeof(m), "%s", sm_text(h, path));
        snprintf(path, sizeof(path), "counts.%u.status", i);
        if (strcmp(m, mode) == 0 && strcmp(sm_text(h, path), status) == 0) {
            snprintf(path, sizeof(path), "counts.%u.count", i);
            return sm_uint(h, path);
        }
    }
    return 0;
}

static void counts_follow_every_move(void **state)
{
    struct sm_harness *h = *state;
    make(h, "a", "ACTIVE");
    make(h, "b", "COMMITTING");
    make(h, "c", "COMMITTED");
    make(h, "d", "ROLLED_BACK");
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'x','mode':'XA','timeoutMs':0}");
    assert_int_equal(count_of(h, "TCC", "ACTIVE"), 1);
    assert_int_equal(count_of(h, "TCC", "COMMITTING"), 1);
    assert_int_equal(count_of(h, "TCC", "COMMITTED"), 1);
    assert_int_equal(count_of(h, "TCC", "ROLLED_BACK"), 1);
    assert_int_equal(count_of(h, "XA", "ACTIVE"), 1);
    assert_int_equal(sm_uint(h, "callsPending"), 1);
    sm_advance(h, 8 * DAY_MS);
    for (int i = 0; i < 4; i++)
        ok(h, COMMAND_TICK, "{}");
    assert_int_equal(count_of(h, "TCC", "ACTIVE"), 0);
    assert_int_equal(count_of(h, "TCC", "ROLLING_BACK"), 1);
    assert_int_equal(count_of(h, "TCC", "COMMITTED"), 0);
}

static void everything_survives_a_snapshot(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN,
       "{'xid':'t','customData':{'order':7},'owner':'shop','traceparent':'00-abc','branches':[{'branch':'b',"
       "'confirmUrl':'http://p/c','cancelUrl':'http://p/x','payload':{'n':1},'headers':{'X-A':'1'}}]}");
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'t'}");
    ok(h, COMMAND_BRANCH_REPORT,
       "{'xid':'t','branch':'b','op':1,'attempt':0,'success':false,'error':'HTTP 500'}");
    assert_int_equal(sm_ask(h, QUERY_TXN, "{'xid':'t'}"), ASSENT_OK);
    char before[4096];
    snprintf(before, sizeof(before), "%s", sm_json(h));
    int64_t due = sm_next_work_us(h->sm);
    sm_reincarnate(h);
    assert_int_equal(sm_ask(h, QUERY_TXN, "{'xid':'t'}"), ASSENT_OK);
    assert_string_equal(sm_json(h), before);
    assert_true(sm_next_work_us(h->sm) == due);
    assert_int_equal(count_of(h, "TCC", "COMMITTING"), 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, sm_harness_setup, sm_harness_teardown)
    static const struct CMUnitTest tests[] = {
        T(every_command_in_every_status),
        T(a_made_xid_is_sixteen_bytes_in_hexadecimal),
        T(a_commit_without_branches_finishes_at_once),
        T(branches_with_nothing_to_call_finish_at_once),
        T(begin_again_with_equal_content_gives_the_same_transaction),
        T(begin_again_with_other_content_is_refused),
        T(a_bad_begin_changes_nothing),
        T(an_unknown_xid_is_not_found),
        T(a_passed_deadline_rolls_back),
        T(a_commit_that_comes_with_the_deadline_is_too_late),
        T(the_reason_of_a_rollback_is_kept),
        T(a_finished_transaction_is_removed_after_a_week),
        T(many_branches_are_removed_a_few_at_a_time),
        T(counts_follow_every_move),
        T(everything_survives_a_snapshot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
