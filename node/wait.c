/* ?waitMs=: a command of a transaction is answered when the transaction has ended, or after that time.
 *
 * The happy path: the command's answer is kept, a watch on the node's events is set, and the status is asked
 * for; from then on every event that may be the end is a reason to ask again.  The watch stands before the
 * first question, so nothing falls between.  The failures: the command is refused (answered at once), the
 * status cannot be read (the last answer that was is given), the request's own time runs out (the same,
 * before it does). */
#include "wait.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "dtm_wait.h"
#include "node.h"

/* Kept free of the request's own time limit. */
#define SPARE_MS 250

struct waiting {
    struct dtm_wait watch;
    uint64_t until_ms; /* of the loop's time */
    bool done;         /* the command is: what comes now is a status */
    size_t ns_size;
    uint8_t ns[NAMESPACE_BYTES_MAX];
    size_t query_size;
    uint8_t query[2 * STORED_XID_BYTES_MAX + 64];
};

bool wait_takes(const struct route *route)
{
    static const uint32_t types[] = {COMMAND_TXN_BEGIN,   COMMAND_TXN_COMMIT,     COMMAND_TXN_ROLLBACK,
                                     COMMAND_SAGA_SUBMIT, COMMAND_MESSAGE_SUBMIT, COMMAND_BUSINESS_EXECUTE};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (route->kind == ROUTE_COMMAND && route->type == types[i])
            return true;
    }
    return false;
}

static bool is_end(const struct codec_node *data)
{
    static const char *const ends[] = {"COMMITTED", "ROLLED_BACK", "STOPPED", "SUSPENDED"};
    struct assent_bytes status = codec_as_bytes(codec_get(data, "status"));
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        if (status.size == strlen(ends[i]) && memcmp(status.base, ends[i], status.size) == 0)
            return true;
    }
    return false;
}

/* Ask for the status of the transaction. */
static enum request_next look(struct request *r)
{
    struct waiting *w = r->door;
    w->watch.seen = DTM_SEEN_NOTHING;
    int status = request_step(r, ROUTE_QUERY, (struct assent_bytes){w->query, w->query_size});
    return status == ASSENT_OK ? REQUEST_AGAIN : REQUEST_ANSWERED;
}

static void make_query(struct waiting *w, struct assent_bytes xid)
{
    struct command_session session = {.kind = SESSION_NONE, .ns = {w->ns, w->ns_size}};
    struct codec_writer out;
    codec_writer_init(&out);
    command_begin(&out, QUERY_TXN_STATUS, &session, 1);
    codec_text(&out, xid);
    struct assent_bytes bytes = codec_written(&out);
    assert(bytes.size <= sizeof w->query);
    memcpy(w->query, bytes.base, bytes.size);
    w->query_size = bytes.size;
    codec_writer_close(&out);
}

static enum request_next ended(struct request *r, int code, const struct codec_node *data,
                               struct assent_bytes detail)
{
    struct waiting *w = r->door;
    if (code != ASSENT_OK) {
        if (!w->done) /* else the last answer stands */
            response_error(&r->response, code, detail);
        return REQUEST_ANSWERED;
    }
    if (data == NULL && w->done)
        return look(r); /* something was seen, or time is over */
    struct assent_bytes xid = codec_as_bytes(codec_get(data, "xid"));
    request_answer(r, data);
    if (is_end(data) || xid.size == 0 || xid.size > ASSENT_XID_BYTES_MAX)
        return REQUEST_ANSWERED;
    if (!w->done) {
        w->done = true;
        make_query(w, xid);
        dtm_wait_start(&r->node->dtm.waits, &w->watch, r, (struct assent_bytes){w->ns, w->ns_size}, xid);
        return look(r);
    }
    if (uv_now(r->node->loop) >= w->until_ms || r->node->state != NODE_RUNNING)
        return REQUEST_ANSWERED;
    if (w->watch.seen != DTM_SEEN_NOTHING)
        return look(r);
    r->watch_until_ms = w->until_ms;
    return REQUEST_WATCH;
}

static void closed(struct request *r)
{
    struct waiting *w = r->door;
    dtm_wait_stop(&r->node->dtm.waits, &w->watch);
    free(w);
    r->door = NULL;
    metrics_http(&r->node->metrics, r->route, r->response.http_status, uv_hrtime() / 1000 - r->started_us);
}

int wait_begin(struct request *r, uint64_t wait_ms, const char *ns)
{
    static const struct request_face face = {.ended = ended, .closed = closed};
    struct waiting *w = calloc(1, sizeof *w);
    if (w == NULL)
        return ASSENT_NOMEM;
    uint64_t limit_ms = r->node->config->request_timeout_ms;
    limit_ms = limit_ms > 2 * SPARE_MS ? limit_ms - SPARE_MS : limit_ms / 2;
    w->until_ms = r->started_ms + (wait_ms < limit_ms ? wait_ms : limit_ms);
    w->ns_size = ns != NULL ? strlen(ns) : 0;
    assert(w->ns_size <= sizeof w->ns); /* the command has been decoded with it */
    if (w->ns_size > 0)
        memcpy(w->ns, ns, w->ns_size);
    r->face = &face;
    r->door = w;
    return ASSENT_OK;
}
