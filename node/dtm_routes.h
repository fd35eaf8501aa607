/* The paths of the DTM door, with the manners of the web framework DTM uses: 404 for an unknown path and for
 * a wrong method alike, and a redirect away from a slash at the end.  Source: dtm-protocol.md 1 and 2. */
#ifndef NODE_DTM_ROUTES_H
#define NODE_DTM_ROUTES_H

#include <stdbool.h>
#include <stddef.h>

#include "assent/types.h"

/* What is asked for; the order is that of the metrics. */
enum dtm_op {
    DTM_NEW_GID,
    DTM_PREPARE,
    DTM_SUBMIT,
    DTM_ABORT,
    DTM_REGISTER_BRANCH,
    DTM_PREPARE_WORKFLOW,
    DTM_FORCE_STOP,
    DTM_RESET_NEXT_CRON_TIME,
    DTM_QUERY,
    DTM_ALL,
    DTM_RESET_CRON_TIME,
    DTM_SUBSCRIBE,
    DTM_UNSUBSCRIBE,
    DTM_DELETE_TOPIC,
    DTM_QUERY_KV,
    DTM_SCAN_KV,
    DTM_VERSION,
    DTM_PING,
    DTM_METRICS,
    DTM_JSON_RPC,
    DTM_TEST_POLL, /* in test builds only, like the next three */
    DTM_TEST_ROUNDS,
    DTM_TEST_POLLING,
    DTM_TEST_WIPE,
    DTM_NOWHERE, /* a path that is not served */
    DTM_OP_NR
};
/* Last segment of its path in lower case, DTM's name of it in metrics. */
const char *dtm_op_name(enum dtm_op op);

struct dtm_route_match {
    enum dtm_op op;
    bool slash;               /* a slash at the end is all that is wrong: redirect */
    struct assent_bytes name; /* captured from the path, still encoded */
};
void dtm_route_find(const char *method, struct assent_bytes path, struct dtm_route_match *out);

/* Value of a parameter of a query string, decoded and terminated; the first of several.  False: absent, not
 * decodable, or more than `size` - 1 bytes. */
bool dtm_parameter(struct assent_bytes query, const char *name, char *out, size_t size);

#endif /* NODE_DTM_ROUTES_H */
