/* Named Lamport clocks: what a tick owns, what a sync guarantees, where they stop. */
#include "clock_case.h"

static void ticks_count_from_one_per_clock(void **state)
{
    struct sm_harness *h = *state;
    assert_string_equal(run(h, COMMAND_LAMPORT_TICK, "{'clock':'a'}"), "OK");
    assert_string_equal(sm_json(h), "{\"clock\":\"a\",\"value\":1,\"first\":1}");
    assert_string_equal(run(h, COMMAND_LAMPORT_TICK, "{'clock':'a'}"), "OK");
    assert_int_equal(sm_uint(h, "value"), 2);
    assert_string_equal(run(h, COMMAND_LAMPORT_TICK, "{'clock':'b'}"), "OK");
    assert_int_equal(sm_uint(h, "value"), 1);
}

static void a_tick_of_many_owns_the_range_first_to_value(void **state)
{
    struct sm_harness *h = *state;
    assert_string_equal(run(h, COMMAND_LAMPORT_TICK, "{'clock':'a','count':10}"), "OK");
    assert_int_equal(sm_uint(h, "first"), 1);
    assert_int_equal(sm_uint(h, "value"), 10);
    assert_string_equal(run(h, COMMAND_LAMPORT_TICK, "{'clock':'a','count':3}"), "OK");
    assert_int_equal(sm_uint(h, "first"), 11);
    assert_int_equal(sm_uint(h, "value"), 13);
    assert_string_equal(run(h, COMMAND_LAMPORT_TICK, "{'clock':'a','count':0}"), "INVALID");
}

static void sync_goes_beyond_both_stamps(void **state)
{
    struct sm_harness *h = *state;
    assert_string_equal(run(h, COMMAND_LAMPORT_SYNC, "{'clock':'a','received':41}"), "OK");
    assert_int_equal(sm_uint(h, "value"), 42);
    assert_string_equal(run(h, COMMAND_LAMPORT_SYNC, "{'clock':'a','received':5}"), "OK");
    assert_int_equal(sm_uint(h, "value"), 43);
}

static void a_clock_nobody_ticked_stands_at_zero_and_reading_does_not_make_it(void **state)
{
    struct sm_harness *h = *state;
    uint64_t digest = sm_digest(h->sm);
    assert_string_equal(ask(h, QUERY_LAMPORT, "{'clock':'x'}"), "OK");
    assert_string_equal(sm_json(h), "{\"clock\":\"x\",\"value\":0}");
    assert_true(sm_digest(h->sm) == digest);
}

static void a_call_without_a_name_means_the_default_clock(void **state)
{
    struct sm_harness *h = *state;
    assert_string_equal(run(h, COMMAND_LAMPORT_TICK, "{}"), "OK");
    assert_string_equal(sm_text(h, "clock"), "default");
    assert_string_equal(ask(h, QUERY_LAMPORT, "{'clock':'default'}"), "OK");
    assert_int_equal(sm_uint(h, "value"), 1);
}

static void a_full_clock_refuses_and_stands_still(void **state)
{
    struct sm_harness *h = *state;
    assert_string_equal(run(h, COMMAND_LAMPORT_SYNC, "{'clock':'a','received':9223372036854775806}"), "OK");
    assert_string_equal(run(h, COMMAND_LAMPORT_TICK, "{'clock':'a'}"), "OVERFLOW");
    assert_string_equal(run(h, COMMAND_LAMPORT_SYNC, "{'clock':'a','received':1}"), "OVERFLOW");
    assert_string_equal(run(h, COMMAND_LAMPORT_SYNC, "{'clock':'b','received':9223372036854775807}"),
                        "OVERFLOW");
    assert_string_equal(ask(h, QUERY_LAMPORT, "{'clock':'a'}"), "OK");
    assert_true(sm_uint(h, "value") == INT64_MAX);
    assert_string_equal(ask(h, QUERY_LAMPORT, "{'clock':'b'}"), "OK");
    assert_int_equal(sm_uint(h, "value"), 0);
}

static void clocks_survive_a_snapshot(void **state)
{
    struct sm_harness *h = *state;
    assert_string_equal(run(h, COMMAND_LAMPORT_TICK, "{'clock':'a','count':7}"), "OK");
    sm_reincarnate(h);
    assert_string_equal(run(h, COMMAND_LAMPORT_TICK, "{'clock':'a'}"), "OK");
    assert_int_equal(sm_uint(h, "value"), 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(ticks_count_from_one_per_clock),
        CASE(a_tick_of_many_owns_the_range_first_to_value),
        CASE(sync_goes_beyond_both_stamps),
        CASE(a_clock_nobody_ticked_stands_at_zero_and_reading_does_not_make_it),
        CASE(a_call_without_a_name_means_the_default_clock),
        CASE(a_full_clock_refuses_and_stands_still),
        CASE(clocks_survive_a_snapshot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
