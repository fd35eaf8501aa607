/* Topics: names a message may be sent to, and who gets it. */
#include "txn.h"

int topic_subscribe(struct apply *a)
{
    return refuse(a, ASSENT_UNSUPPORTED, "not built yet");
}

int topic_unsubscribe(struct apply *a)
{
    return refuse(a, ASSENT_UNSUPPORTED, "not built yet");
}

int topic_remove(struct apply *a)
{
    return refuse(a, ASSENT_UNSUPPORTED, "not built yet");
}
