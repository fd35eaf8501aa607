/* Transactions nested in others: a tree ends alike, from the leaves.
 *
 *   nested  an outer TCC with a TCC "a" in it, a TCC "b" in that, and a saga "s"; some vote, some do not, the
 * outer one is committed, rolled back or left to its time limit.  Whole trees are read while that goes on
 *
 * A nested TCC's commit is a vote, a nested saga that is COMMITTED may still have to go back; so here a
 * status is judged together with those around it, as one read shows them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

#define LIFE_MS 4000
#define NODES   4 /* of a tree: outer, a, b, s */

static const char *const suffixes[NODES] = {"", ".a", ".b", ".s"};
static const int parents[NODES] = {-1, 0, 1, 0};
enum { OUTER, NESTED_A, NESTED_B, SAGA };

struct trees {
    struct pool pool; /* the outer ones */
    struct stub *stub;
    uint64_t dice; /* under the stub's lock */
};

static bool business(void *user, const struct stub_call *c)
{
    struct trees *s = user;
    if (strcmp(c->op, "action") != 0)
        return true;
    s->dice = s->dice * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (s->dice >> 33) % 1000 >= 80;
}

static void *trees_open(struct run *r)
{
    struct trees *s = calloc(1, sizeof *s);
    if (s == NULL)
        abort();
    s->dice = r->o.seed;
    s->stub = stub_open(r, 50, business, s);
    stub_no_tries(s->stub);
    pool_open(&s->pool, s->stub);
    return s;
}

static void trees_close(struct run *r, void *state)
{
    struct trees *s = state;
    (void)r;
    stub_close(s->stub);
    pool_close(&s->pool);
    free(s);
}

/* As pool_final and pool_old, but a whole tree is asked for. */
static bool trees_next(struct run *r, uint32_t worker, bool final, struct op *invoke)
{
    static const char *const ends[] = {"commit", "commit", "commit", "rollback", "leave"};
    struct trees *s = r->state;
    (void)worker;
    if (final || (run_random(r, 3) == 0 && s->pool.n > 0)) {
        bool asked = final ? pool_final(r, &s->pool, invoke) : pool_recent(r, &s->pool, 200, invoke);
        if (strcmp(invoke->f, "status") == 0)
            snprintf(invoke->f, sizeof invoke->f, "tree");
        return asked;
    }
    const char *xid = pool_new(r, &s->pool);
    if (xid == NULL)
        return false;
    snprintf(invoke->f, sizeof invoke->f, "plant");
    invoke->key = json_string(xid);
    /* who is in it, and who of them votes, as bits; how it ends */
    invoke->value = json_pack("[i,i,s]", 1 << OUTER | (int)run_random(r, 8) << 1,
                              (int)run_random(r, 5) == 0 ? 0 : 15, ends[run_random(r, 5)]);
    return true;
}

/* ---- how it is asked ---- */

static bool post(const struct sut_node *node, const char *path, json_t *body, struct http_answer *a)
{
    http_ask(node->base, "POST", path, NULL, body, ASK_MS, false, a);
    json_decref(body);
    return a->outcome == HTTP_DONE;
}

static json_t *branch(const struct trees *s, const char *name, const char *forward, const char *back,
                      bool saga)
{
    char go[96], turn[96];
    snprintf(go, sizeof go, "%s/%s", stub_base(s->stub), forward);
    snprintf(turn, sizeof turn, "%s/%s", stub_base(s->stub), back);
    return json_pack("{s:s,s:s,s:s}", "branch", name, saga ? "actionUrl" : "confirmUrl", go,
                     saga ? "compensateUrl" : "cancelUrl", turn);
}

static bool begin(const struct trees *s, const struct sut_node *node, const char *outer, int i,
                  struct http_answer *a)
{
    char xid[48], parent[48];
    bool saga = i == SAGA;
    snprintf(xid, sizeof xid, "%s%s", outer, suffixes[i]);
    json_t *list = json_array(), *body;
    for (int k = 0; k < 2; k++) {
        char name[16];
        snprintf(name, sizeof name, "b%d", k);
        json_array_append_new(
            list, branch(s, name, saga ? "action" : "confirm", saga ? "compensate" : "cancel", saga));
    }
    body = json_pack("{s:s,s:i,s:i,s:o}", "xid", xid, "retryBaseMs", 50, "retryCapMs", 500,
                     saga ? "steps" : "branches", list);
    if (!saga)
        json_object_set_new(body, "timeoutMs", json_integer(LIFE_MS));
    if (i != OUTER) {
        snprintf(parent, sizeof parent, "%s%s", outer, suffixes[parents[i]]);
        json_object_set_new(body, "parent", json_string(parent));
    }
    return post(node, saga ? "/api/v1/transaction/saga" : "/api/v1/transaction/begin", body, a);
}

/* OK: who was begun and who voted, as bits, and how its end was answered. */
static void plant(struct trees *s, const struct sut_node *node, const struct op *invoke, struct op *done)
{
    struct http_answer a;
    const char *outer = json_string_value(invoke->key),
               *end = json_string_value(json_array_get(invoke->value, 2));
    int wanted = (int)json_integer_value(json_array_get(invoke->value, 0)),
        votes = (int)json_integer_value(json_array_get(invoke->value, 1)), begun = 0, voted = 0;
    for (int i = 0; i < NODES; i++) {
        if ((wanted & 1 << i) == 0 || (parents[i] >= 0 && (begun & 1 << parents[i]) == 0))
            continue;
        begun |= begin(s, node, outer, i, &a) ? 1 << i : 0;
        if (i == OUTER)
            op_ended(&a, done);
        http_close(&a);
    }
    if ((begun & 1 << OUTER) == 0)
        return;
    for (int i = NESTED_B; i >= NESTED_A; i--) {
        char xid[48];
        if ((begun & votes & 1 << i) == 0)
            continue;
        snprintf(xid, sizeof xid, "%s%s", outer, suffixes[i]);
        voted |= post(node, "/api/v1/transaction/commit", json_pack("{s:s}", "xid", xid), &a) ? 1 << i : 0;
        http_close(&a);
    }
    char path[64], answer[64] = "";
    if (strcmp(end, "leave") != 0) {
        snprintf(path, sizeof path, "/api/v1/transaction/%s", end);
        bool said = post(node, path, json_pack("{s:s}", "xid", outer), &a);
        const char *status = json_string_value(json_object_get(a.data, "status"));
        snprintf(answer, sizeof answer, "%s", said && status != NULL ? status : a.error);
        http_close(&a);
    }
    done->value = json_pack("[i,i,s]", begun, voted, answer);
}

static bool over(const char *status)
{
    return strcmp(status, "COMMITTED") == 0 || strcmp(status, "ROLLED_BACK") == 0;
}

/* OK: the status of each, "" of one that is not in the tree. */
static void read_tree(struct run *r, const struct sut_node *node, const struct op *invoke, struct op *done)
{
    struct trees *s = r->state;
    struct http_answer a;
    char path[96];
    const char *statuses[NODES] = {"", "", "", ""}, *outer = json_string_value(invoke->key);
    size_t k;
    json_t *row;
    snprintf(path, sizeof path, "/api/v1/transaction/%s/tree", outer);
    http_ask(node->base, "GET", path, NULL, NULL, ASK_MS, true, &a);
    op_ended(&a, done);
    bool all = done->type == OP_OK;
    json_array_foreach(json_object_get(a.data, "nodes"), k, row)
    {
        const char *xid = json_string_value(json_object_get(row, "xid"));
        const char *suffix = xid != NULL ? strchr(xid, '.') : NULL;
        for (int i = 0; xid != NULL && i < NODES; i++)
            if (strcmp(suffix != NULL ? suffix : "", suffixes[i]) == 0)
                statuses[i] = json_string_value(json_object_get(row, "status"));
        all = all && over(json_string_value(json_object_get(row, "status")));
    }
    if (done->type == OP_OK)
        done->value = json_pack("[s,s,s,s]", statuses[0], statuses[1], statuses[2], statuses[3]);
    bool none = strcmp(a.error, "TXN_NOT_FOUND") == 0;
    if (none) {
        done->type = OP_OK;
        done->error[0] = 0;
        done->value = json_string("none");
    }
    if (all || (none && r->final))
        pool_ended(r, &s->pool, outer);
    else if (r->final)
        nap_ms(50);
    http_close(&a);
}

static void trees_perform(struct run *r, uint32_t worker, const struct sut_node *node,
                          const struct op *invoke, struct op *done)
{
    struct trees *s = r->state;
    (void)worker;
    if (strcmp(invoke->f, "plant") == 0)
        plant(s, node, invoke, done);
    else if (strcmp(invoke->f, "tree") == 0)
        read_tree(r, node, invoke, done);
    else
        pool_perform(r, &s->pool, node, invoke, done);
}

/* ---- how it is judged ---- */

struct tree {
    const json_t *last;                         /* what was read of it latest, or when all was over */
    uint64_t over_ns;                           /* since then somebody knew that all was over; 0: never */
    const json_t *answer;                       /* of "plant" */
    uint32_t forward[NODES], back[NODES];       /* branches that went so, as bits */
    size_t first_back[NODES], last_back[NODES]; /* places in the records, counted from 1 */
};

static bool starts(const char *status, const char *with)
{
    return strncmp(status, with, strlen(with)) == 0;
}

/* One read shows one moment. */
static void judge_moment(const char *outer, const json_t *read, struct verdict *v)
{
    for (int i = NESTED_A; i < NODES; i++) {
        const char *own = json_string_value(json_array_get(read, (size_t)i)),
                   *around = json_string_value(json_array_get(read, (size_t)parents[i]));
        if (own == NULL || around == NULL) {
            verdict_malformed(v, "harness: a tree of another shape");
            return;
        }
        if (own[0] == 0)
            continue;
        if (i != SAGA && starts(own, "COMMIT") && !starts(around, "COMMIT"))
            verdict_invalid(v, "%s%s is %s inside one that is %s", outer, suffixes[i], own, around);
        if (starts(around, "COMMIT") && !starts(own, "COMMIT") && !starts(own, "ROLL"))
            verdict_invalid(v, "%s%s is %s, and the one around it is %s", outer, suffixes[i], own, around);
        if (strcmp(around, "ROLLED_BACK") == 0 && strcmp(own, "ROLLED_BACK") != 0)
            verdict_invalid(v, "%s%s is %s inside one that is ROLLED_BACK", outer, suffixes[i], own);
    }
}

static void count(struct tree *t, int node, const json_t *record, size_t at)
{
    const char *name = json_string_value(json_array_get(record, 1)),
               *op = json_string_value(json_array_get(record, 2)),
               *what = json_string_value(json_array_get(record, 4));
    uint32_t bit = 1u << (name[1] - '0') % 2;
    if (strcmp(op, "confirm") == 0 || (strcmp(op, "action") == 0 && strcmp(what, "done") == 0))
        t->forward[node] |= bit;
    if (strcmp(op, "cancel") != 0 && strcmp(op, "compensate") != 0)
        return;
    t->back[node] |= bit;
    if (t->first_back[node] == 0)
        t->first_back[node] = at;
    t->last_back[node] = at;
}

static void judge_node(const char *outer, const struct tree *t, int i, struct verdict *v)
{
    const char *status = json_string_value(json_array_get(t->last, (size_t)i));
    bool committed = strcmp(status, "COMMITTED") == 0;
    int begun = (int)json_integer_value(json_array_get(t->answer, 0)),
        voted = (int)json_integer_value(json_array_get(t->answer, 1));
    if (status[0] == 0) {
        if (begun & 1 << i)
            verdict_invalid(v, "%s%s was begun, and is not in the tree", outer, suffixes[i]);
        return;
    }
    if (!over(status)) {
        verdict_invalid(v, "%s%s did not end, it is %s", outer, suffixes[i], status);
        return;
    }
    if (committed && (t->forward[i] != 3 || t->back[i] != 0))
        verdict_invalid(v, "%s%s is COMMITTED, and its branches are not", outer, suffixes[i]);
    if (!committed && (i == SAGA ? t->forward[i] & ~t->back[i] : t->forward[i]) != 0)
        verdict_invalid(v, "%s%s is ROLLED_BACK, and a branch stands", outer, suffixes[i]);
    if (!committed && i != SAGA && t->back[i] != 3)
        verdict_invalid(v, "%s%s is ROLLED_BACK, and a branch was not cancelled", outer, suffixes[i]);
    const char *around =
        parents[i] >= 0 ? json_string_value(json_array_get(t->last, (size_t)parents[i])) : "";
    if (!committed && (voted & 1 << i) && strcmp(around, "COMMITTED") == 0)
        verdict_invalid(v, "%s%s voted, the one around it is COMMITTED, and it is not", outer, suffixes[i]);
    int p = parents[i];
    if (p >= 0 && strcmp(around, "ROLLED_BACK") == 0 && t->first_back[p] != 0 &&
        t->last_back[i] > t->first_back[p])
        verdict_invalid(v, "%s%s was taken back after the one around it", outer, suffixes[i]);
}

static bool all_over(const json_t *read)
{
    bool all = true;
    for (size_t i = 0; i < NODES; i++) {
        const char *status = json_string_value(json_array_get(read, i));
        all = all && status != NULL && (status[0] == 0 || over(status));
    }
    return all;
}

/* When all is over it stays so, for whoever asks later. */
static void take_read(const char *outer, struct tree *t, const struct op *op, uint64_t asked,
                      struct verdict *v)
{
    judge_moment(outer, op->value, v);
    if (t->over_ns != 0) {
        if (asked > t->over_ns && !json_equal(t->last, op->value))
            verdict_invalid(v, "the tree of %s was over, and has changed at #%llu", outer,
                            (unsigned long long)op->index);
        return;
    }
    t->last = op->value;
    if (all_over(op->value))
        t->over_ns = op->time_ns;
}

static void take_effects(const struct txs *t, struct tree *trees, struct verdict *v)
{
    size_t i;
    json_t *record;
    json_array_foreach(json_object_get(t->effects, "records"), i, record)
    {
        char outer[48];
        const char *xid = json_string_value(json_array_get(record, 0)),
                   *suffix = xid != NULL ? strchr(xid, '.') : NULL;
        snprintf(outer, sizeof outer, "%.*s", suffix != NULL ? (int)(suffix - xid) : 47,
                 xid != NULL ? xid : "");
        const struct tx *x = txs_find(t, outer);
        int node = 0;
        while (node < NODES && strcmp(suffix != NULL ? suffix : "", suffixes[node]) != 0)
            node++;
        if (x == NULL || node == NODES)
            verdict_invalid(v, "a call for %s, which nobody began", outer);
        else
            count(&trees[x - t->list], node, record, i + 1);
    }
}

static void take(const struct txs *t, struct tree *trees, const struct history *h, struct verdict *v)
{
    size_t *pair = calloc(h->n + 1, sizeof *pair);
    if (pair == NULL || history_pairs(h, pair) != 0)
        abort();
    for (size_t i = 0; i < h->n; i++) {
        const struct op *op = &h->ops[i];
        const struct tx *x =
            op->process >= 0 && op->type == OP_OK ? txs_find(t, json_string_value(op->key)) : NULL;
        if (x != NULL && strcmp(op->f, "plant") == 0)
            trees[x - t->list].answer = op->value;
        if (x != NULL && strcmp(op->f, "tree") == 0 && json_is_array(op->value))
            take_read(x->xid, &trees[x - t->list], op, h->ops[pair[i]].time_ns, v);
    }
    free(pair);
    take_effects(t, trees, v);
}

static void trees_check(struct run *r, const struct history *h, struct verdict *v)
{
    static const struct txs_rules rules = {.ends_apart = true};
    struct txs t;
    (void)r;
    verdict_init(v);
    txs_open(&t, h, &rules, v);
    struct tree *trees = calloc(t.n + 1, sizeof *trees);
    if (trees == NULL)
        abort();
    take(&t, trees, h, v);
    for (size_t i = 0; i < t.n && t.effects != NULL && !v->malformed; i++) {
        if (trees[i].last == NULL) {
            if (t.list[i].acknowledged)
                verdict_invalid(v, "%s was acknowledged, and was never found", t.list[i].xid);
            continue;
        }
        for (int k = 0; k < NODES; k++)
            judge_node(t.list[i].xid, &trees[i], k, v);
        v->checked++;
    }
    free(trees);
    txs_close(&t);
    verdict_close(v);
}

const struct workload workload_nested = {
    "nested",    "transactions nested in others end alike, from the leaves",
    trees_next,  trees_perform,
    trees_check, trees_open,
    trees_close};
