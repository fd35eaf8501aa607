/* JSON text: written directly into a bounded buffer, and cut into raw pieces without being changed. */
#ifndef NODE_JSON_H
#define NODE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec.h"

/* A growable run of characters that cannot grow past its maximum: beyond it `overflow` is set and nothing
 * more is written.  Reusable; `base` is not terminated. */
struct text {
    char *base;
    size_t size, capacity, max; /* bytes */
    bool overflow;
};

void text_init(struct text *t, size_t max);
void text_close(struct text *t);
void text_reset(struct text *t);
void text_put(struct text *t, const char *bytes, size_t size);
void text_cstr(struct text *t, const char *s);
void text_char(struct text *t, char c);
void text_uint(struct text *t, uint64_t v);
void text_int(struct text *t, int64_t v);
void text_printf(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A string with quotes and escapes.  Bytes that are not UTF-8 become U+FFFD, so the output is always JSON. */
void json_quote(struct text *t, struct assent_bytes s);
void json_quote_cstr(struct text *t, const char *s);

/* A decoded value as JSON.  Of a CODEC_JSON the text is written as it is; BIN becomes a string of hex digits;
 * nil and OTHER become null. */
void json_value(struct text *t, const struct codec_node *n);

/* ---- raw pieces of a text that is known to be JSON ---- */

/* A place in a JSON text that a parser has accepted. */
struct json_cursor {
    const char *at, *end;
};

/* Cut the value that starts at the cursor (after white space) and step behind it. */
struct assent_bytes json_cut(struct json_cursor *c);

/* Step into the object or list the cursor stands before; then json_next() cuts member after member: of an
 * object `key` gets the raw key with its quotes.  False: no more. */
void json_enter(struct json_cursor *c);
bool json_next(struct json_cursor *c, bool object, struct assent_bytes *key, struct assent_bytes *value);

/* Copy without white space between tokens; numbers and strings stay byte for byte.  False: nested deeper than
 * ASSENT_NESTING_MAX. */
bool json_compact(struct text *out, struct assent_bytes raw);

/* Is this one JSON value, complete and within the nesting limit? */
bool json_valid(struct assent_bytes raw);

#endif /* NODE_JSON_H */
