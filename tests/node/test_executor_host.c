/* Hosts that do not answer, and hosts with more due work than fits into memory: neither holds up the others.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "executor_world.h"

/* `n` transactions "<prefix>0"... of 100 branches each, decided: all that is due to one path of a host. */
#define BRANCHES 100
static void backlog(struct world *w, const char *prefix, int n, const char *address, uint16_t port,
                    const char *path)
{
    size_t size = 0, room = 256 + BRANCHES * 160;
    char *args = malloc(room);
    assert_non_null(args);
    for (int i = 0; i < n; i++) {
        size = (size_t)snprintf(args, room, "{'xid':'%s%d','retryBaseMs':100,'branches':[", prefix, i);
        for (int k = 0; k < BRANCHES; k++)
            size += (size_t)snprintf(args + size, room - size,
                                     "%s{'branch':'%d','confirmUrl':'http://%s:%u%s','cancelUrl':''}",
                                     k > 0 ? "," : "", k, address, port, path);
        snprintf(args + size, room - size, "]}");
        assert_int_equal(sm_run(&w->h, COMMAND_TXN_BEGIN, args), ASSENT_OK);
        snprintf(args, room, "{'xid':'%s%d'}", prefix, i);
        assert_int_equal(sm_run(&w->h, COMMAND_TXN_COMMIT, args), ASSENT_OK);
    }
    free(args);
    executor_kick(w->ex);
}

static uint64_t pending(struct world *w)
{
    assert_int_equal(sm_ask(&w->h, QUERY_TXN_COUNTS, "{'all':true}"), ASSENT_OK);
    return sm_uint(&w->h, "callsPending");
}

/* Everything that is due, however often it has failed. */
static void finish(struct world *w)
{
    until(w, (w->h.now_us += 1000, executor_kick(w->ex), pending(w) == 0));
    until(w, world_metrics(w).reporting == 0);
}

static void a_host_that_does_not_answer_is_left_alone(void **state)
{
    struct world *w = *state;
    char xid[40];
    world_executor(
        w, (struct executor_config){.per_host_max = 1, .breaker_failures = 3, .breaker_open_ms = 200});
    w->p.down = true;
    for (int i = 0; i < 10; i++) {
        snprintf(xid, sizeof(xid), "t%d", i);
        world_commit(w, xid, w->p.port, "/ok", "");
    }
    until(w, world_metrics(w).breaker_opened == 1);
    struct executor_metrics m = world_metrics(w);
    assert_int_equal(m.hosts_open, 1);
    assert_int_equal(m.queued + m.in_flight, 0);
    assert_int_equal(w->p.requests, 3);
    until(w, world_metrics(w).breaker_opened == 2); /* one call tried it again */
    assert_int_equal(w->p.requests, 4);
    assert_int_equal(w->failures, 4);
    for (int i = 4; i < 10; i++) { /* the others wait without an attempt, and without a report */
        snprintf(xid, sizeof(xid), "{'xid':'t%d'}", i);
        assert_int_equal(sm_ask(&w->h, QUERY_TXN, xid), ASSENT_OK);
        assert_int_equal(sm_uint(&w->h, "branches.0.attempts"), 0);
    }
    w->p.down = false;
    until(w, world_metrics(w).hosts_open == 0);
    finish(w);
    assert_int_equal(w->failures, 4);
    assert_int_equal(w->p.requests, 14);
    world_assert_idle(w);
}

static void one_call_at_a_time_tries_it_again(void **state)
{
    struct world *w = *state;
    world_executor(w,
                   (struct executor_config){.per_host_max = 8, .breaker_failures = 3, .breaker_open_ms = 50});
    w->p.down = true;
    backlog(w, "t", 1, "127.0.0.1", w->p.port, "/hold");
    until(w, world_metrics(w).breaker_opened == 3);
    uint32_t requests = w->p.requests;
    assert_true(requests >= 5 && requests <= 10); /* 3 to 8 that were under way together, then one and one */
    w->p.down = false;
    until(w, w->p.held == 1);
    struct executor_metrics m = world_metrics(w);
    assert_int_equal(m.hosts_half_open, 1);
    world_turns(w, 50);
    assert_int_equal(w->p.held, 1);
    assert_int_equal(world_metrics(w).queued, 0);
    participant_release(&w->p);
    finish(w);
    assert_int_equal(world_metrics(w).hosts_half_open, 0);
    world_assert_idle(w);
}

static void answers_in_between_keep_a_host_open_for_calls(void **state)
{
    static const char *const paths[] = {"/flip", "/status/500", "/status/404", "/status/429"};
    struct world *w = *state;
    world_executor(w, (struct executor_config){.per_host_max = 1, .breaker_failures = 2});
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        backlog(w, paths[i] + 1, 1, "127.0.0.1", w->p.port, paths[i]);
        until(w, world_metrics(w).calls >= (i + 1) * BRANCHES);
    }
    assert_int_equal(world_metrics(w).breaker_opened, 0);
}

static void failures_are_remembered_without_work(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){.breaker_failures = 3});
    w->p.down = true;
    for (int i = 0; i < 2; i++) {
        world_commit(w, i == 0 ? "a" : "b", w->p.port, "/ok", "");
        until(w, w->failures == (uint32_t)i + 1 && world_metrics(w).reporting == 0);
        assert_int_equal(world_metrics(w).hosts, 1);
    }
    assert_int_equal(world_metrics(w).breaker_opened, 0);
    world_commit(w, "c", w->p.port, "/ok", "");
    until(w, world_metrics(w).breaker_opened == 1);
    executor_stop(w->ex); /* another leader starts afresh */
    assert_int_equal(world_metrics(w).hosts, 0);
    assert_int_equal(world_metrics(w).hosts_open, 0);
    w->p.down = false;
    executor_start(w->ex);
    finish(w);
    world_assert_idle(w);
}

static void no_breaker_when_it_is_turned_off(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){.breaker_failures = 0});
    w->p.down = true;
    backlog(w, "t", 1, "127.0.0.1", w->p.port, "/ok");
    until(w, w->failures == BRANCHES);
    assert_int_equal(world_metrics(w).breaker_opened, 0);
}

/* The live host's work lies behind all that is due at the dead one, and in between. */
static void twenty_thousand_due_at_a_dead_host_hold_up_nobody(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){.breaker_failures = 5, .breaker_open_ms = 300});
    executor_stop(w->ex);
    w->p.down = true;
    backlog(w, "dead", 100, "127.0.0.1", w->p.port, "/ok");
    backlog(w, "live", 10, "127.0.0.1", w->q.port, "/ok");
    backlog(w, "dead2-", 100, "127.0.0.1", w->p.port, "/ok");
    backlog(w, "live2-", 10, "127.0.0.1", w->q.port, "/ok");
    executor_start(w->ex);
    uint32_t most = 0;
    while (w->q.requests < 20 * BRANCHES) {
        uv_run(&w->loop, UV_RUN_ONCE);
        struct executor_metrics m = world_metrics(w);
        most = m.queued + m.in_flight > most ? m.queued + m.in_flight : most;
    }
    struct executor_metrics m = world_metrics(w);
    assert_true(most <= 2 * 1024);
    assert_true(w->failures < 100); /* of 20,000: the rest has not been tried */
    assert_true(m.hosts <= 2);
    world_commit(w, "new", w->q.port, "/ok", ""); /* nor is what comes now held up */
    until(w, world_stands(w, "new", "COMMITTED"));
    until(w, pending(w) == 20000);
    w->p.down = false;
    finish(w);
    assert_int_equal(w->p.requests, 20000 + w->failures);
    world_assert_idle(w);
    assert_true(sm_next_work_us(w->h.sm) == INT64_MAX);
}

/* A host that hangs is not dead yet: what is due there waits in the store beyond its share. */
static void a_hanging_host_keeps_its_share_and_no_more(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){.breaker_failures = 5, .timeout_ms = 60000});
    executor_stop(w->ex);
    backlog(w, "slow", 60, "127.0.0.1", w->p.port, "/hold");
    backlog(w, "live", 10, "127.0.0.1", w->q.port, "/ok");
    executor_start(w->ex);
    until(w, world_metrics(w).calls == 10 * BRANCHES && world_metrics(w).reporting == 0);
    struct executor_metrics m = world_metrics(w);
    assert_int_equal(m.queued + m.in_flight, 1024);
    assert_int_equal(w->p.held, 32);
    participant_release(&w->p);
    finish(w);
    assert_int_equal(w->p.requests, 6000);
    world_assert_idle(w);
}

/* More dead hosts than would fit with their queues. */
static void many_dead_hosts_cost_their_names(void **state)
{
    struct world *w = *state;
    char address[20], prefix[20];
    world_executor(w, (struct executor_config){.breaker_failures = 1, .breaker_open_ms = 100000});
    executor_stop(w->ex);
    for (int i = 0; i < 150; i++) {
        snprintf(address, sizeof(address), "127.0.1.%d", i + 1);
        snprintf(prefix, sizeof(prefix), "d%d-", i);
        backlog(w, prefix, 1, address, 1, "/ok");
    }
    backlog(w, "live", 1, "127.0.0.1", w->q.port, "/ok");
    executor_start(w->ex);
    until(w, w->q.requests == BRANCHES && world_metrics(w).breaker_opened == 150);
    until(w, world_metrics(w).hosts == 150);
    assert_int_equal(world_metrics(w).queued, 0);
    assert_int_equal(world_metrics(w).hosts_open, 150);
}

/* Others wait in the store until one is forgotten: here, until it was left alone long enough. */
static void more_hosts_than_fit_wait_for_their_turn(void **state)
{
    struct world *w = *state;
    char address[20], prefix[20];
    world_executor(w, (struct executor_config){.breaker_failures = 1, .breaker_open_ms = 20, .hosts_max = 4});
    executor_stop(w->ex);
    for (int i = 0; i < 12; i++) {
        snprintf(address, sizeof(address), "127.0.1.%d", i + 1);
        snprintf(prefix, sizeof(prefix), "d%d-", i);
        world_run(w, COMMAND_TXN_BEGIN,
                  "{'xid':'%s','branches':[{'branch':'b','confirmUrl':'http://%s:1/','cancelUrl':''}]}",
                  prefix, address);
        world_run(w, COMMAND_TXN_COMMIT, "{'xid':'%s'}", prefix);
    }
    world_commit(w, "live", w->p.port, "/ok", "");
    executor_start(w->ex);
    uint32_t most = 0;
    until(w, (most = world_metrics(w).hosts > most ? world_metrics(w).hosts : most, w->failures >= 12));
    until(w, world_stands(w, "live", "COMMITTED"));
    assert_int_equal(most, 4);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
    static const struct CMUnitTest tests[] = {
        T(a_host_that_does_not_answer_is_left_alone),
        T(one_call_at_a_time_tries_it_again),
        T(answers_in_between_keep_a_host_open_for_calls),
        T(failures_are_remembered_without_work),
        T(no_breaker_when_it_is_turned_off),
        T(twenty_thousand_due_at_a_dead_host_hold_up_nobody),
        T(a_hanging_host_keeps_its_share_and_no_more),
        T(many_dead_hosts_cost_their_names),
        T(more_hosts_than_fit_wait_for_their_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
