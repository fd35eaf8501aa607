/* Vector clocks against the graph of what really happened.
 *
 * Members tick by themselves and sync with stamps that others got before.  The checker draws the graph of
 * events from the history: an edge from each event of a member to its next one, and from the event whose
 * stamp was received to the one that received it.  One event reaches another exactly when its stamp is
 * smaller.  (Operations whose end nobody knows may have added edges: what only they could explain is let
 * pass.) */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

#define CLOCKS  3
#define MEMBERS 4
#define OPS_MAX 160 /* of one clock; then another takes its place */
#define KNOWN   64

struct vectors {
    uint32_t ops[CLOCKS], generation[CLOCKS];
    json_t *known[CLOCKS]; /* stamps that were given out: {"member": m, "vector": {}} */
};

static void *vector_open(struct run *r)
{
    struct vectors *s = calloc(1, sizeof *s);
    (void)r;
    for (int i = 0; s != NULL && i < CLOCKS; i++)
        s->known[i] = json_array();
    return s;
}

static void vector_close(struct run *r, void *state)
{
    struct vectors *s = state;
    (void)r;
    for (int i = 0; i < CLOCKS; i++)
        json_decref(s->known[i]);
    free(s);
}

static bool vector_next(struct run *r, uint32_t worker, bool final, struct op *invoke)
{
    struct vectors *s = r->state;
    char member[8];
    (void)worker;
    if (final)
        return false;
    uint64_t c = run_random(r, CLOCKS);
    if (++s->ops[c] > OPS_MAX) {
        s->ops[c] = 0;
        s->generation[c]++;
        json_array_clear(s->known[c]);
    }
    size_t n = json_array_size(s->known[c]);
    snprintf(member, sizeof member, "m%d", (int)run_random(r, MEMBERS));
    invoke->key = json_integer((json_int_t)(c + 1000 * s->generation[c]));
    if (n > 0 && run_random(r, 2) == 0) {
        json_t *from = json_array_get(s->known[c], n - 1 - run_random(r, n < 8 ? n : 8));
        snprintf(invoke->f, sizeof invoke->f, "sync");
        invoke->value = json_pack("{s:s,s:O}", "member", member, "received", from);
    } else {
        snprintf(invoke->f, sizeof invoke->f, "tick");
        invoke->value = json_pack("{s:s}", "member", member);
    }
    return true;
}

static void vector_perform(struct run *r, uint32_t worker, const struct sut_node *node,
                           const struct op *invoke, struct op *done)
{
    struct vectors *s = r->state;
    struct http_answer a;
    char clock[32];
    bool sync = strcmp(invoke->f, "sync") == 0;
    json_int_t key = json_integer_value(invoke->key);
    (void)worker;
    snprintf(clock, sizeof clock, "v%lld", (long long)key);
    json_t *member = json_object_get(invoke->value, "member"),
           *received = json_object_get(invoke->value, "received"),
           *body = json_pack("{s:s,s:O}", "clock", clock, "node", member);
    if (sync) {
        json_object_set(body, "received", json_object_get(received, "vector"));
        json_object_set_new(body, "epoch", json_integer(0));
    }
    http_ask(node->base, "POST", sync ? "/api/v1/vector-clock/sync" : "/api/v1/vector-clock/tick", NULL, body,
             ASK_MS, false, &a);
    json_decref(body);
    op_ended(&a, done);
    json_t *vector = json_object_get(a.data, "vector");
    if (done->type == OP_OK) {
        done->value = json_pack("{s:O,s:O}", "member", member, "vector", vector);
        json_t *stamp = json_deep_copy(done->value);
        if (sync)
            json_object_set(done->value, "received", received);
        pthread_mutex_lock(&r->lock);
        if (s->generation[key % 1000] == (uint64_t)key / 1000) {
            json_array_append(s->known[key % 1000], stamp);
            if (json_array_size(s->known[key % 1000]) > KNOWN)
                json_array_remove(s->known[key % 1000], 0);
        }
        pthread_mutex_unlock(&r->lock);
        json_decref(stamp);
    }
    http_close(&a);
}

/* ---- how it is judged ---- */

struct event {
    uint32_t member;
    json_int_t own;       /* its count */
    const json_t *vector; /* what the service says */
    uint32_t from_member; /* received; MEMBERS: nothing */
    json_int_t from_own;  /* its count there */
    uint64_t called_ns, done_ns;
};

struct graph {
    struct event *events;
    size_t n;
    struct event *doubtful; /* syncs whose end nobody knows: their edge may exist */
    size_t doubtful_n;
    uint8_t *must, *may; /* n * n: row reaches column */
};

static uint32_t member_of(const json_t *stamp)
{
    const char *name = json_string_value(json_object_get(stamp, "member"));
    return name != NULL ? (uint32_t)(name[1] - '0') % MEMBERS : MEMBERS;
}

static json_int_t count_of(const json_t *vector, uint32_t member)
{
    char name[8];
    snprintf(name, sizeof name, "m%u", member);
    return json_integer_value(json_object_get(vector, name));
}

static bool read_event(const struct op *invoke, const struct op *done, struct event *e)
{
    const json_t *value = done->type == OP_OK ? done->value : invoke->value,
                 *received = json_object_get(invoke->value, "received");
    *e = (struct event){.member = member_of(invoke->value), .from_member = MEMBERS};
    e->called_ns = invoke->time_ns;
    e->done_ns = done->time_ns;
    e->vector = json_object_get(value, "vector");
    e->own = count_of(e->vector, e->member);
    if (received != NULL) {
        e->from_member = member_of(received);
        e->from_own = count_of(json_object_get(received, "vector"), e->from_member);
    }
    return e->member < MEMBERS;
}

static size_t event_at(const struct graph *g, uint32_t member, json_int_t own)
{
    for (size_t i = 0; i < g->n; i++)
        if (g->events[i].member == member && g->events[i].own == own)
            return i;
    return SIZE_MAX;
}

/* The event of the same member before this one that is known, SIZE_MAX: none. */
static size_t event_before(const struct graph *g, const struct event *e)
{
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < g->n; i++)
        if (g->events[i].member == e->member && g->events[i].own < e->own &&
            (best == SIZE_MAX || g->events[i].own > g->events[best].own))
            best = i;
    return best;
}

static void inherit(const struct graph *g, uint8_t *reach, size_t to, size_t from)
{
    if (from == SIZE_MAX)
        return;
    for (size_t i = 0; i < g->n; i++)
        reach[i * g->n + to] |= reach[i * g->n + from];
    reach[from * g->n + to] = 1;
}

/* Until nothing changes: a clock has some hundred events, and the order of completion is nearly causal. */
static void draw(struct graph *g)
{
    for (int round = 0; round < 64; round++) {
        uint64_t before = 0, after = 0;
        for (size_t i = 0; i < g->n * g->n; i++)
            before += (uint64_t)g->must[i] + g->may[i];
        for (size_t i = 0; i < g->n; i++) {
            const struct event *e = &g->events[i];
            size_t previous = event_before(g, e);
            size_t from = e->from_member < MEMBERS ? event_at(g, e->from_member, e->from_own) : SIZE_MAX;
            inherit(g, g->must, i, previous);
            inherit(g, g->must, i, from);
            inherit(g, g->may, i, previous);
            inherit(g, g->may, i, from);
            if (e->own == 1 || (previous != SIZE_MAX && g->events[previous].own == e->own - 1))
                continue;
            for (size_t k = 0; k < g->doubtful_n; k++) /* it may be what lies between */
                if (g->doubtful[k].member == e->member)
                    inherit(g, g->may, i, event_at(g, g->doubtful[k].from_member, g->doubtful[k].from_own));
        }
        for (size_t i = 0; i < g->n * g->n; i++)
            after += (uint64_t)g->must[i] + g->may[i];
        if (before == after)
            return;
    }
}

static void judge_clock(struct graph *g, long long key, struct verdict *v)
{
    g->must = calloc(g->n * g->n + 1, 1);
    g->may = calloc(g->n * g->n + 1, 1);
    if (g->must == NULL || g->may == NULL)
        abort();
    draw(g);
    for (size_t i = 0; i < g->n; i++)
        for (size_t k = 0; k < g->n; k++) {
            const struct event *a = &g->events[i], *b = &g->events[k];
            if (i == k)
                continue;
            bool knows = count_of(b->vector, a->member) >= a->own;
            if (a->member == b->member && a->own == b->own)
                verdict_invalid(v, "clock %lld: event %lld of m%u was given twice", key, (long long)a->own,
                                a->member);
            else if (g->must[i * g->n + k] && !knows)
                verdict_invalid(v, "clock %lld: m%u:%lld happened before m%u:%lld, whose stamp denies it",
                                key, a->member, (long long)a->own, b->member, (long long)b->own);
            else if (!g->may[i * g->n + k] && knows)
                verdict_invalid(v, "clock %lld: the stamp of m%u:%lld claims m%u:%lld, which it never met",
                                key, b->member, (long long)b->own, a->member, (long long)a->own);
            if (a->member == b->member && a->done_ns < b->called_ns && a->own > b->own)
                verdict_invalid(v, "clock %lld: m%u counted back from %lld to %lld", key, a->member,
                                (long long)a->own, (long long)b->own);
        }
    v->checked += g->n;
    free(g->must);
    free(g->may);
}

static void vector_check(struct run *r, const struct history *h, struct verdict *v)
{
    size_t *pair = calloc(h->n + 1, sizeof *pair);
    bool *seen = calloc(h->n + 1, sizeof *seen);
    struct graph g = {.events = calloc(h->n + 1, sizeof *g.events),
                      .doubtful = calloc(h->n + 1, sizeof *g.doubtful)};
    (void)r;
    verdict_init(v);
    if (pair == NULL || seen == NULL || g.events == NULL || g.doubtful == NULL || history_pairs(h, pair) != 0)
        abort();
    for (size_t first = 0; first < h->n; first++) {
        if (h->ops[first].process < 0 || seen[first])
            continue;
        json_int_t key = json_integer_value(h->ops[first].key);
        g.n = g.doubtful_n = 0;
        for (size_t i = first; i < h->n; i++) {
            const struct op *o = &h->ops[i];
            struct event e;
            if (o->process < 0 || json_integer_value(o->key) != key)
                continue;
            seen[i] = true;
            bool open = o->type == OP_INVOKE && pair[i] == HISTORY_NONE;
            if (!open && o->type != OP_OK && o->type != OP_INFO)
                continue;
            if (!read_event(open ? o : &h->ops[pair[i]], o, &e))
                verdict_malformed(v, "event %zu names no member", i);
            else if (o->type == OP_OK)
                g.events[g.n++] = e;
            else if (e.from_member < MEMBERS)
                g.doubtful[g.doubtful_n++] = e;
        }
        judge_clock(&g, (long long)key, v);
    }
    free(pair);
    free(seen);
    free(g.events);
    free(g.doubtful);
    verdict_close(v);
}

const struct workload workload_vector = {"vector",     "vector clocks know exactly what happened before",
                                         vector_next,  vector_perform,
                                         vector_check, vector_open,
                                         vector_close};
