/* The bytes of every command, query and frame and the header of an image: what is in a log or on a wire means
 * the same for ever.
 *
 * tests/golden/statemachine.hex holds "name bytes" a line.  A new row fails until it is written there; a
 * changed row means that old logs would be read differently: take the change back, or give the command a new
 * number.  To write the file anew, deliberately: ASSENT_GOLDEN_WRITE=1 test_golden, and read the difference.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "frame.h"
#include "sm_harness.h"

#define GOLDEN_FILE GOLDEN_DIR "/statemachine.hex"

#define OPTIONS                                                                                              \
    "'parent':'p','headers':{'k':'v'},'callTimeoutMs':3000,'retryFactor':150,'retryJitter':10,"              \
    "'order':'reverse','protocol':'http','style':1,'keep':true,'hold':true"
#define RETRIES                                                                                              \
    "'protocol':'json-rpc','retryBaseMs':10,'retryCapMs':1000,'retryFactor':200,'retryJitter':5,'"           \
    "retryLimit':3"

static const struct {
    uint32_t type;
    const char *args;
} commands[] = {
    {COMMAND_TICK, "{}"},
    {COMMAND_SESSION_OPEN, "{'ttlMs':60000}"},
    {COMMAND_SESSION_CLOSE, "{}"},
    {COMMAND_NODE_REGISTER,
     "{'node':'n','address':'h:1','metadata':{'zone':'a'},'inactiveMs':1000,'failedMs':5000}"},
    {COMMAND_NODE_HEARTBEAT, "{'node':'n'}"},
    {COMMAND_NODE_REMOVE, "{'node':'n'}"},
    {COMMAND_SEQUENCE_NEXT, "{'name':'s','count':10}"},
    {COMMAND_TSO_WINDOW, "{'bound':445644800000000}"},
    {COMMAND_LAMPORT_TICK, "{'clock':'c','count':2}"},
    {COMMAND_LAMPORT_SYNC, "{'clock':'c','received':300}"},
    {COMMAND_VECTOR_TICK, "{'clock':'c','node':'n'}"},
    {COMMAND_VECTOR_SYNC, "{'clock':'c','node':'n','received':{'a':1,'b':70000},'epoch':2}"},
    {COMMAND_VECTOR_JOIN, "{'clock':'c','node':'n'}"},
    {COMMAND_VECTOR_RETIRE, "{'clock':'c','node':'n'}"},
    {COMMAND_VECTOR_OBSERVE, "{'clock':'c','node':'n','seen':{'a':1},'epoch':1}"},
    {COMMAND_VERSION_INCREMENT, "{'object':'o','node':'n','value':{'x':1},'context':{'a':1}}"},
    {COMMAND_VERSION_MERGE, "{'object':'o','version':{'a':2},'node':'n','value':null,'dot':{'a':2}}"},
    {COMMAND_VERSION_DECLARE, "{'object':'o','resolution':'manual','history':5}"},
    {COMMAND_VERSION_RESOLVE, "{'object':'o','node':'n','value':[1],'context':{'a':1}}"},
    {COMMAND_TIMESTAMP_EVENT, "{'eventId':'e','node':'n','type':'t','business':'b','data':{}}"},
    {COMMAND_TIMESTAMP_SYNC,
     "{'eventId':'e','node':'n','type':'t','business':'b','data':{},'timeUs':1700000000000000,'lamport':9}"},
    {COMMAND_TXN_BEGIN,
     "{'xid':'x','mode':'tcc','businessType':'bt','businessKey':'bk','timeoutMs':60000,'retryBaseMs':100,"
     "'retryCapMs':10000,'owner':'o','traceparent':'00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',"
     "'customData':{'a':[1]},'branches':[{'branch':'b','confirmUrl':'http://h/c','cancelUrl':'http://h/x',"
     "'payload':{'amount':5},'headers':{'k':'v'},'timeoutMs':3000}]}"},
    {COMMAND_TXN_BEGIN, "{'xid':'x','branches':[{'branch':'b','confirmUrl':'','cancelUrl':''," RETRIES
                        ",'tryUrl':'http://h/t'}]," OPTIONS ",'execute':true}"},
    {COMMAND_TXN_BRANCH, "{'xid':'x','branch':'b','confirmUrl':'http://h/c','cancelUrl':'http://h/x',"
                         "'payload':1.5,'headers':{'k':'v'},'timeoutMs':3000}"},
    {COMMAND_TXN_BRANCH,
     "{'xid':'x','branch':'b','confirmUrl':'','cancelUrl':''," RETRIES ",'tryUrl':'http://h/t'}"},
    {COMMAND_TXN_COMMIT, "{'xid':'x'}"},
    {COMMAND_TXN_COMMIT, "{'xid':'x','keep':true,'headers':{'k':'v'},'callTimeoutMs':7,'retryBaseMs':10}"},
    {COMMAND_TXN_ROLLBACK, "{'xid':'x','reason':'r'}"},
    {COMMAND_TXN_ROLLBACK, "{'xid':'x','reason':'r','keep':true}"},
    {COMMAND_BRANCH_REPORT, "{'xid':'x','branch':'b','op':1,'attempt':2,'success':false,'error':'e'}"},
    {COMMAND_BRANCH_REPORT,
     "{'xid':'x','branch':'b','op':3,'attempt':2,'success':false,'error':'e','outcome':2}"},
    {COMMAND_SAGA_SUBMIT,
     "{'xid':'x','mode':'SAGA','businessType':'bt','businessKey':'bk','timeoutMs':60000,'retryBaseMs':100,"
     "'retryCapMs':10000,'owner':'o','traceparent':'t','customData':{'a':[1]},'steps':[{'branch':'b',"
     "'actionUrl':'http://h/a','compensateUrl':'http://h/c','payload':{'amount':5},'headers':{'k':'v'},"
     "'timeoutMs':3000,'after':[1]},{'branch':'c'}],'concurrent':true,'onFailure':'compensate',"
     "'retryLimit':3}"},
    {COMMAND_SAGA_SUBMIT, "{'xid':'x','steps':[{" RETRIES ",'acknowledgeMs':1000}]," OPTIONS "}"},
    {COMMAND_TXN_RESUME, "{'xid':'x','move':'skip','by':'ann','reason':'r','branch':'b'}"},
    {COMMAND_BRANCH_REPORTS, "{'reports':[{'xid':'x','branch':'b','op':3,'attempt':0,'success':true},"
                             "{'xid':'y','branch':'c','op':1,'attempt':2,'success':false,'error':'e'}]}"},
    {COMMAND_BRANCH_ACKNOWLEDGE, "{'xid':'x','branch':'b','outcome':'failure','error':'e'}"},
    {COMMAND_MESSAGE_PREPARE,
     "{'xid':'x','timeoutMs':60000,'steps':[{'actionUrl':'http://h/a','payload':{'amount':5}}],"
     "'concurrent':true,'queryUrl':'http://h/q','delayMs':10," OPTIONS "}"},
    {COMMAND_MESSAGE_SUBMIT, "{'xid':'x'," OPTIONS "}"},
    {COMMAND_WORKFLOW_PREPARE,
     "{'xid':'x','name':'n','callbackUrl':'http://h/w','data':{'a':1}," OPTIONS "}"},
    {COMMAND_WORKFLOW_STEP, "{'xid':'x','branch':'b','op':'action','status':'SUCCEEDED','data':{'a':1}}"},
    {COMMAND_WORKFLOW_END, "{'xid':'x','status':'FAILED','reason':'r','result':[1]}"},
    {COMMAND_WORKFLOW_END, "{'xid':'x','status':'FAILED','reason':'r','result':[1],'keep':true}"},
    {COMMAND_TXN_ACT, "{'xid':'x','act':'skip','by':'ann','reason':'r','branch':'b'}"},
    {COMMAND_TXN_ACT_MANY, "{'act':'retry','by':'ann','reason':'r','status':'SUSPENDED','mode':'SAGA',"
                           "'businessType':'bt','after':'1.x','limit':10,'businessKey':'bk','order':'oldest',"
                           "'fromUs':1,'toUs':2,'errorText':'e','olderThanMs':3,'failing':true}"},
    {COMMAND_TXN_ACT_MANY, "{'act':'retry','by':'ann','reason':'r','nextAfterMs':4}"},
    {COMMAND_SETTINGS_PUT, "{'by':'ann','reason':'r','retentionMs':86400000,'auditRetentionMs':864000000}"},
    {COMMAND_TEST_WIPE, "{}"},
    {COMMAND_TEST_POLLING, "{'on':false}"},
    {COMMAND_TOPIC_SUBSCRIBE, "{'topic':'t','url':'http://h/a','remark':'r'}"},
    {COMMAND_TOPIC_SUBSCRIBE, "{'topic':'t','url':'http://h/a','by':'ann','reason':'r'}"},
    {COMMAND_TOPIC_UNSUBSCRIBE, "{'topic':'t','url':'http://h/a'}"},
    {COMMAND_TOPIC_UNSUBSCRIBE, "{'topic':'t','url':'http://h/a','by':'ann','reason':'r'}"},
    {COMMAND_TOPIC_REMOVE, "{'topic':'t'}"},
    {COMMAND_TOPIC_REMOVE, "{'topic':'t','by':'ann','reason':'r'}"},
    {COMMAND_BUSINESS_PUT,
     "{'businessType':'b','mode':'SAGA','description':'d','timeoutMs':1,'retryBaseMs':2,'retryCapMs':3,"
     "'retryFactor':150,'retryJitter':10,'headers':{'h':'v'},'callTimeoutMs':4,'protocol':'http',"
     "'order':'forward','branches':[{'branch':'x','confirmUrl':'http://h/c','cancelUrl':'http://h/"
     "d'}],'steps':[{'actionUrl':'http://"
     "h/a'}],"
     "'concurrent':true,'onFailure':'retry','retryLimit':5,'delayMs':6}"},
    {COMMAND_BUSINESS_PUT, "{'businessType':'b','mode':'TCC','by':'ann','reason':'r'}"},
    {COMMAND_BUSINESS_REMOVE, "{'businessType':'b'}"},
    {COMMAND_BUSINESS_REMOVE, "{'businessType':'b','by':'ann','reason':'r'}"},
    {COMMAND_AUDIT, "{'act':'member_add','subject':'4 h:1','by':'ann','reason':'r'}"},
    {COMMAND_BUSINESS_EXECUTE,
     "{'businessType':'b','mode':'SAGA','xid':'x','businessKey':'k','businessData':{'a':1},'timeoutMs':1,"
     "'owner':'o','traceparent':'t','customData':{'c':2},'parent':'p'}"},
    {COMMAND_FREEZE, "{'xid':'x','resource':'account:7','mode':'shared','waitMs':2000}"},
    {COMMAND_UNFREEZE, "{'xid':'x','resource':'account:7'}"},
    {COMMAND_UNFREEZE, "{'xid':'x','resource':'account:7','by':'ann','reason':'r'}"},
};

static const struct {
    uint32_t type;
    const char *args;
} queries[] = {
    {QUERY_NODES, "{}"},
    {QUERY_SEQUENCE, "{'name':'s'}"},
    {QUERY_LAMPORT, "{'clock':'c'}"},
    {QUERY_VECTOR, "{'clock':'c','node':'n'}"},
    {QUERY_VECTOR_COMPARE, "{'clock':'c','a':{'x':1},'b':{'y':2},'epochA':1,'epochB':2,'node':'n'}"},
    {QUERY_VERSION, "{'object':'o'}"},
    {QUERY_VERSION_COMPARE, "{'a':{'x':1},'b':{'y':2},'dotA':{'x':1},'dotB':{'y':2}}"},
    {QUERY_VERSION_HISTORY, "{'object':'o','limit':10}"},
    {QUERY_TIMESTAMP_COMPARE, "{'eventId1':'a','eventId2':'b'}"},
    {QUERY_TIMESTAMP_EVENTS,
     "{'node':'n','type':'t','business':'b','fromUs':1,'toUs':2,'after':'a','limit':3}"},
    {QUERY_TXN_STATUS, "{'xid':'x'}"},
    {QUERY_TXN, "{'xid':'x'}"},
    {QUERY_TXN_TREE, "{'xid':'x'}"},
    {QUERY_TXN_LIST, "{'status':'ACTIVE','mode':'tcc','businessType':'bt','after':'a','limit':10,"
                     "'businessKey':'bk'}"},
    {QUERY_TXN_LIST, "{'order':'oldest','fromUs':1,'toUs':2,'errorText':'e','olderThanMs':3,'failing':true}"},
    {QUERY_TXN_LIST, "{'nextAfterMs':4}"},
    {QUERY_TXN_COUNTS, "{}"},
    {QUERY_TXN_COUNTS, "{'all':true}"},
    {QUERY_BUSINESS, "{'businessType':'b','after':'a','limit':3}"},
    {QUERY_STATISTICS, "{'businessType':'b','mode':'SAGA'}"},
    {QUERY_TOPICS, "{'topic':'t','after':'a','limit':3}"},
    {QUERY_FREEZE, "{'xid':'x','resource':'account:7'}"},
    {QUERY_FREEZE_RESOURCE, "{'resource':'account:7'}"},
    {QUERY_FREEZE_TXN, "{'xid':'x','after':'a','limit':3}"},
    {QUERY_FREEZE_LIST, "{'prefix':'account:','after':'a','limit':3}"},
    {QUERY_AUDIT, "{'xid':'x','after':'1.0','limit':3}"},
    {QUERY_SETTINGS, "{}"},
};

static char *golden; /* the file */
static FILE *writing;
static int rows_seen;

static struct assent_bytes text(const char *s)
{
    return (struct assent_bytes){(const uint8_t *)s, strlen(s)};
}

/* The line of a name, or NULL. */
static const char *golden_line(const char *name)
{
    size_t size = strlen(name);
    for (const char *p = golden; p != NULL && *p != '\0'; p = strchr(p, '\n'), p += p != NULL) {
        if (strncmp(p, name, size) == 0 && p[size] == ' ')
            return p + size + 1;
    }
    return NULL;
}

static void check(const char *name, struct assent_bytes bytes)
{
    char *hex = calloc(2, bytes.size + 1);
    for (size_t i = 0; i < bytes.size; i++)
        snprintf(hex + 2 * i, 3, "%02x", bytes.base[i]);
    rows_seen++;
    if (writing != NULL) {
        fprintf(writing, "%s %s\n", name, hex);
    } else {
        const char *line = golden_line(name);
        if (line == NULL)
            fail_msg("%s is not in " GOLDEN_FILE ": ASSENT_GOLDEN_WRITE=1 writes it", name);
        else if (strncmp(line, hex, strlen(hex)) != 0 || line[strlen(hex)] != '\n')
            fail_msg("%s has changed; it is now %s", name, hex);
    }
    free(hex);
}

static uint32_t field_count(const struct field *fields)
{
    uint32_t n = 0;
    while (fields[n].name != NULL)
        n++;
    return n;
}

static void commands_and_queries(void **state)
{
    (void)state;
    struct codec_writer w;
    struct codec_arena a;
    char name[64], why[128];
    bool known[COMMAND_NR] = {false}, asked[QUERY_NR] = {false};
    struct command c;
    codec_writer_init(&w);
    codec_arena_init(&a);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        struct assent_bytes b = sm_encode(&w, false, commands[i].type, NULL, commands[i].args);
        assert_int_equal(command_decode(&a, b, false, false, &c, why, sizeof why), ASSENT_OK);
        snprintf(name, sizeof name, "command/%s", command_schema(commands[i].type)->name);
        if (i > 0 && commands[i].type == commands[i - 1].type) /* since then it has more fields */
            snprintf(name + strlen(name), sizeof name - strlen(name), "/%u", codec_size(c.args));
        check(name, b);
        /* every field of the schema stands in a row; rows from before a field was added stay */
        uint32_t fields = field_count(command_schema(commands[i].type)->fields);
        assert_true(codec_size(c.args) <= fields);
        known[commands[i].type] = known[commands[i].type] || codec_size(c.args) == fields;
    }
    for (size_t i = 0; i < sizeof queries / sizeof queries[0]; i++) {
        struct assent_bytes b = sm_encode(&w, true, queries[i].type, NULL, queries[i].args);
        assert_int_equal(command_decode(&a, b, true, true, &c, why, sizeof why), ASSENT_OK);
        snprintf(name, sizeof name, "query/%s", query_schema(queries[i].type)->name);
        if (i > 0 && queries[i].type == queries[i - 1].type)
            snprintf(name + strlen(name), sizeof name - strlen(name), "/%u", codec_size(c.args));
        check(name, b);
        uint32_t fields = field_count(query_schema(queries[i].type)->fields);
        assert_true(codec_size(c.args) <= fields);
        asked[queries[i].type] = asked[queries[i].type] || codec_size(c.args) == fields;
    }
    for (uint32_t i = 0; i < COMMAND_NR; i++)
        assert_true(known[i] || command_schema(i) == NULL);
    for (uint32_t i = 0; i < QUERY_NR; i++)
        assert_true(asked[i] || query_schema(i) == NULL);
    codec_arena_close(&a);
    codec_writer_close(&w);
}

static void sessions_and_results(void **state)
{
    (void)state;
    struct codec_writer w;
    codec_writer_init(&w);
    struct command_session s = {.kind = SESSION_SEQUENCE, .client = 4096, .sequence = 7, .acknowledged = 5};
    check("session/sequence", sm_encode(&w, false, COMMAND_LAMPORT_TICK, &s, "{}"));
    s = (struct command_session){.kind = SESSION_KEY, .key = text("order-17")};
    check("session/key", sm_encode(&w, false, COMMAND_LAMPORT_TICK, &s, "{}"));
    codec_writer_reset(&w);
    result_refusal(&w, ASSENT_NOT_FOUND, "nothing");
    check("result/refusal", codec_written(&w));
    codec_writer_close(&w);
}

static void frames(void **state)
{
    (void)state;
    struct codec_writer w;
    codec_writer_init(&w);
    size_t m[10];
    m[0] = frame_open(&w, FRAME_HELLO, 1, 3);
    codec_cstr(&w, "assent");
    codec_uint(&w, FRAME_VERSION);
    codec_cstr(&w, "client");
    frame_close(&w, m[0]);
    m[1] = frame_open(&w, FRAME_WELCOME, 1, 5);
    codec_uint(&w, FRAME_VERSION);
    codec_uint(&w, 0x1122334455667788);
    codec_uint(&w, 2);
    codec_cstr(&w, "10.0.0.1:7080");
    codec_bool(&w, false);
    frame_close(&w, m[1]);
    m[2] = frame_open(&w, FRAME_COMMAND, 2, 1);
    codec_bin(&w, text("\x01\x93\x10\xc0\x90"));
    frame_close(&w, m[2]);
    m[3] = frame_open(&w, FRAME_QUERY, 3, 2);
    codec_bin(&w, text("\x01\x93\x10\xc0\x90"));
    codec_bool(&w, true);
    frame_close(&w, m[3]);
    m[4] = frame_open(&w, FRAME_TSO, 4, 2);
    codec_uint(&w, 1000);
    codec_bool(&w, true);
    frame_close(&w, m[4]);
    m[5] = frame_open(&w, FRAME_RESULT, 2, 3);
    codec_uint(&w, 17);
    codec_uint(&w, 3);
    codec_raw(&w, text("\x93\x32\xc0\xc0"));
    frame_close(&w, m[5]);
    m[6] = frame_open(&w, FRAME_FAILED, 2, 3);
    codec_uint(&w, ASSENT_NOT_LEADER);
    codec_nil(&w);
    codec_cstr(&w, "10.0.0.2:7080");
    frame_close(&w, m[6]);
    m[7] = frame_open(&w, FRAME_TSO_OK, 4, 3);
    codec_uint(&w, UINT64_C(445644800000000000));
    codec_uint(&w, 1000);
    codec_uint(&w, 3);
    frame_close(&w, m[7]);
    m[8] = frame_open(&w, FRAME_PING, 5, 0);
    frame_close(&w, m[8]);
    m[9] = frame_open(&w, FRAME_PONG, 5, 2);
    codec_nil(&w);
    codec_bool(&w, true);
    frame_close(&w, m[9]);
    static const char *const names[] = {"frame/hello", "frame/welcome", "frame/command", "frame/query",
                                        "frame/tso",   "frame/result",  "frame/failed",  "frame/tso_ok",
                                        "frame/ping",  "frame/pong"};
    struct codec_arena a;
    codec_arena_init(&a);
    struct assent_bytes rest = codec_written(&w), body;
    for (int i = 0; i < 10; i++) {
        enum frame_kind kind;
        uint64_t id;
        const struct codec_node *list;
        int64_t n = frame_next(rest, &body);
        assert_true(n > 0 && frame_decode(&a, body, &kind, &id, &list));
        check(names[i], (struct assent_bytes){rest.base, (size_t)n});
        rest.base += n;
        rest.size -= (size_t)n;
    }
    codec_arena_close(&a);
    codec_writer_close(&w);
}

/* A small state: the header, and the whole image behind it. */
static void image(void **state)
{
    (void)state;
    struct sm_harness h;
    char path[300];
    uint64_t size, digest;
    uint8_t bytes[8192];
    sm_harness_open(&h);
    h.session = (struct command_session){.kind = SESSION_KEY, .key = text("k")};
    sm_run(&h, COMMAND_LAMPORT_TICK, "{}");
    h.session.kind = SESSION_NONE;
    sm_run(&h, COMMAND_SESSION_OPEN, "{}");
    h.session = (struct command_session){
        .kind = SESSION_SEQUENCE, .client = sm_uint(&h, "client"), .sequence = 2, .acknowledged = 1};
    sm_run(&h, COMMAND_SEQUENCE_NEXT, "{'name':'s'}");
    h.session.kind = SESSION_NONE;
    sm_run(&h, COMMAND_NODE_REGISTER, "{'node':'n'}");
    snprintf(path, sizeof path, "%s/image", h.dir);
    assert_int_equal(sm_dump(h.sm, sm_pin(h.sm), path, &size, &digest), ASSENT_OK);
    assert_true(size > 64 && size <= sizeof bytes);
    FILE *f = fopen(path, "r");
    assert_int_equal(fread(bytes, 1, size, f), size);
    fclose(f);
    check("image/header", (struct assent_bytes){bytes, 64});
    check("image/body", (struct assent_bytes){bytes + 64, size - 64});
    sm_harness_close(&h);
}

/* Rows of the file that no test asks for are rows somebody lost. */
static void no_row_is_lost(void **state)
{
    (void)state;
    int rows = 0;
    for (const char *p = golden; p != NULL && *p != '\0'; p++)
        rows += *p == '\n';
    if (writing == NULL)
        assert_int_equal(rows, rows_seen);
}

static void load(void)
{
    FILE *f = fopen(GOLDEN_FILE, "r");
    if (f == NULL)
        return;
    golden = calloc(1, 1 << 20);
    size_t n = fread(golden, 1, (1 << 20) - 1, f);
    golden[n] = '\0';
    fclose(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_and_queries),
        cmocka_unit_test(sessions_and_results),
        cmocka_unit_test(frames),
        cmocka_unit_test(image),
        cmocka_unit_test(no_row_is_lost),
    };
    if (getenv("ASSENT_GOLDEN_WRITE") != NULL)
        writing = fopen(GOLDEN_FILE, "w");
    else
        load();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (writing != NULL)
        fclose(writing);
    free(golden);
    return failed;
}
