/* What the tests of the log on disk share: a directory of their own, entries, a configuration, a manifest. */
#ifndef TESTS_DISK_FIXTURE_H
#define TESTS_DISK_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <ftw.h>
#include <lmdb.h>
#include <raft.h>

#include "assent/error.h"
#include "disk.h"

struct fixture {
    char dir[200];
    struct disk_config config;
    char err[512];
    uint8_t configuration_bytes[256];
    struct assent_bytes configuration;
};

static int remove_one(const char *path, const struct stat *info, int flag, struct FTW *ftw)
{
    (void)info;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static void remove_tree(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    const char *tmp = getenv("TMPDIR");
    struct raft_configuration configuration;
    struct raft_buffer encoded;
    snprintf(f->dir, sizeof f->dir, "%s/assent-disk-XXXXXX", tmp == NULL ? "/tmp" : tmp);
    assert_non_null(mkdtemp(f->dir));
    f->config = (struct disk_config){.dir = f->dir, .map_bytes = UINT64_C(1) << 30};
    raft_configuration_init(&configuration);
    assert_int_equal(raft_configuration_add(&configuration, 1, "127.0.0.1:9081", RAFT_VOTER), 0);
    assert_int_equal(raft_configuration_encode(&configuration, &encoded), 0);
    assert_true(encoded.len <= sizeof f->configuration_bytes);
    memcpy(f->configuration_bytes, encoded.base, encoded.len);
    f->configuration = (struct assent_bytes){f->configuration_bytes, encoded.len};
    raft_free(encoded.base);
    raft_configuration_close(&configuration);
    *state = f;
    return 0;
}

static int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    remove_tree(f->dir);
    free(f);
    return 0;
}

/* A sealed entry whose payload follows from its index, so that any reader can check it. */
__attribute__((unused)) static struct entry *fixture_entry(uint64_t index, uint64_t term, uint32_t size)
{
    struct entry *e = entry_new(ENTRY_COMMAND, size);
    assert_non_null(e);
    for (uint32_t i = 0; i < size; i++) {
        e->payload[i] = (uint8_t)(index * 31 + i);
    }
    entry_seal(e, index, term);
    return e;
}

__attribute__((unused)) static struct snapshot_manifest fixture_manifest(const struct fixture *f,
                                                                         uint64_t index, uint64_t term)
{
    return (struct snapshot_manifest){.index = index,
                                      .term = term,
                                      .configuration_index = 1,
                                      .configuration = f->configuration,
                                      .size = 1000,
                                      .digest = index * 7,
                                      .crc = 99,
                                      .chunk_size = 4096};
}

__attribute__((unused)) static struct disk *fixture_open(struct fixture *f)
{
    struct disk *disk;
    int rc = disk_open(&disk, &f->config, f->err, sizeof f->err);
    if (rc != 0) {
        fail_msg("disk_open: %s: %s", assent_error_name(rc), f->err);
    }
    return disk;
}

/* Opened and bootstrapped as node 1 of cluster 7. */
__attribute__((unused)) static struct disk *fixture_member(struct fixture *f)
{
    struct disk *disk = fixture_open(f);
    int rc = disk_bootstrap(disk, 7, 1, 1, &f->configuration, f->err, sizeof f->err);
    if (rc != 0) {
        fail_msg("disk_bootstrap: %s: %s", assent_error_name(rc), f->err);
    }
    return disk;
}

#endif /* TESTS_DISK_FIXTURE_H */
