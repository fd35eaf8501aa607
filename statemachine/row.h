/* The bytes of stored rows: fixed-width big-endian integers and length-prefixed runs.  Private to
 * statemachine/.
 *
 * Reading asserts: a row was written by this code, so a short one is our own error or a damaged store. */
#ifndef STATEMACHINE_ROW_H
#define STATEMACHINE_ROW_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "assent/types.h"

/* Largest counter of any clock: what a field of a command can carry back. */
#define COUNTER_MAX ((uint64_t)INT64_MAX)

struct row_writer {
    uint8_t *base;
    size_t size, capacity;
};

static inline void row_put(struct row_writer *w, const void *bytes, size_t size)
{
    assert(size <= w->capacity - w->size);
    if (size > 0) {
        memcpy(w->base + w->size, bytes, size);
    }
    w->size += size;
}

static inline void row_put_uint(struct row_writer *w, uint64_t v, uint32_t width)
{
    uint8_t bytes[8];
    for (uint32_t i = 0; i < width; i++) {
        bytes[i] = (uint8_t)(v >> (8 * (width - 1 - i)));
    }
    row_put(w, bytes, width);
}

static inline void row_put_u64(struct row_writer *w, uint64_t v)
{
    row_put_uint(w, v, 8);
}

static inline void row_put_u32(struct row_writer *w, uint32_t v)
{
    row_put_uint(w, v, 4);
}

static inline void row_put_u8(struct row_writer *w, uint8_t v)
{
    row_put_uint(w, v, 1);
}

static inline void row_put_bytes(struct row_writer *w, struct assent_bytes v)
{
    assert(v.size <= UINT32_MAX);
    row_put_u32(w, (uint32_t)v.size);
    row_put(w, v.base, v.size);
}

/* What row_put_bytes() will take. */
static inline size_t row_bytes_size(struct assent_bytes v)
{
    return 4 + v.size;
}

static inline struct assent_bytes row_written(const struct row_writer *w)
{
    return (struct assent_bytes){w->base, w->size};
}

static inline struct assent_bytes row_take(struct assent_bytes *row, size_t size)
{
    assert(size <= row->size);
    struct assent_bytes taken = {row->base, size};
    row->base += size;
    row->size -= size;
    return taken;
}

static inline uint64_t row_take_uint(struct assent_bytes *row, uint32_t width)
{
    struct assent_bytes bytes = row_take(row, width);
    uint64_t v = 0;
    for (uint32_t i = 0; i < width; i++) {
        v = v << 8 | bytes.base[i];
    }
    return v;
}

static inline uint64_t row_take_u64(struct assent_bytes *row)
{
    return row_take_uint(row, 8);
}

static inline uint32_t row_take_u32(struct assent_bytes *row)
{
    return (uint32_t)row_take_uint(row, 4);
}

static inline uint8_t row_take_u8(struct assent_bytes *row)
{
    return (uint8_t)row_take_uint(row, 1);
}

static inline struct assent_bytes row_take_bytes(struct assent_bytes *row)
{
    uint32_t size = row_take_u32(row);
    return row_take(row, size);
}

static inline bool bytes_equal(struct assent_bytes a, struct assent_bytes b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.base, b.base, a.size) == 0);
}

static inline struct assent_bytes bytes_of(const char *text)
{
    return (struct assent_bytes){(const uint8_t *)text, strlen(text)};
}

#endif /* STATEMACHINE_ROW_H */
