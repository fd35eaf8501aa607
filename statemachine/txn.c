/* Global transactions: decide, finish, time out, forget.  The drawing and the keys are in txn.h.
 *
 * Everything here is a function of the store and one command.  Begin is durable, so no election rolls a
 * transaction back; a decision is durable before anybody is called, so the next leader reads it and goes on.
 * Sources: Gray and Lamport, Consensus on Transaction Commit; Spanner and Percolator for deciding in a log.
 */
#include <stdio.h>

#include "freeze.h"
#include "mark.h"
#include "nest.h"
#include "planted.h"
#include "settings.h"

#define BIT(n) (1u << (n))

static const uint16_t txn_next[TXN_STATUS_NR] = {
    [TXN_ACTIVE] = BIT(TXN_COMMITTING) | BIT(TXN_ROLLING_BACK) | BIT(TXN_RUNNING) | BIT(TXN_PREPARING) |
                   BIT(TXN_COMMITTED) | BIT(TXN_ROLLED_BACK) | BIT(TXN_SUSPENDED) | BIT(TXN_STOPPED),
    [TXN_PREPARING] = BIT(TXN_COMMITTING) | BIT(TXN_ROLLING_BACK) | BIT(TXN_STOPPED),
    [TXN_COMMITTING] = BIT(TXN_COMMITTED) | BIT(TXN_SUSPENDED) | BIT(TXN_STOPPED),
    [TXN_COMMITTED] = BIT(TXN_ROLLING_BACK), /* a nested saga, when the one around it turns back */
    [TXN_ROLLING_BACK] = BIT(TXN_ROLLED_BACK) | BIT(TXN_SUSPENDED) | BIT(TXN_STOPPED),
    [TXN_SUSPENDED] =
        BIT(TXN_ACTIVE) | BIT(TXN_RUNNING) | BIT(TXN_COMMITTING) | BIT(TXN_ROLLING_BACK) | BIT(TXN_STOPPED),
    [TXN_RUNNING] = BIT(TXN_COMMITTED) | BIT(TXN_PREPARING) | BIT(TXN_COMMITTING) | BIT(TXN_ROLLING_BACK) |
                    BIT(TXN_SUSPENDED) | BIT(TXN_STOPPED),
};
static_assert(TXN_STATUS_NR <= 16, "txn_next holds one bit per status");

static const char *const status_names[TXN_STATUS_NR] = {
    [TXN_ACTIVE] = "ACTIVE",       [TXN_PREPARING] = "PREPARING",       [TXN_COMMITTING] = "COMMITTING",
    [TXN_COMMITTED] = "COMMITTED", [TXN_ROLLING_BACK] = "ROLLING_BACK", [TXN_ROLLED_BACK] = "ROLLED_BACK",
    [TXN_SUSPENDED] = "SUSPENDED", [TXN_RUNNING] = "RUNNING",           [TXN_STOPPED] = "STOPPED",
};
static const char *const mode_names[TXN_MODE_NR] = {
    [TXN_MODE_TCC] = "TCC", [TXN_MODE_XA] = "XA",           [TXN_MODE_SAGA] = "SAGA",
    [TXN_MODE_AT] = "AT",   [TXN_MODE_MESSAGE] = "MESSAGE", [TXN_MODE_WORKFLOW] = "WORKFLOW",
};

const char *txn_status_name(enum txn_status status)
{
    assert(status > 0 && status < TXN_STATUS_NR);
    return status_names[status];
}

const char *txn_mode_name(enum txn_mode mode)
{
    assert(mode > 0 && mode < TXN_MODE_NR);
    return mode_names[mode];
}

enum txn_status txn_status_by_name(struct assent_bytes name)
{
    for (unsigned i = 1; i < TXN_STATUS_NR; i++)
        if (bytes_equal(name, bytes_of(status_names[i])))
            return (enum txn_status)i;
    return (enum txn_status)0;
}

enum txn_mode txn_mode_by_name(struct assent_bytes name)
{
    for (unsigned i = 1; i < TXN_MODE_NR; i++)
        if (bytes_equal(name, bytes_of(mode_names[i])))
            return (enum txn_mode)i;
    return (enum txn_mode)0;
}

bool txn_ended(enum txn_status status)
{
    return status == TXN_COMMITTED || status == TXN_ROLLED_BACK || status == TXN_STOPPED;
}

void txn_move(struct txn *t, enum txn_status to)
{
    assert(t->status > 0 && t->status < TXN_STATUS_NR);
    assert(txn_next[t->status] & BIT(to));
    t->status = to;
}

/* ---- save, answer ---- */

void txn_tell(struct apply *a, struct assent_bytes xid, const struct txn *t)
{
    struct sm_event event = {
        .kind = SM_EVENT_STATUS,
        .xid = xid,
        .business_type = t->business_type,
        .mode = txn_mode_name(t->mode),
        .status = txn_status_name(t->status),
        .detail = t->reason,
        .error = t->error,
        .final = nest_final(a->txn, t),
        .asked = t->asked,
    };
    apply_event(a, &event);
}

void txn_save(struct apply *a, struct assent_bytes xid, struct txn *t)
{
    assert(t->pending <= t->branches);
    assert(t->branches <= ASSENT_BRANCHES_MAX);
    assert(t->status == TXN_ACTIVE || t->status == TXN_SUSPENDED || t->token != 0);
    txn_head_put(a->txn, xid, t);
    if (t->stored != t->status)
        txn_index_move(a->txn, xid, t, t->stored, t->status);
    freeze_follow(a, xid, t->stored, t->status);
    if (t->stored != t->status)
        nest_moved(a, xid, t);
    if (t->stored != t->status) {
        statistics_move(a, xid, t, t->stored);
        txn_tell(a, xid, t);
    }
    t->stored = t->status;
}

enum { ANSWER_PAIRS = 13 };

static void write_answer(struct apply *a, struct assent_bytes xid, const struct txn *t)
{
    codec_pair_text(a->out, "xid", scoped_name(xid, NULL));
    codec_pair_cstr(a->out, "status", txn_status_name(t->status));
    codec_pair_cstr(a->out, "was", t->was != 0 ? txn_status_name(t->was) : "");
    codec_pair_cstr(a->out, "stands", txn_status_name(txn_stands(t)));
    codec_pair_cstr(a->out, "mode", txn_mode_name(t->mode));
    codec_pair_uint(a->out, "branchCount", t->branches);
    codec_pair_uint(a->out, "pendingCount", t->pending);
    codec_pair_uint(a->out, "nestedCount", t->children);
    codec_pair_text(a->out, "reason", t->reason);
    codec_pair_int(a->out, "createdUs", t->created_us);
    codec_pair_int(a->out, "deadlineUs", t->deadline_us);
    codec_pair_int(a->out, "decidedUs", t->decided_us);
    codec_pair_int(a->out, "finishedUs", t->finished_us);
}

int txn_answer(struct apply *a, struct assent_bytes xid, const struct txn *t)
{
    codec_map(a->out, ANSWER_PAIRS);
    write_answer(a, xid, t);
    return ASSENT_OK;
}

void txn_answer_open(struct apply *a, struct assent_bytes xid, const struct txn *t, bool created,
                     uint32_t more)
{
    codec_map(a->out, ANSWER_PAIRS + 1 + more);
    write_answer(a, xid, t);
    codec_pair_bool(a->out, "created", created);
}

int txn_answer_begin(struct apply *a, struct assent_bytes xid, const struct txn *t, bool created)
{
    txn_answer_open(a, xid, t, created, 0);
    return ASSENT_OK;
}

int txn_not_found(struct apply *a, struct assent_bytes xid)
{
    xid = scoped_name(xid, NULL);
    return refuse(a, ASSENT_TXN_NOT_FOUND, "no transaction %.*s", (int)xid.size, (const char *)xid.base);
}

int txn_exists(struct apply *a, struct assent_bytes xid, const struct txn *t)
{
    xid = scoped_name(xid, NULL);
    return refuse(a, ASSENT_EXISTS, "%.*s exists with other content and is %s", (int)xid.size,
                  (const char *)xid.base, txn_status_name(t->status));
}

int txn_decided(struct apply *a, const struct txn *t)
{
    return refuse(a, ASSENT_TXN_DECIDED, "the transaction is %s", txn_status_name(t->status));
}

/* ---- decide, finish ---- */

void txn_finish(struct apply *a, struct assent_bytes xid, struct txn *t)
{
    assert(t->pending == 0);
    txn_move(t, t->status == TXN_ROLLING_BACK ? TXN_ROLLED_BACK : TXN_COMMITTED);
    t->finished_us = a->now_us;
    timer_set(a->txn, a->now_us + retention_us(a->txn), TIMER_RETENTION, xid);
}

void txn_decide(struct apply *a, struct assent_bytes xid, struct txn *t, enum txn_status to)
{
    if (t->deadline_us != 0 && !PLANTED(TIMEOUT_AFTER_COMMIT))
        timer_clear(a->txn, t->deadline_us, TIMER_TXN, xid);
    if (t->whole_due_us != 0)
        txn_whole_due(a, xid, t, (enum sm_op)0, 0);
    if (t->execute)
        try_end(a, xid, t, to == TXN_ROLLING_BACK);
    txn_move(t, to);
    t->token = a->position;
    t->decided_us = a->now_us;
    t->pending = to == TXN_COMMITTING ? t->confirmable : t->cancellable;
    if (to == TXN_ROLLING_BACK && t->children > 0)
        t->waits = true;
    else if (t->pending > 0)
        phase_two_begin(a, xid, t);
    else
        txn_finish(a, xid, t);
}

void txn_back_begin(struct apply *a, struct assent_bytes xid, struct txn *t)
{
    assert(t->status == TXN_ROLLING_BACK && t->waits && t->open_children == 0);
    t->waits = false;
    if (t->mode == TXN_MODE_SAGA)
        saga_back_begin(a, xid, t);
    else if (t->pending > 0)
        phase_two_begin(a, xid, t);
    else
        txn_finish(a, xid, t);
}

void txn_vote(struct apply *a, struct assent_bytes xid, struct txn *t)
{
    assert(t->open_children == 0);
    if (!nest_inside(a->txn, t)) {
        txn_decide(a, xid, t, TXN_COMMITTING);
        return;
    }
    if (t->deadline_us != 0)
        timer_clear(a->txn, t->deadline_us, TIMER_TXN, xid);
    txn_move(t, TXN_PREPARING);
    t->token = a->position;
}

void txn_call_succeeded(struct apply *a, struct assent_bytes xid, struct txn *t)
{
    assert(t->pending > 0);
    t->pending--;
    if (t->pending == 0)
        txn_finish(a, xid, t);
}

int txn_calls_change(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t headers_at,
                     uint32_t timeout_at, uint32_t base_at)
{
    const struct codec_node *headers = codec_at(a->command->args, headers_at);
    uint64_t base_ms = arg_uint(a->command, base_at, t->retry.base_ms);
    if (codec_size(headers) > 0) {
        int rv = branch_headers_check(a, headers);
        if (rv != ASSENT_OK)
            return rv;
        t->headers = true;
        branch_headers_put(a->txn, xid, headers);
    }
    t->call_timeout_ms = (uint32_t)arg_uint(a->command, timeout_at, t->call_timeout_ms);
    if (base_ms == t->retry.base_ms)
        return ASSENT_OK;
    t->retry.base_ms = base_ms < TXN_RETRY_MS_MAX ? base_ms : TXN_RETRY_MS_MAX;
    if (t->retry.cap_ms < t->retry.base_ms)
        t->retry.cap_ms = t->retry.base_ms;
    return ASSENT_OK;
}

/* Commit.  A transaction that is committing or committed answers as the first commit did. */
int txn_commit(struct apply *a)
{
    struct assent_bytes xid = arg_bytes(a->command, TXN_COMMIT_XID);
    struct txn t;
    if (!txn_load(a->txn, xid, &t))
        return txn_not_found(a, xid);
    enum txn_status stands = txn_stands(&t);
    bool two_phase = t.mode == TXN_MODE_TCC || t.mode == TXN_MODE_XA;
    if (arg_bool(a->command, TXN_COMMIT_KEEP, false) && (t.status != TXN_ACTIVE || !two_phase))
        return txn_answer(a, xid, &t);
    MARK_IF(COMMIT_TOO_LATE, stands == TXN_ROLLING_BACK || stands == TXN_ROLLED_BACK);
    MARK_IF(COMMIT_AGAIN, stands == TXN_COMMITTING || stands == TXN_COMMITTED);
    if (t.status == TXN_STOPPED || stands == TXN_ROLLING_BACK || stands == TXN_ROLLED_BACK)
        return txn_decided(a, &t);
    if (t.mode == TXN_MODE_SAGA)
        return refuse(a, ASSENT_INVALID, "a saga commits when its last step is done");
    if (t.mode == TXN_MODE_MESSAGE || t.mode == TXN_MODE_WORKFLOW)
        return refuse(a, ASSENT_INVALID, "a message is submitted, a workflow is ended");
    if (t.status == TXN_SUSPENDED && stands == TXN_ACTIVE)
        return refuse(a, ASSENT_CONFLICT, "the transaction waits for an operator");
    if (stands == TXN_RUNNING)
        return refuse(a, ASSENT_INVALID, "the transaction commits when every try has succeeded");
    if (t.status == TXN_ACTIVE && t.open_children > 0)
        return refuse(a, ASSENT_CONFLICT, "%u nested transactions are undecided", t.open_children);
    if (t.status == TXN_ACTIVE || (t.status == TXN_PREPARING && !nest_inside(a->txn, &t))) {
        int rv = txn_calls_change(a, xid, &t, TXN_COMMIT_HEADERS, TXN_COMMIT_CALL_TIMEOUT_MS,
                                  TXN_COMMIT_RETRY_BASE_MS);
        if (rv != ASSENT_OK)
            return rv;
        txn_vote(a, xid, &t);
        txn_save(a, xid, &t);
    }
    return txn_answer(a, xid, &t);
}

struct assent_bytes txn_shortened(struct assent_bytes text, size_t max)
{
    if (text.size <= max)
        return text;
    while (max > 0 && (text.base[max] & 0xc0) == 0x80) /* not inside a UTF-8 sequence */
        max--;
    return (struct assent_bytes){text.base, max};
}

void txn_back(struct apply *a, struct assent_bytes xid, struct txn *t, struct assent_bytes reason)
{
    if (t->mode == TXN_MODE_SAGA) {
        saga_back(a, xid, t, reason);
        return;
    }
    txn_because(t, reason);
    txn_decide(a, xid, t, TXN_ROLLING_BACK);
    txn_save(a, xid, t);
}

void txn_because(struct txn *t, struct assent_bytes reason)
{
    reason = txn_shortened(reason, TXN_REASON_BYTES_MAX);
    if (reason.size > 0)
        memmove(t->why, reason.base, reason.size);
    t->reason = (struct assent_bytes){t->why, reason.size};
}

/* Roll back, for a reason that is kept.  Idempotent as commit is. */
int txn_rollback(struct apply *a)
{
    struct assent_bytes xid = arg_bytes(a->command, TXN_ROLLBACK_XID);
    struct txn t;
    if (!txn_load(a->txn, xid, &t))
        return txn_not_found(a, xid);
    enum txn_status stands = txn_stands(&t);
    bool turns = stands == TXN_ACTIVE && t.mode != TXN_MODE_SAGA && t.mode != TXN_MODE_WORKFLOW;
    if (arg_bool(a->command, TXN_ROLLBACK_KEEP, false) && !turns)
        return txn_answer(a, xid, &t);
    bool waits = stands == TXN_PREPARING && nest_inside(a->txn, &t); /* for the one around it */
    MARK_IF(ROLLBACK_TOO_LATE, stands == TXN_COMMITTING || stands == TXN_COMMITTED);
    if (t.status == TXN_STOPPED || stands == TXN_COMMITTING || stands == TXN_COMMITTED || waits)
        return txn_decided(a, &t);
    if (t.mode == TXN_MODE_WORKFLOW && stands == TXN_ACTIVE)
        return refuse(a, ASSENT_INVALID, "a workflow is ended by who runs it");
    if (PLANTED(ANSWER_BEFORE_SAVE) && stands == TXN_ACTIVE)
        t.status = TXN_ROLLING_BACK;
    else if (stands == TXN_ACTIVE || stands == TXN_RUNNING || stands == TXN_PREPARING) {
        t.asked = true;
        txn_back(a, xid, &t, arg_bytes(a->command, TXN_ROLLBACK_REASON));
    }
    return txn_answer(a, xid, &t);
}

/* The deadline of an active transaction has passed.  A decision clears the timer, so whatever is found
 * undecided here is rolled back. */
void txn_timer(struct apply *a, struct assent_bytes id)
{
    struct txn t;
    bool there = txn_load(a->txn, id, &t);
    assert(there && (t.status == TXN_ACTIVE || t.status == TXN_RUNNING));
    /* `id` may be borrowed from the store: keep it over the writes below */
    struct store_key xid;
    key_init(&xid);
    key_tail(&xid, id);
    if (t.mode == TXN_MODE_MESSAGE) { /* without anybody to ask: it is sent */
        MARK(DEADLINE_SENDS);
        txn_decide(a, key_bytes(&xid), &t, TXN_COMMITTING);
        txn_save(a, key_bytes(&xid), &t);
        return;
    }
    char reason[64] = "timeout";
    if (t.style == SM_STYLE_DTM)
        snprintf(reason, sizeof(reason), "Timeout after %llu seconds",
                 (unsigned long long)(t.timeout_ms / 1000));
    MARK_IF(DEADLINE_TURNS_SAGA, t.mode == TXN_MODE_SAGA && t.status == TXN_RUNNING);
    MARK_IF(DEADLINE_DECIDES, t.mode != TXN_MODE_SAGA);
    if (t.mode == TXN_MODE_SAGA && t.status == TXN_RUNNING)
        saga_failed(a, key_bytes(&xid), &t, bytes_of(reason));
    else if (PLANTED(DEADLINE_COMMITS) && t.status == TXN_ACTIVE)
        txn_vote(a, key_bytes(&xid), &t);
    else
        txn_back(a, key_bytes(&xid), &t, bytes_of(reason));
}

/* The retention of a finished transaction has passed: its branches go first, a bounded number at a time, then
 * the transaction itself. */
void txn_retention(struct apply *a, struct assent_bytes id)
{
    struct store_key xid;
    key_init(&xid);
    key_tail(&xid, id);
    struct txn t;
    if (!txn_load(a->txn, key_bytes(&xid), &t) || !txn_ended(t.status))
        return; /* a nested saga turned back after its end: another end has another timer */
    int64_t kept_us = retention_us(a->txn), due_us = t.finished_us + kept_us;
    if (due_us > a->now_us) { /* it ended once more, or what has ended is kept longer now */
        timer_set(a->txn, due_us, TIMER_RETENTION, key_bytes(&xid));
        return;
    }
    if (nest_kept(a->txn, &t)) {
        timer_set(a->txn, a->now_us + kept_us, TIMER_RETENTION, key_bytes(&xid));
        return;
    }
    if (!branch_remove_some(a->txn, key_bytes(&xid), TXN_REMOVE_ROWS)) {
        timer_set(a->txn, a->now_us + 1000, TIMER_RETENTION, key_bytes(&xid));
        return;
    }
    nest_forget(a, key_bytes(&xid), &t);
    txn_rows_remove(a->txn, key_bytes(&xid));
    txn_index_move(a->txn, key_bytes(&xid), &t, t.stored, (enum txn_status)0);
}

int query_txn_status(struct apply *a)
{
    struct assent_bytes xid = arg_bytes(a->command, QUERY_TXN_STATUS_XID);
    struct txn t;
    if (!txn_load(a->txn, xid, &t))
        return txn_not_found(a, xid);
    if (PLANTED(STATUS_BEHIND) && t.status == TXN_COMMITTED)
        t.status = TXN_COMMITTING;
    return txn_answer(a, xid, &t);
}
