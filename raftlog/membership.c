/* Changes of the set of servers and transfers of leadership, one at a time; see membership.h. */
#include "membership.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "assent/error.h"
#include "core_state.h"
#include "mark.h"

/* Patience, in election timeouts. */
#define GATE_PATIENT_ELECTIONS 2  /* for every voter to confirm the configuration in force */
#define GATE_ELECTIONS         20 /* for the voter that may not know that it is one */
#define TRANSFER_ELECTIONS     4  /* proposals stay paused at most this long */
#define SILENT_ELECTIONS       20 /* a non-voter that catches up may be silent this long */
/* A non-voter that answers but gains nothing, for instance because it fetches a large snapshot. */
#define STALLED_MS (10 * 60 * 1000)

static void enter_phase(struct core *c, enum membership_phase phase)
{
    c->member.phase = phase;
    c->member.phase_ms = c->now_ms;
}

static void end(struct core *c, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void end(struct core *c, int status, const char *format, ...)
{
    char detail[256];
    va_list args;
    va_start(args, format);
    vsnprintf(detail, sizeof detail, format, args);
    va_end(args);
    c->member.phase = MEMBERSHIP_IDLE;
    c->io.member_done(c->io.data, c->member.member_id, status, detail);
}

static unsigned long long target_of(const struct core *c)
{
    return (unsigned long long)c->member.target;
}

static uint32_t voters_n(const struct core *c)
{
    uint32_t n = 0;
    for (unsigned i = 0; i < c->raft.configuration.n; i++) {
        n += c->raft.configuration.servers[i].role == RAFT_VOTER;
    }
    return n;
}

/* ---- begin */

static int check_add(const struct core *c, uint64_t id, const char *address)
{
    const struct raft_configuration *conf = &c->raft.configuration;
    if (id == 0 || address == NULL || address[0] == '\0' || strlen(address) >= 128 ||
        conf->n >= ASSENT_NODES_MAX) {
        return ASSENT_INVALID;
    }
    for (unsigned i = 0; i < conf->n; i++) {
        if (conf->servers[i].id == id || strcmp(conf->servers[i].address, address) == 0) {
            return ASSENT_EXISTS;
        }
    }
    return 0;
}

/* Demoting or removing ourselves would end our own leadership halfway, and two voters are the least with
 * which the library elects safely (libraft-step G10). */
static int check_shrink(const struct core *c, const struct raft_server *s)
{
    if (s->id == c->config.id || (s->role == RAFT_VOTER && voters_n(c) <= 2)) {
        return ASSENT_INVALID;
    }
    return 0;
}

static int check(const struct core *c, enum raftlog_change change, uint64_t id, const char *address)
{
    const struct raft_server *s = core_server(c, id);
    if (change == RAFTLOG_ADD) {
        return check_add(c, id, address);
    }
    if (change == RAFTLOG_TRANSFER && id == 0) {
        return voters_n(c) > 1 ? 0 : ASSENT_INVALID;
    }
    if (s == NULL) {
        return ASSENT_NOT_MEMBER;
    }
    switch (change) {
    case RAFTLOG_PROMOTE:
        return s->role == RAFT_VOTER ? ASSENT_EXISTS : 0;
    case RAFTLOG_DEMOTE:
        return s->role != RAFT_VOTER ? ASSENT_EXISTS : check_shrink(c, s);
    case RAFTLOG_REMOVE:
        return check_shrink(c, s);
    case RAFTLOG_TRANSFER:
        return s->role != RAFT_VOTER || id == c->config.id ? ASSENT_INVALID : 0;
    default:
        return ASSENT_INVALID;
    }
}

int membership_begin(struct core *c, uint64_t member_id, enum raftlog_change change, uint64_t id,
                     const char *address)
{
    struct membership *m = &c->member;
    if (!core_is_leader(c)) {
        return ASSENT_NOT_LEADER;
    }
    if (m->phase != MEMBERSHIP_IDLE) {
        return ASSENT_CHANGE_PENDING;
    }
    int rv = check(c, change, id, address);
    if (rv != 0) {
        return rv;
    }
    *m = (struct membership){.fresh = true, .member_id = member_id, .change = change, .target = id};
    m->term = c->raft.current_term;
    m->progress_ms = c->now_ms;
    if (address != NULL) {
        snprintf(m->address, sizeof m->address, "%s", address);
    }
    enter_phase(c, change == RAFTLOG_PROMOTE    ? MEMBERSHIP_CATCH_UP
                   : change == RAFTLOG_TRANSFER ? MEMBERSHIP_MATCH
                                                : MEMBERSHIP_GATE);
    return 0;
}

/* ---- one change */

/* The configuration after this step: same order, one server differs. */
static int next_configuration(const struct core *c, struct raft_configuration *next)
{
    const struct raft_configuration *now = &c->raft.configuration;
    const struct membership *m = &c->member;
    int rv = 0;
    raft_configuration_init(next);
    for (unsigned i = 0; i < now->n && rv == 0; i++) {
        const struct raft_server *s = &now->servers[i];
        int role = s->role;
        if (s->id == m->target) {
            if (m->change == RAFTLOG_REMOVE && s->role != RAFT_VOTER) {
                continue;
            }
            role = m->change == RAFTLOG_PROMOTE ? RAFT_VOTER : RAFT_STANDBY;
        }
        rv = raft_configuration_add(next, s->id, s->address, role);
    }
    if (rv == 0 && m->change == RAFTLOG_ADD) {
        rv = raft_configuration_add(next, m->target, m->address, RAFT_STANDBY);
    }
    if (rv != 0) {
        raft_configuration_close(next);
        return ASSENT_NOMEM;
    }
    return 0;
}

static struct entry *change_entry(const struct raft_configuration *conf)
{
    struct raft_buffer buf;
    if (raft_configuration_encode(conf, &buf) != 0) {
        return NULL;
    }
    struct entry *e = entry_new(ENTRY_CHANGE, (uint32_t)buf.len);
    if (e != NULL) {
        memcpy(e->payload, buf.base, buf.len);
    }
    raft_free(buf.base);
    return e;
}

/* Would a majority of the voters that remain answer?  Otherwise the change could not be committed, nor
 * anything after it. */
static bool quorum_answers(const struct core *c, const struct raft_configuration *next)
{
    uint32_t voters = 0, answering = 0;
    for (unsigned i = 0; i < next->n; i++) {
        if (next->servers[i].role != RAFT_VOTER) {
            continue;
        }
        const struct core_peer *peer = core_peer((struct core *)(uintptr_t)c, next->servers[i].id);
        voters++;
        answering += next->servers[i].id == c->config.id ||
                     (peer != NULL && c->now_ms < peer->heard_ms + 2 * (uint64_t)c->config.election_ms);
    }
    return 2 * answering > voters;
}

static void submit_change(struct core *c)
{
    struct raft_configuration next;
    int refusal = 0;
    if (next_configuration(c, &next) != 0) {
        end(c, ASSENT_NOMEM, "out of memory");
        return;
    }
    if (!quorum_answers(c, &next)) {
        raft_configuration_close(&next);
        end(c, ASSENT_UNREACHABLE,
            "too few of the voters that would remain answer; the change could not commit");
        return;
    }
    bool allowed = guard_change_step(&c->guard, &c->raft.configuration, &next);
    struct entry *e = allowed ? change_entry(&next) : NULL;
    raft_configuration_close(&next);
    if (e == NULL) {
        end(c, allowed ? ASSENT_NOMEM : ASSENT_INVALID,
            allowed ? "out of memory" : "the change is not one step of one server that leaves two voters");
        return;
    }
    uint64_t index = raft_last_index(&c->raft) + 1;
    if (core_submit_entries(c, &e, 1, &refusal) != 0) {
        return; /* stopped; membership_fail() has been called */
    }
    if (refusal != 0) {
        entry_unref(e);
        end(c, ASSENT_CHANGE_PENDING, "the change was refused: %s", raft_strerror(refusal));
        return;
    }
    c->member.index = index;
    enter_phase(c, MEMBERSHIP_SUBMITTED);
}

static void advance_gate(struct core *c)
{
    struct membership *m = &c->member;
    uint64_t waited = c->now_ms - m->phase_ms;
    bool patient = waited < GATE_PATIENT_ELECTIONS * (uint64_t)c->config.election_ms;
    bool shrinks = m->change == RAFTLOG_DEMOTE || m->change == RAFTLOG_REMOVE;
    uint64_t who = 0;
    enum guard_gate gate = guard_change_gate(&c->guard, &c->raft, core_is_ready(c), shrinks ? m->target : 0,
                                             c->change.promoted, patient, &who);
    if (gate == GATE_OPEN) {
        submit_change(c);
        return;
    }
    MARK_IF(CHANGE_WAITS, gate == GATE_UNINFORMED);
    if (waited < GATE_ELECTIONS * (uint64_t)c->config.election_ms) {
        return;
    }
    if (gate == GATE_UNINFORMED) {
        end(c, ASSENT_CHANGE_PENDING,
            "node %llu has not confirmed the configuration in force (index %llu); bring it back or remove it "
            "first",
            (unsigned long long)who, (unsigned long long)c->raft.configuration_committed_index);
    } else {
        end(c, ASSENT_CHANGE_PENDING, "an earlier change is still under way");
    }
}

static void start_catch_up(struct core *c)
{
    struct raft_event event = {.type = RAFT_CATCH_UP};
    if (c->raft.leader_state.promotee_id != 0) {
        return;
    }
    event.catch_up.server_id = c->member.target;
    (void)core_step(c, &event, NULL);
}

/* The library gives a catch-up up after some slow rounds; while the target makes progress we begin again. */
static void advance_catch_up(struct core *c)
{
    struct membership *m = &c->member;
    const struct raft_server *s = core_server(c, m->target);
    const struct core_peer *peer = core_peer(c, m->target);
    int status = RAFT_CATCH_UP_NONE;
    if (s == NULL || s->role == RAFT_VOTER || peer == NULL ||
        raft_catch_up(&c->raft, m->target, &status) != 0) {
        end(c, ASSENT_NOT_MEMBER, "node %llu is not a non-voter any more", target_of(c));
        return;
    }
    uint64_t match = core_match_index(c, m->target);
    if (match > m->match) {
        m->match = match;
        m->progress_ms = c->now_ms;
    }
    if (status == RAFT_CATCH_UP_FINISHED && m->index != 0) {
        m->index = 0;
        enter_phase(c, MEMBERSHIP_GATE);
        return;
    }
    uint64_t heard = peer->heard_ms > m->phase_ms ? peer->heard_ms : m->phase_ms;
    if (c->now_ms > heard + SILENT_ELECTIONS * (uint64_t)c->config.election_ms) {
        end(c, ASSENT_UNREACHABLE, "node %llu does not answer", target_of(c));
    } else if (c->now_ms > m->progress_ms + STALLED_MS) {
        end(c, ASSENT_TIMEOUT, "node %llu does not catch up", target_of(c));
    } else if (status != RAFT_CATCH_UP_RUNNING && match == raft_last_index(&c->raft)) {
        /* the library looks at a catch-up only when an answer adds something: in an idle cluster it would
         * never end */
        m->index = 0;
        enter_phase(c, MEMBERSHIP_GATE);
    } else if (status != RAFT_CATCH_UP_RUNNING) {
        m->index = 1; /* a catch-up of this request has begun: a finished one from before does not count */
        start_catch_up(c);
    }
}

static void advance_submitted(struct core *c)
{
    struct membership *m = &c->member;
    if (c->applied < m->index) {
        return;
    }
    if (m->change == RAFTLOG_REMOVE && core_server(c, m->target) != NULL && core_is_leader(c)) {
        enter_phase(c, MEMBERSHIP_GATE); /* it no longer votes: now without it */
        return;
    }
    end(c, 0, "done");
}

/* ---- transfer */

static uint64_t best_target(struct core *c)
{
    uint64_t best = 0, best_match = 0;
    for (unsigned i = 0; i < c->raft.configuration.n; i++) {
        const struct raft_server *s = &c->raft.configuration.servers[i];
        uint64_t match = core_match_index(c, s->id);
        const struct core_peer *peer = core_peer(c, s->id);
        if (s->role == RAFT_VOTER && peer != NULL && match >= best_match &&
            c->now_ms < peer->heard_ms + c->config.election_ms) {
            best = s->id;
            best_match = match;
        }
    }
    return best;
}

static bool transfer_expired(const struct core *c)
{
    return c->now_ms >= c->member.phase_ms + TRANSFER_ELECTIONS * (uint64_t)c->config.election_ms;
}

static void advance_match(struct core *c)
{
    struct membership *m = &c->member;
    struct raft_event event = {.type = RAFT_TRANSFER};
    int refusal = 0;
    uint64_t target = m->target != 0 ? m->target : best_target(c);
    if (target != 0 && guard_transfer_ready(&c->guard, &c->raft, target) &&
        c->raft.configuration_uncommitted_index == 0) {
        m->target = target;
        event.transfer.server_id = target;
        if (core_step(c, &event, &refusal) != 0) {
            return;
        }
        if (refusal != 0) {
            end(c, ASSENT_INVALID, "the transfer was refused: %s", raft_strerror(refusal));
            return;
        }
        m->phase = MEMBERSHIP_TRANSFER; /* the time limit runs on */
        return;
    }
    if (transfer_expired(c)) {
        end(c, ASSENT_TIMEOUT, "node %llu does not hold the whole log in time", (unsigned long long)target);
    }
}

static void advance_transfer(struct core *c)
{
    if (raft_transferee(&c->raft) != 0) {
        return;
    }
    if (transfer_expired(c)) {
        end(c, ASSENT_TIMEOUT, "node %llu did not take over", target_of(c));
        return;
    }
    MARK(TRANSFER_AGAIN);
    c->member.phase = MEMBERSHIP_MATCH; /* TimeoutNow was lost or ignored: again */
}

static void advance_handover(struct core *c)
{
    uint64_t leader = core_leader(c);
    if (leader != 0 && leader != c->config.id) {
        end(c, 0, "node %llu leads", (unsigned long long)leader);
    } else if (leader == c->config.id) {
        end(c, ASSENT_TIMEOUT, "this node leads again");
    } else if (transfer_expired(c)) {
        end(c, ASSENT_TIMEOUT, "nobody leads yet");
    }
}

/* ---- progress */

static void leadership_lost(struct core *c)
{
    switch (c->member.phase) {
    case MEMBERSHIP_SUBMITTED:
        if (c->applied >= c->member.index && core_term_at(c, c->member.index) == c->member.term) {
            advance_submitted(c);
        } else {
            MARK(CHANGE_UNKNOWN);
            end(c, ASSENT_UNKNOWN_OUTCOME, "leadership was lost; the change may still be committed");
        }
        break;
    case MEMBERSHIP_TRANSFER:
        enter_phase(c, MEMBERSHIP_HANDOVER);
        advance_handover(c);
        break;
    case MEMBERSHIP_HANDOVER:
        advance_handover(c);
        break;
    default:
        end(c, ASSENT_NOT_LEADER, "leadership was lost before the change was made");
    }
}

void membership_advance(struct core *c)
{
    if (c->member.phase == MEMBERSHIP_IDLE) {
        return;
    }
    c->member.fresh = false;
    if (!core_is_leader(c) || c->raft.current_term != c->member.term) {
        leadership_lost(c);
        return;
    }
    enum membership_phase before;
    do {
        before = c->member.phase;
        switch (before) {
        case MEMBERSHIP_CATCH_UP:
            advance_catch_up(c);
            break;
        case MEMBERSHIP_GATE:
            advance_gate(c);
            break;
        case MEMBERSHIP_SUBMITTED:
            advance_submitted(c);
            break;
        case MEMBERSHIP_MATCH:
            advance_match(c);
            break;
        case MEMBERSHIP_TRANSFER:
            advance_transfer(c);
            break;
        default:
            break;
        }
    } while (!c->stopped && core_is_leader(c) && c->member.phase != before &&
             c->member.phase != MEMBERSHIP_IDLE && c->member.phase != MEMBERSHIP_MATCH);
}

uint64_t membership_deadline(const struct core *c)
{
    if (c->member.phase == MEMBERSHIP_IDLE) {
        return UINT64_MAX;
    }
    return c->member.fresh ? c->now_ms : c->now_ms + c->config.heartbeat_ms;
}

bool membership_pauses(const struct core *c)
{
    return c->member.phase == MEMBERSHIP_MATCH || c->member.phase == MEMBERSHIP_TRANSFER;
}

void membership_fail(struct core *c, int status, const char *detail)
{
    if (c->member.phase != MEMBERSHIP_IDLE) {
        end(c, status, "%s", detail);
    }
}
