/* Alerts: one HTTP POST to `alert-url` when a transaction fails again and again, or for good.
 *
 * Told of, by the leader only, as it applies what happened:
 *   failing      the calls of a transaction have failed `alert-after` times with no success between, and each
 *                time further
 *   rolled_back  it ended rolled back, after a failed call or a timeout
 *   stopped      an operator gave it up
 *   suspended    it waits for an operator
 *
 * An event makes one alert at most: it is sent in order, one at a time, tried ALERT_TRIES times while the
 * receiver does not answer 2xx, and lost when the queue is full, when every try failed, or with this leader.
 * Nothing waits for it.  All on the loop thread. */
#ifndef NODE_ALERT_H
#define NODE_ALERT_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "caller.h"
#include "events.h"
#include "json.h"

#define ALERT_QUEUE_MAX  256
#define ALERT_BYTES_MAX  16384 /* of one body; its texts have bounds of their own */
#define ALERT_TRIES      4
#define ALERT_RETRY_MS   200 /* before the second try; twice as long before each further one */
#define ALERT_TIMEOUT_MS 5000

struct node;

struct alerts {
    uint64_t sent, failed, dropped; /* alerts answered 2xx; given up after the last try; not queued */
    uint32_t queued;                /* of these, the first is under way */
    /* private */
    struct node *node;
    struct caller *caller; /* NULL: there is no alert-url */
    struct event_listener listener;
    struct caller_call call;
    uv_timer_t timer;
    bool calling;
    uint32_t tries;             /* of the first */
    uint32_t first;             /* place of the first in the queue */
    struct assent_bytes *queue; /* bodies, from malloc */
};

/* Opens nothing when the node has no alert-url.  ASSENT_NOMEM. */
int alerts_open(struct alerts *al, struct node *node);
/* Drops what is queued.  Also after a failed open, or none. */
void alerts_close(struct alerts *al);

#endif /* NODE_ALERT_H */
