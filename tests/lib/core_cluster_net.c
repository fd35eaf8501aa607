/* Simulated links of core_cluster. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core_cluster_private.h"

static struct message *message_copy(const struct message *m)
{
    struct message *copy = malloc(sizeof *copy);
    assert(copy != NULL);
    *copy = *m;
    if (m->type == MESSAGE_RAFT && m->raft.raft.type == RAFT_APPEND_ENTRIES) {
        uint32_t n = m->raft.raft.append_entries.n_entries;
        copy->raft.entries = malloc((n + 1) * sizeof(struct entry *));
        assert(copy->raft.entries != NULL);
        for (uint32_t i = 0; i < n; i++) {
            copy->raft.entries[i] = entry_ref(m->raft.entries[i]);
        }
    }
    if (m->type == MESSAGE_RAFT && m->raft.raft.type == RAFT_INSTALL_SNAPSHOT) {
        copy->raft.manifest = manifest_copy(&m->raft.manifest);
    }
    return copy;
}

void message_free(struct message *m)
{
    if (m->type == MESSAGE_RAFT && m->raft.raft.type == RAFT_APPEND_ENTRIES) {
        for (uint32_t i = 0; i < m->raft.raft.append_entries.n_entries; i++) {
            entry_unref(m->raft.entries[i]);
        }
        free(m->raft.entries);
    }
    if (m->type == MESSAGE_RAFT && m->raft.raft.type == RAFT_INSTALL_SNAPSHOT) {
        manifest_free(&m->raft.manifest);
    }
    free(m);
}

void io_send(void *data, uint64_t to, const char *address, const struct message *message)
{
    struct node *n = data;
    struct cluster *c = n->cluster;
    (void)address;
    if (message->type == MESSAGE_RAFT) {
        c->messages[message->raft.raft.type]++;
    }
    if (to < 1 || to > c->o.nodes || n->cut[to]) {
        return;
    }
    uint32_t copies = 1;
    if (c->chaos) {
        copies = cluster_chance(c, c->o.drop) ? 0 : cluster_chance(c, c->o.duplicate) ? 2 : 1;
    }
    for (uint32_t i = 0; i < copies; i++) {
        uint64_t delay = between(c, c->o.net_us_min, c->o.net_us_max);
        if (c->chaos && cluster_chance(c, c->o.stale)) {
            delay = cluster_random(c, c->o.stale_us_max);
        }
        struct event *e = schedule(c, delay, EV_MESSAGE, node_of(c, (uint32_t)to));
        e->message = message_copy(message);
        e->message->from = n->id;
    }
}

void cluster_cut(struct cluster *c, uint32_t from, uint32_t to, bool cut)
{
    node_of(c, from)->cut[to] = cut;
}

void cluster_isolate(struct cluster *c, uint32_t id, bool cut)
{
    for (uint32_t i = 1; i <= c->o.nodes; i++) {
        cluster_cut(c, id, i, cut);
        cluster_cut(c, i, id, cut);
    }
}

void cluster_heal(struct cluster *c)
{
    for (uint32_t i = 1; i <= c->o.nodes; i++) {
        memset(c->nodes[i].cut, 0, sizeof c->nodes[i].cut);
    }
}

void cluster_chaos(struct cluster *c, bool on)
{
    c->chaos = on;
}

void cluster_deliver(struct cluster *c, uint32_t to, const struct message *m)
{
    struct node *n = node_of(c, to);
    (void)core_receive(n->core, c->now_us / 1000, m, node_of(c, (uint32_t)m->from)->address);
    after(c, n);
}
