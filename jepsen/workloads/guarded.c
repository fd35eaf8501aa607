/* What freezes guard, with the resource kept by the judge.
 *
 *   freeze  exclusive freezes: tokens rise from grant to grant, nobody is inside with another, what ended
 * holds nothing
 *
 * A worker begins a transaction, freezes one or two resources in any order, uses them under their tokens, and
 * lets go by ending the transaction, either way.  Two that wait for each other are told so, and one gives
 * way.  Some sleep behind the end of their transaction and use their old token then: that is what the fence
 * at the resource is for, which refuses a token below the last it took.  Of the others the resource only sees
 * whether they are alone, so that the checker finds what the coordinator let through. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "linear.h"

#define RESOURCES    4
#define HELD_MAX     2
#define HOLD_MS      30
#define WORKERS      64
#define WAIT_MS      1500
#define LET_GO_TRIES 60
#define LIFE_MS      20000 /* of a transaction; nobody uses a resource after a quarter of it */
#define SHORT_MS     1200  /* of one whose client sleeps for SLEEP_MS */
#define SLEEP_MS     2000
#define LEAKS_S      60 /* until everything must have been let go */

struct holder {
    enum { BEGINS, ACQUIRES, USES, RELEASES } stage;
    char xid[40];
    json_int_t resource[HELD_MAX], token[HELD_MAX];
    uint32_t n, got, used; /* resources: wanted, granted, used */
    bool sleeps;
    uint64_t since_ns;
};

struct guarded {
    struct holder worker[WORKERS];
    uint32_t n, position[RESOURCES], inside[RESOURCES];
    json_int_t last[RESOURCES]; /* token the resource took */
    bool leaks_asked;
};

static void *guarded_open(struct run *r)
{
    struct guarded *g = calloc(1, sizeof *g);
    (void)r;
    if (g == NULL)
        abort();
    return g;
}

static void guarded_close(struct run *r, void *state)
{
    (void)r;
    free(state);
}

static void begin_anew(struct run *r, struct guarded *g, struct holder *w)
{
    *w = (struct holder){.stage = BEGINS, .n = 1 + (run_random(r, 3) == 0), .since_ns = run_now_ns(r)};
    snprintf(w->xid, sizeof w->xid, "f%llx-%u", (unsigned long long)(r->o.seed & 0xffff), ++g->n);
    w->resource[0] = (json_int_t)run_random(r, RESOURCES);
    w->resource[1] = (w->resource[0] + 1 + (json_int_t)run_random(r, RESOURCES - 1)) % RESOURCES;
    w->sleeps = run_random(r, 30) == 0;
}

static bool guarded_next(struct run *r, uint32_t worker, bool final, struct op *invoke)
{
    struct guarded *g = r->state;
    struct holder *w = &g->worker[worker];
    if (final && g->leaks_asked)
        return false;
    if (final) {
        g->leaks_asked = true;
        snprintf(invoke->f, sizeof invoke->f, "leaks");
        invoke->key = json_integer(-1);
        invoke->value = json_null();
        return true;
    }
    if (w->stage == BEGINS)
        begin_anew(r, g, w);
    bool old = run_now_ns(r) - w->since_ns > LIFE_MS / 4 * UINT64_C(1000000);
    if (w->stage == USES && old && !w->sleeps)
        w->stage = RELEASES; /* it may be over soon: let go unused */
    uint32_t i = w->stage == USES ? w->used : w->stage == RELEASES ? 0 : w->got;
    snprintf(invoke->f, sizeof invoke->f, "%s",
             w->stage == USES       ? "use"
             : w->stage == RELEASES ? "release"
                                    : "acquire");
    invoke->key = json_integer(w->resource[i]);
    invoke->value = w->stage == USES || w->stage == RELEASES ? json_integer(w->token[i]) : json_null();
    return true;
}

static bool stands(const struct http_answer *a, const char *want)
{
    const char *status = json_string_value(json_object_get(a->data, "status"));
    return a->outcome == HTTP_DONE && status != NULL && strcmp(status, want) == 0;
}

/* End the transaction until it is known to be over: after that nothing is granted to it, not even by a
 * request that is still on its way.  Nobody uses a token that may have been granted before. */
static bool let_go_for_certain(struct run *r, const struct sut_node *node, const char *xid, bool commit)
{
    for (uint32_t i = 0; i < LET_GO_TRIES; i++) {
        struct http_answer a;
        json_t *body = json_pack("{s:s}", "xid", xid);
        http_ask(r->sut.nodes[(node->id - 1 + i) % r->sut.n].base, "POST",
                 commit ? "/api/v1/transaction/commit" : "/api/v1/transaction/rollback", NULL, body, ASK_MS,
                 false, &a);
        json_decref(body);
        bool gone = a.outcome == HTTP_DONE || strcmp(a.error, "TXN_DECIDED") == 0;
        http_close(&a);
        if (gone)
            return true;
        nap_ms(200);
    }
    return false;
}

/* Ask for the freeze, and wait in line while somebody answers.  True: granted. */
static bool wait_in_line(const struct sut_node *node, const char *xid, json_int_t resource,
                         struct http_answer *a)
{
    char name[32], path[128];
    snprintf(name, sizeof name, "res%lld", (long long)resource);
    snprintf(path, sizeof path, "/api/v1/freeze/%s/%s", xid, name);
    json_t *body =
        json_pack("{s:s,s:s,s:s,s:i}", "xid", xid, "resource", name, "mode", "exclusive", "waitMs", WAIT_MS);
    http_ask(node->base, "POST", "/api/v1/freeze", NULL, body, ASK_MS, false, a);
    json_decref(body);
    for (int i = 0; i < WAIT_MS / 20 && stands(a, "WAITING"); i++) {
        http_close(a);
        nap_ms(25);
        http_ask(node->base, "GET", path, NULL, NULL, ASK_MS, true, a);
    }
    return stands(a, "GRANTED");
}

/* False: nobody asked for a freeze; what may have begun ends by its time limit. */
static bool begin(const struct holder *w, const struct sut_node *node, struct op *done)
{
    struct http_answer a;
    json_t *body = json_pack("{s:s,s:i}", "xid", w->xid, "timeoutMs", w->sleeps ? SHORT_MS : LIFE_MS);
    http_ask(node->base, "POST", "/api/v1/transaction/begin", NULL, body, ASK_MS, false, &a);
    json_decref(body);
    bool begun = a.outcome == HTTP_DONE;
    op_ended(&a, done);
    http_close(&a);
    return begun;
}

/* Begin and freeze, or freeze one more.  Who is not let in, or does not know, lets all go: it fails for
 * certain, unless nobody says so. */
static void acquire(struct run *r, struct holder *w, const struct sut_node *node, struct op *done)
{
    struct http_answer a;
    if (w->stage == BEGINS && !begin(w, node, done)) {
        done->type = OP_FAIL;
        return;
    }
    w->stage = ACQUIRES;
    if (wait_in_line(node, w->xid, w->resource[w->got], &a)) {
        done->type = OP_OK;
        done->error[0] = 0;
        done->value = json_incref(json_object_get(a.data, "token"));
        w->token[w->got++] = json_integer_value(done->value);
        if (w->got == w->n)
            w->stage = USES;
    } else {
        const char *status = json_string_value(json_object_get(a.data, "status"));
        snprintf(done->error, sizeof done->error, "%s", status != NULL ? status : a.error);
        done->type = let_go_for_certain(r, node, w->xid, false) ? OP_FAIL : OP_INFO;
        w->stage = BEGINS;
    }
    http_close(&a);
}

/* Inside for a while: the position it was let in at, and whether somebody else was there.  Whoever slept is
 * let in by the fence alone, and minds nobody. */
static void use(struct run *r, struct holder *w, struct op *done)
{
    struct guarded *g = r->state;
    json_int_t i = w->resource[w->used], token = w->token[w->used];
    if (w->sleeps && w->used == 0)
        nap_ms(SLEEP_MS);
    if (++w->used == w->got)
        w->stage = RELEASES;
    pthread_mutex_lock(&r->lock);
    bool fenced = token < g->last[i], met = false;
    uint32_t position = fenced ? 0 : ++g->position[i], ms = (uint32_t)run_random(r, HOLD_MS);
    if (!fenced)
        g->last[i] = token;
    if (!w->sleeps)
        met = g->inside[i]++ > 0;
    pthread_mutex_unlock(&r->lock);
    if (fenced && w->sleeps) {
        done->type = OP_FAIL;
        snprintf(done->error, sizeof done->error, "fenced");
        return;
    }
    nap_ms(ms);
    pthread_mutex_lock(&r->lock);
    if (!w->sleeps) {
        met = met || fenced || g->inside[i] > 1 || g->position[i] != position;
        g->inside[i]--;
    }
    pthread_mutex_unlock(&r->lock);
    done->type = OP_OK;
    done->value = json_pack("[I,I,b]", token, (json_int_t)position, met);
}

/* How many resources are frozen when nobody should hold any: what is told last counts. */
static void leaks(struct run *r, const struct sut_node *node, struct op *done)
{
    size_t held = 1;
    done->type = OP_FAIL;
    for (uint32_t i = 0; i < LEAKS_S * 5 && (done->type != OP_OK || held > 0); i++) {
        struct http_answer a;
        http_ask(r->sut.nodes[(node->id + i) % r->sut.n].base, "GET", "/api/v1/freezes?prefix=res&limit=100",
                 NULL, NULL, ASK_MS, true, &a);
        op_ended(&a, done);
        const json_t *list = json_object_get(a.data, "freezes");
        held = json_array_size(list);
        if (done->type == OP_OK && !json_is_array(list))
            done->type = OP_FAIL;
        http_close(&a);
        if (done->type != OP_OK || held > 0)
            nap_ms(200);
    }
    if (done->type == OP_OK)
        done->value = json_integer((json_int_t)held);
}

static void guarded_perform(struct run *r, uint32_t worker, const struct sut_node *node,
                            const struct op *invoke, struct op *done)
{
    struct guarded *g = r->state;
    struct holder *w = &g->worker[worker];
    if (strcmp(invoke->f, "acquire") == 0) {
        acquire(r, w, node, done);
    } else if (strcmp(invoke->f, "use") == 0) {
        use(r, w, done);
    } else if (strcmp(invoke->f, "leaks") == 0) {
        leaks(r, node, done);
    } else {
        if (let_go_for_certain(r, node, w->xid, w->token[0] % 2 == 0)) {
            done->type = OP_OK;
            done->value = json_incref(invoke->value);
        }
        w->stage = BEGINS; /* its time limit does the rest */
    }
}

/* Tokens rise with real time, over all resources; then resource by resource; in the end nothing is held. */
static void guarded_check(struct run *r, const struct history *h, struct verdict *v)
{
    struct verdict part;
    struct history uses;
    (void)r;
    verdict_init(v);
    history_init(&uses);
    for (size_t i = 0; i < h->n; i++) {
        const struct op *o = &h->ops[i];
        bool use = o->process >= 0 && strcmp(o->f, "use") == 0 && o->type == OP_OK;
        if (use && json_is_true(json_array_get(o->value, 2)))
            verdict_invalid(v, "resource %lld: token %lld was not alone",
                            (long long)json_integer_value(o->key),
                            (long long)json_integer_value(json_array_get(o->value, 0)));
        if (o->process >= 0 && strcmp(o->f, "leaks") == 0 && o->type == OP_OK &&
            json_integer_value(o->value) > 0)
            verdict_invalid(v, "%lld resources are frozen when everything has ended",
                            (long long)json_integer_value(o->value));
        json_t *value = use ? json_pack("[O,O]", json_array_get(o->value, 0), json_array_get(o->value, 1))
                            : json_incref(o->value);
        if (history_add_op(&uses, o->time_ns, o->process, o->type, o->f, json_incref(o->key), value) == NULL)
            abort();
    }
    check_lock(&uses, &part);
    verdict_compose(v, "lock", &part);
    history_close(&uses);
    check_unique(h, "acquire", &part);
    verdict_compose(v, "tokens", &part);
    verdict_close(v);
}

const struct workload workload_freeze = {"freeze",      "one holder at a time, with a token above all before",
                                         guarded_next,  guarded_perform,
                                         guarded_check, guarded_open,
                                         guarded_close};
