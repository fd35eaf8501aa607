/* One call: from a loaded piece of work to its outcome. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "assent/error.h"
#include "executor_private.h"
#include "jsonrpc.h"
#include "mark.h"
#include "planted.h"

static int64_t monotonic_us(void)
{
    return (int64_t)(uv_hrtime() / 1000);
}

static void call_finished(struct call *c, enum sm_outcome outcome, const char *error)
{
    struct executor *ex = c->ex;
    struct host *h = c->host;
    int64_t took_us = monotonic_us() - c->started_us;
    uint32_t bucket = 0;
    while (bucket < EXECUTOR_BUCKETS && took_us > (1000ll << bucket))
        bucket++;
    ex->metrics.latency[bucket]++;
    ex->metrics.latency_sum_us += (uint64_t)(took_us > 0 ? took_us : 0);
    ex->metrics.calls++;
    ex->metrics.in_flight--;
    c->outcome = outcome;
    snprintf(c->error, sizeof(c->error), "%s", error);
    c->host = NULL;
    h->calling--;
    host_update(ex, h);
    if (outcome != SM_OUTCOME_SUCCESS) {
        ex->metrics.failures++;
        struct executor_failure f = {call_xid(c), call_branch(c), sm_op_name(c->op), c->error, c->attempt};
        if (ex->config.failed != NULL)
            ex->config.failed(ex->config.data, &f);
    }
    call_report(c);
    wake_in(ex, 0); /* a slot is free */
}

/* What an answer means; the first rule that fits wins (DTM's order).
 *
 *                                          native                     DTM
 *   425, ONGOING in the body               ONGOING, as is 202         ONGOING
 *   409, FAILURE in the body               FAILURE                    FAILURE
 *   success                                other 2xx                  200
 *   anything else, no answer               ERROR                      ERROR
 *
 * In native style confirm and cancel know only success and error: they must succeed in the end. */
static enum sm_outcome classify(const struct call *c, int status)
{
    const struct caller_call *http = c->http;
    bool dtm = c->style == SM_STYLE_DTM;
    if (status == 0)
        return PLANTED(TIMEOUT_IS_SUCCESS) ? SM_OUTCOME_SUCCESS : SM_OUTCOME_ERROR;
    if (dtm || (c->op != SM_OP_CONFIRM && c->op != SM_OP_CANCEL)) {
        if (status == 425 || (status == 202 && !dtm) || caller_answer_has(http, CALLER_WORD_ONGOING))
            return SM_OUTCOME_ONGOING;
        if (status == 409 || caller_answer_has(http, CALLER_WORD_FAILURE))
            return SM_OUTCOME_FAILURE;
    }
    if (dtm ? status != 200 : status < 200 || status > 299)
        return SM_OUTCOME_ERROR;
    return c->jsonrpc ? jsonrpc_outcome(caller_answer(http)) : SM_OUTCOME_SUCCESS;
}

/* ---- faults on demand (simulate.h) ---- */

static void tell_fault(struct call *c)
{
    struct executor *ex = c->ex;
    struct executor_fault fault = {
        .xid = call_xid(c),
        .branch = call_branch(c),
        .op = sm_op_name(c->op),
        .fault = simulate_fault_name(c->fault),
        .rule = c->rule,
        .crash = c->fault == SIMULATE_CRASH || c->fault == SIMULATE_CRASH_BEFORE,
    };
    ex->metrics.simulated[c->fault]++;
    ex->config.simulated(ex->config.data, &fault);
}

/* False: the participant is called. */
static bool pretend(struct call *c, uint32_t timeout_ms)
{
    struct executor *ex = c->ex;
    if (c->fault == SIMULATE_NONE || c->fault == SIMULATE_FAIL_AFTER || c->fault == SIMULATE_CRASH)
        return false; /* these are for the answer */
    tell_fault(c);
    if (c->fault == SIMULATE_TIMEOUT) {
        c->until_ms = uv_now(ex->config.loop) + timeout_ms;
        c->queue_next = ex->waiting;
        ex->waiting = c;
        wake_in(ex, timeout_ms);
    } else if (c->fault == SIMULATE_REFUSE) {
        call_finished(c, SM_OUTCOME_FAILURE, "simulated: the participant refuses");
    } else {
        call_finished(c, SM_OUTCOME_ERROR, "simulated: the call was not made");
    }
    return true;
}

void calls_pretend(struct executor *ex)
{
    uint64_t now_ms = uv_now(ex->config.loop), next_ms = UINT64_MAX;
    struct call *c = ex->waiting, *next;
    ex->waiting = NULL;
    for (; c != NULL; c = next) {
        next = c->queue_next;
        if (c->until_ms <= now_ms) {
            call_finished(c, SM_OUTCOME_ERROR, "simulated: no answer within the time limit");
            continue;
        }
        c->queue_next = ex->waiting;
        ex->waiting = c;
        if (c->until_ms < next_ms)
            next_ms = c->until_ms;
    }
    if (ex->waiting != NULL)
        wake_in(ex, next_ms - now_ms);
}

/* ---- the call ---- */

static void on_called(struct caller_call *http, int status, const char *error)
{
    struct call *c = http->data;
    char text[CALLER_ERROR_BYTES_MAX];
    bool gone = status == 502 || status == 503 || status == 504; /* a proxy says that nobody answers */
    MARK_IF(CALL_UNANSWERED, status == 0);
    host_judge(c->ex, c->host, !gone && !caller_unreachable(http));
    enum sm_outcome outcome = classify(c, status);
    if (outcome == SM_OUTCOME_SUCCESS) {
        error = "";
    } else if (error[0] == 0) { /* 2xx, but its body says otherwise */
        caller_answer_text(http, status, text, sizeof(text));
        error = text;
    }
    if (c->fault != SIMULATE_NONE) {
        tell_fault(c);
        outcome = SM_OUTCOME_ERROR;
        error = "simulated: the answer was lost";
    }
    c->http = NULL;
    call_finished(c, outcome, error);
    free(http);
}

/* NULL, or why the call cannot be made. */
static const char *post(struct call *c, struct call_form *form)
{
    c->http = calloc(1, sizeof(*c->http));
    assert(c->http != NULL);
    c->http->data = c;
    int rv = caller_start(c->ex->caller, c->http, &form->request, on_called);
    if (rv == ASSENT_OK)
        return NULL;
    free(c->http);
    c->http = NULL;
    return rv == ASSENT_INVALID ? "bad URL or header" : "out of memory";
}

void call_start(struct call *c, struct host *h, const struct sm_work *work)
{
    struct executor *ex = c->ex;
    struct call_form form;
    const char *why = NULL;
    c->attempt = work->attempt;
    c->style = work->style;
    c->urgent = work->urgent;
    c->host = h;
    c->state = CALL_CALLING;
    c->started_us = monotonic_us();
    h->calling++;
    ex->metrics.in_flight++;
    host_update(ex, h); /* it is idle no more */
    bool formed = call_form_open(&form, ex, work, &why) == ASSENT_OK;
    c->jsonrpc = form.jsonrpc;
    if (formed) {
        c->fault = (uint8_t)simulate_pick(ex->config.simulate, work, &c->rule);
        why = pretend(c, form.request.timeout_ms) ? NULL : post(c, &form);
    }
    call_form_close(&form);
    if (why == NULL)
        return;
    char text[CALLER_ERROR_BYTES_MAX];
    snprintf(text, sizeof(text), "the call cannot be made: %s", why);
    call_finished(c, SM_OUTCOME_ERROR, text);
}
