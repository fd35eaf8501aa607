/* Many transactions at a time: pages of those a filter finds, and counts. */
#include "freeze.h"

/* Rows a page may look at for one it gives, and at least. */
#define SCANNED_PER_ROW    20u
#define SCANNED_MIN        1000u
#define LIST_LIMIT_DEFAULT 100u

/* ---- filter */

/* One status or several, with commas between; none: any. */
static bool take_statuses(struct assent_bytes text, uint32_t *statuses)
{
    *statuses = text.size == 0 ? (1u << TXN_STATUS_NR) - 2 : 0;
    while (text.size > 0) {
        const uint8_t *comma = memchr(text.base, ',', text.size);
        size_t size = comma != NULL ? (size_t)(comma - text.base) : text.size;
        enum txn_status status = txn_status_by_name((struct assent_bytes){text.base, size});
        size_t step = comma != NULL ? size + 1 : size;
        if (status == 0 || (comma != NULL && step == text.size))
            return false;
        *statuses |= 1u << status;
        text = (struct assent_bytes){text.base + step, text.size - step};
    }
    return true;
}

static int filter_words(struct apply *a, uint32_t at, struct txn_filter *f)
{
    const struct command *c = a->command;
    struct assent_bytes status = arg_bytes(c, at + QUERY_TXN_LIST_STATUS);
    struct assent_bytes mode = arg_bytes(c, at + QUERY_TXN_LIST_MODE);
    struct assent_bytes order = arg_bytes(c, at + QUERY_TXN_LIST_ORDER);
    f->mode = txn_mode_by_name(mode);
    f->range.newest = order.size == 0 || bytes_equal(order, bytes_of("newest"));
    if (!take_statuses(status, &f->range.statuses))
        return refuse(a, ASSENT_INVALID, "status: no such status");
    if (mode.size > 0 && f->mode == 0)
        return refuse(a, ASSENT_INVALID, "mode: no such mode");
    if (!f->range.newest && !bytes_equal(order, bytes_of("oldest")))
        return refuse(a, ASSENT_INVALID, "order: newest or oldest");
    return ASSENT_OK;
}

int txn_filter_parse(struct apply *a, uint32_t at, struct txn_filter *f)
{
    const struct command *c = a->command;
    *f = (struct txn_filter){.range.ns = c->session.ns};
    int rv = filter_words(a, at, f);
    if (rv != ASSENT_OK)
        return rv;
    struct assent_bytes after = arg_bytes(c, at + QUERY_TXN_LIST_AFTER);
    if (after.size > 0 && !txn_place_read(after, &f->after))
        return refuse(a, ASSENT_INVALID, "after: what `next` of the page before says");
    f->range.after = after.size > 0 ? &f->after : NULL;
    uint64_t limit = arg_uint(c, at + QUERY_TXN_LIST_LIMIT, LIST_LIMIT_DEFAULT);
    if (limit == 0 || limit > ASSENT_PAGE_ROWS_MAX)
        return refuse(a, ASSENT_INVALID, "limit: 1 to %d", ASSENT_PAGE_ROWS_MAX);
    f->limit = (uint32_t)limit;
    f->scanned_max = f->limit * SCANNED_PER_ROW > SCANNED_MIN ? f->limit * SCANNED_PER_ROW : SCANNED_MIN;
    f->business_type = arg_bytes(c, at + QUERY_TXN_LIST_BUSINESS_TYPE);
    f->error = arg_bytes(c, at + QUERY_TXN_LIST_ERROR_TEXT);
    f->failing = arg_bool(c, at + QUERY_TXN_LIST_FAILING, false);
    f->range.business_key = arg_bytes(c, at + QUERY_TXN_LIST_BUSINESS_KEY);
    f->range.from_us = (int64_t)arg_uint(c, at + QUERY_TXN_LIST_FROM_US, 0);
    f->range.to_us = (int64_t)arg_uint(c, at + QUERY_TXN_LIST_TO_US, INT64_MAX);
    uint64_t older_ms = arg_uint(c, at + QUERY_TXN_LIST_OLDER_THAN_MS, 0);
    if (older_ms > 0) {
        int64_t before_us = a->now_us - (int64_t)older_ms * 1000;
        before_us = before_us > 0 ? before_us : 0;
        f->range.to_us = before_us < f->range.to_us ? before_us : f->range.to_us;
    }
    if (arg_present(c, at + QUERY_TXN_LIST_NEXT_AFTER_MS))
        f->next_after_us = a->now_us + (int64_t)arg_uint(c, at + QUERY_TXN_LIST_NEXT_AFTER_MS, 0) * 1000;
    if (older_ms > 0 || f->failing || f->next_after_us > 0)
        f->range.statuses &= txn_unfinished();
    return ASSENT_OK;
}

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

/* ASCII letters are equal in either case. */
static bool contains(struct assent_bytes text, struct assent_bytes part)
{
    for (size_t i = 0; i + part.size <= text.size; i++) {
        size_t n = 0;
        while (n < part.size && lower(text.base[i + n]) == lower(part.base[n]))
            n++;
        if (n == part.size)
            return true;
    }
    return false;
}

/* Something of it is to be called, and nothing sooner than the filter says. */
static bool next_later(struct store_txn *store, const struct txn_filter *f, struct assent_bytes xid,
                       const struct txn *t)
{
    int64_t next_us = t->whole_due_us != 0 ? t->whole_due_us : INT64_MAX;
    for (uint32_t i = 0; i < t->branches && t->status != TXN_ACTIVE && next_us > f->next_after_us; i++) {
        struct branch_plan plan;
        struct branch_progress p;
        if (!branch_plan_load(store, xid, i, &plan))
            break;
        branch_progress_load(store, xid, i, t, &plan, &p);
        if (p.next_due_us != 0 && p.next_due_us < next_us)
            next_us = p.next_due_us;
    }
    return next_us != INT64_MAX && next_us > f->next_after_us;
}

static bool matches(const struct txn_filter *f, const struct txn *t)
{
    return (f->range.statuses & 1u << t->status) != 0 && (f->mode == 0 || t->mode == f->mode) &&
           (f->business_type.size == 0 || bytes_equal(f->business_type, t->business_type)) &&
           (f->error.size == 0 || contains(t->error, f->error)) && (!f->failing || t->failures > 0);
}

bool txn_page(struct store_txn *store, const struct txn_filter *f, txn_found_fn found, void *data,
              struct txn_place *next)
{
    struct txn_walk walk;
    struct txn_place place;
    struct store_key xid;
    uint32_t n = 0, scanned = 0;
    bool more = false;
    if (f->range.statuses == 0) /* an ended status, and unfinished ones only */
        return false;
    txn_walk_open(&walk, store, &f->range);
    while (!more && txn_walk_next(&walk, &place, &xid)) {
        struct txn t;
        more = n == f->limit || scanned == f->scanned_max;
        if (more)
            break;
        bool there = txn_load(store, key_bytes(&xid), &t);
        assert(there);
        if (matches(f, &t) && (f->next_after_us == 0 || next_later(store, f, key_bytes(&xid), &t))) {
            found(data, key_bytes(&xid), &t);
            n++;
        }
        scanned++;
        *next = place;
    }
    txn_walk_close(&walk);
    return more;
}

/* ---- queries */

struct page {
    struct codec_writer rows; /* encoded maps, one after the other */
    uint32_t n;
};

static void page_row(void *data, struct assent_bytes xid, const struct txn *t)
{
    struct page *p = data;
    codec_map(&p->rows, TXN_HEAD_PAIRS);
    txn_write_head(&p->rows, xid, t);
    p->n++;
}

/* A page of the namespace's transactions in order of their begin.  `next` is the `after` of the following
 * page, nil on the last one; with rare filters a page may be short, even empty, and still have a next. */
int query_txn_list(struct apply *a)
{
    struct txn_filter f;
    struct txn_place next;
    struct page p = {.n = 0};
    int rv = txn_filter_parse(a, 0, &f);
    if (rv != ASSENT_OK)
        return rv;
    codec_writer_init(&p.rows);
    bool more = txn_page(a->txn, &f, page_row, &p, &next);
    codec_map(a->out, 2);
    codec_cstr(a->out, "transactions");
    codec_list(a->out, p.n);
    codec_raw(a->out, codec_written(&p.rows));
    codec_cstr(a->out, "next");
    if (more)
        txn_place_write(a->out, &next);
    else
        codec_nil(a->out);
    codec_writer_close(&p.rows);
    return ASSENT_OK;
}

/* Transactions by mode and status, those that are not there left out: of the namespace, or with `all` of
 * every one, and then also what else shows how the cluster fares. */
int query_txn_counts(struct apply *a)
{
    uint64_t counts[TXN_MODE_NR][TXN_STATUS_NR] = {{0}};
    bool all = arg_bool(a->command, QUERY_TXN_COUNTS_ALL, false);
    uint32_t n = 0;
    if (all)
        txn_counts_all(a->txn, counts);
    for (unsigned mode = 1; mode < TXN_MODE_NR; mode++)
        for (unsigned status = 1; status < TXN_STATUS_NR; status++) {
            if (!all)
                counts[mode][status] =
                    txn_count(a->txn, a->command->session.ns, (enum txn_mode)mode, (enum txn_status)status);
            n += counts[mode][status] > 0;
        }
    codec_map(a->out, all ? 5 : 1);
    if (all) {
        struct freeze_count freezes = freeze_count_load(a->txn, FREEZE_ALL);
        codec_pair_uint(a->out, "callsPending", store_count(a->txn, STORE_WORK));
        codec_pair_int(a->out, "oldestUnfinishedUs", txn_oldest_unfinished_us(a->txn));
        codec_pair_uint(a->out, "freezesHeld", freezes.rows);
        codec_pair_uint(a->out, "freezesWaiting", freezes.waits);
    }
    codec_cstr(a->out, "counts");
    codec_list(a->out, n);
    for (unsigned mode = 1; mode < TXN_MODE_NR; mode++)
        for (unsigned status = 1; status < TXN_STATUS_NR; status++) {
            if (counts[mode][status] == 0)
                continue;
            codec_map(a->out, 3);
            codec_pair_cstr(a->out, "mode", txn_mode_name((enum txn_mode)mode));
            codec_pair_cstr(a->out, "status", txn_status_name((enum txn_status)status));
            codec_pair_uint(a->out, "count", counts[mode][status]);
        }
    return ASSENT_OK;
}
