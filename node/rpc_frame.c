/* What clients ask through the native door: each frame starts a pooled call, the call's callback appends the
 * answer to its connection's writer. */
#include <stdlib.h>
#include <string.h>

#include "rpc_private.h"

/* What stands before the result in a RESULT frame: list, kind, id, index, term. */
#define RESULT_HEAD_BYTES 64

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
        rpc_connection_free_when_done(c);
    else if (!c->closing && (c->paused || c->ending))
        rpc_mark_dirty(c);
    rpc_free_when_done(rpc);
}

/* ---- answers ---- */

/* The writer of a connection that still listens, NULL otherwise. */
static struct codec_writer *writer(struct rpc_connection *c)
{
    if (c->closing)
        return NULL;
    rpc_mark_dirty(c);
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

/* ---- frames ---- */

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
    rpc_mark_dirty(c);
}

void rpc_refuse(struct rpc_connection *c, uint64_t id, const char *why)
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
        rpc_refuse(c, id, "this node speaks version 1 of the assent protocol");
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

void rpc_on_frame(struct rpc_connection *c, enum frame_kind kind, uint64_t id, const struct codec_node *list)
{
    if (c->greeted == (kind == FRAME_HELLO)) {
        rpc_refuse(c, id, "the first frame, and only that, is HELLO");
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
    rpc_refuse(c, id, "a client does not send this frame");
}
