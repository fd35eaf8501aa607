/* Nodes over the fake log in one process, and a client whose waiting drives their loop. */
#ifndef TESTS_NODE_HARNESS_H
#define TESTS_NODE_HARNESS_H

#include <stdbool.h>
#include <stddef.h>

#include "fake_raftlog.h"
#include "node.h"

#define HARNESS_NODES_MAX 3

struct harness {
    uv_loop_t loop;
    struct config config[HARNESS_NODES_MAX];
    struct node node[HARNESS_NODES_MAX];
    int n;
    char dir[HARNESS_NODES_MAX][64];
};

/* Start `n` nodes; further options of assentd for all of them, ended by NULL.  The first leads term 1. */
void harness_start(struct harness *h, int n, const char *const *options);
void harness_stop(struct harness *h);
/* Turn the loop until nothing moves for a moment. */
void harness_settle(struct harness *h);
/* Turn the loop once, waiting at most a few milliseconds. */
void harness_step(struct harness *h);

struct client {
    struct harness *h;
    int fd;
    char *in; /* what came */
    size_t size;
    bool closed;
};

/* Connect to the HTTP or native port of node `i`. */
void client_open(struct client *c, struct harness *h, int i, bool rpc);
void client_close(struct client *c);
void client_send(struct client *c, const void *bytes, size_t size);
/* Turn the loop and read; false when `ms` of loop time passed without news. */
bool client_more(struct client *c);

struct reply {
    int status;
    char head[2048];
    char *body; /* terminated; from malloc */
};

/* Is a whole HTTP reply there?  Takes it out of the connection. */
bool client_reply(struct client *c, struct reply *reply);
/* Wait for it. */
void client_wait(struct client *c, struct reply *reply);

/* One request over a new connection.  `headers` ends each with CRLF; NULL: none. */
struct reply http_call(struct harness *h, int i, const char *method, const char *path, const char *headers,
                       const char *body);
void reply_free(struct reply *reply);

/* The request as bytes, for pipelining; from malloc. */
char *http_text(const char *method, const char *path, const char *headers, const char *body);

#define assert_has(text, part) assert_non_null(strstr((text), (part)))

#endif /* TESTS_NODE_HARNESS_H */
