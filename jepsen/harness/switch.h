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
};

/* Takes the descriptors of TAP devices, also when it fails (NULL). */
struct tap_switch *switch_open(const int *taps, uint32_t n);
/* NULL: frames pass; those held back are dropped. */
void switch_set(struct tap_switch *s, const struct switch_rule *rule);
void switch_close(struct tap_switch *s);

#endif
