/* The asynchronous client: calls wait, travel, are answered or sent again; deadlines; the session's opening.
 *
 * The happy path: assent_async_call() copies the arguments and appends the call to a queue; at the end of the
 * loop's turn client_pump() gives it a place in the session and a frame; RESULT finds it by its slot and
 * finishes it. The failures: FAILED is judged by retry_decide(); a lost connection puts everything that was
 * on the wire back in front of the queues with its old sequence number; a deadline finishes a call wherever
 * it is. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define BACKLOG_BYTES_MAX                                                                                    \
    (4u << 20) /* the socket holds so much: let the rest wait, so that it can be reordered */
#define BATCH_BYTES         (256u << 10) /* handed to the socket at once */
#define CALL_BYTES_OVERHEAD 64           /* format, type, session, frame around the arguments */

static struct call *call_of(struct ring *member)
{
    return (struct call *)(void *)((char *)member - offsetof(struct call, ring));
}

uint64_t client_now(const struct assent_async *c)
{
    return uv_now(c->loop);
}

uint64_t client_next_id(struct assent_async *c, uint32_t slot)
{
    return ++c->generation << ID_SLOT_BITS | slot;
}

/* ---- deadlines: a binary heap ---- */

static void heap_put(struct assent_async *c, uint32_t at, struct call *call)
{
    c->heap[at] = call;
    call->heap_at = at;
}

static void heap_up(struct assent_async *c, struct call *call)
{
    uint32_t at = call->heap_at;
    while (at > 0 && c->heap[(at - 1) / 2]->deadline_ms > call->deadline_ms) {
        heap_put(c, at, c->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_put(c, at, call);
}

static void heap_down(struct assent_async *c, struct call *call, uint32_t n)
{
    uint32_t at = call->heap_at;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= n) {
            break;
        }
        if (child + 1 < n && c->heap[child + 1]->deadline_ms < c->heap[child]->deadline_ms) {
            child++;
        }
        if (c->heap[child]->deadline_ms >= call->deadline_ms) {
            break;
        }
        heap_put(c, at, c->heap[child]);
        at = child;
    }
    heap_put(c, at, call);
}

static void heap_remove(struct assent_async *c, struct call *call, uint32_t n)
{
    struct call *last = c->heap[n - 1];
    c->heap[n - 1] = NULL;
    if (last != call) {
        heap_put(c, call->heap_at, last);
        heap_up(c, last);
        heap_down(c, last, n - 1);
    }
}

/* ---- a call's life ---- */

static size_t call_bytes(const struct call *call)
{
    return sizeof *call + call->args_size;
}

static struct ring *queue_of(struct assent_async *c, const struct call *call)
{
    switch (call->kind) {
    case CALL_COMMAND:
        return &c->commands;
    case CALL_QUERY:
        return &c->queries;
    case CALL_TSO:
        return &c->stamps;
    }
    abort();
}

static int call_start(struct assent_async *c, const struct call *template, struct assent_bytes args,
                      uint32_t timeout_ms)
{
    if (c->closing) {
        return ASSENT_CLOSED;
    }
    if (args.size > ASSENT_COMMAND_BYTES_MAX - CALL_BYTES_OVERHEAD) {
        return ASSENT_TOO_LARGE;
    }
    if (c->free_n == 0 || c->pending_bytes + sizeof *template + args.size > ASSENT_QUEUE_BYTES_MAX) {
        return ASSENT_BUSY;
    }
    struct call *call = malloc(sizeof *call + args.size);
    if (call == NULL) {
        return ASSENT_NOMEM;
    }
    *call = *template;
    call->args = (uint8_t *)(call + 1);
    call->args_size = args.size;
    if (args.size > 0) {
        memcpy(call->args, args.base, args.size);
    }
    call->slot = c->free_slots[--c->free_n];
    c->slots[call->slot] = call;
    uv_update_time(c->loop); /* the caller may have computed for long in this turn */
    call->deadline_ms = client_now(c) + (timeout_ms != 0 ? timeout_ms : c->options.timeout_ms);
    call->heap_at = c->pending++;
    heap_up(c, call);
    c->pending_bytes += call_bytes(call);
    c->stats.calls++;
    ring_append(queue_of(c, call), &call->ring);
    if (c->pending == 1 && c->link.transport != NULL) {
        transport_hold(c->link.transport, true);
    }
    client_wake(c);
    return ASSENT_OK;
}

void client_finish(struct assent_async *c, struct call *call, const struct assent_reply *reply)
{
    ring_remove(&call->ring);
    heap_remove(c, call, c->pending);
    c->pending--;
    c->pending_bytes -= call_bytes(call);
    c->slots[call->slot] = NULL;
    c->free_slots[c->free_n++] = call->slot;
    if (call->sequence != 0) {
        session_answered(&c->session, call->client, call->sequence);
    }
    if (c->pending == 0 && c->link.transport != NULL) {
        transport_hold(c->link.transport, false);
    }
    c->stats.answers++;
    call->cb(call->data, reply);
    free(call);
}

void client_fail(struct assent_async *c, struct call *call, int code)
{
    struct assent_reply reply;
    reply_from_code(&reply, code);
    client_finish(c, call, &reply);
}

/* Put a call that was on the wire back in front of its queue. */
static void requeue(struct assent_async *c, struct call *call, int code)
{
    ring_remove(&call->ring);
    ring_prepend(queue_of(c, call), &call->ring);
    call->on_wire = false;
    call->last_code = code;
    c->stats.resent++;
}

static bool repeatable(const struct call *call)
{
    return call->kind != CALL_COMMAND || call->sequence != 0;
}

void client_requeue_all(struct assent_async *c)
{
    struct ring lost;
    ring_init(&lost);
    while (!ring_empty(&c->sent)) { /* newest first, so that the oldest ends in front */
        struct call *call = call_of(c->sent.prev);
        if (repeatable(call)) {
            requeue(c, call, call->last_code);
            call->uncertain |= call->kind == CALL_COMMAND;
        } else {
            ring_remove(&call->ring);
            ring_prepend(&lost, &call->ring);
        }
    }
    tso_requeue_all(c);
    if (c->session.state == SESSION_OPENING) {
        c->session.state = SESSION_ABSENT; /* one opened unheard of expires by itself */
    }
    while (!ring_empty(&lost)) {
        struct call *call = call_of(lost.next);
        ring_remove(&call->ring);
        client_fail(c, call, ASSENT_UNKNOWN_OUTCOME);
    }
}

bool client_expects(const struct assent_async *c)
{
    return !ring_empty(&c->sent) || c->session.state == SESSION_OPENING || tso_under_way(c);
}

/* What a call whose limit has passed is told. */
static int deadline_code(const struct assent_async *c, const struct call *call)
{
    if (call->kind == CALL_COMMAND && (call->on_wire || call->uncertain)) {
        return ASSENT_UNKNOWN_OUTCOME;
    }
    if (call->on_wire) {
        return ASSENT_TIMEOUT;
    }
    return call->last_code != 0 ? call->last_code : c->link.why;
}

static void expire(struct assent_async *c, uint64_t now_ms)
{
    while (c->pending > 0 && c->heap[0]->deadline_ms <= now_ms) {
        c->stats.timeouts++;
        client_fail(c, c->heap[0], deadline_code(c, c->heap[0]));
    }
}

/* ---- the session ---- */

/* Leave the session; what was certainly not carried out under it may start anew in the next one. */
static void session_drop(struct assent_async *c)
{
    c->session.state = SESSION_ABSENT;
    for (struct ring *m = c->commands.next; m != &c->commands; m = m->next) {
        struct call *call = call_of(m);
        if (call->sequence != 0 && !call->uncertain) {
            session_answered(&c->session, call->client, call->sequence);
            call->sequence = 0;
        }
    }
}

static void session_ask(struct assent_async *c, struct codec_writer *w)
{
    const struct command_session none = {.kind = SESSION_NONE};
    codec_writer_reset(&c->scratch);
    command_begin(&c->scratch, COMMAND_SESSION_OPEN, &none, 1);
    codec_uint(&c->scratch, c->options.session_ttl_ms);
    c->session.state = SESSION_OPENING;
    c->session.open_id = client_next_id(c, ID_SLOT_OPEN);
    size_t mark = frame_open(w, FRAME_COMMAND, c->session.open_id, 1);
    codec_bin(w, codec_written(&c->scratch));
    frame_close(w, mark);
}

static void session_refused(struct assent_async *c, int code)
{
    c->session.state = SESSION_ABSENT;
    struct ring waiting;
    ring_init(&waiting);
    while (!ring_empty(&c->commands)) { /* away first: callbacks may call again */
        struct ring *member = c->commands.next;
        ring_remove(member);
        ring_append(&waiting, member);
    }
    while (!ring_empty(&waiting)) {
        struct call *call = call_of(waiting.next);
        client_fail(c, call, call->uncertain ? ASSENT_UNKNOWN_OUTCOME : code);
    }
}

static void session_opened(struct assent_async *c, const struct assent_reply *reply)
{
    uint64_t client = assent_value_uint(assent_value_get(reply->data, "client"));
    if (reply->code != ASSENT_OK || client == 0) {
        session_refused(c, reply->code != ASSENT_OK ? reply->code : ASSENT_PROTOCOL);
        return;
    }
    session_begin(&c->session, client, client_now(c));
    c->stats.sessions_opened++;
}

/* Give the command its place.  False: it has to wait, for a session or for room in it. */
static bool session_place(struct assent_async *c, struct call *call, struct codec_writer *w)
{
    struct session *s = &c->session;
    if (call->sequence != 0 || c->options.no_session) {
        return true;
    }
    if (s->state == SESSION_READY && client_now(c) - s->used_ms > c->options.session_ttl_ms / 2) {
        session_drop(c); /* it may have expired meanwhile; nothing of this call is in it yet */
    }
    if (s->state == SESSION_ABSENT) {
        session_ask(c, w);
    }
    if (s->state != SESSION_READY || !session_has_room(s)) {
        return false;
    }
    call->client = s->client;
    call->sequence = session_take(s);
    return true;
}

/* ---- sending ---- */

static void write_call(struct assent_async *c, struct call *call, struct codec_writer *w)
{
    struct command_session session = {.kind = SESSION_NONE};
    if (call->sequence != 0) {
        session.kind = SESSION_SEQUENCE;
        session.client = call->client;
        session.sequence = call->sequence;
        session.acknowledged = call->client == c->session.client ? c->session.acknowledged : 0;
    }
    codec_writer_reset(&c->scratch);
    command_begin(&c->scratch, call->type, &session, call->args_n);
    codec_raw(&c->scratch, (struct assent_bytes){call->args, call->args_size});
    call->id = client_next_id(c, call->slot);
    bool query = call->kind == CALL_QUERY;
    size_t mark = frame_open(w, query ? FRAME_QUERY : FRAME_COMMAND, call->id, query ? 2 : 1);
    codec_bin(w, codec_written(&c->scratch));
    if (query) {
        codec_bool(w, call->stale);
    }
    frame_close(w, mark);
    call->on_wire = true;
    ring_remove(&call->ring);
    ring_append(&c->sent, &call->ring);
}

static void write_queries(struct assent_async *c, struct codec_writer *w, bool stale_only)
{
    for (struct ring *m = c->queries.next, *next; m != &c->queries; m = next) {
        next = m->next;
        if (codec_written(w).size >= BATCH_BYTES) {
            break;
        }
        if (!stale_only || call_of(m)->stale) {
            write_call(c, call_of(m), w);
        }
    }
}

static void write_commands(struct assent_async *c, struct codec_writer *w)
{
    while (!ring_empty(&c->commands) && codec_written(w).size < BATCH_BYTES) {
        struct call *call = call_of(c->commands.next);
        if (!session_place(c, call, w)) {
            break;
        }
        write_call(c, call, w);
    }
}

void client_pump(struct assent_async *c)
{
    struct link *l = &c->link;
    bool ready = l->state == LINK_READY && !l->leave && client_now(c) >= c->hold_until_ms;
    if (!ready && l->state != LINK_WATCHING) {
        return;
    }
    struct codec_writer *w = transport_writer(l->transport);
    while (transport_backlog(l->transport) < BACKLOG_BYTES_MAX) {
        if (!client_expects(c)) {
            l->heard_ms = client_now(c); /* silence begins to count with the first frame */
        }
        if (ready) {
            tso_send(c, w); /* first: they are short and somebody counts the microseconds */
            write_commands(c, w);
        }
        write_queries(c, w, !ready);
        if (codec_written(w).size == 0) {
            break;
        }
        if (!transport_flush(l->transport)) {
            l->event_ms = client_now(c); /* the reader will hear of it; if not, the timer leaves */
            l->leave = true;
            break;
        }
    }
}

/* ---- answers ---- */

static void be_patient(struct assent_async *c)
{
    if (client_now(c) >= c->hold_until_ms) { /* one step for all answers of a burst */
        c->hold_until_ms = client_now(c) + retry_backoff_next(&c->patience);
    }
}

/* FAILED for one call or for SESSION_OPEN (`call` NULL): what the link does about it. */
static enum retry_action judge(struct assent_async *c, int code, bool again, struct assent_bytes leader)
{
    enum retry_action action = retry_decide(code, again);
    if (action == RETRY_ELSEWHERE && code == ASSENT_NO_LEADER && leader.size > 0 &&
        leader.size == strlen(c->link.address) && memcmp(leader.base, c->link.address, leader.size) == 0) {
        action = RETRY_HERE; /* it leads, but has no committed entry of its term yet */
    }
    if (action == RETRY_HERE) {
        be_patient(c);
    } else if (action == RETRY_ELSEWHERE) {
        link_redirect(c, leader);
    }
    return action;
}

static void call_failed(struct assent_async *c, struct call *call, int code, struct assent_bytes leader)
{
    enum retry_action action = judge(c, code, repeatable(call), leader);
    if (action == RETRY_SURFACE) {
        client_fail(c, call, code);
        return;
    }
    bool may_have_run = assent_error_retry(code) == ASSENT_RETRY_SAME_ID;
    requeue(c, call, code);
    call->uncertain |= may_have_run && call->kind == CALL_COMMAND;
}

static void call_answered(struct assent_async *c, struct call *call, struct assent_reply *reply)
{
    link_proved(c);
    if (call->sequence != 0 && call->client == c->session.client) {
        if (reply->code == ASSENT_SESSION_EXPIRED) {
            c->stats.sessions_expired += c->session.state == SESSION_READY;
            session_drop(c);
        } else {
            c->session.used_ms = client_now(c);
        }
    }
    client_finish(c, call, reply);
}

static void frame_result(struct assent_async *c, uint32_t slot, uint64_t id, const struct codec_node *list)
{
    struct assent_reply reply;
    bool good = reply_from_result(&reply, list, c->detail, sizeof c->detail);
    if (!good) {
        c->stats.frames_refused++;
        reply_from_code(&reply, ASSENT_PROTOCOL);
    }
    if (slot == ID_SLOT_OPEN) {
        if (c->session.state == SESSION_OPENING && c->session.open_id == id) {
            session_opened(c, &reply);
        }
    } else if (slot < c->options.inflight_max && c->slots[slot] != NULL) {
        struct call *call = c->slots[slot];
        if (call->on_wire && call->id == id && call->kind != CALL_TSO) {
            call_answered(c, call, &reply);
        }
    }
}

static void frame_failed(struct assent_async *c, uint32_t slot, uint64_t id, const struct codec_node *list)
{
    uint64_t number = codec_as_uint(codec_at(list, 2));
    int code = number == 0 || number > 0xffff ? ASSENT_PROTOCOL : (int)number;
    struct assent_bytes leader = codec_as_bytes(codec_at(list, 4));
    if (slot == ID_SLOT_OPEN) {
        if (c->session.state == SESSION_OPENING && c->session.open_id == id) {
            c->session.state = SESSION_ABSENT;
            if (judge(c, code, true, leader) == RETRY_SURFACE) {
                session_refused(c, code);
            }
        }
    } else if (slot >= ID_SLOT_TSO && slot < ID_SLOT_TSO + TSO_FRAMES_MAX) {
        (void)judge(c, code, true, leader);
        tso_failed(c, slot - ID_SLOT_TSO, id, code);
    } else if (slot < c->options.inflight_max && c->slots[slot] != NULL) {
        struct call *call = c->slots[slot];
        if (call->on_wire && call->id == id && call->kind != CALL_TSO) {
            call_failed(c, call, code, leader);
        }
    }
}

static void frame_tso(struct assent_async *c, uint32_t slot, uint64_t id, const struct codec_node *list)
{
    uint64_t first = codec_as_uint(codec_at(list, 2)), count = codec_as_uint(codec_at(list, 3));
    if (slot < ID_SLOT_TSO || slot >= ID_SLOT_TSO + TSO_FRAMES_MAX) {
        return;
    }
    if (first == 0 || count == 0 || count > ASSENT_COUNT_MAX) {
        c->stats.frames_refused++;
        tso_failed(c, slot - ID_SLOT_TSO, id, ASSENT_PROTOCOL);
        return;
    }
    link_proved(c);
    tso_answer(c, slot - ID_SLOT_TSO, id, first, (uint32_t)count);
}

void client_frame(struct assent_async *c, enum frame_kind kind, uint64_t id, const struct codec_node *list,
                  struct assent_bytes body)
{
    uint32_t slot = (uint32_t)(id & ((1u << ID_SLOT_BITS) - 1));
    c->body = body;
    if (kind == FRAME_RESULT) {
        frame_result(c, slot, id, list);
    } else if (kind == FRAME_FAILED) {
        frame_failed(c, slot, id, list);
    } else {
        frame_tso(c, slot, id, list);
    }
    c->body = (struct assent_bytes){NULL, 0};
}

/* ---- the loop ---- */

static void handle_closed(uv_handle_t *handle);

static void maybe_gone(struct assent_async *c)
{
    if (c->handles > 0 || c->transports > 0) {
        return;
    }
    void (*closed)(void *) = c->closed;
    void *data = c->closed_data;
    codec_writer_close(&c->scratch);
    free(c->slots);
    free(c->free_slots);
    free(c->heap);
    free(c);
    if (closed != NULL) {
        closed(data);
    }
}

static void handle_closed(uv_handle_t *handle)
{
    struct assent_async *c = handle->data;
    c->handles--;
    maybe_gone(c);
}

void client_transport_gone(struct assent_async *c)
{
    c->transports--;
    if (c->closing) {
        maybe_gone(c);
    }
}

/* Tell the cluster that the session is over; if the message is lost, the session expires. */
static void say_goodbye(struct assent_async *c)
{
    if (c->link.state != LINK_READY || c->session.state != SESSION_READY) {
        return;
    }
    struct codec_writer *w = transport_writer(c->link.transport);
    const struct command_session session = {.kind = SESSION_SEQUENCE,
                                            .client = c->session.client,
                                            .sequence = c->session.next,
                                            .acknowledged = c->session.acknowledged};
    codec_writer_reset(&c->scratch);
    command_begin(&c->scratch, COMMAND_SESSION_CLOSE, &session, 0);
    size_t mark = frame_open(w, FRAME_COMMAND, client_next_id(c, ID_SLOT_PLAIN), 1);
    codec_bin(w, codec_written(&c->scratch));
    frame_close(w, mark);
    (void)transport_flush(c->link.transport);
}

static void shut_down(struct assent_async *c)
{
    say_goodbye(c);
    link_close(c);
    while (c->pending > 0) {
        struct call *call = c->heap[c->pending - 1];
        bool unknown = call->kind == CALL_COMMAND && (call->on_wire || call->uncertain);
        client_fail(c, call, unknown ? ASSENT_UNKNOWN_OUTCOME : ASSENT_CLOSED);
    }
    uv_close((uv_handle_t *)&c->timer, handle_closed);
    uv_close((uv_handle_t *)&c->prepare, handle_closed);
}

static void prepare_cb(uv_prepare_t *prepare)
{
    struct assent_async *c = prepare->data;
    (void)uv_prepare_stop(prepare); /* cannot fail */
    if (c->closing) {
        shut_down(c);
        return;
    }
    if (c->pending > 0) {
        link_want(c);
    }
    client_pump(c);
    client_schedule(c);
}

void client_wake(struct assent_async *c)
{
    if (!uv_is_closing((uv_handle_t *)&c->prepare)) {
        (void)uv_prepare_start(&c->prepare, prepare_cb); /* again does nothing */
    }
}

static void timer_cb(uv_timer_t *timer)
{
    struct assent_async *c = timer->data;
    if (c->closing) {
        return;
    }
    uint64_t now = client_now(c);
    expire(c, now);
    link_timer(c, now);
    client_wake(c);
}

void client_schedule(struct assent_async *c)
{
    uint64_t now = client_now(c);
    uint64_t due = c->link.event_ms;
    if (c->pending > 0 && c->heap[0]->deadline_ms < due) {
        due = c->heap[0]->deadline_ms;
    }
    if (c->link.state == LINK_READY) {
        if (client_expects(c) && c->link.heard_ms + c->options.silence_ms < due) {
            due = c->link.heard_ms + c->options.silence_ms;
        }
        if (c->hold_until_ms > now && c->hold_until_ms < due) {
            due = c->hold_until_ms;
        }
    }
    if (due == UINT64_MAX) {
        (void)uv_timer_stop(&c->timer);
    } else {
        (void)uv_timer_start(&c->timer, timer_cb, due > now ? due - now : 0, 0);
    }
    if (c->pending > 0) {
        uv_ref((uv_handle_t *)&c->timer);
    } else {
        uv_unref((uv_handle_t *)&c->timer);
    }
}

/* ---- open, close, call ---- */

void assent_options_init(struct assent_options *options)
{
    *options = (struct assent_options){.timeout_ms = 10000,
                                       .connect_timeout_ms = 1000,
                                       .silence_ms = 1000,
                                       .backoff_min_ms = 20,
                                       .backoff_max_ms = 1000,
                                       .inflight_max = ASSENT_INFLIGHT_DEFAULT,
                                       .session_ttl_ms = 600000};
}

const char *assent_version(void)
{
    return ASSENT_VERSION;
}

int options_check(struct assent_async *c, const struct assent_options *options)
{
    int n = retry_addresses(options->endpoints, c->endpoints, ASSENT_ENDPOINTS_MAX);
    const char *name = options->name != NULL ? options->name : "libassent";
    if (n < 0 || options->timeout_ms == 0 || options->connect_timeout_ms == 0 || options->silence_ms == 0 ||
        options->backoff_min_ms == 0 || options->backoff_min_ms > options->backoff_max_ms ||
        options->inflight_max == 0 || options->inflight_max > ASSENT_INFLIGHT_MAX ||
        options->session_ttl_ms == 0 || strlen(name) > ASSENT_NAME_BYTES_MAX) {
        return ASSENT_INVALID;
    }
    c->options = *options;
    c->endpoints_n = (uint32_t)n;
    (void)snprintf(c->name, sizeof c->name, "%s", name);
    c->options.endpoints = NULL; /* the caller's memory */
    c->options.name = c->name;
    return ASSENT_OK;
}

static void client_init(struct assent_async *c)
{
    uint64_t seed = uv_hrtime() ^ (uint64_t)(uintptr_t)c;
    retry_backoff_init(&c->backoff, c->options.backoff_min_ms, c->options.backoff_max_ms, seed);
    retry_backoff_init(&c->patience, c->options.backoff_min_ms, c->options.backoff_max_ms, seed >> 7);
    ring_init(&c->commands);
    ring_init(&c->queries);
    ring_init(&c->stamps);
    ring_init(&c->sent);
    for (uint32_t i = 0; i < TSO_FRAMES_MAX; i++) {
        ring_init(&c->frames[i].calls);
    }
    for (uint32_t i = c->options.inflight_max; i > 0; i--) {
        c->free_slots[c->free_n++] = i - 1;
    }
    codec_writer_init(&c->scratch);
    c->link.event_ms = UINT64_MAX;
    c->link.why = ASSENT_UNREACHABLE;
    c->link.cursor = (uint32_t)(seed >> 20) % c->endpoints_n; /* spread clients over the nodes */
}

int assent_async_open(struct assent_async **async, struct uv_loop_s *loop,
                      const struct assent_options *options)
{
    *async = NULL;
    struct assent_async *c = calloc(1, sizeof *c);
    if (c == NULL) {
        return ASSENT_NOMEM;
    }
    int rc = options_check(c, options);
    if (rc == ASSENT_OK) {
        c->slots = calloc(c->options.inflight_max, sizeof(struct call *));
        c->heap = calloc(c->options.inflight_max, sizeof(struct call *));
        c->free_slots = calloc(c->options.inflight_max, sizeof(uint32_t));
        rc = c->slots == NULL || c->heap == NULL || c->free_slots == NULL ? ASSENT_NOMEM : ASSENT_OK;
    }
    if (rc != ASSENT_OK) {
        free(c->slots);
        free(c->heap);
        free(c->free_slots);
        free(c);
        return rc;
    }
    c->loop = loop;
    client_init(c);
    (void)uv_timer_init(loop, &c->timer); /* these two only fill their structs */
    (void)uv_prepare_init(loop, &c->prepare);
    c->timer.data = c->prepare.data = c;
    c->handles = 2;
    *async = c;
    return ASSENT_OK;
}

void assent_async_close(struct assent_async *c, void (*closed)(void *data), void *data)
{
    assert(!c->closing);
    c->closing = true;
    c->closed = closed;
    c->closed_data = data;
    client_wake(c);
}

int assent_async_call(struct assent_async *c, const struct assent_request *request, uint32_t timeout_ms,
                      assent_async_cb cb, void *data)
{
    struct call call = {.kind = request->query ? CALL_QUERY : CALL_COMMAND,
                        .type = request->type,
                        .stale = request->stale,
                        .cb = cb,
                        .data = data};
    codec_writer_reset(&c->scratch);
    call.args_n = request_encode(request, &c->scratch);
    return call_start(c, &call, codec_written(&c->scratch), timeout_ms);
}

int assent_async_tso(struct assent_async *c, uint32_t count, uint32_t timeout_ms, assent_async_cb cb,
                     void *data)
{
    if (count == 0 || count > ASSENT_COUNT_MAX) {
        return ASSENT_INVALID;
    }
    struct call call = {.kind = CALL_TSO, .count = count, .cb = cb, .data = data};
    c->stats.tso_calls++;
    return call_start(c, &call, (struct assent_bytes){NULL, 0}, timeout_ms);
}

uint32_t assent_async_pending(const struct assent_async *c)
{
    return c->pending;
}

void assent_async_stats(const struct assent_async *c, struct assent_stats *out)
{
    *out = c->stats;
}
