/* Sagas over the death of leaders: a leader dies while it calls a step, its successor goes on, in both
 * directions. */
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

#include "cluster.h"

/* A participant that keeps its guard in memory.  `hold` names one call, as "02action"; it is not answered
 * before the gate opens.  `refuse` is always answered 409. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char order[256]; /* effects in order, as "01action 02action" */
    const char *hold, *refuse;
    bool holding, open;
} p = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static struct cluster c;
static bool passed;
static struct MHD_Daemon *daemon_;
static uint16_t port;

static unsigned effect(const char *name)
{
    unsigned status = 200;
    pthread_mutex_lock(&p.lock);
    if (strstr(p.order, name) == NULL) { /* the guard row: a repeated call changes nothing */
        size_t n = strlen(p.order);
        snprintf(p.order + n, sizeof(p.order) - n, "%s%s", n > 0 ? " " : "", name);
    }
    if (p.hold != NULL && strcmp(p.hold, name) == 0) {
        p.holding = true;
        pthread_cond_broadcast(&p.changed);
        while (!p.open)
            pthread_cond_wait(&p.changed, &p.lock);
    }
    if (p.refuse != NULL && strcmp(p.refuse, name) == 0)
        status = 409;
    pthread_mutex_unlock(&p.lock);
    return status;
}

static enum MHD_Result on_call(void *data, struct MHD_Connection *connection, const char *url,
                               const char *method, const char *version, const char *upload, size_t *size,
                               void **seen)
{
    (void)data, (void)url, (void)method, (void)version, (void)upload;
    if (*seen == NULL || *size > 0) {
        *seen = &p;
        *size = 0;
        return MHD_YES;
    }
    const char *branch = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Assent-Branch");
    const char *op = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Assent-Op");
    char name[64];
    snprintf(name, sizeof(name), "%s%s", branch != NULL ? branch : "", op != NULL ? op : "");
    unsigned status = effect(name);
    struct MHD_Response *r = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    enum MHD_Result rv = MHD_queue_response(connection, status, r);
    MHD_destroy_response(r);
    return rv;
}

static int setup(void **state)
{
    (void)state;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    passed = false;
    memset(p.order, 0, sizeof(p.order));
    p.hold = p.refuse = NULL;
    p.holding = p.open = false;
    daemon_ = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION, 0, NULL, NULL,
                               on_call, NULL, MHD_OPTION_SOCK_ADDR, &address, MHD_OPTION_END);
    if (daemon_ == NULL)
        return -1;
    port = MHD_get_daemon_info(daemon_, MHD_DAEMON_INFO_BIND_PORT)->port;
    cluster_init(&c, 3, NULL);
    cluster_start_all(&c);
    return cluster_leader(&c) != NULL ? 0 : -1;
}

static void open_gate(void)
{
    pthread_mutex_lock(&p.lock);
    p.open = true;
    pthread_cond_broadcast(&p.changed);
    pthread_mutex_unlock(&p.lock);
}

static int teardown(void **state)
{
    (void)state;
    open_gate();
    cluster_close(&c, !passed);
    MHD_stop_daemon(daemon_);
    return 0;
}

static void submit(void)
{
    json_t *steps = json_array();
    char url[64];
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/", port);
    for (int i = 0; i < 3; i++)
        json_array_append_new(steps, json_pack("{s:s, s:s}", "actionUrl", url, "compensateUrl", url));
    json_decref(
        cluster_must(&c, "POST", "/transaction/saga", json_pack("{s:s, s:o}", "xid", "t", "steps", steps)));
}

static void wait_held(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += CLUSTER_PATIENCE_MS / 1000;
    int rv = 0;
    pthread_mutex_lock(&p.lock);
    while (!p.holding && rv == 0)
        rv = pthread_cond_timedwait(&p.changed, &p.lock, &until);
    pthread_mutex_unlock(&p.lock);
    assert_int_equal(rv, 0);
}

/* The leader dies while it waits for the answer of the held call. */
static void run(const char *hold, const char *refuse, const char *end, const char *order)
{
    char status[32] = "";
    p.hold = hold;
    p.refuse = refuse;
    submit();
    wait_held();
    struct cluster_node *leader = cluster_leader(&c);
    assert_non_null(leader);
    cluster_kill(leader);
    open_gate();
    int64_t until = monotonic_ms() + CLUSTER_PATIENCE_MS;
    while (strcmp(status, end) != 0 && monotonic_ms() < until) {
        json_t *data = cluster_must(&c, "GET", "/transaction/status/t", NULL);
        snprintf(status, sizeof(status), "%s", json_string_value(json_object_get(data, "status")));
        json_decref(data);
        sleep_ms(20);
    }
    assert_string_equal(status, end);
    assert_string_equal(p.order, order);
    cluster_start(&c, leader);
    assert_true(cluster_agrees(&c));
    passed = true;
}

static void a_leader_that_dies_in_an_action_is_followed_forward(void **state)
{
    (void)state;
    run("02action", NULL, "COMMITTED", "01action 02action 03action");
}

static void a_leader_that_dies_in_a_compensation_is_followed_back(void **state)
{
    (void)state;
    run("02compensate", "03action", "ROLLED_BACK",
        "01action 02action 03action 03compensate 02compensate 01compensate");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    static const struct CMUnitTest tests[] = {
        T(a_leader_that_dies_in_an_action_is_followed_forward),
        T(a_leader_that_dies_in_a_compensation_is_followed_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
