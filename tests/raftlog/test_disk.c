/* Tests of raftlog/disk.c: identity, locking, and every kind of damage that must stop a node. */
#include "disk_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "writer.h"

/* ---- changing stored bytes behind the program's back ---- */

/* Open the environment raw and hand one value of a database to `change`. */
static void alter(struct fixture *f, const char *database, MDB_val key, void (*change)(MDB_val *value))
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_val value;
    char path[256];
    snprintf(path, sizeof path, "%s/log", f->dir);
    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_set_maxdbs(env, 4), 0);
    assert_int_equal(mdb_env_set_mapsize(env, UINT64_C(1) << 30), 0);
    assert_int_equal(mdb_env_open(env, path, 0, 0640), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, database, 0, &dbi), 0);
    assert_int_equal(mdb_get(txn, dbi, &key, &value), 0);
    if (change == NULL) {
        assert_int_equal(mdb_del(txn, dbi, &key, NULL), 0);
    } else {
        uint8_t bytes[1000];
        assert_true(value.mv_size <= sizeof bytes);
        memcpy(bytes, value.mv_data, value.mv_size);
        value.mv_data = bytes;
        change(&value);
        assert_int_equal(mdb_put(txn, dbi, &key, &value, 0), 0);
    }
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
}

static void alter_entry(struct fixture *f, size_t index, void (*change)(MDB_val *value))
{
    alter(f, "entries", (MDB_val){sizeof index, &index}, change);
}

static void alter_record(struct fixture *f, const char *name, void (*change)(MDB_val *value))
{
    alter(f, "meta", (MDB_val){strlen(name), (void *)(uintptr_t)name}, change);
}

static void flip_first(MDB_val *value)
{
    *(uint8_t *)value->mv_data ^= 0x04;
}

static void flip_middle(MDB_val *value)
{
    ((uint8_t *)value->mv_data)[value->mv_size / 2] ^= 0x80;
}

static void flip_last(MDB_val *value)
{
    ((uint8_t *)value->mv_data)[value->mv_size - 1] ^= 0x01;
}

static void flip_type(MDB_val *value)
{
    ((uint8_t *)value->mv_data)[12] ^= 0x02;
}

static void cut(MDB_val *value)
{
    value->mv_size -= 1;
}

static void cut_to_nothing(MDB_val *value)
{
    value->mv_size = 3;
}

/* ---- filling ---- */

static void write_entries(struct disk *disk, uint64_t first, uint64_t last, uint64_t term)
{
    for (uint64_t i = first; i <= last; i++) {
        struct entry *e = fixture_entry(i, term, 100);
        struct op *op = calloc(1, sizeof *op + sizeof op->entries[0]);
        op->type = OP_APPEND;
        op->index = i;
        op->n = 1;
        op->entries[0] = e;
        assert_int_equal(writer_now(disk, op), 0);
        writer_drop(op);
    }
}

static void record_snapshot(struct disk *disk, const struct fixture *f, uint64_t index, uint64_t term)
{
    struct snapshot_manifest m = fixture_manifest(f, index, term);
    struct op op = {.type = OP_RECORD, .manifest = &m};
    assert_int_equal(writer_now(disk, &op), 0);
}

static void trim(struct disk *disk, uint64_t last)
{
    struct op op = {.type = OP_COMPACT, .index = last};
    assert_int_equal(writer_now(disk, &op), 0);
}

/* A member with entries 1 (its configuration) to 30. */
static void fill(struct fixture *f)
{
    struct disk *disk = fixture_member(f);
    write_entries(disk, 2, 30, 1);
    disk_close(disk, NULL, NULL);
}

static int count_entries(void *data, struct entry *e)
{
    (*(int *)data)++;
    entry_unref(e);
    return 0;
}

static int stop_at_five(void *data, struct entry *e)
{
    bool stop = e->index == 5;
    (*(int *)data)++;
    entry_unref(e);
    return stop ? ASSENT_NOMEM : 0;
}

static void load_is_refused(struct fixture *f, const char *names)
{
    struct disk *disk = fixture_open(f);
    int n = 0;
    assert_int_equal(disk_load(disk, count_entries, &n, f->err, sizeof f->err), ASSENT_CORRUPT);
    if (strstr(f->err, names) == NULL || strstr(f->err, "wipe") == NULL ||
        strstr(f->err, "non-voter") == NULL) {
        fail_msg("not helpful: %s", f->err);
    }
    disk_close(disk, NULL, NULL);
}

static void open_is_refused(struct fixture *f, int error, const char *names)
{
    struct disk *disk;
    int rc = disk_open(&disk, &f->config, f->err, sizeof f->err);
    if (rc != error || strstr(f->err, names) == NULL) {
        fail_msg("%s: %s", assent_error_name(rc), f->err);
    }
    assert_null(disk);
}

/* ---- identity ---- */

static void a_new_directory_is_pristine(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 2; i++) { /* opening alone does not change that */
        struct disk *disk = fixture_open(f);
        const struct disk_state *s = disk_state(disk);
        assert_true(s->pristine);
        assert_int_equal(s->term, 0);
        assert_int_equal(s->cluster_id, 0);
        assert_int_equal(s->node_id, 0);
        assert_false(s->has_snapshot);
        assert_int_equal(s->first_index, 1);
        assert_int_equal(s->last_index, 0);
        assert_true(disk_free_bytes(disk) > 0);
        disk_close(disk, NULL, NULL);
    }
}

static void deep_directories_are_made(void **state)
{
    struct fixture *f = *state;
    char deep[300];
    snprintf(deep, sizeof deep, "%s/a/b/c", f->dir);
    f->config.dir = deep;
    disk_close(fixture_open(f), NULL, NULL);
}

static void bootstrap_writes_entry_one_in_term_one(void **state)
{
    struct fixture *f = *state;
    int n = 0;
    disk_close(fixture_member(f), NULL, NULL);
    struct disk *disk = fixture_open(f);
    const struct disk_state *s = disk_state(disk);
    assert_false(s->pristine);
    assert_int_equal(s->cluster_id, 7);
    assert_int_equal(s->node_id, 1);
    assert_int_equal(s->incarnation, 1);
    assert_int_equal(s->term, 1);
    assert_int_equal(s->vote, 0);
    assert_int_equal(s->first_index, 1);
    assert_int_equal(s->last_index, 1);
    assert_int_equal(disk_load(disk, count_entries, &n, f->err, sizeof f->err), 0);
    assert_int_equal(n, 1);
    disk_close(disk, NULL, NULL);
}

static void bootstrap_again_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct disk *disk = fixture_member(f);
    write_entries(disk, 2, 10, 1);
    assert_int_equal(disk_bootstrap(disk, 7, 1, 1, &f->configuration, f->err, sizeof f->err), 0);
    disk_close(disk, NULL, NULL);
    disk = fixture_member(f);
    assert_int_equal(disk_state(disk)->last_index, 10);
    disk_close(disk, NULL, NULL);
}

static void another_identity_is_foreign(void **state)
{
    struct fixture *f = *state;
    struct disk *disk = fixture_member(f);
    const struct assent_bytes *c = &f->configuration;
    assert_int_equal(disk_bootstrap(disk, 7, 2, 1, c, f->err, sizeof f->err), ASSENT_FOREIGN);
    assert_non_null(strstr(f->err, "belongs to node 1"));
    assert_int_equal(disk_bootstrap(disk, 8, 1, 1, c, f->err, sizeof f->err), ASSENT_FOREIGN);
    assert_non_null(strstr(f->err, "belongs to cluster 0000000000000007"));
    assert_int_equal(disk_bootstrap(disk, 7, 1, 2, c, f->err, sizeof f->err), ASSENT_FOREIGN);
    assert_non_null(strstr(f->err, "incarnation"));
    assert_int_equal(disk_adopt(disk, 8, 1), ASSENT_FOREIGN);
    disk_close(disk, NULL, NULL);
}

static void a_joining_node_adopts_its_cluster_once(void **state)
{
    struct fixture *f = *state;
    struct disk *disk = fixture_open(f);
    assert_int_equal(disk_adopt(disk, 7, 3), ASSENT_FOREIGN); /* nobody said yet who we are */
    assert_int_equal(disk_bootstrap(disk, 0, 4, 0, NULL, f->err, sizeof f->err), 0);
    assert_int_equal(disk_state(disk)->last_index, 0);
    assert_int_equal(disk_state(disk)->term, 0);
    disk_close(disk, NULL, NULL);

    disk = fixture_open(f);
    assert_false(disk_state(disk)->pristine);
    assert_int_equal(disk_bootstrap(disk, 7, 4, 1, &f->configuration, f->err, sizeof f->err), ASSENT_FOREIGN);
    assert_non_null(strstr(f->err, "joins"));
    assert_int_equal(disk_bootstrap(disk, 0, 4, 0, NULL, f->err, sizeof f->err), 0);
    assert_int_equal(disk_adopt(disk, 7, 3), 0);
    assert_int_equal(disk_adopt(disk, 7, 3), 0);
    assert_int_equal(disk_adopt(disk, 9, 3), ASSENT_FOREIGN);
    disk_close(disk, NULL, NULL);

    disk = fixture_open(f);
    assert_int_equal(disk_state(disk)->cluster_id, 7);
    assert_int_equal(disk_state(disk)->incarnation, 3);
    assert_int_equal(disk_bootstrap(disk, 0, 4, 0, NULL, f->err, sizeof f->err), 0);
    disk_close(disk, NULL, NULL);
}

static void an_invalid_configuration_is_not_written(void **state)
{
    struct fixture *f = *state;
    struct disk *disk = fixture_open(f);
    struct assent_bytes garbage = {(const uint8_t *)"garbage!", 8};
    assert_int_equal(disk_bootstrap(disk, 7, 1, 1, &garbage, f->err, sizeof f->err), ASSENT_INVALID);
    assert_true(disk_state(disk)->pristine);
    disk_close(disk, NULL, NULL);
}

static void recovery_raises_term_and_incarnation(void **state)
{
    struct fixture *f = *state;
    int n = 0;
    struct disk *disk = fixture_open(f);
    assert_int_equal(disk_recover(disk, 1, f->configuration, f->err, sizeof f->err), ASSENT_CONFLICT);
    disk_close(disk, NULL, NULL);
    fill(f);
    disk = fixture_open(f);
    assert_int_equal(disk_recover(disk, 2, f->configuration, f->err, sizeof f->err), ASSENT_FOREIGN);
    assert_int_equal(disk_recover(disk, 1, f->configuration, f->err, sizeof f->err), 0);
    disk_close(disk, NULL, NULL);
    disk = fixture_open(f);
    assert_int_equal(disk_state(disk)->incarnation, 2);
    assert_int_equal(disk_state(disk)->term, 2);
    assert_int_equal(disk_state(disk)->vote, 0);
    assert_int_equal(disk_state(disk)->last_index, 31);
    assert_int_equal(disk_load(disk, count_entries, &n, f->err, sizeof f->err), 0);
    assert_int_equal(n, 31);
    assert_int_equal(disk_bootstrap(disk, 7, 1, 1, &f->configuration, f->err, sizeof f->err), 0);
    disk_close(disk, NULL, NULL);
}

static void recovery_of_a_damaged_log_is_refused(void **state)
{
    struct fixture *f = *state;
    fill(f);
    alter_entry(f, 17, flip_middle);
    struct disk *disk = fixture_open(f);
    assert_int_equal(disk_recover(disk, 1, f->configuration, f->err, sizeof f->err), ASSENT_CORRUPT);
    assert_int_equal(disk_state(disk)->incarnation, 1);
    disk_close(disk, NULL, NULL);
}

static void a_log_of_another_format_is_foreign(void **state)
{
    struct fixture *f = *state;
    const uint64_t format = DISK_FORMAT + 1;
    struct MDB_txn *txn;
    struct disk *disk = fixture_member(f);
    assert_int_equal(logdb_begin(&disk->db, true, &txn), 0);
    assert_int_equal(logdb_put_record(&disk->db, txn, RECORD_FORMAT, &format, 1), 0);
    assert_int_equal(logdb_commit(txn), 0);
    disk_close(disk, NULL, NULL);
    open_is_refused(f, ASSENT_FOREIGN, "has format 2");
}

/* ---- locking ---- */

static void a_second_process_is_refused_and_told_who_holds_it(void **state)
{
    struct fixture *f = *state;
    struct disk *disk = fixture_open(f);
    char who[64];
    snprintf(who, sizeof who, "in use by process %ld:", (long)getpid());
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct disk *second;
        int rc = disk_open(&second, &f->config, f->err, sizeof f->err);
        _exit(rc == ASSENT_BUSY && strstr(f->err, who) != NULL && strstr(f->err, f->dir) != NULL ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    open_is_refused(f, ASSENT_BUSY, "in use"); /* the same process neither */
    disk_close(disk, NULL, NULL);
    disk_close(fixture_open(f), NULL, NULL);
}

static void the_lock_of_a_killed_process_is_gone(void **state)
{
    struct fixture *f = *state;
    int fds[2];
    char byte;
    assert_int_equal(pipe(fds), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct disk *disk;
        int rc = disk_open(&disk, &f->config, f->err, sizeof f->err);
        ssize_t done = write(fds[1], "x", rc == 0 ? 1 : 0);
        (void)done;
        pause();
    }
    close(fds[1]);
    assert_int_equal(read(fds[0], &byte, 1), 1);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(fds[0]);
    disk_close(fixture_open(f), NULL, NULL);
}

/* ---- damage ---- */

static void any_flipped_byte_of_an_entry_is_named(void **state)
{
    struct fixture *f = *state;
    static void (*const changes[])(MDB_val *) = {flip_first, flip_middle, flip_last,
                                                 flip_type,  cut,         cut_to_nothing};
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        remove_tree(f->dir);
        fill(f);
        alter_entry(f, 17, changes[i]);
        load_is_refused(f, "entry 17 ");
        load_is_refused(f, "entry 17 "); /* and nothing was repaired or cut by the first try */
    }
}

static void damage_in_the_last_entry_is_refused_too(void **state)
{
    struct fixture *f = *state;
    fill(f);
    alter_entry(f, 30, flip_last);
    load_is_refused(f, "entry 30 ");
}

static void a_missing_entry_is_refused(void **state)
{
    struct fixture *f = *state;
    fill(f);
    alter_entry(f, 17, NULL);
    open_is_refused(f, ASSENT_CORRUPT, "some are missing");
    remove_tree(f->dir);
    fill(f);
    alter_entry(f, 1, NULL);
    open_is_refused(f, ASSENT_CORRUPT, "missing");
}

static void a_gap_between_snapshot_and_log_is_refused(void **state)
{
    struct fixture *f = *state;
    struct disk *disk = fixture_member(f);
    write_entries(disk, 2, 30, 1);
    record_snapshot(disk, f, 20, 1);
    trim(disk, 20);
    disk_close(disk, NULL, NULL);
    disk_close(fixture_open(f), NULL, NULL);
    alter_entry(f, 21, NULL);
    open_is_refused(f, ASSENT_CORRUPT, "newest snapshot ends at 20");
}

static void every_meta_record_is_checked(void **state)
{
    struct fixture *f = *state;
    static const char *const records[] = {RECORD_FORMAT, RECORD_IDENTITY, RECORD_VOTE};
    for (size_t i = 0; i < 3; i++) {
        static void (*const changes[])(MDB_val *) = {flip_first, flip_last, cut};
        for (size_t k = 0; k < 3; k++) {
            remove_tree(f->dir);
            fill(f);
            alter_record(f, records[i], changes[k]);
            open_is_refused(f, ASSENT_CORRUPT, records[i]);
            assert_non_null(strstr(f->err, "wipe"));
        }
    }
}

static void a_lost_meta_record_is_refused(void **state)
{
    struct fixture *f = *state;
    fill(f);
    alter_record(f, RECORD_FORMAT, NULL);
    open_is_refused(f, ASSENT_CORRUPT, "format");
    remove_tree(f->dir);
    fill(f);
    alter_record(f, RECORD_IDENTITY, NULL);
    open_is_refused(f, ASSENT_CORRUPT, "identity");
    remove_tree(f->dir);
    fill(f);
    alter_record(f, RECORD_VOTE, NULL);
    open_is_refused(f, ASSENT_CORRUPT, "vote");
}

static void a_vote_older_than_the_log_is_refused(void **state)
{
    struct fixture *f = *state;
    struct disk *disk = fixture_member(f);
    write_entries(disk, 2, 5, 9); /* no vote of term 9 was ever recorded */
    disk_close(disk, NULL, NULL);
    load_is_refused(f, "entry 2 ");
}

static void a_term_that_falls_is_refused(void **state)
{
    struct fixture *f = *state;
    struct disk *disk = fixture_member(f);
    assert_int_equal(disk_persist_vote(disk, 9, 1), 0);
    write_entries(disk, 2, 5, 9);
    write_entries(disk, 6, 7, 8);
    disk_close(disk, NULL, NULL);
    load_is_refused(f, "entry 6 ");
}

static void a_snapshot_of_another_term_is_refused(void **state)
{
    struct fixture *f = *state;
    struct disk *disk = fixture_member(f);
    assert_int_equal(disk_persist_vote(disk, 3, 1), 0);
    write_entries(disk, 2, 30, 1);
    record_snapshot(disk, f, 20, 2);
    disk_close(disk, NULL, NULL);
    load_is_refused(f, "entry 20 ");
}

static void a_damaged_manifest_is_refused(void **state)
{
    struct fixture *f = *state;
    static void (*const changes[])(MDB_val *) = {flip_first, flip_middle, flip_last, cut, cut_to_nothing};
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        size_t index = 20;
        remove_tree(f->dir);
        struct disk *disk = fixture_member(f);
        write_entries(disk, 2, 30, 1);
        record_snapshot(disk, f, 20, 1);
        disk_close(disk, NULL, NULL);
        alter(f, "snapshots", (MDB_val){sizeof index, &index}, changes[i]);
        open_is_refused(f, ASSENT_CORRUPT, "snapshot record");
    }
}

static int open_data(const struct fixture *f)
{
    char path[256];
    snprintf(path, sizeof path, "%s/log/data.mdb", f->dir);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    return fd;
}

static void a_truncated_file_is_refused(void **state)
{
    struct fixture *f = *state;
    fill(f);
    int fd = open_data(f);
    assert_int_equal(ftruncate(fd, 3 * 4096), 0);
    close(fd);
    open_is_refused(f, ASSENT_CORRUPT, "data.mdb");
    assert_non_null(strstr(f->err, "wipe"));
}

static void a_file_that_is_not_lmdb_is_refused(void **state)
{
    struct fixture *f = *state;
    uint8_t garbage[8192];
    fill(f);
    memset(garbage, 0x5a, sizeof garbage);
    int fd = open_data(f);
    assert_int_equal(pwrite(fd, garbage, sizeof garbage, 0), sizeof garbage);
    close(fd);
    open_is_refused(f, ASSENT_CORRUPT, "data.mdb");
}

/* LMDB believes the head with the higher number.  A bit flipped there brings an older log back. */
static void heads_that_contradict_each_other_are_refused(void **state)
{
    struct fixture *f = *state;
    for (int head = 0; head < 2; head++) {
        for (unsigned int bit = 0; bit < 16; bit++) {
            uint64_t numbers[2], changed;
            remove_tree(f->dir);
            fill(f);
            int fd = open_data(f);
            for (int i = 0; i < 2; i++) {
                assert_int_equal(pread(fd, &numbers[i], 8, i * 4096 + 144), 8);
            }
            changed = numbers[head] ^ (UINT64_C(1) << bit);
            assert_int_equal(pwrite(fd, &changed, 8, head * 4096 + 144), 8);
            close(fd);
            if (changed + 2 == numbers[head] && changed + 1 == numbers[1 - head]) {
                continue; /* the one change that looks right: the newest commit is gone, nothing here can know
                           */
            }
            if (numbers[head] + 2 == changed && changed == numbers[1 - head] + 1) {
                continue; /* the older head now looks newest: the last commit is hidden, likewise */
            }
            open_is_refused(f, ASSENT_CORRUPT, "data.mdb");
        }
    }
}

static void a_callback_can_end_the_load(void **state)
{
    struct fixture *f = *state;
    int n = 0;
    fill(f);
    struct disk *disk = fixture_open(f);
    assert_int_equal(disk_load(disk, stop_at_five, &n, f->err, sizeof f->err), ASSENT_NOMEM);
    assert_int_equal(n, 5);
    disk_close(disk, NULL, NULL);
}

/* ---- space ---- */

static void presized_blocks_are_written_at_creation(void **state)
{
    struct fixture *f = *state;
    struct stat info;
    f->config.presize_bytes = 8 * 1024 * 1024;
    disk_close(fixture_member(f), NULL, NULL);
    int fd = open_data(f);
    assert_int_equal(fstat(fd, &info), 0);
    close(fd);
    assert_true(info.st_size >= 8 * 1024 * 1024);
    assert_true(info.st_blocks * 512 >= 8 * 1024 * 1024);
    int n = 0;
    struct disk *disk = fixture_open(f);
    write_entries(disk, 2, 100, 1);
    disk_close(disk, NULL, NULL);
    disk = fixture_open(f);
    assert_int_equal(disk_load(disk, count_entries, &n, f->err, sizeof f->err), 0);
    assert_int_equal(n, 100);
    disk_close(disk, NULL, NULL);
}

/* LMDB writes to its lock file through a map: on a full disk a block that is missing would be SIGBUS.  After
 * a power failure the file may have its size and no blocks. */
static void the_lock_file_has_all_its_blocks(void **state)
{
    struct fixture *f = *state;
    struct stat info;
    char lock[256];
    snprintf(lock, sizeof lock, "%s/log/lock.mdb", f->dir);
    for (int again = 0; again < 2; again++) {
        disk_close(again ? fixture_open(f) : fixture_member(f), NULL, NULL);
        assert_int_equal(stat(lock, &info), 0);
        assert_true(info.st_size > 4096);
        assert_true(info.st_blocks * 512 >= info.st_size);
        assert_int_equal(truncate(lock, 0), 0);
        assert_int_equal(truncate(lock, info.st_size), 0);
    }
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_new_directory_is_pristine),
        CASE(deep_directories_are_made),
        CASE(bootstrap_writes_entry_one_in_term_one),
        CASE(bootstrap_again_changes_nothing),
        CASE(another_identity_is_foreign),
        CASE(a_joining_node_adopts_its_cluster_once),
        CASE(an_invalid_configuration_is_not_written),
        CASE(recovery_raises_term_and_incarnation),
        CASE(recovery_of_a_damaged_log_is_refused),
        CASE(a_log_of_another_format_is_foreign),
        CASE(a_second_process_is_refused_and_told_who_holds_it),
        CASE(the_lock_of_a_killed_process_is_gone),
        CASE(any_flipped_byte_of_an_entry_is_named),
        CASE(damage_in_the_last_entry_is_refused_too),
        CASE(a_missing_entry_is_refused),
        CASE(a_gap_between_snapshot_and_log_is_refused),
        CASE(every_meta_record_is_checked),
        CASE(a_lost_meta_record_is_refused),
        CASE(a_vote_older_than_the_log_is_refused),
        CASE(a_term_that_falls_is_refused),
        CASE(a_snapshot_of_another_term_is_refused),
        CASE(a_damaged_manifest_is_refused),
        CASE(a_truncated_file_is_refused),
        CASE(a_file_that_is_not_lmdb_is_refused),
        CASE(heads_that_contradict_each_other_are_refused),
        CASE(a_callback_can_end_the_load),
        CASE(presized_blocks_are_written_at_creation),
        CASE(the_lock_file_has_all_its_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
