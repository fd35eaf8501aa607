/* The transcripts of all modes, in the words of the API. */
#include "transcripts.h"

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

const struct ask transcripts_rest[2] = {RECORD("02"), END("SUCCEEDED")};

const struct transcript transcripts[TRANSCRIPTS_MAX] = {
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
     .go_on = true,
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