/* The HTTP door: libmicrohttpd on the node's loop, no thread of its own.
 *
 * Each listener is a daemon whose epoll descriptor lies under one uv_poll_t.  What became ready is gathered,
 * and MHD_run() is called once per turn, after the finished requests of the turn have been resumed. */
#ifndef NODE_HTTP_H
#define NODE_HTTP_H

#include <stddef.h>
#include <stdint.h>

struct http;
struct node;

struct http_metrics {
    uint64_t connections; /* open now */
    uint64_t accepted, requests, slow_closed;
    uint64_t refused;   /* closed at once: http-connections were open */
    uint32_t exchanges; /* under way now */
};

/* Bind every --http.  Nothing is served before http_serve(). */
int http_open(struct http **http, struct node *node, char *err, size_t err_size);
/* Address of the first listener, with its real port. */
const char *http_address(const struct http *http);
int http_serve(struct http *http, char *err, size_t err_size);

/* End of the turn. */
void http_turn(struct http *http);

/* Accept no more connections; those that are open go on. */
void http_quiesce(struct http *http);
/* Requests under way. */
uint32_t http_busy(const struct http *http);
/* Resume what is left, send what can be sent, close all.  Every request must have been answered. */
void http_close(struct http *http);

void http_metrics(const struct http *http, struct http_metrics *out);

#endif /* NODE_HTTP_H */
