/* A follower's requests on their way to the leader, and the leader's answers: a small protocol over
 * raftlog_post() with ids and deadlines.
 *
 * A message is one version byte and any number of records, each a big-endian u32 size (of what follows), one
 * byte of kind and a u64 id of the asking node:
 *   CALL    u32 special (0: a command), then the command or the list of arguments
 *   ANSWER  u32 status, u64 index, u64 term, u32 size of the sentence, the sentence, the result */
#ifndef NODE_FORWARD_H
#define NODE_FORWARD_H

#include <stdbool.h>
#include <stdint.h>

#include "assent/types.h"
#include "json.h"
#include "raftlog.h"

struct node;
struct forward_wait;
struct forward_job;

/* status 0: the leader did it; `result` is an encoded result.  UNKNOWN_OUTCOME: it may have been done.  All
 * else: it was not.  `detail` is a sentence or empty.  All borrowed until return. */
typedef void (*forward_cb)(struct forward_wait *wait, int status, struct assent_bytes result,
                           struct assent_bytes detail);

/* One request on its way.  Embed it; it must outlive `cb`. */
struct forward_wait {
    void *data;
    uint64_t index, term; /* set on status 0 */
    /* private */
    uint64_t id, to;
    forward_cb cb;
    struct forward_wait *next;
};

#define FORWARD_BUCKETS 4096
/* Requests of other nodes this node performs at once. */
#define FORWARD_JOBS_MAX 65536
/* A message is sent when it has grown to this, otherwise at the end of the turn. */
#define FORWARD_MESSAGE_BYTES_TARGET (256u * 1024)

/* What is gathered for one node in this turn. */
struct forward_outbox {
    uint64_t to;
    struct text message;
};

struct forward {
    struct node *node;
    struct forward_wait *bucket[FORWARD_BUCKETS]; /* waiting, by id */
    uint64_t next_id, waiting;
    struct forward_outbox outbox[ASSENT_NODES_MAX];
    uint32_t outboxes;
    struct forward_job *spare;
    uint32_t jobs;
    uint64_t sent, served, malformed;
};

void forward_init(struct forward *f, struct node *node);
void forward_close(struct forward *f);

/* Ask node `to`.  Copies `bytes`.  Non-zero: UNREACHABLE, TOO_LARGE; no callback. */
int forward_call(struct forward *f, struct forward_wait *wait, uint64_t to, uint32_t special,
                 struct assent_bytes bytes, forward_cb cb);

/* The leader is no longer `to`: whoever waits for it gets UNKNOWN_OUTCOME.  0: whoever waits at all. */
void forward_abandon(struct forward *f, uint64_t leader);

/* Nobody wants the answer any more: `cb` will not fire. */
void forward_cancel(struct forward *f, struct forward_wait *wait);

/* A message came in. */
void forward_receive(struct forward *f, uint64_t from, struct assent_bytes message);

/* End of the turn: send what gathered. */
void forward_turn(struct forward *f);

#endif /* NODE_FORWARD_H */
