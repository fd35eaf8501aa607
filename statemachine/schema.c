/* The fields of every command and query, as tables: names, kinds, bounds.  The doors, the client library and
 * the state machine check against the same rows. */
#include "command.h"

/* Free text that people read: reasons, errors. */
#define TEXT_BYTES_MAX 1024
/* Members of a map of HTTP headers; what common servers accept by default is about 100. */
#define HEADERS_MAX 64
/* W3C traceparent has 55 characters; room for its next version. */
#define TRACEPARENT_BYTES_MAX 128
/* Words from a closed list: mode, status, resolution. */
#define WORD_BYTES_MAX 32
/* A place in a listing, opaque to the caller; may join two names. */
#define AFTER_BYTES_MAX 400
/* Longest time an argument may name: a year, so that sums of times never overflow. */
#define TIME_MS_MAX (UINT64_C(366) * 24 * 3600 * 1000)

#define END                                                                                                  \
    {                                                                                                        \
        .name = NULL                                                                                         \
    }
#define NAME(n, f)                                                                                           \
    {                                                                                                        \
        .name = n, .kind = FIELD_TEXT, .flags = FIELD_NAME | (f), .max = ASSENT_NAME_BYTES_MAX               \
    }
#define XID(n, f)                                                                                            \
    {                                                                                                        \
        .name = n, .kind = FIELD_TEXT, .flags = FIELD_NAME | FIELD_SCOPED | (f), .max = ASSENT_XID_BYTES_MAX \
    }
#define TEXT(n, f, m)                                                                                        \
    {                                                                                                        \
        .name = n, .kind = FIELD_TEXT, .flags = (f), .max = (m)                                              \
    }
#define UINT(n, f, m)                                                                                        \
    {                                                                                                        \
        .name = n, .kind = FIELD_UINT, .flags = (f), .max = (m)                                              \
    }
#define BOOL(n, f)                                                                                           \
    {                                                                                                        \
        .name = n, .kind = FIELD_BOOL, .flags = (f)                                                          \
    }
#define JSON(n, f)                                                                                           \
    {                                                                                                        \
        .name = n, .kind = FIELD_JSON, .flags = (f), .max = ASSENT_PAYLOAD_BYTES_MAX                         \
    }
#define COUNTERS(n, f)                                                                                       \
    {                                                                                                        \
        .name = n, .kind = FIELD_COUNTERS, .flags = (f), .max = ASSENT_VECTOR_MEMBERS_MAX                    \
    }
#define DOT(n, f)                                                                                            \
    {                                                                                                        \
        .name = n, .kind = FIELD_COUNTERS, .flags = (f), .max = 1                                            \
    }
#define HEADERS(n, f)                                                                                        \
    {                                                                                                        \
        .name = n, .kind = FIELD_TEXTS, .flags = (f), .max = HEADERS_MAX                                     \
    }
#define OBJECTS(n, f, m, t)                                                                                  \
    {                                                                                                        \
        .name = n, .kind = FIELD_OBJECTS, .flags = (f), .max = (m), .fields = (t)                            \
    }
#define RESOURCE(f)                                                                                          \
    {                                                                                                        \
        .name = "resource", .kind = FIELD_TEXT, .flags = FIELD_NAME | FIELD_SCOPED | (f),                    \
        .max = FREEZE_RESOURCE_BYTES_MAX                                                                     \
    }
/* JSON, or from doors that carry other things a text that is sent as it is. */
#define BODY(n, f)                                                                                           \
    {                                                                                                        \
        .name = n, .kind = FIELD_JSON, .flags = FIELD_BODY | (f), .max = ASSENT_PAYLOAD_BYTES_MAX            \
    }
/* A name of the command's namespace. */
#define SCOPED(n, f)                                                                                         \
    {                                                                                                        \
        .name = n, .kind = FIELD_TEXT, .flags = FIELD_NAME | FIELD_SCOPED | (f),                             \
        .max = ASSENT_NAME_BYTES_MAX                                                                         \
    }
#define REQ FIELD_REQUIRED
/* Who and why, for the record: fields `at` and the next. */
#define WHO_AND_WHY(at) [(at)] = NAME("by", 0), [(at) + 1] = TEXT("reason", 0, TEXT_BYTES_MAX)
/* Which transactions are meant, from field number `at` on. */
#define FILTER_FIELDS(at)                                                                                    \
    [(at) + QUERY_TXN_LIST_STATUS] = TEXT("status", 0, WORD_BYTES_MAX),                                      \
            [(at) + QUERY_TXN_LIST_MODE] = TEXT("mode", 0, WORD_BYTES_MAX),                                  \
            [(at) + QUERY_TXN_LIST_BUSINESS_TYPE] = NAME("businessType", 0),                                 \
            [(at) + QUERY_TXN_LIST_AFTER] = TEXT("after", 0, AFTER_BYTES_MAX),                               \
            [(at) + QUERY_TXN_LIST_LIMIT] = UINT("limit", 0, ASSENT_PAGE_ROWS_MAX),                          \
            [(at) + QUERY_TXN_LIST_BUSINESS_KEY] = NAME("businessKey", 0),                                   \
            [(at) + QUERY_TXN_LIST_ORDER] = TEXT("order", 0, WORD_BYTES_MAX),                                \
            [(at) + QUERY_TXN_LIST_FROM_US] = UINT("fromUs", 0, 0),                                          \
            [(at) + QUERY_TXN_LIST_TO_US] = UINT("toUs", 0, 0),                                              \
            [(at) + QUERY_TXN_LIST_ERROR_TEXT] = TEXT("errorText", 0, TEXT_BYTES_MAX),                       \
            [(at) + QUERY_TXN_LIST_OLDER_THAN_MS] = UINT("olderThanMs", 0, TIME_MS_MAX),                     \
            [(at) + QUERY_TXN_LIST_FAILING] = BOOL("failing", 0),                                            \
            [(at) + QUERY_TXN_LIST_NEXT_AFTER_MS] = UINT("nextAfterMs", 0, TIME_MS_MAX)

static const struct field no_fields[] = {END};

static const struct field session_open_fields[] = {
    [SESSION_OPEN_TTL_MS] = UINT("ttlMs", 0, TIME_MS_MAX),
    END,
};
static const struct field node_register_fields[] = {
    [NODE_REGISTER_NODE] = NAME("node", REQ),
    [NODE_REGISTER_ADDRESS] = TEXT("address", 0, NODE_ADDRESS_BYTES_MAX),
    [NODE_REGISTER_METADATA] = {.name = "metadata", .kind = FIELD_JSON, .max = NODE_METADATA_BYTES_MAX},
    [NODE_REGISTER_INACTIVE_MS] = UINT("inactiveMs", 0, TIME_MS_MAX),
    [NODE_REGISTER_FAILED_MS] = UINT("failedMs", 0, TIME_MS_MAX),
    END,
};
static const struct field node_heartbeat_fields[] = {[NODE_HEARTBEAT_NODE] = NAME("node", REQ), END};
static const struct field node_remove_fields[] = {[NODE_REMOVE_NODE] = NAME("node", REQ), END};
static const struct field sequence_next_fields[] = {
    [SEQUENCE_NEXT_NAME] = NAME("name", REQ),
    [SEQUENCE_NEXT_COUNT] = UINT("count", 0, ASSENT_COUNT_MAX),
    END,
};
static const struct field tso_window_fields[] = {[TSO_WINDOW_BOUND] = UINT("bound", REQ, 0), END};

/* ---- clocks */

static const struct field lamport_tick_fields[] = {
    [LAMPORT_TICK_CLOCK] = NAME("clock", 0),
    [LAMPORT_TICK_COUNT] = UINT("count", 0, ASSENT_COUNT_MAX),
    END,
};
static const struct field lamport_sync_fields[] = {
    [LAMPORT_SYNC_CLOCK] = NAME("clock", 0),
    [LAMPORT_SYNC_RECEIVED] = UINT("received", REQ, 0),
    END,
};
static const struct field vector_tick_fields[] = {
    [VECTOR_TICK_CLOCK] = NAME("clock", REQ),
    [VECTOR_TICK_NODE] = NAME("node", REQ),
    END,
};
static const struct field vector_sync_fields[] = {
    [VECTOR_SYNC_CLOCK] = NAME("clock", REQ),
    [VECTOR_SYNC_NODE] = NAME("node", REQ),
    [VECTOR_SYNC_RECEIVED] = COUNTERS("received", REQ),
    [VECTOR_SYNC_EPOCH] = UINT("epoch", 0, 0),
    END,
};
static const struct field vector_join_fields[] = {
    [VECTOR_JOIN_CLOCK] = NAME("clock", REQ),
    [VECTOR_JOIN_NODE] = NAME("node", REQ),
    END,
};
static const struct field vector_retire_fields[] = {
    [VECTOR_RETIRE_CLOCK] = NAME("clock", REQ),
    [VECTOR_RETIRE_NODE] = NAME("node", REQ),
    END,
};
static const struct field vector_observe_fields[] = {
    [VECTOR_OBSERVE_CLOCK] = NAME("clock", REQ),
    [VECTOR_OBSERVE_NODE] = NAME("node", REQ),
    [VECTOR_OBSERVE_SEEN] = COUNTERS("seen", REQ),
    [VECTOR_OBSERVE_EPOCH] = UINT("epoch", 0, 0),
    END,
};
static const struct field version_increment_fields[] = {
    [VERSION_INCREMENT_OBJECT] = NAME("object", REQ),
    [VERSION_INCREMENT_NODE] = NAME("node", REQ),
    [VERSION_INCREMENT_VALUE] = JSON("value", 0),
    [VERSION_INCREMENT_CONTEXT] = COUNTERS("context", 0),
    END,
};
static const struct field version_merge_fields[] = {
    [VERSION_MERGE_OBJECT] = NAME("object", REQ), [VERSION_MERGE_VERSION] = COUNTERS("version", REQ),
    [VERSION_MERGE_NODE] = NAME("node", 0),       [VERSION_MERGE_VALUE] = JSON("value", 0),
    [VERSION_MERGE_DOT] = DOT("dot", 0),          END,
};
static const struct field version_declare_fields[] = {
    [VERSION_DECLARE_OBJECT] = NAME("object", REQ),
    [VERSION_DECLARE_RESOLUTION] = TEXT("resolution", 0, WORD_BYTES_MAX),
    [VERSION_DECLARE_HISTORY] = UINT("history", 0, ASSENT_PAGE_ROWS_MAX),
    END,
};
static const struct field version_resolve_fields[] = {
    [VERSION_RESOLVE_OBJECT] = NAME("object", REQ),
    [VERSION_RESOLVE_NODE] = NAME("node", REQ),
    [VERSION_RESOLVE_VALUE] = JSON("value", 0),
    [VERSION_RESOLVE_CONTEXT] = COUNTERS("context", 0),
    END,
};
/* An event without an id gets one made of its position in the log. */
static const struct field timestamp_event_fields[] = {
    [TIMESTAMP_EVENT_EVENT_ID] = NAME("eventId", 0), [TIMESTAMP_EVENT_NODE] = NAME("node", REQ),
    [TIMESTAMP_EVENT_TYPE] = NAME("type", 0),        [TIMESTAMP_EVENT_BUSINESS] = NAME("business", 0),
    [TIMESTAMP_EVENT_DATA] = JSON("data", 0),        END,
};
static const struct field timestamp_sync_fields[] = {
    [TIMESTAMP_SYNC_EVENT_ID] = NAME("eventId", REQ), [TIMESTAMP_SYNC_NODE] = NAME("node", REQ),
    [TIMESTAMP_SYNC_TYPE] = NAME("type", 0),          [TIMESTAMP_SYNC_BUSINESS] = NAME("business", 0),
    [TIMESTAMP_SYNC_DATA] = JSON("data", 0),          [TIMESTAMP_SYNC_TIME_US] = UINT("timeUs", REQ, 0),
    [TIMESTAMP_SYNC_LAMPORT] = UINT("lamport", 0, 0), END,
};

/* ---- transactions */

/* Retries of one branch, in place of its transaction's. */
#define BRANCH_OPTION_FIELDS(at)                                                                             \
    [(at) + BRANCH_OPTION_PROTOCOL] = TEXT("protocol", 0, WORD_BYTES_MAX),                                   \
            [(at) + BRANCH_OPTION_RETRY_BASE_MS] = UINT("retryBaseMs", 0, TIME_MS_MAX),                      \
            [(at) + BRANCH_OPTION_RETRY_CAP_MS] = UINT("retryCapMs", 0, TIME_MS_MAX),                        \
            [(at) + BRANCH_OPTION_RETRY_FACTOR] = UINT("retryFactor", 0, 1000),                              \
            [(at) + BRANCH_OPTION_RETRY_JITTER] = UINT("retryJitter", 0, 100),                               \
            [(at) + BRANCH_OPTION_RETRY_LIMIT] = UINT("retryLimit", 0, UINT32_MAX - 1)
#define OPTION_FIELDS(at)                                                                                    \
    [(at) + OPTION_PARENT] = XID("parent", 0), [(at) + OPTION_HEADERS] = HEADERS("headers", 0),              \
            [(at) + OPTION_CALL_TIMEOUT_MS] = UINT("callTimeoutMs", 0, UINT32_MAX),                          \
            [(at) + OPTION_RETRY_FACTOR] = UINT("retryFactor", 0, 1000),                                     \
            [(at) + OPTION_RETRY_JITTER] = UINT("retryJitter", 0, 100),                                      \
            [(at) + OPTION_ORDER] = TEXT("order", 0, WORD_BYTES_MAX),                                        \
            [(at) + OPTION_PROTOCOL] = TEXT("protocol", 0, WORD_BYTES_MAX),                                  \
            [(at) + OPTION_STYLE] = UINT("style", FIELD_INTERNAL, 1),                                        \
            [(at) + OPTION_KEEP] = BOOL("keep", FIELD_INTERNAL),                                             \
            [(at) + OPTION_HOLD] = BOOL("hold", FIELD_INTERNAL)

#define BRANCH_FIELDS(at)                                                                                    \
    [TXN_BRANCH_BRANCH - (at)] = NAME("branch", REQ),                                                        \
                         [TXN_BRANCH_CONFIRM_URL - (at)] = TEXT("confirmUrl", REQ, ASSENT_URL_BYTES_MAX),    \
                         [TXN_BRANCH_CANCEL_URL - (at)] = TEXT("cancelUrl", REQ, ASSENT_URL_BYTES_MAX),      \
                         [TXN_BRANCH_PAYLOAD - (at)] = BODY("payload", 0),                                   \
                         [TXN_BRANCH_HEADERS - (at)] = HEADERS("headers", 0),                                \
                         [TXN_BRANCH_TIMEOUT_MS - (at)] = UINT("timeoutMs", 0, UINT32_MAX),                  \
                         BRANCH_OPTION_FIELDS(TXN_BRANCH_OPTIONS - (at)),                                    \
                         [TXN_BRANCH_TRY_URL - (at)] = TEXT("tryUrl", 0, ASSENT_URL_BYTES_MAX)

static const struct field branch_fields[] = {BRANCH_FIELDS(TXN_BRANCH_BRANCH), END};
static const struct field txn_branch_fields[] = {
    [TXN_BRANCH_XID] = XID("xid", REQ),
    BRANCH_FIELDS(0),
    END,
};
/* A transaction without an xid gets one made of the cluster tag and its position in the log. */
#define HEAD_FIELDS                                                                                          \
    [TXN_BEGIN_XID] = XID("xid", 0), [TXN_BEGIN_MODE] = TEXT("mode", 0, WORD_BYTES_MAX),                     \
    [TXN_BEGIN_BUSINESS_TYPE] = NAME("businessType", 0), [TXN_BEGIN_BUSINESS_KEY] = NAME("businessKey", 0),  \
    [TXN_BEGIN_TIMEOUT_MS] = UINT("timeoutMs", 0, TIME_MS_MAX),                                              \
    [TXN_BEGIN_RETRY_BASE_MS] = UINT("retryBaseMs", 0, TIME_MS_MAX),                                         \
    [TXN_BEGIN_RETRY_CAP_MS] = UINT("retryCapMs", 0, TIME_MS_MAX), [TXN_BEGIN_OWNER] = NAME("owner", 0),     \
    [TXN_BEGIN_TRACEPARENT] = TEXT("traceparent", FIELD_VOLATILE, TRACEPARENT_BYTES_MAX),                    \
    [TXN_BEGIN_CUSTOM_DATA] = JSON("customData", 0)

static const struct field txn_begin_fields[] = {
    HEAD_FIELDS,
    [TXN_BEGIN_BRANCHES] = OBJECTS("branches", 0, ASSENT_BRANCHES_MAX, branch_fields),
    OPTION_FIELDS(TXN_BEGIN_OPTIONS),
    [TXN_BEGIN_EXECUTE] = BOOL("execute", 0),
    END,
};
/* A step without a name is called by its number, "01" for the first. */
static const struct field saga_step_fields[] = {
    [SAGA_STEP_BRANCH] = NAME("branch", 0),
    [SAGA_STEP_ACTION_URL] = TEXT("actionUrl", 0, ASSENT_URL_BYTES_MAX),
    [SAGA_STEP_COMPENSATE_URL] = TEXT("compensateUrl", 0, ASSENT_URL_BYTES_MAX),
    [SAGA_STEP_PAYLOAD] = BODY("payload", 0),
    [SAGA_STEP_HEADERS] = HEADERS("headers", 0),
    [SAGA_STEP_TIMEOUT_MS] = UINT("timeoutMs", 0, UINT32_MAX),
    [SAGA_STEP_AFTER] = {.name = "after", .kind = FIELD_LIST, .max = ASSENT_BRANCHES_MAX},
    BRANCH_OPTION_FIELDS(SAGA_STEP_OPTIONS),
    [SAGA_STEP_ACKNOWLEDGE_MS] = UINT("acknowledgeMs", 0, TIME_MS_MAX),
    END,
};
static const struct field saga_submit_fields[] = {
    HEAD_FIELDS,
    [SAGA_SUBMIT_STEPS] = OBJECTS("steps", 0, ASSENT_BRANCHES_MAX, saga_step_fields),
    [SAGA_SUBMIT_CONCURRENT] = BOOL("concurrent", 0),
    [SAGA_SUBMIT_ON_FAILURE] = TEXT("onFailure", 0, WORD_BYTES_MAX),
    [SAGA_SUBMIT_RETRY_LIMIT] = UINT("retryLimit", 0, UINT32_MAX - 1),
    OPTION_FIELDS(SAGA_SUBMIT_OPTIONS),
    END,
};
static const struct field message_fields[] = {
    HEAD_FIELDS,
    [MESSAGE_STEPS] = OBJECTS("steps", 0, ASSENT_BRANCHES_MAX, saga_step_fields),
    [MESSAGE_CONCURRENT] = BOOL("concurrent", 0),
    [MESSAGE_QUERY_URL] = TEXT("queryUrl", 0, ASSENT_URL_BYTES_MAX),
    [MESSAGE_DELAY_MS] = UINT("delayMs", 0, TIME_MS_MAX),
    OPTION_FIELDS(MESSAGE_OPTIONS),
    END,
};
static const struct field workflow_prepare_fields[] = {
    HEAD_FIELDS,
    [WORKFLOW_PREPARE_NAME] = NAME("name", 0),
    [WORKFLOW_PREPARE_CALLBACK_URL] = TEXT("callbackUrl", 0, ASSENT_URL_BYTES_MAX),
    [WORKFLOW_PREPARE_DATA] = BODY("data", 0),
    OPTION_FIELDS(WORKFLOW_PREPARE_OPTIONS),
    END,
};
static const struct field workflow_step_fields[] = {
    [WORKFLOW_STEP_XID] = XID("xid", REQ),
    [WORKFLOW_STEP_BRANCH] = NAME("branch", REQ),
    [WORKFLOW_STEP_OP] = TEXT("op", REQ, WORD_BYTES_MAX),
    [WORKFLOW_STEP_STATUS] = TEXT("status", REQ, WORD_BYTES_MAX),
    [WORKFLOW_STEP_DATA] = BODY("data", 0),
    END,
};
static const struct field workflow_end_fields[] = {
    [WORKFLOW_END_XID] = XID("xid", REQ),
    [WORKFLOW_END_STATUS] = TEXT("status", REQ, WORD_BYTES_MAX),
    [WORKFLOW_END_REASON] = TEXT("reason", 0, TEXT_BYTES_MAX),
    [WORKFLOW_END_RESULT] = BODY("result", 0),
    [WORKFLOW_END_KEEP] = BOOL("keep", FIELD_INTERNAL),
    END,
};
static const struct field acknowledge_fields[] = {
    [ACKNOWLEDGE_XID] = XID("xid", REQ),
    [ACKNOWLEDGE_BRANCH] = NAME("branch", REQ),
    [ACKNOWLEDGE_OUTCOME] = TEXT("outcome", REQ, WORD_BYTES_MAX),
    [ACKNOWLEDGE_ERROR] = TEXT("error", 0, TEXT_BYTES_MAX),
    END,
};
static const struct field txn_act_fields[] = {
    [TXN_ACT_XID] = XID("xid", REQ),      [TXN_ACT_ACT] = TEXT("act", REQ, WORD_BYTES_MAX),
    [TXN_ACT_BY] = NAME("by", REQ),       [TXN_ACT_REASON] = TEXT("reason", REQ, TEXT_BYTES_MAX),
    [TXN_ACT_BRANCH] = NAME("branch", 0), END,
};
static const struct field txn_act_many_fields[] = {
    [TXN_ACT_MANY_ACT] = TEXT("act", REQ, WORD_BYTES_MAX),
    [TXN_ACT_MANY_BY] = NAME("by", REQ),
    [TXN_ACT_MANY_REASON] = TEXT("reason", REQ, TEXT_BYTES_MAX),
    FILTER_FIELDS(TXN_ACT_MANY_FILTER),
    END,
};
static const struct field test_polling_fields[] = {
    [TEST_POLLING_ON] = BOOL("on", 0),
    END,
};
static const struct field settings_put_fields[] = {
    [SETTINGS_PUT_BY] = NAME("by", REQ),
    [SETTINGS_PUT_REASON] = TEXT("reason", REQ, TEXT_BYTES_MAX),
    [SETTINGS_PUT_RETENTION_MS] = UINT("retentionMs", 0, TIME_MS_MAX),
    [SETTINGS_PUT_AUDIT_RETENTION_MS] = UINT("auditRetentionMs", 0, 10 * TIME_MS_MAX),
    END,
};
static const struct field topic_subscribe_fields[] = {
    [TOPIC_TOPIC] = SCOPED("topic", REQ),
    [TOPIC_URL] = TEXT("url", REQ, ASSENT_URL_BYTES_MAX),
    [TOPIC_REMARK] = TEXT("remark", 0, TEXT_BYTES_MAX),
    WHO_AND_WHY(TOPIC_SUBSCRIBE_BY),
    END,
};
static const struct field topic_unsubscribe_fields[] = {
    [TOPIC_TOPIC] = SCOPED("topic", REQ),
    [TOPIC_URL] = TEXT("url", REQ, ASSENT_URL_BYTES_MAX),
    WHO_AND_WHY(TOPIC_UNSUBSCRIBE_BY),
    END,
};
static const struct field topic_remove_fields[] = {
    [TOPIC_TOPIC] = SCOPED("topic", REQ),
    WHO_AND_WHY(TOPIC_REMOVE_BY),
    END,
};
static const struct field audit_fields[] = {
    [AUDIT_ACT] = TEXT("act", REQ, WORD_BYTES_MAX),
    [AUDIT_SUBJECT] = TEXT("subject", 0, AUDIT_SUBJECT_BYTES_MAX),
    WHO_AND_WHY(AUDIT_BY),
    END,
};
static const struct field business_put_fields[] = {
    [BUSINESS_PUT_TYPE] = SCOPED("businessType", REQ),
    [BUSINESS_PUT_MODE] = TEXT("mode", REQ, WORD_BYTES_MAX),
    [BUSINESS_PUT_DESCRIPTION] = TEXT("description", 0, TEXT_BYTES_MAX),
    [BUSINESS_PUT_TIMEOUT_MS] = UINT("timeoutMs", 0, TIME_MS_MAX),
    [BUSINESS_PUT_RETRY_BASE_MS] = UINT("retryBaseMs", 0, TIME_MS_MAX),
    [BUSINESS_PUT_RETRY_CAP_MS] = UINT("retryCapMs", 0, TIME_MS_MAX),
    [BUSINESS_PUT_RETRY_FACTOR] = UINT("retryFactor", 0, 1000),
    [BUSINESS_PUT_RETRY_JITTER] = UINT("retryJitter", 0, 100),
    [BUSINESS_PUT_HEADERS] = HEADERS("headers", 0),
    [BUSINESS_PUT_CALL_TIMEOUT_MS] = UINT("callTimeoutMs", 0, UINT32_MAX),
    [BUSINESS_PUT_PROTOCOL] = TEXT("protocol", 0, WORD_BYTES_MAX),
    [BUSINESS_PUT_ORDER] = TEXT("order", 0, WORD_BYTES_MAX),
    [BUSINESS_PUT_BRANCHES] = OBJECTS("branches", 0, ASSENT_BRANCHES_MAX, branch_fields),
    [BUSINESS_PUT_STEPS] = OBJECTS("steps", 0, ASSENT_BRANCHES_MAX, saga_step_fields),
    [BUSINESS_PUT_CONCURRENT] = BOOL("concurrent", 0),
    [BUSINESS_PUT_ON_FAILURE] = TEXT("onFailure", 0, WORD_BYTES_MAX),
    [BUSINESS_PUT_RETRY_LIMIT] = UINT("retryLimit", 0, UINT32_MAX - 1),
    [BUSINESS_PUT_DELAY_MS] = UINT("delayMs", 0, TIME_MS_MAX),
    WHO_AND_WHY(BUSINESS_PUT_BY),
    END,
};
static const struct field business_remove_fields[] = {
    [BUSINESS_REMOVE_TYPE] = SCOPED("businessType", REQ),
    WHO_AND_WHY(BUSINESS_REMOVE_BY),
    END,
};
static const struct field business_execute_fields[] = {
    [BUSINESS_EXECUTE_TYPE] = SCOPED("businessType", REQ),
    [BUSINESS_EXECUTE_MODE] = TEXT("mode", 0, WORD_BYTES_MAX),
    [BUSINESS_EXECUTE_XID] = XID("xid", 0),
    [BUSINESS_EXECUTE_KEY] = NAME("businessKey", 0),
    [BUSINESS_EXECUTE_DATA] = BODY("businessData", 0),
    [BUSINESS_EXECUTE_TIMEOUT_MS] = UINT("timeoutMs", 0, TIME_MS_MAX),
    [BUSINESS_EXECUTE_OWNER] = NAME("owner", 0),
    [BUSINESS_EXECUTE_TRACEPARENT] = TEXT("traceparent", FIELD_VOLATILE, TRACEPARENT_BYTES_MAX),
    [BUSINESS_EXECUTE_CUSTOM_DATA] = JSON("customData", 0),
    [BUSINESS_EXECUTE_PARENT] = XID("parent", 0),
    END,
};
static const struct field txn_resume_fields[] = {
    [TXN_RESUME_XID] = XID("xid", REQ),      [TXN_RESUME_MOVE] = TEXT("move", 0, WORD_BYTES_MAX),
    [TXN_RESUME_BY] = NAME("by", REQ),       [TXN_RESUME_REASON] = TEXT("reason", REQ, TEXT_BYTES_MAX),
    [TXN_RESUME_BRANCH] = NAME("branch", 0), END,
};
static const struct field txn_commit_fields[] = {
    [TXN_COMMIT_XID] = XID("xid", REQ),
    [TXN_COMMIT_KEEP] = BOOL("keep", FIELD_INTERNAL),
    [TXN_COMMIT_HEADERS] = HEADERS("headers", FIELD_INTERNAL),
    [TXN_COMMIT_CALL_TIMEOUT_MS] = UINT("callTimeoutMs", FIELD_INTERNAL, UINT32_MAX),
    [TXN_COMMIT_RETRY_BASE_MS] = UINT("retryBaseMs", FIELD_INTERNAL, TIME_MS_MAX),
    END,
};
static const struct field txn_rollback_fields[] = {
    [TXN_ROLLBACK_XID] = XID("xid", REQ),
    [TXN_ROLLBACK_REASON] = TEXT("reason", 0, TEXT_BYTES_MAX),
    [TXN_ROLLBACK_KEEP] = BOOL("keep", FIELD_INTERNAL),
    END,
};
static const struct field branch_report_fields[] = {
    [BRANCH_REPORT_XID] = XID("xid", REQ),
    [BRANCH_REPORT_BRANCH] = NAME("branch", REQ),
    [BRANCH_REPORT_OP] = UINT("op", REQ, UINT8_MAX),
    [BRANCH_REPORT_ATTEMPT] = UINT("attempt", REQ, UINT32_MAX),
    [BRANCH_REPORT_SUCCESS] = BOOL("success", REQ),
    [BRANCH_REPORT_ERROR] = TEXT("error", 0, TEXT_BYTES_MAX),
    [BRANCH_REPORT_OUTCOME] = UINT("outcome", 0, 4),
    END,
};
static const struct field branch_reports_fields[] = {
    [BRANCH_REPORTS_REPORTS] = OBJECTS("reports", REQ, BRANCH_REPORTS_MAX, branch_report_fields),
    END,
};

static const struct field freeze_fields[] = {
    [FREEZE_XID] = XID("xid", REQ),
    [FREEZE_RESOURCE] = RESOURCE(REQ),
    [FREEZE_MODE] = TEXT("mode", 0, WORD_BYTES_MAX),
    [FREEZE_WAIT_MS] = UINT("waitMs", 0, TIME_MS_MAX),
    END,
};
static const struct field unfreeze_fields[] = {
    [UNFREEZE_XID] = XID("xid", REQ),
    [UNFREEZE_RESOURCE] = RESOURCE(REQ),
    WHO_AND_WHY(UNFREEZE_BY),
    END,
};

static const struct schema commands[COMMAND_NR] = {
    [COMMAND_TICK] = {"tick", no_fields, true},
    [COMMAND_SESSION_OPEN] = {"session_open", session_open_fields, false},
    [COMMAND_SESSION_CLOSE] = {"session_close", no_fields, false},
    [COMMAND_NODE_REGISTER] = {"node_register", node_register_fields, false},
    [COMMAND_NODE_HEARTBEAT] = {"node_heartbeat", node_heartbeat_fields, false},
    [COMMAND_NODE_REMOVE] = {"node_remove", node_remove_fields, false},
    [COMMAND_SEQUENCE_NEXT] = {"sequence_next", sequence_next_fields, false},
    [COMMAND_TSO_WINDOW] = {"tso_window", tso_window_fields, true},
    [COMMAND_LAMPORT_TICK] = {"lamport_tick", lamport_tick_fields, false},
    [COMMAND_LAMPORT_SYNC] = {"lamport_sync", lamport_sync_fields, false},
    [COMMAND_VECTOR_TICK] = {"vector_tick", vector_tick_fields, false},
    [COMMAND_VECTOR_SYNC] = {"vector_sync", vector_sync_fields, false},
    [COMMAND_VECTOR_JOIN] = {"vector_join", vector_join_fields, false},
    [COMMAND_VECTOR_RETIRE] = {"vector_retire", vector_retire_fields, false},
    [COMMAND_VECTOR_OBSERVE] = {"vector_observe", vector_observe_fields, false},
    [COMMAND_VERSION_INCREMENT] = {"version_increment", version_increment_fields, false},
    [COMMAND_VERSION_MERGE] = {"version_merge", version_merge_fields, false},
    [COMMAND_VERSION_DECLARE] = {"version_declare", version_declare_fields, false},
    [COMMAND_VERSION_RESOLVE] = {"version_resolve", version_resolve_fields, false},
    [COMMAND_TIMESTAMP_EVENT] = {"timestamp_event", timestamp_event_fields, false},
    [COMMAND_TIMESTAMP_SYNC] = {"timestamp_sync", timestamp_sync_fields, false},
    [COMMAND_TXN_BEGIN] = {"txn_begin", txn_begin_fields, false},
    [COMMAND_TXN_BRANCH] = {"txn_branch", txn_branch_fields, false},
    [COMMAND_TXN_COMMIT] = {"txn_commit", txn_commit_fields, false},
    [COMMAND_TXN_ROLLBACK] = {"txn_rollback", txn_rollback_fields, false},
    [COMMAND_BRANCH_REPORT] = {"branch_report", branch_report_fields, true},
    [COMMAND_SAGA_SUBMIT] = {"saga_submit", saga_submit_fields, false},
    [COMMAND_TXN_RESUME] = {"txn_resume", txn_resume_fields, false},
    [COMMAND_BRANCH_REPORTS] = {"branch_reports", branch_reports_fields, true},
    [COMMAND_BRANCH_ACKNOWLEDGE] = {"branch_acknowledge", acknowledge_fields, false},
    [COMMAND_MESSAGE_PREPARE] = {"message_prepare", message_fields, false},
    [COMMAND_MESSAGE_SUBMIT] = {"message_submit", message_fields, false},
    [COMMAND_WORKFLOW_PREPARE] = {"workflow_prepare", workflow_prepare_fields, false},
    [COMMAND_WORKFLOW_STEP] = {"workflow_step", workflow_step_fields, false},
    [COMMAND_WORKFLOW_END] = {"workflow_end", workflow_end_fields, false},
    [COMMAND_TXN_ACT] = {"txn_act", txn_act_fields, false},
    [COMMAND_TXN_ACT_MANY] = {"txn_act_many", txn_act_many_fields, false},
    [COMMAND_TOPIC_SUBSCRIBE] = {"topic_subscribe", topic_subscribe_fields, false},
    [COMMAND_TOPIC_UNSUBSCRIBE] = {"topic_unsubscribe", topic_unsubscribe_fields, false},
    [COMMAND_TOPIC_REMOVE] = {"topic_remove", topic_remove_fields, false},
    [COMMAND_BUSINESS_PUT] = {"business_put", business_put_fields, false},
    [COMMAND_BUSINESS_REMOVE] = {"business_remove", business_remove_fields, false},
    [COMMAND_BUSINESS_EXECUTE] = {"business_execute", business_execute_fields, false},
    [COMMAND_SETTINGS_PUT] = {"settings_put", settings_put_fields, false},
    [COMMAND_TEST_WIPE] = {"test_wipe", no_fields, true},
    [COMMAND_TEST_POLLING] = {"test_polling", test_polling_fields, true},
    [COMMAND_AUDIT] = {"audit", audit_fields, true},
    [COMMAND_FREEZE] = {"freeze", freeze_fields, false},
    [COMMAND_UNFREEZE] = {"unfreeze", unfreeze_fields, false},
};

/* ---- queries */

static const struct field query_sequence_fields[] = {[QUERY_SEQUENCE_NAME] = NAME("name", REQ), END};
static const struct field query_lamport_fields[] = {[QUERY_LAMPORT_CLOCK] = NAME("clock", 0), END};
static const struct field query_vector_fields[] = {
    [QUERY_VECTOR_CLOCK] = NAME("clock", REQ),
    [QUERY_VECTOR_NODE] = NAME("node", 0),
    END,
};
/* Without a clock the two vectors are compared as they are; with one, epochs translate retired members, and
 * `b` may be left out: the vector of `node`, or the clock's newest. */
static const struct field query_vector_compare_fields[] = {
    [QUERY_VECTOR_COMPARE_CLOCK] = NAME("clock", 0),
    [QUERY_VECTOR_COMPARE_A] = COUNTERS("a", REQ),
    [QUERY_VECTOR_COMPARE_B] = COUNTERS("b", 0),
    [QUERY_VECTOR_COMPARE_EPOCH_A] = UINT("epochA", 0, 0),
    [QUERY_VECTOR_COMPARE_EPOCH_B] = UINT("epochB", 0, 0),
    [QUERY_VECTOR_COMPARE_NODE] = NAME("node", 0),
    END,
};
static const struct field query_version_fields[] = {[QUERY_VERSION_OBJECT] = NAME("object", REQ), END};
static const struct field query_version_compare_fields[] = {
    [QUERY_VERSION_COMPARE_A] = COUNTERS("a", REQ),
    [QUERY_VERSION_COMPARE_B] = COUNTERS("b", REQ),
    [QUERY_VERSION_COMPARE_DOT_A] = DOT("dotA", 0),
    [QUERY_VERSION_COMPARE_DOT_B] = DOT("dotB", 0),
    END,
};
static const struct field query_version_history_fields[] = {
    [QUERY_VERSION_HISTORY_OBJECT] = NAME("object", REQ),
    [QUERY_VERSION_HISTORY_LIMIT] = UINT("limit", 0, ASSENT_PAGE_ROWS_MAX),
    END,
};
static const struct field query_timestamp_compare_fields[] = {
    [QUERY_TIMESTAMP_COMPARE_EVENT_ID1] = NAME("eventId1", REQ),
    [QUERY_TIMESTAMP_COMPARE_EVENT_ID2] = NAME("eventId2", REQ),
    END,
};
static const struct field query_timestamp_events_fields[] = {
    [QUERY_TIMESTAMP_EVENTS_NODE] = NAME("node", 0),
    [QUERY_TIMESTAMP_EVENTS_TYPE] = NAME("type", 0),
    [QUERY_TIMESTAMP_EVENTS_BUSINESS] = NAME("business", 0),
    [QUERY_TIMESTAMP_EVENTS_FROM_US] = UINT("fromUs", 0, 0),
    [QUERY_TIMESTAMP_EVENTS_TO_US] = UINT("toUs", 0, 0),
    [QUERY_TIMESTAMP_EVENTS_AFTER] = TEXT("after", 0, AFTER_BYTES_MAX),
    [QUERY_TIMESTAMP_EVENTS_LIMIT] = UINT("limit", 0, ASSENT_PAGE_ROWS_MAX),
    END,
};
static const struct field query_txn_status_fields[] = {[QUERY_TXN_STATUS_XID] = XID("xid", REQ), END};
static const struct field query_txn_fields[] = {[QUERY_TXN_XID] = XID("xid", REQ), END};
static const struct field query_txn_list_fields[] = {FILTER_FIELDS(0), END};
static const struct field query_txn_counts_fields[] = {[QUERY_TXN_COUNTS_ALL] = BOOL("all", 0), END};

static const struct field query_topics_fields[] = {
    [QUERY_TOPICS_TOPIC] = SCOPED("topic", 0),
    [QUERY_TOPICS_AFTER] = TEXT("after", 0, AFTER_BYTES_MAX),
    [QUERY_TOPICS_LIMIT] = UINT("limit", 0, ASSENT_PAGE_ROWS_MAX),
    END,
};
static const struct field query_freeze_fields[] = {
    [QUERY_FREEZE_XID] = XID("xid", REQ),
    [QUERY_FREEZE_RESOURCE_NAME] = RESOURCE(REQ),
    END,
};
static const struct field query_freeze_resource_fields[] = {
    [QUERY_FREEZE_RESOURCE_RESOURCE] = RESOURCE(REQ),
    END,
};
static const struct field query_freeze_txn_fields[] = {
    [QUERY_FREEZE_TXN_XID] = XID("xid", REQ),
    [QUERY_FREEZE_TXN_AFTER] = TEXT("after", 0, AFTER_BYTES_MAX),
    [QUERY_FREEZE_TXN_LIMIT] = UINT("limit", 0, ASSENT_PAGE_ROWS_MAX),
    END,
};
static const struct field query_freeze_list_fields[] = {
    [QUERY_FREEZE_LIST_PREFIX] = TEXT("prefix", 0, FREEZE_RESOURCE_BYTES_MAX),
    [QUERY_FREEZE_LIST_AFTER] = TEXT("after", 0, AFTER_BYTES_MAX),
    [QUERY_FREEZE_LIST_LIMIT] = UINT("limit", 0, ASSENT_PAGE_ROWS_MAX),
    END,
};

static const struct field query_audit_fields[] = {
    [QUERY_AUDIT_XID] = XID("xid", 0),
    [QUERY_AUDIT_AFTER] = TEXT("after", 0, AFTER_BYTES_MAX),
    [QUERY_AUDIT_LIMIT] = UINT("limit", 0, ASSENT_PAGE_ROWS_MAX),
    END,
};
static const struct field query_business_fields[] = {
    [QUERY_BUSINESS_TYPE] = SCOPED("businessType", 0),
    [QUERY_BUSINESS_AFTER] = TEXT("after", 0, AFTER_BYTES_MAX),
    [QUERY_BUSINESS_LIMIT] = UINT("limit", 0, ASSENT_PAGE_ROWS_MAX),
    END,
};
static const struct field query_statistics_fields[] = {
    [QUERY_STATISTICS_TYPE] = NAME("businessType", 0),
    [QUERY_STATISTICS_MODE] = TEXT("mode", 0, WORD_BYTES_MAX),
    END,
};

static const struct schema queries[QUERY_NR] = {
    [QUERY_NODES] = {"nodes", no_fields, false},
    [QUERY_SEQUENCE] = {"sequence", query_sequence_fields, false},
    [QUERY_LAMPORT] = {"lamport", query_lamport_fields, false},
    [QUERY_VECTOR] = {"vector", query_vector_fields, false},
    [QUERY_VECTOR_COMPARE] = {"vector_compare", query_vector_compare_fields, false},
    [QUERY_VERSION] = {"version", query_version_fields, false},
    [QUERY_VERSION_COMPARE] = {"version_compare", query_version_compare_fields, false},
    [QUERY_VERSION_HISTORY] = {"version_history", query_version_history_fields, false},
    [QUERY_TIMESTAMP_COMPARE] = {"timestamp_compare", query_timestamp_compare_fields, false},
    [QUERY_TIMESTAMP_EVENTS] = {"timestamp_events", query_timestamp_events_fields, false},
    [QUERY_TXN_STATUS] = {"txn_status", query_txn_status_fields, false},
    [QUERY_TXN] = {"txn", query_txn_fields, false},
    [QUERY_TXN_TREE] = {"txn_tree", query_txn_fields, false},
    [QUERY_TXN_LIST] = {"txn_list", query_txn_list_fields, false},
    [QUERY_TXN_COUNTS] = {"txn_counts", query_txn_counts_fields, false},
    [QUERY_TOPICS] = {"topics", query_topics_fields, false},
    [QUERY_BUSINESS] = {"business", query_business_fields, false},
    [QUERY_STATISTICS] = {"statistics", query_statistics_fields, false},
    [QUERY_FREEZE] = {"freeze", query_freeze_fields, false},
    [QUERY_FREEZE_RESOURCE] = {"freeze_resource", query_freeze_resource_fields, false},
    [QUERY_FREEZE_TXN] = {"freeze_txn", query_freeze_txn_fields, false},
    [QUERY_FREEZE_LIST] = {"freeze_list", query_freeze_list_fields, false},
    [QUERY_AUDIT] = {"audit", query_audit_fields, false},
    [QUERY_SETTINGS] = {"settings", no_fields, false},
};

const struct schema *command_schema(uint32_t type)
{
    return type < COMMAND_NR && commands[type].name != NULL ? &commands[type] : NULL;
}

const struct schema *query_schema(uint32_t type)
{
    return type < QUERY_NR && queries[type].name != NULL ? &queries[type] : NULL;
}
