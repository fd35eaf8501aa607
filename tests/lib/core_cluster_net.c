/* Simulated links of core_cluster: what is sent goes through the production codec and may be damaged on the
 * way.
 *
 * As with transport.c a damaged frame closes its connection: what else was under way on that link is lost,
 * and so is what is sent until it has been made again. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core_cluster_private.h"

/* Until a broken connection is there again; transport.c backs off between these. */
#define RECONNECT_US_MIN 10000
#define RECONNECT_US_MAX 1000000

static uint8_t *encode(const struct message *m, uint32_t *size)
{
    size_t head = message_head_size(m), tail = message_tail_size(m);
    uint8_t *bytes = malloc(head + tail);
    assert(bytes != NULL);
    size_t at = message_encode_head(m, bytes);
    assert(at == head);
    for (uint32_t i = 0; i < message_tail_n(m); i++) {
        struct assent_bytes piece = message_tail(m, i);
        memcpy(bytes + at, piece.base, piece.size);
        at += piece.size;
    }
    *size = (uint32_t)(head + tail);
    return bytes;
}

/* Some bytes become others: one bit, one byte, or a run of them. */
static void damage(struct cluster *c, uint8_t *bytes, uint32_t size)
{
    uint32_t at = (uint32_t)draw(c, STREAM_NET, size);
    uint32_t n = draw(c, STREAM_NET, 3) == 0 ? 1 + (uint32_t)draw(c, STREAM_NET, 16) : 1;
    if (draw(c, STREAM_NET, 2) == 0) {
        bytes[at] ^= (uint8_t)(1u << draw(c, STREAM_NET, 8));
        return;
    }
    for (uint32_t i = at; i < size && i < at + n; i++) {
        bytes[i] ^= (uint8_t)(1 + draw(c, STREAM_NET, 255));
    }
}

static void link_post(struct node *n, uint32_t to, const uint8_t *bytes, uint32_t size)
{
    struct cluster *c = n->cluster;
    const struct link *link = &n->links[to];
    uint64_t delay = between(c, STREAM_NET, c->o.net_us_min, c->o.net_us_max);
    if (c->chaos && cluster_chance(c, c->o.stale)) {
        delay = draw(c, STREAM_NET, c->o.stale_us_max);
    }
    if (link->clog_until_us > c->now_us) {
        delay += link->clog_until_us - c->now_us;
    }
    struct event *e = schedule(c, delay, EV_FRAME, node_of(c, to));
    e->from = n->id;
    e->connection = link->connection;
    e->size = size;
    e->bytes = malloc(size);
    assert(e->bytes != NULL);
    memcpy(e->bytes, bytes, size);
    if (c->chaos && cluster_chance(c, c->o.corrupt)) {
        e->damaged = true;
        damage(c, e->bytes, size);
    }
}

void link_send(struct node *n, uint32_t to, uint8_t *bytes, uint32_t size)
{
    struct cluster *c = n->cluster;
    const struct link *link = &n->links[to];
    uint32_t copies = link->cut || link->down_until_us > c->now_us ? 0 : 1;
    if (copies > 0 && c->chaos) {
        copies = cluster_chance(c, c->o.drop) ? 0 : cluster_chance(c, c->o.duplicate) ? 2 : 1;
    }
    for (uint32_t i = 0; i < copies; i++) {
        link_post(n, to, bytes, size);
    }
    free(bytes);
}

static void keep_for_later(struct node *n, uint32_t to, uint8_t *bytes, uint32_t size)
{
    if (n->outbox_n == n->outbox_capacity) {
        n->outbox_capacity = n->outbox_capacity == 0 ? 16 : 2 * n->outbox_capacity;
        n->outbox = grown(n->outbox, n->outbox_capacity, sizeof *n->outbox);
    }
    n->outbox[n->outbox_n++] = (struct letter){to, size, bytes};
}

void io_send(void *data, uint64_t to, const char *address, const struct message *message)
{
    struct node *n = data;
    struct cluster *c = n->cluster;
    uint32_t size;
    (void)address;
    if (!lives(n)) {
        return;
    }
    if (message->type == MESSAGE_RAFT) {
        c->messages[message->raft.raft.type]++;
    }
    if (to < 1 || to > c->o.nodes) {
        return;
    }
    if (n->waits) {
        uint8_t *bytes = encode(message, &size);
        keep_for_later(n, (uint32_t)to, bytes, size);
        return;
    }
    watch_leaving(c, n, (uint32_t)to, message);
    if (!n->links[to].cut) {
        uint8_t *bytes = encode(message, &size);
        link_send(n, (uint32_t)to, bytes, size);
    }
}

static void link_break(struct cluster *c, struct link *link)
{
    link->connection++;
    link->down_until_us = c->now_us + between(c, STREAM_NET, RECONNECT_US_MIN, RECONNECT_US_MAX);
    c->broken_links++;
}

void link_deliver(struct cluster *c, struct node *n, struct event *e)
{
    struct node *from = node_of(c, e->from);
    struct link *link = &from->links[n->id];
    enum message_type type;
    uint32_t body_size;
    struct message m;
    if (e->connection != link->connection) {
        return; /* it was on its way when the connection broke */
    }
    int rv = message_decode_header(e->bytes, &type, &body_size);
    if (rv == 0 && body_size != e->size - MESSAGE_HEADER_BYTES) {
        rv = -1; /* the receiver waits for bytes of the next frame, or takes the rest for one */
    }
    if (rv == 0) {
        rv = message_decode(e->bytes, e->bytes + MESSAGE_HEADER_BYTES, body_size, &m);
    }
    if (rv != 0) {
        cluster_say(c, "node %u: what node %u sent is damaged, the connection ends", n->id, from->id);
        if (!e->damaged) {
            fail(c, "node %u cannot read what node %u sent: %d", n->id, from->id, rv);
        }
        link_break(c, link);
        return;
    }
    if (e->damaged) {
        fail(c, "node %u took a damaged frame of node %u for a message", n->id, from->id);
    }
    m.from = from->id;
    say_message(c, n->id, &m);
    (void)core_receive(n->core, local_ms(n), &m, from->address);
    message_close(&m);
}

/* ---- from outside */

void cluster_cut(struct cluster *c, uint32_t from, uint32_t to, bool cut)
{
    node_of(c, from)->links[to].cut = cut;
}

void cluster_isolate(struct cluster *c, uint32_t id, bool cut)
{
    for (uint32_t i = 1; i <= c->o.nodes; i++) {
        cluster_cut(c, id, i, cut);
        cluster_cut(c, i, id, cut);
    }
}

void cluster_clog(struct cluster *c, uint32_t from, uint32_t to, uint64_t us)
{
    node_of(c, from)->links[to].clog_until_us = c->now_us + us;
}

void cluster_heal(struct cluster *c)
{
    for (uint32_t i = 1; i <= c->o.nodes; i++) {
        for (uint32_t to = 1; to <= c->o.nodes; to++) {
            struct link *link = &c->nodes[i].links[to];
            link->cut = false;
            link->clog_until_us = link->down_until_us = 0;
        }
    }
}

void cluster_chaos(struct cluster *c, bool on)
{
    c->chaos = on;
}

void cluster_deliver(struct cluster *c, uint32_t to, const struct message *m)
{
    struct node *n = node_of(c, to);
    (void)core_receive(n->core, local_ms(n), m, node_of(c, (uint32_t)m->from)->address);
    after(c, n);
}
