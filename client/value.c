/* Replies and the values in them: looking, copying, writing as JSON. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static const struct codec_node *node_of(const struct assent_value *v)
{
    return (const struct codec_node *)(const void *)v;
}

static const struct assent_value *value_of(const struct codec_node *n)
{
    return (const struct assent_value *)(const void *)n;
}

enum assent_value_kind assent_value_kind(const struct assent_value *v)
{
    switch (codec_kind(node_of(v))) {
    case CODEC_BOOL:
        return ASSENT_VALUE_BOOL;
    case CODEC_UINT:
        return ASSENT_VALUE_UINT;
    case CODEC_INT:
        return ASSENT_VALUE_INT;
    case CODEC_TEXT:
        return ASSENT_VALUE_TEXT;
    case CODEC_LIST:
        return ASSENT_VALUE_LIST;
    case CODEC_MAP:
        return ASSENT_VALUE_MAP;
    case CODEC_JSON:
        return ASSENT_VALUE_JSON;
    case CODEC_NIL:
    case CODEC_BIN:
    case CODEC_OTHER:
        break;
    }
    return ASSENT_VALUE_NONE;
}

bool assent_value_bool(const struct assent_value *v)
{
    return assent_value_kind(v) == ASSENT_VALUE_BOOL && codec_as_bool(node_of(v));
}

uint64_t assent_value_uint(const struct assent_value *v)
{
    return assent_value_kind(v) == ASSENT_VALUE_UINT ? codec_as_uint(node_of(v)) : 0;
}

int64_t assent_value_int(const struct assent_value *v)
{
    enum assent_value_kind kind = assent_value_kind(v);
    if (kind == ASSENT_VALUE_UINT && codec_as_uint(node_of(v)) > INT64_MAX) {
        return 0;
    }
    return kind == ASSENT_VALUE_UINT || kind == ASSENT_VALUE_INT ? codec_as_int(node_of(v)) : 0;
}

struct assent_bytes assent_value_bytes(const struct assent_value *v)
{
    enum assent_value_kind kind = assent_value_kind(v);
    bool text = kind == ASSENT_VALUE_TEXT || kind == ASSENT_VALUE_JSON;
    return text ? codec_as_bytes(node_of(v)) : (struct assent_bytes){NULL, 0};
}

uint32_t assent_value_size(const struct assent_value *v)
{
    return codec_size(node_of(v));
}

const struct assent_value *assent_value_at(const struct assent_value *list, uint32_t i)
{
    return assent_value_kind(list) == ASSENT_VALUE_LIST ? value_of(codec_at(node_of(list), i)) : NULL;
}

const struct assent_value *assent_value_get(const struct assent_value *map, const char *key)
{
    return assent_value_kind(map) == ASSENT_VALUE_MAP ? value_of(codec_get(node_of(map), key)) : NULL;
}

struct assent_bytes assent_value_key(const struct assent_value *map, uint32_t i)
{
    bool there = assent_value_kind(map) == ASSENT_VALUE_MAP && i < codec_size(node_of(map));
    return there ? codec_as_bytes(codec_key_at(node_of(map), i)) : (struct assent_bytes){NULL, 0};
}

const struct assent_value *assent_value_value(const struct assent_value *map, uint32_t i)
{
    bool there = assent_value_kind(map) == ASSENT_VALUE_MAP && i < codec_size(node_of(map));
    return there ? value_of(codec_value_at(node_of(map), i)) : NULL;
}

/* ---- JSON ---- */

static void json_text(FILE *out, struct assent_bytes text)
{
    (void)fputc('"', out);
    for (size_t i = 0; i < text.size; i++) {
        uint8_t b = text.base[i];
        if (b == '"' || b == '\\') {
            (void)fputc('\\', out);
        }
        if (b < 0x20) {
            (void)fprintf(out, "\\u%04x", b);
        } else {
            (void)fputc(b, out);
        }
    }
    (void)fputc('"', out);
}

static void json_value(FILE *out,
                       const struct assent_value *v) /* depth: the codec refuses ASSENT_NESTING_MAX */
{
    struct assent_bytes bytes = assent_value_bytes(v);
    switch (assent_value_kind(v)) {
    case ASSENT_VALUE_NONE:
        (void)fputs("null", out);
        break;
    case ASSENT_VALUE_BOOL:
        (void)fputs(assent_value_bool(v) ? "true" : "false", out);
        break;
    case ASSENT_VALUE_UINT:
        (void)fprintf(out, "%" PRIu64, assent_value_uint(v));
        break;
    case ASSENT_VALUE_INT:
        (void)fprintf(out, "%" PRId64, assent_value_int(v));
        break;
    case ASSENT_VALUE_TEXT:
        json_text(out, bytes);
        break;
    case ASSENT_VALUE_JSON:
        (void)fwrite(bytes.base, 1, bytes.size, out);
        break;
    case ASSENT_VALUE_LIST:
        (void)fputc('[', out);
        for (uint32_t i = 0; i < assent_value_size(v); i++) {
            (void)fputs(i == 0 ? "" : ",", out);
            json_value(out, assent_value_at(v, i));
        }
        (void)fputc(']', out);
        break;
    case ASSENT_VALUE_MAP:
        (void)fputc('{', out);
        for (uint32_t i = 0; i < assent_value_size(v); i++) {
            (void)fputs(i == 0 ? "" : ",", out);
            json_text(out, assent_value_key(v, i));
            (void)fputc(':', out);
            json_value(out, assent_value_value(v, i));
        }
        (void)fputc('}', out);
        break;
    }
}

char *assent_value_json(const struct assent_value *v)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL) {
        return NULL;
    }
    json_value(out, v);
    bool bad = ferror(out) != 0;
    if (fclose(out) != 0 || bad) {
        free(text);
        return NULL;
    }
    return text;
}

/* ---- replies ---- */

void reply_from_code(struct assent_reply *reply, int code)
{
    *reply = (struct assent_reply){.code = code, .detail = assent_error_sentence(code)};
}

bool reply_from_result(struct assent_reply *reply, const struct codec_node *list, char *detail,
                       size_t detail_size)
{
    const struct codec_node *result = codec_at(list, 4);
    const struct codec_node *code = codec_at(result, 0), *data = codec_at(result, 1);
    if (codec_kind(result) != CODEC_LIST || codec_kind(code) != CODEC_UINT || codec_as_uint(code) > 0xffff ||
        (codec_kind(data) != CODEC_MAP && codec_kind(data) != CODEC_NIL)) {
        return false;
    }
    reply_from_code(reply, (int)codec_as_uint(code));
    reply->index = codec_as_uint(codec_at(list, 2));
    reply->term = codec_as_uint(codec_at(list, 3));
    reply->data = codec_kind(data) == CODEC_MAP ? value_of(data) : NULL;
    const struct codec_node *sentence = codec_at(result, 2);
    if (codec_kind(sentence) == CODEC_TEXT && codec_as_bytes(sentence).size > 0) {
        struct assent_bytes text = codec_as_bytes(sentence);
        size_t size = text.size < detail_size ? text.size : detail_size - 1;
        memcpy(detail, text.base, size);
        detail[size] = '\0';
        reply->detail = detail;
    }
    return true;
}

/* What an owned reply stands on. */
struct reply_memory {
    struct codec_arena arena;
    char detail[512];
    uint8_t body[];
};

bool reply_copy(struct assent_reply *to, const struct assent_reply *from, struct assent_bytes body)
{
    *to = *from;
    to->data = NULL;
    if (body.size == 0) {
        return true; /* its detail is a sentence of the error table */
    }
    struct reply_memory *m = malloc(sizeof *m + body.size);
    if (m == NULL) {
        return false;
    }
    codec_arena_init(&m->arena);
    memcpy(m->body, body.base, body.size);
    (void)snprintf(m->detail, sizeof m->detail, "%s", from->detail);
    to->detail = m->detail;
    to->memory = m;
    if (from->data != NULL) {
        enum frame_kind kind;
        uint64_t id;
        const struct codec_node *list;
        bool same = frame_decode(&m->arena, (struct assent_bytes){m->body, body.size}, &kind, &id, &list);
        assert(same); /* it was decoded before */
        to->data = value_of(codec_at(codec_at(list, 4), 1));
    }
    return true;
}

void assent_reply_close(struct assent_reply *reply)
{
    struct reply_memory *m = reply->memory;
    if (m != NULL) {
        codec_arena_close(&m->arena);
        free(m);
    }
    *reply = (struct assent_reply){.detail = ""};
}
