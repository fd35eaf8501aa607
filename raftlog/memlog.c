/* The log in memory: a ring of entry references, indexed by log index modulo a power of two. */
#include "memlog.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "assent/error.h"

#define MEMLOG_CAPACITY_MIN 1024

void memlog_init(struct memlog *log)
{
    memset(log, 0, sizeof *log);
}

static struct entry **slot(const struct memlog *log, uint64_t index)
{
    return &log->ring[index & (log->capacity - 1)];
}

void memlog_reset(struct memlog *log, uint64_t base, uint64_t base_term)
{
    if (log->n > 0) {
        memlog_truncate(log, log->base + 1);
    }
    log->base = base;
    log->base_term = base_term;
}

void memlog_close(struct memlog *log)
{
    memlog_reset(log, 0, 0);
    free(log->ring);
    memlog_init(log);
}

/* The ring is indexed by the low bits of the log index, so growing moves every entry to its new place. */
static int grow(struct memlog *log)
{
    uint64_t capacity = log->capacity == 0 ? MEMLOG_CAPACITY_MIN : 2 * log->capacity;
    struct entry **ring = malloc(capacity * sizeof(struct entry *));
    if (ring == NULL) {
        return ASSENT_NOMEM;
    }
    for (uint64_t i = log->base + 1; i <= memlog_last(log); i++) {
        ring[i & (capacity - 1)] = *slot(log, i);
    }
    free(log->ring);
    log->ring = ring;
    log->capacity = capacity;
    return 0;
}

int memlog_append(struct memlog *log, struct entry *entry)
{
    assert(entry->index == memlog_last(log) + 1);
    if (log->n == log->capacity) {
        int rv = grow(log);
        if (rv != 0) {
            return rv;
        }
    }
    *slot(log, entry->index) = entry;
    log->n++;
    return 0;
}

void memlog_truncate(struct memlog *log, uint64_t index)
{
    assert(index > log->base);
    while (memlog_last(log) >= index) {
        entry_unref(*slot(log, memlog_last(log)));
        log->n--;
    }
}

void memlog_compact(struct memlog *log, uint64_t index)
{
    assert(index <= memlog_last(log));
    if (index <= log->base) {
        return;
    }
    log->base_term = (*slot(log, index))->term;
    while (log->base < index) {
        log->base++;
        log->n--;
        entry_unref(*slot(log, log->base));
    }
}

struct entry *memlog_get(const struct memlog *log, uint64_t index)
{
    if (index <= log->base || index > memlog_last(log)) {
        return NULL;
    }
    return *slot(log, index);
}

uint64_t memlog_term(const struct memlog *log, uint64_t index)
{
    if (index == log->base) {
        return log->base_term;
    }
    const struct entry *e = memlog_get(log, index);
    return e == NULL ? 0 : e->term;
}

uint32_t memlog_copy(const struct memlog *log, uint64_t index, uint32_t n, struct entry **out)
{
    uint32_t copied = 0;
    for (; copied < n; copied++) {
        struct entry *e = memlog_get(log, index + copied);
        if (e == NULL) {
            break;
        }
        out[copied] = e;
    }
    return copied;
}
