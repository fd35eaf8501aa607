/* The cluster under test: processes of assentd, each in a network namespace of its own where that is
 * possible.
 *
 * Everything has the run's prefix in its name and is ended by its exact id; the nodes die with the judge. */
#ifndef JEPSEN_NODES_H
#define JEPSEN_NODES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define NODES_MAX 7

struct sut_node {
    uint32_t id;
    pid_t pid; /* 0: not running */
    bool paused;
    char host[32]; /* where clients and peers reach it */
    char base[64]; /* "http://host:port" */
    char dir[320], log[320];
    char ns[32]; /* namespace; "": ours */
    uint16_t raft, http, rpc;
    char faketime[320]; /* file with the offset of its clock; "": its clock is true */
};

struct sut {
    uint32_t n;
    struct sut_node nodes[NODES_MAX];
    char dir[256];
    char program[256]; /* assentd */
    bool namespaces;   /* partitions are possible */
    bool clocks;       /* clocks can be skewed */
    char prefix[16];   /* of namespaces and cables */
};

/* Choose addresses, make directories and, with `namespaces`, the network.  False: `why` says what is missing.
 */
bool sut_open(struct sut *s, uint32_t n, const char *dir, const char *program, bool namespaces, char *why,
              size_t why_size);
/* Ends everything and takes the network down.  Safe at any time, also from an exit handler. */
void sut_close(struct sut *s);

bool sut_start(struct sut *s, uint32_t i);
void sut_kill(struct sut *s, uint32_t i); /* SIGKILL, and gone */
void sut_stop(struct sut *s, uint32_t i); /* SIGTERM, and gone; SIGKILL after ten seconds */
void sut_pause(struct sut *s, uint32_t i, bool on);
/* What `from` sends to `to` vanishes. */
void sut_cut(struct sut *s, uint32_t from, uint32_t to, bool cut);
void sut_heal(struct sut *s);
/* Set the node's clock apart by so many milliseconds. */
void sut_clock(struct sut *s, uint32_t i, int64_t offset_ms);
/* Index of the node that says it leads, -1: none answers so. */
int sut_leader(struct sut *s);
/* Wait until somebody leads and all running nodes know it; false after `timeout_ms`. */
bool sut_settled(struct sut *s, uint64_t timeout_ms);
/* Nodes that died by themselves since they were started: their number. */
uint32_t sut_dead(struct sut *s);

#endif
