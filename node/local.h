/* What a node answers by itself: health, metrics, what it is, and how it sees the cluster. */
#ifndef NODE_LOCAL_H
#define NODE_LOCAL_H

#include "request.h"

/* Fill the response of a ROUTE_LOCAL or ROUTE_PLAIN route; `number` is what its path holds. */
void local_answer(struct node *node, const struct route *route, uint64_t number, struct response *response);

/* Why the node is not ready, NULL when it is: a leader is known and this node is near it. */
const char *local_not_ready(struct node *node);

#endif /* NODE_LOCAL_H */
