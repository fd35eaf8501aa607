/* HTTP calls on the loop: libcurl's multi interface over uv_poll_t, keeping connections alive.
 *
 * One caller serves any number of concurrent calls; how many is the business of who calls.  Compressed
 * answers (gzip) are decoded, and every bound is one on decoded bytes.  Of https the certificate and the name
 * are verified, unless the caller was opened otherwise.  All on the loop thread. */
#ifndef NODE_CALLER_H
#define NODE_CALLER_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "assent/limits.h"
#include "assent/types.h"

#define CALLER_ERROR_BYTES_MAX 256
#define CALLER_BODY_KEPT       512           /* bytes of an answer that are kept for the error text */
#define CALLER_BODY_MAX        (1024 * 1024) /* bytes of an answer after which the call is cut off */
#define CALLER_HEAD_MAX        (64 * 1024)   /* bytes of all status lines and headers after which it fails */
/* Longest URL: a branch's, and what a style appends to it. */
#define CALLER_URL_BYTES_MAX (ASSENT_URL_BYTES_MAX + 2048)
#define CALLER_HEADERS_MAX   160 /* of one call: 64 of the branch, 64 of the transaction, our own */

struct caller;
struct caller_call;

/* `status` is the HTTP status, 0 when there was no complete answer.  `error` is empty when the status is 2xx,
 * otherwise a short sentence in printable ASCII; borrowed until return. */
typedef void (*caller_cb)(struct caller_call *call, int status, const char *error);

struct caller_header {
    struct assent_bytes name, value;
};

/* Which redirects are followed, and how far; a loop ends with an error.  Authorization and Cookie headers do
 * not go to another host. */
enum caller_redirects {
    CALLER_REDIRECTS_SAME, /* 307 and 308, which keep method and body, 5 of them; others are the answer */
    CALLER_REDIRECTS_ANY   /* all, 10 of them; 301, 302 and 303 turn a POST into a GET */
};

/* What to send; everything is copied. */
struct caller_request {
    struct assent_bytes url, body;
    const struct caller_header *headers;
    uint32_t n_headers;
    uint32_t timeout_ms; /* of the whole call, redirects included */
    bool get;            /* GET without a body; else POST */
    bool keep;           /* keep the whole answer, for caller_answer() */
    enum caller_redirects redirects;
};

/* Words that are looked for in the whole answer, also across the pieces it arrives in. */
enum caller_word { CALLER_WORD_ONGOING, CALLER_WORD_FAILURE, CALLER_WORD_NR };
#define CALLER_WORD_BYTES_MAX 7

/* One call under way.  Embed it; it must outlive `cb`. */
struct caller_call {
    void *data;    /* the caller's */
    caller_cb cb;  /* private from here on */
    void *easy;    /* CURL; NULL when idle */
    void *request; /* what libcurl borrows while the call is under way: its headers and body, one block */
    struct caller *caller;
    enum caller_redirects redirects;
    bool unreachable; /* see caller_unreachable() */
    bool keep;
    bool has[CALLER_WORD_NR];
    uint32_t seam_size; /* the last bytes of the answer seen, to find words across pieces */
    char seam[2 * CALLER_WORD_BYTES_MAX];
    uint32_t kept;     /* bytes in `body` */
    uint32_t head;     /* bytes of heads seen */
    uint64_t total;    /* bytes of the answer seen */
    char message[256]; /* libcurl's own words */
    char body[CALLER_BODY_KEPT];
    char *whole; /* of `keep`; NULL: none */
    size_t whole_room;
};

struct caller_config {
    const char *ca_file; /* PEM; trusted in place of the system's; NULL: the system's */
    bool insecure;       /* verify no certificate */
};

/* Copies `config`.  Returns ASSENT_NOMEM when libcurl cannot start. */
int caller_open(struct caller **caller, uv_loop_t *loop, const struct caller_config *config);
/* Calls under way are dropped without their callback.  `cb` fires later, when no handle is left; then the
 * caller is gone. */
void caller_close(struct caller *caller, void (*cb)(void *data), void *data);

/* Start a call.  Non-zero (ASSENT_INVALID: a header with a control character, or too many; ASSENT_NOMEM):
 * `cb` never fires.  Zero: it fires exactly once, later, unless the call is dropped. */
int caller_start(struct caller *caller, struct caller_call *call, const struct caller_request *request,
                 caller_cb cb);
/* During `cb`: does the answer, as far as it was read, hold the word? */
bool caller_answer_has(const struct caller_call *call, enum caller_word word);
/* During `cb`, of a call with `keep`: the answer, as far as it was read. */
struct assent_bytes caller_answer(const struct caller_call *call);
/* During `cb`: there was no answer, or not in time, and the fault is not in what was asked for. */
bool caller_unreachable(const struct caller_call *call);
/* The beginning of the answer as a sentence in printable ASCII, as `error` has it. */
void caller_answer_text(const struct caller_call *call, int status, char *out, size_t size);
/* End a call at once: its connection is closed and its callback never fires. */
void caller_drop(struct caller_call *call);

#endif /* NODE_CALLER_H */
