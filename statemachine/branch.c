/* Branches: registration, what to call, and what the calls' reports change.  Keys and drawing are in txn.h.
 *
 * A report names the attempt it is about.  Only the report of the attempt that is due counts; every other one
 * is past (the call was made twice, or by a deposed leader) and is refused without effect. */
#include <stdlib.h>
#include <strings.h>

#include "txn.h"

#define BIT(n) (1u << (n))

static const uint16_t branch_next[BRANCH_STATUS_NR] = {
    [BRANCH_REGISTERED] = BIT(BRANCH_CONFIRMING) | BIT(BRANCH_CANCELLING) | BIT(BRANCH_EXECUTING),
    [BRANCH_CONFIRMING] = BIT(BRANCH_CONFIRMING) | BIT(BRANCH_CONFIRMED),
    [BRANCH_CANCELLING] = BIT(BRANCH_CANCELLING) | BIT(BRANCH_CANCELLED),
    [BRANCH_EXECUTING] = BIT(BRANCH_EXECUTING) | BIT(BRANCH_EXECUTED) | BIT(BRANCH_FAILED) |
                         BIT(BRANCH_COMPENSATING), /* nobody knows whether it happened */
    [BRANCH_EXECUTED] = BIT(BRANCH_COMPENSATING),
    [BRANCH_FAILED] = BIT(BRANCH_EXECUTING) | BIT(BRANCH_EXECUTED) | /* by an operator */
                      BIT(BRANCH_COMPENSATING),                      /* it may have done a part */
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
};
static const char *const status_names[BRANCH_STATUS_NR] = {
    [BRANCH_REGISTERED] = "REGISTERED",     [BRANCH_CONFIRMING] = "CONFIRMING",
    [BRANCH_CONFIRMED] = "CONFIRMED",       [BRANCH_CANCELLING] = "CANCELLING",
    [BRANCH_CANCELLED] = "CANCELLED",       [BRANCH_EXECUTING] = "EXECUTING",
    [BRANCH_EXECUTED] = "EXECUTED",         [BRANCH_FAILED] = "FAILED",
    [BRANCH_COMPENSATING] = "COMPENSATING", [BRANCH_COMPENSATED] = "COMPENSATED",
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
    assert(p->name.size > 0 && p->name.size <= ASSENT_NAME_BYTES_MAX); /* by schema */
    for (int op = SM_OP_CONFIRM; op <= SM_OP_CANCEL; op++)
        if (p->url[op].size > 0 && !branch_url_ok(p->url[op]))
            return refuse(a, ASSENT_INVALID, "%sUrl: http:// or https://, at most %d bytes, no spaces",
                          ops[op].name, ASSENT_URL_BYTES_MAX);
    return branch_headers_check(a, p->header_map);
}

/* ---- the plan in the store ---- */

enum { PLAN_FORMAT = 1, PROGRESS_FORMAT = 1, PROGRESS_FORMAT_SAGA = 2 };
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

static void plan_put(struct store_txn *store, struct assent_bytes xid, uint32_t ordinal,
                     const struct branch_plan *p)
{
    size_t headers = headers_size(p->header_map);
    size_t room = 1 + 8 + 4 + row_bytes_size(p->name) + 1 + 4 + headers + row_bytes_size(p->payload);
    for (int op = (int)p->forward; op <= (int)p->forward + 1; op++)
        room += 1 + row_bytes_size(p->url[op]);
    uint8_t small[1024];
    struct row_writer w = {room <= sizeof(small) ? small : malloc(room), 0, room};
    assert(w.base != NULL);
    row_put_u8(&w, PLAN_FORMAT);
    row_put_u64(&w, (uint64_t)p->registered_us);
    row_put_u32(&w, p->timeout_ms);
    row_put_bytes(&w, p->name);
    row_put_u8(&w, 2); /* operations that follow */
    for (int op = (int)p->forward; op <= (int)p->forward + 1; op++) {
        row_put_u8(&w, (uint8_t)op);
        row_put_bytes(&w, p->url[op]);
    }
    row_put_u32(&w, (uint32_t)headers);
    for (uint32_t i = 0; i < codec_size(p->header_map); i++) {
        row_put_bytes(&w, codec_as_bytes(codec_key_at(p->header_map, i)));
        row_put_bytes(&w, codec_as_bytes(codec_value_at(p->header_map, i)));
    }
    row_put_bytes(&w, p->payload);
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

void branch_plan_calls(struct apply *a, struct assent_bytes xid, const struct txn *t, enum sm_op op)
{
    uint32_t planned = 0;
    for (uint32_t i = 0; i < t->branches; i++) {
        struct branch_plan p;
        bool there = branch_plan_load(a->txn, xid, i, &p);
        assert(there);
        if (p.url[op].size == 0)
            continue;
        work_put(a->txn, a->now_us, xid, p.name, op, 0, t->token, i);
        planned++;
    }
    assert(planned == t->pending);
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

static enum sm_op decided_op(const struct txn *t)
{
    return t->status == TXN_COMMITTING || t->status == TXN_COMMITTED ? SM_OP_CONFIRM : SM_OP_CANCEL;
}

void branch_progress_load(struct store_txn *store, struct assent_bytes xid, uint32_t ordinal,
                          const struct txn *t, const struct branch_plan *plan, struct branch_progress *p)
{
    *p = (struct branch_progress){.status = BRANCH_REGISTERED};
    if (t->status == TXN_ACTIVE)
        return;
    struct store_key k = branch_key(xid, BRANCH_KEY_PROGRESS, ordinal);
    struct assent_bytes r;
    if (store_get(store, STORE_BRANCHES, key_bytes(&k), &r)) {
        uint64_t format = row_take_u8(&r);
        assert(format == (t->mode == TXN_MODE_SAGA ? PROGRESS_FORMAT_SAGA : PROGRESS_FORMAT));
        p->status = (enum branch_status)row_take_u8(&r);
        p->attempts = row_take_u32(&r);
        p->next_due_us = (int64_t)row_take_u64(&r);
        p->finished_us = (int64_t)row_take_u64(&r);
        p->error = row_take_bytes(&r);
        if (format == PROGRESS_FORMAT_SAGA) {
            p->action = (enum sm_outcome)row_take_u8(&r);
            p->errors = row_take_u32(&r);
            p->waiting = row_take_u32(&r);
        }
        assert(r.size == 0);
        return;
    }
    if (t->mode == TXN_MODE_SAGA)
        return;
    enum sm_op op = decided_op(t);
    branch_move(p, ops[op].doing);
    if (plan->url[op].size == 0) {
        branch_move(p, ops[op].done);
        p->finished_us = t->decided_us;
    } else {
        p->next_due_us = t->decided_us;
    }
}

void branch_progress_put(struct store_txn *store, struct assent_bytes xid, uint32_t ordinal,
                         const struct txn *t, const struct branch_progress *p)
{
    bool saga = t->mode == TXN_MODE_SAGA;
    uint8_t room[48 + TXN_ERROR_BYTES_MAX];
    struct row_writer w = {room, 0, sizeof(room)};
    row_put_u8(&w, saga ? PROGRESS_FORMAT_SAGA : PROGRESS_FORMAT);
    row_put_u8(&w, (uint8_t)p->status);
    row_put_u32(&w, p->attempts);
    row_put_u64(&w, (uint64_t)p->next_due_us);
    row_put_u64(&w, (uint64_t)p->finished_us);
    row_put_bytes(&w, p->error);
    if (saga) {
        row_put_u8(&w, (uint8_t)p->action);
        row_put_u32(&w, p->errors);
        row_put_u32(&w, p->waiting);
    }
    struct store_key k = branch_key(xid, BRANCH_KEY_PROGRESS, ordinal);
    store_put(store, STORE_BRANCHES, key_bytes(&k), row_written(&w));
}

int64_t branch_back_off_us(const struct txn *t, uint32_t attempt)
{
    uint64_t ms = t->base_ms;
    for (uint32_t i = 0; i < attempt && ms < t->cap_ms; i++)
        ms *= 2;
    return (int64_t)(ms < t->cap_ms ? ms : t->cap_ms) * 1000;
}

static int report_stale(struct apply *a, const char *what)
{
    return refuse(a, ASSENT_REPORT_STALE, "%s", what);
}

/* What a call of the executor came to. */
int branch_report(struct apply *a)
{
    const struct command *c = a->command;
    struct assent_bytes xid = arg_bytes(c, BRANCH_REPORT_XID);
    struct assent_bytes name = arg_bytes(c, BRANCH_REPORT_BRANCH);
    uint64_t op = arg_uint(c, BRANCH_REPORT_OP, 0);
    struct txn t;
    uint32_t ordinal;
    struct branch_plan plan;
    struct branch_progress p;
    if (!txn_load(a->txn, xid, &t))
        return refuse(a, ASSENT_TXN_NOT_FOUND, "no transaction %.*s", (int)xid.size, (const char *)xid.base);
    if (!branch_find(a->txn, xid, name, &ordinal) || !branch_plan_load(a->txn, xid, ordinal, &plan))
        return refuse(a, ASSENT_BRANCH_NOT_FOUND, "no branch %.*s", (int)name.size, (const char *)name.base);
    if (op != plan.forward && op != plan.forward + 1)
        return refuse(a, ASSENT_INVALID, "op: %s or %s", ops[plan.forward].name, ops[plan.forward + 1].name);
    if (t.status != ops[op].during)
        return report_stale(a, "the transaction is not in that phase");
    branch_progress_load(a->txn, xid, ordinal, &t, &plan, &p);
    if (p.status != ops[op].doing)
        return report_stale(a, "the branch has answered already");
    if (p.attempts != arg_uint(c, BRANCH_REPORT_ATTEMPT, 0))
        return report_stale(a, "another attempt is due");
    if (t.mode == TXN_MODE_SAGA) {
        saga_report(a, xid, &t, ordinal, &plan, &p, (enum sm_op)op);
        return ASSENT_OK;
    }

    int64_t was_due_us = p.next_due_us;
    p.attempts++;
    if (arg_bool(c, BRANCH_REPORT_SUCCESS, false)) {
        branch_move(&p, ops[op].done);
        p.next_due_us = 0;
        p.finished_us = a->now_us;
        /* the last error stays to be read */
    } else {
        branch_move(&p, ops[op].doing);
        p.next_due_us = a->now_us + branch_back_off_us(&t, p.attempts - 1);
        p.error = arg_bytes(c, BRANCH_REPORT_ERROR);
    }
    p.error = txn_shortened(p.error, TXN_ERROR_BYTES_MAX);
    branch_progress_put(a->txn, xid, ordinal, &t, &p);
    work_clear(a->txn, was_due_us, xid, name);
    if (p.next_due_us != 0) {
        work_put(a->txn, p.next_due_us, xid, name, (enum sm_op)op, p.attempts, t.token, ordinal);
    } else {
        txn_call_succeeded(a, xid, &t);
        txn_save(a, xid, &t);
    }
    return ASSENT_OK;
}
