/* The DTM door: how each conversation with a client goes.
 *
 * The happy path: dtm_read() decodes the body, dtm_commands.c makes the command of it, request.c sees to it
 * that the leader applies it, and ended() reads from its answer what the transaction was before: DTM's table
 * of legal moves is decided by that one entry, nothing is read first and written then.  Every command may be
 * repeated, so a leader lost under way costs time only.  A submit or abort that wants its result
 * (wait_result) goes on to WATCH, and what it sees there is looked up once more before it is told.
 *
 * Source: dtm-protocol.md; numbers in comments are its sections. */
#include "dtm.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dtm_private.h"

/* A round of a saga is waited for so much longer than one call may take (9, 7.1). */
#define ROUND_EXTRA_MS 2000
/* An answer is wanted before the request's own time is over. */
#define LOOK_EARLY_MS 500

static void on_event(void *data, const struct sm_event *event)
{
    dtm_metrics_event(data, event);
#ifdef ASSENT_TEST_HOOKS
    dtm_rounds_event(((struct dtm *)data)->rounds, event);
#endif
}

void dtm_init(struct dtm *dtm, struct node *node)
{
    dtm->node = node;
    dtm->metrics = dtm_metrics_open();
    dtm->rounds = NULL;
#ifdef ASSENT_TEST_HOOKS
    dtm->rounds = dtm_rounds_open();
#endif
    dtm_waits_init(&dtm->waits, &node->events, on_event, dtm);
}

void dtm_close(struct dtm *dtm)
{
    dtm_waits_close(&dtm->waits, &dtm->node->events);
    dtm_metrics_close(dtm->metrics);
    free(dtm->rounds);
}

static struct assent_bytes text_of(const struct codec_node *data, const char *key)
{
    return codec_as_bytes(codec_get(data, key));
}

static enum dtm_status status_now(const struct codec_node *data)
{
    return dtm_status_of(text_of(data, "status"), text_of(data, "stands"));
}

/* Before the command; NONE: it was not there. */
static enum dtm_status status_before(const struct codec_node *data)
{
    struct assent_bytes was = text_of(data, "was");
    return was.size == 0 ? DTM_STATUS_NONE : dtm_status_of(was, text_of(data, "stands"));
}

static void closed(struct request *r)
{
    struct dtm_call *call = r->door;
    dtm_metrics_request(call->dtm->metrics, call->op, r->response.http_status,
                        uv_hrtime() / 1000 - r->started_us);
    dtm_wait_stop(&call->dtm->waits, &call->wait);
    dtm_txn_close(&call->txn);
    dtm_branch_close(&call->branch);
#ifdef ASSENT_TEST_HOOKS
    dtm_hook_close(call);
#endif
    json_decref(call->rpc_id);
    free(call);
    r->door = NULL;
}

/* ---- waiting for the result (9) ---- */

/* How it stands now: the answer to a client that waited. */
static enum request_next tell_result(struct request *r, const struct codec_node *data)
{
    struct dtm_call *call = r->door;
    enum dtm_status status = status_now(data);
    enum dtm_type type = dtm_type_of(text_of(data, "mode"));
    bool abort_call = call->op == DTM_ABORT || call->op == DTM_FORCE_STOP;
    struct assent_bytes reason = text_of(data, "reason");
    char message[512];
    if (status == (abort_call ? DTM_STATUS_FAILED : DTM_STATUS_SUCCEED))
        return dtm_answer(r, DTM_SUCCESS, NULL);
    bool decided = status == DTM_STATUS_SUCCEED || status == DTM_STATUS_FAILED;
    if (!decided && (type == DTM_TCC || type == DTM_XA))
        return dtm_answer(r, DTM_ONGOING, "the transaction goes on. ONGOING");
    if (reason.size > 0)
        snprintf(message, sizeof message, "%.*s FAILURE", (int)reason.size, (const char *)reason.base);
    else
        snprintf(message, sizeof message, "wait result not succeed: current status '%s'. FAILURE",
                 dtm_status_name(status));
    return dtm_answer(r, DTM_FAILURE, message);
}

/* Something was seen, or patience is over. */
static enum request_next saw(struct request *r)
{
    struct dtm_call *call = r->door;
    bool saga = call->txn.type == DTM_SAGA, msg = call->txn.type == DTM_MSG;
    char message[DTM_WAIT_TEXT_SIZE + 16];
    enum dtm_outcome outcome = DTM_ERROR;
    switch (call->wait.seen) {
    case DTM_SEEN_NOTHING:
    case DTM_SEEN_END:
        return dtm_ask_stage(r, QUERY_TXN, DTM_STAGE_LOOK);
    case DTM_SEEN_ERROR:
        break;
    case DTM_SEEN_ONGOING:
        outcome = msg ? DTM_FAILURE : DTM_ONGOING;
        break;
    case DTM_SEEN_FAILURE:
        outcome = DTM_FAILURE;
        break;
    }
    if (saga)
        return dtm_ask_stage(r, QUERY_TXN, DTM_STAGE_LOOK);
    snprintf(message, sizeof message, "%s", call->wait.text[0] != 0 ? call->wait.text : "the call failed");
    return dtm_answer(r, outcome, message);
}

static bool delayed(const struct dtm_call *call)
{
    struct dtm_custom custom;
    char why[DTM_WHY_MAX];
    bool is = call->txn.type == DTM_MSG && dtm_custom_decode(&custom, &call->txn, why) == ASSENT_OK &&
              custom.delay_s > 0;
    if (call->txn.type == DTM_MSG)
        dtm_custom_close(&custom);
    return is;
}

static enum request_next watch(struct request *r)
{
    struct dtm_call *call = r->door;
    const struct config *config = r->node->config;
    uint64_t now_ms = uv_now(r->node->loop), call_s = config->dtm_request_timeout_s;
    call->stage = DTM_STAGE_WATCH;
    if (call->wait.seen != DTM_SEEN_NOTHING)
        return saw(r);
    if (delayed(call)) /* the round has ended before it began */
        return dtm_ask_stage(r, QUERY_TXN, DTM_STAGE_LOOK);
    uint64_t limit_ms = config->request_timeout_ms;
    r->watch_until_ms =
        r->started_ms + (limit_ms > 2 * LOOK_EARLY_MS ? limit_ms - LOOK_EARLY_MS : limit_ms / 2);
    if (call->txn.request_timeout > 0 && call->txn.request_timeout < 1 << 20)
        call_s = (uint64_t)call->txn.request_timeout;
    uint64_t round_ms = now_ms + call_s * 1000 + ROUND_EXTRA_MS;
    if (call->txn.type == DTM_SAGA && round_ms < r->watch_until_ms)
        r->watch_until_ms = round_ms;
    return REQUEST_WATCH;
}

/* ---- what a command came to: the table of section 10 ---- */

static enum request_next cannot(struct request *r, const char *what, enum dtm_status status)
{
    char message[128];
    snprintf(message, sizeof message, "current status '%s', cannot %s. FAILURE", dtm_status_name(status),
             what);
    return dtm_answer(r, DTM_FAILURE, message);
}

static enum request_next prepare_ended(struct request *r, const struct codec_node *data)
{
    enum dtm_status was = status_before(data);
    if (was != DTM_STATUS_NONE && was != DTM_STATUS_PREPARED)
        return cannot(r, "prepare", was);
    return dtm_answer(r, DTM_SUCCESS, NULL);
}

static bool submit_counts(const struct request *r, enum dtm_type type, enum dtm_status was)
{
    if (was == DTM_STATUS_NONE || was == DTM_STATUS_PREPARED || was == DTM_STATUS_SUBMITTED)
        return true;
    /* an earlier try of this request may be what has come so far */
    return r->uncertain && (was == DTM_STATUS_SUCCEED || type == DTM_SAGA);
}

static enum request_next workflow_ended(struct request *r, const struct codec_node *data)
{
    struct dtm_call *call = r->door;
    enum dtm_status was = status_before(data), now = status_now(data);
    bool succeed = call->txn.end_status != NULL && strcmp(call->txn.end_status, "succeed") == 0;
    bool ours = r->uncertain && now == (succeed ? DTM_STATUS_SUCCEED : DTM_STATUS_FAILED);
    if (was == DTM_STATUS_PREPARED || ours)
        return dtm_answer(r, DTM_SUCCESS, NULL);
    snprintf(call->why, sizeof call->why, "the workflow is '%s' already", dtm_status_name(was));
    return dtm_answer(r, DTM_ERROR, call->why);
}

static enum request_next submit_ended(struct request *r, const struct codec_node *data)
{
    struct dtm_call *call = r->door;
    if (call->stage == DTM_STAGE_BEGIN) { /* it is there now */
        call->stage = DTM_STAGE_FIRST;
        return dtm_submit(r);
    }
    enum dtm_status was = status_before(data), now = status_now(data);
    enum dtm_type type = dtm_type_of(text_of(data, "mode"));
    if (type != call->txn.type && type != DTM_TYPE_NR && now == DTM_STATUS_PREPARED &&
        call->stage != DTM_STAGE_AGAIN) {
        call->stage = DTM_STAGE_AGAIN; /* the stored transaction counts, not the new body */
        call->txn.type = type;
        return dtm_submit(r);
    }
    if (type == DTM_WORKFLOW)
        return workflow_ended(r, data);
    if (!submit_counts(r, type, was))
        return cannot(r, "sumbmit", was); /* as DTM writes it */
    if (!call->txn.wait_result || !call->wait.watching)
        return dtm_answer(r, DTM_SUCCESS, NULL);
    if (now == DTM_STATUS_SUCCEED || now == DTM_STATUS_FAILED)
        return dtm_ask_stage(r, QUERY_TXN, DTM_STAGE_LOOK);
    return watch(r);
}

static enum request_next abort_ended(struct request *r, const struct codec_node *data)
{
    struct dtm_call *call = r->door;
    enum dtm_status was = status_before(data), now = status_now(data);
    enum dtm_type type = dtm_type_of(text_of(data, "mode"));
    bool two_phase = type == DTM_TCC || type == DTM_XA;
    bool counts = (two_phase || type == DTM_MSG) && was == DTM_STATUS_PREPARED;
    counts = counts || (two_phase && was == DTM_STATUS_ABORTING);
    counts = counts || ((two_phase || type == DTM_MSG) && r->uncertain && was == DTM_STATUS_FAILED);
    if (!counts) {
        snprintf(call->why, sizeof call->why, "trans type: '%s' current status '%s', cannot abort. FAILURE",
                 dtm_type_name(type), dtm_status_name(was));
        return dtm_answer(r, DTM_FAILURE, call->why);
    }
    call->txn.type = type;
    if (now == DTM_STATUS_ABORTING)
        return dtm_ask_stage(r, QUERY_TXN, DTM_STAGE_FLAGS);
    return dtm_answer(r, DTM_SUCCESS, NULL);
}

static enum request_next rows_ended(struct request *r, const struct codec_node *data)
{
    const struct codec_node *rows = codec_get(data, "transactions");
    json_t *list = json_array();
    for (uint32_t i = 0; i < codec_size(rows); i++) {
        json_t *txn = dtm_view_txn(codec_at(rows, i));
        json_object_set_new(txn, "id", json_integer((json_int_t)i + 1));
        json_array_append_new(list, txn);
    }
    struct assent_bytes next = text_of(data, "next");
    return dtm_answer_json(r,
                           json_pack("{ss%so}", "next_position", next.size > 0 ? (const char *)next.base : "",
                                     next.size, "transactions", list));
}

static enum request_next kv_ended(struct request *r, const struct codec_node *data)
{
    struct dtm_call *call = r->door;
    struct assent_bytes next = text_of(data, "next");
    json_t *rows = dtm_view_topics(data);
    if (call->op == DTM_QUERY_KV)
        return dtm_answer_json(r, json_pack("{so}", "kv", rows));
    return dtm_answer_json(r, json_pack("{soss%}", "kv", rows, "next_position",
                                        next.size > 0 ? (const char *)next.base : "", next.size));
}

static enum request_next all_ended(struct request *r, const struct codec_node *data)
{
    if (codec_get(data, "transactions") != NULL)
        return rows_ended(r, data);
    return dtm_answer_json(r, json_pack("{sss[o]}", "next_position", "", "transactions", dtm_view_txn(data)));
}

/* A step came to something. */
static enum request_next succeeded(struct request *r, const struct codec_node *data)
{
    struct dtm_call *call = r->door;
    switch (call->op) {
    case DTM_PREPARE:
        return prepare_ended(r, data);
    case DTM_SUBMIT:
        return submit_ended(r, data);
    case DTM_ABORT:
        return abort_ended(r, data);
    case DTM_PREPARE_WORKFLOW:
        return dtm_answer_json(r, dtm_view_workflow(data));
    case DTM_QUERY:
        return dtm_answer_json(
            r, json_pack("{soso}", "branches", dtm_view_branches(data), "transaction", dtm_view_txn(data)));
    case DTM_ALL:
        return all_ended(r, data);
    case DTM_QUERY_KV:
    case DTM_SCAN_KV:
        return kv_ended(r, data);
    case DTM_RESET_CRON_TIME:
        return dtm_answer_json(
            r, json_pack("{sbsI}", "has_remaining", codec_kind(codec_get(data, "next")) == CODEC_TEXT,
                         "succeed_count", (json_int_t)codec_as_uint(codec_get(data, "acted"))));
    default:
        return dtm_answer(r, DTM_SUCCESS, NULL);
    }
}

/* ---- and what it did not come to ---- */

static enum request_next no_txn(struct request *r)
{
    struct dtm_call *call = r->door;
    struct assent_bytes gid = dtm_gid(call);
    switch (call->op) {
    case DTM_QUERY:
        return dtm_answer_json(r, json_pack("{s[]sn}", "branches", "transaction"));
    case DTM_ALL:
        return dtm_answer_json(r, json_pack("{sssn}", "next_position", "", "transactions"));
    case DTM_REGISTER_BRANCH:
        snprintf(call->why, sizeof call->why, "no trans with gid: %.*s status: prepared found FAILURE",
                 (int)gid.size, (const char *)gid.base);
        return dtm_answer(r, DTM_FAILURE, call->why);
    case DTM_SUBMIT:
        if (call->stage == DTM_STAGE_FIRST && (call->txn.type == DTM_TCC || call->txn.type == DTM_XA)) {
            call->stage = DTM_STAGE_BEGIN;
            return dtm_begin_step(r, true);
        }
        break;
    default:
        break;
    }
    return dtm_refuse(r, "storage: NotFound");
}

/* Refused for the status it has. */
static enum request_next decided(struct request *r, int code, struct assent_bytes detail)
{
    struct dtm_call *call = r->door;
    switch (call->op) {
    case DTM_REGISTER_BRANCH:
        return no_txn(r);
    case DTM_RESET_NEXT_CRON_TIME:
        return dtm_answer(r, DTM_SUCCESS, NULL); /* there is nothing to bring forward */
    case DTM_FORCE_STOP:
        if (r->uncertain)
            return dtm_ask_stage(r, QUERY_TXN, DTM_STAGE_LOOK);
        return dtm_answer(r, DTM_FAILURE, "the transaction has ended, cannot force stop. FAILURE");
    default:
        return dtm_answer_code(r, code, detail);
    }
}

static enum request_next failed(struct request *r, int code, struct assent_bytes detail)
{
    struct dtm_call *call = r->door;
    if (call->op == DTM_QUERY_KV && code == ASSENT_NOT_FOUND)
        return dtm_no_kv(r);
    bool subscribed = call->op == DTM_SUBSCRIBE && code == ASSENT_EXISTS;
    bool removed = (call->op == DTM_UNSUBSCRIBE || call->op == DTM_DELETE_TOPIC) && code == ASSENT_NOT_FOUND;
    if (r->uncertain && (subscribed || removed)) /* by an earlier try of this request */
        return dtm_answer(r, DTM_SUCCESS, NULL);
    switch (code) {
    case ASSENT_TXN_NOT_FOUND:
        return no_txn(r);
    case ASSENT_TXN_DECIDED:
    case ASSENT_CONFLICT:
        return decided(r, code, detail);
    case ASSENT_BRANCH_EXISTS:
        return dtm_refuse(r, "storage: UniqueKeyConflict");
    default:
        return dtm_answer_code(r, code, detail);
    }
}

static enum request_next ended(struct request *r, int code, const struct codec_node *data,
                               struct assent_bytes detail)
{
    struct dtm_call *call = r->door;
#ifdef ASSENT_TEST_HOOKS
    if (call->op == DTM_TEST_POLL)
        return dtm_poll_ended(r, code, data, detail);
#endif
    if (code != ASSENT_OK)
        return failed(r, code, detail);
    switch (call->stage) {
    case DTM_STAGE_FLAGS:
        return dtm_view_waits(data) ? watch(r) : dtm_answer(r, DTM_SUCCESS, NULL);
    case DTM_STAGE_WATCH:
        return saw(r);
    case DTM_STAGE_LOOK:
        return tell_result(r, data);
    default:
        return succeeded(r, data);
    }
}

const struct request_face dtm_face = {.ended = ended, .closed = closed, .repeatable = true};
