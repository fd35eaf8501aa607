/* One thing only the leader does: a command of the log, timestamps, a change of the cluster. */
#include "leader_call.h"

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

static void finish(struct leader_call *call, struct codec_writer *w)
{
    codec_nil(w); /* no detail */
    call->cb(call, ASSENT_OK, codec_written(w), NULL);
    codec_writer_close(w);
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
        call->cb(call, status, (struct assent_bytes){NULL, 0}, NULL);
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
        call->cb(call, status, (struct assent_bytes){NULL, 0}, detail);
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
        call->cb(call, status, (struct assent_bytes){NULL, 0}, NULL);
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
        call->cb(call, status, (struct assent_bytes){NULL, 0}, NULL);
}

/* ---- starting ---- */

static int start_member(struct leader_call *call, uint32_t special, const struct codec_node *args)
{
    static const enum raftlog_change changes[] = {
        [SPECIAL_MEMBER_ADD] = RAFTLOG_ADD,       [SPECIAL_MEMBER_PROMOTE] = RAFTLOG_PROMOTE,
        [SPECIAL_MEMBER_DEMOTE] = RAFTLOG_DEMOTE, [SPECIAL_MEMBER_REMOVE] = RAFTLOG_REMOVE,
        [SPECIAL_TRANSFER] = RAFTLOG_TRANSFER,
    };
    uint64_t id = codec_kind(codec_at(args, 0)) == CODEC_UINT ? codec_as_uint(codec_at(args, 0)) : 0;
    struct assent_bytes text = codec_as_bytes(codec_at(args, 1));
    char address[128] = "", host[128];
    uint16_t port;
    if (text.size >= sizeof address || (id == 0 && special != SPECIAL_TRANSFER))
        return ASSENT_INVALID;
    if (text.size > 0)
        memcpy(address, text.base, text.size);
    if (special == SPECIAL_MEMBER_ADD && !address_split(address, host, sizeof host, &port))
        return ASSENT_INVALID;
    return raftlog_member(call->node->log, &call->wait.member, changes[special], id, address, on_member);
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
        return start_member(call, special, args);
    case SPECIAL_SNAPSHOT:
        return raftlog_read(call->node->log, &call->wait.read, on_still_leader);
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
    memset(&call->wait, 0, sizeof call->wait);
    if (special == 0) {
        call->wait.propose.data = call;
        return raftlog_propose(node->log, &call->wait.propose, bytes, on_propose);
    }
    if (special == SPECIAL_TSO)
        call->wait.tso.data = call;
    else if (special == SPECIAL_SNAPSHOT)
        call->wait.read.data = call;
    else
        call->wait.member.data = call;
    struct codec_arena arena;
    codec_arena_init(&arena);
    const struct codec_node *args = codec_parse(&arena, bytes);
    int status = codec_kind(args) == CODEC_LIST ? start_special(call, special, args) : ASSENT_MALFORMED;
    codec_arena_close(&arena);
    return status;
}
