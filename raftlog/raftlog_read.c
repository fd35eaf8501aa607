/* Linearizable reads: all that are asked for in one turn of the loop share one read of the core.  Also the
 * two calls that only pass through: membership changes and messages between applications. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "raftlog_private.h"

/* A read whose confirmation does not come (lost on the way, an election) is given back to be tried again. */
#define READ_TIMEOUT_MS 5000

int raftlog_read(struct raftlog *log, struct raftlog_read *req, raftlog_read_cb cb)
{
    if (log->stopped) {
        return log->closing ? ASSENT_SHUTDOWN : ASSENT_STOPPED;
    }
    if (log->leader == 0) {
        return ASSENT_NO_LEADER;
    }
    struct read_group *g = log->open_group;
    if (g == NULL) {
        g = calloc(1, sizeof *g);
        if (g == NULL) {
            return ASSENT_NOMEM;
        }
        g->tail = &g->head;
        log->open_group = g;
    }
    req->cb = cb;
    req->next = NULL;
    req->index = req->term = 0;
    req->local = false;
    *g->tail = req;
    g->tail = &req->next;
    return 0;
}

static void group_answer(struct read_group *g, int status, uint64_t index, uint64_t term, bool local)
{
    struct raftlog_read *req = g->head;
    g->head = NULL;
    g->tail = &g->head;
    while (req != NULL) {
        struct raftlog_read *next = req->next;
        req->index = index;
        req->term = term;
        req->local = local;
        req->cb(req, status);
        req = next;
    }
}

static void group_free(struct read_group *g)
{
    if (g->link != NULL) {
        *g->link = g->next;
        if (g->next != NULL) {
            g->next->link = g->link;
        }
    }
    free(g);
}

void reads_flush(struct raftlog *log)
{
    struct read_group *g = log->open_group;
    if (g == NULL) {
        return;
    }
    log->open_group = NULL;
    g->started_us = log_now_us();
    g->deadline_ms = log_now_ms() + READ_TIMEOUT_MS;
    /* known before the call: the core may answer while it runs */
    g->next = log->groups;
    g->link = &log->groups;
    if (g->next != NULL) {
        g->next->link = &g->next;
    }
    log->groups = g;
    int rv = core_read(log->core, log_now_ms(), (uint64_t)(uintptr_t)g);
    if (rv != 0) {
        group_answer(g, rv, 0, 0, false);
        group_free(g);
        if (rv != ASSENT_NO_LEADER && rv != ASSENT_NOT_LEADER && rv != ASSENT_BUSY && rv != ASSENT_NOMEM) {
            log_check(log, rv);
        }
    }
}

void reads_done(struct raftlog *log, const struct effect *e)
{
    struct read_group *g = (struct read_group *)(uintptr_t)e->read.group;
    if (e->status == 0) {
        log_histogram(&log->metrics.read_round, log_now_us() - g->started_us);
    }
    group_answer(g, e->status, e->read.index, e->read.term, e->read.local);
    group_free(g);
}

/* Groups that were answered here stay until the core, which still knows their number, lets go of it. */
void reads_housekeeping(struct raftlog *log, uint64_t now_ms)
{
    for (struct read_group *g = log->groups; g != NULL; g = g->next) {
        if (g->head != NULL && now_ms >= g->deadline_ms) {
            group_answer(g, ASSENT_TIMEOUT, 0, 0, false);
        }
    }
}

void reads_fail(struct raftlog *log, int status)
{
    struct read_group *open = log->open_group;
    log->open_group = NULL;
    for (struct read_group *g = log->groups; g != NULL; g = g->next) {
        group_answer(g, status, 0, 0, false);
    }
    if (open != NULL) {
        group_answer(open, status, 0, 0, false);
        free(open);
    }
}

/* ---- membership ---- */

int raftlog_member(struct raftlog *log, struct raftlog_member *req, enum raftlog_change change, uint64_t id,
                   const char *address, raftlog_member_cb cb)
{
    if (log->stopped) {
        return log->closing ? ASSENT_SHUTDOWN : ASSENT_STOPPED;
    }
    if (log->member != NULL) {
        return ASSENT_CHANGE_PENDING;
    }
    if (change == RAFTLOG_ADD && (address == NULL || strlen(address) > MESSAGE_ADDRESS_BYTES_MAX)) {
        return ASSENT_INVALID;
    }
    req->cb = cb;
    log->member = req;
    int rv = core_member(log->core, log_now_ms(), (uint64_t)(uintptr_t)req, change, id, address);
    if (rv != 0) {
        log->member = NULL;
    }
    return rv;
}

/* ---- posts ---- */

int raftlog_post(struct raftlog *log, uint64_t to, struct assent_bytes message)
{
    if (log->stopped) {
        return ASSENT_STOPPED;
    }
    if (message.size > ASSENT_FRAME_BYTES_MAX) {
        return ASSENT_TOO_LARGE;
    }
    struct message m = {.type = MESSAGE_POST, .post = message};
    return transport_send(log->transport, to, &m);
}
