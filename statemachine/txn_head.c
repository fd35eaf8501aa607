/* A transaction's rows in the store: the head, rewritten at each step, and what stands beside it, written
 * once. The keys are in txn.h. */
#include "txn.h"

enum { TXN_FORMAT = 3 };
enum {
    TXN_HAS_CUSTOM = 1,
    TXN_HAS_HEADERS = 2,
    TXN_HAS_CALLBACK = 4,
    TXN_IS_EXECUTED = 8,
    TXN_HAS_RESULT = 16,
    TXN_IS_HELD = 32,
    TXN_WAITS = 64,
    TXN_IS_ASKED = 128
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
                     (t->waits ? TXN_WAITS : 0) | (t->asked ? TXN_IS_ASKED : 0));
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
    assert(format == TXN_FORMAT);
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
    t->asked = (flags & TXN_IS_ASKED) != 0;
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
    t->retry.base_ms = row_take_u64(&r);
    t->retry.cap_ms = row_take_u64(&r);
    t->business_type = row_take_bytes(&r);
    t->business_key = row_take_bytes(&r);
    t->owner = row_take_bytes(&r);
    t->traceparent = row_take_bytes(&r);
    t->reason = row_take_bytes(&r);
    if (t->mode == TXN_MODE_SAGA)
        saga_decode(t, &r);
    options_decode(&r, t);
    assert(r.size == 0);
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

void txn_head_put(struct store_txn *store, struct assent_bytes xid, const struct txn *t)
{
    uint8_t room[sizeof(t->raw)];
    struct store_key k = txn_key(xid, TXN_ROW_HEAD);
    store_put(store, STORE_TXNS, key_bytes(&k), txn_encode(t, room, sizeof(room)));
}

void txn_rows_remove(struct store_txn *store, struct assent_bytes xid)
{
    for (int kind = TXN_ROW_HEAD; kind < TXN_ROW_CHILD; kind++) {
        struct store_key k = txn_key(xid, (enum txn_row_kind)kind);
        store_del(store, STORE_TXNS, key_bytes(&k));
    }
}
