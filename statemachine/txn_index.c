/* Where transactions are found: by status and by business key in order of their begin, and counted by mode
 * and status.
 *
 * The place of a transaction, (created, xid), never changes, so a page that goes on behind a place neither
 * skips nor repeats anything, whatever began, moved or was removed meanwhile.  One row per status keeps the
 * cost of a move at one delete and one put; a listing of several statuses merges their rows while it reads.
 */
#include <stdio.h>

#include "txn.h"

static struct store_key status_key(struct assent_bytes ns, enum txn_status status)
{
    struct store_key k;
    key_init(&k);
    key_u8(&k, TXN_INDEX_STATUS);
    key_text(&k, ns);
    key_u8(&k, (uint8_t)status);
    return k;
}

static struct store_key business_key(struct assent_bytes ns, struct assent_bytes business)
{
    struct store_key k;
    key_init(&k);
    key_u8(&k, TXN_INDEX_BUSINESS);
    key_text(&k, ns);
    key_text(&k, business);
    return k;
}

static void key_place(struct store_key *k, int64_t created_us, struct assent_bytes xid)
{
    assert(created_us >= 0);
    key_u64(k, (uint64_t)created_us);
    key_tail(k, xid);
}

uint32_t txn_unfinished(void)
{
    uint32_t bits = 0;
    for (unsigned s = 1; s < TXN_STATUS_NR; s++)
        if (!txn_ended((enum txn_status)s))
            bits |= 1u << s;
    return bits;
}

/* ---- counts */

static struct store_key count_key(struct assent_bytes ns, enum txn_mode mode, enum txn_status status)
{
    struct store_key k;
    key_init(&k);
    key_u8(&k, TXN_INDEX_COUNT);
    key_text(&k, ns);
    key_u8(&k, (uint8_t)mode);
    key_u8(&k, (uint8_t)status);
    return k;
}

uint64_t txn_count(struct store_txn *store, struct assent_bytes ns, enum txn_mode mode,
                   enum txn_status status)
{
    struct store_key k = count_key(ns, mode, status);
    struct assent_bytes value;
    if (!store_get(store, STORE_TXN_INDEX, key_bytes(&k), &value))
        return 0;
    return row_take_u64(&value);
}

static void count_add(struct store_txn *store, struct assent_bytes ns, enum txn_mode mode,
                      enum txn_status status, int64_t delta)
{
    uint64_t count = txn_count(store, ns, mode, status);
    assert(delta > 0 || count > 0);
    count += (uint64_t)delta;
    uint8_t room[8];
    struct row_writer w = {room, 0, sizeof(room)};
    row_put_u64(&w, count);
    struct store_key k = count_key(ns, mode, status);
    if (count > 0)
        store_put(store, STORE_TXN_INDEX, key_bytes(&k), row_written(&w));
    else /* a namespace nobody uses any more leaves nothing */
        store_del(store, STORE_TXN_INDEX, key_bytes(&k));
}

void txn_counts_all(struct store_txn *store, uint64_t counts[TXN_MODE_NR][TXN_STATUS_NR])
{
    struct store_key from;
    struct store_cursor c;
    struct assent_bytes key, value;
    memset(counts, 0, sizeof(counts[0]) * TXN_MODE_NR);
    key_init(&from);
    key_u8(&from, TXN_INDEX_COUNT);
    store_cursor_open(&c, store, STORE_TXN_INDEX);
    for (bool there = store_cursor_seek(&c, key_bytes(&from), &key, &value);
         there && key.base[0] == TXN_INDEX_COUNT; there = store_cursor_next(&c, &key, &value)) {
        uint8_t mode = key.base[key.size - 2], status = key.base[key.size - 1];
        assert(mode < TXN_MODE_NR && status < TXN_STATUS_NR);
        counts[mode][status] += row_take_u64(&value);
    }
    store_cursor_close(&c);
}

/* The first row of a namespace's status: its oldest transaction. */
static int64_t oldest_us(struct store_txn *store, struct assent_bytes ns, enum txn_status status)
{
    struct txn_range range = {.ns = ns, .statuses = 1u << status, .to_us = INT64_MAX};
    struct txn_walk walk;
    struct txn_place place;
    struct store_key xid;
    txn_walk_open(&walk, store, &range);
    bool there = txn_walk_next(&walk, &place, &xid);
    assert(there);
    txn_walk_close(&walk);
    return place.created_us;
}

int64_t txn_oldest_unfinished_us(struct store_txn *store)
{
    struct store_key from;
    struct store_cursor c;
    struct assent_bytes key, value;
    int64_t oldest = 0;
    key_init(&from);
    key_u8(&from, TXN_INDEX_COUNT);
    store_cursor_open(&c, store, STORE_TXN_INDEX);
    for (bool there = store_cursor_seek(&c, key_bytes(&from), &key, &value);
         there && key.base[0] == TXN_INDEX_COUNT; there = store_cursor_next(&c, &key, &value)) {
        enum txn_status status = (enum txn_status)key.base[key.size - 1];
        if (txn_ended(status))
            continue;
        struct assent_bytes ns = {key.base + 1, key.size - 4};
        int64_t us = oldest_us(store, ns, status);
        oldest = oldest == 0 || us < oldest ? us : oldest;
    }
    store_cursor_close(&c);
    return oldest;
}

/* ---- writing */

void txn_index_move(struct store_txn *store, struct assent_bytes xid, const struct txn *t,
                    enum txn_status from, enum txn_status to)
{
    static const struct assent_bytes nothing = {NULL, 0};
    struct assent_bytes ns, name = scoped_name(xid, &ns);
    struct store_key k;
    if (from != 0) {
        k = status_key(ns, from);
        key_place(&k, t->created_us, name);
        bool there = store_del(store, STORE_TXN_INDEX, key_bytes(&k));
        assert(there);
        count_add(store, ns, t->mode, from, -1);
    }
    if (to != 0) {
        k = status_key(ns, to);
        key_place(&k, t->created_us, name);
        store_put(store, STORE_TXN_INDEX, key_bytes(&k), nothing);
        count_add(store, ns, t->mode, to, 1);
    }
    if (t->business_key.size == 0 || (from != 0 && to != 0))
        return;
    k = business_key(ns, t->business_key);
    key_place(&k, t->created_us, name);
    if (to != 0)
        store_put(store, STORE_TXN_INDEX, key_bytes(&k), nothing);
    else
        store_del(store, STORE_TXN_INDEX, key_bytes(&k));
}

/* ---- walking */

bool txn_place_read(struct assent_bytes text, struct txn_place *place)
{
    uint64_t us = 0;
    size_t i = 0;
    for (; i < text.size && text.base[i] >= '0' && text.base[i] <= '9'; i++) {
        if (us > INT64_MAX / 10 - 1)
            return false;
        us = us * 10 + (uint64_t)(text.base[i] - '0');
    }
    if (i == 0 || i + 1 >= text.size || text.base[i] != '.' || text.size - i - 1 > ASSENT_XID_BYTES_MAX)
        return false;
    place->created_us = (int64_t)us;
    key_init(&place->name);
    key_tail(&place->name, (struct assent_bytes){text.base + i + 1, text.size - i - 1});
    return true;
}

void txn_place_write(struct codec_writer *out, const struct txn_place *place)
{
    char text[24 + ASSENT_XID_BYTES_MAX];
    int n = snprintf(text, sizeof(text), "%lld.%.*s", (long long)place->created_us, (int)place->name.size,
                     (const char *)place->name.bytes);
    assert(n > 0 && (size_t)n < sizeof(text));
    codec_text(out, (struct assent_bytes){(const uint8_t *)text, (size_t)n});
}

/* Take the row a lane stands on, or close the lane: no row, another index's, or out of the range. */
static void lane_take(struct txn_walk *w, struct txn_lane *lane, bool there, struct assent_bytes key)
{
    lane->there =
        there && key.size > lane->prefix.size && memcmp(key.base, lane->prefix.bytes, lane->prefix.size) == 0;
    if (!lane->there)
        return;
    lane->place = (struct assent_bytes){key.base + lane->prefix.size, key.size - lane->prefix.size};
    struct assent_bytes rest = lane->place;
    uint64_t created_us;
    bool whole = key_take_u64(&rest, &created_us);
    assert(whole);
    lane->there =
        w->range.newest ? (int64_t)created_us >= w->range.from_us : (int64_t)created_us < w->range.to_us;
}

static void lane_open(struct txn_walk *w, struct store_txn *store, struct store_key prefix)
{
    const struct txn_range *r = &w->range;
    struct txn_lane *lane = &w->lane[w->lanes++];
    struct store_key from = lane->prefix = prefix;
    struct assent_bytes key, value;
    const struct txn_place *after = r->after;
    store_cursor_open(&lane->cursor, store, STORE_TXN_INDEX);
    bool there;
    if (r->newest) {
        if (after != NULL && after->created_us < r->to_us)
            key_place(&from, after->created_us, key_bytes(&after->name));
        else
            key_u64(&from, (uint64_t)r->to_us);
        there = store_cursor_before(&lane->cursor, key_bytes(&from), &key, &value);
    } else {
        if (after != NULL && after->created_us >= r->from_us) {
            key_place(&from, after->created_us, key_bytes(&after->name));
            key_u8(&from, 0); /* the next possible key */
        } else {
            key_u64(&from, (uint64_t)r->from_us);
        }
        there = store_cursor_seek(&lane->cursor, key_bytes(&from), &key, &value);
    }
    lane_take(w, lane, there, key);
}

void txn_walk_open(struct txn_walk *w, struct store_txn *store, const struct txn_range *range)
{
    assert(range->from_us >= 0 && range->to_us >= 0);
    w->range = *range;
    w->lanes = 0;
    w->last = NULL;
    if (range->business_key.size > 0) {
        lane_open(w, store, business_key(range->ns, range->business_key));
        return;
    }
    for (unsigned s = 1; s < TXN_STATUS_NR; s++)
        if ((range->statuses & 1u << s) != 0)
            lane_open(w, store, status_key(range->ns, (enum txn_status)s));
}

void txn_walk_close(struct txn_walk *w)
{
    for (uint32_t i = 0; i < w->lanes; i++)
        store_cursor_close(&w->lane[i].cursor);
    w->lanes = 0;
}

static int place_order(struct assent_bytes a, struct assent_bytes b)
{
    size_t n = a.size < b.size ? a.size : b.size;
    int order = memcmp(a.base, b.base, n);
    if (order != 0)
        return order;
    return a.size < b.size ? -1 : a.size > b.size;
}

bool txn_walk_next(struct txn_walk *w, struct txn_place *place, struct store_key *xid)
{
    struct assent_bytes key = {NULL, 0}, value;
    struct txn_lane *first = NULL;
    if (w->last != NULL) {
        bool there = w->range.newest ? store_cursor_prev(&w->last->cursor, &key, &value)
                                     : store_cursor_next(&w->last->cursor, &key, &value);
        lane_take(w, w->last, there, key);
    }
    for (uint32_t i = 0; i < w->lanes; i++) {
        struct txn_lane *lane = &w->lane[i];
        if (!lane->there)
            continue;
        int order = first == NULL ? -1 : place_order(lane->place, first->place);
        assert(order != 0); /* a transaction has one status */
        if (first == NULL || (w->range.newest ? order > 0 : order < 0))
            first = lane;
    }
    w->last = first;
    if (first == NULL)
        return false;
    struct assent_bytes rest = first->place;
    uint64_t created_us;
    bool whole = key_take_u64(&rest, &created_us);
    assert(whole);
    place->created_us = (int64_t)created_us;
    key_init(&place->name);
    key_tail(&place->name, rest);
    key_init(xid);
    if (w->range.ns.size > 0) {
        key_tail(xid, w->range.ns);
        key_u8(xid, NAMESPACE_MARK);
    }
    key_tail(xid, rest);
    return true;
}
