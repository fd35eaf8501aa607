/* One confirmed read for all who wait: the linearizable reads of a loop turn share a single raftlog_read().
 */
#ifndef NODE_READ_GATE_H
#define NODE_READ_GATE_H

#include <stdbool.h>
#include <stdint.h>

#include "raftlog.h"

struct node;
struct read_wait;
struct read_batch;

/* status as raftlog_read_cb; index, term and local are set before it on 0. */
typedef void (*read_wait_cb)(struct read_wait *wait, int status);

/* One who waits.  Embed it; it must outlive `cb`. */
struct read_wait {
    void *data;
    uint64_t index, term;
    bool local;
    /* private */
    read_wait_cb cb;
    struct read_wait *next;
};

struct read_gate {
    struct node *node;
    struct read_wait *first, **last; /* gathered in this turn */
    struct read_batch *spare;        /* for reuse */
    uint64_t fresh_ms;               /* loop time at which the newest successful read was asked for */
};

void read_gate_init(struct read_gate *gate, struct node *node);
void read_gate_close(struct read_gate *gate);

/* Wait for the state as of now or later; `cb` fires once, later. */
void read_gate_wait(struct read_gate *gate, struct read_wait *wait, read_wait_cb cb);

/* End of the turn: ask for all that gathered. */
void read_gate_turn(struct read_gate *gate);

#endif /* NODE_READ_GATE_H */
