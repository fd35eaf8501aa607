/* The executor against participants that answer, fail, hang, flood and talk nonsense; the state machine is
 * real, the log is a list that applies what was proposed on the next turn of the loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "executor.h"
#include "participant.h"
#include "sm_harness.h"

/* A proposal on its way. */
struct proposal {
    struct proposal *next;
    void *ticket;
    size_t size;
    uint8_t bytes[];
};

struct world {
    uv_loop_t loop;
    struct sm_harness h;
    struct executor *ex;
    struct participant p, q;
    uv_timer_t log, guard;
    struct proposal *first, **last;
    bool log_stopped; /* keep proposals waiting */
    int refuse;       /* so many proposals are refused with BUSY */
    int forget;       /* so many are applied, but answered with UNKNOWN_OUTCOME */
    uint32_t proposed, failures;
    bool closed, late;
    int guard_left;
    char error[300];
};

/* ---- the log of the test ---- */

static int apply_bytes(struct world *w, struct assent_bytes bytes)
{
    struct sm_command c = {.index = ++w->h.index, .time_us = w->h.now_us, .command = bytes, .awaited = true};
    struct codec_arena arena;
    struct result result;
    w->h.now_us += w->h.step_us;
    sm_apply(w->h.sm, &c, 1, c.index);
    codec_arena_init(&arena);
    assert_true(result_decode(&arena, c.result, &result));
    int code = result.code;
    codec_arena_close(&arena);
    return code;
}

static void on_log(uv_timer_t *timer)
{
    struct world *w = timer->data;
    while (w->first != NULL && !w->log_stopped) {
        struct proposal *p = w->first;
        w->first = p->next;
        if (w->first == NULL)
            w->last = &w->first;
        int code = apply_bytes(w, (struct assent_bytes){p->bytes, p->size});
        if (w->forget > 0) {
            w->forget--;
            code = ASSENT_UNKNOWN_OUTCOME;
        }
        executor_reported(w->ex, p->ticket, code);
        executor_kick(w->ex);
        free(p);
    }
}

static int propose(void *data, struct assent_bytes command, void *ticket)
{
    struct world *w = data;
    if (w->refuse > 0) {
        w->refuse--;
        return ASSENT_BUSY;
    }
    struct proposal *p = malloc(sizeof(*p) + command.size);
    assert_non_null(p);
    *p = (struct proposal){.ticket = ticket, .size = command.size};
    memcpy(p->bytes, command.base, command.size);
    *w->last = p;
    w->last = &p->next;
    w->proposed++;
    uv_timer_start(&w->log, on_log, 0, 0);
    return ASSENT_OK;
}

static void failed(void *data, const struct executor_failure *f)
{
    struct world *w = data;
    w->failures++;
    snprintf(w->error, sizeof(w->error), "%s", f->error);
}

static int64_t now_us(void *data)
{
    struct world *w = data;
    return w->h.now_us;
}

/* ---- the world ---- */

static void on_guard(uv_timer_t *timer)
{
    struct world *w = timer->data;
    w->late = --w->guard_left == 0;
}

static void open_executor(struct world *w, uint32_t in_flight_max, uint32_t per_host_max)
{
    struct executor_config config = {.loop = &w->loop,
                                     .sm = w->h.sm,
                                     .in_flight_max = in_flight_max,
                                     .per_host_max = per_host_max,
                                     .timeout_ms = 5000,
                                     .data = w,
                                     .propose = propose,
                                     .failed = failed,
                                     .now_us = now_us};
    assert_int_equal(executor_open(&w->ex, &config), ASSENT_OK);
    executor_start(w->ex);
}

static void on_executor_closed(void *data)
{
    ((struct world *)data)->closed = true;
}

/* Run the loop until `condition` holds; ten seconds are more than anything here takes. */
#define until(w, condition)                                                                                  \
    do {                                                                                                     \
        (w)->late = false;                                                                                   \
        (w)->guard_left = 2000; /* turns that wait end after 5 ms */                                         \
        uv_timer_start(&(w)->guard, on_guard, 5, 5);                                                         \
        while (!(condition) && !(w)->late)                                                                   \
            uv_run(&(w)->loop, UV_RUN_ONCE);                                                                 \
        uv_timer_stop(&(w)->guard);                                                                          \
        assert_true(condition);                                                                              \
    } while (0)

/* A few turns in which something unwanted could happen. */
static void turns(struct world *w, int n)
{
    while (n-- > 0)
        uv_run(&w->loop, UV_RUN_NOWAIT);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    assert_int_equal(uv_loop_init(&w->loop), 0);
    sm_harness_open(&w->h);
    participant_open(&w->p, &w->loop);
    participant_open(&w->q, &w->loop);
    uv_timer_init(&w->loop, &w->log);
    uv_timer_init(&w->loop, &w->guard);
    w->log.data = w->guard.data = w;
    w->last = &w->first;
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    w->log_stopped = false;
    if (!w->closed)
        executor_close(w->ex, on_executor_closed, w);
    until(w, w->closed);
    participant_close(&w->p);
    participant_close(&w->q);
    uv_close((uv_handle_t *)&w->log, NULL);
    uv_close((uv_handle_t *)&w->guard, NULL);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    sm_harness_close(&w->h);
    free(w);
    return 0;
}

/* A transaction with one branch, decided. `more`: further fields of the branch. */
static void commit(struct world *w, const char *xid, uint16_t port, const char *path, const char *more)
{
    char args[1024];
    snprintf(args, sizeof(args),
             "{'xid':'%s','retryBaseMs':100,'traceparent':'00-aa-bb-01','branches':[{'branch':'b',"
             "'confirmUrl':'http://127.0.0.1:%u%s','cancelUrl':'http://127.0.0.1:%u%s'%s}]}",
             xid, port, path, port, path, more);
    assert_int_equal(sm_run(&w->h, COMMAND_TXN_BEGIN, args), ASSENT_OK);
    snprintf(args, sizeof(args), "{'xid':'%s'}", xid);
    assert_int_equal(sm_run(&w->h, COMMAND_TXN_COMMIT, args), ASSENT_OK);
    executor_kick(w->ex);
}

static bool is_committed(struct world *w, const char *xid)
{
    char args[200];
    snprintf(args, sizeof(args), "{'xid':'%s'}", xid);
    assert_int_equal(sm_ask(&w->h, QUERY_TXN_STATUS, args), ASSENT_OK);
    return strcmp(sm_text(&w->h, "status"), "COMMITTED") == 0;
}

static struct executor_metrics metrics(struct world *w)
{
    struct executor_metrics m;
    executor_metrics(w->ex, &m);
    return m;
}

/* Everything there was to do is done and forgotten. */
static void assert_idle(struct world *w)
{
    struct executor_metrics m = metrics(w);
    assert_int_equal(m.in_flight + m.queued + m.reporting + m.hosts, 0);
}

/* ---- tests ---- */

static void a_decided_branch_is_called_with_all_it_needs(void **state)
{
    struct world *w = *state;
    char token[64];
    open_executor(w, 0, 0);
    commit(w, "t", w->p.port, "/ok", ",'payload':{'amount':5},'headers':{'X-Shop':'7','X-Empty':''}");
    snprintf(token, sizeof(token), "\r\nAssent-Token: %llu\r\n",
             (unsigned long long)assent_position(w->h.index, 0));
    until(w, is_committed(w, "t"));
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
    assert_idle(w);
}

static void a_rollback_calls_cancel(void **state)
{
    struct world *w = *state;
    char args[300];
    open_executor(w, 0, 0);
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
    open_executor(w, 0, 0);
    commit(w, "t", w->p.port, "/ok", ",'headers':{'content-type':'text/plain'}");
    until(w, is_committed(w, "t"));
    assert_non_null(strstr(w->p.last, "content-type: text/plain"));
    assert_null(strstr(w->p.last, "application/json"));
}

static void a_failed_call_is_made_again_when_it_is_due(void **state)
{
    struct world *w = *state;
    open_executor(w, 0, 0);
    commit(w, "t", w->p.port, "/once", "");
    until(w, w->proposed == 1 && w->first == NULL);
    executor_kick(w->ex);
    turns(w, 20);
    assert_int_equal(w->p.requests, 1); /* not due yet */
    assert_string_equal(w->error, "HTTP 500: no stock");
    assert_int_equal(sm_ask(&w->h, QUERY_TXN, "{'xid':'t'}"), ASSENT_OK);
    assert_string_equal(sm_text(&w->h, "branches.0.lastError"), "HTTP 500: no stock");
    sm_advance(&w->h, 100);
    executor_kick(w->ex);
    until(w, is_committed(w, "t"));
    assert_non_null(strstr(w->p.last, "\r\nAssent-Attempt: 1\r\n"));
    assert_int_equal(metrics(w).failures, 1);
    assert_int_equal(metrics(w).calls, 2);
    assert_idle(w);
}

/* Nobody kicks: the executor's own timer wakes it. */
static void a_back_off_ends_by_itself(void **state)
{
    struct world *w = *state;
    open_executor(w, 0, 0);
    commit(w, "t", w->p.port, "/once", "");
    until(w, w->proposed == 1 && w->first == NULL);
    turns(w, 5);
    sm_advance(&w->h, 100);
    until(w, is_committed(w, "t"));
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
    open_executor(w, 0, 0);
    for (uint32_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        commit(w, rows[i].path + 1, w->p.port, rows[i].path, "");
        until(w, w->failures == i + 1);
        assert_true(w->error[0] != 0);
        if (rows[i].error[0] != 0)
            assert_string_equal(w->error, rows[i].error);
    }
}

static void a_call_ends_at_its_time_limit(void **state)
{
    struct world *w = *state;
    open_executor(w, 0, 0);
    commit(w, "t", w->p.port, "/hold", ",'timeoutMs':50");
    until(w, w->failures == 1);
    until(w, w->p.broken == 1);
}

static void unreachable_hosts_fail(void **state)
{
    struct world *w = *state;
    char args[300];
    open_executor(w, 0, 0);
    commit(w, "refused", 1, "/ok", ",'timeoutMs':2000");
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
    open_executor(w, 0, 0);
    commit(w, "t", w->p.port, "/flood", "");
    until(w, is_committed(w, "t")); /* the status had come */
}

static void calls_in_flight_are_bounded_per_host(void **state)
{
    struct world *w = *state;
    char xid[16];
    open_executor(w, 0, 3);
    for (int i = 0; i < 10; i++) {
        snprintf(xid, sizeof(xid), "p%d", i);
        commit(w, xid, w->p.port, "/hold", "");
    }
    until(w, w->p.held == 3 && metrics(w).queued == 7);
    commit(w, "q", w->q.port, "/ok", ""); /* another host is not held up */
    until(w, is_committed(w, "q"));
    participant_release(&w->p);
    until(w, metrics(w).calls == 11 && w->first == NULL);
    assert_int_equal(w->p.held_max, 3);
    assert_int_equal(w->p.requests, 10);
    until(w, metrics(w).reporting == 0);
    assert_idle(w);
}

static void calls_in_flight_are_bounded_in_all(void **state)
{
    struct world *w = *state;
    char xid[16];
    open_executor(w, 4, 3);
    for (int i = 0; i < 12; i++) {
        snprintf(xid, sizeof(xid), "t%d", i);
        commit(w, xid, i % 2 ? w->p.port : w->q.port, "/hold", "");
    }
    until(w, w->p.held + w->q.held == 4 && metrics(w).queued == 8);
    assert_true(w->p.held >= 1 && w->q.held >= 1); /* hosts take turns */
    participant_release(&w->p);
    participant_release(&w->q);
    until(w, metrics(w).calls == 12 && metrics(w).reporting == 0);
    assert_idle(w);
}

static void a_call_under_way_is_not_made_twice(void **state)
{
    struct world *w = *state;
    open_executor(w, 0, 0);
    commit(w, "t", w->p.port, "/hold", "");
    until(w, w->p.held == 1);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(sm_run(&w->h, COMMAND_TICK, "{}"), ASSENT_OK);
        executor_kick(w->ex);
        turns(w, 2);
    }
    assert_int_equal(w->p.requests, 1);
    w->log_stopped = true; /* answered, but its report does not come through: still not made again */
    participant_release(&w->p);
    until(w, w->proposed == 1);
    executor_kick(w->ex);
    turns(w, 20);
    assert_int_equal(w->p.requests, 1);
    w->log_stopped = false;
    uv_timer_start(&w->log, on_log, 0, 0);
    until(w, is_committed(w, "t"));
}

static void a_deposed_leader_cuts_its_calls_off(void **state)
{
    struct world *w = *state;
    open_executor(w, 0, 1);
    commit(w, "t1", w->p.port, "/hold", "");
    commit(w, "t2", w->p.port, "/hold", "");
    until(w, w->p.held == 1 && metrics(w).queued == 1);
    executor_stop(w->ex);
    assert_idle(w);
    until(w, w->p.broken == 1);
    executor_kick(w->ex);
    turns(w, 20);
    assert_int_equal(w->proposed, 0);
    assert_int_equal(w->p.requests, 1);
    participant_release(&w->p);
    executor_start(w->ex); /* leading again: the same work is found and done */
    until(w, is_committed(w, "t1") && is_committed(w, "t2"));
}

static void a_refused_proposal_is_made_again(void **state)
{
    struct world *w = *state;
    open_executor(w, 0, 0);
    w->refuse = 3;
    commit(w, "t", w->p.port, "/ok", "");
    until(w, is_committed(w, "t"));
    assert_int_equal(w->p.requests, 1); /* the call is not */
    assert_int_equal(metrics(w).reports_retried, 3);
    assert_idle(w);
}

static void a_report_of_unknown_outcome_is_made_again(void **state)
{
    struct world *w = *state;
    open_executor(w, 0, 0);
    w->forget = 1;
    commit(w, "t", w->p.port, "/ok", "");
    until(w, w->proposed == 2 && w->first == NULL);
    assert_true(is_committed(w, "t"));
    assert_int_equal(w->p.requests, 1);
    assert_idle(w);
}

static void closing_waits_for_outcomes(void **state)
{
    struct world *w = *state;
    open_executor(w, 0, 0);
    w->log_stopped = true;
    commit(w, "t", w->p.port, "/ok", "");
    until(w, w->proposed == 1);
    executor_close(w->ex, on_executor_closed, w);
    turns(w, 20);
    assert_false(w->closed);
    w->log_stopped = false;
    uv_timer_start(&w->log, on_log, 0, 0);
    until(w, w->closed);
}

static void connections_are_kept_alive(void **state)
{
    struct world *w = *state;
    char xid[16];
    open_executor(w, 0, 0);
    for (int i = 0; i < 20; i++) {
        snprintf(xid, sizeof(xid), "t%d", i);
        commit(w, xid, w->p.port, "/ok", "");
        until(w, is_committed(w, xid));
    }
    assert_int_equal(w->p.connections, 1);
}

static void a_backlog_is_worked_off_in_order_of_time(void **state)
{
    struct world *w = *state;
    char xid[16];
    open_executor(w, 8, 8);
    executor_stop(w->ex);
    for (int i = 0; i < 1500; i++) { /* more than one pass walks in a turn */
        snprintf(xid, sizeof(xid), "t%d", i);
        commit(w, xid, i % 2 ? w->p.port : w->q.port, "/ok", "");
    }
    executor_start(w->ex);
    until(w, metrics(w).calls == 1500 && metrics(w).reporting == 0);
    assert_int_equal(w->p.requests + w->q.requests, 1500);
    assert_idle(w);
    assert_true(sm_next_work_us(w->h.sm) == INT64_MAX);
}

/* A saga of two steps, submitted. */
static void submit(struct world *w, const char *first, const char *second)
{
    char args[1024];
    snprintf(args, sizeof(args),
             "{'xid':'t','retryBaseMs':100,'steps':["
             "{'actionUrl':'http://127.0.0.1:%u%s','compensateUrl':'http://127.0.0.1:%u/ok','payload':[1]},"
             "{'actionUrl':'http://127.0.0.1:%u%s','compensateUrl':'http://127.0.0.1:%u/ok'}]}",
             w->p.port, first, w->p.port, w->p.port, second, w->p.port);
    assert_int_equal(sm_run(&w->h, COMMAND_SAGA_SUBMIT, args), ASSENT_OK);
    executor_kick(w->ex);
}

static bool stands(struct world *w, const char *status)
{
    assert_int_equal(sm_ask(&w->h, QUERY_TXN_STATUS, "{'xid':'t'}"), ASSENT_OK);
    return strcmp(sm_text(&w->h, "status"), status) == 0;
}

static void a_saga_goes_step_by_step(void **state)
{
    struct world *w = *state;
    open_executor(w, 0, 0);
    submit(w, "/ok", "/ok");
    until(w, stands(w, "COMMITTED"));
    assert_int_equal(w->p.requests, 2);
    assert_non_null(strstr(w->p.last, "\r\nAssent-Op: action\r\n"));
    assert_non_null(strstr(w->p.last, "\r\nAssent-Branch: 02\r\n"));
    assert_idle(w);
}

static void a_refused_step_takes_the_saga_back(void **state)
{
    struct world *w = *state;
    open_executor(w, 0, 0);
    submit(w, "/ok", "/refuse");
    until(w, stands(w, "ROLLED_BACK"));
    assert_string_equal(sm_text(&w->h, "reason"), "step 02: HTTP 409: no stock");
    assert_int_equal(w->p.requests, 4);
    assert_non_null(strstr(w->p.last, "\r\nAssent-Op: compensate\r\n"));
    assert_non_null(strstr(w->p.last, "\r\nAssent-Branch: 01\r\n"));
    assert_idle(w);
}

static void an_unfinished_step_is_asked_again(void **state)
{
    struct world *w = *state;
    open_executor(w, 0, 0);
    submit(w, "/later", "/ok");
    until(w, w->proposed == 1 && w->first == NULL);
    assert_true(stands(w, "RUNNING"));
    assert_string_equal(w->error, "HTTP 200: {\"dtm_result\":\"ONGOING\"}");
    w->h.now_us += 200000;
    executor_kick(w->ex);
    until(w, stands(w, "COMMITTED"));
    assert_int_equal(w->p.requests, 3);
}

static void a_compensation_waits_for_the_call_of_its_action(void **state)
{
    struct world *w = *state;
    open_executor(w, 0, 0);
    submit(w, "/hold", "/ok");
    until(w, w->p.held == 1);
    assert_int_equal(sm_run(&w->h, COMMAND_TXN_ROLLBACK, "{'xid':'t'}"), ASSENT_OK);
    executor_kick(w->ex);
    turns(w, 50);
    assert_int_equal(w->p.requests, 1);
    assert_true(stands(w, "ROLLING_BACK"));
    participant_release(&w->p);
    until(w, stands(w, "ROLLED_BACK"));
    assert_int_equal(w->p.requests, 2);
    assert_non_null(strstr(w->p.last, "\r\nAssent-Op: compensate\r\n"));
    assert_idle(w);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    static const struct CMUnitTest tests[] = {
        T(a_decided_branch_is_called_with_all_it_needs),
        T(a_rollback_calls_cancel),
        T(a_content_type_of_the_branch_wins),
        T(a_failed_call_is_made_again_when_it_is_due),
        T(a_back_off_ends_by_itself),
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
