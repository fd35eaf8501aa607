/* Typed calls of transactions. */
#include <string.h>

#include "calls.h"

int calls_text(const struct assent_reply *reply, const char *key, char *out, size_t size, bool whole)
{
    struct assent_bytes text = assent_value_bytes(assent_value_get(reply->data, key));
    if (text.size == 0 || (whole && text.size >= size)) {
        return ASSENT_PROTOCOL;
    }
    if (out != NULL && size > 0) {
        size_t n = text.size < size ? text.size : size - 1;
        memcpy(out, text.base, n);
        out[n] = '\0';
    }
    return ASSENT_OK;
}

void calls_head(struct assent_request *r, const struct assent_txn_options *options)
{
    if (r == NULL || options == NULL) {
        return;
    }
    request_text(r, TXN_BEGIN_XID, options->xid);
    request_text(r, TXN_BEGIN_BUSINESS_TYPE, options->business_type);
    request_text(r, TXN_BEGIN_BUSINESS_KEY, options->business_key);
    request_text(r, TXN_BEGIN_OWNER, options->owner);
    request_json(r, TXN_BEGIN_CUSTOM_DATA, options->custom_data_json);
    if (options->timeout_ms != 0) {
        request_uint(r, TXN_BEGIN_TIMEOUT_MS, options->timeout_ms);
    }
}

int calls_xid(struct assent_client *client, struct assent_request *r, char xid[ASSENT_XID_BYTES_MAX + 1])
{
    struct assent_reply reply;
    int rc = calls_run(client, r, &reply);
    if (rc == ASSENT_OK) {
        rc = calls_text(&reply, "xid", xid, ASSENT_XID_BYTES_MAX + 1, true);
    }
    assent_reply_close(&reply);
    return rc;
}

int assent_txn_begin(struct assent_client *client, const struct assent_txn_options *options,
                     char xid[ASSENT_XID_BYTES_MAX + 1])
{
    struct assent_request *r = request_new(COMMAND_TXN_BEGIN, false);
    calls_head(r, options);
    if (r != NULL && options != NULL) {
        request_text(r, TXN_BEGIN_MODE, options->mode);
    }
    return calls_xid(client, r, xid);
}

int assent_txn_branch(struct assent_client *client, const char *xid, const struct assent_txn_branch *branch)
{
    struct assent_request *r = request_new(COMMAND_TXN_BRANCH, false);
    if (r != NULL) {
        request_text(r, TXN_BRANCH_XID, xid);
        request_text(r, TXN_BRANCH_BRANCH, branch->branch);
        request_text(r, TXN_BRANCH_CONFIRM_URL, branch->confirm_url);
        request_text(r, TXN_BRANCH_CANCEL_URL, branch->cancel_url);
        request_json(r, TXN_BRANCH_PAYLOAD, branch->payload_json);
        if (branch->timeout_ms != 0) {
            request_uint(r, TXN_BRANCH_TIMEOUT_MS, branch->timeout_ms);
        }
    }
    return calls_done(client, r);
}

int assent_txn_commit(struct assent_client *client, const char *xid)
{
    struct assent_request *r = request_new(COMMAND_TXN_COMMIT, false);
    if (r != NULL) {
        request_text(r, TXN_COMMIT_XID, xid);
    }
    return calls_done(client, r);
}

int assent_txn_rollback(struct assent_client *client, const char *xid, const char *reason)
{
    struct assent_request *r = request_new(COMMAND_TXN_ROLLBACK, false);
    if (r != NULL) {
        request_text(r, TXN_ROLLBACK_XID, xid);
        request_text(r, TXN_ROLLBACK_REASON, reason);
    }
    return calls_done(client, r);
}

int assent_txn_status(struct assent_client *client, const char *xid, char *status, size_t status_size)
{
    struct assent_request *r = request_new(QUERY_TXN_STATUS, true);
    if (r != NULL) {
        request_text(r, QUERY_TXN_STATUS_XID, xid);
    }
    struct assent_reply reply;
    int rc = calls_run(client, r, &reply);
    if (rc == ASSENT_OK) {
        rc = calls_text(&reply, "status", status, status_size, false);
    }
    assent_reply_close(&reply);
    return rc;
}
