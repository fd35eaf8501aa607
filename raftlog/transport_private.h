/* What the files of the transport share: struct transport, and a peer's slot in it.
 *
 *   transport.c   who may speak to us; listening, sending, closing
 *   peer.c        the connection we keep to each peer
 *   connection.c  one framed TCP connection (knows neither) */
#ifndef RAFTLOG_TRANSPORT_PRIVATE_H
#define RAFTLOG_TRANSPORT_PRIVATE_H

#include "connection.h"
#include "transport.h"

/* Members, and strangers that wait to become or were some. */
#define PEERS_MAX (2 * ASSENT_NODES_MAX)

enum peer_state { PEER_IDLE, PEER_RESOLVING, PEER_CONNECTING, PEER_GREETING, PEER_UP, PEER_WAITING };

struct peer {
    struct transport *t;
    uint64_t id; /* 0: the slot is free */
    enum peer_state state;
    bool wanted;
    bool silent; /* a failure was logged already; the next success ends that */
    char address[MESSAGE_ADDRESS_BYTES_MAX + 1];
    struct connection *out, *in;
    struct resolve *resolve;
    uv_timer_t retry;
    uint32_t backoff_ms;
    char speaks_from[MESSAGE_ADDRESS_BYTES_MAX + 1]; /* of its newest HELLO */
    uint8_t advert[MESSAGE_ADVERT_BYTES_MAX];
    size_t advert_size;
};

/* A name being looked up; outlives the peer's interest in it. */
struct resolve {
    uv_getaddrinfo_t req;
    struct transport *t;
    struct peer *peer; /* NULL: nobody waits any more */
};

struct transport {
    uv_loop_t *loop;
    struct transport_config config;
    char advertise[MESSAGE_ADDRESS_BYTES_MAX + 1];
    uint8_t advert[MESSAGE_ADVERT_BYTES_MAX];
    struct transport_callbacks callbacks;
    uv_tcp_t listener;
    uv_prepare_t flusher;
    int port;
    uint32_t pending; /* handles, connections and look-ups that must end before the memory goes */
    bool closing, dirty;
    struct connection_shared shared;
    struct peer *peers[PEERS_MAX];
    uint32_t peers_n;
    struct connection **inbound;
    uint32_t inbound_n;
    uint64_t refused_since_ms;
    uint32_t refused_n;
    uint64_t random;
    void (*closed)(void *data);
    void *closed_data;
};

/* transport.c */
void transport_event(struct transport *t, int level, const char *name, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* A connection at rest that counts towards closing; NULL: out of memory. */
struct connection *transport_connection(struct transport *t);
/* How long nothing may be acknowledged before a connection counts as dead. */
uint32_t transport_silence_ms(const struct transport *t);
void transport_hello(struct transport *t, struct connection *c, uint64_t to);
/* NULL: the HELLO is acceptable.  Otherwise why not. */
const char *transport_hello_refusal(const struct transport *t, const struct message *m);
/* One thing that closing waits for has ended; the last one frees. */
void transport_settle(struct transport *t);

/* peer.c */
struct peer *peer_find(const struct transport *t, uint64_t id);
/* The slot of a peer, made if there is room.  NULL: too many nodes, or out of memory. */
struct peer *peer_make(struct transport *t, uint64_t id);
/* Begin to connect, unless something is under way or we do not know our cluster yet. */
void peer_try(struct peer *p);
/* The peer answered our HELLO. */
void peer_greeted(struct peer *p, const struct message *m);
/* Our connection is gone or never came up: forget it, wait, try again. */
void peer_down(struct peer *p, const char *reason);
/* host:port or [v6]:port into its parts. */
bool peer_address_split(const char *address, char *host, size_t host_size, char *port, size_t port_size);
/* An address that needs no look-up. */
bool peer_address_numeric(const char *host, const char *port, struct sockaddr_storage *out);

#endif /* RAFTLOG_TRANSPORT_PRIVATE_H */
