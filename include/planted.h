/* Planted bugs: what the simulator, the crash images and the outside judge must find.  In no build but the
 * museum's is there anything of them.
 *
 * Each stands where such a bug would be made, as a condition beside the right one.  Who finds which, and
 * within which budget, is listed by tests/sim/museum.c, tests/raftlog/test_crash_images.c and
 * jepsen/museum.sh. */
#ifndef ASSENT_PLANTED_H
#define ASSENT_PLANTED_H

#include <stdbool.h>

#ifdef ASSENT_MUSEUM
/* X(name in the code, name for people, what it does) */
#define PLANTED_MAP(X)                                                                                       \
    /* the log */                                                                                            \
    X(REPLY_BEFORE_SYNC, "reply-before-sync", "an entry counts as durable when it was written, not synced")  \
    X(ERROR_IGNORED, "error-ignored", "a commit of the log that failed counts as done")                      \
    X(VOTE_NOT_KEPT, "vote-not-kept", "the vote is lost with the process")                                   \
    X(COUNTED_COMMIT, "counted-commit", "what a majority stores is applied, of whatever term it is")         \
    X(READ_WITHOUT_ROUND, "read-without-round", "a leader reads without asking whether it still leads")      \
    X(READ_AT_FOLLOWER, "read-at-follower", "a follower answers from what it has applied")                   \
    /* the store */                                                                                          \
    X(INDEX_APART, "index-apart", "the store survives a crash; its applied index is a commit of its own")    \
    X(STORE_KEPT, "store-kept", "a store that was not closed is kept, synced or not")                        \
    X(MARK_BEFORE_SYNC, "mark-before-sync", "a store is marked as closed before it is synced")               \
    X(SNAPSHOT_WITHOUT_KEYS, "snapshot-without-keys", "the image leaves out what was answered")              \
    /* the rules */                                                                                          \
    X(REPLY_NOT_KEPT, "reply-not-kept", "a repeated request is executed again")                              \
    X(ANSWER_BEFORE_SAVE, "answer-before-save", "a rollback is answered and not stored")                     \
    X(TIMEOUT_AFTER_COMMIT, "timeout-after-commit", "the deadline stays armed behind the decision")          \
    X(REPORT_COUNTS_TWICE, "report-counts-twice", "a branch that reports again counts as another one")       \
    X(FORGOTTEN_STEP, "forgotten-step", "a step whose answer was lost is not compensated")                   \
    X(COMPENSATION_FORWARD, "compensation-forward", "compensations in the order of the actions")             \
    X(QUERY_ERROR_SENDS, "query-error-sends", "a sender that does not answer counts as one that committed")  \
    X(ONLY_TRIED_CANCELLED, "only-tried-cancelled", "a try whose answer was lost is not cancelled")          \
    X(REFUSED_TRY_COUNTS, "refused-try-counts", "a refused try counts as one that succeeded")                \
    X(FREEZE_LET_GO_EARLY, "freeze-let-go-early", "freezes end before what they guard has happened")         \
    X(REPLICA_OF_ITS_OWN, "replica-of-its-own", "a wait depends on what this process did before")            \
    X(TSO_BOUND_NOT_KEPT, "tso-bound-not-kept", "the bound of granted timestamps is not stored")             \
    X(DEADLINE_EARLY, "deadline-early", "a transaction is given half of its time")                           \
    X(DEADLINE_COMMITS, "deadline-commits", "what nobody decided in time is committed")                      \
    X(STATUS_BEHIND, "status-behind", "what has ended is said to be on its way still")                       \
    X(NESTED_ALONE, "nested-alone", "a nested transaction does not wait for the one around it")              \
    X(SESSION_RUNS_AGAIN, "session-runs-again", "an acknowledged request of a session is executed again")    \
    X(ACT_OFF_RECORD, "act-off-record", "an operator's pause is not on record")                              \
    X(STEPS_NOT_SHOWN, "steps-not-shown", "a second run of a workflow is shown no steps")                    \
    X(WORD_TAKEN_BACK, "word-taken-back", "a step acknowledged as done may be acknowledged as failed")       \
    X(FREEZE_KEPT, "freeze-kept", "a rollback releases nothing")                                             \
    X(VECTOR_DEAF, "vector-deaf", "an event does not learn what it received")                                \
    X(SIBLING_LOST, "sibling-lost", "a write takes away what its writer had not read")                       \
    X(LAMPORT_DEAF, "lamport-deaf", "a Lamport clock does not heed what it received")                        \
    X(TSO_AT_WALL_CLOCK, "tso-at-wall-clock", "a new leader grants from its clock on, not from the bound")   \
    /* the executor */                                                                                       \
    X(CALL_UNDER_CALL, "call-under-call", "a compensation starts while its action is under way")             \
    X(TIMEOUT_IS_SUCCESS, "timeout-is-success", "a call without an answer counts as done")                   \
    /* the participants' guard */                                                                            \
    X(NULL_COMPENSATION, "null-compensation", "a cancel without its try runs")

enum planted {
    PLANTED_NONE,
#define PLANTED_ENUM(name, text, what) PLANTED_##name,
    PLANTED_MAP(PLANTED_ENUM)
#undef PLANTED_ENUM
        PLANTED_NR
};
extern enum planted assent_planted;
#define PLANTED(bug) (assent_planted == PLANTED_##bug)
#else
#define PLANTED(bug) false
#endif

#endif /* ASSENT_PLANTED_H */
