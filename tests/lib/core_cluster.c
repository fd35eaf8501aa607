/* Deterministic cluster of consensus cores; see core_cluster.h. */
#include "core_cluster.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "assent/error.h"

#define READS_MAX 65536

/* ---- what there is */

struct disk_op {
    enum { OP_APPEND, OP_INSTALL, OP_RECORD, OP_COMPACT } kind;
    uint64_t index; /* first index; COMPACT: through */
    struct entry **entries;
    uint32_t n;
    struct snapshot_manifest manifest;
};

struct disk {
    uint64_t term, vote;
    bool has_snapshot;
    struct snapshot_manifest snapshot;
    uint64_t base; /* entries base+1 .. base+n */
    struct entry **entries;
    uint64_t n, capacity;
    struct disk_op *queue;
    uint32_t queued, queue_capacity;
    uint32_t committing; /* ops of the commit under way */
    bool frozen;
};

struct node {
    struct cluster *cluster;
    uint32_t id;
    char address[32];
    struct core *core;
    uint32_t boot;
    uint32_t election_ms;
    struct disk disk;
    /* The application: a hash chain over what was applied. */
    uint64_t applied, hash;
    bool clean;
    uint64_t snapshot_asked; /* index of the newest snapshot begun */
    bool fetching;
    struct snapshot_manifest fetch;
    uint64_t tick_at_us;
    uint64_t ticks;
    uint64_t seen_commit;
    bool seen_leader;
    uint64_t seen_configuration;
    uint32_t seen_voters; /* bit i: node i votes */
    uint64_t guards[17];
    bool cut[CLUSTER_NODES_MAX + 1]; /* cut[to]: what we send there is lost */
};

enum event_kind { EV_TICK, EV_MESSAGE, EV_DISK, EV_FETCHED, EV_INSTALLED, EV_DUMPED, EV_CALL };

struct event {
    uint64_t at_us, seq;
    enum event_kind kind;
    uint32_t node, boot;
    struct message *message;
    struct snapshot_manifest manifest;
    cluster_call_fn call; /* of CALL */
    void *data;
    uint64_t arg;
};

struct committed {
    uint64_t term, hash;
    uint32_t crc;
};

struct read_record {
    uint32_t node, boot;
    uint64_t floor;
    bool done;
};

struct cluster {
    struct cluster_options o;
    struct node nodes[CLUSTER_NODES_MAX + 1];
    uint64_t now_us, seq, random;
    bool chaos;
    uint32_t refused, accepts; /* commands of whose terms are not admitted, except by whom */
    struct event *heap;
    uint32_t heap_n, heap_capacity;
    struct committed *committed; /* by index */
    uint64_t committed_n, committed_capacity;
    uint32_t *leaders; /* by term */
    uint64_t leaders_capacity;
    struct read_record *reads;
    uint32_t reads_n, reads_done;
    uint32_t members_n, members_done;
    int member_status;
    uint64_t messages[16];
    struct assent_bytes bootstrap;
    uint64_t trace;
    bool failed;
    char failure[512];
};

static void fail(struct cluster *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void fail(struct cluster *c, const char *format, ...)
{
    va_list args;
    if (c->failed) {
        return;
    }
    c->failed = true;
    va_start(args, format);
    vsnprintf(c->failure, sizeof c->failure, format, args);
    va_end(args);
}

void cluster_fail(struct cluster *c, const char *format, ...)
{
    char text[sizeof c->failure];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fail(c, "%s", text);
}

const char *cluster_failure(const struct cluster *c)
{
    return c->failed ? c->failure : NULL;
}

static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

uint64_t cluster_random(struct cluster *c, uint64_t below)
{
    c->random++;
    return below == 0 ? 0 : mix(c->random ^ (c->o.seed << 20)) % below;
}

static uint64_t between(struct cluster *c, uint64_t low, uint64_t high)
{
    return high <= low ? low : low + cluster_random(c, high - low + 1);
}

static void *grown(void *array, size_t n, size_t size)
{
    void *more = realloc(array, n * size);
    assert(more != NULL);
    return more;
}

static struct node *node_of(const struct cluster *c, uint32_t id)
{
    assert(id >= 1 && id <= c->o.nodes);
    return (struct node *)(uintptr_t)&c->nodes[id];
}

static struct snapshot_manifest manifest_copy(const struct snapshot_manifest *m)
{
    struct snapshot_manifest copy = *m;
    uint8_t *bytes = malloc(m->configuration.size + 1);
    assert(bytes != NULL);
    if (m->configuration.size > 0) {
        memcpy(bytes, m->configuration.base, m->configuration.size);
    }
    copy.configuration.base = bytes;
    return copy;
}

static void manifest_free(struct snapshot_manifest *m)
{
    free((void *)(uintptr_t)m->configuration.base);
    memset(m, 0, sizeof *m);
}

/* ---- events */

static bool before(const struct event *a, const struct event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->seq < b->seq;
}

static struct event *schedule(struct cluster *c, uint64_t after_us, enum event_kind kind,
                              const struct node *n)
{
    if (c->heap_n == c->heap_capacity) {
        c->heap_capacity = c->heap_capacity == 0 ? 256 : 2 * c->heap_capacity;
        c->heap = grown(c->heap, c->heap_capacity, sizeof *c->heap);
    }
    struct event event = {
        .at_us = c->now_us + after_us, .seq = c->seq++, .kind = kind, .node = n->id, .boot = n->boot};
    uint32_t at = c->heap_n++;
    while (at > 0 && before(&event, &c->heap[(at - 1) / 2])) {
        c->heap[at] = c->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    c->heap[at] = event;
    return &c->heap[at];
}

static struct event next_event(struct cluster *c)
{
    struct event first = c->heap[0];
    struct event last = c->heap[--c->heap_n];
    uint32_t at = 0;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= c->heap_n) {
            break;
        }
        if (child + 1 < c->heap_n && before(&c->heap[child + 1], &c->heap[child])) {
            child++;
        }
        if (!before(&c->heap[child], &last)) {
            break;
        }
        c->heap[at] = c->heap[child];
        at = child;
    }
    c->heap[at] = last;
    return first;
}

/* ---- messages */

static struct message *message_copy(const struct message *m)
{
    struct message *copy = malloc(sizeof *copy);
    assert(copy != NULL);
    *copy = *m;
    if (m->type == MESSAGE_RAFT && m->raft.raft.type == RAFT_APPEND_ENTRIES) {
        uint32_t n = m->raft.raft.append_entries.n_entries;
        copy->raft.entries = malloc((n + 1) * sizeof(struct entry *));
        assert(copy->raft.entries != NULL);
        for (uint32_t i = 0; i < n; i++) {
            copy->raft.entries[i] = entry_ref(m->raft.entries[i]);
        }
    }
    if (m->type == MESSAGE_RAFT && m->raft.raft.type == RAFT_INSTALL_SNAPSHOT) {
        copy->raft.manifest = manifest_copy(&m->raft.manifest);
    }
    return copy;
}

static void message_free(struct message *m)
{
    if (m->type == MESSAGE_RAFT && m->raft.raft.type == RAFT_APPEND_ENTRIES) {
        for (uint32_t i = 0; i < m->raft.raft.append_entries.n_entries; i++) {
            entry_unref(m->raft.entries[i]);
        }
        free(m->raft.entries);
    }
    if (m->type == MESSAGE_RAFT && m->raft.raft.type == RAFT_INSTALL_SNAPSHOT) {
        manifest_free(&m->raft.manifest);
    }
    free(m);
}

void cluster_at(struct cluster *c, uint64_t after_us, cluster_call_fn fn, void *data, uint64_t arg)
{
    struct node nobody = {.id = 0};
    struct event *e = schedule(c, after_us, EV_CALL, &nobody);
    e->call = fn;
    e->data = data;
    e->arg = arg;
}

uint64_t cluster_now_us(const struct cluster *c)
{
    return c->now_us;
}

uint64_t cluster_trace(const struct cluster *c)
{
    return c->trace;
}

static void event_free(struct event *e)
{
    if (e->message != NULL) {
        message_free(e->message);
    }
    manifest_free(&e->manifest);
}

static void io_send(void *data, uint64_t to, const char *address, const struct message *message)
{
    struct node *n = data;
    struct cluster *c = n->cluster;
    (void)address;
    if (message->type == MESSAGE_RAFT) {
        c->messages[message->raft.raft.type]++;
    }
    if (to < 1 || to > c->o.nodes || n->cut[to]) {
        return;
    }
    uint32_t copies = 1;
    if (c->chaos) {
        copies = cluster_random(c, 1000) < c->o.drop ? 0 : cluster_random(c, 1000) < c->o.duplicate ? 2 : 1;
    }
    for (uint32_t i = 0; i < copies; i++) {
        uint64_t delay = between(c, c->o.net_us_min, c->o.net_us_max);
        if (c->chaos && cluster_random(c, 1000) < c->o.stale) {
            delay = cluster_random(c, c->o.stale_us_max);
        }
        struct event *e = schedule(c, delay, EV_MESSAGE, node_of(c, (uint32_t)to));
        e->message = message_copy(message);
        e->message->from = n->id;
    }
}

/* ---- disk */

static struct entry *disk_entry(const struct disk *d, uint64_t index)
{
    return index > d->base && index <= d->base + d->n ? d->entries[index - d->base - 1] : NULL;
}

static void disk_cut(struct disk *d, uint64_t first)
{
    while (d->n > 0 && d->base + d->n >= first) {
        entry_unref(d->entries[--d->n]);
    }
}

static void disk_put(struct disk *d, struct entry *e)
{
    assert(e->index == d->base + d->n + 1);
    if (d->n == d->capacity) {
        d->capacity = d->capacity == 0 ? 256 : 2 * d->capacity;
        d->entries = grown(d->entries, d->capacity, sizeof *d->entries);
    }
    d->entries[d->n++] = e;
}

static void disk_compact_to(struct disk *d, uint64_t through)
{
    uint64_t drop = through <= d->base ? 0 : through - d->base < d->n ? through - d->base : d->n;
    for (uint64_t i = 0; i < drop; i++) {
        entry_unref(d->entries[i]);
    }
    if (d->n > drop) {
        memmove(d->entries, d->entries + drop, (size_t)(d->n - drop) * sizeof *d->entries);
    }
    d->n -= drop;
    d->base += drop;
}

static void op_free(struct disk_op *op)
{
    for (uint32_t i = 0; i < op->n; i++) {
        entry_unref(op->entries[i]);
    }
    free(op->entries);
    manifest_free(&op->manifest);
}

/* Make one op durable. */
static void op_perform(struct cluster *c, struct node *n, struct disk_op *op)
{
    struct disk *d = &n->disk;
    switch (op->kind) {
    case OP_APPEND:
        disk_cut(d, op->index);
        if (d->base + d->n + 1 != op->index) {
            fail(c, "node %u: append at %llu leaves a gap behind %llu", n->id, (unsigned long long)op->index,
                 (unsigned long long)(d->base + d->n));
            return;
        }
        for (uint32_t i = 0; i < op->n; i++) {
            disk_put(d, entry_ref(op->entries[i]));
        }
        break;
    case OP_INSTALL:
        disk_cut(d, 0);
        d->n = 0;
        d->base = op->manifest.index;
        manifest_free(&d->snapshot);
        d->snapshot = manifest_copy(&op->manifest);
        d->has_snapshot = true;
        break;
    case OP_RECORD:
        if (!d->has_snapshot || op->manifest.index > d->snapshot.index) {
            manifest_free(&d->snapshot);
            d->snapshot = manifest_copy(&op->manifest);
            d->has_snapshot = true;
        }
        break;
    case OP_COMPACT:
        if (!d->has_snapshot || d->snapshot.index < op->index) {
            fail(c, "node %u: compaction to %llu without a snapshot", n->id, (unsigned long long)op->index);
            return;
        }
        disk_compact_to(d, op->index);
        break;
    }
}

static void disk_kick(struct cluster *c, struct node *n)
{
    struct disk *d = &n->disk;
    if (d->committing == 0 && d->queued > 0 && !d->frozen) {
        d->committing = d->queued;
        (void)schedule(c, between(c, c->o.disk_us_min, c->o.disk_us_max), EV_DISK, n);
    }
}

static struct disk_op *disk_queue(struct node *n)
{
    struct disk *d = &n->disk;
    if (d->queued == d->queue_capacity) {
        d->queue_capacity = d->queue_capacity == 0 ? 16 : 2 * d->queue_capacity;
        d->queue = grown(d->queue, d->queue_capacity, sizeof *d->queue);
    }
    struct disk_op *op = &d->queue[d->queued++];
    memset(op, 0, sizeof *op);
    return op;
}

static void disk_shift(struct disk *d, uint32_t done)
{
    for (uint32_t i = 0; i < done; i++) {
        op_free(&d->queue[i]);
    }
    if (d->queued > done) {
        memmove(d->queue, d->queue + done, (d->queued - done) * sizeof *d->queue);
    }
    d->queued -= done;
}

static int io_persist_vote(void *data, uint64_t term, uint64_t vote)
{
    struct node *n = data;
    struct disk *d = &n->disk;
    if (term < d->term || (term == d->term && d->vote != 0 && vote != d->vote)) {
        fail(n->cluster, "node %u: vote (%llu, %llu) replaced by (%llu, %llu)", n->id,
             (unsigned long long)d->term, (unsigned long long)d->vote, (unsigned long long)term,
             (unsigned long long)vote);
    }
    d->term = term;
    d->vote = vote;
    return 0;
}

static void io_append(void *data, uint64_t first, struct entry *const *entries, uint32_t count)
{
    struct node *n = data;
    struct disk_op *op = disk_queue(n);
    op->kind = OP_APPEND;
    op->index = first;
    op->n = count;
    op->entries = malloc(count * sizeof(struct entry *));
    assert(op->entries != NULL);
    for (uint32_t i = 0; i < count; i++) {
        if (entries[i]->index != first + i || entry_crc(entries[i]) != entries[i]->crc) {
            fail(n->cluster, "node %u: entry %llu is not sealed", n->id, (unsigned long long)(first + i));
        }
        op->entries[i] = entry_ref(entries[i]);
    }
    disk_kick(n->cluster, n);
}

static void io_install(void *data, const struct snapshot_manifest *manifest)
{
    struct node *n = data;
    struct disk_op *op = disk_queue(n);
    op->kind = OP_INSTALL;
    op->manifest = manifest_copy(manifest);
    disk_kick(n->cluster, n);
}

static void io_compact(void *data, uint64_t index)
{
    struct node *n = data;
    struct disk_op *op = disk_queue(n);
    op->kind = OP_COMPACT;
    op->index = index;
    disk_kick(n->cluster, n);
}

static bool io_newest_snapshot(void *data, struct snapshot_manifest *out)
{
    struct node *n = data;
    *out = n->disk.snapshot;
    return n->disk.has_snapshot;
}

static void io_stage(void *data, uint64_t from, const struct snapshot_manifest *manifest)
{
    struct node *n = data;
    if (n->fetching && n->fetch.index == manifest->index && n->fetch.term == manifest->term) {
        return;
    }
    manifest_free(&n->fetch);
    n->fetching = true;
    n->fetch = manifest_copy(manifest);
    struct event *e =
        schedule(n->cluster, cluster_random(n->cluster, n->cluster->o.fetch_us_max + 1), EV_FETCHED, n);
    e->manifest = manifest_copy(manifest);
    e->manifest.chunk_size = from; /* the source */
}

/* ---- the application and the oracles */

static void check_committed(struct cluster *c, struct node *n, const struct entry *e)
{
    if (e->index >= c->committed_capacity) {
        uint64_t capacity = 2 * e->index + 1024;
        c->committed = grown(c->committed, capacity, sizeof *c->committed);
        memset(c->committed + c->committed_capacity, 0,
               (capacity - c->committed_capacity) * sizeof *c->committed);
        c->committed_capacity = capacity;
    }
    struct committed *known = &c->committed[e->index];
    if (known->term == 0) {
        *known = (struct committed){e->term, n->hash, e->crc};
    }
    if (known->term != e->term || known->crc != e->crc || known->hash != n->hash) {
        fail(c, "node %u applied (%llu, term %llu), another node term %llu there", n->id,
             (unsigned long long)e->index, (unsigned long long)e->term, (unsigned long long)known->term);
    }
    if (e->index > c->committed_n) {
        c->committed_n = e->index;
    }
}

static void io_apply(void *data, struct entry *const *entries, uint32_t count)
{
    struct node *n = data;
    for (uint32_t i = 0; i < count; i++) {
        const struct entry *e = entries[i];
        if (e->index != n->applied + 1) {
            fail(n->cluster, "node %u applied %llu behind %llu", n->id, (unsigned long long)e->index,
                 (unsigned long long)n->applied);
            return;
        }
        n->applied = e->index;
        n->hash = mix(n->hash ^ e->index ^ (e->term << 40) ^ ((uint64_t)e->crc << 8) ^ e->type);
        check_committed(n->cluster, n, e);
    }
    const struct cluster_app *app = n->cluster->o.app;
    if (app != NULL && app->apply != NULL) {
        app->apply(app->data, n->id, entries, count);
    }
}

static bool io_admit(void *data, const struct entry *entry)
{
    const struct node *n = data;
    const struct cluster *c = n->cluster;
    if (c->o.app != NULL && c->o.app->admit != NULL && !c->o.app->admit(c->o.app->data, n->id, entry)) {
        return false;
    }
    return c->refused == 0 || c->refused == n->id || c->accepts == n->id ||
           entry->term >= c->leaders_capacity || c->leaders[entry->term] / 1000 != c->refused;
}

static void io_servers(void *data, const struct raft_configuration *configuration)
{
    (void)data;
    (void)configuration;
}

static void check_leader(struct cluster *c, struct node *n, uint64_t term)
{
    if (term >= c->leaders_capacity) {
        uint64_t capacity = 2 * term + 64;
        c->leaders = grown(c->leaders, capacity, sizeof *c->leaders);
        memset(c->leaders + c->leaders_capacity, 0, (capacity - c->leaders_capacity) * sizeof *c->leaders);
        c->leaders_capacity = capacity;
    }
    if (c->leaders[term] != 0 && (c->leaders[term] != n->id * 1000 + n->boot)) {
        fail(c, "nodes %u and %u both led term %llu", c->leaders[term] / 1000, n->id,
             (unsigned long long)term);
    }
    c->leaders[term] = n->id * 1000 + n->boot;
}

static void io_role(void *data, enum raftlog_role role, uint64_t term, uint64_t leader, bool ready)
{
    struct node *n = data;
    const struct cluster_app *app = n->cluster->o.app;
    if (role == RAFTLOG_LEADER) {
        check_leader(n->cluster, n, term);
    }
    if (app != NULL && app->role != NULL) {
        app->role(app->data, n->id, role, term, leader, ready);
    }
    if (role == RAFTLOG_STOPPED) {
        fail(n->cluster, "node %u stopped", n->id);
    }
}

static void io_read_done(void *data, uint64_t read_id, int status, uint64_t index, uint64_t term, bool local)
{
    struct node *n = data;
    struct cluster *c = n->cluster;
    (void)term;
    (void)local;
    struct read_record *r = &c->reads[read_id];
    if (read_id >= c->reads_n || r->done || r->node != n->id || r->boot != n->boot) {
        fail(c, "node %u ended a read twice or one of another", n->id);
        return;
    }
    r->done = true;
    if (c->o.app != NULL && c->o.app->read_done != NULL) {
        c->o.app->read_done(c->o.app->data, n->id, read_id, status);
    }
    if (status != 0) {
        return;
    }
    c->reads_done++;
    if (index < r->floor || n->applied < index) {
        fail(c, "node %u: stale read at %llu, committed before it began: %llu", n->id,
             (unsigned long long)index, (unsigned long long)r->floor);
    }
}

static void io_member_done(void *data, uint64_t member_id, int status, const char *detail)
{
    struct node *n = data;
    (void)member_id;
    (void)detail;
    n->cluster->members_done++;
    n->cluster->member_status = status;
}

static void io_event(void *data, int level, const char *event, const char *details)
{
    const struct node *n = data;
    if (getenv("ASSENT_VERBOSE") != NULL) {
        fprintf(stderr, "%8.3f node %u level %d %s %s\n", (double)n->cluster->now_us / 1e6, n->id, level,
                event, details);
    }
}

static uint32_t voters_of(const struct node *n)
{
    const struct raft_configuration *conf = core_configuration(n->core);
    uint32_t voters = 0;
    for (unsigned i = 0; i < conf->n; i++) {
        voters |= conf->servers[i].role == RAFT_VOTER ? 1U << conf->servers[i].id : 0;
    }
    return voters;
}

static bool majority_holds(struct cluster *c, uint32_t voters, uint64_t index, uint64_t term)
{
    uint32_t n = 0, holders = 0;
    for (uint32_t id = 1; id <= c->o.nodes; id++) {
        const struct disk *d = &c->nodes[id].disk;
        const struct entry *e = disk_entry(d, index);
        if ((voters & 1U << id) != 0) {
            n++;
            holders += (e != NULL && e->term == term) || (d->has_snapshot && d->snapshot.index >= index);
        }
    }
    return 2 * holders > n;
}

/* A leader may count an entry committed only when a majority of voters has it on disk.  One call may commit
 * and then begin the next change, so the voters before the call will do. */
static void check_commit(struct cluster *c, struct node *n, const struct raftlog_status *s)
{
    uint64_t term = core_term_at(n->core, s->commit_index);
    if (!majority_holds(c, voters_of(n), s->commit_index, term) &&
        !majority_holds(c, n->seen_voters, s->commit_index, term)) {
        fail(c, "node %u committed %llu (term %llu) without a majority of disks", n->id,
             (unsigned long long)s->commit_index, (unsigned long long)term);
    }
}

static void check_completeness(struct cluster *c, struct node *n, const struct raftlog_status *s)
{
    for (uint64_t i = s->first_index; i <= c->committed_n; i++) {
        if (c->committed[i].term != 0 && core_term_at(n->core, i) != c->committed[i].term) {
            fail(c, "node %u leads term %llu without the committed entry %llu", n->id,
                 (unsigned long long)s->term, (unsigned long long)i);
            return;
        }
    }
}

/* The configuration in force is that of the newest change in the log, committed or not. */
static void check_configuration(struct cluster *c, struct node *n, const struct raftlog_status *s)
{
    for (uint64_t i = s->last_index; i >= s->first_index && i > 0; i--) {
        const struct entry *e = core_entry(n->core, i);
        if (e->type == ENTRY_CHANGE) {
            if (i != s->configuration_index) {
                fail(c, "node %u goes by the configuration of %llu, the newest is at %llu", n->id,
                     (unsigned long long)s->configuration_index, (unsigned long long)i);
            }
            return;
        }
    }
    if (s->configuration_index >= s->first_index) {
        fail(c, "node %u goes by a configuration that is not in its log: %llu", n->id,
             (unsigned long long)s->configuration_index);
    }
}

static void take_snapshot(struct cluster *c, struct node *n)
{
    struct snapshot_manifest m = {0};
    m.index = n->applied;
    m.term = core_term_at(n->core, n->applied);
    m.configuration = core_applied_configuration(n->core, &m.configuration_index);
    m.size = 1;
    m.digest = n->hash;
    n->snapshot_asked = n->applied;
    if (c->o.app != NULL && c->o.app->dump != NULL) {
        c->o.app->dump(c->o.app->data, n->id, n->applied, n->disk.has_snapshot ? n->disk.snapshot.index : 0);
    }
    struct event *e = schedule(c, between(c, 1000, 200000), EV_DUMPED, n);
    e->manifest = manifest_copy(&m);
}

/* After every call into a core. */
static void after(struct cluster *c, struct node *n)
{
    struct raftlog_status s = {0};
    if (n->core == NULL || c->failed) {
        return;
    }
    core_status(n->core, &s);
    bool leader = s.role == RAFTLOG_LEADER;
    if (leader && n->seen_leader && s.commit_index > n->seen_commit) {
        check_commit(c, n, &s);
    }
    if (leader && !n->seen_leader) {
        check_completeness(c, n, &s);
    }
    if (s.applied_index != n->applied) {
        fail(c, "node %u says it applied %llu, its application %llu", n->id,
             (unsigned long long)s.applied_index, (unsigned long long)n->applied);
    }
    if (s.configuration_index != n->seen_configuration || leader != n->seen_leader) {
        check_configuration(c, n, &s);
    }
    n->seen_configuration = s.configuration_index;
    n->seen_leader = leader;
    n->seen_commit = s.commit_index;
    n->seen_voters = voters_of(n);
    if (c->o.snapshot_every > 0 && !s.installing && n->applied >= n->snapshot_asked + c->o.snapshot_every &&
        n->applied > 0 && core_term_at(n->core, n->applied) != 0) {
        take_snapshot(c, n);
    }
    uint64_t deadline = core_deadline_ms(n->core);
    uint64_t at = deadline > c->now_us / 1000 + 3600000 ? c->now_us + 3600000000u : deadline * 1000;
    at = at <= c->now_us ? c->now_us + 100 : at;
    if (n->tick_at_us <= c->now_us || at < n->tick_at_us) {
        n->tick_at_us = at;
        (void)schedule(c, at - c->now_us, EV_TICK, n);
    }
}

/* ---- what happens */

static void on_disk(struct cluster *c, struct node *n)
{
    struct disk *d = &n->disk;
    uint32_t done = d->committing;
    uint64_t appended = 0, appended_term = 0;
    d->committing = 0;
    if (d->frozen) {
        return; /* as if it had not begun */
    }
    for (uint32_t i = 0; i < done; i++) {
        struct disk_op *op = &d->queue[i];
        op_perform(c, n, op);
        if (op->kind == OP_APPEND) {
            appended = op->index + op->n - 1;
            appended_term = op->entries[op->n - 1]->term;
        }
        if (op->kind == OP_INSTALL) {
            struct event *e = schedule(c, between(c, 100, 100000), EV_INSTALLED, n);
            e->manifest = manifest_copy(&op->manifest);
        }
    }
    /* Reports follow the commit, appends first: the queue may grow meanwhile. */
    struct snapshot_manifest recorded[8];
    uint32_t recorded_n = 0;
    for (uint32_t i = 0; i < done && recorded_n < 8; i++) {
        if (d->queue[i].kind == OP_RECORD) {
            recorded[recorded_n++] = manifest_copy(&d->queue[i].manifest);
        }
    }
    disk_shift(d, done);
    if (appended != 0) {
        (void)core_appended(n->core, c->now_us / 1000, appended, appended_term);
    }
    for (uint32_t i = 0; i < recorded_n; i++) {
        (void)core_snapshot_taken(n->core, c->now_us / 1000, &recorded[i]);
        manifest_free(&recorded[i]);
    }
    disk_kick(c, n);
}

static void on_dumped(struct cluster *c, struct node *n, const struct snapshot_manifest *m)
{
    struct disk_op *op = disk_queue(n);
    op->kind = OP_RECORD;
    op->manifest = manifest_copy(m);
    disk_kick(c, n);
}

static void on_fetched(struct cluster *c, struct node *n, const struct snapshot_manifest *m)
{
    uint32_t from = (uint32_t)m->chunk_size;
    const struct node *source = node_of(c, from);
    if (!n->fetching || n->fetch.index != m->index || n->fetch.term != m->term) {
        return;
    }
    n->fetching = false;
    if (source->core == NULL || source->cut[n->id] || n->cut[from]) {
        return; /* broken off; the next offer goes on */
    }
    if (source->disk.has_snapshot && source->disk.snapshot.index == m->index) {
        if (c->o.app != NULL && c->o.app->fetched != NULL) {
            c->o.app->fetched(c->o.app->data, n->id, from, m->index);
        }
        (void)core_staged(n->core, c->now_us / 1000, m->index, m->term);
    } else {
        (void)core_unstaged(n->core, c->now_us / 1000, m->index, m->term);
    }
}

static void on_installed(struct cluster *c, struct node *n, const struct snapshot_manifest *m)
{
    n->applied = m->index;
    n->hash = m->digest;
    if (c->o.app != NULL && c->o.app->restore != NULL) {
        c->o.app->restore(c->o.app->data, n->id, m->index);
    }
    (void)core_installed(n->core, c->now_us / 1000, m);
}

static void happen(struct cluster *c, struct event *e)
{
    c->trace = mix(c->trace ^ e->at_us ^ ((uint64_t)e->kind << 56) ^ ((uint64_t)e->node << 48));
    if (e->kind == EV_CALL) {
        e->call(e->data, e->arg);
        return;
    }
    struct node *n = node_of(c, e->node);
    uint64_t now_ms = c->now_us / 1000;
    if (n->core == NULL || (e->kind != EV_MESSAGE && e->boot != n->boot)) {
        return;
    }
    switch (e->kind) {
    case EV_TICK:
        if (n->tick_at_us != e->at_us) {
            return;
        }
        n->tick_at_us = 0;
        n->ticks++;
        (void)core_tick(n->core, now_ms);
        break;
    case EV_MESSAGE:
        (void)core_receive(n->core, now_ms, e->message, node_of(c, (uint32_t)e->message->from)->address);
        break;
    case EV_DISK:
        on_disk(c, n);
        break;
    case EV_FETCHED:
        on_fetched(c, n, &e->manifest);
        break;
    case EV_INSTALLED:
        on_installed(c, n, &e->manifest);
        break;
    case EV_DUMPED:
        on_dumped(c, n, &e->manifest);
        break;
    case EV_CALL:
        break; /* above */
    }
    after(c, n);
}

uint64_t cluster_now_ms(const struct cluster *c)
{
    return c->now_us / 1000;
}

static bool run_one(struct cluster *c, uint64_t until_us)
{
    if (c->failed || c->heap_n == 0 || c->heap[0].at_us > until_us) {
        return false;
    }
    struct event e = next_event(c);
    c->now_us = e.at_us;
    happen(c, &e);
    event_free(&e);
    return true;
}

void cluster_run(struct cluster *c, uint64_t ms)
{
    uint64_t until = c->now_us + ms * 1000;
    while (run_one(c, until)) {
    }
    c->now_us = until;
}

bool cluster_run_until(struct cluster *c, bool (*done)(struct cluster *c, void *arg), void *arg, uint64_t ms)
{
    uint64_t until = c->now_us + ms * 1000;
    while (!done(c, arg)) {
        if (!run_one(c, until)) {
            return false;
        }
    }
    return true;
}

/* ---- nodes */

void cluster_options_init(struct cluster_options *o, uint32_t nodes, uint64_t seed)
{
    *o = (struct cluster_options){
        .seed = seed,
        .nodes = nodes,
        .voters = nodes,
        .heartbeat_ms = 40,
        .election_ms = 400,
        .inflight_entries = 64,
        .trailing = 16,
        .uncommitted_max = 4096,
        .net_us_min = 100,
        .net_us_max = 2000,
        .stale_us_max = 5000000,
        .disk_us_min = 100,
        .disk_us_max = 3000,
        .fetch_us_max = 200000,
    };
}

static struct assent_bytes bootstrap_bytes(struct cluster *c)
{
    struct raft_configuration conf;
    struct raft_buffer buf;
    raft_configuration_init(&conf);
    for (uint32_t i = 1; i <= c->o.voters; i++) {
        int rv = raft_configuration_add(&conf, i, c->nodes[i].address, RAFT_VOTER);
        assert(rv == 0);
    }
    int rv = raft_configuration_encode(&conf, &buf);
    assert(rv == 0);
    raft_configuration_close(&conf);
    return (struct assent_bytes){buf.base, buf.len};
}

struct cluster *cluster_new(const struct cluster_options *options)
{
    struct cluster *c = calloc(1, sizeof *c);
    assert(c != NULL && options->nodes <= CLUSTER_NODES_MAX && options->voters <= options->nodes);
    c->o = *options;
    c->now_us = 1000000;
    c->reads = calloc(READS_MAX, sizeof *c->reads);
    assert(c->reads != NULL);
    for (uint32_t i = 1; i <= c->o.nodes; i++) {
        struct node *n = &c->nodes[i];
        n->cluster = c;
        n->id = i;
        n->election_ms = c->o.election_ms;
        snprintf(n->address, sizeof n->address, "node%u:1", i);
    }
    c->bootstrap = bootstrap_bytes(c);
    for (uint32_t i = 1; i <= c->o.voters; i++) {
        struct entry *e = entry_new(ENTRY_CHANGE, (uint32_t)c->bootstrap.size);
        assert(e != NULL);
        memcpy(e->payload, c->bootstrap.base, c->bootstrap.size);
        entry_seal(e, 1, 1);
        disk_put(&c->nodes[i].disk, e);
        c->nodes[i].disk.term = 1;
    }
    return c;
}

void cluster_close(struct cluster *c)
{
    for (uint32_t i = 1; i <= c->o.nodes; i++) {
        struct node *n = &c->nodes[i];
        core_close(n->core);
        disk_shift(&n->disk, n->disk.queued);
        disk_cut(&n->disk, 0);
        free(n->disk.entries);
        free(n->disk.queue);
        manifest_free(&n->disk.snapshot);
        manifest_free(&n->fetch);
    }
    for (uint32_t i = 0; i < c->heap_n; i++) {
        event_free(&c->heap[i]);
    }
    raft_free((void *)(uintptr_t)c->bootstrap.base);
    free(c->heap);
    free(c->committed);
    free(c->leaders);
    free(c->reads);
    free(c);
}

void cluster_disk_vote(struct cluster *c, uint32_t id, uint64_t term, uint64_t vote)
{
    struct disk *d = &node_of(c, id)->disk;
    d->term = term;
    d->vote = vote;
}

void cluster_disk_entry(struct cluster *c, uint32_t id, uint64_t term)
{
    struct disk *d = &node_of(c, id)->disk;
    struct entry *e = entry_new(ENTRY_COMMAND, 8);
    assert(e != NULL && term <= d->term);
    memcpy(e->payload, &term, 8);
    entry_seal(e, d->base + d->n + 1, term);
    disk_put(d, e);
}

/* What survives a stop decides where the application begins again. */
static void restore_application(struct node *n)
{
    if (n->clean) {
        return;
    }
    n->applied = n->disk.has_snapshot ? n->disk.snapshot.index : 0;
    n->hash = n->disk.has_snapshot ? n->disk.snapshot.digest : 0;
}

void cluster_start(struct cluster *c, uint32_t id)
{
    static const struct core_io io = {
        .persist_vote = io_persist_vote,
        .append = io_append,
        .install = io_install,
        .compact = io_compact,
        .send = io_send,
        .stage = io_stage,
        .newest_snapshot = io_newest_snapshot,
        .apply = io_apply,
        .admit = io_admit,
        .servers = io_servers,
        .role = io_role,
        .read_done = io_read_done,
        .member_done = io_member_done,
        .event = io_event,
    };
    struct node *n = node_of(c, id);
    struct disk *d = &n->disk;
    struct core_io mine = io;
    assert(n->core == NULL);
    n->boot++;
    mine.data = n;
    struct core_config config = {
        .id = id,
        .address = n->address,
        .heartbeat_ms = c->o.heartbeat_ms,
        .election_ms = n->election_ms,
        .inflight_entries = c->o.inflight_entries,
        .uncommitted_entries_max = c->o.uncommitted_max,
        .pre_vote = true,
        .seed = (uint32_t)mix(c->o.seed ^ ((uint64_t)id << 32) ^ n->boot),
        .trailing = c->o.trailing,
        .guards_off = c->o.guards_off,
    };
    int rv = core_new(&n->core, &config, &mine);
    assert(rv == 0);
    restore_application(n);
    if (c->o.app != NULL && c->o.app->open != NULL) {
        c->o.app->open(c->o.app->data, id, n->applied, n->clean);
    }
    n->clean = false;
    n->snapshot_asked = d->has_snapshot ? d->snapshot.index : 0;
    n->fetching = false;
    n->tick_at_us = 0;
    n->seen_leader = false;
    rv = core_start(n->core, c->now_us / 1000, d->term, d->vote, d->has_snapshot ? &d->snapshot : NULL,
                    d->base + 1, d->entries, (uint32_t)d->n, n->applied);
    if (rv != 0) {
        fail(c, "node %u did not start: %d", id, rv);
    }
    after(c, n);
}

void cluster_start_all(struct cluster *c)
{
    for (uint32_t i = 1; i <= c->o.nodes; i++) {
        if (c->nodes[i].core == NULL) {
            cluster_start(c, i);
        }
    }
}

static void take_down(struct cluster *c, struct node *n, uint32_t survive)
{
    struct raftlog_metrics metrics = {0};
    for (uint32_t i = 0; i < survive; i++) {
        op_perform(c, n, &n->disk.queue[i]);
    }
    disk_shift(&n->disk, n->disk.queued);
    n->disk.committing = 0;
    core_metrics(n->core, &metrics);
    for (uint32_t i = 0; i < 17; i++) {
        n->guards[i] += metrics.guard[i];
    }
    core_close(n->core);
    n->core = NULL;
    n->boot++;
}

static void app_close(struct cluster *c, struct node *n, bool clean)
{
    if (c->o.app != NULL && c->o.app->close != NULL) {
        c->o.app->close(c->o.app->data, n->id, clean);
    }
}

void cluster_crash(struct cluster *c, uint32_t id)
{
    struct node *n = node_of(c, id);
    if (n->core != NULL) {
        take_down(c, n, (uint32_t)cluster_random(c, n->disk.queued + 1));
        app_close(c, n, false);
    }
}

void cluster_stop(struct cluster *c, uint32_t id)
{
    struct node *n = node_of(c, id);
    struct raftlog_status s = {0};
    if (n->core == NULL) {
        return;
    }
    core_status(n->core, &s);
    take_down(c, n, n->disk.queued);
    n->clean = !s.installing;
    app_close(c, n, n->clean);
}

bool cluster_up(const struct cluster *c, uint32_t id)
{
    return node_of(c, id)->core != NULL;
}

void cluster_election_ms(struct cluster *c, uint32_t id, uint32_t election_ms)
{
    node_of(c, id)->election_ms = election_ms;
}

struct core *cluster_core(struct cluster *c, uint32_t id)
{
    return node_of(c, id)->core;
}

/* ---- network */

void cluster_cut(struct cluster *c, uint32_t from, uint32_t to, bool cut)
{
    node_of(c, from)->cut[to] = cut;
}

void cluster_isolate(struct cluster *c, uint32_t id, bool cut)
{
    for (uint32_t i = 1; i <= c->o.nodes; i++) {
        cluster_cut(c, id, i, cut);
        cluster_cut(c, i, id, cut);
    }
}

void cluster_heal(struct cluster *c)
{
    for (uint32_t i = 1; i <= c->o.nodes; i++) {
        memset(c->nodes[i].cut, 0, sizeof c->nodes[i].cut);
    }
}

void cluster_refuse(struct cluster *c, uint32_t id, uint32_t except)
{
    c->refused = id;
    c->accepts = except;
}

void cluster_chaos(struct cluster *c, bool on)
{
    c->chaos = on;
}

void cluster_deliver(struct cluster *c, uint32_t to, const struct message *m)
{
    struct node *n = node_of(c, to);
    (void)core_receive(n->core, c->now_us / 1000, m, node_of(c, (uint32_t)m->from)->address);
    after(c, n);
}

void cluster_freeze_disk(struct cluster *c, uint32_t id, bool frozen)
{
    struct node *n = node_of(c, id);
    n->disk.frozen = frozen;
    disk_kick(c, n);
}

/* ---- clients */

int cluster_submit(struct cluster *c, uint32_t id, uint32_t count)
{
    struct node *n = node_of(c, id);
    struct entry *entries[64];
    uint64_t first = 0;
    assert(count > 0 && count <= 64);
    if (n->core == NULL) {
        return ASSENT_UNREACHABLE;
    }
    for (uint32_t i = 0; i < count; i++) {
        entries[i] = entry_new(ENTRY_COMMAND, 8 + (uint32_t)cluster_random(c, 24));
        assert(entries[i] != NULL);
        uint64_t content = cluster_random(c, UINT64_MAX);
        memset(entries[i]->payload, 0, entries[i]->size);
        memcpy(entries[i]->payload, &content, 8);
    }
    int rv = core_submit(n->core, c->now_us / 1000, entries, count, &first);
    for (uint32_t i = 0; i < count && rv != 0; i++) {
        entry_unref(entries[i]);
    }
    after(c, n);
    return rv;
}

int cluster_submit_entry(struct cluster *c, uint32_t id, struct entry *entry, uint64_t *index)
{
    struct node *n = node_of(c, id);
    int rv = n->core == NULL ? ASSENT_UNREACHABLE : core_submit(n->core, c->now_us / 1000, &entry, 1, index);
    if (rv != 0) {
        entry_unref(entry);
    }
    after(c, n);
    return rv;
}

int cluster_read(struct cluster *c, uint32_t id)
{
    struct node *n = node_of(c, id);
    if (n->core == NULL || c->reads_n == READS_MAX) {
        return ASSENT_UNREACHABLE;
    }
    uint32_t read_id = c->reads_n++;
    c->reads[read_id] = (struct read_record){n->id, n->boot, c->committed_n, false};
    int rv = core_read(n->core, c->now_us / 1000, read_id);
    after(c, n);
    return rv;
}

int cluster_member(struct cluster *c, uint32_t id, enum raftlog_change change, uint64_t target)
{
    struct node *n = node_of(c, id);
    if (n->core == NULL) {
        return ASSENT_UNREACHABLE;
    }
    const char *address = target >= 1 && target <= c->o.nodes ? c->nodes[target].address : NULL;
    int rv = core_member(n->core, c->now_us / 1000, ++c->members_n, change, target, address);
    after(c, n);
    return rv;
}

uint32_t cluster_reads_done(const struct cluster *c)
{
    return c->reads_done;
}

uint32_t cluster_members_done(const struct cluster *c, int *status)
{
    *status = c->member_status;
    return c->members_done;
}

/* ---- looking */

struct raftlog_status cluster_status(const struct cluster *c, uint32_t id)
{
    struct raftlog_status s = {.role = RAFTLOG_STOPPED};
    if (node_of(c, id)->core != NULL) {
        core_status(node_of(c, id)->core, &s);
    }
    return s;
}

void cluster_print(const struct cluster *c)
{
    static const char *const roles[] = {"follower", "candidate", "leader", "stopped"};
    for (uint32_t i = 1; i <= c->o.nodes; i++) {
        const struct node *n = node_of(c, i);
        struct raftlog_status s = cluster_status(c, i);
        fprintf(stderr,
                "node %u %s%s term %llu leader %llu log %llu..%llu stored %llu commit %llu applied %llu "
                "snapshot %llu conf %llu%s; disk term %llu vote %llu %llu..%llu queued %u%s\n",
                i, roles[s.role], s.ready ? " ready" : "", (unsigned long long)s.term,
                (unsigned long long)s.leader, (unsigned long long)s.first_index,
                (unsigned long long)s.last_index, (unsigned long long)s.stored_index,
                (unsigned long long)s.commit_index, (unsigned long long)s.applied_index,
                (unsigned long long)s.snapshot_index, (unsigned long long)s.configuration_index,
                s.installing ? " installing" : "", (unsigned long long)n->disk.term,
                (unsigned long long)n->disk.vote, (unsigned long long)n->disk.base + 1,
                (unsigned long long)(n->disk.base + n->disk.n), n->disk.queued,
                n->disk.frozen ? " frozen" : "");
        const struct raft_configuration *conf = n->core != NULL ? core_configuration(n->core) : NULL;
        for (unsigned j = 0; conf != NULL && j < conf->n; j++) {
            fprintf(stderr, "    server %llu %s match %llu\n", conf->servers[j].id,
                    raft_role_name(conf->servers[j].role),
                    (unsigned long long)core_match_index(n->core, conf->servers[j].id));
        }
    }
}

uint32_t cluster_leader(const struct cluster *c)
{
    uint64_t term = 0;
    uint32_t leader = 0;
    for (uint32_t i = 1; i <= c->o.nodes; i++) {
        struct raftlog_status s = cluster_status(c, i);
        if (s.role == RAFTLOG_LEADER && s.ready && s.term > term) {
            term = s.term;
            leader = i;
        }
    }
    return leader;
}

uint64_t cluster_applied_everywhere(const struct cluster *c)
{
    uint32_t leader = cluster_leader(c);
    uint64_t lowest = UINT64_MAX;
    if (leader == 0) {
        return 0;
    }
    const struct raft_configuration *conf = core_configuration(node_of(c, leader)->core);
    for (unsigned i = 0; i < conf->n; i++) {
        const struct node *n = node_of(c, (uint32_t)conf->servers[i].id);
        if (n->core != NULL && n->applied < lowest) {
            lowest = n->applied;
        }
    }
    return lowest;
}

uint64_t cluster_committed(const struct cluster *c)
{
    return c->committed_n;
}

uint64_t cluster_committed_term(const struct cluster *c, uint64_t index)
{
    return index < c->committed_capacity ? c->committed[index].term : 0;
}

uint64_t cluster_messages(const struct cluster *c, enum raft_message_type type)
{
    return c->messages[type];
}

uint64_t cluster_ticks(const struct cluster *c, uint32_t id)
{
    return node_of(c, id)->ticks;
}

uint64_t cluster_guard(const struct cluster *c, uint32_t n)
{
    uint64_t count = 0;
    for (uint32_t i = 1; i <= c->o.nodes; i++) {
        struct raftlog_metrics m = {0};
        if (c->nodes[i].core != NULL) {
            core_metrics(c->nodes[i].core, &m);
        }
        count += c->nodes[i].guards[n] + m.guard[n];
    }
    return count;
}
