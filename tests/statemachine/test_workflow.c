/* Workflows: what is recorded and given back, how they end, and when somebody is called. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "txn_case.h"

#define PREPARED "{'xid':'t','name':'book','callbackUrl':'http://w/cb','data':{'trip':7}}"
#define STEP(branch, op, status, data)                                                                       \
    "{'xid':'t','branch':'" branch "','op':'" op "','status':'" status "','data':" data "}"
#define SECOND INT64_C(1000000)

static const char *show(struct sm_harness *h, const char *path)
{
    assert_int_equal(sm_ask(h, QUERY_TXN, "{'xid':'t'}"), ASSENT_OK);
    return sm_text(h, path);
}

static void what_was_recorded_is_given_back(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_WORKFLOW_PREPARE, PREPARED);
    assert_string_equal(sm_text(h, "status"), "ACTIVE");
    assert_string_equal(sm_text(h, "mode"), "WORKFLOW");
    assert_true(sm_bool(h, "created"));
    assert_int_equal(sm_count(h, "steps"), 0);
    ok(h, COMMAND_WORKFLOW_STEP, STEP("01", "action", "SUCCEEDED", "{'room':12}"));
    assert_int_equal(sm_uint(h, "stepCount"), 1);
    ok(h, COMMAND_WORKFLOW_STEP, STEP("02/x", "action", "FAILED", "'no seat'"));
    ok(h, COMMAND_WORKFLOW_STEP, "{'xid':'t','branch':'01','op':'rollback','status':'SUCCEEDED'}");
    sm_reincarnate(h);
    ok(h, COMMAND_WORKFLOW_PREPARE, PREPARED);
    assert_false(sm_bool(h, "created"));
    assert_int_equal(sm_count(h, "steps"), 3);
    assert_string_equal(sm_text(h, "steps.0.branch"), "01");
    assert_string_equal(sm_text(h, "steps.0.op"), "action");
    assert_string_equal(sm_text(h, "steps.0.status"), "SUCCEEDED");
    assert_string_equal(sm_text(h, "steps.0.data"), "{\"room\":12}");
    assert_string_equal(sm_text(h, "steps.1.branch"), "02/x");
    assert_string_equal(sm_text(h, "steps.1.op"), "action");
    assert_string_equal(sm_text(h, "steps.1.status"), "FAILED");
    assert_string_equal(sm_text(h, "steps.2.op"), "rollback");
    assert_int_equal(codec_kind(sm_node(h, "steps.2.data")), CODEC_NIL);
}

static void an_end_keeps_its_result(void **state)
{
    static const struct {
        const char *word, *status, *other;
    } rows[] = {{"SUCCEEDED", "COMMITTED", "FAILED"}, {"FAILED", "ROLLED_BACK", "SUCCEEDED"}};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct sm_harness h;
        char args[160];
        sm_harness_open(&h);
        ok(&h, COMMAND_WORKFLOW_PREPARE, PREPARED);
        ok(&h, COMMAND_WORKFLOW_STEP, STEP("01", "action", "SUCCEEDED", "1"));
        snprintf(args, sizeof args, "{'xid':'t','status':'%s','reason':'r','result':{'price':3}}",
                 rows[i].word);
        ok(&h, COMMAND_WORKFLOW_END, args);
        assert_string_equal(sm_text(&h, "status"), rows[i].status);
        assert_string_equal(due(&h), "");
        snprintf(args, sizeof args, "{'xid':'t','status':'%s','result':4}", rows[i].word);
        ok(&h, COMMAND_WORKFLOW_END, args); /* again: the first one's */
        snprintf(args, sizeof args, "{'xid':'t','status':'%s'}", rows[i].other);
        assert_int_equal(sm_run(&h, COMMAND_WORKFLOW_END, args), ASSENT_TXN_DECIDED);
        assert_int_equal(sm_run(&h, COMMAND_WORKFLOW_STEP, STEP("02", "action", "SUCCEEDED", "1")),
                         ASSENT_TXN_DECIDED);
        sm_reincarnate(&h);
        ok(&h, COMMAND_WORKFLOW_PREPARE, PREPARED); /* who runs it again gets what came of it */
        assert_false(sm_bool(&h, "created"));
        assert_string_equal(sm_text(&h, "status"), rows[i].status);
        assert_string_equal(sm_text(&h, "reason"), "r");
        assert_string_equal(sm_text(&h, "result"), "{\"price\":3}");
        assert_int_equal(sm_count(&h, "steps"), 1);
        sm_harness_close(&h);
    }
}

static void a_door_may_ask_what_stands_in_the_way(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_WORKFLOW_PREPARE, PREPARED);
    ok(h, COMMAND_WORKFLOW_END, "{'xid':'t','status':'SUCCEEDED','keep':true}");
    assert_string_equal(sm_text(h, "was"), "ACTIVE");
    ok(h, COMMAND_WORKFLOW_END, "{'xid':'t','status':'FAILED','keep':true}");
    assert_string_equal(sm_text(h, "was"), "COMMITTED");
    assert_string_equal(sm_text(h, "status"), "COMMITTED");
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'s','steps':[{'actionUrl':'http://p/a'}]}");
    ok(h, COMMAND_WORKFLOW_END, "{'xid':'s','status':'FAILED','keep':true}");
    assert_string_equal(sm_text(h, "mode"), "SAGA");
    assert_int_equal(sm_run(h, COMMAND_WORKFLOW_END, "{'xid':'u','status':'FAILED','keep':true}"),
                     ASSENT_TXN_NOT_FOUND);
}

static void a_step_is_recorded_once(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_WORKFLOW_PREPARE, PREPARED);
    ok(h, COMMAND_WORKFLOW_STEP, STEP("01", "action", "SUCCEEDED", "1"));
    assert_int_equal(sm_run(h, COMMAND_WORKFLOW_STEP, STEP("01", "action", "SUCCEEDED", "1")),
                     ASSENT_BRANCH_EXISTS); /* of two runs at a time one stops here */
    assert_int_equal(sm_run(h, COMMAND_WORKFLOW_STEP, STEP("01", "action", "FAILED", "2")),
                     ASSENT_BRANCH_EXISTS);
    ok(h, COMMAND_WORKFLOW_STEP, STEP("01", "commit", "SUCCEEDED", "1"));
    assert_string_equal(show(h, "steps.0.data"), "1");
    assert_int_equal(sm_count(h, "steps"), 2);
    assert_int_equal(sm_count(h, "branches"), 0);
    assert_int_equal(sm_uint(h, "branchCount"), 2);
}

static void somebody_is_called_when_nothing_is_heard(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_WORKFLOW_PREPARE, PREPARED);
    assert_string_equal(due(h), "00:callback");
    assert_true(sm_next_work_us(h->sm) == sm_time_us(h->sm) + 10 * SECOND);
    struct sm_work_cursor c = {0};
    struct sm_work w;
    sm_work_begin(h->sm, &c);
    assert_true(sm_work_next(h->sm, &c, INT64_MAX - 1, &w));
    sm_work_load(h->sm, &c, &w);
    assert_memory_equal(w.url.base, "http://w/cb", w.url.size);
    assert_memory_equal(w.callback_name.base, "book", w.callback_name.size);
    assert_memory_equal(w.payload.base, "{\"trip\":7}", w.payload.size);
    sm_work_end(h->sm, &c);
    assert_int_equal(report_attempt(h, "00", SM_OP_QUERY, 0, SM_OUTCOME_SUCCESS), ASSENT_REPORT_STALE);
    report(h, "00", CALLBACK, SUCCESS); /* it runs now, and takes its time */
    assert_string_equal(status(h), "ACTIVE");
    assert_true(sm_next_work_us(h->sm) == sm_time_us(h->sm) + 10 * SECOND);
    assert_int_equal(report_attempt(h, "00", SM_OP_CALLBACK, 1, SM_OUTCOME_ONGOING), ASSENT_OK);
    assert_true(sm_next_work_us(h->sm) == sm_time_us(h->sm) + 10 * SECOND);
    sm_advance(h, 4000);
    ok(h, COMMAND_WORKFLOW_STEP, STEP("01", "action", "SUCCEEDED", "1"));
    assert_true(sm_next_work_us(h->sm) == sm_time_us(h->sm) + 10 * SECOND); /* it is at work */
    assert_string_equal(due(h), "00:callback");
    ok(h, COMMAND_WORKFLOW_END, "{'xid':'t','status':'SUCCEEDED'}");
    assert_int_equal(report_attempt(h, "00", SM_OP_CALLBACK, 2, SM_OUTCOME_SUCCESS), ASSENT_REPORT_STALE);
    assert_string_equal(due(h), "");
}

static void failed_callbacks_back_off(void **state)
{
    static const int64_t wait_us[] = {20 * SECOND, 40 * SECOND, 80 * SECOND, 90 * SECOND, 90 * SECOND};
    struct sm_harness *h = *state;
    ok(h, COMMAND_WORKFLOW_PREPARE,
       "{'xid':'t','callbackUrl':'http://w/cb','retryBaseMs':20000,'retryCapMs':90000}");
    assert_true(sm_next_work_us(h->sm) == sm_time_us(h->sm) + 20 * SECOND);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(
            report_attempt(h, "00", SM_OP_CALLBACK, i, i % 2 ? SM_OUTCOME_FAILURE : SM_OUTCOME_ERROR),
            ASSENT_OK);
        assert_true(sm_next_work_us(h->sm) == sm_time_us(h->sm) + wait_us[i]);
    }
    ok(h, COMMAND_WORKFLOW_STEP, STEP("01", "action", "SUCCEEDED", "1")); /* does not bring it nearer */
    assert_true(sm_next_work_us(h->sm) > sm_time_us(h->sm) + 89 * SECOND);
    assert_int_equal((show(h, ""), sm_uint(h, "callbacks")), 5);
}

static void without_a_callback_nobody_is_called(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_WORKFLOW_PREPARE, "{'xid':'t','name':'n','data':[1]}");
    assert_string_equal(due(h), "");
    ok(h, COMMAND_WORKFLOW_STEP, STEP("01", "action", "SUCCEEDED", "1"));
    assert_string_equal(due(h), "");
    assert_string_equal(show(h, "name"), "n");
    assert_string_equal(sm_text(h, "data"), "[1]");
    sm_advance(h, 3600 * 1000);
    ok(h, COMMAND_TICK, "{}");
    assert_string_equal(status(h), "ACTIVE"); /* and no time is up */
}

static void a_preparation_may_be_repeated(void **state)
{
    static const char *const others[] = {
        "{'xid':'t','name':'book','callbackUrl':'http://w/cb'}",
        "{'xid':'t','name':'other','callbackUrl':'http://w/cb','data':{'trip':7}}",
        "{'xid':'t','name':'book','data':{'trip':7}}",
        "{'xid':'t','name':'book','callbackUrl':'http://w/cb','data':{'trip':7},'owner':'o'}",
    };
    struct sm_harness *h = *state;
    ok(h, COMMAND_WORKFLOW_PREPARE, PREPARED);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_int_equal(sm_run(h, COMMAND_WORKFLOW_PREPARE, others[i]), ASSENT_EXISTS);
    ok(h, COMMAND_WORKFLOW_PREPARE, "{'xid':'t','keep':true,'callbackUrl':'nonsense'}");
    assert_false(sm_bool(h, "created"));
    assert_string_equal(sm_text(h, "name"), "book");
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'s','steps':[{'actionUrl':'http://p/a'}]}");
    assert_int_equal(sm_run(h, COMMAND_WORKFLOW_PREPARE, "{'xid':'s'}"), ASSENT_EXISTS);
    ok(h, COMMAND_WORKFLOW_PREPARE, "{'xid':'s','keep':true}");
    assert_string_equal(sm_text(h, "mode"), "SAGA");
    ok(h, COMMAND_WORKFLOW_PREPARE, "{}"); /* without an xid: a new one each time */
    assert_int_equal(strlen(sm_text(h, "xid")), 32);
}

#define ACT(act) "{'xid':'t','by':'ann','reason':'r','act':'" act "'}"

static void a_paused_workflow_takes_nothing(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_WORKFLOW_PREPARE, PREPARED);
    ok(h, COMMAND_WORKFLOW_STEP, STEP("01", "action", "SUCCEEDED", "1"));
    ok(h, COMMAND_TXN_ACT, ACT("pause"));
    assert_string_equal(due(h), "");
    assert_int_equal(sm_run(h, COMMAND_WORKFLOW_STEP, STEP("02", "action", "SUCCEEDED", "1")),
                     ASSENT_CONFLICT);
    assert_int_equal(sm_run(h, COMMAND_WORKFLOW_END, "{'xid':'t','status':'SUCCEEDED'}"), ASSENT_CONFLICT);
    ok(h, COMMAND_WORKFLOW_PREPARE, PREPARED);
    assert_string_equal(sm_text(h, "status"), "SUSPENDED");
    assert_int_equal(sm_count(h, "steps"), 1);
    ok(h, COMMAND_TXN_ACT, ACT("resume"));
    assert_true(sm_next_work_us(h->sm) == sm_time_us(h->sm)); /* called at once */
    ok(h, COMMAND_WORKFLOW_STEP, STEP("02", "action", "SUCCEEDED", "1"));
    assert_true(sm_next_work_us(h->sm) == sm_time_us(h->sm) + 10 * SECOND);
    ok(h, COMMAND_TXN_ACT, ACT("retry"));
    assert_true(sm_next_work_us(h->sm) == sm_time_us(h->sm));
    ok(h, COMMAND_TXN_ACT, ACT("force"));
    assert_string_equal(status(h), "STOPPED");
    assert_string_equal(due(h), "");
    assert_int_equal(sm_run(h, COMMAND_WORKFLOW_END, "{'xid':'t','status':'SUCCEEDED'}"), ASSENT_TXN_DECIDED);
    assert_int_equal((show(h, ""), sm_count(h, "steps")), 2);
    sm_advance(h, 8ll * 24 * 3600 * 1000);
    ok(h, COMMAND_TICK, "{}");
    assert_string_equal(status(h), "");
}

static void what_is_wrong_changes_nothing(void **state)
{
    static const struct {
        uint32_t command;
        const char *args;
        int code;
    } rows[] = {
        {COMMAND_WORKFLOW_PREPARE, "{'xid':'u','mode':'SAGA'}", ASSENT_INVALID},
        {COMMAND_WORKFLOW_PREPARE, "{'xid':'u','callbackUrl':'w'}", ASSENT_INVALID},
        {COMMAND_WORKFLOW_PREPARE, "{'xid':'u','timeoutMs':1}", ASSENT_INVALID},
        {COMMAND_WORKFLOW_PREPARE, "{'xid':'u','parent':'t'}", ASSENT_INVALID},
        {COMMAND_WORKFLOW_PREPARE, "{'xid':'u','order':'forward'}", ASSENT_INVALID},
        {COMMAND_WORKFLOW_STEP, STEP("01", "", "SUCCEEDED", "1"), ASSENT_INVALID},
        {COMMAND_WORKFLOW_STEP, STEP("01", "a/b", "SUCCEEDED", "1"), ASSENT_INVALID},
        {COMMAND_WORKFLOW_STEP, STEP("01", "a b", "SUCCEEDED", "1"), ASSENT_INVALID},
        {COMMAND_WORKFLOW_STEP, STEP("01", "action", "succeed", "1"), ASSENT_INVALID},
        {COMMAND_WORKFLOW_STEP, "{'xid':'u','branch':'b','op':'o','status':'FAILED'}", ASSENT_TXN_NOT_FOUND},
        {COMMAND_WORKFLOW_STEP, "{'xid':'s','branch':'b','op':'o','status':'FAILED'}", ASSENT_INVALID},
        {COMMAND_WORKFLOW_END, "{'xid':'t','status':'COMMITTED'}", ASSENT_INVALID},
        {COMMAND_WORKFLOW_END, "{'xid':'u','status':'FAILED'}", ASSENT_TXN_NOT_FOUND},
        {COMMAND_WORKFLOW_END, "{'xid':'s','status':'FAILED'}", ASSENT_INVALID},
        {COMMAND_TXN_COMMIT, "{'xid':'t'}", ASSENT_INVALID},
        {COMMAND_TXN_ROLLBACK, "{'xid':'t'}", ASSENT_INVALID},
        {COMMAND_TXN_BRANCH, "{'xid':'t','branch':'b','confirmUrl':'','cancelUrl':''}", ASSENT_INVALID},
        {COMMAND_MESSAGE_SUBMIT, "{'xid':'t'}", ASSENT_TXN_NOT_FOUND},
        {COMMAND_BRANCH_REPORT, "{'xid':'t','branch':'01','op':3,'attempt':0,'success':true}",
         ASSENT_BRANCH_NOT_FOUND},
        {COMMAND_BRANCH_REPORT, "{'xid':'t','branch':'09/action','op':3,'attempt':0,'success':true}",
         ASSENT_REPORT_STALE},
    };
    struct sm_harness *h = *state;
    ok(h, COMMAND_WORKFLOW_PREPARE, PREPARED);
    ok(h, COMMAND_WORKFLOW_STEP, STEP("09", "action", "SUCCEEDED", "1"));
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'s','steps':[{'actionUrl':'http://p/a'}]}");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(sm_run(h, rows[i].command, rows[i].args), rows[i].code);
    assert_string_equal(status(h), "ACTIVE");
    assert_int_equal((show(h, ""), sm_count(h, "steps")), 1);
    assert_int_equal(sm_ask(h, QUERY_TXN, "{'xid':'u'}"), ASSENT_TXN_NOT_FOUND);
}

static void what_is_recorded_always_fits_one_answer(void **state)
{
    struct sm_harness *h = *state;
    size_t payload = 1000 * 1000, size = payload + 256;
    char *args = malloc(size);
    assert_non_null(args);
    ok(h, COMMAND_WORKFLOW_PREPARE, PREPARED);
    for (int i = 0; i < 4; i++) {
        int n = snprintf(args, size, "{'xid':'t','branch':'%d','op':'o','status':'SUCCEEDED','data':['", i);
        memset(args + n, 'x', payload);
        snprintf(args + n + payload, size - (size_t)n - payload, "']}");
        assert_int_equal(sm_run(h, COMMAND_WORKFLOW_STEP, args), i < 3 ? ASSENT_OK : ASSENT_LIMIT);
    }
    free(args);
    ok(h, COMMAND_WORKFLOW_PREPARE, PREPARED);
    assert_int_equal(sm_count(h, "steps"), 3);

    ok(h, COMMAND_WORKFLOW_PREPARE, "{'xid':'u'}");
    char small[96];
    for (int i = 0; i <= ASSENT_PAGE_ROWS_MAX; i++) {
        snprintf(small, sizeof small, "{'xid':'u','branch':'%d','op':'o','status':'SUCCEEDED'}", i);
        assert_int_equal(sm_run(h, COMMAND_WORKFLOW_STEP, small),
                         i < ASSENT_PAGE_ROWS_MAX ? ASSENT_OK : ASSENT_LIMIT);
    }
    ok(h, COMMAND_WORKFLOW_PREPARE, "{'xid':'u'}");
    assert_int_equal(sm_count(h, "steps"), ASSENT_PAGE_ROWS_MAX);
    ok(h, COMMAND_WORKFLOW_END, "{'xid':'u','status':'SUCCEEDED'}");
    sm_advance(h, 8ll * 24 * 3600 * 1000);
    for (int i = 0; i < 20; i++) { /* asked while its rows go, a few at a time */
        sm_advance(h, 1001);
        ok(h, COMMAND_TICK, "{}");
        int code = sm_ask(h, QUERY_TXN, "{'xid':'u'}");
        assert_true(code == ASSENT_OK ? sm_count(h, "steps") == 0 : code == ASSENT_TXN_NOT_FOUND);
    }
    assert_int_equal(sm_ask(h, QUERY_TXN, "{'xid':'u'}"), ASSENT_TXN_NOT_FOUND);
}

/* ---- random runs that break off anywhere: each step takes effect once in what is recorded */

#define STEPS 6

/* Run from the start until the end, or until it breaks off; false: it broke off. */
static bool run(struct sm_harness *h, unsigned *seed, bool fails)
{
    bool done[STEPS] = {false};
    char args[96], path[32];
    ok(h, COMMAND_WORKFLOW_PREPARE, PREPARED);
    for (uint32_t i = 0; i < sm_count(h, "steps"); i++) {
        snprintf(path, sizeof path, "steps.%u.branch", i);
        done[atoi(sm_text(h, path))] = true;
    }
    for (int i = 0; i < STEPS; i++) {
        if (done[i])
            continue;
        if (rand_r(seed) % 5 == 0)
            return false;
        snprintf(args, sizeof args, "{'xid':'t','branch':'%d','op':'action','status':'SUCCEEDED','data':%d}",
                 i, i * i);
        ok(h, COMMAND_WORKFLOW_STEP, args);
        if (rand_r(seed) % 6 == 0)
            sm_reincarnate(h);
    }
    if (rand_r(seed) % 3 == 0)
        return false;
    ok(h, COMMAND_WORKFLOW_END, fails ? "{'xid':'t','status':'FAILED'}" : "{'xid':'t','status':'SUCCEEDED'}");
    return true;
}

static void random_runs_record_each_step_once(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 40; seed++) {
        struct sm_harness h;
        unsigned dice = seed;
        print_message("seed %u\n", seed);
        sm_harness_open(&h);
        bool fails = seed % 2;
        for (uint32_t callbacks = 0; !run(&h, &dice, fails); callbacks++) {
            assert_string_equal(due(&h), "00:callback");
            assert_int_equal(
                report_attempt(&h, "00", SM_OP_CALLBACK, callbacks, (enum sm_outcome)(1 + rand_r(&dice) % 4)),
                ASSENT_OK);
        }
        assert_string_equal(status(&h), fails ? "ROLLED_BACK" : "COMMITTED");
        assert_string_equal(due(&h), "");
        ok(&h, COMMAND_WORKFLOW_PREPARE, PREPARED);
        assert_int_equal(sm_count(&h, "steps"), STEPS);
        sm_harness_close(&h);
    }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, sm_harness_setup, sm_harness_teardown)
    static const struct CMUnitTest tests[] = {
        T(what_was_recorded_is_given_back),          cmocka_unit_test(an_end_keeps_its_result),
        T(a_door_may_ask_what_stands_in_the_way),    T(a_step_is_recorded_once),
        T(somebody_is_called_when_nothing_is_heard), T(failed_callbacks_back_off),
        T(without_a_callback_nobody_is_called),      T(a_preparation_may_be_repeated),
        T(a_paused_workflow_takes_nothing),          T(what_is_wrong_changes_nothing),
        T(what_is_recorded_always_fits_one_answer),  cmocka_unit_test(random_runs_record_each_step_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
