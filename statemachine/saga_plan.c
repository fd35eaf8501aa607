/* The plan of a saga: its steps and which of them come after which, checked and kept.
 *
 * Without `concurrent` a step comes after the one before it, and nothing is stored.  With it, a step comes
 * after those it names, and each step keeps a row with both its neighbourhoods: actions walk the steps
 * behind, compensations the steps before. */
#include <stdio.h>
#include <stdlib.h>

#include "txn.h"

/* All the steps that all steps name: four for each of the largest saga. */
#define SAGA_EDGES_MAX (4u * ASSENT_BRANCHES_MAX)

static const struct codec_node *steps_of(const struct apply *a)
{
    return codec_at(a->command->args, SAGA_SUBMIT_STEPS);
}

const struct codec_node *saga_plan_before(const struct apply *a, uint32_t i)
{
    return codec_at(codec_at(steps_of(a), i), SAGA_STEP_AFTER);
}

static int parse_step(struct apply *a, struct saga_plan *p, uint32_t i)
{
    const struct codec_node *args = codec_at(steps_of(a), i);
    struct branch_plan *s = &p->steps[i];
    *s = (struct branch_plan){
        .registered_us = a->now_us,
        .forward = SM_OP_ACTION,
        .name = codec_as_bytes(codec_at(args, SAGA_STEP_BRANCH)),
        .payload = codec_as_bytes(codec_at(args, SAGA_STEP_PAYLOAD)),
        .header_map = codec_at(args, SAGA_STEP_HEADERS),
        .timeout_ms = (uint32_t)codec_as_uint(codec_at(args, SAGA_STEP_TIMEOUT_MS)),
    };
    if (s->name.size == 0) {
        snprintf(p->names[i], sizeof(p->names[i]), "%02u", i + 1);
        s->name = bytes_of(p->names[i]);
    }
    s->url[SM_OP_ACTION] = codec_as_bytes(codec_at(args, SAGA_STEP_ACTION_URL));
    s->url[SM_OP_COMPENSATE] = codec_as_bytes(codec_at(args, SAGA_STEP_COMPENSATE_URL));
    s->acknowledge_ms = (uint32_t)codec_as_uint(codec_at(args, SAGA_STEP_ACKNOWLEDGE_MS));
    return branch_plan_check(a, args, SAGA_STEP_OPTIONS, s);
}

/* Every step named exists, none is named by itself; count them. */
static int check_edges(struct apply *a, const struct txn *t, struct saga_plan *p)
{
    for (uint32_t i = 0; i < p->n; i++) {
        const struct codec_node *before = saga_plan_before(a, i);
        p->edges += codec_size(before);
        if (p->edges > SAGA_EDGES_MAX)
            return refuse(a, ASSENT_LIMIT, "after: more than %u in all", SAGA_EDGES_MAX);
        for (uint32_t k = 0; k < codec_size(before); k++) {
            const struct codec_node *n = codec_at(before, k);
            if (codec_kind(n) != CODEC_UINT || codec_as_uint(n) >= p->n)
                return refuse(a, ASSENT_INVALID, "after: the numbers of steps, 0 for the first");
            if (!t->saga.concurrent && codec_as_uint(n) >= i)
                return refuse(a, ASSENT_INVALID, "after: step %u would wait for itself", i);
        }
    }
    return ASSENT_OK;
}

/* Turn "before" around: behind[behind_at[i]..behind_at[i + 1]] are the steps behind step i. */
static void turn_edges(struct apply *a, struct saga_plan *p)
{
    p->behind_at = calloc(p->n + 2, sizeof(uint32_t));
    p->behind = calloc(p->edges, sizeof(uint32_t));
    assert(p->behind_at != NULL && p->behind != NULL);
    for (uint32_t i = 0; i < p->n; i++)
        for (uint32_t k = 0; k < codec_size(saga_plan_before(a, i)); k++)
            p->behind_at[codec_as_uint(codec_at(saga_plan_before(a, i), k)) + 2]++;
    for (uint32_t i = 2; i < p->n + 2; i++)
        p->behind_at[i] += p->behind_at[i - 1];
    for (uint32_t i = 0; i < p->n; i++)
        for (uint32_t k = 0; k < codec_size(saga_plan_before(a, i)); k++) {
            uint64_t before = codec_as_uint(codec_at(saga_plan_before(a, i), k));
            p->behind[p->behind_at[before + 1]++] = i;
        }
}

/* Take away steps that wait for nothing until none is left; what remains waits for itself (Kahn). */
static int check_cycles(struct apply *a, const struct saga_plan *p)
{
    uint32_t *waiting = calloc(p->n, sizeof(uint32_t)), *ready = calloc(p->n, sizeof(uint32_t));
    uint32_t n = 0, done = 0;
    assert(waiting != NULL && ready != NULL);
    for (uint32_t i = 0; i < p->n; i++) {
        waiting[i] = codec_size(saga_plan_before(a, i));
        if (waiting[i] == 0)
            ready[n++] = i;
    }
    for (; n > 0; done++) {
        uint32_t i = ready[--n];
        for (uint32_t k = p->behind_at[i]; k < p->behind_at[i + 1]; k++)
            if (--waiting[p->behind[k]] == 0)
                ready[n++] = p->behind[k];
    }
    free(waiting);
    free(ready);
    if (done < p->n)
        return refuse(a, ASSENT_INVALID, "after: steps wait for each other in a circle");
    return ASSENT_OK;
}

int saga_plan_parse(struct apply *a, struct txn *t, struct saga_plan *p)
{
    *p = (struct saga_plan){.n = codec_size(steps_of(a))};
    if (p->n == 0)
        return ASSENT_OK;
    if (p->n > ASSENT_BRANCHES_MAX)
        return refuse(a, ASSENT_LIMIT, "more than %d steps", ASSENT_BRANCHES_MAX);
    p->steps = calloc(p->n, sizeof(*p->steps));
    p->names = calloc(p->n, sizeof(*p->names));
    assert(p->steps != NULL && p->names != NULL);
    int rv = ASSENT_OK;
    for (uint32_t i = 0; i < p->n && rv == ASSENT_OK; i++)
        rv = parse_step(a, p, i);
    if (rv == ASSENT_OK)
        rv = txn_names_check(a, p->steps, p->n);
    if (rv == ASSENT_OK)
        rv = check_edges(a, t, p);
    t->saga.edges = t->saga.concurrent && p->edges > 0;
    if (rv != ASSENT_OK || !t->saga.edges)
        return rv;
    turn_edges(a, p);
    return check_cycles(a, p);
}

bool saga_plan_asynchronous(const struct saga_plan *p)
{
    for (uint32_t i = 0; i < p->n; i++)
        if (p->steps[i].acknowledge_ms > 0)
            return true;
    return false;
}

void saga_plan_close(struct saga_plan *p)
{
    free(p->steps);
    free(p->names);
    free(p->behind_at);
    free(p->behind);
}

void saga_edges_put(struct apply *a, struct assent_bytes xid, const struct saga_plan *p)
{
    for (uint32_t i = 0; i < p->n; i++) {
        const struct codec_node *before = saga_plan_before(a, i);
        uint32_t n_before = codec_size(before), n_behind = p->behind_at[i + 1] - p->behind_at[i];
        size_t room = 4 * (2 + (size_t)n_before + n_behind);
        struct row_writer w = {malloc(room), 0, room};
        assert(w.base != NULL);
        row_put_u32(&w, n_before);
        for (uint32_t k = 0; k < n_before; k++)
            row_put_u32(&w, (uint32_t)codec_as_uint(codec_at(before, k)));
        row_put_u32(&w, n_behind);
        for (uint32_t k = p->behind_at[i]; k < p->behind_at[i + 1]; k++)
            row_put_u32(&w, p->behind[k]);
        struct store_key key = branch_edges_key(xid, i);
        store_put(a->txn, STORE_BRANCHES, key_bytes(&key), row_written(&w));
        free(w.base);
    }
}

uint32_t *saga_edges(struct store_txn *store, struct assent_bytes xid, uint32_t ordinal, bool behind,
                     uint32_t *n)
{
    struct store_key key = branch_edges_key(xid, ordinal);
    struct assent_bytes r;
    bool there = store_get(store, STORE_BRANCHES, key_bytes(&key), &r);
    assert(there);
    *n = row_take_u32(&r);
    if (behind) {
        row_take(&r, 4 * (size_t)*n);
        *n = row_take_u32(&r);
    }
    uint32_t *list = malloc(*n > 0 ? *n * sizeof(*list) : 1);
    assert(list != NULL);
    for (uint32_t i = 0; i < *n; i++)
        list[i] = row_take_u32(&r);
    return list;
}

bool saga_edges_same(struct apply *a, struct assent_bytes xid, const struct saga_plan *p)
{
    for (uint32_t i = 0; i < p->n; i++) {
        const struct codec_node *before = saga_plan_before(a, i);
        uint32_t n;
        uint32_t *there = saga_edges(a->txn, xid, i, false, &n);
        bool same = n == codec_size(before);
        for (uint32_t k = 0; k < n && same; k++)
            same = there[k] == codec_as_uint(codec_at(before, k));
        free(there);
        if (!same)
            return false;
    }
    return true;
}
