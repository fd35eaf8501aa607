/* Calls repeated over the death of leaders: each command runs once, each branch is confirmed or cancelled as
 * decided, once in effect. */
#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>
#include <microhttpd.h>

#include "assent/client.h"
#include "load.h"

#define KILLS    4
#define TXNS_MAX 200

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

/* ---- one key, two nodes
 * ------------------------------------------------------------------------------------------- */

static json_int_t tick_with_key(const struct cluster_node *node, const char *key)
{
    struct http_answer a = {0};
    int64_t until = monotonic_ms() + CLUSTER_PATIENCE_MS;
    do {
        http_answer_clear(&a);
        json_t *body = json_object();
        cluster_ask(node, "POST", "/lamport/tick", key, body, 15000, &a);
        json_decref(body);
    } while (a.status != 200 && monotonic_ms() < until);
    assert_int_equal(a.status, 200);
    json_int_t value = json_integer_value(json_object_get(json_object_get(a.body, "data"), "value"));
    http_answer_clear(&a);
    return value;
}

static void a_retry_at_another_node_gets_the_stored_reply(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++) {
        char key[64];
        snprintf(key, sizeof(key), "Idempotency-Key: round-%d", round);
        struct cluster_node *leader = cluster_leader(&c);
        assert_non_null(leader);
        json_int_t value = tick_with_key(leader, key);
        assert_int_equal(value, 2 * round + 1);
        cluster_kill(leader);
        for (uint32_t i = 0; i < c.n; i++)
            if (&c.nodes[i] != leader)
                assert_int_equal(tick_with_key(&c.nodes[i], key), value);
        assert_int_equal(cluster_tick(&c), 2 * round + 2); /* and the clock has moved once */
        cluster_start(&c, leader);
        assert_int_equal(tick_with_key(leader, key), value);
    }
    passed = true;
}

/* ---- a session of the library
 * ------------------------------------------------------------------------------------- */

#define CALLERS 4

struct caller {
    pthread_t thread;
    struct assent_client *client;
    const atomic_bool *stop;
    char name[24];
    atomic_ullong acknowledged;
    char wrong[200];
};

static void *count_on(void *data)
{
    struct caller *k = data;
    while (!atomic_load(k->stop) && k->wrong[0] == 0) {
        unsigned long long want = atomic_load(&k->acknowledged) + 1;
        uint64_t first = 0, value = 0;
        int rc = assent_sequence_next(k->client, k->name, 1, &first);
        if (rc == ASSENT_OK)
            rc = assent_clock_lamport_tick(k->client, k->name, 1, &value);
        if (rc != ASSENT_OK || first != want || value != want)
            snprintf(k->wrong, sizeof(k->wrong), "%s: call %llu: %s, number %llu, tick %llu", k->name, want,
                     assent_error_name(rc), (unsigned long long)first, (unsigned long long)value);
        else
            atomic_store(&k->acknowledged, want);
    }
    return NULL;
}

static bool callers_go_on(struct caller *callers, unsigned long long more)
{
    unsigned long long from[CALLERS];
    int64_t until = monotonic_ms() + CLUSTER_PATIENCE_MS;
    for (int i = 0; i < CALLERS; i++)
        from[i] = atomic_load(&callers[i].acknowledged);
    for (int i = 0; i < CALLERS; i++)
        while (atomic_load(&callers[i].acknowledged) < from[i] + more) {
            if (monotonic_ms() > until || callers[i].wrong[0] != 0)
                return false;
            sleep_ms(2);
        }
    return true;
}

static void a_session_counts_exactly_over_killed_leaders(void **state)
{
    static struct caller callers[CALLERS];
    static atomic_bool stop;
    char endpoints[256] = "";
    struct assent_client *client;
    struct assent_options options;
    (void)state;
    for (uint32_t i = 0, n = 0; i < c.n; i++)
        n += (uint32_t)snprintf(endpoints + n, sizeof(endpoints) - n, "%s127.0.0.1:%u", i > 0 ? "," : "",
                                c.nodes[i].rpc);
    assent_options_init(&options);
    options.endpoints = endpoints;
    options.timeout_ms = CLUSTER_PATIENCE_MS;
    assert_int_equal(assent_open(&client, &options), ASSENT_OK);
    for (int i = 0; i < CALLERS; i++) {
        callers[i].client = client;
        callers[i].stop = &stop;
        snprintf(callers[i].name, sizeof(callers[i].name), "caller-%d", i);
        assert_int_equal(pthread_create(&callers[i].thread, NULL, count_on, &callers[i]), 0);
    }
    bool went_on = callers_go_on(callers, 20);
    for (int kill = 0; kill < KILLS && went_on; kill++) {
        struct cluster_node *leader = cluster_leader(&c);
        if (leader == NULL)
            break;
        cluster_kill(leader);
        went_on = callers_go_on(callers, 20);
        cluster_start(&c, leader);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < CALLERS; i++)
        pthread_join(callers[i].thread, NULL);
    for (int i = 0; i < CALLERS; i++) {
        uint64_t value = 0;
        assert_string_equal(callers[i].wrong, "");
        assert_int_equal(assent_clock_lamport_current(client, callers[i].name, &value), ASSENT_OK);
        assert_int_equal(value, atomic_load(&callers[i].acknowledged));
    }
    assent_close(client);
    assert_true(went_on);
    assert_true(cluster_agrees(&c));
    passed = true;
}

/* ---- transactions
 * ------------------------------------------------------------------------------------------------- */

/* Two participants of every transaction; `effect` is what the first call did, later ones change nothing. */
struct participant {
    pthread_mutex_t mutex;
    uint64_t calls, refused;
    char effect[TXNS_MAX]; /* 0 none, 'c' confirmed, 'x' cancelled */
    int contradictions;    /* a branch that was told both */
};
static struct participant participants[2];

static enum MHD_Result respond(struct MHD_Connection *connection, unsigned status)
{
    struct MHD_Response *r =
        MHD_create_response_from_buffer(2, (void *)(uintptr_t) "{}", MHD_RESPMEM_PERSISTENT);
    enum MHD_Result rv = MHD_queue_response(connection, status, r);
    MHD_destroy_response(r);
    return rv;
}

/* The path is /0 or /1.  Every third call has its effect, but its answer says otherwise, so it is repeated.
 */
static enum MHD_Result on_branch_call(void *data, struct MHD_Connection *connection, const char *url,
                                      const char *method, const char *version, const char *body,
                                      size_t *body_size, void **request)
{
    static int begun;
    (void)data, (void)method, (void)version, (void)body;
    if (*request == NULL) {
        *request = &begun;
        return MHD_YES;
    }
    if (*body_size > 0) {
        *body_size = 0;
        return MHD_YES;
    }
    const char *xid = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Assent-Xid");
    const char *op = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Assent-Op");
    unsigned n = TXNS_MAX;
    if (xid == NULL || op == NULL || sscanf(xid, "txn-%u", &n) != 1 || n >= TXNS_MAX)
        return respond(connection, 400);
    struct participant *p = &participants[url[1] == '1'];
    char effect = strcmp(op, "confirm") == 0 ? 'c' : 'x';
    pthread_mutex_lock(&p->mutex);
    if (p->effect[n] == 0)
        p->effect[n] = effect;
    p->contradictions += p->effect[n] != effect;
    bool lie = p->calls++ % 3 == 0;
    p->refused += lie;
    pthread_mutex_unlock(&p->mutex);
    return respond(connection, lie ? 503 : 200);
}

struct coordinator {
    pthread_t thread;
    atomic_bool stop;
    atomic_uint begun;
    char url[2][64];
    char decided[TXNS_MAX]; /* 'c', 'x', 't': left to its timeout */
    char wrong[600];
};

static bool txn_call(struct coordinator *k, struct endpoints *e, const char *path, json_t *body)
{
    json_t *data;
    char error[600]; /* what retries found wrong does not count */
    bool ok = cluster_call(e, "POST", path, body, CLUSTER_PATIENCE_MS, &data, error, sizeof(error));
    json_decref(body);
    json_decref(data);
    if (!ok)
        memcpy(k->wrong, error, sizeof(error));
    return ok;
}

static void *coordinate(void *data)
{
    struct coordinator *k = data;
    struct endpoints e;
    cluster_endpoints(&c, 0, &e);
    for (unsigned n = 0; n < TXNS_MAX && !atomic_load(&k->stop); n++) {
        char xid[32];
        const char *a = k->url[0], *b = k->url[1];
        snprintf(xid, sizeof(xid), "txn-%u", n);
        k->decided[n] = "ccxcct"[n % 6];
        json_t *begin = json_pack("{s:s, s:i, s:i, s:i, s:[{s:s,s:s,s:s},{s:s,s:s,s:s}]}", "xid", xid,
                                  "timeoutMs", k->decided[n] == 't' ? 500 : 600000, "retryBaseMs", 20,
                                  "retryCapMs", 200, "branches", "branch", "a", "confirmUrl", a, "cancelUrl",
                                  a, "branch", "b", "confirmUrl", b, "cancelUrl", b);
        if (!txn_call(k, &e, "/transaction/begin", begin))
            break;
        atomic_store(&k->begun, n + 1);
        if (k->decided[n] != 't' &&
            !txn_call(k, &e, k->decided[n] == 'c' ? "/transaction/commit" : "/transaction/rollback",
                      json_pack("{s:s}", "xid", xid)))
            break;
        sleep_ms(50); /* the pace of the load, not a proof */
    }
    return NULL;
}

/* Wait for the end of transaction `n`, which must be what was decided, at both participants. */
static void expect_end(const struct coordinator *k, unsigned n)
{
    const char *want = k->decided[n] == 'c' ? "COMMITTED" : "ROLLED_BACK";
    char path[64], status[32] = "";
    int64_t until = monotonic_ms() + CLUSTER_PATIENCE_MS;
    snprintf(path, sizeof(path), "/transaction/status/txn-%u", n);
    while (strcmp(status, want) != 0 && monotonic_ms() < until) {
        json_t *data = cluster_must(&c, "GET", path, NULL);
        snprintf(status, sizeof(status), "%s", json_string_value(json_object_get(data, "status")));
        json_decref(data);
    }
    assert_string_equal(status, want);
    for (int i = 0; i < 2; i++)
        assert_int_equal(participants[i].effect[n], k->decided[n] == 'c' ? 'c' : 'x');
}

static struct MHD_Daemon *open_participants(struct coordinator *k)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 0; i < 2; i++)
        pthread_mutex_init(&participants[i].mutex, NULL);
    struct MHD_Daemon *d = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, on_branch_call,
                                            NULL, MHD_OPTION_SOCK_ADDR, &at, MHD_OPTION_END);
    assert_non_null(d);
    for (int i = 0; i < 2; i++)
        snprintf(k->url[i], sizeof(k->url[i]), "http://127.0.0.1:%u/%d",
                 MHD_get_daemon_info(d, MHD_DAEMON_INFO_BIND_PORT)->port, i);
    return d;
}

static void transactions_end_as_decided_over_killed_leaders(void **state)
{
    static struct coordinator k;
    (void)state;
    struct MHD_Daemon *d = open_participants(&k);
    assert_int_equal(pthread_create(&k.thread, NULL, coordinate, &k), 0);
    for (int kill = 0; kill < KILLS; kill++) {
        unsigned before = atomic_load(&k.begun);
        int64_t until = monotonic_ms() + CLUSTER_PATIENCE_MS;
        while (atomic_load(&k.begun) < before + 12 && k.wrong[0] == 0 && monotonic_ms() < until)
            sleep_ms(10);
        struct cluster_node *leader = cluster_leader(&c);
        if (leader == NULL)
            break;
        cluster_kill(leader);
        cluster_leader(&c);
        cluster_start(&c, leader);
    }
    atomic_store(&k.stop, true);
    pthread_join(k.thread, NULL);
    assert_string_equal(k.wrong, "");
    assert_true(atomic_load(&k.begun) >= 40);
    for (unsigned n = 0; n < atomic_load(&k.begun); n++)
        expect_end(&k, n);
    MHD_stop_daemon(d);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(participants[i].contradictions, 0);
        assert_true(participants[i].refused > 0); /* calls were repeated */
    }
    assert_true(cluster_agrees(&c));
    passed = true;
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    static const struct CMUnitTest tests[] = {
        T(a_retry_at_another_node_gets_the_stored_reply),
        T(a_session_counts_exactly_over_killed_leaders),
        T(transactions_end_as_decided_over_killed_leaders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
