/* The asynchronous client against scripted nodes: redirects, repetitions, broken nodes, limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"
#include "stub.h"

/* One loop, two nodes with one state, a client; answers are collected. */
struct world {
    uv_loop_t loop;
    struct stub_model model;
    struct stub a, b;
    struct assent_options options;
    char endpoints[80];
    struct assent_async *c;
    struct assent_request *tick, *look;
    int answers;
    int codes[4096];
    uint64_t values[4096];
    struct assent_async *extra;
    int more; /* calls to make from callbacks */
};

static void open_client(struct world *w)
{
    assert_int_equal(assent_async_open(&w->c, &w->loop, &w->options), ASSENT_OK);
    w->c->link.cursor = 0; /* begin with the first endpoint: the scripts count on it */
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    uv_loop_init(&w->loop);
    stub_open(&w->a, &w->loop, &w->model);
    stub_open(&w->b, &w->loop, &w->model);
    (void)snprintf(w->endpoints, sizeof w->endpoints, "%s,%s", w->a.address, w->b.address);
    assent_options_init(&w->options);
    w->options.endpoints = w->endpoints;
    w->options.timeout_ms = 20000; /* a broken test ends by ctest's limit, not by ours */
    w->options.backoff_min_ms = 1;
    w->options.backoff_max_ms = 5;
    open_client(w);
    w->tick = assent_request_command("lamport_tick");
    w->look = assent_request_query("lamport");
    *state = w;
    return 0;
}

static void gone(void *data)
{
    *(bool *)data = true;
}

static void close_client(struct world *w)
{
    bool closed = false;
    assent_async_close(w->c, gone, &closed);
    while (!closed) {
        uv_run(&w->loop, UV_RUN_ONCE);
    }
    w->c = NULL;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    if (w->c != NULL) {
        close_client(w);
    }
    stub_close(&w->a);
    stub_close(&w->b);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    assent_request_close(w->tick);
    assent_request_close(w->look);
    free(w);
    return 0;
}

static void collect(void *data, const struct assent_reply *reply)
{
    struct world *w = data;
    w->codes[w->answers] = reply->code;
    w->values[w->answers++] =
        reply->first != 0 ? reply->first : assent_value_uint(assent_value_get(reply->data, "value"));
}

static void call(struct world *w, const struct assent_request *r, uint32_t timeout_ms)
{
    assert_int_equal(assent_async_call(w->c, r, timeout_ms, collect, w), ASSENT_OK);
}

static void run_until(struct world *w, int answers)
{
    while (w->answers < answers) {
        uv_run(&w->loop, UV_RUN_ONCE);
    }
}

static int one(struct world *w, const struct assent_request *r, uint32_t timeout_ms)
{
    int n = w->answers;
    call(w, r, timeout_ms);
    run_until(w, n + 1);
    return w->codes[n];
}

static void a_command_runs_under_a_session(void **state)
{
    struct world *w = *state;
    assert_int_equal(one(w, w->tick, 0), ASSENT_OK);
    assert_int_equal(one(w, w->tick, 0), ASSENT_OK);
    assert_int_equal(w->values[1], 2);
    assert_int_equal(w->a.session_opens, 1);
    assert_int_equal(w->a.commands, 2);
    assert_int_equal(w->model.acknowledged, 1);
    assert_int_equal(w->b.hellos, 0);
}

static void a_follower_sends_us_to_the_leader(void **state)
{
    struct world *w = *state;
    w->a.leads = false;
    (void)strcpy(w->a.leader, w->b.address);
    assert_int_equal(one(w, w->tick, 0), ASSENT_OK);
    assert_int_equal(w->a.commands, 0);
    assert_int_equal(w->b.commands, 1);
    struct assent_stats stats;
    assent_async_stats(w->c, &stats);
    assert_int_equal(stats.redirects, 1);
}

static void a_leader_outside_the_list_is_found(void **state)
{
    struct world *w = *state;
    close_client(w);
    w->options.endpoints = w->a.address;
    open_client(w);
    w->a.leads = false;
    (void)strcpy(w->a.leader, w->b.address);
    assert_int_equal(one(w, w->tick, 0), ASSENT_OK);
    assert_int_equal(w->b.commands, 1);
}

static void calls_follow_a_leader_that_steps_down(void **state)
{
    struct world *w = *state;
    assert_int_equal(one(w, w->tick, 0), ASSENT_OK);
    w->a.leads = false;
    (void)strcpy(w->a.leader, w->b.address);
    for (int i = 0; i < 50; i++) {
        call(w, w->tick, 0);
    }
    run_until(w, 51);
    for (int i = 0; i < 51; i++) {
        assert_int_equal(w->codes[i], ASSENT_OK);
    }
    assert_int_equal(w->model.executed, 51);
    assert_int_equal(w->b.commands, 50);
    assert_int_equal(w->a.session_opens + w->b.session_opens, 1); /* sessions survive leaders */
}

static void two_nodes_that_name_each_other_do_not_spin(void **state)
{
    struct world *w = *state;
    w->a.leads = w->b.leads = false;
    (void)strcpy(w->a.leader, w->b.address);
    (void)strcpy(w->b.leader, w->a.address);
    assert_int_equal(one(w, w->tick, 60), ASSENT_NO_LEADER);
    assert_in_range(w->a.hellos + w->b.hellos, 4, 200); /* pauses of 1-5 ms between rounds of three */
    assert_int_equal(w->model.executed, 0);
}

static void an_answer_lost_with_the_connection_is_fetched_again(void **state)
{
    struct world *w = *state;
    assert_int_equal(one(w, w->tick, 0), ASSENT_OK);
    w->a.drop_after = 1;
    assert_int_equal(one(w, w->tick, 0), ASSENT_OK);
    assert_int_equal(w->values[1], 2);
    assert_int_equal(w->model.executed, 2); /* once */
    assert_int_equal(w->model.repeated, 1); /* and asked for twice */
    assert_int_equal(w->a.session_opens + w->b.session_opens, 1);
}

static void a_command_lost_before_it_ran_runs_once(void **state)
{
    struct world *w = *state;
    w->a.drop_before = 2;
    w->b.drop_before = 2;
    assert_int_equal(one(w, w->tick, 0), ASSENT_OK);
    assert_int_equal(w->model.executed, 1);
    assert_int_equal(w->model.repeated, 0);
}

static void many_lost_connections_leave_no_gap_and_no_double(void **state)
{
    struct world *w = *state;
    w->a.drop_each = w->b.drop_each = 37;
    for (int i = 0; i < 300; i++) {
        call(w, w->tick, 0);
    }
    run_until(w, 300);
    bool seen[301] = {false};
    for (int i = 0; i < 300; i++) {
        assert_int_equal(w->codes[i], ASSENT_OK);
        assert_in_range(w->values[i], 1, 300);
        assert_false(seen[w->values[i]]);
        seen[w->values[i]] = true;
    }
    assert_int_equal(w->model.executed, 300);
    assert_true(w->model.repeated > 0);
}

static void without_a_session_a_lost_command_is_of_unknown_outcome(void **state)
{
    struct world *w = *state;
    close_client(w);
    w->options.no_session = true;
    open_client(w);
    w->a.drop_after = 1;
    assert_int_equal(one(w, w->tick, 0), ASSENT_UNKNOWN_OUTCOME);
    assert_int_equal(w->model.executed, 1);
    assert_int_equal(one(w, w->tick, 0), ASSENT_OK);
    assert_int_equal(w->a.session_opens + w->b.session_opens, 0);
}

static void an_expired_session_is_told_and_a_new_one_opened(void **state)
{
    struct world *w = *state;
    assert_int_equal(one(w, w->tick, 0), ASSENT_OK);
    w->a.expire = true;
    assert_int_equal(one(w, w->tick, 0), ASSENT_SESSION_EXPIRED);
    assert_int_equal(w->model.executed, 1); /* never again by itself */
    assert_int_equal(one(w, w->tick, 0), ASSENT_OK);
    assert_int_equal(w->a.session_opens, 2);
}

static void a_session_idle_for_long_is_replaced_before_use(void **state)
{
    struct world *w = *state;
    close_client(w);
    w->options.session_ttl_ms = 1000;
    open_client(w);
    assert_int_equal(one(w, w->tick, 0), ASSENT_OK);
    w->c->session.used_ms -= 501;
    assert_int_equal(one(w, w->tick, 0), ASSENT_OK);
    assert_int_equal(w->a.session_opens, 2);
}

static void a_refused_session_refuses_the_commands(void **state)
{
    struct world *w = *state;
    w->a.refuse_session = ASSENT_LIMIT;
    call(w, w->tick, 0);
    call(w, w->tick, 0);
    run_until(w, 2);
    assert_int_equal(w->codes[0], ASSENT_LIMIT);
    assert_int_equal(w->codes[1], ASSENT_LIMIT);
    assert_int_equal(one(w, w->tick, 0), ASSENT_OK);
}

static void a_limit_that_passes_under_way_is_of_unknown_outcome(void **state)
{
    struct world *w = *state;
    assert_int_equal(one(w, w->tick, 0), ASSENT_OK);
    w->a.mute = true;
    call(w, w->tick, 30);
    call(w, w->look, 30);
    assert_int_equal(assent_async_tso(w->c, 1, 30, collect, w), ASSENT_OK);
    run_until(w, 4);
    int unknown = 0, timeout = 0;
    for (int i = 1; i < 4; i++) {
        unknown += w->codes[i] == ASSENT_UNKNOWN_OUTCOME;
        timeout += w->codes[i] == ASSENT_TIMEOUT;
    }
    assert_int_equal(unknown, 1);
    assert_int_equal(timeout, 2);
    assert_int_equal(assent_async_pending(w->c), 0);
}

static void what_never_left_is_known_not_to_have_run(void **state)
{
    struct world *w = *state;
    stub_close(&w->a);
    stub_close(&w->b);
    assert_int_equal(one(w, w->tick, 30), ASSENT_UNREACHABLE);
    assert_int_equal(one(w, w->look, 30), ASSENT_UNREACHABLE);
}

static void a_name_that_does_not_resolve_is_unreachable(void **state)
{
    struct world *w = *state;
    close_client(w);
    w->options.endpoints = "no-such-host.invalid:1";
    open_client(w);
    assert_int_equal(one(w, w->tick, 30), ASSENT_UNREACHABLE);
}

static void bytes_that_are_no_frame_end_the_connection(void **state)
{
    struct world *w = *state;
    w->a.garbage = 1;
    assert_int_equal(one(w, w->tick, 0), ASSENT_OK);
    struct assent_stats stats;
    assent_async_stats(w->c, &stats);
    assert_int_equal(stats.frames_refused, 1);
    assert_int_equal(stats.connections_lost, 1);
}

static void a_result_that_is_none_is_a_protocol_error(void **state)
{
    struct world *w = *state;
    w->a.malformed = 1;
    assert_int_equal(one(w, w->tick, 0), ASSENT_PROTOCOL);
    assert_int_equal(one(w, w->tick, 0), ASSENT_OK);
}

static void a_node_of_another_version_is_not_used(void **state)
{
    struct world *w = *state;
    w->a.version = FRAME_VERSION + 1;
    assert_int_equal(one(w, w->tick, 0), ASSENT_OK);
    assert_int_equal(w->a.commands, 0);
    stub_close(&w->b);
    stub_hang_up(&w->b);
    assert_int_equal(one(w, w->tick, 50) != ASSENT_OK, 1);
}

static void a_node_that_does_not_greet_is_left(void **state)
{
    struct world *w = *state;
    close_client(w);
    w->options.connect_timeout_ms = 20;
    open_client(w);
    w->a.no_welcome = true;
    assert_int_equal(one(w, w->tick, 0), ASSENT_OK);
    assert_int_equal(w->b.commands, 1);
}

static void a_silent_node_is_asked_then_left(void **state)
{
    struct world *w = *state;
    close_client(w);
    w->options.silence_ms = 20;
    open_client(w);
    assert_int_equal(one(w, w->tick, 0), ASSENT_OK);
    w->a.deaf = true;
    assert_int_equal(one(w, w->tick, 0), ASSENT_OK);
    assert_int_equal(w->a.pings, 1);
    assert_int_equal(w->b.commands, 1);
}

static void a_slow_node_that_answers_pings_is_kept(void **state)
{
    struct world *w = *state;
    close_client(w);
    w->options.silence_ms = 10;
    open_client(w);
    assert_int_equal(one(w, w->tick, 0), ASSENT_OK);
    w->a.mute = true;
    assert_int_equal(one(w, w->look, 100), ASSENT_TIMEOUT);
    assert_true(w->a.pings >= 2);
    assert_int_equal(w->b.hellos, 0);
}

static void busy_is_tried_again_here(void **state)
{
    struct world *w = *state;
    w->a.fail = 3;
    w->a.fail_code = ASSENT_BUSY;
    assert_int_equal(one(w, w->tick, 0), ASSENT_OK);
    assert_int_equal(w->a.commands, 4);
    assert_int_equal(w->b.hellos, 0);
    close_client(w);
    w->options.backoff_min_ms = w->options.backoff_max_ms = 5000;
    open_client(w);
    w->a.fail = 1;
    assert_int_equal(one(w, w->tick, 200), ASSENT_BUSY); /* nothing happened, and it says so */
}

static void unknown_outcome_is_asked_again_under_the_same_number(void **state)
{
    struct world *w = *state;
    w->a.fail = 2;
    w->a.fail_code = ASSENT_UNKNOWN_OUTCOME;
    assert_int_equal(one(w, w->tick, 0), ASSENT_OK);
    assert_int_equal(w->model.executed, 1);
    assert_int_equal(w->model.acknowledged, 0);
}

static void calls_in_flight_are_bounded(void **state)
{
    struct world *w = *state;
    close_client(w);
    w->options.inflight_max = 3;
    open_client(w);
    for (int i = 0; i < 3; i++) {
        call(w, w->tick, 0);
    }
    assert_int_equal(assent_async_call(w->c, w->tick, 0, collect, w), ASSENT_BUSY);
    assert_int_equal(assent_async_tso(w->c, 1, 0, collect, w), ASSENT_BUSY);
    run_until(w, 3);
    assert_int_equal(one(w, w->tick, 0), ASSENT_OK);
}

static void the_session_window_holds_back_but_all_run(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 4000; i++) {
        call(w, w->tick, 0);
    }
    while (w->c->session.state != SESSION_READY || w->answers == 0) {
        uv_run(&w->loop, UV_RUN_ONCE);
        assert_true(w->c->session.next - w->c->session.acknowledged <= SESSION_WINDOW + 1);
    }
    run_until(w, 4000);
    assert_int_equal(w->model.executed, 4000);
    assert_int_equal(w->model.repeated, 0);
}

static void timestamps_share_frames_and_never_overlap(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(assent_async_tso(w->c, 100, 0, collect, w), ASSENT_OK);
    }
    run_until(w, 1000);
    assert_in_range(w->a.tsos, 1, 10);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(w->codes[i], ASSENT_OK);
        assert_int_equal(w->values[i], 1 + (uint64_t)i * 100);
    }
    assert_int_equal(assent_async_tso(w->c, 0, 0, collect, w), ASSENT_INVALID);
    assert_int_equal(assent_async_tso(w->c, ASSENT_COUNT_MAX + 1, 0, collect, w), ASSENT_INVALID);
}

static void timestamps_granted_short_are_asked_for_again(void **state)
{
    struct world *w = *state;
    w->a.tso_most = 250;
    w->a.fail = 1;
    w->a.fail_code = ASSENT_BUSY;
    for (int i = 0; i < 10; i++) {
        assert_int_equal(assent_async_tso(w->c, 100, 0, collect, w), ASSENT_OK);
    }
    run_until(w, 10);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(w->codes[i], ASSENT_OK);
        assert_true(i == 0 || w->values[i] >= w->values[i - 1] + 100);
    }
}

static void a_stale_query_needs_no_leader(void **state)
{
    struct world *w = *state;
    w->a.leads = w->b.leads = false;
    assent_request_stale(w->look, true);
    assert_int_equal(one(w, w->look, 0), ASSENT_OK);
    assert_int_equal(w->a.queries + w->b.queries, 1);
}

static void closing_answers_every_call(void **state)
{
    struct world *w = *state;
    assert_int_equal(one(w, w->tick, 0), ASSENT_OK);
    w->a.mute = true;
    call(w, w->tick, 0);
    uv_run(&w->loop, UV_RUN_NOWAIT); /* it leaves */
    call(w, w->tick, 0);
    call(w, w->look, 0);
    bool closed = false;
    assent_async_close(w->c, gone, &closed);
    assert_int_equal(assent_async_call(w->c, w->tick, 0, collect, w), ASSENT_CLOSED);
    while (!closed) {
        uv_run(&w->loop, UV_RUN_ONCE);
    }
    w->c = NULL;
    assert_int_equal(w->answers, 4);
    int unknown = 0;
    for (int i = 1; i < 4; i++) {
        assert_true(w->codes[i] == ASSENT_UNKNOWN_OUTCOME || w->codes[i] == ASSENT_CLOSED);
        unknown += w->codes[i] == ASSENT_UNKNOWN_OUTCOME;
    }
    assert_int_equal(unknown, 1);
}

static void closing_ends_the_session(void **state)
{
    struct world *w = *state;
    assert_int_equal(one(w, w->tick, 0), ASSENT_OK);
    close_client(w);
    while (w->a.session_closes == 0) {
        uv_run(&w->loop, UV_RUN_ONCE);
    }
}

static void call_again(void *data, const struct assent_reply *reply)
{
    struct world *w = data;
    collect(data, reply);
    if (w->more-- > 0) {
        assert_int_equal(assent_async_call(w->c, w->tick, 0, call_again, w), ASSENT_OK);
    } else {
        assent_async_close(w->c, NULL, NULL);
    }
}

static void callbacks_may_call_and_close(void **state)
{
    struct world *w = *state;
    w->more = 20;
    assert_int_equal(assent_async_call(w->c, w->tick, 0, call_again, w), ASSENT_OK);
    run_until(w, 21);
    w->c = NULL;
    assert_int_equal(w->model.executed, 21);
}

static void an_idle_client_does_not_hold_the_loop(void **state)
{
    struct world *w = *state;
    assert_int_equal(one(w, w->tick, 0), ASSENT_OK);
    uv_unref((uv_handle_t *)&w->a.listener);
    uv_unref((uv_handle_t *)&w->b.listener);
    stub_hang_up(&w->a); /* or the stub's end would hold it */
    assert_int_equal(uv_run(&w->loop, UV_RUN_DEFAULT), 0);
    uv_ref((uv_handle_t *)&w->a.listener);
    uv_ref((uv_handle_t *)&w->b.listener);
    assert_int_equal(one(w, w->tick, 0), ASSENT_OK); /* and comes back when called */
}

static void options_out_of_range_are_refused(void **state)
{
    struct world *w = *state;
    struct assent_options o;
    struct assent_async *c;
    for (int i = 0; i < 6; i++) {
        o = w->options;
        char name[200];
        memset(name, 'x', sizeof name - 1);
        name[199] = '\0';
        o.endpoints = i == 0 ? NULL : i == 1 ? "nothing" : o.endpoints;
        o.inflight_max = i == 2 ? 0 : i == 3 ? ASSENT_INFLIGHT_MAX + 1 : 1;
        o.timeout_ms = i == 4 ? 0 : 1;
        o.name = i == 5 ? name : NULL;
        assert_int_equal(assent_async_open(&c, &w->loop, &o), ASSENT_INVALID);
        assert_null(c);
    }
}

static void a_command_above_the_limit_is_refused(void **state)
{
    struct world *w = *state;
    char *json = malloc(ASSENT_COMMAND_BYTES_MAX + 1);
    memset(json, '1', ASSENT_COMMAND_BYTES_MAX);
    json[ASSENT_COMMAND_BYTES_MAX] = '\0';
    struct assent_request *r = assent_request_command("txn_begin");
    assert_int_equal(assent_request_json(r, "customData", json), ASSENT_TOO_LARGE);
    json[ASSENT_COMMAND_BYTES_MAX - 10] = '\0';
    assert_int_equal(assent_request_json(r, "customData", json), ASSENT_OK);
    assert_int_equal(assent_async_call(w->c, r, 0, collect, w), ASSENT_TOO_LARGE);
    assent_request_close(r);
    free(json);
}

static void see_begin(void *data, const struct assent_reply *reply)
{
    collect(data, reply);
    assert_int_equal(reply->index, 41);
    assert_int_equal(reply->term, 3);
    char *json = assent_value_json(reply->data);
    assert_non_null(strstr(json, "\"vector\":{\"a\":1,\"b\":1}"));
    assert_non_null(strstr(json, "\"xid\":\"tag-1\""));
    free(json);
}

static void a_request_is_built_by_names(void **state)
{
    struct world *w = *state;
    assert_null(assent_request_command("no_such"));
    assert_null(assent_request_command("tso_window")); /* the nodes' own */
    assert_null(assent_request_query("lamport_tick"));
    struct assent_request *r = assent_request_command("txn_begin");
    assert_int_equal(assent_request_text(r, "xid", "x1"), ASSENT_OK);
    assert_int_equal(assent_request_text(r, "xid", "x2"), ASSENT_OK);
    assert_int_equal(assent_request_uint(r, "xid", 1), ASSENT_INVALID);
    assert_int_equal(assent_request_uint(r, "nothing", 1), ASSENT_INVALID);
    assert_int_equal(assent_request_json(r, "customData", "{\"a\":[1]}"), ASSENT_OK);
    for (int i = 0; i < 3; i++) {
        struct assent_request *b = assent_request_add_object(r, "branches");
        const char name[] = {'b', (char)('0' + i), '\0'};
        assert_int_equal(assent_request_text(b, "branch", name), ASSENT_OK);
        assert_int_equal(assent_request_text(b, "confirmUrl", "http://x/c"), ASSENT_OK);
        assert_int_equal(assent_request_text(b, "cancelUrl", "http://x/d"), ASSENT_OK);
        assert_int_equal(assent_request_pair(b, "headers", "k", "v"), ASSENT_OK);
        assert_int_equal(assent_request_pair(b, "headers", "l", "w"), ASSENT_OK);
    }
    assert_int_equal(assent_async_call(w->c, r, 0, see_begin, w), ASSENT_OK);
    run_until(w, 1); /* the stub's decoder checks it against the schema */
    assert_int_equal(w->codes[0], ASSENT_OK);
    assert_int_equal(w->a.last_type, COMMAND_TXN_BEGIN);
    assent_request_close(r);
    r = assent_request_query("version_compare");
    struct assent_counter entries[] = {{{(const uint8_t *)"n", 1}, 3}};
    struct assent_vector v = {entries, 1, 1};
    assert_int_equal(assent_request_vector(r, "a", &v), ASSENT_OK);
    assert_int_equal(assent_request_vector(r, "b", &v), ASSENT_OK);
    assert_int_equal(one(w, r, 0), ASSENT_OK);
    assent_request_close(r);
}

static void an_answer_that_comes_too_late_is_dropped(void **state)
{
    struct world *w = *state;
    assert_int_equal(one(w, w->tick, 0), ASSENT_OK);
    call(w, w->tick, 0);
    while (ring_empty(&w->c->sent)) {
        uv_run(&w->loop, UV_RUN_NOWAIT);
    }
    w->c->heap[0]->deadline_ms = 0; /* its time is up while the answer travels */
    w->c->timer.timer_cb(&w->c->timer);
    assert_int_equal(w->answers, 2);
    assert_int_equal(w->codes[1], ASSENT_UNKNOWN_OUTCOME);
    assert_int_equal(one(w, w->tick, 0), ASSENT_OK);
    assert_int_equal(w->values[2], 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_command_runs_under_a_session),
        TEST(a_follower_sends_us_to_the_leader),
        TEST(a_leader_outside_the_list_is_found),
        TEST(calls_follow_a_leader_that_steps_down),
        TEST(two_nodes_that_name_each_other_do_not_spin),
        TEST(an_answer_lost_with_the_connection_is_fetched_again),
        TEST(a_command_lost_before_it_ran_runs_once),
        TEST(many_lost_connections_leave_no_gap_and_no_double),
        TEST(without_a_session_a_lost_command_is_of_unknown_outcome),
        TEST(an_expired_session_is_told_and_a_new_one_opened),
        TEST(a_session_idle_for_long_is_replaced_before_use),
        TEST(a_refused_session_refuses_the_commands),
        TEST(a_limit_that_passes_under_way_is_of_unknown_outcome),
        TEST(what_never_left_is_known_not_to_have_run),
        TEST(a_name_that_does_not_resolve_is_unreachable),
        TEST(bytes_that_are_no_frame_end_the_connection),
        TEST(a_result_that_is_none_is_a_protocol_error),
        TEST(a_node_of_another_version_is_not_used),
        TEST(a_node_that_does_not_greet_is_left),
        TEST(a_silent_node_is_asked_then_left),
        TEST(a_slow_node_that_answers_pings_is_kept),
        TEST(busy_is_tried_again_here),
        TEST(unknown_outcome_is_asked_again_under_the_same_number),
        TEST(calls_in_flight_are_bounded),
        TEST(the_session_window_holds_back_but_all_run),
        TEST(timestamps_share_frames_and_never_overlap),
        TEST(timestamps_granted_short_are_asked_for_again),
        TEST(a_stale_query_needs_no_leader),
        TEST(closing_answers_every_call),
        TEST(closing_ends_the_session),
        TEST(callbacks_may_call_and_close),
        TEST(an_idle_client_does_not_hold_the_loop),
        TEST(options_out_of_range_are_refused),
        TEST(a_command_above_the_limit_is_refused),
        TEST(a_request_is_built_by_names),
        TEST(an_answer_that_comes_too_late_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
