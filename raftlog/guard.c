/* The guards around raft_step(); see guard.h.  Field accesses into struct raft are all here and in core*.c.
 */
#include "guard.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "assent/error.h"

/* The fields we read, pinned: another layout must not compile. */
static_assert(sizeof(((struct raft *)0)->trail.offset) == 8, "trail.offset is an index");
static_assert(sizeof(((struct raft *)0)->last_stored) == 8, "last_stored is an index");
static_assert(sizeof(((struct raft *)0)->follower_state.match) == 8, "match is an index");
static_assert(sizeof(((struct raft *)0)->leader_state.promotee_id) == 8, "promotee_id is an id");

/* Count and answer: does guard `n` act here? */
static bool act(struct guard *g, enum guard_number n, bool condition)
{
    if (!condition || !guard_on(g, n)) {
        return false;
    }
    g->count[n]++;
    return true;
}

/* ---- the library's trail: runs of terms, the i-th covering indexes (end of i-1, end of i] */

static uint32_t trail_runs(const struct raft_trail *t)
{
    return t->front <= t->back ? t->back - t->front : t->size - t->front + t->back;
}

/* First index of the run of equal terms that `index` belongs to, and that term; 0 when not in the trail. */
static uint64_t trail_run(const struct raft_trail *t, uint64_t index, uint64_t *term)
{
    uint64_t before = t->offset;
    uint32_t n = trail_runs(t);
    *term = 0;
    if (index <= before) {
        *term = index != 0 && index == t->snapshot.index ? t->snapshot.term : 0;
        return *term != 0 ? index : 0;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = (t->front + i) % t->size;
        if (index <= t->records[at].index) {
            *term = t->records[at].term;
            return before + 1;
        }
        before = t->records[at].index;
    }
    *term = index == t->snapshot.index ? t->snapshot.term : 0;
    return *term != 0 ? index : 0;
}

static uint64_t trail_term(const struct raft_trail *t, uint64_t index)
{
    uint64_t term;
    (void)trail_run(t, index, &term);
    return term;
}

static uint64_t trail_last(const struct raft_trail *t)
{
    uint32_t n = trail_runs(t);
    if (n == 0) {
        return t->snapshot.index;
    }
    return t->records[(t->front + n - 1) % t->size].index;
}

/* ---- input */

static bool append_valid(const struct raft *r, const struct raft_append_entries *a,
                         struct entry *const *entries)
{
    uint64_t term = a->prev_log_term;
    if (a->term == 0 || (a->prev_log_index == 0) != (a->prev_log_term == 0) || a->prev_log_term > a->term) {
        return false;
    }
    /* A second leader of our own term would be a broken cluster; the library asserts it away. */
    if (r->state == RAFT_LEADER && a->term == r->current_term) {
        return false;
    }
    for (uint32_t i = 0; i < a->n_entries; i++) {
        const struct entry *e = entries[i];
        if (e->index != a->prev_log_index + 1 + i || e->term < term || e->term == 0 || e->term > a->term ||
            e->type < ENTRY_COMMAND || e->type > ENTRY_CHANGE || (e->type == ENTRY_CHANGE && e->size == 0)) {
            return false;
        }
        term = e->term;
    }
    return true;
}

static bool input_valid(const struct raft *r, const struct raft_message *m, struct entry *const *entries)
{
    if (m->server_id == 0 || m->server_id == r->id || m->server_address == NULL) {
        return false;
    }
    switch (m->type) {
    case RAFT_APPEND_ENTRIES:
        return append_valid(r, &m->append_entries, entries);
    case RAFT_APPEND_ENTRIES_RESULT:
        return true;
    case RAFT_REQUEST_VOTE:
        return m->request_vote.term > 0 && m->request_vote.candidate_id == m->server_id;
    case RAFT_REQUEST_VOTE_RESULT:
        return true;
    case RAFT_INSTALL_SNAPSHOT:
        return m->install_snapshot.term > 0 && m->install_snapshot.last_index > 0 &&
               m->install_snapshot.last_term > 0 &&
               m->install_snapshot.last_term <= m->install_snapshot.term &&
               !(r->state == RAFT_LEADER && m->install_snapshot.term == r->current_term);
    case RAFT_TIMEOUT_NOW:
        return m->timeout_now.term > 0;
    default:
        return false;
    }
}

/* G2: in probe state the library lets a duplicate of an old rejection undo what was acknowledged since. */
static bool rejection_passes(struct guard *g, const struct raft *r, uint64_t from,
                             struct raft_append_entries_result *result)
{
    raft_index match;
    if (r->state != RAFT_LEADER || result->term != r->current_term || result->rejected == 0 ||
        raft_match_index(r, from, &match) != 0) {
        return true;
    }
    if (act(g, GUARD_STALE_REJECTION, result->rejected <= match)) {
        return false;
    }
    if (act(g, GUARD_STALE_REJECTION, result->last_log_index < match)) {
        result->last_log_index = match;
    }
    return true;
}

bool guard_message(struct guard *g, const struct raft *r, struct raft_message *m,
                   struct entry *const *entries)
{
    if (act(g, GUARD_INPUT, !input_valid(r, m, entries))) {
        return false;
    }
    switch (m->type) {
    case RAFT_REQUEST_VOTE_RESULT:
        return !act(g, GUARD_VOTE_RESULT, r->state != RAFT_CANDIDATE);
    case RAFT_INSTALL_SNAPSHOT:
        return !act(g, GUARD_INSTALL_TWICE, r->snapshot.installing);
    case RAFT_APPEND_ENTRIES_RESULT:
        return rejection_passes(g, r, m->server_id, &m->append_entries_result);
    default:
        return true;
    }
}

void guard_append_base(struct guard *g, const struct raft *r, struct guard_append *a)
{
    const struct raft_trail *t = &r->trail;
    bool below = t->offset > 0 && a->prev_index <= t->offset && a->prev_index != t->snapshot.index;
    if (!act(g, GUARD_PREV_ZERO, a->term >= r->current_term && below)) {
        return;
    }
    uint64_t ours = t->snapshot.index - a->prev_index; /* entries of the message that the snapshot covers */
    uint64_t skip = ours < a->n ? ours : a->n;
    a->entries += skip;
    a->n -= (uint32_t)skip;
    a->prev_index = t->snapshot.index;
    a->prev_term = t->snapshot.term;
}

struct guard_append guard_append_piece(struct guard *g, const struct raft *r, struct guard_append *rest)
{
    struct guard_append piece = *rest;
    if (guard_on(g, GUARD_CHANGE_FIRST)) {
        for (uint32_t i = 1; i < rest->n; i++) {
            if (rest->entries[i]->type == ENTRY_CHANGE) {
                piece.n = i;
                g->count[GUARD_CHANGE_FIRST]++;
                break;
            }
        }
    }
    if (piece.n > 0) {
        rest->prev_index += piece.n;
        rest->prev_term = piece.entries[piece.n - 1]->term;
        rest->entries += piece.n;
        rest->n -= piece.n;
    }
    if (piece.leader_commit != 0 && act(g, GUARD_COMMIT_BACK, piece.prev_index + piece.n < r->commit_index)) {
        piece.leader_commit = 0;
    }
    return piece;
}

uint64_t guard_append_confirms(struct guard *g, const struct raft *r, const struct guard_append *piece)
{
    uint64_t pending = r->configuration_uncommitted_index;
    bool brings = piece->n > 0 && piece->entries[0]->type == ENTRY_CHANGE && pending != 0 &&
                  pending < piece->prev_index + 1 && piece->term >= r->current_term &&
                  !r->snapshot.installing && piece->prev_index > 0 &&
                  trail_term(&r->trail, piece->prev_index) == piece->prev_term;
    return act(g, GUARD_CHANGE_FIRST, brings) ? pending : 0;
}

/* ---- output */

void guard_reply(struct guard *g, const struct raft *r, bool stale, struct raft_append_entries_result *result)
{
    if (stale) {
        if (act(g, GUARD_STALE_REPLY, true)) {
            result->rejected = 0;
            result->last_log_index = 0;
        }
        return;
    }
    if (result->rejected == 0 || r->state != RAFT_FOLLOWER) {
        return;
    }
    uint64_t term;
    uint64_t first = trail_run(&r->trail, result->rejected, &term);
    if (first == 0) {
        return; /* we have no such entry: the hint is our last index already */
    }
    uint64_t hint = first - 1;
    if (hint < r->commit_index) {
        hint = r->commit_index;
    }
    if (hint < r->follower_state.match) {
        hint = r->follower_state.match;
    }
    if (act(g, GUARD_CONFLICT, hint < result->last_log_index)) {
        result->last_log_index = hint;
    }
}

void guard_vote_reply(struct guard *g, const struct raft *r, struct raft_request_vote_result *result)
{
    if (act(g, GUARD_PRE_VOTE, result->pre_vote && !result->vote_granted && result->term < r->current_term)) {
        result->term = r->current_term;
    }
}

/* ---- membership */

static const struct raft_server *server_of(const struct raft_configuration *c, uint64_t id)
{
    for (unsigned i = 0; i < c->n; i++) {
        if (c->servers[i].id == id) {
            return &c->servers[i];
        }
    }
    return NULL;
}

static uint32_t voters_of(const struct raft_configuration *c)
{
    uint32_t n = 0;
    for (unsigned i = 0; i < c->n; i++) {
        n += c->servers[i].role == RAFT_VOTER;
    }
    return n;
}

enum guard_gate guard_change_gate(struct guard *g, const struct raft *r, bool ready, uint64_t target,
                                  uint64_t promoted, bool patient, uint64_t *who)
{
    const struct raft_configuration *c = &r->configuration;
    *who = 0;
    if (r->state != RAFT_LEADER || act(g, GUARD_CHANGE_GATE, !ready)) {
        return GATE_NOT_READY;
    }
    if (r->configuration_uncommitted_index != 0 || r->leader_state.promotee_id != 0 ||
        r->leader_state.transferee != 0) {
        return GATE_PENDING;
    }
    for (unsigned i = 0; i < c->n; i++) {
        uint64_t id = c->servers[i].id;
        raft_index match = 0;
        if (c->servers[i].role != RAFT_VOTER || id == r->id || id == target) {
            continue;
        }
        (void)raft_match_index(r, id, &match);
        bool informed = match >= r->configuration_committed_index;
        if (!patient && promoted != UINT64_MAX && promoted != id) {
            informed = true;
        }
        if (act(g, GUARD_CHANGE_GATE, !informed)) {
            *who = id;
            return GATE_UNINFORMED;
        }
    }
    return GATE_OPEN;
}

bool guard_change_step(struct guard *g, const struct raft_configuration *from,
                       const struct raft_configuration *to)
{
    uint32_t differ = 0;
    unsigned i = 0, j = 0;
    while (i < from->n || j < to->n) {
        if (i < from->n && j < to->n && from->servers[i].id == to->servers[j].id) {
            differ += from->servers[i].role != to->servers[j].role;
            i++, j++;
        } else if (i < from->n && server_of(to, from->servers[i].id) == NULL) {
            differ++, i++; /* removed */
        } else if (i == from->n && server_of(from, to->servers[j].id) == NULL) {
            differ++, j++; /* added at the end */
        } else {
            return !act(g, GUARD_CHANGE_GATE, true); /* reordered */
        }
    }
    if (act(g, GUARD_CHANGE_GATE, differ != 1)) {
        return false;
    }
    return !act(g, GUARD_SOLE_VOTER, voters_of(to) < voters_of(from) && voters_of(to) < 2);
}

int *guard_lend_vote(struct guard *g, struct raft *r)
{
    for (unsigned i = 0; i < r->configuration.n; i++) {
        struct raft_server *s = &r->configuration.servers[i];
        if (s->id == r->id) {
            return act(g, GUARD_CHANGE_GATE, s->role != RAFT_VOTER) ? &s->role : NULL;
        }
    }
    return NULL;
}

bool guard_transfer_ready(struct guard *g, struct raft *r, uint64_t target)
{
    raft_index match = 0;
    if (raft_match_index(r, target, &match) != 0) {
        return false;
    }
    return !act(g, GUARD_TRANSFER, match != raft_last_index(r));
}

/* ---- snapshots, elections, time */

bool guard_own_snapshot(struct guard *g, const struct raft *r, uint64_t index)
{
    return !act(g, GUARD_OWN_SNAPSHOT,
                r->snapshot.installing || index <= r->trail.snapshot.index || trail_last(&r->trail) < index ||
                    trail_term(&r->trail, index) == 0);
}

bool guard_sole_voter(struct guard *g, const struct raft_configuration *c, uint64_t id)
{
    const struct raft_server *s = server_of(c, id);
    return act(g, GUARD_SOLE_VOTER, s != NULL && s->role == RAFT_VOTER && voters_of(c) == 1);
}

uint64_t guard_leader_deadline(const struct guard *g, uint64_t library, uint64_t newest_send, uint64_t fired,
                               uint64_t heartbeat)
{
    uint64_t deadline = library;
    if (!guard_on(g, GUARD_LEADER_DEADLINE)) {
        return library;
    }
    uint64_t together = newest_send + heartbeat;
    if (together > deadline) {
        deadline = together < library + heartbeat ? together : library + heartbeat;
    }
    return deadline < fired + heartbeat ? fired + heartbeat : deadline;
}

bool guard_submit(struct guard *g, struct raft *r, uint32_t n, uint64_t max)
{
    return !act(g, GUARD_CONFLICT, raft_last_index(r) + n > raft_commit_index(r) + max);
}

/* ---- G12 */

void guard_writes_close(struct guard_writes *w)
{
    free(w->ring);
    memset(w, 0, sizeof *w);
}

void guard_writes_clear(struct guard_writes *w)
{
    w->front = w->n = 0;
    w->replaced = false;
}

static struct guard_write *write_at(const struct guard_writes *w, uint32_t i)
{
    return &w->ring[(w->front + i) % w->capacity];
}

int guard_writes_push(struct guard_writes *w, uint64_t index, uint64_t term)
{
    if (w->n == w->capacity) {
        uint32_t capacity = w->capacity == 0 ? 64 : 2 * w->capacity;
        struct guard_write *ring = malloc(capacity * sizeof *ring);
        if (ring == NULL) {
            return ASSENT_NOMEM;
        }
        for (uint32_t i = 0; i < w->n; i++) {
            ring[i] = *write_at(w, i);
        }
        free(w->ring);
        w->ring = ring;
        w->capacity = capacity;
        w->front = 0;
    }
    w->n++;
    *write_at(w, w->n - 1) = (struct guard_write){index, term, index};
    return 0;
}

bool guard_writes_ambiguous(const struct guard_writes *w, uint64_t index, uint64_t term)
{
    for (uint32_t i = 0; w->replaced && i < w->n; i++) {
        if (write_at(w, i)->index == index && write_at(w, i)->term == term) {
            return true;
        }
    }
    return false;
}

void guard_writes_cut(struct guard_writes *w, uint64_t index)
{
    for (uint32_t i = 0; i < w->n; i++) {
        struct guard_write *one = write_at(w, i);
        if (one->valid >= index) {
            one->valid = index - 1;
            w->replaced = true;
        }
    }
}

uint64_t guard_writes_done(struct guard *g, struct guard_writes *w, uint64_t index, uint64_t term)
{
    for (uint32_t i = 0; i < w->n; i++) {
        struct guard_write one = *write_at(w, i);
        if (one.index != index || one.term != term) {
            continue;
        }
        w->front = (w->front + i + 1) % w->capacity;
        w->n -= i + 1;
        if (w->n == 0) {
            w->replaced = false;
        }
        return act(g, GUARD_PERSISTED, one.valid != index) ? one.valid : index;
    }
    return 0;
}
