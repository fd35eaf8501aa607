/* Nodes of core_cluster that stand still: the process is stopped, or its loop waits for the vote's commit.
 *
 * The core asks for the vote and goes on at once; the disk gets to it later.  The production call returns
 * only when it is durable, so until then nothing leaves the node and nothing reaches it. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core_cluster_private.h"

bool stands(const struct node *n)
{
    return n->paused || n->waits;
}

void stand_defer(struct node *n, const struct event *e)
{
    if (n->backlog_n == n->backlog_capacity) {
        n->backlog_capacity = n->backlog_capacity == 0 ? 64 : 2 * n->backlog_capacity;
        n->backlog = grown(n->backlog, n->backlog_capacity, sizeof *n->backlog);
    }
    n->backlog[n->backlog_n++] = *e;
}

/* What it owns moves into the heap again; it happens now. */
static void requeue(struct cluster *c, const struct node *n, const struct event *e)
{
    struct event *again = schedule(c, 0, e->kind, n);
    uint64_t at_us = again->at_us, seq = again->seq;
    *again = *e;
    again->at_us = at_us;
    again->seq = seq;
}

static void tick_now(struct cluster *c, struct node *n)
{
    n->tick_at_us = c->now_us;
    (void)schedule(c, 0, EV_TICK, n);
}

/* What waited happens, in order; late timers come before or behind it.  What still cannot happen waits again.
 */
static void go_on(struct cluster *c, struct node *n)
{
    bool timers_first = draw(c, STREAM_NODE, 2) == 0;
    if (n->core == NULL || n->paused) {
        return;
    }
    if (timers_first) {
        tick_now(c, n);
    }
    for (uint32_t i = 0; i < n->backlog_n; i++) {
        requeue(c, n, &n->backlog[i]);
    }
    n->backlog_n = 0;
    if (!timers_first) {
        tick_now(c, n);
    }
}

static void outbox_clear(struct node *n)
{
    for (uint32_t i = 0; i < n->outbox_n; i++) {
        free(n->outbox[i].bytes);
    }
    n->outbox_n = 0;
}

void stand_voted(struct cluster *c, struct node *n)
{
    n->waits = false;
    for (uint32_t i = 0; i < n->outbox_n; i++) {
        struct letter *l = &n->outbox[i];
        struct message m;
        if (!lives(n)) {
            outbox_clear(n);
            return;
        }
        int rv =
            message_decode(l->bytes, l->bytes + MESSAGE_HEADER_BYTES, l->size - MESSAGE_HEADER_BYTES, &m);
        assert(rv == 0);
        watch_leaving(c, n, l->to, &m);
        message_close(&m);
        link_send(n, l->to, l->bytes, l->size);
        l->bytes = NULL;
    }
    n->outbox_n = 0;
    go_on(c, n);
}

void stand_forget(struct cluster *c, struct node *n)
{
    n->paused = n->waits = false;
    outbox_clear(n);
    for (uint32_t i = 0; i < n->backlog_n; i++) {
        struct event *e = &n->backlog[i];
        if (e->kind == EV_CALL) { /* it is called whatever happens to the node */
            requeue(c, n, e);
        } else {
            event_free(e);
        }
    }
    n->backlog_n = 0;
}

void cluster_pause(struct cluster *c, uint32_t id, bool paused)
{
    struct node *n = node_of(c, id);
    if (n->core == NULL || n->paused == paused) {
        return;
    }
    n->paused = paused;
    if (!paused) {
        go_on(c, n);
    }
}
