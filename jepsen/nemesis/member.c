/* Changes of membership: a node with an empty directory comes, votes and goes; a voter becomes a non-voter
 * and a voter again; leadership is handed on. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "http.h"
#include "nemesis.h"

#define CHANGE_MS 20000

/* Ask the leader for a change.  False: not done, or nobody knows; `error` gets the code. */
static bool change(struct run *r, json_t *body, char error[64], const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static bool change(struct run *r, json_t *body, char error[64], const char *format, ...)
{
    char path[96];
    va_list args;
    va_start(args, format);
    vsnprintf(path, sizeof path, format, args);
    va_end(args);
    int leader = sut_leader(&r->sut);
    snprintf(error, 64, "nobody leads");
    bool done = false;
    if (leader >= 0) {
        struct http_answer a;
        http_ask(r->sut.nodes[leader].base, "POST", path, NULL, body, CHANGE_MS, false, &a);
        done = a.outcome == HTTP_DONE;
        snprintf(error, 64, "%s", a.error);
        http_close(&a);
    }
    json_decref(body);
    return done;
}

/* 1: the leader lists the node as a voter, 0: as a non-voter, -1: not at all, -2: nobody leads. */
static int listed(struct run *r, uint32_t id)
{
    int leader = sut_leader(&r->sut), is = -1;
    if (leader < 0)
        return -2;
    struct http_answer a;
    http_ask(r->sut.nodes[leader].base, "GET", "/api/v1/cluster", NULL, NULL, 2000, true, &a);
    if (a.outcome != HTTP_DONE)
        is = -2;
    size_t at;
    const json_t *node;
    json_array_foreach(json_object_get(a.data, "nodes"), at,
                       node) if (json_integer_value(json_object_get(node, "id")) == (json_int_t)id) is =
        json_is_true(json_object_get(node, "voter"));
    http_close(&a);
    return is;
}

static bool grow(struct run *r, char error[64])
{
    char address[64];
    const struct sut_node *node = &r->sut.nodes[sut_join(&r->sut)];
    snprintf(address, sizeof address, "%s:%u", node->host, node->raft);
    return change(r, json_pack("{s:i,s:s}", "id", (int)node->id, "address", address), error,
                  "/api/v1/cluster/members") &&
           change(r, json_object(), error, "/api/v1/cluster/members/%u/promote", node->id);
}

/* Until everybody is what it was at the start: repeated, as an operator would. */
static void member_end(struct run *r)
{
    char error[64];
    for (uint64_t from = sut_now_ms(); sut_now_ms() - from < 3 * CHANGE_MS; sut_nap(200)) {
        bool good = true;
        for (uint32_t i = 0; i < r->sut.n; i++) {
            uint32_t id = r->sut.nodes[i].id;
            int is = listed(r, id);
            good = good && is == 1;
            if (is == 0)
                change(r, json_object(), error, "/api/v1/cluster/members/%u/promote", id);
        }
        if (r->sut.nodes[r->sut.n].pid != 0) {
            uint32_t id = r->sut.nodes[r->sut.n].id;
            int is = listed(r, id);
            good = good && is == -1;
            if (is >= 0)
                change(r, json_object(), error, "/api/v1/cluster/members/%u/remove", id);
        }
        if (good) {
            sut_leave(&r->sut);
            return;
        }
    }
    run_violation(r, "the members could not be made what they were within %d s", 3 * CHANGE_MS / 1000);
}

enum { MEMBER_TRANSFER, MEMBER_DEMOTE, MEMBER_GROW };
static const char *const member_shapes[] = {"transfer", "demote", "grow", NULL};

static bool member_begin(struct run *r, uint32_t shape, char *text, size_t size)
{
    char error[64] = "";
    uint32_t i = nemesis_target(r);
    bool done;
    switch (shape) {
    case MEMBER_TRANSFER:
        done = change(r, json_object(), error, "/api/v1/cluster/transfer");
        snprintf(text, size, "leadership is handed on%s%s", done ? "" : ": ", error);
        return done;
    case MEMBER_DEMOTE:
        done = change(r, json_object(), error, "/api/v1/cluster/members/%u/demote", r->sut.nodes[i].id);
        snprintf(text, size, "node-%u no longer votes%s%s", i + 1, done ? "" : ": ", error);
        if (!done)
            member_end(r);
        return done;
    default:
        done = grow(r, error);
        snprintf(text, size, "node-%u joins%s%s", r->sut.nodes[r->sut.n].id, done ? "" : ": ", error);
        if (!done)
            member_end(r);
        return done;
    }
}

static bool member_calibrate(struct run *r, char *why, size_t size)
{
    char error[64] = "";
    if (!grow(r, error) || listed(r, r->sut.nodes[r->sut.n].id) != 1) {
        snprintf(why, size, "a new node did not become a voter: %s", error);
        return false;
    }
    uint32_t id = r->sut.nodes[r->sut.n].id;
    member_end(r);
    int is = listed(r, id);
    for (uint64_t from = sut_now_ms(); is == -2 && sut_now_ms() - from < CHANGE_MS; sut_nap(100))
        is = listed(r, id); /* nobody led at that moment */
    if (r->violation[0] != 0 || is != -1) {
        snprintf(why, size, "node-%u was not removed", id);
        return false;
    }
    return true;
}

const struct fault fault_member = {.name = "member",
                                   .what = "a node joins and leaves, a voter is demoted, a leader hands on",
                                   .shapes = member_shapes,
                                   .begin = member_begin,
                                   .end = member_end,
                                   .calibrate = member_calibrate,
                                   .alone = true};
