/* Transactions on stub participants: one decision, of all branches, that stays.
 *
 *   decide  begin with two branches, then commit or roll back; ask for the status of older ones
 *   saga    three steps that may be refused; the coordinator does the rest
 *
 * Judged from two sides: what clients were told (the first decision anybody saw is the only one), and what
 * the participants were made to do (all confirmed or all cancelled; compensated in reverse). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http.h"
#include "participant.h"
#include "run.h"

#define TIMEOUT_MS 5000
#define ACTIVE_MS  10000
#define TXNS_MAX   100000
#define FINAL_S    90 /* until everything has ended */

struct txn {
    char xid[40];
    bool begun;    /* somebody was told so */
    bool asked;    /* final status known */
    char told[20]; /* first decision told: COMMIT or ROLL */
    char ended[20];
};
struct transactions {
    struct participant *participants[2];
    struct txn *txns;
    uint32_t n, final;
    bool saga, calm;
    uint64_t final_until_ns;
};

static void *open_state(struct run *r, bool saga)
{
    struct transactions *t = calloc(1, sizeof *t);
    const char *host = (r->sut.wants & SUT_NETWORK) ? NULL : "127.0.0.1";
    char bridge[32];
    if (host == NULL) { /* the bridge's address: the nodes' with 1 at the end */
        snprintf(bridge, sizeof bridge, "%s", r->sut.nodes[0].host);
        snprintf(strrchr(bridge, '.'), 4, ".1");
        host = bridge;
    }
    if (t == NULL || (t->txns = calloc(TXNS_MAX, sizeof *t->txns)) == NULL)
        abort();
    t->saga = saga;
    for (int i = 0; i < 2; i++)
        t->participants[i] = participant_open(host, r->o.seed + (uint64_t)i, 60, saga ? 100 : 0);
    return t;
}

static void *decide_open(struct run *r)
{
    return open_state(r, false);
}

static void *saga_open(struct run *r)
{
    return open_state(r, true);
}

static void close_state(struct run *r, void *state)
{
    struct transactions *t = state;
    (void)r;
    for (int i = 0; i < 2; i++)
        participant_close(t->participants[i]);
    free(t->txns);
    free(t);
}

/* ---- what is asked ---- */

static bool next_final(struct run *r, struct transactions *t, struct op *invoke)
{
    if (!t->calm) {
        for (int i = 0; i < 2; i++)
            participant_calm(t->participants[i]);
        t->calm = true;
        t->final_until_ns = run_now_ns(r) + FINAL_S * UINT64_C(1000000000);
    }
    while (t->final < t->n && (t->txns[t->final].asked || !t->txns[t->final].begun))
        t->final++;
    if (t->final == t->n || run_now_ns(r) > t->final_until_ns)
        return false;
    snprintf(invoke->f, sizeof invoke->f, "status");
    invoke->key = json_string(t->txns[t->final].xid);
    invoke->value = json_null();
    if (run_random(r, 4) == 0) /* the next one meanwhile */
        for (uint32_t i = t->final + 1; i < t->n; i++)
            if (!t->txns[i].asked && t->txns[i].begun) {
                json_string_set(invoke->key, t->txns[i].xid);
                break;
            }
    return true;
}

static bool next(struct run *r, uint32_t worker, bool final, struct op *invoke)
{
    struct transactions *t = r->state;
    (void)worker;
    if (final)
        return next_final(r, t, invoke);
    if (t->n == TXNS_MAX)
        return false;
    if (t->n > 0 && run_random(r, 4) == 0) {
        snprintf(invoke->f, sizeof invoke->f, "status");
        invoke->key = json_string(t->txns[run_random(r, t->n)].xid);
        invoke->value = json_null();
        return true;
    }
    struct txn *x = &t->txns[t->n++];
    snprintf(x->xid, sizeof x->xid, "j%llx-%u", (unsigned long long)(r->o.seed & 0xffff), t->n);
    snprintf(invoke->f, sizeof invoke->f, t->saga ? "submit" : run_random(r, 4) == 0 ? "rollback" : "commit");
    invoke->key = json_string(x->xid);
    invoke->value = json_string(invoke->f);
    return true;
}

/* ---- how it is asked ---- */

static void url(const struct transactions *t, int i, const char *what, char out[96])
{
    snprintf(out, 96, "%s/%s", participant_base(t->participants[i % 2]), what);
}

static json_t *branches(const struct transactions *t)
{
    json_t *list = json_array();
    for (int i = 0; i < (t->saga ? 3 : 2); i++) {
        char forward[96], back[96], name[16];
        url(t, i, t->saga ? "action" : "confirm", forward);
        url(t, i, t->saga ? "compensate" : "cancel", back);
        snprintf(name, sizeof name, "b%d", i);
        json_array_append_new(
            list, json_pack("{s:s,s:s,s:s,s:{s:i}}", "branch", name, t->saga ? "actionUrl" : "confirmUrl",
                            forward, t->saga ? "compensateUrl" : "cancelUrl", back, "payload", "n", i));
    }
    return list;
}

static void told(struct run *r, const char *xid, const struct http_answer *a)
{
    struct transactions *t = r->state;
    const char *status = json_string_value(json_object_get(a->data, "status"));
    pthread_mutex_lock(&r->lock);
    for (uint32_t i = 0; status != NULL && i < t->n; i++) {
        struct txn *x = &t->txns[i];
        if (strcmp(x->xid, xid) != 0)
            continue;
        bool commit = strncmp(status, "COMMIT", 6) == 0, back = strncmp(status, "ROLL", 4) == 0;
        x->begun = true;
        if (x->told[0] == 0 && (commit || back))
            snprintf(x->told, sizeof x->told, commit ? "COMMIT" : "ROLL");
        if (strcmp(status, "COMMITTED") == 0 || strcmp(status, "ROLLED_BACK") == 0) {
            x->asked = true;
            snprintf(x->ended, sizeof x->ended, "%s", status);
        }
        break;
    }
    pthread_mutex_unlock(&r->lock);
}

static void ended(struct run *r, const char *xid, const struct http_answer *a, struct op *done)
{
    done->type = a->outcome == HTTP_DONE ? OP_OK : a->outcome == HTTP_REFUSED ? OP_FAIL : OP_INFO;
    snprintf(done->error, sizeof done->error, "%s", a->error);
    if (done->type != OP_OK)
        return;
    done->value = json_incref(json_object_get(a->data, "status"));
    told(r, xid, a);
}

static void perform(struct run *r, uint32_t worker, const struct sut_node *node, const struct op *invoke,
                    struct op *done)
{
    struct transactions *t = r->state;
    const char *xid = json_string_value(invoke->key);
    char path[128];
    struct http_answer a;
    (void)worker;
    if (strcmp(invoke->f, "status") == 0) {
        snprintf(path, sizeof path, "/api/v1/transaction/status/%s", xid);
        http_ask(node->base, "GET", path, NULL, NULL, TIMEOUT_MS, true, &a);
        ended(r, xid, &a, done);
        http_close(&a);
        if (r->final) {
            struct timespec pause = {0, 20000000};
            nanosleep(&pause, NULL);
        }
        return;
    }
    json_t *body = json_pack("{s:s,s:i,s:i}", "xid", xid, "retryBaseMs", 50, "retryCapMs", 1000);
    json_object_set_new(body, t->saga ? "steps" : "branches", branches(t));
    if (!t->saga) /* one whose decision never arrived ends soon, not after the product's minute */
        json_object_set_new(body, "timeoutMs", json_integer(ACTIVE_MS));
    http_ask(node->base, "POST", t->saga ? "/api/v1/transaction/saga" : "/api/v1/transaction/begin", NULL,
             body, TIMEOUT_MS, false, &a);
    json_decref(body);
    if (a.outcome == HTTP_DONE)
        told(r, xid, &a);
    if (t->saga || a.outcome != HTTP_DONE) {
        ended(r, xid, &a, done);
        http_close(&a);
        return;
    }
    http_close(&a);
    snprintf(path, sizeof path, "/api/v1/transaction/%s", invoke->f);
    body = json_pack("{s:s}", "xid", xid);
    http_ask(node->base, "POST", path, NULL, body, TIMEOUT_MS, false, &a);
    json_decref(body);
    ended(r, xid, &a, done);
    if (done->type == OP_FAIL &&
        a.status == 409) /* decided the other way: its time was over, or an earlier try */
        done->type = OP_INFO;
    http_close(&a);
}

/* ---- how it is judged ---- */

static int order_of(const char *a, const char *b)
{
    return strcmp(a, b);
}

static int by_xid(const void *a, const void *b)
{
    return order_of(((const struct txn *)a)->xid, ((const struct txn *)b)->xid);
}

struct done {
    uint32_t confirmed, cancelled, acted, compensated;
    uint64_t acted_last[3], compensated_at[3];
};

static void count(struct done *d, const struct effect *e)
{
    uint32_t branch = (uint32_t)(e->branch[1] - '0') % 3;
    if (strcmp(e->op, "confirm") == 0)
        d->confirmed++;
    else if (strcmp(e->op, "cancel") == 0)
        d->cancelled++;
    else if (strcmp(e->op, "action") == 0 && !e->refused)
        d->acted++;
    else if (strcmp(e->op, "compensate") == 0)
        d->compensated |= 1u << branch;
}

static void judge_txn(const struct transactions *t, const struct txn *x, const struct done *d,
                      struct verdict *v)
{
    bool committed = strcmp(x->ended, "COMMITTED") == 0;
    if (x->ended[0] == 0) {
        if (x->begun)
            verdict_invalid(v, "%s was begun and did not end", x->xid);
        return;
    }
    v->checked++;
    if (x->told[0] != 0 && strncmp(x->told, x->ended, strlen(x->told)) != 0)
        verdict_invalid(v, "%s: somebody was told %s, it is %s", x->xid, x->told, x->ended);
    if (d->confirmed > 0 && d->cancelled > 0)
        verdict_invalid(v, "%s: one branch was confirmed, another cancelled", x->xid);
    if (!t->saga && (committed ? d->confirmed : d->cancelled) != 2)
        verdict_invalid(v, "%s is %s with %u confirmed and %u cancelled of 2", x->xid, x->ended, d->confirmed,
                        d->cancelled);
    if (t->saga && committed && (d->acted != 3 || d->compensated != 0))
        verdict_invalid(v, "%s is COMMITTED with %u of 3 steps done", x->xid, d->acted);
    if (t->saga && !committed && (uint32_t)__builtin_popcount(d->compensated) < d->acted)
        verdict_invalid(v, "%s is ROLLED_BACK, but %u steps stand", x->xid,
                        d->acted - (uint32_t)__builtin_popcount(d->compensated));
}

/* Clients' view first: a transaction that one client saw decided one way was never seen decided the other. */
static void judge_told(const struct history *h, struct verdict *v)
{
    json_t *seen = json_object();
    for (size_t i = 0; i < h->n; i++) {
        const struct op *o = &h->ops[i];
        const char *status = o->type == OP_OK ? json_string_value(o->value) : NULL,
                   *xid = json_string_value(o->key);
        if (status == NULL || xid == NULL)
            continue;
        const char *side = strncmp(status, "COMMIT", 6) == 0 ? "COMMIT"
                           : strncmp(status, "ROLL", 4) == 0 ? "ROLL"
                                                             : NULL;
        const char *before = json_string_value(json_object_get(seen, xid));
        if (side != NULL && before != NULL && strcmp(side, before) != 0)
            verdict_invalid(v, "%s was seen %s, then %s", xid, before, status);
        if (side != NULL && before == NULL)
            json_object_set_new(seen, xid, json_string(side));
    }
    json_decref(seen);
}

static void check(struct run *r, const struct history *h, struct verdict *v)
{
    struct transactions *t = r->state;
    verdict_init(v);
    if (t == NULL) { /* judged again */
        judge_told(h, v);
        verdict_unknown(v, 1, "what the participants saw is not in this history");
        return;
    }
    struct done *dones = calloc(t->n + 1, sizeof *dones);
    if (dones == NULL)
        abort();
    judge_told(h, v);
    qsort(t->txns, t->n, sizeof *t->txns, by_xid);
    for (int i = 0; i < 2; i++) {
        uint32_t n;
        const struct effect *e = participant_effects(t->participants[i], &n);
        for (uint32_t k = 0; k < n; k++) {
            struct txn key = {.begun = false};
            snprintf(key.xid, sizeof key.xid, "%s", e[k].xid);
            struct txn *x = bsearch(&key, t->txns, t->n, sizeof *t->txns, by_xid);
            if (x == NULL)
                verdict_invalid(v, "a call for %s, which nobody began", e[k].xid);
            else
                count(&dones[x - t->txns], &e[k]);
        }
    }
    for (uint32_t i = 0; i < t->n; i++)
        judge_txn(t, &t->txns[i], &dones[i], v);
    free(dones);
    verdict_close(v);
}

const struct workload workload_decide = {
    "decide",   "one decision per transaction, for all branches, for ever", next, perform, check, decide_open,
    close_state};
const struct workload workload_saga = {
    "saga", "sagas end done or taken back, whatever dies", next, perform, check, saga_open, close_state};
