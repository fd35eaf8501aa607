/* What came of a call, on its way into the log: proposed as a BRANCH_REPORT, and again when the proposal was
 * not taken.  The outcome of a proposal comes back through executor_reported(). */
#include <assert.h>

#include "assent/error.h"
#include "executor_private.h"

/* The proposal was not taken; it is made again a little later. */
static void call_unreported(struct call *c)
{
    struct executor *ex = c->ex;
    c->state = CALL_UNREPORTED;
    c->queue_next = ex->unreported;
    if (ex->unreported == NULL)
        ex->report_again_ms = uv_now(ex->config.loop) + REPORT_RETRY_MS;
    ex->unreported = c;
    wake_in(ex, REPORT_RETRY_MS);
}

void call_report(struct call *c)
{
    static const struct command_session none = {.kind = SESSION_NONE};
    struct executor *ex = c->ex;
    codec_writer_reset(&ex->report);
    bool saga = is_saga(c->op);
    command_begin(&ex->report, COMMAND_BRANCH_REPORT, &none, saga ? 7 : 6);
    codec_text(&ex->report, call_xid(c));
    codec_text(&ex->report, call_branch(c));
    codec_uint(&ex->report, c->op);
    codec_uint(&ex->report, c->attempt);
    codec_bool(&ex->report, c->outcome == SM_OUTCOME_SUCCESS);
    codec_cstr(&ex->report, c->error);
    if (saga)
        codec_uint(&ex->report, c->outcome);
    c->state = CALL_REPORTING;
    ex->metrics.reporting++;
    if (ex->config.propose(ex->config.data, codec_written(&ex->report), c) == ASSENT_OK)
        return;
    ex->metrics.reporting--;
    call_unreported(c);
}

void report_again(struct executor *ex)
{
    struct call *c = ex->unreported;
    ex->unreported = NULL;
    while (c != NULL) {
        struct call *next = c->queue_next;
        ex->metrics.reports_retried++;
        call_report(c);
        c = next;
    }
}

/* An operating error: the report may not have been applied. */
static bool report_not_applied(int code)
{
    switch (code) {
    case ASSENT_OK:
    case ASSENT_MALFORMED:
    case ASSENT_INVALID:
    case ASSENT_TOO_LARGE:
        return false;
    default:
        return code < ASSENT_NOT_FOUND; /* refusals begin there */
    }
}

void executor_reported(struct executor *ex, void *ticket, int code)
{
    struct call *c = ticket;
    assert(c->ex == ex && c->state == CALL_REPORTING);
    ex->metrics.reporting--;
    if (ex->running && report_not_applied(code)) {
        call_unreported(c);
        return;
    }
    if (ex->running && code != ASSENT_OK) { /* refused: the work may stand there still, in another form */
        ex->pass_from_us = 0;
        ex->dirty = true;
    }
    call_free(c);
    close_when_idle(ex);
}
