/* Due work as the executor walks it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sm_harness.h"

#define ok(h, type, args) assert_int_equal(sm_run(h, type, args), ASSENT_OK)

static void commit(struct sm_harness *h, const char *xid, const char *branches)
{
    char args[1024];
    snprintf(args, sizeof(args),
             "{'xid':'%s','traceparent':'00-ab-cd-01','businessType':'order','branches':[%s]}", xid,
             branches);
    ok(h, COMMAND_TXN_BEGIN, args);
    snprintf(args, sizeof(args), "{'xid':'%s'}", xid);
    ok(h, COMMAND_TXN_COMMIT, args);
}

#define TWO                                                                                                  \
    "{'branch':'b2','confirmUrl':'http://p/c2','cancelUrl':'http://p/x2'},"                                  \
    "{'branch':'b1','confirmUrl':'http://p/c1','cancelUrl':'http://p/"                                       \
    "x1','payload':[1],'headers':{'X-A':'1','X-B':''},"                                                      \
    "'timeoutMs':70}"

static bool is(struct assent_bytes b, const char *text)
{
    return b.size == strlen(text) && memcmp(b.base, text, b.size) == 0;
}

/* "t1/b1 t1/b2 ..." of everything due, in order. */
static const char *walk(struct sm_harness *h, struct sm_work_cursor *c, int64_t now_us, uint32_t max)
{
    static char out[1024];
    struct sm_work w;
    size_t n = 0;
    out[0] = 0;
    sm_work_begin(h->sm, c);
    for (uint32_t i = 0; i < max && sm_work_next(h->sm, c, now_us, &w); i++)
        n += (size_t)snprintf(out + n, sizeof(out) - n, "%s%.*s/%.*s", n > 0 ? " " : "", (int)w.xid.size,
                              (const char *)w.xid.base, (int)w.branch.size, (const char *)w.branch.base);
    sm_work_end(h->sm, c);
    return out;
}

static void work_is_in_order_of_time_then_branch(void **state)
{
    struct sm_harness *h = *state;
    struct sm_work_cursor c = {0};
    commit(h, "t2", TWO);
    commit(h, "t1", TWO);
    assert_string_equal(walk(h, &c, h->now_us, 10), "t2/b1 t2/b2 t1/b1 t1/b2");
    assert_string_equal(walk(h, &c, h->now_us, 10), ""); /* goes on behind the place */
}

static void a_walk_goes_on_where_it_stopped(void **state)
{
    struct sm_harness *h = *state;
    struct sm_work_cursor c = {0};
    commit(h, "t1", TWO);
    commit(h, "t2", TWO);
    assert_string_equal(walk(h, &c, h->now_us, 1), "t1/b1");
    ok(h, COMMAND_BRANCH_REPORT, "{'xid':'t1','branch':'b1','op':1,'attempt':0,'success':true}");
    assert_string_equal(walk(h, &c, h->now_us, 2), "t1/b2 t2/b1");
    sm_work_place(&c, sm_time_us(h->sm) + 1);
    assert_string_equal(walk(h, &c, h->now_us, 9), "");
    sm_work_place(&c, 0);
    assert_string_equal(walk(h, &c, h->now_us, 9), "t1/b2 t2/b1 t2/b2");
}

static void a_piece_says_all_that_a_call_needs(void **state)
{
    struct sm_harness *h = *state;
    struct sm_work_cursor c = {0};
    struct sm_work w;
    struct assent_bytes name, value;
    commit(h, "t", TWO);
    sm_work_begin(h->sm, &c);
    assert_true(sm_work_next(h->sm, &c, h->now_us, &w));
    sm_work_load(h->sm, &c, &w);
    assert_true(is(w.xid, "t") && is(w.branch, "b1") && is(w.url, "http://p/c1") && is(w.payload, "[1]"));
    assert_true(is(w.traceparent, "00-ab-cd-01") && is(w.business_type, "order") && is(w.mode, "TCC"));
    assert_true(w.op == SM_OP_CONFIRM && w.attempt == 0 && w.timeout_ms == 70);
    assert_true(w.token == assent_position(h->index, 0)); /* of the commit */
    assert_true(sm_work_header(&w.headers, &name, &value) && is(name, "X-A") && is(value, "1"));
    assert_true(sm_work_header(&w.headers, &name, &value) && is(name, "X-B") && is(value, ""));
    assert_false(sm_work_header(&w.headers, &name, &value));
    sm_work_end(h->sm, &c);
}

static void a_failed_call_is_due_later_with_the_next_attempt(void **state)
{
    struct sm_harness *h = *state;
    struct sm_work_cursor c = {0};
    struct sm_work w;
    commit(h, "t", "{'branch':'b','confirmUrl':'http://p/c','cancelUrl':'http://p/x'}");
    uint64_t token = assent_position(h->index, 0);
    ok(h, COMMAND_BRANCH_REPORT,
       "{'xid':'t','branch':'b','op':1,'attempt':0,'success':false,'error':'refused'}");
    int64_t due = sm_time_us(h->sm) + 100000;
    assert_true(sm_next_work_us(h->sm) == due);
    sm_work_begin(h->sm, &c);
    assert_false(sm_work_next(h->sm, &c, due - 1, &w));
    assert_true(w.due_us == due); /* when to look again */
    sm_work_end(h->sm, &c);
    sm_work_begin(h->sm, &c);
    assert_true(sm_work_next(h->sm, &c, due, &w));
    assert_true(w.attempt == 1 && w.token == token); /* the decision authorises it, not the retry */
    sm_work_end(h->sm, &c);
}

static void a_place_finds_its_piece_until_it_is_done(void **state)
{
    struct sm_harness *h = *state;
    struct sm_work_cursor c = {0};
    struct sm_work w;
    commit(h, "t", "{'branch':'b','confirmUrl':'http://p/c','cancelUrl':'http://p/x'}");
    assert_string_equal(walk(h, &c, h->now_us, 1), "t/b");
    sm_work_begin(h->sm, &c);
    assert_true(sm_work_at(h->sm, &c, &w));
    assert_true(is(w.branch, "b"));
    sm_work_end(h->sm, &c);
    ok(h, COMMAND_BRANCH_REPORT, "{'xid':'t','branch':'b','op':1,'attempt':0,'success':true}");
    sm_work_begin(h->sm, &c);
    assert_false(sm_work_at(h->sm, &c, &w));
    sm_work_end(h->sm, &c);
}

static void nothing_due_says_never(void **state)
{
    struct sm_harness *h = *state;
    struct sm_work_cursor c = {0};
    struct sm_work w;
    assert_true(sm_next_work_us(h->sm) == INT64_MAX);
    sm_work_begin(h->sm, &c);
    assert_false(sm_work_next(h->sm, &c, INT64_MAX, &w));
    assert_true(w.due_us == INT64_MAX);
    sm_work_end(h->sm, &c);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, sm_harness_setup, sm_harness_teardown)
    static const struct CMUnitTest tests[] = {
        T(work_is_in_order_of_time_then_branch),     T(a_walk_goes_on_where_it_stopped),
        T(a_piece_says_all_that_a_call_needs),       T(a_failed_call_is_due_later_with_the_next_attempt),
        T(a_place_finds_its_piece_until_it_is_done), T(nothing_due_says_never),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
