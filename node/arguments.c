/* From what a client wrote (JSON body, query string, path) to the arguments of a command, by its field table.
 */
#include "arguments.h"

#include <assert.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define LOAD_FLAGS (JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL)

void arguments_init(struct arguments *a)
{
    *a = (struct arguments){0};
    text_init(&a->compact, ASSENT_BODY_BYTES_MAX);
}

static void forget_document(struct arguments *a)
{
    if (a->document != NULL)
        json_decref(a->document);
    a->document = NULL;
}

void arguments_close(struct arguments *a)
{
    forget_document(a);
    text_close(&a->compact);
}

#define WHY(a, ...) snprintf((a)->why, sizeof(a)->why, __VA_ARGS__)

static bool name_is(const char *name, const char *bytes, size_t size)
{
    return strlen(name) == size && memcmp(name, bytes, size) == 0;
}

/* Position of the field a client may set by that name, or -1. */
static int field_by_name(const struct field *fields, const char *name, size_t size)
{
    for (int i = 0; fields[i].name != NULL; i++) {
        if ((fields[i].flags & FIELD_INTERNAL) == 0 && name_is(fields[i].name, name, size))
            return i;
    }
    return -1;
}

/* Set a value once. */
static int take(struct arguments *a, const char *name, size_t size, struct argument value)
{
    int i = field_by_name(a->fields, name, size);
    if (i < 0) {
        WHY(a, "there is no field '%.*s'", (int)(size < 64 ? size : 64), name);
        return ASSENT_INVALID;
    }
    assert(i < ARGUMENTS_MAX);
    if (a->value[i].from != ARGUMENT_ABSENT) {
        WHY(a, "field '%s' is given twice", a->fields[i].name);
        return ASSENT_INVALID;
    }
    a->value[i] = value;
    if (a->n < (uint32_t)i + 1)
        a->n = (uint32_t)i + 1;
    return ASSENT_OK;
}

/* ---- where values are found ---- */

static int read_body(struct arguments *a, struct assent_bytes body)
{
    if (body.size == 0)
        return ASSENT_OK;
    json_error_t error;
    json_t *document = json_loadb((const char *)body.base, body.size, LOAD_FLAGS | JSON_DECODE_ANY, &error);
    if (document == NULL) {
        WHY(a, "the body is not JSON: line %d column %d: %.120s", error.line, error.column, error.text);
        return ASSENT_MALFORMED;
    }
    a->document = document;
    if (!json_is_object(document)) {
        WHY(a, "the body must be a JSON object");
        return ASSENT_MALFORMED;
    }
    /* The parsed members and the raw ones stand in the same order: duplicates were refused. */
    struct json_cursor cursor = {(const char *)body.base, (const char *)body.base + body.size};
    json_enter(&cursor);
    struct assent_bytes key, raw;
    for (void *it = json_object_iter(document); it != NULL; it = json_object_iter_next(document, it)) {
        if (!json_next(&cursor, true, &key, &raw)) {
            WHY(a, "the body could not be read");
            return ASSENT_MALFORMED;
        }
        struct argument value = {ARGUMENT_JSON, json_object_iter_value(it), raw};
        int status = take(a, json_object_iter_key(it), json_object_iter_key_len(it), value);
        if (status != ASSENT_OK)
            return status;
    }
    return ASSENT_OK;
}

/* Decode a piece of the query string into `decoded`. */
static bool decode(struct arguments *a, struct assent_bytes piece, struct assent_bytes *out)
{
    char *at = a->decoded + a->decoded_size;
    size_t size;
    if (!route_unescape(piece, true, at, sizeof a->decoded - a->decoded_size, &size))
        return false;
    a->decoded_size += size;
    *out = (struct assent_bytes){(const uint8_t *)at, size};
    return true;
}

static bool text_number(struct assent_bytes text, uint64_t *out)
{
    uint64_t v = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (text.base[i] < '0' || text.base[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(text.base[i] - '0');
        if (v > (INT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *out = v;
    return text.size > 0;
}

static int take_parameter(struct arguments *a, struct assent_bytes name, struct assent_bytes value,
                          bool use_body)
{
    if (use_body && name_is("waitMs", (const char *)name.base, name.size)) {
        if (text_number(value, &a->wait_ms))
            return ASSENT_OK;
        WHY(a, "parameter 'waitMs' takes a whole number of milliseconds");
        return ASSENT_INVALID;
    }
    if (name_is("stale", (const char *)name.base, name.size)) {
        a->stale = value.size == 0 || name_is("true", (const char *)value.base, value.size) ||
                   name_is("1", (const char *)value.base, value.size);
        if (a->stale || name_is("false", (const char *)value.base, value.size))
            return ASSENT_OK;
        WHY(a, "parameter 'stale' takes true or false");
        return ASSENT_INVALID;
    }
    if (use_body) {
        WHY(a, "parameter '%.*s': this call takes its fields in the body",
            (int)(name.size < 64 ? name.size : 64), (const char *)name.base);
        return ASSENT_INVALID;
    }
    return take(a, (const char *)name.base, name.size, (struct argument){ARGUMENT_TEXT, NULL, value});
}

static int read_query(struct arguments *a, struct assent_bytes query, bool use_body)
{
    if (query.size == 0)
        return ASSENT_OK;
    const uint8_t *at = query.base, *end = query.base + query.size;
    while (at < end) {
        const uint8_t *stop = memchr(at, '&', (size_t)(end - at));
        if (stop == NULL)
            stop = end;
        const uint8_t *equals = memchr(at, '=', (size_t)(stop - at));
        struct assent_bytes name = {at, (size_t)((equals ? equals : stop) - at)}, value = {NULL, 0};
        if (equals != NULL)
            value = (struct assent_bytes){equals + 1, (size_t)(stop - equals - 1)};
        at = stop < end ? stop + 1 : end;
        if (name.size == 0 && value.size == 0)
            continue;
        if (!decode(a, name, &name) || !decode(a, value, &value)) {
            WHY(a, "the query string is too long or its percent-encoding is broken");
            return ASSENT_MALFORMED;
        }
        int status = take_parameter(a, name, value, use_body);
        if (status != ASSENT_OK)
            return status;
    }
    return ASSENT_OK;
}

int arguments_read(struct arguments *a, const struct field *fields, const struct argument_source *source)
{
    forget_document(a);
    memset(a->value, 0, sizeof a->value);
    a->fields = fields;
    a->n = 0;
    a->stale = false;
    a->wait_ms = 0;
    a->decoded_size = 0;
    a->why[0] = 0;
    for (uint32_t i = 0; i < source->captures_n; i++) {
        const struct route_capture *c = &source->captures[i];
        struct assent_bytes value = {(const uint8_t *)c->value, c->value_size};
        int status = take(a, c->name, c->name_size, (struct argument){ARGUMENT_TEXT, NULL, value});
        if (status != ASSENT_OK)
            return status;
    }
    if (!source->use_body && source->body.size > 0) {
        WHY(a, "this call takes no body");
        return ASSENT_INVALID;
    }
    int status = read_query(a, source->query, source->use_body);
    return status != ASSENT_OK || !source->use_body ? status : read_body(a, source->body);
}

/* ---- converting ---- */

static int write_json(struct arguments *a, struct codec_writer *w, const char *path, struct assent_bytes raw)
{
    text_reset(&a->compact);
    if (!json_compact(&a->compact, raw) || a->compact.overflow) {
        WHY(a, "field '%s': nested too deep or too large", path);
        return ASSENT_INVALID;
    }
    codec_json(w, (struct assent_bytes){(const uint8_t *)a->compact.base, a->compact.size});
    return ASSENT_OK;
}

static int wrong_type(struct arguments *a, const char *path, const char *want)
{
    WHY(a, "field '%s' must be %s", path, want);
    return ASSENT_INVALID;
}

static struct assent_bytes string_bytes(const json_t *v)
{
    return (struct assent_bytes){(const uint8_t *)json_string_value(v), json_string_length(v)};
}

static int write_map(struct arguments *a, struct codec_writer *w, const struct field *f, const char *path,
                     json_t *v)
{
    bool counters = f->kind == FIELD_COUNTERS;
    const char *want = counters ? "an object of whole numbers, 0 or more" : "an object of texts";
    if (!json_is_object(v))
        return wrong_type(a, path, want);
    codec_map(w, (uint32_t)json_object_size(v));
    for (void *it = json_object_iter(v); it != NULL; it = json_object_iter_next(v, it)) {
        const json_t *member = json_object_iter_value(it);
        if (counters ? !json_is_integer(member) || json_integer_value(member) < 0 : !json_is_string(member))
            return wrong_type(a, path, want);
        codec_text(w, (struct assent_bytes){(const uint8_t *)json_object_iter_key(it),
                                            json_object_iter_key_len(it)});
        if (counters)
            codec_uint(w, (uint64_t)json_integer_value(member));
        else
            codec_text(w, string_bytes(member));
    }
    return ASSENT_OK;
}

static int write_list(struct arguments *a, struct codec_writer *w, const char *path, json_t *v)
{
    static const char want[] = "a list of texts or of whole numbers, 0 or more";
    if (!json_is_array(v))
        return wrong_type(a, path, want);
    codec_list(w, (uint32_t)json_array_size(v));
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *member = json_array_get(v, i);
        if (json_is_string(member))
            codec_text(w, string_bytes(member));
        else if (json_is_integer(member) && json_integer_value(member) >= 0)
            codec_uint(w, (uint64_t)json_integer_value(member));
        else
            return wrong_type(a, path, want);
    }
    return ASSENT_OK;
}

static int write_value(struct arguments *a, struct codec_writer *w, const struct field *f, const char *path,
                       json_t *v, struct assent_bytes raw);

/* One object of a list: a list by position; the raw members run beside the parsed ones. */
static int write_object(struct arguments *a, struct codec_writer *w, const struct field *fields,
                        const char *path, json_t *v, struct assent_bytes text)
{
    struct argument value[ARGUMENTS_MAX] = {0};
    if (!json_is_object(v))
        return wrong_type(a, path, "an object");
    struct json_cursor cursor = {(const char *)text.base, (const char *)text.base + text.size};
    json_enter(&cursor);
    struct assent_bytes key, raw;
    uint32_t n = 0;
    for (void *it = json_object_iter(v); it != NULL && json_next(&cursor, true, &key, &raw);
         it = json_object_iter_next(v, it)) {
        int i = field_by_name(fields, json_object_iter_key(it), json_object_iter_key_len(it));
        if (i < 0) {
            WHY(a, "field '%s': there is no field '%.64s' in it", path, json_object_iter_key(it));
            return ASSENT_INVALID;
        }
        value[i] = (struct argument){ARGUMENT_JSON, json_object_iter_value(it), raw};
        if (n < (uint32_t)i + 1)
            n = (uint32_t)i + 1;
    }
    codec_list(w, n);
    for (uint32_t i = 0; i < n; i++) {
        char inner[128];
        snprintf(inner, sizeof inner, "%.80s.%.40s", path, fields[i].name);
        if (value[i].from == ARGUMENT_ABSENT) {
            codec_nil(w);
            continue;
        }
        int status = write_value(a, w, &fields[i], inner, value[i].json, value[i].raw);
        if (status != ASSENT_OK)
            return status;
    }
    return ASSENT_OK;
}

static int write_objects(struct arguments *a, struct codec_writer *w, const struct field *f, const char *path,
                         json_t *v, struct assent_bytes text)
{
    if (!json_is_array(v))
        return wrong_type(a, path, "a list of objects");
    if (f->max > 0 && json_array_size(v) > f->max) {
        WHY(a, "field '%s' takes %llu objects at most", path, (unsigned long long)f->max);
        return ASSENT_INVALID;
    }
    struct json_cursor cursor = {(const char *)text.base, (const char *)text.base + text.size};
    json_enter(&cursor);
    codec_list(w, (uint32_t)json_array_size(v));
    struct assent_bytes key, raw;
    for (size_t i = 0; i < json_array_size(v) && json_next(&cursor, false, &key, &raw); i++) {
        char inner[128];
        snprintf(inner, sizeof inner, "%.80s[%zu]", path, i);
        int status = write_object(a, w, f->fields, inner, json_array_get(v, i), raw);
        if (status != ASSENT_OK)
            return status;
    }
    return ASSENT_OK;
}

/* A parsed value.  The recursion is as deep as the field tables, not as the input. */
static int write_value(struct arguments *a, struct codec_writer *w, const struct field *f, const char *path,
                       json_t *v, struct assent_bytes raw)
{
    if (f->kind == FIELD_JSON)
        return write_json(a, w, path, raw);
    if (json_is_null(v)) {
        codec_nil(w);
        return ASSENT_OK;
    }
    switch (f->kind) {
    case FIELD_BOOL:
        if (!json_is_boolean(v))
            return wrong_type(a, path, "true or false");
        codec_bool(w, json_is_true(v));
        return ASSENT_OK;
    case FIELD_UINT:
        if (!json_is_integer(v) || json_integer_value(v) < 0)
            return wrong_type(a, path, "a whole number, 0 or more");
        codec_uint(w, (uint64_t)json_integer_value(v));
        return ASSENT_OK;
    case FIELD_TEXT:
        if (!json_is_string(v))
            return wrong_type(a, path, "a text");
        codec_text(w, string_bytes(v));
        return ASSENT_OK;
    case FIELD_COUNTERS:
    case FIELD_TEXTS:
        return write_map(a, w, f, path, v);
    case FIELD_LIST:
        return write_list(a, w, path, v);
    case FIELD_OBJECTS:
        return write_objects(a, w, f, path, v, raw);
    case FIELD_JSON:
        break;
    }
    return wrong_type(a, path, "something else");
}

/* A value of the path or the query string: a scalar as it stands, anything else as JSON text. */
static int write_text(struct arguments *a, struct codec_writer *w, const struct field *f,
                      struct assent_bytes text)
{
    uint64_t number;
    bool yes = name_is("true", (const char *)text.base, text.size) ||
               name_is("1", (const char *)text.base, text.size);
    if (f->kind == FIELD_TEXT) {
        codec_text(w, text);
        return ASSENT_OK;
    }
    if (f->kind == FIELD_UINT) {
        if (!text_number(text, &number))
            return wrong_type(a, f->name, "a whole number, 0 or more");
        codec_uint(w, number);
        return ASSENT_OK;
    }
    if (f->kind == FIELD_BOOL) {
        if (!yes && !name_is("false", (const char *)text.base, text.size) &&
            !name_is("0", (const char *)text.base, text.size))
            return wrong_type(a, f->name, "true or false");
        codec_bool(w, yes);
        return ASSENT_OK;
    }
    json_error_t error;
    json_t *v = json_loadb((const char *)text.base, text.size, LOAD_FLAGS | JSON_DECODE_ANY, &error);
    if (v == NULL)
        return wrong_type(a, f->name, "JSON");
    int status = write_value(a, w, f, f->name, v, text);
    json_decref(v);
    return status;
}

void arguments_default(struct arguments *a, const char *name, struct assent_bytes value)
{
    for (uint32_t i = 0; a->fields[i].name != NULL; i++) {
        if (strcmp(a->fields[i].name, name) != 0 || (i < a->n && a->value[i].from != ARGUMENT_ABSENT))
            continue;
        a->value[i] = (struct argument){ARGUMENT_TEXT, NULL, value};
        if (i >= a->n)
            a->n = i + 1;
    }
}

int arguments_write(struct arguments *a, struct codec_writer *w)
{
    for (uint32_t i = 0; i < a->n; i++) {
        const struct field *f = &a->fields[i];
        struct argument *v = &a->value[i];
        int status = ASSENT_OK;
        if (v->from == ARGUMENT_ABSENT)
            codec_nil(w);
        else if (v->from == ARGUMENT_TEXT)
            status = write_text(a, w, f, v->raw);
        else
            status = write_value(a, w, f, f->name, v->json, v->raw);
        if (status != ASSENT_OK)
            return status;
    }
    return ASSENT_OK;
}
