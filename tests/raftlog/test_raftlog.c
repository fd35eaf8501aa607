/* The whole log: several nodes in one process, on loopback, with a toy application that chains hashes.
 *
 * Claims are waited for, with a deadline far beyond what they take; nothing sleeps. */
#include "raftlog.h"

#include <errno.h>
#include <ftw.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* The thread sanitizer makes a turn with megabytes in it outlast an ordinary election timeout. */
#ifdef __SANITIZE_THREAD__
#define SLOWNESS 3
#else
#define SLOWNESS 1
#endif

#define DEADLINE_MS 30000
#define NODES_MAX   5

/* ---- the toy application ---- */

struct state {
    uint64_t count, hash, index;
};

struct node {
    uint64_t id;
    struct raftlog *log;
    struct raftlog_config config;
    char dir[128], address[128], err[512];
    struct state state;
    uint64_t results[16384];
    enum raftlog_role role;
    uint64_t term, leader;
    bool ready, closed, broken;
    uint32_t applies, posts;
    _Atomic uint32_t dumps, restores; /* counted on the worker */
    char post[64], events[8192], reason[512];
    size_t image_size; /* filler in dumps, to make several chunks */
    int dump_error;
    uint32_t apply_ms; /* each call of apply takes this long */
};

static uv_loop_t loop;
static char root[64];
static struct node nodes[NODES_MAX];
static struct raftlog_server servers[NODES_MAX];

static uint64_t chain(uint64_t hash, struct assent_bytes bytes)
{
    for (size_t i = 0; i < bytes.size; i++) {
        hash = (hash ^ bytes.base[i]) * 0x100000001b3;
    }
    return hash;
}

static void app_apply(void *data, struct raftlog_command *commands, uint32_t n, uint64_t index)
{
    struct node *node = data;
    uint32_t awaited = 0;
    uint64_t last = node->state.index;
    for (uint32_t i = 0; i < n; i++) {
        struct raftlog_command *c = &commands[i];
        assert_true(c->index > node->state.index && c->index <= index);
        assert_true(c->index > last || c->slot > 0);
        last = c->index;
        node->state.hash = chain(node->state.hash, c->command);
        node->state.count++;
        if (c->awaited) {
            assert_true(awaited < 16384);
            node->results[awaited] = node->state.count;
            c->result = (struct assent_bytes){(uint8_t *)&node->results[awaited], 8};
            awaited++;
        }
    }
    assert_true(index > node->state.index);
    node->state.index = index;
    node->applies++;
    if (node->apply_ms > 0) {
        usleep(node->apply_ms * 1000);
    }
}

static void *app_pin(void *data, uint64_t index)
{
    struct node *node = data;
    assert_int_equal(node->state.index, index);
    struct state *pinned = malloc(sizeof *pinned);
    *pinned = node->state;
    return pinned;
}

static int app_dump(void *data, void *pin, const char *path, struct raftlog_snapshot *out)
{
    struct node *node = data;
    struct state *pinned = pin;
    int rv = 0;
    if (path != NULL && node->dump_error == 0) {
        FILE *f = fopen(path, "wx");
        static const uint8_t filler[4096];
        rv = f != NULL && fwrite(pinned, sizeof *pinned, 1, f) == 1 ? 0 : ASSENT_IO;
        for (size_t i = 0; rv == 0 && i < node->image_size / sizeof filler; i++) {
            rv = fwrite(filler, sizeof filler, 1, f) == 1 ? 0 : ASSENT_IO;
        }
        out->size = f != NULL ? (uint64_t)ftell(f) : 0;
        out->digest = pinned->hash;
        if (f != NULL) {
            fclose(f);
        }
        node->dumps++;
    } else {
        rv = node->dump_error;
    }
    free(pinned);
    return rv;
}

static int app_restore(void *data, const struct raftlog_snapshot *snapshot)
{
    struct node *node = data;
    FILE *f = fopen(snapshot->path, "r");
    bool ok = f != NULL && fread(&node->state, sizeof node->state, 1, f) == 1;
    if (f != NULL) {
        fclose(f);
    }
    node->restores++;
    return ok && node->state.hash == snapshot->digest && node->state.index == snapshot->index
               ? 0
               : ASSENT_CORRUPT;
}

static void app_role(void *data, enum raftlog_role role, uint64_t term, uint64_t leader, bool ready)
{
    struct node *node = data;
    node->role = role;
    node->term = term;
    node->leader = leader;
    node->ready = ready;
}

static void app_post(void *data, uint64_t from, struct assent_bytes message)
{
    struct node *node = data;
    node->posts++;
    snprintf(node->post, sizeof node->post, "%u: %.*s", (unsigned)from, (int)message.size,
             (const char *)message.base);
}

static void app_event(void *data, int level, const char *event, const char *details)
{
    struct node *node = data;
    size_t used = strlen(node->events);
    snprintf(node->events + used, sizeof node->events - used, "%s %s\n", event, details);
    if (getenv("ASSENT_TEST_EVENTS") != NULL) {
        fprintf(stderr, "[%u] %d %s %s\n", (unsigned)node->id, level, event, details);
    }
}

static void app_broken(void *data, const char *reason)
{
    struct node *node = data;
    node->broken = true;
    snprintf(node->reason, sizeof node->reason, "%s", reason);
}

/* ---- nodes ---- */

static uint16_t free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &size), 0);
    close(fd);
    return ntohs(a.sin_port);
}

/* Node i (from 0) with the first `voters` nodes as initial servers; 0: it joins. */
static void node_config(struct node *n, uint32_t i, uint32_t voters)
{
    *n = (struct node){.id = i + 1};
    snprintf(n->dir, sizeof n->dir, "%s/%u", root, i + 1);
    snprintf(n->address, sizeof n->address, "%s", servers[i].address);
    raftlog_config_init(&n->config);
    n->config.id = n->id;
    n->config.dir = n->dir;
    n->config.listen = n->address;
    n->config.cluster_name = "test";
    n->config.servers = servers;
    n->config.servers_n = voters;
    n->config.join = voters == 0;
    n->config.heartbeat_ms = 30;
    n->config.election_ms = 300 * SLOWNESS;
    n->config.disk_map_bytes = 128 << 20;
    n->config.disk_presize_bytes = 1 << 20;
    n->config.min_free_bytes = 1;
    n->config.seed = 1000 + i;
}

static int node_open(struct node *n)
{
    struct raftlog_app app = {n,        app_apply, app_pin,    app_dump, app_restore, app_role,
                              app_post, app_event, app_broken, NULL,     NULL};
    n->state = (struct state){0};
    n->closed = false;
    n->role = RAFTLOG_FOLLOWER;
    n->leader = 0;
    n->ready = false;
    int rv = raftlog_open(&n->log, &loop, &n->config, &app, n->err, sizeof n->err);
    if (rv != 0) {
        n->log = NULL;
    }
    return rv;
}

static void must_open(struct node *n)
{
    if (node_open(n) != 0) {
        fail_msg("node %u: %s", (unsigned)n->id, n->err);
    }
}

static void cluster_open(uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        node_config(&nodes[i], i, n);
    }
    for (uint32_t i = 0; i < n; i++) {
        must_open(&nodes[i]);
    }
}

static bool late;
static uv_timer_t deadline;

static void on_deadline(uv_timer_t *timer)
{
    (void)timer;
    late = true;
}

static void dump_events(void)
{
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        if (nodes[i].log != NULL) {
            struct raftlog_status s;
            raftlog_status(nodes[i].log, &s);
            fprintf(stderr,
                    "node %u: role %d ready %d term %u leader %u last %u stored %u commit %u applied %u\n%s",
                    i + 1, s.role, s.ready, (unsigned)s.term, (unsigned)s.leader, (unsigned)s.last_index,
                    (unsigned)s.stored_index, (unsigned)s.commit_index, (unsigned)s.applied_index,
                    nodes[i].events);
        }
    }
}

#define until(condition)                                                                                     \
    do {                                                                                                     \
        late = false;                                                                                        \
        uv_timer_start(&deadline, on_deadline, DEADLINE_MS, 0);                                              \
        while (!(condition) && !late) {                                                                      \
            uv_run(&loop, UV_RUN_ONCE);                                                                      \
        }                                                                                                    \
        uv_timer_stop(&deadline);                                                                            \
        if (!(condition)) {                                                                                  \
            dump_events();                                                                                   \
        }                                                                                                    \
        assert_true(condition);                                                                              \
    } while (0)

static void on_closed(void *data)
{
    ((struct node *)data)->closed = true;
}

static void node_close(struct node *n)
{
    if (n->log != NULL) {
        raftlog_close(n->log, on_closed, n);
        until(n->closed);
        n->log = NULL;
        n->role = RAFTLOG_STOPPED;
        n->ready = false;
    }
}

/* The ready leader, or NULL. */
static struct node *leader(void)
{
    struct node *found = NULL;
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        struct node *n = &nodes[i];
        if (n->log != NULL && n->role == RAFTLOG_LEADER && n->ready &&
            (found == NULL || n->term > found->term)) {
            found = n;
        }
    }
    return found;
}

static struct node *await_leader(void)
{
    until(leader() != NULL);
    return leader();
}

static struct node *follower(void)
{
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        if (nodes[i].log != NULL && nodes[i].role == RAFTLOG_FOLLOWER && nodes[i].leader != 0) {
            return &nodes[i];
        }
    }
    return NULL;
}

static bool all_applied(uint64_t count)
{
    uint64_t hash = 0;
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        if (nodes[i].log == NULL) {
            continue;
        }
        struct raftlog_status s;
        raftlog_status(nodes[i].log, &s);
        if (s.installing || nodes[i].state.count != count) { /* while installing the worker has the state */
            return false;
        }
        assert_true(hash == 0 || hash == nodes[i].state.hash);
        hash = nodes[i].state.hash;
    }
    return true;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static void wipe(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static int set_up(void **state)
{
    (void)state;
    const char *tmp = getenv("TMPDIR");
    memset(nodes, 0, sizeof nodes);
    snprintf(root, sizeof root, "%s/assent-XXXXXX", tmp != NULL && strlen(tmp) < 40 ? tmp : "/tmp");
    assert_non_null(mkdtemp(root));
    uv_loop_init(&loop);
    uv_timer_init(&loop, &deadline);
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        servers[i] = (struct raftlog_server){.id = i + 1, .voter = true};
        snprintf(servers[i].address, sizeof servers[i].address, "127.0.0.1:%u", free_port());
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        node_close(&nodes[i]);
    }
    uv_close((uv_handle_t *)&deadline, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    wipe(root);
    return uv_loop_close(&loop); /* non-zero: a handle leaked */
}

/* ---- calls ---- */

struct proposal {
    struct raftlog_propose req;
    bool done;
    int status;
    uint64_t result;
};

static void on_proposed(struct raftlog_propose *req, int status, struct assent_bytes result)
{
    struct proposal *p = req->data;
    assert_false(p->done);
    p->done = true;
    p->status = status;
    if (status == 0) {
        assert_int_equal(result.size, 8);
        memcpy(&p->result, result.base, 8);
    }
}

static int propose(struct node *n, struct proposal *p, const char *text)
{
    *p = (struct proposal){.req.data = p, .status = -1};
    return raftlog_propose(n->log, &p->req, (struct assent_bytes){(const uint8_t *)text, strlen(text)},
                           on_proposed);
}

/* Propose `count` commands one turn after another. */
static void write_some(struct node *n, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct proposal p;
        char text[32];
        snprintf(text, sizeof text, "command %u", i);
        assert_int_equal(propose(n, &p, text), 0);
        until(p.done);
        assert_int_equal(p.status, 0);
    }
}

struct reading {
    struct raftlog_read req;
    bool done;
    int status;
    uint64_t count; /* state when the read was answered */
    struct node *node;
};

static void on_read(struct raftlog_read *req, int status)
{
    struct reading *r = req->data;
    r->done = true;
    r->status = status;
    r->count = r->node->state.count;
    assert_true(status != 0 || req->index <= r->node->state.index);
}

static struct reading read_from(struct node *n)
{
    struct reading r = {.node = n};
    for (int tries = 0; tries < 50; tries++) {
        r.done = false;
        r.req.data = &r;
        if (raftlog_read(n->log, &r.req, on_read) == 0) {
            until(r.done);
            if (r.status == 0) {
                return r;
            }
        }
        uv_run(&loop, UV_RUN_ONCE);
    }
    fail_msg("no read in 50 tries");
    return r;
}

struct change {
    struct raftlog_member req;
    bool done;
    int status;
    char detail[256];
};

static void on_changed(struct raftlog_member *req, int status, const char *detail)
{
    struct change *c = req->data;
    c->done = true;
    c->status = status;
    snprintf(c->detail, sizeof c->detail, "%s", detail);
}

/* Retries while the cluster is not ready for a change. */
static void change(enum raftlog_change what, uint64_t id, const char *address)
{
    struct change c;
    for (int tries = 0;; tries++) {
        c = (struct change){.req.data = &c};
        int rv = raftlog_member(await_leader()->log, &c.req, what, id, address, on_changed);
        if (rv == 0) {
            until(c.done);
            rv = c.status;
        }
        if (rv == 0) {
            return;
        }
        if (tries == 100) {
            dump_events();
            fail_msg("change %d of %u: %s %s", what, (unsigned)id, assent_error_name(rv), c.detail);
        }
        for (int i = 0; i < 20; i++) {
            uv_run(&loop, UV_RUN_ONCE);
        }
    }
}

struct taking {
    struct raftlog_take req;
    bool done;
    int status;
    struct raftlog_snapshot snapshot;
};

static void on_taken(struct raftlog_take *req, int status, const struct raftlog_snapshot *snapshot)
{
    struct taking *t = req->data;
    t->done = true;
    t->status = status;
    if (status == 0) {
        t->snapshot = *snapshot;
    }
}

static struct taking take(struct node *n)
{
    struct taking t = {.req.data = &t};
    assert_int_equal(raftlog_take_snapshot(n->log, &t.req, on_taken), 0);
    until(t.done);
    return t;
}

static bool has_event(const struct node *n, const char *text)
{
    return strstr(n->events, text) != NULL;
}

/* ---- claims: agreement ---- */

static void one_node_is_a_cluster(void **state)
{
    (void)state;
    cluster_open(1);
    struct node *n = await_leader();
    write_some(n, 10);
    assert_int_equal(n->state.count, 10);
    struct reading r = read_from(n);
    assert_int_equal(r.count, 10);
    assert_true(r.req.local);
}

static void three_nodes_agree(void **state)
{
    (void)state;
    cluster_open(3);
    struct node *l = await_leader();
    write_some(l, 20);
    until(all_applied(20));
    struct raftlog_status s;
    raftlog_status(l->log, &s);
    assert_int_equal(s.role, RAFTLOG_LEADER);
    assert_true(s.ready);
    assert_int_equal(s.servers_n, 3);
    assert_int_equal(s.commit_index, s.applied_index);
    struct raftlog_peer p;
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(raftlog_member_at(l->log, i, &p));
        assert_true(p.voter);
        assert_int_equal(p.id, i + 1);
    }
    assert_false(raftlog_member_at(l->log, 3, &p));
    assert_true(raftlog_peer(l->log, 2, &p));
    assert_false(raftlog_peer(l->log, 9, &p));
}

static void proposals_of_one_turn_share_entries(void **state)
{
    (void)state;
    static struct proposal p[5000];
    cluster_open(3);
    struct node *l = await_leader();
    for (unsigned i = 0; i < 5000; i++) {
        assert_int_equal(propose(l, &p[i], "the same"), 0);
    }
    until(p[4999].done);
    uint64_t last = 0;
    for (unsigned i = 0; i < 5000; i++) {
        assert_true(p[i].done);
        assert_int_equal(p[i].status, 0);
        assert_int_equal(p[i].result, i + 1);
        assert_true(assent_position(p[i].req.index, p[i].req.slot) > last);
        last = assent_position(p[i].req.index, p[i].req.slot);
        assert_int_equal(p[i].req.term, l->term);
    }
    assert_int_equal(p[4999].req.index - p[0].req.index, 1); /* 4096 fit one entry */
    until(all_applied(5000));
}

static void a_follower_refuses_proposals(void **state)
{
    (void)state;
    cluster_open(3);
    await_leader();
    until(follower() != NULL);
    struct proposal p;
    assert_int_equal(propose(follower(), &p, "x"), ASSENT_NOT_LEADER);
    assert_int_equal(propose(leader(), &p, ""), ASSENT_TOO_LARGE);
}

/* Three at once; false: one of them met a change of leader. */
static bool large_commands_are_taken(struct assent_bytes big)
{
    struct proposal p[3];
    struct node *l = await_leader();
    for (unsigned i = 0; i < 3; i++) {
        p[i] = (struct proposal){.req.data = &p[i]};
        int rv = raftlog_propose(l->log, &p[i].req, big, on_proposed);
        p[i].done = rv != 0;
        p[i].status = rv;
    }
    until(p[0].done && p[1].done && p[2].done);
    for (unsigned i = 0; i < 3; i++)
        assert_true(p[i].status == 0 || p[i].status == ASSENT_UNKNOWN_OUTCOME ||
                    p[i].status == ASSENT_NOT_LEADER);
    return (p[0].status | p[1].status | p[2].status) == 0;
}

static void large_commands_pass(void **state)
{
    (void)state;
    cluster_open(3);
    uint8_t *big = malloc(ASSENT_COMMAND_BYTES_MAX);
    memset(big, 'x', ASSENT_COMMAND_BYTES_MAX);
    bool taken = false;
    for (int rounds = 0; !taken && rounds < 10; rounds++) /* three nodes in one thread can be starved */
        taken = large_commands_are_taken((struct assent_bytes){big, ASSENT_COMMAND_BYTES_MAX});
    free(big);
    assert_true(taken);
    until(all_applied(3));
}

static void the_queue_is_bounded(void **state)
{
    (void)state;
    node_config(&nodes[0], 0, 1);
    nodes[0].config.queue_bytes_max = 100;
    must_open(&nodes[0]);
    struct node *l = await_leader();
    struct proposal a, b;
    char text[61];
    memset(text, 'x', 60);
    text[60] = '\0';
    assert_int_equal(propose(l, &a, text), 0);
    assert_int_equal(propose(l, &b, text), ASSENT_BUSY);
    until(a.done);
    assert_int_equal(propose(l, &b, text), 0);
    until(b.done);
}

static void a_full_disk_refuses_early(void **state)
{
    (void)state;
    node_config(&nodes[0], 0, 1);
    nodes[0].config.min_free_bytes = UINT64_MAX;
    must_open(&nodes[0]);
    struct node *l = await_leader();
    until(has_event(l, "disk_full"));
    struct proposal p;
    assert_int_equal(propose(l, &p, "x"), ASSENT_NO_SPACE);
}

/* ---- claims: losing nodes ---- */

static void a_closed_leader_is_replaced_and_nothing_is_lost(void **state)
{
    (void)state;
    cluster_open(3);
    struct node *old = await_leader();
    write_some(old, 10);
    uint64_t term = old->term;
    node_close(old);
    struct node *l = await_leader();
    assert_ptr_not_equal(l, old);
    assert_true(l->term > term);
    assert_int_equal(read_from(l).count, 10);
    write_some(l, 5);
    must_open(old);
    until(all_applied(15));
    assert_int_equal(old->leader, l->id);
}

static void a_whole_cluster_restarts_with_its_log(void **state)
{
    (void)state;
    cluster_open(3);
    write_some(await_leader(), 10);
    until(all_applied(10));
    uint64_t hash = nodes[0].state.hash;
    for (uint32_t i = 0; i < 3; i++) {
        node_close(&nodes[i]);
    }
    for (uint32_t i = 0; i < 3; i++) {
        must_open(&nodes[i]);
    }
    write_some(await_leader(), 1);
    until(all_applied(11));
    assert_int_not_equal(nodes[0].state.hash, hash);
    /* an application that kept its state is not given old entries again (it would notice) */
    struct state kept = nodes[0].state;
    node_close(&nodes[0]);
    nodes[0].config.applied = kept.index;
    struct raftlog_app app = {&nodes[0], app_apply, app_pin,    app_dump, app_restore, app_role,
                              app_post,  app_event, app_broken, NULL,     NULL};
    nodes[0].state = kept;
    assert_int_equal(raftlog_open(&nodes[0].log, &loop, &nodes[0].config, &app, nodes[0].err, 512), 0);
    write_some(await_leader(), 1);
    until(all_applied(12));
}

static void proposals_of_a_lost_majority_get_an_unknown_outcome(void **state)
{
    (void)state;
    cluster_open(3);
    struct node *l = await_leader();
    for (uint32_t i = 0; i < 3; i++) {
        if (&nodes[i] != l) {
            node_close(&nodes[i]);
        }
    }
    struct proposal p;
    int rv = propose(l, &p, "nobody confirms this");
    if (rv == 0) {
        until(p.done);
        assert_int_equal(p.status, ASSENT_UNKNOWN_OUTCOME);
    }
    until(l->role != RAFTLOG_LEADER); /* without a majority it steps down by itself */
    assert_int_equal(propose(l, &p, "x"), ASSENT_NOT_LEADER);
}

static void closing_answers_everybody(void **state)
{
    (void)state;
    cluster_open(3);
    struct node *l = await_leader();
    struct proposal p[10];
    struct reading r = {.node = l, .req.data = &r};
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(propose(l, &p[i], "x"), 0);
    }
    assert_int_equal(raftlog_read(l->log, &r.req, on_read), 0);
    raftlog_close(l->log, on_closed, l);
    assert_false(p[0].done || r.done);
    until(l->closed);
    l->log = NULL;
    for (unsigned i = 0; i < 10; i++) {
        assert_true(p[i].done);
    }
    assert_true(r.done);
}

static void a_leader_far_in_the_future_is_refused(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        node_config(&nodes[i], i, 3);
        nodes[i].config.max_skew_us = -3600ll * 1000000; /* as if all other clocks ran an hour ahead */
    }
    for (uint32_t i = 0; i < 3; i++) {
        must_open(&nodes[i]);
    }
    struct node *l = await_leader();
    struct proposal p;
    assert_int_equal(propose(l, &p, "from the future"), 0);
    struct node *f = follower();
    assert_non_null(f);
    until(raftlog_metrics(f->log)->entries_refused_skew > 0);
    assert_true(has_event(f, "entry_refused"));
    assert_int_equal(f->state.count, 0);
    struct raftlog_status s;
    raftlog_status(f->log, &s);
    assert_int_equal(s.leader, l->id);
    node_close(l);
    assert_true(p.done);
}

static void a_failed_disk_stops_the_node_loudly(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        node_config(&nodes[i], i, 3);
    }
    nodes[0].config.fail_commit_at = 6;
    nodes[0].config.fail_errno = EIO;
    for (uint32_t i = 0; i < 3; i++) {
        must_open(&nodes[i]);
    }
    struct proposal p[40];
    struct node *l = await_leader();
    unsigned n = 0;
    while (!nodes[0].broken && n < 40) {
        int rv = propose(l, &p[n], "x");
        if (rv == 0) {
            until(p[n].done || nodes[0].broken);
            n++;
        }
        uv_run(&loop, UV_RUN_NOWAIT);
        l = await_leader();
    }
    until(nodes[0].broken);
    print_message("%s\n", nodes[0].reason);
    assert_int_equal(nodes[0].role, RAFTLOG_STOPPED);
    struct proposal late_one;
    assert_int_equal(propose(&nodes[0], &late_one, "x"), ASSENT_STOPPED);
    struct reading r = {.node = &nodes[0], .req.data = &r};
    assert_int_equal(raftlog_read(nodes[0].log, &r.req, on_read), ASSENT_STOPPED);
    until(leader() != NULL && leader() != &nodes[0]); /* the others go on */
    for (unsigned i = 0; i < n; i++) {
        until(p[i].done);
    }
    write_some(leader(), 3);
}

/* ---- claims: reads and posts ---- */

static void reads_see_what_was_acknowledged_before(void **state)
{
    (void)state;
    cluster_open(3);
    struct node *l = await_leader();
    for (uint64_t i = 1; i <= 5; i++) {
        write_some(l, 1);
        struct reading r = read_from(l);
        assert_int_equal(r.count, i);
        assert_true(r.req.local);
        until(follower() != NULL);
        r = read_from(follower());
        assert_true(r.count >= i);
        assert_false(r.req.local);
    }
    assert_true(raftlog_metrics(l->log)->read_rounds > 0);
}

static void a_read_without_a_leader_is_refused(void **state)
{
    (void)state;
    node_config(&nodes[0], 0, 3);
    must_open(&nodes[0]);
    struct reading r = {.node = &nodes[0], .req.data = &r};
    assert_int_equal(raftlog_read(nodes[0].log, &r.req, on_read), ASSENT_NO_LEADER);
}

/* ---- claims: a node that is behind ---- */

/* Large commands, so that a restarted node has much to apply again. */
static void write_backlog(struct node *n, uint32_t count)
{
    static char text[60 * 1024];
    memset(text, 'x', sizeof text - 1);
    for (uint32_t i = 0; i < count; i++) {
        struct proposal p;
        assert_int_equal(propose(n, &p, text), 0);
        until(p.done);
        assert_int_equal(p.status, 0);
    }
}

static struct raftlog_status status_of(const struct node *n)
{
    struct raftlog_status s;
    raftlog_status(n->log, &s);
    return s;
}

/* Every call of apply takes `ms`; several are needed for the backlog. */
static struct node *restart_slow_follower(uint32_t backlog, uint32_t ms)
{
    struct node *l = await_leader();
    write_backlog(l, backlog);
    until(follower() != NULL && follower()->state.count == l->state.count);
    struct node *slow = follower();
    node_close(slow);
    write_some(l, 1); /* the leader is still in office and has committed what the node does not hold */
    slow->apply_ms = ms;
    slow->applies = 0;
    must_open(slow);
    return slow;
}

static void a_node_that_replays_its_log_is_not_current(void **state)
{
    (void)state;
    cluster_open(3);
    struct node *l = await_leader();
    struct node *slow = restart_slow_follower(100, 60);
    /* roles do not wait for the whole backlog */
    until(slow->leader == l->id);
    assert_true(slow->state.count < l->state.count);
    while (slow->state.count < l->state.count) {
        assert_false(status_of(slow).current);
        uv_run(&loop, UV_RUN_ONCE);
    }
    assert_true(slow->applies > 2);
    until(status_of(slow).current);
    assert_int_equal(slow->state.hash, l->state.hash);
    assert_true(status_of(l).current);
}

static void a_node_that_replays_its_log_lets_others_lead(void **state)
{
    (void)state;
    cluster_open(3);
    struct node *l = await_leader();
    struct node *slow = restart_slow_follower(800, 30 * SLOWNESS);
    until(slow->leader == l->id && status_of(slow).last_index == status_of(l).last_index);
    assert_true(slow->state.count < l->state.count);
    node_close(l);
    struct node *next = await_leader();
    assert_ptr_not_equal(next, slow);
    assert_true(slow->state.count < next->state.count); /* or this would prove nothing */
}

static void a_node_without_a_leader_is_not_current(void **state)
{
    (void)state;
    cluster_open(3);
    struct node *l = await_leader();
    until(status_of(l).current);
    struct node *f = NULL;
    for (uint32_t i = 0; i < 3; i++) {
        if (&nodes[i] != l) {
            f = &nodes[i];
        }
    }
    until(status_of(f).current);
    for (uint32_t i = 0; i < 3; i++) {
        if (&nodes[i] != f) {
            node_close(&nodes[i]);
        }
    }
    until(!status_of(f).current);
}

static void a_snapshot_bounds_the_time_of_a_replay(void **state)
{
    (void)state;
    cluster_open(1);
    struct node *n = await_leader();
    n->apply_ms = 100;
    write_some(n, 25);
    until(n->dumps > 0); /* 2.5 s of applying, and far from the limits in bytes and entries */
    n->apply_ms = 0;
}

static void what_stays_behind_a_snapshot_is_bounded_in_bytes(void **state)
{
    (void)state;
    node_config(&nodes[0], 0, 1);
    nodes[0].config.snapshot_log_bytes = 4 << 20;
    must_open(&nodes[0]);
    struct node *n = await_leader();
    write_backlog(n, 100); /* 6 MB: far fewer entries than may trail */
    until(n->dumps > 0 && status_of(n).first_index > 1);
    struct raftlog_status s = status_of(n);
    assert_true(s.snapshot_index - s.first_index + 1 <= (1 << 20) / (60 * 1024));
    assert_true(s.snapshot_index - s.first_index + 1 >= (1 << 20) / (60 * 1024) - 1);
    const struct state before = n->state;
    node_close(n);
    must_open(n);
    until(n->state.count == before.count);
    assert_int_equal(n->state.hash, before.hash);
}

/* ---- claims: a busy loop, a sole voter ---- */

static void on_busy(uv_idle_t *idle)
{
    ++*(uint64_t *)idle->data;
}

static void a_busy_loop_does_not_starve_the_timer(void **state)
{
    (void)state;
    cluster_open(3);
    struct node *l = await_leader();
    uint64_t turns = 0;
    uv_idle_t idle = {.data = &turns};
    uv_idle_init(&loop, &idle);
    uv_idle_start(&idle, on_busy);
    /* heartbeats, probes and the repeat of a lost probe all hang on the timer */
    for (int i = 0; i < 20; i++) {
        const uint64_t start = uv_hrtime();
        struct reading r = {.node = l, .req.data = &r};
        assert_int_equal(raftlog_read(l->log, &r.req, on_read), 0);
        until(r.done);
        assert_int_equal(r.status, 0);
        assert_true(uv_hrtime() - start < 1000000000u);
    }
    /* and leadership outlives several election timeouts of nothing but turns */
    const uint64_t term = l->term, start = uv_hrtime();
    until(uv_hrtime() - start > 4 * 300 * 1000000ull);
    assert_int_equal(l->term, term);
    assert_ptr_equal(leader(), l);
    uv_close((uv_handle_t *)&idle, NULL);
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_true(turns > 100);
}

static void a_sole_voter_reads_in_the_same_turn(void **state)
{
    (void)state;
    cluster_open(1);
    struct node *n = await_leader();
    write_some(n, 1);
    for (int i = 0; i < 20; i++) {
        struct reading r = {.node = n, .req.data = &r};
        assert_int_equal(raftlog_read(n->log, &r.req, on_read), 0);
        assert_false(r.done); /* never inside the call */
        uv_run(&loop, UV_RUN_NOWAIT);
        assert_true(r.done);
        assert_int_equal(r.status, 0);
        assert_true(r.req.local);
    }
    const struct raftlog_metrics *m = raftlog_metrics(n->log);
    assert_true(m->read_round.count >= 20);
    assert_int_equal(m->read_round.count, m->read_round.bucket[RAFTLOG_BUCKETS - 1]);
}

static void applications_post_to_each_other(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        node_config(&nodes[i], i, 2);
        nodes[i].config.advert = (struct assent_bytes){(const uint8_t *)"http=x", 6};
    }
    must_open(&nodes[0]);
    struct assent_bytes text = {(const uint8_t *)"hello", 5};
    assert_int_equal(raftlog_post(nodes[0].log, 2, text), ASSENT_UNREACHABLE);
    must_open(&nodes[1]);
    struct raftlog_peer p;
    until(raftlog_peer(nodes[0].log, 2, &p) && p.connected && p.advert.size == 6);
    assert_memory_equal(p.advert.base, "http=x", 6);
    assert_int_equal(raftlog_post(nodes[0].log, 2, text), 0);
    until(nodes[1].posts == 1);
    assert_string_equal(nodes[1].post, "1: hello");
}

/* ---- claims: identity ---- */

static void a_directory_has_one_owner(void **state)
{
    (void)state;
    cluster_open(1);
    node_config(&nodes[1], 0, 1);
    assert_int_equal(node_open(&nodes[1]), ASSENT_BUSY);
    print_message("%s\n", nodes[1].err);
}

static void a_directory_of_another_node_or_cluster_is_refused(void **state)
{
    (void)state;
    cluster_open(3);
    await_leader();
    node_close(&nodes[0]);
    struct node *n = &nodes[4];
    node_config(n, 0, 3);
    n->config.id = 2;
    assert_int_equal(node_open(n), ASSENT_FOREIGN);
    print_message("%s\n", n->err);
    node_config(n, 0, 3);
    n->config.cluster_name = "other";
    assert_int_equal(node_open(n), ASSENT_FOREIGN);
    print_message("%s\n", n->err);
    node_config(n, 0, 2);
    assert_int_equal(node_open(n), ASSENT_FOREIGN);
    node_config(n, 4, 3); /* not among the servers */
    assert_int_equal(node_open(n), ASSENT_INVALID);
    print_message("%s\n", n->err);
    memset(n, 0, sizeof *n);
    must_open(&nodes[0]); /* opening again is no second bootstrap */
    write_some(await_leader(), 1);
    until(all_applied(1));
}

static void clusters_of_different_names_refuse_each_other(void **state)
{
    (void)state;
    node_config(&nodes[0], 0, 2);
    node_config(&nodes[1], 1, 2);
    nodes[1].config.cluster_name = "other";
    must_open(&nodes[0]);
    must_open(&nodes[1]);
    until(has_event(&nodes[0], "another cluster") && has_event(&nodes[1], "another cluster"));
    assert_null(leader());
}

static void unusable_configurations_are_refused(void **state)
{
    (void)state;
    struct node *n = &nodes[0];
    node_config(n, 0, 1);
    n->config.id = 0;
    assert_int_equal(node_open(n), ASSENT_INVALID);
    node_config(n, 0, 1);
    n->config.election_ms = 100;
    assert_int_equal(node_open(n), ASSENT_INVALID);
    node_config(n, 0, 1);
    n->config.inflight_entries = 0;
    assert_int_equal(node_open(n), ASSENT_INVALID);
    node_config(n, 0, 1);
    n->config.listen = "nowhere";
    assert_int_equal(node_open(n), ASSENT_INVALID);
    node_config(n, 0, 1);
    wipe(n->dir);
    servers[0].address[0] = '\0';
    assert_int_equal(node_open(n), ASSENT_INVALID);
    n->log = NULL;
}

/* ---- claims: snapshots ---- */

/* A cluster whose log keeps next to nothing behind a snapshot. */
static void cluster_open_short_log(uint32_t n, size_t image_size)
{
    for (uint32_t i = 0; i < n; i++) {
        node_config(&nodes[i], i, n);
        nodes[i].config.snapshot_trailing = 2;
        nodes[i].config.snapshot_chunk_bytes = 64 * 1024;
        nodes[i].image_size = image_size;
    }
    for (uint32_t i = 0; i < n; i++) {
        must_open(&nodes[i]);
    }
}

static void join_open(uint32_t i)
{
    node_config(&nodes[i], i, 0);
    nodes[i].config.servers_n = 0;
    nodes[i].config.snapshot_chunk_bytes = 64 * 1024;
    must_open(&nodes[i]);
}

static void a_snapshot_shortens_the_log_and_survives_a_restart(void **state)
{
    (void)state;
    cluster_open_short_log(1, 0);
    struct node *n = await_leader();
    write_some(n, 20);
    struct taking t = take(n);
    assert_int_equal(t.status, 0);
    assert_int_equal(t.snapshot.index, n->state.index);
    assert_int_equal(t.snapshot.digest, n->state.hash);
    assert_int_equal(access(t.snapshot.path, R_OK), 0);
    struct raftlog_status s;
    raftlog_status(n->log, &s);
    assert_int_equal(s.snapshot_index, t.snapshot.index);
    assert_int_equal(s.first_index, t.snapshot.index - 1);
    /* nothing new: the same again */
    struct taking again = take(n);
    assert_int_equal(again.status, 0);
    assert_int_equal(again.snapshot.index, t.snapshot.index);
    assert_int_equal(n->dumps, 1);
    write_some(n, 3);
    uint64_t hash = n->state.hash;
    node_close(n);
    must_open(n);
    assert_int_equal(n->restores, 1);
    await_leader();
    until(n->state.count == 23);
    assert_true(n->state.hash == hash);
}

static void snapshots_are_taken_by_themselves_and_old_ones_removed(void **state)
{
    (void)state;
    node_config(&nodes[0], 0, 1);
    nodes[0].config.snapshot_log_entries = 10;
    nodes[0].config.snapshot_trailing = 5;
    must_open(&nodes[0]);
    struct node *n = await_leader();
    struct taking first = {0};
    write_some(n, 1);
    first = take(n);
    for (unsigned i = 0; i < 6; i++) {
        write_some(n, 10);
        until(n->dumps >= 2 + i);
    }
    until(raftlog_metrics(n->log)->snapshots_taken >= 6);
    assert_int_equal(access(first.snapshot.path, R_OK), -1);
}

static void a_failed_dump_keeps_the_log(void **state)
{
    (void)state;
    cluster_open_short_log(1, 0);
    struct node *n = await_leader();
    write_some(n, 20);
    n->dump_error = ASSENT_NO_SPACE;
    struct taking t = take(n);
    assert_int_equal(t.status, ASSENT_NO_SPACE);
    struct raftlog_status s;
    raftlog_status(n->log, &s);
    assert_int_equal(s.snapshot_index, 0);
    assert_int_equal(s.first_index, 1);
    n->dump_error = 0;
    t = take(n);
    assert_int_equal(t.status, 0);
}

static void a_damaged_snapshot_is_refused_at_start(void **state)
{
    (void)state;
    cluster_open_short_log(1, 0);
    struct node *n = await_leader();
    write_some(n, 20);
    struct taking t = take(n);
    node_close(n);
    FILE *f = fopen(t.snapshot.path, "r+");
    assert_non_null(f);
    fputc('x', f);
    fclose(f);
    assert_int_equal(node_open(n), ASSENT_CORRUPT);
    print_message("%s\n", n->err);
    assert_non_null(strstr(n->err, "damaged"));
    unlink(t.snapshot.path);
    assert_int_equal(node_open(n), ASSENT_CORRUPT);
    assert_non_null(strstr(n->err, "missing"));
}

static void an_empty_node_installs_a_snapshot_in_chunks(void **state)
{
    (void)state;
    cluster_open_short_log(3, 2 << 20);
    struct node *l = await_leader();
    write_some(l, 20);
    until(all_applied(20));
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(take(&nodes[i]).status, 0);
    }
    join_open(3);
    change(RAFTLOG_ADD, 4, servers[3].address);
    write_some(await_leader(), 5);
    until(nodes[3].restores == 1 && all_applied(25));
    assert_int_equal(raftlog_metrics(nodes[3].log)->snapshots_installed, 1);
    struct raftlog_status s;
    raftlog_status(nodes[3].log, &s);
    assert_false(s.installing);
    assert_true(s.snapshot_index > 0);
    struct raftlog_status leading;
    raftlog_status(leader()->log, &leading);
    assert_true(s.cluster_id == leading.cluster_id && s.incarnation == leading.incarnation);
    assert_true(raftlog_metrics(leader()->log)->snapshot_chunks_sent >= 32);
    /* what it installed is its own now */
    node_close(&nodes[3]);
    must_open(&nodes[3]);
    assert_int_equal(nodes[3].restores, 2);
    until(all_applied(25));
}

static void a_pull_goes_on_after_the_puller_restarts(void **state)
{
    (void)state;
    cluster_open_short_log(1, 8 << 20);
    struct node *l = await_leader();
    write_some(l, 20);
    assert_int_equal(take(l).status, 0);
    join_open(1);
    change(RAFTLOG_ADD, 2, servers[1].address);
    struct raftlog_status s = {0};
    until((raftlog_status(nodes[1].log, &s), s.install_bytes >= 1 << 20));
    assert_true(s.installing && s.install_size > 8 << 20);
    node_close(&nodes[1]);
    assert_int_equal(nodes[1].restores, 0);
    nodes[1].events[0] = '\0';
    must_open(&nodes[1]);
    until(nodes[1].restores == 1 && all_applied(20));
    const char *pull = strstr(nodes[1].events, "snapshot_pull ");
    assert_non_null(pull);
    assert_null(strstr(pull, "have=0"));
}

static void writes_go_on_while_a_snapshot_is_taken_and_installed(void **state)
{
    (void)state;
    cluster_open_short_log(3, 4 << 20);
    for (uint32_t i = 0; i < 3; i++) {
        nodes[i].config.snapshot_log_entries = 50;
    }
    struct node *l = await_leader();
    write_some(l, 10);
    struct node *f = follower();
    assert_non_null(f);
    node_close(f);
    struct taking t = {.req.data = &t};
    write_some(l, 30);
    assert_int_equal(raftlog_take_snapshot(l->log, &t.req, on_taken), 0);
    write_some(l, 30);
    until(t.done);
    assert_int_equal(t.status, 0);
    write_some(l, 10);
    must_open(f);
    write_some(l, 20);
    until(all_applied(100));
    assert_int_equal(f->restores, 1);
}

/* ---- claims: membership ---- */

static void a_node_is_added_promoted_demoted_and_removed(void **state)
{
    (void)state;
    struct raftlog_peer p;
    cluster_open(3);
    write_some(await_leader(), 5);
    join_open(3);
    change(RAFTLOG_ADD, 4, servers[3].address);
    until(all_applied(5));
    assert_true(raftlog_peer(leader()->log, 4, &p) && !p.voter);
    change(RAFTLOG_PROMOTE, 4, NULL);
    assert_true(raftlog_peer(await_leader()->log, 4, &p) && p.voter);
    write_some(await_leader(), 5);
    until(all_applied(10));
    change(RAFTLOG_DEMOTE, 4, NULL);
    change(RAFTLOG_REMOVE, 4, NULL);
    assert_false(raftlog_peer(await_leader()->log, 4, &p));
    write_some(await_leader(), 5);
    node_close(&nodes[3]);
    until(all_applied(15));
}

static void a_dead_node_is_replaced(void **state)
{
    (void)state;
    cluster_open(3);
    write_some(await_leader(), 5);
    struct node *dead = follower();
    assert_non_null(dead);
    uint64_t dead_id = dead->id;
    node_close(dead);
    join_open(3);
    change(RAFTLOG_ADD, 4, servers[3].address);
    change(RAFTLOG_REMOVE, dead_id, NULL);
    change(RAFTLOG_PROMOTE, 4, NULL);
    write_some(await_leader(), 5);
    until(all_applied(10));
    struct raftlog_peer p;
    assert_false(raftlog_peer(leader()->log, dead_id, &p));
}

static void leadership_is_handed_over(void **state)
{
    (void)state;
    cluster_open(3);
    struct node *old = await_leader();
    write_some(old, 5);
    struct node *next = &nodes[old->id % 3];
    change(RAFTLOG_TRANSFER, next->id, NULL);
    until(leader() == next);
    assert_int_equal(old->role, RAFTLOG_FOLLOWER);
    write_some(next, 5);
    until(all_applied(10));
}

static void impossible_changes_are_refused(void **state)
{
    (void)state;
    cluster_open(3);
    struct node *l = await_leader();
    struct change c = {.req.data = &c}, second = {.req.data = &second};
    until(follower() != NULL);
    assert_int_equal(raftlog_member(follower()->log, &c.req, RAFTLOG_REMOVE, l->id, NULL, on_changed),
                     ASSENT_NOT_LEADER);
    assert_int_equal(raftlog_member(l->log, &c.req, RAFTLOG_REMOVE, 9, NULL, on_changed), ASSENT_NOT_MEMBER);
    assert_int_equal(raftlog_member(l->log, &c.req, RAFTLOG_ADD, 5, NULL, on_changed), ASSENT_INVALID);
    join_open(3);
    change(RAFTLOG_ADD, 4, servers[3].address);
    l = await_leader();
    int rv = raftlog_member(l->log, &c.req, RAFTLOG_PROMOTE, 4, NULL, on_changed);
    if (rv == 0) {
        assert_int_equal(raftlog_member(l->log, &second.req, RAFTLOG_REMOVE, 4, NULL, on_changed),
                         ASSENT_CHANGE_PENDING);
        until(c.done);
    }
}

static void a_lost_majority_is_recovered_by_hand(void **state)
{
    (void)state;
    char err[512] = "";
    cluster_open(3);
    write_some(await_leader(), 10);
    until(all_applied(10));
    for (uint32_t i = 0; i < 3; i++) {
        node_close(&nodes[i]);
    }
    assert_int_equal(raftlog_recover(nodes[0].dir, 2, servers[0].address, err, sizeof err), ASSENT_FOREIGN);
    print_message("%s\n", err);
    if (raftlog_recover(nodes[0].dir, 1, servers[0].address, err, sizeof err) != 0) {
        fail_msg("%s", err);
    }
    must_open(&nodes[0]);
    struct node *l = await_leader();
    until(l->state.count == 10);
    write_some(l, 5);
    struct raftlog_status s;
    raftlog_status(l->log, &s);
    assert_int_equal(s.servers_n, 1);
    assert_int_equal(s.incarnation, 2);
    /* a node of the old incarnation is kept out, a new one is welcome */
    must_open(&nodes[1]);
    join_open(3);
    change(RAFTLOG_ADD, 4, servers[3].address);
    until(has_event(&nodes[0], "older incarnation"));
    assert_int_equal(nodes[1].state.count <= 10, 1);
    node_close(&nodes[1]);
    until(all_applied(15));
    assert_int_equal(raftlog_recover(root, 1, servers[0].address, err, sizeof err), ASSENT_NOT_FOUND);
}

int main(int argc, char **argv)
{
#define CLAIM(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CLAIM(one_node_is_a_cluster),
        CLAIM(three_nodes_agree),
        CLAIM(proposals_of_one_turn_share_entries),
        CLAIM(a_follower_refuses_proposals),
        CLAIM(large_commands_pass),
        CLAIM(the_queue_is_bounded),
        CLAIM(a_full_disk_refuses_early),
        CLAIM(a_closed_leader_is_replaced_and_nothing_is_lost),
        CLAIM(a_whole_cluster_restarts_with_its_log),
        CLAIM(proposals_of_a_lost_majority_get_an_unknown_outcome),
        CLAIM(closing_answers_everybody),
        CLAIM(a_leader_far_in_the_future_is_refused),
        CLAIM(a_failed_disk_stops_the_node_loudly),
        CLAIM(reads_see_what_was_acknowledged_before),
        CLAIM(a_read_without_a_leader_is_refused),
        CLAIM(a_node_that_replays_its_log_is_not_current),
        CLAIM(a_node_that_replays_its_log_lets_others_lead),
        CLAIM(a_node_without_a_leader_is_not_current),
        CLAIM(a_snapshot_bounds_the_time_of_a_replay),
        CLAIM(what_stays_behind_a_snapshot_is_bounded_in_bytes),
        CLAIM(a_busy_loop_does_not_starve_the_timer),
        CLAIM(a_sole_voter_reads_in_the_same_turn),
        CLAIM(applications_post_to_each_other),
        CLAIM(a_directory_has_one_owner),
        CLAIM(a_directory_of_another_node_or_cluster_is_refused),
        CLAIM(clusters_of_different_names_refuse_each_other),
        CLAIM(unusable_configurations_are_refused),
        CLAIM(a_snapshot_shortens_the_log_and_survives_a_restart),
        CLAIM(snapshots_are_taken_by_themselves_and_old_ones_removed),
        CLAIM(a_failed_dump_keeps_the_log),
        CLAIM(a_damaged_snapshot_is_refused_at_start),
        CLAIM(an_empty_node_installs_a_snapshot_in_chunks),
        CLAIM(a_pull_goes_on_after_the_puller_restarts),
        CLAIM(writes_go_on_while_a_snapshot_is_taken_and_installed),
        CLAIM(a_node_is_added_promoted_demoted_and_removed),
        CLAIM(a_dead_node_is_replaced),
        CLAIM(leadership_is_handed_over),
        CLAIM(impossible_changes_are_refused),
        CLAIM(a_lost_majority_is_recovered_by_hand),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
