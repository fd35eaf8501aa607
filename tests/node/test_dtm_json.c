/* Claims about what DTM's clients may write, and how their paths are read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dtm.h"
#include "dtm_json.h"
#include "dtm_routes.h"

static struct assent_bytes text(const char *s)
{
    return (struct assent_bytes){(const uint8_t *)s, strlen(s)};
}

/* Each row: a body, whether it is taken, and a piece of what is said else. */
static void tolerance_is_that_of_dtm(void **state)
{
    (void)state;
    static const struct {
        const char *body, *wrong; /* NULL: taken */
    } rows[] = {
        {"{\"gid\":\"g\",\"trans_type\":\"saga\"}", NULL},
        {"{\"GID\":\"g\",\"Trans_Type\":\"saga\"}", NULL}, /* any case */
        {" {\n \"gid\" : \"g\" }\r\n", NULL},
        {"{\"gid\":\"g\",\"unknown\":{\"a\":[1,2]},\"subType\":7}", NULL}, /* ignored */
        {"{\"gid\":null,\"steps\":null,\"payloads\":null,\"branch_headers\":null,\"wait_result\":null,"
         "\"timeout_to_fail\":null,\"custom_data\":null}",
         NULL},
        {"{\"branch_headers\":[]}", NULL}, /* PHP's empty map */
        {"{\"req_extra\":[]}", NULL},
        {"{\"steps\":{},\"payloads\":{}}", NULL},
        {"{\"steps\":[{}],\"payloads\":[null]}", NULL},
        {"{\"steps\":[{\"action\":null}]}", NULL},
        {"{\"steps\":[[]]}", NULL},
        {"{\"retry_limit\":-1}", NULL},
        {"{\"gid\":7}", "'gid' must be a text"},
        {"{\"Gid\":7}", "'gid' must be a text"},
        {"{\"timeout_to_fail\":1.5}", "'timeout_to_fail' must be a whole number"},
        {"{\"timeout_to_fail\":1e1}", "'timeout_to_fail' must be a whole number"},
        {"{\"retry_interval\":\"1\"}", "'retry_interval' must be a whole number"},
        {"{\"wait_result\":1}", "'wait_result' must be true or false"},
        {"{\"concurrent\":\"true\"}", "'concurrent' must be true or false"},
        {"{\"steps\":\"x\"}", "'steps' must be a list"},
        {"{\"steps\":[1]}", "'steps' must be a list"},
        {"{\"steps\":[{\"action\":1}]}", "'steps' must be a list"},
        {"{\"payloads\":[1]}", "'payloads' must be a list"},
        {"{\"payloads\":{\"a\":1}}", "'payloads' must be a list"},
        {"{\"branch_headers\":{\"a\":1}}", "'branch_headers' must be an object"},
        {"{\"branch_headers\":[\"a\"]}", "'branch_headers' must be an object"},
        {"{\"req_extra\":\"x\"}", "'req_extra' must be an object"},
        {"{\"custom_data\":{}}", "'custom_data' must be a text"},
        {"", "the body is empty"},
        {"null", "must be a JSON object"},
        {"[]", "must be a JSON object"},
        {"{\"gid\":\"g\"", "not JSON"},
        {"{\"gid\":\"g\"}x", "not JSON"},
        {"{\"retry_limit\":99999999999999999999}", "not JSON"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct dtm_txn t;
        char why[DTM_WHY_MAX] = "";
        int status = dtm_txn_decode(&t, text(rows[i].body), why);
        if ((status == 0) != (rows[i].wrong == NULL) ||
            (rows[i].wrong != NULL && strstr(why, rows[i].wrong) == NULL))
            fail_msg("%s: %d %s", rows[i].body, status, why);
        dtm_txn_close(&t);
    }
}

static void fields_arrive(void **state)
{
    (void)state;
    struct dtm_txn t;
    char why[DTM_WHY_MAX] = "";
    assert_int_equal(
        dtm_txn_decode(
            &t,
            text("{\"gid\":\"a;b\\r\\nc\",\"trans_type\":\"saga\",\"gid \":\"no\","
                 "\"steps\":[{\"action\":\"u1\",\"compensate\":\"u2\"},{\"action\":\"u3\",\"data\":\"d\"}],"
                 "\"payloads\":[\"p\"],\"wait_result\":true,\"TIMEOUT_TO_FAIL\":5,\"retry_limit\":2,"
                 "\"request_timeout\":7,\"retry_interval\":9,\"branch_headers\":{\"k\":\"v\"},"
                 "\"req_extra\":{\"status\":\"succeed\",\"result\":\"cg==\"}}"),
            why),
        0);
    assert_int_equal(t.gid_size, 3);
    assert_memory_equal(t.gid, "abc", 3); /* line ends and semicolons are taken out */
    assert_int_equal(t.type, DTM_SAGA);
    assert_true(t.wait_result);
    assert_int_equal(t.timeout_to_fail, 5);
    assert_int_equal(t.request_timeout, 7);
    assert_int_equal(t.retry_interval, 9);
    assert_int_equal(t.retry_limit, 2);
    assert_string_equal(t.end_status, "succeed");
    assert_string_equal(t.end_result, "cg==");
    assert_int_equal(json_object_size(t.headers), 1);
    /* all payloads, then the data of steps */
    assert_string_equal(json_string_value(dtm_txn_payload(&t, 0)), "p");
    assert_string_equal(json_string_value(dtm_txn_payload(&t, 1)), "d");
    assert_null(dtm_txn_payload(&t, 2));
    dtm_txn_close(&t);
    /* the last of several counts, null does not */
    assert_int_equal(dtm_txn_decode(&t, text("{\"gid\":\"a\",\"GID\":\"b\",\"Gid\":null}"), why), 0);
    assert_memory_equal(t.gid, "b", 1);
    assert_int_equal(t.type, DTM_TYPE_NR);
    dtm_txn_close(&t);
}

static void custom_data_is_checked_when_it_is_used(void **state)
{
    (void)state;
    static const struct {
        enum dtm_type type;
        const char *custom; /* as JSON text */
        bool ok;
    } rows[] = {
        {DTM_SAGA, "", true},
        {DTM_SAGA, "null", true},
        {DTM_SAGA, "[]", true},
        {DTM_SAGA, "{\"concurrent\":true,\"orders\":null}", true}, /* PHP */
        {DTM_SAGA, "{\"concurrent\":true,\"orders\":{\"1\":[0]}}", true},
        {DTM_SAGA, "{\"concurrent\":true,\"orders\":[[],[0]]}", true}, /* PHP, keys 0..n-1 */
        {DTM_SAGA, "{\"concurrent\":true,\"orders\":[1]}", false},
        {DTM_SAGA, "{\"orders\":{\"x\":[0]}}", false},
        {DTM_SAGA, "{\"orders\":{\"1\":[\"0\"]}}", false},
        {DTM_SAGA, "{\"concurrent\":\"yes\"}", false},
        {DTM_SAGA, "not JSON", false},
        {DTM_SAGA, "7", false},
        {DTM_TCC, "not JSON", true}, /* kept, never read */
        {DTM_MSG, "{\"delay\":10}", true},
        {DTM_MSG, "{\"delay\":-1}", false},
        {DTM_MSG, "{\"delay\":1.5}", false},
        {DTM_WORKFLOW, "{\"name\":\"n\",\"data\":\"aGVsbG8=\"}", true},
        {DTM_WORKFLOW, "{\"name\":\"n\",\"data\":\"%\"}", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct dtm_txn t = {.type = rows[i].type, .custom_data = rows[i].custom};
        struct dtm_custom c;
        char why[DTM_WHY_MAX] = "";
        bool ok = dtm_custom_decode(&c, &t, why) == 0;
        if (ok != rows[i].ok || (!ok && why[0] == 0))
            fail_msg("row %zu: %s", i, why);
        dtm_custom_close(&c);
    }
    struct dtm_txn t = {.type = DTM_WORKFLOW, .custom_data = "{\"name\":\"n\",\"data\":\"AGhpAA==\"}"};
    struct dtm_custom c;
    char why[DTM_WHY_MAX];
    assert_int_equal(dtm_custom_decode(&c, &t, why), 0);
    assert_string_equal(c.name, "n");
    assert_int_equal(c.data_size, 4);
    assert_memory_equal(c.data, "\0hi", 4);
    dtm_custom_close(&c);
}

static void branches_are_texts(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        bool ok;
    } rows[] = {
        {"{\"gid\":\"g\",\"branch_id\":\"01\",\"trans_type\":\"tcc\",\"data\":null,\"extra\":\"x\"}", true},
        {"{\"gid\":\"g\",\"branch_id\":1}", false},
        {"{\"gid\":\"g\",\"extra\":true}", false},
        {"{\"gid\":\"g\",\"extra\":{}}", false},
        {"[]", false},
        {"", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct dtm_branch b;
        char why[DTM_WHY_MAX] = "";
        bool ok = dtm_branch_decode(&b, text(rows[i].body), why) == 0;
        if (ok != rows[i].ok)
            fail_msg("%s: %s", rows[i].body, why);
        if (ok)
            assert_string_equal(b.data, "");
        dtm_branch_close(&b);
    }
}

static void base64_goes_both_ways(void **state)
{
    (void)state;
    static const char *const rows[][2] = {{"", ""},        {"f", "Zg=="},         {"fo", "Zm8="},
                                          {"foo", "Zm9v"}, {"foob", "Zm9vYg=="},  {"fooba", "Zm9vYmE="},
                                          {"?>~", "Pz5+"}, {"foobar", "Zm9vYmFy"}}; /* RFC 4648, 10 */
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char out[64];
        size_t size;
        dtm_base64_encode(text(rows[i][0]), out);
        assert_string_equal(out, rows[i][1]);
        uint8_t *back = dtm_base64_decode(rows[i][1], &size);
        assert_non_null(back);
        assert_int_equal(size, strlen(rows[i][0]));
        assert_memory_equal(back, rows[i][0], size);
        free(back);
    }
    size_t size;
    assert_null(dtm_base64_decode("abc", &size));
    assert_null(dtm_base64_decode("ab=c", &size));
    assert_null(dtm_base64_decode("====", &size));
}

static void paths_have_the_manners_of_dtms_framework(void **state)
{
    (void)state;
    static const struct {
        const char *method, *path;
        bool ours;
        enum dtm_op op;
        bool slash;
    } rows[] = {
        {"GET", "/api/dtmsvr/newGid", true, DTM_NEW_GID, false},
        {"POST", "/api/dtmsvr/newGid", true, DTM_NOWHERE, false}, /* wrong method: not found */
        {"HEAD", "/api/dtmsvr/newGid", true, DTM_NOWHERE, false},
        {"POST", "/api/dtmsvr/prepare", true, DTM_PREPARE, false},
        {"POST", "/api/dtmsvr/submit", true, DTM_SUBMIT, false},
        {"POST", "/api/dtmsvr/abort", true, DTM_ABORT, false},
        {"POST", "/api/dtmsvr/registerBranch", true, DTM_REGISTER_BRANCH, false},
        {"POST", "/api/dtmsvr/registerTccBranch", true, DTM_REGISTER_BRANCH, false},
        {"POST", "/api/dtmsvr/registerXaBranch", true, DTM_REGISTER_BRANCH, false},
        {"POST", "/api/dtmsvr/prepareWorkflow", true, DTM_PREPARE_WORKFLOW, false},
        {"POST", "/api/dtmsvr/forceStop", true, DTM_FORCE_STOP, false},
        {"POST", "/api/dtmsvr/resetNextCronTime", true, DTM_RESET_NEXT_CRON_TIME, false},
        {"GET", "/api/dtmsvr/query", true, DTM_QUERY, false},
        {"GET", "/api/dtmsvr/all", true, DTM_ALL, false},
        {"GET", "/api/dtmsvr/resetCronTime", true, DTM_RESET_CRON_TIME, false},
        {"GET", "/api/dtmsvr/subscribe", true, DTM_SUBSCRIBE, false},
        {"GET", "/api/dtmsvr/unsubscribe", true, DTM_UNSUBSCRIBE, false},
        {"DELETE", "/api/dtmsvr/topic/t", true, DTM_DELETE_TOPIC, false},
        {"DELETE", "/api/dtmsvr/topic/", true, DTM_NOWHERE, false},
        {"DELETE", "/api/dtmsvr/topic/a/b", true, DTM_NOWHERE, false},
        {"GET", "/api/dtmsvr/queryKV", true, DTM_QUERY_KV, false},
        {"GET", "/api/dtmsvr/scanKV", true, DTM_SCAN_KV, false},
        {"GET", "/api/dtmsvr/version", true, DTM_VERSION, false},
        {"GET", "/api/ping", true, DTM_PING, false},
        {"POST", "/api/ping", true, DTM_PING, false},
        {"OPTIONS", "/api/ping", true, DTM_PING, false},
        {"GET", "/api/metrics", true, DTM_METRICS, false},
        {"POST", "/api/json-rpc", true, DTM_JSON_RPC, false},
        {"GET", "/api/dtmsvr/query/", true, DTM_NOWHERE, true},
        {"POST", "/api/dtmsvr/submit/", true, DTM_NOWHERE, true},
        {"DELETE", "/api/dtmsvr/topic/t/", true, DTM_NOWHERE, true},
        {"GET", "/api/ping/", true, DTM_NOWHERE, true},
        {"GET", "/api/dtmsvr/nothing", true, DTM_NOWHERE, false},
        {"GET", "/api/dtmsvr/nothing/", true, DTM_NOWHERE, false},
        {"GET", "/api/dtmsvr", true, DTM_NOWHERE, false},
        {"GET", "/api/dtmsvrx/query", false, DTM_NOWHERE, false},
        {"GET", "/api/v1/nodes", false, DTM_NOWHERE, false},
        {"GET", "/api/pingx", false, DTM_NOWHERE, false},
        {"GET", "/metrics", false, DTM_NOWHERE, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct dtm_route_match m;
        dtm_route_find(rows[i].method, text(rows[i].path), &m);
        if (dtm_owns(text(rows[i].path)) != rows[i].ours || m.op != rows[i].op || m.slash != rows[i].slash)
            fail_msg("%s %s: %d %d", rows[i].method, rows[i].path, m.op, m.slash);
    }
}

static void parameters_are_decoded(void **state)
{
    (void)state;
    char out[16];
    struct assent_bytes query = text("gid=a+b%2Fc&empty=&flag&gid=second&bad=%zz&long=0123456789abcdef");
    assert_true(dtm_parameter(query, "gid", out, sizeof out));
    assert_string_equal(out, "a b/c");
    assert_true(dtm_parameter(query, "empty", out, sizeof out));
    assert_string_equal(out, "");
    assert_true(dtm_parameter(query, "flag", out, sizeof out));
    assert_string_equal(out, "");
    assert_false(dtm_parameter(query, "bad", out, sizeof out));
    assert_false(dtm_parameter(query, "long", out, sizeof out));
    assert_false(dtm_parameter(query, "none", out, sizeof out));
    assert_false(dtm_parameter((struct assent_bytes){NULL, 0}, "gid", out, sizeof out));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tolerance_is_that_of_dtm),
        cmocka_unit_test(fields_arrive),
        cmocka_unit_test(custom_data_is_checked_when_it_is_used),
        cmocka_unit_test(branches_are_texts),
        cmocka_unit_test(base64_goes_both_ways),
        cmocka_unit_test(paths_have_the_manners_of_dtms_framework),
        cmocka_unit_test(parameters_are_decoded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
