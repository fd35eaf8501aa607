/* Without its guards the packaged library fails: each guard is switched off alone, and its run must notice;
 * with all guards on the same runs pass. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "guard_scenarios.h"

#ifndef ASSENT_TEST_GUARDS
#error "this test needs the driver built with ASSENT_TEST_GUARDS"
#endif

/* In a child, because a library out of its contract may crash. */
static bool noticed(const struct guard_scenario *scenario, uint32_t off)
{
    fflush(NULL);
    pid_t child = fork();
    assert_int_not_equal(child, -1);
    if (child == 0) {
        if (freopen("/dev/null", "w", stderr) == NULL) {
            _exit(2);
        }
        alarm(60); /* a run that never ends is noticed as well */
        _exit(scenario->run(off) ? 1 : 0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

static void without_its_guard_each_fault_is_noticed(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < guard_scenarios_n; i++) {
        const struct guard_scenario *s = &guard_scenarios[i];
        printf("guard %u off, %s: %s\n", s->guard, s->name, s->seen);
        if (!noticed(s, 1U << s->guard)) {
            fail_msg("guard %u off, %s: nothing noticed", s->guard, s->name);
        }
    }
}

static void with_all_guards_nothing_is(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < guard_scenarios_n; i++) {
        if (noticed(&guard_scenarios[i], 0)) {
            fail_msg("guards on, %s: failed", guard_scenarios[i].name);
        }
    }
}

static void every_guard_has_its_run(void **state)
{
    uint32_t have = 0;
    (void)state;
    for (uint32_t i = 0; i < guard_scenarios_n; i++) {
        have |= 1U << guard_scenarios[i].guard;
    }
    assert_int_equal(have, (1U << GUARD_NR) - 2); /* 1 to 16 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_guard_has_its_run),
        cmocka_unit_test(without_its_guard_each_fault_is_noticed),
        cmocka_unit_test(with_all_guards_nothing_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
