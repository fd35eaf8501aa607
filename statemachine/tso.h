/* The timestamp oracle's allocation: pure, time comes in.  The window's bound is in the log
 * (COMMAND_TSO_WINDOW); what has been granted below it is the leader's memory.
 *
 * Problem: hand out millions of strictly increasing timestamps a second, close to wall time, from a leader
 * that may be deposed, paused or killed at any moment, with one log entry per half second at most.
 * Wall clocks alone fail: the next leader's may be behind.  A log entry per grant is too slow.
 * Sketch: the log holds one number, the bound.  A leader grants only below a bound that *it* has committed
 * and starts at the bound it found when it came to power, so two leaders' ranges never meet, whatever their
 * clocks say.
 * What this does not give by itself: a deposed leader may still grant from its own window after the next one
 * has begun: its values are unique but smaller.  Whoever needs real-time order confirms leadership after the
 * request came in (strict mode; node/tso_service.c).  Sources: Percolator section 2.3 (Peng, Dabek 2010),
 * TiKV PD. */
#ifndef STATEMACHINE_TSO_H
#define STATEMACHINE_TSO_H

#include <stdbool.h>
#include <stdint.h>

#define TSO_WINDOW_MS 1000 /* how far a window reaches; also the largest jump at a failover */

struct tso {
    uint64_t next;  /* smallest timestamp not granted yet */
    uint64_t bound; /* committed: grants stay below */
    bool ready;     /* a window of this leadership is committed */
    /* private from here on */
    bool wanted;       /* asked for since the newest window: an idle leader writes no windows */
    uint64_t clock_ms; /* the oracle's time: starts at the bound, advances with now_ms, never steps back */
    uint64_t seen_ms;  /* the now_ms it was last advanced to */
};

/* Leadership begins (all entries of earlier terms are applied): nothing is granted until a window opened by
 * this leader commits.  now_ms: wall time; may step in either direction, a step back counts as no time. */
void tso_begin(struct tso *t, uint64_t committed_bound, uint64_t now_ms);

/* The bound to propose now, or 0: none needed.  Not 0 before the first window of a leadership, and again from
 * half use on while somebody asks.  The caller keeps at most one proposal under way. */
uint64_t tso_want_window(struct tso *t, uint64_t now_ms);

/* A window proposed by this leadership was applied with ASSENT_OK. */
void tso_window_committed(struct tso *t, uint64_t bound);

/* Leadership ended: what is left of the window is dropped. */
void tso_end(struct tso *t);

/* Grant `count` (1..ASSENT_COUNT_MAX) consecutive timestamps; `*first` is the smallest.  False, nothing
 * granted: wait for a window (or for time, when demand runs more than a window ahead of the clock). */
bool tso_grant(struct tso *t, uint64_t now_ms, uint32_t count, uint64_t *first);

#endif /* STATEMACHINE_TSO_H */
