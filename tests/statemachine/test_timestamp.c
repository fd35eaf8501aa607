/* Timestamp events: creation, arrival from elsewhere, order with its reason, listings.  Built to keep 12
 * rows. */
#include "clock_case.h"

static const char *event(struct sm_harness *h, const char *id, const char *more)
{
    return run(h, COMMAND_TIMESTAMP_EVENT, "{'eventId':'%s','node':'n1'%s}", id, more);
}

static void an_event_gets_log_time_lamport_stamp_and_position(void **state)
{
    struct sm_harness *h = *state;
    run(h, COMMAND_LAMPORT_TICK, "{'count':5}");
    int64_t now = h->now_us;
    assert_string_equal(event(h, "e1", ",'type':'order','business':'b7','data':{'k':[1]}"), "OK");
    assert_true(sm_int(h, "timeUs") == now);
    assert_int_equal(sm_uint(h, "lamport"), 6); /* the default clock stamps events */
    assert_true(sm_uint(h, "position") == assent_position(h->index, 0));
    assert_string_equal(sm_text(h, "data"), "{\"k\":[1]}");
    assert_false(sm_bool(h, "synced"));
    assert_string_equal(ask(h, QUERY_LAMPORT, "{}"), "OK");
    assert_int_equal(sm_uint(h, "value"), 6);
}

static void an_event_without_id_gets_one_of_its_position(void **state)
{
    struct sm_harness *h = *state;
    char taken[64];
    snprintf(taken, sizeof taken, "ev-%llu", (unsigned long long)assent_position(h->index + 2, 0));
    assert_string_equal(event(h, taken, ""), "OK"); /* somebody took the name of the next position */
    assert_string_equal(run(h, COMMAND_TIMESTAMP_EVENT, "{'node':'n1'}"), "OK");
    strcat(taken, "-1");
    assert_string_equal(sm_text(h, "eventId"), taken);
    assert_string_equal(run(h, COMMAND_TIMESTAMP_EVENT, "{'node':'n1'}"), "OK");
    assert_string_not_equal(sm_text(h, "eventId"), taken);
}

static void the_same_event_again_is_answered_and_another_of_its_id_is_refused(void **state)
{
    struct sm_harness *h = *state;
    event(h, "e", ",'type':'t','data':1");
    int64_t time_us = sm_int(h, "timeUs");
    assert_string_equal(event(h, "e", ",'type':'t','data':1"), "OK");
    assert_true(sm_int(h, "timeUs") == time_us);
    assert_string_equal(event(h, "e", ",'type':'t','data':2"), "EXISTS");
    assert_string_equal(event(h, "e", ",'type':'u','data':1"), "EXISTS");
    assert_string_equal(
        run(h, COMMAND_TIMESTAMP_SYNC, "{'eventId':'e','node':'n1','type':'t','data':1,'timeUs':5}"),
        "EXISTS");
    assert_string_equal(ask(h, QUERY_LAMPORT, "{}"), "OK");
    assert_int_equal(sm_uint(h, "value"), 1); /* refusals and repeats tick nothing */
}

static void sync_keeps_what_the_event_brought_and_moves_the_clock_beyond(void **state)
{
    struct sm_harness *h = *state;
    assert_string_equal(
        run(h, COMMAND_TIMESTAMP_SYNC, "{'eventId':'r','node':'far','timeUs':123,'lamport':40,'type':'t'}"),
        "OK");
    assert_int_equal(sm_int(h, "originTimeUs"), 123);
    assert_int_equal(sm_uint(h, "originLamport"), 40);
    assert_int_equal(sm_uint(h, "lamport"), 41);
    assert_true(sm_bool(h, "synced"));
    assert_string_equal(event(h, "e", ""), "OK");
    assert_int_equal(sm_uint(h, "lamport"), 42);
    assert_string_equal(run(h, COMMAND_TIMESTAMP_SYNC,
                            "{'eventId':'m','node':'far','timeUs':1,'lamport':9223372036854775807}"),
                        "OVERFLOW");
    assert_string_equal(ask(h, QUERY_TIMESTAMP_COMPARE, "{'eventId1':'m','eventId2':'e'}"), "NOT_FOUND");
}

static void order_names_its_basis_and_says_whether_it_proves_anything(void **state)
{
    struct sm_harness *h = *state;
    run(h, COMMAND_LAMPORT_TICK, "{'count':9}");
    event(h, "here1", ""); /* Lamport 10 */
    run(h, COMMAND_TIMESTAMP_SYNC, "{'eventId':'far1','node':'x','timeUs':1000,'lamport':5}");
    run(h, COMMAND_TIMESTAMP_SYNC, "{'eventId':'far2','node':'x','timeUs':900,'lamport':7}");
    run(h, COMMAND_TIMESTAMP_SYNC, "{'eventId':'far3','node':'y','timeUs':1000,'lamport':7}");
    run(h, COMMAND_TIMESTAMP_SYNC, "{'eventId':'far4','node':'y','timeUs':2000}");
    run(h, COMMAND_TIMESTAMP_SYNC, "{'eventId':'far5','node':'z','timeUs':2000}");
    event(h, "here2", "");
    static const struct {
        const char *a, *b, *order, *basis;
        bool certain;
    } rows[] = {
        {"here1", "here1", "EQUAL", "SAME", true},       {"here1", "here2", "BEFORE", "LOG", true},
        {"here2", "far1", "AFTER", "LOG", true},      /* far1 had arrived before here2 happened */
        {"here1", "far1", "AFTER", "LAMPORT", false}, /* it arrived later, but its stamp is smaller */
        {"far1", "far2", "BEFORE", "LAMPORT", true},  /* one node: its stamps beat its wall clock */
        {"far2", "far3", "CONCURRENT", "LAMPORT", true}, {"far1", "far3", "BEFORE", "LAMPORT", false},
        {"far3", "far4", "BEFORE", "TIME", false},       {"far4", "far1", "AFTER", "TIME", false},
        {"far4", "far5", "BEFORE", "LOG", false},        {"here1", "far5", "AFTER", "TIME", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_string_equal(
            ask(h, QUERY_TIMESTAMP_COMPARE, "{'eventId1':'%s','eventId2':'%s'}", rows[i].a, rows[i].b), "OK");
        assert_string_equal(sm_text(h, "order"), rows[i].order);
        assert_string_equal(sm_text(h, "basis"), rows[i].basis);
        assert_int_equal(sm_bool(h, "certain"), rows[i].certain);
        assert_true(strlen(sm_text(h, "why")) > 10);
    }
    assert_string_equal(ask(h, QUERY_TIMESTAMP_COMPARE, "{'eventId1':'here1','eventId2':'nobody'}"),
                        "NOT_FOUND");
}

/* Ids of the last page, one letter each. */
static const char *page(struct sm_harness *h)
{
    static char ids[64];
    uint32_t n = sm_count(h, "events");
    assert_true(n < sizeof ids);
    for (uint32_t i = 0; i < n; i++) {
        char path[32];
        snprintf(path, sizeof path, "events.%u.eventId", i);
        ids[i] = sm_text(h, path)[0];
    }
    ids[n] = '\0';
    return ids;
}

static void listings_filter_by_node_type_business_and_time(void **state)
{
    struct sm_harness *h = *state;
    int64_t start = h->now_us;
    static const char *const rows[] = {
        "{'eventId':'a','node':'n1','type':'t1','business':'b1'}",
        "{'eventId':'b','node':'n2','type':'t1'}",
        "{'eventId':'c','node':'n1','type':'t2','business':'b1'}",
        "{'eventId':'d','node':'n2','type':'t2','business':'b2'}",
        "{'eventId':'e','node':'n1','type':'t1'}",
    };
    for (size_t i = 0; i < 5; i++) {
        assert_string_equal(run(h, COMMAND_TIMESTAMP_EVENT, "%s", rows[i]), "OK");
    }
    static const struct {
        const char *filter, *ids;
    } lists[] = {
        {"{}", "abcde"},
        {"{'node':'n1'}", "ace"},
        {"{'type':'t1'}", "abe"},
        {"{'business':'b1'}", "ac"},
        {"{'node':'n2','type':'t2'}", "d"},
        {"{'business':'b1','type':'t1'}", "a"},
        {"{'node':'n'}", ""},
        {"{'limit':2}", "ab"},
        {"{'limit':2,'node':'n1'}", "ac"},
    };
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        assert_string_equal(ask(h, QUERY_TIMESTAMP_EVENTS, "%s", lists[i].filter), "OK");
        assert_string_equal(page(h), lists[i].ids);
    }
    ask(h, QUERY_TIMESTAMP_EVENTS, "{'fromUs':%lld,'toUs':%lld}", (long long)start + 1000,
        (long long)start + 3000);
    assert_string_equal(page(h), "bc"); /* from is in, to is out */
    assert_string_equal(ask(h, QUERY_TIMESTAMP_EVENTS, "{'limit':0}"), "INVALID");
    assert_string_equal(ask(h, QUERY_TIMESTAMP_EVENTS, "{'after':'x'}"), "INVALID");
    assert_string_equal(ask(h, QUERY_TIMESTAMP_EVENTS, "{'after':'99999999999999999999'}"), "INVALID");
}

static void pages_stay_in_step_while_events_arrive(void **state)
{
    struct sm_harness *h = *state;
    char seen[32] = "", after[32];
    for (char id = 'a'; id <= 'e'; id++) {
        event(h, (char[]){id, '\0'}, "");
    }
    ask(h, QUERY_TIMESTAMP_EVENTS, "{'limit':2}");
    for (int i = 0; i < 10; i++) {
        strcat(seen, page(h));
        if (sm_text(h, "next")[0] == '\0') {
            break;
        }
        snprintf(after, sizeof after, "%s", sm_text(h, "next"));
        if (i < 2) {
            event(h, (char[]){(char)('x' + i), '\0'}, "");
        }
        assert_string_equal(ask(h, QUERY_TIMESTAMP_EVENTS, "{'limit':2,'after':'%s'}", after), "OK");
    }
    assert_string_equal(seen, "abcdexy");
}

static void the_oldest_events_make_room(void **state)
{
    struct sm_harness *h = *state;
    for (char id = 'a'; id <= 'h'; id++) { /* 2 rows each */
        assert_string_equal(event(h, (char[]){id, '\0'}, ",'type':'t','data':1"), "OK");
    }
    ask(h, QUERY_TIMESTAMP_EVENTS, "{}");
    assert_string_equal(page(h), "cdefgh");
    ask(h, QUERY_TIMESTAMP_EVENTS, "{'type':'t'}");
    assert_string_equal(page(h), "cdefgh");
    assert_string_equal(event(h, "a", ",'type':'other'"), "OK"); /* its id is free again */
    sm_reincarnate(h);
    ask(h, QUERY_TIMESTAMP_EVENTS, "{'node':'n1'}");
    assert_string_equal(page(h), "defgha");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(an_event_gets_log_time_lamport_stamp_and_position),
        CASE(an_event_without_id_gets_one_of_its_position),
        CASE(the_same_event_again_is_answered_and_another_of_its_id_is_refused),
        CASE(sync_keeps_what_the_event_brought_and_moves_the_clock_beyond),
        CASE(order_names_its_basis_and_says_whether_it_proves_anything),
        CASE(listings_filter_by_node_type_business_and_time),
        CASE(pages_stay_in_step_while_events_arrive),
        CASE(the_oldest_events_make_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
