/* The few types every assent header shares: borrowed bytes, and the log position that names a command. */
#ifndef ASSENT_TYPES_H
#define ASSENT_TYPES_H

#include <stddef.h>
#include <stdint.h>

/* A run of bytes somebody else owns.  Not terminated; `base` may be NULL when `size` is 0. */
struct assent_bytes {
    const uint8_t *base;
    size_t size; /* bytes */
};

/* Where a command stands in the replicated log: `index << ASSENT_POSITION_SLOT_BITS | slot`, where `index` is
 * the Raft index of the entry and `slot` the command's place in that entry (one entry carries up to
 * ASSENT_ENTRY_COMMANDS_MAX commands).  Strictly increasing in log order and never reused, so it serves as
 * fencing token, as client id of a session and as the counter part of an xid. */
#define ASSENT_POSITION_SLOT_BITS 12

static inline uint64_t assent_position(uint64_t index, uint32_t slot)
{
    return index << ASSENT_POSITION_SLOT_BITS | slot;
}

#endif /* ASSENT_TYPES_H */
