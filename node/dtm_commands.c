/* From what a DTM client asks to commands of the log.
 *
 * What DTM keeps of a transaction and the state machine has no word for (wait_result, the options as they
 * were written) travels in the custom data, as {"dtm":{...}}, and is read by dtm_view.c only. */
#include "dtm_commands.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The bounds of the state machine: 30 days, a retry at least once a day. */
#define TIMEOUT_S_MAX (30ll * 24 * 3600)
#define RETRY_S_MAX   (24ll * 3600)

/* ---- fields in order ---- */

struct dtm_writer dtm_write(struct codec_writer *w, const struct dtm_defaults *d, uint32_t type, bool query)
{
    const struct schema *schema = query ? query_schema(type) : command_schema(type);
    struct command_session session = {.kind = SESSION_NONE, .ns = d->ns};
    struct dtm_writer f = {.w = w};
    assert(schema != NULL);
    while (schema->fields[f.n].name != NULL)
        f.n++;
    codec_writer_reset(w);
    command_begin(w, type, &session, f.n);
    return f;
}

void dtm_field(struct dtm_writer *f, uint32_t field)
{
    assert(field >= f->at && field < f->n);
    for (; f->at < field; f->at++)
        codec_nil(f->w);
    f->at++;
}

void dtm_field_text(struct dtm_writer *f, uint32_t field, const char *text)
{
    if (text == NULL || text[0] == 0)
        return;
    dtm_field(f, field);
    codec_cstr(f->w, text);
}

void dtm_field_uint(struct dtm_writer *f, uint32_t field, uint64_t v)
{
    dtm_field(f, field);
    codec_uint(f->w, v);
}

void dtm_field_bool(struct dtm_writer *f, uint32_t field, bool v)
{
    if (!v)
        return;
    dtm_field(f, field);
    codec_bool(f->w, true);
}

void dtm_write_end(struct dtm_writer *f)
{
    for (; f->at < f->n; f->at++)
        codec_nil(f->w);
}

/* A field that must be there, empty or not. */
static void field_bytes(struct dtm_writer *f, uint32_t field, struct assent_bytes v)
{
    dtm_field(f, field);
    codec_text(f->w, v);
}

static struct assent_bytes cstr_bytes(const char *s)
{
    return (struct assent_bytes){(const uint8_t *)s, s != NULL ? strlen(s) : 0};
}

static struct assent_bytes gid_of(const struct dtm_txn *t)
{
    /* one that does not fit is longer than a schema takes, so the command is refused by it */
    return (struct assent_bytes){(const uint8_t *)t->gid,
                                 t->gid_size <= sizeof t->gid ? t->gid_size : sizeof t->gid};
}

/* ---- options ---- */

/* dtm-protocol.md 8. */
static uint64_t base_interval_s(const struct dtm_defaults *d, const struct dtm_txn *t)
{
    if (t->retry_interval > 0)
        return (uint64_t)(t->retry_interval < RETRY_S_MAX ? t->retry_interval : RETRY_S_MAX);
    if (t->timeout_to_fail > 0 && (uint64_t)t->timeout_to_fail < d->retry_interval_s)
        return (uint64_t)t->timeout_to_fail;
    return d->retry_interval_s;
}

static uint64_t request_timeout_ms(const struct dtm_defaults *d, const struct dtm_txn *t)
{
    uint64_t s = t->request_timeout > 0 ? (uint64_t)t->request_timeout : d->request_timeout_s;
    return s < UINT32_MAX / 1000 ? s * 1000 : UINT32_MAX;
}

static uint64_t timeout_s(const struct dtm_defaults *d, const struct dtm_txn *t)
{
    if (t->type == DTM_WORKFLOW)
        return 0;
    if (t->timeout_to_fail > 0)
        return (uint64_t)(t->timeout_to_fail < TIMEOUT_S_MAX ? t->timeout_to_fail : TIMEOUT_S_MAX);
    return t->type == DTM_TCC || t->type == DTM_XA || t->type == DTM_MSG ? d->timeout_to_fail_s : 0;
}

static void put_int(json_t *object, const char *name, int64_t v)
{
    if (v != 0)
        json_object_set_new(object, name, json_integer(v));
}

static void put_text(json_t *object, const char *name, const char *v)
{
    if (v != NULL && v[0] != 0)
        json_object_set_new(object, name, json_string(v));
}

/* The options as they were written. */
static void put_custom_data(struct dtm_writer *f, const struct dtm_txn *t)
{
    json_t *dtm = json_object();
    if (t->wait_result)
        json_object_set_new(dtm, "wait_result", json_true());
    if (t->concurrent)
        json_object_set_new(dtm, "concurrent", json_true());
    put_int(dtm, "timeout_to_fail", t->timeout_to_fail);
    put_int(dtm, "request_timeout", t->request_timeout);
    put_int(dtm, "retry_interval", t->retry_interval);
    put_int(dtm, "retry_limit", t->retry_limit);
    put_int(dtm, "retry_count", t->retry_count);
    put_text(dtm, "custom_data", t->custom_data);
    put_text(dtm, "protocol", t->protocol);
    put_text(dtm, "query_prepared", t->query_prepared);
    if (t->headers != NULL)
        json_object_set(dtm, "branch_headers", (json_t *)(uintptr_t)t->headers);
    json_t *root = json_pack("{so}", "dtm", dtm);
    char *text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
    if (text == NULL)
        abort();
    dtm_field(f, TXN_BEGIN_CUSTOM_DATA);
    codec_json(f->w, cstr_bytes(text));
    free(text);
    json_decref(root);
}

/* What the executor sets itself is left out: the trace context travels as the transaction's own, the rest
 * belongs to one connection. */
static bool header_is_ours(const char *name)
{
    static const char *const names[] = {"traceparent", "host",       "content-length", "transfer-encoding",
                                        "connection",  "keep-alive", "expect",         "upgrade",
                                        "te"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcasecmp(name, names[i]) == 0)
            return true;
    return strncasecmp(name, "assent-", 7) == 0;
}

static void put_headers(struct dtm_writer *f, uint32_t field, const json_t *headers)
{
    const char *key;
    json_t *value;
    uint32_t n = 0;
    json_object_foreach((json_t *)(uintptr_t)headers, key, value) n += !header_is_ours(key);
    if (n == 0)
        return;
    dtm_field(f, field);
    codec_map(f->w, n);
    json_object_foreach((json_t *)(uintptr_t)headers, key, value)
    {
        if (header_is_ours(key))
            continue;
        codec_cstr(f->w, key);
        codec_cstr(f->w, json_is_string(value) ? json_string_value(value) : "");
    }
}

/* NULL: none. */
static const char *traceparent(const json_t *headers)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)headers, key, value)
    {
        if (strcasecmp(key, "traceparent") == 0 && json_string_length(value) <= 128)
            return json_string_value(value);
    }
    return NULL;
}

/* xid to custom data, as all commands that begin have them. */
static void put_head(struct dtm_writer *f, const struct dtm_defaults *d, const struct dtm_txn *t)
{
    uint64_t base_s = base_interval_s(d, t), cap_s = d->retry_cap_s > base_s ? d->retry_cap_s : base_s;
    field_bytes(f, TXN_BEGIN_XID, gid_of(t));
    if (t->type == DTM_XA)
        dtm_field_text(f, TXN_BEGIN_MODE, "XA");
    dtm_field_uint(f, TXN_BEGIN_TIMEOUT_MS, timeout_s(d, t) * 1000);
    dtm_field_uint(f, TXN_BEGIN_RETRY_BASE_MS, base_s * 1000);
    dtm_field_uint(f, TXN_BEGIN_RETRY_CAP_MS, cap_s * 1000);
    dtm_field_text(f, TXN_BEGIN_TRACEPARENT, traceparent(t->headers));
    put_custom_data(f, t);
}

static void put_options(struct dtm_writer *f, uint32_t at, const struct dtm_defaults *d,
                        const struct dtm_txn *t, bool hold)
{
    put_headers(f, at + OPTION_HEADERS, t->headers);
    dtm_field_uint(f, at + OPTION_CALL_TIMEOUT_MS, request_timeout_ms(d, t));
    if (t->type == DTM_TCC || t->type == DTM_XA)
        dtm_field_text(f, at + OPTION_ORDER, t->type == DTM_TCC ? "reverse" : "forward");
    if (t->protocol != NULL && strcmp(t->protocol, "json-rpc") == 0)
        dtm_field_text(f, at + OPTION_PROTOCOL, "json-rpc");
    dtm_field_uint(f, at + OPTION_STYLE, 1);
    dtm_field_bool(f, at + OPTION_KEEP, true);
    dtm_field_bool(f, at + OPTION_HOLD, hold);
}

/* ---- beginnings ---- */

static const char *step_text(const json_t *step, const char *name)
{
    const char *text = json_string_value(json_object_get(step, name));
    return text != NULL ? text : "";
}

static void put_payload(struct dtm_writer *f, uint32_t field, const json_t *payload)
{
    if (json_string_length(payload) == 0)
        return;
    field_bytes(f, field, cstr_bytes(json_string_value(payload)));
}

static void put_before(struct codec_writer *w, const json_t *before)
{
    codec_list(w, (uint32_t)json_array_size(before));
    for (size_t i = 0; i < json_array_size(before); i++) {
        json_int_t n = json_integer_value(json_array_get(before, i));
        if (n >= 0)
            codec_uint(w, (uint64_t)n);
        else
            codec_int(w, n); /* refused with the number of the step */
    }
}

static int put_steps(struct dtm_writer *f, uint32_t field, const struct dtm_txn *t,
                     const struct dtm_custom *custom, char why[DTM_WHY_MAX])
{
    size_t n = json_array_size(t->steps);
    if (n > ASSENT_BRANCHES_MAX) {
        snprintf(why, DTM_WHY_MAX, "more than %d steps", ASSENT_BRANCHES_MAX);
        return ASSENT_INVALID;
    }
    dtm_field(f, field);
    codec_list(f->w, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        const json_t *step = json_array_get(t->steps, i), *payload = dtm_txn_payload(t, i);
        const json_t *before = dtm_custom_before(custom, i);
        if (payload == NULL) {
            snprintf(why, DTM_WHY_MAX, "there are fewer payloads than steps");
            return ASSENT_INVALID;
        }
        struct dtm_writer s = {.w = f->w, .n = SAGA_STEP_AFTER + 1};
        codec_list(f->w, s.n);
        field_bytes(&s, SAGA_STEP_ACTION_URL, cstr_bytes(step_text(step, "action")));
        if (t->type == DTM_SAGA)
            field_bytes(&s, SAGA_STEP_COMPENSATE_URL, cstr_bytes(step_text(step, "compensate")));
        put_payload(&s, SAGA_STEP_PAYLOAD, payload);
        if (before != NULL && json_array_size(before) > 0) {
            dtm_field(&s, SAGA_STEP_AFTER);
            put_before(f->w, before);
        }
        dtm_write_end(&s);
    }
    return ASSENT_OK;
}

/* Failed calls that are made again, counting those a client says were made. */
static uint64_t retries_left(const struct dtm_txn *t)
{
    int64_t count = t->retry_count > 0 ? t->retry_count : 0, limit = t->retry_limit;
    if (limit <= 0)
        return 0;
    if (limit >= UINT32_MAX)
        limit = UINT32_MAX - 1;
    return limit > count ? (uint64_t)(limit - count) : 1;
}

static int begin_saga(struct codec_writer *w, const struct dtm_defaults *d, const struct dtm_txn *t,
                      const struct dtm_custom *custom, bool hold, char why[DTM_WHY_MAX])
{
    struct dtm_writer f = dtm_write(w, d, COMMAND_SAGA_SUBMIT, false);
    put_head(&f, d, t);
    int status = put_steps(&f, SAGA_SUBMIT_STEPS, t, custom, why);
    if (status != ASSENT_OK)
        return status;
    dtm_field_bool(&f, SAGA_SUBMIT_CONCURRENT, custom->concurrent);
    if (t->retry_limit > 0)
        dtm_field_uint(&f, SAGA_SUBMIT_RETRY_LIMIT, retries_left(t));
    put_options(&f, SAGA_SUBMIT_OPTIONS, d, t, hold);
    dtm_write_end(&f);
    return ASSENT_OK;
}

static int begin_message(struct codec_writer *w, const struct dtm_defaults *d, const struct dtm_txn *t,
                         const struct dtm_custom *custom, bool prepare, char why[DTM_WHY_MAX])
{
    struct dtm_writer f = dtm_write(w, d, prepare ? COMMAND_MESSAGE_PREPARE : COMMAND_MESSAGE_SUBMIT, false);
    put_head(&f, d, t);
    int status = put_steps(&f, MESSAGE_STEPS, t, custom, why);
    if (status != ASSENT_OK)
        return status;
    dtm_field_bool(&f, MESSAGE_CONCURRENT, t->concurrent);
    dtm_field_text(&f, MESSAGE_QUERY_URL, t->query_prepared);
    if (custom->delay_s > 0)
        dtm_field_uint(&f, MESSAGE_DELAY_MS, custom->delay_s * 1000);
    put_options(&f, MESSAGE_OPTIONS, d, t, false);
    dtm_write_end(&f);
    return ASSENT_OK;
}

static int begin_two_phase(struct codec_writer *w, const struct dtm_defaults *d, const struct dtm_txn *t)
{
    struct dtm_writer f = dtm_write(w, d, COMMAND_TXN_BEGIN, false);
    put_head(&f, d, t);
    put_options(&f, TXN_BEGIN_OPTIONS, d, t, false);
    dtm_write_end(&f);
    return ASSENT_OK;
}

static int begin_workflow(struct codec_writer *w, const struct dtm_defaults *d, const struct dtm_txn *t,
                          const struct dtm_custom *custom)
{
    struct dtm_writer f = dtm_write(w, d, COMMAND_WORKFLOW_PREPARE, false);
    put_head(&f, d, t);
    dtm_field_text(&f, WORKFLOW_PREPARE_NAME, custom->name);
    dtm_field_text(&f, WORKFLOW_PREPARE_CALLBACK_URL, t->query_prepared);
    if (custom->data_size > 0) {
        dtm_field(&f, WORKFLOW_PREPARE_DATA);
        codec_bin(w, (struct assent_bytes){custom->data, custom->data_size});
    }
    put_options(&f, WORKFLOW_PREPARE_OPTIONS, d, t, false);
    dtm_write_end(&f);
    return ASSENT_OK;
}

int dtm_begin(struct codec_writer *w, const struct dtm_defaults *d, const struct dtm_txn *t, bool prepare,
              char why[DTM_WHY_MAX])
{
    struct dtm_custom custom;
    int status = dtm_custom_decode(&custom, t, why);
    if (status == ASSENT_OK) {
        switch (t->type) {
        case DTM_SAGA:
            status = begin_saga(w, d, t, &custom, prepare, why);
            break;
        case DTM_MSG:
            status = begin_message(w, d, t, &custom, prepare, why);
            break;
        case DTM_TCC:
        case DTM_XA:
            status = begin_two_phase(w, d, t);
            break;
        case DTM_WORKFLOW:
            status = begin_workflow(w, d, t, &custom);
            break;
        case DTM_TYPE_NR:
            assert(0 && "the type was checked before");
        }
    }
    dtm_custom_close(&custom);
    return status;
}

/* ---- decisions ---- */

void dtm_commit(struct codec_writer *w, const struct dtm_defaults *d, const struct dtm_txn *t)
{
    struct dtm_writer f = dtm_write(w, d, COMMAND_TXN_COMMIT, false);
    field_bytes(&f, TXN_COMMIT_XID, gid_of(t));
    dtm_field_bool(&f, TXN_COMMIT_KEEP, true);
    put_headers(&f, TXN_COMMIT_HEADERS, t->headers);
    if (t->request_timeout > 0)
        dtm_field_uint(&f, TXN_COMMIT_CALL_TIMEOUT_MS, request_timeout_ms(d, t));
    if (t->retry_interval > 0)
        dtm_field_uint(&f, TXN_COMMIT_RETRY_BASE_MS, base_interval_s(d, t) * 1000);
    dtm_write_end(&f);
}

void dtm_rollback(struct codec_writer *w, const struct dtm_defaults *d, const struct dtm_txn *t)
{
    struct dtm_writer f = dtm_write(w, d, COMMAND_TXN_ROLLBACK, false);
    char reason[1025];
    field_bytes(&f, TXN_ROLLBACK_XID, gid_of(t));
    if (t->rollback_reason != NULL) { /* shortened where a field ends: between two characters */
        size_t size = strlen(t->rollback_reason), room = sizeof reason - 1;
        size = size < room ? size : room;
        while (size > 0 && ((uint8_t)t->rollback_reason[size] & 0xc0) == 0x80)
            size--;
        memcpy(reason, t->rollback_reason, size);
        reason[size] = 0;
        dtm_field_text(&f, TXN_ROLLBACK_REASON, reason);
    }
    dtm_field_bool(&f, TXN_ROLLBACK_KEEP, true);
    dtm_write_end(&f);
}

int dtm_workflow_end(struct codec_writer *w, const struct dtm_defaults *d, const struct dtm_txn *t,
                     char why[DTM_WHY_MAX])
{
    bool succeed = t->end_status != NULL && strcmp(t->end_status, "succeed") == 0;
    if (!succeed && (t->end_status == NULL || strcmp(t->end_status, "failed") != 0)) {
        snprintf(why, DTM_WHY_MAX, "req_extra.status must be succeed or failed");
        return ASSENT_INVALID;
    }
    struct dtm_writer f = dtm_write(w, d, COMMAND_WORKFLOW_END, false);
    field_bytes(&f, WORKFLOW_END_XID, gid_of(t));
    dtm_field_text(&f, WORKFLOW_END_STATUS, succeed ? "SUCCEEDED" : "FAILED");
    if (t->end_reason != NULL && strlen(t->end_reason) <= 1024)
        dtm_field_text(&f, WORKFLOW_END_REASON, t->end_reason);
    dtm_field_text(&f, WORKFLOW_END_RESULT, t->end_result);
    dtm_field_bool(&f, WORKFLOW_END_KEEP, true);
    dtm_write_end(&f);
    return ASSENT_OK;
}

/* ---- branches ---- */

static int register_step(struct codec_writer *w, const struct dtm_defaults *d, const struct dtm_branch *b,
                         struct assent_bytes gid, char why[DTM_WHY_MAX])
{
    bool succeed = strcmp(b->status, "succeed") == 0;
    if (!succeed && strcmp(b->status, "failed") != 0) {
        snprintf(why, DTM_WHY_MAX, "status must be succeed or failed");
        return ASSENT_INVALID;
    }
    struct dtm_writer f = dtm_write(w, d, COMMAND_WORKFLOW_STEP, false);
    field_bytes(&f, WORKFLOW_STEP_XID, gid);
    field_bytes(&f, WORKFLOW_STEP_BRANCH, cstr_bytes(b->branch_id));
    field_bytes(&f, WORKFLOW_STEP_OP, cstr_bytes(b->op));
    dtm_field_text(&f, WORKFLOW_STEP_STATUS, succeed ? "SUCCEEDED" : "FAILED");
    dtm_field_text(&f, WORKFLOW_STEP_DATA, b->data);
    dtm_write_end(&f);
    return ASSENT_OK;
}

int dtm_register(struct codec_writer *w, const struct dtm_defaults *d, const struct dtm_branch *b,
                 char why[DTM_WHY_MAX])
{
    struct assent_bytes gid = {(const uint8_t *)b->gid,
                               b->gid_size <= sizeof b->gid ? b->gid_size : sizeof b->gid};
    if (b->type == DTM_WORKFLOW)
        return register_step(w, d, b, gid, why);
    if (b->type != DTM_TCC && b->type != DTM_XA) {
        snprintf(why, DTM_WHY_MAX, "trans_type must be tcc, xa or workflow");
        return ASSENT_INVALID;
    }
    bool xa = b->type == DTM_XA;
    struct dtm_writer f = dtm_write(w, d, COMMAND_TXN_BRANCH, false);
    field_bytes(&f, TXN_BRANCH_XID, gid);
    field_bytes(&f, TXN_BRANCH_BRANCH, cstr_bytes(b->branch_id));
    field_bytes(&f, TXN_BRANCH_CONFIRM_URL, cstr_bytes(xa ? b->url : b->confirm));
    field_bytes(&f, TXN_BRANCH_CANCEL_URL, cstr_bytes(xa ? b->url : b->cancel));
    dtm_field_text(&f, TXN_BRANCH_PAYLOAD, b->data);
    dtm_write_end(&f);
    return ASSENT_OK;
}

/* ---- operators, topics, questions ---- */

void dtm_act(struct codec_writer *w, const struct dtm_defaults *d, struct assent_bytes gid, const char *act,
             const char *reason)
{
    struct dtm_writer f = dtm_write(w, d, COMMAND_TXN_ACT, false);
    field_bytes(&f, TXN_ACT_XID, gid);
    dtm_field_text(&f, TXN_ACT_ACT, act);
    dtm_field_text(&f, TXN_ACT_BY, "dtm");
    dtm_field_text(&f, TXN_ACT_REASON, reason);
    dtm_write_end(&f);
}

void dtm_topic(struct codec_writer *w, const struct dtm_defaults *d, uint32_t command, const char *topic,
               const char *url, const char *remark)
{
    struct dtm_writer f = dtm_write(w, d, command, false);
    dtm_field_text(&f, TOPIC_TOPIC, topic);
    if (url != NULL)
        dtm_field_text(&f, TOPIC_URL, url);
    if (remark != NULL)
        dtm_field_text(&f, TOPIC_REMARK, remark);
    dtm_write_end(&f);
}

void dtm_ask(struct codec_writer *w, const struct dtm_defaults *d, uint32_t query, struct assent_bytes gid)
{
    static_assert((int)QUERY_TXN_XID == (int)QUERY_TXN_STATUS_XID, "both begin with the xid");
    struct dtm_writer f = dtm_write(w, d, query, true);
    field_bytes(&f, QUERY_TXN_XID, gid);
    dtm_write_end(&f);
}
