/* What a call looks like: rows of work and the request they become. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "assent/error.h"
#include "executor_private.h"
#include "jsonrpc.h"
#include "sm_harness.h"

static struct assent_bytes text(const char *s)
{
    return (struct assent_bytes){(const uint8_t *)s, strlen(s)};
}

static int64_t now_us(void *data)
{
    (void)data;
    return 1700000000123000;
}

/* What every row begins with. */
static struct sm_work work(enum sm_style style, const char *mode, enum sm_op op)
{
    return (struct sm_work){
        .xid = text("g 1/é"),
        .branch = text("01"),
        .op = op,
        .token = 77,
        .style = style,
        .mode = text(mode),
        .url = text("http://h/p"),
        .callback_name = text("my flow"),
    };
}

static bool text_is(struct assent_bytes bytes, const char *s)
{
    return bytes.size == strlen(s) && memcmp(bytes.base, s, bytes.size) == 0;
}

static const char *header(const struct call_form *f, const char *name)
{
    static char value[512];
    for (uint32_t i = 0; i < f->request.n_headers; i++) {
        if (!text_is(f->headers[i].name, name))
            continue;
        memcpy(value, f->headers[i].value.base, f->headers[i].value.size);
        value[f->headers[i].value.size] = 0;
        return value;
    }
    return NULL;
}

static int setup(void **state)
{
    struct executor *ex = calloc(1, sizeof(*ex));
    assert_non_null(ex);
    ex->config.timeout_ms = 10000;
    ex->config.now_us = now_us;
    *state = ex;
    return 0;
}

static int teardown(void **state)
{
    struct executor *ex = *state;
    signature_close(ex->config.keys);
    free(ex);
    return 0;
}

/* dtm-protocol, section 5: GET without a payload except for XA, four parameters, names of operations. */
static void dtm_calls_are_what_dtm_sends(void **state)
{
    static const struct {
        const char *mode;
        enum sm_op op;
        const char *payload;
        bool get;
        const char *url, *expected;
    } rows[] = {
        {"SAGA", SM_OP_ACTION, "{}", false, "http://h/p",
         "http://h/p?branch_id=01&gid=g+1%2F%C3%A9&op=action&trans_type=saga"},
        {"SAGA", SM_OP_COMPENSATE, "", true, "http://h/p?a=b",
         "http://h/p?a=b&branch_id=01&gid=g+1%2F%C3%A9&op=compensate&trans_type=saga"},
        {"TCC", SM_OP_CONFIRM, "", true, "http://h/p?",
         "http://h/p?branch_id=01&gid=g+1%2F%C3%A9&op=confirm&trans_type=tcc"},
        {"TCC", SM_OP_CANCEL, "1", false, "http://h/p#x",
         "http://h/p?branch_id=01&gid=g+1%2F%C3%A9&op=cancel&trans_type=tcc"},
        {"TCC", SM_OP_TRY, "1", false, "http://h/p",
         "http://h/p?branch_id=01&gid=g+1%2F%C3%A9&op=try&trans_type=tcc"},
        {"XA", SM_OP_CONFIRM, "", false, "http://h",
         "http://h?branch_id=01&gid=g+1%2F%C3%A9&op=commit&trans_type=xa"},
        {"XA", SM_OP_CANCEL, "", false, "http://h/p?gid=x",
         "http://h/p?gid=x&branch_id=01&gid=g+1%2F%C3%A9&op=rollback&trans_type=xa"},
        {"MESSAGE", SM_OP_ACTION, "1", false, "http://h/p",
         "http://h/p?branch_id=01&gid=g+1%2F%C3%A9&op=action&trans_type=msg"},
        {"MESSAGE", SM_OP_QUERY, "", true, "http://h/p",
         "http://h/p?branch_id=01&gid=g+1%2F%C3%A9&op=msg&trans_type=msg"},
        {"WORKFLOW", SM_OP_CALLBACK, "AA==", false, "http://h/p",
         "http://h/p?branch_id=01&gid=g+1%2F%C3%A9&op=my+flow&trans_type=workflow"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct call_form f;
        const char *why = NULL;
        struct sm_work w = work(SM_STYLE_DTM, rows[i].mode, rows[i].op);
        w.payload = text(rows[i].payload);
        w.url = text(rows[i].url);
        assert_int_equal(call_form_open(&f, *state, &w, &why), ASSENT_OK);
        assert_true(text_is(f.request.url, rows[i].expected));
        assert_int_equal(f.request.get, rows[i].get);
        assert_true(text_is(f.request.body, rows[i].payload));
        assert_string_equal(header(&f, "Content-Type"), "application/json");
        assert_string_equal(header(&f, "Accept"), "application/json");
        assert_int_equal(f.request.timeout_ms, 3000);
        assert_int_equal(f.request.redirects, CALLER_REDIRECTS_ANY);
        call_form_close(&f);
    }
}

static void native_calls_carry_everything_in_headers(void **state)
{
    static const struct {
        enum sm_op op;
        const char *name;
    } rows[] = {
        {SM_OP_CONFIRM, "confirm"},       {SM_OP_CANCEL, "cancel"}, {SM_OP_ACTION, "action"},
        {SM_OP_COMPENSATE, "compensate"}, {SM_OP_TRY, "try"},       {SM_OP_QUERY, "query"},
        {SM_OP_CALLBACK, "callback"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct call_form f;
        const char *why = NULL;
        struct sm_work w = work(SM_STYLE_NATIVE, "XA", rows[i].op);
        w.xid = text("shop\x1ftxn");
        w.attempt = 3;
        w.timeout_ms = 42;
        w.traceparent = text("00-aa-bb-01");
        assert_int_equal(call_form_open(&f, *state, &w, &why), ASSENT_OK);
        assert_true(text_is(f.request.url, "http://h/p"));
        assert_false(f.request.get);
        assert_string_equal(header(&f, "Assent-Op"), rows[i].name);
        assert_string_equal(header(&f, "Assent-Xid"), "txn");
        assert_string_equal(header(&f, "Assent-Namespace"), "shop");
        assert_string_equal(header(&f, "Assent-Branch"), "01");
        assert_string_equal(header(&f, "Assent-Token"), "77");
        assert_string_equal(header(&f, "Assent-Attempt"), "3");
        assert_string_equal(header(&f, "traceparent"), "00-aa-bb-01");
        assert_null(header(&f, "Assent-Signature"));
        assert_int_equal(f.request.timeout_ms, 42);
        assert_int_equal(f.request.redirects, CALLER_REDIRECTS_SAME);
        call_form_close(&f);
    }
    struct call_form f;
    const char *why = NULL;
    struct sm_work w = work(SM_STYLE_NATIVE, "TCC", SM_OP_CONFIRM);
    w.traceparent = text("a\nb");
    assert_int_equal(call_form_open(&f, *state, &w, &why), ASSENT_OK);
    assert_null(header(&f, "Assent-Namespace"));
    assert_null(header(&f, "traceparent")); /* no header may be made of it */
    assert_int_equal(f.request.timeout_ms, 10000);
    call_form_close(&f);
}

static void json_rpc_branches_get_one_object(void **state)
{
    static const struct {
        const char *url, *payload, *body;
    } rows[] = {
        {"http://h/rpc?method=Stock.Take", "{\"n\":1.50}",
         "{\"jsonrpc\":\"2.0\",\"id\":\"77-0\",\"method\":\"Stock.Take\",\"params\":{\"n\":1.50,"
         "\"gid\":\"q\\\"\",\"trans_type\":\"saga\",\"branch_id\":\"01\",\"op\":\"action\"}}"},
        {"http://h/rpc?a=1&method=a%20b+c%zz&method=d#method=e", " { } ",
         "{\"jsonrpc\":\"2.0\",\"id\":\"77-0\",\"method\":\"a b c%zz\",\"params\":{\"gid\":\"q\\\"\","
         "\"trans_type\":\"saga\",\"branch_id\":\"01\",\"op\":\"action\"}}"},
        {"http://h/rpc?method=m", "",
         "{\"jsonrpc\":\"2.0\",\"id\":\"77-0\",\"method\":\"m\",\"params\":{\"gid\":\"q\\\"\","
         "\"trans_type\":\"saga\",\"branch_id\":\"01\",\"op\":\"action\"}}"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct call_form f;
        const char *why = NULL;
        struct sm_work w = work(i == 1 ? SM_STYLE_NATIVE : SM_STYLE_DTM, "SAGA", SM_OP_ACTION);
        w.xid = text("q\"");
        w.protocol = SM_PROTOCOL_JSON_RPC;
        w.url = text(rows[i].url);
        w.payload = text(rows[i].payload);
        assert_int_equal(call_form_open(&f, *state, &w, &why), ASSENT_OK);
        assert_true(f.jsonrpc && f.request.keep && !f.request.get);
        assert_true(text_is(f.request.url, rows[i].url)); /* nothing is appended */
        assert_string_equal(f.body, rows[i].body);
        assert_int_equal(f.request.body.size, strlen(f.body));
        call_form_close(&f);
    }
}

static void json_rpc_needs_a_method_and_an_object(void **state)
{
    static const struct {
        const char *url, *payload, *why;
    } rows[] = {
        {"http://h/method", "{}", "the URL of a JSON-RPC branch has no query parameter `method`"},
        {"http://h/?method=", "{}", "the URL of a JSON-RPC branch has no query parameter `method`"},
        {"http://h/?method=m", "[1]", "the payload of a JSON-RPC branch must be an object"},
        {"http://h/?method=m", "{", "the payload of a JSON-RPC branch must be an object"},
    };
    struct call_form f;
    const char *why = NULL;
    struct sm_work w = work(SM_STYLE_DTM, "SAGA", SM_OP_ACTION);
    w.protocol = SM_PROTOCOL_JSON_RPC;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        w.url = text(rows[i].url);
        w.payload = text(rows[i].payload);
        assert_int_equal(call_form_open(&f, *state, &w, &why), ASSENT_INVALID);
        assert_string_equal(why, rows[i].why);
        call_form_close(&f);
    }
    w.url = text("http://h/rpc"); /* DTM's rule: plain HTTP then */
    assert_int_equal(call_form_open(&f, *state, &w, &why), ASSENT_OK);
    assert_false(f.jsonrpc);
    assert_non_null(memmem(f.request.url.base, f.request.url.size, "?branch_id=", 11));
    call_form_close(&f);
}

static void the_longest_url_still_takes_its_parameters(void **state)
{
    char url[ASSENT_URL_BYTES_MAX + 1], xid[ASSENT_XID_BYTES_MAX + 1];
    memset(url, 'u', sizeof(url) - 1);
    memcpy(url, "http://", 7);
    url[sizeof(url) - 1] = 0;
    memset(xid, '%', sizeof(xid) - 1);
    xid[sizeof(xid) - 1] = 0;
    struct sm_work w = work(SM_STYLE_DTM, "WORKFLOW", SM_OP_CALLBACK);
    struct call_form f;
    const char *why = NULL;
    w.url = text(url);
    w.xid = w.branch = w.callback_name = text(xid);
    assert_int_equal(call_form_open(&f, *state, &w, &why), ASSENT_OK);
    call_form_close(&f);
}

static void json_rpc_answers_have_four_meanings(void **state)
{
    static const struct {
        const char *answer;
        enum sm_outcome outcome;
    } rows[] = {
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":null}", SM_OUTCOME_SUCCESS},
        {"{\"error\":null,\"result\":{\"error\":{\"code\":-32901}}}", SM_OUTCOME_SUCCESS},
        {"{\"error\":{\"code\":-32901,\"message\":\"no\"}}", SM_OUTCOME_FAILURE},
        {"{\"error\":{\"code\":-32902}}", SM_OUTCOME_ONGOING},
        {"{\"error\":{\"code\":-32603}}", SM_OUTCOME_ERROR},
        {"{\"error\":{\"code\":\"-32901\"}}", SM_OUTCOME_ERROR},
        {"{\"error\":\"x\"}", SM_OUTCOME_ERROR},
        {"[]", SM_OUTCOME_ERROR},
        {"{\"result\":", SM_OUTCOME_ERROR},
        {"", SM_OUTCOME_ERROR},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(jsonrpc_outcome(text(rows[i].answer)), rows[i].outcome);
}

/* RFC 4231 has no case of our form, so the value is from: printf '%s' '1700000000123.GET./p?a=1.' |
 * openssl dgst -sha256 -hmac 0123456789abcdef */
static void a_signature_is_over_time_method_target_and_body(void **state)
{
    static const struct {
        const char *url, *method, *body, *signature;
    } rows[] = {
        {"http://h/p?a=1#f", "GET", "", "cf0930013964ea8ab85827856336066e592c78bd4ace3783e65791b018785e69"},
        {"https://h:1/x/y", "POST", "{\"a\":1}",
         "0fe08f8dc3a4659139f48b088e6c0ef29108f466060376df36b4178b4b012f6b"},
        {"http://h?a", "POST", "b", "22bb7e82646b62e74e34b52a5fcef4918a49f68c392dbfe99d6f3f89e8c71af1"},
    };
    char path[] = "/tmp/assent-key-XXXXXX", rule[4][100], err[256];
    char *rules[4] = {rule[0], rule[1], rule[2], rule[3]};
    int fd = mkstemp(path);
    (void)state;
    dprintf(fd, "0123456789abcdef\n");
    close(fd);
    snprintf(rule[0], sizeof(rule[0]), "http://h=%s", path);
    snprintf(rule[1], sizeof(rule[1]), "https://h:1/x=%s", path);
    struct signature_keys *keys;
    assert_true(signature_open(&keys, rules, 2, err, sizeof(err)));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char value[SIGNATURE_BYTES_MAX], expected[SIGNATURE_BYTES_MAX];
        snprintf(expected, sizeof(expected), "t=1700000000123,v1=%s", rows[i].signature);
        assert_true(signature_make(keys, text(rows[i].url), rows[i].method, text(rows[i].body), 1700000000123,
                                   value));
        assert_string_equal(value, expected);
    }
    static const char *const elsewhere[] = {"http://h.evil/p", "http://h:81/p", "https://h:1/xy",
                                            "http://H/p", "http:"};
    for (size_t i = 0; i < sizeof(elsewhere) / sizeof(elsewhere[0]); i++) {
        char value[SIGNATURE_BYTES_MAX];
        assert_false(signature_make(keys, text(elsewhere[i]), "GET", text(""), 1, value));
    }
    signature_close(keys);
    unlink(path);
}

static void a_call_is_signed_as_it_is_sent(void **state)
{
    struct executor *ex = *state;
    char path[] = "/tmp/assent-key-XXXXXX", rule[100], err[256], expected[SIGNATURE_BYTES_MAX];
    char *rules[1] = {rule};
    int fd = mkstemp(path);
    dprintf(fd, "0123456789abcdef0123456789abcdef");
    close(fd);
    snprintf(rule, sizeof(rule), "http://h/=%s", path);
    assert_true(signature_open(&ex->config.keys, rules, 1, err, sizeof(err)));
    struct sm_harness h;
    sm_harness_open(&h); /* its log's time is part of the clock */
    ex->config.sm = h.sm;
    struct sm_work w = work(SM_STYLE_DTM, "SAGA", SM_OP_ACTION);
    struct call_form f;
    const char *why = NULL;
    assert_int_equal(call_form_open(&f, ex, &w, &why), ASSENT_OK);
    struct assent_bytes url = text("http://h/p?branch_id=01&gid=g+1%2F%C3%A9&op=action&trans_type=saga");
    assert_true(signature_make(ex->config.keys, url, "GET", text(""), executor_now_us(ex) / 1000, expected));
    assert_string_equal(header(&f, "Assent-Signature"), expected);
    call_form_close(&f);
    sm_harness_close(&h);
    unlink(path);
}

static void keys_are_checked(void **state)
{
    static const struct {
        const char *key; /* of the file; NULL: none */
        const char *rule, *part;
    } rows[] = {
        {"0123456789abcde", "http://h=%s", "a key has 16 to 4096 bytes"},
        {NULL, "http://h=/nonexistent/key", "/nonexistent/key: No such file"},
        {NULL, "http://h=", "takes <beginning of the URL"},
        {NULL, "=/etc/hostname", "takes <beginning of the URL"},
        {NULL, "h=/etc/hostname", "takes <beginning of the URL"},
        {NULL, "http://h", "takes <beginning of the URL"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char path[] = "/tmp/assent-key-XXXXXX", rule[100], err[256] = "";
        char *rules[1] = {rule};
        struct signature_keys *keys;
        int fd = mkstemp(path);
        if (rows[i].key != NULL)
            dprintf(fd, "%s\n", rows[i].key);
        close(fd);
        snprintf(rule, sizeof(rule), "%s", rows[i].rule);
        if (rows[i].key != NULL)
            snprintf(rule, sizeof(rule), "http://h=%s", path);
        assert_false(signature_open(&keys, rules, 1, err, sizeof(err)));
        assert_non_null(strstr(err, rows[i].part));
        assert_null(keys);
        unlink(path);
    }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    static const struct CMUnitTest tests[] = {
        T(dtm_calls_are_what_dtm_sends),
        T(native_calls_carry_everything_in_headers),
        T(json_rpc_branches_get_one_object),
        T(json_rpc_needs_a_method_and_an_object),
        T(the_longest_url_still_takes_its_parameters),
        T(json_rpc_answers_have_four_meanings),
        T(a_signature_is_over_time_method_target_and_body),
        T(a_call_is_signed_as_it_is_sent),
        T(keys_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
