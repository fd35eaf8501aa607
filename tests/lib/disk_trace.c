/* The recorder of writes and the maker of crash images; see disk_trace.h. */
#include "disk_trace.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILES_MAX       8
#define EVENTS_MAX      65536
#define SECTOR          512u
#define DESCRIPTORS_MAX 1024
#define MAPPED_MAX      256u

static struct {
    pthread_mutex_t lock;
    char root[256];
    bool on, quick;
    char names[FILES_MAX][64]; /* below the root; "" is the root itself */
    bool is_directory[FILES_MAX];
    char renamed[FILES_MAX][64]; /* what it was renamed to; "": it was not */
    uint32_t names_n;
    struct trace_event events[EVENTS_MAX];
    size_t n;
    bool synchronous[DESCRIPTORS_MAX]; /* opened with O_DSYNC */
    uint64_t calls, fail_at;
    int fail_error;
    bool fail_half;
    int mapped; /* number of its name, -1: none */
    size_t mapped_size;
    uint8_t (*mapped_then)[MAPPED_MAX]; /* its bytes at each event */
} t = {.lock = PTHREAD_MUTEX_INITIALIZER, .mapped = -1};

static _Noreturn void unknown(const char *what)
{
    fprintf(stderr, "disk_trace: %s below the recorded directory; there is no model of it\n", what);
    abort();
}

/* ---- names ---- */

/* Number of a name below the root; -1: it is not there or of no interest (locks). */
static int number_of(const char *path)
{
    size_t n = strlen(t.root);
    if (!t.on || strncmp(path, t.root, n) != 0 || (path[n] != '/' && path[n] != 0))
        return -1;
    const char *name = path[n] == 0 ? "" : path + n + 1, *last = strrchr(name, '/');
    last = last != NULL ? last + 1 : name;
    if (strcmp(last, "lock") == 0 || strcmp(last, "lock.mdb") == 0 || strstr(last, "-lock") != NULL)
        return -1;
    for (uint32_t i = 0; i < t.names_n; i++)
        if (strcmp(t.renamed[i][0] != 0 ? t.renamed[i] : t.names[i], name) == 0)
            return (int)i;
    assert(t.names_n < FILES_MAX && strlen(name) < sizeof t.names[0]);
    snprintf(t.names[t.names_n], sizeof t.names[0], "%s", name);
    return (int)t.names_n++;
}

static int number_of_fd(int fd)
{
    char link[40], path[512];
    if (!t.on)
        return -1;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t got = readlink(link, path, sizeof path - 1);
    if (got <= 0)
        return -1;
    path[got] = 0;
    return number_of(path);
}

/* ---- recording ---- */

static struct trace_event *add(enum trace_type type, int file)
{
    assert(t.n < EVENTS_MAX);
    if (t.mapped >= 0) {
        char path[400];
        memset(t.mapped_then[t.n], 0, MAPPED_MAX);
        snprintf(path, sizeof path, "%s/%s", t.root, t.names[t.mapped]);
        int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
        if (fd >= 0) {
            ssize_t got = pread(fd, t.mapped_then[t.n], t.mapped_size, 0);
            (void)got; /* shorter: zeros */
            close(fd);
        }
    }
    struct trace_event *e = &t.events[t.n++];
    *e = (struct trace_event){.type = type, .file = (uint8_t)file};
    return e;
}

/* Is it this call's turn to fail?  Locked. */
static bool falls(void)
{
    return ++t.calls == t.fail_at && t.fail_error != 0;
}

static void record_write(int file, uint64_t offset, const struct iovec *v, int n, size_t most, bool durable)
{
    for (int i = 0; i < n && most > 0; i++) {
        size_t size = v[i].iov_len < most ? v[i].iov_len : most;
        struct trace_event *e = add(TRACE_WRITE, file);
        e->durable = durable;
        e->offset = offset;
        e->size = size;
        e->bytes = malloc(size > 0 ? size : 1);
        assert(e->bytes != NULL);
        memcpy(e->bytes, v[i].iov_base, size);
        offset += size;
        most -= size;
    }
}

/* All ways of writing meet here; `offset` -1: at the descriptor's place. */
static ssize_t write_at(int fd, const struct iovec *v, int n, int64_t offset)
{
    pthread_mutex_lock(&t.lock);
    int file = number_of_fd(fd);
    size_t size = 0;
    for (int i = 0; i < n; i++)
        size += v[i].iov_len;
    bool fails = file >= 0 && falls(), half = fails && t.fail_half && size > 1;
    size_t most = !fails ? size : half ? size / 2 : 0;
    bool durable = file >= 0 && !fails && fd < DESCRIPTORS_MAX && t.synchronous[fd];
    int64_t at = offset >= 0 || file < 0 ? offset : lseek(fd, 0, SEEK_CUR);
    ssize_t rc = 0;
    if (fails && !half) {
        errno = t.fail_error;
        rc = -1;
    } else if (half) {
        uint8_t *flat = malloc(size), *p = flat;
        assert(flat != NULL);
        for (int i = 0; i < n; p += v[i].iov_len, i++)
            memcpy(p, v[i].iov_base, v[i].iov_len);
        rc = (ssize_t)syscall(SYS_pwrite64, fd, flat, most, at);
        free(flat);
    } else {
        rc = (ssize_t)(offset >= 0 ? syscall(SYS_pwritev, fd, v, n, offset, 0L)
                                   : syscall(SYS_writev, fd, v, n));
    }
    if (file >= 0 && rc > 0)
        record_write(file, (uint64_t)at, v, n, (size_t)rc, durable);
    int error = errno;
    pthread_mutex_unlock(&t.lock);
    errno = error;
    return rc;
}

static int sync_it(int fd, long call)
{
    struct stat st;
    pthread_mutex_lock(&t.lock);
    int rc = 0, file = number_of_fd(fd);
    bool directory = t.on && file >= 0 && fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
    bool fails = file >= 0 && falls();
    if (fails) {
        errno = t.fail_error;
        rc = -1;
    } else if (!t.quick && file < 0) {
        rc = (int)syscall(call, fd); /* of what is recorded the images decide, not this disk */
    }
    if (file >= 0)
        add(directory ? TRACE_SYNC_NAMES : TRACE_SYNC, file)->failed = fails;
    int error = errno;
    pthread_mutex_unlock(&t.lock);
    errno = error;
    return rc;
}

/* ---- libc, as everybody in this process calls it ---- */

ssize_t write(int fd, const void *bytes, size_t size)
{
    return write_at(fd, &(struct iovec){(void *)(uintptr_t)bytes, size}, 1, -1);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    return write_at(fd, &(struct iovec){(void *)(uintptr_t)bytes, size}, 1, offset);
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
    return write_at(fd, v, n, -1);
}

ssize_t pwritev(int fd, const struct iovec *v, int n, off_t offset)
{
    return write_at(fd, v, n, offset);
}

int fsync(int fd)
{
    return sync_it(fd, SYS_fsync);
}

int fdatasync(int fd)
{
    return sync_it(fd, SYS_fdatasync);
}

int unlink(const char *path)
{
    pthread_mutex_lock(&t.lock);
    int file = number_of(path), rc = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0), error = errno;
    if (file >= 0 && rc == 0)
        add(TRACE_UNLINK, file);
    pthread_mutex_unlock(&t.lock);
    errno = error;
    return rc;
}

int mkdir(const char *path, mode_t mode)
{
    pthread_mutex_lock(&t.lock);
    int file = number_of(path), rc = (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode), error = errno;
    if (file >= 0 && rc == 0) {
        add(TRACE_CREATE, file);
        t.is_directory[file] = true;
    }
    pthread_mutex_unlock(&t.lock);
    errno = error;
    return rc;
}

int open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    if ((flags & O_CREAT) != 0) {
        va_list args;
        va_start(args, flags);
        mode = va_arg(args, mode_t);
        va_end(args);
    }
    pthread_mutex_lock(&t.lock);
    int file = (flags & O_CREAT) != 0 ? number_of(path) : -1;
    bool fresh = file >= 0 && syscall(SYS_faccessat, AT_FDCWD, path, F_OK) != 0;
    if (file >= 0 && (flags & O_TRUNC) != 0 && !fresh)
        unknown("open with O_TRUNC of a file that is there");
    /* The disk below need not be waited for: what is durable the model says. */
    bool synchronous = (t.on || t.quick) && (flags & O_DSYNC) != 0;
    if (synchronous)
        flags &= ~O_SYNC;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode), error = errno;
    if (fd >= 0 && fd < DESCRIPTORS_MAX)
        t.synchronous[fd] = synchronous;
    if (fresh && fd >= 0)
        add(TRACE_CREATE, file);
    pthread_mutex_unlock(&t.lock);
    errno = error;
    return fd;
}

int msync(void *at, size_t size, int flags)
{
    if (t.on)
        unknown("msync");
    return (int)syscall(SYS_msync, at, size, flags);
}

int ftruncate(int fd, off_t size)
{
    pthread_mutex_lock(&t.lock);
    if (number_of_fd(fd) >= 0)
        unknown("ftruncate");
    pthread_mutex_unlock(&t.lock);
    return (int)syscall(SYS_ftruncate, fd, size);
}

int fallocate(int fd, int mode, off_t offset, off_t size)
{
    pthread_mutex_lock(&t.lock);
    if (number_of_fd(fd) >= 0)
        unknown("fallocate");
    pthread_mutex_unlock(&t.lock);
    return (int)syscall(SYS_fallocate, fd, mode, offset, size);
}

int rename(const char *from, const char *to)
{
    pthread_mutex_lock(&t.lock);
    int file = number_of(from);
    if (file >= 0 && syscall(SYS_faccessat, AT_FDCWD, to, F_OK) == 0)
        unknown("rename over a file that is there");
    int rc = (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0), error = errno;
    if (file >= 0 && rc == 0) {
        assert(t.renamed[file][0] == 0 && strncmp(to, t.root, strlen(t.root)) == 0);
        add(TRACE_RENAME, file);
        snprintf(t.renamed[file], sizeof t.renamed[file], "%s", to + strlen(t.root) + 1);
    }
    pthread_mutex_unlock(&t.lock);
    errno = error;
    return rc;
}

/* ---- the caller's side ---- */

void trace_free(void)
{
    for (size_t i = 0; i < t.n; i++)
        free(t.events[i].bytes);
    free(t.mapped_then);
    t.mapped_then = NULL;
    t.mapped = -1;
    memset(t.is_directory, 0, sizeof t.is_directory);
    memset(t.renamed, 0, sizeof t.renamed);
    t.n = t.names_n = 0;
    t.calls = t.fail_at = 0;
}

void trace_begin(const char *root)
{
    pthread_mutex_lock(&t.lock);
    trace_free();
    snprintf(t.root, sizeof t.root, "%s", root);
    t.on = true;
    pthread_mutex_unlock(&t.lock);
}

void trace_end(void)
{
    pthread_mutex_lock(&t.lock);
    t.on = false;
    pthread_mutex_unlock(&t.lock);
}

void trace_quick(bool on)
{
    t.quick = on;
}

void trace_note(uint32_t note, uint64_t number)
{
    pthread_mutex_lock(&t.lock);
    struct trace_event *e = add(TRACE_NOTE, 0);
    e->note = note;
    e->number = number;
    pthread_mutex_unlock(&t.lock);
}

size_t trace_count(void)
{
    return t.n;
}

const struct trace_event *trace_at(size_t i)
{
    return &t.events[i];
}

void trace_fail(uint64_t n, int error, bool half)
{
    t.fail_at = n;
    t.fail_error = error;
    t.fail_half = half;
}

uint64_t trace_calls(void)
{
    return t.calls;
}

void trace_mapped(const char *name, size_t size)
{
    char path[400];
    assert(t.on && size <= MAPPED_MAX);
    snprintf(path, sizeof path, "%s/%s", t.root, name);
    t.mapped_then = calloc(EVENTS_MAX, sizeof *t.mapped_then);
    assert(t.mapped_then != NULL);
    t.mapped = number_of(path);
    t.mapped_size = size;
}

/* ---- images ---- */

static uint64_t next(uint64_t *seed)
{
    *seed += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    uint64_t x = *seed;
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

struct image {
    uint8_t *bytes;
    size_t size, room;
    bool there, renamed;
};

static void put(struct image *m, uint64_t offset, const uint8_t *bytes, size_t size)
{
    size_t end = (size_t)offset + size;
    if (end > m->room) {
        size_t room = end * 2;
        m->bytes = realloc(m->bytes, room);
        assert(m->bytes != NULL);
        memset(m->bytes + m->room, 0, room - m->room);
        m->room = room;
    }
    memcpy(m->bytes + offset, bytes, size);
    m->size = end > m->size ? end : m->size;
}

/* Each sector of it, or not. */
static void put_torn(struct image *m, const struct trace_event *e, uint64_t *seed)
{
    for (uint64_t at = 0; at < e->size;) {
        uint64_t size = SECTOR - (e->offset + at) % SECTOR;
        if (size > e->size - at)
            size = e->size - at;
        if (next(seed) % 2 == 0)
            put(m, e->offset + at, e->bytes + at, (size_t)size);
        at += size;
    }
}

/* Number of the directory a name stands in. */
static int directory_of(const char *name)
{
    const char *slash = strrchr(name, '/');
    size_t n = slash != NULL ? (size_t)(slash - name) : 0;
    for (uint32_t i = 0; i < t.names_n; i++)
        if (strlen(t.names[i]) == n && strncmp(t.names[i], name, n) == 0)
            return (int)i;
    return -1;
}

/* Is event `i` certain to have reached the disk when event `point` is under way? */
static bool is_durable(size_t i, size_t point)
{
    const struct trace_event *e = &t.events[i];
    bool names = e->type == TRACE_CREATE || e->type == TRACE_UNLINK || e->type == TRACE_RENAME;
    int directory = names ? directory_of(t.names[e->file]) : -1;
    if (e->durable && i < point)
        return true;
    for (size_t k = i + 1; k < point; k++) {
        const struct trace_event *s = &t.events[k];
        if (s->failed)
            continue;
        if (names ? s->type == TRACE_SYNC_NAMES && s->file == directory
                  : s->type == TRACE_SYNC && s->file == e->file)
            return true;
    }
    return false;
}

static void apply(struct image *m, const struct trace_event *e, bool torn, uint64_t *seed)
{
    if (e->type == TRACE_UNLINK) {
        m->there = false;
        m->size = 0;
        if (m->room > 0)
            memset(m->bytes, 0, m->room);
    } else if (e->type == TRACE_CREATE) {
        m->there = true;
    } else if (e->type == TRACE_RENAME) {
        m->renamed = true;
    } else if (torn) {
        put_torn(m, e, seed);
    } else {
        put(m, e->offset, e->bytes, (size_t)e->size);
    }
}

static const char *name_of(const struct image *images, uint32_t i)
{
    return images[i].renamed ? t.renamed[i] : t.names[i];
}

/* Is the name there, and the directories it stands in? */
static bool found(const struct image *images, uint32_t i)
{
    int directory = directory_of(t.names[i]);
    bool root = directory < 0 || t.names[directory][0] == 0;
    return images[i].there && (root || found(images, (uint32_t)directory));
}

static void put_file(const char *path, const struct image *m)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    assert(fd >= 0);
    ssize_t wrote = pwrite(fd, m->bytes, m->size, 0);
    assert(wrote == (ssize_t)m->size);
    close(fd);
}

static void put_files(const char *to, const struct image *images)
{
    for (int pass = 0; pass < 2; pass++) { /* directories first; the outer has the smaller number */
        for (uint32_t i = 0; i < t.names_n; i++) {
            char path[512];
            snprintf(path, sizeof path, "%s/%s", to, name_of(images, i));
            if (pass == 0 && t.is_directory[i] && found(images, i))
                (void)mkdir(path, 0750);
            else if (pass == 1 && !t.is_directory[i] && found(images, i))
                put_file(path, &images[i]);
        }
    }
}

/* What events 0 to `point` leave.  Images are the caller's to free. */
static void replay(struct image *images, size_t point, enum trace_variant variant, uint64_t seed)
{
    for (size_t i = 0; i <= point && i < t.n; i++) {
        const struct trace_event *e = &t.events[i];
        struct image *m = &images[e->file];
        if (e->type == TRACE_SYNC || e->type == TRACE_SYNC_NAMES || e->type == TRACE_NOTE)
            continue;
        bool certain = variant == TRACE_ALL ? i < point : is_durable(i, point);
        uint64_t luck = variant == TRACE_ANY ? next(&seed) % 4 : 0;
        if (certain || luck >= 2)
            apply(m, e, false, &seed);
        else if (luck == 1 && e->type == TRACE_WRITE)
            apply(m, e, true, &seed);
    }
}

void trace_image(const char *to, size_t point, enum trace_variant variant, uint64_t seed)
{
    struct image images[FILES_MAX] = {0};
    assert(!t.on);
    replay(images, point, variant, seed);
    if (t.mapped >= 0 && images[t.mapped].there && t.mapped_then != NULL) {
        /* The kernel wrote the page at some time, or never; the process that died alone left it as it was. */
        size_t last = point < t.n ? point : t.n - 1;
        size_t when = variant == TRACE_ALL ? last : (size_t)(next(&seed) % (last + 1));
        if (variant != TRACE_SYNCED)
            put(&images[t.mapped], 0, t.mapped_then[when], t.mapped_size);
    }
    put_files(to, images);
    for (uint32_t i = 0; i < FILES_MAX; i++)
        free(images[i].bytes);
}

void trace_image_remembered(const char *to, size_t point)
{
    struct image images[FILES_MAX] = {0};
    assert(!t.on && t.mapped >= 0 && t.n > 0);
    replay(images, point, TRACE_ALL, 0);
    for (size_t i = point; i < t.n; i++)
        if (t.events[i].file == t.mapped && t.events[i].type == TRACE_WRITE)
            apply(&images[t.mapped], &t.events[i], false, NULL);
    put(&images[t.mapped], 0, t.mapped_then[t.n - 1], t.mapped_size);
    images[t.mapped].there = true;
    put_files(to, images);
    for (uint32_t i = 0; i < FILES_MAX; i++)
        free(images[i].bytes);
}

static bool same(const char *name, const struct image *m, bool mapped)
{
    char path[512];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", t.root, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return !m->there;
    bool equal = m->there && fstat(fd, &st) == 0 && (size_t)st.st_size == m->size;
    uint8_t *bytes = malloc(m->size + 1);
    assert(bytes != NULL);
    equal = equal && pread(fd, bytes, m->size, 0) == (ssize_t)m->size &&
            (mapped || m->size == 0 || memcmp(bytes, m->bytes, m->size) == 0);
    free(bytes);
    close(fd);
    return equal;
}

bool trace_complete(char *why, size_t why_size)
{
    struct image images[FILES_MAX] = {0};
    bool complete = true;
    assert(!t.on);
    replay(images, t.n, TRACE_ALL, 0);
    for (uint32_t i = 0; i < t.names_n; i++) {
        if (t.is_directory[i] || t.names[i][0] == 0)
            continue;
        if (complete && !same(name_of(images, i), &images[i], (int)i == t.mapped)) {
            snprintf(why, why_size, "%s is not what was written to it by the calls this recorder sees",
                     name_of(images, i));
            complete = false;
        }
    }
    for (uint32_t i = 0; i < FILES_MAX; i++)
        free(images[i].bytes);
    return complete;
}
