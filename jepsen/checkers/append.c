#include "append.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "append_graph.h"
#include "numbering.h"

static const char *const names[APPEND_ANOMALY_NR] = {
    "internal",     "future-read",        "duplicate-elements",     "garbage-read",    "G1a",
    "G1b",          "incompatible-order", "dirty-update",           "lost-update",     "G0",
    "G1c",          "G-single",           "G-nonadjacent",          "G2-item",         "G0-process",
    "G1c-process",  "G-single-process",   "G-nonadjacent-process",  "G2-item-process", "G0-realtime",
    "G1c-realtime", "G-single-realtime",  "G-nonadjacent-realtime", "G2-item-realtime"};

const char *append_anomaly_name(enum append_anomaly anomaly)
{
    return names[anomaly];
}

void report_add(struct append_report *r, unsigned anomaly, const char *format, ...)
{
    if ((r->found >> anomaly & 1) != 0)
        return;
    r->found |= 1u << anomaly;
    va_list args;
    va_start(args, format);
    vsnprintf(r->why[anomaly], sizeof r->why[anomaly], format, args);
    va_end(args);
}

static void *room(size_t n, size_t size)
{
    void *p = calloc(n + 1, size);
    assert(p != NULL);
    return p;
}

static bool is_append(const json_t *step)
{
    return strcmp(json_string_value(json_array_get(step, 0)), "append") == 0;
}

static const json_t *list_of(const json_t *step)
{
    return json_array_get(step, 2);
}

static json_int_t at(const json_t *list, size_t i)
{
    return json_integer_value(json_array_get(list, i));
}

static unsigned long long event(const struct txn *t)
{
    return (unsigned long long)t->invoke->index;
}

/* Gathering
 * ------------------------------------------------------------------------------------------------------- */

static bool known_shape(const struct txn *t)
{
    size_t i, j;
    json_t *step, *element;
    if (!json_is_array(t->steps))
        return false;
    json_array_foreach((json_t *)t->steps, i, step)
    {
        const char *what = json_string_value(json_array_get(step, 0));
        const json_t *list = json_array_get(step, 2);
        if (what == NULL || json_array_size(step) != 3)
            return false;
        if (strcmp(what, "append") == 0) {
            if (!json_is_integer(list))
                return false;
        } else if (strcmp(what, "r") != 0 || (t->status == OP_OK && !json_is_array(list))) {
            return false;
        }
        if (json_is_array(list))
            json_array_foreach((json_t *)list, j, element) if (!json_is_integer(element)) return false;
    }
    return true;
}

static int by_key_value(const void *left, const void *right)
{
    const struct appended *a = left, *b = right;
    if (a->key != b->key)
        return a->key < b->key ? -1 : 1;
    return (a->value > b->value) - (a->value < b->value);
}

const struct appended *facts_appender(const struct facts *f, size_t key, int64_t value)
{
    struct appended wanted = {.key = key, .value = value};
    return bsearch(&wanted, f->appends, f->n_appends, sizeof wanted, by_key_value);
}

/* The steps of one transaction into `appends` and, when it is ok, `reads`. */
static void gather_steps(struct facts *f, uint32_t txn, struct numbering *keys)
{
    size_t i;
    json_t *step;
    size_t first_append = f->n_appends;
    size_t seen[64], n_seen = 0;
    json_array_foreach((json_t *)f->txns[txn].steps, i, step)
    {
        size_t key = numbering_add(keys, json_array_get(step, 1));
        bool first = true;
        for (size_t j = 0; j < n_seen; j++)
            first = first && seen[j] != key;
        if (first && n_seen < 64)
            seen[n_seen++] = key;
        if (is_append(step)) {
            for (size_t j = first_append; j < f->n_appends; j++)
                f->appends[j].last = f->appends[j].last && f->appends[j].key != key;
            f->appends[f->n_appends++] = (struct appended){key, json_integer_value(list_of(step)), txn, true};
        } else if (f->txns[txn].status == OP_OK) {
            f->reads[f->n_reads++] = (struct list_read){key, list_of(step), txn, first};
        }
    }
}

static int gather(const struct history *h, struct facts *f, char *err, size_t err_size)
{
    size_t *pair = room(h->n, sizeof *pair), steps = 0;
    struct numbering keys;
    int rv = history_pairs(h, pair);
    assert(rv == 0);
    numbering_init(&keys);
    f->txns = room(h->n, sizeof *f->txns);
    for (size_t i = 0; i < h->n && rv == 0; i++) {
        if (h->ops[i].process == PROCESS_NEMESIS || h->ops[i].type != OP_INVOKE ||
            strcmp(h->ops[i].f, "txn") != 0)
            continue;
        struct txn *t = &f->txns[f->n++];
        t->invoke = &h->ops[i];
        t->done = pair[i] == HISTORY_NONE ? NULL : &h->ops[pair[i]];
        t->status = t->done == NULL ? OP_INFO : t->done->type;
        t->steps = t->status == OP_OK ? t->done->value : t->invoke->value;
        steps += json_array_size(t->steps);
        if (!known_shape(t)) {
            snprintf(err, err_size, "event %zu is no transaction of appends and reads", i);
            rv = -1;
        }
    }
    f->appends = room(steps, sizeof *f->appends);
    f->reads = room(steps, sizeof *f->reads);
    for (uint32_t i = 0; rv == 0 && i < f->n; i++)
        gather_steps(f, i, &keys);
    qsort(f->appends, f->n_appends, sizeof *f->appends, by_key_value);
    for (size_t i = 1; rv == 0 && i < f->n_appends; i++)
        if (by_key_value(&f->appends[i - 1], &f->appends[i]) == 0) {
            snprintf(err, err_size, "%lld is appended twice to one key: the generator's fault",
                     (long long)f->appends[i].value);
            rv = -1;
        }
    f->keys = numbering_n(&keys);
    f->longest = room(f->keys, sizeof *f->longest);
    numbering_close(&keys);
    free(pair);
    return rv;
}

static void facts_close(struct facts *f)
{
    free(f->txns);
    free(f->appends);
    free(f->reads);
    free(f->longest);
}

/* Facts of one transaction, of one read, of one list
 * ------------------------------------------------------------- */

/* Replays the transaction's steps on one key before step `at_step`: what must a read there end with? */
static bool fits_own_steps(const json_t *steps, size_t at_step)
{
    const json_t *read = json_array_get(steps, at_step), *key = json_array_get(read, 1),
                 *list = list_of(read);
    const json_t *base = NULL;
    size_t own = 0, n = json_array_size(list), i, from = 0;
    for (i = 0; i < at_step; i++) {
        const json_t *step = json_array_get(steps, i);
        if (!json_equal((json_t *)json_array_get(step, 1), (json_t *)key))
            continue;
        if (!is_append(step)) {
            base = list_of(step);
            from = i + 1;
            own = 0;
        } else {
            own++;
        }
    }
    size_t known = base == NULL ? 0 : json_array_size(base);
    if (base == NULL ? n < own : n != known + own)
        return false;
    for (i = 0; i < known; i++)
        if (at(base, i) != at(list, i))
            return false;
    size_t place = n - own;
    for (i = from; i < at_step; i++) {
        const json_t *step = json_array_get(steps, i);
        if (is_append(step) && json_equal((json_t *)json_array_get(step, 1), (json_t *)key) &&
            json_integer_value(list_of(step)) != at(list, place++))
            return false;
    }
    return true;
}

static void check_own_steps(const struct txn *t, struct append_report *report)
{
    size_t i, j, k;
    json_t *step, *later;
    json_array_foreach((json_t *)t->steps, i, step)
    {
        if (is_append(step))
            continue;
        if (!fits_own_steps(t->steps, i))
            report_add(report, APPEND_INTERNAL,
                       "transaction #%llu: its step %zu contradicts its earlier ones", event(t), i);
        json_array_foreach((json_t *)t->steps, j, later)
        {
            if (j <= i || !is_append(later) || !json_equal(json_array_get(step, 1), json_array_get(later, 1)))
                continue;
            for (k = 0; k < json_array_size(list_of(step)); k++)
                if (at(list_of(step), k) == json_integer_value(list_of(later)))
                    report_add(report, APPEND_FUTURE, "transaction #%llu reads %lld before it appends it",
                               event(t), (long long)at(list_of(step), k));
        }
    }
}

static int by_number(const void *left, const void *right)
{
    json_int_t a = *(const json_int_t *)left, b = *(const json_int_t *)right;
    return (a > b) - (a < b);
}

static void check_read(const struct facts *f, const struct list_read *r, struct append_report *report)
{
    const struct txn *t = &f->txns[r->txn];
    size_t n = json_array_size(r->list);
    json_int_t *sorted = room(n, sizeof *sorted);
    for (size_t i = 0; i < n; i++) {
        json_int_t value = sorted[i] = at(r->list, i);
        const struct appended *a = facts_appender(f, r->key, value);
        if (a == NULL)
            report_add(report, APPEND_GARBAGE, "transaction #%llu reads %lld, which nobody appended",
                       event(t), (long long)value);
        else if (f->txns[a->txn].status == OP_FAIL)
            report_add(report, APPEND_G1A, "transaction #%llu reads %lld of #%llu, which failed", event(t),
                       (long long)value, event(&f->txns[a->txn]));
        else if (i == n - 1 && a->txn != r->txn && !a->last)
            report_add(report, APPEND_G1B,
                       "transaction #%llu reads a list that ends with %lld, in the middle of #%llu", event(t),
                       (long long)value, event(&f->txns[a->txn]));
    }
    qsort(sorted, n, sizeof *sorted, by_number);
    for (size_t i = 1; i < n; i++)
        if (sorted[i] == sorted[i - 1])
            report_add(report, APPEND_DUPLICATE, "transaction #%llu reads %lld twice in one list", event(t),
                       (long long)sorted[i]);
    free(sorted);
}

static void check_order(const struct facts *f, const struct list_read *r, struct append_report *report)
{
    const json_t *longest = f->longest[r->key];
    for (size_t i = 0; i < json_array_size(r->list); i++)
        if (at(r->list, i) != at(longest, i)) {
            report_add(report, APPEND_INCOMPATIBLE,
                       "transaction #%llu reads %lld where a longer read of the list has %lld (position %zu)",
                       event(&f->txns[r->txn]), (long long)at(r->list, i), (long long)at(longest, i), i);
            return;
        }
}

static void check_dirty(const struct facts *f, size_t key, struct append_report *report)
{
    const struct appended *failed = NULL;
    for (size_t i = 0; i < json_array_size(f->longest[key]); i++) {
        const struct appended *a = facts_appender(f, key, at(f->longest[key], i));
        if (a == NULL)
            continue;
        if (f->txns[a->txn].status == OP_FAIL)
            failed = a;
        else if (failed != NULL && f->txns[a->txn].status == OP_OK)
            report_add(report, APPEND_DIRTY_UPDATE, "#%llu appended %lld upon %lld of #%llu, which failed",
                       event(&f->txns[a->txn]), (long long)a->value, (long long)failed->value,
                       event(&f->txns[failed->txn]));
    }
}

static int by_version(const void *left, const void *right)
{
    const struct list_read *a = left, *b = right;
    if (a->key != b->key)
        return a->key < b->key ? -1 : 1;
    size_t m = json_array_size(a->list), n = json_array_size(b->list);
    if (m != n)
        return m < n ? -1 : 1;
    json_int_t x = at(a->list, m - 1), y = at(b->list, n - 1);
    if (x != y)
        return x < y ? -1 : 1;
    return (a->txn > b->txn) - (a->txn < b->txn);
}

static bool appends_to(const struct facts *f, const struct list_read *r, const json_t *key)
{
    size_t i;
    json_t *step;
    json_array_foreach((json_t *)f->txns[r->txn].steps, i,
                       step) if (is_append(step) &&
                                 json_equal(json_array_get(step, 1), (json_t *)key)) return true;
    return false;
}

/* The key of a read as the history spells it. */
static const json_t *key_of(const struct facts *f, const struct list_read *r)
{
    size_t i;
    json_t *step;
    json_array_foreach((json_t *)f->txns[r->txn].steps, i,
                       step) if (list_of(step) == r->list) return json_array_get(step, 1);
    return NULL;
}

static void check_lost_updates(const struct facts *f, struct append_report *report)
{
    const struct list_read *before = NULL;
    qsort(f->reads, f->n_reads, sizeof *f->reads, by_version);
    for (size_t i = 0; i < f->n_reads; i++) {
        const struct list_read *r = &f->reads[i];
        if (!r->first || !appends_to(f, r, key_of(f, r)))
            continue;
        size_t n = json_array_size(r->list);
        if (before != NULL && before->txn != r->txn && before->key == r->key &&
            json_array_size(before->list) == n && (n == 0 || at(before->list, n - 1) == at(r->list, n - 1)))
            report_add(report, APPEND_LOST_UPDATE,
                       "#%llu and #%llu read the same version of %zu elements and both appended",
                       event(&f->txns[before->txn]), event(&f->txns[r->txn]), n);
        before = r;
    }
}

int append_analyse(const struct history *h, struct append_report *report, char *err, size_t err_size)
{
    struct facts f = {0};
    *report = (struct append_report){0};
    int rv = gather(h, &f, err, err_size);
    if (rv == 0) {
        for (uint32_t i = 0; i < f.n; i++)
            if (f.txns[i].status == OP_OK)
                check_own_steps(&f.txns[i], report);
        for (size_t i = 0; i < f.n_reads; i++) {
            const struct list_read *r = &f.reads[i];
            check_read(&f, r, report);
            if (f.longest[r->key] == NULL || json_array_size(r->list) > json_array_size(f.longest[r->key]))
                f.longest[r->key] = r->list;
        }
        for (size_t i = 0; i < f.n_reads; i++)
            check_order(&f, &f.reads[i], report);
        for (size_t key = 0; key < f.keys; key++)
            check_dirty(&f, key, report);
        check_lost_updates(&f, report);
        report->transactions = f.n;
        rv = graph_analyse(&f, report, err, err_size);
    }
    facts_close(&f);
    return rv;
}

bool append_forbidden(enum append_model model, const struct append_report *report, enum append_anomaly *first)
{
    static const unsigned last_cycle[] = {[APPEND_READ_COMMITTED] = APPEND_G1C,
                                          [APPEND_SNAPSHOT_ISOLATION] = APPEND_G_NONADJACENT,
                                          [APPEND_SERIALIZABLE] = APPEND_G2_ITEM,
                                          [APPEND_STRICT] = APPEND_ANOMALY_NR - 1};
    for (unsigned i = 0; i <= last_cycle[model]; i++)
        if ((report->found >> i & 1) != 0 && !(i == APPEND_LOST_UPDATE && model == APPEND_READ_COMMITTED)) {
            *first = (enum append_anomaly)i;
            return true;
        }
    return false;
}

void check_append(const struct history *h, enum append_model model, struct verdict *v)
{
    struct append_report *report = room(1, sizeof *report);
    enum append_anomaly first;
    char err[200];
    verdict_init(v);
    int rv = append_analyse(h, report, err, sizeof err);
    if (append_forbidden(model, report, &first))
        verdict_invalid(v, "%s: %s", names[first], report->why[first]);
    else if (rv != 0)
        verdict_malformed(v, "%s", err);
    else if (report->edges == 0)
        verdict_unknown(v, 1, "no transaction depends on another: nothing was tested");
    else
        v->checked = 1;
    verdict_close(v);
    free(report);
}
