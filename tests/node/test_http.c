/* Claims about the HTTP door: sockets that behave, and those that do not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "harness.h"
#include "http.h"

#define TICK "/api/v1/lamport/tick"

static struct harness h;

static int start(void **state)
{
    (void)state;
    static const char *const options[] = {
        "--http-read-s", "1", "--http-idle-s", "2", "--http-connections", "64", "--http",
        "127.0.0.1:0",   NULL};
    harness_start(&h, 1, options);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    harness_stop(&h);
    return 0;
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    (void)state;
    struct client c;
    struct reply r;
    char *text = http_text("POST", TICK, NULL, "{\"clock\":\"p\"}");
    client_open(&c, &h, 0, false);
    for (int i = 0; i < 20; i++)
        client_send(&c, text, strlen(text));
    for (int i = 1; i <= 20; i++) {
        char want[32];
        snprintf(want, sizeof want, "\"value\":%d,", i);
        client_wait(&c, &r);
        assert_int_equal(r.status, 200);
        assert_has(r.body, want);
        reply_free(&r);
    }
    client_close(&c);
    free(text);
}

static void many_connections_are_served_at_once(void **state)
{
    (void)state;
    enum { CLIENTS = 50, ROUNDS = 5 };
    struct client c[CLIENTS];
    struct reply r;
    char *text = http_text("POST", TICK, NULL, "{\"clock\":\"many\"}");
    for (int i = 0; i < CLIENTS; i++)
        client_open(&c[i], &h, 0, false);
    for (int k = 0; k < ROUNDS; k++) {
        for (int i = 0; i < CLIENTS; i++)
            client_send(&c[i], text, strlen(text));
        for (int i = 0; i < CLIENTS; i++) {
            client_wait(&c[i], &r);
            assert_int_equal(r.status, 200);
            reply_free(&r);
        }
    }
    for (int i = 0; i < CLIENTS; i++)
        client_close(&c[i]);
    r = http_call(&h, 0, "GET", "/api/v1/lamport/current?clock=many", NULL, NULL);
    assert_has(r.body, "\"value\":250");
    reply_free(&r);
    free(text);
}

static void unknown_paths_and_methods_are_told(void **state)
{
    (void)state;
    struct reply r = http_call(&h, 0, "GET", "/no/such/path", NULL, NULL);
    assert_int_equal(r.status, 404);
    assert_has(r.body, "NO_ROUTE");
    reply_free(&r);
    r = http_call(&h, 0, "DELETE", "/api/v1/nodes", NULL, NULL);
    assert_int_equal(r.status, 405);
    assert_has(r.head, "Allow: POST, GET");
    assert_has(r.body, "\"code\":\"METHOD\"");
    reply_free(&r);
}

static void an_announced_oversize_body_is_refused_early(void **state)
{
    (void)state;
    struct client c;
    struct reply r;
    static const char head[] = "POST " TICK " HTTP/1.1\r\nHost: t\r\nContent-Length: 99999999\r\n\r\n";
    client_open(&c, &h, 0, false);
    client_send(&c, head, strlen(head));
    client_wait(&c, &r);
    assert_int_equal(r.status, 413);
    assert_has(r.body, "TOO_LARGE");
    reply_free(&r);
    client_close(&c);
}

static void a_chunked_oversize_body_is_refused(void **state)
{
    (void)state;
    struct client c;
    struct reply r;
    static const char head[] = "POST " TICK " HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n";
    static char chunk[65536 + 16];
    int n = snprintf(chunk, sizeof chunk, "10000\r\n");
    memset(chunk + n, 'x', 65536);
    memcpy(chunk + n + 65536, "\r\n", 2);
    client_open(&c, &h, 0, false);
    client_send(&c, head, strlen(head));
    for (size_t sent = 0; sent <= ASSENT_BODY_BYTES_MAX; sent += 65536)
        client_send(&c, chunk, (size_t)n + 65538);
    client_send(&c, "0\r\n\r\n", 5);
    client_wait(&c, &r);
    assert_int_equal(r.status, 413);
    reply_free(&r);
    client_close(&c);
}

static void an_endless_body_is_cut(void **state)
{
    (void)state;
    struct client c;
    static const char head[] = "POST " TICK " HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n";
    static char chunk[65536 + 16];
    int n = snprintf(chunk, sizeof chunk, "10000\r\n");
    memset(chunk + n, 'x', 65536);
    memcpy(chunk + n + 65536, "\r\n", 2);
    client_open(&c, &h, 0, false);
    client_send(&c, head, strlen(head));
    for (int i = 0; i < 1000 && !c.closed; i++)
        client_send(&c, chunk, (size_t)n + 65538);
    assert_true(c.closed);
    client_close(&c);
}

static void a_body_may_come_byte_by_byte(void **state)
{
    (void)state;
    struct client c;
    struct reply r;
    char *text = http_text("POST", TICK, NULL, "{\"clock\":\"slow\"}");
    client_open(&c, &h, 0, false);
    for (size_t i = 0; i < strlen(text); i++) {
        client_send(&c, text + i, 1);
        if (i % 16 == 0)
            harness_step(&h);
    }
    client_wait(&c, &r);
    assert_int_equal(r.status, 200);
    reply_free(&r);
    client_close(&c);
    free(text);
}

/* Who never finishes a request is cut off, whatever it trickles. */
static void slow_connections_are_closed(void **state)
{
    (void)state;
    struct client silent, head, body;
    int turns = 0;
    struct http_metrics m;
    client_open(&silent, &h, 0, false);
    client_open(&head, &h, 0, false);
    client_open(&body, &h, 0, false);
    client_send(&head, "GET /livez HTTP/1.1\r\nHost:", 26);
    static const char part[] = "POST " TICK " HTTP/1.1\r\nHost: t\r\nContent-Length: 5000000\r\n\r\n{";
    client_send(&body, part, strlen(part));
    while (!silent.closed || !head.closed || !body.closed) {
        if (!body.closed)
            client_send(&body, " ", 1); /* trickles on */
        if (!head.closed && ++turns % 64 == 0)
            client_send(&head, "a", 1);
        harness_step(&h);
        struct client *all[] = {&silent, &head, &body};
        for (int i = 0; i < 3; i++) {
            if (!all[i]->closed) {
                struct client probe = *all[i];
                char byte;
                ssize_t n = recv(probe.fd, &byte, 1, MSG_DONTWAIT);
                all[i]->closed = n == 0;
            }
        }
    }
    http_metrics(h.node[0].http, &m);
    assert_true(m.slow_closed >= 3);
    client_close(&silent);
    client_close(&head);
    client_close(&body);
}

static void garbage_is_refused_and_harms_nobody(void **state)
{
    (void)state;
    static const char *const rows[] = {"\x16\x03\x01\x02garbage\r\n\r\n",
                                       "GET\r\n\r\n",
                                       "GET / HTTP/9.9\r\n\r\n",
                                       "POST " TICK " HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
                                       "POST " TICK " HTTP/1.1\r\nContent-Length: 5x\r\n\r\n",
                                       "POST " TICK
                                       " HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct client c;
        client_open(&c, &h, 0, false);
        client_send(&c, rows[i], strlen(rows[i]));
        harness_settle(&h);
        client_close(&c);
        harness_settle(&h);
    }
    struct reply r = http_call(&h, 0, "GET", "/livez", NULL, NULL);
    assert_int_equal(r.status, 200);
    assert_string_equal(r.body, "alive\n");
    reply_free(&r);
}

static void long_paths_and_headers_are_refused(void **state)
{
    (void)state;
    static char path[ROUTES_URI_MAX + 64], headers[60000];
    snprintf(path, sizeof path, "/api/v1/sequence/");
    memset(path + strlen(path), 'a', ROUTES_URI_MAX);
    struct reply r = http_call(&h, 0, "POST", path, NULL, NULL);
    assert_int_equal(r.status, 413);
    reply_free(&r);
    size_t n = (size_t)snprintf(headers, sizeof headers, "X-Long: ");
    memset(headers + n, 'a', sizeof headers - n - 3);
    memcpy(headers + sizeof headers - 3, "\r\n", 3);
    char *text = http_text("GET", "/livez", headers, NULL);
    struct client c;
    client_open(&c, &h, 0, false);
    client_send(&c, text, strlen(text));
    client_wait(&c, &r);
    assert_true(r.status == 431 || r.status == 413);
    reply_free(&r);
    client_close(&c);
    free(text);
}

static void health_follows_the_leader(void **state)
{
    (void)state;
    struct reply r = http_call(&h, 0, "GET", "/readyz", NULL, NULL);
    assert_int_equal(r.status, 200);
    reply_free(&r);
    r = http_call(&h, 0, "GET", "/api/actuator/health", NULL, NULL);
    assert_has(r.body, "\"status\":\"UP\"");
    reply_free(&r);
    fake_lose();
    r = http_call(&h, 0, "GET", "/readyz", NULL, NULL);
    assert_int_equal(r.status, 503);
    assert_string_equal(r.body, "no leader is known\n");
    reply_free(&r);
    r = http_call(&h, 0, "GET", "/api/actuator/health", NULL, NULL);
    assert_int_equal(r.status, 503);
    assert_has(r.body, "\"status\":\"DOWN\"");
    reply_free(&r);
    r = http_call(&h, 0, "GET", "/livez", NULL, NULL);
    assert_int_equal(r.status, 200);
    reply_free(&r);
    fake_lead(h.node[0].log, 2, true);
}

static void the_cluster_is_described(void **state)
{
    (void)state;
    struct reply r = http_call(&h, 0, "GET", "/api/v1/cluster", NULL, NULL);
    assert_int_equal(r.status, 200);
    assert_true(json_valid((struct assent_bytes){(const uint8_t *)r.body, strlen(r.body)}));
    assert_has(r.body, "\"clusterId\":\"0000000000c0ffee\"");
    assert_has(r.body, "\"role\":\"LEADER\"");
    assert_has(r.body, "\"httpAddress\":\"127.0.0.1:");
    reply_free(&r);
    r = http_call(&h, 0, "GET", "/api/openapi.json", NULL, NULL);
    assert_true(json_valid((struct assent_bytes){(const uint8_t *)r.body, strlen(r.body)}));
    reply_free(&r);
    r = http_call(&h, 0, "GET", "/api/actuator/info", NULL, NULL);
    assert_has(r.body, "\"name\":\"assentd\"");
    reply_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pipelined_requests_are_answered_in_order),
        cmocka_unit_test(many_connections_are_served_at_once),
        cmocka_unit_test(unknown_paths_and_methods_are_told),
        cmocka_unit_test(an_announced_oversize_body_is_refused_early),
        cmocka_unit_test(a_chunked_oversize_body_is_refused),
        cmocka_unit_test(an_endless_body_is_cut),
        cmocka_unit_test(a_body_may_come_byte_by_byte),
        cmocka_unit_test(slow_connections_are_closed),
        cmocka_unit_test(garbage_is_refused_and_harms_nobody),
        cmocka_unit_test(long_paths_and_headers_are_refused),
        cmocka_unit_test(health_follows_the_leader),
        cmocka_unit_test(the_cluster_is_described),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
