/* What the workloads share; see common.h. */
#include "common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FINAL_S 90 /* until everything must have ended */

void op_ended(const struct http_answer *a, struct op *done)
{
    done->type = a->outcome == HTTP_DONE ? OP_OK : a->outcome == HTTP_REFUSED ? OP_FAIL : OP_INFO;
    snprintf(done->error, sizeof done->error, "%s", a->error);
}

void nap_ms(uint32_t ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

/* ---- transactions until they end ---- */

void pool_open(struct pool *p, struct stub *stub)
{
    *p = (struct pool){.stub = stub};
    p->txns = calloc(POOL_MAX, sizeof *p->txns);
    if (p->txns == NULL)
        abort();
}

void pool_close(struct pool *p)
{
    free(p->txns);
    p->txns = NULL;
}

const char *pool_new(struct run *r, struct pool *p)
{
    if (p->n == POOL_MAX)
        return NULL;
    struct pooled *t = &p->txns[p->n++];
    snprintf(t->xid, sizeof t->xid, "j%llx-%u", (unsigned long long)(r->o.seed & 0xffff), p->n);
    return t->xid;
}

static void ask_status(const struct pooled *t, struct op *invoke)
{
    snprintf(invoke->f, sizeof invoke->f, "status");
    invoke->key = json_string(t->xid);
    invoke->value = json_null();
}

bool pool_old(struct run *r, struct pool *p, struct op *invoke)
{
    if (p->n == 0)
        return false;
    ask_status(&p->txns[run_random(r, p->n)], invoke);
    return true;
}

bool pool_recent(struct run *r, struct pool *p, uint32_t n, struct op *invoke)
{
    if (p->n == 0)
        return false;
    ask_status(&p->txns[p->n - 1 - run_random(r, p->n < n ? p->n : n)], invoke);
    return true;
}

bool pool_final(struct run *r, struct pool *p, struct op *invoke)
{
    if (p->until_ns == 0) {
        p->until_ns = run_now_ns(r) + FINAL_S * UINT64_C(1000000000);
        if (p->stub != NULL)
            stub_calm(p->stub);
    }
    while (p->first_open < p->n && p->txns[p->first_open].ended)
        p->first_open++;
    if (p->first_open == p->n || run_now_ns(r) > p->until_ns) {
        if (p->taken)
            return false;
        p->taken = true;
        snprintf(invoke->f, sizeof invoke->f, "effects");
        invoke->key = json_string("all");
        invoke->value = json_null();
        return true;
    }
    uint32_t i = p->first_open + (uint32_t)run_random(r, 64); /* several workers, several transactions */
    ask_status(&p->txns[i < p->n && !p->txns[i].ended ? i : p->first_open], invoke);
    return true;
}

static bool final_status(const char *status)
{
    return strcmp(status, "COMMITTED") == 0 || strcmp(status, "ROLLED_BACK") == 0;
}

void pool_ended(struct run *r, struct pool *p, const char *xid)
{
    const char *dash = strrchr(xid, '-');
    uint32_t i = dash != NULL ? (uint32_t)strtoul(dash + 1, NULL, 10) : 0;
    pthread_mutex_lock(&r->lock);
    if (i >= 1 && i <= p->n)
        p->txns[i - 1].ended = true;
    pthread_mutex_unlock(&r->lock);
}

static void perform_status(struct run *r, struct pool *p, const struct sut_node *node,
                           const struct op *invoke, struct op *done)
{
    char path[128];
    struct http_answer a;
    const char *xid = json_string_value(invoke->key);
    snprintf(path, sizeof path, "/api/v1/transaction/status/%s", xid);
    http_ask(node->base, "GET", path, NULL, NULL, ASK_MS, true, &a);
    op_ended(&a, done);
    const char *status = json_string_value(json_object_get(a.data, "status"));
    if (done->type == OP_OK && status != NULL)
        done->value = json_string(status);
    bool none = strcmp(a.error, "TXN_NOT_FOUND") == 0;
    if (none) {
        done->type = OP_OK;
        done->error[0] = 0;
        done->value = json_string("none");
    }
    /* One that is not there in the end was never begun, and nobody asks any more. */
    bool stays = p->suspended_ends && status != NULL && strcmp(status, "SUSPENDED") == 0;
    if ((none && r->final) || (status != NULL && final_status(status)) || (stays && r->final))
        pool_ended(r, p, xid);
    else if (r->final)
        nap_ms(50);
    http_close(&a);
}

bool pool_perform(struct run *r, struct pool *p, const struct sut_node *node, const struct op *invoke,
                  struct op *done)
{
    if (strcmp(invoke->f, "status") == 0) {
        perform_status(r, p, node, invoke, done);
        return true;
    }
    if (strcmp(invoke->f, "effects") != 0)
        return false;
    done->type = OP_OK;
    done->value = json_object();
    if (p->stub != NULL)
        json_object_set_new(done->value, "records", stub_records(p->stub));
    if (p->more != NULL)
        p->more(p->user, done->value);
    return true;
}

/* ---- what a history tells of them ---- */

struct tx *txs_find(const struct txs *t, const char *xid)
{
    const json_t *place = xid != NULL ? json_object_get(t->index, xid) : NULL;
    return place != NULL ? &t->list[json_integer_value(place)] : NULL;
}

static struct tx *place_of(struct txs *t, const char *xid)
{
    struct tx *x = txs_find(t, xid);
    if (x == NULL) {
        json_object_set_new(t->index, xid, json_integer((json_int_t)t->n));
        x = &t->list[t->n++];
        *x = (struct tx){.xid = xid, .f = ""};
    }
    return x;
}

static void take_status(struct tx *x, const struct op *op, uint64_t asked_ns, const struct txs_rules *rules,
                        struct verdict *v)
{
    const char *status = json_string_value(op->value);
    char side = strncmp(status, "COMMIT", 6) == 0 ? 'C' : strncmp(status, "ROLL", 4) == 0 ? 'R' : 0;
    if (strcmp(status, "none") == 0) {
        bool known = x->known_ns != 0 && asked_ns > x->known_ns,
             forgotten = known && rules->kept_ns != 0 && op->time_ns > x->asked_ns + rules->kept_ns;
        if (known && !forgotten)
            verdict_invalid(v, "%s was there, and is not there at #%llu", x->xid,
                            (unsigned long long)op->index);
        x->ended = x->ended || forgotten;
        return;
    }
    if (x->known_ns == 0)
        x->known_ns = op->time_ns;
    if (side != 0 && x->side != 0 && side != x->side)
        verdict_invalid(v, "%s was seen decided one way, then %s", x->xid, status);
    bool open = strcmp(status, "ACTIVE") == 0 || strcmp(status, "RUNNING") == 0;
    if (open && x->side != 0 && asked_ns > x->decided_ns)
        verdict_invalid(v, "%s was seen decided, and %s by somebody who asked after that, at #%llu", x->xid,
                        status, (unsigned long long)op->index);
    if (side != 0 && x->side == 0) {
        x->side = side;
        x->decided_ns = op->time_ns;
    }
    x->suspended = strcmp(status, "SUSPENDED") == 0;
    x->ended = x->ended || final_status(status);
}

static void take_op(struct txs *t, const struct op *o, uint64_t asked_ns, const struct txs_rules *rules,
                    struct verdict *v)
{
    const char *xid = json_string_value(o->key);
    if (o->process < 0 || xid == NULL)
        return;
    if (strcmp(xid, "all") == 0) {
        if (o->type == OP_OK && strcmp(o->f, "effects") == 0)
            t->effects = o->value;
        return;
    }
    struct tx *x = place_of(t, xid);
    if (o->type == OP_OK && json_is_string(o->value))
        take_status(x, o, asked_ns, rules, v);
    if (strcmp(o->f, "status") == 0)
        return;
    if (o->type == OP_INVOKE && x->f[0] == 0) {
        x->f = o->f;
        x->value = o->value;
        x->asked_ns = o->time_ns;
    } else if (o->type == OP_OK && strcmp(x->f, o->f) == 0) {
        x->acknowledged = true;
        x->answer = o->value;
        if (x->known_ns == 0)
            x->known_ns = o->time_ns;
    }
}

void txs_open(struct txs *t, const struct history *h, const struct txs_rules *rules, struct verdict *v)
{
    static const struct txs_rules strict = {0};
    size_t *pair = calloc(h->n + 1, sizeof *pair);
    *t = (struct txs){.index = json_object(), .all_ended = true};
    t->list = calloc(h->n + 1, sizeof *t->list);
    if (t->list == NULL || t->index == NULL || pair == NULL || history_pairs(h, pair) != 0)
        abort();
    rules = rules != NULL ? rules : &strict;
    for (size_t i = 0; i < h->n; i++)
        take_op(t, &h->ops[i], pair[i] != HISTORY_NONE ? h->ops[pair[i]].time_ns : 0, rules, v);
    for (size_t i = 0; i < t->n; i++) {
        const struct tx *x = &t->list[i];
        if (x->acknowledged && !x->ended && !rules->ends_apart && !(x->suspended && rules->may_suspend))
            verdict_invalid(v, "%s was acknowledged and did not end", x->xid);
        t->all_ended = t->all_ended && (x->ended || x->side == 0);
    }
    if (t->effects == NULL)
        verdict_unknown(v, t->n + 1, "what the participants did is not in the history");
    free(pair);
}

void txs_close(struct txs *t)
{
    free(t->list);
    json_decref(t->index);
}
