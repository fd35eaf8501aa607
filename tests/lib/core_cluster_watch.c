/* The application every node of core_cluster keeps, and the oracles. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core_cluster_private.h"

/* Who led a term: id and boot in one number. */
#define LEADER_BOOTS 1000000u

static void check_committed(struct cluster *c, struct node *n, const struct entry *e)
{
    if (e->index >= c->committed_capacity) {
        uint64_t capacity = 2 * e->index + 1024;
        c->committed = grown(c->committed, capacity, sizeof *c->committed);
        memset(c->committed + c->committed_capacity, 0,
               (capacity - c->committed_capacity) * sizeof *c->committed);
        c->committed_capacity = capacity;
    }
    struct committed *known = &c->committed[e->index];
    if (known->term == 0) {
        struct raftlog_status s;
        core_status(n->core, &s);
        *known = (struct committed){e->term, n->hash, e->crc, s.term};
    }
    if (known->term != e->term || known->crc != e->crc || known->hash != n->hash) {
        fail(c, "node %u applied (%llu, term %llu), another node term %llu there", n->id,
             (unsigned long long)e->index, (unsigned long long)e->term, (unsigned long long)known->term);
    }
    if (e->index > c->committed_n) {
        c->committed_n = e->index;
    }
}

void io_apply(void *data, struct entry *const *entries, uint32_t count)
{
    struct node *n = data;
    if (!lives(n)) {
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct entry *e = entries[i];
        if (e->index != n->applied + 1) {
            fail(n->cluster, "node %u applied %llu behind %llu", n->id, (unsigned long long)e->index,
                 (unsigned long long)n->applied);
            return;
        }
        n->applied = e->index;
        n->hash = mix(n->hash ^ e->index ^ (e->term << 40) ^ ((uint64_t)e->crc << 8) ^ e->type);
        check_committed(n->cluster, n, e);
    }
    const struct cluster_app *app = n->cluster->o.app;
    if (app != NULL && app->apply != NULL) {
        app->apply(app->data, n->id, entries, count);
    }
}

bool io_admit(void *data, const struct entry *entry)
{
    const struct node *n = data;
    const struct cluster *c = n->cluster;
    if (n->dead) {
        return false;
    }
    if (c->o.app != NULL && c->o.app->admit != NULL && !c->o.app->admit(c->o.app->data, n->id, entry)) {
        return false;
    }
    return c->refused == 0 || c->refused == n->id || c->accepts == n->id ||
           entry->term >= c->leaders_capacity || c->leaders[entry->term] / LEADER_BOOTS != c->refused;
}

void io_servers(void *data, const struct raft_configuration *configuration)
{
    (void)data;
    (void)configuration;
}

static void check_leader(struct cluster *c, struct node *n, uint64_t term)
{
    if (term >= c->leaders_capacity) {
        uint64_t capacity = 2 * term + 64;
        c->leaders = grown(c->leaders, capacity, sizeof *c->leaders);
        memset(c->leaders + c->leaders_capacity, 0, (capacity - c->leaders_capacity) * sizeof *c->leaders);
        c->leaders_capacity = capacity;
    }
    if (c->leaders[term] != 0 && (c->leaders[term] != n->id * LEADER_BOOTS + n->boot)) {
        fail(c, "nodes %u and %u both led term %llu", c->leaders[term] / LEADER_BOOTS, n->id,
             (unsigned long long)term);
    }
    c->leaders[term] = n->id * LEADER_BOOTS + n->boot;
}

void io_role(void *data, enum raftlog_role role, uint64_t term, uint64_t leader, bool ready)
{
    struct node *n = data;
    const struct cluster_app *app = n->cluster->o.app;
    if (role == RAFTLOG_STOPPED && n->disk.broken) {
        n->dead = true; /* as the product: it hears that its vote could not be written, and ends */
    }
    if (!lives(n)) {
        return;
    }
    if (role == RAFTLOG_LEADER) {
        check_leader(n->cluster, n, term);
    }
    if (app != NULL && app->role != NULL) {
        app->role(app->data, n->id, role, term, leader, ready);
    }
    if (role == RAFTLOG_STOPPED) {
        fail(n->cluster, "node %u stopped", n->id);
    }
}

void io_read_done(void *data, uint64_t read_id, int status, uint64_t index, uint64_t term, bool local)
{
    struct node *n = data;
    struct cluster *c = n->cluster;
    struct read_record *r = &c->reads[read_id];
    if (!lives(n)) {
        return;
    }
    if (read_id >= c->reads_n || r->done || r->node != n->id || r->boot != n->boot) {
        fail(c, "node %u ended a read twice or one of another", n->id);
        return;
    }
    r->done = true;
    if (c->o.app != NULL && c->o.app->read_done != NULL) {
        c->o.app->read_done(c->o.app->data, n->id, read_id, status, term, local);
    }
    if (status != 0) {
        return;
    }
    c->reads_done++;
    if (index < r->floor || n->applied < index) {
        fail(c, "node %u: stale read at %llu, committed before it began: %llu", n->id,
             (unsigned long long)index, (unsigned long long)r->floor);
    }
}

void io_member_done(void *data, uint64_t member_id, int status, const char *detail)
{
    struct node *n = data;
    (void)member_id;
    (void)detail;
    if (!lives(n)) {
        return;
    }
    n->cluster->members_done++;
    n->cluster->member_status = status;
}

void io_event(void *data, int level, const char *event, const char *details)
{
    const struct node *n = data;
    cluster_say(n->cluster, "node %u: %s %s", n->id, event, details);
    if (getenv("ASSENT_VERBOSE") != NULL) {
        fprintf(stderr, "%8.3f node %u level %d %s %s\n", (double)n->cluster->now_us / 1e6, n->id, level,
                event, details);
    }
}

static uint32_t voters_of(const struct node *n)
{
    const struct raft_configuration *conf = core_configuration(n->core);
    uint32_t voters = 0;
    for (unsigned i = 0; i < conf->n; i++) {
        voters |= conf->servers[i].role == RAFT_VOTER ? 1U << conf->servers[i].id : 0;
    }
    return voters;
}

static bool holds(const struct disk *d, uint64_t index, uint64_t term)
{
    const struct entry *e = disk_entry(d, index);
    return (e != NULL && e->term == term) || (d->has_snapshot && d->snapshot.index >= index);
}

/* Who has lost his disk for ever does not vote any more, and may have held it when he said so. */
static bool majority_holds(struct cluster *c, uint32_t voters, uint64_t index, uint64_t term)
{
    uint32_t n = 0, holders = 0;
    for (uint32_t id = 1; id <= c->o.nodes; id++) {
        if ((voters & 1U << id) != 0) {
            n++;
            holders += c->nodes[id].disk.blank || holds(&c->nodes[id].disk, index, term);
        }
    }
    return 2 * holders > n;
}

/* An index may count as committed, at whatever node, only when a majority of voters had it on disk: asked the
 * first time anybody counts it.  One call may commit and then begin the next change, so the voters before the
 * call will do. */
static void check_commit(struct cluster *c, struct node *n, const struct raftlog_status *s)
{
    uint64_t term = core_term_at(n->core, s->commit_index);
    if (s->commit_index <= c->proven || s->installing || term == 0) {
        return;
    }
    if (!majority_holds(c, voters_of(n), s->commit_index, term) &&
        !majority_holds(c, n->seen_voters, s->commit_index, term)) {
        fail(c, "node %u counts %llu (term %llu) as committed without a majority of disks", n->id,
             (unsigned long long)s->commit_index, (unsigned long long)term);
    }
    c->proven = s->commit_index;
}

/* The newest committed entry stands for those before it. */
void cluster_check_durable(struct cluster *c)
{
    uint32_t leader = cluster_leader(c), voters = 0, n = 0, without = 0;
    uint64_t index = c->committed_n;
    if (leader == 0 || index == 0 || c->nodes[leader].disk.blank) {
        return;
    }
    voters = voters_of(&c->nodes[leader]);
    for (uint32_t id = 1; id <= c->o.nodes; id++) {
        const struct disk *d = &c->nodes[id].disk;
        if ((voters & 1U << id) != 0) {
            n++;
            without += !d->blank && !holds(d, index, c->committed[index].term);
        }
    }
    if (2 * without > n && c->nodes[leader].applied >= index) {
        fail(c, "entry %llu (term %llu) was applied, but %u of %u voters do not have it on disk",
             (unsigned long long)index, (unsigned long long)c->committed[index].term, without, n);
    }
}

/* ---- what leaves a node */

static bool leaves_durable(const struct disk *d, uint64_t term, uint64_t vote)
{
    return d->term > term || (d->term == term && (vote == 0 || d->vote == vote));
}

static void check_term(struct node *n, const char *what, uint64_t term, uint64_t vote)
{
    const struct disk *d = &n->disk;
    if (!leaves_durable(d, term, vote)) {
        fail(n->cluster, "node %u sends %s of term %llu, vote %llu; on its disk are (%llu, %llu)", n->id,
             what, (unsigned long long)term, (unsigned long long)vote, (unsigned long long)d->term,
             (unsigned long long)d->vote);
    }
}

static void check_acknowledged(struct node *n, const struct raft_append_entries_result *r)
{
    const struct disk *d = &n->disk;
    uint64_t last = r->last_log_index;
    if (r->rejected != 0 || last == 0) {
        return;
    }
    uint64_t term = core_term_at(n->core, last);
    if (term != 0 ? !holds(d, last, term) : d->base + d->n < last) {
        fail(n->cluster, "node %u acknowledges %llu, its disk ends at %llu", n->id, (unsigned long long)last,
             (unsigned long long)(d->base + d->n));
    }
}

void watch_leaving(struct cluster *c, struct node *n, uint32_t to, const struct message *m)
{
    const struct raft_message *r = &m->raft.raft;
    if (m->type != MESSAGE_RAFT || c->failed) {
        return;
    }
    switch (r->type) {
    case RAFT_APPEND_ENTRIES:
        check_term(n, "entries", r->append_entries.term, 0);
        break;
    case RAFT_APPEND_ENTRIES_RESULT:
        check_term(n, "an acknowledgement", r->append_entries_result.term, 0);
        check_acknowledged(n, &r->append_entries_result);
        break;
    case RAFT_REQUEST_VOTE:
        if (!r->request_vote.pre_vote) {
            check_term(n, "a request for votes", r->request_vote.term, n->id);
        }
        break;
    case RAFT_REQUEST_VOTE_RESULT:
        if (!r->request_vote_result.pre_vote) {
            check_term(n, "a vote", r->request_vote_result.term,
                       r->request_vote_result.vote_granted ? to : 0);
        }
        break;
    case RAFT_INSTALL_SNAPSHOT:
        check_term(n, "a snapshot", r->install_snapshot.term, 0);
        break;
    case RAFT_TIMEOUT_NOW:
        check_term(n, "a transfer", r->timeout_now.term, 0);
        break;
    }
}

/* A leader holds what was committed in earlier terms.  One that was elected and stood still, so that it
 * counts its votes only now, need not hold what a later leader has committed meanwhile: it will learn of that
 * term. */
static void check_completeness(struct cluster *c, struct node *n, const struct raftlog_status *s)
{
    for (uint64_t i = s->first_index; i <= c->committed_n; i++) {
        if (c->committed[i].term != 0 && c->committed[i].in_term < s->term &&
            core_term_at(n->core, i) != c->committed[i].term) {
            fail(c, "node %u leads term %llu without the committed entry %llu", n->id,
                 (unsigned long long)s->term, (unsigned long long)i);
            return;
        }
    }
}

/* The configuration in force is that of the newest change in the log, committed or not. */
static void check_configuration(struct cluster *c, struct node *n, const struct raftlog_status *s)
{
    for (uint64_t i = s->last_index; i >= s->first_index && i > 0; i--) {
        const struct entry *e = core_entry(n->core, i);
        if (e->type == ENTRY_CHANGE) {
            if (i != s->configuration_index) {
                fail(c, "node %u goes by the configuration of %llu, the newest is at %llu", n->id,
                     (unsigned long long)s->configuration_index, (unsigned long long)i);
            }
            return;
        }
    }
    if (s->configuration_index >= s->first_index) {
        fail(c, "node %u goes by a configuration that is not in its log: %llu", n->id,
             (unsigned long long)s->configuration_index);
    }
}

static void take_snapshot(struct cluster *c, struct node *n)
{
    struct snapshot_manifest m = {0};
    m.index = n->applied;
    m.term = core_term_at(n->core, n->applied);
    m.configuration = core_applied_configuration(n->core, &m.configuration_index);
    m.size = m.chunk_size = 1;
    m.digest = n->hash;
    n->snapshot_asked = n->applied;
    if (c->o.app != NULL && c->o.app->dump != NULL) {
        c->o.app->dump(c->o.app->data, n->id, n->applied, n->disk.has_snapshot ? n->disk.snapshot.index : 0);
    }
    struct event *e = schedule(c, between(c, STREAM_NODE, 1000, 200000), EV_DUMPED, n);
    e->manifest = manifest_copy(&m);
}

/* The node's timer, on the clock of everybody. */
static void rearm(struct cluster *c, struct node *n)
{
    uint64_t deadline = core_deadline_ms(n->core), now = local_us(n);
    uint64_t wait_us = deadline > now / 1000 + 3600000 ? 3600000000u
                       : deadline * 1000 > now         ? deadline * 1000 - now
                                                       : 0;
    if (n->rate_ppm != 0) {
        wait_us = wait_us * 1000000 / (uint64_t)(1000000 + n->rate_ppm) + 1;
    }
    uint64_t at = c->now_us + (wait_us == 0 ? 100 : wait_us);
    if (n->tick_at_us <= c->now_us || at < n->tick_at_us) {
        n->tick_at_us = at;
        (void)schedule(c, at - c->now_us, EV_TICK, n);
    }
}

void after(struct cluster *c, struct node *n)
{
    struct raftlog_status s = {0};
    if (n->core == NULL || c->failed) {
        return;
    }
    core_status(n->core, &s);
    bool leader = s.role == RAFTLOG_LEADER;
    if (s.commit_index > n->seen_commit) {
        check_commit(c, n, &s);
    }
    if (n->dead) {
        c->inner_crashes += !n->disk.broken;
        cluster_crash(c, n->id);
        return;
    }
    if (leader && !n->seen_leader) {
        check_completeness(c, n, &s);
    }
    if (s.applied_index != n->applied) {
        fail(c, "node %u says it applied %llu, its application %llu", n->id,
             (unsigned long long)s.applied_index, (unsigned long long)n->applied);
    }
    if (s.configuration_index != n->seen_configuration || leader != n->seen_leader) {
        check_configuration(c, n, &s);
    }
    n->seen_configuration = s.configuration_index;
    n->seen_leader = leader;
    n->seen_commit = s.commit_index;
    n->seen_voters = voters_of(n);
    if (c->o.snapshot_every > 0 && !s.installing && n->applied >= n->snapshot_asked + c->o.snapshot_every &&
        n->applied > 0 && core_term_at(n->core, n->applied) != 0) {
        take_snapshot(c, n);
    }
    rearm(c, n);
}
