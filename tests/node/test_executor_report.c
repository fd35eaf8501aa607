/* Reports on their way into the log: what they wait for, what they share, and what happens when they are
 * lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "executor_world.h"

#define FOREVER_MS 3600000u /* no report becomes due by time */

/* A call that does not end: while it is under way, reports wait for its company. */
static void keep_company(struct world *w)
{
    world_commit(w, "company", w->q.port, "/hold", "");
    until(w, w->q.held == 1);
}

/* So many calls have ended, and every proposal is applied. */
#define until_calls(w, n) until(w, world_metrics(w).calls == (n) && (w)->first == NULL)

static void a_report_nobody_waits_for_leaves_when_its_time_has_come(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){.report_lazy_ms = 300});
    keep_company(w);
    world_commit(w, "t1", w->p.port, "/ok", "");
    world_commit(w, "t2", w->p.port, "/ok", "");
    world_commit(w, "t3", w->q.port, "/fail", "");
    until_calls(w, 3);
    assert_int_equal(w->proposed, 0);
    assert_int_equal(world_metrics(w).reporting, 3);
    until(w, world_stands(w, "t1", "COMMITTED") && world_stands(w, "t2", "COMMITTED"));
    assert_int_equal(w->proposed, 1);
    assert_int_equal(world_metrics(w).report_commands, 1);
    assert_int_equal(sm_ask(&w->h, QUERY_TXN, "{'xid':'t3'}"), ASSENT_OK);
    assert_string_equal(sm_text(&w->h, "branches.0.lastError"), "HTTP 500: no stock");
    assert_int_equal(world_metrics(w).reporting, 0);
}

static void a_report_without_company_leaves_at_once(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){.report_lazy_ms = FOREVER_MS});
    world_commit(w, "t", w->p.port, "/ok", "");
    until(w, world_stands(w, "t", "COMMITTED"));
    world_assert_idle(w);
    keep_company(w);
    world_commit(w, "u", w->p.port, "/ok", "");
    until_calls(w, 2);
    world_turns(w, 20);
    assert_int_equal(w->proposed, 1);
    participant_release(&w->q);
    until(w, world_stands(w, "u", "COMMITTED") && world_stands(w, "company", "COMMITTED"));
    assert_int_equal(w->proposed, 2);
    until(w, world_metrics(w).reporting == 0);
    world_assert_idle(w);
}

static void reports_of_one_turn_share_a_command(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){0}); /* no report waits */
    for (int i = 0; i < 8; i++) {
        char xid[16];
        snprintf(xid, sizeof(xid), "t%d", i);
        world_commit(w, xid, w->p.port, "/hold", "");
    }
    until(w, w->p.held == 8);
    participant_release(&w->p); /* the answers are there when the loop looks */
    until(w, world_metrics(w).calls == 8 && world_metrics(w).reporting == 0);
    assert_int_equal(w->proposed, 1);
}

/* The next step waits for the first one's report; the last step's report may wait again. */
static void an_urgent_report_takes_the_others_along(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){.report_lazy_ms = FOREVER_MS});
    keep_company(w);
    world_commit(w, "lazy", w->p.port, "/ok", "");
    until_calls(w, 1);
    world_turns(w, 20);
    assert_int_equal(w->proposed, 0);
    world_saga(w, "/ok", "/ok");
    until_calls(w, 3);
    world_turns(w, 20);
    assert_true(world_stands(w, "lazy", "COMMITTED"));
    assert_true(world_stands(w, "t", "RUNNING"));
    assert_int_equal(w->proposed, 1);
    assert_int_equal(world_metrics(w).reporting, 1);
}

static void a_command_is_full_at_its_number_of_reports(void **state)
{
    struct world *w = *state;
    char xid[16];
    world_executor(w, (struct executor_config){.report_lazy_ms = FOREVER_MS});
    keep_company(w);
    for (int i = 0; i < BRANCH_REPORTS_MAX + 5; i++) {
        snprintf(xid, sizeof(xid), "t%d", i);
        world_commit(w, xid, w->p.port, "/ok", "");
    }
    until_calls(w, BRANCH_REPORTS_MAX + 5);
    assert_int_equal(w->proposed, 1);
    assert_int_equal(world_metrics(w).reporting, 5);
}

static void a_command_is_full_at_its_number_of_bytes(void **state)
{
    struct world *w = *state;
    size_t size = 256 * 400, n;
    char *args = malloc(size);
    assert_non_null(args);
    world_executor(w, (struct executor_config){.report_lazy_ms = FOREVER_MS});
    keep_company(w);
    n = (size_t)snprintf(args, size, "{'xid':'%0120d','branches':[", 7);
    for (int i = 0; i < BRANCH_REPORTS_MAX; i++)
        n += (size_t)snprintf(args + n, size - n,
                              "%s{'branch':'%0120d','confirmUrl':'http://127.0.0.1:%u/ok','cancelUrl':''}",
                              i > 0 ? "," : "", i, w->p.port);
    snprintf(args + n, size - n, "]}");
    assert_int_equal(sm_run(&w->h, COMMAND_TXN_BEGIN, args), ASSENT_OK);
    snprintf(args, size, "{'xid':'%0120d'}", 7);
    assert_int_equal(sm_run(&w->h, COMMAND_TXN_COMMIT, args), ASSENT_OK);
    executor_kick(w->ex);
    until_calls(w, BRANCH_REPORTS_MAX);
    assert_int_equal(w->proposed, 1);
    assert_in_range(world_metrics(w).reporting, 10, 100);
    assert_int_equal(sm_ask(&w->h, QUERY_TXN_STATUS, args), ASSENT_OK);
    assert_string_equal(sm_text(&w->h, "status"), "COMMITTING");
    free(args);
}

static void a_command_is_of_one_namespace(void **state)
{
    struct world *w = *state;
    static const char *const spaces[] = {"", "shop", "bank"};
    world_executor(w, (struct executor_config){.report_lazy_ms = FOREVER_MS});
    keep_company(w);
    for (int i = 0; i < 6; i++) { /* alternating: they are sorted all the same */
        char xid[16];
        const char *ns = spaces[i % 3];
        w->h.session.ns = (struct assent_bytes){(const uint8_t *)ns, strlen(ns)};
        snprintf(xid, sizeof(xid), "t%d", i / 3);
        world_commit(w, xid, w->p.port, "/ok", "");
    }
    w->h.session.ns = (struct assent_bytes){NULL, 0};
    until_calls(w, 6);
    assert_int_equal(w->proposed, 0);
    world_saga(w, "/ok", "/hold"); /* its xid is "t"; the first step's report is urgent */
    until(w, w->p.held == 1 && w->first == NULL);
    assert_int_equal(w->proposed, 3);
    for (int i = 0; i < 3; i++) {
        w->h.session.ns = (struct assent_bytes){(const uint8_t *)spaces[i], strlen(spaces[i])};
        assert_true(world_stands(w, "t0", "COMMITTED") && world_stands(w, "t1", "COMMITTED"));
    }
    w->h.session.ns = (struct assent_bytes){NULL, 0};
}

/* Its successor makes the call again, byte for byte the same one: that is what the guard recognises. */
static void a_leader_lost_with_reports_it_gathered_loses_no_call(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){.report_lazy_ms = FOREVER_MS});
    keep_company(w);
    world_commit(w, "t", w->p.port, "/ok", "");
    until_calls(w, 1);
    assert_int_equal(w->p.requests, 1);
    char *first = strdup(w->p.last);
    assert_non_null(first);
    executor_stop(w->ex);
    world_assert_idle(w);
    world_turns(w, 20);
    assert_int_equal(w->proposed, 0);
    executor_start(w->ex);
    until_calls(w, 2);
    assert_int_equal(w->p.requests, 2);
    assert_string_equal(w->p.last, first);
    free(first);
    executor_close(w->ex, world_closed, w);
    until(w, w->closed);
    assert_true(world_stands(w, "t", "COMMITTED"));
}

static void an_orderly_end_reports_what_was_gathered(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){.report_lazy_ms = FOREVER_MS});
    keep_company(w);
    world_commit(w, "t", w->p.port, "/ok", "");
    until_calls(w, 1);
    executor_close(w->ex, world_closed, w);
    until(w, w->closed);
    assert_true(world_stands(w, "t", "COMMITTED"));
    assert_int_equal(w->proposed, 1);
}

/* One report of two is past; its transaction is due in another form, which is found. */
static void a_stale_report_is_passed_over(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){.report_lazy_ms = 50});
    world_commit(w, "t1", w->p.port, "/hold", "");
    world_commit(w, "t2", w->p.port, "/hold", "");
    until(w, w->p.held == 2);
    assert_int_equal(
        sm_run(&w->h, COMMAND_BRANCH_REPORT,
               "{'xid':'t1','branch':'b','op':1,'attempt':0,'success':false,'error':'by another leader'}"),
        ASSENT_OK);
    sm_advance(&w->h, 1000); /* the next attempt is due, while the first one is under way here */
    executor_kick(w->ex);
    world_turns(w, 20);
    assert_int_equal(w->p.requests, 2);
    participant_release(&w->p);
    until(w, world_stands(w, "t1", "COMMITTED") && world_stands(w, "t2", "COMMITTED"));
    assert_int_equal(w->p.requests, 3);
    assert_non_null(strstr(w->p.last, "\r\nAssent-Attempt: 1\r\n"));
    until(w, world_metrics(w).reporting == 0);
    world_assert_idle(w);
}

static void a_command_that_was_not_taken_is_proposed_again(void **state)
{
    struct world *w = *state;
    w->refuse = 1;
    world_executor(w, (struct executor_config){.report_lazy_ms = 50});
    world_commit(w, "t1", w->p.port, "/hold", "");
    world_commit(w, "t2", w->p.port, "/hold", "");
    until(w, w->p.held == 2);
    participant_release(&w->p);
    until(w, world_stands(w, "t1", "COMMITTED") && world_stands(w, "t2", "COMMITTED"));
    assert_int_equal(w->p.requests, 2);
    until(w, world_metrics(w).reporting == 0);
    assert_in_range(world_metrics(w).reports_retried, 1, 2);
    world_assert_idle(w);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
    static const struct CMUnitTest tests[] = {
        T(a_report_nobody_waits_for_leaves_when_its_time_has_come),
        T(a_report_without_company_leaves_at_once),
        T(reports_of_one_turn_share_a_command),
        T(an_urgent_report_takes_the_others_along),
        T(a_command_is_full_at_its_number_of_reports),
        T(a_command_is_full_at_its_number_of_bytes),
        T(a_command_is_of_one_namespace),
        T(a_leader_lost_with_reports_it_gathered_loses_no_call),
        T(an_orderly_end_reports_what_was_gathered),
        T(a_stale_report_is_passed_over),
        T(a_command_that_was_not_taken_is_proposed_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
