/* Plans of the nemesis: schedules and shapes are values, so they are looked at without a node. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "crash.h"
#include "dice.h"
#include "schedule.h"
#include "shapes.h"

/* ---- schedules ---- */

#define STEP_MS 50

/* Runs a schedule to its end and calls back at each step that is no WAIT. */
static uint64_t play(uint64_t seed, const struct schedule_context *c,
                     void (*see)(void *user, uint64_t now_ms, const struct schedule_step *step), void *user)
{
    struct schedule s = schedule_start(seed);
    uint64_t now_ms = 0;
    for (; now_ms < c->until_ms || s.active != 0; now_ms += STEP_MS) {
        struct schedule_step step;
        assert_true(now_ms < c->until_ms + STEP_MS);
        while (step = schedule_next(s, c, now_ms), step.what != SCHEDULE_WAIT) {
            see(user, now_ms, &step);
            s = step.then;
        }
        s = step.then;
    }
    return now_ms;
}

struct seen {
    uint32_t n, active, used, shapes_used[SCHEDULE_CLASSES], most;
    const struct schedule_context *c;
    uint64_t hash;
};

static void look(void *user, uint64_t now_ms, const struct schedule_step *step)
{
    struct seen *s = user;
    uint32_t bit = 1u << step->fault;
    s->hash =
        (s->hash ^ (now_ms * 31 + step->fault * 7 + step->shape * 3 + step->what)) * UINT64_C(1099511628211);
    if (step->what == SCHEDULE_END) {
        assert_true(s->active & bit);
        s->active &= ~bit;
        return;
    }
    assert_false(s->active & bit);
    assert_true(now_ms < s->c->until_ms);
    assert_true(now_ms >= 3000);
    if (s->used == (1u << s->c->classes) - 1)
        s->used = 0;
    assert_false(s->used & bit); /* every class once before any again */
    s->used |= bit;
    uint32_t *shapes = &s->shapes_used[step->fault];
    if (*shapes == (1u << s->c->shapes[step->fault]) - 1)
        *shapes = 0;
    assert_true(step->shape < s->c->shapes[step->fault]);
    assert_false(*shapes & (1u << step->shape));
    *shapes |= 1u << step->shape;
    s->active |= bit;
    uint32_t together = (uint32_t)__builtin_popcount(s->active);
    assert_true(together <= s->c->at_once);
    for (uint32_t i = 0; i < s->c->classes; i++)
        if (s->active & (1u << i))
            assert_int_equal(s->active & s->c->apart[i] & ~(1u << i), 0);
    s->most = together > s->most ? together : s->most;
    s->n++;
}

static struct seen run_of(uint64_t seed, const struct schedule_context *c)
{
    struct seen s = {.c = c};
    play(seed, c, look, &s);
    assert_int_equal(s.active, 0);
    return s;
}

static void every_class_and_shape_comes_before_any_comes_again(void **state)
{
    (void)state;
    struct schedule_context c = {
        .classes = 5, .shapes = {6, 1, 10, 3, 2}, .at_once = 1, .mean_ms = 1000, .until_ms = 600000};
    for (uint64_t seed = 1; seed <= 50; seed++)
        assert_true(run_of(seed, &c).n > 200);
}

static void several_are_together_unless_they_keep_apart(void **state)
{
    (void)state;
    struct schedule_context c = {.classes = 6,
                                 .shapes = {1, 1, 1, 1, 1, 1},
                                 .apart = {0, 1u << 5, 63, 0, 63, 0}, /* 1 and 5; 2 and 4 with anybody */
                                 .at_once = 3,
                                 .mean_ms = 1000,
                                 .until_ms = 600000};
    for (uint64_t seed = 1; seed <= 50; seed++)
        assert_int_equal(run_of(seed, &c).most, 3);
}

static void a_seed_fixes_the_schedule(void **state)
{
    (void)state;
    struct schedule_context c = {
        .classes = 3, .shapes = {2, 3, 4}, .at_once = 2, .mean_ms = 2000, .until_ms = 120000};
    assert_true(run_of(7, &c).hash == run_of(7, &c).hash);
    assert_true(run_of(7, &c).hash != run_of(8, &c).hash);
}

static void what_was_refused_is_not_in_force(void **state)
{
    (void)state;
    struct schedule_context c = {
        .classes = 1, .shapes = {1}, .at_once = 1, .mean_ms = 1000, .until_ms = 60000};
    struct schedule_step step = schedule_next(schedule_start(1), &c, 3000);
    assert_int_equal(step.what, SCHEDULE_BEGIN);
    struct schedule s = schedule_refused(step.then, step.fault, 3000);
    assert_int_equal(s.active, 0);
    assert_int_equal(schedule_next(s, &c, 3100).what, SCHEDULE_WAIT);
    assert_int_equal(schedule_next(s, &c, 3300).what, SCHEDULE_BEGIN);
}

static void what_is_refused_is_tried_again_but_not_for_ever(void **state)
{
    (void)state;
    struct schedule_context c = {
        .classes = 3, .shapes = {5, 1, 1}, .at_once = 1, .mean_ms = 1000, .until_ms = 600000};
    struct schedule s = schedule_start(3);
    uint32_t begun[3] = {0}, shapes = 0;
    for (uint64_t now_ms = 0; now_ms < c.until_ms; now_ms += STEP_MS) {
        struct schedule_step step;
        while (step = schedule_next(s, &c, now_ms), step.what != SCHEDULE_WAIT) {
            s = step.then;
            if (step.what == SCHEDULE_END)
                continue;
            begun[step.fault]++;
            shapes |= step.fault == 0 ? 1u << step.shape : 0;
            s = step.fault == 0 ? schedule_refused(s, 0, now_ms) : schedule_took(s, step.fault, 0);
        }
        s = step.then;
    }
    assert_int_equal(shapes, 31);
    assert_true(begun[1] > 100 && begun[2] > 100); /* the others are not held up */
    assert_in_range(begun[0], 3 * begun[1], 4 * begun[1] + 4);
}

static void what_took_long_to_begin_ends_later(void **state)
{
    (void)state;
    struct schedule_context c = {
        .classes = 1, .shapes = {1}, .at_once = 1, .mean_ms = 1000, .until_ms = 60000};
    struct schedule_step step = schedule_next(schedule_start(1), &c, 3000);
    struct schedule s = schedule_took(step.then, step.fault, 10000);
    assert_int_equal(schedule_next(s, &c, 13000).what, SCHEDULE_WAIT);
    assert_int_equal(schedule_next(s, &c, 15000).what, SCHEDULE_END);
}

static void without_faults_nothing_happens(void **state)
{
    (void)state;
    struct schedule_context c = {.at_once = 1, .mean_ms = 1000, .until_ms = 60000};
    assert_int_equal(run_of(1, &c).n, 0);
}

/* ---- shapes ---- */

static struct lot lot_of(uint32_t n, int leader)
{
    uint64_t dice = n;
    return lot_draw(&dice, n, leader);
}

static void a_lot_holds_every_node_once(void **state)
{
    (void)state;
    uint64_t dice = 1;
    uint32_t first[5] = {0};
    for (int k = 0; k < 1000; k++) {
        struct lot lot = lot_draw(&dice, 5, -1);
        uint32_t mask = 0;
        for (uint32_t i = 0; i < 5; i++)
            mask |= 1u << lot.order[i];
        assert_int_equal(mask, 31);
        first[lot.order[0]]++;
    }
    for (uint32_t i = 0; i < 5; i++)
        assert_in_range(first[i], 120, 280);
}

static void sets_of_nodes_have_their_sizes(void **state)
{
    (void)state;
    static const struct {
        uint32_t n, minority, majority;
    } rows[] = {{1, 0, 1}, {2, 0, 2}, {3, 1, 2}, {4, 1, 3}, {5, 2, 3}, {7, 3, 4}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct lot lot = lot_of(rows[i].n, 0);
        assert_int_equal(__builtin_popcount(whom_mask(WHOM_ONE, &lot)), 1);
        assert_int_equal(whom_mask(WHOM_LEADER, &lot), 1);
        assert_int_equal(__builtin_popcount(whom_mask(WHOM_MINORITY, &lot)), rows[i].minority);
        assert_int_equal(__builtin_popcount(whom_mask(WHOM_MAJORITY, &lot)), rows[i].majority);
        assert_int_equal(__builtin_popcount(whom_mask(WHOM_ALL, &lot)), rows[i].n);
        lot.leader = -1;
        assert_int_equal(whom_mask(WHOM_LEADER, &lot), 0);
    }
}

/* Nodes that a node both hears and is heard by, itself included. */
static uint32_t sees(const struct cut *cut, uint32_t i)
{
    uint32_t mask = 1u << i;
    for (uint32_t k = 0; k < cut->n; k++)
        if (k != i && !cut->gone[i][k] && !cut->gone[k][i])
            mask |= 1u << k;
    return mask;
}

static void in_a_ring_everybody_sees_another_majority(void **state)
{
    (void)state;
    struct cut cut;
    char text[200];
    for (uint32_t n = 5; n <= NODES_MAX; n += 2) {
        struct lot lot = lot_of(n, -1);
        assert_true(cut_make(CUT_RING, &lot, &cut, text, sizeof text));
        for (uint32_t i = 0; i < n; i++) {
            assert_true((uint32_t)__builtin_popcount(sees(&cut, i)) > n / 2);
            assert_true((uint32_t)__builtin_popcount(sees(&cut, i)) < n);
            for (uint32_t k = 0; k < i; k++)
                assert_int_not_equal(sees(&cut, i), sees(&cut, k));
        }
    }
    struct lot few = lot_of(4, -1);
    assert_false(cut_make(CUT_RING, &few, &cut, text, sizeof text));
}

static void only_the_bridge_sees_both_halves(void **state)
{
    (void)state;
    struct cut cut;
    char text[200];
    for (uint32_t n = 3; n <= NODES_MAX; n++) {
        struct lot lot = lot_of(n, -1);
        assert_true(cut_make(CUT_BRIDGE, &lot, &cut, text, sizeof text));
        for (uint32_t i = 0; i < n; i++) {
            bool all = sees(&cut, i) == (1u << n) - 1;
            assert_int_equal(all, i == lot.order[0]);
        }
    }
}

/* For each shape: how many of n * (n - 1) directed cables are gone. */
static void shapes_cut_so_many_cables(void **state)
{
    (void)state;
    static const struct {
        enum cut_shape shape;
        uint32_t n, gone;
    } rows[] = {
        {CUT_ONE, 3, 4},     {CUT_ONE, 5, 8},     {CUT_LEADER, 3, 4},  {CUT_MUTE, 3, 2},
        {CUT_MUTE, 5, 4},    {CUT_DEAF, 3, 2},    {CUT_DEAF, 5, 4},    {CUT_HALVES, 3, 4},
        {CUT_HALVES, 5, 12}, {CUT_ONE_WAY, 3, 2}, {CUT_ONE_WAY, 5, 6}, {CUT_THIRD, 3, 4},
        {CUT_THIRD, 7, 20},  {CUT_BRIDGE, 3, 2},  {CUT_BRIDGE, 5, 8},  {CUT_RING, 5, 10},
        {CUT_SWIZZLE, 3, 0}, {CUT_SWIZZLE, 5, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct cut cut;
        char text[200];
        struct lot lot = lot_of(rows[i].n, 1);
        uint32_t gone = 0;
        assert_true(cut_make(rows[i].shape, &lot, &cut, text, sizeof text));
        for (uint32_t a = 0; a < cut.n; a++)
            for (uint32_t b = 0; b < cut.n; b++)
                gone += cut.gone[a][b];
        if (gone != rows[i].gone)
            fail_msg("%s of %u nodes cuts %u cables, not %u", cut_names[rows[i].shape], rows[i].n, gone,
                     rows[i].gone);
    }
}

static void shapes_that_need_a_leader_or_company_say_so(void **state)
{
    (void)state;
    struct cut cut;
    char text[200];
    struct lot nobody = lot_of(3, -1), alone = lot_of(1, 0);
    assert_false(cut_make(CUT_LEADER, &nobody, &cut, text, sizeof text));
    for (int shape = 0; shape < CUT_NR; shape++)
        assert_false(cut_make((enum cut_shape)shape, &alone, &cut, text, sizeof text));
}

static void a_swizzle_goes_one_by_one_and_comes_back(void **state)
{
    (void)state;
    uint64_t dice = 5;
    for (int k = 0; k < 100; k++) {
        struct lot going = lot_draw(&dice, 5, -1), coming = lot_draw(&dice, 5, -1);
        uint32_t members = cut_members(&going), before = 0, gone = 0;
        assert_true(__builtin_popcount(members) >= 2);
        for (uint32_t permille = 0; permille <= 1000; permille++) {
            uint32_t mask = cut_swizzle(&going, &coming, members, permille);
            assert_int_equal(mask & ~members, 0);
            assert_true(__builtin_popcount(mask ^ before) <= 1 || permille == 500);
            if (permille < 500)
                assert_int_equal(before & ~mask, 0); /* nobody comes back yet */
            else if (permille > 500)
                assert_int_equal(mask & ~before, 0); /* nobody goes any more */
            gone |= mask;
            before = mask;
        }
        assert_int_equal(gone, members);
        assert_int_equal(before, 0);
    }
}

/* ---- logs ---- */

static void logs_that_tell_of_a_crash_are_known(void **state)
{
    (void)state;
    static const char *const crashes[] = {
        "assentd: raftlog/core.c:12: core_apply: Assertion `index == 7' failed.",
        "==812==ERROR: AddressSanitizer: heap-use-after-free on address 0x60200000eff0",
        "==812==ERROR: LeakSanitizer: detected memory leaks",
        "WARNING: ThreadSanitizer: data race (pid=812)",
        "node/http.c:9:3: runtime error: load of null pointer of type 'char'",
        "free(): invalid pointer",
        "malloc(): corrupted top size",
        "double free or corruption (out)",
        "*** stack smashing detected ***: terminated",
    };
    static const char *const others[] = {
        "{\"level\":\"info\",\"event\":\"role\",\"node\":1,\"role\":\"leader\",\"term\":2}",
        "{\"level\":\"error\",\"event\":\"broken\",\"reason\":\"commit 243 of the log failed: Input/output "
        "error\"}",
        "assentd: cannot write in the data directory d: Input/output error",
        "",
    };
    for (size_t i = 0; i < sizeof crashes / sizeof crashes[0]; i++)
        if (!crash_line(crashes[i]))
            fail_msg("not seen: %s", crashes[i]);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (crash_line(others[i]))
            fail_msg("no crash: %s", others[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_class_and_shape_comes_before_any_comes_again),
        cmocka_unit_test(several_are_together_unless_they_keep_apart),
        cmocka_unit_test(a_seed_fixes_the_schedule),
        cmocka_unit_test(what_was_refused_is_not_in_force),
        cmocka_unit_test(what_is_refused_is_tried_again_but_not_for_ever),
        cmocka_unit_test(what_took_long_to_begin_ends_later),
        cmocka_unit_test(without_faults_nothing_happens),
        cmocka_unit_test(a_lot_holds_every_node_once),
        cmocka_unit_test(sets_of_nodes_have_their_sizes),
        cmocka_unit_test(in_a_ring_everybody_sees_another_majority),
        cmocka_unit_test(only_the_bridge_sees_both_halves),
        cmocka_unit_test(shapes_cut_so_many_cables),
        cmocka_unit_test(shapes_that_need_a_leader_or_company_say_so),
        cmocka_unit_test(logs_that_tell_of_a_crash_are_known),
        cmocka_unit_test(a_swizzle_goes_one_by_one_and_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
