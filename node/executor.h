/* Performs the calls that applied commands have planned: reads due work from the state machine, calls the
 * branches over HTTP, and proposes what came of it.
 *
 * Runs on the leader only.  Nothing it knows is needed by its successor: a new leader reads the same work and
 * goes on at once.  So a call may happen twice (never twice at a time by one leader), which is why each
 * carries what a participant needs to recognise it:
 *
 *   Assent-Xid, Assent-Branch   the branch; "00" of a call of the transaction as a whole
 *   Assent-Namespace            of the xid, when it is not the default one
 *   Assent-Op                   "confirm", "cancel", "action", "compensate", "try", "query" or "callback"
 *   Assent-Token                fencing token in decimal; larger for later decisions: refuse older ones
 *   Assent-Attempt              0 for the first call
 *   traceparent                 as given with the begin
 *
 * followed by the branch's own headers and those of the transaction; the body is the payload.  Transactions
 * of DTM's style are called as DTM calls (executor_form.c), those headers included.  docs/transactions.md
 * says what an answer means.
 *
 * The way back of a branch (compensate, cancel) never starts while this leader's call of its way forward
 * (action, try) is under way: it ends first, at its time limit at the latest.  So does a try before its
 * confirm, should an operator have passed over it.
 *
 * All on the loop thread. */
#ifndef NODE_EXECUTOR_H
#define NODE_EXECUTOR_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "statemachine.h"

struct executor;
struct signature_keys;
struct simulate;

/* A fault that was injected into a call (simulate.h), for the log; borrowed. */
struct executor_fault {
    struct assent_bytes xid, branch;
    const char *op, *fault;
    uint32_t rule; /* 0 for the first */
    bool crash;    /* the process must end now; if the callback returns, the call counts as failed */
};

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
    uint32_t hosts_max;     /* hosts known at a time, 16,384; others wait until one is forgotten */
    uint32_t timeout_ms;    /* of a call whose branch names none, 10,000; of DTM's style 3,000 always */
    /* After so many calls of a host in a row without an answer (or with 502, 503 or 504) it is left alone for
     * so long, and then tried with one call.  Its due work waits meanwhile, without an attempt and without a
     * place in memory.  0 failures: no host is ever left alone; 0 ms: 5,000. */
    uint32_t breaker_failures, breaker_open_ms;
    const char *ca_file; /* PEM, of https branches, in place of the system's; NULL: the system's */
    bool verify_nobody;  /* take any certificate of https branches */
    /* Taken always; NULL: none. */
    struct signature_keys *keys; /* calls below their prefixes are signed */
    struct simulate *simulate;

    /* A report nobody waits for may wait so long, while other calls are under way or due, to share a command
     * with theirs; 0: it never waits. */
    uint32_t report_lazy_ms;

    void *data; /* of the callbacks */
    /* Propose `command` (BRANCH_REPORTS, borrowed until return).  Zero: executor_reported(ticket) follows
     * exactly once, later, also when leadership is lost or the log is closed.  Non-zero (ASSENT_BUSY, ...):
     * it never follows, and the executor tries again. */
    int (*propose)(void *data, struct assent_bytes command, void *ticket);
    /* Optional: a call failed. */
    void (*failed)(void *data, const struct executor_failure *failure);
    /* Required with `simulate`: a fault was injected. */
    void (*simulated)(void *data, const struct executor_fault *fault);
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
#define EXECUTOR_FAULTS  7 /* SIMULATE_FAULT_NR */
struct executor_metrics {
    uint64_t calls, failures;            /* finished calls; of these, without a 2xx answer */
    uint64_t reports_retried;            /* reports that had to be proposed again */
    uint64_t report_commands;            /* commands that carried reports */
    uint32_t in_flight, queued;          /* calls under way; due calls that wait for a slot */
    uint32_t reporting;                  /* finished calls whose report is not applied yet */
    uint32_t hosts;                      /* hosts with any of these, or with something to remember */
    uint32_t hosts_open;                 /* of these, left alone by the breaker */
    uint32_t hosts_half_open;            /* and tried with one call */
    uint64_t breaker_opened;             /* times a host was left alone */
    uint64_t simulated[EXECUTOR_FAULTS]; /* injected faults by enum simulate_fault */
    uint64_t latency[EXECUTOR_BUCKETS + 1];
    uint64_t latency_sum_us;
};
void executor_metrics(const struct executor *ex, struct executor_metrics *out);

#endif /* NODE_EXECUTOR_H */
