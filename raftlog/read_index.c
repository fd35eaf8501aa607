/* Linearizable reads by probe rounds; see read_index.h. */
#include "read_index.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "assent/error.h"
#include "core_state.h"
#include "mark.h"
#include "planted.h"

/* A read without an answer ends after this many election timeouts; several elections fit. */
#define READ_ELECTIONS 10

void read_index_init(struct read_index *x, uint32_t seed)
{
    memset(x, 0, sizeof *x);
    x->number_last = (uint64_t)seed << 32;
}

/* ---- groups */

static struct read_group *group_new(struct read_index *x)
{
    struct read_group *g = x->spare;
    if (g != NULL) {
        x->spare = g->next;
        *g = (struct read_group){.reads = g->reads, .capacity = g->capacity};
        return g;
    }
    return calloc(1, sizeof *g);
}

static void group_drop(struct read_index *x, struct read_group *g)
{
    g->next = x->spare;
    x->spare = g;
}

static int group_push(struct read_group *g, struct read read)
{
    if (g->n == g->capacity) {
        uint32_t capacity = g->capacity == 0 ? 64 : 2 * g->capacity;
        struct read *reads = realloc(g->reads, capacity * sizeof *reads);
        if (reads == NULL) {
            return ASSENT_NOMEM;
        }
        g->reads = reads;
        g->capacity = capacity;
    }
    g->reads[g->n++] = read;
    return 0;
}

static void list_free(struct read_group *g)
{
    while (g != NULL) {
        struct read_group *next = g->next;
        free(g->reads);
        free(g);
        g = next;
    }
}

void read_index_close(struct read_index *x)
{
    list_free(x->gathering);
    list_free(x->flying);
    list_free(x->landed);
    list_free(x->spare);
    memset(x, 0, sizeof *x);
}

/* The front group leaves the flight list. */
static struct read_group *flight_pop(struct read_index *x)
{
    struct read_group *g = x->flying;
    x->flying = g->next;
    if (x->flying == NULL) {
        x->flying_tail = NULL;
    }
    x->flights--;
    g->next = NULL;
    return g;
}

static int gather(struct core *c, struct read read, uint64_t first_ms)
{
    struct read_index *x = &c->reads;
    if (x->waiting >= READ_WAITING_MAX) {
        return ASSENT_BUSY;
    }
    if (x->gathering == NULL) {
        x->gathering = group_new(x);
        if (x->gathering == NULL) {
            return ASSENT_NOMEM;
        }
        x->gathering->first_ms = first_ms;
    }
    int rv = group_push(x->gathering, read);
    if (rv == 0) {
        x->waiting++;
        if (first_ms < x->gathering->first_ms) {
            x->gathering->first_ms = first_ms;
        }
    }
    return rv;
}

/* ---- flights */

static void send_round(struct core *c, struct read_group *g)
{
    struct message m = {.from = c->config.id};
    g->sent_ms = c->now_ms;
    if (core_is_leader(c)) {
        m.type = MESSAGE_PROBE;
        m.probe.term = c->raft.current_term;
        m.probe.round = g->number;
        for (unsigned i = 0; i < c->raft.configuration.n; i++) {
            const struct raft_server *s = &c->raft.configuration.servers[i];
            if (s->role == RAFT_VOTER) {
                core_send(c, s->id, s->address, &m);
            }
        }
        return;
    }
    raft_id leader = 0;
    const char *address = NULL;
    raft_leader(&c->raft, &leader, &address);
    if (leader != 0) {
        m.type = MESSAGE_READ_INDEX;
        m.read_index.id = g->number;
        m.read_index.term = c->raft.current_term;
        core_send(c, leader, address, &m);
    }
}

/* A new round waits for the one in flight unless that takes a millisecond or more: at light load a read
 * leaves at once, at heavy load rounds batch by themselves, on a slow network they are pipelined. */
static bool may_fly(const struct core *c)
{
    const struct read_index *x = &c->reads;
    if (x->gathering == NULL || (core_is_leader(c) ? !core_is_ready(c) : core_leader(c) == 0)) {
        return false;
    }
    return x->flights == 0 || (x->flights < READ_FLIGHTS_MAX && c->now_ms > x->flying_tail->sent_ms);
}

static void fly(struct core *c)
{
    struct read_index *x = &c->reads;
    struct read_group *g = x->gathering;
    if (!may_fly(c)) {
        return;
    }
    x->gathering = NULL;
    g->number = ++x->number_last;
    g->index = core_is_leader(c) ? raft_commit_index(&c->raft) : 0;
    g->term = c->raft.current_term;
    if (x->flying_tail != NULL) {
        x->flying_tail->next = g;
    } else {
        x->flying = g;
    }
    x->flying_tail = g;
    x->flights++;
    x->rounds++;
    send_round(c, g);
}

int read_index_begin(struct core *c, uint64_t read_id)
{
    if (core_leader(c) == 0) {
        return ASSENT_NO_LEADER;
    }
    int rv = gather(c, (struct read){read_id, 0}, c->now_ms);
    if (rv == 0) {
        c->reads.reads++;
        fly(c);
    }
    return rv;
}

/* ---- landing */

/* Answers go to those who asked; our own reads wait for the apply index. */
static void land(struct core *c, struct read_group *g, uint64_t index, uint64_t term, bool local)
{
    struct read_index *x = &c->reads;
    uint32_t own = 0;
    x->waiting -= g->n;
    for (uint32_t i = 0; i < g->n; i++) {
        struct read read = g->reads[i];
        if (read.asker == 0) {
            g->reads[own++] = read;
            continue;
        }
        const struct raft_server *s = core_server(c, read.asker);
        struct message m = {.type = MESSAGE_READ_INDEX_ACK, .from = c->config.id};
        m.read_index.id = read.id;
        m.read_index.term = term;
        m.read_index.index = index;
        m.read_index.ok = true;
        if (s != NULL) {
            core_send(c, read.asker, s->address, &m);
            core_send_commit(c, read.asker); /* or it would wait for the next heartbeat to apply */
        }
    }
    g->n = own;
    g->index = index;
    g->term = term;
    g->local = local;
    if (own == 0) {
        group_drop(x, g);
        return;
    }
    g->next = x->landed;
    x->landed = g;
}

/* The newest round that a majority of voters answered in our term; we are one of them. */
static uint64_t confirmed_round(const struct core *c)
{
    uint64_t rounds[ASSENT_NODES_MAX];
    uint32_t n = 0;
    for (unsigned i = 0; i < c->raft.configuration.n && n < ASSENT_NODES_MAX; i++) {
        const struct raft_server *s = &c->raft.configuration.servers[i];
        if (s->role != RAFT_VOTER) {
            continue;
        }
        const struct core_peer *peer = core_peer((struct core *)(uintptr_t)c, s->id);
        uint64_t round = s->id == c->config.id                                      ? UINT64_MAX
                         : peer != NULL && peer->acked_term == c->raft.current_term ? peer->acked_round
                                                                                    : 0;
        uint32_t at = n++;
        for (; at > 0 && rounds[at - 1] < round; at--) {
            rounds[at] = rounds[at - 1];
        }
        rounds[at] = round;
    }
    if (PLANTED(READ_WITHOUT_ROUND))
        return UINT64_MAX;
    return n == 0 ? 0 : rounds[n / 2]; /* descending: n/2 + 1 voters have this or more */
}

static void confirm(struct core *c)
{
    struct read_index *x = &c->reads;
    while (PLANTED(READ_AT_FOLLOWER) && !core_is_leader(c) && x->flying != NULL) {
        land(c, flight_pop(x), c->applied, c->raft.current_term, false);
    }
    if (!core_is_leader(c) || x->flying == NULL) {
        return;
    }
    uint64_t round = confirmed_round(c);
    while (x->flying != NULL && x->flying->number <= round) {
        struct read_group *g = flight_pop(x);
        land(c, g, g->index, g->term, true);
    }
}

static void finish(struct core *c, struct read_group *g, int status)
{
    for (uint32_t i = 0; i < g->n; i++) {
        if (g->reads[i].asker == 0) {
            c->io.read_done(c->io.data, g->reads[i].id, status, g->index, g->term, g->local);
        }
    }
    group_drop(&c->reads, g);
}

static void finish_applied(struct core *c)
{
    struct read_group **at = &c->reads.landed;
    while (*at != NULL) {
        struct read_group *g = *at;
        if (g->index > c->applied) {
            at = &g->next;
            continue;
        }
        *at = g->next;
        finish(c, g, 0);
    }
}

static uint64_t limit_of(const struct core *c, const struct read_group *g)
{
    return g->first_ms + READ_ELECTIONS * (uint64_t)c->config.election_ms;
}

static void expire(struct core *c)
{
    struct read_index *x = &c->reads;
    while (x->flying != NULL && c->now_ms >= limit_of(c, x->flying)) {
        struct read_group *g = flight_pop(x);
        x->waiting -= g->n;
        finish(c, g, ASSENT_TIMEOUT);
    }
    if (x->gathering != NULL && c->now_ms >= limit_of(c, x->gathering)) {
        struct read_group *g = x->gathering;
        x->gathering = NULL;
        x->waiting -= g->n;
        finish(c, g, core_leader(c) == 0 ? ASSENT_NO_LEADER : ASSENT_TIMEOUT);
    }
    struct read_group **at = &x->landed;
    while (*at != NULL) {
        struct read_group *g = *at;
        if (c->now_ms < limit_of(c, g)) {
            at = &g->next;
            continue;
        }
        *at = g->next;
        finish(c, g, ASSENT_TIMEOUT);
    }
}

/* Rounds and questions may be lost.  An answer to the newest round confirms the older ones too. */
static void repeat(struct core *c)
{
    struct read_index *x = &c->reads;
    if (core_is_leader(c)) {
        if (x->flying_tail != NULL && c->now_ms >= x->flying_tail->sent_ms + c->config.heartbeat_ms) {
            send_round(c, x->flying_tail);
        }
        return;
    }
    for (struct read_group *g = x->flying; g != NULL; g = g->next) {
        if (c->now_ms >= g->sent_ms + c->config.heartbeat_ms) {
            send_round(c, g);
        }
    }
}

void read_index_advance(struct core *c)
{
    struct read_index *x = &c->reads;
    if (x->gathering == NULL && x->flying == NULL && x->landed == NULL) {
        return;
    }
    confirm(c);
    fly(c);
    repeat(c);
    finish_applied(c);
    expire(c);
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t read_index_deadline(const struct core *c)
{
    const struct read_index *x = &c->reads;
    uint64_t deadline = UINT64_MAX;
    if (x->gathering != NULL) {
        deadline = limit_of(c, x->gathering);
        if (may_fly(c)) {
            deadline = c->now_ms;
        } else if (x->flying_tail != NULL && x->flights < READ_FLIGHTS_MAX) {
            deadline = sooner(deadline, x->flying_tail->sent_ms + 1);
        }
    }
    if (x->flying != NULL) {
        bool done = core_is_leader(c) && confirmed_round(c) >= x->flying->number; /* a sole voter's */
        deadline = done ? c->now_ms : sooner(deadline, x->flying->sent_ms + c->config.heartbeat_ms);
        deadline = sooner(deadline, limit_of(c, x->flying));
    }
    for (const struct read_group *g = x->landed; g != NULL; g = g->next) {
        deadline = sooner(deadline, g->index <= c->applied ? c->now_ms : limit_of(c, g));
    }
    return deadline;
}

/* ---- role and messages */

/* Rounds of another role or term mean nothing now: their reads are asked again. Questions of others are
 * dropped, their askers repeat them. */
void read_index_role_changed(struct core *c)
{
    struct read_index *x = &c->reads;
    while (x->flying != NULL) {
        struct read_group *g = flight_pop(x);
        MARK(READ_ASKED_AGAIN);
        x->waiting -= g->n;
        for (uint32_t i = 0; i < g->n; i++) {
            if (g->reads[i].asker == 0 && gather(c, g->reads[i], g->first_ms) != 0) {
                c->io.read_done(c->io.data, g->reads[i].id, ASSENT_BUSY, 0, 0, false);
            }
        }
        group_drop(x, g);
    }
}

/* Echoed only by a node that knows no newer term: were there a newer leader, a majority would know its term,
 * and one of that majority is in every majority of echoes. */
void read_index_probe(struct core *c, const struct message *m, const char *address)
{
    if (m->probe.term != c->raft.current_term || address == NULL) {
        return;
    }
    struct message out = {.type = MESSAGE_PROBE_ACK, .from = c->config.id};
    out.probe.term = m->probe.term;
    out.probe.round = m->probe.round;
    core_send(c, m->from, address, &out);
}

void read_index_probe_ack(struct core *c, const struct message *m)
{
    struct core_peer *peer = core_peer(c, m->from);
    if (peer == NULL || !core_is_leader(c) || m->probe.term != c->raft.current_term ||
        m->probe.round > c->reads.number_last) {
        return;
    }
    if (peer->acked_term != m->probe.term) {
        peer->acked_term = m->probe.term;
        peer->acked_round = 0;
    }
    if (m->probe.round > peer->acked_round) {
        peer->acked_round = m->probe.round;
    }
}

void read_index_ask(struct core *c, const struct message *m)
{
    const struct raft_server *s = core_server(c, m->from);
    if (s == NULL) {
        return;
    }
    if (core_is_leader(c)) {
        if (gather(c, (struct read){m->read_index.id, m->from}, c->now_ms) == 0) {
            fly(c);
        }
        return;
    }
    MARK(READ_ASKED_NO_LEADER);
    struct message out = {.type = MESSAGE_READ_INDEX_ACK, .from = c->config.id};
    out.read_index.id = m->read_index.id;
    out.read_index.term = c->raft.current_term;
    out.read_index.ok = false;
    core_send(c, m->from, s->address, &out);
}

/* An answer is good whatever our term is by now: its leader was confirmed after we asked. A refusal needs
 * nothing: the question is repeated, to whoever leads then. */
void read_index_answer(struct core *c, const struct message *m)
{
    struct read_index *x = &c->reads;
    if (core_is_leader(c) || !m->read_index.ok) {
        return;
    }
    struct read_group **at = &x->flying;
    struct read_group *before = NULL;
    while (*at != NULL && (*at)->number != m->read_index.id) {
        before = *at;
        at = &(*at)->next;
    }
    struct read_group *g = *at;
    if (g == NULL) {
        return;
    }
    *at = g->next;
    if (g == x->flying_tail) {
        x->flying_tail = before;
    }
    x->flights--;
    g->next = NULL;
    land(c, g, m->read_index.index, m->read_index.term, false);
}
