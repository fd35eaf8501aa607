/* Freezing resources: who is granted, refused, queued; deadlocks; ends; and a model that must agree at
 * random. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "freeze.h"
#include "sm_harness.h"

static char *format(const char *f, ...) __attribute__((format(printf, 1, 2)));

static char *format(const char *f, ...)
{
    static char ring[4][512]; /* one may be an argument of the next */
    static unsigned turn;
    char *text = ring[turn++ % 4];
    va_list args;
    va_start(args, f);
    vsnprintf(text, sizeof ring[0], f, args);
    va_end(args);
    return text;
}

static void begin(struct sm_harness *h, const char *xid)
{
    assert_int_equal(sm_run(h, COMMAND_TXN_BEGIN, format("{'xid':'%s'}", xid)), ASSENT_OK);
}

static int ask(struct sm_harness *h, const char *xid, const char *resource, const char *mode, int wait_ms)
{
    return sm_run(
        h, COMMAND_FREEZE,
        format("{'xid':'%s','resource':'%s','mode':'%s','waitMs':%d}", xid, resource, mode, wait_ms));
}

/* "GRANTED shared", "WAITING", "TIMED_OUT", "NONE", "GRANTED shared, waiting". */
static const char *stands(struct sm_harness *h, const char *xid, const char *resource)
{
    static char text[64], mode[16], waiting[16];
    assert_int_equal(sm_ask(h, QUERY_FREEZE, format("{'xid':'%s','resource':'%s'}", xid, resource)),
                     ASSENT_OK);
    snprintf(mode, sizeof mode, "%s", sm_text(h, "mode"));
    snprintf(waiting, sizeof waiting, "%s", sm_text(h, "waitingFor"));
    snprintf(text, sizeof text, "%s%s%s%s", sm_text(h, "status"), mode[0] != '\0' ? " " : "", mode,
             mode[0] != '\0' && waiting[0] != '\0' ? ", waiting" : "");
    return text;
}

static uint64_t token_of(struct sm_harness *h, const char *xid, const char *resource)
{
    stands(h, xid, resource);
    return sm_uint(h, "token");
}

/* ---- a script a test: one step and what comes of it per row */

struct step {
    const char *verb; /* shared, exclusive (wait_ms), unfreeze, commit, rollback, tick, is */
    const char *xid, *resource;
    int wait_ms;
    const char *expect;
};

static const char *take(struct sm_harness *h, const struct step *s)
{
    int code = ASSENT_OK;
    if (strcmp(s->verb, "shared") == 0 || strcmp(s->verb, "exclusive") == 0)
        code = ask(h, s->xid, s->resource, s->verb, s->wait_ms);
    else if (strcmp(s->verb, "unfreeze") == 0)
        code = sm_run(h, COMMAND_UNFREEZE, format("{'xid':'%s','resource':'%s'}", s->xid, s->resource));
    else if (strcmp(s->verb, "commit") == 0)
        return assent_error_name(sm_run(h, COMMAND_TXN_COMMIT, format("{'xid':'%s'}", s->xid)));
    else if (strcmp(s->verb, "rollback") == 0)
        return assent_error_name(sm_run(h, COMMAND_TXN_ROLLBACK, format("{'xid':'%s'}", s->xid)));
    else if (strcmp(s->verb, "tick") == 0) {
        sm_advance(h, s->wait_ms);
        return assent_error_name(sm_run(h, COMMAND_TICK, "{}"));
    }
    return code != ASSENT_OK ? assent_error_name(code) : stands(h, s->xid, s->resource);
}

static void play(struct sm_harness *h, const struct step *steps, size_t n)
{
    for (const char *xid = "abcdef"; *xid != '\0'; xid++)
        begin(h, format("%c", *xid));
    for (size_t i = 0; i < n; i++) {
        const char *got = take(h, &steps[i]);
        if (strcmp(got, steps[i].expect) != 0)
            fail_msg("step %zu: %s %s %s: %s instead of %s (%s)", i, steps[i].verb, steps[i].xid,
                     steps[i].resource, got, steps[i].expect, sm_detail(h));
        if (i % 3 == 1)
            sm_reincarnate(h);
    }
}
#define PLAY(state, ...)                                                                                     \
    do {                                                                                                     \
        static const struct step steps[] = {__VA_ARGS__};                                                    \
        play(*(state), steps, sizeof steps / sizeof steps[0]);                                               \
    } while (0)

static void shared_freezes_share_and_exclusive_ones_do_not(void **state)
{
    PLAY(state, {"shared", "a", "r", 0, "GRANTED shared"}, {"shared", "b", "r", 0, "GRANTED shared"},
         {"exclusive", "c", "r", 0, "FROZEN"}, {"exclusive", "c", "s", 0, "GRANTED exclusive"},
         {"shared", "a", "s", 0, "FROZEN"}, {"exclusive", "a", "s", 0, "FROZEN"});
}

static void asking_again_changes_nothing(void **state)
{
    struct sm_harness *h = *state;
    PLAY(state, {"exclusive", "a", "r", 0, "GRANTED exclusive"}, {"shared", "a", "r", 0, "GRANTED exclusive"},
         {"exclusive", "b", "r", 1000, "WAITING"}, {"shared", "b", "r", 9000, "WAITING"});
    uint64_t token = token_of(h, "a", "r");
    stands(h, "b", "r");
    int64_t deadline_us = sm_int(h, "deadlineUs");
    assert_int_equal(ask(h, "a", "r", "exclusive", 0), ASSENT_OK);
    assert_int_equal(sm_uint(h, "token"), token);
    assert_int_equal(ask(h, "b", "r", "exclusive", 5000), ASSENT_OK);
    assert_int_equal(sm_int(h, "deadlineUs"), deadline_us);
}

static void a_lone_holder_is_upgraded_at_once_and_gets_a_larger_token(void **state)
{
    struct sm_harness *h = *state;
    PLAY(state, {"shared", "a", "r", 0, "GRANTED shared"});
    uint64_t before = token_of(h, "a", "r");
    assert_int_equal(ask(h, "a", "r", "exclusive", 0), ASSENT_OK);
    assert_true(sm_uint(h, "token") > before);
    assert_string_equal(stands(h, "a", "r"), "GRANTED exclusive");
}

static void an_upgrade_goes_before_those_who_wait(void **state)
{
    PLAY(state, {"shared", "a", "r", 0, "GRANTED shared"}, {"shared", "b", "r", 0, "GRANTED shared"},
         {"exclusive", "c", "r", 9000, "WAITING"}, {"exclusive", "a", "r", 9000, "GRANTED shared, waiting"},
         {"exclusive", "b", "r", 9000, "DEADLOCK"}, {"commit", "b", "r", 0, "OK"},
         {"is", "a", "r", 0, "GRANTED exclusive"}, {"is", "c", "r", 0, "WAITING"},
         {"rollback", "a", "r", 0, "OK"}, {"is", "c", "r", 0, "GRANTED exclusive"});
}

static void readers_do_not_overtake_a_waiting_writer(void **state)
{
    PLAY(state, {"shared", "a", "r", 0, "GRANTED shared"}, {"exclusive", "b", "r", 9000, "WAITING"},
         {"shared", "c", "r", 0, "FROZEN"}, {"shared", "c", "r", 9000, "WAITING"},
         {"shared", "d", "r", 9000, "WAITING"}, {"unfreeze", "a", "r", 0, "NONE"},
         {"is", "b", "r", 0, "GRANTED exclusive"}, {"is", "c", "r", 0, "WAITING"},
         {"commit", "b", "r", 0, "OK"}, {"is", "c", "r", 0, "GRANTED shared"},
         {"is", "d", "r", 0, "GRANTED shared"});
}

static void a_wait_ends_at_its_deadline_and_lets_the_next_one_in(void **state)
{
    PLAY(state, {"shared", "a", "r", 0, "GRANTED shared"}, {"exclusive", "b", "r", 1000, "WAITING"},
         {"shared", "c", "r", 5000, "WAITING"}, {"tick", "", "", 900, "OK"}, {"is", "b", "r", 0, "WAITING"},
         {"tick", "", "", 200, "OK"}, {"is", "b", "r", 0, "TIMED_OUT"}, {"is", "c", "r", 0, "GRANTED shared"},
         {"exclusive", "b", "r", 0, "FROZEN"}, {"is", "b", "r", 0, "TIMED_OUT"},
         {"exclusive", "b", "r", 1000, "WAITING"}, {"unfreeze", "b", "r", 0, "NONE"});
}

static void an_upgrade_in_vain_keeps_the_shared_freeze(void **state)
{
    PLAY(state, {"shared", "a", "r", 0, "GRANTED shared"}, {"shared", "b", "r", 0, "GRANTED shared"},
         {"exclusive", "a", "r", 1000, "GRANTED shared, waiting"}, {"tick", "", "", 2000, "OK"},
         {"is", "a", "r", 0, "GRANTED shared"}, {"unfreeze", "a", "r", 0, "NONE"},
         {"exclusive", "b", "r", 0, "GRANTED exclusive"});
}

static void the_one_who_would_close_a_circle_is_refused(void **state)
{
    PLAY(state, {"exclusive", "a", "r", 0, "GRANTED exclusive"},
         {"exclusive", "b", "s", 0, "GRANTED exclusive"}, {"exclusive", "c", "t", 0, "GRANTED exclusive"},
         {"exclusive", "a", "s", 9000, "WAITING"}, {"exclusive", "b", "t", 9000, "WAITING"},
         {"exclusive", "c", "r", 0, "FROZEN"}, {"exclusive", "c", "r", 9000, "DEADLOCK"},
         {"shared", "c", "s", 9000, "DEADLOCK"}, {"rollback", "c", "", 0, "OK"},
         {"is", "b", "t", 0, "GRANTED exclusive"}, {"commit", "b", "", 0, "OK"},
         {"is", "a", "s", 0, "GRANTED exclusive"});
}

/* b waits for a only because a stands before it in line. */
static void the_line_is_part_of_the_circle(void **state)
{
    PLAY(state, {"shared", "c", "r", 0, "GRANTED shared"}, {"exclusive", "b", "s", 0, "GRANTED exclusive"},
         {"exclusive", "a", "r", 9000, "WAITING"}, {"shared", "b", "r", 9000, "WAITING"},
         {"shared", "a", "s", 9000, "DEADLOCK"});
}

static void the_end_of_a_transaction_and_nothing_earlier_releases(void **state)
{
    static const struct {
        uint32_t decide;
        int op;
    } rows[] = {{COMMAND_TXN_COMMIT, SM_OP_CONFIRM}, {COMMAND_TXN_ROLLBACK, SM_OP_CANCEL}};
    struct sm_harness *h = *state;
    begin(h, "w");
    begin(h, "x");
    for (size_t i = 0; i < 2; i++) {
        const char *xid = i == 0 ? "y" : "z";
        assert_int_equal(sm_run(h, COMMAND_TXN_BEGIN,
                                format("{'xid':'%s','branches':[{'branch':'b','confirmUrl':'http://h/c',"
                                       "'cancelUrl':'http://h/x'}]}",
                                       xid)),
                         ASSENT_OK);
        assert_int_equal(ask(h, "x", "q", "exclusive", 0), ASSENT_OK);
        assert_int_equal(ask(h, xid, "r", "exclusive", 0), ASSENT_OK);
        assert_int_equal(ask(h, xid, "q", "exclusive", 9000), ASSENT_OK);
        assert_int_equal(ask(h, "w", "r", "exclusive", 9000), ASSENT_OK);
        assert_int_equal(sm_run(h, rows[i].decide, format("{'xid':'%s'}", xid)), ASSENT_OK);
        /* decided: it waits no more, but holds */
        assert_string_equal(stands(h, xid, "q"), "NONE");
        assert_string_equal(stands(h, xid, "r"), "GRANTED exclusive");
        assert_string_equal(stands(h, "w", "r"), "WAITING");
        assert_int_equal(ask(h, xid, "other", "shared", 0), ASSENT_TXN_DECIDED);
        assert_int_equal(sm_run(h, COMMAND_UNFREEZE, format("{'xid':'%s','resource':'r'}", xid)),
                         ASSENT_TXN_DECIDED);
        assert_int_equal(
            sm_run(h, COMMAND_BRANCH_REPORT,
                   format("{'xid':'%s','branch':'b','op':%d,'attempt':0,'success':true}", xid, rows[i].op)),
            ASSENT_OK);
        assert_string_equal(stands(h, xid, "r"), "NONE");
        assert_string_equal(stands(h, "w", "r"), "GRANTED exclusive");
        assert_int_equal(sm_run(h, COMMAND_UNFREEZE, "{'xid':'w','resource':'r'}"), ASSENT_OK);
    }
}

/* Saving a transaction that stays ACTIVE is no end of its waits. */
static void who_waits_may_register_branches(void **state)
{
    struct sm_harness *h = *state;
    begin(h, "a");
    begin(h, "b");
    assert_int_equal(ask(h, "a", "r", "exclusive", 0), ASSENT_OK);
    assert_int_equal(ask(h, "b", "r", "exclusive", 60000), ASSENT_OK);
    assert_int_equal(sm_run(h, COMMAND_TXN_BRANCH,
                            "{'xid':'b','branch':'n','confirmUrl':'http://h/c','cancelUrl':'http://h/x'}"),
                     ASSENT_OK);
    assert_string_equal(stands(h, "b", "r"), "WAITING");
    assert_int_equal(sm_run(h, COMMAND_TXN_COMMIT, "{'xid':'a'}"), ASSENT_OK);
    assert_string_equal(stands(h, "b", "r"), "GRANTED exclusive");
}

static void a_transaction_that_times_out_lets_go(void **state)
{
    struct sm_harness *h = *state;
    begin(h, "b");
    assert_int_equal(sm_run(h, COMMAND_TXN_BEGIN, "{'xid':'a','timeoutMs':1000}"), ASSENT_OK);
    assert_int_equal(ask(h, "a", "r", "exclusive", 0), ASSENT_OK);
    assert_int_equal(ask(h, "b", "r", "exclusive", 9000), ASSENT_OK);
    sm_advance(h, 2000);
    /* the timer, fired before this command, grants to b */
    begin(h, "c");
    uint64_t token = token_of(h, "b", "r");
    assert_true(token > 0);
    assert_string_equal(stands(h, "a", "r"), "NONE");
}

/* Several grants of one command, and a timer's grant followed by the command's own. */
static void every_token_is_larger_than_all_before(void **state)
{
    struct sm_harness *h = *state;
    uint64_t last = 0, token;
    for (int i = 0; i < 8; i++)
        begin(h, format("t%d", i));
    assert_int_equal(ask(h, "t0", "r", "exclusive", 0), ASSENT_OK);
    last = sm_uint(h, "token");
    for (int i = 1; i < 8; i++)
        assert_int_equal(ask(h, format("t%d", i), "r", "shared", 60000), ASSENT_OK);
    assert_int_equal(sm_run(h, COMMAND_TXN_COMMIT, "{'xid':'t0'}"), ASSENT_OK);
    for (int i = 1; i < 8; i++) {
        char xid[16];
        snprintf(xid, sizeof xid, "t%d", i);
        token = token_of(h, xid, "r");
        assert_true(token > last);
        last = token;
    }
    assert_int_equal(ask(h, "t1", "other", "shared", 0), ASSENT_OK);
    assert_true(sm_uint(h, "token") > last);
}

static void bad_requests_are_refused_and_change_nothing(void **state)
{
    static const struct {
        const char *args;
        int code;
    } rows[] = {
        {"{'xid':'nobody','resource':'r'}", ASSENT_TXN_NOT_FOUND},
        {"{'xid':'a','resource':'r','mode':'weak'}", ASSENT_INVALID},
        {"{'xid':'a','resource':'r','waitMs':3600001}", ASSENT_INVALID},
        {"{'xid':'done','resource':'r'}", ASSENT_TXN_DECIDED},
        {"{'xid':'b','resource':'held','mode':'exclusive'}", ASSENT_FROZEN},
        {"{'xid':'c','resource':'held','mode':'exclusive','waitMs':5}", ASSENT_CONFLICT},
    };
    struct sm_harness *h = *state;
    for (const char *xid = "abc"; *xid != '\0'; xid++)
        begin(h, format("%c", *xid));
    begin(h, "done");
    assert_int_equal(sm_run(h, COMMAND_TXN_COMMIT, "{'xid':'done'}"), ASSENT_OK);
    assert_int_equal(ask(h, "a", "held", "exclusive", 0), ASSENT_OK);
    assert_int_equal(ask(h, "c", "held", "shared", 9000), ASSENT_OK);
    uint64_t digest = sm_digest(h->sm);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(sm_run(h, COMMAND_FREEZE, rows[i].args), rows[i].code);
        assert_true(sm_digest(h->sm) == digest);
        if (rows[i].code == ASSENT_FROZEN)
            assert_non_null(strstr(sm_detail(h), "exclusive by a, token "));
    }
}

static void limits_are_kept(void **state)
{
    struct sm_harness *h = *state;
    begin(h, "a");
    begin(h, "b");
    for (int i = 0; i < FREEZES_PER_TXN_MAX; i++)
        assert_int_equal(ask(h, "a", format("r%d", i), "exclusive", 0), ASSENT_OK);
    assert_int_equal(ask(h, "a", "one more", "exclusive", 0), ASSENT_LIMIT);
    assert_int_equal(ask(h, "a", "r0", "exclusive", 0), ASSENT_OK);
    for (int i = 0; i < FREEZE_WAITS_MAX; i++)
        assert_int_equal(ask(h, "b", format("r%d", i), "shared", 1000), ASSENT_OK);
    assert_int_equal(ask(h, "b", "r100", "shared", 1000), ASSENT_LIMIT);
    for (int i = 1; i < FREEZE_QUEUE_MAX; i++) {
        char xid[16];
        snprintf(xid, sizeof xid, "w%d", i);
        begin(h, xid);
        assert_int_equal(ask(h, xid, "r0", "shared", 60000), ASSENT_OK);
    }
    begin(h, "last");
    assert_int_equal(ask(h, "last", "r0", "shared", 60000), ASSENT_LIMIT);
    sm_reincarnate(h);
    assert_int_equal(sm_run(h, COMMAND_TXN_ROLLBACK, "{'xid':'a'}"), ASSENT_OK);
    assert_int_equal(sm_ask(h, QUERY_FREEZE_RESOURCE, "{'resource':'r0'}"), ASSENT_OK);
    assert_int_equal(sm_count(h, "holders"), FREEZE_QUEUE_MAX);
    assert_int_equal(sm_count(h, "waiters"), 0);
}

static void a_long_line_behind_many_readers_is_searched(void **state)
{
    struct sm_harness *h = *state;
    for (int i = 0; i < FREEZE_HOLDERS_MAX - FREEZE_QUEUE_MAX; i++) {
        begin(h, format("u%d", i));
        assert_int_equal(ask(h, format("u%d", i), "r", "shared", 0), ASSENT_OK);
    }
    for (int i = 0; i < FREEZE_QUEUE_MAX; i++) {
        begin(h, format("w%d", i));
        assert_int_equal(ask(h, format("w%d", i), format("own%d", i), "exclusive", 0), ASSENT_OK);
        assert_int_equal(ask(h, format("w%d", i), "r", i % 4 == 0 ? "shared" : "exclusive", 60000),
                         ASSENT_OK);
    }
    assert_int_equal(ask(h, "u5", "own127", "shared", 60000), ASSENT_DEADLOCK);
    assert_int_equal(ask(h, "w0", "own127", "shared", 60000), ASSENT_DEADLOCK);
    begin(h, "other");
    assert_int_equal(ask(h, "other", "r", "shared", 60000), ASSENT_LIMIT);
    assert_int_equal(ask(h, "other", "own127", "shared", 60000), ASSENT_OK);
}

/* A newcomer behind 450 holders, each of whom waits for 40 others. */
static void a_graph_too_large_to_search_is_refused(void **state)
{
    struct sm_harness *h = *state;
    for (int j = 0; j < 40; j++)
        begin(h, format("v%d", j));
    for (int i = 0; i < 450; i++) {
        char own[16];
        snprintf(own, sizeof own, "own%d", i);
        begin(h, format("u%d", i));
        for (int j = 0; j < 40; j++)
            assert_int_equal(ask(h, format("v%d", j), own, "shared", 0), ASSENT_OK);
        assert_int_equal(ask(h, format("u%d", i), "r", "shared", 0), ASSENT_OK);
        assert_int_equal(ask(h, format("u%d", i), own, "exclusive", 3600000), ASSENT_OK);
    }
    begin(h, "newcomer");
    uint64_t digest = sm_digest(h->sm);
    assert_int_equal(ask(h, "newcomer", "r", "exclusive", 1000), ASSENT_LIMIT);
    assert_true(sm_digest(h->sm) == digest);
    assert_int_equal(ask(h, "newcomer", "r", "shared", 1000), ASSENT_OK);
}

static void who_holds_what_is_visible_in_pages(void **state)
{
    struct sm_harness *h = *state;
    begin(h, "a");
    begin(h, "b");
    for (int i = 0; i < 5; i++)
        assert_int_equal(ask(h, "a", format("acc:%d", i), i == 4 ? "shared" : "exclusive", 0), ASSENT_OK);
    assert_int_equal(ask(h, "a", "doc/1", "exclusive", 0), ASSENT_OK);
    assert_int_equal(ask(h, "b", "acc:3", "exclusive", 5000), ASSENT_OK);
    assert_int_equal(sm_ask(h, QUERY_FREEZE_LIST, "{'prefix':'acc:','limit':3}"), ASSENT_OK);
    assert_int_equal(sm_count(h, "freezes"), 3);
    assert_string_equal(sm_text(h, "next"), "acc:2");
    assert_int_equal(sm_ask(h, QUERY_FREEZE_LIST, "{'prefix':'acc:','limit':2,'after':'acc:2'}"), ASSENT_OK);
    assert_string_equal(sm_json(h),
                        "{\"freezes\":[{\"resource\":\"acc:3\",\"mode\":\"exclusive\",\"holders\":1,"
                        "\"waiters\":1},{\"resource\":\"acc:4\",\"mode\":\"shared\",\"holders\":1,"
                        "\"waiters\":0}],\"next\":null}");
    assert_int_equal(sm_ask(h, QUERY_FREEZE_LIST, "{}"), ASSENT_OK);
    assert_int_equal(sm_count(h, "freezes"), 6);
    assert_int_equal(sm_ask(h, QUERY_FREEZE_TXN, "{'xid':'a','limit':5}"), ASSENT_OK);
    assert_int_equal(sm_count(h, "freezes"), 5);
    assert_int_equal(sm_ask(h, QUERY_FREEZE_TXN, "{'xid':'a','limit':5,'after':'acc:4'}"), ASSENT_OK);
    assert_string_equal(sm_text(h, "freezes.0.resource"), "doc/1");
    assert_int_equal(sm_ask(h, QUERY_FREEZE_TXN, "{'xid':'b'}"), ASSENT_OK);
    assert_string_equal(sm_text(h, "freezes.0.status"), "WAITING");
    assert_int_equal(sm_ask(h, QUERY_FREEZE_TXN, "{'xid':'nobody'}"), ASSENT_TXN_NOT_FOUND);
    assert_int_equal(sm_ask(h, QUERY_FREEZE_RESOURCE, "{'resource':'acc:3'}"), ASSENT_OK);
    assert_string_equal(sm_text(h, "holders.0.xid"), "a");
    assert_string_equal(sm_text(h, "waiters.0.xid"), "b");
}

static void transactions_are_found_by_business_key(void **state)
{
    struct sm_harness *h = *state;
    for (int i = 0; i < 5; i++)
        assert_int_equal(sm_run(h, COMMAND_TXN_BEGIN,
                                format("{'xid':'x%d','businessType':'%s','businessKey':'%s'}", i,
                                       i % 2 == 0 ? "pay" : "ship", i == 4 ? "order-17b" : "order-17")),
                         ASSENT_OK);
    assert_int_equal(sm_run(h, COMMAND_TXN_COMMIT, "{'xid':'x1'}"), ASSENT_OK);
    assert_int_equal(sm_ask(h, QUERY_TXN_LIST, "{'businessKey':'order-17','limit':3,'order':'oldest'}"),
                     ASSENT_OK);
    assert_int_equal(sm_count(h, "transactions"), 3);
    assert_int_equal(sm_ask(h, QUERY_TXN_LIST,
                            format("{'businessKey':'order-17','limit':3,'order':'oldest','after':'%s'}",
                                   sm_text(h, "next"))),
                     ASSENT_OK);
    assert_int_equal(sm_count(h, "transactions"), 1);
    assert_string_equal(sm_text(h, "transactions.0.xid"), "x3");
    assert_int_equal(sm_ask(h, QUERY_TXN_LIST, "{'businessKey':'order-17','businessType':'ship'}"),
                     ASSENT_OK);
    assert_int_equal(sm_count(h, "transactions"), 2);
    assert_int_equal(sm_ask(h, QUERY_TXN_LIST, "{'businessKey':'order-17','status':'COMMITTED'}"), ASSENT_OK);
    assert_int_equal(sm_count(h, "transactions"), 1);
    assert_string_equal(sm_text(h, "transactions.0.xid"), "x1");
    /* gone with the transaction */
    sm_advance(h, 8ll * 24 * 3600 * 1000);
    for (int i = 0; i < 4; i++)
        assert_int_equal(sm_run(h, COMMAND_TICK, "{}"), ASSENT_OK);
    sm_reincarnate(h);
    assert_int_equal(sm_ask(h, QUERY_TXN_LIST, "{'businessKey':'order-17','status':'COMMITTED'}"), ASSENT_OK);
    assert_int_equal(sm_count(h, "transactions"), 0);
}

/* ---- the model: the same rules, told over small arrays without indexes, counts or rows */

enum { TXNS = 6, RESOURCES = 4 };

struct model_wait {
    int txn, mode; /* 1 shared, 2 exclusive */
    bool upgrade;
    int64_t deadline_us;
};
struct model {
    bool active[TXNS], late[TXNS][RESOURCES];
    int life[TXNS];            /* part of the xid: transactions come anew */
    int held[TXNS][RESOURCES]; /* 0, or the mode */
    struct model_wait line[RESOURCES][TXNS];
    int lined[RESOURCES];
};

static int model_holders(const struct model *m, int r)
{
    int n = 0;
    for (int t = 0; t < TXNS; t++)
        n += m->held[t][r] != 0;
    return n;
}

/* Could a first in line be served? */
static bool model_fits(const struct model *m, int t, int r, int mode)
{
    for (int o = 0; o < TXNS; o++)
        if (o != t && m->held[o][r] != 0 && (mode == 2 || m->held[o][r] == 2))
            return false;
    return true;
}

static void model_cut(struct model *m, int r, int at)
{
    for (int i = at; i + 1 < m->lined[r]; i++)
        m->line[r][i] = m->line[r][i + 1];
    m->lined[r]--;
}

static void model_serve(struct model *m, int r)
{
    while (m->lined[r] > 0 && model_fits(m, m->line[r][0].txn, r, m->line[r][0].mode)) {
        m->held[m->line[r][0].txn][r] = m->line[r][0].mode;
        m->late[m->line[r][0].txn][r] = false;
        model_cut(m, r, 0);
    }
}

static int model_place(const struct model *m, int t, int r)
{
    for (int i = 0; i < m->lined[r]; i++)
        if (m->line[r][i].txn == t)
            return i;
    return -1;
}

/* Who waits for whom, closed transitively; is anybody on a circle? */
static bool model_deadlock(const struct model *m)
{
    bool waits[TXNS][TXNS] = {{false}};
    for (int r = 0; r < RESOURCES; r++)
        for (int i = 0; i < m->lined[r]; i++) {
            const struct model_wait *w = &m->line[r][i];
            for (int o = 0; o < TXNS; o++)
                if (o != w->txn && m->held[o][r] != 0 && (w->mode == 2 || m->held[o][r] == 2))
                    waits[w->txn][o] = true;
            for (int k = 0; k < i; k++)
                if (w->mode == 2 || m->line[r][k].mode == 2)
                    waits[w->txn][m->line[r][k].txn] = true;
        }
    for (int k = 0; k < TXNS; k++)
        for (int i = 0; i < TXNS; i++)
            for (int j = 0; j < TXNS; j++)
                waits[i][j] = waits[i][j] || (waits[i][k] && waits[k][j]);
    for (int i = 0; i < TXNS; i++)
        if (waits[i][i])
            return true;
    return false;
}

static int model_freeze(struct model *m, int t, int r, int mode, int wait_ms, int64_t now_us)
{
    int at = model_place(m, t, r);
    if (m->held[t][r] >= mode)
        return ASSENT_OK;
    if (at >= 0)
        return m->line[r][at].mode >= mode ? ASSENT_OK : ASSENT_CONFLICT;
    bool upgrade = m->held[t][r] != 0;
    if (model_fits(m, t, r, mode) && (upgrade || m->lined[r] == 0)) {
        m->held[t][r] = mode;
        m->late[t][r] = false;
        return ASSENT_OK;
    }
    if (wait_ms == 0)
        return ASSENT_FROZEN;
    struct model before = *m;
    int place = upgrade ? 0 : m->lined[r];
    for (int i = m->lined[r]++; i > place; i--)
        m->line[r][i] = m->line[r][i - 1];
    m->line[r][place] = (struct model_wait){t, mode, upgrade, now_us + wait_ms * INT64_C(1000)};
    m->late[t][r] = false;
    if (!model_deadlock(m))
        return ASSENT_OK;
    *m = before;
    return ASSENT_DEADLOCK;
}

static void model_unfreeze(struct model *m, int t, int r)
{
    int at = model_place(m, t, r);
    if (at >= 0)
        model_cut(m, r, at);
    m->held[t][r] = 0;
    m->late[t][r] = false;
    model_serve(m, r);
}

/* Deadlines in order of time; ties cannot be: every command has its own time. */
static void model_time(struct model *m, int64_t now_us)
{
    for (;;) {
        int best_r = -1, best_i = 0;
        for (int r = 0; r < RESOURCES; r++)
            for (int i = 0; i < m->lined[r]; i++)
                if (m->line[r][i].deadline_us <= now_us &&
                    (best_r < 0 || m->line[r][i].deadline_us < m->line[best_r][best_i].deadline_us))
                    best_r = r, best_i = i;
        if (best_r < 0)
            return;
        m->late[m->line[best_r][best_i].txn][best_r] = true;
        model_cut(m, best_r, best_i);
        model_serve(m, best_r);
    }
}

static const char *model_xid(const struct model *m, int t)
{
    static char xid[32];
    snprintf(xid, sizeof xid, "t%d-%d", t, m->life[t]);
    return xid;
}

static const char *model_stands(const struct model *m, int t, int r)
{
    bool waits = model_place(m, t, r) >= 0;
    if (m->held[t][r] == 2)
        return "GRANTED exclusive";
    if (m->held[t][r] == 1)
        return waits ? "GRANTED shared, waiting" : "GRANTED shared";
    return waits ? "WAITING" : m->late[t][r] ? "TIMED_OUT" : "NONE";
}

static void compare(struct sm_harness *h, const struct model *m, int step)
{
    static const char names[RESOURCES][2] = {"p", "q", "r", "s"};
    for (int t = 0; t < TXNS; t++)
        for (int r = 0; r < RESOURCES; r++) {
            const char *want = model_stands(m, t, r), *got = stands(h, model_xid(m, t), names[r]);
            if (strcmp(want, got) != 0)
                fail_msg("step %d: %s stands %s to %s, the model says %s", step, model_xid(m, t), got,
                         names[r], want);
        }
    for (int r = 0; r < RESOURCES; r++) {
        assert_int_equal(sm_ask(h, QUERY_FREEZE_RESOURCE, format("{'resource':'%s'}", names[r])), ASSENT_OK);
        assert_int_equal(sm_count(h, "holders"), model_holders(m, r));
        assert_int_equal(sm_count(h, "waiters"), m->lined[r]);
        for (int i = 0; i < m->lined[r]; i++) {
            char path[32];
            snprintf(path, sizeof path, "waiters.%d.xid", i);
            assert_string_equal(sm_text(h, path), model_xid(m, m->line[r][i].txn));
        }
    }
}

static unsigned dice(uint64_t *seed, unsigned n)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(*seed >> 33) % n;
}

/* One command of chance, on both. */
static int chance(struct sm_harness *h, struct model *m, uint64_t *seed)
{
    static const char names[RESOURCES][2] = {"p", "q", "r", "s"};
    int t = (int)dice(seed, TXNS), r = (int)dice(seed, RESOURCES), code = ASSENT_OK;
    unsigned what = dice(seed, 24);
    sm_advance(h, dice(seed, 40));
    model_time(m, h->now_us);
    if (what < 19) {
        int mode = 1 + (int)dice(seed, 2), wait_ms = dice(seed, 4) == 0 ? 0 : 1 + (int)dice(seed, 3000);
        int64_t now_us = h->now_us;
        code = model_freeze(m, t, r, mode, wait_ms, now_us);
        assert_int_equal(ask(h, model_xid(m, t), names[r], mode == 1 ? "shared" : "exclusive", wait_ms),
                         code);
    } else if (what < 21) {
        model_unfreeze(m, t, r);
        assert_int_equal(
            sm_run(h, COMMAND_UNFREEZE, format("{'xid':'%s','resource':'%s'}", model_xid(m, t), names[r])),
            ASSENT_OK);
    } else if (what < 23) {
        assert_int_equal(sm_run(h, what == 21 ? COMMAND_TXN_COMMIT : COMMAND_TXN_ROLLBACK,
                                format("{'xid':'%s'}", model_xid(m, t))),
                         ASSENT_OK);
        for (int i = 0; i < RESOURCES; i++)
            model_unfreeze(m, t, i);
        m->life[t]++;
        model_time(m, h->now_us);
        assert_int_equal(sm_run(h, COMMAND_TXN_BEGIN, format("{'xid':'%s','timeoutMs':0}", model_xid(m, t))),
                         ASSENT_OK);
    } else {
        assert_int_equal(sm_run(h, COMMAND_TICK, "{}"), ASSENT_OK);
    }
    return code;
}

static void a_model_agrees_at_random(void **state)
{
    struct sm_harness *h = *state;
    static struct model m;
    uint64_t seed = 17;
    int deadlocks = 0, frozen = 0;
    for (int t = 0; t < TXNS; t++)
        assert_int_equal(sm_run(h, COMMAND_TXN_BEGIN, format("{'xid':'%s','timeoutMs':0}", model_xid(&m, t))),
                         ASSENT_OK);
    for (int step = 0; step < 3000; step++) {
        int code = chance(h, &m, &seed);
        deadlocks += code == ASSENT_DEADLOCK;
        frozen += code == ASSENT_FROZEN;
        compare(h, &m, step);
        if (step % 500 == 99)
            sm_reincarnate(h);
    }
    /* the dice met what they are for */
    assert_true(deadlocks > 100 && frozen > 100);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, sm_harness_setup, sm_harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(shared_freezes_share_and_exclusive_ones_do_not),
        TEST(asking_again_changes_nothing),
        TEST(a_lone_holder_is_upgraded_at_once_and_gets_a_larger_token),
        TEST(an_upgrade_goes_before_those_who_wait),
        TEST(readers_do_not_overtake_a_waiting_writer),
        TEST(a_wait_ends_at_its_deadline_and_lets_the_next_one_in),
        TEST(an_upgrade_in_vain_keeps_the_shared_freeze),
        TEST(the_one_who_would_close_a_circle_is_refused),
        TEST(the_line_is_part_of_the_circle),
        TEST(the_end_of_a_transaction_and_nothing_earlier_releases),
        TEST(who_waits_may_register_branches),
        TEST(a_transaction_that_times_out_lets_go),
        TEST(every_token_is_larger_than_all_before),
        TEST(bad_requests_are_refused_and_change_nothing),
        TEST(limits_are_kept),
        TEST(a_long_line_behind_many_readers_is_searched),
        TEST(a_graph_too_large_to_search_is_refused),
        TEST(who_holds_what_is_visible_in_pages),
        TEST(transactions_are_found_by_business_key),
        TEST(a_model_agrees_at_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
