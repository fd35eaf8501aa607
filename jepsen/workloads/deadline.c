/* Time limits of transactions, by the judge's one clock.
 *
 *   deadline  transactions that nobody decides, and others whose commit comes about when their time is over:
 * none is rolled back before its time, all soon after it, and what was committed stays committed
 *
 * The cluster counts in the time of its log, which its leaders stamp.  A leader's clock may stand apart from
 * true time by what its followers tolerate (max-skew-ms): that much earlier a transaction may end, and no
 * more. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

#define SKEW_MS 500 /* max-skew-ms of the nodes */
#define BOUND_MS                                                                                             \
    8000         /* after its time, or after everything was healed: an election, and the calls in line       \
                  */
#define OPEN 256 /* of those asked for latest, that statuses are asked of */

struct planned {
    uint64_t commit_ns; /* when it is decided; 0: nobody does */
    bool decided;
};

struct deadlines {
    struct pool pool;
    struct stub *stub;
    struct planned *planned; /* as the pool's transactions */
    uint32_t waiting;        /* of those before, all commits were sent */
};

static bool business(void *user, const struct stub_call *c)
{
    (void)user;
    (void)c;
    return true;
}

static void *deadline_open(struct run *r)
{
    struct deadlines *d = calloc(1, sizeof *d);
    if (d == NULL || (d->planned = calloc(POOL_MAX + 1, sizeof *d->planned)) == NULL)
        abort();
    d->stub = stub_open(r, 40, business, d);
    stub_no_tries(d->stub);
    pool_open(&d->pool, d->stub);
    return d;
}

static void deadline_close(struct run *r, void *state)
{
    struct deadlines *d = state;
    (void)r;
    stub_close(d->stub);
    pool_close(&d->pool);
    free(d->planned);
    free(d);
}

/* A commit whose time has come. */
static bool commit_now(struct run *r, struct deadlines *d, struct op *invoke)
{
    uint64_t now = run_now_ns(r);
    while (d->waiting < d->pool.n &&
           (d->planned[d->waiting].commit_ns == 0 || d->planned[d->waiting].decided))
        d->waiting++;
    for (uint32_t i = d->waiting; i < d->pool.n; i++) {
        struct planned *p = &d->planned[i];
        if (p->decided || p->commit_ns == 0 || p->commit_ns > now)
            continue;
        p->decided = true;
        snprintf(invoke->f, sizeof invoke->f, "commit");
        invoke->key = json_string(d->pool.txns[i].xid);
        invoke->value = json_null();
        return true;
    }
    return false;
}

static bool deadline_next(struct run *r, uint32_t worker, bool final, struct op *invoke)
{
    struct deadlines *d = r->state;
    (void)worker;
    if (final)
        return pool_final(r, &d->pool, invoke);
    if (commit_now(r, d, invoke))
        return true;
    if (run_random(r, 3) != 0 && pool_recent(r, &d->pool, OPEN, invoke))
        return true;
    const char *xid = pool_new(r, &d->pool);
    if (xid == NULL)
        return false;
    json_int_t limit_ms = 300 + (json_int_t)run_random(r, 3000);
    if (run_random(r, 2) == 0) /* from well before to a little behind its time */
        d->planned[d->pool.n - 1].commit_ns =
            run_now_ns(r) + ((uint64_t)limit_ms * (60 + run_random(r, 50)) / 100) * UINT64_C(1000000);
    snprintf(invoke->f, sizeof invoke->f, "begin");
    invoke->key = json_string(xid);
    invoke->value = json_integer(limit_ms);
    return true;
}

static void deadline_perform(struct run *r, uint32_t worker, const struct sut_node *node,
                             const struct op *invoke, struct op *done)
{
    struct deadlines *d = r->state;
    struct http_answer a;
    char confirm[96], cancel[96];
    (void)worker;
    if (pool_perform(r, &d->pool, node, invoke, done))
        return;
    bool begin = strcmp(invoke->f, "begin") == 0;
    snprintf(confirm, sizeof confirm, "%s/confirm", stub_base(d->stub));
    snprintf(cancel, sizeof cancel, "%s/cancel", stub_base(d->stub));
    json_t *body = begin ? json_pack("{s:O,s:O,s:i,s:i,s:[{s:s,s:s,s:s}]}", "xid", invoke->key, "timeoutMs",
                                     invoke->value, "retryBaseMs", 50, "retryCapMs", 500, "branches",
                                     "branch", "b0", "confirmUrl", confirm, "cancelUrl", cancel)
                         : json_pack("{s:O}", "xid", invoke->key);
    http_ask(node->base, "POST", begin ? "/api/v1/transaction/begin" : "/api/v1/transaction/commit", NULL,
             body, ASK_MS, false, &a);
    json_decref(body);
    op_ended(&a, done);
    if (done->type == OP_OK) {
        done->value = json_incref(json_object_get(a.data, "status"));
    } else if (strcmp(a.error, "TXN_DECIDED") == 0) { /* its time was over: an answer as good as a status */
        done->type = OP_OK;
        done->error[0] = 0;
        done->value = json_string("ROLLING_BACK");
    }
    http_close(&a);
}

/* ---- how it is judged ---- */

struct times {
    uint64_t asked_ns, begun_ns; /* begin: invoked, answered; 0: not */
    json_int_t limit_ms;
};

static uint64_t ms(uint64_t n)
{
    return n * UINT64_C(1000000);
}

struct faults {
    uint64_t healed_ns; /* when the last one ended */
    bool clocks;        /* clocks were set */
};

/* One status that somebody was told, asked for at `asked`. */
static void judge_status(const struct tx *x, const struct times *t, const struct op *op, uint64_t asked,
                         const struct faults *f, struct verdict *v)
{
    const char *status = json_string_value(op->value);
    uint64_t told = op->time_ns, healed = f->healed_ns;
    uint64_t limit = ms((uint64_t)t->limit_ms), earliest = t->asked_ns + (f->clocks ? limit / 2 : limit);
    if (strncmp(status, "ROLL", 4) == 0 && told + ms(SKEW_MS) < earliest)
        verdict_invalid(v, "%s was rolled back %llu ms before its time of %lld ms could be over", x->xid,
                        (unsigned long long)((earliest - told) / 1000000), (long long)t->limit_ms);
    if (strcmp(status, "ACTIVE") != 0 || t->begun_ns == 0)
        return;
    uint64_t due = t->begun_ns + limit > healed ? t->begun_ns + limit : healed;
    if (asked > due + ms(BOUND_MS + SKEW_MS))
        verdict_invalid(v, "%s is ACTIVE %llu ms after its time was over and everything was healed", x->xid,
                        (unsigned long long)((asked - due) / 1000000));
}

static void judge_effects(const struct txs *t, struct verdict *v)
{
    size_t i;
    json_t *record;
    json_array_foreach(json_object_get(t->effects, "records"), i, record)
    {
        const char *op = json_string_value(json_array_get(record, 2));
        const struct tx *x = txs_find(t, json_string_value(json_array_get(record, 0)));
        if (x == NULL || op == NULL)
            verdict_invalid(v, "a call for a transaction that nobody began");
        else if ((x->side == 'C' && strcmp(op, "cancel") == 0) ||
                 (x->side == 'R' && strcmp(op, "confirm") == 0))
            verdict_invalid(v, "%s is decided the other way, and got a %s", x->xid, op);
    }
}

static void deadline_check(struct run *r, const struct history *h, struct verdict *v)
{
    struct txs t;
    struct faults f = {0};
    size_t *pair = calloc(h->n + 1, sizeof *pair);
    (void)r;
    verdict_init(v);
    txs_open(&t, h, NULL, v);
    struct times *times = calloc(t.n + 1, sizeof *times);
    if (pair == NULL || times == NULL || history_pairs(h, pair) != 0)
        abort();
    for (size_t i = 0; i < h->n; i++) {
        const struct op *op = &h->ops[i];
        const struct tx *x = op->process >= 0 ? txs_find(&t, json_string_value(op->key)) : NULL;
        if (op->process == PROCESS_NEMESIS) {
            f.healed_ns = op->time_ns;
            f.clocks = f.clocks || strstr(op->f, "clock") != NULL;
        }
        if (x == NULL || strcmp(op->f, "begin") != 0)
            continue;
        struct times *one = &times[x - t.list];
        if (op->type == OP_INVOKE)
            *one = (struct times){.asked_ns = op->time_ns, .limit_ms = json_integer_value(op->value)};
        else if (op->type == OP_OK)
            one->begun_ns = op->time_ns;
    }
    for (size_t i = 0; i < h->n; i++) {
        const struct op *op = &h->ops[i];
        const struct tx *x = op->process >= 0 ? txs_find(&t, json_string_value(op->key)) : NULL;
        if (x != NULL && op->type == OP_OK && json_is_string(op->value) && times[x - t.list].asked_ns > 0)
            judge_status(x, &times[x - t.list], op, h->ops[pair[i]].time_ns, &f, v);
    }
    for (size_t i = 0; i < t.n; i++)
        v->checked += t.list[i].ended;
    judge_effects(&t, v);
    free(times);
    free(pair);
    txs_close(&t);
    verdict_close(v);
}

const struct workload workload_deadline = {
    "deadline",     "undecided transactions end in their time, not before and not long after",
    deadline_next,  deadline_perform,
    deadline_check, deadline_open,
    deadline_close};
