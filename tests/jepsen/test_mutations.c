/* The mutation catalogue for registers: damage that must be found (M1, M2, M3, M5) by every engine, and
 * changes that must not matter.  M4 and M15 are rows of test_engines.c, M6 to M14 of test_linear.c and
 * test_append.c, M16 of test_history.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lin.h"
#include "reference.h"

#define SEEDS 60

static struct random chance;

/* A register history whose times are far enough apart to move events between them. */
static void make(uint64_t seed, struct history *h)
{
    struct reference ref = {.object = &reference_register,
                            .random = {seed},
                            .clients = 5,
                            .operations = 120,
                            .keys = 2,
                            .info_percent = 4,
                            .read_percent = 50};
    history_init(h);
    reference_run(&ref, h);
    for (size_t i = 0; i < h->n; i++)
        h->ops[i].time_ns *= 10;
    chance.state = seed;
}

static void renumber(struct history *h)
{
    for (size_t i = 0; i < h->n; i++)
        h->ops[i].index = i;
}

/* Event `from` moves in front of event `to` and gets its time, less `earlier`. */
static void move(struct history *h, size_t from, size_t to, uint64_t earlier)
{
    struct op op = h->ops[from];
    op.time_ns = h->ops[to].time_ns - earlier;
    if (from < to) {
        memmove(&h->ops[from], &h->ops[from + 1], (to - 1 - from) * sizeof op);
        h->ops[to - 1] = op;
    } else {
        memmove(&h->ops[to + 1], &h->ops[to], (from - to) * sizeof op);
        h->ops[to] = op;
    }
    renumber(h);
}

static void drop(struct history *h, size_t i)
{
    json_decref(h->ops[i].key);
    json_decref(h->ops[i].value);
    memmove(&h->ops[i], &h->ops[i + 1], (h->n - 1 - i) * sizeof h->ops[i]);
    h->n--;
    renumber(h);
}

static json_int_t value_of(const struct op *op)
{
    return json_integer_value(op->value);
}

static bool ok(const struct op *op, const char *f)
{
    return op->type == OP_OK && strcmp(op->f, f) == 0;
}

/* The invocation of the write of `value`; values are distinct, 0 is nobody's. */
static size_t write_of(const struct history *h, json_int_t value)
{
    for (size_t i = 0; i < h->n; i++)
        if (h->ops[i].type == OP_INVOKE && strcmp(h->ops[i].f, "write") == 0 && value_of(&h->ops[i]) == value)
            return i;
    return HISTORY_NONE;
}

static bool same_key(const struct op *a, const struct op *b)
{
    return json_integer_value(a->key) == json_integer_value(b->key);
}

/* M1: two reads, one after the other, with the later one's write between them, exchange what they saw. */
static bool swap_reads(struct history *h, const size_t *pair)
{
    (void)pair;
    for (size_t a = 0; a < h->n; a++)
        for (size_t b = a + 1; b < h->n; b++) {
            struct op *x = &h->ops[a], *y = &h->ops[b];
            if (!ok(x, "read") || !ok(y, "read") || !same_key(x, y) || value_of(x) == value_of(y))
                continue;
            size_t w = write_of(h, value_of(y));
            if (w == HISTORY_NONE || h->ops[w].time_ns <= x->time_ns)
                continue;
            json_t *value = x->value;
            x->value = y->value;
            y->value = value;
            return true;
        }
    return false;
}

/* M2: a read returns what was overwritten before it began. */
static bool read_older(struct history *h, const size_t *pair)
{
    for (size_t r = h->n; r-- > 0;) {
        size_t w = ok(&h->ops[r], "read") ? write_of(h, value_of(&h->ops[r])) : HISTORY_NONE;
        if (w == HISTORY_NONE || pair[w] == HISTORY_NONE || !ok(&h->ops[pair[w]], "write") ||
            h->ops[pair[w]].time_ns >= h->ops[pair[r]].time_ns)
            continue;
        for (size_t old = 0; old < w; old++)
            if (ok(&h->ops[old], "write") && same_key(&h->ops[old], &h->ops[r]) &&
                h->ops[old].time_ns < h->ops[w].time_ns) {
                json_decref(h->ops[r].value);
                h->ops[r].value = json_incref(h->ops[old].value);
                return true;
            }
    }
    return false;
}

/* M3: a write that somebody saw says that it failed. */
static bool fail_seen_write(struct history *h, const size_t *pair)
{
    for (size_t r = 0; r < h->n; r++) {
        size_t w = ok(&h->ops[r], "read") ? write_of(h, value_of(&h->ops[r])) : HISTORY_NONE;
        if (w == HISTORY_NONE || pair[w] == HISTORY_NONE || !ok(&h->ops[pair[w]], "write"))
            continue;
        h->ops[pair[w]].type = OP_FAIL;
        return true;
    }
    return false;
}

/* M5: a read that began before the write it saw ends before that write begins. */
static bool end_too_early(struct history *h, const size_t *pair)
{
    for (size_t r = 0; r < h->n; r++) {
        size_t w = ok(&h->ops[r], "read") ? write_of(h, value_of(&h->ops[r])) : HISTORY_NONE;
        if (w == HISTORY_NONE || h->ops[pair[r]].time_ns >= h->ops[w].time_ns)
            continue;
        while (w > 0 && h->ops[w - 1].time_ns == h->ops[w].time_ns)
            w--;
        move(h, r, w, 1);
        return true;
    }
    return false;
}

/* Neutral: a client did not hear that its write was done, and goes on under another name. */
static bool lose_answer(struct history *h, const size_t *pair)
{
    (void)pair;
    for (size_t i = 0; i < h->n; i++) {
        if (!ok(&h->ops[i], "write") || random_below(&chance, 10) != 0)
            continue;
        h->ops[i].type = OP_INFO;
        for (size_t later = i + 1; later < h->n; later++)
            if (h->ops[later].process == h->ops[i].process)
                h->ops[later].process += 100000;
        return true;
    }
    return false;
}

/* Neutral: a write nobody heard of and nobody saw was never asked for. */
static bool drop_unseen(struct history *h, const size_t *pair)
{
    for (size_t i = 0; i < h->n; i++) {
        if (h->ops[i].type != OP_INFO || strcmp(h->ops[i].f, "write") != 0)
            continue;
        bool seen = false;
        for (size_t r = 0; r < h->n; r++)
            seen = seen || (ok(&h->ops[r], "read") && value_of(&h->ops[r]) == value_of(&h->ops[i]));
        if (seen)
            continue;
        size_t invoke = pair[i];
        drop(h, i);
        drop(h, invoke);
        return true;
    }
    return false;
}

/* Neutral: an answer arrives later, just before its process's next request. */
static bool end_later(struct history *h, const size_t *pair)
{
    (void)pair;
    for (size_t i = (size_t)random_below(&chance, h->n); i < h->n; i++)
        for (size_t next = i + 1; h->ops[i].type == OP_OK && next < h->n; next++)
            if (h->ops[next].process == h->ops[i].process) {
                move(h, i, next, 0);
                return true;
            }
    return false;
}

static bool rename_all(struct history *h, const size_t *pair)
{
    (void)pair;
    for (size_t i = 0; i < h->n; i++) {
        json_t *key = json_integer(500 - json_integer_value(h->ops[i].key));
        json_decref(h->ops[i].key);
        h->ops[i].key = key;
        h->ops[i].process = 1000000 - h->ops[i].process;
    }
    return true;
}

static bool add_failure(struct history *h, const size_t *pair)
{
    (void)pair;
    uint64_t time = h->ops[h->n - 1].time_ns;
    history_add_op(h, time, 999999, OP_INVOKE, "write", json_integer(0), json_integer(777777));
    history_add_op(h, time, 999999, OP_FAIL, "write", json_integer(0), json_integer(777777));
    move(h, h->n - 2, h->n / 2, 0);
    return true;
}

static const struct {
    const char *name;
    bool (*apply)(struct history *h, const size_t *pair); /* false: the history has no place for it */
    enum verdict_valid expected;
} mutations[] = {
    {"M1: reads exchanged", swap_reads, INVALID},
    {"M2: an older value", read_older, INVALID},
    {"M3: a seen write failed", fail_seen_write, INVALID},
    {"M5: an end before its cause", end_too_early, INVALID},
    {"an answer lost", lose_answer, VALID},
    {"an unseen write dropped", drop_unseen, VALID},
    {"an answer later", end_later, VALID},
    {"other names", rename_all, VALID},
    {"a failed write", add_failure, VALID},
};

static void every_engine_finds_damage_and_only_damage(void **state)
{
    (void)state;
    static const char *const engines[] = {"wgl", "jit", "zones"};
    for (size_t m = 0; m < sizeof mutations / sizeof mutations[0]; m++) {
        unsigned applied = 0;
        for (uint64_t seed = 1; seed <= SEEDS; seed++) {
            struct history h;
            struct verdict v;
            char err[200];
            make(seed, &h);
            size_t *pair = malloc(h.n * sizeof *pair);
            assert_int_equal(history_pairs(&h, pair), 0);
            bool done = mutations[m].apply(&h, pair);
            applied += done ? 1 : 0;
            if (history_validate(&h, err, sizeof err) != 0)
                fail_msg("%s, seed %llu: %s", mutations[m].name, (unsigned long long)seed, err);
            for (int engine = LIN_WGL; engine <= LIN_ZONES; engine++) {
                check_linearizable(&h, &model_register, (enum lin_engine)engine, false, NULL, &v);
                if (v.valid != (done ? mutations[m].expected : VALID))
                    fail_msg("%s, seed %llu, %s: %s %s", mutations[m].name, (unsigned long long)seed,
                             engines[engine], verdict_name(v.valid), v.why);
            }
            free(pair);
            history_close(&h);
        }
        if (applied < SEEDS / 2)
            fail_msg("%s: only %u of %u histories had a place for it", mutations[m].name, applied, SEEDS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_engine_finds_damage_and_only_damage)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
