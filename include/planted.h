/* Planted bugs: what the simulator must find.  In no build but the museum's is there anything of them.
 *
 * Each stands where such a bug would be made, as a condition beside the right one; tests/sim/museum.c lists
 * them with the budget within which a run must find each. */
#ifndef ASSENT_PLANTED_H
#define ASSENT_PLANTED_H

#include <stdbool.h>

#ifdef ASSENT_MUSEUM
enum planted {
    PLANTED_NONE,
    PLANTED_REPLY_NOT_KEPT,        /* a repeated request is executed again */
    PLANTED_VOTE_NOT_KEPT,         /* the vote is lost with the process */
    PLANTED_READ_WITHOUT_ROUND,    /* a leader reads without asking whether it still leads */
    PLANTED_ANSWER_BEFORE_SAVE,    /* a rollback is answered and not stored */
    PLANTED_FORGOTTEN_STEP,        /* a step whose answer was lost is not compensated */
    PLANTED_COMPENSATION_FORWARD,  /* compensations in the order of the actions */
    PLANTED_TIMEOUT_AFTER_COMMIT,  /* the deadline stays armed behind the decision */
    PLANTED_CALL_UNDER_CALL,       /* a compensation starts while its action is under way */
    PLANTED_TIMEOUT_IS_SUCCESS,    /* a call without an answer counts as done */
    PLANTED_REPLICA_OF_ITS_OWN,    /* a wait depends on what this process did before */
    PLANTED_SNAPSHOT_WITHOUT_KEYS, /* the image leaves out what was answered */
    PLANTED_QUERY_ERROR_SENDS,     /* a sender that does not answer counts as one that committed */
    PLANTED_ONLY_TRIED_CANCELLED,  /* a try whose answer was lost is not cancelled */
    PLANTED_REFUSED_TRY_COUNTS,    /* a refused try counts as one that succeeded */
    PLANTED_NR
};
extern enum planted assent_planted;
#define PLANTED(bug) (assent_planted == PLANTED_##bug)
#else
#define PLANTED(bug) false
#endif

#endif /* ASSENT_PLANTED_H */
