/* Finding transactions: order, filters, pages that stay where they are while everything moves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sm_harness.h"

#define DAY_MS            (24ll * 3600 * 1000)
#define ok(h, type, args) assert_int_equal(sm_run(h, type, args), ASSENT_OK)

static const char *format(const char *f, ...) __attribute__((format(printf, 1, 2)));
static const char *format(const char *f, ...)
{
    static char texts[4][1024]; /* calls stand inside of calls */
    static unsigned turn;
    char *text = texts[turn++ % 4];
    va_list args;
    va_start(args, f);
    vsnprintf(text, sizeof(texts[0]), f, args);
    va_end(args);
    return text;
}

/* The xids of a page, joined by blanks. */
static const char *list(struct sm_harness *h, const char *args)
{
    static char joined[4096];
    size_t at = 0;
    joined[0] = '\0';
    assert_int_equal(sm_ask(h, QUERY_TXN_LIST, args), ASSENT_OK);
    for (uint32_t i = 0; i < sm_count(h, "transactions"); i++) {
        char path[64];
        snprintf(path, sizeof(path), "transactions.%u.xid", i);
        at += (size_t)snprintf(joined + at, sizeof(joined) - at, "%s%s", i > 0 ? " " : "", sm_text(h, path));
        assert_true(at < sizeof(joined));
    }
    return joined;
}

static void begin(struct sm_harness *h, const char *xid)
{
    ok(h, COMMAND_TXN_BEGIN,
       format("{'xid':'%s','timeoutMs':0,'branches':[{'branch':'b','confirmUrl':'http://p/c',"
              "'cancelUrl':'http://p/x'}]}",
              xid));
}

static void commit(struct sm_harness *h, const char *xid)
{
    ok(h, COMMAND_TXN_COMMIT, format("{'xid':'%s'}", xid));
}

static void report(struct sm_harness *h, const char *xid, int attempt, const char *error)
{
    ok(h, COMMAND_BRANCH_REPORT,
       format("{'xid':'%s','branch':'b','op':1,'attempt':%d,'success':%s,'error':'%s'}", xid, attempt,
              error[0] == '\0' ? "true" : "false", error));
}

/* z is begun first and a last: the order of names is the wrong one. */
static void pages_are_in_order_of_begin(void **state)
{
    struct sm_harness *h = *state;
    begin(h, "z");
    begin(h, "m");
    begin(h, "a");
    commit(h, "m");
    assert_string_equal(list(h, "{}"), "a m z");
    assert_string_equal(list(h, "{'order':'newest'}"), "a m z");
    assert_string_equal(list(h, "{'order':'oldest'}"), "z m a");
    assert_string_equal(list(h, "{'status':'ACTIVE','order':'oldest'}"), "z a");
    assert_string_equal(list(h, "{'order':'oldest','limit':2}"), "z m");
    char next[64];
    snprintf(next, sizeof(next), "%s", sm_text(h, "next"));
    assert_string_equal(list(h, format("{'order':'oldest','limit':2,'after':'%s'}", next)), "a");
    assert_string_equal(sm_text(h, "next"), "");
    assert_string_equal(list(h, format("{'after':'%s'}", next)), "z"); /* the other way from there */
    sm_reincarnate(h);
    assert_string_equal(list(h, "{}"), "a m z");
}

/* Walk all pages while transactions begin, move and go: each is met at most once, and those that stand all
 * the time exactly once. */
static void walk(struct sm_harness *h, const char *order, uint32_t *seen, uint32_t n)
{
    char after[200] = "";
    uint32_t turn = 0;
    do {
        char args[400];
        snprintf(args, sizeof(args), "{'order':'%s','limit':3%s%s%s}", order, after[0] ? ",'after':'" : "",
                 after, after[0] ? "'" : "");
        assert_int_equal(sm_ask(h, QUERY_TXN_LIST, args), ASSENT_OK);
        snprintf(after, sizeof(after), "%s", sm_text(h, "next"));
        for (uint32_t i = 0; i < sm_count(h, "transactions"); i++) {
            char path[64];
            snprintf(path, sizeof(path), "transactions.%u.xid", i);
            unsigned number;
            if (sscanf(sm_text(h, path), "t%u", &number) == 1) {
                assert_true(number < n);
                seen[number]++;
            }
        }
        begin(h, format("new-%s-%u", order, turn)); /* never shifts a page */
        commit(h, format("t%u", (turn * 7) % n));   /* into another status */
        turn++;
    } while (after[0] != '\0');
}

static void a_walk_meets_everything_once_whatever_moves(void **state)
{
    enum { N = 40 };
    struct sm_harness *h = *state;
    static const char *const orders[] = {"newest", "oldest"};
    for (uint32_t i = 0; i < N; i++)
        begin(h, format("t%u", i));
    for (int o = 0; o < 2; o++) {
        uint32_t seen[N] = {0};
        walk(h, orders[o], seen, N);
        for (uint32_t i = 0; i < N; i++)
            assert_int_equal(seen[i], 1);
    }
}

static void a_page_goes_on_behind_what_was_removed(void **state)
{
    struct sm_harness *h = *state;
    for (int i = 0; i < 4; i++)
        ok(h, COMMAND_TXN_BEGIN, format("{'xid':'t%d','timeoutMs':0}", i));
    commit(h, "t1");
    assert_string_equal(list(h, "{'order':'oldest','limit':2}"), "t0 t1");
    char next[64];
    snprintf(next, sizeof(next), "%s", sm_text(h, "next"));
    sm_advance(h, 8 * DAY_MS);
    ok(h, COMMAND_TICK, "{}");
    ok(h, COMMAND_TICK, "{}");
    assert_int_equal(sm_ask(h, QUERY_TXN, "{'xid':'t1'}"), ASSENT_TXN_NOT_FOUND);
    assert_string_equal(list(h, format("{'order':'oldest','limit':2,'after':'%s'}", next)), "t2 t3");
}

static void filters_are_one_and_all(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'a','mode':'XA','businessType':'order','businessKey':'17'}");
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'b','businessType':'order','businessKey':'17'}");
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'c','mode':'XA','customData':{'x':1},'businessKey':'170'}");
    assert_string_equal(list(h, "{'mode':'XA'}"), "c a");
    assert_string_equal(list(h, "{'mode':'XA','businessType':'order','status':'ACTIVE'}"), "a");
    assert_string_equal(list(h, "{'businessKey':'17'}"), "b a");
    assert_string_equal(list(h, "{'businessKey':'17','order':'oldest','limit':1}"), "a");
    assert_string_equal(
        list(h, format("{'businessKey':'17','order':'oldest','after':'%s'}", sm_text(h, "next"))), "b");
    commit(h, "b");
    assert_string_equal(list(h, "{'businessKey':'17','status':'ACTIVE'}"), "a");
    assert_string_equal(list(h, "{'businessKey':'17','mode':'TCC','status':'COMMITTED'}"), "b");
    assert_string_equal(list(h, "{'businessKey':'18'}"), "");
}

static void times_and_ages_bound_a_listing(void **state)
{
    struct sm_harness *h = *state;
    int64_t begun[4];
    for (int i = 0; i < 4; i++) {
        sm_advance(h, 10000);
        begin(h, format("t%d", i));
        begun[i] = sm_int(h, "createdUs");
    }
    commit(h, "t1");
    report(h, "t1", 0, "");
    assert_string_equal(list(h, format("{'fromUs':%lld}", (long long)begun[2])), "t3 t2");
    assert_string_equal(list(h, format("{'toUs':%lld}", (long long)begun[2])), "t1 t0");
    assert_string_equal(
        list(h, format("{'fromUs':%lld,'toUs':%lld}", (long long)begun[1], (long long)begun[3])), "t2 t1");
    assert_string_equal(list(h, format("{'fromUs':%lld,'toUs':%lld,'order':'oldest'}", (long long)begun[1],
                                       (long long)begun[3])),
                        "t1 t2");
    /* a place outside the range does not widen it */
    assert_string_equal(
        list(h, format("{'toUs':%lld,'after':'%lld.x'}", (long long)begun[2], (long long)begun[3])), "t1 t0");
    assert_string_equal(list(h, format("{'fromUs':%lld,'order':'oldest','after':'%lld.x'}",
                                       (long long)begun[2], (long long)begun[0])),
                        "t2 t3");
    /* older than: of what is unfinished, on the clock of the log */
    assert_string_equal(list(h, "{'olderThanMs':9000}"), "t2 t0");
    assert_string_equal(list(h, "{'olderThanMs':9000,'status':'ACTIVE','order':'oldest'}"), "t0 t2");
    assert_string_equal(list(h, "{'olderThanMs':9000,'status':'COMMITTED'}"), "");
    assert_string_equal(list(h, "{'olderThanMs':31622400000}"), ""); /* before there was time */
}

static void what_fails_is_found_by_its_error(void **state)
{
    struct sm_harness *h = *state;
    for (int i = 0; i < 4; i++) {
        begin(h, format("t%d", i));
        commit(h, format("t%d", i));
    }
    report(h, "t0", 0, "HTTP 500 from ledger");
    report(h, "t1", 0, "connection refused");
    report(h, "t2", 0, "Connection refused");
    report(h, "t2", 1, "");
    assert_string_equal(list(h, "{'failing':true}"), "t1 t0");
    assert_string_equal(list(h, "{'errorText':'LEDGER'}"), "t0");
    assert_string_equal(list(h, "{'errorText':'connection REFUSED'}"), "t2 t1");
    assert_string_equal(list(h, "{'errorText':'connection refused','failing':true}"), "t1");
    assert_string_equal(list(h, "{'errorText':'no such'}"), "");
    assert_string_equal(list(h, "{'failing':true,'status':'COMMITTED'}"), "");
    assert_string_equal(list(h, "{'failing':false,'status':'COMMITTED'}"), "t2");
    assert_string_equal(list(h, "{'errorText':'ledger'}"), "t0");
    assert_string_equal(sm_text(h, "transactions.0.lastError"), "HTTP 500 from ledger");
    assert_int_equal(sm_uint(h, "transactions.0.failures"), 1);
}

static void what_waits_long_is_found_by_its_next_call(void **state)
{
    struct sm_harness *h = *state;
    for (int i = 0; i < 3; i++) {
        begin(h, format("t%d", i));
        commit(h, format("t%d", i));
    }
    begin(h, "u"); /* nothing of it is to be called */
    report(h, "t0", 0, "no");
    report(h, "t1", 0, "no");
    report(h, "t1", 1, "no");
    assert_int_equal(sm_ask(h, QUERY_TXN, "{'xid':'t1'}"), ASSENT_OK);
    long long next_us = (long long)sm_int(h, "branches.0.nextDueUs"), now_us = (long long)sm_time_us(h->sm);
    assert_true(next_us > now_us);
    assert_string_equal(list(h, "{'nextAfterMs':0}"), "t1 t0"); /* t2 is due, u is not */
    assert_string_equal(list(h, format("{'nextAfterMs':%lld}", (next_us - now_us) / 1000 - 1)), "t1");
    assert_string_equal(list(h, format("{'nextAfterMs':%lld}", (next_us - now_us) / 1000)), "");
    assert_string_equal(list(h, "{'nextAfterMs':0,'status':'ACTIVE'}"), "");
}

/* A rare filter costs a bounded time: pages may be empty and still have a next. */
static void a_rare_filter_looks_at_a_bounded_number(void **state)
{
    struct sm_harness *h = *state;
    for (int i = 0; i < 1100; i++)
        ok(h, COMMAND_TXN_BEGIN,
           format("{'xid':'t%04d','businessType':'%s'}", i, i == 0 ? "rare" : "common"));
    assert_string_equal(list(h, "{'businessType':'rare','limit':1}"), "");
    const char *next = sm_text(h, "next");
    assert_non_null(strstr(next, ".t0100"));
    assert_string_equal(list(h, format("{'businessType':'rare','limit':1,'after':'%s'}", next)), "t0000");
    assert_string_equal(sm_text(h, "next"), "");
}

static void bad_filters_are_refused_and_named(void **state)
{
    static const struct {
        const char *args, *says;
    } rows[] = {
        {"{'status':'DONE'}", "status"},
        {"{'mode':'2PC'}", "mode"},
        {"{'order':'upwards'}", "order"},
        {"{'limit':0}", "limit"},
        {"{'limit':1001}", "limit"},
        {"{'after':'t1'}", "after"},
        {"{'after':'17'}", "after"},
        {"{'after':'17.'}", "after"},
        {"{'after':'.x'}", "after"},
        {"{'after':'-1.x'}", "after"},
        {"{'after':'99999999999999999999999.x'}", "after"},
    };
    struct sm_harness *h = *state;
    begin(h, "t");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(sm_ask(h, QUERY_TXN_LIST, rows[i].args), ASSENT_INVALID);
        assert_non_null(strstr(sm_detail(h), rows[i].says));
    }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, sm_harness_setup, sm_harness_teardown)
    static const struct CMUnitTest tests[] = {
        T(pages_are_in_order_of_begin),
        T(a_walk_meets_everything_once_whatever_moves),
        T(a_page_goes_on_behind_what_was_removed),
        T(filters_are_one_and_all),
        T(times_and_ages_bound_a_listing),
        T(what_fails_is_found_by_its_error),
        T(what_waits_long_is_found_by_its_next_call),
        T(a_rare_filter_looks_at_a_bounded_number),
        T(bad_filters_are_refused_and_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
