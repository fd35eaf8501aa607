/* The rows of test_transcript: a conversation each.
 *
 * In texts ' stands for ", $X for the xid, $U for the participant's URL. */
#ifndef TESTS_TRANSCRIPTS_H
#define TESTS_TRANSCRIPTS_H

#include <stdbool.h>
#include <stdint.h>

#include "actor.h"

#define ASKS_MAX   6
#define POINTS_MAX 8

/* A POST; `wait`: a state (see `points`) it waits for first; or NULL. */
struct ask {
    const char *path, *body, *wait;
};

struct transcript {
    const char *name;
    struct ask asks[ASKS_MAX]; /* before the leader dies */
    struct ask then[ASKS_MAX]; /* behind its death */
    struct actor_rule rules[4];
    bool go_on; /* a workflow: who is called back does what is left */
    /* "01 action": a call; "@ACTIVE": the transaction's status; "@02=ACCEPTED": a branch's; "@-c:ACTIVE":
     * that of the transaction whose xid has -c behind it */
    const char *points[POINTS_MAX];
    const char *end;
    const char *child; /* a state to wait for besides; or NULL */
    /* DTM's rows of each branch, its letters: P prepared, S succeed, F failed.  Of a saga compensate and
     * action, of TCC and XA cancel and confirm (try before them is the application's), of a message action.
     */
    const char *positions;
    /* All effects, in order; or NULL: `effects` of them, and of each "a < b" the first before the second. */
    const char *order;
    uint32_t effects;
    const char *before[6];
};

/* What the application of a workflow does when it goes on, in order. */
extern const struct ask transcripts_rest[2];
#define TRANSCRIPTS_MAX 64
extern const struct transcript transcripts[TRANSCRIPTS_MAX]; /* nameless ones are no rows */

#endif /* TESTS_TRANSCRIPTS_H */
