/* The last events of a run; see trace.h. */
#include "trace.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

void trace_say(void *data, uint64_t at_us, const char *text)
{
    struct trace *t = data;
    snprintf(t->lines[t->n++ % TRACE_LINES], TRACE_LINE_BYTES, "%10.6f  %s\n", (double)at_us / 1e6, text);
}

void trace_write(const struct trace *t, int fd)
{
    for (uint64_t i = t->n < TRACE_LINES ? 0 : t->n - TRACE_LINES; i < t->n; i++) {
        const char *line = t->lines[i % TRACE_LINES];
        if (write(fd, line, strlen(line)) < 0)
            return;
    }
}
