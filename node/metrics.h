/* What the node counts about itself, and the page Prometheus reads. */
#ifndef NODE_METRICS_H
#define NODE_METRICS_H

#include <stdint.h>

#include "json.h"
#include "raftlog.h"
#include "routes.h"

#define METRICS_CODES      20 /* HTTP status codes told apart */
#define METRICS_ROUTES_MAX 128

struct node;

struct metrics {
    uint64_t http[METRICS_ROUTES_MAX][METRICS_CODES]; /* requests by route (the last: none) and code */
    struct raftlog_histogram http_latency[3];         /* of commands, queries, the rest */
};

/* A request was answered.  `route` NULL: no such path. */
void metrics_http(struct metrics *m, const struct route *route, int http_status, uint64_t took_us);

/* The whole page, in Prometheus' text format. */
void metrics_page(struct node *node, struct text *out);

/* One histogram in that format; `labels` like `kind="query"` or empty.  Seconds. */
void metrics_histogram(struct text *out, const char *name, const char *labels,
                       const struct raftlog_histogram *h);

#endif /* NODE_METRICS_H */
