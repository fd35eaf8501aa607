/* ?waitMs=: a command of a transaction is answered when the transaction has ended, or after that time. */
#ifndef NODE_WAIT_H
#define NODE_WAIT_H

#include "request.h"

/* Is it a command whose transaction may be waited for? */
bool wait_takes(const struct route *route);
/* Have a request that is about to start wait; `ns` as request_input has it.  ASSENT_NOMEM. */
int wait_begin(struct request *r, uint64_t wait_ms, const char *ns);

#endif /* NODE_WAIT_H */
