/* Clients and peers that mean harm or know no better, against real nodes under load: slow, half-open, too
 * many, too large, random, or under a name that is taken. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "load.h"

#define MIB (1024u * 1024)

static struct cluster c;
static struct load load;
static bool passed, loaded;

static int setup(void **state)
{
    (void)state;
    passed = loaded = false;
    load = (struct load){0};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (loaded)
        load_stop(&load);
    cluster_close(&c, !passed);
    return 0;
}

static struct cluster_node *start(const char *const *flags)
{
    cluster_init(&c, 3, flags);
    cluster_start_all(&c);
    struct cluster_node *leader = cluster_leader(&c);
    assert_non_null(leader);
    load_start(&load, &c);
    loaded = true;
    assert_true(load_goes_on(&load, 10));
    return leader;
}

/* Nothing was lost, and no process has been replaced or has died. */
static void end_well(void)
{
    assert_true(load_goes_on(&load, 10));
    load_stop(&load);
    loaded = false;
    load_check(&load, &c);
    for (uint32_t i = 0; i < c.n; i++)
        if (c.nodes[i].pid != 0)
            assert_int_equal(waitpid(c.nodes[i].pid, NULL, WNOHANG), 0);
    assert_true(cluster_agrees(&c));
    passed = true;
}

static int dial(uint16_t port)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static void say(int fd, const void *bytes, size_t size)
{
    ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
    (void)sent; /* the other side may have hung up already: that is what is tried */
}

/* Wait until the other side has closed, reading what it says into `first`; false: it holds the line. */
static bool hung_up(int fd, long patience_ms, char *first, size_t first_size)
{
    int64_t until = monotonic_ms() + patience_ms;
    size_t n = 0;
    char sink[4096];
    for (;;) {
        struct pollfd p = {fd, POLLIN, 0};
        int64_t left = until - monotonic_ms();
        if (left <= 0 || poll(&p, 1, (int)left) <= 0)
            return false;
        ssize_t got = recv(fd, sink, sizeof(sink), 0);
        if (got <= 0)
            return true;
        for (ssize_t i = 0; i < got && n + 1 < first_size; i++)
            first[n++] = sink[i];
        if (first_size > 0)
            first[n] = 0;
    }
}

#define SLOW 40

static void slow_and_half_open_clients_are_cut_and_disturb_nobody(void **state)
{
    static const char *const flags[] = {"--http-read-s", "1", "--http-idle-s", "2", NULL};
    static const char head[] = "POST /api/v1/lamport/tick HTTP/1.1\r\nHost: a\r\nContent-Le";
    static const char body[] = "POST /api/v1/lamport/tick HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\n{";
    static const uint8_t frame[] = {0, 0, 0, 100, 0x95, 1, 1};
    int fds[SLOW];
    (void)state;
    struct cluster_node *leader = start(flags);
    for (int i = 0; i < SLOW; i++) {
        fds[i] = dial(i % 4 < 3 ? leader->http : leader->rpc);
        assert_true(fds[i] >= 0);
        switch (i % 4) {
        case 0:
            say(fds[i], head, sizeof(head) - 1);
            break;
        case 1:
            say(fds[i], body, sizeof(body) - 1);
            break;
        case 2: /* said nothing and closed one direction: half open */
            shutdown(fds[i], SHUT_WR);
            break;
        case 3:
            say(fds[i], frame, sizeof(frame));
            break;
        }
    }
    assert_true(load_goes_on(&load, 50));
    for (int i = 0; i < SLOW; i++) {
        if (!hung_up(fds[i], CLUSTER_PATIENCE_MS, NULL, 0))
            fail_msg("client %d of kind %d is still connected", i, i % 4);
        close(fds[i]);
    }
    end_well();
}

#define REFUSALS 5

/* Fill a port with idle connections: at most `limit` are kept, what comes on top is closed at once.  Clients
 * of the load come and go, so it may take a few more than `limit`. */
static void fill_port(uint16_t port, int limit)
{
    int most = limit + 200, n = 0, refused = 0;
    int *fds = calloc((size_t)most, sizeof(*fds));
    assert_non_null(fds);
    while (n < most && refused < REFUSALS) {
        fds[n] = dial(port);
        assert_true(fds[n] >= 0);
        if (++n > limit)
            refused += hung_up(fds[n - 1], 1000, NULL, 0);
    }
    bool went_on = load_goes_on(&load, 10); /* by the other nodes, or by connections that were there */
    while (n > 0)
        close(fds[--n]);
    free(fds);
    assert_true(went_on);
    assert_int_equal(refused, REFUSALS);
}

static void connections_above_the_limit_are_refused(void **state)
{
    static const char *const flags[] = {"--http-connections", "2000", "--rpc-connections", "1000", NULL};
    struct rlimit files;
    (void)state;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    if (files.rlim_cur < 4096) {
        fprintf(stderr, "SKIPPED: thousands of connections need more open files than %llu\n",
                (unsigned long long)files.rlim_cur);
        cluster_init(&c, 0, NULL);
        passed = true;
        skip();
    }
    struct cluster_node *leader = start(flags);
    fill_port(leader->rpc, 1000);
    assert_true(cluster_metric(leader, "assent_rpc_refused_total") >= 5);
    fill_port(leader->http, 2000);
    struct http_answer a = {0};
    int64_t until = monotonic_ms() + CLUSTER_PATIENCE_MS;
    do { /* and serves again when they are gone */
        http_answer_clear(&a);
        cluster_ask(leader, "GET", "/cluster", NULL, NULL, 5000, &a);
    } while (a.status != 200 && monotonic_ms() < until);
    assert_int_equal(a.status, 200);
    http_answer_clear(&a);
    assert_true(cluster_metric(leader, "assent_http_refused_total") >= 5);
    end_well();
}

static void what_is_too_large_is_refused(void **state)
{
    static const char announced[] =
        "POST /api/v1/lamport/tick HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n";
    static const char chunked[] =
        "POST /api/v1/lamport/tick HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
        "Connection: close\r\n\r\n"
        "F00000\r\n";
    static const uint8_t frame[] = {0x7f, 0xff, 0xff, 0xff, 0x95};
    static char zeros[MIB];
    char first[512] = "";
    (void)state;
    struct cluster_node *leader = start(NULL);
    int fd = dial(leader->http);
    say(fd, announced, sizeof(announced) - 1);
    assert_true(hung_up(fd, CLUSTER_PATIENCE_MS, first, sizeof(first)));
    assert_non_null(strstr(first, " 413 "));
    close(fd);
    fd = dial(leader->http);
    say(fd, chunked, sizeof(chunked) - 1);
    for (int i = 0; i < 15; i++)
        say(fd, zeros, sizeof(zeros));
    say(fd, "\r\n0\r\n\r\n", 7);
    assert_true(hung_up(fd, CLUSTER_PATIENCE_MS, first, sizeof(first)));
    assert_true(first[0] == 0 || strstr(first, " 413 ") != NULL);
    close(fd);
    const uint16_t ports[] = {leader->rpc, leader->raft};
    for (int i = 0; i < 2; i++) {
        fd = dial(ports[i]);
        say(fd, frame, sizeof(frame));
        say(fd, zeros, 64);
        assert_true(hung_up(fd, CLUSTER_PATIENCE_MS, NULL, 0));
        close(fd);
    }
    end_well();
}

/* A second of random bytes on every port of every node, some behind a beginning that looks right. */
static void a_second_of_garbage_changes_nothing(void **state)
{
    static const uint8_t begin[][16] = {{0}, "POST /api/v1/", {0, 0, 0, 16, 0x95}, {0, 0, 4, 0}};
    uint32_t seed = 11, n = 0;
    uint8_t bytes[2048];
    (void)state;
    start(NULL);
    int64_t until = monotonic_ms() + 1000;
    while (monotonic_ms() < until) {
        const struct cluster_node *node = &c.nodes[n % 3];
        const uint16_t ports[] = {node->raft, node->rpc, node->http};
        int fd = dial(ports[n / 3 % 3]);
        if (fd < 0)
            continue;
        for (size_t j = 0; j < sizeof(bytes); j++)
            bytes[j] = (uint8_t)((seed = seed * 1664525u + 1013904223u) >> 24);
        memcpy(bytes, begin[n / 9 % 4], n / 9 % 4 == 0 ? 0 : n / 9 % 4 == 1 ? 13 : 5);
        say(fd, bytes, 1 + seed % sizeof(bytes));
        close(fd);
        n++;
    }
    assert_true(n > 50);
    end_well();
}

/* Another process, with an empty directory, claims to be one of the members: it gets nowhere. */
static void a_second_node_of_one_id_gets_nowhere(void **state)
{
    (void)state;
    struct cluster_node *leader = start(NULL);
    struct cluster_node *twin = cluster_add(&c);
    twin->id = leader->id % 3 + 1;
    twin->join = false;
    cluster_start(&c, twin);
    assert_true(load_goes_on(&load, 100));
    assert_true(cluster_log_gets(leader, "another process with its id"));
    json_t *view = cluster_view(leader);
    assert_int_equal(json_integer_value(json_object_get(view, "leaderId")), leader->id);
    json_decref(view);
    cluster_kill(twin);
    end_well();
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    static const struct CMUnitTest tests[] = {
        T(slow_and_half_open_clients_are_cut_and_disturb_nobody),
        T(connections_above_the_limit_are_refused),
        T(what_is_too_large_is_refused),
        T(a_second_of_garbage_changes_nothing),
        T(a_second_node_of_one_id_gets_nowhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
