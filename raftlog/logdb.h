/* The LMDB environment of the log: transactions, entries, meta records, manifests.  Private to disk.c,
 * writer.c.
 *
 * Functions return 0 or what LMDB or the system said; logdb_error() and logdb_errno() translate.
 *
 *   entries    index u64 (native)    -> term u64 | crc u32 | type u8 | 0 u8 x 3 | payload
 *   meta       name                  -> fields, u64 each | crc u32 over name and fields
 *   snapshots  index u64 (native)    -> crc u32 over index and manifest | manifest as manifest_encode()
 * writes it Little-endian except keys, which are LMDB's integer keys. */
#ifndef RAFTLOG_LOGDB_H
#define RAFTLOG_LOGDB_H

#include <stdbool.h>
#include <stdint.h>

#include "entry.h"
#include "message.h"

struct MDB_env;
struct MDB_txn;

/* Bytes in front of an entry's payload. */
#define LOGDB_VALUE_HEADER 16
/* Manifests kept: the newest, and the one a peer may still be pulling. */
#define LOGDB_MANIFESTS_KEPT 2

struct logdb {
    struct MDB_env *env;
    unsigned int meta, entries, snapshots;
    int fd;             /* data file, for writing ahead of LMDB */
    uint64_t file_size; /* bytes of it that were written at least once */
};

/* Open or create the environment in the folder `path`, which exists.  A fresh one gets `presize` bytes of
 * written zeros behind its last page: a commit into blocks that exist need not journal their allocation.
 * FOREIGN: made by another LMDB format; CORRUPT: not LMDB, truncated, or its two heads contradict each other.
 */
int logdb_open(struct logdb *db, const char *path, uint64_t map_bytes, uint64_t presize, char *err,
               size_t err_size);
void logdb_close(struct logdb *db);

/* assent_error of a return code; errno of it; its sentence (static or thread-local). */
int logdb_error(int rc);
int logdb_errno(int rc);
const char *logdb_sentence(int rc);

int logdb_begin(struct logdb *db, bool write, struct MDB_txn **txn);
int logdb_commit(struct MDB_txn *txn);
void logdb_abort(struct MDB_txn *txn);
/* Sync what is written and not synced; nothing, as this environment is opened. */
void logdb_sync(struct logdb *db);
/* Number of the newest commit. */
uint64_t logdb_commit_number(struct logdb *db);

/* A meta record of n numbers.  get: ENOENT when absent, EUCLEAN when its checksum or length is wrong. */
int logdb_put_record(struct logdb *db, struct MDB_txn *txn, const char *name, const uint64_t *fields,
                     uint32_t n);
int logdb_get_record(struct logdb *db, struct MDB_txn *txn, const char *name, uint64_t *fields, uint32_t n);

/* Append sealed entries behind the last one there is. */
int logdb_append(struct logdb *db, struct MDB_txn *txn, struct entry *const *entries, uint32_t n);
/* Delete every entry at or above `first`. */
int logdb_truncate(struct logdb *db, struct MDB_txn *txn, uint64_t first);
/* Delete entries at or below `last`, oldest first, at most `entries_max` and about `bytes_max`; `*oldest` is
 * the index of the first one that is left, or last + 1. */
int logdb_trim(struct logdb *db, struct MDB_txn *txn, uint64_t last, uint32_t entries_max, uint64_t bytes_max,
               uint64_t *oldest);
/* Delete every entry. */
int logdb_clear(struct logdb *db, struct MDB_txn *txn);

/* Bytes of pages that hold entries. */
int logdb_entry_bytes(struct logdb *db, struct MDB_txn *txn, uint64_t *bytes);
/* First and last index present (first > last: none), how many entries LMDB counts, and what the last one says
 * of itself, unchecked (0 when there is none). */
struct logdb_bounds {
    uint64_t first, last, count;
    uint64_t last_term;
    uint32_t last_crc;
};
int logdb_bounds(struct logdb *db, struct MDB_txn *txn, struct logdb_bounds *out);
/* Call `cb` for every entry in order; value bytes are borrowed until it returns; non-zero ends the walk. */
int logdb_each(struct logdb *db, struct MDB_txn *txn,
               int (*cb)(void *data, uint64_t index, struct assent_bytes value), void *data);
/* Check a stored value and give it as an entry.  EUCLEAN: checksum or shape is wrong; ENOMEM. */
int logdb_decode(uint64_t index, struct assent_bytes value, struct entry **out);

/* Record a manifest and forget all but the newest LOGDB_MANIFESTS_KEPT. */
int logdb_put_manifest(struct logdb *db, struct MDB_txn *txn, const struct snapshot_manifest *manifest);
/* The newest manifest, its configuration borrowed from the transaction.  ENOENT, EUCLEAN. */
int logdb_newest_manifest(struct logdb *db, struct MDB_txn *txn, struct snapshot_manifest *out);

/* Write zeros behind the file, in one step of bounded size, when less than `ahead` bytes of written blocks
 * lie beyond LMDB's last page.  Between transactions only.  A full disk is not an error here. */
void logdb_write_ahead(struct logdb *db, uint64_t ahead);

#endif /* RAFTLOG_LOGDB_H */
