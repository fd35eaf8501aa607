/* Just-in-time linearization: read the events once, keeping every configuration (state, open operations that
 * took effect already) that can explain them so far.  A call changes nothing; at a return, each configuration
 * in which the operation has not taken effect is replaced by all it can become by letting open operations
 * take effect, that one last.  No configuration left: invalid, exactly here.
 *
 * Written without a line of wgl.c, states by value, so that the two can be compared.  Source: Lowe (2017),
 * section 4. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lin.h"

#define OPEN_MAX 64
#define FREE     UINT32_MAX

struct config {
    struct model_state state;
    uint64_t effective; /* bit per slot */
};

struct config_set {
    struct config *items;
    size_t n, capacity;
    uint32_t *slots; /* hash -> item + 1 */
    size_t mask;
};

struct jit {
    const struct model *model;
    const struct lin_part *part;
    struct lin_limit limit;
    uint32_t open[OPEN_MAX]; /* slot -> operation */
    struct config_set now, next, seen;
    struct model_state last;
    uint64_t steps;
    const char *why;
};

static uint64_t config_hash(const struct config *c)
{
    uint64_t h = (uint64_t)c->state.a * 0xff51afd7ed558ccdu;
    h = (h ^ h >> 33 ^ (uint64_t)c->state.b) * 0xc4ceb9fe1a85ec53u;
    h = (h ^ h >> 33 ^ c->effective) * 0xff51afd7ed558ccdu;
    return h ^ h >> 29;
}

static void set_clear(struct config_set *set)
{
    set->n = 0;
    if (set->slots != NULL)
        memset(set->slots, 0, (set->mask + 1) * sizeof *set->slots);
}

static int set_grow(struct config_set *set, uint64_t bytes_max)
{
    size_t capacity = set->capacity == 0 ? 32 : 2 * set->capacity;
    if (capacity * (sizeof *set->items + 2 * sizeof *set->slots) > bytes_max / 3)
        return -1;
    struct config *items = realloc(set->items, capacity * sizeof *items);
    if (items == NULL)
        return -1;
    set->items = items;
    uint32_t *slots = calloc(2 * capacity, sizeof *slots);
    if (slots == NULL)
        return -1;
    free(set->slots);
    set->slots = slots;
    set->mask = 2 * capacity - 1;
    set->capacity = capacity;
    for (size_t i = 0; i < set->n; i++) {
        size_t at = config_hash(&set->items[i]) & set->mask;
        while (slots[at] != 0)
            at = (at + 1) & set->mask;
        slots[at] = (uint32_t)i + 1;
    }
    return 0;
}

/* 0: it is in the set now; -1: over the budget. */
static int set_add(struct config_set *set, const struct config *c, uint64_t bytes_max)
{
    if (set->n == set->capacity && set_grow(set, bytes_max) != 0)
        return -1;
    size_t at = config_hash(c) & set->mask;
    for (; set->slots[at] != 0; at = (at + 1) & set->mask) {
        const struct config *other = &set->items[set->slots[at] - 1];
        if (other->state.a == c->state.a && other->state.b == c->state.b && other->effective == c->effective)
            return 0;
    }
    set->items[set->n++] = *c;
    set->slots[at] = (uint32_t)set->n;
    return 0;
}

static void set_close(struct config_set *set)
{
    free(set->items);
    free(set->slots);
}

/* Moves every configuration past the return of the operation in `slot`. */
static int pass_return(struct jit *j, unsigned slot)
{
    uint64_t mine = 1ull << slot;
    set_clear(&j->next);
    set_clear(&j->seen);
    for (size_t i = 0; i < j->now.n; i++)
        if (set_add(&j->seen, &j->now.items[i], j->limit.bytes) != 0)
            return -1;
    for (size_t i = 0; i < j->seen.n; i++) { /* grows while it is walked */
        struct config c = j->seen.items[i];
        if ((c.effective & mine) != 0) {
#ifndef JEPSEN_BREAK_JIT /* a planted fault: a slot is handed on with the mark of its former operation */
            c.effective &= ~mine;
#endif
            if (set_add(&j->next, &c, j->limit.bytes) != 0)
                return -1;
            continue;
        }
        if (++j->steps % 1024 == 0 && lin_limit_late(&j->limit))
            return -1;
        for (unsigned other = 0; other < OPEN_MAX; other++) {
            struct config after = c;
            if (j->open[other] == FREE || (c.effective >> other & 1) != 0 ||
                !j->model->step(&after.state, &j->part->ops[j->open[other]].op))
                continue;
            after.effective |= 1ull << other;
            if (set_add(&j->seen, &after, j->limit.bytes) != 0)
                return -1;
        }
    }
    struct config_set swap = j->now;
    j->now = j->next;
    j->next = swap;
    return 0;
}

struct moment {
    uint32_t rank, op;
    bool is_return;
};

static int by_rank(const void *left, const void *right)
{
    uint32_t a = ((const struct moment *)left)->rank, b = ((const struct moment *)right)->rank;
    return (a > b) - (a < b);
}

static enum verdict_valid walk(struct jit *j, const struct moment *moments, size_t n, struct lin_stuck *stuck)
{
    for (size_t i = 0; i < n; i++) {
        unsigned slot = 0;
        while (slot < OPEN_MAX && j->open[slot] != (moments[i].is_return ? moments[i].op : FREE))
            slot++;
        if (slot == OPEN_MAX) {
            assert(!moments[i].is_return);
            j->why = "more than 64 operations open at once";
            return UNKNOWN;
        }
        if (!moments[i].is_return) {
            j->open[slot] = moments[i].op;
            continue;
        }
        struct model_state before = j->now.items[0].state;
        if (pass_return(j, slot) != 0) {
            j->why = "over the budget";
            return UNKNOWN;
        }
        j->open[slot] = FREE;
        if (j->now.n == 0) {
            *stuck = (struct lin_stuck){.at = moments[i].op, .before = LIN_NEVER, .state = before};
            return INVALID;
        }
    }
    return VALID;
}

enum verdict_valid jit_check(const struct model *model, const struct lin_part *part,
                             const struct lin_budget *budget, struct lin_stuck *stuck, const char **why)
{
    struct jit *j = calloc(1, sizeof *j);
    struct moment *moments = malloc((2 * (size_t)part->n + 1) * sizeof *moments);
    enum verdict_valid valid = UNKNOWN;
    *why = "out of memory";
    if (j != NULL && moments != NULL) {
        *j = (struct jit){.model = model, .part = part, .limit = lin_limit(budget), .why = *why};
        size_t n = 0;
        for (uint32_t i = 0; i < part->n; i++) {
            moments[n++] = (struct moment){part->ops[i].call, i, false};
            if (part->ops[i].ret != LIN_NEVER)
                moments[n++] = (struct moment){part->ops[i].ret, i, true};
        }
        qsort(moments, n, sizeof *moments, by_rank);
        for (unsigned slot = 0; slot < OPEN_MAX; slot++)
            j->open[slot] = FREE;
        struct config start = {.state = model->initial};
        if (set_add(&j->now, &start, j->limit.bytes) == 0)
            valid = walk(j, moments, n, stuck);
        *why = j->why;
        set_close(&j->now);
        set_close(&j->next);
        set_close(&j->seen);
    }
    free(moments);
    free(j);
    return valid;
}
