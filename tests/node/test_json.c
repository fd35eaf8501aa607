/* Claims about JSON text: escapes, bounds, raw pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "json.h"

static struct assent_bytes bytes(const char *s)
{
    return (struct assent_bytes){(const uint8_t *)s, strlen(s)};
}

static void expect(struct text *t, const char *want)
{
    assert_int_equal(t->size, strlen(want));
    assert_memory_equal(t->base, want, t->size);
}

static void strings_are_escaped_and_repaired(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"plain", "\"plain\""},
        {"", "\"\""},
        {"a\"b\\c", "\"a\\\"b\\\\c\""},
        {"tab\tnl\ncr\r", "\"tab\\tnl\\ncr\\r\""},
        {"\x01\x1f\x7f", "\"\\u0001\\u001f\\u007f\""},
        {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""},
        {"bad\xff!", "\"bad\xef\xbf\xbd!\""},
        {"cut\xc3", "\"cut\xef\xbf\xbd\""},
        {"overlong\xc0\xaf", "\"overlong\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""}, /* a surrogate */
    };
    struct text t;
    text_init(&t, 1000);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        text_reset(&t);
        json_quote(&t, bytes(rows[i].in));
        expect(&t, rows[i].out);
    }
    text_close(&t);
}

static void numbers_reach_their_limits(void **state)
{
    (void)state;
    struct text t;
    text_init(&t, 1000);
    text_uint(&t, UINT64_MAX);
    text_char(&t, ' ');
    text_int(&t, INT64_MIN);
    text_char(&t, ' ');
    text_int(&t, 0);
    expect(&t, "18446744073709551615 -9223372036854775808 0");
    text_close(&t);
}

static void a_full_buffer_says_so_and_writes_no_more(void **state)
{
    (void)state;
    struct text t;
    text_init(&t, 8);
    text_cstr(&t, "12345");
    text_cstr(&t, "6789");
    assert_true(t.overflow);
    text_char(&t, 'x');
    expect(&t, "12345");
    text_reset(&t);
    text_cstr(&t, "12345678");
    assert_false(t.overflow);
    text_close(&t);
}

static void long_formats_fit_exactly(void **state)
{
    (void)state;
    char wide[600];
    memset(wide, 'a', sizeof wide - 1);
    wide[sizeof wide - 1] = 0;
    struct text t;
    text_init(&t, 2000);
    text_printf(&t, "<%s>", wide);
    assert_int_equal(t.size, strlen(wide) + 2);
    assert_int_equal(t.base[0], '<');
    assert_int_equal(t.base[t.size - 1], '>');
    text_close(&t);
}

static void members_are_cut_raw_and_in_order(void **state)
{
    (void)state;
    const char *text = " { \"a\" : 1.10 , \"b\\\"}\":[1, {\"x\":\"]\"}] ,\"c\":{}, \"d\" : null } ";
    static const char *const keys[] = {"\"a\"", "\"b\\\"}\"", "\"c\"", "\"d\""};
    static const char *const values[] = {"1.10", "[1, {\"x\":\"]\"}]", "{}", "null"};
    struct json_cursor c = {text, text + strlen(text)};
    struct assent_bytes key, value;
    json_enter(&c);
    for (int i = 0; i < 4; i++) {
        assert_true(json_next(&c, true, &key, &value));
        assert_int_equal(key.size, strlen(keys[i]));
        assert_memory_equal(key.base, keys[i], key.size);
        assert_int_equal(value.size, strlen(values[i]));
        assert_memory_equal(value.base, values[i], value.size);
    }
    assert_false(json_next(&c, true, &key, &value));
}

static void compacting_keeps_numbers_and_strings(void **state)
{
    (void)state;
    struct text t;
    text_init(&t, 1000);
    assert_true(json_compact(&t, bytes(" { \"a b\" : [ 1.10 , 1e5,\n \" \\\" { \" ] , \"z\":true } ")));
    expect(&t, "{\"a b\":[1.10,1e5,\" \\\" { \"],\"z\":true}");
    text_close(&t);
}

static void depth_is_bounded(void **state)
{
    (void)state;
    char deep[2 * ASSENT_NESTING_MAX + 3] = "";
    for (int i = 0; i < ASSENT_NESTING_MAX; i++)
        strcat(deep, "[");
    for (int i = 0; i < ASSENT_NESTING_MAX; i++)
        strcat(deep, "]");
    assert_true(json_valid(bytes(deep)));
    memmove(deep + 1, deep, strlen(deep) + 1);
    strcat(deep, "]");
    assert_false(json_valid(bytes(deep)));
    assert_false(json_valid(bytes("{\"a\":}")));
    assert_false(json_valid(bytes("1 2")));
    assert_true(json_valid(bytes("\"scalar\"")));
}

static void values_of_every_kind_become_json(void **state)
{
    (void)state;
    struct codec_writer w;
    struct codec_arena a;
    struct text t;
    codec_writer_init(&w);
    codec_arena_init(&a);
    text_init(&t, 1000);
    codec_map(&w, 8);
    codec_pair_uint(&w, "u", UINT64_MAX);
    codec_pair_int(&w, "i", -5);
    codec_pair_bool(&w, "b", true);
    codec_pair_cstr(&w, "t", "x\"y");
    codec_pair_json(&w, "j", bytes("{\"n\":1.10}"));
    codec_cstr(&w, "nil");
    codec_nil(&w);
    codec_cstr(&w, "l");
    codec_list(&w, 2);
    codec_uint(&w, 1);
    codec_list(&w, 0);
    codec_cstr(&w, "bin");
    codec_bin(&w, (struct assent_bytes){(const uint8_t *)"\x00\xff", 2});
    json_value(&t, codec_parse(&a, codec_written(&w)));
    expect(&t,
           "{\"u\":18446744073709551615,\"i\":-5,\"b\":true,\"t\":\"x\\\"y\",\"j\":{\"n\":1.10},\"nil\":null,"
           "\"l\":[1,[]],\"bin\":\"00ff\"}");
    text_close(&t);
    codec_arena_close(&a);
    codec_writer_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_are_escaped_and_repaired),
        cmocka_unit_test(numbers_reach_their_limits),
        cmocka_unit_test(a_full_buffer_says_so_and_writes_no_more),
        cmocka_unit_test(long_formats_fit_exactly),
        cmocka_unit_test(members_are_cut_raw_and_in_order),
        cmocka_unit_test(compacting_keeps_numbers_and_strings),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(values_of_every_kind_become_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
