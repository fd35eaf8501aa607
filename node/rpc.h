/* The native door: frames of statemachine/frame.h over TCP, pipelined, one write per connection and turn. */
#ifndef NODE_RPC_H
#define NODE_RPC_H

#include <stddef.h>
#include <stdint.h>

struct node;
struct rpc;

struct rpc_metrics {
    uint64_t accepted, refused, malformed, slow_closed;
    uint64_t commands, queries, tso, failed;
    uint64_t bytes_in, bytes_out;
    uint32_t connections, in_flight; /* now */
};

/* Bind and listen on every --rpc. */
int rpc_open(struct rpc **rpc, struct node *node, char *err, size_t err_size);
/* Address of the first listener, with its real port. */
const char *rpc_address(const struct rpc *rpc);
/* Accept connections from now on. */
void rpc_serve(struct rpc *rpc);

/* End of the turn: write what gathered, read on where reading was stopped. */
void rpc_turn(struct rpc *rpc);

/* Accept no more connections. */
void rpc_quiesce(struct rpc *rpc);
/* Requests under way. */
uint32_t rpc_busy(const struct rpc *rpc);
/* Write what can be written, close every connection; `rpc` is gone when the loop has run empty and every
 * callback has fired. */
void rpc_close(struct rpc *rpc);

void rpc_metrics(const struct rpc *rpc, struct rpc_metrics *out);

#endif /* NODE_RPC_H */
