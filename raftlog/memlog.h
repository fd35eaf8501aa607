/* The log in memory: references to sealed entries by index, in a ring.
 *
 * It holds what libraft's trail names: entries base+1 .. last, contiguous.  The term of the entry at `base`
 * is known too (it is the last one of a snapshot, or was compacted away). */
#ifndef RAFTLOG_MEMLOG_H
#define RAFTLOG_MEMLOG_H

#include <stdint.h>

#include "entry.h"

struct memlog {
    struct entry **ring; /* private; capacity is 0 or a power of two */
    uint64_t capacity;   /* private */
    uint64_t base;       /* index before the first entry */
    uint64_t base_term;
    uint64_t n;
};

void memlog_init(struct memlog *log);
/* Drop every reference. */
void memlog_close(struct memlog *log);

/* Drop everything; the next entry is base + 1. */
void memlog_reset(struct memlog *log, uint64_t base, uint64_t base_term);

static inline uint64_t memlog_last(const struct memlog *log)
{
    return log->base + log->n;
}

/* Take the caller's reference of the entry; its index must be last + 1.  NOMEM: nothing taken. */
int memlog_append(struct memlog *log, struct entry *entry);

/* Drop entries at and above `index`. */
void memlog_truncate(struct memlog *log, uint64_t index);

/* Drop entries at and below `index`, which is the new base. */
void memlog_compact(struct memlog *log, uint64_t index);

/* Borrowed; NULL when not held. */
struct entry *memlog_get(const struct memlog *log, uint64_t index);

/* Term of an entry held or of the base; 0 when not known. */
uint64_t memlog_term(const struct memlog *log, uint64_t index);

/* Copy up to `n` pointers from `index` on into `out` (no references taken). Returns how many there were. */
uint32_t memlog_copy(const struct memlog *log, uint64_t index, uint32_t n, struct entry **out);

#endif /* RAFTLOG_MEMLOG_H */
