/* Waiting for what comes of a transaction: the node's events, by gid.
 *
 * Every node applies every entry, so the node that was asked can watch by itself, leader or not.  The watch
 * is set up before the command is proposed; so nothing is missed.  Source: dtm-protocol.md 9. */
#ifndef NODE_DTM_WAIT_H
#define NODE_DTM_WAIT_H

#include <stdbool.h>

#include "command.h"
#include "events.h"

#define DTM_WAIT_BUCKETS   1024
#define DTM_WAIT_TEXT_SIZE 512

/* What has been seen of the transaction; a later one replaces an earlier one. */
enum dtm_seen {
    DTM_SEEN_NOTHING,
    DTM_SEEN_END,     /* it has ended or waits for an operator: look how */
    DTM_SEEN_ERROR,   /* a call came to nothing certain */
    DTM_SEEN_ONGOING, /* a participant asked for time */
    DTM_SEEN_FAILURE  /* a call that must succeed was refused */
};

struct request;
struct dtm_wait {
    struct request *r;
    bool retries; /* a saga that tries a failed action again at once: not the end of the round */
    enum dtm_seen seen;
    char text[DTM_WAIT_TEXT_SIZE]; /* the error of a call */
    /* private */
    struct dtm_wait *next;
    bool watching;
    uint8_t xid[STORED_XID_BYTES_MAX];
    size_t xid_size;
};

struct dtm_waits {
    struct event_listener listener;
    struct dtm_wait *bucket[DTM_WAIT_BUCKETS];
    uint64_t n;
    void (*told)(void *data, const struct sm_event *event); /* of every event, for metrics */
    void *data;
};
void dtm_waits_init(struct dtm_waits *ws, struct events *events,
                    void (*told)(void *data, const struct sm_event *event), void *data);
void dtm_waits_close(struct dtm_waits *ws, struct events *events);

/* Watch from now on; `r` is resumed, if it watches, when something has been seen.  Stop it before it goes. */
void dtm_wait_start(struct dtm_waits *ws, struct dtm_wait *w, struct request *r, struct assent_bytes ns,
                    struct assent_bytes gid);
void dtm_wait_stop(struct dtm_waits *ws, struct dtm_wait *w);

#endif /* NODE_DTM_WAIT_H */
