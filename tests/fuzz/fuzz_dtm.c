/* Fuzzer of the way from a DTM client's request to a command.
 *
 * Input: a line "METHOD URI", then the body.  Whatever the body is taken for, the command that is made of it
 * can be read again, and what the command decoder refuses it refuses with a sentence. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "dtm_commands.h"
#include "dtm_routes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct dtm_defaults defaults = {.ns = {(const uint8_t *)"ns", 2},
                                             .retry_interval_s = 10,
                                             .retry_cap_s = 300,
                                             .timeout_to_fail_s = 35,
                                             .request_timeout_s = 3};

static void check(struct codec_writer *w)
{
    struct codec_arena arena;
    struct command command;
    char why[DTM_WHY_MAX] = "";
    codec_arena_init(&arena);
    struct assent_bytes bytes = codec_written(w);
    int status = command_decode(&arena, bytes, false, false, &command, why, sizeof why);
    assert(status == ASSENT_OK || why[0] != 0);
    assert(status != ASSENT_MALFORMED); /* we wrote it */
    codec_arena_close(&arena);
}

static void all_of_txn(struct codec_writer *w, struct assent_bytes body)
{
    struct dtm_txn t;
    char why[DTM_WHY_MAX] = "";
    bool ok = dtm_txn_decode(&t, body, why) == ASSENT_OK;
    assert(ok || why[0] != 0);
    for (int prepare = 0; ok && prepare < 2 && t.type != DTM_TYPE_NR; prepare++) {
        why[0] = 0;
        if (dtm_begin(w, &defaults, &t, prepare != 0, why) == ASSENT_OK)
            check(w);
        else
            assert(why[0] != 0);
    }
    if (ok) {
        dtm_commit(w, &defaults, &t);
        check(w);
        dtm_rollback(w, &defaults, &t);
        check(w);
        if (dtm_workflow_end(w, &defaults, &t, why) == ASSENT_OK)
            check(w);
    }
    dtm_txn_close(&t);
}

static void all_of_branch(struct codec_writer *w, struct assent_bytes body)
{
    struct dtm_branch b;
    char why[DTM_WHY_MAX] = "";
    if (dtm_branch_decode(&b, body, why) != ASSENT_OK)
        assert(why[0] != 0);
    else if (dtm_register(w, &defaults, &b, why) == ASSENT_OK)
        check(w);
    else
        assert(why[0] != 0);
    dtm_branch_close(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *line = size > 0 ? memchr(data, '\n', size) : NULL;
    const uint8_t *space = line != NULL ? memchr(data, ' ', (size_t)(line - data)) : NULL;
    char method[8] = "", value[64];
    if (space == NULL || (size_t)(space - data) >= sizeof method)
        return 0;
    memcpy(method, data, (size_t)(space - data));
    const uint8_t *mark = memchr(space, '?', (size_t)(line - space));
    struct assent_bytes path = {space + 1, (size_t)((mark ? mark : line) - space - 1)}, query = {NULL, 0};
    if (mark != NULL)
        query = (struct assent_bytes){mark + 1, (size_t)(line - mark - 1)};
    struct dtm_route_match match;
    dtm_route_find(method, path, &match);
    assert(match.op < DTM_OP_NR && dtm_op_name(match.op) != NULL);
    if (dtm_parameter(query, "gid", value, sizeof value))
        assert(strlen(value) < sizeof value);
    struct assent_bytes body = {line + 1, size - (size_t)(line + 1 - data)};
    struct codec_writer w;
    codec_writer_init(&w);
    all_of_txn(&w, body);
    all_of_branch(&w, body);
    codec_writer_close(&w);
    return 0;
}
