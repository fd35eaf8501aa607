/* An emptied node comes back by a snapshot of a large state while writes go on, and nobody holds that state
 * in memory.
 *
 * ASSENT_TEST_STATE_MB chooses its size; 200 by default. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cluster.h"

#define ROW_BYTES (512 * 1024)
#define MEMORY_MB_LIMIT                                                                                      \
    160 /* of anonymous memory of any node: well below the state, above what sanitizers add */

/* Small snapshots intervals, so that the log does not reach back far enough for a node that is away. */
static const char *const flags[] = {
    "--snapshot-log-mb", "32", "--snapshot-trailing", "10", "--log-presize-mb", "1", NULL};

static struct cluster c;
static atomic_bool stop;
static atomic_ullong written;
static char wrong[600];

static json_t *call(const char *method, const char *path, json_t *body)
{
    struct endpoints e;
    json_t *data = NULL;
    char error[512];
    cluster_endpoints(&c, 0, &e);
    if (!cluster_call(&e, method, path, body, CLUSTER_PATIENCE_MS, &data, error, sizeof(error)))
        fail_msg("%s %s: %s", method, path, error);
    json_decref(body);
    return data;
}

static void *write_on(void *data)
{
    struct endpoints *e = data;
    while (!atomic_load(&stop) && wrong[0] == 0) {
        json_t *answer, *body = json_object();
        char error[512];
        if (!cluster_call(e, "POST", "/lamport/tick", body, CLUSTER_PATIENCE_MS, &answer, error,
                          sizeof(error)))
            snprintf(wrong, sizeof(wrong), "%s", error);
        else
            atomic_fetch_add(&written, 1);
        json_decref(body);
        json_decref(answer);
    }
    return NULL;
}

/* Rows whose bytes do not compress, of about `mb` in all. */
static void fill(long mb)
{
    char *text = malloc(ROW_BYTES + 1);
    uint32_t seed = 1;
    assert_non_null(text);
    for (long i = 0; i < mb * 1024 * 1024 / ROW_BYTES; i++) {
        char xid[32];
        for (size_t k = 0; k < ROW_BYTES; k++) {
            seed = seed * 1664525u + 1013904223u;
            text[k] = (char)('a' + (seed >> 24) % 26);
        }
        text[ROW_BYTES] = 0;
        snprintf(xid, sizeof(xid), "row-%ld", i);
        json_decref(call("POST", "/transaction/begin",
                         json_pack("{s:s, s:i, s:s}", "xid", xid, "timeoutMs", 0, "customData", text)));
    }
    free(text);
}

/* A line of /proc/PID/status in MiB. */
static long memory_mb(pid_t pid, const char *what)
{
    char path[64], line[256];
    long kb = -1;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f) != NULL)
        if (strncmp(line, what, strlen(what)) == 0)
            kb = strtol(line + strlen(what) + 1, NULL, 10);
    fclose(f);
    return kb / 1024;
}

static long long number(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

/* Has the leader replicated to the node nearly all it has? */
static bool caught_up(uint32_t id)
{
    json_t *view = cluster_view(cluster_leader(&c)), *node;
    bool is = false;
    size_t i;
    json_array_foreach(json_object_get(view, "nodes"), i, node)
    {
        is = is ||
             (number(node, "id") == id && number(node, "matchIndex") + 100 >= number(view, "commitIndex"));
    }
    json_decref(view);
    return is;
}

static void check_memory(long *most)
{
    for (uint32_t i = 0; i < c.n; i++) {
        long mb = c.nodes[i].pid != 0 ? memory_mb(c.nodes[i].pid, "RssAnon:") : 0;
        *most = mb > *most ? mb : *most;
    }
}

/* The third is lost with its disk; a fourth takes its place (a wiped node gets a new id). */
static struct cluster_node *replace_third(void)
{
    cluster_kill(&c.nodes[2]);
    cluster_wipe(&c.nodes[2]);
    json_decref(call("POST", "/cluster/members/3/remove", NULL));
    struct cluster_node *fourth = cluster_add(&c);
    char address[32];
    snprintf(address, sizeof(address), "127.0.0.1:%u", fourth->raft);
    cluster_start(&c, fourth);
    json_decref(
        call("POST", "/cluster/members", json_pack("{s:i, s:s}", "id", (int)fourth->id, "address", address)));
    return fourth;
}

static void an_emptied_node_pulls_a_snapshot_while_writes_go_on(void **state)
{
    const char *size = getenv("ASSENT_TEST_STATE_MB");
    struct endpoints e;
    pthread_t thread;
    long most = 0;
    (void)state;
    setenv("ASAN_OPTIONS", "quarantine_size_mb=8", 1); /* freed memory it keeps counts otherwise */
    cluster_init(&c, 3, flags);
    cluster_start_all(&c);
    assert_non_null(cluster_leader(&c));
    fill(size != NULL ? strtol(size, NULL, 10) : 200);
    cluster_endpoints(&c, 0, &e);
    e.n = 2; /* the third goes */
    assert_int_equal(pthread_create(&thread, NULL, write_on, &e), 0);
    struct cluster_node *fourth = replace_third();
    unsigned long long before = atomic_load(&written);
    int64_t until = monotonic_ms() + 4 * CLUSTER_PATIENCE_MS;
    while ((!caught_up(fourth->id) || atomic_load(&written) < before + 10) && monotonic_ms() < until) {
        check_memory(&most);
        sleep_ms(20);
    }
    assert_true(caught_up(fourth->id));
    assert_true(atomic_load(&written) >= before + 10); /* nobody waited for it */
    json_decref(call("POST", "/cluster/members/4/promote", NULL));
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    check_memory(&most);
    assert_string_equal(wrong, "");
    assert_true(cluster_log_has(fourth, "snapshot_installed"));
    assert_true(cluster_agrees(&c));
    print_message("state %s MiB, most anonymous memory of a node %ld MiB, %llu writes meanwhile\n",
                  size != NULL ? size : "200", most, (unsigned long long)(atomic_load(&written) - before));
    assert_true(most < MEMORY_MB_LIMIT);
}

static int teardown(void **state)
{
    (void)state;
    cluster_close(&c, false);
    return 0;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(an_emptied_node_pulls_a_snapshot_while_writes_go_on, teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
