/* Snapshot files: names, checks, chunks, the pull of one from a peer with resumption, clean-up of old ones.
 *
 *   dir/snapshots/<index>-<term>.snap        complete, verified, fsynced (rename is the last step)
 *   dir/snapshots/<index>-<term>.part        being pulled; its size says where to resume
 *   dir/snapshots/<index>-<term>.tmp         being dumped
 * Indexes and terms are 16 hex digits.  Files are read in chunks: no image is ever in memory as a whole. */
#ifndef RAFTLOG_SNAPSHOT_H
#define RAFTLOG_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>

#include "message.h"

struct snapshot_dir {
    char path[960];
};

/* Make the folder, remove `.tmp` files. */
int snapshot_dir_open(struct snapshot_dir *dir, const char *data_dir, char *err, size_t err_size);
/* Name of a snapshot's file; `suffix` is "snap", "part" or "tmp" (a leading dot is allowed).  `out` must hold
 * it: sizeof dir->path + 64 bytes do. */
void snapshot_path(const struct snapshot_dir *dir, uint64_t index, uint64_t term, const char *suffix,
                   char *out, size_t size);
/* CRC32C and size of a file, read in pieces.  IO on failure. Any thread. */
int snapshot_checksum(const char *path, uint32_t *crc, uint64_t *size);
/* fsync, rename `.tmp` or `.part` to `.snap`, fsync the folder.  NOT_FOUND, NO_SPACE, IO.  Any thread. */
int snapshot_publish(const struct snapshot_dir *dir, uint64_t index, uint64_t term, const char *from_suffix);
/* Copy the image in `file` from byte `offset` to its end in as a complete snapshot, in pieces; `crc` and
 * `size` of what was copied.  IO, NO_SPACE, NOT_FOUND, NOMEM.  Any thread. */
int snapshot_import(const struct snapshot_dir *dir, const char *file, uint64_t offset, uint64_t index,
                    uint64_t term, uint32_t *crc, uint64_t *size);
/* Read a chunk of a complete snapshot into `out` (room for `size`); `*got` may be less at the end. NOT_FOUND,
 * INVALID (an offset no file has), IO. */
int snapshot_read_chunk(const struct snapshot_dir *dir, uint64_t index, uint64_t term, uint64_t offset,
                        uint32_t size, uint8_t *out, uint32_t *got);
/* Remove complete snapshots other than the newest `keep` and than `pinned_index` (0: none), and parts that
 * are not worth resuming: older than a complete snapshot or than another part, unless a pull has them open.
 */
void snapshot_clean(const struct snapshot_dir *dir, uint32_t keep, uint64_t pinned_index);

/* A pull in progress: pure bookkeeping plus one file. */
struct snapshot_pull;
/* Begin or resume: an existing `.part` of the same snapshot goes on from its size.  Copies `manifest`.  BUSY:
 * another pull has this part open; IO, NOMEM. */
int snapshot_pull_begin(struct snapshot_pull **pull, const struct snapshot_dir *dir,
                        const struct snapshot_manifest *manifest);
/* What to ask for next. False: complete. */
bool snapshot_pull_next(const struct snapshot_pull *pull, uint64_t *offset, uint32_t *size);
/* A chunk arrived.  Chunks of another offset are ignored (duplicates).  MALFORMED: longer than what is
 * missing; NO_SPACE, IO. */
int snapshot_pull_chunk(struct snapshot_pull *pull, uint64_t offset, struct assent_bytes data);
/* All bytes are there: verify the checksum, fsync, publish.  CORRUPT: the part is removed; close this
 * pull and begin again.  The pull must be complete.  WORKER THREAD. */
int snapshot_pull_finish(struct snapshot_pull *pull);
uint64_t snapshot_pull_bytes(const struct snapshot_pull *pull);
const struct snapshot_manifest *snapshot_pull_manifest(const struct snapshot_pull *pull);
void snapshot_pull_close(struct snapshot_pull *pull);

#endif /* RAFTLOG_SNAPSHOT_H */
