/* Workflows: the application runs them; here stands what its steps came to.
 *
 *      (nothing) --prepare--> ACTIVE --end SUCCEEDED--> COMMITTED
 *                             | ^ |  --end FAILED-----> ROLLED_BACK
 *                             | '-'
 *                             |step: one more row, which no later run does again
 *                             '--- nothing heard for CALLBACK_US: somebody is called to go on
 *
 * Whoever runs a workflow prepares it and gets what is recorded: steps that are there are not done again, a
 * workflow that has ended gives its result.  A step is recorded once: of two runs at a time, which a callback
 * may bring about, one is refused.  What a workflow records is limited so that one answer always holds all of
 * it: a run that saw a part would do the rest twice.  Source: DTM's workflow mode; replay as in durable
 * execution. */
#include <stdio.h>

#include "planted.h"
#include "txn.h"

/* Silence after which the callback is made, unless the transaction's retryBaseMs is longer: also while calls
 * are answered, since a run takes its time. */
#define CALLBACK_US INT64_C(10000000)
/* Steps and their data, which an answer holds beside a result of full size. */
#define STEPS_MAX       ASSENT_PAGE_ROWS_MAX
#define STEPS_BYTES_MAX (3u * 1024 * 1024)

static_assert(STEPS_BYTES_MAX + STEPS_MAX * 256 + 2 * ASSENT_PAYLOAD_BYTES_MAX < ASSENT_FRAME_BYTES_MAX,
              "an answer fits a frame");

static int64_t silence_us(const struct txn *t)
{
    int64_t base_us = (int64_t)t->retry.base_ms * 1000;
    return base_us > CALLBACK_US ? base_us : CALLBACK_US;
}

/* ---- what is recorded ---- */

/* A row's name is "branch/op"; an op has no slash. */
static struct assent_bytes split(struct assent_bytes name, struct assent_bytes *op)
{
    size_t n = name.size;
    while (name.base[n - 1] != '/')
        n--;
    *op = (struct assent_bytes){name.base + n, name.size - n};
    return (struct assent_bytes){name.base, n - 1};
}

static void write_steps(struct apply *a, struct assent_bytes xid, const struct txn *t)
{
    codec_cstr(a->out, "steps");
    codec_list(a->out, t->branches);
    for (uint32_t i = 0; i < t->branches; i++) {
        struct branch_plan plan;
        struct branch_progress p;
        struct assent_bytes op;
        bool there = branch_plan_load(a->txn, xid, i, &plan);
        assert(there);
        branch_progress_load(a->txn, xid, i, t, &plan, &p);
        assert(p.status == BRANCH_RECORDED);
        codec_map(a->out, 5);
        codec_pair_text(a->out, "branch", split(plan.name, &op));
        codec_pair_text(a->out, "op", op);
        codec_pair_cstr(a->out, "status", p.action == SM_OUTCOME_SUCCESS ? "SUCCEEDED" : "FAILED");
        txn_pair_body(a->out, "data", plan.payload);
        codec_pair_int(a->out, "recordedUs", plan.registered_us);
    }
}

void workflow_write(struct apply *a, struct assent_bytes xid, const struct txn *t)
{
    struct assent_bytes url = {NULL, 0}, name = {NULL, 0}, data = {NULL, 0};
    struct assent_bytes row = txn_row_get(a->txn, xid, TXN_ROW_CALLBACK);
    if (row.size > 0) {
        url = row_take_bytes(&row);
        name = row_take_bytes(&row);
        data = row_take_bytes(&row);
    }
    codec_pair_text(a->out, "name", name);
    codec_pair_text(a->out, "callbackUrl", url);
    txn_pair_body(a->out, "data", data);
    codec_pair_int(a->out, "nextCallbackUs", t->whole_due_us);
    codec_pair_uint(a->out, "callbacks", t->whole_attempts);
    txn_pair_body(a->out, "result", txn_row_get(a->txn, xid, TXN_ROW_RESULT));
    bool there = branch_plan_load(a->txn, xid, 0, &(struct branch_plan){0}) && !PLANTED(STEPS_NOT_SHOWN);
    if (there || t->branches == 0) {
        write_steps(a, xid, t);
    } else { /* its removal is under way */
        codec_cstr(a->out, "steps");
        codec_list(a->out, 0);
    }
}

/* ---- prepare ---- */

static int prepare_parse(struct apply *a, struct txn *t)
{
    const struct command *c = a->command;
    struct assent_bytes url = arg_bytes(c, WORKFLOW_PREPARE_CALLBACK_URL);
    int rv = txn_parse(a, t, TXN_MODE_WORKFLOW, WORKFLOW_PREPARE_OPTIONS);
    if (rv != ASSENT_OK)
        return rv;
    if (url.size > 0 && !branch_url_ok(url))
        return refuse(a, ASSENT_INVALID, "callbackUrl: http:// or https://, at most %d bytes, no spaces",
                      ASSENT_URL_BYTES_MAX);
    if (arg_present(c, WORKFLOW_PREPARE_OPTIONS + OPTION_ORDER) || t->parent.size > 0 || t->timeout_ms > 0)
        return refuse(a, ASSENT_INVALID,
                      "order, parent, timeoutMs: who runs a workflow says what comes next and when it ends");
    t->callback = url.size > 0;
    return ASSENT_OK;
}

/* The row is there also without a URL: it has the name and the data. */
static bool prepare_same(struct apply *a, struct assent_bytes xid, const struct txn *there,
                         const struct txn *t)
{
    if (!txn_head_same(a, xid, there, t)) /* of one mode, then */
        return false;
    struct assent_bytes row = txn_row_get(a->txn, xid, TXN_ROW_CALLBACK);
    return bytes_equal(row_take_bytes(&row), arg_bytes(a->command, WORKFLOW_PREPARE_CALLBACK_URL)) &&
           bytes_equal(row_take_bytes(&row), arg_bytes(a->command, WORKFLOW_PREPARE_NAME)) &&
           bytes_equal(row_take_bytes(&row), arg_bytes(a->command, WORKFLOW_PREPARE_DATA));
}

static int prepare_answer(struct apply *a, struct assent_bytes xid, const struct txn *t, bool created)
{
    if (t->mode != TXN_MODE_WORKFLOW)
        return txn_answer_begin(a, xid, t, created);
    txn_answer_open(a, xid, t, created, WORKFLOW_PAIRS);
    workflow_write(a, xid, t);
    return ASSENT_OK;
}

/* Begin a workflow, or get the stored one with all it has recorded.  Idempotent by xid and content, or with
 * `keep` by xid alone. */
int workflow_prepare(struct apply *a)
{
    char made[TXN_MADE_BYTES];
    struct assent_bytes xid = txn_xid(a, made);
    struct txn t, there;
    bool found = txn_load(a->txn, xid, &there);
    if (found && arg_bool(a->command, WORKFLOW_PREPARE_OPTIONS + OPTION_KEEP, false))
        return prepare_answer(a, xid, &there, false);
    int rv = prepare_parse(a, &t);
    if (rv != ASSENT_OK)
        return rv;
    if (found && !prepare_same(a, xid, &there, &t))
        return txn_exists(a, xid, &there);
    if (found)
        return prepare_answer(a, xid, &there, false);
    txn_write(a, xid, &t, NULL, 0, WORKFLOW_PREPARE_OPTIONS);
    txn_callback_put(a->txn, xid, arg_bytes(a->command, WORKFLOW_PREPARE_CALLBACK_URL),
                     arg_bytes(a->command, WORKFLOW_PREPARE_NAME),
                     arg_bytes(a->command, WORKFLOW_PREPARE_DATA));
    if (t.callback)
        txn_whole_due(a, xid, &t, SM_OP_CALLBACK, a->now_us + silence_us(&t));
    txn_save(a, xid, &t);
    return prepare_answer(a, xid, &t, true);
}

/* ---- step, end ---- */

/* "SUCCEEDED", "FAILED"; 0: neither. */
static enum sm_outcome take_status(struct assent_bytes word)
{
    return bytes_equal(word, bytes_of("SUCCEEDED")) ? SM_OUTCOME_SUCCESS
           : bytes_equal(word, bytes_of("FAILED"))  ? SM_OUTCOME_FAILURE
                                                    : (enum sm_outcome)0;
}

static bool op_ok(struct assent_bytes op)
{
    for (size_t i = 0; i < op.size; i++)
        if (op.base[i] <= ' ' || op.base[i] >= 0x7f || op.base[i] == '/')
            return false;
    return op.size > 0;
}

/* A workflow that may still be written to. */
static int load_active(struct apply *a, struct assent_bytes xid, struct txn *t)
{
    if (!txn_load(a->txn, xid, t))
        return txn_not_found(a, xid);
    if (t->mode != TXN_MODE_WORKFLOW)
        return refuse(a, ASSENT_INVALID, "the transaction is a %s", txn_mode_name(t->mode));
    if (t->status == TXN_SUSPENDED)
        return refuse(a, ASSENT_CONFLICT, "the transaction waits for an operator");
    return t->status == TXN_ACTIVE ? ASSENT_OK : txn_decided(a, t);
}

/* Record what a step came to: once for each branch and op. */
int workflow_step(struct apply *a)
{
    const struct command *c = a->command;
    struct assent_bytes xid = arg_bytes(c, WORKFLOW_STEP_XID), branch = arg_bytes(c, WORKFLOW_STEP_BRANCH);
    struct assent_bytes op = arg_bytes(c, WORKFLOW_STEP_OP), data = arg_bytes(c, WORKFLOW_STEP_DATA);
    enum sm_outcome outcome = take_status(arg_bytes(c, WORKFLOW_STEP_STATUS));
    char name[ASSENT_NAME_BYTES_MAX + 40];
    uint32_t ordinal;
    struct txn t;
    if (!op_ok(op) || op.size > 32)
        return refuse(a, ASSENT_INVALID, "op: a word of 1 to 32 visible characters, without a slash");
    if (outcome == 0)
        return refuse(a, ASSENT_INVALID, "status: SUCCEEDED or FAILED");
    int rv = load_active(a, xid, &t);
    if (rv != ASSENT_OK)
        return rv;
    snprintf(name, sizeof(name), "%.*s/%.*s", (int)branch.size, (const char *)branch.base, (int)op.size,
             (const char *)op.base);
    if (branch_find(a->txn, xid, bytes_of(name), &ordinal))
        return refuse(a, ASSENT_BRANCH_EXISTS, "step %s is recorded already", name);
    if (t.branches == STEPS_MAX || t.cursor + data.size > STEPS_BYTES_MAX)
        return refuse(a, ASSENT_LIMIT, "a workflow records %d steps and %u bytes of data", STEPS_MAX,
                      STEPS_BYTES_MAX);
    struct branch_plan plan = {
        .registered_us = a->now_us, .forward = SM_OP_ACTION, .name = bytes_of(name), .payload = data};
    struct branch_progress p = {.status = BRANCH_RECORDED, .finished_us = a->now_us, .action = outcome};
    branch_progress_put(a->txn, xid, t.branches, &t, &p);
    branch_add(a, xid, &t, &plan);
    t.cursor += (uint32_t)data.size;
    if (t.whole_due_us != 0 && t.whole_due_us < a->now_us + silence_us(&t)) /* somebody is at work */
        txn_whole_due(a, xid, &t, SM_OP_CALLBACK, a->now_us + silence_us(&t));
    txn_save(a, xid, &t);
    branch_event(a, xid, &t, plan.name, BRANCH_RECORDED);
    codec_map(a->out, 5);
    codec_pair_text(a->out, "xid", scoped_name(xid, NULL));
    codec_pair_text(a->out, "branch", branch);
    codec_pair_text(a->out, "op", op);
    codec_pair_cstr(a->out, "status", txn_status_name(t.status));
    codec_pair_uint(a->out, "stepCount", t.branches);
    return ASSENT_OK;
}

/* End a workflow.  One that has ended the same way answers as it did then; with `keep` one that cannot be
 * ended answers as it stands. */
int workflow_end(struct apply *a)
{
    const struct command *c = a->command;
    struct assent_bytes xid = arg_bytes(c, WORKFLOW_END_XID), result = arg_bytes(c, WORKFLOW_END_RESULT);
    enum sm_outcome outcome = take_status(arg_bytes(c, WORKFLOW_END_STATUS));
    struct txn t;
    if (outcome == 0)
        return refuse(a, ASSENT_INVALID, "status: SUCCEEDED or FAILED");
    int rv = load_active(a, xid, &t);
    enum txn_status end = outcome == SM_OUTCOME_SUCCESS ? TXN_COMMITTED : TXN_ROLLED_BACK;
    bool keep = rv != ASSENT_TXN_NOT_FOUND && arg_bool(c, WORKFLOW_END_KEEP, false);
    if (rv != ASSENT_OK && (keep || (rv == ASSENT_TXN_DECIDED && t.status == end)))
        return txn_answer(a, xid, &t);
    if (rv != ASSENT_OK)
        return rv;
    t.result = result.size > 0;
    if (t.result)
        txn_row_put(a->txn, xid, TXN_ROW_RESULT, result);
    t.reason = txn_shortened(arg_bytes(c, WORKFLOW_END_REASON), TXN_REASON_BYTES_MAX);
    txn_decide(a, xid, &t, outcome == SM_OUTCOME_SUCCESS ? TXN_COMMITTING : TXN_ROLLING_BACK);
    assert(t.status == end); /* nothing is called */
    txn_save(a, xid, &t);
    return txn_answer(a, xid, &t);
}

/* Whatever it was answered: if the workflow has not ended and records nothing, somebody is called again. */
void workflow_callback_report(struct apply *a, struct assent_bytes xid, struct txn *t, const struct report *r)
{
    txn_whole_again(a, xid, t, r, silence_us(t));
    txn_save(a, xid, t);
}
