/* The payload of a command entry: the leader's time stamp and the commands of one loop turn.
 *
 *   format u8 = 1 | reserved u8 | count u16 | time_us i64 | count x size u32 | the commands, end to end
 * (little-endian) */
#ifndef RAFTLOG_BATCH_H
#define RAFTLOG_BATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "assent/limits.h"
#include "entry.h"

#define BATCH_FORMAT       1
#define BATCH_HEADER_BYTES 12

/* Bytes a batch of `n` commands of `bytes` together takes. */
static inline uint32_t batch_size(uint32_t n, uint32_t bytes)
{
    return BATCH_HEADER_BYTES + 4 * n + bytes;
}

/* Write the batch of 1..ASSENT_ENTRY_COMMANDS_MAX commands (each 1..ASSENT_COMMAND_BYTES_MAX bytes, copied)
 * into an entry made with entry_new(ENTRY_COMMAND, batch_size(...)), which it fills exactly. */
void batch_encode(struct entry *e, int64_t time_us, const struct assent_bytes *commands, uint32_t n);

struct batch {
    int64_t time_us;
    uint32_t n;
    const uint8_t *sizes;    /* n little-endian u32, unaligned */
    const uint8_t *commands; /* end to end */
};
/* False when the payload is not a batch (checked completely: sizes add up). Borrows from the entry. */
bool batch_decode(const struct entry *e, struct batch *out);
/* Size of command i; the caller walks `commands`. */
uint32_t batch_command_size(const struct batch *b, uint32_t i);

#endif /* RAFTLOG_BATCH_H */
