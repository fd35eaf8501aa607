/* The demonstration, as a user runs it: assentctl local up, assent-demo transfer, assentctl local down. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cluster.h"

static void print_file(const char *path)
{
    char line[1024];
    FILE *f = fopen(path, "r");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        fputs(line, stderr);
    if (f != NULL)
        fclose(f);
}

static void a_transfer_commits_although_its_leader_is_killed(void **state)
{
    struct cluster place; /* for its directory only */
    char ctl[600], demo[600], daemon[600], dir[300], file[340], log[340], endpoints[128], http[8], rpc[8],
        raft[8];
    (void)state;
    cluster_init(&place, 0, NULL);
    cluster_program(ctl, sizeof(ctl), "client/ctl/assentctl");
    cluster_program(demo, sizeof(demo), "client/demo/assent-demo");
    cluster_program(daemon, sizeof(daemon), "node/assentd");
    setenv("ASSENTD", daemon, 1);
    uint16_t port = cluster_ports(9);
    snprintf(dir, sizeof(dir), "%s/local", place.dir);
    snprintf(file, sizeof(file), "%s/nodes.json", dir);
    snprintf(log, sizeof(log), "%s/output", place.dir);
    snprintf(http, sizeof(http), "%u", port);
    snprintf(rpc, sizeof(rpc), "%u", port + 3);
    snprintf(raft, sizeof(raft), "%u", port + 6);
    snprintf(endpoints, sizeof(endpoints), "127.0.0.1:%u,127.0.0.1:%u,127.0.0.1:%u", port, port + 1,
             port + 2);
    char *up[] = {ctl, (char[]){"local"},       (char[]){"up"}, (char[]){"--dir"},
                  dir, (char[]){"--http-port"}, http,           (char[]){"--rpc-port"},
                  rpc, (char[]){"--raft-port"}, raft,           NULL};
    char *transfer[] = {
        demo, (char[]){"transfer"}, (char[]){"--endpoints"}, endpoints, (char[]){"--state"}, file, NULL};
    char *down[] = {ctl, (char[]){"local"}, (char[]){"down"}, (char[]){"--dir"}, dir, (char[]){"--wipe"},
                    NULL};
    int status[3];
    status[0] = cluster_run(log, up);
    status[1] = status[0] == 0 ? cluster_run(log, transfer) : -1;
    status[2] = cluster_run(log, down);
    if (status[0] != 0 || status[1] != 0 || status[2] != 0)
        print_file(log);
    cluster_close(&place, false);
    assert_int_equal(status[0], 0);
    assert_int_equal(status[1], 0);
    assert_int_equal(status[2], 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_transfer_commits_although_its_leader_is_killed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
