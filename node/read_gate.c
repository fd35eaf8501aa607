/* One confirmed read for all who wait: the linearizable reads of a loop turn share a single raftlog_read().
 */
#include "read_gate.h"

#include <stdlib.h>

#include "node.h"

/* Those who wait for one raftlog_read(). */
struct read_batch {
    struct raftlog_read read;
    struct read_gate *gate;
    struct read_wait *first;
    struct read_batch *next; /* in the list of spares */
    uint64_t asked_ms;
};

void read_gate_init(struct read_gate *gate, struct node *node)
{
    *gate = (struct read_gate){.node = node, .last = &gate->first};
}

void read_gate_close(struct read_gate *gate)
{
    while (gate->spare != NULL) {
        struct read_batch *batch = gate->spare;
        gate->spare = batch->next;
        free(batch);
    }
}

void read_gate_wait(struct read_gate *gate, struct read_wait *wait, read_wait_cb cb)
{
    wait->cb = cb;
    wait->next = NULL;
    *gate->last = wait;
    gate->last = &wait->next;
    node_wake(gate->node);
}

/* Tell everybody of the batch; a callback may wait again, which goes into the next batch. */
static void finish(struct read_batch *batch, int status)
{
    struct read_wait *wait = batch->first;
    while (wait != NULL) {
        struct read_wait *next = wait->next;
        wait->index = batch->read.index;
        wait->term = batch->read.term;
        wait->local = batch->read.local;
        wait->cb(wait, status);
        wait = next;
    }
    batch->next = batch->gate->spare;
    batch->gate->spare = batch;
}

static void on_read(struct raftlog_read *read, int status)
{
    struct read_batch *batch = read->data;
    if (status == ASSENT_OK && batch->asked_ms > batch->gate->fresh_ms)
        batch->gate->fresh_ms = batch->asked_ms;
    finish(batch, status);
}

void read_gate_turn(struct read_gate *gate)
{
    if (gate->first == NULL)
        return;
    struct read_batch *batch = gate->spare;
    if (batch != NULL)
        gate->spare = batch->next;
    else if ((batch = malloc(sizeof *batch)) == NULL)
        abort();
    *batch = (struct read_batch){.gate = gate, .first = gate->first, .asked_ms = uv_now(gate->node->loop)};
    batch->read.data = batch;
    gate->first = NULL;
    gate->last = &gate->first;
    int status =
        gate->node->log != NULL ? raftlog_read(gate->node->log, &batch->read, on_read) : ASSENT_SHUTDOWN;
    if (status != ASSENT_OK)
        finish(batch, status);
}
