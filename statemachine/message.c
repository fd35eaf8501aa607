/* Reliable messages. */
#include "txn.h"

int message_prepare(struct apply *a)
{
    return refuse(a, ASSENT_UNSUPPORTED, "not built yet");
}

int message_submit(struct apply *a)
{
    return refuse(a, ASSENT_UNSUPPORTED, "not built yet");
}

void message_query_report(struct apply *a, struct assent_bytes xid, struct txn *t, const struct report *r)
{
    (void)a, (void)xid, (void)t, (void)r;
}
