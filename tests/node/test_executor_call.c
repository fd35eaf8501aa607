/* Calls and what their answers mean, against a participant on the loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "executor_world.h"

/* A transaction of one branch in the given style, decided; the op is confirm. */
static void confirm(struct world *w, const char *xid, int style, const char *path, const char *more)
{
    world_run(w, COMMAND_TXN_BEGIN,
              "{'xid':'%s','style':%d,'retryBaseMs':100,'branches':[{'branch':'b','confirmUrl':"
              "'http://127.0.0.1:%u%s','cancelUrl':'','payload':{'n':1}%s}]}",
              xid, style, w->p.port, path, more);
    world_run(w, COMMAND_TXN_COMMIT, "{'xid':'%s'}", xid);
}

/* A saga of one step; the op is action. */
static void action(struct world *w, const char *xid, int style, const char *path, const char *more)
{
    world_run(w, COMMAND_SAGA_SUBMIT,
              "{'xid':'%s','style':%d,'retryBaseMs':100,'steps':[{'actionUrl':'http://127.0.0.1:%u%s',"
              "'compensateUrl':''%s}]}",
              xid, style, w->p.port, path, more);
}

/* What the first call of an action came to, from what became of its saga. */
static enum sm_outcome outcome(struct world *w, const char *xid)
{
    uint32_t failures = w->failures;
    until(w, w->failures > failures || world_stands(w, xid, "COMMITTED"));
    if (world_stands(w, xid, "COMMITTED"))
        return SM_OUTCOME_SUCCESS;
    until(w, w->first == NULL && world_metrics(w).reporting == 0);
    if (world_stands(w, xid, "ROLLED_BACK"))
        return SM_OUTCOME_FAILURE;
    char args[100];
    snprintf(args, sizeof(args), "{'xid':'%s'}", xid);
    assert_int_equal(sm_ask(&w->h, QUERY_TXN, args), ASSENT_OK);
    assert_string_equal(sm_text(&w->h, "branches.0.status"), "EXECUTING");
    return SM_OUTCOME_ERROR;
}

static void answers_of_either_style(void **state)
{
    static const struct {
        const char *path;
        enum sm_outcome native, dtm; /* ERROR stands for ONGOING too: both leave the step unfinished */
    } rows[] = {
        {"/ok", SM_OUTCOME_SUCCESS, SM_OUTCOME_SUCCESS},
        {"/status/201", SM_OUTCOME_SUCCESS, SM_OUTCOME_ERROR},
        {"/status/204", SM_OUTCOME_SUCCESS, SM_OUTCOME_ERROR},
        {"/status/202", SM_OUTCOME_ERROR, SM_OUTCOME_ERROR},
        {"/status/425", SM_OUTCOME_ERROR, SM_OUTCOME_ERROR},
        {"/status/409", SM_OUTCOME_FAILURE, SM_OUTCOME_FAILURE},
        {"/status/400", SM_OUTCOME_ERROR, SM_OUTCOME_ERROR},
        {"/status/500", SM_OUTCOME_ERROR, SM_OUTCOME_ERROR},
        {"/later", SM_OUTCOME_ERROR, SM_OUTCOME_ERROR},
        {"/gzip", SM_OUTCOME_FAILURE, SM_OUTCOME_FAILURE},
        {"/big", SM_OUTCOME_FAILURE, SM_OUTCOME_FAILURE},    /* searched to its end */
        {"/bigger", SM_OUTCOME_SUCCESS, SM_OUTCOME_SUCCESS}, /* cut off before it */
        {"/bomb", SM_OUTCOME_SUCCESS, SM_OUTCOME_SUCCESS},
        {"/moved", SM_OUTCOME_SUCCESS, SM_OUTCOME_SUCCESS},
        {"/redirect", SM_OUTCOME_ERROR, SM_OUTCOME_SUCCESS},
        {"/circle", SM_OUTCOME_ERROR, SM_OUTCOME_ERROR},
        {"/garbage", SM_OUTCOME_ERROR, SM_OUTCOME_ERROR},
        {"/close", SM_OUTCOME_ERROR, SM_OUTCOME_ERROR},
    };
    struct world *w = *state;
    world_executor(w, (struct executor_config){0});
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char xid[40];
        snprintf(xid, sizeof(xid), "n%zu", i);
        action(w, xid, SM_STYLE_NATIVE, rows[i].path, ",'payload':{'n':1}");
        assert_int_equal(outcome(w, xid), rows[i].native);
        snprintf(xid, sizeof(xid), "d%zu", i);
        action(w, xid, SM_STYLE_DTM, rows[i].path, ",'payload':{'n':1}");
        assert_int_equal(outcome(w, xid), rows[i].dtm);
    }
}

static void an_unfinished_answer_does_not_lengthen_the_wait(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){0});
    action(w, "t", SM_STYLE_DTM, "/status/425", "");
    until(w, w->failures == 1 && w->first == NULL && world_metrics(w).reporting == 0);
    assert_int_equal(sm_ask(&w->h, QUERY_TXN, "{'xid':'t'}"), ASSENT_OK);
    int64_t wait_us = sm_int(&w->h, "branches.0.nextDueUs") - w->h.now_us;
    assert_true(wait_us > 0 && wait_us <= 100000);
}

static void confirm_knows_success_and_error_alone(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){0});
    confirm(w, "a", SM_STYLE_NATIVE, "/status/202", "");
    until(w, world_stands(w, "a", "COMMITTED"));
    confirm(w, "b", SM_STYLE_NATIVE, "/gzip", "");
    until(w, world_stands(w, "b", "COMMITTED"));
    confirm(w, "c", SM_STYLE_NATIVE, "/status/409", "");
    until(w, w->failures == 1);
    assert_string_equal(w->error, "HTTP 409");
}

static void a_dtm_call_on_the_wire(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){0});
    confirm(w, "t 1", SM_STYLE_DTM, "/ok?a=b", "");
    until(w, world_stands(w, "t 1", "COMMITTED"));
    assert_non_null(
        strstr(w->p.last, "POST /ok?a=b&branch_id=b&gid=t+1&op=confirm&trans_type=tcc HTTP/1.1\r\n"));
    assert_non_null(strstr(w->p.last, "\r\nContent-Type: application/json\r\n"));
    assert_non_null(strstr(w->p.last, "\r\nAccept: application/json\r\n"));
    assert_non_null(strstr(w->p.last, "\r\nAccept-Encoding: gzip\r\n"));
    assert_non_null(strstr(w->p.last, "\r\nAssent-Op: confirm\r\n"));
    assert_non_null(strstr(w->p.last, "\r\n\r\n{\"n\":1}"));
    action(w, "u", SM_STYLE_DTM, "/ok", "");
    until(w, world_stands(w, "u", "COMMITTED"));
    assert_non_null(strstr(w->p.last, "GET /ok?branch_id=01&gid=u&op=action&trans_type=saga HTTP/1.1\r\n"));
    assert_null(strstr(w->p.last, "Content-Length"));
}

static void a_redirect_of_dtm_loses_body_and_parameters(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){0});
    confirm(w, "t", SM_STYLE_DTM, "/redirect", "");
    until(w, world_stands(w, "t", "COMMITTED"));
    assert_int_equal(w->p.requests, 2);
    assert_memory_equal(w->p.last, "GET /ok HTTP/1.1\r\n", 18);
    confirm(w, "u", SM_STYLE_NATIVE, "/moved", "");
    until(w, world_stands(w, "u", "COMMITTED"));
    assert_memory_equal(w->p.last, "POST /ok HTTP/1.1\r\n", 19);
    assert_non_null(strstr(w->p.last, "\r\n\r\n{\"n\":1}"));
    assert_non_null(strstr(w->p.last, "\r\nAssent-Xid: u\r\n"));
}

static void a_circle_ends_with_a_sentence(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){.breaker_failures = 1});
    confirm(w, "t", SM_STYLE_NATIVE, "/circle", "");
    until(w, w->failures == 1);
    assert_string_equal(w->error, "Maximum (5) redirects followed");
    assert_int_equal(w->p.requests, 6);
    confirm(w, "u", SM_STYLE_DTM, "/circle", "");
    until(w, w->failures == 2);
    assert_string_equal(w->error, "Maximum (10) redirects followed");
    assert_int_equal(w->p.requests, 17);
    assert_int_equal(world_metrics(w).breaker_opened, 0); /* the host did answer */
}

static void headers_of_the_branch_come_before_those_of_the_transaction(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){0});
    world_run(
        w, COMMAND_TXN_BEGIN,
        "{'xid':'t','style':1,'headers':{'X-Both':'txn','X-Txn':'1','content-type':'text/plain'},'branches':"
        "[{'branch':'b','confirmUrl':'http://127.0.0.1:%u/ok','cancelUrl':'','payload':1,"
        "'headers':{'x-both':'branch','Accept':'text/html'}}]}",
        w->p.port);
    world_run(w, COMMAND_TXN_COMMIT, "{'xid':'t'}");
    until(w, world_stands(w, "t", "COMMITTED"));
    assert_non_null(strstr(w->p.last, "\r\nx-both: branch\r\n"));
    assert_null(strstr(w->p.last, "X-Both"));
    assert_non_null(strstr(w->p.last, "\r\nX-Txn: 1\r\n"));
    assert_non_null(strstr(w->p.last, "\r\ncontent-type: text/plain\r\n"));
    assert_null(strstr(w->p.last, "application/json"));
    assert_non_null(strstr(w->p.last, "\r\nAccept: text/html\r\n"));
}

static void a_namespace_travels_beside_the_xid(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){0});
    w->h.session.ns = (struct assent_bytes){(const uint8_t *)"shop", 4};
    confirm(w, "t", SM_STYLE_NATIVE, "/ok", "");
    until(w, world_metrics(w).calls == 1 && world_metrics(w).reporting == 0);
    assert_non_null(strstr(w->p.last, "\r\nAssent-Xid: t\r\n"));
    assert_non_null(strstr(w->p.last, "\r\nAssent-Namespace: shop\r\n"));
    assert_true(sm_next_work_us(w->h.sm) == INT64_MAX); /* reported in the namespace it is of */
}

static void json_rpc_codes_decide(void **state)
{
    static const struct {
        const char *path;
        enum sm_outcome outcome;
    } rows[] = {
        {"/rpc/0?method=take", SM_OUTCOME_SUCCESS},      {"/rpc/-32901?method=take", SM_OUTCOME_FAILURE},
        {"/rpc/-32902?method=take", SM_OUTCOME_ERROR},   {"/rpc/-32603?method=take", SM_OUTCOME_ERROR},
        {"/status/200?method=take", SM_OUTCOME_ERROR}, /* no JSON-RPC */
        {"/status/409?method=take", SM_OUTCOME_FAILURE}, {"/big?method=take", SM_OUTCOME_FAILURE},
        {"/bigger?method=take", SM_OUTCOME_ERROR},
    };
    struct world *w = *state;
    world_executor(w, (struct executor_config){0});
    for (size_t i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]); i++) {
        char xid[40];
        snprintf(xid, sizeof(xid), "t%zu", i);
        action(w, xid, i % 2 ? SM_STYLE_DTM : SM_STYLE_NATIVE, rows[i / 2].path,
               ",'protocol':'json-rpc','payload':{'n':1}");
        assert_int_equal(outcome(w, xid), rows[i / 2].outcome);
        assert_memory_equal(w->p.last, "POST /", 6);
        assert_null(strstr(w->p.last, "gid="));
        assert_non_null(strstr(w->p.last, "\"method\":\"take\",\"params\":{\"n\":1,\"gid\":\"t"));
    }
}

static void a_call_that_cannot_be_made_fails_with_a_reason(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){0});
    action(w, "t", SM_STYLE_DTM, "/rpc/0?method=m", ",'protocol':'json-rpc','payload':[1]");
    until(w, w->failures == 1);
    assert_string_equal(w->error,
                        "the call cannot be made: the payload of a JSON-RPC branch must be an object");
    assert_int_equal(w->p.requests, 0);
}

static void a_head_without_end_is_cut_off(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){.breaker_failures = 1});
    confirm(w, "t", SM_STYLE_NATIVE, "/heads", "");
    until(w, w->failures == 1);
    assert_string_equal(w->error, "the head of the answer is larger than 65536 bytes");
    assert_int_equal(world_metrics(w).breaker_opened, 0);
}

static void credentials_do_not_follow_a_redirect_elsewhere(void **state)
{
    struct world *w = *state;
    char path[40];
    world_executor(w, (struct executor_config){0});
    snprintf(path, sizeof(path), "/away/%u", w->q.port);
    confirm(w, "t", SM_STYLE_NATIVE, path,
            ",'headers':{'Authorization':'Bearer x','Cookie':'c','X-Own':'1'}");
    until(w, world_stands(w, "t", "COMMITTED"));
    assert_non_null(strstr(w->p.last, "\r\nAuthorization: Bearer x\r\n"));
    assert_memory_equal(w->q.last, "POST /ok HTTP/1.1\r\n", 19);
    assert_non_null(strstr(w->q.last, "\r\nX-Own: 1\r\n"));
    assert_non_null(strstr(w->q.last, "\r\n\r\n{\"n\":1}"));
    assert_null(strstr(w->q.last, "Bearer"));
    assert_null(strstr(w->q.last, "Cookie"));
}

/* The words are found where two pieces meet, and an answer that only drips ends at the time limit. */
static void pieces_of_an_answer(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){0});
    action(w, "t", SM_STYLE_DTM, "/drop", "");
    until(w, w->p.requests == 1);
    for (const char *c = "LURE"; *c != 0; c++) {
        world_turns(w, 20); /* the pieces before have been read */
        participant_drip(&w->p, (char[]){*c, 0});
    }
    assert_int_equal(outcome(w, "t"), SM_OUTCOME_FAILURE);
    action(w, "u", SM_STYLE_NATIVE, "/drip", ",'timeoutMs':100");
    until(w, w->p.requests == 2);
    uint32_t failures = w->failures;
    until(w, (participant_drip(&w->p, "x"), w->failures > failures));
    assert_non_null(strstr(w->error, "timed out"));
}

static void the_time_limit_of_dtm_is_three_seconds(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){.timeout_ms = 60000});
    action(w, "t", SM_STYLE_DTM, "/hold", "");
    uint64_t from_ms = uv_now(&w->loop);
    until(w, w->failures == 1);
    uint64_t took_ms = uv_now(&w->loop) - from_ms;
    assert_true(took_ms >= 2900 && took_ms < 10000);
}

/* ---- what follows waits for what came before ---- */

static void a_cancel_waits_for_the_call_of_its_try(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){0});
    world_run(w, COMMAND_TXN_BEGIN,
              "{'xid':'t','execute':true,'branches':[{'branch':'b','tryUrl':'http://127.0.0.1:%u/hold',"
              "'confirmUrl':'http://127.0.0.1:%u/ok','cancelUrl':'http://127.0.0.1:%u/ok'}]}",
              w->p.port, w->p.port, w->p.port);
    until(w, w->p.held == 1);
    assert_non_null(strstr(w->p.last, "\r\nAssent-Op: try\r\n"));
    world_run(w, COMMAND_TXN_ROLLBACK, "{'xid':'t'}");
    world_turns(w, 50);
    assert_int_equal(w->p.requests, 1);
    participant_release(&w->p);
    until(w, world_stands(w, "t", "ROLLED_BACK"));
    assert_int_equal(w->p.requests, 2);
    assert_non_null(strstr(w->p.last, "\r\nAssent-Op: cancel\r\n"));
    until(w, world_metrics(w).reporting == 0);
    world_assert_idle(w);
}

/* An operator who passes over a try under way does not send the confirm beside it. */
static void a_confirm_waits_for_the_call_of_a_skipped_try(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){0});
    world_run(w, COMMAND_TXN_BEGIN,
              "{'xid':'t','execute':true,'branches':[{'branch':'b','tryUrl':'http://127.0.0.1:%u/hold',"
              "'confirmUrl':'http://127.0.0.1:%u/ok','cancelUrl':'http://127.0.0.1:%u/ok'}]}",
              w->p.port, w->p.port, w->p.port);
    until(w, w->p.held == 1);
    world_run(w, COMMAND_TXN_ACT, "{'xid':'t','act':'skip','by':'ann','reason':'done by hand','branch':'b'}");
    assert_true(world_stands(w, "t", "COMMITTING"));
    world_turns(w, 50);
    assert_int_equal(w->p.requests, 1);
    participant_release(&w->p);
    until(w, world_stands(w, "t", "COMMITTED"));
    assert_int_equal(w->p.requests, 2);
    assert_non_null(strstr(w->p.last, "\r\nAssent-Op: confirm\r\n"));
    until(w, world_metrics(w).reporting == 0);
    world_assert_idle(w);
}

/* An action that only waits for a slot is never made once its saga turned back. */
static void a_queued_action_does_not_hold_up_its_compensation(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){.per_host_max = 1});
    world_commit(w, "first", w->p.port, "/hold", "");
    until(w, w->p.held == 1);
    world_run(w, COMMAND_SAGA_SUBMIT,
              "{'xid':'t','steps':[{'actionUrl':'http://127.0.0.1:%u/ok','compensateUrl':"
              "'http://127.0.0.1:%u/ok'}]}",
              w->p.port, w->q.port);
    until(w, world_metrics(w).queued == 1);
    world_run(w, COMMAND_TXN_ROLLBACK, "{'xid':'t'}");
    until(w, world_stands(w, "t", "ROLLED_BACK"));
    assert_int_equal(w->p.requests, 1);
    assert_int_equal(w->q.requests, 1);
    assert_int_equal(world_metrics(w).queued, 0);
}

/* A call that waits for a slot while its transaction is paused and goes on is made all the same. */
static void a_queued_call_outlives_a_pause(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){.per_host_max = 1});
    world_commit(w, "first", w->p.port, "/hold", "");
    until(w, w->p.held == 1);
    world_run(w, COMMAND_SAGA_SUBMIT,
              "{'xid':'t','steps':[{'actionUrl':'http://127.0.0.1:%u/ok','compensateUrl':''}]}", w->p.port);
    until(w, world_metrics(w).queued == 1);
    world_run(w, COMMAND_TXN_ACT, "{'xid':'t','act':'pause','by':'ann','reason':'wait'}");
    world_turns(w, 10);
    w->h.now_us += 1000; /* its work is another row then */
    world_run(w, COMMAND_TXN_ACT, "{'xid':'t','act':'resume','by':'ann','reason':'go on'}");
    world_turns(w, 10);
    w->h.now_us += 1000; /* the walk over due work has gone on */
    world_run(w, COMMAND_TXN_BEGIN, "{'xid':'other'}");
    executor_kick(w->ex);
    world_turns(w, 10);
    w->h.now_us += 1000;
    world_run(w, COMMAND_TXN_ROLLBACK, "{'xid':'other'}");
    executor_kick(w->ex);
    world_turns(w, 10);
    participant_release(&w->p);
    until(w, world_stands(w, "t", "COMMITTED"));
    until(w, world_metrics(w).reporting == 0);
    world_assert_idle(w);
}

/* ---- calls of a transaction as a whole ---- */

static void the_sender_of_a_message_is_asked(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){0});
    world_run(w, COMMAND_MESSAGE_PREPARE,
              "{'xid':'m','style':1,'timeoutMs':1000,'queryUrl':'http://127.0.0.1:%u/ok','steps':"
              "[{'actionUrl':'http://127.0.0.1:%u/ok','payload':{'n':1}}]}",
              w->q.port, w->p.port);
    world_turns(w, 20);
    assert_int_equal(w->q.requests, 0);
    sm_advance(&w->h, 1000);
    executor_kick(w->ex);
    until(w, world_stands(w, "m", "COMMITTED"));
    assert_memory_equal(w->q.last, "GET /ok?branch_id=00&gid=m&op=msg&trans_type=msg HTTP/1.1\r\n", 59);
    assert_non_null(strstr(w->p.last, "&op=action&trans_type=msg "));
    world_run(w, COMMAND_MESSAGE_PREPARE,
              "{'xid':'n','timeoutMs':1000,'queryUrl':'http://127.0.0.1:%u/refuse','steps':"
              "[{'actionUrl':'http://127.0.0.1:%u/ok'}]}",
              w->q.port, w->p.port);
    sm_advance(&w->h, 1000);
    executor_kick(w->ex);
    until(w, world_stands(w, "n", "ROLLED_BACK"));
    assert_non_null(strstr(w->q.last, "\r\nAssent-Op: query\r\n"));
    assert_non_null(strstr(w->q.last, "\r\nAssent-Branch: 00\r\n"));
}

static void a_workflow_is_called_to_go_on(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){0});
    world_run(w, COMMAND_WORKFLOW_PREPARE,
              "{'xid':'w','style':1,'name':'my "
              "flow','callbackUrl':'http://127.0.0.1:%u/refuse?a=b','data':{'n':1}}",
              w->p.port);
    world_turns(w, 20);
    assert_int_equal(w->p.requests, 0);
    sm_advance(&w->h, 10000);
    executor_kick(w->ex);
    until(w, world_metrics(w).calls == 1 && world_metrics(w).reporting == 0);
    assert_non_null(
        strstr(w->p.last, "POST /refuse?a=b&branch_id=00&gid=w&op=my+flow&trans_type=workflow HTTP/1.1\r\n"));
    assert_non_null(strstr(w->p.last, "\r\nAssent-Op: callback\r\n"));
    assert_non_null(strstr(w->p.last, "\r\n\r\n{\"n\":1}"));
    assert_true(world_stands(w, "w", "ACTIVE")); /* its answer decides nothing */
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
    static const struct CMUnitTest tests[] = {
        T(answers_of_either_style),
        T(an_unfinished_answer_does_not_lengthen_the_wait),
        T(confirm_knows_success_and_error_alone),
        T(a_dtm_call_on_the_wire),
        T(a_redirect_of_dtm_loses_body_and_parameters),
        T(a_circle_ends_with_a_sentence),
        T(headers_of_the_branch_come_before_those_of_the_transaction),
        T(a_namespace_travels_beside_the_xid),
        T(json_rpc_codes_decide),
        T(a_call_that_cannot_be_made_fails_with_a_reason),
        T(a_head_without_end_is_cut_off),
        T(credentials_do_not_follow_a_redirect_elsewhere),
        T(pieces_of_an_answer),
        T(the_time_limit_of_dtm_is_three_seconds),
        T(a_cancel_waits_for_the_call_of_its_try),
        T(a_confirm_waits_for_the_call_of_a_skipped_try),
        T(a_queued_action_does_not_hold_up_its_compensation),
        T(a_queued_call_outlives_a_pause),
        T(the_sender_of_a_message_is_asked),
        T(a_workflow_is_called_to_go_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
