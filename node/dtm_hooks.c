/* What DTM's own test suite needs from a server under test, in builds with ASSENT_TEST_HOOKS only: polls when
 * it says so and not otherwise, with a look-ahead; how often something happened to a transaction; no data.
 *
 *   POST /api/dtmsvr/testPolling?on=0|1                   ->  SUCCESS
 *   POST /api/dtmsvr/testWipe                             ->  SUCCESS
 *   POST /api/dtmsvr/testPoll?nowForward=S&cronForward=S  ->  {"gid":"..."}; "" when nothing is due
 *   GET  /api/dtmsvr/testRounds?gid=G                     ->  {"rounds":N}, since this node started
 *
 * A poll looks for the oldest unfinished transaction whose next call is due within `cronForward` seconds,
 * lets it time out if it will be old enough within `nowForward`, else makes its calls due now, and answers
 * when one has come to something.  It does so by the commands an operator has: no clock is moved.  With
 * polling off nothing becomes due by itself, on any node, until a poll looks for it.  Source:
 * dtm-features.md 10.1. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dtm_private.h"

#define ROUND_MS 1500
#define SLOTS    65536u

enum hook_stage { HOOK_LIST, HOOK_LOOK, HOOK_ACT, HOOK_WATCH };
struct dtm_hook {
    enum hook_stage stage;
    json_t *gids; /* of unfinished transactions, the newest first */
    size_t left;
    uint64_t now_s, cron_s;
};

/* ---- rounds ---- */

struct dtm_rounds {
    uint32_t count[SLOTS];
};

static uint32_t slot_of(struct assent_bytes xid)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < xid.size; i++)
        h = (h ^ xid.base[i]) * 16777619u;
    return h % SLOTS;
}

struct dtm_rounds *dtm_rounds_open(void)
{
    struct dtm_rounds *rounds = calloc(1, sizeof *rounds);
    if (rounds == NULL)
        abort();
    return rounds;
}

void dtm_rounds_event(struct dtm_rounds *rounds, const struct sm_event *event)
{
    rounds->count[slot_of(scoped_name(event->xid, NULL))]++;
}

enum request_next dtm_rounds_read(struct request *r)
{
    struct dtm_call *call = r->door;
    return dtm_answer_json(
        r, json_pack("{sI}", "rounds", (json_int_t)call->dtm->rounds->count[slot_of(dtm_gid(call))]));
}

/* ---- what goes to every node ---- */

enum request_next dtm_polling_read(struct request *r, bool on)
{
    struct dtm_call *call = r->door;
    struct dtm_writer f = dtm_write(&r->node->requests.writer, &call->defaults, COMMAND_TEST_POLLING, false);
    dtm_field_bool(&f, TEST_POLLING_ON, on);
    dtm_write_end(&f);
    return dtm_step(r, ROUTE_COMMAND);
}

enum request_next dtm_wipe_read(struct request *r)
{
    struct dtm_call *call = r->door;
    struct dtm_writer f = dtm_write(&r->node->requests.writer, &call->defaults, COMMAND_TEST_WIPE, false);
    dtm_write_end(&f);
    return dtm_step(r, ROUTE_COMMAND);
}

/* ---- one poll ---- */

static enum request_next answer(struct request *r, bool found)
{
    struct dtm_call *call = r->door;
    struct assent_bytes gid = dtm_gid(call);
    return dtm_answer_json(
        r, json_pack("{ss%}", "gid", found ? (const char *)gid.base : "", found ? gid.size : (size_t)0));
}

enum request_next dtm_poll_read(struct request *r, uint64_t now_s, uint64_t cron_s)
{
    struct dtm_call *call = r->door;
    call->hook = calloc(1, sizeof *call->hook);
    if (call->hook == NULL)
        abort();
    call->hook->now_s = now_s;
    call->hook->cron_s = cron_s;
    struct dtm_writer f = dtm_write(&r->node->requests.writer, &call->defaults, QUERY_TXN_LIST, true);
    dtm_field_uint(&f, QUERY_TXN_LIST_LIMIT, ASSENT_PAGE_ROWS_MAX);
    dtm_write_end(&f);
    return dtm_step(r, ROUTE_QUERY);
}

void dtm_hook_close(struct dtm_call *call)
{
    if (call->hook != NULL)
        json_decref(call->hook->gids);
    free(call->hook);
}

/* The oldest that has not been looked at. */
static enum request_next next(struct request *r)
{
    struct dtm_call *call = r->door;
    struct dtm_hook *hook = call->hook;
    if (hook->left == 0)
        return answer(r, false);
    const json_t *gid = json_array_get(hook->gids, --hook->left);
    call->txn.gid_size = json_string_length(gid);
    memcpy(call->txn.gid, json_string_value(gid), call->txn.gid_size);
    hook->stage = HOOK_LOOK;
    return dtm_ask_stage(r, QUERY_TXN, DTM_STAGE_FIRST);
}

static bool unfinished(const struct codec_node *txn)
{
    enum dtm_status status =
        dtm_status_of(codec_as_bytes(codec_get(txn, "status")), codec_as_bytes(codec_get(txn, "stands")));
    return status != DTM_STATUS_SUCCEED && status != DTM_STATUS_FAILED;
}

static enum request_next listed(struct request *r, const struct codec_node *data)
{
    struct dtm_hook *hook = ((struct dtm_call *)r->door)->hook;
    const struct codec_node *rows = codec_get(data, "transactions");
    hook->gids = json_array();
    for (uint32_t i = 0; i < codec_size(rows); i++) {
        struct assent_bytes xid = codec_as_bytes(codec_get(codec_at(rows, i), "xid"));
        if (unfinished(codec_at(rows, i)))
            json_array_append_new(hook->gids, json_stringn((const char *)xid.base, xid.size));
    }
    hook->left = json_array_size(hook->gids);
    return next(r);
}

static int64_t int_of(const struct codec_node *data, const char *key)
{
    return codec_as_int(codec_get(data, key));
}

/* When DTM would look at it next; INT64_MAX: never. */
static int64_t due_us(const struct codec_node *data)
{
    const struct codec_node *branches = codec_get(data, "branches");
    int64_t due = INT64_MAX;
    for (uint32_t i = 0; i < codec_size(branches); i++) {
        int64_t at = int_of(codec_at(branches, i), "nextDueUs");
        due = at > 0 && at < due ? at : due;
    }
    if (due == INT64_MAX) /* nothing to call yet: looked at after its first interval */
        due = int_of(data, "createdUs") + int_of(data, "retryBaseMs") * 1000;
    return due;
}

static enum request_next act(struct request *r, const char *rollback)
{
    struct dtm_call *call = r->door;
    struct codec_writer *w = &r->node->requests.writer;
    call->hook->stage = HOOK_ACT;
    dtm_wait_start(&call->dtm->waits, &call->wait, r, call->defaults.ns, dtm_gid(call));
    if (rollback == NULL) {
        dtm_act(w, &call->defaults, dtm_gid(call), "retry", "testPoll");
    } else {
        struct dtm_writer f = dtm_write(w, &call->defaults, COMMAND_TXN_ROLLBACK, false);
        dtm_field(&f, TXN_ROLLBACK_XID);
        codec_text(w, dtm_gid(call));
        dtm_field_text(&f, TXN_ROLLBACK_REASON, rollback);
        dtm_write_end(&f);
    }
    return dtm_step(r, ROUTE_COMMAND);
}

static enum request_next looked(struct request *r, const struct codec_node *data)
{
    struct dtm_call *call = r->door;
    const struct dtm_hook *hook = call->hook;
    int64_t now_us = node_now_us(), age_us = now_us - int_of(data, "createdUs");
    int64_t ahead_us = (int64_t)hook->now_s * 1000000, timeout_us = int_of(data, "timeoutMs") * 1000;
    bool prepared = dtm_status_of(codec_as_bytes(codec_get(data, "status")),
                                  codec_as_bytes(codec_get(data, "stands"))) == DTM_STATUS_PREPARED;
    bool old = timeout_us > 0 && age_us + ahead_us >= timeout_us;
    enum dtm_type type = dtm_type_of(codec_as_bytes(codec_get(data, "mode")));
    bool running = codec_as_bytes(codec_get(data, "status")).size == strlen("RUNNING") && !prepared;
    if (due_us(data) > now_us + (int64_t)hook->cron_s * 1000000)
        return next(r);
    if (type == DTM_MSG && prepared && !old)
        return answer(r, true); /* a round that did nothing */
    if ((type == DTM_TCC || type == DTM_XA) && prepared && !old)
        return answer(r, true);
    char reason[64];
    snprintf(reason, sizeof reason, "Timeout after %lld seconds", (long long)(timeout_us / 1000000));
    bool turns = old && (((type == DTM_TCC || type == DTM_XA) && prepared) || (type == DTM_SAGA && running));
    return act(r, turns ? reason : NULL);
}

enum request_next dtm_poll_ended(struct request *r, int code, const struct codec_node *data,
                                 struct assent_bytes detail)
{
    struct dtm_hook *hook = ((struct dtm_call *)r->door)->hook;
    struct dtm_call *call = r->door;
    if (code != ASSENT_OK)
        return dtm_answer_code(r, code, detail);
    switch (hook->stage) {
    case HOOK_LIST:
        return listed(r, data);
    case HOOK_LOOK:
        return looked(r, data);
    case HOOK_ACT:
        hook->stage = HOOK_WATCH;
        r->watch_until_ms = uv_now(r->node->loop) + ROUND_MS;
        return call->wait.seen != DTM_SEEN_NOTHING ? answer(r, true) : REQUEST_WATCH;
    case HOOK_WATCH:
        break;
    }
    return answer(r, true);
}
