/* Sets, unique values, timestamps, banks and streams: what clients saw, in one pass or one sort. */
#include "linear.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "numbering.h"

#define NEVER UINT64_MAX

static bool is_f(const struct op *op, const char *f)
{
    return op->process != PROCESS_NEMESIS && strcmp(op->f, f) == 0;
}

static void *room(size_t n, size_t size)
{
    void *p = calloc(n + 1, size);
    assert(p != NULL);
    return p;
}

static size_t *pairs_of(const struct history *h)
{
    size_t *pair = room(h->n, sizeof *pair);
    int rv = history_pairs(h, pair);
    assert(rv == 0);
    (void)rv;
    return pair;
}

static void odd_shape(struct verdict *v, const struct op *op)
{
    verdict_malformed(v, "harness: event %llu: a value this checker does not know",
                      (unsigned long long)op->index);
}

/* Sets
 * ------------------------------------------------------------------------------------------------------------
 */

struct element {
    uint64_t tried, known,
        seen;        /* times: first add begun, first known, begin of the latest read that saw it */
    uint64_t missed; /* begin of the latest read that missed it after it was known */
    bool looked;     /* some read began after it was known */
    bool failed;     /* its only add failed */
    size_t in_read;  /* the read that was last seen to hold it, +1 */
};

static void set_adds(const struct history *h, const size_t *pair, struct numbering *nb,
                     struct element *elements)
{
    for (size_t i = 0; i < h->n; i++) {
        if (!is_f(&h->ops[i], "add") || h->ops[i].type != OP_INVOKE)
            continue;
        struct element *e = &elements[numbering_add(nb, h->ops[i].value)];
        const struct op *done = pair[i] == HISTORY_NONE ? NULL : &h->ops[pair[i]];
        bool failed = done != NULL && done->type == OP_FAIL;
        e->failed = e->tried == NEVER ? failed : e->failed && failed;
        e->tried = h->ops[i].time_ns < e->tried ? h->ops[i].time_ns : e->tried;
        if (done != NULL && done->type == OP_OK && done->time_ns < e->known)
            e->known = done->time_ns;
    }
}

/* What one read saw. */
static void set_saw(const struct op *done, size_t read, const struct numbering *nb, struct element *elements,
                    struct verdict *v)
{
    size_t i;
    json_t *value;
    char name[64];
    json_array_foreach(done->value, i, value)
    {
        size_t number = numbering_find(nb, value);
        struct element *e = number == SIZE_MAX ? NULL : &elements[number];
        if (e == NULL || e->tried > done->time_ns || e->failed) {
            verdict_invalid(v, "element %s was read at #%llu, but %s", json_brief(value, name, sizeof name),
                            (unsigned long long)done->index,
                            e == NULL   ? "nobody added it"
                            : e->failed ? "its add failed"
                                        : "it was added later");
            continue;
        }
        if (e->in_read == read + 1)
            verdict_invalid(v, "element %s is twice in the read #%llu", json_brief(value, name, sizeof name),
                            (unsigned long long)done->index);
        e->in_read = read + 1;
        e->known = done->time_ns < e->known ? done->time_ns : e->known;
    }
}

/* Needs to know when every element was known, hence a second walk. */
static void set_missed(const struct op *done, const struct op *invoke, size_t read,
                       const struct numbering *nb, struct element *elements, size_t n)
{
    size_t i;
    json_t *value;
    json_array_foreach(done->value, i, value)
    {
        size_t number = numbering_find(nb, value);
        if (number != SIZE_MAX)
            elements[number].in_read = read + 1;
    }
    for (size_t e = 0; e < n; e++) {
        bool after = elements[e].known < invoke->time_ns;
        elements[e].looked = elements[e].looked || after;
        uint64_t *latest = elements[e].in_read == read + 1 ? &elements[e].seen
                           : after                         ? &elements[e].missed
                                                           : NULL;
        if (latest != NULL && (*latest == NEVER || invoke->time_ns > *latest))
            *latest = invoke->time_ns;
    }
}

static void set_judge(const struct numbering *nb, const struct element *elements, bool linearizable,
                      struct verdict *v)
{
    const char *text;
    json_t *number;
    json_object_foreach(nb->numbers, text, number)
    {
        const struct element *e = &elements[json_integer_value(number)];
        if (e->known == NEVER) {
            continue; /* nobody can say whether it exists */
        }
        if (!e->looked) {
            verdict_unknown(v, 1, "element %s: no read began after it was known", text);
            continue;
        }
        v->checked++;
        if (e->missed != NEVER && (e->seen == NEVER || e->missed > e->seen))
            verdict_invalid(v, "element %s is lost: known at %llu ns, missed by a read begun at %llu ns",
                            text, (unsigned long long)e->known, (unsigned long long)e->missed);
        else if (e->missed != NEVER && linearizable)
            verdict_invalid(
                v, "element %s was stale: known at %llu ns, missed by a read begun at %llu ns, seen later",
                text, (unsigned long long)e->known, (unsigned long long)e->missed);
    }
}

void check_set(const struct history *h, bool linearizable, struct verdict *v)
{
    struct numbering nb;
    size_t *pair = pairs_of(h);
    struct element *elements = room(h->n, sizeof *elements);
    verdict_init(v);
    numbering_init(&nb);
    for (size_t i = 0; i < h->n; i++)
        elements[i] = (struct element){.tried = NEVER, .known = NEVER, .seen = NEVER, .missed = NEVER};
    set_adds(h, pair, &nb, elements);
    bool odd = false;
    for (int walk = 0; walk < 2 && !odd; walk++)
        for (size_t i = 0; i < h->n; i++) {
            const struct op *done = &h->ops[i];
            if (!is_f(done, "read") || done->type != OP_OK)
                continue;
            if (!json_is_array(done->value)) {
                odd_shape(v, done);
                odd = true;
                break;
            }
            /* Reads of the second walk are other marks than those of the first. */
            if (walk == 0)
                set_saw(done, i, &nb, elements, v);
            else
                set_missed(done, &h->ops[pair[i]], h->n + i, &nb, elements, numbering_n(&nb));
        }
    if (!odd)
        set_judge(&nb, elements, linearizable, v);
    verdict_close(v);
    numbering_close(&nb);
    free(elements);
    free(pair);
}

/* Unique values
 * --------------------------------------------------------------------------------------------------- */

void check_unique(const struct history *h, const char *f, struct verdict *v)
{
    struct numbering nb;
    char name[80];
    verdict_init(v);
    numbering_init(&nb);
    for (size_t i = 0; i < h->n; i++) {
        if (!is_f(&h->ops[i], f) || h->ops[i].type != OP_OK)
            continue;
        size_t before = numbering_n(&nb);
        if (numbering_add(&nb, h->ops[i].value) < before)
            verdict_invalid(v, "%s gave %s twice, again at #%zu", f,
                            json_brief(h->ops[i].value, name, sizeof name), i);
        v->checked++;
    }
    numbering_close(&nb);
    verdict_close(v);
}

/* Timestamps
 * ------------------------------------------------------------------------------------------------------ */

struct range {
    int64_t first, last;
    size_t event;
};

static bool range_of(const json_t *value, struct range *out)
{
    const json_t *first = json_is_array(value) ? json_array_get(value, 0) : value;
    const json_t *count = json_is_array(value) ? json_array_get(value, 1) : NULL;
    out->first = json_integer_value(first);
    if (!json_is_integer(first) || (json_is_array(value) && json_integer_value(count) < 1))
        return false;
    return !__builtin_add_overflow(out->first, count == NULL ? 0 : json_integer_value(count) - 1, &out->last);
}

static int by_first(const void *left, const void *right)
{
    const struct range *a = left, *b = right;
    return (a->first > b->first) - (a->first < b->first);
}

void check_tso(const struct history *h, const char *f, struct verdict *v)
{
    size_t *pair = pairs_of(h);
    int64_t *floor = room(h->n, sizeof *floor); /* per invocation: the highest timestamp granted before it */
    struct range *ranges = room(h->n, sizeof *ranges);
    size_t n = 0;
    int64_t settled = INT64_MIN, fresh = INT64_MIN; /* granted before the current time, and at it */
    verdict_init(v);
    for (size_t i = 0; i < h->n; i++) {
        const struct op *op = &h->ops[i];
        if (i > 0 && op->time_ns > h->ops[i - 1].time_ns)
            settled = fresh > settled ? fresh : settled;
        if (!is_f(op, f))
            continue;
        if (op->type == OP_INVOKE)
            floor[i] = settled;
        if (op->type != OP_OK)
            continue;
        struct range *range = &ranges[n];
        range->event = i;
        if (!range_of(op->value, range)) {
            odd_shape(v, op);
            n = 0;
            break;
        }
        if (range->first <= floor[pair[i]])
            verdict_invalid(v, "#%zu was granted %lld although %lld had been granted before it was asked for",
                            i, (long long)range->first, (long long)floor[pair[i]]);
        fresh = range->last > fresh ? range->last : fresh;
        n++;
        v->checked = 1;
    }
    qsort(ranges, n, sizeof *ranges, by_first);
    for (size_t i = 1; i < n; i++)
        if (ranges[i].first <= ranges[i - 1].last)
            verdict_invalid(v, "#%zu and #%zu were both granted %lld", ranges[i - 1].event, ranges[i].event,
                            (long long)ranges[i].first);
    verdict_close(v);
    free(ranges);
    free(floor);
    free(pair);
}

/* Banks
 * -----------------------------------------------------------------------------------------------------------
 */

static void bank_read(const struct op *op, int64_t total, bool overdraft, struct verdict *v)
{
    json_t *values = json_is_object(op->value) ? json_array() : json_incref(op->value);
    const char *account;
    json_t *balance;
    int64_t sum = 0;
    size_t i;
    json_object_foreach(op->value, account, balance) json_array_append(values, balance);
    bool fits = json_is_array(values) && json_array_size(values) > 0;
    json_array_foreach(values, i, balance)
    {
        fits = fits && json_is_integer(balance) &&
               !__builtin_add_overflow(sum, json_integer_value(balance), &sum);
        if (json_integer_value(balance) < 0 && !overdraft)
            verdict_invalid(v, "the read #%llu saw a balance of %lld", (unsigned long long)op->index,
                            (long long)json_integer_value(balance));
    }
    json_decref(values);
    if (!fits) {
        odd_shape(v, op);
        return;
    }
    if (sum != total)
        verdict_invalid(v, "the read #%llu sums to %lld, not %lld", (unsigned long long)op->index,
                        (long long)sum, (long long)total);
    v->checked++;
}

void check_bank(const struct history *h, int64_t total, bool overdraft, struct verdict *v)
{
    verdict_init(v);
    for (size_t i = 0; i < h->n; i++)
        if (is_f(&h->ops[i], "read") && h->ops[i].type == OP_OK)
            bank_read(&h->ops[i], total, overdraft, v);
    verdict_close(v);
}

/* Streams
 * ---------------------------------------------------------------------------------------------------------
 */

struct seen {
    size_t key;
    int64_t revision;
    const json_t *event;
    size_t op;   /* the subscription */
    size_t rank; /* of the revision within its key */
};

static int by_revision(const void *left, const void *right)
{
    const struct seen *a = left, *b = right;
    if (a->key != b->key)
        return a->key < b->key ? -1 : 1;
    if (a->revision != b->revision)
        return a->revision < b->revision ? -1 : 1;
    return (a->op > b->op) - (a->op < b->op);
}

static int by_subscription(const void *left, const void *right)
{
    const struct seen *a = left, *b = right;
    if (a->op != b->op)
        return a->op < b->op ? -1 : 1;
    return (a->rank > b->rank) - (a->rank < b->rank);
}

/* Appends the events of one subscription; false: an odd shape. */
static bool watch_gather(const struct op *op, size_t key, struct seen *all, size_t *n, struct verdict *v)
{
    size_t i;
    json_t *event;
    int64_t before = INT64_MIN;
    if (!json_is_array(op->value))
        return false;
    json_array_foreach(op->value, i, event)
    {
        const json_t *revision = json_array_get(event, 0);
        if (!json_is_integer(revision))
            return false;
        if (json_integer_value(revision) <= before)
            verdict_invalid(v, "the stream #%llu has revision %lld after %lld", (unsigned long long)op->index,
                            (long long)json_integer_value(revision), (long long)before);
        before = json_integer_value(revision);
        all[(*n)++] =
            (struct seen){.key = key, .revision = before, .event = json_array_get(event, 1), .op = op->index};
    }
    return true;
}

static void watch_judge(struct seen *all, size_t n, struct verdict *v)
{
    qsort(all, n, sizeof *all, by_revision);
    for (size_t i = 1; i < n; i++) {
        struct seen *a = &all[i - 1], *b = &all[i];
        bool same = a->key == b->key && a->revision == b->revision;
        b->rank = a->rank + (same ? 0 : 1);
        if (same && a->event != b->event &&
            (a->event == NULL || b->event == NULL || !json_equal(a->event, b->event)))
            verdict_invalid(v, "the streams #%zu and #%zu differ at revision %lld", a->op, b->op,
                            (long long)a->revision);
    }
    qsort(all, n, sizeof *all, by_subscription);
    for (size_t i = 1; i < n; i++)
        if (all[i].op == all[i - 1].op && all[i].rank > all[i - 1].rank + 1)
            verdict_invalid(v, "the stream #%zu misses what others saw between revisions %lld and %lld",
                            all[i].op, (long long)all[i - 1].revision, (long long)all[i].revision);
}

void check_watch(const struct history *h, struct verdict *v)
{
    struct numbering keys;
    size_t events = 0, n = 0;
    for (size_t i = 0; i < h->n; i++)
        events += is_f(&h->ops[i], "watch") ? json_array_size(h->ops[i].value) : 0;
    struct seen *all = room(events, sizeof *all);
    verdict_init(v);
    numbering_init(&keys);
    bool odd = false;
    for (size_t i = 0; i < h->n && !odd; i++) {
        const struct op *op = &h->ops[i];
        if (!is_f(op, "watch") || op->type != OP_OK)
            continue;
        odd = !watch_gather(op, numbering_add(&keys, op->key), all, &n, v);
        v->checked++;
        if (odd)
            odd_shape(v, op);
    }
    if (!odd)
        watch_judge(all, n, v);
    numbering_close(&keys);
    free(all);
    verdict_close(v);
}
