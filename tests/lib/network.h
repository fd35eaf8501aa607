/* Network namespaces for the nodes of a test: cables that can be pulled without anybody being told.
 *
 * Every node gets a namespace without a name, with two cables to the test's own: `peers` goes to a bridge
 * that connects the nodes, `clients` lets the test talk to the node whatever happens to the peers.  The
 * namespaces live as long as their processes do, so nothing stays behind however the test ends.  Needs root.
 */
#ifndef TESTS_NETWORK_H
#define TESTS_NETWORK_H

#include "cluster.h"

struct network {
    struct cluster *cluster;
    pid_t keepers[CLUSTER_NODES_MAX]; /* one sleeping process per namespace */
};

/* Move this process into a namespace of its own, then give each node of `c` (not yet started) one.  False:
 * not possible here; `why` says what is missing. */
bool network_open(struct network *n, struct cluster *c, char *why, size_t why_size);
/* Ends the keepers; the nodes are stopped by cluster_close(). */
void network_close(struct network *n);

/* Pull a node's cable to its peers, or put it back.  Packets vanish: no reset, no loss of carrier. */
void network_cut(struct network *n, const struct cluster_node *node, bool cut);
/* What `from` sends to `to` vanishes; the other direction stays as it is. */
void network_deafen(struct network *n, const struct cluster_node *from, const struct cluster_node *to,
                    bool deaf);

#endif /* TESTS_NETWORK_H */
