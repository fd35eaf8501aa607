/* The DTM door: DTM's HTTP paths and JSON-RPC methods, for unmodified DTM clients.
 *
 * A door translates and holds no rules.  dtm_routes.c knows the paths, dtm_json.c what clients send,
 * dtm_commands.c which command that is, dtm_wait.c waits for what comes of it, dtm_answer.c and dtm_view.c
 * write what clients read, dtm_rpc.c the same as JSON-RPC, dtm_read.c and dtm.c lead each conversation.
 * Source: dtm-protocol.md; docs/dtm.md says what is different on purpose. */
#ifndef NODE_DTM_H
#define NODE_DTM_H

#include "dtm_wait.h"
#include "request.h"

/* What a node keeps for the door. */
struct dtm {
    struct node *node;
    struct dtm_waits waits;
    struct dtm_metrics *metrics; /* owned */
    struct dtm_rounds *rounds;   /* owned; NULL but in test builds */
};
void dtm_init(struct dtm *dtm, struct node *node);
void dtm_close(struct dtm *dtm);

/* Is it one of the door's paths (without the query), served or not? */
bool dtm_owns(struct assent_bytes path);
/* Take a request of such a path: r->response is complete (ANSWERED), or its first step is named (AGAIN). */
enum request_next dtm_read(struct request *r, const struct request_input *input, struct assent_bytes path,
                           struct assent_bytes query);

/* The door's requests as a part of /metrics; /api/metrics has more, by DTM's names. */
void dtm_metrics_put(const struct dtm *dtm, struct text *out);

#endif /* NODE_DTM_H */
