/* Numbers for the states a search meets, and for its operations' classes, so that a step is mostly one array
 * load. */
#ifndef JEPSEN_INTERN_H
#define JEPSEN_INTERN_H

#include "lin.h"

#define INTERN_REFUSED     UINT32_MAX       /* the model says no */
#define INTERN_NOMEM       (UINT32_MAX - 1) /* memory is short */
#define INTERN_ROW_STATES  1024             /* states that get a row of remembered steps (as Knossos does) */
#define INTERN_ROW_CLASSES 1024             /* more distinct operations than this: no rows at all */

struct intern {
    const struct model *model;
    const struct lin_part *part;
    struct model_state *states;
    uint32_t n, capacity;
    uint32_t *slots; /* hash of a state -> its number + 1 */
    uint32_t mask;
    uint32_t *class_of; /* operation -> class; equal operations share one */
    uint32_t classes;
    uint32_t **rows; /* state -> class -> next state */
};

/* State 0 is the initial one.  Non-zero: memory is short; close it all the same. */
int intern_init(struct intern *in, const struct model *model, const struct lin_part *part);
void intern_close(struct intern *in);
/* The number of the state after operation `op` in state `state`, INTERN_REFUSED or INTERN_NOMEM. */
uint32_t intern_step(struct intern *in, uint32_t state, uint32_t op);

#endif
