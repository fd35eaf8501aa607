/* What tests look at in a core_cluster. */
#include <stdio.h>

#include "core_cluster_private.h"

bool cluster_up(const struct cluster *c, uint32_t id)
{
    return node_of(c, id)->core != NULL;
}

bool cluster_paused(const struct cluster *c, uint32_t id)
{
    return node_of(c, id)->paused;
}

struct core *cluster_core(struct cluster *c, uint32_t id)
{
    return node_of(c, id)->core;
}

uint32_t cluster_reads_done(const struct cluster *c)
{
    return c->reads_done;
}

uint32_t cluster_members_done(const struct cluster *c, int *status)
{
    *status = c->member_status;
    return c->members_done;
}

struct raftlog_status cluster_status(const struct cluster *c, uint32_t id)
{
    struct raftlog_status s = {.role = RAFTLOG_STOPPED};
    if (node_of(c, id)->core != NULL) {
        core_status(node_of(c, id)->core, &s);
    }
    return s;
}

void cluster_print(const struct cluster *c)
{
    static const char *const roles[] = {"follower", "candidate", "leader", "stopped"};
    for (uint32_t i = 1; i <= c->o.nodes; i++) {
        const struct node *n = node_of(c, i);
        struct raftlog_status s = cluster_status(c, i);
        fprintf(stderr,
                "node %u %s%s term %llu leader %llu log %llu..%llu stored %llu commit %llu applied %llu "
                "snapshot %llu conf %llu%s; disk term %llu vote %llu %llu..%llu queued %u%s%s%s\n",
                i, roles[s.role], s.ready ? " ready" : "", (unsigned long long)s.term,
                (unsigned long long)s.leader, (unsigned long long)s.first_index,
                (unsigned long long)s.last_index, (unsigned long long)s.stored_index,
                (unsigned long long)s.commit_index, (unsigned long long)s.applied_index,
                (unsigned long long)s.snapshot_index, (unsigned long long)s.configuration_index,
                s.installing ? " installing" : "", (unsigned long long)n->disk.term,
                (unsigned long long)n->disk.vote, (unsigned long long)n->disk.base + 1,
                (unsigned long long)(n->disk.base + n->disk.n), n->disk.queued,
                n->disk.frozen ? " frozen" : "", n->paused ? " paused" : "", n->waits ? " waits" : "");
        const struct raft_configuration *conf = n->core != NULL ? core_configuration(n->core) : NULL;
        for (unsigned j = 0; conf != NULL && j < conf->n; j++) {
            fprintf(stderr, "    server %llu %s match %llu\n", conf->servers[j].id,
                    raft_role_name(conf->servers[j].role),
                    (unsigned long long)core_match_index(n->core, conf->servers[j].id));
        }
    }
}

uint32_t cluster_leader(const struct cluster *c)
{
    uint64_t term = 0;
    uint32_t leader = 0;
    for (uint32_t i = 1; i <= c->o.nodes; i++) {
        struct raftlog_status s = cluster_status(c, i);
        if (s.role == RAFTLOG_LEADER && s.ready && s.term > term) {
            term = s.term;
            leader = i;
        }
    }
    return leader;
}

uint64_t cluster_applied_everywhere(const struct cluster *c)
{
    uint32_t leader = cluster_leader(c);
    uint64_t lowest = UINT64_MAX;
    if (leader == 0) {
        return 0;
    }
    const struct raft_configuration *conf = core_configuration(node_of(c, leader)->core);
    for (unsigned i = 0; i < conf->n; i++) {
        const struct node *n = node_of(c, (uint32_t)conf->servers[i].id);
        if (n->core != NULL && n->applied < lowest) {
            lowest = n->applied;
        }
    }
    return lowest;
}

uint64_t cluster_committed(const struct cluster *c)
{
    return c->committed_n;
}

uint64_t cluster_committed_term(const struct cluster *c, uint64_t index)
{
    return index < c->committed_capacity ? c->committed[index].term : 0;
}

uint64_t cluster_messages(const struct cluster *c, enum raft_message_type type)
{
    return c->messages[type];
}

uint64_t cluster_ticks(const struct cluster *c, uint32_t id)
{
    return node_of(c, id)->ticks;
}

uint64_t cluster_guard(const struct cluster *c, uint32_t n)
{
    uint64_t count = 0;
    for (uint32_t i = 1; i <= c->o.nodes; i++) {
        struct raftlog_metrics m = {0};
        if (c->nodes[i].core != NULL) {
            core_metrics(c->nodes[i].core, &m);
        }
        count += c->nodes[i].guards[n] + m.guard[n];
    }
    return count;
}

struct cluster_faults cluster_faults(const struct cluster *c)
{
    return (struct cluster_faults){c->broken_links, c->inner_crashes, c->disk_errors};
}
