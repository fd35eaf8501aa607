/* A participant of the judge's own: an HTTP server that keeps, in order, every call it was made.
 *
 * It behaves as docs/transactions.md asks of a participant, and badly where that is allowed: it answers late,
 * fails, and forgets to answer.  What it heard is evidence beside the history. */
#ifndef JEPSEN_PARTICIPANT_H
#define JEPSEN_PARTICIPANT_H

#include <stdbool.h>
#include <stdint.h>

struct participant;

/* A call that took effect (a repetition takes none). */
struct effect {
    char xid[40], branch[16], op[16];
    uint64_t token, number; /* number: order of effects */
    bool refused;           /* an action it refused for good */
};

/* Listens on `host` (any address of this machine, port of its own).  `trouble`: per thousand calls that fail
 * or get no answer; `refuse`: per thousand actions refused.  NULL: `why` in errno's words. */
struct participant *participant_open(const char *host, uint64_t seed, uint32_t trouble, uint32_t refuse);
void participant_close(struct participant *p);
/* "http://host:port" */
const char *participant_base(const struct participant *p);
/* No more trouble: from now on it answers. */
void participant_calm(struct participant *p);
/* Everything so far, in order; borrowed, call it when nothing runs any more. */
const struct effect *participant_effects(struct participant *p, uint32_t *n);

#endif
