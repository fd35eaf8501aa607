/* Framed TCP between peers over libuv: one connection each way per peer, bounded queues, reconnect with
 * back-off.
 *
 * We write on the connection we opened and read on the one the peer opened.  The first frame each way is
 * HELLO; a frame of another cluster, incarnation or version, or one that is not for us, is refused with an
 * event that gives the reason and the connection is closed.  A link is up once the peer answered our HELLO.
 * A peer that vanished without a word is noticed by TCP keepalive and TCP_USER_TIMEOUT. */
#ifndef RAFTLOG_TRANSPORT_H
#define RAFTLOG_TRANSPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "message.h"
#include "raftlog.h"

struct transport;

struct transport_config {
    uint64_t id, cluster_id,
        incarnation;       /* cluster_id 0: adopt the first valid HELLO that is addressed to us */
    const char *listen;    /* host:port; port 0 picks one */
    const char *advertise; /* our address as peers know it */
    struct assent_bytes advert;
    uint64_t
        queue_bytes_max; /* per peer; beyond it messages are dropped (Raft tolerates it); default 64 MiB */
    uint32_t hello_timeout_ms; /* a connection that has not said HELLO by then is closed; default 2000 */
    uint32_t reconnect_min_ms, reconnect_max_ms; /* back-off; defaults 20 and 1000 */
    uint32_t connections_max;                    /* inbound; default 4 * ASSENT_NODES_MAX */
};

struct transport_callbacks {
    void *data;
    /* A decoded message; borrowed until return.  `address` is the sender's, from its HELLO. */
    void (*message)(void *data, const struct message *message, const char *address);
    /* A joining node learnt its cluster; make it durable.  Non-zero refuses. */
    int (*adopt)(void *data, uint64_t cluster_id, uint64_t incarnation);
    /* Our connection to a peer came up or went down. */
    void (*link)(void *data, uint64_t id, bool up);
    void (*event)(void *data, int level, const char *event, const char *details);
};

int transport_open(struct transport **t, uv_loop_t *loop, const struct transport_config *config,
                   const struct transport_callbacks *callbacks, char *err, size_t err_size);
/* The bound port. */
int transport_port(const struct transport *t);
/* Keep a connection to this peer (idempotent; a changed address reconnects). */
void transport_connect(struct transport *t, uint64_t id, const char *address);
void transport_disconnect(struct transport *t, uint64_t id);
/* Send; borrows until return (entries by reference, byte fields are copied).  UNREACHABLE, BUSY, NOMEM:
 * dropped. What is sent in one turn of the loop leaves in as few writes as possible before the loop sleeps;
 * order is kept except that CHUNK frames give way to all others. */
int transport_send(struct transport *t, uint64_t to, const struct message *message);
/* Write what waits now instead of at the end of the loop turn. */
void transport_flush(struct transport *t);
bool transport_connected(const struct transport *t, uint64_t id);
/* What the peer advertised, from its newest HELLO; empty if never heard. */
struct assent_bytes transport_advert(const struct transport *t, uint64_t id);
void transport_metrics(const struct transport *t, struct raftlog_metrics *m);
void transport_close(struct transport *t, void (*closed)(void *data), void *data);

#endif /* RAFTLOG_TRANSPORT_H */
