/* Leaders killed with SIGKILL under load: no acknowledged write is lost or done twice, no transaction is
 * rolled back by an election, phase two goes on by itself. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cluster.h"

#define WRITERS 6

/* One client: its own clock, ticked again and again; what is acknowledged must be 1, 2, 3, ... */
struct writer {
    pthread_t thread;
    struct endpoints e;
    char clock[16];
    const atomic_bool *stop;
    atomic_ullong acknowledged;
    char wrong[600]; /* the first thing that was not as it must be */
};

static void *write_on(void *data)
{
    struct writer *w = data;
    while (!atomic_load(w->stop) && w->wrong[0] == 0) {
        json_t *answer, *body = json_pack("{s:s}", "clock", w->clock);
        char error[512];
        bool ok = cluster_call(&w->e, "POST", "/lamport/tick", body, CLUSTER_PATIENCE_MS, &answer, error,
                               sizeof(error));
        json_decref(body);
        unsigned long long want = atomic_load(&w->acknowledged) + 1;
        json_int_t value = json_integer_value(json_object_get(answer, "value"));
        json_decref(answer);
        if (!ok)
            snprintf(w->wrong, sizeof(w->wrong), "%s: tick %llu: %s", w->clock, want, error);
        else if ((unsigned long long)value != want)
            snprintf(w->wrong, sizeof(w->wrong), "%s: tick %llu answered %lld", w->clock, want,
                     (long long)value);
        else
            atomic_store(&w->acknowledged, want);
    }
    return NULL;
}

struct load {
    atomic_bool stop;
    struct writer writers[WRITERS];
};

static void load_start(struct load *l, const struct cluster *c)
{
    for (uint32_t i = 0; i < WRITERS; i++) {
        struct writer *w = &l->writers[i];
        snprintf(w->clock, sizeof(w->clock), "writer-%u", i);
        cluster_endpoints(c, i, &w->e);
        w->stop = &l->stop;
        assert_int_equal(pthread_create(&w->thread, NULL, write_on, w), 0);
    }
}

static void load_stop(struct load *l)
{
    atomic_store(&l->stop, true);
    for (uint32_t i = 0; i < WRITERS; i++)
        pthread_join(l->writers[i].thread, NULL);
}

/* Wait until every writer has got `more` further answers. */
static bool load_goes_on(struct load *l, unsigned long long more)
{
    unsigned long long from[WRITERS];
    int64_t until = monotonic_ms() + CLUSTER_PATIENCE_MS;
    for (uint32_t i = 0; i < WRITERS; i++)
        from[i] = atomic_load(&l->writers[i].acknowledged);
    for (uint32_t i = 0; i < WRITERS; i++)
        while (atomic_load(&l->writers[i].acknowledged) < from[i] + more) {
            if (monotonic_ms() > until)
                return false;
            sleep_ms(5);
        }
    return true;
}

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

/* POST or GET that must succeed; the answer's data. */
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

static void expect_status(const char *xid, const char *status)
{
    char path[128];
    snprintf(path, sizeof(path), "/transaction/status/%s", xid);
    json_t *data = call("GET", path, NULL);
    assert_string_equal(json_string_value(json_object_get(data, "status")), status);
    json_decref(data);
}

static void killed_leaders_lose_nothing(void **state)
{
    static struct load l;
    (void)state;
    char xid[32], path[64];
    for (int i = 0; i < 20; i++) {
        snprintf(xid, sizeof(xid), "open-%d", i);
        json_decref(call("POST", "/transaction/begin",
                         json_pack("{s:s, s:i, s:[{s:s, s:s, s:s}]}", "xid", xid, "timeoutMs", 600000,
                                   "branches", "branch", "b", "confirmUrl", "", "cancelUrl", "")));
    }
    load_start(&l, &c);
    for (int round = 0; round < 3; round++) {
        assert_true(load_goes_on(&l, 20));
        struct cluster_node *leader = cluster_leader(&c);
        assert_non_null(leader);
        cluster_kill(leader);
        assert_true(load_goes_on(&l, 20)); /* two of three go on */
        cluster_start(&c, leader);
    }
    load_stop(&l);
    for (uint32_t i = 0; i < WRITERS; i++) {
        struct writer *w = &l.writers[i];
        assert_string_equal(w->wrong, "");
        snprintf(path, sizeof(path), "/lamport/current?clock=%s", w->clock);
        json_t *data = call("GET", path, NULL);
        assert_int_equal(json_integer_value(json_object_get(data, "value")), atomic_load(&w->acknowledged));
        json_decref(data);
    }
    for (int i = 0; i < 20; i++) {
        snprintf(xid, sizeof(xid), "open-%d", i);
        expect_status(xid, "ACTIVE"); /* no election has rolled it back */
        json_decref(call("POST", "/transaction/commit", json_pack("{s:s}", "xid", xid)));
        expect_status(xid, "COMMITTED");
    }
    assert_true(cluster_agrees(&c));
    passed = true;
}

/* All at once, like a power cut: what was acknowledged is on the disks. */
static void a_cluster_killed_as_a_whole_comes_back_with_everything(void **state)
{
    static struct load l;
    (void)state;
    load_start(&l, &c);
    assert_true(load_goes_on(&l, 30));
    for (uint32_t i = 0; i < c.n; i++)
        cluster_kill(&c.nodes[i]);
    cluster_start_all(&c);
    assert_true(load_goes_on(&l, 10));
    load_stop(&l);
    for (uint32_t i = 0; i < WRITERS; i++)
        assert_string_equal(l.writers[i].wrong, "");
    assert_true(cluster_agrees(&c));
    passed = true;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(killed_leaders_lose_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cluster_killed_as_a_whole_comes_back_with_everything, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
