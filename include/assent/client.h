/* libassent: transactions, clocks and timestamps of an assent cluster, for C and C++ programs.
 *
 * Two faces, one implementation.
 *   Blocking      struct assent_client: any number of threads may call at once; a private thread runs the
 * loop. Calls of several threads are pipelined on one connection. Asynchronous  struct assent_async:
 * everything happens on the caller's libuv loop; calls give a callback.
 *
 * What the library does by itself, until the time limit of a call:
 *   - finds the leader (redirects, elections, nodes that are down), with a capped, jittered back-off;
 *   - sends again what was under way when a connection broke.  Commands carry a session and a sequence
 * number, so that the cluster runs each once and answers a repetition with the stored reply (exactly once);
 *   - opens the session with the first command and a new one after an idle time.
 *
 * What a call returns (assent/error.h):
 *   ASSENT_OK               done; for a command: committed by a majority
 *   50 and above            a refusal by the rules: the cluster's answer, the same on every try
 *   ASSENT_UNREACHABLE, NO_LEADER, BUSY, ... (ASSENT_RETRY_LATER)  nothing happened
 *   ASSENT_TIMEOUT          a query or a timestamp request got no answer within the limit
 *   ASSENT_UNKNOWN_OUTCOME  the time limit passed while a command was under way: it may or may not have run.
 * Name what you create (xid, event id) and ask, or repeat the call with the same name ASSENT_SESSION_EXPIRED
 * the cluster had dropped the session: whether the command ran is not known either. The library never runs
 * such a command again by itself
 *
 * Texts are UTF-8, NUL-terminated and copied.  Times are microseconds since 1970 unless a name ends in `_ms`.
 * `out` pointers may be NULL where the caller does not care; they are written on ASSENT_OK only.
 *
 *     struct assent_client *client;
 *     struct assent_options options;
 *     assent_options_init(&options);
 *     options.endpoints = "127.0.0.1:7080,127.0.0.1:7081,127.0.0.1:7082";
 *     if (assent_open(&client, &options) == ASSENT_OK) {
 *         uint64_t value;
 *         int rc = assent_clock_lamport_tick(client, "orders", 1, &value);
 *         ...
 *         assent_close(client);
 *     }
 */
#ifndef ASSENT_CLIENT_H
#define ASSENT_CLIENT_H

#ifdef __cplusplus
#include <cassert> /* static_assert is C++'s own */
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "assent/clock.h"
#include "assent/error.h"
#include "assent/limits.h"
#include "assent/types.h"

struct uv_loop_s; /* libuv's uv_loop_t */

/* ---- options ---- */

#define ASSENT_ENDPOINTS_MAX    64   /* addresses in one list: the nodes of the largest cluster */
#define ASSENT_INFLIGHT_DEFAULT 4096 /* waiting and unanswered calls of one handle; beyond it ASSENT_BUSY */
#define ASSENT_INFLIGHT_MAX     (1 << 16) /* the most that can be asked for; of commands 1024 are on the wire */
#define ASSENT_QUEUE_BYTES_MAX                                                                               \
    (64 << 20) /* bytes of all waiting and unanswered calls; beyond it ASSENT_BUSY */

struct assent_options {
    const char *endpoints;       /* native addresses "host:port,host:port", "[::1]:port"; required */
    const char *name;            /* how the nodes' logs call this client; NULL: "libassent" */
    uint32_t timeout_ms;         /* time limit of a call that names none; default 10000 */
    uint32_t connect_timeout_ms; /* for one connection with its handshake; default 1000 */
    uint32_t silence_ms; /* an answer is due and nothing came for so long: ask, then leave; default 1000 */
    uint32_t backoff_min_ms; /* first pause between rounds of attempts; default 20 */
    uint32_t backoff_max_ms; /* and the longest; default 1000 */
    uint32_t inflight_max;   /* 1..ASSENT_INFLIGHT_MAX; default ASSENT_INFLIGHT_DEFAULT */
    uint64_t session_ttl_ms; /* the cluster drops a session not used for so long; default 600000 */
    bool no_session; /* commands without exactly-once: a lost connection gives UNKNOWN_OUTCOME at once */
};

/* Defaults for every field; `endpoints` stays NULL. */
void assent_options_init(struct assent_options *options);

/* Version of the library, "0.1.0".  Static. */
const char *assent_version(void);

/* ---- the blocking face ---- */

struct assent_client;

/* Start the thread.  Copies `options`.  Does not wait for a connection: the first call does.  ASSENT_INVALID:
 * the endpoints or a number make no sense; ASSENT_NOMEM. */
int assent_open(struct assent_client **client, const struct assent_options *options);

/* End: calls under way in other threads return ASSENT_CLOSED or ASSENT_UNKNOWN_OUTCOME; none may start.  NULL
 * does nothing. */
void assent_close(struct assent_client *client);

/* ---- requests, replies and values: the generic call ---- */

/* A command or query by name, with the fields of the REST API ("clock", "count", ...).  Names are those of
 * the log: commands  session_open node_register node_heartbeat node_remove sequence_next lamport_tick
 * lamport_sync vector_tick ... txn_begin txn_branch txn_commit txn_rollback queries   nodes sequence lamport
 * vector vector_compare version ... txn_status txn txn_list txn_counts A request may be sent any number of
 * times; each sending is a command of its own. */
struct assent_request;

/* Gives a request; free it with assent_request_close().  NULL: no such command or query, or out of memory. */
struct assent_request *assent_request_command(const char *name);
struct assent_request *assent_request_query(const char *name);
void assent_request_close(struct assent_request *request);

/* Set a field.  ASSENT_INVALID: no such field, or another type; ASSENT_TOO_LARGE: longer than a command may
 * be.  The rest is checked by the cluster.  Setting again replaces; the list functions append. */
int assent_request_uint(struct assent_request *request, const char *field, uint64_t value);
int assent_request_bool(struct assent_request *request, const char *field, bool value);
int assent_request_text(struct assent_request *request, const char *field, const char *value);
/* JSON text, carried to participants byte for byte. */
int assent_request_json(struct assent_request *request, const char *field, const char *json);
/* A vector of counters; `v` is borrowed until return. */
int assent_request_vector(struct assent_request *request, const char *field, const struct assent_vector *v);
/* One pair of a map of texts (headers). */
int assent_request_pair(struct assent_request *request, const char *field, const char *key,
                        const char *value);
/* One more member of a list of numbers or texts. */
int assent_request_add_uint(struct assent_request *request, const char *field, uint64_t value);
int assent_request_add_text(struct assent_request *request, const char *field, const char *value);
/* One more object of a list of objects (branches of txn_begin): set its fields as those of a request.  Lives
 * as long as its parent; do not close it.  NULL: no such field, or out of memory. */
struct assent_request *assent_request_add_object(struct assent_request *request, const char *field);
/* Answer a query from one node's local state, which may be old (no leader needed).  Default false. */
void assent_request_stale(struct assent_request *request, bool stale);

/* One value of a reply: borrowed, lives as long as the reply.  NULL is read as an absent value everywhere. */
struct assent_value;

enum assent_value_kind {
    ASSENT_VALUE_NONE,
    ASSENT_VALUE_BOOL,
    ASSENT_VALUE_UINT,
    ASSENT_VALUE_INT,
    ASSENT_VALUE_TEXT,
    ASSENT_VALUE_JSON, /* JSON text as it was given */
    ASSENT_VALUE_LIST,
    ASSENT_VALUE_MAP,
};
enum assent_value_kind assent_value_kind(const struct assent_value *v);
bool assent_value_bool(const struct assent_value *v);     /* false when absent */
uint64_t assent_value_uint(const struct assent_value *v); /* 0 when absent or negative */
int64_t assent_value_int(const struct assent_value *v);   /* 0 when absent */
struct assent_bytes
assent_value_bytes(const struct assent_value *v);         /* of TEXT and JSON; empty when absent */
uint32_t assent_value_size(const struct assent_value *v); /* members of a list or map */
const struct assent_value *assent_value_at(const struct assent_value *list, uint32_t i);
const struct assent_value *assent_value_get(const struct assent_value *map, const char *key);
struct assent_bytes assent_value_key(const struct assent_value *map, uint32_t i);
const struct assent_value *assent_value_value(const struct assent_value *map, uint32_t i);
/* The value as JSON text, NUL-terminated; free() it.  NULL: out of memory. */
char *assent_value_json(const struct assent_value *v);

/* What came back. */
struct assent_reply {
    int code;                        /* an assent_error */
    uint64_t index, term;            /* where the log stood; 0 without an answer from a node */
    const struct assent_value *data; /* a map, or NULL */
    const char *detail;              /* a sentence, never NULL */
    uint64_t first; /* of a timestamp request: the smallest; the others follow without gaps */
    uint32_t count;
    /* private */
    void *memory;
};

/* Send `request` and wait.  Returns reply->code.  `timeout_ms` 0: the client's.  Fills `reply`, which the
 * caller gives to assent_reply_close() whatever the code; NULL when only the code matters. */
int assent_call(struct assent_client *client, const struct assent_request *request, uint32_t timeout_ms,
                struct assent_reply *reply);
void assent_reply_close(struct assent_reply *reply);

/* ---- timestamps, sequences ---- */

/* `count` (1..ASSENT_COUNT_MAX) consecutive timestamps; `*first` is the smallest.  Strictly greater than
 * every timestamp handed out anywhere before the call began: the leader confirms its leadership after the
 * request arrived. Waiting requests of all threads share one message.  Layout: assent/clock.h. */
int assent_tso_get(struct assent_client *client, uint32_t count, uint64_t *first);

/* The next `count` numbers of a dense sequence: `*first` .. `*first + count - 1`.  A retry gets the same
 * numbers. */
int assent_sequence_next(struct assent_client *client, const char *name, uint32_t count, uint64_t *first);

/* ---- the clock service ---- */

/* Advance a Lamport clock by `count`; `*value` is its new value (the last of the `count` stamps).  Lamport
 * 1978. */
int assent_clock_lamport_tick(struct assent_client *client, const char *clock, uint32_t count,
                              uint64_t *value);
/* max(clock, received) + 1. */
int assent_clock_lamport_sync(struct assent_client *client, const char *clock, uint64_t received,
                              uint64_t *value);
/* The value now (linearizable); ASSENT_NOT_FOUND when the clock was never used. */
int assent_clock_lamport_current(struct assent_client *client, const char *clock, uint64_t *value);

/* A vector with memory of its own, and what the cluster says of it.  Zero it, or have a call fill it; then
 * assent_stamp_close().  A call that fills a stamp closes what was in it. */
struct assent_stamp {
    struct assent_vector vector; /* sorted; texts live as long as the stamp */
    uint64_t epoch;              /* of the clock's membership; 0 where there is none */
    /* private */
    void *memory;
};
void assent_stamp_close(struct assent_stamp *stamp);

/* Vector clocks: a named clock of several members (Fidge, Mattern 1988/89). */
int assent_clock_vector_tick(struct assent_client *client, const char *clock, const char *node,
                             struct assent_stamp *out);
/* `node` received a stamp: pairwise maximum, then its own counter + 1.  `epoch`: of the received stamp. */
int assent_clock_vector_sync(struct assent_client *client, const char *clock, const char *node,
                             const struct assent_vector *received, uint64_t epoch, struct assent_stamp *out);
int assent_clock_vector_current(struct assent_client *client, const char *clock, struct assent_stamp *out);
/* Compare two stamps of one clock across its epochs. */
int assent_clock_vector_compare(struct assent_client *client, const char *clock,
                                const struct assent_vector *a, uint64_t epoch_a,
                                const struct assent_vector *b, uint64_t epoch_b, enum assent_order *order);
int assent_clock_vector_join(struct assent_client *client, const char *clock, const char *node,
                             struct assent_stamp *out);
/* `node` leaves for good.  `*retired`: every other member has seen it (assent_clock_vector_observe()) and it
 * is dropped; false: members are still waited for. */
int assent_clock_vector_retire(struct assent_client *client, const char *clock, const char *node,
                               bool *retired);
/* `node` has seen the stamp: when all have seen a retirement, the member is dropped. */
int assent_clock_vector_observe(struct assent_client *client, const char *clock, const char *node,
                                const struct assent_vector *seen, uint64_t epoch, struct assent_stamp *out);

/* Version vectors: objects written in several places (Parker et al. 1983).  `value_json` and `context` may be
 * NULL. `context` is the version the writer had read: a write that did not see another becomes its sibling.
 */
int assent_clock_version_increment(struct assent_client *client, const char *object, const char *node,
                                   const char *value_json, const struct assent_vector *context,
                                   struct assent_stamp *out);
int assent_clock_version_merge(struct assent_client *client, const char *object,
                               const struct assent_vector *version, const char *node, const char *value_json,
                               struct assent_stamp *out);
/* Close a conflict: one value that supersedes the siblings in `context`. */
int assent_clock_version_resolve(struct assent_client *client, const char *object, const char *node,
                                 const char *value_json, const struct assent_vector *context,
                                 struct assent_stamp *out);
/* The version of an object.  For siblings and values use the generic query "version". */
int assent_clock_version_current(struct assent_client *client, const char *object, struct assent_stamp *out);
/* Of versions BEFORE reads OLDER, AFTER reads NEWER.  Needs no server: assent_vector_compare(). */
int assent_clock_version_compare(struct assent_client *client, const struct assent_vector *a,
                                 const struct assent_vector *b, enum assent_order *order);

/* Timestamp events.  Absent texts are NULL. */
struct assent_event {
    const char *event_id; /* required; creating it again with the same content is no error */
    const char *node, *type, *business;
    const char *data_json;
    uint64_t time_us; /* of assent_clock_event_sync(): when it happened at its node */
    uint64_t lamport; /* of assent_clock_event_sync(): its stamp there */
};
/* Create an event, stamped by the cluster. */
int assent_clock_event_create(struct assent_client *client, const struct assent_event *event,
                              uint64_t *time_us, uint64_t *lamport);
/* Record an event that another system stamped. */
int assent_clock_event_sync(struct assent_client *client, const struct assent_event *event, uint64_t *time_us,
                            uint64_t *lamport);
int assent_clock_event_compare(struct assent_client *client, const char *event_id1, const char *event_id2,
                               enum assent_order *order);

/* ---- transactions ---- */

struct assent_txn_options {
    const char *xid;  /* NULL: the cluster makes one.  With an xid of yours the call may be repeated */
    const char *mode; /* NULL: "tcc" */
    const char *business_type; /* for filters and statistics; may be NULL */
    const char *business_key;
    uint32_t timeout_ms; /* rolled back when not decided by then; 0: the cluster's default */
    const char *owner;
    const char *custom_data_json;
};

/* A branch: the cluster calls `confirm_url` after commit or `cancel_url` after rollback, until it answers
 * 2xx. */
struct assent_txn_branch {
    const char *branch; /* its name in the transaction */
    const char *confirm_url, *cancel_url;
    const char *payload_json; /* body of the calls; may be NULL */
    uint32_t timeout_ms;      /* of one call; 0: the default */
};

/* Begin.  Writes the xid, NUL-terminated, of at most ASSENT_XID_BYTES_MAX bytes.  `options` may be NULL. */
int assent_txn_begin(struct assent_client *client, const struct assent_txn_options *options,
                     char xid[ASSENT_XID_BYTES_MAX + 1]);
/* Register a branch before its first step is tried.  Repeating it with the same content is no error. */
int assent_txn_branch(struct assent_client *client, const char *xid, const struct assent_txn_branch *branch);
/* Decide.  ASSENT_OK: the decision is durable and survives any election; the branches are driven until they
 * answered.  Repeating the same decision is no error; the other one is ASSENT_TXN_DECIDED. */
int assent_txn_commit(struct assent_client *client, const char *xid);
int assent_txn_rollback(struct assent_client *client, const char *xid, const char *reason);
/* Status as text ("ACTIVE", "COMMITTING", "COMMITTED", ...), cut to `status_size` with its NUL. */
int assent_txn_status(struct assent_client *client, const char *xid, char *status, size_t status_size);

/* ---- sagas and messages (docs/transactions.md) ---- */

/* A step: the cluster calls `action_url` until it answers 2xx (success) or 409 (refused for good), and
 * `compensate_url` when a saga turns back.  What is NULL or 0 is left out. */
struct assent_step {
    const char *branch; /* its name; NULL: its number, "01" for the first */
    const char *action_url, *compensate_url;
    const char *payload_json; /* body of the calls */
    uint32_t timeout_ms;      /* of one call */
    uint32_t acknowledge_ms;  /* of a saga: 202 waits so long for assent_acknowledge() */
    uint32_t retry_limit;     /* failed calls after which it has failed for good */
};

struct assent_saga_options {
    bool concurrent;
    const char *on_failure; /* "compensate" (NULL), "retry", "suspend" */
    uint32_t retry_limit;   /* failed calls of all actions together; 0: no limit */
};
/* Submit a whole saga: from here on the cluster drives it.  ASSENT_OK: it is durable.  `txn` and `options`
 * may be NULL, `xid` too.  With an xid of yours the call may be repeated; other content under it:
 * ASSENT_EXISTS. */
int assent_saga_submit(struct assent_client *client, const struct assent_txn_options *txn,
                       const struct assent_saga_options *options, const struct assent_step *steps, uint32_t n,
                       char xid[ASSENT_XID_BYTES_MAX + 1]);

struct assent_message_options {
    bool concurrent;
    const char *query_url; /* of a prepared one: asked what became of the local transaction */
    uint32_t delay_ms;     /* the first delivery waits so long */
};
/* A message is delivered to every step (topic://NAME: to every subscriber) until each has taken it.  Prepare
 * it before the local transaction commits, then submit it by its xid (no steps), or submit a whole one. */
int assent_message_prepare(struct assent_client *client, const struct assent_txn_options *txn,
                           const struct assent_message_options *options, const struct assent_step *steps,
                           uint32_t n, char xid[ASSENT_XID_BYTES_MAX + 1]);
int assent_message_submit(struct assent_client *client, const struct assent_txn_options *txn,
                          const struct assent_message_options *options, const struct assent_step *steps,
                          uint32_t n, char xid[ASSENT_XID_BYTES_MAX + 1]);

/* Who gets what is sent to a topic.  Subscribing twice is no error. */
int assent_topic_subscribe(struct assent_client *client, const char *topic, const char *url,
                           const char *remark);
int assent_topic_unsubscribe(struct assent_client *client, const char *topic, const char *url);
int assent_topic_remove(struct assent_client *client, const char *topic);

/* What became of a step that was answered 202; `error` (may be NULL) of a failure. */
int assent_acknowledge(struct assent_client *client, const char *xid, const char *branch, bool succeeded,
                       const char *error);

/* ---- workflows ---- */

struct assent_workflow {
    const char *name;         /* which program of yours; may be NULL */
    const char *callback_url; /* called to go on with it while it has not ended */
    const char *data_json;    /* body of that call */
};
/* Begin a workflow, or get one that is there.  `reply` (may be NULL; close it) has "status" and the recorded
 * "steps": what is recorded is not done again. */
int assent_workflow_prepare(struct assent_client *client, const struct assent_txn_options *txn,
                            const struct assent_workflow *workflow, char xid[ASSENT_XID_BYTES_MAX + 1],
                            struct assent_reply *reply);
/* Record what a step came to.  ASSENT_BRANCH_EXISTS: (branch, op) is recorded already. */
int assent_workflow_step(struct assent_client *client, const char *xid, const char *branch, const char *op,
                         bool succeeded, const char *data_json);
/* End it: committed, or rolled back with a reason. */
int assent_workflow_end(struct assent_client *client, const char *xid, bool committed, const char *reason,
                        const char *result_json);

/* ---- the business catalogue, and operators ---- */

/* Execute what the catalogue says a business type is (docs/business.md).  `mode` (may be NULL): refuse
 * another one; of `txn` the business type is required. */
int assent_business_execute(struct assent_client *client, const struct assent_txn_options *txn,
                            const char *data_json, char xid[ASSENT_XID_BYTES_MAX + 1]);

/* What an operator does to a transaction: "retry", "skip" (a branch), "force", "pause", "resume", "back".
 * `by` and `reason` go on record; `branch` may be NULL. */
int assent_txn_act(struct assent_client *client, const char *xid, const char *act, const char *by,
                   const char *reason, const char *branch);

/* ---- freezes: named resources held by an ACTIVE transaction (docs/freeze.md) ---- */

enum assent_freeze_mode { ASSENT_FREEZE_SHARED = 1, ASSENT_FREEZE_EXCLUSIVE = 2 };

/* Freeze a resource for a transaction; returns when it is granted or cannot be.  ASSENT_OK: held until the
 * transaction has ended, also when it was before; `*token` (may be NULL) is larger than every token granted
 * earlier.  ASSENT_FROZEN: another transaction has it, still after `wait_ms` (0: do not wait; at most an
 * hour).  ASSENT_DEADLOCK: those it would wait for wait for this transaction: roll back.  TXN_DECIDED,
 * TXN_NOT_FOUND, LIMIT.  After an operating error the transaction may be in line or hold it: ask again. */
int assent_freeze(struct assent_client *client, const char *xid, const char *resource,
                  enum assent_freeze_mode mode, uint32_t wait_ms, uint64_t *token);
/* Let it go before the end.  Nothing to let go is no error. */
int assent_unfreeze(struct assent_client *client, const char *xid, const char *resource);

/* ---- the asynchronous face ---- */

struct assent_async;

/* Fires exactly once, later, on the loop's thread, also when closing.  `reply` is borrowed until return. */
typedef void (*assent_async_cb)(void *data, const struct assent_reply *reply);

/* Open on `loop`.  Copies `options`.  Handles keep the loop alive only while calls wait.  Errors as
 * assent_open(). */
int assent_async_open(struct assent_async **async, struct uv_loop_s *loop,
                      const struct assent_options *options);

/* Calls fire with ASSENT_CLOSED or ASSENT_UNKNOWN_OUTCOME during the next turns, then `closed` fires (may be
 * NULL) and the handle is gone.  The loop must run until then. */
void assent_async_close(struct assent_async *async, void (*closed)(void *data), void *data);

/* Send a request (borrowed until return).  `timeout_ms` 0: the handle's.  Non-zero (ASSENT_BUSY, TOO_LARGE,
 * NOMEM, CLOSED): `cb` never fires.  What is called in one turn of the loop goes out together. */
int assent_async_call(struct assent_async *async, const struct assent_request *request, uint32_t timeout_ms,
                      assent_async_cb cb, void *data);

/* Timestamps: reply->first, reply->count.  As assent_tso_get(). */
int assent_async_tso(struct assent_async *async, uint32_t count, uint32_t timeout_ms, assent_async_cb cb,
                     void *data);

/* Calls that wait or are unanswered. */
uint32_t assent_async_pending(const struct assent_async *async);

/* What happened since the handle was opened. */
struct assent_stats {
    uint64_t calls, answers, resent, timeouts;
    uint64_t connections, connections_lost, redirects,
        frames_refused; /* refused: not a frame of the protocol */
    uint64_t sessions_opened, sessions_expired;
    uint64_t tso_frames, tso_calls;
};
void assent_async_stats(const struct assent_async *async, struct assent_stats *out);
/* The same of the blocking face; waits for the private thread. */
void assent_stats(struct assent_client *client, struct assent_stats *out);

#ifdef __cplusplus
}
#endif

#endif /* ASSENT_CLIENT_H */
