/* Snapshots: taking our own, serving chunks to peers, pulling and installing a leader's, cleaning up.
 *
 *   taking     pin (loop) -> dump, checksum, publish (worker) -> record in the log (writer) -> tell the core,
 *              which compacts -> clean up
 *   pulling    offer (core_io.stage) -> PULL / CHUNK until complete -> verify, publish (worker) ->
 * core_staged() installing core_io.install -> log replaced by the manifest (writer) -> restore (worker) ->
 * core_installed()
 *
 * A dump and a restore never run at the same time; a restore waits until all queued effects are drained. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "raftlog_private.h"

#define KEEP_FILES 2
/* A chunk that was asked for and did not come: ask again. */
#define PULL_TIMEOUT_MS 1000
/* A file is kept for a peer that pulls it as long as it keeps asking. */
#define PIN_MS 30000
/* After a failed dump (full disk, usually) the next automatic one waits. */
#define RETRY_MS 30000
/* A restart after a crash replays what was applied since the snapshot: the next one is due when that took
 * this long to apply, unless dumping (its last duration times ten) is dearer than the replay it saves. */
#define REPLAY_US       (2 * 1000000)
#define REPLAY_PER_DUMP 10

/* ---- manifests we own ---- */

void own_manifest_clear(struct own_manifest *own)
{
    free(own->configuration);
    *own = (struct own_manifest){0};
}

bool own_manifest_set(struct own_manifest *own, const struct snapshot_manifest *m)
{
    uint8_t *copy = malloc(m->configuration.size > 0 ? m->configuration.size : 1);
    if (copy == NULL) {
        return false;
    }
    if (m->configuration.size > 0) {
        memcpy(copy, m->configuration.base, m->configuration.size);
    }
    free(own->configuration);
    own->configuration = copy;
    own->m = *m;
    own->m.configuration.base = copy;
    own->present = true;
    return true;
}

void snapshot_describe(const struct raftlog *log, const struct snapshot_manifest *m,
                       struct raftlog_snapshot *out)
{
    *out = (struct raftlog_snapshot){
        .index = m->index, .term = m->term, .size = m->size, .digest = m->digest, .crc = m->crc};
    snapshot_path(&log->snapshots.dir, m->index, m->term, "snap", out->path, sizeof out->path);
}

static void remember_previous(struct raftlog *log)
{
    struct snapshots *s = &log->snapshots;
    if (s->newest.present) {
        snapshot_describe(log, &s->newest.m, &s->previous);
    }
}

bool raftlog_snapshot_find(const struct raftlog *log, uint64_t index, struct raftlog_snapshot *out)
{
    const struct snapshots *s = &log->snapshots;
    if (index == 0) {
        return false;
    }
    if (s->newest.present && s->newest.m.index == index) {
        snapshot_describe(log, &s->newest.m, out);
        return true;
    }
    *out = s->previous;
    return s->previous.index == index;
}

/* ---- taking ---- */

/* A dump on the thread pool; touches nothing of the log's. */
struct dump {
    uv_work_t work;
    struct raftlog *log;
    int (*dump)(void *data, void *pin, const char *path, struct raftlog_snapshot *out);
    void *app_data, *pin;
    struct snapshot_dir dir;
    struct own_manifest manifest;
    uint64_t took_us;
    int status;
};

static void answer_takes(struct raftlog *log, int status)
{
    struct snapshots *s = &log->snapshots;
    struct raftlog_take *takes[TAKES_MAX];
    struct raftlog_snapshot described = {0};
    uint32_t n = s->takes_n;
    memcpy(takes, s->takes, sizeof takes);
    s->takes_n = 0;
    if (status == 0) {
        snapshot_describe(log, &s->newest.m, &described);
    }
    for (uint32_t i = 0; i < n; i++) {
        takes[i]->cb(takes[i], status, status == 0 ? &described : NULL);
    }
}

/* WORKER THREAD. */
static void dump_run(uv_work_t *work)
{
    struct dump *d = work->data;
    struct snapshot_manifest *m = &d->manifest.m;
    struct raftlog_snapshot out = {.index = m->index, .term = m->term};
    const uint64_t start_us = log_now_us();
    snapshot_path(&d->dir, m->index, m->term, "tmp", out.path, sizeof out.path);
    (void)unlink(out.path); /* left by a try that failed */
    d->status = d->dump(d->app_data, d->pin, out.path, &out);
    d->pin = NULL;
    if (d->status == 0) {
        d->status = snapshot_checksum(out.path, &m->crc, &m->size);
    }
    if (d->status == 0 && m->size != out.size) {
        d->status = ASSENT_IO;
    }
    if (d->status == 0) {
        m->digest = out.digest;
        d->status = snapshot_publish(&d->dir, m->index, m->term, "tmp");
    }
    if (d->status != 0) {
        (void)unlink(out.path);
    }
    d->took_us = log_now_us() - start_us;
}

static void dump_done(uv_work_t *work, int cancelled)
{
    struct dump *d = work->data;
    struct raftlog *log = d->log;
    struct snapshots *s = &log->snapshots;
    struct snapshot_manifest *m = &d->manifest.m;
    if (cancelled != 0) {
        (void)d->dump(d->app_data, d->pin, NULL, NULL);
        d->status = ASSENT_SHUTDOWN;
    }
    s->dump = NULL;
    s->dump_us = d->took_us;
    /* guard G9: an install that began meanwhile replaces the log anyway */
    if (d->status == 0 && (s->installing.present || m->index <= s->newest.m.index)) {
        d->status = ASSENT_BUSY;
    }
    if (d->status == 0 && !log->stopped) {
        own_manifest_clear(&s->recording);
        s->recording = d->manifest;
        d->manifest = (struct own_manifest){0};
        disk_record(log->disk, &s->recording.m);
    } else if (!log->stopped) {
        s->failed_ms = log_now_ms();
        log_event(log, 2, "snapshot_failed", "index=%llu error=%s", (unsigned long long)m->index,
                  assent_error_name(d->status));
        answer_takes(log, d->status > 0 ? d->status : ASSENT_IO);
    }
    own_manifest_clear(&d->manifest);
    free(d);
    log_job_done(log);
}

/* The disk recorded our snapshot: from now on it is what we offer, and the log behind it may go. */
void snapshots_recorded(struct raftlog *log)
{
    struct snapshots *s = &log->snapshots;
    if (!s->recording.present) {
        return;
    }
    remember_previous(log);
    own_manifest_clear(&s->newest);
    s->newest = s->recording;
    s->recording = (struct own_manifest){0};
    s->taken++;
    log_event(log, 1, "snapshot_taken", "index=%llu term=%llu bytes=%llu digest=%016llx",
              (unsigned long long)s->newest.m.index, (unsigned long long)s->newest.m.term,
              (unsigned long long)s->newest.m.size, (unsigned long long)s->newest.m.digest);
    if (!s->installing.present) {
        log_check(log, core_snapshot_taken(log->core, log_now_ms(), &s->newest.m));
    }
    snapshot_clean(&s->dir, KEEP_FILES, s->pinned_index);
    answer_takes(log, 0);
}

static bool may_take(const struct raftlog *log)
{
    const struct snapshots *s = &log->snapshots;
    return s->dump == NULL && !s->recording.present && !s->installing.present && !s->restoring &&
           !log->stopped;
}

/* Pin what is applied now and dump it.  Nothing may be queued: the core's applied configuration must be that
 * of our applied index. */
static int take(struct raftlog *log)
{
    struct snapshots *s = &log->snapshots;
    assert(may_take(log) && effects_empty(log));
    struct dump *d = calloc(1, sizeof *d);
    if (d == NULL) {
        return ASSENT_NOMEM;
    }
    struct snapshot_manifest m = {.index = log->applied_index,
                                  .term = core_term_at(log->core, log->applied_index),
                                  .chunk_size = log->config.snapshot_chunk_bytes};
    m.configuration = core_applied_configuration(log->core, &m.configuration_index);
    assert(m.term > 0 && m.configuration.size > 0 && m.configuration_index <= m.index);
    if (!own_manifest_set(&d->manifest, &m)) {
        free(d);
        return ASSENT_NOMEM;
    }
    d->log = log;
    d->dump = log->app.dump;
    d->app_data = log->app.data;
    d->dir = s->dir;
    d->work.data = d;
    d->pin = log->app.pin(log->app.data, m.index);
    int rv = uv_queue_work(log->loop, &d->work, dump_run, dump_done);
    assert(rv == 0);
    log->jobs++;
    s->dump = d;
    s->log_bytes = s->log_entries = s->apply_us = 0;
    return 0;
}

int raftlog_take_snapshot(struct raftlog *log, struct raftlog_take *req, raftlog_take_cb cb)
{
    struct snapshots *s = &log->snapshots;
    if (log->stopped) {
        return log->closing ? ASSENT_SHUTDOWN : ASSENT_STOPPED;
    }
    /* a dump under way may lack what was applied since: it does not count for this request */
    if (!may_take(log) || s->takes_n == TAKES_MAX) {
        return ASSENT_BUSY;
    }
    req->cb = cb;
    s->takes[s->takes_n++] = req;
    return 0;
}

void snapshots_applied(struct raftlog *log, const struct entry *e)
{
    log->snapshots.log_bytes += e->size;
    log->snapshots.log_entries++;
}

static bool take_due(const struct raftlog *log)
{
    const struct snapshots *s = &log->snapshots;
    if (s->takes_n > 0) {
        return true;
    }
    bool big = s->log_bytes >= log->config.snapshot_log_bytes ||
               s->log_entries >= log->config.snapshot_log_entries ||
               (s->apply_us >= REPLAY_US && s->apply_us >= REPLAY_PER_DUMP * s->dump_us);
    return big && (s->failed_ms == 0 || log_now_ms() - s->failed_ms >= RETRY_MS);
}

/* ---- installing ---- */

struct restore {
    uv_work_t work;
    struct raftlog *log;
    int (*restore)(void *data, const struct raftlog_snapshot *snapshot);
    void *app_data;
    struct raftlog_snapshot snapshot;
    int status;
};

/* WORKER THREAD. */
static void restore_run(uv_work_t *work)
{
    struct restore *r = work->data;
    r->status = r->restore(r->app_data, &r->snapshot);
}

static void restore_done(uv_work_t *work, int cancelled)
{
    struct restore *r = work->data;
    struct raftlog *log = r->log;
    struct snapshots *s = &log->snapshots;
    int status = cancelled != 0 ? ASSENT_SHUTDOWN : r->status;
    free(r);
    s->restoring = false;
    if (!log->stopped && status != 0) {
        log_break(
            log,
            "the snapshot at index %llu could not be restored (%s): wipe this node and add it as a new one",
            (unsigned long long)s->installing.m.index, assent_error_name(status));
    } else if (!log->stopped) {
        remember_previous(log);
        own_manifest_clear(&s->newest);
        s->newest = s->installing;
        s->installing = (struct own_manifest){0};
        s->install_recorded = false;
        s->log_bytes = s->log_entries = s->apply_us = 0;
        s->installed++;
        log->applied_index = s->newest.m.index;
        if (log->app.restored != NULL)
            log->app.restored(log->app.data, s->newest.m.index);
        log_event(log, 1, "snapshot_installed", "index=%llu term=%llu bytes=%llu",
                  (unsigned long long)s->newest.m.index, (unsigned long long)s->newest.m.term,
                  (unsigned long long)s->newest.m.size);
        proposals_installed(log, log->applied_index);
        log_check(log, core_installed(log->core, log_now_ms(), &s->newest.m));
        snapshot_clean(&s->dir, KEEP_FILES, s->pinned_index);
    }
    log_job_done(log);
}

void snapshots_install(struct raftlog *log, const struct snapshot_manifest *m)
{
    struct snapshots *s = &log->snapshots;
    assert(!s->restoring);
    if (!own_manifest_set(&s->installing, m)) {
        log_break(log, "out of memory while installing a snapshot");
        return;
    }
    s->install_recorded = false;
    disk_install(log->disk, m);
}

void snapshots_log_replaced(struct raftlog *log)
{
    log->snapshots.install_recorded = log->snapshots.installing.present;
}

static void restore_begin(struct raftlog *log)
{
    struct snapshots *s = &log->snapshots;
    struct restore *r = calloc(1, sizeof *r);
    if (r == NULL) {
        log_break(log, "out of memory while installing a snapshot");
        return;
    }
    r->log = log;
    r->restore = log->app.restore;
    r->app_data = log->app.data;
    r->work.data = r;
    snapshot_describe(log, &s->installing.m, &r->snapshot);
    int rv = uv_queue_work(log->loop, &r->work, restore_run, restore_done);
    assert(rv == 0);
    log->jobs++;
    s->restoring = true;
}

/* ---- pulling ---- */

static void pull_drop(struct raftlog *log)
{
    struct snapshots *s = &log->snapshots;
    if (s->pull_finishing) {
        s->pull_abandoned = true; /* the worker has it */
    } else if (s->pull != NULL) {
        snapshot_pull_close(s->pull);
        s->pull = NULL;
    }
}

static void pull_ask(struct raftlog *log)
{
    struct snapshots *s = &log->snapshots;
    const struct snapshot_manifest *m = snapshot_pull_manifest(s->pull);
    struct message ask = {.type = MESSAGE_PULL, .chunk = {.index = m->index, .term = m->term}};
    if (!snapshot_pull_next(s->pull, &ask.chunk.offset, &ask.chunk.size)) {
        return;
    }
    s->pull_offset = ask.chunk.offset;
    s->pull_asked = transport_send(log->transport, s->pull_from, &ask) == 0;
    s->pull_asked_ms = log_now_ms();
}

struct finish {
    uv_work_t work;
    struct raftlog *log;
    struct snapshot_pull *pull;
    int status;
};

/* WORKER THREAD. */
static void finish_run(uv_work_t *work)
{
    struct finish *f = work->data;
    f->status = snapshot_pull_finish(f->pull);
}

static void finish_done(uv_work_t *work, int cancelled)
{
    struct finish *f = work->data;
    struct raftlog *log = f->log;
    struct snapshots *s = &log->snapshots;
    const uint64_t index = snapshot_pull_manifest(f->pull)->index,
                   term = snapshot_pull_manifest(f->pull)->term;
    const int status = cancelled != 0 ? ASSENT_SHUTDOWN : f->status;
    const bool abandoned = s->pull_abandoned;
    snapshot_pull_close(f->pull);
    free(f);
    s->pull = NULL;
    s->pull_finishing = s->pull_abandoned = false;
    if (!log->stopped && !abandoned) {
        if (status == 0) {
            log_check(log, core_staged(log->core, log_now_ms(), index, term));
        } else { /* the leader offers it again */
            log_event(log, 2, "snapshot_pull_failed", "index=%llu error=%s", (unsigned long long)index,
                      assent_error_name(status));
        }
    }
    log_job_done(log);
}

static void pull_finish(struct raftlog *log)
{
    struct snapshots *s = &log->snapshots;
    struct finish *f = calloc(1, sizeof *f);
    if (f == NULL) {
        pull_drop(log);
        return;
    }
    f->log = log;
    f->pull = s->pull;
    f->work.data = f;
    int rv = uv_queue_work(log->loop, &f->work, finish_run, finish_done);
    assert(rv == 0);
    log->jobs++;
    s->pull_finishing = true;
}

static void pull_go_on(struct raftlog *log)
{
    uint64_t offset;
    uint32_t size;
    if (snapshot_pull_next(log->snapshots.pull, &offset, &size)) {
        pull_ask(log);
    } else {
        pull_finish(log);
    }
}

void snapshots_stage(struct raftlog *log, uint64_t from, const struct snapshot_manifest *m)
{
    struct snapshots *s = &log->snapshots;
    if (s->pull != NULL) {
        const struct snapshot_manifest *current = snapshot_pull_manifest(s->pull);
        if (current->index == m->index && current->term == m->term && current->crc == m->crc) {
            s->pull_from = from; /* offered again, perhaps by a new leader that has the same image */
            return;
        }
        if (s->pull_finishing) {
            return; /* offered again after it */
        }
        pull_drop(log);
    }
    int rv = snapshot_pull_begin(&s->pull, &s->dir, m);
    if (rv != 0) {
        s->pull = NULL;
        log_event(log, 2, "snapshot_pull_failed", "index=%llu error=%s", (unsigned long long)m->index,
                  assent_error_name(rv));
        return;
    }
    log_event(log, 1, "snapshot_pull", "index=%llu from=%llu bytes=%llu have=%llu",
              (unsigned long long)m->index, (unsigned long long)from, (unsigned long long)m->size,
              (unsigned long long)snapshot_pull_bytes(s->pull));
    s->pull_from = from;
    pull_go_on(log);
}

void snapshots_chunk(struct raftlog *log, const struct message *m)
{
    struct snapshots *s = &log->snapshots;
    if (s->pull == NULL || s->pull_finishing || m->from != s->pull_from) {
        return;
    }
    const struct snapshot_manifest *manifest = snapshot_pull_manifest(s->pull);
    if (m->chunk.index != manifest->index || m->chunk.term != manifest->term ||
        m->chunk.offset != s->pull_offset) {
        return;
    }
    if (m->chunk.size == 0) {
        log_event(log, 2, "snapshot_pull_failed", "index=%llu error=NOT_FOUND from=%llu",
                  (unsigned long long)manifest->index, (unsigned long long)m->from);
        pull_drop(log); /* the leader will offer what it has */
        return;
    }
    int rv = snapshot_pull_chunk(s->pull, m->chunk.offset, m->chunk.data);
    if (rv != 0) {
        log_event(log, 3, "snapshot_pull_failed", "index=%llu error=%s", (unsigned long long)manifest->index,
                  assent_error_name(rv));
        pull_drop(log);
        return;
    }
    s->pull_asked = false;
    pull_go_on(log);
}

/* ---- serving ---- */

struct serve {
    uv_work_t work;
    struct raftlog *log;
    struct snapshot_dir dir;
    uint64_t to, index, term, offset;
    uint32_t size, got;
    int status;
    uint8_t bytes[];
};

/* WORKER THREAD. */
static void serve_run(uv_work_t *work)
{
    struct serve *v = work->data;
    v->status = snapshot_read_chunk(&v->dir, v->index, v->term, v->offset, v->size, v->bytes, &v->got);
}

static void serve_done(uv_work_t *work, int cancelled)
{
    struct serve *v = work->data;
    struct raftlog *log = v->log;
    if (!log->stopped && cancelled == 0) {
        uint32_t size = v->status == 0 ? v->got : 0;
        struct message m = {.type = MESSAGE_CHUNK,
                            .chunk = {.index = v->index,
                                      .term = v->term,
                                      .offset = v->offset,
                                      .size = size,
                                      .data = {size > 0 ? v->bytes : NULL, size}}};
        if (transport_send(log->transport, v->to, &m) == 0 && size > 0) {
            log->snapshots.chunks_sent++;
        }
    }
    log->snapshots.serves_n--;
    free(v);
    log_job_done(log);
}

void snapshots_serve(struct raftlog *log, const struct message *m)
{
    struct snapshots *s = &log->snapshots;
    if (s->serves_n == SERVES_MAX) {
        return; /* asked again later */
    }
    uint64_t size =
        m->chunk.size < log->config.snapshot_chunk_bytes ? m->chunk.size : log->config.snapshot_chunk_bytes;
    struct serve *v = malloc(sizeof *v + size);
    if (v == NULL) {
        return;
    }
    *v = (struct serve){.log = log,
                        .dir = s->dir,
                        .to = m->from,
                        .index = m->chunk.index,
                        .term = m->chunk.term,
                        .offset = m->chunk.offset,
                        .size = (uint32_t)size};
    v->work.data = v;
    s->pinned_index = m->chunk.index;
    s->pinned_until_ms = log_now_ms() + PIN_MS;
    int rv = uv_queue_work(log->loop, &v->work, serve_run, serve_done);
    assert(rv == 0);
    log->jobs++;
    s->serves_n++;
}

/* ---- from time to time ---- */

void snapshots_turn(struct raftlog *log)
{
    struct snapshots *s = &log->snapshots;
    if (!effects_empty(log)) {
        return;
    }
    if (s->installing.present && s->install_recorded && !s->restoring && s->dump == NULL) {
        restore_begin(log);
    }
    if (!may_take(log) || !take_due(log)) {
        return;
    }
    int rv = 0;
    if (log->applied_index > s->newest.m.index) {
        rv = take(log);
    } else if (s->newest.present) {
        answer_takes(log, 0); /* nothing new */
    } else {
        rv = ASSENT_NOT_FOUND; /* nothing at all yet */
    }
    if (rv != 0) {
        answer_takes(log, rv);
    }
}

void snapshots_housekeeping(struct raftlog *log, uint64_t now_ms)
{
    struct snapshots *s = &log->snapshots;
    if (s->pinned_index != 0 && now_ms >= s->pinned_until_ms) {
        s->pinned_index = 0;
        snapshot_clean(&s->dir, KEEP_FILES, 0);
    }
    if (s->pull != NULL && !s->pull_finishing &&
        (!s->pull_asked || now_ms - s->pull_asked_ms >= PULL_TIMEOUT_MS)) {
        pull_ask(log);
    }
}

void snapshots_fail(struct raftlog *log, int status)
{
    answer_takes(log, status);
}

void snapshots_close(struct raftlog *log)
{
    struct snapshots *s = &log->snapshots;
    assert(s->dump == NULL && !s->restoring && !s->pull_finishing && s->serves_n == 0);
    if (s->pull != NULL) {
        snapshot_pull_close(s->pull);
    }
    own_manifest_clear(&s->newest);
    own_manifest_clear(&s->recording);
    own_manifest_clear(&s->installing);
}
