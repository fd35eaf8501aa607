/* Streams of events over HTTP: server-sent events, filtered, resumed by id, bounded.
 *
 * The happy path: stream_open() finds the place behind the given id, stream_take() renders what matches from
 * there on and says 0 at the end of the ring; the turn after new events renders again and makes the stream
 * ready.  The failures: the id is older than the ring (gap at once), later than anything this node knows (a
 * confirmed read tells whether the node is only behind: then the events come, or nobody has them: gap), the
 * state was replaced under it (gap), the reader is too slow (gap, end), the node stops (end). */
#include "stream.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node.h"

/* One event is rendered while so much is free: its texts, each byte escaped to six at most, and its frame. */
#define DETAIL_BYTES_MAX 1024
#define EVENT_TEXT_MAX   (6 * (STORED_XID_BYTES_MAX + 2 * ASSENT_NAME_BYTES_MAX + DETAIL_BYTES_MAX) + 1024)
/* A gap and an end. */
#define LAST_TEXT_MAX 1024
static_assert(2 * EVENT_TEXT_MAX + LAST_TEXT_MAX < STREAM_BUFFER_BYTES,
              "a stream holds two events of any size");

/* Is the id it began behind one this cluster has given out? */
enum proof { PROOF_NONE, PROOF_WANTED, PROOF_ASKED };

struct stream {
    struct streams *streams;
    struct stream *next, *prev;
    uint64_t sequence; /* of the next event */
    uint64_t gaps;     /* of the ring, as far as told */
    struct event_id after;
    enum proof proof;
    struct read_wait read;
    bool waiting; /* said 0: `ready` follows */
    bool ended;   /* nothing more is rendered */
    bool closed;  /* waits for its read only */
    uint64_t rendered_ms;
    uint32_t kinds;                        /* bits of enum sm_event_kind */
    char *ns, *xid, *business_type, *mode; /* empty: any, save the namespace */
    struct text out;
    size_t out_at;
    void (*ready)(void *data);
    void *data;
};

static const char *const kind_names[] = {
    [SM_EVENT_STATUS] = "transaction",
    [SM_EVENT_BRANCH] = "branch",
    [SM_EVENT_CALL] = "call",
    [SM_EVENT_ACT] = "act",
};
enum { KINDS = sizeof kind_names / sizeof kind_names[0], KINDS_ALL = (1 << KINDS) - 1 };
static const char *const outcome_names[] = {
    [SM_OUTCOME_SUCCESS] = "success",
    [SM_OUTCOME_FAILURE] = "failure",
    [SM_OUTCOME_ONGOING] = "ongoing",
    [SM_OUTCOME_ERROR] = "error",
};

enum { STREAM_AFTER, STREAM_XID, STREAM_BUSINESS_TYPE, STREAM_MODE, STREAM_KIND, STREAM_FIELDS };
const struct field stream_fields[] = {
    [STREAM_AFTER] = {"after", FIELD_TEXT, 0, EVENT_ID_TEXT_MAX - 1, NULL},
    [STREAM_XID] = {"xid", FIELD_TEXT, 0, ASSENT_XID_BYTES_MAX, NULL},
    [STREAM_BUSINESS_TYPE] = {"businessType", FIELD_TEXT, 0, ASSENT_NAME_BYTES_MAX, NULL},
    [STREAM_MODE] = {"mode", FIELD_TEXT, 0, 32, NULL},
    [STREAM_KIND] = {"kind", FIELD_TEXT, 0, 64, NULL},
    [STREAM_FIELDS] = {0},
};

/* ---- rendering ---- */

static void put_text(struct text *out, const char *name, struct assent_bytes value)
{
    if (value.size == 0)
        return;
    text_printf(out, ",\"%s\":", name);
    json_quote(out, value);
}

static void put_word(struct text *out, const char *name, const char *value)
{
    if (value != NULL)
        text_printf(out, ",\"%s\":\"%s\"", name, value);
}

static void put_event(struct text *out, const struct sm_event *e)
{
    char id[EVENT_ID_TEXT_MAX];
    event_id_text(event_id_of(e), id);
    text_printf(out, "id: %s\nevent: %s\ndata: {\"id\":\"%s\",\"xid\":", id, kind_names[e->kind], id);
    json_quote(out, scoped_name(e->xid, NULL));
    put_word(out, "mode", e->mode);
    put_text(out, "businessType", e->business_type);
    put_text(out, "branch", e->branch);
    put_word(out, "status", e->status);
    put_word(out, "op", e->op);
    if (e->kind == SM_EVENT_CALL)
        text_printf(out, ",\"outcome\":\"%s\",\"attempts\":%u,\"failures\":%u", outcome_names[e->outcome],
                    e->attempts, e->failures);
    if (e->kind == SM_EVENT_STATUS)
        text_cstr(out, e->final ? ",\"final\":true" : ",\"final\":false");
    put_text(out, "detail",
             (struct assent_bytes){e->detail.base,
                                   e->detail.size < DETAIL_BYTES_MAX ? e->detail.size : DETAIL_BYTES_MAX});
    text_printf(out, ",\"timeMs\":%lld}\n\n", (long long)(e->time_us / 1000));
}

/* Behind `from` the stream is whole again: a reader may come back with this id. */
static void put_gap(struct stream *s, struct event_id from, const char *reason)
{
    char id[EVENT_ID_TEXT_MAX];
    event_id_text(from, id);
    text_printf(&s->out,
                "id: %s\nevent: gap\ndata: {\"id\":\"%s\",\"reason\":\"%s\",\"message\":\"events were "
                "lost; list the transactions anew\"}\n\n",
                id, id, reason);
}

static void end_stream(struct stream *s, const char *reason)
{
    text_printf(&s->out, "event: end\ndata: {\"reason\":\"%s\"}\n\n", reason);
    s->ended = true;
}

static void on_timer(uv_timer_t *timer);

static bool is(const char *filter, struct assent_bytes value)
{
    return *filter == 0 ||
           (strlen(filter) == value.size && (value.size == 0 || memcmp(filter, value.base, value.size) == 0));
}

static bool matches(const struct stream *s, const struct sm_event *e)
{
    struct assent_bytes ns, xid = scoped_name(e->xid, &ns);
    return (s->kinds & 1u << e->kind) != 0 && strlen(s->ns) == ns.size && is(s->ns, ns) && is(s->xid, xid) &&
           is(s->business_type, e->business_type) &&
           (*s->mode == 0 || (e->mode != NULL && strcmp(s->mode, e->mode) == 0));
}

/* Events were lost under the stream. */
static void overtaken(struct stream *s)
{
    struct events *es = &s->streams->node->events;
    if (s->gaps != es->gaps) {
        put_gap(s, es->floor, "snapshot");
    } else {
        put_gap(s, es->floor, "too slow");
        s->streams->overtaken++;
        if (!s->waiting) {
            end_stream(s, "the reader is too slow");
            return;
        }
    }
    s->gaps = es->gaps;
    s->sequence = es->first;
}

static bool has_room(const struct text *out)
{
    return out->size + EVENT_TEXT_MAX + LAST_TEXT_MAX <= STREAM_BUFFER_BYTES;
}

/* Render what is new and matches, as far as there is room. */
static void fill(struct stream *s)
{
    struct events *es = &s->streams->node->events;
    size_t before = s->out.size;
    while (!s->ended && s->sequence < events_end(es) && has_room(&s->out)) {
        const struct sm_event *e = events_get(es, s->sequence);
        if (e == NULL) {
            overtaken(s);
            continue;
        }
        s->sequence++;
        if (event_id_compare(event_id_of(e), s->after) > 0 && matches(s, e))
            put_event(&s->out, e);
    }
    if (!s->ended && s->streams->node->state != NODE_RUNNING)
        end_stream(s, "the node stops");
    if (s->out.size > before)
        s->rendered_ms = uv_now(s->streams->node->loop);
    assert(!s->out.overflow);
}

/* ---- ids of the future ---- */

static void release(struct stream *s)
{
    text_close(&s->out);
    free(s->ns);
    free(s->xid);
    free(s->business_type);
    free(s->mode);
    free(s);
}

static void wake(struct stream *s)
{
    if (!s->waiting || s->out.size == 0)
        return;
    s->waiting = false;
    s->ready(s->data);
}

/* This node has caught up with all that was committed when it asked. */
static void on_proof(struct read_wait *wait, int status)
{
    struct stream *s = wait->data;
    if (s->closed) {
        release(s);
        return;
    }
    struct node *node = s->streams->node;
    s->proof = status == ASSENT_OK ? PROOF_NONE : PROOF_WANTED; /* the timer asks again */
    struct event_id last = event_id_end(node->applied_index);
    if (status != ASSENT_OK || s->ended || event_id_compare(s->after, last) <= 0)
        return;
    s->after = last;
    put_gap(s, last, "unknown id");
    wake(s);
}

static void ask_proof(struct stream *s)
{
    s->proof = PROOF_ASKED;
    s->read.data = s;
    read_gate_wait(&s->streams->node->reads, &s->read, on_proof);
}

/* ---- opening ---- */

static char *copy_argument(const struct arguments *a, uint32_t i)
{
    struct assent_bytes v = a->value[i].from == ARGUMENT_TEXT ? a->value[i].raw : (struct assent_bytes){0};
    char *made = malloc(v.size + 1);
    if (made == NULL)
        abort();
    if (v.size > 0)
        memcpy(made, v.base, v.size);
    made[v.size] = 0;
    return made;
}

/* "branch,call" -> bits; 0: an unknown word. */
static uint32_t kinds_of(struct assent_bytes list)
{
    uint32_t kinds = 0;
    const uint8_t *at = list.base, *end = list.base + list.size;
    while (at < end) {
        const uint8_t *stop = memchr(at, ',', (size_t)(end - at));
        size_t size = (size_t)((stop != NULL ? stop : end) - at);
        uint32_t bit = 0;
        for (uint32_t i = 0; i < KINDS; i++) {
            if (strlen(kind_names[i]) == size && memcmp(kind_names[i], at, size) == 0)
                bit = 1u << i;
        }
        if (bit == 0)
            return 0;
        kinds |= bit;
        at = stop != NULL ? stop + 1 : end;
    }
    return kinds;
}

/* Everything that may be refused. */
static int check(struct arguments *a, const char *ns, const char *last_id, bool *resumed,
                 struct event_id *after, uint32_t *kinds)
{
    const struct argument *from = &a->value[STREAM_AFTER], *kind = &a->value[STREAM_KIND];
    for (uint32_t i = 0; i < a->n; i++) {
        if (a->value[i].from == ARGUMENT_TEXT && a->value[i].raw.size > stream_fields[i].max) {
            snprintf(a->why, sizeof a->why, "field '%s' is above its limit of %llu", stream_fields[i].name,
                     (unsigned long long)stream_fields[i].max);
            return ASSENT_INVALID;
        }
    }
    struct assent_bytes id = {(const uint8_t *)last_id, last_id != NULL ? strlen(last_id) : 0};
    if (from->from == ARGUMENT_TEXT)
        id = from->raw;
    *resumed = id.size > 0;
    if (*resumed && !event_id_parse(id, after)) {
        snprintf(a->why, sizeof a->why, "field 'after': the id of an event, as in \"id: 12345.0\"");
        return ASSENT_INVALID;
    }
    *kinds = kind->from == ARGUMENT_TEXT ? kinds_of(kind->raw) : (uint32_t)KINDS_ALL;
    if (*kinds == 0) {
        snprintf(a->why, sizeof a->why,
                 "field 'kind': transaction, branch, call, act, or several with "
                 "commas between them");
        return ASSENT_INVALID;
    }
    if (ns != NULL && strlen(ns) > NAMESPACE_BYTES_MAX) {
        snprintf(a->why, sizeof a->why, "header X-Assent-Namespace: at most %d bytes", NAMESPACE_BYTES_MAX);
        return ASSENT_INVALID;
    }
    return ASSENT_OK;
}

/* Find the place; say what cannot be told. */
static void place(struct stream *s, bool resumed, struct event_id after)
{
    struct events *es = &s->streams->node->events;
    s->gaps = es->gaps;
    struct event_id last = event_id_end(s->streams->node->applied_index);
    s->after = resumed ? after : last;
    s->sequence = events_after(es, s->after);
    if (!resumed) {
        /* the id alone: a reader that comes back before its first event goes on from here */
        char id[EVENT_ID_TEXT_MAX];
        event_id_text(s->after, id);
        text_printf(&s->out, "retry: 1000\nid: %s\n\n", id);
        return;
    }
    text_cstr(&s->out, "retry: 1000\n\n");
    if (!events_cover(es, after))
        put_gap(s, es->floor, "too old");
    else if (event_id_compare(after, last) > 0)
        ask_proof(s);
}

static void on_event(void *data, const struct sm_event *event)
{
    (void)event; /* each stream reads the ring by itself, at the end of the turn */
    struct streams *ss = data;
    ss->news = true;
}

int stream_open(struct stream **out, struct streams *ss, struct arguments *a, const char *ns,
                const char *last_id)
{
    bool resumed;
    struct event_id after = {0, 0};
    uint32_t kinds;
    int status = check(a, ns, last_id, &resumed, &after, &kinds);
    if (status != ASSENT_OK)
        return status;
    if (ss->node->state != NODE_RUNNING)
        return ASSENT_SHUTDOWN;
    if (ss->open >= ss->node->config->event_streams) {
        ss->refused++;
        snprintf(a->why, sizeof a->why, "%u event streams are open on this node; it takes no more", ss->open);
        return ASSENT_BUSY;
    }
    struct stream *s = calloc(1, sizeof *s);
    if (s == NULL)
        return ASSENT_NOMEM;
    s->streams = ss;
    s->kinds = kinds;
    s->ns = strdup(ns != NULL ? ns : "");
    if (s->ns == NULL)
        abort();
    s->xid = copy_argument(a, STREAM_XID);
    s->business_type = copy_argument(a, STREAM_BUSINESS_TYPE);
    s->mode = copy_argument(a, STREAM_MODE);
    s->rendered_ms = uv_now(ss->node->loop);
    text_init(&s->out, STREAM_BUFFER_BYTES);
    s->next = ss->first;
    if (s->next != NULL)
        s->next->prev = s;
    ss->first = s;
    if (ss->open++ == 0) {
        uint64_t beat_ms = ss->node->config->event_heartbeat_ms / 4;
        uv_timer_start(&ss->timer, on_timer, beat_ms, beat_ms);
        events_listen(&ss->node->events, &ss->listener, on_event, ss);
    }
    place(s, resumed, after);
    *out = s;
    return ASSENT_OK;
}

void stream_attach(struct stream *s, void (*ready)(void *data), void *data)
{
    s->ready = ready;
    s->data = data;
}

ssize_t stream_take(struct stream *s, char *out, size_t room)
{
    if (s->out_at == s->out.size) {
        s->out_at = 0;
        text_reset(&s->out);
        fill(s);
    }
    size_t left = s->out.size - s->out_at, size = left < room ? left : room;
    if (size == 0) {
        s->waiting = !s->ended;
        return s->ended ? -1 : 0;
    }
    memcpy(out, s->out.base + s->out_at, size);
    s->out_at += size;
    return (ssize_t)size;
}

void stream_close(struct stream *s)
{
    if (s == NULL)
        return;
    struct streams *ss = s->streams;
    *(s->prev != NULL ? &s->prev->next : &ss->first) = s->next;
    if (s->next != NULL)
        s->next->prev = s->prev;
    if (--ss->open == 0) {
        uv_timer_stop(&ss->timer);
        events_unlisten(&ss->node->events, &ss->listener);
    }
    s->closed = true;
    if (s->proof != PROOF_ASKED)
        release(s);
}

/* ---- all streams of the node ---- */

/* Who waits has taken everything, so its buffer is free. */
static void refill(struct stream *s)
{
    if (!s->waiting)
        return;
    fill(s);
    wake(s);
}

void streams_turn(struct streams *ss)
{
    if (!ss->news)
        return;
    ss->news = false;
    for (struct stream *s = ss->first; s != NULL; s = s->next)
        refill(s);
}

static void on_timer(uv_timer_t *timer)
{
    struct streams *ss = timer->data;
    uint64_t now_ms = uv_now(timer->loop);
    for (struct stream *s = ss->first; s != NULL; s = s->next) {
        if (s->proof == PROOF_WANTED)
            ask_proof(s);
        if (!s->waiting || now_ms - s->rendered_ms < ss->node->config->event_heartbeat_ms)
            continue;
        text_cstr(&s->out, ": alive\n\n");
        s->rendered_ms = now_ms;
        refill(s);
    }
}

void streams_shutdown(struct streams *ss)
{
    ss->news = true;
    node_wake(ss->node);
}

void streams_init(struct streams *ss, struct node *node)
{
    *ss = (struct streams){.node = node};
    uv_timer_init(node->loop, &ss->timer);
    ss->timer.data = ss;
}

void streams_close(struct streams *ss)
{
    assert(ss->first == NULL);
    uv_close((uv_handle_t *)&ss->timer, NULL);
}
