/* What came of calls, on its way into the log.
 *
 *   (call ended) -> GATHERED -> REPORTING -> (gone)
 *                      ^            \-> UNREPORTED -> GATHERED   the proposal was not taken
 *
 * Reports are gathered, so that a busy leader pays for one command and not for hundreds: they leave together
 * on the next turn when one of them is urgent (somebody waits for that step) or no other call is under way or
 * due (there is nobody to wait for), `report_lazy_ms` after the first otherwise, and at once when there are
 * as many as a command takes. A leader that dies with reports it has gathered has made calls nobody knows of;
 * its successor makes them again, as it does those that were under way, and the participant's guard makes of
 * both one effect.
 *
 * A command names one namespace, so reports of several leave as several commands. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "assent/error.h"
#include "executor_private.h"
#include "mark.h"

/* Of one command: well below an entry, so that it never waits for another batch. */
#define BATCH_BYTES_MAX (64u * 1024)
/* What a report takes beside its texts: heads of a list, three texts and four numbers. */
#define REPORT_BYTES 64u
static_assert(BATCH_BYTES_MAX >
                  ASSENT_XID_BYTES_MAX + ASSENT_NAME_BYTES_MAX + CALLER_ERROR_BYTES_MAX + REPORT_BYTES,
              "one report fits");

/* Reports that are one command. */
struct batch {
    struct executor *ex;
    struct call *first;
};

/* The proposal was not taken; its reports are gathered again a little later. */
static void batch_unreported(struct batch *b)
{
    struct executor *ex = b->ex;
    MARK(REPORT_NOT_TAKEN);
    if (ex->unreported == NULL)
        ex->report_again_ms = uv_now(ex->config.loop) + REPORT_RETRY_MS;
    for (struct call *next, *c = b->first; c != NULL; c = next) {
        next = c->queue_next;
        assert(c->state == CALL_REPORTING);
        ex->metrics.reporting--;
        c->state = CALL_UNREPORTED;
        c->queue_next = ex->unreported;
        ex->unreported = c;
    }
    free(b);
    wake_in(ex, REPORT_RETRY_MS);
}

static size_t report_bytes(const struct call *c)
{
    return c->xid_size + c->branch_size + strlen(c->error) + REPORT_BYTES;
}

static void put_report(struct codec_writer *w, const struct call *c)
{
    codec_list(w, BRANCH_REPORT_OUTCOME + 1);
    codec_text(w, scoped_name(call_xid(c), NULL));
    codec_text(w, call_branch(c));
    codec_uint(w, c->op);
    codec_uint(w, c->attempt);
    codec_bool(w, c->outcome == SM_OUTCOME_SUCCESS);
    codec_cstr(w, c->error);
    codec_uint(w, c->outcome);
}

static void batch_propose(struct batch *b, uint32_t n, struct assent_bytes ns)
{
    struct executor *ex = b->ex;
    struct command_session session = {.kind = SESSION_NONE, .ns = ns};
    codec_writer_reset(&ex->report);
    command_begin(&ex->report, COMMAND_BRANCH_REPORTS, &session, BRANCH_REPORTS_REPORTS + 1);
    codec_list(&ex->report, n);
    for (const struct call *c = b->first; c != NULL; c = c->queue_next)
        put_report(&ex->report, c);
    ex->metrics.report_commands++;
    if (ex->config.propose(ex->config.data, codec_written(&ex->report), b) != ASSENT_OK)
        batch_unreported(b);
}

static bool same_namespace(const struct call *c, struct assent_bytes ns)
{
    struct assent_bytes other;
    scoped_name(call_xid(c), &other);
    return other.size == ns.size && (ns.size == 0 || memcmp(other.base, ns.base, ns.size) == 0);
}

/* Take the reports that go into one command with the first one: its namespace, in the order the calls ended.
 */
static struct batch *batch_take(struct executor *ex, uint32_t *n, struct assent_bytes *ns)
{
    struct batch *b = calloc(1, sizeof(*b));
    assert(b != NULL);
    b->ex = ex;
    scoped_name(call_xid(ex->gathered), ns);
    struct call **from = &ex->gathered, **to = &b->first;
    *n = 0;
    while (*from != NULL) {
        struct call *c = *from;
        if (!same_namespace(c, *ns)) {
            from = &c->queue_next;
            continue;
        }
        *from = c->queue_next;
        *to = c;
        to = &c->queue_next;
        *to = NULL;
        assert(c->state == CALL_GATHERED);
        c->state = CALL_REPORTING;
        ++*n;
    }
    assert(*n > 0 && *n <= BRANCH_REPORTS_MAX);
    return b;
}

void reports_flush(struct executor *ex)
{
    assert(ex->gathered_n <= BRANCH_REPORTS_MAX && ex->gathered_bytes <= BATCH_BYTES_MAX);
    while (ex->gathered != NULL) {
        uint32_t n;
        struct assent_bytes ns;
        struct batch *b = batch_take(ex, &n, &ns);
        batch_propose(b, n, ns);
    }
    ex->gathered_last = &ex->gathered;
    ex->gathered_n = 0;
    ex->gathered_bytes = 0;
    ex->gathered_urgent = false;
}

void reports_turn(struct executor *ex)
{
    if (ex->gathered == NULL)
        return;
    uint64_t now_ms = uv_now(ex->config.loop), due_ms = ex->gathered_ms + ex->config.report_lazy_ms;
    bool alone = ex->metrics.in_flight == 0 && ex->metrics.queued == 0;
    if (ex->gathered_urgent || alone || now_ms >= due_ms)
        reports_flush(ex);
    else
        wake_in(ex, due_ms - now_ms);
}

void call_report(struct call *c)
{
    struct executor *ex = c->ex;
    if (ex->gathered_bytes + report_bytes(c) > BATCH_BYTES_MAX)
        reports_flush(ex);
    if (ex->gathered == NULL) {
        ex->gathered_last = &ex->gathered;
        ex->gathered_ms = uv_now(ex->config.loop);
    }
    c->state = CALL_GATHERED;
    c->queue_next = NULL;
    *ex->gathered_last = c;
    ex->gathered_last = &c->queue_next;
    ex->gathered_n++;
    ex->gathered_bytes += report_bytes(c);
    ex->gathered_urgent = ex->gathered_urgent || c->urgent;
    ex->metrics.reporting++;
    if (ex->gathered_n == BRANCH_REPORTS_MAX)
        reports_flush(ex);
    else
        wake_in(ex, 0); /* reports_turn() says how long it waits */
}

void report_again(struct executor *ex)
{
    struct call *c = ex->unreported;
    ex->unreported = NULL;
    while (c != NULL) {
        struct call *next = c->queue_next;
        ex->metrics.reports_retried++;
        c->urgent = true; /* it has waited long enough */
        call_report(c);
        c = next;
    }
}

/* An operating error: the reports may not have been applied. */
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

void executor_reported(struct executor *ex, void *ticket, int code, uint64_t counted)
{
    struct batch *b = ticket;
    uint64_t n = 0;
    assert(b->ex == ex);
    if (ex->running && report_not_applied(code)) {
        batch_unreported(b);
        return;
    }
    for (struct call *next, *c = b->first; c != NULL; c = next, n++) {
        next = c->queue_next;
        assert(c->state == CALL_REPORTING);
        ex->metrics.reporting--;
        call_free(c);
    }
    free(b);
    /* some were refused: their work may stand there still, in another form */
    if (ex->running && (code != ASSENT_OK || counted < n)) {
        MARK(REPORT_DID_NOT_COUNT);
        ex->pass_from_us = 0;
        ex->dirty = true;
        wake_in(ex, 0);
    }
    close_when_idle(ex);
}
