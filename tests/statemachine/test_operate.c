/* Acts of operators: each in each status, on many at a time, and the record of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sm_harness.h"

#define DAY_MS                (24ll * 3600 * 1000)
#define ok(h, type, args)     assert_int_equal(sm_run(h, type, args), ASSENT_OK)
#define asked(h, query, args) assert_int_equal(sm_ask(h, query, args), ASSENT_OK)

static const char *format(const char *f, ...) __attribute__((format(printf, 1, 2)));
static const char *format(const char *f, ...)
{
    static char texts[4][2048]; /* calls stand inside of calls */
    static unsigned turn;
    char *text = texts[turn++ % 4];
    va_list args;
    va_start(args, f);
    vsnprintf(text, sizeof(texts[0]), f, args);
    va_end(args);
    return text;
}

static const char *status_of(struct sm_harness *h, const char *xid)
{
    return sm_ask(h, QUERY_TXN_STATUS, format("{'xid':'%s'}", xid)) == ASSENT_OK ? sm_text(h, "status") : "";
}

static int act(struct sm_harness *h, const char *xid, const char *what)
{
    return sm_run(h, COMMAND_TXN_ACT,
                  format("{'xid':'%s','act':'%s','by':'ann','reason':'the ledger is back'%s}", xid, what,
                         strcmp(what, "skip") == 0 ? ",'branch':'b'" : ""));
}

static void report(struct sm_harness *h, const char *xid, const char *branch, enum sm_op op, int attempt,
                   bool success)
{
    ok(h, COMMAND_BRANCH_REPORT,
       format("{'xid':'%s','branch':'%s','op':%d,'attempt':%d,'success':%s,'error':'HTTP 500'}", xid, branch,
              op, attempt, success ? "true" : "false"));
}

/* "a:confirm/1 ...": what is due by now. */
static const char *due(struct sm_harness *h)
{
    static char out[1024];
    struct sm_work_cursor c = {0};
    struct sm_work w;
    size_t n = 0;
    out[0] = 0;
    sm_work_begin(h->sm, &c);
    while (sm_work_next(h->sm, &c, h->now_us, &w) && n + 100 < sizeof(out))
        n += (size_t)snprintf(out + n, sizeof(out) - n, "%s%.*s:%s/%u", n > 0 ? " " : "", (int)w.branch.size,
                              (const char *)w.branch.base, sm_op_name(w.op), w.attempt);
    sm_work_end(h->sm, &c);
    return out;
}

/* Branch b has failed once and waits an hour, c waits for its first call. */
static void begin(struct sm_harness *h, const char *xid)
{
    ok(h, COMMAND_TXN_BEGIN,
       format("{'xid':'%s','retryBaseMs':3600000,'retryCapMs':3600000,'timeoutMs':86400000,'branches':["
              "{'branch':'b','confirmUrl':'http://p/c','cancelUrl':'http://p/x'},"
              "{'branch':'c','confirmUrl':'http://p/c','cancelUrl':'http://p/x'}]}",
              xid));
}

static void saga(struct sm_harness *h, const char *xid)
{
    ok(h, COMMAND_SAGA_SUBMIT,
       format("{'xid':'%s','retryBaseMs':3600000,'retryCapMs':3600000,'timeoutMs':86400000,'steps':["
              "{'branch':'b','actionUrl':'http://p/a','compensateUrl':'http://p/x'},"
              "{'branch':'c','actionUrl':'http://p/a','compensateUrl':'http://p/x'}]}",
              xid));
}

/* Bring a transaction into a status; "X?" is SUSPENDED where it was X. */
static void make(struct sm_harness *h, const char *xid, const char *status)
{
    const char *arg = format("{'xid':'%s'}", xid);
    if (strncmp(status, "RUNNING", 7) == 0) {
        saga(h, xid);
        report(h, xid, "b", SM_OP_ACTION, 0, false);
    } else {
        begin(h, xid);
    }
    if (strncmp(status, "COMM", 4) == 0) {
        ok(h, COMMAND_TXN_COMMIT, arg);
        report(h, xid, "b", SM_OP_CONFIRM, 0, false);
    }
    if (strncmp(status, "ROLL", 4) == 0) {
        ok(h, COMMAND_TXN_ROLLBACK, arg);
        report(h, xid, "b", SM_OP_CANCEL, 0, false);
    }
    if (strcmp(status, "COMMITTED") == 0 || strcmp(status, "ROLLED_BACK") == 0) {
        enum sm_op op = status[0] == 'C' ? SM_OP_CONFIRM : SM_OP_CANCEL;
        report(h, xid, "b", op, 1, true);
        report(h, xid, "c", op, 0, true);
    }
    if (strcmp(status, "STOPPED") == 0)
        assert_int_equal(act(h, xid, "force"), ASSENT_OK);
    if (status[strlen(status) - 1] == '?')
        assert_int_equal(act(h, xid, "pause"), ASSENT_OK);
}

static void every_act_in_every_status(void **state)
{
    static const char *const names[] = {"retry", "skip", "force", "pause", "resume", "back"};
    /* "" is refused: TXN_DECIDED; "-": INVALID, it is not the branch's turn */
    static const struct {
        const char *status, *after[6];
    } rows[] = {
        {"ACTIVE", {"ACTIVE", "", "STOPPED", "SUSPENDED", "", "ROLLING_BACK"}},
        {"RUNNING", {"RUNNING", "RUNNING", "STOPPED", "SUSPENDED", "", "ROLLING_BACK"}},
        {"COMMITTING", {"COMMITTING", "COMMITTING", "STOPPED", "SUSPENDED", "", ""}},
        {"ROLLING_BACK", {"ROLLING_BACK", "ROLLING_BACK", "STOPPED", "SUSPENDED", "", ""}},
        {"ACTIVE?", {"ACTIVE", "-", "STOPPED", "", "ACTIVE", "ROLLING_BACK"}},
        {"RUNNING?", {"RUNNING", "RUNNING", "STOPPED", "", "RUNNING", "ROLLING_BACK"}},
        {"COMMITTING?", {"COMMITTING", "COMMITTING", "STOPPED", "", "COMMITTING", ""}},
        {"ROLLING_BACK?", {"ROLLING_BACK", "ROLLING_BACK", "STOPPED", "", "ROLLING_BACK", "ROLLING_BACK"}},
        {"COMMITTED", {"", "", "", "", "", ""}},
        {"ROLLED_BACK", {"", "", "", "", "", ""}},
        {"STOPPED", {"", "", "", "", "", ""}},
    };
    struct sm_harness *h = *state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (int k = 0; k < 6; k++) {
            char xid[32], was[32];
            const char *after = rows[i].after[k];
            snprintf(xid, sizeof(xid), "t%zu-%d", i, k);
            make(h, xid, rows[i].status);
            snprintf(was, sizeof(was), "%s", status_of(h, xid));
            asked(h, QUERY_AUDIT, "{}");
            uint32_t acts = sm_count(h, "acts");
            int code = act(h, xid, names[k]);
            assert_int_equal(code, after[0] == '-'    ? ASSENT_INVALID
                                   : after[0] == '\0' ? ASSENT_TXN_DECIDED
                                                      : ASSENT_OK);
            assert_string_equal(status_of(h, xid), code == ASSENT_OK ? after : was);
            asked(h, QUERY_AUDIT, "{'limit':1000}"); /* a refusal leaves nothing */
            if (code != ASSENT_OK) {
                assert_true(acts == 100 || sm_count(h, "acts") == acts);
                continue;
            }
            assert_string_equal(sm_text(h, "acts.0.act"), names[k]);
            assert_string_equal(sm_text(h, "acts.0.xid"), xid);
            assert_string_equal(sm_text(h, "acts.0.by"), "ann");
            assert_string_equal(sm_text(h, "acts.0.reason"), "the ledger is back");
            assert_string_equal(sm_text(h, "acts.0.branch"), k == 1 ? "b" : "");
            assert_string_equal(sm_text(h, "acts.0.before"), was);
            assert_string_equal(sm_text(h, "acts.0.after"), after);
        }
}

static void who_and_why_are_demanded(void **state)
{
    static const struct {
        const char *args;
        int code;
    } rows[] = {
        {"{'xid':'t','act':'force','reason':'r'}", ASSENT_INVALID},
        {"{'xid':'t','act':'force','by':'','reason':'r'}", ASSENT_INVALID},
        {"{'xid':'t','act':'force','by':'ann'}", ASSENT_INVALID},
        {"{'xid':'t','act':'force','by':'ann','reason':''}", ASSENT_INVALID},
        {"{'xid':'t','act':'explode','by':'ann','reason':'r'}", ASSENT_INVALID},
        {"{'xid':'t','act':'skip','by':'ann','reason':'r'}", ASSENT_INVALID},
        {"{'xid':'t','act':'force','by':'ann','reason':'r','branch':'b'}", ASSENT_INVALID},
        {"{'xid':'t','act':'skip','by':'ann','reason':'r','branch':'none'}", ASSENT_BRANCH_NOT_FOUND},
        {"{'xid':'none','act':'force','by':'ann','reason':'r'}", ASSENT_TXN_NOT_FOUND},
    };
    struct sm_harness *h = *state;
    make(h, "t", "COMMITTING");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct codec_writer w; /* the door's part: fields that must be there */
        struct codec_arena arena;
        struct command c;
        char why[128];
        codec_writer_init(&w);
        codec_arena_init(&arena);
        struct assent_bytes bytes = sm_encode(&w, false, COMMAND_TXN_ACT, NULL, rows[i].args);
        int code = command_decode(&arena, bytes, false, true, &c, why, sizeof(why));
        assert_int_equal(code == ASSENT_OK ? sm_run(h, COMMAND_TXN_ACT, rows[i].args) : code, rows[i].code);
        codec_arena_close(&arena);
        codec_writer_close(&w);
    }
    assert_string_equal(status_of(h, "t"), "COMMITTING");
    asked(h, QUERY_AUDIT, "{}");
    assert_int_equal(sm_count(h, "acts"), 0);
}

static void retry_calls_now_what_waits_and_only_that(void **state)
{
    struct sm_harness *h = *state;
    make(h, "t", "COMMITTING");
    assert_string_equal(due(h), "c:confirm/0");
    int64_t under_way_us = sm_next_work_us(h->sm);
    assert_int_equal(act(h, "t", "retry"), ASSENT_OK);
    assert_string_equal(due(h), "c:confirm/0 b:confirm/1");
    assert_true(sm_next_work_us(h->sm) == under_way_us); /* c is being called: it stays where it is */
    assert_int_equal(act(h, "t", "retry"), ASSENT_OK);
    assert_string_equal(due(h), "c:confirm/0 b:confirm/1");
    report(h, "t", "b", SM_OP_CONFIRM, 1, true);
    report(h, "t", "c", SM_OP_CONFIRM, 0, true);
    assert_string_equal(status_of(h, "t"), "COMMITTED");
    make(h, "s", "RUNNING");
    assert_string_equal(due(h), "");
    assert_int_equal(act(h, "s", "retry"), ASSENT_OK);
    assert_string_equal(due(h), "b:action/1");
}

static void skip_counts_as_done_without_a_pause(void **state)
{
    struct sm_harness *h = *state;
    make(h, "t", "COMMITTING");
    assert_int_equal(act(h, "t", "skip"), ASSENT_OK);
    assert_int_equal(sm_uint(h, "pendingCount"), 1);
    assert_string_equal(due(h), "c:confirm/0");
    assert_int_equal(act(h, "t", "skip"), ASSENT_INVALID); /* done is done */
    report(h, "t", "c", SM_OP_CONFIRM, 0, true);
    assert_string_equal(status_of(h, "t"), "COMMITTED");
    assert_string_equal(due(h), "");
    make(h, "s", "RUNNING");
    assert_int_equal(act(h, "s", "skip"), ASSENT_OK);
    assert_string_equal(due(h), "c:action/0"); /* the step behind it */
    report(h, "s", "c", SM_OP_ACTION, 0, true);
    assert_string_equal(status_of(h, "s"), "COMMITTED");
}

static void force_is_the_end_and_leaves_nothing(void **state)
{
    static const char *const statuses[] = {"ACTIVE",  "RUNNING",  "COMMITTING",  "ROLLING_BACK",
                                           "ACTIVE?", "RUNNING?", "COMMITTING?", "ROLLING_BACK?"};
    struct sm_harness *h = *state;
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        char xid[16];
        snprintf(xid, sizeof(xid), "t%zu", i);
        make(h, xid, statuses[i]);
        if (strcmp(statuses[i], "ACTIVE") == 0) {
            ok(h, COMMAND_FREEZE, "{'xid':'t0','resource':'account:7'}");
        }
        assert_int_equal(act(h, xid, "force"), ASSENT_OK);
        assert_true(sm_int(h, "finishedUs") > 0);
        assert_int_equal(sm_run(h, COMMAND_TXN_COMMIT, format("{'xid':'%s'}", xid)), ASSENT_TXN_DECIDED);
        assert_int_equal(sm_run(h, COMMAND_TXN_ROLLBACK, format("{'xid':'%s'}", xid)), ASSENT_TXN_DECIDED);
    }
    assert_int_equal(sm_next_work_us(h->sm), INT64_MAX);
    asked(h, QUERY_FREEZE_RESOURCE, "{'resource':'account:7'}");
    assert_int_equal(sm_count(h, "holders"), 0);
    sm_advance(h, 2 * DAY_MS); /* no deadline is left either */
    ok(h, COMMAND_TICK, "{}");
    asked(h, QUERY_TXN_LIST, "{'status':'STOPPED'}");
    assert_int_equal(sm_count(h, "transactions"), 8);
    asked(h, QUERY_TXN_LIST, "{'olderThanMs':1}");
    assert_int_equal(sm_count(h, "transactions"), 0);
    sm_reincarnate(h);
    sm_advance(h, 6 * DAY_MS);
    for (int i = 0; i < 4; i++)
        ok(h, COMMAND_TICK, "{}");
    asked(h, QUERY_TXN_LIST, "{}");
    assert_int_equal(sm_count(h, "transactions"), 0);
    asked(h, QUERY_AUDIT, "{'xid':'t0'}"); /* the record outlives it */
    assert_int_equal(sm_count(h, "acts"), 1);
    assert_string_equal(sm_text(h, "acts.0.after"), "STOPPED");
}

/* Commands that are no acts on a transaction, the row each leaves, and one that is refused. */
static void what_operators_change_is_on_record(void **state)
{
    struct sm_harness *h = *state;
#define WHO ",'by':'ann','reason':'asked'"
    static const struct {
        uint32_t command;
        const char *args, *act, *subject, *xid;
    } rows[] = {
        {COMMAND_BUSINESS_PUT,
         "{'businessType':'pay','mode':'TCC','branches':[{'branch':'b','confirmUrl':'http://p/c',"
         "'cancelUrl':'http://p/x'}]" WHO "}",
         "business_put", "pay", ""},
        {COMMAND_BUSINESS_REMOVE, "{'businessType':'pay'" WHO "}", "business_remove", "pay", ""},
        {COMMAND_TOPIC_SUBSCRIBE, "{'topic':'a','url':'http://p/1'" WHO "}", "topic_subscribe",
         "a http://p/1", ""},
        {COMMAND_TOPIC_UNSUBSCRIBE, "{'topic':'a','url':'http://p/1'" WHO "}", "topic_unsubscribe",
         "a http://p/1", ""},
        {COMMAND_TOPIC_REMOVE, "{'topic':'a'" WHO "}", "topic_remove", "a", ""},
        {COMMAND_UNFREEZE, "{'xid':'t','resource':'r:1'" WHO "}", "unfreeze", "r:1", "t"},
        {COMMAND_AUDIT, "{'act':'member_add','subject':'4 h:1'" WHO "}", "member_add", "4 h:1", ""},
    };
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'t'}");
    ok(h, COMMAND_FREEZE, "{'xid':'t','resource':'r:1'}");
    ok(h, COMMAND_UNFREEZE, "{'xid':'t','resource':'r:2'}"); /* by who runs it: no operator's act */
    assert_int_equal(sm_run(h, COMMAND_BUSINESS_REMOVE, "{'businessType':'none'" WHO "}"), ASSENT_NOT_FOUND);
    assert_int_equal(sm_run(h, COMMAND_TOPIC_REMOVE, "{'topic':'none'" WHO "}"), ASSENT_NOT_FOUND);
    asked(h, QUERY_AUDIT, "{}");
    assert_int_equal(sm_count(h, "acts"), 0);
    for (uint32_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        ok(h, rows[i].command, rows[i].args);
        sm_reincarnate(h);
        asked(h, QUERY_AUDIT, "{}");
        assert_int_equal(sm_count(h, "acts"), i + 1);
        assert_string_equal(sm_text(h, "acts.0.act"), rows[i].act);
        assert_string_equal(sm_text(h, "acts.0.subject"), rows[i].subject);
        assert_string_equal(sm_text(h, "acts.0.xid"), rows[i].xid);
        assert_string_equal(sm_text(h, "acts.0.by"), "ann");
        assert_string_equal(sm_text(h, "acts.0.reason"), "asked");
        assert_string_equal(sm_text(h, "acts.0.before"), "");
    }
    ok(h, COMMAND_TOPIC_SUBSCRIBE, "{'topic':'a','url':'http://p/1'}"); /* nobody said who */
    asked(h, QUERY_AUDIT, "{}");
    assert_string_equal(sm_text(h, "acts.0.by"), "");
    char url[900], args[1200];
    memset(url, 'u', sizeof(url));
    url[sizeof(url) - 1] = 0;
    snprintf(args, sizeof(args), "{'topic':'a','url':'http://p/%s'}", url);
    ok(h, COMMAND_TOPIC_SUBSCRIBE, args);
    asked(h, QUERY_AUDIT, "{}");
    assert_int_equal(strlen(sm_text(h, "acts.0.subject")), AUDIT_SUBJECT_BYTES_MAX);
}

static void a_resume_is_on_record_too(void **state)
{
    struct sm_harness *h = *state;
    make(h, "t", "RUNNING?");
    ok(h, COMMAND_TXN_RESUME, "{'xid':'t','move':'retry','by':'bob','reason':'restocked'}");
    asked(h, QUERY_AUDIT, "{'xid':'t'}");
    assert_int_equal(sm_count(h, "acts"), 2);
    assert_string_equal(sm_text(h, "acts.0.act"), "retry");
    assert_string_equal(sm_text(h, "acts.0.by"), "bob");
    assert_string_equal(sm_text(h, "acts.0.before"), "SUSPENDED");
    assert_string_equal(sm_text(h, "acts.0.after"), "RUNNING");
    assert_string_equal(sm_text(h, "acts.1.act"), "pause");
}

/* ---- what is on record */

static void the_timeline_tells_the_story(void **state)
{
    static const char *const events[] = {"created", "decided", "suspend", "retry", "force", "finished"};
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN,
       "{'xid':'t','branches':[{'branch':'b','confirmUrl':'http://p/c','cancelUrl':'','retryLimit':1}]}");
    ok(h, COMMAND_TXN_COMMIT, "{'xid':'t'}");
    report(h, "t", "b", SM_OP_CONFIRM, 0, false); /* once too often */
    assert_string_equal(status_of(h, "t"), "SUSPENDED");
    assert_int_equal(act(h, "t", "retry"), ASSENT_OK);
    assert_int_equal(act(h, "t", "force"), ASSENT_OK);
    asked(h, QUERY_TXN, "{'xid':'t'}");
    assert_int_equal(sm_count(h, "timeline"), 6);
    int64_t before = 0;
    for (int i = 0; i < 6; i++) {
        assert_string_equal(sm_text(h, format("timeline.%d.event", i)), events[i]);
        assert_true(sm_int(h, format("timeline.%d.timeUs", i)) >= before);
        before = sm_int(h, format("timeline.%d.timeUs", i));
    }
    assert_string_equal(sm_text(h, "timeline.2.by"), ""); /* the rules did it */
    assert_non_null(strstr(sm_text(h, "timeline.2.reason"), "HTTP 500"));
    assert_string_equal(sm_text(h, "timeline.3.by"), "ann");
    assert_string_equal(sm_text(h, "timeline.4.before"), "COMMITTING");
    /* another transaction takes the xid: the story begins anew */
    sm_advance(h, 8 * DAY_MS);
    ok(h, COMMAND_TICK, "{}");
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'t'}");
    asked(h, QUERY_TXN, "{'xid':'t'}");
    assert_int_equal(sm_count(h, "timeline"), 1);
    asked(h, QUERY_AUDIT, "{'xid':'t'}");
    assert_int_equal(sm_count(h, "acts"), 3);
}

static void the_record_is_read_newest_first_page_by_page(void **state)
{
    struct sm_harness *h = *state;
    for (int i = 0; i < 7; i++) {
        begin(h, format("t%d", i));
        assert_int_equal(act(h, format("t%d", i), "pause"), ASSENT_OK);
    }
    h->session.ns = (struct assent_bytes){(const uint8_t *)"red", 3};
    begin(h, "t3");
    assert_int_equal(act(h, "t3", "pause"), ASSENT_OK);
    asked(h, QUERY_AUDIT, "{}"); /* a namespace has its own */
    assert_int_equal(sm_count(h, "acts"), 1);
    asked(h, QUERY_AUDIT, "{'xid':'t3'}");
    assert_int_equal(sm_count(h, "acts"), 1);
    assert_string_equal(sm_text(h, "acts.0.xid"), "t3");
    h->session.ns.size = 0;
    sm_reincarnate(h);
    char after[64] = "";
    int expected = 6;
    do {
        asked(h, QUERY_AUDIT,
              format("{'limit':3%s%s%s}", after[0] ? ",'after':'" : "", after, after[0] ? "'" : ""));
        for (uint32_t i = 0; i < sm_count(h, "acts"); i++)
            assert_string_equal(sm_text(h, format("acts.%u.xid", i)), format("t%d", expected--));
        snprintf(after, sizeof(after), "%s", sm_text(h, "next"));
        begin(h, format("new%d", expected)); /* what comes meanwhile shifts no page */
        assert_int_equal(act(h, format("new%d", expected), "pause"), ASSENT_OK);
    } while (after[0] != '\0');
    assert_int_equal(expected, -1);
    static const char *const bad[] = {
        "x", "1", "1.", ".1", "1.2.3", "1.4294967296", "99999999999999999999.1"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(sm_ask(h, QUERY_AUDIT, format("{'after':'%s'}", bad[i])), ASSENT_INVALID);
    assert_int_equal(sm_ask(h, QUERY_AUDIT, "{'limit':0}"), ASSENT_INVALID);
}

static uint32_t recorded(struct sm_harness *h)
{
    asked(h, QUERY_AUDIT, "{'limit':1000}");
    return sm_count(h, "acts");
}

static void records_go_after_ninety_days_a_few_at_a_time(void **state)
{
    struct sm_harness *h = *state;
    for (int i = 0; i < 600; i++) {
        ok(h, COMMAND_TXN_BEGIN, format("{'xid':'t%d','timeoutMs':0}", i));
        assert_int_equal(act(h, format("t%d", i), "pause"), ASSENT_OK);
    }
    sm_advance(h, 30 * DAY_MS);
    begin(h, "late");
    assert_int_equal(act(h, "late", "pause"), ASSENT_OK);
    assert_int_equal(recorded(h), 601);
    sm_advance(h, 61 * DAY_MS);
    sm_reincarnate(h);
    ok(h, COMMAND_TICK, "{}");
    assert_int_equal(recorded(h), 601 - 256);
    for (int i = 0; i < 3; i++) {
        sm_advance(h, 10);
        ok(h, COMMAND_TICK, "{}");
    }
    assert_int_equal(recorded(h), 1);
    asked(h, QUERY_AUDIT, "{'xid':'t5'}");
    assert_int_equal(sm_count(h, "acts"), 0);
    asked(h, QUERY_AUDIT, "{'xid':'late'}");
    assert_int_equal(sm_count(h, "acts"), 1);
    sm_advance(h, 31 * DAY_MS);
    ok(h, COMMAND_TICK, "{}");
    assert_int_equal(recorded(h), 0);
    assert_int_equal(act(h, "t5", "resume"), ASSENT_OK); /* and from the start again */
    assert_int_equal(recorded(h), 1);
    sm_advance(h, 91 * DAY_MS);
    ok(h, COMMAND_TICK, "{}");
    assert_int_equal(recorded(h), 0);
}

/* ---- how long it is kept */

static void set(struct sm_harness *h, const char *fields)
{
    ok(h, COMMAND_SETTINGS_PUT, format("{'by':'ann','reason':'disk',%s}", fields));
}

static void tick(struct sm_harness *h)
{
    for (int i = 0; i < 3; i++)
        ok(h, COMMAND_TICK, "{}");
}

static void times_are_settings_of_the_cluster(void **state)
{
    struct sm_harness *h = *state;
    asked(h, QUERY_SETTINGS, "{}");
    assert_string_equal(sm_json(h), "{\"retentionMs\":604800000,\"auditRetentionMs\":7776000000}");
    make(h, "a", "COMMITTED"); /* for a week, as was said at its end */
    set(h, "'retentionMs':3600000");
    assert_string_equal(sm_json(h), "{\"retentionMs\":3600000,\"auditRetentionMs\":7776000000}");
    make(h, "b", "COMMITTED");
    sm_reincarnate(h);
    sm_advance(h, 3601000);
    tick(h);
    assert_string_equal(status_of(h, "a"), "COMMITTED");
    assert_string_equal(status_of(h, "b"), "");
    make(h, "c", "COMMITTED");
    set(h, "'retentionMs':864000000"); /* ten days: also for what has ended already */
    sm_advance(h, 8 * DAY_MS);
    tick(h);
    assert_string_equal(status_of(h, "a"), "COMMITTED");
    assert_string_equal(status_of(h, "c"), "COMMITTED");
    sm_advance(h, 3 * DAY_MS);
    tick(h);
    assert_string_equal(status_of(h, "a"), "");
    assert_string_equal(status_of(h, "c"), "");
    assert_int_equal(recorded(h), 2);
    assert_string_equal(sm_text(h, "acts.0.act"), "settings");
    assert_string_equal(sm_text(h, "acts.0.xid"), "");
    assert_string_equal(sm_text(h, "acts.0.reason"),
                        "retentionMs 864000000, auditRetentionMs 7776000000: disk");
    set(h, "'auditRetentionMs':86400000"); /* what is older goes at once */
    tick(h);
    assert_int_equal(recorded(h), 1);
    sm_advance(h, 2 * DAY_MS);
    tick(h);
    assert_int_equal(recorded(h), 0);
    static const char *const bad[] = {
        "{'by':'ann','reason':'','retentionMs':3600000}",
        "{'by':'ann','reason':'r','retentionMs':59999}",
        "{'by':'ann','reason':'r','auditRetentionMs':86399999}",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(sm_run(h, COMMAND_SETTINGS_PUT, bad[i]), ASSENT_INVALID);
    assert_int_equal(recorded(h), 0);
}

/* ---- many */

static int many(struct sm_harness *h, const char *what, const char *filter)
{
    return sm_run(
        h, COMMAND_TXN_ACT_MANY,
        format("{'act':'%s','by':'ann','reason':'r'%s%s}", what, filter[0] != '\0' ? "," : "", filter));
}

static void one_command_acts_on_what_a_filter_finds(void **state)
{
    struct sm_harness *h = *state;
    make(h, "a", "COMMITTING");
    make(h, "b", "RUNNING");
    make(h, "c", "COMMITTED");
    make(h, "d", "RUNNING?");
    assert_int_equal(many(h, "pause", "'mode':'TCC'"), ASSENT_OK);
    assert_int_equal(sm_uint(h, "acted"), 1); /* c has ended: it is not met */
    assert_int_equal(sm_uint(h, "refused"), 0);
    assert_string_equal(sm_text(h, "next"), "");
    assert_string_equal(status_of(h, "a"), "SUSPENDED");
    assert_int_equal(many(h, "pause", "'mode':'SAGA'"), ASSENT_OK);
    assert_int_equal(sm_uint(h, "acted"), 1);
    assert_int_equal(sm_uint(h, "refused"), 1); /* d waits already */
    assert_int_equal(many(h, "resume", "'status':'SUSPENDED'"), ASSENT_OK);
    assert_int_equal(sm_uint(h, "acted"), 3);
    assert_int_equal(many(h, "force", "'failing':true,'errorText':'http 500','mode':'SAGA'"), ASSENT_OK);
    assert_int_equal(sm_uint(h, "acted"), 2);
    assert_string_equal(status_of(h, "b"), "STOPPED");
    assert_string_equal(status_of(h, "a"), "COMMITTING");
    asked(h, QUERY_AUDIT, "{'xid':'b'}");
    assert_int_equal(sm_count(h, "acts"), 3);
    asked(h, QUERY_AUDIT, "{'limit':2}"); /* rows of one command each have their place */
    assert_string_equal(sm_text(h, "acts.0.act"), "force");
    assert_string_equal(sm_text(h, "acts.1.act"), "force");
    assert_true(sm_uint(h, "acts.0.position") == sm_uint(h, "acts.1.position"));
    const char *first = format("%s", sm_text(h, "acts.0.xid"));
    assert_string_not_equal(first, sm_text(h, "acts.1.xid"));
}

static void many_are_done_page_by_page(void **state)
{
    struct sm_harness *h = *state;
    for (int i = 0; i < 10; i++)
        ok(h, COMMAND_TXN_BEGIN, format("{'xid':'t%d','timeoutMs':0,'businessType':'pay'}", i));
    char after[64] = "";
    uint64_t acted = 0;
    int pages = 0;
    do {
        assert_int_equal(many(h, "pause",
                              format("'businessType':'pay','limit':3%s%s%s", after[0] ? ",'after':'" : "",
                                     after, after[0] ? "'" : "")),
                         ASSENT_OK);
        acted += sm_uint(h, "acted");
        assert_int_equal(sm_uint(h, "refused"), 0); /* none is met twice, though all still match */
        snprintf(after, sizeof(after), "%s", sm_text(h, "next"));
        pages++;
    } while (after[0] != '\0');
    assert_int_equal(acted, 10);
    assert_int_equal(pages, 4);
}

/* ACT_BRANCHES_MAX is 8 here: three transactions of two branches, and a fourth that reaches it. */
static void a_page_of_large_transactions_ends_earlier(void **state)
{
    struct sm_harness *h = *state;
    for (int i = 0; i < 10; i++)
        make(h, format("t%d", i), "COMMITTING");
    static const uint64_t expected[] = {4, 4, 2};
    char after[64] = "";
    for (int i = 0; i < 3; i++) {
        assert_int_equal(many(h, "pause",
                              format("'mode':'TCC','order':'oldest'%s%s%s", after[0] ? ",'after':'" : "",
                                     after, after[0] ? "'" : "")),
                         ASSENT_OK);
        assert_int_equal(sm_uint(h, "acted"), expected[i]);
        snprintf(after, sizeof(after), "%s", sm_text(h, "next"));
        assert_true((after[0] == '\0') == (i == 2));
    }
    for (int i = 0; i < 10; i++)
        assert_string_equal(status_of(h, format("t%d", i)), "SUSPENDED");
}

static void an_act_on_all_must_say_which(void **state)
{
    static const struct {
        const char *act, *filter, *says;
    } rows[] = {
        {"force", "", "which"},
        {"force", "'limit':1000,'order':'oldest'", "which"},
        {"skip", "'mode':'TCC'", "one"},
        {"explode", "'mode':'TCC'", "act"},
        {"force", "'status':'GONE'", "status"},
        {"force", "'status':'ACTIVE','after':'t1'", "after"},
    };
    struct sm_harness *h = *state;
    begin(h, "t");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(many(h, rows[i].act, rows[i].filter), ASSENT_INVALID);
        assert_non_null(strstr(sm_detail(h), rows[i].says));
    }
    assert_string_equal(status_of(h, "t"), "ACTIVE");
    assert_int_equal(many(h, "force", "'status':'COMMITTED'"), ASSENT_OK); /* ended ones: nobody */
    assert_int_equal(sm_uint(h, "acted") + sm_uint(h, "refused"), 0);
    assert_int_equal(recorded(h), 0);
}

static void a_repeated_key_acts_once(void **state)
{
    struct sm_harness *h = *state;
    make(h, "t", "COMMITTING");
    h->session.kind = SESSION_KEY;
    h->session.key = (struct assent_bytes){(const uint8_t *)"page-1", 6};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(many(h, "retry", "'mode':'TCC'"), ASSENT_OK);
        assert_int_equal(sm_uint(h, "acted"), 1);
    }
    assert_int_equal(recorded(h), 1);
}

/* ---- anything in any order: assertions of the rules are the oracle, and force always ends it */

static uint32_t dice(uint64_t *seed, uint32_t n)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*seed >> 33) % n;
}

/* One transaction of each kind; "k" is nested in "p". */
static void begin_each_kind(struct sm_harness *h)
{
    static const char branches[] =
        "'branches':[{'branch':'b','confirmUrl':'http://p/c','cancelUrl':'http://p/x',"
        "'tryUrl':'http://p/t','retryLimit':2},"
        "{'branch':'c','confirmUrl':'http://p/c','cancelUrl':'http://p/x',"
        "'tryUrl':'http://p/t'}]";
    static const char steps[] =
        "'steps':[{'branch':'b','actionUrl':'http://p/a','compensateUrl':'http://p/x',"
        "'retryLimit':2,'acknowledgeMs':60000},"
        "{'branch':'c','actionUrl':'http://p/a','compensateUrl':'http://p/x'}]";
    static const char letters[] = "'steps':[{'branch':'b','actionUrl':'http://p/a','retryLimit':2},"
                                  "{'branch':'c','actionUrl':'http://p/a'}]";
    ok(h, COMMAND_TXN_BEGIN, format("{'xid':'tcc',%s}", branches));
    ok(h, COMMAND_TXN_BEGIN, format("{'xid':'ordered','order':'reverse',%s}", branches));
    ok(h, COMMAND_TXN_BEGIN, format("{'xid':'tried','execute':true,%s}", branches));
    ok(h, COMMAND_TXN_BEGIN, format("{'xid':'p',%s}", branches));
    ok(h, COMMAND_TXN_BEGIN, format("{'xid':'k','parent':'p',%s}", branches));
    ok(h, COMMAND_SAGA_SUBMIT, format("{'xid':'q','parent':'p',%s}", steps));
    ok(h, COMMAND_SAGA_SUBMIT, format("{'xid':'saga',%s}", steps));
    ok(h, COMMAND_SAGA_SUBMIT, format("{'xid':'wide','concurrent':true,'onFailure':'suspend',%s}", steps));
    ok(h, COMMAND_MESSAGE_PREPARE, format("{'xid':'asked','queryUrl':'http://p/q',%s}", letters));
    ok(h, COMMAND_MESSAGE_SUBMIT, format("{'xid':'letter','delayMs':5000,%s}", letters));
    ok(h, COMMAND_WORKFLOW_PREPARE, "{'xid':'flow','name':'n','callbackUrl':'http://p/w'}");
}

/* Report the n-th piece of what is due, as the executor would. */
static void report_some(struct sm_harness *h, uint64_t *seed)
{
    struct sm_work_cursor c = {0};
    struct sm_work w;
    char args[512] = "";
    uint32_t skip = dice(seed, 4);
    sm_work_begin(h->sm, &c);
    while (sm_work_next(h->sm, &c, h->now_us, &w)) {
        snprintf(
            args, sizeof(args),
            "{'xid':'%.*s','branch':'%.*s','op':%d,'attempt':%u,'success':false,'error':'e','outcome':%u}",
            (int)w.xid.size, (const char *)w.xid.base, (int)w.branch.size, (const char *)w.branch.base, w.op,
            w.attempt, 1 + dice(seed, 4));
        if (skip-- == 0)
            break;
    }
    sm_work_end(h->sm, &c);
    if (args[0] != '\0')
        sm_run(h, COMMAND_BRANCH_REPORT, args);
}

static void anything(uint64_t seed)
{
    static const char *const xids[] = {"tcc",  "ordered", "tried", "p",      "k",   "q",
                                       "saga", "wide",    "asked", "letter", "flow"};
    static const char *const words[] = {"retry", "skip", "pause", "resume", "back"};
    enum { XIDS = sizeof(xids) / sizeof(xids[0]) };
    struct sm_harness world, *h = &world;
    sm_harness_open(h);
    begin_each_kind(h);
    for (uint32_t i = 0, n = 20 + dice(&seed, 400); i < n; i++) {
        const char *xid = xids[dice(&seed, XIDS)];
        switch (dice(&seed, 8)) {
        case 0:
            sm_run(h, COMMAND_TXN_COMMIT, format("{'xid':'%s'}", dice(&seed, 3) == 0 ? "k" : xid));
            break;
        case 1:
            if (dice(&seed, 6) == 0)
                sm_run(h, COMMAND_TXN_ROLLBACK, format("{'xid':'%s'}", xid));
            break;
        case 2:
            sm_run(h, COMMAND_BRANCH_ACKNOWLEDGE,
                   format("{'xid':'%s','branch':'b','outcome':'%s'}", xid,
                          dice(&seed, 2) == 0 ? "success" : "failure"));
            break;
        case 3:
            sm_advance(h, dice(&seed, 5000));
            break;
        case 4:
        case 5:
            report_some(h, &seed);
            break;
        default:
            act(h, xid, words[dice(&seed, dice(&seed, 8) == 0 ? 5 : 4)]);
        }
    }
    sm_reincarnate(h);
    for (int i = 0; i < XIDS; i++)
        act(h, xids[dice(&seed, 2) == 0 ? i : XIDS - 1 - i], "force");
    for (int i = 0; i < XIDS; i++)
        act(h, xids[i], "force");
    assert_int_equal(sm_next_work_us(h->sm), INT64_MAX);
    asked(h, QUERY_TXN_COUNTS, "{'all':true}");
    assert_int_equal(sm_int(h, "oldestUnfinishedUs"), 0);
    sm_advance(h, 20 * DAY_MS);
    for (int i = 0; i < 20; i++) {
        sm_advance(h, 8 * DAY_MS / 20);
        ok(h, COMMAND_TICK, "{}");
    }
    asked(h, QUERY_TXN_LIST, "{}");
    assert_int_equal(sm_count(h, "transactions"), 0);
    sm_harness_close(h);
}

static void anything_may_follow_anything_and_force_ends_it(void **state)
{
    (void)state;
    const char *one = getenv("SEED"); /* a seed that failed, again */
    for (uint64_t seed = 1; seed <= 10; seed++) {
        uint64_t used = one != NULL ? strtoull(one, NULL, 10) : seed;
        print_message("SEED=%llu\n", (unsigned long long)used);
        anything(used);
        if (one != NULL)
            break;
    }
}

/* ---- events */

struct told {
    int acts, statuses;
    char detail[128], status[32], branch[16];
};

static void on_event(void *data, const struct sm_event *e)
{
    struct told *told = data;
    told->statuses += e->kind == SM_EVENT_STATUS;
    if (e->kind != SM_EVENT_ACT)
        return;
    told->acts++;
    snprintf(told->detail, sizeof(told->detail), "%.*s", (int)e->detail.size, (const char *)e->detail.base);
    snprintf(told->branch, sizeof(told->branch), "%.*s", (int)e->branch.size, (const char *)e->branch.base);
    snprintf(told->status, sizeof(told->status), "%s", e->status);
}

static void acts_are_told(void **state)
{
    struct sm_harness *h = *state;
    struct told told = {0};
    make(h, "t", "COMMITTING");
    sm_on_event(h->sm, on_event, &told);
    assert_int_equal(act(h, "t", "skip"), ASSENT_OK);
    assert_int_equal(told.acts, 1);
    assert_int_equal(told.statuses, 0);
    assert_string_equal(told.detail, "skip by ann: the ledger is back");
    assert_string_equal(told.branch, "b");
    assert_string_equal(told.status, "COMMITTING");
    assert_int_equal(act(h, "t", "pause"), ASSENT_OK);
    assert_int_equal(told.acts, 2);
    assert_int_equal(told.statuses, 1);
    assert_int_equal(act(h, "t", "pause"), ASSENT_TXN_DECIDED);
    assert_int_equal(told.acts, 2);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, sm_harness_setup, sm_harness_teardown)
    static const struct CMUnitTest tests[] = {
        T(every_act_in_every_status),
        T(who_and_why_are_demanded),
        T(retry_calls_now_what_waits_and_only_that),
        T(skip_counts_as_done_without_a_pause),
        T(force_is_the_end_and_leaves_nothing),
        T(what_operators_change_is_on_record),
        T(a_resume_is_on_record_too),
        T(the_timeline_tells_the_story),
        T(the_record_is_read_newest_first_page_by_page),
        T(records_go_after_ninety_days_a_few_at_a_time),
        T(times_are_settings_of_the_cluster),
        T(one_command_acts_on_what_a_filter_finds),
        T(many_are_done_page_by_page),
        T(a_page_of_large_transactions_ends_earlier),
        T(an_act_on_all_must_say_which),
        T(a_repeated_key_acts_once),
        T(acts_are_told),
        cmocka_unit_test(anything_may_follow_anything_and_force_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
