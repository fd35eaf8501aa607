/* Marks: interesting branches of the product that the simulator must reach.
 *
 * In the simulator's build MARK(NAME) counts; `assent-sim --marks` prints the counts over the seeds it ran,
 * and a mark that was never hit fails (tests/sim, `sim_marks`): the generator has lost sight of something.
 * In every other build there is nothing at all. */
#ifndef ASSENT_MARK_H
#define ASSENT_MARK_H

#include <stdint.h>

/* X(name, how often: within how many seeds it must be hit, see tests/sim/marks.c; what happened) */
#define MARK_MAP(X)                                                                                          \
    /* the log */                                                                                            \
    X(LEADER_DEPOSED, OFTEN, "a leader follows again")                                                       \
    X(TAIL_REPLACED, OFTEN, "entries of our log gave way to those of a new leader")                          \
    X(INSTALL_OVER_WRITES, RARELY,                                                                           \
      "a snapshot replaced the log while appends were on their way to the disk")                             \
    X(CHANGE_ROLLED_BACK, RARELY, "a change of membership was taken back with the end of the log")           \
    X(OWN_SNAPSHOT_LATE, OFTEN, "an own snapshot ended behind a newer one")                                  \
    X(PAUSED_FOR_TRANSFER, SELDOM, "a proposal was refused because the leadership is being handed over")     \
    X(OFFER_OVERTAKEN, RARELY, "a fetched snapshot was not needed any more")                                 \
    X(OFFER_GONE, SELDOM, "the snapshot that was being fetched had been replaced at its source")             \
    X(VOTE_LENT, RARELY, "a server voted that did not know that it may")                                     \
    X(ENTRY_REFUSED, OFTEN, "an entry from a leader whose clock is far ahead was refused")                   \
    X(CHANGE_UNKNOWN, SELDOM, "a leader lost its office with a change of membership in the log")             \
    X(TRANSFER_AGAIN, RARELY, "TimeoutNow was lost or ignored")                                              \
    X(CHANGE_WAITS, OFTEN, "a change of membership waited for a voter that does not hold the one before")    \
    X(READ_ASKED_AGAIN, OFTEN, "a read was under way when the leader changed")                               \
    X(READ_ASKED_NO_LEADER, OFTEN, "a follower asked a node for a read index that leads no more")            \
    /* the rules */                                                                                          \
    X(COMMIT_TOO_LATE, SELDOM, "a commit came behind the rollback")                                          \
    X(COMMIT_AGAIN, OFTEN, "a commit was asked for once more")                                               \
    X(ROLLBACK_TOO_LATE, OFTEN, "a rollback came behind the commit")                                         \
    X(DEADLINE_DECIDES, OFTEN, "nobody decided in time: rolled back")                                        \
    X(DEADLINE_TURNS_SAGA, OFTEN, "a saga ran out of time")                                                  \
    X(DEADLINE_SENDS, OFTEN, "a prepared message without anybody to ask was sent")                           \
    X(BACK_OVER_OPEN_TRY, OFTEN, "rolled back while the answer of a try was missing")                        \
    X(TRY_NEVER_DUE, OFTEN, "rolled back before a try had its turn")                                         \
    X(PHASE_TWO_AGAIN, OFTEN, "a confirm or cancel failed and is called again")                              \
    X(QUERY_SENDS, OFTEN, "the sender of a message was asked and had committed")                             \
    X(QUERY_TAKES_BACK, OFTEN, "the sender of a message was asked and had not")                              \
    X(ACKNOWLEDGED_BEHIND_BACK, OFTEN, "an acknowledgement came when the saga had turned back")              \
    X(ACKNOWLEDGED_BEFORE_REPORT, OFTEN, "an acknowledgement was faster than the report of its call")        \
    X(ACKNOWLEDGED_NEVER, OFTEN, "no acknowledgement came in time")                                          \
    X(KEY_REPEATED, OFTEN, "a stored reply answered a repeated Idempotency-Key")                             \
    X(REPORT_OF_OTHER_PHASE, OFTEN, "a report came when its transaction was past that phase")                \
    X(REPORT_TWICE, SELDOM, "a report came when the branch had answered")                                    \
    X(REPORT_OF_OTHER_ATTEMPT, SELDOM, "a report of an earlier attempt came late")                           \
    X(BACK_OVER_OPEN_STEP, OFTEN, "a saga turned back while the answer of a step was missing")               \
    X(BACK_OVER_ACCEPTED_STEP, OFTEN, "a saga turned back while an accepted step was not acknowledged")      \
    X(SUSPENDED, OFTEN, "a transaction waits for an operator")                                               \
    /* the executor */                                                                                       \
    X(BACK_WAITS_FOR_CALL, OFTEN, "a compensation waits for the call of its action")                         \
    X(LEADER_LOST_IN_PHASE_TWO, OFTEN, "leadership was lost with a confirm or cancel under way")             \
    X(LEADER_LOST_IN_ACTION, OFTEN, "leadership was lost with a saga's step under way")                      \
    X(LEADER_LOST_WITH_REPORT, SELDOM, "leadership was lost with a report that had not left")                \
    X(CALL_UNANSWERED, OFTEN, "a call got no answer")                                                        \
    X(REPORT_NOT_TAKEN, SELDOM, "the log did not take a report")                                             \
    X(REPORT_DID_NOT_COUNT, OFTEN, "of some reports not all counted")                                        \
    X(BREAKER_OPENS, OFTEN, "a participant that does not answer is left alone for a while")                  \
    X(BREAKER_OPENS_AGAIN, SELDOM, "it did not answer the one call after that either")                       \
    X(BREAKER_CLOSES, SELDOM, "it answered again")                                                           \
    /* the simulator itself */                                                                               \
    X(SNAPSHOT_OF_OPEN, OFTEN, "another node's snapshot was installed with transactions open")

enum mark {
#define MARK_ENUM(name, seeds, what) MARK_##name,
    MARK_MAP(MARK_ENUM)
#undef MARK_ENUM
        MARK_NR
};

#ifdef ASSENT_MARKS
extern uint64_t assent_marks[MARK_NR];
#define MARK(name)               (assent_marks[MARK_##name]++)
#define MARK_IF(name, condition) (assent_marks[MARK_##name] += (condition) ? 1 : 0)
#else /* the name must exist, the condition must compile, and nothing is done */
#define MARK(name)               ((void)MARK_##name)
#define MARK_IF(name, condition) ((void)sizeof((condition) ? MARK_##name : MARK_NR))
#endif

#endif /* ASSENT_MARK_H */
