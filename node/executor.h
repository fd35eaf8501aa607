/* Performs the calls that applied commands have planned: reads due work from the state machine, POSTs to the
 * branches, and proposes what came of it.
 *
 * Runs on the leader only.  Nothing it knows is needed by its successor: a new leader reads the same work and
 * goes on at once.  So a call may happen twice (never twice at a time by one leader), which is why each
 * carries what a participant needs to recognise it:
 *
 *   Assent-Xid, Assent-Branch   the branch
 *   Assent-Op                   "confirm" or "cancel"; of a saga "action" or "compensate"
 *   Assent-Token                fencing token in decimal; larger for later decisions: refuse older ones
 *   Assent-Attempt              0 for the first call
 *   traceparent                 as given with the begin
 *
 * followed by the branch's own headers; the body is its payload.  Any 2xx answer is success, everything else
 * a failure that is tried again after the transaction's back-off.
 *
 * A saga's participant may say more: 409 or FAILURE in the body is a refusal for good, 425, 202 or ONGOING in
 * the body says that the work is not done yet.  The compensation of a step never starts while this leader's
 * call of its action is under way: it ends first, at its time limit at the latest.
 *
 * All on the loop thread. */
#ifndef NODE_EXECUTOR_H
#define NODE_EXECUTOR_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "statemachine.h"

struct executor;

/* A call that failed, for the log; borrowed. */
struct executor_failure {
    struct assent_bytes xid, branch;
    const char *op, *error;
    uint32_t attempt;
};

struct executor_config {
    uv_loop_t *loop;
    struct sm *sm;
    /* 0: the default */
    uint32_t in_flight_max; /* calls at a time, 256 */
    uint32_t per_host_max;  /* calls at a time to one host and port, 32 */
    uint32_t timeout_ms;    /* of a call whose branch names none, 10,000 */

    /* A report nobody waits for may wait so long for others to share its command; 0: it never waits. */
    uint32_t report_lazy_ms;

    void *data; /* of the callbacks */
    /* Propose `command` (BRANCH_REPORTS, borrowed until return).  Zero: executor_reported(ticket) follows
     * exactly once, later, also when leadership is lost or the log is closed.  Non-zero (ASSENT_BUSY, ...):
     * it never follows, and the executor tries again. */
    int (*propose)(void *data, struct assent_bytes command, void *ticket);
    /* Optional: a call failed. */
    void (*failed)(void *data, const struct executor_failure *failure);
    /* Optional: microseconds since 1970, the scale of due times; the wall clock if absent. */
    int64_t (*now_us)(void *data);
};

/* Copies `config`.  ASSENT_NOMEM. */
int executor_open(struct executor **ex, const struct executor_config *config);
/* Stops; `cb` fires later, when no report waits for its outcome and no handle is left; then the executor is
 * gone. */
void executor_close(struct executor *ex, void (*cb)(void *data), void *data);

/* This node leads, and has applied everything earlier leaders committed. */
void executor_start(struct executor *ex);
/* It does not lead any more: calls under way are cut off, nothing further is reported. */
void executor_stop(struct executor *ex);
/* Something was applied: there may be new work.  Cheap; call it after each batch. */
void executor_kick(struct executor *ex);
/* The outcome of a proposal: ASSENT_OK or a refusal when it was applied, an operating error otherwise.
 * `counted`: of ASSENT_OK, how many of its reports the answer says were no refusals. */
void executor_reported(struct executor *ex, void *ticket, int code, uint64_t counted);

/* Latency of calls: bucket i counts those of at most 2^i milliseconds, the last one all others; not
 * cumulative. */
#define EXECUTOR_BUCKETS 16
struct executor_metrics {
    uint64_t calls, failures;   /* finished calls; of these, without a 2xx answer */
    uint64_t reports_retried;   /* reports that had to be proposed again */
    uint64_t report_commands;   /* commands that carried reports */
    uint32_t in_flight, queued; /* calls under way; due calls that wait for a slot */
    uint32_t reporting;         /* finished calls whose report is not applied yet */
    uint32_t hosts;             /* hosts with any of these */
    uint64_t latency[EXECUTOR_BUCKETS + 1];
    uint64_t latency_sum_us;
};
void executor_metrics(const struct executor *ex, struct executor_metrics *out);

#endif /* NODE_EXECUTOR_H */
