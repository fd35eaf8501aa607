/* Clients that write to a cluster all the time and notice when an answer is not the one it must be. */
#ifndef TESTS_LOAD_H
#define TESTS_LOAD_H

#include <pthread.h>
#include <stdatomic.h>

#include "cluster.h"

#define LOAD_WRITERS 6

/* One client: its own clock, ticked again and again; what is acknowledged must be 1, 2, 3, ... */
struct writer {
    pthread_t thread;
    struct endpoints e;
    char clock[16];
    const atomic_bool *stop;
    atomic_ullong acknowledged;
    char wrong[600]; /* the first thing that was not as it must be */
};

struct load {
    atomic_bool stop;
    struct writer writers[LOAD_WRITERS];
};

/* All nodes of `c` are its endpoints; retries carry an Idempotency-Key. */
void load_start(struct load *l, const struct cluster *c);
/* Wait until every writer has got `more` further answers; false: something is wrong, or nothing moves. */
bool load_goes_on(struct load *l, unsigned long long more);
void load_stop(struct load *l);
/* After load_stop(): fails the test when an answer was wrong or the cluster lost or repeated a tick. */
void load_check(struct load *l, struct cluster *c);

#endif /* TESTS_LOAD_H */
