/* Leaders killed with SIGKILL under load: no acknowledged write is lost or done twice, no transaction is
 * rolled back by an election, phase two goes on by itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "load.h"

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

static void expect_status(const char *xid, const char *status)
{
    char path[128];
    snprintf(path, sizeof(path), "/transaction/status/%s", xid);
    json_t *data = cluster_must(&c, "GET", path, NULL);
    assert_string_equal(json_string_value(json_object_get(data, "status")), status);
    json_decref(data);
}

static void killed_leaders_lose_nothing(void **state)
{
    static struct load l;
    (void)state;
    char xid[32];
    for (int i = 0; i < 20; i++) {
        snprintf(xid, sizeof(xid), "open-%d", i);
        json_decref(cluster_must(&c, "POST", "/transaction/begin",
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
    load_check(&l, &c);
    for (int i = 0; i < 20; i++) {
        snprintf(xid, sizeof(xid), "open-%d", i);
        expect_status(xid, "ACTIVE"); /* no election has rolled it back */
        json_decref(cluster_must(&c, "POST", "/transaction/commit", json_pack("{s:s}", "xid", xid)));
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
    load_check(&l, &c);
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
