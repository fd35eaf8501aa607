/* One connection to a node: resolve, connect, frames out, frames in.  It knows nothing of calls.
 *
 * The happy path: an address that is a number connects at once, a name goes through the loop's resolver
 * first; then bytes are read into one buffer and given up frame by frame.  Every failure ends in one `lost`,
 * and the owner closes.  Memory is free when the handle is closed and no resolver request is under way. */
#include "transport.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "retry.h"

#define READ_BYTES_MIN (64 * 1024)

struct transport {
    struct transport_events events;
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_getaddrinfo_t resolve;
    struct codec_writer out;
    struct codec_arena arena;
    uint8_t *in;
    size_t in_size, in_capacity;
    bool resolving, closing, closed, lost;
};

/* A rest the socket did not take at once; its bytes follow. */
struct transport_rest {
    uv_write_t req;
    uint8_t bytes[];
};

static void release(struct transport *t)
{
    if (!t->closed || t->resolving) {
        return;
    }
    struct transport_events events = t->events;
    codec_writer_close(&t->out);
    codec_arena_close(&t->arena);
    free(t->in);
    free(t);
    events.gone(events.data);
}

static void report_lost(struct transport *t, bool garbage)
{
    if (!t->closing && !t->lost) {
        t->lost = true;
        t->events.lost(t->events.data, garbage);
    }
}

static void closed_cb(uv_handle_t *handle)
{
    struct transport *t = handle->data;
    t->closed = true;
    release(t);
}

static void alloc_cb(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    struct transport *t = handle->data;
    if (t->in_size == t->in_capacity && t->in_capacity < ASSENT_FRAME_BYTES_MAX + FRAME_LENGTH_BYTES) {
        size_t capacity = t->in_capacity * 2;
        uint8_t *grown = realloc(t->in, capacity);
        if (grown != NULL) {
            t->in = grown;
            t->in_capacity = capacity;
        }
    }
    *buf = uv_buf_init((char *)t->in + t->in_size, (unsigned)(t->in_capacity - t->in_size));
}

/* Give up whole frames.  Returns false when the bytes are not frames. */
static bool take_frames(struct transport *t)
{
    size_t done = 0;
    bool good = true;
    while (good && !t->closing) {
        struct assent_bytes body, rest = {t->in + done, t->in_size - done};
        int64_t size = frame_next(rest, &body);
        if (size == 0) {
            break;
        }
        enum frame_kind kind;
        uint64_t id;
        const struct codec_node *list;
        good = size > 0 && frame_decode(&t->arena, body, &kind, &id, &list);
        if (good) {
            t->events.frame(t->events.data, kind, id, list, body);
            done += (size_t)size;
        }
    }
    if (done > 0) {
        memmove(t->in, t->in + done, t->in_size - done);
        t->in_size -= done;
    }
    return good;
}

static void read_cb(uv_stream_t *stream, ssize_t size, const uv_buf_t *buf)
{
    (void)buf;
    struct transport *t = stream->data;
    if (t->closing || size == 0) {
        return;
    }
    if (size < 0) {
        report_lost(t, false);
        return;
    }
    t->in_size += (size_t)size;
    bool good = take_frames(t);
    if (t->closing) {
        return;
    }
    if (!good) {
        report_lost(t, true);
    } else {
        t->events.turn(t->events.data);
    }
}

static void connect_cb(uv_connect_t *req, int status)
{
    struct transport *t = req->data;
    if (t->closing) {
        return;
    }
    if (status != 0 || uv_read_start((uv_stream_t *)&t->tcp, alloc_cb, read_cb) != 0) {
        report_lost(t, false);
        return;
    }
    (void)uv_tcp_nodelay(&t->tcp, 1); /* without it requests are only slower */
    t->events.connected(t->events.data);
}

static int connect_to(struct transport *t, const struct sockaddr *address)
{
    t->connect.data = t;
    return uv_tcp_connect(&t->connect, &t->tcp, address, connect_cb);
}

static void resolve_cb(uv_getaddrinfo_t *req, int status, struct addrinfo *found)
{
    struct transport *t = req->data;
    t->resolving = false;
    if (t->closing) {
        uv_freeaddrinfo(found);
        release(t);
        return;
    }
    int rc = status != 0 ? status : connect_to(t, found->ai_addr);
    uv_freeaddrinfo(found);
    if (rc != 0) {
        report_lost(t, false);
    }
}

static int start(struct transport *t, const char *address)
{
    char host[RETRY_ADDRESS_BYTES], port[8];
    if (!retry_split(address, host, port)) {
        return UV_EINVAL;
    }
    struct sockaddr_storage number;
    int port_number = atoi(port);
    if (uv_ip4_addr(host, port_number, (struct sockaddr_in *)&number) == 0 ||
        uv_ip6_addr(host, port_number, (struct sockaddr_in6 *)&number) == 0) {
        return connect_to(t, (struct sockaddr *)&number);
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    t->resolve.data = t;
    int rc = uv_getaddrinfo(t->tcp.loop, &t->resolve, resolve_cb, host, port, &hints);
    t->resolving = rc == 0;
    return rc;
}

static void nobody(void *data)
{
    (void)data;
}

struct transport *transport_open(uv_loop_t *loop, const char *address, const struct transport_events *events)
{
    struct transport *t = calloc(1, sizeof *t);
    uint8_t *in = malloc(READ_BYTES_MIN);
    if (t == NULL || in == NULL || uv_tcp_init(loop, &t->tcp) != 0) {
        free(in);
        free(t);
        return NULL;
    }
    t->events = *events;
    t->tcp.data = t;
    t->in = in;
    t->in_capacity = READ_BYTES_MIN;
    codec_writer_init(&t->out);
    codec_arena_init(&t->arena);
    if (start(t, address) != 0) {
        t->events.gone = nobody; /* the owner was never given it */
        transport_close(t);
        return NULL;
    }
    return t;
}

void transport_close(struct transport *t)
{
    assert(!t->closing);
    t->closing = true;
    if (t->resolving) {
        (void)uv_cancel((uv_req_t *)&t->resolve); /* when it runs already, its callback releases */
    }
    uv_close((uv_handle_t *)&t->tcp, closed_cb);
}

struct codec_writer *transport_writer(struct transport *t)
{
    return &t->out;
}

static void rest_cb(uv_write_t *req, int status)
{
    struct transport *t = req->handle->data;
    free(req->data);
    if (t->closing) {
        return;
    }
    if (status != 0) {
        report_lost(t, false);
    } else {
        t->events.drained(t->events.data);
    }
}

bool transport_flush(struct transport *t)
{
    struct assent_bytes bytes = codec_written(&t->out);
    if (bytes.size == 0) {
        return true;
    }
    uv_buf_t buf = uv_buf_init((char *)bytes.base, (unsigned)bytes.size);
    int taken = uv_try_write((uv_stream_t *)&t->tcp, &buf, 1); /* refuses by itself behind queued writes */
    if (taken < 0) {
        if (taken != UV_EAGAIN) {
            return false;
        }
        taken = 0;
    }
    size_t left = bytes.size - (size_t)taken;
    bool good = true;
    if (left > 0) {
        struct transport_rest *rest = malloc(sizeof *rest + left);
        good = rest != NULL;
        if (good) {
            memcpy(rest->bytes, bytes.base + taken, left);
            buf = uv_buf_init((char *)rest->bytes, (unsigned)left);
            rest->req.data = rest;
            good = uv_write(&rest->req, (uv_stream_t *)&t->tcp, &buf, 1, rest_cb) == 0;
            if (!good) {
                free(rest);
            }
        }
    }
    codec_writer_reset(&t->out);
    return good;
}

size_t transport_backlog(const struct transport *t)
{
    return uv_stream_get_write_queue_size((const uv_stream_t *)&t->tcp);
}

void transport_hold(struct transport *t, bool hold)
{
    if (hold) {
        uv_ref((uv_handle_t *)&t->tcp);
    } else {
        uv_unref((uv_handle_t *)&t->tcp);
    }
}
