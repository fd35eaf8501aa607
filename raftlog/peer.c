/* The connection we keep to a peer:
 *
 *     IDLE --peer_try()--> RESOLVING --> CONNECTING --> GREETING --HELLO answered--> UP
 *      ^                        \____________\_____________\____________________/
 *      |                                     failed, closed, too late
 *      \--not wanted any more-- WAITING <-----/      (back-off, doubling, with jitter) */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport_private.h"

/* ---- slots and addresses ---- */

struct peer *peer_find(const struct transport *t, uint64_t id)
{
    for (uint32_t i = 0; i < t->peers_n; i++) {
        if (t->peers[i]->id == id) {
            return t->peers[i];
        }
    }
    return NULL;
}

struct peer *peer_make(struct transport *t, uint64_t id)
{
    struct peer *p = peer_find(t, id);
    if (p != NULL) {
        return p;
    }
    for (uint32_t i = 0; i < t->peers_n && p == NULL; i++) {
        struct peer *old = t->peers[i];
        if (t->peers_n == PEERS_MAX && !old->wanted && old->in == NULL && old->out == NULL &&
            old->resolve == NULL) {
            p = old; /* a stranger that left */
            p->advert_size = 0;
            p->speaks_from[0] = '\0';
            p->backoff_ms = 0;
            p->silent = false;
        }
    }
    if (p == NULL && t->peers_n < PEERS_MAX) {
        p = calloc(1, sizeof *p);
        if (p == NULL) {
            return NULL;
        }
        p->t = t;
        int rv = uv_timer_init(t->loop, &p->retry);
        assert(rv == 0);
        p->retry.data = p;
        t->peers[t->peers_n++] = p;
        t->pending++;
    }
    if (p != NULL) {
        p->id = id;
    }
    return p;
}

bool peer_address_split(const char *address, char *host, size_t host_size, char *port, size_t port_size)
{
    const char *colon = strrchr(address, ':');
    if (colon == NULL) {
        return false;
    }
    size_t host_length = (size_t)(colon - address);
    if (host_length >= 2 && address[0] == '[' && colon[-1] == ']') {
        address++;
        host_length -= 2;
    }
    if (host_length == 0 || host_length >= host_size || strlen(colon + 1) == 0 ||
        strlen(colon + 1) >= port_size) {
        return false;
    }
    memcpy(host, address, host_length);
    host[host_length] = '\0';
    memcpy(port, colon + 1, strlen(colon + 1) + 1);
    return strspn(port, "0123456789") == strlen(port) && strtoul(port, NULL, 10) <= 65535;
}

bool peer_address_numeric(const char *host, const char *port, struct sockaddr_storage *out)
{
    int number = (int)strtol(port, NULL, 10);
    return uv_ip4_addr(host, number, (struct sockaddr_in *)out) == 0 ||
           uv_ip6_addr(host, number, (struct sockaddr_in6 *)out) == 0;
}

/* ---- connecting ---- */

/* xorshift64: spreads reconnects; nothing depends on its quality. */
static uint32_t jitter(struct transport *t, uint32_t below)
{
    t->random ^= t->random << 13;
    t->random ^= t->random >> 7;
    t->random ^= t->random << 17;
    return (uint32_t)(t->random % below);
}

static void on_retry(uv_timer_t *timer)
{
    struct peer *p = timer->data;
    p->state = PEER_IDLE;
    peer_try(p);
}

void peer_down(struct peer *p, const char *reason)
{
    struct transport *t = p->t;
    bool was_up = p->state == PEER_UP;
    if (p->out != NULL) {
        connection_close(p->out);
        p->out->peer = NULL;
        p->out = NULL;
    }
    if (p->resolve != NULL) {
        p->resolve->peer = NULL;
        (void)uv_cancel((uv_req_t *)&p->resolve->req);
        p->resolve = NULL;
    }
    uv_timer_stop(&p->retry);
    p->state = PEER_IDLE;
    if (p->wanted && !t->closing) {
        p->state = PEER_WAITING;
        p->backoff_ms = p->backoff_ms == 0 ? t->config.reconnect_min_ms : 2 * p->backoff_ms;
        if (p->backoff_ms > t->config.reconnect_max_ms) {
            p->backoff_ms = t->config.reconnect_max_ms;
        }
        uint32_t wait_ms = p->backoff_ms / 2 + jitter(t, p->backoff_ms / 2 + 1);
        int rv = uv_timer_start(&p->retry, on_retry, wait_ms, 0);
        assert(rv == 0);
        if (was_up || !p->silent) {
            p->silent = true;
            transport_event(t, 2, "peer_unreachable", "peer=%llu address=%s reason=\"%s\"",
                            (unsigned long long)p->id, p->address, reason);
        }
    }
    if (was_up) {
        t->callbacks.link(t->callbacks.data, p->id, false);
    }
}

static void on_connected(uv_connect_t *req, int status)
{
    struct connection *c = req->data;
    struct peer *p = c->peer;
    free(req);
    if (p == NULL || c->closing) {
        return; /* given up meanwhile */
    }
    int rv = status != 0 ? status : connection_begin(c, transport_silence_ms(p->t));
    if (rv != 0) {
        peer_down(p, uv_strerror(rv));
        return;
    }
    p->state = PEER_GREETING;
    transport_hello(p->t, c, p->id);
}

static void peer_connect(struct peer *p, const struct sockaddr *address)
{
    struct connection *c = transport_connection(p->t);
    uv_connect_t *req = malloc(sizeof *req);
    if (c == NULL || req == NULL) {
        if (c != NULL) {
            connection_close(c);
        }
        free(req);
        peer_down(p, "out of memory");
        return;
    }
    c->outbound = true;
    c->peer = p;
    p->out = c;
    p->state = PEER_CONNECTING;
    req->data = c;
    connection_timeout(c, p->t->config.hello_timeout_ms);
    int rv = uv_tcp_connect(req, &c->tcp, address, on_connected);
    if (rv != 0) {
        free(req);
        peer_down(p, uv_strerror(rv));
    }
}

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *found)
{
    struct resolve *r = req->data;
    struct peer *p = r->peer;
    if (p != NULL) {
        p->resolve = NULL;
        if (status != 0 || found == NULL) {
            peer_down(p, status != 0 ? uv_strerror(status) : "the name has no address");
        } else {
            peer_connect(p, found->ai_addr);
        }
    }
    uv_freeaddrinfo(found);
    struct transport *t = r->t;
    free(r);
    transport_settle(t);
}

static void peer_resolve(struct peer *p, const char *host, const char *port)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct resolve *r = malloc(sizeof *r);
    if (r == NULL) {
        peer_down(p, "out of memory");
        return;
    }
    *r = (struct resolve){.t = p->t, .peer = p};
    r->req.data = r;
    int rv = uv_getaddrinfo(p->t->loop, &r->req, on_resolved, host, port, &hints);
    if (rv != 0) {
        free(r);
        peer_down(p, uv_strerror(rv));
        return;
    }
    p->t->pending++;
    p->resolve = r;
    p->state = PEER_RESOLVING;
}

void peer_try(struct peer *p)
{
    char host[MESSAGE_ADDRESS_BYTES_MAX + 1], port[8];
    struct sockaddr_storage address;
    if (!p->wanted || p->t->closing || p->t->config.cluster_id == 0 ||
        (p->state != PEER_IDLE && p->state != PEER_WAITING)) {
        return;
    }
    uv_timer_stop(&p->retry);
    if (!peer_address_split(p->address, host, sizeof host, port, sizeof port)) {
        peer_down(p, "the address is not host:port");
    } else if (peer_address_numeric(host, port, &address)) {
        peer_connect(p, (struct sockaddr *)&address);
    } else {
        peer_resolve(p, host, port);
    }
}

void peer_greeted(struct peer *p, const struct message *m)
{
    struct transport *t = p->t;
    const char *reason = transport_hello_refusal(t, m);
    if (reason == NULL && m->hello.from != p->id) {
        reason = "another node answers at this address";
    }
    if (reason != NULL) {
        peer_down(p, reason);
        return;
    }
    connection_timeout(p->out, 0);
    p->out->greeted = true;
    p->state = PEER_UP;
    p->backoff_ms = 0;
    p->silent = false;
    transport_event(t, 1, "peer_connected", "peer=%llu address=%s", (unsigned long long)p->id, p->address);
    t->callbacks.link(t->callbacks.data, p->id, true);
}
