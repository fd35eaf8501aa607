/* A transcript per mode, and the leader killed at each step of it.
 *
 * A row says what is asked, how participants answer, and at which moments the leader dies: while it waits for
 * the answer of a call (which has had its effect by then), or when the transaction has come to a state.  For
 * each moment the conversation is played once; the next leader must bring it to the same end: status,
 * branches, effects and their order.  Never are two calls of one operation under way together, never does a
 * token go down.
 *
 * In texts ' stands for ", $X for the xid, $U for the participant's URL. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "actor.h"
#include "cluster.h"

#define ASKS_MAX   6
#define POINTS_MAX 8

/* A POST; `wait`: a state (see `points`) it waits for first; or NULL. */
struct ask {
    const char *path, *body, *wait;
};

struct transcript {
    const char *name;
    struct ask asks[ASKS_MAX]; /* before the leader dies */
    struct ask then[ASKS_MAX]; /* behind its death */
    struct actor_rule rules[4];
    void (*react)(const char *call, const char *xid);
    /* "01 action": a call; "@ACTIVE": the transaction's status; "@02=ACCEPTED": a branch's; "@-c:ACTIVE":
     * that of the transaction whose xid has -c behind it */
    const char *points[POINTS_MAX];
    const char *end;
    const char *child; /* a state to wait for besides; or NULL */
    /* DTM's rows of each branch, its letters: P prepared, S succeed, F failed.  Of a saga compensate and
     * action, of TCC and XA cancel and confirm (try before them is the application's), of a message action.
     */
    const char *positions;
    /* All effects, in order; or NULL: `effects` of them, and of each "a < b" the first before the second. */
    const char *order;
    uint32_t effects;
    const char *before[6];
};

static struct cluster c;
static bool passed;
static const char *url;

#define STEP          "{'actionUrl':'$U','compensateUrl':'$U'}"
#define STEP_AFTER(n) "{'actionUrl':'$U','compensateUrl':'$U','after':[" n "]}"
#define CALL          "{'actionUrl':'$U'}"
#define STEP_LATER    "{'actionUrl':'$U','compensateUrl':'$U','acknowledgeMs':600000}"
#define ACKNOWLEDGE(outcome)                                                                                 \
    {                                                                                                        \
        "/transaction/acknowledge", "{'xid':'$X','branch':'02','outcome':'" outcome "'}", "@02=ACCEPTED"     \
    }
#define RESUME(move)                                                                                         \
    {                                                                                                        \
        "/transaction/resume", "{'xid':'$X','move':'" move "','by':'ann','reason':'looked'}", "@SUSPENDED"   \
    }
#define PREPARE(more, steps)                                                                                 \
    {                                                                                                        \
        "/transaction/message/prepare", "{'xid':'$X','queryUrl':'$U'" more ",'steps':[" steps "]}", NULL     \
    }
#define SUBMIT                                                                                               \
    {                                                                                                        \
        "/transaction/message", "{'xid':'$X'}", NULL                                                         \
    }
#define WORKFLOW                                                                                             \
    {                                                                                                        \
        "/transaction/workflow/prepare", "{'xid':'$X','name':'w','callbackUrl':'$U','data':{'n':1}}", NULL   \
    }
#define RECORD(branch)                                                                                       \
    {                                                                                                        \
        "/transaction/workflow/step",                                                                        \
            "{'xid':'$X','branch':'" branch "','op':'action','status':'SUCCEEDED','data':{'n':1}}", NULL     \
    }
#define END(status)                                                                                          \
    {                                                                                                        \
        "/transaction/workflow/end", "{'xid':'$X','status':'" status "'}", NULL                              \
    }
#define TRY(name) "{'branch':'" name "','tryUrl':'$U','confirmUrl':'$U','cancelUrl':'$U'}"
#define TRIES(order)                                                                                         \
    {                                                                                                        \
        "/transaction/begin",                                                                                \
            "{'xid':'$X','execute':true,'order':'" order                                                     \
            "','timeoutMs':600000,'branches':[" TRY("01") "," TRY("02") "," TRY("03") "]}",                  \
            NULL                                                                                             \
    }
#define NESTED(suffix, more, branch)                                                                         \
    {                                                                                                        \
        "/transaction/begin",                                                                                \
            "{'xid':'$X" suffix "'" more ",'timeoutMs':600000,'branches':[" BRANCH(branch) "]}", NULL        \
    }
#define PARENT     NESTED("", "", "p")
#define CHILD      NESTED("-c", ",'parent':'$X'", "c")
#define GRANDCHILD NESTED("-g", ",'parent':'$X-c'", "g")
#define COMMIT_OF(suffix)                                                                                    \
    {                                                                                                        \
        "/transaction/commit", "{'xid':'$X" suffix "'}", NULL                                                \
    }
#define ACT(act, more, wait)                                                                                 \
    {                                                                                                        \
        "/transaction/$X/" act, "{'by':'ann','reason':'looked'" more "}", wait                               \
    }
#define BRANCH(name) "{'branch':'" name "','confirmUrl':'$U','cancelUrl':'$U'}"
#define BEGIN(mode, more)                                                                                    \
    {                                                                                                        \
        "/transaction/begin",                                                                                \
            "{'xid':'$X','mode':'" mode                                                                      \
            "','timeoutMs':600000,'branches':[" BRANCH("01") "," BRANCH("02") "," BRANCH("03") "]" more "}", \
            NULL                                                                                             \
    }
#define COMMIT                                                                                               \
    {                                                                                                        \
        "/transaction/commit", "{'xid':'$X'}", NULL                                                          \
    }
#define ROLLBACK                                                                                             \
    {                                                                                                        \
        "/transaction/rollback", "{'xid':'$X','reason':'no'}", NULL                                          \
    }
#define SAGA(more, steps)                                                                                    \
    {                                                                                                        \
        "/transaction/saga", "{'xid':'$X'" more ",'steps':[" steps "]}", NULL                                \
    }

static void go_on(const char *call, const char *xid);

static const struct transcript transcripts[] = {
    {.name = "tcc-commit",
     .asks = {BEGIN("TCC", ""), COMMIT},
     .points = {"01 confirm", "02 confirm", "03 confirm"},
     .end = "COMMITTED",
     .positions = "PS PS PS",
     .effects = 3},
    {.name = "tcc-rollback",
     .asks = {BEGIN("TCC", ""), ROLLBACK},
     .points = {"01 cancel", "03 cancel"},
     .end = "ROLLED_BACK",
     .positions = "SP SP SP",
     .effects = 3},
    {.name = "tcc-undecided",
     .asks = {BEGIN("TCC", "")},
     .points = {"@ACTIVE"},
     .then = {COMMIT},
     .end = "COMMITTED",
     .positions = "PS PS PS",
     .effects = 3},
    {.name = "tcc-time-over",
     .asks = {{"/transaction/begin", "{'xid':'$X','timeoutMs':200,'branches':[" BRANCH("01") "]}", NULL}},
     .points = {"01 cancel"},
     .end = "ROLLED_BACK",
     .positions = "SP",
     .order = "01 cancel"},
    {.name = "tcc-given-up",
     .asks = {{"/transaction/begin",
               "{'xid':'$X','timeoutMs':600000,'branches':[{'branch':'01','confirmUrl':'$U','cancelUrl':'$U',"
               "'retryLimit':2,'retryBaseMs':10}]}",
               NULL},
              COMMIT},
     .rules = {{.call = "01 confirm", .status = 500, .times = 2}},
     .points = {"@SUSPENDED"},
     .then = {ACT("retry", "", NULL)},
     .end = "COMMITTED",
     .positions = "PS",
     .order = "01 confirm"},
    {.name = "xa-commit",
     .asks = {BEGIN("XA", ",'order':'forward'"), COMMIT},
     .points = {"01 confirm", "02 confirm", "03 confirm"},
     .end = "COMMITTED",
     .positions = "PS PS PS",
     .order = "01 confirm, 02 confirm, 03 confirm"},
    {.name = "xa-rollback",
     .asks = {BEGIN("XA", ",'order':'reverse'"), ROLLBACK},
     .points = {"03 cancel", "01 cancel"},
     .end = "ROLLED_BACK",
     .positions = "SP SP SP",
     .order = "03 cancel, 02 cancel, 01 cancel"},
    {.name = "saga",
     .asks = {SAGA("", STEP "," STEP "," STEP)},
     .points = {"01 action", "02 action", "03 action"},
     .end = "COMMITTED",
     .positions = "PS PS PS",
     .order = "01 action, 02 action, 03 action"},
    {.name = "saga-back",
     .asks = {SAGA("", STEP "," STEP "," STEP)},
     .rules = {{.call = "03 action", .status = 409}},
     .points = {"02 action", "03 action", "03 compensate", "02 compensate", "01 compensate"},
     .end = "ROLLED_BACK",
     .positions = "SS SS SF",
     .order = "01 action, 02 action, 03 compensate, 02 compensate, 01 compensate"},
    {.name = "saga-first-fails",
     .asks = {SAGA("", STEP "," STEP)},
     .rules = {{.call = "01 action", .status = 409}},
     .points = {"01 compensate"},
     .end = "ROLLED_BACK",
     .positions = "SF PP",
     .order = "01 compensate"},
    {.name = "saga-time-over",
     .asks = {SAGA(",'timeoutMs':200", STEP "," STEP)},
     .rules = {{.call = "01 action", .status = 425}},
     .points = {"01 action", "01 compensate"},
     .end = "ROLLED_BACK",
     .positions = "SP PP",
     .order = "01 compensate"},
    {.name = "saga-retry-limit",
     .asks = {SAGA(",'retryLimit':2,'retryBaseMs':10", STEP "," STEP)},
     .rules = {{.call = "02 action", .status = 500}},
     .points = {"02 action", "02 compensate", "01 compensate"},
     .end = "ROLLED_BACK",
     .positions = "SS SP",
     .order = "01 action, 02 compensate, 01 compensate"},
    {.name = "saga-waits",
     .asks = {SAGA(",'onFailure':'suspend'", STEP "," STEP)},
     .rules = {{.call = "02 action", .status = 409, .times = 1}},
     .points = {"@SUSPENDED"},
     .then = {RESUME("retry")},
     .end = "COMMITTED",
     .positions = "PS PS",
     .order = "01 action, 02 action"},
    {.name = "saga-comes-to-wait",
     .asks = {SAGA(",'onFailure':'suspend'", STEP "," STEP)},
     .rules = {{.call = "02 action", .status = 409}},
     .points = {"02 action"},
     .then = {RESUME("back")},
     .end = "ROLLED_BACK",
     .positions = "SS SF",
     .order = "01 action, 02 compensate, 01 compensate"},
    {.name = "saga-forward",
     .asks = {SAGA(",'onFailure':'retry','retryBaseMs':10", STEP "," STEP)},
     .rules = {{.call = "02 action", .status = 409, .times = 4}},
     .points = {"02 action"},
     .end = "COMMITTED",
     .positions = "PS PS",
     .order = "01 action, 02 action"},
    {.name = "saga-concurrent",
     .asks = {SAGA(",'concurrent':true", STEP "," STEP "," STEP_AFTER("0,1"))},
     .points = {"01 action", "02 action", "03 action"},
     .end = "COMMITTED",
     .positions = "PS PS PS",
     .effects = 3,
     .before = {"01 action < 03 action", "02 action < 03 action"}},
    {.name = "saga-concurrent-back",
     .asks = {SAGA(",'concurrent':true", STEP "," STEP "," STEP_AFTER("0,1"))},
     .rules = {{.call = "03 action", .status = 409}},
     .points = {"02 action", "03 action", "03 compensate", "02 compensate", "01 compensate"},
     .end = "ROLLED_BACK",
     .positions = "SS SS SF",
     .effects = 5,
     .before = {"01 action < 03 compensate", "03 compensate < 02 compensate",
                "03 compensate < 01 compensate"}},
    {.name = "saga-that-denies", /* it did, and says it did not when it is asked again */
     .asks = {SAGA("", STEP "," STEP)},
     .rules = {{.call = "02 action", .status = 200, .times = 1}, {.call = "02 action", .status = 409}},
     .points = {"02 action"},
     .end = "ROLLED_BACK",
     .positions = "SS SF",
     .order = "01 action, 02 action, 02 compensate, 01 compensate"},
    {.name = "async-accepted",
     .asks = {SAGA("", STEP "," STEP_LATER "," STEP)},
     .rules = {{.call = "02 action", .status = 202}},
     .points = {"01 action", "02 action", "@02=ACCEPTED"},
     .then = {ACKNOWLEDGE("success")},
     .end = "COMMITTED",
     .positions = "PS PS PS",
     .order = "01 action, 02 action, 03 action"},
    {.name = "async-acknowledged",
     .asks = {SAGA("", STEP "," STEP_LATER "," STEP), ACKNOWLEDGE("success")},
     .rules = {{.call = "02 action", .status = 202}},
     .points = {"03 action"},
     .end = "COMMITTED",
     .positions = "PS PS PS",
     .order = "01 action, 02 action, 03 action"},
    {.name = "async-refused",
     .asks = {SAGA("", STEP "," STEP_LATER), ACKNOWLEDGE("failure")},
     .rules = {{.call = "02 action", .status = 202}},
     .points = {"@SUSPENDED"},
     .then = {RESUME("back")},
     .end = "ROLLED_BACK",
     .positions = "SS SF",
     .order = "01 action, 02 action, 02 compensate, 01 compensate"},
    {.name = "async-turned-back",
     .asks = {SAGA("", STEP "," STEP_LATER), ACKNOWLEDGE("failure"), RESUME("back")},
     .rules = {{.call = "02 action", .status = 202}},
     .points = {"02 compensate", "01 compensate"},
     .end = "ROLLED_BACK",
     .positions = "SS SF",
     .order = "01 action, 02 action, 02 compensate, 01 compensate"},
    {.name = "async-by-policy",
     .asks = {SAGA(",'onFailure':'compensate'", STEP "," STEP_LATER), ACKNOWLEDGE("failure")},
     .rules = {{.call = "02 action", .status = 202}},
     .points = {"02 compensate"},
     .end = "ROLLED_BACK",
     .positions = "SS SF",
     .order = "01 action, 02 action, 02 compensate, 01 compensate"},
    {.name = "async-once-more",
     .asks = {SAGA("", STEP "," STEP_LATER), ACKNOWLEDGE("failure")},
     .rules = {{.call = "02 action", .status = 202}},
     .points = {"@SUSPENDED"},
     .then = {RESUME("retry"), ACKNOWLEDGE("success")},
     .end = "COMMITTED",
     .positions = "PS PS",
     .order = "01 action, 02 action"},
    {.name = "message",
     .asks = {PREPARE(",'timeoutMs':600000", CALL "," CALL "," CALL), SUBMIT},
     .rules = {{.call = "02 action", .status = 409, .times = 2}},
     .points = {"01 action", "02 action", "03 action"},
     .end = "COMMITTED",
     .positions = "S S S",
     .order = "01 action, 02 action, 03 action"},
    {.name = "message-prepared",
     .asks = {PREPARE(",'timeoutMs':600000", CALL)},
     .points = {"@ACTIVE"},
     .then = {SUBMIT},
     .end = "COMMITTED",
     .positions = "S",
     .order = "01 action"},
    {.name = "message-asked",
     .asks = {PREPARE(",'timeoutMs':50", CALL "," CALL)},
     .rules = {{.call = "00 query", .status = 425, .times = 1}},
     .points = {"00 query", "01 action", "02 action"},
     .end = "COMMITTED",
     .positions = "S S",
     .order = "00 query, 01 action, 02 action"},
    {.name = "message-denied",
     .asks = {PREPARE(",'timeoutMs':50", CALL "," CALL)},
     .rules = {{.call = "00 query", .status = 409}},
     .points = {"00 query"},
     .end = "ROLLED_BACK",
     .positions = "P P",
     .order = ""},
    {.name = "message-to-a-topic",
     .asks = {{"/topics/$X", "{'url':'$Ua'}", NULL},
              {"/topics/$X", "{'url':'$Ub'}", NULL},
              {"/transaction/message",
               "{'xid':'$X','concurrent':true,'steps':[{'actionUrl':'topic://$X'}," CALL "]}", NULL}},
     .points = {"01-01 action", "01-02 action", "02 action"},
     .end = "COMMITTED",
     .positions = "S S S",
     .effects = 3},
    {.name = "workflow",
     .asks = {WORKFLOW, RECORD("01")},
     .points = {"@ACTIVE"},
     .then = {RECORD("02"), END("SUCCEEDED")},
     .end = "COMMITTED",
     .positions = "S S",
     .order = ""},
    {.name = "workflow-failed",
     .asks = {WORKFLOW, RECORD("01")},
     .points = {"@ACTIVE"},
     .then = {END("FAILED")},
     .end = "ROLLED_BACK",
     .positions = "S",
     .order = ""},
    {.name = "workflow-called-back",
     .asks = {WORKFLOW, RECORD("01")},
     .points = {"00 callback"}, /* 10 s after the step */
     .react = go_on,
     .end = "COMMITTED",
     .positions = "S S",
     .order = "00 callback"},
    {.name = "tries",
     .asks = {TRIES("parallel")},
     .points = {"01 try", "02 try", "01 confirm", "03 confirm"},
     .end = "COMMITTED",
     .positions = "PS PS PS",
     .effects = 6,
     .before = {"01 try < 01 confirm", "02 try < 01 confirm", "03 try < 01 confirm", "01 try < 02 confirm",
                "01 try < 03 confirm"}},
    {.name = "tries-refused",
     .asks = {TRIES("reverse")},
     .rules = {{.call = "03 try", .status = 409}},
     .points = {"01 try", "03 try", "03 cancel", "02 cancel", "01 cancel"},
     .end = "ROLLED_BACK",
     .positions = "SP SP SP",
     .order = "01 try, 02 try, 03 cancel, 02 cancel, 01 cancel"},
    {.name = "tries-called-off",
     .asks = {TRIES("reverse")},
     .rules = {{.call = "02 try", .status = 425}},
     .points = {"02 try"},
     .then = {ROLLBACK},
     .end = "ROLLED_BACK",
     .positions = "SP SP PP",
     .order = "01 try, 02 cancel, 01 cancel"},
    {.name = "nested",
     .asks = {PARENT, CHILD, COMMIT_OF("-c"), COMMIT},
     .points = {"c confirm", "p confirm"},
     .end = "COMMITTED",
     .positions = "PS",
     .child = "@-c:COMMITTED",
     .effects = 2},
    {.name = "nested-undecided",
     .asks = {PARENT, CHILD, COMMIT_OF("-c")},
     .points = {"@-c:PREPARING"},
     .then = {COMMIT},
     .end = "COMMITTED",
     .positions = "PS",
     .child = "@-c:COMMITTED",
     .effects = 2},
    {.name = "nested-back",
     .asks = {PARENT, CHILD, GRANDCHILD, COMMIT_OF("-g"), COMMIT_OF("-c"), ROLLBACK},
     .points = {"g cancel", "c cancel", "p cancel"},
     .end = "ROLLED_BACK",
     .positions = "SP",
     .child = "@-g:ROLLED_BACK",
     .order = "g cancel, c cancel, p cancel"},
    {.name = "nested-child-back",
     .asks = {PARENT, CHILD, {"/transaction/rollback", "{'xid':'$X-c'}", NULL}},
     .points = {"c cancel"},
     .then = {COMMIT},
     .end = "COMMITTED",
     .positions = "PS",
     .child = "@-c:ROLLED_BACK",
     .effects = 2},
    {.name = "nested-saga-back",
     .asks = {PARENT,
              {"/transaction/saga", "{'xid':'$X-c','parent':'$X','steps':[" STEP "," STEP "]}", NULL},
              {"/transaction/rollback", "{'xid':'$X'}", "@-c:COMMITTED"}},
     .points = {"02 compensate", "01 compensate", "p cancel"},
     .end = "ROLLED_BACK",
     .positions = "SP",
     .child = "@-c:ROLLED_BACK",
     .order = "01 action, 02 action, 02 compensate, 01 compensate, p cancel"},
    {.name = "operator-skips",
     .asks = {SAGA("", STEP "," STEP "," STEP), ACT("skip", ",'branch':'02'", "@02=EXECUTING")},
     .rules = {{.call = "02 action", .status = 500}},
     .points = {"03 action"},
     .end = "COMMITTED",
     .positions = "PS PS PS",
     .order = "01 action, 03 action"},
    {.name = "operator-turns-back",
     .asks = {SAGA("", STEP "," STEP), ACT("pause", "", "@02=EXECUTING")},
     .rules = {{.call = "02 action", .status = 500}},
     .points = {"@SUSPENDED"},
     .then = {ACT("back", "", NULL)},
     .end = "ROLLED_BACK",
     .positions = "SS SP",
     .order = "01 action, 02 compensate, 01 compensate"},
    {.name = "operator-gives-up",
     .asks = {SAGA("", STEP "," STEP)},
     .rules = {{.call = "02 action", .status = 500}},
     .points = {"02 action"},
     .then = {ACT("force", "", NULL)},
     .end = "STOPPED",
     .positions = "PS EXECUTING", /* nobody knows */
     .order = "01 action"},
};

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
    static const struct ask rest[] = {RECORD("02"), END("SUCCEEDED")};
    struct actor_call seen;
    struct endpoints e;
    char body[512], error[512];
    if (!actor_call_get(call, &seen) || seen.received < 2)
        return;
    cluster_endpoints(&c, 0, &e);
    for (size_t i = 0; i < sizeof(rest) / sizeof(rest[0]); i++) {
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
    actor_scene(xid, point[0] != '@' ? point : NULL, t->rules, t->react);
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
    enum { N = sizeof(transcripts) / sizeof(transcripts[0]) };
    struct CMUnitTest tests[N];
    for (size_t i = 0; i < N; i++)
        tests[i] = (struct CMUnitTest){.name = transcripts[i].name,
                                       .test_func = the_next_leader_brings_it_to_the_same_end,
                                       .initial_state = (void *)(uintptr_t)&transcripts[i]};
    return cmocka_run_group_tests(tests, setup, teardown);
}
