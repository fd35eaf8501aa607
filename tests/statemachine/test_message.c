/* Messages: every state and move, repeated commands, races of submit, rollback and query, and a random walk.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "txn_case.h"

#define TWO                                                                                                  \
    "'steps':[{'actionUrl':'http://p/a1','payload':{'n':1}},{'actionUrl':'http://p/a2','payload':{'n':2}}]"
#define PREPARED "{'xid':'t','queryUrl':'http://s/q'," TWO "}"

static const char *show(struct sm_harness *h, const char *path)
{
    assert_int_equal(sm_ask(h, QUERY_TXN, "{'xid':'t'}"), ASSENT_OK);
    return sm_text(h, path);
}

static void a_message_goes_when_it_is_submitted(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_MESSAGE_PREPARE, PREPARED);
    assert_string_equal(sm_text(h, "status"), "ACTIVE");
    assert_string_equal(sm_text(h, "mode"), "MESSAGE");
    assert_true(sm_bool(h, "created"));
    assert_string_equal(due(h), "00:query");
    sm_reincarnate(h);
    ok(h, COMMAND_MESSAGE_SUBMIT, "{'xid':'t'}");
    assert_string_equal(sm_text(h, "status"), "COMMITTING");
    assert_false(sm_bool(h, "created"));
    assert_string_equal(due(h), "01:action");
    assert_string_equal(show(h, "branches.1.status"), "REGISTERED");
    report(h, "01", ACTION, SUCCESS);
    assert_string_equal(due(h), "02:action");
    report(h, "02", ACTION, SUCCESS);
    assert_string_equal(status(h), "COMMITTED");
    assert_string_equal(show(h, "branches.1.status"), "EXECUTED");
    assert_string_equal(due(h), "");
    ok(h, COMMAND_MESSAGE_SUBMIT, "{'xid':'t'}"); /* again, for an answer that got lost */
    assert_string_equal(sm_text(h, "status"), "COMMITTED");
    assert_string_equal(due(h), "");
}

static void a_whole_message_goes_at_once(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_MESSAGE_SUBMIT, "{'xid':'t','concurrent':true," TWO "}");
    assert_string_equal(sm_text(h, "status"), "COMMITTING");
    assert_true(sm_bool(h, "created"));
    assert_string_equal(due(h), "01:action 02:action");
    report(h, "02", ACTION, SUCCESS);
    assert_string_equal(show(h, "branches.0.status"), "EXECUTING");
    report(h, "01", ACTION, SUCCESS);
    assert_string_equal(status(h), "COMMITTED");
    ok(h, COMMAND_MESSAGE_SUBMIT, "{'xid':'u','steps':[]}");
    assert_string_equal(sm_text(h, "status"), "COMMITTED");
    ok(h, COMMAND_MESSAGE_SUBMIT, "{'steps':[{},{'actionUrl':'','payload':1}]}");
    assert_string_equal(sm_text(h, "status"), "COMMITTED");
    assert_int_equal(strlen(sm_text(h, "xid")), 32);
}

static void what_a_message_is_can_be_read(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_MESSAGE_PREPARE,
       "{'xid':'t','queryUrl':'http://s/q','concurrent':true,'delayMs':70,'headers':{'k':'v'}," TWO "}");
    assert_string_equal(show(h, "queryUrl"), "http://s/q");
    assert_true(sm_bool(h, "concurrent"));
    assert_int_equal(sm_uint(h, "delayMs"), 70);
    assert_int_equal(sm_uint(h, "timeoutMs"), 60000);
    assert_true(sm_int(h, "nextQueryUs") == sm_int(h, "createdUs") + 60000000);
    assert_int_equal(sm_int(h, "deadlineUs"), 0);
    assert_string_equal(sm_text(h, "branches.1.actionUrl"), "http://p/a2");
    assert_string_equal(sm_text(h, "branches.1.payload"), "{\"n\":2}");
    struct sm_work_cursor c = {0};
    struct sm_work w;
    struct assent_bytes name, value;
    sm_work_begin(h->sm, &c);
    assert_true(sm_work_next(h->sm, &c, INT64_MAX - 1, &w));
    sm_work_load(h->sm, &c, &w);
    assert_memory_equal(w.url.base, "http://s/q", w.url.size);
    assert_int_equal(w.payload.size, 0);
    assert_true(sm_work_header(&w.txn_headers, &name, &value));
    assert_memory_equal(name.base, "k", 1);
    sm_work_end(h->sm, &c);
}

static void the_sender_is_asked_when_it_stays_silent(void **state)
{
    static const struct {
        enum sm_outcome outcome;
        const char *status, *reason, *due;
    } rows[] = {
        {SM_OUTCOME_SUCCESS, "COMMITTING", "", "01:action"},
        {SM_OUTCOME_FAILURE, "ROLLED_BACK", "query: no stock", ""},
        {SM_OUTCOME_ONGOING, "ACTIVE", "", "00:query"},
        {SM_OUTCOME_ERROR, "ACTIVE", "", "00:query"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct sm_harness h;
        sm_harness_open(&h);
        ok(&h, COMMAND_MESSAGE_PREPARE, "{'xid':'t','timeoutMs':500,'queryUrl':'http://s/q'," TWO "}");
        assert_true(sm_next_work_us(h.sm) == sm_time_us(h.sm) + 500000);
        assert_int_equal(sm_next_due_us(h.sm), INT64_MAX); /* no deadline */
        assert_int_equal(report_attempt(&h, "00", SM_OP_QUERY, 1, rows[i].outcome), ASSENT_REPORT_STALE);
        assert_int_equal(report_attempt(&h, "00", SM_OP_CALLBACK, 0, rows[i].outcome), ASSENT_REPORT_STALE);
        assert_int_equal(report_attempt(&h, "00", SM_OP_QUERY, 0, rows[i].outcome), ASSENT_OK);
        assert_string_equal(status(&h), rows[i].status);
        assert_string_equal(sm_text(&h, "reason"), rows[i].reason);
        assert_string_equal(due(&h), rows[i].due);
        assert_int_equal(report_attempt(&h, "00", SM_OP_QUERY, 0, rows[i].outcome), ASSENT_REPORT_STALE);
        sm_reincarnate(&h);
        sm_harness_close(&h);
    }
}

static void waits_between_queries_grow_with_errors_only(void **state)
{
    static const struct {
        enum sm_outcome outcome;
        int64_t wait_us;
    } rows[] = {
        {SM_OUTCOME_ERROR, 100000},   {SM_OUTCOME_ERROR, 200000}, {SM_OUTCOME_ERROR, 300000},
        {SM_OUTCOME_ONGOING, 100000}, {SM_OUTCOME_ERROR, 100000}, {SM_OUTCOME_ERROR, 200000},
    };
    struct sm_harness *h = *state;
    ok(h, COMMAND_MESSAGE_PREPARE, "{'xid':'t','retryBaseMs':100,'retryCapMs':300,'queryUrl':'http://s/q'}");
    for (uint32_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(report_attempt(h, "00", SM_OP_QUERY, i, rows[i].outcome), ASSENT_OK);
        assert_true(sm_next_work_us(h->sm) == sm_time_us(h->sm) + rows[i].wait_us);
        show(h, "");
        assert_int_equal(sm_uint(h, "queries"), i + 1);
    }
}

static void without_anybody_to_ask_it_is_sent_at_its_deadline(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_MESSAGE_PREPARE, "{'xid':'t','timeoutMs':500," TWO "}");
    assert_string_equal(due(h), "");
    sm_advance(h, 600);
    ok(h, COMMAND_TICK, "{}");
    assert_string_equal(status(h), "COMMITTING");
    assert_string_equal(sm_text(h, "reason"), "");
    assert_string_equal(due(h), "01:action");
    ok(h, COMMAND_MESSAGE_PREPARE, "{'xid':'never','timeoutMs':0," TWO "}");
    ok(h, COMMAND_MESSAGE_PREPARE, "{'xid':'nobody','timeoutMs':0,'queryUrl':'http://s/q'," TWO "}");
    assert_string_equal(due(h), "01:action");
    assert_int_equal(sm_next_due_us(h->sm), INT64_MAX);
}

static void a_submitted_message_has_no_deadline(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_MESSAGE_PREPARE, "{'xid':'t','timeoutMs':500," TWO "}");
    ok(h, COMMAND_MESSAGE_SUBMIT, "{'xid':'t'}");
    assert_int_equal(sm_next_due_us(h->sm), INT64_MAX);
    ok(h, COMMAND_MESSAGE_PREPARE, "{'xid':'u','timeoutMs':500," TWO "}");
    ok(h, COMMAND_TXN_ROLLBACK, "{'xid':'u'}");
    report(h, "01", ACTION, SUCCESS);
    sm_advance(h, 600);
    ok(h, COMMAND_TICK, "{}");
    assert_string_equal(due(h), "02:action");
}

static void only_a_prepared_message_is_rolled_back(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_MESSAGE_PREPARE, PREPARED);
    ok(h, COMMAND_TXN_ROLLBACK, "{'xid':'t','reason':'no money'}");
    assert_string_equal(sm_text(h, "status"), "ROLLED_BACK");
    assert_string_equal(sm_text(h, "reason"), "no money");
    assert_string_equal(due(h), "");
    assert_string_equal(show(h, "branches.0.status"), "REGISTERED");
    assert_int_equal(report_attempt(h, "00", SM_OP_QUERY, 0, SM_OUTCOME_SUCCESS), ASSENT_REPORT_STALE);
    assert_int_equal(sm_run(h, COMMAND_MESSAGE_SUBMIT, "{'xid':'t'}"), ASSENT_TXN_DECIDED);
    assert_int_equal(sm_run(h, COMMAND_MESSAGE_SUBMIT, PREPARED), ASSENT_TXN_DECIDED);
    ok(h, COMMAND_TXN_ROLLBACK, "{'xid':'t'}");
    assert_string_equal(sm_text(h, "reason"), "no money");
    ok(h, COMMAND_MESSAGE_PREPARE, PREPARED); /* the first one's answer, as it stands now */
    assert_string_equal(sm_text(h, "status"), "ROLLED_BACK");

    ok(h, COMMAND_MESSAGE_SUBMIT, "{'xid':'u'," TWO "}");
    assert_int_equal(sm_run(h, COMMAND_TXN_ROLLBACK, "{'xid':'u'}"), ASSENT_TXN_DECIDED);
    assert_string_equal(due(h), "01:action");
}

static void a_query_that_comes_too_late_changes_nothing(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_MESSAGE_PREPARE, PREPARED);
    ok(h, COMMAND_MESSAGE_SUBMIT, "{'xid':'t'}");
    assert_int_equal(report_attempt(h, "00", SM_OP_QUERY, 0, SM_OUTCOME_FAILURE), ASSENT_REPORT_STALE);
    assert_string_equal(status(h), "COMMITTING");
    assert_string_equal(due(h), "01:action");
}

static void a_submission_behind_the_query_finds_it_submitted(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_MESSAGE_PREPARE, PREPARED);
    report(h, "00", QUERY, SUCCESS);
    ok(h, COMMAND_MESSAGE_SUBMIT, "{'xid':'t'}");
    assert_string_equal(sm_text(h, "status"), "COMMITTING");
    assert_string_equal(due(h), "01:action");
}

static void a_delivery_is_repeated_until_it_succeeds(void **state)
{
    static const int64_t wait_us[] = {100000, 200000, 300000, 300000};
    struct sm_harness *h = *state;
    ok(h, COMMAND_MESSAGE_SUBMIT, "{'xid':'t','retryBaseMs':100,'retryCapMs':300," TWO "}");
    for (uint32_t i = 0; i < 4; i++) {
        enum sm_outcome outcome = i % 2 ? SM_OUTCOME_FAILURE : SM_OUTCOME_ERROR;
        assert_int_equal(report_attempt(h, "01", SM_OP_ACTION, i, outcome), ASSENT_OK);
        assert_true(sm_next_work_us(h->sm) == sm_time_us(h->sm) + wait_us[i]);
    }
    assert_int_equal(report_attempt(h, "01", SM_OP_ACTION, 4, SM_OUTCOME_ONGOING), ASSENT_OK);
    assert_true(sm_next_work_us(h->sm) == sm_time_us(h->sm) + 300000);
    assert_string_equal(status(h), "COMMITTING");
    assert_string_equal(due(h), "01:action");
    assert_string_equal(show(h, "branches.0.lastError"), "no stock");
    assert_int_equal(report_attempt(h, "01", SM_OP_ACTION, 5, SM_OUTCOME_SUCCESS), ASSENT_OK);
    assert_string_equal(due(h), "02:action");
    assert_true(sm_next_work_us(h->sm) == sm_time_us(h->sm));
}

static void a_delivery_given_up_waits_for_an_operator(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_MESSAGE_SUBMIT,
       "{'xid':'t','steps':[{'actionUrl':'http://p/a','retryLimit':2},{'actionUrl':'http://p/b'}]}");
    report(h, "01", ACTION, ERROR);
    assert_string_equal(status(h), "COMMITTING");
    assert_int_equal(report_attempt(h, "01", SM_OP_ACTION, 1, SM_OUTCOME_FAILURE), ASSENT_OK);
    assert_string_equal(status(h), "SUSPENDED");
    assert_string_equal(due(h), "");
    assert_string_equal(show(h, "branches.0.status"), "EXECUTING");
    assert_string_equal(show(h, "branches.1.status"), "REGISTERED");
    ok(h, COMMAND_MESSAGE_SUBMIT, "{'xid':'t'}"); /* it is submitted: that has not changed */
    assert_string_equal(sm_text(h, "status"), "SUSPENDED");
    assert_int_equal(sm_run(h, COMMAND_TXN_ROLLBACK, "{'xid':'t'}"), ASSENT_TXN_DECIDED);
    sm_reincarnate(h);
    ok(h, COMMAND_TXN_RESUME, "{'xid':'t','by':'ann','reason':'repaired','move':'retry'}");
    assert_string_equal(sm_text(h, "status"), "COMMITTING");
    assert_string_equal(due(h), "01:action");
    assert_int_equal(report_attempt(h, "01", SM_OP_ACTION, 2, SM_OUTCOME_SUCCESS), ASSENT_OK);
    assert_string_equal(due(h), "02:action");
}

static void an_operator_passes_over_a_delivery(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_MESSAGE_SUBMIT,
       "{'xid':'t','steps':[{'actionUrl':'http://p/a','retryLimit':1},{'actionUrl':'http://p/b'}]}");
    report(h, "01", ACTION, ERROR);
    ok(h, COMMAND_TXN_RESUME, "{'xid':'t','by':'ann','reason':'by hand','move':'skip','branch':'01'}");
    assert_string_equal(due(h), "02:action");
    report(h, "02", ACTION, SUCCESS);
    assert_string_equal(status(h), "COMMITTED");
}

#define ACT(act) "{'xid':'t','by':'ann','reason':'r','act':'" act "'}"

static void a_paused_message_is_neither_asked_about_nor_sent(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_MESSAGE_PREPARE, PREPARED);
    ok(h, COMMAND_TXN_ACT, ACT("pause"));
    assert_string_equal(due(h), "");
    assert_int_equal(sm_run(h, COMMAND_MESSAGE_SUBMIT, "{'xid':'t'}"), ASSENT_CONFLICT);
    ok(h, COMMAND_MESSAGE_SUBMIT, "{'xid':'t','keep':true}");
    assert_string_equal(sm_text(h, "status"), "SUSPENDED");
    assert_int_equal(report_attempt(h, "00", SM_OP_QUERY, 0, SM_OUTCOME_SUCCESS), ASSENT_REPORT_STALE);
    ok(h, COMMAND_TXN_ACT, ACT("resume"));
    assert_string_equal(due(h), "00:query");
    ok(h, COMMAND_MESSAGE_SUBMIT, "{'xid':'t'}");
    report(h, "01", ACTION, ERROR);
    ok(h, COMMAND_TXN_ACT, ACT("pause"));
    assert_string_equal(due(h), "");
    sm_reincarnate(h);
    ok(h, COMMAND_TXN_ACT, ACT("resume"));
    assert_string_equal(due(h), "01:action");
    assert_int_equal(report_attempt(h, "01", SM_OP_ACTION, 1, SM_OUTCOME_SUCCESS), ASSENT_OK);
    assert_string_equal(due(h), "02:action");
    ok(h, COMMAND_TXN_ACT, "{'xid':'t','by':'ann','reason':'r','act':'skip','branch':'02'}");
    assert_string_equal(status(h), "COMMITTED");
}

static void an_operator_turns_only_a_prepared_message_back(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_MESSAGE_PREPARE, PREPARED);
    ok(h, COMMAND_TXN_ACT, ACT("pause"));
    ok(h, COMMAND_TXN_ACT, ACT("back"));
    assert_string_equal(status(h), "ROLLED_BACK");
    ok(h, COMMAND_MESSAGE_SUBMIT, "{'xid':'u'," TWO "}");
    assert_int_equal(sm_run(h, COMMAND_TXN_ACT, "{'xid':'u','by':'ann','reason':'r','act':'back'}"),
                     ASSENT_TXN_DECIDED);
    ok(h, COMMAND_TXN_ACT, "{'xid':'u','by':'ann','reason':'r','act':'force'}");
    assert_string_equal(sm_text(h, "status"), "STOPPED");
    assert_int_equal(sm_run(h, COMMAND_MESSAGE_SUBMIT, "{'xid':'u'}"), ASSENT_TXN_DECIDED);
    ok(h, COMMAND_MESSAGE_PREPARE, "{'xid':'v','queryUrl':'http://s/q'," TWO "}");
    ok(h, COMMAND_TXN_ACT, "{'xid':'v','by':'ann','reason':'r','act':'force'}");
    assert_string_equal(due(h), "");
    assert_int_equal(sm_run(h, COMMAND_MESSAGE_SUBMIT, "{'xid':'v'}"), ASSENT_TXN_DECIDED);
}

static void a_pause_does_not_shorten_a_delay(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_MESSAGE_SUBMIT, "{'xid':'t','delayMs':5000," TWO "}");
    int64_t created_us = sm_time_us(h->sm);
    ok(h, COMMAND_TXN_ACT, ACT("pause"));
    ok(h, COMMAND_TXN_ACT, ACT("resume"));
    assert_true(sm_next_work_us(h->sm) == created_us + 5000000);
    ok(h, COMMAND_TXN_ACT, ACT("retry")); /* now means now */
    assert_true(sm_next_work_us(h->sm) == sm_time_us(h->sm));
    ok(h, COMMAND_MESSAGE_PREPARE, "{'xid':'u','timeoutMs':0,'queryUrl':'http://s/q'," TWO "}");
    ok(h, COMMAND_TXN_ACT, "{'xid':'u','by':'ann','reason':'r','act':'pause'}");
    ok(h, COMMAND_TXN_ACT, "{'xid':'u','by':'ann','reason':'r','act':'resume'}");
    assert_string_equal(due(h), "01:action"); /* nobody is asked about it after a pause either */
}

static void a_delayed_message_waits_from_its_creation_on(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_MESSAGE_SUBMIT, "{'xid':'t','delayMs':5000," TWO "}");
    int64_t created_us = sm_time_us(h->sm);
    assert_true(sm_next_work_us(h->sm) == created_us + 5000000);
    assert_true((show(h, ""), sm_int(h, "branches.0.nextDueUs")) == created_us + 5000000);
    sm_reincarnate(h);
    sm_advance(h, 5000);
    report(h, "01", ACTION, SUCCESS);
    assert_true(sm_next_work_us(h->sm) == sm_time_us(h->sm)); /* the second follows at once */

    ok(h, COMMAND_MESSAGE_PREPARE, "{'xid':'u','delayMs':5000,'concurrent':true," TWO "}");
    created_us = sm_time_us(h->sm);
    sm_advance(h, 1000);
    ok(h, COMMAND_MESSAGE_SUBMIT, "{'xid':'u'}");
    report(h, "02", ACTION, SUCCESS);
    assert_true(sm_next_work_us(h->sm) == created_us + 5000000);
    ok(h, COMMAND_MESSAGE_PREPARE, "{'xid':'v','delayMs':10," TWO "}");
    sm_advance(h, 1000);
    ok(h, COMMAND_MESSAGE_SUBMIT, "{'xid':'v'}");
    assert_true(sm_next_work_us(h->sm) == sm_time_us(h->sm)); /* the delay is over */
}

static void a_command_may_be_repeated(void **state)
{
    struct sm_harness *h = *state;
    static const char *const others[] = {
        "{'xid':'t','queryUrl':'http://s/other'," TWO "}",
        "{'xid':'t'," TWO "}",
        "{'xid':'t','queryUrl':'http://s/q','concurrent':true," TWO "}",
        "{'xid':'t','queryUrl':'http://s/q','delayMs':1," TWO "}",
        "{'xid':'t','queryUrl':'http://s/q','timeoutMs':1," TWO "}",
        "{'xid':'t','queryUrl':'http://s/q','steps':[]}",
        "{'xid':'t','queryUrl':'http://s/q','steps':[{'actionUrl':'http://p/a1','payload':{'n':1}}]}",
        "{'xid':'t','queryUrl':'http://s/q',"
        "'steps':[{'actionUrl':'http://p/a1','payload':{'n':1}},{'actionUrl':'http://p/a2'}]}",
    };
    ok(h, COMMAND_MESSAGE_PREPARE, PREPARED);
    ok(h, COMMAND_MESSAGE_PREPARE, PREPARED);
    assert_false(sm_bool(h, "created"));
    assert_string_equal(due(h), "00:query");
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
            assert_int_equal(sm_run(h, COMMAND_MESSAGE_PREPARE, others[i]), ASSENT_EXISTS);
            assert_int_equal(sm_run(h, COMMAND_MESSAGE_SUBMIT, others[i]), ASSENT_EXISTS);
        }
        assert_int_equal(sm_run(h, COMMAND_SAGA_SUBMIT, "{'xid':'t'}"), ASSENT_EXISTS);
        assert_string_equal(status(h), round == 0 ? "ACTIVE" : "COMMITTING");
        ok(h, COMMAND_MESSAGE_SUBMIT, PREPARED); /* the whole message, prepared before */
        assert_string_equal(sm_text(h, "status"), "COMMITTING");
        assert_false(sm_bool(h, "created"));
        assert_string_equal(due(h), "01:action");
    }
    ok(h, COMMAND_MESSAGE_PREPARE, PREPARED);
    assert_string_equal(sm_text(h, "status"), "COMMITTING");
}

static void a_door_may_keep_what_is_stored(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_MESSAGE_PREPARE, PREPARED);
    ok(h, COMMAND_MESSAGE_PREPARE, "{'xid':'t','keep':true,'steps':[{'actionUrl':'nonsense'}]}");
    assert_false(sm_bool(h, "created"));
    ok(h, COMMAND_MESSAGE_SUBMIT, "{'xid':'t','keep':true,'steps':[]}");
    assert_string_equal(due(h), "01:action"); /* the stored steps */
    ok(h, COMMAND_MESSAGE_SUBMIT, "{'xid':'u','keep':true," TWO "}");
    assert_true(sm_bool(h, "created"));
    ok(h, COMMAND_SAGA_SUBMIT, "{'xid':'s','steps':[{'actionUrl':'http://p/a'}]}");
    ok(h, COMMAND_MESSAGE_SUBMIT, "{'xid':'s','keep':true,'steps':[]}"); /* the mode says what it is */
    assert_string_equal(sm_text(h, "mode"), "SAGA");
    assert_string_equal(sm_text(h, "status"), "RUNNING");
    ok(h, COMMAND_MESSAGE_PREPARE, "{'xid':'v'," TWO "}");
    ok(h, COMMAND_TXN_ROLLBACK, "{'xid':'v'}");
    ok(h, COMMAND_MESSAGE_SUBMIT, "{'xid':'v','keep':true," TWO "}"); /* it cannot be: as it stands */
    assert_string_equal(sm_text(h, "status"), "ROLLED_BACK");
}

static void a_door_may_change_the_calls_with_the_submission(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_MESSAGE_PREPARE, PREPARED);
    assert_int_equal(sm_run(h, COMMAND_MESSAGE_SUBMIT, "{'xid':'t','keep':true,'headers':{'Host':'h'}}"),
                     ASSENT_INVALID);
    assert_string_equal(status(h), "ACTIVE");
    ok(h, COMMAND_MESSAGE_SUBMIT,
       "{'xid':'t','keep':true,'headers':{'k':'v'},'callTimeoutMs':7,'retryBaseMs':2000}");
    struct sm_work_cursor c = {0};
    struct sm_work w;
    struct assent_bytes name, value;
    sm_work_begin(h->sm, &c);
    assert_true(sm_work_next(h->sm, &c, INT64_MAX - 1, &w));
    sm_work_load(h->sm, &c, &w);
    assert_int_equal(w.timeout_ms, 7);
    assert_true(sm_work_header(&w.txn_headers, &name, &value));
    sm_work_end(h->sm, &c);
    report(h, "01", ACTION, ERROR);
    assert_true(sm_next_work_us(h->sm) == sm_time_us(h->sm) + 2000000);
}

static void an_xid_alone_names_a_message_that_is_there(void **state)
{
    struct sm_harness *h = *state;
    assert_int_equal(sm_run(h, COMMAND_MESSAGE_SUBMIT, "{'xid':'t'}"), ASSENT_TXN_NOT_FOUND);
    assert_int_equal(sm_run(h, COMMAND_MESSAGE_SUBMIT, "{}"), ASSENT_INVALID);
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'t'}");
    assert_int_equal(sm_run(h, COMMAND_MESSAGE_SUBMIT, "{'xid':'t'}"), ASSENT_TXN_NOT_FOUND);
    assert_int_equal(sm_run(h, COMMAND_MESSAGE_SUBMIT, "{'xid':'t','steps':[]}"), ASSENT_EXISTS);
    assert_int_equal(sm_run(h, COMMAND_MESSAGE_PREPARE, "{'xid':'t'}"), ASSENT_EXISTS);
}

static void a_bad_message_changes_nothing(void **state)
{
    static const char *const bad[] = {
        "{'xid':'t','mode':'SAGA','steps':[]}",
        "{'xid':'t','queryUrl':'ftp://s/q','steps':[]}",
        "{'xid':'t','order':'forward','steps':[]}",
        "{'xid':'t','parent':'p','steps':[]}",
        "{'xid':'t','timeoutMs':2592000001,'steps':[]}",
        "{'xid':'t','retryFactor':99,'steps':[]}",
        "{'xid':'t','headers':{'Host':'h'},'steps':[]}",
        "{'xid':'t','steps':[{'actionUrl':'p/a'}]}",
        "{'xid':'t','steps':[{'actionUrl':'topic://'}]}",
        "{'xid':'t','steps':[{'actionUrl':'http://p/a','compensateUrl':'http://p/c'}]}",
        "{'xid':'t','steps':[{},{'after':[0]}]}",
        "{'xid':'t','steps':[{'acknowledgeMs':1}]}",
        "{'xid':'t','steps':[{'branch':'02'},{}]}",
        "{'xid':'t','steps':[{'headers':{'Assent-Xid':'1'}}]}",
        "{'xid':'t','steps':[{'retryJitter':1,'retryBaseMs':0}]}",
    };
    struct sm_harness *h = *state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(sm_run(h, COMMAND_MESSAGE_PREPARE, bad[i]), ASSENT_INVALID);
        assert_int_equal(sm_run(h, COMMAND_MESSAGE_SUBMIT, bad[i]), ASSENT_INVALID);
        assert_int_equal(sm_ask(h, QUERY_TXN, "{'xid':'t'}"), ASSENT_TXN_NOT_FOUND);
    }
}

static void other_commands_leave_a_message_alone(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_MESSAGE_PREPARE, PREPARED);
    assert_int_equal(sm_run(h, COMMAND_TXN_COMMIT, "{'xid':'t'}"), ASSENT_INVALID);
    assert_int_equal(sm_run(h, COMMAND_TXN_BRANCH,
                            "{'xid':'t','branch':'b','confirmUrl':'http://p/c','cancelUrl':'http://p/x'}"),
                     ASSENT_INVALID);
    assert_int_equal(report_attempt(h, "01", SM_OP_ACTION, 0, SM_OUTCOME_SUCCESS), ASSENT_REPORT_STALE);
    ok(h, COMMAND_MESSAGE_SUBMIT, "{'xid':'t'}");
    assert_int_equal(report_attempt(h, "01", SM_OP_CONFIRM, 0, SM_OUTCOME_SUCCESS), ASSENT_INVALID);
    assert_int_equal(report_attempt(h, "01", SM_OP_COMPENSATE, 0, SM_OUTCOME_SUCCESS), ASSENT_REPORT_STALE);
    assert_int_equal(report_attempt(h, "02", SM_OP_ACTION, 0, SM_OUTCOME_SUCCESS), ASSENT_REPORT_STALE);
    assert_int_equal(report_attempt(h, "01", SM_OP_ACTION, 1, SM_OUTCOME_SUCCESS), ASSENT_REPORT_STALE);
    report(h, "01", ACTION, SUCCESS);
    assert_int_equal(report_attempt(h, "01", SM_OP_ACTION, 0, SM_OUTCOME_SUCCESS), ASSENT_REPORT_STALE);
}

static void a_finished_message_goes_after_retention(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_MESSAGE_PREPARE, PREPARED);
    ok(h, COMMAND_TXN_ROLLBACK, "{'xid':'t'}");
    sm_advance(h, 8ll * 24 * 3600 * 1000);
    ok(h, COMMAND_TICK, "{}");
    assert_string_equal(status(h), "");
    assert_int_equal(sm_run(h, COMMAND_MESSAGE_SUBMIT, "{'xid':'t'}"), ASSENT_TXN_NOT_FOUND);
    ok(h, COMMAND_MESSAGE_PREPARE, "{'xid':'t','steps':[]}");
    assert_string_equal(show(h, "queryUrl"), ""); /* nothing of the first one is left */
}

/* ---- a random walk beside a model */

#define STEPS 4

enum stand { NONE, ACTIVE, COMMITTING, COMMITTED, ROLLED_BACK };
static const char *const stand_names[] = {"", "ACTIVE", "COMMITTING", "COMMITTED", "ROLLED_BACK"};

struct model {
    enum stand stand;
    bool concurrent, query;
    bool calls[STEPS]; /* has something to call */
    bool done[STEPS];
    char args[1024];
};

static void model_make(struct model *m, unsigned *seed)
{
    *m = (struct model){.concurrent = rand_r(seed) % 2, .query = rand_r(seed) % 2};
    int n = snprintf(m->args, sizeof(m->args),
                     "{'xid':'t','timeoutMs':500,'concurrent':%s,'queryUrl':'%s','steps':[",
                     m->concurrent ? "true" : "false", m->query ? "http://s/q" : "");
    for (int i = 0; i < STEPS; i++) {
        m->calls[i] = rand_r(seed) % 4 > 0;
        m->done[i] = !m->calls[i];
        n += snprintf(m->args + n, sizeof(m->args) - (size_t)n, "%s{'actionUrl':'%s'}", i > 0 ? "," : "",
                      m->calls[i] ? "http://p/a" : "");
    }
    snprintf(m->args + n, sizeof(m->args) - (size_t)n, "]}");
}

static void model_settle(struct model *m)
{
    bool all = true;
    for (int i = 0; i < STEPS; i++)
        all = all && m->done[i];
    if (m->stand == COMMITTING && all)
        m->stand = COMMITTED;
}

static void model_go(struct model *m)
{
    m->stand = COMMITTING;
    model_settle(m);
}

static void model_due(const struct model *m, char *out, size_t size)
{
    int n = 0;
    out[0] = 0;
    if (m->stand == ACTIVE && m->query)
        snprintf(out, size, "00:query");
    for (int i = 0; m->stand == COMMITTING && i < STEPS; i++) {
        if (m->done[i])
            continue;
        n += snprintf(out + n, size - (size_t)n, "%s%02d:action", n > 0 ? " " : "", i + 1);
        if (!m->concurrent)
            return;
    }
}

/* Report a random piece of what is due, now and then one that is not. */
static void walk_report(struct sm_harness *h, struct model *m, unsigned *seed)
{
    struct sm_work w;
    enum sm_outcome outcome = (enum sm_outcome)(1 + rand_r(seed) % 4);
    unsigned nth = (unsigned)rand_r(seed) % STEPS;
    if (rand_r(seed) % 4 == 0) { /* of an attempt long past */
        assert_int_equal(report_attempt(h, "01", SM_OP_ACTION, 999, outcome),
                         m->stand == NONE ? ASSENT_TXN_NOT_FOUND : ASSENT_REPORT_STALE);
        return;
    }
    if (!pick(h, 0, &w))
        return;
    while (!pick(h, nth, &w))
        nth--;
    char branch[8];
    snprintf(branch, sizeof(branch), "%.*s", (int)w.branch.size, (const char *)w.branch.base);
    enum sm_op op = w.op;
    assert_int_equal(report_attempt(h, branch, op, w.attempt, outcome), ASSENT_OK);
    if (op == SM_OP_QUERY && outcome == SM_OUTCOME_SUCCESS)
        model_go(m);
    if (op == SM_OP_QUERY && outcome == SM_OUTCOME_FAILURE)
        m->stand = ROLLED_BACK;
    if (op == SM_OP_ACTION) {
        assert_int_equal(m->stand, COMMITTING);
        m->done[atoi(branch) - 1] |= outcome == SM_OUTCOME_SUCCESS;
        model_settle(m);
    }
}

static void walk_command(struct sm_harness *h, struct model *m, unsigned *seed)
{
    switch (rand_r(seed) % 5) {
    case 0:
        ok(h, COMMAND_MESSAGE_PREPARE, m->args);
        assert_int_equal(sm_bool(h, "created"), m->stand == NONE);
        if (m->stand == NONE)
            m->stand = ACTIVE;
        break;
    case 1:
        assert_int_equal(sm_run(h, COMMAND_MESSAGE_SUBMIT, m->args),
                         m->stand == ROLLED_BACK ? ASSENT_TXN_DECIDED : ASSENT_OK);
        if (m->stand == NONE || m->stand == ACTIVE)
            model_go(m);
        break;
    case 2:
        assert_int_equal(sm_run(h, COMMAND_MESSAGE_SUBMIT, "{'xid':'t'}"),
                         m->stand == NONE          ? ASSENT_TXN_NOT_FOUND
                         : m->stand == ROLLED_BACK ? ASSENT_TXN_DECIDED
                                                   : ASSENT_OK);
        if (m->stand == ACTIVE)
            model_go(m);
        break;
    case 3:
        assert_int_equal(sm_run(h, COMMAND_TXN_ROLLBACK, "{'xid':'t'}"),
                         m->stand == NONE                                  ? ASSENT_TXN_NOT_FOUND
                         : m->stand == COMMITTING || m->stand == COMMITTED ? ASSENT_TXN_DECIDED
                                                                           : ASSENT_OK);
        if (m->stand == ACTIVE)
            m->stand = ROLLED_BACK;
        break;
    default:
        sm_advance(h, 600);
        ok(h, COMMAND_TICK, "{}");
        if (m->stand == ACTIVE && !m->query)
            model_go(m);
    }
}

static void walk(struct sm_harness *h, unsigned seed)
{
    struct model m;
    char want[256];
    model_make(&m, &seed);
    for (int i = 0; i < 60; i++) {
        if (rand_r(&seed) % 3 == 0)
            walk_command(h, &m, &seed);
        else
            walk_report(h, &m, &seed);
        assert_string_equal(status(h), stand_names[m.stand]);
        model_due(&m, want, sizeof(want));
        if (m.concurrent && m.stand == COMMITTING) /* in order of time: as many as the model's */
            assert_int_equal(strlen(due(h)), strlen(want));
        else
            assert_string_equal(due(h), want);
        if (rand_r(&seed) % 16 == 0)
            sm_reincarnate(h);
    }
}

static void random_messages_do_what_the_model_does(void **state)
{
    (void)state;
    walk_seeds(walk, 80);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, sm_harness_setup, sm_harness_teardown)
    static const struct CMUnitTest tests[] = {
        T(a_message_goes_when_it_is_submitted),
        T(a_whole_message_goes_at_once),
        T(what_a_message_is_can_be_read),
        cmocka_unit_test(the_sender_is_asked_when_it_stays_silent),
        T(waits_between_queries_grow_with_errors_only),
        T(without_anybody_to_ask_it_is_sent_at_its_deadline),
        T(a_submitted_message_has_no_deadline),
        T(only_a_prepared_message_is_rolled_back),
        T(a_query_that_comes_too_late_changes_nothing),
        T(a_submission_behind_the_query_finds_it_submitted),
        T(a_delivery_is_repeated_until_it_succeeds),
        T(a_delivery_given_up_waits_for_an_operator),
        T(an_operator_passes_over_a_delivery),
        T(a_paused_message_is_neither_asked_about_nor_sent),
        T(an_operator_turns_only_a_prepared_message_back),
        T(a_pause_does_not_shorten_a_delay),
        T(a_delayed_message_waits_from_its_creation_on),
        T(a_command_may_be_repeated),
        T(a_door_may_keep_what_is_stored),
        T(a_door_may_change_the_calls_with_the_submission),
        T(an_xid_alone_names_a_message_that_is_there),
        T(a_bad_message_changes_nothing),
        T(other_commands_leave_a_message_alone),
        T(a_finished_message_goes_after_retention),
        cmocka_unit_test(random_messages_do_what_the_model_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
