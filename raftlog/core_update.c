/* One raft_step() and everything its update asks for, in the one order that is safe.
 *
 *   term and vote durable -> entries into the log and the disk's queue -> snapshot -> messages -> role
 *   -> (settle) own barrier -> apply -> membership -> reads -> tell
 *
 * What apply causes (RAFT_CONFIGURATION and the like) is stepped only after the update has been consumed,
 * because messages and barrier live in memory that the next step reuses. */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "assent/error.h"
#include "core_state.h"
#include "mark.h"
#include "planted.h"

/* One AppendEntries frame; longer runs leave as several messages, because the library counts entries, not
 * bytes. */
#define APPEND_BYTES_MAX (1024 * 1024)

void core_event(struct core *c, int level, const char *event, const char *format, ...)
{
    char details[512];
    va_list args;
    va_start(args, format);
    vsnprintf(details, sizeof details, format, args);
    va_end(args);
    c->io.event(c->io.data, level, event, details);
}

int core_stop(struct core *c, int status, const char *event, const char *details)
{
    if (!c->stopped) {
        c->stopped = true;
        c->stop_status = status;
        core_event(c, 3, event, "%s", details);
        membership_fail(c, ASSENT_STOPPED, "the replicated log has stopped on this node");
        c->io.role(c->io.data, RAFTLOG_STOPPED, c->raft.current_term, 0, false);
    }
    return ASSENT_STOPPED;
}

int core_reserve(struct core *c, uint32_t n)
{
    if (n > c->scratch_n) {
        struct entry **scratch = realloc(c->scratch, n * sizeof(struct entry *));
        if (scratch == NULL) {
            return ASSENT_NOMEM;
        }
        c->scratch = scratch;
        c->scratch_n = n;
    }
    if (n > c->entries_n) {
        struct raft_entry *entries = realloc(c->entries, n * sizeof *entries);
        if (entries == NULL) {
            return ASSENT_NOMEM;
        }
        c->entries = entries;
        c->entries_n = n;
    }
    return 0;
}

/* ---- looking */

struct core_peer *core_peer(struct core *c, uint64_t id)
{
    for (uint32_t i = 0; i < c->peers_n; i++) {
        if (c->peers[i].id == id) {
            return &c->peers[i];
        }
    }
    return NULL;
}

const struct raft_server *core_server(const struct core *c, uint64_t id)
{
    for (unsigned i = 0; i < c->raft.configuration.n; i++) {
        if (c->raft.configuration.servers[i].id == id) {
            return &c->raft.configuration.servers[i];
        }
    }
    return NULL;
}

bool core_is_leader(const struct core *c)
{
    return c->raft.state == RAFT_LEADER;
}

bool core_is_ready(const struct core *c)
{
    return core_is_leader(c) && c->barrier_index != 0 && c->applied >= c->barrier_index;
}

uint64_t core_leader(const struct core *c)
{
    switch (c->raft.state) {
    case RAFT_LEADER:
        return c->config.id;
    case RAFT_FOLLOWER:
        return c->raft.follower_state.current_leader.id;
    default:
        return 0;
    }
}

/* ---- messages out */

void core_send(struct core *c, uint64_t to, const char *address, const struct message *m)
{
    if (to != c->config.id) {
        c->io.send(c->io.data, to, address, m);
    }
}

/* How many entries from c->scratch + `from` fit into one frame; at least one. */
static uint32_t frame_entries(const struct core *c, uint32_t from, uint32_t n)
{
    uint64_t bytes = 0;
    uint32_t i = 0;
    while (i < n && i < MESSAGE_ENTRIES_MAX) {
        bytes += c->scratch[from + i]->size;
        if (i > 0 && bytes > APPEND_BYTES_MAX) {
            break;
        }
        i++;
    }
    return i;
}

static void send_append(struct core *c, const struct raft_message *m)
{
    const struct raft_append_entries *a = &m->append_entries;
    struct core_peer *peer = core_peer(c, m->server_id);
    uint32_t n = a->n_entries;
    if (peer != NULL) {
        peer->sent_ms = c->now_ms;
        /* With its window full the library makes an empty message per submit: one that left a moment ago
         * says the same. */
        if (n == 0 && c->submitting && peer->left_ms + c->config.heartbeat_ms / 2 > c->now_ms) {
            return;
        }
        peer->left_ms = c->now_ms;
    }
    if (core_reserve(c, n) != 0) {
        return; /* a lost message */
    }
    uint32_t copied = memlog_copy(&c->log, a->prev_log_index + 1, n, c->scratch);
    assert(copied == n);
    struct message out = {.type = MESSAGE_RAFT, .from = c->config.id};
    out.raft.raft = *m;
    out.raft.raft.append_entries.entries = NULL;
    uint32_t sent = 0;
    do {
        uint32_t piece = frame_entries(c, sent, n - sent);
        out.raft.raft.append_entries.n_entries = piece;
        out.raft.entries = c->scratch + sent;
        core_send(c, m->server_id, m->server_address, &out);
        sent += piece;
        out.raft.raft.append_entries.prev_log_index = a->prev_log_index + sent;
        out.raft.raft.append_entries.prev_log_term =
            sent == 0 ? a->prev_log_term : c->scratch[sent - 1]->term;
    } while (sent < n);
}

void core_send_commit(struct core *c, uint64_t to)
{
    const struct raft_server *s = core_server(c, to);
    raft_index match = 0;
    if (s == NULL || !core_is_leader(c) || raft_match_index(&c->raft, to, &match) != 0 || match == 0 ||
        memlog_term(&c->log, match) == 0) {
        return;
    }
    struct message out = {.type = MESSAGE_RAFT, .from = c->config.id};
    out.raft.raft.type = RAFT_APPEND_ENTRIES;
    out.raft.raft.server_id = to;
    out.raft.raft.server_address = s->address;
    out.raft.raft.append_entries = (struct raft_append_entries){
        .term = c->raft.current_term,
        .prev_log_index = match,
        .prev_log_term = memlog_term(&c->log, match),
        .leader_commit = raft_commit_index(&c->raft),
    };
    core_send(c, to, s->address, &out);
}

/* The library offers the snapshot it knows of; what goes out is the newest one actually stored. */
static void send_install(struct core *c, const struct raft_message *m)
{
    struct core_peer *peer = core_peer(c, m->server_id);
    struct message out = {.type = MESSAGE_RAFT, .from = c->config.id};
    if (peer != NULL) {
        peer->sent_ms = c->now_ms;
    }
    if (!c->io.newest_snapshot(c->io.data, &out.raft.manifest) ||
        out.raft.manifest.index < m->install_snapshot.last_index) {
        core_event(c, 2, "snapshot_missing", "to=%llu index=%llu", m->server_id,
                   m->install_snapshot.last_index);
        return;
    }
    /* The offer is repeated at every heartbeat that the follower rejects; the fetch takes longer. */
    if (peer != NULL) {
        if (peer->offered_index == out.raft.manifest.index &&
            c->now_ms < peer->offered_ms + c->config.election_ms) {
            return;
        }
        peer->offered_index = out.raft.manifest.index;
        peer->offered_ms = c->now_ms;
    }
    out.raft.raft = *m;
    struct raft_install_snapshot *is = &out.raft.raft.install_snapshot;
    is->last_index = out.raft.manifest.index;
    is->last_term = out.raft.manifest.term;
    is->conf_index = out.raft.manifest.configuration_index;
    raft_configuration_init(&is->conf);
    is->data = (struct raft_buffer){NULL, 0};
    core_send(c, m->server_id, m->server_address, &out);
}

static void send_all(struct core *c, const struct raft_update *u)
{
    for (unsigned i = 0; i < u->messages.n; i++) {
        struct raft_message *m = &u->messages.batch[i];
        struct message out = {.type = MESSAGE_RAFT, .from = c->config.id};
        switch (m->type) {
        case RAFT_APPEND_ENTRIES:
            send_append(c, m);
            continue;
        case RAFT_INSTALL_SNAPSHOT:
            send_install(c, m);
            continue;
        case RAFT_APPEND_ENTRIES_RESULT:
            guard_reply(&c->guard, &c->raft, c->input_stale, &m->append_entries_result);
            break;
        case RAFT_REQUEST_VOTE_RESULT:
            guard_vote_reply(&c->guard, &c->raft, &m->request_vote_result);
            break;
        default:
            break;
        }
        out.raft.raft = *m;
        core_send(c, m->server_id, m->server_address, &out);
    }
}

/* ---- entries and snapshots into log and disk */

static int queue_append(struct core *c, uint64_t first, struct entry *const *entries, uint32_t n)
{
    const struct entry *last = entries[n - 1];
    if (c->held_first != 0 || guard_writes_ambiguous(&c->writes, last->index, last->term)) {
        c->held_first = c->held_first != 0 && c->held_first < first ? c->held_first : first;
        return 0;
    }
    int rv = guard_writes_push(&c->writes, last->index, last->term);
    if (rv == 0) {
        c->io.append(c->io.data, first, entries, n);
    }
    return rv;
}

void core_release_held(struct core *c)
{
    if (c->held_first == 0 || c->writes.n > 0) {
        return;
    }
    uint64_t first = c->held_first;
    c->held_first = 0;
    const struct entry *last = memlog_get(&c->log, memlog_last(&c->log));
    if (last == NULL || last->index < first) {
        return;
    }
    uint32_t n = (uint32_t)(last->index + 1 - first);
    if (core_reserve(c, n) != 0 || guard_writes_push(&c->writes, last->index, last->term) != 0) {
        (void)core_stop(c, ASSENT_NOMEM, "out_of_memory", "appending held entries");
        return;
    }
    uint32_t copied = memlog_copy(&c->log, first, n, c->scratch);
    assert(copied == n);
    c->io.append(c->io.data, first, c->scratch, n);
}

/* The barrier a new leader makes by itself; it has no payload of ours. */
static struct entry *barrier_entry(void)
{
    struct entry *e = entry_new(ENTRY_BARRIER, 8);
    if (e != NULL) {
        memset(e->payload, 0, 8);
    }
    return e;
}

static int take_entries(struct core *c, const struct raft_update *u, uint64_t *barrier)
{
    uint64_t first = u->entries.index;
    uint32_t n = u->entries.n;
    struct entry *own = NULL;
    struct entry *const *source = &own;
    bool sealed = false;
    if (u->entries.batch == &c->raft.barrier) {
        own = barrier_entry();
        raft_free(c->raft.barrier.batch);
        if (own == NULL) {
            return ASSENT_NOMEM;
        }
        *barrier = first;
    } else {
        assert(c->source != NULL && first >= c->source_first);
        source = c->source + (first - c->source_first);
        sealed = !c->source_taken;
    }
    assert(first > c->log.base && first <= memlog_last(&c->log) + 1);
    if (first <= memlog_last(&c->log)) {
        MARK(TAIL_REPLACED);
        memlog_truncate(&c->log, first);
        guard_writes_cut(&c->writes, first);
        c->held_first = c->held_first > first ? first : c->held_first;
    }
    for (uint32_t i = 0; i < n; i++) {
        struct entry *e = source[i];
        if (!sealed) {
            entry_seal(e, first + i, u->entries.batch[i].term);
        }
        assert(e->index == first + i && e->term == u->entries.batch[i].term);
        int rv = memlog_append(&c->log, sealed ? entry_ref(e) : e);
        if (rv != 0) {
            return rv;
        }
    }
    return queue_append(c, first, source, n);
}

/* The library has reset itself to the snapshot; follow it, and queue the one atomic step on disk. */
static void take_snapshot(struct core *c, struct raft_update *u)
{
    struct raft_snapshot_metadata *metadata = &u->snapshot.metadata;
    assert(c->offer.present && c->offer.manifest.index == metadata->index);
    raft_free(u->snapshot.chunk.base);
    raft_configuration_close(&metadata->configuration);
    memlog_reset(&c->log, metadata->index, metadata->term);
    MARK_IF(INSTALL_OVER_WRITES, c->writes.n > 0);
    guard_writes_cut(&c->writes, 1);
    c->held_first = 0;
    c->io.install(c->io.data, &c->offer.manifest);
}

/* ---- role */

static void note_state(struct core *c, uint64_t barrier)
{
    if (c->raft.state == c->state && c->raft.current_term == c->term) {
        return;
    }
    bool won = c->raft.state == RAFT_LEADER && (c->state != RAFT_LEADER || c->raft.current_term != c->term);
    if (c->raft.state == RAFT_CANDIDATE && c->state != RAFT_CANDIDATE) {
        c->elections++;
    }
    MARK_IF(LEADER_DEPOSED, c->state == RAFT_LEADER && c->raft.state != RAFT_LEADER);
    c->barrier_index = won ? barrier : c->raft.state == RAFT_LEADER ? c->barrier_index : 0;
    c->barrier_wanted = won && barrier == 0;
    c->state = c->raft.state;
    c->term = c->raft.current_term;
    if (won) {
        c->fired_ms = 0;
        for (uint32_t i = 0; i < c->peers_n; i++) {
            c->peers[i].offered_index = 0;
        }
    }
    read_index_role_changed(c);
}

static void sync_peers(struct core *c)
{
    struct core_peer peers[ASSENT_NODES_MAX];
    uint32_t n = 0;
    const struct raft_configuration *conf = &c->raft.configuration;
    for (unsigned i = 0; i < conf->n && n < ASSENT_NODES_MAX; i++) {
        if (conf->servers[i].id == c->config.id) {
            continue;
        }
        const struct core_peer *old = core_peer(c, conf->servers[i].id);
        peers[n++] = old != NULL ? *old : (struct core_peer){.id = conf->servers[i].id};
    }
    memcpy(c->peers, peers, n * sizeof peers[0]);
    c->peers_n = n;
}

/* The configuration in force is named by its index, its term, and whether it is committed. */
static void tell_servers(struct core *c)
{
    const struct raft *r = &c->raft;
    uint64_t term = r->configuration_uncommitted_index == 0
                        ? 0
                        : memlog_term(&c->log, r->configuration_uncommitted_index);
    if (c->told_committed == r->configuration_committed_index &&
        c->told_uncommitted == r->configuration_uncommitted_index && c->told_uncommitted_term == term) {
        return;
    }
    MARK_IF(CHANGE_ROLLED_BACK, c->told_uncommitted != 0 && r->configuration_uncommitted_index == 0 &&
                                    r->configuration_committed_index < c->told_uncommitted);
    c->told_committed = r->configuration_committed_index;
    c->told_uncommitted = r->configuration_uncommitted_index;
    c->told_uncommitted_term = term;
    sync_peers(c);
    c->io.servers(c->io.data, &r->configuration);
}

static int consume(struct core *c, struct raft_update *u)
{
    uint64_t barrier = 0;
    if ((u->flags & (UPDATE_TERM | UPDATE_VOTE)) != 0 && !PLANTED(VOTE_NOT_KEPT) &&
        c->io.persist_vote(c->io.data, c->raft.current_term, c->raft.voted_for) != 0) {
        return core_stop(c, ASSENT_IO, "vote_not_durable",
                         "term and vote could not be written; restart the node");
    }
    if ((u->flags & UPDATE_ENTRIES) != 0) {
        if (c->batch != NULL && u->entries.batch != &c->raft.barrier) {
            raft_free(c->batch);
        }
        if (take_entries(c, u, &barrier) != 0) {
            return core_stop(c, ASSENT_NOMEM, "out_of_memory", "taking entries into the log");
        }
    }
    if ((u->flags & UPDATE_SNAPSHOT) != 0) {
        take_snapshot(c, u);
    }
    tell_servers(c);
    if ((u->flags & UPDATE_MESSAGES) != 0) {
        send_all(c, u);
    }
    note_state(c, barrier);
    return c->stopped ? ASSENT_STOPPED : 0;
}

int core_step(struct core *c, struct raft_event *event, int *refusal)
{
    struct raft_update update;
    memset(&update, 0, sizeof update);
    event->time = c->now_ms;
    int rv = raft_step(&c->raft, event, &update);
    if (refusal != NULL) {
        *refusal = rv;
    }
    if (rv != 0) {
        return refusal != NULL ? 0 : core_stop(c, ASSENT_CORRUPT, "consensus_broken", raft_errmsg(&c->raft));
    }
    return consume(c, &update);
}

int core_submit_entries(struct core *c, struct entry *const *entries, uint32_t n, int *refusal)
{
    static uint64_t no_batch; /* the library asserts a batch and neither reads nor frees it */
    *refusal = RAFT_NOMEM;
    if (core_reserve(c, n) != 0) {
        return 0;
    }
    for (uint32_t i = 0; i < n; i++) {
        bool change = entries[i]->type == ENTRY_CHANGE;
        c->entries[i] = (struct raft_entry){
            .term = c->raft.current_term,
            .type = (enum raft_entry_type)entries[i]->type,
            .buf = {change ? entries[i]->payload : NULL, change ? entries[i]->size : 0},
            .batch = &no_batch,
        };
    }
    c->source = entries;
    c->source_first = raft_last_index(&c->raft) + 1;
    c->source_taken = true;
    c->submitting = true;
    struct raft_event event = {.type = RAFT_SUBMIT};
    event.submit.entries = c->entries;
    event.submit.n = n;
    int rv = core_step(c, &event, refusal);
    c->source = NULL;
    c->source_taken = false;
    c->submitting = false;
    if (rv == 0 && (*refusal == RAFT_NOMEM || *refusal == RAFT_MALFORMED)) {
        return core_stop(c, ASSENT_NOMEM, "consensus_broken", raft_errmsg(&c->raft));
    }
    return rv;
}

/* ---- after an event */

static void submit_barrier(struct core *c)
{
    int refusal = 0;
    c->barrier_wanted = false;
    if (!core_is_leader(c)) {
        return;
    }
    struct entry *e = barrier_entry();
    if (e == NULL) {
        (void)core_stop(c, ASSENT_NOMEM, "out_of_memory", "making a barrier");
        return;
    }
    uint64_t index = raft_last_index(&c->raft) + 1;
    if (core_submit_entries(c, &e, 1, &refusal) == 0 && refusal == 0) {
        c->barrier_index = index;
    } else {
        entry_unref(e);
    }
}

static void tell(struct core *c)
{
    const struct raft *r = &c->raft;
    enum raftlog_role role = r->state == RAFT_LEADER      ? RAFTLOG_LEADER
                             : r->state == RAFT_CANDIDATE ? RAFTLOG_CANDIDATE
                                                          : RAFTLOG_FOLLOWER;
    uint64_t leader = core_leader(c);
    bool ready = core_is_ready(c);
    if (role == c->told_role && r->current_term == c->told_term && leader == c->told_leader &&
        ready == c->told_ready) {
        return;
    }
    if (leader != 0 && (leader != c->told_leader || r->current_term != c->told_term)) {
        c->leader_changes++;
    }
    c->told_role = role;
    c->told_term = r->current_term;
    c->told_leader = leader;
    c->told_ready = ready;
    c->io.role(c->io.data, role, r->current_term, leader, ready);
}

int core_settle(struct core *c)
{
    if (!c->stopped && c->barrier_wanted) {
        submit_barrier(c);
    }
    if (!c->stopped) {
        core_apply(c);
    }
    if (!c->stopped) {
        membership_advance(c);
    }
    if (!c->stopped) {
        read_index_advance(c);
    }
    if (!c->stopped) {
        tell(c);
    }
    return c->stopped ? ASSENT_STOPPED : 0;
}
