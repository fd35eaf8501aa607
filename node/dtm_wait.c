/* Waiting for what comes of a transaction: the node's events, by gid. */
#include "dtm_wait.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "request.h"

static uint32_t bucket_of(const uint8_t *xid, size_t size)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < size; i++)
        h = (h ^ xid[i]) * 16777619u;
    return h % DTM_WAIT_BUCKETS;
}

static bool is(const char *text, const char *what)
{
    return text != NULL && strcmp(text, what) == 0;
}

/* A call came to something else than success. */
static enum dtm_seen seen_call(const struct dtm_wait *w, const struct sm_event *e)
{
    bool saga = is(e->mode, "SAGA"), action = is(e->op, "action");
    if (saga && action && e->outcome == SM_OUTCOME_FAILURE)
        return DTM_SEEN_NOTHING; /* it turns back: the end is waited for */
    if (saga && action && w->retries)
        return DTM_SEEN_NOTHING;
    switch (e->outcome) {
    case SM_OUTCOME_FAILURE:
        return DTM_SEEN_FAILURE;
    case SM_OUTCOME_ONGOING:
        return DTM_SEEN_ONGOING;
    case SM_OUTCOME_ERROR:
        return DTM_SEEN_ERROR;
    case SM_OUTCOME_SUCCESS:
        break;
    }
    return DTM_SEEN_NOTHING;
}

static void see(struct dtm_wait *w, const struct sm_event *e)
{
    enum dtm_seen seen = DTM_SEEN_NOTHING;
    if (e->kind == SM_EVENT_STATUS && (e->final || is(e->status, "SUSPENDED")))
        seen = DTM_SEEN_END;
    else if (e->kind == SM_EVENT_CALL)
        seen = seen_call(w, e);
    if (seen == DTM_SEEN_NOTHING)
        return;
    w->seen = seen;
    snprintf(w->text, sizeof w->text, "%.*s", (int)e->detail.size,
             e->detail.size > 0 ? (const char *)e->detail.base : "");
    request_resume(w->r);
}

/* State was lost sight of: everybody looks by himself. */
static void all_look(struct dtm_waits *ws)
{
    for (uint32_t i = 0; i < DTM_WAIT_BUCKETS; i++)
        for (struct dtm_wait *w = ws->bucket[i], *next; w != NULL; w = next) {
            next = w->next; /* one that is resumed may go, and no other one */
            w->r->watch_until_ms = 0;
        }
}

static void on_event(void *data, const struct sm_event *event)
{
    struct dtm_waits *ws = data;
    if (event == NULL) {
        all_look(ws);
        return;
    }
    if (ws->told != NULL)
        ws->told(ws->data, event);
    if (ws->n == 0)
        return;
    struct dtm_wait *w = ws->bucket[bucket_of(event->xid.base, event->xid.size)], *next;
    for (; w != NULL; w = next) {
        next = w->next;
        if (w->xid_size == event->xid.size && memcmp(w->xid, event->xid.base, w->xid_size) == 0)
            see(w, event);
    }
}

void dtm_waits_init(struct dtm_waits *ws, struct events *events,
                    void (*told)(void *data, const struct sm_event *event), void *data)
{
    memset(ws, 0, sizeof *ws);
    ws->told = told;
    ws->data = data;
    events_listen(events, &ws->listener, on_event, ws);
}

void dtm_waits_close(struct dtm_waits *ws, struct events *events)
{
    assert(ws->n == 0);
    events_unlisten(events, &ws->listener);
}

void dtm_wait_start(struct dtm_waits *ws, struct dtm_wait *w, struct request *r, struct assent_bytes ns,
                    struct assent_bytes gid)
{
    assert(!w->watching);
    if (ns.size > NAMESPACE_BYTES_MAX || gid.size > ASSENT_XID_BYTES_MAX)
        return; /* the command will be refused */
    w->r = r;
    w->seen = DTM_SEEN_NOTHING;
    w->xid_size = 0;
    if (ns.size > 0) {
        memcpy(w->xid, ns.base, ns.size);
        w->xid[ns.size] = NAMESPACE_MARK;
        w->xid_size = ns.size + 1;
    }
    memcpy(w->xid + w->xid_size, gid.base, gid.size);
    w->xid_size += gid.size;
    struct dtm_wait **at = &ws->bucket[bucket_of(w->xid, w->xid_size)];
    w->next = *at;
    *at = w;
    w->watching = true;
    ws->n++;
}

void dtm_wait_stop(struct dtm_waits *ws, struct dtm_wait *w)
{
    if (!w->watching)
        return;
    struct dtm_wait **at = &ws->bucket[bucket_of(w->xid, w->xid_size)];
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    w->watching = false;
    ws->n--;
}
