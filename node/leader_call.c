/* One thing only the leader does: a command of the log, timestamps, a change of the cluster. */
#include "leader_call.h"

#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "assent/clock.h"
#include "command.h"
#include "node.h"
#include "routes.h"

/* ---- answers as encoded results ---- */

static void result_open(struct codec_writer *w, uint32_t pairs)
{
    codec_list(w, 3);
    codec_uint(w, ASSENT_OK);
    codec_map(w, pairs);
}

static void end(struct leader_call *call, int status, struct assent_bytes result, const char *detail)
{
    struct call_bytes answer = call->answer; /* `result` may lie in it */
    free(call->record.base);
    call->record = call->answer = (struct call_bytes){NULL, 0};
    call->cb(call, status, result, detail);
    free(answer.base);
}

static void fail(struct leader_call *call, int status, const char *detail)
{
    end(call, status, (struct assent_bytes){NULL, 0}, detail);
}

static struct call_bytes copy_of(struct assent_bytes bytes)
{
    struct call_bytes copy = {malloc(bytes.size), bytes.size};
    if (copy.base == NULL)
        abort();
    memcpy(copy.base, bytes.base, bytes.size);
    return copy;
}

/* ---- the record of what was done ---- */

static int propose_record(struct leader_call *call, raftlog_propose_cb cb)
{
    struct call_bytes record = call->record;
    call->record = (struct call_bytes){NULL, 0};
    memset(&call->wait, 0, sizeof call->wait);
    call->wait.propose.data = call;
    int status = raftlog_propose(call->node->log, &call->wait.propose,
                                 (struct assent_bytes){record.base, record.size}, cb);
    free(record.base);
    return status;
}

static void on_recorded(struct raftlog_propose *req, int status, struct assent_bytes result)
{
    struct leader_call *call = req->data;
    (void)result;
    if (status != ASSENT_OK) {
        fail(call, ASSENT_UNKNOWN_OUTCOME, "it was done, but may be missing in the audit log");
        return;
    }
    call->index = req->index;
    call->term = req->term;
    end(call, ASSENT_OK, (struct assent_bytes){call->answer.base, call->answer.size}, NULL);
}

static void finish(struct leader_call *call, struct codec_writer *w)
{
    codec_nil(w); /* no detail */
    if (call->record.base == NULL) {
        end(call, ASSENT_OK, codec_written(w), NULL);
    } else {
        call->answer = copy_of(codec_written(w));
        if (propose_record(call, on_recorded) != ASSENT_OK)
            fail(call, ASSENT_UNKNOWN_OUTCOME, "it was done, but is missing in the audit log");
    }
    codec_writer_close(w);
}

static void put_text(struct codec_writer *w, struct assent_bytes text)
{
    if (text.size > 0)
        codec_text(w, text);
    else
        codec_nil(w);
}

/* What will be proposed; INVALID when it could not be applied. `by`: place of the field, the reason follows.
 */
static int record_make(struct leader_call *call, const char *act, const struct codec_node *args, uint32_t by)
{
    static const struct command_session session = {.kind = SESSION_NONE};
    char subject[sizeof call->address + 24] = "", why[128];
    struct codec_writer w;
    struct codec_arena arena;
    struct command command;
    if (call->member != 0)
        snprintf(subject, sizeof subject, "%llu%s%s", (unsigned long long)call->member,
                 call->address[0] != 0 ? " " : "", call->address);
    codec_writer_init(&w);
    codec_arena_init(&arena);
    command_begin(&w, COMMAND_AUDIT, &session, 4);
    codec_cstr(&w, act);
    put_text(&w, (struct assent_bytes){(const uint8_t *)subject, strlen(subject)});
    put_text(&w, codec_as_bytes(codec_at(args, by)));
    put_text(&w, codec_as_bytes(codec_at(args, by + 1)));
    int status = command_decode(&arena, codec_written(&w), false, false, &command, why, sizeof why);
    if (status == ASSENT_OK)
        call->record = copy_of(codec_written(&w));
    codec_arena_close(&arena);
    codec_writer_close(&w);
    return status;
}

static void on_propose(struct raftlog_propose *req, int status, struct assent_bytes result)
{
    struct leader_call *call = req->data;
    call->index = req->index;
    call->term = req->term;
    call->cb(call, status, result, NULL);
}

static void on_tso(struct tso_wait *wait, int status, uint64_t first)
{
    struct leader_call *call = wait->data;
    call->term = wait->term;
    if (status != ASSENT_OK) {
        fail(call, status, NULL);
        return;
    }
    struct codec_writer w;
    codec_writer_init(&w);
    result_open(&w, 5);
    codec_pair_uint(&w, "timestamp", first);
    codec_pair_uint(&w, "first", first);
    codec_pair_uint(&w, "count", wait->count);
    codec_pair_uint(&w, "physicalMs", assent_tso_physical_ms(first));
    codec_pair_uint(&w, "logical", assent_tso_logical(first));
    finish(call, &w);
}

static void put_place(struct leader_call *call)
{
    struct raftlog_status status;
    raftlog_status(call->node->log, &status);
    call->index = status.commit_index;
    call->term = status.term;
}

static void on_member(struct raftlog_member *req, int status, const char *detail)
{
    struct leader_call *call = req->data;
    if (status != ASSENT_OK) {
        fail(call, status, detail);
        return;
    }
    put_place(call);
    struct codec_writer w;
    codec_writer_init(&w);
    result_open(&w, 1);
    codec_pair_cstr(&w, "detail", detail != NULL ? detail : "");
    finish(call, &w);
}

static void on_take(struct raftlog_take *req, int status, const struct raftlog_snapshot *snapshot)
{
    struct leader_call *call = req->data;
    if (status != ASSENT_OK) {
        fail(call, status, NULL);
        return;
    }
    put_place(call);
    char digest[20], crc[12];
    snprintf(crc, sizeof crc, "%08x", snapshot->crc);
    snprintf(digest, sizeof digest, "%016llx", (unsigned long long)snapshot->digest);
    struct codec_writer w;
    codec_writer_init(&w);
    result_open(&w, 8);
    codec_pair_uint(&w, "nodeId", call->node->config->id);
    struct assent_bytes advert = {(const uint8_t *)call->node->advert, strlen(call->node->advert)};
    codec_pair_text(&w, "httpAddress", node_advert_get(advert, "http"));
    codec_pair_cstr(&w, "crc", crc);
    codec_pair_uint(&w, "index", snapshot->index);
    codec_pair_uint(&w, "term", snapshot->term);
    codec_pair_uint(&w, "size", snapshot->size);
    codec_pair_cstr(&w, "digest", digest);
    codec_pair_cstr(&w, "path", snapshot->path);
    finish(call, &w);
}

/* A leader that has been deposed without knowing it would leave out what its successor has acknowledged, so
 * the round of a linearizable read comes first. */
static void on_still_leader(struct raftlog_read *req, int status)
{
    struct leader_call *call = req->data;
    if (status == ASSENT_OK) {
        memset(&call->wait, 0, sizeof call->wait);
        call->wait.take.data = call;
        status = raftlog_take_snapshot(call->node->log, &call->wait.take, on_take);
    }
    if (status != ASSENT_OK)
        fail(call, status, NULL);
}

/* ---- starting ---- */

static const struct member_act {
    enum raftlog_change change;
    const char *act;
} member_acts[] = {
    [SPECIAL_MEMBER_ADD] = {RAFTLOG_ADD, "member_add"},
    [SPECIAL_MEMBER_PROMOTE] = {RAFTLOG_PROMOTE, "member_promote"},
    [SPECIAL_MEMBER_DEMOTE] = {RAFTLOG_DEMOTE, "member_demote"},
    [SPECIAL_MEMBER_REMOVE] = {RAFTLOG_REMOVE, "member_remove"},
    [SPECIAL_TRANSFER] = {RAFTLOG_TRANSFER, "transfer"},
};

static int change_member(struct leader_call *call)
{
    memset(&call->wait, 0, sizeof call->wait);
    call->wait.member.data = call;
    return raftlog_member(call->node->log, &call->wait.member, member_acts[call->special].change,
                          call->member, call->address, on_member);
}

static void on_recorded_before(struct raftlog_propose *req, int status, struct assent_bytes result)
{
    struct leader_call *call = req->data;
    (void)result;
    if (status == ASSENT_OK)
        status = change_member(call);
    if (status != ASSENT_OK)
        fail(call, status, NULL);
}

static int start_member(struct leader_call *call, const struct codec_node *args)
{
    bool add = call->special == SPECIAL_MEMBER_ADD;
    uint64_t id = codec_kind(codec_at(args, 0)) == CODEC_UINT ? codec_as_uint(codec_at(args, 0)) : 0;
    struct assent_bytes text = add ? codec_as_bytes(codec_at(args, 1)) : (struct assent_bytes){NULL, 0};
    char host[128];
    uint16_t port;
    if (text.size >= sizeof call->address || (id == 0 && call->special != SPECIAL_TRANSFER))
        return ASSENT_INVALID;
    if (text.size > 0)
        memcpy(call->address, text.base, text.size);
    call->member = id;
    if (add && !address_split(call->address, host, sizeof host, &port))
        return ASSENT_INVALID;
    int status = record_make(call, member_acts[call->special].act, args, add ? 2 : 1);
    if (status != ASSENT_OK)
        return status;
    bool leaves = call->special == SPECIAL_TRANSFER ||
                  (id == call->node->config->id &&
                   (call->special == SPECIAL_MEMBER_DEMOTE || call->special == SPECIAL_MEMBER_REMOVE));
    return leaves ? propose_record(call, on_recorded_before) : change_member(call);
}

static int start_special(struct leader_call *call, uint32_t special, const struct codec_node *args)
{
    if (call->node->role != RAFTLOG_LEADER)
        return ASSENT_NOT_LEADER;
    switch (special) {
    case SPECIAL_TSO: {
        const struct codec_node *count = codec_at(args, 0);
        uint64_t n = codec_kind(count) == CODEC_NIL ? 1 : codec_as_uint(count);
        if (n > ASSENT_COUNT_MAX)
            return ASSENT_INVALID;
        return tso_service_wait(&call->node->tso, &call->wait.tso, (uint32_t)n, true, on_tso);
    }
    case SPECIAL_MEMBER_ADD:
    case SPECIAL_MEMBER_PROMOTE:
    case SPECIAL_MEMBER_DEMOTE:
    case SPECIAL_MEMBER_REMOVE:
    case SPECIAL_TRANSFER:
        return start_member(call, args);
    case SPECIAL_SNAPSHOT: {
        int status = record_make(call, "snapshot", args, 0);
        if (status != ASSENT_OK)
            return status;
        call->wait.read.data = call;
        return raftlog_read(call->node->log, &call->wait.read, on_still_leader);
    }
    default:
        return ASSENT_UNSUPPORTED; /* asked by a node of a later version */
    }
}

int leader_call_start(struct leader_call *call, struct node *node, uint32_t special,
                      struct assent_bytes bytes, leader_call_cb cb)
{
    call->node = node;
    call->cb = cb;
    call->index = call->term = 0;
    call->special = special;
    call->member = 0;
    memset(call->address, 0, sizeof call->address);
    call->record = call->answer = (struct call_bytes){NULL, 0};
    memset(&call->wait, 0, sizeof call->wait);
    if (special == 0) {
        call->wait.propose.data = call;
        return raftlog_propose(node->log, &call->wait.propose, bytes, on_propose);
    }
    if (special == SPECIAL_TSO)
        call->wait.tso.data = call;
    struct codec_arena arena;
    codec_arena_init(&arena);
    const struct codec_node *args = codec_parse(&arena, bytes);
    int status = codec_kind(args) == CODEC_LIST ? start_special(call, special, args) : ASSENT_MALFORMED;
    codec_arena_close(&arena);
    if (status != ASSENT_OK) {
        free(call->record.base);
        call->record = (struct call_bytes){NULL, 0};
    }
    return status;
}
