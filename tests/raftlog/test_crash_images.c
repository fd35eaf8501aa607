/* Every place where a crash, or an error of the disk, can hit the real bindings of LMDB.
 *
 * A scripted workload runs once while every write and sync is recorded.  For each of these moments the files
 * are built as a crash there could leave them: all writes, only synced ones, and by seed any subset of the
 * rest, torn at sectors.  Production code opens each image; what was acknowledged must be there and nothing
 * that was never written.  Then the same with errors instead: the k-th write or sync fails, for every k.
 * Source: Pillai et al., "All File Systems Are Not Created Equal", 2014; Rebello et al., "Can Applications
 * Recover from fsync Failures?", 2020.
 *
 * Bugs planted in the same code must be found by the same images. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <errno.h>

#include "crash_images.h"
#include "disk_trace.h"
#include "planted.h"
#include "sm_harness.h"
#include "statemachine.h"

#define SEEDS 6

static char found[1024]; /* the first finding */

/* Judge one image.  True: nothing is wrong with it. */
static bool image_good(const struct image_judge *j, uint64_t point, enum trace_variant variant, uint64_t seed)
{
    static const char *const names[] = {"every write kept", "only synced writes", "some unsynced writes"};
    char dir[256];
    temp_dir_make(dir, sizeof dir);
    trace_image(dir, point, variant, seed);
    const char *why = j->judge(dir, point);
    temp_dir_remove(dir);
    if (why == NULL)
        return true;
    snprintf(found, sizeof found, "%s, crash before event %llu of %zu, %s, seed %llu: %s", j->name,
             (unsigned long long)point, trace_count(), names[variant], (unsigned long long)seed, why);
    return false;
}

/* All images.  `killed`: only those of a process that died while the system lived on.  False: one is wrong.
 */
static bool images_good(const struct image_judge *j, bool killed, uint64_t *images)
{
    for (uint64_t point = 0; point <= trace_count(); point++) {
        if (point < trace_count() && trace_at(point)->type == TRACE_NOTE)
            continue; /* the disk is as at the next event */
        if (!image_good(j, point, TRACE_ALL, 0) || (!killed && !image_good(j, point, TRACE_SYNCED, 0)))
            return false;
        *images += 2;
        for (uint64_t seed = 1; !killed && seed <= SEEDS; seed++, ++*images)
            if (!image_good(j, point, TRACE_ANY, seed * 1000003 + point))
                return false;
    }
    return true;
}

/* Run the workload under the recorder. */
static bool record(const struct image_judge *j, char *dir, size_t size)
{
    temp_dir_make(dir, size);
    trace_begin(dir);
    bool ended_well = j->run(dir);
    trace_end();
    return ended_well;
}

static void forget(const char *dir)
{
    trace_free();
    temp_dir_remove(dir);
}

static void crash_everywhere(const struct image_judge *j)
{
    char dir[256], why[256] = "";
    uint64_t images = 0;
    assert_true(record(j, dir, sizeof dir));
    if (!trace_complete(why, sizeof why))
        fail_msg("the recorder missed something: %s", why);
    trace_quick(true);
    if (!images_good(j, false, &images))
        fail_msg("%s", found);
    trace_quick(false);
    print_message("%s: %zu events, %llu images\n", j->name, trace_count(), (unsigned long long)images);
    assert_true(images > 400);
    forget(dir);
}

static void an_acknowledged_entry_vote_or_snapshot_survives_every_crash(void **state)
{
    (void)state;
    crash_everywhere(&log_judge);
}

static void a_store_that_is_kept_agrees_with_its_applied_index(void **state)
{
    (void)state;
    crash_everywhere(&store_judge);
}

/* Bytes that were synced come back from before their last write, as a lying disk or a restored copy gives
 * them; the witness remembers.  Such a node must not vote again. */
static void an_older_state_of_the_log_is_refused_by_name(void **state)
{
    char dir[256], image[256];
    uint32_t refused = 0;
    uint64_t newest = 0;
    (void)state;
    assert_true(record(&log_judge, dir, sizeof dir));
    for (uint64_t i = 0; i < trace_count(); i++)
        if (trace_at(i)->type == TRACE_WRITE && trace_at(i)->durable)
            newest = i; /* the head that ends the last commit */
    trace_quick(true);
    for (uint64_t point = 0; point <= newest; point++) {
        if (trace_at(point)->type != TRACE_WRITE || !trace_at(point)->durable)
            continue;
        temp_dir_make(image, sizeof image);
        trace_image_remembered(image, point);
        const char *why = log_judge.judge(image, trace_count());
        temp_dir_remove(image);
        if (why == NULL || strncmp(why, "refused, CORRUPT", 16) != 0)
            fail_msg("the log as it was before event %llu: %s", (unsigned long long)point,
                     why != NULL ? why : "taken for the newest");
        assert_non_null(strstr(why, "Nothing was changed"));
        refused++;
    }
    trace_quick(false);
    print_message("log: %u older states\n", refused);
    assert_true(refused > 10);
    forget(dir);
}

/* The k-th write or sync fails, for every k.  `half`: a write was cut short. */
static void fail_everywhere(const struct image_judge *j, int error, bool half)
{
    char dir[256];
    uint64_t calls = UINT64_MAX, images = 0;
    trace_quick(true);
    for (uint64_t k = 1; k <= calls; k++) {
        temp_dir_make(dir, sizeof dir);
        trace_begin(dir);
        trace_fail(k, error, half);
        bool well = j->run(dir);
        trace_end();
        if (trace_calls() < k) { /* the workload has fewer */
            calls = trace_calls();
            assert_true(well);
        }
        if (log_told_after_failure() != 0)
            fail_msg("call %llu failed and something was acknowledged after that", (unsigned long long)k);
        if (log_failures_told() > 1)
            fail_msg("call %llu failed and that was told %u times", (unsigned long long)k,
                     log_failures_told());
        if (!image_good(j, trace_count(), TRACE_ALL, 0) || !image_good(j, trace_count(), TRACE_SYNCED, 0) ||
            !image_good(j, trace_count(), TRACE_ANY, k) || !image_good(j, trace_count(), TRACE_ANY, k + 7777))
            fail_msg("call %llu returned %s: %s", (unsigned long long)k, strerror(error), found);
        images += 4;
        forget(dir);
    }
    trace_quick(false);
    print_message("%s: %llu calls failed one by one, %llu images\n", strerror(error),
                  (unsigned long long)calls, (unsigned long long)images);
    assert_true(calls > 50);
}

static void an_error_of_the_disk_ends_writing_and_loses_nothing(void **state)
{
    (void)state;
    fail_everywhere(&log_judge, EIO, false);
}

static void a_full_disk_ends_writing_and_loses_nothing(void **state)
{
    (void)state;
    fail_everywhere(&log_judge, ENOSPC, true);
}

enum { ENDED = 0, BROKEN = 70, WRONG = 3 };
static char store_dir[256];

static void on_broken(void *data, const char *sentence)
{
    const int *out = data;
    trace_end();
    bool good = strlen(sentence) > 0 && image_good(&store_judge, trace_count(), TRACE_ALL, 0) &&
                image_good(&store_judge, trace_count(), TRACE_SYNCED, 0);
    dprintf(*out, "%s", found);
    temp_dir_remove(store_dir);
    _exit(good ? BROKEN : WRONG);
}

/* The k-th write or sync of the store fails, for every k: the process says so and ends, or had no need of it.
 */
static void an_error_under_the_store_ends_the_process_and_corrupts_nothing(void **state)
{
    uint32_t broken = 0, calls = 0;
    (void)state;
    for (bool more = true; more; calls++) {
        int ends[2], status = 0;
        char text[1024] = "";
        assert_int_equal(pipe(ends), 0);
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            temp_dir_make(store_dir, sizeof store_dir);
            trace_quick(true);
            sm_on_broken(on_broken, &ends[1]);
            trace_begin(store_dir);
            trace_fail(calls + 1, EIO, false);
            store_judge.run(store_dir);
            trace_end();
            bool good = image_good(&store_judge, trace_count(), TRACE_SYNCED, 0);
            dprintf(ends[1], "%s", found);
            temp_dir_remove(store_dir);
            _exit(!good ? WRONG : trace_calls() <= calls ? 1 : ENDED);
        }
        close(ends[1]);
        ssize_t got = read(ends[0], text, sizeof text - 1);
        close(ends[0]);
        assert_int_equal(waitpid(child, &status, 0), child);
        if (got > 0 || !WIFEXITED(status) || WEXITSTATUS(status) == WRONG)
            fail_msg("call %u failed: %s", calls + 1, got > 0 ? text : "the process died");
        broken += WEXITSTATUS(status) == BROKEN;
        more = WEXITSTATUS(status) != 1;
    }
    print_message("store: %u calls failed one by one, the process ended %u times\n", calls - 1, broken);
    assert_true(broken > 50);
}

/* ---- planted bugs: the same must be found ---- */

/* In a process of its own: what the images or the failures say. */
enum by { BY_KILL, BY_CRASH, BY_ERROR };
static void planted(enum planted bug, const struct image_judge *j, enum by by)
{
    int ends[2];
    char text[1024] = "";
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        char dir[256];
        uint64_t images = 0;
        assent_planted = bug;
        alarm(15); /* what an image made of any bytes does to production code need not end */
        bool good = true;
        if (by == BY_ERROR) {
            for (uint64_t k = 1; good && k < 200; k++) {
                temp_dir_make(dir, sizeof dir);
                trace_begin(dir);
                trace_fail(k, EIO, false);
                j->run(dir);
                trace_end();
                good = image_good(j, trace_count(), TRACE_SYNCED, 0);
                forget(dir);
            }
        } else {
            record(j, dir, sizeof dir);
            trace_quick(true);
            good = images_good(j, by == BY_KILL, &images);
            forget(dir);
        }
        dprintf(ends[1], "%s", found);
        _exit(good ? 0 : 1);
    }
    close(ends[1]);
    ssize_t got = read(ends[0], text, sizeof text - 1);
    close(ends[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    bool stopped = WIFSIGNALED(status);
    print_message("%s\n", got > 0   ? text
                          : stopped ? "production code met what cannot be, and stopped"
                                    : "nothing");
    assert_true(stopped || WEXITSTATUS(status) == 1);
}

static void a_reply_before_the_sync_is_found(void **state)
{
    (void)state;
    planted(PLANTED_REPLY_BEFORE_SYNC, &log_judge, BY_CRASH);
}

static void an_ignored_error_is_found(void **state)
{
    (void)state;
    planted(PLANTED_ERROR_IGNORED, &log_judge, BY_ERROR);
}

static void an_applied_index_of_its_own_is_found(void **state)
{
    (void)state;
    planted(PLANTED_INDEX_APART, &store_judge, BY_KILL);
}

static void a_store_kept_without_a_close_is_found(void **state)
{
    (void)state;
    planted(PLANTED_STORE_KEPT, &store_judge, BY_CRASH);
}

static void a_mark_before_its_sync_is_found(void **state)
{
    (void)state;
    planted(PLANTED_MARK_BEFORE_SYNC, &store_judge, BY_CRASH);
}

/* A pattern as argument: only the tests whose names fit it. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_acknowledged_entry_vote_or_snapshot_survives_every_crash),
        cmocka_unit_test(a_store_that_is_kept_agrees_with_its_applied_index),
        cmocka_unit_test(an_older_state_of_the_log_is_refused_by_name),
        cmocka_unit_test(an_error_of_the_disk_ends_writing_and_loses_nothing),
        cmocka_unit_test(a_full_disk_ends_writing_and_loses_nothing),
        cmocka_unit_test(an_error_under_the_store_ends_the_process_and_corrupts_nothing),
        cmocka_unit_test(a_reply_before_the_sync_is_found),
        cmocka_unit_test(an_ignored_error_is_found),
        cmocka_unit_test(an_applied_index_of_its_own_is_found),
        cmocka_unit_test(a_store_kept_without_a_close_is_found),
        cmocka_unit_test(a_mark_before_its_sync_is_found),
    };
    if (getenv("TMPDIR") == NULL && access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 1); /* what is durable the model says, so memory will do */
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
