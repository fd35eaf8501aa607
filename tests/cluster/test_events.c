/* Streams of events over the death of the leader: who goes on at another node behind the last id it has seen
 * misses nothing and is told nothing twice. */
#include <arpa/inet.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "cluster.h"

#define BEFORE 20 /* transactions before the leader dies */
#define AFTER  20 /* and after it */

static struct cluster c;
static bool passed;

static int setup(void **state)
{
    (void)state;
    passed = false;
    cluster_init(&c, 3, NULL);
    cluster_start_all(&c);
    return cluster_leader(&c) != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    cluster_close(&c, !passed);
    return 0;
}

/* One stream.  HTTP/1.0, so that what comes is the text and no chunks. */
struct follower {
    int fd;
    size_t size;
    char text[1 << 20];
};

static void follow(struct follower *f, const struct cluster_node *node, const char *after)
{
    char head[256];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(node->http)};
    inet_pton(AF_INET, node->host, &address.sin_addr);
    f->size = 0;
    f->text[0] = 0;
    f->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(f->fd, (struct sockaddr *)&address, sizeof address), 0);
    int n = snprintf(head, sizeof head, "GET /api/v1/events?kind=transaction HTTP/1.0\r\n%s%s%s\r\n",
                     after != NULL ? "Last-Event-ID: " : "", after != NULL ? after : "",
                     after != NULL ? "\r\n" : "");
    assert_int_equal(send(f->fd, head, (size_t)n, MSG_NOSIGNAL), n);
}

/* Has `part` come, and the event it stands in? */
static bool has(const struct follower *f, const char *part)
{
    const char *at = strstr(f->text, part);
    return at != NULL && strstr(at, "\n\n") != NULL;
}

/* Read until it has (NULL: until the end of the stream). */
static void read_until(struct follower *f, const char *part)
{
    int64_t until = monotonic_ms() + CLUSTER_PATIENCE_MS;
    while (part == NULL || !has(f, part)) {
        struct pollfd p = {.fd = f->fd, .events = POLLIN};
        assert_true(monotonic_ms() < until);
        if (poll(&p, 1, 100) <= 0)
            continue;
        ssize_t n = recv(f->fd, f->text + f->size, sizeof f->text - 1 - f->size, 0);
        if (n <= 0 && part == NULL)
            return;
        assert_true(n > 0);
        f->size += (size_t)n;
        f->text[f->size] = 0;
    }
}

/* The ids of whole events, one per line, behind what `ids` holds; `*last` (may be NULL) gets the last one. */
static void take_ids(const struct follower *f, char *ids, size_t room, char last[64])
{
    const char *at = strstr(f->text, "\r\n\r\n");
    assert_non_null(at);
    assert_null(strstr(at, "event: gap"));
    for (const char *end; (end = strstr(at, "\n\n")) != NULL; at = end + 2) {
        const char *id = strstr(at, "id: "), *event = strstr(at, "event: transaction");
        if (id == NULL || id > end)
            continue;
        int size = (int)strcspn(id + 4, "\n");
        if (last != NULL)
            snprintf(last, 64, "%.*s", size, id + 4);
        if (event != NULL && event < end) {
            size_t used = strlen(ids);
            assert_true(used + (size_t)size + 2 < room);
            snprintf(ids + used, room - used, "%.*s\n", size, id + 4);
        }
    }
}

static void transact(int from, int n)
{
    for (int i = from; i < from + n; i++) {
        char xid[16];
        snprintf(xid, sizeof xid, "e%d", i);
        json_decref(cluster_must(&c, "POST", "/transaction/begin", json_pack("{s:s}", "xid", xid)));
        json_decref(cluster_must(&c, "POST", "/transaction/commit", json_pack("{s:s}", "xid", xid)));
    }
}

static void nothing_is_lost_or_doubled_over_the_death_of_the_leader(void **state)
{
    (void)state;
    static struct follower a, b, all;
    static char seen[1 << 16], whole[1 << 16];
    char begin[64] = "", last[64] = "", end[64];
    struct cluster_node *leader = cluster_leader(&c), *other = NULL, *third = NULL;
    assert_non_null(leader);
    follow(&a, leader, NULL);
    read_until(&a, "retry: ");
    take_ids(&a, seen, sizeof seen, begin);
    assert_string_equal(seen, "");
    transact(0, BEFORE);
    cluster_kill(leader);
    read_until(&a, NULL);
    take_ids(&a, seen, sizeof seen, last);
    for (uint32_t i = 0; i < c.n; i++) {
        if (c.nodes[i].pid == 0)
            continue;
        third = other;
        other = &c.nodes[i];
    }
    assert_non_null(third);
    follow(&b, other, last); /* while nobody leads */
    transact(BEFORE, AFTER);
    snprintf(end, sizeof end, "\"xid\":\"e%d\",\"mode\":\"TCC\",\"status\":\"COMMITTED\"",
             BEFORE + AFTER - 1);
    read_until(&b, end);
    take_ids(&b, seen, sizeof seen, NULL);
    follow(&all, third, begin);
    read_until(&all, end);
    take_ids(&all, whole, sizeof whole, NULL);
    assert_string_equal(seen, whole);
    size_t lines = 0;
    for (const char *p = whole; *p != 0; p++)
        lines += *p == '\n';
    assert_int_equal(lines, 2 * (BEFORE + AFTER)); /* each began and was committed */
    close(a.fd);
    close(b.fd);
    close(all.fd);
    passed = true;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_is_lost_or_doubled_over_the_death_of_the_leader, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
