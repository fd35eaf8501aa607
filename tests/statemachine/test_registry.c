/* Registered nodes and their heartbeat; dense sequences. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sm_harness.h"

static const char *status(struct sm_harness *h)
{
    assert_int_equal(sm_ask(h, QUERY_NODES, "{}"), ASSENT_OK);
    return sm_text(h, "nodes.0.status");
}

static void tick_after(struct sm_harness *h, int64_t ms)
{
    sm_advance(h, ms);
    assert_int_equal(sm_run(h, COMMAND_TICK, "{}"), ASSENT_OK);
}

static void registered_node_is_listed_with_all_it_said(void **state)
{
    struct sm_harness *h = *state;
    int64_t now_us = h->now_us;
    assert_int_equal(sm_run(h, COMMAND_NODE_REGISTER, "{'node':'b','address':'h:1','metadata':{'zone':'x'}}"),
                     ASSENT_OK);
    assert_int_equal(sm_run(h, COMMAND_NODE_REGISTER, "{'node':'a'}"), ASSENT_OK);
    assert_int_equal(sm_ask(h, QUERY_NODES, "{}"), ASSENT_OK);
    assert_int_equal(sm_count(h, "nodes"), 2);
    assert_string_equal(sm_text(h, "nodes.0.node"), "a");
    assert_string_equal(sm_text(h, "nodes.1.node"), "b");
    assert_string_equal(sm_text(h, "nodes.1.address"), "h:1");
    assert_string_equal(sm_text(h, "nodes.1.metadata"), "{\"zone\":\"x\"}");
    assert_true(sm_int(h, "nodes.1.registeredUs") == now_us);
    assert_int_equal(sm_int(h, "nodes.1.ageMs"), 1);
    assert_int_equal(sm_int(h, "nodes.1.failedMs"), 30000);
}

static void silent_node_becomes_inactive_then_failed(void **state)
{
    struct sm_harness *h = *state;
    sm_run(h, COMMAND_NODE_REGISTER, "{'node':'n'}");
    tick_after(h, 9000);
    assert_string_equal(status(h), "ACTIVE");
    tick_after(h, 1001);
    assert_string_equal(status(h), "INACTIVE");
    tick_after(h, 19000);
    assert_string_equal(status(h), "INACTIVE");
    tick_after(h, 1001);
    assert_string_equal(status(h), "FAILED");
    assert_true(sm_next_due_us(h->sm) == INT64_MAX);
    assert_int_equal(sm_run(h, COMMAND_NODE_HEARTBEAT, "{'node':'n'}"), ASSENT_OK);
    assert_string_equal(sm_text(h, "status"), "ACTIVE");
    tick_after(h, 40000);
    assert_string_equal(status(h), "FAILED");
}

static void beating_node_stays_active_and_costs_one_timer_per_period(void **state)
{
    struct sm_harness *h = *state;
    struct sm_metrics m;
    sm_run(h, COMMAND_NODE_REGISTER, "{'node':'n','inactiveMs':1000,'failedMs':3000}");
    for (int i = 0; i < 100; i++) {
        sm_advance(h, 100);
        assert_int_equal(sm_run(h, COMMAND_NODE_HEARTBEAT, "{'node':'n'}"), ASSENT_OK);
    }
    assert_string_equal(status(h), "ACTIVE");
    sm_metrics(h->sm, &m);
    assert_in_range(m.timers_fired, 9, 12);
    tick_after(h, 1001);
    assert_string_equal(status(h), "INACTIVE");
    assert_int_equal(sm_run(h, COMMAND_NODE_HEARTBEAT, "{'node':'n'}"), ASSENT_OK);
    tick_after(h, 1001);
    assert_string_equal(status(h), "INACTIVE");
}

static void registering_again_renews(void **state)
{
    struct sm_harness *h = *state;
    int64_t now_us = h->now_us;
    sm_run(h, COMMAND_NODE_REGISTER, "{'node':'n'}");
    tick_after(h, 11000);
    sm_run(h, COMMAND_NODE_REGISTER, "{'node':'n','address':'new','inactiveMs':500,'failedMs':900}");
    assert_string_equal(sm_text(h, "status"), "ACTIVE");
    assert_true(sm_int(h, "registeredUs") == now_us);
    tick_after(h, 501);
    assert_string_equal(status(h), "INACTIVE");
    tick_after(h, 401);
    assert_string_equal(status(h), "FAILED");
}

static void removed_node_is_unknown_and_has_no_timer(void **state)
{
    struct sm_harness *h = *state;
    sm_run(h, COMMAND_NODE_REGISTER, "{'node':'n'}");
    assert_int_equal(sm_run(h, COMMAND_NODE_REMOVE, "{'node':'n'}"), ASSENT_OK);
    assert_int_equal(sm_run(h, COMMAND_NODE_REMOVE, "{'node':'n'}"), ASSENT_NODE_UNKNOWN);
    assert_int_equal(sm_run(h, COMMAND_NODE_HEARTBEAT, "{'node':'n'}"), ASSENT_NODE_UNKNOWN);
    assert_true(sm_next_due_us(h->sm) == INT64_MAX);
    sm_ask(h, QUERY_NODES, "{}");
    assert_int_equal(sm_count(h, "nodes"), 0);
}

static void senseless_periods_are_refused(void **state)
{
    struct sm_harness *h = *state;
    assert_int_equal(sm_run(h, COMMAND_NODE_REGISTER, "{'node':'n','inactiveMs':0}"), ASSENT_INVALID);
    assert_int_equal(sm_run(h, COMMAND_NODE_REGISTER, "{'node':'n','inactiveMs':5,'failedMs':5}"),
                     ASSENT_INVALID);
    assert_int_equal(sm_run(h, COMMAND_NODE_REGISTER, "{'node':'n','inactiveMs':60000}"), ASSENT_OK);
    assert_int_equal(sm_int(h, "failedMs"), 180000);
}

static void registry_is_bounded(void **state)
{
    struct sm_harness *h = *state;
    char args[64];
    for (int i = 0; i < 1000; i++) {
        snprintf(args, sizeof args, "{'node':'n%d'}", i);
        assert_int_equal(sm_run(h, COMMAND_NODE_REGISTER, args), ASSENT_OK);
    }
    assert_int_equal(sm_run(h, COMMAND_NODE_REGISTER, "{'node':'one more'}"), ASSENT_LIMIT);
    assert_int_equal(sm_run(h, COMMAND_NODE_REGISTER, "{'node':'n5'}"), ASSENT_OK);
}

static void sequence_is_dense_and_refuses_overflow(void **state)
{
    struct sm_harness *h = *state;
    assert_int_equal(sm_ask(h, QUERY_SEQUENCE, "{'name':'s'}"), ASSENT_OK);
    assert_int_equal(sm_uint(h, "last"), 0);
    uint64_t next = 1;
    for (unsigned i = 1; i <= 20; i++) {
        char args[64];
        snprintf(args, sizeof args, "{'name':'s','count':%u}", i);
        assert_int_equal(sm_run(h, COMMAND_SEQUENCE_NEXT, args), ASSENT_OK);
        assert_int_equal(sm_uint(h, "first"), next);
        assert_int_equal(sm_uint(h, "last"), next + i - 1);
        next += i;
    }
    assert_int_equal(sm_run(h, COMMAND_SEQUENCE_NEXT, "{'name':'s','count':0}"), ASSENT_INVALID);
    assert_int_equal(sm_ask(h, QUERY_SEQUENCE, "{'name':'s'}"), ASSENT_OK);
    assert_int_equal(sm_uint(h, "last"), next - 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, sm_harness_setup, sm_harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(registered_node_is_listed_with_all_it_said),
        TEST(silent_node_becomes_inactive_then_failed),
        TEST(beating_node_stays_active_and_costs_one_timer_per_period),
        TEST(registering_again_renews),
        TEST(removed_node_is_unknown_and_has_no_timer),
        TEST(senseless_periods_are_refused),
        TEST(registry_is_bounded),
        TEST(sequence_is_dense_and_refuses_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
