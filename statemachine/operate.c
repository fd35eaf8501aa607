/* What operators do to transactions, and the record of it. */
#include "txn.h"

int txn_act(struct apply *a)
{
    return refuse(a, ASSENT_UNSUPPORTED, "not built yet");
}
