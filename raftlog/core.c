/* The consensus driver: life cycle, events in, status.  What a step of the library asks for is core_update.c.
 */
#include "core.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "assent/error.h"
#include "core_state.h"
#include "mark.h"

static_assert(RAFT_VERSION_NUMBER == 2201, "the guards are written for libraft 0.22.1 exactly");
static_assert((int)ENTRY_COMMAND == (int)RAFT_COMMAND && (int)ENTRY_BARRIER == (int)RAFT_BARRIER &&
                  (int)ENTRY_CHANGE == (int)RAFT_CHANGE,
              "entry types are the library's");

/* Rounds and stall of the library's own catch-up; membership.c repeats one that was given up. */
#define CATCH_UP_ROUNDS   20
#define CATCH_UP_ROUND_MS (30 * 1000)

int core_new(struct core **core, const struct core_config *config, const struct core_io *io)
{
    struct core *c = calloc(1, sizeof *c);
    if (c == NULL) {
        return ASSENT_NOMEM;
    }
    assert(config->id > 0 && config->heartbeat_ms > 0 && config->election_ms >= config->heartbeat_ms);
    assert(config->inflight_entries > 0 && config->inflight_entries <= MESSAGE_ENTRIES_MAX);
    c->config = *config;
    c->io = *io;
    c->guard.off = config->guards_off;
    snprintf(c->address, sizeof c->address, "%s", config->address);
    c->config.address = c->address;
    memlog_init(&c->log);
    if (raft_init(&c->raft, NULL, NULL, config->id, c->address) != 0) {
        free(c);
        return ASSENT_NOMEM;
    }
    raft_seed(&c->raft, config->seed); /* before the election timeout, which draws from it */
    raft_set_election_timeout(&c->raft, config->election_ms);
    raft_set_heartbeat_timeout(&c->raft, config->heartbeat_ms);
    raft_set_pre_vote(&c->raft, config->pre_vote);
    raft_set_max_inflight_entries(&c->raft, config->inflight_entries);
    /* An InstallSnapshot carries a manifest only, so repeating it is cheap; and the library, once it has a
     * newer snapshot than the one it offered, ignores rejections until this time has passed. */
    raft_set_install_snapshot_timeout(&c->raft, 2 * config->election_ms);
    raft_set_max_catch_up_rounds(&c->raft, CATCH_UP_ROUNDS);
    raft_set_max_catch_up_round_duration(&c->raft, CATCH_UP_ROUND_MS);
    read_index_init(&c->reads, config->seed);
    c->state = RAFT_FOLLOWER;
    *core = c;
    return 0;
}

void core_drop_offer(struct core *c)
{
    free((void *)(uintptr_t)c->offer.manifest.configuration.base);
    memset(&c->offer, 0, sizeof c->offer);
}

void core_close(struct core *c)
{
    if (c == NULL) {
        return;
    }
    raft_close(&c->raft, NULL);
    memlog_close(&c->log);
    guard_writes_close(&c->writes);
    entry_unref(c->change.entry);
    read_index_close(&c->reads);
    core_drop_offer(c);
    free(c->scratch);
    free(c->entries);
    free(c);
}

/* Every public call begins here: time never runs backwards for the library. */
bool core_enter(struct core *c, uint64_t now_ms)
{
    assert(c->running || c->stopped);
    if (now_ms > c->now_ms) {
        c->now_ms = now_ms;
    }
    return !c->stopped;
}

/* ---- start */

/* The configuration of a manifest as an entry that holds its bytes. */
static struct entry *configuration_entry(const struct snapshot_manifest *m)
{
    struct entry *e = entry_new(ENTRY_CHANGE, (uint32_t)m->configuration.size);
    if (e != NULL) {
        memcpy(e->payload, m->configuration.base, m->configuration.size);
        entry_seal(e, m->configuration_index, 0);
    }
    return e;
}

static int note_snapshot_change(struct core *c, const struct snapshot_manifest *m)
{
    if (c->change.entry != NULL && c->change.index == m->configuration_index) {
        return 0;
    }
    struct entry *e = configuration_entry(m);
    if (e == NULL) {
        return core_stop(c, ASSENT_NOMEM, "out_of_memory", "noting the configuration of a snapshot");
    }
    int rv = core_note_change(c, m->configuration_index, e, false);
    entry_unref(e);
    return rv;
}

static int metadata_of(const struct snapshot_manifest *m, struct raft_snapshot_metadata *out)
{
    *out = (struct raft_snapshot_metadata){
        .index = m->index, .term = m->term, .configuration_index = m->configuration_index};
    return core_decode_configuration(m->configuration.base, m->configuration.size, &out->configuration);
}

/* Would this node lead by itself as soon as it starts? */
static bool starts_alone(struct core *c, const struct snapshot_manifest *snapshot,
                         struct entry *const *entries, uint32_t n)
{
    const void *base = snapshot != NULL ? snapshot->configuration.base : NULL;
    size_t size = snapshot != NULL ? snapshot->configuration.size : 0;
    for (uint32_t i = n; i > 0; i--) {
        const struct entry *e = entries[i - 1];
        if (e->type == ENTRY_CHANGE && (snapshot == NULL || e->index > snapshot->configuration_index)) {
            base = e->payload;
            size = e->size;
            break;
        }
    }
    struct raft_configuration conf;
    if (base == NULL || core_decode_configuration(base, size, &conf) != 0) {
        return false;
    }
    bool alone = guard_sole_voter(&c->guard, &conf, c->config.id);
    raft_configuration_close(&conf);
    return alone;
}

/* Hand the library what the disk holds.  Its arrays come from the library's heap because it frees them when
 * it fails; on success they are ours again, and so are the payloads, which stay in our entries. */
static int step_start(struct core *c, uint64_t term, uint64_t vote, const struct snapshot_manifest *snapshot,
                      uint64_t start_index, struct entry *const *entries, uint32_t n)
{
    struct raft_event event = {.type = RAFT_START};
    struct raft_snapshot_metadata metadata;
    struct raft_entry *array = NULL;
    void *batch = NULL;
    int refusal = 0;
    if (snapshot != NULL && metadata_of(snapshot, &metadata) != 0) {
        return ASSENT_CORRUPT;
    }
    if (n > 0) {
        array = raft_calloc(n, sizeof *array);
        batch = raft_malloc(1);
        if (array == NULL || batch == NULL) {
            raft_free(array);
            raft_free(batch);
            return ASSENT_NOMEM;
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        array[i] = (struct raft_entry){.term = entries[i]->term,
                                       .type = (enum raft_entry_type)entries[i]->type,
                                       .buf = {entries[i]->payload, entries[i]->size},
                                       .batch = batch};
    }
    event.start.term = term;
    event.start.voted_for = vote;
    event.start.metadata = snapshot != NULL ? &metadata : NULL;
    event.start.start_index = start_index;
    event.start.entries = array;
    event.start.n_entries = n;
    int rv = core_step(c, &event, &refusal);
    if (refusal != 0) {
        return ASSENT_CORRUPT;
    }
    raft_free(array);
    raft_free(batch);
    return rv;
}

/* What is applied already is committed: the library hears of those changes too. */
static int confirm_applied_changes(struct core *c)
{
    for (uint64_t i = c->log.base + 1; i <= c->applied && !c->stopped; i++) {
        struct entry *e = memlog_get(&c->log, i);
        if (e->type != ENTRY_CHANGE || i <= c->change.index) {
            continue;
        }
        struct raft_event event = {.type = RAFT_CONFIGURATION};
        event.configuration.index = i;
        if (core_note_change(c, i, e, true) != 0 ||
            core_decode_configuration(e->payload, e->size, &event.configuration.conf) != 0) {
            return ASSENT_CORRUPT;
        }
        (void)core_step(c, &event, NULL);
    }
    return c->stopped ? ASSENT_STOPPED : 0;
}

int core_start(struct core *c, uint64_t now_ms, uint64_t term, uint64_t vote,
               const struct snapshot_manifest *snapshot, uint64_t start_index, struct entry *const *entries,
               uint32_t n, uint64_t applied)
{
    assert(!c->running && start_index >= 1);
    uint64_t last = n > 0 ? start_index + n - 1 : snapshot != NULL ? snapshot->index : 0;
    if (applied > last ||
        (snapshot != NULL && (start_index > snapshot->index + 1 || last < snapshot->index)) ||
        (snapshot == NULL && (start_index != 1 || (n > 0 && entries[0]->type != ENTRY_CHANGE)))) {
        core_event(c, 3, "log_incomplete", "start=%llu last=%llu applied=%llu",
                   (unsigned long long)start_index, (unsigned long long)last, (unsigned long long)applied);
        return ASSENT_CORRUPT;
    }
    c->running = true;
    c->now_ms = now_ms;
    if (starts_alone(c, snapshot, entries, n)) {
        term++;
        vote = c->config.id;
        if (c->io.persist_vote(c->io.data, term, vote) != 0) {
            return ASSENT_IO;
        }
    }
    c->term = term;
    c->applied = snapshot != NULL && applied < snapshot->index ? snapshot->index : applied;
    bool inside = snapshot != NULL && n == 0;
    memlog_reset(&c->log, start_index - 1,
                 inside || (snapshot != NULL && start_index == snapshot->index + 1) ? snapshot->term : 0);
    for (uint32_t i = 0; i < n; i++) {
        if (entries[i]->index != start_index + i) {
            return ASSENT_CORRUPT;
        }
        if (memlog_append(&c->log, entry_ref(entries[i])) != 0) {
            entry_unref(entries[i]);
            return ASSENT_NOMEM;
        }
    }
    int rv = snapshot != NULL ? note_snapshot_change(c, snapshot) : 0;
    if (rv == 0) {
        rv = step_start(c, term, vote, snapshot, start_index, entries, n);
    }
    if (rv == 0) {
        rv = confirm_applied_changes(c);
    }
    return rv != 0 ? rv : core_settle(c);
}

/* ---- time */

/* A follower that still has a backlog to apply could lead but not serve: it lets the others campaign first,
 * for as long as several of their attempts take. */
#define LAG_ELECTIONS 4

static uint64_t raft_deadline(const struct core *c)
{
    uint64_t deadline = raft_timeout(&c->raft);
    if (c->raft.state == RAFT_FOLLOWER && c->lags) {
        return deadline + LAG_ELECTIONS * (uint64_t)c->config.election_ms;
    }
    if (c->raft.state != RAFT_LEADER) {
        return deadline;
    }
    uint64_t newest = 0;
    for (uint32_t i = 0; i < c->peers_n; i++) {
        newest = c->peers[i].sent_ms > newest ? c->peers[i].sent_ms : newest;
    }
    return guard_leader_deadline(&c->guard, deadline, newest, c->fired_ms, c->config.heartbeat_ms);
}

uint64_t core_deadline_ms(const struct core *c)
{
    if (c->stopped || !c->running) {
        return UINT64_MAX;
    }
    if (core_apply_can(c) || c->barrier_wanted) {
        return c->now_ms;
    }
    uint64_t deadline = raft_deadline(c);
    uint64_t member = membership_deadline(c);
    uint64_t reads = read_index_deadline(c);
    deadline = member < deadline ? member : deadline;
    return reads < deadline ? reads : deadline;
}

/* A sole voter whose election timer fires would lead in the term it is in, which it or another may have led
 * before.  It votes for itself in the next term first, through the library's own front door. */
static int elect_self(struct core *c)
{
    struct raft_message m = {
        .type = RAFT_REQUEST_VOTE, .server_id = c->config.id, .server_address = c->address};
    uint64_t stored = c->raft.last_stored;
    m.request_vote = (struct raft_request_vote){
        .version = 2,
        .term = c->raft.current_term + 1,
        .candidate_id = c->config.id,
        .last_log_index = stored,
        .last_log_term = stored == 0 ? 0 : core_term_at(c, stored),
        .disrupt_leader = true,
        .pre_vote = false,
    };
    struct raft_event event = {.type = RAFT_RECEIVE};
    event.receive.message = &m;
    int rv = core_step(c, &event, NULL);
    c->elected_self = c->raft.current_term;
    return rv;
}

static int fire_timeout(struct core *c)
{
    struct raft_event event = {.type = RAFT_TIMEOUT};
    if (c->raft.state == RAFT_FOLLOWER && c->raft.current_term > 0 &&
        c->elected_self != c->raft.current_term && !c->raft.snapshot.installing &&
        c->raft.last_stored == memlog_last(&c->log) &&
        guard_sole_voter(&c->guard, &c->raft.configuration, c->config.id)) {
        return elect_self(c);
    }
    if (c->raft.state == RAFT_LEADER) {
        c->fired_ms = c->now_ms;
    }
    return core_step(c, &event, NULL);
}

int core_tick(struct core *c, uint64_t now_ms)
{
    if (!core_enter(c, now_ms)) {
        return ASSENT_STOPPED;
    }
    if (c->now_ms >= raft_deadline(c)) {
        (void)fire_timeout(c);
    }
    return core_settle(c);
}

/* ---- disk and snapshots */

int core_appended(struct core *c, uint64_t now_ms, uint64_t index, uint64_t term)
{
    if (!core_enter(c, now_ms)) {
        return ASSENT_STOPPED;
    }
    uint64_t durable = guard_writes_done(&c->guard, &c->writes, index, term);
    core_release_held(c);
    if (durable > c->raft.last_stored && !c->raft.snapshot.installing) {
        struct raft_event event = {.type = RAFT_PERSISTED_ENTRIES};
        event.persisted_entries.index = durable;
        (void)core_step(c, &event, NULL);
    }
    return core_settle(c);
}

int core_installed(struct core *c, uint64_t now_ms, const struct snapshot_manifest *manifest)
{
    if (!core_enter(c, now_ms)) {
        return ASSENT_STOPPED;
    }
    assert(c->raft.snapshot.installing && manifest->index == c->offer.manifest.index);
    struct raft_event event = {.type = RAFT_PERSISTED_SNAPSHOT};
    if (note_snapshot_change(c, manifest) != 0 ||
        metadata_of(manifest, &event.persisted_snapshot.metadata) != 0) {
        return core_stop(c, ASSENT_CORRUPT, "configuration_undecodable",
                         "configuration of an installed snapshot");
    }
    event.persisted_snapshot.offset = 0;
    event.persisted_snapshot.last = true;
    c->applied = manifest->index;
    c->snapshots_installed++;
    guard_writes_clear(&c->writes);
    (void)core_step(c, &event, NULL);
    core_drop_offer(c);
    return core_settle(c);
}

/* How many entries up to `index` stay for slow followers: they are held in memory too, and loaded at a start.
 */
static uint32_t trailing(const struct core *c, uint64_t index)
{
    uint64_t bytes = 0;
    uint32_t n = 0;
    for (uint64_t i = index; c->config.trailing_bytes != 0 && i > c->log.base; i--) {
        bytes += memlog_get(&c->log, i)->size;
        if (bytes > c->config.trailing_bytes || n == c->config.trailing) {
            return n;
        }
        n++;
    }
    return c->config.trailing;
}

int core_snapshot_taken(struct core *c, uint64_t now_ms, const struct snapshot_manifest *manifest)
{
    if (!core_enter(c, now_ms)) {
        return ASSENT_STOPPED;
    }
    if (!guard_own_snapshot(&c->guard, &c->raft, manifest->index)) {
        MARK(OWN_SNAPSHOT_LATE);
        return core_settle(c);
    }
    struct raft_event event = {.type = RAFT_SNAPSHOT};
    if (metadata_of(manifest, &event.snapshot.metadata) != 0) {
        return core_stop(c, ASSENT_CORRUPT, "configuration_undecodable", "configuration of our own snapshot");
    }
    event.snapshot.trailing = trailing(c, manifest->index);
    (void)core_step(c, &event, NULL);
    uint64_t base = c->raft.trail.offset;
    if (!c->stopped && base > c->log.base) {
        memlog_compact(&c->log, base);
        c->io.compact(c->io.data, base);
    }
    assert(c->stopped || c->raft.trail.offset == c->log.base);
    return core_settle(c);
}

/* ---- proposals, reads, membership */

int core_submit(struct core *c, uint64_t now_ms, struct entry **entries, uint32_t n, uint64_t *first)
{
    int refusal = 0;
    assert(n > 0);
    if (!core_enter(c, now_ms)) {
        return ASSENT_STOPPED;
    }
    if (!core_is_leader(c)) {
        return ASSENT_NOT_LEADER;
    }
    MARK_IF(PAUSED_FOR_TRANSFER, core_is_ready(c) && membership_pauses(c));
    if (!core_is_ready(c) || membership_pauses(c)) {
        return ASSENT_NO_LEADER;
    }
    if (!guard_submit(&c->guard, &c->raft, n, c->config.uncommitted_entries_max)) {
        return ASSENT_BUSY;
    }
    *first = raft_last_index(&c->raft) + 1;
    if (core_submit_entries(c, entries, n, &refusal) != 0) {
        return ASSENT_STOPPED;
    }
    if (refusal != 0) {
        return refusal == RAFT_NOTLEADER ? ASSENT_NO_LEADER : ASSENT_BUSY;
    }
    return core_settle(c);
}

int core_read(struct core *c, uint64_t now_ms, uint64_t read_id)
{
    if (!core_enter(c, now_ms)) {
        return ASSENT_STOPPED;
    }
    return read_index_begin(c, read_id);
}

int core_member(struct core *c, uint64_t now_ms, uint64_t member_id, enum raftlog_change change, uint64_t id,
                const char *address)
{
    if (!core_enter(c, now_ms)) {
        return ASSENT_STOPPED;
    }
    return membership_begin(c, member_id, change, id, address);
}

/* ---- looking */

bool core_leader_commit(const struct core *c, uint64_t *commit)
{
    uint64_t own = raft_commit_index(&c->raft);
    *commit = c->heard_commit > own ? c->heard_commit : own;
    return !c->stopped && core_leader(c) != 0 && core_term_at(c, own) == c->raft.current_term;
}

void core_status(const struct core *c, struct raftlog_status *out)
{
    const struct raft *r = &c->raft;
    out->role = c->stopped                   ? RAFTLOG_STOPPED
                : r->state == RAFT_LEADER    ? RAFTLOG_LEADER
                : r->state == RAFT_CANDIDATE ? RAFTLOG_CANDIDATE
                                             : RAFTLOG_FOLLOWER;
    out->ready = !c->stopped && core_is_ready(c);
    out->id = c->config.id;
    out->term = r->current_term;
    out->leader = core_leader(c);
    out->first_index = c->log.base + 1;
    out->last_index = memlog_last(&c->log);
    out->stored_index = r->last_stored;
    out->commit_index = raft_commit_index(r);
    out->applied_index = c->applied;
    out->snapshot_index = r->trail.snapshot.index;
    out->configuration_index = r->configuration_uncommitted_index != 0 ? r->configuration_uncommitted_index
                                                                       : r->configuration_committed_index;
    out->installing = r->snapshot.installing;
    out->servers_n = r->configuration.n;
}

const struct raft_configuration *core_configuration(const struct core *c)
{
    return &c->raft.configuration;
}

uint64_t core_match_index(const struct core *c, uint64_t id)
{
    raft_index match = 0;
    return raft_match_index(&c->raft, id, &match) == 0 ? match : 0;
}

struct assent_bytes core_applied_configuration(const struct core *c, uint64_t *index)
{
    *index = c->change.index;
    if (c->change.entry == NULL) {
        return (struct assent_bytes){NULL, 0};
    }
    return (struct assent_bytes){c->change.entry->payload, c->change.entry->size};
}

struct entry *core_entry(const struct core *c, uint64_t index)
{
    return memlog_get(&c->log, index);
}

uint64_t core_term_at(const struct core *c, uint64_t index)
{
    if (index != 0 && index == c->raft.trail.snapshot.index) {
        return c->raft.trail.snapshot.term;
    }
    return memlog_term(&c->log, index);
}

void core_metrics(const struct core *c, struct raftlog_metrics *m)
{
    for (uint32_t i = 0; i < GUARD_NR; i++) {
        m->guard[i] += c->guard.count[i];
    }
    m->elections_started += c->elections;
    m->leader_changes += c->leader_changes;
    m->reads += c->reads.reads;
    m->read_rounds += c->reads.rounds;
    m->snapshots_installed += c->snapshots_installed;
    m->entries_refused_skew += c->entries_refused;
}
