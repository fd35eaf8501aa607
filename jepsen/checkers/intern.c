#include "intern.h"

#include <stdlib.h>
#include <string.h>

#define UNSET (UINT32_MAX - 2)

static int compare_ops(const struct model_op *a, const struct model_op *b)
{
    int64_t left[] = {a->kind, a->unknown, a->in[0], a->in[1], a->out[0], a->out[1]};
    int64_t right[] = {b->kind, b->unknown, b->in[0], b->in[1], b->out[0], b->out[1]};
    for (size_t i = 0; i < sizeof left / sizeof left[0]; i++)
        if (left[i] != right[i])
            return left[i] < right[i] ? -1 : 1;
    return 0;
}

struct classed {
    const struct model_op *op;
    uint32_t index;
};

static int by_op(const void *left, const void *right)
{
    return compare_ops(((const struct classed *)left)->op, ((const struct classed *)right)->op);
}

static int number_classes(struct intern *in)
{
    uint32_t n = in->part->n;
    struct classed *sorted = malloc((n + 1) * sizeof *sorted);
    if (sorted == NULL)
        return -1;
    for (uint32_t i = 0; i < n; i++)
        sorted[i] = (struct classed){&in->part->ops[i].op, i};
    qsort(sorted, n, sizeof *sorted, by_op);
    for (uint32_t i = 0; i < n; i++) {
        if (i == 0 || compare_ops(sorted[i - 1].op, sorted[i].op) != 0)
            in->classes++;
        in->class_of[sorted[i].index] = in->classes - 1;
    }
    free(sorted);
    return 0;
}

static uint32_t state_slot(const struct intern *in, const struct model_state *state)
{
    uint64_t hash = ((uint64_t)state->a * 0x9E3779B97F4A7C15u) ^ ((uint64_t)state->b * 0xC2B2AE3D27D4EB4Fu);
    uint32_t at = (uint32_t)(hash >> 32 ^ hash) & in->mask;
    for (; in->slots[at] != 0; at = (at + 1) & in->mask) {
        const struct model_state *other = &in->states[in->slots[at] - 1];
        if (other->a == state->a && other->b == state->b)
            break;
    }
    return at;
}

static int grow(struct intern *in)
{
    uint32_t capacity = in->capacity == 0 ? 64 : 2 * in->capacity;
    struct model_state *states = realloc(in->states, capacity * sizeof *states);
    if (states == NULL)
        return -1;
    in->states = states;
    uint32_t *slots = calloc(4 * (size_t)capacity, sizeof *slots);
    if (slots == NULL)
        return -1;
    free(in->slots);
    in->slots = slots;
    in->mask = 4 * capacity - 1;
    in->capacity = capacity;
    for (uint32_t i = 0; i < in->n; i++)
        in->slots[state_slot(in, &in->states[i])] = i + 1;
    return 0;
}

static uint32_t intern_state(struct intern *in, const struct model_state *state)
{
    uint32_t at = in->capacity == 0 ? 0 : state_slot(in, state);
    if (in->capacity != 0 && in->slots[at] != 0)
        return in->slots[at] - 1;
    if (in->n == in->capacity) {
        if (grow(in) != 0)
            return INTERN_NOMEM;
        at = state_slot(in, state);
    }
    in->states[in->n] = *state;
    in->slots[at] = ++in->n;
    return in->n - 1;
}

int intern_init(struct intern *in, const struct model *model, const struct lin_part *part)
{
    *in = (struct intern){.model = model, .part = part};
    in->class_of = calloc(part->n + 1, sizeof *in->class_of);
    in->rows = calloc(INTERN_ROW_STATES, sizeof *in->rows);
    if (in->class_of == NULL || in->rows == NULL || number_classes(in) != 0)
        return -1;
    return intern_state(in, &model->initial) == 0 ? 0 : -1;
}

void intern_close(struct intern *in)
{
    for (size_t i = 0; in->rows != NULL && i < INTERN_ROW_STATES; i++)
        free(in->rows[i]);
    free(in->rows);
    free(in->class_of);
    free(in->slots);
    free(in->states);
    *in = (struct intern){0};
}

uint32_t intern_step(struct intern *in, uint32_t state, uint32_t op)
{
    uint32_t *row = NULL;
    if (state < INTERN_ROW_STATES && in->classes <= INTERN_ROW_CLASSES) {
        row = in->rows[state];
        if (row == NULL) {
            row = in->rows[state] = malloc(in->classes * sizeof *row);
            for (uint32_t i = 0; row != NULL && i < in->classes; i++)
                row[i] = UNSET;
        }
        if (row != NULL && row[in->class_of[op]] != UNSET)
            return row[in->class_of[op]];
    }
    struct model_state next = in->states[state];
    uint32_t number =
        in->model->step(&next, &in->part->ops[op].op) ? intern_state(in, &next) : INTERN_REFUSED;
    if (row != NULL && number != INTERN_NOMEM)
        row[in->class_of[op]] = number;
    return number;
}
