/* Claims about commands with `keep`: where a status refuses them they answer the transaction as it stands, so
 * that a door with another protocol's table of legal moves decides by one entry. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "txn_case.h"

#define BRANCH(mode)                                                                                         \
    "{'xid':'t','mode':'" mode                                                                               \
    "','branches':[{'branch':'b','confirmUrl':'http://p/','cancelUrl':'http://p/'}]}"
#define SAGA "{'xid':'t','hold':true,'steps':[{'actionUrl':'http://p/'}]}"

/* was/stands/status of the last answer. */
static void told(struct sm_harness *h, const char *want)
{
    static const char *const keys[] = {"was", "stands", "status"};
    char have[96] = "";
    for (int i = 0; i < 3; i++) { /* a text is borrowed until the next */
        size_t n = strlen(have);
        snprintf(have + n, sizeof(have) - n, "%s%s", i > 0 ? "/" : "", sm_text(h, keys[i]));
    }
    assert_string_equal(have, want);
}

static void begins_tell_what_was_there(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'t','keep':true}");
    told(h, "/ACTIVE/ACTIVE");
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'t','keep':true,'mode':'XA','timeoutMs':7}"); /* other content */
    told(h, "ACTIVE/ACTIVE/ACTIVE");
    assert_string_equal(sm_text(h, "mode"), "TCC");
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'t','keep':true}");
    told(h, "ACTIVE/COMMITTED/COMMITTED"); /* by this command, although it has ended */
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'t','keep':true}");
    told(h, "COMMITTED/COMMITTED/COMMITTED");
}

static void commit_keeps_what_it_cannot_change(void **state)
{
    struct sm_harness *h = *state;
    assert_int_equal(sm_run(h, COMMAND_TXN_COMMIT, "{'xid':'t','keep':true}"), ASSENT_TXN_NOT_FOUND);
    ok(h, COMMAND_TXN_BEGIN, BRANCH("TCC"));
    ok(h, COMMAND_TXN_ROLLBACK, "{'xid':'t'}");
    assert_int_equal(sm_run(h, COMMAND_TXN_COMMIT, "{'xid':'t'}"), ASSENT_TXN_DECIDED);
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'t','keep':true}");
    told(h, "ROLLING_BACK/ROLLING_BACK/ROLLING_BACK");
    assert_string_equal(due(h), "b:cancel");
}

static void a_prepared_saga_is_neither_committed_nor_rolled_back(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT, SAGA);
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'t','keep':true}");
    told(h, "ACTIVE/ACTIVE/ACTIVE");
    ok(h, COMMAND_TXN_ROLLBACK, "{'xid':'t','keep':true}");
    told(h, "ACTIVE/ACTIVE/ACTIVE");
    assert_int_equal(sm_run(h, COMMAND_TXN_BRANCH, "{'xid':'t','branch':'x','confirmUrl':'','cancelUrl':''}"),
                     ASSENT_INVALID);
    assert_string_equal(due(h), "");
    ok(h, COMMAND_TXN_ROLLBACK, "{'xid':'t'}"); /* natively it is */
    told(h, "ACTIVE/ROLLED_BACK/ROLLED_BACK");
}

static void rollback_keeps_what_it_cannot_change(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN, BRANCH("XA"));
    ok(h, COMMAND_TXN_ROLLBACK, "{'xid':'t','keep':true,'reason':'no'}");
    told(h, "ACTIVE/ROLLING_BACK/ROLLING_BACK");
    ok(h, COMMAND_TXN_ROLLBACK, "{'xid':'t','keep':true}");
    told(h, "ROLLING_BACK/ROLLING_BACK/ROLLING_BACK");
    assert_string_equal(sm_text(h, "reason"), "no");
    sm_harness_teardown(state);
    sm_harness_setup(state);
    h = *state;
    ok(h, COMMAND_TXN_BEGIN, BRANCH("XA"));
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'t'}");
    assert_int_equal(sm_run(h, COMMAND_TXN_ROLLBACK, "{'xid':'t'}"), ASSENT_TXN_DECIDED);
    ok(h, COMMAND_TXN_ROLLBACK, "{'xid':'t','keep':true}");
    told(h, "COMMITTING/COMMITTING/COMMITTING");
    assert_string_equal(due(h), "b:confirm");
}

static void a_suspended_one_tells_where_it_goes_back_to(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN, BRANCH("TCC"));
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'t'}");
    ok(h, COMMAND_TXN_ACT, "{'xid':'t','act':'pause','by':'ann','reason':'look'}");
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'t','keep':true}");
    told(h, "SUSPENDED/COMMITTING/SUSPENDED");
    assert_int_equal(sm_ask(h, QUERY_TXN, "{'xid':'t'}"), ASSENT_OK);
    assert_string_equal(sm_text(h, "stands"), "COMMITTING");
}

static void a_commit_may_change_the_calls_to_come(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN, BRANCH("TCC"));
    assert_int_equal(sm_run(h, COMMAND_TXN_COMMIT, "{'xid':'t','keep':true,'headers':{'Host':'h'}}"),
                     ASSENT_INVALID);
    assert_string_equal(status(h), "ACTIVE");
    ok(h, COMMAND_TXN_COMMIT,
       "{'xid':'t','keep':true,'headers':{'k':'v'},'callTimeoutMs':70,'retryBaseMs':60000}");
    struct sm_work_cursor c = {0};
    struct sm_work w;
    struct assent_bytes name, value;
    sm_work_begin(h->sm, &c);
    assert_true(sm_work_next(h->sm, &c, INT64_MAX - 1, &w));
    sm_work_load(h->sm, &c, &w);
    assert_int_equal(w.timeout_ms, 70);
    assert_true(sm_work_header(&w.txn_headers, &name, &value));
    assert_memory_equal(value.base, "v", 1);
    sm_work_end(h->sm, &c);
    assert_int_equal(sm_ask(h, QUERY_TXN, "{'xid':'t'}"), ASSENT_OK);
    assert_int_equal(sm_uint(h, "retryBaseMs"), 60000);
    assert_int_equal(sm_uint(h, "retryCapMs"), 60000); /* never below the base */
}

static void the_end_of_a_workflow_is_kept(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_WORKFLOW_PREPARE, "{'xid':'t','name':'w'}");
    ok(h, COMMAND_WORKFLOW_END, "{'xid':'t','status':'SUCCEEDED','keep':true}");
    told(h, "ACTIVE/COMMITTED/COMMITTED");
    assert_int_equal(sm_run(h, COMMAND_WORKFLOW_END, "{'xid':'t','status':'FAILED'}"), ASSENT_TXN_DECIDED);
    ok(h, COMMAND_WORKFLOW_END, "{'xid':'t','status':'FAILED','keep':true}");
    told(h, "COMMITTED/COMMITTED/COMMITTED");
}

static void a_branch_is_refused_by_status_first(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN, BRANCH("TCC"));
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'t'}");
    assert_int_equal(sm_run(h, COMMAND_TXN_BRANCH, "{'xid':'t','branch':'b','confirmUrl':'','cancelUrl':''}"),
                     ASSENT_TXN_DECIDED); /* not BRANCH_EXISTS */
}

/* dtm-protocol.md 8: the interval is doubled, then waited for; a call that asks for time leaves it. */
static void dtms_intervals_double_before_they_are_waited_for(void **state)
{
    struct sm_harness *h = *state;
    struct sm_work w;
    static const int64_t waits_s[] = {8, 16, 32};
    ok(h, COMMAND_MESSAGE_PREPARE,
       "{'xid':'t','style':1,'queryUrl':'http://q/"
       "','retryBaseMs':4000,'retryCapMs':300000,'timeoutMs':1000}");
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(report_attempt(h, "00", SM_OP_QUERY, i, SM_OUTCOME_ERROR), ASSENT_OK);
        assert_true(pick(h, 0, &w));
        assert_int_equal(w.due_us - sm_time_us(h->sm), waits_s[i] * 1000000);
    }
    assert_int_equal(report_attempt(h, "00", SM_OP_QUERY, 3, SM_OUTCOME_ONGOING), ASSENT_OK);
    assert_true(pick(h, 0, &w));
    assert_int_equal(w.due_us - sm_time_us(h->sm), 4 * 1000000);
    ok(h, COMMAND_TXN_BEGIN,
       "{'xid':'u','style':1,'retryBaseMs':4000,'retryCapMs':300000,'branches':[{'branch':'b','confirmUrl':'"
       "http://p/',"
       "'cancelUrl':'http://p/'}]}");
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'u'}");
    ok(h, COMMAND_BRANCH_REPORT, "{'xid':'u','branch':'b','op':1,'attempt':0,'success':false,'outcome':4}");
    ok(h, COMMAND_TXN_ROLLBACK, "{'xid':'t'}");
    assert_true(pick(h, 0, &w));
    assert_int_equal((w.due_us - sm_time_us(h->sm)) / 1000000, 7); /* 8 s, a moment ago */
}

static void listings_take_several_statuses(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'a'}");
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'b'}");
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'b'}");
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'c'}");
    ok(h, COMMAND_TXN_ROLLBACK, "{'xid':'c'}");
    static const struct {
        const char *args;
        uint32_t found;
    } rows[] = {
        {"{}", 3},
        {"{'status':'ACTIVE'}", 1},
        {"{'status':'ACTIVE,COMMITTED'}", 2},
        {"{'status':'COMMITTED,ACTIVE,ACTIVE'}", 2},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(sm_ask(h, QUERY_TXN_LIST, rows[i].args), ASSENT_OK);
        assert_int_equal(sm_count(h, "transactions"), rows[i].found);
    }
    static const char *const wrong[] = {"{'status':'ACTIVE,'}", "{'status':',ACTIVE'}", "{'status':','}",
                                        "{'status':'ACTIVE,NONE'}"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(sm_ask(h, QUERY_TXN_LIST, wrong[i]), ASSENT_INVALID);
}

#define T(name) cmocka_unit_test_setup_teardown(name, sm_harness_setup, sm_harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(begins_tell_what_was_there),
        T(commit_keeps_what_it_cannot_change),
        T(a_prepared_saga_is_neither_committed_nor_rolled_back),
        T(rollback_keeps_what_it_cannot_change),
        T(a_suspended_one_tells_where_it_goes_back_to),
        T(a_commit_may_change_the_calls_to_come),
        T(the_end_of_a_workflow_is_kept),
        T(a_branch_is_refused_by_status_first),
        T(dtms_intervals_double_before_they_are_waited_for),
        T(listings_take_several_statuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
