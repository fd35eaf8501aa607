/* The blocking face: several threads, one connection, a node in a thread of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"
#include "stub.h"

#define THREADS 6
#define CALLS   150

/* The node's thread; the test looks at the stub only after it ended. */
struct world {
    uv_loop_t loop;
    uv_async_t stop, kick;
    uv_thread_t thread;
    struct stub_model model;
    struct stub stub;
    struct assent_options options;
    struct assent_client *client;
    bool stopped;
};

static void stop_cb(uv_async_t *handle)
{
    struct world *w = handle->data;
    stub_close(&w->stub);
    uv_close((uv_handle_t *)&w->stop, NULL);
    uv_close((uv_handle_t *)&w->kick, NULL);
}

static void kick_cb(uv_async_t *handle)
{
    struct world *w = handle->data;
    stub_hang_up(&w->stub);
}

static void node_main(void *data)
{
    struct world *w = data;
    uv_run(&w->loop, UV_RUN_DEFAULT);
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    uv_loop_init(&w->loop);
    uv_async_init(&w->loop, &w->stop, stop_cb);
    uv_async_init(&w->loop, &w->kick, kick_cb);
    w->stop.data = w->kick.data = w;
    stub_open(&w->stub, &w->loop, &w->model);
    assent_options_init(&w->options);
    w->options.endpoints = w->stub.address;
    w->options.timeout_ms = 20000;
    w->options.backoff_min_ms = 1;
    w->options.backoff_max_ms = 5;
    assert_int_equal(assent_open(&w->client, &w->options), ASSENT_OK);
    *state = w;
    return 0;
}

static void start_node(struct world *w)
{
    assert_int_equal(uv_thread_create(&w->thread, node_main, w), 0);
}

static void stop_node(struct world *w)
{
    assent_close(w->client);
    w->client = NULL;
    uv_async_send(&w->stop);
    uv_thread_join(&w->thread);
    w->stopped = true;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    if (!w->stopped) {
        stop_node(w);
    }
    assert_int_equal(uv_loop_close(&w->loop), 0);
    free(w);
    return 0;
}

struct worker {
    struct world *world;
    uv_thread_t thread;
    int wrong;
    uint64_t values[CALLS];
};

static void ticks(void *data)
{
    struct worker *t = data;
    for (int i = 0; i < CALLS; i++) {
        t->wrong += assent_clock_lamport_tick(t->world->client, "c", 1, &t->values[i]) != ASSENT_OK;
        if (i % 50 == 25) {
            uv_async_send(&t->world->kick); /* the node drops its connections now and then */
        }
    }
}

static void stamps(void *data)
{
    struct worker *t = data;
    for (int i = 0; i < CALLS; i++) {
        t->wrong += assent_tso_get(t->world->client, 10, &t->values[i]) != ASSENT_OK;
    }
}

static void run_threads(struct world *w, struct worker *workers, uv_thread_cb work)
{
    start_node(w);
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.world = w};
        assert_int_equal(uv_thread_create(&workers[i].thread, work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        uv_thread_join(&workers[i].thread);
        assert_int_equal(workers[i].wrong, 0);
    }
}

static void each_tick_of_many_threads_runs_once(void **state)
{
    struct world *w = *state;
    struct worker *workers = calloc(THREADS, sizeof *workers);
    run_threads(w, workers, ticks);
    bool seen[THREADS * CALLS + 1] = {false};
    for (int t = 0; t < THREADS; t++) {
        for (int i = 0; i < CALLS; i++) {
            uint64_t v = workers[t].values[i];
            assert_in_range(v, 1, THREADS * CALLS);
            assert_false(seen[v]);
            seen[v] = true;
            assert_true(i == 0 || v > workers[t].values[i - 1]);
        }
    }
    struct assent_stats stats;
    assent_stats(w->client, &stats);
    assert_int_equal(stats.answers, THREADS * CALLS);
    stop_node(w);
    assert_int_equal(w->model.executed, THREADS * CALLS);
    free(workers);
}

static void timestamps_of_many_threads_are_disjoint(void **state)
{
    struct world *w = *state;
    struct worker *workers = calloc(THREADS, sizeof *workers);
    run_threads(w, workers, stamps);
    static bool seen[THREADS * CALLS * 10 + 1];
    for (int t = 0; t < THREADS; t++) {
        for (int i = 0; i < CALLS; i++) {
            uint64_t v = workers[t].values[i];
            assert_in_range(v, 1, THREADS * CALLS * 10);
            assert_false(seen[v]);
            seen[v] = true;
            assert_true(i == 0 || v >= workers[t].values[i - 1] + 10);
        }
    }
    free(workers);
}

static struct assent_vector vector_of(struct assent_counter *entries, uint32_t n)
{
    return (struct assent_vector){entries, n, n};
}

static void every_clock_call_has_its_command(void **state)
{
    struct world *w = *state;
    start_node(w);
    struct assent_client *c = w->client;
    uint64_t v, l;
    struct assent_stamp s = {.epoch = 0};
    struct assent_counter entries[] = {{{(const uint8_t *)"a", 1}, 3}};
    struct assent_vector vec = vector_of(entries, 1);
    enum assent_order order;
    bool retired = false;
    assert_int_equal(assent_clock_lamport_sync(c, "c", 9, &v), ASSENT_OK);
    assert_int_equal(v, 1);
    assert_int_equal(assent_clock_lamport_current(c, "c", &v), ASSENT_OK);
    assert_int_equal(assent_sequence_next(c, "s", 5, &v), ASSENT_OK);
    assert_int_equal(v, 2);
    assert_int_equal(assent_clock_vector_tick(c, "c", "n", &s), ASSENT_OK);
    assert_int_equal(s.epoch, 4);
    assert_int_equal(s.vector.n, 2);
    assert_int_equal(assent_vector_get(&s.vector, (struct assent_bytes){(const uint8_t *)"b", 1}), 3);
    assert_int_equal(assent_clock_vector_sync(c, "c", "n", &s.vector, s.epoch, &s), ASSENT_OK);
    assert_int_equal(assent_clock_vector_current(c, "c", &s), ASSENT_OK);
    assert_int_equal(assent_clock_vector_join(c, "c", "n", &s), ASSENT_OK);
    assert_int_equal(assent_clock_vector_retire(c, "c", "n", &retired), ASSENT_OK);
    assert_true(retired);
    assert_int_equal(assent_clock_vector_observe(c, "c", "n", &vec, 1, NULL), ASSENT_OK);
    assert_int_equal(assent_clock_vector_compare(c, "c", &vec, 1, &vec, 2, &order), ASSENT_OK);
    assert_int_equal(order, ASSENT_CONCURRENT);
    assert_int_equal(assent_clock_version_increment(c, "o", "n", "{}", &vec, &s), ASSENT_OK);
    assert_int_equal(assent_clock_version_merge(c, "o", &vec, "n", NULL, &s), ASSENT_OK);
    assert_int_equal(assent_clock_version_resolve(c, "o", "n", "1", &vec, &s), ASSENT_OK);
    assert_int_equal(assent_clock_version_current(c, "o", &s), ASSENT_OK);
    assert_int_equal(assent_clock_version_compare(c, &vec, &vec, &order), ASSENT_OK);
    assent_stamp_close(&s);
    assert_null(s.vector.entries);
    struct assent_event e = {.event_id = "e", .node = "n", .data_json = "[]", .time_us = 5, .lamport = 6};
    assert_int_equal(assent_clock_event_create(c, &e, &v, &l), ASSENT_OK);
    assert_int_equal(assent_clock_event_sync(c, &e, &v, &l), ASSENT_OK);
    assert_int_equal(assent_clock_event_compare(c, "e", "f", &order), ASSENT_OK);
}

static void every_transaction_call_has_its_command(void **state)
{
    struct world *w = *state;
    start_node(w);
    char xid[ASSENT_XID_BYTES_MAX + 1], status[6];
    struct assent_txn_options o = {.xid = "x", .mode = "tcc", .timeout_ms = 5, .custom_data_json = "{}"};
    assert_int_equal(assent_txn_begin(w->client, &o, xid), ASSENT_OK);
    assert_string_equal(xid, "tag-1");
    assert_int_equal(assent_txn_begin(w->client, NULL, xid), ASSENT_OK);
    struct assent_txn_branch b = {
        .branch = "b", .confirm_url = "http://c", .cancel_url = "http://d", .timeout_ms = 9};
    assert_int_equal(assent_txn_branch(w->client, xid, &b), ASSENT_OK);
    assert_int_equal(assent_txn_commit(w->client, xid), ASSENT_OK);
    assert_int_equal(assent_txn_rollback(w->client, xid, "why"), ASSENT_TXN_DECIDED);
    assert_int_equal(assent_txn_status(w->client, xid, status, sizeof status), ASSENT_OK);
    assert_string_equal(status, "COMMI");
}

#define sent(w, call, type)                                                                                  \
    do {                                                                                                     \
        assert_int_equal(call, ASSENT_OK);                                                                   \
        assert_int_equal((w)->stub.last_type, type);                                                         \
    } while (0)

/* The node decodes each against its schema, so a wrong field or a missing one ends the test. */
static void every_mode_has_its_calls(void **state)
{
    struct world *w = *state;
    start_node(w);
    struct assent_client *c = w->client;
    char xid[ASSENT_XID_BYTES_MAX + 1];
    struct assent_txn_options o = {
        .xid = "x", .business_type = "b", .business_key = "k", .timeout_ms = 5, .custom_data_json = "{}"};
    struct assent_step steps[] = {
        {.branch = "s",
         .action_url = "http://a",
         .compensate_url = "http://c",
         .payload_json = "{\"n\":1}",
         .timeout_ms = 7,
         .acknowledge_ms = 8,
         .retry_limit = 9},
        {.action_url = "topic://t"},
    };
    struct assent_saga_options saga = {.concurrent = true, .on_failure = "suspend", .retry_limit = 3};
    struct assent_message_options message = {.concurrent = true, .query_url = "http://q", .delay_ms = 4};
    struct assent_workflow workflow = {.name = "w", .callback_url = "http://w", .data_json = "[]"};
    sent(w, assent_saga_submit(c, &o, &saga, steps, 2, xid), COMMAND_SAGA_SUBMIT);
    assert_string_equal(xid, "tag-1");
    sent(w, assent_saga_submit(c, NULL, NULL, steps, 1, NULL), COMMAND_SAGA_SUBMIT);
    sent(w, assent_message_prepare(c, &o, &message, steps, 2, xid), COMMAND_MESSAGE_PREPARE);
    sent(w, assent_message_submit(c, &o, NULL, NULL, 0, NULL), COMMAND_MESSAGE_SUBMIT);
    sent(w, assent_topic_subscribe(c, "t", "http://s", "why"), COMMAND_TOPIC_SUBSCRIBE);
    sent(w, assent_topic_subscribe(c, "t", "http://s", NULL), COMMAND_TOPIC_SUBSCRIBE);
    sent(w, assent_topic_unsubscribe(c, "t", "http://s"), COMMAND_TOPIC_UNSUBSCRIBE);
    sent(w, assent_topic_remove(c, "t"), COMMAND_TOPIC_REMOVE);
    sent(w, assent_acknowledge(c, "x", "s", false, "no stock"), COMMAND_BRANCH_ACKNOWLEDGE);
    sent(w, assent_acknowledge(c, "x", "s", true, NULL), COMMAND_BRANCH_ACKNOWLEDGE);
    struct assent_reply reply;
    sent(w, assent_workflow_prepare(c, &o, &workflow, xid, &reply), COMMAND_WORKFLOW_PREPARE);
    assert_int_equal(assent_value_kind(assent_value_get(reply.data, "status")), ASSENT_VALUE_TEXT);
    assent_reply_close(&reply);
    sent(w, assent_workflow_prepare(c, NULL, &workflow, NULL, NULL), COMMAND_WORKFLOW_PREPARE);
    sent(w, assent_workflow_step(c, "x", "01", "action", true, "{}"), COMMAND_WORKFLOW_STEP);
    sent(w, assent_workflow_end(c, "x", false, "why", "{}"), COMMAND_WORKFLOW_END);
    sent(w, assent_business_execute(c, &o, "{\"amount\":1}", xid), COMMAND_BUSINESS_EXECUTE);
    sent(w, assent_txn_act(c, "x", "skip", "me", "because", "s"), COMMAND_TXN_ACT);
}

/* The letters are what the node answers, first to the freeze, then to each look at it. */
static void a_freeze_returns_when_it_is_granted_or_cannot_be(void **state)
{
    static const struct {
        enum assent_freeze_mode mode;
        const char *answers;
        int code;
    } rows[] = {
        {ASSENT_FREEZE_SHARED, "S", ASSENT_OK},      {ASSENT_FREEZE_SHARED, "X", ASSENT_OK},
        {ASSENT_FREEZE_EXCLUSIVE, "X", ASSENT_OK},   {ASSENT_FREEZE_EXCLUSIVE, "WWX", ASSENT_OK},
        {ASSENT_FREEZE_EXCLUSIVE, "UUX", ASSENT_OK}, {ASSENT_FREEZE_EXCLUSIVE, "US", ASSENT_FROZEN},
        {ASSENT_FREEZE_SHARED, "WT", ASSENT_FROZEN},
    };
    struct world *w = *state;
    static char answers[32];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        strcat(answers, rows[i].answers);
    w->stub.freezes = answers;
    start_node(w);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t token = 0;
        assert_int_equal(assent_freeze(w->client, "x", "account:7", rows[i].mode, 1000, &token),
                         rows[i].code);
        assert_int_equal(token, rows[i].code == ASSENT_OK ? 97 : 0);
    }
    assert_int_equal(assent_unfreeze(w->client, "x", "account:7"), ASSENT_OK);
}

static void a_reply_is_the_callers_own(void **state)
{
    struct world *w = *state;
    start_node(w);
    struct assent_request *r = assent_request_command("txn_rollback");
    (void)assent_request_text(r, "xid", "x");
    struct assent_reply reply;
    assert_int_equal(assent_call(w->client, r, 0, &reply), ASSENT_TXN_DECIDED);
    assert_string_equal(reply.detail, "it was \"decided\"");
    assert_null(reply.data);
    assent_reply_close(&reply);
    assent_request_close(r);
    r = assent_request_command("lamport_tick");
    assert_int_equal(assent_call(w->client, r, 0, &reply), ASSENT_OK);
    assert_int_equal(assent_call(w->client, r, 0, NULL), ASSENT_OK);
    assert_int_equal(assent_value_uint(assent_value_get(reply.data, "value")), 2);
    assert_int_equal(assent_value_uint(assent_value_get(reply.data, "absent")), 0);
    assent_reply_close(&reply);
    assent_request_close(r);
}

static void late(void *data)
{
    struct worker *t = data;
    t->wrong = assent_clock_lamport_tick(t->world->client, "c", 1, NULL);
}

static void closing_wakes_the_threads_that_wait(void **state)
{
    struct world *w = *state;
    w->stub.mute = true;
    start_node(w);
    struct worker t = {.world = w};
    assert_int_equal(uv_thread_create(&t.thread, late, &t), 0);
    struct assent_stats stats = {0};
    while (stats.calls == 0) { /* until the call has begun */
        assent_stats(w->client, &stats);
    }
    stop_node(w);
    uv_thread_join(&t.thread);
    assert_true(t.wrong == ASSENT_CLOSED || t.wrong == ASSENT_UNKNOWN_OUTCOME);
}

static void bad_options_open_nothing(void **state)
{
    struct world *w = *state;
    start_node(w);
    struct assent_options o = w->options;
    struct assent_client *c;
    o.endpoints = "nowhere";
    assert_int_equal(assent_open(&c, &o), ASSENT_INVALID);
    assert_null(c);
    assent_close(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_tick_of_many_threads_runs_once),
        TEST(timestamps_of_many_threads_are_disjoint),
        TEST(every_clock_call_has_its_command),
        TEST(every_transaction_call_has_its_command),
        TEST(every_mode_has_its_calls),
        TEST(a_freeze_returns_when_it_is_granted_or_cannot_be),
        TEST(a_reply_is_the_callers_own),
        TEST(closing_wakes_the_threads_that_wait),
        TEST(bad_options_open_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
