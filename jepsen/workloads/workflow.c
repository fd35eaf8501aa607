/* Workflows: programs of the judge's own that break off anywhere and are run again, by itself and by
 * callback.
 *
 *   workflow  four steps, of which one may be refused; then the steps before it are taken back, the last
 * first.  A run breaks off between an effect and its record, or behind it; several run the same workflow at a
 * time. What was recorded is there for every later run, once, and each workflow ends whole or not at all */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

#define STEPS   4
#define RECENT  10
#define RECORDS (2 * STEPS)

struct workflows {
    struct pool pool;
    struct stub *stub;
    struct run *run;
    uint64_t dice;     /* of callbacks, under the stub's lock */
    json_t *callbacks; /* [xid, seen, recorded] of each run that a callback made; under the stub's lock */
};

/* Which step refuses follows from the name, as a program must be deterministic; STEPS: none. */
static int refused_step(const char *xid)
{
    uint32_t x = 2166136261u;
    for (const char *c = xid; *c != 0; c++)
        x = (x ^ (unsigned char)*c) * 16777619u;
    return x % 5 < 2 ? (int)(x / 5 % STEPS) : STEPS;
}

static bool business(void *user, const struct stub_call *c)
{
    (void)user;
    return strcmp(c->op, "action") != 0 || atoi(c->branch + 1) != refused_step(c->xid);
}

/* ---- one run of the program ---- */

struct one_run {
    struct workflows *w;
    const struct sut_node *node;
    const char *xid;
    uint64_t dice;
    json_t *seen, *recorded; /* "s0/action" -> status: told by prepare; answered as recorded now */
    const char *stopped;     /* why it went no further; NULL: it went to the end */
};

static bool breaks_off(struct one_run *o)
{
    o->dice = o->dice * UINT64_C(6364136223846793005) + 1442695040888963407u;
    if (!o->w->run->final && (o->dice >> 33) % 100 < 12)
        o->stopped = "broke off";
    return o->stopped != NULL;
}

static bool post(struct one_run *o, const char *path, json_t *body, struct http_answer *a)
{
    http_ask(o->node->base, "POST", path, NULL, body, ASK_MS, false, a);
    json_decref(body);
    return a->outcome == HTTP_DONE;
}

static void prepare(struct one_run *o, struct op *done)
{
    struct http_answer a;
    char url[96];
    size_t i;
    json_t *step;
    snprintf(url, sizeof url, "%s/callback", stub_base(o->w->stub));
    if (!post(o, "/api/v1/transaction/workflow/prepare",
              json_pack("{s:s,s:s,s:s,s:{s:s}}", "xid", o->xid, "name", "jepsen", "callbackUrl", url, "data",
                        "xid", o->xid),
              &a))
        o->stopped = "not prepared";
    op_ended(&a, done);
    json_array_foreach(json_object_get(a.data, "steps"), i, step)
    {
        char name[48];
        snprintf(name, sizeof name, "%s/%s", json_string_value(json_object_get(step, "branch")),
                 json_string_value(json_object_get(step, "op")));
        json_object_set(o->seen, name, json_object_get(step, "status"));
    }
    const char *status = json_string_value(json_object_get(a.data, "status"));
    if (o->stopped == NULL && (status == NULL || strcmp(status, "ACTIVE") != 0))
        o->stopped = "over";
    http_close(&a);
}

/* What a step came to, of record or new. */
static bool known(const struct one_run *o, const char *name, bool *succeeded)
{
    json_t *status = json_object_get(o->seen, name);
    if (status == NULL)
        status = json_object_get(o->recorded, name);
    const char *text = json_string_value(status);
    *succeeded = text != NULL && strcmp(text, "SUCCEEDED") == 0;
    return text != NULL;
}

/* Do it, and record it.  False: this run goes no further. */
static bool step(struct one_run *o, int i, bool back, bool *succeeded)
{
    struct http_answer a;
    char branch[16], name[48];
    snprintf(branch, sizeof branch, "s%d", i);
    snprintf(name, sizeof name, "%s/%s", branch, back ? "rollback" : "action");
    if (known(o, name, succeeded))
        return true;
    if (breaks_off(o))
        return false;
    const struct stub_call call = {.xid = o->xid, .branch = branch, .op = back ? "compensate" : "action"};
    enum stub_what what = stub_do(o->w->stub, &call);
    *succeeded = what == STUB_DONE || what == STUB_NULL;
    if (breaks_off(o))
        return false;
    const char *status = *succeeded ? "SUCCEEDED" : "FAILED";
    if (post(o, "/api/v1/transaction/workflow/step",
             json_pack("{s:s,s:s,s:s,s:s,s:{s:i}}", "xid", o->xid, "branch", branch, "op",
                       back ? "rollback" : "action", "status", status, "data", "n", i),
             &a))
        json_object_set_new(o->recorded, name, json_string(status));
    else
        o->stopped = strcmp(a.error, "BRANCH_EXISTS") == 0 ? "not alone" : "not recorded";
    http_close(&a);
    return o->stopped == NULL;
}

/* The program.  `done` tells how its prepare ended. */
static void run_program(struct one_run *o, struct op *done)
{
    struct http_answer a;
    bool succeeded = true, undone;
    int i = 0;
    prepare(o, done);
    if (o->stopped != NULL)
        return;
    while (i < STEPS && succeeded) {
        if (!step(o, i, false, &succeeded))
            return;
        i += succeeded;
    }
    for (int k = i - 1; !succeeded && k >= 0; k--)
        if (!step(o, k, true, &undone))
            return;
    if (!post(o, "/api/v1/transaction/workflow/end",
              json_pack("{s:s,s:s}", "xid", o->xid, "status", succeeded ? "SUCCEEDED" : "FAILED"), &a))
        o->stopped = "not ended";
    http_close(&a);
}

static unsigned callback(void *user, const struct stub_call *c)
{
    struct workflows *w = user;
    struct op done = {.type = OP_INFO};
    if (strcmp(c->op, "callback") != 0)
        return 0;
    stub_lock(w->stub);
    w->dice = w->dice * UINT64_C(6364136223846793005) + 1442695040888963407u;
    uint64_t dice = w->dice;
    stub_unlock(w->stub);
    struct one_run o = {
        w,   &w->run->sut.nodes[(dice >> 33) % w->run->sut.n], c->xid, dice, json_object(), json_object(),
        NULL};
    run_program(&o, &done);
    stub_lock(w->stub);
    json_array_append_new(w->callbacks, json_pack("[s,o,o]", o.xid, o.seen, o.recorded));
    stub_unlock(w->stub);
    return 200;
}

/* ---- what is asked ---- */

static void more(void *user, json_t *value)
{
    struct workflows *w = user;
    stub_lock(w->stub);
    json_object_set_new(value, "callbacks", json_deep_copy(w->callbacks));
    stub_unlock(w->stub);
}

static void *workflow_open(struct run *r)
{
    struct workflows *w = calloc(1, sizeof *w);
    if (w == NULL || (w->callbacks = json_array()) == NULL)
        abort();
    w->run = r;
    w->dice = r->o.seed;
    w->stub = stub_open(r, 30, business, w);
    stub_serves(w->stub, callback);
    pool_open(&w->pool, w->stub);
    w->pool.more = more;
    w->pool.user = w;
    return w;
}

static void workflow_close(struct run *r, void *state)
{
    struct workflows *w = state;
    (void)r;
    stub_close(w->stub);
    pool_close(&w->pool);
    json_decref(w->callbacks);
    free(w);
}

static bool workflow_next(struct run *r, uint32_t worker, bool final, struct op *invoke)
{
    struct workflows *w = r->state;
    uint64_t what = run_random(r, 10);
    (void)worker;
    if (final)
        return pool_final(r, &w->pool, invoke);
    if (what < 2 && pool_old(r, &w->pool, invoke))
        return true;
    if (what < 6 && pool_recent(r, &w->pool, RECENT, invoke)) {
        snprintf(invoke->f, sizeof invoke->f, "run");
    } else {
        const char *xid = pool_new(r, &w->pool);
        if (xid == NULL)
            return false;
        snprintf(invoke->f, sizeof invoke->f, "run");
        invoke->key = json_string(xid);
    }
    json_decref(invoke->value);
    invoke->value = json_integer((json_int_t)run_random(r, INT32_MAX)); /* its dice */
    return true;
}

static void workflow_perform(struct run *r, uint32_t worker, const struct sut_node *node,
                             const struct op *invoke, struct op *done)
{
    struct workflows *w = r->state;
    (void)worker;
    if (pool_perform(r, &w->pool, node, invoke, done))
        return;
    struct one_run o = {w,
                        node,
                        json_string_value(invoke->key),
                        (uint64_t)json_integer_value(invoke->value),
                        json_object(),
                        json_object(),
                        NULL};
    run_program(&o, done);
    if (done->type == OP_OK)
        done->value = json_pack("[O,O,s]", o.seen, o.recorded, o.stopped != NULL ? o.stopped : "");
    json_decref(o.seen);
    json_decref(o.recorded);
}

/* ---- how it is judged ---- */

struct record {
    char name[24];
    const char *status;
    uint64_t since_ns; /* when somebody knew of it; 0: nobody did at a known time */
    bool answered;     /* as recorded, to somebody */
};

struct flow {
    struct record records[RECORDS];
    uint32_t n;
    uint32_t done, undone; /* effects, as bits */
    int last_undone;       /* -1: none */
};

static struct record *record_of(struct flow *f, const char *name)
{
    for (uint32_t i = 0; i < f->n; i++)
        if (strcmp(f->records[i].name, name) == 0)
            return &f->records[i];
    if (f->n == RECORDS)
        return NULL;
    struct record *r = &f->records[f->n++];
    *r = (struct record){.status = NULL};
    snprintf(r->name, sizeof r->name, "%.23s", name);
    return r;
}

static void told(const char *xid, struct flow *f, const json_t *of, bool now, uint64_t when,
                 struct verdict *v)
{
    const char *name;
    json_t *status;
    json_object_foreach((json_t *)(uintptr_t)of, name, status)
    {
        struct record *r = record_of(f, name);
        if (r == NULL) {
            verdict_invalid(v, "%s has a step %s, which is none of its program", xid, name);
            return;
        }
        if (r->status != NULL && strcmp(r->status, json_string_value(status)) != 0)
            verdict_invalid(v, "%s: %s is recorded as %s and as %s", xid, name, r->status,
                            json_string_value(status));
        if (now && r->answered)
            verdict_invalid(v, "%s: %s was recorded twice", xid, name);
        r->status = json_string_value(status);
        r->answered = r->answered || now;
        if (when != 0 && (r->since_ns == 0 || when < r->since_ns))
            r->since_ns = when;
    }
}

/* Whoever begins to run it later is told of everything that was known. */
static void judge_seen(const char *xid, const struct flow *f, const json_t *seen, uint64_t asked,
                       struct verdict *v)
{
    for (uint32_t i = 0; i < f->n; i++)
        if (f->records[i].since_ns != 0 && f->records[i].since_ns < asked &&
            json_object_get(seen, f->records[i].name) == NULL)
            verdict_invalid(v, "%s: %s was recorded, and a later run was not told", xid, f->records[i].name);
}

static void judge_runs(const struct txs *t, struct flow *flows, const struct history *h, struct verdict *v)
{
    size_t *pair = calloc(h->n + 1, sizeof *pair), i;
    json_t *one;
    if (pair == NULL || history_pairs(h, pair) != 0)
        abort();
    for (i = 0; i < h->n; i++) {
        const struct op *op = &h->ops[i];
        const struct tx *x = op->process >= 0 && op->type == OP_OK && strcmp(op->f, "run") == 0
                                 ? txs_find(t, json_string_value(op->key))
                                 : NULL;
        if (x == NULL)
            continue;
        struct flow *f = &flows[x - t->list];
        const json_t *seen = json_array_get(op->value, 0);
        if (!json_is_object(seen)) {
            verdict_malformed(v, "harness: a run of another shape");
            break;
        }
        judge_seen(x->xid, f, seen, h->ops[pair[i]].time_ns, v);
        told(x->xid, f, seen, false, op->time_ns, v);
        told(x->xid, f, json_array_get(op->value, 1), true, op->time_ns, v);
    }
    json_array_foreach(json_object_get(t->effects, "callbacks"), i, one)
    {
        const struct tx *x = txs_find(t, json_string_value(json_array_get(one, 0)));
        if (x == NULL) {
            verdict_invalid(v, "a callback for a workflow that nobody began");
            continue;
        }
        told(x->xid, &flows[x - t->list], json_array_get(one, 1), false, 0, v);
        told(x->xid, &flows[x - t->list], json_array_get(one, 2), true, 0, v);
    }
    free(pair);
}

static void judge_effects(const struct txs *t, struct flow *flows, struct verdict *v)
{
    size_t i;
    json_t *record;
    json_array_foreach(json_object_get(t->effects, "records"), i, record)
    {
        const struct tx *x = txs_find(t, json_string_value(json_array_get(record, 0)));
        const char *op = json_string_value(json_array_get(record, 2)),
                   *what = json_string_value(json_array_get(record, 4));
        int n = atoi(json_string_value(json_array_get(record, 1)) + 1);
        if (x == NULL || n < 0 || n >= STEPS || strcmp(what, "done") != 0)
            continue;
        struct flow *f = &flows[x - t->list];
        if (strcmp(op, "action") == 0) {
            f->done |= 1u << n;
            continue;
        }
        if (f->last_undone >= 0 && n > f->last_undone)
            verdict_invalid(v, "%s: step %d was taken back after step %d", x->xid, n, f->last_undone);
        f->last_undone = n;
        f->undone |= 1u << n;
    }
}

static void workflow_check(struct run *r, const struct history *h, struct verdict *v)
{
    struct txs t;
    (void)r;
    verdict_init(v);
    txs_open(&t, h, NULL, v);
    struct flow *flows = calloc(t.n + 1, sizeof *flows);
    if (flows == NULL)
        abort();
    for (size_t i = 0; i < t.n; i++)
        flows[i].last_undone = -1;
    judge_runs(&t, flows, h, v);
    judge_effects(&t, flows, v);
    for (size_t i = 0; i < t.n && t.effects != NULL; i++) {
        const struct tx *x = &t.list[i];
        const struct flow *f = &flows[i];
        if (x->ended && x->side == 'C' && (f->done != (1u << STEPS) - 1 || f->undone != 0))
            verdict_invalid(v, "%s is COMMITTED, and its steps are not all done", x->xid);
        if (x->ended && x->side == 'R' && (f->done & ~f->undone) != 0)
            verdict_invalid(v, "%s is ROLLED_BACK, and steps stand", x->xid);
        v->checked += x->ended;
    }
    free(flows);
    txs_close(&t);
    verdict_close(v);
}

const struct workload workload_workflow = {
    "workflow",     "programs that break off go on where they were, and end whole or not at all",
    workflow_next,  workflow_perform,
    workflow_check, workflow_open,
    workflow_close};
