/* assent-sim: runs of the whole cluster on virtual time, one after the other, each named by its seed.
 *
 *     assent-sim --seed 7             one run, twice, which must be the same
 *     assent-sim --seeds 200          seeds 1 to 200 (--from N: N to N + 199)
 *     assent-sim --time 60            as many as fit into 60 seconds
 *     assent-sim --shrink 7           a smaller run with the same kind of finding, into sim-7.run
 *     assent-sim --replay sim-7.run   that one
 *     assent-sim --seeds 200 --marks  how often each marked branch of the product was taken (mark.h)
 *
 * --trace: the last events of a run that finds something.  The fewer runs, the more is told of each.
 *
 * Exit: 0 nothing found, 129 something wrong, 128 stuck after healing, 127 crashed, 2 bad arguments,
 * 3 a mark was never hit. */
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "marks.h"
#include "shrink.h"
#include "sim_version.h"
#include "trace.h"
#include "world.h"

enum { EXIT_USAGE = 2, EXIT_MARKS = 3 };

struct options {
    uint64_t seed, seeds, from, shrink;
    double seconds, within_s;
    uint32_t guards_off;
    const char *replay, *out;
    bool trace, marks;
};

/* A run that was ended by a finding keeps what was on its way; the finding decides the exit status then, not
 * the leak sanitizer, which asks this at the exit. */
static bool found_something;
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return found_something;
}

/* For the handler of signals. */
static volatile uint64_t current_seed;
static struct trace trace;

/* Only calls that a signal handler may make. */
static void on_crash(int number)
{
    char text[96];
    (void)number;
    trace_write(&trace, STDERR_FILENO);
    int n =
        snprintf(text, sizeof text, "\ncrashed: again with --seed %llu\n", (unsigned long long)current_seed);
    if (n > 0 && write(STDERR_FILENO, text, (size_t)n) < 0)
        _exit(finding_exit(FINDING_CRASHED));
    _exit(finding_exit(FINDING_CRASHED));
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

static void tell(const struct knobs *k, enum finding finding, const char *why)
{
    found_something = true;
    fprintf(stderr, "\nseed %" PRIu64 " (%s): %s\nversion %s\n", k->seed, finding_name(finding), why,
            ASSENT_SIM_VERSION);
    knobs_print(k);
    trace_write(&trace, STDERR_FILENO);
}

/* One run; its finding has been told. */
static enum finding one(const struct options *o, const struct knobs *k, struct script *script,
                        struct totals *totals, uint64_t *hash)
{
    struct world_report report;
    current_seed = k->seed;
    trace.n = 0;
    double from_s = now_s();
    const char *why = world_run_script(k, script, o->trace ? trace_say : NULL, &trace, &report);
    totals->real_s += now_s() - from_s;
    add(totals, &report);
    *hash = report.trace;
    if (why == NULL)
        return FINDING_NOTHING;
    enum finding finding = report.stuck ? FINDING_STUCK : FINDING_WRONG;
    tell(k, finding, why);
    return finding;
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

/* The same run twice must be the same, and so must the run that follows the faults noted down. */
static int repeatable(const struct options *o)
{
    struct totals totals = {0};
    struct knobs k;
    struct script script = {.follow = false};
    uint64_t first, again;
    knobs_draw(&k, o->seed);
    k.guards_off = o->guards_off;
    printf("version %s\n", ASSENT_SIM_VERSION);
    fflush(stdout);
    knobs_print(&k);
    enum finding finding = one(o, &k, &script, &totals, &first);
    if (finding != FINDING_NOTHING) {
        fprintf(stderr, "again: assent-sim --seed %" PRIu64 "\nsmaller: assent-sim --shrink %" PRIu64 "\n",
                o->seed, o->seed);
        script_close(&script);
        return finding_exit(finding);
    }
    print_totals(&totals);
    script.follow = true;
    const struct {
        struct script *script;
        const char *how;
    } ways[] = {{NULL, "the second time"}, {&script, "with its faults from a script"}};
    for (size_t i = 0; i < sizeof ways / sizeof ways[0] && finding == FINDING_NOTHING; i++) {
        finding = one(o, &k, ways[i].script, &totals, &again);
        if (finding == FINDING_NOTHING && first != again) {
            fprintf(stderr, "seed %" PRIu64 " ran differently %s\n", o->seed, ways[i].how);
            finding = FINDING_WRONG;
        }
    }
    if (finding == FINDING_NOTHING)
        printf("seed %" PRIu64 ": trace %016" PRIx64 ", twice the same, and from a script of %u faults\n",
               o->seed, first, script.n);
    script_close(&script);
    return finding_exit(finding);
}

static void progress(const struct totals *t, uint64_t seed)
{
    double virtual_s = (double)t->sum.virtual_ms / 1000;
    fprintf(stderr,
            "\r%" PRIu64 " runs, seed %" PRIu64 ", %.1f virtual hours, %.0f virtual seconds a second   ",
            t->runs, seed, virtual_s / 3600, t->real_s > 0 ? virtual_s / t->real_s : 0);
}

static int many(const struct options *o)
{
    struct totals totals = {0};
    uint64_t hash, findings = 0;
    double until_s = now_s() + o->seconds;
    int worst = 0;
    for (uint64_t seed = o->from; o->seconds > 0 ? now_s() < until_s : seed < o->from + o->seeds; seed++) {
        struct knobs k;
        knobs_draw(&k, seed);
        k.guards_off = o->guards_off;
        enum finding finding = one(o, &k, NULL, &totals, &hash);
        int status = finding_exit(finding);
        findings += finding != FINDING_NOTHING;
        worst = status > worst ? status : worst;
        if (isatty(STDERR_FILENO))
            progress(&totals, seed);
    }
    print_totals(&totals);
    printf("%" PRIu64 " findings\n", findings);
    if (o->marks && !marks_print(totals.runs) && worst == 0)
        worst = EXIT_MARKS;
    return worst;
}

static int smaller(const struct options *o)
{
    struct knobs k;
    struct shrunk s;
    char path[64];
    knobs_draw(&k, o->shrink);
    k.guards_off = o->guards_off;
    if (!shrink(&k, o->within_s, &s)) {
        printf("seed %" PRIu64 " finds nothing: there is nothing to shrink\n", o->shrink);
        return EXIT_USAGE;
    }
    snprintf(path, sizeof path, "sim-%" PRIu64 ".run", o->shrink);
    const struct shrink_size *a = &s.before, *b = &s.after;
    printf("%s: %s\n%u runs%s: classes of faults %u -> %u, faults %u -> %u, nodes %u -> %u, clients %u -> "
           "%u, participants %u -> %u, milliseconds with faults %u -> %u\n",
           finding_name(s.run.finding), s.run.why, s.runs, s.in_time ? "" : ", then time was up", a->classes,
           b->classes, a->faults, b->faults, a->nodes, b->nodes, a->clients, b->clients, a->participants,
           b->participants, a->chaos_ms, b->chaos_ms);
    bool written = runfile_write(o->out != NULL ? o->out : path, &s.run, ASSENT_SIM_VERSION);
    if (written)
        printf("again: assent-sim --replay %s --trace\n", o->out != NULL ? o->out : path);
    script_close(&s.run.script);
    return written ? finding_exit(s.run.finding) : EXIT_USAGE;
}

static int replay(const struct options *o)
{
    struct runfile file;
    struct totals totals = {0};
    uint64_t hash;
    if (!runfile_read(o->replay, &file))
        return EXIT_USAGE;
    enum finding finding = one(o, &file.knobs, file.scripted ? &file.script : NULL, &totals, &hash);
    print_totals(&totals);
    script_close(&file.script);
    return finding_exit(finding);
}

static int usage(void)
{
    fprintf(stderr, "usage: assent-sim --seed N | --seeds N [--from N] | --time SECONDS [--from N]\n"
                    "       assent-sim --shrink SEED [--within SECONDS] [--out FILE]\n"
                    "       assent-sim --replay FILE\n"
                    "       --guard-off N  --trace  --marks\n");
    return EXIT_USAGE;
}

static bool parse(int argc, char **argv, struct options *o)
{
    static const struct option names[] = {
        {"seed", required_argument, NULL, 's'},      {"seeds", required_argument, NULL, 'n'},
        {"from", required_argument, NULL, 'f'},      {"time", required_argument, NULL, 't'},
        {"shrink", required_argument, NULL, 'k'},    {"within", required_argument, NULL, 'w'},
        {"replay", required_argument, NULL, 'r'},    {"out", required_argument, NULL, 'o'},
        {"trace", no_argument, NULL, 'e'},           {"marks", no_argument, NULL, 'm'},
        {"guard-off", required_argument, NULL, 'g'}, {NULL, 0, NULL, 0},
    };
    *o = (struct options){.from = 1, .within_s = 60};
    for (int c; (c = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        uint64_t number = optarg != NULL ? strtoull(optarg, NULL, 10) : 0;
        switch (c) {
        case 's':
            o->seed = number;
            break;
        case 'n':
            o->seeds = number;
            break;
        case 'f':
            o->from = number;
            break;
        case 't':
            o->seconds = strtod(optarg, NULL);
            break;
        case 'k':
            o->shrink = number;
            break;
        case 'w':
            o->within_s = strtod(optarg, NULL);
            break;
        case 'r':
            o->replay = optarg;
            break;
        case 'o':
            o->out = optarg;
            break;
        case 'e':
            o->trace = true;
            break;
        case 'm':
            o->marks = true;
            break;
        case 'g':
            o->guards_off |= number < 32 ? 1u << number : 0;
            break;
        default:
            return false;
        }
    }
    int modes = (o->seed != 0) + (o->seeds != 0) + (o->seconds > 0) + (o->shrink != 0) + (o->replay != NULL);
    return optind == argc && modes == 1;
}

int main(int argc, char **argv)
{
    struct options o;
    if (!parse(argc, argv, &o))
        return usage();
    signal(SIGSEGV, on_crash);
    signal(SIGABRT, on_crash);
    signal(SIGBUS, on_crash);
    if (o.replay != NULL)
        return replay(&o);
    if (o.shrink != 0)
        return smaller(&o);
    return o.seed != 0 ? repeatable(&o) : many(&o);
}
