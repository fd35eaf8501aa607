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
#include "command.h"
#include "frame.h"
#include "node.h"

#define READ_BYTES         (64u * 1024)
#define IN_BYTES_MAX       (ASSENT_FRAME_BYTES_MAX + FRAME_LENGTH_BYTES)
#define UNSENT_BYTES_PAUSE (4u * 1024 * 1024)
#define GREETING_MS        10000
#define WRITE_STALL_MS     30000
#define SWEEP_MS           1000
#define KEEPALIVE_S        60
#define QUERY_SMALL_BYTES  192
/* What stands before the result in a RESULT frame: list, kind, id, index, term. */
#define RESULT_HEAD_BYTES 64

struct rpc_connection {
    uv_tcp_t tcp;
    uv_write_t write;
    struct rpc *rpc;
    struct rpc_connection *next, *prev, *next_dirty;
    uint8_t *in;
    size_t in_size, in_capacity;
    struct codec_writer out[2]; /* one gathers, the other is on its way */

    unsigned gathering;
    uint32_t in_flight;
    uint64_t since_ms; /* opened, or the write under way began */
    char peer[ADDRESS_TEXT_MAX];
    bool greeted, writing, paused, dirty, ending, closing, closed;
};

/* One frame that waits for its answer. */
struct rpc_call {
    struct rpc_connection *connection;
    struct rpc_call *next;
    uint64_t id;
    union {
        struct raftlog_propose propose;
        struct read_wait read;
        struct tso_wait tso;
    } wait;
    uint8_t *query; /* `small` or from malloc */
    size_t query_size;
    uint8_t small[QUERY_SMALL_BYTES];
};

struct rpc_listener {
    uv_tcp_t tcp;
    struct rpc *rpc;
    char address[ADDRESS_TEXT_MAX];
};

struct rpc {
    struct node *node;
    struct rpc_listener listener[CONFIG_LISTENERS_MAX];
    uint32_t listeners, handles;
    bool quiet, closing;
    uv_timer_t sweep;
    struct rpc_connection *connections, *dirty;
    struct rpc_call *spare;
    struct codec_arena frame_arena, command_arena;
    struct rpc_metrics metrics;
};

/* ---- lifetimes
 * ------------------------------------------------------------------------------------------------------ */

static void rpc_free_when_done(struct rpc *rpc)
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

static void connection_free_when_done(struct rpc_connection *c)
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
    connection_free_when_done(c);
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

static struct rpc_call *call_new(struct rpc_connection *c, uint64_t id)
{
    struct rpc *rpc = c->rpc;
    struct rpc_call *call = rpc->spare;
    if (call != NULL)
        rpc->spare = call->next;
    else if ((call = malloc(sizeof *call)) == NULL)
        abort();
    call->connection = c;
    call->id = id;
    call->query = NULL;
    c->in_flight++;
    rpc->metrics.in_flight++;
    return call;
}

static void mark_dirty(struct rpc_connection *c)
{
    if (!c->dirty) {
        c->dirty = true;
        c->next_dirty = c->rpc->dirty;
        c->rpc->dirty = c;
        node_wake(c->rpc->node);
    }
}

static void call_delete(struct rpc_call *call)
{
    struct rpc_connection *c = call->connection;
    struct rpc *rpc = c->rpc;
    if (call->query != NULL && call->query != call->small)
        free(call->query);
    call->next = rpc->spare;
    rpc->spare = call;
    c->in_flight--;
    rpc->metrics.in_flight--;
    if (c->closed)
        connection_free_when_done(c);
    else if (!c->closing && (c->paused || c->ending))
        mark_dirty(c);
    rpc_free_when_done(rpc);
}

/* ---- answers
 * -------------------------------------------------------------------------------------------------------- */

/* The writer of a connection that still listens, NULL otherwise. */
static struct codec_writer *writer(struct rpc_connection *c)
{
    if (c->closing)
        return NULL;
    mark_dirty(c);
    return &c->out[c->gathering];
}

static void put_leader(struct node *node, struct codec_writer *w)
{
    char address[256];
    if (node_leader_address(node, "rpc", address, sizeof address))
        codec_cstr(w, address);
    else
        codec_nil(w);
}

static void put_failed(struct rpc_connection *c, uint64_t id, int code, const char *detail)
{
    struct codec_writer *w = writer(c);
    c->rpc->metrics.failed++;
    if (w == NULL)
        return;
    size_t mark = frame_open(w, FRAME_FAILED, id, 3);
    codec_uint(w, (uint64_t)code);
    if (detail != NULL && *detail != 0)
        codec_cstr(w, detail);
    else
        codec_nil(w);
    put_leader(c->rpc->node, w);
    frame_close(w, mark);
}

static void put_result(struct rpc_connection *c, uint64_t id, uint64_t index, uint64_t term,
                       struct assent_bytes result)
{
    if (result.size > ASSENT_FRAME_BYTES_MAX - RESULT_HEAD_BYTES) {
        put_failed(c, id, ASSENT_TOO_LARGE, "the answer is larger than a frame; ask for fewer rows");
        return;
    }
    struct codec_writer *w = writer(c);
    if (w == NULL)
        return;
    size_t mark = frame_open(w, FRAME_RESULT, id, 3);
    codec_uint(w, index);
    codec_uint(w, term);
    codec_raw(w, result);
    frame_close(w, mark);
}

static void on_command(struct raftlog_propose *propose, int status, struct assent_bytes result)
{
    struct rpc_call *call = propose->data;
    if (status == ASSENT_OK)
        put_result(call->connection, call->id, propose->index, propose->term, result);
    else
        put_failed(call->connection, call->id, status, NULL);
    call_delete(call);
}

static void run_query(struct rpc_connection *c, uint64_t id, uint64_t index, uint64_t term,
                      struct assent_bytes query)
{
    struct node *node = c->rpc->node;
    if (!node_sm_enter(node)) {
        put_failed(c, id, ASSENT_BUSY, "a snapshot is being restored on this node");
        return;
    }
    put_result(c, id, index, term, sm_query(node->sm, query));
    node_sm_leave(node);
}

static void on_query(struct read_wait *wait, int status)
{
    struct rpc_call *call = wait->data;
    if (status == ASSENT_OK && !call->connection->closing)
        run_query(call->connection, call->id, wait->index, wait->term,
                  (struct assent_bytes){call->query, call->query_size});
    else if (status != ASSENT_OK)
        put_failed(call->connection, call->id, status, NULL);
    call_delete(call);
}

static void on_tso(struct tso_wait *wait, int status, uint64_t first)
{
    struct rpc_call *call = wait->data;
    struct codec_writer *w = writer(call->connection);
    if (status != ASSENT_OK) {
        put_failed(call->connection, call->id, status, NULL);
    } else if (w != NULL) {
        size_t mark = frame_open(w, FRAME_TSO_OK, call->id, 3);
        codec_uint(w, first);
        codec_uint(w, wait->count);
        codec_uint(w, wait->term);
        frame_close(w, mark);
    }
    call_delete(call);
}

/* ---- frames
 * ---------------------------------------------------------------------------------------------------------
 */

static void start_command(struct rpc_connection *c, uint64_t id, struct assent_bytes bytes)
{
    struct rpc *rpc = c->rpc;
    struct command command;
    char why[ARGUMENT_WHY_MAX] = "";
    rpc->metrics.commands++;
    int status = command_decode(&rpc->command_arena, bytes, false, true, &command, why, sizeof why);
    if (status == ASSENT_OK) {
        struct rpc_call *call = call_new(c, id);
        call->wait.propose.data = call;
        status = raftlog_propose(rpc->node->log, &call->wait.propose, bytes, on_command);
        if (status == ASSENT_OK)
            return;
        call_delete(call);
    }
    put_failed(c, id, status, why);
}

static void start_query(struct rpc_connection *c, uint64_t id, struct assent_bytes bytes, bool stale)
{
    struct rpc *rpc = c->rpc;
    struct command command;
    char why[ARGUMENT_WHY_MAX] = "";
    rpc->metrics.queries++;
    int status = command_decode(&rpc->command_arena, bytes, true, true, &command, why, sizeof why);
    if (status != ASSENT_OK) {
        put_failed(c, id, status, why);
        return;
    }
    if (stale) {
        run_query(c, id, rpc->node->applied_index, rpc->node->term, bytes);
        return;
    }
    struct rpc_call *call = call_new(c, id);
    call->query = bytes.size <= sizeof call->small ? call->small : malloc(bytes.size);
    if (call->query == NULL)
        abort();
    memcpy(call->query, bytes.base, bytes.size);
    call->query_size = bytes.size;
    call->wait.read.data = call;
    read_gate_wait(&rpc->node->reads, &call->wait.read, on_query);
}

static void start_tso(struct rpc_connection *c, uint64_t id, uint64_t count, bool strict)
{
    struct rpc *rpc = c->rpc;
    rpc->metrics.tso++;
    if (count == 0 || count > ASSENT_COUNT_MAX) {
        put_failed(c, id, ASSENT_INVALID, "the count of timestamps is out of range");
        return;
    }
    struct rpc_call *call = call_new(c, id);
    call->wait.tso.data = call;
    int status = tso_service_wait(&rpc->node->tso, &call->wait.tso, (uint32_t)count, strict, on_tso);
    if (status != ASSENT_OK) {
        call_delete(call);
        put_failed(c, id, status, NULL);
    }
}

/* Nothing more is read; what is to be said is sent, then the connection ends. */
static void end_connection(struct rpc_connection *c)
{
    c->ending = true;
    uv_read_stop((uv_stream_t *)&c->tcp);
    mark_dirty(c);
}

static void refuse(struct rpc_connection *c, uint64_t id, const char *why)
{
    c->rpc->metrics.malformed++;
    log_write(&c->rpc->node->logger, LOG_WARNING, "rpc_refused", "peer=%s reason=%s", c->peer, why);
    put_failed(c, id, ASSENT_PROTOCOL, why);
    end_connection(c);
}

static void greet(struct rpc_connection *c, uint64_t id, const struct codec_node *list)
{
    struct node *node = c->rpc->node;
    struct assent_bytes magic = codec_as_bytes(codec_at(list, 2));
    if (magic.size != 6 || memcmp(magic.base, "assent", 6) != 0 ||
        codec_as_uint(codec_at(list, 3)) != FRAME_VERSION) {
        refuse(c, id, "this node speaks version 1 of the assent protocol");
        return;
    }
    c->greeted = true;
    struct raftlog_status status;
    raftlog_status(node->log, &status);
    struct codec_writer *w = writer(c);
    size_t mark = frame_open(w, FRAME_WELCOME, id, 5);
    codec_uint(w, FRAME_VERSION);
    codec_uint(w, status.cluster_id);
    codec_uint(w, node->config->id);
    put_leader(node, w);
    codec_bool(w, node->role == RAFTLOG_LEADER);
    frame_close(w, mark);
}

static void pong(struct rpc_connection *c, uint64_t id)
{
    struct codec_writer *w = writer(c);
    size_t mark = frame_open(w, FRAME_PONG, id, 2);
    put_leader(c->rpc->node, w);
    codec_bool(w, c->rpc->node->role == RAFTLOG_LEADER);
    frame_close(w, mark);
}

static void on_frame(struct rpc_connection *c, enum frame_kind kind, uint64_t id,
                     const struct codec_node *list)
{
    if (c->greeted == (kind == FRAME_HELLO)) {
        refuse(c, id, "the first frame, and only that, is HELLO");
        return;
    }
    if (kind != FRAME_HELLO && kind != FRAME_PING && c->rpc->node->state != NODE_RUNNING) {
        put_failed(c, id, ASSENT_SHUTDOWN, NULL);
        return;
    }
    switch (kind) {
    case FRAME_HELLO:
        greet(c, id, list);
        return;
    case FRAME_COMMAND:
        start_command(c, id, codec_as_bytes(codec_at(list, 2)));
        return;
    case FRAME_QUERY:
        start_query(c, id, codec_as_bytes(codec_at(list, 2)), codec_as_bool(codec_at(list, 3)));
        return;
    case FRAME_TSO:
        start_tso(c, id, codec_as_uint(codec_at(list, 2)), codec_as_bool(codec_at(list, 3)));
        return;
    case FRAME_PING:
        pong(c, id);
        return;
    case FRAME_WELCOME:
    case FRAME_RESULT:
    case FRAME_FAILED:
    case FRAME_TSO_OK:
    case FRAME_PONG:
        break;
    }
    refuse(c, id, "a client does not send this frame");
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
            refuse(c, id, size < 0 ? "the length of a frame is out of range" : "not a frame");
            break;
        }
        on_frame(c, kind, id, list);
        done += (size_t)size;
    }
    memmove(c->in, c->in + done, c->in_size - done);
    c->in_size -= done;
}

/* ---- reading and writing
 * -------------------------------------------------------------------------------------------- */

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
    mark_dirty(c);
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
        connection_free_when_done(c);
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

/* ---- opening and closing
 * -------------------------------------------------------------------------------------------- */

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
