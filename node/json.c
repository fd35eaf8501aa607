/* JSON text: written directly into a bounded buffer, and cut into raw pieces without being changed. */
#include "json.h"

#include <assert.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a bounded buffer ---- */

void text_init(struct text *t, size_t max)
{
    *t = (struct text){.max = max};
}

void text_close(struct text *t)
{
    free(t->base);
    *t = (struct text){.max = t->max};
}

void text_reset(struct text *t)
{
    t->size = 0;
    t->overflow = false;
}

/* Room for `size` more bytes, or overflow. */
static bool text_reserve(struct text *t, size_t size)
{
    if (t->overflow)
        return false;
    if (size <= t->capacity - t->size)
        return true;
    if (size > t->max - t->size) {
        t->overflow = true;
        return false;
    }
    size_t capacity = t->capacity ? t->capacity : 256;
    while (capacity < t->size + size)
        capacity *= 2;
    if (capacity > t->max)
        capacity = t->max;
    char *base = realloc(t->base, capacity);
    if (base == NULL) {
        t->overflow = true;
        return false;
    }
    t->base = base;
    t->capacity = capacity;
    return true;
}

void text_put(struct text *t, const char *bytes, size_t size)
{
    if (size == 0 || !text_reserve(t, size))
        return;
    memcpy(t->base + t->size, bytes, size);
    t->size += size;
}

void text_cstr(struct text *t, const char *s)
{
    text_put(t, s, strlen(s));
}

void text_char(struct text *t, char c)
{
    text_put(t, &c, 1);
}

void text_uint(struct text *t, uint64_t v)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    text_put(t, digits + at, sizeof digits - at);
}

void text_int(struct text *t, int64_t v)
{
    if (v < 0) {
        text_char(t, '-');
        text_uint(t, 0 - (uint64_t)v);
    } else {
        text_uint(t, (uint64_t)v);
    }
}

void text_printf(struct text *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char small[256];
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(small, sizeof small, format, args);
    va_end(args);
    assert(n >= 0);
    if ((size_t)n < sizeof small) {
        text_put(t, small, (size_t)n);
    } else if (text_reserve(t, (size_t)n + 1)) { /* vsnprintf wants room for its terminator too */
        vsnprintf(t->base + t->size, (size_t)n + 1, format, again);
        t->size += (size_t)n;
    }
    va_end(again);
}

/* ---- writing ---- */

/* Bytes of the UTF-8 sequence at `s`, 0 when it is not one (overlong forms and surrogates are none). */
static size_t utf8_length(const uint8_t *s, size_t size)
{
    if (s[0] < 0x80)
        return 1;
    if (s[0] >= 0xc2 && s[0] <= 0xdf)
        return size >= 2 && (s[1] & 0xc0) == 0x80 ? 2 : 0;
    if (s[0] >= 0xe0 && s[0] <= 0xef) {
        if (size < 3 || (s[1] & 0xc0) != 0x80 || (s[2] & 0xc0) != 0x80)
            return 0;
        bool overlong = s[0] == 0xe0 && s[1] < 0xa0, surrogate = s[0] == 0xed && s[1] >= 0xa0;
        return overlong || surrogate ? 0 : 3;
    }
    if (s[0] >= 0xf0 && s[0] <= 0xf4) {
        if (size < 4 || (s[1] & 0xc0) != 0x80 || (s[2] & 0xc0) != 0x80 || (s[3] & 0xc0) != 0x80)
            return 0;
        bool overlong = s[0] == 0xf0 && s[1] < 0x90, beyond = s[0] == 0xf4 && s[1] >= 0x90;
        return overlong || beyond ? 0 : 4;
    }
    return 0;
}

static void json_escape(struct text *t, uint8_t c)
{
    switch (c) {
    case '"':
        text_put(t, "\\\"", 2);
        break;
    case '\\':
        text_put(t, "\\\\", 2);
        break;
    case '\n':
        text_put(t, "\\n", 2);
        break;
    case '\r':
        text_put(t, "\\r", 2);
        break;
    case '\t':
        text_put(t, "\\t", 2);
        break;
    default:
        text_printf(t, "\\u%04x", c);
    }
}

void json_quote(struct text *t, struct assent_bytes s)
{
    text_char(t, '"');
    size_t plain = 0, at = 0; /* [plain, at) waits to be copied as it is */
    while (at < s.size) {
        uint8_t c = s.base[at];
        size_t length = utf8_length(s.base + at, s.size - at);
        if (length > 0 && c >= 0x20 && c != '"' && c != '\\' && c != 0x7f) {
            at += length;
            continue;
        }
        text_put(t, (const char *)s.base + plain, at - plain);
        if (length == 0)
            text_put(t, "\xef\xbf\xbd", 3);
        else
            json_escape(t, c);
        plain = ++at;
    }
    if (at > plain)
        text_put(t, (const char *)s.base + plain, at - plain);
    text_char(t, '"');
}

void json_quote_cstr(struct text *t, const char *s)
{
    json_quote(t, (struct assent_bytes){(const uint8_t *)s, strlen(s)});
}

static void json_hex(struct text *t, struct assent_bytes bytes)
{
    static const char digits[] = "0123456789abcdef";
    text_char(t, '"');
    for (size_t i = 0; i < bytes.size; i++) {
        text_char(t, digits[bytes.base[i] >> 4]);
        text_char(t, digits[bytes.base[i] & 15]);
    }
    text_char(t, '"');
}

/* The depth is bounded by the decoder: codec_parse() refuses more than ASSENT_NESTING_MAX. */
void json_value(struct text *t, const struct codec_node *n)
{
    switch (codec_kind(n)) {
    case CODEC_BOOL:
        text_cstr(t, codec_as_bool(n) ? "true" : "false");
        return;
    case CODEC_UINT:
        text_uint(t, codec_as_uint(n));
        return;
    case CODEC_INT:
        text_int(t, codec_as_int(n));
        return;
    case CODEC_TEXT:
        json_quote(t, codec_as_bytes(n));
        return;
    case CODEC_JSON:
        text_put(t, (const char *)codec_as_bytes(n).base, codec_as_bytes(n).size);
        return;
    case CODEC_BIN:
        json_hex(t, codec_as_bytes(n));
        return;
    case CODEC_LIST:
        text_char(t, '[');
        for (uint32_t i = 0; i < codec_size(n); i++) {
            if (i > 0)
                text_char(t, ',');
            json_value(t, codec_at(n, i));
        }
        text_char(t, ']');
        return;
    case CODEC_MAP:
        text_char(t, '{');
        for (uint32_t i = 0; i < codec_size(n); i++) {
            if (i > 0)
                text_char(t, ',');
            json_quote(t, codec_as_bytes(codec_key_at(n, i)));
            text_char(t, ':');
            json_value(t, codec_value_at(n, i));
        }
        text_char(t, '}');
        return;
    case CODEC_NIL:
    case CODEC_OTHER:
        break;
    }
    text_cstr(t, "null");
}

/* ---- raw pieces ---- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void skip_space(struct json_cursor *c)
{
    while (c->at < c->end && is_space(*c->at))
        c->at++;
}

/* Step over a string; the cursor stands on its first quote. */
static void skip_string(struct json_cursor *c)
{
    c->at++;
    while (c->at < c->end && *c->at != '"')
        c->at += *c->at == '\\' && c->at + 1 < c->end ? 2 : 1;
    if (c->at < c->end)
        c->at++;
}

struct assent_bytes json_cut(struct json_cursor *c)
{
    skip_space(c);
    const char *start = c->at;
    uint32_t depth = 0;
    while (c->at < c->end) {
        char ch = *c->at;
        if (ch == '"') {
            skip_string(c);
        } else if (ch == '{' || ch == '[') {
            depth++;
            c->at++;
        } else if (ch == '}' || ch == ']') {
            if (depth == 0)
                break;
            depth--;
            c->at++;
        } else if (depth == 0 && (ch == ',' || ch == ':' || is_space(ch))) {
            break;
        } else {
            c->at++;
            continue; /* inside a number or a word */
        }
        if (depth == 0)
            break;
    }
    return (struct assent_bytes){(const uint8_t *)start, (size_t)(c->at - start)};
}

void json_enter(struct json_cursor *c)
{
    skip_space(c);
    if (c->at < c->end)
        c->at++;
}

bool json_next(struct json_cursor *c, bool object, struct assent_bytes *key, struct assent_bytes *value)
{
    skip_space(c);
    if (c->at < c->end && *c->at == ',') {
        c->at++;
        skip_space(c);
    }
    if (c->at >= c->end || *c->at == '}' || *c->at == ']')
        return false;
    if (object) {
        *key = json_cut(c);
        skip_space(c);
        if (c->at < c->end)
            c->at++; /* the colon */
    }
    *value = json_cut(c);
    return true;
}

bool json_compact(struct text *out, struct assent_bytes raw)
{
    struct json_cursor c = {(const char *)raw.base, (const char *)raw.base + raw.size};
    uint32_t depth = 0;
    while (c.at < c.end) {
        const char *start = c.at;
        if (is_space(*start)) {
            c.at++;
            continue;
        }
        if (*start == '"') {
            skip_string(&c);
        } else {
            while (c.at < c.end && *c.at != '"' && !is_space(*c.at)) {
                if ((*c.at == '{' || *c.at == '[') && ++depth > ASSENT_NESTING_MAX)
                    return false;
                if (*c.at == '}' || *c.at == ']')
                    depth--;
                c.at++;
            }
        }
        text_put(out, start, (size_t)(c.at - start));
    }
    return true;
}

bool json_valid(struct assent_bytes raw)
{
    json_error_t error;
    json_t *value = json_loadb((const char *)raw.base, raw.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (value == NULL)
        return false;
    json_decref(value);
    struct text scratch;
    text_init(&scratch, raw.size + 1);
    bool shallow = json_compact(&scratch, raw);
    text_close(&scratch);
    return shallow;
}
