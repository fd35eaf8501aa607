/* A switch for Ethernet in the judge: delays, loses, doubles and damages frames between nodes, on any kernel.
 *
 * Port 0 is the judge: what comes from it or goes to it passes untouched, so clients see the nodes' trouble,
 * not the network's.  A thread of its own carries the frames; all calls come from one other thread. */
#ifndef JEPSEN_SWITCH_H
#define JEPSEN_SWITCH_H

#include <stdint.h>

struct tap_switch;

/* In per cent of the frames.  Different delays put frames out of order. */
struct switch_rule {
    uint32_t lost, doubled, damaged;
    uint32_t delay_ms, jitter_ms; /* delay, and at most so much more */
    uint32_t rate_kbit; /* so many thousand bits a second, a quarter of a second in the queue; 0: any */
};

/* Takes the descriptors of TAP devices, also when it fails (NULL). */
struct tap_switch *switch_open(const int *taps, uint32_t n);
/* What one node sends to another (their numbers from 0) obeys the rule. */
void switch_set(struct tap_switch *s, uint32_t from, uint32_t to, const struct switch_rule *rule);
/* All frames pass; those held back are dropped. */
void switch_heal(struct tap_switch *s);
void switch_close(struct tap_switch *s);

#endif
