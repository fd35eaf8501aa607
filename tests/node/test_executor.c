/* The executor against participants that answer, fail, hang, flood and talk nonsense. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "executor_world.h"

static void a_decided_branch_is_called_with_all_it_needs(void **state)
{
    struct world *w = *state;
    char token[64];
    world_executor(w, (struct executor_config){0});
    world_commit(w, "t", w->p.port, "/ok", ",'payload':{'amount':5},'headers':{'X-Shop':'7','X-Empty':''}");
    snprintf(token, sizeof(token), "\r\nAssent-Token: %llu\r\n",
             (unsigned long long)assent_position(w->h.index, 0));
    until(w, world_stands(w, "t", "COMMITTED"));
    static const char *const parts[] = {
        "POST /ok HTTP/1.1\r\n",      "\r\nAssent-Xid: t\r\n",     "\r\nAssent-Branch: b\r\n",
        "\r\nAssent-Op: confirm\r\n", "\r\nAssent-Attempt: 0\r\n", "\r\ntraceparent: 00-aa-bb-01\r\n",
        "\r\nX-Shop: 7\r\n",          "\r\nX-Empty:\r\n",          "\r\nContent-Type: application/json\r\n",
        "\r\n\r\n{\"amount\":5}",
    };
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        if (strstr(w->p.last, parts[i]) == NULL)
            fail_msg("'%s' is missing in '%s'", parts[i], w->p.last);
    assert_non_null(strstr(w->p.last, token));
    assert_int_equal(w->p.requests, 1);
    world_assert_idle(w);
}

static void a_rollback_calls_cancel(void **state)
{
    struct world *w = *state;
    char args[300];
    world_executor(w, (struct executor_config){0});
    snprintf(args, sizeof(args),
             "{'xid':'t','branches':[{'branch':'b','confirmUrl':'','cancelUrl':'http://127.0.0.1:%u/ok'}]}",
             w->p.port);
    assert_int_equal(sm_run(&w->h, COMMAND_TXN_BEGIN, args), ASSENT_OK);
    assert_int_equal(sm_run(&w->h, COMMAND_TXN_ROLLBACK, "{'xid':'t'}"), ASSENT_OK);
    executor_kick(w->ex);
    until(w, w->proposed == 1 && w->first == NULL);
    assert_non_null(strstr(w->p.last, "\r\nAssent-Op: cancel\r\n"));
    assert_non_null(strstr(w->p.last, "\r\nContent-Length: 0\r\n"));
    assert_int_equal(sm_ask(&w->h, QUERY_TXN_STATUS, "{'xid':'t'}"), ASSENT_OK);
    assert_string_equal(sm_text(&w->h, "status"), "ROLLED_BACK");
}

static void a_content_type_of_the_branch_wins(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){0});
    world_commit(w, "t", w->p.port, "/ok", ",'headers':{'content-type':'text/plain'}");
    until(w, world_stands(w, "t", "COMMITTED"));
    assert_non_null(strstr(w->p.last, "content-type: text/plain"));
    assert_null(strstr(w->p.last, "application/json"));
}

static void a_failed_call_is_made_again_when_it_is_due(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){0});
    world_commit(w, "t", w->p.port, "/once", "");
    until(w, w->proposed == 1 && w->first == NULL);
    executor_kick(w->ex);
    world_turns(w, 20);
    assert_int_equal(w->p.requests, 1); /* not due yet */
    assert_string_equal(w->error, "HTTP 500: no stock");
    assert_int_equal(sm_ask(&w->h, QUERY_TXN, "{'xid':'t'}"), ASSENT_OK);
    assert_string_equal(sm_text(&w->h, "branches.0.lastError"), "HTTP 500: no stock");
    sm_advance(&w->h, 100);
    executor_kick(w->ex);
    until(w, world_stands(w, "t", "COMMITTED"));
    assert_non_null(strstr(w->p.last, "\r\nAssent-Attempt: 1\r\n"));
    assert_int_equal(world_metrics(w).failures, 1);
    assert_int_equal(world_metrics(w).calls, 2);
    world_assert_idle(w);
}

/* Nobody kicks: the executor's own timer wakes it. */
static void a_back_off_ends_by_itself(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){0});
    world_commit(w, "t", w->p.port, "/once", "");
    until(w, w->proposed == 1 && w->first == NULL);
    world_turns(w, 5);
    sm_advance(&w->h, 100);
    until(w, world_stands(w, "t", "COMMITTED"));
}

/* As test builds want it: no call because of the time, until somebody asks for one or switches it on. */
static void nothing_is_called_again_while_polling_is_off(void **state)
{
    struct world *w = *state;
    world_run(w, COMMAND_TEST_POLLING, "{}");
    world_executor(w, (struct executor_config){0});
    world_commit(w, "t", w->p.port, "/once", "");
    world_commit(w, "u", w->q.port, "/once", "");
    until(w, w->failures == 2 && w->first == NULL);
    sm_advance(&w->h, 60000);
    executor_kick(w->ex);
    world_turns(w, 20);
    executor_stop(w->ex);
    executor_start(w->ex); /* another leader sees it the same way */
    world_turns(w, 20);
    assert_int_equal(w->p.requests + w->q.requests, 2);
    world_run(w, COMMAND_TXN_ACT, "{'xid':'t','act':'retry','by':'test','reason':'poll'}");
    executor_kick(w->ex);
    until(w, world_stands(w, "t", "COMMITTED"));
    assert_int_equal(w->q.requests, 1);
    world_run(w, COMMAND_TEST_POLLING, "{'on':true}");
    executor_kick(w->ex);
    until(w, world_stands(w, "u", "COMMITTED"));
    world_assert_idle(w);
}

static void a_wipe_under_a_call_is_survived(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){.in_flight_max = 1});
    world_commit(w, "t", w->p.port, "/hold", "");
    world_commit(w, "u", w->p.port, "/ok", ""); /* queued behind it */
    until(w, world_metrics(w).in_flight == 1 && world_metrics(w).queued == 1);
    world_run(w, COMMAND_TEST_WIPE, "{}");
    participant_release(&w->p);
    until(w, w->proposed == 1 && w->first == NULL && world_metrics(w).queued == 0);
    world_turns(w, 20);
    assert_int_equal(w->p.requests, 1);
    world_assert_idle(w);
}

static void everything_but_2xx_is_a_failure(void **state)
{
    static const struct {
        const char *path, *error;
    } rows[] = {
        {"/fail", "HTTP 500: no stock"},
        {"/redirect", "HTTP 302"},
        {"/garbage", ""},
        {"/close", ""},
    };
    struct world *w = *state;
    world_executor(w, (struct executor_config){0});
    for (uint32_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        world_commit(w, rows[i].path + 1, w->p.port, rows[i].path, "");
        until(w, w->failures == i + 1);
        assert_true(w->error[0] != 0);
        if (rows[i].error[0] != 0)
            assert_string_equal(w->error, rows[i].error);
    }
}

static void a_call_ends_at_its_time_limit(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){0});
    world_commit(w, "t", w->p.port, "/hold", ",'timeoutMs':50");
    until(w, w->failures == 1);
    until(w, w->p.broken == 1);
}

static void unreachable_hosts_fail(void **state)
{
    struct world *w = *state;
    char args[300];
    world_executor(w, (struct executor_config){0});
    world_commit(w, "refused", 1, "/ok", ",'timeoutMs':2000");
    until(w, w->failures == 1);
    snprintf(
        args, sizeof(args),
        "{'xid':'t','branches':[{'branch':'b','confirmUrl':'http://no-such-host.invalid/','cancelUrl':'',"
        "'timeoutMs':500},{'branch':'c','confirmUrl':'http://127.0.0.1:99999/','cancelUrl':''},"
        "{'branch':'d','confirmUrl':'http://[::/','cancelUrl':''}]}");
    assert_int_equal(sm_run(&w->h, COMMAND_TXN_BEGIN, args), ASSENT_OK);
    assert_int_equal(sm_run(&w->h, COMMAND_TXN_COMMIT, "{'xid':'t'}"), ASSENT_OK);
    executor_kick(w->ex);
    until(w, w->failures == 4);
}

static void a_flood_of_an_answer_is_cut_off(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){0});
    world_commit(w, "t", w->p.port, "/flood", "");
    until(w, world_stands(w, "t", "COMMITTED")); /* the status had come */
}

static void calls_in_flight_are_bounded_per_host(void **state)
{
    struct world *w = *state;
    char xid[16];
    world_executor(w, (struct executor_config){.in_flight_max = 0, .per_host_max = 3});
    for (int i = 0; i < 10; i++) {
        snprintf(xid, sizeof(xid), "p%d", i);
        world_commit(w, xid, w->p.port, "/hold", "");
    }
    until(w, w->p.held == 3 && world_metrics(w).queued == 7);
    world_commit(w, "q", w->q.port, "/ok", ""); /* another host is not held up */
    until(w, world_stands(w, "q", "COMMITTED"));
    participant_release(&w->p);
    until(w, world_metrics(w).calls == 11 && w->first == NULL);
    assert_int_equal(w->p.held_max, 3);
    assert_int_equal(w->p.requests, 10);
    until(w, world_metrics(w).reporting == 0);
    world_assert_idle(w);
}

static void calls_in_flight_are_bounded_in_all(void **state)
{
    struct world *w = *state;
    char xid[16];
    world_executor(w, (struct executor_config){.in_flight_max = 4, .per_host_max = 3});
    for (int i = 0; i < 12; i++) {
        snprintf(xid, sizeof(xid), "t%d", i);
        world_commit(w, xid, i % 2 ? w->p.port : w->q.port, "/hold", "");
    }
    until(w, w->p.held + w->q.held == 4 && world_metrics(w).queued == 8);
    assert_true(w->p.held >= 1 && w->q.held >= 1); /* hosts take turns */
    participant_release(&w->p);
    participant_release(&w->q);
    until(w, world_metrics(w).calls == 12 && world_metrics(w).reporting == 0);
    world_assert_idle(w);
}

static void a_call_under_way_is_not_made_twice(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){0});
    world_commit(w, "t", w->p.port, "/hold", "");
    until(w, w->p.held == 1);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(sm_run(&w->h, COMMAND_TICK, "{}"), ASSENT_OK);
        executor_kick(w->ex);
        world_turns(w, 2);
    }
    assert_int_equal(w->p.requests, 1);
    w->log_stopped = true; /* answered, but its report does not come through: still not made again */
    participant_release(&w->p);
    until(w, w->proposed == 1);
    executor_kick(w->ex);
    world_turns(w, 20);
    assert_int_equal(w->p.requests, 1);
    world_log_start(w);
    until(w, world_stands(w, "t", "COMMITTED"));
}

static void a_deposed_leader_cuts_its_calls_off(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){.in_flight_max = 0, .per_host_max = 1});
    world_commit(w, "t1", w->p.port, "/hold", "");
    world_commit(w, "t2", w->p.port, "/hold", "");
    until(w, w->p.held == 1 && world_metrics(w).queued == 1);
    executor_stop(w->ex);
    world_assert_idle(w);
    until(w, w->p.broken == 1);
    executor_kick(w->ex);
    world_turns(w, 20);
    assert_int_equal(w->proposed, 0);
    assert_int_equal(w->p.requests, 1);
    participant_release(&w->p);
    executor_start(w->ex); /* leading again: the same work is found and done */
    until(w, world_stands(w, "t1", "COMMITTED") && world_stands(w, "t2", "COMMITTED"));
}

static void a_refused_proposal_is_made_again(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){0});
    w->refuse = 3;
    world_commit(w, "t", w->p.port, "/ok", "");
    until(w, world_stands(w, "t", "COMMITTED"));
    assert_int_equal(w->p.requests, 1); /* the call is not */
    assert_int_equal(world_metrics(w).reports_retried, 3);
    world_assert_idle(w);
}

static void a_report_of_unknown_outcome_is_made_again(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){0});
    w->forget = 1;
    world_commit(w, "t", w->p.port, "/ok", "");
    until(w, w->proposed == 2 && w->first == NULL);
    assert_true(world_stands(w, "t", "COMMITTED"));
    assert_int_equal(w->p.requests, 1);
    world_assert_idle(w);
}

static void closing_waits_for_outcomes(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){0});
    w->log_stopped = true;
    world_commit(w, "t", w->p.port, "/ok", "");
    until(w, w->proposed == 1);
    executor_close(w->ex, world_closed, w);
    world_turns(w, 20);
    assert_false(w->closed);
    world_log_start(w);
    until(w, w->closed);
}

static void connections_are_kept_alive(void **state)
{
    struct world *w = *state;
    char xid[16];
    world_executor(w, (struct executor_config){0});
    for (int i = 0; i < 20; i++) {
        snprintf(xid, sizeof(xid), "t%d", i);
        world_commit(w, xid, w->p.port, "/ok", "");
        until(w, world_stands(w, xid, "COMMITTED"));
    }
    assert_int_equal(w->p.connections, 1);
}

static void a_backlog_is_worked_off_in_order_of_time(void **state)
{
    struct world *w = *state;
    char xid[16];
    world_executor(w, (struct executor_config){.in_flight_max = 8, .per_host_max = 8});
    executor_stop(w->ex);
    for (int i = 0; i < 1500; i++) { /* more than one pass walks in a turn */
        snprintf(xid, sizeof(xid), "t%d", i);
        world_commit(w, xid, i % 2 ? w->p.port : w->q.port, "/ok", "");
    }
    executor_start(w->ex);
    until(w, world_metrics(w).calls == 1500 && world_metrics(w).reporting == 0);
    assert_int_equal(w->p.requests + w->q.requests, 1500);
    world_assert_idle(w);
    assert_true(sm_next_work_us(w->h.sm) == INT64_MAX);
}

static void a_saga_goes_step_by_step(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){0});
    world_saga(w, "/ok", "/ok");
    until(w, world_stands(w, "t", "COMMITTED"));
    assert_int_equal(w->p.requests, 2);
    assert_non_null(strstr(w->p.last, "\r\nAssent-Op: action\r\n"));
    assert_non_null(strstr(w->p.last, "\r\nAssent-Branch: 02\r\n"));
    world_assert_idle(w);
}

static void a_refused_step_takes_the_saga_back(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){0});
    world_saga(w, "/ok", "/refuse");
    until(w, world_stands(w, "t", "ROLLED_BACK"));
    assert_string_equal(sm_text(&w->h, "reason"), "step 02: HTTP 409: no stock");
    assert_int_equal(w->p.requests, 4);
    assert_non_null(strstr(w->p.last, "\r\nAssent-Op: compensate\r\n"));
    assert_non_null(strstr(w->p.last, "\r\nAssent-Branch: 01\r\n"));
    world_assert_idle(w);
}

static void an_unfinished_step_is_asked_again(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){0});
    world_saga(w, "/later", "/ok");
    until(w, w->proposed == 1 && w->first == NULL);
    assert_true(world_stands(w, "t", "RUNNING"));
    assert_string_equal(w->error, "HTTP 200: {\"dtm_result\":\"ONGOING\"}");
    w->h.now_us += 200000;
    executor_kick(w->ex);
    until(w, world_stands(w, "t", "COMMITTED"));
    assert_int_equal(w->p.requests, 3);
}

static void a_compensation_waits_for_the_call_of_its_action(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){0});
    world_saga(w, "/hold", "/ok");
    until(w, w->p.held == 1);
    assert_int_equal(sm_run(&w->h, COMMAND_TXN_ROLLBACK, "{'xid':'t'}"), ASSENT_OK);
    executor_kick(w->ex);
    world_turns(w, 50);
    assert_int_equal(w->p.requests, 1);
    assert_true(world_stands(w, "t", "ROLLING_BACK"));
    participant_release(&w->p);
    until(w, world_stands(w, "t", "ROLLED_BACK"));
    assert_int_equal(w->p.requests, 2);
    assert_non_null(strstr(w->p.last, "\r\nAssent-Op: compensate\r\n"));
    world_assert_idle(w);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
    static const struct CMUnitTest tests[] = {
        T(a_decided_branch_is_called_with_all_it_needs),
        T(a_rollback_calls_cancel),
        T(a_content_type_of_the_branch_wins),
        T(a_failed_call_is_made_again_when_it_is_due),
        T(a_back_off_ends_by_itself),
        T(nothing_is_called_again_while_polling_is_off),
        T(a_wipe_under_a_call_is_survived),
        T(everything_but_2xx_is_a_failure),
        T(a_call_ends_at_its_time_limit),
        T(unreachable_hosts_fail),
        T(a_flood_of_an_answer_is_cut_off),
        T(calls_in_flight_are_bounded_per_host),
        T(calls_in_flight_are_bounded_in_all),
        T(a_call_under_way_is_not_made_twice),
        T(a_deposed_leader_cuts_its_calls_off),
        T(a_refused_proposal_is_made_again),
        T(a_report_of_unknown_outcome_is_made_again),
        T(closing_waits_for_outcomes),
        T(connections_are_kept_alive),
        T(a_backlog_is_worked_off_in_order_of_time),
        T(a_saga_goes_step_by_step),
        T(a_refused_step_takes_the_saga_back),
        T(an_unfinished_step_is_asked_again),
        T(a_compensation_waits_for_the_call_of_its_action),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
