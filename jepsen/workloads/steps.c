/* What the coordinator does by itself, in order.
 *
 *   saga-order  serial sagas of five steps, of which some are refused: forward one after the other, back
 *               strictly the last first
 *   saga        the same at once, save that some steps come after others: forward and back in that order
 *   message     deliveries if, and only if, the sender's local transaction stands; senders submit, take back,
 *               or vanish, and then they are asked */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

#define STEPS_MAX 5

/* Steps that must have succeeded before one starts, as bits: in a line, or 0-1 and 2-3 before 4. */
static const uint32_t after[2][STEPS_MAX] = {{0, 1, 2, 4, 8}, {0, 1, 0, 4, 2 | 8}};

enum kind { ORDERED, PARTIAL, MESSAGE };
enum local { LOCAL_NONE, LOCAL_COMMITTED, LOCAL_ABORTED };

struct steps {
    struct pool pool;
    struct stub *stub;
    enum kind kind;
    uint64_t dice;  /* under the stub's lock */
    json_t *locals; /* senders' database, xid -> enum local; under the stub's lock */
};

static bool business(void *user, const struct stub_call *c)
{
    struct steps *s = user;
    if (strcmp(c->op, "query") == 0) {
        /* "Not there" leaves a mark, on which a local transaction that comes later fails. */
        if (json_object_get(s->locals, c->xid) == NULL)
            json_object_set_new(s->locals, c->xid, json_integer(LOCAL_ABORTED));
        return json_integer_value(json_object_get(s->locals, c->xid)) == LOCAL_COMMITTED;
    }
    if (s->kind == MESSAGE || strcmp(c->op, "action") != 0)
        return true;
    s->dice = s->dice * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (s->dice >> 33) % 1000 >= 100;
}

static void more(void *user, json_t *value)
{
    struct steps *s = user;
    stub_lock(s->stub);
    json_object_set_new(value, "locals", json_deep_copy(s->locals));
    stub_unlock(s->stub);
}

static void *open_state(struct run *r, enum kind kind)
{
    struct steps *s = calloc(1, sizeof *s);
    if (s == NULL || (s->locals = json_object()) == NULL)
        abort();
    s->kind = kind;
    s->dice = r->o.seed;
    s->stub = stub_open(r, 60, business, s);
    pool_open(&s->pool, s->stub);
    s->pool.more = more;
    s->pool.user = s;
    return s;
}

static void *saga_open(struct run *r)
{
    return open_state(r, ORDERED);
}

static void *partial_open(struct run *r)
{
    return open_state(r, PARTIAL);
}

static void *message_open(struct run *r)
{
    return open_state(r, MESSAGE);
}

static void close_state(struct run *r, void *state)
{
    struct steps *s = state;
    (void)r;
    stub_close(s->stub);
    pool_close(&s->pool);
    json_decref(s->locals);
    free(s);
}

static bool next(struct run *r, uint32_t worker, bool final, struct op *invoke)
{
    static const char *const senders[] = {"submit", "submit", "take-back", "vanish-done", "vanish"};
    struct steps *s = r->state;
    (void)worker;
    if (final)
        return pool_final(r, &s->pool, invoke);
    if (run_random(r, 5) == 0 && pool_old(r, &s->pool, invoke))
        return true;
    const char *xid = pool_new(r, &s->pool);
    if (xid == NULL)
        return false;
    snprintf(invoke->f, sizeof invoke->f, "%s", s->kind == MESSAGE ? senders[run_random(r, 5)] : "saga");
    invoke->key = json_string(xid);
    invoke->value = json_integer(s->kind == MESSAGE ? 2 : STEPS_MAX);
    return true;
}

static json_t *plan(const struct steps *s, int n)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++) {
        char action[96], compensate[96], name[16];
        snprintf(action, sizeof action, "%s/action", stub_base(s->stub));
        snprintf(compensate, sizeof compensate, "%s/compensate", stub_base(s->stub));
        snprintf(name, sizeof name, "b%d", i);
        json_t *step = json_pack("{s:s,s:s,s:i,s:{s:i}}", "branch", name, "actionUrl", action, "timeoutMs",
                                 400, "payload", "n", i);
        if (s->kind != MESSAGE)
            json_object_set_new(step, "compensateUrl", json_string(compensate));
        if (s->kind == PARTIAL) {
            json_t *before = json_array();
            for (int k = 0; k < i; k++)
                if (after[1][i] & (1u << k))
                    json_array_append_new(before, json_integer(k));
            json_object_set_new(step, "after", before);
        }
        json_array_append_new(list, step);
    }
    return list;
}

/* The sender's local transaction; false: somebody asked before, and was told that it does not stand. */
static bool local_commit(struct steps *s, const char *xid)
{
    stub_lock(s->stub);
    bool can = json_object_get(s->locals, xid) == NULL;
    if (can)
        json_object_set_new(s->locals, xid, json_integer(LOCAL_COMMITTED));
    stub_unlock(s->stub);
    return can;
}

static void post(const struct sut_node *node, const char *path, const json_t *xid, struct http_answer *a)
{
    json_t *body = json_pack("{s:O}", "xid", xid);
    http_ask(node->base, "POST", path, NULL, body, ASK_MS, false, a);
    json_decref(body);
}

/* The prepared message's sender goes on. */
static void send(struct steps *s, const struct sut_node *node, const struct op *invoke)
{
    struct http_answer a;
    const char *xid = json_string_value(invoke->key);
    bool back = strcmp(invoke->f, "take-back") == 0, vanish = strncmp(invoke->f, "vanish", 6) == 0;
    if (strcmp(invoke->f, "vanish") == 0)
        return;
    if (!back && !local_commit(s, xid))
        back = true;
    if (vanish)
        return;
    post(node, back ? "/api/v1/transaction/rollback" : "/api/v1/transaction/message", invoke->key, &a);
    http_close(&a); /* where it is not heard, the back-query finds out */
}

static void perform(struct run *r, uint32_t worker, const struct sut_node *node, const struct op *invoke,
                    struct op *done)
{
    struct steps *s = r->state;
    struct http_answer a;
    (void)worker;
    if (pool_perform(r, &s->pool, node, invoke, done))
        return;
    json_t *body = json_pack("{s:O,s:i,s:i,s:o}", "xid", invoke->key, "retryBaseMs", 30, "retryCapMs", 500,
                             "steps", plan(s, (int)json_integer_value(invoke->value)));
    if (s->kind == PARTIAL)
        json_object_set_new(body, "concurrent", json_true());
    if (s->kind == MESSAGE) {
        char query[96];
        snprintf(query, sizeof query, "%s/query", stub_base(s->stub));
        json_object_set_new(body, "queryUrl", json_string(query));
        json_object_set_new(body, "timeoutMs", json_integer(1000));
    }
    http_ask(node->base, "POST",
             s->kind == MESSAGE ? "/api/v1/transaction/message/prepare" : "/api/v1/transaction/saga", NULL,
             body, ASK_MS, false, &a);
    json_decref(body);
    op_ended(&a, done);
    http_close(&a);
    if (s->kind == MESSAGE && done->type == OP_OK)
        send(s, node, invoke);
}

/* ---- how it is judged ---- */

struct done {
    uint32_t acted, compensated;
    int last_compensation; /* step, -1: none */
};

static void take_action(const struct tx *x, struct done *d, const uint32_t *order, int step,
                        struct verdict *v)
{
    bool line = order == after[ORDERED];
    if (line && d->last_compensation >= 0)
        verdict_invalid(v, "%s: step %d took effect behind the compensation of step %d", x->xid, step,
                        d->last_compensation);
    if ((order[step] & ~d->acted) != 0)
        verdict_invalid(v, "%s: step %d took effect before step %d", x->xid, step,
                        __builtin_ctz(order[step] & ~d->acted));
    d->acted |= 1u << step;
}

static void take_compensation(const struct tx *x, struct done *d, const uint32_t *order, int step,
                              struct verdict *v)
{
    for (int later = step + 1; later < STEPS_MAX; later++)
        if ((order[later] & (1u << step)) && (d->acted & ~d->compensated & (1u << later)))
            verdict_invalid(v, "%s: step %d was compensated first, and step %d, which came after it, stands",
                            x->xid, step, later);
    if (order == after[ORDERED] && d->last_compensation >= 0 && step > d->last_compensation)
        verdict_invalid(v, "%s: step %d was compensated after step %d", x->xid, step, d->last_compensation);
    d->last_compensation = step;
    d->compensated |= 1u << step;
}

static struct done *tell(const struct txs *t, const uint32_t *order, struct verdict *v)
{
    size_t i;
    json_t *record;
    struct done *dones = calloc(t->n + 1, sizeof *dones);
    if (dones == NULL)
        abort();
    for (i = 0; i < t->n; i++)
        dones[i].last_compensation = -1;
    json_array_foreach(json_object_get(t->effects, "records"), i, record)
    {
        const char *xid = json_string_value(json_array_get(record, 0)),
                   *name = json_string_value(json_array_get(record, 1)),
                   *op = json_string_value(json_array_get(record, 2)),
                   *what = json_string_value(json_array_get(record, 4));
        const struct tx *x = txs_find(t, xid);
        if (x == NULL || name == NULL || op == NULL || what == NULL)
            verdict_invalid(v, "a call for %s, which nobody began", xid != NULL ? xid : "nothing");
        else if (strcmp(op, "action") == 0 && strcmp(what, "done") == 0)
            take_action(x, &dones[x - t->list], order, atoi(name + 1) % STEPS_MAX, v);
        else if (strcmp(op, "compensate") == 0)
            take_compensation(x, &dones[x - t->list], order, atoi(name + 1) % STEPS_MAX, v);
    }
    return dones;
}

static void judge_sagas(const struct history *h, const uint32_t *order, struct verdict *v)
{
    struct txs t;
    verdict_init(v);
    txs_open(&t, h, NULL, v);
    struct done *dones = tell(&t, order, v);
    for (size_t i = 0; i < t.n; i++) {
        const struct tx *x = &t.list[i];
        const struct done *d = &dones[i];
        v->checked += x->ended;
        if (x->side == 'C' && d->compensated != 0)
            verdict_invalid(v, "%s is decided done, and was compensated", x->xid);
        if (x->side == 'C' && d->acted != (1u << json_integer_value(x->value)) - 1)
            verdict_invalid(v, "%s is decided done, and steps are not", x->xid);
        if (x->ended && x->side == 'R' && (d->acted & ~d->compensated) != 0)
            verdict_invalid(v, "%s is ROLLED_BACK, and steps stand", x->xid);
    }
    free(dones);
    txs_close(&t);
    verdict_close(v);
}

static void saga_check(struct run *r, const struct history *h, struct verdict *v)
{
    (void)r;
    judge_sagas(h, after[ORDERED], v);
}

static void partial_check(struct run *r, const struct history *h, struct verdict *v)
{
    (void)r;
    judge_sagas(h, after[PARTIAL], v);
}

static void message_check(struct run *r, const struct history *h, struct verdict *v)
{
    struct txs t;
    (void)r;
    verdict_init(v);
    txs_open(&t, h, NULL, v);
    struct done *dones = tell(&t, after[ORDERED], v);
    for (size_t i = 0; i < t.n && t.effects != NULL; i++) {
        const struct tx *x = &t.list[i];
        bool stands = json_integer_value(json_object_get(json_object_get(t.effects, "locals"), x->xid)) ==
                      LOCAL_COMMITTED;
        uint32_t all = (1u << json_integer_value(x->value)) - 1;
        v->checked += x->ended;
        if (dones[i].acted != 0 && !stands)
            verdict_invalid(v, "%s was delivered, and its sender's transaction does not stand", x->xid);
        if (x->ended && stands && (x->side != 'C' || dones[i].acted != all))
            verdict_invalid(v, "%s: its sender's transaction stands, and it was not delivered", x->xid);
        if (x->side == 'R' && dones[i].acted != 0)
            verdict_invalid(v, "%s is ROLLED_BACK and was delivered", x->xid);
    }
    free(dones);
    txs_close(&t);
    verdict_close(v);
}

const struct workload workload_saga_order = {
    "saga-order", "serial sagas go forward in order and back in reverse",
    next,         perform,
    saga_check,   saga_open,
    close_state};
const struct workload workload_saga = {
    "saga",        "sagas with steps at once end done or taken back, in the order that was asked for",
    next,          perform,
    partial_check, partial_open,
    close_state};
const struct workload workload_message = {
    "message",     "delivered if and only if the sender's transaction stands",
    next,          perform,
    message_check, message_open,
    close_state};
