/* Decisions: one per transaction, for all its branches, for ever.
 *
 *   decide  transactions of no to four branches, which several workers commit, roll back and join at the same
 * time; of some the coordinator makes the tries, and a participant may refuse; some nobody decides
 *
 * Judged from two sides: what clients were told (the first decision anybody saw is the only one, and whoever
 * asks later is told of it), and what the participants were made to do: every branch that was registered, and
 * none that was refused, goes the way of the decision. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

#define BRANCHES_MAX 4
#define RECENT       12
#define LIFE_MS      4000

struct decide {
    struct pool pool;
    struct stub *stub;
    uint64_t dice; /* under the stub's lock */
    uint32_t joins;
};

static bool business(void *user, const struct stub_call *c)
{
    struct decide *d = user;
    if (strcmp(c->op, "try") != 0)
        return true;
    d->dice = d->dice * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (d->dice >> 33) % 1000 >= 120;
}

static void *decide_open(struct run *r)
{
    struct decide *d = calloc(1, sizeof *d);
    if (d == NULL)
        abort();
    d->dice = r->o.seed;
    d->stub = stub_open(r, 60, business, d);
    stub_no_tries(d->stub);
    pool_open(&d->pool, d->stub);
    return d;
}

static void decide_close(struct run *r, void *state)
{
    struct decide *d = state;
    (void)r;
    stub_close(d->stub);
    pool_close(&d->pool);
    free(d);
}

static bool decide_next(struct run *r, uint32_t worker, bool final, struct op *invoke)
{
    struct decide *d = r->state;
    uint64_t what = run_random(r, 100);
    (void)worker;
    if (final)
        return pool_final(r, &d->pool, invoke);
    if (what < 20 && pool_old(r, &d->pool, invoke))
        return true;
    if (what < 65 && pool_recent(r, &d->pool, RECENT, invoke)) {
        bool join = what < 30;
        snprintf(invoke->f, sizeof invoke->f, "%s", join ? "join" : what < 52 ? "commit" : "rollback");
        if (join) {
            char name[16];
            snprintf(name, sizeof name, "j%u", ++d->joins);
            json_decref(invoke->value);
            invoke->value = json_pack("[s]", name);
        }
        return true;
    }
    const char *xid = pool_new(r, &d->pool);
    if (xid == NULL)
        return false;
    bool run = run_random(r, 3) == 0;
    snprintf(invoke->f, sizeof invoke->f, "%s", run ? "run" : "begin");
    invoke->key = json_string(xid);
    invoke->value = json_integer((run ? 1 : 0) + (json_int_t)run_random(r, BRANCHES_MAX + (run ? 0 : 1)));
    return true;
}

static json_t *branch(const struct decide *d, const char *name, bool tried)
{
    static const char *const ops[] = {"confirm", "cancel", "try"};
    json_t *b = json_pack("{s:s}", "branch", name);
    for (int i = 0; i < (tried ? 3 : 2); i++) {
        char url[96], field[16];
        snprintf(url, sizeof url, "%s/%s", stub_base(d->stub), ops[i]);
        snprintf(field, sizeof field, "%sUrl", ops[i]);
        json_object_set_new(b, field, json_string(url));
    }
    return b;
}

static json_t *begin_body(const struct decide *d, const struct op *invoke, bool run)
{
    json_t *list = json_array();
    for (int i = 0; i < (int)json_integer_value(invoke->value); i++) {
        char name[16];
        snprintf(name, sizeof name, "b%d", i);
        json_array_append_new(list, branch(d, name, run));
    }
    return json_pack("{s:O,s:b,s:i,s:i,s:i,s:o}", "xid", invoke->key, "execute", run, "timeoutMs", LIFE_MS,
                     "retryBaseMs", 50, "retryCapMs", 1000, "branches", list);
}

static void decide_perform(struct run *r, uint32_t worker, const struct sut_node *node,
                           const struct op *invoke, struct op *done)
{
    struct decide *d = r->state;
    struct http_answer a;
    char path[64];
    json_t *body;
    (void)worker;
    if (pool_perform(r, &d->pool, node, invoke, done))
        return;
    bool run = strcmp(invoke->f, "run") == 0, join = strcmp(invoke->f, "join") == 0;
    snprintf(path, sizeof path, "/api/v1/transaction/%s", run ? "begin" : join ? "branch" : invoke->f);
    if (run || strcmp(invoke->f, "begin") == 0) {
        body = begin_body(d, invoke, run);
    } else if (join) {
        body = branch(d, json_string_value(json_array_get(invoke->value, 0)), false);
        json_object_set(body, "xid", invoke->key);
    } else {
        body = json_pack("{s:O}", "xid", invoke->key);
    }
    http_ask(node->base, "POST", path, NULL, body, ASK_MS, false, &a);
    json_decref(body);
    op_ended(&a, done);
    if (done->type == OP_OK)
        done->value = json_incref(join ? invoke->value : json_object_get(a.data, "status"));
    http_close(&a);
}

/* ---- how it is judged ---- */

/* What the history says of branches: calls {xid: {branch: {op: what}}}, joined and refused {xid: [branch]},
 * the token of each decision {xid: token}. */
struct branches {
    json_t *calls, *joined, *refused, *tokens;
};

static json_t *child(json_t *of, const char *name, json_t *(*make)(void))
{
    json_t *c = json_object_get(of, name);
    if (c == NULL)
        json_object_set_new(of, name, c = make());
    return c;
}

static void gather(struct branches *b, const struct txs *t, const struct history *h, struct verdict *v)
{
    size_t i;
    json_t *record;
    *b = (struct branches){json_object(), json_object(), json_object(), json_object()};
    json_array_foreach(json_object_get(t->effects, "records"), i, record)
    {
        const char *xid = json_string_value(json_array_get(record, 0)),
                   *name = json_string_value(json_array_get(record, 1)),
                   *op = json_string_value(json_array_get(record, 2));
        if (txs_find(t, xid) == NULL || name == NULL || op == NULL) {
            verdict_invalid(v, "a call for %s, which nobody began", xid != NULL ? xid : "nothing");
            continue;
        }
        json_object_set(child(child(b->calls, xid, json_object), name, json_object), op,
                        json_array_get(record, 4));
        const json_t *token = json_array_get(record, 3), *before = json_object_get(b->tokens, xid);
        if (strcmp(op, "try") == 0)
            continue;
        if (before != NULL && !json_equal(before, token))
            verdict_invalid(v, "%s: the calls of one decision carry two tokens", xid);
        json_object_set(b->tokens, xid, (json_t *)(uintptr_t)token);
    }
    for (i = 0; i < h->n; i++) {
        const struct op *o = &h->ops[i];
        const char *xid = json_string_value(o->key);
        if (o->process >= 0 && xid != NULL && strcmp(o->f, "join") == 0 &&
            (o->type == OP_OK || o->type == OP_FAIL))
            json_array_append(child(o->type == OP_OK ? b->joined : b->refused, xid, json_array),
                              json_array_get(o->value, 0));
    }
}

static void judge_branch(const struct tx *x, const json_t *calls, const char *name, struct verdict *v)
{
    const json_t *of = json_object_get(calls, name);
    bool run = strcmp(x->f, "run") == 0;
    const char *tried = json_string_value(json_object_get(of, "try"));
    if (x->side == 'C' && run && (tried == NULL || strcmp(tried, "done") != 0))
        verdict_invalid(v, "%s is decided for commit, and the try of %s did not succeed", x->xid, name);
    if (x->ended && x->side == 'C' && json_object_get(of, "confirm") == NULL)
        verdict_invalid(v, "%s is COMMITTED, and %s was not confirmed", x->xid, name);
    if (x->ended && x->side == 'R' && (!run || tried != NULL) && json_object_get(of, "cancel") == NULL)
        verdict_invalid(v, "%s is ROLLED_BACK, and %s was not cancelled", x->xid, name);
}

static void judge_tx(const struct tx *x, const struct branches *b, struct verdict *v)
{
    size_t i;
    const char *name;
    json_t *of, *joined, *calls = json_object_get(b->calls, x->xid);
    size_t confirmed = 0, cancelled = 0;
    json_object_foreach(calls, name, of)
    {
        confirmed += json_object_get(of, "confirm") != NULL;
        cancelled += json_object_get(of, "cancel") != NULL;
    }
    if (confirmed > 0 && cancelled > 0)
        verdict_invalid(v, "%s: one branch was confirmed, another cancelled", x->xid);
    if ((x->side == 'C' && cancelled > 0) || (x->side == 'R' && confirmed > 0))
        verdict_invalid(v, "%s is decided for %s, and a branch went the other way", x->xid,
                        x->side == 'C' ? "commit" : "rollback");
    bool asked = strcmp(x->f, "begin") == 0 || strcmp(x->f, "run") == 0;
    for (json_int_t k = 0; asked && k < json_integer_value(x->value); k++) {
        char own[24];
        snprintf(own, sizeof own, "b%lld", (long long)k);
        judge_branch(x, calls, own, v);
    }
    json_array_foreach(json_object_get(b->joined, x->xid), i, joined)
    {
        judge_branch(x, calls, json_string_value(joined), v);
    }
    json_array_foreach(json_object_get(b->refused, x->xid), i, joined)
    {
        if (json_object_get(calls, json_string_value(joined)) != NULL)
            verdict_invalid(v, "%s: %s was refused as a branch, and called", x->xid,
                            json_string_value(joined));
    }
    v->checked += x->ended;
}

static void decide_check(struct run *r, const struct history *h, struct verdict *v)
{
    struct txs t;
    struct branches b;
    (void)r;
    verdict_init(v);
    txs_open(&t, h, NULL, v);
    gather(&b, &t, h, v);
    for (size_t i = 0; i < t.n && t.effects != NULL; i++)
        judge_tx(&t.list[i], &b, v);
    json_decref(b.calls);
    json_decref(b.joined);
    json_decref(b.refused);
    json_decref(b.tokens);
    txs_close(&t);
    verdict_close(v);
}

const struct workload workload_decide = {
    "decide",     "one decision per transaction, for all branches, for ever",
    decide_next,  decide_perform,
    decide_check, decide_open,
    decide_close};
