/* The image of a store in one file: written from a read transaction, checked and read back with bounded
 * memory.
 *
 * Layout, numbers big-endian: a header of 64 bytes
 *   magic "ASSENTSM", u32 format, u32 zero, u64 applied index, u64 log time, u64 running digest, u64 rows,
 *   u64 body size, u64 XXH3-64 of the body
 * and the body: rows [u8 table + 1, u16 key size, u32 value size, key, value] in table and key order, then a
 * u8 0.  Equal states give equal files. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "assent/error.h"
#include "assent/limits.h"
#include "planted.h"
#include "statemachine.h"
#include "store_private.h"

/* 2: transactions have options, and indexes by the time of their begin. */
#define IMAGE_FORMAT 2
#define HEADER_SIZE  64
#define ROW_HEAD     7
#define BUFFER_BYTES (1024u * 1024)
/* Rows of one transaction while restoring: bounds the dirty pages LMDB holds in memory. */
#define RESTORE_BYTES (8u * 1024 * 1024)
/* No table holds larger values; a transaction's branches are rows of their own. */
#define VALUE_BYTES_MAX (64u * 1024 * 1024)

static const uint8_t magic[8] = {'A', 'S', 'S', 'E', 'N', 'T', 'S', 'M'};

struct header {
    uint64_t index;
    int64_t time_us;
    uint64_t running, rows, body_size, body_digest;
};

static void put_be(uint8_t *p, int width, uint64_t v)
{
    for (int i = 0; i < width; i++)
        p[i] = (uint8_t)(v >> (8 * (width - 1 - i)));
}

static uint64_t get_be(const uint8_t *p, int width)
{
    uint64_t v = 0;
    for (int i = 0; i < width; i++)
        v = v << 8 | p[i];
    return v;
}

static void header_encode(const struct header *h, uint8_t out[HEADER_SIZE])
{
    memcpy(out, magic, sizeof magic);
    put_be(out + 8, 4, IMAGE_FORMAT);
    put_be(out + 12, 4, 0);
    put_be(out + 16, 8, h->index);
    put_be(out + 24, 8, (uint64_t)h->time_us);
    put_be(out + 32, 8, h->running);
    put_be(out + 40, 8, h->rows);
    put_be(out + 48, 8, h->body_size);
    put_be(out + 56, 8, h->body_digest);
}

static int io_code(int error)
{
    return error == ENOSPC || error == EDQUOT ? ASSENT_NO_SPACE : ASSENT_IO;
}

/* ---- writing */

struct sink {
    int fd;
    int error; /* errno of the first failure */
    uint64_t size;
    size_t used;
    uint8_t *buffer;
    XXH3_state_t *hash;
};

static void write_all(struct sink *s, const uint8_t *p, size_t size)
{
    while (size > 0 && s->error == 0) {
        ssize_t n = write(s->fd, p, size);
        if (n > 0) {
            p += n;
            size -= (size_t)n;
        } else if (n < 0 && errno != EINTR) {
            s->error = errno;
        }
    }
}

static void sink_flush(struct sink *s)
{
    XXH3_64bits_update(s->hash, s->buffer, s->used);
    write_all(s, s->buffer, s->used);
    s->size += s->used;
    s->used = 0;
}

static void sink_put(struct sink *s, const uint8_t *p, size_t size)
{
    while (size > 0) {
        size_t n = BUFFER_BYTES - s->used < size ? BUFFER_BYTES - s->used : size;
        memcpy(s->buffer + s->used, p, n);
        s->used += n;
        p += n;
        size -= n;
        if (s->used == BUFFER_BYTES)
            sink_flush(s);
    }
}

static uint64_t sink_table(struct sink *s, struct store_txn *read, int table)
{
    struct store_cursor c;
    struct assent_bytes key, value;
    uint64_t rows = 0;
    store_cursor_open(&c, read, (enum store_table)table);
    bool more = store_cursor_seek(&c, (struct assent_bytes){NULL, 0}, &key, &value);
    for (; more && s->error == 0; more = store_cursor_next(&c, &key, &value), rows++) {
        uint8_t head[ROW_HEAD];
        assert(value.size <= VALUE_BYTES_MAX);
        head[0] = (uint8_t)(table + 1);
        put_be(head + 1, 2, key.size);
        put_be(head + 3, 4, value.size);
        sink_put(s, head, sizeof head);
        sink_put(s, key.base, key.size);
        sink_put(s, value.base, value.size);
    }
    store_cursor_close(&c);
    return rows;
}

static void sink_image(struct sink *s, struct store_txn *read, struct header *h)
{
    uint8_t head[HEADER_SIZE] = {0};
    *h = (struct header){.index = read->place.index, .time_us = read->place.time_us, .running = read->digest};
    write_all(s, head, sizeof head); /* its place; filled in below */
    for (int t = 0; t < STORE_TABLE_NR; t++)
        if (!PLANTED(SNAPSHOT_WITHOUT_KEYS) || t != STORE_REPLIES)
            h->rows += sink_table(s, read, t);
    sink_put(s, (const uint8_t[]){0}, 1);
    sink_flush(s);
    h->body_size = s->size;
    h->body_digest = XXH3_64bits_digest(s->hash);
    header_encode(h, head);
    if (s->error == 0 && pwrite(s->fd, head, sizeof head, 0) != (ssize_t)sizeof head)
        s->error = errno != 0 ? errno : EIO;
    if (s->error == 0 && fsync(s->fd) != 0)
        s->error = errno;
}

int store_dump(struct store_txn *read, const char *path, uint64_t *size, uint64_t *digest, char *err,
               size_t err_size)
{
    struct header h = {.index = 0};
    struct sink s = {.fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)};
    if (s.fd < 0) {
        int error = errno;
        snprintf(err, err_size, "%s: %s", path, strerror(error));
        return io_code(error);
    }
    s.buffer = malloc(BUFFER_BYTES);
    s.hash = XXH3_createState();
    if (s.buffer == NULL || s.hash == NULL) {
        s.error = ENOMEM;
    } else {
        XXH3_64bits_reset(s.hash);
        sink_image(&s, read, &h);
    }
    free(s.buffer);
    XXH3_freeState(s.hash);
    if (close(s.fd) != 0 && s.error == 0)
        s.error = errno;
    if (s.error != 0) {
        unlink(path);
        snprintf(err, err_size, "%s: %s", path, strerror(s.error));
        return s.error == ENOMEM ? ASSENT_NOMEM : io_code(s.error);
    }
    *size = h.body_size + HEADER_SIZE;
    *digest = h.body_digest;
    return ASSENT_OK;
}

/* ---- reading */

struct source {
    int fd;
    int code; /* assent_error of the first failure */
    char *err;
    size_t err_size;
    const char *path;
    uint64_t base; /* where the image begins in the file */
    uint64_t left; /* bytes of the body not handed out yet */
    uint8_t *buffer;
    size_t capacity, start, end;
};

static int spoil(struct source *s, int code, const char *why)
{
    if (s->code == ASSENT_OK) {
        s->code = code;
        snprintf(s->err, s->err_size, "%s: %s", s->path, why);
    }
    return s->code;
}

/* Up to `size` bytes of the file; fewer at its end or after a failure. */
static size_t read_some(struct source *s, uint8_t *p, size_t size)
{
    size_t got = 0;
    while (got < size) {
        ssize_t n = read(s->fd, p + got, size - got);
        if (n > 0) {
            got += (size_t)n;
        } else if (n == 0) {
            break;
        } else if (errno != EINTR) {
            spoil(s, ASSENT_IO, strerror(errno));
            break;
        }
    }
    return got;
}

/* The next `size` bytes of the body in one piece, borrowed until the next call; NULL: the body is shorter. */
static const uint8_t *take(struct source *s, size_t size)
{
    if (size > s->left) {
        spoil(s, ASSENT_CORRUPT, "a row reaches beyond the end of the image");
        return NULL;
    }
    if (s->end - s->start < size) {
        memmove(s->buffer, s->buffer + s->start, s->end - s->start);
        s->end -= s->start;
        s->start = 0;
        if (size > s->capacity) {
            uint8_t *larger = realloc(s->buffer, size);
            if (larger == NULL) {
                spoil(s, ASSENT_NOMEM, "out of memory");
                return NULL;
            }
            s->buffer = larger;
            s->capacity = size;
        }
        s->end += read_some(s, s->buffer + s->end, s->capacity - s->end);
        if (s->end < size) {
            spoil(s, ASSENT_CORRUPT, "the image is shorter than its header says");
            return NULL;
        }
    }
    const uint8_t *p = s->buffer + s->start;
    s->start += size;
    s->left -= size;
    return p;
}

static int read_header(struct source *s, struct header *h)
{
    uint8_t head[HEADER_SIZE];
    struct stat st;
    if (fstat(s->fd, &st) != 0)
        return spoil(s, ASSENT_IO, strerror(errno));
    if (read_some(s, head, sizeof head) != sizeof head || memcmp(head, magic, sizeof magic) != 0)
        return spoil(s, ASSENT_CORRUPT, "not an image of a state machine");
    if (get_be(head + 8, 4) != IMAGE_FORMAT || get_be(head + 12, 4) != 0)
        return spoil(s, ASSENT_UNSUPPORTED, "an image of a format this version does not know");
    *h = (struct header){
        .index = get_be(head + 16, 8),
        .time_us = (int64_t)get_be(head + 24, 8),
        .running = get_be(head + 32, 8),
        .rows = get_be(head + 40, 8),
        .body_size = get_be(head + 48, 8),
        .body_digest = get_be(head + 56, 8),
    };
    if ((uint64_t)st.st_size - s->base != h->body_size + HEADER_SIZE || h->body_size == 0)
        return spoil(s, ASSENT_CORRUPT, "the image is cut off");
    s->left = h->body_size;
    return s->code;
}

/* The whole body against its digest, before anything is thrown away for it. */
static int check_body(struct source *s, const struct header *h)
{
    XXH3_state_t *hash = XXH3_createState();
    if (hash == NULL)
        return spoil(s, ASSENT_NOMEM, "out of memory");
    XXH3_64bits_reset(hash);
    size_t n;
    while ((n = read_some(s, s->buffer, s->capacity)) > 0)
        XXH3_64bits_update(hash, s->buffer, n);
    uint64_t digest = XXH3_64bits_digest(hash);
    XXH3_freeState(hash);
    if (s->code == ASSENT_OK && digest != h->body_digest)
        return spoil(s, ASSENT_CORRUPT, "the image does not match its digest");
    if (s->code == ASSENT_OK && lseek(s->fd, (off_t)s->base + HEADER_SIZE, SEEK_SET) < 0)
        return spoil(s, ASSENT_IO, strerror(errno));
    return s->code;
}

/* One row into the open transaction.  Returns its bytes; 0: the end mark or a failure. */
static size_t load_row(struct source *s, struct store *store, MDB_txn *txn)
{
    const uint8_t *p = take(s, 1);
    if (p == NULL || p[0] == 0)
        return 0;
    int table = p[0] - 1;
    p = take(s, ROW_HEAD - 1);
    if (p == NULL)
        return 0;
    size_t key_size = (size_t)get_be(p, 2), value_size = (size_t)get_be(p + 2, 4);
    if (table >= STORE_TABLE_NR || key_size < 1 || key_size > STORE_KEY_MAX || value_size > VALUE_BYTES_MAX) {
        spoil(s, ASSENT_CORRUPT, "a row that cannot be");
        return 0;
    }
    p = take(s, key_size + value_size);
    if (p == NULL)
        return 0;
    MDB_val k = {key_size, (void *)(uintptr_t)p};
    MDB_val v = {value_size, (void *)(uintptr_t)(p + key_size)};
    /* APPEND refuses a key that is not larger than the last: order is checked on the way. */
    int rc = mdb_put(txn, store->tables[table], &k, &v, MDB_APPEND);
    if (rc != 0) {
        spoil(s,
              rc == MDB_KEYEXIST                   ? ASSENT_CORRUPT
              : rc == MDB_MAP_FULL || rc == ENOSPC ? ASSENT_NO_SPACE
                                                   : ASSENT_IO,
              rc == MDB_KEYEXIST ? "rows are out of order" : mdb_strerror(rc));
        return 0;
    }
    return ROW_HEAD + key_size + value_size;
}

static int load_body(struct source *s, struct store *store, const struct header *h)
{
    uint64_t rows = 0;
    bool more = true;
    while (more && s->code == ASSENT_OK) {
        MDB_txn *txn;
        int rc = mdb_txn_begin(store->env, NULL, 0, &txn);
        if (rc != 0)
            return spoil(s, ASSENT_IO, mdb_strerror(rc));
        size_t loaded = 0;
        while (more && loaded < RESTORE_BYTES) {
            size_t n = load_row(s, store, txn);
            more = n > 0;
            rows += more;
            loaded += n;
        }
        if (s->code != ASSENT_OK) {
            mdb_txn_abort(txn);
        } else if ((rc = mdb_txn_commit(txn)) != 0) {
            spoil(s, rc == ENOSPC || rc == MDB_MAP_FULL ? ASSENT_NO_SPACE : ASSENT_IO, mdb_strerror(rc));
        }
    }
    if (s->code == ASSENT_OK && (s->left != 0 || rows != h->rows))
        spoil(s, ASSENT_CORRUPT, "the image holds more or fewer rows than it says");
    return s->code;
}

/* The header repeats what the image's own META says; a mismatch is an image somebody else made. */
static int check_place(struct source *s, struct store *store, const struct header *h)
{
    struct store_txn *read = store_begin_read(store);
    if (!store_place_read(read) || read->place.index != h->index || read->place.time_us != h->time_us ||
        read->digest != h->running)
        spoil(s, ASSENT_CORRUPT, "the header contradicts the content");
    store_end_read(read);
    return s->code;
}

/* Open the file of `s`, at its base. */
static int source_open(struct source *s)
{
    s->fd = open(s->path, O_RDONLY | O_CLOEXEC);
    if (s->fd < 0)
        return spoil(s, errno == ENOENT ? ASSENT_NOT_FOUND : ASSENT_IO, strerror(errno));
    s->buffer = malloc(BUFFER_BYTES);
    s->capacity = BUFFER_BYTES;
    if (s->buffer == NULL)
        spoil(s, ASSENT_NOMEM, "out of memory");
    else if (lseek(s->fd, (off_t)s->base, SEEK_SET) < 0)
        spoil(s, ASSENT_IO, strerror(errno));
    if (s->code != ASSENT_OK) {
        free(s->buffer);
        close(s->fd);
    }
    return s->code;
}

static int source_close(struct source *s)
{
    free(s->buffer);
    close(s->fd);
    return s->code;
}

int store_restore(struct store *store, const char *path, char *err, size_t err_size)
{
    struct header h = {.index = 0};
    struct source s = {.code = ASSENT_OK, .err = err, .err_size = err_size, .path = path};
    assert(!store->writing);
    if (source_open(&s) != ASSENT_OK)
        return s.code;
    if (read_header(&s, &h) == ASSENT_OK && check_body(&s, &h) == ASSENT_OK) {
        store_wipe(store);
        if (load_body(&s, store, &h) == ASSENT_OK)
            check_place(&s, store, &h);
        for (int i = 0; i < STORE_TABLE_NR; i++)
            store->writes[i]++;
        if (s.code != ASSENT_OK)
            store_wipe(store); /* half an image is no state */
    }
    return source_close(&s);
}

int store_image_check(const char *path, uint64_t offset, struct sm_image *out, char *err, size_t err_size)
{
    struct header h = {.index = 0};
    struct source s = {.code = ASSENT_OK, .err = err, .err_size = err_size, .path = path, .base = offset};
    if (source_open(&s) != ASSENT_OK)
        return s.code;
    if (read_header(&s, &h) == ASSENT_OK)
        check_body(&s, &h);
    *out = (struct sm_image){
        .index = h.index, .time_us = h.time_us, .size = h.body_size + HEADER_SIZE, .digest = h.body_digest};
    return source_close(&s);
}
