/* Named Lamport clocks (Lamport 1978): one counter each, moved by ticks and by received stamps. */
#include "apply.h"
#include "planted.h"
#include "row.h"

/* The clock a call without a name means; timestamp events are stamped by it too. */
static const char default_name[] = "default";

static struct assent_bytes clock_name(struct apply *a, uint32_t field)
{
    struct assent_bytes name = arg_bytes(a->command, field);
    return name.size > 0 ? name
                         : (struct assent_bytes){(const uint8_t *)default_name, sizeof default_name - 1};
}

static uint64_t load(struct store_txn *txn, struct assent_bytes clock)
{
    struct assent_bytes value;
    return store_get(txn, STORE_LAMPORT, clock, &value) ? row_take_u64(&value) : 0;
}

static void save(struct store_txn *txn, struct assent_bytes clock, uint64_t value)
{
    uint8_t bytes[8];
    struct row_writer row = {bytes, 0, sizeof bytes};
    row_put_u64(&row, value);
    store_put(txn, STORE_LAMPORT, clock, row_written(&row));
}

/* `first`..`value` is what the call owns; a read owns nothing and has no `first`. */
static int reply(struct apply *a, struct assent_bytes clock, uint64_t value, const uint64_t *first)
{
    codec_map(a->out, first != NULL ? 3 : 2);
    codec_pair_text(a->out, "clock", clock);
    codec_pair_uint(a->out, "value", value);
    if (first != NULL) {
        codec_pair_uint(a->out, "first", *first);
    }
    return ASSENT_OK;
}

/* ---- for timestamp.c ---- */

uint64_t lamport_default(struct store_txn *txn)
{
    return load(txn, (struct assent_bytes){(const uint8_t *)default_name, sizeof default_name - 1});
}

void lamport_default_set(struct store_txn *txn, uint64_t value)
{
    save(txn, (struct assent_bytes){(const uint8_t *)default_name, sizeof default_name - 1}, value);
}

/* ---- commands and queries ---- */

int lamport_tick(struct apply *a)
{
    struct assent_bytes clock = clock_name(a, LAMPORT_TICK_CLOCK);
    uint64_t count = arg_uint(a->command, LAMPORT_TICK_COUNT, 1);
    if (count == 0) {
        return refuse(a, ASSENT_INVALID, "count must be at least 1");
    }
    uint64_t value = load(a->txn, clock);
    if (count > COUNTER_MAX - value) {
        return ASSENT_OVERFLOW;
    }
    uint64_t first = value + 1;
    value += count;
    save(a->txn, clock, value);
    return reply(a, clock, value, &first);
}

int lamport_sync(struct apply *a)
{
    struct assent_bytes clock = clock_name(a, LAMPORT_SYNC_CLOCK);
    uint64_t value = load(a->txn, clock);
    uint64_t received = PLANTED(LAMPORT_DEAF) ? 0 : arg_uint(a->command, LAMPORT_SYNC_RECEIVED, 0);
    if (!assent_lamport_sync(&value, received) || value > COUNTER_MAX) {
        return ASSENT_OVERFLOW;
    }
    save(a->txn, clock, value);
    return reply(a, clock, value, &value);
}

/* A clock nobody ticked stands at 0. */
int query_lamport(struct apply *a)
{
    struct assent_bytes clock = clock_name(a, QUERY_LAMPORT_CLOCK);
    return reply(a, clock, load(a->txn, clock), NULL);
}
