/* The pure parts of the client: what follows a failure, pauses, addresses, the session's window. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static void each_code_has_one_action(void **state)
{
    (void)state;
    static const struct {
        int code;
        bool repeatable;
        enum retry_action want;
    } rows[] = {
        {ASSENT_NOT_LEADER, false, RETRY_ELSEWHERE},
        {ASSENT_NO_LEADER, true, RETRY_ELSEWHERE},
        {ASSENT_SHUTDOWN, false, RETRY_ELSEWHERE},
        {ASSENT_STOPPED, true, RETRY_ELSEWHERE},
        {ASSENT_BUSY, false, RETRY_HERE},
        {ASSENT_NO_SPACE, true, RETRY_HERE},
        {ASSENT_UNKNOWN_OUTCOME, true, RETRY_HERE},
        {ASSENT_UNKNOWN_OUTCOME, false, RETRY_SURFACE},
        {ASSENT_TIMEOUT, false, RETRY_SURFACE},
        {ASSENT_TIMEOUT, true, RETRY_HERE},
        {ASSENT_SESSION_EXPIRED, true, RETRY_SURFACE},
        {ASSENT_INVALID, true, RETRY_SURFACE},
        {ASSENT_TOO_LARGE, false, RETRY_SURFACE},
        {ASSENT_TXN_DECIDED, true, RETRY_SURFACE},
        {999, true, RETRY_SURFACE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(retry_decide(rows[i].code, rows[i].repeatable), rows[i].want);
    }
}

/* Whatever is sent again by itself must be safe by the error table's own rule. */
static void nothing_uncertain_is_repeated_without_a_session(void **state)
{
    (void)state;
    for (int code = 0; code < 100; code++) {
        if (retry_decide(code, false) != RETRY_SURFACE) {
            assert_int_equal(assent_error_retry(code), ASSENT_RETRY_LATER);
        }
        if (retry_decide(code, true) != RETRY_SURFACE) {
            assert_int_not_equal(assent_error_retry(code), ASSENT_RETRY_NEVER);
        }
    }
}

static void pauses_double_to_the_cap_and_vary(void **state)
{
    (void)state;
    struct retry_backoff b;
    retry_backoff_init(&b, 20, 1000, 42);
    uint32_t step = 20;
    bool varied = false;
    for (int i = 0; i < 20; i++) {
        uint32_t pause = retry_backoff_next(&b);
        assert_in_range(pause, step / 2, step);
        varied |= pause != step;
        step = step * 2 > 1000 ? 1000 : step * 2;
    }
    assert_true(varied);
    retry_backoff_reset(&b);
    assert_in_range(retry_backoff_next(&b), 10, 20);
}

static void the_smallest_pause_stays_in_range(void **state)
{
    (void)state;
    struct retry_backoff b;
    retry_backoff_init(&b, 1, 1, 0);
    for (int i = 0; i < 10; i++) {
        assert_in_range(retry_backoff_next(&b), 1, 1);
    }
}

static void addresses_are_taken_apart(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int want;
    } rows[] = {
        {"127.0.0.1:7080", 1},
        {"a:1,b:2 , c:65535", 3},
        {"[::1]:7080", 1},
        {"host.example:80,", 1},
        {NULL, -1},
        {"", -1},
        {",", -1},
        {"a", -1},
        {":80", -1},
        {"a:", -1},
        {"a:0", -1},
        {"a:65536", -1},
        {"a:12x", -1},
        {"a:-1", -1},
        {"::1:80", -1},
        {"a:1,,b:1", -1},
        {"a:1,a:1,a:1,a:1,a:1", -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char list[4][RETRY_ADDRESS_BYTES];
        if (retry_addresses(rows[i].text, list, 4) != rows[i].want) {
            fail_msg("%s", rows[i].text);
        }
    }
    char host[RETRY_ADDRESS_BYTES], port[8], longest[300];
    assert_true(retry_split("[fe80::1]:70", host, port));
    assert_string_equal(host, "fe80::1");
    assert_string_equal(port, "70");
    memset(longest, 'x', sizeof longest);
    memcpy(longest + 290, ":80", 4);
    char list[1][RETRY_ADDRESS_BYTES];
    assert_int_equal(retry_addresses(longest, list, 1), -1);
}

static void acknowledgement_waits_for_the_oldest(void **state)
{
    (void)state;
    struct session *s = calloc(1, sizeof *s);
    session_begin(s, 9, 0);
    for (uint64_t i = 1; i <= 4; i++) {
        assert_int_equal(session_take(s), i);
    }
    session_answered(s, 9, 2);
    session_answered(s, 9, 3);
    assert_int_equal(s->acknowledged, 0);
    session_answered(s, 8, 1); /* of another session */
    assert_int_equal(s->acknowledged, 0);
    session_answered(s, 9, 1);
    assert_int_equal(s->acknowledged, 3);
    session_answered(s, 9, 4);
    assert_int_equal(s->acknowledged, 4);
    free(s);
}

static void the_window_of_a_session_is_bounded(void **state)
{
    (void)state;
    struct session *s = calloc(1, sizeof *s);
    session_begin(s, 9, 0);
    for (uint64_t i = 1; i <= SESSION_WINDOW; i++) {
        assert_true(session_has_room(s));
        (void)session_take(s);
        if (i > 1) {
            session_answered(s, 9, i);
        }
    }
    assert_false(session_has_room(s));
    session_answered(s, 9, 1);
    assert_true(session_has_room(s));
    assert_int_equal(s->acknowledged, SESSION_WINDOW);
    for (uint64_t i = 0; i < 3 * SESSION_WINDOW; i++) { /* around the ring */
        session_answered(s, 9, session_take(s));
    }
    assert_int_equal(s->acknowledged, 4 * SESSION_WINDOW);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_code_has_one_action),
        cmocka_unit_test(nothing_uncertain_is_repeated_without_a_session),
        cmocka_unit_test(pauses_double_to_the_cap_and_vary),
        cmocka_unit_test(the_smallest_pause_stays_in_range),
        cmocka_unit_test(addresses_are_taken_apart),
        cmocka_unit_test(acknowledgement_waits_for_the_oldest),
        cmocka_unit_test(the_window_of_a_session_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
