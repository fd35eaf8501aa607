/* HTTP load: one loop, N keep-alive connections, each with one request under way.  The requests are made
 * once; of an answer it reads the status and the length.  It shares two cores with three nodes, so it does no
 * more. */
#include "assent_bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD_BYTES_MAX 4096

static const struct {
    const char *name, *method, *path, *body;
} ops[] = {
    {"tick", "POST", "/api/v1/lamport/tick", "{\"clock\":\"bench\"}"},
    {"current", "GET", "/api/v1/lamport/current?clock=bench", ""},
    {"sync", "POST", "/api/v1/lamport/sync", "{\"clock\":\"bench\",\"received\":1}"},
    {"sequence", "POST", "/api/v1/sequence/bench", "{}"},
    {"vector", "POST", "/api/v1/vector-clock/tick", "{\"clock\":\"bench\",\"node\":\"n1\"}"},
    {"tso", "POST", "/api/v1/tso", "{\"count\":1}"},
    {"begin", "POST", "/api/v1/transaction/begin", "{}"},
    {"livez", "GET", "/livez", ""},
    {"etcd-put", "POST", "/v3/kv/put", "{\"key\":\"YmVuY2g=\",\"value\":\"dmFsdWU=\"}"},
};

struct connection {
    int fd;
    uint32_t have;    /* bytes in `head` */
    bool in_body;     /* the head is complete */
    bool ok;          /* status 200 */
    bool keep;        /* the connection stays open after this answer */
    uint64_t left;    /* bytes of the body still to come */
    uint64_t started; /* when the request was sent */
    const char *address;
    const char *request;
    size_t request_size;
    char head[HEAD_BYTES_MAX + 1];
};

struct load {
    int epoll;
    struct bench_result *r;
    bool measuring;
    struct connection *connections;
    uint32_t n, alive;
    char requests[BENCH_ENDPOINTS_MAX][512];
    struct bench_address endpoints[BENCH_ENDPOINTS_MAX];
};

static bool send_request(struct connection *c, uint64_t now)
{
    c->have = 0;
    c->in_body = false;
    c->started = now;
    /* A request is far smaller than an empty socket buffer: a short send means the peer is gone. */
    return send(c->fd, c->request, c->request_size, MSG_NOSIGNAL) == (ssize_t)c->request_size;
}

static void open_connection(struct load *l, struct connection *c)
{
    c->fd = bench_connect(c->address);
    if (c->fd < 0) {
        return;
    }
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &event);
    l->alive++;
}

static void lose_connection(struct load *l, struct connection *c)
{
    close(c->fd); /* leaves the epoll set too */
    c->fd = -1;
    l->alive--;
}

/* Status and length from a complete head. */
static bool read_head(struct connection *c, char *end)
{
    bool found = false;
    *end = '\0';
    c->ok = c->have > 12 && memcmp(c->head, "HTTP/1.1 200", 12) == 0;
    c->keep = true;
    for (char *line = strstr(c->head, "\r\n"); line != NULL; line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, "content-length:", 15) == 0) {
            c->left = strtoull(line + 17, NULL, 10);
            found = true;
        } else if (strncasecmp(line + 2, "connection: close", 17) == 0) {
            c->keep = false;
        }
    }
    c->in_body = true;
    return found;
}

/* An answer is complete: count it, ask again. */
static bool finish(struct load *l, struct connection *c)
{
    uint64_t now = bench_now();
    if (l->measuring && c->ok) {
        l->r->done++;
        histogram_add(&l->r->latency, now - c->started);
    } else if (l->measuring) {
        l->r->errors++;
    }
    return c->keep && send_request(c, now);
}

/* False: the connection is of no more use. */
static bool read_answer(struct load *l, struct connection *c)
{
    static char sink[65536];
    char *to = c->in_body ? sink : c->head + c->have;
    size_t room = c->in_body ? sizeof sink : HEAD_BYTES_MAX - c->have;
    ssize_t got = room == 0 ? 0 : recv(c->fd, to, room, 0);
    if (got < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    if (got == 0) {
        return false;
    }
    if (!c->in_body) {
        c->have += (uint32_t)got;
        c->head[c->have] = '\0';
        char *end = strstr(c->head, "\r\n\r\n");
        if (end == NULL) {
            return c->have < HEAD_BYTES_MAX;
        }
        got = c->head + c->have - (end + 4);
        if (!read_head(c, end)) {
            return false;
        }
    }
    if ((uint64_t)got > c->left) {
        return false; /* more than was asked for */
    }
    c->left -= (uint64_t)got;
    return c->left > 0 || finish(l, c);
}

static void prepare(struct load *l, const struct bench_options *o)
{
    size_t op = 0;
    while (op < sizeof ops / sizeof ops[0] && strcmp(ops[op].name, o->op) != 0) {
        op++;
    }
    if (op == sizeof ops / sizeof ops[0]) {
        bench_die("no operation '%s'", o->op);
    }
    uint32_t n = bench_addresses(o->endpoints, l->endpoints);
    if (!o->spread) {
        struct bench_address leader;
        uint64_t id;
        if (!bench_leader(l->endpoints, n, 10000, &id, &leader)) {
            bench_die("no endpoint knows a leader");
        }
        l->endpoints[0] = leader;
        n = 1;
    }
    for (uint32_t i = 0; i < n; i++) {
        snprintf(l->requests[i], sizeof l->requests[i],
                 "%s %s HTTP/1.1\r\nHost: %s\r\n%sContent-Length: %zu\r\n\r\n%s", ops[op].method,
                 ops[op].path, l->endpoints[i].text,
                 ops[op].body[0] != '\0' ? "Content-Type: application/json\r\n" : "", strlen(ops[op].body),
                 ops[op].body);
    }
    for (uint32_t i = 0; i < l->n; i++) {
        struct connection *c = &l->connections[i];
        c->fd = -1;
        c->address = l->endpoints[i % n].text;
        c->request = l->requests[i % n];
        c->request_size = strlen(c->request);
    }
}

/* Open what is closed: at the start all, later what was lost. */
static void connect_all(struct load *l)
{
    for (uint32_t i = 0; i < l->n; i++) {
        struct connection *c = &l->connections[i];
        if (c->fd < 0) {
            open_connection(l, c);
            if (c->fd >= 0 && !send_request(c, bench_now())) {
                lose_connection(l, c);
            }
        }
    }
}

static void loop(struct load *l, uint64_t until)
{
    struct epoll_event events[256];
    uint64_t reconnect = 0;
    for (uint64_t now = bench_now(); now < until && !bench_stopped(); now = bench_now()) {
        if (l->alive < l->n && now >= reconnect) {
            connect_all(l);
            reconnect = now + 20000000; /* 20 ms: a dead node is not hammered */
        }
        int n = epoll_wait(l->epoll, events, 256, 20);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (!read_answer(l, c)) {
                l->r->errors += l->measuring && !(c->in_body && c->left == 0 && !c->keep);
                lose_connection(l, c);
            }
        }
    }
}

void bench_http(const struct bench_options *o, struct bench_result *r)
{
    struct load *l = calloc(1, sizeof *l);
    memset(r, 0, sizeof *r);
    l->r = r;
    l->n = o->connections;
    l->connections = calloc(l->n, sizeof *l->connections);
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    prepare(l, o);
    loop(l, bench_now() + (uint64_t)(o->warmup_seconds * 1e9));
    uint64_t start = bench_now();
    l->measuring = true;
    loop(l, start + (uint64_t)(o->seconds * 1e9));
    r->seconds = (double)(bench_now() - start) / 1e9;
    r->units = r->done;
    r->per_second = r->seconds > 0 ? (double)r->done / r->seconds : 0;
    for (uint32_t i = 0; i < l->n; i++) {
        if (l->connections[i].fd >= 0) {
            close(l->connections[i].fd);
        }
    }
    close(l->epoll);
    free(l->connections);
    free(l);
}
