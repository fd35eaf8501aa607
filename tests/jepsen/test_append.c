/* Transactions over lists: a serial database is clean, and each anomaly is found by its name (catalogue M3,
 * M5, M7-M12). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "append.h"
#include "reference.h"
#include "rows.h"

#define BITS(a) (1u << (a))

/* Transactions in shorthand: "a" appends, "r" reads; written out as histories. */
static const struct {
    const char *claim;
    uint32_t found; /* all of it, and nothing else but what follows from it */
    uint32_t also;
    const char *why;
    const char *text;
} rows[] = {
    {"two transactions after each other", 0, 0, "",
     "0 invoke txn [[\"append\",1,1]]; 0 ok txn [[\"append\",1,1]]; 0 invoke txn [[\"r\",1,null]]; 0 ok txn "
     "[[\"r\",1,[1]]]"},
    {"M9: write skew", BITS(APPEND_G2_ITEM), 0, "did not see",
     "0 invoke txn [[\"append\",3,1],[\"r\",4,null]]; 1 invoke txn [[\"r\",3,null],[\"append\",4,1]]; "
     "0 ok txn [[\"append\",3,1],[\"r\",4,[]]]; 1 ok txn [[\"r\",3,[]],[\"append\",4,1]]"},
    {"M10: each saw the other", BITS(APPEND_G1C), 0, "saw its append",
     "0 invoke txn [[\"append\",1,1],[\"r\",2,null]]; 1 invoke txn [[\"append\",2,1],[\"r\",1,null]]; "
     "0 ok txn [[\"append\",1,1],[\"r\",2,[1]]]; 1 ok txn [[\"append\",2,1],[\"r\",1,[1]]]"},
    {"writes in two orders", BITS(APPEND_G0), BITS(APPEND_G1C), "that appended",
     "0 invoke txn [[\"append\",1,1],[\"append\",2,1]]; 1 invoke txn [[\"append\",1,2],[\"append\",2,2]]; "
     "2 invoke txn [[\"r\",1,null],[\"r\",2,null]]; 0 ok txn [[\"append\",1,1],[\"append\",2,1]]; "
     "1 ok txn [[\"append\",1,2],[\"append\",2,2]]; 2 ok txn [[\"r\",1,[1,2]],[\"r\",2,[2,1]]]"},
    {"a read that saw half", BITS(APPEND_G_SINGLE), 0, "did not see",
     "0 invoke txn [[\"append\",1,1],[\"append\",2,1]]; 1 invoke txn [[\"r\",1,null],[\"r\",2,null]]; "
     "0 ok txn [[\"append\",1,1],[\"append\",2,1]]; 1 ok txn [[\"r\",1,[1]],[\"r\",2,[]]]"},
    {"two readers disagree on the order of two writers", BITS(APPEND_G_NONADJACENT), 0, "did not see",
     "0 invoke txn [[\"append\",1,1]]; 1 invoke txn [[\"append\",2,1]]; 2 invoke txn "
     "[[\"r\",1,null],[\"r\",2,null]]; "
     "3 invoke txn [[\"r\",1,null],[\"r\",2,null]]; 0 ok txn [[\"append\",1,1]]; 1 ok txn "
     "[[\"append\",2,1]]; "
     "2 ok txn [[\"r\",1,[1]],[\"r\",2,[]]]; 3 ok txn [[\"r\",1,[]],[\"r\",2,[1]]]"},
    {"M8: a read that is out of date", BITS(APPEND_G_SINGLE + 10), 0, "ended before",
     "0 invoke txn [[\"append\",1,1]]; 0 ok txn [[\"append\",1,1]]; 1 invoke txn [[\"r\",1,null]]; 1 ok txn "
     "[[\"r\",1,[]]]"},
    {"and not when the times are equal", 0, 0, "",
     "0 invoke txn [[\"append\",1,1]]; 0 ok txn [[\"append\",1,1]]; =1 invoke txn [[\"r\",1,null]]; 1 ok txn "
     "[[\"r\",1,[]]]"},
    {"a process that does not see its own work", BITS(APPEND_G_SINGLE + 5), 0, "process 0",
     "0 invoke txn [[\"append\",1,1]]; 0 ok txn [[\"append\",1,1]]; =0 invoke txn [[\"r\",1,null]]; 0 ok txn "
     "[[\"r\",1,[]]]"},
    {"M11: the middle of a transaction", BITS(APPEND_G1B), BITS(APPEND_G_SINGLE), "middle",
     "0 invoke txn [[\"append\",1,1],[\"append\",1,2]]; 1 invoke txn [[\"r\",1,null]]; "
     "0 ok txn [[\"append\",1,1],[\"append\",1,2]]; 1 ok txn [[\"r\",1,[1]]]"},
    {"M3: what a failed transaction wrote", BITS(APPEND_G1A), 0, "failed",
     "0 invoke txn [[\"append\",1,1]]; 0 fail txn [[\"append\",1,1]]; 1 invoke txn [[\"r\",1,null]]; 1 ok "
     "txn [[\"r\",1,[1]]]"},
    {"an append upon it", BITS(APPEND_DIRTY_UPDATE), BITS(APPEND_G1A), "upon",
     "0 invoke txn [[\"append\",1,1]]; 0 fail txn [[\"append\",1,1]]; 1 invoke txn [[\"append\",1,2]]; "
     "1 ok txn [[\"append\",1,2]]; 1 invoke txn [[\"r\",1,null]]; 1 ok txn [[\"r\",1,[1,2]]]"},
    {"an element nobody wrote", BITS(APPEND_GARBAGE), 0, "nobody",
     "1 invoke txn [[\"r\",1,null]]; 1 ok txn [[\"r\",1,[7]]]"},
    {"M12: an element twice", BITS(APPEND_DUPLICATE), BITS(APPEND_INCOMPATIBLE), "twice",
     "0 invoke txn [[\"append\",1,1]]; 0 ok txn [[\"append\",1,1]]; 1 invoke txn [[\"r\",1,null]]; 1 ok txn "
     "[[\"r\",1,[1,1]]]"},
    {"M7: two orders of one list", BITS(APPEND_INCOMPATIBLE), UINT32_MAX, "where a longer",
     "0 invoke txn [[\"append\",1,1]]; 0 ok txn [[\"append\",1,1]]; 0 invoke txn [[\"append\",1,2]]; "
     "0 ok txn [[\"append\",1,2]]; 1 invoke txn [[\"r\",1,null]]; 1 ok txn [[\"r\",1,[1,2]]]; 1 invoke txn "
     "[[\"r\",1,null]]; "
     "1 ok txn [[\"r\",1,[2,1]]]"},
    {"a transaction that forgets its append", BITS(APPEND_INTERNAL), UINT32_MAX, "contradicts",
     "0 invoke txn [[\"append\",1,1],[\"r\",1,null]]; 0 ok txn [[\"append\",1,1],[\"r\",1,[]]]"},
    {"a transaction that reads two things", BITS(APPEND_INTERNAL), UINT32_MAX, "contradicts",
     "1 invoke txn [[\"append\",1,1]]; 0 invoke txn [[\"r\",1,null],[\"r\",1,null]]; 1 ok txn "
     "[[\"append\",1,1]]; "
     "0 ok txn [[\"r\",1,[]],[\"r\",1,[1]]]"},
    {"a transaction that reads its future", BITS(APPEND_FUTURE), UINT32_MAX, "before it appends",
     "0 invoke txn [[\"r\",1,null],[\"append\",1,1]]; 0 ok txn [[\"r\",1,[1]],[\"append\",1,1]]"},
    {"two readers of one version both append", BITS(APPEND_LOST_UPDATE), UINT32_MAX, "both appended",
     "0 invoke txn [[\"r\",1,null],[\"append\",1,1]]; 1 invoke txn [[\"r\",1,null],[\"append\",1,2]]; "
     "0 ok txn [[\"r\",1,[]],[\"append\",1,1]]; 1 ok txn [[\"r\",1,[]],[\"append\",1,2]]"},
    {"what timed out may be seen late", 0, 0, "",
     "0 invoke txn [[\"append\",1,1]]; 0 info txn [[\"append\",1,1]]; 1 invoke txn [[\"r\",1,null]]; 1 ok "
     "txn [[\"r\",1,[]]]; "
     "1 invoke txn [[\"r\",1,null]]; 1 ok txn [[\"r\",1,[1]]]"},
};

static void each_anomaly_has_its_name(void **state)
{
    (void)state;
    struct append_report *report = malloc(sizeof *report);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct history h;
        char err[200];
        rows_parse(rows[i].text, &h);
        assert_int_equal(history_validate(&h, err, sizeof err), 0);
        assert_int_equal(append_analyse(&h, report, err, sizeof err), 0);
        bool said = rows[i].found == 0;
        char all[300] = "";
        for (unsigned a = 0; a < APPEND_ANOMALY_NR; a++) {
            if ((report->found >> a & 1) != 0)
                snprintf(all + strlen(all), sizeof all - strlen(all), " %s",
                         append_anomaly_name((enum append_anomaly)a));
            said = said || ((rows[i].found >> a & 1) != 0 && strstr(report->why[a], rows[i].why) != NULL);
        }
        if ((report->found & rows[i].found) != rows[i].found ||
            (report->found & ~rows[i].found & ~rows[i].also) != 0 || !said)
            fail_msg("%s: found%s", rows[i].claim, all);
        history_close(&h);
    }
    free(report);
}

static void models_forbid_what_they_forbid(void **state)
{
    (void)state;
    static const struct {
        size_t row;
        enum verdict_valid expected[4];
    } all[] = {{1, {VALID, VALID, INVALID, INVALID}},
               {2, {INVALID, INVALID, INVALID, INVALID}},
               {4, {VALID, INVALID, INVALID, INVALID}},
               {6, {VALID, VALID, VALID, INVALID}},
               {12, {INVALID, INVALID, INVALID, INVALID}}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        for (int model = APPEND_READ_COMMITTED; model <= APPEND_STRICT; model++) {
            struct history h;
            struct verdict v;
            rows_parse(rows[all[i].row].text, &h);
            check_append(&h, (enum append_model)model, &v);
            if (v.valid != all[i].expected[model])
                fail_msg("row %zu, model %d: %s", all[i].row, model, v.why);
            history_close(&h);
        }
}

static void what_cannot_be_judged_is_unknown(void **state)
{
    (void)state;
    static const char twice[] = "0 invoke txn [[\"append\",1,1]]; 0 ok txn [[\"append\",1,1]]; "
                                "0 invoke txn [[\"append\",1,1]]; 0 ok txn [[\"append\",1,1]]";
    static const char *const texts[] = {twice, "0 invoke txn [[\"append\",1,1]]; 0 ok txn [[\"append\",1,1]]",
                                        "0 invoke txn 1; 0 ok txn 1",
                                        "0 invoke txn [[\"w\",1,1]]; 0 ok txn [[\"w\",1,1]]"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct history h;
        struct verdict v;
        rows_parse(texts[i], &h);
        check_append(&h, APPEND_STRICT, &v);
        assert_int_equal(v.valid, UNKNOWN);
        history_close(&h);
    }
}

static void make(uint64_t seed, unsigned operations, struct history *h)
{
    struct reference ref = {.object = &reference_append,
                            .random = {seed},
                            .clients = 6,
                            .operations = operations,
                            .keys = 3,
                            .info_percent = 4,
                            .read_percent = 50};
    history_init(h);
    reference_run(&ref, h);
}

static void a_serial_database_is_clean(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct history h;
        struct verdict v;
        make(seed, 150, &h);
        check_append(&h, APPEND_STRICT, &v);
        if (v.valid != VALID)
            fail_msg("seed %llu: %s", (unsigned long long)seed, v.why);
        history_close(&h);
    }
}

/* The latest read of more than `least` elements that is its transaction's first step; NULL: none. */
static json_t *long_read(struct history *h, size_t least)
{
    for (size_t i = h->n; i-- > 0;) {
        json_t *step = json_array_get(h->ops[i].value, 0);
        if (h->ops[i].type == OP_OK && strcmp(json_string_value(json_array_get(step, 0)), "r") == 0 &&
            json_array_size(json_array_get(step, 2)) > least)
            return json_array_get(step, 2);
    }
    return NULL;
}

enum damage { REORDERED, SHORTENED, REPEATED, FOREIGN, FAILED };

static void inflict(enum damage damage, struct history *h)
{
    json_t *list = long_read(h, 5);
    assert_non_null(list);
    json_t *early = json_incref(json_array_get(list, 0));
    switch (damage) {
    case REORDERED: /* M7 */
        json_array_remove(list, 0);
        json_array_insert_new(list, 1, early);
        return;
    case SHORTENED: /* M8 */
        while (json_array_size(list) > 2)
            json_array_remove(list, json_array_size(list) - 1);
        break;
    case REPEATED: /* M12 */
        json_array_append(list, early);
        break;
    case FOREIGN:
        json_array_append_new(list, json_integer(123456789));
        break;
    case FAILED: /* M3: the transaction that appended the first element says it failed */
        for (size_t i = 0; i < h->n; i++) {
            size_t j;
            json_t *step;
            bool mine = false;
            json_array_foreach(h->ops[i].value, j, step) mine =
                mine || (strcmp(json_string_value(json_array_get(step, 0)), "append") == 0 &&
                         json_equal(json_array_get(step, 2), early));
            if (!mine || h->ops[i].type != OP_OK)
                continue;
            for (size_t k = i; k-- > 0;)
                if (h->ops[k].type == OP_INVOKE && h->ops[k].process == h->ops[i].process) {
                    json_decref(h->ops[i].value);
                    h->ops[i].value = json_incref(h->ops[k].value);
                    break;
                }
            h->ops[i].type = OP_FAIL;
        }
        break;
    }
    json_decref(early);
}

static void damage_is_found(void **state)
{
    (void)state;
    for (int damage = REORDERED; damage <= FAILED; damage++) {
        unsigned found = 0;
        for (uint64_t seed = 1; seed <= 30; seed++) {
            struct history h;
            struct verdict v;
            make(seed, 150, &h);
            inflict((enum damage)damage, &h);
            check_append(&h, APPEND_STRICT, &v);
            found += v.valid == INVALID ? 1 : 0;
            if (v.valid != INVALID && damage != FAILED)
                fail_msg("damage %d, seed %llu: %s", damage, (unsigned long long)seed, v.why);
            history_close(&h);
        }
        /* The first element may be of a transaction that never answered: then there is nothing to turn into a
         * fail. */
        assert_true(found >= 25);
    }
}

static int bench(void)
{
    struct history h;
    struct verdict v;
    struct timespec a, b;
    struct reference ref = {.object = &reference_append,
                            .random = {1},
                            .clients = 10,
                            .operations = 20000,
                            .keys = 60,
                            .read_percent = 50};
    history_init(&h);
    reference_run(&ref, &h);
    clock_gettime(CLOCK_MONOTONIC, &a);
    check_append(&h, APPEND_STRICT, &v);
    clock_gettime(CLOCK_MONOTONIC, &b);
    printf("append, strict serializability: 20000 transactions, 60 keys: %s in %.3f s\n",
           verdict_name(v.valid), (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9);
    history_close(&h);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_anomaly_has_its_name),
        cmocka_unit_test(models_forbid_what_they_forbid),
        cmocka_unit_test(what_cannot_be_judged_is_unknown),
        cmocka_unit_test(a_serial_database_is_clean),
        cmocka_unit_test(damage_is_found),
    };
    if (argc > 1 && strcmp(argv[1], "--bench") == 0)
        return bench();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
