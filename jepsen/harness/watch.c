/* What every run looks at; see watch.h. */
#include "watch.h"

#include <glob.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "crash.h"
#include "http.h"

#define SEEN         65536 /* indices remembered; an older one at the same place is forgotten */
#define ROOM_BYTES   (UINT64_C(1) << 30)
#define CATCH_UP_MS  30000
#define ONE_INDEX_MS 5000 /* in which everybody is at one index, unless the cluster never rests */

/* ---- ends ---- */

/* What a node says that cannot start is a plain sentence; once it runs it writes JSON. */
static bool could_not_start(const struct sut_node *n)
{
    char line[1024];
    bool plain = false;
    FILE *f = n->exit_status == 1 ? fopen(n->log, "re") : NULL;
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        plain = strncmp(line, "assentd: ", 9) == 0;
    if (f != NULL)
        fclose(f);
    return plain;
}

void watch_deaths(struct run *r, bool may_die, const char *under)
{
    uint32_t dead = sut_dead(&r->sut);
    for (uint32_t i = 0; i <= r->sut.n; i++) {
        int status = r->sut.nodes[i].exit_status;
        /* A fault may meet it while it starts. */
        if ((dead & (1u << i)) != 0 &&
            !(may_die && (status == FAULT_EXIT || could_not_start(&r->sut.nodes[i]))))
            run_violation(r, "node-%u ended by itself with %s %d under %s: see its log", r->sut.nodes[i].id,
                          status >= 256 ? "signal" : "status", status % 256, under);
    }
}

/* ---- replicas ---- */

struct seen {
    uint64_t index, digest;
    uint32_t node;
};

struct watch {
    struct seen at[SEEN];
    uint64_t compared; /* pairs */
};

static void compare(struct run *r, uint32_t node, uint64_t index, uint64_t digest)
{
    if (r->watch == NULL && (r->watch = calloc(1, sizeof *r->watch)) == NULL)
        abort();
    struct seen *s = &r->watch->at[index % SEEN];
    if (s->index == index && s->digest != digest)
        run_violation(
            r, "replicas differ at index %" PRIu64 ": node-%u has digest %016" PRIx64 ", node-%u %016" PRIx64,
            index, s->node, s->digest, node, digest);
    else if (s->index == index)
        r->watch->compared += s->node != node;
    else
        *s = (struct seen){index, digest, node};
}

/* Applied index of the node, compared on the way; 0: it does not say. */
static uint64_t applied(struct run *r, uint32_t i)
{
    struct http_answer a;
    const struct sut_node *n = &r->sut.nodes[i];
    if (n->pid == 0 || n->paused)
        return 0;
    http_ask(n->base, "GET", "/api/v1/cluster", NULL, NULL, 1000, true, &a);
    uint64_t index = (uint64_t)json_integer_value(json_object_get(a.data, "appliedIndex"));
    const char *digest = json_string_value(json_object_get(a.data, "digest"));
    if (a.outcome == HTTP_DONE && index > 0 && digest != NULL)
        compare(r, n->id, index, strtoull(digest, NULL, 16));
    bool answered = a.outcome == HTTP_DONE;
    http_close(&a);
    return answered ? index : 0;
}

void watch_replicas(struct run *r)
{
    for (uint32_t i = 0; i < r->sut.n; i++)
        applied(r, i);
}

/* How far the nodes are: the least and the greatest applied index. */
static void spread(struct run *r, uint64_t *least, uint64_t *most)
{
    *least = UINT64_MAX;
    *most = 0;
    for (uint32_t i = 0; i < r->sut.n; i++) {
        uint64_t index = applied(r, i);
        *least = index < *least ? index : *least;
        *most = index > *most ? index : *most;
    }
}

static void end_replicas(struct run *r)
{
    char text[128];
    uint64_t least, most, target, from = sut_now_ms();
    spread(r, &least, &target);
    do {
        spread(r, &least, &most);
        if (least == most && least > 0)
            break;
        sut_nap(20);
    } while (sut_now_ms() - from < (least >= target ? ONE_INDEX_MS : CATCH_UP_MS));
    if (least < target || target == 0)
        run_violation(r, "a node stands at index %" PRIu64 " %d s after others had applied %" PRIu64, least,
                      CATCH_UP_MS / 1000, target);
    snprintf(text, sizeof text,
             "replicas were compared %" PRIu64 " times; the last applied index is %" PRIu64,
             r->watch != NULL ? r->watch->compared : 0, most);
    run_nemesis_op(r, "replicas", text);
}

/* ---- room ---- */

bool watch_room(const char *dir, char *why, size_t why_size)
{
    struct statvfs v;
    if (statvfs(dir, &v) != 0 || (uint64_t)v.f_bavail * v.f_frsize >= ROOM_BYTES)
        return true;
    snprintf(why, why_size,
             "less than a gigabyte is free below %s: the nodes would meet a full disk that is no fault of "
             "this run",
             dir);
    return false;
}

/* ---- logs ---- */

static void end_logs(struct run *r)
{
    char pattern[300], line[1024];
    glob_t logs;
    snprintf(pattern, sizeof pattern, "%s/node-*.log", r->sut.dir);
    if (glob(pattern, 0, NULL, &logs) != 0)
        return;
    for (size_t i = 0; i < logs.gl_pathc; i++) {
        FILE *f = fopen(logs.gl_pathv[i], "re");
        while (f != NULL && fgets(line, sizeof line, f) != NULL)
            if (crash_line(line)) {
                line[strcspn(line, "\n")] = 0;
                run_violation(r, "%s: %.150s", strrchr(logs.gl_pathv[i], '/') + 1, line);
                break;
            }
        if (f != NULL)
            fclose(f);
    }
    globfree(&logs);
}

void watch_end(struct run *r)
{
    watch_deaths(r, false, "no fault");
    end_replicas(r);
    for (uint32_t i = 0; i < r->sut.n; i++)
        if (sut_stop(&r->sut, i) != 0)
            run_violation(r, "node-%u did not end with status 0 after SIGTERM at the end",
                          r->sut.nodes[i].id);
    end_logs(r);
}

void watch_close(struct run *r)
{
    free(r->watch);
    r->watch = NULL;
}
