/* The native protocol: length-prefixed msgpack frames over TCP, pipelined, with a version handshake.
 *
 * A frame is a u32 length (big-endian, of what follows, 1..ASSENT_FRAME_BYTES_MAX) and one msgpack list
 * [kind, id, ...].  `id` is chosen by the client and comes back in the answer; answers may come in any order.
 * The first frame of a connection is HELLO, answered by WELCOME (or by FAILED and a close: another version).
 *
 *   HELLO   = [1, id, "assent", version, client name]
 *   WELCOME = [2, id, version, cluster id, node id, leader's native address or nil, this node leads: bool]
 *   COMMAND = [3, id, bin: a command as in command.h]
 *   QUERY   = [4, id, bin: a query, stale: bool]     stale: answer from local state at once, which may be old
 *   TSO     = [5, id, count, strict: bool]           strict: confirm leadership after the request arrived
 *   PING    = [9, id]
 *   RESULT  = [6, id, index, term, result]           result as in command.h: [code, data, detail]
 *   FAILED  = [7, id, code, detail or nil, leader's native address or nil]   an error of assent/error.h
 *   TSO_OK  = [8, id, first, count, term]
 *   PONG    = [10, id, leader's native address or nil, this node leads: bool]
 * A refusal of the state machine is a RESULT; FAILED is an operating error, of a command that has no result.
 */
#ifndef STATEMACHINE_FRAME_H
#define STATEMACHINE_FRAME_H

#include "codec.h"

#define FRAME_VERSION      1
#define FRAME_LENGTH_BYTES 4

/* Numbers on the wire; never reused. */
enum frame_kind {
    FRAME_HELLO = 1,
    FRAME_WELCOME = 2,
    FRAME_COMMAND = 3,
    FRAME_QUERY = 4,
    FRAME_TSO = 5,
    FRAME_RESULT = 6,
    FRAME_FAILED = 7,
    FRAME_TSO_OK = 8,
    FRAME_PING = 9,
    FRAME_PONG = 10,
};

/* Append a frame to `w`: open it with kind, id and `n` further values, write those with codec_*(), close it
 * (patches the length; so several frames can be gathered in one writer).  `mark` carries the place between
 * the two. */
size_t frame_open(struct codec_writer *w, enum frame_kind kind, uint64_t id, uint32_t n);
void frame_close(struct codec_writer *w, size_t mark);

/* Look for a whole frame at the front of `in`.  Returns its bytes with the length prefix (0: more needed) and
 * borrows the body; -1: the length is 0 or above the limit, close the connection. */
int64_t frame_next(struct assent_bytes in, struct assent_bytes *body);

/* Take a body apart: kind, id and the list (values from codec_at(list, 2) on).  False: not a frame. Checks
 * the number and kinds of the values that `kind` demands, so the reader may use codec_as_*() at once. */
bool frame_decode(struct codec_arena *a, struct assent_bytes body, enum frame_kind *kind, uint64_t *id,
                  const struct codec_node **list);

#endif /* STATEMACHINE_FRAME_H */
