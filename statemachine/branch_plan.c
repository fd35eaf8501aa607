/* The plan of a branch: what to call and how, checked when a command brings it, written once. */
#include <stdlib.h>
#include <strings.h>

#include "txn.h"

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
                          sm_op_name((enum sm_op)op), ASSENT_URL_BYTES_MAX);
    int rv = branch_options_parse(a, args, options, p);
    return rv == ASSENT_OK ? branch_headers_check(a, p->header_map) : rv;
}

/* ---- the plan in the store ---- */

enum { PLAN_FORMAT = 2 };
/* Bytes of the options behind the payload. */
#define PLAN_OPTIONS (1 + 8 + 8 + 4 + 4 + 4 + 4)

struct store_key branch_key(struct assent_bytes xid, uint8_t kind, uint32_t ordinal)
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

bool branch_has(const struct branch_plan *p, int op)
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
        room += branch_has(p, op) ? 1 + row_bytes_size(p->url[op]) : 0;
        n_ops += branch_has(p, op);
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
        if (!branch_has(p, op))
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
    assert(format == PLAN_FORMAT);
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
    uint8_t protocol = row_take_u8(&r);
    p->protocol_given = (protocol & 0x80) != 0;
    p->protocol = (enum sm_protocol)(protocol & 0x7f);
    p->retry.base_ms = row_take_u64(&r);
    p->retry.cap_ms = row_take_u64(&r);
    p->retry.factor = row_take_u32(&r);
    p->retry.jitter = row_take_u32(&r);
    p->retry.limit = row_take_u32(&r);
    p->acknowledge_ms = row_take_u32(&r);
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

static bool retry_same(const struct retry_policy *a, const struct retry_policy *b)
{
    return a->base_ms == b->base_ms && a->cap_ms == b->cap_ms && a->factor == b->factor &&
           a->jitter == b->jitter && a->limit == b->limit;
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
           retry_same(&there.retry, &p->retry) && bytes_equal(there.payload, p->payload) &&
           headers_same(there.headers, p->header_map);
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
