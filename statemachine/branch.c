/* Branches: their moves, how far each has come, and what the calls' reports change.  Keys and drawing are in
 * txn.h.
 *
 * A report names the attempt it is about.  Only the report of the attempt that is due counts; every other one
 * is past (the call was made twice, or by a deposed leader) and is refused without effect. */
#include <stdio.h>

#include "mark.h"
#include "planted.h"
#include "txn.h"

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

/* ---- progress and reports ---- */

enum { PROGRESS_FORMAT = 2 };

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
        assert(format == PROGRESS_FORMAT);
        p->status = (enum branch_status)row_take_u8(&r);
        p->attempts = row_take_u32(&r);
        p->next_due_us = (int64_t)row_take_u64(&r);
        p->finished_us = (int64_t)row_take_u64(&r);
        p->error = row_take_bytes(&r);
        p->action = (enum sm_outcome)row_take_u8(&r);
        p->errors = row_take_u32(&r);
        p->waiting = row_take_u32(&r);
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

static void call_event(struct apply *a, struct assent_bytes xid, const struct txn *t, const struct report *r,
                       struct assent_bytes url)
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
        .url = url,
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
        if (!branch_has(&plan, (int)r->op))
            return refuse(a, ASSENT_INVALID, "op: %s or %s", ops[plan.forward].name,
                          ops[plan.forward + 1].name);
        bool delivery = t.mode == TXN_MODE_MESSAGE && t.status == TXN_COMMITTING;
        MARK_IF(REPORT_OF_OTHER_PHASE, t.status != ops[r->op].during && !delivery);
        if (t.status != ops[r->op].during && !delivery)
            return report_stale(a, "the transaction is not in that phase");
        branch_progress_load(a->txn, xid, ordinal, &t, &plan, &p);
        if (PLANTED(REPORT_COUNTS_TWICE) && p.status == ops[r->op].done &&
            (r->op == SM_OP_CONFIRM || r->op == SM_OP_CANCEL)) {
            phase_two_done(a, xid, &t, ordinal);
            txn_save(a, xid, &t);
            return ASSENT_OK;
        }
        MARK_IF(REPORT_TWICE, p.status != ops[r->op].doing);
        if (p.status != ops[r->op].doing)
            return report_stale(a, "the branch has answered already");
        MARK_IF(REPORT_OF_OTHER_ATTEMPT, p.attempts != r->attempt);
        if (p.attempts != r->attempt)
            return report_stale(a, "another attempt is due");
    }
    /* A call that was accepted did what it should; its outcome is still to come. */
    bool well = r->outcome == SM_OUTCOME_SUCCESS || (!whole && branch_accepts(&plan, r));
    bool changed = t.failures > 0 || !well;
    t.failures = well ? 0 : t.failures + (t.failures < UINT32_MAX);
    if (!well) {
        t.error = txn_shortened(r->error, TXN_ERROR_BYTES_MAX);
        call_event(a, xid, &t, r, whole ? (struct assent_bytes){NULL, 0} : plan.url[r->op]);
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
