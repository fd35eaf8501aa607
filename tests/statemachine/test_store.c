/* The store: order, digests, cursors that bear writes, images, the mark of a clean stop. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "assent/error.h"
#include "sm_harness.h"
#include "store.h"

#define MAP_BYTES (UINT64_C(1) << 30)

static char dir[256], path[300], image[300], err[512];
static struct store *store;

static struct assent_bytes text(const char *s)
{
    return (struct assent_bytes){(const uint8_t *)s, strlen(s)};
}

static struct store *open_at(const char *name, bool *clean)
{
    struct store *s;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(store_open(&s, path, MAP_BYTES, clean, err, sizeof err), ASSENT_OK);
    return s;
}

static int setup(void **state)
{
    (void)state;
    bool clean;
    temp_dir_make(dir, sizeof dir);
    snprintf(image, sizeof image, "%s/image", dir);
    store = open_at("a", &clean);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    store_close(store, false);
    temp_dir_remove(dir);
    return 0;
}

static void put(struct store_txn *txn, const char *key, const char *value)
{
    store_put(txn, STORE_LAMPORT, text(key), text(value));
}

static uint64_t digest_now(struct store *s)
{
    struct store_txn *read = store_begin_read(s);
    uint64_t digest = store_digest(read);
    store_end_read(read);
    return digest;
}

/* "key=value " of a table, in order. */
static const char *content(struct store *s, enum store_table table)
{
    static char out[4096];
    struct store_txn *read = store_begin_read(s);
    struct store_cursor c;
    struct assent_bytes key, value;
    size_t used = 0;
    out[0] = '\0';
    store_cursor_open(&c, read, table);
    bool more = store_cursor_seek(&c, text(""), &key, &value);
    for (; more; more = store_cursor_next(&c, &key, &value))
        used += (size_t)snprintf(out + used, sizeof out - used, "%.*s=%.*s ", (int)key.size, key.base,
                                 (int)value.size, value.base);
    store_cursor_close(&c);
    store_end_read(read);
    return out;
}

static void rows_come_back_in_key_order(void **state)
{
    (void)state;
    struct assent_bytes v, key;
    struct store_txn *txn = store_begin(store);
    put(txn, "b", "2");
    put(txn, "a", "1");
    put(txn, "c", "3");
    put(txn, "b", "22");
    assert_true(store_get(txn, STORE_LAMPORT, text("b"), &v));
    assert_memory_equal(v.base, "22", 2);
    assert_false(store_get(txn, STORE_NODES, text("b"), &v));
    assert_int_equal(v.size, 0);
    assert_true(store_del(txn, STORE_LAMPORT, text("a")));
    assert_false(store_del(txn, STORE_LAMPORT, text("a")));
    assert_int_equal(store_count(txn, STORE_LAMPORT), 2);
    assert_true(store_first(txn, STORE_LAMPORT, &key, &v));
    assert_memory_equal(key.base, "b", 1);
    assert_false(store_first(txn, STORE_NODES, &key, &v));
    store_commit(txn);
    assert_string_equal(content(store, STORE_LAMPORT), "b=22 c=3 ");
    assert_int_equal(store_writes(store, STORE_LAMPORT), 6);
    assert_true(store_bytes(store) > 0);
}

static void cursor_bears_writes_between_its_steps(void **state)
{
    (void)state;
    struct store_cursor c;
    struct assent_bytes key, value;
    char name[16], seen[256] = "";
    struct store_txn *txn = store_begin(store);
    for (int i = 0; i < 10; i++) {
        snprintf(name, sizeof name, "k%d", i);
        put(txn, name, "");
    }
    store_cursor_open(&c, txn, STORE_LAMPORT);
    for (bool more = store_cursor_seek(&c, text("k2"), &key, &value); more;
         more = store_cursor_next(&c, &key, &value)) {
        snprintf(name, sizeof name, "%.*s", (int)key.size, key.base);
        strcat(seen, name);
        store_del(txn, STORE_LAMPORT, text(name)); /* the one it stands on */
        if (strcmp(name, "k4") == 0)
            store_del(txn, STORE_LAMPORT, text("k5")); /* the one ahead */
        if (strcmp(name, "k7") == 0)
            put(txn, "k75", ""); /* a new one ahead */
        put(txn, "k0", "behind");
    }
    assert_string_equal(seen, "k2k3k4k6k7k75k8k9");
    assert_false(store_cursor_seek(&c, text("z"), &key, &value));
    assert_true(store_cursor_last(&c, &key, &value));
    assert_memory_equal(key.base, "k1", 2);
    store_cursor_close(&c);
    store_cursor_close(&c);
    store_commit(txn);
}

static void readers_keep_what_they_saw(void **state)
{
    (void)state;
    struct assent_bytes v;
    struct store_txn *txn = store_begin(store);
    put(txn, "k", "old");
    store_commit(txn);
    struct store_txn *read = store_begin_read(store);
    txn = store_begin(store);
    put(txn, "k", "new");
    store_commit(txn);
    assert_true(store_get(read, STORE_LAMPORT, text("k"), &v));
    assert_memory_equal(v.base, "old", 3);
    store_reset_read(read);
    store_renew_read(read);
    assert_true(store_get(read, STORE_LAMPORT, text("k"), &v));
    assert_memory_equal(v.base, "new", 3);
    store_end_read(read);
}

static void digest_sees_every_change_and_no_gathering(void **state)
{
    (void)state;
    bool clean;
    struct store *other = open_at("b", &clean);
    struct store_txn *txn = store_begin(store);
    put(txn, "a", "1");
    put(txn, "b", "2");
    store_note(txn, STORE_SESSIONS, text("x"), text(""));
    store_put_noted(txn, STORE_SESSIONS, text("s"), text("v"));
    store_del(txn, STORE_LAMPORT, text("a"));
    store_del(txn, STORE_LAMPORT, text("not there"));
    store_commit(txn);
    txn = store_begin(other);
    put(txn, "a", "1");
    store_commit(txn);
    txn = store_begin(other);
    put(txn, "b", "2");
    store_commit(txn);
    assert_true(digest_now(store) != digest_now(other));
    txn = store_begin(other);
    store_note(txn, STORE_SESSIONS, text("x"), text(""));
    store_commit(txn);
    txn = store_begin(other);
    store_put_noted(txn, STORE_SESSIONS, text("s"), text("w"));
    store_put_noted(txn, STORE_SESSIONS, text("s"), text("v"));
    store_put_noted(txn, STORE_SESSIONS, text("t"), text("v"));
    store_del_noted(txn, STORE_SESSIONS, text("t"));
    store_del_noted(txn, STORE_SESSIONS, text("t"));
    store_del(txn, STORE_LAMPORT, text("a"));
    store_commit(txn);
    assert_true(digest_now(store) == digest_now(other));
    store_close(other, false);
}

static void table_key_and_value_all_count_in_the_digest(void **state)
{
    (void)state;
    static const struct {
        enum store_table table;
        const char *key, *value;
    } rows[] = {{STORE_LAMPORT, "k", "v"},
                {STORE_NODES, "k", "v"},
                {STORE_LAMPORT, "kv", ""},
                {STORE_LAMPORT, "k", "w"},
                {STORE_LAMPORT, "l", "v"}};
    uint64_t digests[5];
    for (int i = 0; i < 5; i++) {
        bool clean;
        char name[16];
        snprintf(name, sizeof name, "d%d", i);
        struct store *s = open_at(name, &clean);
        struct store_txn *txn = store_begin(s);
        store_put(txn, rows[i].table, text(rows[i].key), text(rows[i].value));
        store_commit(txn);
        digests[i] = digest_now(s);
        for (int j = 0; j < i; j++)
            assert_true(digests[i] != digests[j]);
        store_close(s, false);
    }
}

static void fill(struct store *s, uint64_t index, int rows, size_t value_size)
{
    char name[32];
    uint8_t *value = malloc(value_size);
    memset(value, 'v', value_size);
    struct store_txn *txn = store_begin(s);
    struct store_place place = {.index = index, .time_us = 99, .extra = "extra"};
    for (int i = 0; i < rows; i++) {
        snprintf(name, sizeof name, "key %08d", i);
        value[0] = (uint8_t)i;
        store_put(txn, i % 2 ? STORE_EVENTS : STORE_LAMPORT, text(name),
                  (struct assent_bytes){value, value_size});
    }
    store_set_place(txn, &place);
    store_commit(txn);
    free(value);
}

static int dump(struct store *s, const char *to, uint64_t *size, uint64_t *digest)
{
    struct store_txn *read = store_begin_read(s);
    int code = store_dump(read, to, size, digest, err, sizeof err);
    store_end_read(read);
    return code;
}

static void assert_same_files(const char *a, const char *b)
{
    char command[700];
    snprintf(command, sizeof command, "cmp '%s' '%s'", a, b);
    assert_int_equal(system(command), 0);
}

static void an_image_is_restored_to_the_byte(void **state)
{
    (void)state;
    bool clean;
    uint64_t size, digest, size2, digest2;
    char again[320];
    fill(store, 17, 3000, 10000); /* 30 MB: several transactions */
    assert_int_equal(dump(store, image, &size, &digest), ASSENT_OK);
    struct stat st;
    assert_int_equal(stat(image, &st), 0);
    assert_int_equal((uint64_t)st.st_size, size);
    struct store *other = open_at("b", &clean);
    fill(other, 3, 10, 10); /* what was there goes away */
    assert_int_equal(store_restore(other, image, err, sizeof err), ASSENT_OK);
    assert_true(digest_now(other) == digest_now(store));
    struct store_txn *read = store_begin_read(other);
    assert_int_equal(store_place(read).index, 17);
    assert_int_equal(store_place(read).time_us, 99);
    assert_string_equal((const char *)store_place(read).extra, "extra");
    store_end_read(read);
    snprintf(again, sizeof again, "%s/again", dir);
    assert_int_equal(dump(other, again, &size2, &digest2), ASSENT_OK);
    assert_true(size == size2 && digest == digest2);
    assert_same_files(image, again);
    store_close(other, false);
}

/* XOR one byte of the image. */
static void spoil(off_t at, uint8_t with)
{
    uint8_t b;
    int fd = open(image, O_RDWR);
    assert_int_equal(pread(fd, &b, 1, at), 1);
    b ^= with;
    assert_int_equal(pwrite(fd, &b, 1, at), 1);
    close(fd);
}

static void a_spoilt_image_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    bool clean;
    uint64_t size, digest;
    fill(store, 17, 50, 100);
    assert_int_equal(dump(store, image, &size, &digest), ASSENT_OK);
    struct store *other = open_at("b", &clean);
    fill(other, 3, 10, 10);
    uint64_t before = digest_now(other);
    static const struct {
        off_t at;
        int code;
    } rows[] = {{0, ASSENT_CORRUPT},  {11, ASSENT_UNSUPPORTED}, {15, ASSENT_UNSUPPORTED},
                {55, ASSENT_CORRUPT}, {63, ASSENT_CORRUPT},     {64, ASSENT_CORRUPT},
                {500, ASSENT_CORRUPT}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        spoil(rows[i].at, 1);
        assert_int_equal(store_restore(other, image, err, sizeof err), rows[i].code);
        assert_true(digest_now(other) == before);
        spoil(rows[i].at, 1);
    }
    assert_int_equal(truncate(image, (off_t)size - 1), 0);
    assert_int_equal(store_restore(other, image, err, sizeof err), ASSENT_CORRUPT);
    assert_int_equal(truncate(image, 10), 0);
    assert_int_equal(store_restore(other, image, err, sizeof err), ASSENT_CORRUPT);
    assert_int_equal(unlink(image), 0);
    assert_int_equal(store_restore(other, image, err, sizeof err), ASSENT_NOT_FOUND);
    assert_true(digest_now(other) == before);
    store_close(other, false);
}

static void a_header_that_contradicts_the_content_leaves_an_empty_store(void **state)
{
    (void)state;
    bool clean;
    uint64_t size, digest;
    fill(store, 17, 50, 100);
    assert_int_equal(dump(store, image, &size, &digest), ASSENT_OK);
    struct store *other = open_at("b", &clean);
    spoil(23, 1); /* the applied index of the header only */
    assert_int_equal(store_restore(other, image, err, sizeof err), ASSENT_CORRUPT);
    assert_string_equal(content(other, STORE_LAMPORT), "");
    assert_true(digest_now(other) == 0);
    spoil(23, 1);
    spoil(47, 1); /* the number of rows */
    assert_int_equal(store_restore(other, image, err, sizeof err), ASSENT_CORRUPT);
    spoil(47, 1);
    assert_int_equal(store_restore(other, image, err, sizeof err), ASSENT_OK);
    store_close(other, false);
}

static void a_full_disk_fails_the_dump_only(void **state)
{
    (void)state;
    uint64_t size, digest;
    if (access("/dev/full", W_OK) != 0) {
        print_message("skipped: /dev/full is not there\n");
        skip();
    }
    fill(store, 1, 10, 100);
    snprintf(image, sizeof image, "%s/full", dir);
    assert_int_equal(symlink("/dev/full", image), 0);
    assert_int_equal(dump(store, image, &size, &digest), ASSENT_NO_SPACE);
    assert_int_equal(access(image, F_OK), -1);
    snprintf(image, sizeof image, "%s/no/such/folder", dir);
    assert_int_equal(dump(store, image, &size, &digest), ASSENT_IO);
}

static void only_a_clean_stop_keeps_the_state(void **state)
{
    (void)state;
    bool clean;
    struct store *s = open_at("b", &clean);
    assert_false(clean);
    fill(s, 5, 10, 10);
    uint64_t digest = digest_now(s);
    store_close(s, true);
    s = open_at("b", &clean);
    assert_true(clean);
    assert_true(digest_now(s) == digest);
    store_close(s, false);
    s = open_at("b", &clean);
    assert_false(clean);
    assert_string_equal(content(s, STORE_LAMPORT), "");
    assert_true(digest_now(s) == 0);
    store_close(s, true);
    /* the mark is there, the data is not LMDB's */
    snprintf(path, sizeof path, "%s/b/data.mdb", dir);
    FILE *f = fopen(path, "r+");
    for (int i = 0; i < 8192; i++)
        fputc('x', f);
    fclose(f);
    s = open_at("b", &clean);
    assert_false(clean);
    store_close(s, false);
}

static void a_directory_that_cannot_be_is_an_error(void **state)
{
    (void)state;
    bool clean;
    struct store *s;
    snprintf(path, sizeof path, "%s/no/such", dir);
    assert_int_equal(store_open(&s, path, MAP_BYTES, &clean, err, sizeof err), ASSENT_IO);
    assert_non_null(strstr(err, "No such file"));
    assert_null(s);
    store_close(s, true);
}

/* LMDB writes to its lock file through a map: on a full disk a block that is missing would be SIGBUS. */
static void the_lock_file_has_all_its_blocks(void **state)
{
    (void)state;
    struct stat info;
    char lock[320];
    snprintf(lock, sizeof lock, "%s/a/lock.mdb", dir);
    assert_int_equal(stat(lock, &info), 0);
    assert_true(info.st_size > 4096);
    assert_true(info.st_blocks * 512 >= info.st_size);
}

static void keys_sort_as_their_pieces_do(void **state)
{
    (void)state;
    static const struct {
        uint64_t number;
        const char *name, *tail;
    } rows[] = {{1, "a", "z"}, {1, "aa", "a"},  {1, "b", ""},
                {2, "a", "a"}, {256, "a", "a"}, {1u << 31, "a", "a"}};
    struct store_key keys[6];
    for (int i = 0; i < 6; i++) {
        key_init(&keys[i]);
        key_u8(&keys[i], 7);
        key_u64(&keys[i], rows[i].number);
        key_text(&keys[i], text(rows[i].name));
        key_tail(&keys[i], text(rows[i].tail));
        if (i > 0) {
            size_t n = keys[i].size < keys[i - 1].size ? keys[i].size : keys[i - 1].size;
            assert_true(memcmp(keys[i - 1].bytes, keys[i].bytes, n) < 0);
        }
        struct assent_bytes k = key_bytes(&keys[i]), name;
        uint8_t kind;
        uint64_t number = 0;
        assert_true(key_take_u8(&k, &kind) && key_take_u64(&k, &number) && key_take_text(&k, &name));
        assert_int_equal(number, rows[i].number);
        assert_int_equal(name.size, strlen(rows[i].name));
        assert_int_equal(k.size, strlen(rows[i].tail));
    }
    struct assent_bytes none = {NULL, 0}, no_end = text("abc");
    uint8_t u8;
    uint64_t u64;
    assert_false(key_take_u8(&none, &u8) || key_take_u64(&none, &u64) || key_take_text(&none, &no_end));
    no_end = text("abc");
    assert_false(key_take_text(&no_end, &none));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* The keys of a walk backwards from the last one below `end`; with `cut` each is removed once met. */
static const char *backwards(struct store_txn *txn, const char *end, bool cut)
{
    static char out[256];
    struct store_cursor c;
    struct assent_bytes key, value;
    size_t used = 0;
    out[0] = '\0';
    store_cursor_open(&c, txn, STORE_LAMPORT);
    for (bool there = store_cursor_before(&c, text(end), &key, &value); there;
         there = store_cursor_prev(&c, &key, &value)) {
        char name[16];
        used += (size_t)snprintf(out + used, sizeof out - used, "%.*s ", (int)key.size, key.base);
        snprintf(name, sizeof name, "%.*s", (int)key.size, key.base);
        if (cut)
            assert_true(store_del(txn, STORE_LAMPORT, text(name)));
    }
    store_cursor_close(&c);
    return out;
}

static void cursor_walks_backwards(void **state)
{
    (void)state;
    struct store_txn *txn = store_begin(store);
    assert_string_equal(backwards(txn, "x", false), "");
    put(txn, "b", "1");
    put(txn, "d", "2");
    put(txn, "f", "3");
    put(txn, "h", "4");
    assert_string_equal(backwards(txn, "z", false), "h f d b ");
    assert_string_equal(backwards(txn, "f", false), "d b ");
    assert_string_equal(backwards(txn, "e", false), "d b ");
    assert_string_equal(backwards(txn, "b", false), "");
    assert_string_equal(backwards(txn, "a", false), "");
    store_commit(txn);
    struct store_txn *read = store_begin_read(store);
    assert_string_equal(backwards(read, "z", false), "h f d b ");
    assert_string_equal(backwards(read, "h", false), "f d b ");
    assert_string_equal(backwards(read, "a", false), "");
    store_end_read(read);
    txn = store_begin(store);
    assert_string_equal(backwards(txn, "g", true), "f d b ");
    assert_string_equal(backwards(txn, "z", false), "h ");
    store_commit(txn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(rows_come_back_in_key_order),
        TEST(cursor_bears_writes_between_its_steps),
        TEST(cursor_walks_backwards),
        TEST(readers_keep_what_they_saw),
        TEST(digest_sees_every_change_and_no_gathering),
        TEST(table_key_and_value_all_count_in_the_digest),
        TEST(an_image_is_restored_to_the_byte),
        TEST(a_spoilt_image_is_refused_and_changes_nothing),
        TEST(a_header_that_contradicts_the_content_leaves_an_empty_store),
        TEST(a_full_disk_fails_the_dump_only),
        TEST(only_a_clean_stop_keeps_the_state),
        TEST(a_directory_that_cannot_be_is_an_error),
        TEST(the_lock_file_has_all_its_blocks),
        TEST(keys_sort_as_their_pieces_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
