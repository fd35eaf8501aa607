/* What freezes guard, with the resource kept by the judge.
 *
 *   freeze  exclusive freezes: tokens rise from grant to grant, and nobody is inside with another
 *
 * A worker begins a transaction, freezes a resource, uses it under the token, lets go by ending the
 * transaction.  The resource numbers the uses it accepts; it does not look at tokens, so that the checker
 * finds what the coordinator let through. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "linear.h"

#define RESOURCES    4
#define HOLD_MS      30
#define WORKERS      64
#define WAIT_MS      1500
#define LET_GO_TRIES 60
#define LIFE_MS      20000 /* of a transaction; nobody uses a resource in the second half */

struct guarded {
    struct {
        enum { IDLE, HOLDS, USED } stage;
        char xid[40];
        json_int_t token, resource;
        uint64_t since_ns;
    } worker[WORKERS];
    uint32_t n, position[RESOURCES], inside[RESOURCES];
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

static bool guarded_next(struct run *r, uint32_t worker, bool final, struct op *invoke)
{
    struct guarded *g = r->state;
    if (final)
        return false;
    if (g->worker[worker].stage == IDLE) {
        snprintf(g->worker[worker].xid, sizeof g->worker[worker].xid, "f%llx-%u",
                 (unsigned long long)(r->o.seed & 0xffff), ++g->n);
        g->worker[worker].resource = (json_int_t)run_random(r, RESOURCES);
        g->worker[worker].since_ns = run_now_ns(r);
    }
    bool old = run_now_ns(r) - g->worker[worker].since_ns > LIFE_MS / 2 * UINT64_C(1000000);
    if (g->worker[worker].stage == HOLDS && old)
        g->worker[worker].stage = USED; /* it may be over soon: let go unused */
    snprintf(invoke->f, sizeof invoke->f, "%s",
             g->worker[worker].stage == IDLE    ? "acquire"
             : g->worker[worker].stage == HOLDS ? "use"
                                                : "release");
    invoke->key = json_integer(g->worker[worker].resource);
    invoke->value = g->worker[worker].stage == IDLE ? json_null() : json_integer(g->worker[worker].token);
    return true;
}

static bool stands(const struct http_answer *a, const char *want)
{
    const char *status = json_string_value(json_object_get(a->data, "status"));
    return a->outcome == HTTP_DONE && status != NULL && strcmp(status, want) == 0;
}

static bool granted(const struct http_answer *a)
{
    return stands(a, "GRANTED");
}

static bool waiting(const struct http_answer *a)
{
    return stands(a, "WAITING");
}

static void let_go(const struct sut_node *node, const char *xid, struct http_answer *a)
{
    json_t *body = json_pack("{s:s}", "xid", xid);
    http_ask(node->base, "POST", "/api/v1/transaction/rollback", NULL, body, ASK_MS, false, a);
    json_decref(body);
}

/* Roll back until it is known to be so: after that nothing is granted to it, not even by a request that is
 * still on its way.  Nobody uses a token that may have been granted before. */
static bool let_go_for_certain(struct run *r, const struct sut_node *node, const char *xid)
{
    for (uint32_t i = 0; i < LET_GO_TRIES; i++) {
        struct http_answer a;
        let_go(&r->sut.nodes[(node->id - 1 + i) % r->sut.n], xid, &a);
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
    for (int i = 0; i < WAIT_MS / 20 && a->outcome == HTTP_DONE && waiting(a); i++) {
        http_close(a);
        nap_ms(25);
        http_ask(node->base, "GET", path, NULL, NULL, ASK_MS, true, a);
    }
    return granted(a);
}

/* Begin and freeze.  Who is not let in, or does not know, lets go: it fails for certain, unless nobody says
 * so. */
static void acquire(struct run *r, uint32_t worker, const struct sut_node *node, struct op *done)
{
    struct guarded *g = r->state;
    struct http_answer a;
    const char *xid = g->worker[worker].xid;
    json_t *begin = json_pack("{s:s,s:i}", "xid", xid, "timeoutMs", LIFE_MS);
    http_ask(node->base, "POST", "/api/v1/transaction/begin", NULL, begin, ASK_MS, false, &a);
    json_decref(begin);
    bool begun = a.outcome == HTTP_DONE;
    op_ended(&a, done);
    http_close(&a);
    if (!begun) { /* nobody asked for the freeze; what may have begun ends by its time limit */
        done->type = OP_FAIL;
        return;
    }
    if (wait_in_line(node, xid, g->worker[worker].resource, &a)) {
        done->type = OP_OK;
        done->error[0] = 0;
        done->value = json_incref(json_object_get(a.data, "token"));
        g->worker[worker].token = json_integer_value(done->value);
        g->worker[worker].stage = HOLDS;
    } else {
        const char *status = json_string_value(json_object_get(a.data, "status"));
        snprintf(done->error, sizeof done->error, "%s", status != NULL ? status : a.error);
        done->type = let_go_for_certain(r, node, xid) ? OP_FAIL : OP_INFO;
    }
    http_close(&a);
}

/* Inside for a while: the position it was let in at, and whether somebody else was there. */
static void use(struct run *r, uint32_t worker, struct op *done)
{
    struct guarded *g = r->state;
    json_int_t i = g->worker[worker].resource;
    pthread_mutex_lock(&r->lock);
    uint32_t position = ++g->position[i];
    bool met = g->inside[i]++ > 0;
    uint32_t ms = (uint32_t)run_random(r, HOLD_MS);
    pthread_mutex_unlock(&r->lock);
    nap_ms(ms);
    pthread_mutex_lock(&r->lock);
    met = met || g->inside[i] > 1 || g->position[i] != position;
    g->inside[i]--;
    pthread_mutex_unlock(&r->lock);
    done->type = OP_OK;
    done->value = json_pack("[I,I,b]", g->worker[worker].token, (json_int_t)position, met);
    g->worker[worker].stage = USED;
}

static void guarded_perform(struct run *r, uint32_t worker, const struct sut_node *node,
                            const struct op *invoke, struct op *done)
{
    struct guarded *g = r->state;
    if (strcmp(invoke->f, "acquire") == 0) {
        acquire(r, worker, node, done);
        return;
    }
    if (strcmp(invoke->f, "use") == 0) {
        use(r, worker, done);
        return;
    }
    if (let_go_for_certain(r, node, g->worker[worker].xid)) {
        done->type = OP_OK;
        done->value = json_incref(invoke->value);
    }
    g->worker[worker].stage = IDLE; /* its time limit does the rest */
}

/* Tokens rise with real time, over all resources; then resource by resource. */
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
