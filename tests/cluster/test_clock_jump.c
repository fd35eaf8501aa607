/* Nodes whose wall clock is wrong, or is set while they run: the time of the log never runs backwards, and a
 * leader far ahead is refused by the others, who say so. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "load.h"

static struct cluster c;
static struct load load;
static bool passed, loaded;
static int64_t last_us;               /* of the newest event of this cluster */
static volatile int64_t *shift_ms[3]; /* how wrong each node's clock is */
/* With the default a node so far behind would refuse every entry of the others: for it they are ahead. */
static const char *const patient[] = {"--max-skew-ms", "3600000", NULL};
static char preload[600], env[3][400];

static int setup(void **state)
{
    (void)state;
    passed = loaded = false;
    last_us = 0;
    load = (struct load){0};
    cluster_init(&c, 3, NULL);
    cluster_program(preload, sizeof(preload), "tests/cluster/libclock_shift.so");
    for (int i = 0; i < 3; i++) {
        char path[300];
        snprintf(path, sizeof(path), "%s/shift-%d", c.dir, i);
        snprintf(env[i], sizeof(env[i]), "CLOCK_SHIFT_FILE=%s", path);
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0 || ftruncate(fd, sizeof(int64_t)) != 0)
            return -1;
        void *map = mmap(NULL, sizeof(int64_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
        if (map == MAP_FAILED)
            return -1;
        shift_ms[i] = map;
        c.nodes[i].preload = preload;
        c.nodes[i].preload_env = env[i];
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (loaded)
        load_stop(&load);
    cluster_close(&c, !passed);
    for (int i = 0; i < 3; i++)
        munmap((void *)(uintptr_t)shift_ms[i], sizeof(int64_t));
    return 0;
}

/* The stamp of a new event; each must be later than the one before. */
static int64_t stamp(void)
{
    static int n;
    char id[32];
    snprintf(id, sizeof(id), "e%d", n++);
    json_t *data =
        cluster_must(&c, "POST", "/timestamp/event", json_pack("{s:s, s:s}", "eventId", id, "node", "n"));
    int64_t us = json_integer_value(json_object_get(data, "timeUs"));
    json_decref(data);
    assert_true(us > last_us);
    last_us = us;
    return us;
}

static uint64_t tso(void)
{
    json_t *data = cluster_must(&c, "POST", "/tso", json_object());
    uint64_t t = (uint64_t)json_integer_value(json_object_get(data, "timestamp"));
    json_decref(data);
    return t;
}

/* Hand leadership to a node; asking again for what has happened already is refused, so look before. */
static void lead(const struct cluster_node *node)
{
    int64_t until = monotonic_ms() + CLUSTER_PATIENCE_MS;
    while (cluster_leader(&c) != node) {
        struct http_answer a;
        json_t *body = json_pack("{s:i}", "id", (int)node->id);
        assert_true(monotonic_ms() < until);
        cluster_ask(&c.nodes[0], "POST", "/cluster/transfer", NULL, body, 5000, &a);
        json_decref(body);
        http_answer_clear(&a);
    }
}

static void a_leader_far_ahead_is_refused_and_said_to_be(void **state)
{
    (void)state;
    *shift_ms[2] = 3600 * 1000; /* an hour, from its start on */
    cluster_start_all(&c);
    int64_t until = monotonic_ms() + CLUSTER_PATIENCE_MS, refused = 0;
    while (refused <= 0 && monotonic_ms() < until) { /* whoever leads first: make the wrong one lead */
        struct http_answer a;
        json_t *body = json_pack("{s:i}", "id", 3);
        cluster_ask(&c.nodes[0], "POST", "/cluster/transfer", NULL, body, 3000, &a);
        json_decref(body);
        http_answer_clear(&a);
        body = json_object();
        cluster_ask(&c.nodes[2], "POST", "/lamport/tick", NULL, body, 500, &a);
        json_decref(body);
        http_answer_clear(&a);
        refused = cluster_metric(&c.nodes[0], "assent_raft_entries_refused_skew_total") +
                  cluster_metric(&c.nodes[1], "assent_raft_entries_refused_skew_total");
    }
    assert_true(refused > 0);
    assert_true(cluster_log_has(&c.nodes[0], "the leader's clock is ahead") ||
                cluster_log_has(&c.nodes[1], "the leader's clock is ahead"));
    /* Nothing of the future has been committed: with its clock set right the cluster goes on at once, and the
     * log stands in the present. */
    cluster_kill(&c.nodes[2]);
    *shift_ms[2] = 0;
    cluster_start(&c, &c.nodes[2]);
    int64_t ahead = stamp() - (int64_t)time(NULL) * 1000000;
    assert_true(ahead < 60 * 1000000);
    assert_true(cluster_agrees(&c));
    passed = true;
}

/* Set forwards and backwards under load, on the leader and on a follower, and with a change of leader. */
static void the_time_of_the_log_survives_jumps(void **state)
{
    static const int64_t jumps[] = {400, -400, 7200 * 1000, -7200 * 1000, 0};
    (void)state;
    cluster_start_all(&c);
    struct cluster_node *leader = cluster_leader(&c);
    assert_non_null(leader);
    load_start(&load, &c);
    loaded = true;
    int64_t last = stamp();
    uint64_t last_tso = tso();
    for (size_t i = 0; i < sizeof(jumps) / sizeof(jumps[0]); i++) {
        uint32_t at = leader->id - 1, other = leader->id % 3;
        *shift_ms[at] = jumps[i];
        *shift_ms[other] = -jumps[i];
        assert_true(load_goes_on(&load, 10));
        for (int k = 0; k < 5; k++) {
            int64_t now = stamp();
            uint64_t now_tso = tso();
            assert_true(now > last && now_tso > last_tso);
            last = now;
            last_tso = now_tso;
        }
    }
    *shift_ms[leader->id % 3] = -300; /* the next leader is behind, within what is allowed */
    lead(&c.nodes[leader->id % 3]);
    for (int k = 0; k < 5; k++) {
        int64_t now = stamp();
        assert_true(now > last);
        last = now;
    }
    load_stop(&load);
    loaded = false;
    load_check(&load, &c);
    assert_true(cluster_agrees(&c));
    passed = true;
}

/* A node that starts half an hour behind: it stamps what it leads with the time the log has reached. */
static void a_leader_behind_does_not_take_the_log_back(void **state)
{
    (void)state;
    *shift_ms[0] = -1800 * 1000;
    c.flags = patient;
    cluster_start_all(&c);
    assert_non_null(cluster_leader(&c));
    int64_t before = stamp();
    lead(&c.nodes[0]);
    for (int k = 0; k < 10; k++) {
        int64_t now = stamp();
        assert_true(now > before);
        before = now;
    }
    assert_true(cluster_agrees(&c));
    passed = true;
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    static const struct CMUnitTest tests[] = {
        T(a_leader_far_ahead_is_refused_and_said_to_be),
        T(the_time_of_the_log_survives_jumps),
        T(a_leader_behind_does_not_take_the_log_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
