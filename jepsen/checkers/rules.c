/* What a coordinator owes its transactions: locks with tokens, decisions, sagas, idempotency.  Key by key. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "linear.h"
#include "numbering.h"

#define NEVER UINT64_MAX

static bool ended_ok(const struct op *op, const char *f)
{
    return op->type == OP_OK && strcmp(op->f, f) == 0;
}

static void *room(size_t n, size_t size)
{
    void *p = calloc(n + 1, size);
    assert(p != NULL);
    return p;
}

static void odd_shape(struct verdict *v, const struct op *op)
{
    verdict_malformed(v, "harness: event %llu: a value this checker does not know",
                      (unsigned long long)op->index);
}

/* Client events, each with the number of its key; the invocation of completions. */
struct keyed {
    size_t *key, *pair;
    size_t keys;
};

static void keyed_init(struct keyed *k, const struct history *h)
{
    struct numbering nb;
    numbering_init(&nb);
    k->key = room(h->n, sizeof *k->key);
    k->pair = room(h->n, sizeof *k->pair);
    for (size_t i = 0; i < h->n; i++)
        k->key[i] = h->ops[i].process == PROCESS_NEMESIS ? SIZE_MAX : numbering_add(&nb, h->ops[i].key);
    k->keys = numbering_n(&nb);
    numbering_close(&nb);
    int rv = history_pairs(h, k->pair);
    assert(rv == 0);
    (void)rv;
}

static void keyed_close(struct keyed *k)
{
    free(k->key);
    free(k->pair);
}

/* Locks
 * -----------------------------------------------------------------------------------------------------------
 */

struct use {
    size_t key;
    int64_t position, token;
    size_t event;
};

static int by_position(const void *left, const void *right)
{
    const struct use *a = left, *b = right;
    if (a->key != b->key)
        return a->key < b->key ? -1 : 1;
    return (a->position > b->position) - (a->position < b->position);
}

static int by_token(const void *left, const void *right)
{
    const struct use *a = left, *b = right;
    if (a->key != b->key)
        return a->key < b->key ? -1 : 1;
    return (a->token > b->token) - (a->token < b->token);
}

/* Highest tokens granted before the current time, and at it; what nobody heard of may hold any token. */
struct lock {
    int64_t settled, fresh;
    uint64_t fresh_at;
    bool silent, granted;
};

static void lock_settle(struct lock *l, uint64_t now)
{
    if (now > l->fresh_at && l->fresh > l->settled)
        l->settled = l->fresh;
}

static void judge_uses(struct use *uses, size_t n_uses, struct use *grants, size_t n_grants,
                       const struct lock *locks, struct verdict *v)
{
    qsort(grants, n_grants, sizeof *grants, by_token);
    for (size_t i = 1; i < n_grants; i++)
        if (by_token(&grants[i - 1], &grants[i]) == 0)
            verdict_invalid(v, "#%zu and #%zu were granted the same token %lld", grants[i - 1].event,
                            grants[i].event, (long long)grants[i].token);
    for (size_t i = 0; i < n_uses; i++)
        if (!locks[uses[i].key].silent &&
            bsearch(&uses[i], grants, n_grants, sizeof *grants, by_token) == NULL)
            verdict_invalid(v, "the use #%zu held the token %lld, which was never granted", uses[i].event,
                            (long long)uses[i].token);
    qsort(uses, n_uses, sizeof *uses, by_position);
    for (size_t i = 1; i < n_uses; i++) {
        if (uses[i].key != uses[i - 1].key)
            continue;
        if (uses[i].position == uses[i - 1].position)
            verdict_invalid(v, "the uses #%zu and #%zu are one position of the resource", uses[i - 1].event,
                            uses[i].event);
        if (uses[i].token < uses[i - 1].token)
            verdict_invalid(v, "the resource accepted token %lld (#%zu) after token %lld (#%zu)",
                            (long long)uses[i].token, uses[i].event, (long long)uses[i - 1].token,
                            uses[i - 1].event);
    }
}

void check_lock(const struct history *h, struct verdict *v)
{
    struct keyed k;
    keyed_init(&k, h);
    struct lock *locks = room(k.keys, sizeof *locks);
    int64_t *floor = room(h->n, sizeof *floor);
    struct use *uses = room(h->n, sizeof *uses), *grants = room(h->n, sizeof *grants);
    size_t n_uses = 0, n_grants = 0;
    bool odd = false;
    verdict_init(v);
    for (size_t i = 0; i < k.keys; i++)
        locks[i] = (struct lock){.settled = INT64_MIN, .fresh = INT64_MIN};
    for (size_t i = 0; i < h->n && !odd; i++) {
        const struct op *op = &h->ops[i];
        if (k.key[i] == SIZE_MAX)
            continue;
        struct lock *l = &locks[k.key[i]];
        lock_settle(l, op->time_ns);
        if (op->type == OP_INVOKE && strcmp(op->f, "acquire") == 0) {
            floor[i] = l->settled;
            l->silent = l->silent || k.pair[i] == HISTORY_NONE || h->ops[k.pair[i]].type == OP_INFO;
        } else if (ended_ok(op, "acquire")) {
            odd = !json_is_integer(op->value);
            int64_t token = json_integer_value(op->value);
            if (token <= floor[k.pair[i]])
                verdict_invalid(v, "#%zu was granted token %lld although %lld had been granted before", i,
                                (long long)token, (long long)floor[k.pair[i]]);
            grants[n_grants++] = (struct use){.key = k.key[i], .token = token, .event = i};
            l->fresh = token > l->fresh ? token : l->fresh;
            l->fresh_at = op->time_ns;
            v->checked += l->granted ? 0 : 1;
            l->granted = true;
        } else if (ended_ok(op, "use")) {
            const json_t *token = json_array_get(op->value, 0), *position = json_array_get(op->value, 1);
            odd = !json_is_integer(token) || !json_is_integer(position);
            uses[n_uses++] =
                (struct use){k.key[i], json_integer_value(position), json_integer_value(token), i};
        }
        if (odd)
            odd_shape(v, op);
    }
    if (!odd)
        judge_uses(uses, n_uses, grants, n_grants, locks, v);
    free(uses);
    free(grants);
    free(floor);
    free(locks);
    keyed_close(&k);
    verdict_close(v);
}

/* Decisions
 * ------------------------------------------------------------------------------------------------------- */

enum outcome { OPEN, COMMIT, ROLLBACK };

static const char *const outcome_names[] = {"undecided", "COMMITTED", "ROLLED_BACK"};

/* COMMITTING is a decision as much as COMMITTED is: once logged it never changes. */
static enum outcome outcome_of(const json_t *value)
{
    const char *text = json_string_value(value);
    if (text == NULL)
        return OPEN;
    if (strncasecmp(text, "commit", 6) == 0)
        return COMMIT;
    return strncasecmp(text, "roll", 4) == 0 || strncasecmp(text, "abort", 5) == 0 ? ROLLBACK : OPEN;
}

struct decision {
    enum outcome outcome;
    size_t event;      /* that showed it first */
    uint64_t since_ns; /* when it was seen */
    size_t no;         /* the vote of no, +1 */
    bool touched;
};

static void decision_saw(struct decision *d, enum outcome outcome, const struct op *op, const char *what,
                         struct verdict *v)
{
    char key[64];
    if (outcome == OPEN)
        return;
    if (d->outcome == OPEN) {
        d->outcome = outcome;
        d->event = op->index;
        d->since_ns = op->time_ns;
    }
    if (outcome != d->outcome)
        verdict_invalid(v, "%s: %s at #%zu, %s%s at #%llu", json_brief(op->key, key, sizeof key),
                        outcome_names[d->outcome], d->event, outcome_names[outcome], what,
                        (unsigned long long)op->index);
}

/* What participants hold in the end: with COMMITTED all of them that, with ROLLED_BACK none that and none in
 * doubt. */
static void decision_final(struct decision *d, const struct op *op, struct verdict *v)
{
    const char *branch;
    json_t *status;
    char key[64];
    size_t committed = 0, doubtful = 0, n = 0;
    json_object_foreach(op->value, branch, status)
    {
        decision_saw(d, outcome_of(status), op, " by a participant", v);
        committed += outcome_of(status) == COMMIT ? 1 : 0;
        doubtful += json_is_string(status) && strcasecmp(json_string_value(status), "prepared") == 0 ? 1 : 0;
        n++;
    }
    if (doubtful > 0)
        verdict_invalid(v, "%s: %zu branches are still prepared at #%llu",
                        json_brief(op->key, key, sizeof key), doubtful, (unsigned long long)op->index);
    if (d->outcome == COMMIT && committed < n)
        verdict_invalid(v, "%s is COMMITTED, but only %zu of %zu branches hold it at #%llu",
                        json_brief(op->key, key, sizeof key), committed, n, (unsigned long long)op->index);
}

static void decision_event(struct decision *d, const struct op *op, const struct op *invoke,
                           struct verdict *v)
{
    char key[64];
    d->touched = true;
    if (strcmp(op->f, "vote") == 0) {
        const char *vote = json_string_value(json_array_get(op->value, 1));
        if (vote != NULL && strcasecmp(vote, "no") == 0 && d->no == 0)
            d->no = op->index + 1;
    } else if (strcmp(op->f, "branch") == 0) {
        decision_saw(d, outcome_of(json_array_get(op->value, 1)), op, " by a participant", v);
    } else if (strcmp(op->f, "final") == 0) {
        if (json_is_object(op->value))
            decision_final(d, op, v);
        else
            odd_shape(v, op);
    } else {
        enum outcome outcome = outcome_of(op->value);
        if (strcmp(op->f, "status") == 0 && outcome == OPEN && d->outcome != OPEN &&
            invoke->time_ns > d->since_ns)
            verdict_invalid(v, "%s: %s at #%zu, but undecided to a client who asked later, at #%llu",
                            json_brief(op->key, key, sizeof key), outcome_names[d->outcome], d->event,
                            (unsigned long long)op->index);
        decision_saw(d, outcome, op, "", v);
    }
}

void check_decide(const struct history *h, struct verdict *v)
{
    struct keyed k;
    keyed_init(&k, h);
    struct decision *decisions = room(k.keys, sizeof *decisions);
    verdict_init(v);
    for (size_t i = 0; i < h->n; i++)
        if (k.key[i] != SIZE_MAX && h->ops[i].type == OP_OK)
            decision_event(&decisions[k.key[i]], &h->ops[i], &h->ops[k.pair[i]], v);
    for (size_t i = 0; i < k.keys; i++) {
        const struct decision *d = &decisions[i];
        v->checked += d->outcome != OPEN ? 1 : 0;
        if (d->touched && d->outcome == OPEN)
            verdict_unknown(v, 1, "a transaction was never seen decided");
        if (d->no != 0 && d->outcome == COMMIT)
            verdict_invalid(v, "COMMITTED at #%zu against the vote of no at #%zu", d->event, d->no - 1);
    }
    free(decisions);
    keyed_close(&k);
    verdict_close(v);
}

/* Sagas
 * -----------------------------------------------------------------------------------------------------------
 */

static void judge_ledger(const struct op *op, struct verdict *v)
{
    char key[64];
    json_brief(op->key, key, sizeof key);
    const json_t *entries = json_object_get(op->value, "entries");
    json_int_t steps = json_integer_value(json_object_get(op->value, "steps"));
    bool parallel = json_is_true(json_object_get(op->value, "parallel"));
    if (!json_is_array(entries) || steps < 1 || steps > 4096) {
        odd_shape(v, op);
        return;
    }
    size_t n = 0, i;
    size_t *done_at = room((size_t)steps + 1, sizeof *done_at);
    bool *undone = room((size_t)steps + 1, sizeof *undone);
    size_t done = 0, taken_back = 0, latest = SIZE_MAX;
    json_t *entry;
    json_array_foreach((json_t *)entries, i, entry)
    {
        const char *what = json_string_value(json_array_get(entry, 0));
        json_int_t step = json_integer_value(json_array_get(entry, 1));
        if (what == NULL || step < 0 || step > steps) {
            odd_shape(v, op);
            break;
        }
        n++;
        if (strcmp(what, "do") == 0) {
            if (undone[step] || done_at[step] != 0)
                verdict_invalid(v, "saga %s: step %lld took effect %s", key, (long long)step,
                                undone[step] ? "after its compensation" : "twice");
            else if (taken_back > 0 && !parallel)
                verdict_invalid(v, "saga %s: step %lld took effect after a compensation", key,
                                (long long)step);
            done += done_at[step] == 0 ? 1 : 0;
            done_at[step] = n;
            continue;
        }
        if (undone[step] || done_at[step] == 0)
            verdict_invalid(v, "saga %s: step %lld was compensated %s", key, (long long)step,
                            undone[step] ? "twice" : "without having taken effect");
        else if (!parallel && done_at[step] > latest)
            verdict_invalid(v, "saga %s: step %lld was compensated after a step that was done before it", key,
                            (long long)step);
        latest = done_at[step];
        taken_back += undone[step] ? 0 : 1;
        undone[step] = true;
    }
    if (taken_back == 0 ? done != 0 && done != (size_t)steps : taken_back < done)
        verdict_invalid(v, "saga %s ended half done: %zu of %lld steps, %zu compensated", key, done,
                        (long long)steps, taken_back);
    v->checked++;
    free(done_at);
    free(undone);
}

void check_saga(const struct history *h, struct verdict *v)
{
    struct keyed k;
    keyed_init(&k, h);
    size_t *latest = room(k.keys, sizeof *latest);
    verdict_init(v);
    for (size_t i = 0; i < h->n; i++)
        if (k.key[i] != SIZE_MAX && ended_ok(&h->ops[i], "ledger"))
            latest[k.key[i]] = i + 1;
    for (size_t i = 0; i < k.keys; i++)
        if (latest[i] != 0)
            judge_ledger(&h->ops[latest[i] - 1], v);
        else
            verdict_unknown(v, 1, "a saga whose ledger was never read");
    free(latest);
    keyed_close(&k);
    verdict_close(v);
}

/* Idempotency
 * ----------------------------------------------------------------------------------------------------- */

struct request {
    size_t answer, effects; /* events, +1 */
};

void check_idempotency(const struct history *h, struct verdict *v)
{
    struct keyed k;
    char key[64];
    keyed_init(&k, h);
    struct request *requests = room(k.keys, sizeof *requests);
    verdict_init(v);
    for (size_t i = 0; i < h->n; i++) {
        const struct op *op = &h->ops[i];
        if (k.key[i] == SIZE_MAX || op->type != OP_OK)
            continue;
        struct request *r = &requests[k.key[i]];
        if (strcmp(op->f, "effects") == 0) {
            r->effects = i + 1;
        } else if (r->answer == 0) {
            r->answer = i + 1;
        } else {
            const json_t *first = h->ops[r->answer - 1].value;
            if (first != op->value && (first == NULL || op->value == NULL || !json_equal(first, op->value)))
                verdict_invalid(v, "%s was answered differently at #%zu and #%zu",
                                json_brief(op->key, key, sizeof key), r->answer - 1, i);
        }
    }
    for (size_t i = 0; i < k.keys; i++) {
        const struct request *r = &requests[i];
        if (r->effects == 0) {
            verdict_unknown(v, 1, "a request whose effects were never counted");
            continue;
        }
        const struct op *op = &h->ops[r->effects - 1];
        json_int_t effects = json_integer_value(op->value);
        if (!json_is_integer(op->value)) {
            odd_shape(v, op);
            break;
        }
        v->checked++;
        if (effects > 1 || effects < (r->answer != 0 ? 1 : 0))
            verdict_invalid(v, "%s was %s and took effect %lld times", json_brief(op->key, key, sizeof key),
                            r->answer != 0 ? "answered" : "never answered", (long long)effects);
    }
    free(requests);
    keyed_close(&k);
    verdict_close(v);
}
