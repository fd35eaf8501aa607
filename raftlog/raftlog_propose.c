/* Commands into entries, and committed entries into the application.
 *
 * The commands of one turn of the loop share an entry.  While PIPELINE_ENTRIES of ours are between submit and
 * apply, further ones wait until one comes back or enough of them have gathered: an idle log adds no delay, a
 * busy one makes entries of many commands instead of many entries, and each entry costs a database write and
 * a message per follower. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "batch.h"
#include "raftlog_private.h"

/* One entry is in the disk's commit, one waits for the next commit, two are on their way: more in flight make
 * entries smaller, not commits faster. */
#define PIPELINE_ENTRIES 4
/* This much is a good entry by itself. */
#define PIPELINE_BYTES (64 * 1024)
/* Entries of one submit; the core's scratch arrays grow with it. */
#define SUBMIT_ENTRIES_MAX 64
/* Commands of one call of apply: one transaction of the application. */
#define APPLY_COMMANDS_MAX 8192

/* ---- lists ---- */

static void list_init(struct proposal_list *l)
{
    l->head = NULL;
    l->tail = &l->head;
}

static void list_push(struct proposal_list *l, struct raftlog_propose *req)
{
    req->next = NULL;
    *l->tail = req;
    l->tail = &req->next;
}

static struct raftlog_propose *list_pop(struct proposal_list *l)
{
    struct raftlog_propose *req = l->head;
    if (req != NULL) {
        l->head = req->next;
        if (l->head == NULL) {
            l->tail = &l->head;
        }
        req->next = NULL;
    }
    return req;
}

/* All of `from` to the end of `to`. */
static void list_move(struct proposal_list *to, struct proposal_list *from)
{
    if (from->head != NULL) {
        *to->tail = from->head;
        to->tail = from->tail;
        list_init(from);
    }
}

static void list_fail(struct proposal_list *l, int status)
{
    /* callbacks may propose again: take the list away first */
    struct proposal_list failed;
    list_init(&failed);
    list_move(&failed, l);
    for (struct raftlog_propose *req = list_pop(&failed); req != NULL; req = list_pop(&failed)) {
        req->cb(req, status, (struct assent_bytes){NULL, 0});
    }
}

/* ---- flights ---- */

static struct flight *flight_first(struct proposals *p)
{
    return p->flights_n > 0 ? &p->flights[p->flights_head] : NULL;
}

static bool flight_add(struct proposals *p, struct flight f)
{
    if (p->flights_n == p->flights_capacity) {
        uint32_t capacity = p->flights_capacity == 0 ? 64 : 2 * p->flights_capacity;
        struct flight *grown = malloc(capacity * sizeof *grown);
        if (grown == NULL) {
            return false;
        }
        for (uint32_t i = 0; i < p->flights_n; i++) {
            grown[i] = p->flights[(p->flights_head + i) & (p->flights_capacity - 1)];
        }
        free(p->flights);
        p->flights = grown;
        p->flights_head = 0;
        p->flights_capacity = capacity;
    }
    p->flights[(p->flights_head + p->flights_n++) & (p->flights_capacity - 1)] = f;
    p->flight_bytes += f.bytes;
    return true;
}

static void flight_pop(struct proposals *p)
{
    struct flight *f = flight_first(p);
    assert(f != NULL && p->flight_bytes >= f->bytes);
    p->flight_bytes -= f->bytes;
    p->flights_head = (p->flights_head + 1) & (p->flights_capacity - 1);
    p->flights_n--;
}

/* ---- staging ---- */

int proposals_init(struct proposals *p)
{
    list_init(&p->staged);
    list_init(&p->pending);
    p->batch = malloc(ASSENT_ENTRY_COMMANDS_MAX * sizeof *p->batch);
    return p->batch != NULL ? 0 : ASSENT_NOMEM;
}

void proposals_close(struct proposals *p)
{
    free(p->bytes);
    free(p->sizes);
    free(p->batch);
    free(p->flights);
    free(p->commands);
}

/* Room for one more command of `size` bytes. */
static bool stage_reserve(struct proposals *p, size_t size)
{
    if (p->n == p->capacity) {
        uint32_t capacity = p->capacity == 0 ? 1024 : 2 * p->capacity;
        uint32_t *grown = realloc(p->sizes, capacity * sizeof *grown);
        if (grown == NULL) {
            return false;
        }
        p->sizes = grown;
        p->capacity = capacity;
    }
    if (p->bytes_used + size > p->bytes_capacity) {
        size_t capacity = p->bytes_capacity == 0 ? 256 * 1024 : 2 * p->bytes_capacity;
        while (capacity < p->bytes_used + size) {
            capacity *= 2;
        }
        uint8_t *grown = realloc(p->bytes, capacity);
        if (grown == NULL) {
            return false;
        }
        p->bytes = grown;
        p->bytes_capacity = capacity;
    }
    return true;
}

int raftlog_propose(struct raftlog *log, struct raftlog_propose *req, struct assent_bytes command,
                    raftlog_propose_cb cb)
{
    struct proposals *p = &log->proposals;
    if (log->stopped) {
        return log->closing ? ASSENT_SHUTDOWN : ASSENT_STOPPED;
    }
    if (log->role != RAFTLOG_LEADER) {
        return ASSENT_NOT_LEADER;
    }
    if (!log->ready) {
        return ASSENT_NO_LEADER;
    }
    if (command.size == 0 || command.size > ASSENT_COMMAND_BYTES_MAX) {
        return ASSENT_TOO_LARGE;
    }
    if (log->no_space) {
        return ASSENT_NO_SPACE;
    }
    if (p->bytes_used + p->flight_bytes + command.size > log->config.queue_bytes_max) {
        return ASSENT_BUSY;
    }
    if (!stage_reserve(p, command.size)) {
        return ASSENT_NOMEM;
    }
    memcpy(p->bytes + p->bytes_used, command.base, command.size);
    p->bytes_used += command.size;
    p->sizes[p->n++] = (uint32_t)command.size;
    if (p->n == 1) {
        p->staged_us = log_now_us();
    }
    req->index = req->term = 0;
    req->slot = 0;
    req->cb = cb;
    list_push(&p->staged, req);
    log->metrics.commands_proposed++;
    return 0;
}

static void stage_clear(struct proposals *p)
{
    p->n = 0;
    p->bytes_used = 0;
}

/* ---- submitting ---- */

/* One entry from the commands at `*at`; advances.  NULL: out of memory. */
static struct entry *entry_fill(struct proposals *p, uint32_t *at, size_t *byte, int64_t stamp_us,
                                uint32_t *n)
{
    uint32_t bytes = 0;
    *n = 0;
    while (*at < p->n && *n < ASSENT_ENTRY_COMMANDS_MAX &&
           (*n == 0 || bytes + p->sizes[*at] <= ASSENT_ENTRY_BYTES_TARGET)) {
        p->batch[(*n)++] = (struct assent_bytes){p->bytes + *byte, p->sizes[*at]};
        bytes += p->sizes[*at];
        *byte += p->sizes[(*at)++];
    }
    struct entry *e = entry_new(ENTRY_COMMAND, batch_size(*n, bytes));
    if (e != NULL) {
        batch_encode(e, stamp_us, p->batch, *n);
    }
    return e;
}

/* The entries are in the log from `first`: their requests become pending. */
static void submitted(struct raftlog *log, uint64_t first, struct entry *const *entries,
                      const uint32_t *counts, uint32_t n)
{
    struct proposals *p = &log->proposals;
    const uint64_t term = core_term_at(log->core, first);
    /* An earlier leadership of ours may have left requests at these places: a leader in between cut their
     * entries off, but they may live on elsewhere. */
    struct proposal_list kept, cut;
    list_init(&kept);
    list_init(&cut);
    if (p->pending.head != NULL && p->pending.head->term != term) {
        for (struct raftlog_propose *req = list_pop(&p->pending); req != NULL; req = list_pop(&p->pending)) {
            list_push(req->index >= first ? &cut : &kept, req);
        }
        list_move(&p->pending, &kept);
    }
    for (uint32_t i = 0; i < n; i++) {
        struct flight f = {first + i, term, p->staged_us, entries[i]->size};
        (void)flight_add(p, f); /* out of memory: only accounting suffers */
        for (uint32_t slot = 0; slot < counts[i]; slot++) {
            struct raftlog_propose *req = list_pop(&p->staged);
            req->index = first + i;
            req->term = term;
            req->slot = slot;
            list_push(&p->pending, req);
        }
    }
    list_fail(&cut, ASSENT_UNKNOWN_OUTCOME);
}

/* What stays staged moves to the front. */
static void stage_shift(struct proposals *p, uint32_t commands, size_t bytes)
{
    memmove(p->bytes, p->bytes + bytes, p->bytes_used - bytes);
    memmove(p->sizes, p->sizes + commands, (p->n - commands) * sizeof *p->sizes);
    p->bytes_used -= bytes;
    p->n -= commands;
}

/* Submit up to SUBMIT_ENTRIES_MAX entries.  False: nothing went in. */
static bool submit_some(struct raftlog *log)
{
    struct proposals *p = &log->proposals;
    struct entry *entries[SUBMIT_ENTRIES_MAX], *given[SUBMIT_ENTRIES_MAX];
    uint32_t counts[SUBMIT_ENTRIES_MAX], n = 0, at = 0;
    size_t byte = 0;
    int64_t now_us = log_stamp_us(log);
    int64_t stamp_us = now_us > p->stamp_us ? now_us : p->stamp_us;
    int rv = 0;
    while (at < p->n && n < SUBMIT_ENTRIES_MAX && rv == 0) {
        entries[n] = entry_fill(p, &at, &byte, stamp_us, &counts[n]);
        rv = entries[n] != NULL ? 0 : ASSENT_NOMEM;
        n += rv == 0;
    }
    uint64_t first = 0;
    if (rv == 0) {
        for (uint32_t i = 0; i < n; i++) {
            given[i] = entry_ref(entries[i]);
        }
        rv = core_submit(log->core, log_now_ms(), given, n, &first);
        for (uint32_t i = 0; i < n && rv != 0; i++) {
            entry_unref(given[i]);
        }
    }
    if (rv == 0) {
        p->stamp_us = stamp_us;
        submitted(log, first, entries, counts, n);
        stage_shift(p, at, byte);
    } else if (rv != ASSENT_BUSY) { /* BUSY: they wait for the log to drain */
        stage_clear(p);
        list_fail(&p->staged, rv == ASSENT_NO_LEADER ? ASSENT_NOT_LEADER : rv);
        if (rv != ASSENT_NOT_LEADER && rv != ASSENT_NO_LEADER && rv != ASSENT_NOMEM) {
            log_check(log, rv);
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        entry_unref(entries[i]);
    }
    return rv == 0;
}

void proposals_flush(struct raftlog *log)
{
    struct proposals *p = &log->proposals;
    while (p->n > 0 && !log->stopped) {
        bool hold = p->flights_n >= PIPELINE_ENTRIES && p->bytes_used < PIPELINE_BYTES;
        if (hold || !submit_some(log)) {
            return;
        }
    }
}

/* ---- failing ---- */

void proposals_fail(struct raftlog *log, int staged_status, int pending_status)
{
    struct proposals *p = &log->proposals;
    stage_clear(p);
    while (p->flights_n > 0) {
        flight_pop(p);
    }
    struct proposal_list staged;
    list_init(&staged);
    list_move(&staged, &p->staged);
    list_fail(&p->pending, pending_status);
    list_fail(&staged, staged_status);
    p->lost_deadline_ms = 0;
}

/* An entry of a lost leadership often commits under the next leader: its requests wait for that a while, so
 * that an election turns few commands into unknown outcomes. */
void proposals_role(struct raftlog *log, bool lost)
{
    struct proposals *p = &log->proposals;
    if (!lost) {
        return;
    }
    stage_clear(p);
    list_fail(&p->staged, ASSENT_NOT_LEADER);
    while (p->flights_n > 0) {
        flight_pop(p);
    }
    if (p->pending.head != NULL && p->lost_deadline_ms == 0) {
        p->lost_deadline_ms = log_now_ms() + 2 * (uint64_t)log->config.election_ms;
    }
}

void proposals_housekeeping(struct raftlog *log, uint64_t now_ms)
{
    struct proposals *p = &log->proposals;
    if (p->lost_deadline_ms == 0 || now_ms < p->lost_deadline_ms) {
        return;
    }
    p->lost_deadline_ms = 0;
    /* those of a leadership regained since go on */
    struct proposal_list lost, rest;
    list_init(&lost);
    list_init(&rest);
    for (struct raftlog_propose *req = list_pop(&p->pending); req != NULL; req = list_pop(&p->pending)) {
        bool current = log->role == RAFTLOG_LEADER && req->term == log->term;
        list_push(current ? &rest : &lost, req);
    }
    list_move(&p->pending, &rest);
    list_fail(&lost, ASSENT_UNKNOWN_OUTCOME);
}

void proposals_installed(struct raftlog *log, uint64_t index)
{
    struct proposals *p = &log->proposals;
    struct proposal_list skipped;
    list_init(&skipped);
    while (p->pending.head != NULL && p->pending.head->index <= index) {
        list_push(&skipped, list_pop(&p->pending));
    }
    list_fail(&skipped, ASSENT_UNKNOWN_OUTCOME);
}

/* ---- applying ---- */

bool apply_admits(struct raftlog *log, const struct entry *e)
{
    struct batch b;
    if (e->type != ENTRY_COMMAND) {
        return true;
    }
    const uint64_t now_ms = log_now_ms();
    const bool tell = now_ms - log->skew_event_ms >= 1000;
    if (!batch_decode(e, &b)) {
        log->metrics.messages_refused++;
        if (tell) {
            log->skew_event_ms = now_ms;
            log_event(log, 3, "entry_refused", "index=%llu reason=\"not a batch of commands\"",
                      (unsigned long long)e->index);
        }
        return false;
    }
    const int64_t ahead_us = b.time_us - log_stamp_us(log);
    log->leader_ahead_us = ahead_us;
    if (ahead_us <= log->config.max_skew_us) {
        return true;
    }
    log->metrics.entries_refused_skew++;
    if (tell) {
        log->skew_event_ms = now_ms;
        log_event(log, 3, "entry_refused", "index=%llu reason=\"the leader's clock is ahead\" ahead_us=%lld",
                  (unsigned long long)e->index, (long long)ahead_us);
    }
    return false;
}

/* Requests that wait for `e`: onto `mine` when it is theirs; others that stood at or before its place failed.
 */
static bool claim(struct proposals *p, const struct entry *e, struct proposal_list *mine,
                  struct proposal_list *never, struct proposal_list *unknown)
{
    while (p->pending.head != NULL && p->pending.head->index < e->index) {
        list_push(unknown, list_pop(&p->pending));
    }
    bool found = false;
    while (p->pending.head != NULL && p->pending.head->index == e->index) {
        struct raftlog_propose *req = list_pop(&p->pending);
        found = found || req->term == e->term;
        list_push(req->term == e->term ? mine : never, req);
    }
    if (p->pending.head == NULL) {
        p->lost_deadline_ms = 0;
    }
    return found;
}

static void land(struct raftlog *log, const struct entry *e)
{
    struct proposals *p = &log->proposals;
    for (struct flight *f = flight_first(p); f != NULL && f->index <= e->index; f = flight_first(p)) {
        if (f->index == e->index && f->term == e->term) {
            log_histogram(&log->metrics.quorum_commit, log_now_us() - f->staged_us);
        }
        flight_pop(p);
    }
}

static bool commands_reserve(struct proposals *p, uint32_t n)
{
    if (n <= p->commands_capacity) {
        return true;
    }
    uint32_t capacity = p->commands_capacity == 0 ? 1024 : p->commands_capacity;
    while (capacity < n) {
        capacity *= 2;
    }
    struct raftlog_command *grown = realloc(p->commands, capacity * sizeof *grown);
    if (grown == NULL) {
        return false;
    }
    p->commands = grown;
    p->commands_capacity = capacity;
    return true;
}

/* The commands of `e` behind the `n` that are there; returns the new count. */
static uint32_t unpack(struct raftlog *log, const struct entry *e, const struct batch *b, uint32_t n,
                       bool awaited)
{
    struct proposals *p = &log->proposals;
    const uint8_t *at = b->commands;
    for (uint32_t slot = 0; slot < b->n; slot++) {
        uint32_t size = batch_command_size(b, slot);
        p->commands[n++] = (struct raftlog_command){.index = e->index,
                                                    .term = e->term,
                                                    .slot = slot,
                                                    .time_us = b->time_us,
                                                    .command = {at, size},
                                                    .awaited = awaited};
        at += size;
    }
    if (b->time_us > p->stamp_us) {
        p->stamp_us = b->time_us;
    }
    return n;
}

/* Tell those who waited for one of the `n` applied commands; `mine` is in the same order. */
static void answer(struct raftlog *log, struct proposal_list *mine, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct raftlog_command *c = &log->proposals.commands[i];
        if (c->awaited) {
            struct raftlog_propose *req = list_pop(mine);
            assert(req != NULL && req->index == c->index && req->slot == c->slot);
            req->cb(req, 0, c->result);
        }
    }
    assert(mine->head == NULL);
}

uint32_t apply_some(struct raftlog *log, struct entry *const *entries, uint32_t n)
{
    struct proposals *p = &log->proposals;
    struct proposal_list mine, never, unknown;
    uint32_t done = 0, commands_n = 0;
    list_init(&mine);
    list_init(&never);
    list_init(&unknown);
    while (done < n && commands_n < APPLY_COMMANDS_MAX) {
        const struct entry *e = entries[done];
        struct batch b = {0};
        assert(e->index == log->applied_index + 1 + done);
        if (e->type == ENTRY_COMMAND && !batch_decode(e, &b)) {
            log_break(log,
                      "entry %llu is committed but is not a batch of commands; this node's log is damaged or "
                      "of a newer version: wipe the node and add it as a new one",
                      (unsigned long long)e->index);
            break;
        }
        if (!commands_reserve(p, commands_n + b.n)) {
            log_break(log, "out of memory while applying entry %llu", (unsigned long long)e->index);
            break;
        }
        bool awaited = claim(p, e, &mine, &never, &unknown);
        commands_n = unpack(log, e, &b, commands_n, awaited);
        land(log, e);
        snapshots_applied(log, e);
        done++;
    }
    if (done > 0) {
        log->applied_index += done;
        log->app.apply(log->app.data, p->commands, commands_n, log->applied_index);
        log->metrics.commands_applied += commands_n;
        answer(log, &mine, commands_n);
    }
    list_fail(&never, ASSENT_NOT_LEADER);
    list_fail(&unknown, ASSENT_UNKNOWN_OUTCOME);
    return done;
}
