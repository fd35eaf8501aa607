/* Due work: an index ordered by time, then transaction, then branch, of the calls the leader's executor
 * makes.
 *
 * Apply writes it (plan), the executor walks it (perform) and proposes BRANCH_REPORT (report), whose apply
 * takes the piece away or puts the next attempt.  Nothing about a call under way is kept here, so that a new
 * leader finds the same work and goes on. */
#include <stdlib.h>

#include "sm.h"
#include "txn.h"

static struct store_key work_key(int64_t due_us, struct assent_bytes xid, struct assent_bytes branch)
{
    assert(due_us > 0);
    struct store_key k;
    key_init(&k);
    key_u64(&k, (uint64_t)due_us);
    key_text(&k, xid);
    key_tail(&k, branch);
    return k;
}

/* In the operation's byte: planned for later than its command while polling was off.  A state in which
 * nobody ever switched it off holds none. */
#define OP_LATER 0x80u

void work_put(struct apply *a, int64_t due_us, struct assent_bytes xid, struct assent_bytes branch,
              enum sm_op op, uint32_t attempt, uint64_t token, uint32_t ordinal)
{
    uint8_t room[1 + 4 + 8 + 4];
    struct row_writer w = {room, 0, sizeof(room)};
    bool later = due_us > a->now_us && !apply_polls(a);
    row_put_u8(&w, (uint8_t)((unsigned)op | (later ? OP_LATER : 0)));
    row_put_u32(&w, attempt);
    row_put_u64(&w, token);
    row_put_u32(&w, ordinal);
    struct store_key k = work_key(due_us, xid, branch);
    store_put(a->txn, STORE_WORK, key_bytes(&k), row_written(&w));
}

bool work_called(const struct apply *a, int64_t due_us, struct assent_bytes xid, struct assent_bytes branch)
{
    struct store_key k = work_key(due_us, xid, branch);
    struct assent_bytes row;
    if (due_us > a->now_us || apply_polls(a))
        return due_us <= a->now_us;
    /* without a row it is not due yet: its transaction waits for others first */
    return !store_get(a->txn, STORE_WORK, key_bytes(&k), &row) || (row_take_u8(&row) & OP_LATER) == 0;
}

void work_clear(struct store_txn *store, int64_t due_us, struct assent_bytes xid, struct assent_bytes branch)
{
    struct store_key k = work_key(due_us, xid, branch);
    bool there = store_del(store, STORE_WORK, key_bytes(&k));
    assert(there);
}

void sm_work_place(struct sm_work_cursor *c, int64_t due_us)
{
    struct store_key k;
    key_init(&k);
    key_u64(&k, (uint64_t)due_us);
    memcpy(c->key, k.bytes, k.size);
    c->size = k.size;
}

struct walk {
    struct store_txn *txn;
    bool polls;
    struct store_cursor cursor;
    bool started;
    struct txn head; /* of the piece loaded last */
};

void sm_work_begin(struct sm *sm, struct sm_work_cursor *c)
{
    struct walk *w = calloc(1, sizeof(*w));
    assert(w != NULL);
    w->txn = sm_read(sm);
    w->polls = sm_polls(sm);
    store_cursor_open(&w->cursor, w->txn, STORE_WORK);
    c->walk = w;
}

void sm_work_end(struct sm *sm, struct sm_work_cursor *c)
{
    (void)sm;
    struct walk *w = c->walk;
    store_cursor_close(&w->cursor);
    free(w);
    c->walk = NULL;
}

/* The first row behind the place. */
static bool walk_seek(struct walk *w, struct sm_work_cursor *c, struct assent_bytes *key,
                      struct assent_bytes *value)
{
    struct assent_bytes from = {c->key, c->size};
    if (w->started)
        return store_cursor_next(&w->cursor, key, value);
    w->started = true;
    if (!store_cursor_seek(&w->cursor, from, key, value))
        return false;
    return !bytes_equal(*key, from) || store_cursor_next(&w->cursor, key, value);
}

static int64_t row_due_us(struct assent_bytes key)
{
    uint64_t due_us;
    bool ok = key_take_u64(&key, &due_us);
    assert(ok);
    return (int64_t)due_us;
}

static void work_take(const struct walk *w, struct assent_bytes key, struct assent_bytes value,
                      struct sm_work *out)
{
    uint64_t due_us;
    bool ok = key_take_u64(&key, &due_us) && key_take_text(&key, &out->xid);
    assert(ok);
    out->branch = key;
    unsigned op = row_take_u8(&value);
    out->op = (enum sm_op)(op & ~OP_LATER);
    out->waits = (op & OP_LATER) != 0 && !w->polls;
    out->attempt = row_take_u32(&value);
    out->token = row_take_u64(&value);
    out->ordinal = row_take_u32(&value);
}

bool sm_work_next(struct sm *sm, struct sm_work_cursor *c, int64_t now_us, struct sm_work *out)
{
    (void)sm;
    struct assent_bytes key, value;
    *out = (struct sm_work){.due_us = INT64_MAX};
    if (!walk_seek(c->walk, c, &key, &value))
        return false;
    out->due_us = row_due_us(key);
    if (out->due_us > now_us)
        return false;
    assert(key.size <= sizeof(c->key));
    memcpy(c->key, key.base, key.size);
    c->size = (uint32_t)key.size;
    work_take(c->walk, key, value, out);
    return true;
}

bool sm_work_at(struct sm *sm, struct sm_work_cursor *c, struct sm_work *out)
{
    (void)sm;
    struct walk *w = c->walk;
    struct assent_bytes value, key = {c->key, c->size};
    if (!store_get(w->txn, STORE_WORK, key, &value))
        return false;
    *out = (struct sm_work){.due_us = row_due_us(key)};
    work_take(c->walk, key, value, out);
    return true;
}

struct assent_bytes sm_work_xid(const struct sm_work *work, struct assent_bytes *ns)
{
    return scoped_name(work->xid, ns);
}

/* What the call of a transaction as a whole needs. */
static void whole_load(struct walk *w, struct sm_work *out)
{
    struct assent_bytes row = txn_row_get(w->txn, out->xid, TXN_ROW_CALLBACK);
    assert(row.size > 0);
    out->url = row_take_bytes(&row);
    out->callback_name = row_take_bytes(&row);
    out->payload = row_take_bytes(&row);
    out->headers = (struct assent_bytes){NULL, 0};
    out->timeout_ms = w->head.call_timeout_ms;
    out->protocol = w->head.protocol;
    out->urgent = true;
}

void sm_work_load(struct sm *sm, struct sm_work_cursor *c, struct sm_work *out)
{
    (void)sm;
    struct walk *w = c->walk;
    struct branch_plan plan;
    bool there = txn_load(w->txn, out->xid, &w->head);
    assert(there);
    const struct txn *t = &w->head;
    out->traceparent = t->traceparent;
    out->business_type = t->business_type;
    out->mode = bytes_of(txn_mode_name(t->mode));
    out->style = t->style;
    out->txn_headers =
        t->headers ? txn_row_get(w->txn, out->xid, TXN_ROW_HEADERS) : (struct assent_bytes){NULL, 0};
    if (out->op == SM_OP_QUERY || out->op == SM_OP_CALLBACK) {
        whole_load(w, out);
        return;
    }
    there = branch_plan_load(w->txn, out->xid, out->ordinal, &plan);
    assert(there);
    out->url = plan.url[out->op];
    out->payload = plan.payload;
    out->headers = plan.headers;
    out->timeout_ms = plan.timeout_ms > 0 ? plan.timeout_ms : t->call_timeout_ms;
    out->protocol = plan.protocol_given ? plan.protocol : t->protocol;
    out->callback_name = (struct assent_bytes){NULL, 0};
    out->urgent = out->op == SM_OP_TRY || t->order != TXN_PARALLEL ||
                  (t->mode == TXN_MODE_SAGA && (!t->saga.concurrent || t->saga.edges) && t->pending > 1);
}

int64_t sm_next_work_us(const struct sm *sm)
{
    struct assent_bytes key, value;
    if (!store_first(sm_read(sm), STORE_WORK, &key, &value))
        return INT64_MAX;
    return row_due_us(key);
}
