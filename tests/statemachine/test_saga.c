/* Sagas: every move of a saga and of a step, the order of actions and compensations, and a random walk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "txn_case.h"

#define STEP(n) "{'actionUrl':'http://p/a" n "','compensateUrl':'http://p/c" n "'}"

/* What DTM's tests look at: compensation and action of each step, S, F or P. */
static const char *positions(struct sm_harness *h)
{
    static char out[64];
    char path[40];
    size_t n = 0;
    assert_int_equal(sm_ask(h, QUERY_TXN, "{'xid':'t'}"), ASSENT_OK);
    for (uint32_t i = 0; i < sm_count(h, "branches") && n + 3 < sizeof(out); i++) {
        snprintf(path, sizeof(path), "branches.%u.status", i);
        out[n++] = strcmp(sm_text(h, path), "COMPENSATED") == 0 ? 'S' : 'P';
        snprintf(path, sizeof(path), "branches.%u.action", i);
        out[n++] = sm_text(h, path)[0] == 'U' ? 'P' : sm_text(h, path)[0];
    }
    out[n] = 0;
    return out;
}

static void an_empty_saga_ends_in_its_submission(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'t'}");
    assert_string_equal(sm_text(h, "status"), "COMMITTED");
    assert_string_equal(sm_text(h, "mode"), "SAGA");
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'u','steps':[{},{'compensateUrl':'http://p/c'},{}]}");
    assert_string_equal(sm_text(h, "status"), "COMMITTED");
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'v','concurrent':true,'steps':[{'after':[1]},{},{'after':[0,1]}]}");
    assert_string_equal(sm_text(h, "status"), "COMMITTED");
    assert_string_equal(due(h), "");
    sm_reincarnate(h);
}

static void steps_go_one_after_the_other(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'t','steps':[" STEP("1") ",{}," STEP("3") "]}");
    assert_string_equal(sm_text(h, "status"), "RUNNING");
    assert_string_equal(due(h), "01:action");
    report(h, "01", ACTION, SUCCESS);
    assert_string_equal(due(h), "03:action"); /* the second has nothing to call */
    sm_reincarnate(h);
    report(h, "03", ACTION, SUCCESS);
    assert_string_equal(status(h), "COMMITTED");
    assert_string_equal(positions(h), "PSPSPS");
    assert_string_equal(due(h), "");
}

static void a_failed_step_is_compensated_first(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'t','steps':[" STEP("1") "," STEP("2") "," STEP("3") "]}");
    report(h, "01", ACTION, SUCCESS);
    report(h, "02", ACTION, FAILURE);
    assert_string_equal(status(h), "ROLLING_BACK");
    assert_string_equal(sm_text(h, "reason"), "step 02: no stock");
    assert_string_equal(due(h), "02:compensate");
    report(h, "02", COMPENSATE, SUCCESS);
    assert_string_equal(due(h), "01:compensate");
    sm_reincarnate(h);
    report(h, "01", COMPENSATE, SUCCESS);
    assert_string_equal(status(h), "ROLLED_BACK");
    assert_string_equal(positions(h), "SSSFPP");
}

static void a_compensation_is_called_until_it_succeeds(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'t','retryLimit':1,'steps':[" STEP("1") "]}");
    report(h, "01", ACTION, FAILURE);
    for (uint32_t i = 0; i < 20; i++)
        assert_int_equal(
            report_attempt(h, "01", SM_OP_COMPENSATE, i, i % 2 ? SM_OUTCOME_FAILURE : SM_OUTCOME_ERROR),
            ASSENT_OK);
    assert_string_equal(status(h), "ROLLING_BACK");
    assert_int_equal(report_attempt(h, "01", SM_OP_COMPENSATE, 20, SM_OUTCOME_SUCCESS), ASSENT_OK);
    assert_string_equal(status(h), "ROLLED_BACK");
}

static void a_passed_deadline_turns_back(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'t','timeoutMs':500,'steps':[" STEP("1") "," STEP("2") "]}");
    sm_advance(h, 600);
    ok(h, COMMAND_TICK, "{}");
    assert_string_equal(status(h), "ROLLING_BACK");
    assert_string_equal(sm_text(h, "reason"), "timeout");
    assert_string_equal(due(h), "01:compensate"); /* its action may have happened */
    assert_int_equal(report_attempt(h, "01", SM_OP_ACTION, 0, SM_OUTCOME_SUCCESS), ASSENT_REPORT_STALE);
    report(h, "01", COMPENSATE, SUCCESS);
    assert_string_equal(positions(h), "SPPP");
}

static void a_finished_saga_has_no_deadline(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'t','timeoutMs':500,'steps':[" STEP("1") "]}");
    report(h, "01", ACTION, SUCCESS);
    sm_advance(h, 600);
    ok(h, COMMAND_TICK, "{}");
    assert_string_equal(status(h), "COMMITTED");
}

static void the_retry_limit_turns_back(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'t','retryLimit':2,'steps':[" STEP("1") "," STEP("2") "]}");
    report(h, "01", ACTION, SUCCESS);
    report(h, "02", ACTION, ERROR);
    assert_int_equal(report_attempt(h, "02", SM_OP_ACTION, 1, SM_OUTCOME_ONGOING), ASSENT_OK);
    assert_string_equal(status(h), "RUNNING");
    assert_int_equal(report_attempt(h, "02", SM_OP_ACTION, 2, SM_OUTCOME_ERROR), ASSENT_OK);
    assert_string_equal(status(h), "ROLLING_BACK");
    assert_string_equal(sm_text(h, "reason"), "retry limit 2 reached");
    report(h, "02", COMPENSATE, SUCCESS);
    report(h, "01", COMPENSATE, SUCCESS);
    assert_string_equal(positions(h), "SSSP");
}

static void forward_recovery_never_turns_back_by_itself(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'t','onFailure':'retry','steps':[" STEP("1") "]}");
    for (uint32_t i = 0; i < 50; i++)
        assert_int_equal(report_attempt(h, "01", SM_OP_ACTION, i, SM_OUTCOME_FAILURE), ASSENT_OK);
    assert_string_equal(status(h), "RUNNING");
    ok(h, COMMAND_TXN_ROLLBACK, "{'xid':'t','reason':'given up'}"); /* somebody says so */
    assert_string_equal(sm_text(h, "status"), "ROLLING_BACK");
    assert_string_equal(sm_text(h, "reason"), "given up");
}

static void waits_grow_after_errors_and_not_while_ongoing(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'t','retryBaseMs':100,'retryCapMs':300,'steps':[" STEP("1") "]}");
    static const struct {
        enum sm_outcome outcome;
        int64_t wait_us;
    } rows[] = {
        {SM_OUTCOME_ONGOING, 100000}, {SM_OUTCOME_ONGOING, 100000}, {SM_OUTCOME_ERROR, 100000},
        {SM_OUTCOME_ERROR, 200000},   {SM_OUTCOME_ONGOING, 200000}, {SM_OUTCOME_ERROR, 300000},
    };
    for (uint32_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(report_attempt(h, "01", SM_OP_ACTION, i, rows[i].outcome), ASSENT_OK);
        assert_true(sm_next_work_us(h->sm) == sm_time_us(h->sm) + rows[i].wait_us);
    }
}

static void concurrent_steps_start_together_and_go_back_together(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT,
       "{'xid':'t','concurrent':true,'steps':[" STEP("1") "," STEP("2") "," STEP("3") "]}");
    assert_string_equal(due(h), "01:action 02:action 03:action");
    report(h, "03", ACTION, SUCCESS);
    report(h, "02", ACTION, FAILURE);
    assert_string_equal(due(h), "01:compensate 02:compensate 03:compensate");
    sm_reincarnate(h);
    report(h, "01", COMPENSATE, SUCCESS);
    report(h, "03", COMPENSATE, SUCCESS);
    assert_string_equal(status(h), "ROLLING_BACK");
    report(h, "02", COMPENSATE, SUCCESS);
    assert_string_equal(status(h), "ROLLED_BACK");
    assert_string_equal(positions(h), "SPSFSS");
}

/* 0 before 1 and 2, both before 3. */
#define DIAMOND                                                                                              \
    "{'xid':'t','concurrent':true,'steps':[" STEP(                                                           \
        "1") ","                                                                                             \
             "{'actionUrl':'http://p/a2','compensateUrl':'http://p/c2','after':[0]},"                        \
             "{'actionUrl':'http://p/a3','compensateUrl':'http://p/c3','after':[0]},"                        \
             "{'actionUrl':'http://p/a4','compensateUrl':'http://p/c4','after':[1,2]}]}"

static void orders_hold_in_both_directions(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT, DIAMOND);
    assert_string_equal(due(h), "01:action");
    report(h, "01", ACTION, SUCCESS);
    assert_string_equal(due(h), "02:action 03:action");
    report(h, "03", ACTION, SUCCESS);
    assert_string_equal(due(h), "02:action");
    report(h, "02", ACTION, SUCCESS);
    assert_string_equal(due(h), "04:action");
    sm_reincarnate(h);
    report(h, "04", ACTION, FAILURE);
    assert_string_equal(due(h), "04:compensate");
    report(h, "04", COMPENSATE, SUCCESS);
    assert_string_equal(due(h), "02:compensate 03:compensate");
    report(h, "02", COMPENSATE, SUCCESS);
    assert_string_equal(due(h), "03:compensate");
    report(h, "03", COMPENSATE, SUCCESS);
    report(h, "01", COMPENSATE, SUCCESS);
    assert_string_equal(status(h), "ROLLED_BACK");
}

static void a_step_that_could_not_start_is_left_alone(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT, DIAMOND);
    report(h, "01", ACTION, SUCCESS);
    report(h, "02", ACTION, FAILURE);
    assert_string_equal(due(h), "02:compensate 03:compensate");
    report(h, "02", COMPENSATE, SUCCESS);
    report(h, "03", COMPENSATE, SUCCESS);
    report(h, "01", COMPENSATE, SUCCESS);
    assert_string_equal(status(h), "ROLLED_BACK");
    assert_string_equal(positions(h), "SSSFSPPP");
}

static void a_submission_may_be_repeated(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT, DIAMOND);
    report(h, "01", ACTION, SUCCESS);
    ok(h, COMMAND_SAGA_SUBMIT, DIAMOND);
    assert_string_equal(sm_text(h, "status"), "RUNNING");
    assert_string_equal(due(h), "02:action 03:action"); /* nothing runs again */
    static const char *const others[] = {
        "{'xid':'t'}",
        "{'xid':'t','steps':[" STEP("1") "," STEP("2") "," STEP("3") "," STEP("4") "]}",
        "{'xid':'t','concurrent':true,'steps':[" STEP("1") "," STEP("2") "," STEP("3") "," STEP("4") "]}",
    };
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_int_equal(sm_run(h, COMMAND_SAGA_SUBMIT, others[i]), ASSENT_EXISTS);
    assert_int_equal(sm_run(h, COMMAND_TXN_BEGIN, "{'xid':'t'}"), ASSENT_EXISTS);
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'tcc'}");
    assert_int_equal(sm_run(h, COMMAND_SAGA_SUBMIT, "{'xid':'tcc'}"), ASSENT_EXISTS);
}

static void a_bad_submission_changes_nothing(void **state)
{
    static const char *const bad[] = {
        "{'xid':'t','mode':'TCC'}",
        "{'xid':'t','onFailure':'never'}",
        "{'xid':'t','order':'reverse'}",
        "{'xid':'t','onFailure':'retry','retryLimit':1}",
        "{'xid':'t','onFailure':'retry','timeoutMs':1}",
        "{'xid':'t','steps':[{'actionUrl':'ftp://p/a'}]}",
        "{'xid':'t','steps':[{'branch':'02'},{}]}",
        "{'xid':'t','steps':[{'headers':{'Assent-Xid':'1'}}]}",
        "{'xid':'t','steps':[{'after':[0]}]}",
        "{'xid':'t','steps':[{'after':[1]},{}]}",
        "{'xid':'t','steps':[{},{'after':[2]}]}",
        "{'xid':'t','steps':[{},{'after':['a']}]}",
        "{'xid':'t','concurrent':true,'steps':[{'after':[0]}]}",
        "{'xid':'t','concurrent':true,'steps':[{'after':[2]},{'after':[0]},{'after':[1]},{}]}",
    };
    struct sm_harness *h = *state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(sm_run(h, COMMAND_SAGA_SUBMIT, bad[i]), ASSENT_INVALID);
        assert_int_equal(sm_ask(h, QUERY_TXN, "{'xid':'t'}"), ASSENT_TXN_NOT_FOUND);
    }
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'t','steps':[{},{'after':[0]}]}");
}

static void other_commands_leave_a_saga_alone(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'t','steps':[" STEP("1") "]}");
    assert_int_equal(sm_run(h, COMMAND_TXN_COMMIT, "{'xid':'t'}"), ASSENT_INVALID);
    assert_int_equal(sm_run(h, COMMAND_TXN_BRANCH,
                            "{'xid':'t','branch':'b','confirmUrl':'http://p/c','cancelUrl':'http://p/x'}"),
                     ASSENT_TXN_DECIDED);
    assert_int_equal(report_attempt(h, "01", SM_OP_CONFIRM, 0, SM_OUTCOME_SUCCESS), ASSENT_INVALID);
    assert_int_equal(report_attempt(h, "01", SM_OP_COMPENSATE, 0, SM_OUTCOME_SUCCESS), ASSENT_REPORT_STALE);
    assert_int_equal(report_attempt(h, "01", SM_OP_ACTION, 1, SM_OUTCOME_SUCCESS), ASSENT_REPORT_STALE);
    report(h, "01", ACTION, SUCCESS);
    assert_int_equal(report_attempt(h, "01", SM_OP_ACTION, 0, SM_OUTCOME_SUCCESS), ASSENT_REPORT_STALE);
    assert_int_equal(sm_run(h, COMMAND_TXN_ROLLBACK, "{'xid':'t'}"), ASSENT_TXN_DECIDED);
}

static void a_finished_saga_goes_after_retention(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT, DIAMOND);
    ok(h, COMMAND_TXN_ROLLBACK, "{'xid':'t'}");
    report(h, "01", COMPENSATE, SUCCESS);
    sm_advance(h, 8ll * 24 * 3600 * 1000);
    ok(h, COMMAND_TICK, "{}");
    assert_string_equal(status(h), "");
    ok(h, COMMAND_SAGA_SUBMIT, DIAMOND);
    assert_string_equal(due(h), "01:action");
}

static void a_running_saga_may_freeze_what_it_works_on(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'t','steps':[" STEP("1") "]}");
    ok(h, COMMAND_FREEZE, "{'xid':'t','resource':'account:7'}");
    report(h, "01", ACTION, FAILURE);
    assert_int_equal(sm_run(h, COMMAND_FREEZE, "{'xid':'t','resource':'account:8'}"), ASSENT_TXN_DECIDED);
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'u'}");
    assert_true(sm_run(h, COMMAND_FREEZE, "{'xid':'u','resource':'account:7'}") != ASSENT_OK);
    report(h, "01", COMPENSATE, SUCCESS); /* the end lets go */
    ok(h, COMMAND_FREEZE, "{'xid':'u','resource':'account:7'}");
}

#define RESUME(move) "{'xid':'t','by':'ann','reason':'restocked','move':" move "}"

static void suspend(struct sm_harness *h)
{
    ok(h, COMMAND_SAGA_SUBMIT,
       "{'xid':'t','onFailure':'suspend','timeoutMs':500,'steps':[" STEP("1") "," STEP("2") "," STEP(
           "3") "]}");
    report(h, "01", ACTION, SUCCESS);
    report(h, "02", ACTION, FAILURE);
    assert_string_equal(status(h), "SUSPENDED");
    assert_string_equal(sm_text(h, "reason"), "step 02: no stock");
    assert_string_equal(due(h), "");
    sm_advance(h, 600);
    ok(h, COMMAND_TICK, "{}"); /* an operator has all the time */
    assert_string_equal(status(h), "SUSPENDED");
}

static void an_operator_retries_a_suspended_saga(void **state)
{
    struct sm_harness *h = *state;
    suspend(h);
    ok(h, COMMAND_TXN_RESUME, RESUME("'retry'"));
    assert_string_equal(sm_text(h, "status"), "RUNNING");
    assert_string_equal(sm_text(h, "reason"), "retry by ann: restocked");
    assert_string_equal(due(h), "02:action"); /* only what has not succeeded */
    sm_reincarnate(h);
    assert_int_equal(report_attempt(h, "02", SM_OP_ACTION, 0, SM_OUTCOME_SUCCESS), ASSENT_REPORT_STALE);
    assert_int_equal(report_attempt(h, "02", SM_OP_ACTION, 1, SM_OUTCOME_SUCCESS), ASSENT_OK);
    report(h, "03", ACTION, SUCCESS);
    assert_string_equal(status(h), "COMMITTED");
}

static void an_operator_skips_a_step(void **state)
{
    struct sm_harness *h = *state;
    suspend(h);
    ok(h, COMMAND_TXN_RESUME, RESUME("'skip','branch':'02'"));
    assert_string_equal(due(h), "03:action");
    report(h, "03", ACTION, SUCCESS);
    assert_string_equal(status(h), "COMMITTED");
}

static void an_operator_turns_a_suspended_saga_back(void **state)
{
    struct sm_harness *h = *state;
    suspend(h);
    ok(h, COMMAND_TXN_RESUME, RESUME("'back'"));
    assert_string_equal(due(h), "02:compensate");
    report(h, "02", COMPENSATE, SUCCESS);
    report(h, "01", COMPENSATE, SUCCESS);
    assert_string_equal(status(h), "ROLLED_BACK");
    assert_string_equal(sm_text(h, "reason"), "back by ann: restocked");
}

static void a_concurrent_saga_suspends_all_its_steps(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT,
       "{'xid':'t','concurrent':true,'onFailure':'suspend','steps':[" STEP("1") "," STEP("2") "," STEP(
           "3") "]}");
    report(h, "01", ACTION, SUCCESS);
    report(h, "02", ACTION, FAILURE);
    assert_string_equal(due(h), "");
    assert_int_equal(report_attempt(h, "03", SM_OP_ACTION, 0, SM_OUTCOME_SUCCESS), ASSENT_REPORT_STALE);
    ok(h, COMMAND_TXN_RESUME, RESUME("'skip','branch':'02'"));
    assert_string_equal(due(h), "03:action");
    report(h, "03", ACTION, SUCCESS);
    assert_string_equal(status(h), "COMMITTED");
}

static void a_bad_resume_changes_nothing(void **state)
{
    struct sm_harness *h = *state;
    suspend(h);
    assert_int_equal(sm_run(h, COMMAND_TXN_RESUME, RESUME("'on'")), ASSENT_INVALID);
    assert_int_equal(sm_run(h, COMMAND_TXN_RESUME, RESUME("'skip'")), ASSENT_INVALID);
    assert_int_equal(sm_run(h, COMMAND_TXN_RESUME, RESUME("'retry','branch':'02'")), ASSENT_INVALID);
    assert_int_equal(sm_run(h, COMMAND_TXN_RESUME, RESUME("'skip','branch':'01'")), ASSENT_INVALID);
    assert_int_equal(sm_run(h, COMMAND_TXN_RESUME, RESUME("'skip','branch':'no'")), ASSENT_BRANCH_NOT_FOUND);
    assert_int_equal(sm_run(h, COMMAND_TXN_RESUME, "{'xid':'t','by':'ann','reason':'','move':'retry'}"),
                     ASSENT_INVALID);
    assert_string_equal(status(h), "SUSPENDED");
    ok(h, COMMAND_TXN_ROLLBACK, "{'xid':'t'}");
    assert_string_equal(sm_text(h, "status"), "ROLLING_BACK");
    assert_int_equal(sm_run(h, COMMAND_TXN_RESUME, RESUME("'retry'")), ASSENT_TXN_DECIDED);
}

/* ---- prepared first, and DTM's way of waiting */

#define HELD ",'hold':true"

static void a_held_saga_is_a_plan_until_it_is_submitted(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'t'" HELD ",'steps':[" STEP("1") "," STEP("2") "]}");
    assert_string_equal(sm_text(h, "status"), "ACTIVE");
    assert_string_equal(due(h), "");
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'t'" HELD ",'steps':[" STEP("1") "," STEP("2") "]}");
    assert_string_equal(sm_text(h, "status"), "ACTIVE");
    assert_int_equal(sm_run(h, COMMAND_SAGA_SUBMIT, "{'xid':'t'" HELD ",'steps':[" STEP("9") "]}"),
                     ASSENT_EXISTS);
    assert_int_equal(sm_run(h, COMMAND_TXN_COMMIT, "{'xid':'t'}"), ASSENT_INVALID);
    sm_reincarnate(h);
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'t'}"); /* the stored plan counts */
    assert_string_equal(sm_text(h, "status"), "RUNNING");
    assert_false(sm_bool(h, "created"));
    assert_string_equal(due(h), "01:action");
    report(h, "01", ACTION, SUCCESS);
    report(h, "02", ACTION, SUCCESS);
    assert_string_equal(status(h), "COMMITTED");
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'t','keep':true}"); /* whatever comes along */
    assert_string_equal(sm_text(h, "status"), "COMMITTED");
    assert_int_equal(sm_run(h, COMMAND_SAGA_SUBMIT, "{'xid':'t'}"), ASSENT_EXISTS);
}

static void a_held_saga_keeps_its_order(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT,
       "{'xid':'t'" HELD
       ",'concurrent':true,'steps':[" STEP("1") ",{'actionUrl':'http://p/a','after':[0]}]}");
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'t'}");
    assert_string_equal(due(h), "01:action");
    report(h, "01", ACTION, SUCCESS);
    assert_string_equal(due(h), "02:action");
}

static void a_held_saga_rolls_back_at_once(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'t'" HELD ",'steps':[" STEP("1") "]}");
    ok(h, COMMAND_TXN_ROLLBACK, "{'xid':'t'}");
    assert_string_equal(sm_text(h, "status"), "ROLLED_BACK");
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'t','keep':true}");
    assert_string_equal(sm_text(h, "status"), "ROLLED_BACK");
    assert_string_equal(due(h), "");
}

static void a_held_saga_ends_with_its_time(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT,
       "{'xid':'t'" HELD ",'timeoutMs':500,'concurrent':true,'steps':[" STEP("1") "]}");
    sm_advance(h, 600);
    ok(h, COMMAND_TICK, "{}");
    assert_string_equal(status(h), "ROLLED_BACK");
    assert_string_equal(sm_text(h, "reason"), "timeout");
}

static void a_step_may_have_waits_of_its_own(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT,
       "{'xid':'t','retryBaseMs':100,'steps':[{'actionUrl':'http://p/a','retryBaseMs':10,'retryFactor':300,"
       "'retryCapMs':50}]}");
    static const int64_t waits_us[] = {10000, 30000, 50000, 50000};
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(report_attempt(h, "01", SM_OP_ACTION, i, SM_OUTCOME_ERROR), ASSENT_OK);
        assert_true(sm_next_work_us(h->sm) == sm_time_us(h->sm) + waits_us[i]);
    }
}

static void jitter_shortens_a_wait_by_its_share_at_most(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT,
       "{'xid':'t','retryBaseMs':1000,'retryFactor':100,'retryJitter':50,'steps':[" STEP("1") "]}");
    int64_t least = INT64_MAX, most = 0;
    for (uint32_t i = 0; i < 64; i++) {
        assert_int_equal(report_attempt(h, "01", SM_OP_ACTION, i, SM_OUTCOME_ERROR), ASSENT_OK);
        int64_t wait_us = sm_next_work_us(h->sm) - sm_time_us(h->sm);
        assert_true(wait_us > 500000 && wait_us <= 1000000);
        least = wait_us < least ? wait_us : least;
        most = wait_us > most ? wait_us : most;
    }
    assert_true(most - least > 300000); /* it spreads */
}

/* dtm-protocol.md 8: the interval is doubled before the first repetition. */
static void dtm_waits_longer_before_the_first_repetition(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT,
       "{'xid':'t','style':1,'retryBaseMs':4000,'retryCapMs':100000,'steps':[" STEP("1") "]}");
    static const struct {
        enum sm_outcome outcome;
        int64_t wait_us;
    } rows[] = {{SM_OUTCOME_ONGOING, 4000000},
                {SM_OUTCOME_ERROR, 8000000},
                {SM_OUTCOME_ERROR, 16000000},
                {SM_OUTCOME_ONGOING, 16000000}};
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(report_attempt(h, "01", SM_OP_ACTION, i, rows[i].outcome), ASSENT_OK);
        assert_true(sm_next_work_us(h->sm) == sm_time_us(h->sm) + rows[i].wait_us);
    }
}

/* dtm-protocol.md 7.1, 5: repeated at once, and the reason its tests compare. */
static void dtm_counts_retries_without_waiting(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'t','style':1,'retryLimit':2,'steps':[" STEP("1") "]}");
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(
            report_attempt(h, "01", SM_OP_ACTION, i, i > 0 ? SM_OUTCOME_ONGOING : SM_OUTCOME_ERROR),
            ASSENT_OK);
        assert_true(sm_next_work_us(h->sm) == sm_time_us(h->sm));
    }
    assert_int_equal(report_attempt(h, "01", SM_OP_ACTION, 2, SM_OUTCOME_ERROR), ASSENT_OK);
    assert_string_equal(status(h), "ROLLING_BACK");
    assert_string_equal(sm_text(h, "reason"), "RetryCount is greater than RetryLimit, RetryLimit: 2");
}

static void dtm_reads_what_the_branch_said(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'t','style':1,'timeoutMs':3000,'steps':[" STEP("1") "]}");
    report(h, "01", ACTION, FAILURE);
    status(h);
    assert_string_equal(sm_text(h, "reason"), "url:http://p/a1 return failed: no stock FAILURE");
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'u','style':1,'timeoutMs':3000,'steps':[" STEP("1") "]}");
    sm_advance(h, 3000);
    ok(h, COMMAND_TICK, "{}");
    assert_int_equal(sm_ask(h, QUERY_TXN_STATUS, "{'xid':'u'}"), ASSENT_OK);
    assert_string_equal(sm_text(h, "reason"), "Timeout after 3 seconds");
}

static void ten_thousand_steps_in_a_row(void **state)
{
    struct sm_harness *h = *state;
    size_t n = 0, size = 10001 * 24;
    char *args = malloc(size);
    assert_non_null(args);
    n += (size_t)snprintf(args, size, "{'xid':'t','concurrent':true,'steps':[{}");
    for (int i = 1; i < 10000; i++)
        n += (size_t)snprintf(args + n, size - n, ",{'after':[%d]}", i - 1);
    snprintf(args + n, size - n, "]}");
    ok(h, COMMAND_SAGA_SUBMIT, args);
    assert_string_equal(status(h), "COMMITTED");
    free(args);
}

/* ---- a random walk against what must hold of every saga */

#define STEPS 6

struct model {
    bool concurrent;
    bool after[STEPS][STEPS]; /* after[i][k]: i comes after k */
    bool acted[STEPS], failed[STEPS], back[STEPS];
};

static size_t random_saga(struct model *m, unsigned *seed, char *args, size_t size)
{
    *m = (struct model){.concurrent = rand_r(seed) % 2};
    size_t n = (size_t)snprintf(args, size, "{'xid':'t','concurrent':%s,'steps':[",
                                m->concurrent ? "true" : "false");
    for (int i = 0; i < STEPS; i++) {
        n += (size_t)snprintf(args + n, size - n, "%s{'actionUrl':'http://p/a','compensateUrl':'http://p/c'",
                              i > 0 ? "," : "");
        if (m->concurrent) {
            const char *separator = ",'after':[";
            for (int k = 0; k < i; k++)
                if ((m->after[i][k] = rand_r(seed) % 3 == 0)) {
                    n += (size_t)snprintf(args + n, size - n, "%s%d", separator, k);
                    separator = ",";
                }
            n += (size_t)snprintf(args + n, size - n, "%s", separator[1] == 0 ? "]" : "");
        } else if (i > 0) {
            m->after[i][i - 1] = true;
        }
        n += (size_t)snprintf(args + n, size - n, "}");
    }
    return n + (size_t)snprintf(args + n, size - n, "]}");
}

static void model_step(struct model *m, int i, enum sm_op op, enum sm_outcome outcome)
{
    for (int k = 0; k < STEPS; k++) {
        if (op == SM_OP_ACTION && m->after[i][k])
            assert_true(m->acted[k]); /* what it comes after is done */
        if (op == SM_OP_COMPENSATE && m->after[k][i] && (m->acted[k] || m->failed[k]))
            assert_true(m->back[k]); /* what came after it is taken back */
    }
    if (op == SM_OP_ACTION && outcome == SM_OUTCOME_SUCCESS)
        m->acted[i] = true;
    if (op == SM_OP_ACTION && outcome == SM_OUTCOME_FAILURE)
        m->failed[i] = true;
    if (op == SM_OP_COMPENSATE && outcome == SM_OUTCOME_SUCCESS)
        m->back[i] = true;
}

static void walk(struct sm_harness *h, unsigned seed)
{
    char args[2048], branch[8];
    struct model m;
    struct sm_work w;
    random_saga(&m, &seed, args, sizeof(args));
    ok(h, COMMAND_SAGA_SUBMIT, args);
    for (int guard = 0; pick(h, 0, &w); guard++) {
        assert_true(guard < 10000);
        unsigned nth = (unsigned)rand_r(&seed) % STEPS;
        while (!pick(h, nth, &w))
            nth--;
        snprintf(branch, sizeof(branch), "%.*s", (int)w.branch.size, (const char *)w.branch.base);
        int dice = rand_r(&seed) % 12;
        enum sm_outcome outcome = dice < 7    ? SM_OUTCOME_SUCCESS
                                  : dice < 9  ? SM_OUTCOME_ERROR
                                  : dice < 11 ? SM_OUTCOME_ONGOING
                                              : SM_OUTCOME_FAILURE;
        model_step(&m, atoi(branch) - 1, w.op, outcome);
        assert_int_equal(report_attempt(h, branch, w.op, w.attempt, outcome), ASSENT_OK);
        if (rand_r(&seed) % 16 == 0)
            sm_reincarnate(h);
    }
    bool forward = strcmp(status(h), "COMMITTED") == 0;
    assert_true(forward || strcmp(status(h), "ROLLED_BACK") == 0);
    for (int i = 0; i < STEPS; i++) /* all actions, or every one that may have happened taken back */
        assert_true(forward ? m.acted[i] && !m.back[i] : m.back[i] || (!m.acted[i] && !m.failed[i]));
}

static void random_sagas_end_all_done_or_all_undone(void **state)
{
    (void)state;
    walk_seeds(walk, 60);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, sm_harness_setup, sm_harness_teardown)
    static const struct CMUnitTest tests[] = {
        T(an_empty_saga_ends_in_its_submission),
        T(steps_go_one_after_the_other),
        T(a_failed_step_is_compensated_first),
        T(a_compensation_is_called_until_it_succeeds),
        T(a_passed_deadline_turns_back),
        T(a_finished_saga_has_no_deadline),
        T(the_retry_limit_turns_back),
        T(forward_recovery_never_turns_back_by_itself),
        T(waits_grow_after_errors_and_not_while_ongoing),
        T(concurrent_steps_start_together_and_go_back_together),
        T(orders_hold_in_both_directions),
        T(a_step_that_could_not_start_is_left_alone),
        T(a_submission_may_be_repeated),
        T(a_bad_submission_changes_nothing),
        T(other_commands_leave_a_saga_alone),
        T(a_finished_saga_goes_after_retention),
        T(a_running_saga_may_freeze_what_it_works_on),
        T(an_operator_retries_a_suspended_saga),
        T(an_operator_skips_a_step),
        T(an_operator_turns_a_suspended_saga_back),
        T(a_concurrent_saga_suspends_all_its_steps),
        T(a_bad_resume_changes_nothing),
        T(a_held_saga_is_a_plan_until_it_is_submitted),
        T(a_held_saga_keeps_its_order),
        T(a_held_saga_rolls_back_at_once),
        T(a_held_saga_ends_with_its_time),
        T(a_step_may_have_waits_of_its_own),
        T(jitter_shortens_a_wait_by_its_share_at_most),
        T(dtm_waits_longer_before_the_first_repetition),
        T(dtm_counts_retries_without_waiting),
        T(dtm_reads_what_the_branch_said),
        T(ten_thousand_steps_in_a_row),
        cmocka_unit_test(random_sagas_end_all_done_or_all_undone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
