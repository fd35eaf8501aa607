/* The guard of the demonstration bank: repeated, late, stale and lonely calls change nothing. */
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ledger.h"

struct world {
    char dir[300];
    struct ledger *l;
    char why[128];
    struct ledger_account account;
    uint32_t rows, calls;
};

static void open_again(struct world *w)
{
    char err[256];
    if (w->l != NULL)
        ledger_close(w->l);
    w->l = ledger_open(w->dir, err, sizeof(err));
    assert_non_null(w->l);
}

static int setup(void **state)
{
    static struct world w;
    const char *tmp = getenv("TMPDIR");
    char err[256];
    w = (struct world){0};
    snprintf(w.dir, sizeof(w.dir), "%s/ledger-XXXXXX", tmp != NULL ? tmp : "/tmp");
    assert_non_null(mkdtemp(w.dir));
    open_again(&w);
    assert_true(ledger_account_add(w.l, "alice", 1000, err, sizeof(err)));
    *state = &w;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    (void)st, (void)type, (void)walk;
    return remove(path);
}

static int teardown(void **state)
{
    struct world *w = *state;
    ledger_close(w->l);
    return nftw(w->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static enum ledger_outcome reserve(struct world *w, const char *branch, int64_t amount)
{
    return ledger_reserve(w->l, "t", branch, "alice", amount, w->why, sizeof(w->why));
}

static enum ledger_outcome act(struct world *w, const char *branch, int64_t amount, uint64_t token)
{
    return ledger_act(w->l, "t", branch, "alice", amount, token, w->why, sizeof(w->why));
}

static enum ledger_outcome settle(struct world *w, enum ledger_op op, const char *branch, uint64_t token)
{
    return ledger_settle(w->l, op, "t", branch, token, w->why, sizeof(w->why));
}

static void take_account(void *data, const struct ledger_account *a)
{
    ((struct world *)data)->account = *a;
}

#define assert_account(w, b, f, c)                                                                           \
    do {                                                                                                     \
        ledger_accounts((w)->l, take_account, w);                                                            \
        assert_int_equal((w)->account.balance, b);                                                           \
        assert_int_equal((w)->account.frozen, f);                                                            \
        assert_int_equal((w)->account.coming, c);                                                            \
    } while (0)

static void count_entry(void *data, const struct ledger_entry *e)
{
    struct world *w = data;
    w->rows++;
    w->calls += e->calls;
}

static void a_debit_is_frozen_then_taken_once(void **state)
{
    struct world *w = *state;
    assert_int_equal(reserve(w, "b", -300), LEDGER_DONE);
    assert_int_equal(reserve(w, "b", -300), LEDGER_REPEATED);
    assert_account(w, 1000, 300, 0);
    assert_int_equal(settle(w, LEDGER_CONFIRM, "b", 7), LEDGER_DONE);
    assert_int_equal(settle(w, LEDGER_CONFIRM, "b", 7), LEDGER_REPEATED);
    assert_account(w, 700, 0, 0);
    ledger_entries(w->l, "t", count_entry, w);
    assert_int_equal(w->rows, 2);
    assert_int_equal(w->calls, 4);
}

static void a_credit_comes_with_the_confirm(void **state)
{
    struct world *w = *state;
    assert_int_equal(reserve(w, "b", 50), LEDGER_DONE);
    assert_account(w, 1000, 0, 50);
    assert_int_equal(settle(w, LEDGER_CONFIRM, "b", 7), LEDGER_DONE);
    assert_account(w, 1050, 0, 0);
}

static void a_cancel_lets_go_once(void **state)
{
    struct world *w = *state;
    assert_int_equal(reserve(w, "b", -300), LEDGER_DONE);
    assert_int_equal(settle(w, LEDGER_CANCEL, "b", 7), LEDGER_DONE);
    assert_int_equal(settle(w, LEDGER_CANCEL, "b", 7), LEDGER_REPEATED);
    assert_int_equal(settle(w, LEDGER_CONFIRM, "b", 7), LEDGER_REFUSED);
    assert_account(w, 1000, 0, 0);
}

static void what_is_reserved_cannot_be_reserved_again(void **state)
{
    struct world *w = *state;
    assert_int_equal(reserve(w, "a", -700), LEDGER_DONE);
    assert_int_equal(reserve(w, "b", -301), LEDGER_REFUSED);
    assert_string_equal(w->why, "insufficient funds");
    assert_int_equal(reserve(w, "b", -300), LEDGER_DONE); /* the refusal left no row */
    assert_int_equal(reserve(w, "b", -299), LEDGER_REFUSED);
}

static void an_empty_cancel_bars_the_late_try(void **state)
{
    struct world *w = *state;
    assert_int_equal(settle(w, LEDGER_CANCEL, "b", 7), LEDGER_EMPTY);
    assert_int_equal(settle(w, LEDGER_CANCEL, "b", 7), LEDGER_REPEATED);
    assert_int_equal(reserve(w, "b", -300), LEDGER_REFUSED);
    assert_account(w, 1000, 0, 0);
}

static void a_confirm_needs_its_try(void **state)
{
    struct world *w = *state;
    assert_int_equal(settle(w, LEDGER_CONFIRM, "b", 7), LEDGER_REFUSED);
    assert_int_equal(reserve(w, "b", -300), LEDGER_DONE); /* and the refusal left no row */
}

static void an_older_token_is_refused(void **state)
{
    struct world *w = *state;
    assert_int_equal(reserve(w, "b", -300), LEDGER_DONE);
    assert_int_equal(settle(w, LEDGER_CONFIRM, "b", 7), LEDGER_DONE);
    assert_int_equal(settle(w, LEDGER_CONFIRM, "b", 6), LEDGER_REFUSED);
    assert_int_equal(settle(w, LEDGER_CONFIRM, "b", 8), LEDGER_REPEATED);
    assert_int_equal(settle(w, LEDGER_CONFIRM, "b", 7), LEDGER_REFUSED);
}

static void everything_is_there_after_a_restart(void **state)
{
    struct world *w = *state;
    assert_int_equal(reserve(w, "b", -300), LEDGER_DONE);
    open_again(w);
    assert_account(w, 1000, 300, 0);
    assert_int_equal(settle(w, LEDGER_CONFIRM, "b", 7), LEDGER_DONE);
    open_again(w);
    assert_int_equal(settle(w, LEDGER_CONFIRM, "b", 7), LEDGER_REPEATED);
    assert_account(w, 700, 0, 0);
}

static void amounts_out_of_range_are_refused(void **state)
{
    struct world *w = *state;
    assert_int_equal(reserve(w, "b", 0), LEDGER_REFUSED);
    assert_int_equal(reserve(w, "b", INT64_MIN), LEDGER_REFUSED);
    assert_int_equal(reserve(w, "b", INT64_MAX), LEDGER_REFUSED);
    assert_int_equal(ledger_reserve(w->l, "t", "b", "nobody", 5, w->why, sizeof(w->why)), LEDGER_REFUSED);
    assert_account(w, 1000, 0, 0);
}

static void an_action_and_its_compensation_move_the_money_once_each(void **state)
{
    struct world *w = *state;
    assert_int_equal(act(w, "b", -300, 7), LEDGER_DONE);
    assert_int_equal(act(w, "b", -300, 7), LEDGER_REPEATED);
    assert_account(w, 700, 0, 0);
    assert_int_equal(settle(w, LEDGER_COMPENSATE, "b", 8), LEDGER_DONE);
    assert_int_equal(settle(w, LEDGER_COMPENSATE, "b", 8), LEDGER_REPEATED);
    assert_account(w, 1000, 0, 0);
    assert_int_equal(act(w, "b", -300, 8), LEDGER_REFUSED); /* late */
    assert_int_equal(act(w, "b", -300, 7), LEDGER_REFUSED); /* and stale */
    assert_account(w, 1000, 0, 0);
}

static void a_refused_action_leaves_no_row_and_its_compensation_is_empty(void **state)
{
    struct world *w = *state;
    assert_int_equal(act(w, "b", -1001, 7), LEDGER_REFUSED);
    assert_string_equal(w->why, "insufficient funds");
    ledger_entries(w->l, "t", count_entry, w);
    assert_int_equal(w->rows, 0);
    assert_int_equal(settle(w, LEDGER_COMPENSATE, "b", 7), LEDGER_EMPTY);
    assert_int_equal(act(w, "b", -1, 7), LEDGER_REFUSED);
    assert_account(w, 1000, 0, 0);
}

static void what_came_and_was_spent_cannot_be_taken_back(void **state)
{
    struct world *w = *state;
    assert_int_equal(act(w, "in", 500, 7), LEDGER_DONE);
    assert_int_equal(act(w, "out", -1400, 7), LEDGER_DONE);
    assert_int_equal(settle(w, LEDGER_COMPENSATE, "in", 8), LEDGER_REFUSED);
    assert_account(w, 100, 0, 0);
    assert_int_equal(settle(w, LEDGER_COMPENSATE, "out", 8), LEDGER_DONE);
    assert_int_equal(settle(w, LEDGER_COMPENSATE, "in", 8), LEDGER_DONE); /* the refusal left no row */
    assert_account(w, 1000, 0, 0);
}

static void a_question_about_what_never_happened_bars_it(void **state)
{
    struct world *w = *state;
    assert_int_equal(act(w, "a", -300, 0), LEDGER_DONE);
    assert_int_equal(ledger_ask(w->l, "t", "a", w->why, sizeof(w->why)), LEDGER_DONE);
    assert_int_equal(ledger_ask(w->l, "t", "b", w->why, sizeof(w->why)), LEDGER_REFUSED);
    assert_int_equal(act(w, "b", -300, 0), LEDGER_REFUSED);
    assert_int_equal(ledger_ask(w->l, "t", "b", w->why, sizeof(w->why)), LEDGER_REFUSED);
    assert_account(w, 700, 0, 0);
}

/* Rows of the one protocol mean nothing to the other. */
static void a_try_is_no_action_and_an_action_no_try(void **state)
{
    struct world *w = *state;
    assert_int_equal(reserve(w, "a", -300), LEDGER_DONE);
    assert_int_equal(settle(w, LEDGER_COMPENSATE, "a", 7), LEDGER_EMPTY);
    assert_int_equal(act(w, "b", -300, 7), LEDGER_DONE);
    assert_int_equal(settle(w, LEDGER_CONFIRM, "b", 7), LEDGER_REFUSED);
    assert_account(w, 700, 300, 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    static const struct CMUnitTest tests[] = {
        T(a_debit_is_frozen_then_taken_once),
        T(a_credit_comes_with_the_confirm),
        T(a_cancel_lets_go_once),
        T(what_is_reserved_cannot_be_reserved_again),
        T(an_empty_cancel_bars_the_late_try),
        T(a_confirm_needs_its_try),
        T(an_older_token_is_refused),
        T(everything_is_there_after_a_restart),
        T(amounts_out_of_range_are_refused),
        T(an_action_and_its_compensation_move_the_money_once_each),
        T(a_refused_action_leaves_no_row_and_its_compensation_is_empty),
        T(what_came_and_was_spent_cannot_be_taken_back),
        T(a_question_about_what_never_happened_bars_it),
        T(a_try_is_no_action_and_an_action_no_try),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
