/* What the tests of the clocks share: a state machine per test, and its commands as printf lines. */
#ifndef TESTS_CLOCK_CASE_H
#define TESTS_CLOCK_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "assent/error.h"
#include "sm_harness.h"

static int case_open(void **state)
{
    struct sm_harness *h = malloc(sizeof *h);
    sm_harness_open(h);
    *state = h;
    return 0;
}

static int case_close(void **state)
{
    sm_harness_close(*state);
    free(*state);
    return 0;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, case_open, case_close)

__attribute__((format(printf, 1, 0))) static inline const char *case_line(const char *format, va_list args)
{
    static char line[65536];
    int size = vsnprintf(line, sizeof line, format, args);
    assert_true(size > 0 && (size_t)size < sizeof line);
    return line;
}

/* Run a command; the code's name, so that a failed assertion reads well. */
__attribute__((format(printf, 3, 4))) static inline const char *run(struct sm_harness *h, uint32_t type,
                                                                    const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int code = sm_run(h, type, case_line(format, args));
    va_end(args);
    return assent_error_name(code);
}

__attribute__((format(printf, 3, 4))) static inline const char *ask(struct sm_harness *h, uint32_t query,
                                                                    const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int code = sm_ask(h, query, case_line(format, args));
    va_end(args);
    return assent_error_name(code);
}

/* xorshift: the same numbers on every machine. */
static inline uint32_t next_random(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

#endif /* TESTS_CLOCK_CASE_H */
