/* What the rooms of the state machine beside statemachine.c may ask of `struct sm`.  Private to
 * statemachine/. */
#ifndef STATEMACHINE_SM_H
#define STATEMACHINE_SM_H

#include "statemachine.h"
#include "store.h"

/* The store, for reading outside of apply (due work).  Borrowed; lives as long as `sm`. */
struct store *sm_store(const struct sm *sm);
/* A read transaction on the newest state, renewed rather than made anew: the cheap way to look something up.
 * Borrowed until the next sm_apply() or sm_restore(); loop thread only.  A walk that must outlive sm_apply()
 * takes its own store_begin_read(). */
struct store_txn *sm_read(const struct sm *sm);

#endif /* STATEMACHINE_SM_H */
