/* Nodes that are alone, stopped, doubled, foreign or in the wrong directory. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "cluster.h"

static struct cluster c, other;
static bool passed;

static int teardown(void **state)
{
    (void)state;
    cluster_close(&c, !passed);
    if (other.n > 0)
        cluster_close(&other, !passed);
    other.n = 0;
    return 0;
}

static int setup(void **state)
{
    (void)state;
    passed = false;
    return 0;
}

static void one_node_is_a_cluster(void **state)
{
    (void)state;
    cluster_init(&c, 1, NULL);
    cluster_start_all(&c);
    for (long long i = 1; i <= 10; i++)
        assert_int_equal(cluster_tick(&c), i);
    cluster_kill(&c.nodes[0]);
    cluster_start_all(&c);
    assert_int_equal(cluster_tick(&c), 11);
    assert_int_equal(cluster_stop(&c.nodes[0]), 0);
    cluster_start_all(&c);
    assert_int_equal(cluster_tick(&c), 12);
    passed = true;
}

static void a_stopped_leader_hands_over_and_exits_cleanly(void **state)
{
    (void)state;
    cluster_init(&c, 3, NULL);
    cluster_start_all(&c);
    struct cluster_node *leader = cluster_leader(&c);
    assert_non_null(leader);
    assert_int_equal(cluster_tick(&c), 1);
    assert_int_equal(cluster_stop(leader), 0);
    assert_int_equal(cluster_tick(&c), 2);
    cluster_start_all(&c);
    assert_true(cluster_agrees(&c));
    passed = true;
}

static void a_second_process_on_a_data_directory_is_refused(void **state)
{
    (void)state;
    cluster_init(&c, 1, NULL);
    cluster_start_all(&c);
    assert_int_equal(cluster_tick(&c), 1);
    struct cluster_node *twin = cluster_add(&c);
    snprintf(twin->dir, sizeof(twin->dir), "%s", c.nodes[0].dir);
    cluster_start(&c, twin);
    assert_true(cluster_wait_exit(twin) > 0);
    assert_true(cluster_log_has(twin, "in use by another assentd"));
    assert_int_equal(cluster_tick(&c), 2); /* the first has not noticed */
    passed = true;
}

static void the_data_directory_of_another_node_is_refused(void **state)
{
    (void)state;
    cluster_init(&c, 2, NULL);
    cluster_start_all(&c);
    assert_int_equal(cluster_tick(&c), 1);
    cluster_kill(&c.nodes[0]);
    cluster_kill(&c.nodes[1]);
    snprintf(c.nodes[1].dir, sizeof(c.nodes[1].dir), "%s", c.nodes[0].dir);
    cluster_start(&c, &c.nodes[1]);
    assert_true(cluster_wait_exit(&c.nodes[1]) > 0);
    snprintf(c.nodes[1].dir, sizeof(c.nodes[1].dir), "%s/node-2", c.dir);
    cluster_start_all(&c);
    assert_int_equal(cluster_tick(&c), 2);
    passed = true;
}

/* A node of another cluster at a member's address: refused, logged, and not counted. */
static void a_node_of_another_cluster_is_refused(void **state)
{
    (void)state;
    cluster_init(&c, 3, NULL);
    cluster_init(&other, 3, NULL);
    other.name = "another";
    for (int i = 0; i < 3; i++) /* the same addresses, other data */
        other.nodes[i].raft = c.nodes[i].raft;
    cluster_start(&c, &c.nodes[0]);
    cluster_start(&c, &c.nodes[1]);
    assert_int_equal(cluster_tick(&c), 1);
    cluster_start(&other, &other.nodes[2]);
    assert_true(cluster_log_gets(&other.nodes[2], "another cluster") ||
                cluster_log_gets(&c.nodes[0], "another cluster"));
    assert_int_equal(cluster_tick(&c), 2);
    json_t *view = cluster_view(&other.nodes[2]);
    assert_int_equal(json_integer_value(json_object_get(view, "leaderId")), 0);
    json_decref(view);
    cluster_kill(&other.nodes[2]);
    cluster_start(&c, &c.nodes[2]); /* its own third is welcome */
    assert_true(cluster_agrees(&c));
    passed = true;
}

/* A failing branch keeps reports on their way; with two of three gone none of them can commit. */
static void a_leader_without_a_majority_still_stops(void **state)
{
    struct endpoints e;
    json_t *data, *begin;
    char url[64], error[512];
    (void)state;
    cluster_init(&c, 3, NULL);
    cluster_start_all(&c);
    struct cluster_node *leader = cluster_leader(&c);
    assert_non_null(leader);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/", cluster_ports(1)); /* nobody listens there */
    begin = json_pack("{s:s, s:i, s:i, s:[{s:s, s:s, s:s}]}", "xid", "t", "retryBaseMs", 1, "retryCapMs", 1,
                      "branches", "branch", "b", "confirmUrl", url, "cancelUrl", url);
    cluster_endpoints(&c, 0, &e);
    assert_true(cluster_call(&e, "POST", "/transaction/begin", begin, CLUSTER_PATIENCE_MS, &data, error,
                             sizeof(error)));
    json_decref(data);
    json_decref(begin);
    begin = json_pack("{s:s}", "xid", "t");
    assert_true(cluster_call(&e, "POST", "/transaction/commit", begin, CLUSTER_PATIENCE_MS, &data, error,
                             sizeof(error)));
    json_decref(data);
    json_decref(begin);
    assert_true(cluster_log_gets(leader, "branch_call_failed"));
    for (uint32_t i = 0; i < c.n; i++)
        if (&c.nodes[i] != leader)
            cluster_kill(&c.nodes[i]);
    assert_int_equal(cluster_stop(leader), 0);
    cluster_start_all(&c);
    assert_int_equal(cluster_tick(&c), 1);
    passed = true;
}

/* Bytes that are no protocol, and a connection that stays silent, on each port of a node. */
static void garbage_on_every_port_is_shrugged_off(void **state)
{
    int open[3];
    (void)state;
    cluster_init(&c, 1, NULL);
    cluster_start_all(&c);
    assert_int_equal(cluster_tick(&c), 1);
    const uint16_t ports[] = {c.nodes[0].raft, c.nodes[0].rpc, c.nodes[0].http};
    for (int i = 0; i < 3; i++) {
        struct sockaddr_in a = {
            .sin_family = AF_INET, .sin_port = htons(ports[i]), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        uint32_t seed = 7;
        open[i] = socket(AF_INET, SOCK_STREAM, 0); /* says nothing, until the end */
        assert_int_equal(connect(open[i], (struct sockaddr *)&a, sizeof(a)), 0);
        for (int k = 0; k < 20; k++) {
            uint8_t bytes[3000];
            int fd = socket(AF_INET, SOCK_STREAM, 0);
            assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
            for (size_t j = 0; j < sizeof(bytes); j++)
                bytes[j] = (uint8_t)((seed = seed * 1664525u + 1013904223u) >> 24);
            ssize_t sent = send(fd, bytes, sizeof(bytes) - (size_t)k * 150, MSG_NOSIGNAL);
            (void)sent; /* it may have hung up already */
            close(fd);
        }
    }
    assert_int_equal(cluster_tick(&c), 2);
    for (int i = 0; i < 3; i++)
        close(open[i]);
    assert_int_equal(cluster_stop(&c.nodes[0]), 0);
    passed = true;
}

static void an_unknown_flag_is_an_error(void **state)
{
    static const char *const flags[] = {"--no-such-flag", "1", NULL};
    (void)state;
    cluster_init(&c, 1, flags);
    cluster_start_all(&c);
    assert_true(cluster_wait_exit(&c.nodes[0]) > 0);
    assert_true(cluster_log_has(&c.nodes[0], "no-such-flag"));
    passed = true;
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    static const struct CMUnitTest tests[] = {
        T(one_node_is_a_cluster),
        T(a_stopped_leader_hands_over_and_exits_cleanly),
        T(a_second_process_on_a_data_directory_is_refused),
        T(the_data_directory_of_another_node_is_refused),
        T(a_node_of_another_cluster_is_refused),
        T(a_leader_without_a_majority_still_stops),
        T(garbage_on_every_port_is_shrugged_off),
        T(an_unknown_flag_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
