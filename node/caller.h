/* HTTP POSTs on the loop: libcurl's multi interface over uv_poll_t, keeping connections alive.
 *
 * One caller serves any number of concurrent calls; how many is the business of who calls.  All on the loop
 * thread. */
#ifndef NODE_CALLER_H
#define NODE_CALLER_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "assent/types.h"

#define CALLER_ERROR_BYTES_MAX 256
#define CALLER_BODY_KEPT                                                                                     \
    4096                                 /* bytes of an answer that are kept: for the error text, and to be  \
                                          * searched by caller_answer_has() */
#define CALLER_BODY_MAX    (1024 * 1024) /* bytes of an answer after which the call is cut off */
#define CALLER_HEADERS_MAX 96            /* of one call */

struct caller;
struct caller_call;

/* `status` is the HTTP status, 0 when there was no answer.  `error` is empty when the status is 2xx,
 * otherwise a short sentence in printable ASCII; borrowed until return. */
typedef void (*caller_cb)(struct caller_call *call, int status, const char *error);

struct caller_header {
    struct assent_bytes name, value;
};

/* What to send; everything is copied. */
struct caller_request {
    struct assent_bytes url, body;
    const struct caller_header *headers;
    uint32_t n_headers;
    uint32_t timeout_ms; /* of the whole call */
};

/* One call under way.  Embed it; it must outlive `cb`. */
struct caller_call {
    void *data;    /* the caller's */
    caller_cb cb;  /* private from here on */
    void *easy;    /* CURL; NULL when idle */
    void *headers; /* curl_slist */
    struct caller *caller;
    uint32_t kept;     /* bytes in `body` */
    uint64_t total;    /* bytes of the answer seen */
    char message[256]; /* libcurl's own words */
    char body[CALLER_BODY_KEPT];
};

/* Returns ASSENT_NOMEM when libcurl cannot start. */
int caller_open(struct caller **caller, uv_loop_t *loop);
/* Calls under way are dropped without their callback.  `cb` fires later, when no handle is left; then the
 * caller is gone. */
void caller_close(struct caller *caller, void (*cb)(void *data), void *data);

/* Start a POST.  Non-zero (ASSENT_INVALID: a header with a control character, or too many; ASSENT_NOMEM):
 * `cb` never fires.  Zero: it fires exactly once, later, unless the call is dropped. Redirects are not
 * followed. */
int caller_post(struct caller *caller, struct caller_call *call, const struct caller_request *request,
                caller_cb cb);
/* During `cb`: do the kept bytes of the answer hold `word`? */
bool caller_answer_has(const struct caller_call *call, const char *word);
/* The beginning of the answer as a sentence in printable ASCII, as `error` has it. */
void caller_answer_text(const struct caller_call *call, int status, char *out, size_t size);
/* End a call at once: its connection is closed and its callback never fires. */
void caller_drop(struct caller_call *call);

#endif /* NODE_CALLER_H */
