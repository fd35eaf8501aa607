/* Versioned objects: what supersedes what, who stays as a sibling, how conflicts end, what history keeps. */
#include "clock_case.h"

static void a_node_supersedes_its_own_writes(void **state)
{
    struct sm_harness *h = *state;
    assert_string_equal(run(h, COMMAND_VERSION_INCREMENT, "{'object':'o','node':'a','value':1}"), "OK");
    assert_string_equal(sm_json(h),
                        "{\"object\":\"o\",\"dot\":{\"a\":1},\"version\":{\"a\":1},\"conflict\":false}");
    assert_string_equal(run(h, COMMAND_VERSION_INCREMENT, "{'object':'o','node':'a','value':2}"), "OK");
    assert_false(sm_bool(h, "conflict"));
    assert_string_equal(ask(h, QUERY_VERSION, "{'object':'o'}"), "OK");
    assert_int_equal(sm_count(h, "siblings"), 1);
    assert_string_equal(sm_text(h, "siblings.0.value"), "2");
    assert_int_equal(sm_uint(h, "version.a"), 2);
    assert_string_equal(ask(h, QUERY_VERSION, "{'object':'other'}"), "NOT_FOUND");
}

static void a_write_that_has_not_read_the_other_is_a_sibling(void **state)
{
    struct sm_harness *h = *state;
    run(h, COMMAND_VERSION_INCREMENT, "{'object':'o','node':'a','value':'x'}");
    assert_string_equal(run(h, COMMAND_VERSION_INCREMENT, "{'object':'o','node':'b','value':'y'}"), "OK");
    assert_true(sm_bool(h, "conflict"));
    assert_int_equal(sm_count(h, "siblings"), 2);
    /* a goes on without having read b: its own value goes, b's stays */
    assert_string_equal(run(h, COMMAND_VERSION_INCREMENT, "{'object':'o','node':'a','value':'z'}"), "OK");
    assert_int_equal(sm_count(h, "siblings"), 2);
    assert_string_equal(sm_text(h, "siblings.0.value"), "\"y\"");
    assert_string_equal(sm_text(h, "siblings.1.value"), "\"z\"");
}

static void a_context_discards_exactly_what_it_covers(void **state)
{
    struct sm_harness *h = *state;
    run(h, COMMAND_VERSION_INCREMENT, "{'object':'o','node':'a','value':1,'context':{}}");
    run(h, COMMAND_VERSION_INCREMENT, "{'object':'o','node':'b','value':2,'context':{}}");
    run(h, COMMAND_VERSION_INCREMENT, "{'object':'o','node':'c','value':3,'context':{}}");
    assert_int_equal(sm_count(h, "siblings"), 3);
    assert_string_equal(
        run(h, COMMAND_VERSION_INCREMENT, "{'object':'o','node':'a','value':4,'context':{'a':1,'b':1}}"),
        "OK");
    assert_int_equal(sm_count(h, "siblings"), 2);
    assert_string_equal(sm_text(h, "siblings.0.value"), "3");
    assert_string_equal(run(h, COMMAND_VERSION_INCREMENT,
                            "{'object':'o','node':'b','value':5,'context':{'a':2,'b':1,'c':1}}"),
                        "OK");
    assert_false(sm_bool(h, "conflict"));
}

static void two_clients_of_one_node_with_one_context_are_siblings(void **state)
{
    struct sm_harness *h = *state;
    run(h, COMMAND_VERSION_INCREMENT, "{'object':'o','node':'a','value':0}");
    run(h, COMMAND_VERSION_INCREMENT, "{'object':'o','node':'a','value':1,'context':{'a':1}}");
    assert_string_equal(
        run(h, COMMAND_VERSION_INCREMENT, "{'object':'o','node':'a','value':2,'context':{'a':1}}"), "OK");
    assert_true(sm_bool(h, "conflict"));
    assert_int_equal(sm_uint(h, "siblings.0.dot.a"), 2);
    assert_int_equal(sm_uint(h, "siblings.1.dot.a"), 3);
    /* their dots say that they are concurrent, which plain versions could not */
    assert_string_equal(
        ask(h, QUERY_VERSION_COMPARE, "{'a':{'a':1},'b':{'a':1},'dotA':{'a':2},'dotB':{'a':3}}"), "OK");
    assert_string_equal(sm_text(h, "order"), "CONCURRENT");
    assert_string_equal(ask(h, QUERY_VERSION_COMPARE, "{'a':{'a':2},'b':{'a':3}}"), "OK");
    assert_string_equal(sm_text(h, "order"), "OLDER");
}

static void versions_compare_as_in_the_table(void **state)
{
    struct sm_harness *h = *state;
    static const struct {
        const char *args, *order;
    } rows[] = {
        {"{'a':{'x':1},'b':{'x':1}}", "EQUAL"},
        {"{'a':{'x':1},'b':{'x':2}}", "OLDER"},
        {"{'a':{'x':1,'y':1},'b':{'x':1}}", "NEWER"},
        {"{'a':{'x':1},'b':{'y':1}}", "CONCURRENT"},
        {"{'a':{},'b':{'x':1},'dotA':{'x':1},'dotB':{'y':1}}", "OLDER"},
        {"{'a':{'y':4},'b':{'x':1},'dotA':{'x':2},'dotB':{'y':4}}", "NEWER"},
        {"{'a':{'y':4},'b':{},'dotA':{'x':2},'dotB':{'x':2}}", "EQUAL"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_string_equal(ask(h, QUERY_VERSION_COMPARE, "%s", rows[i].args), "OK");
        assert_string_equal(sm_text(h, "order"), rows[i].order);
    }
    assert_string_equal(ask(h, QUERY_VERSION_COMPARE, "{'a':{},'b':{},'dotA':{'x':1}}"), "INVALID");
    assert_string_equal(ask(h, QUERY_VERSION_COMPARE, "{'a':{},'b':{},'dotA':{'x':0},'dotB':{'x':1}}"),
                        "INVALID");
}

static void resolve_without_context_stands_for_all(void **state)
{
    struct sm_harness *h = *state;
    assert_string_equal(run(h, COMMAND_VERSION_RESOLVE, "{'object':'o','node':'a','value':1}"), "NOT_FOUND");
    run(h, COMMAND_VERSION_INCREMENT, "{'object':'o','node':'a','value':1}");
    run(h, COMMAND_VERSION_INCREMENT, "{'object':'o','node':'b','value':2}");
    run(h, COMMAND_VERSION_INCREMENT, "{'object':'o','node':'c','value':3}");
    /* one that has read a and b only leaves c */
    assert_string_equal(
        run(h, COMMAND_VERSION_RESOLVE, "{'object':'o','node':'a','value':12,'context':{'a':1,'b':1}}"),
        "OK");
    assert_true(sm_bool(h, "conflict"));
    assert_string_equal(run(h, COMMAND_VERSION_RESOLVE, "{'object':'o','node':'a','value':123}"), "OK");
    assert_false(sm_bool(h, "conflict"));
    assert_string_equal(ask(h, QUERY_VERSION, "{'object':'o'}"), "OK");
    assert_string_equal(sm_text(h, "siblings.0.value"), "123");
}

static void merge_says_how_the_remote_write_stands(void **state)
{
    struct sm_harness *h = *state;
    run(h, COMMAND_VERSION_INCREMENT, "{'object':'o','node':'a','value':1}");
    run(h, COMMAND_VERSION_INCREMENT, "{'object':'o','node':'a','value':2}");
    assert_string_equal(
        run(h, COMMAND_VERSION_MERGE, "{'object':'o','version':{'a':1},'node':'a','value':1}"), "OK");
    assert_string_equal(sm_text(h, "order"), "OLDER");
    assert_string_equal(
        run(h, COMMAND_VERSION_MERGE, "{'object':'o','version':{'a':2},'node':'a','value':2}"), "OK");
    assert_string_equal(sm_text(h, "order"), "EQUAL");
    assert_string_equal(
        run(h, COMMAND_VERSION_MERGE, "{'object':'o','version':{'b':1},'node':'b','value':9}"), "OK");
    assert_string_equal(sm_text(h, "order"), "CONCURRENT");
    assert_true(sm_bool(h, "conflict"));
    assert_string_equal(
        run(h, COMMAND_VERSION_MERGE, "{'object':'o','version':{'a':2,'b':1,'c':1},'node':'c','value':7}"),
        "OK");
    assert_string_equal(sm_text(h, "order"), "NEWER");
    assert_false(sm_bool(h, "conflict"));
    /* again: nothing changes */
    assert_string_equal(
        run(h, COMMAND_VERSION_MERGE, "{'object':'o','version':{'b':1},'node':'b','value':9}"), "OK");
    assert_string_equal(sm_text(h, "order"), "OLDER");
    assert_string_equal(ask(h, QUERY_VERSION, "{'object':'o'}"), "OK");
    assert_int_equal(sm_count(h, "siblings"), 1);
    assert_string_equal(run(h, COMMAND_VERSION_MERGE, "{'object':'o','version':{'b':1}}"), "INVALID");
    assert_string_equal(run(h, COMMAND_VERSION_MERGE, "{'object':'o','version':{'b':1},'node':'z'}"),
                        "INVALID");
    assert_string_equal(run(h, COMMAND_VERSION_MERGE, "{'object':'o','version':{'b':2},'dot':{'b':2}}"),
                        "INVALID");
}

static void a_write_that_arrives_before_an_earlier_one_does_not_swallow_it(void **state)
{
    struct sm_harness *h = *state;
    /* two concurrent writes of node a, made elsewhere from {a:1}: the second arrives first */
    run(h, COMMAND_VERSION_MERGE, "{'object':'o','version':{'a':1},'node':'a','value':1}");
    assert_string_equal(
        run(h, COMMAND_VERSION_MERGE, "{'object':'o','version':{'a':1},'dot':{'a':3},'value':3}"), "OK");
    assert_string_equal(sm_text(h, "order"), "NEWER");
    assert_int_equal(sm_uint(h, "version.a"), 1); /* a:3 is apart: a:2 has not been seen */
    assert_string_equal(
        run(h, COMMAND_VERSION_MERGE, "{'object':'o','version':{'a':1},'dot':{'a':2},'value':2}"), "OK");
    assert_string_equal(sm_text(h, "order"), "CONCURRENT");
    assert_int_equal(sm_uint(h, "version.a"), 3);
    assert_int_equal(sm_count(h, "siblings"), 2);
    /* while apart, a local write of that node takes no counter twice */
    run(h, COMMAND_VERSION_MERGE, "{'object':'p','version':{},'dot':{'a':5},'value':5}");
    assert_string_equal(run(h, COMMAND_VERSION_INCREMENT, "{'object':'p','node':'a','value':6}"), "OK");
    assert_int_equal(sm_uint(h, "dot.a"), 6);
}

static void a_declared_resolution_keeps_one_value(void **state)
{
    struct sm_harness *h = *state;
    assert_string_equal(run(h, COMMAND_VERSION_DECLARE, "{'object':'o','resolution':'newest'}"), "INVALID");
    assert_string_equal(run(h, COMMAND_VERSION_DECLARE, "{'object':'o','resolution':'last_write'}"), "OK");
    run(h, COMMAND_VERSION_INCREMENT, "{'object':'o','node':'a','value':9}");
    assert_string_equal(run(h, COMMAND_VERSION_INCREMENT, "{'object':'o','node':'b','value':2}"), "OK");
    assert_false(sm_bool(h, "conflict"));
    assert_string_equal(ask(h, QUERY_VERSION, "{'object':'o'}"), "OK");
    assert_string_equal(sm_text(h, "siblings.0.value"), "2");
    assert_string_equal(sm_text(h, "resolution"), "last_write");
    assert_string_equal(ask(h, QUERY_VERSION_HISTORY, "{'object':'o'}"), "OK");
    assert_int_equal(sm_count(h, "history"), 2); /* the loser is not lost */
}

static void the_largest_value_is_found_exactly(void **state)
{
    struct sm_harness *h = *state;
    static const struct {
        const char *a, *b; /* b is the larger, or they are equal and b comes later */
    } rows[] = {
        {"9", "10"},
        {"-10", "-9"},
        {"9007199254740993", "9007199254740994"}, /* a double cannot tell these */
        {"1.25", "1.3"},
        {"-0.5", "0"},
        {"2", "2.0"},
        {"5", "'text'"},
        {"'abc'", "'abd'"},
        {"99999", "{'k':1}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (int swapped = 0; swapped < 2; swapped++) {
            if (swapped && strcmp(rows[i].b, "2.0") == 0) {
                continue;
            }
            run(h, COMMAND_VERSION_DECLARE, "{'object':'o%zu-%d','resolution':'largest'}", i, swapped);
            run(h, COMMAND_VERSION_INCREMENT, "{'object':'o%zu-%d','node':'a','value':%s}", i, swapped,
                swapped ? rows[i].b : rows[i].a);
            run(h, COMMAND_VERSION_INCREMENT, "{'object':'o%zu-%d','node':'b','value':%s}", i, swapped,
                swapped ? rows[i].a : rows[i].b);
            assert_string_equal(ask(h, QUERY_VERSION, "{'object':'o%zu-%d'}", i, swapped), "OK");
            assert_int_equal(sm_count(h, "siblings"), 1);
            assert_int_equal(sm_uint(h, swapped ? "siblings.0.dot.a" : "siblings.0.dot.b"), 1);
        }
    }
}

static void history_keeps_the_newest_and_every_sibling(void **state)
{
    struct sm_harness *h = *state;
    run(h, COMMAND_VERSION_DECLARE, "{'object':'o','history':3}");
    run(h, COMMAND_VERSION_INCREMENT, "{'object':'o','node':'b','value':'old sibling'}");
    for (int i = 0; i < 10; i++) {
        assert_string_equal(run(h, COMMAND_VERSION_INCREMENT, "{'object':'o','node':'a','value':%d}", i),
                            "OK");
    }
    assert_string_equal(ask(h, QUERY_VERSION_HISTORY, "{'object':'o'}"), "OK");
    assert_int_equal(sm_count(h, "history"), 3);
    assert_string_equal(sm_text(h, "history.0.value"), "9");
    assert_string_equal(sm_text(h, "history.0.operation"), "increment");
    assert_true(sm_bool(h, "history.0.current"));
    assert_string_equal(sm_text(h, "history.1.value"), "8");
    assert_false(sm_bool(h, "history.1.current"));
    assert_string_equal(sm_text(h, "history.2.value"), "\"old sibling\"");
    assert_string_equal(ask(h, QUERY_VERSION_HISTORY, "{'object':'o','limit':1}"), "OK");
    assert_int_equal(sm_count(h, "history"), 1);
    run(h, COMMAND_VERSION_DECLARE, "{'object':'o','history':0}");
    assert_string_equal(ask(h, QUERY_VERSION_HISTORY, "{'object':'o'}"), "OK");
    assert_int_equal(sm_count(h, "history"), 2); /* the two siblings */
    /* an object whose name begins the same has a history of its own */
    run(h, COMMAND_VERSION_INCREMENT, "{'object':'oo','node':'a','value':1}");
    assert_string_equal(ask(h, QUERY_VERSION_HISTORY, "{'object':'oo'}"), "OK");
    assert_int_equal(sm_count(h, "history"), 1);
}

static void too_many_concurrent_values_are_refused_until_resolved(void **state)
{
    struct sm_harness *h = *state;
    for (int i = 0; i < 32; i++) {
        assert_string_equal(run(h, COMMAND_VERSION_INCREMENT, "{'object':'o','node':'n%d','value':%d}", i, i),
                            "OK");
    }
    assert_string_equal(run(h, COMMAND_VERSION_INCREMENT, "{'object':'o','node':'z','value':1}"), "LIMIT");
    assert_string_equal(run(h, COMMAND_VERSION_INCREMENT, "{'object':'o','node':'n3','value':1}"), "OK");
    assert_string_equal(run(h, COMMAND_VERSION_RESOLVE, "{'object':'o','node':'z','value':1}"), "OK");
    assert_string_equal(run(h, COMMAND_VERSION_INCREMENT, "{'object':'o','node':'y','value':1}"), "OK");
    sm_reincarnate(h);
    assert_string_equal(ask(h, QUERY_VERSION, "{'object':'o'}"), "OK");
    assert_int_equal(sm_count(h, "siblings"), 2);
}

/* ---- the property: a value is current exactly when no write that has seen it exists ---- */

enum { WRITES = 200, NODES = 4 };

struct write {
    int node, counter;
    int past[NODES]; /* contiguous knowledge, as a context names it */
    uint32_t seen[WRITES / 32 + 1];
};

static void siblings_are_exactly_the_writes_nobody_has_read(void **state)
{
    struct sm_harness *h = *state;
    uint32_t seed = 0xd07;
    static struct write writes[WRITES];
    int counters[NODES] = {0}, conflicts = 0;
    run(h, COMMAND_VERSION_DECLARE, "{'object':'o','history':1000}");
    for (int n = 0; n < WRITES; n++) {
        struct write *w = &writes[n];
        memset(w, 0, sizeof *w);
        w->node = (int)(next_random(&seed) % NODES);
        w->counter = ++counters[w->node];
        /* the client read the object after a random earlier write, or now, or never */
        int read = next_random(&seed) % 3 == 0 ? n : (int)(next_random(&seed) % (uint32_t)(n + 1));
        for (int i = 0; i < read; i++) {
            w->seen[i / 32] |= 1u << (i % 32);
            w->past[writes[i].node] = writes[i].counter;
        }
        assert_string_equal(
            run(h, COMMAND_VERSION_INCREMENT,
                "{'object':'o','node':'n%d','value':%d,'context':{'n0':%d,'n1':%d,'n2':%d,'n3':%d}}", w->node,
                n, w->past[0], w->past[1], w->past[2], w->past[3]),
            "OK");
        assert_string_equal(ask(h, QUERY_VERSION, "{'object':'o'}"), "OK");
        uint32_t expected = 0;
        for (int i = 0; i <= n; i++) {
            bool read_by_another = false;
            for (int j = i + 1; j <= n; j++) {
                read_by_another |= (writes[j].seen[i / 32] >> (i % 32) & 1) != 0;
            }
            if (!read_by_another) {
                char path[32];
                snprintf(path, sizeof path, "siblings.%u.value", expected++);
                assert_int_equal(atoi(sm_text(h, path)), i);
            }
        }
        assert_int_equal(sm_count(h, "siblings"), expected);
        conflicts += expected > 1;
    }
    assert_true(conflicts > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_node_supersedes_its_own_writes),
        CASE(a_write_that_has_not_read_the_other_is_a_sibling),
        CASE(a_context_discards_exactly_what_it_covers),
        CASE(two_clients_of_one_node_with_one_context_are_siblings),
        CASE(versions_compare_as_in_the_table),
        CASE(resolve_without_context_stands_for_all),
        CASE(merge_says_how_the_remote_write_stands),
        CASE(a_write_that_arrives_before_an_earlier_one_does_not_swallow_it),
        CASE(a_declared_resolution_keeps_one_value),
        CASE(the_largest_value_is_found_exactly),
        CASE(history_keeps_the_newest_and_every_sibling),
        CASE(too_many_concurrent_values_are_refused_until_resolved),
        CASE(siblings_are_exactly_the_writes_nobody_has_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
