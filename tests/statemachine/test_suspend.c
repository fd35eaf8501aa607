/* Waiting for an operator: from each status a transaction may have, what is due before, during and after. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sm_harness.h"

#define ok(h, type, args) assert_int_equal(sm_run(h, type, args), ASSENT_OK)
#define BRANCH(n, limit)                                                                                     \
    "{'branch':'" n "','confirmUrl':'http://p/c','cancelUrl':'http://p/x','retryLimit':" limit "}"
#define STEP(n, limit)                                                                                       \
    "{'actionUrl':'http://p/a" n "','compensateUrl':'http://p/c" n "','retryLimit':" limit "}"
#define RESUME(move) "{'xid':'t','by':'ann','reason':'repaired','move':" move "}"

/* "a:confirm/0 b:confirm/1": what is due, and which attempt. */
static const char *due(struct sm_harness *h)
{
    static char out[1024];
    struct sm_work_cursor c = {0};
    struct sm_work w;
    size_t n = 0;
    out[0] = 0;
    sm_work_begin(h->sm, &c);
    while (sm_work_next(h->sm, &c, INT64_MAX - 1, &w) && n + 100 < sizeof(out))
        n += (size_t)snprintf(out + n, sizeof(out) - n, "%s%.*s:%s/%u", n > 0 ? " " : "", (int)w.branch.size,
                              (const char *)w.branch.base, sm_op_name(w.op), w.attempt);
    sm_work_end(h->sm, &c);
    return out;
}

static uint64_t token(struct sm_harness *h)
{
    struct sm_work_cursor c = {0};
    struct sm_work w;
    sm_work_begin(h->sm, &c);
    bool there = sm_work_next(h->sm, &c, INT64_MAX - 1, &w);
    sm_work_end(h->sm, &c);
    assert_true(there);
    return w.token;
}

static const char *status(struct sm_harness *h)
{
    return sm_ask(h, QUERY_TXN_STATUS, "{'xid':'t'}") == ASSENT_OK ? sm_text(h, "status") : "";
}

static int report(struct sm_harness *h, const char *branch, enum sm_op op, unsigned attempt,
                  enum sm_outcome outcome)
{
    char args[256];
    snprintf(args, sizeof(args),
             "{'xid':'t','branch':'%s','op':%d,'attempt':%u,'success':%s,'error':'HTTP 500','outcome':%d}",
             branch, op, attempt, outcome == SM_OUTCOME_SUCCESS ? "true" : "false", outcome);
    return sm_run(h, COMMAND_BRANCH_REPORT, args);
}

#define SUCCESS(h, branch, op, attempt)                                                                      \
    assert_int_equal(report(h, branch, SM_OP_##op, attempt, SM_OUTCOME_SUCCESS), ASSENT_OK)
#define ERROR(h, branch, op, attempt)                                                                        \
    assert_int_equal(report(h, branch, SM_OP_##op, attempt, SM_OUTCOME_ERROR), ASSENT_OK)

/* Suspended means: nothing due, no deadline, no report, no further decision. */
static void suspended(struct sm_harness *h, const char *reason)
{
    assert_string_equal(status(h), "SUSPENDED");
    assert_string_equal(sm_text(h, "reason"), reason);
    assert_string_equal(due(h), "");
    sm_reincarnate(h);
    sm_advance(h, 100000);
    ok(h, COMMAND_TICK, "{}");
    assert_string_equal(status(h), "SUSPENDED");
}

static void a_confirm_given_up_waits_for_an_operator(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'t','branches':[" BRANCH("a", "2") "," BRANCH("b", "0") "]}");
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'t'}");
    uint64_t decided = token(h);
    ERROR(h, "b", CONFIRM, 0);
    ERROR(h, "a", CONFIRM, 0);
    assert_string_equal(status(h), "COMMITTING");
    ERROR(h, "a", CONFIRM, 1);
    suspended(h, "confirm of a failed 2 times: HTTP 500");
    assert_int_equal(report(h, "b", SM_OP_CONFIRM, 1, SM_OUTCOME_SUCCESS), ASSENT_REPORT_STALE);
    assert_int_equal(sm_run(h, COMMAND_TXN_ROLLBACK, "{'xid':'t'}"), ASSENT_TXN_DECIDED);
    assert_int_equal(sm_run(h, COMMAND_TXN_RESUME, RESUME("'back'")), ASSENT_TXN_DECIDED);
    ok(h, COMMAND_TXN_RESUME, RESUME("'retry'"));
    assert_string_equal(sm_text(h, "status"), "COMMITTING");
    assert_string_equal(due(h), "a:confirm/2 b:confirm/1"); /* at once, both */
    assert_true(sm_next_work_us(h->sm) == sm_time_us(h->sm));
    assert_true(token(h) == decided);
    ERROR(h, "a", CONFIRM, 2); /* the limit counts afresh */
    assert_string_equal(status(h), "COMMITTING");
    SUCCESS(h, "b", CONFIRM, 1);
    SUCCESS(h, "a", CONFIRM, 3);
    assert_string_equal(status(h), "COMMITTED");
}

static void a_cancel_given_up_may_be_skipped(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'t','branches':[" BRANCH("a", "1") "," BRANCH("b", "0") "]}");
    ok(h, COMMAND_TXN_ROLLBACK, "{'xid':'t'}");
    SUCCESS(h, "b", CANCEL, 0);
    ERROR(h, "a", CANCEL, 0);
    suspended(h, "cancel of a failed 1 times: HTTP 500");
    assert_int_equal(sm_run(h, COMMAND_TXN_RESUME, RESUME("'skip','branch':'b'")), ASSENT_INVALID);
    ok(h, COMMAND_TXN_ROLLBACK, "{'xid':'t'}"); /* it is on that way: nothing changes */
    assert_string_equal(sm_text(h, "status"), "SUSPENDED");
    ok(h, COMMAND_TXN_RESUME, RESUME("'skip','branch':'a'"));
    assert_string_equal(sm_text(h, "status"), "ROLLED_BACK");
    assert_string_equal(due(h), "");
}

static void branches_in_order_wait_in_order(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN,
       "{'xid':'t','order':'reverse','branches':[" BRANCH("a", "0") "," BRANCH("b", "1") "," BRANCH(
           "c", "0") "]}");
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'t'}");
    SUCCESS(h, "c", CONFIRM, 0);
    ERROR(h, "b", CONFIRM, 0);
    suspended(h, "confirm of b failed 1 times: HTTP 500");
    assert_int_equal(sm_run(h, COMMAND_TXN_RESUME, RESUME("'skip','branch':'a'")), ASSENT_INVALID);
    ok(h, COMMAND_TXN_RESUME, RESUME("'retry'"));
    assert_string_equal(due(h), "b:confirm/1"); /* the first still waits for it */
    ERROR(h, "b", CONFIRM, 1);
    suspended(h, "confirm of b failed 1 times: HTTP 500");
    ok(h, COMMAND_TXN_RESUME, RESUME("'skip','branch':'b'"));
    assert_string_equal(due(h), "a:confirm/0");
    SUCCESS(h, "a", CONFIRM, 0);
    assert_string_equal(status(h), "COMMITTED");
}

static void a_compensation_given_up_waits_for_an_operator(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'t','steps':[" STEP("1", "0") "," STEP("2", "2") "]}");
    SUCCESS(h, "01", ACTION, 0);
    ok(h, COMMAND_TXN_ROLLBACK, "{'xid':'t','reason':'changed my mind'}");
    uint64_t decided = token(h);
    ERROR(h, "02", COMPENSATE, 0);
    assert_int_equal(report(h, "02", SM_OP_COMPENSATE, 1, SM_OUTCOME_FAILURE), ASSENT_OK);
    suspended(h, "compensate of 02 failed 2 times: HTTP 500");
    ok(h, COMMAND_TXN_RESUME, RESUME("'back'")); /* which it was doing */
    assert_string_equal(sm_text(h, "status"), "ROLLING_BACK");
    assert_string_equal(due(h), "02:compensate/2");
    assert_true(token(h) == decided);
    ERROR(h, "02", COMPENSATE, 2);
    ERROR(h, "02", COMPENSATE, 3);
    suspended(h, "compensate of 02 failed 2 times: HTTP 500");
    ok(h, COMMAND_TXN_RESUME, RESUME("'skip','branch':'02'"));
    assert_string_equal(due(h), "01:compensate/0");
    SUCCESS(h, "01", COMPENSATE, 0);
    assert_string_equal(status(h), "ROLLED_BACK");
}

static void an_action_given_up_has_failed(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'t','steps':[" STEP("1", "2") "]}");
    assert_int_equal(report(h, "01", SM_OP_ACTION, 0, SM_OUTCOME_ONGOING), ASSENT_OK); /* is no failure */
    ERROR(h, "01", ACTION, 1);
    assert_string_equal(status(h), "RUNNING");
    ERROR(h, "01", ACTION, 2);
    assert_string_equal(status(h), "ROLLING_BACK");
    assert_string_equal(sm_text(h, "reason"), "step 01: HTTP 500");
    assert_string_equal(due(h), "01:compensate/0");
    SUCCESS(h, "01", COMPENSATE, 0);
    assert_string_equal(status(h), "ROLLED_BACK");
}

static void an_action_that_must_succeed_waits_for_an_operator(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT,
       "{'xid':'t','onFailure':'retry','steps':[" STEP("1", "1") "," STEP("2", "0") "]}");
    uint64_t before = token(h);
    ERROR(h, "01", ACTION, 0);
    suspended(h, "action of 01 failed 1 times: HTTP 500");
    ok(h, COMMAND_TXN_RESUME, RESUME("'retry'"));
    assert_true(token(h) > before); /* nothing is decided yet */
    SUCCESS(h, "01", ACTION, 1);
    SUCCESS(h, "02", ACTION, 0);
    assert_string_equal(status(h), "COMMITTED");
}

static void the_waits_grow_from_the_start_again(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'t','retryBaseMs':100,'branches':[" BRANCH("a", "3") "]}");
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'t'}");
    ERROR(h, "a", CONFIRM, 0);
    assert_true(sm_next_work_us(h->sm) == sm_time_us(h->sm) + 100000);
    ERROR(h, "a", CONFIRM, 1);
    assert_true(sm_next_work_us(h->sm) == sm_time_us(h->sm) + 200000);
    ERROR(h, "a", CONFIRM, 2);
    ok(h, COMMAND_TXN_RESUME, RESUME("'retry'"));
    ERROR(h, "a", CONFIRM, 3);
    assert_true(sm_next_work_us(h->sm) == sm_time_us(h->sm) + 100000);
}

static void only_what_waits_is_resumed(void **state)
{
    struct sm_harness *h = *state;
    assert_int_equal(sm_run(h, COMMAND_TXN_RESUME, RESUME("'retry'")), ASSENT_TXN_NOT_FOUND);
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'t','branches':[" BRANCH("a", "1") "]}");
    assert_int_equal(sm_run(h, COMMAND_TXN_RESUME, RESUME("'retry'")), ASSENT_TXN_DECIDED);
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'t'}");
    assert_int_equal(sm_run(h, COMMAND_TXN_RESUME, RESUME("'retry'")), ASSENT_TXN_DECIDED);
    ERROR(h, "a", CONFIRM, 0);
    assert_int_equal(sm_run(h, COMMAND_TXN_RESUME, RESUME("'skip','branch':'z'")), ASSENT_BRANCH_NOT_FOUND);
    assert_string_equal(status(h), "SUSPENDED");
}

#define ACT(act) "{'xid':'t','act':'" act "','by':'ann','reason':'look'}"

static void a_pause_over_the_deadline_takes_it_away(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'t','timeoutMs':1000}");
    ok(h, COMMAND_TXN_ACT, ACT("pause"));
    assert_int_equal(sm_run(h, COMMAND_TXN_COMMIT, "{'xid':'t'}"), ASSENT_CONFLICT);
    ok(h, COMMAND_TXN_ACT, ACT("resume")); /* with time left the deadline stands */
    sm_advance(h, 2000);
    ok(h, COMMAND_TICK, "{}");
    assert_string_equal(status(h), "ROLLED_BACK");
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'u','timeoutMs':1000}");
    ok(h, COMMAND_TXN_ACT, "{'xid':'u','act':'pause','by':'ann','reason':'look'}");
    sm_advance(h, 2000);
    ok(h, COMMAND_TXN_ACT, "{'xid':'u','act':'resume','by':'ann','reason':'look'}");
    sm_advance(h, 100000);
    ok(h, COMMAND_TICK, "{}");
    assert_int_equal(sm_ask(h, QUERY_TXN_STATUS, "{'xid':'u'}"), ASSENT_OK);
    assert_string_equal(sm_text(h, "status"), "ACTIVE");
}

static void a_prepared_message_is_asked_about_in_time_after_a_pause(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_MESSAGE_PREPARE,
       "{'xid':'t','timeoutMs':1000,'queryUrl':'http://p/q','steps':[{'actionUrl':'http://p/a'}]}");
    ok(h, COMMAND_TXN_ACT, ACT("pause"));
    assert_string_equal(due(h), "");
    ok(h, COMMAND_TXN_ACT, ACT("resume"));
    assert_string_equal(due(h), "00:query/0");
    assert_true(sm_next_work_us(h->sm) > sm_time_us(h->sm) + 900000);
    ok(h, COMMAND_TXN_ACT, ACT("pause"));
    sm_advance(h, 5000);
    ok(h, COMMAND_TXN_ACT, ACT("resume"));
    assert_true(sm_next_work_us(h->sm) == sm_time_us(h->sm));       /* it is late already */
    ok(h, COMMAND_MESSAGE_PREPARE, "{'xid':'u','timeoutMs':1000}"); /* nobody to ask: it is sent */
    ok(h, COMMAND_TXN_ACT, "{'xid':'u','act':'pause','by':'ann','reason':'look'}");
    sm_advance(h, 5000);
    ok(h, COMMAND_TXN_ACT, "{'xid':'u','act':'resume','by':'ann','reason':'look'}");
    ok(h, COMMAND_TICK, "{}");
    assert_int_equal(sm_ask(h, QUERY_TXN_STATUS, "{'xid':'u'}"), ASSENT_OK);
    assert_string_equal(sm_text(h, "status"), "COMMITTED");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, sm_harness_setup, sm_harness_teardown)
    static const struct CMUnitTest tests[] = {
        T(a_confirm_given_up_waits_for_an_operator),
        T(a_cancel_given_up_may_be_skipped),
        T(branches_in_order_wait_in_order),
        T(a_compensation_given_up_waits_for_an_operator),
        T(an_action_given_up_has_failed),
        T(an_action_that_must_succeed_waits_for_an_operator),
        T(the_waits_grow_from_the_start_again),
        T(only_what_waits_is_resumed),
        T(a_pause_over_the_deadline_takes_it_away),
        T(a_prepared_message_is_asked_about_in_time_after_a_pause),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
