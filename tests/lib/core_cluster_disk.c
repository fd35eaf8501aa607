/* Simulated disks of core_cluster: what is durable, what waits, what a crash leaves.
 *
 * As with writer.c whatever is queued while a commit runs forms the next one, a commit is there as a whole or
 * not at all, and the loop hears of it a little later, perhaps of several at once.  The writer takes what is
 * queued whenever it is free, so a crash may leave any prefix of the queue. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core_cluster_private.h"

struct entry *disk_entry(const struct disk *d, uint64_t index)
{
    return index > d->base && index <= d->base + d->n ? d->entries[index - d->base - 1] : NULL;
}

void disk_cut(struct disk *d, uint64_t first)
{
    while (d->n > 0 && d->base + d->n >= first) {
        entry_unref(d->entries[--d->n]);
    }
}

void disk_put(struct disk *d, struct entry *e)
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
void op_perform(struct cluster *c, struct node *n, struct disk_op *op)
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
    case OP_VOTE:
        if (op->index < d->term || (op->index == d->term && d->vote != 0 && op->vote != d->vote)) {
            fail(c, "node %u: vote (%llu, %llu) replaced by (%llu, %llu)", n->id, (unsigned long long)d->term,
                 (unsigned long long)d->vote, (unsigned long long)op->index, (unsigned long long)op->vote);
        }
        d->term = op->index;
        d->vote = op->vote;
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

void disk_kick(struct cluster *c, struct node *n)
{
    struct disk *d = &n->disk;
    if (d->committing == 0 && d->queued > 0 && !d->frozen && !d->broken) {
        uint64_t us = between(c, STREAM_DISK, c->o.disk_us_min, c->o.disk_us_max);
        d->committing = d->queued;
        (void)schedule(c, us * (d->slow > 1 ? d->slow : 1), EV_DISK, n);
    }
}

struct disk_op *disk_queue(struct node *n)
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

void disk_shift(struct disk *d, uint32_t done)
{
    for (uint32_t i = 0; i < done; i++) {
        op_free(&d->queue[i]);
    }
    if (d->queued > done) {
        memmove(d->queue, d->queue + done, (d->queued - done) * sizeof *d->queue);
    }
    d->queued -= done;
}

/* ---- the end of a commit */

void report_clear(struct disk_report *r)
{
    for (uint32_t i = 0; i < r->recorded_n; i++) {
        manifest_free(&r->recorded[i]);
    }
    manifest_free(&r->installed);
    memset(r, 0, sizeof *r);
}

static void report_soon(struct cluster *c, struct node *n)
{
    struct disk_report *r = &n->disk.report;
    if (!r->due) {
        r->due = true;
        (void)schedule(c, draw(c, STREAM_DISK, 50), EV_REPORT, n);
    }
}

static void report_note(struct disk_report *r, const struct disk_op *op)
{
    switch (op->kind) {
    case OP_APPEND:
        r->appended = op->index + op->n - 1;
        r->appended_term = op->entries[op->n - 1]->term;
        break;
    case OP_INSTALL:
        r->appended = 0; /* earlier appends the loop has not heard of are gone */
        manifest_free(&r->installed);
        r->installed = manifest_copy(&op->manifest);
        r->has_installed = true;
        break;
    case OP_RECORD:
        if (r->recorded_n == sizeof r->recorded / sizeof r->recorded[0]) { /* the newest are what matters */
            manifest_free(&r->recorded[0]);
            memmove(&r->recorded[0], &r->recorded[1], --r->recorded_n * sizeof r->recorded[0]);
        }
        r->recorded[r->recorded_n++] = manifest_copy(&op->manifest);
        break;
    case OP_VOTE:
        r->voted = true;
        break;
    case OP_COMPACT:
        break;
    }
}

static bool vote_queued(const struct disk *d)
{
    for (uint32_t i = 0; i < d->queued; i++) {
        if (d->queue[i].kind == OP_VOTE) {
            return true;
        }
    }
    return false;
}

/* The commit is there after a restart, or it is not; nothing behind it is. */
static void commit_fails(struct cluster *c, struct node *n, uint32_t ops)
{
    struct disk *d = &n->disk;
    bool kept = draw(c, STREAM_DISK, 2) == 0;
    for (uint32_t i = 0; i < ops && kept; i++) {
        op_perform(c, n, &d->queue[i]);
    }
    disk_shift(d, d->queued);
    d->fails_next = false;
    d->broken = true;
    d->report.failed = true;
    c->disk_errors++;
    report_soon(c, n);
}

void disk_commit_ends(struct cluster *c, struct node *n)
{
    struct disk *d = &n->disk;
    uint32_t done = d->committing;
    d->committing = 0;
    if (d->frozen) {
        return; /* as if it had not begun */
    }
    if (d->fails_next) {
        commit_fails(c, n, done);
        return;
    }
    for (uint32_t i = 0; i < done; i++) {
        op_perform(c, n, &d->queue[i]);
        report_note(&d->report, &d->queue[i]);
    }
    disk_shift(d, done);
    d->report.voted = d->report.voted && !vote_queued(d);
    d->commits++;
    report_soon(c, n);
    disk_kick(c, n);
}

/* ---- what a core wants */

int io_persist_vote(void *data, uint64_t term, uint64_t vote)
{
    struct node *n = data;
    if (!lives(n)) {
        return 0;
    }
    if (n->disk.broken) {
        return -1;
    }
    struct disk_op *op = disk_queue(n);
    op->kind = OP_VOTE;
    op->index = term;
    op->vote = vote;
    n->waits = true;
    disk_kick(n->cluster, n);
    return 0;
}

/* Does this effect of the core's reach the queue? */
static bool writes(struct node *n)
{
    return lives(n) && !n->disk.broken;
}

void io_append(void *data, uint64_t first, struct entry *const *entries, uint32_t count)
{
    struct node *n = data;
    if (!writes(n)) {
        return;
    }
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

void io_install(void *data, const struct snapshot_manifest *manifest)
{
    struct node *n = data;
    if (!writes(n)) {
        return;
    }
    struct disk_op *op = disk_queue(n);
    op->kind = OP_INSTALL;
    op->manifest = manifest_copy(manifest);
    disk_kick(n->cluster, n);
    const struct cluster_app *app = n->cluster->o.app;
    if (app != NULL && app->installing != NULL) {
        app->installing(app->data, n->id, manifest->index);
    }
}

void io_compact(void *data, uint64_t index)
{
    struct node *n = data;
    if (!writes(n)) {
        return;
    }
    struct disk_op *op = disk_queue(n);
    op->kind = OP_COMPACT;
    op->index = index;
    disk_kick(n->cluster, n);
}

bool io_newest_snapshot(void *data, struct snapshot_manifest *out)
{
    struct node *n = data;
    *out = n->disk.snapshot;
    return n->disk.has_snapshot;
}

void io_stage(void *data, uint64_t from, const struct snapshot_manifest *manifest)
{
    struct node *n = data;
    if (!lives(n) || (n->fetching && n->fetch.index == manifest->index && n->fetch.term == manifest->term)) {
        return;
    }
    manifest_free(&n->fetch);
    n->fetching = true;
    n->fetch = manifest_copy(manifest);
    struct event *e =
        schedule(n->cluster, draw(n->cluster, STREAM_NODE, n->cluster->o.fetch_us_max + 1), EV_FETCHED, n);
    e->manifest = manifest_copy(manifest);
    e->from = (uint32_t)from;
}

/* ---- from outside */

void cluster_freeze_disk(struct cluster *c, uint32_t id, bool frozen)
{
    struct node *n = node_of(c, id);
    n->disk.frozen = frozen;
    disk_kick(c, n);
}

void cluster_stall_disk(struct cluster *c, uint32_t id, uint64_t us)
{
    struct node *n = node_of(c, id);
    n->disk.frozen = true;
    (void)schedule(c, us, EV_THAW, n);
}

void cluster_slow_disk(struct cluster *c, uint32_t id, uint32_t times)
{
    node_of(c, id)->disk.slow = times;
}

void cluster_fail_disk(struct cluster *c, uint32_t id)
{
    struct node *n = node_of(c, id);
    n->disk.fails_next = n->core != NULL;
}

void cluster_wipe_disk(struct cluster *c, uint32_t id)
{
    struct node *n = node_of(c, id);
    struct disk *d = &n->disk;
    assert(n->core == NULL);
    disk_cut(d, 0);
    manifest_free(&d->snapshot);
    *d = (struct disk){.entries = d->entries,
                       .capacity = d->capacity,
                       .queue = d->queue,
                       .queue_capacity = d->queue_capacity,
                       .blank = true};
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
