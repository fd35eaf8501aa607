/* The stamping clock: follows the wall clock, works steps off, never runs backward. */
#include "stamp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define START  INT64_C(1700000000000000)
#define SECOND INT64_C(1000000)

/* Look every 100 ms for `looks` times with the wall clock `step` away from true time. */
static int64_t run(struct stamp *s, uint64_t *monotonic, int64_t step, unsigned looks)
{
    int64_t last = s->time_us;
    for (unsigned i = 0; i < looks; i++) {
        *monotonic += 100000;
        int64_t t = stamp_look(s, START + (int64_t)*monotonic + step, *monotonic);
        assert_true(t >= last);
        last = t;
    }
    return last - START - (int64_t)*monotonic; /* how far from true time */
}

static void a_steady_clock_is_followed_exactly(void **state)
{
    (void)state;
    struct stamp s = {0};
    uint64_t m = 0;
    assert_int_equal(stamp_look(&s, START, 0), START);
    assert_int_equal(run(&s, &m, 0, 100), 0);
}

static void drift_is_followed(void **state)
{
    (void)state;
    struct stamp s = {0};
    uint64_t m = 0;
    stamp_look(&s, START, 0);
    for (int64_t i = 1; i <= 1000; i++) {
        assert_int_equal(run(&s, &m, 50 * i, 1), 50 * i); /* 500 parts per million: NTP's largest slew */
    }
}

static void a_step_forward_is_worked_off_at_double_speed(void **state)
{
    (void)state;
    struct stamp s = {0};
    uint64_t m = 0;
    stamp_look(&s, START, 0);
    assert_int_equal(run(&s, &m, 3600 * SECOND, 10), SECOND); /* one second later: one second ahead */
    assert_int_equal(run(&s, &m, 5 * SECOND, 50), 5 * SECOND);
    assert_int_equal(run(&s, &m, 0, 9), 5 * SECOND - 9 * SECOND / 20);
}

static void a_step_backward_is_worked_off_at_half_speed(void **state)
{
    (void)state;
    struct stamp s = {0};
    uint64_t m = 0;
    stamp_look(&s, START, 0);
    assert_int_equal(run(&s, &m, -3600 * SECOND, 10), -SECOND / 2);
    assert_int_equal(run(&s, &m, -2 * SECOND, 30), -2 * SECOND);
    assert_int_equal(run(&s, &m, 0, 100), 0);
}

static void many_looks_at_once_do_not_add_up(void **state)
{
    (void)state;
    struct stamp s = {0};
    stamp_look(&s, START, 0);
    for (uint64_t i = 1; i <= 100000; i++) {
        stamp_look(&s, START + 60 * SECOND, i / 10);
    }
    assert_true(s.time_us - START <= 2 * 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_steady_clock_is_followed_exactly),
        cmocka_unit_test(drift_is_followed),
        cmocka_unit_test(a_step_forward_is_worked_off_at_double_speed),
        cmocka_unit_test(a_step_backward_is_worked_off_at_half_speed),
        cmocka_unit_test(many_looks_at_once_do_not_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
