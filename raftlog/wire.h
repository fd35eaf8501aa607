/* Little-endian pieces of what is sent and stored: a writer that trusts its room, a reader that trusts
 * nothing. */
#ifndef RAFTLOG_WIRE_H
#define RAFTLOG_WIRE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "assent/types.h"
#include "message.h"

struct wire_writer {
    uint8_t *p;
};

static inline void wire_put(struct wire_writer *w, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        w->p[i] = (uint8_t)(v >> (8 * i));
    }
    w->p += bytes;
}

static inline void wire_put_bytes(struct wire_writer *w, struct assent_bytes b)
{
    if (b.size > 0) {
        memcpy(w->p, b.base, b.size);
        w->p += b.size;
    }
}

/* Reads past the end give zeros and clear `ok`, so that a decoder checks once. */
struct wire_reader {
    const uint8_t *p;
    size_t left;
    bool ok;
};

static inline uint64_t wire_get(struct wire_reader *r, unsigned bytes)
{
    uint64_t v = 0;
    if (r->left < bytes) {
        r->ok = false;
        r->left = 0;
        return 0;
    }
    for (unsigned i = 0; i < bytes; i++) {
        v |= (uint64_t)r->p[i] << (8 * i);
    }
    r->p += bytes;
    r->left -= bytes;
    return v;
}

static inline struct assent_bytes wire_get_bytes(struct wire_reader *r, size_t size)
{
    if (r->left < size) {
        r->ok = false;
        r->left = 0;
        return (struct assent_bytes){NULL, 0};
    }
    if (size == 0) { /* the reader itself may be over nothing */
        return (struct assent_bytes){NULL, 0};
    }
    struct assent_bytes b = {r->p, size};
    r->p += size;
    r->left -= size;
    return b;
}

static inline uint64_t wire_get_index(struct wire_reader *r)
{
    uint64_t v = wire_get(r, 8);
    if (v > MESSAGE_INDEX_MAX) {
        r->ok = false;
    }
    return v;
}

/* host:port of printable ASCII that fits: nothing that confuses a log. */
bool wire_address_valid(struct assent_bytes address);

#endif /* RAFTLOG_WIRE_H */
