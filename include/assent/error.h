/* Every error code of assent: one table gives its name, wire number, HTTP status, retry rule and sentence.
 *
 * Three kinds of "no" share the table and are never mixed: *refusals* (the rules say no; part of the
 * replicated result, the same on every node), *operating errors* (the world says no; never in the log), and
 * OK. */
#ifndef ASSENT_ERROR_H
#define ASSENT_ERROR_H

/* What a caller may do after the error. */
enum assent_retry {
    ASSENT_RETRY_NEVER,   /* the same request gets the same answer */
    ASSENT_RETRY_LATER,   /* nothing happened; try again, here or at another node */
    ASSENT_RETRY_SAME_ID, /* it may have happened; retry with the same session sequence or Idempotency-Key */
};

/* X(name, wire number, HTTP status, retry rule, sentence).  Numbers are never reused. */
#define ASSENT_ERROR_MAP(X)                                                                                  \
    X(OK, 0, 200, NEVER, "done")                                                                             \
    /* operating errors: 1-49 */                                                                             \
    X(NOT_LEADER, 1, 503, LATER, "this node is not the leader")                                              \
    X(UNKNOWN_OUTCOME, 2, 504, SAME_ID,                                                                      \
      "leadership or time was lost while the command was under way; it may commit")                          \
    X(NO_LEADER, 3, 503, LATER, "no leader is known; an election may be under way")                          \
    X(BUSY, 4, 503, LATER, "too much work is queued")                                                        \
    X(NOMEM, 5, 503, LATER, "out of memory")                                                                 \
    X(TIMEOUT, 6, 504, SAME_ID, "the time limit of the call has passed")                                     \
    X(SHUTDOWN, 7, 503, LATER, "the node is shutting down")                                                  \
    X(UNREACHABLE, 8, 503, LATER, "no endpoint could be reached")                                            \
    X(PROTOCOL, 9, 502, NEVER, "the peer does not speak this protocol or version")                           \
    X(MALFORMED, 10, 400, NEVER, "the request could not be decoded")                                         \
    X(INVALID, 11, 400, NEVER, "a field is missing, unknown, of the wrong type or out of range")             \
    X(TOO_LARGE, 12, 413, NEVER, "the request is larger than the limit")                                     \
    X(NO_ROUTE, 13, 404, NEVER, "no such path")                                                              \
    X(METHOD, 14, 405, NEVER, "the path does not take this method")                                          \
    X(IO, 15, 500, LATER, "a file or device failed")                                                         \
    X(CORRUPT, 16, 500, NEVER, "stored data does not match its checksum")                                    \
    X(FOREIGN, 17, 403, NEVER, "the peer or the data belongs to another cluster or node")                    \
    X(CLOSED, 18, 503, NEVER, "the handle has been closed")                                                  \
    X(CHANGE_PENDING, 19, 409, LATER, "another membership change is under way")                              \
    X(NOT_MEMBER, 20, 404, NEVER, "no such cluster member")                                                  \
    X(NO_SPACE, 21, 507, LATER, "the disk is full")                                                          \
    X(UNSUPPORTED, 22, 501, NEVER, "not available on this node or build")                                    \
    X(STOPPED, 23, 503, LATER, "the replicated log has stopped on this node")                                \
    /* refusals by the state machine: 50 and above */                                                        \
    X(NOT_FOUND, 50, 404, NEVER, "no such object")                                                           \
    X(EXISTS, 51, 409, NEVER, "it exists already with other content")                                        \
    X(SESSION_EXPIRED, 52, 410, NEVER, "the session has expired; whether the command ran is not known")      \
    X(KEY_REUSED, 53, 422, NEVER, "the Idempotency-Key was used for another request")                        \
    X(TXN_DECIDED, 54, 409, NEVER, "the transaction has already been decided")                               \
    X(TXN_NOT_FOUND, 55, 404, NEVER, "no such transaction")                                                  \
    X(BRANCH_NOT_FOUND, 56, 404, NEVER, "no such branch")                                                    \
    X(BRANCH_EXISTS, 57, 409, NEVER, "the branch is registered already with other content")                  \
    X(REPORT_STALE, 58, 409, NEVER, "the reported step is past")                                             \
    X(MEMBER_RETIRED, 59, 409, NEVER, "the member has been retired from this clock domain")                  \
    X(EPOCH_FORGOTTEN, 60, 410, NEVER, "the stamp is older than the oldest epoch that is kept")              \
    X(OVERFLOW, 61, 409, NEVER, "the counter would overflow")                                                \
    X(LIMIT, 62, 409, NEVER, "a limit of the object has been reached")                                       \
    X(WINDOW_PASSED, 63, 409, LATER, "a newer timestamp window has been opened")                             \
    X(NODE_UNKNOWN, 64, 404, NEVER, "the node has not been registered")                                      \
    X(CONFLICT, 65, 409, NEVER, "the object is in a state that does not allow this")                         \
    X(FROZEN, 66, 409, LATER, "another transaction has frozen the resource")                                 \
    X(DEADLOCK, 67, 409, NEVER, "waiting would close a circle of transactions that wait for each other")

enum assent_error {
#define ASSENT_ERROR_ENUM(name, number, http, retry, sentence) ASSENT_##name = number,
    ASSENT_ERROR_MAP(ASSENT_ERROR_ENUM)
#undef ASSENT_ERROR_ENUM
};

/* Name of a code as it stands in JSON ("TXN_DECIDED"); "UNKNOWN_CODE" for a number outside the table. Static.
 */
const char *assent_error_name(int code);

/* One sentence for people.  Static. */
const char *assent_error_sentence(int code);

/* HTTP status that carries the code; 500 for a number outside the table. */
int assent_error_http(int code);

/* What the caller may do. */
enum assent_retry assent_error_retry(int code);

/* The code with that name, or -1. */
int assent_error_by_name(const char *name);

#endif /* ASSENT_ERROR_H */
