/* Workflows: steps the application does itself and records. */
#include "txn.h"

int workflow_prepare(struct apply *a)
{
    return refuse(a, ASSENT_UNSUPPORTED, "not built yet");
}

int workflow_step(struct apply *a)
{
    return refuse(a, ASSENT_UNSUPPORTED, "not built yet");
}

int workflow_end(struct apply *a)
{
    return refuse(a, ASSENT_UNSUPPORTED, "not built yet");
}

void workflow_callback_report(struct apply *a, struct assent_bytes xid, struct txn *t, const struct report *r)
{
    (void)a, (void)xid, (void)t, (void)r;
}
