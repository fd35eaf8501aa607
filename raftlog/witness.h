/* A second, independent memory of the newest commit, so that a log that silently went back in time is
 * noticed.  Private.
 *
 * Checksums find bytes that changed; they cannot find bytes that are old: a head page of LMDB whose last
 * write was lost, a log restored from a copy.  After each commit its number and what the log then held are
 * noted in a small mapped file: no system call, no sync, so the note may be missing after a power cut, but it
 * is never ahead of the truth.
 *
 * Two slots, used in turn; a process killed in the middle of a note leaves the other one. */
#ifndef RAFTLOG_WITNESS_H
#define RAFTLOG_WITNESS_H

#include <stdbool.h>
#include <stdint.h>

struct witness {
    uint8_t *map; /* NULL: not open */
};

/* What is noted. */
struct witness_note {
    uint64_t commit; /* LMDB's transaction number */
    uint64_t last;   /* index of the newest entry */
    uint64_t crc;    /* its checksum, 0 when there is none */
    uint64_t term, vote;
};

/* Map `path`, made if absent.  Returns errno. */
int witness_open(struct witness *witness, const char *path);
void witness_close(struct witness *witness);

void witness_note(struct witness *witness, const struct witness_note *note);

/* The newest note that is whole; false when there is none. */
bool witness_newest(const struct witness *witness, struct witness_note *out);

/* Could a log that says `found` of itself be the one `noted` was taken of, or a later state of it? */
bool witness_agrees(const struct witness_note *noted, const struct witness_note *found);

#endif /* RAFTLOG_WITNESS_H */
