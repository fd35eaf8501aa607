/* The deterministic state machine: (store, index, command) -> (store', result, due work).
 *
 * No clock, random, environment, network, threads.  Time is the stamp of the entry; it never runs backwards
 * because apply takes max(stamp, last + 1).  An undecodable committed command or a store failure aborts the
 * process: a private error would cost agreement. */
#ifndef STATEMACHINE_STATEMACHINE_H
#define STATEMACHINE_STATEMACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "assent/types.h"

struct sm;

struct sm_config {
    const char *dir;    /* of the store */
    uint64_t map_bytes; /* LMDB map size, default 64 GiB of address space */
    /* Part of generated xids, the same on every node; 0: sm_set_cluster_tag() follows. */
    uint64_t cluster_tag;
};

/* Who is told, once, when the state of this process cannot go on: its disk is full or damaged, or a committed
 * command cannot be read.  The callback does not return; without one the process aborts.  Before sm_open().
 */
void sm_on_broken(void (*callback)(void *data, const char *sentence), void *data);

/* Open.  After an unclean stop the store is empty and sm_applied_index() is 0. */
int sm_open(struct sm **sm, const struct sm_config *config, char *err, size_t err_size);
/* `clean`: keep the store for the next start. */
void sm_close(struct sm *sm, bool clean);

/* The cluster is known only after sm_open(): set its tag before the first sm_apply(), never another one. */
void sm_set_cluster_tag(struct sm *sm, uint64_t cluster_tag);

uint64_t sm_applied_index(const struct sm *sm);
/* Time of the last applied command, microseconds since 1970. */
int64_t sm_time_us(const struct sm *sm);
/* Running digest at the applied index; equal on all replicas at that index. */
uint64_t sm_digest(const struct sm *sm);

struct sm_command {
    uint64_t index;
    uint32_t slot;
    int64_t time_us;
    struct assent_bytes command;
    bool awaited;
    struct assent_bytes result; /* filled when awaited; borrowed until the next sm_apply() */
};
/* Apply in one store transaction; afterwards the applied index is `index`.  Commands at or below it are
 * skipped. */
void sm_apply(struct sm *sm, struct sm_command *commands, uint32_t n, uint64_t index);

/* Run a query (bytes of command.h) on the newest state; the encoded result is borrowed until the next call.
 * Bad queries give a result with MALFORMED or INVALID. */
struct assent_bytes sm_query(struct sm *sm, struct assent_bytes query);

/* Time of the next timer, INT64_MAX when none: once the leader's clock is past it, it proposes a TICK. */
int64_t sm_next_due_us(const struct sm *sm);

/* ---- due work: calls the leader's executor makes ---- */

/* Numbers are stored and never reused.  TCC and XA try, confirm or cancel; a saga acts and compensates; a
 * message acts only.  QUERY asks the sender of a prepared message what became of its local transaction,
 * CALLBACK makes the application go on with a workflow: both are calls of the transaction as a whole, with
 * the branch name SM_WHOLE. */
enum sm_op {
    SM_OP_CONFIRM = 1,
    SM_OP_CANCEL = 2,
    SM_OP_ACTION = 3,
    SM_OP_COMPENSATE = 4,
    SM_OP_TRY = 5,
    SM_OP_QUERY = 6,
    SM_OP_CALLBACK = 7,
    SM_OP_NR
};
const char *sm_op_name(enum sm_op op); /* "confirm", "cancel", "action", "compensate", "try", ... */
#define SM_WHOLE "00"
/* How a call looks and how its answer is read. */
enum sm_style {
    SM_STYLE_NATIVE = 0, /* POST, Assent-* headers; 2xx is success */
    SM_STYLE_DTM = 1     /* dtm-protocol.md 5 and 6: query parameters, GET without payload; 200 is success */
};
enum sm_protocol { SM_PROTOCOL_HTTP = 0, SM_PROTOCOL_JSON_RPC = 1 };
/* What a call came to: done; refused for good; accepted and not done yet; nobody knows. */
enum sm_outcome {
    SM_OUTCOME_SUCCESS = 1,
    SM_OUTCOME_FAILURE = 2,
    SM_OUTCOME_ONGOING = 3,
    SM_OUTCOME_ERROR = 4
};

/* One call of one branch operation.  All borrowed until sm_work_end(). */
struct sm_work {
    int64_t due_us;
    struct assent_bytes xid; /* as stored, with its namespace: sm_work_xid() takes it apart */
    struct assent_bytes branch;
    enum sm_op op;
    uint32_t attempt; /* 0 for the first */
    uint64_t token;   /* fencing token: position of the command that authorised the call */
    bool waits;       /* due by time alone while polling is off: not to be called */
    /* filled by sm_work_load() */
    struct assent_bytes url, payload, traceparent, business_type, mode;
    struct assent_bytes headers;     /* of the branch; walk with sm_work_header(); empty: none */
    struct assent_bytes txn_headers; /* of all calls of the transaction, likewise; the branch's go first */
    uint32_t timeout_ms;             /* 0: the executor's default */
    enum sm_style style;
    enum sm_protocol protocol;
    struct assent_bytes callback_name; /* of a CALLBACK: what DTM puts into `op` */
    /* True: later steps wait for this call's success, so its report goes out at once; false: the report may
     * wait a little and share a command with others. */
    bool urgent;
    uint32_t ordinal; /* private */
};
/* False: a test build has switched automatic polling off; pieces may wait, no timer fires. */
bool sm_polls(const struct sm *sm);
/* A walk over due work in (due, xid, branch) order.  `size` and `key` are the place: what sm_work_next() gave
 * last. They stay valid after sm_work_end(), so a later walk that starts with them goes on behind that place.
 */
struct sm_work_cursor {
    uint32_t size; /* 0: from the start */
    uint8_t key[511];
    void *walk; /* private */
};
/* Fill the place: before everything due at or after `due_us`. */
void sm_work_place(struct sm_work_cursor *c, int64_t due_us);
/* Open a walk behind c->key; close it with sm_work_end() before the next sm_apply(). */
void sm_work_begin(struct sm *sm, struct sm_work_cursor *c);
/* The next piece due at or before `now_us`: what names the call (above the line), one cursor step.  False: no
 * more; out->due_us is then when the piece behind is due, INT64_MAX for none. */
bool sm_work_next(struct sm *sm, struct sm_work_cursor *c, int64_t now_us, struct sm_work *out);
/* The piece exactly at the place, instead of sm_work_next().  False: it is not there any more. */
bool sm_work_at(struct sm *sm, struct sm_work_cursor *c, struct sm_work *out);
/* The rest of the piece that sm_work_next() or sm_work_at() gave last: two or three reads. */
void sm_work_load(struct sm *sm, struct sm_work_cursor *c, struct sm_work *out);
void sm_work_end(struct sm *sm, struct sm_work_cursor *c);
/* The xid as the participant knows it, and its namespace. */
struct assent_bytes sm_work_xid(const struct sm_work *work, struct assent_bytes *ns);
/* Take the first header off `*headers`.  False: none left. */
bool sm_work_header(struct assent_bytes *headers, struct assent_bytes *name, struct assent_bytes *value);
/* Due time of the first piece of work, INT64_MAX when none. */
int64_t sm_next_work_us(const struct sm *sm);

/* ---- events: what happened to transactions, in the order of the log ---- */

/* Kinds; numbers are stored nowhere. */
enum sm_event_kind {
    SM_EVENT_STATUS, /* the transaction moved to `status`; its first one is its begin */
    SM_EVENT_BRANCH, /* a branch moved to `status`, or was registered */
    SM_EVENT_CALL,   /* a call came to something else than success: `outcome`, `detail` */
    SM_EVENT_ACT,    /* an operator did something: `detail` says what, who and why */
};
/* Borrowed until the callback returns. */
struct sm_event {
    enum sm_event_kind kind;
    uint64_t position; /* of the command; with `number` the event's id: the same on every node */
    uint32_t number;   /* 0 for the first of its command */
    int64_t time_us;
    struct assent_bytes xid; /* as stored; scoped_name() of command.h takes it apart */
    struct assent_bytes business_type, branch, detail;
    struct assent_bytes url;        /* of CALL: what was called; empty for the transaction as a whole */
    struct assent_bytes error;      /* of STATUS: of the last failed call; empty when none failed */
    const char *mode, *status, *op; /* NULL where there is none */
    enum sm_outcome outcome;
    uint32_t attempts; /* of CALL: calls of this operation so far */
    uint32_t failures; /* of CALL: failed calls of the transaction since one succeeded */
    bool final;        /* of STATUS: nothing follows */
    bool asked;        /* of STATUS: its rollback was the application's wish */
};
/* Told of every event while entries are applied, also those a replay applies again: look at the position.
 * The callback must not call back. */
void sm_on_event(struct sm *sm, void (*callback)(void *data, const struct sm_event *event), void *data);

/* ---- timestamp oracle: grants live in the leader's memory, the window's bound in the log ---- */

uint64_t sm_tso_bound(const struct sm *sm); /* first timestamp NOT covered by the newest window */

/* ---- snapshots ---- */

/* Pin the state (loop thread), dump it (any thread; releases the pin). */
void *sm_pin(struct sm *sm);
int sm_dump(struct sm *sm, void *pin, const char *path, uint64_t *size, uint64_t *digest);
void sm_unpin(struct sm *sm, void *pin);
/* Replace everything by an image; nothing else may run meanwhile. */
int sm_restore(struct sm *sm, const char *path, char *err, size_t err_size);

/* What an image says of itself. */
struct sm_image {
    uint64_t index;  /* last entry it includes */
    int64_t time_us; /* of the last command */
    uint64_t size, digest;
};
/* Check an image that begins `offset` bytes into a file and reaches to its end, against its own digest,
 * without a state machine.  NOT_FOUND, CORRUPT, UNSUPPORTED, IO, NOMEM with a sentence. */
int sm_image_check(const char *path, uint64_t offset, struct sm_image *out, char *err, size_t err_size);

/* Counts for metrics. */
struct sm_metrics {
    uint64_t commands, refusals, replies_repeated, timers_fired;
    uint64_t store_bytes;
    uint64_t command_count[128]; /* by command type */
};
void sm_metrics(const struct sm *sm, struct sm_metrics *out);

#endif /* STATEMACHINE_STATEMACHINE_H */
