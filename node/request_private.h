/* What request.c and request_decode.c share. */
#ifndef NODE_REQUEST_PRIVATE_H
#define NODE_REQUEST_PRIVATE_H

#include <string.h>

#include "request.h"

static const struct assent_bytes nothing = {NULL, 0};

static inline struct assent_bytes cstr_bytes(const char *s)
{
    return (struct assent_bytes){(const uint8_t *)s, strlen(s)};
}

/* Move, asserted against the table; keeps the count of held ones. */
void request_move(struct request *r, enum request_state to);
/* Find the route, read the arguments, encode.  ASSENT_OK, or an operating error with a sentence in the
 * arguments' `why`. */
int request_decode(struct request *r, const struct request_input *input);

#endif /* NODE_REQUEST_PRIVATE_H */
