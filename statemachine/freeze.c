/* Freezing named resources for unfinished transactions: ask, wait in line, be granted, let go.
 *
 *            FREEZE, free                               a holder upgrades: FREEZE exclusive, others hold it
 *   NONE ------------------> GRANTED (mode, token) ------------------------------> GRANTED and waiting
 *    | \                      ^      |                <-- deadline, UNFREEZE ---      |
 *    |  \ FREEZE, taken       |      |                                                |
 *    |   v     first in line  |      |  UNFREEZE, end of the transaction <------------+
 *    |   WAITING -------------+      v
 *    |      | deadline              NONE
 *    |      v
 *    +-- TIMED_OUT                  FREEZE again begins anew
 *
 * Whoever holds in shared mode shares; exclusive is alone.  A newcomer that could be served still queues
 * behind those who wait, so a stream of readers never starves a writer.  Leaving ACTIVE ends all waiting;
 * freezes are kept through the second phase and released in the command that makes the transaction COMMITTED,
 * ROLLED_BACK or STOPPED, so no other transaction sees what a participant has not confirmed or cancelled yet.
 * Sources: Gray and Reuter, Transaction Processing, chapters 7 and 8. */
#include "freeze.h"

#include <stdio.h>

#include "audit.h"
#include "planted.h"

static const char token_key[] = "freeze_token";

const char *freeze_mode_name(enum freeze_mode mode)
{
    assert(mode == FREEZE_SHARED || mode == FREEZE_EXCLUSIVE);
    return mode == FREEZE_SHARED ? "shared" : "exclusive";
}

/* ---- keys */

static struct store_key key_of(enum freeze_key_kind kind, struct assent_bytes name)
{
    struct store_key k;
    key_init(&k);
    key_u8(&k, (uint8_t)kind);
    if (kind == FREEZE_KEY_HEAD || kind == FREEZE_KEY_COUNT)
        key_tail(&k, name);
    else
        key_text(&k, name);
    return k;
}

static struct store_key pair_key(enum freeze_key_kind kind, struct assent_bytes a, struct assent_bytes b)
{
    struct store_key k = key_of(kind, a);
    key_tail(&k, b);
    return k;
}

static struct store_key wait_key(struct assent_bytes resource, enum freeze_rank rank, uint64_t ticket)
{
    struct store_key k = key_of(FREEZE_KEY_WAIT, resource);
    key_u8(&k, (uint8_t)rank);
    key_u64(&k, ticket);
    return k;
}

/* The timer of a wait is named as its row, without the kind. */
static struct assent_bytes timer_id(const struct store_key *wait)
{
    return (struct assent_bytes){wait->bytes + 1, wait->size - 1};
}

/* ---- rows */

struct freeze_head freeze_head_decode(struct assent_bytes value)
{
    struct freeze_head h = {.stored = true};
    h.holders = row_take_u32(&value);
    h.waiters = row_take_u32(&value);
    h.exclusive = row_take_u8(&value) != 0;
    return h;
}

struct freeze_head freeze_head_load(struct store_txn *store, struct assent_bytes resource)
{
    struct store_key k = key_of(FREEZE_KEY_HEAD, resource);
    struct assent_bytes value;
    if (!store_get(store, STORE_FREEZES, key_bytes(&k), &value))
        return (struct freeze_head){0};
    return freeze_head_decode(value);
}

static void head_save(struct store_txn *store, struct assent_bytes resource, const struct freeze_head *h)
{
    struct store_key k = key_of(FREEZE_KEY_HEAD, resource);
    assert(!h->exclusive || h->holders == 1);
    assert(h->holders > 0 || h->waiters == 0);
    if (h->holders == 0) {
        if (h->stored)
            store_del(store, STORE_FREEZES, key_bytes(&k));
        return;
    }
    uint8_t room[9];
    struct row_writer w = {room, 0, sizeof(room)};
    row_put_u32(&w, h->holders);
    row_put_u32(&w, h->waiters);
    row_put_u8(&w, h->exclusive);
    store_put(store, STORE_FREEZES, key_bytes(&k), row_written(&w));
}

struct freeze_hold freeze_hold_decode(struct assent_bytes value)
{
    struct freeze_hold h;
    h.mode = (enum freeze_mode)row_take_u8(&value);
    h.token = row_take_u64(&value);
    h.since_us = (int64_t)row_take_u64(&value);
    return h;
}

struct freeze_hold freeze_hold_load(struct store_txn *store, struct assent_bytes resource,
                                    struct assent_bytes xid)
{
    struct store_key k = pair_key(FREEZE_KEY_HOLD, resource, xid);
    struct assent_bytes value;
    bool there = store_get(store, STORE_FREEZES, key_bytes(&k), &value);
    assert(there);
    return freeze_hold_decode(value);
}

struct freeze_wait freeze_wait_decode(struct assent_bytes tail, struct assent_bytes value)
{
    struct freeze_wait w;
    uint8_t rank;
    bool whole = key_take_u8(&tail, &rank) && key_take_u64(&tail, &w.ticket);
    assert(whole && (rank == FREEZE_RANK_UPGRADE || rank == FREEZE_RANK_ASK));
    w.rank = (enum freeze_rank)rank;
    w.mode = (enum freeze_mode)row_take_u8(&value);
    w.since_us = (int64_t)row_take_u64(&value);
    w.deadline_us = (int64_t)row_take_u64(&value);
    w.xid = value;
    return w;
}

struct freeze_wait freeze_wait_load(struct store_txn *store, struct assent_bytes resource,
                                    enum freeze_rank rank, uint64_t ticket)
{
    struct store_key k = wait_key(resource, rank, ticket);
    struct assent_bytes value, tail = {k.bytes + k.size - 9, 9};
    bool there = store_get(store, STORE_FREEZES, key_bytes(&k), &value);
    assert(there);
    return freeze_wait_decode(tail, value);
}

struct freeze_of freeze_of_decode(struct assent_bytes value)
{
    struct freeze_of of;
    of.state = row_take_u8(&value);
    of.rank = (enum freeze_rank)row_take_u8(&value);
    of.ticket = row_take_u64(&value);
    return of;
}

struct freeze_of freeze_of_load(struct store_txn *store, struct assent_bytes xid,
                                struct assent_bytes resource)
{
    struct store_key k = pair_key(FREEZE_KEY_OF, xid, resource);
    struct assent_bytes value;
    if (!store_get(store, STORE_FREEZES, key_bytes(&k), &value))
        return (struct freeze_of){0};
    return freeze_of_decode(value);
}

struct freeze_count freeze_count_load(struct store_txn *store, struct assent_bytes xid)
{
    struct store_key k = key_of(FREEZE_KEY_COUNT, xid);
    struct freeze_count c = {0};
    struct assent_bytes value;
    if (store_get(store, STORE_FREEZES, key_bytes(&k), &value)) {
        c.rows = row_take_u32(&value);
        c.waits = row_take_u32(&value);
    }
    return c;
}

static void counts_save(struct store_txn *store, struct assent_bytes xid, const struct freeze_count *c)
{
    uint8_t room[8];
    struct row_writer w = {room, 0, sizeof(room)};
    struct store_key k = key_of(FREEZE_KEY_COUNT, xid);
    row_put_u32(&w, c->rows);
    row_put_u32(&w, c->waits);
    if (c->rows > 0)
        store_put(store, STORE_FREEZES, key_bytes(&k), row_written(&w));
    else
        store_del(store, STORE_FREEZES, key_bytes(&k));
}

/* What a transaction has to do with a resource changes; its counts follow, and those of all. */
static void of_change(struct store_txn *store, struct assent_bytes xid, struct assent_bytes resource,
                      const struct freeze_of *was, const struct freeze_of *now)
{
    uint8_t room[10];
    struct row_writer w = {room, 0, sizeof(room)};
    struct store_key k = pair_key(FREEZE_KEY_OF, xid, resource);
    struct freeze_count c = freeze_count_load(store, xid);
    c.rows = c.rows - (was->state != 0) + (now->state != 0);
    c.waits = c.waits - ((was->state & FREEZE_WAITING) != 0) + ((now->state & FREEZE_WAITING) != 0);
    struct freeze_count all = freeze_count_load(store, FREEZE_ALL);
    all.rows = all.rows - ((was->state & FREEZE_HELD) != 0) + ((now->state & FREEZE_HELD) != 0);
    all.waits = all.waits - ((was->state & FREEZE_WAITING) != 0) + ((now->state & FREEZE_WAITING) != 0);
    if (now->state != 0) {
        row_put_u8(&w, now->state);
        row_put_u8(&w, (uint8_t)now->rank);
        row_put_u64(&w, now->ticket);
        store_put(store, STORE_FREEZES, key_bytes(&k), row_written(&w));
    } else if (was->state != 0) {
        store_del(store, STORE_FREEZES, key_bytes(&k));
    }
    assert(c.waits <= c.rows && c.rows <= FREEZES_PER_TXN_MAX);
    counts_save(store, xid, &c);
    counts_save(store, FREEZE_ALL, &all);
}

/* ---- walking */

void freeze_walk_open(struct freeze_walk *w, struct store_txn *store, enum freeze_key_kind kind,
                      struct assent_bytes name)
{
    store_cursor_open(&w->cursor, store, STORE_FREEZES);
    w->from = key_of(kind, name);
    w->prefix = w->from.size;
    w->cut = kind == FREEZE_KEY_HEAD ? 1 : w->prefix;
    w->started = w->behind = false;
}

static void walk_from(struct freeze_walk *w, struct assent_bytes tail, uint8_t last)
{
    key_init(&w->after);
    key_tail(&w->after, (struct assent_bytes){w->from.bytes, w->cut});
    key_tail(&w->after, tail);
    key_u8(&w->after, last);
    w->behind = true;
    w->started = false;
}

void freeze_walk_after(struct freeze_walk *w, struct assent_bytes tail)
{
    walk_from(w, tail, 0); /* the next possible key */
}

void freeze_walk_skip(struct freeze_walk *w, struct assent_bytes ns)
{
    walk_from(w, ns, NAMESPACE_MARK + 1);
}

bool freeze_walk_next(struct freeze_walk *w, struct assent_bytes *tail, struct assent_bytes *value)
{
    struct assent_bytes key;
    bool there =
        w->started ? store_cursor_next(&w->cursor, &key, value)
                   : store_cursor_seek(&w->cursor, key_bytes(w->behind ? &w->after : &w->from), &key, value);
    w->started = true;
    if (!there || key.size < w->prefix || memcmp(key.base, w->from.bytes, w->prefix) != 0)
        return false;
    *tail = (struct assent_bytes){key.base + w->cut, key.size - w->cut};
    return true;
}

void freeze_walk_close(struct freeze_walk *w)
{
    store_cursor_close(&w->cursor);
}

/* ---- granting */

/* The position of the command that grants, or one more than the last token where that is not larger: several
 * grants of one command are told apart, and every grant is above all earlier ones. */
static uint64_t next_token(struct apply *a)
{
    struct assent_bytes value, key = bytes_of(token_key);
    uint64_t token = a->position;
    if (store_get(a->txn, STORE_META, key, &value)) {
        uint64_t last = row_take_u64(&value);
        token = token > last ? token : last + 1;
    }
    uint8_t room[8];
    struct row_writer w = {room, 0, sizeof(room)};
    row_put_u64(&w, token);
    store_put(a->txn, STORE_META, key, row_written(&w));
    return token;
}

/* Held from now on; `was` is how the transaction stood, its WAIT row is gone already. */
static void grant(struct apply *a, struct assent_bytes xid, struct assent_bytes resource,
                  enum freeze_mode mode, const struct freeze_of *was, struct freeze_head *head)
{
    uint8_t room[17];
    struct row_writer w = {room, 0, sizeof(room)};
    row_put_u8(&w, (uint8_t)mode);
    row_put_u64(&w, next_token(a));
    row_put_u64(&w, (uint64_t)a->now_us);
    struct store_key k = pair_key(FREEZE_KEY_HOLD, resource, xid);
    store_put(a->txn, STORE_FREEZES, key_bytes(&k), row_written(&w));
    of_change(a->txn, xid, resource, was, &(struct freeze_of){.state = FREEZE_HELD});
    if ((was->state & FREEZE_HELD) == 0)
        head->holders++;
    head->exclusive = mode == FREEZE_EXCLUSIVE;
    assert(!head->exclusive || head->holders == 1);
}

static void wait_remove(struct apply *a, struct assent_bytes resource, enum freeze_rank rank, uint64_t ticket,
                        struct freeze_head *head)
{
    struct store_key k = wait_key(resource, rank, ticket);
    struct freeze_wait w = freeze_wait_load(a->txn, resource, rank, ticket);
    assert(head->waiters > 0);
    head->waiters--;
    timer_clear(a->txn, w.deadline_us, TIMER_FREEZE, timer_id(&k));
    store_del(a->txn, STORE_FREEZES, key_bytes(&k));
}

/* Could somebody be granted `mode` who stands first in line? */
static bool fits(const struct freeze_head *head, enum freeze_mode mode, bool upgrade)
{
    if (upgrade)
        return head->holders == 1;
    return head->holders == 0 || (!head->exclusive && mode == FREEZE_SHARED);
}

/* Serve the line from its front as far as it goes. */
static void serve(struct apply *a, struct assent_bytes resource, struct freeze_head *head)
{
    while (head->waiters > 0) {
        struct freeze_walk walk;
        struct assent_bytes tail, value;
        freeze_walk_open(&walk, a->txn, FREEZE_KEY_WAIT, resource);
        bool there = freeze_walk_next(&walk, &tail, &value);
        freeze_walk_close(&walk);
        assert(there);
        struct freeze_wait w = freeze_wait_decode(tail, value);
        if (!fits(head, w.mode, w.rank == FREEZE_RANK_UPGRADE))
            return;
        struct store_key xid; /* w.xid is the store's */
        key_init(&xid);
        key_tail(&xid, w.xid);
        struct freeze_of was = freeze_of_load(a->txn, key_bytes(&xid), resource);
        wait_remove(a, resource, w.rank, w.ticket, head);
        grant(a, key_bytes(&xid), resource, w.mode, &was, head);
    }
}

/* Take away what `bits` say a transaction has, and serve who waited for it. */
static void let_go(struct apply *a, struct assent_bytes xid, struct assent_bytes resource, uint8_t bits)
{
    struct freeze_of was = freeze_of_load(a->txn, xid, resource), now = was;
    struct freeze_head head = freeze_head_load(a->txn, resource);
    now.state &= (uint8_t)~bits;
    if ((was.state & bits & FREEZE_WAITING) != 0) {
        wait_remove(a, resource, was.rank, was.ticket, &head);
        now.ticket = 0;
    }
    if ((was.state & bits & FREEZE_HELD) != 0) {
        struct store_key k = pair_key(FREEZE_KEY_HOLD, resource, xid);
        bool there = store_del(a->txn, STORE_FREEZES, key_bytes(&k));
        assert(there && head.holders > 0);
        head.holders--;
        head.exclusive = false;
    }
    of_change(a->txn, xid, resource, &was, &now);
    serve(a, resource, &head);
    head_save(a->txn, resource, &head);
}

/* `bits` of every resource of a transaction. */
static void let_go_all(struct apply *a, struct assent_bytes xid, uint8_t bits)
{
    struct freeze_walk walk;
    struct assent_bytes tail, value;
    freeze_walk_open(&walk, a->txn, FREEZE_KEY_OF, xid);
    while (freeze_walk_next(&walk, &tail, &value)) {
        if ((freeze_of_decode(value).state & bits) == 0)
            continue;
        struct store_key resource;
        key_init(&resource);
        key_tail(&resource, tail);
        let_go(a, xid, key_bytes(&resource), bits);
    }
    freeze_walk_close(&walk);
}

void freeze_follow(struct apply *a, struct assent_bytes xid, enum txn_status from, enum txn_status to)
{
    bool ended = (txn_ended(to) && !(PLANTED(FREEZE_KEPT) && to == TXN_ROLLED_BACK)) ||
                 (PLANTED(FREEZE_LET_GO_EARLY) && from == TXN_ACTIVE);
    if (from == to || (!ended && from != TXN_ACTIVE && from != TXN_RUNNING))
        return;
    if (store_count(a->txn, STORE_FREEZES) == 0) /* most clusters freeze nothing */
        return;
    struct freeze_count c = freeze_count_load(a->txn, xid);
    if (ended && c.rows > 0)
        let_go_all(a, xid, FREEZE_HELD | FREEZE_WAITING | FREEZE_LATE);
    else if (c.waits > 0)
        let_go_all(a, xid, FREEZE_WAITING);
}

/* A wait's deadline has passed; granting or giving up cleared the timer before. */
void freeze_timer(struct apply *a, struct assent_bytes id)
{
    struct assent_bytes resource, tail = id;
    bool whole = key_take_text(&tail, &resource);
    assert(whole);
    struct store_key k = key_of(FREEZE_KEY_WAIT, resource), xid;
    key_tail(&k, tail);
    struct assent_bytes value;
    bool there = store_get(a->txn, STORE_FREEZES, key_bytes(&k), &value);
    assert(there);
    key_init(&xid);
    key_tail(&xid, freeze_wait_decode(tail, value).xid);
    struct freeze_of was = freeze_of_load(a->txn, key_bytes(&xid), resource);
    assert((was.state & FREEZE_WAITING) != 0);
    /* An upgrade that was not served leaves the shared freeze as it was. */
    struct freeze_of late = {.state = was.state, .rank = was.rank, .ticket = was.ticket};
    late.state |= FREEZE_LATE;
    of_change(a->txn, key_bytes(&xid), resource, &was, &late);
    let_go(a, key_bytes(&xid), resource, FREEZE_WAITING);
}

/* ---- commands */

static int answer(struct apply *a, struct assent_bytes xid, struct assent_bytes resource)
{
    freeze_answer(a, xid, resource);
    return ASSENT_OK;
}

/* Who stands in the way, for people. */
static int frozen(struct apply *a, struct assent_bytes xid, struct assent_bytes resource,
                  enum freeze_mode mode)
{
    struct freeze_walk walk;
    struct assent_bytes tail, value;
    int code = ASSENT_OK;
    freeze_walk_open(&walk, a->txn, FREEZE_KEY_HOLD, resource);
    while (code == ASSENT_OK && freeze_walk_next(&walk, &tail, &value)) {
        struct freeze_hold h = freeze_hold_decode(value);
        if (bytes_equal(tail, xid) || !freeze_conflict(mode, h.mode))
            continue;
        tail = scoped_name(tail, NULL);
        code = refuse(a, ASSENT_FROZEN, "%s by %.*s, token %llu", freeze_mode_name(h.mode), (int)tail.size,
                      (const char *)tail.base, (unsigned long long)h.token);
    }
    freeze_walk_close(&walk);
    if (code != ASSENT_OK)
        return code;
    freeze_walk_open(&walk, a->txn, FREEZE_KEY_WAIT, resource);
    bool found = freeze_walk_next(&walk, &tail, &value);
    assert(found);
    struct assent_bytes first = scoped_name(freeze_wait_decode(tail, value).xid, NULL);
    freeze_walk_close(&walk);
    return refuse(a, ASSENT_FROZEN, "%.*s waits for it first", (int)first.size, (const char *)first.base);
}

static void enqueue(struct apply *a, struct assent_bytes xid, struct assent_bytes resource,
                    enum freeze_mode mode, uint64_t wait_ms, const struct freeze_of *was,
                    struct freeze_head *head)
{
    struct freeze_of now = {.state = (was->state & FREEZE_HELD) | FREEZE_WAITING, .ticket = a->position};
    now.rank = (was->state & FREEZE_HELD) != 0 ? FREEZE_RANK_UPGRADE : FREEZE_RANK_ASK;
    int64_t deadline_us = a->now_us + (int64_t)wait_ms * 1000;
    uint8_t room[17 + STORED_XID_BYTES_MAX];
    struct row_writer w = {room, 0, sizeof(room)};
    row_put_u8(&w, (uint8_t)mode);
    row_put_u64(&w, (uint64_t)a->now_us);
    row_put_u64(&w, (uint64_t)deadline_us);
    row_put(&w, xid.base, xid.size);
    struct store_key k = wait_key(resource, now.rank, now.ticket);
    store_put(a->txn, STORE_FREEZES, key_bytes(&k), row_written(&w));
    timer_set(a->txn, deadline_us, TIMER_FREEZE, timer_id(&k));
    of_change(a->txn, xid, resource, was, &now);
    head->waiters++;
}

/* The transaction of a command: ACTIVE, or a RUNNING saga, whose steps may freeze what they work on. */
static int active(struct apply *a, struct assent_bytes xid)
{
    struct txn t;
    if (!txn_load(a->txn, xid, &t))
        return txn_not_found(a, xid);
    if (t.status != TXN_ACTIVE && t.status != TXN_RUNNING)
        return txn_decided(a, &t);
    return ASSENT_OK;
}

static int limits(struct apply *a, struct assent_bytes xid, const struct freeze_of *was,
                  const struct freeze_head *head)
{
    if (was->state == 0 && freeze_count_load(a->txn, xid).rows == FREEZES_PER_TXN_MAX)
        return refuse(a, ASSENT_LIMIT, "the transaction has %d freezes", FREEZES_PER_TXN_MAX);
    if ((was->state & FREEZE_HELD) == 0 && head->holders + head->waiters >= FREEZE_HOLDERS_MAX)
        return refuse(a, ASSENT_LIMIT, "%d transactions hold or want the resource", FREEZE_HOLDERS_MAX);
    return ASSENT_OK;
}

static int may_enqueue(struct apply *a, struct assent_bytes xid, struct assent_bytes resource,
                       enum freeze_mode mode, bool upgrade, const struct freeze_head *head)
{
    if (head->waiters == FREEZE_QUEUE_MAX)
        return refuse(a, ASSENT_LIMIT, "%d transactions wait for the resource", FREEZE_QUEUE_MAX);
    if (freeze_count_load(a->txn, xid).waits == FREEZE_WAITS_MAX)
        return refuse(a, ASSENT_LIMIT, "the transaction waits for %d resources", FREEZE_WAITS_MAX);
    return freeze_may_wait(a, xid, resource, mode, upgrade ? FREEZE_RANK_UPGRADE : FREEZE_RANK_ASK);
}

/* Freeze a resource for an ACTIVE transaction.  Asking again for what it has or waits for changes nothing and
 * answers how it stands. */
int freeze(struct apply *a)
{
    struct assent_bytes xid = arg_bytes(a->command, FREEZE_XID);
    struct assent_bytes resource = arg_bytes(a->command, FREEZE_RESOURCE);
    struct assent_bytes word = arg_bytes(a->command, FREEZE_MODE);
    uint64_t wait_ms = arg_uint(a->command, FREEZE_WAIT_MS, 0);
    enum freeze_mode mode = FREEZE_EXCLUSIVE;
    if (bytes_equal(word, bytes_of("shared")))
        mode = FREEZE_SHARED;
    else if (word.size > 0 && !bytes_equal(word, bytes_of("exclusive")))
        return refuse(a, ASSENT_INVALID, "mode: shared or exclusive");
    if (wait_ms > FREEZE_WAIT_MS_MAX)
        return refuse(a, ASSENT_INVALID, "waitMs: at most an hour");
    int rv = active(a, xid);
    if (rv != ASSENT_OK)
        return rv;
    struct freeze_of was = freeze_of_load(a->txn, xid, resource);
    struct freeze_head head = freeze_head_load(a->txn, resource);
    bool upgrade = (was.state & FREEZE_HELD) != 0;
    if (upgrade && (mode == FREEZE_SHARED || head.exclusive))
        return answer(a, xid, resource);
    if ((was.state & FREEZE_WAITING) != 0) {
        if (mode == FREEZE_SHARED ||
            freeze_wait_load(a->txn, resource, was.rank, was.ticket).mode == FREEZE_EXCLUSIVE)
            return answer(a, xid, resource);
        return refuse(a, ASSENT_CONFLICT, "it waits for the resource in shared mode");
    }
    rv = limits(a, xid, &was, &head);
    if (rv != ASSENT_OK)
        return rv;
    if (fits(&head, mode, upgrade) && (upgrade || head.waiters == 0)) {
        grant(a, xid, resource, mode, &was, &head);
    } else if (wait_ms == 0) {
        return frozen(a, xid, resource, mode);
    } else {
        rv = may_enqueue(a, xid, resource, mode, upgrade, &head);
        if (rv != ASSENT_OK)
            return rv;
        enqueue(a, xid, resource, mode, wait_ms, &was, &head);
    }
    head_save(a->txn, resource, &head);
    return answer(a, xid, resource);
}

/* Let a resource go before the end, or stop waiting for it.  Nothing to let go is no error. */
int unfreeze(struct apply *a)
{
    struct assent_bytes xid = arg_bytes(a->command, UNFREEZE_XID);
    struct assent_bytes resource = arg_bytes(a->command, UNFREEZE_RESOURCE);
    int rv = active(a, xid);
    if (rv != ASSENT_OK)
        return rv;
    if (freeze_of_load(a->txn, xid, resource).state != 0)
        let_go(a, xid, resource, FREEZE_HELD | FREEZE_WAITING | FREEZE_LATE);
    if (arg_present(a->command, UNFREEZE_BY)) /* an operator, not who runs the transaction */
        audit_act(a, "unfreeze", xid, scoped_name(resource, NULL), UNFREEZE_BY);
    return answer(a, xid, resource);
}
