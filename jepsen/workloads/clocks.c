/* Clocks and sequences: what must be larger than what was answered before, and what must be there once. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "lin.h"
#include "linear.h"

/* ---- lamport: tick, sync and current of a few clocks, linearizable ---- */

#define LAMPORT_CLOCKS 5
#define LAMPORT_OPS    200 /* of one clock; then another takes its place */

struct lamport {
    uint32_t ops[LAMPORT_CLOCKS], generation[LAMPORT_CLOCKS];
};

static void *lamport_open(struct run *r)
{
    (void)r;
    return calloc(1, sizeof(struct lamport));
}

static void state_free(struct run *r, void *state)
{
    (void)r;
    free(state);
}

static bool lamport_next(struct run *r, uint32_t worker, bool final, struct op *invoke)
{
    static const char *const fs[] = {"tick", "tick", "current", "sync"};
    struct lamport *l = r->state;
    (void)worker;
    if (final)
        return false;
    uint64_t c = run_random(r, LAMPORT_CLOCKS), f = run_random(r, 4);
    if (++l->ops[c] > LAMPORT_OPS) {
        l->ops[c] = 0;
        l->generation[c]++;
    }
    snprintf(invoke->f, sizeof invoke->f, "%s", fs[f]);
    invoke->key = json_integer((json_int_t)(c + 1000 * l->generation[c]));
    invoke->value = f == 3 ? json_integer((json_int_t)run_random(r, 1000)) : json_null();
    return true;
}

static void lamport_perform(struct run *r, uint32_t worker, const struct sut_node *node,
                            const struct op *invoke, struct op *done)
{
    char clock[32], path[128];
    struct http_answer a;
    bool read = strcmp(invoke->f, "current") == 0, sync = strcmp(invoke->f, "sync") == 0;
    (void)r;
    (void)worker;
    snprintf(clock, sizeof clock, "c%lld", (long long)json_integer_value(invoke->key));
    snprintf(path, sizeof path, "/api/v1/lamport/%s%s%s", invoke->f, read ? "?clock=" : "",
             read ? clock : "");
    json_t *body = read ? NULL : json_pack("{s:s}", "clock", clock);
    if (sync)
        json_object_set_new(body, "received", json_incref(invoke->value));
    http_ask(node->base, read ? "GET" : "POST", path, NULL, body, ASK_MS, read, &a);
    op_ended(&a, done);
    json_t *value = json_object_get(a.data, "value");
    if (done->type == OP_OK)
        done->value = sync ? json_pack("[O,O]", invoke->value, value) : json_incref(value);
    if (read && a.status == 404) { /* nobody has ticked it */
        done->type = OP_OK;
        done->value = json_integer(0);
        done->error[0] = 0;
    }
    json_decref(body);
    http_close(&a);
}

static void lamport_check(struct run *r, const struct history *h, struct verdict *v)
{
    (void)r;
    check_linearizable(h, &model_lamport, LIN_WGL, true, NULL, v);
}

const struct workload workload_lamport = {"lamport",     "named Lamport clocks are linearizable",
                                          lamport_next,  lamport_perform,
                                          lamport_check, lamport_open,
                                          state_free};

/* ---- tso and sequence: numbers ---- */

static bool tso_next(struct run *r, uint32_t worker, bool final, struct op *invoke)
{
    (void)worker;
    if (final)
        return false;
    snprintf(invoke->f, sizeof invoke->f, "grant");
    invoke->value = json_integer(1 + (json_int_t)run_random(r, 20));
    return true;
}

static void tso_perform(struct run *r, uint32_t worker, const struct sut_node *node, const struct op *invoke,
                        struct op *done)
{
    struct http_answer a;
    (void)r;
    (void)worker;
    json_t *body = json_pack("{s:O}", "count", invoke->value);
    http_ask(node->base, "POST", "/api/v1/tso", NULL, body, ASK_MS, false, &a);
    op_ended(&a, done);
    if (done->type == OP_OK) { /* [first, count] */
        json_t *first = json_object_get(a.data, "first");
        done->value = json_pack("[O,O]", first, invoke->value);
    }
    json_decref(body);
    http_close(&a);
}

static void tso_check(struct run *r, const struct history *h, struct verdict *v)
{
    (void)r;
    check_tso(h, "grant", v);
}

const struct workload workload_tso = {
    "tso", "timestamps are unique and grow in real time", tso_next, tso_perform, tso_check, NULL, NULL};

static bool sequence_next(struct run *r, uint32_t worker, bool final, struct op *invoke)
{
    (void)worker;
    if (final)
        return false;
    snprintf(invoke->f, sizeof invoke->f, "take");
    invoke->value = json_integer((json_int_t)run_random(r, INT32_MAX)); /* its Idempotency-Key */
    return true;
}

/* The key makes a repetition safe, so it is repeated until somebody answers. */
static void sequence_perform(struct run *r, uint32_t worker, const struct sut_node *node,
                             const struct op *invoke, struct op *done)
{
    char key[64];
    struct http_answer a = {.outcome = HTTP_UNKNOWN};
    snprintf(key, sizeof key, "take-%u-%lld-%lld", worker, (long long)json_integer_value(invoke->value),
             (long long)invoke->process);
    uint32_t at = node->id - 1;
    for (int i = 0; i < 30 && a.outcome != HTTP_DONE; i++) {
        http_close(&a);
        http_ask(r->sut.nodes[(at + (uint32_t)i) % r->sut.n].base, "POST", "/api/v1/sequence/jepsen", key,
                 NULL, ASK_MS, false, &a);
        if (a.outcome != HTTP_DONE)
            nap_ms(200);
    }
    op_ended(&a, done);
    if (done->type == OP_FAIL) /* an earlier try may have happened */
        done->type = OP_INFO;
    if (done->type == OP_OK)
        done->value = json_incref(json_object_get(a.data, "first"));
    http_close(&a);
}

static int by_number(const void *a, const void *b)
{
    json_int_t x = *(const json_int_t *)a, y = *(const json_int_t *)b;
    return (x > y) - (x < y);
}

/* Dense: every number was given to one request; a gap must belong to a request nobody knows the end of. */
static void sequence_check(struct run *r, const struct history *h, struct verdict *v)
{
    json_int_t *numbers = calloc(h->n + 1, sizeof *numbers);
    size_t n = 0, asked = 0, failed = 0;
    (void)r;
    verdict_init(v);
    if (numbers == NULL)
        abort();
    for (size_t i = 0; i < h->n; i++) {
        const struct op *o = &h->ops[i];
        if (o->process < 0)
            continue;
        asked += o->type == OP_INVOKE;
        failed += o->type == OP_FAIL;
        if (o->type == OP_OK)
            numbers[n++] = json_integer_value(o->value);
    }
    qsort(numbers, n, sizeof *numbers, by_number);
    uint64_t gaps = 0, unknown = asked - failed - n;
    for (size_t i = 0; i < n; i++) {
        json_int_t before = i > 0 ? numbers[i - 1] : 0;
        if (numbers[i] == before)
            verdict_invalid(v, "number %lld was given twice", (long long)numbers[i]);
        else
            gaps += (uint64_t)(numbers[i] - before - 1);
    }
    if (gaps > unknown)
        verdict_invalid(v, "%llu numbers are missing, but only %llu requests have an unknown end",
                        (unsigned long long)gaps, (unsigned long long)unknown);
    v->checked = n;
    free(numbers);
    verdict_close(v);
}

const struct workload workload_sequence = {"sequence",
                                           "requests repeated under one Idempotency-Key take effect once",
                                           sequence_next,
                                           sequence_perform,
                                           sequence_check,
                                           NULL,
                                           NULL};
