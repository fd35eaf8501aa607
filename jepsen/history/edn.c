#include "edn.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int write_at(FILE *out, const json_t *value, int depth);

static int write_string(FILE *out, const char *text)
{
    if (text[0] == ':')
        return fputs(text, out) < 0 ? -1 : 0;
    fputc('"', out);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', out);
        fputc(*text, out);
    }
    return fputc('"', out) == EOF ? -1 : 0;
}

/* Names that are integers become integers: {"3": 97} is {3 97}. */
static int write_name(FILE *out, const char *name)
{
    char *end;
    errno = 0;
    (void)strtoll(name, &end, 10);
    if (name[0] != '\0' && *end == '\0' && errno == 0 && !isspace((unsigned char)name[0]))
        return fputs(name, out) < 0 ? -1 : 0;
    return write_string(out, name);
}

static int write_map(FILE *out, const json_t *value, int depth)
{
    const char *name;
    json_t *part;
    const char *gap = "";
    fputc('{', out);
    json_object_foreach((json_t *)value, name, part)
    {
        fputs(gap, out);
        gap = ", ";
        if (write_name(out, name) != 0 || fputc(' ', out) == EOF || write_at(out, part, depth + 1) != 0)
            return -1;
    }
    return fputc('}', out) == EOF ? -1 : 0;
}

static int write_at(FILE *out, const json_t *value, int depth)
{
    size_t i;
    json_t *part;
    if (depth > EDN_DEPTH_MAX || json_is_real(value))
        return -1;
    if (value == NULL || json_is_null(value))
        return fputs("nil", out) < 0 ? -1 : 0;
    if (json_is_boolean(value))
        return fputs(json_is_true(value) ? "true" : "false", out) < 0 ? -1 : 0;
    if (json_is_integer(value))
        return fprintf(out, "%lld", (long long)json_integer_value(value)) < 0 ? -1 : 0;
    if (json_is_string(value))
        return write_string(out, json_string_value(value));
    if (json_is_object(value))
        return write_map(out, value, depth);
    fputc('[', out);
    json_array_foreach((json_t *)value, i, part) if ((i > 0 && fputc(' ', out) == EOF) ||
                                                     write_at(out, part, depth + 1) != 0) return -1;
    return fputc(']', out) == EOF ? -1 : 0;
}

int edn_write(FILE *out, const json_t *value)
{
    return write_at(out, value, 0);
}

static json_t *read_at(const char **text, int depth);

static void skip(const char **text)
{
    while (isspace((unsigned char)**text) || **text == ',')
        (*text)++;
}

static json_t *read_string(const char **text)
{
    char *copy = malloc(strlen(*text) + 1);
    size_t n = 0;
    const char *p = *text + 1;
    if (copy == NULL)
        return NULL;
    for (; *p != '\0' && *p != '"'; p++) {
        if (*p == '\\' && p[1] != '\0')
            p++;
        copy[n++] = *p;
    }
    json_t *value = *p == '"' ? json_stringn(copy, n) : NULL;
    *text = *p == '"' ? p + 1 : p;
    free(copy);
    return value;
}

static json_t *read_atom(const char **text)
{
    const char *start = *text;
    size_t n = strcspn(start, " \t\r\n,]}[{\"");
    char *end;
    *text += n;
    if (n > 1 && start[0] == ':')
        return json_stringn(start, n);
    if (n == 3 && memcmp(start, "nil", 3) == 0)
        return json_null();
    if ((n == 4 && memcmp(start, "true", 4) == 0) || (n == 5 && memcmp(start, "false", 5) == 0))
        return json_boolean(n == 4);
    errno = 0;
    long long number = strtoll(start, &end, 10);
    return n > 0 && end == start + n && errno == 0 ? json_integer(number) : NULL;
}

static json_t *read_vector(const char **text, int depth)
{
    json_t *list = json_array();
    for ((*text)++, skip(text); **text != ']'; skip(text)) {
        json_t *part = read_at(text, depth + 1);
        if (part == NULL || json_array_append_new(list, part) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    (*text)++;
    return list;
}

static json_t *read_map(const char **text, int depth)
{
    json_t *map = json_object();
    for ((*text)++, skip(text); **text != '}'; skip(text)) {
        char name[24];
        json_t *key = read_at(text, depth + 1);
        json_t *part = key == NULL ? NULL : read_at(text, depth + 1);
        const char *spelled = json_string_value(key);
        if (json_is_integer(key)) {
            snprintf(name, sizeof name, "%lld", (long long)json_integer_value(key));
            spelled = name;
        }
        int rv = spelled == NULL || part == NULL ? -1 : json_object_set(map, spelled, part);
        json_decref(key);
        json_decref(part);
        if (rv != 0) {
            json_decref(map);
            return NULL;
        }
    }
    (*text)++;
    return map;
}

static json_t *read_at(const char **text, int depth)
{
    skip(text);
    if (depth > EDN_DEPTH_MAX)
        return NULL;
    switch (**text) {
    case '{':
        return read_map(text, depth);
    case '[':
        return read_vector(text, depth);
    case '"':
        return read_string(text);
    default:
        return read_atom(text);
    }
}

json_t *edn_read(const char **text)
{
    return read_at(text, 0);
}
