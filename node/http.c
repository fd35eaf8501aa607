/* The HTTP door: libmicrohttpd on the node's loop, no thread of its own.
 *
 * The happy path: on_uri() takes an exchange from the free list, on_request() gathers the body, hands it to
 * request.c and suspends the connection; on_done() puts the exchange on the list of those to resume;
 * http_turn() resumes them together and lets MHD send.  A suspended connection has no timeout and notices
 * nothing, so the deadline belongs to request.c.  The failures: too large (413, early when the length is
 * announced), too slow (the sweep shuts the socket), too many connections (closed as they come). */
#include "http.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "address.h"
#include "http_private.h"
#include "node.h"
#include "stream.h"

/* How often slow connections are looked for. */
#define SWEEP_MS 1000
/* Memory of one connection inside MHD: headers may take most of it. */
#define CONNECTION_BYTES_MAX (32u * 1024)
/* A body of unknown length that passes the limit is read and dropped up to this, then cut. */
#define DROPPED_BYTES_MAX (4u * ASSENT_BODY_BYTES_MAX)
/* A buffer larger than this is not kept for the next exchange. */
#define KEPT_BYTES_MAX (64u * 1024)

/* ---- exchanges ---- */

static struct exchange *exchange_new(struct http *http)
{
    struct exchange *ex = http->spare;
    if (ex != NULL) {
        http->spare = ex->next;
    } else {
        ex = calloc(1, sizeof *ex);
        if (ex == NULL)
            abort();
        ex->http = http;
        ex->request.data = ex;
        text_init(&ex->body, ASSENT_BODY_BYTES_MAX);
        text_init(&ex->request.response.body, (size_t)ASSENT_BODY_BYTES_MAX * 4);
    }
    ex->phase = PHASE_HEAD;
    ex->busy = false;
    ex->dropped = 0;
    http->metrics.exchanges++;
    return ex;
}

static void exchange_delete(struct exchange *ex)
{
    text_close(&ex->body);
    text_close(&ex->request.response.body);
    free(ex);
}

/* Back to the free list, once neither MHD nor request.c refers to it. */
static void exchange_release(struct exchange *ex)
{
    if (ex->mhd != NULL || ex->busy)
        return;
    struct http *http = ex->http;
    free(ex->request.response.location);
    ex->request.response.location = NULL;
    if (ex->request.response.file != NULL) { /* the client was gone before it was sent */
        close(ex->request.response.file->fd);
        free(ex->request.response.file);
        ex->request.response.file = NULL;
    }
    stream_close(ex->request.response.stream);
    ex->request.response.stream = NULL;
    if (ex->uri != ex->uri_small)
        free(ex->uri);
    if (ex->body.capacity > KEPT_BYTES_MAX)
        text_close(&ex->body);
    if (ex->request.response.body.capacity > KEPT_BYTES_MAX)
        text_close(&ex->request.response.body);
    text_reset(&ex->body);
    ex->next = http->spare;
    http->spare = ex;
    http->metrics.exchanges--;
}

void http_connection_phase(struct connection *c, uint64_t now_ms, uint64_t limit_ms)
{
    if (c == NULL)
        return;
    c->since_ms = now_ms;
    c->limit_ms = limit_ms;
}

/* ---- what MHD calls ---- */

/* At its own limit MHD stops accepting, and clients wait for nothing: close what comes on top instead. */
static enum MHD_Result admits(void *cls, const struct sockaddr *address, socklen_t size)
{
    struct http *http = cls;
    (void)address;
    (void)size;
    if (http->metrics.connections < http->node->config->http_connections)
        return MHD_YES;
    http->metrics.refused++;
    return MHD_NO;
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http *http = cls;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        struct connection *c = calloc(1, sizeof *c);
        if (c == NULL)
            abort();
        c->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        http_connection_phase(c, uv_now(http->node->loop), http->node->config->http_read_s * 1000);
        c->next = http->connections;
        if (c->next != NULL)
            c->next->prev = c;
        http->connections = c;
        http->metrics.connections++;
        http->metrics.accepted++;
        *context = c;
        return;
    }
    struct connection *c = *context;
    if (c == NULL)
        return;
    *(c->prev ? &c->prev->next : &http->connections) = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    http->metrics.connections--;
    free(c);
    *context = NULL;
}

static struct connection *connection_of(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info != NULL ? info->socket_context : NULL;
}

/* The request line is complete: what it returns is `*context` of the calls below. */
static void *on_uri(void *cls, const char *uri, struct MHD_Connection *mhd)
{
    struct http *http = cls;
    struct exchange *ex = exchange_new(http);
    ex->mhd = mhd;
    ex->connection = connection_of(mhd);
    ex->uri_size = strlen(uri);
    ex->uri = ex->uri_size < sizeof ex->uri_small ? ex->uri_small : malloc(ex->uri_size + 1);
    if (ex->uri == NULL)
        abort();
    memcpy(ex->uri, uri, ex->uri_size + 1);
    http_connection_phase(ex->connection, uv_now(http->node->loop), http->node->config->http_read_s * 1000);
    http->metrics.requests++;
    return ex;
}

static void on_completed(void *cls, struct MHD_Connection *mhd, void **context,
                         enum MHD_RequestTerminationCode code)
{
    (void)mhd;
    (void)code;
    struct http *http = cls;
    struct exchange *ex = *context;
    if (ex == NULL)
        return;
    http_connection_phase(ex->connection, uv_now(http->node->loop), http->node->config->http_idle_s * 1000);
    ex->mhd = NULL;
    *context = NULL;
    exchange_release(ex);
}

void http_header_uint(struct MHD_Response *response, const char *name, uint64_t v)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%llu", (unsigned long long)v);
    MHD_add_response_header(response, name, digits);
}

void http_resume(struct exchange *ex)
{
    ex->next = NULL;
    *ex->http->resume_last = ex;
    ex->http->resume_last = &ex->next;
    node_wake(ex->http->node);
}

/* Hand the complete response to MHD.  The body stays ours, and in place until on_completed(). */
static enum MHD_Result send_response(struct exchange *ex)
{
    const struct response *r = &ex->request.response;
    struct MHD_Response *response =
        r->file != NULL ? http_backup_response(ex)
        : r->stream != NULL
            ? http_feed_response(ex)
            : MHD_create_response_from_buffer(r->body.size, r->body.base, MHD_RESPMEM_PERSISTENT);
    if (response == NULL)
        return MHD_NO;
    MHD_add_response_header(response, "Content-Type", r->content_type);
    http_header_uint(response, "X-Assent-Index", r->index);
    http_header_uint(response, "X-Assent-Term", r->term);
    if (r->aged)
        http_header_uint(response, "X-Assent-Age-Ms", r->age_ms);
    if (r->retry_later)
        MHD_add_response_header(response, "Retry-After", "1");
    if (r->allow[0] != 0)
        MHD_add_response_header(response, "Allow", r->allow);
    if (r->location != NULL)
        MHD_add_response_header(response, "Location", r->location);
    if (ex->http->node->state != NODE_RUNNING)
        MHD_add_response_header(response, "Connection", "close");
    enum MHD_Result result = MHD_queue_response(ex->mhd, (unsigned int)r->http_status, response);
    MHD_destroy_response(response);
    http_connection_phase(ex->connection, uv_now(ex->http->node->loop),
                          ex->http->node->config->http_idle_s * 1000);
    return result;
}

/* Refuse without asking request.c. */
static enum MHD_Result send_error(struct exchange *ex, int code)
{
    struct response *r = &ex->request.response;
    struct node *node = ex->http->node;
    r->aged = false;
    r->file = NULL;
    r->stream = NULL;
    r->allow[0] = 0;
    r->index = node->applied_index;
    r->term = node->term;
    response_error(r, code, (struct assent_bytes){NULL, 0});
    metrics_http(&node->metrics, NULL, r->http_status, 0);
    ex->phase = PHASE_ANSWERED;
    return send_response(ex);
}

static void on_done(struct request *request)
{
    struct exchange *ex = request->data;
    bool suspended = ex->phase == PHASE_SUSPENDED;
    ex->phase = PHASE_ANSWERED;
    if (!suspended)
        return; /* inside request_start() */
    http_resume(ex);
}

static void on_idle(struct request *request)
{
    struct exchange *ex = request->data;
    ex->busy = false;
    exchange_release(ex);
}

static const char *header(const void *headers, const char *name)
{
    const struct exchange *ex = headers;
    return MHD_lookup_connection_value(ex->mhd, MHD_HEADER_KIND, name);
}

static enum MHD_Result run(struct exchange *ex, const char *method)
{
    const char *forward = MHD_lookup_connection_value(ex->mhd, MHD_HEADER_KIND, "X-Assent-Forward");
    struct request_input input = {
        .method = method,
        .uri = {(const uint8_t *)ex->uri, ex->uri_size},
        .body = {(const uint8_t *)ex->body.base, ex->body.size},
        .key = MHD_lookup_connection_value(ex->mhd, MHD_HEADER_KIND, "Idempotency-Key"),
        .ns = MHD_lookup_connection_value(ex->mhd, MHD_HEADER_KIND, "X-Assent-Namespace"),
        .last_event = MHD_lookup_connection_value(ex->mhd, MHD_HEADER_KIND, "Last-Event-ID"),
        .never_forward = forward != NULL && strcasecmp(forward, "never") == 0,
        .header = header,
        .headers = ex,
    };
    ex->phase = PHASE_RUNNING;
    ex->busy = true;
    http_connection_phase(ex->connection, 0, 0);
    request_start(&ex->request, ex->http->node, &input, on_done, on_idle);
    if (ex->phase == PHASE_ANSWERED)
        return send_response(ex);
    ex->phase = PHASE_SUSPENDED;
    MHD_suspend_connection(ex->mhd);
    return MHD_YES;
}

/* Is the announced length above the limit? */
static bool announced_too_large(struct MHD_Connection *mhd)
{
    const char *length = MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, "Content-Length");
    return length != NULL && strtoull(length, NULL, 10) > ASSENT_BODY_BYTES_MAX;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
                                  const char *version, const char *data, size_t *data_size, void **context)
{
    (void)cls;
    (void)url;
    (void)version;
    struct exchange *ex = *context;
    assert(ex != NULL && ex->mhd == mhd);
    switch (ex->phase) {
    case PHASE_HEAD:
        if (ex->uri_size > ROUTES_URI_MAX || announced_too_large(mhd))
            return send_error(ex, ASSENT_TOO_LARGE);
        ex->phase = PHASE_BODY;
        return MHD_YES;
    case PHASE_BODY:
        if (*data_size == 0)
            return ex->body.overflow ? send_error(ex, ASSENT_TOO_LARGE) : run(ex, method);
        text_put(&ex->body, data, *data_size);
        ex->dropped += ex->body.overflow ? *data_size : 0;
        *data_size = 0;
        return ex->dropped > DROPPED_BYTES_MAX ? MHD_NO : MHD_YES;
    case PHASE_ANSWERED:
        return send_response(ex);
    case PHASE_RUNNING:
    case PHASE_SUSPENDED:
        break;
    }
    return MHD_YES; /* called while suspended: nothing to do */
}

/* ---- the loop ---- */

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct listener *l = poll->data;
    l->http->dirty = true;
    node_wake(l->http->node);
}

static void on_sweep(uv_timer_t *timer)
{
    struct http *http = timer->data;
    uint64_t now_ms = uv_now(http->node->loop);
    for (struct connection *c = http->connections; c != NULL; c = c->next) {
        if (c->limit_ms == 0 || now_ms - c->since_ms < c->limit_ms)
            continue;
        shutdown(c->fd, SHUT_RDWR); /* MHD sees the end and cleans up */
        http->metrics.slow_closed++;
        c->limit_ms = 0;
    }
    http->dirty = true; /* MHD's own housekeeping */
    node_wake(http->node);
}

void http_turn(struct http *http)
{
    while (http->resume != NULL) {
        struct exchange *ex = http->resume;
        http->resume = ex->next;
        if (http->resume == NULL)
            http->resume_last = &http->resume;
        MHD_resume_connection(ex->mhd);
        http->dirty = true;
    }
    if (!http->dirty)
        return;
    http->dirty = false;
    for (uint32_t i = 0; i < http->listeners; i++) {
        struct MHD_Daemon *daemon = http->listener[i].daemon;
        if (daemon == NULL)
            continue;
        MHD_run(daemon);
        MHD_UNSIGNED_LONG_LONG timeout;
        if (MHD_get_timeout(daemon, &timeout) == MHD_YES && timeout == 0) {
            http->dirty = true;
            node_wake(http->node);
        }
    }
}

/* ---- opening and closing ---- */

static bool listener_bind(struct listener *l, const char *where, char *err, size_t err_size)
{
    struct sockaddr_storage address;
    if (!address_resolve(where, &address, err, err_size))
        return false;
    l->fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;
    socklen_t size = sizeof address;
    if (l->fd < 0 || setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(l->fd, (struct sockaddr *)&address, size) != 0 || listen(l->fd, SOMAXCONN) != 0 ||
        getsockname(l->fd, (struct sockaddr *)&address, &size) != 0) {
        snprintf(err, err_size, "cannot serve HTTP on %.100s: %s", where, strerror(errno));
        return false;
    }
    address_text(&address, l->address, sizeof l->address);
    return true;
}

int http_open(struct http **out, struct node *node, char *err, size_t err_size)
{
    struct http *http = calloc(1, sizeof *http);
    if (http == NULL)
        return ASSENT_NOMEM;
    http->node = node;
    http->resume_last = &http->resume;
    uv_timer_init(node->loop, &http->sweep);
    http->sweep.data = http;
    http->handles = 1;
    *out = http;
    const struct config_list *own = &node->config->http, *dtm = &node->config->dtm_http;
    for (uint32_t i = 0; i < own->n + dtm->n; i++) {
        struct listener *l = &http->listener[http->listeners++];
        l->http = http;
        l->fd = -1;
        const char *where = i < own->n ? own->item[i] : dtm->item[i - own->n];
        if (!listener_bind(l, where, err, err_size)) {
            http_close(http);
            *out = NULL;
            return ASSENT_IO;
        }
    }
    return ASSENT_OK;
}

const char *http_address(const struct http *http)
{
    return http->listener[0].address;
}

static bool listener_serve(struct listener *l)
{
    l->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, admits, l->http, on_request,
                                 l->http, MHD_OPTION_LISTEN_SOCKET, l->fd, MHD_OPTION_CONNECTION_LIMIT,
                                 (unsigned int)INT_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                                 (size_t)CONNECTION_BYTES_MAX, MHD_OPTION_URI_LOG_CALLBACK, on_uri, l->http,
                                 MHD_OPTION_NOTIFY_COMPLETED, on_completed, l->http,
                                 MHD_OPTION_NOTIFY_CONNECTION, on_connection, l->http, MHD_OPTION_END);
    if (l->daemon == NULL)
        return false;
    l->fd = -1; /* the daemon's now */
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(l->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (info == NULL || uv_poll_init(l->http->node->loop, &l->poll, info->epoll_fd) != 0)
        return false;
    l->poll.data = l;
    l->http->handles++;
    uv_poll_start(&l->poll, UV_READABLE, on_readable);
    return true;
}

int http_serve(struct http *http, char *err, size_t err_size)
{
    for (uint32_t i = 0; i < http->listeners; i++) {
        if (!listener_serve(&http->listener[i])) {
            snprintf(err, err_size, "libmicrohttpd cannot start on %s; is the limit of open files too low?",
                     http->listener[i].address);
            return ASSENT_IO;
        }
        log_write(&http->node->logger, LOG_INFO, "http_listening", "address=%s", http->listener[i].address);
    }
    uv_timer_start(&http->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
    return ASSENT_OK;
}

void http_quiesce(struct http *http)
{
    for (uint32_t i = 0; i < http->listeners; i++) {
        struct listener *l = &http->listener[i];
        if (l->daemon != NULL && l->fd < 0) {
            l->fd = MHD_quiesce_daemon(l->daemon);
            if (l->fd >= 0)
                close(l->fd);
        }
    }
}

uint32_t http_busy(const struct http *http)
{
    return http->metrics.exchanges;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct http *http = handle->type == UV_TIMER ? handle->data : ((struct listener *)handle->data)->http;
    if (--http->handles > 0)
        return;
    while (http->spare != NULL) {
        struct exchange *ex = http->spare;
        http->spare = ex->next;
        exchange_delete(ex);
    }
    free(http);
}

void http_close(struct http *http)
{
    http_turn(http); /* answers that wait to be sent */
    http_turn(http);
    for (uint32_t i = 0; i < http->listeners; i++) {
        struct listener *l = &http->listener[i];
        if (l->daemon == NULL) {
            if (l->fd >= 0)
                close(l->fd);
            continue;
        }
        if (l->poll.data != NULL)
            uv_poll_stop(&l->poll);
        MHD_stop_daemon(l->daemon);
        l->daemon = NULL;
        if (l->poll.data != NULL)
            uv_close((uv_handle_t *)&l->poll, on_handle_closed);
    }
    uv_close((uv_handle_t *)&http->sweep, on_handle_closed);
}

void http_metrics(const struct http *http, struct http_metrics *out)
{
    *out = http->metrics;
}
