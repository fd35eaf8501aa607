/* Native load: commands pipelined on few connections, frames of statemachine/frame.h.  A frame is made once
 * and its id patched; of an answer it reads kind, id and code. */
#include "assent_bench.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "command.h"
#include "frame.h"

/* Ids start here, so that each takes nine bytes in msgpack and can be patched in place. */
#define ID_BASE         (1ull << 63)
#define IN_BYTES_MAX    (1u << 20)
#define CONNECTIONS_MAX 64

struct connection {
    int fd;
    uint32_t window, under_way;
    uint64_t sent, answered; /* ids less ID_BASE */
    uint64_t *started;       /* by id modulo window: exact as long as answers come about in order */
    uint8_t *out;            /* window frames, to be sent */
    size_t out_size, out_sent;
    uint8_t *in;
    size_t in_size;
};

struct load {
    struct bench_result *r;
    bool measuring;
    uint32_t n;
    struct connection connections[CONNECTIONS_MAX];
    uint8_t frame[256];
    size_t frame_size, id_at;
};

static struct assent_bytes text(const char *s)
{
    return (struct assent_bytes){(const uint8_t *)s, strlen(s)};
}

/* ---- reading an answer without building a tree ---- */

static bool take_uint(struct assent_bytes *b, uint64_t *v)
{
    if (b->size == 0) {
        return false;
    }
    uint8_t first = b->base[0];
    uint32_t width = first == 0xcc ? 1 : first == 0xcd ? 2 : first == 0xce ? 4 : first == 0xcf ? 8 : 0;
    if ((width == 0 && first > 0x7f) || b->size < 1 + width) {
        return false;
    }
    *v = width == 0 ? first : 0;
    for (uint32_t i = 0; i < width; i++) {
        *v = *v << 8 | b->base[1 + i];
    }
    b->base += 1 + width;
    b->size -= 1 + width;
    return true;
}

/* Kind, id and, of a RESULT, its code.  False: not such a frame. */
static bool read_answer(struct assent_bytes body, uint64_t *kind, uint64_t *id, uint64_t *code)
{
    uint64_t skip;
    if (body.size == 0 || (body.base[0] & 0xf0) != 0x90) {
        return false;
    }
    body.base++;
    body.size--;
    if (!take_uint(&body, kind) || !take_uint(&body, id)) {
        return false;
    }
    *code = 0;
    if (*kind == FRAME_FAILED) {
        return take_uint(&body, code);
    }
    if (*kind != FRAME_RESULT) {
        return true;
    }
    if (!take_uint(&body, &skip) || !take_uint(&body, &skip) || body.size == 0 ||
        (body.base[0] & 0xf0) != 0x90) {
        return false;
    }
    body.base++;
    body.size--;
    return take_uint(&body, code);
}

/* ---- connecting ---- */

/* Read until one whole frame is there; blocking, at most a second. */
static bool read_frame(struct connection *c, struct assent_bytes *body)
{
    uint64_t until = bench_now() + 1000000000u;
    while (bench_now() < until && !bench_stopped()) {
        int64_t size = frame_next((struct assent_bytes){c->in, c->in_size}, body);
        if (size != 0) {
            return size > 0;
        }
        struct pollfd p = {.fd = c->fd, .events = POLLIN};
        if (poll(&p, 1, 50) > 0) {
            ssize_t got = recv(c->fd, c->in + c->in_size, IN_BYTES_MAX - c->in_size, 0);
            if (got <= 0) {
                return false;
            }
            c->in_size += (size_t)got;
        }
    }
    return false;
}

/* Shake hands; false: refused, or this node does not lead (`leader` then names who does, or is ""). */
static bool greet(struct connection *c, const char *address, struct bench_address *leader)
{
    struct codec_writer w;
    struct codec_arena arena;
    struct assent_bytes body, hello;
    enum frame_kind kind;
    uint64_t id;
    const struct codec_node *list;
    bool leads = false;
    leader->text[0] = '\0';
    c->in_size = 0;
    c->fd = bench_connect(address);
    if (c->fd < 0) {
        return false;
    }
    codec_writer_init(&w);
    codec_arena_init(&arena);
    size_t mark = frame_open(&w, FRAME_HELLO, 1, 3);
    codec_cstr(&w, "assent");
    codec_uint(&w, FRAME_VERSION);
    codec_cstr(&w, "assent-bench");
    frame_close(&w, mark);
    hello = codec_written(&w);
    if (send(c->fd, hello.base, hello.size, MSG_NOSIGNAL) == (ssize_t)hello.size && read_frame(c, &body) &&
        frame_decode(&arena, body, &kind, &id, &list) && kind == FRAME_WELCOME) {
        struct assent_bytes there = codec_as_bytes(codec_at(list, 5));
        leads = codec_as_bool(codec_at(list, 6));
        snprintf(leader->text, sizeof leader->text, "%.*s", (int)there.size, (const char *)there.base);
    }
    codec_arena_close(&arena);
    codec_writer_close(&w);
    c->in_size = 0; /* nothing was asked yet, so nothing else has come */
    if (!leads) {
        close(c->fd);
        c->fd = -1;
    }
    return leads;
}

static void connect_leader(struct connection *c, const struct bench_options *o)
{
    struct bench_address endpoints[BENCH_ENDPOINTS_MAX], leader;
    uint32_t n = bench_addresses(o->endpoints, endpoints);
    for (int round = 0; round < 100 && !bench_stopped(); round++) {
        for (uint32_t i = 0; i < n; i++) {
            if (greet(c, endpoints[i].text, &leader)) {
                fcntl(c->fd, F_SETFL, O_NONBLOCK);
                return;
            }
        }
        bench_sleep_ms(100);
    }
    bench_die("no endpoint leads");
}

/* ---- the load ---- */

static void prepare(struct load *l, const struct bench_options *o)
{
    struct codec_writer command, w;
    bool query = strcmp(o->op, "current") == 0;
    if (!query && strcmp(o->op, "tick") != 0) {
        bench_die("native has the operations tick and current");
    }
    codec_writer_init(&command);
    codec_writer_init(&w);
    command_begin(&command, query ? (uint32_t)QUERY_LAMPORT : (uint32_t)COMMAND_LAMPORT_TICK, NULL, 1);
    codec_text(&command, text("bench"));
    size_t mark = frame_open(&w, query ? FRAME_QUERY : FRAME_COMMAND, ID_BASE, query ? 2 : 1);
    l->id_at = codec_written(&w).size - 8; /* the id is what was written last */
    codec_bin(&w, codec_written(&command));
    if (query) {
        codec_bool(&w, false);
    }
    frame_close(&w, mark);
    struct assent_bytes frame = codec_written(&w);
    if (frame.size > sizeof l->frame) {
        bench_die("the frame is larger than expected");
    }
    memcpy(l->frame, frame.base, frame.size);
    l->frame_size = frame.size;
    codec_writer_close(&w);
    codec_writer_close(&command);
}

static void fill(struct load *l, struct connection *c, uint64_t now)
{
    if (c->out_sent < c->out_size) {
        return; /* what waits goes first */
    }
    c->out_sent = c->out_size = 0;
    while (c->under_way < c->window) {
        uint8_t *frame = c->out + c->out_size;
        uint64_t id = ID_BASE + c->sent;
        memcpy(frame, l->frame, l->frame_size);
        for (int i = 0; i < 8; i++) {
            frame[l->id_at + (size_t)i] = (uint8_t)(id >> (8 * (7 - i)));
        }
        c->started[c->sent % c->window] = now;
        c->sent++;
        c->under_way++;
        c->out_size += l->frame_size;
    }
}

static void flush(struct connection *c)
{
    while (c->out_sent < c->out_size) {
        ssize_t n = send(c->fd, c->out + c->out_sent, c->out_size - c->out_sent, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        if (n <= 0) {
            bench_die("the connection was lost: %s", strerror(errno));
        }
        c->out_sent += (size_t)n;
    }
}

static void drain(struct load *l, struct connection *c)
{
    ssize_t got = recv(c->fd, c->in + c->in_size, IN_BYTES_MAX - c->in_size, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (got <= 0) {
        bench_die("the node closed the connection");
    }
    c->in_size += (size_t)got;
    uint64_t now = bench_now();
    struct assent_bytes in = {c->in, c->in_size}, body;
    int64_t size;
    while ((size = frame_next(in, &body)) > 0) {
        uint64_t kind, id, code;
        if (!read_answer(body, &kind, &id, &code) || id < ID_BASE || id - ID_BASE >= c->sent) {
            bench_die("an answer that is none");
        }
        c->under_way--;
        c->answered++;
        if (l->measuring && kind == FRAME_RESULT && code == 0) {
            l->r->done++;
            histogram_add(&l->r->latency, now - c->started[(id - ID_BASE) % c->window]);
        } else if (l->measuring) {
            l->r->errors++;
        }
        in.base += size;
        in.size -= (size_t)size;
    }
    if (size < 0) {
        bench_die("a frame of impossible length");
    }
    memmove(c->in, in.base, in.size);
    c->in_size = in.size;
}

static void loop(struct load *l, uint64_t until)
{
    struct pollfd polls[CONNECTIONS_MAX];
    for (uint64_t now = bench_now(); now < until && !bench_stopped(); now = bench_now()) {
        for (uint32_t i = 0; i < l->n; i++) {
            struct connection *c = &l->connections[i];
            /* Refill in batches: a send per answer would cost more than the answer. */
            if (c->under_way <= c->window - c->window / 4) {
                fill(l, c, now);
            }
            flush(c);
            polls[i] = (struct pollfd){.fd = c->fd,
                                       .events = (short)(POLLIN | (c->out_sent < c->out_size ? POLLOUT : 0))};
        }
        if (poll(polls, l->n, 20) <= 0) {
            continue;
        }
        for (uint32_t i = 0; i < l->n; i++) {
            if (polls[i].revents & (POLLIN | POLLERR | POLLHUP)) {
                drain(l, &l->connections[i]);
            }
        }
    }
}

void bench_native(const struct bench_options *o, struct bench_result *r)
{
    static struct load l;
    memset(&l, 0, sizeof l);
    memset(r, 0, sizeof *r);
    l.r = r;
    l.n = o->connections < CONNECTIONS_MAX ? o->connections : CONNECTIONS_MAX;
    prepare(&l, o);
    for (uint32_t i = 0; i < l.n; i++) {
        struct connection *c = &l.connections[i];
        c->window = o->pipeline / l.n > 0 ? o->pipeline / l.n : 1;
        c->started = calloc(c->window, sizeof *c->started);
        c->out = malloc(c->window * l.frame_size);
        c->in = malloc(IN_BYTES_MAX);
        connect_leader(c, o);
    }
    loop(&l, bench_now() + (uint64_t)(o->warmup_seconds * 1e9));
    uint64_t start = bench_now();
    l.measuring = true;
    loop(&l, start + (uint64_t)(o->seconds * 1e9));
    r->seconds = (double)(bench_now() - start) / 1e9;
    r->units = r->done;
    r->per_second = r->seconds > 0 ? (double)r->done / r->seconds : 0;
    for (uint32_t i = 0; i < l.n; i++) {
        close(l.connections[i].fd);
        free(l.connections[i].started);
        free(l.connections[i].out);
        free(l.connections[i].in);
    }
}
