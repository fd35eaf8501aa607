/* Claims about what DTM's clients see of calls that are really made: statuses by position, reasons, and what
 * waiting for a result answers.  Nodes over the fake log, branches in the test's own process.
 * Source: dtm-protocol.md; numbers are its sections. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "harness.h"
#include "participant.h"

#define DTM "/api/dtmsvr"
/* After so long a test gives up. */
#define PATIENCE_NS 20000000000ull

static struct harness h;
static struct participant p;

static int start(void **state)
{
    (void)state;
    static const char *const options[] = {
        "--hold-ms", "300", "--request-timeout-ms", "3000", "--branch-breaker-failures", "0", "--drain-ms",
        "200",       NULL};
    harness_start(&h, 3, options);
    participant_open(&p, &h.loop);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    participant_close(&p);
    harness_settle(&h);
    harness_stop(&h);
    return 0;
}

/* `body` with $ as the gid and every @/path as a URL of the participant. */
static char *fill(const char *body, const char *gid)
{
    char *out = NULL;
    size_t size;
    FILE *f = open_memstream(&out, &size);
    for (; *body != 0; body++) {
        if (*body == '$')
            fputs(gid, f);
        else if (*body == '@')
            fprintf(f, "http://127.0.0.1:%u", p.port);
        else
            fputc(*body, f);
    }
    fclose(f);
    return out;
}

static struct reply post(int node, const char *path, const char *body, const char *gid)
{
    char *text = fill(body, gid), url[128];
    snprintf(url, sizeof url, "%s/%s", DTM, path);
    struct reply r = http_call(&h, node, "POST", url, NULL, text);
    free(text);
    return r;
}

static void expect(struct reply r, const char *what, int status, const char *part)
{
    if (r.status != status || strstr(r.body, part) == NULL)
        fail_msg("%s: %d %s, not %d %s", what, r.status, r.body, status, part);
    reply_free(&r);
}

static json_t *query(const char *gid)
{
    char url[256];
    snprintf(url, sizeof url, "%s/query?gid=%s", DTM, gid);
    struct reply r = http_call(&h, 0, "GET", url, NULL, NULL);
    json_t *root = json_loads(r.body, 0, NULL);
    assert_non_null(root);
    reply_free(&r);
    return root;
}

/* Wait until the statuses by position are those; `out` (may be NULL) gets the transaction. */
static void expect_statuses(const char *gid, const char *want, json_t **out)
{
    char have[128] = "";
    for (uint64_t end = uv_hrtime() + PATIENCE_NS; uv_hrtime() < end;) {
        json_t *root = query(gid), *row;
        size_t k, n = 0;
        json_array_foreach(json_object_get(root, "branches"), k, row) have[n++] =
            json_string_value(json_object_get(row, "status"))[0];
        snprintf(have + n, sizeof have - n, "/%s",
                 json_string_value(json_object_get(json_object_get(root, "transaction"), "status")));
        if (strcmp(have, want) == 0) {
            if (out != NULL)
                *out = root;
            else
                json_decref(root);
            return;
        }
        json_decref(root);
        harness_step(&h);
    }
    fail_msg("%s: %s, not %s", gid, have, want);
}

static const char *reason_of(const json_t *root)
{
    return json_string_value(json_object_get(json_object_get(root, "transaction"), "rollback_reason"));
}

#define STEP(action) "{\"action\":\"@/" action "\",\"compensate\":\"@/ok\"}"
#define SAGA(first, second, more)                                                                            \
    "{\"gid\":\"$\",\"trans_type\":\"saga\",\"steps\":[" STEP(first) "," STEP(                               \
        second) "],"                                                                                         \
                "\"payloads\":[\"{\\\"amount\\\":30}\",\"{}\"]" more "}"

static void positions_of_a_saga(void **state)
{
    (void)state;
    json_t *root;
    expect(post(1, "submit", SAGA("ok", "ok", ""), "s1"), "submit", 200, "SUCCESS");
    expect_statuses("s1", "psps/succeed", NULL);
    expect(post(1, "submit", SAGA("ok", "refuse", ""), "s2"), "submit", 200, "SUCCESS");
    expect_statuses("s2", "sssf/failed", &root);
    /* 7.1: the reason holds the URL and what was answered */
    assert_has(reason_of(root), "url:http://127.0.0.1");
    assert_has(reason_of(root), "/refuse return failed: ");
    assert_has(reason_of(root), "no stock");
    assert_has(reason_of(root), " FAILURE");
    json_decref(root);
    expect(post(1, "submit", SAGA("refuse", "ok", ""), "s3"), "submit", 200, "SUCCESS");
    expect_statuses("s3", "sfpp/failed", NULL);
}

static void a_saga_gives_up_at_its_limit(void **state)
{
    (void)state;
    json_t *root;
    uint32_t before = p.requests;
    expect(post(0, "submit", SAGA("ok", "fail", ",\"retry_limit\":2,\"wait_result\":true"), "r1"), "submit",
           409, "RetryCount is greater than RetryLimit, RetryLimit: 2");
    expect_statuses("r1", "sssp/failed", &root);
    assert_string_equal(reason_of(root), "RetryCount is greater than RetryLimit, RetryLimit: 2");
    json_decref(root);
    assert_int_equal(p.requests - before, 1 + 3 + 2); /* limit 2: three calls in all; two compensations */
}

static void a_saga_times_out(void **state)
{
    (void)state;
    json_t *root;
    expect(post(0, "submit", SAGA("later", "ok", ",\"timeout_to_fail\":1"), "o1"), "submit", 200, "SUCCESS");
    expect_statuses("o1", "sppp/failed", &root);
    assert_string_equal(reason_of(root), "Timeout after 1 seconds");
    json_decref(root);
}

static void waiting_says_what_came(void **state)
{
    (void)state;
    static const struct {
        const char *gid, *body;
        int status;
        const char *part, *then;
    } rows[] = {
        {"w1", SAGA("ok", "ok", ",\"wait_result\":true"), 200, "SUCCESS", "psps/succeed"},
        {"w2", SAGA("ok", "refuse", ",\"wait_result\":true"), 409, "no stock", "sssf/failed"},
        {"w3", SAGA("ok", "fail", ",\"wait_result\":true"), 409, "submitted", "pspp/submitted"},
        {"w4", SAGA("later", "ok", ",\"wait_result\":true"), 409, "submitted", "pppp/submitted"},
        {"w5",
         "{\"gid\":\"$\",\"trans_type\":\"msg\",\"steps\":[{\"action\":\"@/ok\"}],\"payloads\":[\"{}\"],"
         "\"wait_result\":true}",
         200, "SUCCESS", "s/succeed"},
        {"w6",
         "{\"gid\":\"$\",\"trans_type\":\"msg\",\"steps\":[{\"action\":\"@/fail\"}],\"payloads\":[\"{}\"],"
         "\"wait_result\":true}",
         500, "no stock", "p/submitted"},
        {"w7",
         "{\"gid\":\"$\",\"trans_type\":\"msg\",\"steps\":[{\"action\":\"@/refuse\"}],\"payloads\":[\"{}\"],"
         "\"wait_result\":true}",
         409, "FAILURE", "p/submitted"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        expect(post((int)i % 3, "submit", rows[i].body, rows[i].gid), rows[i].gid, rows[i].status,
               rows[i].part);
        expect_statuses(rows[i].gid, rows[i].then, NULL);
    }
}

static void waiting_for_the_second_phase(void **state)
{
    (void)state;
    static const struct {
        const char *path, *decide;
        int status;
        const char *then;
    } rows[] = {
        {"ok", "submit", 200, "ps/succeed"},     {"later", "submit", 425, "pp/submitted"},
        {"fail", "submit", 500, "pp/submitted"}, {"refuse", "submit", 409, "pp/submitted"},
        {"ok", "abort", 200, "sp/failed"},       {"later", "abort", 425, "pp/aborting"},
        {"fail", "abort", 500, "pp/aborting"},   {"refuse", "abort", 409, "pp/aborting"},
    };
    static const char bare[] = "{\"gid\":\"$\",\"trans_type\":\"tcc\",\"wait_result\":true}";
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char gid[16], branch[256];
        snprintf(gid, sizeof gid, "t%zu", i);
        snprintf(branch, sizeof branch,
                 "{\"gid\":\"$\",\"trans_type\":\"tcc\",\"branch_id\":\"01\",\"confirm\":\"@/"
                 "%s\",\"cancel\":\"@/%s\","
                 "\"data\":\"{}\"}",
                 rows[i].path, rows[i].path);
        expect(post(0, "prepare", bare, gid), "prepare", 200, "SUCCESS");
        expect(post(1, "registerBranch", branch, gid), "register", 200, "SUCCESS");
        expect(post((int)i % 3, rows[i].decide, bare, gid), rows[i].path, rows[i].status, "");
        expect_statuses(gid, rows[i].then, NULL);
    }
}

static void calls_look_as_dtms_do(void **state)
{
    (void)state;
    expect(post(0, "submit",
                "{\"gid\":\"$\",\"trans_type\":\"saga\",\"wait_result\":true,\"steps\":[{\"action\":\"@/"
                "ok?a=1\"}],"
                "\"payloads\":[\"{\\\"amount\\\":30}\"],\"branch_headers\":{\"X-Token\":\"abc\"}}",
                "look"),
           "submit", 200, "SUCCESS");
    assert_has(p.last, "POST /ok?a=1&branch_id=01&gid=look&op=action&trans_type=saga HTTP/1.1");
    assert_has(p.last, "X-Token: abc");
    assert_has(p.last, "{\"amount\":30}");
    /* an empty payload is a GET */
    expect(
        post(0, "submit",
             "{\"gid\":\"$\",\"trans_type\":\"saga\",\"wait_result\":true,\"steps\":[{\"action\":\"@/ok\"}],"
             "\"payloads\":[\"\"]}",
             "look2"),
        "submit", 200, "SUCCESS");
    assert_has(p.last, "GET /ok?branch_id=01&gid=look2&op=action&trans_type=saga HTTP/1.1");
}

static void headers_of_the_request_are_passed_through(void **state)
{
    (void)state;
    char *body =
        fill("{\"gid\":\"$\",\"trans_type\":\"saga\",\"wait_result\":true,\"steps\":[{\"action\":\"@/ok\"}],"
             "\"payloads\":[\"{}\"],\"passthrough_headers\":[\"X-User\",\"x-none\",\"X-Both\"],"
             "\"branch_headers\":{\"X-Both\":\"written\"}}",
             "pass");
    expect(http_call(&h, 1, "POST", DTM "/submit", "X-User: joe\r\nX-Other: no\r\nX-Both: sent\r\n", body),
           "submit", 200, "SUCCESS");
    free(body);
    assert_has(p.last, "X-User: joe");
    assert_has(p.last, "X-Both: written");
    assert_null(strstr(p.last, "X-Other"));
}

static void options_of_a_submit_count(void **state)
{
    (void)state;
    expect(post(0, "prepare", "{\"gid\":\"$\",\"trans_type\":\"tcc\",\"branch_headers\":{\"X-A\":\"1\"}}",
                "opt"),
           "prepare", 200, "SUCCESS");
    expect(post(0, "registerBranch",
                "{\"gid\":\"$\",\"trans_type\":\"tcc\",\"branch_id\":\"01\",\"confirm\":\"@/"
                "ok\",\"cancel\":\"\"}",
                "opt"),
           "register", 200, "SUCCESS");
    expect(
        post(0, "submit",
             "{\"gid\":\"$\",\"trans_type\":\"tcc\",\"wait_result\":true,\"branch_headers\":{\"X-B\":\"2\"}}",
             "opt"),
        "submit", 200, "SUCCESS");
    assert_has(p.last, "X-B: 2");
    expect(post(0, "prepare", "{\"gid\":\"$\",\"trans_type\":\"tcc\",\"branch_headers\":{\"X-A\":\"1\"}}",
                "opt2"),
           "prepare", 200, "SUCCESS");
    expect(post(0, "registerBranch",
                "{\"gid\":\"$\",\"trans_type\":\"tcc\",\"branch_id\":\"01\",\"confirm\":\"@/"
                "ok\",\"cancel\":\"\"}",
                "opt2"),
           "register", 200, "SUCCESS");
    expect(post(0, "submit", "{\"gid\":\"$\",\"trans_type\":\"tcc\",\"wait_result\":true}", "opt2"), "submit",
           200, "SUCCESS");
    assert_has(p.last, "X-A: 1"); /* those of the prepare are kept */
}

static void a_prepared_message_asks_its_sender(void **state)
{
    (void)state;
    static const char body[] = "{\"gid\":\"$\",\"trans_type\":\"msg\",\"steps\":[{\"action\":\"@/ok\"}],"
                               "\"payloads\":[\"{}\"],\"query_prepared\":\"@/%s\",\"timeout_to_fail\":1}";
    char text[512];
    snprintf(text, sizeof text, body, "ok");
    expect(post(0, "prepare", text, "q1"), "prepare", 200, "SUCCESS");
    snprintf(text, sizeof text, body, "refuse");
    expect(post(0, "prepare", text, "q2"), "prepare", 200, "SUCCESS");
    expect_statuses("q1", "s/succeed", NULL);
    expect_statuses("q2", "p/failed", NULL);
}

/* Three sagas that wait for longer than operators like. */
static void the_longest_waits_end_first_come(void **state)
{
    (void)state;
    static const char *const gids[] = {"cron1", "cron2", "cron3"};
    for (int i = 0; i < 3; i++)
        expect(post(i, "submit",
                    "{\"gid\":\"$\",\"trans_type\":\"saga\",\"steps\":[{\"action\":\"@/later\"}],"
                    "\"payloads\":[\"{}\"],\"retry_interval\":200,\"wait_result\":true}",
                    gids[i]),
               gids[i], 409, "submitted");
    static const struct {
        const char *query, *answer;
    } rows[] = {
        {"?timeout=100000", "{\"has_remaining\":false,\"succeed_count\":0}"},
        {"?timeout=99999999999", "{\"has_remaining\":false,\"succeed_count\":0}"},
        {"?limit=1", "{\"has_remaining\":true,\"succeed_count\":1}"}, /* 105 s */
        {"?limit=5&timeout=150", "{\"has_remaining\":false,\"succeed_count\":2}"},
        {"?timeout=0", "{\"has_remaining\":false,\"succeed_count\":0}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char url[96];
        snprintf(url, sizeof url, DTM "/resetCronTime%s", rows[i].query);
        expect(http_call(&h, (int)(i % 3), "GET", url, NULL, NULL), rows[i].query, 200, rows[i].answer);
    }
    for (int i = 0; i < 3; i++)
        expect_statuses(gids[i], "ps/succeed", NULL);
}

#ifdef ASSENT_TEST_HOOKS
static void hook(int node, const char *path, int status, const char *part)
{
    char url[128];
    snprintf(url, sizeof url, DTM "/%s", path);
    expect(http_call(&h, node, "POST", url, NULL, ""), path, status, part);
}

static void poll_finds(const char *query_string, const char *gid)
{
    char url[128], want[64];
    snprintf(url, sizeof url, DTM "/testPoll?%s", query_string);
    snprintf(want, sizeof want, "{\"gid\":\"%s\"}", gid);
    expect(http_call(&h, 1, "POST", url, NULL, ""), query_string, 200, want);
}

static json_int_t rounds(const char *gid)
{
    char url[128];
    snprintf(url, sizeof url, DTM "/testRounds?gid=%s", gid);
    struct reply r = http_call(&h, 0, "GET", url, NULL, NULL);
    json_t *root = json_loads(r.body, 0, NULL);
    json_int_t n = json_integer_value(json_object_get(root, "rounds"));
    json_decref(root);
    reply_free(&r);
    return n;
}

/* What DTM's own suite needs; runs before anything else is unfinished. */
static void a_test_build_polls_with_a_look_ahead(void **state)
{
    (void)state;
    json_t *root;
    poll_finds("cronForward=1000", "");
    expect(post(0, "prepare", "{\"gid\":\"$\",\"trans_type\":\"tcc\"}", "h1"), "prepare", 200, "SUCCESS");
    poll_finds("cronForward=0", ""); /* it is looked at after 10 s */
    poll_finds("cronForward=11", "h1");
    expect_statuses("h1", "/prepared", NULL);
    poll_finds("cronForward=11&nowForward=40", "h1");
    expect_statuses("h1", "/failed", &root);
    assert_string_equal(reason_of(root), "Timeout after 35 seconds");
    json_decref(root);
    /* a failed call is made again only when it is looked for far enough ahead */
    json_int_t before = rounds("h2");
    expect(post(0, "submit",
                "{\"gid\":\"$\",\"trans_type\":\"saga\",\"steps\":[{\"action\":\"@/"
                "later\"}],\"payloads\":[\"{}\"],"
                "\"wait_result\":true}",
                "h2"),
           "submit", 409, "submitted");
    assert_true(rounds("h2") > before);
    poll_finds("cronForward=5", "");
    poll_finds("cronForward=30", "h2");
    expect_statuses("h2", "ps/succeed", NULL);
    expect(
        post(0, "prepare",
             "{\"gid\":\"$\",\"trans_type\":\"msg\",\"steps\":[{\"action\":\"@/ok\"}],\"payloads\":[\"{}\"],"
             "\"query_prepared\":\"@/ok\"}",
             "h3"),
        "prepare", 200, "SUCCESS");
    poll_finds("cronForward=11", "h3"); /* too young to be asked */
    expect_statuses("h3", "p/prepared", NULL);
    poll_finds("cronForward=11&nowForward=40", "h3");
    expect_statuses("h3", "s/succeed", NULL);
    expect(http_call(&h, 0, "POST", DTM "/testPoll?nowForward=x", NULL, ""), "no number", 500,
           "whole numbers");
    poll_finds("cronForward=1000", "");
}
/* Switched by any node, obeyed by all: a call that failed waits for a poll. */
static void rounds_are_made_when_the_suite_says_so(void **state)
{
    (void)state;
    hook(2, "testPolling", 500, "on is 0 or 1");
    hook(2, "testPolling?on=2", 500, "on is 0 or 1");
    hook(2, "testPolling?on=0", 200, "SUCCESS");
    for (int i = 0; i < 3; i++)
        assert_false(sm_polls(h.node[i].sm));
    expect(post(1, "submit",
                "{\"gid\":\"$\",\"trans_type\":\"saga\",\"steps\":[{\"action\":\"@/later\"}],"
                "\"payloads\":[\"{}\"],\"retry_interval\":1,\"wait_result\":true}",
                "r1"),
           "submit", 409, "submitted"); /* the first round belongs to the submit */
    poll_finds("cronForward=30", "r1");
    expect_statuses("r1", "ps/succeed", NULL);
    poll_finds("cronForward=1000", "");
    hook(0, "testPolling?on=1", 200, "SUCCESS");
    for (int i = 0; i < 3; i++)
        assert_true(sm_polls(h.node[i].sm));
}

/* A suite whose gids are its test's names runs twice. */
static void the_same_names_serve_again_after_a_wipe(void **state)
{
    (void)state;
    for (int run = 0; run < 2; run++) {
        expect(http_call(&h, 0, "GET", DTM "/subscribe?topic=tw&url=http%3A%2F%2Fh%2Fa", NULL, NULL), "topic",
               200, "SUCCESS");
        expect(post(run, "prepare", "{\"gid\":\"$\",\"trans_type\":\"tcc\"}", "wipe1"), "prepare", 200,
               "SUCCESS");
        expect(post(run, "submit",
                    "{\"gid\":\"$\",\"trans_type\":\"saga\",\"steps\":[{\"action\":\"@/"
                    "ok\"}],\"payloads\":[\"{}\"],\"wait_result\":true}",
                    "wipe2"),
               "submit", 200, "SUCCESS");
        expect_statuses("wipe1", "/prepared", NULL);
        hook(1 + run, "testWipe", 200, "SUCCESS");
        expect(http_call(&h, run, "GET", DTM "/query?gid=wipe1", NULL, NULL), "query", 200,
               "\"transaction\":null");
        expect(http_call(&h, run, "GET", DTM "/all", NULL, NULL), "all", 200, "\"transactions\":[]");
        expect(http_call(&h, run, "GET", DTM "/queryKV?cat=topics", NULL, NULL), "topics", 200, "\"kv\":[]");
        poll_finds("cronForward=1000", "");
    }
}
#else
static void a_release_has_no_hooks(void **state)
{
    (void)state;
    expect(http_call(&h, 0, "POST", DTM "/testPoll", NULL, ""), "poll", 404, "404 page not found");
    expect(http_call(&h, 0, "GET", DTM "/testRounds?gid=a", NULL, NULL), "rounds", 404, "404 page not found");
    expect(http_call(&h, 0, "POST", DTM "/testPolling?on=0", NULL, ""), "polling", 404, "404 page not found");
    expect(http_call(&h, 0, "POST", DTM "/testWipe", NULL, ""), "wipe", 404, "404 page not found");
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
#ifdef ASSENT_TEST_HOOKS
        cmocka_unit_test(a_test_build_polls_with_a_look_ahead),
        cmocka_unit_test(rounds_are_made_when_the_suite_says_so),
        cmocka_unit_test(the_same_names_serve_again_after_a_wipe),
#else
        cmocka_unit_test(a_release_has_no_hooks),
#endif
        cmocka_unit_test(the_longest_waits_end_first_come),
        cmocka_unit_test(positions_of_a_saga),
        cmocka_unit_test(a_saga_gives_up_at_its_limit),
        cmocka_unit_test(a_saga_times_out),
        cmocka_unit_test(waiting_says_what_came),
        cmocka_unit_test(waiting_for_the_second_phase),
        cmocka_unit_test(calls_look_as_dtms_do),
        cmocka_unit_test(headers_of_the_request_are_passed_through),
        cmocka_unit_test(options_of_a_submit_count),
        cmocka_unit_test(a_prepared_message_asks_its_sender),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
