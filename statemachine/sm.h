/* What the rooms of the state machine beside statemachine.c may ask of `struct sm`.  Private to
 * statemachine/. */
#ifndef STATEMACHINE_SM_H
#define STATEMACHINE_SM_H

#include "statemachine.h"
#include "store.h"

/* The store, for reading outside of apply (due work).  Borrowed; lives as long as `sm`. */
struct store *sm_store(const struct sm *sm);

#endif /* STATEMACHINE_SM_H */
