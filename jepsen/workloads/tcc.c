/* TCC on accounts that the judge keeps: the coordinator makes the tries.
 *
 *   bank   transfers between eight accounts; in the end the total is what it was, every transfer stands whole
 *          or not at all, and nobody ever owed
 *   tcc    the same with a short time limit and calls given up early, so that cancels come without their try,
 *          before it, or while it is under way */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

#define ACCOUNTS 8
#define INITIAL  100

struct accounts {
    struct pool pool;
    struct stub *stub;
    bool hurried; /* tcc */
    int64_t balance[ACCOUNTS], reserved[ACCOUNTS], lowest;
};

/* ---- the participant's business ---- */

static bool business(void *user, const struct stub_call *c)
{
    struct accounts *a = user;
    size_t i = (size_t)json_integer_value(json_object_get(c->body, "account")) % ACCOUNTS;
    int64_t amount = json_integer_value(json_object_get(c->body, "amount")), out = amount < 0 ? -amount : 0;
    if (strcmp(c->op, "try") == 0) {
        if (a->balance[i] - a->reserved[i] < out)
            return false;
        a->reserved[i] += out;
    } else {
        a->reserved[i] -= out;
        if (strcmp(c->op, "confirm") == 0)
            a->balance[i] += amount;
    }
    if (a->balance[i] - a->reserved[i] < a->lowest)
        a->lowest = a->balance[i] - a->reserved[i];
    return true;
}

static void more(void *user, json_t *value)
{
    struct accounts *a = user;
    json_t *balances = json_array(), *reserved = json_array();
    stub_lock(a->stub);
    for (int i = 0; i < ACCOUNTS; i++) {
        json_array_append_new(balances, json_integer(a->balance[i]));
        json_array_append_new(reserved, json_integer(a->reserved[i]));
    }
    json_object_set_new(value, "initial", json_integer(INITIAL));
    json_object_set_new(value, "lowest", json_integer(a->lowest));
    stub_unlock(a->stub);
    json_object_set_new(value, "balances", balances);
    json_object_set_new(value, "reserved", reserved);
}

static void *open_state(struct run *r, bool hurried)
{
    struct accounts *a = calloc(1, sizeof *a);
    if (a == NULL)
        abort();
    for (int i = 0; i < ACCOUNTS; i++)
        a->balance[i] = INITIAL;
    a->hurried = hurried;
    a->stub = stub_open(r, hurried ? 100 : 50, business, a);
    pool_open(&a->pool, a->stub);
    a->pool.more = more;
    a->pool.user = a;
    return a;
}

static void *bank_open(struct run *r)
{
    return open_state(r, false);
}

static void *tcc_open(struct run *r)
{
    return open_state(r, true);
}

static void close_state(struct run *r, void *state)
{
    struct accounts *a = state;
    (void)r;
    stub_close(a->stub);
    pool_close(&a->pool);
    free(a);
}

/* ---- what is asked ---- */

static bool next(struct run *r, uint32_t worker, bool final, struct op *invoke)
{
    struct accounts *a = r->state;
    (void)worker;
    if (final)
        return pool_final(r, &a->pool, invoke);
    if (run_random(r, 5) == 0 && pool_old(r, &a->pool, invoke))
        return true;
    const char *xid = pool_new(r, &a->pool);
    if (xid == NULL)
        return false;
    int from = (int)run_random(r, ACCOUNTS), to = (from + 1 + (int)run_random(r, ACCOUNTS - 1)) % ACCOUNTS;
    bool back = a->hurried && run_random(r, 6) == 0;
    snprintf(invoke->f, sizeof invoke->f, back ? "transfer-back" : "transfer");
    invoke->key = json_string(xid);
    invoke->value = json_pack("[i,i,i]", from, to, 1 + (int)run_random(r, 40));
    return true;
}

static json_t *branch(const struct accounts *a, const char *name, json_int_t account, json_int_t amount)
{
    char url[3][96];
    static const char *const ops[] = {"try", "confirm", "cancel"};
    for (int i = 0; i < 3; i++)
        snprintf(url[i], sizeof url[i], "%s/%s", stub_base(a->stub), ops[i]);
    return json_pack("{s:s,s:s,s:s,s:s,s:i,s:{s:I,s:I}}", "branch", name, "tryUrl", url[0], "confirmUrl",
                     url[1], "cancelUrl", url[2], "timeoutMs", a->hurried ? 150 : 2000, "payload", "account",
                     account, "amount", amount);
}

static void perform(struct run *r, uint32_t worker, const struct sut_node *node, const struct op *invoke,
                    struct op *done)
{
    struct accounts *a = r->state;
    struct http_answer answer;
    (void)worker;
    if (pool_perform(r, &a->pool, node, invoke, done))
        return;
    json_int_t from = json_integer_value(json_array_get(invoke->value, 0)),
               to = json_integer_value(json_array_get(invoke->value, 1)),
               amount = json_integer_value(json_array_get(invoke->value, 2));
    json_t *body = json_pack("{s:O,s:b,s:i,s:i,s:i,s:[o,o]}", "xid", invoke->key, "execute", 1, "timeoutMs",
                             a->hurried ? 1200 : 15000, "retryBaseMs", 30, "retryCapMs", 500, "branches",
                             branch(a, "from", from, -amount), branch(a, "to", to, amount));
    http_ask(node->base, "POST", "/api/v1/transaction/begin", NULL, body, ASK_MS, false, &answer);
    json_decref(body);
    op_ended(&answer, done);
    http_close(&answer);
    if (done->type != OP_OK || strcmp(invoke->f, "transfer-back") != 0)
        return;
    body = json_pack("{s:O}", "xid", invoke->key);
    http_ask(node->base, "POST", "/api/v1/transaction/rollback", NULL, body, ASK_MS, false, &answer);
    json_decref(body);
    http_close(&answer); /* whoever was first decides; the begin stands acknowledged either way */
}

/* ---- how it is judged ---- */

struct done {
    bool tried[2], confirmed[2], cancelled[2], cancel_seen[2];
    json_int_t try_token[2], cancel_token[2];
};

static void count(const struct txs *t, struct done *dones, const json_t *record, struct verdict *v)
{
    const char *xid = json_string_value(json_array_get(record, 0)),
               *name = json_string_value(json_array_get(record, 1)),
               *op = json_string_value(json_array_get(record, 2)),
               *what = json_string_value(json_array_get(record, 4));
    const struct tx *x = txs_find(t, xid);
    if (x == NULL || name == NULL || op == NULL || what == NULL) {
        verdict_invalid(v, "a call for %s, which nobody began", xid != NULL ? xid : "nothing");
        return;
    }
    struct done *d = &dones[x - t->list];
    json_int_t token = json_integer_value(json_array_get(record, 3));
    int i = strcmp(name, "to") == 0;
    bool stands = strcmp(what, "done") == 0;
    if (strcmp(op, "try") == 0) {
        d->tried[i] = stands;
        d->try_token[i] = token;
    } else if (strcmp(op, "confirm") == 0) {
        d->confirmed[i] = true;
        if (!stands)
            verdict_invalid(v, "%s: %s was confirmed, and its try had not been made", xid, name);
    } else {
        d->cancel_seen[i] = true;
        d->cancelled[i] = stands;
        d->cancel_token[i] = token;
    }
}

static void judge_tx(const struct tx *x, const struct done *d, struct verdict *v)
{
    bool confirmed = d->confirmed[0] || d->confirmed[1], cancelled = d->cancel_seen[0] || d->cancel_seen[1];
    if (confirmed && cancelled)
        verdict_invalid(v, "%s was confirmed and cancelled", x->xid);
    if (x->side == 'C' && cancelled)
        verdict_invalid(v, "%s is decided for commit and was cancelled", x->xid);
    if (x->side == 'R' && confirmed)
        verdict_invalid(v, "%s is rolled back and was confirmed", x->xid);
    for (int i = 0; i < 2; i++) {
        if (d->cancel_seen[i] && d->try_token[i] > d->cancel_token[i])
            verdict_invalid(v, "%s: the token of its cancel is below that of its try", x->xid);
        if (x->ended && x->side == 'C' && !d->confirmed[i])
            verdict_invalid(v, "%s is COMMITTED, and a branch is not confirmed", x->xid);
        if (x->ended && x->side == 'R' && d->tried[i] && !d->cancelled[i])
            verdict_invalid(v, "%s is ROLLED_BACK, and a branch's try stands", x->xid);
    }
    v->checked += x->ended;
}

/* Each account has what the committed transfers leave, so the total is what it was. */
static void judge_money(const struct txs *t, struct verdict *v)
{
    const json_t *balances = json_object_get(t->effects, "balances"),
                 *reserved = json_object_get(t->effects, "reserved");
    json_int_t initial = json_integer_value(json_object_get(t->effects, "initial"));
    json_int_t want[ACCOUNTS];
    for (int i = 0; i < ACCOUNTS; i++)
        want[i] = initial;
    for (size_t i = 0; i < t->n; i++) {
        const struct tx *x = &t->list[i];
        if (x->side != 'C' || x->value == NULL)
            continue;
        json_int_t amount = json_integer_value(json_array_get(x->value, 2));
        want[json_integer_value(json_array_get(x->value, 0)) % ACCOUNTS] -= amount;
        want[json_integer_value(json_array_get(x->value, 1)) % ACCOUNTS] += amount;
    }
    for (size_t i = 0; i < ACCOUNTS; i++) {
        json_int_t has = json_integer_value(json_array_get(balances, i));
        if (t->all_ended && has != want[i])
            verdict_invalid(v, "account %zu has %lld, its committed transfers leave %lld", i, (long long)has,
                            (long long)want[i]);
        if (t->all_ended && json_integer_value(json_array_get(reserved, i)) != 0)
            verdict_invalid(v, "account %zu has something reserved for ever", i);
    }
    if (json_integer_value(json_object_get(t->effects, "lowest")) < 0)
        verdict_invalid(v, "an account owed");
}

static void check(struct run *r, const struct history *h, struct verdict *v)
{
    struct txs t;
    size_t i;
    json_t *record;
    (void)r;
    verdict_init(v);
    txs_open(&t, h, NULL, v);
    struct done *dones = calloc(t.n + 1, sizeof *dones);
    if (dones == NULL)
        abort();
    json_array_foreach(json_object_get(t.effects, "records"), i, record)
    {
        count(&t, dones, record, v);
    }
    for (i = 0; i < t.n; i++)
        judge_tx(&t.list[i], &dones[i], v);
    if (t.effects != NULL)
        judge_money(&t, v);
    free(dones);
    txs_close(&t);
    verdict_close(v);
}

const struct workload workload_bank = {
    "bank",     "money moves whole or not at all, and none is made or lost", next, perform, check, bank_open,
    close_state};
const struct workload workload_tcc = {
    "tcc",      "tries, confirms and cancels keep their rules when calls come late",
    next,       perform,
    check,      tcc_open,
    close_state};
