/* Tests of raftlog/writer.c: group commit, order, truncation, compaction, failures, crashes. */
#include "disk_fixture.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "writer.h"

/* What the callbacks saw. */
struct seen {
    struct disk *disk;
    uv_loop_t loop;
    uint64_t index, term;
    uint32_t appended, installed, recorded, failed, commits, entries, after_failure;
    uint64_t bytes;
    int error;
    char what[256];
    bool closed;
    int report_fd;
};

static void on_appended(void *data, uint64_t index, uint64_t term)
{
    struct seen *s = data;
    s->after_failure += s->failed;
    s->appended++;
    s->index = index;
    s->term = term;
    if (s->report_fd > 0) {
        ssize_t done = write(s->report_fd, &index, sizeof index);
        (void)done;
    }
}

static void on_installed(void *data)
{
    ((struct seen *)data)->installed++;
}

static void on_recorded(void *data)
{
    ((struct seen *)data)->recorded++;
}

static void on_failed(void *data, int error, const char *what)
{
    struct seen *s = data;
    s->failed++;
    s->error = error;
    snprintf(s->what, sizeof s->what, "%s", what);
}

static void on_commit(void *data, uint64_t us, uint32_t entries, uint64_t bytes)
{
    struct seen *s = data;
    assert_true(us > 0);
    s->commits++;
    s->entries += entries;
    s->bytes += bytes;
}

static void on_closed(void *data)
{
    ((struct seen *)data)->closed = true;
}

static void start(struct seen *s, struct disk *disk)
{
    const struct disk_callbacks callbacks = {.data = s,
                                             .appended = on_appended,
                                             .installed = on_installed,
                                             .recorded = on_recorded,
                                             .failed = on_failed,
                                             .commit_us = on_commit};
    s->disk = disk;
    assert_int_equal(uv_loop_init(&s->loop), 0);
    assert_int_equal(disk_start(disk, &s->loop, &callbacks), 0);
}

/* Closing finishes what is queued, so it is also how a test waits for everything. */
static void stop(struct seen *s)
{
    disk_close(s->disk, on_closed, s);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    assert_true(s->closed);
    assert_int_equal(uv_loop_close(&s->loop), 0);
}

static void wait_for_index(struct seen *s, uint64_t index)
{
    while (s->index < index && s->failed == 0) {
        uv_run(&s->loop, UV_RUN_ONCE);
    }
    assert_int_equal(s->failed, 0);
}

static void append(struct disk *disk, uint64_t first, uint32_t n, uint64_t term, uint32_t size)
{
    struct entry **entries = calloc(n, sizeof(struct entry *));
    for (uint32_t i = 0; i < n; i++) {
        entries[i] = fixture_entry(first + i, term, size);
    }
    disk_append(disk, first, entries, n);
    for (uint32_t i = 0; i < n; i++) {
        entry_unref(entries[i]);
    }
    free(entries);
}

struct loaded {
    uint64_t first, last;
    uint64_t terms[20000]; /* of the first ones */
};

static int on_load(void *data, struct entry *e)
{
    struct loaded *l = data;
    if (l->first == 0) {
        l->first = e->index;
    }
    l->last = e->index;
    if (e->index < sizeof l->terms / sizeof l->terms[0]) {
        l->terms[e->index] = e->term;
    }
    if (e->type == ENTRY_COMMAND) {
        struct entry *expected = fixture_entry(e->index, e->term, e->size);
        assert_memory_equal(e->payload, expected->payload, e->size);
        entry_unref(expected);
    }
    entry_unref(e);
    return 0;
}

/* Open again, as a restarted process would, and read everything. */
static struct disk *reload(struct fixture *f, struct loaded *l)
{
    struct disk *disk = fixture_open(f);
    memset(l, 0, sizeof *l);
    int rc = disk_load(disk, on_load, l, f->err, sizeof f->err);
    if (rc != 0) {
        fail_msg("%s", f->err);
    }
    return disk;
}

static void entries_come_back_after_reopen(void **state)
{
    struct fixture *f = *state;
    struct seen s = {0};
    static struct loaded l;
    start(&s, fixture_member(f));
    append(s.disk, 2, 10, 1, 0);
    append(s.disk, 12, 100, 2, 200);
    append(s.disk, 112, 3, 3, 100000); /* overflow pages */
    assert_int_equal(disk_persist_vote(s.disk, 3, 1), 0);
    wait_for_index(&s, 114);
    assert_int_equal(s.term, 3);
    assert_int_equal(disk_state(s.disk)->last_index, 114);
    assert_int_equal(disk_queued_bytes(s.disk), 0);
    assert_true(disk_used_bytes(s.disk) > 300000);
    stop(&s);
    assert_int_equal(s.entries, 113);
    struct disk *disk = reload(f, &l);
    assert_int_equal(l.first, 1);
    assert_int_equal(l.last, 114);
    assert_int_equal(l.terms[2], 1);
    assert_int_equal(l.terms[12], 2);
    assert_int_equal(l.terms[114], 3);
    assert_int_equal(disk_state(disk)->term, 3);
    assert_int_equal(disk_state(disk)->vote, 1);
    assert_int_equal(disk_state(disk)->first_index, 1);
    assert_int_equal(disk_state(disk)->last_index, 114);
    disk_close(disk, NULL, NULL);
}

static void an_append_replaces_the_tail(void **state)
{
    struct fixture *f = *state;
    struct seen s = {0};
    static struct loaded l;
    start(&s, fixture_member(f));
    append(s.disk, 2, 50, 1, 20);
    wait_for_index(&s, 51);
    append(s.disk, 30, 5, 2, 20);
    assert_int_equal(disk_persist_vote(s.disk, 2, 0), 0);
    stop(&s);
    assert_int_equal(s.index, 34);
    assert_int_equal(s.term, 2);
    struct disk *disk = reload(f, &l);
    assert_int_equal(l.last, 34);
    assert_int_equal(l.terms[29], 1);
    assert_int_equal(l.terms[30], 2);
    disk_close(disk, NULL, NULL);
}

static void a_tail_cut_in_the_same_commit_is_not_acknowledged(void **state)
{
    struct fixture *f = *state;
    struct seen s = {0};
    static struct loaded l;
    /* Queued before the thread starts, so all of it is one commit. */
    struct disk *disk = fixture_member(f);
    append(disk, 2, 50, 1, 20);
    append(disk, 10, 2, 1, 30);
    start(&s, disk);
    stop(&s);
    assert_int_equal(s.commits, 1);
    assert_int_equal(s.appended, 1);
    assert_int_equal(s.index, 11);
    disk = reload(f, &l);
    assert_int_equal(l.last, 11);
    disk_close(disk, NULL, NULL);
}

static void what_waits_during_a_commit_is_one_commit(void **state)
{
    struct fixture *f = *state;
    struct seen s = {0};
    f->config.slow_commit_us = 20000;
    start(&s, fixture_member(f));
    for (uint64_t i = 2; i < 502; i++) {
        append(s.disk, i, 1, 1, 50);
    }
    wait_for_index(&s, 501);
    stop(&s);
    assert_int_equal(s.entries, 500);
    assert_in_range(s.commits, 1, 50); /* 2 or 3 unless the machine stalls */
    assert_true(s.appended <= s.commits);
}

static void one_commit_is_bounded_in_bytes(void **state)
{
    struct fixture *f = *state;
    struct seen s = {0};
    struct disk *disk = fixture_member(f);
    for (uint64_t i = 2; i < 26; i++) {
        append(disk, i, 1, 1, 1024 * 1024);
    }
    start(&s, disk);
    wait_for_index(&s, 25);
    stop(&s);
    assert_in_range(s.commits, 4, 24); /* 24 MiB at 8 MiB each, headers included */
}

static void compaction_leaves_a_contiguous_log(void **state)
{
    struct fixture *f = *state;
    struct seen s = {0};
    static struct loaded l;
    start(&s, fixture_member(f));
    append(s.disk, 2, 9999, 1, 40);
    wait_for_index(&s, 10000);
    struct snapshot_manifest m = fixture_manifest(f, 9000, 1);
    disk_record(s.disk, &m);
    disk_compact(s.disk, 8000);
    append(s.disk, 10001, 10, 1, 40);
    stop(&s);
    assert_int_equal(s.recorded, 1);
    assert_true(s.commits >= 1 + 8000 / WRITER_TRIM_ENTRIES);
    assert_int_equal(s.index, 10010);
    struct disk *disk = reload(f, &l);
    assert_int_equal(l.first, 8001);
    assert_int_equal(l.last, 10010);
    assert_true(disk_state(disk)->has_snapshot);
    assert_int_equal(disk_state(disk)->snapshot.index, 9000);
    assert_int_equal(disk_state(disk)->snapshot.digest, 63000);
    assert_memory_equal(disk_state(disk)->snapshot.configuration.base, f->configuration.base,
                        f->configuration.size);
    disk_close(disk, NULL, NULL);
}

static void a_log_compacted_to_its_end_goes_on_behind_the_snapshot(void **state)
{
    struct fixture *f = *state;
    struct seen s = {0}, t = {0};
    static struct loaded l;
    start(&s, fixture_member(f));
    append(s.disk, 2, 99, 1, 40);
    struct snapshot_manifest m = fixture_manifest(f, 100, 1);
    disk_record(s.disk, &m);
    disk_compact(s.disk, 100);
    stop(&s);
    struct disk *disk = reload(f, &l);
    assert_int_equal(l.last, 0);
    assert_int_equal(disk_state(disk)->first_index, 101);
    assert_int_equal(disk_state(disk)->last_index, 100);
    start(&t, disk);
    append(t.disk, 101, 1, 1, 40);
    stop(&t);
    disk = reload(f, &l);
    assert_int_equal(l.first, 101);
    assert_int_equal(l.last, 101);
    disk_close(disk, NULL, NULL);
}

static void an_install_replaces_the_log(void **state)
{
    struct fixture *f = *state;
    struct seen s = {0};
    static struct loaded l;
    start(&s, fixture_member(f));
    append(s.disk, 2, 99, 1, 40);
    assert_int_equal(disk_persist_vote(s.disk, 5, 2), 0);
    struct snapshot_manifest m = fixture_manifest(f, 5000, 4);
    disk_install(s.disk, &m);
    append(s.disk, 5001, 2, 5, 40);
    stop(&s);
    assert_int_equal(s.installed, 1);
    assert_int_equal(s.index, 5002);
    struct disk *disk = reload(f, &l);
    assert_int_equal(l.first, 5001);
    assert_int_equal(l.last, 5002);
    assert_int_equal(disk_state(disk)->snapshot.index, 5000);
    assert_int_equal(disk_state(disk)->snapshot.term, 4);
    disk_close(disk, NULL, NULL);
}

static void appends_an_install_swallowed_are_not_acknowledged(void **state)
{
    struct fixture *f = *state;
    struct seen s = {0};
    struct disk *disk = fixture_member(f);
    append(disk, 2, 99, 1, 40);
    struct snapshot_manifest m = fixture_manifest(f, 5000, 1);
    disk_install(disk, &m);
    start(&s, disk);
    stop(&s);
    assert_int_equal(s.commits, 1);
    assert_int_equal(s.installed, 1);
    assert_int_equal(s.appended, 0);
}

static void the_newest_two_manifests_are_kept(void **state)
{
    struct fixture *f = *state;
    struct seen s = {0};
    start(&s, fixture_member(f));
    append(s.disk, 2, 99, 1, 40);
    for (uint64_t i = 10; i <= 50; i += 10) {
        struct snapshot_manifest m = fixture_manifest(f, i, 1);
        disk_record(s.disk, &m);
    }
    while (s.recorded < 5) {
        uv_run(&s.loop, UV_RUN_ONCE);
    }
    assert_int_equal(disk_state(s.disk)->snapshot.index, 50);
    struct MDB_txn *txn;
    MDB_stat stat;
    assert_int_equal(logdb_begin(&s.disk->db, false, &txn), 0);
    assert_int_equal(mdb_stat(txn, s.disk->db.snapshots, &stat), 0);
    assert_int_equal(stat.ms_entries, 2);
    logdb_abort(txn);
    stop(&s);
}

static void a_failed_commit_ends_writing(void **state)
{
    struct fixture *f = *state;
    static const int errors[] = {EIO, ENOSPC, MDB_MAP_FULL};
    static const int errnos[] = {EIO, ENOSPC, ENOSPC};
    static const int returned[] = {ASSENT_IO, ASSENT_IO, ASSENT_IO};
    for (size_t k = 0; k < sizeof errors / sizeof errors[0]; k++) {
        struct seen s = {0};
        static struct loaded l;
        remove_tree(f->dir);
        f->config.fail_commit_at = 3;
        f->config.fail_errno = errors[k];
        start(&s, fixture_member(f));
        append(s.disk, 2, 5, 1, 40);
        wait_for_index(&s, 6);
        append(s.disk, 7, 5, 1, 40);
        wait_for_index(&s, 11);
        append(s.disk, 12, 5, 1, 40); /* the third */
        while (s.failed == 0) {
            uv_run(&s.loop, UV_RUN_ONCE);
        }
        append(s.disk, 17, 5, 1, 40);
        assert_int_equal(disk_persist_vote(s.disk, 9, 1), returned[k]);
        assert_int_equal(disk_state(s.disk)->term, 1);
        assert_int_equal(disk_queued_bytes(s.disk), 0);
        stop(&s);
        assert_int_equal(s.failed, 1);
        assert_int_equal(s.error, errnos[k]);
        assert_non_null(strstr(s.what, f->dir));
        assert_int_equal(s.after_failure, 0);
        assert_int_equal(s.index, 11);
        f->config.fail_commit_at = 0;
        struct disk *disk = reload(f, &l);
        assert_int_equal(l.last, 11);
        disk_close(disk, NULL, NULL);
    }
}

static void a_vote_that_cannot_be_written_is_an_error(void **state)
{
    struct fixture *f = *state;
    struct seen s = {0};
    f->config.fail_commit_at = 1;
    f->config.fail_errno = ENOSPC;
    start(&s, fixture_member(f));
    assert_int_equal(disk_persist_vote(s.disk, 9, 1), ASSENT_NO_SPACE);
    assert_int_equal(disk_state(s.disk)->term, 1);
    assert_int_equal(disk_persist_vote(s.disk, 9, 1), ASSENT_IO);
    stop(&s);
    assert_int_equal(s.failed, 1);
}

static void a_full_map_is_reported_as_no_space(void **state)
{
    struct fixture *f = *state;
    struct seen s = {0};
    static struct loaded l;
    f->config.map_bytes = 1024 * 1024;
    start(&s, fixture_member(f));
    for (uint64_t i = 2; s.failed == 0; i++) {
        append(s.disk, i, 1, 1, 10000);
        uv_run(&s.loop, UV_RUN_ONCE);
        assert_true(i < 1000);
    }
    stop(&s);
    assert_int_equal(s.failed, 1);
    assert_int_equal(s.error, ENOSPC);
    assert_non_null(strstr(s.what, "map"));
    struct disk *disk = reload(f, &l);
    assert_int_equal(l.last, s.index);
    disk_close(disk, NULL, NULL);
}

/* The mount lives in a namespace of this process, so it is gone when the process ends, however it ends. */
static bool mount_small(const char *at)
{
    return mkdir(at, 0700) == 0 && unshare(CLONE_NEWNS) == 0 &&
           mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("none", at, "tmpfs", 0, "size=8m") == 0;
}

static void a_full_disk_keeps_what_was_acknowledged(void **state)
{
    struct fixture *f = *state;
    struct seen s = {0};
    static struct loaded l;
    char small[256];
    snprintf(small, sizeof small, "%s/small", f->dir);
    if (!mount_small(small)) {
        fprintf(stderr, "SKIPPED: a full disk needs root to mount a small tmpfs (%s)\n", strerror(errno));
        skip();
    }
    f->config.dir = small;
    f->config.presize_bytes = 1024 * 1024;
    start(&s, fixture_member(f));
    assert_true(disk_free_bytes(s.disk) < 8 * 1024 * 1024);
    for (uint64_t i = 2; s.failed == 0 && i < 5000; i++) {
        append(s.disk, i, 1, 1, 20000);
        uv_run(&s.loop, UV_RUN_ONCE);
    }
    stop(&s);
    assert_int_equal(s.failed, 1);
    assert_int_equal(s.error, ENOSPC);
    struct disk *disk = reload(f, &l);
    assert_true(s.index > 100);
    assert_int_equal(l.last, s.index); /* on a disk that is still full */
    disk_close(disk, NULL, NULL);
}

static int small_teardown(void **state)
{
    struct fixture *f = *state;
    char small[256];
    snprintf(small, sizeof small, "%s/small", f->dir);
    umount2(small, MNT_DETACH);
    return fixture_teardown(state);
}

/* In the child: append for ever, say through the pipe what is acknowledged. */
static void write_until_killed(struct fixture *f, int fd)
{
    struct seen s = {.report_fd = fd};
    static struct loaded l;
    struct disk *disk = reload(f, &l);
    uint64_t next = l.last + 1;
    start(&s, disk);
    for (;;) {
        append(disk, next, 3, 1, 300);
        next += 3;
        if (next - s.index > 300) {
            uv_run(&s.loop, UV_RUN_ONCE);
        } else {
            uv_run(&s.loop, UV_RUN_NOWAIT);
        }
    }
}

static void acknowledged_entries_survive_a_kill(void **state)
{
    struct fixture *f = *state;
    static struct loaded l;
    f->config.presize_bytes = 1024 * 1024;
    disk_close(fixture_member(f), NULL, NULL);
    for (int round = 0; round < 8; round++) {
        int fds[2];
        assert_int_equal(pipe(fds), 0);
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            alarm(60);
            setenv("CMOCKA_TEST_ABORT", "1",
                   1); /* a failed assertion must not run the other tests here too */
            close(fds[0]);
            write_until_killed(f, fds[1]);
        }
        close(fds[1]);
        uint64_t acknowledged = 0, index;
        int reports = 0;
        while (read(fds[0], &index, sizeof index) == (ssize_t)sizeof index) {
            acknowledged = index;
            if (++reports == 3 + round * 7) {
                kill(child, SIGKILL); /* in the middle of whatever it is doing */
            }
        }
        close(fds[0]);
        waitpid(child, NULL, 0);
        struct disk *disk = reload(f, &l);
        assert_true(acknowledged > 1);
        assert_true(l.last >= acknowledged);
        disk_close(disk, NULL, NULL);
    }
}

static void closing_finishes_what_is_queued(void **state)
{
    struct fixture *f = *state;
    struct seen s = {0};
    f->config.slow_commit_us = 5000;
    start(&s, fixture_member(f));
    for (uint64_t i = 2; i < 100; i++) {
        append(s.disk, i, 1, 1, 10);
    }
    stop(&s);
    assert_int_equal(s.index, 99);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        CASE(entries_come_back_after_reopen),
        CASE(an_append_replaces_the_tail),
        CASE(a_tail_cut_in_the_same_commit_is_not_acknowledged),
        CASE(what_waits_during_a_commit_is_one_commit),
        CASE(one_commit_is_bounded_in_bytes),
        CASE(compaction_leaves_a_contiguous_log),
        CASE(a_log_compacted_to_its_end_goes_on_behind_the_snapshot),
        CASE(an_install_replaces_the_log),
        CASE(appends_an_install_swallowed_are_not_acknowledged),
        CASE(the_newest_two_manifests_are_kept),
        CASE(a_failed_commit_ends_writing),
        CASE(a_vote_that_cannot_be_written_is_an_error),
        CASE(a_full_map_is_reported_as_no_space),
        cmocka_unit_test_setup_teardown(a_full_disk_keeps_what_was_acknowledged, fixture_setup,
                                        small_teardown),
        CASE(acknowledged_entries_survive_a_kill),
        CASE(closing_finishes_what_is_queued),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
