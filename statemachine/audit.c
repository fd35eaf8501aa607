/* The record of what operators did: written with the act itself, in the order of the log, read newest first.
 */
#include "audit.h"

#include <stdio.h>

#include "settings.h"

#define LIST_LIMIT_DEFAULT 100u
/* Rows of format 1 were written before there were subjects. */
#define ROW_FORMAT_OLD 1
#define ROW_FORMAT     2
#define AT_BYTES       12
#define ACT_BYTES_MAX  32

/* Numbers are stored and never reused. */
enum audit_key_kind { AUDIT_KEY_ROW = 1, AUDIT_KEY_NS = 2, AUDIT_KEY_TXN = 3 };

/* Where a row stands in the order of the log. */
struct at {
    uint64_t position;
    uint32_t number;
};

struct row {
    int64_t time_us;
    enum txn_status before, after;
    struct assent_bytes ns, xid, by, act, branch, reason, subject; /* borrowed from the store */
};

static void key_at(struct store_key *k, struct at at)
{
    key_u64(k, at.position);
    for (int shift = 24; shift >= 0; shift -= 8)
        key_u8(k, (uint8_t)(at.number >> shift));
}

static struct at take_at(struct assent_bytes key)
{
    struct at at;
    assert(key.size == AT_BYTES);
    at.position = row_take_u64(&key);
    at.number = row_take_u32(&key);
    return at;
}

static struct store_key row_key(struct at at)
{
    struct store_key k;
    key_init(&k);
    key_u8(&k, AUDIT_KEY_ROW);
    key_at(&k, at);
    return k;
}

/* What the rows of a namespace or a transaction begin with. */
static struct store_key index_prefix(enum audit_key_kind kind, struct assent_bytes name)
{
    struct store_key k;
    key_init(&k);
    key_u8(&k, (uint8_t)kind);
    key_text(&k, name);
    return k;
}

static int64_t kept_us(struct store_txn *store)
{
    return (int64_t)settings_load(store).audit_retention_ms * 1000;
}

/* ---- writing */

void audit_put(struct apply *a, const struct audit *e)
{
    static const struct assent_bytes nothing = {NULL, 0};
    struct at at = {a->position, a->audits++};
    struct assent_bytes ns = a->command != NULL ? a->command->session.ns : nothing;
    uint8_t room[64 + NAMESPACE_BYTES_MAX + STORED_XID_BYTES_MAX + 2 * ASSENT_NAME_BYTES_MAX + ACT_BYTES_MAX +
                 AUDIT_REASON_BYTES_MAX + AUDIT_SUBJECT_BYTES_MAX];
    struct row_writer w = {room, 0, sizeof(room)};
    assert(e->act.size <= ACT_BYTES_MAX && e->reason.size <= AUDIT_REASON_BYTES_MAX);
    row_put_u8(&w, ROW_FORMAT);
    row_put_u64(&w, (uint64_t)a->now_us);
    row_put_u8(&w, (uint8_t)e->before);
    row_put_u8(&w, (uint8_t)e->after);
    if (e->xid.size > 0)
        scoped_name(e->xid, &ns);
    row_put_bytes(&w, ns);
    row_put_bytes(&w, e->xid);
    row_put_bytes(&w, e->by);
    row_put_bytes(&w, e->act);
    row_put_bytes(&w, e->branch);
    row_put_bytes(&w, e->reason);
    row_put_bytes(&w, txn_shortened(e->subject, AUDIT_SUBJECT_BYTES_MAX));
    if (store_count(a->txn, STORE_AUDIT) == 0) /* the oldest row's time is the timer's */
        timer_set(a->txn, a->now_us + kept_us(a->txn), TIMER_AUDIT, nothing);
    struct store_key k = row_key(at);
    store_put(a->txn, STORE_AUDIT, key_bytes(&k), row_written(&w));
    if (e->xid.size > 0) {
        k = index_prefix(AUDIT_KEY_TXN, e->xid);
        key_at(&k, at);
        store_put(a->txn, STORE_AUDIT, key_bytes(&k), nothing);
    }
    k = index_prefix(AUDIT_KEY_NS, ns);
    key_at(&k, at);
    store_put(a->txn, STORE_AUDIT, key_bytes(&k), nothing);
}

void audit_act(struct apply *a, const char *act, struct assent_bytes xid, struct assent_bytes subject,
               uint32_t by)
{
    struct audit entry = {.by = arg_bytes(a->command, by),
                          .act = bytes_of(act),
                          .reason = arg_bytes(a->command, by + 1),
                          .xid = xid,
                          .subject = subject};
    audit_put(a, &entry);
}

/* What was done to the cluster already goes on record. */
int audit_command(struct apply *a)
{
    const struct command *c = a->command;
    struct audit entry = {.by = arg_bytes(c, AUDIT_BY),
                          .act = arg_bytes(c, AUDIT_ACT),
                          .reason = arg_bytes(c, AUDIT_REASON),
                          .subject = arg_bytes(c, AUDIT_SUBJECT)};
    audit_put(a, &entry);
    codec_map(a->out, 0);
    return ASSENT_OK;
}

static struct row row_decode(struct assent_bytes value)
{
    struct row r;
    uint8_t format = row_take_u8(&value);
    assert(format == ROW_FORMAT || format == ROW_FORMAT_OLD);
    r.time_us = (int64_t)row_take_u64(&value);
    r.before = (enum txn_status)row_take_u8(&value);
    r.after = (enum txn_status)row_take_u8(&value);
    r.ns = row_take_bytes(&value);
    r.xid = row_take_bytes(&value);
    r.by = row_take_bytes(&value);
    r.act = row_take_bytes(&value);
    r.branch = row_take_bytes(&value);
    r.reason = row_take_bytes(&value);
    r.subject = (struct assent_bytes){NULL, 0};
    if (format == ROW_FORMAT)
        r.subject = row_take_bytes(&value);
    assert(value.size == 0);
    return r;
}

/* The oldest row, if there is one. */
static bool oldest(struct store_txn *store, struct at *at, struct row *r)
{
    struct assent_bytes key, value;
    if (!store_first(store, STORE_AUDIT, &key, &value) || key.base[0] != AUDIT_KEY_ROW)
        return false;
    *at = take_at((struct assent_bytes){key.base + 1, key.size - 1});
    *r = row_decode(value);
    return true;
}

static void row_remove(struct apply *a, struct at at, const struct row *r)
{
    struct store_key row = row_key(at), by_ns = index_prefix(AUDIT_KEY_NS, r->ns);
    struct store_key by_txn = index_prefix(AUDIT_KEY_TXN, r->xid); /* `r` is gone with the first delete */
    bool of_txn = r->xid.size > 0;
    key_at(&by_ns, at);
    key_at(&by_txn, at);
    store_del(a->txn, STORE_AUDIT, key_bytes(&row));
    store_del(a->txn, STORE_AUDIT, key_bytes(&by_ns));
    if (of_txn)
        store_del(a->txn, STORE_AUDIT, key_bytes(&by_txn));
}

/* The oldest rows have had their time. */
void audit_expire(struct apply *a, struct assent_bytes id)
{
    static const struct assent_bytes nothing = {NULL, 0};
    struct at at;
    struct row r;
    (void)id;
    for (uint32_t i = 0; oldest(a->txn, &at, &r); i++) {
        int64_t due_us = r.time_us + kept_us(a->txn);
        if (due_us > a->now_us || i == AUDIT_REMOVE_ROWS) {
            timer_set(a->txn, due_us > a->now_us ? due_us : a->now_us + 1000, TIMER_AUDIT, nothing);
            return;
        }
        row_remove(a, at, &r);
    }
}

void audit_look(struct apply *a)
{
    static const struct assent_bytes nothing = {NULL, 0};
    timer_set(a->txn, a->now_us + 1, TIMER_AUDIT, nothing);
}

/* ---- reading: index rows from the newest to the oldest */

struct walk {
    struct store_txn *store;
    struct store_cursor cursor;
    struct store_key prefix, end;
    bool started;
};

/* `before` (may be NULL): only what stands before it. */
static void walk_open(struct walk *w, struct store_txn *store, enum audit_key_kind kind,
                      struct assent_bytes name, const struct at *before)
{
    w->store = store;
    w->started = false;
    w->prefix = w->end = index_prefix(kind, name);
    key_at(&w->end, before != NULL ? *before : (struct at){UINT64_MAX, UINT32_MAX});
    store_cursor_open(&w->cursor, store, STORE_AUDIT);
}

static bool walk_next(struct walk *w, struct at *at, struct row *r)
{
    struct assent_bytes key, value;
    bool there = w->started ? store_cursor_prev(&w->cursor, &key, &value)
                            : store_cursor_before(&w->cursor, key_bytes(&w->end), &key, &value);
    w->started = true;
    if (!there || key.size != w->prefix.size + AT_BYTES ||
        memcmp(key.base, w->prefix.bytes, w->prefix.size) != 0)
        return false;
    *at = take_at((struct assent_bytes){key.base + w->prefix.size, AT_BYTES});
    struct store_key k = row_key(*at);
    there = store_get(w->store, STORE_AUDIT, key_bytes(&k), &value);
    assert(there);
    *r = row_decode(value);
    return true;
}

static const char *status_or_none(enum txn_status status)
{
    return status == 0 ? "" : txn_status_name(status);
}

static bool number_read(struct assent_bytes *text, uint64_t *number)
{
    size_t digits = 0;
    *number = 0;
    while (text->size > 0 && text->base[0] >= '0' && text->base[0] <= '9') {
        if (++digits > 19)
            return false; /* of 64 bits any 19 digits can be held */
        *number = *number * 10 + (uint64_t)(row_take_u8(text) - '0');
    }
    return digits > 0;
}

/* "position.number", as pages name a row. */
static bool at_read(struct assent_bytes text, struct at *at)
{
    uint64_t number;
    if (!number_read(&text, &at->position) || text.size == 0 || text.base[0] != '.')
        return false;
    row_take(&text, 1);
    if (!number_read(&text, &number) || text.size > 0 || number > UINT32_MAX)
        return false;
    at->number = (uint32_t)number;
    return true;
}

/* A page of the record, the newest first: of a transaction, or of the namespace. */
int query_audit(struct apply *a)
{
    const struct command *c = a->command;
    struct assent_bytes xid = arg_bytes(c, QUERY_AUDIT_XID), after = arg_bytes(c, QUERY_AUDIT_AFTER);
    uint64_t limit = arg_uint(c, QUERY_AUDIT_LIMIT, LIST_LIMIT_DEFAULT);
    struct at before, at = {0, 0};
    struct codec_writer rows;
    struct walk w;
    struct row r;
    uint32_t n = 0;
    if (limit == 0 || limit > ASSENT_PAGE_ROWS_MAX)
        return refuse(a, ASSENT_INVALID, "limit: 1 to %d", ASSENT_PAGE_ROWS_MAX);
    if (after.size > 0 && !at_read(after, &before))
        return refuse(a, ASSENT_INVALID, "after: what `next` of the page before says");
    codec_writer_init(&rows);
    walk_open(&w, a->txn, xid.size > 0 ? AUDIT_KEY_TXN : AUDIT_KEY_NS, xid.size > 0 ? xid : c->session.ns,
              after.size > 0 ? &before : NULL);
    struct at next;
    bool more = false;
    while (walk_next(&w, &next, &r)) {
        more = n == limit;
        if (more)
            break;
        at = next;
        n++;
        codec_map(&rows, 10);
        codec_pair_int(&rows, "timeUs", r.time_us);
        codec_pair_text(&rows, "act", r.act);
        codec_pair_text(&rows, "by", r.by);
        codec_pair_text(&rows, "reason", r.reason);
        codec_pair_text(&rows, "xid", scoped_name(r.xid, NULL));
        codec_pair_text(&rows, "branch", r.branch);
        codec_pair_text(&rows, "subject", r.subject);
        codec_pair_cstr(&rows, "before", status_or_none(r.before));
        codec_pair_cstr(&rows, "after", status_or_none(r.after));
        codec_pair_uint(&rows, "position", at.position);
    }
    store_cursor_close(&w.cursor);
    codec_map(a->out, 2);
    codec_cstr(a->out, "acts");
    codec_list(a->out, n);
    codec_raw(a->out, codec_written(&rows));
    codec_writer_close(&rows);
    codec_cstr(a->out, "next");
    if (!more) {
        codec_nil(a->out);
        return ASSENT_OK;
    }
    char text[40];
    snprintf(text, sizeof(text), "%llu.%u", (unsigned long long)at.position, (unsigned)at.number);
    codec_text(a->out, bytes_of(text));
    return ASSENT_OK;
}

/* ---- of one transaction */

static void happened(struct codec_writer *out, const struct row *r)
{
    codec_map(out, 8);
    codec_pair_int(out, "timeUs", r->time_us);
    codec_pair_text(out, "event", r->act);
    codec_pair_text(out, "by", r->by);
    codec_pair_text(out, "branch", r->branch);
    codec_pair_text(out, "subject", r->subject);
    codec_pair_cstr(out, "before", status_or_none(r->before));
    codec_pair_cstr(out, "after", status_or_none(r->after));
    codec_pair_text(out, "reason", r->reason);
}

/* In the shape of an act, so that one table holds both. */
static void milestone(struct codec_writer *out, const char *event, int64_t time_us)
{
    struct row r = {.time_us = time_us, .act = bytes_of(event)};
    happened(out, &r);
}

void audit_timeline(struct apply *a, struct assent_bytes xid, const struct txn *t)
{
    struct at at, ats[AUDIT_TIMELINE_ROWS];
    struct row r;
    struct walk w;
    uint32_t n = 0;
    walk_open(&w, a->txn, AUDIT_KEY_TXN, xid, NULL);
    while (n < AUDIT_TIMELINE_ROWS && walk_next(&w, &at, &r) && r.time_us >= t->created_us)
        ats[n++] = at; /* older ones are of an earlier transaction with the same xid */
    store_cursor_close(&w.cursor);
    const struct {
        const char *event;
        int64_t time_us;
    } head[] = {{"created", t->created_us}, {"decided", t->decided_us}, {"finished", t->finished_us}};
    uint32_t heads = 1u + (t->decided_us != 0) + (t->finished_us != 0), i = 0;
    codec_cstr(a->out, "timeline");
    codec_list(a->out, heads + n);
    for (uint32_t k = 0; k <= 3; k++) {
        int64_t until = k < 3 ? head[k].time_us : INT64_MAX;
        if (k < 3 && until == 0)
            continue;
        for (; i < n; i++) {
            struct store_key key = row_key(ats[n - 1 - i]);
            struct assent_bytes value;
            bool there = store_get(a->txn, STORE_AUDIT, key_bytes(&key), &value);
            assert(there);
            r = row_decode(value);
            if (r.time_us > until)
                break;
            happened(a->out, &r);
        }
        if (k < 3)
            milestone(a->out, head[k].event, until);
    }
    assert(i == n);
}
