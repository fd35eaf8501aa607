/* Begin: what a command asks for, checked and written; the parts that every mode's first command shares, and
 * the begin of TCC and XA with their branches. */
#include <stdio.h>
#include <stdlib.h>

#include "nest.h"
#include "planted.h"

/* A word of a closed list; an absent one is the first. */
static bool take_word(struct assent_bytes word, const char *const *words, uint32_t n, uint32_t *out)
{
    *out = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (bytes_equal(word, bytes_of(words[i]))) {
            *out = i;
            return true;
        }
    }
    return word.size == 0;
}

static int retry_check(struct apply *a, const struct retry_policy *r)
{
    if (r->base_ms == 0 || r->base_ms > TXN_RETRY_MS_MAX || r->cap_ms == 0 || r->cap_ms > TXN_RETRY_MS_MAX)
        return refuse(a, ASSENT_INVALID, "retryBaseMs, retryCapMs: 1 millisecond to one day");
    if (r->factor < 100 || r->factor > 1000 || r->jitter > 100)
        return refuse(a, ASSENT_INVALID,
                      "retryFactor: 100 to 1000 percent; retryJitter: at most 100 percent");
    return ASSENT_OK;
}

static const char *const protocol_names[] = {"http", "json-rpc"};

/* The options of a begin, of whatever mode. */
static int options_parse(struct apply *a, struct txn *t, uint32_t at)
{
    static const char *const order_names[] = {"parallel", "forward", "reverse"};
    const struct command *c = a->command;
    uint32_t order, protocol;
    if (!take_word(arg_bytes(c, at + OPTION_ORDER), order_names, 3, &order))
        return refuse(a, ASSENT_INVALID, "order: parallel, forward or reverse");
    if (!take_word(arg_bytes(c, at + OPTION_PROTOCOL), protocol_names, 2, &protocol))
        return refuse(a, ASSENT_INVALID, "protocol: http or json-rpc");
    t->order = (enum txn_order)order;
    t->protocol = (enum sm_protocol)protocol;
    t->style = (enum sm_style)arg_uint(c, at + OPTION_STYLE, SM_STYLE_NATIVE);
    t->parent = arg_bytes(c, at + OPTION_PARENT);
    t->call_timeout_ms = (uint32_t)arg_uint(c, at + OPTION_CALL_TIMEOUT_MS, 0);
    t->retry.factor = (uint32_t)arg_uint(c, at + OPTION_RETRY_FACTOR, TXN_RETRY_FACTOR_DEFAULT);
    t->retry.jitter = (uint32_t)arg_uint(c, at + OPTION_RETRY_JITTER, 0);
    t->headers = codec_size(codec_at(c->args, at + OPTION_HEADERS)) > 0;
    return branch_headers_check(a, codec_at(c->args, at + OPTION_HEADERS));
}

int branch_options_parse(struct apply *a, const struct codec_node *args, uint32_t at, struct branch_plan *p)
{
    uint32_t protocol;
    if (!take_word(codec_as_bytes(codec_at(args, at + BRANCH_OPTION_PROTOCOL)), protocol_names, 2, &protocol))
        return refuse(a, ASSENT_INVALID, "protocol: http or json-rpc");
    p->protocol = (enum sm_protocol)protocol;
    p->protocol_given = codec_kind(codec_at(args, at + BRANCH_OPTION_PROTOCOL)) == CODEC_TEXT;
    const struct codec_node *limit = codec_at(args, at + BRANCH_OPTION_RETRY_LIMIT);
    p->retry.limit = codec_kind(limit) == CODEC_UINT ? (uint32_t)codec_as_uint(limit) : 0;
    bool given = false;
    for (uint32_t i = BRANCH_OPTION_RETRY_BASE_MS; i <= BRANCH_OPTION_RETRY_JITTER; i++)
        given = given || codec_kind(codec_at(args, at + i)) == CODEC_UINT;
    if (!given)
        return ASSENT_OK;
    const struct codec_node *base = codec_at(args, at + BRANCH_OPTION_RETRY_BASE_MS);
    const struct codec_node *cap = codec_at(args, at + BRANCH_OPTION_RETRY_CAP_MS);
    const struct codec_node *factor = codec_at(args, at + BRANCH_OPTION_RETRY_FACTOR);
    const struct codec_node *jitter = codec_at(args, at + BRANCH_OPTION_RETRY_JITTER);
    p->retry.base_ms = codec_kind(base) == CODEC_UINT ? codec_as_uint(base) : TXN_RETRY_BASE_MS_DEFAULT;
    p->retry.cap_ms = codec_kind(cap) == CODEC_UINT ? codec_as_uint(cap) : TXN_RETRY_CAP_MS_DEFAULT;
    p->retry.factor =
        codec_kind(factor) == CODEC_UINT ? (uint32_t)codec_as_uint(factor) : TXN_RETRY_FACTOR_DEFAULT;
    p->retry.jitter = codec_kind(jitter) == CODEC_UINT ? (uint32_t)codec_as_uint(jitter) : 0;
    return retry_check(a, &p->retry);
}

int txn_parse(struct apply *a, struct txn *t, enum txn_mode absent, uint32_t options)
{
    const struct command *c = a->command;
    struct assent_bytes mode = arg_bytes(c, TXN_BEGIN_MODE);
    *t = (struct txn){.status = TXN_ACTIVE, .mode = absent, .created_us = a->now_us};
    if (mode.size > 0)
        t->mode = txn_mode_by_name(mode);
    bool two_phase = absent == TXN_MODE_TCC; /* the same command begins XA */
    if (two_phase ? t->mode != TXN_MODE_TCC && t->mode != TXN_MODE_XA : t->mode != absent)
        return refuse(a, ASSENT_INVALID, two_phase ? "mode: TCC or XA" : "mode: %s", txn_mode_name(absent));
    int rv = options_parse(a, t, options);
    if (rv != ASSENT_OK)
        return rv;
    if (t->parent.size > 0 && (t->mode == TXN_MODE_MESSAGE || t->mode == TXN_MODE_WORKFLOW))
        return refuse(a, ASSENT_INVALID, "parent: a %s stands in no other transaction",
                      txn_mode_name(t->mode));
    t->timeout_ms = arg_uint(c, TXN_BEGIN_TIMEOUT_MS, two_phase ? TXN_TIMEOUT_MS_DEFAULT : 0);
    t->retry.base_ms = arg_uint(c, TXN_BEGIN_RETRY_BASE_MS, TXN_RETRY_BASE_MS_DEFAULT);
    t->retry.cap_ms = arg_uint(c, TXN_BEGIN_RETRY_CAP_MS, TXN_RETRY_CAP_MS_DEFAULT);
    if (t->timeout_ms > TXN_TIMEOUT_MS_MAX)
        return refuse(a, ASSENT_INVALID, "timeoutMs: at most 30 days, or 0 for never");
    rv = retry_check(a, &t->retry);
    if (rv != ASSENT_OK)
        return rv;
    t->deadline_us =
        t->timeout_ms > 0 ? a->now_us + (int64_t)t->timeout_ms * (PLANTED(DEADLINE_EARLY) ? 500 : 1000) : 0;
    t->business_type = arg_bytes(c, TXN_BEGIN_BUSINESS_TYPE);
    t->business_key = arg_bytes(c, TXN_BEGIN_BUSINESS_KEY);
    t->owner = arg_bytes(c, TXN_BEGIN_OWNER);
    t->traceparent = arg_bytes(c, TXN_BEGIN_TRACEPARENT);
    if (t->business_type.size > ASSENT_NAME_BYTES_MAX || t->business_key.size > ASSENT_NAME_BYTES_MAX ||
        t->owner.size > ASSENT_NAME_BYTES_MAX || t->traceparent.size > TXN_TRACE_BYTES_MAX)
        return refuse(a, ASSENT_INVALID, "businessType, businessKey, owner or traceparent is too long");
    t->custom = arg_bytes(c, TXN_BEGIN_CUSTOM_DATA).size > 0;
    return ASSENT_OK;
}

static int name_order(const void *pa, const void *pb)
{
    const struct branch_plan *a = pa, *b = pb;
    size_t n = a->name.size < b->name.size ? a->name.size : b->name.size;
    int order = memcmp(a->name.base, b->name.base, n);
    if (order != 0)
        return order;
    return a->name.size < b->name.size ? -1 : a->name.size > b->name.size;
}

int txn_names_check(struct apply *a, const struct branch_plan *plans, uint32_t n)
{
    struct branch_plan *sorted = calloc(n, sizeof(*sorted));
    int rv = ASSENT_OK;
    assert(sorted != NULL);
    memcpy(sorted, plans, n * sizeof(*sorted));
    qsort(sorted, n, sizeof(*sorted), name_order);
    for (uint32_t i = 1; i < n && rv == ASSENT_OK; i++)
        if (bytes_equal(sorted[i - 1].name, sorted[i].name))
            rv = refuse(a, ASSENT_INVALID, "branches: %.*s is there twice", (int)sorted[i].name.size,
                        (const char *)sorted[i].name.base);
    free(sorted);
    return rv;
}

/* The branches of a begin, checked; `*plans` is the caller's to free also after a refusal. */
static int begin_branches(struct apply *a, uint32_t *n, struct branch_plan **plans)
{
    const struct codec_node *list = codec_at(a->command->args, TXN_BEGIN_BRANCHES);
    *n = codec_size(list);
    *plans = NULL;
    if (*n == 0)
        return ASSENT_OK;
    if (*n > ASSENT_BRANCHES_MAX)
        return refuse(a, ASSENT_LIMIT, "more than %d branches", ASSENT_BRANCHES_MAX);
    *plans = calloc(*n, sizeof(**plans));
    assert(*plans != NULL);
    int rv = ASSENT_OK;
    for (uint32_t i = 0; i < *n && rv == ASSENT_OK; i++)
        rv = branch_parse(a, codec_at(list, i), TXN_BRANCH_BRANCH, &(*plans)[i]);
    return rv == ASSENT_OK ? txn_names_check(a, *plans, *n) : rv;
}

bool txn_head_same(struct apply *a, struct assent_bytes xid, const struct txn *there, const struct txn *t)
{
    if (there->mode != t->mode || there->timeout_ms != t->timeout_ms ||
        there->retry.base_ms != t->retry.base_ms || there->retry.cap_ms != t->retry.cap_ms ||
        there->custom != t->custom || there->order != t->order || there->execute != t->execute ||
        !bytes_equal(there->parent, t->parent) || !bytes_equal(there->business_type, t->business_type) ||
        !bytes_equal(there->business_key, t->business_key) || !bytes_equal(there->owner, t->owner))
        return false;
    return !t->custom || bytes_equal(txn_custom(a->txn, xid), arg_bytes(a->command, TXN_BEGIN_CUSTOM_DATA));
}

int txn_begin_check(struct apply *a)
{
    struct txn t;
    struct branch_plan *plans;
    uint32_t n;
    int rv = txn_parse(a, &t, TXN_MODE_TCC, TXN_BEGIN_OPTIONS);
    if (rv != ASSENT_OK)
        return rv;
    rv = begin_branches(a, &n, &plans);
    free(plans);
    return rv;
}

bool txn_same(struct apply *a, struct assent_bytes xid, const struct txn *there, const struct txn *t,
              const struct branch_plan *plans, uint32_t n)
{
    if (there->begun != n || !txn_head_same(a, xid, there, t))
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!branch_same(a->txn, xid, i, &plans[i]))
            return false;
    return true;
}

void txn_write(struct apply *a, struct assent_bytes xid, struct txn *t, const struct branch_plan *plans,
               uint32_t n, uint32_t options)
{
    for (uint32_t i = 0; i < n; i++)
        branch_add(a, xid, t, &plans[i]);
    t->begun = n;
    if (t->custom) {
        txn_row_put(a->txn, xid, TXN_ROW_CUSTOM, arg_bytes(a->command, TXN_BEGIN_CUSTOM_DATA));
    }
    if (t->headers)
        branch_headers_put(a->txn, xid, codec_at(a->command->args, options + OPTION_HEADERS));
    if (t->deadline_us != 0)
        timer_set(a->txn, t->deadline_us, TIMER_TXN, xid);
}

struct assent_bytes txn_xid(struct apply *a, char made[TXN_MADE_BYTES])
{
    struct assent_bytes xid = arg_bytes(a->command, TXN_BEGIN_XID), ns = a->command->session.ns;
    if (xid.size > 0)
        return xid;
    snprintf(made, TXN_MADE_BYTES, "%.*s%s%08x0000%020llx", (int)ns.size,
             ns.size > 0 ? (const char *)ns.base : "", ns.size > 0 ? "\x1f" : "",
             (unsigned)(a->cluster_tag & UINT32_MAX), (unsigned long long)a->position);
    return bytes_of(made);
}

static int begin_write(struct apply *a, struct assent_bytes xid, struct txn *t,
                       const struct branch_plan *plans, uint32_t n)
{
    int rv = nest_check(a, t);
    if (rv != ASSENT_OK)
        return rv;
    if (t->execute) {
        t->status = TXN_RUNNING;
        t->token = a->position;
    }
    txn_write(a, xid, t, plans, n, TXN_BEGIN_OPTIONS);
    nest_join(a, xid, t);
    if (t->execute)
        try_begin(a, xid, t);
    txn_save(a, xid, t);
    return txn_answer_begin(a, xid, t, true);
}

/* Begin.  Without an xid one is made: cluster tag (8 hex digits), shard (4), position (20), which is 16 bytes
 * in hexadecimal and so fits the gtrid of XA.  With an xid that is there: the same answer if the content is
 * the same, EXISTS otherwise. */
int txn_begin(struct apply *a)
{
    char made[TXN_MADE_BYTES];
    struct assent_bytes xid = txn_xid(a, made);
    struct txn t, there;
    struct branch_plan *plans = NULL;
    uint32_t n;
    int rv = txn_parse(a, &t, TXN_MODE_TCC, TXN_BEGIN_OPTIONS);
    if (rv != ASSENT_OK)
        return rv;
    t.execute = arg_bool(a->command, TXN_BEGIN_EXECUTE, false);
    rv = begin_branches(a, &n, &plans);
    if (rv == ASSENT_OK) {
        if (!txn_load(a->txn, xid, &there)) {
            rv = begin_write(a, xid, &t, plans, n);
        } else if (arg_bool(a->command, TXN_BEGIN_OPTIONS + OPTION_KEEP, false) ||
                   txn_same(a, xid, &there, &t, plans, n)) {
            txn_answer_begin(a, xid, &there, false);
        } else {
            rv = txn_exists(a, xid, &there);
        }
    }
    free(plans);
    return rv;
}

/* Register one more branch.  Idempotent by name and content. */
int txn_branch(struct apply *a)
{
    struct assent_bytes xid = arg_bytes(a->command, TXN_BRANCH_XID);
    struct txn t;
    struct branch_plan plan;
    uint32_t ordinal;
    if (!txn_load(a->txn, xid, &t))
        return txn_not_found(a, xid);
    int rv = branch_parse(a, a->command->args, 0, &plan);
    if (rv != ASSENT_OK)
        return rv;
    if (t.status != TXN_ACTIVE)
        return txn_decided(a, &t);
    if (t.mode != TXN_MODE_TCC && t.mode != TXN_MODE_XA)
        return refuse(a, ASSENT_INVALID, "a %s takes no branches", txn_mode_name(t.mode));
    bool there = branch_find(a->txn, xid, plan.name, &ordinal);
    if (there && !branch_same(a->txn, xid, ordinal, &plan))
        return refuse(a, ASSENT_BRANCH_EXISTS, "branch %.*s is there with other content", (int)plan.name.size,
                      (const char *)plan.name.base);
    if (!there && t.branches == ASSENT_BRANCHES_MAX)
        return refuse(a, ASSENT_LIMIT, "the transaction has %d branches", ASSENT_BRANCHES_MAX);
    if (!there) {
        branch_add(a, xid, &t, &plan);
        txn_save(a, xid, &t);
    }
    codec_map(a->out, 4);
    codec_pair_text(a->out, "xid", scoped_name(xid, NULL));
    codec_pair_text(a->out, "branch", plan.name);
    codec_pair_cstr(a->out, "status", txn_status_name(t.status));
    codec_pair_uint(a->out, "branchCount", t.branches);
    return ASSENT_OK;
}
