/* A log entry in memory: reference counted, written once, shared by memory log, disk queue and outgoing
 * messages. */
#ifndef RAFTLOG_ENTRY_H
#define RAFTLOG_ENTRY_H

#include <stdint.h>

#include "assent/types.h"

/* Types as libraft numbers them (enum raft_entry_type); they are also the numbers on disk and on the wire. */
enum entry_type { ENTRY_COMMAND = 1, ENTRY_BARRIER = 2, ENTRY_CHANGE = 3 };

struct entry {
    uint64_t index; /* set when the log took it; immutable afterwards */
    uint64_t term;
    uint8_t type;
    uint32_t size; /* bytes of payload */
    uint32_t crc;  /* CRC32C of type, term, index and payload, see entry_crc(); 0 until entry_seal() */
    uint32_t refs; /* private; atomic */
    uint8_t payload[];
};

/* A new entry with one reference; its payload is uninitialised and the caller's to fill.  NULL: out of
 * memory, or `size` is beyond ASSENT_ENTRY_BYTES_MAX. */
struct entry *entry_new(uint8_t type, uint32_t size);

/* One more reference; returns `e`.  Any thread. */
struct entry *entry_ref(struct entry *e);

/* Drop a reference; the last one frees.  NULL is allowed.  Any thread. */
void entry_unref(struct entry *e);

/* Set index and term and compute the checksum. */
void entry_seal(struct entry *e, uint64_t index, uint64_t term);

/* CRC32C over (index, term, type, size) little-endian and the payload. */
uint32_t entry_crc(const struct entry *e);

/* CRC32C (Castagnoli), chainable: start with 0.  Source: RFC 3720 B.4; computed by libisal. */
uint32_t crc32c(uint32_t crc, const void *data, size_t size);

#endif /* RAFTLOG_ENTRY_H */
