/* Claims about what builds for tests may ask: no time passes by itself while polling is off, and a wipe
 * leaves nothing of transactions behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sm_harness.h"

#define ok(h, type, args) assert_int_equal(sm_run(h, type, args), ASSENT_OK)
#define RETRY             "{'xid':'t','act':'retry','by':'test','reason':'poll'}"
#define MINUTES           600000
/* How long an ended transaction is kept. */
#define RETENTION_MS (UINT64_C(8) * 24 * 3600 * 1000)

/* "xid/branch:attempt ..." of what may be called now. */
static const char *callable(struct sm_harness *h)
{
    static char out[512];
    struct sm_work_cursor c = {0};
    struct sm_work w;
    size_t n = 0;
    out[0] = 0;
    sm_work_begin(h->sm, &c);
    while (sm_work_next(h->sm, &c, h->now_us, &w))
        if (!w.waits)
            n += (size_t)snprintf(out + n, sizeof(out) - n, "%s%.*s/%.*s:%u", n > 0 ? " " : "",
                                  (int)w.xid.size, (const char *)w.xid.base, (int)w.branch.size,
                                  (const char *)w.branch.base, w.attempt);
    sm_work_end(h->sm, &c);
    return out;
}

/* One branch; its confirm is due. */
static void commit(struct sm_harness *h)
{
    ok(h, COMMAND_TXN_BEGIN,
       "{'xid':'t','branches':[{'branch':'b','confirmUrl':'http://p/c','cancelUrl':'http://p/x'}]}");
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'t'}");
}

static void the_call_fails(struct sm_harness *h, unsigned attempt)
{
    char args[128];
    snprintf(args, sizeof args, "{'xid':'t','branch':'b','op':1,'attempt':%u,'success':false,'error':'no'}",
             attempt);
    ok(h, COMMAND_BRANCH_REPORT, args);
}

static void polling_off_leaves_the_first_round_only(void **state)
{
    struct sm_harness *h = *state;
    assert_true(sm_polls(h->sm));
    ok(h, COMMAND_TEST_POLLING, "{}");
    assert_false(sm_polls(h->sm));
    commit(h);
    assert_string_equal(callable(h), "t/b:0");
    the_call_fails(h, 0);
    sm_advance(h, MINUTES);
    assert_string_equal(callable(h), "");
    ok(h, COMMAND_TICK, "{}");
    sm_reincarnate(h); /* whoever leads next knows it too */
    assert_false(sm_polls(h->sm));
    assert_string_equal(callable(h), "");
    ok(h, COMMAND_TXN_ACT, RETRY); /* one round, although it was due long ago */
    assert_string_equal(callable(h), "t/b:1");
    ok(h, COMMAND_TXN_ACT, RETRY); /* a call that may be under way stays where it is */
    assert_string_equal(callable(h), "t/b:1");
    the_call_fails(h, 1);
    sm_advance(h, MINUTES);
    assert_string_equal(callable(h), "");
    ok(h, COMMAND_TEST_POLLING, "{'on':true}");
    assert_true(sm_polls(h->sm));
    assert_string_equal(callable(h), "t/b:2");
    ok(h, COMMAND_TXN_ACT, RETRY);
    assert_string_equal(callable(h), "t/b:2");
}

static void questions_and_deliveries_wait_too(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TEST_POLLING, "{'on':false}");
    ok(h, COMMAND_MESSAGE_PREPARE,
       "{'xid':'t','queryUrl':'http://p/q','timeoutMs':1000,'steps':[{'actionUrl':'http://p/a'}]}");
    ok(h, COMMAND_MESSAGE_SUBMIT, "{'xid':'later','delayMs':1000,'steps':[{'actionUrl':'http://p/a'}]}");
    ok(h, COMMAND_WORKFLOW_PREPARE, "{'xid':'w','name':'n','callbackUrl':'http://p/w'}");
    sm_advance(h, MINUTES);
    ok(h, COMMAND_TICK, "{}");
    assert_string_equal(callable(h), "");
    ok(h, COMMAND_TXN_ACT, RETRY);
    assert_string_equal(callable(h), "t/00:0");
    ok(h, COMMAND_TEST_POLLING, "{'on':true}");
    assert_non_null(strstr(callable(h), "later/01:0"));
    assert_non_null(strstr(callable(h), "w/00:0"));
}

static void no_time_limit_ends_while_polling_is_off(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'t','timeoutMs':1000}");
    ok(h, COMMAND_TEST_POLLING, "{'on':false}");
    assert_true(sm_next_due_us(h->sm) == INT64_MAX); /* nobody proposes a tick */
    sm_advance(h, MINUTES);
    ok(h, COMMAND_TICK, "{}");
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'u','timeoutMs':1000}");
    assert_true(sm_next_due_us(h->sm) == INT64_MAX);
    assert_int_equal(sm_ask(h, QUERY_TXN_STATUS, "{'xid':'t'}"), ASSENT_OK);
    assert_string_equal(sm_text(h, "status"), "ACTIVE");
    ok(h, COMMAND_TEST_POLLING, "{'on':true}");
    assert_true(sm_next_due_us(h->sm) <= h->now_us);
    ok(h, COMMAND_TICK, "{}");
    assert_int_equal(sm_ask(h, QUERY_TXN_STATUS, "{'xid':'t'}"), ASSENT_OK);
    assert_string_equal(sm_text(h, "status"), "ROLLED_BACK");
}

/* Of every kind one, ended and not. */
static void fill(struct sm_harness *h)
{
    commit(h);
    the_call_fails(h, 0);
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'begun','timeoutMs':60000,'businessKey':'k'}");
    ok(h, COMMAND_FREEZE, "{'xid':'begun','resource':'r','mode':'exclusive'}");
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'waits','timeoutMs':60000}");
    ok(h, COMMAND_FREEZE, "{'xid':'waits','resource':'r','mode':'exclusive','waitMs':30000}");
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'ended'}");
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'ended'}");
    ok(h, COMMAND_TOPIC_SUBSCRIBE, "{'topic':'n','url':'http://p/n'}");
    ok(h, COMMAND_MESSAGE_PREPARE, "{'xid':'m','queryUrl':'http://p/q','steps':[{'actionUrl':'topic://n'}]}");
    ok(h, COMMAND_SAGA_SUBMIT,
       "{'xid':'s','steps':[{'actionUrl':'http://p/a','compensateUrl':'http://p/c'}]}");
}

static void a_wipe_leaves_nothing_of_transactions(void **state)
{
    struct sm_harness *h = *state;
    assert_true(sm_next_due_us(h->sm) == INT64_MAX);
    fill(h);
    ok(h, COMMAND_SEQUENCE_NEXT, "{'name':'n'}");
    ok(h, COMMAND_TEST_WIPE, "{}");
    assert_true(sm_uint(h, "transactions") > 0);
    assert_string_equal(callable(h), "");
    /* the record of what operators did, kept for longer than any transaction, may have a timer still */
    assert_true(sm_next_due_us(h->sm) > h->now_us + (int64_t)RETENTION_MS * 1000);
    assert_true(sm_next_work_us(h->sm) == INT64_MAX);
    assert_int_equal(sm_ask(h, QUERY_TXN_COUNTS, "{'all':true}"), ASSENT_OK);
    assert_int_equal(sm_count(h, "counts"), 0);
    assert_int_equal(sm_uint(h, "freezesHeld") + sm_uint(h, "freezesWaiting"), 0);
    assert_int_equal(sm_ask(h, QUERY_TXN_LIST, "{}"), ASSENT_OK);
    assert_int_equal(sm_count(h, "transactions"), 0);
    assert_int_equal(sm_ask(h, QUERY_TOPICS, "{}"), ASSENT_OK);
    assert_int_equal(sm_count(h, "topics"), 0);
    assert_int_equal(sm_ask(h, QUERY_STATISTICS, "{}"), ASSENT_OK);
    assert_int_equal(sm_count(h, "modes") + sm_count(h, "types"), 0);
    ok(h, COMMAND_SEQUENCE_NEXT, "{'name':'n'}");
    assert_true(sm_uint(h, "first") == 2); /* what is not of transactions stays */
    fill(h);                               /* the same names again, as if for the first time */
    assert_int_equal(sm_ask(h, QUERY_TXN_COUNTS, "{'all':true}"), ASSENT_OK);
    assert_int_equal(sm_uint(h, "freezesHeld"), 1);
    sm_reincarnate(h);
}

static void a_report_to_what_was_wiped_is_refused(void **state)
{
    struct sm_harness *h = *state;
    commit(h);
    ok(h, COMMAND_TEST_WIPE, "{}");
    assert_int_equal(sm_uint(h, "transactions") > 0, true);
    assert_int_equal(
        sm_run(h, COMMAND_BRANCH_REPORT, "{'xid':'t','branch':'b','op':1,'attempt':0,'success':true}"),
        ASSENT_TXN_NOT_FOUND);
    ok(h, COMMAND_TEST_WIPE, "{}"); /* of nothing */
    assert_int_equal(sm_uint(h, "transactions"), 0);
}

static void doors_refuse_both(void **state)
{
    (void)state;
    static const uint32_t types[] = {COMMAND_TEST_WIPE, COMMAND_TEST_POLLING};
    struct codec_writer w;
    struct codec_arena arena;
    struct command c;
    char why[128];
    codec_writer_init(&w);
    codec_arena_init(&arena);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct assent_bytes bytes = sm_encode(&w, false, types[i], NULL, "{}");
        assert_int_equal(command_decode(&arena, bytes, false, false, &c, why, sizeof why), ASSENT_OK);
        assert_int_not_equal(command_decode(&arena, bytes, false, true, &c, why, sizeof why), ASSENT_OK);
    }
    codec_arena_close(&arena);
    codec_writer_close(&w);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, sm_harness_setup, sm_harness_teardown)
    static const struct CMUnitTest tests[] = {
        T(polling_off_leaves_the_first_round_only), T(questions_and_deliveries_wait_too),
        T(no_time_limit_ends_while_polling_is_off), T(a_wipe_leaves_nothing_of_transactions),
        T(a_report_to_what_was_wiped_is_refused),   cmocka_unit_test(doors_refuse_both),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
