/* Objects that a client can name: a register, a set of transactions, what happens once.
 *
 *   register        versioned objects, written and read on every node, deposed leaders too: linearizable
 *   register-stale  the same with reads that a node answers by itself: under a partition it must be judged
 *                   invalid, or this judge sees nothing
 *   registered      transactions that were begun are in the listings, once
 *   idempotency     requests under one Idempotency-Key through all nodes: one effect, one answer */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "lin.h"
#include "linear.h"

#define KEYS         5
#define REGISTER_OPS 150 /* of one object; then another takes its place */
#define GROUP_SIZE   60
#define TRIES        12

struct objects {
    uint32_t ops[KEYS], generation[KEYS], elements, final_next, value;
    json_t *keys; /* idempotency: given so far */
};

static void *objects_open(struct run *r)
{
    struct objects *s = calloc(1, sizeof *s);
    (void)r;
    if (s == NULL || (s->keys = json_array()) == NULL)
        abort();
    return s;
}

static void objects_close(struct run *r, void *state)
{
    struct objects *s = state;
    (void)r;
    json_decref(s->keys);
    free(s);
}

/* ---- register ---- */

static bool register_next(struct run *r, uint32_t worker, bool final, struct op *invoke)
{
    struct objects *s = r->state;
    (void)worker;
    if (final)
        return false;
    uint64_t k = run_random(r, KEYS);
    if (++s->ops[k] > REGISTER_OPS) {
        s->ops[k] = 0;
        s->generation[k]++;
    }
    bool write = run_random(r, 3) == 0;
    snprintf(invoke->f, sizeof invoke->f, write ? "write" : "read");
    invoke->key = json_integer((json_int_t)(k + 1000 * s->generation[k]));
    invoke->value = write ? json_integer(++s->value) : json_null();
    return true;
}

/* All writes go through one member without a context, so each supersedes the one before it and its count is
 * the version. */
static void register_do(const struct sut_node *node, const struct op *invoke, struct op *done, bool stale)
{
    char object[32], path[128];
    struct http_answer a;
    bool read = strcmp(invoke->f, "read") == 0;
    snprintf(object, sizeof object, "r%lld", (long long)json_integer_value(invoke->key));
    snprintf(path, sizeof path, "/api/v1/version/%s%s%s", read ? "current?object=" : "increment",
             read ? object : "", read && stale ? "&stale=true" : "");
    json_t *body =
        read ? NULL : json_pack("{s:s,s:s,s:O}", "object", object, "node", "w", "value", invoke->value);
    http_ask(node->base, read ? "GET" : "POST", path, NULL, body, ASK_MS, read, &a);
    json_decref(body);
    op_ended(&a, done);
    json_t *sibling = read ? json_array_get(json_object_get(a.data, "siblings"), 0) : a.data;
    json_t *version = json_object_get(json_object_get(sibling, "dot"), "w");
    if (done->type == OP_OK && version != NULL)
        done->value = json_pack("[O,O]", read ? json_object_get(sibling, "value") : invoke->value, version);
    if (read && (a.status == 404 || (done->type == OP_OK && version == NULL))) { /* nobody has written it */
        done->type = OP_OK;
        done->value = json_pack("[i,i]", 0, 0);
        done->error[0] = 0;
    }
    http_close(&a);
}

static void register_perform(struct run *r, uint32_t worker, const struct sut_node *node,
                             const struct op *invoke, struct op *done)
{
    (void)r;
    (void)worker;
    register_do(node, invoke, done, false);
}

static void register_stale_perform(struct run *r, uint32_t worker, const struct sut_node *node,
                                   const struct op *invoke, struct op *done)
{
    (void)r;
    (void)worker;
    register_do(node, invoke, done, true);
}

static void register_check(struct run *r, const struct history *h, struct verdict *v)
{
    (void)r;
    check_linearizable(h, &model_versioned, LIN_WGL, true, NULL, v);
}

const struct workload workload_register = {"register",     "objects are linearizable, read on any node",
                                           register_next,  register_perform,
                                           register_check, objects_open,
                                           objects_close};
const struct workload workload_register_stale = {
    "register-stale", "negative control: a partition must make this one invalid",
    register_next,    register_stale_perform,
    register_check,   objects_open,
    objects_close};

/* ---- registered ---- */

static bool registered_next(struct run *r, uint32_t worker, bool final, struct op *invoke)
{
    struct objects *s = r->state;
    (void)worker;
    uint32_t groups = s->elements / GROUP_SIZE + 1;
    bool read = final || run_random(r, 4) == 0;
    if (final && s->final_next == groups)
        return false;
    uint32_t group = final                   ? s->final_next++
                     : run_random(r, 4) == 0 ? (uint32_t)run_random(r, groups)
                                             : groups - 1;
    snprintf(invoke->f, sizeof invoke->f, read ? "read" : "add");
    if (!read)
        group = s->elements / GROUP_SIZE;
    invoke->key = json_integer(group);
    invoke->value = read ? json_null() : json_integer(s->elements++);
    return true;
}

static void read_group(const struct sut_node *node, json_int_t group, struct op *done)
{
    char path[160], after[96] = "";
    json_t *seen = json_array();
    done->type = OP_OK;
    do {
        struct http_answer a;
        size_t i;
        json_t *row;
        snprintf(path, sizeof path, "/api/v1/transactions?businessKey=g%lld&limit=20%s%s", (long long)group,
                 after[0] != 0 ? "&after=" : "", after);
        http_ask(node->base, "GET", path, NULL, NULL, ASK_MS, true, &a);
        op_ended(&a, done);
        json_t *rows = json_object_get(a.data, "transactions");
        json_array_foreach(rows, i, row)
        {
            const char *xid = json_string_value(json_object_get(row, "xid"));
            const char *dash = xid != NULL ? strrchr(xid, '-') : NULL;
            json_array_append_new(seen, json_integer(dash != NULL ? atoll(dash + 1) : -1));
        }
        const char *next = json_string_value(json_object_get(a.data, "next"));
        snprintf(after, sizeof after, "%s", next != NULL ? next : "");
        http_close(&a);
    } while (done->type == OP_OK && after[0] != 0);
    done->value = seen;
}

static void registered_perform(struct run *r, uint32_t worker, const struct sut_node *node,
                               const struct op *invoke, struct op *done)
{
    char xid[64], business[32];
    struct http_answer a;
    json_int_t group = json_integer_value(invoke->key);
    (void)worker;
    if (strcmp(invoke->f, "read") == 0) {
        for (int i = 0; i < (r->final ? TRIES : 1); i++) {
            json_decref(done->value);
            done->value = NULL;
            read_group(&r->sut.nodes[(node->id - 1 + (uint32_t)i) % r->sut.n], group, done);
            if (done->type == OP_OK)
                break;
        }
        return;
    }
    snprintf(xid, sizeof xid, "reg-%lld", (long long)json_integer_value(invoke->value));
    snprintf(business, sizeof business, "g%lld", (long long)group);
    json_t *body = json_pack("{s:s,s:s,s:i}", "xid", xid, "businessKey", business, "timeoutMs", 0);
    http_ask(node->base, "POST", "/api/v1/transaction/begin", NULL, body, ASK_MS, false, &a);
    json_decref(body);
    op_ended(&a, done);
    http_close(&a);
}

/* Set by set. */
static void registered_check(struct run *r, const struct history *h, struct verdict *v)
{
    json_t *groups = json_object();
    const char *group;
    json_t *unused;
    char text[32];
    (void)r;
    verdict_init(v);
    for (size_t i = 0; i < h->n; i++)
        if (h->ops[i].process >= 0) {
            snprintf(text, sizeof text, "%lld", (long long)json_integer_value(h->ops[i].key));
            json_object_set_new(groups, text, json_null());
        }
    json_object_foreach(groups, group, unused)
    {
        struct history one;
        struct verdict part;
        history_init(&one);
        for (size_t i = 0; i < h->n; i++) {
            const struct op *o = &h->ops[i];
            if (o->process < 0 || json_integer_value(o->key) != atoll(group))
                continue;
            if (history_add_op(&one, o->time_ns, o->process, o->type, o->f, NULL, json_incref(o->value)) ==
                NULL)
                abort();
        }
        check_set(&one, true, &part);
        if (part.checked + part.unknown_parts > 0 || part.valid == INVALID || part.malformed)
            verdict_compose(v, group, &part); /* else the group is empty, or all it was told of is unknown */
        history_close(&one);
    }
    json_decref(groups);
    verdict_close(v);
}

const struct workload workload_registered = {
    "registered",     "what was begun is listed, once, on every node",
    registered_next,  registered_perform,
    registered_check, objects_open,
    objects_close};

/* ---- idempotency ---- */

static bool idempotency_next(struct run *r, uint32_t worker, bool final, struct op *invoke)
{
    struct objects *s = r->state;
    (void)worker;
    size_t n = json_array_size(s->keys);
    if (final) {
        if (s->final_next == n)
            return false;
        snprintf(invoke->f, sizeof invoke->f, "effects");
        invoke->key = json_incref(json_array_get(s->keys, s->final_next++));
        invoke->value = json_null();
        return true;
    }
    snprintf(invoke->f, sizeof invoke->f, "request");
    uint64_t recent = n < 12 ? n : 12; /* often while another worker asks the same */
    if (n > 0 && run_random(r, 3) != 0)
        invoke->key = json_incref(json_array_get(
            s->keys, run_random(r, 4) == 0 ? run_random(r, n) : n - 1 - run_random(r, recent)));
    else {
        char key[48];
        snprintf(key, sizeof key, "once-%llx-%zu", (unsigned long long)(r->o.seed & 0xffff), n);
        invoke->key = json_string(key);
        json_array_append(s->keys, invoke->key);
    }
    invoke->value = json_null();
    return true;
}

static void idempotency_perform(struct run *r, uint32_t worker, const struct sut_node *node,
                                const struct op *invoke, struct op *done)
{
    char path[128];
    struct http_answer a;
    const char *key = json_string_value(invoke->key);
    (void)worker;
    if (strcmp(invoke->f, "effects") == 0) {
        snprintf(path, sizeof path, "/api/v1/lamport/current?clock=%s", key);
        http_ask(node->base, "GET", path, NULL, NULL, ASK_MS, true, &a);
    } else {
        json_t *body = json_pack("{s:s}", "clock", key);
        http_ask(node->base, "POST", "/api/v1/lamport/tick", key, body, ASK_MS, false, &a);
        json_decref(body);
    }
    op_ended(&a, done);
    if (done->type == OP_OK)
        done->value = json_incref(json_object_get(a.data, "value"));
    else if (a.status == 404 && r->final) {
        done->type = OP_OK;
        done->value = json_integer(0);
    }
    http_close(&a);
}

static void idempotency_check(struct run *r, const struct history *h, struct verdict *v)
{
    (void)r;
    check_idempotency(h, v);
}

const struct workload workload_idempotency = {
    "idempotency",     "one effect and one answer per Idempotency-Key, via any node",
    idempotency_next,  idempotency_perform,
    idempotency_check, objects_open,
    objects_close};
