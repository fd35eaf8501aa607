/* Chaos: random faults for some virtual seconds, then healing; oracles watch every step, and at the end the
 * cluster must work again.
 *
 *   test_core_chaos                    the seeds of the test suite
 *   ASSENT_SEED=17 test_core_chaos     one seed, all shapes
 *   ASSENT_SEEDS=5000 test_core_chaos  more of them */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core_chaos.h"

static void run_seeds(const struct chaos_shape *shape, uint64_t first, uint64_t n)
{
    const char *only = getenv("ASSENT_SEED");
    const char *many = getenv("ASSENT_SEEDS");
    uint64_t counts[17] = {0};
    if (only != NULL) {
        first = strtoull(only, NULL, 10);
        n = 1;
    } else if (many != NULL) {
        n = strtoull(many, NULL, 10);
    }
    for (uint64_t seed = first; seed < first + n; seed++) {
        const char *why = chaos_run(shape, seed, 0, counts);
        if (why != NULL) {
            fail_msg("%s", why);
        }
    }
    printf("guards acted:");
    for (uint32_t i = 1; i < 17; i++) {
        printf(" G%u=%llu", i, (unsigned long long)counts[i]);
    }
    printf("\n");
}

static void three_nodes_agree(void **state)
{
    (void)state;
    run_seeds(&chaos_three, 1, 40);
}

static void five_nodes_agree(void **state)
{
    (void)state;
    run_seeds(&chaos_five, 1001, 30);
}

static void changing_members_agree(void **state)
{
    (void)state;
    run_seeds(&chaos_changing, 2001, 40);
}

/* What the simulated disks, links and processes can do besides. */
static void agreement_survives_everything(void **state)
{
    (void)state;
    run_seeds(&chaos_harsh, 3001, 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_nodes_agree),
        cmocka_unit_test(five_nodes_agree),
        cmocka_unit_test(changing_members_agree),
        cmocka_unit_test(agreement_survives_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
