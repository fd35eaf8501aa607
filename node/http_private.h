/* What the files of the HTTP door share: an exchange and its connection.  Private to http.c, http_response.c.
 */
#ifndef NODE_HTTP_PRIVATE_H
#define NODE_HTTP_PRIVATE_H

#include <microhttpd.h>
#include <uv.h>

#include "address.h"
#include "config.h"
#include "http.h"
#include "request.h"

#define URI_SMALL_BYTES 256

enum phase {
    PHASE_HEAD,      /* first call of the handler comes next */
    PHASE_BODY,      /* body and its end */
    PHASE_RUNNING,   /* inside request_start() */
    PHASE_SUSPENDED, /* waits for on_done() */
    PHASE_ANSWERED,  /* the response is complete */
};

struct connection;

/* One request and its response. */
struct exchange {
    struct request request;
    struct http *http;
    struct connection *connection;
    struct MHD_Connection *mhd; /* NULL: MHD has let go */
    enum phase phase;
    bool busy;             /* request.c has not let go */
    struct exchange *next; /* free, or to be resumed */
    struct text body;
    uint64_t dropped;
    size_t uri_size;
    char *uri; /* `uri_small` or from malloc */
    char uri_small[URI_SMALL_BYTES];
};

/* A connection, for the sweep. */
struct connection {
    struct connection *next, *prev;
    int fd;
    uint64_t since_ms; /* start of what it does now */
    uint64_t limit_ms; /* how long that may take; 0: for ever */
};

struct listener {
    struct http *http;
    int fd; /* -1: MHD's, or closed */
    struct MHD_Daemon *daemon;
    uv_poll_t poll;
    char address[ADDRESS_TEXT_MAX];
};

struct http {
    struct node *node;
    struct listener listener[2 * CONFIG_LISTENERS_MAX];
    uint32_t listeners;
    uv_timer_t sweep;
    uint32_t handles; /* of uv, open */
    bool dirty;       /* MHD has something to do */
    struct exchange *spare, *resume, **resume_last;
    struct connection *connections;
    struct http_metrics metrics;
};

/* From `now_ms` on a connection has `limit_ms` for what it does, 0: for ever.  NULL: none. */
void http_connection_phase(struct connection *c, uint64_t now_ms, uint64_t limit_ms);
void http_header_uint(struct MHD_Response *response, const char *name, uint64_t v);
/* Resume the suspended exchange at the end of the turn. */
void http_resume(struct exchange *ex);

/* http_response.c: take `file` or `stream` of the exchange's response.  NULL: out of memory; they are closed.
 */
struct MHD_Response *http_backup_response(struct exchange *ex);
struct MHD_Response *http_feed_response(struct exchange *ex);

#endif /* NODE_HTTP_PRIVATE_H */
