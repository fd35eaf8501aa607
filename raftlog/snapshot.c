/* Snapshot files: names, checks, chunks, resumable pulls, clean-up. */
#include "snapshot.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "assent/error.h"
#include "assent/limits.h"

/* Chunk of a pull whose manifest names none or one that would not fit a frame with its header. */
#define CHUNK_BYTES_DEFAULT (1024 * 1024)
#define CHUNK_BYTES_MAX     (ASSENT_FRAME_BYTES_MAX - 4096)
/* Piece in which files are read for checking. */
#define READ_BYTES (256 * 1024)

static int error_of(int error)
{
    switch (error) {
    case 0:
        return ASSENT_OK;
    case ENOENT:
        return ASSENT_NOT_FOUND;
    case ENOSPC:
    case EDQUOT:
        return ASSENT_NO_SPACE;
    case ENOMEM:
        return ASSENT_NOMEM;
    default: /* every other errno means that a call on a file failed */
        return ASSENT_IO;
    }
}

/* ---- names ---- */

/* "<16 hex>-<16 hex>.<suffix>", nothing else; other files in the folder are not ours. */
static bool parse_name(const char *name, uint64_t *index, uint64_t *term, const char **suffix)
{
    char *end;
    if (strlen(name) < 35 || strspn(name, "0123456789abcdef") != 16 || name[16] != '-' ||
        strspn(name + 17, "0123456789abcdef") != 16 || name[33] != '.') {
        return false;
    }
    *index = strtoull(name, &end, 16);
    *term = strtoull(name + 17, &end, 16);
    *suffix = name + 34;
    return true;
}

void snapshot_path(const struct snapshot_dir *dir, uint64_t index, uint64_t term, const char *suffix,
                   char *out, size_t size)
{
    int length = snprintf(out, size, "%s/%016" PRIx64 "-%016" PRIx64 ".%s", dir->path, index, term,
                          suffix[0] == '.' ? suffix + 1 : suffix);
    assert(length > 0 && (size_t)length < size);
}

struct file {
    uint64_t index, term;
    char name[64];
};

static int newest_first(const void *a, const void *b)
{
    const struct file *x = a, *y = b;
    if (x->index != y->index) {
        return x->index < y->index ? 1 : -1;
    }
    return x->term == y->term ? 0 : x->term < y->term ? 1 : -1;
}

/* Files of a suffix, newest first; free() the array. */
static struct file *list_files(const struct snapshot_dir *dir, const char *suffix, size_t *n)
{
    struct file *files = NULL;
    size_t room = 0;
    *n = 0;
    DIR *folder = opendir(dir->path);
    if (folder == NULL) {
        return NULL;
    }
    for (struct dirent *d = readdir(folder); d != NULL; d = readdir(folder)) {
        struct file file;
        const char *found;
        if (!parse_name(d->d_name, &file.index, &file.term, &found) || strcmp(found, suffix) != 0) {
            continue;
        }
        if (*n == room) {
            room = room == 0 ? 16 : room * 2;
            struct file *more = realloc(files, room * sizeof *files);
            if (more == NULL) {
                break; /* clean-up of what fits; the rest next time */
            }
            files = more;
        }
        snprintf(file.name, sizeof file.name, "%.63s", d->d_name);
        files[(*n)++] = file;
    }
    closedir(folder);
    if (*n > 1) {
        qsort(files, *n, sizeof *files, newest_first);
    }
    return files;
}

static void remove_file(const struct snapshot_dir *dir, const struct file *file)
{
    char path[sizeof dir->path + 80];
    snprintf(path, sizeof path, "%s/%s", dir->path, file->name);
    unlink(path); /* one that stays is tried again by the next clean-up */
}

int snapshot_dir_open(struct snapshot_dir *dir, const char *data_dir, char *err, size_t err_size)
{
    size_t n;
    int length = snprintf(dir->path, sizeof dir->path, "%s/snapshots", data_dir);
    if (length < 0 || (size_t)length >= sizeof dir->path) {
        snprintf(err, err_size, "the name of the data directory is too long");
        return ASSENT_INVALID;
    }
    if (mkdir(dir->path, 0750) != 0 && errno != EEXIST) {
        int error = errno;
        snprintf(err, err_size, "%s cannot be made: %s", dir->path, strerror(error));
        return error == ENOENT ? ASSENT_IO : error_of(error);
    }
    struct file *files = list_files(dir, "tmp", &n);
    for (size_t i = 0; i < n; i++) {
        remove_file(dir, &files[i]);
    }
    free(files);
    return 0;
}

/* ---- checks ---- */

static int checksum_fd(int fd, uint32_t *crc, uint64_t *size)
{
    uint8_t *piece = malloc(READ_BYTES);
    if (piece == NULL) {
        return ENOMEM;
    }
    int error = 0;
    *crc = 0;
    *size = 0;
    for (;;) {
        ssize_t got = pread(fd, piece, READ_BYTES, (off_t)*size);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            error = got < 0 ? errno : 0;
            break;
        }
        *crc = crc32c(*crc, piece, (size_t)got);
        *size += (uint64_t)got;
    }
    free(piece);
    return error;
}

int snapshot_checksum(const char *path, uint32_t *crc, uint64_t *size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOMEM ? ASSENT_NOMEM : ASSENT_IO;
    }
    int error = checksum_fd(fd, crc, size);
    close(fd);
    return error_of(error);
}

static int sync_path(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0) {
        return errno;
    }
    int error = fsync(fd) == 0 ? 0 : errno;
    close(fd);
    return error;
}

int snapshot_publish(const struct snapshot_dir *dir, uint64_t index, uint64_t term, const char *from_suffix)
{
    char from[sizeof dir->path + 80], to[sizeof dir->path + 80];
    snapshot_path(dir, index, term, from_suffix, from, sizeof from);
    snapshot_path(dir, index, term, "snap", to, sizeof to);
    int error = sync_path(from, O_RDWR);
    if (error == 0) {
        error = rename(from, to) == 0 ? 0 : errno;
    }
    if (error == 0) {
        error = sync_path(dir->path, O_RDONLY | O_DIRECTORY);
    }
    return error_of(error);
}

static int write_piece(int fd, const uint8_t *piece, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, piece, size);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return errno;
        }
        piece += n;
        size -= (size_t)n;
    }
    return 0;
}

static int copy_from(int in, uint64_t offset, int out, uint32_t *crc, uint64_t *size)
{
    uint8_t *piece = malloc(READ_BYTES);
    int error = piece == NULL ? ENOMEM : 0;
    *crc = 0;
    *size = 0;
    while (error == 0) {
        ssize_t got = pread(in, piece, READ_BYTES, (off_t)(offset + *size));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            error = got < 0 ? errno : 0;
            break;
        }
        *crc = crc32c(*crc, piece, (size_t)got);
        *size += (uint64_t)got;
        error = write_piece(out, piece, (size_t)got);
    }
    free(piece);
    return error;
}

int snapshot_import(const struct snapshot_dir *dir, const char *file, uint64_t offset, uint64_t index,
                    uint64_t term, uint32_t *crc, uint64_t *size)
{
    char path[sizeof dir->path + 80];
    int in = open(file, O_RDONLY | O_CLOEXEC), out = -1;
    int error = in < 0 ? errno : 0;
    snapshot_path(dir, index, term, "tmp", path, sizeof path);
    if (error == 0) {
        out = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
        error = out < 0 ? errno : copy_from(in, offset, out, crc, size);
    }
    if (out >= 0 && close(out) != 0 && error == 0) {
        error = errno;
    }
    if (in >= 0) {
        close(in);
    }
    return error != 0 ? error_of(error) : snapshot_publish(dir, index, term, "tmp");
}

int snapshot_read_chunk(const struct snapshot_dir *dir, uint64_t index, uint64_t term, uint64_t offset,
                        uint32_t size, uint8_t *out, uint32_t *got)
{
    char path[sizeof dir->path + 80];
    int error = 0;
    *got = 0;
    if (offset > (uint64_t)INT64_MAX - size) { /* a peer's number */
        return ASSENT_INVALID;
    }
    snapshot_path(dir, index, term, "snap", path, sizeof path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return error_of(errno);
    }
    while (*got < size) {
        ssize_t n = pread(fd, out + *got, size - *got, (off_t)(offset + *got));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            error = n < 0 ? errno : 0;
            break;
        }
        *got += (uint32_t)n;
    }
    close(fd);
    return error_of(error);
}

/* A part some pull holds open is locked by it. */
static bool part_is_in_use(const struct snapshot_dir *dir, const struct file *file)
{
    char path[sizeof dir->path + 80];
    snprintf(path, sizeof path, "%s/%s", dir->path, file->name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    bool used = flock(fd, LOCK_EX | LOCK_NB) != 0;
    close(fd);
    return used;
}

void snapshot_clean(const struct snapshot_dir *dir, uint32_t keep, uint64_t pinned_index)
{
    size_t n, parts_n;
    struct file *files = list_files(dir, "snap", &n);
    for (size_t i = keep; i < n; i++) {
        if (files[i].index != pinned_index || pinned_index == 0) {
            remove_file(dir, &files[i]);
        }
    }
    uint64_t newest = n > 0 ? files[0].index : 0;
    free(files);
    /* A part is worth resuming only if it is the newest one and newer than what we have. */
    struct file *parts = list_files(dir, "part", &parts_n);
    for (size_t i = 0; i < parts_n; i++) {
        if ((i > 0 || parts[i].index <= newest) && !part_is_in_use(dir, &parts[i])) {
            remove_file(dir, &parts[i]);
        }
    }
    free(parts);
}

/* ---- pull ---- */

struct snapshot_pull {
    struct snapshot_dir dir;
    struct snapshot_manifest manifest;
    int fd;
    uint64_t bytes; /* received: the size of the part */
    uint32_t chunk;
    uint8_t configuration[];
};

int snapshot_pull_begin(struct snapshot_pull **pull, const struct snapshot_dir *dir,
                        const struct snapshot_manifest *manifest)
{
    char path[sizeof dir->path + 80];
    struct stat info;
    *pull = NULL;
    struct snapshot_pull *p = malloc(sizeof *p + manifest->configuration.size);
    if (p == NULL) {
        return ASSENT_NOMEM;
    }
    *p = (struct snapshot_pull){.dir = *dir, .manifest = *manifest};
    if (manifest->configuration.size > 0) {
        memcpy(p->configuration, manifest->configuration.base, manifest->configuration.size);
    }
    p->manifest.configuration.base = p->configuration;
    uint64_t chunk = manifest->chunk_size == 0 ? CHUNK_BYTES_DEFAULT : manifest->chunk_size;
    p->chunk = (uint32_t)(chunk < CHUNK_BYTES_MAX ? chunk : CHUNK_BYTES_MAX);
    snapshot_path(dir, manifest->index, manifest->term, "part", path, sizeof path);
    p->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    int error = p->fd < 0 ? errno : 0;
    if (error == 0 && flock(p->fd, LOCK_EX | LOCK_NB) != 0) {
        close(p->fd);
        free(p);
        return ASSENT_BUSY;
    }
    if (error == 0 && fstat(p->fd, &info) != 0) {
        error = errno;
    }
    if (error == 0) {
        p->bytes = (uint64_t)info.st_size;
        if (p->bytes > manifest->size) { /* cannot be a piece of it */
            p->bytes = 0;
            error = ftruncate(p->fd, 0) == 0 ? 0 : errno;
        }
    }
    if (error != 0) {
        snapshot_pull_close(p);
        return error == ENOENT ? ASSENT_IO : error_of(error);
    }
    *pull = p;
    return 0;
}

bool snapshot_pull_next(const struct snapshot_pull *pull, uint64_t *offset, uint32_t *size)
{
    uint64_t left = pull->manifest.size - pull->bytes;
    *offset = pull->bytes;
    *size = left < pull->chunk ? (uint32_t)left : pull->chunk;
    return left > 0;
}

int snapshot_pull_chunk(struct snapshot_pull *pull, uint64_t offset, struct assent_bytes data)
{
    if (offset != pull->bytes) {
        return 0;
    }
    if (data.size > pull->manifest.size - pull->bytes) {
        return ASSENT_MALFORMED;
    }
    size_t written = 0;
    while (written < data.size) {
        ssize_t n = pwrite(pull->fd, data.base + written, data.size - written, (off_t)(offset + written));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return error_of(
                errno); /* what did get written stays; the offset does not move, so it is written again */
        }
        written += (size_t)n;
    }
    pull->bytes += data.size;
    return 0;
}

int snapshot_pull_finish(struct snapshot_pull *pull)
{
    const struct snapshot_manifest *m = &pull->manifest;
    uint32_t crc;
    uint64_t size;
    assert(pull->bytes == m->size);
    int error = checksum_fd(pull->fd, &crc, &size);
    if (error != 0) {
        return error_of(error);
    }
    if (crc != m->crc || size != m->size) {
        char path[sizeof pull->dir.path + 80];
        snapshot_path(&pull->dir, m->index, m->term, "part", path, sizeof path);
        unlink(path);
        return ASSENT_CORRUPT;
    }
    return snapshot_publish(&pull->dir, m->index, m->term, "part");
}

uint64_t snapshot_pull_bytes(const struct snapshot_pull *pull)
{
    return pull->bytes;
}

const struct snapshot_manifest *snapshot_pull_manifest(const struct snapshot_pull *pull)
{
    return &pull->manifest;
}

void snapshot_pull_close(struct snapshot_pull *pull)
{
    if (pull == NULL) {
        return;
    }
    if (pull->fd >= 0) {
        close(pull->fd);
    }
    free(pull);
}
