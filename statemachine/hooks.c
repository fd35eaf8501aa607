/* What a build for tests may ask of the cluster: that nothing happens by the passing of time alone, and that
 * everything about transactions is forgotten.  Only the hooks of such a build propose these commands; every
 * door refuses them, and every build applies them alike. */
#include <stdlib.h>

#include "hooks.h"
#include "txn.h"

/* META: there while polling is off. */
static const char polling_off[] = "test_polling_off";

bool hooks_polling_load(struct store_txn *store)
{
    struct assent_bytes row;
    return !store_get(store, STORE_META, bytes_of(polling_off), &row);
}

/* Off: what is planned for later than its command waits for an operator's "retry" however long that takes
 * (work.c), and no timer fires (statemachine.c).  On: all of it happens that is due by then. */
int test_polling(struct apply *a)
{
    bool on = arg_bool(a->command, TEST_POLLING_ON, false);
    if (on)
        store_del(a->txn, STORE_META, bytes_of(polling_off));
    else
        store_put(a->txn, STORE_META, bytes_of(polling_off), bytes_of("1"));
    apply_polls_set(a, on);
    codec_map(a->out, 1);
    codec_cstr(a->out, "polling");
    codec_bool(a->out, on);
    return ASSENT_OK;
}

static bool of_transactions(uint8_t kind)
{
    switch (kind) {
    case TIMER_TXN:
    case TIMER_RETENTION:
    case TIMER_ACKNOWLEDGE:
    case TIMER_FREEZE:
        return true;
    default:
        return false;
    }
}

static void timers_remove(struct store_txn *store)
{
    struct store_cursor c;
    struct assent_bytes key, value, nothing = {NULL, 0};
    store_cursor_open(&c, store, STORE_TIMERS);
    bool there = store_cursor_seek(&c, nothing, &key, &value);
    while (there) {
        struct assent_bytes rest = key;
        uint64_t due_us;
        uint8_t kind;
        bool whole = key_take_u64(&rest, &due_us) && key_take_u8(&rest, &kind);
        assert(whole);
        if (of_transactions(kind)) {
            struct store_key gone;
            key_init(&gone);
            key_tail(&gone, key);
            store_del(store, STORE_TIMERS, key_bytes(&gone));
        }
        there = store_cursor_next(&c, &key, &value);
    }
    store_cursor_close(&c);
}

static void table_empty(struct store_txn *store, enum store_table table)
{
    struct assent_bytes key, value;
    while (store_first(store, table, &key, &value)) {
        struct store_key gone;
        key_init(&gone);
        key_tail(&gone, key);
        store_del(store, table, key_bytes(&gone));
    }
}

/* All at once, for half a transaction is none: meant for what a run of tests leaves behind.  A call under way
 * is reported to a transaction that is not there, which is refused.  Freezes belong to transactions and go
 * too; fencing tokens stay above those that were given. */
int test_wipe(struct apply *a)
{
    static const enum store_table tables[] = {STORE_TXNS,    STORE_BRANCHES, STORE_TXN_INDEX, STORE_WORK,
                                              STORE_FREEZES, STORE_TOPICS,   STORE_STATISTICS};
    uint64_t transactions = store_count(a->txn, STORE_TXNS);
    timers_remove(a->txn);
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        table_empty(a->txn, tables[i]);
    codec_map(a->out, 1);
    codec_pair_uint(a->out, "transactions", transactions);
    return ASSENT_OK;
}
