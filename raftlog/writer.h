/* What disk.c and writer.c share: the handle, and the queue between the loop thread and the writer.  Private.
 */
#ifndef RAFTLOG_WRITER_H
#define RAFTLOG_WRITER_H

#include <pthread.h>

#include "disk.h"
#include "logdb.h"
#include "witness.h"

/* One commit takes queued operations until it holds this much; one larger operation goes alone.  Bounds how
 * long those behind it wait. */
#define WRITER_COMMIT_BYTES (8 * 1024 * 1024)
/* A commit deletes at most this many entries and bytes of compacted log, or twice what it appends, so that a
 * huge compaction never blocks appends for long and yet always catches up with them. */
#define WRITER_TRIM_ENTRIES 2000
#define WRITER_TRIM_BYTES   (4 * 1024 * 1024)
/* Commits whose figures wait for the loop; beyond it they are added up. */
#define WRITER_STATS_MAX 128
/* Blocks kept written ahead of LMDB's last page once presizing is in use. */
#define WRITER_AHEAD_BYTES (2 * 1024 * 1024)

/* Names of meta records and how many numbers each holds. */
#define RECORD_FORMAT   "format"   /* DISK_FORMAT */
#define RECORD_IDENTITY "identity" /* cluster id, node id, incarnation */
#define RECORD_VOTE     "vote"     /* term, vote */

enum op_type { OP_APPEND, OP_INSTALL, OP_RECORD, OP_COMPACT, OP_PUT };

/* Who waits for an operation to be durable; lives on the caller's stack. */
struct waiter {
    bool done;
    int rc;
};

struct op {
    struct op *next;
    enum op_type type;
    uint64_t index; /* APPEND: first; COMPACT: last to drop */
    uint64_t bytes; /* what it adds to the queue */
    struct waiter *waiter;
    struct snapshot_manifest *manifest; /* INSTALL, RECORD: one allocation with its configuration */
    const char *record;                 /* PUT: static name */
    uint64_t fields[3];
    uint32_t n; /* APPEND: entries; PUT: fields */
    struct entry *entries[];
};

struct op_queue {
    struct op *head, **tail;
};

/* What is on disk, as the thread that writes knows it. */
struct extent {
    uint64_t first, last, last_term; /* first > last: no entries, and last_term is the snapshot's */
    uint32_t last_crc;               /* of the newest entry; 0: none */
    uint64_t term, vote;
    uint64_t snapshot_index; /* 0: none */
    uint64_t compact;        /* entries up to here are still to be dropped; 0: none */
    uint64_t bytes;          /* of pages that hold entries */
};

struct commit_stat {
    uint64_t us, bytes;
    uint32_t entries;
};

/* What the writer tells the loop; filled under the mutex, taken as a whole. */
struct report {
    bool appended;
    uint64_t index, term;
    uint32_t installed, recorded;
    struct snapshot_manifest *newest; /* gives */
    struct extent extent;
    bool any; /* `extent` is valid */
    struct commit_stat stats[WRITER_STATS_MAX];
    uint32_t stats_n;
    int error; /* 0: none; told once */
    char what[256];
    bool ended;
};

struct disk {
    char dir[1000];
    int lock_fd;
    struct disk_config config; /* `dir` points at ours */
    struct logdb db;
    struct witness witness;
    /* Loop thread. */
    struct disk_state state;
    struct snapshot_manifest *newest; /* what state.snapshot borrows from */
    struct disk_callbacks callbacks;
    uv_async_t async;
    pthread_t thread;
    bool formatted, started, closing;
    void (*closed)(void *data);
    void *closed_data;
    uint64_t free_bytes, free_at_ms;
    /* Both, under the mutex. */
    pthread_mutex_t mutex;
    pthread_cond_t work, durable;
    struct op_queue queue;
    struct report reports[2];
    struct report *report; /* the one the writer fills; the other is the loop's */
    bool stop, broken;
    /* Atomic. */
    uint64_t queued_bytes, used_bytes;
    /* The writer's. */
    struct extent extent;
    uint32_t commits;
};

/* A copy of a manifest in one allocation; free() ends it.  NULL: out of memory. */
struct snapshot_manifest *manifest_copy(const struct snapshot_manifest *manifest);
/* What the witness should say of the log as it is. */
struct witness_note writer_note(struct disk *disk);
/* Write one operation in a transaction of its own, on the calling thread, before the writer thread exists. */
int writer_now(struct disk *disk, struct op *op);
/* Write an operation and wait until it is durable: through the thread when it runs.  Returns an assent_error.
 */
int writer_wait(struct disk *disk, struct op *op);
/* The end of every sentence about damage. */
#define DISK_READMIT                                                                                         \
    "Nothing was changed. Do not restart this node with this data: remove it from the cluster, wipe its "    \
    "directory and add it as a new non-voter with a new id; it then fetches everything from the others"

/* Write a sentence into `err`; returns `error`. */
__attribute__((format(printf, 4, 5))) int disk_refuse(int error, char *err, size_t err_size,
                                                      const char *format, ...);
/* A signal ended a read of the map: give LMDB's handle up and say so. */
int disk_fault(struct disk *disk, int number, char *err, size_t err_size);

/* Free operations and their references. */
void writer_drop(struct op *list);
/* Close files and free the handle; the thread has ended or never began. */
void disk_free(struct disk *disk);

#endif /* RAFTLOG_WRITER_H */
