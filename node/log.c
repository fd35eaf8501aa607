/* The log of the node: one event per line on stderr, as a JSON object for machines or as text for people. */
#include "log.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const level_names[] = {"debug", "info", "warning", "error"};

int log_level_by_name(const char *name)
{
    for (int i = LOG_DEBUG; i <= LOG_ERROR; i++) {
        if (strcmp(name, level_names[i]) == 0)
            return i;
    }
    return -1;
}

static void put_time(struct text *out, int64_t time_us)
{
    time_t seconds = (time_t)(time_us / 1000000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    char stamp[32];
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
    text_printf(out, "%s.%06dZ", stamp, (int)(time_us % 1000000));
}

static bool is_key_char(char c)
{
    return islower((unsigned char)c) || isdigit((unsigned char)c) || c == '_';
}

/* Length of `key=` at `s`, 0 when none stands there. */
static size_t key_length(const char *s)
{
    size_t n = 0;
    while (is_key_char(s[n]))
        n++;
    return n > 0 && s[n] == '=' ? n : 0;
}

/* Where the value that starts at `s` ends: behind its closing quote, before ` key=`, or at the end. */
static size_t value_length(const char *s)
{
    size_t n = 0;
    if (*s == '"' && strchr(s + 1, '"') != NULL)
        return (size_t)(strchr(s + 1, '"') - s) + 1;
    while (s[n] != 0 && !(s[n] == ' ' && key_length(s + n + 1) > 0))
        n++;
    return n;
}

/* A number JSON takes and every reader holds exactly: up to 15 digits, no leading zero. */
static bool is_number(const char *s, size_t size)
{
    size_t from = size > 0 && s[0] == '-' ? 1 : 0, digits = size - from;
    if (digits == 0 || digits > 15 || (s[from] == '0' && digits > 1))
        return false;
    for (size_t i = from; i < size; i++) {
        if (!isdigit((unsigned char)s[i]))
            return false;
    }
    return true;
}

static void put_pairs(struct text *out, const char *details)
{
    const char *s = details;
    while (*s != 0) {
        size_t key = key_length(s);
        const char *name = key > 0 ? s : "message";
        const char *value = key > 0 ? s + key + 1 : s;
        size_t size = value_length(value);
        text_char(out, ',');
        json_quote(out, (struct assent_bytes){(const uint8_t *)name, key > 0 ? key : strlen(name)});
        text_char(out, ':');
        bool quoted = size >= 2 && value[0] == '"' && value[size - 1] == '"';
        if (is_number(value, size))
            text_put(out, value, size);
        else
            json_quote(out, (struct assent_bytes){(const uint8_t *)value + quoted, quoted ? size - 2 : size});
        s = value + size;
        while (*s == ' ')
            s++;
    }
}

void log_format(const struct log *log, enum log_level level, const char *event, const char *details,
                int64_t time_us, struct text *out)
{
    if (!log->json) {
        put_time(out, time_us);
        text_printf(out, " %-7s %s", level_names[level], event);
        if (*details != 0)
            text_printf(out, " %s", details);
        return;
    }
    text_cstr(out, "{\"time\":\"");
    put_time(out, time_us);
    text_printf(out, "\",\"level\":\"%s\",\"event\":", level_names[level]);
    json_quote_cstr(out, event);
    text_printf(out, ",\"node\":%llu", (unsigned long long)log->node);
    put_pairs(out, details);
    text_char(out, '}');
}

void log_write(const struct log *log, enum log_level level, const char *event, const char *format, ...)
{
    if (level < log->level)
        return;
    char details[LOG_LINE_BYTES_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(details, sizeof details, format, args);
    va_end(args);
    for (char *c = details; *c != 0; c++) {
        if (!log->json && iscntrl((unsigned char)*c))
            *c = ' '; /* an event is one line */
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct text line;
    text_init(&line, (size_t)LOG_LINE_BYTES_MAX * 7); /* escapes make at most six bytes of one */
    log_format(log, level, event, details, (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000, &line);
    text_char(&line, '\n');
    for (size_t done = 0; done < line.size;) {
        ssize_t n = write(log->fd, line.base + done, line.size - done);
        if (n <= 0)
            break; /* nobody reads our log; nothing better to do */
        done += (size_t)n;
    }
    text_close(&line);
}
