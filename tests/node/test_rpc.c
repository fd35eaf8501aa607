/* Claims about the native door. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "frame.h"
#include "harness.h"
#include "rpc.h"

static struct harness h;

static int start(void **state)
{
    (void)state;
    static const char *const options[] = {"--rpc-inflight", "64", "--rpc-connections", "8", NULL};
    harness_start(&h, 2, options);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    harness_stop(&h);
    return 0;
}

/* ---- a client of frames ---- */

struct native {
    struct client c;
    struct codec_writer w;
    struct codec_arena arena;
    size_t taken; /* bytes of the last frame, dropped by the next */
    enum frame_kind kind;
    uint64_t id;
    const struct codec_node *list;
};

static void flush(struct native *n)
{
    struct assent_bytes b = codec_written(&n->w);
    client_send(&n->c, b.base, b.size);
    codec_writer_reset(&n->w);
}

/* Wait for a frame; false when the connection closes first. */
static bool next(struct native *n)
{
    if (n->taken > 0) {
        n->c.size -= n->taken;
        memmove(n->c.in, n->c.in + n->taken, n->c.size);
        n->taken = 0;
    }
    for (;;) {
        struct assent_bytes body;
        int64_t size = frame_next((struct assent_bytes){(uint8_t *)n->c.in, n->c.size}, &body);
        assert_true(size >= 0);
        if (size > 0) {
            n->taken = (size_t)size;
            assert_true(frame_decode(&n->arena, body, &n->kind, &n->id, &n->list));
            return true;
        }
        if (!client_more(&n->c))
            return false;
    }
}

static void put_hello(struct native *n, const char *magic, uint64_t version)
{
    size_t mark = frame_open(&n->w, FRAME_HELLO, 1, 3);
    codec_cstr(&n->w, magic);
    codec_uint(&n->w, version);
    codec_cstr(&n->w, "test");
    frame_close(&n->w, mark);
}

static void connect_raw(struct native *n, int node)
{
    memset(n, 0, sizeof *n);
    codec_writer_init(&n->w);
    codec_arena_init(&n->arena);
    client_open(&n->c, &h, node, true);
}

static void connect_native(struct native *n, int node)
{
    connect_raw(n, node);
    put_hello(n, "assent", FRAME_VERSION);
    flush(n);
    assert_true(next(n));
    assert_int_equal(n->kind, FRAME_WELCOME);
}

static void disconnect(struct native *n)
{
    client_close(&n->c);
    codec_writer_close(&n->w);
    codec_arena_close(&n->arena);
    harness_settle(&h);
}

static void put_bin(struct native *n, enum frame_kind kind, uint64_t id, struct codec_writer *inner)
{
    size_t mark = frame_open(&n->w, kind, id, kind == FRAME_QUERY ? 2 : 1);
    codec_bin(&n->w, codec_written(inner));
    if (kind == FRAME_QUERY)
        codec_bool(&n->w, false);
    frame_close(&n->w, mark);
    codec_writer_close(inner);
}

static void put_command(struct native *n, uint64_t id, uint32_t type, const char *name)
{
    struct codec_writer inner;
    struct command_session none = {.kind = SESSION_NONE};
    codec_writer_init(&inner);
    command_begin(&inner, type, &none, 1);
    codec_cstr(&inner, name);
    put_bin(n, FRAME_COMMAND, id, &inner);
}

static void put_query(struct native *n, uint64_t id, const char *name)
{
    struct codec_writer inner;
    struct command_session none = {.kind = SESSION_NONE};
    codec_writer_init(&inner);
    command_begin(&inner, QUERY_LAMPORT, &none, 1);
    codec_cstr(&inner, name);
    put_bin(n, FRAME_QUERY, id, &inner);
}

static void put_tso(struct native *n, uint64_t id, uint64_t count, bool strict)
{
    size_t mark = frame_open(&n->w, FRAME_TSO, id, 2);
    codec_uint(&n->w, count);
    codec_bool(&n->w, strict);
    frame_close(&n->w, mark);
}

/* ---- claims ---- */

static void the_greeting_tells_who_leads(void **state)
{
    (void)state;
    struct native n;
    connect_native(&n, 1);
    assert_int_equal(codec_as_uint(codec_at(n.list, 2)), FRAME_VERSION);
    assert_int_equal(codec_as_uint(codec_at(n.list, 3)), 0xc0ffee);
    assert_int_equal(codec_as_uint(codec_at(n.list, 4)), 2);
    struct assent_bytes leader = codec_as_bytes(codec_at(n.list, 5));
    const char *address = rpc_address(h.node[0].rpc);
    assert_int_equal(leader.size, strlen(address));
    assert_memory_equal(leader.base, address, leader.size);
    assert_false(codec_as_bool(codec_at(n.list, 6)));
    disconnect(&n);
}

static void pipelined_commands_are_all_answered(void **state)
{
    (void)state;
    enum { COMMANDS = 500 }; /* many times what may be under way */
    static bool seen[COMMANDS + 10];
    struct native n;
    connect_native(&n, 0);
    for (uint64_t i = 10; i < COMMANDS + 10; i++)
        put_command(&n, i, COMMAND_LAMPORT_TICK, "pipe");
    flush(&n);
    for (int i = 0; i < COMMANDS; i++) {
        assert_true(next(&n));
        assert_int_equal(n.kind, FRAME_RESULT);
        assert_in_range(n.id, 10, COMMANDS + 9);
        assert_false(seen[n.id]);
        seen[n.id] = true;
        const struct codec_node *result = codec_at(n.list, 4);
        assert_int_equal(codec_as_uint(codec_at(result, 0)), ASSENT_OK);
        assert_true(codec_as_uint(codec_at(n.list, 2)) > 0);
    }
    put_query(&n, 5, "pipe");
    flush(&n);
    assert_true(next(&n));
    assert_int_equal(n.id, 5);
    assert_int_equal(codec_as_uint(codec_get(codec_at(codec_at(n.list, 4), 1), "value")), COMMANDS);
    disconnect(&n);
}

static void a_follower_names_the_leader_but_answers_queries(void **state)
{
    (void)state;
    struct native n;
    connect_native(&n, 1);
    put_command(&n, 7, COMMAND_LAMPORT_TICK, "x");
    flush(&n);
    assert_true(next(&n));
    assert_int_equal(n.kind, FRAME_FAILED);
    assert_int_equal(n.id, 7);
    assert_int_equal(codec_as_uint(codec_at(n.list, 2)), ASSENT_NOT_LEADER);
    assert_int_equal(codec_kind(codec_at(n.list, 4)), CODEC_TEXT);
    put_tso(&n, 8, 1, true);
    flush(&n);
    assert_true(next(&n));
    assert_int_equal(codec_as_uint(codec_at(n.list, 2)), ASSENT_NOT_LEADER);
    put_query(&n, 9, "pipe");
    flush(&n);
    assert_true(next(&n));
    assert_int_equal(n.kind, FRAME_RESULT);
    disconnect(&n);
}

static void timestamps_never_fall(void **state)
{
    (void)state;
    struct native n;
    uint64_t last = 0;
    connect_native(&n, 0);
    for (uint64_t i = 0; i < 50; i++)
        put_tso(&n, i, 1000, i % 2 == 0);
    flush(&n);
    uint64_t firsts[50];
    for (int i = 0; i < 50; i++) {
        assert_true(next(&n));
        assert_int_equal(n.kind, FRAME_TSO_OK);
        firsts[n.id] = codec_as_uint(codec_at(n.list, 2));
        assert_int_equal(codec_as_uint(codec_at(n.list, 3)), 1000);
    }
    for (int i = 0; i < 50; i += 2) { /* those of one kind come in order */
        assert_true(firsts[i] > last);
        last = firsts[i] + 999;
    }
    put_tso(&n, 99, 0, true);
    flush(&n);
    assert_true(next(&n));
    assert_int_equal(n.kind, FRAME_FAILED);
    assert_int_equal(codec_as_uint(codec_at(n.list, 2)), ASSENT_INVALID);
    disconnect(&n);
}

static void refusals_and_bad_commands_are_told_apart(void **state)
{
    (void)state;
    struct native n;
    connect_native(&n, 0);
    put_command(&n, 1, COMMAND_TXN_COMMIT, "no-such-xid"); /* a refusal of the state machine */
    put_command(&n, 2, COMMAND_LAMPORT_TICK, "");          /* refused by the door */
    put_command(&n, 3, COMMAND_TSO_WINDOW, "1");           /* internal */
    struct codec_writer inner;
    codec_writer_init(&inner);
    codec_byte(&inner, 0xc1);
    put_bin(&n, FRAME_COMMAND, 4, &inner);
    flush(&n);
    for (int i = 0; i < 4; i++) {
        assert_true(next(&n));
        if (n.id == 1) {
            assert_int_equal(n.kind, FRAME_RESULT);
            assert_int_equal(codec_as_uint(codec_at(codec_at(n.list, 4), 0)), ASSENT_TXN_NOT_FOUND);
        } else {
            assert_int_equal(n.kind, FRAME_FAILED);
            assert_int_not_equal(codec_as_uint(codec_at(n.list, 2)), ASSENT_OK);
        }
    }
    disconnect(&n);
}

static void what_is_no_frame_ends_the_connection(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        bool greeted;
    } rows[] = {
        {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, false},
        {"\0\0\0\0", 4, false},
        {"\xff\xff\xff\xff", 4, true},
        {"\0\0\0\1\xc1", 5, false},
        {"\0\0\0\3\x92\x03\x01", 7, true},  /* COMMAND without its value */
        {"\0\0\0\3\x92\x63\x01", 7, true},  /* unknown kind */
        {"\0\0\0\3\x92\x09\x01", 7, false}, /* PING before HELLO */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct native n;
        if (rows[i].greeted)
            connect_native(&n, 0);
        else
            connect_raw(&n, 0);
        client_send(&n.c, rows[i].bytes, rows[i].size);
        bool failed = next(&n) && n.kind == FRAME_FAILED;
        assert_true(failed);
        assert_int_equal(codec_as_uint(codec_at(n.list, 2)), ASSENT_PROTOCOL);
        assert_false(next(&n));
        assert_true(n.c.closed);
        disconnect(&n);
    }
}

static void other_versions_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *magic;
        uint64_t version;
    } rows[] = {{"assent", 2}, {"other!", 1}, {"", 1}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct native n;
        connect_raw(&n, 0);
        put_hello(&n, rows[i].magic, rows[i].version);
        flush(&n);
        assert_true(next(&n));
        assert_int_equal(n.kind, FRAME_FAILED);
        assert_false(next(&n));
        disconnect(&n);
    }
}

static void connections_are_limited(void **state)
{
    (void)state;
    struct native n[8], more;
    for (int i = 0; i < 8; i++)
        connect_native(&n[i], 0);
    connect_raw(&more, 0);
    assert_false(next(&more));
    disconnect(&more);
    for (int i = 0; i < 8; i++)
        disconnect(&n[i]);
}

static void answers_to_a_gone_client_are_dropped(void **state)
{
    (void)state;
    struct native n;
    fake_hold(h.node[0].log);
    connect_native(&n, 0);
    for (uint64_t i = 0; i < 10; i++)
        put_command(&n, i, COMMAND_LAMPORT_TICK, "gone");
    flush(&n);
    harness_settle(&h);
    disconnect(&n);
    fake_release(h.node[0].log, ASSENT_OK);
    harness_settle(&h);
    struct rpc_metrics m;
    rpc_metrics(h.node[0].rpc, &m);
    assert_int_equal(m.in_flight, 0);
    connect_native(&n, 0);
    size_t mark = frame_open(&n.w, FRAME_PING, 77, 0);
    frame_close(&n.w, mark);
    flush(&n);
    assert_true(next(&n));
    assert_int_equal(n.kind, FRAME_PONG);
    assert_true(codec_as_bool(codec_at(n.list, 3)));
    disconnect(&n);
}

static void a_lost_command_is_an_unknown_outcome(void **state)
{
    (void)state;
    struct native n;
    connect_native(&n, 0);
    fake_hold(h.node[0].log);
    put_command(&n, 1, COMMAND_LAMPORT_TICK, "lost");
    flush(&n);
    harness_settle(&h);
    fake_release(h.node[0].log, ASSENT_UNKNOWN_OUTCOME);
    assert_true(next(&n));
    assert_int_equal(codec_as_uint(codec_at(n.list, 2)), ASSENT_UNKNOWN_OUTCOME);
    disconnect(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_greeting_tells_who_leads),
        cmocka_unit_test(pipelined_commands_are_all_answered),
        cmocka_unit_test(a_follower_names_the_leader_but_answers_queries),
        cmocka_unit_test(timestamps_never_fall),
        cmocka_unit_test(refusals_and_bad_commands_are_told_apart),
        cmocka_unit_test(what_is_no_frame_ends_the_connection),
        cmocka_unit_test(other_versions_are_refused),
        cmocka_unit_test(connections_are_limited),
        cmocka_unit_test(answers_to_a_gone_client_are_dropped),
        cmocka_unit_test(a_lost_command_is_an_unknown_outcome),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
