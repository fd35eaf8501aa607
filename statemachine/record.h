/* Compact records in the store: a bounded writer and reader of fixed-width numbers (big-endian) and texts.
 *
 * A record starts with a format byte.  The writer asserts its room, which the caller computes beforehand; the
 * reader asserts too, because a stored record that cannot be read means a broken replica.  Private to
 * statemachine/. */
#ifndef STATEMACHINE_RECORD_H
#define STATEMACHINE_RECORD_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "assent/types.h"

struct record_writer {
    uint8_t *base;
    size_t size, room;
};

static inline void record_put(struct record_writer *w, uint64_t v, size_t width)
{
    assert(w->size + width <= w->room);
    for (size_t i = 0; i < width; i++)
        w->base[w->size + i] = (uint8_t)(v >> (8 * (width - 1 - i)));
    w->size += width;
}
/* Length (u32) and bytes. */
static inline void record_text(struct record_writer *w, struct assent_bytes v)
{
    assert(v.size <= UINT32_MAX);
    record_put(w, v.size, 4);
    assert(v.size <= w->room - w->size);
    if (v.size > 0)
        memcpy(w->base + w->size, v.base, v.size);
    w->size += v.size;
}
static inline size_t record_text_size(struct assent_bytes v)
{
    return 4 + v.size;
}
static inline struct assent_bytes record_written(const struct record_writer *w)
{
    return (struct assent_bytes){w->base, w->size};
}

static inline uint64_t record_take(struct assent_bytes *r, size_t width)
{
    assert(r->size >= width);
    uint64_t v = 0;
    for (size_t i = 0; i < width; i++)
        v = v << 8 | r->base[i];
    r->base += width;
    r->size -= width;
    return v;
}
static inline struct assent_bytes record_take_text(struct assent_bytes *r)
{
    size_t size = record_take(r, 4);
    assert(r->size >= size);
    struct assent_bytes text = {r->base, size};
    r->base += size;
    r->size -= size;
    return text;
}

static inline bool bytes_equal(struct assent_bytes a, struct assent_bytes b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.base, b.base, a.size) == 0);
}
static inline struct assent_bytes bytes_of(const char *text)
{
    return (struct assent_bytes){(const uint8_t *)text, strlen(text)};
}

#endif /* STATEMACHINE_RECORD_H */
