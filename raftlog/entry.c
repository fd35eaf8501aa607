/* Log entries in memory: reference counts, sealing, and CRC32C by libisal. */
#include "entry.h"

#include <assert.h>
#include <endian.h>
#include <isa-l/crc.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "assent/limits.h"

static_assert(ASSENT_ENTRY_BYTES_MAX <= UINT32_MAX, "the size of an entry is 32 bits wide");

struct entry *entry_new(uint8_t type, uint32_t size)
{
    if (size > ASSENT_ENTRY_BYTES_MAX) {
        return NULL;
    }
    struct entry *e = malloc(sizeof *e + size);
    if (e == NULL) {
        return NULL;
    }
    *e = (struct entry){.type = type, .size = size, .refs = 1};
    return e;
}

struct entry *entry_ref(struct entry *e)
{
    uint32_t before = __atomic_fetch_add(&e->refs, 1, __ATOMIC_RELAXED);
    assert(before != 0);
    return e;
}

void entry_unref(struct entry *e)
{
    if (e == NULL) {
        return;
    }
    /* Release: our reads of the payload happen before somebody else frees it; acquire: the reverse. */
    uint32_t before = __atomic_fetch_sub(&e->refs, 1, __ATOMIC_ACQ_REL);
    assert(before != 0);
    if (before == 1) {
        free(e);
    }
}

void entry_seal(struct entry *e, uint64_t index, uint64_t term)
{
    e->index = index;
    e->term = term;
    e->crc = entry_crc(e);
}

uint32_t entry_crc(const struct entry *e)
{
    uint8_t head[8 + 8 + 1 + 4];
    uint64_t index = htole64(e->index);
    uint64_t term = htole64(e->term);
    uint32_t size = htole32(e->size);
    memcpy(head, &index, 8);
    memcpy(head + 8, &term, 8);
    head[16] = e->type;
    memcpy(head + 17, &size, 4);
    return crc32c(crc32c(0, head, sizeof head), e->payload, e->size);
}

uint32_t crc32c(uint32_t crc, const void *data, size_t size)
{
    /* libisal takes and returns the bare shift register: the inversions before and after are ours, which is
     * also what makes calls chain.  It takes a non-const pointer but only reads, and an int for the size. */
    const size_t piece_max = INT_MAX & ~(size_t)4095;
    unsigned char *at = (unsigned char *)(uintptr_t)data;
    uint32_t state = ~crc;
    while (size > 0) {
        size_t piece = size < piece_max ? size : piece_max;
        state = crc32_iscsi(at, (int)piece, state);
        at += piece;
        size -= piece;
    }
    return ~state;
}
