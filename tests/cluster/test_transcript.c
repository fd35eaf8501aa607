/* A transcript per mode, and the leader killed at each step of it.
 *
 * A row says what is asked, how participants answer, and at which moments the leader dies: while it waits for
 * the answer of a call (which has had its effect by then), or when the transaction has come to a state.  For
 * each moment the conversation is played once; the next leader must bring it to the same end: status,
 * branches, effects and their order.  Never are two calls of one operation under way together, never does a
 * token go down. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "actor.h"
#include "cluster.h"
#include "transcripts.h"

static struct cluster c;
static bool passed;
static const char *url;

/* ---- asking ---- */

static void expand(char *out, size_t size, const char *text, const char *xid)
{
    size_t n = 0;
    for (; *text != 0; text++) {
        const char *put = text[0] != '$' ? NULL : text[1] == 'X' ? xid : text[1] == 'U' ? url : NULL;
        assert_true(n + 128 < size);
        if (put != NULL) {
            n += (size_t)snprintf(out + n, size - n, "%s", put);
            text++;
        } else {
            out[n++] = *text == '\'' ? '"' : *text;
        }
    }
    out[n] = 0;
}

static json_t *transaction(const char *xid)
{
    char path[160];
    snprintf(path, sizeof(path), "/transaction/%s", xid);
    return cluster_must(&c, "GET", path, NULL);
}

static const char *text(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    return s != NULL ? s : "";
}

static bool state_is(const char *xid, const char *state)
{
    char of[96], name[64];
    const char *colon = strchr(state, ':'), *equals = strchr(state, '=');
    const char *want = colon != NULL ? colon + 1 : state + 1;
    snprintf(of, sizeof(of), "%s%.*s", xid, colon != NULL ? (int)(colon - state - 1) : 0, state + 1);
    json_t *t = transaction(of), *b;
    size_t i;
    bool is = equals == NULL && strcmp(text(t, "status"), want) == 0;
    if (equals != NULL) {
        snprintf(name, sizeof(name), "%.*s", (int)(equals - want), want);
        json_array_foreach(json_object_get(t, "branches"), i, b)
        {
            is = is || (strcmp(text(b, "branch"), name) == 0 && strcmp(text(b, "status"), equals + 1) == 0);
        }
    }
    json_decref(t);
    return is;
}

static void wait_state(const char *xid, const char *state)
{
    int64_t until = monotonic_ms() + CLUSTER_PATIENCE_MS;
    while (!state_is(xid, state)) {
        if (monotonic_ms() > until)
            fail_msg("%s never came to %s", xid, state);
        sleep_ms(10);
    }
}

static void ask(const struct ask *asks, const char *xid)
{
    char path[512], body[4096];
    for (uint32_t i = 0; i < ASKS_MAX && asks[i].path != NULL; i++) {
        if (asks[i].wait != NULL)
            wait_state(xid, asks[i].wait);
        expand(path, sizeof(path), asks[i].path, xid);
        expand(body, sizeof(body), asks[i].body, xid);
        json_error_t error;
        json_t *json = json_loads(body, 0, &error);
        if (json == NULL)
            fail_msg("%s: %s", body, error.text);
        json_decref(cluster_must(&c, "POST", path, json));
    }
}

/* The application of a workflow: its first run breaks off at once, the second does what is left.  In a thread
 * of the participant, so what goes wrong shows in the end only. */
static void go_on(const char *call, const char *xid)
{
    const struct ask *rest = transcripts_rest;
    struct actor_call seen;
    struct endpoints e;
    char body[512], error[512];
    if (!actor_call_get(call, &seen) || seen.received < 2)
        return;
    cluster_endpoints(&c, 0, &e);
    for (size_t i = 0; i < 2; i++) {
        json_t *answer = NULL;
        expand(body, sizeof(body), rest[i].body, xid);
        json_t *json = json_loads(body, 0, NULL);
        cluster_call(&e, "POST", rest[i].path, json, CLUSTER_PATIENCE_MS, &answer, error, sizeof(error));
        json_decref(json);
        json_decref(answer);
    }
}

/* ---- what must hold in the end ---- */

/* DTM's rows of a branch in place of its status. */
static const char *position(const json_t *branch, bool one_row)
{
    const char *status = text(branch, "status"), *action = text(branch, "action");
    static const struct {
        const char *status, *action, *rows;
        bool one_row; /* messages and workflows */
    } table[] = {
        {"EXECUTED", "SUCCEEDED", "PS", false}, {"COMPENSATED", "SUCCEEDED", "SS", false},
        {"COMPENSATED", "FAILED", "SF", false}, {"COMPENSATED", "UNKNOWN", "SP", false},
        {"REGISTERED", "UNKNOWN", "PP", false}, {"CONFIRMED", "", "PS", false},
        {"CANCELLED", "", "SP", false},         {"REGISTERED", "", "PP", false},
        {"REGISTERED", "", "P", true},          {"EXECUTED", "", "S", true},
        {"SUCCEEDED", "", "S", true},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (strcmp(table[i].status, status) == 0 && strcmp(table[i].action, action) == 0 &&
            table[i].one_row == one_row)
            return table[i].rows;
    return status;
}

static void check_branches(const struct transcript *t, const char *xid)
{
    char got[256] = "";
    size_t i, n = 0;
    json_t *now = transaction(xid), *b, *steps = json_object_get(now, "steps");
    bool one_row = steps != NULL || strcmp(text(now, "mode"), "MESSAGE") == 0;
    json_array_foreach(steps != NULL ? steps : json_object_get(now, "branches"), i, b)
    {
        n += (size_t)snprintf(got + n, sizeof(got) - n, "%s%s", i > 0 ? " " : "", position(b, one_row));
    }
    json_decref(now);
    assert_string_equal(got, t->positions);
}

static uint32_t count(const char *effects)
{
    uint32_t n = *effects != 0;
    for (; *effects != 0; effects++)
        n += *effects == ',';
    return n;
}

static void check_effects(const struct transcript *t)
{
    char got[512];
    actor_effects(got, sizeof(got));
    if (t->order != NULL) {
        assert_string_equal(got, t->order);
        return;
    }
    if (count(got) != t->effects)
        fail_msg("effects: %s", got);
    for (size_t i = 0; i < sizeof(t->before) / sizeof(t->before[0]) && t->before[i] != NULL; i++) {
        char first[ACTOR_NAME_MAX], *at, *then;
        const char *less = strstr(t->before[i], " < ");
        snprintf(first, sizeof(first), "%.*s", (int)(less - t->before[i]), t->before[i]);
        at = strstr(got, first);
        then = strstr(got, less + 3);
        if (at == NULL || then == NULL || at > then)
            fail_msg("%s does not hold: %s", t->before[i], got);
    }
}

/* ---- playing ---- */

static void kill_at(const char *point, const char *xid)
{
    if (point[0] == '@')
        wait_state(xid, point);
    else if (!actor_wait_held(CLUSTER_PATIENCE_MS))
        fail_msg("%s: %s was never called", xid, point);
    struct cluster_node *leader = cluster_leader(&c);
    assert_non_null(leader);
    cluster_kill(leader);
    actor_release();
}

static void play(const struct transcript *t, uint32_t i)
{
    const char *point = t->points[i];
    char xid[64], end[32];
    snprintf(xid, sizeof(xid), "%s.%u", t->name, i);
    snprintf(end, sizeof(end), "@%s", t->end);
    print_message("           killed at %s\n", point);
    actor_scene(xid, point[0] != '@' ? point : NULL, t->rules, t->go_on ? go_on : NULL);
    ask(t->asks, xid);
    kill_at(point, xid);
    ask(t->then, xid);
    wait_state(xid, end);
    if (t->child != NULL)
        wait_state(xid, t->child);
    check_branches(t, xid);
    check_effects(t);
    assert_string_equal(actor_wrong(), "");
    cluster_start_all(&c);
}

static void the_next_leader_brings_it_to_the_same_end(void **state)
{
    const struct transcript *t = *state;
    passed = false;
    cluster_start_all(&c); /* one that failed leaves a node dead */
    for (uint32_t i = 0; i < POINTS_MAX && t->points[i] != NULL; i++)
        play(t, i);
    assert_true(cluster_agrees(&c));
    passed = true;
}

static int setup(void **state)
{
    static const char *const hasty[] = {"--heartbeat-ms", "20", "--election-ms", "200", NULL};
    (void)state;
    url = actor_open();
    cluster_init(&c, 3, hasty);
    cluster_start_all(&c);
    return cluster_leader(&c) != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    actor_release();
    cluster_close(&c, !passed);
    actor_close();
    return 0;
}

int main(void)
{
    struct CMUnitTest tests[TRANSCRIPTS_MAX];
    for (size_t i = 0; i < TRANSCRIPTS_MAX; i++)
        tests[i] = (struct CMUnitTest){.name = transcripts[i].name,
                                       .test_func = the_next_leader_brings_it_to_the_same_end,
                                       .initial_state = (void *)(uintptr_t)&transcripts[i]};
    return cmocka_run_group_tests(tests, setup, teardown);
}
