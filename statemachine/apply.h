/* What a command's or query's function gets and may do.  Private to statemachine/. */
#ifndef STATEMACHINE_APPLY_H
#define STATEMACHINE_APPLY_H

#include "assent/clock.h"
#include "command.h"
#include "sm.h"
#include "statemachine.h"
#include "store.h"

struct apply {
    struct store_txn *txn;
    const struct command *command;
    uint64_t position; /* of the command in the log: fencing token, unique number */
    int64_t now_us;    /* the command's time: strictly larger than every earlier one */
    uint64_t cluster_tag;
    struct codec_writer *out; /* the data map of the result; used only when the function returns ASSENT_OK */
    char detail[256];         /* of a refusal, optional: a sentence for people */
    struct session_book *sessions; /* session.c's own */
    struct sm *sm;                 /* statemachine.c's own */
    uint32_t events;               /* told of this command */
    struct nest_queue *nest;       /* nest.c's own */
    uint32_t audits;               /* put on record by this command */
};

/* Tell whoever listens; fills position, number and time.  Inside a query: never. */
void apply_event(struct apply *a, struct sm_event *event);

/* Returns ASSENT_OK with a map (or nothing: nil) written to `out`, or a refusal's code with nothing changed
 * in the store: a function checks first and writes afterwards. */
typedef int (*apply_fn)(struct apply *a);

/* Queries see a read transaction; position is 0, now_us the time of the last command. */
typedef int (*query_fn)(struct apply *a);

/* A timer gets the same with `command` NULL, the time and position of the command that made it due, and an
 * `out` whose content is thrown away. */

/* Does what is due by time alone happen by itself?  See hooks.h.  Inside a query: never asked. */
bool apply_polls(const struct apply *a);
void apply_polls_set(struct apply *a, bool polls);

/* printf into a->detail; the value is `code`.  A macro, so that an analyser sees that it is not ASSENT_OK. */
#define refuse(a, code, ...) (apply_explain(a, __VA_ARGS__), (code))
void apply_explain(struct apply *a, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- timers: (due, kind, id) ---- */

/* Timers fired before one command; the rest waits for the next command (a leader proposes TICK after TICK
 * while something is due), so that a million expiries never stop the loop in one go.  The same on every
 * replica. */
#define TIMERS_PER_COMMAND_MAX 256

/* Kinds; numbers are stored and never reused. */
enum timer_kind {
    TIMER_SESSION = 1,     /* id: client */
    TIMER_REPLY = 2,       /* id: idempotency key */
    TIMER_NODE = 3,        /* id: node name */
    TIMER_TXN = 4,         /* id: xid: timeout */
    TIMER_RETENTION = 5,   /* id: xid: remove a finished transaction */
    TIMER_ACKNOWLEDGE = 6, /* id: xid 0 ordinal: the time for the acknowledgement of a step is over */
    TIMER_FREEZE = 16,     /* id: key of a wait for a frozen resource */
    TIMER_AUDIT = 17,      /* no id: the oldest acts on record have had their time */
    TIMER_KIND_NR
};
void timer_set(struct store_txn *txn, int64_t due_us, enum timer_kind kind, struct assent_bytes id);
void timer_clear(struct store_txn *txn, int64_t due_us, enum timer_kind kind, struct assent_bytes id);
/* What happens when one is due (already removed). */
typedef void (*timer_fn)(struct apply *a, struct assent_bytes id);

/* One room per family; the rows that name them are in statemachine.c. */
int session_open(struct apply *a), session_close(struct apply *a);
void session_expire(struct apply *a, struct assent_bytes id),
    reply_expire(struct apply *a, struct assent_bytes id);

int node_register(struct apply *a), node_heartbeat(struct apply *a), node_remove(struct apply *a),
    query_nodes(struct apply *a);
void node_timer(struct apply *a, struct assent_bytes id);

int sequence_next(struct apply *a), query_sequence(struct apply *a);
int tso_window(struct apply *a);

int lamport_tick(struct apply *a), lamport_sync(struct apply *a), query_lamport(struct apply *a);
/* The clock named "default", which stamps timestamp events. */
uint64_t lamport_default(struct store_txn *txn);
void lamport_default_set(struct store_txn *txn, uint64_t value);
int vector_tick(struct apply *a), vector_sync(struct apply *a), vector_join(struct apply *a),
    vector_retire(struct apply *a), vector_observe(struct apply *a), query_vector(struct apply *a),
    query_vector_compare(struct apply *a);
int version_increment(struct apply *a), version_merge(struct apply *a), version_declare(struct apply *a),
    version_resolve(struct apply *a), query_version(struct apply *a), query_version_compare(struct apply *a),
    query_version_history(struct apply *a);
int timestamp_event(struct apply *a), timestamp_sync(struct apply *a),
    query_timestamp_compare(struct apply *a), query_timestamp_events(struct apply *a);

int txn_begin(struct apply *a), txn_branch(struct apply *a), txn_commit(struct apply *a),
    txn_rollback(struct apply *a), branch_report(struct apply *a), saga_submit(struct apply *a),
    txn_resume(struct apply *a), query_txn_status(struct apply *a), query_txn(struct apply *a),
    query_txn_tree(struct apply *a), query_txn_list(struct apply *a), query_txn_counts(struct apply *a),
    branch_reports(struct apply *a), branch_acknowledge(struct apply *a), txn_act(struct apply *a);
int message_prepare(struct apply *a), message_submit(struct apply *a), workflow_prepare(struct apply *a),
    workflow_step(struct apply *a), workflow_end(struct apply *a);
int topic_subscribe(struct apply *a), topic_unsubscribe(struct apply *a), topic_remove(struct apply *a),
    query_topics(struct apply *a);
void txn_timer(struct apply *a, struct assent_bytes id),
    txn_retention(struct apply *a, struct assent_bytes id),
    acknowledge_timer(struct apply *a, struct assent_bytes id);

int business_put(struct apply *a), business_remove(struct apply *a), business_execute(struct apply *a),
    query_business(struct apply *a), query_statistics(struct apply *a);

int freeze(struct apply *a), unfreeze(struct apply *a), query_freeze(struct apply *a),
    query_freeze_resource(struct apply *a), query_freeze_txn(struct apply *a),
    query_freeze_list(struct apply *a);
void freeze_timer(struct apply *a, struct assent_bytes id);

int txn_act_many(struct apply *a), query_audit(struct apply *a), settings_put(struct apply *a),
    audit_command(struct apply *a), query_settings(struct apply *a);
void audit_expire(struct apply *a, struct assent_bytes id);

#endif /* STATEMACHINE_APPLY_H */
