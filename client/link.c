/* The link to the leader: which node to try, the handshake, redirects, silence, pauses.
 *
 * One connection at a time.  It is looked for when a call waits and kept while it works.  Where a node names
 * the leader we go there; where none is known we wait a little and ask the next of the list.  The states are
 * drawn in internal.h; link_timer() and the four events of the transport hold every move. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

/* How long a node we are leaving may still answer what it has. */
#define LEAVE_MS 100

static void link_move(struct assent_async *c, enum link_state state, uint64_t event_ms)
{
    assert(c->link.state != LINK_CLOSED);
    c->link.state = state;
    c->link.event_ms = event_ms;
}

static void link_drop(struct assent_async *c)
{
    struct link *l = &c->link;
    if (l->transport != NULL) {
        transport_close(l->transport);
        l->transport = NULL;
    }
    l->leave = l->pinged = false;
}

/* Try again, at once while there are nodes not tried in this round, else after a pause. */
static void link_again(struct assent_async *c, bool pause)
{
    struct link *l = &c->link;
    link_drop(c);
    l->tries++;
    bool round = l->tries % (c->endpoints_n + 1) == 0 || c->endpoints_n == 1;
    uint32_t delay = pause || round ? retry_backoff_next(&c->backoff) : 0;
    link_move(c, LINK_PAUSED, client_now(c) + delay);
    client_requeue_all(c); /* may call back, so everything else is settled by now */
    if (c->pending == 0 && l->state == LINK_PAUSED) {
        link_move(c, LINK_IDLE, UINT64_MAX);
    }
    client_wake(c); /* sets the timer */
}

static void link_failed(struct assent_async *c, int why)
{
    struct link *l = &c->link;
    if (l->state == LINK_CLOSED) {
        return;
    }
    if (l->state == LINK_READY || l->state == LINK_WATCHING) {
        c->stats.connections_lost++;
    }
    l->why = why;
    l->leader[0] = '\0'; /* whoever named it may have been wrong */
    link_again(c, false);
}

static void write_hello(struct assent_async *c)
{
    struct codec_writer *w = transport_writer(c->link.transport);
    size_t mark = frame_open(w, FRAME_HELLO, client_next_id(c, ID_SLOT_PLAIN), 3);
    codec_cstr(w, "assent");
    codec_uint(w, FRAME_VERSION);
    codec_cstr(w, c->name);
    frame_close(w, mark);
}

static void connected_cb(void *data)
{
    struct assent_async *c = data;
    assert(c->link.state == LINK_CONNECTING);
    c->link.state = LINK_GREETING; /* the same limit covers both */
    write_hello(c);
    if (!transport_flush(c->link.transport)) {
        link_failed(c, ASSENT_UNREACHABLE);
    }
}

static void lost_cb(void *data, bool garbage)
{
    struct assent_async *c = data;
    c->stats.frames_refused += garbage;
    link_failed(c, garbage ? ASSENT_PROTOCOL : ASSENT_UNREACHABLE);
}

static bool is_here(const struct assent_async *c, struct assent_bytes leader)
{
    return leader.size == strlen(c->link.address) && memcmp(leader.base, c->link.address, leader.size) == 0;
}

void link_redirect(struct assent_async *c, struct assent_bytes leader)
{
    struct link *l = &c->link;
    if (l->leave && leader.size == 0) {
        return; /* another answer of this read knew more */
    }
    l->why = ASSENT_NO_LEADER;
    l->leader[0] = '\0';
    if (leader.size > 0 && leader.size < sizeof l->leader && !is_here(c, leader)) {
        memcpy(l->leader, leader.base, leader.size);
        l->leader[leader.size] = '\0';
        char host[RETRY_ADDRESS_BYTES], port[8];
        if (!retry_split(l->leader, host, port)) {
            l->leader[0] = '\0';
        }
    }
    if (!l->leave) {
        l->leave = true;
        l->event_ms = client_now(c) + LEAVE_MS;
    }
}

static void link_leave(struct assent_async *c)
{
    bool known = c->link.leader[0] != '\0';
    c->stats.redirects += known;
    link_again(c, !known);
}

static void welcome(struct assent_async *c, const struct codec_node *list)
{
    struct link *l = &c->link;
    if (codec_as_uint(codec_at(list, 2)) != FRAME_VERSION) {
        link_failed(c, ASSENT_PROTOCOL);
        return;
    }
    c->stats.connections++;
    l->heard_ms = client_now(c);
    if (codec_as_bool(codec_at(list, 6))) {
        l->why = ASSENT_NO_LEADER; /* leads, but is not heard of again */
        memcpy(l->leader, l->address, sizeof l->leader);
        link_move(c, LINK_READY, UINT64_MAX);
        client_wake(c);
        return;
    }
    link_redirect(c, codec_as_bytes(codec_at(list, 5)));
    if (l->leader[0] != '\0') {
        link_leave(c);
        return;
    }
    l->leave = false;
    link_move(c, LINK_WATCHING, client_now(c) + retry_backoff_next(&c->backoff));
    client_wake(c);
}

static void frame_cb(void *data, enum frame_kind kind, uint64_t id, const struct codec_node *list,
                     struct assent_bytes body)
{
    struct assent_async *c = data;
    struct link *l = &c->link;
    l->heard_ms = client_now(c);
    l->pinged = false;
    if (l->state == LINK_GREETING) {
        if (kind == FRAME_WELCOME) {
            welcome(c, list);
        } else if (kind == FRAME_FAILED) {
            link_failed(c, (int)codec_as_uint(codec_at(list, 2)));
        } else {
            lost_cb(c, true);
        }
        return;
    }
    switch (kind) {
    case FRAME_RESULT:
    case FRAME_FAILED:
    case FRAME_TSO_OK:
        client_frame(c, kind, id, list, body);
        break;
    case FRAME_PONG:
        if (!codec_as_bool(codec_at(list, 3)) && l->state == LINK_READY) {
            link_redirect(c, codec_as_bytes(codec_at(list, 2)));
        }
        break;
    default: /* a node never sends these, or not twice */
        lost_cb(c, true);
    }
}

static void turn_cb(void *data)
{
    struct assent_async *c = data;
    if (c->link.leave && !client_expects(c)) {
        link_leave(c);
    } else {
        client_wake(c);
    }
}

static void drained_cb(void *data)
{
    client_wake(data);
}

static void gone_cb(void *data)
{
    client_transport_gone(data);
}

static void link_connect(struct assent_async *c)
{
    struct link *l = &c->link;
    const char *address = l->leader[0] != '\0' ? l->leader : c->endpoints[l->cursor++ % c->endpoints_n];
    memmove(l->address, address, strlen(address) + 1);
    const struct transport_events events = {.data = c,
                                            .connected = connected_cb,
                                            .frame = frame_cb,
                                            .turn = turn_cb,
                                            .lost = lost_cb,
                                            .drained = drained_cb,
                                            .gone = gone_cb};
    link_move(c, LINK_CONNECTING, client_now(c) + c->options.connect_timeout_ms);
    l->transport = transport_open(c->loop, l->address, &events);
    if (l->transport == NULL) {
        link_failed(c, ASSENT_UNREACHABLE);
        return;
    }
    c->transports++;
    transport_hold(l->transport, c->pending > 0);
}

void link_want(struct assent_async *c)
{
    if (c->link.state == LINK_IDLE) {
        link_connect(c);
    }
}

void link_proved(struct assent_async *c)
{
    c->link.tries = 0;
    retry_backoff_reset(&c->backoff);
    retry_backoff_reset(&c->patience);
}

/* An answer is due and nothing came: ask whether the node lives, then leave it. */
static void check_silence(struct assent_async *c, uint64_t now_ms)
{
    struct link *l = &c->link;
    if (!client_expects(c) || now_ms < l->heard_ms + c->options.silence_ms) {
        return;
    }
    if (l->pinged) {
        link_failed(c, ASSENT_NO_LEADER);
        return;
    }
    l->pinged = true;
    l->heard_ms = now_ms;
    struct codec_writer *w = transport_writer(l->transport);
    frame_close(w, frame_open(w, FRAME_PING, client_next_id(c, ID_SLOT_PLAIN), 0));
    if (!transport_flush(l->transport)) {
        link_failed(c, ASSENT_UNREACHABLE);
    }
}

void link_timer(struct assent_async *c, uint64_t now_ms)
{
    struct link *l = &c->link;
    bool due = now_ms >= l->event_ms;
    switch (l->state) {
    case LINK_CONNECTING:
    case LINK_GREETING:
        if (due) {
            link_failed(c, ASSENT_UNREACHABLE);
        }
        break;
    case LINK_READY:
        if (due) {
            link_leave(c);
        } else {
            check_silence(c, now_ms);
        }
        break;
    case LINK_WATCHING:
        if (due && client_expects(c) && now_ms < l->heard_ms + c->options.silence_ms) {
            l->event_ms = now_ms + c->options.backoff_min_ms; /* let it answer what it was asked */
        } else if (due) {
            link_again(c, false);
        }
        break;
    case LINK_PAUSED:
        if (due && c->pending == 0) {
            link_move(c, LINK_IDLE, UINT64_MAX);
        } else if (due) {
            link_connect(c);
        }
        break;
    case LINK_IDLE:
    case LINK_CLOSED:
        break;
    }
}

void link_close(struct assent_async *c)
{
    link_drop(c);
    link_move(c, LINK_CLOSED, UINT64_MAX);
}
