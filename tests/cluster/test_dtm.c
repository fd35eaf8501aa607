/* Three real nodes and DTM's clients: every node takes every call, and while leaders die no call gets a
 * definite "no", and no transaction that was taken is forgotten. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "actor.h"
#include "cluster.h"

#define SCENE "dtm"
/* One call of a client; longer than a node holds it. */
#define CALL_MS 20000
/* Leaders that die, and sagas that are begun for each death at least. */
#define DEATHS     3
#define PER_DEATH  15
#define SAGAS_MAX  4000
#define PATIENCE_S 60

static struct cluster c;
static const char *url;
static bool passed;

static int up(void **state)
{
    (void)state;
    http_init();
    url = actor_open();
    cluster_init(&c, 3, NULL);
    cluster_start_all(&c);
    assert_non_null(cluster_leader(&c));
    actor_scene("another", NULL, NULL, NULL); /* what it is asked of these sagas it answers with 200 */
    return 0;
}

static int down(void **state)
{
    (void)state;
    cluster_close(&c, !passed);
    actor_close();
    return 0;
}

static void ask(const struct cluster_node *node, const char *method, const char *path, json_t *body,
                struct http_answer *out)
{
    char at[512];
    snprintf(at, sizeof at, "http://%s:%u/api/dtmsvr/%s", node->host, node->http, path);
    http_call(method, at, NULL, body, CALL_MS, out);
}

static json_t *body_of(const char *type, const char *gid)
{
    return json_pack("{ssss}", "gid", gid, "trans_type", type);
}

static json_t *saga_of(const char *gid)
{
    json_t *saga = body_of("saga", gid);
    json_object_set_new(
        saga, "steps",
        json_pack("[{ssss}{ssss}]", "action", url, "compensate", url, "action", url, "compensate", url));
    json_object_set_new(saga, "payloads", json_pack("[ss]", "{\"amount\":30}", "{}"));
    json_object_set_new(saga, "retry_interval", json_integer(1));
    return saga;
}

/* Takes `body`. */
static void must(const struct cluster_node *node, const char *path, json_t *body)
{
    struct http_answer a;
    ask(node, "POST", path, body, &a);
    char *text = json_dumps(a.body, 0);
    if (a.status != 200)
        fail_msg("%s at node %u: %d %s %s", path, node->id, a.status, text != NULL ? text : "", a.error);
    free(text);
    http_answer_clear(&a);
    json_decref(body);
}

/* Global status as a node sees it; empty: no answer, or no such transaction. */
static void status_of(const struct cluster_node *node, const char *gid, char out[16])
{
    struct http_answer a;
    char path[128];
    snprintf(path, sizeof path, "query?gid=%s", gid);
    ask(node, "GET", path, NULL, &a);
    const char *status = json_string_value(json_object_get(json_object_get(a.body, "transaction"), "status"));
    snprintf(out, 16, "%s", a.status == 200 && status != NULL ? status : "");
    http_answer_clear(&a);
}

static void must_become(const struct cluster_node *node, const char *gid, const char *want)
{
    char have[16] = "";
    for (int64_t end = monotonic_ms() + PATIENCE_S * 1000; monotonic_ms() < end; sleep_ms(20)) {
        status_of(node, gid, have);
        if (strcmp(have, want) == 0)
            return;
    }
    fail_msg("%s is %s at node %u, not %s", gid, have, node->id, want);
}

static void every_node_takes_every_call(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < c.n; i++) {
        char gid[32];
        struct cluster_node *first = &c.nodes[i], *second = &c.nodes[(i + 1) % c.n];
        snprintf(gid, sizeof gid, SCENE "-saga-%u", i);
        must(first, "submit", saga_of(gid));
        must_become(second, gid, "succeed");
        snprintf(gid, sizeof gid, SCENE "-tcc-%u", i);
        must(first, "prepare", body_of("tcc", gid));
        must(second, "registerBranch",
             json_pack("{ssssssssssss}", "gid", gid, "trans_type", "tcc", "branch_id", "01", "confirm", url,
                       "cancel", url, "data", "{}"));
        must(first, i == 0 ? "abort" : "submit", body_of("tcc", gid));
        must_become(second, gid, i == 0 ? "failed" : "succeed");
        snprintf(gid, sizeof gid, SCENE "-wf-%u", i);
        must(first, "prepareWorkflow", body_of("workflow", gid));
        must(second, "registerBranch",
             json_pack("{ssssssssssss}", "gid", gid, "trans_type", "workflow", "branch_id", "01", "op",
                       "action", "status", "succeed", "data", "x"));
        json_t *end = body_of("workflow", gid);
        json_object_set_new(end, "req_extra", json_pack("{ss}", "status", "succeed"));
        must(first, "submit", end);
        must_become(second, gid, "succeed");
        /* waiting works at a node that does not lead, too */
        snprintf(gid, sizeof gid, SCENE "-wait-%u", i);
        json_t *waits = saga_of(gid);
        json_object_set_new(waits, "wait_result", json_true());
        must(first, "submit", waits);
        char status[16];
        status_of(second, gid, status);
        assert_string_equal(status, "succeed");
    }
}

#ifdef ASSENT_TEST_HOOKS
/* The gid a poll at `node` found; "" for none. */
static void poll_at(const struct cluster_node *node, char gid[64])
{
    struct http_answer a;
    ask(node, "POST", "testPoll?cronForward=30", NULL, &a);
    const char *found = json_string_value(json_object_get(a.body, "gid"));
    assert_non_null(found);
    snprintf(gid, 64, "%s", found);
    http_answer_clear(&a);
}

/* What was switched off stays off for the next leader: its time limits end when the suite says so. */
static void a_new_leader_polls_no_more_than_the_old_one(void **state)
{
    (void)state;
    char gid[64];
    struct cluster_node *leader = cluster_leader(&c);
    assert_non_null(leader);
    struct cluster_node *other = leader == &c.nodes[0] ? &c.nodes[1] : &c.nodes[0];
    must(other, "testWipe", NULL);
    must(other, "testPolling?on=0", NULL);
    json_t *tcc = body_of("tcc", SCENE "-off");
    json_object_set_new(tcc, "timeout_to_fail", json_integer(1));
    must(other, "prepare", tcc);
    cluster_kill(leader);
    assert_non_null(cluster_leader(&c));
    cluster_start(&c, leader);
    /* its time limit goes by; that no tick ever ends it is a claim of test_hooks */
    for (int64_t end = monotonic_ms() + 1500; monotonic_ms() < end; sleep_ms(20)) {
        char status[16];
        status_of(other, SCENE "-off", status);
        assert_true(status[0] == 0 || strcmp(status, "prepared") == 0);
    }
    must_become(other, SCENE "-off", "prepared");
    poll_at(leader, gid);
    assert_string_equal(gid, SCENE "-off");
    must_become(other, SCENE "-off", "failed");
    must(leader, "testPolling?on=1", NULL);
    must(leader, "testWipe", NULL);
    must_become(other, SCENE "-off", "");
}
#endif

/* ---- leaders that die ---- */

static struct {
    atomic_bool taken[SAGAS_MAX]; /* answered with 200 */
    atomic_bool stop;
    atomic_uint begun;    /* sagas that were submitted, answered or not */
    atomic_uint definite; /* answers that say "never" */
    atomic_uint words;    /* 5xx with one of DTM's words */
} work;

/* A client in a hurry: one saga after the other, each at the next node. */
static void *submit_all(void *arg)
{
    (void)arg;
    while (!atomic_load(&work.stop) && atomic_load(&work.begun) < SAGAS_MAX) {
        unsigned i = atomic_load(&work.begun);
        char gid[32];
        struct http_answer a;
        snprintf(gid, sizeof gid, SCENE "-%u", i);
        json_t *body = saga_of(gid);
        ask(&c.nodes[i % c.n], "POST", "submit", body, &a);
        json_decref(body);
        char *text = json_dumps(a.body, 0);
        atomic_fetch_add(&work.definite, a.status == 409 || a.status == 425);
        atomic_store(&work.taken[i], a.status == 200);
        if (a.status >= 500 && text != NULL && (strstr(text, "FAILURE") || strstr(text, "ONGOING")))
            atomic_fetch_add(&work.words, 1);
        free(text);
        http_answer_clear(&a);
        atomic_fetch_add(&work.begun, 1);
        sleep_ms(2);
    }
    return NULL;
}

static void wait_begun(unsigned n)
{
    for (int64_t end = monotonic_ms() + PATIENCE_S * 1000; atomic_load(&work.begun) < n; sleep_ms(10))
        assert_true(monotonic_ms() < end);
}

static void nothing_is_refused_or_forgotten_while_leaders_die(void **state)
{
    (void)state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, submit_all, NULL), 0);
    for (int i = 0; i < DEATHS; i++) {
        wait_begun(atomic_load(&work.begun) + PER_DEATH);
        struct cluster_node *leader = cluster_leader(&c);
        assert_non_null(leader);
        cluster_kill(leader);
        wait_begun(atomic_load(&work.begun) + PER_DEATH);
        assert_non_null(cluster_leader(&c));
        cluster_start(&c, leader);
    }
    wait_begun(atomic_load(&work.begun) + PER_DEATH);
    atomic_store(&work.stop, true);
    pthread_join(thread, NULL);
    assert_int_equal(atomic_load(&work.definite), 0);
    assert_int_equal(atomic_load(&work.words), 0);
    struct cluster_node *leader = cluster_leader(&c);
    assert_non_null(leader);
    unsigned begun = atomic_load(&work.begun);
    for (unsigned i = 0; i < begun; i++) {
        char gid[32], status[16];
        snprintf(gid, sizeof gid, SCENE "-%u", i);
        status_of(leader, gid, status);
        if (status[0] != 0)
            must_become(leader, gid, "succeed");
        else /* only a call that was not answered by 200 may have had no effect */
            assert_false(atomic_load(&work.taken[i]));
    }
    passed = true;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_node_takes_every_call),
#ifdef ASSENT_TEST_HOOKS
        cmocka_unit_test(a_new_leader_polls_no_more_than_the_old_one),
#endif
        cmocka_unit_test(nothing_is_refused_or_forgotten_while_leaders_die),
    };
    return cmocka_run_group_tests(tests, up, down);
}
