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
#include "writer.h"

#define MAP_BYTES_DEFAULT (UINT64_C(16) << 30)
/* How old the answer of disk_free_bytes() may be. */
#define FREE_AGE_MS 500

/* The end of every sentence about damage. */
#define READMIT                                                                                              \
    "Nothing was changed. Do not restart this node with this data: remove it from the cluster, wipe its "    \
    "directory and add it as a new non-voter with a new id; it then fetches everything from the others"

__attribute__((format(printf, 4, 5))) static int refuse(int error, char *err, size_t err_size,
                                                        const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(err, err_size, format, args);
    va_end(args);
    return error;
}

/* ---- the directory ---- */

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
        if (mkdir(part, 0750) != 0 && errno != EEXIST) {
            return errno;
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
        return refuse(logdb_error(errno), err, err_size, "%s cannot be opened: %s", path, strerror(errno));
    }
    if (flock(d->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK) {
            return refuse(ASSENT_IO, err, err_size, "%s cannot be locked: %s", path, strerror(errno));
        }
        ssize_t got = pread(d->lock_fd, text, sizeof text - 1, 0);
        text[got > 0 ? strspn(text, "0123456789") : 0] = '\0';
        return refuse(
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
    return refuse(error, err, err_size, "record '%s' of the log in %s: %s. " READMIT, name, d->dir, what);
}

/* The records of a directory.  Format is written when it is made; identity and vote together at bootstrap, so
 * none or both of them are there, and never without the first. */
static int read_records(struct disk *d, struct MDB_txn *txn, bool *formatted, char *err, size_t err_size)
{
    struct disk_state *s = &d->state;
    uint64_t format = 0, identity[3] = {0}, vote[2] = {0};
    int rc_format = logdb_get_record(&d->db, txn, RECORD_FORMAT, &format, 1);
    int rc_identity = logdb_get_record(&d->db, txn, RECORD_IDENTITY, identity, 3);
    int rc_vote = logdb_get_record(&d->db, txn, RECORD_VOTE, vote, 2);
    if (rc_format == 0 && format != DISK_FORMAT) {
        return refuse(ASSENT_FOREIGN, err, err_size,
                      "the log in %s has format %" PRIu64
                      ", this program reads format %d: use the version of assent that wrote it",
                      d->dir, format, DISK_FORMAT);
    }
    s->pristine = rc_identity == ENOENT && rc_vote == ENOENT;
    *formatted = rc_format == 0;
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
        return refuse(logdb_error(rc), err, err_size,
                      "the newest snapshot record of the log in %s: %s. " READMIT, d->dir,
                      logdb_sentence(rc));
    }
    d->newest = manifest_copy(&manifest);
    if (d->newest == NULL) {
        return refuse(ASSENT_NOMEM, err, err_size, "out of memory");
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
        return refuse(logdb_error(rc), err, err_size, "the log in %s: %s. " READMIT, d->dir,
                      logdb_sentence(rc));
    }
    if (b.count == 0) {
        b.first = base + 1;
        b.last = base;
    } else if (b.first == 0 || b.last < b.first || b.count != b.last - b.first + 1) {
        return refuse(ASSENT_CORRUPT, err, err_size,
                      "the log in %s holds %" PRIu64 " entries between index %" PRIu64 " and %" PRIu64
                      ": some are missing. " READMIT,
                      d->dir, b.count, b.first, b.last);
    } else if (b.first > base + 1 || b.last < base) {
        return refuse(ASSENT_CORRUPT, err, err_size,
                      "the log in %s holds entries %" PRIu64 " to %" PRIu64
                      " but its newest snapshot ends at %" PRIu64 ": what lies between is missing. " READMIT,
                      d->dir, b.first, b.last, base);
    }
    s->first_index = b.first;
    s->last_index = b.last;
    if (s->pristine && (b.count != 0 || s->has_snapshot)) {
        return refuse(ASSENT_CORRUPT, err, err_size,
                      "the log in %s has entries or snapshots but no record of whose they are. " READMIT,
                      d->dir);
    }
    d->extent = (struct extent){.first = b.first,
                                .last = b.last,
                                .last_term = s->snapshot.term,
                                .snapshot_index = base,
                                .bytes = d->used_bytes};
    return 0;
}

static int read_state(struct disk *d, char *err, size_t err_size)
{
    struct MDB_txn *txn;
    bool formatted = false;
    int rc = logdb_begin(&d->db, false, &txn);
    if (rc != 0) {
        return refuse(logdb_error(rc), err, err_size, "the log in %s: %s", d->dir, logdb_sentence(rc));
    }
    int error = read_records(d, txn, &formatted, err, err_size);
    if (error == 0) {
        error = read_manifest(d, txn, err, err_size);
    }
    if (error == 0) {
        error = read_bounds(d, txn, err, err_size);
    }
    logdb_abort(txn);
    if (error == 0 && !formatted) {
        struct op op = {.type = OP_PUT, .record = RECORD_FORMAT, .fields = {DISK_FORMAT}, .n = 1};
        rc = writer_now(d, &op);
        if (rc != 0) {
            error = refuse(logdb_error(rc), err, err_size, "the log in %s cannot be written: %s", d->dir,
                           logdb_sentence(rc));
        }
    }
    return error;
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

int disk_open(struct disk **disk, const struct disk_config *config, char *err, size_t err_size)
{
    char log[1100];
    *disk = NULL;
    if (strlen(config->dir) >= sizeof(((struct disk *)0)->dir)) {
        return refuse(ASSENT_INVALID, err, err_size, "the name of the data directory is too long");
    }
    struct disk *d = disk_new(config);
    if (d == NULL) {
        return refuse(ASSENT_NOMEM, err, err_size, "out of memory");
    }
    snprintf(log, sizeof log, "%s/log", d->dir);
    int rc = make_directories(log);
    int error =
        rc == 0 ? 0 : refuse(logdb_error(rc), err, err_size, "%s cannot be made: %s", log, strerror(rc));
    if (error == 0) {
        error = lock_directory(d, err, err_size);
    }
    if (error == 0) {
        uint64_t map = config->map_bytes != 0 ? config->map_bytes : MAP_BYTES_DEFAULT;
        error = logdb_open(&d->db, log, map, config->presize_bytes, err, err_size);
        size_t used = strlen(err);
        if (error == ASSENT_CORRUPT && used < err_size) {
            snprintf(err + used, err_size - used, ". %s", READMIT);
        } else if (error == ASSENT_FOREIGN && used < err_size) {
            snprintf(err + used, err_size - used, ". Use the version of assent that wrote it");
        }
    }
    if (error == 0) {
        error = read_state(d, err, err_size);
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
    int (*cb)(void *data, struct entry *entry);
    void *data;
    uint64_t next, term; /* expected index; term of the entry before */
    char *err;
    size_t err_size;
    int error;
};

static int bad_entry(struct load *l, uint64_t index, const char *what)
{
    l->error = refuse(ASSENT_CORRUPT, l->err, l->err_size, "entry %" PRIu64 " of the log in %s %s. " READMIT,
                      index, l->disk->dir, what);
    return l->error;
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
        l->error = refuse(ASSENT_NOMEM, l->err, l->err_size, "out of memory at entry %" PRIu64, index);
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
    l->error = l->cb(l->data, e);
    return l->error;
}

int disk_load(struct disk *disk, int (*cb)(void *data, struct entry *entry), void *data, char *err,
              size_t err_size)
{
    struct MDB_txn *txn;
    struct load l = {disk, cb, data, disk->state.first_index, 0, err, err_size, 0};
    int rc = logdb_begin(&disk->db, false, &txn);
    if (rc == 0) {
        rc = logdb_each(&disk->db, txn, load_entry, &l);
        logdb_abort(txn);
    }
    if (l.error != 0) {
        return l.error;
    }
    if (rc != 0) {
        return refuse(logdb_error(rc), err, err_size, "the log in %s behind entry %" PRIu64 ": %s. " READMIT,
                      disk->dir, l.next - 1, logdb_sentence(rc));
    }
    if (l.next != disk->state.last_index + 1) {
        return bad_entry(&l, l.next, "is missing");
    }
    return 0;
}

/* ---- identity ---- */

static struct entry *configuration_entry(struct assent_bytes configuration, uint64_t index, uint64_t term)
{
    struct entry *e = configuration.size <= ASSENT_ENTRY_BYTES_MAX
                          ? entry_new(ENTRY_CHANGE, (uint32_t)configuration.size)
                          : NULL;
    if (e != NULL) {
        memcpy(e->payload, configuration.base, configuration.size);
        entry_seal(e, index, term);
    }
    return e;
}

/* Identity, term and an optional entry in one commit; then the cached state follows. */
static int write_identity(struct disk *d, uint64_t cluster_id, uint64_t node_id, uint64_t incarnation,
                          uint64_t term, struct entry *entry)
{
    struct op *append = NULL;
    struct op vote = {.type = OP_PUT, .record = RECORD_VOTE, .fields = {term, 0}, .n = 2};
    struct op identity = {.type = OP_PUT,
                          .next = &vote,
                          .record = RECORD_IDENTITY,
                          .fields = {cluster_id, node_id, incarnation},
                          .n = 3};
    if (entry != NULL) {
        append = malloc(sizeof *append + sizeof append->entries[0]);
        if (append == NULL) {
            return ENOMEM;
        }
        *append = (struct op){.type = OP_APPEND, .index = entry->index, .n = 1};
        append->entries[0] = entry;
        vote.next = append;
    }
    int rc = writer_now(d, &identity);
    free(append);
    if (rc == 0) {
        d->state.pristine = false;
        d->state.cluster_id = cluster_id;
        d->state.node_id = node_id;
        d->state.incarnation = incarnation;
        d->state.term = term;
        d->state.vote = 0;
        d->state.first_index = d->extent.first;
        d->state.last_index = d->extent.last;
    }
    return rc;
}

/* The directory has an identity: is it the one we were started with? */
static int check_identity(const struct disk *d, uint64_t cluster_id, uint64_t node_id, uint64_t incarnation,
                          bool joining, char *err, size_t err_size)
{
    const struct disk_state *s = &d->state;
    if (s->node_id != node_id) {
        return refuse(ASSENT_FOREIGN, err, err_size,
                      "directory %s belongs to node %" PRIu64 ", this is node %" PRIu64
                      ": start it with its own directory, or with an empty one and a new id",
                      d->dir, s->node_id, node_id);
    }
    if (s->cluster_id == 0 && !joining) {
        return refuse(
            ASSENT_FOREIGN, err, err_size,
            "directory %s was made for a node that joins a running cluster and has not done so yet: start it "
            "as a joining node, or wipe the directory",
            d->dir);
    }
    if (cluster_id != 0 && s->cluster_id != 0 && s->cluster_id != cluster_id) {
        return refuse(ASSENT_FOREIGN, err, err_size,
                      "directory %s belongs to cluster %016" PRIx64
                      ", this node was started for cluster %016" PRIx64
                      ": check the cluster name and the list of initial members, or use an empty directory",
                      d->dir, s->cluster_id, cluster_id);
    }
    if (incarnation > s->incarnation && s->cluster_id != 0) {
        return refuse(ASSENT_FOREIGN, err, err_size,
                      "directory %s holds incarnation %" PRIu64
                      " of its cluster, which was recovered as incarnation "
                      "%" PRIu64 " since: wipe the directory and add the node again with a new id",
                      d->dir, s->incarnation, incarnation);
    }
    return 0;
}

int disk_bootstrap(struct disk *disk, uint64_t cluster_id, uint64_t node_id, uint64_t incarnation,
                   const struct assent_bytes *configuration, char *err, size_t err_size)
{
    assert(!disk->started);
    assert(node_id != 0);
    assert(configuration == NULL || cluster_id != 0);
    if (!disk->state.pristine) {
        return check_identity(disk, cluster_id, node_id, incarnation, configuration == NULL, err, err_size);
    }
    struct entry *entry = NULL;
    if (configuration != NULL) {
        if (!configuration_bytes_valid(*configuration)) {
            return refuse(ASSENT_INVALID, err, err_size, "the initial configuration is not valid");
        }
        entry = configuration_entry(*configuration, 1, 1);
        if (entry == NULL) {
            return refuse(ASSENT_NOMEM, err, err_size, "out of memory");
        }
    }
    int rc = write_identity(disk, cluster_id, node_id, incarnation, entry != NULL ? 1 : 0, entry);
    entry_unref(entry);
    if (rc != 0) {
        return refuse(logdb_error(rc), err, err_size, "the log in %s cannot be written: %s", disk->dir,
                      logdb_sentence(rc));
    }
    return 0;
}

int disk_adopt(struct disk *disk, uint64_t cluster_id, uint64_t incarnation)
{
    struct disk_state *s = &disk->state;
    assert(cluster_id != 0);
    if (s->cluster_id == cluster_id && s->incarnation == incarnation) {
        return 0;
    }
    if (s->pristine || s->cluster_id != 0) {
        return ASSENT_FOREIGN;
    }
    struct op op = {
        .type = OP_PUT, .record = RECORD_IDENTITY, .fields = {cluster_id, s->node_id, incarnation}, .n = 3};
    int error = writer_wait(disk, &op);
    if (error == 0) {
        s->cluster_id = cluster_id;
        s->incarnation = incarnation;
    }
    return error;
}

int disk_recover(struct disk *disk, uint64_t node_id, struct assent_bytes configuration, char *err,
                 size_t err_size)
{
    const struct disk_state *s = &disk->state;
    assert(!disk->started);
    if (s->pristine || s->cluster_id == 0 || s->last_index == 0) {
        return refuse(ASSENT_CONFLICT, err, err_size, "directory %s holds nothing to recover from",
                      disk->dir);
    }
    int error = check_identity(disk, s->cluster_id, node_id, s->incarnation, true, err, err_size);
    if (error == 0 && !configuration_bytes_valid(configuration)) {
        error = refuse(ASSENT_INVALID, err, err_size, "the new configuration is not valid");
    }
    if (error == 0) {
        error = disk_load(disk, NULL, NULL, err, err_size); /* a damaged log is no base for a new cluster */
    }
    if (error != 0) {
        return error;
    }
    /* A new term, so that the entry is newer than any other of its index; a new incarnation, so that nodes of
     * the old one are refused in the handshake even if they hold a higher term. */
    struct entry *entry = configuration_entry(configuration, s->last_index + 1, s->term + 1);
    if (entry == NULL) {
        return refuse(ASSENT_NOMEM, err, err_size, "out of memory");
    }
    int rc = write_identity(disk, s->cluster_id, node_id, s->incarnation + 1, s->term + 1, entry);
    entry_unref(entry);
    if (rc != 0) {
        return refuse(logdb_error(rc), err, err_size, "the log in %s cannot be written: %s", disk->dir,
                      logdb_sentence(rc));
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
