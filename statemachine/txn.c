/* Global transactions: begin, decide, finish, time out, forget.  The drawing and the keys are in txn.h.
 *
 * Everything here is a function of the store and one command.  Begin is durable, so no election rolls a
 * transaction back; a decision is durable before anybody is called, so the next leader reads it and goes on.
 * Sources: Gray and Lamport, Consensus on Transaction Commit; Spanner and Percolator for deciding in a log.
 */
#include <stdio.h>
#include <stdlib.h>

#include "freeze.h"
#include "nest.h"
#include "planted.h"

#define BIT(n) (1u << (n))

static const uint16_t txn_next[TXN_STATUS_NR] = {
    [TXN_ACTIVE] = BIT(TXN_COMMITTING) | BIT(TXN_ROLLING_BACK) | BIT(TXN_RUNNING) | BIT(TXN_PREPARING) |
                   BIT(TXN_COMMITTED) | BIT(TXN_ROLLED_BACK) | BIT(TXN_SUSPENDED) | BIT(TXN_STOPPED),
    [TXN_PREPARING] = BIT(TXN_COMMITTING) | BIT(TXN_ROLLING_BACK) | BIT(TXN_STOPPED),
    [TXN_COMMITTING] = BIT(TXN_COMMITTED) | BIT(TXN_SUSPENDED) | BIT(TXN_STOPPED),
    [TXN_COMMITTED] = BIT(TXN_ROLLING_BACK), /* a nested saga, when the one around it turns back */
    [TXN_ROLLING_BACK] = BIT(TXN_ROLLED_BACK) | BIT(TXN_SUSPENDED) | BIT(TXN_STOPPED),
    [TXN_SUSPENDED] =
        BIT(TXN_ACTIVE) | BIT(TXN_RUNNING) | BIT(TXN_COMMITTING) | BIT(TXN_ROLLING_BACK) | BIT(TXN_STOPPED),
    [TXN_RUNNING] = BIT(TXN_COMMITTED) | BIT(TXN_PREPARING) | BIT(TXN_COMMITTING) | BIT(TXN_ROLLING_BACK) |
                    BIT(TXN_SUSPENDED) | BIT(TXN_STOPPED),
};
static_assert(TXN_STATUS_NR <= 16, "txn_next holds one bit per status");

static const char *const status_names[TXN_STATUS_NR] = {
    [TXN_ACTIVE] = "ACTIVE",       [TXN_PREPARING] = "PREPARING",       [TXN_COMMITTING] = "COMMITTING",
    [TXN_COMMITTED] = "COMMITTED", [TXN_ROLLING_BACK] = "ROLLING_BACK", [TXN_ROLLED_BACK] = "ROLLED_BACK",
    [TXN_SUSPENDED] = "SUSPENDED", [TXN_RUNNING] = "RUNNING",           [TXN_STOPPED] = "STOPPED",
};
static const char *const mode_names[TXN_MODE_NR] = {
    [TXN_MODE_TCC] = "TCC", [TXN_MODE_XA] = "XA",           [TXN_MODE_SAGA] = "SAGA",
    [TXN_MODE_AT] = "AT",   [TXN_MODE_MESSAGE] = "MESSAGE", [TXN_MODE_WORKFLOW] = "WORKFLOW",
};

const char *txn_status_name(enum txn_status status)
{
    assert(status > 0 && status < TXN_STATUS_NR);
    return status_names[status];
}

const char *txn_mode_name(enum txn_mode mode)
{
    assert(mode > 0 && mode < TXN_MODE_NR);
    return mode_names[mode];
}

enum txn_status txn_status_by_name(struct assent_bytes name)
{
    for (unsigned i = 1; i < TXN_STATUS_NR; i++)
        if (bytes_equal(name, bytes_of(status_names[i])))
            return (enum txn_status)i;
    return (enum txn_status)0;
}

enum txn_mode txn_mode_by_name(struct assent_bytes name)
{
    for (unsigned i = 1; i < TXN_MODE_NR; i++)
        if (bytes_equal(name, bytes_of(mode_names[i])))
            return (enum txn_mode)i;
    return (enum txn_mode)0;
}

bool txn_ended(enum txn_status status)
{
    return status == TXN_COMMITTED || status == TXN_ROLLED_BACK || status == TXN_STOPPED;
}

void txn_move(struct txn *t, enum txn_status to)
{
    assert(t->status > 0 && t->status < TXN_STATUS_NR);
    assert(txn_next[t->status] & BIT(to));
    t->status = to;
}

/* ---- the head in the store ---- */

/* Formats 1 and 2 (of a saga) were written before there were options. */
enum { TXN_FORMAT_OLD = 1, TXN_FORMAT_OLD_SAGA = 2, TXN_FORMAT = 3 };
enum {
    TXN_HAS_CUSTOM = 1,
    TXN_HAS_HEADERS = 2,
    TXN_HAS_CALLBACK = 4,
    TXN_IS_EXECUTED = 8,
    TXN_HAS_RESULT = 16,
    TXN_IS_HELD = 32,
    TXN_WAITS = 64
};
enum { SAGA_IS_CONCURRENT = 1, SAGA_HAS_EDGES = 2 };

static struct store_key txn_key(struct assent_bytes xid, enum txn_row_kind kind)
{
    struct store_key k;
    key_init(&k);
    key_text(&k, xid);
    key_u8(&k, (uint8_t)kind);
    return k;
}

static uint8_t head_flags(const struct txn *t)
{
    return (uint8_t)((t->custom ? TXN_HAS_CUSTOM : 0) | (t->headers ? TXN_HAS_HEADERS : 0) |
                     (t->callback ? TXN_HAS_CALLBACK : 0) | (t->execute ? TXN_IS_EXECUTED : 0) |
                     (t->result ? TXN_HAS_RESULT : 0) | (t->held ? TXN_IS_HELD : 0) |
                     (t->waits ? TXN_WAITS : 0));
}

static void options_encode(struct row_writer *w, const struct txn *t)
{
    row_put_u8(w, (uint8_t)t->style);
    row_put_u8(w, (uint8_t)t->protocol);
    row_put_u8(w, (uint8_t)t->order);
    row_put_u8(w, (uint8_t)t->suspended_from);
    row_put_u32(w, t->retry.factor);
    row_put_u32(w, t->retry.jitter);
    row_put_u32(w, t->call_timeout_ms);
    row_put_u32(w, t->failures);
    row_put_u32(w, t->open_children);
    row_put_u32(w, t->children);
    row_put_u64(w, t->delay_ms);
    row_put_u64(w, (uint64_t)t->whole_due_us);
    row_put_u32(w, t->whole_attempts);
    row_put_u32(w, t->cursor);
    row_put_bytes(w, t->error);
    row_put_bytes(w, t->parent);
}

static void options_decode(struct assent_bytes *r, struct txn *t)
{
    t->style = (enum sm_style)row_take_u8(r);
    t->protocol = (enum sm_protocol)row_take_u8(r);
    t->order = (enum txn_order)row_take_u8(r);
    t->suspended_from = (enum txn_status)row_take_u8(r);
    t->retry.factor = row_take_u32(r);
    t->retry.jitter = row_take_u32(r);
    t->call_timeout_ms = row_take_u32(r);
    t->failures = row_take_u32(r);
    t->open_children = row_take_u32(r);
    t->children = row_take_u32(r);
    t->delay_ms = row_take_u64(r);
    t->whole_due_us = (int64_t)row_take_u64(r);
    t->whole_attempts = row_take_u32(r);
    t->cursor = row_take_u32(r);
    t->error = row_take_bytes(r);
    t->parent = row_take_bytes(r);
}

static struct assent_bytes txn_encode(const struct txn *t, uint8_t *room, size_t size)
{
    struct row_writer w = {room, 0, size};
    row_put_u8(&w, TXN_FORMAT);
    row_put_u8(&w, (uint8_t)t->status);
    row_put_u8(&w, (uint8_t)t->mode);
    row_put_u8(&w, head_flags(t));
    row_put_u32(&w, t->branches);
    row_put_u32(&w, t->begun);
    row_put_u32(&w, t->confirmable);
    row_put_u32(&w, t->cancellable);
    row_put_u32(&w, t->pending);
    row_put_u64(&w, (uint64_t)t->created_us);
    row_put_u64(&w, (uint64_t)t->deadline_us);
    row_put_u64(&w, (uint64_t)t->decided_us);
    row_put_u64(&w, (uint64_t)t->finished_us);
    row_put_u64(&w, t->token);
    row_put_u64(&w, t->timeout_ms);
    row_put_u64(&w, t->retry.base_ms);
    row_put_u64(&w, t->retry.cap_ms);
    row_put_bytes(&w, t->business_type);
    row_put_bytes(&w, t->business_key);
    row_put_bytes(&w, t->owner);
    row_put_bytes(&w, t->traceparent);
    row_put_bytes(&w, t->reason);
    if (t->mode == TXN_MODE_SAGA) {
        row_put_u8(&w, (uint8_t)((t->saga.concurrent ? SAGA_IS_CONCURRENT : 0) |
                                 (t->saga.edges ? SAGA_HAS_EDGES : 0)));
        row_put_u8(&w, (uint8_t)t->saga.on_failure);
        row_put_u32(&w, t->saga.retry_limit);
        row_put_u32(&w, t->saga.retries);
        row_put_u32(&w, t->saga.cursor);
    }
    options_encode(&w, t);
    return row_written(&w);
}

static void saga_decode(struct txn *t, struct assent_bytes *r)
{
    uint8_t flags = row_take_u8(r);
    t->saga.concurrent = (flags & SAGA_IS_CONCURRENT) != 0;
    t->saga.edges = (flags & SAGA_HAS_EDGES) != 0;
    t->saga.on_failure = (enum saga_on_failure)row_take_u8(r);
    t->saga.retry_limit = row_take_u32(r);
    t->saga.retries = row_take_u32(r);
    t->saga.cursor = row_take_u32(r);
}

static void txn_decode(struct txn *t, struct assent_bytes value)
{
    assert(value.size <= sizeof(t->raw));
    memcpy(t->raw, value.base, value.size);
    memset(t, 0, offsetof(struct txn, raw));
    struct assent_bytes r = {t->raw, value.size};
    uint64_t format = row_take_u8(&r);
    assert(format >= TXN_FORMAT_OLD && format <= TXN_FORMAT);
    t->status = t->stored = t->was = (enum txn_status)row_take_u8(&r);
    t->mode = (enum txn_mode)row_take_u8(&r);
    uint8_t flags = row_take_u8(&r);
    t->custom = (flags & TXN_HAS_CUSTOM) != 0;
    t->headers = (flags & TXN_HAS_HEADERS) != 0;
    t->callback = (flags & TXN_HAS_CALLBACK) != 0;
    t->execute = (flags & TXN_IS_EXECUTED) != 0;
    t->result = (flags & TXN_HAS_RESULT) != 0;
    t->held = (flags & TXN_IS_HELD) != 0;
    t->waits = (flags & TXN_WAITS) != 0;
    t->branches = row_take_u32(&r);
    t->begun = row_take_u32(&r);
    t->confirmable = row_take_u32(&r);
    t->cancellable = row_take_u32(&r);
    t->pending = row_take_u32(&r);
    t->created_us = (int64_t)row_take_u64(&r);
    t->deadline_us = (int64_t)row_take_u64(&r);
    t->decided_us = (int64_t)row_take_u64(&r);
    t->finished_us = (int64_t)row_take_u64(&r);
    t->token = row_take_u64(&r);
    t->timeout_ms = row_take_u64(&r);
    t->retry = (struct retry_policy){.base_ms = row_take_u64(&r), .factor = TXN_RETRY_FACTOR_DEFAULT};
    t->retry.cap_ms = row_take_u64(&r);
    t->business_type = row_take_bytes(&r);
    t->business_key = row_take_bytes(&r);
    t->owner = row_take_bytes(&r);
    t->traceparent = row_take_bytes(&r);
    t->reason = row_take_bytes(&r);
    if (t->mode == TXN_MODE_SAGA)
        saga_decode(t, &r);
    if (format == TXN_FORMAT)
        options_decode(&r, t);
    if (t->status == TXN_SUSPENDED && format != TXN_FORMAT)
        t->suspended_from = TXN_RUNNING; /* only sagas waited then, and only on their way forward */
    assert(r.size == 0);
    assert(format == TXN_FORMAT || (t->mode == TXN_MODE_SAGA) == (format == TXN_FORMAT_OLD_SAGA));
    assert(t->status > 0 && t->status < TXN_STATUS_NR);
    assert(t->mode > 0 && t->mode < TXN_MODE_NR);
}

bool txn_load(struct store_txn *store, struct assent_bytes xid, struct txn *t)
{
    struct store_key k = txn_key(xid, TXN_ROW_HEAD);
    struct assent_bytes value;
    if (!store_get(store, STORE_TXNS, key_bytes(&k), &value))
        return false;
    txn_decode(t, value);
    return true;
}

bool txn_row(struct assent_bytes key, struct assent_bytes value, struct assent_bytes *xid, struct txn *t)
{
    uint8_t kind;
    bool ok = key_take_text(&key, xid) && key_take_u8(&key, &kind);
    assert(ok);
    if (kind != TXN_ROW_HEAD)
        return false;
    txn_decode(t, value);
    return true;
}

struct assent_bytes txn_row_get(struct store_txn *store, struct assent_bytes xid, enum txn_row_kind kind)
{
    struct store_key k = txn_key(xid, kind);
    struct assent_bytes value = {NULL, 0};
    store_get(store, STORE_TXNS, key_bytes(&k), &value);
    return value;
}

void txn_row_put(struct store_txn *store, struct assent_bytes xid, enum txn_row_kind kind,
                 struct assent_bytes value)
{
    assert(kind != TXN_ROW_HEAD && kind != TXN_ROW_CHILD);
    struct store_key k = txn_key(xid, kind);
    store_put(store, STORE_TXNS, key_bytes(&k), value);
}

struct assent_bytes txn_custom(struct store_txn *store, struct assent_bytes xid)
{
    return txn_row_get(store, xid, TXN_ROW_CUSTOM);
}

void txn_save(struct apply *a, struct assent_bytes xid, struct txn *t)
{
    assert(t->pending <= t->branches);
    assert(t->branches <= ASSENT_BRANCHES_MAX);
    assert(t->status == TXN_ACTIVE || t->status == TXN_SUSPENDED || t->token != 0);
    uint8_t room[sizeof(t->raw)];
    struct assent_bytes value = txn_encode(t, room, sizeof(room));
    struct store_key k = txn_key(xid, TXN_ROW_HEAD);
    store_put(a->txn, STORE_TXNS, key_bytes(&k), value);
    if (t->stored != t->status)
        txn_index_move(a->txn, xid, t, t->stored, t->status);
    freeze_follow(a, xid, t->stored, t->status);
    if (t->stored != t->status)
        nest_moved(a, xid, t);
    if (t->stored != t->status) {
        statistics_move(a, xid, t, t->stored);
        struct sm_event event = {
            .kind = SM_EVENT_STATUS,
            .xid = xid,
            .business_type = t->business_type,
            .mode = txn_mode_name(t->mode),
            .status = txn_status_name(t->status),
            .detail = t->reason,
            .error = t->error,
            .final = txn_ended(t->status),
        };
        apply_event(a, &event);
    }
    t->stored = t->status;
}

enum { ANSWER_PAIRS = 13 };

static void write_answer(struct apply *a, struct assent_bytes xid, const struct txn *t)
{
    codec_pair_text(a->out, "xid", scoped_name(xid, NULL));
    codec_pair_cstr(a->out, "status", txn_status_name(t->status));
    codec_pair_cstr(a->out, "was", t->was != 0 ? txn_status_name(t->was) : "");
    codec_pair_cstr(a->out, "stands", txn_status_name(txn_stands(t)));
    codec_pair_cstr(a->out, "mode", txn_mode_name(t->mode));
    codec_pair_uint(a->out, "branchCount", t->branches);
    codec_pair_uint(a->out, "pendingCount", t->pending);
    codec_pair_uint(a->out, "nestedCount", t->children);
    codec_pair_text(a->out, "reason", t->reason);
    codec_pair_int(a->out, "createdUs", t->created_us);
    codec_pair_int(a->out, "deadlineUs", t->deadline_us);
    codec_pair_int(a->out, "decidedUs", t->decided_us);
    codec_pair_int(a->out, "finishedUs", t->finished_us);
}

int txn_answer(struct apply *a, struct assent_bytes xid, const struct txn *t)
{
    codec_map(a->out, ANSWER_PAIRS);
    write_answer(a, xid, t);
    return ASSENT_OK;
}

void txn_answer_open(struct apply *a, struct assent_bytes xid, const struct txn *t, bool created,
                     uint32_t more)
{
    codec_map(a->out, ANSWER_PAIRS + 1 + more);
    write_answer(a, xid, t);
    codec_pair_bool(a->out, "created", created);
}

int txn_answer_begin(struct apply *a, struct assent_bytes xid, const struct txn *t, bool created)
{
    txn_answer_open(a, xid, t, created, 0);
    return ASSENT_OK;
}

int txn_not_found(struct apply *a, struct assent_bytes xid)
{
    xid = scoped_name(xid, NULL);
    return refuse(a, ASSENT_TXN_NOT_FOUND, "no transaction %.*s", (int)xid.size, (const char *)xid.base);
}

int txn_exists(struct apply *a, struct assent_bytes xid, const struct txn *t)
{
    xid = scoped_name(xid, NULL);
    return refuse(a, ASSENT_EXISTS, "%.*s exists with other content and is %s", (int)xid.size,
                  (const char *)xid.base, txn_status_name(t->status));
}

int txn_decided(struct apply *a, const struct txn *t)
{
    return refuse(a, ASSENT_TXN_DECIDED, "the transaction is %s", txn_status_name(t->status));
}

/* ---- begin ---- */

/* A word of a closed list; an absent one is the first. */
static bool take_word(struct assent_bytes word, const char *const *words, uint32_t n, uint32_t *out)
{
    *out = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (bytes_equal(word, bytes_of(words[i]))) {
            *out = i;
            return true;
        }
    }
    return word.size == 0;
}

static int retry_check(struct apply *a, const struct retry_policy *r)
{
    if (r->base_ms == 0 || r->base_ms > TXN_RETRY_MS_MAX || r->cap_ms == 0 || r->cap_ms > TXN_RETRY_MS_MAX)
        return refuse(a, ASSENT_INVALID, "retryBaseMs, retryCapMs: 1 millisecond to one day");
    if (r->factor < 100 || r->factor > 1000 || r->jitter > 100)
        return refuse(a, ASSENT_INVALID,
                      "retryFactor: 100 to 1000 percent; retryJitter: at most 100 percent");
    return ASSENT_OK;
}

static const char *const protocol_names[] = {"http", "json-rpc"};

/* The options of a begin, of whatever mode. */
static int options_parse(struct apply *a, struct txn *t, uint32_t at)
{
    static const char *const order_names[] = {"parallel", "forward", "reverse"};
    const struct command *c = a->command;
    uint32_t order, protocol;
    if (!take_word(arg_bytes(c, at + OPTION_ORDER), order_names, 3, &order))
        return refuse(a, ASSENT_INVALID, "order: parallel, forward or reverse");
    if (!take_word(arg_bytes(c, at + OPTION_PROTOCOL), protocol_names, 2, &protocol))
        return refuse(a, ASSENT_INVALID, "protocol: http or json-rpc");
    t->order = (enum txn_order)order;
    t->protocol = (enum sm_protocol)protocol;
    t->style = (enum sm_style)arg_uint(c, at + OPTION_STYLE, SM_STYLE_NATIVE);
    t->parent = arg_bytes(c, at + OPTION_PARENT);
    t->call_timeout_ms = (uint32_t)arg_uint(c, at + OPTION_CALL_TIMEOUT_MS, 0);
    t->retry.factor = (uint32_t)arg_uint(c, at + OPTION_RETRY_FACTOR, TXN_RETRY_FACTOR_DEFAULT);
    t->retry.jitter = (uint32_t)arg_uint(c, at + OPTION_RETRY_JITTER, 0);
    t->headers = codec_size(codec_at(c->args, at + OPTION_HEADERS)) > 0;
    return branch_headers_check(a, codec_at(c->args, at + OPTION_HEADERS));
}

int branch_options_parse(struct apply *a, const struct codec_node *args, uint32_t at, struct branch_plan *p)
{
    uint32_t protocol;
    if (!take_word(codec_as_bytes(codec_at(args, at + BRANCH_OPTION_PROTOCOL)), protocol_names, 2, &protocol))
        return refuse(a, ASSENT_INVALID, "protocol: http or json-rpc");
    p->protocol = (enum sm_protocol)protocol;
    p->protocol_given = codec_kind(codec_at(args, at + BRANCH_OPTION_PROTOCOL)) == CODEC_TEXT;
    const struct codec_node *limit = codec_at(args, at + BRANCH_OPTION_RETRY_LIMIT);
    p->retry.limit = codec_kind(limit) == CODEC_UINT ? (uint32_t)codec_as_uint(limit) : 0;
    bool given = false;
    for (uint32_t i = BRANCH_OPTION_RETRY_BASE_MS; i <= BRANCH_OPTION_RETRY_JITTER; i++)
        given = given || codec_kind(codec_at(args, at + i)) == CODEC_UINT;
    if (!given)
        return ASSENT_OK;
    const struct codec_node *base = codec_at(args, at + BRANCH_OPTION_RETRY_BASE_MS);
    const struct codec_node *cap = codec_at(args, at + BRANCH_OPTION_RETRY_CAP_MS);
    const struct codec_node *factor = codec_at(args, at + BRANCH_OPTION_RETRY_FACTOR);
    const struct codec_node *jitter = codec_at(args, at + BRANCH_OPTION_RETRY_JITTER);
    p->retry.base_ms = codec_kind(base) == CODEC_UINT ? codec_as_uint(base) : TXN_RETRY_BASE_MS_DEFAULT;
    p->retry.cap_ms = codec_kind(cap) == CODEC_UINT ? codec_as_uint(cap) : TXN_RETRY_CAP_MS_DEFAULT;
    p->retry.factor =
        codec_kind(factor) == CODEC_UINT ? (uint32_t)codec_as_uint(factor) : TXN_RETRY_FACTOR_DEFAULT;
    p->retry.jitter = codec_kind(jitter) == CODEC_UINT ? (uint32_t)codec_as_uint(jitter) : 0;
    return retry_check(a, &p->retry);
}

int txn_parse(struct apply *a, struct txn *t, enum txn_mode absent, uint32_t options)
{
    const struct command *c = a->command;
    struct assent_bytes mode = arg_bytes(c, TXN_BEGIN_MODE);
    *t = (struct txn){.status = TXN_ACTIVE, .mode = absent, .created_us = a->now_us};
    if (mode.size > 0)
        t->mode = txn_mode_by_name(mode);
    bool two_phase = absent == TXN_MODE_TCC; /* the same command begins XA */
    if (two_phase ? t->mode != TXN_MODE_TCC && t->mode != TXN_MODE_XA : t->mode != absent)
        return refuse(a, ASSENT_INVALID, two_phase ? "mode: TCC or XA" : "mode: %s", txn_mode_name(absent));
    int rv = options_parse(a, t, options);
    if (rv != ASSENT_OK)
        return rv;
    if (t->parent.size > 0 && (t->mode == TXN_MODE_MESSAGE || t->mode == TXN_MODE_WORKFLOW))
        return refuse(a, ASSENT_INVALID, "parent: a %s stands in no other transaction",
                      txn_mode_name(t->mode));
    t->timeout_ms = arg_uint(c, TXN_BEGIN_TIMEOUT_MS, two_phase ? TXN_TIMEOUT_MS_DEFAULT : 0);
    t->retry.base_ms = arg_uint(c, TXN_BEGIN_RETRY_BASE_MS, TXN_RETRY_BASE_MS_DEFAULT);
    t->retry.cap_ms = arg_uint(c, TXN_BEGIN_RETRY_CAP_MS, TXN_RETRY_CAP_MS_DEFAULT);
    if (t->timeout_ms > TXN_TIMEOUT_MS_MAX)
        return refuse(a, ASSENT_INVALID, "timeoutMs: at most 30 days, or 0 for never");
    rv = retry_check(a, &t->retry);
    if (rv != ASSENT_OK)
        return rv;
    t->deadline_us = t->timeout_ms > 0 ? a->now_us + (int64_t)t->timeout_ms * 1000 : 0;
    t->business_type = arg_bytes(c, TXN_BEGIN_BUSINESS_TYPE);
    t->business_key = arg_bytes(c, TXN_BEGIN_BUSINESS_KEY);
    t->owner = arg_bytes(c, TXN_BEGIN_OWNER);
    t->traceparent = arg_bytes(c, TXN_BEGIN_TRACEPARENT);
    if (t->business_type.size > ASSENT_NAME_BYTES_MAX || t->business_key.size > ASSENT_NAME_BYTES_MAX ||
        t->owner.size > ASSENT_NAME_BYTES_MAX || t->traceparent.size > TXN_TRACE_BYTES_MAX)
        return refuse(a, ASSENT_INVALID, "businessType, businessKey, owner or traceparent is too long");
    t->custom = arg_bytes(c, TXN_BEGIN_CUSTOM_DATA).size > 0;
    return ASSENT_OK;
}

static int name_order(const void *pa, const void *pb)
{
    const struct branch_plan *a = pa, *b = pb;
    size_t n = a->name.size < b->name.size ? a->name.size : b->name.size;
    int order = memcmp(a->name.base, b->name.base, n);
    if (order != 0)
        return order;
    return a->name.size < b->name.size ? -1 : a->name.size > b->name.size;
}

int txn_names_check(struct apply *a, const struct branch_plan *plans, uint32_t n)
{
    struct branch_plan *sorted = calloc(n, sizeof(*sorted));
    int rv = ASSENT_OK;
    assert(sorted != NULL);
    memcpy(sorted, plans, n * sizeof(*sorted));
    qsort(sorted, n, sizeof(*sorted), name_order);
    for (uint32_t i = 1; i < n && rv == ASSENT_OK; i++)
        if (bytes_equal(sorted[i - 1].name, sorted[i].name))
            rv = refuse(a, ASSENT_INVALID, "branches: %.*s is there twice", (int)sorted[i].name.size,
                        (const char *)sorted[i].name.base);
    free(sorted);
    return rv;
}

/* The branches of a begin, checked; `*plans` is the caller's to free also after a refusal. */
static int begin_branches(struct apply *a, uint32_t *n, struct branch_plan **plans)
{
    const struct codec_node *list = codec_at(a->command->args, TXN_BEGIN_BRANCHES);
    *n = codec_size(list);
    *plans = NULL;
    if (*n == 0)
        return ASSENT_OK;
    if (*n > ASSENT_BRANCHES_MAX)
        return refuse(a, ASSENT_LIMIT, "more than %d branches", ASSENT_BRANCHES_MAX);
    *plans = calloc(*n, sizeof(**plans));
    assert(*plans != NULL);
    int rv = ASSENT_OK;
    for (uint32_t i = 0; i < *n && rv == ASSENT_OK; i++)
        rv = branch_parse(a, codec_at(list, i), TXN_BRANCH_BRANCH, &(*plans)[i]);
    return rv == ASSENT_OK ? txn_names_check(a, *plans, *n) : rv;
}

bool txn_head_same(struct apply *a, struct assent_bytes xid, const struct txn *there, const struct txn *t)
{
    if (there->mode != t->mode || there->timeout_ms != t->timeout_ms ||
        there->retry.base_ms != t->retry.base_ms || there->retry.cap_ms != t->retry.cap_ms ||
        there->custom != t->custom || there->order != t->order || there->execute != t->execute ||
        !bytes_equal(there->parent, t->parent) || !bytes_equal(there->business_type, t->business_type) ||
        !bytes_equal(there->business_key, t->business_key) || !bytes_equal(there->owner, t->owner))
        return false;
    return !t->custom || bytes_equal(txn_custom(a->txn, xid), arg_bytes(a->command, TXN_BEGIN_CUSTOM_DATA));
}

int txn_begin_check(struct apply *a)
{
    struct txn t;
    struct branch_plan *plans;
    uint32_t n;
    int rv = txn_parse(a, &t, TXN_MODE_TCC, TXN_BEGIN_OPTIONS);
    if (rv != ASSENT_OK)
        return rv;
    rv = begin_branches(a, &n, &plans);
    free(plans);
    return rv;
}

bool txn_same(struct apply *a, struct assent_bytes xid, const struct txn *there, const struct txn *t,
              const struct branch_plan *plans, uint32_t n)
{
    if (there->begun != n || !txn_head_same(a, xid, there, t))
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!branch_same(a->txn, xid, i, &plans[i]))
            return false;
    return true;
}

void txn_write(struct apply *a, struct assent_bytes xid, struct txn *t, const struct branch_plan *plans,
               uint32_t n, uint32_t options)
{
    for (uint32_t i = 0; i < n; i++)
        branch_add(a, xid, t, &plans[i]);
    t->begun = n;
    if (t->custom) {
        struct store_key k = txn_key(xid, TXN_ROW_CUSTOM);
        store_put(a->txn, STORE_TXNS, key_bytes(&k), arg_bytes(a->command, TXN_BEGIN_CUSTOM_DATA));
    }
    if (t->headers)
        branch_headers_put(a->txn, xid, codec_at(a->command->args, options + OPTION_HEADERS));
    if (t->deadline_us != 0)
        timer_set(a->txn, t->deadline_us, TIMER_TXN, xid);
}

struct assent_bytes txn_xid(struct apply *a, char made[TXN_MADE_BYTES])
{
    struct assent_bytes xid = arg_bytes(a->command, TXN_BEGIN_XID), ns = a->command->session.ns;
    if (xid.size > 0)
        return xid;
    snprintf(made, TXN_MADE_BYTES, "%.*s%s%08x0000%020llx", (int)ns.size,
             ns.size > 0 ? (const char *)ns.base : "", ns.size > 0 ? "\x1f" : "",
             (unsigned)(a->cluster_tag & UINT32_MAX), (unsigned long long)a->position);
    return bytes_of(made);
}

static int begin_write(struct apply *a, struct assent_bytes xid, struct txn *t,
                       const struct branch_plan *plans, uint32_t n)
{
    int rv = nest_check(a, t);
    if (rv != ASSENT_OK)
        return rv;
    if (t->execute) {
        t->status = TXN_RUNNING;
        t->token = a->position;
    }
    txn_write(a, xid, t, plans, n, TXN_BEGIN_OPTIONS);
    nest_join(a, xid, t);
    if (t->execute)
        try_begin(a, xid, t);
    txn_save(a, xid, t);
    return txn_answer_begin(a, xid, t, true);
}

/* Begin.  Without an xid one is made: cluster tag (8 hex digits), shard (4), position (20), which is 16 bytes
 * in hexadecimal and so fits the gtrid of XA.  With an xid that is there: the same answer if the content is
 * the same, EXISTS otherwise. */
int txn_begin(struct apply *a)
{
    char made[TXN_MADE_BYTES];
    struct assent_bytes xid = txn_xid(a, made);
    struct txn t, there;
    struct branch_plan *plans = NULL;
    uint32_t n;
    int rv = txn_parse(a, &t, TXN_MODE_TCC, TXN_BEGIN_OPTIONS);
    if (rv != ASSENT_OK)
        return rv;
    t.execute = arg_bool(a->command, TXN_BEGIN_EXECUTE, false);
    rv = begin_branches(a, &n, &plans);
    if (rv == ASSENT_OK) {
        if (!txn_load(a->txn, xid, &there)) {
            rv = begin_write(a, xid, &t, plans, n);
        } else if (arg_bool(a->command, TXN_BEGIN_OPTIONS + OPTION_KEEP, false) ||
                   txn_same(a, xid, &there, &t, plans, n)) {
            txn_answer_begin(a, xid, &there, false);
        } else {
            rv = txn_exists(a, xid, &there);
        }
    }
    free(plans);
    return rv;
}

/* Register one more branch.  Idempotent by name and content. */
int txn_branch(struct apply *a)
{
    struct assent_bytes xid = arg_bytes(a->command, TXN_BRANCH_XID);
    struct txn t;
    struct branch_plan plan;
    uint32_t ordinal;
    if (!txn_load(a->txn, xid, &t))
        return txn_not_found(a, xid);
    int rv = branch_parse(a, a->command->args, 0, &plan);
    if (rv != ASSENT_OK)
        return rv;
    if (t.status != TXN_ACTIVE)
        return txn_decided(a, &t);
    if (t.mode != TXN_MODE_TCC && t.mode != TXN_MODE_XA)
        return refuse(a, ASSENT_INVALID, "a %s takes no branches", txn_mode_name(t.mode));
    bool there = branch_find(a->txn, xid, plan.name, &ordinal);
    if (there && !branch_same(a->txn, xid, ordinal, &plan))
        return refuse(a, ASSENT_BRANCH_EXISTS, "branch %.*s is there with other content", (int)plan.name.size,
                      (const char *)plan.name.base);
    if (!there && t.branches == ASSENT_BRANCHES_MAX)
        return refuse(a, ASSENT_LIMIT, "the transaction has %d branches", ASSENT_BRANCHES_MAX);
    if (!there) {
        branch_add(a, xid, &t, &plan);
        txn_save(a, xid, &t);
    }
    codec_map(a->out, 4);
    codec_pair_text(a->out, "xid", scoped_name(xid, NULL));
    codec_pair_text(a->out, "branch", plan.name);
    codec_pair_cstr(a->out, "status", txn_status_name(t.status));
    codec_pair_uint(a->out, "branchCount", t.branches);
    return ASSENT_OK;
}

/* ---- decide, finish ---- */

void txn_finish(struct apply *a, struct assent_bytes xid, struct txn *t)
{
    assert(t->pending == 0);
    txn_move(t, t->status == TXN_ROLLING_BACK ? TXN_ROLLED_BACK : TXN_COMMITTED);
    t->finished_us = a->now_us;
    timer_set(a->txn, a->now_us + TXN_RETENTION_US, TIMER_RETENTION, xid);
}

void txn_decide(struct apply *a, struct assent_bytes xid, struct txn *t, enum txn_status to)
{
    if (t->deadline_us != 0 && !PLANTED(TIMEOUT_AFTER_COMMIT))
        timer_clear(a->txn, t->deadline_us, TIMER_TXN, xid);
    if (t->whole_due_us != 0)
        txn_whole_due(a, xid, t, (enum sm_op)0, 0);
    if (t->execute)
        try_end(a, xid, t, to == TXN_ROLLING_BACK);
    txn_move(t, to);
    t->token = a->position;
    t->decided_us = a->now_us;
    t->pending = to == TXN_COMMITTING ? t->confirmable : t->cancellable;
    if (to == TXN_ROLLING_BACK && t->children > 0)
        t->waits = true;
    else if (t->pending > 0)
        phase_two_begin(a, xid, t);
    else
        txn_finish(a, xid, t);
}

void txn_back_begin(struct apply *a, struct assent_bytes xid, struct txn *t)
{
    assert(t->status == TXN_ROLLING_BACK && t->waits && t->open_children == 0);
    t->waits = false;
    if (t->mode == TXN_MODE_SAGA)
        saga_back_begin(a, xid, t);
    else if (t->pending > 0)
        phase_two_begin(a, xid, t);
    else
        txn_finish(a, xid, t);
}

void txn_vote(struct apply *a, struct assent_bytes xid, struct txn *t)
{
    assert(t->open_children == 0);
    if (!nest_inside(a->txn, t)) {
        txn_decide(a, xid, t, TXN_COMMITTING);
        return;
    }
    if (t->deadline_us != 0)
        timer_clear(a->txn, t->deadline_us, TIMER_TXN, xid);
    txn_move(t, TXN_PREPARING);
    t->token = a->position;
}

void txn_call_succeeded(struct apply *a, struct assent_bytes xid, struct txn *t)
{
    assert(t->pending > 0);
    t->pending--;
    if (t->pending == 0)
        txn_finish(a, xid, t);
}

int txn_calls_change(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t headers_at,
                     uint32_t timeout_at, uint32_t base_at)
{
    const struct codec_node *headers = codec_at(a->command->args, headers_at);
    uint64_t base_ms = arg_uint(a->command, base_at, t->retry.base_ms);
    if (codec_size(headers) > 0) {
        int rv = branch_headers_check(a, headers);
        if (rv != ASSENT_OK)
            return rv;
        t->headers = true;
        branch_headers_put(a->txn, xid, headers);
    }
    t->call_timeout_ms = (uint32_t)arg_uint(a->command, timeout_at, t->call_timeout_ms);
    if (base_ms == t->retry.base_ms)
        return ASSENT_OK;
    t->retry.base_ms = base_ms < TXN_RETRY_MS_MAX ? base_ms : TXN_RETRY_MS_MAX;
    if (t->retry.cap_ms < t->retry.base_ms)
        t->retry.cap_ms = t->retry.base_ms;
    return ASSENT_OK;
}

/* Commit.  A transaction that is committing or committed answers as the first commit did. */
int txn_commit(struct apply *a)
{
    struct assent_bytes xid = arg_bytes(a->command, TXN_COMMIT_XID);
    struct txn t;
    if (!txn_load(a->txn, xid, &t))
        return txn_not_found(a, xid);
    enum txn_status stands = txn_stands(&t);
    bool two_phase = t.mode == TXN_MODE_TCC || t.mode == TXN_MODE_XA;
    if (arg_bool(a->command, TXN_COMMIT_KEEP, false) && (t.status != TXN_ACTIVE || !two_phase))
        return txn_answer(a, xid, &t);
    if (t.status == TXN_STOPPED || stands == TXN_ROLLING_BACK || stands == TXN_ROLLED_BACK)
        return txn_decided(a, &t);
    if (t.mode == TXN_MODE_SAGA)
        return refuse(a, ASSENT_INVALID, "a saga commits when its last step is done");
    if (t.mode == TXN_MODE_MESSAGE || t.mode == TXN_MODE_WORKFLOW)
        return refuse(a, ASSENT_INVALID, "a message is submitted, a workflow is ended");
    if (t.status == TXN_SUSPENDED && stands == TXN_ACTIVE)
        return refuse(a, ASSENT_CONFLICT, "the transaction waits for an operator");
    if (stands == TXN_RUNNING)
        return refuse(a, ASSENT_INVALID, "the transaction commits when every try has succeeded");
    if (t.status == TXN_ACTIVE && t.open_children > 0)
        return refuse(a, ASSENT_CONFLICT, "%u nested transactions are undecided", t.open_children);
    if (t.status == TXN_ACTIVE || (t.status == TXN_PREPARING && !nest_inside(a->txn, &t))) {
        int rv = txn_calls_change(a, xid, &t, TXN_COMMIT_HEADERS, TXN_COMMIT_CALL_TIMEOUT_MS,
                                  TXN_COMMIT_RETRY_BASE_MS);
        if (rv != ASSENT_OK)
            return rv;
        txn_vote(a, xid, &t);
        txn_save(a, xid, &t);
    }
    return txn_answer(a, xid, &t);
}

struct assent_bytes txn_shortened(struct assent_bytes text, size_t max)
{
    if (text.size <= max)
        return text;
    while (max > 0 && (text.base[max] & 0xc0) == 0x80) /* not inside a UTF-8 sequence */
        max--;
    return (struct assent_bytes){text.base, max};
}

void txn_back(struct apply *a, struct assent_bytes xid, struct txn *t, struct assent_bytes reason)
{
    if (t->mode == TXN_MODE_SAGA) {
        saga_back(a, xid, t, reason);
        return;
    }
    txn_because(t, reason);
    txn_decide(a, xid, t, TXN_ROLLING_BACK);
    txn_save(a, xid, t);
}

void txn_because(struct txn *t, struct assent_bytes reason)
{
    reason = txn_shortened(reason, TXN_REASON_BYTES_MAX);
    if (reason.size > 0)
        memmove(t->why, reason.base, reason.size);
    t->reason = (struct assent_bytes){t->why, reason.size};
}

/* Roll back, for a reason that is kept.  Idempotent as commit is. */
int txn_rollback(struct apply *a)
{
    struct assent_bytes xid = arg_bytes(a->command, TXN_ROLLBACK_XID);
    struct txn t;
    if (!txn_load(a->txn, xid, &t))
        return txn_not_found(a, xid);
    enum txn_status stands = txn_stands(&t);
    bool turns = stands == TXN_ACTIVE && t.mode != TXN_MODE_SAGA && t.mode != TXN_MODE_WORKFLOW;
    if (arg_bool(a->command, TXN_ROLLBACK_KEEP, false) && !turns)
        return txn_answer(a, xid, &t);
    bool waits = stands == TXN_PREPARING && nest_inside(a->txn, &t); /* for the one around it */
    if (t.status == TXN_STOPPED || stands == TXN_COMMITTING || stands == TXN_COMMITTED || waits)
        return txn_decided(a, &t);
    if (t.mode == TXN_MODE_WORKFLOW && stands == TXN_ACTIVE)
        return refuse(a, ASSENT_INVALID, "a workflow is ended by who runs it");
    if (PLANTED(ANSWER_BEFORE_SAVE) && stands == TXN_ACTIVE)
        t.status = TXN_ROLLING_BACK;
    else if (stands == TXN_ACTIVE || stands == TXN_RUNNING || stands == TXN_PREPARING)
        txn_back(a, xid, &t, arg_bytes(a->command, TXN_ROLLBACK_REASON));
    return txn_answer(a, xid, &t);
}

/* The deadline of an active transaction has passed.  A decision clears the timer, so whatever is found
 * undecided here is rolled back. */
void txn_timer(struct apply *a, struct assent_bytes id)
{
    struct txn t;
    bool there = txn_load(a->txn, id, &t);
    assert(there && (t.status == TXN_ACTIVE || t.status == TXN_RUNNING));
    /* `id` may be borrowed from the store: keep it over the writes below */
    struct store_key xid;
    key_init(&xid);
    key_tail(&xid, id);
    if (t.mode == TXN_MODE_MESSAGE) { /* without anybody to ask: it is sent */
        txn_decide(a, key_bytes(&xid), &t, TXN_COMMITTING);
        txn_save(a, key_bytes(&xid), &t);
        return;
    }
    char reason[64] = "timeout";
    if (t.style == SM_STYLE_DTM)
        snprintf(reason, sizeof(reason), "Timeout after %llu seconds",
                 (unsigned long long)(t.timeout_ms / 1000));
    if (t.mode == TXN_MODE_SAGA && t.status == TXN_RUNNING)
        saga_failed(a, key_bytes(&xid), &t, bytes_of(reason));
    else
        txn_back(a, key_bytes(&xid), &t, bytes_of(reason));
}

/* The retention of a finished transaction has passed: its branches go first, a bounded number at a time, then
 * the transaction itself. */
void txn_retention(struct apply *a, struct assent_bytes id)
{
    struct store_key xid;
    key_init(&xid);
    key_tail(&xid, id);
    struct txn t;
    if (!txn_load(a->txn, key_bytes(&xid), &t) || !txn_ended(t.status) ||
        a->now_us < t.finished_us + TXN_RETENTION_US)
        return; /* a nested saga turned back after its end: another end has another timer */
    if (nest_kept(a->txn, &t)) {
        timer_set(a->txn, a->now_us + TXN_RETENTION_US, TIMER_RETENTION, key_bytes(&xid));
        return;
    }
    if (!branch_remove_some(a->txn, key_bytes(&xid), TXN_REMOVE_ROWS)) {
        timer_set(a->txn, a->now_us + 1000, TIMER_RETENTION, key_bytes(&xid));
        return;
    }
    nest_forget(a, key_bytes(&xid), &t);
    struct store_key k;
    for (int kind = TXN_ROW_HEAD; kind < TXN_ROW_CHILD; kind++) {
        k = txn_key(key_bytes(&xid), (enum txn_row_kind)kind);
        store_del(a->txn, STORE_TXNS, key_bytes(&k));
    }
    txn_index_move(a->txn, key_bytes(&xid), &t, t.stored, (enum txn_status)0);
}

int query_txn_status(struct apply *a)
{
    struct assent_bytes xid = arg_bytes(a->command, QUERY_TXN_STATUS_XID);
    struct txn t;
    if (!txn_load(a->txn, xid, &t))
        return txn_not_found(a, xid);
    return txn_answer(a, xid, &t);
}
