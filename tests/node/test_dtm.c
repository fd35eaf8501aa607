/* Claims about the door for DTM's clients: the table of legal moves, what query shows, topics, JSON-RPC.
 * Nodes over the fake log; nothing is called, because the URLs are empty, which counts as done at once, or
 * lead to a port nobody listens on.  Source: dtm-protocol.md; numbers are its sections. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "harness.h"

#define DTM "/api/dtmsvr"
/* A URL whose calls fail at once. */
#define NOBODY "http://127.0.0.1:1/x"

static struct harness h;
static unsigned gids; /* made so far, so that no test meets another's */

static int three_nodes(void **state)
{
    (void)state;
    static const char *const options[] = {
        "--hold-ms", "300", "--request-timeout-ms", "1500", "--branch-breaker-failures", "0", "--drain-ms",
        "200",       NULL};
    harness_start(&h, 3, options);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    harness_stop(&h);
    return 0;
}

/* `body` with every $ replaced by `gid`. */
static char *with_gid(const char *body, const char *gid)
{
    char *out = NULL;
    size_t size;
    FILE *f = open_memstream(&out, &size);
    for (; *body != 0; body++)
        if (*body == '$')
            fputs(gid, f);
        else
            fputc(*body, f);
    fclose(f);
    return out;
}

/* POST a body to a path of the door at a node. */
static struct reply post(int node, const char *path, const char *body, const char *gid)
{
    char *text = with_gid(body, gid), url[256];
    snprintf(url, sizeof url, "%s/%s", DTM, path);
    struct reply r = http_call(&h, node, "POST", url, NULL, text);
    free(text);
    return r;
}

static void expect(struct reply r, const char *what, int status, const char *part)
{
    if (r.status != status || (part != NULL && strstr(r.body, part) == NULL))
        fail_msg("%s: %d %s, not %d %s", what, r.status, r.body, status, part != NULL ? part : "");
    if (status == 200)
        assert_null(strstr(r.body, "FAILURE"));
    if (status == 500 || status == 503) {
        assert_null(strstr(r.body, "FAILURE"));
        assert_null(strstr(r.body, "ONGOING"));
    }
    reply_free(&r);
}

static json_t *query(const char *gid)
{
    char url[256];
    snprintf(url, sizeof url, "%s/query?gid=%s", DTM, gid);
    struct reply r = http_call(&h, 0, "GET", url, NULL, NULL);
    assert_int_equal(r.status, 200);
    json_t *root = json_loads(r.body, 0, NULL);
    assert_non_null(root);
    reply_free(&r);
    return root;
}

static const char *member(const json_t *root, const char *a, const char *b)
{
    const char *text = json_string_value(json_object_get(json_object_get(root, a), b));
    return text != NULL ? text : "";
}

/* Statuses by position, the first letter of each, and the global one behind a slash. */
static void statuses(const char *gid, char out[128])
{
    json_t *root = query(gid), *row;
    size_t i, n = 0;
    json_array_foreach(json_object_get(root, "branches"), i, row)
    {
        assert_int_equal(json_integer_value(json_object_get(row, "id")), i + 1);
        assert_non_null(json_string_value(json_object_get(row, "create_time")));
        assert_non_null(json_string_value(json_object_get(row, "update_time")));
        out[n++] = json_string_value(json_object_get(row, "status"))[0];
    }
    snprintf(out + n, 128 - n, "/%s", member(root, "transaction", "status"));
    json_decref(root);
}

static void expect_statuses(const char *gid, const char *want)
{
    char have[128];
    statuses(gid, have);
    if (strcmp(have, want) != 0)
        fail_msg("%s: %s, not %s", gid, have, want);
}

/* ---- 10: the table of legal moves ---- */

/* The ways into each status. */
enum { NONE, PREPARED, SUBMITTED, ABORTING, SUCCEED, FAILED, STATUS_NR };
static const char *const status_names[] = {"", "prepared", "submitted", "aborting", "succeed", "failed"};

/* A branch that is never done, or one that is done at once. */
#define SAGA(url)                                                                                            \
    "{\"gid\":\"$\",\"trans_type\":\"saga\",\"steps\":[{\"action\":\"" url "\",\"compensate\":\"\"}],"       \
    "\"payloads\":[\"{}\"]}"
#define MSG(url)                                                                                             \
    "{\"gid\":\"$\",\"trans_type\":\"msg\",\"steps\":[{\"action\":\"" url "\"}],\"payloads\":[\"{}\"],"      \
    "\"query_prepared\":\"" NOBODY "\"}"
#define BARE(type) "{\"gid\":\"$\",\"trans_type\":\"" type "\"}"
#define BRANCH(type, url)                                                                                    \
    "{\"gid\":\"$\",\"trans_type\":\"" type "\",\"branch_id\":\"01\",\"confirm\":\"" url                     \
    "\",\"cancel\":\"" url "\",\"url\":\"" url "\",\"data\":\"{}\"}"

struct mode {
    const char *name;
    const char *prepare, *submit, *submit_stuck, *abort;
    const char *branch, *branch_stuck; /* NULL: registers none */
};
static const struct mode modes[] = {
    {"saga", SAGA(""), SAGA(""), SAGA(NOBODY), BARE("saga"), NULL, NULL},
    {"msg", MSG(""), MSG(""), MSG(NOBODY), BARE("msg"), NULL, NULL},
    {"tcc", BARE("tcc"), BARE("tcc"), BARE("tcc"), BARE("tcc"), BRANCH("tcc", ""), BRANCH("tcc", NOBODY)},
    {"xa", BARE("xa"), BARE("xa"), BARE("xa"), BARE("xa"), BRANCH("xa", ""), BRANCH("xa", NOBODY)},
};

static bool ok(int node, const char *path, const char *body, const char *gid)
{
    struct reply r = post(node, path, body, gid);
    bool is = r.status == 200;
    reply_free(&r);
    return is;
}

/* Bring a new transaction of the mode into a status.  False: there is no way. */
static bool bring(const struct mode *m, int status, char gid[32])
{
    bool two_phase = m->branch != NULL;
    snprintf(gid, 32, "m%u", ++gids);
    switch (status) {
    case NONE:
        return true;
    case PREPARED:
        return ok(0, "prepare", m->prepare, gid);
    case SUBMITTED:
        if (!two_phase)
            return ok(0, "submit", m->submit_stuck, gid);
        return ok(0, "prepare", m->prepare, gid) && ok(0, "registerBranch", m->branch_stuck, gid) &&
               ok(0, "submit", m->submit, gid);
    case ABORTING:
        return two_phase && ok(0, "prepare", m->prepare, gid) &&
               ok(0, "registerBranch", m->branch_stuck, gid) && ok(0, "abort", m->abort, gid);
    case SUCCEED:
        return ok(0, "submit", m->submit, gid);
    default:
        if (strcmp(m->name, "saga") == 0)
            return false;
        return ok(0, "prepare", m->prepare, gid) && ok(0, "abort", m->abort, gid);
    }
}

struct move {
    const char *path;
    int status[STATUS_NR]; /* the answer, by the stored status; 0: depends on the mode */
};

static int wanted(const struct mode *m, const struct move *move, int status)
{
    bool two_phase = m->branch != NULL, msg = strcmp(m->name, "msg") == 0;
    if (strcmp(move->path, "abort") != 0)
        return move->status[status];
    if (status == NONE)
        return 500;
    if (status == PREPARED)
        return two_phase || msg ? 200 : 409;
    return two_phase && status == ABORTING ? 200 : 409;
}

static void legal_moves_are_those_of_the_table(void **state)
{
    (void)state;
    static const struct move moves[] = {
        {"prepare", {200, 200, 409, 409, 409, 409}},
        {"submit", {200, 200, 200, 409, 409, 409}},
        {"abort", {0}},
        {"registerBranch", {409, 200, 409, 409, 409, 409}},
        {"forceStop", {500, 200, 200, 200, 409, 409}},
        {"resetNextCronTime", {500, 200, 200, 200, 200, 200}}, /* looks at no status */
    };
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++)
        for (size_t k = 0; k < sizeof moves / sizeof moves[0]; k++)
            for (int status = NONE; status < STATUS_NR; status++) {
                const struct mode *m = &modes[i];
                char gid[32], before[128], what[128];
                bool registers = strcmp(moves[k].path, "registerBranch") == 0;
                if ((registers && m->branch == NULL) || !bring(m, status, gid))
                    continue;
                if (status != NONE) {
                    statuses(gid, before);
                    if (strstr(before, status_names[status]) == NULL)
                        fail_msg("%s was brought to %s, not %s", m->name, before, status_names[status]);
                }
                const char *body = strcmp(moves[k].path, "prepare") == 0  ? m->prepare
                                   : strcmp(moves[k].path, "submit") == 0 ? m->submit
                                   : registers                            ? m->branch
                                                                          : m->abort;
                snprintf(what, sizeof what, "%s %s while %s", moves[k].path, m->name, status_names[status]);
                /* every node takes every call */
                expect(post(status % 3, moves[k].path, body, gid), what, wanted(m, &moves[k], status), NULL);
            }
}

static void operators_stop_and_hurry(void **state)
{
    (void)state;
    expect(post(0, "submit", SAGA(NOBODY), "stop"), "submit", 200, NULL);
    expect(http_call(&h, 1, "GET", DTM "/resetCronTime?limit=1000", NULL, NULL), "resetCronTime", 200,
           "\"has_remaining\":false");
    expect(http_call(&h, 1, "GET", DTM "/resetCronTime?limit=x", NULL, NULL), "no number", 500, "limit");
    expect(post(2, "forceStop", "{\"gid\":\"$\"}", "stop"), "forceStop", 200, "SUCCESS");
    expect_statuses("stop", "pp/failed"); /* nothing was taken back */
    expect(post(2, "forceStop", "{\"gid\":\"$\"}", "stop"), "forceStop again", 409, "FAILURE");
}

static void a_repeated_submit_goes_on_with_what_is_stored(void **state)
{
    (void)state;
    /* the second one brings no branches and, in DTM, ends the transaction without calling any */
    expect(post(0, "prepare", BARE("tcc"), "again"), "prepare", 200, NULL);
    expect(post(0, "registerBranch", BRANCH("tcc", NOBODY), "again"), "register", 200, NULL);
    expect(post(0, "submit", BARE("tcc"), "again"), "submit", 200, "SUCCESS");
    expect(post(1, "submit", BARE("tcc"), "again"), "submit again", 200, "SUCCESS");
    expect_statuses("again", "pp/submitted");
    /* neither do other steps replace those that are there */
    expect(post(0, "submit", SAGA(NOBODY), "again2"), "submit", 200, NULL);
    expect(post(0, "submit", SAGA(""), "again2"), "submit again", 200, NULL);
    expect_statuses("again2", "pp/submitted");
}

static void the_stored_mode_counts(void **state)
{
    (void)state;
    expect(post(0, "prepare", SAGA(""), "mode1"), "prepare", 200, NULL);
    expect(post(0, "abort", BARE("tcc"), "mode1"), "abort as a tcc", 409, "cannot abort");
    expect(post(0, "registerBranch", BRANCH("tcc", ""), "mode1"), "a branch of a saga", 500, NULL);
    expect(post(0, "submit", BARE("tcc"), "mode1"), "submit as a tcc", 200, NULL);
    expect_statuses("mode1", "ps/succeed");
    expect(post(0, "prepare", BARE("xa"), "mode2"), "prepare", 200, NULL);
    expect(post(0, "submit", SAGA(NOBODY), "mode2"), "submit as a saga", 200, NULL);
    expect_statuses("mode2", "/succeed");
    expect(post(0, "prepare", MSG(""), "mode3"), "prepare", 200, NULL);
    expect(post(0, "prepare", BARE("tcc"), "mode3"), "prepare as a tcc", 200, NULL);
    expect(post(0, "abort", BARE("tcc"), "mode3"), "abort as a tcc", 200, NULL);
    expect_statuses("mode3", "p/failed");
}

static void branches_are_there_once(void **state)
{
    (void)state;
    expect(post(0, "prepare", BARE("tcc"), "twice"), "prepare", 200, NULL);
    expect(post(0, "registerBranch", BRANCH("tcc", ""), "twice"), "register", 200, NULL);
    expect(post(0, "registerTccBranch", BRANCH("tcc", ""), "twice"), "the same again", 200, NULL);
    expect(post(0, "registerBranch", BRANCH("tcc", NOBODY), "twice"), "another one", 500,
           "UniqueKeyConflict");
    expect(post(0, "registerBranch", "{\"gid\":\"$\",\"branch_id\":1}", "twice"), "a number", 400,
           "'branch_id' must be a text");
    expect(post(0, "registerBranch", BRANCH("saga", ""), "twice"), "of a saga", 500, "trans_type");
    struct reply r = post(0, "registerBranch", "[", "twice");
    assert_int_equal(r.status, 400);
    assert_has(r.head, "text/plain");
    reply_free(&r);
}

/* ---- bodies ---- */

static void what_makes_no_sense_is_500(void **state)
{
    (void)state;
    static const struct {
        const char *path, *body, *part;
    } rows[] = {
        {"submit", "", "empty"},
        {"submit", "{", "not JSON"},
        {"submit", "{\"trans_type\":\"saga\"}", "gid is empty"},
        {"submit", "{\"gid\":\";\\n\",\"trans_type\":\"saga\"}", "gid is empty"},
        {"submit", "{\"gid\":\"x\"}", "unknown trans type"},
        {"submit", "{\"gid\":\"x\",\"trans_type\":\"Saga\"}", "unknown trans type"},
        {"prepare", "{\"gid\":\"x\",\"trans_type\":\"at\"}", "unknown trans type"},
        {"submit", "{\"gid\":\"x\",\"trans_type\":\"saga\",\"timeout_to_fail\":1.5}", "whole number"},
        {"submit", "{\"gid\":\"x\",\"trans_type\":\"saga\",\"steps\":[{}]}", "fewer payloads"},
        {"submit", "{\"gid\":\"x\",\"trans_type\":\"saga\",\"custom_data\":\"{\\\"orders\\\":[1]}\"}",
         "orders"},
        {"submit",
         "{\"gid\":\"x\",\"trans_type\":\"saga\",\"steps\":[{\"action\":\"a:1/S/M\"}],\"payloads\":[\"\"]}",
         "http"},
        {"submit",
         "{\"gid\":\"x\",\"trans_type\":\"saga\",\"steps\":[{}],\"payloads\":[\"\"],"
         "\"custom_data\":\"{\\\"concurrent\\\":true,\\\"orders\\\":{\\\"0\\\":[7]}}\"}",
         "after"},
        {"submit", "{\"gid\":\"x\",\"trans_type\":\"workflow\",\"req_extra\":{\"status\":\"done\"}}",
         "req_extra"},
        {"submit", "{\"gid\":\"no\",\"trans_type\":\"workflow\",\"req_extra\":{\"status\":\"succeed\"}}",
         "NotFound"},
        {"abort", "{\"gid\":\"no\",\"trans_type\":\"tcc\"}", "NotFound"},
        {"prepareWorkflow", "{\"gid\":\"x\",\"trans_type\":\"tcc\"}", "workflow"},
        {"submit",
         "{\"gid\":\"x\",\"trans_type\":\"msg\",\"steps\":[{\"action\":\"topic://"
         "none\"}],\"payloads\":[\"\"]}",
         "topic not found"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        expect(post((int)i % 3, rows[i].path, rows[i].body, "x"), rows[i].body, 500, rows[i].part);
    char long_gid[256] = "";
    memset(long_gid, 'g', 129);
    expect(post(0, "submit", BARE("tcc"), long_gid), "a long gid", 500, "128");
}

static void any_text_is_a_gid(void **state)
{
    (void)state;
    expect(post(0, "submit", BARE("tcc"), "a b'\xc3\xa4&c"), "submit", 200, NULL);
    expect_statuses("a%20b'%C3%A4%26c", "/succeed");
}

static void empty_sagas_succeed_at_once(void **state)
{
    (void)state;
    expect(
        post(0, "submit", "{\"gid\":\"$\",\"trans_type\":\"saga\",\"steps\":null,\"payloads\":null}", "e1"),
        "no steps", 200, NULL);
    expect_statuses("e1", "/succeed");
    expect(post(0, "submit", BARE("msg"), "e2"), "no targets", 200, NULL);
    expect_statuses("e2", "/succeed");
}

/* ---- 7.1: positions ---- */

static void rows_stand_in_dtms_order(void **state)
{
    (void)state;
    json_t *root, *row;
    expect(post(0, "submit",
                "{\"gid\":\"$\",\"trans_type\":\"saga\",\"steps\":[{},{}],\"payloads\":[\"a\",\"\"]}",
                "rows"),
           "submit", 200, NULL);
    expect_statuses("rows", "psps/succeed");
    root = query("rows");
    static const char *const want[][2] = {
        {"01", "compensate"}, {"01", "action"}, {"02", "compensate"}, {"02", "action"}};
    size_t i;
    json_array_foreach(json_object_get(root, "branches"), i, row)
    {
        assert_string_equal(json_string_value(json_object_get(row, "branch_id")), want[i][0]);
        assert_string_equal(json_string_value(json_object_get(row, "op")), want[i][1]);
    }
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(json_object_get(root, "branches"), 0), "bin_data")),
        "YQ==");
    assert_int_equal(json_array_size(json_object_get(json_object_get(root, "transaction"), "steps")), 2);
    json_decref(root);
    expect(post(0, "prepare", BARE("xa"), "rowx"), "prepare", 200, NULL);
    expect(post(0, "registerXaBranch", BRANCH("xa", ""), "rowx"), "register", 200, NULL);
    expect(post(0, "abort", BARE("xa"), "rowx"), "abort", 200, NULL);
    expect_statuses("rowx", "sp/failed");
    root = query("rowx");
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(json_object_get(root, "branches"), 0), "op")),
        "rollback");
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(json_object_get(root, "branches"), 1), "op")),
        "commit");
    json_decref(root);
}

static void query_knows_what_is_not_there(void **state)
{
    (void)state;
    struct reply r = http_call(&h, 1, "GET", DTM "/query?gid=nothing", NULL, NULL);
    assert_string_equal(r.body, "{\"branches\":[],\"transaction\":null}");
    expect(r, "query", 200, NULL);
    expect(http_call(&h, 1, "GET", DTM "/query", NULL, NULL), "no gid", 500, "gid");
    expect(http_call(&h, 1, "GET", DTM "/all?gid=nothing", NULL, NULL), "all", 200, "\"transactions\":null");
}

static void options_and_reasons_are_shown(void **state)
{
    (void)state;
    expect(post(0, "prepare",
                "{\"gid\":\"$\",\"trans_type\":\"tcc\",\"wait_result\":true,\"timeout_to_fail\":7,"
                "\"branch_headers\":{\"K\":\"v\"},\"custom_data\":\"{\\\"a\\\":1}\"}",
                "shown"),
           "prepare", 200, NULL);
    expect(
        post(0, "abort", "{\"gid\":\"$\",\"trans_type\":\"tcc\",\"rollback_reason\":\"no stock\"}", "shown"),
        "abort", 200, NULL);
    json_t *root = query("shown"), *t = json_object_get(root, "transaction");
    assert_string_equal(member(root, "transaction", "rollback_reason"), "no stock");
    assert_string_equal(member(root, "transaction", "custom_data"), "{\"a\":1}");
    assert_string_equal(member(root, "transaction", "protocol"), "http");
    assert_int_equal(json_integer_value(json_object_get(t, "timeout_to_fail")), 7);
    assert_int_equal(json_integer_value(json_object_get(t, "next_cron_interval")), 7); /* 8: base interval */
    assert_true(json_is_true(json_object_get(t, "wait_result")));
    assert_true(json_is_false(json_object_get(t, "concurrent")));
    assert_string_equal(member(t, "branch_headers", "K"), "v");
    assert_has(member(root, "transaction", "options"), "\"wait_result\":true");
    assert_string_not_equal(member(root, "transaction", "rollback_time"), "");
    json_decref(root);
}

/* ---- 9: waiting ---- */

static void a_result_is_waited_for(void **state)
{
    (void)state;
    static const struct {
        const char *name, *body;
        int status;
        const char *part;
    } rows[] = {
        {"a saga that succeeds",
         "{\"gid\":\"$\",\"trans_type\":\"saga\",\"wait_result\":true,\"steps\":[{}],\"payloads\":[\"\"]}",
         200, "SUCCESS"},
        {"a saga whose call fails",
         "{\"gid\":\"$\",\"trans_type\":\"saga\",\"wait_result\":true,\"steps\":[{\"action\":\"" NOBODY
         "\"}],\"payloads\":[\"\"]}",
         409, "FAILURE"},
        {"a msg whose call fails",
         "{\"gid\":\"$\",\"trans_type\":\"msg\",\"wait_result\":true,\"steps\":[{\"action\":\"" NOBODY
         "\"}],\"payloads\":[\"\"]}",
         500, "message"},
        {"a msg that waits itself",
         "{\"gid\":\"$\",\"trans_type\":\"msg\",\"wait_result\":true,\"steps\":[{\"action\":\"" NOBODY
         "\"}],\"payloads\":[\"\"],\"custom_data\":\"{\\\"delay\\\":60}\"}",
         409, "FAILURE"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (int node = 0; node < 3; node++) {
            char gid[32];
            snprintf(gid, sizeof gid, "w%zu-%d", i, node);
            expect(post(node, "submit", rows[i].body, gid), rows[i].name, rows[i].status, rows[i].part);
        }
    for (int node = 0; node < 3; node++) {
        char gid[32];
        snprintf(gid, sizeof gid, "wt%d", node);
        expect(post(node, "prepare", "{\"gid\":\"$\",\"trans_type\":\"tcc\",\"wait_result\":true}", gid),
               "prepare", 200, NULL);
        expect(post(node, "registerBranch", BRANCH("tcc", NOBODY), gid), "register", 200, NULL);
        /* the flag of the prepare counts for an abort */
        expect(post(node, "abort", BARE("tcc"), gid), "abort", 500, "message");
        expect_statuses(gid, "pp/aborting");
        snprintf(gid, sizeof gid, "wn%d", node);
        expect(post(node, "prepare", BARE("tcc"), gid), "prepare", 200, NULL);
        expect(post(node, "registerBranch", BRANCH("tcc", NOBODY), gid), "register", 200, NULL);
        expect(post(node, "abort", "{\"gid\":\"$\",\"trans_type\":\"tcc\",\"wait_result\":true}", gid),
               "abort", 200, NULL);
    }
}

/* ---- 11: topics ---- */

static void topics_are_kept_and_expanded(void **state)
{
    (void)state;
    static const struct {
        const char *method, *path;
        int status;
        const char *part;
    } rows[] = {
        {"GET", "/subscribe?topic=&url=http://a/", 500, "topic"},
        {"GET", "/subscribe?topic=t&url=", 500, "url"},
        {"GET", "/subscribe?topic=t", 500, "url"},
        {"GET", "/unsubscribe?topic=t&url=http://a/", 500, "topic"},
        {"DELETE", "/topic/t", 500, "topic"},
        {"GET", "/queryKV?cat=topics&key=t", 200, "{\"kv\":[]}"},
        {"GET", "/subscribe?topic=t&url=http%3A%2F%2F127.0.0.1%3A1%2F1&remark=first", 200, "SUCCESS"},
        {"GET", "/subscribe?topic=t&url=http%3A%2F%2F127.0.0.1%3A1%2F1", 500, "subscribed"},
        {"GET", "/subscribe?topic=t&url=http%3A%2F%2F127.0.0.1%3A1%2F2", 200, "SUCCESS"},
        {"GET", "/queryKV?cat=topics&key=t", 200, "\"version\":2"},
        {"GET", "/queryKV?cat=topics&key=t", 200, "\\\"remark\\\":\\\"first\\\""},
        {"GET", "/queryKV?cat=other", 200, "{\"kv\":[]}"},
        {"GET", "/queryKV", 200, "\"k\":\"t\""},
        {"GET", "/scanKV?cat=topics&limit=1", 200, "\"next_position\":\"\""},
        {"GET", "/unsubscribe?topic=t&url=http://none/", 500, "url"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char url[256];
        snprintf(url, sizeof url, "%s%s", DTM, rows[i].path);
        expect(http_call(&h, (int)i % 3, rows[i].method, url, NULL, NULL), rows[i].path, rows[i].status,
               rows[i].part);
    }
    expect(post(1, "submit",
                "{\"gid\":\"$\",\"trans_type\":\"msg\",\"steps\":[{\"action\":\"topic://"
                "t\"}],\"payloads\":[\"{}\"]}",
                "tm"),
           "submit", 200, NULL);
    json_t *root = query("tm");
    json_t *first = json_array_get(json_object_get(root, "branches"), 0);
    assert_int_equal(json_array_size(json_object_get(root, "branches")), 2);
    assert_string_equal(json_string_value(json_object_get(first, "branch_id")), "01-01");
    json_decref(root);
    expect(http_call(&h, 0, "DELETE", DTM "/topic/t", NULL, NULL), "delete", 200, "SUCCESS");
    expect(post(1, "submit",
                "{\"gid\":\"$\",\"trans_type\":\"msg\",\"steps\":[{\"action\":\"topic://"
                "t\"}],\"payloads\":[\"\"]}",
                "tm2"),
           "submit to a topic that went", 500, "topic not found");
}

/* ---- workflows ---- */

static void workflows_record_their_steps(void **state)
{
    (void)state;
    static const char prepare[] =
        "{\"gid\":\"$\",\"trans_type\":\"workflow\",\"query_prepared\":\"" NOBODY
        "\",\"custom_data\":\"{\\\"name\\\":\\\"wf\\\",\\\"data\\\":\\\"e30=\\\"}\"}";
    static const char branch[] = "{\"gid\":\"$\",\"trans_type\":\"workflow\",\"branch_id\":\"01\",\"op\":"
                                 "\"action\",\"status\":\"succeed\","
                                 "\"data\":\"hello\"}";
    struct reply r = post(1, "prepareWorkflow", prepare, "wf1");
    assert_has(r.body, "\"progresses\":[]");
    expect(r, "prepareWorkflow", 200, "\"status\":\"prepared\"");
    expect(post(0, "registerBranch", branch, "wf1"), "a step", 200, "SUCCESS");
    expect(post(0, "registerBranch", branch, "wf1"), "the step of another worker", 500, "UniqueKeyConflict");
    expect(post(2, "prepareWorkflow", prepare, "wf1"), "again", 200,
           "\"bin_data\":\"aGVsbG8=\",\"branch_id\":\"01\"");
    expect(post(2, "submit",
                "{\"gid\":\"$\",\"trans_type\":\"workflow\",\"req_extra\":{\"status\":\"succeed\",\"result\":"
                "\"b2s=\"}}",
                "wf1"),
           "end", 200, "SUCCESS");
    expect(post(2, "submit",
                "{\"gid\":\"$\",\"trans_type\":\"workflow\",\"req_extra\":{\"status\":\"failed\"}}", "wf1"),
           "end again", 500, NULL);
    expect(post(2, "registerBranch", branch, "wf1"), "a step too late", 409, "FAILURE");
    expect(post(0, "prepareWorkflow", prepare, "wf1"), "and again", 200, "\"result\":\"b2s=\"");
    expect_statuses("wf1", "s/succeed");
    expect(post(0, "registerBranch", branch, "wf2"), "a step of nothing", 409, "FAILURE");
}

/* ---- 12: JSON-RPC ---- */

static void json_rpc_is_the_same_in_an_envelope(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        int status;
        const char *part;
    } rows[] = {
        {"{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"newGid\"}", 200, "\"id\":\"a\""},
        {"{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"newGid\"}", 200, "\"id\":7"}, /* harmless */
        {"{", 400, "-32700"},
        {"[]", 400, "-32700"},
        {"{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"newGid\"}", 400, "-32700"},
        {"{\"jsonrpc\":\"1.0\",\"id\":\"a\",\"method\":\"newGid\"}", 200, "-32600"},
        {"{\"jsonrpc\":\"2.0\",\"id\":\"\",\"method\":\"newGid\"}", 200, "-32600"},
        {"{\"jsonrpc\":\"2.0\",\"method\":\"newGid\"}", 200, "-32600"},
        {"{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"forceStop\"}", 200, "-32601"},
        {"{\"jsonrpc\":\"2.0\",\"id\":\"a\"}", 200, "-32601"},
        {"{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"submit\",\"params\":{}}", 200, "-32603"},
        {"{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"submit\"}", 200, "-32603"},
        {"{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"registerBranch\",\"params\":{\"gid\":\"none\","
         "\"trans_type\":\"tcc\",\"branch_id\":\"01\"}}",
         200, "-32901"},
        {"{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"prepare\",\"params\":{\"gid\":\"rpc1\","
         "\"trans_type\":\"tcc\"}}",
         200, "{\"error\":null,\"id\":\"a\",\"jsonrpc\":\"2.0\",\"result\":null}"},
        {"{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"registerBranch\",\"params\":{\"gid\":\"rpc1\","
         "\"trans_type\":\"tcc\",\"branch_id\":\"01\",\"confirm\":\"\",\"cancel\":\"\"}}",
         200, "\"error\":null"},
        {"{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"submit\",\"params\":{\"gid\":\"rpc1\","
         "\"trans_type\":\"tcc\"}}",
         200, "\"error\":null"},
        {"{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"abort\",\"params\":{\"gid\":\"rpc1\","
         "\"trans_type\":\"tcc\"}}",
         200, "-32901"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct reply r = http_call(&h, (int)i % 3, "POST", "/api/json-rpc", NULL, rows[i].body);
        if (r.status != rows[i].status || strstr(r.body, rows[i].part) == NULL)
            fail_msg("%s: %d %s", rows[i].body, r.status, r.body);
        json_t *root = json_loads(r.body, 0, NULL);
        assert_true(json_object_get(root, "error") != NULL && json_object_get(root, "result") != NULL);
        json_decref(root);
        reply_free(&r);
    }
    expect_statuses("rpc1", "ps/succeed");
}

/* ---- the rest of the paths ---- */

static void small_paths_answer(void **state)
{
    (void)state;
    struct reply r = http_call(&h, 2, "GET", DTM "/newGid", NULL, NULL), s;
    s = http_call(&h, 2, "GET", DTM "/newGid", NULL, NULL);
    assert_has(r.body, "\"dtm_result\":\"SUCCESS\"");
    assert_has(r.head, "Content-Type: application/json; charset=utf-8");
    assert_string_not_equal(r.body, s.body);
    reply_free(&r);
    reply_free(&s);
    expect(http_call(&h, 0, "GET", DTM "/version", NULL, NULL), "version", 200, "\"version\":\"v1.");
    static const char *const any[] = {"GET", "POST", "PUT", "DELETE", "PATCH"};
    for (size_t i = 0; i < sizeof any / sizeof any[0]; i++)
        expect(http_call(&h, 0, any[i], "/api/ping", NULL, NULL), any[i], 200, "{\"msg\":\"pong\"}");
    r = http_call(&h, 0, "GET", DTM "/query/?gid=a", NULL, NULL);
    assert_int_equal(r.status, 301);
    assert_has(r.head, "Location: " DTM "/query?gid=a");
    reply_free(&r);
    r = http_call(&h, 0, "POST", DTM "/submit/", NULL, "{}");
    assert_int_equal(r.status, 307);
    assert_has(r.head, "Location: " DTM "/submit\r\n");
    reply_free(&r);
    r = http_call(&h, 0, "GET", DTM "/submit", NULL, NULL);
    assert_int_equal(r.status, 404);
    assert_string_equal(r.body, "404 page not found");
    assert_has(r.head, "text/plain");
    reply_free(&r);
}

static void metrics_have_closed_labels(void **state)
{
    (void)state;
    expect(http_call(&h, 0, "GET", DTM "/query?gid=secret-gid", NULL, NULL), "query", 200, NULL);
    struct reply r = http_call(&h, 0, "GET", "/api/metrics", NULL, NULL);
    assert_int_equal(r.status, 200);
    assert_has(r.body, "dtm_server_info{");
    assert_has(r.body, "dtm_server_process_total{type=\"http\",api=\"query\",status=\"ok\"}");
    assert_has(r.body, "dtm_server_response_duration_bucket{type=\"http\",api=\"query\",le=");
    assert_has(r.body, "dtm_transaction_process_total{model=\"tcc\",status=\"ok\"}");
    assert_has(r.body, "dtm_branch_process_total{model=\"tcc\",branchtype=");
    assert_null(strstr(r.body, "secret-gid"));
    reply_free(&r);
    r = http_call(&h, 0, "GET", "/metrics", NULL, NULL);
    assert_has(r.body, "assent_dtm_requests_total{type=\"http\",api=\"query\",status=\"ok\"}");
    reply_free(&r);
}

static void listings_filter_and_page(void **state)
{
    (void)state;
    expect(post(0, "prepare", BARE("xa"), "list-x"), "prepare", 200, NULL);
    expect(http_call(&h, 0, "GET", DTM "/all?gid=list-x", NULL, NULL), "one", 200, "\"gid\":\"list-x\"");
    expect(http_call(&h, 0, "GET", DTM "/all?status=prepared&transType=xa&limit=1", NULL, NULL), "filtered",
           200, "\"gid\":\"list-x\""); /* the newest */
    expect(http_call(&h, 0, "GET", DTM "/all?status=nothing", NULL, NULL), "no status", 200,
           "\"transactions\":[]");
    expect(http_call(&h, 0, "GET", DTM "/all?limit=x", NULL, NULL), "no number", 500, "limit");
    expect(http_call(&h, 0, "GET", DTM "/all?createTimeEnd=1000", NULL, NULL), "long ago", 200,
           "\"transactions\":[]");
    char position[512] = "";
    unsigned pages = 0, found = 0;
    do {
        char url[640];
        snprintf(url, sizeof url, "%s/all?limit=7&status=submitted&position=%s", DTM, position);
        struct reply r = http_call(&h, 0, "GET", url, NULL, NULL);
        assert_int_equal(r.status, 200);
        json_t *root = json_loads(r.body, 0, NULL);
        found += (unsigned)json_array_size(json_object_get(root, "transactions"));
        snprintf(position, sizeof position, "%s", json_string_value(json_object_get(root, "next_position")));
        json_decref(root);
        reply_free(&r);
        assert_true(++pages < 100);
    } while (position[0] != 0);
    assert_true(pages > 1 && found > 7);
}

/* ---- namespaces, listeners, bodies in pieces ---- */

static void namespaces_do_not_meet(void **state)
{
    (void)state;
    static const char here[] = "X-Assent-Namespace: here\r\n";
    const char *saga =
        "{\"gid\":\"ns1\",\"trans_type\":\"saga\",\"wait_result\":true,\"steps\":[{}],\"payloads\":[\"\"]}";
    expect(http_call(&h, 1, "POST", DTM "/submit", here, saga), "in the namespace", 200, "SUCCESS");
    expect(http_call(&h, 1, "GET", DTM "/query?gid=ns1", NULL, NULL), "outside", 200, "\"transaction\":null");
    expect(http_call(&h, 1, "GET", DTM "/query?gid=ns1", here, NULL), "inside", 200, "\"gid\":\"ns1\"");
    expect(http_call(&h, 1, "POST", DTM "/submit", NULL, saga), "the same gid outside", 200, "SUCCESS");
    char wide[96] = "X-Assent-Namespace: ";
    memset(wide + strlen(wide), 'n', 48);
    strcat(wide, "\r\n");
    expect(http_call(&h, 1, "POST", DTM "/submit", wide, saga), "a long namespace", 500, "47");
}

static void bodies_come_in_pieces(void **state)
{
    (void)state;
    struct client c;
    struct reply r;
    static const char text[] = "POST " DTM "/submit HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                               "10\r\n{\"gid\":\"pieces\",\r\n13\r\n\"trans_type\":\"tcc\"}\r\n0\r\n\r\n";
    client_open(&c, &h, 2, false);
    client_send(&c, text, strlen(text));
    client_wait(&c, &r);
    expect(r, "chunked", 200, "SUCCESS");
    client_close(&c);
}

/* Workflow data is bytes: what is no text goes through, too. */
static void workflow_data_is_any_bytes(void **state)
{
    (void)state;
    expect(post(0, "prepareWorkflow",
                "{\"gid\":\"$\",\"trans_type\":\"workflow\",\"query_prepared\":\"" NOBODY
                "\",\"custom_data\":\"{\\\"name\\\":\\\"w\\\",\\\"data\\\":\\\"/wCA\\\"}\"}",
                "bytes"),
           "prepareWorkflow", 200, "\"status\":\"prepared\"");
    expect(http_call(&h, 0, "GET", "/api/v1/transaction/bytes", NULL, NULL), "natively", 200, "\"ff0080\"");
}

/* ---- elections ---- */

static void nothing_is_definite_while_nobody_leads(void **state)
{
    (void)state;
    fake_lose();
    static const char *const paths[] = {"prepare", "submit", "abort"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        expect(post((int)i, paths[i], BARE("tcc"), "lost"), paths[i], 503, "message");
    expect(post(0, "registerBranch", BRANCH("tcc", ""), "lost"), "registerBranch", 503, "message");
    expect(http_call(&h, 0, "GET", DTM "/query?gid=lost", NULL, NULL), "query", 503, "message");
    expect(http_call(&h, 0, "GET", DTM "/newGid", NULL, NULL), "newGid needs nobody", 200, "SUCCESS");
    fake_lead(h.node[0].log, 2, true);
    harness_settle(&h);
    expect(post(1, "submit", BARE("tcc"), "lost"), "submit", 200, NULL);
}

static void a_leader_lost_under_way_costs_time_only(void **state)
{
    (void)state;
    struct client c;
    struct reply r;
    client_open(&c, &h, 0, false);
    fake_hold(h.node[0].log);
    char *text = http_text("POST", DTM "/submit", NULL, "{\"gid\":\"under\",\"trans_type\":\"tcc\"}");
    client_send(&c, text, strlen(text));
    free(text);
    harness_settle(&h);
    fake_release(h.node[0].log, ASSENT_UNKNOWN_OUTCOME);
    client_wait(&c, &r);
    expect(r, "submit", 200, "SUCCESS");
    client_close(&c);
    expect_statuses("under", "/succeed");
}

/* The first try of a call may have been applied before its leader was lost; the second one then finds what it
 * wanted, and that is no failure. */
static void what_an_earlier_try_may_have_done_is_a_success(void **state)
{
    (void)state;
    static const struct {
        const char *before[2], *bodies[2]; /* calls that stand for the first try */
        const char *method, *path, *body;
        int status;
    } rows[] = {
        {{"submit"}, {BARE("tcc")}, "POST", "submit", BARE("tcc"), 200},
        {{"submit"}, {SAGA("")}, "POST", "submit", SAGA(""), 200},
        {{"prepare", "abort"}, {BARE("tcc"), BARE("tcc")}, "POST", "abort", BARE("tcc"), 200},
        {{"prepare", "forceStop"}, {BARE("tcc"), BARE("tcc")}, "POST", "forceStop", BARE("tcc"), 200},
        {{"prepareWorkflow", "submit"},
         {BARE("workflow"),
          "{\"gid\":\"$\",\"trans_type\":\"workflow\",\"req_extra\":{\"status\":\"failed\"}}"},
         "POST",
         "submit",
         "{\"gid\":\"$\",\"trans_type\":\"workflow\",\"req_extra\":{\"status\":\"failed\"}}",
         200},
        /* what cannot have come of it is still told */
        {{"prepare", "abort"}, {BARE("tcc"), BARE("tcc")}, "POST", "submit", BARE("tcc"), 409},
        {{"submit"}, {BARE("tcc")}, "POST", "abort", BARE("tcc"), 409},
        {{"submit"}, {BARE("tcc")}, "POST", "forceStop", BARE("tcc"), 409},
        {{"submit"}, {BARE("tcc")}, "POST", "prepare", BARE("tcc"), 409},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char gid[32], path[64];
        snprintf(gid, sizeof gid, "try%zu", i);
        for (int k = 0; k < 2 && rows[i].before[k] != NULL; k++)
            expect(post(0, rows[i].before[k], rows[i].bodies[k], gid), rows[i].before[k], 200, NULL);
        struct client c;
        struct reply r;
        client_open(&c, &h, 0, false);
        fake_hold(h.node[0].log);
        char *body = with_gid(rows[i].body, gid);
        snprintf(path, sizeof path, "%s/%s", DTM, rows[i].path);
        char *text = http_text(rows[i].method, path, NULL, body);
        client_send(&c, text, strlen(text));
        free(text);
        free(body);
        harness_settle(&h);
        fake_release(h.node[0].log, ASSENT_UNKNOWN_OUTCOME);
        client_wait(&c, &r);
        expect(r, gid, rows[i].status, NULL);
        client_close(&c);
    }
}

/* A port nobody listens on now. */
static unsigned free_port(void)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof in;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&in, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &size), 0);
    close(fd);
    return ntohs(in.sin_port);
}

/* A node of its own: a further address, and a namespace for those who cannot name one. */
static void the_door_may_have_an_address_and_a_namespace(void **state)
{
    (void)state;
    char address[32];
    unsigned port = free_port();
    snprintf(address, sizeof address, "127.0.0.1:%u", port);
    const char *const options[] = {"--dtm-http", address, "--dtm-namespace", "shop", "--drain-ms",
                                   "200",        NULL};
    harness_start(&h, 1, options);
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct client c = {.h = &h, .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    assert_int_equal(connect(c.fd, (struct sockaddr *)&in, sizeof in), 0);
    fcntl(c.fd, F_SETFL, O_NONBLOCK);
    char *text = http_text("POST", DTM "/submit", NULL, "{\"gid\":\"there\",\"trans_type\":\"tcc\"}");
    struct reply r;
    client_send(&c, text, strlen(text));
    client_wait(&c, &r);
    expect(r, "submit", 200, "SUCCESS");
    client_close(&c);
    free(text);
    expect(http_call(&h, 0, "GET", "/api/v1/transaction/there", NULL, NULL), "outside", 404, NULL);
    expect(http_call(&h, 0, "GET", "/api/v1/transaction/there", "X-Assent-Namespace: shop\r\n", NULL),
           "inside", 200, "COMMITTED");
    harness_stop(&h);
}

int main(void)
{
    const struct CMUnitTest alone[] = {cmocka_unit_test(the_door_may_have_an_address_and_a_namespace)};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(legal_moves_are_those_of_the_table),
        cmocka_unit_test(operators_stop_and_hurry),
        cmocka_unit_test(a_repeated_submit_goes_on_with_what_is_stored),
        cmocka_unit_test(the_stored_mode_counts),
        cmocka_unit_test(branches_are_there_once),
        cmocka_unit_test(what_makes_no_sense_is_500),
        cmocka_unit_test(any_text_is_a_gid),
        cmocka_unit_test(empty_sagas_succeed_at_once),
        cmocka_unit_test(rows_stand_in_dtms_order),
        cmocka_unit_test(query_knows_what_is_not_there),
        cmocka_unit_test(options_and_reasons_are_shown),
        cmocka_unit_test(a_result_is_waited_for),
        cmocka_unit_test(topics_are_kept_and_expanded),
        cmocka_unit_test(workflows_record_their_steps),
        cmocka_unit_test(json_rpc_is_the_same_in_an_envelope),
        cmocka_unit_test(small_paths_answer),
        cmocka_unit_test(metrics_have_closed_labels),
        cmocka_unit_test(listings_filter_and_page),
        cmocka_unit_test(namespaces_do_not_meet),
        cmocka_unit_test(bodies_come_in_pieces),
        cmocka_unit_test(workflow_data_is_any_bytes),
        cmocka_unit_test(nothing_is_definite_while_nobody_leads),
        cmocka_unit_test(a_leader_lost_under_way_costs_time_only),
        cmocka_unit_test(what_an_earlier_try_may_have_done_is_a_success),
    };
    int failed = cmocka_run_group_tests(tests, three_nodes, stop);
    return failed + cmocka_run_group_tests(alone, NULL, NULL);
}
