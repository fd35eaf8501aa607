/* When which fault begins and ends: a generator as a pure value, (state, context) -> (step, state).
 *
 *     calm 3 s, then:  begin - about mean_ms - end - about mean_ms / 2 + 500 ms - begin ...
 *
 * Every class comes once before any comes again, every shape of a class likewise.  Up to `at_once` classes
 * are in force together; one that is `alone` never meets another.  A seed fixes the order, whatever the
 * cluster does. Source: Jepsen's generators (mix, flip-flop, any). */
#ifndef JEPSEN_SCHEDULE_H
#define JEPSEN_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#define SCHEDULE_CLASSES 16

/* What does not change during a run. */
struct schedule_context {
    uint32_t classes;                  /* at most SCHEDULE_CLASSES; 0: nothing ever happens */
    uint32_t shapes[SCHEDULE_CLASSES]; /* of each class, 1 .. 32 */
    uint32_t apart[SCHEDULE_CLASSES];  /* whom it must not meet: a bit per class; its own means nothing */
    uint32_t at_once;                  /* 1 or more */
    uint64_t mean_ms, until_ms;        /* nothing begins at `until_ms` or later */
};

struct schedule {
    uint64_t dice;
    uint32_t left, active; /* a bit per class: not used in this round; in force */
    uint32_t shapes_left[SCHEDULE_CLASSES];
    uint32_t refusals[SCHEDULE_CLASSES]; /* in a row */
    uint64_t next_ms, end_ms[SCHEDULE_CLASSES];
};

enum schedule_what { SCHEDULE_WAIT, SCHEDULE_BEGIN, SCHEDULE_END };

struct schedule_step {
    enum schedule_what what;
    uint32_t fault, shape; /* of BEGIN and END; END has no shape */
    struct schedule then;
};

struct schedule schedule_start(uint64_t seed);
/* What is to be done at `now_ms`.  Ask again with `then` until it says WAIT. */
struct schedule_step schedule_next(struct schedule s, const struct schedule_context *c, uint64_t now_ms);
/* The BEGIN before took so long: what follows is that much later. */
struct schedule schedule_took(struct schedule s, uint32_t fault, uint64_t took_ms);
/* The BEGIN before could not be done: nothing is in force.  It is tried again in its round, in another shape,
 * a few times. */
struct schedule schedule_refused(struct schedule s, uint32_t fault, uint64_t now_ms);

#endif
