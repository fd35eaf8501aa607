/* Timestamps of the leader: windows in the log, grants in memory, leadership confirmed per batch. */
#ifndef NODE_TSO_SERVICE_H
#define NODE_TSO_SERVICE_H

#include "raftlog.h"
#include "read_gate.h"
#include "tso.h"

struct node;
struct tso_wait;

/* status 0: `first` .. `first + count - 1` are granted in `term`. */
typedef void (*tso_wait_cb)(struct tso_wait *wait, int status, uint64_t first);

/* One who waits for timestamps.  Embed it; it must outlive `cb`. */
struct tso_wait {
    void *data;
    uint32_t count;
    uint64_t term;
    /* private */
    tso_wait_cb cb;
    struct tso_wait *next;
    uint64_t deadline_ms;
};

struct tso_list {
    struct tso_wait *first, **last;
};

struct tso_service {
    struct node *node;
    struct tso tso;
    uint64_t term;              /* of this leadership; 0: not leading */
    struct tso_list gathered;   /* strict, of this turn */
    struct tso_list confirming; /* strict, their read is under way */
    struct tso_list granting;   /* leadership confirmed: wait for the window only */
    struct read_wait read;
    bool reading;
    struct raftlog_propose window;
    uint64_t window_bound, window_term;
    bool proposing;
    uv_timer_t timer; /* retries grants while the window is behind */
    uint64_t granted, batches, windows;
};

void tso_service_init(struct tso_service *s, struct node *node);
/* Everybody who waits gets `status`. */
void tso_service_fail(struct tso_service *s, int status);
void tso_service_close(struct tso_service *s);

/* Role or readiness changed. */
void tso_service_role(struct tso_service *s);

/* Grant `count` (1..ASSENT_COUNT_MAX).  `strict`: confirm leadership after this call, so that the grant is
 * larger than every grant that was answered before it.  Non-zero: NOT_LEADER, NO_LEADER or INVALID, no
 * callback. */
int tso_service_wait(struct tso_service *s, struct tso_wait *wait, uint32_t count, bool strict,
                     tso_wait_cb cb);

/* End of the turn. */
void tso_service_turn(struct tso_service *s);

#endif /* NODE_TSO_SERVICE_H */
