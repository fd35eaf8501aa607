/* The clock algebra against tables, and against a naive model on random vectors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "assent/clock.h"

static struct assent_bytes text(const char *s)
{
    return (struct assent_bytes){(const uint8_t *)s, strlen(s)};
}

/* "a1b20" is {a:1, b:20}; members of one letter. */
static struct assent_vector parse(struct assent_counter *room, uint32_t capacity, const char *s)
{
    struct assent_vector v = {room, 0, capacity};
    while (*s != '\0') {
        struct assent_bytes member = {(const uint8_t *)s++, 1};
        uint64_t count = 0;
        while (*s >= '0' && *s <= '9') {
            count = count * 10 + (uint64_t)(*s++ - '0');
        }
        room[v.n++] = (struct assent_counter){member, count};
    }
    return v;
}

static void order_of_two_vectors_is_as_in_the_table(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        enum assent_order order;
    } rows[] = {
        {"", "", ASSENT_EQUAL},
        {"a0", "", ASSENT_EQUAL}, /* an absent member counts as 0 */
        {"", "b0c0", ASSENT_EQUAL},
        {"a1", "a1", ASSENT_EQUAL},
        {"a1", "a2", ASSENT_BEFORE},
        {"", "a1", ASSENT_BEFORE},
        {"a1", "a1b1", ASSENT_BEFORE},
        {"b1", "a1b1c1", ASSENT_BEFORE},
        {"a2", "a1", ASSENT_AFTER},
        {"a1c1", "c1", ASSENT_AFTER},
        {"a1", "b1", ASSENT_CONCURRENT},
        {"a2b1", "a1b2", ASSENT_CONCURRENT},
        {"a1c1", "a1b1", ASSENT_CONCURRENT},
        {"a1b0", "a1", ASSENT_EQUAL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct assent_counter left[8], right[8];
        struct assent_vector a = parse(left, 8, rows[i].a), b = parse(right, 8, rows[i].b);
        assert_string_equal(assent_order_name(assent_vector_compare(&a, &b)),
                            assent_order_name(rows[i].order));
    }
}

static void sort_refuses_a_member_twice_and_a_member_without_name(void **state)
{
    (void)state;
    struct assent_counter room[4];
    struct assent_vector v = parse(room, 4, "c1a2b3");
    assert_true(assent_vector_sort(&v));
    assert_memory_equal(v.entries[0].member.base, "a", 1);
    assert_memory_equal(v.entries[2].member.base, "c", 1);
    v = parse(room, 4, "c1a2c3");
    assert_false(assent_vector_sort(&v));
    v = parse(room, 4, "c1a2");
    v.entries[0].member.size = 0;
    assert_false(assent_vector_sort(&v));
}

static void a_shorter_name_sorts_before_its_extension(void **state)
{
    (void)state;
    struct assent_counter room[4];
    struct assent_vector v = {room, 0, 4};
    assert_true(assent_vector_set(&v, text("node-10"), 1));
    assert_true(assent_vector_set(&v, text("node-1"), 2));
    assert_true(assent_vector_set(&v, text("node"), 3));
    assert_int_equal(v.entries[0].count, 3);
    assert_int_equal(v.entries[1].count, 2);
    assert_int_equal(v.entries[2].count, 1);
    assert_true(assent_vector_sort(&v));
    assert_int_equal(v.entries[0].count, 3);
}

static void a_full_vector_takes_known_members_only(void **state)
{
    (void)state;
    struct assent_counter room[2], more[3];
    struct assent_vector v = parse(room, 2, "a1b1");
    assert_false(assent_vector_set(&v, text("c"), 1));
    assert_false(assent_vector_tick(&v, text("c")));
    assert_true(assent_vector_tick(&v, text("b")));
    struct assent_vector wide = parse(more, 3, "a9c1");
    assert_false(assent_vector_merge(&v, &wide));
    assert_int_equal(assent_vector_get(&v, text("a")), 1); /* unchanged */
    assert_int_equal(v.n, 2);
    struct assent_vector narrow = parse(more, 3, "b9");
    assert_true(assent_vector_merge(&v, &narrow));
    assert_int_equal(assent_vector_get(&v, text("b")), 9);
}

static void counters_do_not_overflow(void **state)
{
    (void)state;
    uint64_t lamport = 5;
    assert_true(assent_lamport_sync(&lamport, 9));
    assert_int_equal(lamport, 10);
    assert_true(assent_lamport_sync(&lamport, 3));
    assert_int_equal(lamport, 11);
    assert_false(assent_lamport_sync(&lamport, UINT64_MAX));
    assert_int_equal(lamport, 11);
    struct assent_counter room[1];
    struct assent_vector v = {room, 0, 1};
    assert_true(assent_vector_set(&v, text("a"), UINT64_MAX));
    assert_false(assent_vector_tick(&v, text("a")));
}

static void remove_forgets_a_member_and_minds_no_stranger(void **state)
{
    (void)state;
    struct assent_counter room[3];
    struct assent_vector v = parse(room, 3, "a1b2c3");
    assent_vector_remove(&v, text("b"));
    assent_vector_remove(&v, text("x"));
    assert_int_equal(v.n, 2);
    assert_int_equal(assent_vector_get(&v, text("b")), 0);
    assert_int_equal(assent_vector_get(&v, text("c")), 3);
}

/* xorshift: the same numbers on every machine. */
static uint32_t next_random(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

enum { LETTERS = 6 };

static struct assent_vector draw(uint32_t *seed, struct assent_counter *room, uint64_t *model)
{
    static const char letters[] = "abcdef";
    struct assent_vector v = {room, 0, LETTERS};
    for (uint32_t i = 0; i < LETTERS; i++) {
        model[i] = next_random(seed) % 3;
        if (model[i] > 0) {
            room[v.n++] = (struct assent_counter){{(const uint8_t *)&letters[i], 1}, model[i]};
        }
    }
    return v;
}

static void merge_and_compare_agree_with_a_model(void **state)
{
    (void)state;
    uint32_t seed = 0x5eed1;
    for (int round = 0; round < 20000; round++) {
        struct assent_counter left[LETTERS], right[LETTERS];
        uint64_t a[LETTERS], b[LETTERS];
        struct assent_vector x = draw(&seed, left, a), y = draw(&seed, right, b);
        bool less = false, more = false;
        for (int i = 0; i < LETTERS; i++) {
            less |= a[i] < b[i];
            more |= a[i] > b[i];
        }
        enum assent_order order = less && more ? ASSENT_CONCURRENT
                                  : less       ? ASSENT_BEFORE
                                  : more       ? ASSENT_AFTER
                                               : ASSENT_EQUAL;
        assert_int_equal(assent_vector_compare(&x, &y), order);
        assert_true(assent_vector_merge(&x, &y));
        assert_true(assent_vector_sort(&x));
        for (int i = 0; i < LETTERS; i++) {
            struct assent_bytes member = {(const uint8_t *)&"abcdef"[i], 1};
            assert_int_equal(assent_vector_get(&x, member), a[i] > b[i] ? a[i] : b[i]);
        }
        enum assent_order after = assent_vector_compare(&y, &x);
        assert_true(after == ASSENT_BEFORE || after == ASSENT_EQUAL);
    }
}

static void orders_have_names_for_events_and_for_versions(void **state)
{
    (void)state;
    assert_string_equal(assent_order_name(ASSENT_AFTER), "AFTER");
    assert_string_equal(assent_version_order_name(ASSENT_BEFORE), "OLDER");
    assert_string_equal(assent_version_order_name(ASSENT_AFTER), "NEWER");
    assert_string_equal(assent_version_order_name(ASSENT_EQUAL), "EQUAL");
    assert_string_equal(assent_version_order_name(ASSENT_CONCURRENT), "CONCURRENT");
}

static void tso_layout_splits_and_joins(void **state)
{
    (void)state;
    uint64_t ts = assent_tso_make(1700000000123, 262143);
    assert_true(assent_tso_physical_ms(ts) == 1700000000123);
    assert_int_equal(assent_tso_logical(ts), 262143);
    assert_true(ts + 1 == assent_tso_make(1700000000124, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_of_two_vectors_is_as_in_the_table),
        cmocka_unit_test(sort_refuses_a_member_twice_and_a_member_without_name),
        cmocka_unit_test(a_shorter_name_sorts_before_its_extension),
        cmocka_unit_test(a_full_vector_takes_known_members_only),
        cmocka_unit_test(counters_do_not_overflow),
        cmocka_unit_test(remove_forgets_a_member_and_minds_no_stranger),
        cmocka_unit_test(merge_and_compare_agree_with_a_model),
        cmocka_unit_test(orders_have_names_for_events_and_for_versions),
        cmocka_unit_test(tso_layout_splits_and_joins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
