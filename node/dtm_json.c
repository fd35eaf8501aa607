/* What DTM clients send, decoded as tolerantly as they rely on.
 *
 * The server's own decoder is Go's, so its rules are the contract: a field may be written in any case, the
 * last of several counts, null leaves it absent, a whole number has neither point nor exponent. */
#include "dtm_json.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "assent/error.h"

static const char *const type_names[DTM_TYPE_NR] = {"saga", "tcc", "xa", "msg", "workflow"};

const char *dtm_type_name(enum dtm_type type)
{
    return type < DTM_TYPE_NR ? type_names[type] : "";
}

enum dtm_type dtm_type_by_name(const char *name)
{
    for (unsigned i = 0; name != NULL && i < DTM_TYPE_NR; i++)
        if (strcmp(name, type_names[i]) == 0)
            return (enum dtm_type)i;
    return DTM_TYPE_NR;
}

size_t dtm_gid_clean(const char *gid, char out[ASSENT_XID_BYTES_MAX])
{
    size_t n = 0;
    for (; *gid != 0; gid++) {
        if (*gid == '\n' || *gid == '\r' || *gid == ';')
            continue;
        if (n < ASSENT_XID_BYTES_MAX)
            out[n] = *gid;
        n++;
    }
    return n;
}

/* ---- base64 ---- */

static int base64_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c != 0 ? strchr(digits, c) : NULL;
    return at != NULL ? (int)(at - digits) : -1;
}

uint8_t *dtm_base64_decode(const char *text, size_t *size)
{
    size_t n = strlen(text), padding = 0;
    if (n % 4 != 0)
        return NULL;
    while (padding < 2 && padding < n && text[n - 1 - padding] == '=')
        padding++;
    uint8_t *out = malloc(n / 4 * 3 + 1);
    if (out == NULL)
        abort();
    *size = n / 4 * 3 - padding;
    for (size_t i = 0, at = 0; i < n; i += 4) {
        uint32_t bits = 0;
        for (size_t k = 0; k < 4; k++) {
            int digit = i + k >= n - padding ? 0 : base64_digit(text[i + k]);
            if (digit < 0) {
                free(out);
                return NULL;
            }
            bits = bits << 6 | (uint32_t)digit;
        }
        for (size_t k = 0; k < 3; k++)
            out[at++] = (uint8_t)(bits >> (16 - 8 * k));
    }
    return out;
}

void dtm_base64_encode(struct assent_bytes in, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < in.size; i += 3) {
        size_t left = in.size - i;
        uint32_t bits = (uint32_t)in.base[i] << 16;
        bits |= left > 1 ? (uint32_t)in.base[i + 1] << 8 : 0;
        bits |= left > 2 ? in.base[i + 2] : 0;
        *out++ = digits[bits >> 18 & 63];
        *out++ = digits[bits >> 12 & 63];
        *out++ = left > 1 ? digits[bits >> 6 & 63] : '=';
        *out++ = left > 2 ? digits[bits & 63] : '=';
    }
    *out = 0;
}

/* ---- members of objects ---- */

/* One decoding: the first thing that is wrong. */
struct reader {
    const json_t *object;
    char *why;
    bool wrong;
};

static void wrong(struct reader *r, const char *name, const char *must)
{
    if (!r->wrong)
        snprintf(r->why, DTM_WHY_MAX, "field '%s' must be %s", name, must);
    r->wrong = true;
}

static const json_t *member(const json_t *object, const char *name)
{
    const json_t *found = NULL;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        if (!json_is_null(value) && strcasecmp(key, name) == 0)
            found = value;
    }
    return found;
}

static const char *read_text(struct reader *r, const char *name)
{
    const json_t *v = member(r->object, name);
    if (v != NULL && !json_is_string(v))
        wrong(r, name, "a text");
    return json_string_value(v);
}

static bool read_bool(struct reader *r, const char *name)
{
    const json_t *v = member(r->object, name);
    if (v != NULL && !json_is_boolean(v))
        wrong(r, name, "true or false");
    return json_is_true(v);
}

static int64_t read_int(struct reader *r, const char *name)
{
    const json_t *v = member(r->object, name);
    if (v != NULL && !json_is_integer(v))
        wrong(r, name, "a whole number");
    return json_integer_value(v);
}

/* PHP writes an empty map as an empty list. */
static const json_t *read_texts(struct reader *r, const char *name)
{
    const json_t *v = member(r->object, name);
    const char *key;
    json_t *value;
    if (v == NULL || (json_is_array(v) && json_array_size(v) == 0))
        return NULL;
    if (!json_is_object(v))
        wrong(r, name, "an object of texts");
    json_object_foreach((json_t *)(uintptr_t)v, key, value)
    {
        if (!json_is_string(value) && !json_is_null(value))
            wrong(r, name, "an object of texts");
    }
    return v;
}

static const json_t *read_text_list(struct reader *r, const char *name)
{
    const json_t *v = member(r->object, name);
    if (v == NULL || (json_is_object(v) && json_object_size(v) == 0))
        return NULL;
    if (!json_is_array(v))
        wrong(r, name, "a list of texts");
    for (size_t i = 0; i < json_array_size(v); i++)
        if (!json_is_string(json_array_get(v, i)) && !json_is_null(json_array_get(v, i)))
            wrong(r, name, "a list of texts");
    return v;
}

static const json_t *read_steps(struct reader *r)
{
    const json_t *v = member(r->object, "steps");
    if (v == NULL || (json_is_object(v) && json_object_size(v) == 0))
        return NULL;
    if (!json_is_array(v))
        wrong(r, "steps", "a list of objects of texts");
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *step = json_array_get(v, i);
        const char *key;
        json_t *value;
        if (!json_is_object(step) && !json_is_null(step) &&
            !(json_is_array(step) && json_array_size(step) == 0))
            wrong(r, "steps", "a list of objects of texts");
        json_object_foreach((json_t *)(uintptr_t)step, key, value)
        {
            if (!json_is_string(value) && !json_is_null(value))
                wrong(r, "steps", "a list of objects of texts");
        }
    }
    return v;
}

/* Owned; NULL with a sentence. */
static json_t *parse(struct assent_bytes body, char why[DTM_WHY_MAX])
{
    json_error_t error;
    if (body.size == 0) {
        snprintf(why, DTM_WHY_MAX, "the body is empty");
        return NULL;
    }
    json_t *root = json_loadb((const char *)body.base, body.size, JSON_DECODE_ANY, &error);
    if (root == NULL) {
        snprintf(why, DTM_WHY_MAX, "the body is not JSON: %.150s", error.text);
        return NULL;
    }
    if (!json_is_object(root)) {
        snprintf(why, DTM_WHY_MAX, "the body must be a JSON object");
        json_decref(root);
        return NULL;
    }
    return root;
}

/* ---- transactions ---- */

int dtm_txn_take(struct dtm_txn *t, json_t *object, char why[DTM_WHY_MAX])
{
    *t = (struct dtm_txn){.root = json_incref(object), .type = DTM_TYPE_NR};
    if (!json_is_object(object)) {
        snprintf(why, DTM_WHY_MAX, "a transaction must be a JSON object");
        return ASSENT_INVALID;
    }
    struct reader r = {object, why, false};
    const char *gid = read_text(&r, "gid");
    t->gid_size = gid != NULL ? dtm_gid_clean(gid, t->gid) : 0;
    t->type = dtm_type_by_name(read_text(&r, "trans_type"));
    t->steps = read_steps(&r);
    t->payloads = read_text_list(&r, "payloads");
    t->headers = read_texts(&r, "branch_headers");
    t->passthrough = read_text_list(&r, "passthrough_headers");
    t->query_prepared = read_text(&r, "query_prepared");
    t->custom_data = read_text(&r, "custom_data");
    t->protocol = read_text(&r, "protocol");
    t->rollback_reason = read_text(&r, "rollback_reason");
    t->wait_result = read_bool(&r, "wait_result");
    t->concurrent = read_bool(&r, "concurrent");
    t->timeout_to_fail = read_int(&r, "timeout_to_fail");
    t->request_timeout = read_int(&r, "request_timeout");
    t->retry_interval = read_int(&r, "retry_interval");
    t->retry_limit = read_int(&r, "retry_limit");
    t->retry_count = read_int(&r, "retry_count");
    struct reader extra = {read_texts(&r, "req_extra"), why, r.wrong};
    if (extra.object != NULL && json_is_object(extra.object)) {
        t->end_status = read_text(&extra, "status");
        t->end_reason = read_text(&extra, "rollback_reason");
        t->end_result = read_text(&extra, "result");
    }
    return r.wrong || extra.wrong ? ASSENT_INVALID : ASSENT_OK;
}

int dtm_txn_decode(struct dtm_txn *t, struct assent_bytes body, char why[DTM_WHY_MAX])
{
    json_t *root = parse(body, why);
    if (root == NULL) {
        *t = (struct dtm_txn){.type = DTM_TYPE_NR};
        return ASSENT_INVALID;
    }
    int status = dtm_txn_take(t, root, why);
    json_decref(root);
    return status;
}

void dtm_txn_close(struct dtm_txn *t)
{
    json_decref(t->root);
    t->root = NULL;
}

const json_t *dtm_txn_payload(const struct dtm_txn *t, size_t i)
{
    size_t n = json_array_size(t->payloads);
    if (i < n)
        return json_array_get(t->payloads, i);
    for (size_t k = 0; k < json_array_size(t->steps); k++) {
        const json_t *data = json_object_get(json_array_get(t->steps, k), "data"); /* a map: as written */
        if (json_string_length(data) > 0 && n++ == i)
            return data;
    }
    return NULL;
}

/* ---- custom data ---- */

static bool orders_ok(const json_t *orders)
{
    const char *key;
    json_t *list, *v;
    size_t i;
    if (json_is_array(orders)) {
        json_array_foreach((json_t *)(uintptr_t)orders, i, list)
        {
            size_t k;
            json_array_foreach(list, k, v)
            {
                if (!json_is_integer(v))
                    return false;
            }
            if (!json_is_array(list) && !json_is_null(list))
                return false;
        }
        return true;
    }
    json_object_foreach((json_t *)(uintptr_t)orders, key, list)
    {
        size_t digits = strspn(key, "0123456789");
        if (digits == 0 || key[digits] != 0 || digits > 9 || (!json_is_array(list) && !json_is_null(list)))
            return false;
        json_array_foreach(list, i, v)
        {
            if (!json_is_integer(v))
                return false;
        }
    }
    return json_is_object(orders);
}

const json_t *dtm_custom_before(const struct dtm_custom *c, size_t i)
{
    if (json_is_array(c->orders))
        return json_array_get(c->orders, i);
    char key[24];
    snprintf(key, sizeof key, "%zu", i);
    return json_object_get(c->orders, key);
}

static void custom_read(struct dtm_custom *c, enum dtm_type type, struct reader *r)
{
    if (type == DTM_SAGA) {
        c->concurrent = read_bool(r, "concurrent");
        c->orders = member(r->object, "orders");
        if (c->orders != NULL && !orders_ok(c->orders))
            wrong(r, "custom_data.orders", "an object of lists of whole numbers");
    } else if (type == DTM_MSG) {
        int64_t delay = read_int(r, "delay");
        if (delay < 0)
            wrong(r, "custom_data.delay", "0 or more");
        c->delay_s = delay > 0 ? (uint64_t)delay : 0;
    } else if (type == DTM_WORKFLOW) {
        const char *data = read_text(r, "data");
        c->name = read_text(r, "name");
        if (data != NULL && (c->data = dtm_base64_decode(data, &c->data_size)) == NULL)
            wrong(r, "custom_data.data", "base64");
    }
}

int dtm_custom_decode(struct dtm_custom *c, const struct dtm_txn *t, char why[DTM_WHY_MAX])
{
    *c = (struct dtm_custom){0};
    if (t->custom_data == NULL || t->custom_data[0] == 0)
        return ASSENT_OK;
    json_error_t error;
    c->root = json_loads(t->custom_data, JSON_DECODE_ANY, &error);
    bool used = t->type == DTM_SAGA || t->type == DTM_MSG || t->type == DTM_WORKFLOW;
    if (!used || json_is_null(c->root) || (json_is_array(c->root) && json_array_size(c->root) == 0))
        return ASSENT_OK;
    if (!json_is_object(c->root)) {
        snprintf(why, DTM_WHY_MAX, "field 'custom_data' must be the text of a JSON object");
        return ASSENT_INVALID;
    }
    struct reader r = {c->root, why, false};
    custom_read(c, t->type, &r);
    return r.wrong ? ASSENT_INVALID : ASSENT_OK;
}

void dtm_custom_close(struct dtm_custom *c)
{
    json_decref(c->root);
    free(c->data);
    *c = (struct dtm_custom){0};
}

/* ---- branches ---- */

int dtm_branch_take(struct dtm_branch *b, json_t *object, char why[DTM_WHY_MAX])
{
    *b = (struct dtm_branch){.root = json_incref(object), .type = DTM_TYPE_NR};
    const char *key;
    json_t *value;
    if (!json_is_object(object)) {
        snprintf(why, DTM_WHY_MAX, "a branch must be a JSON object of texts");
        return ASSENT_INVALID;
    }
    json_object_foreach(object, key, value)
    {
        if (!json_is_string(value) && !json_is_null(value)) {
            snprintf(why, DTM_WHY_MAX, "field '%.100s' must be a text", key);
            return ASSENT_INVALID;
        }
    }
    /* a map, not a structure: these names are taken as they are written */
    static const struct {
        const char *name;
        size_t at;
    } rows[] = {
        {"branch_id", offsetof(struct dtm_branch, branch_id)},
        {"data", offsetof(struct dtm_branch, data)},
        {"confirm", offsetof(struct dtm_branch, confirm)},
        {"cancel", offsetof(struct dtm_branch, cancel)},
        {"url", offsetof(struct dtm_branch, url)},
        {"op", offsetof(struct dtm_branch, op)},
        {"status", offsetof(struct dtm_branch, status)},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *text = json_string_value(json_object_get(object, rows[i].name));
        memcpy((char *)b + rows[i].at, &(const char *){text != NULL ? text : ""}, sizeof text);
    }
    const char *gid = json_string_value(json_object_get(object, "gid"));
    b->gid_size = gid != NULL ? dtm_gid_clean(gid, b->gid) : 0;
    b->type = dtm_type_by_name(json_string_value(json_object_get(object, "trans_type")));
    return ASSENT_OK;
}

int dtm_branch_decode(struct dtm_branch *b, struct assent_bytes body, char why[DTM_WHY_MAX])
{
    json_t *root = parse(body, why);
    if (root == NULL) {
        *b = (struct dtm_branch){.type = DTM_TYPE_NR};
        return ASSENT_INVALID;
    }
    int status = dtm_branch_take(b, root, why);
    json_decref(root);
    return status;
}

void dtm_branch_close(struct dtm_branch *b)
{
    json_decref(b->root);
    b->root = NULL;
}
