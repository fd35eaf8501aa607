/* Tests of raftlog/snapshot.c: names, chunks, pulls that break and resume, damage, clean-up. */
#include "snapshot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>

#include "assent/error.h"
#include "assent/limits.h"

#define SIZE  100000
#define CHUNK 4096

struct fixture {
    char root[200];
    struct snapshot_dir from, to; /* the leader's folder and ours */
    struct snapshot_manifest manifest;
    uint8_t image[SIZE];
};

static int remove_one(const char *path, const struct stat *info, int flag, struct FTW *ftw)
{
    (void)info;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static void write_file(const char *path, const uint8_t *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static bool exists(const struct snapshot_dir *dir, uint64_t index, uint64_t term, const char *suffix)
{
    char path[1100];
    snapshot_path(dir, index, term, suffix, path, sizeof path);
    return access(path, F_OK) == 0;
}

static void make_file(const struct snapshot_dir *dir, uint64_t index, uint64_t term, const char *suffix)
{
    char path[1100];
    snapshot_path(dir, index, term, suffix, path, sizeof path);
    write_file(path, (const uint8_t *)"x", 1);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    char data[256], err[256];
    const char *tmp = getenv("TMPDIR");
    snprintf(f->root, sizeof f->root, "%s/assent-snapshot-XXXXXX", tmp == NULL ? "/tmp" : tmp);
    assert_non_null(mkdtemp(f->root));
    snprintf(data, sizeof data, "%s/a", f->root);
    mkdir(data, 0700);
    assert_int_equal(snapshot_dir_open(&f->from, data, err, sizeof err), 0);
    snprintf(data, sizeof data, "%s/b", f->root);
    mkdir(data, 0700);
    assert_int_equal(snapshot_dir_open(&f->to, data, err, sizeof err), 0);
    for (uint32_t i = 0; i < SIZE; i++) {
        f->image[i] = (uint8_t)(i * 7 + i / 256);
    }
    char path[1100];
    snapshot_path(&f->from, 500, 3, "tmp", path, sizeof path);
    write_file(path, f->image, SIZE);
    assert_int_equal(snapshot_publish(&f->from, 500, 3, ".tmp"), 0);
    f->manifest = (struct snapshot_manifest){
        .index = 500,
        .term = 3,
        .configuration_index = 1,
        .configuration = {(const uint8_t *)"configuration", 13},
        .chunk_size = CHUNK,
    };
    snapshot_path(&f->from, 500, 3, "snap", path, sizeof path);
    assert_int_equal(snapshot_checksum(path, &f->manifest.crc, &f->manifest.size), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    nftw(f->root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

/* Fetch up to `chunks` chunks; true when complete. */
static bool pull_some(struct fixture *f, struct snapshot_pull *pull, uint32_t chunks)
{
    uint64_t offset;
    uint32_t size, got;
    uint8_t bytes[CHUNK];
    while (snapshot_pull_next(pull, &offset, &size)) {
        if (chunks-- == 0) {
            return false;
        }
        assert_true(size <= CHUNK);
        assert_int_equal(snapshot_read_chunk(&f->from, 500, 3, offset, size, bytes, &got), 0);
        assert_int_equal(got, size);
        assert_int_equal(snapshot_pull_chunk(pull, offset, (struct assent_bytes){bytes, got}), 0);
    }
    return true;
}

static void names_are_index_and_term_in_hex(void **state)
{
    struct fixture *f = *state;
    char path[1100], dotted[1100];
    snapshot_path(&f->to, 0xabc, 0x10, "snap", path, sizeof path);
    assert_string_equal(path + strlen(f->to.path), "/0000000000000abc-0000000000000010.snap");
    snapshot_path(&f->to, 0xabc, 0x10, ".snap", dotted, sizeof dotted);
    assert_string_equal(path, dotted);
}

static void checksum_and_size_are_the_files(void **state)
{
    struct fixture *f = *state;
    uint32_t crc;
    uint64_t size;
    assert_int_equal(f->manifest.size, SIZE);
    assert_int_equal(f->manifest.crc, crc32c(0, f->image, SIZE));
    assert_int_equal(snapshot_checksum("/nonexistent/file", &crc, &size), ASSENT_IO);
}

static void chunks_end_with_the_file(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[CHUNK];
    uint32_t got;
    assert_int_equal(snapshot_read_chunk(&f->from, 500, 3, SIZE - 10, CHUNK, bytes, &got), 0);
    assert_int_equal(got, 10);
    assert_memory_equal(bytes, f->image + SIZE - 10, 10);
    assert_int_equal(snapshot_read_chunk(&f->from, 500, 3, SIZE + 10, CHUNK, bytes, &got), 0);
    assert_int_equal(got, 0);
    assert_int_equal(snapshot_read_chunk(&f->from, 500, 4, 0, CHUNK, bytes, &got), ASSENT_NOT_FOUND);
    assert_int_equal(snapshot_read_chunk(&f->from, 500, 3, UINT64_MAX, CHUNK, bytes, &got), ASSENT_INVALID);
}

static void a_pull_copies_the_file(void **state)
{
    struct fixture *f = *state;
    struct snapshot_pull *pull;
    uint8_t *copy = malloc(SIZE);
    uint32_t got;
    assert_int_equal(snapshot_pull_begin(&pull, &f->to, &f->manifest), 0);
    assert_true(pull_some(f, pull, UINT32_MAX));
    assert_int_equal(snapshot_pull_bytes(pull), SIZE);
    assert_false(exists(&f->to, 500, 3, "snap"));
    assert_int_equal(snapshot_pull_finish(pull), 0);
    assert_true(exists(&f->to, 500, 3, "snap"));
    assert_false(exists(&f->to, 500, 3, "part"));
    snapshot_pull_close(pull);
    assert_int_equal(snapshot_read_chunk(&f->to, 500, 3, 0, SIZE, copy, &got), 0);
    assert_int_equal(got, SIZE);
    assert_memory_equal(copy, f->image, SIZE);
    free(copy);
}

static void a_broken_pull_resumes_where_it_stood(void **state)
{
    struct fixture *f = *state;
    struct snapshot_pull *pull;
    uint64_t offset;
    uint32_t size;
    assert_int_equal(snapshot_pull_begin(&pull, &f->to, &f->manifest), 0);
    assert_false(pull_some(f, pull, 7));
    snapshot_pull_close(pull);
    assert_int_equal(snapshot_pull_begin(&pull, &f->to, &f->manifest), 0);
    assert_true(snapshot_pull_next(pull, &offset, &size));
    assert_int_equal(offset, 7 * CHUNK);
    assert_int_equal(snapshot_pull_manifest(pull)->index, 500);
    assert_memory_equal(snapshot_pull_manifest(pull)->configuration.base, "configuration", 13);
    assert_true(pull_some(f, pull, UINT32_MAX));
    assert_int_equal(snapshot_pull_finish(pull), 0);
    snapshot_pull_close(pull);
}

static void chunks_of_another_offset_change_nothing(void **state)
{
    struct fixture *f = *state;
    struct snapshot_pull *pull;
    const uint8_t wrong[16] = {0};
    assert_int_equal(snapshot_pull_begin(&pull, &f->to, &f->manifest), 0);
    assert_false(pull_some(f, pull, 2));
    assert_int_equal(snapshot_pull_chunk(pull, 0, (struct assent_bytes){wrong, 16}), 0);
    assert_int_equal(snapshot_pull_chunk(pull, 3 * CHUNK, (struct assent_bytes){wrong, 16}), 0);
    assert_int_equal(snapshot_pull_bytes(pull), 2 * CHUNK);
    assert_true(pull_some(f, pull, UINT32_MAX));
    assert_int_equal(snapshot_pull_finish(pull), 0);
    snapshot_pull_close(pull);
}

static void more_bytes_than_the_file_has_are_refused(void **state)
{
    struct fixture *f = *state;
    struct snapshot_pull *pull;
    assert_int_equal(snapshot_pull_begin(&pull, &f->to, &f->manifest), 0);
    uint8_t *bytes = calloc(1, SIZE + 1);
    assert_int_equal(snapshot_pull_chunk(pull, 0, (struct assent_bytes){bytes, SIZE + 1}), ASSENT_MALFORMED);
    free(bytes);
    snapshot_pull_close(pull);
}

static void a_corrupted_chunk_is_found_and_the_part_removed(void **state)
{
    struct fixture *f = *state;
    struct snapshot_pull *pull;
    uint8_t bad[CHUNK];
    assert_int_equal(snapshot_pull_begin(&pull, &f->to, &f->manifest), 0);
    memcpy(bad, f->image, CHUNK);
    bad[100] ^= 1;
    assert_int_equal(snapshot_pull_chunk(pull, 0, (struct assent_bytes){bad, CHUNK}), 0);
    assert_true(pull_some(f, pull, UINT32_MAX));
    assert_int_equal(snapshot_pull_finish(pull), ASSENT_CORRUPT);
    snapshot_pull_close(pull);
    assert_false(exists(&f->to, 500, 3, "part"));
    assert_false(exists(&f->to, 500, 3, "snap"));
    /* From the beginning it succeeds. */
    assert_int_equal(snapshot_pull_begin(&pull, &f->to, &f->manifest), 0);
    assert_int_equal(snapshot_pull_bytes(pull), 0);
    assert_true(pull_some(f, pull, UINT32_MAX));
    assert_int_equal(snapshot_pull_finish(pull), 0);
    snapshot_pull_close(pull);
}

static void a_part_longer_than_the_snapshot_is_begun_again(void **state)
{
    struct fixture *f = *state;
    struct snapshot_pull *pull;
    char path[1100];
    uint8_t *bytes = calloc(1, SIZE + 1);
    snapshot_path(&f->to, 500, 3, "part", path, sizeof path);
    write_file(path, bytes, SIZE + 1);
    free(bytes);
    assert_int_equal(snapshot_pull_begin(&pull, &f->to, &f->manifest), 0);
    assert_int_equal(snapshot_pull_bytes(pull), 0);
    snapshot_pull_close(pull);
}

static void one_part_has_one_pull(void **state)
{
    struct fixture *f = *state;
    struct snapshot_pull *pull, *second;
    assert_int_equal(snapshot_pull_begin(&pull, &f->to, &f->manifest), 0);
    assert_int_equal(snapshot_pull_begin(&second, &f->to, &f->manifest), ASSENT_BUSY);
    assert_null(second);
    snapshot_pull_close(second);
    snapshot_pull_close(pull);
}

static void chunk_sizes_of_a_manifest_are_bounded(void **state)
{
    struct fixture *f = *state;
    struct snapshot_pull *pull;
    uint64_t offset;
    uint32_t size;
    f->manifest.size = UINT64_C(1) << 40;
    f->manifest.chunk_size = UINT64_MAX;
    assert_int_equal(snapshot_pull_begin(&pull, &f->to, &f->manifest), 0);
    assert_true(snapshot_pull_next(pull, &offset, &size));
    assert_true(size < ASSENT_FRAME_BYTES_MAX);
    snapshot_pull_close(pull);
    f->manifest.chunk_size = 0;
    assert_int_equal(snapshot_pull_begin(&pull, &f->to, &f->manifest), 0);
    assert_true(snapshot_pull_next(pull, &offset, &size));
    assert_true(size > 0);
    snapshot_pull_close(pull);
}

static void cleaning_keeps_the_newest_and_the_pinned(void **state)
{
    struct fixture *f = *state;
    for (uint64_t i = 1; i <= 5; i++) {
        make_file(&f->to, i * 100, i == 4 ? 2 : 1, "snap");
    }
    make_file(&f->to, 90, 1, "part");
    make_file(&f->to, 600, 1, "part");
    make_file(&f->to, 700, 1, "part");
    char other[1100];
    snprintf(other, sizeof other, "%s/notes.snap", f->to.path);
    write_file(other, (const uint8_t *)"x", 1);
    snapshot_clean(&f->to, 2, 100);
    assert_true(exists(&f->to, 500, 1, "snap"));
    assert_true(exists(&f->to, 400, 2, "snap"));
    assert_false(exists(&f->to, 300, 1, "snap"));
    assert_false(exists(&f->to, 200, 1, "snap"));
    assert_true(exists(&f->to, 100, 1, "snap")); /* pinned */
    assert_false(exists(&f->to, 90, 1, "part"));
    assert_false(exists(&f->to, 600, 1, "part"));
    assert_true(exists(&f->to, 700, 1, "part"));
    assert_int_equal(access(other, F_OK), 0); /* not ours */
}

static void cleaning_leaves_a_part_that_is_being_pulled(void **state)
{
    struct fixture *f = *state;
    struct snapshot_pull *pull;
    assert_int_equal(snapshot_pull_begin(&pull, &f->to, &f->manifest), 0);
    assert_false(pull_some(f, pull, 3));
    make_file(&f->to, 900, 3, "part");
    snapshot_clean(&f->to, 2, 0);
    assert_true(exists(&f->to, 500, 3, "part"));
    assert_true(pull_some(f, pull, UINT32_MAX));
    assert_int_equal(snapshot_pull_finish(pull), 0);
    snapshot_pull_close(pull);
}

static void opening_removes_unfinished_dumps(void **state)
{
    struct fixture *f = *state;
    char data[256], err[256];
    make_file(&f->to, 7, 1, "tmp");
    make_file(&f->to, 7, 1, "part");
    snprintf(data, sizeof data, "%s/b", f->root);
    assert_int_equal(snapshot_dir_open(&f->to, data, err, sizeof err), 0);
    assert_false(exists(&f->to, 7, 1, "tmp"));
    assert_true(exists(&f->to, 7, 1, "part"));
    snprintf(data, sizeof data, "%s/missing/b", f->root);
    assert_int_equal(snapshot_dir_open(&f->to, data, err, sizeof err), ASSENT_IO);
    assert_non_null(strstr(err, data));
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(names_are_index_and_term_in_hex),
        CASE(checksum_and_size_are_the_files),
        CASE(chunks_end_with_the_file),
        CASE(a_pull_copies_the_file),
        CASE(a_broken_pull_resumes_where_it_stood),
        CASE(chunks_of_another_offset_change_nothing),
        CASE(more_bytes_than_the_file_has_are_refused),
        CASE(a_corrupted_chunk_is_found_and_the_part_removed),
        CASE(a_part_longer_than_the_snapshot_is_begun_again),
        CASE(one_part_has_one_pull),
        CASE(chunk_sizes_of_a_manifest_are_bounded),
        CASE(cleaning_keeps_the_newest_and_the_pinned),
        CASE(cleaning_leaves_a_part_that_is_being_pulled),
        CASE(opening_removes_unfinished_dumps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
