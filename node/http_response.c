/* Responses that are not in memory: a back-up read from the disk, and events that go on until the client or
 * the node ends.  MHD asks for the next piece when the last one left. */
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "http_private.h"
#include "node.h"
#include "stream.h"

/* Memory of a back-up being streamed; one piece is read from the disk per turn. */
#define STREAM_BLOCK_BYTES (256u * 1024)
/* Piece of a stream of events handed to MHD at a time. */
#define FEED_BLOCK_BYTES 16384u

/* ---- back-ups: the one response that is not in memory */

/* A stream of cover and file on its way; MHD frees it when it has let go of the response. */
struct stream {
    struct http *http;
    struct connection *connection; /* outlives the stream: MHD asks only while it is open */
    struct response_file *file;
};

static ssize_t stream_read(void *cls, uint64_t at, char *out, size_t room)
{
    struct stream *s = cls;
    uint64_t left = BACKUP_COVER_BYTES + s->file->snapshot.size - at;
    size_t size = left < room ? (size_t)left : room;
    /* each piece that left gives the next one as long as an idle connection has */
    http_connection_phase(s->connection, uv_now(s->http->node->loop),
                          s->http->node->config->http_idle_s * 1000);
    if (at < BACKUP_COVER_BYTES) {
        size = size < BACKUP_COVER_BYTES - at ? size : BACKUP_COVER_BYTES - (size_t)at;
        memcpy(out, s->file->cover + at, size);
        return (ssize_t)size;
    }
    ssize_t n = pread(s->file->fd, out, size, (off_t)(at - BACKUP_COVER_BYTES));
    return n > 0 ? n : MHD_CONTENT_READER_END_WITH_ERROR;
}

static void stream_free(void *cls)
{
    struct stream *s = cls;
    close(s->file->fd);
    free(s->file);
    free(s);
}

struct MHD_Response *http_backup_response(struct exchange *ex)
{
    struct stream *s = malloc(sizeof *s);
    if (s == NULL)
        abort();
    *s = (struct stream){ex->http, ex->connection, ex->request.response.file};
    const struct raftlog_snapshot *about = &s->file->snapshot;
    char crc[16], digest[24];
    snprintf(crc, sizeof crc, "%08x", about->crc);
    snprintf(digest, sizeof digest, "%016llx", (unsigned long long)about->digest);
    ex->request.response.file = NULL;
    struct MHD_Response *response = MHD_create_response_from_callback(
        BACKUP_COVER_BYTES + about->size, STREAM_BLOCK_BYTES, stream_read, s, stream_free);
    if (response == NULL) {
        stream_free(s);
        return NULL;
    }
    http_header_uint(response, "X-Assent-Snapshot-Index", about->index);
    http_header_uint(response, "X-Assent-Snapshot-Term", about->term);
    http_header_uint(response, "X-Assent-Snapshot-Size", about->size);
    MHD_add_response_header(response, "X-Assent-Snapshot-Digest", digest);
    MHD_add_response_header(response, "X-Assent-Snapshot-Crc32c", crc);
    return response;
}

/* ---- events: responses that end when the client or the node does ---- */

/* A stream of events on its way; MHD frees it when it has let go of the response. */
struct feed {
    struct exchange *exchange; /* in use while MHD asks */
    struct stream *stream;
};

static ssize_t feed_read(void *cls, uint64_t at, char *out, size_t room)
{
    (void)at;
    struct feed *f = cls;
    struct exchange *ex = f->exchange;
    ssize_t n = stream_take(f->stream, out, room);
    struct node *node = ex->http->node;
    http_connection_phase(ex->connection, uv_now(node->loop),
                          STREAM_STALL_MS + 2 * node->config->event_heartbeat_ms);
    if (n == 0)
        MHD_suspend_connection(ex->mhd); /* until feed_ready() */
    return n >= 0 ? n : MHD_CONTENT_READER_END_OF_STREAM;
}

static void feed_ready(void *data)
{
    struct feed *f = data;
    http_resume(f->exchange);
}

static void feed_free(void *cls)
{
    struct feed *f = cls;
    stream_close(f->stream);
    free(f);
}

struct MHD_Response *http_feed_response(struct exchange *ex)
{
    struct feed *f = malloc(sizeof *f);
    if (f == NULL)
        abort();
    *f = (struct feed){ex, ex->request.response.stream};
    ex->request.response.stream = NULL;
    stream_attach(f->stream, feed_ready, f);
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, FEED_BLOCK_BYTES, feed_read, f, feed_free);
    if (response == NULL) {
        feed_free(f);
        return NULL;
    }
    MHD_add_response_header(response, "Cache-Control", "no-cache");
    MHD_add_response_header(response, "X-Accel-Buffering", "no");
    return response;
}
