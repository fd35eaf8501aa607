/* Where raftlog, the executor and the state machine meet.  Private to node.c. */
#ifndef NODE_NODE_APP_H
#define NODE_NODE_APP_H

#include "executor.h"
#include "node.h"

/* The callbacks for raftlog_open() and executor_open(). */
struct raftlog_app node_app(struct node *node);
struct executor_config node_app_executor(struct node *node);
/* For sm_on_broken(), `data` a struct node: ends the process.  LMDB reports a write that was cut short by a
 * full disk as EIO, so it looks what it was. */
void node_app_state_broken(void *data, const char *sentence);
/* Was the state replaced by a snapshot since the last entry?  Then what happened in between is unknown. */
void node_app_restored(struct node *node);

/* node.c: wake when the next timer of the state is due; only a leader does. */
void node_arm_due(struct node *node);

#endif /* NODE_NODE_APP_H */
