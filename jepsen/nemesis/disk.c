/* Faults of a node's disk: power cut, full, failing.
 *
 * They damage a node's directory and never learn anything from it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "http.h"
#include "nemesis.h"
#include "watch.h"

static void path_in(const struct run *r, uint32_t i, const char *name, char *out, size_t size)
{
    snprintf(out, size, "%s/%s", r->sut.nodes[i].dir, name);
}

/* ---- power: what nobody synced is lost ---- */

static void power_cut(struct run *r, uint32_t i, bool running)
{
    if (!running)
        sut_kill(&r->sut, i);
    if (!disk_cut(&r->sut, i))
        run_violation(r, "harness error: the disk of node-%u did not shut down", i + 1);
    sut_kill(&r->sut, i); /* otherwise it meets a dead disk first, for a moment */
    if (!disk_again(&r->sut, i))
        run_violation(r, "harness error: the disk of node-%u cannot be mounted again", i + 1);
}

enum { POWER_ONE, POWER_RUNNING, POWER_ALL, POWER_ALL_RUNNING };
static const char *const power_shapes[] = {"one", "running", "all", "all-running", NULL};

static bool power_begin(struct run *r, uint32_t shape, char *text, size_t size)
{
    uint32_t i = nemesis_target(r);
    bool all = shape >= POWER_ALL, running = shape == POWER_RUNNING || shape == POWER_ALL_RUNNING;
    if (all) { /* at one moment, as far as that is possible */
        for (uint32_t k = 0; !running && k < r->sut.n; k++)
            sut_kill(&r->sut, k);
        for (uint32_t k = 0; k < r->sut.n; k++)
            if (!disk_cut(&r->sut, k))
                run_violation(r, "harness error: the disk of node-%u did not shut down", k + 1);
        for (uint32_t k = 0; k < r->sut.n; k++)
            sut_kill(&r->sut, k);
        for (uint32_t k = 0; k < r->sut.n; k++)
            if (!disk_again(&r->sut, k))
                run_violation(r, "harness error: the disk of node-%u cannot be mounted again", k + 1);
    } else {
        power_cut(r, i, running);
    }
    snprintf(text, size, all ? "power cut of all%s%.0u" : "power cut%s of node-%u",
             running ? ", the disk a moment before," : "", all ? 0 : i + 1);
    return true;
}

static bool probe_write(const char *path, bool sync)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && write(fd, "probe", 5) == 5 && (!sync || fsync(fd) == 0);
    if (fd >= 0)
        close(fd);
    return ok;
}

static bool probe_there(const char *path)
{
    char text[8] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool there = fd >= 0 && read(fd, text, 5) == 5 && memcmp(text, "probe", 5) == 0;
    if (fd >= 0)
        close(fd);
    return there;
}

static bool power_calibrate(struct run *r, char *why, size_t size)
{
    char synced[400], unsynced[400];
    path_in(r, 0, "probe-synced", synced, sizeof synced);
    path_in(r, 0, "probe-unsynced", unsynced, sizeof unsynced);
    sut_kill(&r->sut, 0);
    /* In this order: syncing a file may take along what was written before it. */
    bool written = probe_write(synced, true) && probe_write(unsynced, false);
    power_cut(r, 0, false);
    bool kept = probe_there(synced), lost = !probe_there(unsynced);
    unlink(synced);
    unlink(unsynced);
    nemesis_start_all(r);
    snprintf(why, size, "written %d, the synced probe was %s, the unsynced one %s; %s", written,
             kept ? "kept" : "LOST", lost ? "lost" : "KEPT", r->violation);
    return written && kept && lost && r->violation[0] == 0;
}

const struct fault fault_power = {.name = "power",
                                  .what = "power cut: what a node, or all, did not sync is lost",
                                  .shapes = power_shapes,
                                  .begin = power_begin,
                                  .end = nemesis_start_all,
                                  .calibrate = power_calibrate,
                                  .needs = SUT_DISKS,
                                  .may_die = true};

/* ---- full ---- */

/* A file that takes all room there is, or what leaves `leave` bytes. */
static bool balloon(const struct run *r, uint32_t i, uint64_t leave)
{
    char path[400];
    struct statvfs v;
    path_in(r, i, "balloon", path, sizeof path);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || fstatvfs(fd, &v) != 0) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    uint64_t room = (uint64_t)v.f_bavail * v.f_frsize, take = room > leave ? room - leave : 0, have = 0;
    for (uint64_t piece = take; piece >= 4096 && have + 4096 <= take;) {
        if (fallocate(fd, 0, (off_t)have, (off_t)piece) == 0)
            have += piece;
        else
            piece /= 2;
    }
    close(fd);
    return true;
}

static const char *const full_shapes[] = {"full", "nearly", "reserve", NULL};

static bool full_begin(struct run *r, uint32_t shape, char *text, size_t size)
{
    static const uint64_t left[] = {0, 1 << 20, 32 << 20}; /* the last: below the reserve of the node only */
    uint32_t i = nemesis_target(r);
    uint64_t leave = left[shape];
    snprintf(text, size, "disk of node-%u is full but for %llu bytes", i + 1, (unsigned long long)leave);
    return balloon(r, i, leave);
}

static void full_end(struct run *r)
{
    for (uint32_t i = 0; i < r->sut.n; i++) {
        char path[400];
        path_in(r, i, "balloon", path, sizeof path);
        unlink(path);
    }
    watch_deaths(r, true, " a failing disk");
    nemesis_start_all(r);
}

/* Bytes of a megabyte that can be written to a new file. */
static size_t room_for_a_megabyte(const struct run *r, uint32_t i)
{
    static char block[65536];
    char path[400];
    size_t written = 0;
    memset(block, 'x', sizeof block);
    path_in(r, i, "probe", path, sizeof path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    for (ssize_t n; fd >= 0 && written < 1 << 20 && (n = write(fd, block, sizeof block)) > 0;)
        written += (size_t)n;
    if (fd >= 0)
        close(fd);
    unlink(path);
    return written;
}

static bool full_calibrate(struct run *r, char *why, size_t size)
{
    sut_kill(&r->sut, 0);
    size_t before = room_for_a_megabyte(r, 0);
    bool blown = balloon(r, 0, 0);
    size_t during = room_for_a_megabyte(r, 0);
    full_end(r);
    size_t after = room_for_a_megabyte(r, 0);
    snprintf(why, size,
             "balloon %d; of a megabyte %zu bytes could be written before, %zu when full, %zu after", blown,
             before, during, after);
    return blown && before == 1 << 20 && during < 65536 && after == 1 << 20;
}

const struct fault fault_full = {.name = "full",
                                 .what = "a node's disk is full, or nearly",
                                 .shapes = full_shapes,
                                 .begin = full_begin,
                                 .end = full_end,
                                 .calibrate = full_calibrate,
                                 .needs = SUT_DISKS,
                                 .may_die = true};

/* ---- eio: the disk fails under a running node ---- */

static bool eio_begin(struct run *r, uint32_t shape, char *text, size_t size)
{
    (void)shape;
    uint32_t i = nemesis_target(r);
    snprintf(text, size, "disk of node-%u fails: EIO", i + 1);
    return disk_cut(&r->sut, i);
}

/* What the kernel says about pages after a failed sync is not to be trusted, so the power goes too. */
static void eio_end(struct run *r)
{
    for (uint32_t i = 0; i < r->sut.n; i++) {
        char path[400];
        path_in(r, i, "probe", path, sizeof path);
        if (probe_write(path, false)) {
            unlink(path);
            continue;
        }
        sut_kill(&r->sut, i);
        if (!disk_again(&r->sut, i))
            run_violation(r, "harness error: the disk of node-%u cannot be mounted again", i + 1);
    }
    watch_deaths(r, true, " a failing disk");
    nemesis_start_all(r);
}

static bool eio_calibrate(struct run *r, char *why, size_t size)
{
    char path[400];
    path_in(r, 0, "probe", path, sizeof path);
    sut_kill(&r->sut, 0);
    bool before = probe_write(path, true), cut = disk_cut(&r->sut, 0), during = probe_write(path, false);
    int error = errno;
    eio_end(r);
    bool after = probe_write(path, true);
    unlink(path);
    snprintf(why, size, "a write worked before %d, after the failure %d (%s), after mending %d; %s", before,
             during, strerror(error), after, r->violation);
    return before && cut && !during && error == EIO && after && r->violation[0] == 0;
}

const struct fault fault_eio = {.name = "eio",
                                .what = "a node's disk fails under it; then the power goes",
                                .begin = eio_begin,
                                .end = eio_end,
                                .calibrate = eio_calibrate,
                                .needs = SUT_DISKS,
                                .may_die = true};
