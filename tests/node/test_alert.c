/* Alerts: what is told, by whom, and how it is tried again, lost and counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "harness.h"
#include "participant.h"

static struct harness h;
static struct participant hook, branch;

/* The hook's path, as a participant of tests understands it. */
static void alerts_to(const char *path)
{
    for (int i = 0; i < h.n; i++) {
        char url[64];
        snprintf(url, sizeof url, "http://127.0.0.1:%u%s", hook.port, path);
        alerts_close(&h.node[i].alerts);
        harness_settle(&h); /* until its handles are gone */
        free(h.config[i].alert_url);
        h.config[i].alert_url = strdup(url);
        assert_int_equal(alerts_open(&h.node[i].alerts, &h.node[i]), ASSENT_OK);
    }
}

static int start(void **state)
{
    (void)state;
    static const char *const options[] = {"--alert-after", "3", "--drain-ms", "0", NULL};
    harness_start(&h, 2, options);
    participant_open(&hook, &h.loop);
    participant_open(&branch, &h.loop);
    alerts_to("/ok");
    return 0;
}

static int stop(void **state)
{
    (void)state;
    participant_close(&hook);
    participant_close(&branch);
    harness_stop(&h);
    return 0;
}

static void post(const char *path, const char *body)
{
    struct reply r = http_call(&h, 0, "POST", path, "X-Assent-Namespace: team\r\n", body);
    if (r.status != 200)
        fail_msg("%s: %d %s", path, r.status, r.body);
    reply_free(&r);
}

/* A transaction whose confirm is answered as the branch's path says. */
static void commit(const char *xid, const char *path)
{
    char body[512];
    snprintf(body, sizeof body,
             "{\"xid\":\"%s\",\"businessType\":\"pay\",\"retryBaseMs\":1,\"retryCapMs\":1,\"branches\":[{"
             "\"branch\":\"b\",\"confirmUrl\":\"http://127.0.0.1:%u%s\",\"cancelUrl\":\"http://h/c\"}]}",
             xid, branch.port, path);
    post("/api/v1/transaction/begin", body);
    snprintf(body, sizeof body, "{\"xid\":\"%s\"}", xid);
    post("/api/v1/transaction/commit", body);
}

static void until(const uint64_t *count, uint64_t n)
{
    for (int i = 0; i < 4000 && *count < n; i++)
        harness_step(&h);
    assert_true(*count >= n);
}

static void wait_for(const char *xid, const char *status)
{
    char path[64];
    bool there = false;
    snprintf(path, sizeof path, "/api/v1/transaction/%s", xid);
    for (int i = 0; i < 400 && !there; i++) {
        struct reply r = http_call(&h, 0, "GET", path, "X-Assent-Namespace: team\r\n", NULL);
        there = r.status == 200 && strstr(r.body, status) != NULL;
        reply_free(&r);
        harness_step(&h);
    }
    assert_true(there);
}

static void the_third_failure_in_a_row_is_the_first_alert(void **state)
{
    (void)state;
    struct alerts *al = &h.node[0].alerts;
    commit("x", "/fail");
    until(&al->sent, 1);
    assert_has(hook.last, "POST /ok");
    assert_has(hook.last, "Content-Type: application/json");
    assert_has(hook.last, "{\"gid\":\"x\",\"status\":\"submitted\",\"branch\":\"http://127.0.0.1:");
    assert_has(hook.last, "/fail\",\"error\":\"");
    assert_has(hook.last, "no stock");
    assert_has(hook.last, "\"retry_count\":3,\"alert\":\"failing\"");
    assert_has(hook.last,
               "\"namespace\":\"team\",\"branchName\":\"b\",\"mode\":\"TCC\",\"businessType\":\"pay\"");
    until(&al->sent, 2);
    assert_has(hook.last, "\"retry_count\":4");
    assert_int_equal(h.node[1].alerts.sent, 0); /* it does not lead */
    assert_int_equal(h.node[1].alerts.queued, 0);
}

static void two_failures_and_a_wish_are_none(void **state)
{
    (void)state;
    commit("x", "/once"); /* one failure, then success */
    post("/api/v1/transaction/begin", "{\"xid\":\"y\"}");
    post("/api/v1/transaction/rollback", "{\"xid\":\"y\",\"reason\":\"the customer left\"}");
    harness_settle(&h);
    harness_settle(&h);
    assert_int_equal(hook.requests, 0);
    assert_int_equal(h.node[0].alerts.queued, 0);
}

/* Its calls may have failed before somebody asked it to turn. */
static void a_wish_after_a_failure_is_no_final_failure(void **state)
{
    (void)state;
    struct alerts *al = &h.node[0].alerts;
    char body[512];
    snprintf(
        body, sizeof body,
        "{\"xid\":\"s\",\"retryBaseMs\":1,\"retryCapMs\":1,\"steps\":[{\"actionUrl\":\"http://127.0.0.1:%u"
        "/fail\",\"compensateUrl\":\"http://127.0.0.1:%u/ok\"}]}",
        branch.port, branch.port);
    post("/api/v1/transaction/saga", body);
    until(&al->sent, 1); /* it fails again and again */
    assert_has(hook.last, "\"alert\":\"failing\"");
    post("/api/v1/transaction/rollback", "{\"xid\":\"s\",\"reason\":\"timeout of the customer\"}");
    wait_for("s", "ROLLED_BACK");
    harness_settle(&h);
    assert_null(strstr(hook.last, "rolled_back"));
    assert_int_equal(al->queued, 0);
}

static void final_failures_are_told(void **state)
{
    (void)state;
    struct alerts *al = &h.node[0].alerts;
    char body[512];
    snprintf(body, sizeof body, "{\"xid\":\"s\",\"steps\":[{\"actionUrl\":\"http://127.0.0.1:%u/refuse\"}]}",
             branch.port);
    post("/api/v1/transaction/saga", body);
    until(&al->sent, 1);
    assert_has(hook.last, "{\"gid\":\"s\",\"status\":\"failed\",\"branch\":\"\",\"error\":\"");
    assert_has(hook.last, "\"retry_count\":0,\"alert\":\"rolled_back\"");
    snprintf(body, sizeof body,
             "{\"xid\":\"w\",\"onFailure\":\"suspend\",\"steps\":[{\"actionUrl\":\"http://127.0.0.1:%u/"
             "refuse\"}]}",
             branch.port);
    post("/api/v1/transaction/saga", body);
    until(&al->sent, 2);
    assert_has(hook.last, "\"status\":\"suspended\"");
    assert_has(hook.last, "\"alert\":\"suspended\"");
    post("/api/v1/transaction/w/force", "{\"by\":\"me\",\"reason\":\"lost\"}");
    until(&al->sent, 3);
    assert_has(hook.last, "\"gid\":\"w\",\"status\":\"failed\"");
    assert_has(hook.last, "\"alert\":\"stopped\"");
    /* time over */
    post("/api/v1/transaction/begin", "{\"xid\":\"t\",\"timeoutMs\":1}");
    until(&al->sent, 4);
    assert_has(hook.last, "\"gid\":\"t\"");
    assert_has(hook.last, "\"reason\":\"timeout");
}

static void what_is_not_taken_is_tried_again_and_given_up_in_the_end(void **state)
{
    (void)state;
    struct alerts *al = &h.node[0].alerts;
    alerts_to("/flip"); /* 503 and 200 in turn */
    post("/api/v1/transaction/begin", "{\"xid\":\"t\",\"timeoutMs\":1}");
    until(&al->sent, 1);
    assert_int_equal(hook.requests, 2);
    alerts_to("/status/404");
    post("/api/v1/transaction/begin", "{\"xid\":\"u\",\"timeoutMs\":1}");
    post("/api/v1/transaction/begin", "{\"xid\":\"v\",\"timeoutMs\":1}");
    until(&al->failed, 2);
    assert_int_equal(hook.requests, 2 + 2 * ALERT_TRIES);
    assert_int_equal(al->queued, 0);
}

static void a_full_queue_loses_and_counts(void **state)
{
    (void)state;
    struct alerts *al = &h.node[0].alerts;
    alerts_to("/hold");
    for (int i = 0; i < ALERT_QUEUE_MAX + 2; i++) {
        char body[128];
        snprintf(body, sizeof body,
                 "{\"xid\":\"q%d\",\"onFailure\":\"suspend\",\"steps\":[{\"actionUrl\":\"http://127.0.0.1:%u/"
                 "refuse\"}]}",
                 i, branch.port);
        post("/api/v1/transaction/saga", body);
    }
    until(&al->dropped, 2);
    assert_int_equal(al->queued, ALERT_QUEUE_MAX);
    participant_release(&hook);
    until(&al->sent, ALERT_QUEUE_MAX);
    assert_int_equal(al->dropped, 2);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_third_failure_in_a_row_is_the_first_alert, start, stop),
        cmocka_unit_test_setup_teardown(two_failures_and_a_wish_are_none, start, stop),
        cmocka_unit_test_setup_teardown(a_wish_after_a_failure_is_no_final_failure, start, stop),
        cmocka_unit_test_setup_teardown(final_failures_are_told, start, stop),
        cmocka_unit_test_setup_teardown(what_is_not_taken_is_tried_again_and_given_up_in_the_end, start,
                                        stop),
        cmocka_unit_test_setup_teardown(a_full_queue_loses_and_counts, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
