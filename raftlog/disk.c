/* The data directory of a node: lock, identity, what the log holds, its verification on load, recovery.
 *
 * Order on open: lock (so that nobody writes under us), environment, format, records, bounds.  Whatever does
 * not add up stops the node with a sentence; nothing here deletes or repairs.  A voter that lost acknowledged
 * entries must not vote again under its old id, so the way back is always the same: wipe it and let it join
 * as a new node. */
#include "disk.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "assent/error.h"
#include "fault.h"
#include "writer.h"

#define MAP_BYTES_DEFAULT (UINT64_C(16) << 30)
/* How old the answer of disk_free_bytes() may be. */
#define FREE_AGE_MS 500

int disk_refuse(int error, char *err, size_t err_size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(err, err_size, format, args);
    va_end(args);
    return error;
}

/* ---- the directory ---- */

/* A name is durable when its directory is. */
static int sync_directory(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error = fd < 0 || fsync(fd) != 0 ? errno : 0;
    if (fd >= 0) {
        close(fd);
    }
    return error;
}

/* Make one, durably; 0 too when it is there. */
static int make_directory(const char *path)
{
    char parent[1100];
    if (mkdir(path, 0750) != 0) {
        return errno == EEXIST ? 0 : errno;
    }
    const char *slash = strrchr(path, '/');
    int size = slash == NULL ? 0 : slash == path ? 1 : (int)(slash - path);
    snprintf(parent, sizeof parent, "%.*s", size, path);
    return sync_directory(size > 0 ? parent : ".");
}

static int make_directories(const char *path)
{
    char part[1100];
    size_t size = strlen(path);
    if (size == 0 || size >= sizeof part) {
        return ENAMETOOLONG;
    }
    for (size_t i = 1; i <= size; i++) {
        if (path[i] != '/' && path[i] != '\0') {
            continue;
        }
        memcpy(part, path, i);
        part[i] = '\0';
        int error = make_directory(part);
        if (error != 0) {
            return error;
        }
    }
    return 0;
}

/* A flock belongs to the open file, so it also stops a second handle in the same process, and dies with the
 * process. */
static int lock_directory(struct disk *d, char *err, size_t err_size)
{
    char path[1100], text[32] = "";
    snprintf(path, sizeof path, "%s/lock", d->dir);
    d->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (d->lock_fd < 0) {
        return disk_refuse(logdb_error(errno), err, err_size, "%s cannot be opened: %s", path,
                           strerror(errno));
    }
    if (flock(d->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK) {
            return disk_refuse(ASSENT_IO, err, err_size, "%s cannot be locked: %s", path, strerror(errno));
        }
        ssize_t got = pread(d->lock_fd, text, sizeof text - 1, 0);
        text[got > 0 ? strspn(text, "0123456789") : 0] = '\0';
        return disk_refuse(
            ASSENT_BUSY, err, err_size,
            "directory %s is in use by process %s: stop it first, or give this node its own directory",
            d->dir, text[0] != '\0' ? text : "unknown");
    }
    int size = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(d->lock_fd, 0) != 0 || pwrite(d->lock_fd, text, (size_t)size, 0) != size) {
        errno = 0; /* the number only serves the sentence above; on a full disk it is missing */
    }
    return 0;
}

/* ---- reading what is there ---- */

static int bad_record(const struct disk *d, const char *name, int rc, char *err, size_t err_size)
{
    const char *what = rc == ENOENT ? "is missing" : logdb_sentence(rc);
    int error = rc == ENOENT ? ASSENT_CORRUPT : logdb_error(rc);
    return disk_refuse(error, err, err_size, "record '%s' of the log in %s: %s. " DISK_READMIT, name, d->dir,
                       what);
}

/* The records of a directory.  Format is written when it is made; identity and vote together at bootstrap, so
 * none or both of them are there, and never without the first. */
static int read_records(struct disk *d, struct MDB_txn *txn, char *err, size_t err_size)
{
    struct disk_state *s = &d->state;
    uint64_t format = 0, identity[3] = {0}, vote[2] = {0};
    int rc_format = logdb_get_record(&d->db, txn, RECORD_FORMAT, &format, 1);
    int rc_identity = logdb_get_record(&d->db, txn, RECORD_IDENTITY, identity, 3);
    int rc_vote = logdb_get_record(&d->db, txn, RECORD_VOTE, vote, 2);
    if (rc_format == 0 && format != DISK_FORMAT) {
        return disk_refuse(ASSENT_FOREIGN, err, err_size,
                           "the log in %s has format %" PRIu64
                           ", this program reads format %d: use the version of assent that wrote it",
                           d->dir, format, DISK_FORMAT);
    }
    s->pristine = rc_identity == ENOENT && rc_vote == ENOENT;
    d->formatted = rc_format == 0;
    if (rc_format != 0 && (rc_format != ENOENT || !s->pristine)) {
        return bad_record(d, RECORD_FORMAT, rc_format, err, err_size);
    }
    if (rc_identity != 0 && !s->pristine) {
        return bad_record(d, RECORD_IDENTITY, rc_identity, err, err_size);
    }
    if (rc_vote != 0 && !s->pristine) {
        return bad_record(d, RECORD_VOTE, rc_vote, err, err_size);
    }
    s->cluster_id = identity[0];
    s->node_id = identity[1];
    s->incarnation = identity[2];
    s->term = vote[0];
    s->vote = vote[1];
    return 0;
}

static int read_manifest(struct disk *d, struct MDB_txn *txn, char *err, size_t err_size)
{
    struct snapshot_manifest manifest;
    int rc = logdb_newest_manifest(&d->db, txn, &manifest);
    if (rc == ENOENT) {
        return 0;
    }
    if (rc != 0) {
        return disk_refuse(logdb_error(rc), err, err_size,
                           "the newest snapshot record of the log in %s: %s. " DISK_READMIT, d->dir,
                           logdb_sentence(rc));
    }
    d->newest = manifest_copy(&manifest);
    if (d->newest == NULL) {
        return disk_refuse(ASSENT_NOMEM, err, err_size, "out of memory");
    }
    d->state.has_snapshot = true;
    d->state.snapshot = *d->newest;
    return 0;
}

/* First and last entry, and whether they meet the snapshot and LMDB's own count.  The count catches a page
 * that came back from before its last write: it holds valid entries, only not all. */
static int read_bounds(struct disk *d, struct MDB_txn *txn, char *err, size_t err_size)
{
    struct disk_state *s = &d->state;
    struct logdb_bounds b;
    uint64_t base = s->has_snapshot ? s->snapshot.index : 0;
    int rc = logdb_bounds(&d->db, txn, &b);
    if (rc == 0) {
        rc = logdb_entry_bytes(&d->db, txn, &d->used_bytes);
    }
    if (rc != 0) {
        return disk_refuse(logdb_error(rc), err, err_size, "the log in %s: %s. " DISK_READMIT, d->dir,
                           logdb_sentence(rc));
    }
    if (b.count == 0) {
        b.first = base + 1;
        b.last = base;
    } else if (b.first == 0 || b.last < b.first || b.count != b.last - b.first + 1) {
        return disk_refuse(ASSENT_CORRUPT, err, err_size,
                           "the log in %s holds %" PRIu64 " entries between index %" PRIu64 " and %" PRIu64
                           ": some are missing. " DISK_READMIT,
                           d->dir, b.count, b.first, b.last);
    } else if (b.first > base + 1 || b.last < base) {
        return disk_refuse(ASSENT_CORRUPT, err, err_size,
                           "the log in %s holds entries %" PRIu64 " to %" PRIu64
                           " but its newest snapshot ends at %" PRIu64
                           ": what lies between is missing. " DISK_READMIT,
                           d->dir, b.first, b.last, base);
    }
    s->first_index = b.first;
    s->last_index = b.last;
    if (s->pristine && (b.count != 0 || s->has_snapshot)) {
        return disk_refuse(
            ASSENT_CORRUPT, err, err_size,
            "the log in %s has entries or snapshots but no record of whose they are. " DISK_READMIT, d->dir);
    }
    d->extent = (struct extent){.first = b.first,
                                .last = b.last,
                                .last_term = b.count != 0 ? b.last_term : s->snapshot.term,
                                .last_crc = b.last_crc,
                                .term = s->term,
                                .vote = s->vote,
                                .snapshot_index = base,
                                .bytes = d->used_bytes};
    return 0;
}

static int read_state(struct disk *d, char *err, size_t err_size)
{
    struct MDB_txn *txn;
    int rc = logdb_begin(&d->db, false, &txn);
    if (rc != 0) {
        return disk_refuse(logdb_error(rc), err, err_size, "the log in %s: %s", d->dir, logdb_sentence(rc));
    }
    int error = read_records(d, txn, err, err_size);
    if (error == 0) {
        error = read_manifest(d, txn, err, err_size);
    }
    if (error == 0) {
        error = read_bounds(d, txn, err, err_size);
    }
    logdb_abort(txn);
    return error;
}

static int write_format(struct disk *d, char *err, size_t err_size)
{
    if (d->formatted) {
        return 0;
    }
    struct op op = {.type = OP_PUT, .record = RECORD_FORMAT, .fields = {DISK_FORMAT}, .n = 1};
    int rc = writer_now(d, &op);
    if (rc != 0) {
        return disk_refuse(logdb_error(rc), err, err_size, "the log in %s cannot be written: %s", d->dir,
                           logdb_sentence(rc));
    }
    d->formatted = true;
    return 0;
}

/* Is this the log this directory had, and not an older state of it? */
static int check_witness(struct disk *d, char *err, size_t err_size)
{
    char path[1100];
    struct witness_note noted, found = writer_note(d);
    snprintf(path, sizeof path, "%s/log/witness", d->dir);
    int rc = witness_open(&d->witness, path);
    if (rc != 0) {
        return disk_refuse(logdb_error(rc), err, err_size, "%s cannot be opened: %s", path, strerror(rc));
    }
    if (!witness_newest(&d->witness, &noted) || witness_agrees(&noted, &found)) {
        return 0;
    }
    return disk_refuse(ASSENT_CORRUPT, err, err_size,
                       "the log in %s ends with entry %" PRIu64 " at commit %" PRIu64 " and term %" PRIu64
                       ", but it once held entry %" PRIu64 " at commit %" PRIu64 " and term %" PRIu64
                       ": it was restored from a copy, or the disk lost writes. " DISK_READMIT,
                       d->dir, found.last, found.commit, found.term, noted.last, noted.commit, noted.term);
}

static struct disk *disk_new(const struct disk_config *config)
{
    struct disk *d = calloc(1, sizeof *d);
    if (d == NULL) {
        return NULL;
    }
    snprintf(d->dir, sizeof d->dir, "%s", config->dir);
    d->config = *config;
    d->config.dir = d->dir;
    d->lock_fd = -1;
    d->db.fd = -1;
    d->queue.tail = &d->queue.head;
    d->report = &d->reports[0];
    pthread_mutex_init(&d->mutex, NULL);
    pthread_cond_init(&d->work, NULL);
    pthread_cond_init(&d->durable, NULL);
    return d;
}

void disk_free(struct disk *d)
{
    writer_drop(d->queue.head);
    logdb_close(&d->db);
    witness_close(&d->witness);
    if (d->lock_fd >= 0) {
        close(d->lock_fd); /* the lock goes with it */
    }
    free(d->newest);
    free(d->reports[0].newest);
    free(d->reports[1].newest);
    pthread_mutex_destroy(&d->mutex);
    pthread_cond_destroy(&d->work);
    pthread_cond_destroy(&d->durable);
    free(d);
}

int disk_fault(struct disk *d, int number, char *err, size_t err_size)
{
    /* LMDB was left in the middle of a call: its handle is given up, not closed.  The process is about to
     * exit. */
    d->db.env = NULL;
    return disk_refuse(
        ASSENT_CORRUPT, err, err_size,
        "the log in %s cannot be read: a page is damaged or the device failed (%s). " DISK_READMIT, d->dir,
        strsignal(number));
}

struct reading {
    struct disk *disk;
    const char *path;
    char *err;
    size_t err_size;
    int error;
};

/* Everything about opening that touches LMDB's pages. */
static void read_directory(void *data)
{
    struct reading *r = data;
    const struct disk_config *config = &r->disk->config;
    uint64_t map = config->map_bytes != 0 ? config->map_bytes : MAP_BYTES_DEFAULT;
    r->error = logdb_open(&r->disk->db, r->path, map, config->presize_bytes, r->err, r->err_size);
    size_t used = strlen(r->err);
    if (r->error == ASSENT_CORRUPT && used < r->err_size) {
        snprintf(r->err + used, r->err_size - used, ". " DISK_READMIT);
    } else if (r->error == ASSENT_FOREIGN && used < r->err_size) {
        snprintf(r->err + used, r->err_size - used, ". Use the version of assent that wrote it");
    }
    if (r->error == 0) {
        r->error = read_state(r->disk, r->err, r->err_size);
    }
}

int disk_open(struct disk **disk, const struct disk_config *config, char *err, size_t err_size)
{
    char log[1100];
    *disk = NULL;
    if (strlen(config->dir) >= sizeof(((struct disk *)0)->dir)) {
        return disk_refuse(ASSENT_INVALID, err, err_size, "the name of the data directory is too long");
    }
    struct disk *d = disk_new(config);
    if (d == NULL) {
        return disk_refuse(ASSENT_NOMEM, err, err_size, "out of memory");
    }
    snprintf(log, sizeof log, "%s/log", d->dir);
    int rc = make_directories(log);
    int error =
        rc == 0 ? 0 : disk_refuse(logdb_error(rc), err, err_size, "%s cannot be made: %s", log, strerror(rc));
    if (error == 0) {
        error = lock_directory(d, err, err_size);
    }
    if (error == 0) {
        struct reading r = {d, log, err, err_size, 0};
        int fault = fault_catch(read_directory, &r);
        error = fault == 0 ? r.error : disk_fault(d, fault, err, err_size);
    }
    if (error == 0) {
        error = check_witness(d, err, err_size);
    }
    if (error == 0) {
        error = write_format(d, err, err_size);
    }
    if (error != 0) {
        disk_free(d);
        return error;
    }
    *disk = d;
    return 0;
}

const struct disk_state *disk_state(const struct disk *disk)
{
    return &disk->state;
}

/* ---- load ---- */

struct load {
    struct disk *disk;
    int rc; /* of the walk */
    int (*cb)(void *data, struct entry *entry);
    void *data;
    uint64_t next, term; /* expected index; term of the entry before */
    char *err;
    size_t err_size;
    int error;
};

static int bad_entry(struct load *l, uint64_t index, const char *what)
{
    l->error = disk_refuse(ASSENT_CORRUPT, l->err, l->err_size,
                           "entry %" PRIu64 " of the log in %s %s. " DISK_READMIT, index, l->disk->dir, what);
    return l->error;
}

static int give_entry(void *data, void *entry)
{
    struct load *l = data;
    return l->cb(l->data, entry);
}

static int load_entry(void *data, uint64_t index, struct assent_bytes value)
{
    struct load *l = data;
    const struct disk_state *s = &l->disk->state;
    struct entry *e;
    if (index != l->next) {
        return bad_entry(l, l->next, "is missing");
    }
    int rc = logdb_decode(index, value, &e);
    if (rc == ENOMEM) {
        l->error = disk_refuse(ASSENT_NOMEM, l->err, l->err_size, "out of memory at entry %" PRIu64, index);
        return rc;
    }
    if (rc != 0) {
        return bad_entry(l, index, "does not match its checksum");
    }
    uint64_t term = e->term;
    if (term < l->term || term == 0) {
        entry_unref(e);
        return bad_entry(l, index, "has an older term than the entry before it");
    }
    if (term > s->term) {
        entry_unref(e);
        return bad_entry(l, index, "has a newer term than the node ever knew: its vote record is too old");
    }
    if (s->has_snapshot && index == s->snapshot.index && term != s->snapshot.term) {
        entry_unref(e);
        return bad_entry(l, index, "has another term than the snapshot that ends with it");
    }
    l->next++;
    l->term = term;
    if (l->cb == NULL) {
        entry_unref(e);
        return 0;
    }
    l->error = fault_outside(give_entry, l, e);
    return l->error;
}

static void walk(void *data)
{
    struct load *l = data;
    struct MDB_txn *txn;
    l->rc = logdb_begin(&l->disk->db, false, &txn);
    if (l->rc == 0) {
        l->rc = logdb_each(&l->disk->db, txn, load_entry, l);
        logdb_abort(txn);
    }
}

int disk_load(struct disk *disk, int (*cb)(void *data, struct entry *entry), void *data, char *err,
              size_t err_size)
{
    struct load l = {.disk = disk,
                     .cb = cb,
                     .data = data,
                     .next = disk->state.first_index,
                     .err = err,
                     .err_size = err_size};
    int fault = fault_catch(walk, &l);
    if (fault != 0) {
        return disk_fault(disk, fault, err, err_size);
    }
    if (l.error != 0) {
        return l.error;
    }
    if (l.rc != 0) {
        return disk_refuse(logdb_error(l.rc), err, err_size,
                           "the log in %s behind entry %" PRIu64 ": %s. " DISK_READMIT, disk->dir, l.next - 1,
                           logdb_sentence(l.rc));
    }
    if (l.next != disk->state.last_index + 1) {
        return bad_entry(&l, l.next, "is missing");
    }
    return 0;
}

/* ---- space ---- */

uint64_t disk_free_bytes(const struct disk *disk)
{
    /* A cache inside a handle that is const to the caller: asked for each proposal, answered by the kernel
     * twice a second. */
    struct disk *d = (struct disk *)(uintptr_t)disk;
    struct timespec now;
    struct statvfs info;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    uint64_t now_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    if ((d->free_at_ms == 0 || now_ms - d->free_at_ms >= FREE_AGE_MS) && fstatvfs(d->lock_fd, &info) == 0) {
        d->free_bytes = (uint64_t)info.f_bavail * info.f_frsize;
        d->free_at_ms = now_ms;
    }
    return d->free_bytes;
}
