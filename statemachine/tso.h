/* The timestamp oracle's allocation: pure, time comes in.  The window's bound is in the log
 * (COMMAND_TSO_WINDOW); what has been granted below it is the leader's memory. */
#ifndef STATEMACHINE_TSO_H
#define STATEMACHINE_TSO_H

#include <stdbool.h>
#include <stdint.h>

#define TSO_WINDOW_MS 1000 /* how far a window reaches; also the largest jump at a failover */

struct tso {
    uint64_t next;  /* smallest timestamp not granted yet */
    uint64_t bound; /* committed: grants stay below */
    bool ready;     /* a window of this leadership is committed */
};
/* Leadership begins: nothing is granted until a window opened by this leader commits. */
void tso_begin(struct tso *t, uint64_t committed_bound, uint64_t now_ms);
/* The bound to propose now, or 0: none needed.  Asked at half use. */
uint64_t tso_want_window(const struct tso *t, uint64_t now_ms);
void tso_window_committed(struct tso *t, uint64_t bound);
void tso_end(struct tso *t);
/* Grant `count` consecutive timestamps; `*first` is the smallest.  False: wait for a window (or for time,
 * when demand runs more than a window ahead of the clock). */
bool tso_grant(struct tso *t, uint64_t now_ms, uint32_t count, uint64_t *first);

#endif /* STATEMACHINE_TSO_H */
