/* One TCP connection that carries frames: receives whole messages, sends queued ones in few writes.
 *
 * Knows nothing of peers or clusters: transport.c decides who may speak.  Private to transport.c. */
#ifndef RAFTLOG_CONNECTION_H
#define RAFTLOG_CONNECTION_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "message.h"

struct connection;
struct frame;

/* Counters and the scratch array that all connections of a transport share. */
struct connection_shared {
    uint64_t messages_sent, messages_received, messages_refused, bytes_sent, bytes_received;
    uv_buf_t *bufs;
};

struct connection_callbacks {
    /* A message arrived; its byte fields are borrowed until return.  May close the connection. */
    void (*message)(struct connection *c, struct message *m);
    /* It failed or the other side closed it; the callee closes it.  `reason` is a short text. */
    void (*failed)(struct connection *c, const char *reason, bool hostile);
    /* The time set with connection_timeout() has passed. */
    void (*timeout)(struct connection *c);
    /* All handles are closed; the memory goes away when this returns. */
    void (*closed)(struct connection *c);
};

struct frame_queue {
    struct frame *head, **tail;
};

struct connection {
    void *owner, *peer; /* the transport's */
    bool outbound;
    bool greeted; /* the other side's HELLO was accepted: other types may come */
    /* private from here on */
    const struct connection_callbacks *callbacks;
    struct connection_shared *shared;
    uv_tcp_t tcp;
    uv_timer_t timer;
    uint32_t handles;
    bool closing;
    uint8_t *rx; /* bytes rx_from .. rx_to wait to be parsed */
    size_t rx_capacity, rx_from, rx_to, rx_need;
    struct frame_queue queue, bulk, writing; /* bulk: CHUNK frames, which give way */
    uint64_t queued_bytes;
    uv_write_t write;
};

/* The scratch array of `shared`, once per transport. */
int connection_shared_init(struct connection_shared *shared);
void connection_shared_close(struct connection_shared *shared);

/* Make one at rest.  NULL: out of memory. */
struct connection *connection_new(uv_loop_t *loop, struct connection_shared *shared,
                                  const struct connection_callbacks *callbacks, void *owner);
/* The socket is connected or accepted: set its options and begin to read.  Non-zero: a libuv error. */
int connection_begin(struct connection *c, uint32_t silence_ms);
/* Call `timeout` once after `ms`; 0 stops. */
void connection_timeout(struct connection *c, uint32_t ms);
/* Queue a message; borrows until return (entries by reference, bytes copied).  BUSY: it would exceed
 * `queue_bytes_max`; NOMEM. */
int connection_send(struct connection *c, const struct message *m, uint64_t queue_bytes_max);
/* Write what is queued; `failed` may be called before it returns. */
void connection_flush(struct connection *c);
/* Drop queued frames and close the handles; idempotent.  `closed` follows. */
void connection_close(struct connection *c);

#endif /* RAFTLOG_CONNECTION_H */
