/* A recorder of everything a program writes below one directory, and the images a crash could leave of it.
 *
 * The calls of libc are interposed: the executable's symbols come before those of shared libraries, so LMDB's
 * writes are seen too.  What is synced and what is not follows POSIX, not a file system that happens to be
 * kinder: a write is durable when a later sync of its file has returned, or at once through a descriptor with
 * O_DSYNC; names are durable when their directory was synced.  A call this recorder has no model of
 * (msync, rename, ftruncate, ...) below the directory ends the process, and trace_complete() compares the
 * sum of all that was recorded with the files, so nothing can be written behind its back. */
#ifndef TESTS_DISK_TRACE_H
#define TESTS_DISK_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum trace_type {
    TRACE_WRITE,
    TRACE_SYNC,       /* of a file */
    TRACE_SYNC_NAMES, /* of a directory */
    TRACE_CREATE,
    TRACE_UNLINK,
    TRACE_RENAME,
    TRACE_NOTE, /* the caller's: what was asked for, what was acknowledged */
};
struct trace_event {
    enum trace_type type;
    uint8_t file; /* number of its name */
    bool durable; /* WRITE: through O_DSYNC */
    bool failed;  /* a fault was injected: the call returned an error */
    uint64_t offset, size;
    uint8_t *bytes; /* WRITE */
    uint32_t note;
    uint64_t number;
};

/* Record below `root` (an existing directory; copied) into a new trace.  One at a time. */
void trace_begin(const char *root);
void trace_end(void);
void trace_free(void);
/* While on, syncs return at once; for opening images, where nothing is recorded. */
void trace_quick(bool on);
void trace_note(uint32_t note, uint64_t number);

size_t trace_count(void);
const struct trace_event *trace_at(size_t i);

/* Let the n-th write or sync (1...) return `error`; 0: none.  A write may have written its first half.  From
 * then on no byte that was not synced before may be relied upon. */
void trace_fail(uint64_t n, int error, bool half);
/* Writes and syncs so far. */
uint64_t trace_calls(void);

/* The part of names that is mapped memory and written by no call: its bytes are those the file has now, kept
 * with every event. */
void trace_mapped(const char *name, size_t size);

enum trace_variant {
    TRACE_ALL,    /* the process died, the system lives: every write is there */
    TRACE_SYNCED, /* only what was synced */
    TRACE_ANY,    /* any subset of what was not, by seed; some torn into sectors */
};
/* Make in `to` (an empty directory) what could be found after a crash before event `point` ended: the events
 * before it are over, it may be under way.. */
void trace_image(const char *to, size_t point, enum trace_variant variant, uint64_t seed);
/* As TRACE_ALL, but the mapped memory is that of the end: writes were lost, and something remembers them. */
void trace_image_remembered(const char *to, size_t point);
/* Is the sum of all recorded writes what the files hold?  `why` says which is not. */
bool trace_complete(char *why, size_t why_size);

#endif /* TESTS_DISK_TRACE_H */
