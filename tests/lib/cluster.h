/* A cluster of real assentd processes on loopback, for tests: free ports, a temporary directory, SIGKILL.
 *
 * The processes end with the test program, however it ends: children by the kernel's word, daemons by a guard
 * that outlives the program and looks for the directory's name in their arguments; it removes the directory.
 * Logs stand in the directory; cluster_close() prints their tails when the test asks for it. */
#ifndef TESTS_CLUSTER_H
#define TESTS_CLUSTER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "demo.h"

#define CLUSTER_NODES_MAX   8
#define CLUSTER_PATIENCE_MS 60000 /* for anything that must happen; sanitizers and two cores are slow */

struct cluster_node {
    uint32_t id;
    pid_t pid; /* 0: not running */
    uint16_t raft, http, rpc;
    char dir[512], log[512];
    char peer_host[16], host[16]; /* where nodes and where clients reach it; 127.0.0.1 */
    bool join;                    /* is added to a running cluster, not one of its first voters */
    int netns;                    /* descriptor of the network namespace it lives in; 0: ours */
    const char *preload;          /* library that stands before libc in this node; NULL: none */
    const char *preload_env;      /* NAME=value for it */
};

struct cluster {
    char dir[256];
    int guard; /* our end of the pipe whose closing wakes the guard */
    uint32_t n, voters;
    struct cluster_node nodes[CLUSTER_NODES_MAX];
    const char *name;         /* --cluster-name; NULL: the default */
    const char *const *flags; /* further flags of every node, NULL ends them; may be NULL */
};

/* Choose ports and a directory for `voters` nodes; starts nothing. */
void cluster_init(struct cluster *c, uint32_t voters, const char *const *flags);
/* Kill what runs and remove the directory; `failed`: print the end of each log before. */
void cluster_close(struct cluster *c, bool failed);

/* One more node, which waits to be added (not started). */
struct cluster_node *cluster_add(struct cluster *c);
void cluster_start(struct cluster *c, struct cluster_node *node);
void cluster_start_all(struct cluster *c);
/* SIGKILL, and gone. */
void cluster_kill(struct cluster_node *node);
/* SIGTERM; the exit status, -1 when it did not exit by itself. */
int cluster_stop(struct cluster_node *node);
/* Wait for a process that should end by itself; its exit status, -1 after CLUSTER_PATIENCE_MS. */
int cluster_wait_exit(struct cluster_node *node);
void cluster_wipe(struct cluster_node *node);

/* The running node that leads and says so itself; NULL after CLUSTER_PATIENCE_MS. */
struct cluster_node *cluster_leader(struct cluster *c);
/* `/cluster` as one node sees it; NULL: no answer.  The caller's. */
json_t *cluster_view(const struct cluster_node *node);
/* All nodes as endpoints, beginning with the `first`-th. */
void cluster_endpoints(const struct cluster *c, uint32_t first, struct endpoints *e);
/* Wait until all running nodes have applied the same entries and hold the same state. */
bool cluster_agrees(struct cluster *c);
/* Does the node's log hold the text? */
bool cluster_log_has(const struct cluster_node *node, const char *text);
/* Wait until it does; false after CLUSTER_PATIENCE_MS. */
bool cluster_log_gets(const struct cluster_node *node, const char *text);

/* One request to this node alone; `path` below /api/v1, `header` and `body` (borrowed) may be NULL. */
void cluster_ask(const struct cluster_node *node, const char *method, const char *path, const char *header,
                 json_t *body, long timeout_ms, struct http_answer *out);
/* A request that must succeed, at any node; takes `body`, gives the answer's data.  Fails the test else. */
json_t *cluster_must(struct cluster *c, const char *method, const char *path, json_t *body);
/* `lamport/tick` of the default clock, at any node; its value. */
long long cluster_tick(struct cluster *c);
/* A number in the node's /metrics; -1: no such line or no answer. */
long long cluster_metric(const struct cluster_node *node, const char *name);

/* So many free ports of 127.0.0.1 in a row; the first. */
uint16_t cluster_ports(uint32_t n);
/* A program of the build: "node/assentd". */
void cluster_program(char *path, size_t size, const char *program);
/* Run a program to its end, its output in `log`; the exit status or -1. */
int cluster_run(const char *log, char *const argv[]);

#endif /* TESTS_CLUSTER_H */
