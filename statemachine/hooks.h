/* What builds for tests may ask of the cluster.  Private to statemachine/. */
#ifndef STATEMACHINE_HOOKS_H
#define STATEMACHINE_HOOKS_H

#include "apply.h"

int test_polling(struct apply *a), test_wipe(struct apply *a);
/* Is polling on?  It is unless TEST_POLLING said otherwise. */
bool hooks_polling_load(struct store_txn *store);

#endif /* STATEMACHINE_HOOKS_H */
