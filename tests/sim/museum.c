/* The museum: every planted bug (planted.h) the simulator can see and every guard whose absence a run can
 * show, each with the seeds within which it must be found.  A bug that is not found means that the simulator
 * has gone blind.
 *
 *     assent-museum            all of them; exit 1 when one is not found
 *     assent-museum NAME       one
 *     assent-museum --half 1   every second one; 2: the others
 *     assent-museum --guards N what N seeds see of each guard's absence
 *
 * Each runs in a process of its own, since an assertion of the product may be what finds it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "planted.h"
#include "world.h"

enum planted assent_planted;

static const char *const names[PLANTED_NR] = {[PLANTED_NONE] = "nothing",
#define PLANTED_NAME(bug, name, what) [PLANTED_##bug] = name,
                                              PLANTED_MAP(PLANTED_NAME)
#undef PLANTED_NAME
};

/* Leaders die, clocks are wrong, and most clients ask for timestamps. */
static void many_timestamps(struct knobs *k)
{
    k->crashes = k->clocks = k->partitions = true;
    k->kinds = clients_kind("tso") | clients_kind("saga");
    k->think_us_max = 50000;
}

static const struct exhibit {
    enum planted bug;
    uint32_t seeds; /* a run must find it among the first so many; of nothing: must find nothing */
    uint32_t guards_off;
    const char *name;               /* NULL: the bug's */
    void (*force)(struct knobs *k); /* what runs that may find it look like; NULL: anything */
} exhibits[] = {
    {PLANTED_NONE, 60, 0, NULL, NULL},
    {PLANTED_REPLY_NOT_KEPT, 60, 0, NULL, NULL},
    {PLANTED_VOTE_NOT_KEPT, 300, 0, NULL, NULL},
    {PLANTED_READ_WITHOUT_ROUND, 300, 0, NULL, NULL},
    {PLANTED_READ_AT_FOLLOWER, 60, 0, NULL, NULL},
    {PLANTED_ANSWER_BEFORE_SAVE, 60, 0, NULL, NULL},
    {PLANTED_FORGOTTEN_STEP, 60, 0, NULL, NULL},
    {PLANTED_COMPENSATION_FORWARD, 100, 0, NULL, NULL},
    {PLANTED_TIMEOUT_AFTER_COMMIT, 60, 0, NULL, NULL},
    {PLANTED_CALL_UNDER_CALL, 200, 0, NULL, NULL},
    {PLANTED_TIMEOUT_IS_SUCCESS, 60, 0, NULL, NULL},
    {PLANTED_REPLICA_OF_ITS_OWN, 60, 0, NULL, NULL},
    {PLANTED_SNAPSHOT_WITHOUT_KEYS, 200, 0, NULL, NULL},
    {PLANTED_QUERY_ERROR_SENDS, 600, 0, NULL, NULL},
    {PLANTED_ONLY_TRIED_CANCELLED, 100, 0, NULL, NULL},
    {PLANTED_REFUSED_TRY_COUNTS, 60, 0, NULL, NULL},
    {PLANTED_TSO_BOUND_NOT_KEPT, 600, 0, NULL, NULL},
    {PLANTED_DEADLINE_EARLY, 60, 0, NULL, NULL},
    {PLANTED_DEADLINE_COMMITS, 60, 0, NULL, NULL},
    {PLANTED_STATUS_BEHIND, 60, 0, NULL, NULL},
    {PLANTED_NESTED_ALONE, 60, 0, NULL, NULL},
    {PLANTED_SESSION_RUNS_AGAIN, 60, 0, NULL, NULL},
    {PLANTED_ACT_OFF_RECORD, 100, 0, NULL, NULL},
    {PLANTED_STEPS_NOT_SHOWN, 100, 0, NULL, NULL},
    {PLANTED_WORD_TAKEN_BACK, 100, 0, NULL, NULL},
    {PLANTED_FREEZE_KEPT, 60, 0, NULL, NULL},
    {PLANTED_FREEZE_LET_GO_EARLY, 100, 0, NULL, NULL},
    {PLANTED_VECTOR_DEAF, 60, 0, NULL, NULL},
    {PLANTED_SIBLING_LOST, 60, 0, NULL, NULL},
    {PLANTED_LAMPORT_DEAF, 60, 0, NULL, NULL},
    {PLANTED_TSO_AT_WALL_CLOCK, 100, 0, NULL, many_timestamps},
    {PLANTED_NONE, 100, 1u << 5, "guard-G5-off", NULL},
    {PLANTED_NONE, 600, 1u << 9, "guard-G9-off", NULL},
};

static const char *name_of(const struct exhibit *e)
{
    return e->name != NULL ? e->name : names[e->bug];
}

/* The seed that runs: shared with the child, which may not live to say it. */
static uint64_t *running;

/* In the child: say what the first finding was and how far it was. */
static int look(const struct exhibit *e)
{
    for (uint64_t seed = 1; seed <= e->seeds; seed++) {
        struct knobs k;
        struct world_report report;
        knobs_draw(&k, seed);
        k.guards_off = e->guards_off;
        if (e->force != NULL)
            e->force(&k);
        *running = seed;
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
        printf("  seed %llu: an assertion of the product stopped it\n", (unsigned long long)*running);
    bool healthy = e->bug == PLANTED_NONE && e->guards_off == 0;
    printf("%s: %s\n", name_of(e), found ? "found" : "not found");
    return found != healthy;
}

/* What a run sees of each guard's absence, within so many seeds. */
static void guards(uint32_t seeds)
{
    for (uint32_t g = 1; g <= 16; g++) {
        char name[16];
        snprintf(name, sizeof name, "G%u off", g);
        struct exhibit e = {PLANTED_NONE, seeds, 1u << g, name, NULL};
        shown(&e);
    }
}

int main(int argc, char **argv)
{
    running = mmap(NULL, sizeof *running, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (running == MAP_FAILED)
        return 3;
    if (argc == 3 && strcmp(argv[1], "--guards") == 0) {
        guards((uint32_t)strtoul(argv[2], NULL, 10));
        return 0;
    }
    unsigned long half = argc == 3 && strcmp(argv[1], "--half") == 0 ? strtoul(argv[2], NULL, 10) : 0;
    uint32_t passed = 0, failed = 0;
    for (size_t i = 0; i < sizeof exhibits / sizeof exhibits[0]; i++) {
        if (half != 0 ? i % 2 + 1 != half : argc > 1 && strcmp(argv[1], name_of(&exhibits[i])) != 0)
            continue;
        if (shown(&exhibits[i]))
            passed++;
        else
            failed++;
    }
    printf("%u passed, %u failed\n", passed, failed);
    return failed > 0 || passed == 0;
}
