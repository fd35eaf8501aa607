/* Exactly-once: sessions with sequences, and Idempotency-Keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sm_harness.h"

/* Open a session; the harness's next commands are its first. */
static uint64_t open_session(struct sm_harness *h, const char *args)
{
    h->session = (struct command_session){.kind = SESSION_NONE};
    assert_int_equal(sm_run(h, COMMAND_SESSION_OPEN, args), ASSENT_OK);
    uint64_t client = sm_uint(h, "client");
    h->session = (struct command_session){.kind = SESSION_SEQUENCE, .client = client, .sequence = 1};
    return client;
}

static int tick_at(struct sm_harness *h, uint64_t sequence, uint64_t acknowledged)
{
    h->session.sequence = sequence;
    h->session.acknowledged = acknowledged;
    return sm_run(h, COMMAND_LAMPORT_TICK, "{}");
}

static void set_key(struct sm_harness *h, const char *key)
{
    h->session = (struct command_session){.kind = SESSION_KEY, .key = {(const uint8_t *)key, strlen(key)}};
}

static uint64_t current(struct sm_harness *h)
{
    assert_int_equal(sm_ask(h, QUERY_LAMPORT, "{}"), ASSENT_OK);
    return sm_uint(h, "value");
}

static void client_id_is_the_position_of_the_open(void **state)
{
    struct sm_harness *h = *state;
    uint64_t client = open_session(h, "{}");
    assert_int_equal(client, assent_position(h->index, 0));
    assert_int_equal(sm_uint(h, "ttlMs"), 3600000);
}

static void retry_returns_the_stored_reply_and_runs_nothing(void **state)
{
    struct sm_harness *h = *state;
    open_session(h, "{}");
    assert_int_equal(tick_at(h, 1, 0), ASSENT_OK);
    assert_int_equal(sm_uint(h, "value"), 1);
    assert_int_equal(tick_at(h, 2, 0), ASSENT_OK);
    assert_int_equal(sm_uint(h, "value"), 2);
    assert_int_equal(tick_at(h, 1, 0), ASSENT_OK);
    assert_int_equal(sm_uint(h, "value"), 1);
    assert_int_equal(current(h), 2);
}

static void retry_is_known_after_a_snapshot(void **state)
{
    struct sm_harness *h = *state;
    open_session(h, "{}");
    assert_int_equal(tick_at(h, 1, 0), ASSENT_OK);
    sm_reincarnate(h);
    assert_int_equal(tick_at(h, 1, 0), ASSENT_OK);
    assert_int_equal(sm_uint(h, "value"), 1);
    assert_int_equal(current(h), 1);
}

static void refusals_are_stored_too(void **state)
{
    struct sm_harness *h = *state;
    open_session(h, "{}");
    assert_int_equal(sm_run(h, COMMAND_NODE_HEARTBEAT, "{'node':'n'}"), ASSENT_NODE_UNKNOWN);
    struct command_session first = h->session;
    h->session = (struct command_session){.kind = SESSION_NONE};
    assert_int_equal(sm_run(h, COMMAND_NODE_REGISTER, "{'node':'n'}"), ASSENT_OK);
    h->session = first;
    assert_int_equal(sm_run(h, COMMAND_NODE_HEARTBEAT, "{'node':'n'}"), ASSENT_NODE_UNKNOWN);
}

static void sequences_may_arrive_out_of_order(void **state)
{
    struct sm_harness *h = *state;
    open_session(h, "{}");
    assert_int_equal(tick_at(h, 3, 0), ASSENT_OK);
    assert_int_equal(tick_at(h, 1, 0), ASSENT_OK);
    assert_int_equal(sm_uint(h, "value"), 2);
    assert_int_equal(tick_at(h, 3, 0), ASSENT_OK);
    assert_int_equal(sm_uint(h, "value"), 1);
}

static void acknowledged_sequence_is_refused(void **state)
{
    struct sm_harness *h = *state;
    open_session(h, "{}");
    for (uint64_t s = 1; s <= 20; s++)
        assert_int_equal(tick_at(h, s, 0), ASSENT_OK);
    assert_int_equal(tick_at(h, 21, 20), ASSENT_OK);
    assert_int_equal(tick_at(h, 22, 21), ASSENT_OK);
    assert_int_equal(tick_at(h, 20, 0), ASSENT_SESSION_EXPIRED);
    assert_string_equal(sm_detail(h), "sequence 20 was acknowledged; its reply is gone");
    assert_int_equal(tick_at(h, 21, 0), ASSENT_SESSION_EXPIRED);
    assert_int_equal(tick_at(h, 22, 0), ASSENT_OK);
    assert_int_equal(sm_uint(h, "value"), 22);
    /* never used, yet acknowledged: a late request of long ago must not run */
    assert_int_equal(tick_at(h, 90, 80), ASSENT_OK);
    assert_int_equal(tick_at(h, 50, 0), ASSENT_SESSION_EXPIRED);
    assert_int_equal(current(h), 23);
}

static void too_many_unacknowledged_replies_are_refused(void **state)
{
    struct sm_harness *h = *state;
    open_session(h, "{}");
    for (uint64_t s = 1; s <= 1024; s++)
        assert_int_equal(tick_at(h, s, 0), ASSENT_OK);
    assert_int_equal(tick_at(h, 1025, 0), ASSENT_LIMIT);
    assert_int_equal(current(h), 1024);
    assert_int_equal(tick_at(h, 1025, 1), ASSENT_OK);
    assert_int_equal(sm_uint(h, "value"), 1025);
    assert_int_equal(tick_at(h, 1026, 1), ASSENT_LIMIT);
    assert_int_equal(tick_at(h, 1026, 1025), ASSENT_OK);
}

static void unknown_session_is_refused(void **state)
{
    struct sm_harness *h = *state;
    open_session(h, "{}");
    h->session.client = 12345;
    assert_int_equal(tick_at(h, 1, 0), ASSENT_SESSION_EXPIRED);
    h->session.client = 0;
    assert_int_equal(tick_at(h, 1, 0), ASSENT_SESSION_EXPIRED);
    assert_int_equal(current(h), 0);
}

static void unused_session_expires_by_log_time(void **state)
{
    struct sm_harness *h = *state;
    open_session(h, "{'ttlMs':1000}");
    assert_int_equal(tick_at(h, 1, 0), ASSENT_OK);
    sm_advance(h, 998);
    assert_int_equal(tick_at(h, 2, 0), ASSENT_OK); /* use renews */
    sm_advance(h, 998);
    assert_int_equal(tick_at(h, 3, 0), ASSENT_OK);
    sm_advance(h, 1001);
    assert_int_equal(tick_at(h, 3, 0), ASSENT_SESSION_EXPIRED);
    assert_int_equal(tick_at(h, 4, 0), ASSENT_SESSION_EXPIRED);
    assert_int_equal(current(h), 3);
    assert_true(sm_next_due_us(h->sm) == INT64_MAX);
}

static void expiry_is_due_work_of_a_tick(void **state)
{
    struct sm_harness *h = *state;
    int64_t opened_us = h->now_us;
    open_session(h, "{'ttlMs':5000}");
    assert_true(sm_next_due_us(h->sm) == opened_us + 5000000);
    sm_advance(h, 6000);
    h->session = (struct command_session){.kind = SESSION_NONE};
    assert_int_equal(sm_run(h, COMMAND_TICK, "{}"), ASSENT_OK);
    assert_true(sm_next_due_us(h->sm) == INT64_MAX);
}

static void close_ends_a_session_and_may_be_repeated(void **state)
{
    struct sm_harness *h = *state;
    open_session(h, "{}");
    assert_int_equal(tick_at(h, 1, 0), ASSENT_OK);
    h->session.sequence = 2;
    assert_int_equal(sm_run(h, COMMAND_SESSION_CLOSE, "{}"), ASSENT_OK);
    assert_true(sm_bool(h, "wasOpen"));
    assert_int_equal(sm_run(h, COMMAND_SESSION_CLOSE, "{}"), ASSENT_OK);
    assert_false(sm_bool(h, "wasOpen"));
    assert_int_equal(tick_at(h, 1, 0), ASSENT_SESSION_EXPIRED);
    assert_true(sm_next_due_us(h->sm) == INT64_MAX);
    h->session = (struct command_session){.kind = SESSION_NONE};
    assert_int_equal(sm_run(h, COMMAND_SESSION_CLOSE, "{}"), ASSENT_INVALID);
}

static void key_repeats_the_reply(void **state)
{
    struct sm_harness *h = *state;
    set_key(h, "order-1");
    assert_int_equal(sm_run(h, COMMAND_SEQUENCE_NEXT, "{'name':'s','count':2}"), ASSENT_OK);
    assert_int_equal(sm_run(h, COMMAND_SEQUENCE_NEXT, "{'name':'s','count':2}"), ASSENT_OK);
    assert_string_equal(sm_json(h), "{\"name\":\"s\",\"first\":1,\"last\":2}");
    sm_reincarnate(h);
    assert_int_equal(sm_run(h, COMMAND_SEQUENCE_NEXT, "{'name':'s','count':2}"), ASSENT_OK);
    assert_int_equal(sm_uint(h, "last"), 2);
    set_key(h, "order-2");
    assert_int_equal(sm_run(h, COMMAND_SEQUENCE_NEXT, "{'name':'s','count':2}"), ASSENT_OK);
    assert_int_equal(sm_uint(h, "last"), 4);
}

static void key_of_another_request_is_refused(void **state)
{
    struct sm_harness *h = *state;
    set_key(h, "k");
    assert_int_equal(sm_run(h, COMMAND_SEQUENCE_NEXT, "{'name':'s'}"), ASSENT_OK);
    assert_int_equal(sm_run(h, COMMAND_SEQUENCE_NEXT, "{'name':'t'}"), ASSENT_KEY_REUSED);
    assert_int_equal(sm_run(h, COMMAND_LAMPORT_TICK, "{}"), ASSENT_KEY_REUSED);
    assert_int_equal(sm_run(h, COMMAND_SEQUENCE_NEXT, "{'name':'s','count':null}"), ASSENT_OK); /* the same */
    assert_int_equal(sm_uint(h, "last"), 1);
}

static void trace_header_is_no_part_of_the_request(void **state)
{
    struct sm_harness *h = *state;
    set_key(h, "k");
    assert_int_equal(sm_run(h, COMMAND_TXN_BEGIN, "{'traceparent':'00-aa-bb-01'}"), ASSENT_OK);
    char xid[200];
    snprintf(xid, sizeof xid, "%s", sm_text(h, "xid"));
    assert_int_equal(sm_run(h, COMMAND_TXN_BEGIN, "{'traceparent':'00-cc-dd-01'}"), ASSENT_OK);
    assert_string_equal(sm_text(h, "xid"), xid);
}

static void key_is_forgotten_after_a_day(void **state)
{
    struct sm_harness *h = *state;
    int64_t day_ms = INT64_C(24) * 3600 * 1000;
    set_key(h, "a");
    assert_int_equal(sm_run(h, COMMAND_LAMPORT_TICK, "{}"), ASSENT_OK);
    sm_advance(h, 1000);
    set_key(h, "b");
    assert_int_equal(sm_run(h, COMMAND_LAMPORT_TICK, "{}"), ASSENT_OK);
    sm_advance(h, day_ms - 1000);
    assert_int_equal(sm_run(h, COMMAND_LAMPORT_TICK, "{}"), ASSENT_OK); /* b is known */
    assert_int_equal(sm_uint(h, "value"), 2);
    set_key(h, "a");
    assert_int_equal(sm_run(h, COMMAND_LAMPORT_TICK, "{}"), ASSENT_OK); /* a ran anew */
    assert_int_equal(sm_uint(h, "value"), 3);
    sm_advance(h, 2 * day_ms);
    h->session = (struct command_session){.kind = SESSION_NONE};
    assert_int_equal(sm_run(h, COMMAND_TICK, "{}"), ASSENT_OK);
    assert_true(sm_next_due_us(h->sm) == INT64_MAX);
}

static void a_crowd_of_expired_keys_goes_in_portions(void **state)
{
    struct sm_harness *h = *state;
    char key[32];
    for (int i = 0; i < 600; i++) {
        snprintf(key, sizeof key, "key-%d", i);
        set_key(h, key);
        assert_int_equal(sm_run(h, COMMAND_LAMPORT_TICK, "{}"), ASSENT_OK);
    }
    sm_advance(h, INT64_C(25) * 3600 * 1000);
    h->session = (struct command_session){.kind = SESSION_NONE};
    int ticks = 0;
    while (sm_next_due_us(h->sm) != INT64_MAX && ticks++ < 10)
        assert_int_equal(sm_run(h, COMMAND_TICK, "{}"), ASSENT_OK);
    assert_int_equal(ticks, 3);
}

/* Open sessions in entries of the largest size until `count` are open. */
static void open_many(struct sm_harness *h, uint32_t count)
{
    static struct sm_command commands[ASSENT_ENTRY_COMMANDS_MAX];
    struct codec_writer w;
    codec_writer_init(&w);
    struct assent_bytes open = sm_encode(&w, false, COMMAND_SESSION_OPEN, NULL, "{}");
    while (count > 0) {
        uint32_t n = count < ASSENT_ENTRY_COMMANDS_MAX ? count : ASSENT_ENTRY_COMMANDS_MAX;
        h->index++;
        for (uint32_t i = 0; i < n; i++)
            commands[i] =
                (struct sm_command){.index = h->index, .slot = i, .time_us = h->now_us, .command = open};
        sm_apply(h->sm, commands, n, h->index);
        h->now_us += 10000;
        count -= n;
    }
    codec_writer_close(&w);
}

static void at_the_limit_the_longest_idle_session_makes_room(void **state)
{
    struct sm_harness *h = *state;
    open_many(h, 65536);
    uint64_t first = assent_position(1, 0), second = assent_position(1, 1), third = assent_position(1, 2);
    h->session = (struct command_session){.kind = SESSION_SEQUENCE, .client = first};
    assert_int_equal(tick_at(h, 1, 0), ASSENT_OK); /* the oldest is in use */
    open_session(h, "{}");
    h->session.client = second;
    assert_int_equal(tick_at(h, 1, 0), ASSENT_SESSION_EXPIRED); /* it made room */
    h->session.client = first;
    assert_int_equal(tick_at(h, 2, 1), ASSENT_OK);
    h->session.client = third;
    assert_int_equal(tick_at(h, 1, 0), ASSENT_OK);
    sm_reincarnate(h);
    h->session.client = first;
    assert_int_equal(tick_at(h, 2, 1), ASSENT_OK);
    assert_int_equal(sm_uint(h, "value"), 2);
}

static void while_the_oldest_sessions_work_a_new_one_is_refused(void **state)
{
    struct sm_harness *h = *state;
    open_many(h, 65536);
    for (uint32_t i = 0; i < 40; i++) {
        h->session = (struct command_session){.kind = SESSION_SEQUENCE, .client = assent_position(1, i)};
        assert_int_equal(tick_at(h, 1, 0), ASSENT_OK);
    }
    h->session = (struct command_session){.kind = SESSION_NONE};
    assert_int_equal(sm_run(h, COMMAND_SESSION_OPEN, "{}"), ASSENT_LIMIT);
    assert_int_equal(sm_run(h, COMMAND_SESSION_OPEN, "{}"), ASSENT_LIMIT);
    assert_int_equal(sm_run(h, COMMAND_SESSION_OPEN, "{}"), ASSENT_OK); /* behind those 40 stand idle ones */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, sm_harness_setup, sm_harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(client_id_is_the_position_of_the_open),
        TEST(retry_returns_the_stored_reply_and_runs_nothing),
        TEST(retry_is_known_after_a_snapshot),
        TEST(refusals_are_stored_too),
        TEST(sequences_may_arrive_out_of_order),
        TEST(acknowledged_sequence_is_refused),
        TEST(too_many_unacknowledged_replies_are_refused),
        TEST(unknown_session_is_refused),
        TEST(unused_session_expires_by_log_time),
        TEST(expiry_is_due_work_of_a_tick),
        TEST(close_ends_a_session_and_may_be_repeated),
        TEST(key_repeats_the_reply),
        TEST(key_of_another_request_is_refused),
        TEST(trace_header_is_no_part_of_the_request),
        TEST(key_is_forgotten_after_a_day),
        TEST(a_crowd_of_expired_keys_goes_in_portions),
        TEST(at_the_limit_the_longest_idle_session_makes_room),
        TEST(while_the_oldest_sessions_work_a_new_one_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
