/* Faults of nodes, disks, links and clocks in the simulation.  Private. */
#ifndef TESTS_SIM_FAULTS_H
#define TESTS_SIM_FAULTS_H

#include "world.h"

/* One round: at most one fault. */
void faults_round(struct world *w);
/* The operator of a machine that is being replaced takes the next step. */
void faults_operate(struct world *w);
/* A node's process has ended: it is started again later. */
void faults_died(struct sim_node *n);
/* See cluster_app.installing. */
void faults_installing(void *data, uint32_t node, uint64_t index);
/* No more faults; all servers, or a majority of them, work as they should from now on. */
void faults_heal(struct world *w);
/* Is there a leader, and has every server of its configuration that lives applied everything? */
bool faults_healed(struct world *w);

#endif /* TESTS_SIM_FAULTS_H */
