/* Results for people (lines and tables) and for programs (JSON). */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctl.h"

#define COLUMNS_MAX 16
#define CELL_BYTES  96

static bool ends(const char *text, const char *tail)
{
    size_t n = strlen(text), m = strlen(tail);
    return n >= m && strcmp(text + n - m, tail) == 0;
}

/* One value in one line; times become dates. */
static void cell(char *out, size_t size, const char *name, const json_t *v)
{
    if (json_is_string(v)) {
        (void)snprintf(out, size, "%s", json_string_value(v));
    } else if (json_is_null(v) || v == NULL) {
        (void)snprintf(out, size, "-");
    } else if (json_is_integer(v) && ends(name, "Us") && json_integer_value(v) > 1000000000000000) {
        time_t seconds = (time_t)(json_integer_value(v) / 1000000);
        struct tm tm;
        char date[32];
        (void)strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", gmtime_r(&seconds, &tm));
        (void)snprintf(out, size, "%s.%03dZ", date, (int)(json_integer_value(v) / 1000 % 1000));
    } else {
        char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
        (void)snprintf(out, size, "%s", text != NULL ? text : "?");
        free(text);
    }
    for (char *at = out; *at != '\0'; at++) { /* texts of strangers must not move the cursor */
        if ((unsigned char)*at < 0x20 || *at == 0x7f) {
            *at = '?';
        }
    }
}

static size_t split_columns(const char *columns, const json_t *rows, char names[COLUMNS_MAX][64])
{
    size_t n = 0;
    if (columns == NULL) {
        const char *key;
        json_t *value;
        json_object_foreach(json_array_get(rows, 0), key, value)
        {
            if (n < COLUMNS_MAX) {
                (void)snprintf(names[n++], 64, "%s", key);
            }
        }
        return n;
    }
    while (*columns != '\0' && n < COLUMNS_MAX) {
        size_t size = strcspn(columns, " ");
        (void)snprintf(names[n++], 64, "%.*s", (int)size, columns);
        columns += size + (columns[size] == ' ');
    }
    return n;
}

static void heading(char *out, const char *name)
{
    for (; *name != '\0'; name++) {
        bool upper = *name >= 'A' && *name <= 'Z';
        if (upper) {
            *out++ = '_';
        }
        *out++ = (char)(*name >= 'a' && *name <= 'z' ? *name - 32 : *name);
    }
    *out = '\0';
}

static void table(const json_t *rows, const char *columns)
{
    char names[COLUMNS_MAX][64], text[CELL_BYTES];
    size_t widths[COLUMNS_MAX] = {0}, n = split_columns(columns, rows, names), i;
    const json_t *row;
    for (size_t c = 0; c < n; c++) {
        heading(text, names[c]);
        widths[c] = strlen(text);
        json_array_foreach(rows, i, row)
        {
            cell(text, sizeof text, names[c], json_object_get(row, names[c]));
            widths[c] = strlen(text) > widths[c] ? strlen(text) : widths[c];
        }
    }
    for (size_t c = 0; c < n; c++) {
        heading(text, names[c]);
        (void)printf("%-*s%s", c + 1 < n ? (int)widths[c] : 0, text, c + 1 < n ? "  " : "\n");
    }
    json_array_foreach(rows, i, row)
    {
        for (size_t c = 0; c < n; c++) {
            cell(text, sizeof text, names[c], json_object_get(row, names[c]));
            (void)printf("%-*s%s", c + 1 < n ? (int)widths[c] : 0, text, c + 1 < n ? "  " : "\n");
        }
    }
}

static bool is_table(const json_t *v)
{
    return json_is_array(v) && json_is_object(json_array_get(v, 0));
}

static void lines(const json_t *object)
{
    const char *key;
    json_t *value;
    size_t width = 0;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        width = !is_table(value) && strlen(key) > width ? strlen(key) : width;
    }
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        char text[4096];
        if (!is_table(value)) {
            cell(text, sizeof text, key, value);
            (void)printf("%-*s  %s\n", (int)width, key, text);
        }
    }
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        if (is_table(value)) {
            (void)printf("\n%s\n", key);
            table(value, NULL);
        }
    }
}

void show_value(const json_t *v, const char *columns)
{
    if (is_table(v)) {
        table(v, columns);
        return;
    }
    if (!json_is_object(v)) {
        char text[4096];
        cell(text, sizeof text, "", v);
        (void)printf("%s\n", json_is_array(v) && json_array_size(v) == 0 ? "none" : text);
        return;
    }
    const char *key; /* a listing: one table and what belongs to it */
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)v, key, value)
    {
        if (columns != NULL && json_is_array(value)) {
            show_value(value, columns);
            const json_t *next = json_object_get(v, "next");
            if (json_is_string(next)) {
                (void)printf("more: after=%s\n", json_string_value(next));
            }
            return;
        }
    }
    lines(v);
}

void show_json(const json_t *v)
{
    (void)json_dumpf(v, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
    (void)putchar('\n');
}

enum exit_code show_failure(const struct ctl *ctl, const struct answer *a)
{
    if (ctl->json) {
        json_t *v = json_pack("{s:s, s:s}", "error", a->error, "message", a->message);
        show_json(v);
        json_decref(v);
    }
    (void)fprintf(stderr, "assentctl: %s: %s%s%s\n", a->error, a->message,
                  a->endpoint[0] != '\0' ? " at " : "", a->endpoint);
    if (a->code == EXIT_UNKNOWN) {
        (void)fprintf(stderr, "assentctl: it may have been carried out: look before you repeat it\n");
    }
    return a->code;
}

enum exit_code usage_error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)fputs("assentctl: ", stderr);
    (void)vfprintf(stderr, format, args);
    (void)fputs("\nassentctl: see 'assentctl help'\n", stderr);
    va_end(args);
    return EXIT_USAGE;
}
