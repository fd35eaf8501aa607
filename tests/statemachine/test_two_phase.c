/* Tries the coordinator calls: every move of the transaction and of a branch, in parallel and in order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "txn_case.h"

#define BRANCH(n)                                                                                            \
    "{'branch':'" n "','tryUrl':'http://p/t','confirmUrl':'http://p/c','cancelUrl':'http://p/x'}"
#define THREE        "'branches':[" BRANCH("a") "," BRANCH("b") "," BRANCH("c") "]"
#define RESUME(move) "{'xid':'t','by':'ann','reason':'repaired','move':" move "}"

static const char *show(struct sm_harness *h, const char *path)
{
    assert_int_equal(sm_ask(h, QUERY_TXN, "{'xid':'t'}"), ASSENT_OK);
    return sm_text(h, path);
}

static void all_tries_succeed_and_all_are_confirmed(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'t','execute':true," THREE "}");
    assert_string_equal(sm_text(h, "status"), "RUNNING");
    assert_string_equal(due(h), "a:try b:try c:try");
    assert_string_equal(show(h, "branches.1.status"), "TRYING");
    report(h, "b", TRY, SUCCESS);
    assert_string_equal(show(h, "branches.1.status"), "TRIED");
    report(h, "a", TRY, SUCCESS);
    sm_reincarnate(h);
    assert_string_equal(status(h), "RUNNING");
    report(h, "c", TRY, SUCCESS);
    assert_string_equal(status(h), "COMMITTING");
    assert_string_equal(due(h), "a:confirm b:confirm c:confirm");
    assert_int_equal(report_attempt(h, "c", SM_OP_TRY, 0, SM_OUTCOME_SUCCESS), ASSENT_REPORT_STALE);
    report(h, "a", CONFIRM, SUCCESS);
    report(h, "c", CONFIRM, SUCCESS);
    report(h, "b", CONFIRM, SUCCESS);
    assert_string_equal(status(h), "COMMITTED");
    sm_advance(h, 100000);
    ok(h, COMMAND_TICK, "{}"); /* the deadline went with the decision */
}

static void a_refused_try_cancels_every_branch(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'t','execute':true," THREE "}");
    report(h, "a", TRY, SUCCESS);
    report(h, "b", TRY, FAILURE);
    assert_string_equal(status(h), "ROLLING_BACK");
    assert_string_equal(sm_text(h, "reason"), "try b: no stock");
    assert_string_equal(due(h), "a:cancel b:cancel c:cancel"); /* also the one still under way */
    assert_int_equal(report_attempt(h, "c", SM_OP_TRY, 0, SM_OUTCOME_SUCCESS), ASSENT_REPORT_STALE);
    report(h, "c", CANCEL, SUCCESS);
    report(h, "a", CANCEL, SUCCESS);
    sm_reincarnate(h);
    report(h, "b", CANCEL, SUCCESS);
    assert_string_equal(status(h), "ROLLED_BACK");
}

static void tries_in_order_leave_the_rest_alone(void **state)
{
    static const char *const orders[] = {"forward", "reverse"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct sm_harness h;
        char args[1024];
        sm_harness_open(&h);
        snprintf(args, sizeof(args), "{'xid':'t','execute':true,'order':'%s'," THREE "}", orders[i]);
        ok(&h, COMMAND_TXN_BEGIN, args);
        assert_string_equal(due(&h), "a:try");
        report(&h, "a", TRY, SUCCESS);
        assert_string_equal(due(&h), "b:try");
        assert_string_equal(show(&h, "branches.2.status"), "REGISTERED");
        report(&h, "b", TRY, FAILURE);
        assert_string_equal(due(&h), i == 0 ? "a:cancel" : "b:cancel");
        sm_reincarnate(&h);
        if (i == 0)
            report(&h, "a", CANCEL, SUCCESS);
        report(&h, "b", CANCEL, SUCCESS);
        if (i == 1)
            report(&h, "a", CANCEL, SUCCESS);
        assert_string_equal(status(&h), "ROLLED_BACK");
        assert_string_equal(show(&h, "branches.0.status"), "CANCELLED");
        assert_string_equal(show(&h, "branches.2.status"), "REGISTERED");
        sm_harness_close(&h);
    }
}

static void tries_in_order_are_confirmed_in_order(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'t','execute':true,'order':'reverse'," THREE "}");
    report(h, "a", TRY, SUCCESS);
    report(h, "b", TRY, SUCCESS);
    report(h, "c", TRY, SUCCESS);
    assert_string_equal(due(h), "c:confirm");
    report(h, "c", CONFIRM, SUCCESS);
    report(h, "b", CONFIRM, SUCCESS);
    report(h, "a", CONFIRM, SUCCESS);
    assert_string_equal(status(h), "COMMITTED");
}

static void a_failing_try_is_repeated_until_the_time_is_over(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'t','execute':true,'timeoutMs':1000,'branches':[" BRANCH("a") "]}");
    static const int64_t waits_us[] = {100000, 100000, 200000};
    static const enum sm_outcome outcomes[] = {SM_OUTCOME_ONGOING, SM_OUTCOME_ERROR, SM_OUTCOME_ERROR};
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(report_attempt(h, "a", SM_OP_TRY, i, outcomes[i]), ASSENT_OK);
        assert_true(sm_next_work_us(h->sm) == sm_time_us(h->sm) + waits_us[i]);
    }
    sm_advance(h, 1000);
    ok(h, COMMAND_TICK, "{}");
    assert_string_equal(status(h), "ROLLING_BACK");
    assert_string_equal(sm_text(h, "reason"), "timeout");
    assert_string_equal(due(h), "a:cancel");
    report(h, "a", CANCEL, SUCCESS);
    assert_string_equal(status(h), "ROLLED_BACK");
}

static void a_try_that_is_given_up_has_failed(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN,
       "{'xid':'t','execute':true,'branches':[{'branch':'a','tryUrl':'http://p/t','confirmUrl':'http://p/c',"
       "'cancelUrl':'http://p/x','retryLimit':2}]}");
    report(h, "a", TRY, ERROR);
    assert_int_equal(report_attempt(h, "a", SM_OP_TRY, 1, SM_OUTCOME_ONGOING), ASSENT_OK);
    assert_int_equal(report_attempt(h, "a", SM_OP_TRY, 2, SM_OUTCOME_ERROR), ASSENT_OK);
    assert_string_equal(status(h), "ROLLING_BACK");
    report(h, "a", CANCEL, ERROR); /* counts afresh: a cancel must succeed */
    assert_string_equal(status(h), "ROLLING_BACK");
    assert_int_equal(report_attempt(h, "a", SM_OP_CANCEL, 1, SM_OUTCOME_ERROR), ASSENT_OK);
    assert_string_equal(status(h), "SUSPENDED");
    ok(h, COMMAND_TXN_RESUME, RESUME("'retry'"));
    assert_int_equal(report_attempt(h, "a", SM_OP_CANCEL, 2, SM_OUTCOME_SUCCESS), ASSENT_OK);
    assert_string_equal(status(h), "ROLLED_BACK");
}

static void branches_without_a_try_count_as_tried(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'e','execute':true}");
    assert_string_equal(sm_text(h, "status"), "COMMITTED");
    ok(h, COMMAND_TXN_BEGIN,
       "{'xid':'t','execute':true,'order':'forward','branches':["
       "{'branch':'a','confirmUrl':'http://p/c','cancelUrl':'http://p/x'}," BRANCH(
           "b") ","
                "{'branch':'c','confirmUrl':'http://p/c','cancelUrl':'http://p/x'}]}");
    assert_string_equal(due(h), "b:try");
    assert_string_equal(show(h, "branches.0.status"), "TRIED");
    assert_string_equal(show(h, "branches.2.status"), "REGISTERED");
    report(h, "b", TRY, FAILURE);
    assert_string_equal(due(h), "a:cancel"); /* in its turn it was tried; c was not reached */
    report(h, "a", CANCEL, SUCCESS);
    report(h, "b", CANCEL, SUCCESS);
    assert_string_equal(status(h), "ROLLED_BACK");
}

static void the_application_may_only_take_it_back(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'t','execute':true," THREE "}");
    assert_int_equal(sm_run(h, COMMAND_TXN_COMMIT, "{'xid':'t'}"), ASSENT_INVALID);
    assert_int_equal(sm_run(h, COMMAND_TXN_BRANCH, "{'xid':'t','branch':'d','confirmUrl':'','cancelUrl':''}"),
                     ASSENT_TXN_DECIDED);
    ok(h, COMMAND_TXN_ROLLBACK, "{'xid':'t','reason':'changed my mind'}");
    assert_string_equal(sm_text(h, "status"), "ROLLING_BACK");
    assert_string_equal(due(h), "a:cancel b:cancel c:cancel");
    ok(h, COMMAND_TXN_ROLLBACK, "{'xid':'t'}");
}

static void a_begin_may_be_repeated(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'t','execute':true," THREE "}");
    report(h, "a", TRY, SUCCESS);
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'t','execute':true," THREE "}");
    assert_string_equal(due(h), "b:try c:try");
    assert_int_equal(sm_run(h, COMMAND_TXN_BEGIN, "{'xid':'t'," THREE "}"), ASSENT_EXISTS);
}

static void tries_wait_for_an_operator_and_go_on(void **state)
{
    static const char *const orders[] = {"parallel", "forward"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct sm_harness h;
        char args[1024];
        sm_harness_open(&h);
        snprintf(args, sizeof(args), "{'xid':'t','execute':true,'order':'%s'," THREE "}", orders[i]);
        ok(&h, COMMAND_TXN_BEGIN, args);
        report(&h, "a", TRY, SUCCESS);
        ok(&h, COMMAND_TXN_ACT, "{'xid':'t','act':'pause','by':'ann','reason':'look'}");
        assert_string_equal(status(&h), "SUSPENDED");
        assert_string_equal(due(&h), "");
        sm_reincarnate(&h);
        ok(&h, COMMAND_TXN_RESUME, RESUME("'skip','branch':'b'"));
        assert_string_equal(due(&h), "c:try");
        ok(&h, COMMAND_TXN_ACT, "{'xid':'t','act':'pause','by':'ann','reason':'look'}");
        ok(&h, COMMAND_TXN_RESUME, RESUME("'retry'"));
        report(&h, "c", TRY, SUCCESS);
        assert_string_equal(status(&h), "COMMITTING");
        sm_harness_close(&h);
    }
}

static void a_paused_try_may_be_taken_back(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'t','execute':true," THREE "}");
    report(h, "a", TRY, SUCCESS);
    ok(h, COMMAND_TXN_ACT, "{'xid':'t','act':'pause','by':'ann','reason':'look'}");
    ok(h, COMMAND_TXN_RESUME, RESUME("'back'"));
    assert_string_equal(due(h), "a:cancel b:cancel c:cancel");
}

/* Whatever the answers: all confirmed, or every branch whose try was due is cancelled. */
static void walk(struct sm_harness *h, unsigned seed)
{
    static const char *const orders[] = {"parallel", "forward", "reverse"};
    char args[1024], branch[8];
    bool tried[3] = {false}, asked[3] = {false}, confirmed[3] = {false}, cancelled[3] = {false};
    struct sm_work w;
    snprintf(args, sizeof(args), "{'xid':'t','execute':true,'timeoutMs':0,'order':'%s'," THREE "}",
             orders[rand_r(&seed) % 3]);
    ok(h, COMMAND_TXN_BEGIN, args);
    for (int guard = 0; pick(h, 0, &w); guard++) {
        assert_true(guard < 2000);
        for (unsigned k = 0; pick(h, k, &w); k++)
            asked[w.branch.base[0] - 'a'] |= w.op == SM_OP_TRY;
        unsigned nth = (unsigned)rand_r(&seed) % 3;
        while (!pick(h, nth, &w))
            nth--;
        snprintf(branch, sizeof(branch), "%.*s", (int)w.branch.size, (const char *)w.branch.base);
        int dice = rand_r(&seed) % 10, i = branch[0] - 'a';
        enum sm_outcome outcome = dice < 6   ? SM_OUTCOME_SUCCESS
                                  : dice < 8 ? SM_OUTCOME_ERROR
                                  : dice < 9 ? SM_OUTCOME_ONGOING
                                             : SM_OUTCOME_FAILURE;
        bool success = outcome == SM_OUTCOME_SUCCESS;
        tried[i] |= success && w.op == SM_OP_TRY;
        confirmed[i] |= success && w.op == SM_OP_CONFIRM;
        cancelled[i] |= success && w.op == SM_OP_CANCEL;
        for (int k = 0; k < 3 && w.op == SM_OP_CONFIRM; k++)
            assert_true(tried[k]);
        assert_int_equal(report_attempt(h, branch, w.op, w.attempt, outcome), ASSENT_OK);
        if (rand_r(&seed) % 12 == 0)
            sm_reincarnate(h);
    }
    bool forward = strcmp(status(h), "COMMITTED") == 0;
    assert_true(forward || strcmp(status(h), "ROLLED_BACK") == 0);
    for (int i = 0; i < 3; i++) {
        assert_true(confirmed[i] == forward);
        assert_true(cancelled[i] == (!forward && asked[i]));
    }
}

static void random_tries_end_all_confirmed_or_all_cancelled(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 60; seed++) {
        struct sm_harness h;
        print_message("seed %u\n", seed);
        sm_harness_open(&h);
        walk(&h, seed);
        sm_harness_close(&h);
    }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, sm_harness_setup, sm_harness_teardown)
    static const struct CMUnitTest tests[] = {
        T(all_tries_succeed_and_all_are_confirmed),
        T(a_refused_try_cancels_every_branch),
        cmocka_unit_test(tries_in_order_leave_the_rest_alone),
        T(tries_in_order_are_confirmed_in_order),
        T(a_failing_try_is_repeated_until_the_time_is_over),
        T(a_try_that_is_given_up_has_failed),
        T(branches_without_a_try_count_as_tried),
        T(the_application_may_only_take_it_back),
        T(a_begin_may_be_repeated),
        cmocka_unit_test(tries_wait_for_an_operator_and_go_on),
        T(a_paused_try_may_be_taken_back),
        cmocka_unit_test(random_tries_end_all_confirmed_or_all_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
