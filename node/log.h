/* The log of the node: one event per line on stderr, as a JSON object for machines or as text for people. */
#ifndef NODE_LOG_H
#define NODE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "json.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };

/* Where and how to write.  Const after set-up, so any thread may use it: a line is one write(2). */
struct log {
    int fd;
    bool json;
    enum log_level level; /* events below it are dropped */
    uint64_t node;        /* id of this node; 0 before it is known */
};

/* Longest line; what does not fit is cut. */
#define LOG_LINE_BYTES_MAX 2048

/* Write one event.  `event` is a fixed name; the format yields `key=value ...`, where a value stands in
 * double quotes or reaches to the next ` key=`. */
void log_write(const struct log *log, enum log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The line alone, without its newline; for tests.  `time_us` is microseconds since 1970. */
void log_format(const struct log *log, enum log_level level, const char *event, const char *details,
                int64_t time_us, struct text *out);

/* "debug", "info", ...; -1 for another word. */
int log_level_by_name(const char *name);

#endif /* NODE_LOG_H */
