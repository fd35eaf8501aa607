/* Sagas whose participants answer later.
 *
 *   async  three steps; two are accepted with 202 and acknowledged afterwards: at once, late, behind the time
 * that was allowed, twice, and the second time sometimes the other way round.  The first acknowledgement
 * counts, no step starts before the one in front of it was acknowledged, and each saga stands whole or not at
 * all */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

#define STEPS          3 /* the first answers at once */
#define ACKNOWLEDGE_MS 1500
#define DUE_MAX        65536

struct due {
    char xid[40], branch[16];
    bool success;
    uint64_t at_ns;
};

struct asyncs {
    struct pool pool;
    struct stub *stub;
    struct run *run;
    uint64_t dice; /* this and what follows: under the stub's lock */
    struct due *due;
    uint32_t due_n;
};

static uint64_t roll(struct asyncs *s, uint64_t below)
{
    s->dice = s->dice * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (s->dice >> 33) % below;
}

static bool business(void *user, const struct stub_call *c)
{
    struct asyncs *s = user;
    return strcmp(c->op, "action") != 0 || roll(s, 100) >= 10;
}

static void put(struct asyncs *s, const char *xid, const char *branch, bool success, uint32_t in_ms)
{
    if (s->due_n == DUE_MAX)
        return; /* nobody is told: the time that is allowed passes */
    struct due *d = &s->due[s->due_n++];
    d->success = success;
    d->at_ns = run_now_ns(s->run) + in_ms * UINT64_C(1000000);
    snprintf(d->xid, sizeof d->xid, "%s", xid);
    snprintf(d->branch, sizeof d->branch, "%s", branch);
}

/* Accept, and say later what came of it.  What is refused is refused at once, or later. */
static unsigned answer(void *user, const struct stub_call *c, enum stub_what what, unsigned status)
{
    struct asyncs *s = user;
    bool later = strcmp(c->op, "action") == 0 && strcmp(c->branch, "b0") != 0 && what != STUB_HANGING;
    if (!later || (what == STUB_REFUSED && roll(s, 2) == 0))
        return status;
    uint64_t way = roll(s, 20);
    if (way > 0) /* else nobody ever says so */
        put(s, c->xid, c->branch, what == STUB_DONE,
            way < 14   ? (uint32_t)roll(s, 200)
            : way < 17 ? 1000 + (uint32_t)roll(s, 1000)
                       : 3000);
    return 202;
}

static void *async_open(struct run *r)
{
    struct asyncs *s = calloc(1, sizeof *s);
    if (s == NULL || (s->due = calloc(DUE_MAX, sizeof *s->due)) == NULL)
        abort();
    s->run = r;
    s->dice = r->o.seed;
    s->stub = stub_open(r, 50, business, s);
    stub_answers(s->stub, answer);
    pool_open(&s->pool, s->stub);
    return s;
}

static void async_close(struct run *r, void *state)
{
    struct asyncs *s = state;
    (void)r;
    stub_close(s->stub);
    pool_close(&s->pool);
    free(s->due);
    free(s);
}

/* An acknowledgement whose time has come. */
static bool next_due(struct asyncs *s, struct op *invoke)
{
    uint64_t now = run_now_ns(s->run);
    bool found = false;
    stub_lock(s->stub);
    for (uint32_t i = 0; i < s->due_n && !found; i++) {
        if (s->due[i].at_ns > now)
            continue;
        struct due d = s->due[i];
        s->due[i] = s->due[--s->due_n];
        snprintf(invoke->f, sizeof invoke->f, "ack");
        invoke->key = json_string(d.xid);
        invoke->value = json_pack("[s,s]", d.branch, d.success ? "success" : "failure");
        found = true;
        if (roll(s, 10) == 0) /* said twice, perhaps at the same time */
            put(s, d.xid, d.branch, d.success, (uint32_t)roll(s, 400));
    }
    stub_unlock(s->stub);
    return found;
}

static bool async_next(struct run *r, uint32_t worker, bool final, struct op *invoke)
{
    struct asyncs *s = r->state;
    (void)worker;
    if (next_due(s, invoke))
        return true;
    if (final)
        return pool_final(r, &s->pool, invoke);
    if (run_random(r, 5) == 0 && pool_old(r, &s->pool, invoke))
        return true;
    const char *xid = pool_new(r, &s->pool);
    if (xid == NULL)
        return false;
    snprintf(invoke->f, sizeof invoke->f, "saga");
    invoke->key = json_string(xid);
    invoke->value = json_integer(STEPS);
    return true;
}

static json_t *saga_body(const struct asyncs *s, const json_t *xid)
{
    json_t *list = json_array();
    for (int i = 0; i < STEPS; i++) {
        char action[96], compensate[96], name[16];
        snprintf(action, sizeof action, "%s/action", stub_base(s->stub));
        snprintf(compensate, sizeof compensate, "%s/compensate", stub_base(s->stub));
        snprintf(name, sizeof name, "b%d", i);
        json_t *step = json_pack("{s:s,s:s,s:s,s:i}", "branch", name, "actionUrl", action, "compensateUrl",
                                 compensate, "timeoutMs", 1000);
        if (i > 0)
            json_object_set_new(step, "acknowledgeMs", json_integer(ACKNOWLEDGE_MS));
        json_array_append_new(list, step);
    }
    return json_pack("{s:O,s:s,s:i,s:i,s:o}", "xid", (json_t *)(uintptr_t)xid, "onFailure", "compensate",
                     "retryBaseMs", 30, "retryCapMs", 500, "steps", list);
}

/* That it is about to be said is on record before it is. */
static void acknowledge(struct asyncs *s, const struct sut_node *node, const struct op *invoke,
                        struct op *done)
{
    struct http_answer a;
    const char *branch = json_string_value(json_array_get(invoke->value, 0)),
               *outcome = json_string_value(json_array_get(invoke->value, 1));
    const struct stub_call mark = {.xid = json_string_value(invoke->key), .branch = branch, .op = outcome};
    stub_do(s->stub, &mark);
    json_t *body = json_pack("{s:O,s:s,s:s}", "xid", invoke->key, "branch", branch, "outcome", outcome);
    http_ask(node->base, "POST", "/api/v1/transaction/acknowledge", NULL, body, ASK_MS, false, &a);
    json_decref(body);
    op_ended(&a, done);
    bool rules = strcmp(a.error, "TXN_DECIDED") == 0 || strcmp(a.error, "CONFLICT") == 0 ||
                 strcmp(a.error, "TXN_NOT_FOUND") == 0;
    if (done->type == OP_OK)
        done->value = json_incref(invoke->value);
    bool success = strcmp(outcome, "success") == 0;
    stub_lock(s->stub);
    if (done->type == OP_OK && roll(s, 10) == 0) /* heard: now it contradicts itself */
        put(s, mark.xid, branch, !success, (uint32_t)roll(s, 400));
    else if (done->type != OP_OK && !rules) /* not heard: said again */
        put(s, mark.xid, branch, success, 100);
    stub_unlock(s->stub);
    http_close(&a);
}

static void async_perform(struct run *r, uint32_t worker, const struct sut_node *node,
                          const struct op *invoke, struct op *done)
{
    struct asyncs *s = r->state;
    struct http_answer a;
    (void)worker;
    if (pool_perform(r, &s->pool, node, invoke, done))
        return;
    if (strcmp(invoke->f, "ack") == 0) {
        acknowledge(s, node, invoke, done);
        return;
    }
    json_t *body = saga_body(s, invoke->key);
    http_ask(node->base, "POST", "/api/v1/transaction/saga", NULL, body, ASK_MS, false, &a);
    json_decref(body);
    op_ended(&a, done);
    if (done->type == OP_OK)
        done->value = json_incref(json_object_get(a.data, "status"));
    http_close(&a);
}

/* ---- how it is judged ---- */

struct saga {
    uint32_t done, undone;     /* effects, as bits */
    uint32_t said;             /* about to be acknowledged as succeeded */
    uint32_t success, failure; /* acknowledgements that were taken */
};

static void take_records(const struct txs *t, struct saga *sagas, struct verdict *v)
{
    size_t i;
    json_t *record;
    json_array_foreach(json_object_get(t->effects, "records"), i, record)
    {
        const struct tx *x = txs_find(t, json_string_value(json_array_get(record, 0)));
        const char *op = json_string_value(json_array_get(record, 2)),
                   *what = json_string_value(json_array_get(record, 4));
        int n = atoi(json_string_value(json_array_get(record, 1)) + 1);
        if (x == NULL || n < 0 || n >= STEPS) {
            verdict_invalid(v, "a call for a saga that nobody asked for");
            continue;
        }
        struct saga *s = &sagas[x - t->list];
        if (strcmp(op, "success") == 0)
            s->said |= 1u << n;
        if (strcmp(op, "compensate") == 0 && strcmp(what, "done") == 0)
            s->undone |= 1u << n;
        if (strcmp(op, "action") != 0)
            continue;
        if (n > 0 && (s->done & 1u << (n - 1)) == 0)
            verdict_invalid(v, "%s: step %d was called before step %d took effect", x->xid, n, n - 1);
        if (n > 1 && (s->said & 1u << (n - 1)) == 0)
            verdict_invalid(v, "%s: step %d was called before step %d was acknowledged", x->xid, n, n - 1);
        if (strcmp(what, "done") == 0)
            s->done |= 1u << n;
    }
}

static void take_acknowledgements(const struct txs *t, struct saga *sagas, const struct history *h,
                                  struct verdict *v)
{
    for (size_t i = 0; i < h->n; i++) {
        const struct op *op = &h->ops[i];
        if (op->process < 0 || op->type != OP_OK || strcmp(op->f, "ack") != 0)
            continue;
        const struct tx *x = txs_find(t, json_string_value(op->key));
        int n = atoi(json_string_value(json_array_get(op->value, 0)) + 1) % STEPS;
        struct saga *s = &sagas[x - t->list];
        bool success = strcmp(json_string_value(json_array_get(op->value, 1)), "success") == 0;
        *(success ? &s->success : &s->failure) |= 1u << n;
        if (s->success & s->failure & 1u << n)
            verdict_invalid(v, "%s: step %d was acknowledged both ways, and both were taken", x->xid, n);
    }
}

static void judge_saga(const struct tx *x, const struct saga *s, struct verdict *v)
{
    const uint32_t all = (1u << STEPS) - 1;
    if (x->side == 'C' && (s->done != all || s->undone != 0))
        verdict_invalid(v, "%s is decided done, and its steps are not", x->xid);
    if (x->side == 'C' && (s->said & all & ~1u) != (all & ~1u))
        verdict_invalid(v, "%s is decided done, and nobody acknowledged a step", x->xid);
    if (x->side == 'C' && s->failure != 0)
        verdict_invalid(v, "%s is decided done against an acknowledged failure", x->xid);
    if (x->side == 'R' && (s->success & 1u << (STEPS - 1)))
        verdict_invalid(v, "%s was taken back though its last step was acknowledged", x->xid);
    if (x->ended && x->side == 'R' && (s->done & ~s->undone) != 0)
        verdict_invalid(v, "%s is ROLLED_BACK, and steps stand", x->xid);
    v->checked += x->ended;
}

static void async_check(struct run *r, const struct history *h, struct verdict *v)
{
    struct txs t;
    (void)r;
    verdict_init(v);
    txs_open(&t, h, NULL, v);
    struct saga *sagas = calloc(t.n + 1, sizeof *sagas);
    if (sagas == NULL)
        abort();
    take_records(&t, sagas, v);
    take_acknowledgements(&t, sagas, h, v);
    for (size_t i = 0; i < t.n && t.effects != NULL; i++)
        judge_saga(&t.list[i], &sagas[i], v);
    free(sagas);
    txs_close(&t);
    verdict_close(v);
}

const struct workload workload_async = {
    "async",     "sagas whose steps are acknowledged later, late or twice",
    async_next,  async_perform,
    async_check, async_open,
    async_close};
