/* The log under crashes: what was acknowledged is there, what was asked for may be, nothing else is. */
#include "crash_images.h"

#include <assert.h>
#include <raft.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "assent/error.h"
#include "disk.h"
#include "disk_trace.h"

#define STATES_MAX  256
#define ENTRIES_MAX 256
#define CLUSTER     7
#define NODE        1
#define MAP_BYTES   (UINT64_C(1) << 30)
/* Two slots of the witness. */
#define WITNESS_BYTES 128

enum { NOTE_ASKED = 1, NOTE_ACKED = 2 };

/* What the log holds after each step of the workload. */
struct state {
    enum step { PRISTINE, MEMBER, VOTE, APPEND, RECORD, INSTALL } step;
    uint64_t term, vote, last, snapshot;
    uint64_t terms[ENTRIES_MAX]; /* by index */
};

static struct {
    struct disk *disk;
    uv_loop_t loop;
    uint8_t configuration_bytes[256];
    struct assent_bytes configuration;
    struct state states[STATES_MAX];
    uint32_t asked, acked, installs, records;
    uint32_t failed, told_after_failure;
    bool closed;
    char err[512], why[700];
} l;

/* ---- the workload ---- */

static struct entry *entry_of(uint64_t index, uint64_t term)
{
    uint32_t size = (uint32_t)(index * 131 + term * 17) % 6000; /* some take overflow pages */
    struct entry *e = entry_new(ENTRY_COMMAND, size);
    assert(e != NULL);
    for (uint32_t i = 0; i < size; i++)
        e->payload[i] = (uint8_t)(index * 31 + term * 7 + i);
    entry_seal(e, index, term);
    return e;
}

static struct state *ask(enum step step)
{
    assert(l.asked + 1 < STATES_MAX);
    struct state *s = &l.states[l.asked + 1];
    *s = l.states[l.asked];
    s->step = step;
    trace_note(NOTE_ASKED, ++l.asked);
    return s;
}

static void acked(uint32_t state)
{
    l.told_after_failure += l.failed;
    if (state > l.acked) {
        l.acked = state;
        trace_note(NOTE_ACKED, state);
    }
}

static void on_appended(void *data, uint64_t index, uint64_t term)
{
    (void)data;
    for (uint32_t i = l.asked; i > l.acked; i--)
        if (l.states[i].step == APPEND && l.states[i].last == index && l.states[i].terms[index] == term) {
            acked(i);
            return;
        }
}

/* The `n`-th of its kind. */
static void nth_done(enum step step, uint32_t n)
{
    for (uint32_t i = 1; i <= l.asked; i++)
        if (l.states[i].step == step && --n == 0)
            acked(i);
}

static void on_installed(void *data)
{
    (void)data;
    nth_done(INSTALL, ++l.installs);
}

static void on_recorded(void *data)
{
    (void)data;
    nth_done(RECORD, ++l.records);
}

static void on_failed(void *data, int error, const char *what)
{
    (void)data;
    (void)what;
    assert(error != 0);
    l.failed++;
}

static void on_closed(void *data)
{
    (void)data;
    l.closed = true;
}

static bool start(const char *dir)
{
    static const struct disk_callbacks callbacks = {
        .appended = on_appended, .installed = on_installed, .recorded = on_recorded, .failed = on_failed};
    struct disk_config config = {.dir = dir, .map_bytes = MAP_BYTES, .presize_bytes = 256 * 1024};
    if (disk_open(&l.disk, &config, l.err, sizeof l.err) != 0)
        return false;
    if (l.asked == 0) {
        struct state *s = ask(MEMBER);
        s->term = s->last = s->terms[1] = 1;
    }
    if (disk_bootstrap(l.disk, CLUSTER, NODE, 1, &l.configuration, l.err, sizeof l.err) != 0) {
        disk_close(l.disk, NULL, NULL);
        return false;
    }
    acked(1);
    int rc = uv_loop_init(&l.loop);
    assert(rc == 0);
    rc = disk_start(l.disk, &l.loop, &callbacks);
    assert(rc == 0);
    return true;
}

static void stop(void)
{
    l.closed = false;
    disk_close(l.disk, on_closed, NULL);
    uv_run(&l.loop, UV_RUN_DEFAULT);
    assert(l.closed);
    int rc = uv_loop_close(&l.loop);
    assert(rc == 0);
    l.disk = NULL;
}

static void vote(uint64_t term, uint64_t for_whom)
{
    struct state *s = ask(VOTE);
    s->term = term;
    s->vote = for_whom;
    uint32_t mine = l.asked;
    if (l.failed == 0 && disk_persist_vote(l.disk, term, for_whom) == 0)
        acked(mine);
}

static void append(uint64_t first, uint32_t n)
{
    struct entry *entries[64];
    struct state *s = ask(APPEND);
    assert(n <= 64 && first + n < ENTRIES_MAX);
    for (uint32_t i = 0; i < n; i++) {
        entries[i] = entry_of(first + i, s->term);
        s->terms[first + i] = s->term;
    }
    s->last = first + n - 1;
    disk_append(l.disk, first, entries, n);
    for (uint32_t i = 0; i < n; i++)
        entry_unref(entries[i]);
}

static struct snapshot_manifest manifest_of(uint64_t index, uint64_t term)
{
    return (struct snapshot_manifest){.index = index,
                                      .term = term,
                                      .configuration_index = 1,
                                      .configuration = l.configuration,
                                      .size = 1000,
                                      .digest = index * 7,
                                      .crc = 99,
                                      .chunk_size = 4096};
}

static void record(uint64_t index)
{
    struct state *s = ask(RECORD);
    struct snapshot_manifest m = manifest_of(index, s->terms[index]);
    s->snapshot = index;
    disk_record(l.disk, &m);
}

static void install(uint64_t index, uint64_t term)
{
    struct state *s = ask(INSTALL);
    struct snapshot_manifest m = manifest_of(index, term);
    s->snapshot = s->last = index;
    s->terms[index] = term;
    disk_install(l.disk, &m);
}

/* Everything that was asked for is acknowledged, or writing has ended. */
static void settle(void)
{
    while (l.acked < l.asked && l.failed == 0)
        uv_run(&l.loop, UV_RUN_ONCE);
}

static void configure(void)
{
    struct raft_configuration configuration;
    struct raft_buffer encoded;
    raft_configuration_init(&configuration);
    int rc = raft_configuration_add(&configuration, NODE, "127.0.0.1:9081", RAFT_VOTER);
    assert(rc == 0);
    rc = raft_configuration_encode(&configuration, &encoded);
    assert(rc == 0 && encoded.len <= sizeof l.configuration_bytes);
    memcpy(l.configuration_bytes, encoded.base, encoded.len);
    l.configuration = (struct assent_bytes){l.configuration_bytes, encoded.len};
    raft_free(encoded.base);
    raft_configuration_close(&configuration);
}

static bool run(const char *dir)
{
    memset(&l, 0, sizeof l);
    configure();
    trace_mapped("log/witness", WITNESS_BYTES);
    if (!start(dir))
        return false;
    vote(2, 1);
    append(2, 3);
    settle();
    for (uint64_t i = 5; i < 25; i += 2) /* what comes while one commit runs goes into the next */
        append(i, 2);
    settle();
    vote(3, 0);
    append(20, 3); /* takes the place of 20 to 24 */
    vote(4, 2);
    settle();
    append(23, 20);
    record(30);
    settle();
    disk_compact(l.disk, 25);
    append(43, 1);
    settle();
    stop();
    if (l.failed > 0 || !start(dir)) /* a clean stop in between */
        return false;
    vote(5, 3);
    append(44, 5);
    record(44);
    disk_compact(l.disk, 40);
    append(49, 8);
    settle();
    vote(6, 2);
    install(70, 6);
    append(71, 2);
    settle();
    append(73, 30);
    append(90, 1); /* and back again, in one commit with what it replaces */
    settle();
    stop();
    return l.failed == 0;
}

/* ---- the judge ---- */

struct found {
    uint64_t first, last, terms[ENTRIES_MAX];
    bool foreign; /* an entry nobody wrote */
};

static int on_entry(void *data, struct entry *e)
{
    struct found *f = data;
    if (e->index >= ENTRIES_MAX) {
        f->foreign = true;
    } else if (e->index > 1) {
        struct entry *wanted = entry_of(e->index, e->term);
        f->foreign |= e->crc != wanted->crc || e->size != wanted->size;
        entry_unref(wanted);
    }
    if (e->index < ENTRIES_MAX) {
        f->first = f->first == 0 ? e->index : f->first;
        f->last = e->index;
        f->terms[e->index] = e->term;
    }
    entry_unref(e);
    return 0;
}

static bool matches(const struct state *s, const struct disk_state *d, const struct found *f)
{
    if (s->step == PRISTINE)
        return d->pristine;
    uint64_t snapshot = d->has_snapshot ? d->snapshot.index : 0, last = f->last != 0 ? f->last : snapshot;
    if (d->pristine || d->term != s->term || d->vote != s->vote || snapshot != s->snapshot || last != s->last)
        return false;
    if (d->cluster_id != CLUSTER || d->node_id != NODE)
        return false;
    if (f->first != 0 && f->first > snapshot + 1)
        return false; /* dropped without a snapshot that holds it */
    for (uint64_t i = f->first; i != 0 && i <= f->last; i++)
        if (f->terms[i] != s->terms[i])
            return false;
    return true;
}

/* The opened log takes another entry, and a stop and a start later has it. */
static const char *goes_on(const char *dir, const struct disk_state *state)
{
    struct disk_config config = {.dir = dir, .map_bytes = MAP_BYTES};
    uint64_t next = state->last_index + 1, term = state->term;
    static const struct disk_callbacks none;
    struct entry *e = entry_of(next, term);
    bool pristine = state->pristine;
    if (pristine) {
        entry_unref(e);
        disk_close(l.disk, NULL, NULL);
        l.disk = NULL;
        return NULL;
    }
    int rc = uv_loop_init(&l.loop);
    assert(rc == 0);
    rc = disk_start(l.disk, &l.loop, &none);
    assert(rc == 0);
    disk_append(l.disk, next, &e, 1);
    entry_unref(e);
    stop();
    rc = disk_open(&l.disk, &config, l.err, sizeof l.err);
    if (rc != 0)
        return "the log that was opened and written once more is refused";
    bool there =
        disk_state(l.disk)->last_index == next && disk_load(l.disk, NULL, NULL, l.err, sizeof l.err) == 0;
    disk_close(l.disk, NULL, NULL);
    l.disk = NULL;
    return there ? NULL : "an entry written after the crash is lost";
}

static const char *judge(const char *dir, uint64_t point)
{
    struct disk_config config = {.dir = dir, .map_bytes = MAP_BYTES};
    struct found f = {0};
    uint32_t from = 0, to = 0;
    for (uint64_t i = 0; i < point && i < trace_count(); i++) {
        const struct trace_event *e = trace_at(i);
        if (e->type == TRACE_NOTE && e->note == NOTE_ACKED)
            from = (uint32_t)e->number;
        if (e->type == TRACE_NOTE && e->note == NOTE_ASKED)
            to = (uint32_t)e->number;
    }
    int rc = disk_open(&l.disk, &config, l.err, sizeof l.err);
    if (rc != 0) {
        snprintf(l.why, sizeof l.why, "refused, %s: %.500s", assent_error_name(rc), l.err);
        return l.why;
    }
    rc = disk_load(l.disk, on_entry, &f, l.err, sizeof l.err);
    const struct disk_state *d = disk_state(l.disk);
    const char *why = NULL;
    bool found = false;
    for (uint32_t i = from; rc == 0 && !found && i <= to; i++)
        found = matches(&l.states[i], d, &f);
    if (rc != 0) {
        snprintf(l.why, sizeof l.why, "its load says %s: %.500s", assent_error_name(rc), l.err);
        why = l.why;
    } else if (f.foreign) {
        why = "it holds an entry that nobody wrote";
    } else if (!found) {
        snprintf(l.why, sizeof l.why,
                 "term %llu, vote %llu, snapshot %llu, entries %llu to %llu: none of the states %u "
                 "(acknowledged) to %u "
                 "(asked for); acknowledged was term %llu, vote %llu, last %llu",
                 (unsigned long long)d->term, (unsigned long long)d->vote,
                 (unsigned long long)(d->has_snapshot ? d->snapshot.index : 0), (unsigned long long)f.first,
                 (unsigned long long)f.last, from, to, (unsigned long long)l.states[from].term,
                 (unsigned long long)l.states[from].vote, (unsigned long long)l.states[from].last);
        why = l.why;
    }
    if (why == NULL && point % 5 == 0)
        return goes_on(dir, d);
    disk_close(l.disk, NULL, NULL);
    l.disk = NULL;
    return why;
}

const struct image_judge log_judge = {"log", run, judge};

uint32_t log_failures_told(void)
{
    return l.failed;
}

uint32_t log_told_after_failure(void)
{
    return l.told_after_failure;
}
