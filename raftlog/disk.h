/* The log on disk: one LMDB environment per node (meta, entries, snapshots), and the thread that writes it.
 *
 * LMDB runs with its default durability: every commit is an fsync'ed transaction.  What is queued while a
 * commit runs forms the next one (group commit).  A failed write or sync is final: `failed` is called and the
 * process must exit, because after EIO a later sync may report success for data that is gone. */
#ifndef RAFTLOG_DISK_H
#define RAFTLOG_DISK_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "entry.h"
#include "message.h"
#include "raftlog.h"

struct disk;

/* Format of the environment; a directory of another number is refused. */
#define DISK_FORMAT 1

struct disk_config {
    const char *dir;    /* data directory; the environment is `dir`/log */
    uint64_t map_bytes; /* 0: 16 GiB; address space, not disk */
    /* Blocks written at creation, and some kept ahead of the log from then on: a commit into blocks that
     * exist is faster than one that grows the file.  0: none. */
    uint64_t presize_bytes;
    /* Faults for tests, 0 = none: the n-th commit after disk_start() fails with this errno; the n-th and
     * later commits take this long. */
    uint32_t fail_commit_at;
    int fail_errno;
    uint32_t slow_commit_us;
};

/* Identity and state of the directory. */
struct disk_state {
    bool pristine;       /* nothing was ever written */
    uint64_t cluster_id; /* 0: not known yet (a joining node) */
    uint64_t node_id, incarnation;
    uint64_t term, vote;
    bool has_snapshot;
    struct snapshot_manifest
        snapshot; /* newest; configuration owned by the disk until disk_close() or a newer one is recorded */
    uint64_t first_index, last_index; /* entries present; first > last: none */
};

/* Open (creating directories), lock against a second process, read the state.  FOREIGN, CORRUPT (damaged, or
 * older than the newest commit this directory has seen: see witness.h), BUSY (in use), NO_SPACE, NOMEM, IO,
 * INVALID (the name is too long); `err` says what to do. */
int disk_open(struct disk **disk, const struct disk_config *config, char *err, size_t err_size);
const struct disk_state *disk_state(const struct disk *disk);

/* Read every entry in order, verify its checksum and contiguity; gives a new reference per entry to `cb`.
 * CORRUPT names the index and says: wipe this node and re-admit it; then the handle can only be closed.
 * Nothing is truncated.  A non-zero return of `cb` ends the load and is returned; NULL only verifies. */
int disk_load(struct disk *disk, int (*cb)(void *data, struct entry *entry), void *data, char *err,
              size_t err_size);

/* Write the identity and, for an initial voter, entry 1 with the configuration, in one commit (term 1, vote
 * 0). Idempotent: the same identity again is accepted, another one is FOREIGN. `configuration` NULL: a
 * joining node. */
int disk_bootstrap(struct disk *disk, uint64_t cluster_id, uint64_t node_id, uint64_t incarnation,
                   const struct assent_bytes *configuration, char *err, size_t err_size);

/* A joining node learnt its cluster; durable on return. */
int disk_adopt(struct disk *disk, uint64_t cluster_id, uint64_t incarnation);

/* Offline recovery: see raftlog_recover(). */
int disk_recover(struct disk *disk, uint64_t node_id, struct assent_bytes configuration, char *err,
                 size_t err_size);

/* Make a pristine directory that of a member of a restored cluster: identity, term and manifest (copied) in
 * one commit.  Its file is in place already. */
int disk_restore(struct disk *disk, uint64_t cluster_id, uint64_t node_id, uint64_t incarnation,
                 const struct snapshot_manifest *manifest, char *err, size_t err_size);

/* ---- the writer thread ---- */

/* Each may be NULL.  Commits that end before the loop turns are told together: entries up to the newest,
 * once. */
struct disk_callbacks {
    void *data;
    /* Loop thread.  All appends up to and including this one are durable, and it is the last entry on disk:
     * what a later append or install of the same turn replaced is not reported. */
    void (*appended)(void *data, uint64_t index, uint64_t term);
    /* Loop thread.  The manifest is recorded and the entries are gone. */
    void (*installed)(void *data);
    /* Loop thread.  A snapshot of our own is recorded. */
    void (*recorded)(void *data);
    /* Loop thread, once.  A commit failed; nothing more will be written or acknowledged.  `error` is an errno
     * (ENOSPC also for a full map), `what` a sentence, borrowed. */
    void (*failed)(void *data, int error, const char *what);
    /* Loop thread: one commit took this long (for the histogram). */
    void (*commit_us)(void *data, uint64_t us, uint32_t entries, uint64_t bytes);
};

/* Start the writer.  What was queued before is written first.  NOMEM. */
int disk_start(struct disk *disk, uv_loop_t *loop, const struct disk_callbacks *callbacks);

/* Durable on return (blocks the loop until it and what was queued before it are committed; elections only).
 * Non-zero: the write failed.  Terms never fall. */
int disk_persist_vote(struct disk *disk, uint64_t term, uint64_t vote);
/* FIFO; never block; dropped after a failure.  The directory has an identity (disk_bootstrap).  Appends start
 * at most one behind the last entry; compaction stays at or below the newest recorded snapshot.  See core_io
 * for their meaning. */
void disk_append(struct disk *disk, uint64_t first, struct entry *const *entries, uint32_t n);
void disk_install(struct disk *disk, const struct snapshot_manifest *manifest);
void disk_record(struct disk *disk,
                 const struct snapshot_manifest *manifest); /* own snapshot: manifest only */
void disk_compact(struct disk *disk, uint64_t index);
/* Bytes queued and not yet durable. */
uint64_t disk_queued_bytes(const struct disk *disk);
/* Bytes of pages that hold entries, and bytes free on the file system (at most half a second old; any time,
 * cheap). */
uint64_t disk_used_bytes(const struct disk *disk);
uint64_t disk_free_bytes(const struct disk *disk);

/* Finish queued work (callbacks may still fire), end the thread, close the environment, release the lock.
 * After disk_start(), `closed` fires on the loop when done. Without disk_start(): closes at once, what is
 * queued is dropped, and `closed` (may be NULL) is called before return. */
void disk_close(struct disk *disk, void (*closed)(void *data), void *data);

#endif /* RAFTLOG_DISK_H */
