/* The last events of a run, in words. */
#ifndef TESTS_SIM_TRACE_H
#define TESTS_SIM_TRACE_H

#include <stdint.h>

#define TRACE_LINES      200
#define TRACE_LINE_BYTES 256

struct trace {
    uint64_t n; /* told so far */
    char lines[TRACE_LINES][TRACE_LINE_BYTES];
};

/* `data`: a struct trace; as world_run_script() calls it. */
void trace_say(void *data, uint64_t at_us, const char *text);
/* The lines in order, on a file descriptor.  A signal handler may call it. */
void trace_write(const struct trace *t, int fd);

#endif /* TESTS_SIM_TRACE_H */
