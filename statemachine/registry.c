/* Nodes of the application: who is registered, and who still beats.
 *
 *   ACTIVE --(inactiveMs without a beat)--> INACTIVE --(failedMs without a beat)--> FAILED
 *     ^______________________________________/______________________________________/  a beat
 *
 * A beat writes one small row.  The timer is not moved by it: when it fires it looks at the last beat and is
 * set anew, so a node that beats ten times a second costs one timer per `inactiveMs`.
 *
 *   NODES  (0, name)  what was registered
 *          (1, name)  last beat, status, when its timer is due (0: none) */
#include "apply.h"
#include "row.h"

#define INACTIVE_MS 10000
#define FAILED_MS   30000
/* Registered nodes: one page of a listing, so that QUERY_NODES answers whole. */
#define REGISTERED_MAX ASSENT_PAGE_ROWS_MAX
#define ROW_FORMAT     1

enum { ENTRY = 0, PULSE = 1 };
enum status { ACTIVE = 1, INACTIVE = 2, FAILED = 3 };

static const char *const status_names[] = {[ACTIVE] = "ACTIVE", [INACTIVE] = "INACTIVE", [FAILED] = "FAILED"};

struct entry {
    int64_t registered_us, inactive_us, failed_us;
    struct assent_bytes address, metadata; /* borrowed from the row or the command */
};

struct pulse {
    int64_t beat_us, timer_us;
    enum status status;
};

static struct store_key node_key(uint8_t kind, struct assent_bytes name)
{
    struct store_key k;
    key_init(&k);
    key_u8(&k, kind);
    key_tail(&k, name);
    return k;
}

static void entry_decode(struct entry *e, struct assent_bytes row)
{
    uint64_t format = row_take_u8(&row);
    assert(format == ROW_FORMAT);
    e->registered_us = (int64_t)row_take_u64(&row);
    e->inactive_us = (int64_t)row_take_u64(&row);
    e->failed_us = (int64_t)row_take_u64(&row);
    e->address = row_take_bytes(&row);
    e->metadata = row_take_bytes(&row);
}

static bool entry_load(struct store_txn *txn, struct assent_bytes name, struct entry *e)
{
    struct store_key k = node_key(ENTRY, name);
    struct assent_bytes row;
    if (!store_get(txn, STORE_NODES, key_bytes(&k), &row))
        return false;
    entry_decode(e, row);
    return true;
}

static void entry_save(struct store_txn *txn, struct assent_bytes name, const struct entry *e)
{
    uint8_t room[1 + 3 * 8 + 4 + NODE_ADDRESS_BYTES_MAX + 4 + NODE_METADATA_BYTES_MAX];
    struct row_writer w = {room, 0, sizeof room};
    row_put_u8(&w, ROW_FORMAT);
    row_put_u64(&w, (uint64_t)e->registered_us);
    row_put_u64(&w, (uint64_t)e->inactive_us);
    row_put_u64(&w, (uint64_t)e->failed_us);
    row_put_bytes(&w, e->address);
    row_put_bytes(&w, e->metadata);
    struct store_key k = node_key(ENTRY, name);
    store_put(txn, STORE_NODES, key_bytes(&k), row_written(&w));
}

static struct pulse pulse_load(struct store_txn *txn, struct assent_bytes name)
{
    struct store_key k = node_key(PULSE, name);
    struct assent_bytes row;
    bool there = store_get(txn, STORE_NODES, key_bytes(&k), &row);
    assert(there);
    struct pulse p = {.beat_us = (int64_t)row_take_u64(&row)};
    p.timer_us = (int64_t)row_take_u64(&row);
    p.status = (enum status)row_take_u8(&row);
    return p;
}

static void pulse_save(struct store_txn *txn, struct assent_bytes name, const struct pulse *p)
{
    uint8_t room[8 + 8 + 1];
    struct row_writer w = {room, 0, sizeof room};
    row_put_u64(&w, (uint64_t)p->beat_us);
    row_put_u64(&w, (uint64_t)p->timer_us);
    row_put_u8(&w, (uint8_t)p->status);
    struct store_key k = node_key(PULSE, name);
    store_put(txn, STORE_NODES, key_bytes(&k), row_written(&w));
}

static void timer_move(struct store_txn *txn, struct assent_bytes name, struct pulse *p, int64_t due_us)
{
    if (p->timer_us != 0)
        timer_clear(txn, p->timer_us, TIMER_NODE, name);
    if (due_us != 0)
        timer_set(txn, due_us, TIMER_NODE, name);
    p->timer_us = due_us;
}

static void beat(struct apply *a, struct assent_bytes name, const struct entry *e, struct pulse *p)
{
    p->beat_us = a->now_us;
    /* A timer that fires before the node can be inactive may stay; one that would come too late is moved. */
    if (p->timer_us == 0 || p->status != ACTIVE || p->timer_us > a->now_us + e->inactive_us)
        timer_move(a->txn, name, p, a->now_us + e->inactive_us);
    p->status = ACTIVE;
    pulse_save(a->txn, name, p);
}

static void write_node(struct apply *a, struct assent_bytes name, const struct entry *e,
                       const struct pulse *p)
{
    codec_map(a->out, 9);
    codec_pair_text(a->out, "node", name);
    codec_pair_text(a->out, "address", e->address);
    codec_pair_json(a->out, "metadata", e->metadata);
    codec_pair_cstr(a->out, "status", status_names[p->status]);
    codec_pair_int(a->out, "registeredUs", e->registered_us);
    codec_pair_int(a->out, "heartbeatUs", p->beat_us);
    codec_pair_int(a->out, "ageMs", (a->now_us - p->beat_us) / 1000);
    codec_pair_int(a->out, "inactiveMs", e->inactive_us / 1000);
    codec_pair_int(a->out, "failedMs", e->failed_us / 1000);
}

/* Registering again renews what was said and counts as a beat. */
int node_register(struct apply *a)
{
    struct assent_bytes name = arg_bytes(a->command, NODE_REGISTER_NODE);
    uint64_t inactive_ms = arg_uint(a->command, NODE_REGISTER_INACTIVE_MS, INACTIVE_MS);
    uint64_t failed_ms =
        arg_uint(a->command, NODE_REGISTER_FAILED_MS, inactive_ms < FAILED_MS ? FAILED_MS : 3 * inactive_ms);
    if (inactive_ms == 0 || failed_ms <= inactive_ms)
        return refuse(a, ASSENT_INVALID, "inactiveMs must be at least 1 and failedMs larger");
    struct entry old, e = {.registered_us = a->now_us};
    bool known = entry_load(a->txn, name, &old);
    if (!known && store_count(a->txn, STORE_NODES) >= 2 * (uint64_t)REGISTERED_MAX)
        return refuse(a, ASSENT_LIMIT, "%d nodes are registered", REGISTERED_MAX);
    if (known)
        e.registered_us = old.registered_us;
    e.inactive_us = (int64_t)inactive_ms * 1000;
    e.failed_us = (int64_t)failed_ms * 1000;
    e.address = arg_bytes(a->command, NODE_REGISTER_ADDRESS);
    e.metadata = arg_bytes(a->command, NODE_REGISTER_METADATA);
    struct pulse p = {.status = ACTIVE};
    if (known)
        p = pulse_load(a->txn, name);
    entry_save(a->txn, name, &e);
    beat(a, name, &e, &p);
    write_node(a, name, &e, &p);
    return ASSENT_OK;
}

int node_heartbeat(struct apply *a)
{
    struct assent_bytes name = arg_bytes(a->command, NODE_HEARTBEAT_NODE);
    struct entry e;
    if (!entry_load(a->txn, name, &e))
        return ASSENT_NODE_UNKNOWN;
    int64_t inactive_us = e.inactive_us;
    struct pulse p = pulse_load(a->txn, name);
    beat(a, name, &(struct entry){.inactive_us = inactive_us}, &p);
    codec_map(a->out, 3);
    codec_pair_text(a->out, "node", name);
    codec_pair_cstr(a->out, "status", status_names[p.status]);
    codec_pair_int(a->out, "heartbeatUs", p.beat_us);
    return ASSENT_OK;
}

int node_remove(struct apply *a)
{
    struct assent_bytes name = arg_bytes(a->command, NODE_REMOVE_NODE);
    struct entry e;
    if (!entry_load(a->txn, name, &e))
        return ASSENT_NODE_UNKNOWN;
    struct pulse p = pulse_load(a->txn, name);
    timer_move(a->txn, name, &p, 0);
    struct store_key entry = node_key(ENTRY, name), pulse = node_key(PULSE, name);
    store_del(a->txn, STORE_NODES, key_bytes(&entry));
    store_del(a->txn, STORE_NODES, key_bytes(&pulse));
    codec_map(a->out, 1);
    codec_pair_text(a->out, "node", name);
    return ASSENT_OK;
}

void node_timer(struct apply *a, struct assent_bytes name)
{
    struct entry e;
    bool known = entry_load(a->txn, name, &e);
    assert(known);
    int64_t inactive_us = e.inactive_us, failed_us = e.failed_us;
    struct pulse p = pulse_load(a->txn, name);
    p.timer_us = 0; /* it has fired */
    int64_t silent_us = a->now_us - p.beat_us;
    if (silent_us >= failed_us) {
        p.status = FAILED;
    } else if (silent_us >= inactive_us) {
        p.status = INACTIVE;
        timer_move(a->txn, name, &p, p.beat_us + failed_us);
    } else {
        timer_move(a->txn, name, &p, p.beat_us + inactive_us);
    }
    pulse_save(a->txn, name, &p);
}

int query_nodes(struct apply *a)
{
    struct store_cursor c;
    struct assent_bytes key, row;
    uint64_t n = store_count(a->txn, STORE_NODES) / 2;
    codec_map(a->out, 1);
    codec_cstr(a->out, "nodes");
    codec_list(a->out, (uint32_t)n);
    store_cursor_open(&c, a->txn, STORE_NODES);
    bool more = store_cursor_seek(&c, (struct assent_bytes){NULL, 0}, &key, &row);
    for (uint8_t kind; more && key_take_u8(&key, &kind) && kind == ENTRY;
         more = store_cursor_next(&c, &key, &row)) {
        struct entry e;
        entry_decode(&e, row);
        struct pulse p = pulse_load(a->txn, key);
        write_node(a, key, &e, &p);
        n--;
    }
    store_cursor_close(&c);
    assert(n == 0);
    return ASSENT_OK;
}
