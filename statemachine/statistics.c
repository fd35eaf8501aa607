/* What became of transactions, by namespace, mode and business type: one row each, written when one ends.
 *
 * Rows outlive the transactions they count.  Business types are the applications' words, so their number is
 * bounded: beyond it, what has no row of its own is counted under "*". */
#include "txn.h"

#define ROWS_MAX  4096
#define OTHERS    "*"
#define ROW_BYTES (6 * 8)

struct row {
    uint64_t committed, rolled_back, stopped;
    uint64_t timed;              /* ends whose time is in the sum */
    uint64_t sum_us, longest_us; /* from begin to end */
};

static struct store_key row_key(struct assent_bytes ns, enum txn_mode mode, struct assent_bytes type)
{
    struct store_key k;
    key_init(&k);
    key_text(&k, ns);
    key_u8(&k, (uint8_t)mode);
    key_tail(&k, type);
    return k;
}

static struct row row_decode(struct assent_bytes value)
{
    struct row r;
    r.committed = row_take_u64(&value);
    r.rolled_back = row_take_u64(&value);
    r.stopped = row_take_u64(&value);
    r.timed = row_take_u64(&value);
    r.sum_us = row_take_u64(&value);
    r.longest_us = row_take_u64(&value);
    return r;
}

static void row_save(struct store_txn *store, const struct store_key *key, const struct row *r)
{
    uint8_t room[ROW_BYTES];
    struct row_writer w = {room, 0, sizeof(room)};
    row_put_u64(&w, r->committed);
    row_put_u64(&w, r->rolled_back);
    row_put_u64(&w, r->stopped);
    row_put_u64(&w, r->timed);
    row_put_u64(&w, r->sum_us);
    row_put_u64(&w, r->longest_us);
    store_put(store, STORE_STATISTICS, key_bytes(key), row_written(&w));
}

static uint64_t *count_of(struct row *r, enum txn_status status)
{
    return status == TXN_COMMITTED     ? &r->committed
           : status == TXN_ROLLED_BACK ? &r->rolled_back
                                       : &r->stopped;
}

void statistics_move(struct apply *a, struct assent_bytes xid, const struct txn *t, enum txn_status from)
{
    bool left = from != 0 && txn_ended(from), ended = txn_ended(t->status);
    if (!left && !ended)
        return;
    struct assent_bytes ns, value;
    scoped_name(xid, &ns);
    struct store_key key = row_key(ns, t->mode, t->business_type);
    struct row r = {0};
    if (!store_get(a->txn, STORE_STATISTICS, key_bytes(&key), &value) &&
        store_count(a->txn, STORE_STATISTICS) >= ROWS_MAX)
        key = row_key(ns, t->mode, bytes_of(OTHERS));
    if (store_get(a->txn, STORE_STATISTICS, key_bytes(&key), &value))
        r = row_decode(value);
    /* a type that had no row when it ended may have one now: then there is nothing to take back */
    if (left && *count_of(&r, from) > 0)
        (*count_of(&r, from))--;
    if (ended) {
        uint64_t took_us = a->now_us > t->created_us ? (uint64_t)(a->now_us - t->created_us) : 0;
        (*count_of(&r, t->status))++;
        r.timed++;
        r.sum_us += took_us;
        r.longest_us = took_us > r.longest_us ? took_us : r.longest_us;
    }
    row_save(a->txn, &key, &r);
}

/* ---- the answer ---- */

static void add(struct row *sum, const struct row *r)
{
    sum->committed += r->committed;
    sum->rolled_back += r->rolled_back;
    sum->stopped += r->stopped;
    sum->timed += r->timed;
    sum->sum_us += r->sum_us;
    sum->longest_us = r->longest_us > sum->longest_us ? r->longest_us : sum->longest_us;
}

enum { COUNT_PAIRS = 8 };

/* The rate is of what has ended; whole numbers are the same everywhere. */
static void put_counts(struct codec_writer *out, const struct row *r, uint64_t unfinished)
{
    uint64_t ended = r->committed + r->rolled_back + r->stopped;
    codec_pair_uint(out, "total", ended + unfinished);
    codec_pair_uint(out, "unfinished", unfinished);
    codec_pair_uint(out, "committed", r->committed);
    codec_pair_uint(out, "rolledBack", r->rolled_back);
    codec_pair_uint(out, "stopped", r->stopped);
    codec_pair_uint(out, "committedPerMille", ended > 0 ? r->committed * 1000 / ended : 0);
    codec_pair_uint(out, "averageMs", r->timed > 0 ? r->sum_us / r->timed / 1000 : 0);
    codec_pair_uint(out, "longestMs", r->longest_us / 1000);
}

static uint64_t unfinished(struct apply *a, enum txn_mode mode)
{
    struct assent_bytes word = arg_bytes(a->command, QUERY_STATISTICS_MODE);
    uint64_t n = 0;
    if (arg_present(a->command, QUERY_STATISTICS_TYPE) || (word.size > 0 && txn_mode_by_name(word) != mode))
        return 0;
    for (unsigned status = 1; status < TXN_STATUS_NR; status++)
        if (!txn_ended((enum txn_status)status))
            n += txn_count(a->txn, a->command->session.ns, mode, (enum txn_status)status);
    return n;
}

/* A row's key taken apart; false: of another namespace. */
static bool mine(struct assent_bytes ns, struct assent_bytes key, enum txn_mode *mode,
                 struct assent_bytes *type)
{
    struct assent_bytes its;
    uint8_t m;
    bool whole = key_take_text(&key, &its) && key_take_u8(&key, &m);
    assert(whole && m < TXN_MODE_NR);
    *mode = (enum txn_mode)m;
    *type = key;
    return bytes_equal(its, ns);
}

static void put_rows(struct apply *a, const struct row *sums, const struct codec_writer *rows, uint32_t n)
{
    struct row all = {0};
    uint64_t open = 0;
    uint32_t modes = 0;
    for (unsigned mode = 1; mode < TXN_MODE_NR; mode++) {
        uint64_t more = unfinished(a, (enum txn_mode)mode);
        add(&all, &sums[mode]);
        open += more;
        modes += more > 0 || sums[mode].timed > 0;
    }
    codec_map(a->out, COUNT_PAIRS + 2);
    put_counts(a->out, &all, open);
    codec_cstr(a->out, "modes");
    codec_list(a->out, modes);
    for (unsigned mode = 1; mode < TXN_MODE_NR; mode++) {
        uint64_t more = unfinished(a, (enum txn_mode)mode);
        if (more == 0 && sums[mode].timed == 0)
            continue;
        codec_map(a->out, 1 + COUNT_PAIRS);
        codec_pair_cstr(a->out, "mode", txn_mode_name((enum txn_mode)mode));
        put_counts(a->out, &sums[mode], more);
    }
    codec_cstr(a->out, "types");
    codec_list(a->out, n);
    codec_raw(a->out, codec_written(rows));
}

/* Totals, by mode, and by mode and business type; the rows are few enough for one answer.  Of one business
 * type the unfinished ones are not known: they count for the mode as a whole. */
int query_statistics(struct apply *a)
{
    struct assent_bytes ns = a->command->session.ns, key, value, type;
    struct assent_bytes want_type = arg_bytes(a->command, QUERY_STATISTICS_TYPE);
    struct assent_bytes word = arg_bytes(a->command, QUERY_STATISTICS_MODE);
    enum txn_mode mode, want_mode = txn_mode_by_name(word);
    struct row sums[TXN_MODE_NR] = {{0}};
    struct codec_writer rows;
    struct store_cursor cursor;
    struct store_key from;
    uint32_t n = 0;
    if (word.size > 0 && want_mode == 0)
        return refuse(a, ASSENT_INVALID, "mode: no such mode");
    key_init(&from);
    key_text(&from, ns);
    codec_writer_init(&rows);
    store_cursor_open(&cursor, a->txn, STORE_STATISTICS);
    for (bool there = store_cursor_seek(&cursor, key_bytes(&from), &key, &value);
         there && mine(ns, key, &mode, &type); there = store_cursor_next(&cursor, &key, &value)) {
        if ((want_mode != 0 && mode != want_mode) || (want_type.size > 0 && !bytes_equal(type, want_type)))
            continue;
        struct row r = row_decode(value);
        add(&sums[mode], &r);
        codec_map(&rows, 2 + COUNT_PAIRS);
        codec_pair_cstr(&rows, "mode", txn_mode_name(mode));
        codec_pair_text(&rows, "businessType", type);
        put_counts(&rows, &r, 0);
        n++;
    }
    store_cursor_close(&cursor);
    put_rows(a, sums, &rows, n);
    codec_writer_close(&rows);
    return ASSENT_OK;
}
