/* Tables of ordered keys in LMDB, one write transaction at a time, and the running digest of every change.
 *
 * LMDB copies a page before it changes it, so readers keep their state without locks.  With MDB_NOSYNC a
 * power failure may leave any mixture of pages on disk: hence the mark file, which exists only between a
 * synced close and the next open. */
#include "store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "assent/error.h"
#include "planted.h"
#include "store_private.h"

#define CLEAN_MARK   "clean"
#define READERS_MAX  256
#define LOCK_SIZE    (READERS_MAX * 64 + 128) /* of LMDB 0.9: a cache line a reader, and two */
#define PLACE_FORMAT 2                        /* as IMAGE_FORMAT: what another format kept is built anew */
#define PLACE_SIZE   (1 + 3 * 8 + STORE_EXTRA_MAX)

static const char place_key[] = "place";

static const char *const table_names[STORE_TABLE_NR] = {
    [STORE_META] = "meta",
    [STORE_SESSIONS] = "sessions",
    [STORE_REPLIES] = "replies",
    [STORE_TIMERS] = "timers",
    [STORE_NODES] = "nodes",
    [STORE_SEQUENCES] = "sequences",
    [STORE_LAMPORT] = "lamport",
    [STORE_VECTORS] = "vectors",
    [STORE_VECTOR_EPOCHS] = "vector_epochs",
    [STORE_VERSIONS] = "versions",
    [STORE_VERSION_HISTORY] = "version_history",
    [STORE_EVENTS] = "events",
    [STORE_EVENT_INDEX] = "event_index",
    [STORE_TXNS] = "txns",
    [STORE_BRANCHES] = "branches",
    [STORE_TXN_INDEX] = "txn_index",
    [STORE_WORK] = "work",
    [STORE_FREEZES] = "freezes",
    [STORE_TOPICS] = "topics",
    [STORE_AUDIT] = "audit",
    [STORE_BUSINESS] = "business",
    [STORE_STATISTICS] = "statistics",
};

static void (*broken_callback)(void *data, const char *sentence);
static void *broken_data;

void store_on_broken(void (*callback)(void *data, const char *sentence), void *data)
{
    broken_callback = callback;
    broken_data = data;
}

void store_give_up(const char *sentence)
{
    if (broken_callback != NULL)
        broken_callback(broken_data, sentence);
    else
        fprintf(stderr, "assent: %s\n", sentence);
    abort();
}

void store_broken(const char *what, int rc)
{
    char sentence[256];
    snprintf(sentence, sizeof sentence, "the state store cannot go on: %s: %s", what, mdb_strerror(rc));
    store_give_up(sentence);
}

static void must(int rc, const char *what)
{
    if (rc != 0)
        store_broken(what, rc);
}

static MDB_val val(struct assent_bytes b)
{
    return (MDB_val){.mv_size = b.size, .mv_data = (void *)(uintptr_t)b.base};
}

static struct assent_bytes bytes(MDB_val v)
{
    return (struct assent_bytes){v.mv_data, v.mv_size};
}

static MDB_val checked_key(struct assent_bytes key)
{
    assert(key.size >= 1 && key.size <= STORE_KEY_MAX);
    return val(key);
}

/* ---- the place: index, time, digest, the state machine's numbers; one row of META */

static void put_be64(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (56 - 8 * i));
}

static uint64_t get_be64(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | p[i];
    return v;
}

static void place_write(struct store_txn *txn)
{
    uint8_t row[PLACE_SIZE];
    row[0] = PLACE_FORMAT;
    put_be64(row + 1, txn->place.index);
    put_be64(row + 9, (uint64_t)txn->place.time_us);
    put_be64(row + 17, txn->digest);
    memcpy(row + 25, txn->place.extra, STORE_EXTRA_MAX);
    MDB_val k = {sizeof place_key - 1, (void *)(uintptr_t)place_key};
    MDB_val v = {sizeof row, row};
    must(mdb_put(txn->mdb, txn->store->tables[STORE_META], &k, &v, 0), "write the applied index");
}

/* False: a row of another format. */
bool store_place_read(struct store_txn *txn)
{
    MDB_val k = {sizeof place_key - 1, (void *)(uintptr_t)place_key};
    MDB_val v;
    txn->place = (struct store_place){.index = 0};
    txn->digest = 0;
    int rc = mdb_get(txn->mdb, txn->store->tables[STORE_META], &k, &v);
    if (rc == MDB_NOTFOUND)
        return true;
    must(rc, "read the applied index");
    const uint8_t *row = v.mv_data;
    if (v.mv_size != PLACE_SIZE || row[0] != PLACE_FORMAT)
        return false;
    txn->place.index = get_be64(row + 1);
    txn->place.time_us = (int64_t)get_be64(row + 9);
    txn->digest = get_be64(row + 17);
    memcpy(txn->place.extra, row + 25, STORE_EXTRA_MAX);
    return true;
}

struct store_place store_place(struct store_txn *txn)
{
    return txn->place;
}

void store_set_place(struct store_txn *txn, const struct store_place *place)
{
    assert(txn->write && place->index >= txn->place.index && place->time_us >= txn->place.time_us);
    txn->place = *place;
}

uint64_t store_digest(struct store_txn *txn)
{
    return txn->digest;
}

/* ---- open and close */

static int complain(char *err, size_t err_size, int code, const char *dir, const char *what, const char *why)
{
    snprintf(err, err_size, "%s: %s: %s", dir, what, why);
    return code;
}

static int sync_dir(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int rc = fsync(fd);
    close(fd);
    return rc;
}

static bool in_dir(char *path, size_t size, const char *dir, const char *name)
{
    int n = snprintf(path, size, "%s/%s", dir, name);
    return n > 0 && (size_t)n < size;
}

/* Take the mark away, durably, before the first change; without a mark take the data away. */
static int prepare_dir(const char *dir, bool *clean, char *err, size_t err_size)
{
    char mark[4096], path[4096];
    static const char *const files[] = {"data.mdb", "lock.mdb"};
    if (!in_dir(mark, sizeof mark, dir, CLEAN_MARK))
        return complain(err, err_size, ASSENT_INVALID, dir, "open", "the path is too long");
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return complain(err, err_size, ASSENT_IO, dir, "create", strerror(errno));
    *clean = unlink(mark) == 0;
    if (!*clean && errno != ENOENT)
        return complain(err, err_size, ASSENT_IO, dir, "remove the mark", strerror(errno));
    if (PLANTED(STORE_KEPT) || PLANTED(INDEX_APART))
        *clean = true;
    for (size_t i = 0; i < 2 && !*clean; i++) {
        in_dir(path, sizeof path, dir, files[i]);
        if (unlink(path) != 0 && errno != ENOENT)
            return complain(err, err_size, ASSENT_IO, dir, "remove the old state", strerror(errno));
    }
    if (sync_dir(dir) != 0)
        return complain(err, err_size, ASSENT_IO, dir, "sync", strerror(errno));
    return ASSENT_OK;
}

/* LMDB writes to its lock file through a map, where a full disk is SIGBUS: its blocks must be there before.
 */
static int reserve_lock(const char *dir)
{
    char path[4096];
    if (!in_dir(path, sizeof path, dir, "lock.mdb"))
        return ENAMETOOLONG;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno;
    int rc = posix_fallocate(fd, 0, LOCK_SIZE);
    close(fd);
    return rc;
}

static int open_env(struct store *s, uint64_t map_bytes)
{
    MDB_txn *txn = NULL;
    int rc = mdb_env_create(&s->env);
    if (rc != 0)
        return rc;
    if ((rc = reserve_lock(s->dir)) != 0 || (rc = mdb_env_set_mapsize(s->env, (size_t)map_bytes)) != 0 ||
        (rc = mdb_env_set_maxdbs(s->env, STORE_TABLE_NR)) != 0 ||
        (rc = mdb_env_set_maxreaders(s->env, READERS_MAX)) != 0 ||
        (rc = mdb_env_open(s->env, s->dir, MDB_NOSYNC | MDB_NOTLS | MDB_NOMEMINIT, 0600)) != 0 ||
        (rc = mdb_txn_begin(s->env, NULL, 0, &txn)) != 0)
        return rc;
    for (int i = 0; i < STORE_TABLE_NR && rc == 0; i++)
        rc = mdb_dbi_open(txn, table_names[i], MDB_CREATE, &s->tables[i]);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return rc;
    }
    return mdb_txn_commit(txn);
}

static void close_env(struct store *s)
{
    if (s->env != NULL)
        mdb_env_close(s->env);
    s->env = NULL;
}

int store_open(struct store **store, const char *dir, uint64_t map_bytes, bool *clean, char *err,
               size_t err_size)
{
    *store = NULL;
    int code = prepare_dir(dir, clean, err, err_size);
    if (code != ASSENT_OK)
        return code;
    struct store *s = calloc(1, sizeof *s);
    if (s == NULL || (s->dir = strdup(dir)) == NULL) {
        free(s);
        return complain(err, err_size, ASSENT_NOMEM, dir, "open", "out of memory");
    }
    for (;;) {
        int rc = open_env(s, map_bytes);
        if (rc == 0) {
            struct store_txn *read = store_begin_read(s);
            bool known = store_place_read(read);
            store_end_read(read);
            if (known)
                break;
            rc = MDB_VERSION_MISMATCH;
        }
        close_env(s);
        /* Kept data that cannot be read is as good as none: once more, from nothing. */
        if (!*clean || prepare_dir(dir, clean, err, err_size) != ASSENT_OK) {
            code = complain(err, err_size, rc == ENOSPC ? ASSENT_NO_SPACE : ASSENT_IO, dir,
                            "open the state store", mdb_strerror(rc));
            free(s->dir);
            free(s);
            return code;
        }
    }
    *store = s;
    return ASSENT_OK;
}

/* The mark says: all that is in data.mdb was synced before the mark was. */
static void leave_mark(const char *dir)
{
    char path[4096];
    if (!in_dir(path, sizeof path, dir, CLEAN_MARK))
        return;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    int rc = fsync(fd);
    close(fd);
    if (rc != 0 || sync_dir(dir) != 0)
        unlink(path);
}

void store_close(struct store *store, bool clean)
{
    if (store == NULL)
        return;
    assert(!store->writing);
    bool synced = clean && (PLANTED(MARK_BEFORE_SYNC) || mdb_env_sync(store->env, 1) == 0);
    close_env(store);
    if (synced)
        leave_mark(store->dir);
    free(store->dir);
    free(store);
}

void store_wipe(struct store *store)
{
    MDB_txn *txn; /* not store_begin(): what is there may be what a restore has just found unreadable */
    assert(!store->writing);
    must(mdb_txn_begin(store->env, NULL, 0, &txn), "begin a write transaction");
    for (int i = 0; i < STORE_TABLE_NR; i++) {
        must(mdb_drop(txn, store->tables[i], 0), "empty a table");
        store->writes[i]++;
    }
    must(mdb_txn_commit(txn), "commit");
}

uint64_t store_bytes(const struct store *store)
{
    MDB_envinfo info;
    MDB_stat stat;
    mdb_env_info(store->env, &info);
    mdb_env_stat(store->env, &stat);
    return (uint64_t)(info.me_last_pgno + 1) * stat.ms_psize;
}

/* ---- transactions */

struct store_txn *store_begin(struct store *store)
{
    struct store_txn *txn = &store->writer;
    assert(!store->writing);
    *txn = (struct store_txn){.store = store, .write = true};
    must(mdb_txn_begin(store->env, NULL, 0, &txn->mdb), "begin a write transaction");
    store->writing = true;
    if (!store_place_read(txn))
        store_broken("read the applied index", MDB_CORRUPTED);
    return txn;
}

void store_commit(struct store_txn *txn)
{
    assert(txn->write && txn->store->writing);
    if (PLANTED(INDEX_APART)) {
        must(mdb_txn_commit(txn->mdb), "commit");
        must(mdb_txn_begin(txn->store->env, NULL, 0, &txn->mdb), "begin a write transaction");
    }
    place_write(txn);
    must(mdb_txn_commit(txn->mdb), "commit");
    txn->store->writing = false;
}

struct store_txn *store_begin_read(struct store *store)
{
    struct store_txn *txn = calloc(1, sizeof *txn);
    if (txn == NULL)
        store_broken("begin a read transaction", ENOMEM);
    txn->store = store;
    must(mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn->mdb), "begin a read transaction");
    store_place_read(txn);
    return txn;
}

void store_end_read(struct store_txn *txn)
{
    if (txn == NULL)
        return;
    assert(!txn->write);
    mdb_txn_abort(txn->mdb);
    free(txn);
}

void store_reset_read(struct store_txn *txn)
{
    assert(!txn->write);
    mdb_txn_reset(txn->mdb);
}

void store_renew_read(struct store_txn *txn)
{
    assert(!txn->write);
    must(mdb_txn_renew(txn->mdb), "renew a read transaction");
    store_place_read(txn);
}

/* ---- rows */

bool store_get(struct store_txn *txn, enum store_table table, struct assent_bytes key,
               struct assent_bytes *value)
{
    MDB_val k = checked_key(key), v;
    int rc = mdb_get(txn->mdb, txn->store->tables[table], &k, &v);
    if (rc == MDB_NOTFOUND) {
        *value = (struct assent_bytes){NULL, 0};
        return false;
    }
    must(rc, "get");
    *value = bytes(v);
    return true;
}

/* What is mixed into the digest besides key and value. */
enum change { CHANGE_PUT = 1, CHANGE_DEL = 2, CHANGE_NOTE = 3 };

static void mix(struct store_txn *txn, enum change change, enum store_table table, struct assent_bytes key,
                struct assent_bytes value)
{
    uint64_t seed = txn->digest + ((uint64_t)change << 8 | (uint64_t)table);
    uint64_t h = XXH3_64bits_withSeed(key.base, key.size, seed);
    if (change != CHANGE_DEL)
        h = XXH3_64bits_withSeed(value.base, value.size, h + key.size);
    txn->digest = h;
    txn->store->writes[table]++;
}

static void put(struct store_txn *txn, enum store_table table, struct assent_bytes key,
                struct assent_bytes value)
{
    MDB_val k = checked_key(key), v = val(value);
    assert(txn->write);
    must(mdb_put(txn->mdb, txn->store->tables[table], &k, &v, 0), "put");
}

void store_put(struct store_txn *txn, enum store_table table, struct assent_bytes key,
               struct assent_bytes value)
{
    mix(txn, CHANGE_PUT, table, key, value);
    put(txn, table, key, value);
}

void store_put_noted(struct store_txn *txn, enum store_table table, struct assent_bytes key,
                     struct assent_bytes value)
{
    put(txn, table, key, value);
    txn->store->writes[table]++;
}

void store_del_noted(struct store_txn *txn, enum store_table table, struct assent_bytes key)
{
    MDB_val k = checked_key(key);
    assert(txn->write);
    int rc = mdb_del(txn->mdb, txn->store->tables[table], &k, NULL);
    if (rc != MDB_NOTFOUND)
        must(rc, "delete");
    txn->store->writes[table]++;
}

void store_note(struct store_txn *txn, enum store_table table, struct assent_bytes key,
                struct assent_bytes value)
{
    assert(txn->write);
    mix(txn, CHANGE_NOTE, table, key, value);
}

bool store_del(struct store_txn *txn, enum store_table table, struct assent_bytes key)
{
    MDB_val k = checked_key(key);
    assert(txn->write);
    /* The key may lie in the page the delete compacts: mix first, and take it back when nothing was there. */
    uint64_t before = txn->digest;
    mix(txn, CHANGE_DEL, table, key, (struct assent_bytes){NULL, 0});
    int rc = mdb_del(txn->mdb, txn->store->tables[table], &k, NULL);
    if (rc == MDB_NOTFOUND) {
        txn->digest = before;
        return false;
    }
    must(rc, "delete");
    return true;
}

uint64_t store_count(struct store_txn *txn, enum store_table table)
{
    MDB_stat stat;
    must(mdb_stat(txn->mdb, txn->store->tables[table], &stat), "count");
    return stat.ms_entries;
}

uint64_t store_writes(const struct store *store, enum store_table table)
{
    return store->writes[table];
}

/* ---- cursors */

struct cursor {
    MDB_cursor *mdb;
    bool write;            /* of a write transaction: every step seeks again */
    struct store_key last; /* the key it stands on; of a write transaction only */
};

void store_cursor_open(struct store_cursor *c, struct store_txn *txn, enum store_table table)
{
    struct cursor *x = malloc(sizeof *x);
    if (x == NULL)
        store_broken("open a cursor", ENOMEM);
    must(mdb_cursor_open(txn->mdb, txn->store->tables[table], &x->mdb), "open a cursor");
    x->write = txn->write;
    x->last.size = 0;
    c->cursor = x;
}

void store_cursor_close(struct store_cursor *c)
{
    struct cursor *x = c->cursor;
    if (x == NULL)
        return;
    mdb_cursor_close(x->mdb);
    free(x);
    c->cursor = NULL;
}

static bool step(struct cursor *x, MDB_cursor_op op, MDB_val *k, struct assent_bytes *key,
                 struct assent_bytes *value)
{
    MDB_val v;
    int rc = mdb_cursor_get(x->mdb, k, &v, op);
    if (rc == MDB_NOTFOUND)
        return false;
    must(rc, "step a cursor");
    *key = bytes(*k);
    *value = bytes(v);
    if (x->write) {
        x->last.size = (uint32_t)k->mv_size;
        memcpy(x->last.bytes, k->mv_data, k->mv_size);
    }
    return true;
}

bool store_cursor_seek(struct store_cursor *c, struct assent_bytes from, struct assent_bytes *key,
                       struct assent_bytes *value)
{
    MDB_val k = val(from);
    return step(c->cursor, from.size == 0 ? MDB_FIRST : MDB_SET_RANGE, &k, key, value);
}

bool store_cursor_next(struct store_cursor *c, struct assent_bytes *key, struct assent_bytes *value)
{
    struct cursor *x = c->cursor;
    if (!x->write) {
        MDB_val k;
        return step(x, MDB_NEXT, &k, key, value);
    }
    assert(x->last.size > 0);
    struct store_key at = x->last;
    MDB_val k = val(key_bytes(&at));
    if (!step(x, MDB_SET_RANGE, &k, key, value))
        return false;
    if (key->size != at.size || memcmp(key->base, at.bytes, at.size) != 0)
        return true; /* the key it stood on is gone; this is its successor */
    return step(x, MDB_NEXT, &k, key, value);
}

bool store_cursor_before(struct store_cursor *c, struct assent_bytes end, struct assent_bytes *key,
                         struct assent_bytes *value)
{
    struct cursor *x = c->cursor;
    MDB_val k = val(end), v;
    int rc = mdb_cursor_get(x->mdb, &k, &v, MDB_SET_RANGE);
    if (rc != MDB_NOTFOUND)
        must(rc, "step a cursor");
    MDB_val at;
    return step(x, rc == MDB_NOTFOUND ? MDB_LAST : MDB_PREV, &at, key, value);
}

bool store_cursor_prev(struct store_cursor *c, struct assent_bytes *key, struct assent_bytes *value)
{
    struct cursor *x = c->cursor;
    if (x->write) {
        assert(x->last.size > 0);
        struct store_key at = x->last;
        return store_cursor_before(c, key_bytes(&at), key, value);
    }
    MDB_val k;
    return step(x, MDB_PREV, &k, key, value);
}

bool store_cursor_last(struct store_cursor *c, struct assent_bytes *key, struct assent_bytes *value)
{
    MDB_val k;
    return step(c->cursor, MDB_LAST, &k, key, value);
}

bool store_first(struct store_txn *txn, enum store_table table, struct assent_bytes *key,
                 struct assent_bytes *value)
{
    MDB_cursor *cursor;
    MDB_val k, v;
    must(mdb_cursor_open(txn->mdb, txn->store->tables[table], &cursor), "open a cursor");
    int rc = mdb_cursor_get(cursor, &k, &v, MDB_FIRST);
    mdb_cursor_close(cursor);
    if (rc == MDB_NOTFOUND)
        return false;
    must(rc, "read the first row");
    *key = bytes(k);
    *value = bytes(v);
    return true;
}
