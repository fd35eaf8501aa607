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

#include "batch.h"
#include "raftlog_private.h"

/* Applying may keep the loop this long per turn: well below a heartbeat. */
#define DRAIN_US 10000
/* Effects, then what callbacks asked for, then its effects: rounds of one turn. */
#define TURN_ROUNDS 4

const uint32_t raftlog_bucket_us[RAFTLOG_BUCKETS] = {50,     100,     200,     500,       1000,   2000,
                                                     5000,   10000,   20000,   50000,     100000, 200000,
                                                     500000, 1000000, 5000000, UINT32_MAX};

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

int64_t log_wall_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
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
    while (us > raftlog_bucket_us[i] && i < RAFTLOG_BUCKETS - 1) {
        i++;
    }
    /* buckets are cumulative: a duration counts in every bucket whose bound it does not exceed */
    for (; i < RAFTLOG_BUCKETS; i++) {
        h->bucket[i]++;
    }
    h->count++;
    h->sum_us += us;
}

/* ---- effects ---- */

bool effects_empty(const struct raftlog *log)
{
    return log->effects.head == log->effects.n;
}

struct effect *effect_add(struct raftlog *log, enum effect_kind kind)
{
    struct effects *q = &log->effects;
    if (q->n == q->capacity) {
        uint32_t capacity = q->capacity == 0 ? 64 : 2 * q->capacity;
        struct effect *grown = realloc(q->items, capacity * sizeof *grown);
        assert(grown != NULL); /* an effect that is lost would be an answer that never comes */
        q->items = grown;
        q->capacity = capacity;
    }
    struct effect *e = &q->items[q->n++];
    *e = (struct effect){.kind = kind};
    return e;
}

static void effects_add_entries(struct raftlog *log, struct entry *const *entries, uint32_t n)
{
    struct effects *q = &log->effects;
    while (q->entries_n + n > q->entries_capacity) {
        uint32_t capacity = q->entries_capacity == 0 ? 1024 : 2 * q->entries_capacity;
        struct entry **grown = realloc(q->entries, capacity * sizeof *grown);
        assert(grown != NULL);
        q->entries = grown;
        q->entries_capacity = capacity;
    }
    for (uint32_t i = 0; i < n; i++) {
        q->entries[q->entries_n++] = entry_ref(entries[i]);
    }
    /* neighbours become one, so that one transaction of the application takes both */
    struct effect *last = effects_empty(log) ? NULL : &q->items[q->n - 1];
    if (last == NULL || last->kind != EFFECT_APPLY) {
        last = effect_add(log, EFFECT_APPLY);
    }
    last->entries_n += n;
}

static void drain_apply(struct raftlog *log)
{
    struct effects *q = &log->effects;
    const uint32_t want = q->items[q->head].entries_n;
    uint32_t done = apply_some(log, q->entries + q->entries_head, want);
    for (uint32_t i = 0; i < done; i++) {
        entry_unref(q->entries[q->entries_head + i]);
    }
    q->entries_head += done;
    q->items[q->head].entries_n -= done;
    if (done == want) {
        q->head++;
    }
}

static void tell_role(struct raftlog *log, const struct effect *e)
{
    bool was_leader = log->role == RAFTLOG_LEADER;
    bool lost = was_leader && (e->role.role != RAFTLOG_LEADER || e->role.term != log->term);
    log->role = e->role.role;
    log->term = e->role.term;
    log->leader = e->role.leader;
    log->ready = e->role.ready;
    proposals_role(log, lost);
    log->app.role(log->app.data, log->role, log->term, log->leader, log->ready);
}

static void tell_member(struct raftlog *log, const struct effect *e)
{
    struct raftlog_member *req = (struct raftlog_member *)(uintptr_t)e->member.id;
    assert(req == log->member);
    log->member = NULL;
    req->cb(req, e->status, e->member.detail != NULL ? e->member.detail : "");
    free(e->member.detail);
}

/* Hand out what is queued, in order, until it is empty or the time is up. */
static void drain(struct raftlog *log, uint64_t until_us)
{
    struct effects *q = &log->effects;
    while (q->head < q->n && !log->stopped) {
        struct effect e = q->items[q->head]; /* a copy: callbacks may add effects and move the array */
        if (e.kind == EFFECT_APPLY) {
            drain_apply(log);
            if (log_now_us() >= until_us) {
                break;
            }
            continue;
        }
        q->head++;
        if (e.kind == EFFECT_ROLE) {
            tell_role(log, &e);
        } else if (e.kind == EFFECT_READ) {
            reads_done(log, &e);
        } else {
            tell_member(log, &e);
        }
    }
    if (q->head == q->n) {
        assert(log->stopped || q->entries_head == q->entries_n);
        q->head = q->n = 0;
        q->entries_head = q->entries_n = 0;
    }
}

/* Nobody will drain them any more. */
static void effects_close(struct raftlog *log)
{
    struct effects *q = &log->effects;
    for (uint32_t i = q->entries_head; i < q->entries_n; i++) {
        entry_unref(q->entries[i]);
    }
    for (uint32_t i = q->head; i < q->n; i++) {
        if (q->items[i].kind == EFFECT_MEMBER) {
            free(q->items[i].member.detail);
        }
    }
    free(q->items);
    free(q->entries);
}

/* ---- the turn ---- */

static void on_timer(uv_timer_t *timer);

/* Follow the core's deadline.  It mostly moves away, so the timer is left alone until it fires too early. */
static void rearm(struct raftlog *log, bool fired)
{
    uint64_t deadline = core_deadline_ms(log->core);
    if (!fired && log->timer_ms != 0 && log->timer_ms <= deadline) {
        return;
    }
    uint64_t now = log_now_ms();
    uint64_t wait = deadline > now ? deadline - now : 1;
    log->timer_ms = now + wait;
    uv_update_time(log->loop); /* uv counts from the start of the turn */
    int rv = uv_timer_start(&log->timer, on_timer, wait, 0);
    assert(rv == 0);
}

static void on_timer(uv_timer_t *timer)
{
    struct raftlog *log = timer->data;
    log->timer_ms = 0;
    if (log->stopped) {
        return;
    }
    if (log_now_ms() >= core_deadline_ms(log->core)) {
        log_check(log, core_tick(log->core, log_now_ms()));
    }
    if (!log->stopped) {
        rearm(log, true);
    }
}

static void on_idle(uv_idle_t *idle)
{
    (void)idle; /* its existence keeps the loop from sleeping */
}

static void fail_all(struct raftlog *log, int status, int pending_status)
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

static void on_transport_closed(void *data);

static void stop_transport(struct raftlog *log)
{
    if (log->transport_open) {
        log->transport_open = false;
        log->handles++;
        transport_close(log->transport, on_transport_closed, log);
    }
}

/* Something failed for good: everybody who waits is told, then the application. */
static void tell_broken(struct raftlog *log)
{
    log->broken_told = true;
    uv_timer_stop(&log->timer);
    uv_idle_stop(&log->idle);
    stop_transport(log);
    log->role = RAFTLOG_STOPPED;
    log->leader = 0;
    log->ready = false;
    fail_all(log, ASSENT_STOPPED, ASSENT_UNKNOWN_OUTCOME);
    log->app.role(log->app.data, RAFTLOG_STOPPED, log->term, 0, false);
    log->app.broken(log->app.data, log->broken != NULL ? log->broken : "out of memory");
}

static void turn(struct raftlog *log)
{
    if (log->turning || log->closing || log->broken_told) {
        return;
    }
    log->turning = true;
    const uint64_t until_us = log_now_us() + DRAIN_US;
    for (unsigned round = 0; round < TURN_ROUNDS && !log->stopped; round++) {
        drain(log, until_us);
        if (!log->stopped) {
            reads_flush(log);
            proposals_flush(log);
            snapshots_turn(log);
        }
        if (effects_empty(log) || log_now_us() >= until_us) {
            break;
        }
    }
    log->turning = false;
    if (log->closing) {
        return;
    }
    if (log->stopped) {
        tell_broken(log);
        return;
    }
    transport_flush(log->transport);
    rearm(log, false);
    bool more = !effects_empty(log) || log->open_group != NULL;
    if (more != (uv_is_active((uv_handle_t *)&log->idle) != 0)) {
        int rv = more ? uv_idle_start(&log->idle, on_idle) : uv_idle_stop(&log->idle);
        assert(rv == 0);
    }
}

static void on_prepare(uv_prepare_t *handle)
{
    turn(handle->data);
}

static void on_check(uv_check_t *handle)
{
    turn(handle->data);
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
    bool no_space = disk_free_bytes(log->disk) < log->config.min_free_bytes;
    if (no_space != log->no_space) {
        log->no_space = no_space;
        log_event(log, no_space ? 3 : 1, no_space ? "disk_full" : "disk_free",
                  "free_bytes=%llu min_free_bytes=%llu", (unsigned long long)disk_free_bytes(log->disk),
                  (unsigned long long)log->config.min_free_bytes);
    }
}

/* ---- what the core wants done ---- */

static int io_persist_vote(void *data, uint64_t term, uint64_t vote)
{
    struct raftlog *log = data;
    return disk_persist_vote(log->disk, term, vote);
}

static void io_append(void *data, uint64_t first, struct entry *const *entries, uint32_t n)
{
    struct raftlog *log = data;
    for (uint32_t i = 0; i < n; i++) {
        log->metrics.bytes_appended += entries[i]->size;
    }
    log->metrics.entries_appended += n;
    disk_append(log->disk, first, entries, n);
}

static void io_install(void *data, const struct snapshot_manifest *manifest)
{
    snapshots_install(data, manifest);
}

static void io_compact(void *data, uint64_t index)
{
    struct raftlog *log = data;
    disk_compact(log->disk, index);
}

static bool is_server(const struct raftlog *log, uint64_t id)
{
    for (uint32_t i = 0; i < log->servers_n; i++) {
        if (log->servers[i] == id) {
            return true;
        }
    }
    return false;
}

static void send_one(struct raftlog *log, uint64_t to, const char *address, const struct message *m)
{
    int rv = transport_send(log->transport, to, m);
    /* A node that does not know the cluster yet answers the leader that found it. */
    if (rv == ASSENT_UNREACHABLE && address != NULL && address[0] != '\0' && !is_server(log, to)) {
        transport_connect(log->transport, to, address);
    }
}

/* An AppendEntries of many large entries travels as several: to the follower they are consecutive messages.
 */
static void send_append(struct raftlog *log, uint64_t to, const char *address, const struct message *m)
{
    const struct raft_append_entries *whole = &m->raft.raft.append_entries;
    struct message part = *m;
    struct raft_append_entries *a = &part.raft.raft.append_entries;
    uint32_t done = 0;
    do {
        size_t bytes = 0;
        uint32_t n = 0;
        while (done + n < whole->n_entries && n < MESSAGE_ENTRIES_MAX &&
               (n == 0 || bytes + m->raft.entries[done + n]->size <= MESSAGE_APPEND_BYTES_TARGET)) {
            bytes += m->raft.entries[done + n]->size;
            n++;
        }
        if (done > 0) {
            a->prev_log_index = m->raft.entries[done - 1]->index;
            a->prev_log_term = m->raft.entries[done - 1]->term;
        }
        a->n_entries = n;
        part.raft.entries = m->raft.entries + done;
        send_one(log, to, address, &part);
        done += n;
    } while (done < whole->n_entries);
}

static void io_send(void *data, uint64_t to, const char *address, const struct message *m)
{
    struct raftlog *log = data;
    if (!log->transport_open) {
        return;
    }
    if (m->type == MESSAGE_RAFT && m->raft.raft.type == RAFT_APPEND_ENTRIES) {
        send_append(log, to, address, m);
    } else {
        send_one(log, to, address, m);
    }
}

static void io_stage(void *data, uint64_t from, const struct snapshot_manifest *manifest)
{
    snapshots_stage(data, from, manifest);
}

static bool io_newest_snapshot(void *data, struct snapshot_manifest *out)
{
    struct raftlog *log = data;
    if (log->snapshots.newest.present) {
        *out = log->snapshots.newest.m;
    }
    return log->snapshots.newest.present;
}

static void io_apply(void *data, struct entry *const *entries, uint32_t n)
{
    effects_add_entries(data, entries, n);
}

static bool io_admit(void *data, const struct entry *entry)
{
    return apply_admits(data, entry);
}

static void io_servers(void *data, const struct raft_configuration *configuration)
{
    struct raftlog *log = data;
    uint64_t before[ASSENT_NODES_MAX];
    uint32_t before_n = log->servers_n;
    memcpy(before, log->servers, sizeof before);
    assert(configuration->n <= ASSENT_NODES_MAX);
    log->servers_n = 0;
    for (unsigned i = 0; i < configuration->n; i++) {
        const struct raft_server *s = &configuration->servers[i];
        log->servers[log->servers_n++] = s->id;
        if (s->id != log->config.id && log->transport_open) {
            transport_connect(log->transport, s->id, s->address);
        }
    }
    for (uint32_t i = 0; i < before_n && log->transport_open; i++) {
        if (!is_server(log, before[i])) {
            transport_disconnect(log->transport, before[i]);
        }
    }
}

static void io_role(void *data, enum raftlog_role role, uint64_t term, uint64_t leader, bool ready)
{
    struct effect *e = effect_add(data, EFFECT_ROLE);
    e->role.role = role;
    e->role.term = term;
    e->role.leader = leader;
    e->role.ready = ready;
}

static void io_read_done(void *data, uint64_t read_id, int status, uint64_t index, uint64_t term, bool local)
{
    struct effect *e = effect_add(data, EFFECT_READ);
    e->status = status;
    e->read.group = read_id;
    e->read.index = index;
    e->read.term = term;
    e->read.local = local;
}

static void io_member_done(void *data, uint64_t member_id, int status, const char *detail)
{
    struct effect *e = effect_add(data, EFFECT_MEMBER);
    e->status = status;
    e->member.id = member_id;
    e->member.detail = detail != NULL ? strdup(detail) : NULL;
}

static void io_event(void *data, int level, const char *event, const char *details)
{
    struct raftlog *log = data;
    log->app.event(log->app.data, level, event, details);
}

struct core_io log_core_io(struct raftlog *log)
{
    return (struct core_io){.data = log,
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
                            .event = io_event};
}

/* ---- what the disk tells ---- */

static void on_appended(void *data, uint64_t index, uint64_t term)
{
    struct raftlog *log = data;
    if (!log->stopped) {
        log_check(log, core_appended(log->core, log_now_ms(), index, term));
    }
}

static void on_installed(void *data)
{
    struct raftlog *log = data;
    if (!log->stopped) {
        snapshots_log_replaced(log);
    }
}

static void on_recorded(void *data)
{
    struct raftlog *log = data;
    if (!log->stopped) {
        snapshots_recorded(log);
    }
}

static void on_disk_failed(void *data, int error, const char *what)
{
    struct raftlog *log = data;
    log_event(log, 3, "disk_failed", "what=\"%s\" error=\"%s\"", what, strerror(error));
    log_break(log,
              "the log on disk failed (%s: %s); nothing more is written, because a later sync may lie: "
              "repair the disk, then restart",
              what, strerror(error));
}

static void on_commit_us(void *data, uint64_t us, uint32_t entries, uint64_t bytes)
{
    struct raftlog *log = data;
    (void)entries;
    (void)bytes;
    log_histogram(&log->metrics.disk_commit, us);
    log->metrics.disk_commits++;
}

void log_disk_callbacks(struct raftlog *log, struct disk_callbacks *out)
{
    *out = (struct disk_callbacks){.data = log,
                                   .appended = on_appended,
                                   .installed = on_installed,
                                   .recorded = on_recorded,
                                   .failed = on_disk_failed,
                                   .commit_us = on_commit_us};
}

/* ---- what peers say ---- */

static void on_message(void *data, const struct message *m, const char *address)
{
    struct raftlog *log = data;
    if (log->stopped) {
        return;
    }
    switch (m->type) {
    case MESSAGE_RAFT:
    case MESSAGE_PROBE:
    case MESSAGE_PROBE_ACK:
    case MESSAGE_READ_INDEX:
    case MESSAGE_READ_INDEX_ACK:
        log_check(log, core_receive(log->core, log_now_ms(), m, address));
        break;
    case MESSAGE_PULL:
        snapshots_serve(log, m);
        break;
    case MESSAGE_CHUNK:
        snapshots_chunk(log, m);
        break;
    case MESSAGE_POST:
        log->app.post(log->app.data, m->from, m->post);
        break;
    case MESSAGE_HELLO:
    case MESSAGE_TYPE_END:
        break;
    }
}

static int on_adopt(void *data, uint64_t cluster_id, uint64_t incarnation)
{
    struct raftlog *log = data;
    if (log->stopped) {
        return ASSENT_STOPPED;
    }
    int rv = disk_adopt(log->disk, cluster_id, incarnation);
    if (rv == 0) {
        log->cluster_id = cluster_id;
        log->incarnation = incarnation;
        log_event(log, 1, "cluster_joined", "cluster=%016llx incarnation=%llu",
                  (unsigned long long)cluster_id, (unsigned long long)incarnation);
    }
    return rv;
}

static void on_link(void *data, uint64_t id, bool up)
{
    (void)data; /* the transport has logged it; a pull in progress asks again by itself */
    (void)id;
    (void)up;
}

void log_transport_callbacks(struct raftlog *log, struct transport_callbacks *out)
{
    *out = (struct transport_callbacks){
        .data = log, .message = on_message, .adopt = on_adopt, .link = on_link, .event = io_event};
}

/* ---- begin and end ---- */

#define HOUSEKEEPING_MS 100

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
        fail_all(log, ASSENT_SHUTDOWN, ASSENT_UNKNOWN_OUTCOME);
    }
    stop_transport(log);
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
