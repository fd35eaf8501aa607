/* Simulated disks of core_cluster: what is durable, what waits, what a crash leaves. */
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
    if (d->committing == 0 && d->queued > 0 && !d->frozen) {
        d->committing = d->queued;
        (void)schedule(c, between(c, c->o.disk_us_min, c->o.disk_us_max), EV_DISK, n);
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

int io_persist_vote(void *data, uint64_t term, uint64_t vote)
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

void io_append(void *data, uint64_t first, struct entry *const *entries, uint32_t count)
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

void io_install(void *data, const struct snapshot_manifest *manifest)
{
    struct node *n = data;
    struct disk_op *op = disk_queue(n);
    op->kind = OP_INSTALL;
    op->manifest = manifest_copy(manifest);
    disk_kick(n->cluster, n);
}

void io_compact(void *data, uint64_t index)
{
    struct node *n = data;
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
