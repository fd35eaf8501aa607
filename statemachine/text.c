/* Checks of text: UTF-8, control characters, and a JSON recogniser that neither recurses nor allocates. */
#include "text.h"

#include <string.h>

#include "assent/limits.h"

/* Bytes of the sequence at `p`, 0 when it is not one. */
static size_t sequence(const uint8_t *p, size_t left)
{
    static const struct {
        uint8_t first, last, low, high; /* range of the lead byte, then of the second byte */
        uint8_t size;
    } rows[] = {
        {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
        {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
        {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        if (p[0] < rows[r].first || p[0] > rows[r].last)
            continue;
        if (left < rows[r].size || p[1] < rows[r].low || p[1] > rows[r].high)
            return 0;
        for (size_t i = 2; i < rows[r].size; i++) {
            if ((p[i] & 0xc0) != 0x80)
                return 0;
        }
        return rows[r].size;
    }
    return 0;
}

bool text_is_utf8(struct assent_bytes v)
{
    size_t i = 0;
    while (i < v.size) {
        if (v.base[i] != 0 && v.base[i] < 0x80) {
            i++;
            continue;
        }
        size_t n = sequence(v.base + i, v.size - i);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

bool text_has_control(struct assent_bytes v)
{
    for (size_t i = 0; i < v.size; i++) {
        if (v.base[i] < 0x20 || v.base[i] == 0x7f)
            return true;
    }
    return false;
}

/* ---- JSON */

struct scan {
    const uint8_t *p, *end;
};

static void skip_space(struct scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
        s->p++;
}

static bool take(struct scan *s, char c)
{
    if (s->p == s->end || *s->p != (uint8_t)c)
        return false;
    s->p++;
    return true;
}

static bool digits(struct scan *s)
{
    const uint8_t *start = s->p;
    while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
        s->p++;
    return s->p > start;
}

static bool scan_number(struct scan *s)
{
    take(s, '-');
    if (!take(s, '0') && !digits(s))
        return false;
    if (take(s, '.') && !digits(s))
        return false;
    if (take(s, 'e') || take(s, 'E')) {
        if (!take(s, '+'))
            take(s, '-');
        return digits(s);
    }
    return true;
}

static bool is_hex(uint8_t b)
{
    return (b >= '0' && b <= '9') || (b >= 'a' && b <= 'f') || (b >= 'A' && b <= 'F');
}

static bool scan_escape(struct scan *s)
{
    if (s->p == s->end)
        return false;
    uint8_t b = *s->p++;
    if (b != 'u')
        return b != 0 && strchr("\"\\/bfnrt", b) != NULL;
    if (s->end - s->p < 4)
        return false;
    for (int i = 0; i < 4; i++) {
        if (!is_hex(*s->p++))
            return false;
    }
    return true;
}

static bool scan_string(struct scan *s)
{
    if (!take(s, '"'))
        return false;
    while (s->p < s->end) {
        uint8_t b = *s->p;
        if (b < 0x20)
            return false;
        if (b < 0x80) {
            s->p++;
            if (b == '"')
                return true;
            if (b == '\\' && !scan_escape(s))
                return false;
            continue;
        }
        size_t n = sequence(s->p, (size_t)(s->end - s->p));
        if (n == 0)
            return false;
        s->p += n;
    }
    return false;
}

static bool scan_word(struct scan *s, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0)
        return false;
    s->p += n;
    return true;
}

static bool scan_scalar(struct scan *s)
{
    if (s->p == s->end)
        return false;
    switch (*s->p) {
    case '"':
        return scan_string(s);
    case 't':
        return scan_word(s, "true");
    case 'f':
        return scan_word(s, "false");
    case 'n':
        return scan_word(s, "null");
    default:
        return scan_number(s);
    }
}

/* `"key" :` before a value of an object. */
static bool scan_key(struct scan *s)
{
    skip_space(s);
    if (!scan_string(s))
        return false;
    skip_space(s);
    return take(s, ':');
}

bool text_is_json(struct assent_bytes v)
{
    struct scan s = {v.base, v.base + v.size};
    char close[ASSENT_NESTING_MAX]; /* what ends each open container */
    uint32_t depth = 0;
    if (v.size == 0)
        return false;
    for (;;) { /* one value per turn */
        skip_space(&s);
        char ends = take(&s, '{') ? '}' : take(&s, '[') ? ']' : 0;
        if (ends == 0) {
            if (!scan_scalar(&s))
                return false;
        } else {
            if (depth == ASSENT_NESTING_MAX)
                return false;
            skip_space(&s);
            if (!take(&s, ends)) {
                close[depth++] = ends;
                if (ends == '}' && !scan_key(&s))
                    return false;
                continue;
            }
        }
        for (skip_space(&s); depth > 0 && take(&s, close[depth - 1]); skip_space(&s))
            depth--;
        if (depth == 0)
            return s.p == s.end;
        if (!take(&s, ',') || (close[depth - 1] == '}' && !scan_key(&s)))
            return false;
    }
}
