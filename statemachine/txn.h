/* Global transactions and their branches as they stand in the store, and the moves they may make.
 * Private to statemachine/: txn.c (decisions), txn_head.c (rows), txn_begin.c, branch.c (participants),
 * branch_plan.c, phase_two.c (confirms, cancels, deliveries), saga.c (steps), message.c, workflow.c, whole.c
 * (calls of a transaction as a whole), work.c (due calls), txn_index.c (where they are found), txn_list.c,
 * txn_query.c.
 *
 *   ACTIVE --commit---> COMMITTING ---all confirmed---> COMMITTED        a decision, once logged, never
 * changes;
 *      \---rollback, timeout--> ROLLING_BACK --all cancelled--> ROLLED_BACK     both ends are removed after
 * retention
 *
 *   branch: REGISTERED --commit---> CONFIRMING (retried until it succeeds) --> CONFIRMED
 *                      \-rollback-> CANCELLING (retried until it succeeds) --> CANCELLED
 *
 * Keys and values
 *   TXNS       xid 0 HEAD                  everything small, rewritten at each step
 *   TXNS       xid 0 CUSTOM                the custom data, written once; likewise HEADERS, CALLBACK, RESULT
 *   TXNS       xid 0 CHILD xid             nested in it; is it waited for? (nest.c)
 *   BRANCHES   xid 0 PLAN ordinal          what to call, written once at registration
 *   BRANCHES   xid 0 PROGRESS ordinal      attempts and outcome; absent until the first report
 *   BRANCHES   xid 0 NAME name             -> ordinal
 *   TXN_INDEX  STATUS ns 0 status place    listing; place: created, xid without its namespace
 *   TXN_INDEX  COUNT ns 0 mode status      -> how many; absent: none
 *   TXN_INDEX  BUSINESS ns 0 key 0 place   transactions of a business key
 *   WORK       due xid 0 name              -> operation, attempt, token, ordinal
 *
 *   BRANCHES   xid 0 EDGES ordinal         of a concurrent saga: steps before it, steps behind it
 *
 * A saga (saga.c) has its own way: RUNNING --all steps executed--> COMMITTED, or --a step failed-->
 * ROLLING_BACK
 * --all compensated--> ROLLED_BACK.  Tries the coordinator makes (two_phase.c) stand before a decision:
 * RUNNING
 * --all tried--> COMMITTING, or --one failed--> ROLLING_BACK.  What is nested waits PREPARING for the
 * decision around it (nest.h).  From wherever something is still to be done it may go to SUSPENDED and back
 * (suspend.c), or to STOPPED.  A message (message.c) is committed by its submission and only forward; a
 * workflow (workflow.c) ends as it is told, and its branches are RECORDED steps.
 *
 * Ordinals keep the order of registration, which a saga's steps and compensations walk.  A decision
 * writes the head and one WORK row per branch that has something to call, and no branch rows: until the first
 * report a branch's status follows from the transaction's. */
#ifndef STATEMACHINE_TXN_H
#define STATEMACHINE_TXN_H

#include "apply.h"
#include "row.h"

/* Numbers are stored and never reused. */
enum txn_status {
    TXN_ACTIVE = 1,
    TXN_PREPARING = 2, /* nested, and voted for commit: waits for the one around it */
    TXN_COMMITTING = 3,
    TXN_COMMITTED = 4,
    TXN_ROLLING_BACK = 5,
    TXN_ROLLED_BACK = 6,
    TXN_SUSPENDED = 7, /* waits for an operator */
    TXN_RUNNING = 8,   /* a saga, or the tries, on the way forward: it may still turn back */
    TXN_STOPPED = 9,   /* given up by an operator: nothing more is called, nothing was taken back */
    TXN_STATUS_NR
};
enum branch_status {
    BRANCH_REGISTERED = 1,
    BRANCH_CONFIRMING = 2,
    BRANCH_CONFIRMED = 3,
    BRANCH_CANCELLING = 4,
    BRANCH_CANCELLED = 5,
    BRANCH_EXECUTING = 6, /* its action is due or under way: it may have happened */
    BRANCH_EXECUTED = 7,
    BRANCH_FAILED = 8, /* its action was refused for good */
    BRANCH_COMPENSATING = 9,
    BRANCH_COMPENSATED = 10,
    BRANCH_ACCEPTED = 11, /* the participant said 202: its acknowledgement is waited for */
    BRANCH_TRYING = 12,
    BRANCH_TRIED = 13,
    BRANCH_RECORDED = 14, /* a step of a workflow: the application did it */
    BRANCH_STATUS_NR
};
enum txn_mode {
    TXN_MODE_TCC = 1,
    TXN_MODE_XA = 2,
    TXN_MODE_SAGA = 3,
    TXN_MODE_AT = 4, /* reserved */
    TXN_MODE_MESSAGE = 5,
    TXN_MODE_WORKFLOW = 6,
    TXN_MODE_NR
};
const char *txn_status_name(enum txn_status status);
const char *txn_mode_name(enum txn_mode mode);
const char *branch_status_name(enum branch_status status);
/* 0: no such name. */
enum txn_status txn_status_by_name(struct assent_bytes name);
enum txn_mode txn_mode_by_name(struct assent_bytes name);

#define TXN_TIMEOUT_MS_DEFAULT    60000u
#define TXN_TIMEOUT_MS_MAX        (30ull * 24 * 3600 * 1000) /* 30 days; a longer one wants 0: never */
#define TXN_RETRY_BASE_MS_DEFAULT 100u
#define TXN_RETRY_CAP_MS_DEFAULT  30000u
#define TXN_RETRY_MS_MAX          (24ull * 3600 * 1000) /* a call is retried at least once a day */
#define TXN_REASON_BYTES_MAX      256                   /* why it was rolled back */
#define TXN_ERROR_BYTES_MAX       256                   /* why the last call failed */
#define TXN_TRACE_BYTES_MAX       256                   /* W3C traceparent has 55 */
#define TXN_REMOVE_ROWS           256 /* branch rows removed by one firing of the retention timer */

struct branch_plan;
struct branch_progress;
struct report;

/* ---- transactions: txn.c ---- */

#define TXN_RETRY_FACTOR_DEFAULT 200 /* percent */

/* Calls of the second phase of TCC and XA, or the deliveries of a message. */
enum txn_order { TXN_PARALLEL = 0, TXN_FORWARD = 1, TXN_REVERSE = 2 };
/* Retries of failed calls: the n-th waits base * (factor / 100)^n, at most cap, less up to jitter percent. */
struct retry_policy {
    uint64_t base_ms, cap_ms;
    uint32_t factor, jitter; /* percent */
    uint32_t limit;          /* failed calls after which it has failed for good; 0: never */
};

/* When a step of a saga fails for good. */
enum saga_on_failure {
    SAGA_COMPENSATE = 1,
    SAGA_RETRY = 2,
    SAGA_SUSPEND = 3,
    SAGA_UNSAID = 4 /* there are asynchronous steps: one that ends badly suspends, others compensate */
};

/* The head, decoded.  The texts point into `raw`. */
struct txn {
    enum txn_status status;
    enum txn_status stored; /* private: status in the store, 0 when it is not there yet */
    enum txn_status was;    /* before this command; 0: it was not there */
    enum txn_mode mode;
    bool custom;          /* has custom data */
    uint32_t branches;    /* registered */
    uint32_t begun;       /* of these, given with the begin */
    uint32_t confirmable; /* have something to call at commit */
    uint32_t cancellable; /* have something to call at rollback */
    uint32_t pending;     /* calls without success yet; 0 until decided */
    int64_t created_us, deadline_us /* 0: never */, decided_us, finished_us;
    uint64_t token; /* position of the deciding command, 0 before */
    uint64_t timeout_ms;
    struct retry_policy retry;
    enum sm_style style;
    enum sm_protocol protocol;
    enum txn_order order;
    bool headers;                   /* has headers for all calls */
    bool callback;                  /* has a URL of its own: a message's query, a workflow's callback */
    bool execute;                   /* the coordinator calls the tries */
    bool result;                    /* a workflow left a result */
    bool held;                      /* an ACTIVE saga: prepared only */
    bool waits;                     /* ROLLING_BACK: its own calls begin when its children are back */
    bool asked;                     /* to roll back, by the application: nothing went wrong */
    uint32_t call_timeout_ms;       /* 0: the executor's default */
    uint32_t failures;              /* failed calls since one succeeded */
    enum txn_status suspended_from; /* of SUSPENDED: what an operator may go back to */
    uint32_t open_children;         /* nested in this one and waited for: nest.h */
    uint32_t children;              /* nested in this one at any depth */
    uint64_t delay_ms;              /* of a message */
    int64_t whole_due_us;           /* of the call of the transaction as a whole; 0: none is due */
    uint32_t whole_attempts;
    uint32_t cursor; /* calls in order: the branch under way; of a workflow: bytes its steps recorded */
    struct {         /* of mode SAGA; else zero */
        bool concurrent;
        bool edges; /* some steps name others they come after */
        enum saga_on_failure on_failure;
        uint32_t
            retry_limit;  /* failed calls of actions that are made again, all steps together; 0: no limit */
        uint32_t retries; /* of these, used */
        uint32_t cursor;  /* not concurrent: the step under way, in either direction */
    } saga;
    struct assent_bytes business_type, business_key, owner, traceparent, reason;
    struct assent_bytes error;  /* of the last failed call */
    struct assent_bytes parent; /* as stored; empty: nested in nothing */
    uint8_t raw[256 + 3 * (4 + ASSENT_NAME_BYTES_MAX) + 4 + TXN_TRACE_BYTES_MAX + 4 + TXN_REASON_BYTES_MAX +
                4 + TXN_ERROR_BYTES_MAX + 4 + STORED_XID_BYTES_MAX];
    uint8_t why[TXN_REASON_BYTES_MAX]; /* private: a reason given by this command */
};
bool txn_load(struct store_txn *store, struct assent_bytes xid, struct txn *t);
/* The head alone, as it stands; and every row of one that goes, its children's apart.  For txn.c. */
void txn_head_put(struct store_txn *store, struct assent_bytes xid, const struct txn *t);
void txn_rows_remove(struct store_txn *store, struct assent_bytes xid);
/* Write the head, keep index and counts right. */
void txn_save(struct apply *a, struct assent_bytes xid, struct txn *t);
/* The event of the status it has. */
void txn_tell(struct apply *a, struct assent_bytes xid, const struct txn *t);
/* The head that a begin or a submission asks for, checked; borrows from the command.  `mode`: what it is when
 * the command does not say; `options`: where enum txn_option begins in its fields. */
int txn_parse(struct apply *a, struct txn *t, enum txn_mode mode, uint32_t options);
/* Rows beside the head.  Empty: there is none.  Borrowed from the store. */
enum txn_row_kind {
    TXN_ROW_HEAD = 1,
    TXN_ROW_CUSTOM = 2,   /* custom data */
    TXN_ROW_HEADERS = 3,  /* of every call; walk with sm_work_header() */
    TXN_ROW_CALLBACK = 4, /* url, name, payload: row_take_bytes() thrice */
    TXN_ROW_RESULT = 5,   /* of a workflow */
    TXN_ROW_CHILD = 6     /* + xid of a nested transaction */
};
struct assent_bytes txn_row_get(struct store_txn *store, struct assent_bytes xid, enum txn_row_kind kind);
void txn_row_put(struct store_txn *store, struct assent_bytes xid, enum txn_row_kind kind,
                 struct assent_bytes value);
/* What the deciding command says of the calls to come counts; the numbers of its fields.  Does not save. */
int txn_calls_change(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t headers_at,
                     uint32_t timeout_at, uint32_t base_at);
/* Refusals everybody gives. */
int txn_not_found(struct apply *a, struct assent_bytes xid);
int txn_decided(struct apply *a, const struct txn *t);
int txn_exists(struct apply *a, struct assent_bytes xid, const struct txn *there);
bool txn_ended(enum txn_status status); /* COMMITTED, ROLLED_BACK, STOPPED */
/* The xid in the command, or one made of its position in `made`; as stored, with its namespace. */
#define TXN_MADE_BYTES (NAMESPACE_BYTES_MAX + 1 + 32 + 1)
struct assent_bytes txn_xid(struct apply *a, char made[TXN_MADE_BYTES]);
/* Is the transaction that has the xid what this command asks for?  Times and the trace may differ: a retry
 * has its own. */
bool txn_head_same(struct apply *a, struct assent_bytes xid, const struct txn *there, const struct txn *t);
bool txn_same(struct apply *a, struct assent_bytes xid, const struct txn *there, const struct txn *t,
              const struct branch_plan *plans, uint32_t n);
/* Write the first branches of a new transaction, its custom data and its deadline.  Does not save the head.
 */
void txn_write(struct apply *a, struct assent_bytes xid, struct txn *t, const struct branch_plan *plans,
               uint32_t n, uint32_t options);
/* No name twice. */
int txn_names_check(struct apply *a, const struct branch_plan *plans, uint32_t n);
/* What begin, commit, rollback and status answer.  ASSENT_OK. */
int txn_answer(struct apply *a, struct assent_bytes xid, const struct txn *t);
/* The same for what may begin one: `created` tells whether it did, or a stored one answers. */
int txn_answer_begin(struct apply *a, struct assent_bytes xid, const struct txn *t, bool created);
/* The same, with so many pairs more to be written. */
void txn_answer_open(struct apply *a, struct assent_bytes xid, const struct txn *t, bool created,
                     uint32_t more);
/* Decide an undecided transaction, COMMITTING or ROLLING_BACK: its timer and its own call go, the calls that
 * follow are due, or it is at its end.  The position of the deciding command is the fencing token of every
 * call that follows from it.  Does not save. */
void txn_decide(struct apply *a, struct assent_bytes xid, struct txn *t, enum txn_status to);
/* All calls are done: to the end that follows from the status.  Does not save. */
void txn_finish(struct apply *a, struct assent_bytes xid, struct txn *t);
/* key, value: a body that a participant gets: as JSON if it is, else as text. */
void txn_pair_body(struct codec_writer *out, const char *key, struct assent_bytes v);
/* Custom data; empty when there is none.  Borrowed from the store. */
struct assent_bytes txn_custom(struct store_txn *store, struct assent_bytes xid);
/* Move, asserted against the table. */
void txn_move(struct txn *t, enum txn_status to);
/* One call succeeded: the last one finishes the transaction.  Does not save. */
void txn_call_succeeded(struct apply *a, struct assent_bytes xid, struct txn *t);
/* Give it a reason; copies what fits. */
void txn_because(struct txn *t, struct assent_bytes reason);
/* At most `max` bytes, not ending inside a UTF-8 sequence. */
struct assent_bytes txn_shortened(struct assent_bytes text, size_t max);

/* Turn back what was not decided, for a reason: what is going forward, or waits for an operator on that way.
 * Saves. */
void txn_back(struct apply *a, struct assent_bytes xid, struct txn *t, struct assent_bytes reason);
/* Its children are back: its own calls begin.  Does not save. */
void txn_back_begin(struct apply *a, struct assent_bytes xid, struct txn *t);
/* Everything of it agrees: COMMITTING, or PREPARING when it is nested.  Does not save. */
void txn_vote(struct apply *a, struct assent_bytes xid, struct txn *t);

/* ---- waiting for an operator: suspend.c ---- */

/* From ACTIVE, RUNNING, COMMITTING or ROLLING_BACK to SUSPENDED: nothing is due any more.  Saves. */
void txn_suspend(struct apply *a, struct assent_bytes xid, struct txn *t, struct assent_bytes reason);
/* Back to where it was; what has not succeeded is due now.  Saves. */
void txn_unsuspend(struct apply *a, struct assent_bytes xid, struct txn *t);
/* On it goes, suspended or not, but `branch`, whose call has not succeeded, counts as done.  ASSENT_OK, or a
 * refusal and nothing changed: there is no such branch, or it is not its turn.  Saves. */
int txn_skip(struct apply *a, struct assent_bytes xid, struct txn *t, struct assent_bytes branch);
/* From any status but an end to STOPPED: nothing is due any more, nothing is taken back.  Saves. */
void txn_stop(struct apply *a, struct assent_bytes xid, struct txn *t);
/* What is due later is due now; waits are counted afresh.  Not of a suspended one.  Saves. */
void txn_hurry(struct apply *a, struct assent_bytes xid, struct txn *t);
/* The status a suspended or stopped transaction was in; that of any other. */
enum txn_status txn_stands(const struct txn *t);

/* A running saga cannot go on: turn back or wait for an operator, as its submission says.  Saves. */
void saga_failed(struct apply *a, struct assent_bytes xid, struct txn *t, struct assent_bytes reason);
/* Turn a running or suspended saga back, for a reason.  Saves. */
void saga_back(struct apply *a, struct assent_bytes xid, struct txn *t, struct assent_bytes reason);
/* The first compensations begin.  Does not save. */
void saga_back_begin(struct apply *a, struct assent_bytes xid, struct txn *t);
/* Operation `op` of step `i` has just been done: on with those that waited for it.  Does not save. */
void saga_go_on(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t i, enum sm_op op);
/* A step under way has succeeded, or failed for good with p->error: both write its progress, go on with what
 * follows from it, and save.  Its work is cleared. */
void saga_step_succeeded(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t i,
                         struct assent_bytes name, struct branch_progress *p, enum sm_op op);
void saga_step_failed(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t i,
                      struct assent_bytes name, struct branch_progress *p, bool acknowledged);
/* Its call came to nothing, or it was accepted and not done: once more, later.  Saves what it changes. */
void saga_step_again(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t i,
                     const struct branch_plan *plan, struct assent_bytes name, struct branch_progress *p,
                     enum sm_op op, bool ongoing);
/* A running saga is done when nothing of it is pending.  Does not save. */
void saga_settle(struct apply *a, struct assent_bytes xid, struct txn *t);

/* ---- asynchronous steps: acknowledge.c ---- */

/* Does the report say that an asynchronous step was accepted? */
bool branch_accepts(const struct branch_plan *plan, const struct report *r);
/* The participant accepted the step's action: wait for what it says later.  Writes the progress. */
void branch_accept(struct apply *a, struct assent_bytes xid, const struct txn *t, uint32_t i,
                   struct assent_bytes name, uint32_t acknowledge_ms, struct branch_progress *p);
/* The wait for the acknowledgement ends, or pauses; the caller writes the progress. */
void branch_accept_end(struct apply *a, struct assent_bytes xid, uint32_t i, struct branch_progress *p);

/* ---- finding them: txn_index.c ---- */

/* Numbers are stored and never reused; 1 to 3 had neither namespaces nor places. */
enum txn_index_kind { TXN_INDEX_STATUS = 4, TXN_INDEX_COUNT = 5, TXN_INDEX_BUSINESS = 6 };

/* A transaction goes from one status (0: nowhere yet) to another (0: removed). */
void txn_index_move(struct store_txn *store, struct assent_bytes xid, const struct txn *t,
                    enum txn_status from, enum txn_status to);
/* How many transactions of a namespace stand in (mode, status); and of all namespaces together. */
uint64_t txn_count(struct store_txn *store, struct assent_bytes ns, enum txn_mode mode,
                   enum txn_status status);
void txn_counts_all(struct store_txn *store, uint64_t counts[TXN_MODE_NR][TXN_STATUS_NR]);
/* When the oldest transaction that has not ended began, in any namespace; 0: all have ended. */
int64_t txn_oldest_unfinished_us(struct store_txn *store);
/* The statuses of transactions that have not ended, a bit each. */
uint32_t txn_unfinished(void);

/* Where a transaction stands among those of its namespace, for ever. */
struct txn_place {
    int64_t created_us;
    struct store_key name; /* its xid without the namespace */
};
/* As listings show it, "created.xid"; false: it is none. */
bool txn_place_read(struct assent_bytes text, struct txn_place *place);
void txn_place_write(struct codec_writer *out, const struct txn_place *place);

/* What to walk; the texts and `after` are borrowed until the walk is closed. */
struct txn_range {
    struct assent_bytes ns;
    struct assent_bytes business_key; /* empty: by status */
    uint32_t statuses;                /* bit per status; not used with a business key */
    bool newest;                      /* the youngest first */
    int64_t from_us, to_us;           /* created at or after, and before */
    const struct txn_place *after;    /* begin behind this place; NULL: at the end of the range */
};
/* A walk in order of the places; nothing may be written before it is closed. */
struct txn_walk {
    struct txn_range range;
    uint32_t lanes;
    struct txn_lane {
        struct store_cursor cursor;
        struct store_key prefix;
        struct assent_bytes place; /* of the row it stands on */
        bool there;
    } lane[TXN_STATUS_NR];
    struct txn_lane *last; /* whose row was given last */
};
void txn_walk_open(struct txn_walk *w, struct store_txn *store, const struct txn_range *range);
void txn_walk_close(struct txn_walk *w);
/* The next one; `xid` as stored. */
bool txn_walk_next(struct txn_walk *w, struct txn_place *place, struct store_key *xid);

/* ---- what listings and acts on many share: txn_list.c ---- */

/* Which transactions are meant; borrows from the command. */
struct txn_filter {
    struct txn_range range;
    struct txn_place after;                   /* where range.after points to, if it does */
    enum txn_mode mode;                       /* 0: any */
    struct assent_bytes business_type, error; /* empty: any */
    bool failing;
    int64_t next_after_us; /* 0: any; else its next call is due later */
    uint32_t limit;
    uint32_t scanned_max; /* rows one page may look at, so that a rare filter costs a bounded time */
};
/* Take the filter whose fields begin at `at`, in the order of QUERY_TXN_LIST.  INVALID. */
int txn_filter_parse(struct apply *a, uint32_t at, struct txn_filter *f);
/* Look at one page of rows: `found` is told of those that match, at most `limit`, and writes nothing.  False:
 * the page is the last one; else the following one begins behind `next`. */
typedef void (*txn_found_fn)(void *data, struct assent_bytes xid, const struct txn *t);
bool txn_page(struct store_txn *store, const struct txn_filter *f, txn_found_fn found, void *data,
              struct txn_place *next);
/* A head's pairs, as one and many are shown. */
#define TXN_HEAD_PAIRS 20
void txn_write_head(struct codec_writer *out, struct assent_bytes xid, const struct txn *t);

/* ---- branches: branch.c ---- */

/* What a call came to; borrows from the command. */
struct report {
    struct assent_bytes xid, branch, error;
    enum sm_op op;
    uint32_t attempt;
    enum sm_outcome outcome;
};
/* Tell that a branch moved. */
void branch_event(struct apply *a, struct assent_bytes xid, const struct txn *t, struct assent_bytes branch,
                  enum branch_status status);

/* The plan of a branch; borrows from the command or the store. */
struct branch_plan {
    int64_t registered_us;
    struct assent_bytes name, payload;
    struct assent_bytes headers;         /* as stored: walk with sm_work_header() */
    const struct codec_node *header_map; /* as in the command */
    enum sm_op forward;                  /* SM_OP_CONFIRM or SM_OP_ACTION; the way back is the next number */
    struct assent_bytes url[SM_OP_NR];   /* by operation; empty: nothing to call */
    uint32_t timeout_ms;
    enum sm_protocol protocol;
    bool protocol_given;
    struct retry_policy retry; /* base 0: the transaction's */
    uint32_t acknowledge_ms;   /* 202 waits for an acknowledgement so long; 0: 202 is ONGOING */
};
/* The fields of enum branch_option, which begin at `at` of `args`. */
int branch_options_parse(struct apply *a, const struct codec_node *args, uint32_t at, struct branch_plan *p);
bool branch_plan_load(struct store_txn *store, struct assent_bytes xid, uint32_t ordinal,
                      struct branch_plan *p);
/* Is `op` one of its operations: its two, and the try when there is one? */
bool branch_has(const struct branch_plan *p, int op);
/* Take a branch from a command (`args`: the fields of TXN_BRANCH, the first `skip` of them left out) and
 * check what needs no state. */
int branch_parse(struct apply *a, const struct codec_node *args, uint32_t skip, struct branch_plan *p);
/* The URLs, headers and options of a plan; `options`: where enum branch_option begins in `args`. */
int branch_plan_check(struct apply *a, const struct codec_node *args, uint32_t options,
                      struct branch_plan *p);
/* http or https and nothing that could end the request line early; headers a branch may set. */
bool branch_url_ok(struct assent_bytes url);
int branch_headers_check(struct apply *a, const struct codec_node *map);
/* Keep a map of headers as the transaction's own. */
void branch_headers_put(struct store_txn *store, struct assent_bytes xid, const struct codec_node *map);
/* False: no branch of that name. */
bool branch_find(struct store_txn *store, struct assent_bytes xid, struct assent_bytes name,
                 uint32_t *ordinal);
/* Is what is stored there the same branch as `p` (from a command)? */
bool branch_same(struct store_txn *store, struct assent_bytes xid, uint32_t ordinal,
                 const struct branch_plan *p);

struct branch_progress {
    enum branch_status status;
    uint32_t attempts;   /* calls reported */
    int64_t next_due_us; /* of the next call; 0 when there is none */
    int64_t finished_us;
    struct assent_bytes error; /* of the last failed call; borrowed */
    uint32_t errors;        /* failed calls of this operation since it began or an operator had it repeated */
    enum sm_outcome action; /* of a saga's step: SUCCESS, FAILURE, or 0: unknown */
    uint32_t waiting;       /* likewise: steps that must be done first */
    int64_t
        acknowledge_us; /* of ACCEPTED: until when the acknowledgement is waited for; 0: time stands still */
};
/* Progress as it stands; derived from the transaction where nothing was reported yet. */
void branch_progress_load(struct store_txn *store, struct assent_bytes xid, uint32_t ordinal,
                          const struct txn *t, const struct branch_plan *plan, struct branch_progress *p);

void branch_progress_put(struct store_txn *store, struct assent_bytes xid, uint32_t ordinal,
                         const struct txn *t, const struct branch_progress *p);
/* Nothing is known of its progress but what follows from the transaction. */
void branch_progress_clear(struct store_txn *store, struct assent_bytes xid, uint32_t ordinal);
bool branch_progress_kept(struct store_txn *store, struct assent_bytes xid, uint32_t ordinal);
/* Move, asserted against the table. */
void branch_move(struct branch_progress *p, enum branch_status to);
enum branch_status branch_doing(enum sm_op op), branch_done(enum sm_op op);
/* The operation a branch is in the middle of; 0: none. */
enum sm_op branch_under_way(enum branch_status status);
/* Operation `op` of a branch has just been done, whatever the mode: on to what comes next.  Does not save. */
void branch_done_next(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t ordinal,
                      enum sm_op op);
/* Has it failed so often that its retry limit says it was the last time? */
bool branch_given_up(const struct branch_plan *plan, const struct branch_progress *p);
/* An operation that must succeed was given up: wait for an operator.  The branch's work is cleared, its error
 * in `p`.  Saves. */
void branch_suspend(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t ordinal,
                    struct branch_progress *p, struct assent_bytes name, enum sm_op op);
/* The wait before the call after failed call number `attempt`, in microseconds; `ordinal` and the
 * transaction's token spread the jitter. */
int64_t branch_back_off_us(const struct txn *t, const struct branch_plan *p, uint32_t ordinal,
                           uint32_t attempt);
/* The same for the errors of the present operation; DTM's style lengthens the wait before the first one. */
int64_t branch_wait_us(const struct txn *t, const struct branch_plan *p, uint32_t ordinal,
                       const struct branch_progress *progress);

/* Write a checked plan as the next branch of `t`; does not save `t`. */
void branch_add(struct apply *a, struct assent_bytes xid, struct txn *t, const struct branch_plan *plan);
/* Remove up to `rows` rows of the transaction's branches.  True: none left. */
bool branch_remove_some(struct store_txn *store, struct assent_bytes xid, uint32_t rows);

/* ---- sagas: saga_plan.c checks and keeps the order of steps, saga.c walks it ---- */

/* The steps of a submission; close it also after a refusal. */
struct saga_plan {
    uint32_t n;
    struct branch_plan *steps;
    char (*names)[12];
    uint32_t edges;
    uint32_t *behind_at, *behind; /* steps behind step i: behind[behind_at[i]..behind_at[i + 1]] */
};
int saga_plan_parse(struct apply *a, struct txn *t, struct saga_plan *p);
/* Everything a begin or submission is refused for without asking the state. */
int txn_begin_check(struct apply *a), saga_submit_check(struct apply *a),
    message_submit_check(struct apply *a);
/* Does a step wait for an acknowledgement? */
bool saga_plan_asynchronous(const struct saga_plan *p);
void saga_plan_close(struct saga_plan *p);
/* Steps before step `i`, as the command names them. */
const struct codec_node *saga_plan_before(const struct apply *a, uint32_t i);
void saga_edges_put(struct apply *a, struct assent_bytes xid, const struct saga_plan *p);
bool saga_edges_same(struct apply *a, struct assent_bytes xid, const struct saga_plan *p);
/* The steps before (or behind) a step of a saga with edges.  Gives memory to free(). */
uint32_t *saga_edges(struct store_txn *store, struct assent_bytes xid, uint32_t ordinal, bool behind,
                     uint32_t *n);

/* What a call of a step came to; the report is the one that is due. `t` has the new failures and error; the
 * caller saves it when status or pending changed, so a room that changes more saves by itself. */
void saga_report(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t ordinal,
                 const struct branch_plan *plan, struct branch_progress *p, const struct report *r);

/* ---- the second phase of TCC and XA, and the deliveries of a message: phase_two.c ---- */

/* What is called for the decision that stands, or stood when the transaction was suspended. */
enum sm_op phase_two_op(const struct txn *t);
/* When the first calls are due: at the decision, of a delayed message not before its time. */
int64_t phase_two_due_us(const struct txn *t);
/* Make what is to be called for the decision due; something is pending.  Moves the cursor; does not save. */
void phase_two_begin(struct apply *a, struct assent_bytes xid, struct txn *t);
/* The call of branch `ordinal`, whose row says so already, is done or passed over: the next one's turn, or
 * the end.  Does not save. */
void phase_two_done(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t ordinal);
void phase_two_report(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t ordinal,
                      const struct branch_plan *plan, struct branch_progress *p, const struct report *r);

/* ---- messages: message.c; tries the coordinator calls: two_phase.c; workflows: workflow.c ---- */

void try_report(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t ordinal,
                const struct branch_plan *plan, struct branch_progress *p, const struct report *r);
/* The begin has been written: the first tries are due, or it is done with them.  Does not save. */
void try_begin(struct apply *a, struct assent_bytes xid, struct txn *t);
/* The try of a branch has just succeeded, or counts as done.  Does not save. */
void try_done(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t ordinal);
/* All tries are done and no child is undecided: vote.  Does not save. */
void try_settle(struct apply *a, struct assent_bytes xid, struct txn *t);
/* The decision ends the tries: their work and rows go; on the way `back` those that were not due stay alone.
 * The head still has the status before it. */
void try_end(struct apply *a, struct assent_bytes xid, struct txn *t, bool back);
/* A branch of which nothing was reported, while the tries are made. */
void try_progress(const struct txn *t, const struct branch_plan *plan, uint32_t ordinal,
                  struct branch_progress *p);
/* What the call of the transaction as a whole came to; these save. */
void message_query_report(struct apply *a, struct assent_bytes xid, struct txn *t, const struct report *r);
void workflow_callback_report(struct apply *a, struct assent_bytes xid, struct txn *t,
                              const struct report *r);
/* What only a workflow has: its steps, its result, when it is called. */
#define WORKFLOW_PAIRS 7
void workflow_write(struct apply *a, struct assent_bytes xid, const struct txn *t);
/* ---- the call of a transaction as a whole: whole.c ---- */

/* Whom it goes to: the row TXN_ROW_CALLBACK. */
void txn_callback_put(struct store_txn *store, struct assent_bytes xid, struct assent_bytes url,
                      struct assent_bytes name, struct assent_bytes payload);
/* Make it due, or (0) take it away; does not save. */
void txn_whole_due(struct apply *a, struct assent_bytes xid, struct txn *t, enum sm_op op, int64_t due_us);
/* It was made and settled nothing: again after a wait of at least so long, which grows with each failure.
 * Does not save. */
void txn_whole_again(struct apply *a, struct assent_bytes xid, struct txn *t, const struct report *r,
                     int64_t least_us);

/* Rows of a branch; numbers are stored and never reused. */
enum { BRANCH_KEY_PLAN = 1, BRANCH_KEY_PROGRESS = 2, BRANCH_KEY_NAME = 3, BRANCH_KEY_EDGES = 4 };
struct store_key branch_key(struct assent_bytes xid, uint8_t kind, uint32_t ordinal);
struct store_key branch_edges_key(struct assent_bytes xid, uint32_t ordinal);

/* ---- statistics.c ---- */

/* A transaction ended, or (nested) goes back after its end. */
void statistics_move(struct apply *a, struct assent_bytes xid, const struct txn *t, enum txn_status from);

/* ---- due work: work.c ---- */

void work_put(struct apply *a, int64_t due_us, struct assent_bytes xid, struct assent_bytes branch,
              enum sm_op op, uint32_t attempt, uint64_t token, uint32_t ordinal);
/* May its call be under way?  Not before it is due, and not while it waits because polling is off. */
bool work_called(const struct apply *a, int64_t due_us, struct assent_bytes xid, struct assent_bytes branch);
void work_clear(struct store_txn *store, int64_t due_us, struct assent_bytes xid, struct assent_bytes branch);

#endif /* STATEMACHINE_TXN_H */
