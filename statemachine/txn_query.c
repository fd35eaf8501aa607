/* What can be asked about transactions beyond their status: one with its branches, pages of many, counts. */
#include "txn.h"

/* A transaction's answer holds this much of its branches; 10,000 branches with payloads would not fit a
 * frame. */
#define SHOWN_BYTES_MAX (3u * 1024 * 1024)
/* Rows a page may look at for one it gives, so that a rare filter costs a bounded time per call. */
#define SCANNED_PER_ROW    20u
#define LIST_LIMIT_DEFAULT 100u

static_assert(SHOWN_BYTES_MAX + 2 * ASSENT_PAYLOAD_BYTES_MAX < ASSENT_FRAME_BYTES_MAX,
              "an answer fits a frame");

enum { HEAD_PAIRS = 17 };

static void write_head(struct codec_writer *out, struct assent_bytes xid, const struct txn *t)
{
    codec_pair_text(out, "xid", scoped_name(xid, NULL));
    codec_pair_cstr(out, "status", txn_status_name(t->status));
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
}

/* ---- one ---- */

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

static void write_branch(struct apply *a, struct assent_bytes xid, const struct txn *t, uint32_t ordinal)
{
    struct branch_plan plan;
    struct branch_progress p;
    bool there = branch_plan_load(a->txn, xid, ordinal, &plan);
    assert(there);
    branch_progress_load(a->txn, xid, ordinal, t, &plan, &p);
    bool saga = t->mode == TXN_MODE_SAGA;
    codec_map(a->out, saga ? 13 : 12);
    codec_pair_text(a->out, "branch", plan.name);
    codec_pair_cstr(a->out, "status", branch_status_name(p.status));
    codec_pair_text(a->out, saga ? "actionUrl" : "confirmUrl", plan.url[plan.forward]);
    codec_pair_text(a->out, saga ? "compensateUrl" : "cancelUrl", plan.url[plan.forward + 1]);
    if (saga)
        codec_pair_cstr(a->out, "action",
                        p.action == SM_OUTCOME_SUCCESS   ? "SUCCEEDED"
                        : p.action == SM_OUTCOME_FAILURE ? "FAILED"
                                                         : "UNKNOWN");
    codec_pair_json(a->out, "payload", plan.payload);
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

int query_txn(struct apply *a)
{
    struct assent_bytes xid = arg_bytes(a->command, QUERY_TXN_XID);
    struct txn t;
    if (!txn_load(a->txn, xid, &t))
        return refuse(a, ASSENT_TXN_NOT_FOUND, "no transaction %.*s", (int)xid.size, (const char *)xid.base);
    uint32_t shown = branches_shown(a, xid, &t);
    codec_map(a->out, HEAD_PAIRS + (t.mode == TXN_MODE_SAGA ? 7 : 4));
    write_head(a->out, xid, &t);
    codec_pair_text(a->out, "traceparent", t.traceparent);
    codec_pair_json(a->out, "customData", txn_custom(a->txn, xid));
    codec_pair_uint(a->out, "branchesOmitted", t.branches - shown);
    if (t.mode == TXN_MODE_SAGA) {
        codec_pair_bool(a->out, "concurrent", t.saga.concurrent);
        codec_pair_cstr(a->out, "onFailure",
                        t.saga.on_failure == SAGA_RETRY     ? "retry"
                        : t.saga.on_failure == SAGA_SUSPEND ? "suspend"
                                                            : "compensate");
        codec_pair_uint(a->out, "retryLimit", t.saga.retry_limit);
    }
    codec_cstr(a->out, "branches");
    codec_list(a->out, shown);
    for (uint32_t i = 0; i < shown; i++)
        write_branch(a, xid, &t, i);
    return ASSENT_OK;
}

/* ---- many ---- */

struct page {
    struct apply *a;
    enum txn_status status; /* 0: any */
    enum txn_mode mode;     /* 0: any */
    struct assent_bytes business_type;
    struct assent_bytes business_key; /* empty: any */
    uint32_t limit, found, scanned;
    uint32_t scanned_max;
    struct codec_writer *rows; /* encoded maps, one after the other */
    struct store_key last;     /* xid looked at last */
    bool more;
};

/* One row met in order of xid.  False: the page ends before it. */
static bool page_row(struct page *p, struct assent_bytes xid, const struct txn *t)
{
    if (p->found == p->limit || p->scanned == p->scanned_max) {
        p->more = true;
        return false;
    }
    p->scanned++;
    key_init(&p->last);
    key_tail(&p->last, xid);
    if ((p->status != 0 && t->status != p->status) || (p->mode != 0 && t->mode != p->mode) ||
        (p->business_type.size > 0 && !bytes_equal(p->business_type, t->business_type)))
        return true;
    codec_map(p->rows, HEAD_PAIRS);
    write_head(p->rows, xid, t);
    p->found++;
    return true;
}

/* By status or business key: the index leads to the heads. */
static void page_by_index(struct page *p, struct store_cursor *c, struct assent_bytes after)
{
    struct store_key from;
    struct assent_bytes key, value;
    key_init(&from);
    if (p->business_key.size > 0) {
        key_u8(&from, TXN_INDEX_BUSINESS);
        key_text(&from, p->business_key);
    } else {
        key_u8(&from, TXN_INDEX_STATUS);
        key_u8(&from, (uint8_t)p->status);
    }
    uint32_t prefix = from.size;
    key_tail(&from, after);
    bool there = store_cursor_seek(c, key_bytes(&from), &key, &value);
    if (there && after.size > 0 && bytes_equal(key, key_bytes(&from)))
        there = store_cursor_next(c, &key, &value);
    for (; there && key.size > prefix && memcmp(key.base, from.bytes, prefix) == 0;
         there = store_cursor_next(c, &key, &value)) {
        struct assent_bytes xid = {key.base + prefix, key.size - prefix};
        struct txn t;
        bool loaded = txn_load(p->a->txn, xid, &t);
        assert(loaded);
        if (!page_row(p, xid, &t))
            return;
    }
}

static void page_all(struct page *p, struct store_cursor *c, struct assent_bytes after)
{
    struct store_key from;
    struct assent_bytes key, value;
    key_init(&from);
    if (after.size > 0) {
        key_text(&from, after);
        key_u8(&from, UINT8_MAX); /* behind every row of it */
    }
    for (bool there = store_cursor_seek(c, key_bytes(&from), &key, &value); there;
         there = store_cursor_next(c, &key, &value)) {
        struct assent_bytes xid;
        struct txn t;
        if (txn_row(key, value, &xid, &t) && !page_row(p, xid, &t))
            return;
    }
}

/* A page of transactions in order of xid (of made ones: of their begin), behind the xid `after`.  `next` is
 * the `after` of the following page, nil on the last one; with rare filters a page may be short, even empty,
 * and still have a next. */
int query_txn_list(struct apply *a)
{
    const struct command *c = a->command;
    struct assent_bytes status = arg_bytes(c, QUERY_TXN_LIST_STATUS),
                        mode = arg_bytes(c, QUERY_TXN_LIST_MODE);
    struct assent_bytes after = arg_bytes(c, QUERY_TXN_LIST_AFTER);
    struct page p = {.a = a,
                     .business_type = arg_bytes(c, QUERY_TXN_LIST_BUSINESS_TYPE),
                     .business_key = arg_bytes(c, QUERY_TXN_LIST_BUSINESS_KEY)};
    p.limit = (uint32_t)arg_uint(c, QUERY_TXN_LIST_LIMIT, LIST_LIMIT_DEFAULT);
    p.status = txn_status_by_name(status);
    p.mode = txn_mode_by_name(mode);
    if (status.size > 0 && p.status == 0)
        return refuse(a, ASSENT_INVALID, "status: no such status");
    if (mode.size > 0 && p.mode == 0)
        return refuse(a, ASSENT_INVALID, "mode: no such mode");
    if (p.limit == 0 || p.limit > ASSENT_PAGE_ROWS_MAX)
        return refuse(a, ASSENT_INVALID, "limit: 1 to %d", ASSENT_PAGE_ROWS_MAX);
    if (after.size > STORED_XID_BYTES_MAX)
        return refuse(a, ASSENT_INVALID, "after: an xid");
    p.scanned_max = p.limit * SCANNED_PER_ROW;

    struct codec_writer rows;
    struct store_cursor cursor;
    codec_writer_init(&rows);
    p.rows = &rows;
    bool indexed = p.status != 0 || p.business_key.size > 0;
    store_cursor_open(&cursor, a->txn, indexed ? STORE_TXN_INDEX : STORE_TXNS);
    if (indexed)
        page_by_index(&p, &cursor, after);
    else
        page_all(&p, &cursor, after);
    store_cursor_close(&cursor);

    codec_map(a->out, 2);
    codec_cstr(a->out, "transactions");
    codec_list(a->out, p.found);
    codec_raw(a->out, codec_written(&rows));
    codec_cstr(a->out, "next");
    if (p.more)
        codec_text(a->out, key_bytes(&p.last));
    else
        codec_nil(a->out);
    codec_writer_close(&rows);
    return ASSENT_OK;
}

/* Transactions by mode and status, those that are not there left out, and calls not done yet. */
int query_txn_counts(struct apply *a)
{
    uint32_t n = 0;
    for (unsigned mode = 1; mode < TXN_MODE_NR; mode++)
        for (unsigned status = 1; status < TXN_STATUS_NR; status++)
            n += txn_count(a->txn, (enum txn_mode)mode, (enum txn_status)status) > 0;
    codec_map(a->out, 2);
    codec_pair_uint(a->out, "callsPending", store_count(a->txn, STORE_WORK));
    codec_cstr(a->out, "counts");
    codec_list(a->out, n);
    for (unsigned mode = 1; mode < TXN_MODE_NR; mode++)
        for (unsigned status = 1; status < TXN_STATUS_NR; status++) {
            uint64_t count = txn_count(a->txn, (enum txn_mode)mode, (enum txn_status)status);
            if (count == 0)
                continue;
            codec_map(a->out, 3);
            codec_pair_cstr(a->out, "mode", txn_mode_name((enum txn_mode)mode));
            codec_pair_cstr(a->out, "status", txn_status_name((enum txn_status)status));
            codec_pair_uint(a->out, "count", count);
        }
    return ASSENT_OK;
}
