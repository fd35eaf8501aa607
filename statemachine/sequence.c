/* Dense sequences: consecutive numbers under a name, none left out, none given twice.
 *
 * Unlike a timestamp oracle the last number is in the log with every call, so a failover leaves no gap; and
 * with a session or an Idempotency-Key a retry gets the numbers it got before. */
#include "apply.h"
#include "row.h"

static uint64_t load(struct store_txn *txn, struct assent_bytes name)
{
    struct assent_bytes row;
    return store_get(txn, STORE_SEQUENCES, name, &row) ? row_take_u64(&row) : 0;
}

int sequence_next(struct apply *a)
{
    struct assent_bytes name = arg_bytes(a->command, SEQUENCE_NEXT_NAME);
    uint64_t count = arg_uint(a->command, SEQUENCE_NEXT_COUNT, 1);
    if (count == 0)
        return refuse(a, ASSENT_INVALID, "count must be at least 1");
    uint64_t last = load(a->txn, name);
    if (count > INT64_MAX - last)
        return ASSENT_OVERFLOW;
    uint8_t room[8];
    struct row_writer w = {room, 0, sizeof room};
    row_put_u64(&w, last + count);
    store_put(a->txn, STORE_SEQUENCES, name, row_written(&w));
    codec_map(a->out, 3);
    codec_pair_text(a->out, "name", name);
    codec_pair_uint(a->out, "first", last + 1);
    codec_pair_uint(a->out, "last", last + count);
    return ASSENT_OK;
}

/* A sequence nobody has used stands at 0. */
int query_sequence(struct apply *a)
{
    struct assent_bytes name = arg_bytes(a->command, QUERY_SEQUENCE_NAME);
    codec_map(a->out, 2);
    codec_pair_text(a->out, "name", name);
    codec_pair_uint(a->out, "last", load(a->txn, name));
    return ASSENT_OK;
}
