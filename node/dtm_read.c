/* Taking what a DTM client asks: from a body or a query string to the first step. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "dtm_private.h"

/* DTM's own version this door was written after. */
#define DTM_VERSION_TEXT "v1.19.0"
/* A year, the longest time a command takes. */
#define WAIT_S_MAX (366u * 86400)

/* ---- small things ---- */

struct assent_bytes dtm_gid(const struct dtm_call *call)
{
    bool branch = call->op == DTM_REGISTER_BRANCH;
    const char *gid = branch ? call->branch.gid : call->txn.gid;
    return (struct assent_bytes){(const uint8_t *)gid, branch ? call->branch.gid_size : call->txn.gid_size};
}

static struct codec_writer *writer(struct request *r)
{
    return &r->node->requests.writer;
}

/* The command or query in the writer is the next step.  Whatever `data` an ended step gave is gone. */
enum request_next dtm_step(struct request *r, enum route_kind kind)
{
    struct dtm_call *call = r->door;
    struct assent_bytes bytes = codec_written(writer(r));
    struct command command;
    int status = command_decode(&r->node->requests.arena, bytes, kind == ROUTE_QUERY, false, &command,
                                call->why, sizeof call->why);
    if (status == ASSENT_OK)
        status = request_step(r, kind, bytes);
    if (status != ASSENT_OK)
        return dtm_answer_code(r, status,
                               (struct assent_bytes){(const uint8_t *)call->why, strlen(call->why)});
    return REQUEST_AGAIN;
}

enum request_next dtm_ask_stage(struct request *r, uint32_t query, enum dtm_stage stage)
{
    struct dtm_call *call = r->door;
    call->stage = stage;
    dtm_ask(writer(r), &call->defaults, query, dtm_gid(call));
    return dtm_step(r, ROUTE_QUERY);
}

/* ---- taking a request ---- */

/* A new gid needs no agreement: 122 random bits, in the letters DTM's own gids have. */
static enum request_next new_gid(struct request *r)
{
    static const char letters[] = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    struct dtm_call *call = r->door;
    uint8_t random[22];
    char gid[sizeof random + 1];
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        abort();
    for (size_t i = 0; i < sizeof random; i++)
        gid[i] = letters[random[i] % (sizeof letters - 1)];
    gid[sizeof random] = 0;
    return dtm_answer_json(r, call->rpc ? json_pack("{ss}", "gid", gid)
                                        : json_pack("{ssss}", "dtm_result", "SUCCESS", "gid", gid));
}

/* Headers of the request that the transaction wants on its calls (3). */
static void pass_through(struct dtm_txn *t, const struct request_input *input)
{
    json_t *headers = NULL;
    for (size_t i = 0; input->header != NULL && i < json_array_size(t->passthrough); i++) {
        const char *name = json_string_value(json_array_get(t->passthrough, i));
        const char *value = name != NULL ? input->header(input->headers, name) : NULL;
        if (value == NULL)
            continue;
        if (headers == NULL)
            headers = t->headers != NULL ? json_copy((json_t *)(uintptr_t)t->headers) : json_object();
        if (json_object_get(headers, name) == NULL)
            (void)json_object_set_new(headers, name, json_string(value)); /* not UTF-8: left out */
    }
    if (headers == NULL)
        return;
    json_object_set_new(t->root, "\x1fheaders", headers); /* owned by the tree it belongs to */
    t->headers = headers;
}

enum request_next dtm_refuse(struct request *r, const char *message)
{
    return dtm_answer(r, DTM_ERROR, message);
}

static bool gid_fits(struct request *r, size_t size)
{
    if (size > 0 && size <= ASSENT_XID_BYTES_MAX)
        return true;
    dtm_refuse(r, size == 0 ? "gid is empty" : "gid is longer than 128 bytes");
    return false;
}

enum request_next dtm_begin_step(struct request *r, bool prepare)
{
    struct dtm_call *call = r->door;
    if (dtm_begin(writer(r), &call->defaults, &call->txn, prepare, call->why) != ASSENT_OK)
        return dtm_refuse(r, call->why);
    return dtm_step(r, ROUTE_COMMAND);
}

enum request_next dtm_submit(struct request *r)
{
    struct dtm_call *call = r->door;
    switch (call->txn.type) {
    case DTM_TCC:
    case DTM_XA:
        dtm_commit(writer(r), &call->defaults, &call->txn);
        return dtm_step(r, ROUTE_COMMAND);
    case DTM_WORKFLOW:
        if (dtm_workflow_end(writer(r), &call->defaults, &call->txn, call->why) != ASSENT_OK)
            return dtm_refuse(r, call->why);
        return dtm_step(r, ROUTE_COMMAND);
    case DTM_SAGA:
    case DTM_MSG:
    case DTM_TYPE_NR:
        break;
    }
    return dtm_begin_step(r, false);
}

static void watch_from_now(struct request *r)
{
    struct dtm_call *call = r->door;
    call->wait.retries = call->txn.retry_limit > 0;
    dtm_wait_start(&call->dtm->waits, &call->wait, r, call->defaults.ns, dtm_gid(call));
}

/* One of the calls whose body is a transaction object. */
static enum request_next read_txn(struct request *r, const struct request_input *input)
{
    struct dtm_call *call = r->door;
    if (!gid_fits(r, call->txn.gid_size))
        return REQUEST_ANSWERED;
    if (call->op == DTM_PREPARE_WORKFLOW && call->txn.type == DTM_TYPE_NR)
        call->txn.type = DTM_WORKFLOW;
    bool typed = call->op == DTM_PREPARE || call->op == DTM_SUBMIT || call->op == DTM_PREPARE_WORKFLOW;
    if (typed && call->txn.type == DTM_TYPE_NR)
        return dtm_refuse(r, "unknown trans type");
    pass_through(&call->txn, input);
    switch (call->op) {
    case DTM_PREPARE:
        return dtm_begin_step(r, true);
    case DTM_PREPARE_WORKFLOW:
        if (call->txn.type != DTM_WORKFLOW)
            return dtm_refuse(r, "prepareWorkflow takes the trans type workflow");
        return dtm_begin_step(r, true);
    case DTM_SUBMIT:
        if (call->txn.wait_result && call->txn.type != DTM_WORKFLOW)
            watch_from_now(r);
        return dtm_submit(r);
    case DTM_ABORT:
        watch_from_now(r);
        dtm_rollback(writer(r), &call->defaults, &call->txn);
        return dtm_step(r, ROUTE_COMMAND);
    case DTM_FORCE_STOP:
        dtm_act(writer(r), &call->defaults, dtm_gid(call), "force", "forceStop");
        return dtm_step(r, ROUTE_COMMAND);
    default:
        dtm_act(writer(r), &call->defaults, dtm_gid(call), "retry", "resetNextCronTime");
        return dtm_step(r, ROUTE_COMMAND);
    }
}

static enum request_next read_branch(struct request *r)
{
    struct dtm_call *call = r->door;
    if (!gid_fits(r, call->branch.gid_size))
        return REQUEST_ANSWERED;
    if (dtm_register(writer(r), &call->defaults, &call->branch, call->why) != ASSENT_OK)
        return dtm_refuse(r, call->why);
    return dtm_step(r, ROUTE_COMMAND);
}

static enum request_next read_body(struct request *r, const struct request_input *input, json_t *params)
{
    struct dtm_call *call = r->door;
    if (call->op == DTM_REGISTER_BRANCH) {
        int status = params != NULL ? dtm_branch_take(&call->branch, params, call->why)
                                    : dtm_branch_decode(&call->branch, input->body, call->why);
        return status == ASSENT_OK ? read_branch(r) : dtm_answer(r, DTM_BAD, call->why);
    }
    int status = params != NULL ? dtm_txn_take(&call->txn, params, call->why)
                                : dtm_txn_decode(&call->txn, input->body, call->why);
    return status == ASSENT_OK ? read_txn(r, input) : dtm_refuse(r, call->why);
}

static enum request_next read_rpc(struct request *r, const struct request_input *input)
{
    struct dtm_call *call = r->door;
    json_t *root = NULL, *params = NULL;
    enum request_next next = REQUEST_ANSWERED;
    if (dtm_rpc_read(r, input->body, &root, &params)) {
        json_t *none = json_object();
        next = call->op == DTM_NEW_GID ? new_gid(r) : read_body(r, input, params != NULL ? params : none);
        json_decref(none);
    }
    json_decref(root);
    return next;
}

/* ---- what is asked in the query string ---- */

static enum request_next read_query(struct request *r, struct assent_bytes query)
{
    struct dtm_call *call = r->door;
    char gid[ROUTES_URI_MAX];
    if (!dtm_parameter(query, "gid", gid, sizeof gid) || gid[0] == 0)
        return dtm_refuse(r, "no param gid");
    call->txn.gid_size = strlen(gid);
    if (call->txn.gid_size > sizeof call->txn.gid)
        return dtm_answer_json(r, json_pack("{s[]sn}", "branches", "transaction"));
    memcpy(call->txn.gid, gid, call->txn.gid_size);
#ifdef ASSENT_TEST_HOOKS
    if (call->op == DTM_TEST_ROUNDS)
        return dtm_rounds_read(r);
#endif
    return dtm_ask_stage(r, QUERY_TXN, DTM_STAGE_FIRST);
}

static bool parameter_uint(struct assent_bytes query, const char *name, uint64_t absent, uint64_t *out)
{
    char text[24], *end;
    if (!dtm_parameter(query, name, text, sizeof text) || text[0] == 0) {
        *out = absent;
        return true;
    }
    *out = strtoull(text, &end, 10);
    return *end == 0 && text[0] != '-';
}

static enum request_next read_topic(struct request *r, struct assent_bytes query, struct assent_bytes name)
{
    struct dtm_call *call = r->door;
    char url[ASSENT_URL_BYTES_MAX + 1] = "", remark[1025] = "";
    size_t size = 0;
    if (call->op == DTM_DELETE_TOPIC) {
        if (!route_unescape(name, false, call->topic, sizeof call->topic - 1, &size))
            return dtm_refuse(r, "the topic's name is too long or its encoding is broken");
        call->topic[size] = 0;
    } else {
        (void)dtm_parameter(query, "topic", call->topic, sizeof call->topic);
        if (!dtm_parameter(query, "url", url, sizeof url) || url[0] == 0)
            url[0] = 0;
        (void)dtm_parameter(query, "remark", remark, sizeof remark);
    }
    if (call->topic[0] == 0)
        return dtm_refuse(r, "empty topic");
    if (call->op != DTM_DELETE_TOPIC && url[0] == 0)
        return dtm_refuse(r, "empty url");
    static const uint32_t commands[DTM_OP_NR] = {[DTM_SUBSCRIBE] = COMMAND_TOPIC_SUBSCRIBE,
                                                 [DTM_UNSUBSCRIBE] = COMMAND_TOPIC_UNSUBSCRIBE,
                                                 [DTM_DELETE_TOPIC] = COMMAND_TOPIC_REMOVE};
    dtm_topic(writer(r), &call->defaults, commands[call->op], call->topic,
              call->op != DTM_DELETE_TOPIC ? url : NULL, call->op == DTM_SUBSCRIBE ? remark : NULL);
    return dtm_step(r, ROUTE_COMMAND);
}

/* DTM's words for sets of ours. */
static const char *statuses_of(const char *status)
{
    static const struct {
        const char *dtm, *ours;
    } rows[] = {
        {"prepared", "ACTIVE"},
        {"submitted", "RUNNING,COMMITTING,PREPARING"},
        {"aborting", "ROLLING_BACK"},
        {"succeed", "COMMITTED"},
        {"failed", "ROLLED_BACK,STOPPED"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(status, rows[i].dtm) == 0)
            return rows[i].ours;
    return NULL;
}

static const char *mode_of(const char *trans_type)
{
    static const char *const modes[] = {"SAGA", "TCC", "XA", "MESSAGE", "WORKFLOW"};
    enum dtm_type type = dtm_type_by_name(trans_type);
    return type != DTM_TYPE_NR ? modes[type] : NULL;
}

static enum request_next no_rows(struct request *r)
{
    return dtm_answer_json(r, json_pack("{sss[]}", "next_position", "", "transactions"));
}

static enum request_next read_all(struct request *r, struct assent_bytes query)
{
    struct dtm_call *call = r->door;
    char gid[ROUTES_URI_MAX] = "", position[401] = "", status[32] = "", type[32] = "";
    uint64_t from_ms, to_ms;
    if (dtm_parameter(query, "gid", gid, sizeof gid) && gid[0] != 0)
        return read_query(r, query);
    (void)dtm_parameter(query, "position", position, sizeof position);
    (void)dtm_parameter(query, "status", status, sizeof status);
    (void)dtm_parameter(query, "transType", type, sizeof type);
    if (!parameter_uint(query, "limit", 100, &call->limit) ||
        !parameter_uint(query, "createTimeStart", 0, &from_ms) ||
        !parameter_uint(query, "createTimeEnd", 0, &to_ms))
        return dtm_refuse(r, "limit, createTimeStart and createTimeEnd are whole numbers");
    if ((status[0] != 0 && statuses_of(status) == NULL) || (type[0] != 0 && mode_of(type) == NULL) ||
        call->limit == 0)
        return no_rows(r);
    if (call->limit > ASSENT_PAGE_ROWS_MAX)
        call->limit = ASSENT_PAGE_ROWS_MAX;
    struct dtm_writer f = dtm_write(writer(r), &call->defaults, QUERY_TXN_LIST, true);
    dtm_field_text(&f, QUERY_TXN_LIST_STATUS, status[0] != 0 ? statuses_of(status) : NULL);
    dtm_field_text(&f, QUERY_TXN_LIST_MODE, type[0] != 0 ? mode_of(type) : NULL);
    dtm_field_text(&f, QUERY_TXN_LIST_AFTER, position);
    dtm_field_uint(&f, QUERY_TXN_LIST_LIMIT, call->limit);
    if (from_ms > 0)
        dtm_field_uint(&f, QUERY_TXN_LIST_FROM_US, from_ms / 1000 % (1ull << 40) * 1000000);
    if (to_ms > 0)
        dtm_field_uint(&f, QUERY_TXN_LIST_TO_US, to_ms / 1000 % (1ull << 40) * 1000000 + 1);
    dtm_write_end(&f);
    return dtm_step(r, ROUTE_QUERY);
}

enum request_next dtm_no_kv(struct request *r)
{
    struct dtm_call *call = r->door;
    return dtm_answer_json(r, call->op == DTM_QUERY_KV ? json_pack("{s[]}", "kv")
                                                       : json_pack("{s[]ss}", "kv", "next_position", ""));
}

/* The only category there is: topics. */
static enum request_next read_kv(struct request *r, struct assent_bytes query)
{
    struct dtm_call *call = r->door;
    char cat[32] = "", position[ASSENT_NAME_BYTES_MAX + 1] = "";
    bool alone = call->op == DTM_QUERY_KV;
    bool known = dtm_parameter(query, "cat", cat, sizeof cat);
    if (alone)
        (void)dtm_parameter(query, "key", call->topic, sizeof call->topic);
    else
        (void)dtm_parameter(query, "position", position, sizeof position);
    if (!parameter_uint(query, "limit", 100, &call->limit))
        return dtm_refuse(r, "limit is a whole number");
    if ((known && cat[0] != 0 && strcmp(cat, "topics") != 0) || call->limit == 0)
        return dtm_no_kv(r);
    if (call->limit > ASSENT_PAGE_ROWS_MAX || alone)
        call->limit = ASSENT_PAGE_ROWS_MAX;
    struct dtm_writer f = dtm_write(writer(r), &call->defaults, QUERY_TOPICS, true);
    dtm_field_text(&f, QUERY_TOPICS_TOPIC, call->topic);
    dtm_field_text(&f, QUERY_TOPICS_AFTER, position);
    dtm_field_uint(&f, QUERY_TOPICS_LIMIT, call->limit);
    dtm_write_end(&f);
    return dtm_step(r, ROUTE_QUERY);
}

/* DTM's unfinished transactions that wait for longer than `timeout`; here those whose last call failed, which
 * leaves out what is late on purpose: a delayed message, the question to a sender. */
static enum request_next read_reset(struct request *r, struct assent_bytes query)
{
    struct dtm_call *call = r->door;
    uint64_t timeout_s;
    if (!parameter_uint(query, "limit", 100, &call->limit) ||
        !parameter_uint(query, "timeout", 3 * call->defaults.timeout_to_fail_s, &timeout_s))
        return dtm_refuse(r, "limit and timeout are whole numbers");
    if (timeout_s > WAIT_S_MAX) /* nothing waits for longer */
        return dtm_answer_json(r, json_pack("{sbsi}", "has_remaining", false, "succeed_count", 0));
    if (call->limit == 0 || call->limit > ASSENT_PAGE_ROWS_MAX)
        call->limit = call->limit == 0 ? 100 : ASSENT_PAGE_ROWS_MAX;
    struct dtm_writer f = dtm_write(writer(r), &call->defaults, COMMAND_TXN_ACT_MANY, false);
    dtm_field_text(&f, TXN_ACT_MANY_ACT, "retry");
    dtm_field_text(&f, TXN_ACT_MANY_BY, "dtm");
    dtm_field_text(&f, TXN_ACT_MANY_REASON, "resetCronTime");
    dtm_field_uint(&f, TXN_ACT_MANY_FILTER + QUERY_TXN_LIST_LIMIT, call->limit);
    dtm_field_bool(&f, TXN_ACT_MANY_FILTER + QUERY_TXN_LIST_FAILING, true);
    dtm_field_uint(&f, TXN_ACT_MANY_FILTER + QUERY_TXN_LIST_NEXT_AFTER_MS, timeout_s * 1000);
    dtm_write_end(&f);
    return dtm_step(r, ROUTE_COMMAND);
}

#ifdef ASSENT_TEST_HOOKS
static enum request_next read_poll(struct request *r, struct assent_bytes query)
{
    uint64_t now_s, cron_s;
    if (!parameter_uint(query, "nowForward", 0, &now_s) ||
        !parameter_uint(query, "cronForward", 180, &cron_s) || now_s > 1u << 20 || cron_s > 1u << 20)
        return dtm_refuse(r, "nowForward and cronForward are whole numbers of seconds");
    return dtm_poll_read(r, now_s, cron_s);
}

static enum request_next read_polling(struct request *r, struct assent_bytes query)
{
    uint64_t on;
    if (!parameter_uint(query, "on", 2, &on) || on > 1)
        return dtm_refuse(r, "on is 0 or 1");
    return dtm_polling_read(r, on == 1);
}
#endif

/* ---- which call it is ---- */

static enum request_next redirect(struct request *r, struct assent_bytes path, struct assent_bytes query,
                                  const char *method)
{
    bool get = strcmp(method, "GET") == 0;
    dtm_answer_text(r, get ? 301 : 307, "");
    if (asprintf(&r->response.location, "%.*s%s%.*s", (int)path.size - 1, (const char *)path.base,
                 query.size > 0 ? "?" : "", (int)query.size,
                 query.size > 0 ? (const char *)query.base : "") < 0)
        abort();
    return REQUEST_ANSWERED;
}

static enum request_next metrics_page_of(struct request *r)
{
    struct dtm_call *call = r->door;
    dtm_answer_text(r, 200, "");
    r->response.content_type = "text/plain; version=0.0.4; charset=utf-8";
    dtm_metrics_page(call->dtm, &r->response.body);
    return REQUEST_ANSWERED;
}

static enum request_next lead(struct request *r, const struct request_input *input, struct assent_bytes query,
                              struct assent_bytes name)
{
    struct dtm_call *call = r->door;
    switch (call->op) {
    case DTM_NEW_GID:
        return new_gid(r);
    case DTM_PREPARE:
    case DTM_SUBMIT:
    case DTM_ABORT:
    case DTM_REGISTER_BRANCH:
    case DTM_PREPARE_WORKFLOW:
    case DTM_FORCE_STOP:
    case DTM_RESET_NEXT_CRON_TIME:
        return read_body(r, input, NULL);
    case DTM_QUERY:
        return read_query(r, query);
    case DTM_ALL:
        return read_all(r, query);
    case DTM_RESET_CRON_TIME:
        return read_reset(r, query);
    case DTM_SUBSCRIBE:
    case DTM_UNSUBSCRIBE:
    case DTM_DELETE_TOPIC:
        return read_topic(r, query, name);
    case DTM_QUERY_KV:
    case DTM_SCAN_KV:
        return read_kv(r, query);
    case DTM_VERSION:
        return dtm_answer_json(r, json_pack("{ss}", "version", DTM_VERSION_TEXT));
    case DTM_PING:
        return dtm_answer_json(r, json_pack("{ss}", "msg", "pong"));
    case DTM_METRICS:
        return metrics_page_of(r);
    case DTM_JSON_RPC:
        return read_rpc(r, input);
#ifdef ASSENT_TEST_HOOKS
    case DTM_TEST_POLL:
        return read_poll(r, query);
    case DTM_TEST_ROUNDS:
        return read_query(r, query);
    case DTM_TEST_POLLING:
        return read_polling(r, query);
    case DTM_TEST_WIPE:
        return dtm_wipe_read(r);
#endif
    default:
        return dtm_answer_text(r, 404, "404 page not found");
    }
}

/* The namespace is the header's, or this node's for DTM clients, who cannot set headers. */
static bool take_namespace(struct dtm_call *call, const struct request_input *input)
{
    const char *configured = call->dtm->node->config->dtm_namespace;
    const char *ns = input->ns != NULL ? input->ns : configured != NULL ? configured : "";
    if (strlen(ns) > NAMESPACE_BYTES_MAX)
        return false;
    snprintf(call->ns, sizeof call->ns, "%s", ns);
    call->defaults.ns = (struct assent_bytes){(const uint8_t *)call->ns, strlen(call->ns)};
    return true;
}

enum request_next dtm_read(struct request *r, const struct request_input *input, struct assent_bytes path,
                           struct assent_bytes query)
{
    struct dtm *dtm = &r->node->dtm;
    const struct config *config = r->node->config;
    struct dtm_route_match match;
    struct dtm_call *call = calloc(1, sizeof *call);
    if (call == NULL)
        abort();
    dtm_route_find(input->method, path, &match);
    call->dtm = dtm;
    call->op = match.op;
    call->defaults.retry_interval_s = config->dtm_retry_interval_s;
    call->defaults.retry_cap_s = config->dtm_retry_cap_s;
    call->defaults.timeout_to_fail_s = config->dtm_timeout_to_fail_s;
    call->defaults.request_timeout_s = config->dtm_request_timeout_s;
    r->face = &dtm_face;
    r->door = call;
    if (match.slash)
        return redirect(r, path, query, input->method);
    if (!take_namespace(call, input))
        return dtm_refuse(r, "a namespace has at most 47 bytes");
    return lead(r, input, query, match.name);
}
