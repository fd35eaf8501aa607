/* Whom a fault meets, and which cables a partition cuts: values that follow from the size of the cluster, who
 * leads and an order drawn by lot; nothing here touches a node.
 *
 * Source: the partitions of Jepsen (jepsen.nemesis) and FoundationDB's swizzle-clog. */
#ifndef JEPSEN_SHAPES_H
#define JEPSEN_SHAPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nodes.h"

/* All nodes once, in random order. */
struct lot {
    uint32_t n, order[NODES_MAX];
    int leader; /* -1: nobody */
};
struct lot lot_draw(uint64_t *dice, uint32_t n, int leader);

/* ---- sets of nodes: a bit per node ---- */

enum whom { WHOM_ONE, WHOM_LEADER, WHOM_MINORITY, WHOM_MAJORITY, WHOM_ALL, WHOM_NR };
extern const char *const whom_names[WHOM_NR + 1];
/* 0: there is none such (nobody leads, a minority of one or two). */
uint32_t whom_mask(enum whom whom, const struct lot *lot);
/* "node-1, node-3" */
void whom_text(uint32_t mask, char *text, size_t size);

/* ---- cables ---- */

struct cut {
    uint32_t n;
    bool gone[NODES_MAX][NODES_MAX]; /* what the first sends to the second vanishes */
};

enum cut_shape {
    CUT_ONE,     /* one node is alone */
    CUT_LEADER,  /* the leader is alone; its clients still reach it */
    CUT_MUTE,    /* nobody hears one node */
    CUT_DEAF,    /* one node hears nobody */
    CUT_HALVES,  /* two halves, the smaller first */
    CUT_ONE_WAY, /* the larger half does not hear the smaller */
    CUT_THIRD,   /* at most a third is apart */
    CUT_BRIDGE,  /* two halves that both see one node, and nobody else of the other half */
    CUT_RING,    /* everybody sees a majority, no two the same (five nodes or more) */
    CUT_SWIZZLE, /* a random set goes one by one, and returns in another order: cut_swizzle() */
    CUT_NR
};
extern const char *const cut_names[CUT_NR + 1];
/* False: not with so many nodes, or nobody leads.  A swizzle begins with nothing cut. */
bool cut_make(enum cut_shape shape, const struct lot *lot, struct cut *cut, char *text, size_t size);

/* Who takes part in a swizzle: two nodes or more. */
uint32_t cut_members(const struct lot *lot);
/* A swizzle at a part of its time, 0 .. 1000: who is alone then.  `going` and `coming` give the two orders.
 */
uint32_t cut_swizzle(const struct lot *going, const struct lot *coming, uint32_t members, uint32_t permille);
struct cut cut_alone(uint32_t n, uint32_t mask); /* each node of the set is cut off from everybody */

#endif
