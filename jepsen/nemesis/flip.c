/* A bit of a dead node's log or snapshot flips; the node must refuse to serve with it, and say what is
 * damaged. Then it gets back what it had: a damaged replica is mended by an operator, not by luck. */
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "http.h"
#include "nemesis.h"

#define LOG_FILE "log/data.mdb"
#define START_MS 15000

enum { FLIP_LOG, FLIP_SNAPSHOT };
static const char *const flip_shapes[] = {"log", "snapshot", NULL};

static bool copy_file(const char *from, const char *to)
{
    return sut_command(-1, "cp --sparse=always %s %s", from, to) == 0;
}

static char *read_file(const char *path, size_t *size)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *all = fd >= 0 && fstat(fd, &st) == 0 ? malloc((size_t)st.st_size + 1) : NULL;
    if (all != NULL && pread(fd, all, (size_t)st.st_size, 0) != (ssize_t)st.st_size) {
        free(all);
        all = NULL;
    }
    if (fd >= 0)
        close(fd);
    *size = all != NULL ? (size_t)st.st_size : 0;
    return all;
}

static bool flip_at(const char *path, size_t at, char byte, uint32_t bit)
{
    char other = (char)(byte ^ (1 << bit));
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && pwrite(fd, &other, 1, (off_t)at) == 1;
    if (fd >= 0)
        close(fd);
    return done;
}

/* Flip a bit in each place that holds the text: how many places. */
static int flip_text(const char *path, const char *text)
{
    size_t size, length = strlen(text);
    char *all = read_file(path, &size);
    int found = 0;
    for (char *at = all; at != NULL && (at = memmem(at, size - (size_t)(at - all), text, length)) != NULL;
         at += length)
        found += flip_at(path, (size_t)(at - all), *at, 4);
    free(all);
    return found;
}

static bool flip_anywhere(struct run *r, const char *path)
{
    size_t size;
    char *all = read_file(path, &size);
    bool done = false;
    if (size > 0) {
        size_t at = nemesis_chance(r, size);
        done = flip_at(path, at, all[at], (uint32_t)nemesis_chance(r, 8));
    }
    free(all);
    return done;
}

/* An entry that everybody has, with a text to find it by; `behind` gets an index that it stands behind. */
static bool plant(struct run *r, char *text, size_t size, uint64_t *behind)
{
    struct http_answer a;
    int leader = sut_leader(&r->sut);
    if (leader < 0)
        return false;
    snprintf(text, size, "jepsen-flip-%llu", (unsigned long long)run_now_ns(r));
    *behind = nemesis_index(r, (uint32_t)leader, "commitIndex");
    json_t *body = json_pack("{s:s}", "clock", text);
    http_ask(r->sut.nodes[leader].base, "POST", "/api/v1/lamport/tick", text, body, 5000, false, &a);
    bool done = *behind > 0 && a.outcome == HTTP_DONE;
    http_close(&a);
    json_decref(body);
    return done && sut_settled(&r->sut, 20000);
}

/* A planted entry, with the node killed so soon behind it that no snapshot can have swept it from the log. */
static bool plant_and_kill(struct run *r, uint32_t i, char *text, size_t size)
{
    uint64_t behind;
    for (int k = 0; k < 20; k++) {
        if (plant(r, text, size, &behind)) {
            uint64_t snapshot = nemesis_index(r, i, "snapshotIndex"), index = nemesis_index(r, i, "index");
            bool far = r->sut.snapshot_entries == 0 || index < snapshot + r->sut.snapshot_entries / 2;
            if (behind > snapshot && index > behind && far) {
                sut_kill(&r->sut, i);
                return true;
            }
        }
        sut_nap(50);
    }
    return false;
}

/* The path of the node's newest snapshot; false: it has none. */
static bool newest_snapshot(const struct run *r, uint32_t i, char *path, size_t size)
{
    char pattern[400];
    glob_t found; /* names begin with the index in hexadecimal digits, so the last is the newest */
    snprintf(pattern, sizeof pattern, "%s/snapshots/*.snap", r->sut.nodes[i].dir);
    if (glob(pattern, 0, NULL, &found) != 0)
        return false;
    snprintf(path, size, "%s", found.gl_pathv[found.gl_pathc - 1]);
    globfree(&found);
    return true;
}

static bool log_says(const struct sut_node *n, off_t from, const char *what)
{
    char line[1024];
    bool said = false;
    FILE *f = fopen(n->log, "re");
    if (f != NULL && fseeko(f, from, SEEK_SET) == 0)
        while (!said && fgets(line, sizeof line, f) != NULL)
            said = strstr(line, what) != NULL;
    if (f != NULL)
        fclose(f);
    return said;
}

/* The damaged node is started: it must end with FAULT_EXIT and name `what`.  It is down afterwards. */
static void must_refuse(struct run *r, uint32_t i, const char *what)
{
    struct stat st;
    struct sut_node *n = &r->sut.nodes[i];
    off_t from = stat(n->log, &st) == 0 ? st.st_size : 0;
    sut_start(&r->sut, i);
    int status = sut_exit_status(&r->sut, i, START_MS);
    sut_kill(&r->sut, i);
    bool named = log_says(n, from, what);
    if (status != FAULT_EXIT || !named)
        run_violation(r, "node-%u with a damaged %sended with %d (-1: it ran) and %s it", i + 1,
                      what[0] == '.' ? "snapshot " : what, status, named ? "named" : "did not name");
}

/* Damage node `i`, see it refuse, put back what it had.  The node is down afterwards. */
static bool flip_once(struct run *r, uint32_t i, uint32_t shape, char *text, size_t size)
{
    char needle[64], path[700], copy[400];
    snprintf(path, sizeof path, "%s/" LOG_FILE, r->sut.nodes[i].dir);
    snprintf(copy, sizeof copy, "%s.before-flip", r->sut.nodes[i].dir);
    if (!plant_and_kill(r, i, needle, sizeof needle))
        return false;
    if (shape == FLIP_SNAPSHOT && !newest_snapshot(r, i, path, sizeof path))
        return false;
    if (!copy_file(path, copy))
        return false;
    bool damaged = shape == FLIP_SNAPSHOT ? flip_anywhere(r, path) : flip_text(path, needle) > 0;
    if (damaged)
        must_refuse(r, i, shape == FLIP_SNAPSHOT ? ".snap" : "entry ");
    if (!copy_file(copy, path))
        run_violation(r, "harness error: %s could not be put back", path);
    unlink(copy);
    snprintf(text, size, "node-%u finds a flipped bit in its %s", i + 1, flip_shapes[shape]);
    return damaged;
}

static bool flip_begin(struct run *r, uint32_t shape, char *text, size_t size)
{
    bool done = flip_once(r, nemesis_target(r), shape, text, size);
    if (!done)
        nemesis_start_all(r);
    return done;
}

static bool flip_calibrate(struct run *r, char *why, size_t size)
{
    snprintf(why, size, "an entry of the log could not be found and damaged");
    bool done = flip_once(r, 0, FLIP_LOG, why, size);
    if (r->violation[0] != 0) /* a finding about the product, kept as such by the run */
        snprintf(why, size, "%s", r->violation);
    nemesis_start_all(r);
    return done;
}

const struct fault fault_flip = {
    .name = "flip",
    .what = "a bit flips in a dead node's log or snapshot; the node must refuse it by name, and gets it back",
    .shapes = flip_shapes,
    .begin = flip_begin,
    .end = nemesis_start_all,
    .calibrate = flip_calibrate,
    .alone = true};
