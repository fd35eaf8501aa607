/* The glue of the log: events of disk, transport and timers into the core, its effects out to the
 * application.
 *
 *   event (disk, socket, timer, call) --> core_*() --> core_io: disk and transport at once, the rest queued
 *   end of turn: drain effects (apply, answers, role) -> reads, proposals into the core -> sockets -> timer
 *
 * The turn runs after the loop's poll (check) and before it sleeps again (prepare), so nothing waits for the
 * next event.  Draining is bounded per turn: a long backlog of committed entries is applied in slices between
 * which heartbeats are answered. */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "raftlog_private.h"

const uint32_t raftlog_bucket_us[RAFTLOG_BUCKETS] = {50,     100,     200,     500,       1000,   2000,
                                                     5000,   10000,   20000,   50000,     100000, 200000,
                                                     500000, 1000000, 5000000, UINT32_MAX};

/* A wall clock this far from the stamps has been stepped. */
#define STEP_US 100000

/* ---- small things ---- */

/* CLOCK_MONOTONIC does not run backwards and does not jump with the wall clock. */
uint64_t log_now_us(void)
{
    return uv_hrtime() / 1000;
}

uint64_t log_now_ms(void)
{
    return uv_hrtime() / 1000000;
}

static int64_t wall_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t log_stamp_us(struct raftlog *log)
{
    return stamp_look(&log->stamp, wall_us(), log_now_us());
}

void log_event(struct raftlog *log, int level, const char *event, const char *format, ...)
{
    char details[768];
    va_list args;
    va_start(args, format);
    vsnprintf(details, sizeof details, format, args);
    va_end(args);
    log->app.event(log->app.data, level, event, details);
}

void log_break(struct raftlog *log, const char *format, ...)
{
    char reason[512];
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    if (!log->stopped) {
        log->stopped = true;
        log->broken = strdup(reason);
    }
}

void log_check(struct raftlog *log, int rv)
{
    if (rv != 0) {
        log_break(log, "the consensus core stopped (%s): see the event before this one; restart the process",
                  assent_error_name(rv));
    }
}

void log_histogram(struct raftlog_histogram *h, uint64_t us)
{
    unsigned i = 0;
    while (i < RAFTLOG_BUCKETS - 1 && us > raftlog_bucket_us[i]) {
        i++;
    }
    /* buckets are cumulative: a duration counts in every bucket whose bound it does not exceed */
    for (; i < RAFTLOG_BUCKETS; i++) {
        h->bucket[i]++;
    }
    h->count++;
    h->sum_us += us;
}

/* ---- begin and end ---- */

#define HOUSEKEEPING_MS 100

static void on_prepare(uv_prepare_t *handle)
{
    log_turn(handle->data);
}

static void on_check(uv_check_t *handle)
{
    log_turn(handle->data);
}

/* Look at the clock in time to recognise a step, and say so: timeouts run fast or slow until it is worked
 * off. */
static void watch_clock(struct raftlog *log)
{
    const int64_t apart_us = wall_us() - log_stamp_us(log);
    const bool stepped = apart_us > STEP_US || apart_us < -STEP_US;
    if (stepped != log->stepped) {
        log->stepped = stepped;
        log_event(log, stepped ? 2 : 1, stepped ? "clock_stepped" : "clock_steady", "apart_us=%lld",
                  (long long)apart_us);
    }
}

static void on_housekeeping(uv_timer_t *timer)
{
    struct raftlog *log = timer->data;
    if (log->stopped) {
        return;
    }
    const uint64_t now_ms = log_now_ms();
    proposals_housekeeping(log, now_ms);
    reads_housekeeping(log, now_ms);
    snapshots_housekeeping(log, now_ms);
    watch_clock(log);
    bool no_space = disk_free_bytes(log->disk) < log->config.min_free_bytes;
    if (no_space != log->no_space) {
        log->no_space = no_space;
        log_event(log, no_space ? 3 : 1, no_space ? "disk_full" : "disk_free",
                  "free_bytes=%llu min_free_bytes=%llu", (unsigned long long)disk_free_bytes(log->disk),
                  (unsigned long long)log->config.min_free_bytes);
    }
}

static void handle_init(struct raftlog *log, uv_handle_t *handle, int rv)
{
    assert(rv == 0); /* these handles need no resources */
    handle->data = log;
    log->handles++;
}

void log_begin(struct raftlog *log)
{
    handle_init(log, (uv_handle_t *)&log->timer, uv_timer_init(log->loop, &log->timer));
    handle_init(log, (uv_handle_t *)&log->housekeeping, uv_timer_init(log->loop, &log->housekeeping));
    handle_init(log, (uv_handle_t *)&log->closer, uv_timer_init(log->loop, &log->closer));
    handle_init(log, (uv_handle_t *)&log->prepare, uv_prepare_init(log->loop, &log->prepare));
    handle_init(log, (uv_handle_t *)&log->check, uv_check_init(log->loop, &log->check));
    handle_init(log, (uv_handle_t *)&log->idle, uv_idle_init(log->loop, &log->idle));
    int rv = uv_prepare_start(&log->prepare, on_prepare);
    assert(rv == 0);
    rv = uv_check_start(&log->check, on_check);
    assert(rv == 0);
    rv = uv_timer_start(&log->housekeeping, on_housekeeping, HOUSEKEEPING_MS, HOUSEKEEPING_MS);
    assert(rv == 0);
}

void log_free(struct raftlog *log)
{
    if (log->core != NULL) {
        core_close(log->core);
    }
    snapshots_close(log);
    proposals_close(&log->proposals);
    effects_close(log);
    while (log->groups != NULL) {
        struct read_group *next = log->groups->next;
        free(log->groups);
        log->groups = next;
    }
    free(log->broken);
    free(log->dir);
    free(log->cluster_name);
    free(log->listen);
    free(log->address);
    free(log->advert);
    free(log);
}

/* One thing that closing waits for has ended. */
static void end_step(struct raftlog *log)
{
    if (log->handles > 0 || log->jobs > 0 || !log->closing) {
        return;
    }
    void (*closed)(void *) = log->closed;
    void *data = log->closed_data;
    log_free(log);
    closed(data);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct raftlog *log = handle->data;
    log->handles--;
    end_step(log);
}

static void on_transport_closed(void *data)
{
    struct raftlog *log = data;
    log->handles--;
    end_step(log);
}

void log_fail_all(struct raftlog *log, int status, int pending_status)
{
    proposals_fail(log, status, pending_status);
    reads_fail(log, status);
    snapshots_fail(log, status);
    struct raftlog_member *member = log->member;
    log->member = NULL;
    if (member != NULL) {
        member->cb(member, status, assent_error_sentence(status));
    }
}

void log_stop_transport(struct raftlog *log)
{
    if (log->transport_open) {
        log->transport_open = false;
        log->handles++;
        transport_close(log->transport, on_transport_closed, log);
    }
}

static void on_disk_closed(void *data)
{
    struct raftlog *log = data;
    log->handles--;
    end_step(log);
}

void log_job_done(struct raftlog *log)
{
    assert(log->jobs > 0);
    log->jobs--;
    end_step(log);
}

static void on_closer(uv_timer_t *timer)
{
    struct raftlog *log = timer->data;
    log->closing = true;
    bool was_stopped = log->stopped;
    log->stopped = true;
    if (!was_stopped) {
        /* what has been committed and applied is answered; the rest may or may not commit */
        log_fail_all(log, ASSENT_SHUTDOWN, ASSENT_UNKNOWN_OUTCOME);
    }
    log_stop_transport(log);
    if (log->disk_open) {
        log->disk_open = false;
        log->handles++;
        disk_close(log->disk, on_disk_closed, log);
    }
    uv_close((uv_handle_t *)&log->timer, on_handle_closed);
    uv_close((uv_handle_t *)&log->housekeeping, on_handle_closed);
    uv_close((uv_handle_t *)&log->closer, on_handle_closed);
    uv_close((uv_handle_t *)&log->prepare, on_handle_closed);
    uv_close((uv_handle_t *)&log->check, on_handle_closed);
    uv_close((uv_handle_t *)&log->idle, on_handle_closed);
}

void raftlog_close(struct raftlog *log, void (*closed)(void *data), void *data)
{
    assert(log->closed == NULL && closed != NULL);
    log->closed = closed;
    log->closed_data = data;
    int rv = uv_timer_start(&log->closer, on_closer, 0, 0); /* no callback fires before this returns */
    assert(rv == 0);
}

/* ---- looking ---- */

void raftlog_status(const struct raftlog *log, struct raftlog_status *out)
{
    const struct snapshots *s = &log->snapshots;
    *out = (struct raftlog_status){0};
    core_status(log->core, out);
    out->role = log->role;
    out->ready = log->ready;
    out->current = log->current && !log->stopped;
    out->term = log->term > out->term ? log->term : out->term;
    out->leader = log->leader;
    out->id = log->config.id;
    out->cluster_id = log->cluster_id;
    out->incarnation = log->incarnation;
    out->applied_index = log->applied_index;
    out->snapshot_index = s->newest.m.index;
    out->snapshot_size = s->newest.m.size;
    out->installing = s->pull != NULL || s->installing.present;
    if (s->pull != NULL) {
        out->install_bytes = snapshot_pull_bytes(s->pull);
        out->install_size = snapshot_pull_manifest(s->pull)->size;
    } else if (s->installing.present) {
        out->install_bytes = out->install_size = s->installing.m.size;
    }
    out->queued_bytes = log->proposals.bytes_used + log->proposals.flight_bytes;
    out->leader_ahead_us = log->leader_ahead_us;
}

static void fill_peer(const struct raftlog *log, const struct raft_server *s, struct raftlog_peer *out)
{
    *out =
        (struct raftlog_peer){.id = s->id, .voter = s->role == RAFT_VOTER, .self = s->id == log->config.id};
    snprintf(out->address, sizeof out->address, "%s", s->address);
    if (out->self) {
        out->connected = true;
        out->advert = log->config.advert;
    } else if (log->transport_open) {
        out->connected = transport_connected(log->transport, s->id);
        out->advert = transport_advert(log->transport, s->id);
    }
    out->match_index = log->role == RAFTLOG_LEADER ? core_match_index(log->core, s->id) : 0;
}

bool raftlog_member_at(const struct raftlog *log, uint32_t i, struct raftlog_peer *out)
{
    const struct raft_configuration *c = core_configuration(log->core);
    if (i >= c->n) {
        return false;
    }
    fill_peer(log, &c->servers[i], out);
    return true;
}

bool raftlog_peer(const struct raftlog *log, uint64_t id, struct raftlog_peer *out)
{
    const struct raft_configuration *c = core_configuration(log->core);
    for (unsigned i = 0; i < c->n; i++) {
        if (c->servers[i].id == id) {
            fill_peer(log, &c->servers[i], out);
            return true;
        }
    }
    return false;
}

const struct raftlog_metrics *raftlog_metrics(const struct raftlog *log)
{
    struct raftlog *l = (struct raftlog *)(uintptr_t)log; /* a cache of sums, not state */
    struct raftlog_metrics fresh = {0};
    core_metrics(log->core, &fresh);
    struct raftlog_metrics *m = &l->metrics;
    m->elections_started = fresh.elections_started;
    m->leader_changes = fresh.leader_changes;
    m->reads = fresh.reads;
    m->read_rounds = fresh.read_rounds;
    memcpy(m->guard, fresh.guard, sizeof m->guard);
    m->snapshots_taken = log->snapshots.taken;
    m->snapshots_installed = log->snapshots.installed;
    m->snapshot_chunks_sent = log->snapshots.chunks_sent;
    if (log->transport_open) {
        transport_metrics(log->transport, m);
    }
    return m;
}
