/* From what a client wrote (JSON body, query string, path) to the arguments of a command, by its field table.
 */
#ifndef NODE_ARGUMENTS_H
#define NODE_ARGUMENTS_H

#include "routes.h"

/* What a request brought.  All borrowed. */
struct argument_source {
    struct assent_bytes body;             /* JSON object; may be empty when `use_body` */
    struct assent_bytes query;            /* raw query string without '?' */
    const struct route_capture *captures; /* of the path */
    uint32_t captures_n;
    bool use_body; /* arguments stand in the body (POST), else in the query string */
};

#define ARGUMENTS_MAX    32
#define ARGUMENT_WHY_MAX 256

/* One value, where it was found. */
struct argument {
    enum { ARGUMENT_ABSENT, ARGUMENT_JSON, ARGUMENT_TEXT } from;
    void *json;              /* parsed value, owned by `document` */
    struct assent_bytes raw; /* the text it was written as */
};

/* Arguments on their way; large, so one is reused for all requests. */
struct arguments {
    const struct field *fields;
    struct argument value[ARGUMENTS_MAX];
    uint32_t n;       /* values up to the last one that is present */
    bool stale;       /* the query string said stale=true */
    uint64_t wait_ms; /* it said waitMs=; 0: it did not */
    void *document;
    struct text compact;
    size_t decoded_size;
    char decoded[ROUTES_URI_MAX];
    char why[ARGUMENT_WHY_MAX]; /* of an error: a sentence that names the field */
};

void arguments_init(struct arguments *a);
void arguments_close(struct arguments *a);

/* Find a value for every field.  0, or MALFORMED (not JSON, not an object, broken encoding), INVALID (unknown
 * or doubled field), TOO_LARGE; `why` says more.  Borrows the source until the next call. */
int arguments_read(struct arguments *a, const struct field *fields, const struct argument_source *source);

/* A value for a field of that name which has none; without such a field nothing.  Borrows `value`. */
void arguments_default(struct arguments *a, const char *name, struct assent_bytes value);

/* Write the `n` values, one codec value each, converting by kind.  0 or INVALID with `why`.  Limits and names
 * are left to command_decode(), which both doors pass. */
int arguments_write(struct arguments *a, struct codec_writer *w);

#endif /* NODE_ARGUMENTS_H */
