/* Two slots in a mapped file that remember the newest commit of the log. */
#include "witness.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "entry.h"

#define FILE_BYTES 4096
#define SLOT_BYTES 64

/* As it lies in the file; native order, like LMDB's own keys. */
struct slot {
    struct witness_note note;
    uint32_t crc;
    uint32_t zero;
};
static_assert(sizeof(struct slot) <= SLOT_BYTES, "a slot is one cache line");
static_assert(2 * SLOT_BYTES <= 512, "both lie in one sector");

int witness_open(struct witness *witness, const char *path)
{
    static const uint8_t zeros[FILE_BYTES];
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0) {
        return errno;
    }
    int error = 0;
    off_t size = lseek(fd, 0, SEEK_END);
    /* Written, not only extended: a store into a hole on a full disk would be SIGBUS. */
    if (size < FILE_BYTES && pwrite(fd, zeros, sizeof zeros, 0) != FILE_BYTES) {
        error = errno != 0 ? errno : ENOSPC;
    }
    if (error == 0) {
        witness->map = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (witness->map == MAP_FAILED) {
            error = errno;
            witness->map = NULL;
        }
    }
    close(fd);
    return error;
}

void witness_close(struct witness *witness)
{
    if (witness->map != NULL) {
        munmap(witness->map, FILE_BYTES);
        witness->map = NULL;
    }
}

void witness_note(struct witness *witness, const struct witness_note *note)
{
    struct slot slot = {.note = *note, .crc = crc32c(0, note, sizeof *note)};
    memcpy(witness->map + note->commit % 2 * SLOT_BYTES, &slot, sizeof slot);
}

bool witness_newest(const struct witness *witness, struct witness_note *out)
{
    bool found = false;
    for (size_t i = 0; i < 2; i++) {
        struct slot slot;
        memcpy(&slot, witness->map + i * SLOT_BYTES, sizeof slot);
        bool whole = slot.note.commit != 0 && slot.crc == crc32c(0, &slot.note, sizeof slot.note);
        if (whole && (!found || slot.note.commit > out->commit)) {
            *out = slot.note;
            found = true;
        }
    }
    return found;
}

bool witness_agrees(const struct witness_note *noted, const struct witness_note *found)
{
    if (noted->commit != found->commit) {
        /* Later is fine: the note of the last commits is what a power cut takes. */
        return noted->commit < found->commit && noted->term <= found->term;
    }
    return noted->last == found->last && noted->crc == found->crc && noted->term == found->term &&
           noted->vote == found->vote;
}
