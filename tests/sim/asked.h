/* What was asked for, as those know it who asked and those who did it: what answers and effects are held
 * against.  Nothing here comes from the code under test.
 *
 * A transaction may be undone only for a cause somebody knows of: its client wished it, a participant
 * refused, an operator acted, what is around it turned back, or its time was over (C3, C10 of the
 * specification). It may be done only when it was asked for, never when somebody was told of the contrary
 * (C1, C2), and its steps and compensations in their order (C14). */
#ifndef TESTS_SIM_ASKED_H
#define TESTS_SIM_ASKED_H

#include "world.h"

#define ASKED_BRANCHES_MAX 8

enum asked_mode { ASKED_TCC, ASKED_EXECUTE, ASKED_SAGA, ASKED_MESSAGE, ASKED_WORKFLOW };
enum asked_cause {
    CAUSE_CLIENT = 1,   /* a rollback was sent */
    CAUSE_REFUSED = 2,  /* a participant said no */
    CAUSE_OPERATOR = 4, /* an act was sent that turns it back */
    CAUSE_LIMIT = 8,    /* too many failures, or no word in time */
};

struct asked {
    struct asked *next;            /* private */
    struct asked *parent;          /* NULL: not nested */
    struct asked *child, *sibling; /* nested in it; in the same one */
    enum asked_mode mode;
    uint32_t branches, serial;          /* `serial`: of the begin, from 0 */
    uint8_t before[ASKED_BRANCHES_MAX]; /* of each branch: those that come before it, a bit each */
    uint8_t skipped;                    /* an operator's skip of it was sent */
    bool ordered;                       /* confirms too: `before` says how, a reverse order likewise */
    bool reverse;
    bool asynchronous;            /* steps may be accepted and not done in time */
    bool stubborn;                /* what fails is tried for ever */
    uint32_t causes;              /* enum asked_cause */
    bool unasked;                 /* a message nobody is asked about: it is sent when its time is over */
    bool commit;                  /* a commit was sent */
    bool forced;                  /* a force was sent */
    bool acted;                   /* any act of an operator was sent: it may wait, and its deadline with it */
    uint64_t sent_us, timeout_ms; /* the first begin left its client; 0: no deadline */
    uint8_t recorded, recorded_undone; /* of a workflow: steps somebody was told are on record */
    uint32_t xid_size;
    char xid[]; /* with a 0 behind */
};

struct asked_world *asked_world_new(void);
void asked_world_free(struct asked_world *all);
/* The transaction is about to be begun.  The caller fills in the rest.  `parent`: xid or empty. */
struct asked *asked_new(struct world *w, struct assent_bytes xid, struct assent_bytes parent,
                        enum asked_mode mode, uint32_t branches, uint64_t timeout_ms);
/* NULL: nobody asked for it. */
struct asked *asked_of(struct world *w, struct assent_bytes xid);
/* The n-th that was begun, for those who pick one; NULL: there are fewer. */
struct asked *asked_at(struct world *w, uint32_t n);
uint32_t asked_count(struct world *w);
struct assent_bytes asked_xid(const struct asked *a);
/* Ordinal of a branch, ASKED_BRANCHES_MAX: it has no such name. */
uint32_t asked_branch(struct assent_bytes branch);

/* Its end is open while something around it may turn it back: a nested saga. */
bool asked_may_turn(const struct asked *a);
/* Somebody sees that it is undone, or that it is done for good: is that allowed?  Fails the run if not.
 * `told`: the decision somebody was told before, 0: none (oracle.c). */
void asked_undone(struct world *w, struct assent_bytes xid, int told);
void asked_done(struct world *w, struct assent_bytes xid, int told);

#endif /* TESTS_SIM_ASKED_H */
