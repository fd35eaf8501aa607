/* What the files of the executor share: the pieces of work in memory and the hosts they wait for.
 *
 *   executor.c         which due work is known, who is called when
 *   executor_call.c    one call, until it has its outcome
 *   executor_report.c  outcomes on their way into the log
 *   host.c             queues by host and port */
#ifndef NODE_EXECUTOR_PRIVATE_H
#define NODE_EXECUTOR_PRIVATE_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "caller.h"
#include "command.h"
#include "executor.h"

#define TABLE_SIZE      16384u
#define HOST_TABLE_SIZE 1024u
#define REPORT_RETRY_MS 20u
static_assert((TABLE_SIZE & (TABLE_SIZE - 1)) == 0 && (HOST_TABLE_SIZE & (HOST_TABLE_SIZE - 1)) == 0,
              "masks");

enum call_state { CALL_QUEUED, CALL_CALLING, CALL_GATHERED, CALL_REPORTING, CALL_UNREPORTED };

/* One host and port. */
struct host {
    struct host *next;                    /* in its bucket */
    struct host *ready_prev, *ready_next; /* ring of hosts that have both a queue and a free slot */
    bool ready;
    struct call *first, *last; /* queue */
    uint32_t calling, queued;
    uint32_t name_size;
    char name[]; /* "http://host:port", lower case */
};

/* One piece of work in memory. */
struct call {
    struct executor *ex;
    struct call *next;       /* in its bucket */
    struct call *queue_next; /* in its host's queue; of reports: gathered, of one command, unreported */
    struct host *host;       /* while QUEUED or CALLING */
    enum call_state state;
    enum sm_op op;
    uint32_t attempt;
    int64_t started_us; /* monotonic */
    enum sm_outcome outcome;
    bool urgent; /* somebody waits for the report */
    bool held;   /* the way back of the same branch waits for the end of this call */
    char error[CALLER_ERROR_BYTES_MAX];
    struct caller_call *http; /* while CALLING */
    uint32_t key_size;        /* of the place in the work index: due, xid, branch */
    uint32_t xid_at, xid_size, branch_at, branch_size;
    uint8_t key[];
};

struct executor {
    struct executor_config config;
    struct caller *caller;
    uv_timer_t timer;
    bool running, closing, timer_closed, caller_closed;
    bool dirty; /* a pass is wanted */
    bool in_pass;
    struct sm_work_cursor place; /* of the pass */
    int64_t pass_from_us;        /* log time when it began */
    int64_t next_due_us;         /* of the first piece behind it */
    struct call *table[TABLE_SIZE];
    uint32_t known;
    struct host *hosts[HOST_TABLE_SIZE];
    struct host *ready; /* ring: whose turn it is */
    struct call *unreported;
    uint64_t report_again_ms; /* loop time, when there are unreported ones */
    struct call *gathered;    /* reports that wait for company; `gathered_last` is where the next one goes */
    struct call **gathered_last;
    uint32_t gathered_n;
    size_t gathered_bytes;
    bool gathered_urgent;
    uint64_t gathered_ms; /* loop time of the first */
    struct codec_writer report;
    struct executor_metrics metrics;
    void (*closed)(void *data);
    void *closed_data;
};

static inline uint32_t hash_bytes(uint32_t h, const void *data, size_t size)
{
    const uint8_t *p = data; /* FNV-1a */
    for (size_t i = 0; i < size; i++)
        h = (h ^ p[i]) * 16777619u;
    return h;
}

static inline struct assent_bytes call_xid(const struct call *c)
{
    return (struct assent_bytes){c->key + c->xid_at, c->xid_size};
}

static inline struct assent_bytes call_branch(const struct call *c)
{
    return (struct assent_bytes){c->key + c->branch_at, c->branch_size};
}

static inline bool is_saga(enum sm_op op)
{
    return op == SM_OP_ACTION || op == SM_OP_COMPENSATE;
}

/* ---- executor.c: due work and time ---- */

/* Look again in `ms` milliseconds at the latest. */
void wake_in(struct executor *ex, uint64_t ms);
/* Forget a piece of work that is in no queue. */
void call_free(struct call *c);
/* The timer goes when the last outcome has come; its callback, on a later turn, frees the executor, so that
 * whoever tells an outcome may go on using it. */
void close_when_idle(struct executor *ex);

/* ---- executor_call.c ---- */

/* Start the call of loaded work; takes a slot of its host. */
void call_start(struct call *c, struct host *h, const struct sm_work *work);

/* ---- executor_report.c ---- */

/* Gather what came of the call, its outcome and error, for the next command. */
void call_report(struct call *c);
/* Propose what was gathered, if its time has come; all of it, now. */
void reports_turn(struct executor *ex);
void reports_flush(struct executor *ex);
/* Gather again what was not taken. */
void report_again(struct executor *ex);

/* ---- host.c: who is called next, hosts taking turns ---- */

/* The host of `url`, made when it is new. */
struct host *host_get(struct executor *ex, struct assent_bytes url);
/* After its queue or its calls changed.  Keeps the ring of ready hosts right; forgets a host nobody needs, so
 * `h` may be gone. */
void host_update(struct executor *ex, struct host *h);
/* Queue `c`, last. */
void host_push(struct executor *ex, struct host *h, struct call *c);
/* Take the first out of the queue; host_update() is the caller's. */
struct call *host_pop(struct executor *ex, struct host *h);

#endif /* NODE_EXECUTOR_PRIVATE_H */
