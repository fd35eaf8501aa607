/* One connection to a node: resolve, connect, frames out, frames in.  It knows nothing of calls. */
#ifndef CLIENT_TRANSPORT_H
#define CLIENT_TRANSPORT_H

#include <uv.h>

#include "frame.h"

struct transport;

/* Called on the loop's thread, never from inside transport_open().  After transport_close() only `gone` is
 * called. */
struct transport_events {
    void *data;
    void (*connected)(void *data);
    /* One frame; all borrowed until return.  `list` holds [kind, id, ...]. */
    void (*frame)(void *data, enum frame_kind kind, uint64_t id, const struct codec_node *list,
                  struct assent_bytes body);
    /* All frames of one read were given. */
    void (*turn)(void *data);
    /* The connection is of no use any more (refused, broken, `garbage`: not this protocol): close it. */
    void (*lost)(void *data, bool garbage);
    /* Written bytes have left. */
    void (*drained)(void *data);
    /* Memory is free. */
    void (*gone)(void *data);
};

/* Start connecting to `address` (host:port).  NULL: out of memory. */
struct transport *transport_open(uv_loop_t *loop, const char *address, const struct transport_events *events);
/* End; frames written before leave if the socket takes them at once.  `gone` follows. */
void transport_close(struct transport *t);

/* Where frames are appended; transport_flush() sends them. */
struct codec_writer *transport_writer(struct transport *t);
/* Hand what was appended to the socket.  False: broken (`lost` is not called from here). */
bool transport_flush(struct transport *t);
/* Bytes the socket has not taken yet. */
size_t transport_backlog(const struct transport *t);
/* Keep the loop alive for this connection, or not. */
void transport_hold(struct transport *t, bool hold);

#endif /* CLIENT_TRANSPORT_H */
