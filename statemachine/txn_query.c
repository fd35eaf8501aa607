/* One transaction as it stands, with its branches. */
#include "audit.h"
#include "text.h"

/* A transaction's answer holds this much of its branches; 10,000 branches with payloads would not fit a
 * frame. */
#define SHOWN_BYTES_MAX (3u * 1024 * 1024)

static_assert(SHOWN_BYTES_MAX + 2 * ASSENT_PAYLOAD_BYTES_MAX < ASSENT_FRAME_BYTES_MAX,
              "an answer fits a frame");

void txn_write_head(struct codec_writer *out, struct assent_bytes xid, const struct txn *t)
{
    codec_pair_text(out, "xid", scoped_name(xid, NULL));
    codec_pair_cstr(out, "status", txn_status_name(t->status));
    codec_pair_cstr(out, "stands", txn_status_name(txn_stands(t)));
    codec_pair_cstr(out, "mode", txn_mode_name(t->mode));
    codec_pair_text(out, "businessType", t->business_type);
    codec_pair_text(out, "businessKey", t->business_key);
    codec_pair_text(out, "owner", t->owner);
    codec_pair_text(out, "reason", t->reason);
    codec_pair_uint(out, "branchCount", t->branches);
    codec_pair_uint(out, "pendingCount", t->pending);
    codec_pair_uint(out, "timeoutMs", t->timeout_ms);
    codec_pair_uint(out, "retryBaseMs", t->retry.base_ms);
    codec_pair_uint(out, "retryCapMs", t->retry.cap_ms);
    codec_pair_int(out, "createdUs", t->created_us);
    codec_pair_int(out, "deadlineUs", t->deadline_us);
    codec_pair_int(out, "decidedUs", t->decided_us);
    codec_pair_int(out, "finishedUs", t->finished_us);
    codec_pair_uint(out, "token", t->token);
    codec_pair_uint(out, "failures", t->failures);
    codec_pair_text(out, "lastError", t->error);
}

static size_t plan_size(const struct branch_plan *p)
{
    return p->payload.size + p->headers.size + p->url[p->forward].size + p->url[p->forward + 1].size +
           TXN_ERROR_BYTES_MAX + ASSENT_NAME_BYTES_MAX + 256;
}

static uint32_t branches_shown(struct apply *a, struct assent_bytes xid, const struct txn *t)
{
    size_t size = 0;
    struct branch_plan plan;
    uint32_t n = 0;
    for (; n < t->branches && n < ASSENT_PAGE_ROWS_MAX; n++) {
        if (!branch_plan_load(a->txn, xid, n, &plan))
            break; /* its removal is under way */
        size += plan_size(&plan);
        if (n > 0 && size > SHOWN_BYTES_MAX)
            break;
    }
    return n;
}

void txn_pair_body(struct codec_writer *out, const char *key, struct assent_bytes v)
{
    if (v.size == 0 || text_is_json(v)) {
        codec_pair_json(out, key, v);
    } else if (text_is_utf8(v)) {
        codec_pair_text(out, key, v);
    } else {
        codec_cstr(out, key);
        codec_bin(out, v);
    }
}

static void write_urls(struct codec_writer *out, const struct branch_plan *plan)
{
    bool steps = plan->forward == SM_OP_ACTION;
    codec_pair_text(out, steps ? "actionUrl" : "confirmUrl", plan->url[plan->forward]);
    codec_pair_text(out, steps ? "compensateUrl" : "cancelUrl", plan->url[plan->forward + 1]);
}

static void write_branch(struct apply *a, struct assent_bytes xid, const struct txn *t, uint32_t ordinal)
{
    struct branch_plan plan;
    struct branch_progress p;
    bool there = branch_plan_load(a->txn, xid, ordinal, &plan);
    assert(there);
    branch_progress_load(a->txn, xid, ordinal, t, &plan, &p);
    bool saga = t->mode == TXN_MODE_SAGA;
    codec_map(a->out, saga ? 14 : 12);
    codec_pair_text(a->out, "branch", plan.name);
    codec_pair_cstr(a->out, "status", branch_status_name(p.status));
    write_urls(a->out, &plan);
    if (saga)
        codec_pair_cstr(a->out, "action",
                        p.action == SM_OUTCOME_SUCCESS   ? "SUCCEEDED"
                        : p.action == SM_OUTCOME_FAILURE ? "FAILED"
                                                         : "UNKNOWN");
    if (saga)
        codec_pair_int(a->out, "acknowledgeUs", p.acknowledge_us);
    txn_pair_body(a->out, "payload", plan.payload);
    codec_pair_uint(a->out, "timeoutMs", plan.timeout_ms);
    codec_pair_uint(a->out, "attempts", p.attempts);
    codec_pair_text(a->out, "lastError", p.error);
    codec_pair_int(a->out, "nextDueUs", p.next_due_us);
    codec_pair_int(a->out, "registeredUs", plan.registered_us);
    codec_pair_int(a->out, "finishedUs", p.finished_us);
    uint32_t n = 0;
    struct assent_bytes name, value, headers = plan.headers;
    while (sm_work_header(&headers, &name, &value))
        n++;
    codec_cstr(a->out, "headers");
    codec_map(a->out, n);
    headers = plan.headers;
    while (sm_work_header(&headers, &name, &value)) {
        codec_text(a->out, name);
        codec_text(a->out, value);
    }
}

/* What only its mode has. */
static uint32_t mode_pairs(const struct txn *t)
{
    switch (t->mode) {
    case TXN_MODE_SAGA:
        return 3;
    case TXN_MODE_MESSAGE:
        return 5;
    case TXN_MODE_WORKFLOW:
        return WORKFLOW_PAIRS;
    default:
        return 0;
    }
}

static void write_message(struct apply *a, struct assent_bytes xid, const struct txn *t)
{
    struct assent_bytes url = {NULL, 0}, row = txn_row_get(a->txn, xid, TXN_ROW_CALLBACK);
    if (row.size > 0)
        url = row_take_bytes(&row);
    codec_pair_bool(a->out, "concurrent", t->order == TXN_PARALLEL);
    codec_pair_uint(a->out, "delayMs", t->delay_ms);
    codec_pair_text(a->out, "queryUrl", url);
    codec_pair_int(a->out, "nextQueryUs", t->whole_due_us);
    codec_pair_uint(a->out, "queries", t->whole_attempts);
}

int query_txn(struct apply *a)
{
    struct assent_bytes xid = arg_bytes(a->command, QUERY_TXN_XID);
    struct txn t;
    if (!txn_load(a->txn, xid, &t))
        return txn_not_found(a, xid);
    bool workflow = t.mode == TXN_MODE_WORKFLOW; /* its branches are its steps */
    uint32_t shown = workflow ? 0 : branches_shown(a, xid, &t);
    codec_map(a->out, TXN_HEAD_PAIRS + 9 + mode_pairs(&t));
    txn_write_head(a->out, xid, &t);
    codec_pair_text(a->out, "parent", scoped_name(t.parent, NULL));
    codec_pair_uint(a->out, "nestedCount", t.children);
    codec_pair_uint(a->out, "nestedOpen", t.open_children);
    codec_pair_text(a->out, "traceparent", t.traceparent);
    codec_pair_json(a->out, "customData", txn_custom(a->txn, xid));
    codec_pair_uint(a->out, "branchesOmitted", workflow ? 0 : t.branches - shown);
    if (t.mode == TXN_MODE_SAGA) {
        codec_pair_bool(a->out, "concurrent", t.saga.concurrent);
        codec_pair_cstr(a->out, "onFailure",
                        t.saga.on_failure == SAGA_RETRY     ? "retry"
                        : t.saga.on_failure == SAGA_SUSPEND ? "suspend"
                        : t.saga.on_failure == SAGA_UNSAID  ? ""
                                                            : "compensate");
        codec_pair_uint(a->out, "retryLimit", t.saga.retry_limit);
    } else if (t.mode == TXN_MODE_MESSAGE) {
        write_message(a, xid, &t);
    } else if (workflow) {
        workflow_write(a, xid, &t);
    }
    codec_pair_cstr(a->out, "suspendedFrom", t.suspended_from != 0 ? txn_status_name(t.suspended_from) : "");
    audit_timeline(a, xid, &t);
    codec_cstr(a->out, "branches");
    codec_list(a->out, shown);
    for (uint32_t i = 0; i < shown; i++)
        write_branch(a, xid, &t, i);
    return ASSENT_OK;
}
