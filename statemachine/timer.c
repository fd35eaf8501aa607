/* Timers: an index of (due time, kind, id) in the store, fired by the state machine before the first command
 * whose time has passed them. */
#include "apply.h"

#include <assert.h>

static struct store_key timer_key(int64_t due_us, enum timer_kind kind, struct assent_bytes id)
{
    struct store_key k;
    assert(due_us >= 0 && kind > 0 && kind < TIMER_KIND_NR);
    key_init(&k);
    key_u64(&k, (uint64_t)due_us);
    key_u8(&k, (uint8_t)kind);
    key_tail(&k, id);
    return k;
}

void timer_set(struct store_txn *txn, int64_t due_us, enum timer_kind kind, struct assent_bytes id)
{
    struct store_key k = timer_key(due_us, kind, id);
    store_put(txn, STORE_TIMERS, key_bytes(&k), (struct assent_bytes){NULL, 0});
}

void timer_clear(struct store_txn *txn, int64_t due_us, enum timer_kind kind, struct assent_bytes id)
{
    struct store_key k = timer_key(due_us, kind, id);
    store_del(txn, STORE_TIMERS, key_bytes(&k));
}
