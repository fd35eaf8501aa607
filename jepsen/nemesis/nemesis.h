/* What the files of this folder share: every class of faults, and whom it meets. */
#ifndef JEPSEN_NEMESIS_H
#define JEPSEN_NEMESIS_H

#include "run.h"

uint64_t nemesis_chance(struct run *r, uint64_t n); /* 0 .. n - 1 */
/* The leader in half of the cases, else anybody. */
uint32_t nemesis_target(struct run *r);
/* Whoever is not running is started. */
void nemesis_start_all(struct run *r);
/* The node answers within so many milliseconds. */
bool nemesis_answers(struct run *r, uint32_t i, long timeout_ms);

extern const struct fault fault_kill, fault_stop, fault_pause, fault_clock; /* process.c */
extern const struct fault fault_partition, fault_packet;                    /* network.c */
extern const struct fault fault_power, fault_full, fault_eio, fault_flip;   /* disk.c */
extern const struct fault fault_member;                                     /* member.c */

#endif
