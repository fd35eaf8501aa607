/* The part of EDN that histories need: nil, integers, strings, keywords, vectors, maps.  Keywords are JSON
 * strings that begin with ':' and are written without quotes. */
#ifndef JEPSEN_EDN_H
#define JEPSEN_EDN_H

#include <jansson.h>
#include <stdio.h>

#define EDN_DEPTH_MAX 64

/* Non-zero: the stream refused, or the value holds what EDN here does not (a real number, a boolean is fine).
 */
int edn_write(FILE *out, const json_t *value);
/* One value from `*text`, which moves behind it; maps become objects with keys as they are written (":f",
 * "3"). NULL: not EDN. */
json_t *edn_read(const char **text);

#endif
