/* The guard's logic by rows, against tables in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "assent/guard.h"

/* A database of a few rows; `fail_at` makes the n-th statement fail with `fail_code`. */
struct fake {
    char rows[16][400]; /* "gid branch op barrier_id = reason" */
    int rows_nr;
    struct assent_guard_row guard;
    bool open, begun;
    int statements, fail_at, fail_code, commits, rollbacks;
};

static int step(struct fake *f)
{
    return ++f->statements == f->fail_at ? f->fail_code : ASSENT_OK;
}
static const char *find(struct fake *f, const struct assent_guard_barrier *row)
{
    char key[400];
    snprintf(key, sizeof key, "%s %s %s %s = ", row->gid, row->branch, row->op, row->barrier_id);
    for (int i = 0; i < f->rows_nr; i++) {
        if (strncmp(f->rows[i], key, strlen(key)) == 0)
            return f->rows[i] + strlen(key);
    }
    return NULL;
}
static int fake_insert(void *db, const struct assent_guard_barrier *row, bool *inserted,
                       struct assent_guard_result *result)
{
    struct fake *f = db;
    (void)result;
    *inserted = find(f, row) == NULL;
    if (*inserted)
        snprintf(f->rows[f->rows_nr++], sizeof f->rows[0], "%s %s %s %s = %s", row->gid, row->branch, row->op,
                 row->barrier_id, row->reason);
    return step(f);
}
static int fake_reason(void *db, const struct assent_guard_barrier *row,
                       char reason[ASSENT_GUARD_WORD_BYTES_MAX + 1], struct assent_guard_result *result)
{
    (void)result;
    snprintf(reason, ASSENT_GUARD_WORD_BYTES_MAX + 1, "%s", find(db, row));
    return step(db);
}
static int fake_put(void *db, const struct assent_guard_call *call, enum assent_guard_state state,
                    struct assent_guard_row *row, struct assent_guard_result *result)
{
    struct fake *f = db;
    (void)result;
    *row = f->guard;
    if (!f->guard.found)
        f->guard = (struct assent_guard_row){state, call->token, true};
    return step(f);
}
static int fake_lock(void *db, const struct assent_guard_call *call, struct assent_guard_row *row,
                     struct assent_guard_result *result)
{
    (void)call, (void)result;
    *row = ((struct fake *)db)->guard;
    return step(db);
}
static int fake_set(void *db, const struct assent_guard_call *call, enum assent_guard_state state,
                    uint64_t token, struct assent_guard_result *result)
{
    (void)call, (void)result;
    ((struct fake *)db)->guard = (struct assent_guard_row){state, token, true};
    return step(db);
}
static bool fake_open(void *db)
{
    return ((struct fake *)db)->open;
}
static int fake_begin(void *db, uint32_t wait_ms, struct assent_guard_result *result)
{
    (void)wait_ms, (void)result;
    ((struct fake *)db)->begun = true;
    return step(db);
}
static int fake_commit(void *db, struct assent_guard_result *result)
{
    (void)result;
    ((struct fake *)db)->commits++;
    return step(db);
}
static void fake_rollback(void *db)
{
    ((struct fake *)db)->rollbacks++;
}
static const struct assent_guard_store store = {fake_insert, fake_reason, fake_put,    fake_lock,    fake_set,
                                                fake_open,   fake_begin,  fake_commit, fake_rollback};

static struct assent_guard_call call_of(const char *type, const char *op, uint64_t token)
{
    struct assent_guard_call call;
    assert_int_equal(assent_guard_call_init(&call, type, "g", "01", op), ASSENT_OK);
    call.token = token;
    return call;
}

static void rows_are_inserted_in_the_order_of_dtm(void **state)
{
    (void)state;
    static const struct {
        const char *type, *op, *rows[3];
        enum assent_guard_verdict verdict;
    } cases[] = {
        {"tcc", "try", {"g 01 try 01 = try"}, ASSENT_GUARD_RUN},
        {"tcc", "confirm", {"g 01 confirm 01 = confirm"}, ASSENT_GUARD_RUN},
        {"tcc", "cancel", {"g 01 try 01 = cancel", "g 01 cancel 01 = cancel"}, ASSENT_GUARD_EMPTY},
        {"saga", "action", {"g 01 action 01 = action"}, ASSENT_GUARD_RUN},
        {"saga",
         "compensate",
         {"g 01 action 01 = compensate", "g 01 compensate 01 = compensate"},
         ASSENT_GUARD_EMPTY},
        {"workflow", "commit", {"g 01 commit 01 = commit"}, ASSENT_GUARD_RUN},
        {"workflow",
         "rollback",
         {"g 01 action 01 = rollback", "g 01 rollback 01 = rollback"},
         ASSENT_GUARD_EMPTY},
        {"msg", "msg", {"g 01 msg 01 = msg"}, ASSENT_GUARD_RUN},
        {"xa", "action", {"g 01 action 01 = action"}, ASSENT_GUARD_RUN},
        {"xa", "rollback", {"g 01 action 01 = rollback"}, ASSENT_GUARD_EMPTY},
        {"xa", "commit", {NULL}, ASSENT_GUARD_RUN},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fake f = {.open = true};
        struct assent_guard_result result;
        struct assent_guard_call call = call_of(cases[i].type, cases[i].op, 0);
        assert_int_equal(assent_guard_enter(&store, &f, &call, &result), ASSENT_OK);
        assert_int_equal(result.verdict, cases[i].verdict);
        int n = 0;
        for (; cases[i].rows[n] != NULL; n++)
            assert_string_equal(f.rows[n], cases[i].rows[n]);
        assert_int_equal(f.rows_nr, n);
    }
}

static void what_came_before_decides_the_verdict(void **state)
{
    (void)state;
    static const struct {
        const char *type, *calls[3];
        enum assent_guard_verdict last;
    } cases[] = {
        {"tcc", {"try", "try"}, ASSENT_GUARD_DUPLICATE},
        {"tcc", {"try", "cancel"}, ASSENT_GUARD_RUN},
        {"tcc", {"try", "cancel", "cancel"}, ASSENT_GUARD_DUPLICATE},
        {"tcc", {"try", "cancel", "try"}, ASSENT_GUARD_DUPLICATE},
        {"tcc", {"cancel", "try"}, ASSENT_GUARD_LATE},
        {"tcc", {"cancel", "cancel"}, ASSENT_GUARD_DUPLICATE},
        {"saga", {"compensate", "action"}, ASSENT_GUARD_LATE},
        {"saga", {"action", "compensate"}, ASSENT_GUARD_RUN},
        {"xa", {"rollback", "action"}, ASSENT_GUARD_LATE},
        {"xa", {"rollback", "rollback"}, ASSENT_GUARD_DUPLICATE},
        {"xa", {"action", "rollback"}, ASSENT_GUARD_CONFLICT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fake f = {.open = true};
        struct assent_guard_result result = {.verdict = 0};
        for (int n = 0; n < 3 && cases[i].calls[n] != NULL; n++) {
            struct assent_guard_call call = call_of(cases[i].type, cases[i].calls[n], 0);
            assert_int_equal(assent_guard_enter(&store, &f, &call, &result), ASSENT_OK);
        }
        assert_int_equal(result.verdict, cases[i].last);
    }
}

static void the_guard_row_by_state_operation_and_token(void **state)
{
    (void)state;
    enum {
        NONE = 0,
        T = ASSENT_GUARD_TRIED,
        C = ASSENT_GUARD_CONFIRMED,
        X = ASSENT_GUARD_CANCELLED,
        B = ASSENT_GUARD_TOMBSTONE
    };
    static const struct {
        int before;
        uint64_t stored;
        const char *op;
        uint64_t token;
        enum assent_guard_verdict verdict;
        int after;
        uint64_t kept;
    } cases[] = {
        {NONE, 0, "try", 0, ASSENT_GUARD_RUN, T, 0},
        {NONE, 0, "confirm", 5, ASSENT_GUARD_NO_TRY, NONE, 0},
        {NONE, 0, "cancel", 5, ASSENT_GUARD_EMPTY, B, 5},
        {T, 0, "try", 0, ASSENT_GUARD_DUPLICATE, T, 0},
        {T, 0, "confirm", 5, ASSENT_GUARD_RUN, C, 5},
        {T, 0, "cancel", 5, ASSENT_GUARD_RUN, X, 5},
        {T, 9, "cancel", 5, ASSENT_GUARD_STALE, T, 9},
        {C, 5, "confirm", 5, ASSENT_GUARD_DUPLICATE, C, 5},
        {C, 5, "confirm", 4, ASSENT_GUARD_STALE, C, 5},
        {C, 5, "confirm", 6, ASSENT_GUARD_DUPLICATE, C, 6},
        {C, 5, "cancel", 6, ASSENT_GUARD_CONFLICT, C, 6},
        {C, 5, "try", 0, ASSENT_GUARD_DUPLICATE, C, 5},
        {X, 5, "confirm", 6, ASSENT_GUARD_CONFLICT, X, 6},
        {X, 5, "try", 0, ASSENT_GUARD_LATE, X, 5},
        {X, 5, "rollback", 5, ASSENT_GUARD_DUPLICATE, X, 5},
        {B, 5, "action", 0, ASSENT_GUARD_LATE, B, 5},
        {B, 5, "commit", 0, ASSENT_GUARD_CONFLICT, B, 5},
        {B, 5, "compensate", 7, ASSENT_GUARD_DUPLICATE, B, 7},
        {NONE, 0, "prepare", 0, ASSENT_GUARD_RUN, T, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fake f = {.open = true};
        f.guard = (struct assent_guard_row){(enum assent_guard_state)cases[i].before, cases[i].stored,
                                            cases[i].before != NONE};
        struct assent_guard_result result;
        struct assent_guard_call call = call_of("tcc", cases[i].op, cases[i].token);
        assert_int_equal(assent_guard_branch(&store, &f, &call, &result), ASSENT_OK);
        assert_int_equal(result.verdict, cases[i].verdict);
        assert_int_equal(f.guard.state, cases[i].after);
        assert_int_equal(f.guard.token, cases[i].kept);
    }
}

static void an_unknown_state_or_operation_is_not_guessed(void **state)
{
    (void)state;
    struct fake f = {.open = true, .guard = {(enum assent_guard_state)9, 0, true}};
    struct assent_guard_result result;
    struct assent_guard_call call = call_of("tcc", "try", 0);
    assert_int_equal(assent_guard_branch(&store, &f, &call, &result), ASSENT_CORRUPT);
    assert_int_equal(result.verdict, 0);
    call = call_of("tcc", "frob", 0);
    assert_int_equal(assent_guard_branch(&store, &f, &call, &result), ASSENT_INVALID);
    call = call_of("tcc", "try", UINT64_MAX);
    assert_int_equal(assent_guard_branch(&store, &f, &call, &result), ASSENT_TOO_LARGE);
}

static void every_failing_statement_gives_its_error_and_no_verdict(void **state)
{
    (void)state;
    for (int at = 1; at <= 3; at++) {
        struct fake f = {.open = true, .fail_at = at, .fail_code = ASSENT_BUSY, .rows_nr = 2};
        snprintf(f.rows[0], sizeof f.rows[0], "g 01 try 01 = try");
        snprintf(f.rows[1], sizeof f.rows[1], "g 01 cancel 01 = cancel");
        struct assent_guard_result result;
        struct assent_guard_call call = call_of("tcc", "cancel", 0);
        assert_int_equal(assent_guard_enter(&store, &f, &call, &result), ASSENT_BUSY);
        assert_int_equal(call.uses, 0);
    }
    for (int at = 1; at <= 3; at++) { /* begin, put, commit */
        struct fake f = {.fail_at = at, .fail_code = ASSENT_UNREACHABLE};
        struct assent_guard_result result;
        struct assent_guard_call call = call_of("tcc", "try", 0);
        assert_int_equal(assent_guard_outcome(&store, &f, &call, 1, &result), ASSENT_UNREACHABLE);
        assert_int_equal(result.outcome, 0);
        assert_int_equal(f.commits + f.rollbacks, at == 1 ? 0 : 1);
    }
}

static void a_lock_waited_for_in_vain_is_undecided(void **state)
{
    (void)state;
    struct fake f = {.fail_at = 2, .fail_code = ASSENT_BUSY};
    struct assent_guard_result result;
    struct assent_guard_call call = call_of("tcc", "try", 0);
    assert_int_equal(assent_guard_outcome(&store, &f, &call, 1, &result), ASSENT_OK);
    assert_int_equal(result.outcome, ASSENT_GUARD_UNDECIDED);
    assert_int_equal(f.rollbacks, 1);
    assert_int_equal(assent_guard_http(ASSENT_OK, &result), 425);
    assert_int_equal(assent_guard_outcome(&store, &f, &call, 0, &result), ASSENT_INVALID);
}

static void calls_are_read_from_query_strings(void **state)
{
    (void)state;
    static const struct {
        const char *query;
        int rc;
        const char *gid, *branch, *op;
    } cases[] = {
        {"branch_id=01&gid=a%2Fb&op=action&trans_type=saga", ASSENT_OK, "a/b", "01", "action"},
        {"?dtm=http%3a%2f%2fx&gid=a+b&trans_type=tcc&branch_id=0102&op=try", ASSENT_OK, "a b", "0102", "try"},
        {"gid=mine&x=1&branch_id=01&gid=g&op=action&trans_type=saga", ASSENT_OK, "g", "01", "action"},
        {"gid=%41&branch_id=1&op=msg&trans_type=msg&&=&gid", ASSENT_OK, "A", "1", "msg"},
        {"branch_id=01&op=action&trans_type=saga", ASSENT_INVALID, NULL, NULL, NULL},
        {"gid=&branch_id=01&op=action&trans_type=saga", ASSENT_INVALID, NULL, NULL, NULL},
        {"gid=%0a&branch_id=01&op=action&trans_type=saga", ASSENT_INVALID, NULL, NULL, NULL},
        {"gid=%4&branch_id=01&op=action&trans_type=saga", ASSENT_MALFORMED, NULL, NULL, NULL},
        {"gid=%&branch_id=01&op=action&trans_type=saga", ASSENT_MALFORMED, NULL, NULL, NULL},
        {"gid=%zz&branch_id=01&op=action&trans_type=saga", ASSENT_MALFORMED, NULL, NULL, NULL},
        {"gid=a%00b&branch_id=01&op=action&trans_type=saga", ASSENT_MALFORMED, NULL, NULL, NULL},
        {"gid=g&branch_id=01&op=action&trans_type=0123456789012345678901234567890123456789012345",
         ASSENT_TOO_LARGE, NULL, NULL, NULL},
        {"", ASSENT_INVALID, NULL, NULL, NULL},
        {NULL, ASSENT_INVALID, NULL, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct assent_guard_call call;
        assert_int_equal(assent_guard_call_query(&call, cases[i].query), cases[i].rc);
        if (cases[i].rc != ASSENT_OK)
            continue;
        assert_string_equal(call.gid, cases[i].gid);
        assert_string_equal(call.branch, cases[i].branch);
        assert_string_equal(call.op, cases[i].op);
    }
}

static const char *header_get(void *data, const char *header)
{
    const char *const *pairs = data;
    for (; *pairs != NULL; pairs += 2) {
        if (strcmp(*pairs, header) == 0)
            return pairs[1];
    }
    return NULL;
}

static void calls_are_read_from_headers(void **state)
{
    (void)state;
    static const struct {
        const char *token;
        int rc;
        uint64_t value;
    } cases[] = {{NULL, ASSENT_OK, 0},
                 {"184320", ASSENT_OK, 184320},
                 {"9223372036854775807", ASSENT_OK, INT64_MAX},
                 {"9223372036854775808", ASSENT_TOO_LARGE, 0},
                 {"", ASSENT_INVALID, 0},
                 {"-1", ASSENT_INVALID, 0},
                 {"1x", ASSENT_INVALID, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *pairs[] = {"Assent-Xid",
                               "x",
                               "Assent-Branch",
                               "debit",
                               "Assent-Op",
                               "confirm",
                               cases[i].token != NULL ? "Assent-Token" : NULL,
                               cases[i].token,
                               NULL};
        struct assent_guard_call call;
        assert_int_equal(assent_guard_call_headers(&call, header_get, pairs), cases[i].rc);
        if (cases[i].rc == ASSENT_OK)
            assert_true(call.token == cases[i].value && strcmp(call.trans_type, "tcc") == 0);
    }
    const char *none[] = {NULL};
    struct assent_guard_call call;
    assert_int_equal(assent_guard_call_headers(&call, header_get, none), ASSENT_INVALID);
}

static void names_of_tables_cannot_carry_statements(void **state)
{
    (void)state;
    static const char *const good[] = {"barrier", "a.b", "_x1.y_2"};
    static const char *const bad[] = {"",   ".",   "a.",  ".a",  "a.b.c", "a b",
                                      "1a", "a.1", "a;b", "a'b", "a\"b",  "a-b"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(assent_guard_table_ok(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(assent_guard_table_ok(bad[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_inserted_in_the_order_of_dtm),
        cmocka_unit_test(what_came_before_decides_the_verdict),
        cmocka_unit_test(the_guard_row_by_state_operation_and_token),
        cmocka_unit_test(an_unknown_state_or_operation_is_not_guessed),
        cmocka_unit_test(every_failing_statement_gives_its_error_and_no_verdict),
        cmocka_unit_test(a_lock_waited_for_in_vain_is_undecided),
        cmocka_unit_test(calls_are_read_from_query_strings),
        cmocka_unit_test(calls_are_read_from_headers),
        cmocka_unit_test(names_of_tables_cannot_carry_statements),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
