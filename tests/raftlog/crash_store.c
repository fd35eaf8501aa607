/* The store under crashes: what is kept agrees with the applied index it names, and the log makes the rest.
 */
#include "crash_images.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "assent/error.h"
#include "disk_trace.h"
#include "sm_harness.h"
#include "statemachine.h"

#define COMMANDS  60
#define MAP_BYTES (UINT64_C(1) << 28)
#define BASE_US   INT64_C(1700000000000000)

static struct {
    struct codec_writer commands[COMMANDS + 1]; /* by index, from 1 */
    bool made;
    uint64_t digests[COMMANDS + 1]; /* the running one, by applied index */
    uint64_t content;               /* of the image behind the last command */
    bool known;
    char err[512], why[700];
} s;

/* Commands whose second application would show: numbers taken, clocks ticked, replies kept, transactions. */
static void make_commands(void)
{
    if (s.made)
        return;
    s.made = true;
    for (uint64_t i = 1; i <= COMMANDS; i++) {
        static const uint32_t types[] = {COMMAND_SEQUENCE_NEXT, COMMAND_LAMPORT_TICK, COMMAND_TXN_BEGIN,
                                         COMMAND_TXN_COMMIT};
        char args[256], key[16];
        snprintf(key, sizeof key, "key-%llu", (unsigned long long)i);
        struct command_session session = {.kind = SESSION_NONE};
        uint32_t type = types[i % 4];
        if (type == COMMAND_SEQUENCE_NEXT)
            snprintf(args, sizeof args, "{'name':'n'}");
        else if (type == COMMAND_LAMPORT_TICK)
            snprintf(args, sizeof args, "{'clock':'c%llu'}", (unsigned long long)(i % 3));
        else if (type == COMMAND_TXN_BEGIN)
            snprintf(
                args, sizeof args,
                "{'xid':'t%llu','branches':[{'branch':'b','confirmUrl':'http://u','cancelUrl':'http://v'}]}",
                (unsigned long long)i);
        else
            snprintf(args, sizeof args, "{'xid':'t%llu'}", (unsigned long long)(i - 1));
        codec_writer_init(&s.commands[i]);
        sm_encode(&s.commands[i], false, type, &session, args);
    }
}

static struct sm *open_sm(const char *dir)
{
    char path[400];
    struct sm *sm;
    snprintf(path, sizeof path, "%s/state", dir);
    struct sm_config config = {.dir = path, .map_bytes = MAP_BYTES, .cluster_tag = 7};
    return sm_open(&sm, &config, s.err, sizeof s.err) == ASSENT_OK ? sm : NULL;
}

/* Commands `from` to `to`, `group` of them in one transaction. */
static void apply(struct sm *sm, uint64_t from, uint64_t to, uint64_t group)
{
    while (from <= to) {
        struct sm_command commands[COMMANDS];
        uint32_t n = 0;
        for (; n < group && from <= to; n++, from++)
            commands[n] = (struct sm_command){.index = from,
                                              .time_us = BASE_US + (int64_t)from * 1000,
                                              .command = codec_written(&s.commands[from])};
        sm_apply(sm, commands, n, from - 1);
    }
}

static bool content_of(struct sm *sm, const char *dir, uint64_t *content)
{
    char path[400];
    uint64_t size;
    snprintf(path, sizeof path, "%s/image", dir);
    bool ok = sm_dump(sm, sm_pin(sm), path, &size, content) == ASSENT_OK;
    remove(path);
    return ok;
}

/* What must come out, from a state machine that nothing happens to. */
static void reference(void)
{
    char dir[300];
    if (s.known)
        return;
    s.known = true;
    temp_dir_make(dir, sizeof dir);
    struct sm *sm = open_sm(dir);
    assert(sm != NULL);
    s.digests[0] = sm_digest(sm);
    for (uint64_t i = 1; i <= COMMANDS; i++) {
        apply(sm, i, i, 1);
        s.digests[i] = sm_digest(sm);
    }
    bool ok = content_of(sm, dir, &s.content);
    assert(ok);
    sm_close(sm, false);
    temp_dir_remove(dir);
}

/* Applied, stopped cleanly, applied on, stopped again, then on until the crash. */
static bool run(const char *dir)
{
    static const struct {
        uint64_t to, group;
    } lives[] = {{20, 1}, {20, 1}, {35, 3}, {50, 7}, {COMMANDS, 1}};
    make_commands();
    for (size_t i = 0; i < sizeof lives / sizeof lives[0]; i++) {
        struct sm *sm = open_sm(dir);
        if (sm == NULL)
            return false;
        apply(sm, sm_applied_index(sm) + 1, lives[i].to, lives[i].group);
        sm_close(sm, i + 1 < sizeof lives / sizeof lives[0]);
    }
    return true;
}

static const char *judge(const char *dir, uint64_t point)
{
    (void)point;
    make_commands();
    reference();
    struct sm *sm = open_sm(dir);
    if (sm == NULL) {
        snprintf(s.why, sizeof s.why, "refused: %.500s", s.err);
        return s.why;
    }
    uint64_t index = sm_applied_index(sm), content = 0;
    const char *why = NULL;
    if (index > COMMANDS || sm_digest(sm) != s.digests[index]) {
        snprintf(s.why, sizeof s.why, "at index %llu its digest is not the one of that index",
                 (unsigned long long)index);
        why = s.why;
    } else {
        apply(sm, index + 1, COMMANDS, 5);
        if (sm_digest(sm) != s.digests[COMMANDS] || !content_of(sm, dir, &content) || content != s.content) {
            snprintf(s.why, sizeof s.why,
                     "kept at index %llu and gone on from there, it is not what the commands make",
                     (unsigned long long)index);
            why = s.why;
        }
    }
    sm_close(sm, false);
    return why;
}

const struct image_judge store_judge = {"store", run, judge};
