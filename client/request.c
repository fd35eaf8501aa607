/* Requests built field by field, checked against the schema, encoded by position. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static struct assent_request *request_of(const struct field *fields)
{
    uint32_t n = 0;
    while (fields[n].name != NULL) {
        n++;
    }
    struct assent_request *r = calloc(1, sizeof *r + n * sizeof r->values[0]);
    if (r != NULL) {
        r->fields = fields;
        r->fields_n = n;
    }
    return r;
}

struct assent_request *request_new(uint32_t type, bool query)
{
    const struct schema *schema = query ? query_schema(type) : command_schema(type);
    assert(schema != NULL);
    struct assent_request *r = request_of(schema->fields);
    if (r != NULL) {
        r->type = type;
        r->query = query;
    }
    return r;
}

struct assent_request *assent_request_command(const char *name)
{
    for (uint32_t type = 0; type < COMMAND_NR; type++) {
        const struct schema *s = command_schema(type);
        /* sessions are the library's own business */
        if (s != NULL && !s->internal && type != COMMAND_SESSION_CLOSE && strcmp(s->name, name) == 0) {
            return request_new(type, false);
        }
    }
    return NULL;
}

struct assent_request *assent_request_query(const char *name)
{
    for (uint32_t type = 0; type < QUERY_NR; type++) {
        const struct schema *s = query_schema(type);
        if (s != NULL && strcmp(s->name, name) == 0) {
            return request_new(type, true);
        }
    }
    return NULL;
}

void assent_request_close(struct assent_request *r)
{
    if (r == NULL) {
        return;
    }
    for (uint32_t i = 0; i < r->fields_n; i++) {
        struct assent_request *object = r->values[i].objects;
        while (object != NULL) {
            struct assent_request *next = object->next;
            assent_request_close(object);
            object = next;
        }
        free(r->values[i].bytes);
    }
    free(r);
}

void assent_request_stale(struct assent_request *r, bool stale)
{
    r->stale = stale;
}

/* ---- setting ---- */

/* Store what `w` holds as the value of field `i`, or behind its members when `append`. */
static int keep(struct assent_request *r, uint32_t i, struct codec_writer *w, bool append)
{
    struct request_field *f = &r->values[i];
    struct assent_bytes bytes = codec_written(w);
    size_t before = append ? f->size : 0;
    int rc = ASSENT_OK;
    if (before + bytes.size > ASSENT_COMMAND_BYTES_MAX) {
        rc = ASSENT_TOO_LARGE;
    } else {
        uint8_t *grown = realloc(f->bytes, before + bytes.size);
        if (grown == NULL) {
            rc = ASSENT_NOMEM;
        } else {
            memcpy(grown + before, bytes.base, bytes.size);
            f->bytes = grown;
            f->size = before + bytes.size;
            f->members = append ? f->members + 1 : 0;
        }
    }
    codec_writer_close(w);
    return rc;
}

static struct assent_bytes text_of(const char *value)
{
    return (struct assent_bytes){(const uint8_t *)value, strlen(value)};
}

static void write_vector(struct codec_writer *w, const struct assent_vector *v)
{
    codec_map(w, v->n);
    for (uint32_t i = 0; i < v->n; i++) {
        codec_text(w, v->entries[i].member);
        codec_uint(w, v->entries[i].count);
    }
}

/* Position of `field` when it is of `kind`, else -1. */
static int position(const struct assent_request *r, const char *field, enum field_kind kind)
{
    for (uint32_t i = 0; i < r->fields_n; i++) {
        if (strcmp(r->fields[i].name, field) == 0) {
            return r->fields[i].kind == kind ? (int)i : -1;
        }
    }
    return -1;
}

#define SET(r, i, append, write)                                                                             \
    ({                                                                                                       \
        struct codec_writer w;                                                                               \
        codec_writer_init(&w);                                                                               \
        write;                                                                                               \
        keep((r), (uint32_t)(i), &w, (append));                                                              \
    })

int assent_request_uint(struct assent_request *r, const char *field, uint64_t value)
{
    int i = position(r, field, FIELD_UINT);
    return i < 0 ? ASSENT_INVALID : SET(r, i, false, codec_uint(&w, value));
}

int assent_request_bool(struct assent_request *r, const char *field, bool value)
{
    int i = position(r, field, FIELD_BOOL);
    return i < 0 ? ASSENT_INVALID : SET(r, i, false, codec_bool(&w, value));
}

int assent_request_text(struct assent_request *r, const char *field, const char *value)
{
    int i = position(r, field, FIELD_TEXT);
    return i < 0 ? ASSENT_INVALID : SET(r, i, false, codec_text(&w, text_of(value)));
}

int assent_request_json(struct assent_request *r, const char *field, const char *json)
{
    int i = position(r, field, FIELD_JSON);
    return i < 0 ? ASSENT_INVALID : SET(r, i, false, codec_json(&w, text_of(json)));
}

int assent_request_vector(struct assent_request *r, const char *field, const struct assent_vector *v)
{
    int i = position(r, field, FIELD_COUNTERS);
    return i < 0 ? ASSENT_INVALID : SET(r, i, false, write_vector(&w, v));
}

int assent_request_pair(struct assent_request *r, const char *field, const char *key, const char *value)
{
    int i = position(r, field, FIELD_TEXTS);
    return i < 0 ? ASSENT_INVALID
                 : SET(r, i, true, (codec_text(&w, text_of(key)), codec_text(&w, text_of(value))));
}

int assent_request_add_uint(struct assent_request *r, const char *field, uint64_t value)
{
    int i = position(r, field, FIELD_LIST);
    return i < 0 ? ASSENT_INVALID : SET(r, i, true, codec_uint(&w, value));
}

int assent_request_add_text(struct assent_request *r, const char *field, const char *value)
{
    int i = position(r, field, FIELD_LIST);
    return i < 0 ? ASSENT_INVALID : SET(r, i, true, codec_text(&w, text_of(value)));
}

struct assent_request *assent_request_add_object(struct assent_request *r, const char *field)
{
    int i = position(r, field, FIELD_OBJECTS);
    struct assent_request *object = i < 0 ? NULL : request_of(r->fields[i].fields);
    if (object == NULL) {
        return NULL;
    }
    struct request_field *f = &r->values[i];
    if (f->last == NULL) {
        f->objects = object;
    } else {
        f->last->next = object;
    }
    f->last = object;
    f->members++;
    return object;
}

/* Our own calls: the field exists and has that kind; out of memory shows as a missing required field. */

void request_uint(struct assent_request *r, uint32_t i, uint64_t value)
{
    assert(r->fields[i].kind == FIELD_UINT);
    (void)SET(r, i, false, codec_uint(&w, value));
}

void request_bool(struct assent_request *r, uint32_t i, bool value)
{
    assert(r->fields[i].kind == FIELD_BOOL);
    (void)SET(r, i, false, codec_bool(&w, value));
}

void request_text(struct assent_request *r, uint32_t i, const char *value)
{
    assert(r->fields[i].kind == FIELD_TEXT);
    if (value != NULL) {
        (void)SET(r, i, false, codec_text(&w, text_of(value)));
    }
}

void request_json(struct assent_request *r, uint32_t i, const char *value)
{
    assert(r->fields[i].kind == FIELD_JSON);
    if (value != NULL) {
        (void)SET(r, i, false, codec_json(&w, text_of(value)));
    }
}

void request_vector(struct assent_request *r, uint32_t i, const struct assent_vector *v)
{
    assert(r->fields[i].kind == FIELD_COUNTERS);
    if (v != NULL) {
        (void)SET(r, i, false, write_vector(&w, v));
    }
}

/* ---- encoding ---- */

static void encode_field(const struct field *field, const struct request_field *f, struct codec_writer *w)
{
    if (f->size == 0 && f->members == 0) {
        codec_nil(w);
        return;
    }
    if (field->kind == FIELD_LIST || field->kind == FIELD_OBJECTS) {
        codec_list(w, f->members);
    } else if (field->kind == FIELD_TEXTS) {
        codec_map(w, f->members);
    }
    if (field->kind == FIELD_OBJECTS) {
        for (const struct assent_request *o = f->objects; o != NULL; o = o->next) {
            codec_list(w, o->fields_n);
            for (uint32_t i = 0; i < o->fields_n; i++) {
                encode_field(&o->fields[i], &o->values[i], w);
            }
        }
        return;
    }
    codec_raw(w, (struct assent_bytes){f->bytes, f->size});
}

uint32_t request_encode(const struct assent_request *r, struct codec_writer *w)
{
    uint32_t n = r->fields_n;
    while (n > 0 && r->values[n - 1].size == 0 && r->values[n - 1].members == 0) {
        n--;
    }
    for (uint32_t i = 0; i < n; i++) {
        encode_field(&r->fields[i], &r->values[i], w);
    }
    return n;
}
