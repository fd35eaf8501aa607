/* ?waitMs=: the answer comes with the end of the transaction, or when the patience is over. */
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

#define SAGA "/api/v1/transaction/saga"

static struct harness h;
static struct participant p;

static int start(void **state)
{
    (void)state;
    static const char *const options[] = {"--drain-ms", "0", NULL};
    harness_start(&h, 2, options);
    participant_open(&p, &h.loop);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    participant_close(&p);
    harness_stop(&h);
    return 0;
}

static struct reply submit(int node, const char *query, const char *xid, const char *path)
{
    char uri[128], body[256];
    snprintf(uri, sizeof uri, SAGA "%s", query);
    snprintf(body, sizeof body,
             "{\"xid\":\"%s\",\"retryBaseMs\":1,\"steps\":[{\"actionUrl\":\"http://127.0.0.1:%u%s\"}]}", xid,
             p.port, path);
    return http_call(&h, node, "POST", uri, "X-Assent-Namespace: team\r\n", body);
}

static void the_answer_comes_with_the_end(void **state)
{
    (void)state;
    static const char *const paths[] = {"/ok", "/later", "/once"};
    for (int node = 0; node < 2; node++) {
        for (int i = 0; i < 3; i++) {
            char xid[32];
            snprintf(xid, sizeof xid, "x%d%d", node, i);
            struct reply r = submit(node, "?waitMs=9000", xid, paths[i]);
            assert_int_equal(r.status, 200);
            assert_has(r.body, "\"status\":\"COMMITTED\"");
            assert_has(r.body, xid);
            reply_free(&r);
        }
    }
    struct reply r = submit(1, "?waitMs=9000", "back", "/refuse");
    assert_has(r.body, "\"status\":\"ROLLED_BACK\"");
    reply_free(&r);
}

static void it_comes_when_the_patience_is_over(void **state)
{
    (void)state;
    struct reply r = submit(0, "?waitMs=50", "x", "/hold");
    assert_int_equal(r.status, 200);
    assert_has(r.body, "\"status\":\"RUNNING\"");
    reply_free(&r);
    participant_release(&p);
    r = submit(1, "?waitMs=9000", "x", "/hold"); /* the same again: it is waited for, not begun anew */
    assert_has(r.body, "\"status\":\"COMMITTED\"");
    reply_free(&r);
}

static void what_has_ended_is_answered_at_once_and_refusals_too(void **state)
{
    (void)state;
    struct reply r = http_call(&h, 0, "POST", SAGA "?waitMs=9000", NULL, "{\"xid\":\"empty\"}");
    assert_has(r.body, "\"status\":\"COMMITTED\"");
    reply_free(&r);
    r = http_call(&h, 0, "POST", "/api/v1/transaction/commit?waitMs=9000", NULL, "{\"xid\":\"none\"}");
    assert_int_equal(r.status, 404);
    reply_free(&r);
}

static void it_belongs_to_commands_of_transactions(void **state)
{
    (void)state;
    static const char *const bad[] = {"/api/v1/lamport/tick?waitMs=5", SAGA "?waitMs=", SAGA "?waitMs=x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct reply r = http_call(&h, 0, "POST", bad[i], NULL, "{}");
        assert_int_equal(r.status, 400);
        assert_has(r.body, "waitMs");
        reply_free(&r);
    }
}

static void a_lost_leader_does_not_lose_the_answer(void **state)
{
    (void)state;
    struct client c;
    struct reply r;
    char body[256];
    snprintf(body, sizeof body, "{\"xid\":\"x\",\"steps\":[{\"actionUrl\":\"http://127.0.0.1:%u/hold\"}]}",
             p.port);
    char *text = http_text("POST", SAGA "?waitMs=300", NULL, body);
    client_open(&c, &h, 0, false);
    client_send(&c, text, strlen(text));
    free(text);
    while (p.held == 0)
        harness_step(&h);
    fake_lose(); /* nobody can be asked any more: what was known is the answer */
    client_wait(&c, &r);
    assert_int_equal(r.status, 200);
    assert_has(r.body, "\"status\":\"RUNNING\"");
    reply_free(&r);
    client_close(&c);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_answer_comes_with_the_end, start, stop),
        cmocka_unit_test_setup_teardown(it_comes_when_the_patience_is_over, start, stop),
        cmocka_unit_test_setup_teardown(what_has_ended_is_answered_at_once_and_refusals_too, start, stop),
        cmocka_unit_test_setup_teardown(it_belongs_to_commands_of_transactions, start, stop),
        cmocka_unit_test_setup_teardown(a_lost_leader_does_not_lose_the_answer, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
