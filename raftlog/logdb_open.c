/* Opening the log's LMDB environment: its heads are checked, its file is made whole or not at all, blocks are
 * written ahead. */
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fault.h"
#include "logdb.h"
#include "planted.h"

/* One step of writing ahead: small, so that the commit behind it is not late by more than a few ms. */
#define AHEAD_STEP_BYTES (1024 * 1024)

/* LMDB's lock file for the 126 readers it has room for: a cache line each, and two. */
#define LOCK_SIZE 8192

/* ---- heads ---- */

/* LMDB keeps two heads and believes the one with the higher transaction number, without a checksum.  A
 * flipped bit there would silently bring back an older log.  The two numbers are always neighbours and each
 * has the parity of its slot, so most such damage shows.  Offsets of LMDB 0.9 on 64 bits, data version 1;
 * anything else is left to LMDB to judge. */
#define HEAD_MAGIC      0xBEEFC0DEu
#define HEAD_MAGIC_AT   16
#define HEAD_VERSION_AT 20
#define HEAD_PSIZE_AT   40
#define HEAD_TXN_AT     144
#define HEAD_BYTES      152

static int check_heads(int fd)
{
    uint64_t txn[2];
    uint32_t psize = 0;
    for (int i = 0; i < 2; i++) {
        uint8_t head[HEAD_BYTES];
        uint32_t magic, version;
        ssize_t got = pread(fd, head, sizeof head, (off_t)psize);
        if (got == 0 && i == 0) {
            return 0; /* a file LMDB has not begun */
        }
        if (got != (ssize_t)sizeof head) {
            return got < 0 ? errno : EUCLEAN;
        }
        memcpy(&magic, head + HEAD_MAGIC_AT, sizeof magic);
        memcpy(&version, head + HEAD_VERSION_AT, sizeof version);
        if (magic != HEAD_MAGIC) {
            return MDB_INVALID;
        }
        if (version != 1) {
            return MDB_VERSION_MISMATCH;
        }
        memcpy(&txn[i], head + HEAD_TXN_AT, sizeof txn[i]);
        if (i == 0) {
            memcpy(&psize, head + HEAD_PSIZE_AT, sizeof psize);
            if (psize < 512 || psize > 65536) {
                return EUCLEAN;
            }
        }
    }
    bool fresh = txn[0] == 0 && txn[1] == 0;
    bool neighbours = txn[0] + 1 == txn[1] || txn[1] + 1 == txn[0];
    bool parity = txn[0] % 2 == 0 && txn[1] % 2 == 1;
    return fresh || (neighbours && parity) ? 0 : EUCLEAN;
}

/* ---- opening ---- */

/* All three are made in the first transaction, so a file that has any of them has all of them. */
static int open_databases(struct logdb *db)
{
    MDB_txn *txn;
    MDB_dbi root;
    MDB_stat stat;
    int rc = mdb_txn_begin(db->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0) {
        return rc;
    }
    rc = mdb_dbi_open(txn, NULL, 0, &root);
    if (rc == 0) {
        rc = mdb_stat(txn, root, &stat);
    }
    unsigned int create = 0;
    if (rc == 0 && stat.ms_entries == 0) {
        create = MDB_CREATE;
        mdb_txn_abort(txn);
        rc = mdb_txn_begin(db->env, NULL, 0, &txn);
        if (rc != 0) {
            return rc;
        }
    }
    if (rc == 0) {
        rc = mdb_dbi_open(txn, "meta", create, &db->meta);
    }
    if (rc == 0) {
        rc = mdb_dbi_open(txn, "entries", create | MDB_INTEGERKEY, &db->entries);
    }
    if (rc == 0) {
        rc = mdb_dbi_open(txn, "snapshots", create | MDB_INTEGERKEY, &db->snapshots);
    }
    if (rc != 0) {
        mdb_txn_abort(txn);
        return rc == MDB_NOTFOUND ? EUCLEAN : rc;
    }
    return mdb_txn_commit(txn);
}

/* Bytes up to LMDB's last page. */
static uint64_t used_bytes(struct logdb *db)
{
    MDB_envinfo info;
    MDB_stat stat;
    mdb_env_info(db->env, &info);
    mdb_env_stat(db->env, &stat);
    return (info.me_last_pgno + 1) * (uint64_t)stat.ms_psize;
}

/* LMDB found a page that cannot be.  Where somebody waits for that, it ends there; else LMDB aborts the
 * process. */
static void on_assert(MDB_env *env, const char *message)
{
    (void)env;
    (void)message;
    fault_raise();
}

/* LMDB writes to its lock file through a map, where a full disk is SIGBUS: its blocks must be there before.
 */
static int reserve_lock(const char *path, unsigned int flags)
{
    char lock[1110];
    snprintf(lock, sizeof lock, flags & MDB_NOSUBDIR ? "%s-lock" : "%s/lock.mdb", path);
    int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0) {
        return errno;
    }
    int error = posix_fallocate(fd, 0, LOCK_SIZE);
    close(fd);
    return error;
}

static int open_env(struct logdb *db, const char *path, uint64_t map_bytes, unsigned int flags)
{
    int rc = mdb_env_create(&db->env);
    if (rc != 0) {
        return rc;
    }
    rc = mdb_env_set_assert(db->env, on_assert);
    if (rc == 0) {
        rc = mdb_env_set_maxdbs(db->env, 4);
    }
    if (rc == 0) {
        rc = mdb_env_set_mapsize(db->env, map_bytes);
    }
    if (rc == 0) {
        rc = reserve_lock(path, flags);
    }
    /* NOTLS: a read transaction belongs to whoever began it, not to a thread.  No flag that weakens
     * durability. */
    if (rc == 0) {
        flags |= MDB_NOTLS | (PLANTED(REPLY_BEFORE_SYNC) ? MDB_NOSYNC : 0);
        rc = mdb_env_open(db->env, path, flags, 0640);
    }
    return rc;
}

static int sync_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int error = fd < 0 || fsync(fd) != 0 ? errno : 0;
    if (fd >= 0) {
        close(fd);
    }
    return error;
}

/* Make the file under another name, whole and synced, and then give it its own: whoever finds a log finds all
 * of it, and a crash while it is made leaves none. */
static int create_file(struct logdb *db, const char *path, const char *file, uint64_t map_bytes)
{
    char fresh[1100], lock[1110];
    snprintf(fresh, sizeof fresh, "%s/data.new", path);
    snprintf(lock, sizeof lock, "%s-lock", fresh);
    if (unlink(fresh) != 0 && errno != ENOENT) {
        return errno;
    }
    int rc = open_env(db, fresh, map_bytes, MDB_NOSUBDIR);
    if (rc == 0) {
        rc = open_databases(db);
    }
    if (db->env != NULL) {
        mdb_env_close(db->env);
        db->env = NULL;
    }
    if (rc == 0) {
        rc = sync_file(fresh);
    }
    if (rc == 0 && rename(fresh, file) != 0) {
        rc = errno;
    }
    (void)unlink(lock);
    return rc == 0 ? sync_file(path) : rc;
}

static int open_file(struct logdb *db, const char *path, const char *file, uint64_t map_bytes)
{
    db->fd = open(file, O_RDWR | O_CLOEXEC);
    if (db->fd < 0 && errno == ENOENT) {
        int rc = create_file(db, path, file, map_bytes);
        if (rc != 0) {
            return rc;
        }
        db->fd = open(file, O_RDWR | O_CLOEXEC);
    }
    return db->fd < 0 ? errno : 0;
}

/* Every block up to `presize` is written once, so that commits find them allocated. */
static int presize_file(struct logdb *db, uint64_t presize)
{
    while (db->file_size < presize) {
        uint64_t before = db->file_size;
        logdb_write_ahead(db, presize);
        if (db->file_size == before) {
            return 0; /* no room: commits will say so when they need it */
        }
    }
    return fdatasync(db->fd) == 0 ? 0 : errno;
}

int logdb_open(struct logdb *db, const char *path, uint64_t map_bytes, uint64_t presize, char *err,
               size_t err_size)
{
    char file[1100];
    struct stat info;
    *db = (struct logdb){.fd = -1};
    snprintf(file, sizeof file, "%s/data.mdb", path);
    int rc = open_file(db, path, file, map_bytes);
    if (rc != 0) {
        snprintf(err, err_size, "%s cannot be opened: %s", file, logdb_sentence(rc));
        logdb_close(db);
        return logdb_error(rc);
    }
    rc = check_heads(db->fd);
    if (rc == 0) {
        rc = open_env(db, path, map_bytes, 0);
    }
    if (rc == 0 && fstat(db->fd, &info) != 0) {
        rc = errno;
    }
    if (rc == 0 && (uint64_t)info.st_size < used_bytes(db)) {
        rc = EUCLEAN; /* truncated: reading the map beyond the end would be SIGBUS */
    }
    if (rc == 0) {
        rc = open_databases(db);
    }
    if (rc == 0) {
        db->file_size = (uint64_t)info.st_size;
        rc = presize_file(db, presize);
    }
    if (rc != 0) {
        snprintf(err, err_size, "%s: %s", file, logdb_sentence(rc));
        logdb_close(db);
    }
    return logdb_error(rc);
}

void logdb_close(struct logdb *db)
{
    if (db->env != NULL) {
        mdb_env_close(db->env);
        db->env = NULL;
    }
    if (db->fd >= 0) {
        close(db->fd);
        db->fd = -1;
    }
}

void logdb_write_ahead(struct logdb *db, uint64_t ahead)
{
    static const uint8_t zeros[64 * 1024];
    uint64_t used = used_bytes(db);
    if (db->file_size < used) {
        db->file_size = used; /* LMDB grew past us */
    }
    if (db->file_size - used >= ahead) {
        return;
    }
    /* LMDB writes its new pages over these zeros, never the reverse: no transaction is open, and what lies
     * beyond the last committed page is nobody's. */
    for (uint32_t written = 0; written < AHEAD_STEP_BYTES; written += (uint32_t)sizeof zeros) {
        ssize_t got = pwrite(db->fd, zeros, sizeof zeros, (off_t)db->file_size);
        if (got <= 0) {
            return;
        }
        db->file_size += (uint64_t)got;
    }
}
