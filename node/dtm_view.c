/* Transactions as DTM shows them: its words, its rows, its order.
 *
 * The state machine keeps one row per branch; DTM one per branch and operation, the way back first.  Test
 * suites compare the statuses by position, so the order is part of the contract (7.1 to 7.5).  Clients parse
 * ids as 32-bit numbers and times as never null, so ids are numbers in order and every time is there (4). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dtm_private.h"

static struct assent_bytes text_of(const struct codec_node *data, const char *key)
{
    return codec_as_bytes(codec_get(data, key));
}

static bool is(struct assent_bytes text, const char *what)
{
    size_t size = strlen(what);
    return text.size == size && memcmp(text.base, what, size) == 0;
}

/* ---- words ---- */

const char *dtm_status_name(enum dtm_status status)
{
    static const char *const names[] = {"", "prepared", "submitted", "aborting", "succeed", "failed"};
    return names[status];
}

enum dtm_status dtm_status_of(struct assent_bytes status, struct assent_bytes stands)
{
    static const struct {
        const char *name;
        enum dtm_status status;
    } rows[] = {
        {"ACTIVE", DTM_STATUS_PREPARED},       {"RUNNING", DTM_STATUS_SUBMITTED},
        {"COMMITTING", DTM_STATUS_SUBMITTED},  {"PREPARING", DTM_STATUS_SUBMITTED},
        {"ROLLING_BACK", DTM_STATUS_ABORTING}, {"COMMITTED", DTM_STATUS_SUCCEED},
        {"ROLLED_BACK", DTM_STATUS_FAILED},    {"STOPPED", DTM_STATUS_FAILED},
    };
    if (is(status, "SUSPENDED"))
        status = stands;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (is(status, rows[i].name))
            return rows[i].status;
    return DTM_STATUS_SUBMITTED; /* suspended on a way that is not told: it goes on some day */
}

enum dtm_type dtm_type_of(struct assent_bytes mode)
{
    static const char *const modes[DTM_TYPE_NR] = {
        [DTM_SAGA] = "SAGA",   [DTM_TCC] = "TCC",           [DTM_XA] = "XA",
        [DTM_MSG] = "MESSAGE", [DTM_WORKFLOW] = "WORKFLOW",
    };
    for (unsigned i = 0; i < DTM_TYPE_NR; i++)
        if (is(mode, modes[i]))
            return (enum dtm_type)i;
    return DTM_TYPE_NR;
}

/* ---- values ---- */

static json_t *text_json(struct assent_bytes text)
{
    json_t *v = json_stringn(text.size > 0 ? (const char *)text.base : "", text.size);
    return v != NULL ? v : json_string("");
}

static json_t *base64_json(struct assent_bytes bytes)
{
    char *text = malloc((bytes.size + 2) / 3 * 4 + 1);
    if (text == NULL)
        abort();
    dtm_base64_encode(bytes, text);
    json_t *v = json_string(text);
    free(text);
    return v;
}

/* RFC 3339, in UTC. */
static json_t *time_json(int64_t us)
{
    time_t seconds = us / 1000000;
    struct tm tm;
    char text[48];
    gmtime_r(&seconds, &tm);
    size_t size = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + size, sizeof text - size, ".%06dZ", (int)(us % 1000000));
    return json_string(text);
}

static void put_text(json_t *object, const char *key, struct assent_bytes text)
{
    if (text.size > 0)
        json_object_set_new(object, key, text_json(text));
}

static void put_int(json_t *object, const char *key, int64_t v)
{
    if (v != 0)
        json_object_set_new(object, key, json_integer(v));
}

static int64_t int_of(const struct codec_node *data, const char *key)
{
    return codec_as_int(codec_get(data, key));
}

/* What the client had written, as dtm_commands.c keeps it; an empty object for a transaction begun at another
 * door. */
static json_t *written(const struct codec_node *data)
{
    struct assent_bytes custom = text_of(data, "customData");
    json_t *root =
        custom.size > 0 ? json_loadb((const char *)custom.base, custom.size, JSON_DECODE_ANY, NULL) : NULL;
    json_t *dtm = json_incref(json_object_get(root, "dtm"));
    json_decref(root);
    return dtm != NULL && json_is_object(dtm) ? dtm : (json_decref(dtm), json_object());
}

bool dtm_view_waits(const struct codec_node *data)
{
    json_t *dtm = written(data);
    bool waits = json_is_true(json_object_get(dtm, "wait_result"));
    json_decref(dtm);
    return waits;
}

/* ---- the transaction ---- */

static struct assent_bytes branch_url(const struct codec_node *branch, bool back)
{
    struct assent_bytes url = text_of(branch, back ? "compensateUrl" : "actionUrl");
    return url.size > 0 ? url : text_of(branch, back ? "cancelUrl" : "confirmUrl");
}

static void put_steps(json_t *txn, const struct codec_node *data, enum dtm_type type)
{
    const struct codec_node *branches = codec_get(data, "branches");
    if ((type != DTM_SAGA && type != DTM_MSG) || codec_size(branches) == 0)
        return;
    json_t *steps = json_array(), *payloads = json_array();
    for (uint32_t i = 0; i < codec_size(branches); i++) {
        const struct codec_node *branch = codec_at(branches, i);
        json_t *step = json_object();
        json_object_set_new(step, "action", text_json(branch_url(branch, false)));
        if (type == DTM_SAGA)
            json_object_set_new(step, "compensate", text_json(branch_url(branch, true)));
        json_array_append_new(steps, step);
        json_array_append_new(payloads, text_json(text_of(branch, "payload")));
    }
    json_object_set_new(txn, "steps", steps);
    json_object_set_new(txn, "payloads", payloads);
}

/* The options as a client wrote them, and once more as the text DTM's stores keep. */
static void put_options(json_t *txn, const json_t *dtm)
{
    static const char *const names[] = {"wait_result", "timeout_to_fail", "request_timeout", "retry_interval",
                                        "retry_limit", "retry_count",     "branch_headers",  "concurrent"};
    json_t *options = json_object();
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        json_t *v = json_object_get(dtm, names[i]);
        if (v == NULL)
            continue;
        json_object_set(txn, names[i], v);
        json_object_set(options, names[i], v);
    }
    if (json_object_get(txn, "concurrent") == NULL) {
        json_object_set_new(txn, "concurrent", json_false());
        json_object_set_new(options, "concurrent", json_false());
    }
    char *text = json_dumps(options, JSON_COMPACT | JSON_SORT_KEYS);
    json_object_set_new(txn, "options", json_string(text != NULL ? text : "{}"));
    free(text);
    json_decref(options);
}

static void put_times(json_t *txn, const struct codec_node *data, enum dtm_status status)
{
    int64_t created = int_of(data, "createdUs"), decided = int_of(data, "decidedUs"),
            finished = int_of(data, "finishedUs");
    int64_t updated = finished > 0 ? finished : decided > created ? decided : created;
    json_object_set_new(txn, "create_time", time_json(created));
    json_object_set_new(txn, "update_time", time_json(updated));
    if (status == DTM_STATUS_SUCCEED)
        json_object_set_new(txn, "finish_time", time_json(updated));
    if (status == DTM_STATUS_FAILED)
        json_object_set_new(txn, "rollback_time", time_json(updated));
}

/* When it is looked at next: its first call that is due. */
static void put_next(json_t *txn, const struct codec_node *data)
{
    const struct codec_node *branches = codec_get(data, "branches");
    int64_t next = int_of(data, "nextQueryUs") + int_of(data, "nextCallbackUs"); /* one of them at most */
    for (uint32_t i = 0; i < codec_size(branches); i++) {
        int64_t due = int_of(codec_at(branches, i), "nextDueUs");
        if (due > 0 && (next == 0 || due < next))
            next = due;
    }
    if (next > 0)
        json_object_set_new(txn, "next_cron_time", time_json(next));
}

json_t *dtm_view_txn(const struct codec_node *data)
{
    enum dtm_type type = dtm_type_of(text_of(data, "mode"));
    enum dtm_status status = dtm_status_of(text_of(data, "status"), text_of(data, "stands"));
    json_t *dtm = written(data), *txn = json_object();
    json_object_set_new(txn, "id", json_integer(1));
    put_text(txn, "gid", text_of(data, "xid"));
    if (type != DTM_TYPE_NR)
        json_object_set_new(txn, "trans_type", json_string(dtm_type_name(type)));
    json_object_set_new(txn, "status", json_string(dtm_status_name(status)));
    json_t *protocol = json_object_get(dtm, "protocol");
    if (protocol != NULL)
        json_object_set(txn, "protocol", protocol);
    else
        json_object_set_new(txn, "protocol", json_string("http"));
    put_times(txn, data, status);
    put_options(txn, dtm);
    put_steps(txn, data, type);
    put_next(txn, data);
    put_int(txn, "next_cron_interval", int_of(data, "retryBaseMs") / 1000);
    put_text(txn, "result", text_of(data, "result"));
    put_text(txn, "rollback_reason", text_of(data, "reason"));
    static const char *const kept[] = {"custom_data", "query_prepared"};
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        if (json_object_get(dtm, kept[i]) != NULL)
            json_object_set(txn, kept[i], json_object_get(dtm, kept[i]));
    json_decref(dtm);
    return txn;
}

/* ---- its branches ---- */

struct rows {
    json_t *list;
    const struct codec_node *data; /* of the transaction */
    int64_t created_us;
};

static void put_row(struct rows *rows, const struct codec_node *branch, struct assent_bytes name,
                    const char *op, struct assent_bytes url, const char *status)
{
    int64_t registered = int_of(branch, "registeredUs"), finished = int_of(branch, "finishedUs");
    if (registered == 0)
        registered = int_of(branch, "recordedUs");
    if (registered == 0)
        registered = rows->created_us;
    bool done = strcmp(status, "prepared") != 0;
    int64_t updated = done && finished > registered ? finished : registered;
    json_t *row = json_object();
    json_object_set_new(row, "id", json_integer((json_int_t)json_array_size(rows->list) + 1));
    json_object_set_new(row, "create_time", time_json(registered));
    json_object_set_new(row, "update_time", time_json(updated));
    put_text(row, "gid", text_of(rows->data, "xid"));
    put_text(row, "url", url);
    struct assent_bytes payload = text_of(branch, "payload");
    if (payload.size == 0)
        payload = text_of(branch, "data");
    if (payload.size > 0)
        json_object_set_new(row, "bin_data", base64_json(payload));
    put_text(row, "branch_id", name);
    json_object_set_new(row, "op", json_string(op));
    json_object_set_new(row, "status", json_string(status));
    if (done)
        json_object_set_new(row, "finish_time", time_json(updated));
    json_array_append_new(rows->list, row);
}

static void put_saga_step(struct rows *rows, const struct codec_node *branch)
{
    struct assent_bytes status = text_of(branch, "status"), action = text_of(branch, "action");
    struct assent_bytes name = text_of(branch, "branch");
    put_row(rows, branch, name, "compensate", branch_url(branch, true),
            is(status, "COMPENSATED") ? "succeed" : "prepared");
    put_row(rows, branch, name, "action", branch_url(branch, false),
            is(action, "SUCCEEDED") ? "succeed"
            : is(action, "FAILED")  ? "failed"
                                    : "prepared");
}

static void put_two_phase(struct rows *rows, const struct codec_node *branch, const char *back,
                          const char *forward)
{
    struct assent_bytes status = text_of(branch, "status"), name = text_of(branch, "branch");
    put_row(rows, branch, name, back, branch_url(branch, true),
            is(status, "CANCELLED") ? "succeed" : "prepared");
    put_row(rows, branch, name, forward, branch_url(branch, false),
            is(status, "CONFIRMED") ? "succeed" : "prepared");
}

/* A step a workflow has recorded. */
static void put_record(struct rows *rows, const struct codec_node *step)
{
    struct assent_bytes op = text_of(step, "op");
    char op_text[64];
    snprintf(op_text, sizeof op_text, "%.*s", (int)op.size, op.size > 0 ? (const char *)op.base : "");
    put_row(rows, step, text_of(step, "branch"), op_text, (struct assent_bytes){NULL, 0},
            is(text_of(step, "status"), "FAILED") ? "failed" : "succeed");
}

json_t *dtm_view_branches(const struct codec_node *data)
{
    enum dtm_type type = dtm_type_of(text_of(data, "mode"));
    const struct codec_node *branches = codec_get(data, type == DTM_WORKFLOW ? "steps" : "branches");
    struct rows rows = {json_array(), data, int_of(data, "createdUs")};
    for (uint32_t i = 0; i < codec_size(branches); i++) {
        const struct codec_node *branch = codec_at(branches, i);
        struct assent_bytes status = text_of(branch, "status");
        if (type == DTM_SAGA)
            put_saga_step(&rows, branch);
        else if (type == DTM_XA)
            put_two_phase(&rows, branch, "rollback", "commit");
        else if (type == DTM_MSG)
            put_row(&rows, branch, text_of(branch, "branch"), "action", branch_url(branch, false),
                    is(status, "EXECUTED") || is(status, "CONFIRMED") ? "succeed" : "prepared");
        else if (type == DTM_WORKFLOW)
            put_record(&rows, branch);
        else
            put_two_phase(&rows, branch, "cancel", "confirm");
    }
    return rows.list;
}

json_t *dtm_view_topics(const struct codec_node *data)
{
    const struct codec_node *topics = codec_get(data, "topics");
    uint32_t n = topics != NULL ? codec_size(topics) : 1; /* a page, or the one that was asked for */
    json_t *rows = json_array();
    for (uint32_t i = 0; i < n; i++) {
        const struct codec_node *topic = topics != NULL ? codec_at(topics, i) : data;
        const struct codec_node *urls = codec_get(topic, "urls");
        json_t *list = json_array(), *row = json_object();
        int64_t first = 0, last = 0;
        for (uint32_t k = 0; k < codec_size(urls); k++) {
            const struct codec_node *url = codec_at(urls, k);
            int64_t us = int_of(url, "subscribedUs");
            first = first == 0 || us < first ? us : first;
            last = us > last ? us : last;
            json_array_append_new(list, json_pack("{soso}", "url", text_json(text_of(url, "url")), "remark",
                                                  text_json(text_of(url, "remark"))));
        }
        char *v = json_dumps(list, JSON_COMPACT);
        json_object_set_new(row, "id", json_integer((json_int_t)i + 1));
        json_object_set_new(row, "create_time", time_json(first));
        json_object_set_new(row, "update_time", time_json(last));
        json_object_set_new(row, "cat", json_string("topics"));
        json_object_set_new(row, "k", text_json(text_of(topic, "topic")));
        json_object_set_new(row, "v", json_string(v != NULL ? v : "[]"));
        json_object_set_new(row, "version", json_integer(int_of(topic, "version")));
        json_array_append_new(rows, row);
        free(v);
        json_decref(list);
    }
    return rows;
}

json_t *dtm_view_workflow(const struct codec_node *data)
{
    return json_pack("{soso}", "progresses", dtm_view_branches(data), "transaction", dtm_view_txn(data));
}
