/* Disks that are full or damaged under real nodes: the cluster goes on, nothing acknowledged is lost, and the
 * node says what happened and what to do.
 *
 * A full disk is a small tmpfs in a mount namespace of this process, which ends with it; that needs root. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cmocka.h>

#include "load.h"

#define EXIT_BROKEN 70 /* docs/configuration.md */
#define NEEDLE      "a-clock-whose-name-stands-in-one-entry-only"

static const char *const to_the_end[] = {"--min-free-mb", "0", "--log-presize-mb", "1", NULL};
static const char *const with_reserve[] = {"--min-free-mb", "4", "--log-presize-mb", "1", NULL};

static struct cluster c;
static struct load load;
static bool passed, loaded, mounts;

static int group_setup(void **state)
{
    (void)state;
    mounts = unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
    if (!mounts)
        fprintf(stderr, "SKIPPED: full disks are not tried: a mount namespace needs root: %s\n",
                strerror(errno));
    return 0;
}

static int setup(void **state)
{
    (void)state;
    passed = loaded = false;
    load = (struct load){0};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (c.n == 0)
        return 0;
    if (loaded)
        load_stop(&load);
    for (uint32_t i = 0; i < c.n; i++) {
        if (c.nodes[i].pid != 0 && !passed)
            continue; /* its log is printed first */
        cluster_kill(&c.nodes[i]);
    }
    for (uint32_t i = 0; mounts && i < c.n; i++)
        umount2(c.nodes[i].dir, MNT_DETACH);
    cluster_close(&c, !passed);
    c.n = 0;
    return 0;
}

/* Three nodes on disks of 64 MB each. */
static void start_on_small_disks(const char *const *flags)
{
    cluster_init(&c, 3, flags);
    for (uint32_t i = 0; i < c.n; i++) {
        assert_int_equal(mkdir(c.nodes[i].dir, 0750), 0);
        assert_int_equal(mount("none", c.nodes[i].dir, "tmpfs", 0, "size=64m"), 0);
    }
    cluster_start_all(&c);
    assert_non_null(cluster_leader(&c));
}

static void filler(const struct cluster_node *node, char *path, size_t size)
{
    snprintf(path, size, "%s/filler", node->dir);
}

/* Leave so much room on the node's disk. */
static void fill(const struct cluster_node *node, uint64_t room)
{
    static const char zeros[4096];
    char path[600];
    struct statvfs fs;
    filler(node, path, sizeof(path));
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    while (fstatvfs(fd, &fs) == 0 && fs.f_bavail * fs.f_bsize > room)
        if (write(fd, zeros, sizeof(zeros)) != (ssize_t)sizeof(zeros))
            break;
    close(fd);
}

static void make_room(const struct cluster_node *node)
{
    char path[600];
    filler(node, path, sizeof(path));
    assert_int_equal(unlink(path), 0);
}

static void start_load(void)
{
    load_start(&load, &c);
    loaded = true;
    assert_true(load_goes_on(&load, 20));
}

static void end_load(void)
{
    load_stop(&load);
    loaded = false;
    load_check(&load, &c);
}

/* The node's disk fills to the last byte under load; it stops, the others go on, it comes back. */
static void fill_and_come_back(struct cluster_node *node)
{
    start_load();
    fill(node, 0);
    assert_int_equal(cluster_wait_exit(node), EXIT_BROKEN);
    assert_true(cluster_log_has(node, "\"broken\""));
    assert_true(cluster_log_has(node, "full"));
    assert_true(load_goes_on(&load, 50));
    make_room(node);
    cluster_start(&c, node);
    assert_true(load_goes_on(&load, 20));
    end_load();
    assert_true(cluster_agrees(&c));
    passed = true;
}

static void a_follower_with_a_full_disk_stops_and_comes_back(void **state)
{
    (void)state;
    if (!mounts)
        skip();
    start_on_small_disks(to_the_end);
    struct cluster_node *leader = cluster_leader(&c);
    assert_non_null(leader);
    fill_and_come_back(&c.nodes[leader->id % c.n]);
}

static void a_leader_with_a_full_disk_gives_way(void **state)
{
    (void)state;
    if (!mounts)
        skip();
    start_on_small_disks(to_the_end);
    struct cluster_node *leader = cluster_leader(&c);
    assert_non_null(leader);
    fill_and_come_back(leader);
}

/* Above the reserve: commands are refused before anything fails, reads are served, room ends it. */
static void a_leader_short_of_space_refuses_commands_by_name(void **state)
{
    struct http_answer a = {0};
    long long acknowledged = 0;
    (void)state;
    if (!mounts)
        skip();
    start_on_small_disks(with_reserve);
    struct cluster_node *leader = cluster_leader(&c);
    assert_non_null(leader);
    fill(leader, 3 * 1024 * 1024);
    int64_t until = monotonic_ms() + CLUSTER_PATIENCE_MS;
    do {
        http_answer_clear(&a);
        json_t *body = json_object();
        cluster_ask(leader, "POST", "/lamport/tick", NULL, body, 15000, &a);
        json_decref(body);
        acknowledged += a.status == 200;
    } while (a.status == 200 && monotonic_ms() < until);
    assert_int_equal(a.status, 507);
    const json_t *code = json_object_get(json_object_get(a.body, "error"), "code");
    assert_string_equal(json_string_value(code), "NO_SPACE");
    http_answer_clear(&a);
    assert_true(cluster_log_has(leader, "disk_full"));
    if (acknowledged > 0) {
        json_t *data = cluster_must(&c, "GET", "/lamport/current?clock=default", NULL);
        assert_int_equal(json_integer_value(json_object_get(data, "value")), acknowledged);
        json_decref(data);
    }
    make_room(leader);
    assert_true(cluster_log_gets(leader, "disk_free"));
    assert_int_equal(cluster_tick(&c), acknowledged + 1);
    assert_true(cluster_agrees(&c));
    passed = true;
}

/* Flip a bit in each place where the node's log holds the text; how many there were. */
static int damage(const struct cluster_node *node, const char *text)
{
    char path[600];
    struct stat st;
    int found = 0;
    snprintf(path, sizeof(path), "%s/log/data.mdb", node->dir);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    size_t size = (size_t)st.st_size, length = strlen(text);
    char *all = malloc(size), *at;
    assert_non_null(all);
    assert_int_equal(pread(fd, all, size, 0), (ssize_t)size);
    for (at = all; (at = memmem(at, size - (size_t)(at - all), text, length)) != NULL; at += length) {
        char other = (char)(*at ^ 0x10);
        assert_int_equal(pwrite(fd, &other, 1, at - all), 1);
        found++;
    }
    free(all);
    close(fd);
    return found;
}

static void expect_member_call(const char *path, json_t *body)
{
    json_decref(cluster_must(&c, "POST", path, body));
}

static void a_damaged_entry_is_refused_and_the_node_replaced(void **state)
{
    char path[64], line[64];
    (void)state;
    cluster_init(&c, 3, NULL);
    cluster_start_all(&c);
    struct cluster_node *leader = cluster_leader(&c);
    assert_non_null(leader);
    assert_int_equal(cluster_tick(&c), 1);
    struct endpoints e;
    json_t *data;
    cluster_endpoints(&c, 0, &e);
    struct http_answer a;
    json_t *body = json_pack("{s:s}", "clock", NEEDLE);
    cluster_ask(leader, "POST", "/lamport/tick", NULL, body, 15000, &a);
    json_decref(body);
    assert_int_equal(a.status, 200);
    http_answer_clear(&a);
    assert_int_equal(cluster_tick(&c), 2);
    assert_true(cluster_agrees(&c));
    struct cluster_node *bad = &c.nodes[leader->id % c.n];
    assert_int_equal(cluster_stop(bad), 0);
    assert_true(damage(bad, NEEDLE) > 0);
    cluster_start(&c, bad);
    assert_int_equal(cluster_wait_exit(bad), EXIT_BROKEN);
    assert_true(cluster_log_has(bad, "entry "));
    assert_true(cluster_log_has(bad, "add it as a new non-voter with a new id"));
    assert_int_equal(cluster_tick(&c), 3); /* the others do without it */
    /* What the sentence says: out, wiped, back under a new id. */
    snprintf(path, sizeof(path), "/cluster/members/%u/remove", bad->id);
    expect_member_call(path, json_object());
    cluster_wipe(bad);
    struct cluster_node *fresh = cluster_add(&c);
    cluster_start(&c, fresh);
    snprintf(line, sizeof(line), "127.0.0.1:%u", fresh->raft);
    expect_member_call("/cluster/members", json_pack("{s:i, s:s}", "id", (int)fresh->id, "address", line));
    snprintf(path, sizeof(path), "/cluster/members/%u/promote", fresh->id);
    expect_member_call(path, json_object());
    assert_int_equal(cluster_tick(&c), 4);
    assert_true(cluster_agrees(&c));
    data = cluster_view(fresh);
    assert_int_equal(json_array_size(json_object_get(data, "nodes")), 3);
    json_decref(data);
    passed = true;
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    static const struct CMUnitTest tests[] = {
        T(a_follower_with_a_full_disk_stops_and_comes_back),
        T(a_leader_with_a_full_disk_gives_way),
        T(a_leader_short_of_space_refuses_commands_by_name),
        T(a_damaged_entry_is_refused_and_the_node_replaced),
    };
    return cmocka_run_group_tests(tests, group_setup, NULL);
}
