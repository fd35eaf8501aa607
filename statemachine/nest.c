/* Nested transactions; nest.h tells who waits for whom and why nobody waits for ever.
 *
 * Every parent keeps a row per child: does the parent wait for it, as things stood when it was last counted?
 * The head's open_children is the number of those that say so, so counting again changes nothing.  And has a
 * COMMITTED saga told that it cannot be turned back any more? */
#include <stdlib.h>

#include "nest.h"
#include "planted.h"

/* ---- the row of a child: one byte.  Numbers are stored and never reused. */

enum { CHILD_CLOSED = 0, CHILD_OPEN = 1, CHILD_TOLD = 2 /* its end was told as final; it is closed */ };

static struct store_key child_key(struct assent_bytes parent, struct assent_bytes xid)
{
    struct store_key k;
    key_init(&k);
    key_text(&k, parent);
    key_u8(&k, TXN_ROW_CHILD);
    key_tail(&k, xid);
    return k;
}

/* False: the parent has no such child. */
static bool child_get(struct store_txn *store, struct assent_bytes parent, struct assent_bytes xid,
                      uint8_t *state)
{
    struct store_key k = child_key(parent, xid);
    struct assent_bytes value;
    if (!store_get(store, STORE_TXNS, key_bytes(&k), &value))
        return false;
    *state = row_take_u8(&value);
    return true;
}

static void child_put(struct store_txn *store, struct assent_bytes parent, struct assent_bytes xid,
                      uint8_t state)
{
    struct store_key k = child_key(parent, xid);
    store_put(store, STORE_TXNS, key_bytes(&k), (struct assent_bytes){&state, 1});
}

uint32_t nest_children(struct store_txn *store, struct assent_bytes parent, struct store_key *out,
                       uint32_t max)
{
    struct store_key prefix = child_key(parent, (struct assent_bytes){NULL, 0});
    struct store_cursor c;
    struct assent_bytes key, value;
    uint32_t n = 0;
    store_cursor_open(&c, store, STORE_TXNS);
    for (bool there = store_cursor_seek(&c, key_bytes(&prefix), &key, &value);
         there && n < max && key.size > prefix.size && memcmp(key.base, prefix.bytes, prefix.size) == 0;
         there = store_cursor_next(&c, &key, &value)) {
        key_init(&out[n]);
        key_tail(&out[n++], (struct assent_bytes){key.base + prefix.size, key.size - prefix.size});
    }
    store_cursor_close(&c);
    return n;
}

/* The children of one level, in order of xid.  Gives memory to free(). */
static struct store_key *children_of(struct store_txn *store, struct assent_bytes parent, const struct txn *t,
                                     uint32_t *n)
{
    struct store_key *list = malloc(t->children * sizeof(*list));
    assert(t->children > 0 && list != NULL);
    *n = nest_children(store, parent, list, t->children);
    return list;
}

/* ---- who counts */

bool nest_inside(struct store_txn *store, const struct txn *t)
{
    struct txn parent;
    return !PLANTED(NESTED_ALONE) && t->parent.size > 0 && txn_load(store, t->parent, &parent) &&
           parent.status != TXN_STOPPED;
}

bool nest_kept(struct store_txn *store, const struct txn *t)
{
    struct txn up = *t;
    struct store_key at;
    key_init(&at);
    key_tail(&at, t->parent);
    for (int depth = 0; at.size > 0 && depth <= NEST_DEPTH_MAX; depth++) {
        if (!txn_load(store, key_bytes(&at), &up))
            return false;
        if (!txn_ended(up.status))
            return true;
        key_init(&at);
        key_tail(&at, up.parent);
    }
    return false;
}

static bool two_phase(const struct txn *t)
{
    return t->mode == TXN_MODE_TCC || t->mode == TXN_MODE_XA;
}

/* Is it decided for commit, and nobody around it can turn it back? */
static bool is_final(struct store_txn *store, const struct txn *t)
{
    struct txn up;
    struct store_key at;
    enum txn_status stands = txn_stands(t);
    if (t->status == TXN_STOPPED || (stands != TXN_COMMITTING && stands != TXN_COMMITTED))
        return false;
    if (two_phase(t)) /* it waited with its vote until this was so */
        return true;
    key_init(&at);
    key_tail(&at, t->parent);
    for (int depth = 0; at.size > 0 && depth <= NEST_DEPTH_MAX; depth++) {
        if (!txn_load(store, key_bytes(&at), &up) || up.status == TXN_STOPPED)
            return true;
        stands = txn_stands(&up);
        if (stands != TXN_COMMITTING && stands != TXN_COMMITTED)
            return false;
        if (two_phase(&up))
            return true;
        key_init(&at);
        key_tail(&at, up.parent);
    }
    return true;
}

bool nest_final(struct store_txn *store, const struct txn *t)
{
    return txn_ended(t->status) && (t->status != TXN_COMMITTED || is_final(store, t));
}

static bool is_undecided(const struct txn *t)
{
    return t->status != TXN_STOPPED && (txn_stands(t) == TXN_ACTIVE || txn_stands(t) == TXN_RUNNING);
}

/* Does the parent, as it stands, wait for the child? */
static bool is_open(const struct txn *parent, const struct txn *child)
{
    if (txn_stands(parent) == TXN_ROLLING_BACK)
        return child->status != TXN_ROLLED_BACK && child->status != TXN_STOPPED;
    return is_undecided(child);
}

/* ---- begin */

int nest_check(struct apply *a, const struct txn *t)
{
    struct txn up;
    struct store_key at;
    if (t->parent.size == 0)
        return ASSENT_OK;
    if (!txn_load(a->txn, t->parent, &up))
        return refuse(a, ASSENT_TXN_NOT_FOUND, "parent: no such transaction");
    if (!two_phase(&up) && up.mode != TXN_MODE_SAGA)
        return refuse(a, ASSENT_INVALID, "parent: nothing nests in a %s", txn_mode_name(up.mode));
    if (up.status == TXN_SUSPENDED)
        return refuse(a, ASSENT_CONFLICT, "parent: it waits for an operator");
    if (up.status != TXN_ACTIVE && up.status != TXN_RUNNING)
        return refuse(a, ASSENT_TXN_DECIDED, "parent: it is %s", txn_status_name(up.status));
    for (int depth = 1;; depth++) {
        if (up.children >= NEST_CHILDREN_MAX)
            return refuse(a, ASSENT_LIMIT, "parent: %d transactions are nested there", NEST_CHILDREN_MAX);
        if (up.parent.size == 0)
            return ASSENT_OK;
        if (depth == NEST_DEPTH_MAX)
            return refuse(a, ASSENT_LIMIT, "parent: it is nested %d deep", NEST_DEPTH_MAX);
        key_init(&at);
        key_tail(&at, up.parent);
        if (!txn_load(a->txn, key_bytes(&at), &up))
            return ASSENT_OK; /* the one around it is forgotten */
    }
}

void nest_join(struct apply *a, struct assent_bytes xid, const struct txn *t)
{
    struct txn up;
    struct store_key at;
    if (t->parent.size == 0)
        return;
    child_put(a->txn, t->parent, xid, CHILD_CLOSED); /* counted when its own command is done */
    key_init(&at);
    key_tail(&at, t->parent);
    for (int depth = 0; at.size > 0 && txn_load(a->txn, key_bytes(&at), &up); depth++) {
        assert(depth < NEST_DEPTH_MAX && up.children < NEST_CHILDREN_MAX);
        up.children++;
        txn_save(a, key_bytes(&at), &up);
        key_init(&at);
        key_tail(&at, up.parent);
    }
}

/* ---- what follows */

void nest_queue_close(struct nest_queue *q)
{
    free(q->xids);
    *q = (struct nest_queue){0};
}

static void queue_put(struct nest_queue *q, struct assent_bytes xid)
{
    if (q->n == q->room) {
        q->room = q->room > 0 ? 2 * q->room : 16;
        q->xids = realloc(q->xids, q->room * sizeof(*q->xids));
        assert(q->xids != NULL);
    }
    key_init(&q->xids[q->n]);
    key_tail(&q->xids[q->n++], xid);
}

void nest_moved(struct apply *a, struct assent_bytes xid, const struct txn *t)
{
    if (t->parent.size > 0 || t->children > 0)
        queue_put(a->nest, xid);
}

/* Nobody holds it up any more: on with what it waited for.  Saves. */
static void go_on(struct apply *a, struct assent_bytes xid, struct txn *t)
{
    assert(t->open_children == 0);
    if (t->status == TXN_RUNNING && t->pending == 0 && t->mode == TXN_MODE_SAGA)
        saga_settle(a, xid, t);
    else if (t->status == TXN_RUNNING && t->pending == 0)
        try_settle(a, xid, t);
    else if (t->status == TXN_ROLLING_BACK && t->waits)
        txn_back_begin(a, xid, t);
    else
        return;
    txn_save(a, xid, t);
}

/* Children first: turn back whoever can be, and count them all anew. */
static void turn_children(struct apply *a, struct assent_bytes xid, struct txn *t)
{
    uint32_t n, open = 0;
    struct store_key *list = children_of(a->txn, xid, t, &n);
    for (uint32_t i = 0; i < n; i++) {
        struct assent_bytes child_xid = key_bytes(&list[i]);
        struct txn child;
        if (!txn_load(a->txn, child_xid, &child))
            continue; /* ended and forgotten while it was nested in nothing that counted */
        if (is_undecided(&child) || child.status == TXN_PREPARING ||
            (child.mode == TXN_MODE_SAGA && child.status == TXN_COMMITTED)) {
            child.asked = t->asked;
            txn_back(a, child_xid, &child, bytes_of("the transaction around it rolled back"));
        }
        child_put(a->txn, xid, child_xid, is_open(t, &child) ? CHILD_OPEN : CHILD_CLOSED);
        open += is_open(t, &child);
    }
    free(list);
    t->open_children = open;
    txn_save(a, xid, t);
    if (open == 0)
        go_on(a, xid, t);
}

/* The parent counts a child that moved. */
static void account(struct apply *a, struct assent_bytes xid, const struct txn *t)
{
    struct txn parent;
    struct store_key at; /* `t` does not change, but the heads above are written */
    uint8_t was;
    bool open;
    key_init(&at);
    key_tail(&at, t->parent);
    if (at.size == 0 || !txn_load(a->txn, key_bytes(&at), &parent) ||
        !child_get(a->txn, key_bytes(&at), xid, &was))
        return;
    open = is_open(&parent, t);
    if (open == (was == CHILD_OPEN))
        return;
    assert(was != CHILD_TOLD);
    child_put(a->txn, key_bytes(&at), xid, open ? CHILD_OPEN : CHILD_CLOSED);
    assert(open || parent.open_children > 0);
    parent.open_children = open ? parent.open_children + 1 : parent.open_children - 1;
    txn_save(a, key_bytes(&at), &parent);
    if (parent.open_children == 0 && parent.status == TXN_ROLLING_BACK)
        turn_children(a, key_bytes(&at), &parent); /* are they all back? */
    else if (parent.open_children == 0)
        go_on(a, key_bytes(&at), &parent);
}

/* A saga that was COMMITTED before those around it: its end is the last word now, which is told once. */
static void tell_final(struct apply *a, struct assent_bytes parent, struct assent_bytes xid,
                       const struct txn *t)
{
    uint8_t state;
    if (t->mode != TXN_MODE_SAGA || t->status != TXN_COMMITTED || !child_get(a->txn, parent, xid, &state) ||
        state == CHILD_TOLD)
        return;
    assert(state == CHILD_CLOSED);
    child_put(a->txn, parent, xid, CHILD_TOLD);
    txn_tell(a, xid, t);
}

/* It is decided for good, or left its children to themselves: those that are COMMITTED cannot turn any more,
 * and what waits below them may follow.  `votes`: so may its own that wait. */
static void commit_children(struct apply *a, struct assent_bytes xid, const struct txn *t, bool votes)
{
    uint32_t n;
    struct store_key *list = children_of(a->txn, xid, t, &n);
    for (uint32_t i = 0; i < n; i++) {
        struct txn child;
        if (!txn_load(a->txn, key_bytes(&list[i]), &child))
            continue;
        assert(!votes || !is_undecided(&child));
        if (votes && child.status == TXN_PREPARING) {
            txn_decide(a, key_bytes(&list[i]), &child, TXN_COMMITTING);
            txn_save(a, key_bytes(&list[i]), &child);
        }
        tell_final(a, xid, key_bytes(&list[i]), &child);
        if (child.children > 0 && child.status == TXN_COMMITTED)
            queue_put(a->nest, key_bytes(&list[i]));
    }
    free(list);
}

void nest_settle(struct apply *a)
{
    struct nest_queue *q = a->nest;
    for (; q->at < q->n; q->at++) {
        struct txn t;
        struct store_key xid = q->xids[q->at]; /* the queue moves in memory as it grows */
        if (!txn_load(a->txn, key_bytes(&xid), &t))
            continue;
        account(a, key_bytes(&xid), &t);
        if (t.children == 0)
            continue;
        if (t.status == TXN_ROLLING_BACK && t.waits)
            turn_children(a, key_bytes(&xid), &t);
        else if (is_final(a->txn, &t) || t.status == TXN_STOPPED)
            commit_children(a, key_bytes(&xid), &t, t.status != TXN_STOPPED);
        else if (t.open_children == 0)
            go_on(a, key_bytes(&xid), &t);
    }
    q->n = q->at = 0;
}

/* ---- the end */

void nest_forget(struct apply *a, struct assent_bytes xid, const struct txn *t)
{
    uint32_t n;
    if (t->children > 0) {
        struct store_key *list = children_of(a->txn, xid, t, &n);
        for (uint32_t i = 0; i < n; i++) {
            struct store_key k = child_key(xid, key_bytes(&list[i]));
            store_del(a->txn, STORE_TXNS, key_bytes(&k));
        }
        free(list);
    }
    if (t->parent.size > 0) {
        struct store_key k = child_key(t->parent, xid);
        store_del(a->txn, STORE_TXNS, key_bytes(&k));
    }
}
