/* An act on many transactions while the leader is killed: each is acted on once, and the record is complete.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cluster.h"

#define TXNS      400
#define KILLED_AT 40 /* acts done by then, of one per command */

static struct cluster c;
static bool passed;

static int setup(void **state)
{
    (void)state;
    passed = false;
    c.n = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    cluster_close(&c, !passed);
    return 0;
}

static void begin_all(void)
{
    for (int i = 0; i < TXNS; i++) {
        char xid[16];
        snprintf(xid, sizeof(xid), "t%d", i);
        json_decref(
            cluster_must(&c, "POST", "/transaction/begin",
                         json_pack("{s:s, s:s, s:i}", "xid", xid, "businessType", "pay", "timeoutMs", 0)));
    }
}

static long long suspended(void)
{
    json_t *counts = cluster_must(&c, "GET", "/transactions/counts", NULL), *row;
    size_t i;
    long long n = 0;
    json_array_foreach(json_object_get(counts, "counts"), i, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "status")), "SUSPENDED") == 0)
            n += json_integer_value(json_object_get(row, "count"));
    }
    json_decref(counts);
    return n;
}

/* `assentctl txn pause --all`, one transaction in a command so that the leader dies in the middle. */
struct operator
{
    char endpoints[512], log[600];
    int status;
};

static void *operate(void *data)
{
    struct operator* o = data;
    char program[600];
    cluster_program(program, sizeof(program), "client/ctl/assentctl");
    char *argv[] = {program, "--endpoints", o->endpoints, "--timeout",        "60",       "txn",
                    "pause", "--all",       "limit=1",    "businessType=pay", "--by=ann", "--reason=upgrade",
                    NULL};
    o->status = cluster_run(o->log, argv);
    return NULL;
}

/* How often each transaction is on record as paused. */
static void read_record(int seen[TXNS])
{
    char path[200], after[64] = "";
    do {
        snprintf(path, sizeof(path), "/audit?limit=100%s%s", after[0] ? "&after=" : "", after);
        json_t *page = cluster_must(&c, "GET", path, NULL), *row;
        size_t i;
        json_array_foreach(json_object_get(page, "acts"), i, row)
        {
            int number = atoi(json_string_value(json_object_get(row, "xid")) + 1);
            assert_true(number >= 0 && number < TXNS);
            assert_string_equal(json_string_value(json_object_get(row, "act")), "pause");
            assert_string_equal(json_string_value(json_object_get(row, "by")), "ann");
            assert_string_equal(json_string_value(json_object_get(row, "reason")), "upgrade");
            assert_string_equal(json_string_value(json_object_get(row, "before")), "ACTIVE");
            assert_string_equal(json_string_value(json_object_get(row, "after")), "SUSPENDED");
            seen[number]++;
        }
        const char *next = json_string_value(json_object_get(page, "next"));
        snprintf(after, sizeof(after), "%s", next != NULL ? next : "");
        json_decref(page);
    } while (after[0] != '\0');
}

static void an_act_on_many_outlives_the_leader(void **state)
{
    (void)state;
    struct operator o = {.status = -1};
    pthread_t thread;
    cluster_init(&c, 3, NULL);
    cluster_start_all(&c);
    begin_all();
    struct cluster_node *leader = cluster_leader(&c);
    assert_non_null(leader);
    size_t at = 0;
    for (uint32_t i = 0; i < c.n; i++)
        at += (size_t)snprintf(o.endpoints + at, sizeof(o.endpoints) - at, "%s127.0.0.1:%u", i > 0 ? "," : "",
                               c.nodes[i].http);
    snprintf(o.log, sizeof(o.log), "%s/operator.log", c.dir);
    assert_int_equal(pthread_create(&thread, NULL, operate, &o), 0);
    while (suspended() < KILLED_AT)
        usleep(1000);
    cluster_kill(leader);
    assert_true(suspended() < TXNS); /* in the middle indeed */
    cluster_start(&c, leader);
    pthread_join(thread, NULL);
    char said[256] = "";
    FILE *f = fopen(o.log, "r");
    assert_non_null(f);
    said[fread(said, 1, sizeof(said) - 1, f)] = '\0';
    fclose(f);
    if (o.status != 0 || strstr(said, "400 acted on, 0 refused") == NULL)
        fail_msg("exit %d: %s", o.status, said);
    int seen[TXNS] = {0};
    read_record(seen);
    for (int i = 0; i < TXNS; i++)
        assert_int_equal(seen[i], 1);
    assert_int_equal(suspended(), TXNS);
    assert_true(cluster_agrees(&c));
    passed = true;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_act_on_many_outlives_the_leader, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
