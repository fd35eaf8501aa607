/* Streams of events over HTTP: server-sent events, filtered, resumed by id, bounded.
 *
 * A stream reads the ring of events (events.h) at its own pace through a buffer of STREAM_BUFFER_BYTES.  It
 * begins behind the id it is given, or now.  What it cannot tell is said aloud: `event: gap` with a reason
 * (too old, unknown, snapshot, too slow), after which the reader lists transactions anew.  A reader that is
 * overtaken by the ring while its socket is full is told so and disconnected.  All on the loop thread. */
#ifndef NODE_STREAM_H
#define NODE_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "arguments.h"
#include "events.h"

/* Text of one stream on its way to its socket; the largest event is far smaller. */
#define STREAM_BUFFER_BYTES (64u * 1024)
/* After event-heartbeat-ms without an event a comment is sent, so that both ends notice a dead connection.  A
 * reader that takes nothing for two of them and this long is disconnected. */
#define STREAM_STALL_MS 10000

struct node;
struct stream;

/* What all streams of a node share.  Embedded in struct node. */
struct streams {
    /* private */
    struct node *node;
    struct stream *first;
    uint32_t open;
    uint64_t refused, overtaken;
    struct event_listener listener;
    bool news; /* events were told, or streams are to end */
    uv_timer_t timer;
};

void streams_init(struct streams *ss, struct node *node);
/* The loop runs on until the timer is closed.  No stream is left. */
void streams_close(struct streams *ss);
/* End of the turn: whoever waits and has something to send is made ready. */
void streams_turn(struct streams *ss);
/* The node stops: every stream ends with its reason. */
void streams_shutdown(struct streams *ss);

/* Query parameters of GET /api/v1/events. */
extern const struct field stream_fields[];

/* Open a stream from arguments of stream_fields, a namespace (NULL: the default one) and the header
 * Last-Event-ID (NULL: none; the parameter goes first).  Borrows all until return.  INVALID with a->why; BUSY
 * when event-streams are open; SHUTDOWN. */
int stream_open(struct stream **out, struct streams *ss, struct arguments *a, const char *ns,
                const char *last_id);
/* Who is told, later and once per empty stream_take(), that there is something to take. */
void stream_attach(struct stream *s, void (*ready)(void *data), void *data);
/* Move up to `room` bytes to `out`: how many; 0: nothing now, `ready` follows; -1: the stream has ended. */
ssize_t stream_take(struct stream *s, char *out, size_t room);
/* At any time; NULL is no stream. */
void stream_close(struct stream *s);

#endif /* NODE_STREAM_H */
