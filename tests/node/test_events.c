/* The ring of events: order, limits, ids, listeners that come and go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "events.h"

#define KEPT 4

static struct assent_bytes text(const char *s)
{
    return (struct assent_bytes){(const uint8_t *)s, strlen(s)};
}

static void record(struct events *es, uint64_t index, uint32_t number, const char *detail)
{
    struct sm_event event = {.kind = SM_EVENT_CALL,
                             .position = assent_position(index, 0),
                             .number = number,
                             .xid = text("x-1"),
                             .detail = text(detail),
                             .op = "confirm"};
    events_record(es, &event);
}

/* What a listener was told, as text: the details, "-" for a gap. */
struct heard {
    struct event_listener listener;
    struct events *events;
    char log[256];
    struct heard *ends;  /* unlistens at the first event */
    struct heard *joins; /* listens at the first event */
};

static void hear(void *data, const struct sm_event *event)
{
    struct heard *h = data;
    size_t used = strlen(h->log);
    if (event == NULL)
        snprintf(h->log + used, sizeof h->log - used, "-");
    else
        snprintf(h->log + used, sizeof h->log - used, "%.*s", (int)event->detail.size,
                 (const char *)event->detail.base);
    struct heard *ends = h->ends, *joins = h->joins;
    h->ends = h->joins = NULL;
    if (joins != NULL)
        events_listen(h->events, &joins->listener, hear, joins);
    if (ends != NULL)
        events_unlisten(h->events, &ends->listener);
}

static void listen(struct events *es, struct heard *h)
{
    *h = (struct heard){.events = es};
    events_listen(es, &h->listener, hear, h);
}

static void ids_are_ordered_and_round_trip_as_text(void **state)
{
    static const char *const bad[] = {
        "",      ".",   "1", "1.", ".1", "1.x", "x.1", "1.4294967296", "-1.0", "18446744073709551616.0",
        "1.1.1", " 1.1"};
    struct event_id id;
    char out[EVENT_ID_TEXT_MAX];
    (void)state;
    assert_true(event_id_parse(text("18446744073709551615.4294967295"), &id));
    assert_true(id.position == UINT64_MAX && id.number == UINT32_MAX);
    event_id_text(id, out);
    assert_string_equal(out, "18446744073709551615.4294967295");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(event_id_parse(text(bad[i]), &id));
    assert_true(event_id_compare((struct event_id){1, 9}, (struct event_id){2, 0}) < 0);
    assert_true(event_id_compare((struct event_id){2, 1}, (struct event_id){2, 0}) > 0);
    assert_int_equal(event_id_compare((struct event_id){2, 1}, (struct event_id){2, 1}), 0);
}

static void a_listener_is_told_what_happens_after_it_came_and_in_the_turn_only(void **state)
{
    struct events es;
    struct heard a;
    (void)state;
    events_init(&es, KEPT, 0);
    record(&es, 1, 0, "a");
    assert_false(events_pending(&es));
    listen(&es, &a);
    record(&es, 2, 0, "b");
    record(&es, 2, 1, "c");
    assert_string_equal(a.log, "");
    assert_true(events_pending(&es));
    events_turn(&es);
    assert_false(events_pending(&es));
    events_turn(&es);
    assert_string_equal(a.log, "bc");
    events_unlisten(&es, &a.listener);
    events_unlisten(&es, &a.listener);
    record(&es, 3, 0, "d");
    events_turn(&es);
    assert_string_equal(a.log, "bc");
    events_close(&es);
}

static void the_ring_forgets_the_oldest_and_knows_what_it_covers(void **state)
{
    struct events es;
    (void)state;
    events_init(&es, KEPT, 9);
    struct event_id at_start = {assent_position(10, 0) - 1, UINT32_MAX}, second = {assent_position(11, 0), 1};
    assert_true(events_cover(&es, at_start));
    assert_false(events_cover(&es, (struct event_id){assent_position(9, 0), 0}));
    record(&es, 11, 0, "a");
    record(&es, 11, 1, "b");
    for (uint64_t i = 12; i < 15; i++)
        record(&es, i, 0, "c");
    assert_false(events_cover(&es, at_start)); /* "a" is gone */
    assert_true(events_cover(&es, (struct event_id){assent_position(11, 0), 0}));
    assert_true(events_cover(&es, second));
    assert_int_equal(events_get(&es, events_after(&es, second))->position, assent_position(12, 0));
    assert_null(events_get(&es, 0));
    struct event_id last = {assent_position(14, 0), 0}, later = {assent_position(99, 0), 0};
    assert_int_equal(events_after(&es, last), events_end(&es));
    assert_int_equal(events_after(&es, later), events_end(&es));
    assert_true(events_cover(&es, later));
    events_close(&es);
}

static void memory_is_bounded_by_bytes_too(void **state)
{
    struct events es;
    size_t size = 1024 * 1024;
    char *big = malloc(size + 1);
    (void)state;
    memset(big, 'x', size);
    big[size] = 0;
    events_init(&es, 1000, 0);
    for (uint64_t i = 1; i <= 100; i++)
        record(&es, i, 0, big);
    assert_null(events_get(&es, 36));
    assert_non_null(events_get(&es, 99));
    assert_true(es.bytes <= EVENTS_BYTES_MAX);
    events_close(&es);
    free(big);
}

static void who_was_overtaken_in_one_batch_is_told_of_a_gap(void **state)
{
    struct events es;
    struct heard a;
    (void)state;
    events_init(&es, KEPT, 0);
    listen(&es, &a);
    for (uint64_t i = 1; i <= KEPT + 1; i++)
        record(&es, i, 0, "e");
    events_turn(&es);
    assert_string_equal(a.log, "-eeee");
    events_unlisten(&es, &a.listener);
    events_close(&es);
}

static void a_replaced_state_is_a_gap_for_everybody(void **state)
{
    struct events es;
    struct heard a;
    (void)state;
    events_init(&es, KEPT, 0);
    listen(&es, &a);
    record(&es, 1, 0, "a");
    events_turn(&es);
    record(&es, 2, 0, "b");
    events_gap(&es, 50);
    assert_true(events_pending(&es));
    assert_false(events_cover(&es, (struct event_id){assent_position(2, 0), 0}));
    assert_true(events_cover(&es, (struct event_id){assent_position(51, 0), 0}));
    record(&es, 51, 0, "c");
    events_turn(&es);
    assert_string_equal(a.log, "a-c");
    events_gap(&es, 60);
    events_turn(&es);
    events_turn(&es);
    assert_string_equal(a.log, "a-c-");
    events_unlisten(&es, &a.listener);
    events_close(&es);
}

static void listeners_may_come_and_go_while_events_are_told(void **state)
{
    struct events es;
    struct heard a, b, c, d;
    (void)state;
    events_init(&es, KEPT, 0);
    listen(&es, &a);
    listen(&es, &b);
    listen(&es, &c); /* told first */
    d = (struct heard){.events = &es};
    c.ends = &b; /* told next, were it not for this */
    c.joins = &d;
    a.ends = &a;
    record(&es, 1, 0, "1");
    record(&es, 1, 1, "2");
    events_turn(&es);
    assert_string_equal(c.log, "12");
    assert_string_equal(b.log, "");
    assert_string_equal(a.log, "1");
    assert_string_equal(d.log, "");
    record(&es, 2, 0, "3");
    events_turn(&es);
    assert_string_equal(c.log, "123");
    assert_string_equal(d.log, "3");
    events_unlisten(&es, &c.listener);
    events_unlisten(&es, &d.listener);
    events_close(&es);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_ordered_and_round_trip_as_text),
        cmocka_unit_test(a_listener_is_told_what_happens_after_it_came_and_in_the_turn_only),
        cmocka_unit_test(the_ring_forgets_the_oldest_and_knows_what_it_covers),
        cmocka_unit_test(memory_is_bounded_by_bytes_too),
        cmocka_unit_test(who_was_overtaken_in_one_batch_is_told_of_a_gap),
        cmocka_unit_test(a_replaced_state_is_a_gap_for_everybody),
        cmocka_unit_test(listeners_may_come_and_go_while_events_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
