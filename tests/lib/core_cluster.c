/* Deterministic cluster of consensus cores; see core_cluster.h. */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "assent/error.h"
#include "core_cluster_private.h"

void fail(struct cluster *c, const char *format, ...)
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

uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

uint64_t draw(struct cluster *c, enum stream_of_cluster stream, uint64_t n)
{
    uint64_t at = ++c->random[stream];
    return n == 0 ? 0 : mix(at ^ (c->o.seed << 20) ^ ((uint64_t)stream << 60)) % n;
}

uint64_t cluster_random(struct cluster *c, uint64_t below)
{
    return draw(c, STREAM_WORK, below);
}

bool cluster_chance(struct cluster *c, uint32_t per_thousand)
{
    bool drawn = draw(c, STREAM_NET, 1000) < per_thousand;
    c->chances++;
    return c->o.decide != NULL ? c->o.decide(c->o.watch_data, c->chances, drawn) : drawn;
}

uint64_t between(struct cluster *c, enum stream_of_cluster stream, uint64_t low, uint64_t high)
{
    return high <= low ? low : low + draw(c, stream, high - low + 1);
}

void *grown(void *array, size_t n, size_t size)
{
    void *more = realloc(array, n * size);
    assert(more != NULL);
    return more;
}

struct node *node_of(const struct cluster *c, uint32_t id)
{
    assert(id >= 1 && id <= c->o.nodes);
    return (struct node *)(uintptr_t)&c->nodes[id];
}

uint64_t local_us(const struct node *n)
{
    uint64_t passed = n->cluster->now_us - n->local_at_us;
    int64_t more = n->rate_ppm == 0 ? 0 : (int64_t)passed * n->rate_ppm / 1000000;
    return (uint64_t)((int64_t)(n->local_us + passed) + more);
}

uint64_t local_ms(const struct node *n)
{
    return local_us(n) / 1000;
}

void cluster_rate(struct cluster *c, uint32_t id, int32_t ppm)
{
    struct node *n = node_of(c, id);
    n->local_us = local_us(n);
    n->local_at_us = c->now_us;
    n->rate_ppm = ppm;
}

bool lives(struct node *n)
{
    if (!n->dead && n->fuse > 0 && --n->fuse == 0) {
        n->dead = true;
    }
    return !n->dead;
}

struct snapshot_manifest manifest_copy(const struct snapshot_manifest *m)
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

void manifest_free(struct snapshot_manifest *m)
{
    free((void *)(uintptr_t)m->configuration.base);
    memset(m, 0, sizeof *m);
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
    c->proven = 1;
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
        n->core = NULL;
        stand_forget(c, n);
        report_clear(&n->disk.report);
        free(n->backlog);
        free(n->outbox);
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
    assert(n->core == NULL && !d->blank);
    n->boot++;
    n->fuse = 0;
    n->dead = false;
    d->broken = d->fails_next = false;
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
    rv = core_start(n->core, local_ms(n), d->term, d->vote, d->has_snapshot ? &d->snapshot : NULL,
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

void take_down(struct cluster *c, struct node *n, uint32_t survive)
{
    struct raftlog_metrics metrics = {0};
    for (uint32_t i = 0; i < survive; i++) {
        op_perform(c, n, &n->disk.queue[i]);
    }
    disk_shift(&n->disk, n->disk.queued);
    n->disk.committing = 0;
    n->disk.fails_next = n->disk.broken = false;
    report_clear(&n->disk.report);
    core_metrics(n->core, &metrics);
    for (uint32_t i = 0; i < 17; i++) {
        n->guards[i] += metrics.guard[i];
    }
    core_close(n->core);
    n->core = NULL;
    n->boot++;
    n->fuse = 0;
    n->dead = false;
    stand_forget(c, n);
}

void app_close(struct cluster *c, struct node *n, bool clean)
{
    if (c->o.app != NULL && c->o.app->close != NULL) {
        c->o.app->close(c->o.app->data, n->id, clean);
    }
}

void cluster_crash_inside(struct cluster *c, uint32_t id, uint32_t effects)
{
    struct node *n = node_of(c, id);
    n->fuse = n->core != NULL ? effects : 0;
}

void cluster_crash(struct cluster *c, uint32_t id)
{
    struct node *n = node_of(c, id);
    if (n->core != NULL) {
        take_down(c, n, n->disk.broken ? 0 : (uint32_t)draw(c, STREAM_NODE, n->disk.queued + 1));
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
    if (stands(n) || n->disk.broken || n->disk.fails_next || n->disk.frozen) {
        cluster_crash(c, id); /* it cannot end cleanly, and somebody loses patience */
        return;
    }
    core_status(n->core, &s);
    take_down(c, n, n->disk.queued);
    n->clean = !s.installing;
    app_close(c, n, n->clean);
}

void cluster_election_ms(struct cluster *c, uint32_t id, uint32_t election_ms)
{
    node_of(c, id)->election_ms = election_ms;
}

void cluster_refuse(struct cluster *c, uint32_t id, uint32_t except)
{
    c->refused = id;
    c->accepts = except;
}

/* ---- clients */

static bool serves(const struct node *n)
{
    return n->core != NULL && !stands(n);
}

int cluster_submit(struct cluster *c, uint32_t id, uint32_t count)
{
    struct node *n = node_of(c, id);
    struct entry *entries[64];
    uint64_t first = 0;
    assert(count > 0 && count <= 64);
    if (!serves(n)) {
        return ASSENT_UNREACHABLE;
    }
    for (uint32_t i = 0; i < count; i++) {
        entries[i] = entry_new(ENTRY_COMMAND, 8 + (uint32_t)cluster_random(c, 24));
        assert(entries[i] != NULL);
        uint64_t content = cluster_random(c, UINT64_MAX);
        memset(entries[i]->payload, 0, entries[i]->size);
        memcpy(entries[i]->payload, &content, 8);
    }
    int rv = core_submit(n->core, local_ms(n), entries, count, &first);
    for (uint32_t i = 0; i < count && rv != 0; i++) {
        entry_unref(entries[i]);
    }
    after(c, n);
    return rv;
}

int cluster_submit_entry(struct cluster *c, uint32_t id, struct entry *entry, uint64_t *index)
{
    struct node *n = node_of(c, id);
    int rv = !serves(n) ? ASSENT_UNREACHABLE : core_submit(n->core, local_ms(n), &entry, 1, index);
    if (rv != 0) {
        entry_unref(entry);
    }
    after(c, n);
    return rv;
}

uint64_t cluster_read_next(const struct cluster *c)
{
    return c->reads_n;
}

int cluster_read(struct cluster *c, uint32_t id)
{
    struct node *n = node_of(c, id);
    if (!serves(n) || c->reads_n == READS_MAX) {
        return ASSENT_UNREACHABLE;
    }
    uint32_t read_id = c->reads_n++;
    c->reads[read_id] = (struct read_record){n->id, n->boot, c->committed_n, false};
    int rv = core_read(n->core, local_ms(n), read_id);
    after(c, n);
    return rv;
}

int cluster_member(struct cluster *c, uint32_t id, enum raftlog_change change, uint64_t target)
{
    struct node *n = node_of(c, id);
    if (!serves(n)) {
        return ASSENT_UNREACHABLE;
    }
    const char *address = target >= 1 && target <= c->o.nodes ? c->nodes[target].address : NULL;
    int rv = core_member(n->core, local_ms(n), ++c->members_n, change, target, address);
    after(c, n);
    return rv;
}
