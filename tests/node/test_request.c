/* Claims about a request's way: arguments, leader, follower, election, unknown outcome. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "harness.h"

#define TICK "/api/v1/lamport/tick"

static struct harness h;

static int three_nodes(void **state)
{
    (void)state;
    static const char *const options[] = {"--hold-ms", "300", "--request-timeout-ms", "1000", "--drain-ms",
                                          "200",       NULL};
    harness_start(&h, 3, options);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    harness_stop(&h);
    return 0;
}

static void expect(int node, const char *method, const char *path, const char *headers, const char *body,
                   int status, const char *part)
{
    struct reply r = http_call(&h, node, method, path, headers, body);
    if (r.status != status || strstr(r.body, part) == NULL)
        fail_msg("%s %s %s: %d %s, not %d %s", method, path, body ? body : "", r.status, r.body, status,
                 part);
    reply_free(&r);
}

static void bad_arguments_name_the_field(void **state)
{
    (void)state;
    static const struct {
        const char *method, *path, *body, *part;
        int status;
    } rows[] = {
        {"POST", TICK, "{\"clock\":\"a\"", "not JSON", 400},
        {"POST", TICK, "[1]", "must be a JSON object", 400},
        {"POST", TICK, "{\"clock\":\"a\",\"clock\":\"b\"}", "duplicate", 400},
        {"POST", TICK, "{\"clock\":\"a\",\"extra\":1}", "no field 'extra'", 400},
        {"POST", TICK, "{\"clock\":1}", "'clock' must be a text", 400},
        {"POST", TICK, "{\"clock\":\"a\",\"count\":\"1\"}", "'count' must be a whole number", 400},
        {"POST", TICK, "{\"clock\":\"a\",\"count\":-1}", "'count' must be a whole number", 400},
        {"POST", TICK, "{\"clock\":\"a\",\"count\":1.5}", "'count' must be a whole number", 400},
        {"POST", TICK, "{\"clock\":\"a\",\"count\":99999999999999999999}", "not JSON", 400},
        {"POST", TICK, "{\"clock\":\"a\",\"count\":999999999}", "count", 400},
        {"POST", "/api/v1/vector-clock/tick", "{\"clock\":\"v\"}", "node", 400},
        {"POST", TICK, "{\"clock\":\"\"}", "clock", 400},
        {"POST", TICK, "{\"clock\":\"a\\u0000b\"}", "clock", 400},
        {"POST", TICK "?clock=a", "{}", "takes its fields in the body", 400},
        {"POST", TICK "?stale=true", "{\"clock\":\"a\"}", "'stale' belongs to queries", 400},
        {"GET", "/api/v1/lamport/current?clock=a&clock=b", NULL, "given twice", 400},
        {"GET", "/api/v1/lamport/current?clock=%zz", NULL, "percent-encoding", 400},
        {"GET", "/api/v1/lamport/current?clock=a&stale=maybe", NULL, "'stale' takes true or false", 400},
        {"GET", "/api/v1/lamport/current?nothing=a", NULL, "no field 'nothing'", 400},
        {"GET", "/api/v1/version/current", NULL, "object", 400},
        {"POST", "/api/v1/sequence/s", "{\"name\":\"t\"}", "given twice", 400},
        {"POST", "/api/v1/vector-clock/sync", "{\"clock\":\"v\",\"node\":\"n\",\"received\":{\"m\":\"x\"}}",
         "'received' must be an object of whole numbers", 400},
        {"POST", "/api/v1/transaction/begin", "{\"branches\":{}}", "'branches' must be a list of objects",
         400},
        {"POST", "/api/v1/transaction/begin", "{\"branches\":[{\"branch\":\"b\"},{\"nope\":1}]}",
         "'branches[1]': there is no field 'nope'", 400},
        {"POST", "/api/v1/transaction/begin", "{\"branches\":[{\"branch\":7}]}",
         "'branches[0].branch' must be a text", 400},
        {"POST", "/api/v1/tso", "{\"count\":0}", "'count' must be 1 or more", 400},
        {"POST", "/api/v1/tso", "{\"count\":1000000}", "'count' is above its limit", 400},
        {"POST", "/api/v1/cluster/members", "{\"id\":4}", "'address' is required", 400},
        {"POST", "/api/v1/cluster/members", "{\"id\":4,\"address\":\"nowhere\"}", "INVALID", 400},
        {"POST", "/api/v1/cluster/members/x/promote", "", "'id' must be a whole number", 400},
        {"GET", "/api/v1/transaction/unknown", NULL, "TXN_NOT_FOUND", 404},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        expect(0, rows[i].method, rows[i].path, NULL, rows[i].body, rows[i].status, rows[i].part);
}

static void keys_are_checked(void **state)
{
    (void)state;
    char headers[ASSENT_KEY_BYTES_MAX + 64] = "Idempotency-Key: ";
    memset(headers + strlen(headers), 'k', ASSENT_KEY_BYTES_MAX + 1);
    strcat(headers, "\r\n");
    expect(0, "POST", TICK, headers, "{\"clock\":\"a\"}", 400, "Idempotency-Key takes");
    expect(0, "POST", TICK, "Idempotency-Key: a b\r\n", "{\"clock\":\"a\"}", 400, "Idempotency-Key takes");
}

static void a_trace_goes_on_in_the_transaction(void **state)
{
#define TRACE "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    (void)state;
    expect(0, "POST", "/api/v1/transaction/begin", "traceparent: " TRACE "\r\n", "{\"xid\":\"traced\"}", 200,
           "traced");
    expect(0, "GET", "/api/v1/transaction/traced", NULL, NULL, 200, "\"traceparent\":\"" TRACE "\"");
    expect(1, "POST", "/api/v1/transaction/begin", "Traceparent: " TRACE "\r\n",
           "{\"xid\":\"own\",\"traceparent\":\"00-mine\"}", 200, "own");
    expect(0, "GET", "/api/v1/transaction/own", NULL, NULL, 200, "\"traceparent\":\"00-mine\"");
    expect(0, "POST", "/api/v1/transaction/begin",
           "traceparent: what is this, fifty-five characters or more, is no trace\r\n", "{\"xid\":\"none\"}",
           200, "none");
    expect(0, "GET", "/api/v1/transaction/none", NULL, NULL, 200, "\"traceparent\":\"\"");
    expect(0, "POST", TICK, "traceparent: " TRACE "\r\n", "{\"clock\":\"traced\"}", 200, "\"value\":1");
#undef TRACE
}

static void a_command_runs_once_per_key(void **state)
{
    (void)state;
    expect(0, "POST", TICK, "Idempotency-Key: k1\r\n", "{\"clock\":\"keyed\"}", 200, "\"value\":1");
    expect(0, "POST", TICK, "Idempotency-Key: k1\r\n", "{\"clock\":\"keyed\"}", 200, "\"value\":1");
    expect(1, "POST", TICK, "Idempotency-Key: k1\r\n", "{\"clock\":\"keyed\"}", 200, "\"value\":1");
    expect(0, "POST", TICK, "Idempotency-Key: k1\r\n", "{\"clock\":\"other\"}", 422, "KEY_REUSED");
    expect(0, "GET", "/api/v1/lamport/current?clock=keyed", NULL, NULL, 200, "\"value\":1");
}

static void payloads_keep_their_numbers(void **state)
{
    (void)state;
    expect(0, "POST", "/api/v1/timestamp/event", NULL,
           "{\"eventId\":\"e1\",\"node\":\"n\",\"type\":\"t\",\"business\":\"b\",\"data\":{\"amount\": 1.10, "
           "\"n\": "
           "[1e2 ]}}",
           200, "\"e1\"");
    expect(0, "GET", "/api/v1/timestamp/events?node=n", NULL, NULL, 200, "{\"amount\":1.10,\"n\":[1e2]}");
}

static void a_freeze_is_asked_for_watched_and_let_go(void **state)
{
    (void)state;
    static const struct {
        const char *method, *path, *body;
        int status;
        const char *part;
    } rows[] = {
        {"POST", "/transaction/begin", "{\"xid\":\"fz1\",\"businessKey\":\"order 17\"}", 200, "ACTIVE"},
        {"POST", "/transaction/begin", "{\"xid\":\"fz2\"}", 200, "ACTIVE"},
        {"POST", "/freeze", "{\"xid\":\"fz1\",\"resource\":\"a/b c\"}", 200, "\"GRANTED\""},
        {"POST", "/freeze", "{\"xid\":\"fz2\",\"resource\":\"a/b c\",\"mode\":\"shared\"}", 409,
         "\"retryable\":true"},
        {"POST", "/freeze", "{\"xid\":\"fz2\",\"resource\":\"a/b c\",\"waitMs\":60000}", 200, "\"WAITING\""},
        {"GET", "/freeze/fz2/a%2Fb%20c", NULL, 200, "\"waitingFor\":\"exclusive\""},
        {"GET", "/freezes?prefix=a/", NULL, 200, "\"waiters\":1"},
        {"GET", "/freezes/a%2Fb%20c", NULL, 200, "\"holders\":[{\"xid\":\"fz1\""},
        {"GET", "/transaction/fz2/freezes", NULL, 200, "\"resource\":\"a/b c\""},
        {"DELETE", "/freeze/fz1/a%2Fb%20c", NULL, 200, "\"NONE\""},
        {"GET", "/freeze/fz2/a%2Fb%20c", NULL, 200, "\"GRANTED\""},
        {"POST", "/freeze", "{\"xid\":\"fz9\",\"resource\":\"r\"}", 404, "TXN_NOT_FOUND"},
        {"GET", "/transactions?businessKey=order+17", NULL, 200, "\"xid\":\"fz1\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char path[128];
        snprintf(path, sizeof path, "/api/v1%s", rows[i].path);
        expect((int)(i % 3), rows[i].method, path, NULL, rows[i].body, rows[i].status, rows[i].part);
    }
}

static void operators_find_act_and_read_the_record(void **state)
{
#define WHO "\"by\":\"ann\",\"reason\":\"r\""
#define RED "X-Assent-Namespace: red\r\n"
    (void)state;
    static const struct {
        const char *method, *path, *headers, *body;
        int status;
        const char *part;
    } rows[] = {
        {"POST", "/transaction/begin", RED, "{\"xid\":\"op1\",\"businessType\":\"op\"}", 200, "ACTIVE"},
        {"POST", "/transaction/begin", RED, "{\"xid\":\"op2\",\"businessType\":\"op\"}", 200, "ACTIVE"},
        {"POST", "/freeze", RED, "{\"xid\":\"op1\",\"resource\":\"r\"}", 200, "\"resource\":\"r\""},
        {"POST", "/transaction/op1/pause", RED, "{" WHO "}", 200, "SUSPENDED"},
        {"POST", "/transaction/op1/pause", NULL, "{" WHO "}", 404, "no transaction op1"},
        {"POST", "/transaction/op1/pause", RED, "{\"by\":\"ann\"}", 400, "reason"},
        {"POST", "/transaction/op1/explode", RED, "{" WHO "}", 400, "act"},
        {"GET", "/metrics", NULL, NULL, 200, "assent_transactions_suspended 1\n"},
        {"GET", "/metrics", NULL, NULL, 200, "assent_freezes_held "},
        {"GET", "/transactions?status=SUSPENDED&order=oldest&olderThanMs=0", RED, NULL, 200,
         "\"xid\":\"op1\""},
        {"GET", "/transactions?failing=true", RED, NULL, 200, "\"transactions\":[]"},
        {"GET", "/transactions?businessType=op", NULL, NULL, 200, "\"transactions\":[]"},
        {"GET", "/transactions/counts", RED, NULL, 200, "\"status\":\"SUSPENDED\",\"count\":1"},
        {"POST", "/transactions/force", RED, "{" WHO "}", 400, "say which"},
        {"POST", "/transactions/force", RED, "{" WHO ",\"businessType\":\"op\"}", 200,
         "{\"acted\":2,\"refused\":0,\"next\":null}"},
        {"GET", "/audit?limit=1", RED, NULL, 200, "\"act\":\"force\",\"by\":\"ann\""},
        {"GET", "/audit?xid=op1", RED, NULL, 200, "\"after\":\"SUSPENDED\""},
        {"GET", "/audit", NULL, NULL, 200, "\"acts\":[]"},
        {"GET", "/transaction/op1", RED, NULL, 200, "\"event\":\"pause\""},
        {"GET", "/metrics", NULL, NULL, 200, "assent_transactions_stopped 2\n"},
        {"POST", "/settings", NULL, "{" WHO ",\"retentionMs\":3600000}", 200, "\"retentionMs\":3600000"},
        {"GET", "/settings", RED, NULL, 200, "\"auditRetentionMs\":7776000000"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char path[128];
        bool root = strcmp(rows[i].path, "/metrics") == 0;
        snprintf(path, sizeof path, "%s%s", root ? "" : "/api/v1", rows[i].path);
        expect(root ? 0 : (int)(i % 3), rows[i].method, path, rows[i].headers, rows[i].body, rows[i].status,
               rows[i].part);
    }
#undef WHO
#undef RED
}

static void a_follower_forwards_and_answers(void **state)
{
    (void)state;
    struct reply r = http_call(&h, 1, "POST", TICK, NULL, "{\"clock\":\"fw\"}");
    assert_int_equal(r.status, 200);
    assert_has(r.body, "\"value\":1");
    assert_has(r.head, "X-Assent-Index: ");
    assert_has(r.head, "X-Assent-Term: 1");
    reply_free(&r);
    expect(2, "POST", TICK, NULL, "{\"clock\":\"fw\"}", 200, "\"value\":2");
    expect(2, "GET", "/api/v1/lamport/current?clock=fw", NULL, NULL, 200, "\"value\":2");
    expect(1, "POST", "/api/v1/tso", NULL, "{\"count\":3}", 200, "\"count\":3");
    expect(1, "POST", "/api/v1/cluster/members", NULL, "{\"id\":9,\"address\":\"h:9\"}", 200, "changed");
    expect(1, "POST", "/api/v1/cluster/snapshot", NULL, NULL, 200, "\"size\":42");
    expect(1, "POST", "/api/v1/lamport/sync", NULL, "{\"clock\":\"fw\",\"received\":9223372036854775807}",
           409, "OVERFLOW");
}

static void who_wants_no_forwarding_is_redirected(void **state)
{
    (void)state;
    struct reply r = http_call(&h, 1, "POST", TICK, "X-Assent-Forward: never\r\n", "{\"clock\":\"a\"}");
    assert_int_equal(r.status, 307);
    assert_has(r.head, "Location: http://127.0.0.1:");
    assert_has(r.head, TICK "\r\n");
    assert_has(r.body, "NOT_LEADER");
    reply_free(&r);
    fake_lose();
    r = http_call(&h, 1, "POST", TICK, "X-Assent-Forward: never\r\n", "{\"clock\":\"a\"}");
    assert_int_equal(r.status, 503);
    assert_has(r.head, "Retry-After: 1");
    reply_free(&r);
    fake_lead(h.node[0].log, 2, true);
}

/* Send on an own connection; the answer is taken later. */
static void begin(struct client *c, int node, const char *headers, const char *method, const char *path,
                  const char *body)
{
    char *text = http_text(method, path, headers, body);
    client_open(c, &h, node, false);
    client_send(c, text, strlen(text));
    harness_settle(&h);
    free(text);
}

static void end(struct client *c, int status, const char *part)
{
    struct reply r = {0};
    client_wait(c, &r);
    if (r.status != status || strstr(r.body, part) == NULL)
        fail_msg("%d %s, not %d %s", r.status, r.body, status, part);
    reply_free(&r);
    client_close(c);
}

static void an_election_only_delays(void **state)
{
    (void)state;
    struct client a, b, q;
    fake_lose();
    begin(&a, 0, NULL, "POST", TICK, "{\"clock\":\"el\"}");
    begin(&b, 1, NULL, "POST", TICK, "{\"clock\":\"el\"}");
    begin(&q, 2, NULL, "GET", "/api/v1/lamport/current?clock=el", NULL);
    assert_int_equal(h.node[0].requests.held, 1);
    assert_int_equal(h.node[1].requests.held, 1);
    fake_lead(h.node[1].log, 3, false); /* leads, but must commit an entry first */
    harness_step(&h);
    fake_lead(h.node[1].log, 3, true);
    end(&a, 200, "\"success\":true");
    end(&b, 200, "\"success\":true");
    end(&q, 200, "\"success\":true");
    assert_int_equal(h.node[0].requests.held, 0);
    fake_lead(h.node[0].log, 4, true);
}

static void without_a_leader_the_hold_ends_in_503(void **state)
{
    (void)state;
    struct client a, b;
    fake_lose();
    begin(&a, 0, NULL, "POST", TICK, "{\"clock\":\"x\"}");
    begin(&b, 1, NULL, "GET", "/api/v1/lamport/current?clock=x", NULL);
    end(&a, 503, "NO_LEADER");
    end(&b, 503, "\"retryable\":true");
    expect(1, "GET", "/api/v1/lamport/current?clock=x&stale=true", NULL, NULL, 200, "\"success\":true");
    fake_lead(h.node[0].log, 5, true);
}

static void a_lost_leadership_is_an_unknown_outcome(void **state)
{
    (void)state;
    struct client a;
    fake_hold(h.node[0].log);
    begin(&a, 0, NULL, "POST", TICK, "{\"clock\":\"u\"}");
    fake_release(h.node[0].log, ASSENT_UNKNOWN_OUTCOME);
    end(&a, 504, "UNKNOWN_OUTCOME");
}

static void with_a_key_the_node_tries_again(void **state)
{
    (void)state;
    struct client a;
    uint64_t before = fake_proposed(h.node[0].log);
    fake_hold(h.node[0].log);
    begin(&a, 0, "Idempotency-Key: again\r\n", "POST", TICK, "{\"clock\":\"k\"}");
    fake_release(h.node[0].log, ASSENT_UNKNOWN_OUTCOME);
    end(&a, 200, "\"value\":1");
    assert_int_equal(fake_proposed(h.node[0].log), before + 2);
}

static void what_certainly_failed_is_tried_again(void **state)
{
    (void)state;
    struct client a;
    fake_hold(h.node[0].log);
    begin(&a, 0, NULL, "POST", TICK, "{\"clock\":\"n\"}");
    fake_release(h.node[0].log, ASSENT_NOT_LEADER);
    end(&a, 200, "\"value\":1");
}

static void a_forwarded_command_of_a_dead_leader_is_unknown(void **state)
{
    (void)state;
    struct client a, b;
    fake_cut(h.node[0].log, true);
    begin(&a, 1, NULL, "POST", TICK, "{\"clock\":\"d\"}");
    begin(&b, 2, "Idempotency-Key: dead\r\n", "POST", TICK, "{\"clock\":\"d\"}");
    fake_lead(h.node[1].log, 6, true);
    end(&a, 504, "UNKNOWN_OUTCOME");
    end(&b, 200, "\"value\":1");
    fake_cut(h.node[0].log, false);
    fake_lead(h.node[0].log, 7, true);
}

static void time_is_limited(void **state)
{
    (void)state;
    struct client a, b;
    fake_hold(h.node[0].log);
    begin(&a, 0, NULL, "POST", TICK, "{\"clock\":\"t\"}");
    begin(&b, 1, NULL, "POST", TICK, "{\"clock\":\"t\"}");
    end(&a, 504, "UNKNOWN_OUTCOME");
    end(&b, 504, "UNKNOWN_OUTCOME");
    assert_int_equal(h.node[0].requests.active, 0);
    fake_release(h.node[0].log, ASSENT_OK); /* late: nobody waits */
    harness_settle(&h);
    expect(0, "GET", "/api/v1/lamport/current?clock=t", NULL, NULL, 200, "\"value\":2");
}

static void errors_of_the_world_are_passed_on(void **state)
{
    (void)state;
    fake_refuse(h.node[0].log, ASSENT_BUSY);
    expect(0, "POST", TICK, NULL, "{\"clock\":\"w\"}", 503, "BUSY");
    fake_refuse(h.node[0].log, ASSENT_NO_SPACE);
    expect(1, "POST", TICK, NULL, "{\"clock\":\"w\"}", 507, "NO_SPACE");
}

static void reads_of_a_turn_share_one_confirmation(void **state)
{
    (void)state;
    enum { READERS = 32 };
    struct client c[READERS];
    char *text = http_text("GET", "/api/v1/lamport/current?clock=fw", NULL, NULL);
    uint64_t before = fake_reads(h.node[0].log);
    for (int i = 0; i < READERS; i++)
        client_open(&c[i], &h, 0, false);
    harness_settle(&h); /* all are accepted */
    for (int i = 0; i < READERS; i++)
        client_send(&c[i], text, strlen(text));
    for (int i = 0; i < READERS; i++)
        end(&c[i], 200, "\"success\":true");
    assert_true(fake_reads(h.node[0].log) - before <= 4);
    free(text);
}

static void timestamps_rise_across_leaders(void **state)
{
    (void)state;
    uint64_t last = 0;
    for (int i = 0; i < 6; i++) {
        fake_lead(h.node[i % 3].log, 20 + (uint64_t)i, true);
        harness_step(&h);
        struct reply r = http_call(&h, (i + 1) % 3, "POST", "/api/v1/tso", NULL, "{\"count\":10}");
        assert_int_equal(r.status, 200);
        uint64_t first = strtoull(strstr(r.body, "\"first\":") + 8, NULL, 10);
        assert_true(first > last);
        last = first + 9;
        reply_free(&r);
    }
    fake_lead(h.node[0].log, 30, true);
}

static void a_tick_fires_what_is_due(void **state)
{
    (void)state;
    harness_settle(&h);
    expect(0, "POST", "/api/v1/nodes", NULL, "{\"node\":\"n1\",\"inactiveMs\":1000,\"failedMs\":2000}", 200,
           "n1");
    uint64_t before = fake_proposed(h.node[0].log);
    for (int i = 0; i < 1000 && fake_proposed(h.node[0].log) == before; i++)
        harness_step(&h);
    assert_true(fake_proposed(h.node[0].log) > before);
    harness_settle(&h);
    expect(0, "GET", "/api/v1/nodes", NULL, NULL, 200, "INACTIVE");
    expect(0, "DELETE", "/api/v1/nodes/n1", NULL, NULL, 200, "\"success\":true");
}

static void malformed_messages_of_peers_are_counted(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
    } rows[] = {
        {"", 0},
        {"\x02", 1},
        {"\x01\x00\x00", 3},
        {"\x01\x00\x00\x00\x01\x01", 6},
        {"\x01\xff\xff\xff\xff\x01\0\0\0\0\0\0\0\1\0\0\0\0", 18},
        {"\x01\x00\x00\x00\x09\x07\0\0\0\0\0\0\0\1", 14},   /* unknown kind */
        {"\x01\x00\x00\x00\x09\x01\0\0\0\0\0\0\0\1", 14},   /* a call without its head */
        {"\x01\x00\x00\x00\x0a\x02\0\0\0\0\0\0\0\1\0", 15}, /* an answer cut short */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t before = h.node[0].forward.malformed;
        forward_receive(&h.node[0].forward, 2,
                        (struct assent_bytes){(const uint8_t *)rows[i].bytes, rows[i].size});
        assert_int_equal(h.node[0].forward.malformed, before + 1);
    }
    harness_settle(&h);
}

static void stopping_answers_who_waits(void **state)
{
    (void)state;
    static struct harness own;
    static const char *const options[] = {"--drain-ms", "100", NULL};
    struct client a;
    struct reply r = {0};
    harness_start(&own, 1, options);
    fake_hold(own.node[0].log);
    char *text = http_text("POST", TICK, NULL, "{\"clock\":\"s\"}");
    client_open(&a, &own, 0, false);
    client_send(&a, text, strlen(text));
    harness_settle(&own);
    harness_stop(&own);
    while (!client_reply(&a, &r))
        assert_true(client_more(&a));
    assert_true(r.status == 504 || r.status == 503);
    reply_free(&r);
    client_close(&a);
    free(text);
}

/* The change itself, its row, and who asked at another node. */
static void changes_of_the_cluster_are_on_record(void **state)
{
    (void)state;
    static const struct {
        const char *path, *body, *row;
    } rows[] = {
        {"members", "{\"id\":4,\"address\":\"h:1\",\"by\":\"ann\",\"reason\":\"r\"}",
         "\"act\":\"member_add\",\"by\":\"ann\",\"reason\":\"r\",\"xid\":\"\",\"branch\":\"\",\"subject\":"
         "\"4 h:1\""},
        {"members/4/promote", "{\"by\":\"ben\"}",
         "\"act\":\"member_promote\",\"by\":\"ben\",\"reason\":\"\""},
        {"members/4/demote", "", "\"act\":\"member_demote\",\"by\":\"\""},
        {"members/4/remove", "{\"by\":\"cat\"}", "\"act\":\"member_remove\",\"by\":\"cat\""},
        {"members/1/demote", "{\"by\":\"dan\"}", "\"act\":\"member_demote\",\"by\":\"dan\""}, /* the leader */
        {"transfer", "{\"id\":2,\"by\":\"eve\"}", "\"act\":\"transfer\",\"by\":\"eve\""},
        {"snapshot", "{\"by\":\"fay\"}", "\"act\":\"snapshot\",\"by\":\"fay\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[64];
        snprintf(path, sizeof path, "/api/v1/cluster/%s", rows[i].path);
        expect(i % 2 == 0 ? 0 : 1, "POST", path, NULL, rows[i].body, 200, "");
        expect(0, "GET", "/api/v1/audit?limit=1", NULL, NULL, 200, rows[i].row);
    }
    expect(0, "POST", "/api/v1/topics/paid", NULL, "{\"url\":\"http://m/p\",\"by\":\"gus\"}", 200, "");
    expect(0, "DELETE", "/api/v1/topics/paid?by=gus&reason=old%20one", NULL, NULL, 200, "");
    expect(0, "GET", "/api/v1/audit?limit=1", NULL, NULL, 200,
           "\"act\":\"topic_remove\",\"by\":\"gus\",\"reason\":\"old one\"");
    expect(0, "POST", "/api/v1/cluster/snapshot", NULL, "{\"by\":\"a\\u0001\"}", 400, "INVALID");
    expect(0, "GET", "/api/v1/audit?limit=1", NULL, NULL, 200, "\"by\":\"gus\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_arguments_name_the_field),
        cmocka_unit_test(keys_are_checked),
        cmocka_unit_test(a_trace_goes_on_in_the_transaction),
        cmocka_unit_test(a_command_runs_once_per_key),
        cmocka_unit_test(payloads_keep_their_numbers),
        cmocka_unit_test(a_freeze_is_asked_for_watched_and_let_go),
        cmocka_unit_test(operators_find_act_and_read_the_record),
        cmocka_unit_test(changes_of_the_cluster_are_on_record),
        cmocka_unit_test(a_follower_forwards_and_answers),
        cmocka_unit_test(who_wants_no_forwarding_is_redirected),
        cmocka_unit_test(an_election_only_delays),
        cmocka_unit_test(without_a_leader_the_hold_ends_in_503),
        cmocka_unit_test(a_lost_leadership_is_an_unknown_outcome),
        cmocka_unit_test(with_a_key_the_node_tries_again),
        cmocka_unit_test(what_certainly_failed_is_tried_again),
        cmocka_unit_test(a_forwarded_command_of_a_dead_leader_is_unknown),
        cmocka_unit_test(time_is_limited),
        cmocka_unit_test(errors_of_the_world_are_passed_on),
        cmocka_unit_test(reads_of_a_turn_share_one_confirmation),
        cmocka_unit_test(timestamps_rise_across_leaders),
        cmocka_unit_test(a_tick_fires_what_is_due),
        cmocka_unit_test(malformed_messages_of_peers_are_counted),
        cmocka_unit_test(stopping_answers_who_waits),
    };
    return cmocka_run_group_tests(tests, three_nodes, stop);
}
