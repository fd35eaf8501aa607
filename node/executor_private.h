/* What the files of the executor share: the pieces of work in memory and the hosts they wait for.
 *
 *   executor.c         which due work is known, who is called when
 *   executor_call.c    one call, until it has its outcome
 *   executor_form.c    its URL, headers and body
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
#include "signature.h"
#include "simulate.h"

#define TABLE_SIZE      16384u
#define HOST_TABLE_SIZE 4096u
#define KNOWN_MAX       8192u /* pieces of work in memory: under way, waiting for a slot or for their report */
#define REPORT_RETRY_MS 20u
static_assert((TABLE_SIZE & (TABLE_SIZE - 1)) == 0 && (HOST_TABLE_SIZE & (HOST_TABLE_SIZE - 1)) == 0,
              "masks");

enum call_state { CALL_QUEUED, CALL_CALLING, CALL_GATHERED, CALL_REPORTING, CALL_UNREPORTED };

enum breaker { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };

enum host_list {
    HOSTS_NOWHERE,
    HOSTS_OPEN,    /* left alone, in the order in which that ends */
    HOSTS_HUNGRY,  /* room, and work that was passed over */
    HOSTS_SEEKING, /* the refilling walk is looking for that work */
    HOSTS_IDLE,    /* nothing to do, but failures to remember; the oldest first */
    HOST_LIST_NR
};

struct host_ends {
    struct host *first, *last;
    uint32_t n;
};

/* One host and port. */
struct host {
    struct host *next;                    /* in its bucket */
    struct host *ready_prev, *ready_next; /* ring of hosts that have both a queue and a free slot */
    bool ready;
    struct call *first, *last; /* queue */
    uint32_t calling, queued;
    enum breaker breaker;
    uint32_t failures;      /* calls in a row without an answer */
    uint64_t open_until_ms; /* loop time, while OPEN */
    int64_t skipped_us;     /* due time of the first piece that was passed over; INT64_MAX: none was */
    enum host_list list;
    struct host *list_prev, *list_next;
    uint32_t name_size;
    char name[]; /* "http://host:port", lower case */
};

/* One piece of work in memory. */
struct call {
    struct executor *ex;
    struct call *next;       /* in its bucket */
    struct call *queue_next; /* in its host's queue; among those `waiting`; of reports: gathered, of one
                                command, unreported */
    struct call *queue_prev; /* in its host's queue */
    struct host *host;       /* while QUEUED or CALLING */
    enum call_state state;
    enum sm_op op;
    uint32_t attempt;
    int64_t started_us;  /* monotonic */
    enum sm_style style; /* while CALLING, and `jsonrpc` */
    bool jsonrpc;
    uint8_t fault; /* enum simulate_fault, of this call; `rule` injected it */
    uint32_t rule;
    uint64_t until_ms; /* loop time at which a simulated time limit ends */
    enum sm_outcome outcome;
    bool urgent; /* somebody waits for the report */
    int64_t due_us;
    int64_t held_us; /* when what waits for the end of this call is due: another row of the branch; or
                      * INT64_MAX */
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
    bool polls; /* as of the last wake-up: sm_polls() */
    bool in_pass;
    struct sm_work_cursor place; /* of the pass */
    int64_t pass_us;             /* due time of the piece it saw last */
    int64_t pass_from_us;        /* log time when it began */
    bool in_refill, refill_all;  /* the other walk, for hosts that have room again; `all`: to the very end */
    struct sm_work_cursor refill_place;
    int64_t refill_us;   /* due time of the piece it saw last */
    int64_t homeless_us; /* due time of the first piece passed over because there were too many hosts */
    int64_t next_due_us; /* of the first piece behind it */
    struct call *table[TABLE_SIZE];
    uint32_t known;
    struct host *hosts[HOST_TABLE_SIZE];
    struct host *ready; /* ring: whose turn it is */
    struct host_ends lists[HOST_LIST_NR];
    struct call *waiting; /* calls that only pretend, until their time limit */
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

static_assert(EXECUTOR_FAULTS == SIMULATE_FAULT_NR, "a count for each fault");

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

/* ---- executor.c: due work and time ---- */

/* Look again in `ms` milliseconds at the latest. */
void wake_in(struct executor *ex, uint64_t ms);
/* Microseconds since 1970; never behind the log's time. */
int64_t executor_now_us(const struct executor *ex);
/* Walk again from there, or from the start of a walk under way if that is earlier. */
void pass_again(struct executor *ex, int64_t due_us);
/* Forget a piece of work that is in no queue. */
void call_free(struct call *c);
/* The timer goes when the last outcome has come; its callback, on a later turn, frees the executor, so that
 * whoever tells an outcome may go on using it. */
void close_when_idle(struct executor *ex);

/* ---- executor_call.c ---- */

/* Start the call of loaded work; takes a slot of its host. */
void call_start(struct call *c, struct host *h, const struct sm_work *work);
/* End the simulated calls whose time limit is over. */
void calls_pretend(struct executor *ex);

/* ---- executor_form.c: what a call looks like ---- */

/* Large; on the stack while a call starts. */
struct call_form {
    struct caller_request request; /* borrows from here and from the work */
    struct caller_header headers[CALLER_HEADERS_MAX];
    char token[24], attempt[16], signature[SIGNATURE_BYTES_MAX];
    size_t url_size;
    char url[CALLER_URL_BYTES_MAX];
    char *body;   /* NULL: the payload is the body */
    bool jsonrpc; /* the answer must be a JSON-RPC one */
};
/* ASSENT_INVALID with a sentence in `why` (static): the call cannot be made.  Close it after any outcome. */
int call_form_open(struct call_form *f, const struct executor *ex, const struct sm_work *work,
                   const char **why);
void call_form_close(struct call_form *f);

/* ---- executor_report.c ---- */

/* Gather what came of the call, its outcome and error, for the next command. */
void call_report(struct call *c);
/* Propose what was gathered, if its time has come; all of it, now. */
void reports_turn(struct executor *ex);
void reports_flush(struct executor *ex);
/* Gather again what was not taken. */
void report_again(struct executor *ex);

/* ---- host.c: who is called next, hosts taking turns ---- */

/* The host of `url`, made when it is new.  NULL: there are too many. */
struct host *host_get(struct executor *ex, struct assent_bytes url);
bool hosts_full(const struct executor *ex);
/* After its queue or its calls changed.  Keeps ring and lists right; forgets a host nobody needs, so `h` may
 * be gone. */
void host_update(struct executor *ex, struct host *h);
/* May another piece of its work be in memory?  May another call start? */
bool host_has_room(const struct executor *ex, const struct host *h);
bool host_has_slot(const struct executor *ex, const struct host *h);
/* A piece of its work was passed over, by the walk that refills or by the other one. */
void host_skip(struct executor *ex, struct host *h, int64_t due_us, bool refill);
/* The hungry ones are seeking now: where to begin, INT64_MAX when there are none. */
int64_t hosts_seek(struct executor *ex);
/* The walk is over. */
void hosts_sought(struct executor *ex);
/* Queue `c`, last. */
void host_push(struct executor *ex, struct host *h, struct call *c);
/* Take the first out of the queue; host_update() is the caller's. */
struct call *host_pop(struct executor *ex, struct host *h);
/* Take `c` out of its queue and forget it. */
void host_drop(struct executor *ex, struct call *c);
/* A call came to its end, and is still counted: did the host answer?  May send its queue back to the store.
 */
void host_judge(struct executor *ex, struct host *h, bool answered);
/* Hosts that were left alone long enough may be tried again. */
void hosts_turn(struct executor *ex);
/* Forget all, without a look at their queues. */
void hosts_clear(struct executor *ex);

#endif /* NODE_EXECUTOR_PRIVATE_H */
