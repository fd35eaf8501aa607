/* Topics: subscribers and versions, what a message makes of them, and who may see them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "topic.h"
#include "txn_case.h"

#define SUBSCRIBE(topic, url) "{'topic':'" topic "','url':'http://" url "','remark':'r'}"
#define TO(topic)             "{'xid':'t','steps':[{'actionUrl':'topic://" topic "','payload':{'n':1}}]}"

static uint64_t version(struct sm_harness *h, const char *args)
{
    return sm_ask(h, QUERY_TOPICS, args) == ASSENT_OK ? sm_uint(h, "version") : 0;
}

static void every_change_counts_the_version(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TOPIC_SUBSCRIBE, SUBSCRIBE("a", "p/1"));
    assert_string_equal(sm_json(h), "{\"topic\":\"a\",\"version\":1,\"urlCount\":1}");
    ok(h, COMMAND_TOPIC_SUBSCRIBE, SUBSCRIBE("a", "p/2"));
    assert_int_equal(sm_uint(h, "version"), 2);
    ok(h, COMMAND_TOPIC_UNSUBSCRIBE, "{'topic':'a','url':'http://p/1'}");
    assert_int_equal(sm_uint(h, "version"), 3);
    assert_int_equal(sm_uint(h, "urlCount"), 1);
    sm_reincarnate(h);
    ok(h, COMMAND_TOPIC_UNSUBSCRIBE, "{'topic':'a','url':'http://p/2'}"); /* empty, and there */
    assert_int_equal(version(h, "{'topic':'a'}"), 4);
    assert_int_equal(sm_count(h, "urls"), 0);
    ok(h, COMMAND_TOPIC_SUBSCRIBE, SUBSCRIBE("a", "p/1"));
    assert_int_equal(version(h, "{'topic':'a'}"), 5);
    assert_string_equal(sm_text(h, "urls.0.url"), "http://p/1");
    assert_string_equal(sm_text(h, "urls.0.remark"), "r");
    assert_true(sm_int(h, "urls.0.subscribedUs") == sm_time_us(h->sm));
    ok(h, COMMAND_TOPIC_REMOVE, "{'topic':'a'}");
    assert_int_equal(sm_ask(h, QUERY_TOPICS, "{'topic':'a'}"), ASSENT_NOT_FOUND);
    ok(h, COMMAND_TOPIC_SUBSCRIBE, SUBSCRIBE("a", "p/1"));
    assert_int_equal(sm_uint(h, "version"), 1);
}

static void what_cannot_be_changed_is_refused(void **state)
{
    static const struct {
        uint32_t command;
        const char *args;
        int code;
        const char *detail;
    } rows[] = {
        {COMMAND_TOPIC_SUBSCRIBE, "{'topic':'a','url':''}", ASSENT_INVALID, "url"},
        {COMMAND_TOPIC_SUBSCRIBE, "{'topic':'a','url':'grpc://p/1'}", ASSENT_INVALID, "url"},
        {COMMAND_TOPIC_SUBSCRIBE, SUBSCRIBE("a", "p/1"), ASSENT_EXISTS, "subscribed already"},
        {COMMAND_TOPIC_UNSUBSCRIBE, "{'topic':'a','url':'http://p/9'}", ASSENT_NOT_FOUND, "no such url"},
        {COMMAND_TOPIC_UNSUBSCRIBE, "{'topic':'a','url':''}", ASSENT_INVALID, "url"},
        {COMMAND_TOPIC_UNSUBSCRIBE, "{'topic':'b','url':'http://p/1'}", ASSENT_NOT_FOUND, "no such topic"},
        {COMMAND_TOPIC_UNSUBSCRIBE, "{'topic':'e','url':'http://p/1'}", ASSENT_NOT_FOUND, "empty"},
        {COMMAND_TOPIC_REMOVE, "{'topic':'b'}", ASSENT_NOT_FOUND, "no such topic"},
    };
    struct sm_harness *h = *state;
    ok(h, COMMAND_TOPIC_SUBSCRIBE, SUBSCRIBE("a", "p/1"));
    ok(h, COMMAND_TOPIC_SUBSCRIBE, SUBSCRIBE("e", "p/1"));
    ok(h, COMMAND_TOPIC_UNSUBSCRIBE, "{'topic':'e','url':'http://p/1'}");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(sm_run(h, rows[i].command, rows[i].args), rows[i].code);
        assert_non_null(strstr(sm_detail(h), rows[i].detail));
    }
    assert_int_equal(version(h, "{'topic':'a'}"), 1);
    assert_int_equal(version(h, "{'topic':'e'}"), 2);
}

static void a_topic_has_so_many_subscribers_at_most(void **state)
{
    struct sm_harness *h = *state;
    char args[128];
    for (int i = 0; i < TOPIC_URLS_MAX; i++) {
        snprintf(args, sizeof args, "{'topic':'a','url':'http://p/%d'}", i);
        ok(h, COMMAND_TOPIC_SUBSCRIBE, args);
    }
    assert_int_equal(sm_run(h, COMMAND_TOPIC_SUBSCRIBE, SUBSCRIBE("a", "p/x")), ASSENT_LIMIT);
    ok(h, COMMAND_MESSAGE_SUBMIT, TO("a"));
    assert_int_equal(sm_uint(h, "branchCount"), TOPIC_URLS_MAX);
    assert_string_equal(due(h), "01-01:action");
}

static void a_step_becomes_a_branch_per_subscriber(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TOPIC_SUBSCRIBE, SUBSCRIBE("one", "p/1"));
    ok(h, COMMAND_TOPIC_SUBSCRIBE, SUBSCRIBE("two", "q/1"));
    ok(h, COMMAND_TOPIC_SUBSCRIBE, SUBSCRIBE("two", "q/2"));
    ok(h, COMMAND_MESSAGE_PREPARE,
       "{'xid':'t','concurrent':true,'steps':[{'actionUrl':'topic://two','payload':{'n':1}},"
       "{'actionUrl':'http://r/a'},{'actionUrl':'topic://one'},{'actionUrl':'topic://two','branch':'x'}]}");
    ok(h, COMMAND_TOPIC_REMOVE, "{'topic':'two'}"); /* the prepared message keeps its rows */
    ok(h, COMMAND_MESSAGE_SUBMIT, "{'xid':'t'}");
    assert_string_equal(due(h), "01-01:action 01-02:action 02:action 03:action x-01:action x-02:action");
    assert_int_equal(sm_ask(h, QUERY_TXN, "{'xid':'t'}"), ASSENT_OK);
    assert_string_equal(sm_text(h, "branches.1.actionUrl"), "http://q/2");
    assert_string_equal(sm_text(h, "branches.1.payload"), "{\"n\":1}");
    assert_string_equal(sm_text(h, "branches.3.actionUrl"), "http://p/1");
}

static void an_unknown_or_empty_topic_is_refused(void **state)
{
    struct sm_harness *h = *state;
    assert_int_equal(sm_run(h, COMMAND_MESSAGE_SUBMIT, TO("none")), ASSENT_NOT_FOUND);
    assert_string_equal(sm_detail(h), "topic not found: none");
    ok(h, COMMAND_TOPIC_SUBSCRIBE, SUBSCRIBE("e", "p/1"));
    ok(h, COMMAND_TOPIC_UNSUBSCRIBE, "{'topic':'e','url':'http://p/1'}");
    assert_int_equal(sm_run(h, COMMAND_MESSAGE_PREPARE, TO("e")), ASSENT_NOT_FOUND);
    assert_non_null(strstr(sm_detail(h), "topic not found"));
    assert_string_equal(status(h), "");
}

static void a_repeated_message_stands_by_its_first_subscribers(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TOPIC_SUBSCRIBE, SUBSCRIBE("a", "p/1"));
    ok(h, COMMAND_TOPIC_SUBSCRIBE, SUBSCRIBE("a", "p/2"));
    ok(h, COMMAND_MESSAGE_PREPARE, TO("a"));
    ok(h, COMMAND_TOPIC_SUBSCRIBE, SUBSCRIBE("a", "p/3"));
    ok(h, COMMAND_MESSAGE_PREPARE, TO("a"));
    assert_false(sm_bool(h, "created"));
    ok(h, COMMAND_TOPIC_REMOVE, "{'topic':'a'}");
    ok(h, COMMAND_MESSAGE_SUBMIT, TO("a"));
    assert_int_equal(sm_uint(h, "branchCount"), 2);
    assert_int_equal(sm_run(h, COMMAND_MESSAGE_SUBMIT,
                            "{'xid':'t','steps':[{'actionUrl':'topic://a','payload':{'n':2}}]}"),
                     ASSENT_EXISTS);
    assert_int_equal(sm_run(h, COMMAND_MESSAGE_SUBMIT,
                            "{'xid':'t','steps':[{'actionUrl':'topic://a','payload':{'n':1}},{}]}"),
                     ASSENT_EXISTS);
}

static void copies_have_a_bound(void **state)
{
    struct sm_harness *h = *state;
    size_t payload = 1000 * 1000, size = payload + 256;
    char *args = malloc(size), topic[128];
    assert_non_null(args);
    for (int i = 0; i < 17; i++) {
        snprintf(topic, sizeof topic, "{'topic':'a','url':'http://p/%d'}", i);
        ok(h, COMMAND_TOPIC_SUBSCRIBE, topic);
    }
    int n = snprintf(args, size, "{'xid':'t','steps':[{'actionUrl':'topic://a','payload':['");
    memset(args + n, 'x', payload);
    snprintf(args + n + payload, size - (size_t)n - payload, "']}]}");
    assert_int_equal(sm_run(h, COMMAND_MESSAGE_SUBMIT, args), ASSENT_LIMIT);
    assert_string_equal(status(h), "");
    free(args);
    ok(h, COMMAND_MESSAGE_SUBMIT, TO("a"));
    /* a name has room for the number */
    char name[ASSENT_NAME_BYTES_MAX + 1] = {0}, long_name[512];
    memset(name, 'b', ASSENT_NAME_BYTES_MAX);
    snprintf(long_name, sizeof long_name, "{'steps':[{'branch':'%s','actionUrl':'topic://a'}]}", name);
    assert_int_equal(sm_run(h, COMMAND_MESSAGE_SUBMIT, long_name), ASSENT_INVALID);
}

static void a_namespace_has_topics_of_its_own(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TOPIC_SUBSCRIBE, SUBSCRIBE("a", "p/1"));
    h->session.ns = (struct assent_bytes){(const uint8_t *)"shop", 4};
    assert_int_equal(sm_run(h, COMMAND_MESSAGE_SUBMIT, TO("a")), ASSENT_NOT_FOUND);
    ok(h, COMMAND_TOPIC_SUBSCRIBE, SUBSCRIBE("a", "shop/1"));
    assert_string_equal(sm_text(h, "topic"), "a");
    ok(h, COMMAND_TOPIC_SUBSCRIBE, SUBSCRIBE("b", "shop/1"));
    ok(h, COMMAND_MESSAGE_SUBMIT, TO("a"));
    h->session.ns = (struct assent_bytes){NULL, 0};
    ok(h, COMMAND_TOPIC_SUBSCRIBE, SUBSCRIBE("c", "p/1"));
    assert_int_equal(sm_ask(h, QUERY_TOPICS, "{}"), ASSENT_OK);
    assert_int_equal(sm_count(h, "topics"), 2);
    assert_string_equal(sm_text(h, "topics.0.topic"), "a");
    assert_string_equal(sm_text(h, "topics.0.urls.0.url"), "http://p/1");
    assert_string_equal(sm_text(h, "topics.1.topic"), "c");
    assert_int_equal(sm_ask(h, QUERY_TOPICS, "{'topic':'b'}"), ASSENT_NOT_FOUND);
    ok(h, COMMAND_TOPIC_REMOVE, "{'topic':'a'}");
    h->session.ns = (struct assent_bytes){(const uint8_t *)"shop", 4};
    ok(h, COMMAND_TOPIC_UNSUBSCRIBE, "{'topic':'a','url':'http://shop/1'}");
}

static void pages_follow_one_another(void **state)
{
    struct sm_harness *h = *state;
    char args[128], after[64] = "";
    for (int i = 0; i < 25; i++) {
        snprintf(args, sizeof args, "{'topic':'t%02d','url':'http://p/%d'}", i, i);
        ok(h, COMMAND_TOPIC_SUBSCRIBE, args);
    }
    for (int seen = 0; seen < 25; seen += 10) {
        snprintf(args, sizeof args, "{'limit':10%s%s%s}", seen > 0 ? ",'after':'" : "", after,
                 seen > 0 ? "'" : "");
        assert_int_equal(sm_ask(h, QUERY_TOPICS, args), ASSENT_OK);
        assert_int_equal(sm_count(h, "topics"), seen < 20 ? 10 : 5);
        char want[16];
        snprintf(want, sizeof want, "t%02d", seen);
        assert_string_equal(sm_text(h, "topics.0.topic"), want);
        snprintf(after, sizeof after, "%s", sm_text(h, "next"));
        assert_int_equal(strlen(after) > 0, seen < 20);
    }
    assert_int_equal(sm_ask(h, QUERY_TOPICS, "{'limit':0}"), ASSENT_INVALID);
    assert_int_equal(sm_ask(h, QUERY_TOPICS, "{'after':'t99'}"), ASSENT_OK);
    assert_int_equal(sm_count(h, "topics"), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, sm_harness_setup, sm_harness_teardown)
    static const struct CMUnitTest tests[] = {
        T(every_change_counts_the_version),
        T(what_cannot_be_changed_is_refused),
        T(a_topic_has_so_many_subscribers_at_most),
        T(a_step_becomes_a_branch_per_subscriber),
        T(an_unknown_or_empty_topic_is_refused),
        T(a_repeated_message_stands_by_its_first_subscribers),
        T(copies_have_a_bound),
        T(a_namespace_has_topics_of_its_own),
        T(pages_follow_one_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
