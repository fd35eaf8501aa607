/* The native door: frames of statemachine/frame.h over TCP, pipelined, one write per connection and turn.
 *
 * The happy path: on_read() fills the connection's buffer, parse() takes frame after frame out of it and
 * starts a pooled call for each, the call's callback appends the answer to the connection's writer,
 * rpc_turn() writes. A connection with too much under way, or too much unsent, is not read until it has
 * drained.  The failures: what is not a frame closes the connection with a logged reason; a connection that
 * does not greet in time or does not take its answers is closed; calls of a closed connection go on and their
 * answers are dropped. */
#include "rpc.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "rpc_private.h"

#define READ_BYTES         (64u * 1024)
#define IN_BYTES_MAX       (ASSENT_FRAME_BYTES_MAX + FRAME_LENGTH_BYTES)
#define UNSENT_BYTES_PAUSE (4u * 1024 * 1024)
#define GREETING_MS        10000
#define WRITE_STALL_MS     30000
#define SWEEP_MS           1000
#define KEEPALIVE_S        60

/* ---- lifetimes ---- */

void rpc_free_when_done(struct rpc *rpc)
{
    if (!rpc->closing || rpc->handles > 0 || rpc->metrics.in_flight > 0)
        return;
    while (rpc->spare != NULL) {
        struct rpc_call *call = rpc->spare;
        rpc->spare = call->next;
        free(call);
    }
    codec_arena_close(&rpc->frame_arena);
    codec_arena_close(&rpc->command_arena);
    free(rpc);
}

void rpc_connection_free_when_done(struct rpc_connection *c)
{
    if (!c->closed || c->in_flight > 0 || c->dirty)
        return;
    free(c->in);
    codec_writer_close(&c->out[0]);
    codec_writer_close(&c->out[1]);
    free(c);
}

static void on_connection_closed(uv_handle_t *handle)
{
    struct rpc_connection *c = handle->data;
    struct rpc *rpc = c->rpc;
    c->closed = true;
    rpc->handles--;
    rpc_connection_free_when_done(c);
    rpc_free_when_done(rpc);
}

static void connection_close(struct rpc_connection *c)
{
    if (c->closing)
        return;
    c->closing = true;
    *(c->prev ? &c->prev->next : &c->rpc->connections) = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    c->rpc->metrics.connections--;
    uv_close((uv_handle_t *)&c->tcp, on_connection_closed);
}

void rpc_mark_dirty(struct rpc_connection *c)
{
    if (!c->dirty) {
        c->dirty = true;
        c->next_dirty = c->rpc->dirty;
        c->rpc->dirty = c;
        node_wake(c->rpc->node);
    }
}

/* Must this connection drain before it is read on? */
static bool is_full(const struct rpc_connection *c)
{
    return c->in_flight >= c->rpc->node->config->rpc_inflight ||
           codec_written(&c->out[c->gathering]).size >= UNSENT_BYTES_PAUSE;
}

static void parse(struct rpc_connection *c)
{
    size_t done = 0;
    while (!c->ending && !c->closing) {
        if (is_full(c)) {
            c->paused = true;
            uv_read_stop((uv_stream_t *)&c->tcp);
            break;
        }
        struct assent_bytes body, rest = {c->in + done, c->in_size - done};
        int64_t size = frame_next(rest, &body);
        if (size == 0)
            break;
        enum frame_kind kind;
        uint64_t id = 0;
        const struct codec_node *list;
        if (size < 0 || !frame_decode(&c->rpc->frame_arena, body, &kind, &id, &list)) {
            rpc_refuse(c, id, size < 0 ? "the length of a frame is out of range" : "not a frame");
            break;
        }
        rpc_on_frame(c, kind, id, list);
        done += (size_t)size;
    }
    memmove(c->in, c->in + done, c->in_size - done);
    c->in_size -= done;
}

/* ---- reading and writing ---- */

/* Room behind what is there.  It grows with what came, not with what a length promises. */
static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    struct rpc_connection *c = handle->data;
    if (c->in_capacity - c->in_size < READ_BYTES / 4 && c->in_capacity < IN_BYTES_MAX) {
        size_t capacity = c->in_capacity ? c->in_capacity * 2 : READ_BYTES;
        if (capacity > IN_BYTES_MAX)
            capacity = IN_BYTES_MAX;
        uint8_t *in = realloc(c->in, capacity);
        if (in != NULL) {
            c->in = in;
            c->in_capacity = capacity;
        }
    }
    *buf = uv_buf_init((char *)c->in + c->in_size, (unsigned int)(c->in_capacity - c->in_size));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    (void)buf;
    struct rpc_connection *c = stream->data;
    if (n < 0) {
        connection_close(c);
        return;
    }
    c->in_size += (size_t)n;
    c->rpc->metrics.bytes_in += (uint64_t)n;
    parse(c);
}

static void on_written(uv_write_t *write, int status)
{
    struct rpc_connection *c = write->data;
    c->writing = false;
    if (status != 0) {
        connection_close(c);
        return;
    }
    rpc_mark_dirty(c);
}

/* Write what gathered: at once as far as the socket takes it, the rest by the loop. */
static void flush(struct rpc_connection *c)
{
    struct codec_writer *w = &c->out[c->gathering];
    struct assent_bytes bytes = codec_written(w);
    if (c->writing || bytes.size == 0)
        return;
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)bytes.base, (unsigned int)bytes.size);
    int n = uv_try_write((uv_stream_t *)&c->tcp, &buf, 1);
    if (n < 0 && n != UV_EAGAIN) {
        connection_close(c);
        return;
    }
    size_t sent = n > 0 ? (size_t)n : 0;
    c->rpc->metrics.bytes_out += bytes.size;
    if (sent == bytes.size) {
        codec_writer_reset(w);
        return;
    }
    c->gathering ^= 1u;
    codec_writer_reset(&c->out[c->gathering]);
    buf = uv_buf_init(buf.base + sent, (unsigned int)(bytes.size - sent));
    c->write.data = c;
    c->writing = true;
    c->since_ms = uv_now(c->rpc->node->loop);
    if (uv_write(&c->write, (uv_stream_t *)&c->tcp, &buf, 1, on_written) != 0) {
        c->writing = false;
        connection_close(c);
    }
}

/* Has it drained enough to be read on? */
static void read_on(struct rpc_connection *c)
{
    if (!c->paused || c->ending || c->closing || c->in_flight > c->rpc->node->config->rpc_inflight / 2 ||
        is_full(c))
        return;
    c->paused = false;
    parse(c);
    if (!c->paused && !c->ending && !c->closing)
        uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
}

void rpc_turn(struct rpc *rpc)
{
    struct rpc_connection *c = rpc->dirty;
    rpc->dirty = NULL;
    while (c != NULL) {
        struct rpc_connection *next = c->next_dirty;
        c->dirty = false;
        if (!c->closing) {
            read_on(c);
            flush(c);
        }
        if (c->ending && !c->writing && c->in_flight == 0)
            connection_close(c);
        rpc_connection_free_when_done(c);
        c = next;
    }
}

static void on_sweep(uv_timer_t *timer)
{
    struct rpc *rpc = timer->data;
    uint64_t now_ms = uv_now(rpc->node->loop);
    for (struct rpc_connection *c = rpc->connections, *next; c != NULL; c = next) {
        next = c->next;
        uint64_t limit_ms = !c->greeted ? GREETING_MS : c->writing ? WRITE_STALL_MS : 0;
        if (limit_ms == 0 || now_ms - c->since_ms < limit_ms)
            continue;
        rpc->metrics.slow_closed++;
        connection_close(c);
    }
}

/* ---- opening and closing ---- */

static void on_connection(uv_stream_t *server, int status)
{
    struct rpc *rpc = ((struct rpc_listener *)server->data)->rpc;
    if (status != 0)
        return;
    struct rpc_connection *c = calloc(1, sizeof *c);
    if (c == NULL)
        abort();
    c->rpc = rpc;
    uv_tcp_init(rpc->node->loop, &c->tcp);
    c->tcp.data = c;
    codec_writer_init(&c->out[0]);
    codec_writer_init(&c->out[1]);
    rpc->handles++;
    rpc->metrics.connections++;
    c->next = rpc->connections;
    if (c->next != NULL)
        c->next->prev = c;
    rpc->connections = c;
    c->since_ms = uv_now(rpc->node->loop);
    if (uv_accept(server, (uv_stream_t *)&c->tcp) != 0) {
        connection_close(c);
        return;
    }
    if (rpc->metrics.connections > rpc->node->config->rpc_connections) {
        rpc->metrics.refused++;
        connection_close(c);
        return;
    }
    rpc->metrics.accepted++;
    struct sockaddr_storage peer = {0};
    int size = sizeof peer;
    uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&peer, &size);
    address_text(&peer, c->peer, sizeof c->peer);
    uv_tcp_nodelay(&c->tcp, 1);
    uv_tcp_keepalive(&c->tcp, 1, KEEPALIVE_S);
    uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
}

static bool listener_bind(struct rpc_listener *l, const char *where, char *err, size_t err_size)
{
    struct sockaddr_storage address;
    if (!address_resolve(where, &address, err, err_size))
        return false;
    int status = uv_tcp_bind(&l->tcp, (struct sockaddr *)&address, 0);
    int size = sizeof address;
    if (status == 0) /* port 0 is chosen here; a port in use is reported by listen */
        status = uv_listen((uv_stream_t *)&l->tcp, 1024, on_connection);
    if (status == 0)
        status = uv_tcp_getsockname(&l->tcp, (struct sockaddr *)&address, &size);
    if (status != 0) {
        snprintf(err, err_size, "cannot serve the native protocol on %.100s: %s", where, uv_strerror(status));
        return false;
    }
    address_text(&address, l->address, sizeof l->address);
    return true;
}

int rpc_open(struct rpc **out, struct node *node, char *err, size_t err_size)
{
    struct rpc *rpc = calloc(1, sizeof *rpc);
    if (rpc == NULL)
        return ASSENT_NOMEM;
    rpc->node = node;
    codec_arena_init(&rpc->frame_arena);
    codec_arena_init(&rpc->command_arena);
    uv_timer_init(node->loop, &rpc->sweep);
    rpc->sweep.data = rpc;
    rpc->handles = 1;
    *out = rpc;
    for (uint32_t i = 0; i < node->config->rpc.n; i++) {
        struct rpc_listener *l = &rpc->listener[rpc->listeners++];
        l->rpc = rpc;
        uv_tcp_init(node->loop, &l->tcp);
        l->tcp.data = l;
        rpc->handles++;
        if (!listener_bind(l, node->config->rpc.item[i], err, err_size)) {
            rpc_close(rpc);
            *out = NULL;
            return ASSENT_IO;
        }
    }
    return ASSENT_OK;
}

const char *rpc_address(const struct rpc *rpc)
{
    return rpc->listener[0].address;
}

void rpc_serve(struct rpc *rpc)
{
    for (uint32_t i = 0; i < rpc->listeners; i++)
        log_write(&rpc->node->logger, LOG_INFO, "rpc_listening", "address=%s", rpc->listener[i].address);
    uv_timer_start(&rpc->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct rpc *rpc = handle->type == UV_TIMER ? handle->data : ((struct rpc_listener *)handle->data)->rpc;
    rpc->handles--;
    rpc_free_when_done(rpc);
}

void rpc_quiesce(struct rpc *rpc)
{
    if (rpc->quiet)
        return;
    rpc->quiet = true;
    for (uint32_t i = 0; i < rpc->listeners; i++)
        uv_close((uv_handle_t *)&rpc->listener[i].tcp, on_handle_closed);
}

uint32_t rpc_busy(const struct rpc *rpc)
{
    uint32_t unsent = 0;
    for (const struct rpc_connection *c = rpc->connections; c != NULL; c = c->next)
        unsent += c->writing || c->dirty;
    return rpc->metrics.in_flight + unsent;
}

void rpc_close(struct rpc *rpc)
{
    rpc->closing = true;
    rpc_turn(rpc);
    rpc_quiesce(rpc);
    while (rpc->connections != NULL)
        connection_close(rpc->connections);
    rpc_turn(rpc);
    uv_close((uv_handle_t *)&rpc->sweep, on_handle_closed);
}

void rpc_metrics(const struct rpc *rpc, struct rpc_metrics *out)
{
    *out = rpc->metrics;
}
