/* The three linearizability engines against a correct object, against damage that must be found, against
 * changes that must not matter, and against each other and exhaustive search on random small histories.
 *
 *   test_jepsen_engines [--histories N] [--seed N]    differential run (default 20000 histories)
 *   test_jepsen_engines --bench                       the figures, no tests
 *   test_jepsen_engines --write FOLDER [--histories N] [--seed N]   the histories as files, for another judge
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "lin.h"
#include "reference.h"
#include "rows.h"

static uint64_t seed_first = 1;
static uint64_t histories = 20000;

static const char *const engine_names[] = {"wgl", "jit", "zones"};

static enum verdict_valid verdict_of(const struct history *h, const struct model *model,
                                     enum lin_engine engine, struct verdict *v)
{
    char err[200];
    if (history_validate(h, err, sizeof err) != 0)
        fail_msg("the test made a malformed history: %s", err);
    check_linearizable(h, model, engine, false, NULL, v);
    return v->valid;
}

/* Correct objects
 * ------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    const struct reference_object *object;
    const struct model *model;
    bool zones;
} objects[] = {
    {"register", &reference_register, &model_register, true},
    {"cas", &reference_cas, &model_cas_register, false},
    {"versioned", &reference_versioned, &model_versioned, false},
    {"mutex", &reference_mutex, &model_mutex, false},
    {"lamport", &reference_lamport, &model_lamport, false},
    {"counter", &reference_counter, &model_counter, false},
    {"txn-status", &reference_txn_status, &model_txn_status, false},
};

static void a_correct_object_is_valid(void **state)
{
    (void)state;
    for (size_t o = 0; o < sizeof objects / sizeof objects[0]; o++)
        for (uint64_t seed = seed_first; seed < seed_first + 40; seed++) {
            struct reference ref = {.object = objects[o].object,
                                    .random = {seed},
                                    .clients = 5,
                                    .operations = 200,
                                    .keys = 4,
                                    .values = 5,
                                    .info_percent = 3,
                                    .read_percent = 50};
            struct history h;
            struct verdict v;
            history_init(&h);
            reference_run(&ref, &h);
            for (int engine = LIN_WGL; engine <= (objects[o].zones ? LIN_ZONES : LIN_JIT); engine++)
                if (verdict_of(&h, objects[o].model, (enum lin_engine)engine, &v) != VALID)
                    fail_msg("%s, seed %llu, %s: %s", objects[o].name, (unsigned long long)seed,
                             engine_names[engine], v.why);
            history_close(&h);
        }
}

/* Rows: hand-made histories with their verdicts (rows.h). */

static const struct {
    const char *claim;
    const struct model *model;
    const char *text;
    enum verdict_valid expected;
} rows[] = {
    {"a timed-out write becomes visible late", &model_register,
     "0 invoke write 1; 1 invoke read; 0 info write 1; 1 ok read 0; 1 invoke read; 1 ok read 1", VALID},
    {"M15: and is not unseen again", &model_register,
     "0 invoke write 1; 1 invoke read; 0 info write 1; 1 ok read 0; 1 invoke read; 1 ok read 1; 1 invoke "
     "read; 1 ok read 0",
     INVALID},
    {"a read of what nobody wrote", &model_register, "0 invoke read; 0 ok read 7", INVALID},
    {"a read before its write", &model_register, "0 invoke read; 0 ok read 7; 1 invoke write 7; 1 ok write 7",
     INVALID},
    {"a stale read", &model_register,
     "0 invoke write 1; 0 ok write 1; 0 invoke write 2; 0 ok write 2; 1 invoke read; 1 ok read 1", INVALID},
    {"a read concurrent with the write may see either", &model_register,
     "0 invoke write 1; 1 invoke read; 1 ok read 0; 1 invoke read; 1 ok read 1; 0 ok write 1", VALID},
    {"M3: a failed write that is seen", &model_register,
     "0 invoke write 1; 0 fail write 1; 1 invoke read; 1 ok read 1", INVALID},
    {"M4: the same compare-and-set twice", &model_cas_register,
     "0 invoke cas [0,1]; 0 ok cas [0,1]; 0 invoke cas [0,1]; 0 ok cas [0,1]", INVALID},
    {"a mismatch that could not be", &model_cas_register,
     "0 invoke write 3; 0 ok write 3; 1 invoke cas [3,1]; 1 fail cas [3,1]", INVALID},
    {"a mismatch that could be", &model_cas_register,
     "0 invoke write 3; 1 invoke cas [3,1]; 1 fail cas [3,1]; 0 ok write 3", VALID},
    {"a mismatch needs the unseen write", &model_cas_register,
     "0 invoke write 3; 0 info write 3; 1 invoke cas [0,1]; 1 fail cas [0,1]", VALID},
    {"a version that falls", &model_versioned,
     "0 invoke write 1; 0 ok write [1,5]; 0 invoke write 2; 0 ok write [2,4]", INVALID},
    {"versions decide where values cannot", &model_versioned,
     "0 invoke write 1; 0 ok write [1,5]; 0 invoke write 1; 0 ok write [1,6]; 1 invoke read; 1 ok read [1,5]",
     INVALID},
    {"a lock held twice", &model_mutex,
     "0 invoke acquire 0; 0 ok acquire 0; 1 invoke acquire 1; 1 ok acquire 1", INVALID},
    {"a lock released by another", &model_mutex,
     "0 invoke acquire 0; 0 ok acquire 0; 1 invoke release 1; 1 ok release 1", INVALID},
    {"a lock taken after a release nobody confirmed", &model_mutex,
     "0 invoke acquire 0; 0 ok acquire 0; 0 invoke release 0; 0 info release 0; 1 invoke acquire 1; 1 ok "
     "acquire 1",
     VALID},
    {"a clock that repeats itself", &model_lamport, "0 invoke tick; 0 ok tick 4; 1 invoke tick; 1 ok tick 4",
     INVALID},
    {"a clock that falls back", &model_lamport,
     "0 invoke tick; 0 ok tick 4; 1 invoke current; 1 ok current 3", INVALID},
    {"a clock nobody advanced", &model_lamport,
     "0 invoke tick; 0 ok tick 4; 1 invoke current; 1 ok current 5", INVALID},
    {"a clock a lost tick may have advanced", &model_lamport,
     "0 invoke tick; 0 ok tick 4; 0 invoke tick; 0 info tick; 1 invoke current; 1 ok current 5", VALID},
    {"a sync not above what it received", &model_lamport, "0 invoke sync 9; 0 ok sync [9,9]", INVALID},
    {"a counter that counts twice", &model_counter, "0 invoke add 1; 0 ok add 1; 1 invoke read; 1 ok read 2",
     INVALID},
    {"a counter and a lost add", &model_counter, "0 invoke add 1; 0 info add 1; 1 invoke read; 1 ok read 1",
     VALID},
    {"an operation the model does not know", &model_register, "0 invoke add 1; 0 ok add 1", UNKNOWN},
    {"nothing to judge", &model_register, "0 invoke read; 0 fail read", UNKNOWN},
};

static void known_histories_have_their_verdict(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct history h;
        struct verdict v;
        rows_parse(rows[i].text, &h);
        for (int engine = LIN_WGL; engine <= LIN_ZONES; engine++) {
            bool zones = engine == LIN_ZONES;
            if (verdict_of(&h, rows[i].model, (enum lin_engine)engine, &v) != rows[i].expected &&
                !(zones && v.valid == UNKNOWN && rows[i].model != &model_register))
                fail_msg("%s, %s: %s %s", rows[i].claim, engine_names[engine], verdict_name(v.valid), v.why);
        }
        history_close(&h);
    }
}

static void a_finding_names_the_operations(void **state)
{
    (void)state;
    struct history h;
    struct verdict v;
    rows_parse(rows[4].text, &h);
    /* Noise around it: 60 reads that fit. */
    for (uint64_t i = 0; i < 60; i++) {
        history_add_op(&h, 100 + 2 * i, 5, OP_INVOKE, "read", NULL, NULL);
        history_add_op(&h, 101 + 2 * i, 5, OP_OK, "read", NULL, json_integer(2));
    }
    assert_int_equal(verdict_of(&h, &model_register, LIN_WGL, &v), INVALID);
    assert_non_null(strstr(v.why, "impossible by themselves: #0 write 1, #2 write 2, #4 read 1"));
    history_close(&h);
}

static void over_the_budget_is_unknown(void **state)
{
    (void)state;
    /* Forty writes nobody confirmed, all seen once by reads in an impossible order at the end. */
    struct history h;
    history_init(&h);
    for (int i = 0; i < 40; i++)
        history_add_op(&h, 1, i, OP_INVOKE, "add", NULL, json_integer(1 << (i % 20)));
    history_add_op(&h, 2, 50, OP_INVOKE, "read", NULL, NULL);
    history_add_op(&h, 3, 50, OP_OK, "read", NULL, json_integer(-1));
    struct lin_budget budget = {.ms = 20000, .bytes = 1 << 20};
    for (int engine = LIN_WGL; engine <= LIN_JIT; engine++) {
        struct verdict v;
        check_linearizable(&h, &model_counter, (enum lin_engine)engine, false, &budget, &v);
        assert_int_equal(v.valid, UNKNOWN);
        assert_int_equal(v.unknown_parts, 1);
        assert_non_null(strstr(v.why, "budget"));
    }
    history_close(&h);
}

/* Random small histories: valid or not, who knows; the engines must say the same as exhaustive search.
 * ------------ */

/* All orders of a part that respect real time, optional operations taken or left: no cleverness at all. */
static bool exhaustive(const struct model *model, const struct lin_part *part, struct model_state s,
                       uint32_t done)
{
    uint32_t required = (1u << part->required) - 1;
    if ((done & required) == required)
        return true;
    uint32_t first_return = LIN_NEVER;
    for (uint32_t i = 0; i < part->required; i++)
        if ((done >> i & 1) == 0 && part->ops[i].ret < first_return)
            first_return = part->ops[i].ret;
    for (uint32_t i = 0; i < part->n; i++) {
        struct model_state after = s;
        if ((done >> i & 1) == 0 && part->ops[i].call < first_return &&
            model->step(&after, &part->ops[i].op) && exhaustive(model, part, after, done | 1u << i))
            return true;
    }
    return false;
}

struct guesser {
    struct random random;
    const struct model *model;
    json_int_t written; /* distinct values so far */
    struct {
        int64_t process;
        bool open;
        const char *f;
        json_t *value;
    } client[4];
};

static void guess_invocation(struct guesser *g, unsigned c, uint64_t stamp, struct history *h)
{
    static const char *const register_f[] = {"read", "write", "cas"}, *const clock_f[] = {"current", "tick"};
    bool clock = g->model == &model_lamport, cas = g->model == &model_cas_register;
    uint64_t what = random_below(&g->random, cas ? 3 : 2);
    json_int_t few = (json_int_t)random_below(&g->random, 3), other = (json_int_t)random_below(&g->random, 3);
    json_t *value = NULL;
    if (what == 2)
        value = json_pack("[I,I]", few, other);
    else if (what == 1 && !clock)
        value = json_integer(cas || g->model == &model_versioned ? few : ++g->written);
    g->client[c].f = (clock ? clock_f : register_f)[what];
    g->client[c].value = value;
    g->client[c].open = true;
    history_add_op(h, stamp, g->client[c].process, OP_INVOKE, g->client[c].f, NULL, json_incref(value));
}

static void guess_completion(struct guesser *g, unsigned c, uint64_t stamp, struct history *h)
{
    uint64_t how = random_below(&g->random, 10);
    enum op_type type = how == 0 ? OP_INFO : how == 1 ? OP_FAIL : OP_OK;
    json_t *value = g->client[c].value;
    if (type == OP_OK && g->model == &model_versioned) {
        json_int_t version = (json_int_t)random_below(&g->random, 4) + (value != NULL);
        json_t *found =
            value != NULL ? json_incref(value) : json_integer((json_int_t)random_below(&g->random, 3));
        json_decref(value);
        value = json_pack("[o,I]", found, version);
    } else if (type == OP_OK && value == NULL) {
        uint64_t bound = g->model == &model_register  ? (uint64_t)g->written + 1
                         : g->model == &model_lamport ? 6
                                                      : 3;
        value = json_integer((json_int_t)random_below(&g->random, bound));
    }
    struct op *op = history_add_op(h, stamp, g->client[c].process, type, g->client[c].f, NULL, value);
    if (type == OP_FAIL && random_below(&g->random, 2) == 0)
        snprintf(op->error, sizeof op->error, "mismatch");
    g->client[c].value = NULL;
    g->client[c].open = false;
    g->client[c].process += type == OP_INFO ? 4 : 0;
}

/* A history of a few operations whose results are guesses, so that many are impossible; every other time is a
 * tie. */
static void guess(uint64_t seed, const struct model *model, struct history *h)
{
    struct guesser g = {.random = {seed}, .model = model};
    uint64_t clients = 2 + random_below(&g.random, 3), left = 2 + random_below(&g.random, 6), open = 0;
    for (unsigned c = 0; c < 4; c++)
        g.client[c].process = c;
    for (uint64_t time = 0; left > 0 || open > 0; time++) {
        unsigned c = (unsigned)random_below(&g.random, clients);
        if (g.client[c].open) {
            guess_completion(&g, c, time / 2, h);
            open--;
        } else if (left > 0) {
            guess_invocation(&g, c, time / 2, h);
            open++;
            left--;
        }
    }
}

static const struct model *const guessed[] = {&model_register, &model_cas_register, &model_lamport,
                                              &model_versioned};

struct counts {
    uint64_t valid, invalid, zones;
};

/* Takes `h`. */
static void compare_engines(uint64_t seed, const struct model *model, struct history *h, struct counts *n)
{
    struct lin_parts parts;
    char err[200];
    if (history_validate(h, err, sizeof err) != 0 || lin_split(h, model, &parts, err, sizeof err) != 0)
        fail_msg("seed %llu: %s", (unsigned long long)seed, err);
    for (size_t i = 0; i < parts.n; i++) {
        const struct lin_part *part = &parts.parts[i];
        enum verdict_valid truth = exhaustive(model, part, model->initial, 0) ? VALID : INVALID;
        struct lin_stuck stuck = {.at = LIN_NEVER};
        const char *why;
        enum verdict_valid said[3] = {wgl_check(model, part, NULL, &stuck, &why),
                                      jit_check(model, part, NULL, &stuck, &why),
                                      zones_check(model, part, NULL, &stuck, &why)};
        *(truth == VALID ? &n->valid : &n->invalid) += 1;
        n->zones += said[LIN_ZONES] != UNKNOWN ? 1 : 0;
        for (int e = 0; e < 3; e++)
            if (said[e] != truth && !(e == LIN_ZONES && said[e] == UNKNOWN && model != &model_register))
                fail_msg("seed %llu, %s: %s says %s, it is %s", (unsigned long long)seed, model->name,
                         engine_names[e], verdict_name(said[e]), verdict_name(truth));
    }
    lin_parts_close(&parts);
    history_close(h);
}

static void the_engines_agree(void **state)
{
    (void)state;
    struct counts n = {0};
    for (uint64_t seed = seed_first; seed < seed_first + histories; seed++) {
        struct history h;
        history_init(&h);
        guess(seed * 77, guessed[seed % 4], &h);
        compare_engines(seed, guessed[seed % 4], &h, &n);
    }
    print_message("%llu valid, %llu invalid, %llu of them by zones too\n", (unsigned long long)n.valid,
                  (unsigned long long)n.invalid, (unsigned long long)n.zones);
    assert_true(n.valid > histories / 5 && n.invalid > histories / 5 && n.zones > histories / 5);
}

/* What a transaction's clients are told, guessed; it may have been begun before. */
static void guess_statuses(struct random *r, struct history *h)
{
    static const char *const fs[] = {"begin", "commit", "rollback", "status"};
    static const char *const told[] = {"none",        "ACTIVE",        "COMMITTING",
                                       "COMMITTED",   "ROLLING_BACK",  "ROLLED_BACK",
                                       "TXN_DECIDED", "TXN_NOT_FOUND", "ACTIVE"};
    static const int first[] = {1, 2, 4, 0}, range[] = {4, 2, 2, 6};
    int open[3] = {-1, -1, -1};
    int64_t process[3] = {0, 1, 2};
    uint64_t left = 2 + random_below(r, 5), going = 0, limit = random_below(r, 2);
    for (uint64_t time = 0; left > 0 || going > 0; time++) {
        size_t c = random_below(r, 3);
        if (open[c] < 0 && left > 0) {
            open[c] = time == 0 ? 0 : (int)random_below(r, 4);
            history_add_op(h, time / 2, process[c], OP_INVOKE, fs[open[c]], NULL,
                           open[c] == 0 ? json_integer((json_int_t)limit) : NULL);
            left--;
            going++;
        } else if (open[c] >= 0) {
            int f = open[c];
            uint64_t how = random_below(r, 12);
            enum op_type type = how == 0 ? OP_INFO : how == 1 ? OP_FAIL : OP_OK;
            size_t what = how < 8  ? (size_t)first[f] + random_below(r, (uint64_t)range[f])
                          : f == 0 ? 1
                          : f == 3 ? random_below(r, 6)
                                   : 6 + random_below(r, 2);
            history_add_op(h, time / 2, process[c], type, fs[f], NULL,
                           type == OP_OK ? json_string(told[what])
                           : f == 0      ? json_integer((json_int_t)limit)
                                         : NULL);
            process[c] += type == OP_INFO ? 3 : 0;
            open[c] = -1;
            going--;
        }
    }
}

static void the_engines_agree_on_statuses(void **state)
{
    (void)state;
    struct counts n = {0};
    for (uint64_t seed = seed_first; seed < seed_first + histories; seed++) {
        struct random r = {seed * 79};
        struct history h;
        history_init(&h);
        guess_statuses(&r, &h);
        compare_engines(seed, &model_txn_status, &h, &n);
    }
    print_message("%llu valid, %llu invalid\n", (unsigned long long)n.valid, (unsigned long long)n.invalid);
    assert_true(n.valid > histories / 10 && n.invalid > histories / 5);
}

/* FOLDER/000007-register.jsonl ...: `histories` of them, of the models that are registers. */
static int write_guesses(const char *folder)
{
    for (uint64_t seed = seed_first, left = histories; left > 0; seed++) {
        const struct model *model = guessed[seed % 4];
        char path[400], err[200];
        struct history h;
        if (model == &model_lamport)
            continue;
        left--;
        history_init(&h);
        guess(seed * 77, model, &h);
        snprintf(path, sizeof path, "%s/%06llu-%s.jsonl", folder, (unsigned long long)seed, model->name);
        int rv = history_write(path, &h, err, sizeof err);
        history_close(&h);
        if (rv != 0) {
            fprintf(stderr, "%s: %s\n", path, err);
            return 1;
        }
    }
    return 0;
}

/* Figures
 * ---------------------------------------------------------------------------------------------------------
 */

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void bench_one(const char *name, const struct reference_object *object, const struct model *model,
                      enum lin_engine engine, unsigned clients, unsigned operations, unsigned keys)
{
    struct reference ref = {.object = object,
                            .random = {1},
                            .clients = clients,
                            .operations = operations,
                            .keys = keys,
                            .values = 5,
                            .info_percent = operations > 100000 ? 0 : 1,
                            .read_percent = 50};
    struct history h;
    struct verdict v;
    history_init(&h);
    reference_run(&ref, &h);
    double start = seconds();
    check_linearizable(&h, model, engine, false, NULL, &v);
    printf("%-40s %8u operations %3u keys %3u clients: %s in %.3f s\n", name, operations, keys, clients,
           verdict_name(v.valid), seconds() - start);
    history_close(&h);
}

static int bench(void)
{
    bench_one("wgl, cas-register", &reference_cas, &model_cas_register, LIN_WGL, 10, 10000, 50);
    bench_one("wgl, versioned", &reference_versioned, &model_versioned, LIN_WGL, 10, 10000, 50);
    bench_one("wgl, cas-register, one key", &reference_cas, &model_cas_register, LIN_WGL, 10, 200, 1);
    bench_one("just-in-time, cas-register", &reference_cas, &model_cas_register, LIN_JIT, 10, 10000, 50);
    bench_one("zones, register", &reference_register, &model_register, LIN_ZONES, 20, 1000000, 50);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_correct_object_is_valid),
        cmocka_unit_test(known_histories_have_their_verdict),
        cmocka_unit_test(a_finding_names_the_operations),
        cmocka_unit_test(over_the_budget_is_unknown),
        cmocka_unit_test(the_engines_agree),
        cmocka_unit_test(the_engines_agree_on_statuses),
    };
    const char *folder = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--bench") == 0)
            return bench();
        if (strcmp(argv[i], "--write") == 0 && i + 1 < argc)
            folder = argv[++i];
        if (strcmp(argv[i], "--histories") == 0 && i + 1 < argc)
            histories = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            seed_first = strtoull(argv[++i], NULL, 10);
    }
    if (folder != NULL)
        return write_guesses(folder);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
