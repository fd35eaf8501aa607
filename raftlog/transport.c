/* Who may speak to us: listening, greetings and their refusal, sending, closing.
 *
 * A connection a peer opened is read only; it speaks for nobody until its HELLO was accepted. */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport_private.h"

#define QUEUE_BYTES_MAX  (64ull * 1024 * 1024)
#define HELLO_TIMEOUT_MS 2000
#define RECONNECT_MIN_MS 20
#define RECONNECT_MAX_MS 1000
#define BACKLOG          128
/* Connections of strangers are logged, but a port scan may not fill the log. */
#define REFUSALS_LOGGED    20
#define REFUSALS_WINDOW_MS 10000

/* ---- small things ---- */

void transport_event(struct transport *t, int level, const char *name, const char *format, ...)
{
    char details[512];
    va_list args;
    va_start(args, format);
    vsnprintf(details, sizeof details, format, args);
    va_end(args);
    t->callbacks.event(t->callbacks.data, level, name, details);
}

void transport_settle(struct transport *t)
{
    assert(t->pending > 0);
    if (--t->pending > 0) {
        return;
    }
    void (*closed)(void *) = t->closed;
    void *data = t->closed_data;
    for (uint32_t i = 0; i < t->peers_n; i++) {
        free(t->peers[i]);
    }
    connection_shared_close(&t->shared);
    free(t->inbound);
    free(t);
    if (closed != NULL) {
        closed(data);
    }
}

static void on_handle_closed(uv_handle_t *handle)
{
    transport_settle(handle->data);
}

/* ---- connections of either direction ---- */

static void on_message(struct connection *c, struct message *m);
static void on_failed(struct connection *c, const char *reason, bool hostile);
static void on_timeout(struct connection *c);

static void on_connection_closed(struct connection *c)
{
    transport_settle(c->owner);
}

static const struct connection_callbacks connection_callbacks = {
    .message = on_message, .failed = on_failed, .timeout = on_timeout, .closed = on_connection_closed};

struct connection *transport_connection(struct transport *t)
{
    struct connection *c = connection_new(t->loop, &t->shared, &connection_callbacks, t);
    if (c != NULL) {
        t->pending++;
    }
    return c;
}

uint32_t transport_silence_ms(const struct transport *t)
{
    return t->config.hello_timeout_ms + t->config.hello_timeout_ms / 2;
}

void transport_hello(struct transport *t, struct connection *c, uint64_t to)
{
    struct message m = {.type = MESSAGE_HELLO,
                        .hello = {.cluster_id = t->config.cluster_id,
                                  .incarnation = t->config.incarnation,
                                  .from = t->config.id,
                                  .to = to,
                                  .address = {(const uint8_t *)t->advertise, strlen(t->advertise)},
                                  .advert = t->config.advert}};
    if (connection_send(c, &m, UINT64_MAX) == 0) {
        connection_flush(c);
    }
}

const char *transport_hello_refusal(const struct transport *t, const struct message *m)
{
    if (m->hello.to != t->config.id) {
        return "it looks for another node";
    }
    if (m->hello.cluster_id == 0) {
        return "it has not joined a cluster yet";
    }
    if (t->config.cluster_id == 0) {
        return NULL; /* adopted by the caller */
    }
    if (m->hello.cluster_id != t->config.cluster_id) {
        return "it belongs to another cluster";
    }
    if (m->hello.incarnation < t->config.incarnation) {
        return "it belongs to an older incarnation of the cluster; wipe it and add it as a new node";
    }
    if (m->hello.incarnation > t->config.incarnation) {
        return "it belongs to a newer incarnation of the cluster; this node must be wiped and added as a new "
               "one";
    }
    return NULL;
}

static void event_refused(struct transport *t, const char *peer, const char *reason)
{
    uint64_t now = uv_now(t->loop);
    if (now - t->refused_since_ms > REFUSALS_WINDOW_MS) {
        t->refused_since_ms = now;
        t->refused_n = 0;
    }
    if (t->refused_n++ < REFUSALS_LOGGED) {
        transport_event(t, 2, "peer_refused", "peer=%s reason=\"%s\"", peer, reason);
    }
}

/* ---- connections peers opened ---- */

static void inbound_close(struct connection *c)
{
    struct transport *t = c->owner;
    struct peer *p = c->peer;
    for (uint32_t i = 0; i < t->inbound_n; i++) {
        if (t->inbound[i] == c) {
            t->inbound[i] = t->inbound[--t->inbound_n];
            break;
        }
    }
    if (p != NULL && p->in == c) {
        p->in = NULL;
    }
    c->peer = NULL;
    connection_close(c);
}

static void peer_name(const struct connection *c, char *out, size_t size)
{
    struct sockaddr_storage address;
    int length = sizeof address;
    char ip[64];
    const struct peer *p = c->peer;
    if (p != NULL) {
        snprintf(out, size, "%llu", (unsigned long long)p->id);
    } else if (uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&address, &length) == 0 &&
               uv_ip_name((struct sockaddr *)&address, ip, sizeof ip) == 0) {
        snprintf(out, size, "%s", ip);
    } else {
        snprintf(out, size, "unknown");
    }
}

static void inbound_refuse(struct connection *c, const char *reason)
{
    char name[64];
    struct transport *t = c->owner;
    peer_name(c, name, sizeof name);
    inbound_close(c);
    event_refused(t, name, reason);
}

/* Does another process speak for the id than before?  A restarted node may say other things of itself, but
 * its old connection has ended by then, or the silence limit ends it. */
static bool another(const struct peer *p, const struct message *m)
{
    return p->advert_size != m->hello.advert.size ||
           (p->advert_size > 0 && memcmp(p->advert, m->hello.advert.base, p->advert_size) != 0);
}

static void inbound_greeted(struct connection *c, const struct message *m)
{
    struct transport *t = c->owner;
    const char *reason = transport_hello_refusal(t, m);
    if (reason == NULL && t->config.cluster_id == 0) {
        if (t->callbacks.adopt(t->callbacks.data, m->hello.cluster_id, m->hello.incarnation) != 0) {
            reason = "its cluster could not be adopted";
        } else {
            t->config.cluster_id = m->hello.cluster_id;
            t->config.incarnation = m->hello.incarnation;
        }
    }
    struct peer *p = reason == NULL ? peer_make(t, m->hello.from) : NULL;
    if (p != NULL && p->in != NULL && another(p, m)) {
        reason = "another process with its id is connected: give every node an id of its own";
    }
    if (p == NULL || reason != NULL) {
        t->shared.messages_refused++;
        if (m->hello.to == t->config.id && m->hello.cluster_id == t->config.cluster_id &&
            m->hello.incarnation < t->config.incarnation) {
            transport_hello(t, c, m->hello.from); /* so that its log, too, says why it is alone */
        }
        inbound_refuse(c, reason != NULL ? reason : "too many nodes");
        return;
    }
    if (p->in != NULL) {
        inbound_close(p->in); /* the peer knows best which connection it uses */
    }
    p->in = c;
    c->peer = p;
    c->greeted = true;
    connection_timeout(c, 0);
    snprintf(p->speaks_from, sizeof p->speaks_from, "%.*s", (int)m->hello.address.size,
             (const char *)m->hello.address.base);
    memcpy(p->advert, m->hello.advert.base != NULL ? m->hello.advert.base : p->advert, m->hello.advert.size);
    p->advert_size = m->hello.advert.size;
    transport_hello(t, c, p->id);
    for (uint32_t i = 0; i < t->peers_n; i++) {
        if (t->peers[i] == p || t->peers[i]->state == PEER_IDLE) {
            peer_try(t->peers[i]); /* it lives: do not wait for the back-off; or we have just joined */
        }
    }
}

static void on_inbound(uv_stream_t *listener, int status)
{
    struct transport *t = listener->data;
    if (status != 0 || t->closing) {
        return;
    }
    struct connection *c = transport_connection(t);
    if (c == NULL) {
        return; /* libuv keeps the socket and asks again */
    }
    int rv = uv_accept(listener, (uv_stream_t *)&c->tcp);
    if (rv == 0 && t->inbound_n == t->config.connections_max) {
        inbound_refuse(c, "too many connections");
        return;
    }
    if (rv == 0) {
        rv = connection_begin(c, transport_silence_ms(t));
    }
    if (rv != 0) {
        connection_close(c);
        return;
    }
    t->inbound[t->inbound_n++] = c;
    connection_timeout(c, t->config.hello_timeout_ms);
}

/* ---- what connections tell us ---- */

static void on_message(struct connection *c, struct message *m)
{
    struct transport *t = c->owner;
    struct peer *p = c->peer;
    if (!c->greeted && m->type == MESSAGE_HELLO) {
        if (c->outbound) {
            peer_greeted(p, m);
        } else {
            inbound_greeted(c, m);
        }
        return;
    }
    m->from = p->id;
    if (c->outbound || m->type == MESSAGE_HELLO ||
        (m->type == MESSAGE_RAFT && m->raft.raft.type == RAFT_REQUEST_VOTE &&
         m->raft.raft.request_vote.candidate_id != m->from)) {
        t->shared.messages_refused++;
        on_failed(c, "a message that does not belong here", true);
        return;
    }
    t->callbacks.message(t->callbacks.data, m, p->speaks_from);
}

static void on_failed(struct connection *c, const char *reason, bool hostile)
{
    struct peer *p = c->peer;
    if (c->outbound) {
        peer_down(p, reason);
    } else if (hostile || !c->greeted) {
        inbound_refuse(c, reason);
    } else {
        inbound_close(c); /* the peer restarted or reconnects */
    }
}

static void on_timeout(struct connection *c)
{
    struct peer *p = c->peer;
    if (c->outbound) {
        peer_down(p, p->state == PEER_CONNECTING ? "connecting took too long" : "no HELLO in answer to ours");
    } else {
        inbound_refuse(c, "no HELLO in time");
    }
}

static void on_prepare(uv_prepare_t *handle)
{
    transport_flush(handle->data);
}

/* ---- the public face ---- */

static void take_config(struct transport *t, const struct transport_config *config)
{
    t->config = *config;
    snprintf(t->advertise, sizeof t->advertise, "%s", config->advertise);
    assert(config->advert.size <= sizeof t->advert);
    if (config->advert.size > 0) {
        memcpy(t->advert, config->advert.base, config->advert.size);
    }
    t->config.advertise = t->advertise;
    t->config.listen = NULL;
    t->config.advert.base = t->advert;
    t->config.queue_bytes_max = config->queue_bytes_max != 0 ? config->queue_bytes_max : QUEUE_BYTES_MAX;
    t->config.hello_timeout_ms = config->hello_timeout_ms != 0 ? config->hello_timeout_ms : HELLO_TIMEOUT_MS;
    t->config.reconnect_min_ms = config->reconnect_min_ms != 0 ? config->reconnect_min_ms : RECONNECT_MIN_MS;
    t->config.reconnect_max_ms = config->reconnect_max_ms != 0 ? config->reconnect_max_ms : RECONNECT_MAX_MS;
    t->config.connections_max = config->connections_max != 0 ? config->connections_max : 4 * ASSENT_NODES_MAX;
    t->random = (uv_hrtime() ^ config->id * 0x9e3779b97f4a7c15u) | 1;
}

/* Bind and listen; blocks for the look-up of a name (start only). */
static int begin_listen(struct transport *t, const char *listen, char *err, size_t err_size)
{
    char host[MESSAGE_ADDRESS_BYTES_MAX + 1], port[8];
    struct sockaddr_storage address;
    int length = sizeof address, rv = 0;
    if (!peer_address_split(listen, host, sizeof host, port, sizeof port)) {
        snprintf(err, err_size, "cannot listen for peers on '%s': write it as host:port", listen);
        return ASSENT_INVALID;
    }
    if (!peer_address_numeric(host, port, &address)) {
        struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
        uv_getaddrinfo_t req;
        rv = uv_getaddrinfo(t->loop, &req, NULL, host, port, &hints);
        if (rv == 0) {
            memcpy(&address, req.addrinfo->ai_addr, req.addrinfo->ai_addrlen);
            uv_freeaddrinfo(req.addrinfo);
        }
    }
    if (rv == 0) {
        rv = uv_tcp_bind(&t->listener, (struct sockaddr *)&address, 0);
    }
    if (rv == 0) {
        rv = uv_listen((uv_stream_t *)&t->listener, BACKLOG, on_inbound);
    }
    if (rv == 0) {
        rv = uv_tcp_getsockname(&t->listener, (struct sockaddr *)&address, &length);
    }
    if (rv != 0) {
        snprintf(err, err_size, "cannot listen for peers on %s: %s", listen, uv_strerror(rv));
        return ASSENT_IO;
    }
    t->port = ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                                  : ((struct sockaddr_in *)&address)->sin_port);
    return 0;
}

int transport_open(struct transport **out, uv_loop_t *loop, const struct transport_config *config,
                   const struct transport_callbacks *callbacks, char *err, size_t err_size)
{
    assert(config->id != 0);
    struct transport *t = calloc(1, sizeof *t);
    if (t == NULL || connection_shared_init(&t->shared) != 0) {
        free(t);
        snprintf(err, err_size, "out of memory");
        return ASSENT_NOMEM;
    }
    t->loop = loop;
    t->callbacks = *callbacks;
    take_config(t, config);
    t->inbound = calloc(t->config.connections_max, sizeof(struct connection *));
    if (t->inbound == NULL) {
        connection_shared_close(&t->shared);
        free(t);
        snprintf(err, err_size, "out of memory");
        return ASSENT_NOMEM;
    }
    int rv = uv_tcp_init(loop, &t->listener);
    assert(rv == 0);
    rv = uv_prepare_init(loop, &t->flusher);
    assert(rv == 0);
    t->listener.data = t;
    t->flusher.data = t;
    t->pending = 2;
    rv = begin_listen(t, config->listen, err, err_size);
    if (rv == 0) {
        rv = uv_prepare_start(&t->flusher, on_prepare);
        assert(rv == 0);
        uv_unref((uv_handle_t *)&t->flusher);
        *out = t;
        return 0;
    }
    transport_close(t, NULL, NULL); /* the handles end with the loop's next turn */
    return rv;
}

int transport_port(const struct transport *t)
{
    return t->port;
}

void transport_connect(struct transport *t, uint64_t id, const char *address)
{
    assert(!t->closing && id != 0);
    struct peer *p = id != t->config.id ? peer_make(t, id) : NULL;
    if (p == NULL || (p->wanted && strcmp(p->address, address) == 0)) {
        return;
    }
    if (p->wanted) {
        transport_disconnect(t, id);
    }
    snprintf(p->address, sizeof p->address, "%s", address);
    p->wanted = true;
    p->backoff_ms = 0;
    peer_try(p);
}

void transport_disconnect(struct transport *t, uint64_t id)
{
    struct peer *p = peer_find(t, id);
    if (p != NULL && p->wanted) {
        p->wanted = false;
        p->silent = false;
        peer_down(p, "disconnected");
    }
}

int transport_send(struct transport *t, uint64_t to, const struct message *message)
{
    struct peer *p = peer_find(t, to);
    if (p == NULL || p->state != PEER_UP) {
        return ASSENT_UNREACHABLE;
    }
    t->dirty = true;
    return connection_send(p->out, message, t->config.queue_bytes_max);
}

void transport_flush(struct transport *t)
{
    if (!t->dirty) {
        return;
    }
    t->dirty = false;
    for (uint32_t i = 0; i < t->peers_n; i++) {
        struct peer *p = t->peers[i];
        if (p->state == PEER_UP) {
            connection_flush(p->out);
        }
    }
}

bool transport_connected(const struct transport *t, uint64_t id)
{
    const struct peer *p = peer_find(t, id);
    return p != NULL && p->state == PEER_UP;
}

struct assent_bytes transport_advert(const struct transport *t, uint64_t id)
{
    const struct peer *p = peer_find(t, id);
    return p != NULL ? (struct assent_bytes){p->advert, p->advert_size} : (struct assent_bytes){NULL, 0};
}

void transport_metrics(const struct transport *t, struct raftlog_metrics *m)
{
    m->messages_sent = t->shared.messages_sent;
    m->messages_received = t->shared.messages_received;
    m->messages_refused = t->shared.messages_refused;
    m->bytes_sent = t->shared.bytes_sent;
    m->bytes_received = t->shared.bytes_received;
}

static void on_peer_timer_closed(uv_handle_t *handle)
{
    struct peer *p = handle->data;
    transport_settle(p->t);
}

void transport_close(struct transport *t, void (*closed)(void *data), void *data)
{
    assert(!t->closing);
    t->closed = closed;
    t->closed_data = data;
    transport_flush(t); /* last words, as far as the sockets take them */
    t->closing = true;
    while (t->inbound_n > 0) {
        inbound_close(t->inbound[t->inbound_n - 1]);
    }
    for (uint32_t i = 0; i < t->peers_n; i++) {
        struct peer *p = t->peers[i];
        p->wanted = false;
        if (p->state != PEER_IDLE) {
            p->state = p->state == PEER_UP ? PEER_GREETING : p->state; /* no more callbacks */
            peer_down(p, "closing");
        }
        uv_close((uv_handle_t *)&p->retry, on_peer_timer_closed);
    }
    uv_close((uv_handle_t *)&t->listener, on_handle_closed);
    uv_close((uv_handle_t *)&t->flusher, on_handle_closed);
}
