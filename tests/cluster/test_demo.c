/* The demonstrations, as a user runs them: assentctl local up, assent-demo NAME, assentctl local down. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cluster.h"

static struct {
    struct cluster place; /* for its directory only */
    char ctl[600], demo[600], dir[300], file[340], log[340], endpoints[128];
} w;

static void print_log(void)
{
    char line[1024];
    FILE *f = fopen(w.log, "r");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        fputs(line, stderr);
    if (f != NULL)
        fclose(f);
}

static int run(const char *program, const char *const *args)
{
    char *argv[24] = {(char *)(uintptr_t)program};
    size_t n = 1;
    for (; *args != NULL && n < 23; args++)
        argv[n++] = (char *)(uintptr_t)*args;
    remove(w.log);
    int status = cluster_run(w.log, argv);
    if (status != 0)
        print_log();
    return status;
}

static int local_up(void **state)
{
    char daemon[600], http[8], rpc[8], raft[8];
    (void)state;
    cluster_init(&w.place, 0, NULL);
    cluster_program(w.ctl, sizeof(w.ctl), "client/ctl/assentctl");
    cluster_program(w.demo, sizeof(w.demo), "client/demo/assent-demo");
    cluster_program(daemon, sizeof(daemon), "node/assentd");
    setenv("ASSENTD", daemon, 1);
    uint16_t port = cluster_ports(9);
    snprintf(w.dir, sizeof(w.dir), "%s/local", w.place.dir);
    snprintf(w.file, sizeof(w.file), "%s/nodes.json", w.dir);
    snprintf(w.log, sizeof(w.log), "%s/output", w.place.dir);
    snprintf(http, sizeof(http), "%u", port);
    snprintf(rpc, sizeof(rpc), "%u", port + 3);
    snprintf(raft, sizeof(raft), "%u", port + 6);
    snprintf(w.endpoints, sizeof(w.endpoints), "127.0.0.1:%u,127.0.0.1:%u,127.0.0.1:%u", port, port + 1,
             port + 2);
    return run(w.ctl, (const char *[]){"local", "up", "--dir", w.dir, "--http-port", http, "--rpc-port", rpc,
                                       "--raft-port", raft, NULL});
}

static int local_down(void **state)
{
    (void)state;
    int status = run(w.ctl, (const char *[]){"local", "down", "--dir", w.dir, "--wipe", NULL});
    cluster_close(&w.place, false);
    return status;
}

/* `*state` names it. */
static void the_demonstration_holds(void **state)
{
    const char *name = *state;
    assert_int_equal(run(w.demo, (const char *[]){"run", name, "--endpoints", w.endpoints, "--state", w.file,
                                                  "--down", "1", NULL}),
                     0);
}

static void the_demonstration_holds_though_its_leader_is_killed(void **state)
{
    const char *name = *state;
    assert_int_equal(run(w.demo, (const char *[]){name, "--kill-leader", "--endpoints", w.endpoints,
                                                  "--state", w.file, "--down", "2", NULL}),
                     0);
}

static void an_unknown_demonstration_is_a_usage_error(void **state)
{
    (void)state;
    char *argv[] = {w.demo, (char[]){"run"}, (char[]){"no-such-thing"}, NULL};
    assert_int_equal(cluster_run(w.log, argv), 2);
}

/* Nothing to show without a cluster: it says so, and fails. */
static void a_demonstration_without_a_cluster_fails(void **state)
{
    char at[32];
    (void)state;
    snprintf(at, sizeof(at), "127.0.0.1:%u", cluster_ports(1));
    char *argv[] = {
        w.demo, (char[]){"transfer"}, (char[]){"--patience"}, (char[]){"200"}, (char[]){"--endpoints"}, at,
        NULL};
    assert_int_equal(cluster_run(w.log, argv), 1);
}

int main(void)
{
#define DEMO(n)                                                                                              \
    {n, the_demonstration_holds, NULL, NULL, (char[]){n}},                                                   \
    {                                                                                                        \
        n " with a leader killed", the_demonstration_holds_though_its_leader_is_killed, NULL, NULL, (char[]) \
        {                                                                                                    \
            n                                                                                                \
        }                                                                                                    \
    }
    const struct CMUnitTest tests[] = {
        DEMO("transfer"),
        DEMO("transfer-saga"),
        DEMO("transfer-message"),
        {"transfer-workflow with a leader killed", the_demonstration_holds_though_its_leader_is_killed, NULL,
         NULL, (char[]){"transfer-workflow"}}, /* once only: it waits for 10 s */
        DEMO("order"),
        DEMO("failing-step"),
        DEMO("participant-down"),
        cmocka_unit_test(an_unknown_demonstration_is_a_usage_error),
        cmocka_unit_test(a_demonstration_without_a_cluster_fails),
    };
    return cmocka_run_group_tests(tests, local_up, local_down);
}
