/* Streams of events: what they tell, how they are resumed, and how they end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "harness.h"
#include "node_app.h"
#include "stream.h"

#define EVENTS "/api/v1/events"
#define KEPT   64

static struct harness h;

static int start(void **state)
{
    (void)state;
    static const char *const options[] = {
        "--events-kept", "64", "--event-streams", "3", "--event-heartbeat-ms", "200", NULL};
    harness_start(&h, 2, options);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    harness_stop(&h);
    return 0;
}

/* A reader of a stream over a socket of node `i`. */
static void follow(struct client *c, int i, const char *path, const char *headers)
{
    char *text = http_text("GET", path, headers, NULL);
    client_open(c, &h, i, false);
    client_send(c, text, strlen(text));
    free(text);
}

/* Wait until `part` has come. */
static void expect(struct client *c, const char *part)
{
    for (int i = 0; i < 100 && (c->size == 0 || strstr(c->in, part) == NULL) && !c->closed; i++)
        client_more(c);
    assert_non_null(c->in);
    if (strstr(c->in, part) == NULL)
        fail_msg("'%s' did not come; this did: %s", part, c->in);
}

/* Begin and commit a transaction without branches: two events. */
static void transact(const char *xid, const char *type, const char *headers)
{
    char body[256];
    snprintf(body, sizeof body, "{\"xid\":\"%s\",\"businessType\":\"%s\"}", xid, type);
    struct reply r = http_call(&h, 0, "POST", "/api/v1/transaction/begin", headers, body);
    assert_int_equal(r.status, 200);
    reply_free(&r);
    snprintf(body, sizeof body, "{\"xid\":\"%s\"}", xid);
    r = http_call(&h, 0, "POST", "/api/v1/transaction/commit", headers, body);
    assert_int_equal(r.status, 200);
    reply_free(&r);
}

/* The last id in what came, as text. */
static void last_id(const struct client *c, char out[EVENT_ID_TEXT_MAX])
{
    const char *at = NULL;
    for (const char *next = c->in; (next = strstr(next, "id: ")) != NULL; next++)
        at = next;
    assert_non_null(at);
    assert_int_equal(sscanf(at, "id: %31[0-9.]", out), 1);
}

static int count(const char *text, const char *part)
{
    int n = 0;
    for (; (text = strstr(text, part)) != NULL; text++)
        n++;
    return n;
}

static void a_stream_tells_what_happens_from_now_on(void **state)
{
    (void)state;
    struct client c;
    transact("before", "order", NULL);
    follow(&c, 0, EVENTS, NULL);
    expect(&c, "retry: ");
    assert_has(c.in, "Content-Type: text/event-stream");
    assert_has(c.in, "Transfer-Encoding: chunked");
    assert_has(c.in, "id: ");
    transact("t1", "order", NULL);
    expect(&c, "\"status\":\"COMMITTED\",\"final\":true");
    assert_has(c.in, "event: transaction\n");
    assert_has(c.in, "\"xid\":\"t1\",\"mode\":\"TCC\",\"businessType\":\"order\",\"status\":\"ACTIVE\"");
    assert_null(strstr(c.in, "before"));
    client_close(&c);
}

static void filters_and_the_namespace_choose(void **state)
{
    (void)state;
    struct client plain, spaced;
    follow(&plain, 0, EVENTS "?xid=want&kind=transaction,call", NULL);
    follow(&spaced, 0, EVENTS "?businessType=order", "X-Assent-Namespace: team\r\n");
    expect(&plain, "retry: ");
    expect(&spaced, "retry: ");
    transact("other", "order", NULL);
    transact("want", "order", NULL);
    transact("want", "order", "X-Assent-Namespace: team\r\n");
    transact("typed", "payment", "X-Assent-Namespace: team\r\n");
    transact("more", "order", "X-Assent-Namespace: team\r\n");
    expect(&spaced, "\"xid\":\"more\",\"mode\":\"TCC\",\"businessType\":\"order\",\"status\":\"COMMITTED\"");
    assert_null(strstr(spaced.in, "typed"));
    assert_null(strstr(spaced.in, "\"xid\":\"other\""));
    assert_int_equal(count(spaced.in, "event: transaction"), 4);
    expect(&plain, "COMMITTED");
    assert_int_equal(count(plain.in, "\"xid\":\"want\""), 2); /* ACTIVE, COMMITTED: once each */
    assert_null(strstr(plain.in, "other"));
    client_close(&plain);
    client_close(&spaced);
}

static void another_node_goes_on_behind_the_last_id(void **state)
{
    (void)state;
    struct client a, b;
    char id[EVENT_ID_TEXT_MAX], header[64];
    follow(&a, 0, EVENTS, NULL);
    expect(&a, "retry: ");
    transact("r1", "order", NULL);
    expect(&a, "COMMITTED");
    last_id(&a, id);
    client_close(&a);
    transact("r2", "order", NULL);
    snprintf(header, sizeof header, "Last-Event-ID: %s\r\n", id);
    follow(&b, 1, EVENTS, header);
    expect(&b, "COMMITTED");
    assert_null(strstr(b.in, "r1"));
    assert_null(strstr(b.in, "event: gap"));
    assert_int_equal(count(b.in, "\"xid\":\"r2\""), 2);
    client_close(&b);
}

static void an_id_older_than_the_ring_is_a_gap_and_the_stream_goes_on(void **state)
{
    (void)state;
    struct client c;
    char xid[16];
    for (int i = 0; i < KEPT; i++) {
        snprintf(xid, sizeof xid, "o%d", i);
        transact(xid, "order", NULL);
    }
    follow(&c, 1, EVENTS "?after=1.0&xid=now", NULL);
    expect(&c, "event: gap\ndata: {\"id\":\"");
    assert_has(c.in, "\"reason\":\"too old\"");
    transact("now", "order", NULL);
    expect(&c, "COMMITTED");
    assert_int_equal(count(c.in, "event: gap"), 1);
    client_close(&c);
}

static void an_id_nobody_has_given_out_is_a_gap_once_the_node_is_sure(void **state)
{
    (void)state;
    struct client c;
    follow(&c, 1, EVENTS "?after=999999999999.0", NULL);
    expect(&c, "event: gap");
    assert_has(c.in, "\"reason\":\"unknown id\"");
    transact("after", "order", NULL);
    expect(&c, "COMMITTED");
    client_close(&c);
    /* without a leader nobody can be sure: the node asks again until it is */
    fake_lose();
    follow(&c, 1, EVENTS "?after=999999999999.0", NULL);
    expect(&c, "retry: ");
    harness_settle(&h);
    assert_null(strstr(c.in, "event: gap"));
    fake_lead(h.node[0].log, 2, true);
    expect(&c, "event: gap");
    client_close(&c);
}

static void a_replaced_state_is_a_gap(void **state)
{
    (void)state;
    struct client c;
    follow(&c, 0, EVENTS, NULL);
    expect(&c, "retry: ");
    events_gap(&h.node[0].events, h.node[0].applied_index);
    transact("afterwards", "order", NULL);
    expect(&c, "COMMITTED");
    assert_has(c.in, "\"reason\":\"snapshot\"");
    assert_null(strstr(c.in, "event: end"));
    client_close(&c);
}

/* As raftlog says it behind a restore, before any entry follows. */
static void a_restored_state_is_told_at_once(void **state)
{
    (void)state;
    struct client c;
    struct node *node = &h.node[0];
    struct raftlog_app app = node_app(node);
    transact("before", "order", NULL);
    follow(&c, 0, EVENTS, NULL);
    expect(&c, "retry: ");
    node->applied_index--; /* what the state has more came with the image */
    app.restored(node, sm_applied_index(node->sm));
    expect(&c, "\"reason\":\"snapshot\"");
    assert_null(strstr(c.in, "event: end"));
    app.restored(node, sm_applied_index(node->sm)); /* nothing more was replaced */
    transact("afterwards", "order", NULL);
    expect(&c, "COMMITTED");
    assert_int_equal(count(c.in, "event: gap"), 1);
    client_close(&c);
}

static void a_silent_stream_is_kept_alive(void **state)
{
    (void)state;
    struct client c;
    follow(&c, 0, EVENTS, NULL);
    expect(&c, ": alive\n\n");
    client_close(&c);
}

static void bad_arguments_are_refused(void **state)
{
    static const char *const bad[] = {"?after=x", "?after=1",   "?kind=nonsense",
                                      "?kind=",   "?unknown=1", "?after=123456789012345678901234567890.0"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char path[128];
        snprintf(path, sizeof path, EVENTS "%s", bad[i]);
        struct reply r = http_call(&h, 0, "GET", path, NULL, NULL);
        assert_int_equal(r.status, 400);
        reply_free(&r);
    }
    struct reply r =
        http_call(&h, 0, "GET", EVENTS,
                  "X-Assent-Namespace: 012345678901234567890123456789012345678901234567\r\n", NULL);
    assert_int_equal(r.status, 400);
    reply_free(&r);
}

static void beyond_the_limit_streams_are_refused_and_a_closed_one_makes_room(void **state)
{
    (void)state;
    struct client c[3];
    for (int i = 0; i < 3; i++) {
        follow(&c[i], 0, EVENTS, NULL);
        expect(&c[i], "retry: ");
    }
    struct reply r = http_call(&h, 0, "GET", EVENTS, NULL, NULL);
    assert_int_equal(r.status, 503);
    assert_has(r.body, "BUSY");
    reply_free(&r);
    for (int i = 0; i < 3; i++)
        client_close(&c[i]);
    while (h.node[0].streams.open > 0) /* noticed at the next heartbeat */
        harness_step(&h);
    follow(&c[0], 0, EVENTS, NULL);
    expect(&c[0], "retry: ");
    client_close(&c[0]);
}

static void ready(void *data)
{
    ++*(int *)data;
}

static struct stream *open_directly(void)
{
    struct arguments *a = &h.node[0].requests.arguments;
    struct argument_source source = {.use_body = false};
    struct stream *s;
    assert_int_equal(arguments_read(a, stream_fields, &source), ASSENT_OK);
    assert_int_equal(stream_open(&s, &h.node[0].streams, a, NULL, NULL), ASSENT_OK);
    return s;
}

static void a_reader_that_is_overtaken_is_told_and_disconnected(void **state)
{
    (void)state;
    int readies = 0;
    char out[STREAM_BUFFER_BYTES + 1], xid[32];
    struct stream *s = open_directly();
    stream_attach(s, ready, &readies);
    assert_true(stream_take(s, out, 1) == 1); /* the rest stays in the way */
    for (int i = 0; i < KEPT; i++) {
        snprintf(xid, sizeof xid, "slow%d", i);
        transact(xid, "order", NULL);
    }
    assert_int_equal(readies, 0);
    ssize_t n, size = 0;
    while ((n = stream_take(s, out + size, sizeof out - 1 - (size_t)size)) > 0)
        size += n;
    out[size] = 0;
    assert_int_equal(n, -1);
    assert_has(out, "event: gap");
    assert_has(out, "event: end\ndata: {\"reason\":\"the reader is too slow\"}");
    stream_close(s);
}

static void what_is_taken_in_pieces_is_whole_and_ready_fires_once(void **state)
{
    (void)state;
    int readies = 0;
    char out[4096];
    size_t size = 0;
    struct stream *s = open_directly();
    stream_attach(s, ready, &readies);
    while (stream_take(s, out + size, 1) == 1)
        size++;
    transact("pieces", "order", NULL);
    assert_int_equal(readies, 1);
    while (stream_take(s, out + size, 1) == 1)
        size++;
    out[size] = 0;
    assert_has(out,
               "\"xid\":\"pieces\",\"mode\":\"TCC\",\"businessType\":\"order\",\"status\":\"COMMITTED\"");
    assert_int_equal(count(out, "\n\n"), 1 + count(out, "event: "));
    stream_close(s);
}

static void the_end_of_the_node_ends_its_streams(void **state)
{
    (void)state;
    struct client c;
    follow(&c, 0, EVENTS, NULL);
    expect(&c, "retry: ");
    for (int i = 0; i < h.n; i++)
        node_stop(&h.node[i]);
    expect(&c, "event: end\ndata: {\"reason\":\"the node stops\"}");
    while (client_more(&c))
        ;
    assert_true(c.closed);
    assert_has(c.in, "\r\n0\r\n");
    client_close(&c);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_stream_tells_what_happens_from_now_on, start, stop),
        cmocka_unit_test_setup_teardown(filters_and_the_namespace_choose, start, stop),
        cmocka_unit_test_setup_teardown(another_node_goes_on_behind_the_last_id, start, stop),
        cmocka_unit_test_setup_teardown(an_id_older_than_the_ring_is_a_gap_and_the_stream_goes_on, start,
                                        stop),
        cmocka_unit_test_setup_teardown(an_id_nobody_has_given_out_is_a_gap_once_the_node_is_sure, start,
                                        stop),
        cmocka_unit_test_setup_teardown(a_replaced_state_is_a_gap, start, stop),
        cmocka_unit_test_setup_teardown(a_restored_state_is_told_at_once, start, stop),
        cmocka_unit_test_setup_teardown(a_silent_stream_is_kept_alive, start, stop),
        cmocka_unit_test_setup_teardown(bad_arguments_are_refused, start, stop),
        cmocka_unit_test_setup_teardown(beyond_the_limit_streams_are_refused_and_a_closed_one_makes_room,
                                        start, stop),
        cmocka_unit_test_setup_teardown(a_reader_that_is_overtaken_is_told_and_disconnected, start, stop),
        cmocka_unit_test_setup_teardown(what_is_taken_in_pieces_is_whole_and_ready_fires_once, start, stop),
        cmocka_unit_test_setup_teardown(the_end_of_the_node_ends_its_streams, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
