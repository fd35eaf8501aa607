/* Typed calls of sagas, messages, workflows, the business catalogue, and operators. */
#include <string.h>

#include "calls.h"

static_assert((int)SAGA_SUBMIT_STEPS == (int)MESSAGE_STEPS, "one function adds the steps of both");
static_assert((int)SAGA_SUBMIT_CONCURRENT == (int)MESSAGE_CONCURRENT, "and says whether they are concurrent");

static void put_number(struct assent_request *r, uint32_t i, uint32_t value)
{
    if (value != 0) {
        request_uint(r, i, value);
    }
}

/* False: out of memory. */
static bool put_steps(struct assent_request *r, const struct assent_step *steps, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct assent_request *o = assent_request_add_object(r, "steps");
        if (o == NULL) {
            return false;
        }
        request_text(o, SAGA_STEP_BRANCH, steps[i].branch);
        request_text(o, SAGA_STEP_ACTION_URL, steps[i].action_url);
        request_text(o, SAGA_STEP_COMPENSATE_URL, steps[i].compensate_url);
        request_json(o, SAGA_STEP_PAYLOAD, steps[i].payload_json);
        put_number(o, SAGA_STEP_TIMEOUT_MS, steps[i].timeout_ms);
        put_number(o, SAGA_STEP_ACKNOWLEDGE_MS, steps[i].acknowledge_ms);
        put_number(o, SAGA_STEP_OPTIONS + BRANCH_OPTION_RETRY_LIMIT, steps[i].retry_limit);
    }
    return true;
}

/* A submission with head and steps; NULL: out of memory. */
static struct assent_request *submission(enum command_type type, const struct assent_txn_options *txn,
                                         const struct assent_step *steps, uint32_t n, bool concurrent)
{
    struct assent_request *r = request_new(type, false);
    calls_head(r, txn);
    if (r != NULL && !put_steps(r, steps, n)) {
        assent_request_close(r);
        return NULL;
    }
    if (r != NULL && concurrent) {
        request_bool(r, SAGA_SUBMIT_CONCURRENT, true);
    }
    return r;
}

int assent_saga_submit(struct assent_client *client, const struct assent_txn_options *txn,
                       const struct assent_saga_options *options, const struct assent_step *steps, uint32_t n,
                       char xid[ASSENT_XID_BYTES_MAX + 1])
{
    bool concurrent = options != NULL && options->concurrent;
    struct assent_request *r = submission(COMMAND_SAGA_SUBMIT, txn, steps, n, concurrent);
    if (r != NULL && options != NULL) {
        request_text(r, SAGA_SUBMIT_ON_FAILURE, options->on_failure);
        put_number(r, SAGA_SUBMIT_RETRY_LIMIT, options->retry_limit);
    }
    return calls_xid(client, r, xid);
}

static int message(struct assent_client *client, enum command_type type, const struct assent_txn_options *txn,
                   const struct assent_message_options *options, const struct assent_step *steps, uint32_t n,
                   char xid[ASSENT_XID_BYTES_MAX + 1])
{
    struct assent_request *r = submission(type, txn, steps, n, options != NULL && options->concurrent);
    if (r != NULL && options != NULL) {
        request_text(r, MESSAGE_QUERY_URL, options->query_url);
        put_number(r, MESSAGE_DELAY_MS, options->delay_ms);
    }
    return calls_xid(client, r, xid);
}

int assent_message_prepare(struct assent_client *client, const struct assent_txn_options *txn,
                           const struct assent_message_options *options, const struct assent_step *steps,
                           uint32_t n, char xid[ASSENT_XID_BYTES_MAX + 1])
{
    return message(client, COMMAND_MESSAGE_PREPARE, txn, options, steps, n, xid);
}

int assent_message_submit(struct assent_client *client, const struct assent_txn_options *txn,
                          const struct assent_message_options *options, const struct assent_step *steps,
                          uint32_t n, char xid[ASSENT_XID_BYTES_MAX + 1])
{
    return message(client, COMMAND_MESSAGE_SUBMIT, txn, options, steps, n, xid);
}

static int topic_call(struct assent_client *client, enum command_type type, const char *topic,
                      const char *url, const char *remark)
{
    struct assent_request *r = request_new(type, false);
    if (r != NULL) {
        request_text(r, TOPIC_TOPIC, topic);
        if (url != NULL) {
            request_text(r, TOPIC_URL, url);
        }
        if (remark != NULL) {
            request_text(r, TOPIC_REMARK, remark);
        }
    }
    return calls_done(client, r);
}

int assent_topic_subscribe(struct assent_client *client, const char *topic, const char *url,
                           const char *remark)
{
    return topic_call(client, COMMAND_TOPIC_SUBSCRIBE, topic, url, remark);
}

int assent_topic_unsubscribe(struct assent_client *client, const char *topic, const char *url)
{
    return topic_call(client, COMMAND_TOPIC_UNSUBSCRIBE, topic, url, NULL);
}

int assent_topic_remove(struct assent_client *client, const char *topic)
{
    return topic_call(client, COMMAND_TOPIC_REMOVE, topic, NULL, NULL);
}

int assent_acknowledge(struct assent_client *client, const char *xid, const char *branch, bool succeeded,
                       const char *error)
{
    struct assent_request *r = request_new(COMMAND_BRANCH_ACKNOWLEDGE, false);
    if (r != NULL) {
        request_text(r, ACKNOWLEDGE_XID, xid);
        request_text(r, ACKNOWLEDGE_BRANCH, branch);
        request_text(r, ACKNOWLEDGE_OUTCOME, succeeded ? "success" : "failure");
        request_text(r, ACKNOWLEDGE_ERROR, error);
    }
    return calls_done(client, r);
}

int assent_workflow_prepare(struct assent_client *client, const struct assent_txn_options *txn,
                            const struct assent_workflow *workflow, char xid[ASSENT_XID_BYTES_MAX + 1],
                            struct assent_reply *reply)
{
    struct assent_request *r = request_new(COMMAND_WORKFLOW_PREPARE, false);
    struct assent_reply own;
    calls_head(r, txn);
    if (r != NULL) {
        request_text(r, WORKFLOW_PREPARE_NAME, workflow->name);
        request_text(r, WORKFLOW_PREPARE_CALLBACK_URL, workflow->callback_url);
        request_json(r, WORKFLOW_PREPARE_DATA, workflow->data_json);
    }
    int rc = calls_run(client, r, reply != NULL ? reply : &own);
    if (rc == ASSENT_OK) {
        rc = calls_text(reply != NULL ? reply : &own, "xid", xid, ASSENT_XID_BYTES_MAX + 1, true);
    }
    if (reply == NULL) {
        assent_reply_close(&own);
    }
    return rc;
}

int assent_workflow_step(struct assent_client *client, const char *xid, const char *branch, const char *op,
                         bool succeeded, const char *data_json)
{
    struct assent_request *r = request_new(COMMAND_WORKFLOW_STEP, false);
    if (r != NULL) {
        request_text(r, WORKFLOW_STEP_XID, xid);
        request_text(r, WORKFLOW_STEP_BRANCH, branch);
        request_text(r, WORKFLOW_STEP_OP, op);
        request_text(r, WORKFLOW_STEP_STATUS, succeeded ? "SUCCEEDED" : "FAILED");
        request_json(r, WORKFLOW_STEP_DATA, data_json);
    }
    return calls_done(client, r);
}

int assent_workflow_end(struct assent_client *client, const char *xid, bool committed, const char *reason,
                        const char *result_json)
{
    struct assent_request *r = request_new(COMMAND_WORKFLOW_END, false);
    if (r != NULL) {
        request_text(r, WORKFLOW_END_XID, xid);
        request_text(r, WORKFLOW_END_STATUS, committed ? "COMMITTED" : "ROLLED_BACK");
        request_text(r, WORKFLOW_END_REASON, reason);
        request_json(r, WORKFLOW_END_RESULT, result_json);
    }
    return calls_done(client, r);
}

int assent_business_execute(struct assent_client *client, const struct assent_txn_options *txn,
                            const char *data_json, char xid[ASSENT_XID_BYTES_MAX + 1])
{
    struct assent_request *r = request_new(COMMAND_BUSINESS_EXECUTE, false);
    if (r != NULL) {
        request_text(r, BUSINESS_EXECUTE_TYPE, txn->business_type);
        request_text(r, BUSINESS_EXECUTE_MODE, txn->mode);
        request_text(r, BUSINESS_EXECUTE_XID, txn->xid);
        request_text(r, BUSINESS_EXECUTE_KEY, txn->business_key);
        request_json(r, BUSINESS_EXECUTE_DATA, data_json);
        put_number(r, BUSINESS_EXECUTE_TIMEOUT_MS, txn->timeout_ms);
        request_text(r, BUSINESS_EXECUTE_OWNER, txn->owner);
        request_json(r, BUSINESS_EXECUTE_CUSTOM_DATA, txn->custom_data_json);
    }
    return calls_xid(client, r, xid);
}

int assent_txn_act(struct assent_client *client, const char *xid, const char *act, const char *by,
                   const char *reason, const char *branch)
{
    struct assent_request *r = request_new(COMMAND_TXN_ACT, false);
    if (r != NULL) {
        request_text(r, TXN_ACT_XID, xid);
        request_text(r, TXN_ACT_ACT, act);
        request_text(r, TXN_ACT_BY, by);
        request_text(r, TXN_ACT_REASON, reason);
        request_text(r, TXN_ACT_BRANCH, branch);
    }
    return calls_done(client, r);
}
