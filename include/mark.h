/* Marks: interesting branches of the product that the simulator must reach.
 *
 * In the simulator's build MARK(NAME) counts; `assent-sim --marks` prints the counts over the seeds it ran,
 * and a mark that was never hit fails (tests/sim, `sim_marks`): the generator has lost sight of something.
 * In every other build there is nothing at all. */
#ifndef ASSENT_MARK_H
#define ASSENT_MARK_H

#include <stdint.h>

/* X(name, what happened) */
#define MARK_MAP(X)                                                                                          \
    /* the log */                                                                                            \
    X(LEADER_DEPOSED, "a leader heard of a higher term")

enum mark {
#define MARK_ENUM(name, what) MARK_##name,
    MARK_MAP(MARK_ENUM)
#undef MARK_ENUM
        MARK_NR
};

#ifdef ASSENT_MARKS
extern uint64_t assent_marks[MARK_NR];
#define MARK(name) (assent_marks[MARK_##name]++)
#else
#define MARK(name) ((void)MARK_##name) /* a name that is not listed compiles nowhere */
#endif

#endif /* ASSENT_MARK_H */
