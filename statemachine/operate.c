/* What operators do to transactions, one by one and to all a filter finds.
 *
 *   retry    what is due later is due now; a suspended one goes on where it was
 *   skip     a branch whose call has not succeeded counts as done
 *   pause    to SUSPENDED: nothing is called until somebody resumes it
 *   resume   from SUSPENDED to where it was
 *   back     turn back what was not decided
 *   force    to STOPPED: nothing more is called, nothing is taken back; the end
 *
 * Nobody acts without a name and a reason, and every act that is not refused is on record (audit.h). */
#include <stdio.h>
#include <stdlib.h>

#include "audit.h"
#include "nest.h"
#include "planted.h"

#define BIT(n) (1u << (n))

/* One command writes about so many rows at most; a page of larger transactions ends earlier. */
#ifndef ACT_BRANCHES_MAX
#define ACT_BRANCHES_MAX 50000u
#endif

enum act { ACT_RETRY = 1, ACT_SKIP, ACT_FORCE, ACT_PAUSE, ACT_RESUME, ACT_BACK, ACT_NR };

enum {
    GOING = BIT(TXN_ACTIVE) | BIT(TXN_RUNNING) | BIT(TXN_COMMITTING) | BIT(TXN_ROLLING_BACK),
    CALLING = BIT(TXN_RUNNING) | BIT(TXN_COMMITTING) | BIT(TXN_ROLLING_BACK),
    WAITING = BIT(TXN_SUSPENDED)
};
static const struct {
    const char *name;
    uint32_t from; /* statuses, a bit each */
    bool why;      /* who did it and why becomes the transaction's reason */
} acts[ACT_NR] = {
    [ACT_RETRY] = {"retry", GOING | WAITING, false},
    [ACT_SKIP] = {"skip", CALLING | WAITING, true},
    [ACT_FORCE] = {"force", GOING | WAITING | BIT(TXN_PREPARING), true},
    [ACT_PAUSE] = {"pause", GOING, true},
    [ACT_RESUME] = {"resume", WAITING, true},
    [ACT_BACK] = {"back", BIT(TXN_ACTIVE) | BIT(TXN_RUNNING) | WAITING, true},
};

/* What an operator wants; borrows from the command. */
struct order {
    enum act act;
    struct assent_bytes by, branch, why;
};

static enum act act_by_name(struct assent_bytes name)
{
    for (int i = 1; i < ACT_NR; i++)
        if (bytes_equal(name, bytes_of(acts[i].name)))
            return (enum act)i;
    return (enum act)0;
}

static int order_check(struct apply *a, const struct order *o)
{
    if (o->act == 0)
        return refuse(a, ASSENT_INVALID, "act: retry, skip, force, pause, resume or back");
    if (o->why.size == 0)
        return refuse(a, ASSENT_INVALID, "reason: say why");
    if ((o->act == ACT_SKIP) != (o->branch.size > 0))
        return refuse(a, ASSENT_INVALID, "branch: the one that skip passes over");
    return ASSENT_OK;
}

/* May it be done to this transaction, as far as its status tells? */
static int act_check(struct apply *a, const struct txn *t, enum act act)
{
    enum txn_status stands = txn_stands(t);
    if ((acts[act].from & BIT(t->status)) == 0)
        return txn_decided(a, t);
    if (act == ACT_BACK && stands == TXN_COMMITTING)
        return refuse(a, ASSENT_TXN_DECIDED, "the transaction was %s", txn_status_name(stands));
    return ASSENT_OK;
}

static int act_perform(struct apply *a, struct assent_bytes xid, struct txn *t, const struct order *o,
                       struct assent_bytes reason)
{
    switch (o->act) {
    case ACT_RETRY:
        if (t->status == TXN_SUSPENDED)
            txn_unsuspend(a, xid, t);
        else
            txn_hurry(a, xid, t);
        return ASSENT_OK;
    case ACT_SKIP:
        return txn_skip(a, xid, t, o->branch);
    case ACT_FORCE:
        txn_stop(a, xid, t);
        return ASSENT_OK;
    case ACT_PAUSE:
        txn_suspend(a, xid, t, reason);
        return ASSENT_OK;
    case ACT_RESUME:
        txn_unsuspend(a, xid, t);
        return ASSENT_OK;
    case ACT_BACK:
        if (txn_stands(t) == TXN_ROLLING_BACK)
            txn_unsuspend(a, xid, t);
        else
            txn_back(a, xid, t, reason);
        return ASSENT_OK;
    case ACT_NR:
        break;
    }
    assert(false);
    return ASSENT_INVALID;
}

/* Do it and put it on record, or refuse and change nothing. */
static int act_one(struct apply *a, struct assent_bytes xid, struct txn *t, const struct order *o)
{
    char text[ACT_NR + ASSENT_NAME_BYTES_MAX + TXN_REASON_BYTES_MAX + 32];
    struct assent_bytes why = txn_shortened(o->why, TXN_REASON_BYTES_MAX);
    int rv = act_check(a, t, o->act);
    if (rv != ASSENT_OK)
        return rv;
    snprintf(text, sizeof(text), "%s by %.*s: %.*s", acts[o->act].name, (int)o->by.size,
             (const char *)o->by.base, (int)why.size, (const char *)why.base);
    struct audit entry = {.by = o->by,
                          .act = bytes_of(acts[o->act].name),
                          .reason = o->why,
                          .xid = xid,
                          .branch = o->branch,
                          .before = t->status};
    if (acts[o->act].why || t->status == TXN_SUSPENDED)
        txn_because(t, bytes_of(text));
    rv = act_perform(a, xid, t, o, bytes_of(text));
    if (rv != ASSENT_OK)
        return rv;
    entry.after = t->status;
    if (!PLANTED(ACT_OFF_RECORD) || o->act != ACT_PAUSE)
        audit_put(a, &entry);
    struct sm_event event = {
        .kind = SM_EVENT_ACT,
        .xid = xid,
        .business_type = t->business_type,
        .mode = txn_mode_name(t->mode),
        .status = txn_status_name(t->status),
        .branch = o->branch,
        .detail = bytes_of(text),
        .final = nest_final(a->txn, t),
    };
    apply_event(a, &event);
    return ASSENT_OK;
}

static int act_command(struct apply *a, struct assent_bytes xid, const struct order *o, uint32_t from)
{
    struct txn t;
    if (!txn_load(a->txn, xid, &t))
        return txn_not_found(a, xid);
    int rv = order_check(a, o);
    if (rv == ASSENT_OK && (from & BIT(t.status)) == 0)
        rv = txn_decided(a, &t);
    if (rv == ASSENT_OK)
        rv = act_one(a, xid, &t, o);
    return rv == ASSENT_OK ? txn_answer(a, xid, &t) : rv;
}

int txn_act(struct apply *a)
{
    const struct command *c = a->command;
    struct order o = {.act = act_by_name(arg_bytes(c, TXN_ACT_ACT)),
                      .by = arg_bytes(c, TXN_ACT_BY),
                      .branch = arg_bytes(c, TXN_ACT_BRANCH),
                      .why = arg_bytes(c, TXN_ACT_REASON)};
    return act_command(a, arg_bytes(c, TXN_ACT_XID), &o, UINT32_MAX);
}

/* An operator says how a suspended transaction goes on: "retry" what has not succeeded, "skip" one such
 * branch, go "back". */
int txn_resume(struct apply *a)
{
    const struct command *c = a->command;
    struct assent_bytes move = arg_bytes(c, TXN_RESUME_MOVE);
    struct order o = {.act = act_by_name(move),
                      .by = arg_bytes(c, TXN_RESUME_BY),
                      .branch = arg_bytes(c, TXN_RESUME_BRANCH),
                      .why = arg_bytes(c, TXN_RESUME_REASON)};
    if (o.act != ACT_RETRY && o.act != ACT_SKIP && o.act != ACT_BACK)
        return refuse(a, ASSENT_INVALID, "move: retry, skip or back");
    return act_command(a, arg_bytes(c, TXN_RESUME_XID), &o, WAITING);
}

/* ---- many */

/* The transactions a page found, kept over what is done to them. */
struct herd {
    uint32_t n;
    struct store_key *xids;
};

static void herd_add(void *data, struct assent_bytes xid, const struct txn *t)
{
    struct herd *herd = data;
    (void)t;
    key_init(&herd->xids[herd->n]);
    key_tail(&herd->xids[herd->n++], xid);
}

static bool filter_given(const struct command *c)
{
    for (uint32_t i = 0; i < QUERY_TXN_LIST_NR; i++)
        if (i != QUERY_TXN_LIST_AFTER && i != QUERY_TXN_LIST_LIMIT && i != QUERY_TXN_LIST_ORDER &&
            arg_present(c, TXN_ACT_MANY_FILTER + i))
            return true;
    return false;
}

static void place_of(struct assent_bytes xid, const struct txn *t, struct txn_place *place)
{
    place->created_us = t->created_us;
    key_init(&place->name);
    key_tail(&place->name, scoped_name(xid, NULL));
}

/* The same act to a page of unfinished transactions, each as if it were alone: one that refuses is counted
 * and passed over.  Answers how many, and where the next page begins; nil: that was all. */
int txn_act_many(struct apply *a)
{
    const struct command *c = a->command;
    struct order o = {.act = act_by_name(arg_bytes(c, TXN_ACT_MANY_ACT)),
                      .by = arg_bytes(c, TXN_ACT_MANY_BY),
                      .why = arg_bytes(c, TXN_ACT_MANY_REASON)};
    struct txn_filter f;
    struct txn_place next;
    if (o.act == ACT_SKIP)
        return refuse(a, ASSENT_INVALID, "act: a branch is skipped in one transaction at a time");
    int rv = order_check(a, &o);
    if (rv == ASSENT_OK)
        rv = txn_filter_parse(a, TXN_ACT_MANY_FILTER, &f);
    if (rv != ASSENT_OK)
        return rv;
    if (!filter_given(c))
        return refuse(a, ASSENT_INVALID,
                      "say which transactions: status, mode, olderThanMs or another filter");
    f.range.statuses &= txn_unfinished();
    struct herd herd = {.xids = calloc(f.limit, sizeof(*herd.xids))};
    assert(herd.xids != NULL);
    bool more = txn_page(a->txn, &f, herd_add, &herd, &next);
    uint64_t acted = 0, refused = 0, branches = 0;
    for (uint32_t i = 0; i < herd.n; i++) {
        struct txn t;
        bool there = txn_load(a->txn, key_bytes(&herd.xids[i]), &t);
        assert(there); /* an act removes nothing */
        branches += t.branches;
        if (act_one(a, key_bytes(&herd.xids[i]), &t, &o) == ASSENT_OK)
            acted++;
        else
            refused++;
        if (branches >= ACT_BRANCHES_MAX && i + 1 < herd.n) {
            place_of(key_bytes(&herd.xids[i]), &t, &next);
            more = true;
            break;
        }
    }
    free(herd.xids);
    codec_map(a->out, 3);
    codec_pair_uint(a->out, "acted", acted);
    codec_pair_uint(a->out, "refused", refused);
    codec_cstr(a->out, "next");
    if (more)
        txn_place_write(a->out, &next);
    else
        codec_nil(a->out);
    return ASSENT_OK;
}
