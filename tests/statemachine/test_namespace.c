/* Namespaces: two tenants that use the same names never meet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sm_harness.h"

#define ok(h, type, args) assert_int_equal(sm_run(h, type, args), ASSENT_OK)

/* The namespace of what follows; "" is the default one. */
static void enter(struct sm_harness *h, const char *ns)
{
    h->session.ns = (struct assent_bytes){(const uint8_t *)ns, strlen(ns)};
}

/* What a list of the last result holds under a key, joined by blanks. */
static const char *column(struct sm_harness *h, const char *list, const char *key)
{
    static char joined[2048];
    size_t at = 0;
    joined[0] = '\0';
    for (uint32_t i = 0; i < sm_count(h, list); i++) {
        char path[96];
        snprintf(path, sizeof(path), "%s.%u.%s", list, i, key);
        at += (size_t)snprintf(joined + at, sizeof(joined) - at, "%s%s", i > 0 ? " " : "", sm_text(h, path));
        assert_true(at < sizeof(joined));
    }
    return joined;
}

static const char *listed(struct sm_harness *h, const char *args)
{
    assert_int_equal(sm_ask(h, QUERY_TXN_LIST, args), ASSENT_OK);
    return column(h, "transactions", "xid");
}

static const char *const tenants[] = {"", "red", "blue"};
enum { TENANTS = 3 };

static void equal_xids_are_different_transactions(void **state)
{
    struct sm_harness *h = *state;
    for (int i = 0; i < TENANTS; i++) {
        enter(h, tenants[i]);
        ok(h, COMMAND_TXN_BEGIN,
           i == 0   ? "{'xid':'t','owner':'default'}"
           : i == 1 ? "{'xid':'t','owner':'red'}"
                    : "{'xid':'t','owner':'blue'}");
        assert_string_equal(sm_text(h, "xid"), "t");
    }
    enter(h, "red");
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'t'}");
    for (int i = 0; i < TENANTS; i++) {
        enter(h, tenants[i]);
        assert_int_equal(sm_ask(h, QUERY_TXN, "{'xid':'t'}"), ASSENT_OK);
        assert_string_equal(sm_text(h, "xid"), "t");
        assert_string_equal(sm_text(h, "owner"), i == 0 ? "default" : tenants[i]);
        assert_string_equal(sm_text(h, "status"), i == 1 ? "COMMITTED" : "ACTIVE");
    }
    enter(h, "green");
    assert_int_equal(sm_ask(h, QUERY_TXN, "{'xid':'t'}"), ASSENT_TXN_NOT_FOUND);
}

/* Also to somebody who makes a namespace's name up as a part of an xid. */
static void a_name_cannot_reach_into_a_namespace(void **state)
{
    struct sm_harness *h = *state;
    enter(h, "red");
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'t'}");
    enter(h, "");
    assert_int_equal(sm_ask(h, QUERY_TXN, "{'xid':'red\\u001ft'}"), ASSENT_INVALID);
    assert_int_equal(sm_ask(h, QUERY_TXN, "{'xid':'redt'}"), ASSENT_TXN_NOT_FOUND);
    assert_int_equal(sm_ask(h, QUERY_TXN_LIST, "{'after':'1.red\\u001ft','order':'oldest'}"), ASSENT_OK);
    assert_int_equal(sm_count(h, "transactions"), 0);
}

static void listings_and_counts_show_their_own(void **state)
{
    struct sm_harness *h = *state;
    enter(h, "");
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'d1','businessKey':'order-17'}");
    enter(h, "red");
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'r1','businessKey':'order-17'}");
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'r2','businessKey':'order-17'}");
    enter(h, "re");
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'d2','businessKey':'order-17'}");
    enter(h, "");
    assert_string_equal(listed(h, "{}"), "d1");
    assert_string_equal(listed(h, "{'status':'ACTIVE'}"), "d1");
    assert_string_equal(listed(h, "{'businessKey':'order-17'}"), "d1");
    enter(h, "red");
    assert_string_equal(listed(h, "{}"), "r2 r1");
    assert_string_equal(listed(h, "{'order':'oldest','limit':1}"), "r1");
    char args[200];
    snprintf(args, sizeof(args), "{'order':'oldest','after':'%s'}", sm_text(h, "next"));
    assert_null(strchr(sm_text(h, "next"), NAMESPACE_MARK));
    assert_string_equal(listed(h, args), "r2");
    assert_string_equal(listed(h, "{'businessKey':'order-17','order':'oldest'}"), "r1 r2");
    assert_int_equal(sm_ask(h, QUERY_TXN_COUNTS, "{}"), ASSENT_OK);
    assert_int_equal(sm_uint(h, "counts.0.count"), 2);
    assert_int_equal(sm_ask(h, QUERY_TXN_COUNTS, "{'all':true}"), ASSENT_OK);
    assert_int_equal(sm_uint(h, "counts.0.count"), 4);
    enter(h, "green");
    assert_string_equal(listed(h, "{}"), "");
    assert_int_equal(sm_ask(h, QUERY_TXN_COUNTS, "{}"), ASSENT_OK);
    assert_int_equal(sm_count(h, "counts"), 0);
}

static void the_oldest_unfinished_is_of_any_namespace(void **state)
{
    struct sm_harness *h = *state;
    assert_int_equal(sm_ask(h, QUERY_TXN_COUNTS, "{'all':true}"), ASSENT_OK);
    assert_int_equal(sm_int(h, "oldestUnfinishedUs"), 0);
    enter(h, "red");
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'t','timeoutMs':0}");
    int64_t first = sm_int(h, "createdUs");
    enter(h, "");
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'t','timeoutMs':0}");
    int64_t second = sm_int(h, "createdUs");
    assert_int_equal(sm_ask(h, QUERY_TXN_COUNTS, "{'all':true}"), ASSENT_OK);
    assert_true(sm_int(h, "oldestUnfinishedUs") == first);
    enter(h, "red");
    ok(h, COMMAND_TXN_ROLLBACK, "{'xid':'t'}");
    assert_int_equal(sm_ask(h, QUERY_TXN_COUNTS, "{'all':true}"), ASSENT_OK);
    assert_true(sm_int(h, "oldestUnfinishedUs") == second);
}

static void equal_resources_are_different_resources(void **state)
{
    struct sm_harness *h = *state;
    for (int i = 0; i < TENANTS; i++) {
        enter(h, tenants[i]);
        ok(h, COMMAND_TXN_BEGIN, "{'xid':'t','timeoutMs':0}");
        ok(h, COMMAND_TXN_BEGIN, "{'xid':'u','timeoutMs':0}");
        ok(h, COMMAND_FREEZE, "{'xid':'t','resource':'account:7'}");
        assert_string_equal(sm_text(h, "status"), "GRANTED");
        assert_string_equal(sm_text(h, "resource"), "account:7");
        ok(h, COMMAND_FREEZE, "{'xid':'t','resource':'account:8'}");
        assert_int_equal(sm_run(h, COMMAND_FREEZE, "{'xid':'u','resource':'account:7'}"), ASSENT_FROZEN);
        assert_non_null(strstr(sm_detail(h), "by t,"));
        ok(h, COMMAND_FREEZE, "{'xid':'u','resource':'account:7','waitMs':60000}");
        assert_string_equal(sm_text(h, "status"), "WAITING");
    }
    assert_int_equal(sm_ask(h, QUERY_TXN_COUNTS, "{'all':true}"), ASSENT_OK);
    assert_int_equal(sm_uint(h, "freezesHeld"), 2 * TENANTS);
    assert_int_equal(sm_uint(h, "freezesWaiting"), TENANTS);
    enter(h, "red");
    ok(h, COMMAND_TXN_ROLLBACK, "{'xid':'t'}");
    for (int i = 0; i < TENANTS; i++) {
        enter(h, tenants[i]);
        assert_int_equal(sm_ask(h, QUERY_FREEZE, "{'xid':'u','resource':'account:7'}"), ASSENT_OK);
        assert_string_equal(sm_text(h, "status"), i == 1 ? "GRANTED" : "WAITING");
        assert_int_equal(sm_ask(h, QUERY_FREEZE_RESOURCE, "{'resource':'account:7'}"), ASSENT_OK);
        assert_string_equal(sm_text(h, "resource"), "account:7");
        assert_string_equal(column(h, "holders", "xid"), i == 1 ? "u" : "t");
        assert_string_equal(column(h, "waiters", "xid"), i == 1 ? "" : "u");
    }
}

/* Names that stand before, between and behind those of other namespaces in the order of keys. */
static void pages_of_resources_pass_over_other_namespaces(void **state)
{
    static const char *const names[] = {"blue", "blue:1", "re", "red", "red:1", "z"};
    struct sm_harness *h = *state;
    char args[200];
    for (int i = 0; i < TENANTS; i++) {
        enter(h, tenants[i]);
        ok(h, COMMAND_TXN_BEGIN, "{'xid':'t','timeoutMs':0}");
        for (size_t n = 0; n < sizeof(names) / sizeof(names[0]); n++) {
            snprintf(args, sizeof(args), "{'xid':'t','resource':'%s'}", names[n]);
            ok(h, COMMAND_FREEZE, args);
        }
    }
    for (int i = 0; i < TENANTS; i++) {
        enter(h, tenants[i]);
        assert_int_equal(sm_ask(h, QUERY_FREEZE_LIST, "{}"), ASSENT_OK);
        assert_string_equal(column(h, "freezes", "resource"), "blue blue:1 re red red:1 z");
        assert_int_equal(sm_ask(h, QUERY_FREEZE_LIST, "{'prefix':'re'}"), ASSENT_OK);
        assert_string_equal(column(h, "freezes", "resource"), "re red red:1");
        const uint32_t queries[] = {QUERY_FREEZE_LIST, QUERY_FREEZE_TXN};
        for (int q = 0; q < 2; q++) { /* page by page the same */
            char after[64] = "", all[256] = "";
            do {
                snprintf(args, sizeof(args), "{%s'limit':1%s%s%s}", q == 1 ? "'xid':'t'," : "",
                         after[0] ? ",'after':'" : "", after, after[0] ? "'" : "");
                assert_int_equal(sm_ask(h, queries[q], args), ASSENT_OK);
                snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s ",
                         column(h, "freezes", "resource"));
                snprintf(after, sizeof(after), "%s", sm_text(h, "next"));
            } while (after[0] != '\0');
            assert_string_equal(all, "blue blue:1 re red red:1 z ");
        }
    }
    enter(h, "green");
    assert_int_equal(sm_ask(h, QUERY_FREEZE_LIST, "{}"), ASSENT_OK);
    assert_int_equal(sm_count(h, "freezes"), 0);
    enter(h, "red");
    ok(h, COMMAND_TXN_ROLLBACK, "{'xid':'t'}");
    assert_int_equal(sm_ask(h, QUERY_TXN_COUNTS, "{'all':true}"), ASSENT_OK);
    assert_int_equal(sm_uint(h, "freezesHeld"), 12);
}

static void equal_idempotency_keys_are_different_keys(void **state)
{
    struct sm_harness *h = *state;
    h->session.kind = SESSION_KEY;
    h->session.key = (struct assent_bytes){(const uint8_t *)"key-1", 5};
    char made[TENANTS][64];
    for (int i = 0; i < TENANTS; i++) {
        enter(h, tenants[i]);
        ok(h, COMMAND_TXN_BEGIN, "{'owner':'me'}");
        snprintf(made[i], sizeof(made[i]), "%s", sm_text(h, "xid"));
        for (int k = 0; k < i; k++)
            assert_string_not_equal(made[i], made[k]);
    }
    for (int i = 0; i < TENANTS; i++) { /* the repetition meets its own reply */
        enter(h, tenants[i]);
        ok(h, COMMAND_TXN_BEGIN, "{'owner':'me'}");
        assert_string_equal(sm_text(h, "xid"), made[i]);
        assert_int_equal(sm_run(h, COMMAND_TXN_BEGIN, "{'owner':'you'}"), ASSENT_KEY_REUSED);
    }
}

/* People read the names they gave. */
static void refusals_name_the_bare_xid(void **state)
{
    static const struct {
        uint32_t command;
        const char *args;
        int code;
    } rows[] = {
        {COMMAND_TXN_BEGIN, "{'xid':'t','owner':'other'}", ASSENT_EXISTS},
        {COMMAND_SAGA_SUBMIT, "{'xid':'t','steps':[]}", ASSENT_EXISTS},
        {COMMAND_TXN_COMMIT, "{'xid':'none'}", ASSENT_TXN_NOT_FOUND},
        {COMMAND_TXN_ROLLBACK, "{'xid':'none'}", ASSENT_TXN_NOT_FOUND},
        {COMMAND_TXN_BRANCH, "{'xid':'none','branch':'b','confirmUrl':'','cancelUrl':''}",
         ASSENT_TXN_NOT_FOUND},
        {COMMAND_TXN_RESUME, "{'xid':'none','move':'retry','by':'ann','reason':'r'}", ASSENT_TXN_NOT_FOUND},
        {COMMAND_TXN_ACT, "{'xid':'none','act':'retry','by':'ann','reason':'r'}", ASSENT_TXN_NOT_FOUND},
        {COMMAND_FREEZE, "{'xid':'none','resource':'r'}", ASSENT_TXN_NOT_FOUND},
        {COMMAND_BRANCH_REPORT, "{'xid':'none','branch':'b','op':1,'attempt':0,'success':true}",
         ASSENT_TXN_NOT_FOUND},
    };
    struct sm_harness *h = *state;
    enter(h, "red");
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'t'}");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(sm_run(h, rows[i].command, rows[i].args), rows[i].code);
        assert_null(strstr(sm_detail(h), "red"));
        assert_non_null(strstr(sm_detail(h), rows[i].code == ASSENT_EXISTS ? "t " : "none"));
    }
    assert_int_equal(sm_ask(h, QUERY_FREEZE_TXN, "{'xid':'none'}"), ASSENT_TXN_NOT_FOUND);
    assert_null(strstr(sm_detail(h), "red"));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, sm_harness_setup, sm_harness_teardown)
    static const struct CMUnitTest tests[] = {
        T(equal_xids_are_different_transactions),     T(a_name_cannot_reach_into_a_namespace),
        T(listings_and_counts_show_their_own),        T(the_oldest_unfinished_is_of_any_namespace),
        T(equal_resources_are_different_resources),   T(pages_of_resources_pass_over_other_namespaces),
        T(equal_idempotency_keys_are_different_keys), T(refusals_name_the_bare_xid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
