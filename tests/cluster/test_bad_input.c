/* What nobody should ask of a coordinator, and participants nobody should have, against real nodes: clients
 * that decide against each other, bodies at the limits, 10,000 branches, circles, URLs that lead nowhere. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "actor.h"
#include "cluster.h"
#include "rude.h"

static struct cluster c;
static bool passed;
static const char *url; /* of a participant that does as it is told */
static uint16_t rude;

static const char *text(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    return s != NULL ? s : "";
}

static json_t *transaction(const char *xid)
{
    char path[160];
    snprintf(path, sizeof(path), "/transaction/%s", xid);
    return cluster_must(&c, "GET", path, NULL);
}

/* The transaction once it has one of two statuses (`or` may be NULL). */
static json_t *wait_end(const char *xid, const char *status, const char * or)
{
    char path[160];
    int64_t until = monotonic_ms() + CLUSTER_PATIENCE_MS;
    snprintf(path, sizeof(path), "/transaction/status/%s", xid);
    for (;;) {
        json_t *t = cluster_must(&c, "GET", path, NULL);
        const char *is = text(t, "status");
        bool end = strcmp(is, status) == 0 || (or != NULL && strcmp(is, or) == 0);
        if (!end && monotonic_ms() > until)
            fail_msg("%s is %s", xid, is);
        json_decref(t);
        if (end)
            return transaction(xid);
        sleep_ms(10);
    }
}

static json_t *branch_of(const char *name, const char *at)
{
    return json_pack("{s:s, s:s, s:s}", "branch", name, "confirmUrl", at, "cancelUrl", at);
}

static json_t *step_of(const char *name, const char *at)
{
    return json_pack("{s:s, s:s, s:s}", "branch", name, "actionUrl", at, "compensateUrl", at);
}

/* A POST that must be refused at `node`, with this HTTP status, code and a sentence that has `word`. */
static void refused(const struct cluster_node *node, const char *path, json_t *body, int status,
                    const char *code, const char *word)
{
    struct http_answer a;
    cluster_ask(node, "POST", path, NULL, body, CLUSTER_PATIENCE_MS, &a);
    json_decref(body);
    const json_t *error = json_object_get(a.body, "error");
    if (a.status != status || strcmp(text(error, "code"), code) != 0 ||
        strstr(text(error, "message"), word) == NULL)
        fail_msg("%s: %d %s: %s%s", path, a.status, text(error, "code"), text(error, "message"), a.error);
    http_answer_clear(&a);
}

/* ---- two clients decide against each other ---- */

#define ROUNDS 12

struct decision {
    const char *path, *more; /* behind the xid */
};
struct race {
    const char *name;
    json_t *(*make)(const char *xid, const char *branch); /* body of the first request */
    const char *make_path; /* NULL: the forward decision itself is the first request */
    struct decision forward, back;
    const char *did, *undid; /* operations that show how it ended; NULL: none does */
};

struct rival {
    pthread_t thread;
    pthread_barrier_t *start;
    const struct cluster_node *node;
    const char *path;
    json_t *body;
    int status;
    char code[32];
};

static void *decide(void *data)
{
    struct rival *r = data;
    struct http_answer a;
    pthread_barrier_wait(r->start);
    cluster_ask(r->node, "POST", r->path, NULL, r->body, CLUSTER_PATIENCE_MS, &a);
    r->status = a.status;
    snprintf(r->code, sizeof(r->code), "%s", text(json_object_get(a.body, "error"), "code"));
    http_answer_clear(&a);
    return NULL;
}

static json_t *two_phase(const char *xid, const char *branch)
{
    return json_pack("{s:s, s:i, s:[o]}", "xid", xid, "timeoutMs", 600000, "branches",
                     branch_of(branch, url));
}

static json_t *xa(const char *xid, const char *branch)
{
    json_t *body = two_phase(xid, branch);
    json_object_set_new(body, "mode", json_string("XA"));
    return body;
}

static json_t *saga(const char *xid, const char *branch)
{
    return json_pack("{s:s, s:[o]}", "xid", xid, "steps", step_of(branch, url));
}

static json_t *workflow(const char *xid, const char *branch)
{
    (void)branch; /* nobody is called */
    return json_pack("{s:s, s:s}", "xid", xid, "name", "w");
}

static json_t *message(const char *xid, const char *branch)
{
    return json_pack("{s:s, s:i, s:[{s:s, s:s}]}", "xid", xid, "timeoutMs", 600000, "steps", "branch", branch,
                     "actionUrl", url);
}

#define COMMIT                                                                                               \
    {                                                                                                        \
        "/transaction/commit", NULL                                                                          \
    }
#define ROLLBACK                                                                                             \
    {                                                                                                        \
        "/transaction/rollback", NULL                                                                        \
    }

static const struct race races[] = {
    {"tcc", two_phase, "/transaction/begin", COMMIT, ROLLBACK, "confirm", "cancel"},
    {"xa", xa, "/transaction/begin", COMMIT, ROLLBACK, "confirm", "cancel"},
    {"saga", saga, NULL, {"/transaction/saga", NULL}, ROLLBACK, "action", "compensate"},
    {"workflow",
     workflow,
     "/transaction/workflow/prepare",
     {"/transaction/workflow/end", "{\"status\":\"SUCCEEDED\"}"},
     {"/transaction/workflow/end", "{\"status\":\"FAILED\"}"},
     NULL,
     NULL},
    {"message",
     message,
     "/transaction/message/prepare",
     {"/transaction/message", NULL},
     ROLLBACK,
     "action",
     NULL},
};

static json_t *decision_body(const struct decision *d, const char *xid)
{
    json_t *body = d->more != NULL ? json_loads(d->more, 0, NULL) : json_object();
    assert_non_null(body);
    json_object_set_new(body, "xid", json_string(xid));
    return body;
}

/* Exactly one of the two may win; who comes too late is told, and a rollback may have come too early. */
static void check_answers(const struct rival *forward, const struct rival *back, bool forward_won)
{
    if (forward_won) {
        assert_int_equal(forward->status, 200);
        if (back->status == 404)
            assert_string_equal(back->code, "TXN_NOT_FOUND");
        else
            assert_string_equal(back->code, "TXN_DECIDED");
    } else {
        assert_int_equal(back->status, 200);
        if (forward->status != 200)
            assert_string_equal(forward->code, "TXN_DECIDED");
    }
}

static bool happened(const char *name)
{
    struct actor_call call;
    return actor_call_get(name, &call) && call.effect;
}

static void race_once(const struct race *race, uint32_t round)
{
    pthread_barrier_t start;
    char xid[64], branch[32], call[64];
    snprintf(branch, sizeof(branch), "b%u", round);
    snprintf(xid, sizeof(xid), "race-%s-%s", race->name, branch);
    if (race->make_path != NULL)
        json_decref(cluster_must(&c, "POST", race->make_path, race->make(xid, branch)));
    pthread_barrier_init(&start, NULL, 2);
    struct rival forward = {.start = &start, .node = &c.nodes[round % 3], .path = race->forward.path},
                 back = {.start = &start,
                         .node = &c.nodes[(round + 1 + round / 3 % 2) % 3],
                         .path = race->back.path};
    forward.body = race->make_path == NULL ? race->make(xid, branch) : decision_body(&race->forward, xid);
    back.body = decision_body(&race->back, xid);
    assert_int_equal(pthread_create(&forward.thread, NULL, decide, &forward), 0);
    assert_int_equal(pthread_create(&back.thread, NULL, decide, &back), 0);
    pthread_join(forward.thread, NULL);
    pthread_join(back.thread, NULL);
    pthread_barrier_destroy(&start);
    json_decref(forward.body);
    json_decref(back.body);
    json_t *t = wait_end(xid, "COMMITTED", "ROLLED_BACK");
    bool forward_won = strcmp(text(t, "status"), "COMMITTED") == 0;
    json_decref(t);
    check_answers(&forward, &back, forward_won);
    bool taken_back = race->make_path == NULL; /* what was done may have been, or not have begun */
    snprintf(call, sizeof(call), "%s %s", branch, race->undid != NULL ? race->undid : "");
    assert_int_equal(happened(call), race->undid != NULL && !forward_won);
    snprintf(call, sizeof(call), "%s %s", branch, race->did != NULL ? race->did : "");
    if (race->did != NULL && (forward_won || !taken_back))
        assert_int_equal(happened(call), forward_won);
}

static void rivals_get_one_decision(void **state)
{
    const struct race *race = *state;
    char scene[64];
    passed = false;
    snprintf(scene, sizeof(scene), "race-%s-", race->name);
    actor_scene(scene, NULL, NULL, NULL);
    for (uint32_t i = 0; i < ROUNDS; i++)
        race_once(race, i);
    assert_string_equal(actor_wrong(), "");
    passed = true;
}

/* ---- sizes ---- */

/* A JSON text of so many bytes, quotes included. */
static json_t *text_of(size_t size)
{
    char *s = malloc(size);
    assert_non_null(s);
    memset(s, 'x', size - 2);
    s[size - 2] = 0;
    json_t *j = json_string(s);
    free(s);
    return j;
}

static json_t *saga_with(const char *xid, const char *at, json_t *payload)
{
    json_t *step = step_of("01", at);
    json_object_set_new(step, "payload", payload);
    return json_pack("{s:s, s:[o]}", "xid", xid, "steps", step);
}

static void a_payload_of_a_mebibyte_is_delivered_and_a_larger_one_refused(void **state)
{
    enum { MIB = 1024 * 1024 };
    (void)state;
    passed = false;
    actor_scene("sizes", NULL, NULL, NULL);
    json_decref(cluster_must(&c, "POST", "/transaction/saga", saga_with("sizes-1", url, text_of(MIB))));
    json_decref(wait_end("sizes-1", "COMMITTED", NULL));
    for (uint32_t i = 0; i < c.n; i++) {
        refused(&c.nodes[i], "/transaction/saga", saga_with("sizes-2", url, text_of(MIB + 1)), 413,
                "TOO_LARGE", "payload");
        refused(&c.nodes[i], "/transaction/begin",
                json_pack("{s:s, s:o}", "xid", "sizes-3", "customData", text_of(MIB + 1)), 413, "TOO_LARGE",
                "customData");
        refused(&c.nodes[i], "/transaction/saga", saga_with("sizes-4", url, text_of(7 * MIB)), 413,
                "TOO_LARGE", "");
    }
    passed = true;
}

static json_t *many_steps(const char *xid, uint32_t n, const char *at)
{
    json_t *steps = json_array();
    for (uint32_t i = 0; i < n; i++)
        json_array_append_new(steps, json_pack("{s:s}", "actionUrl", at));
    return json_pack("{s:s, s:b, s:o}", "xid", xid, "concurrent", 1, "steps", steps);
}

static void ten_thousand_branches_survive_a_leader_and_one_more_is_refused(void **state)
{
    (void)state;
    passed = false;
    actor_scene("\x01 none", NULL, NULL, NULL);
    refused(&c.nodes[0], "/transaction/saga", many_steps("many-1", 10001, url), 400, "INVALID", "steps");
    json_decref(cluster_must(&c, "POST", "/transaction/saga", many_steps("many", 10000, url)));
    int64_t until = monotonic_ms() + CLUSTER_PATIENCE_MS;
    json_int_t pending = 10000;
    while (pending > 9000 && monotonic_ms() < until) {
        json_t *t = cluster_must(&c, "GET", "/transaction/status/many", NULL);
        pending = json_integer_value(json_object_get(t, "pendingCount"));
        json_decref(t);
        sleep_ms(5);
    }
    struct cluster_node *leader = cluster_leader(&c);
    assert_non_null(leader);
    cluster_kill(leader);
    json_t *t = wait_end("many", "COMMITTED", NULL);
    assert_int_equal(json_integer_value(json_object_get(t, "branchCount")), 10000);
    assert_int_equal(json_integer_value(json_object_get(t, "pendingCount")), 0);
    json_decref(t);
    cluster_start(&c, leader);
    assert_true(cluster_agrees(&c));
    passed = true;
}

/* ---- plans that cannot be ---- */

static void a_plan_that_cannot_be_walked_is_refused(void **state)
{
    static const struct {
        const char *body; /* ' for " */
        const char *word;
    } rows[] = {
        {"{'xid':'p','concurrent':true,'steps':[{'after':[1]},{'after':[0]}]}", "circle"},
        {"{'xid':'p','concurrent':true,'steps':[{'after':[0]}]}", "after"},
        {"{'xid':'p','concurrent':true,'steps':[{'after':[2]},{'after':[0]},{'after':[1]}]}", "circle"},
        {"{'xid':'p','concurrent':true,'steps':[{},{'after':[7]}]}", "after"},
        {"{'xid':'p','concurrent':true,'steps':[{},{'after':['first']}]}", "after"},
        {"{'xid':'p','steps':[{},{'branch':'01'}]}", "01"},
        {"{'xid':'p','steps':[{'actionUrl':'ftp://a/b'}]}", "actionUrl"},
        {"{'xid':'p','steps':[{'actionUrl':'http://a b/'}]}", "actionUrl"},
        {"{'xid':'p','steps':[{'headers':{'Assent-Token':'1'}}]}", "headers"},
        {"{'xid':'p','steps':{}}", "steps"},
        {"{'xid':'p','steps':[],'onFailure':'weep'}", "onFailure"},
        {"{'xid':'p','steps':[],'color':'blue'}", "color"},
    };
    (void)state;
    passed = false;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char body[512];
        snprintf(body, sizeof(body), "%s", rows[i].body);
        for (char *at = body; *at != 0; at++)
            *at = *at == '\'' ? '"' : *at;
        json_t *json = json_loads(body, 0, NULL);
        assert_non_null(json);
        refused(&c.nodes[i % 3], "/transaction/saga", json, 400, "INVALID", rows[i].word);
    }
    passed = true;
}

static void an_unknown_transaction_is_unknown_on_every_node_also_while_nobody_leads(void **state)
{
    struct http_answer a;
    (void)state;
    passed = false;
    for (uint32_t i = 0; i < c.n; i++) {
        cluster_ask(&c.nodes[i], "GET", "/transaction/status/nobody", NULL, NULL, CLUSTER_PATIENCE_MS, &a);
        assert_int_equal(a.status, 404);
        assert_string_equal(text(json_object_get(a.body, "error"), "code"), "TXN_NOT_FOUND");
        http_answer_clear(&a);
        refused(&c.nodes[i], "/transaction/commit", json_pack("{s:s}", "xid", "nobody"), 404, "TXN_NOT_FOUND",
                "");
        refused(&c.nodes[i], "/transaction/rollback", json_pack("{s:s}", "xid", "nobody"), 404,
                "TXN_NOT_FOUND", "");
    }
    struct cluster_node *leader = cluster_leader(&c);
    assert_non_null(leader);
    cluster_kill(leader);
    int64_t until = monotonic_ms() + CLUSTER_PATIENCE_MS;
    int status = 0;
    while (status != 404 && monotonic_ms() < until) { /* held, or 503 and come again; nothing else */
        cluster_ask(&c.nodes[leader->id % 3], "GET", "/transaction/status/nobody", NULL, NULL, 20000, &a);
        status = a.status;
        http_answer_clear(&a);
        assert_true(status == 404 || status == 503);
    }
    assert_int_equal(status, 404);
    cluster_start(&c, leader);
    passed = true;
}

/* Asks for new transactions and decides them, at one node, until it is told to stop. */
struct asker {
    pthread_t thread;
    const struct cluster_node *node;
    atomic_bool *stop;
    atomic_uint answered; /* decided */
    char wrong[160];      /* the first answer that is none of 200, 503, 504 */
};

/* 200: true; the node is down or has no leader: again.  A lost answer of begin may have happened: the same
 * xid and content get the same answer. */
static bool ask_until_answered(struct asker *a, const char *path, json_t *body)
{
    bool done = false;
    while (!done && a->wrong[0] == 0 && !atomic_load(a->stop)) {
        struct http_answer answer;
        cluster_ask(a->node, "POST", path, NULL, body, 20000, &answer);
        done = answer.status == 200;
        if (!done && answer.status != 0 && answer.status != 503 && answer.status != 504)
            snprintf(a->wrong, sizeof(a->wrong), "%s: HTTP %d %s", path, answer.status,
                     text(json_object_get(answer.body, "error"), "code"));
        http_answer_clear(&answer);
        if (!done)
            sleep_ms(5);
    }
    json_decref(body);
    return done;
}

static void *keep_asking(void *data)
{
    struct asker *a = data;
    char xid[64];
    for (uint32_t i = 0; !atomic_load(a->stop) && a->wrong[0] == 0; i++) {
        snprintf(xid, sizeof(xid), "elected-%u-%u", a->node->id, i);
        if (ask_until_answered(a, "/transaction/begin",
                               json_pack("{s:s, s:i}", "xid", xid, "timeoutMs", 0)) &&
            ask_until_answered(a, "/transaction/commit", json_pack("{s:s}", "xid", xid)))
            atomic_fetch_add(&a->answered, 1);
    }
    return NULL;
}

static void no_election_makes_a_conflict(void **state)
{
    struct asker askers[3] = {0};
    atomic_bool stop = false;
    (void)state;
    passed = false;
    for (uint32_t i = 0; i < 3; i++) {
        askers[i].node = &c.nodes[i];
        askers[i].stop = &stop;
        assert_int_equal(pthread_create(&askers[i].thread, NULL, keep_asking, &askers[i]), 0);
    }
    for (int kills = 0; kills < 3; kills++) {
        struct cluster_node *leader = cluster_leader(&c);
        assert_non_null(leader);
        cluster_kill(leader);
        struct asker *other = &askers[leader->id % 3];
        uint32_t more = atomic_load(&other->answered) + 10;
        int64_t until = monotonic_ms() + CLUSTER_PATIENCE_MS;
        while (atomic_load(&other->answered) < more && other->wrong[0] == 0 && monotonic_ms() < until)
            sleep_ms(5);
        cluster_start(&c, leader);
    }
    atomic_store(&stop, true);
    for (uint32_t i = 0; i < 3; i++)
        pthread_join(askers[i].thread, NULL);
    for (uint32_t i = 0; i < 3; i++) {
        assert_string_equal(askers[i].wrong, "");
        assert_true(atomic_load(&askers[i].answered) >= 10);
    }
    assert_true(cluster_agrees(&c));
    passed = true;
}

/* ---- participants nobody should have ---- */

static void commit_at(const char *xid, const char *at)
{
    json_t *branch = branch_of("b", at);
    json_object_set_new(branch, "timeoutMs", json_integer(200));
    json_decref(cluster_must(&c, "POST", "/transaction/begin",
                             json_pack("{s:s, s:i, s:i, s:i, s:[o]}", "xid", xid, "timeoutMs", 600000,
                                       "retryBaseMs", 200, "retryCapMs", 400, "branches", branch)));
    json_decref(cluster_must(&c, "POST", "/transaction/commit", json_pack("{s:s}", "xid", xid)));
}

/* It is called a second time, stays what it is, and says why. */
static void wait_called_again(const char *xid)
{
    json_int_t attempts = 0;
    int64_t until = monotonic_ms() + CLUSTER_PATIENCE_MS;
    while (attempts < 2) {
        json_t *t = transaction(xid), *b = json_array_get(json_object_get(t, "branches"), 0);
        attempts = json_integer_value(json_object_get(b, "attempts"));
        assert_string_equal(text(t, "status"), "COMMITTING");
        assert_true(attempts == 0 || strlen(text(b, "lastError")) > 0);
        json_decref(t);
        if (attempts < 2 && monotonic_ms() > until)
            fail_msg("%s was called %lld times only", xid, (long long)attempts);
        sleep_ms(10);
    }
}

/* They are called again and again, the reason stands where an operator looks, and nobody else waits. */
static void rude_participants_hold_up_themselves_alone(void **state)
{
    static const char *const paths[] = {"hang", "garbage", "drip", "loop", "close"};
    enum { N = sizeof(paths) / sizeof(paths[0]) };
    char at[64], xid[32];
    (void)state;
    passed = false;
    for (int i = 0; i < N; i++) {
        snprintf(at, sizeof(at), "http://127.0.0.1:%u/%s", rude, paths[i]);
        snprintf(xid, sizeof(xid), "rude-%s", paths[i]);
        commit_at(xid, at);
    }
    commit_at("rude-nowhere", "http://no-such-host.invalid/");
    snprintf(at, sizeof(at), "http://127.0.0.1:%u/flood", rude);
    commit_at("rude-flood", at);
    int64_t started = monotonic_ms();
    for (int i = 0; i < 20; i++) {
        snprintf(xid, sizeof(xid), "polite-%d", i);
        json_decref(cluster_must(&c, "POST", "/transaction/saga", saga(xid, "01")));
        json_decref(wait_end(xid, "COMMITTED", NULL));
    }
    assert_true(monotonic_ms() - started < CLUSTER_PATIENCE_MS / 2);
    for (int i = 0; i < N; i++) {
        snprintf(xid, sizeof(xid), "rude-%s", paths[i]);
        wait_called_again(xid);
    }
    wait_called_again("rude-nowhere");
    json_decref(wait_end("rude-flood", "COMMITTED", NULL)); /* its 200 came; what follows is not read */
    assert_true(rude_requests() >= 2 * N);
    passed = true;
}

static void a_participant_that_fails_every_other_call_is_called_until_it_has_done_all(void **state)
{
    char at[64], name[16];
    json_t *branches = json_array();
    (void)state;
    passed = false;
    snprintf(at, sizeof(at), "http://127.0.0.1:%u/turns", rude);
    for (int i = 0; i < 10; i++) {
        snprintf(name, sizeof(name), "b%d", i);
        json_array_append_new(branches, branch_of(name, at));
    }
    json_decref(cluster_must(&c, "POST", "/transaction/begin",
                             json_pack("{s:s, s:i, s:i, s:i, s:o}", "xid", "turns", "timeoutMs", 600000,
                                       "retryBaseMs", 5, "retryCapMs", 20, "branches", branches)));
    json_decref(cluster_must(&c, "POST", "/transaction/rollback", json_pack("{s:s}", "xid", "turns")));
    json_t *t = wait_end("turns", "ROLLED_BACK", NULL), *b;
    json_int_t calls = 0;
    size_t i;
    json_array_foreach(json_object_get(t, "branches"), i, b)
    {
        assert_string_equal(text(b, "status"), "CANCELLED");
        calls += json_integer_value(json_object_get(b, "attempts"));
    }
    assert_int_equal(calls, 20); /* of every two one failed */
    json_decref(t);
    passed = true;
}

static int setup(void **state)
{
    (void)state;
    url = actor_open();
    rude = rude_open();
    cluster_init(&c, 3, NULL);
    cluster_start_all(&c);
    return cluster_leader(&c) != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    cluster_close(&c, !passed);
    rude_close();
    actor_close();
    return 0;
}

int main(void)
{
    enum { RACES = sizeof(races) / sizeof(races[0]) };
    static const struct CMUnitTest others[] = {
        cmocka_unit_test(a_payload_of_a_mebibyte_is_delivered_and_a_larger_one_refused),
        cmocka_unit_test(ten_thousand_branches_survive_a_leader_and_one_more_is_refused),
        cmocka_unit_test(a_plan_that_cannot_be_walked_is_refused),
        cmocka_unit_test(an_unknown_transaction_is_unknown_on_every_node_also_while_nobody_leads),
        cmocka_unit_test(no_election_makes_a_conflict),
        cmocka_unit_test(a_participant_that_fails_every_other_call_is_called_until_it_has_done_all),
        cmocka_unit_test(rude_participants_hold_up_themselves_alone),
    };
    enum { OTHERS = sizeof(others) / sizeof(others[0]) };
    struct CMUnitTest tests[RACES + OTHERS];
    for (size_t i = 0; i < RACES; i++)
        tests[i] = (struct CMUnitTest){.name = races[i].name,
                                       .test_func = rivals_get_one_decision,
                                       .initial_state = (void *)(uintptr_t)&races[i]};
    memcpy(tests + RACES, others, sizeof(others));
    return cmocka_run_group_tests(tests, setup, teardown);
}
