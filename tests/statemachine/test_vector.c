/* Vector clocks: ticks, syncs, and retirement held against a brute-force graph of what happened before what.
 * Built with 8 kept epochs. */
#include "assent/clock.h"
#include "clock_case.h"

/* "clock":{...} of the last reply as an argument. */
static const char *vector_of(struct sm_harness *h)
{
    static char text[4096];
    const char *json = sm_json(h), *from = strstr(json, "\"vector\":");
    assert_non_null(from);
    from += strlen("\"vector\":");
    size_t size = (size_t)(strchr(from, '}') + 1 - from);
    assert_true(size < sizeof text);
    memcpy(text, from, size);
    text[size] = '\0';
    return text;
}

static void a_first_tick_joins_and_counts(void **state)
{
    struct sm_harness *h = *state;
    assert_string_equal(run(h, COMMAND_VECTOR_TICK, "{'clock':'c','node':'a'}"), "OK");
    assert_string_equal(sm_json(h), "{\"clock\":\"c\",\"node\":\"a\",\"epoch\":0,\"vector\":{\"a\":1}}");
    assert_string_equal(run(h, COMMAND_VECTOR_TICK, "{'clock':'c','node':'b'}"), "OK");
    assert_string_equal(vector_of(h), "{\"b\":1}"); /* b has seen nothing of a */
    assert_string_equal(run(h, COMMAND_VECTOR_TICK, "{'clock':'c','node':'a'}"), "OK");
    assert_string_equal(vector_of(h), "{\"a\":2}");
    assert_string_equal(run(h, COMMAND_VECTOR_TICK, "{'clock':'d','node':'a'}"), "OK");
    assert_string_equal(vector_of(h), "{\"a\":1}"); /* another clock */
}

static void sync_merges_and_is_an_event(void **state)
{
    struct sm_harness *h = *state;
    run(h, COMMAND_VECTOR_TICK, "{'clock':'c','node':'a'}");
    run(h, COMMAND_VECTOR_TICK, "{'clock':'c','node':'b'}");
    assert_string_equal(run(h, COMMAND_VECTOR_SYNC, "{'clock':'c','node':'b','received':{'a':1}}"), "OK");
    assert_string_equal(vector_of(h), "{\"a\":1,\"b\":2}");
    assert_string_equal(run(h, COMMAND_VECTOR_OBSERVE, "{'clock':'c','node':'a','seen':{'b':2,'a':1}}"),
                        "OK");
    assert_string_equal(vector_of(h), "{\"a\":1,\"b\":2}"); /* no event */
    assert_string_equal(ask(h, QUERY_VECTOR, "{'clock':'c'}"), "OK");
    assert_string_equal(vector_of(h), "{\"a\":1,\"b\":2}");
    assert_int_equal(sm_count(h, "members"), 2);
    assert_string_equal(sm_text(h, "members.0.status"), "ACTIVE");
    assert_string_equal(ask(h, QUERY_VECTOR, "{'clock':'c','node':'a'}"), "OK");
    assert_string_equal(sm_text(h, "node"), "a");
    assert_string_equal(ask(h, QUERY_VECTOR, "{'clock':'c','node':'z'}"), "NOT_FOUND");
    assert_string_equal(ask(h, QUERY_VECTOR, "{'clock':'nobody'}"), "NOT_FOUND");
}

static void counters_others_have_shown_are_not_handed_out_again(void **state)
{
    struct sm_harness *h = *state;
    /* a ticked on its own up to 7; the service hears of it from b. */
    assert_string_equal(run(h, COMMAND_VECTOR_SYNC, "{'clock':'c','node':'b','received':{'a':7,'x':2}}"),
                        "OK");
    assert_string_equal(vector_of(h), "{\"a\":7,\"b\":1,\"x\":2}");
    assert_string_equal(run(h, COMMAND_VECTOR_TICK, "{'clock':'c','node':'a'}"), "OK");
    assert_string_equal(vector_of(h), "{\"a\":8}");
    assert_string_equal(run(h, COMMAND_VECTOR_SYNC, "{'clock':'c','node':'b','received':{'a':12}}"), "OK");
    assert_string_equal(run(h, COMMAND_VECTOR_TICK, "{'clock':'c','node':'a'}"), "OK");
    assert_string_equal(vector_of(h), "{\"a\":13}");
    assert_string_equal(ask(h, QUERY_VECTOR, "{'clock':'c'}"), "OK");
    assert_string_equal(vector_of(h), "{\"a\":13,\"b\":2,\"x\":2}");
}

static void a_leaver_stays_until_every_member_has_seen_its_last_event(void **state)
{
    struct sm_harness *h = *state;
    run(h, COMMAND_VECTOR_TICK, "{'clock':'c','node':'a'}");
    run(h, COMMAND_VECTOR_TICK, "{'clock':'c','node':'b'}");
    run(h, COMMAND_VECTOR_TICK, "{'clock':'c','node':'x'}");
    assert_string_equal(run(h, COMMAND_VECTOR_RETIRE, "{'clock':'c','node':'x'}"), "OK");
    assert_string_equal(sm_text(h, "status"), "LEAVING");
    assert_int_equal(sm_uint(h, "waiting"), 2);
    assert_string_equal(run(h, COMMAND_VECTOR_TICK, "{'clock':'c','node':'x'}"), "MEMBER_RETIRED");
    assert_string_equal(run(h, COMMAND_VECTOR_JOIN, "{'clock':'c','node':'x'}"), "CONFLICT");
    assert_string_equal(run(h, COMMAND_VECTOR_SYNC, "{'clock':'c','node':'a','received':{'x':2}}"),
                        "MEMBER_RETIRED");
    assert_string_equal(run(h, COMMAND_VECTOR_SYNC, "{'clock':'c','node':'a','received':{'x':1}}"), "OK");
    assert_int_equal(sm_uint(h, "epoch"), 0);
    assert_string_equal(ask(h, QUERY_VECTOR, "{'clock':'c'}"), "OK");
    assert_string_equal(sm_text(h, "members.2.status"), "LEAVING");
    assert_int_equal(sm_count(h, "members.2.waitingFor"), 1);
    assert_string_equal(sm_text(h, "members.2.waitingFor.0"), "b");
    /* a joiner starts from what the leaver knew and is not waited for */
    assert_string_equal(run(h, COMMAND_VECTOR_JOIN, "{'clock':'c','node':'d'}"), "OK");
    assert_string_equal(vector_of(h), "{\"x\":1}");
    assert_string_equal(run(h, COMMAND_VECTOR_OBSERVE, "{'clock':'c','node':'b','seen':{'x':1}}"), "OK");
    assert_int_equal(sm_uint(h, "epoch"), 1);
    assert_string_equal(vector_of(h), "{\"b\":1}"); /* the entry is gone */
    assert_string_equal(run(h, COMMAND_VECTOR_RETIRE, "{'clock':'c','node':'x'}"), "OK");
    assert_string_equal(sm_text(h, "status"), "RETIRED");
    assert_int_equal(sm_uint(h, "final"), 1);
}

static void stamps_compare_exactly_across_epochs(void **state)
{
    struct sm_harness *h = *state;
    run(h, COMMAND_VECTOR_TICK, "{'clock':'c','node':'a'}");
    run(h, COMMAND_VECTOR_TICK, "{'clock':'c','node':'x'}");
    run(h, COMMAND_VECTOR_TICK, "{'clock':'c','node':'x'}");
    run(h, COMMAND_VECTOR_RETIRE, "{'clock':'c','node':'x'}");
    assert_string_equal(run(h, COMMAND_VECTOR_SYNC, "{'clock':'c','node':'a','received':{'x':2}}"), "OK");
    assert_int_equal(sm_uint(h, "epoch"), 1);
    static const struct {
        const char *a, *b, *order;
        int epoch_a, epoch_b;
    } rows[] = {
        {"{'a':2}", "{'a':2}", "EQUAL", 1, 1},
        {"{'a':2,'x':2}", "{'a':2}", "EQUAL", 0, 1},
        {"{'a':2,'x':1}", "{'a':2}", "BEFORE", 0, 1}, /* the newer one has seen x:2 */
        {"{'a':2}", "{'a':2}", "BEFORE", 0, 1},
        {"{'a':2}", "{'a':2}", "AFTER", 1, 0},
        {"{'a':3,'x':1}", "{'a':2}", "CONCURRENT", 0, 1},
        {"{'a':3,'x':2}", "{'a':2}", "AFTER", 0, 1},
        {"{'a':1}", "{'a':2}", "BEFORE", 0, 0},
        {"{'x':2}", "{'a':1}", "CONCURRENT", 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_string_equal(ask(h, QUERY_VECTOR_COMPARE,
                                "{'clock':'c','a':%s,'b':%s,'epochA':%d,'epochB':%d}", rows[i].a, rows[i].b,
                                rows[i].epoch_a, rows[i].epoch_b),
                            "OK");
        assert_string_equal(sm_text(h, "order"), rows[i].order);
    }
    assert_string_equal(ask(h, QUERY_VECTOR_COMPARE, "{'clock':'c','a':{'x':3},'epochA':0}"),
                        "MEMBER_RETIRED");
    assert_string_equal(ask(h, QUERY_VECTOR_COMPARE, "{'clock':'c','a':{'a':1},'epochA':2}"), "INVALID");
    assert_string_equal(ask(h, QUERY_VECTOR_COMPARE, "{'clock':'c','a':{'a':1}}"), "OK");
    assert_string_equal(sm_text(h, "order"), "BEFORE"); /* against the clock's newest */
    assert_string_equal(ask(h, QUERY_VECTOR_COMPARE, "{'clock':'c','a':{'a':2},'node':'a'}"), "OK");
    assert_string_equal(sm_text(h, "order"), "EQUAL");
    /* a stamp without its epoch that names a member long gone is refused, not taken for a new member */
    assert_string_equal(run(h, COMMAND_VECTOR_SYNC, "{'clock':'c','node':'a','received':{'x':1}}"),
                        "MEMBER_RETIRED");
    assert_string_equal(run(h, COMMAND_VECTOR_SYNC, "{'clock':'c','node':'a','received':{'x':1},'epoch':0}"),
                        "OK");
}

static void vectors_without_a_clock_compare_as_they_are(void **state)
{
    struct sm_harness *h = *state;
    assert_string_equal(ask(h, QUERY_VECTOR_COMPARE, "{'a':{'p':1,'q':2},'b':{'p':1,'q':3}}"), "OK");
    assert_string_equal(sm_text(h, "order"), "BEFORE");
    assert_string_equal(ask(h, QUERY_VECTOR_COMPARE, "{'a':{'p':1},'b':{'q':3}}"), "OK");
    assert_string_equal(sm_text(h, "order"), "CONCURRENT");
    assert_string_equal(ask(h, QUERY_VECTOR_COMPARE, "{'a':{'p':1}}"), "INVALID");
    assert_string_equal(ask(h, QUERY_VECTOR_COMPARE, "{'a':{'p':1},'b':{},'epochA':1,'epochB':2}"),
                        "INVALID");
}

static void epochs_beyond_the_kept_ones_are_refused(void **state)
{
    struct sm_harness *h = *state;
    run(h, COMMAND_VECTOR_TICK, "{'clock':'c','node':'a'}");
    for (int i = 0; i < 10; i++) {
        assert_string_equal(run(h, COMMAND_VECTOR_JOIN, "{'clock':'c','node':'x%d'}", i % 3), "OK");
        assert_string_equal(run(h, COMMAND_VECTOR_RETIRE, "{'clock':'c','node':'x%d'}", i % 3), "OK");
        assert_int_equal(sm_uint(h, "epoch"), i + 1);
    }
    assert_string_equal(ask(h, QUERY_VECTOR, "{'clock':'c'}"), "OK");
    assert_int_equal(sm_uint(h, "oldestEpoch"), 2);
    assert_string_equal(ask(h, QUERY_VECTOR_COMPARE, "{'clock':'c','a':{'a':1},'epochA':1}"),
                        "EPOCH_FORGOTTEN");
    assert_string_equal(ask(h, QUERY_VECTOR_COMPARE, "{'clock':'c','a':{'a':1},'epochA':2}"), "OK");
    assert_string_equal(run(h, COMMAND_VECTOR_SYNC, "{'clock':'c','node':'a','received':{'a':1},'epoch':1}"),
                        "EPOCH_FORGOTTEN");
}

static void a_clock_takes_no_more_than_its_members(void **state)
{
    struct sm_harness *h = *state;
    static char received[40000];
    size_t size = 0;
    for (int i = 0; i < ASSENT_VECTOR_MEMBERS_MAX; i++) {
        size += (size_t)snprintf(received + size, sizeof received - size, "%s'm%d':1", i > 0 ? "," : "", i);
    }
    assert_string_equal(run(h, COMMAND_VECTOR_SYNC, "{'clock':'c','node':'a','received':{%s}}", received),
                        "LIMIT");
    assert_string_equal(ask(h, QUERY_VECTOR, "{'clock':'c'}"), "NOT_FOUND"); /* nothing was left behind */
    assert_string_equal(run(h, COMMAND_VECTOR_SYNC, "{'clock':'c','node':'m0','received':{%s}}", received),
                        "OK");
    assert_int_equal(sm_count(h, "vector"), ASSENT_VECTOR_MEMBERS_MAX);
    assert_string_equal(run(h, COMMAND_VECTOR_TICK, "{'clock':'c','node':'a'}"), "LIMIT");
    assert_string_equal(run(h, COMMAND_VECTOR_TICK, "{'clock':'c','node':'m1023'}"), "OK");
    assert_string_equal(vector_of(h), "{\"m1023\":2}");
    assert_string_equal(run(h, COMMAND_VECTOR_RETIRE, "{'clock':'c','node':'m7'}"), "OK");
    assert_int_equal(sm_uint(h, "waiting"), 1); /* m1023 alone has a vector of its own that lacks m7 */
}

static void counters_stop_before_they_wrap(void **state)
{
    struct sm_harness *h = *state;
    assert_string_equal(
        run(h, COMMAND_VECTOR_SYNC, "{'clock':'c','node':'a','received':{'a':9223372036854775807}}"),
        "OVERFLOW");
    assert_string_equal(ask(h, QUERY_VECTOR, "{'clock':'c'}"), "NOT_FOUND");
}

/* ---- the property: vectors order stamps exactly as what happened before what, whoever came and went ---- */

enum { NAMES = 5, EVENTS = 512, STAMPS = 512, KEPT = 8 };

struct past {
    uint64_t bits[EVENTS / 64];
};

struct member {
    bool live, leaving;
    struct past past;
    int last_event; /* -1: none */
    uint64_t joined, dropped;
};

struct stamp {
    char vector[128];
    uint64_t epoch;
    struct past past;
};

struct model {
    struct sm_harness *h;
    uint32_t seed;
    struct member members[NAMES];
    struct past base;
    uint64_t epoch, joins;
    int events, stamps;
    struct stamp stamp[STAMPS];
    int orders[4], forgotten, drops;
};

static void past_add(struct past *into, const struct past *from)
{
    for (int i = 0; i < EVENTS / 64; i++) {
        into->bits[i] |= from->bits[i];
    }
}

static bool past_within(const struct past *a, const struct past *b)
{
    for (int i = 0; i < EVENTS / 64; i++) {
        if ((a->bits[i] & ~b->bits[i]) != 0) {
            return false;
        }
    }
    return true;
}

static uint64_t model_oldest(const struct model *m)
{
    return m->epoch > KEPT ? m->epoch - KEPT : 0;
}

static bool model_remembers(const struct model *m, int i)
{
    return m->members[i].dropped > model_oldest(m);
}

/* Drop who has been seen by all the living, in the order of joining. */
static void model_drop(struct model *m)
{
    for (;;) {
        struct member *oldest = NULL;
        for (int i = 0; i < NAMES; i++) {
            struct member *leaver = &m->members[i];
            bool seen = leaver->leaving;
            for (int j = 0; j < NAMES && seen && leaver->last_event >= 0; j++) {
                seen =
                    !m->members[j].live ||
                    (m->members[j].past.bits[leaver->last_event / 64] >> (leaver->last_event % 64) & 1) != 0;
            }
            if (seen && (oldest == NULL || leaver->joined < oldest->joined)) {
                oldest = leaver;
            }
        }
        if (oldest == NULL) {
            return;
        }
        oldest->leaving = false;
        oldest->dropped = ++m->epoch;
        m->drops++;
    }
}

static void model_join(struct model *m, int i)
{
    m->members[i] = (struct member){.live = true,
                                    .past = m->base,
                                    .last_event = -1,
                                    .joined = ++m->joins,
                                    .dropped = m->members[i].dropped};
}

static void model_event(struct model *m, int i)
{
    struct member *member = &m->members[i];
    member->last_event = m->events;
    member->past.bits[m->events / 64] |= 1ull << (m->events % 64);
    m->events++;
}

/* The call succeeded: its reply is a stamp. */
static void model_stamp(struct model *m, int i)
{
    model_drop(m);
    assert_true(sm_uint(m->h, "epoch") == m->epoch);
    struct stamp *s = &m->stamp[m->stamps++ % STAMPS];
    snprintf(s->vector, sizeof s->vector, "%s", vector_of(m->h));
    s->epoch = m->epoch;
    s->past = m->members[i].past;
}

static const struct stamp *model_pick(struct model *m)
{
    int n = m->stamps < STAMPS ? m->stamps : STAMPS;
    int back = (int)(next_random(&m->seed) % (uint32_t)(next_random(&m->seed) % 2 != 0 && n > 8 ? 8 : n));
    return &m->stamp[(m->stamps - 1 - back) % STAMPS];
}

static void model_tick(struct model *m, int i)
{
    const struct member *member = &m->members[i];
    bool refused = member->leaving || (!member->live && model_remembers(m, i));
    assert_string_equal(run(m->h, COMMAND_VECTOR_TICK, "{'clock':'c','node':'%c'}", 'a' + i),
                        refused ? "MEMBER_RETIRED" : "OK");
    if (!refused) {
        if (!member->live) {
            model_join(m, i);
        }
        model_event(m, i);
        model_stamp(m, i);
    }
}

static void model_receive(struct model *m, int i, bool event)
{
    const struct stamp *s = model_pick(m);
    struct member *member = &m->members[i];
    const char *expected = s->epoch < model_oldest(m) ? "EPOCH_FORGOTTEN"
                           : member->leaving          ? "MEMBER_RETIRED"
                           : member->live             ? "OK"
                           : !event                   ? "NOT_FOUND"
                           : model_remembers(m, i)    ? "MEMBER_RETIRED"
                                                      : "OK";
    assert_string_equal(run(m->h, event ? COMMAND_VECTOR_SYNC : COMMAND_VECTOR_OBSERVE,
                            "{'clock':'c','node':'%c','%s':%s,'epoch':%d}", 'a' + i,
                            event ? "received" : "seen", s->vector, (int)s->epoch),
                        expected);
    if (strcmp(expected, "OK") == 0) {
        if (!member->live) {
            model_join(m, i);
        }
        past_add(&member->past, &s->past);
        if (event) {
            model_event(m, i);
        }
        model_stamp(m, i);
    }
}

static void model_enter(struct model *m, int i)
{
    bool leaving = m->members[i].leaving;
    assert_string_equal(run(m->h, COMMAND_VECTOR_JOIN, "{'clock':'c','node':'%c'}", 'a' + i),
                        leaving ? "CONFLICT" : "OK");
    if (!leaving) {
        if (!m->members[i].live) {
            model_join(m, i);
        }
        model_stamp(m, i);
    }
}

static void model_retire(struct model *m, int i)
{
    struct member *member = &m->members[i];
    bool known = member->live || member->leaving || model_remembers(m, i);
    assert_string_equal(run(m->h, COMMAND_VECTOR_RETIRE, "{'clock':'c','node':'%c'}", 'a' + i),
                        known ? "OK" : "NOT_FOUND");
    if (member->live) {
        member->live = false;
        member->leaving = true;
        past_add(&m->base, &member->past);
    }
    if (known) {
        model_drop(m);
        assert_true(sm_uint(m->h, "epoch") == m->epoch);
    }
}

static void model_compare(struct model *m)
{
    const struct stamp *a = model_pick(m), *b = model_pick(m);
    bool forgotten = a->epoch < model_oldest(m) || b->epoch < model_oldest(m);
    assert_string_equal(ask(m->h, QUERY_VECTOR_COMPARE, "{'clock':'c','a':%s,'b':%s,'epochA':%d,'epochB':%d}",
                            a->vector, b->vector, (int)a->epoch, (int)b->epoch),
                        forgotten ? "EPOCH_FORGOTTEN" : "OK");
    if (forgotten) {
        m->forgotten++;
        return;
    }
    bool below = past_within(&a->past, &b->past), above = past_within(&b->past, &a->past);
    enum assent_order order = below && above ? ASSENT_EQUAL
                              : below        ? ASSENT_BEFORE
                              : above        ? ASSENT_AFTER
                                             : ASSENT_CONCURRENT;
    assert_string_equal(sm_text(m->h, "order"), assent_order_name(order));
    m->orders[order]++;
}

static void vectors_order_stamps_as_the_graph_of_events_does(void **state)
{
    int orders[4] = {0}, forgotten = 0, drops = 0;
    struct model *m = malloc(sizeof *m);
    for (uint32_t round = 1; round <= 6; round++) {
        struct sm_harness h;
        sm_harness_open(&h);
        memset(m, 0, sizeof *m);
        m->h = &h;
        m->seed = round * 0x9e3779b9u;
        while (m->events < EVENTS) {
            int i = (int)(next_random(&m->seed) % NAMES);
            uint32_t dice = next_random(&m->seed) % 100;
            if (m->stamps == 0 || dice < 25) {
                model_tick(m, i);
            } else if (dice < 70) {
                model_receive(m, i, true);
            } else if (dice < 80) {
                model_receive(m, i, false);
            } else if (dice < 90) {
                model_enter(m, i);
            } else if (dice < 100) {
                model_retire(m, i);
            }
            for (int n = 0; n < 4 && m->stamps > 0; n++) {
                model_compare(m);
            }
            assert_string_equal(ask(&h, QUERY_VECTOR, "{'clock':'c'}"), "OK"); /* well formed at every step */
            assert_true(sm_uint(&h, "epoch") == m->epoch);
            if (m->events == EVENTS / 2 && dice < 25) {
                sm_reincarnate(&h);
            }
        }
        for (int i = 0; i < 4; i++) {
            orders[i] += m->orders[i];
        }
        forgotten += m->forgotten;
        drops += m->drops;
        sm_harness_close(&h);
    }
    free(m);
    (void)state;
    /* The walk has seen every case, and not just once. */
    for (int i = 0; i < 4; i++) {
        assert_true(orders[i] > 100);
    }
    assert_true(forgotten > 10 && drops > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_first_tick_joins_and_counts),
        CASE(sync_merges_and_is_an_event),
        CASE(counters_others_have_shown_are_not_handed_out_again),
        CASE(a_leaver_stays_until_every_member_has_seen_its_last_event),
        CASE(stamps_compare_exactly_across_epochs),
        CASE(vectors_without_a_clock_compare_as_they_are),
        CASE(epochs_beyond_the_kept_ones_are_refused),
        CASE(a_clock_takes_no_more_than_its_members),
        CASE(counters_stop_before_they_wrap),
        cmocka_unit_test(vectors_order_stamps_as_the_graph_of_events_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
