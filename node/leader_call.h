/* One thing only the leader does: a command of the log, timestamps, a change of the cluster.  Used for
 * requests of this node and for those other nodes forward.
 *
 * Changes of the cluster and snapshots asked for go on record when they succeeded, with fields `by` and
 * `reason`. What may take leadership away from this node (a transfer, its own removal or demotion) is
 * recorded before it is begun, because afterwards this node cannot. */
#ifndef NODE_LEADER_CALL_H
#define NODE_LEADER_CALL_H

#include "raftlog.h"
#include "tso_service.h"

struct node;
struct leader_call;

/* status 0: `result` is an encoded result (command.h), borrowed until return; else an operating error with a
 * sentence in `detail` or NULL.  index and term of the call are set on 0. */
typedef void (*leader_call_cb)(struct leader_call *call, int status, struct assent_bytes result,
                               const char *detail);

/* Embed it; it must outlive `cb`. */
struct leader_call {
    void *data;
    uint64_t index, term;
    /* private */
    struct node *node;
    leader_call_cb cb;
    uint32_t special;
    uint64_t member;
    char address[128];
    struct call_bytes {
        uint8_t *base;
        size_t size;
    } record, answer; /* a command for the audit log, not proposed yet; what is told when it stands there */
    union {
        struct raftlog_propose propose;
        struct tso_wait tso;
        struct raftlog_member member;
        struct raftlog_read read;
        struct raftlog_take take;
    } wait;
};

/* `special` 0: `bytes` is a command; else a number of enum special and `bytes` the list of its arguments.
 * Copies.  Non-zero, with `cb` never called: NOT_LEADER and NO_LEADER (hold and retry), or another error. */
int leader_call_start(struct leader_call *call, struct node *node, uint32_t special,
                      struct assent_bytes bytes, leader_call_cb cb);

#endif /* NODE_LEADER_CALL_H */
