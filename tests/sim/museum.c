/* The museum: every planted bug (planted.h) and every guard whose absence a run can show, each with the seeds
 * within which it must be found.  A bug that is not found means that the simulator has gone blind.
 *
 *     assent-museum            all of them; exit 1 when one is not found
 *     assent-museum NAME       one
 *     assent-museum --guards N what N seeds see of each guard's absence
 *
 * Each runs in a process of its own, since an assertion of the product may be what finds it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "planted.h"
#include "world.h"

enum planted assent_planted;

static const struct exhibit {
    const char *name;
    enum planted bug;
    uint32_t guards_off;
    uint32_t seeds; /* a run must find it among the first so many */
    bool healthy;   /* nothing may be found */
} exhibits[] = {
    {"nothing", PLANTED_NONE, 0, 60, true},
    {"reply-not-kept", PLANTED_REPLY_NOT_KEPT, 0, 60, false},
    {"vote-not-kept", PLANTED_VOTE_NOT_KEPT, 0, 300, false},
    {"read-without-round", PLANTED_READ_WITHOUT_ROUND, 0, 300, false},
    {"answer-before-save", PLANTED_ANSWER_BEFORE_SAVE, 0, 60, false},
    {"forgotten-step", PLANTED_FORGOTTEN_STEP, 0, 60, false},
    {"compensation-forward", PLANTED_COMPENSATION_FORWARD, 0, 100, false},
    {"timeout-after-commit", PLANTED_TIMEOUT_AFTER_COMMIT, 0, 60, false},
    {"call-under-call", PLANTED_CALL_UNDER_CALL, 0, 200, false},
    {"timeout-is-success", PLANTED_TIMEOUT_IS_SUCCESS, 0, 60, false},
    {"replica-of-its-own", PLANTED_REPLICA_OF_ITS_OWN, 0, 60, false},
    {"snapshot-without-keys", PLANTED_SNAPSHOT_WITHOUT_KEYS, 0, 200, false},
    {"query-error-sends", PLANTED_QUERY_ERROR_SENDS, 0, 100, false},
    {"only-tried-cancelled", PLANTED_ONLY_TRIED_CANCELLED, 0, 100, false},
    {"refused-try-counts", PLANTED_REFUSED_TRY_COUNTS, 0, 60, false},
    {"guard-G5-off", PLANTED_NONE, 1u << 5, 100, false},
    {"guard-G7-off", PLANTED_NONE, 1u << 7, 100, false},
    {"guard-G9-off", PLANTED_NONE, 1u << 9, 600, false},
};

/* In the child: say what the first finding was and how far it was. */
static int look(const struct exhibit *e)
{
    for (uint64_t seed = 1; seed <= e->seeds; seed++) {
        struct knobs k;
        struct world_report report;
        knobs_draw(&k, seed);
        k.guards_off = e->guards_off;
        printf("%s", ""); /* what is buffered belongs to the parent */
        const char *why = world_run(&k, &report);
        if (why != NULL) {
            printf("  seed %llu: %s\n", (unsigned long long)seed, why);
            fflush(stdout);
            return 1;
        }
    }
    return 0;
}

static bool shown(const struct exhibit *e)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(3);
        assent_planted = e->bug;
        _exit(look(e));
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child)
        return false;
    bool crashed = WIFSIGNALED(status), found = crashed || WEXITSTATUS(status) == 1;
    if (crashed)
        printf("  an assertion of the product stopped it\n");
    printf("%s: %s\n", e->name, found ? "found" : "not found");
    return found != e->healthy;
}

/* What a run sees of each guard's absence, within so many seeds. */
static void guards(uint32_t seeds)
{
    for (uint32_t g = 1; g <= 16; g++) {
        char name[16];
        snprintf(name, sizeof name, "G%u off", g);
        struct exhibit e = {name, PLANTED_NONE, 1u << g, seeds, false};
        shown(&e);
    }
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--guards") == 0) {
        guards((uint32_t)strtoul(argv[2], NULL, 10));
        return 0;
    }
    uint32_t passed = 0, failed = 0;
    for (size_t i = 0; i < sizeof exhibits / sizeof exhibits[0]; i++) {
        if (argc > 1 && strcmp(argv[1], exhibits[i].name) != 0)
            continue;
        if (shown(&exhibits[i]))
            passed++;
        else
            failed++;
    }
    printf("%u passed, %u failed\n", passed, failed);
    return failed > 0 || passed == 0;
}
