/* What the files of this folder share: every class of faults, and whom it meets.  One thread calls all of it.
 */
#ifndef JEPSEN_NEMESIS_H
#define JEPSEN_NEMESIS_H

#include "run.h"
#include "shapes.h"

/* What faults that are in force remember. */
struct nemesis {
    uint64_t dice;
    struct { /* a partition that changes */
        bool swizzle;
        struct lot going, coming;
        uint32_t members, alone;
        uint64_t from_ms;
    } cut;
    struct { /* nodes that are paused, or killed, again and again */
        bool pulses, loops;
        uint32_t node, starved; /* a node; a bit per node */
        uint64_t next_ms;
    } again;
    struct strobe *strobe; /* clock.c */
    uint64_t install_ms;   /* from the start of a node that lags to the end of its install, as measured */
};
struct nemesis *nemesis_open(uint64_t seed);
void nemesis_close(struct nemesis *n);

uint64_t nemesis_chance(struct run *r, uint64_t n); /* 0 .. n - 1 */
/* The leader in half of the cases, else anybody. */
uint32_t nemesis_target(struct run *r);
struct lot nemesis_lot(struct run *r);
/* A set of nodes by the name of `whom`, said in `text`; 0: there is none such now. */
uint32_t nemesis_whom(struct run *r, enum whom whom, char *text, size_t size);
/* Whoever is not running is started. */
void nemesis_start_all(struct run *r);
/* The node answers within so many milliseconds. */
bool nemesis_answers(struct run *r, uint32_t i, long timeout_ms);
/* A number of the node's page of metrics ("assent_..."), -1: it does not say. */
double nemesis_metric(struct run *r, uint32_t i, const char *name);
/* A number of what the node says of the cluster ("appliedIndex"), 0: it does not say. */
uint64_t nemesis_index(struct run *r, uint32_t i, const char *name);
/* One command through the node; how long it took in milliseconds, -1: it was not acknowledged. */
int64_t nemesis_command_ms(struct run *r, uint32_t i);

extern const struct fault fault_kill, fault_stop, fault_pause; /* process.c */
extern const struct fault fault_clock;                         /* clock.c */
extern const struct fault fault_partition;                     /* network.c */
extern const struct fault fault_packet;                        /* packet.c */
extern const struct fault fault_power, fault_full, fault_eio;  /* disk.c */
extern const struct fault fault_flip;                          /* flip.c */
extern const struct fault fault_slow;                          /* slow.c */
extern const struct fault fault_member;                        /* member.c */
extern const struct fault fault_install;                       /* install.c */

#endif
