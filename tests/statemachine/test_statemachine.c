/* The state machine as a whole: time, timers, batches, replicas. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "sm_harness.h"

static void lamport_ticks_one_by_one(void **state)
{
    (void)state;
    struct sm_harness h;
    sm_harness_open(&h);
    assert_int_equal(sm_run(&h, COMMAND_LAMPORT_TICK, "{}"), ASSENT_OK);
    assert_int_equal(sm_uint(&h, "value"), 1);
    assert_int_equal(sm_run(&h, COMMAND_LAMPORT_TICK, "{'clock':'default','count':3}"), ASSENT_OK);
    assert_string_equal(sm_json(&h), "{\"clock\":\"default\",\"value\":4,\"first\":2}");
    assert_int_equal(sm_ask(&h, QUERY_LAMPORT, "{}"), ASSENT_OK);
    assert_int_equal(sm_uint(&h, "value"), 4);
    sm_reincarnate(&h);
    assert_int_equal(sm_ask(&h, QUERY_LAMPORT, "{}"), ASSENT_OK);
    assert_int_equal(sm_uint(&h, "value"), 4);
    sm_harness_close(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(lamport_ticks_one_by_one)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
