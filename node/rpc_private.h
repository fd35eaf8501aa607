/* What the files of the native door share: rpc.c moves bytes, rpc_frame.c gives them their meaning. */
#ifndef NODE_RPC_PRIVATE_H
#define NODE_RPC_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "address.h"
#include "command.h"
#include "frame.h"
#include "node.h"
#include "rpc.h"

#define QUERY_SMALL_BYTES 192

struct rpc_connection {
    uv_tcp_t tcp;
    uv_write_t write;
    struct rpc *rpc;
    struct rpc_connection *next, *prev, *next_dirty;
    uint8_t *in;
    size_t in_size, in_capacity;
    struct codec_writer out[2]; /* one gathers, the other is on its way */

    unsigned gathering;
    uint32_t in_flight;
    uint64_t since_ms; /* opened, or the write under way began */
    char peer[ADDRESS_TEXT_MAX];
    bool greeted, writing, paused, dirty, ending, closing, closed;
};

/* One frame that waits for its answer. */
struct rpc_call {
    struct rpc_connection *connection;
    struct rpc_call *next;
    uint64_t id;
    union {
        struct raftlog_propose propose;
        struct read_wait read;
        struct tso_wait tso;
    } wait;
    uint8_t *query; /* `small` or from malloc */
    size_t query_size;
    uint8_t small[QUERY_SMALL_BYTES];
};

struct rpc_listener {
    uv_tcp_t tcp;
    struct rpc *rpc;
    char address[ADDRESS_TEXT_MAX];
};

struct rpc {
    struct node *node;
    struct rpc_listener listener[CONFIG_LISTENERS_MAX];
    uint32_t listeners, handles;
    bool quiet, closing;
    uv_timer_t sweep;
    struct rpc_connection *connections, *dirty;
    struct rpc_call *spare;
    struct codec_arena frame_arena, command_arena;
    struct rpc_metrics metrics;
};

/* ---- rpc.c ---- */

/* Free it when it is closed and nothing refers to it any more. */
void rpc_free_when_done(struct rpc *rpc);
void rpc_connection_free_when_done(struct rpc_connection *c);
/* rpc_turn() looks at it: it has something to write, or may be read on. */
void rpc_mark_dirty(struct rpc_connection *c);

/* ---- rpc_frame.c ---- */

/* A decoded frame of a client. */
void rpc_on_frame(struct rpc_connection *c, enum frame_kind kind, uint64_t id, const struct codec_node *list);
/* Log, answer ASSENT_PROTOCOL, and end the connection when that is sent. */
void rpc_refuse(struct rpc_connection *c, uint64_t id, const char *why);

#endif /* NODE_RPC_PRIVATE_H */
