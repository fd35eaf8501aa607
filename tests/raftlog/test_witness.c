/* Tests of raftlog/witness.c: which of two slots counts, and what contradicts a note. */
#include "witness.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int setup(void **state)
{
    char *path = calloc(1, 300);
    const char *tmp = getenv("TMPDIR");
    snprintf(path, 300, "%s/assent-witness-XXXXXX", tmp == NULL ? "/tmp" : tmp);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    *state = path;
    return 0;
}

static int teardown(void **state)
{
    unlink(*state);
    free(*state);
    return 0;
}

static void the_newest_note_survives_reopening(void **state)
{
    struct witness w = {0};
    struct witness_note out;
    assert_int_equal(witness_open(&w, *state), 0);
    assert_false(witness_newest(&w, &out));
    for (uint64_t i = 1; i <= 5; i++) {
        const struct witness_note note = {.commit = i, .last = 10 * i, .crc = i, .term = 1, .vote = 2};
        witness_note(&w, &note);
    }
    witness_close(&w);
    witness_close(&w);
    assert_int_equal(witness_open(&w, *state), 0);
    assert_true(witness_newest(&w, &out));
    assert_int_equal(out.commit, 5);
    assert_int_equal(out.last, 50);
    witness_close(&w);
}

static void a_torn_note_leaves_the_one_before(void **state)
{
    struct witness w = {0};
    struct witness_note out;
    assert_int_equal(witness_open(&w, *state), 0);
    for (uint64_t i = 4; i <= 5; i++) {
        const struct witness_note note = {.commit = i, .last = i};
        witness_note(&w, &note);
    }
    w.map[64 + 8] ^= 1; /* slot of commit 5 */
    assert_true(witness_newest(&w, &out));
    assert_int_equal(out.commit, 4);
    w.map[8] ^= 1;
    assert_false(witness_newest(&w, &out));
    witness_close(&w);
}

static void an_older_log_contradicts_and_a_newer_one_does_not(void **state)
{
    static const struct {
        struct witness_note noted, found;
        bool agrees;
        const char *why;
    } rows[] = {
        {{9, 90, 5, 2, 1}, {9, 90, 5, 2, 1}, true, "the same"},
        {{9, 90, 5, 2, 1}, {11, 80, 4, 3, 0}, true, "later: the tail may have been replaced"},
        {{9, 90, 5, 2, 1}, {8, 90, 5, 2, 1}, false, "an earlier commit"},
        {{9, 90, 5, 2, 1}, {9, 89, 5, 2, 1}, false, "the same commit with another end"},
        {{9, 90, 5, 2, 1}, {9, 90, 6, 2, 1}, false, "the same commit with another last entry"},
        {{9, 90, 5, 2, 1}, {9, 90, 5, 1, 1}, false, "the same commit with another term"},
        {{9, 90, 5, 2, 1}, {9, 90, 5, 2, 0}, false, "the same commit with another vote"},
        {{9, 90, 5, 2, 1}, {10, 90, 5, 1, 1}, false, "a later commit of an earlier term"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (witness_agrees(&rows[i].noted, &rows[i].found) != rows[i].agrees) {
            fail_msg("%s", rows[i].why);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_newest_note_survives_reopening, setup, teardown),
        cmocka_unit_test_setup_teardown(a_torn_note_leaves_the_one_before, setup, teardown),
        cmocka_unit_test(an_older_log_contradicts_and_a_newer_one_does_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
