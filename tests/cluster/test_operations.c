/* What operators do to a cluster: back-up and restore, recovery from a lost majority, a member in another's
 * place. */
#include <arpa/inet.h>
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "cluster.h"

static struct cluster c, other;
static bool passed;

static int setup(void **state)
{
    (void)state;
    passed = false;
    c.n = other.n = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    cluster_close(&c, !passed);
    if (other.n > 0)
        cluster_close(&other, !passed);
    return 0;
}

/* ---- programs ---- */

#define WORDS_MAX 24

/* Run a program of the build with these words; what it says goes to `said`.  Its exit status. */
static int run(char said[2000], const char *name, ...)
{
    char program[600], log[600];
    char *argv[WORDS_MAX] = {program};
    va_list words;
    int n = 1;
    cluster_program(program, sizeof(program), name);
    snprintf(log, sizeof(log), "%s/said.log", c.dir);
    unlink(log);
    va_start(words, name);
    while ((argv[n] = va_arg(words, char *)) != NULL)
        assert_true(++n < WORDS_MAX);
    va_end(words);
    int status = cluster_run(log, argv);
    FILE *f = fopen(log, "r");
    assert_non_null(f);
    said[fread(said, 1, 1999, f)] = 0;
    fclose(f);
    return status;
}

static void endpoints(struct cluster *cluster, char out[512])
{
    size_t at = 0;
    for (uint32_t i = 0; i < cluster->n; i++)
        at +=
            (size_t)snprintf(out + at, 512 - at, "%s127.0.0.1:%u", i > 0 ? "," : "", cluster->nodes[i].http);
}

static void members(struct cluster *cluster, char out[512])
{
    size_t at = 0;
    for (uint32_t i = 0; i < cluster->voters; i++)
        at += (size_t)snprintf(out + at, 512 - at, "%s%u=127.0.0.1:%u", i > 0 ? "," : "",
                               cluster->nodes[i].id, cluster->nodes[i].raft);
}

static long long number(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

/* A transaction whose xid the cluster makes: all replicas must make the same. */
static void begin_unnamed(struct cluster *cluster, char xid[64])
{
    json_t *data = cluster_must(cluster, "POST", "/transaction/begin", json_object());
    snprintf(xid, 64, "%s", json_string_value(json_object_get(data, "xid")));
    assert_true(strlen(xid) > 8);
    json_decref(data);
}

/* One more voter. */
static struct cluster_node *join(struct cluster *cluster)
{
    struct cluster_node *node = cluster_add(cluster);
    char address[32], path[64];
    snprintf(address, sizeof(address), "127.0.0.1:%u", node->raft);
    cluster_start(cluster, node);
    json_decref(cluster_must(cluster, "POST", "/cluster/members",
                             json_pack("{s:i, s:s}", "id", (int)node->id, "address", address)));
    snprintf(path, sizeof(path), "/cluster/members/%u/promote", node->id);
    json_decref(cluster_must(cluster, "POST", path, NULL));
    return node;
}

/* ---- back-up and restore ---- */

struct known {
    char xid[64], cluster_id[32];
    long long tso, sequence;
};

/* A transaction begun under a key; the same key gives the same xid. */
static void begin_keyed(struct cluster *cluster, char xid[64])
{
    struct cluster_node *leader = cluster_leader(cluster);
    struct http_answer a;
    json_t *body = json_pack("{s:i}", "timeoutMs", 0);
    assert_non_null(leader);
    cluster_ask(leader, "POST", "/transaction/begin", "Idempotency-Key: order-7", body, CLUSTER_PATIENCE_MS,
                &a);
    assert_int_equal(a.status, 200);
    snprintf(xid, 64, "%s", json_string_value(json_object_get(json_object_get(a.body, "data"), "xid")));
    assert_true(strlen(xid) > 8);
    http_answer_clear(&a);
    json_decref(body);
}

static long long one(struct cluster *cluster, const char *path, const char *key)
{
    json_t *data = cluster_must(cluster, "POST", path, json_object());
    long long value = number(data, key);
    json_decref(data);
    return value;
}

static void cluster_id(struct cluster *cluster, char out[32])
{
    json_t *view = cluster_view(cluster_leader(cluster));
    snprintf(out, 32, "%s", json_string_value(json_object_get(view, "clusterId")));
    json_decref(view);
}

static void write_some(struct known *k)
{
    for (int i = 0; i < 10; i++)
        cluster_tick(&c);
    begin_keyed(&c, k->xid);
    k->tso = one(&c, "/tso", "timestamp");
    k->sequence = one(&c, "/sequence/invoice", "first");
    cluster_id(&c, k->cluster_id);
}

static int restore_node(const struct cluster_node *node, const char *file, const char *list, char said[2000])
{
    char id[16];
    snprintf(id, sizeof(id), "%u", node->id);
    return run(said, "node/assentd", "restore", file, "--id", id, "--data", node->dir, "--cluster", list,
               NULL);
}

/* The image as a node of the old cluster holds it. */
static void own_snapshot(char path[700])
{
    glob_t found;
    char pattern[600];
    path[0] = 0;
    for (uint32_t i = 0; i < c.n && path[0] == 0; i++) {
        snprintf(pattern, sizeof(pattern), "%s/snapshots/*.snap", c.nodes[i].dir);
        if (glob(pattern, 0, NULL, &found) == 0) {
            snprintf(path, 700, "%s", found.gl_pathv[0]);
            globfree(&found);
        }
    }
    assert_true(path[0] != 0);
}

static void damage(const char *file, const char *copy, long offset, long keep)
{
    static char bytes[1 << 20];
    FILE *in = fopen(file, "r"), *out = fopen(copy, "w");
    assert_non_null(in);
    assert_non_null(out);
    size_t size = fread(bytes, 1, sizeof(bytes), in);
    assert_true(size > 100 && size < sizeof(bytes));
    if (offset >= 0)
        bytes[(size_t)offset % size] ^= 1;
    fwrite(bytes, 1, keep > 0 ? (size_t)keep : size, out);
    fclose(in);
    fclose(out);
}

static void refusals(const char *file, const char *list)
{
    char said[2000], bad[600];
    struct cluster_node *node = &other.nodes[0];
    snprintf(bad, sizeof(bad), "%s/bad", c.dir);
    const long flips[] = {3, 20, 61, 70, 150};
    for (size_t i = 0; i < sizeof(flips) / sizeof(flips[0]); i++) {
        damage(file, bad, flips[i], 0);
        assert_int_not_equal(restore_node(node, bad, list, said), 0);
        assert_true(strlen(said) > 20);
        assert_int_not_equal(access(node->dir, F_OK), 0); /* nothing was begun */
    }
    const long cuts[] = {10, 64, 100};
    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        damage(file, bad, -1, cuts[i]);
        assert_int_not_equal(restore_node(node, bad, list, said), 0);
        assert_int_not_equal(access(node->dir, F_OK), 0);
    }
    assert_int_not_equal(restore_node(node, "/no/such/file", list, said), 0);
    assert_non_null(strstr(said, "No such file"));
    assert_int_not_equal(restore_node(node, file, "1=127.0.0.1:1,1=127.0.0.1:2", said), 0);
    assert_non_null(strstr(said, "twice"));
    assert_int_not_equal(restore_node(node, file, "2=127.0.0.1:1,3=127.0.0.1:2", said), 0);
    assert_non_null(strstr(said, "name this node"));
    assert_int_not_equal(restore_node(node, file, "one,two", said), 0);
    assert_int_not_equal(access(node->dir, F_OK), 0);
}

static void check_restored(const struct known *k)
{
    char xid[64], id[32], path[128];
    assert_int_equal(cluster_tick(&other), 11);
    begin_keyed(&other, xid);
    assert_string_equal(xid, k->xid); /* the stored reply, not another transaction */
    assert_true(one(&other, "/tso", "timestamp") > k->tso);
    assert_int_equal(one(&other, "/sequence/invoice", "first"), k->sequence + 1);
    snprintf(path, sizeof(path), "/transaction/status/%s", k->xid);
    json_t *data = cluster_must(&other, "GET", path, NULL);
    assert_string_equal(json_string_value(json_object_get(data, "status")), "ACTIVE");
    json_decref(data);
    json_decref(cluster_must(&other, "POST", "/transaction/commit", json_pack("{s:s}", "xid", k->xid)));
    cluster_id(&other, id);
    assert_string_not_equal(id, k->cluster_id);
    begin_unnamed(&other, xid);
    assert_int_not_equal(strncmp(xid, k->xid, 8), 0); /* another cluster, another tag */
    assert_true(cluster_agrees(&other));
}

static void a_backup_becomes_a_new_cluster(void **state)
{
    char said[2000], at[512], list[512], file[600], raw[700];
    struct known k;
    (void)state;
    cluster_init(&c, 3, NULL);
    cluster_start_all(&c);
    write_some(&k);
    endpoints(&c, at);
    snprintf(file, sizeof(file), "%s/backup", c.dir);
    if (run(said, "client/ctl/assentctl", "--endpoints", at, "snapshot", "save", file, NULL) != 0)
        fail_msg("%s", said);
    assert_int_equal(access(file, R_OK), 0);
    assert_int_equal(cluster_tick(&c), 11); /* after the back-up: not in it */
    assert_int_equal(cluster_tick(&c), 12);
    own_snapshot(raw);
    for (int i = 0; i < 3; i++)
        cluster_kill(&c.nodes[i]);
    cluster_init(&other, 3, NULL);
    for (int i = 0; i < 3; i++) /* in place: the same addresses and name */
        other.nodes[i].raft = c.nodes[i].raft;
    members(&other, list);
    refusals(file, list);
    for (int i = 0; i < 3; i++) /* one of them from the file a lost node holds: the same history */
        if (restore_node(&other.nodes[i], i == 1 ? raw : file, list, said) != 0)
            fail_msg("%s", said);
    assert_int_not_equal(restore_node(&other.nodes[0], file, list, said), 0);
    assert_non_null(strstr(said, "not an empty directory"));
    cluster_start_all(&other);
    check_restored(&k);
    cluster_kill(&other.nodes[2]);
    cluster_start(&c, &c.nodes[2]); /* a node of the old one at its place */
    assert_true(cluster_log_gets(&c.nodes[2], "another cluster"));
    assert_int_equal(cluster_tick(&other), 12);
    cluster_kill(&c.nodes[2]);
    cluster_start_all(&other);
    assert_true(cluster_agrees(&other));
    for (int i = 0; i < 3; i++)
        cluster_kill(&other.nodes[i]);
    cluster_start_all(&other); /* and it starts from its own log */
    assert_int_equal(cluster_tick(&other), 13);
    struct cluster_node *fourth = join(&other); /* gets the image, then the log */
    assert_true(cluster_log_has(fourth, "snapshot_installed"));
    assert_int_equal(cluster_tick(&other), 14);
    assert_true(cluster_agrees(&other));
    passed = true;
}

static void clusters_of_one_name_make_different_xids(void **state)
{
    char one_xid[64], other_xid[64];
    (void)state;
    cluster_init(&c, 1, NULL);
    cluster_init(&other, 1, NULL);
    cluster_start_all(&c);
    cluster_start_all(&other);
    begin_unnamed(&c, one_xid);
    begin_unnamed(&other, other_xid);
    assert_int_not_equal(strncmp(one_xid, other_xid, 8), 0);
    passed = true;
}

/* ---- the download ---- */

/* A large image to a client that stands still: the file loses its name under way, and nobody holds it in
 * memory. */
static void a_download_survives_newer_snapshots(void **state)
{
    static const char *const flags[] = {"--log-presize-mb", "1", NULL};
    enum { ROWS = 64, ROW_BYTES = 512 * 1024 };
    (void)state;
    cluster_init(&c, 1, flags);
    cluster_start_all(&c);
    char *text = malloc(ROW_BYTES + 1), request[128], path[1100];
    assert_non_null(text);
    for (int i = 0; i < ROWS; i++) {
        memset(text, 'a' + i % 26, ROW_BYTES);
        text[ROW_BYTES] = 0;
        json_decref(cluster_must(&c, "POST", "/transaction/begin",
                                 json_pack("{s:i, s:s}", "timeoutMs", 0, "customData", text)));
    }
    json_t *taken = cluster_must(&c, "POST", "/cluster/snapshot", json_object());
    long long size = number(taken, "size"), index = number(taken, "index");
    snprintf(path, sizeof(path), "%s", json_string_value(json_object_get(taken, "path")));
    json_decref(taken);
    assert_true(size > (long long)ROWS * ROW_BYTES);
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(c.nodes[0].http), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    snprintf(request, sizeof(request),
             "GET /api/v1/cluster/snapshot/%lld HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", index);
    assert_int_equal(write(fd, request, strlen(request)), (int)strlen(request));
    ssize_t n = read(fd, text, 1000); /* it has begun */
    assert_true(n > 0);
    long long got = n;
    for (int i = 0; i < 3; i++) {
        cluster_tick(&c);
        json_decref(cluster_must(&c, "POST", "/cluster/snapshot", json_object()));
    }
    assert_int_not_equal(access(path, F_OK), 0); /* no name any more */
    while ((n = read(fd, text, ROW_BYTES)) > 0)
        got += n;
    close(fd);
    free(text);
    assert_true(got > size + 64 && got < size + 64 + 1000); /* the head, the cover, the image */
    assert_int_equal(cluster_tick(&c), 4);
    passed = true;
}

static void one_node_restores_alone(void **state)
{
    char said[2000], at[512], list[512], file[600];
    (void)state;
    cluster_init(&c, 1, NULL);
    cluster_start_all(&c);
    for (int i = 0; i < 5; i++)
        cluster_tick(&c);
    endpoints(&c, at);
    snprintf(file, sizeof(file), "%s/backup", c.dir);
    if (run(said, "client/ctl/assentctl", "--endpoints", at, "snapshot", "save", file, NULL) != 0)
        fail_msg("%s", said);
    cluster_kill(&c.nodes[0]);
    cluster_init(&other, 1, NULL);
    members(&other, list);
    assert_int_equal(restore_node(&other.nodes[0], file, list, said), 0);
    cluster_start_all(&other);
    assert_int_equal(cluster_tick(&other), 6);
    assert_int_equal(cluster_stop(&other.nodes[0]), 0);
    cluster_start_all(&other);
    assert_int_equal(cluster_tick(&other), 7);
    passed = true;
}

static void a_snapshot_that_is_gone_is_not_found(void **state)
{
    struct http_answer a;
    (void)state;
    cluster_init(&c, 1, NULL);
    cluster_start_all(&c);
    assert_int_equal(cluster_tick(&c), 1);
    cluster_ask(&c.nodes[0], "GET", "/cluster/snapshot/1", NULL, NULL, 5000, &a);
    assert_int_equal(a.status, 404);
    http_answer_clear(&a);
    cluster_ask(&c.nodes[0], "GET", "/cluster/snapshot/x", NULL, NULL, 5000, &a);
    assert_int_equal(a.status, 400);
    http_answer_clear(&a);
    passed = true;
}

/* ---- a lost majority ---- */

static void a_survivor_recovers_and_grows_again(void **state)
{
    char said[2000], address[32], before[64], after[64];
    struct cluster_node *survivor = &c.nodes[1];
    (void)state;
    cluster_init(&c, 3, NULL);
    cluster_start_all(&c);
    for (int i = 1; i <= 50; i++)
        assert_int_equal(cluster_tick(&c), i);
    begin_unnamed(&c, before);
    assert_true(cluster_agrees(&c));
    for (int i = 0; i < 3; i++)
        cluster_kill(&c.nodes[i]);
    snprintf(address, sizeof(address), "127.0.0.1:%u", survivor->raft);
    if (run(said, "node/assentd", "recover", "--id", "2", "--data", survivor->dir, "--raft-address", address,
            "--accept-lost-entries", NULL) != 0)
        fail_msg("%s", said);
    cluster_start(&c, survivor);
    assert_int_equal(cluster_tick(&c), 51); /* alone, with all that was acknowledged */
    begin_unnamed(&c, after);
    assert_int_equal(strncmp(before, after, 8), 0); /* the same cluster */
    struct cluster_node *fourth = join(&c), *fifth = join(&c);
    assert_int_equal(cluster_tick(&c), 52);
    assert_true(cluster_agrees(&c));
    for (int i = 0; i < 3; i += 2) { /* back from the dead, one at a time: two would be the old majority */
        cluster_start(&c, &c.nodes[i]);
        assert_true(cluster_log_gets(survivor, "older incarnation"));
        assert_true(cluster_log_gets(&c.nodes[i], "must be wiped"));
        assert_int_equal(cluster_tick(&c), 53 + i / 2);
        json_t *view = cluster_view(&c.nodes[i]);
        assert_int_equal(number(view, "leaderId"), 0);
        json_decref(view);
        cluster_kill(&c.nodes[i]);
    }
    cluster_kill(survivor); /* the two new ones are a majority of three */
    assert_int_equal(cluster_tick(&c), 55);
    cluster_kill(fourth);
    cluster_kill(fifth);
    cluster_start(&c, survivor);
    cluster_start(&c, fourth);
    assert_int_equal(cluster_tick(&c), 56);
    cluster_start(&c, fifth);
    assert_true(cluster_agrees(&c));
    passed = true;
}

/* ---- a member in another's place ---- */

static uint32_t voters(bool *has, uint32_t id)
{
    json_t *view = cluster_view(cluster_leader(&c)), *node;
    uint32_t n = 0;
    size_t i;
    *has = false;
    json_array_foreach(json_object_get(view, "nodes"), i, node)
    {
        n += json_is_true(json_object_get(node, "voter"));
        *has = *has || number(node, "id") == id;
    }
    json_decref(view);
    return n;
}

/* `change`: another node leads between the addition and the rest.  `in_place`: the new one has the address of
 * the old. */
static void replace_dead(bool change, bool in_place)
{
    char said[2000], at[512], old[16], fresh[16], address[32];
    bool has;
    cluster_init(&c, 3, NULL);
    cluster_start_all(&c);
    assert_int_equal(cluster_tick(&c), 1);
    struct cluster_node *leader = cluster_leader(&c);
    assert_non_null(leader);
    struct cluster_node *dead = leader == &c.nodes[0] ? &c.nodes[1] : &c.nodes[0];
    cluster_kill(dead);
    struct cluster_node *node = cluster_add(&c);
    if (in_place)
        node->raft = dead->raft;
    cluster_start(&c, node);
    snprintf(old, sizeof(old), "%u", dead->id);
    snprintf(fresh, sizeof(fresh), "%u", node->id);
    snprintf(address, sizeof(address), "127.0.0.1:%u", node->raft);
    if (change) { /* interrupted after its first step, then continued under another leader */
        json_decref(cluster_must(&c, "POST", "/cluster/members",
                                 json_pack("{s:i, s:s}", "id", (int)node->id, "address", address)));
        json_decref(cluster_must(&c, "POST", "/cluster/transfer", json_object()));
        assert_non_null(cluster_leader(&c));
    }
    endpoints(&c, at);
    if (run(said, "client/ctl/assentctl", "--endpoints", at, "member", "replace", old, fresh, address,
            NULL) != 0)
        fail_msg("%s", said);
    assert_non_null(strstr(said, "has taken the place"));
    assert_int_equal(voters(&has, dead->id), 3);
    assert_false(has);
    assert_int_equal(voters(&has, node->id), 3);
    assert_true(has);
    assert_int_equal(
        run(said, "client/ctl/assentctl", "--endpoints", at, "member", "replace", old, fresh, address, NULL),
        0);                           /* nothing is left to do */
    cluster_kill(cluster_leader(&c)); /* two of the three are enough, and the new one is one of them */
    assert_int_equal(cluster_tick(&c), 2);
    passed = true;
}

static void a_dead_voter_is_replaced(void **state)
{
    (void)state;
    replace_dead(false, false);
}

static void a_replacement_goes_on_under_another_leader(void **state)
{
    (void)state;
    replace_dead(true, false);
}

static void a_new_node_takes_the_address_too(void **state)
{
    (void)state;
    replace_dead(false, true);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    static const struct CMUnitTest tests[] = {
        T(a_backup_becomes_a_new_cluster),
        T(one_node_restores_alone),
        T(clusters_of_one_name_make_different_xids),
        T(a_download_survives_newer_snapshots),
        T(a_snapshot_that_is_gone_is_not_found),
        T(a_survivor_recovers_and_grows_again),
        T(a_dead_voter_is_replaced),
        T(a_replacement_goes_on_under_another_leader),
        T(a_new_node_takes_the_address_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
