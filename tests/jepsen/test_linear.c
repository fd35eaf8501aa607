/* The checkers of one pass: correct objects are valid, and each kind of damage is found (catalogue M6, M13,
 * M14). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "linear.h"
#include "reference.h"
#include "rows.h"

static void set_lax(const struct history *h, struct verdict *v)
{
    check_set(h, false, v);
}

static void set_strict(const struct history *h, struct verdict *v)
{
    check_set(h, true, v);
}

static void unique(const struct history *h, struct verdict *v)
{
    check_unique(h, "id", v);
}

static void tso(const struct history *h, struct verdict *v)
{
    check_tso(h, "tso", v);
}

static void bank(const struct history *h, struct verdict *v)
{
    check_bank(h, 10, false, v);
}

#define LOG(requests) "9 invoke log @1; 9 ok log @1 [" requests "]"

typedef void checker(const struct history *h, struct verdict *v);

static const struct {
    const char *claim;
    checker *check;
    enum verdict_valid expected;
    const char *why; /* part of the finding */
    const char *text;
} rows[] = {
    {"an element that stays", set_strict, VALID, "",
     "0 invoke add 1; 0 ok add 1; 0 invoke read; 0 ok read [1]"},
    {"M6: an acknowledged element is missing", set_lax, INVALID, "lost",
     "0 invoke add 1; 0 ok add 1; 0 invoke read; 0 ok read []"},
    {"an element seen and then gone", set_lax, INVALID, "lost",
     "0 invoke add 1; 0 info add 1; 1 invoke read; 1 ok read [1]; 1 invoke read; 1 ok read []"},
    {"a stale read", set_strict, INVALID, "stale",
     "0 invoke add 1; 0 ok add 1; 0 invoke read; 0 ok read []; 0 invoke read; 0 ok read [1]"},
    {"a stale read, where that is allowed", set_lax, VALID, "",
     "0 invoke add 1; 0 ok add 1; 0 invoke read; 0 ok read []; 0 invoke read; 0 ok read [1]"},
    {"a read begun before the add ended may miss it", set_strict, VALID, "",
     "0 invoke add 1; 1 invoke read; 0 ok add 1; 1 ok read []; 0 invoke read; 0 ok read [1]"},
    {"equal times are concurrent", set_strict, VALID, "",
     "0 invoke add 1; 0 ok add 1; =1 invoke read; 1 ok read []; 0 invoke read; 0 ok read [1]"},
    {"an element twice", set_lax, INVALID, "twice",
     "0 invoke add 1; 0 ok add 1; 0 invoke read; 0 ok read [1,1]"},
    {"an element nobody added", set_lax, INVALID, "nobody", "0 invoke read; 0 ok read [1]"},
    {"an element before its add", set_lax, INVALID, "later",
     "0 invoke read; 0 ok read [1]; 0 invoke add 1; 0 ok add 1"},
    {"an element whose add failed", set_lax, INVALID, "failed",
     "0 invoke add 1; 0 fail add 1; 0 invoke read; 0 ok read [1]"},
    {"an element nobody looked for", set_lax, UNKNOWN, "no read", "0 invoke add 1; 0 ok add 1"},
    {"a read that is no list", set_lax, UNKNOWN, "harness", "0 invoke read; 0 ok read 1"},

    {"distinct identifiers", unique, VALID, "", "0 invoke id; 0 ok id \"a\"; 0 invoke id; 0 ok id \"b\""},
    {"the same twice", unique, INVALID, "twice", "0 invoke id; 0 ok id \"a\"; 0 invoke id; 0 ok id \"a\""},

    {"timestamps that rise", tso, VALID, "", "0 invoke tso; 0 ok tso [1,5]; 0 invoke tso; 0 ok tso 6"},
    {"M13: the same twice, concurrently", tso, INVALID, "both",
     "0 invoke tso; 1 invoke tso; 0 ok tso 6; 1 ok tso 6"},
    {"ranges that overlap", tso, INVALID, "both",
     "0 invoke tso; 1 invoke tso; 0 ok tso [1,5]; 1 ok tso [5,5]"},
    {"M13: a lower one later", tso, INVALID, "before", "0 invoke tso; 0 ok tso 6; 1 invoke tso; 1 ok tso 5"},
    {"a lower one from a concurrent request", tso, VALID, "",
     "0 invoke tso; 1 invoke tso; 0 ok tso 6; 1 ok tso 5"},
    {"a lower one asked for at the very time", tso, VALID, "",
     "0 invoke tso; 0 ok tso 6; =1 invoke tso; 1 ok tso 5"},
    {"a range of nothing", tso, UNKNOWN, "harness", "0 invoke tso; 0 ok tso [6,0]"},

    {"money that stays", bank, VALID, "", "0 invoke read; 0 ok read {\"a\":3,\"b\":7}"},
    {"money that is lost", bank, INVALID, "sums to 9", "0 invoke read; 0 ok read [3,6]"},
    {"an overdraft", bank, INVALID, "-1", "0 invoke read; 0 ok read [-1,11]"},
    {"no money", bank, UNKNOWN, "harness", "0 invoke read; 0 ok read []"},

    {"streams that agree", check_watch, VALID, "",
     "0 invoke watch; 0 ok watch [[1,\"a\"],[3,\"b\"]]; 0 invoke watch; 0 ok watch [[3,\"b\"],[4,\"c\"]]"},
    {"streams of two keys have nothing in common", check_watch, VALID, "",
     "0 invoke watch @1; 0 ok watch @1 [[1,\"a\"],[3,\"b\"]]; 0 invoke watch @2; 0 ok watch @2 [[2,\"x\"]]"},
    {"a stream that steps back", check_watch, INVALID, "after",
     "0 invoke watch; 0 ok watch [[3,\"a\"],[1,\"b\"]]"},
    {"streams that differ", check_watch, INVALID, "differ",
     "0 invoke watch; 0 ok watch [[1,\"a\"]]; 0 invoke watch; 0 ok watch [[1,\"b\"]]"},
    {"a stream with a hole", check_watch, INVALID, "misses",
     "0 invoke watch; 0 ok watch [[1,\"a\"],[3,\"b\"]]; 0 invoke watch; 0 ok watch [[2,\"x\"]]"},

    {"tokens that rise", check_lock, VALID, "",
     "0 invoke acquire @1; 0 ok acquire @1 5; 0 invoke use @1 5; 0 ok use @1 [5,1]; 1 invoke acquire @1; 1 "
     "ok acquire @1 6; "
     "1 invoke use @1 6; 1 ok use @1 [6,2]"},
    {"a token that falls", check_lock, INVALID, "had been granted",
     "0 invoke acquire @1; 0 ok acquire @1 5; 1 invoke acquire @1; 1 ok acquire @1 4"},
    {"a token granted twice", check_lock, INVALID, "same token",
     "0 invoke acquire @1; 1 invoke acquire @1; 0 ok acquire @1 5; 1 ok acquire @1 5"},
    {"an old holder is let in after a new one", check_lock, INVALID, "after token 6",
     "0 invoke acquire @1; 0 ok acquire @1 5; 1 invoke acquire @1; 1 ok acquire @1 6; 1 invoke use @1 6; "
     "1 ok use @1 [6,1]; 0 invoke use @1 5; 0 ok use @1 [5,2]"},
    {"a token of nobody", check_lock, INVALID, "never granted",
     "0 invoke acquire @1; 0 ok acquire @1 5; 0 invoke use @1 7; 0 ok use @1 [7,1]"},
    {"a token that a lost grant may have given", check_lock, VALID, "",
     "0 invoke acquire @1; 0 ok acquire @1 5; 1 invoke acquire @1; 1 info acquire @1; 0 invoke use @1 7; 0 "
     "ok use @1 [7,1]"},

    {"one decision", check_decide, VALID, "",
     "0 invoke commit @1; 0 ok commit @1 \"COMMITTED\"; 0 invoke status @1; 0 ok status @1 \"COMMITTED\"; "
     "0 invoke final @1; 0 ok final @1 {\"a\":\"committed\",\"b\":\"committed\"}"},
    {"two decisions", check_decide, INVALID, "ROLLED_BACK",
     "0 invoke status @1; 1 invoke status @1; 0 ok status @1 \"COMMITTED\"; 1 ok status @1 \"ABORTED\""},
    {"a decision forgotten", check_decide, INVALID, "asked later",
     "0 invoke commit @1; 0 ok commit @1 \"COMMITTED\"; 0 invoke status @1; 0 ok status @1 \"PREPARING\""},
    {"asked before the decision", check_decide, VALID, "",
     "1 invoke status @1; 0 invoke commit @1; 0 ok commit @1 \"COMMITTED\"; 1 ok status @1 \"PREPARING\""},
    {"M14: one branch committed, one rolled back", check_decide, INVALID, "participant",
     "0 invoke branch @1; 0 ok branch @1 [\"a\",\"committed\"]; 0 invoke branch @1; 0 ok branch @1 "
     "[\"b\",\"aborted\"]"},
    {"committed against a no", check_decide, INVALID, "vote of no",
     "0 invoke commit @1; 0 ok commit @1 \"COMMITTED\"; 0 invoke vote @1 [\"a\",\"no\"]; 0 ok vote @1 "
     "[\"a\",\"no\"]"},
    {"a branch that never heard", check_decide, INVALID, "1 of 2",
     "0 invoke commit @1; 0 ok commit @1 \"COMMITTED\"; 0 invoke final @1; "
     "0 ok final @1 {\"a\":\"committed\",\"b\":\"none\"}"},
    {"an orphan", check_decide, INVALID, "prepared",
     "0 invoke rollback @1; 0 ok rollback @1 \"ROLLED_BACK\"; 0 invoke final @1; "
     "0 ok final @1 {\"a\":\"aborted\",\"b\":\"prepared\"}"},
    {"a rollback of what never began", check_decide, VALID, "",
     "0 invoke rollback @1; 0 ok rollback @1 \"ROLLED_BACK\"; 0 invoke final @1; "
     "0 ok final @1 {\"a\":\"aborted\",\"b\":\"none\"}"},
    {"never decided", check_decide, UNKNOWN, "never", "0 invoke status @1; 0 ok status @1 \"ACTIVE\""},

#define LEDGER(parallel, entries)                                                                            \
    "0 invoke ledger @1; 0 ok ledger @1 {\"steps\":3,\"parallel\":" parallel ",\"entries\":[" entries "]}"
    {"a saga done", check_saga, VALID, "", LEDGER("false", "[\"do\",1],[\"do\",2],[\"do\",3]")},
    {"a saga taken back", check_saga, VALID, "",
     LEDGER("false", "[\"do\",1],[\"do\",2],[\"undo\",2],[\"undo\",1]")},
    {"a saga that never began", check_saga, VALID, "", LEDGER("false", "")},
    {"the wrong order", check_saga, INVALID, "before it",
     LEDGER("false", "[\"do\",1],[\"do\",2],[\"undo\",1],[\"undo\",2]")},
    {"any order where steps are parallel", check_saga, VALID, "",
     LEDGER("true", "[\"do\",1],[\"do\",2],[\"undo\",1],[\"undo\",2]")},
    {"half a saga", check_saga, INVALID, "half", LEDGER("false", "[\"do\",1],[\"do\",2]")},
    {"half taken back", check_saga, INVALID, "half", LEDGER("false", "[\"do\",1],[\"do\",2],[\"undo\",2]")},
    {"a step twice", check_saga, INVALID, "twice",
     LEDGER("false", "[\"do\",1],[\"do\",1],[\"do\",2],[\"do\",3]")},
    {"a compensation twice", check_saga, INVALID, "twice",
     LEDGER("false", "[\"do\",1],[\"undo\",1],[\"undo\",1]")},
    {"a compensation of nothing", check_saga, INVALID, "without",
     LEDGER("false", "[\"do\",1],[\"undo\",2],[\"undo\",1]")},
    {"a step after its compensation", check_saga, INVALID, "after its",
     LEDGER("true", "[\"do\",1],[\"undo\",1],[\"do\",1]")},
    {"a ledger that is none", check_saga, UNKNOWN, "harness", "0 invoke ledger @1; 0 ok ledger @1 7"},

    {"once, answered twice", check_idempotency, VALID, "",
     "0 invoke request @1; 0 ok request @1 7; 0 invoke request @1; 0 ok request @1 7; 0 invoke effects @1; 0 "
     "ok effects @1 1"},
    {"another answer", check_idempotency, INVALID, "differently",
     "0 invoke request @1; 0 ok request @1 7; 0 invoke request @1; 0 ok request @1 8; 0 invoke effects @1; 0 "
     "ok effects @1 1"},
    {"two effects", check_idempotency, INVALID, "2 times",
     "0 invoke request @1; 0 info request @1; 1 invoke effects @1; 1 ok effects @1 2"},
    {"no effect", check_idempotency, INVALID, "0 times",
     "0 invoke request @1; 0 ok request @1 7; 0 invoke effects @1; 0 ok effects @1 0"},
    {"no effect, no answer", check_idempotency, VALID, "",
     "0 invoke request @1; 0 info request @1; 1 invoke effects @1; 1 ok effects @1 0"},

    {"two sessions", check_sessions, VALID, "",
     "0 invoke push @1 [0,1]; 1 invoke push @1 [1,2]; 1 ok push @1 1; 0 ok push @1 2; 0 invoke read @1 [0];"
     "0 ok read @1 [2,[0,1]];" LOG("[1,2],[0,1]")},
    {"a request nobody heard of may stand or not", check_sessions, VALID, "",
     "0 invoke push @1 [0,1]; 0 info push @1 [0,1]; 1 invoke push @1 [0,2]; 1 ok push @1 1;"
     "2 invoke push @1 [0,3]; 2 info push @1 [0,3];" LOG("[0,2],[0,1]")},
    {"twice", check_sessions, INVALID, "twice", "0 invoke push @1 [0,1]; 0 ok push @1 1;" LOG("[0,1],[0,1]")},
    {"lost", check_sessions, INVALID, "lost", "0 invoke push @1 [0,1]; 0 ok push @1 1;" LOG("")},
    {"failed, and done", check_sessions, INVALID, "failed and took effect",
     "0 invoke push @1 [0,1]; 0 fail push @1 [0,1];" LOG("[0,1]")},
    {"nobody asked for it", check_sessions, INVALID, "nobody pushed",
     "0 invoke push @1 [0,1]; 0 ok push @1 1;" LOG("[0,1],[7,7]")},
    {"another answer to the repetition", check_sessions, INVALID, "its answer says 2",
     "0 invoke push @1 [0,1]; 0 ok push @1 2; 1 invoke push @1 [1,2]; 1 ok push @1 2;" LOG("[0,1],[1,2]")},
    {"monotonic writes", check_sessions, INVALID, "had written",
     "0 invoke push @1 [0,1]; 0 ok push @1 2; 0 invoke push @1 [0,2]; 0 ok push @1 1;" LOG("[0,2],[0,1]")},
    {"pushed at the same time in one session: any order", check_sessions, VALID, "",
     "0 invoke push @1 [0,1]; 1 invoke push @1 [0,2]; 0 ok push @1 2; 1 ok push @1 1;" LOG("[0,2],[0,1]")},
    {"read your writes", check_sessions, INVALID, "had written or read 1",
     "0 invoke push @1 [0,1]; 0 ok push @1 1; 0 invoke read @1 [0]; 0 ok read @1 [0,null];" LOG("[0,1]")},
    {"another session's writes may be missed", check_sessions, VALID, "",
     "0 invoke push @1 [0,1]; 0 ok push @1 1; 0 invoke read @1 [1]; 0 ok read @1 [0,null];" LOG("[0,1]")},
    {"monotonic reads", check_sessions, INVALID, "had written or read 1",
     "0 invoke push @1 [0,1]; 1 invoke read @1 [1]; 1 ok read @1 [1,[0,1]]; 1 invoke read @1 [1];"
     "1 ok read @1 [0,null]; 0 ok push @1 1;" LOG("[0,1]")},
    {"writes follow reads", check_sessions, INVALID, "had read 2",
     "0 invoke push @1 [0,1]; 1 invoke read @1 [1]; 1 ok read @1 [2,[0,1]]; 1 invoke push @1 [1,2];"
     "1 ok push @1 1; 0 ok push @1 2;" LOG("[1,2],[0,1]")},
    {"read what does not stand there", check_sessions, INVALID, "does not stand there",
     "0 invoke push @1 [0,1]; 0 ok push @1 1; 0 invoke read @1 [1]; 0 ok read @1 [1,[0,9]];" LOG("[0,1]")},
    {"no log", check_sessions, UNKNOWN, "never read", "0 invoke push @1 [0,1]; 0 ok push @1 1"},
};

static void known_histories_have_their_verdict(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct history h;
        struct verdict v;
        char err[200];
        rows_parse(rows[i].text, &h);
        if (history_validate(&h, err, sizeof err) != 0)
            fail_msg("%s: %s", rows[i].claim, err);
        rows[i].check(&h, &v);
        if (v.valid != rows[i].expected || strstr(v.why, rows[i].why) == NULL)
            fail_msg("%s: %s '%s'", rows[i].claim, verdict_name(v.valid), v.why);
        history_close(&h);
    }
}

static void make(const struct reference_object *object, uint64_t seed, struct history *h)
{
    struct reference ref = {.object = object,
                            .random = {seed},
                            .clients = 6,
                            .operations = 400,
                            .keys = 3,
                            .values = 5,
                            .info_percent = 5,
                            .read_percent = 40};
    history_init(h);
    reference_run(&ref, h);
}

static void correct_objects_are_valid(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct history h;
        struct verdict v;
        static const struct {
            const struct reference_object *object;
            checker *check;
        } all[] = {{&reference_set, set_strict}, {&reference_tso, tso}, {&reference_lock, check_lock}};
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
            make(all[i].object, seed, &h);
            all[i].check(&h, &v);
            /* The last elements of a set may be added after the last read: unknown, never invalid. */
            if (v.valid == INVALID || (v.valid == UNKNOWN && i > 0) || v.checked == 0)
                fail_msg("object %zu, seed %llu: %s", i, (unsigned long long)seed, v.why);
            history_close(&h);
        }
    }
}

/* The latest ok completion of `f`. */
static struct op *last_ok(struct history *h, const char *f)
{
    for (size_t i = h->n; i-- > 0;)
        if (h->ops[i].type == OP_OK && strcmp(h->ops[i].f, f) == 0)
            return &h->ops[i];
    fail_msg("no ok %s", f);
    return NULL;
}

static void damage_is_found(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct history h;
        struct verdict v;
        /* M6: the first element vanishes from the last read. */
        make(&reference_set, seed, &h);
        json_array_remove(last_ok(&h, "read")->value, 0);
        set_strict(&h, &v);
        assert_int_equal(v.valid, INVALID);
        history_close(&h);
        /* M13: the last grant repeats the first; the last grant is lower than one granted before. */
        make(&reference_tso, seed, &h);
        json_integer_set(json_array_get(last_ok(&h, "tso")->value, 0), 1 + (json_int_t)seed);
        tso(&h, &v);
        assert_int_equal(v.valid, INVALID);
        history_close(&h);
        /* The last use is by a holder of long ago. */
        make(&reference_lock, seed, &h);
        json_integer_set(json_array_get(last_ok(&h, "use")->value, 0), 1);
        check_lock(&h, &v);
        assert_int_equal(v.valid, INVALID);
        history_close(&h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_histories_have_their_verdict),
        cmocka_unit_test(correct_objects_are_valid),
        cmocka_unit_test(damage_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
