/* Timestamp events: what happened where and when, in an order that says how far it can be trusted.
 *
 * An event created here happens at its place in the log.  An event synced from another node happened there at
 * some time before it arrived, so its place in the log is only the latest it can have been: what orders
 * it against others is the Lamport stamp and the wall time it brought along.  timestamp_order() says which
 * reason it used and whether it proves anything.
 *
 * Rows: STORE_EVENTS       id, 0                  position, times, stamps, node, type, business
 *       STORE_EVENTS       id, 1                  the data, if any
 *       STORE_EVENT_INDEX  by, value, time_us     the id: by time alone, by node, by type, by business
 * Log time is unique and ordered like the log, so it also names the place in a listing. */
#include <inttypes.h>
#include <stdio.h>

#include "apply.h"
#include "row.h"

/* Rows of events kept (an event takes one, with data two); beyond, the oldest events go.  Tests build with
 * fewer. */
#ifndef TIMESTAMP_ROWS_MAX
#define TIMESTAMP_ROWS_MAX 2000000
#endif
/* Events one listing looks at before it returns what it found so far. */
#define SCAN_MAX 10000
/* A page stops here. */
#define PAGE_BYTES_MAX (4 * 1024 * 1024)

#define ROW_BYTES_MAX (5 * 8 + 1 + 3 * (4 + ASSENT_NAME_BYTES_MAX))

struct event {
    struct assent_bytes id; /* the caller's */
    uint64_t position;
    int64_t time_us;         /* of the log */
    uint64_t lamport;        /* given here */
    int64_t origin_time_us;  /* of a synced event: what it brought; else time_us */
    uint64_t origin_lamport; /* of a synced event: what it brought, 0: none; else lamport */
    bool synced;
    struct assent_bytes node, type, business;
    uint8_t row[ROW_BYTES_MAX]; /* private: the names borrow from it */
};

enum index_by { BY_TIME = 0, BY_NODE = 1, BY_TYPE = 2, BY_BUSINESS = 3 };

static struct assent_bytes event_key(struct store_key *k, struct assent_bytes id, uint8_t part)
{
    key_init(k);
    key_text(k, id);
    key_u8(k, part);
    return key_bytes(k);
}

static struct assent_bytes index_key(struct store_key *k, enum index_by by, struct assent_bytes value,
                                     int64_t time_us)
{
    key_init(k);
    key_u8(k, (uint8_t)by);
    key_text(k, value);
    key_u64(k, (uint64_t)time_us);
    return key_bytes(k);
}

static bool event_load(struct event *e, struct store_txn *txn, struct assent_bytes id)
{
    struct store_key key;
    struct assent_bytes stored;
    if (!store_get(txn, STORE_EVENTS, event_key(&key, id, 0), &stored)) {
        return false;
    }
    assert(stored.size <= sizeof e->row);
    memcpy(e->row, stored.base, stored.size);
    struct assent_bytes row = {e->row, stored.size};
    e->id = id;
    e->position = row_take_u64(&row);
    e->time_us = (int64_t)row_take_u64(&row);
    e->lamport = row_take_u64(&row);
    e->origin_time_us = (int64_t)row_take_u64(&row);
    e->origin_lamport = row_take_u64(&row);
    e->synced = row_take_u8(&row) != 0;
    e->node = row_take_bytes(&row);
    e->type = row_take_bytes(&row);
    e->business = row_take_bytes(&row);
    return true;
}

static struct assent_bytes event_data(struct store_txn *txn, struct assent_bytes id)
{
    struct store_key key;
    struct assent_bytes data;
    return store_get(txn, STORE_EVENTS, event_key(&key, id, 1), &data) ? data
                                                                       : (struct assent_bytes){NULL, 0};
}

/* The names an event is listed under. */
static struct assent_bytes index_value(const struct event *e, enum index_by by)
{
    switch (by) {
    case BY_TIME:
        break;
    case BY_NODE:
        return e->node;
    case BY_TYPE:
        return e->type;
    case BY_BUSINESS:
        return e->business;
    }
    return (struct assent_bytes){NULL, 0};
}

static void event_put(const struct event *e, struct store_txn *txn, struct assent_bytes data)
{
    uint8_t bytes[ROW_BYTES_MAX];
    struct row_writer row = {bytes, 0, sizeof bytes};
    struct store_key key;
    row_put_u64(&row, e->position);
    row_put_u64(&row, (uint64_t)e->time_us);
    row_put_u64(&row, e->lamport);
    row_put_u64(&row, (uint64_t)e->origin_time_us);
    row_put_u64(&row, e->origin_lamport);
    row_put_u8(&row, e->synced);
    row_put_bytes(&row, e->node);
    row_put_bytes(&row, e->type);
    row_put_bytes(&row, e->business);
    store_put(txn, STORE_EVENTS, event_key(&key, e->id, 0), row_written(&row));
    if (data.size > 0) {
        store_put(txn, STORE_EVENTS, event_key(&key, e->id, 1), data);
    }
    for (enum index_by by = BY_TIME; by <= BY_BUSINESS; by++) {
        if (by == BY_TIME || index_value(e, by).size > 0) {
            store_put(txn, STORE_EVENT_INDEX, index_key(&key, by, index_value(e, by), e->time_us), e->id);
        }
    }
}

/* Remove the oldest event; false: there is none. */
static bool remove_oldest(struct store_txn *txn)
{
    struct store_cursor cursor;
    struct store_key from, key;
    struct assent_bytes found, value;
    struct event e;
    uint8_t id[ASSENT_NAME_BYTES_MAX], by = 0;
    store_cursor_open(&cursor, txn, STORE_EVENT_INDEX);
    bool any = store_cursor_seek(&cursor, index_key(&from, BY_TIME, (struct assent_bytes){NULL, 0}, 0),
                                 &found, &value);
    any = any && key_take_u8(&found, &by) && by == BY_TIME;
    if (any) {
        assert(value.size <= sizeof id);
        memcpy(id, value.base, value.size);
        bool loaded = event_load(&e, txn, (struct assent_bytes){id, value.size});
        assert(loaded);
    }
    store_cursor_close(&cursor);
    if (!any) {
        return false;
    }
    for (enum index_by i = BY_TIME; i <= BY_BUSINESS; i++) {
        store_del(txn, STORE_EVENT_INDEX, index_key(&key, i, index_value(&e, i), e.time_us));
    }
    store_del(txn, STORE_EVENTS, event_key(&key, e.id, 0));
    store_del(txn, STORE_EVENTS, event_key(&key, e.id, 1));
    return true;
}

/* ---- replies ---- */

static void write_name(struct codec_writer *out, const char *key, struct assent_bytes v)
{
    if (v.size > 0) {
        codec_pair_text(out, key, v);
    } else {
        codec_cstr(out, key);
        codec_nil(out);
    }
}

static void write_event(struct apply *a, const struct event *e)
{
    codec_map(a->out, 11);
    codec_pair_text(a->out, "eventId", e->id);
    codec_pair_text(a->out, "node", e->node);
    write_name(a->out, "type", e->type);
    write_name(a->out, "business", e->business);
    codec_pair_json(a->out, "data", event_data(a->txn, e->id));
    codec_pair_int(a->out, "timeUs", e->time_us);
    codec_pair_uint(a->out, "lamport", e->lamport);
    codec_pair_uint(a->out, "position", e->position);
    codec_pair_bool(a->out, "synced", e->synced);
    codec_pair_int(a->out, "originTimeUs", e->origin_time_us);
    codec_pair_uint(a->out, "originLamport", e->origin_lamport);
}

/* ---- commands ---- */

static bool same(struct assent_bytes a, struct assent_bytes b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.base, b.base, a.size) == 0);
}

/* Store the event, unless the same one is there already: then the answer is that one. */
static int create(struct apply *a, struct event *e, struct assent_bytes data)
{
    struct event there;
    uint64_t lamport = lamport_default(a->txn);
    if (event_load(&there, a->txn, e->id)) {
        bool equal = same(there.node, e->node) && same(there.type, e->type) &&
                     same(there.business, e->business) && there.synced == e->synced &&
                     same(event_data(a->txn, e->id), data);
        if (e->synced) {
            equal = equal && there.origin_time_us == e->origin_time_us &&
                    there.origin_lamport == e->origin_lamport;
        }
        if (!equal) {
            return refuse(a, ASSENT_EXISTS, "an event of this id exists with other content");
        }
        write_event(a, &there);
        return ASSENT_OK;
    }
    if (!assent_lamport_sync(&lamport, e->synced ? e->origin_lamport : 0) || lamport > COUNTER_MAX) {
        return ASSENT_OVERFLOW;
    }
    e->position = a->position;
    e->time_us = a->now_us;
    e->lamport = lamport;
    if (!e->synced) {
        e->origin_time_us = e->time_us;
        e->origin_lamport = lamport;
    }
    lamport_default_set(a->txn, lamport);
    event_put(e, a->txn, data);
    while (store_count(a->txn, STORE_EVENTS) > TIMESTAMP_ROWS_MAX && remove_oldest(a->txn)) {
    }
    write_event(a, e);
    return ASSENT_OK;
}

int timestamp_event(struct apply *a)
{
    const struct command *c = a->command;
    char made[48];
    struct event e = {
        .id = arg_bytes(c, TIMESTAMP_EVENT_EVENT_ID),
        .node = arg_bytes(c, TIMESTAMP_EVENT_NODE),
        .type = arg_bytes(c, TIMESTAMP_EVENT_TYPE),
        .business = arg_bytes(c, TIMESTAMP_EVENT_BUSINESS),
    };
    if (e.id.size == 0) { /* the position is unique; somebody may have given its text as an id, though */
        struct store_key key;
        struct assent_bytes there;
        int size = snprintf(made, sizeof made, "ev-%" PRIu64, a->position);
        e.id = (struct assent_bytes){(const uint8_t *)made, (size_t)size};
        for (int i = 1; i < 10 && store_get(a->txn, STORE_EVENTS, event_key(&key, e.id, 0), &there); i++) {
            e.id.size = (size_t)snprintf(made, sizeof made, "ev-%" PRIu64 "-%d", a->position, i);
        }
        if (store_get(a->txn, STORE_EVENTS, event_key(&key, e.id, 0), &there)) {
            return refuse(a, ASSENT_EXISTS, "no id is free at this position; give one");
        }
    }
    return create(a, &e, arg_bytes(c, TIMESTAMP_EVENT_DATA));
}

int timestamp_sync(struct apply *a)
{
    const struct command *c = a->command;
    struct event e = {
        .id = arg_bytes(c, TIMESTAMP_SYNC_EVENT_ID),
        .node = arg_bytes(c, TIMESTAMP_SYNC_NODE),
        .type = arg_bytes(c, TIMESTAMP_SYNC_TYPE),
        .business = arg_bytes(c, TIMESTAMP_SYNC_BUSINESS),
        .origin_time_us = (int64_t)arg_uint(c, TIMESTAMP_SYNC_TIME_US, 0),
        .origin_lamport = arg_uint(c, TIMESTAMP_SYNC_LAMPORT, 0),
        .synced = true,
    };
    return create(a, &e, arg_bytes(c, TIMESTAMP_SYNC_DATA));
}

/* ---- order of two events ---- */

struct verdict {
    enum assent_order order;
    const char *basis;
    bool certain; /* happened-before is proved (or, of CONCURRENT, disproved both ways) */
    const char *why;
};

static enum assent_order order_of(uint64_t a, uint64_t b)
{
    return a < b ? ASSENT_BEFORE : a > b ? ASSENT_AFTER : ASSENT_EQUAL;
}

static struct verdict timestamp_order(const struct event *a, const struct event *b)
{
    const struct event *later = a->position < b->position ? b : a;
    if (a->position == b->position) {
        return (struct verdict){ASSENT_EQUAL, "SAME", true, "it is one event"};
    }
    if (!later->synced) {
        return (struct verdict){order_of(a->position, b->position), "LOG", true,
                                "the later one was created here when the other was in the log already"};
    }
    bool stamps = a->origin_lamport > 0 && b->origin_lamport > 0;
    enum assent_order by_stamp = order_of(a->origin_lamport, b->origin_lamport);
    if (a->synced && b->synced && same(a->node, b->node)) {
        if (stamps && by_stamp != ASSENT_EQUAL) {
            return (struct verdict){by_stamp, "LAMPORT", true, "one node's own stamps order its own events"};
        }
    } else if (stamps && by_stamp == ASSENT_EQUAL) {
        return (struct verdict){ASSENT_CONCURRENT, "LAMPORT", true,
                                "equal Lamport stamps of different nodes: neither can have caused the other"};
    } else if (stamps) {
        return (struct verdict){
            by_stamp, "LAMPORT", false,
            "the one with the larger Lamport stamp cannot have caused the other; they may be concurrent"};
    }
    if (a->origin_time_us != b->origin_time_us) {
        return (struct verdict){order_of((uint64_t)a->origin_time_us, (uint64_t)b->origin_time_us), "TIME",
                                false, "only wall times tell them apart, and the clocks of nodes differ"};
    }
    return (struct verdict){order_of(a->position, b->position), "LOG", false,
                            "only the order of arrival tells them apart"};
}

int query_timestamp_compare(struct apply *a)
{
    struct event x, y;
    struct assent_bytes ids[2] = {arg_bytes(a->command, QUERY_TIMESTAMP_COMPARE_EVENT_ID1),
                                  arg_bytes(a->command, QUERY_TIMESTAMP_COMPARE_EVENT_ID2)};
    for (int i = 0; i < 2; i++) {
        if (!event_load(i == 0 ? &x : &y, a->txn, ids[i])) {
            return refuse(a, ASSENT_NOT_FOUND, "no event has the id %.*s", (int)ids[i].size,
                          (const char *)ids[i].base);
        }
    }
    struct verdict v = timestamp_order(&x, &y);
    codec_map(a->out, 8);
    codec_pair_text(a->out, "eventId1", x.id);
    codec_pair_text(a->out, "eventId2", y.id);
    codec_pair_cstr(a->out, "order", assent_order_name(v.order));
    codec_pair_cstr(a->out, "basis", v.basis);
    codec_pair_bool(a->out, "certain", v.certain);
    codec_pair_cstr(a->out, "why", v.why);
    codec_pair_int(a->out, "timeDifferenceUs", y.origin_time_us - x.origin_time_us);
    codec_pair_int(a->out, "lamportDifference", (int64_t)y.origin_lamport - (int64_t)x.origin_lamport);
    return ASSENT_OK;
}

/* ---- listing ---- */

struct listing {
    struct assent_bytes node, type, business;
    int64_t from_us, to_us; /* from_us <= time < to_us */
    uint64_t limit;
    enum index_by by;
    struct assent_bytes value; /* of the index walked */
};

/* Decimal time of the last event seen, as `next` gave it. */
static bool parse_after(struct assent_bytes text, int64_t *time_us)
{
    *time_us = 0;
    for (size_t i = 0; i < text.size; i++) {
        int64_t digit = text.base[i] - '0';
        if (digit < 0 || digit > 9 || *time_us > (INT64_MAX - digit) / 10) {
            return false;
        }
        *time_us = *time_us * 10 + digit;
    }
    return text.size > 0;
}

static int listing_read(struct apply *a, struct listing *l)
{
    const struct command *c = a->command;
    *l = (struct listing){
        .node = arg_bytes(c, QUERY_TIMESTAMP_EVENTS_NODE),
        .type = arg_bytes(c, QUERY_TIMESTAMP_EVENTS_TYPE),
        .business = arg_bytes(c, QUERY_TIMESTAMP_EVENTS_BUSINESS),
        .from_us = (int64_t)arg_uint(c, QUERY_TIMESTAMP_EVENTS_FROM_US, 0),
        .to_us = (int64_t)arg_uint(c, QUERY_TIMESTAMP_EVENTS_TO_US, INT64_MAX),
        .limit = arg_uint(c, QUERY_TIMESTAMP_EVENTS_LIMIT, 100),
    };
    if (l->limit < 1 || l->limit > ASSENT_PAGE_ROWS_MAX) {
        return refuse(a, ASSENT_INVALID, "limit is 1..%d", ASSENT_PAGE_ROWS_MAX);
    }
    if (arg_present(c, QUERY_TIMESTAMP_EVENTS_AFTER)) {
        int64_t after;
        if (!parse_after(arg_bytes(c, QUERY_TIMESTAMP_EVENTS_AFTER), &after) || after == INT64_MAX) {
            return refuse(a, ASSENT_INVALID, "after must be the `next` of an earlier page");
        }
        l->from_us = after + 1 > l->from_us ? after + 1 : l->from_us;
    }
    /* The narrowest of the lists, by experience. */
    l->by = l->business.size > 0 ? BY_BUSINESS
            : l->node.size > 0   ? BY_NODE
            : l->type.size > 0   ? BY_TYPE
                                 : BY_TIME;
    l->value = l->by == BY_BUSINESS ? l->business : l->by == BY_NODE ? l->node : l->type;
    if (l->by == BY_TIME) {
        l->value = (struct assent_bytes){NULL, 0};
    }
    return ASSENT_OK;
}

static bool matches(const struct listing *l, const struct event *e)
{
    return (l->node.size == 0 || same(l->node, e->node)) && (l->type.size == 0 || same(l->type, e->type)) &&
           (l->business.size == 0 || same(l->business, e->business));
}

/* The time in a key of the index that is walked; false: the walk is over. */
static bool listing_time(const struct listing *l, struct assent_bytes key, int64_t *time_us)
{
    uint8_t by;
    uint64_t time;
    struct assent_bytes value;
    if (!key_take_u8(&key, &by) || by != l->by || !key_take_text(&key, &value) || !same(value, l->value) ||
        !key_take_u64(&key, &time)) {
        return false;
    }
    *time_us = (int64_t)time;
    return *time_us < l->to_us;
}

int query_timestamp_events(struct apply *a)
{
    struct listing l;
    int rc = listing_read(a, &l);
    if (rc != ASSENT_OK) {
        return rc;
    }
    struct assent_bytes ids[ASSENT_PAGE_ROWS_MAX], key, value; /* borrowed: a query writes nothing */
    struct store_cursor cursor;
    struct store_key from;
    struct event e;
    uint32_t n = 0, scanned = 0;
    size_t bytes = 0;
    int64_t time_us = 0, last_us = 0;
    store_cursor_open(&cursor, a->txn, STORE_EVENT_INDEX);
    bool more = store_cursor_seek(&cursor, index_key(&from, l.by, l.value, l.from_us), &key, &value);
    while ((more = more && listing_time(&l, key, &time_us)) && n < l.limit && scanned < SCAN_MAX &&
           bytes < PAGE_BYTES_MAX) {
        bool loaded = event_load(&e, a->txn, value);
        assert(loaded);
        if (matches(&l, &e)) {
            ids[n++] = value;
            bytes += event_data(a->txn, value).size + 1024;
        }
        scanned++;
        last_us = time_us;
        more = store_cursor_next(&cursor, &key, &value);
    }
    store_cursor_close(&cursor);
    codec_map(a->out, 2);
    codec_cstr(a->out, "events");
    codec_list(a->out, n);
    for (uint32_t i = 0; i < n; i++) {
        bool loaded = event_load(&e, a->txn, ids[i]);
        assert(loaded);
        write_event(a, &e);
    }
    codec_cstr(a->out, "next"); /* null: there is nothing behind this page */
    if (more) {
        char next[24];
        snprintf(next, sizeof next, "%" PRId64, last_us);
        codec_cstr(a->out, next);
    } else {
        codec_nil(a->out);
    }
    return ASSENT_OK;
}
