/* One framed TCP connection: a receive buffer that holds many small frames or one large, and a queue of
 * frames whose entry payloads are written in place. */
#include "connection.h"

#include <assert.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "assent/error.h"

/* Holds a busy turn's worth of small frames; one read of it is far cheaper than many small ones. */
#define RX_BYTES (64 * 1024)
/* A buffer that grew beyond this for one large frame is given back when it is empty. */
#define RX_BYTES_KEEP (1024 * 1024)
/* The least room worth a read. */
#define RX_ROOM (4 * 1024)
/* Pieces of one write: one frame with the most entries always fits; libuv itself splits at IOV_MAX. */
#define WRITE_PIECES_MAX (MESSAGE_ENTRIES_MAX + 1)
/* Bytes gathered for one write: enough to be efficient, little enough that the queue can still be reordered.
 */
#define WRITE_BYTES_MAX (1024 * 1024)

/* A message on its way out.  One allocation: this, then the entry references, then head and copied bytes. */
struct frame {
    struct frame *next;
    size_t size;
    uint32_t entries_n;
    size_t bytes_size;
    uint8_t *bytes; /* head, followed by the tail when that was copied */
    struct entry *entries[];
};

/* ---- frames ---- */

static void queue_init(struct frame_queue *q)
{
    q->head = NULL;
    q->tail = &q->head;
}

static void queue_push(struct frame_queue *q, struct frame *f)
{
    f->next = NULL;
    *q->tail = f;
    q->tail = &f->next;
}

static struct frame *queue_pop(struct frame_queue *q)
{
    struct frame *f = q->head;
    if (f != NULL) {
        q->head = f->next;
        if (q->head == NULL) {
            q->tail = &q->head;
        }
    }
    return f;
}

static struct frame *frame_new(const struct message *m, size_t size)
{
    const bool is_append = m->type == MESSAGE_RAFT;
    const uint32_t n = is_append ? message_tail_n(m) : 0;
    const size_t head_size = message_head_size(m);
    const size_t bytes_size = is_append ? head_size : size;
    struct frame *f = malloc(sizeof *f + n * sizeof(struct entry *) + bytes_size);
    if (f == NULL) {
        return NULL;
    }
    f->size = size;
    f->entries_n = n;
    f->bytes_size = bytes_size;
    f->bytes = (uint8_t *)&f->entries[n];
    size_t at = message_encode_head(m, f->bytes);
    for (uint32_t i = 0; i < n; i++) {
        f->entries[i] = entry_ref(m->raft.entries[i]);
    }
    for (uint32_t i = 0; !is_append && i < message_tail_n(m); i++) {
        struct assent_bytes piece = message_tail(m, i);
        memcpy(f->bytes + at, piece.base, piece.size);
        at += piece.size;
    }
    assert(at == bytes_size);
    return f;
}

static void frame_free(struct frame *f)
{
    for (uint32_t i = 0; i < f->entries_n; i++) {
        entry_unref(f->entries[i]);
    }
    free(f);
}

static void queue_drop(struct frame_queue *q)
{
    for (struct frame *f = queue_pop(q); f != NULL; f = queue_pop(q)) {
        frame_free(f);
    }
}

/* ---- life ---- */

int connection_shared_init(struct connection_shared *shared)
{
    *shared = (struct connection_shared){0};
    shared->bufs = malloc(WRITE_PIECES_MAX * sizeof *shared->bufs);
    return shared->bufs != NULL ? 0 : ASSENT_NOMEM;
}

void connection_shared_close(struct connection_shared *shared)
{
    free(shared->bufs);
    shared->bufs = NULL;
}

static void on_timer(uv_timer_t *timer)
{
    struct connection *c = timer->data;
    c->callbacks->timeout(c);
}

struct connection *connection_new(uv_loop_t *loop, struct connection_shared *shared,
                                  const struct connection_callbacks *callbacks, void *owner)
{
    struct connection *c = calloc(1, sizeof *c);
    if (c == NULL) {
        return NULL;
    }
    c->owner = owner;
    c->callbacks = callbacks;
    c->shared = shared;
    queue_init(&c->queue);
    queue_init(&c->bulk);
    queue_init(&c->writing);
    int rv = uv_tcp_init(loop, &c->tcp);
    assert(rv == 0); /* makes no socket yet */
    rv = uv_timer_init(loop, &c->timer);
    assert(rv == 0);
    c->tcp.data = c;
    c->timer.data = c;
    c->handles = 2;
    return c;
}

static void on_closed(uv_handle_t *handle)
{
    struct connection *c = handle->data;
    assert(c->handles > 0);
    if (--c->handles > 0) {
        return;
    }
    c->callbacks->closed(c);
    queue_drop(&c->writing);
    free(c->rx);
    free(c);
}

void connection_close(struct connection *c)
{
    if (c->closing) {
        return;
    }
    c->closing = true;
    queue_drop(&c->queue);
    queue_drop(&c->bulk);
    uv_close((uv_handle_t *)&c->tcp, on_closed);
    uv_close((uv_handle_t *)&c->timer, on_closed);
}

void connection_timeout(struct connection *c, uint32_t ms)
{
    if (c->closing) {
        return;
    }
    uv_timer_stop(&c->timer);
    if (ms > 0) {
        int rv = uv_timer_start(&c->timer, on_timer, ms, 0);
        assert(rv == 0);
    }
}

static void fail(struct connection *c, const char *reason, bool hostile)
{
    if (!c->closing) {
        c->callbacks->failed(c, reason, hostile);
    }
}

/* ---- receiving ---- */

/* Room for the next read: move what is left to the front, then grow towards the frame that is coming.  It
 * grows by doubling while bytes really arrive, so that a header alone cannot make us allocate megabytes. */
static bool rx_make_room(struct connection *c)
{
    const size_t used = c->rx_to - c->rx_from;
    const size_t missing = c->rx_need > used ? c->rx_need - used : 0;
    if (used == 0) {
        c->rx_from = c->rx_to = 0;
        if (c->rx_capacity > RX_BYTES_KEEP) {
            free(c->rx);
            c->rx = NULL;
            c->rx_capacity = 0;
        }
    }
    if (c->rx_capacity - c->rx_to >= (missing > RX_ROOM ? missing : RX_ROOM)) {
        return true;
    }
    if (c->rx_from > 0) {
        memmove(c->rx, c->rx + c->rx_from, used);
        c->rx_from = 0;
        c->rx_to = used;
    }
    const size_t room = c->rx_capacity - used;
    if (room >= RX_ROOM || (missing > 0 && room >= missing)) {
        return true;
    }
    size_t capacity = c->rx_capacity == 0 ? RX_BYTES : 2 * c->rx_capacity;
    if (missing > 0 && capacity > c->rx_need && c->rx_need > RX_BYTES) {
        capacity = c->rx_need;
    }
    uint8_t *rx = realloc(c->rx, capacity);
    if (rx == NULL) {
        return false;
    }
    c->rx = rx;
    c->rx_capacity = capacity;
    return true;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    struct connection *c = handle->data;
    if (c->closing || !rx_make_room(c)) {
        *buf = uv_buf_init(NULL, 0); /* libuv reports ENOBUFS to on_read */
        return;
    }
    *buf = uv_buf_init((char *)c->rx + c->rx_to, (unsigned)(c->rx_capacity - c->rx_to));
}

static const char *refusal(int error)
{
    switch (error) {
    case ASSENT_PROTOCOL:
        return "not this protocol or version";
    case ASSENT_TOO_LARGE:
        return "frame longer than its type allows";
    case ASSENT_CORRUPT:
        return "checksum does not match";
    case ASSENT_NOMEM:
        return "out of memory";
    default:
        return "malformed message";
    }
}

/* One frame from the buffer.  False: not enough bytes yet, or the connection is done for. */
static bool parse_one(struct connection *c)
{
    const uint8_t *p = c->rx + c->rx_from;
    const size_t used = c->rx_to - c->rx_from;
    enum message_type type;
    uint32_t body_size;
    struct message m;
    c->rx_need = 0;
    if (used < MESSAGE_HEADER_BYTES) {
        return false;
    }
    int rv = message_decode_header(p, &type, &body_size);
    if (rv == 0 && type != MESSAGE_HELLO && !c->greeted) {
        fail(c, "spoke before HELLO", true);
        return false;
    }
    if (rv == 0 && used < MESSAGE_HEADER_BYTES + (size_t)body_size) {
        c->rx_need = MESSAGE_HEADER_BYTES + (size_t)body_size;
        return false;
    }
    if (rv == 0) {
        rv = message_decode(p, p + MESSAGE_HEADER_BYTES, body_size, &m);
    }
    if (rv != 0) {
        c->shared->messages_refused++;
        fail(c, refusal(rv), rv != ASSENT_NOMEM);
        return false;
    }
    c->shared->messages_received++;
    c->rx_from += MESSAGE_HEADER_BYTES + (size_t)body_size;
    c->callbacks->message(c, &m);
    message_close(&m);
    return !c->closing;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    (void)buf;
    struct connection *c = stream->data;
    if (c->closing || n == 0) {
        return;
    }
    if (n < 0) {
        fail(c, n == UV_EOF ? "closed by the other side" : uv_strerror((int)n), false);
        return;
    }
    c->rx_to += (size_t)n;
    c->shared->bytes_received += (uint64_t)n;
    while (parse_one(c)) {
    }
}

/* A peer that vanished must be noticed although nothing is sent (keepalive) or nothing is acknowledged (user
 * timeout).  Failing to set either only delays that. */
static void set_options(struct connection *c, uint32_t silence_ms)
{
    uv_os_fd_t fd;
    (void)uv_tcp_nodelay(&c->tcp, 1);
    if (uv_fileno((uv_handle_t *)&c->tcp, &fd) != 0) {
        return;
    }
    int on = 1, idle_s = (int)(silence_ms / 2000) + 1, probes = 2;
    unsigned timeout_ms = silence_ms;
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &idle_s, sizeof idle_s);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof timeout_ms);
}

int connection_begin(struct connection *c, uint32_t silence_ms)
{
    set_options(c, silence_ms);
    return uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
}

/* ---- sending ---- */

int connection_send(struct connection *c, const struct message *m, uint64_t queue_bytes_max)
{
    assert(!c->closing);
    const size_t size = message_head_size(m) + message_tail_size(m);
    if (c->queued_bytes > 0 && c->queued_bytes + size > queue_bytes_max) {
        return ASSENT_BUSY;
    }
    struct frame *f = frame_new(m, size);
    if (f == NULL) {
        return ASSENT_NOMEM;
    }
    queue_push(m->type == MESSAGE_CHUNK ? &c->bulk : &c->queue, f);
    c->queued_bytes += size;
    c->shared->messages_sent++;
    return 0;
}

/* Move frames to `writing` and name their pieces; at most one bulk frame, and only behind everything else. */
static unsigned gather(struct connection *c, size_t *bytes)
{
    unsigned n = 0;
    *bytes = 0;
    for (;;) {
        struct frame_queue *q = c->queue.head != NULL ? &c->queue : &c->bulk;
        struct frame *f = q->head;
        if (f == NULL ||
            (n > 0 && (n + 1 + f->entries_n > WRITE_PIECES_MAX || *bytes + f->size > WRITE_BYTES_MAX))) {
            return n;
        }
        queue_push(&c->writing, queue_pop(q));
        c->shared->bufs[n++] = uv_buf_init((char *)f->bytes, (unsigned)f->bytes_size);
        for (uint32_t i = 0; i < f->entries_n; i++) {
            struct entry *e = f->entries[i];
            c->shared->bufs[n++] = uv_buf_init((char *)e->payload, e->size);
        }
        *bytes += f->size;
        if (q == &c->bulk) {
            return n;
        }
    }
}

static void written(struct connection *c)
{
    for (struct frame *f = queue_pop(&c->writing); f != NULL; f = queue_pop(&c->writing)) {
        assert(c->queued_bytes >= f->size);
        c->queued_bytes -= f->size;
        c->shared->bytes_sent += f->size;
        frame_free(f);
    }
}

static void on_written(uv_write_t *req, int status)
{
    struct connection *c = req->data;
    if (c->closing) {
        return; /* on_closed drops the frames */
    }
    if (status != 0) {
        fail(c, uv_strerror(status), false);
        return;
    }
    written(c);
    connection_flush(c);
}

/* The rest of `bufs` behind the first `done` bytes goes by uv_write(), which waits for the socket. */
static int write_rest(struct connection *c, unsigned n, size_t done)
{
    unsigned i = 0;
    while (i < n && done >= c->shared->bufs[i].len) {
        done -= c->shared->bufs[i++].len;
    }
    assert(i < n);
    c->shared->bufs[i].base += done;
    c->shared->bufs[i].len -= done;
    c->write.data = c;
    return uv_write(&c->write, (uv_stream_t *)&c->tcp, &c->shared->bufs[i], n - i, on_written);
}

void connection_flush(struct connection *c)
{
    while (!c->closing && c->writing.head == NULL) {
        size_t bytes;
        unsigned n = gather(c, &bytes);
        if (n == 0) {
            return;
        }
        int done = uv_try_write((uv_stream_t *)&c->tcp, c->shared->bufs, n);
        if (done == UV_EAGAIN) {
            done = 0;
        }
        int rv = done < 0 ? done : 0;
        if (rv == 0 && (size_t)done == bytes) {
            written(c);
            continue;
        }
        if (rv == 0) {
            rv = write_rest(c, n, (size_t)done);
        }
        if (rv != 0) {
            fail(c, uv_strerror(rv), false);
        }
        return;
    }
}
