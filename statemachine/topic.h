/* Topics: names a message may be sent to, and who gets it.  Private to statemachine/.
 *
 * TOPICS  ns 0 name  -> version, subscribers in order of their subscription
 *
 * The version is 1 with the first subscriber and one more with each change; a topic that lost its last
 * subscriber stays, empty, until it is removed. */
#ifndef STATEMACHINE_TOPIC_H
#define STATEMACHINE_TOPIC_H

#include "txn.h"

#define TOPIC_SCHEME "topic://"
/* Subscribers of one topic: a change rewrites them all. */
#define TOPIC_URLS_MAX 256

struct topic {
    uint64_t version;
    uint32_t n;
    struct topic_subscriber {
        struct assent_bytes url, remark;
        int64_t subscribed_us;
    } * urls;
    uint8_t *row; /* private: what they borrow */
};
/* Does the URL name a topic?  `name` is then what stands behind topic://, 1 byte or more. */
bool topic_url(struct assent_bytes url, struct assent_bytes *name);
/* Copies.  False: there is none, and nothing to close. */
bool topic_load(struct apply *a, struct assent_bytes ns, struct assent_bytes name, struct topic *t);
void topic_close(struct topic *t);

#endif /* STATEMACHINE_TOPIC_H */
