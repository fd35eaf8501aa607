/* One HTTP request from its bytes to its answer: decode, find who does it, wait, try again, give up in time.
 */
#ifndef NODE_REQUEST_H
#define NODE_REQUEST_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "arguments.h"
#include "backup.h"
#include "forward.h"
#include "leader_call.h"
#include "read_gate.h"
#include "routes.h"

struct node;
struct request;

/* What a client sent, taken from HTTP.  Borrowed until request_start() returns. */
struct request_input {
    const char *method;
    struct assent_bytes uri; /* path and query as written; this one until `done` */
    struct assent_bytes body;
    const char *key;        /* Idempotency-Key; NULL: none */
    const char *ns;         /* X-Assent-Namespace; NULL: the default one */
    const char *last_event; /* Last-Event-ID; NULL: none */
    bool never_forward;     /* X-Assent-Forward: never */
    /* Value of a header of the request, NULL: none; `headers` is its first argument.  May be NULL. */
    const char *(*header)(const void *headers, const char *name);
    const void *headers;
};

/* A back-up to stream: its cover, then the open file, which may lose its name meanwhile. */
struct response_file {
    int fd;
    struct raftlog_snapshot snapshot;
    uint8_t cover[BACKUP_COVER_BYTES];
};

/* What it gets.  `body` is filled by request.c and owned by the door. */
struct response {
    int http_status;
    const char *content_type;
    bool placed; /* index and term are known */
    uint64_t index, term;
    bool aged; /* a stale read */
    uint64_t age_ms;
    bool retry_later;           /* Retry-After: 1 */
    char allow[64];             /* of 405 */
    char *location;             /* of 307; from malloc, the door's to free; NULL: none */
    struct stream *stream;      /* of events, the door's to send and close; NULL: none */
    struct response_file *file; /* from malloc, the door's to stream and free; NULL: `body` is all */
    struct text body;
};

/* How the answers of another door than the native one look (dtm.c).  NULL in a request: the native one. */
enum request_next {
    REQUEST_ANSWERED, /* r->response is complete */
    REQUEST_AGAIN,    /* request_step() has named a further command or query */
    REQUEST_WATCH     /* wait for request_resume(), or until r->watch_until_ms of the loop's time */
};
struct request_face {
    /* A step ended: a result (`data` may be NULL), a refusal, or an operating error, which must be answered.
     * After WATCH: OK without data.  All borrowed until return. */
    enum request_next (*ended)(struct request *r, int code, const struct codec_node *data,
                               struct assent_bytes detail);
    /* Once, when the response is complete: free what r->door points to. */
    void (*closed)(struct request *r);
    bool repeatable; /* a command whose outcome is unknown may be sent again: it carries a name of its own */
};

/*   START --> CALLING ----> DONE        START picks the road: this node leads (CALLING), another node does
 *     |  \--> FORWARDED --> DONE        (FORWARDED), a query (READING), nobody known (HELD).
 *     |  \--> READING ----> DONE        A road that says "not me" leads to HELD, and a wake-up, a new leader
 *     |  \--> HELD -------> DONE        or a timer, back to START, until the hold time is over.
 *     \------------------->-DONE        DONE is final; an abandoned call may still be under way below.
 *
 * A door with a face may follow a road by another one (back to START), or wait on it (WATCHING). */
enum request_state {
    REQUEST_START,
    REQUEST_CALLING,
    REQUEST_FORWARDED,
    REQUEST_READING,
    REQUEST_HELD,
    REQUEST_WATCHING,
    REQUEST_DONE,
    REQUEST_STATE_NR
};

/* The response is complete.  Fires once, maybe inside request_start(). */
typedef void (*request_done_cb)(struct request *r);
/* Nothing refers to the request any more: it may be reused.  Fires once, after `done`. */
typedef void (*request_idle_cb)(struct request *r);

#define REQUEST_SMALL_BYTES 256

/* Embed it, and set `response` up before. */
struct request {
    void *data;
    struct response response;
    const struct route *route;       /* NULL: no such path */
    uint64_t started_us;             /* loop time, for latency */
    const struct request_face *face; /* set while the input is read */
    void *door;                      /* the face's own */
    bool uncertain;                  /* an earlier try of this step may have been committed */
    uint64_t watch_until_ms;         /* of WATCH */
    struct node *node;
    uint64_t index, term; /* where the last step stands; 0: nowhere */
    uint64_t started_ms;  /* loop time */
    /* private */
    enum route_kind kind; /* of the step: COMMAND, QUERY or LEADER */
    uint32_t special;     /* of LEADER */
    uint64_t captured;    /* number in the path of a local route */
    enum request_state state;
    request_done_cb done;
    request_idle_cb idle;
    struct request *next, *prev;                       /* all unanswered, oldest first */
    bool listed, keyed, stale, never_forward, pending; /* pending: a callback will fire */
    int status;                                        /* of the last step */
    uint8_t small[REQUEST_SMALL_BYTES];
    uint8_t *bytes; /* command, query or arguments; `small` or from malloc */
    size_t bytes_size;
    struct assent_bytes result; /* valid inside the tick only */
    struct assent_bytes detail;
    struct assent_bytes uri; /* borrowed from the door */
    union {
        struct leader_call call;
        struct forward_wait forward;
        struct read_wait read;
    } wait;
};

/* What all requests of a node share. */
struct requests {
    struct node *node;
    struct arguments arguments;
    struct codec_writer writer;
    struct codec_arena arena;
    struct request *first, *last; /* unanswered, oldest first */
    uint32_t active, held, watching;
    uv_timer_t timer;
};

void requests_init(struct requests *rs, struct node *node);
void requests_close(struct requests *rs);

/* A leader may be known now: try the held ones again. */
void requests_wake(struct requests *rs);
/* Answer every request that waits for a leader or for an answer: the node stops. */
void requests_shutdown(struct requests *rs);

/* Take a request; `done` fires when response is complete, then `idle`. */
void request_start(struct request *r, struct node *node, const struct request_input *input,
                   request_done_cb done, request_idle_cb idle);

/* ---- for faces ---- */

/* Name the next step: a ROUTE_COMMAND or ROUTE_QUERY as encoded bytes (copied).  ASSENT_NOMEM. */
int request_step(struct request *r, enum route_kind kind, struct assent_bytes bytes);
/* What a request WATCHes for has come; safe when it does not watch. */
void request_resume(struct request *r);

/* The answer in the native envelope: fills the response, which is TOO_LARGE when the data do not fit. */
void request_answer(struct request *r, const struct codec_node *data);

/* The error body, for doors that refuse by themselves. */
void response_error(struct response *response, int code, struct assent_bytes detail);

#endif /* NODE_REQUEST_H */
