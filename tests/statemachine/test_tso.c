/* The oracle's promises: never a value twice, never a smaller one later, no matter what the clocks do. */
#include "assent/clock.h"
#include "clock_case.h"
#include "tso.h"

#define T0 1700000000000ull

static uint64_t ms(uint64_t t)
{
    return assent_tso_make(t, 0);
}

static void nothing_is_granted_before_a_window_of_this_leadership(void **state)
{
    (void)state;
    struct tso t;
    uint64_t first;
    tso_begin(&t, ms(T0 + 500), T0); /* the former leader's window reaches into our future */
    assert_false(tso_grant(&t, T0, 1, &first));
    assert_true(tso_want_window(&t, T0) == ms(T0 + 500 + TSO_WINDOW_MS));
    tso_window_committed(&t, ms(T0 + 500 + TSO_WINDOW_MS));
    assert_true(tso_grant(&t, T0 + 1, 1, &first));
    assert_true(first >= ms(T0 + 500));
}

static void grants_follow_the_clock_and_never_repeat(void **state)
{
    (void)state;
    struct tso t;
    uint64_t first, last = 0;
    tso_begin(&t, 0, T0);
    tso_window_committed(&t, tso_want_window(&t, T0));
    assert_true(tso_grant(&t, T0 + 3, 10, &first));
    assert_true(first == ms(T0 + 3));
    last = first + 9;
    assert_true(tso_grant(&t, T0 + 3, 1, &first));
    assert_true(first == last + 1);
    /* The wall clock steps back an hour: values go on upward. */
    last = first;
    assert_true(tso_grant(&t, T0 - 3600000, 5, &first));
    assert_true(first == last + 1);
    last = first + 4;
    assert_true(tso_grant(&t, T0 - 3600000 + 7, 1, &first));
    assert_true(first == ms(T0 + 10)); /* 7 ms have passed since the step */
    assert_true(first > last);
}

static void a_grant_never_reaches_the_bound(void **state)
{
    (void)state;
    struct tso t;
    uint64_t first;
    tso_begin(&t, 0, T0);
    uint64_t bound = tso_want_window(&t, T0);
    tso_window_committed(&t, bound);
    assert_false(tso_grant(&t, T0 + TSO_WINDOW_MS, 1, &first)); /* time itself has reached the bound */
    tso_window_committed(&t, tso_want_window(&t, T0 + TSO_WINDOW_MS));
    assert_true(tso_grant(&t, T0 + TSO_WINDOW_MS, 1, &first));
    assert_true(first == bound);
    tso_begin(&t, bound, T0);
    tso_window_committed(&t, bound + 10);
    assert_false(tso_grant(&t, T0, 11, &first));
    assert_true(tso_grant(&t, T0, 10, &first));
    assert_false(tso_grant(&t, T0, 1, &first));
}

static void a_window_is_wanted_at_half_use_and_only_while_somebody_asks(void **state)
{
    (void)state;
    struct tso t;
    uint64_t first;
    tso_begin(&t, 0, T0);
    tso_window_committed(&t, tso_want_window(&t, T0));
    assert_true(tso_want_window(&t, T0 + 900) == 0); /* nobody asked */
    assert_true(tso_grant(&t, T0 + 900, 1, &first));
    assert_true(tso_want_window(&t, T0 + 900) == ms(T0 + 900 + TSO_WINDOW_MS));
    tso_window_committed(&t, ms(T0 + 900 + TSO_WINDOW_MS));
    assert_true(tso_grant(&t, T0 + 901, 1, &first));
    assert_true(tso_want_window(&t, T0 + 901) == 0);
    assert_true(tso_want_window(&t, T0 + 1399) == 0);
    assert_true(tso_want_window(&t, T0 + 1401) != 0);
}

static void demand_beyond_the_layout_waits_for_time(void **state)
{
    (void)state;
    struct tso t;
    uint64_t first, windows = 0, granted = 0;
    tso_begin(&t, 0, T0);
    tso_window_committed(&t, tso_want_window(&t, T0));
    for (uint64_t now = T0; now < T0 + 2000; now++) {
        for (int i = 0; i < 4; i++) { /* four times what the layout holds */
            granted += tso_grant(&t, now, ASSENT_COUNT_MAX, &first) ? ASSENT_COUNT_MAX : 0;
        }
        uint64_t bound = tso_want_window(&t, now);
        if (bound != 0) {
            assert_true(bound <= ms(now + TSO_WINDOW_MS)); /* never more than a window ahead */
            tso_window_committed(&t, bound);
            windows++;
        }
    }
    assert_true(granted <= ms(2000 + TSO_WINDOW_MS));
    assert_true(granted >= ms(2000));
    assert_true(windows <= 2000 / (TSO_WINDOW_MS / 8) + 1); /* no entry per millisecond */
}

static void leaders_with_any_clocks_never_hand_out_a_value_twice(void **state)
{
    (void)state;
    uint32_t seed = 0x750;
    uint64_t committed = 0, last = 0, now = T0;
    for (int leadership = 0; leadership < 400; leadership++) {
        struct tso t;
        uint64_t first;
        now = T0 + next_random(&seed) % 20000; /* each leader with a clock of its own */
        tso_begin(&t, committed, now);
        for (uint32_t step = next_random(&seed) % 60; step > 0; step--) {
            uint32_t dice = next_random(&seed);
            now = now + dice % 300 - (dice % 7 == 0 ? 250 : 0);
            uint64_t bound = tso_want_window(&t, now);
            if (bound != 0 && dice % 3 != 0) { /* else: its proposal is lost with the leadership */
                assert_true(bound > committed);
                committed = bound;
                tso_window_committed(&t, bound);
            }
            uint32_t count = 1 + next_random(&seed) % ASSENT_COUNT_MAX;
            if (tso_grant(&t, now, count, &first)) {
                assert_true(first > last);
                last = first + count - 1;
                assert_true(last < committed);
            }
        }
        tso_end(&t);
        assert_false(tso_grant(&t, now, 1, &first));
    }
    assert_true(last > ms(T0));
}

static void a_window_command_moves_the_bound_upward_only(void **state)
{
    struct sm_harness *h = *state;
    assert_true(sm_tso_bound(h->sm) == 0);
    assert_string_equal(run(h, COMMAND_TSO_WINDOW, "{'bound':%llu}", (unsigned long long)ms(T0)), "OK");
    assert_true(sm_uint(h, "bound") == ms(T0));
    assert_true(sm_tso_bound(h->sm) == ms(T0));
    assert_string_equal(run(h, COMMAND_TSO_WINDOW, "{'bound':%llu}", (unsigned long long)ms(T0)),
                        "WINDOW_PASSED");
    assert_string_equal(run(h, COMMAND_TSO_WINDOW, "{'bound':%llu}", (unsigned long long)ms(T0) - 1),
                        "WINDOW_PASSED");
    assert_true(sm_tso_bound(h->sm) == ms(T0));
    assert_string_equal(run(h, COMMAND_TSO_WINDOW, "{'bound':%llu}", (unsigned long long)ms(T0) + 1), "OK");
    sm_reincarnate(h);
    assert_true(sm_tso_bound(h->sm) == ms(T0) + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_granted_before_a_window_of_this_leadership),
        cmocka_unit_test(grants_follow_the_clock_and_never_repeat),
        cmocka_unit_test(a_grant_never_reaches_the_bound),
        cmocka_unit_test(a_window_is_wanted_at_half_use_and_only_while_somebody_asks),
        cmocka_unit_test(demand_beyond_the_layout_waits_for_time),
        cmocka_unit_test(leaders_with_any_clocks_never_hand_out_a_value_twice),
        CASE(a_window_command_moves_the_bound_upward_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
