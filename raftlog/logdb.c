/* The LMDB environment of the log: entries, meta records and manifests, each under its own checksum. */
#include "logdb.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <lmdb.h>
#include <string.h>

#include "assent/error.h"
#include "assent/limits.h"

static_assert(sizeof(size_t) == sizeof(uint64_t), "integer keys of LMDB hold an index");
static_assert(sizeof(MDB_dbi) == sizeof(unsigned int), "struct logdb spells MDB_dbi out");

#define RECORD_FIELDS_MAX 8

int logdb_error(int rc)
{
    switch (rc) {
    case 0:
        return ASSENT_OK;
    case ENOSPC:
    case EDQUOT:
    case MDB_MAP_FULL:
        return ASSENT_NO_SPACE;
    case ENOMEM:
        return ASSENT_NOMEM;
    case MDB_VERSION_MISMATCH:
        return ASSENT_FOREIGN;
    case EUCLEAN:
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_INCOMPATIBLE:
        return ASSENT_CORRUPT;
    default: /* every other code means that a call on the file failed */
        return ASSENT_IO;
    }
}

int logdb_errno(int rc)
{
    if (rc >= 0) {
        return rc;
    }
    switch (logdb_error(rc)) {
    case ASSENT_NO_SPACE:
        return ENOSPC;
    case ASSENT_CORRUPT:
        return EUCLEAN;
    default:
        return EIO;
    }
}

const char *logdb_sentence(int rc)
{
    switch (rc) {
    case EUCLEAN:
        return "stored bytes do not match their checksum";
    case MDB_MAP_FULL:
        return "the map of the log is full: take a snapshot more often or raise the map size";
    default:
        return mdb_strerror(rc);
    }
}

/* ---- transactions ---- */

int logdb_begin(struct logdb *db, bool write, struct MDB_txn **txn)
{
    return mdb_txn_begin(db->env, NULL, write ? 0 : MDB_RDONLY, txn);
}

int logdb_commit(struct MDB_txn *txn)
{
    return mdb_txn_commit(txn);
}

void logdb_abort(struct MDB_txn *txn)
{
    mdb_txn_abort(txn);
}

void logdb_sync(struct logdb *db)
{
    (void)mdb_env_sync(db->env, 1);
}

uint64_t logdb_commit_number(struct logdb *db)
{
    MDB_envinfo info;
    mdb_env_info(db->env, &info);
    return info.me_last_txnid;
}

/* ---- meta records ---- */

int logdb_put_record(struct logdb *db, struct MDB_txn *txn, const char *name, const uint64_t *fields,
                     uint32_t n)
{
    uint8_t bytes[RECORD_FIELDS_MAX * 8 + 4];
    assert(n <= RECORD_FIELDS_MAX);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t field = htole64(fields[i]);
        memcpy(bytes + (size_t)i * 8, &field, 8);
    }
    /* The name is covered too: one record's bytes under another's name do not pass. */
    uint32_t crc = htole32(crc32c(crc32c(0, name, strlen(name)), bytes, (size_t)n * 8));
    memcpy(bytes + (size_t)n * 8, &crc, 4);
    MDB_val key = {strlen(name), (void *)(uintptr_t)name};
    MDB_val value = {(size_t)n * 8 + 4, bytes};
    return mdb_put(txn, db->meta, &key, &value, 0);
}

int logdb_get_record(struct logdb *db, struct MDB_txn *txn, const char *name, uint64_t *fields, uint32_t n)
{
    MDB_val key = {strlen(name), (void *)(uintptr_t)name};
    MDB_val value;
    uint32_t crc;
    int rc = mdb_get(txn, db->meta, &key, &value);
    if (rc != 0) {
        return rc == MDB_NOTFOUND ? ENOENT : rc;
    }
    if (value.mv_size != (size_t)n * 8 + 4) {
        return EUCLEAN;
    }
    memcpy(&crc, (uint8_t *)value.mv_data + (size_t)n * 8, 4);
    if (le32toh(crc) != crc32c(crc32c(0, name, strlen(name)), value.mv_data, (size_t)n * 8)) {
        return EUCLEAN;
    }
    for (uint32_t i = 0; i < n; i++) {
        memcpy(&fields[i], (uint8_t *)value.mv_data + (size_t)i * 8, 8);
        fields[i] = le64toh(fields[i]);
    }
    return 0;
}

/* ---- entries ---- */

int logdb_append(struct logdb *db, struct MDB_txn *txn, struct entry *const *entries, uint32_t n)
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, db->entries, &cursor);
    if (rc != 0) {
        return rc;
    }
    for (uint32_t i = 0; i < n && rc == 0; i++) {
        const struct entry *e = entries[i];
        size_t index = e->index;
        MDB_val key = {sizeof index, &index};
        MDB_val value = {LOGDB_VALUE_HEADER + (size_t)e->size, NULL};
        /* RESERVE: the payload is copied once, into the page.  APPEND: pages are filled, nothing is searched.
         */
        rc = mdb_cursor_put(cursor, &key, &value, MDB_APPEND | MDB_RESERVE);
        if (rc == 0) {
            uint8_t *at = value.mv_data;
            uint64_t term = htole64(e->term);
            uint32_t crc = htole32(e->crc);
            memcpy(at, &term, 8);
            memcpy(at + 8, &crc, 4);
            at[12] = e->type;
            memset(at + 13, 0, 3);
            memcpy(at + LOGDB_VALUE_HEADER, e->payload, e->size);
        }
    }
    mdb_cursor_close(cursor);
    return rc;
}

int logdb_decode(uint64_t index, struct assent_bytes value, struct entry **out)
{
    uint64_t term;
    uint32_t crc;
    if (value.size < LOGDB_VALUE_HEADER || value.size - LOGDB_VALUE_HEADER > ASSENT_ENTRY_BYTES_MAX) {
        return EUCLEAN;
    }
    const uint8_t *at = value.base;
    if (at[12] < ENTRY_COMMAND || at[12] > ENTRY_CHANGE || at[13] != 0 || at[14] != 0 || at[15] != 0) {
        return EUCLEAN;
    }
    struct entry *e = entry_new(at[12], (uint32_t)(value.size - LOGDB_VALUE_HEADER));
    if (e == NULL) {
        return ENOMEM;
    }
    memcpy(&term, at, 8);
    memcpy(&crc, at + 8, 4);
    memcpy(e->payload, at + LOGDB_VALUE_HEADER, e->size);
    entry_seal(e, index, le64toh(term));
    if (e->crc != le32toh(crc)) {
        entry_unref(e);
        return EUCLEAN;
    }
    *out = e;
    return 0;
}

static int key_index(const MDB_val *key, uint64_t *index)
{
    if (key->mv_size != sizeof *index) {
        return EUCLEAN;
    }
    memcpy(index, key->mv_data, sizeof *index);
    return 0;
}

int logdb_truncate(struct logdb *db, struct MDB_txn *txn, uint64_t first)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    uint64_t index;
    int rc = mdb_cursor_open(txn, db->entries, &cursor);
    if (rc != 0) {
        return rc;
    }
    for (;;) {
        rc = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
        if (rc == 0) {
            rc = key_index(&key, &index);
        }
        if (rc != 0 || index < first) {
            break;
        }
        rc = mdb_cursor_del(cursor, 0);
        if (rc != 0) {
            break;
        }
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int logdb_trim(struct logdb *db, struct MDB_txn *txn, uint64_t last, uint32_t entries_max, uint64_t bytes_max,
               uint64_t *oldest)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    uint64_t bytes = 0;
    *oldest = last + 1;
    int rc = mdb_cursor_open(txn, db->entries, &cursor);
    if (rc != 0) {
        return rc;
    }
    for (uint32_t deleted = 0;; deleted++) {
        uint64_t index;
        rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
        if (rc == 0) {
            rc = key_index(&key, &index);
        }
        if (rc != 0) {
            break;
        }
        if (index > last || deleted == entries_max || bytes >= bytes_max) {
            *oldest = index;
            break;
        }
        bytes += value.mv_size;
        rc = mdb_cursor_del(cursor, 0);
        if (rc != 0) {
            break;
        }
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int logdb_clear(struct logdb *db, struct MDB_txn *txn)
{
    return mdb_drop(txn, db->entries, 0);
}

int logdb_entry_bytes(struct logdb *db, struct MDB_txn *txn, uint64_t *bytes)
{
    MDB_stat stat;
    int rc = mdb_stat(txn, db->entries, &stat);
    if (rc == 0) {
        *bytes =
            (stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages) * (uint64_t)stat.ms_psize;
    }
    return rc;
}

int logdb_bounds(struct logdb *db, struct MDB_txn *txn, struct logdb_bounds *out)
{
    MDB_cursor *cursor;
    MDB_stat stat;
    MDB_val key, value;
    *out = (struct logdb_bounds){.first = 1};
    int rc = mdb_stat(txn, db->entries, &stat);
    if (rc != 0) {
        return rc;
    }
    out->count = stat.ms_entries;
    rc = mdb_cursor_open(txn, db->entries, &cursor);
    if (rc != 0) {
        return rc;
    }
    rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    if (rc == 0) {
        rc = key_index(&key, &out->first);
    }
    if (rc == 0) {
        rc = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
    }
    if (rc == 0) {
        rc = key_index(&key, &out->last);
    }
    if (rc == 0 && value.mv_size >= LOGDB_VALUE_HEADER) { /* a shorter one is found by the load */
        memcpy(&out->last_term, value.mv_data, 8);
        memcpy(&out->last_crc, (uint8_t *)value.mv_data + 8, 4);
        out->last_term = le64toh(out->last_term);
        out->last_crc = le32toh(out->last_crc);
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND && out->count == 0 ? 0 : rc;
}

int logdb_each(struct logdb *db, struct MDB_txn *txn,
               int (*cb)(void *data, uint64_t index, struct assent_bytes value), void *data)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    int rc = mdb_cursor_open(txn, db->entries, &cursor);
    if (rc != 0) {
        return rc;
    }
    while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        uint64_t index;
        rc = key_index(&key, &index);
        if (rc == 0) {
            rc = cb(data, index, (struct assent_bytes){value.mv_data, value.mv_size});
        }
        if (rc != 0) {
            break;
        }
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* ---- manifests ---- */

static uint32_t manifest_crc(uint64_t index, const uint8_t *bytes, size_t size)
{
    uint64_t key = htole64(index);
    return crc32c(crc32c(0, &key, sizeof key), bytes, size);
}

int logdb_put_manifest(struct logdb *db, struct MDB_txn *txn, const struct snapshot_manifest *manifest)
{
    MDB_cursor *cursor;
    MDB_stat stat;
    size_t index = manifest->index;
    size_t size = manifest_encoded_size(manifest);
    MDB_val key = {sizeof index, &index};
    MDB_val value = {4 + size, NULL};
    int rc = mdb_put(txn, db->snapshots, &key, &value, MDB_RESERVE);
    if (rc != 0) {
        return rc;
    }
    uint8_t *at = value.mv_data;
    manifest_encode(manifest, at + 4);
    struct snapshot_manifest check;
    assert(manifest_decode((struct assent_bytes){at + 4, size}, &check) ==
           0); /* or the next start would refuse it */
    uint32_t crc = htole32(manifest_crc(index, at + 4, size));
    memcpy(at, &crc, 4);
    rc = mdb_stat(txn, db->snapshots, &stat);
    if (rc == 0) {
        rc = mdb_cursor_open(txn, db->snapshots, &cursor);
    }
    if (rc != 0) {
        return rc;
    }
    for (size_t n = stat.ms_entries; n > LOGDB_MANIFESTS_KEPT && rc == 0; n--) {
        rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
        if (rc == 0) {
            rc = mdb_cursor_del(cursor, 0);
        }
    }
    mdb_cursor_close(cursor);
    return rc;
}

int logdb_newest_manifest(struct logdb *db, struct MDB_txn *txn, struct snapshot_manifest *out)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    uint64_t index;
    uint32_t crc;
    int rc = mdb_cursor_open(txn, db->snapshots, &cursor);
    if (rc != 0) {
        return rc;
    }
    rc = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
    mdb_cursor_close(cursor);
    if (rc != 0) {
        return rc == MDB_NOTFOUND ? ENOENT : rc;
    }
    if (key_index(&key, &index) != 0 || value.mv_size < 4) {
        return EUCLEAN;
    }
    const uint8_t *at = value.mv_data;
    memcpy(&crc, at, 4);
    struct assent_bytes bytes = {at + 4, value.mv_size - 4};
    if (le32toh(crc) != manifest_crc(index, bytes.base, bytes.size) || manifest_decode(bytes, out) != 0 ||
        out->index != index) {
        return EUCLEAN;
    }
    return 0;
}
