/* The state machine and the codec call nothing that could differ between replicas: `nm` lists what the built
 * archives ask of the world, and neither clock nor random, environment, network, thread nor locale is there.
 */
#include <fnmatch.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const banned[] = {
    /* time */
    "clock",
    "clock_*",
    "gettimeofday",
    "time",
    "ftime",
    "localtime*",
    "gmtime*",
    "mktime",
    "strftime",
    "nanosleep",
    "sleep",
    "usleep",
    "timer_create",
    "timer_settime",
    "timerfd_*",
    "setitimer",
    /* chance */
    "rand",
    "rand_r",
    "srand*",
    "random*",
    "srandom*",
    "drand48*",
    "*rand48",
    "arc4random*",
    "getrandom",
    "getentropy",
    "uuid_*",
    /* surroundings */
    "getenv",
    "secure_getenv",
    "setenv",
    "setlocale",
    "newlocale",
    "uselocale",
    "getpid",
    "getppid",
    "gettid",
    "gethostname",
    "uname",
    "getuid",
    "sysconf",
    "getcwd",
    /* network, threads, processes */
    "socket",
    "connect",
    "bind",
    "listen",
    "accept*",
    "send*",
    "recv*",
    "getaddrinfo",
    "pthread_*",
    "thrd_*",
    "fork",
    "system",
    "popen",
    "exec*",
    "signal",
    "sigaction",
    /* siblings and floors above */
    "uv_*",
    "raft_*",
    "raftlog_*",
    "curl_*",
    "MHD_*",
    "json_*",
    "node_main",
    /* floating point in text, order by hash or address */
    "strtod",
    "strtof",
    "atof",
    "qsort_r",
    "hcreate*",
    "hsearch*",
};

static void scan(const char *archive)
{
    char command[1024], line[512];
    int symbols = 0;
    snprintf(command, sizeof command, "nm -u '%s' 2>&1", archive);
    FILE *nm = popen(command, "r");
    assert_non_null(nm);
    while (fgets(line, sizeof line, nm) != NULL) {
        char name[512];
        if (sscanf(line, " U %511s", name) != 1)
            continue;
        symbols++;
        char *version = strchr(name, '@');
        if (version != NULL)
            *version = '\0';
        for (size_t i = 0; i < sizeof banned / sizeof banned[0]; i++) {
            if (fnmatch(banned[i], name, 0) == 0)
                fail_msg("%s asks for %s", archive, name);
        }
    }
    if (pclose(nm) != 0 || symbols < 10)
        fail_msg("nm cannot read %s", archive);
}

static void nothing_that_could_differ_is_called(void **state)
{
    (void)state;
    scan(STATEMACHINE_ARCHIVE);
    scan(CODEC_ARCHIVE);
    scan(PURE_ARCHIVE);
}

/* The patterns match what they are meant to match. */
static void a_banned_symbol_is_found(void **state)
{
    (void)state;
    int found = 0;
    for (size_t i = 0; i < sizeof banned / sizeof banned[0]; i++)
        found += fnmatch(banned[i], "clock_gettime", 0) == 0 || fnmatch(banned[i], "uv_now", 0) == 0;
    assert_int_equal(found, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_that_could_differ_is_called),
                                       cmocka_unit_test(a_banned_symbol_is_found)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
