/* The second phase in order: strictly one branch after the other, in the order of registration or against it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "txn_case.h"

#define CONFIRM(n) "{'branch':'" n "','confirmUrl':'http://p/c','cancelUrl':''}"
#define BOTH(n)    "{'branch':'" n "','confirmUrl':'http://p/c','cancelUrl':'http://p/x'}"
#define NONE(n)    "{'branch':'" n "','confirmUrl':'','cancelUrl':''}"

static const char *show(struct sm_harness *h, const char *path)
{
    assert_int_equal(sm_ask(h, QUERY_TXN, "{'xid':'t'}"), ASSENT_OK);
    return sm_text(h, path);
}

static void forward_goes_in_the_order_of_registration(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'t','order':'forward','branches':[" BOTH("a") "," NONE("b") "]}");
    ok(h, COMMAND_TXN_BRANCH, "{'xid':'t','branch':'c','confirmUrl':'http://p/c','cancelUrl':'http://p/x'}");
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'t'}");
    assert_int_equal(sm_uint(h, "pendingCount"), 2);
    assert_string_equal(due(h), "a:confirm");
    assert_string_equal(show(h, "branches.0.status"), "CONFIRMING");
    assert_string_equal(show(h, "branches.1.status"), "CONFIRMED"); /* nothing to call */
    assert_string_equal(show(h, "branches.2.status"), "REGISTERED");
    assert_int_equal(report_attempt(h, "c", SM_OP_CONFIRM, 0, SM_OUTCOME_SUCCESS), ASSENT_REPORT_STALE);
    sm_reincarnate(h);
    report(h, "a", CONFIRM, SUCCESS);
    assert_string_equal(due(h), "c:confirm");
    assert_true(sm_next_work_us(h->sm) == sm_time_us(h->sm));
    assert_string_equal(show(h, "branches.0.status"), "CONFIRMED");
    assert_string_equal(show(h, "branches.2.status"), "CONFIRMING");
    report(h, "c", CONFIRM, SUCCESS);
    assert_string_equal(status(h), "COMMITTED");
    assert_string_equal(due(h), "");
}

static void reverse_goes_against_it_both_ways(void **state)
{
    (void)state;
    static const struct {
        uint32_t decide;
        enum sm_op op;
        const char *name, *end;
    } rows[] = {{COMMAND_TXN_COMMIT, SM_OP_CONFIRM, "confirm", "COMMITTED"},
                {COMMAND_TXN_ROLLBACK, SM_OP_CANCEL, "cancel", "ROLLED_BACK"}};
    for (size_t i = 0; i < 2; i++) {
        struct sm_harness h;
        char want[32];
        sm_harness_open(&h);
        ok(&h, COMMAND_TXN_BEGIN,
           "{'xid':'t','order':'reverse','branches':[" BOTH("a") "," BOTH("b") "," BOTH("c") "]}");
        ok(&h, rows[i].decide, "{'xid':'t'}");
        for (const char *b = "cba"; *b != 0; b++) {
            char branch[2] = {*b, 0};
            snprintf(want, sizeof want, "%s:%s", branch, rows[i].name);
            assert_string_equal(due(&h), want);
            assert_int_equal(report_attempt(&h, branch, rows[i].op, 0, SM_OUTCOME_SUCCESS), ASSENT_OK);
        }
        assert_string_equal(status(&h), rows[i].end);
        sm_harness_close(&h);
    }
}

static void what_has_nothing_to_call_is_passed_over_at_either_end(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN,
       "{'xid':'t','order':'forward','branches':[" NONE("a") "," CONFIRM("b") "," NONE("c") "]}");
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'t'}");
    assert_string_equal(due(h), "b:confirm");
    report(h, "b", CONFIRM, SUCCESS);
    assert_string_equal(status(h), "COMMITTED");
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'u','order':'reverse','branches':[" CONFIRM("a") "," NONE("b") "]}");
    ok(h, COMMAND_TXN_ROLLBACK, "{'xid':'u'}"); /* a has no cancel */
    assert_string_equal(sm_text(h, "status"), "ROLLED_BACK");
    assert_string_equal(due(h), "");
}

static void those_behind_wait_for_one_that_fails(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'t','order':'reverse','branches':[" BOTH("a") "," BOTH("b") "]}");
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'t'}");
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(report_attempt(h, "b", SM_OP_CONFIRM, i, SM_OUTCOME_FAILURE), ASSENT_OK);
        assert_string_equal(due(h), "b:confirm");
    }
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'t'}"); /* decides nothing again */
    assert_string_equal(due(h), "b:confirm");
    assert_int_equal(report_attempt(h, "b", SM_OP_CONFIRM, 5, SM_OUTCOME_SUCCESS), ASSENT_OK);
    assert_string_equal(due(h), "a:confirm");
    assert_int_equal(report_attempt(h, "b", SM_OP_CONFIRM, 5, SM_OUTCOME_SUCCESS), ASSENT_REPORT_STALE);
}

static void a_passed_deadline_cancels_in_order(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN,
       "{'xid':'t','mode':'XA','order':'forward','timeoutMs':500,'branches':[" BOTH("a") "," BOTH("b") "]}");
    sm_advance(h, 600);
    ok(h, COMMAND_TICK, "{}");
    assert_string_equal(status(h), "ROLLING_BACK");
    assert_string_equal(due(h), "a:cancel");
    report(h, "a", CANCEL, SUCCESS);
    assert_string_equal(due(h), "b:cancel");
}

static void an_operator_keeps_the_order(void **state)
{
    static const char *const pause = "{'xid':'t','by':'ann','reason':'r','act':'pause'}";
    static const char *const resume = "{'xid':'t','by':'ann','reason':'r','act':'resume'}";
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN,
       "{'xid':'t','order':'reverse','branches':[" BOTH("a") "," BOTH("b") "," BOTH("c") "]}");
    ok(h, COMMAND_TXN_ROLLBACK, "{'xid':'t'}");
    ok(h, COMMAND_TXN_ACT, pause);
    assert_string_equal(due(h), "");
    assert_string_equal(show(h, "branches.1.status"), "REGISTERED");
    ok(h, COMMAND_TXN_ACT, resume);
    assert_string_equal(due(h), "c:cancel"); /* it alone is under way */
    report(h, "c", CANCEL, ERROR);
    assert_true(sm_run(h, COMMAND_TXN_ACT, "{'xid':'t','by':'ann','reason':'r','act':'skip','branch':'a'}") !=
                ASSENT_OK);
    ok(h, COMMAND_TXN_ACT, "{'xid':'t','by':'ann','reason':'r','act':'skip','branch':'c'}");
    assert_string_equal(due(h), "b:cancel");
    ok(h, COMMAND_TXN_ACT, pause);
    sm_reincarnate(h);
    ok(h, COMMAND_TXN_ACT, resume);
    assert_string_equal(due(h), "b:cancel");
    report(h, "b", CANCEL, SUCCESS);
    report(h, "a", CANCEL, SUCCESS);
    assert_string_equal(status(h), "ROLLED_BACK");
}

static void one_given_up_holds_those_behind_it(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN,
       "{'xid':'t','order':'forward','branches':[{'branch':'a','confirmUrl':'http://p/c','cancelUrl':'',"
       "'retryLimit':1}," BOTH("b") "]}");
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'t'}");
    report(h, "a", CONFIRM, ERROR);
    assert_string_equal(status(h), "SUSPENDED");
    assert_string_equal(due(h), "");
    ok(h, COMMAND_TXN_RESUME, "{'xid':'t','by':'ann','reason':'r','move':'retry'}");
    assert_string_equal(due(h), "a:confirm");
    assert_int_equal(report_attempt(h, "a", SM_OP_CONFIRM, 1, SM_OUTCOME_SUCCESS), ASSENT_OK);
    assert_string_equal(due(h), "b:confirm");
}

static void an_ongoing_call_does_not_lengthen_the_wait(void **state)
{
    static const struct {
        enum sm_outcome outcome;
        int64_t wait_us;
    } rows[] = {
        {SM_OUTCOME_ONGOING, 100000}, {SM_OUTCOME_ERROR, 100000},   {SM_OUTCOME_ERROR, 200000},
        {SM_OUTCOME_ONGOING, 200000}, {SM_OUTCOME_FAILURE, 300000},
    };
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'t','retryBaseMs':100,'retryCapMs':300,'branches':[" BOTH("a") "]}");
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'t'}");
    for (uint32_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(report_attempt(h, "a", SM_OP_CONFIRM, i, rows[i].outcome), ASSENT_OK);
        assert_true(sm_next_work_us(h->sm) == sm_time_us(h->sm) + rows[i].wait_us);
    }
}

static void the_answer_says_whether_it_was_created(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'t','order':'forward'}");
    assert_true(sm_bool(h, "created"));
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'t','order':'forward'}");
    assert_false(sm_bool(h, "created"));
    assert_int_equal(sm_run(h, COMMAND_TXN_BEGIN, "{'xid':'t','order':'reverse'}"), ASSENT_EXISTS);
    ok(h, COMMAND_TXN_ROLLBACK, "{'xid':'t'}");
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'t','mode':'XA','order':'reverse','keep':true}"); /* whatever it says */
    assert_false(sm_bool(h, "created"));
    assert_string_equal(sm_text(h, "status"), "ROLLED_BACK");
    assert_string_equal(sm_text(h, "mode"), "TCC");
    assert_int_equal(sm_run(h, COMMAND_TXN_BEGIN, "{'xid':'u','order':'sideways'}"), ASSENT_INVALID);
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'s'}");
    assert_true(sm_bool(h, "created"));
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'s'}");
    assert_false(sm_bool(h, "created"));
}

/* ---- a random walk: never two due at a time, and successes come in order */

#define BRANCHES 7

static void walk(struct sm_harness *h, unsigned seed)
{
    bool forward = rand_r(&seed) % 2, commit = rand_r(&seed) % 2;
    char args[2048], branch[8];
    bool calls[BRANCHES];
    int n =
        snprintf(args, sizeof args, "{'xid':'t','order':'%s','branches':[", forward ? "forward" : "reverse");
    for (int i = 0; i < BRANCHES; i++) {
        calls[i] = rand_r(&seed) % 3 > 0;
        const char *url = calls[i] ? "http://p" : "";
        n += snprintf(args + n, sizeof args - (size_t)n,
                      "%s{'branch':'%d','confirmUrl':'%s','cancelUrl':'%s'}", i > 0 ? "," : "", i, url, url);
    }
    snprintf(args + n, sizeof args - (size_t)n, "]}");
    ok(h, COMMAND_TXN_BEGIN, args);
    ok(h, commit ? COMMAND_TXN_COMMIT : COMMAND_TXN_ROLLBACK, "{'xid':'t'}");
    for (int k = 0; k < BRANCHES; k++) {
        int i = forward ? k : BRANCHES - 1 - k;
        enum sm_outcome outcome = SM_OUTCOME_ERROR;
        struct sm_work w;
        while (calls[i] && outcome != SM_OUTCOME_SUCCESS) {
            assert_true(pick(h, 0, &w));
            snprintf(branch, sizeof branch, "%.*s", (int)w.branch.size, (const char *)w.branch.base);
            assert_int_equal(atoi(branch), i);
            assert_int_equal(w.op, commit ? SM_OP_CONFIRM : SM_OP_CANCEL);
            outcome = (enum sm_outcome)(1 + rand_r(&seed) % 4);
            assert_int_equal(report_attempt(h, branch, w.op, w.attempt, outcome), ASSENT_OK);
            assert_false(pick(h, 1, &w));
            if (rand_r(&seed) % 8 == 0)
                sm_reincarnate(h);
        }
    }
    assert_string_equal(status(h), commit ? "COMMITTED" : "ROLLED_BACK");
}

static void random_orders_never_call_two_at_a_time(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 40; seed++) {
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
        T(forward_goes_in_the_order_of_registration),
        cmocka_unit_test(reverse_goes_against_it_both_ways),
        T(what_has_nothing_to_call_is_passed_over_at_either_end),
        T(those_behind_wait_for_one_that_fails),
        T(a_passed_deadline_cancels_in_order),
        T(an_operator_keeps_the_order),
        T(one_given_up_holds_those_behind_it),
        T(an_ongoing_call_does_not_lengthen_the_wait),
        T(the_answer_says_whether_it_was_created),
        cmocka_unit_test(random_orders_never_call_two_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
