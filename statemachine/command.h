/* Every command and query: its number, its name, its fields.  The table the doors, the client library and the
 * state machine share; a field's name here is its JSON name.
 *
 * A new command is a number, a row of fields (schema.c) and a row with its function (statemachine.c). */
#ifndef STATEMACHINE_COMMAND_H
#define STATEMACHINE_COMMAND_H

#include "codec.h"

/* Numbers in the log; an entry means the same for ever, so a number is never reused. */
enum command_type {
    COMMAND_TICK = 1, /* nothing but its time: expires what is due */
    COMMAND_SESSION_OPEN = 2,
    COMMAND_SESSION_CLOSE = 3,
    COMMAND_NODE_REGISTER = 4,
    COMMAND_NODE_HEARTBEAT = 5,
    COMMAND_NODE_REMOVE = 6,
    COMMAND_SEQUENCE_NEXT = 7,
    COMMAND_TSO_WINDOW = 8,
    COMMAND_LAMPORT_TICK = 16,
    COMMAND_LAMPORT_SYNC = 17,
    COMMAND_VECTOR_TICK = 18,
    COMMAND_VECTOR_SYNC = 19,
    COMMAND_VECTOR_JOIN = 20,
    COMMAND_VECTOR_RETIRE = 21,
    COMMAND_VECTOR_OBSERVE = 22, /* a member reports what it has seen: stability of a retirement */
    COMMAND_VERSION_INCREMENT = 23,
    COMMAND_VERSION_MERGE = 24,
    COMMAND_VERSION_DECLARE = 25, /* the object's resolution of conflicts */
    COMMAND_VERSION_RESOLVE = 26,
    COMMAND_TIMESTAMP_EVENT = 27,
    COMMAND_TIMESTAMP_SYNC = 28,
    COMMAND_TXN_BEGIN = 48,
    COMMAND_TXN_BRANCH = 49,
    COMMAND_TXN_COMMIT = 50,
    COMMAND_TXN_ROLLBACK = 51,
    COMMAND_BRANCH_REPORT = 52,
    COMMAND_SAGA_SUBMIT = 53,        /* a whole saga in one command: begin, plan and go */
    COMMAND_TXN_RESUME = 54,         /* an operator says how a suspended saga goes on */
    COMMAND_BRANCH_REPORTS = 55,     /* several reports in one command */
    COMMAND_BRANCH_ACKNOWLEDGE = 56, /* a participant that answered "accepted" says what came of it */
    COMMAND_MESSAGE_PREPARE = 57,
    COMMAND_MESSAGE_SUBMIT = 58, /* a prepared message by its xid, or a whole one */
    COMMAND_FREEZE = 60,
    COMMAND_UNFREEZE = 61,
    COMMAND_WORKFLOW_PREPARE = 62,
    COMMAND_WORKFLOW_STEP = 63,
    COMMAND_WORKFLOW_END = 64,
    COMMAND_TXN_ACT = 65,      /* what an operator does to one transaction */
    COMMAND_TXN_ACT_MANY = 66, /* and to a page of those a filter finds */
    COMMAND_TOPIC_SUBSCRIBE = 67,
    COMMAND_TOPIC_UNSUBSCRIBE = 68,
    COMMAND_TOPIC_REMOVE = 69,
    COMMAND_BUSINESS_PUT = 70,
    COMMAND_BUSINESS_REMOVE = 71,
    COMMAND_BUSINESS_EXECUTE = 72, /* begin what the catalogue says a business type is */
    COMMAND_SETTINGS_PUT = 73,     /* of the whole cluster */
    COMMAND_TEST_WIPE = 74,        /* test builds propose these two, no other does: hooks.c */
    COMMAND_TEST_POLLING = 75,
    COMMAND_AUDIT = 76, /* what an operator did to the cluster and not to its state */
    COMMAND_NR = 77
};

enum query_type {
    QUERY_NODES = 1,
    QUERY_SEQUENCE = 2,
    QUERY_LAMPORT = 16,
    QUERY_VECTOR = 17,
    QUERY_VECTOR_COMPARE = 18,
    QUERY_VERSION = 19,
    QUERY_VERSION_COMPARE = 20,
    QUERY_VERSION_HISTORY = 21,
    QUERY_TIMESTAMP_COMPARE = 22,
    QUERY_TIMESTAMP_EVENTS = 23,
    QUERY_TXN_STATUS = 48,
    QUERY_TXN = 49,
    QUERY_TXN_LIST = 50,
    QUERY_TXN_COUNTS = 51,      /* transactions by mode and status, for metrics and statistics */
    QUERY_FREEZE = 60,          /* how a transaction stands to a resource */
    QUERY_FREEZE_RESOURCE = 61, /* who holds it, who waits */
    QUERY_FREEZE_TXN = 62,
    QUERY_FREEZE_LIST = 63,
    QUERY_TXN_TREE = 64,   /* a transaction and those nested in it */
    QUERY_AUDIT = 65,      /* what operators did */
    QUERY_TOPICS = 66,     /* one topic or a page of them */
    QUERY_BUSINESS = 67,   /* one business type or a page of them */
    QUERY_STATISTICS = 68, /* totals, rates and times by business type and mode */
    QUERY_SETTINGS = 69,
    QUERY_NR = 70
};

enum field_kind {
    FIELD_BOOL,
    FIELD_UINT,     /* max: largest value, 0: 2^63-1 */
    FIELD_TEXT,     /* max: bytes; valid UTF-8, no NUL */
    FIELD_JSON,     /* max: bytes of the JSON text */
    FIELD_COUNTERS, /* map text -> unsigned; max: members */
    FIELD_TEXTS,    /* map text -> text (headers); max: members */
    FIELD_LIST,     /* list of unsigned or names; max: members */
    FIELD_OBJECTS,  /* list of objects with `fields`; each is a list by position; max: members */
};

enum {
    FIELD_REQUIRED = 1,
    FIELD_NAME = 2,     /* TEXT: a name: 1.. bytes, no control characters */
    FIELD_INTERNAL = 4, /* never from a door */
    FIELD_VOLATILE = 8, /* may differ when the same request is repeated: no part of its fingerprint */
    FIELD_SCOPED = 16,  /* TEXT: names something of the command's namespace; decoding puts it in front */
    FIELD_BODY = 32     /* JSON: a text or bytes are taken too, and sent as they are */
};

struct field {
    const char *name; /* NULL ends a table */
    enum field_kind kind;
    uint32_t flags;
    uint64_t max;
    const struct field *fields; /* of FIELD_OBJECTS */
};

/* Name for logs and metrics ("txn_begin") and fields; NULL for a number that is not in use. */
struct schema {
    const char *name;
    const struct field *fields;
    bool internal; /* proposed by nodes only: the doors refuse it */
};
const struct schema *command_schema(uint32_t type);
const struct schema *query_schema(uint32_t type);

/* Positions of fields in their tables: FIELD_OF(args, TXN_BEGIN, XID). */
enum {
    NODE_REGISTER_NODE,
    NODE_REGISTER_ADDRESS,
    NODE_REGISTER_METADATA,
    NODE_REGISTER_INACTIVE_MS,
    NODE_REGISTER_FAILED_MS
};
#define NODE_ADDRESS_BYTES_MAX 256 /* "host:port" or a base URL */
/* A thousand nodes are answered in one result. */
#define NODE_METADATA_BYTES_MAX 2048
enum { NODE_HEARTBEAT_NODE };
enum { NODE_REMOVE_NODE };
enum { SESSION_OPEN_TTL_MS };
enum { SEQUENCE_NEXT_NAME, SEQUENCE_NEXT_COUNT };
enum { TSO_WINDOW_BOUND };
enum { LAMPORT_TICK_CLOCK, LAMPORT_TICK_COUNT };
enum { LAMPORT_SYNC_CLOCK, LAMPORT_SYNC_RECEIVED };
enum { VECTOR_TICK_CLOCK, VECTOR_TICK_NODE };
enum { VECTOR_SYNC_CLOCK, VECTOR_SYNC_NODE, VECTOR_SYNC_RECEIVED, VECTOR_SYNC_EPOCH };
enum { VECTOR_JOIN_CLOCK, VECTOR_JOIN_NODE };
enum { VECTOR_RETIRE_CLOCK, VECTOR_RETIRE_NODE };
enum { VECTOR_OBSERVE_CLOCK, VECTOR_OBSERVE_NODE, VECTOR_OBSERVE_SEEN, VECTOR_OBSERVE_EPOCH };
enum { VERSION_INCREMENT_OBJECT, VERSION_INCREMENT_NODE, VERSION_INCREMENT_VALUE, VERSION_INCREMENT_CONTEXT };
enum {
    VERSION_MERGE_OBJECT,
    VERSION_MERGE_VERSION,
    VERSION_MERGE_NODE,
    VERSION_MERGE_VALUE,
    VERSION_MERGE_DOT
};
enum { VERSION_DECLARE_OBJECT, VERSION_DECLARE_RESOLUTION, VERSION_DECLARE_HISTORY };
enum { VERSION_RESOLVE_OBJECT, VERSION_RESOLVE_NODE, VERSION_RESOLVE_VALUE, VERSION_RESOLVE_CONTEXT };
enum {
    TIMESTAMP_EVENT_EVENT_ID,
    TIMESTAMP_EVENT_NODE,
    TIMESTAMP_EVENT_TYPE,
    TIMESTAMP_EVENT_BUSINESS,
    TIMESTAMP_EVENT_DATA
};
enum {
    TIMESTAMP_SYNC_EVENT_ID,
    TIMESTAMP_SYNC_NODE,
    TIMESTAMP_SYNC_TYPE,
    TIMESTAMP_SYNC_BUSINESS,
    TIMESTAMP_SYNC_DATA,
    TIMESTAMP_SYNC_TIME_US,
    TIMESTAMP_SYNC_LAMPORT
};
enum {
    TXN_BEGIN_XID,
    TXN_BEGIN_MODE,
    TXN_BEGIN_BUSINESS_TYPE,
    TXN_BEGIN_BUSINESS_KEY,
    TXN_BEGIN_TIMEOUT_MS,
    TXN_BEGIN_RETRY_BASE_MS,
    TXN_BEGIN_RETRY_CAP_MS,
    TXN_BEGIN_OWNER,
    TXN_BEGIN_TRACEPARENT,
    TXN_BEGIN_CUSTOM_DATA,
    TXN_BEGIN_BRANCHES
};
/* A branch inside BEGIN's list has the fields of TXN_BRANCH without the xid, in the order below from BRANCH
 * on. */
enum {
    TXN_BRANCH_XID,
    TXN_BRANCH_BRANCH,
    TXN_BRANCH_CONFIRM_URL,
    TXN_BRANCH_CANCEL_URL,
    TXN_BRANCH_PAYLOAD,
    TXN_BRANCH_HEADERS,
    TXN_BRANCH_TIMEOUT_MS
};
/* Fields that follow a branch's or a step's own, from the number the enum of each says on. */
enum branch_option {
    BRANCH_OPTION_PROTOCOL,      /* "http" (absent) or "json-rpc" */
    BRANCH_OPTION_RETRY_BASE_MS, /* these four: in place of the transaction's */
    BRANCH_OPTION_RETRY_CAP_MS,
    BRANCH_OPTION_RETRY_FACTOR,
    BRANCH_OPTION_RETRY_JITTER,
    BRANCH_OPTION_RETRY_LIMIT, /* failed calls of one operation after which it has failed for good */
    BRANCH_OPTION_NR
};
#define TXN_BRANCH_OPTIONS 7
#define TXN_BRANCH_TRY_URL                                                                                   \
    (TXN_BRANCH_OPTIONS + BRANCH_OPTION_NR) /* called when the begin says `execute`                          \
                                             */
/* Fields that end every command which begins a transaction, from the number ..._OPTIONS on. */
enum txn_option {
    OPTION_PARENT,          /* xid of the transaction this one is nested in */
    OPTION_HEADERS,         /* of every call */
    OPTION_CALL_TIMEOUT_MS, /* of calls whose branch names none */
    OPTION_RETRY_FACTOR,    /* percent, 100 to 1000; 200 if absent */
    OPTION_RETRY_JITTER,    /* percent of the wait, 0 to 100 */
    OPTION_ORDER,           /* calls of the second phase: "parallel", "forward", "reverse" */
    OPTION_PROTOCOL,        /* "http" or "json-rpc", of branches that name none */
    OPTION_STYLE,           /* enum sm_style */
    OPTION_KEEP, /* an xid that is there answers with the stored transaction, whatever its content */
    OPTION_HOLD, /* a saga: prepared only; the same xid submitted without it starts it */
    OPTION_NR
};
#define TXN_BEGIN_OPTIONS   11
#define TXN_BEGIN_EXECUTE   (TXN_BEGIN_OPTIONS + OPTION_NR) /* call the branches' try, then decide */
#define SAGA_SUBMIT_OPTIONS 14
/* As TXN_BEGIN up to the custom data; both message commands. */
enum { MESSAGE_STEPS = TXN_BEGIN_BRANCHES, MESSAGE_CONCURRENT, MESSAGE_QUERY_URL, MESSAGE_DELAY_MS };
#define MESSAGE_OPTIONS 14
enum { WORKFLOW_PREPARE_NAME = TXN_BEGIN_BRANCHES, WORKFLOW_PREPARE_CALLBACK_URL, WORKFLOW_PREPARE_DATA };
#define WORKFLOW_PREPARE_OPTIONS 13
enum { WORKFLOW_STEP_XID, WORKFLOW_STEP_BRANCH, WORKFLOW_STEP_OP, WORKFLOW_STEP_STATUS, WORKFLOW_STEP_DATA };
enum {
    WORKFLOW_END_XID,
    WORKFLOW_END_STATUS,
    WORKFLOW_END_REASON,
    WORKFLOW_END_RESULT,
    WORKFLOW_END_KEEP /* as TXN_COMMIT_KEEP */
};
enum { ACKNOWLEDGE_XID, ACKNOWLEDGE_BRANCH, ACKNOWLEDGE_OUTCOME, ACKNOWLEDGE_ERROR };
#define BRANCH_REPORTS_MAX 256
enum { BRANCH_REPORTS_REPORTS };
enum { TXN_ACT_XID, TXN_ACT_ACT, TXN_ACT_BY, TXN_ACT_REASON, TXN_ACT_BRANCH };
/* From number TXN_ACT_MANY_FILTER on as QUERY_TXN_LIST. */
enum { TXN_ACT_MANY_ACT, TXN_ACT_MANY_BY, TXN_ACT_MANY_REASON, TXN_ACT_MANY_FILTER };
enum { SETTINGS_PUT_BY, SETTINGS_PUT_REASON, SETTINGS_PUT_RETENTION_MS, SETTINGS_PUT_AUDIT_RETENTION_MS };
enum { TEST_POLLING_ON };
enum { AUDIT_ACT, AUDIT_SUBJECT, AUDIT_BY, AUDIT_REASON };
enum { TOPIC_TOPIC, TOPIC_URL, TOPIC_REMARK };
/* Who and why, for the record, behind each command's own fields. */
enum { TOPIC_SUBSCRIBE_BY = TOPIC_REMARK + 1, TOPIC_SUBSCRIBE_REASON };
enum { TOPIC_UNSUBSCRIBE_BY = TOPIC_URL + 1, TOPIC_UNSUBSCRIBE_REASON };
enum { TOPIC_REMOVE_BY = TOPIC_TOPIC + 1, TOPIC_REMOVE_REASON };
/* What a business type is: the fields of the mode's own command that do not differ from one execution to the
 * next. */
enum {
    BUSINESS_PUT_TYPE,
    BUSINESS_PUT_MODE, /* TCC, XA, SAGA, MESSAGE */
    BUSINESS_PUT_DESCRIPTION,
    BUSINESS_PUT_TIMEOUT_MS,
    BUSINESS_PUT_RETRY_BASE_MS,
    BUSINESS_PUT_RETRY_CAP_MS,
    BUSINESS_PUT_RETRY_FACTOR,
    BUSINESS_PUT_RETRY_JITTER,
    BUSINESS_PUT_HEADERS,
    BUSINESS_PUT_CALL_TIMEOUT_MS,
    BUSINESS_PUT_PROTOCOL,
    BUSINESS_PUT_ORDER,    /* of TCC and XA */
    BUSINESS_PUT_BRANCHES, /* likewise */
    BUSINESS_PUT_STEPS,    /* of a saga or message, and so on to the delay */
    BUSINESS_PUT_CONCURRENT,
    BUSINESS_PUT_ON_FAILURE,
    BUSINESS_PUT_RETRY_LIMIT,
    BUSINESS_PUT_DELAY_MS,
    BUSINESS_PUT_NR, /* what a type is made of ends here */
    BUSINESS_PUT_BY = BUSINESS_PUT_NR,
    BUSINESS_PUT_REASON
};
enum { BUSINESS_REMOVE_TYPE, BUSINESS_REMOVE_BY, BUSINESS_REMOVE_REASON };
enum {
    BUSINESS_EXECUTE_TYPE,
    BUSINESS_EXECUTE_MODE, /* refused when the catalogue says another one */
    BUSINESS_EXECUTE_XID,
    BUSINESS_EXECUTE_KEY,
    BUSINESS_EXECUTE_DATA, /* payload of branches that have none of their own */
    BUSINESS_EXECUTE_TIMEOUT_MS,
    BUSINESS_EXECUTE_OWNER,
    BUSINESS_EXECUTE_TRACEPARENT,
    BUSINESS_EXECUTE_CUSTOM_DATA,
    BUSINESS_EXECUTE_PARENT
};
enum { QUERY_BUSINESS_TYPE, QUERY_BUSINESS_AFTER, QUERY_BUSINESS_LIMIT };
enum { QUERY_STATISTICS_TYPE, QUERY_STATISTICS_MODE };
enum { QUERY_TOPICS_TOPIC, QUERY_TOPICS_AFTER, QUERY_TOPICS_LIMIT };
enum {
    TXN_COMMIT_XID,
    TXN_COMMIT_KEEP,    /* what its status refuses is answered with the transaction as it stands */
    TXN_COMMIT_HEADERS, /* these three: if present, in place of what the begin said */
    TXN_COMMIT_CALL_TIMEOUT_MS,
    TXN_COMMIT_RETRY_BASE_MS
};
enum {
    TXN_ROLLBACK_XID,
    TXN_ROLLBACK_REASON,
    TXN_ROLLBACK_KEEP /* the same; and nobody turns a saga back */
};
enum {
    BRANCH_REPORT_XID,
    BRANCH_REPORT_BRANCH,
    BRANCH_REPORT_OP,
    BRANCH_REPORT_ATTEMPT,
    BRANCH_REPORT_SUCCESS,
    BRANCH_REPORT_ERROR,
    BRANCH_REPORT_OUTCOME /* enum sm_outcome, of a saga's calls; absent: SUCCESS or ERROR by `success` */
};
/* As TXN_BEGIN up to the custom data. */
enum {
    SAGA_SUBMIT_STEPS = TXN_BEGIN_BRANCHES,
    SAGA_SUBMIT_CONCURRENT,
    SAGA_SUBMIT_ON_FAILURE,
    SAGA_SUBMIT_RETRY_LIMIT
};
enum { TXN_RESUME_XID, TXN_RESUME_MOVE, TXN_RESUME_BY, TXN_RESUME_REASON, TXN_RESUME_BRANCH };
enum {
    SAGA_STEP_BRANCH,
    SAGA_STEP_ACTION_URL,
    SAGA_STEP_COMPENSATE_URL,
    SAGA_STEP_PAYLOAD,
    SAGA_STEP_HEADERS,
    SAGA_STEP_TIMEOUT_MS,
    SAGA_STEP_AFTER
};
#define SAGA_STEP_OPTIONS 7
#define SAGA_STEP_ACKNOWLEDGE_MS                                                                             \
    (SAGA_STEP_OPTIONS + BRANCH_OPTION_NR) /* asynchronous: 202 waits so long                                \
                                            */
enum { QUERY_SEQUENCE_NAME };
enum { QUERY_LAMPORT_CLOCK };
enum { QUERY_VECTOR_CLOCK, QUERY_VECTOR_NODE };
enum {
    QUERY_VECTOR_COMPARE_CLOCK,
    QUERY_VECTOR_COMPARE_A,
    QUERY_VECTOR_COMPARE_B,
    QUERY_VECTOR_COMPARE_EPOCH_A,
    QUERY_VECTOR_COMPARE_EPOCH_B,
    QUERY_VECTOR_COMPARE_NODE
};
enum { QUERY_VERSION_OBJECT };
enum {
    QUERY_VERSION_COMPARE_A,
    QUERY_VERSION_COMPARE_B,
    QUERY_VERSION_COMPARE_DOT_A,
    QUERY_VERSION_COMPARE_DOT_B
};
enum { QUERY_VERSION_HISTORY_OBJECT, QUERY_VERSION_HISTORY_LIMIT };
enum { QUERY_TIMESTAMP_COMPARE_EVENT_ID1, QUERY_TIMESTAMP_COMPARE_EVENT_ID2 };
enum {
    QUERY_TIMESTAMP_EVENTS_NODE,
    QUERY_TIMESTAMP_EVENTS_TYPE,
    QUERY_TIMESTAMP_EVENTS_BUSINESS,
    QUERY_TIMESTAMP_EVENTS_FROM_US,
    QUERY_TIMESTAMP_EVENTS_TO_US,
    QUERY_TIMESTAMP_EVENTS_AFTER,
    QUERY_TIMESTAMP_EVENTS_LIMIT
};
enum { QUERY_TXN_STATUS_XID };
enum { QUERY_TXN_XID };
enum {
    QUERY_TXN_LIST_STATUS,
    QUERY_TXN_LIST_MODE,
    QUERY_TXN_LIST_BUSINESS_TYPE,
    QUERY_TXN_LIST_AFTER,
    QUERY_TXN_LIST_LIMIT,
    QUERY_TXN_LIST_BUSINESS_KEY,
    QUERY_TXN_LIST_ORDER,         /* "newest" (absent) or "oldest" first */
    QUERY_TXN_LIST_FROM_US,       /* begun at or after */
    QUERY_TXN_LIST_TO_US,         /* begun before */
    QUERY_TXN_LIST_ERROR_TEXT,    /* part of the last error */
    QUERY_TXN_LIST_OLDER_THAN_MS, /* unfinished, and begun so long ago */
    QUERY_TXN_LIST_FAILING,       /* unfinished, and its last call failed */
    QUERY_TXN_LIST_NEXT_AFTER_MS, /* unfinished, and nothing of it is called sooner than that */
    QUERY_TXN_LIST_NR
};
enum { QUERY_TXN_COUNTS_ALL };
enum { QUERY_AUDIT_XID, QUERY_AUDIT_AFTER, QUERY_AUDIT_LIMIT };
/* "table:key", a document, an account: what a freeze names is the application's. */
#define FREEZE_RESOURCE_BYTES_MAX 256
enum { FREEZE_XID, FREEZE_RESOURCE, FREEZE_MODE, FREEZE_WAIT_MS };
enum { UNFREEZE_XID, UNFREEZE_RESOURCE, UNFREEZE_BY /* an operator: on record */, UNFREEZE_REASON };
/* Longest subject of a row of the record. */
#define AUDIT_SUBJECT_BYTES_MAX 512
enum { QUERY_FREEZE_XID, QUERY_FREEZE_RESOURCE_NAME };
enum { QUERY_FREEZE_RESOURCE_RESOURCE };
enum { QUERY_FREEZE_TXN_XID, QUERY_FREEZE_TXN_AFTER, QUERY_FREEZE_TXN_LIMIT };
enum { QUERY_FREEZE_LIST_PREFIX, QUERY_FREEZE_LIST_AFTER, QUERY_FREEZE_LIST_LIMIT };

/* ---- a command as a whole ---- */

/* How a command that may be sent twice is executed once.
 *
 * SESSION_SEQUENCE: `client` is what SESSION_OPEN answered; `sequence` counts its commands from 1, in any
 * order of arrival.  A repeated sequence gets the stored reply (refusals are replies too).  `acknowledged` <
 * sequence: every sequence up to it was answered, and its reply may go.  Refused without execution and
 * without a stored reply: SESSION_EXPIRED when the session is gone, or when the sequence was acknowledged
 * before; LIMIT when 1024 replies are not acknowledged. SESSION_KEY: the key names this one request for 24
 * hours of log time (fewer when a million younger keys came). Another type or other arguments under the same
 * key: KEY_REUSED.  So a door must put nothing into the arguments that would differ in a second try, save in
 * fields marked FIELD_VOLATILE. */
enum session_kind { SESSION_NONE, SESSION_SEQUENCE, SESSION_KEY };

struct command_session {
    enum session_kind kind;
    uint64_t client, sequence,
        acknowledged;        /* SESSION_SEQUENCE: every sequence <= acknowledged was answered */
    struct assent_bytes key; /* SESSION_KEY; decoded: with the namespace in front */
    struct assent_bytes ns;  /* namespace of what the command names; empty: the default one */
};

/* Between a namespace and a name of it, in decoded commands and in the store.  A name from a door holds no
 * control character, so no namespace can name what is another's. */
#define NAMESPACE_MARK 0x1f
/* Longest namespace: names with it stay below the size of a key. */
#define NAMESPACE_BYTES_MAX 47
/* An xid as the store has it. */
#define STORED_XID_BYTES_MAX (NAMESPACE_BYTES_MAX + 1 + ASSENT_XID_BYTES_MAX)
/* Take a stored name apart; `ns` (may be NULL) is empty for the default namespace. */
struct assent_bytes scoped_name(struct assent_bytes stored, struct assent_bytes *ns);

/* Write format byte, type and session and open the argument list of `n` values, which the caller writes next.
 */
void command_begin(struct codec_writer *w, uint32_t type, const struct command_session *session, uint32_t n);

/* A command or query taken apart; borrows from its bytes and the arena. */
struct command {
    uint32_t type;
    struct command_session session;
    const struct codec_node *args;  /* a LIST; codec_at(args, TXN_BEGIN_XID) */
    struct assent_bytes args_bytes; /* their encoding, for fingerprints */
};

/* Decode and check against the schema of `command_schema` (query false) or `query_schema` (true).  MALFORMED:
 * not a command; INVALID: `why` names the field and what is wrong with it; TOO_LARGE.  `door`: also refuse
 * internal commands and fields. */
int command_decode(struct codec_arena *a, struct assent_bytes bytes, bool query, bool door,
                   struct command *out, char *why, size_t why_size);

/* Arguments with defaults for absent ones. */
uint64_t arg_uint(const struct command *c, uint32_t i, uint64_t absent);
bool arg_bool(const struct command *c, uint32_t i, bool absent);
struct assent_bytes arg_bytes(const struct command *c, uint32_t i); /* TEXT or JSON; empty when absent */
bool arg_present(const struct command *c, uint32_t i);

/* ---- a result as a whole ---- */

struct result {
    int code;                      /* assent_error */
    const struct codec_node *data; /* MAP or NULL */
    struct assent_bytes detail;    /* a sentence; empty: use assent_error_sentence() */
};
/* False: malformed. */
bool result_decode(struct codec_arena *a, struct assent_bytes bytes, struct result *out);
/* The same of a value that is parsed already (inside a frame). */
bool result_of(const struct codec_node *n, struct result *out);
/* Write a refusal or an error: [code, nil, detail]; `detail` NULL or "": nil. */
void result_refusal(struct codec_writer *w, int code, const char *detail);

#endif /* STATEMACHINE_COMMAND_H */
