/* Nodes that cannot hear each other, or stand still for a while: no stale answer, no acknowledged write lost.
 *
 * The cables are those of network.h, so packets vanish as they do behind a dead switch: nobody gets a reset.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "load.h"
#include "network.h"

/* Refusals soon: by default a request is held for seconds in the hope of an answer. */
static const char *const impatient[] = {"--hold-ms", "500", "--request-timeout-ms", "1500", NULL};

static struct cluster c;
static struct network network;
static struct load load;
static bool passed, loaded;

static int setup(void **state)
{
    char why[256];
    (void)state;
    passed = loaded = false;
    load = (struct load){0};
    cluster_init(&c, 3, impatient);
    if (!network_open(&network, &c, why, sizeof(why))) {
        fprintf(stderr, "SKIPPED: partitions are not tried on this machine: %s\n", why);
        network_close(&network);
        cluster_close(&c, false);
        c.n = 0;
        return 0;
    }
    cluster_start_all(&c);
    return cluster_leader(&c) != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    if (c.n == 0)
        return 0;
    for (uint32_t i = 0; i < c.n; i++)
        if (c.nodes[i].pid != 0)
            kill(c.nodes[i].pid, SIGCONT);
    if (loaded)
        load_stop(&load);
    cluster_close(&c, !passed);
    network_close(&network);
    return 0;
}

static void start_load(void)
{
    load_start(&load, &c);
    loaded = true;
    assert_true(load_goes_on(&load, 20));
}

static void end_load(void)
{
    load_stop(&load);
    loaded = false;
    load_check(&load, &c);
}

/* The leader as `asked` sees it; 0: none. */
static uint32_t leader_seen_by(const struct cluster_node *asked)
{
    json_t *view = cluster_view(asked);
    uint32_t id = (uint32_t)json_integer_value(json_object_get(view, "leaderId"));
    json_decref(view);
    return id;
}

/* Wait until another node than `old` leads, as the others than `old` say. */
static struct cluster_node *new_leader(const struct cluster_node *old)
{
    int64_t until = monotonic_ms() + CLUSTER_PATIENCE_MS;
    while (monotonic_ms() < until) {
        for (uint32_t i = 0; i < c.n; i++)
            if (&c.nodes[i] != old && leader_seen_by(&c.nodes[i]) == c.nodes[i].id)
                return &c.nodes[i];
        sleep_ms(10);
    }
    return NULL;
}

/* Ask `node` alone until it answers with this status. */
static void answers(const struct cluster_node *node, const char *method, const char *path, int status)
{
    struct http_answer a = {0};
    int64_t until = monotonic_ms() + CLUSTER_PATIENCE_MS;
    do {
        http_answer_clear(&a);
        json_t *body = strcmp(method, "POST") == 0 ? json_pack("{s:s}", "clock", "probe") : NULL;
        cluster_ask(node, method, path, NULL, body, 15000, &a);
        json_decref(body);
    } while (a.status != status && monotonic_ms() < until);
    assert_int_equal(a.status, status);
    http_answer_clear(&a);
}

/* One linearizable read at `node` after the default clock was ticked to `least`: a value before it would be
 * the past.  True: it answered. */
static bool read_is_no_past(const struct cluster_node *node, long long least)
{
    struct http_answer a;
    cluster_ask(node, "GET", "/lamport/current?clock=default", NULL, NULL, 15000, &a);
    long long value = json_integer_value(json_object_get(json_object_get(a.body, "data"), "value"));
    bool answered = a.status == 200;
    http_answer_clear(&a);
    if (answered)
        assert_true(value >= least);
    return answered;
}

/* A tick that the majority acknowledges: asked of everybody but `cut`. */
static long long tick_elsewhere(const struct cluster_node *cut)
{
    struct endpoints e = {0};
    json_t *data, *body = json_object();
    char error[512];
    for (uint32_t i = 0; i < c.n; i++)
        if (&c.nodes[i] != cut)
            snprintf(e.at[e.n++], sizeof(e.at[0]), "%s:%u", c.nodes[i].host, c.nodes[i].http);
    if (!cluster_call(&e, "POST", "/lamport/tick", body, CLUSTER_PATIENCE_MS, &data, error, sizeof(error)))
        fail_msg("%s", error);
    long long value = json_integer_value(json_object_get(data, "value"));
    json_decref(body);
    json_decref(data);
    return value;
}

static void a_leader_cut_off_in_silence_answers_nothing_stale(void **state)
{
    (void)state;
    if (c.n == 0)
        skip();
    struct cluster_node *old = cluster_leader(&c);
    assert_non_null(old);
    assert_int_equal(cluster_tick(&c), 1);
    start_load();
    network_cut(&network, old, true);
    long long value = tick_elsewhere(old);
    assert_int_equal(value, 2);
    for (int i = 0; i < 4; i++) /* from the first moment on */
        read_is_no_past(old, value);
    assert_non_null(new_leader(old));
    answers(old, "GET", "/lamport/current?clock=default", 503);
    answers(old, "POST", "/lamport/tick", 503);
    assert_false(read_is_no_past(old, value));
    assert_true(load_goes_on(&load, 20));
    network_cut(&network, old, false);
    answers(old, "POST", "/lamport/tick", 200);
    assert_true(read_is_no_past(old, value));
    end_load();
    assert_true(cluster_agrees(&c));
    passed = true;
}

/* The leader's words reach nobody, but it hears everybody: the others elect, and it follows their term. */
static void a_leader_that_nobody_hears_is_replaced(void **state)
{
    (void)state;
    if (c.n == 0)
        skip();
    struct cluster_node *old = cluster_leader(&c);
    assert_non_null(old);
    start_load();
    for (uint32_t i = 0; i < c.n; i++)
        if (&c.nodes[i] != old)
            network_deafen(&network, old, &c.nodes[i], true);
    long long value = tick_elsewhere(old);
    assert_non_null(new_leader(old));
    for (int i = 0; i < 5; i++)
        read_is_no_past(old, value);
    assert_true(load_goes_on(&load, 20));
    for (uint32_t i = 0; i < c.n; i++)
        if (&c.nodes[i] != old)
            network_deafen(&network, old, &c.nodes[i], false);
    answers(old, "POST", "/lamport/tick", 200);
    end_load();
    assert_true(cluster_agrees(&c));
    passed = true;
}

/* One follower cannot hear the leader, yet is heard: pre-vote keeps it from unseating anybody for long. */
static void a_follower_that_hears_no_leader_does_not_stop_the_others(void **state)
{
    (void)state;
    if (c.n == 0)
        skip();
    struct cluster_node *leader = cluster_leader(&c);
    assert_non_null(leader);
    struct cluster_node *deaf = &c.nodes[leader->id % c.n];
    start_load();
    network_deafen(&network, leader, deaf, true);
    answers(deaf, "POST", "/lamport/tick", 503); /* it has noticed */
    assert_true(load_goes_on(&load, 50));
    assert_int_equal(leader_seen_by(leader), leader->id);
    network_deafen(&network, leader, deaf, false);
    answers(deaf, "POST", "/lamport/tick", 200);
    end_load();
    assert_true(cluster_agrees(&c));
    passed = true;
}

/* SIGSTOP is a long pause of the whole process: it wakes up believing that it leads. */
static void a_leader_that_slept_wakes_without_stale_answers(void **state)
{
    (void)state;
    if (c.n == 0)
        skip();
    struct cluster_node *old = cluster_leader(&c);
    assert_non_null(old);
    assert_int_equal(cluster_tick(&c), 1);
    start_load();
    for (int round = 0; round < 3; round++) {
        old = cluster_leader(&c);
        assert_non_null(old);
        kill(old->pid, SIGSTOP);
        long long value = tick_elsewhere(old); /* possible only under another leader */
        assert_int_equal(value, round + 2);
        assert_non_null(new_leader(old));
        kill(old->pid, SIGCONT);
        for (int i = 0; i < 5; i++)
            read_is_no_past(old, value);
        assert_true(load_goes_on(&load, 10));
    }
    end_load();
    assert_true(cluster_agrees(&c));
    passed = true;
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    static const struct CMUnitTest tests[] = {
        T(a_leader_cut_off_in_silence_answers_nothing_stale),
        T(a_leader_that_nobody_hears_is_replaced),
        T(a_follower_that_hears_no_leader_does_not_stop_the_others),
        T(a_leader_that_slept_wakes_without_stale_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
