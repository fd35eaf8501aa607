/* The status of a transaction as a register: linearizable on every node, whoever decides and whoever is
 * asked.
 *
 *   status  several workers begin, commit and roll back the same transactions, all nodes are asked how they
 * stand; some have a time limit.  Nothing goes back, and nothing that was seen is ever unknown again
 *
 * The participants are slow on purpose, so that COMMITTING and ROLLING_BACK can be seen. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "lin.h"

#define LIVE     5  /* transactions at a time */
#define OPS      60 /* of one; then another takes its place */
#define UNBEGUN  3  /* operations that may find it not there yet */
#define LIMIT_MS 1500

struct statuses {
    struct stub *stub;
    uint32_t ops[LIVE], generation[LIVE], final_next;
};

static bool business(void *user, const struct stub_call *c)
{
    (void)user;
    (void)c;
    return true;
}

static void *status_open(struct run *r)
{
    struct statuses *s = calloc(1, sizeof *s);
    if (s == NULL)
        abort();
    s->stub = stub_open(r, 600, business, s);
    stub_no_tries(s->stub);
    return s;
}

static void status_close(struct run *r, void *state)
{
    struct statuses *s = state;
    (void)r;
    stub_close(s->stub);
    free(s);
}

/* In the end each is asked for once more, by whoever comes. */
static bool final_next(struct statuses *s, struct op *invoke)
{
    uint32_t at = s->final_next++, k = 0;
    while (k < LIVE && at > s->generation[k])
        at -= s->generation[k++] + 1;
    if (k == LIVE)
        return false;
    snprintf(invoke->f, sizeof invoke->f, "status");
    invoke->key = json_integer(k + LIVE * (json_int_t)at);
    invoke->value = json_null();
    return true;
}

static bool status_next(struct run *r, uint32_t worker, bool final, struct op *invoke)
{
    static const char *const fs[] = {"begin", "commit", "rollback", "status"};
    struct statuses *s = r->state;
    (void)worker;
    if (final)
        return final_next(s, invoke);
    uint64_t k = run_random(r, LIVE), dice = run_random(r, 100);
    if (s->ops[k]++ == OPS) {
        s->ops[k] = 1;
        s->generation[k]++;
    }
    bool young = s->ops[k] < UNBEGUN + 6;
    int f = dice < (young ? 30 : 2) ? 0 : dice < 37 && !young ? (dice < 25 ? 3 : dice < 32 ? 1 : 2) : 3;
    json_int_t key = (json_int_t)k + LIVE * (json_int_t)s->generation[k];
    snprintf(invoke->f, sizeof invoke->f, "%s", fs[f]);
    invoke->key = json_integer(key);
    invoke->value = f == 0 ? json_integer(key % 3 == 0 ? LIMIT_MS : 0) : json_null();
    return true;
}

static json_t *begin_body(const struct statuses *s, const char *xid, const json_t *limit)
{
    json_t *list = json_array();
    for (int i = 0; i < 2; i++) {
        char confirm[96], cancel[96], name[16];
        snprintf(confirm, sizeof confirm, "%s/confirm", stub_base(s->stub));
        snprintf(cancel, sizeof cancel, "%s/cancel", stub_base(s->stub));
        snprintf(name, sizeof name, "b%d", i);
        json_array_append_new(
            list, json_pack("{s:s,s:s,s:s}", "branch", name, "confirmUrl", confirm, "cancelUrl", cancel));
    }
    return json_pack("{s:s,s:O,s:i,s:i,s:o}", "xid", xid, "timeoutMs", limit, "retryBaseMs", 100,
                     "retryCapMs", 500, "branches", list);
}

/* Refusals of the rules are answers too. */
static bool refusal(const char *error)
{
    return strcmp(error, "TXN_DECIDED") == 0 || strcmp(error, "TXN_NOT_FOUND") == 0;
}

static void status_perform(struct run *r, uint32_t worker, const struct sut_node *node,
                           const struct op *invoke, struct op *done)
{
    struct statuses *s = r->state;
    struct http_answer a;
    char xid[48], path[96];
    (void)worker;
    bool begin = strcmp(invoke->f, "begin") == 0, read = strcmp(invoke->f, "status") == 0;
    snprintf(xid, sizeof xid, "s%llx-%lld", (unsigned long long)(r->o.seed & 0xffff),
             (long long)json_integer_value(invoke->key));
    if (read)
        snprintf(path, sizeof path, "/api/v1/transaction/status/%s", xid);
    else
        snprintf(path, sizeof path, "/api/v1/transaction/%s", invoke->f);
    json_t *body = read ? NULL : begin ? begin_body(s, xid, invoke->value) : json_pack("{s:s}", "xid", xid);
    http_ask(node->base, read ? "GET" : "POST", path, NULL, body, ASK_MS, read, &a);
    json_decref(body);
    op_ended(&a, done);
    if (done->type == OP_OK) {
        done->value = json_incref(json_object_get(a.data, "status"));
    } else if (refusal(a.error)) {
        done->type = OP_OK;
        done->value = json_string(read ? "none" : a.error);
        done->error[0] = 0;
    }
    http_close(&a);
}

static void status_check(struct run *r, const struct history *h, struct verdict *v)
{
    (void)r;
    check_linearizable(h, &model_txn_status, LIN_WGL, true, NULL, v);
}

const struct workload workload_status = {
    "status",     "the status of transactions is linearizable on every node, and never goes back",
    status_next,  status_perform,
    status_check, status_open,
    status_close};
