/* A rule of --simulate kills the leader after a participant has answered and before that is reported: the
 * next leader makes the same call again, and the saga ends as it would have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <microhttpd.h>

#include "cluster.h"

static struct cluster c;
static bool passed;

/* ---- the participant: calls of the action, and how many of these were the first attempt ---- */

static atomic_int actions, first_attempts;

static enum MHD_Result serve(void *data, struct MHD_Connection *connection, const char *url,
                             const char *method, const char *version, const char *body, size_t *body_size,
                             void **state)
{
    (void)data, (void)url, (void)method, (void)version, (void)body;
    if (*state == NULL) { /* the head */
        *state = &actions;
        return MHD_YES;
    }
    if (*body_size > 0) {
        *body_size = 0;
        return MHD_YES;
    }
    const char *attempt = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Assent-Attempt");
    atomic_fetch_add(&actions, 1);
    atomic_fetch_add(&first_attempts, attempt != NULL && strcmp(attempt, "0") == 0);
    struct MHD_Response *response =
        MHD_create_response_from_buffer(2, (void *)(uintptr_t) "{}", MHD_RESPMEM_PERSISTENT);
    enum MHD_Result result = MHD_queue_response(connection, 200, response);
    MHD_destroy_response(response);
    return result;
}

static void a_crash_after_the_answer_repeats_the_call(void **state)
{
    /* who leads keeps leading while the others start again, also on a busy machine */
    static const char *const plain[] = {"--election-ms", "2000", NULL};
    static const char *const rules[] = {"--election-ms",
                                        "2000",
                                        "--allow-simulated-faults",
                                        "--simulate",
                                        "mode=SAGA,op=action,fault=crash,count=1",
                                        NULL};
    (void)state;
    struct MHD_Daemon *server =
        MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, serve, NULL, MHD_OPTION_END);
    assert_non_null(server);
    cluster_init(&c, 3, rules);
    cluster_start_all(&c);
    struct cluster_node *leader = cluster_leader(&c);
    assert_non_null(leader);
    c.flags = plain; /* the others are to live */
    for (uint32_t i = 0; i < c.n; i++) {
        if (&c.nodes[i] == leader)
            continue;
        assert_int_equal(cluster_stop(&c.nodes[i]), 0);
        cluster_start(&c, &c.nodes[i]);
        cluster_tick(&c); /* it has come back, or the other one could not be stopped */
    }
    assert_ptr_equal(cluster_leader(&c), leader);

    char url[100];
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/ok",
             MHD_get_daemon_info(server, MHD_DAEMON_INFO_BIND_PORT)->port);
    json_decref(cluster_must(
        &c, "POST", "/transaction/saga",
        json_pack("{s:s,s:[{s:s,s:s}]}", "xid", "t", "steps", "actionUrl", url, "compensateUrl", url)));
    assert_int_equal(cluster_wait_exit(leader), 86);
    assert_true(cluster_log_has(leader, "fault_simulated"));
    bool committed = false;
    for (int ms = 0; !committed && ms < CLUSTER_PATIENCE_MS; ms += 20) {
        json_t *t = cluster_must(&c, "GET", "/transaction/status/t", NULL);
        committed = strcmp(json_string_value(json_object_get(t, "status")), "COMMITTED") == 0;
        json_decref(t);
        usleep(20000);
    }
    assert_true(committed);
    assert_int_equal(atomic_load(&actions), 2);
    assert_int_equal(atomic_load(&first_attempts), 2); /* nobody knew of the first */
    MHD_stop_daemon(server);
    passed = true;
}

static int teardown(void **state)
{
    (void)state;
    cluster_close(&c, !passed);
    return 0;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_crash_after_the_answer_repeats_the_call, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
