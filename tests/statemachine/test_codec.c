/* Values: every kind survives the way, and no forged buffer is believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "assent/error.h"
#include "codec.h"
#include "text.h"

static struct assent_bytes text(const char *s)
{
    return (struct assent_bytes){(const uint8_t *)s, strlen(s)};
}

static bool same(struct assent_bytes a, const char *s)
{
    return a.size == strlen(s) && memcmp(a.base, s, a.size) == 0;
}

static void every_kind_survives_a_round_trip(void **state)
{
    (void)state;
    struct codec_writer w;
    struct codec_arena a;
    codec_writer_init(&w);
    codec_arena_init(&a);
    codec_map(&w, 10);
    codec_cstr(&w, "nil");
    codec_nil(&w);
    codec_pair_bool(&w, "yes", true);
    codec_pair_uint(&w, "large", UINT64_MAX);
    codec_pair_int(&w, "negative", INT64_MIN);
    codec_pair_int(&w, "positive", 7);
    codec_pair_cstr(&w, "text", "t\xc3\xa4xt");
    codec_pair_json(&w, "json", text("{\"a\": [1, 2]}"));
    codec_pair_json(&w, "nojson", text(""));
    codec_cstr(&w, "bin");
    codec_bin(&w, (struct assent_bytes){(const uint8_t *)"\0\xff", 2});
    codec_cstr(&w, "list");
    codec_list(&w, 2);
    codec_uint(&w, 1);
    codec_list(&w, 0);
    const struct codec_node *n = codec_parse(&a, codec_written(&w));
    assert_non_null(n);
    assert_int_equal(codec_size(n), 10);
    assert_int_equal(codec_kind(codec_get(n, "nil")), CODEC_NIL);
    assert_true(codec_as_bool(codec_get(n, "yes")));
    assert_true(codec_as_uint(codec_get(n, "large")) == UINT64_MAX);
    assert_true(codec_as_int(codec_get(n, "large")) == INT64_MAX);
    assert_true(codec_as_int(codec_get(n, "negative")) == INT64_MIN);
    assert_int_equal(codec_kind(codec_get(n, "positive")), CODEC_UINT);
    assert_int_equal(codec_as_int(codec_get(n, "positive")), 7);
    assert_true(same(codec_as_bytes(codec_get(n, "text")), "t\xc3\xa4xt"));
    assert_int_equal(codec_kind(codec_get(n, "json")), CODEC_JSON);
    assert_true(same(codec_as_bytes(codec_get(n, "json")), "{\"a\": [1, 2]}"));
    assert_int_equal(codec_kind(codec_get(n, "nojson")), CODEC_NIL);
    assert_int_equal(codec_kind(codec_get(n, "bin")), CODEC_BIN);
    assert_int_equal(codec_as_bytes(codec_get(n, "bin")).size, 2);
    assert_int_equal(codec_size(codec_get(n, "list")), 2);
    assert_int_equal(codec_as_uint(codec_at(codec_get(n, "list"), 0)), 1);
    assert_int_equal(codec_kind(codec_at(codec_get(n, "list"), 1)), CODEC_LIST);
    assert_true(same(codec_as_bytes(codec_key_at(n, 1)), "yes"));
    assert_true(codec_as_bool(codec_value_at(n, 1)));
    codec_arena_close(&a);
    codec_writer_close(&w);
}

static void what_is_not_there_reads_as_nothing(void **state)
{
    (void)state;
    assert_int_equal(codec_kind(NULL), CODEC_NIL);
    assert_int_equal(codec_as_uint(NULL), 0);
    assert_int_equal(codec_as_int(NULL), 0);
    assert_false(codec_as_bool(NULL));
    assert_int_equal(codec_size(NULL), 0);
    assert_int_equal(codec_as_bytes(NULL).size, 0);
    assert_null(codec_at(NULL, 0));
    assert_null(codec_get(NULL, "x"));
    assert_null(codec_key_at(NULL, 0));
    assert_null(codec_value_at(NULL, 0));
}

/* One row: bytes, how many the first value takes (0: malformed), whether it may be parsed as a whole. */
#define ROW(s, skip, parse)                                                                                  \
    {                                                                                                        \
        (const uint8_t *)s, sizeof s - 1, skip, parse                                                        \
    }

static void forged_buffers_are_refused(void **state)
{
    (void)state;
    static const struct {
        const uint8_t *base;
        size_t size, skip;
        bool parses;
    } rows[] = {
        ROW("", 0, false),
        ROW("\xc0", 1, true),
        ROW("\x01\x02", 1, false),                         /* trailing bytes */
        ROW("\xc1", 0, false),                             /* reserved */
        ROW("\xdd\xff\xff\xff\xff", 0, false),             /* 4 G members in no bytes */
        ROW("\xdd\xff\xff\xff\xff\x01\x01\x01", 0, false), /* still */
        ROW("\xdf\xff\xff\xff\xff\x01\x01", 0, false),
        ROW("\xdc\xff", 0, false), /* half a head */
        ROW("\xdb\x00\x00\x00\x02x", 0, false),
        ROW("\xdb\xff\xff\xff\xffx", 0, false),
        ROW("\xc6\xff\xff\xff\xff", 0, false),
        ROW("\xc9\xff\xff\xff\xff\x01", 0, false), /* ext32: the type byte counts too */
        ROW("\xc7\x00\x01", 3, true),              /* an empty JSON text */
        ROW("\xc7\x01\x01", 0, false),
        ROW("\xa3xy", 0, false),
        ROW("\x92\x01", 0, false),
        ROW("\x81\x01", 0, false),
        ROW("\x81\x01\x02", 3, true),
        ROW("\xca\x00\x00\x00\x00", 5, true), /* a float: a kind nobody reads */
        ROW("\xcb\x00\x00\x00\x00", 0, false),
        ROW("\xd8\x01"
            "0123456789abcdef",
            18, true),
        ROW("\xcd\x01", 0, false),
        ROW("\xe0", 1, true),
    };
    struct codec_arena a;
    codec_arena_init(&a);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct assent_bytes b = {rows[i].base, rows[i].size};
        if (codec_skip(b) != rows[i].skip || (codec_parse(&a, b) != NULL) != rows[i].parses)
            fail_msg("row %zu", i);
    }
    codec_arena_close(&a);
}

static void nesting_is_bounded(void **state)
{
    (void)state;
    uint8_t deep[ASSENT_NESTING_MAX + 2];
    struct codec_arena a;
    codec_arena_init(&a);
    memset(deep, 0x91, sizeof deep);
    deep[ASSENT_NESTING_MAX - 1] = 0x01;
    assert_non_null(codec_parse(&a, (struct assent_bytes){deep, ASSENT_NESTING_MAX}));
    deep[ASSENT_NESTING_MAX - 1] = 0x91;
    deep[ASSENT_NESTING_MAX + 1] = 0x01;
    assert_int_equal(codec_skip((struct assent_bytes){deep, ASSENT_NESTING_MAX + 2}), 0);
    assert_null(codec_parse(&a, (struct assent_bytes){deep, ASSENT_NESTING_MAX + 2}));
    static const uint8_t empty[] = {0x90, 0x80};
    for (size_t i = 0; i < sizeof empty; i++) { /* empty list and map: one level more, no value inside */
        deep[ASSENT_NESTING_MAX] = empty[i];
        assert_int_equal(codec_skip((struct assent_bytes){deep, ASSENT_NESTING_MAX + 1}), 0);
        assert_null(codec_parse(&a, (struct assent_bytes){deep, ASSENT_NESTING_MAX + 1}));
        deep[ASSENT_NESTING_MAX - 1] = empty[i];
        assert_non_null(codec_parse(&a, (struct assent_bytes){deep, ASSENT_NESTING_MAX}));
        deep[ASSENT_NESTING_MAX - 1] = 0x91;
    }
    codec_arena_close(&a);
}

static void number_of_values_is_bounded(void **state)
{
    (void)state;
    static uint8_t many[5 + CODEC_NODES_MAX];
    memset(many, 0xc0, sizeof many);
    many[0] = 0xdd;
    many[1] = 0x00;
    many[2] = 0x10; /* 2^20 members and the list itself */
    many[3] = 0x00;
    many[4] = 0x00;
    assert_int_equal(codec_skip((struct assent_bytes){many, sizeof many}), 0);
    many[2] = 0x0f;
    many[3] = 0xff;
    many[4] = 0xff;
    assert_int_equal(codec_skip((struct assent_bytes){many, sizeof many - 1}), sizeof many - 1);
}

static void a_writer_is_cut_back_and_patched(void **state)
{
    (void)state;
    struct codec_writer w;
    codec_writer_init(&w);
    codec_byte(&w, 0);
    codec_raw(&w, text("abcd"));
    codec_cstr(&w, "gone");
    codec_truncate(&w, 5);
    codec_patch_u32(&w, 1, 0x01020304);
    assert_int_equal(codec_written(&w).size, 5);
    assert_memory_equal(codec_written(&w).base, "\0\1\2\3\4", 5);
    codec_writer_reset(&w);
    assert_int_equal(codec_written(&w).size, 0);
    codec_writer_close(&w);
    codec_writer_close(&w);
}

static void utf8_is_checked_to_the_letter(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool valid;
    } rows[] = {
        {"", true},
        {"plain", true},
        {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", true},
        {"\xf4\x8f\xbf\xbf", true},
        {"\xf4\x90\x80\x80", false}, /* beyond U+10FFFF */
        {"\xed\xa0\x80", false},     /* a surrogate */
        {"\xc0\x80", false},         /* NUL in two bytes */
        {"\xe0\x80\xaf", false},
        {"\xf0\x80\x80\xaf", false},
        {"\xc3", false},
        {"\xe2\x82", false},
        {"\x80", false},
        {"\xff", false},
        {"a\xe2\x28\xa1", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (text_is_utf8(text(rows[i].text)) != rows[i].valid)
            fail_msg("row %zu", i);
    }
    assert_false(text_is_utf8((struct assent_bytes){(const uint8_t *)"a\0b", 3}));
    assert_true(text_has_control(text("a\nb")));
    assert_true(text_has_control(text("a\x7f")));
    assert_false(text_has_control(text("a b \xc3\xa4")));
}

static void json_is_recognised(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool valid;
    } rows[] = {
        {"null", true},
        {" true ", true},
        {"false", true},
        {"0", true},
        {"-0.5e+10", true},
        {"12", true},
        {"\"\\u00e4\\n\xc3\xa4\"", true},
        {"[]", true},
        {"{}", true},
        {"[1, [2, {\"a\" : [ ] , \"b\":{}}], 3]", true},
        {"\t{\"a\":1,\"b\":[true,null]}\r\n", true},
        {"", false},
        {" ", false},
        {"nul", false},
        {"01", false},
        {"1.", false},
        {".5", false},
        {"+1", false},
        {"-", false},
        {"1e", false},
        {"\"", false},
        {"\"a", false},
        {"\"\\x\"", false},
        {"\"\\u12g4\"", false},
        {"\"\\u12", false},
        {"\"a\nb\"", false},
        {"\"\xff\"", false},
        {"[1,]", false},
        {"[,1]", false},
        {"[1 2]", false},
        {"[1", false},
        {"[}", false},
        {"{\"a\"}", false},
        {"{\"a\":}", false},
        {"{\"a\":1,}", false},
        {"{a:1}", false},
        {"{1:1}", false},
        {"1 2", false},
        {"]", false},
        {"NaN", false},
        {"'a'", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (text_is_json(text(rows[i].text)) != rows[i].valid)
            fail_msg("row %zu: %s", i, rows[i].text);
    }
    char deep[2 * ASSENT_NESTING_MAX + 3] = "";
    memset(deep, '[', ASSENT_NESTING_MAX);
    memset(deep + ASSENT_NESTING_MAX, ']', ASSENT_NESTING_MAX);
    assert_true(text_is_json(text(deep)));
    memset(deep, '[', ASSENT_NESTING_MAX + 1);
    memset(deep + ASSENT_NESTING_MAX + 1, ']', ASSENT_NESTING_MAX + 1);
    assert_false(text_is_json(text(deep)));
}

static void every_error_has_a_row(void **state)
{
    (void)state;
#define CHECK(name, number, http, retry, sentence)                                                           \
    assert_string_equal(assent_error_name(number), #name);                                                   \
    assert_int_equal(assent_error_by_name(#name), number);                                                   \
    assert_int_equal(assent_error_http(number), http);                                                       \
    assert_int_equal(assent_error_retry(number), ASSENT_RETRY_##retry);                                      \
    assert_string_equal(assent_error_sentence(number), sentence);
    ASSENT_ERROR_MAP(CHECK)
#undef CHECK
    assert_string_equal(assent_error_name(-5), "UNKNOWN_CODE");
    assert_int_equal(assent_error_http(9999), 500);
    assert_int_equal(assent_error_retry(9999), ASSENT_RETRY_NEVER);
    assert_int_equal(assent_error_by_name("NONSENSE"), -1);
    assert_non_null(assent_error_sentence(9999));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_survives_a_round_trip),
        cmocka_unit_test(what_is_not_there_reads_as_nothing),
        cmocka_unit_test(forged_buffers_are_refused),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(number_of_values_is_bounded),
        cmocka_unit_test(a_writer_is_cut_back_and_patched),
        cmocka_unit_test(utf8_is_checked_to_the_letter),
        cmocka_unit_test(json_is_recognised),
        cmocka_unit_test(every_error_has_a_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
