/* Clients that die, a participant that stays away, and one that acts on its own.
 *
 *   orphan  TCC whose tries the clients make: some clients vanish after a try, before they decided; one of
 * the two participants answers nobody until everything is over; what has ended is forgotten as soon as the
 * product allows.  In the end nothing is reserved, and each transaction stands whole or not at all. A few
 * branches are cancelled by their participant itself, against a decision to commit: that is never called
 * done, it stands suspended with what was answered, until an operator says otherwise. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

#define LIFE_MS     3000
#define RETENTION_S 60 /* the least that can be set */
#define STUBBORN    3  /* calls after which a stubborn branch is an operator's */

struct orphans {
    struct pool pool;
    struct stub *near, *far;
    int64_t reserved[2]; /* near, far; each under its stub's lock */
    bool retention_set, returned;
};

/* What a transaction reserves with a participant is 1. */
static bool reserve(int64_t *reserved, const struct stub_call *c)
{
    if (strcmp(c->op, "try") == 0)
        (*reserved)++;
    else if (strcmp(c->op, "confirm") == 0 || strcmp(c->op, "cancel") == 0)
        (*reserved)--;
    return true;
}

/* A stubborn branch is cancelled already, by its participant's hand; it can never be confirmed. */
static bool near_business(void *user, const struct stub_call *c)
{
    struct orphans *o = user;
    if (strcmp(c->branch, "stubborn") == 0 && strcmp(c->op, "confirm") == 0)
        return false;
    return reserve(&o->reserved[0], c);
}

static bool far_business(void *user, const struct stub_call *c)
{
    struct orphans *o = user;
    return reserve(&o->reserved[1], c);
}

static void more(void *user, json_t *value)
{
    struct orphans *o = user;
    json_t *far = stub_records(o->far);
    json_array_extend(json_object_get(value, "records"), far);
    json_decref(far);
    json_object_set_new(value, "reserved",
                        json_pack("[I,I]", (json_int_t)o->reserved[0], (json_int_t)o->reserved[1]));
}

static void *orphan_open(struct run *r)
{
    struct orphans *o = calloc(1, sizeof *o);
    if (o == NULL)
        abort();
    o->near = stub_open(r, 50, near_business, o);
    o->far = stub_open(r, 0, far_business, o);
    stub_away(o->far, true);
    pool_open(&o->pool, o->near);
    o->pool.more = more;
    o->pool.user = o;
    o->pool.suspended_ends = true;
    return o;
}

static void orphan_close(struct run *r, void *state)
{
    struct orphans *o = state;
    (void)r;
    stub_close(o->near);
    stub_close(o->far);
    pool_close(&o->pool);
    free(o);
}

static bool orphan_next(struct run *r, uint32_t worker, bool final, struct op *invoke)
{
    static const char *const ways[] = {"decide", "decide", "take-back", "vanish", "vanish-early", "stubborn"};
    struct orphans *o = r->state;
    (void)worker;
    bool *once = final ? &o->returned : &o->retention_set;
    if (!*once) {
        *once = true;
        snprintf(invoke->f, sizeof invoke->f, final ? "return" : "retention");
        invoke->key = json_string("all");
        invoke->value = json_integer(RETENTION_S);
        return true;
    }
    if (final)
        return pool_final(r, &o->pool, invoke);
    if (run_random(r, 3) == 0 && pool_old(r, &o->pool, invoke))
        return true;
    const char *xid = pool_new(r, &o->pool);
    if (xid == NULL)
        return false;
    uint64_t way = run_random(r, 26);
    snprintf(invoke->f, sizeof invoke->f, "%s", ways[way == 25 ? 5 : way % 5]);
    invoke->key = json_string(xid);
    invoke->value = json_integer(way < 5 || way == 25 ? 1 : 2); /* branches: near, and far */
    return true;
}

static bool post(const struct sut_node *node, const char *path, json_t *body, struct http_answer *a)
{
    http_ask(node->base, "POST", path, NULL, body, ASK_MS, false, a);
    json_decref(body);
    return a->outcome == HTTP_DONE;
}

static json_t *branch(const struct stub *s, const char *name, bool stubborn)
{
    char confirm[96], cancel[96];
    snprintf(confirm, sizeof confirm, "%s/confirm", stub_base(s));
    snprintf(cancel, sizeof cancel, "%s/cancel", stub_base(s));
    json_t *b = json_pack("{s:s,s:s,s:s}", "branch", name, "confirmUrl", confirm, "cancelUrl", cancel);
    if (stubborn)
        json_object_set_new(b, "retryLimit", json_integer(STUBBORN));
    return b;
}

/* The client's own calls.  Its network is good: it is the client that dies. */
static void by_hand(struct stub *s, const char *xid, const char *name, const char *op)
{
    const struct stub_call call = {.xid = xid, .branch = name, .op = op};
    stub_do(s, &call);
}

static void set_retention(const struct sut_node *node, struct op *done)
{
    struct http_answer a;
    post(node, "/api/v1/settings",
         json_pack("{s:s,s:s,s:i}", "by", "jepsen", "reason", "orphan", "retentionMs", RETENTION_S * 1000),
         &a);
    op_ended(&a, done);
    if (done->type == OP_OK)
        done->value = json_integer(RETENTION_S);
    http_close(&a);
}

static void orphan_perform(struct run *r, uint32_t worker, const struct sut_node *node,
                           const struct op *invoke, struct op *done)
{
    struct orphans *o = r->state;
    struct http_answer a;
    const char *xid = json_string_value(invoke->key);
    (void)worker;
    if (pool_perform(r, &o->pool, node, invoke, done))
        return;
    if (strcmp(invoke->f, "retention") == 0) {
        set_retention(node, done);
        return;
    }
    if (strcmp(invoke->f, "return") == 0) {
        stub_away(o->far, false);
        done->type = OP_OK;
        done->value = json_incref(invoke->value);
        return;
    }
    bool stubborn = strcmp(invoke->f, "stubborn") == 0, both = json_integer_value(invoke->value) == 2;
    const char *name = stubborn ? "stubborn" : "near";
    json_t *list = json_pack("[o]", branch(o->near, name, stubborn));
    if (both)
        json_array_append_new(list, branch(o->far, "far", false));
    bool begun = post(node, "/api/v1/transaction/begin",
                      json_pack("{s:s,s:i,s:i,s:i,s:o}", "xid", xid, "timeoutMs", LIFE_MS, "retryBaseMs", 50,
                                "retryCapMs", 2000, "branches", list),
                      &a);
    op_ended(&a, done);
    if (begun)
        done->value = json_incref(json_object_get(a.data, "status"));
    http_close(&a);
    if (!begun || strcmp(invoke->f, "vanish-early") == 0)
        return; /* registered before it tried, as it must be: nothing is reserved */
    by_hand(o->near, xid, name, "try");
    if (strcmp(invoke->f, "vanish") == 0)
        return;
    if (both)
        by_hand(o->far, xid, "far", "try");
    if (stubborn)
        by_hand(o->near, xid, name, "cancel");
    bool back = strcmp(invoke->f, "take-back") == 0;
    post(node, back ? "/api/v1/transaction/rollback" : "/api/v1/transaction/commit",
         json_pack("{s:s}", "xid", xid), &a);
    http_close(&a);
}

/* ---- how it is judged ---- */

struct done {
    bool tried[2], confirmed[2], cancelled[2], any_cancel[2]; /* near, far */
};

static void count(struct txs *t, struct done *dones, const json_t *record, struct verdict *v)
{
    const char *name = json_string_value(json_array_get(record, 1)),
               *op = json_string_value(json_array_get(record, 2)),
               *what = json_string_value(json_array_get(record, 4));
    const struct tx *x = txs_find(t, json_string_value(json_array_get(record, 0)));
    if (x == NULL || name == NULL || op == NULL || what == NULL) {
        verdict_invalid(v, "a call for a transaction that nobody began");
        return;
    }
    struct done *d = &dones[x - t->list];
    int i = strcmp(name, "far") == 0;
    bool stands = strcmp(what, "done") == 0;
    if (strcmp(op, "try") == 0)
        d->tried[i] = stands;
    else if (strcmp(op, "confirm") == 0)
        d->confirmed[i] = stands;
    else
        d->cancelled[i] = stands, d->any_cancel[i] = true;
}

/* Who acted against the decision is not overruled, and not called done. */
static void judge_stubborn(const struct tx *x, struct verdict *v)
{
    if (x->side == 'C' && x->ended)
        verdict_invalid(v, "%s is COMMITTED, though its participant had cancelled by itself", x->xid);
    if (x->acknowledged && !x->ended && !x->suspended)
        verdict_invalid(v, "%s: its participant acted against the decision, and nobody is told", x->xid);
}

static void judge_tx(const struct tx *x, const struct done *d, struct verdict *v)
{
    bool stubborn = strcmp(x->f, "stubborn") == 0;
    if (stubborn)
        judge_stubborn(x, v);
    for (int i = 0; i < 2; i++) {
        const char *name = i == 0 ? "near" : "far";
        if (x->side == 'C' && d->any_cancel[i] && !stubborn)
            verdict_invalid(v, "%s is decided for commit, and %s was cancelled", x->xid, name);
        if (x->side == 'R' && d->confirmed[i])
            verdict_invalid(v, "%s is rolled back, and %s was confirmed", x->xid, name);
        if (x->ended && d->tried[i] && !d->confirmed[i] && !d->cancelled[i])
            verdict_invalid(v, "%s has ended, and its try at %s stands", x->xid, name);
        if (x->ended && x->side == 'C' && i < json_integer_value(x->value) && !d->confirmed[i] && !stubborn)
            verdict_invalid(v, "%s is COMMITTED, and %s was not confirmed", x->xid, name);
    }
    v->checked += x->ended || x->suspended;
}

/* What the participant that is away has not heard of is not over, and must not be forgotten. */
static void judge_memory(const struct txs *t, const struct history *h, struct verdict *v)
{
    for (size_t i = 0; i < h->n; i++) {
        const struct op *op = &h->ops[i];
        const char *status = op->type == OP_OK ? json_string_value(op->value) : NULL;
        if (op->process >= 0 && op->type == OP_OK && strcmp(op->f, "return") == 0)
            return;
        const struct tx *x = op->process >= 0 ? txs_find(t, json_string_value(op->key)) : NULL;
        bool far = x != NULL && json_integer_value(x->value) == 2;
        if (status == NULL || !far || x->known_ns == 0 || op->time_ns <= x->known_ns)
            continue;
        if (strcmp(status, "COMMITTED") == 0 || strcmp(status, "ROLLED_BACK") == 0)
            verdict_invalid(v, "%s is %s, and a participant has not heard of it", x->xid, status);
    }
}

static void orphan_check(struct run *r, const struct history *h, struct verdict *v)
{
    static const struct txs_rules rules = {.kept_ns = RETENTION_S * UINT64_C(1000000000),
                                           .may_suspend = true};
    struct txs t;
    size_t i;
    json_t *one;
    (void)r;
    verdict_init(v);
    txs_open(&t, h, &rules, v);
    struct done *dones = calloc(t.n + 1, sizeof *dones);
    if (dones == NULL)
        abort();
    json_array_foreach(json_object_get(t.effects, "records"), i, one)
    {
        count(&t, dones, one, v);
    }
    judge_memory(&t, h, v);
    bool settled = true;
    for (i = 0; i < t.n && t.effects != NULL; i++) {
        judge_tx(&t.list[i], &dones[i], v);
        settled = settled && (t.list[i].ended || t.list[i].suspended || !t.list[i].acknowledged);
    }
    json_array_foreach(json_object_get(t.effects, "reserved"), i, one)
    {
        if (settled && json_integer_value(one) != 0)
            verdict_invalid(v, "the participant %s has %lld reserved for ever", i == 0 ? "near" : "far",
                            (long long)json_integer_value(one));
    }
    free(dones);
    txs_close(&t);
    verdict_close(v);
}

const struct workload workload_orphan = {
    "orphan",
    "clients die and a participant stays away: nothing stays reserved, nothing is forgotten too soon",
    orphan_next,
    orphan_perform,
    orphan_check,
    orphan_open,
    orphan_close};
