/* The process: one loop thread that owns the log, the state, the doors and the time. */
#ifndef NODE_NODE_H
#define NODE_NODE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "alert.h"
#include "config.h"
#include "dtm.h"
#include "events.h"
#include "forward.h"
#include "log.h"
#include "metrics.h"
#include "raftlog.h"
#include "read_gate.h"
#include "request.h"
#include "statemachine.h"
#include "stream.h"
#include "tso_service.h"

#define NODE_VERSION "0.1.0"
/* Exit status when the replica cannot go on (sysexits: EX_SOFTWARE). */
#define NODE_EXIT_BROKEN 70
/* Of a crash that a rule of --simulate asked for. */
#define NODE_EXIT_SIMULATED 86

struct executor;
struct http;
struct rpc;

/*   RUNNING ---> HANDING_OVER ---> DRAINING ---> CLOSING ---> CLOSED
 *   serves       no new            leadership    no request   everything is closed,
 *                connections       is elsewhere  is left, or  the loop runs empty
 *                                  or nowhere    time is up */
enum node_state { NODE_RUNNING, NODE_HANDING_OVER, NODE_DRAINING, NODE_CLOSING, NODE_CLOSED, NODE_STATE_NR };

struct node {
    uv_loop_t *loop;
    const struct config *config;
    struct log logger;
    struct raftlog *log;
    struct sm *sm;
    int lock_fd; /* of the data directory */
    enum node_state state;

    enum raftlog_role role;
    uint64_t term, leader; /* leader 0: unknown */
    bool ready;            /* this node leads and may read and propose */
    uint64_t applied_index;
    bool tagged; /* the state knows the tag of its cluster */

    pthread_mutex_t sm_mutex; /* held by the worker that restores a snapshot */
    struct sm_command *batch; /* of apply, reused */
    uint32_t batch_capacity;

    struct http *http;
    struct rpc *rpc;
    struct executor *executor;
    struct requests requests;
    struct read_gate reads;
    struct tso_service tso;
    struct forward forward;
    struct events events;
    struct dtm dtm;
    struct streams streams;
    struct alerts alerts;
    struct metrics metrics;
    char advert[1024]; /* what peers are told: lines of key=value */

    /* private to node.c */
    uv_check_t turn;
    uv_idle_t awake; /* runs while a turn is wanted, so that the loop does not sleep */
    uv_timer_t due_timer, stop_timer;
    int64_t due_us; /* what due_timer waits for; INT64_MAX: nothing */
    struct raftlog_propose tick;
    bool tick_pending, awake_wanted, role_changed;
    uint64_t settled_term; /* in which the known leader was last taken notice of */
    struct raftlog_member transfer;
    bool transfer_pending;
    uint64_t stop_started_ms, started_ms;
};

/* Open data directory, state, doors and log.  On failure an assent_error and a sentence in `err`; nothing
 * stays open.  Borrows `config` until node_close(). */
int node_open(struct node *node, uv_loop_t *loop, const struct config *config, char *err, size_t err_size);

/* Begin a graceful stop: refuse new work, hand over leadership, finish replies, close.  The loop runs empty
 * when it is done. */
void node_stop(struct node *node);

/* After the loop ran empty: free the rest. */
void node_close(struct node *node);

/* Have the end of this turn of the loop run soon: call it when something was queued for it. */
void node_wake(struct node *node);

/* Microseconds and milliseconds since 1970 by this machine's clock. */
int64_t node_now_us(void);

/* Guard for every use of `sm` outside the callbacks of raftlog: false while a snapshot is being restored. */
bool node_sm_enter(struct node *node);
void node_sm_leave(struct node *node);

/* Value of a key in a peer's advert ("name", "http", "rpc", "version"); empty when absent. */
struct assent_bytes node_advert_get(struct assent_bytes advert, const char *key);

/* Address of the leader by advert key; false when unknown. */
bool node_leader_address(const struct node *node, const char *key, char *out, size_t out_size);

#endif /* NODE_NODE_H */
