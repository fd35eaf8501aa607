/* JSON-RPC 2.0 as DTM's participants speak it (dtm-protocol, sections 5 and 6). */
#ifndef NODE_JSONRPC_H
#define NODE_JSONRPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "statemachine.h"

/* One call; all borrowed until return. */
struct jsonrpc_call {
    struct assent_bytes url;     /* its query parameter `method` names the method */
    struct assent_bytes payload; /* a JSON object or nothing; its members come first in `params` */
    struct assent_bytes gid, branch_id, op;
    const char *trans_type;
    uint64_t token;   /* with `attempt`: the id */
    uint32_t attempt; /* 0 for the first */
};

/* DTM's rule: a URL without "method" is called as plain HTTP whatever the protocol. */
bool jsonrpc_wanted(struct assent_bytes url);
/* The request's body, from malloc; NULL with a sentence in `why` (static): no method, or a payload that is no
 * object. */
char *jsonrpc_request(const struct jsonrpc_call *call, size_t *size, const char **why);

/* What a successful HTTP answer says: no error is SUCCESS, error -32901 FAILURE, -32902 ONGOING, other errors
 * and what is no JSON-RPC answer ERROR. */
enum sm_outcome jsonrpc_outcome(struct assent_bytes answer);

#endif /* NODE_JSONRPC_H */
