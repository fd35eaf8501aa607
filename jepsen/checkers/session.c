/* Sessions: what each request did once, and what a session may rely on when it goes from node to node.  The
 * guarantees are those of Terry et al., Session Guarantees for Weakly Consistent Replicated Data (1994). */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "linear.h"
#include "numbering.h"

#define SESSIONS_MAX 64

static void *room(size_t n, size_t size)
{
    void *p = calloc(n + 1, size);
    assert(p != NULL);
    return p;
}

/* The highest position that was known before the current time, and at it. */
struct floor {
    int64_t settled, fresh;
    uint64_t fresh_at;
};

static void floor_raise(struct floor *f, int64_t position, uint64_t now)
{
    if (now > f->fresh_at && f->fresh > f->settled)
        f->settled = f->fresh;
    if (position > f->fresh)
        f->fresh = position;
    f->fresh_at = now;
}

static int64_t floor_before(const struct floor *f, uint64_t now)
{
    return now > f->fresh_at && f->fresh > f->settled ? f->fresh : f->settled;
}

struct object {
    const json_t *log; /* of the last read of it; NULL: none */
    struct floor wrote[SESSIONS_MAX], saw[SESSIONS_MAX];
};

struct sessions {
    const struct history *h;
    struct verdict *v;
    size_t *pair, *key;
    int64_t *at;    /* per invocation of a push: its position in the log, counted from 1 */
    int64_t *floor; /* per invocation: the highest position its session had written or seen before */
    struct object *objects;
    struct numbering keys, requests;
    int64_t *place; /* per request: of its first occurrence */
    bool odd;
};

static bool is(const struct op *op, const char *f)
{
    return op->process != PROCESS_NEMESIS && strcmp(op->f, f) == 0;
}

static void odd_shape(struct sessions *s, const struct op *op)
{
    verdict_malformed(s->v, "harness: event %llu: a value this checker does not know",
                      (unsigned long long)op->index);
    s->odd = true;
}

static size_t session_of(struct sessions *s, const struct op *invoke)
{
    json_int_t session = json_integer_value(json_array_get(invoke->value, 0));
    if (!json_is_array(invoke->value) || session < 0 || session >= SESSIONS_MAX) {
        odd_shape(s, invoke);
        return 0;
    }
    return (size_t)session;
}

/* A request of an object: no two objects share one. */
static json_t *request_of(const struct op *op, const json_t *request)
{
    json_t *named = json_pack("[O?,O]", op->key, (json_t *)(uintptr_t)request);
    assert(named != NULL);
    return named;
}

static size_t request_number(struct sessions *s, const struct op *op, const json_t *request, bool add)
{
    json_t *named = request_of(op, request);
    size_t n = add ? numbering_add(&s->requests, named) : numbering_find(&s->requests, named);
    json_decref(named);
    return n;
}

/* Which requests there were, and what the log says of each. */
static void read_log(struct sessions *s, const struct op *op)
{
    size_t i;
    json_t *request;
    char text[64], object[64];
    json_array_foreach(op->value, i, request)
    {
        size_t n = request_number(s, op, request, false);
        if (n == SIZE_MAX) {
            verdict_invalid(s->v, "object %s holds %s, which nobody pushed",
                            json_brief(op->key, object, sizeof object),
                            json_brief(request, text, sizeof text));
            continue;
        }
        if (s->place[n] != 0)
            verdict_invalid(s->v, "request %s took effect twice, at %lld and at %zu",
                            json_brief(request, text, sizeof text), (long long)s->place[n], i + 1);
        else
            s->place[n] = (int64_t)i + 1;
    }
}

/* One push against the log: where it stands, and whether its answer said so. */
static void judge_push(struct sessions *s, size_t i)
{
    const struct op *invoke = &s->h->ops[i],
                    *done = s->pair[i] == HISTORY_NONE ? NULL : &s->h->ops[s->pair[i]];
    size_t n = request_number(s, invoke, invoke->value, false);
    char text[64];
    json_brief(invoke->value, text, sizeof text);
    s->at[i] = s->place[n];
    if (done == NULL || done->type == OP_INFO)
        return;
    if (done->type == OP_FAIL) {
        if (s->at[i] != 0)
            verdict_invalid(s->v, "request %s failed and took effect at %lld", text, (long long)s->at[i]);
        return;
    }
    int64_t told = json_integer_value(done->value);
    if (!json_is_integer(done->value))
        odd_shape(s, done);
    else if (s->at[i] == 0)
        verdict_invalid(s->v, "request %s was answered and is lost", text);
    else if (told != s->at[i])
        verdict_invalid(s->v, "request %s took effect at %lld, its answer says %lld", text,
                        (long long)s->at[i], (long long)told);
    s->v->checked++;
}

static void invoked(struct sessions *s, size_t i)
{
    const struct op *op = &s->h->ops[i];
    struct object *o = &s->objects[s->key[i]];
    size_t session = session_of(s, op);
    int64_t wrote = floor_before(&o->wrote[session], op->time_ns),
            saw = floor_before(&o->saw[session], op->time_ns);
    char text[64];
    s->floor[i] = wrote > saw ? wrote : saw;
    if (is(op, "push") && s->at[i] != 0 && s->at[i] <= s->floor[i])
        verdict_invalid(s->v, "request %s stands at %lld, though its session had %s %lld before",
                        json_brief(op->value, text, sizeof text), (long long)s->at[i],
                        wrote > saw ? "written" : "read", (long long)s->floor[i]);
}

static void ended(struct sessions *s, size_t i)
{
    const struct op *op = &s->h->ops[i], *invoke = &s->h->ops[s->pair[i]];
    struct object *o = &s->objects[s->key[i]];
    size_t session = session_of(s, invoke);
    char text[64];
    if (is(op, "push")) {
        floor_raise(&o->wrote[session], s->at[s->pair[i]], op->time_ns);
        return;
    }
    const json_t *position = json_array_get(op->value, 0), *last = json_array_get(op->value, 1);
    int64_t saw = json_integer_value(position);
    if (!json_is_integer(position)) {
        odd_shape(s, op);
        return;
    }
    json_brief(op->key, text, sizeof text);
    if (saw < s->floor[s->pair[i]])
        verdict_invalid(
            s->v, "session %zu read object %s at %lld (#%zu), though it had written or read %lld before",
            session, text, (long long)saw, i, (long long)s->floor[s->pair[i]]);
    const json_t *there = saw > 0 ? json_array_get(o->log, (size_t)saw - 1) : NULL;
    if (saw > 0 && (there == NULL || last == NULL || !json_equal(there, last)))
        verdict_invalid(s->v, "object %s was read at %lld (#%zu) with what does not stand there", text,
                        (long long)saw, i);
    floor_raise(&o->saw[session], saw, op->time_ns);
    s->v->checked++;
}

static void open_sessions(struct sessions *s, const struct history *h, struct verdict *v)
{
    *s = (struct sessions){.h = h, .v = v};
    s->pair = room(h->n, sizeof *s->pair);
    s->key = room(h->n, sizeof *s->key);
    s->at = room(h->n, sizeof *s->at);
    s->floor = room(h->n, sizeof *s->floor);
    s->place = room(h->n, sizeof *s->place);
    numbering_init(&s->keys);
    numbering_init(&s->requests);
    int rv = history_pairs(h, s->pair);
    assert(rv == 0);
    (void)rv;
    for (size_t i = 0; i < h->n; i++) {
        const struct op *op = &h->ops[i];
        bool mine = is(op, "push") || is(op, "read") || is(op, "log");
        s->key[i] = mine ? numbering_add(&s->keys, op->key) : SIZE_MAX;
        if (is(op, "push") && op->type == OP_INVOKE)
            request_number(s, op, op->value, true);
    }
    s->objects = room(numbering_n(&s->keys), sizeof *s->objects);
    for (size_t i = 0; i < h->n; i++)
        if (is(&h->ops[i], "log") && h->ops[i].type == OP_OK)
            s->objects[s->key[i]].log = h->ops[i].value;
}

static void close_sessions(struct sessions *s)
{
    numbering_close(&s->keys);
    numbering_close(&s->requests);
    free(s->pair);
    free(s->key);
    free(s->at);
    free(s->floor);
    free(s->place);
    free(s->objects);
}

void check_sessions(const struct history *h, struct verdict *v)
{
    struct sessions s;
    verdict_init(v);
    open_sessions(&s, h, v);
    for (size_t i = 0; i < h->n; i++)
        if (s.key[i] != SIZE_MAX && h->ops[i].value == s.objects[s.key[i]].log && is(&h->ops[i], "log"))
            read_log(&s, &h->ops[i]);
    for (size_t i = 0; i < h->n && !s.odd; i++)
        if (is(&h->ops[i], "push") && h->ops[i].type == OP_INVOKE && s.objects[s.key[i]].log != NULL)
            judge_push(&s, i);
    for (size_t i = 0; i < h->n && !s.odd; i++) {
        const struct op *op = &h->ops[i];
        if (s.key[i] == SIZE_MAX || is(op, "log") || s.objects[s.key[i]].log == NULL)
            continue;
        if (op->type == OP_INVOKE)
            invoked(&s, i);
        else if (op->type == OP_OK)
            ended(&s, i);
    }
    for (size_t k = 0; k < numbering_n(&s.keys); k++)
        if (s.objects[k].log == NULL)
            verdict_unknown(v, 1, "an object whose log was never read");
    close_sessions(&s);
    verdict_close(v);
}
