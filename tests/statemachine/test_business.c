/* The business catalogue: what is put is checked, what is executed is the mode's own, and what it came to is
 * counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sm_harness.h"

#define ok(h, type, args)   assert_int_equal(sm_run(h, type, args), ASSENT_OK)
#define ask(h, query, args) assert_int_equal(sm_ask(h, query, args), ASSENT_OK)
#define refused(h, type, args, code, words)                                                                  \
    do {                                                                                                     \
        assert_int_equal(sm_run(h, type, args), code);                                                       \
        assert_non_null(strstr(sm_detail(h), words));                                                        \
    } while (0)
#define ORDER                                                                                                \
    "{'businessType':'order','mode':'SAGA','description':'places an order','timeoutMs':60000,"               \
    "'retryBaseMs':100,'headers':{'X-Team':'shop'},'steps':["                                                \
    "{'branch':'stock','actionUrl':'http://p/a','compensateUrl':'http://p/c'},"                              \
    "{'actionUrl':'http://q/a','compensateUrl':'http://q/c','payload':{'own':1}}]}"

static void what_is_put_can_be_read_and_removed(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_BUSINESS_PUT, ORDER);
    assert_string_equal(sm_json(h),
                        "{\"businessType\":\"order\",\"mode\":\"SAGA\",\"branchCount\":2,\"created\":true}");
    ok(h, COMMAND_BUSINESS_PUT, ORDER);
    assert_false(sm_bool(h, "created"));
    sm_reincarnate(h);
    ask(h, QUERY_BUSINESS, "{'businessType':'order'}");
    assert_string_equal(sm_text(h, "description"), "places an order");
    assert_string_equal(sm_text(h, "template.steps.0.branch"), "stock");
    assert_string_equal(sm_text(h, "template.steps.1.payload"), "{\"own\":1}");
    assert_string_equal(sm_text(h, "template.headers.X-Team"), "shop");
    assert_int_equal(sm_uint(h, "template.timeoutMs"), 60000);
    ok(h, COMMAND_BUSINESS_REMOVE, "{'businessType':'order'}");
    refused(h, COMMAND_BUSINESS_REMOVE, "{'businessType':'order'}", ASSENT_NOT_FOUND, "order");
    refused(h, COMMAND_BUSINESS_EXECUTE, "{'businessType':'order'}", ASSENT_NOT_FOUND, "order");
    assert_int_equal(sm_ask(h, QUERY_BUSINESS, "{'businessType':'order'}"), ASSENT_NOT_FOUND);
}

static void what_could_not_be_executed_is_refused_when_it_is_put(void **state)
{
    static const struct {
        const char *args, *words;
        int code;
    } rows[] = {
        {"{'businessType':'b','mode':'AT','branches':[{'branch':'x','confirmUrl':'http://p/"
         "f','cancelUrl':'http://p/c'}]}",
         "no AT resource registered", ASSENT_UNSUPPORTED},
        {"{'businessType':'b','mode':'WORKFLOW'}", "mode:", ASSENT_INVALID},
        {"{'businessType':'b','mode':'SAGA'}", "at least one", ASSENT_INVALID},
        {"{'businessType':'b','mode':'SAGA','steps':[{'actionUrl':'ftp://p'}]}", "actionUrl", ASSENT_INVALID},
        {"{'businessType':'b','mode':'SAGA','steps':[{}],'onFailure':'cry'}", "onFailure", ASSENT_INVALID},
        {"{'businessType':'b','mode':'SAGA','steps':[{'branch':'x'},{'branch':'x'}]}", "twice",
         ASSENT_INVALID},
        {"{'businessType':'b','mode':'SAGA','branches':[{'branch':'x','confirmUrl':'http://p/"
         "f','cancelUrl':'http://p/c'}],'steps':[{}]}",
         "branches: a SAGA has no such field", ASSENT_INVALID},
        {"{'businessType':'b','mode':'MESSAGE','steps':[{'compensateUrl':'http://p'}]}", "never goes back",
         ASSENT_INVALID},
        {"{'businessType':'b','mode':'TCC','steps':[{}]}", "steps: a TCC has no such field", ASSENT_INVALID},
        {"{'businessType':'b','mode':'TCC','branches':[{'branch':'x','confirmUrl':'nowhere','cancelUrl':'"
         "http://p/c'}]}",
         "confirmUrl", ASSENT_INVALID},
        {"{'businessType':'b','mode':'XA','branches':[{'branch':'x','confirmUrl':'http://p/"
         "f','cancelUrl':'http://p/c'}],'order':'sideways'}",
         "order", ASSENT_INVALID},
        {"{'businessType':'b','mode':'SAGA','steps':[{}],'retryBaseMs':0}", "retryBaseMs", ASSENT_INVALID},
    };
    struct sm_harness *h = *state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        refused(h, COMMAND_BUSINESS_PUT, rows[i].args, rows[i].code, rows[i].words);
    ask(h, QUERY_BUSINESS, "{}");
    assert_int_equal(sm_count(h, "businessTypes"), 0);
}

static void an_execution_is_the_modes_own_with_the_data_in_its_places(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_BUSINESS_PUT, ORDER);
    ok(h, COMMAND_BUSINESS_EXECUTE,
       "{'businessType':'order','xid':'x','businessKey':'4711','businessData':{'amount':5},'timeoutMs':"
       "7000}");
    assert_string_equal(sm_text(h, "xid"), "x");
    assert_string_equal(sm_text(h, "status"), "RUNNING");
    assert_true(sm_bool(h, "created"));
    ask(h, QUERY_TXN, "{'xid':'x'}");
    assert_string_equal(sm_text(h, "businessType"), "order");
    assert_string_equal(sm_text(h, "businessKey"), "4711");
    assert_string_equal(sm_text(h, "branches.0.payload"), "{\"amount\":5}");
    assert_string_equal(sm_text(h, "branches.1.payload"), "{\"own\":1}");
    assert_string_equal(sm_text(h, "branches.0.branch"), "stock");
    assert_int_equal(sm_uint(h, "timeoutMs"), 7000);
    /* a repetition answers as the first, other data under the same xid do not */
    ok(h, COMMAND_BUSINESS_EXECUTE,
       "{'businessType':'order','xid':'x','businessKey':'4711','businessData':{'amount':5},'timeoutMs':"
       "7000}");
    assert_false(sm_bool(h, "created"));
    assert_int_equal(
        sm_run(h, COMMAND_BUSINESS_EXECUTE,
               "{'businessType':'order','xid':'x','businessKey':'4711','businessData':{'amount':6},"
               "'timeoutMs':7000}"),
        ASSENT_EXISTS);
    /* and without an xid each is a new one */
    ok(h, COMMAND_BUSINESS_EXECUTE, "{'businessType':'order'}");
    assert_true(sm_bool(h, "created"));
    sm_reincarnate(h);
}

static void every_mode_can_be_executed(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_BUSINESS_PUT,
       "{'businessType':'m','mode':'MESSAGE','concurrent':true,'steps':[{'actionUrl':'http://p/"
       "a'},{'actionUrl':"
       "'topic://t'}]}");
    assert_int_equal(sm_run(h, COMMAND_BUSINESS_EXECUTE, "{'businessType':'m','xid':'m'}"), ASSENT_NOT_FOUND);
    ok(h, COMMAND_TOPIC_SUBSCRIBE, "{'topic':'t','url':'http://s/1'}");
    ok(h, COMMAND_BUSINESS_EXECUTE, "{'businessType':'m','xid':'m','businessData':'plain text'}");
    assert_string_equal(sm_text(h, "mode"), "MESSAGE");
    assert_string_equal(sm_text(h, "status"), "COMMITTING");
    ask(h, QUERY_TXN, "{'xid':'m'}");
    assert_int_equal(sm_count(h, "branches"), 2);
    ok(h, COMMAND_BUSINESS_PUT,
       "{'businessType':'t','mode':'TCC','order':'reverse','branches':[{'branch':'a','tryUrl':'http://p/t',"
       "'confirmUrl':'http://p/f','cancelUrl':'http://p/c'}]}");
    ok(h, COMMAND_BUSINESS_EXECUTE, "{'businessType':'t','xid':'t','mode':'TCC','businessData':{'n':1}}");
    assert_string_equal(sm_text(h, "mode"), "TCC");
    ask(h, QUERY_BUSINESS, "{'businessType':'t'}");
    assert_true(sm_bool(h, "template.execute"));
    refused(h, COMMAND_BUSINESS_EXECUTE, "{'businessType':'t','mode':'SAGA'}", ASSENT_INVALID, "is a TCC");
    refused(h, COMMAND_BUSINESS_EXECUTE, "{'businessType':'t','mode':'AT'}", ASSENT_UNSUPPORTED,
            "no AT resource registered");
    refused(h, COMMAND_BUSINESS_EXECUTE, "{'businessType':'t','mode':'NONE'}", ASSENT_INVALID, "mode");
}

static void namespaces_have_catalogues_of_their_own(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_BUSINESS_PUT, ORDER);
    h->session.ns = (struct assent_bytes){(const uint8_t *)"team", 4};
    assert_int_equal(sm_run(h, COMMAND_BUSINESS_EXECUTE, "{'businessType':'order'}"), ASSENT_NOT_FOUND);
    ask(h, QUERY_BUSINESS, "{}");
    assert_int_equal(sm_count(h, "businessTypes"), 0);
    ok(h, COMMAND_BUSINESS_PUT, "{'businessType':'order','mode':'SAGA','steps':[{}]}");
    ok(h, COMMAND_BUSINESS_EXECUTE, "{'businessType':'order','xid':'x'}");
    assert_string_equal(sm_text(h, "xid"), "x");
    assert_string_equal(sm_text(h, "status"), "COMMITTED");
    ask(h, QUERY_STATISTICS, "{}");
    assert_int_equal(sm_uint(h, "committed"), 1);
    h->session.ns = (struct assent_bytes){NULL, 0};
    ask(h, QUERY_STATISTICS, "{}");
    assert_int_equal(sm_uint(h, "total"), 0);
    assert_int_equal(sm_ask(h, QUERY_TXN, "{'xid':'x'}"), ASSENT_TXN_NOT_FOUND);
    ask(h, QUERY_BUSINESS, "{'businessType':'order'}");
    assert_int_equal(sm_count(h, "template.steps"), 2);
}

static void a_listing_has_pages(void **state)
{
    struct sm_harness *h = *state;
    char args[128];
    for (int i = 0; i < 5; i++) {
        snprintf(args, sizeof args, "{'businessType':'b%d','mode':'SAGA','steps':[{}]}", i);
        ok(h, COMMAND_BUSINESS_PUT, args);
    }
    ask(h, QUERY_BUSINESS, "{'limit':3}");
    assert_int_equal(sm_count(h, "businessTypes"), 3);
    assert_string_equal(sm_text(h, "next"), "b2");
    ask(h, QUERY_BUSINESS, "{'limit':3,'after':'b2'}");
    assert_int_equal(sm_count(h, "businessTypes"), 2);
    assert_string_equal(sm_text(h, "businessTypes.0.businessType"), "b3");
    assert_string_equal(sm_text(h, "next"), "");
    assert_int_equal(sm_ask(h, QUERY_BUSINESS, "{'limit':0}"), ASSENT_INVALID);
}

static void data_for_many_branches_is_bounded(void **state)
{
    struct sm_harness *h = *state;
    size_t size = 1000 * 1000;
    char *args = malloc(size + 4096), *at = args;
    at += sprintf(at, "{'businessType':'wide','mode':'SAGA','concurrent':true,'steps':[{}");
    for (int i = 1; i < 100; i++)
        at += sprintf(at, ",{}");
    sprintf(at, "]}");
    ok(h, COMMAND_BUSINESS_PUT, args);
    at = args + sprintf(args, "{'businessType':'wide','xid':'w','businessData':'");
    memset(at, 'x', size);
    sprintf(at + size, "'}");
    refused(h, COMMAND_BUSINESS_EXECUTE, args, ASSENT_TOO_LARGE, "100 branches");
    free(args);
}

static void what_ended_is_counted_by_mode_and_type(void **state)
{
    struct sm_harness *h = *state;
    ask(h, QUERY_STATISTICS, "{}");
    assert_int_equal(sm_uint(h, "total"), 0);
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'a','businessType':'pay'}");
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'b','businessType':'pay'}");
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'c','businessType':'ship','mode':'XA'}");
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'d'}");
    sm_advance(h, 3000);
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'a'}");
    ok(h, COMMAND_TXN_ROLLBACK, "{'xid':'b'}");
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'c'}");
    sm_reincarnate(h);
    ask(h, QUERY_STATISTICS, "{}");
    assert_int_equal(sm_uint(h, "total"), 4);
    assert_int_equal(sm_uint(h, "unfinished"), 1);
    assert_int_equal(sm_uint(h, "committed"), 2);
    assert_int_equal(sm_uint(h, "rolledBack"), 1);
    assert_int_equal(sm_uint(h, "committedPerMille"), 666);
    assert_in_range(sm_uint(h, "averageMs"), 3000, 3010); /* and what the commands took */
    assert_int_equal(sm_count(h, "modes"), 2);
    assert_string_equal(sm_text(h, "types.0.businessType"), "pay");
    assert_int_equal(sm_uint(h, "types.0.committedPerMille"), 500);
    ask(h, QUERY_STATISTICS, "{'mode':'XA'}");
    assert_int_equal(sm_uint(h, "total"), 1);
    assert_int_equal(sm_count(h, "types"), 1);
    ask(h, QUERY_STATISTICS, "{'businessType':'pay'}");
    assert_int_equal(sm_uint(h, "total"), 2);
    assert_int_equal(sm_ask(h, QUERY_STATISTICS, "{'mode':'none'}"), ASSENT_INVALID);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, sm_harness_setup, sm_harness_teardown)
        CASE(what_is_put_can_be_read_and_removed),
        CASE(what_could_not_be_executed_is_refused_when_it_is_put),
        CASE(an_execution_is_the_modes_own_with_the_data_in_its_places),
        CASE(every_mode_can_be_executed),
        CASE(namespaces_have_catalogues_of_their_own),
        CASE(a_listing_has_pages),
        CASE(data_for_many_branches_is_bounded),
        CASE(what_ended_is_counted_by_mode_and_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
