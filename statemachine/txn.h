/* Global transactions and their branches as they stand in the store, and the moves they may make.
 * Private to statemachine/: txn.c (decisions), branch.c (participants), work.c (due calls), txn_query.c.
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
 *   TXNS       xid 0 CUSTOM                the custom data, written once
 *   BRANCHES   xid 0 PLAN ordinal          what to call, written once at registration
 *   BRANCHES   xid 0 PROGRESS ordinal      attempts and outcome; absent until the first report
 *   BRANCHES   xid 0 NAME name             -> ordinal
 *   TXN_INDEX  STATUS status xid           listing
 *   TXN_INDEX  COUNT mode status           -> how many
 *   TXN_INDEX  BUSINESS key 0 xid          transactions of a business key
 *   WORK       due xid 0 name              -> operation, attempt, token, ordinal
 *
 * Ordinals keep the order of registration, which a saga's steps and compensations will walk.  A decision
 * writes the head and one WORK row per branch that has something to call, and no branch rows: until the first
 * report a branch's status follows from the transaction's. */
#ifndef STATEMACHINE_TXN_H
#define STATEMACHINE_TXN_H

#include "apply.h"
#include "row.h"

/* Numbers are stored and never reused. */
enum txn_status {
    TXN_ACTIVE = 1,
    TXN_PREPARING = 2, /* reserved */
    TXN_COMMITTING = 3,
    TXN_COMMITTED = 4,
    TXN_ROLLING_BACK = 5,
    TXN_ROLLED_BACK = 6,
    TXN_SUSPENDED = 7, /* reserved: waits for an operator */
    TXN_STATUS_NR
};
enum branch_status {
    BRANCH_REGISTERED = 1,
    BRANCH_CONFIRMING = 2,
    BRANCH_CONFIRMED = 3,
    BRANCH_CANCELLING = 4,
    BRANCH_CANCELLED = 5,
    BRANCH_STATUS_NR
};
enum txn_mode {
    TXN_MODE_TCC = 1,
    TXN_MODE_XA = 2,
    TXN_MODE_SAGA = 3,     /* reserved, and so on */
    TXN_MODE_AT = 4,       /* reserved */
    TXN_MODE_MESSAGE = 5,  /* reserved */
    TXN_MODE_WORKFLOW = 6, /* reserved */
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
#define TXN_RETENTION_US          (7ll * 24 * 3600 * 1000000)
#define TXN_REASON_BYTES_MAX      256 /* why it was rolled back */
#define TXN_ERROR_BYTES_MAX       256 /* why the last call failed */
#define TXN_TRACE_BYTES_MAX       256 /* W3C traceparent has 55 */
#define TXN_REMOVE_ROWS           256 /* branch rows removed by one firing of the retention timer */

/* ---- transactions: txn.c
 * --------------------------------------------------------------------------------------------- */

/* The head, decoded.  The texts point into `raw`. */
struct txn {
    enum txn_status status;
    enum txn_status stored; /* private: status in the store, 0 when it is not there yet */
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
    uint64_t base_ms, cap_ms; /* back-off of failed calls */
    struct assent_bytes business_type, business_key, owner, traceparent, reason;
    uint8_t raw[128 + 3 * (4 + ASSENT_NAME_BYTES_MAX) + 4 + TXN_TRACE_BYTES_MAX + 4 + TXN_REASON_BYTES_MAX];
};
bool txn_load(struct store_txn *store, struct assent_bytes xid, struct txn *t);
/* Write the head, keep index and counts right. */
void txn_save(struct apply *a, struct assent_bytes xid, struct txn *t);
/* Custom data; empty when there is none.  Borrowed from the store. */
struct assent_bytes txn_custom(struct store_txn *store, struct assent_bytes xid);
/* Decode the head of a row met while walking TXNS; false: the row is something else. `xid` borrows from
 * `key`. */
bool txn_row(struct assent_bytes key, struct assent_bytes value, struct assent_bytes *xid, struct txn *t);
/* Move, asserted against the table. */
void txn_move(struct txn *t, enum txn_status to);
/* One call succeeded: the last one finishes the transaction.  Does not save. */
void txn_call_succeeded(struct apply *a, struct assent_bytes xid, struct txn *t);
/* At most `max` bytes, not ending inside a UTF-8 sequence. */
struct assent_bytes txn_shortened(struct assent_bytes text, size_t max);
/* How many transactions stand in (mode, status). */
uint64_t txn_count(struct store_txn *store, enum txn_mode mode, enum txn_status status);

enum txn_index_kind { TXN_INDEX_STATUS = 1, TXN_INDEX_COUNT = 2, TXN_INDEX_BUSINESS = 3 };

/* ---- branches: branch.c
 * ---------------------------------------------------------------------------------------------- */

/* The plan of a branch; borrows from the command or the store. */
struct branch_plan {
    int64_t registered_us;
    struct assent_bytes name, payload;
    struct assent_bytes headers;               /* as stored: walk with sm_work_header() */
    const struct codec_node *header_map;       /* as in the command */
    struct assent_bytes url[SM_OP_CANCEL + 1]; /* by operation; empty: nothing to call */
    uint32_t timeout_ms;
};
bool branch_plan_load(struct store_txn *store, struct assent_bytes xid, uint32_t ordinal,
                      struct branch_plan *p);
/* Take a branch from a command (`args`: the fields of TXN_BRANCH, the first `skip` of them left out) and
 * check what needs no state. */
int branch_parse(struct apply *a, const struct codec_node *args, uint32_t skip, struct branch_plan *p);
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
};
/* Progress as it stands; derived from the transaction where nothing was reported yet. */
void branch_progress_load(struct store_txn *store, struct assent_bytes xid, uint32_t ordinal,
                          const struct txn *t, const struct branch_plan *plan, struct branch_progress *p);

/* Write a checked plan as the next branch of `t`; does not save `t`. */
void branch_add(struct apply *a, struct assent_bytes xid, struct txn *t, const struct branch_plan *plan);
/* Make every branch with something to call for the decision due now. */
void branch_plan_calls(struct apply *a, struct assent_bytes xid, const struct txn *t, enum sm_op op);
/* Remove up to `rows` rows of the transaction's branches.  True: none left. */
bool branch_remove_some(struct store_txn *store, struct assent_bytes xid, uint32_t rows);

/* ---- due work: work.c
 * ------------------------------------------------------------------------------------------------ */

void work_put(struct store_txn *store, int64_t due_us, struct assent_bytes xid, struct assent_bytes branch,
              enum sm_op op, uint32_t attempt, uint64_t token, uint32_t ordinal);
void work_clear(struct store_txn *store, int64_t due_us, struct assent_bytes xid, struct assent_bytes branch);

#endif /* STATEMACHINE_TXN_H */
