/* The thread that writes the log: everything queued while one commit runs forms the next one.
 *
 * Happy path: the loop queues an operation and wakes the thread; the thread takes what is queued, writes it
 * in one transaction, notes what became durable in `report` and wakes the loop, which calls back.  Failure:
 * the first error ends writing for good.  What is queued is dropped, whoever waits gets the error, `failed`
 * is called once, and no later operation is written or acknowledged: after EIO the kernel may have thrown
 * away dirty pages that a later fdatasync does not mention (Rebello et al., "Can Applications Recover from
 * fsync Failures?", 2020). */
#include "writer.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>

#include "assent/error.h"
#include "planted.h"

/* Tree and free-list pages a commit writes besides its entries, generously. */
#define FULL_SLACK_BYTES (1024 * 1024)

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

struct snapshot_manifest *manifest_copy(const struct snapshot_manifest *manifest)
{
    struct snapshot_manifest *copy = malloc(sizeof *copy + manifest->configuration.size);
    if (copy == NULL) {
        return NULL;
    }
    *copy = *manifest;
    copy->configuration.base = (uint8_t *)(copy + 1);
    if (manifest->configuration.size > 0) {
        memcpy(copy + 1, manifest->configuration.base, manifest->configuration.size);
    }
    return copy;
}

void writer_drop(struct op *list)
{
    while (list != NULL) {
        struct op *op = list;
        list = op->next;
        for (uint32_t i = 0; op->type == OP_APPEND && i < op->n; i++) {
            entry_unref(op->entries[i]);
        }
        free(op->manifest);
        free(op);
    }
}

/* ---- one transaction ---- */

/* What a transaction changed, kept apart until it is durable. */
struct outcome {
    struct extent extent;
    bool appended;
    uint32_t installed, recorded, entries;
    uint64_t bytes;
    const struct snapshot_manifest *newest; /* borrowed from its operation */
};

static int write_append(struct disk *d, struct MDB_txn *txn, const struct op *op, struct outcome *out)
{
    struct extent *x = &out->extent;
    uint64_t first = op->index, last = op->index + op->n - 1;
    int rc = 0;
    /* A gap, or entries below a snapshot, would make a log that the next start refuses: our own bug, not the
     * world's. */
    assert(first >= x->first && first <= x->last + 1);
    if (first <= x->last) {
        rc = logdb_truncate(&d->db, txn, first);
    }
    if (rc == 0) {
        rc = logdb_append(&d->db, txn, op->entries, op->n);
    }
    x->last = last;
    x->last_term = op->entries[op->n - 1]->term;
    x->last_crc = op->entries[op->n - 1]->crc;
    out->appended = true;
    out->entries += op->n;
    out->bytes += op->bytes;
    return rc;
}

static int write_manifest(struct disk *d, struct MDB_txn *txn, const struct op *op, struct outcome *out)
{
    struct extent *x = &out->extent;
    int rc = logdb_put_manifest(&d->db, txn, op->manifest);
    if (op->manifest->index >= x->snapshot_index) {
        x->snapshot_index = op->manifest->index;
        out->newest = op->manifest;
    }
    if (op->type == OP_RECORD) {
        out->recorded++;
        return rc;
    }
    if (rc == 0) {
        rc = logdb_clear(&d->db, txn);
    }
    x->first = op->manifest->index + 1;
    x->last = op->manifest->index;
    x->last_term = op->manifest->term;
    x->last_crc = 0;
    x->compact = 0;
    out->installed++;
    out->appended = false; /* those entries are gone; saying they are durable would be wrong */
    return rc;
}

static int write_op(struct disk *d, struct MDB_txn *txn, const struct op *op, struct outcome *out)
{
    switch (op->type) {
    case OP_APPEND:
        return write_append(d, txn, op, out);
    case OP_INSTALL:
    case OP_RECORD:
        return write_manifest(d, txn, op, out);
    case OP_COMPACT:
        /* What no snapshot holds may not be dropped. */
        assert(op->index <= out->extent.snapshot_index);
        if (op->index > out->extent.compact && op->index >= out->extent.first) {
            out->extent.compact = op->index;
        }
        return 0;
    case OP_PUT:
        if (strcmp(op->record, RECORD_VOTE) == 0) {
            out->extent.term = op->fields[0];
            out->extent.vote = op->fields[1];
        }
        return logdb_put_record(&d->db, txn, op->record, op->fields, op->n);
    }
    abort(); /* our own enum: there is no other kind */
}

/* A bounded piece of the compaction that is due. */
static int write_trim(struct disk *d, struct MDB_txn *txn, struct outcome *out)
{
    struct extent *x = &out->extent;
    uint32_t entries = 2 * out->entries > WRITER_TRIM_ENTRIES ? 2 * out->entries : WRITER_TRIM_ENTRIES;
    uint64_t bytes = 2 * out->bytes > WRITER_TRIM_BYTES ? 2 * out->bytes : WRITER_TRIM_BYTES;
    uint64_t oldest;
    int rc = logdb_trim(&d->db, txn, x->compact, entries, bytes, &oldest);
    if (rc == 0) {
        x->first = oldest;
        if (oldest > x->compact) {
            x->compact = 0;
        }
        if (x->first > x->last) {
            x->last_crc = 0; /* everything is in the snapshot */
        }
    }
    return rc;
}

struct witness_note writer_note(struct disk *d)
{
    const struct extent *x = &d->extent;
    return (struct witness_note){.commit = logdb_commit_number(&d->db),
                                 .last = x->last,
                                 .crc = x->last_crc,
                                 .term = x->term,
                                 .vote = x->vote};
}

/* Write `list` (may be empty: compaction only) in one transaction.  `d->extent` changes only when it is
 * durable. */
static int write_list(struct disk *d, const struct op *list, struct outcome *out)
{
    struct MDB_txn *txn;
    *out = (struct outcome){.extent = d->extent};
    int rc = logdb_begin(&d->db, true, &txn);
    if (rc != 0) {
        return rc;
    }
    for (const struct op *op = list; op != NULL && rc == 0; op = op->next) {
        rc = write_op(d, txn, op, out);
    }
    if (rc == 0 && out->extent.compact != 0) {
        rc = write_trim(d, txn, out);
    }
    if (rc == 0) {
        rc = logdb_entry_bytes(&d->db, txn, &out->extent.bytes);
    }
    if (rc == 0 && d->started) {
        d->commits++;
        if (d->commits == d->config.fail_commit_at && d->config.fail_errno != 0) {
            rc = d->config.fail_errno;
        }
    }
    if (rc != 0) {
        logdb_abort(txn);
        return rc;
    }
    rc = logdb_commit(txn);
    if (rc == 0 || PLANTED(ERROR_IGNORED)) {
        rc = 0;
        d->extent = out->extent;
        const struct witness_note note = writer_note(d);
        witness_note(&d->witness, &note);
        __atomic_store_n(&d->used_bytes, out->extent.bytes, __ATOMIC_RELAXED);
    }
    return rc;
}

int writer_now(struct disk *disk, struct op *op)
{
    struct outcome out;
    assert(!disk->started);
    return write_list(disk, op, &out);
}

/* ---- the thread ---- */

/* Take operations off the queue for one commit.  Called with the mutex held. */
static struct op *take(struct disk *d)
{
    struct op *list = d->queue.head;
    struct op *last = NULL;
    uint64_t bytes = 0;
    for (struct op *op = list; op != NULL; op = op->next) {
        if (last != NULL && bytes + op->bytes > WRITER_COMMIT_BYTES) {
            break;
        }
        bytes += op->bytes;
        last = op;
    }
    if (last != NULL) {
        d->queue.head = last->next;
        last->next = NULL;
        if (d->queue.head == NULL) {
            d->queue.tail = &d->queue.head;
        }
    }
    return list;
}

static void finish_waiters(const struct op *list, int rc)
{
    for (const struct op *op = list; op != NULL; op = op->next) {
        if (op->waiter != NULL) {
            op->waiter->done = true;
            op->waiter->rc = rc;
        }
    }
}

static void add_stat(struct report *r, const struct commit_stat *stat)
{
    if (r->stats_n < WRITER_STATS_MAX) {
        r->stats[r->stats_n++] = *stat;
        return;
    }
    struct commit_stat *sum = &r->stats[WRITER_STATS_MAX - 1]; /* the loop is far behind: it gets a total */
    sum->us += stat->us;
    sum->bytes += stat->bytes;
    sum->entries += stat->entries;
}

/* A commit is durable.  Mutex held. */
static void note_commit(struct disk *d, const struct outcome *out, const struct commit_stat *stat,
                        struct snapshot_manifest *newest)
{
    struct report *r = d->report;
    if (out->installed > 0) {
        r->appended = false; /* earlier appends the loop has not heard of are gone with the install */
    }
    if (out->appended) {
        r->appended = true;
        r->index = out->extent.last;
        r->term = out->extent.last_term;
    }
    r->installed += out->installed;
    r->recorded += out->recorded;
    if (newest != NULL) {
        free(r->newest);
        r->newest = newest;
    }
    r->extent = out->extent;
    r->any = true;
    add_stat(r, stat);
}

/* LMDB turns a write that was cut short by a full disk into EIO.  An operator should read "full", so look:
 * less room than this commit needed means that this is what happened. */
static int explain(const struct disk *d, int rc, uint64_t bytes)
{
    struct statvfs info;
    if (rc == EIO && fstatvfs(d->lock_fd, &info) == 0 &&
        (uint64_t)info.f_bavail * info.f_frsize < bytes + FULL_SLACK_BYTES) {
        return ENOSPC;
    }
    return rc;
}

/* Writing is over.  Mutex held; takes everything that is queued and gives it for freeing. */
static struct op *note_failure(struct disk *d, int rc)
{
    struct report *r = d->report;
    struct op *dropped = d->queue.head;
    d->queue = (struct op_queue){NULL, &d->queue.head};
    d->broken = true;
    r->error = logdb_errno(rc);
    snprintf(r->what, sizeof r->what, "commit %" PRIu32 " of the log in %s failed: %s", d->commits,
             d->config.dir, logdb_sentence(rc));
    finish_waiters(dropped, rc);
    __atomic_store_n(&d->queued_bytes, 0, __ATOMIC_RELAXED);
    return dropped;
}

static bool commit_is_slow(const struct disk *d)
{
    return d->config.slow_commit_us != 0 && d->commits >= d->config.fail_commit_at;
}

/* Take, write, tell.  Mutex held on entry and exit, released while writing. */
static void turn(struct disk *d)
{
    struct op *list = take(d);
    struct outcome out;
    struct snapshot_manifest *newest = NULL;
    pthread_mutex_unlock(&d->mutex);

    uint64_t start = now_us();
    int rc = write_list(d, list, &out);
    if (commit_is_slow(d)) {
        struct timespec pause = {d->config.slow_commit_us / 1000000,
                                 (long)(d->config.slow_commit_us % 1000000) * 1000};
        nanosleep(&pause, NULL);
    }
    if (rc == 0 && out.newest != NULL) {
        newest = manifest_copy(out.newest);
        assert(newest != NULL); /* a few hundred bytes */
    }
    struct commit_stat stat = {now_us() - start, out.bytes, out.entries};
    uint64_t bytes = 0;
    for (const struct op *op = list; op != NULL; op = op->next) {
        bytes += op->bytes;
    }
    rc = explain(d, rc, bytes);
    __atomic_fetch_sub(&d->queued_bytes, bytes, __ATOMIC_RELAXED);

    pthread_mutex_lock(&d->mutex);
    finish_waiters(list, rc);
    struct op *dropped = NULL;
    if (rc == 0) {
        note_commit(d, &out, &stat, newest);
    } else {
        dropped = note_failure(d, rc);
    }
    pthread_cond_broadcast(&d->durable);
    pthread_mutex_unlock(&d->mutex);

    /* Wake the loop first; freeing and growing can wait. */
    uv_async_send(&d->async);
    writer_drop(list);
    writer_drop(dropped);
    if (rc == 0 && d->config.presize_bytes != 0) {
        logdb_write_ahead(&d->db, WRITER_AHEAD_BYTES);
    }
    pthread_mutex_lock(&d->mutex);
}

/* Until there is work.  Planted: what is written is synced when nothing was asked for in a while. */
static void wait_for_work(struct disk *d)
{
    struct timespec until;
    if (!PLANTED(REPLY_BEFORE_SYNC)) {
        pthread_cond_wait(&d->work, &d->mutex);
        return;
    }
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 30 * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    if (pthread_cond_timedwait(&d->work, &d->mutex, &until) != 0) {
        logdb_sync(&d->db);
    }
}

static void *run(void *data)
{
    struct disk *d = data;
    pthread_setname_np(pthread_self(), "log-writer");
    pthread_mutex_lock(&d->mutex);
    while (!d->broken) {
        bool idle = d->queue.head == NULL && d->extent.compact == 0;
        if (!idle) {
            turn(d);
        } else if (d->stop) {
            break; /* everything that was queued is written */
        } else {
            wait_for_work(d);
        }
    }
    while (!d->stop) { /* broken: nothing more is written, but the handle is still in use */
        pthread_cond_wait(&d->work, &d->mutex);
    }
    bool report = d->started;
    d->report->ended = true;
    pthread_mutex_unlock(&d->mutex);
    if (report) {
        uv_async_send(&d->async); /* the last touch: the loop joins us when it hears of it */
    }
    return NULL;
}

/* ---- the loop's side ---- */

static struct op *op_new(enum op_type type, uint32_t entries)
{
    struct op *op = calloc(1, sizeof *op + entries * sizeof op->entries[0]);
    assert(op != NULL); /* an operation the core counts on cannot be lost: without memory the process stops */
    op->type = type;
    return op;
}

/* False: broken, the operation was dropped. */
static bool enqueue(struct disk *d, struct op *op)
{
    assert(!d->state.pristine); /* what has no owner could not be opened again */
    pthread_mutex_lock(&d->mutex);
    bool taken = !d->broken;
    if (taken) {
        assert(!d->stop);
        __atomic_fetch_add(&d->queued_bytes, op->bytes, __ATOMIC_RELAXED);
        *d->queue.tail = op;
        d->queue.tail = &op->next;
        pthread_cond_signal(&d->work);
    }
    pthread_mutex_unlock(&d->mutex);
    if (!taken) {
        writer_drop(op);
    }
    return taken;
}

int writer_wait(struct disk *d, struct op *source)
{
    int rc;
    if (!d->started) {
        return logdb_error(writer_now(d, source));
    }
    struct waiter waiter = {0};
    struct op *op = op_new(source->type, 0);
    *op = *source;
    op->waiter = &waiter;
    if (!enqueue(d, op)) {
        return ASSENT_IO;
    }
    pthread_mutex_lock(&d->mutex);
    while (!waiter.done) {
        pthread_cond_wait(&d->durable, &d->mutex);
    }
    rc = waiter.rc;
    pthread_mutex_unlock(&d->mutex);
    return logdb_error(rc);
}

int disk_persist_vote(struct disk *disk, uint64_t term, uint64_t vote)
{
    struct op op = {.type = OP_PUT, .record = RECORD_VOTE, .fields = {term, vote}, .n = 2};
    assert(!disk->state.pristine && term >= disk->state.term);
    int error = writer_wait(disk, &op);
    if (error == 0) {
        disk->state.term = term;
        disk->state.vote = vote;
    }
    return error;
}

void disk_append(struct disk *disk, uint64_t first, struct entry *const *entries, uint32_t n)
{
    assert(n > 0 && first > 0);
    struct op *op = op_new(OP_APPEND, n);
    op->index = first;
    op->n = n;
    for (uint32_t i = 0; i < n; i++) {
        assert(entries[i]->index == first + i);
        op->entries[i] = entry_ref(entries[i]);
        op->bytes += LOGDB_VALUE_HEADER + (uint64_t)entries[i]->size;
    }
    enqueue(disk, op);
}

static void enqueue_manifest(struct disk *disk, enum op_type type, const struct snapshot_manifest *manifest)
{
    struct op *op = op_new(type, 0);
    op->manifest = manifest_copy(manifest);
    assert(op->manifest != NULL);
    op->bytes = manifest->configuration.size;
    enqueue(disk, op);
}

void disk_install(struct disk *disk, const struct snapshot_manifest *manifest)
{
    enqueue_manifest(disk, OP_INSTALL, manifest);
}

void disk_record(struct disk *disk, const struct snapshot_manifest *manifest)
{
    enqueue_manifest(disk, OP_RECORD, manifest);
}

void disk_compact(struct disk *disk, uint64_t index)
{
    struct op *op = op_new(OP_COMPACT, 0);
    op->index = index;
    enqueue(disk, op);
}

uint64_t disk_queued_bytes(const struct disk *disk)
{
    return __atomic_load_n(&disk->queued_bytes, __ATOMIC_RELAXED);
}

uint64_t disk_used_bytes(const struct disk *disk)
{
    return __atomic_load_n(&disk->used_bytes, __ATOMIC_RELAXED);
}

/* The cached state follows what is durable.  Takes the manifest. */
static void update_state(struct disk *d, struct report *r)
{
    if (r->any) {
        d->state.first_index = r->extent.first;
        d->state.last_index = r->extent.last;
    }
    if (r->newest != NULL) {
        free(d->newest);
        d->newest = r->newest;
        d->state.snapshot = *d->newest;
        r->newest = NULL;
        d->state.has_snapshot = true;
    }
}

static void async_closed(uv_handle_t *handle)
{
    struct disk *d = handle->data;
    void (*closed)(void *data) = d->closed;
    void *data = d->closed_data;
    disk_free(d);
    if (closed != NULL) {
        closed(data);
    }
}

/* Take what the writer has noted, and leave it an empty report. */
static struct report *take_report(struct disk *d)
{
    pthread_mutex_lock(&d->mutex);
    struct report *taken = d->report;
    struct report *empty = taken == &d->reports[0] ? &d->reports[1] : &d->reports[0];
    empty->appended = empty->any = empty->ended = false;
    empty->installed = empty->recorded = empty->stats_n = 0;
    empty->newest = NULL;
    empty->error = 0;
    d->report = empty;
    pthread_mutex_unlock(&d->mutex);
    return taken;
}

static void deliver(uv_async_t *async)
{
    struct disk *d = async->data;
    const struct disk_callbacks *cb = &d->callbacks;
    struct report *r = take_report(d);
    update_state(d, r);
    for (uint32_t i = 0; cb->commit_us != NULL && i < r->stats_n; i++) {
        cb->commit_us(cb->data, r->stats[i].us, r->stats[i].entries, r->stats[i].bytes);
    }
    /* An append that is still reported came after any install that is: see note_commit(). */
    for (uint32_t i = 0; cb->installed != NULL && i < r->installed; i++) {
        cb->installed(cb->data);
    }
    for (uint32_t i = 0; cb->recorded != NULL && i < r->recorded; i++) {
        cb->recorded(cb->data);
    }
    if (r->appended && cb->appended != NULL) {
        cb->appended(cb->data, r->index, r->term);
    }
    if (r->error != 0 && cb->failed != NULL) {
        cb->failed(cb->data, r->error, r->what);
    }
    if (r->ended) {
        pthread_join(d->thread, NULL);
        uv_close((uv_handle_t *)&d->async, async_closed);
    }
}

int disk_start(struct disk *disk, uv_loop_t *loop, const struct disk_callbacks *callbacks)
{
    assert(!disk->started);
    disk->callbacks = *callbacks;
    /* The thread stands still at the mutex until there is a loop to report to. */
    pthread_mutex_lock(&disk->mutex);
    int rc = pthread_create(&disk->thread, NULL, run, disk);
    if (rc != 0) {
        pthread_mutex_unlock(&disk->mutex);
        return ASSENT_NOMEM;
    }
    rc = uv_async_init(loop, &disk->async, deliver);
    disk->async.data = disk;
    disk->started = rc == 0;
    disk->broken = disk->stop = rc != 0;
    pthread_mutex_unlock(&disk->mutex);
    if (rc != 0) {
        pthread_join(disk->thread, NULL); /* it has seen `broken` before anything else */
        return ASSENT_NOMEM;
    }
    return 0;
}

void disk_close(struct disk *disk, void (*closed)(void *data), void *data)
{
    if (!disk->started) {
        disk_free(disk);
        if (closed != NULL) {
            closed(data);
        }
        return;
    }
    assert(!disk->closing);
    disk->closing = true;
    disk->closed = closed;
    disk->closed_data = data;
    pthread_mutex_lock(&disk->mutex);
    disk->stop = true;
    pthread_cond_signal(&disk->work);
    pthread_mutex_unlock(&disk->mutex);
}
