/* Commands, queries and results against their schema. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sm_harness.h"

static struct codec_writer w;
static struct codec_arena a;
static char why[128];

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

static int decode(bool query, struct command *c)
{
    why[0] = '\0';
    return command_decode(&a, codec_written(&w), query, true, c, why, sizeof why);
}

static void a_command_is_taken_apart_as_it_was_put_together(void **state)
{
    (void)state;
    struct command c;
    struct command_session s = {.kind = SESSION_SEQUENCE, .client = 4096, .sequence = 7, .acknowledged = 5};
    sm_encode(&w, false, COMMAND_TXN_BEGIN, &s,
              "{'xid':'t','timeoutMs':5000,'customData':{'k':[1]},'branches':[{'branch':'b','confirmUrl':'u',"
              "'cancelUrl':'v','headers':{'h':'x'}}]}");
    assert_int_equal(decode(false, &c), ASSENT_OK);
    assert_int_equal(c.type, COMMAND_TXN_BEGIN);
    assert_int_equal(c.session.kind, SESSION_SEQUENCE);
    assert_int_equal(c.session.client, 4096);
    assert_int_equal(c.session.sequence, 7);
    assert_int_equal(c.session.acknowledged, 5);
    assert_memory_equal(arg_bytes(&c, TXN_BEGIN_XID).base, "t", 1);
    assert_int_equal(arg_uint(&c, TXN_BEGIN_TIMEOUT_MS, 1), 5000);
    assert_int_equal(arg_uint(&c, TXN_BEGIN_RETRY_CAP_MS, 77), 77);
    assert_false(arg_present(&c, TXN_BEGIN_OWNER));
    assert_int_equal(arg_bytes(&c, TXN_BEGIN_OWNER).size, 0);
    assert_memory_equal(arg_bytes(&c, TXN_BEGIN_CUSTOM_DATA).base, "{\"k\":[1]}", 9);
    const struct codec_node *branch = codec_at(codec_at(c.args, TXN_BEGIN_BRANCHES), 0);
    assert_int_equal(codec_kind(codec_at(branch, TXN_BRANCH_HEADERS - TXN_BRANCH_BRANCH)), CODEC_MAP);
    assert_int_equal(codec_skip(c.args_bytes), c.args_bytes.size);
    assert_ptr_equal(c.args_bytes.base + c.args_bytes.size, codec_written(&w).base + codec_written(&w).size);
    assert_true(arg_bool(&c, TXN_BEGIN_XID, true));
}

static void key_and_no_session_are_told_apart(void **state)
{
    (void)state;
    struct command c;
    struct command_session s = {.kind = SESSION_KEY, .key = {(const uint8_t *)"k1", 2}};
    sm_encode(&w, false, COMMAND_LAMPORT_TICK, &s, "{}");
    assert_int_equal(decode(false, &c), ASSENT_OK);
    assert_int_equal(c.session.kind, SESSION_KEY);
    assert_int_equal(c.session.key.size, 2);
    sm_encode(&w, false, COMMAND_LAMPORT_TICK, NULL, "{}");
    assert_int_equal(decode(false, &c), ASSENT_OK);
    assert_int_equal(c.session.kind, SESSION_NONE);
}

static void arguments_are_held_against_the_schema(void **state)
{
    (void)state;
    static const struct {
        uint32_t type;
        const char *args;
        int code;
        const char *why;
    } rows[] = {
        {COMMAND_NODE_HEARTBEAT, "{}", ASSENT_INVALID, "node is missing"},
        {COMMAND_NODE_HEARTBEAT, "{'node':null}", ASSENT_INVALID, "node is missing"},
        {COMMAND_NODE_HEARTBEAT, "{'node':5}", ASSENT_INVALID, "node must be a text"},
        {COMMAND_NODE_HEARTBEAT, "{'node':''}", ASSENT_INVALID, "node must not be empty"},
        {COMMAND_NODE_HEARTBEAT, "{'node':'a\\u0007'}", ASSENT_INVALID, "node holds control characters"},
        {COMMAND_NODE_HEARTBEAT, "{'node':'\xc3\xa4'}", ASSENT_OK, ""},
        {COMMAND_SEQUENCE_NEXT, "{'name':'s','count':262144}", ASSENT_OK, ""},
        {COMMAND_SEQUENCE_NEXT, "{'name':'s','count':262145}", ASSENT_INVALID, "count is larger than 262144"},
        {COMMAND_SEQUENCE_NEXT, "{'name':'s','count':-1}", ASSENT_INVALID,
         "count must be a whole number, 0 or more"},
        {COMMAND_SEQUENCE_NEXT, "{'name':'s','count':'1'}", ASSENT_INVALID,
         "count must be a whole number, 0 or more"},
        {COMMAND_LAMPORT_SYNC, "{'received':9223372036854775807}", ASSENT_OK, ""},
        {COMMAND_VECTOR_SYNC, "{'clock':'c','node':'n','received':{'a':1,'b':2}}", ASSENT_OK, ""},
        {COMMAND_VECTOR_SYNC, "{'clock':'c','node':'n','received':['a']}", ASSENT_INVALID,
         "received must be a map"},
        {COMMAND_VECTOR_SYNC, "{'clock':'c','node':'n','received':{'':1}}", ASSENT_INVALID,
         "received must not be empty"},
        {COMMAND_TXN_BEGIN, "{'branches':5}", ASSENT_INVALID, "branches must be a list"},
        {COMMAND_TXN_BEGIN, "{'branches':[{'branch':'a','confirmUrl':'u','cancelUrl':'v'},{'branch':'b'}]}",
         ASSENT_INVALID, "branches[1].confirmUrl is missing"},
        {COMMAND_TXN_BEGIN,
         "{'branches':[{'branch':'a','confirmUrl':'u','cancelUrl':'v','timeoutMs':4294967296}]}",
         ASSENT_INVALID, "branches[0].timeoutMs is larger than 4294967295"},
        {COMMAND_TICK, "{}", ASSENT_INVALID, "only nodes of the cluster propose this command"},
        {COMMAND_TSO_WINDOW, "{'bound':1}", ASSENT_INVALID, "only nodes of the cluster propose this command"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct command c;
        sm_encode(&w, false, rows[i].type, NULL, rows[i].args);
        int code = decode(false, &c);
        if (code != rows[i].code || strcmp(why, rows[i].why) != 0)
            fail_msg("row %zu: %d %s", i, code, why);
    }
}

static void overlong_names_and_payloads_are_refused(void **state)
{
    (void)state;
    struct command c;
    static char args[ASSENT_PAYLOAD_BYTES_MAX + 200];
    snprintf(args, sizeof args, "{'node':'%0129d'}", 0);
    sm_encode(&w, false, COMMAND_NODE_HEARTBEAT, NULL, args);
    assert_int_equal(decode(false, &c), ASSENT_INVALID);
    assert_string_equal(why, "node is longer than 128 bytes");
    int used = snprintf(args, sizeof args, "{'xid':'t','customData':'");
    memset(args + used, 'x', ASSENT_PAYLOAD_BYTES_MAX);
    strcpy(args + used + ASSENT_PAYLOAD_BYTES_MAX, "'}");
    sm_encode(&w, false, COMMAND_TXN_BEGIN, NULL, args);
    assert_int_equal(decode(false, &c), ASSENT_TOO_LARGE);
    /* without the two quotes it fits */
    args[used + ASSENT_PAYLOAD_BYTES_MAX - 2] = '\0';
    strcat(args, "'}");
    sm_encode(&w, false, COMMAND_TXN_BEGIN, NULL, args);
    assert_int_equal(decode(false, &c), ASSENT_OK);
}

static void json_is_read_at_the_door_only(void **state)
{
    (void)state;
    struct command c;
    command_begin(&w, COMMAND_TIMESTAMP_EVENT, NULL, 5);
    codec_nil(&w);
    codec_cstr(&w, "n");
    codec_nil(&w);
    codec_nil(&w);
    codec_json(&w, (struct assent_bytes){(const uint8_t *)"{oops", 5});
    assert_int_equal(decode(false, &c), ASSENT_INVALID);
    assert_string_equal(why, "data is not valid JSON");
    assert_int_equal(command_decode(&a, codec_written(&w), false, false, &c, why, sizeof why), ASSENT_OK);
}

static void unknown_fields_are_refused(void **state)
{
    (void)state;
    struct command c;
    command_begin(&w, COMMAND_NODE_HEARTBEAT, NULL, 2);
    codec_cstr(&w, "n");
    codec_cstr(&w, "more");
    assert_int_equal(decode(false, &c), ASSENT_INVALID);
    assert_string_equal(why, "more than the 1 known fields");
}

static void what_is_no_command_is_malformed(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        int code;
    } rows[] = {
        {"", 0, ASSENT_MALFORMED},
        {"\x01", 1, ASSENT_MALFORMED},
        {"\x02\x93\x10\xc0\x90", 5, ASSENT_MALFORMED},         /* another format */
        {"\x01\x93\x10\xc0\x90", 5, ASSENT_OK},                /* lamport_tick, no session, no arguments */
        {"\x01\x93\x10\xc0\x90\x00", 6, ASSENT_MALFORMED},     /* something behind it */
        {"\x01\xdc\x00\x03\x10\xc0\x90", 7, ASSENT_MALFORMED}, /* the list in a longer form */
        {"\x01\x92\x10\xc0", 4, ASSENT_MALFORMED},             /* no arguments */
        {"\x01\x93\x0f\xc0\x90", 5, ASSENT_MALFORMED},         /* a number nobody has */
        {"\x01\x93\xcf\x00\x00\x00\x01\x00\x00\x00\x10\xc0\x90", 13, ASSENT_MALFORMED}, /* 2^32 + 16 */
        {"\x01\x93\xa1x\xc0\x90", 6, ASSENT_MALFORMED},            /* the number is a text */
        {"\x01\x93\x10\xc0\x80", 5, ASSENT_MALFORMED},             /* arguments in a map */
        {"\x01\x93\x10\xc3\x90", 5, ASSENT_MALFORMED},             /* the session is true */
        {"\x01\x93\x10\x92\x01\x02\x90", 7, ASSENT_MALFORMED},     /* a session of two */
        {"\x01\x93\x10\x93\x01\x02\xc0\x90", 8, ASSENT_MALFORMED}, /* acknowledged is nil */
        {"\x01\x93\x10\x93\x01\x02\x02\x90", 8, ASSENT_INVALID},   /* acknowledges itself */
        {"\x01\x93\x10\x93\x01\x00\x00\x90", 8, ASSENT_INVALID},   /* sequence 0 */
        {"\x01\x93\x10\x93\x01\x02\x01\x90", 8, ASSENT_OK},
        {"\x01\x93\x10\xa0\x90", 5, ASSENT_INVALID},     /* an empty key */
        {"\x01\x93\x10\xa1\xff\x90", 6, ASSENT_INVALID}, /* a key that is no text */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct command c;
        struct assent_bytes b = {(const uint8_t *)rows[i].bytes, rows[i].size};
        if (command_decode(&a, b, false, true, &c, why, sizeof why) != rows[i].code)
            fail_msg("row %zu: %s", i, why);
    }
    struct command c;
    uint8_t *large = calloc(1, ASSENT_COMMAND_BYTES_MAX + 1);
    assert_int_equal(command_decode(&a, (struct assent_bytes){large, ASSENT_COMMAND_BYTES_MAX + 1}, false,
                                    true, &c, NULL, 0),
                     ASSENT_TOO_LARGE);
    free(large);
}

static void a_query_has_no_session(void **state)
{
    (void)state;
    struct command c;
    struct command_session s = {.kind = SESSION_KEY, .key = {(const uint8_t *)"k", 1}};
    sm_encode(&w, true, QUERY_LAMPORT, &s, "{}");
    assert_int_equal(decode(true, &c), ASSENT_INVALID);
    sm_encode(&w, true, QUERY_LAMPORT, NULL, "{'clock':'x'}");
    assert_int_equal(decode(true, &c), ASSENT_OK);
}

/* Every table: names in lower camel case, no two alike, bounds where a kind needs one, required before
 * optional only by accident of history but never a hole. */
static void check_table(const char *name, const struct field *fields)
{
    for (const struct field *f = fields; f->name != NULL; f++) {
        assert_true(f->name[0] >= 'a' && f->name[0] <= 'z');
        assert_null(strpbrk(f->name, "_- "));
        if (f->kind != FIELD_BOOL && f->kind != FIELD_UINT && f->max == 0)
            fail_msg("%s.%s has no bound", name, f->name);
        assert_true((f->kind == FIELD_OBJECTS) == (f->fields != NULL));
        for (const struct field *g = fields; g < f; g++)
            assert_string_not_equal(f->name, g->name);
        if (f->fields != NULL)
            check_table(name, f->fields);
    }
}

static void schemas_are_complete(void **state)
{
    (void)state;
    uint32_t commands = 0, queries = 0;
    for (uint32_t i = 0; i < COMMAND_NR + 5; i++) {
        const struct schema *s = command_schema(i);
        if (s != NULL) {
            check_table(s->name, s->fields);
            commands++;
        }
    }
    for (uint32_t i = 0; i < QUERY_NR + 5; i++) {
        const struct schema *s = query_schema(i);
        if (s != NULL) {
            check_table(s->name, s->fields);
            queries++;
        }
    }
    assert_true(commands >= 26 && queries >= 14);
}

static void results_are_taken_apart(void **state)
{
    (void)state;
    struct result r;
    codec_writer_reset(&w);
    result_refusal(&w, ASSENT_LIMIT, "too much");
    assert_true(result_decode(&a, codec_written(&w), &r));
    assert_int_equal(r.code, ASSENT_LIMIT);
    assert_null(r.data);
    assert_int_equal(r.detail.size, 8);
    codec_writer_reset(&w);
    result_refusal(&w, ASSENT_LIMIT, NULL);
    assert_true(result_decode(&a, codec_written(&w), &r));
    assert_int_equal(r.detail.size, 0);
    static const char *const bad[] = {"\xc0",
                                      "\x92\x01\xc0",
                                      "\x93\xc0\xc0\xc0",
                                      "\x93\x01\x01\xc0",
                                      "\x93\x01\xc0\x01",
                                      "\x93\xce\x01\x01\x01\x01\xc0\xc0"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(result_decode(&a, (struct assent_bytes){(const uint8_t *)bad[i], strlen(bad[i])}, &r));
    assert_false(result_decode(&a, (struct assent_bytes){NULL, 0}, &r));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_command_is_taken_apart_as_it_was_put_together),
        TEST(key_and_no_session_are_told_apart),
        TEST(arguments_are_held_against_the_schema),
        TEST(overlong_names_and_payloads_are_refused),
        TEST(json_is_read_at_the_door_only),
        TEST(unknown_fields_are_refused),
        TEST(what_is_no_command_is_malformed),
        TEST(a_query_has_no_session),
        TEST(schemas_are_complete),
        TEST(results_are_taken_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
