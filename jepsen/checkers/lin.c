#include "lin.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LIN_MS_DEFAULT     60000
#define LIN_BYTES_DEFAULT  (1ull << 30)
#define LIN_MINIMISE_MAX   400 /* operations; each is tried alone, so the effort is quadratic */
#define LIN_CANDIDATES_MAX 3   /* operations a finding names */

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

struct lin_limit lin_limit(const struct lin_budget *budget)
{
    uint64_t ms = budget != NULL && budget->ms != 0 ? budget->ms : LIN_MS_DEFAULT;
    uint64_t bytes = budget != NULL && budget->bytes != 0 ? budget->bytes : LIN_BYTES_DEFAULT;
    return (struct lin_limit){now_ns() + ms * 1000000u, bytes};
}

bool lin_limit_late(const struct lin_limit *limit)
{
    return now_ns() > limit->deadline_ns;
}

/* Splitting
 * ------------------------------------------------------------------------------------------------------- */

/* An operation on its way into a part. */
struct keyed {
    char *text;     /* the key as JSON when it is no integer, else NULL */
    int64_t number; /* the key when it is one */
    struct lin_op op;
};

static int by_key(const void *left, const void *right)
{
    const struct keyed *a = left, *b = right;
    if (a->text != NULL && b->text != NULL)
        return strcmp(a->text, b->text);
    assert(a->text == NULL && b->text == NULL); /* keys have one type: the validator's rule 9 */
    return (a->number > b->number) - (a->number < b->number);
}

static int by_key_and_call(const void *left, const void *right)
{
    int order = by_key(left, right);
    if (order != 0)
        return order;
    const struct keyed *a = left, *b = right;
    return (a->op.invoke > b->op.invoke) - (a->op.invoke < b->op.invoke);
}

/* A call or a return of operation `op` of a part, to be ranked. */
struct moment {
    uint64_t time_ns;
    size_t index;
    uint32_t op;
    bool is_return;
};

static int by_time(const void *left, const void *right)
{
    const struct moment *a = left, *b = right;
    if (a->time_ns != b->time_ns)
        return a->time_ns < b->time_ns ? -1 : 1;
    if (a->is_return != b->is_return)
        return a->is_return ? 1 : -1;
    return (a->index > b->index) - (a->index < b->index);
}

static int by_number(const void *left, const void *right)
{
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

/* Drops optional writes whose value no operation found: whoever follows them cannot tell that they happened.
 */
static uint32_t drop_unobserved(const struct model *model, struct lin_op *ops, uint32_t n, int64_t *seen)
{
    uint32_t n_seen = 0;
    if (model->observed == NULL)
        return n;
    for (uint32_t i = 0; i < n; i++) {
        if (model->asserts(&ops[i].op))
            return n;
        n_seen += model->observed(&ops[i].op, &seen[n_seen]) ? 1 : 0;
    }
    qsort(seen, n_seen, sizeof seen[0], by_number);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        int64_t value;
        if (ops[i].ret == LIN_NEVER && model->written(&ops[i].op, &value) &&
            bsearch(&value, seen, n_seen, sizeof seen[0], by_number) == NULL)
            continue;
        ops[kept++] = ops[i];
    }
    return kept;
}

/* Ranks calls and returns and moves the optional operations to the end, in order of call. */
static int finish_part(const struct history *h, const struct model *model, struct lin_part *part)
{
    struct moment *moments = malloc((2 * (size_t)part->n + 1) * sizeof *moments);
    struct lin_op *sorted = malloc(((size_t)part->n + 1) * sizeof *sorted);
    int64_t *seen = malloc(((size_t)part->n + 1) * sizeof *seen);
    int rv = -1;
    if (moments != NULL && sorted != NULL && seen != NULL) {
        part->n = drop_unobserved(model, part->ops, part->n, seen);
        uint32_t at = 0;
        for (int optional = 0; optional < 2; optional++) {
            for (uint32_t i = 0; i < part->n; i++)
                if ((part->ops[i].ret == LIN_NEVER) == (optional == 1))
                    sorted[at++] = part->ops[i];
            part->required = optional == 0 ? at : part->required;
        }
        memcpy(part->ops, sorted, part->n * sizeof *sorted);
        size_t n = 0;
        for (uint32_t i = 0; i < part->n; i++) {
            const struct lin_op *op = &part->ops[i];
            moments[n++] = (struct moment){h->ops[op->invoke].time_ns, op->invoke, i, false};
            if (op->ret != LIN_NEVER)
                moments[n++] = (struct moment){h->ops[op->done].time_ns, op->done, i, true};
        }
        qsort(moments, n, sizeof *moments, by_time);
        for (size_t rank = 0; rank < n; rank++) {
            struct lin_op *op = &part->ops[moments[rank].op];
            *(moments[rank].is_return ? &op->ret : &op->call) = (uint32_t)rank;
        }
        rv = 0;
    }
    free(moments);
    free(sorted);
    free(seen);
    return rv;
}

/* Decodes every client operation that constrains something.  Returns how many, or -1. */
static ssize_t collect(const struct history *h, const struct model *model, const size_t *pair,
                       struct keyed *out, char *err, size_t err_size)
{
    size_t n = 0;
    for (size_t i = 0; i < h->n; i++) {
        const struct op *invoke = &h->ops[i];
        if (invoke->type != OP_INVOKE || invoke->process == PROCESS_NEMESIS)
            continue;
        const struct op *done = pair[i] == HISTORY_NONE ? NULL : &h->ops[pair[i]];
        struct keyed *to = &out[n];
        *to = (struct keyed){.op = {.invoke = i, .done = pair[i], .ret = LIN_NEVER}};
        switch (model->decode(invoke, done, &to->op.op)) {
        case MODEL_BAD:
            snprintf(err, err_size, "event %zu (%s) is no operation of the model %s", i, invoke->f,
                     model->name);
            return -1;
        case MODEL_DROP:
            continue;
        case MODEL_KEEP:
            break;
        }
        if (done != NULL && done->type != OP_INFO)
            to->op.ret = 0; /* ranked later */
#ifdef JEPSEN_BREAK_OPTIONAL
        else
            continue; /* a planted fault: what may have happened did not */
#endif
        n++;
        if (json_is_integer(invoke->key))
            to->number = json_integer_value(invoke->key);
        else if (invoke->key != NULL && (to->text = json_dumps(invoke->key, JSON_ENCODE_ANY | JSON_COMPACT |
                                                                                JSON_SORT_KEYS)) == NULL) {
            snprintf(err, err_size, "out of memory");
            return -1;
        }
    }
    return (ssize_t)n;
}

static int cut(const struct history *h, const struct model *model, const struct keyed *all, size_t n,
               struct lin_parts *parts)
{
    size_t n_parts = 0;
    for (size_t i = 0; i < n; i++)
        n_parts += i == 0 || by_key(&all[i - 1], &all[i]) != 0 ? 1 : 0;
    parts->parts = calloc(n_parts + 1, sizeof *parts->parts);
    if (parts->parts == NULL)
        return -1;
    for (size_t from = 0, to; from < n; from = to) {
        to = from + 1;
        while (to < n && by_key(&all[from], &all[to]) == 0)
            to++;
        struct lin_part *part = &parts->parts[parts->n++];
        if (to - from >= LIN_NEVER / 4 || (part->ops = malloc((to - from) * sizeof *part->ops)) == NULL)
            return -1;
        part->key = h->ops[all[from].op.invoke].key;
        part->n = (uint32_t)(to - from);
        for (size_t i = from; i < to; i++)
            part->ops[i - from] = all[i].op;
        if (finish_part(h, model, part) != 0)
            return -1;
    }
    return 0;
}

int lin_split(const struct history *h, const struct model *model, struct lin_parts *parts, char *err,
              size_t err_size)
{
    *parts = (struct lin_parts){0};
    size_t *pair = malloc((h->n + 1) * sizeof *pair);
    struct keyed *all = calloc(h->n + 1, sizeof *all);
    ssize_t n = -1;
    snprintf(err, err_size, "out of memory");
    if (pair != NULL && all != NULL && history_pairs(h, pair) == 0)
        n = collect(h, model, pair, all, err, err_size);
    int rv = -1;
    if (n >= 0) {
        qsort(all, (size_t)n, sizeof *all, by_key_and_call);
        rv = cut(h, model, all, (size_t)n, parts);
    }
    for (size_t i = 0; all != NULL && i < h->n; i++)
        free(all[i].text);
    free(all);
    free(pair);
    return rv;
}

void lin_parts_close(struct lin_parts *parts)
{
    for (size_t i = 0; i < parts->n; i++)
        free(parts->parts[i].ops);
    free(parts->parts);
    *parts = (struct lin_parts){0};
}

/* Minimising
 * ------------------------------------------------------------------------------------------------------ */

/* Marks `i` and all that may have read from what is marked.  A part that loses such a set and was
 * linearizable still is, so an invalid rest proves the whole invalid. */
static void mark_with_readers(const struct model *model, const struct lin_part *part, uint32_t i,
                              bool *marked)
{
    memset(marked, 0, part->n * sizeof *marked);
    marked[i] = true;
    for (bool grown = true; grown;) {
        grown = false;
        for (uint32_t w = 0; w < part->n; w++) {
            int64_t value, found;
            if (!marked[w] || !model->written(&part->ops[w].op, &value))
                continue;
            for (uint32_t r = 0; r < part->n; r++)
                if (!marked[r] && model->observed(&part->ops[r].op, &found) && found == value)
                    marked[r] = grown = true;
        }
    }
}

static void copy_without(const struct lin_part *part, const bool *marked, struct lin_part *out)
{
    out->n = out->required = 0;
    for (uint32_t i = 0; i < part->n; i++)
        if (!marked[i]) {
            out->ops[out->n++] = part->ops[i];
            out->required += i < part->required ? 1 : 0;
        }
}

void lin_minimise(const struct model *model, struct lin_part *part)
{
    static const struct lin_budget budget = {.ms = 200, .bytes = 64 << 20};
    if (model->observed == NULL || part->n > LIN_MINIMISE_MAX)
        return;
    for (uint32_t i = 0; i < part->n; i++)
        if (model->asserts(&part->ops[i].op))
            return;
    bool *marked = malloc((part->n + 1) * sizeof *marked);
    struct lin_part trial = {.ops = malloc((part->n + 1) * sizeof *trial.ops)};
    struct lin_limit limit = lin_limit(&(struct lin_budget){.ms = 10000});
    struct lin_stuck stuck;
    const char *why;
    for (uint32_t i = part->n; marked != NULL && trial.ops != NULL && i-- > 0 && !lin_limit_late(&limit);) {
        if (i >= part->n)
            continue;
        mark_with_readers(model, part, i, marked);
        copy_without(part, marked, &trial);
        if (wgl_check(model, &trial, &budget, &stuck, &why) != INVALID)
            continue;
        memcpy(part->ops, trial.ops, trial.n * sizeof *trial.ops);
        part->n = trial.n;
        part->required = trial.required;
    }
    free(marked);
    free(trial.ops);
}

/* Reporting
 * ------------------------------------------------------------------------------------------------------- */

static void append(char *text, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void append(char *text, size_t size, const char *format, ...)
{
    size_t used = strlen(text);
    va_list args;
    va_start(args, format);
    vsnprintf(text + used, size - used, format, args);
    va_end(args);
}

static void append_op(char *text, size_t size, const struct history *h, const struct lin_op *op)
{
    const struct op *last = &h->ops[op->done == HISTORY_NONE ? op->invoke : op->done];
    char *value = json_dumps(last->value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
    append(text, size, "#%zu %s %.60s", op->invoke, last->f, value == NULL ? "null" : value);
    free(value);
}

static void describe(const struct history *h, const struct model *model, struct lin_part *part,
                     const struct lin_stuck *stuck, struct verdict *v)
{
    char text[sizeof v->why] = "";
    char *key =
        part->key == NULL ? NULL : json_dumps(part->key, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
    append(text, sizeof text, "key %.40s is no %s: ", key == NULL ? "-" : key, model->name);
    free(key);
    if (stuck->at != LIN_NEVER) {
        append_op(text, sizeof text, h, &part->ops[stuck->at]);
        append(text, sizeof text, " cannot take effect before it returned; ");
        if (stuck->before != LIN_NEVER) {
            append(text, sizeof text, "last possible: ");
            append_op(text, sizeof text, h, &part->ops[stuck->before]);
            append(text, sizeof text, " (state %lld); ", (long long)stuck->state.a);
        }
    }
    uint32_t before = part->n;
    lin_minimise(model, part);
    if (part->n < before && part->n <= 8) {
        append(text, sizeof text, "impossible by themselves:");
        for (uint32_t i = 0; i < part->n; i++) {
            append(text, sizeof text, i == 0 ? " " : ", ");
            append_op(text, sizeof text, h, &part->ops[i]);
        }
    }
    verdict_invalid(v, "%s", text);
}

static enum verdict_valid judge(const struct model *model, const struct lin_part *part,
                                enum lin_engine engine, const struct lin_budget *budget,
                                struct lin_stuck *stuck, const char **why)
{
    *stuck = (struct lin_stuck){.at = LIN_NEVER, .before = LIN_NEVER};
    switch (engine) {
    case LIN_WGL:
        return wgl_check(model, part, budget, stuck, why);
    case LIN_JIT:
        return jit_check(model, part, budget, stuck, why);
    case LIN_ZONES:
        break;
    }
    return zones_check(model, part, budget, stuck, why);
}

void check_linearizable(const struct history *h, const struct model *model, enum lin_engine engine,
                        bool second, const struct lin_budget *budget, struct verdict *v)
{
    struct lin_parts parts;
    char err[160];
    verdict_init(v);
    if (lin_split(h, model, &parts, err, sizeof err) != 0) {
        verdict_malformed(v, "harness: %s", err);
        lin_parts_close(&parts);
        return;
    }
    for (size_t i = 0; i < parts.n; i++) {
        struct lin_part *part = &parts.parts[i];
        struct lin_stuck stuck;
        const char *why = "";
        enum verdict_valid valid = judge(model, part, engine, budget, &stuck, &why);
        if (second && valid != UNKNOWN) {
            struct lin_stuck ignored;
            enum verdict_valid other =
                judge(model, part, engine == LIN_JIT ? LIN_WGL : LIN_JIT, budget, &ignored, &why);
            if (other != UNKNOWN && other != valid)
                verdict_invalid(v, "part %zu: two engines disagree: a checker is wrong", i);
        }
        if (valid == UNKNOWN) {
            verdict_unknown(v, 1, "%s", why);
            continue;
        }
        v->checked++;
        if (valid == INVALID && v->valid != INVALID)
            describe(h, model, part, &stuck, v);
    }
    lin_parts_close(&parts);
    verdict_close(v);
}
