/* HTTP requests of the judge: one at a time per caller, with a time limit.  Thread-safe. */
#ifndef JEPSEN_HTTP_H
#define JEPSEN_HTTP_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* What is certain about a request that ended. */
enum http_outcome {
    HTTP_DONE,    /* answered with success */
    HTTP_REFUSED, /* certainly not done: nobody was reached, or the answer says so */
    HTTP_UNKNOWN  /* it may have happened */
};

struct http_answer {
    enum http_outcome outcome;
    long status;       /* 0: no answer */
    json_t *data;      /* of success; owned by the answer */
    int64_t server_ms; /* the node's wall clock as the answer says it; 0: it does not say */
    char error[64];    /* code of the product or of the transport; "" on success */
};

/* `base` is "http://host:port"; `path` begins with '/'; `key` (may be NULL) is the Idempotency-Key; `body`
 * (may be NULL) is borrowed.  A read has no effect, so it is never UNKNOWN. */
void http_ask(const char *base, const char *method, const char *path, const char *key, const json_t *body,
              long timeout_ms, bool read, struct http_answer *out);
/* A page as it stands; NULL: there was none.  Free it. */
char *http_text(const char *base, const char *path, long timeout_ms);
void http_close(struct http_answer *answer);

#endif
