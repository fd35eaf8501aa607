/* Signed calls: a participant that shares a key with the coordinator can tell its calls from others'.
 *
 *   Assent-Signature: t=<milliseconds since 1970>,v1=<hex>
 *
 * where hex is HMAC-SHA-256 (RFC 2104, RFC 6234) with the key over
 *
 *   <t> "." <method> "." <path and query, as sent> "." <body>
 *
 * A participant recomputes it, compares in constant time, and refuses a `t` that is minutes away. */
#ifndef NODE_SIGNATURE_H
#define NODE_SIGNATURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "assent/types.h"

#define SIGNATURE_BYTES_MAX 112 /* of the header's value, with its end */
#define SIGNATURE_KEY_MIN   16  /* bytes of a key */
#define SIGNATURE_KEY_MAX   4096
#define SIGNATURE_RULES_MAX 64

/* Keys by beginning of the URL; the longest beginning that fits counts. */
struct signature_keys;

/* Parse rules "url-prefix=keyfile" (split at the last '=') and read the files: all bytes but a last newline
 * are the key.  False with a sentence in `err`. */
bool signature_open(struct signature_keys **keys, char *const *rules, uint32_t n, char *err, size_t err_size);
void signature_close(struct signature_keys *keys); /* NULL: nothing */

/* The header's value for a call; false: no key is meant for this URL.  `keys` may be NULL. */
bool signature_make(const struct signature_keys *keys, struct assent_bytes url, const char *method,
                    struct assent_bytes body, int64_t now_ms, char out[SIGNATURE_BYTES_MAX]);

/* Does `url` lie below `prefix`?  Case-sensitive; behind the prefix the URL ends, or a new part of it begins,
 * so that http://bank does not stand for http://bank.example. */
bool url_below(struct assent_bytes url, const char *prefix);

#endif /* NODE_SIGNATURE_H */
