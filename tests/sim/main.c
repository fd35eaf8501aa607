/* assent-sim: runs of the whole cluster on virtual time, one after the other, each named by its seed.
 *
 *     assent-sim --seed 7             one run, twice, which must be the same
 *     assent-sim --seeds 200          seeds 1 to 200 (--from N: N to N + 199)
 *     assent-sim --time 60            as many as fit into 60 seconds
 *
 * Exit: 0 nothing found, 129 something wrong, 128 stuck after healing, 127 crashed, 2 bad arguments. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "world.h"

enum { EXIT_WRONG = 129, EXIT_STUCK = 128, EXIT_CRASHED = 127 };

static volatile uint64_t current_seed;

/* Only calls that a signal handler may make. */
static void on_crash(int number)
{
    char text[96];
    (void)number;
    int n =
        snprintf(text, sizeof text, "\ncrashed: again with --seed %llu\n", (unsigned long long)current_seed);
    if (n > 0 && write(STDERR_FILENO, text, (size_t)n) < 0)
        _exit(EXIT_CRASHED);
    _exit(EXIT_CRASHED);
}

struct totals {
    uint64_t runs;
    struct world_report sum;
    double real_s;
};

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void add(struct totals *t, const struct world_report *r)
{
    t->runs++;
    t->sum.virtual_ms += r->virtual_ms;
    t->sum.transactions += r->transactions;
    t->sum.committed += r->committed;
    t->sum.rolled_back += r->rolled_back;
    t->sum.calls += r->calls;
    t->sum.leaders += r->leaders;
    t->sum.faults += r->faults;
    t->sum.answers += r->answers;
}

static int one(uint64_t seed, uint32_t guards_off, struct totals *totals, uint64_t *trace)
{
    struct knobs k;
    struct world_report report;
    current_seed = seed;
    knobs_draw(&k, seed);
    k.guards_off = guards_off;
    double from_s = now_s();
    const char *why = world_run(&k, &report);
    totals->real_s += now_s() - from_s;
    add(totals, &report);
    *trace = report.trace;
    if (why == NULL)
        return 0;
    fprintf(stderr, "\nseed %" PRIu64 " (%s): %s\nagain: assent-sim --seed %" PRIu64 "\n", seed,
            report.stuck ? "stuck" : "wrong", why, seed);
    knobs_print(&k);
    return report.stuck ? EXIT_STUCK : EXIT_WRONG;
}

static void print_totals(const struct totals *t)
{
    const struct world_report *s = &t->sum;
    double virtual_s = (double)s->virtual_ms / 1000;
    printf("%" PRIu64 " runs, %.2f virtual hours (%.0f virtual seconds a second): %" PRIu64
           " transactions (%" PRIu64 " committed, %" PRIu64 " rolled back), %" PRIu64 " calls, %" PRIu64
           " answers to clients, %" PRIu64 " leaders, %" PRIu64 " faults of nodes and participants\n",
           t->runs, virtual_s / 3600, t->real_s > 0 ? virtual_s / t->real_s : 0, s->transactions,
           s->committed, s->rolled_back, s->calls, s->answers, s->leaders, s->faults);
}

static int repeatable(uint64_t seed, uint32_t guards_off)
{
    struct totals totals = {0};
    uint64_t first, second;
    int rv = one(seed, guards_off, &totals, &first);
    if (rv != 0)
        return rv;
    print_totals(&totals);
    rv = one(seed, guards_off, &totals, &second);
    if (rv == 0 && first != second) {
        fprintf(stderr, "seed %" PRIu64 " ran differently the second time\n", seed);
        rv = EXIT_WRONG;
    }
    printf("seed %" PRIu64 ": trace %016" PRIx64 ", twice the same\n", seed, first);
    return rv;
}

static void progress(const struct totals *t, uint64_t seed)
{
    double virtual_s = (double)t->sum.virtual_ms / 1000;
    fprintf(stderr,
            "\r%" PRIu64 " runs, seed %" PRIu64 ", %.1f virtual hours, %.0f virtual seconds a second   ",
            t->runs, seed, virtual_s / 3600, t->real_s > 0 ? virtual_s / t->real_s : 0);
}

static int many(uint64_t from, uint64_t seeds, double seconds, uint32_t guards_off)
{
    struct totals totals = {0};
    uint64_t trace, findings = 0;
    double until_s = now_s() + seconds;
    int worst = 0;
    for (uint64_t seed = from; seconds > 0 ? now_s() < until_s : seed < from + seeds; seed++) {
        int rv = one(seed, guards_off, &totals, &trace);
        findings += rv != 0;
        worst = rv > worst ? rv : worst;
        if (isatty(STDERR_FILENO))
            progress(&totals, seed);
    }
    print_totals(&totals);
    printf("%" PRIu64 " findings\n", findings);
    return worst;
}

int main(int argc, char **argv)
{
    uint64_t seed = 0, seeds = 0, from = 1;
    double seconds = 0;
    uint32_t guards_off = 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--seed") == 0)
            seed = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--seeds") == 0)
            seeds = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--from") == 0)
            from = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--time") == 0)
            seconds = strtod(argv[i + 1], NULL);
        else if (strcmp(argv[i], "--guard-off") == 0)
            guards_off |= 1u << strtoul(argv[i + 1], NULL, 10);
        else
            seed = seeds = 0, argc = 0;
    }
    if (argc % 2 == 0 || (seed == 0 && seeds == 0 && seconds <= 0)) {
        fprintf(stderr,
                "usage: assent-sim --seed N | --seeds N [--from N] | --time SECONDS  [--guard-off N]\n");
        return 2;
    }
    signal(SIGSEGV, on_crash);
    signal(SIGABRT, on_crash);
    signal(SIGBUS, on_crash);
    return seed != 0 ? repeatable(seed, guards_off) : many(from, seeds, seconds, guards_off);
}
