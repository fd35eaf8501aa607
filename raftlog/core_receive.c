/* The consensus driver: messages and fetched snapshots in, through the guards. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "assent/error.h"
#include "core_state.h"
#include "mark.h"

/* A fetch that has neither ended nor failed (core_unstaged()) by then gives way to a newer offer of the same
 * leader. */
#define OFFER_PATIENCE_MS (60 * 1000)

static int receive(struct core *c, struct raft_message *m, bool stale)
{
    struct raft_event event = {.type = RAFT_RECEIVE};
    event.receive.message = m;
    c->input_stale = stale;
    int rv = core_step(c, &event, NULL);
    c->input_stale = false;
    return rv;
}

/* The payload batch of a message is one allocation that the library frees in some outcomes and leaves to us
 * in others; ours is a token, for the payloads are in our entries. */
static int receive_piece(struct core *c, struct raft_message *m, const struct guard_append *piece)
{
    uint64_t confirms = guard_append_confirms(&c->guard, &c->raft, piece);
    struct entry *pending = confirms != 0 ? memlog_get(&c->log, confirms) : NULL;
    if (pending != NULL) {
        struct raft_event event = {.type = RAFT_CONFIGURATION};
        event.configuration.index = confirms;
        if (core_decode_configuration(pending->payload, pending->size, &event.configuration.conf) != 0) {
            return core_stop(c, ASSENT_CORRUPT, "configuration_undecodable", "a configuration of our log");
        }
        if (core_step(c, &event, NULL) != 0) {
            return ASSENT_STOPPED;
        }
    }
    if (core_reserve(c, piece->n) != 0 || (piece->n > 0 && (c->batch = raft_malloc(1)) == NULL)) {
        return core_stop(c, ASSENT_NOMEM, "out_of_memory", "receiving entries");
    }
    for (uint32_t i = 0; i < piece->n; i++) {
        const struct entry *e = piece->entries[i];
        bool change = e->type == ENTRY_CHANGE;
        c->entries[i] =
            (struct raft_entry){.term = e->term,
                                .type = (enum raft_entry_type)e->type,
                                .buf = {change ? (void *)(uintptr_t)e->payload : NULL, change ? e->size : 0},
                                .batch = c->batch};
    }
    struct raft_append_entries *a = &m->append_entries;
    a->prev_log_index = piece->prev_index;
    a->prev_log_term = piece->prev_term;
    a->leader_commit = piece->leader_commit;
    a->entries = c->entries;
    a->n_entries = piece->n;
    c->source = piece->entries;
    c->source_first = piece->prev_index + 1;
    int rv = receive(c, m, a->term < c->raft.current_term);
    c->source = NULL;
    c->batch = NULL;
    return rv;
}

/* Entries we do not hold yet must be acceptable to the application, or the leader's message is ignored, as if
 * it had been lost.  The library repeats what is not acknowledged with every heartbeat, so a leader whose
 * entries are refused is not heard at all: refused by a majority it loses its office. */
static bool admitted(struct core *c, const struct guard_append *a)
{
    for (uint32_t i = 0; i < a->n; i++) {
        const struct entry *e = a->entries[i];
        if (e->type == ENTRY_COMMAND && e->index > c->log.base && memlog_term(&c->log, e->index) != e->term &&
            !c->io.admit(c->io.data, e)) {
            MARK(ENTRY_REFUSED);
            c->entries_refused++;
            return false;
        }
    }
    return true;
}

static int receive_append(struct core *c, struct raft_message *m, struct entry *const *entries)
{
    struct raft_append_entries *a = &m->append_entries;
    struct guard_append rest = {a->term,          a->prev_log_index, a->prev_log_term,
                                a->leader_commit, entries,           a->n_entries};
    if (a->term >= c->raft.current_term && !admitted(c, &rest)) {
        return 0;
    }
    bool stale = a->term < c->raft.current_term;
    if (!stale && a->leader_commit > c->heard_commit) {
        c->heard_commit = a->leader_commit;
    }
    guard_append_base(&c->guard, &c->raft, &rest);
    do {
        struct guard_append piece = guard_append_piece(&c->guard, &c->raft, &rest);
        if (receive_piece(c, m, &piece) != 0) {
            return ASSENT_STOPPED;
        }
    } while (rest.n > 0 && !stale && c->raft.current_term == a->term && !c->raft.snapshot.installing);
    return 0;
}

static int inject(struct core *c, const struct snapshot_manifest *s, uint64_t from, const char *address,
                  uint64_t term)
{
    struct raft_message m = {.type = RAFT_INSTALL_SNAPSHOT, .server_id = from, .server_address = address};
    struct raft_install_snapshot *is = &m.install_snapshot;
    is->term = term;
    is->last_index = s->index;
    is->last_term = s->term;
    is->conf_index = s->configuration_index;
    is->data.base = raft_malloc(1); /* a token: the library frees it or gives it back in the update */
    is->data.len = 1;
    if (is->data.base == NULL) {
        return core_stop(c, ASSENT_NOMEM, "out_of_memory", "installing a snapshot");
    }
    if (core_decode_configuration(s->configuration.base, s->configuration.size, &is->conf) != 0) {
        raft_free(is->data.base);
        return 0;
    }
    return receive(c, &m, term < c->raft.current_term);
}

/* Do we hold everything in this snapshot already? */
static bool covers(const struct core *c, const struct snapshot_manifest *s)
{
    return c->raft.trail.snapshot.index >= s->index || memlog_term(&c->log, s->index) == s->term;
}

/* The fetched snapshot goes in; an offer that the log has overtaken meanwhile is forgotten. */
static int inject_offer(struct core *c, uint64_t from, const char *address, uint64_t term)
{
    int rv = inject(c, &c->offer.manifest, from, address, term);
    if (!c->raft.snapshot.installing) {
        MARK(OFFER_OVERTAKEN);
        core_drop_offer(c);
    }
    return rv;
}

/* Take the offer, unless a fetch for the same leader is under way: it would never end if every newer snapshot
 * restarted it. */
static int keep_offer(struct core *c, uint64_t from, uint64_t term, const struct snapshot_manifest *m)
{
    struct core_offer *offer = &c->offer;
    if (offer->present && offer->manifest.index == m->index && offer->manifest.term == m->term) {
        return 0;
    }
    if (offer->present && offer->from == from && offer->offer_term == term && !covers(c, &offer->manifest) &&
        c->now_ms < offer->since_ms + OFFER_PATIENCE_MS) {
        return 0;
    }
    uint8_t *bytes = malloc(m->configuration.size);
    if (bytes == NULL) {
        return ASSENT_NOMEM;
    }
    memcpy(bytes, m->configuration.base, m->configuration.size);
    core_drop_offer(c);
    *offer = (struct core_offer){
        .present = true, .from = from, .offer_term = term, .since_ms = c->now_ms, .manifest = *m};
    offer->manifest.configuration.base = bytes;
    return 0;
}

/* The library hears of a snapshot only when its file is here; until then heartbeats keep us quiet.  What
 * needs no file (a stale term, a snapshot we are past) goes in at once, to be answered. */
static int receive_install(struct core *c, const struct raft_message *m, const struct snapshot_manifest *s)
{
    uint64_t term = m->install_snapshot.term;
    bool stale = term < c->raft.current_term;
    if (s->index != m->install_snapshot.last_index || s->term != m->install_snapshot.last_term ||
        s->configuration.size == 0 || s->configuration_index > s->index) {
        c->guard.count[GUARD_INPUT]++;
        return 0;
    }
    if (stale || covers(c, s)) {
        return inject(c, s, m->server_id, m->server_address, term);
    }
    if (keep_offer(c, m->server_id, term, s) != 0) {
        return 0; /* the leader repeats it */
    }
    if (c->offer.staged) {
        return inject_offer(c, m->server_id, m->server_address, term);
    }
    c->io.stage(c->io.data, m->server_id, &c->offer.manifest);
    return 0;
}

/* A non-voter never forgets its leader, because it never campaigns, and a node that lags campaigns late: has
 * the leader been silent as long as would make any other node campaign? */
static bool leader_silent(struct core *c)
{
    const struct core_peer *leader = core_peer(c, core_leader(c));
    return leader == NULL || c->now_ms >= leader->heard_ms + c->config.election_ms;
}

static int receive_vote_request(struct core *c, struct raft_message *m)
{
    int *role = guard_lend_vote(&c->guard, &c->raft);
    int own = role != NULL ? *role : RAFT_VOTER;
    if (role != NULL) {
        MARK(VOTE_LENT);
        *role = RAFT_VOTER;
    }
    if (role != NULL || c->lags) {
        m->request_vote.disrupt_leader |= leader_silent(c);
    }
    int rv = receive(c, m, false);
    if (role != NULL) {
        *role = own; /* voting does not touch the configuration, so this is still its place */
    }
    return rv;
}

static int receive_raft(struct core *c, const struct message *in, const char *address)
{
    struct raft_message m = in->raft.raft;
    m.server_id = in->from;
    m.server_address = address;
    if (!guard_message(&c->guard, &c->raft, &m, in->raft.entries)) {
        return 0;
    }
    switch (m.type) {
    case RAFT_APPEND_ENTRIES:
        return receive_append(c, &m, in->raft.entries);
    case RAFT_INSTALL_SNAPSHOT:
        return receive_install(c, &m, &in->raft.manifest);
    case RAFT_REQUEST_VOTE:
        return receive_vote_request(c, &m);
    default:
        return receive(c, &m, false);
    }
}

int core_receive(struct core *c, uint64_t now_ms, const struct message *message, const char *address)
{
    if (!core_enter(c, now_ms)) {
        return ASSENT_STOPPED;
    }
    struct core_peer *peer = core_peer(c, message->from);
    if (peer != NULL) {
        peer->heard_ms = c->now_ms;
    }
    switch (message->type) {
    case MESSAGE_RAFT:
        (void)receive_raft(c, message, address);
        break;
    case MESSAGE_PROBE:
        read_index_probe(c, message, address);
        break;
    case MESSAGE_PROBE_ACK:
        read_index_probe_ack(c, message);
        break;
    case MESSAGE_READ_INDEX:
        read_index_ask(c, message);
        break;
    case MESSAGE_READ_INDEX_ACK:
        read_index_answer(c, message);
        break;
    default:
        break; /* not ours */
    }
    return core_settle(c);
}

int core_staged(struct core *c, uint64_t now_ms, uint64_t index, uint64_t term)
{
    if (!core_enter(c, now_ms)) {
        return ASSENT_STOPPED;
    }
    if (!c->offer.present || c->offer.manifest.index != index || c->offer.manifest.term != term ||
        c->raft.snapshot.installing) {
        return core_settle(c);
    }
    c->offer.staged = true;
    /* Any leader's word does for a snapshot that is here: what it holds is committed. */
    raft_id leader = 0;
    const char *address = NULL;
    raft_leader(&c->raft, &leader, &address);
    if (c->raft.state == RAFT_FOLLOWER && leader != 0 && address != NULL) {
        char copy[256];
        snprintf(copy, sizeof copy, "%s", address);
        (void)inject_offer(c, leader, copy, c->raft.current_term);
    }
    return core_settle(c);
}

int core_unstaged(struct core *c, uint64_t now_ms, uint64_t index, uint64_t term)
{
    if (!core_enter(c, now_ms)) {
        return ASSENT_STOPPED;
    }
    if (c->offer.present && !c->raft.snapshot.installing && c->offer.manifest.index == index &&
        c->offer.manifest.term == term) {
        MARK(OFFER_GONE);
        core_drop_offer(c);
    }
    return core_settle(c);
}
