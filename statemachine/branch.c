/* Branches: registration, what to call, and what the calls' reports change.  Keys and drawing are in txn.h.
 *
 * A report names the attempt it is about.  Only the report of the attempt that is due counts; every other one
 * is past (the call was made twice, or by a deposed leader) and is refused without effect. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "txn.h"
#include "planted.h"

#define BIT(n) (1u << (n))

static const uint16_t branch_next[BRANCH_STATUS_NR] = {
    [BRANCH_REGISTERED] =
        BIT(BRANCH_CONFIRMING) | BIT(BRANCH_CANCELLING) | BIT(BRANCH_EXECUTING) | BIT(BRANCH_TRYING),
    [BRANCH_CONFIRMING] = BIT(BRANCH_CONFIRMING) | BIT(BRANCH_CONFIRMED),
    [BRANCH_CANCELLING] = BIT(BRANCH_CANCELLING) | BIT(BRANCH_CANCELLED),
    [BRANCH_EXECUTING] = BIT(BRANCH_EXECUTING) | BIT(BRANCH_EXECUTED) | BIT(BRANCH_FAILED) |
                         BIT(BRANCH_ACCEPTED) |
                         BIT(BRANCH_COMPENSATING), /* nobody knows whether it happened */
    [BRANCH_ACCEPTED] =
        BIT(BRANCH_EXECUTED) | BIT(BRANCH_FAILED) | BIT(BRANCH_EXECUTING) | BIT(BRANCH_COMPENSATING),
    [BRANCH_TRYING] = BIT(BRANCH_TRYING) | BIT(BRANCH_TRIED) | BIT(BRANCH_FAILED) | BIT(BRANCH_CANCELLING),
    [BRANCH_TRIED] = BIT(BRANCH_CONFIRMING) | BIT(BRANCH_CANCELLING),
    [BRANCH_EXECUTED] = BIT(BRANCH_COMPENSATING),
    [BRANCH_FAILED] = BIT(BRANCH_EXECUTING) | BIT(BRANCH_TRYING) |       /* by an operator */
                      BIT(BRANCH_COMPENSATING) | BIT(BRANCH_CANCELLING), /* it may have done a part */
    [BRANCH_COMPENSATING] = BIT(BRANCH_COMPENSATING) | BIT(BRANCH_COMPENSATED),
};
static_assert(BRANCH_STATUS_NR <= 16, "branch_next holds one bit per status");

/* What an operation makes of a branch. */
static const struct {
    const char *name;
    enum txn_status during;
    enum branch_status doing, done;
} ops[] = {
    [SM_OP_CONFIRM] = {"confirm", TXN_COMMITTING, BRANCH_CONFIRMING, BRANCH_CONFIRMED},
    [SM_OP_CANCEL] = {"cancel", TXN_ROLLING_BACK, BRANCH_CANCELLING, BRANCH_CANCELLED},
    [SM_OP_ACTION] = {"action", TXN_RUNNING, BRANCH_EXECUTING, BRANCH_EXECUTED},
    [SM_OP_COMPENSATE] = {"compensate", TXN_ROLLING_BACK, BRANCH_COMPENSATING, BRANCH_COMPENSATED},
    [SM_OP_TRY] = {"try", TXN_RUNNING, BRANCH_TRYING, BRANCH_TRIED},
    [SM_OP_QUERY] = {"query", TXN_ACTIVE, (enum branch_status)0, (enum branch_status)0},
    [SM_OP_CALLBACK] = {"callback", TXN_ACTIVE, (enum branch_status)0, (enum branch_status)0},
};
static const char *const status_names[BRANCH_STATUS_NR] = {
    [BRANCH_REGISTERED] = "REGISTERED",
    [BRANCH_CONFIRMING] = "CONFIRMING",
    [BRANCH_CONFIRMED] = "CONFIRMED",
    [BRANCH_CANCELLING] = "CANCELLING",
    [BRANCH_CANCELLED] = "CANCELLED",
    [BRANCH_EXECUTING] = "EXECUTING",
    [BRANCH_EXECUTED] = "EXECUTED",
    [BRANCH_FAILED] = "FAILED",
    [BRANCH_COMPENSATING] = "COMPENSATING",
    [BRANCH_COMPENSATED] = "COMPENSATED",
    [BRANCH_ACCEPTED] = "ACCEPTED",
    [BRANCH_TRYING] = "TRYING",
    [BRANCH_TRIED] = "TRIED",
    [BRANCH_RECORDED] = "RECORDED",
};

const char *sm_op_name(enum sm_op op)
{
    assert(op >= SM_OP_CONFIRM && op < SM_OP_NR);
    return ops[op].name;
}

const char *branch_status_name(enum branch_status status)
{
    assert(status > 0 && status < BRANCH_STATUS_NR);
    return status_names[status];
}

enum branch_status branch_doing(enum sm_op op)
{
    return ops[op].doing;
}

enum branch_status branch_done(enum sm_op op)
{
    return ops[op].done;
}

enum sm_op branch_under_way(enum branch_status status)
{
    for (enum sm_op op = SM_OP_CONFIRM; op < SM_OP_NR; op++)
        if (ops[op].doing != 0 && ops[op].doing == status)
            return op;
    return (enum sm_op)0;
}

void branch_move(struct branch_progress *p, enum branch_status to)
{
    assert(p->status > 0 && p->status < BRANCH_STATUS_NR);
    assert(branch_next[p->status] & BIT(to));
    p->status = to;
}

/* ---- checking a branch of a command ---- */

bool branch_url_ok(struct assent_bytes url)
{
    static const char *const schemes[] = {"http://", "https://"};
    bool known = false;
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        size_t n = strlen(schemes[i]);
        known = known || (url.size > n && strncasecmp((const char *)url.base, schemes[i], n) == 0);
    }
    for (size_t i = 0; i < url.size; i++)
        if (url.base[i] <= ' ' || url.base[i] == 0x7f)
            return false;
    return known && url.size <= ASSENT_URL_BYTES_MAX;
}

static bool has_prefix(struct assent_bytes text, const char *prefix)
{
    size_t n = strlen(prefix);
    return text.size >= n && strncasecmp((const char *)text.base, prefix, n) == 0;
}

/* Headers the executor or the protocol sets itself. */
static bool header_reserved(struct assent_bytes name)
{
    static const char *const names[] = {"host",   "content-length", "transfer-encoding", "connection",
                                        "expect", "traceparent",    "upgrade",           "te"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (name.size == strlen(names[i]) && has_prefix(name, names[i]))
            return true;
    return has_prefix(name, "assent-");
}

/* A token of RFC 9110 5.6.2. */
static bool header_name_ok(struct assent_bytes name)
{
    static const char marks[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < name.size; i++) {
        uint8_t b = name.base[i];
        bool letter = (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z') || (b >= '0' && b <= '9');
        if (!letter && (b == 0 || strchr(marks, b) == NULL))
            return false;
    }
    return name.size > 0 && name.size <= ASSENT_NAME_BYTES_MAX && !header_reserved(name);
}

/* No CR, LF or other control character, so a value cannot become a header of its own. */
static bool header_value_ok(struct assent_bytes value)
{
    for (size_t i = 0; i < value.size; i++)
        if ((value.base[i] < ' ' && value.base[i] != '\t') || value.base[i] == 0x7f)
            return false;
    return value.size <= ASSENT_URL_BYTES_MAX;
}

int branch_headers_check(struct apply *a, const struct codec_node *map)
{
    for (uint32_t i = 0; i < codec_size(map); i++) {
        struct assent_bytes name = codec_as_bytes(codec_key_at(map, i));
        if (!header_name_ok(name))
            return refuse(a, ASSENT_INVALID, "headers: %.60s is not a header a branch may set",
                          name.size < 60 ? "a name" : "a long name");
        if (!header_value_ok(codec_as_bytes(codec_value_at(map, i))))
            return refuse(a, ASSENT_INVALID, "headers: a value is too long or has control characters");
    }
    return ASSENT_OK;
}

int branch_parse(struct apply *a, const struct codec_node *args, uint32_t skip, struct branch_plan *p)
{
    *p = (struct branch_plan){
        .registered_us = a->now_us,
        .forward = SM_OP_CONFIRM,
        .name = codec_as_bytes(codec_at(args, TXN_BRANCH_BRANCH - skip)),
        .payload = codec_as_bytes(codec_at(args, TXN_BRANCH_PAYLOAD - skip)),
        .header_map = codec_at(args, TXN_BRANCH_HEADERS - skip),
        .timeout_ms = (uint32_t)codec_as_uint(codec_at(args, TXN_BRANCH_TIMEOUT_MS - skip)),
    };
    p->url[SM_OP_CONFIRM] = codec_as_bytes(codec_at(args, TXN_BRANCH_CONFIRM_URL - skip));
    p->url[SM_OP_CANCEL] = codec_as_bytes(codec_at(args, TXN_BRANCH_CANCEL_URL - skip));
    p->url[SM_OP_TRY] = codec_as_bytes(codec_at(args, TXN_BRANCH_TRY_URL - skip));
    assert(p->name.size > 0 && p->name.size <= ASSENT_NAME_BYTES_MAX); /* by schema */
    return branch_plan_check(a, args, TXN_BRANCH_OPTIONS - skip, p);
}

int branch_plan_check(struct apply *a, const struct codec_node *args, uint32_t options, struct branch_plan *p)
{
    for (int op = SM_OP_CONFIRM; op < SM_OP_NR; op++)
        if (p->url[op].size > 0 && !branch_url_ok(p->url[op]))
            return refuse(a, ASSENT_INVALID, "%sUrl: http:// or https://, at most %d bytes, no spaces",
                          ops[op].name, ASSENT_URL_BYTES_MAX);
    int rv = branch_options_parse(a, args, options, p);
    return rv == ASSENT_OK ? branch_headers_check(a, p->header_map) : rv;
}

/* ---- the plan in the store ---- */

enum { PLAN_FORMAT_OLD = 1, PLAN_FORMAT = 2, PROGRESS_FORMAT_OLD = 1, PROGRESS_FORMAT = 2 };
/* Bytes of the options behind the payload. */
#define PLAN_OPTIONS (1 + 8 + 8 + 4 + 4 + 4 + 4)
enum { BRANCH_KEY_PLAN = 1, BRANCH_KEY_PROGRESS = 2, BRANCH_KEY_NAME = 3, BRANCH_KEY_EDGES = 4 };

static struct store_key branch_key(struct assent_bytes xid, uint8_t kind, uint32_t ordinal)
{
    struct store_key k;
    key_init(&k);
    key_text(&k, xid);
    key_u8(&k, kind);
    key_u64(&k, ordinal);
    return k;
}

struct store_key branch_edges_key(struct assent_bytes xid, uint32_t ordinal)
{
    return branch_key(xid, BRANCH_KEY_EDGES, ordinal);
}

static struct store_key name_key(struct assent_bytes xid, struct assent_bytes name)
{
    struct store_key k;
    key_init(&k);
    key_text(&k, xid);
    key_u8(&k, BRANCH_KEY_NAME);
    key_tail(&k, name);
    return k;
}

static size_t headers_size(const struct codec_node *map)
{
    size_t size = 0;
    for (uint32_t i = 0; i < codec_size(map); i++)
        size += row_bytes_size(codec_as_bytes(codec_key_at(map, i))) +
                row_bytes_size(codec_as_bytes(codec_value_at(map, i)));
    return size;
}

static void headers_put(struct row_writer *w, const struct codec_node *map)
{
    for (uint32_t i = 0; i < codec_size(map); i++) {
        row_put_bytes(w, codec_as_bytes(codec_key_at(map, i)));
        row_put_bytes(w, codec_as_bytes(codec_value_at(map, i)));
    }
}

void branch_headers_put(struct store_txn *store, struct assent_bytes xid, const struct codec_node *map)
{
    size_t room = headers_size(map);
    struct row_writer w = {malloc(room + 1), 0, room};
    assert(w.base != NULL);
    headers_put(&w, map);
    txn_row_put(store, xid, TXN_ROW_HEADERS, row_written(&w));
    free(w.base);
}

/* Operations of a plan: its two, and the try when there is one. */
static bool plan_has(const struct branch_plan *p, int op)
{
    return op == (int)p->forward || op == (int)p->forward + 1 || (op == SM_OP_TRY && p->url[op].size > 0);
}

static void plan_put(struct store_txn *store, struct assent_bytes xid, uint32_t ordinal,
                     const struct branch_plan *p)
{
    size_t headers = headers_size(p->header_map), n_ops = 0;
    size_t room =
        1 + 8 + 4 + row_bytes_size(p->name) + 1 + 4 + headers + row_bytes_size(p->payload) + PLAN_OPTIONS;
    for (int op = SM_OP_CONFIRM; op < SM_OP_NR; op++) {
        room += plan_has(p, op) ? 1 + row_bytes_size(p->url[op]) : 0;
        n_ops += plan_has(p, op);
    }
    uint8_t small[1024];
    struct row_writer w = {room <= sizeof(small) ? small : malloc(room), 0, room};
    assert(w.base != NULL);
    row_put_u8(&w, PLAN_FORMAT);
    row_put_u64(&w, (uint64_t)p->registered_us);
    row_put_u32(&w, p->timeout_ms);
    row_put_bytes(&w, p->name);
    row_put_u8(&w, (uint8_t)n_ops); /* operations that follow */
    for (int op = SM_OP_CONFIRM; op < SM_OP_NR; op++) {
        if (!plan_has(p, op))
            continue;
        row_put_u8(&w, (uint8_t)op);
        row_put_bytes(&w, p->url[op]);
    }
    row_put_u32(&w, (uint32_t)headers);
    headers_put(&w, p->header_map);
    row_put_bytes(&w, p->payload);
    row_put_u8(&w, (uint8_t)((p->protocol_given ? 0x80 : 0) | (int)p->protocol));
    row_put_u64(&w, p->retry.base_ms);
    row_put_u64(&w, p->retry.cap_ms);
    row_put_u32(&w, p->retry.factor);
    row_put_u32(&w, p->retry.jitter);
    row_put_u32(&w, p->retry.limit);
    row_put_u32(&w, p->acknowledge_ms);
    assert(w.size == room);
    struct store_key k = branch_key(xid, BRANCH_KEY_PLAN, ordinal);
    store_put(store, STORE_BRANCHES, key_bytes(&k), row_written(&w));
    if (w.base != small)
        free(w.base);
}

bool branch_plan_load(struct store_txn *store, struct assent_bytes xid, uint32_t ordinal,
                      struct branch_plan *p)
{
    struct store_key k = branch_key(xid, BRANCH_KEY_PLAN, ordinal);
    struct assent_bytes r;
    if (!store_get(store, STORE_BRANCHES, key_bytes(&k), &r))
        return false;
    *p = (struct branch_plan){0};
    uint64_t format = row_take_u8(&r);
    assert(format == PLAN_FORMAT || format == PLAN_FORMAT_OLD);
    p->registered_us = (int64_t)row_take_u64(&r);
    p->timeout_ms = row_take_u32(&r);
    p->name = row_take_bytes(&r);
    for (uint64_t n = row_take_u8(&r); n > 0; n--) {
        uint64_t op = row_take_u8(&r);
        assert(op >= SM_OP_CONFIRM && op < SM_OP_NR);
        if (p->forward == 0)
            p->forward = (enum sm_op)op;
        p->url[op] = row_take_bytes(&r);
    }
    p->headers = row_take_bytes(&r);
    p->payload = row_take_bytes(&r);
    if (format == PLAN_FORMAT) {
        uint8_t protocol = row_take_u8(&r);
        p->protocol_given = (protocol & 0x80) != 0;
        p->protocol = (enum sm_protocol)(protocol & 0x7f);
        p->retry.base_ms = row_take_u64(&r);
        p->retry.cap_ms = row_take_u64(&r);
        p->retry.factor = row_take_u32(&r);
        p->retry.jitter = row_take_u32(&r);
        p->retry.limit = row_take_u32(&r);
        p->acknowledge_ms = row_take_u32(&r);
    }
    assert(r.size == 0);
    return true;
}

bool sm_work_header(struct assent_bytes *headers, struct assent_bytes *name, struct assent_bytes *value)
{
    if (headers->size == 0)
        return false;
    *name = row_take_bytes(headers);
    *value = row_take_bytes(headers);
    return true;
}

bool branch_find(struct store_txn *store, struct assent_bytes xid, struct assent_bytes name,
                 uint32_t *ordinal)
{
    struct store_key k = name_key(xid, name);
    struct assent_bytes value;
    if (!store_get(store, STORE_BRANCHES, key_bytes(&k), &value))
        return false;
    *ordinal = row_take_u32(&value);
    return true;
}

static bool headers_same(struct assent_bytes stored, const struct codec_node *map)
{
    struct assent_bytes name, value;
    for (uint32_t i = 0; i < codec_size(map); i++)
        if (!sm_work_header(&stored, &name, &value) ||
            !bytes_equal(name, codec_as_bytes(codec_key_at(map, i))) ||
            !bytes_equal(value, codec_as_bytes(codec_value_at(map, i))))
            return false;
    return stored.size == 0;
}

bool branch_same(struct store_txn *store, struct assent_bytes xid, uint32_t ordinal,
                 const struct branch_plan *p)
{
    struct branch_plan there;
    return branch_plan_load(store, xid, ordinal, &there) && bytes_equal(there.name, p->name) &&
           there.timeout_ms == p->timeout_ms && there.forward == p->forward &&
           bytes_equal(there.url[p->forward], p->url[p->forward]) &&
           bytes_equal(there.url[p->forward + 1], p->url[p->forward + 1]) &&
           bytes_equal(there.url[SM_OP_TRY], p->url[SM_OP_TRY]) && there.protocol == p->protocol &&
           there.protocol_given == p->protocol_given && there.acknowledge_ms == p->acknowledge_ms &&
           memcmp(&there.retry, &p->retry, sizeof(there.retry)) == 0 &&
           bytes_equal(there.payload, p->payload) && headers_same(there.headers, p->header_map);
}

void branch_add(struct apply *a, struct assent_bytes xid, struct txn *t, const struct branch_plan *plan)
{
    assert((t->status == TXN_ACTIVE || t->status == TXN_RUNNING) && t->branches < ASSENT_BRANCHES_MAX);
    uint32_t ordinal = t->branches++;
    plan_put(a->txn, xid, ordinal, plan);
    uint8_t room[4];
    struct row_writer w = {room, 0, sizeof(room)};
    row_put_u32(&w, ordinal);
    struct store_key k = name_key(xid, plan->name);
    store_put(a->txn, STORE_BRANCHES, key_bytes(&k), row_written(&w));
    if (plan->url[plan->forward].size > 0)
        t->confirmable++;
    if (plan->url[plan->forward + 1].size > 0)
        t->cancellable++;
}

bool branch_remove_some(struct store_txn *store, struct assent_bytes xid, uint32_t rows)
{
    struct store_key prefix;
    key_init(&prefix);
    key_text(&prefix, xid);
    struct store_cursor c;
    store_cursor_open(&c, store, STORE_BRANCHES);
    bool none = false;
    for (uint32_t i = 0; i < rows && !none; i++) {
        struct assent_bytes key, value;
        none = !store_cursor_seek(&c, key_bytes(&prefix), &key, &value) || key.size < prefix.size ||
               memcmp(key.base, prefix.bytes, prefix.size) != 0;
        if (none)
            break;
        struct store_key k;
        key_init(&k);
        key_tail(&k, key);
        store_del(store, STORE_BRANCHES, key_bytes(&k));
    }
    store_cursor_close(&c);
    return none;
}

/* ---- progress and reports ---- */

void branch_progress_load(struct store_txn *store, struct assent_bytes xid, uint32_t ordinal,
                          const struct txn *t, const struct branch_plan *plan, struct branch_progress *p)
{
    *p = (struct branch_progress){.status = BRANCH_REGISTERED};
    enum txn_status stands = txn_stands(t);
    if (stands == TXN_ACTIVE && t->mode != TXN_MODE_WORKFLOW)
        return;
    struct store_key k = branch_key(xid, BRANCH_KEY_PROGRESS, ordinal);
    struct assent_bytes r;
    if (store_get(store, STORE_BRANCHES, key_bytes(&k), &r)) {
        uint64_t format = row_take_u8(&r);
        assert(format == PROGRESS_FORMAT || format == PROGRESS_FORMAT_OLD);
        p->status = (enum branch_status)row_take_u8(&r);
        p->attempts = row_take_u32(&r);
        p->next_due_us = (int64_t)row_take_u64(&r);
        p->finished_us = (int64_t)row_take_u64(&r);
        p->error = row_take_bytes(&r);
        if (format == PROGRESS_FORMAT) {
            p->action = (enum sm_outcome)row_take_u8(&r);
            p->errors = row_take_u32(&r);
            p->waiting = row_take_u32(&r);
        } else {
            p->errors = p->attempts; /* calls that succeed are the last */
        }
        p->acknowledge_us = r.size > 0 ? (int64_t)row_take_u64(&r) : 0;
        assert(r.size == 0);
        return;
    }
    if (t->waits)
        return;
    if (stands == TXN_RUNNING || stands == TXN_PREPARING) {
        if (t->execute)
            try_progress(t, plan, ordinal, p);
        return;
    }
    if (t->mode == TXN_MODE_SAGA || (t->mode == TXN_MODE_MESSAGE && t->status == TXN_ROLLED_BACK))
        return;
    enum sm_op op = phase_two_op(t);
    if (plan->url[op].size == 0) {
        branch_move(p, ops[op].doing);
        branch_move(p, ops[op].done);
        p->finished_us = t->decided_us;
    } else if (t->order == TXN_PARALLEL || ordinal == t->cursor) { /* its turn has come */
        branch_move(p, ops[op].doing);
        p->next_due_us = stands == t->status ? phase_two_due_us(t) : 0;
    }
}

void branch_progress_clear(struct store_txn *store, struct assent_bytes xid, uint32_t ordinal)
{
    struct store_key k = branch_key(xid, BRANCH_KEY_PROGRESS, ordinal);
    store_del(store, STORE_BRANCHES, key_bytes(&k));
}

bool branch_progress_kept(struct store_txn *store, struct assent_bytes xid, uint32_t ordinal)
{
    struct store_key k = branch_key(xid, BRANCH_KEY_PROGRESS, ordinal);
    struct assent_bytes row;
    return store_get(store, STORE_BRANCHES, key_bytes(&k), &row);
}

void branch_progress_put(struct store_txn *store, struct assent_bytes xid, uint32_t ordinal,
                         const struct txn *t, const struct branch_progress *p)
{
    (void)t;
    uint8_t room[48 + TXN_ERROR_BYTES_MAX];
    struct row_writer w = {room, 0, sizeof(room)};
    row_put_u8(&w, PROGRESS_FORMAT);
    row_put_u8(&w, (uint8_t)p->status);
    row_put_u32(&w, p->attempts);
    row_put_u64(&w, (uint64_t)p->next_due_us);
    row_put_u64(&w, (uint64_t)p->finished_us);
    row_put_bytes(&w, p->error);
    row_put_u8(&w, (uint8_t)p->action);
    row_put_u32(&w, p->errors);
    row_put_u32(&w, p->waiting);
    if (p->acknowledge_us != 0)
        row_put_u64(&w, (uint64_t)p->acknowledge_us);
    struct store_key k = branch_key(xid, BRANCH_KEY_PROGRESS, ordinal);
    store_put(store, STORE_BRANCHES, key_bytes(&k), row_written(&w));
}

/* Of an unsigned 64-bit number: which hash does not matter, only that all replicas have the same. */
static uint64_t spread(uint64_t x)
{
    x ^= x >> 33; /* the finalizer of MurmurHash3 */
    x *= UINT64_C(0xff51afd7ed558ccd);
    x ^= x >> 33;
    x *= UINT64_C(0xc4ceb9fe1a85ec53);
    return x ^ x >> 33;
}

int64_t branch_back_off_us(const struct txn *t, const struct branch_plan *p, uint32_t ordinal,
                           uint32_t attempt)
{
    const struct retry_policy *r = p != NULL && p->retry.base_ms > 0 ? &p->retry : &t->retry;
    uint64_t us = r->base_ms * 1000, cap_us = r->cap_ms * 1000;
    for (uint32_t i = 0; i < attempt && us < cap_us && r->factor > 100; i++)
        us = us * r->factor / 100;
    us = us < cap_us ? us : cap_us;
    if (r->jitter > 0)
        us -= us / 100 * r->jitter *
              (spread(t->token + ordinal * UINT64_C(0x9e3779b97f4a7c15) + attempt) % 1024) / 1024;
    if (PLANTED(REPLICA_OF_ITS_OWN)) {
        static uint64_t waits;
        us += ++waits % 7;
    }
    return (int64_t)(us > 0 ? us : 1);
}

bool branch_given_up(const struct branch_plan *plan, const struct branch_progress *p)
{
    return plan->retry.limit > 0 && p->errors >= plan->retry.limit;
}

void branch_suspend(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t ordinal,
                    struct branch_progress *p, struct assent_bytes name, enum sm_op op)
{
    char reason[ASSENT_NAME_BYTES_MAX + TXN_ERROR_BYTES_MAX + 64];
    p->next_due_us = 0;
    branch_progress_put(a->txn, xid, ordinal, t, p);
    snprintf(reason, sizeof(reason), "%s of %.*s failed %u times: %.*s", sm_op_name(op), (int)name.size,
             (const char *)name.base, p->errors, (int)p->error.size, (const char *)p->error.base);
    txn_suspend(a, xid, t, bytes_of(reason));
}

void branch_done_next(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t ordinal,
                      enum sm_op op)
{
    if (t->mode == TXN_MODE_SAGA)
        saga_go_on(a, xid, t, ordinal, op);
    else if (op == SM_OP_TRY)
        try_done(a, xid, t, ordinal);
    else
        phase_two_done(a, xid, t, ordinal);
}

int64_t branch_wait_us(const struct txn *t, const struct branch_plan *p, uint32_t ordinal,
                       const struct branch_progress *progress)
{
    uint32_t n = progress->errors;
    if (n > 0 && t->style != SM_STYLE_DTM)
        n--;
    return branch_back_off_us(t, p, ordinal, n);
}

static int report_stale(struct apply *a, const char *what)
{
    return refuse(a, ASSENT_REPORT_STALE, "%s", what);
}

static void call_event(struct apply *a, struct assent_bytes xid, const struct txn *t, const struct report *r)
{
    struct sm_event event = {
        .kind = SM_EVENT_CALL,
        .xid = xid,
        .business_type = t->business_type,
        .mode = txn_mode_name(t->mode),
        .branch = r->branch,
        .op = ops[r->op].name,
        .outcome = r->outcome,
        .attempts = r->attempt + 1,
        .failures = t->failures,
        .detail = r->error,
    };
    apply_event(a, &event);
}

void branch_event(struct apply *a, struct assent_bytes xid, const struct txn *t, struct assent_bytes branch,
                  enum branch_status status)
{
    struct sm_event event = {
        .kind = SM_EVENT_BRANCH,
        .xid = xid,
        .business_type = t->business_type,
        .mode = txn_mode_name(t->mode),
        .branch = branch,
        .status = branch_status_name(status),
    };
    apply_event(a, &event);
}

/* A call of the transaction as a whole. */
static int whole_report(struct apply *a, struct assent_bytes xid, struct txn *t, const struct report *r)
{
    enum sm_op op = t->mode == TXN_MODE_WORKFLOW ? SM_OP_CALLBACK : SM_OP_QUERY;
    if (t->status != TXN_ACTIVE || t->whole_due_us == 0 || t->whole_attempts != r->attempt || r->op != op)
        return report_stale(a, "the transaction is not in that phase");
    if (r->op == SM_OP_QUERY)
        message_query_report(a, xid, t, r);
    else
        workflow_callback_report(a, xid, t, r);
    return ASSENT_OK;
}

static int branch_report_one(struct apply *a, const struct report *r)
{
    struct assent_bytes xid = r->xid, name = r->branch;
    struct txn t;
    uint32_t ordinal;
    struct branch_plan plan;
    struct branch_progress p;
    if (!txn_load(a->txn, xid, &t))
        return txn_not_found(a, xid);
    if (r->op == 0 || r->op >= SM_OP_NR)
        return refuse(a, ASSENT_INVALID, "op: a number of enum sm_op");
    bool whole = r->op == SM_OP_QUERY || r->op == SM_OP_CALLBACK;
    if (!whole) {
        if (!branch_find(a->txn, xid, name, &ordinal) || !branch_plan_load(a->txn, xid, ordinal, &plan))
            return refuse(a, ASSENT_BRANCH_NOT_FOUND, "no branch %.*s", (int)name.size,
                          (const char *)name.base);
        if (!plan_has(&plan, (int)r->op))
            return refuse(a, ASSENT_INVALID, "op: %s or %s", ops[plan.forward].name,
                          ops[plan.forward + 1].name);
        bool delivery = t.mode == TXN_MODE_MESSAGE && t.status == TXN_COMMITTING;
        if (t.status != ops[r->op].during && !delivery)
            return report_stale(a, "the transaction is not in that phase");
        branch_progress_load(a->txn, xid, ordinal, &t, &plan, &p);
        if (p.status != ops[r->op].doing)
            return report_stale(a, "the branch has answered already");
        if (p.attempts != r->attempt)
            return report_stale(a, "another attempt is due");
    }
    bool changed = t.failures > 0 || r->outcome != SM_OUTCOME_SUCCESS;
    t.failures = r->outcome == SM_OUTCOME_SUCCESS ? 0 : t.failures + (t.failures < UINT32_MAX);
    if (r->outcome != SM_OUTCOME_SUCCESS) {
        t.error = txn_shortened(r->error, TXN_ERROR_BYTES_MAX);
        call_event(a, xid, &t, r);
    }
    if (whole)
        return whole_report(a, xid, &t, r);
    enum txn_status before = t.status;
    uint32_t pending = t.pending;
    if (t.mode == TXN_MODE_SAGA)
        saga_report(a, xid, &t, ordinal, &plan, &p, r);
    else if (r->op == SM_OP_TRY)
        try_report(a, xid, &t, ordinal, &plan, &p, r);
    else
        phase_two_report(a, xid, &t, ordinal, &plan, &p, r);
    if (changed || t.status != before || t.pending != pending)
        txn_save(a, xid, &t);
    return ASSENT_OK;
}

static struct report report_take(const struct codec_node *args)
{
    const struct codec_node *outcome = codec_at(args, BRANCH_REPORT_OUTCOME);
    uint64_t op = codec_as_uint(codec_at(args, BRANCH_REPORT_OP));
    struct report r = {
        .xid = codec_as_bytes(codec_at(args, BRANCH_REPORT_XID)),
        .branch = codec_as_bytes(codec_at(args, BRANCH_REPORT_BRANCH)),
        .op = (enum sm_op)op,
        .attempt = (uint32_t)codec_as_uint(codec_at(args, BRANCH_REPORT_ATTEMPT)),
        .outcome =
            codec_as_bool(codec_at(args, BRANCH_REPORT_SUCCESS)) ? SM_OUTCOME_SUCCESS : SM_OUTCOME_ERROR,
        .error = codec_as_bytes(codec_at(args, BRANCH_REPORT_ERROR)),
    };
    if (codec_kind(outcome) == CODEC_UINT && codec_as_uint(outcome) != 0)
        r.outcome = (enum sm_outcome)codec_as_uint(outcome);
    return r;
}

/* What a call of the executor came to. */
int branch_report(struct apply *a)
{
    struct report r = report_take(a->command->args);
    return branch_report_one(a, &r);
}

/* Several at a time: a stale one is passed over.  Answers how many counted. */
int branch_reports(struct apply *a)
{
    const struct codec_node *list = codec_at(a->command->args, BRANCH_REPORTS_REPORTS);
    uint64_t counted = 0;
    for (uint32_t i = 0; i < codec_size(list); i++) {
        struct report r = report_take(codec_at(list, i));
        counted += branch_report_one(a, &r) == ASSENT_OK;
    }
    codec_map(a->out, 1);
    codec_pair_uint(a->out, "counted", counted);
    return ASSENT_OK;
}
