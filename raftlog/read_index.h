/* Linearizable reads without log entries: leadership is confirmed by a probe round after the read arrived,
 * and the read goes on once what was committed then is applied here.
 *
 * Reads gather in one group; a group flies as one probe round (leader) or one question to the leader
 * (follower); several groups may be in flight.  A landed group waits for the apply index.  A change of role
 * sends unanswered reads back to the gathering group: asking again is always safe, only later.
 *
 * Source: Raft dissertation 6.4; the round numbers replace counting heartbeats. */
#ifndef RAFTLOG_READ_INDEX_H
#define RAFTLOG_READ_INDEX_H

#include <stdbool.h>
#include <stdint.h>

struct core;
struct message;

#define READ_FLIGHTS_MAX 8       /* rounds in flight */
#define READ_WAITING_MAX 1000000 /* reads gathered and in flight; beyond it BUSY */

struct read {
    uint64_t id;
    uint64_t asker; /* server that asked; 0: a read of our own */
};

struct read_group {
    struct read_group *next;
    struct read *reads;
    uint32_t n, capacity;
    uint64_t number;   /* of the round or question */
    uint64_t index;    /* everything committed at the start of the round */
    uint64_t term;     /* of the confirming leader */
    uint64_t sent_ms;  /* last sent */
    uint64_t first_ms; /* arrival of its oldest read */
    bool local;        /* confirmed by us as leader */
};

struct read_index {
    struct read_group *gathering;            /* NULL: none */
    struct read_group *flying, *flying_tail; /* oldest first */
    struct read_group *landed;
    struct read_group *spare;
    uint32_t flights;
    uint32_t waiting;     /* reads not yet landed */
    uint64_t number_last; /* last round or question number; starts at a random base, so that answers to a
                             previous life of this node are not mistaken */
    uint64_t reads, rounds;
};

void read_index_init(struct read_index *x, uint32_t seed);
void read_index_close(struct read_index *x);

/* A local read.  NO_LEADER, BUSY, NOMEM. */
int read_index_begin(struct core *c, uint64_t read_id);
/* Messages. */
void read_index_probe(struct core *c, const struct message *m, const char *address);
void read_index_probe_ack(struct core *c, const struct message *m);
void read_index_ask(struct core *c, const struct message *m);
void read_index_answer(struct core *c, const struct message *m);
/* Our role or term changed. */
void read_index_role_changed(struct core *c);
/* Start, confirm, repeat, expire rounds; finish what is applied. */
void read_index_advance(struct core *c);
/* When read_index_advance() has something to do without further input; UINT64_MAX: never. */
uint64_t read_index_deadline(const struct core *c);

#endif /* RAFTLOG_READ_INDEX_H */
