/* Asynchronous steps: what each acknowledgement means in each state, in time, late, repeated and racing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "txn_case.h"

#define SLOW(n)      "{'actionUrl':'http://p/a" n "','compensateUrl':'http://p/c" n "','acknowledgeMs':5000}"
#define STEP(n)      "{'actionUrl':'http://p/a" n "','compensateUrl':'http://p/c" n "'}"
#define RESUME(move) "{'xid':'t','by':'ann','reason':'asked the bank','move':" move "}"

static int acknowledge(struct sm_harness *h, const char *branch, const char *outcome)
{
    char args[160];
    snprintf(args, sizeof(args), "{'xid':'t','branch':'%s','outcome':'%s'}", branch, outcome);
    return sm_run(h, COMMAND_BRANCH_ACKNOWLEDGE, args);
}

static const char *branch_status(struct sm_harness *h, unsigned i)
{
    char path[40];
    assert_int_equal(sm_ask(h, QUERY_TXN, "{'xid':'t'}"), ASSENT_OK);
    snprintf(path, sizeof(path), "branches.%u.status", i);
    return sm_text(h, path);
}

static void submit(struct sm_harness *h, const char *options)
{
    char args[1024];
    snprintf(args, sizeof(args), "{'xid':'t'%s,'steps':[" SLOW("1") "," STEP("2") "]}", options);
    ok(h, COMMAND_SAGA_SUBMIT, args);
    report(h, "01", ACTION, ONGOING);
    assert_string_equal(branch_status(h, 0), "ACCEPTED");
    assert_string_equal(sm_text(h, "branches.0.lastError"), ""); /* and nothing has failed */
    assert_int_equal(sm_uint(h, "branches.0.attempts"), 1);
    assert_string_equal(due(h), ""); /* nobody is called while somebody works */
    sm_reincarnate(h);
}

static void wait_over(struct sm_harness *h)
{
    sm_advance(h, 5000);
    ok(h, COMMAND_TICK, "{}");
}

static void an_accepted_step_goes_on_when_it_is_acknowledged(void **state)
{
    struct sm_harness *h = *state;
    submit(h, "");
    assert_int_equal(acknowledge(h, "01", "success"), ASSENT_OK);
    assert_string_equal(sm_text(h, "status"), "RUNNING");
    assert_string_equal(sm_text(h, "branchStatus"), "EXECUTED");
    assert_string_equal(due(h), "02:action");
    wait_over(h); /* the time limit went with the wait */
    assert_string_equal(status(h), "RUNNING");
    report(h, "02", ACTION, SUCCESS);
    assert_string_equal(status(h), "COMMITTED");
}

static void the_last_acknowledgement_commits(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'t','steps':[" SLOW("1") "]}");
    report(h, "01", ACTION, ONGOING);
    assert_int_equal(acknowledge(h, "01", "success"), ASSENT_OK);
    assert_string_equal(sm_text(h, "status"), "COMMITTED");
    assert_int_equal(acknowledge(h, "01", "success"), ASSENT_OK); /* also afterwards */
    assert_int_equal(acknowledge(h, "01", "failure"), ASSENT_CONFLICT);
    assert_true(sm_next_due_us(h->sm) > sm_time_us(h->sm) + 5000000); /* nothing but the retention */
}

static void a_plain_answer_needs_no_acknowledgement(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'t','steps':[" SLOW("1") "," SLOW("2") "]}");
    report(h, "01", ACTION, SUCCESS);
    assert_string_equal(due(h), "02:action");
    report(h, "02", ACTION, ERROR);
    assert_string_equal(branch_status(h, 1), "EXECUTING"); /* as any step */
    assert_int_equal(report_attempt(h, "02", SM_OP_ACTION, 1, SM_OUTCOME_FAILURE), ASSENT_OK);
    assert_string_equal(status(h), "ROLLING_BACK"); /* said no: nobody needs to look */
}

static void an_acknowledgement_may_overtake_the_report(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'t','steps':[" SLOW("1") "," STEP("2") "]}");
    assert_int_equal(acknowledge(h, "02", "success"), ASSENT_INVALID); /* it is not asynchronous */
    assert_int_equal(acknowledge(h, "01", "success"), ASSENT_OK);
    assert_string_equal(due(h), "02:action");
    assert_int_equal(report_attempt(h, "01", SM_OP_ACTION, 0, SM_OUTCOME_ONGOING), ASSENT_REPORT_STALE);
    assert_string_equal(branch_status(h, 0), "EXECUTED");
}

static void a_failure_may_overtake_the_report(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'t','onFailure':'retry','steps':[" SLOW("1") "]}");
    assert_int_equal(acknowledge(h, "01", "failure"), ASSENT_OK);
    assert_int_equal(report_attempt(h, "01", SM_OP_ACTION, 0, SM_OUTCOME_ONGOING), ASSENT_REPORT_STALE);
    struct sm_work w;
    assert_true(pick(h, 0, &w));
    assert_int_equal(w.attempt, 1);
}

static void a_failed_step_waits_for_an_operator(void **state)
{
    struct sm_harness *h = *state;
    submit(h, "");
    ok(h, COMMAND_BRANCH_ACKNOWLEDGE, "{'xid':'t','branch':'01','outcome':'failure','error':'card expired'}");
    assert_string_equal(sm_text(h, "status"), "SUSPENDED");
    assert_string_equal(sm_text(h, "branchStatus"), "FAILED");
    status(h);
    assert_string_equal(sm_text(h, "reason"), "step 01: card expired");
    assert_string_equal(due(h), "");
    assert_int_equal(acknowledge(h, "01", "failure"), ASSENT_OK);
    assert_int_equal(acknowledge(h, "01", "success"), ASSENT_CONFLICT);
    ok(h, COMMAND_TXN_RESUME, RESUME("'retry'"));
    assert_string_equal(due(h), "01:action");
    assert_int_equal(report_attempt(h, "01", SM_OP_ACTION, 1, SM_OUTCOME_ONGOING), ASSENT_OK);
    assert_int_equal(acknowledge(h, "01", "success"), ASSENT_OK);
    assert_string_equal(due(h), "02:action");
}

static void no_word_in_time_waits_for_an_operator(void **state)
{
    struct sm_harness *h = *state;
    submit(h, "");
    wait_over(h);
    assert_string_equal(status(h), "SUSPENDED");
    assert_string_equal(sm_text(h, "reason"), "step 01: no acknowledgement within 5000 ms");
    ok(h, COMMAND_TXN_RESUME, RESUME("'back'"));
    assert_string_equal(due(h), "01:compensate"); /* nobody knows */
    report(h, "01", COMPENSATE, SUCCESS);
    assert_string_equal(status(h), "ROLLED_BACK");
}

static void a_late_word_counts_while_an_operator_thinks(void **state)
{
    struct sm_harness *h = *state;
    submit(h, "");
    wait_over(h);
    assert_int_equal(acknowledge(h, "01", "success"), ASSENT_OK);
    assert_string_equal(sm_text(h, "status"), "SUSPENDED");
    assert_string_equal(due(h), ""); /* the next step has its turn and waits with the saga */
    assert_string_equal(branch_status(h, 1), "EXECUTING");
    sm_reincarnate(h);
    ok(h, COMMAND_TXN_RESUME, RESUME("'retry'"));
    assert_string_equal(due(h), "02:action");
    report(h, "02", ACTION, SUCCESS);
    assert_string_equal(status(h), "COMMITTED");
}

static void a_late_word_about_the_last_step_commits_with_the_resumption(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'t','steps':[" SLOW("1") "]}");
    report(h, "01", ACTION, ONGOING);
    wait_over(h);
    assert_int_equal(acknowledge(h, "01", "success"), ASSENT_OK);
    assert_string_equal(sm_text(h, "status"), "SUSPENDED");
    ok(h, COMMAND_TXN_RESUME, RESUME("'retry'"));
    assert_string_equal(sm_text(h, "status"), "COMMITTED");
}

static void a_late_failure_is_kept_for_the_operator(void **state)
{
    struct sm_harness *h = *state;
    submit(h, "");
    wait_over(h);
    assert_int_equal(acknowledge(h, "01", "failure"), ASSENT_OK);
    assert_string_equal(branch_status(h, 0), "FAILED");
    assert_string_equal(status(h), "SUSPENDED");
    ok(h, COMMAND_TXN_RESUME, RESUME("'skip','branch':'01'"));
    assert_string_equal(due(h), "02:action");
}

static void the_failure_policy_of_the_saga_goes_first(void **state)
{
    static const struct {
        const char *on_failure, *acknowledged, *silent, *due;
    } rows[] = {
        {"'compensate'", "ROLLING_BACK", "ROLLING_BACK", "01:compensate"},
        {"'retry'", "RUNNING", "RUNNING", "01:action"},
        {"'suspend'", "SUSPENDED", "SUSPENDED", ""},
    };
    (void)state;
    for (size_t i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]); i++) {
        struct sm_harness h;
        char options[64];
        sm_harness_open(&h);
        snprintf(options, sizeof(options), ",'onFailure':%s", rows[i / 2].on_failure);
        submit(&h, options);
        if (i % 2 == 0)
            assert_int_equal(acknowledge(&h, "01", "failure"), ASSENT_OK);
        else
            wait_over(&h);
        assert_string_equal(status(&h), i % 2 == 0 ? rows[i / 2].acknowledged : rows[i / 2].silent);
        assert_string_equal(due(&h), rows[i / 2].due);
        sm_reincarnate(&h);
        sm_harness_close(&h);
    }
}

static void turning_back_compensates_what_is_accepted(void **state)
{
    struct sm_harness *h = *state;
    submit(h, "");
    ok(h, COMMAND_TXN_ROLLBACK, "{'xid':'t'}");
    assert_string_equal(due(h), "01:compensate");
    assert_int_equal(acknowledge(h, "01", "success"), ASSENT_TXN_DECIDED); /* too late, and told so */
    wait_over(h);
    assert_string_equal(status(h), "ROLLING_BACK");
    report(h, "01", COMPENSATE, SUCCESS);
    assert_string_equal(status(h), "ROLLED_BACK");
    assert_int_equal(acknowledge(h, "01", "failure"), ASSENT_TXN_DECIDED);
}

static void a_deadline_does_not_wait_for_acknowledgements(void **state)
{
    struct sm_harness *h = *state;
    submit(h, ",'timeoutMs':1000");
    sm_advance(h, 1000);
    ok(h, COMMAND_TICK, "{}");
    assert_string_equal(due(h), "01:compensate");
    wait_over(h);
}

static void what_is_accepted_stays_accepted_over_a_wait(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT,
       "{'xid':'t','concurrent':true,'steps':[" SLOW("1") "," SLOW("2") "," STEP("3") "]}");
    report(h, "01", ACTION, ONGOING);
    report(h, "02", ACTION, ONGOING);
    report(h, "03", ACTION, ERROR);
    assert_int_equal(acknowledge(h, "01", "failure"), ASSENT_OK);
    assert_string_equal(sm_text(h, "status"), "SUSPENDED");
    wait_over(h); /* the other one's time stands still */
    assert_string_equal(branch_status(h, 1), "ACCEPTED");
    ok(h, COMMAND_TXN_RESUME, RESUME("'skip','branch':'01'"));
    assert_string_equal(due(h), "03:action"); /* only what has not succeeded and is not under way */
    assert_int_equal(acknowledge(h, "02", "success"), ASSENT_OK);
    assert_int_equal(report_attempt(h, "03", SM_OP_ACTION, 1, SM_OUTCOME_SUCCESS), ASSENT_OK);
    assert_string_equal(status(h), "COMMITTED");
}

static void an_operator_may_skip_what_is_accepted(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'t','concurrent':true,'steps':[" SLOW("1") "," SLOW("2") "]}");
    report(h, "01", ACTION, ONGOING);
    report(h, "02", ACTION, ONGOING);
    assert_int_equal(acknowledge(h, "01", "failure"), ASSENT_OK);
    ok(h, COMMAND_TXN_RESUME, RESUME("'skip','branch':'02'"));
    assert_string_equal(due(h), "01:action");
    assert_int_equal(report_attempt(h, "01", SM_OP_ACTION, 1, SM_OUTCOME_SUCCESS), ASSENT_OK);
    assert_string_equal(status(h), "COMMITTED");
}

static void a_wrong_acknowledgement_changes_nothing(void **state)
{
    struct sm_harness *h = *state;
    assert_int_equal(acknowledge(h, "01", "success"), ASSENT_TXN_NOT_FOUND);
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'t','steps':[" STEP("1") "," SLOW("2") "]}");
    assert_int_equal(acknowledge(h, "02", "maybe"), ASSENT_INVALID);
    assert_int_equal(acknowledge(h, "09", "success"), ASSENT_BRANCH_NOT_FOUND);
    assert_int_equal(acknowledge(h, "01", "success"), ASSENT_INVALID);
    assert_int_equal(acknowledge(h, "02", "success"), ASSENT_CONFLICT); /* it was not called yet */
    assert_string_equal(branch_status(h, 1), "REGISTERED");
    assert_string_equal(due(h), "01:action");
}

/* ---- a random walk: pauses, late words, retries and skips, and what must hold of every saga all the same */

#define STEPS 5

struct model {
    bool concurrent, slow[STEPS];
    bool done[STEPS]; /* succeeded, or passed over by an operator */
    bool back[STEPS];
};

static void random_submit(struct sm_harness *h, struct model *m, unsigned *seed)
{
    static const char *const policies[] = {"", ",'onFailure':'compensate'", ",'onFailure':'suspend'",
                                           ",'onFailure':'retry'"};
    char args[2048];
    *m = (struct model){.concurrent = rand_r(seed) % 2};
    int n = snprintf(args, sizeof(args), "{'xid':'t','concurrent':%s%s,'steps':[",
                     m->concurrent ? "true" : "false", policies[rand_r(seed) % 4]);
    for (int i = 0; i < STEPS; i++) {
        m->slow[i] = rand_r(seed) % 2;
        n += snprintf(args + n, sizeof(args) - (size_t)n,
                      "%s{'actionUrl':'http://p/a','compensateUrl':'http://p/c'%s}", i > 0 ? "," : "",
                      m->slow[i] ? ",'acknowledgeMs':2000" : "");
    }
    snprintf(args + n, sizeof(args) - (size_t)n, "]}");
    ok(h, COMMAND_SAGA_SUBMIT, args);
}

/* One call that is due is answered somehow. */
static void random_report(struct sm_harness *h, struct model *m, unsigned *seed)
{
    struct sm_work w;
    char branch[8];
    unsigned nth = (unsigned)rand_r(seed) % STEPS;
    if (!pick(h, 0, &w))
        return;
    while (!pick(h, nth, &w))
        nth--;
    snprintf(branch, sizeof(branch), "%.*s", (int)w.branch.size, (const char *)w.branch.base);
    int i = atoi(branch) - 1, dice = rand_r(seed) % 10;
    enum sm_outcome outcome = dice < 4   ? SM_OUTCOME_SUCCESS
                              : dice < 7 ? SM_OUTCOME_ONGOING
                              : dice < 9 ? SM_OUTCOME_ERROR
                                         : SM_OUTCOME_FAILURE;
    for (int k = 0; k < STEPS && !m->concurrent; k++) {
        if (w.op == SM_OP_ACTION && k < i)
            assert_true(m->done[k]);
        if (w.op == SM_OP_COMPENSATE && k > i)
            assert_true(m->back[k] || !m->done[k]);
    }
    m->done[i] |= outcome == SM_OUTCOME_SUCCESS && w.op == SM_OP_ACTION;
    m->back[i] |= outcome == SM_OUTCOME_SUCCESS && w.op == SM_OP_COMPENSATE;
    assert_int_equal(report_attempt(h, branch, w.op, w.attempt, outcome), ASSENT_OK);
}

static void random_word(struct sm_harness *h, struct model *m, unsigned *seed)
{
    int i = (int)((unsigned)rand_r(seed) % STEPS);
    bool success = rand_r(seed) % 4 != 0;
    char branch[8], before[24];
    snprintf(branch, sizeof(branch), "%02u", (unsigned)(i + 1) % 100);
    snprintf(before, sizeof(before), "%s", branch_status(h, (unsigned)i));
    bool under_way = strcmp(before, "EXECUTING") == 0 || strcmp(before, "ACCEPTED") == 0;
    int code = acknowledge(h, branch, success ? "success" : "failure");
    if (!m->slow[i])
        assert_int_equal(code, ASSENT_INVALID);
    else if (code == ASSENT_OK && success)
        m->done[i] = true;
    else if (under_way) /* refused when the saga has turned back, and then alone */
        assert_true(code == ASSENT_OK || code == ASSENT_TXN_DECIDED);
}

static void random_act(struct sm_harness *h, struct model *m, unsigned *seed)
{
    char args[128];
    bool suspended = strcmp(status(h), "SUSPENDED") == 0;
    int dice = rand_r(seed) % 8;
    unsigned i = (unsigned)rand_r(seed) % STEPS;
    if (dice == 0) {
        snprintf(args, sizeof(args), "{'xid':'t','act':'skip','branch':'%02u','by':'ann','reason':'r'}",
                 i + 1);
        bool forward = strcmp(sm_text(h, "stands"), "RUNNING") == 0;
        if (sm_run(h, COMMAND_TXN_ACT, args) == ASSENT_OK) {
            m->done[i] |= forward;
            m->back[i] |= !forward;
        }
        return;
    }
    snprintf(args, sizeof(args), "{'xid':'t','act':'%s','by':'ann','reason':'r'}",
             dice == 1   ? "back"
             : suspended ? "resume"
                         : "pause");
    sm_run(h, COMMAND_TXN_ACT, args);
}

static void walk(struct sm_harness *h, unsigned seed)
{
    struct model m;
    random_submit(h, &m, &seed);
    for (int guard = 0; strcmp(status(h), "COMMITTED") != 0 && strcmp(status(h), "ROLLED_BACK") != 0;
         guard++) {
        assert_true(guard < 5000);
        int dice = rand_r(&seed) % 16;
        if (dice < 8)
            random_report(h, &m, &seed);
        else if (dice < 12)
            random_word(h, &m, &seed);
        else if (dice < 14)
            random_act(h, &m, &seed);
        else if (dice < 15)
            wait_over(h);
        else
            sm_reincarnate(h);
        if (strcmp(status(h), "SUSPENDED") == 0)
            assert_string_equal(due(h), "");
    }
    bool forward = strcmp(status(h), "COMMITTED") == 0;
    for (int i = 0; i < STEPS; i++)
        assert_true(forward ? m.done[i] && !m.back[i] : m.back[i] || !m.done[i]);
    assert_string_equal(due(h), "");
    assert_true(sm_next_due_us(h->sm) > sm_time_us(h->sm) + 3600000000); /* no clock of a step runs on */
}

static void random_sagas_end_all_done_or_all_undone(void **state)
{
    (void)state;
    walk_seeds(walk, 100);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, sm_harness_setup, sm_harness_teardown)
    static const struct CMUnitTest tests[] = {
        T(an_accepted_step_goes_on_when_it_is_acknowledged),
        T(the_last_acknowledgement_commits),
        T(a_plain_answer_needs_no_acknowledgement),
        T(an_acknowledgement_may_overtake_the_report),
        T(a_failure_may_overtake_the_report),
        T(a_failed_step_waits_for_an_operator),
        T(no_word_in_time_waits_for_an_operator),
        T(a_late_word_counts_while_an_operator_thinks),
        T(a_late_word_about_the_last_step_commits_with_the_resumption),
        T(a_late_failure_is_kept_for_the_operator),
        cmocka_unit_test(the_failure_policy_of_the_saga_goes_first),
        T(turning_back_compensates_what_is_accepted),
        T(a_deadline_does_not_wait_for_acknowledgements),
        T(what_is_accepted_stays_accepted_over_a_wait),
        T(an_operator_may_skip_what_is_accepted),
        T(a_wrong_acknowledgement_changes_nothing),
        cmocka_unit_test(random_sagas_end_all_done_or_all_undone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
