/* Frames of the native protocol. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "frame.h"

static struct codec_writer w;
static struct codec_arena a;

static int setup(void **state)
{
    (void)state;
    codec_writer_init(&w);
    codec_arena_init(&a);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    codec_writer_close(&w);
    codec_arena_close(&a);
    return 0;
}

static void frames_gathered_in_one_writer_come_out_one_by_one(void **state)
{
    (void)state;
    size_t mark = frame_open(&w, FRAME_COMMAND, 1, 1);
    codec_bin(&w, (struct assent_bytes){(const uint8_t *)"abc", 3});
    frame_close(&w, mark);
    mark = frame_open(&w, FRAME_PING, UINT64_MAX, 0);
    frame_close(&w, mark);
    mark = frame_open(&w, FRAME_PONG, 3, 2);
    codec_nil(&w);
    codec_bool(&w, true);
    frame_close(&w, mark);
    struct assent_bytes in = codec_written(&w), body;
    static const enum frame_kind kinds[] = {FRAME_COMMAND, FRAME_PING, FRAME_PONG};
    static const uint64_t ids[] = {1, UINT64_MAX, 3};
    for (int i = 0; i < 3; i++) {
        enum frame_kind kind;
        uint64_t id;
        const struct codec_node *list;
        int64_t n = frame_next(in, &body);
        assert_true(n > 0);
        assert_true(frame_decode(&a, body, &kind, &id, &list));
        assert_int_equal(kind, kinds[i]);
        assert_true(id == ids[i]);
        if (i == 0)
            assert_memory_equal(codec_as_bytes(codec_at(list, 2)).base, "abc", 3);
        in.base += n;
        in.size -= (size_t)n;
    }
    assert_int_equal(in.size, 0);
    assert_int_equal(frame_next(in, &body), 0);
}

static void half_a_frame_waits_for_the_rest(void **state)
{
    (void)state;
    size_t mark = frame_open(&w, FRAME_TSO, 9, 2);
    codec_uint(&w, 100);
    codec_bool(&w, true);
    frame_close(&w, mark);
    struct assent_bytes whole = codec_written(&w), body;
    for (size_t n = 0; n < whole.size; n++)
        assert_int_equal(frame_next((struct assent_bytes){whole.base, n}, &body), 0);
    assert_int_equal(frame_next(whole, &body), (int64_t)whole.size);
}

static void impossible_lengths_end_the_connection(void **state)
{
    (void)state;
    struct assent_bytes body;
    static const char *const rows[] = {"\0\0\0\0", "\xff\xff\xff\xff", "GET "};
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(frame_next((struct assent_bytes){(const uint8_t *)rows[i], 4}, &body), -1);
}

static void bodies_of_another_shape_are_no_frames(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "\xc0",                     /* nil */
        "\x90",                     /* an empty list */
        "\x91\x09",                 /* no id */
        "\x92\x09\xc0",             /* the id is nil */
        "\x92\x0b\x01",             /* a kind nobody has */
        "\x93\x09\x01\x01",         /* a PING with a value */
        "\x93\x03\x01\xa1x",        /* a COMMAND in a text */
        "\x94\x04\x01\xc4\x01",     /* cut off */
        "\x94\x05\x01\x01\x01",     /* strict is no bool */
        "\x95\x06\x01\x01\x01\xc0", /* a RESULT without a result */
        "\x95\x07\x01\x01\xc3\xc0", /* a detail that is true */
        "\x95\x01\x01\x01\x01\x01", /* HELLO of numbers */
        "\x82\x09\x01\x02\x03",     /* a map */
        "\x92\xcf\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    };
    enum frame_kind kind;
    uint64_t id;
    const struct codec_node *list;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct assent_bytes body = {(const uint8_t *)rows[i], strlen(rows[i])};
        if (frame_decode(&a, body, &kind, &id, &list))
            fail_msg("row %zu", i);
    }
    assert_true(
        frame_decode(&a, (struct assent_bytes){(const uint8_t *)"\x92\x09\x01", 3}, &kind, &id, &list));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(frames_gathered_in_one_writer_come_out_one_by_one),
        TEST(half_a_frame_waits_for_the_rest),
        TEST(impossible_lengths_end_the_connection),
        TEST(bodies_of_another_shape_are_no_frames),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
