/* Smaller runs with the same kind of finding; see shrink.h. */
#include "shrink.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Without a class of faults the dice fall otherwise: so many other seeds may show the finding too. */
#define SEEDS 8
/* One run takes milliseconds; one that does not end is no help. */
#define RUN_SECONDS 30
/* Virtual time begins here: cluster_new(). */
#define CLUSTER_EPOCH_MS 1000

struct search {
    struct shrunk *best;
    uint64_t ended_ms; /* the best one; 0: not known */
    double until_s;
};

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint32_t *number(struct knobs *k, size_t offset)
{
    return (uint32_t *)(void *)((char *)k + offset);
}

static bool class_on(const struct knobs *k, const struct knob_class *class)
{
    const void *field = (const char *)k + class->offset;
    return class->flag ? *(const bool *)field : *(const uint32_t *)field != 0;
}

static void class_off(struct knobs *k, const struct knob_class *class)
{
    memset((char *)k + class->offset, 0, class->flag ? sizeof(bool) : sizeof(uint32_t));
}

static struct shrink_size size_of(const struct runfile *run)
{
    const struct knobs *k = &run->knobs;
    struct shrink_size size = {.nodes = k->nodes,
                               .clients = k->clients,
                               .participants = k->participants,
                               .chaos_ms = k->chaos_ms,
                               .faults = run->script.n};
    for (uint32_t i = 0; i < knob_classes_n; i++)
        size.classes += class_on(k, &knob_classes[i]);
    return size;
}

static bool late(const struct search *s)
{
    return now_s() >= s->until_s;
}

static void progress(const struct search *s)
{
    struct shrink_size size = size_of(&s->best->run);
    if (isatty(STDERR_FILENO))
        fprintf(stderr,
                "\r%u runs: %u classes of faults, %u nodes, %u clients, %u ms, %u faults; %.0f s left   ",
                s->best->runs, size.classes, size.nodes, size.clients, size.chaos_ms, size.faults,
                s->until_s > now_s() ? s->until_s - now_s() : 0);
}

static bool smaller(const struct script *script, const struct script *happened)
{
    return script == NULL || happened->n <= script->n;
}

/* Does this run find the same?  Then it is the best one. */
static bool holds(struct search *s, const struct knobs *k, const struct script *script)
{
    struct attempt a;
    struct runfile *run = &s->best->run;
    attempt(k, script, RUN_SECONDS, &a);
    s->best->runs++;
    bool same = a.finding == run->finding && smaller(script, &a.happened);
    if (same) {
        script_close(&run->script);
        run->knobs = *k;
        run->script = a.happened;
        run->script.follow = true;
        script_rewind(&run->script);
        memcpy(run->why, a.why, sizeof run->why);
        s->ended_ms = a.virtual_ms;
    } else {
        script_close(&a.happened);
    }
    progress(s);
    return same;
}

/* With the dice: this run, or one of its neighbours. */
static bool holds_with_dice(struct search *s, struct knobs k)
{
    uint64_t seed = k.seed;
    for (uint64_t i = 0; i < SEEDS && !late(s); i++) {
        k.seed = seed + i;
        if (holds(s, &k, NULL))
            return true;
    }
    return false;
}

/* No faults after the finding: until then it is the same run. */
static void rest_off(struct search *s)
{
    struct knobs k = s->best->run.knobs;
    uint64_t chaos_ms = s->ended_ms >= CLUSTER_EPOCH_MS ? s->ended_ms + 1 - CLUSTER_EPOCH_MS : 0;
    if (chaos_ms == 0 || chaos_ms >= k.chaos_ms || late(s))
        return;
    k.chaos_ms = (uint32_t)chaos_ms;
    (void)holds(s, &k, NULL);
}

static bool classes_off(struct search *s)
{
    bool any = false;
    for (uint32_t i = 0; i < knob_classes_n && !late(s); i++) {
        struct knobs k = s->best->run.knobs;
        if (class_on(&k, &knob_classes[i])) {
            class_off(&k, &knob_classes[i]);
            any = holds_with_dice(s, k) || any;
            rest_off(s);
        }
    }
    return any;
}

/* The smallest value that will do: at once, or by halves. */
static bool size_down(struct search *s, const struct knob_size *size, bool dice)
{
    struct knobs k = s->best->run.knobs;
    uint32_t value = *number(&k, size->offset);
    bool any = false;
    for (uint32_t less = size->smallest; less < value && !late(s);) {
        k = s->best->run.knobs;
        *number(&k, size->offset) = less;
        k.voters = k.voters < k.nodes ? k.voters : k.nodes;
        if (dice ? holds_with_dice(s, k) : holds(s, &k, &s->best->run.script)) {
            any = true;
            value = less;
            less = size->smallest;
        } else {
            less += (value - less + 1) / 2;
            if (value - less < (value + 15) / 16)
                break; /* the rest is not worth the time */
        }
    }
    return any;
}

static bool sizes_down(struct search *s, bool dice)
{
    bool any = false;
    for (uint32_t i = 0; i < knob_sizes_n && !late(s); i++)
        if (knob_sizes[i].smallest != KNOB_FIXED)
            any = size_down(s, &knob_sizes[i], dice) || any;
    return any;
}

/* Leave out this range of faults. */
static bool holds_without(struct search *s, uint32_t first, uint32_t end)
{
    struct script less = script_without(&s->best->run.script, first, end);
    bool same = holds(s, &s->best->run.knobs, &less);
    script_close(&less);
    return same;
}

static bool faults_out(struct search *s)
{
    const struct script *script = &s->best->run.script;
    uint32_t before = script->n;
    if (script->n > 0 && holds_without(s, 0, script->n))
        return true;
    for (uint32_t chunk = (script->n + 1) / 2; chunk > 0 && script->n > 0 && !late(s); chunk /= 2)
        for (uint32_t at = 0; at < script->n && !late(s);)
            if (!holds_without(s, at, at + chunk))
                at += chunk;
    return script->n < before;
}

bool shrink(const struct knobs *from, double seconds, struct shrunk *out)
{
    struct search s = {.best = out, .until_s = now_s() + seconds};
    struct attempt first;
    *out = (struct shrunk){.runs = 1};
    attempt(from, NULL, RUN_SECONDS, &first);
    if (first.finding == FINDING_NOTHING) {
        script_close(&first.happened);
        return false;
    }
    out->run = (struct runfile){
        .knobs = *from, .script = first.happened, .scripted = true, .finding = first.finding};
    memcpy(out->run.why, first.why, sizeof out->run.why);
    out->run.script.follow = true;
    script_rewind(&out->run.script);
    out->before = size_of(&out->run);
    s.ended_ms = first.virtual_ms;
    rest_off(&s);
    while (!late(&s) && (classes_off(&s) | sizes_down(&s, true)))
        ;
    while (!late(&s) && (faults_out(&s) | sizes_down(&s, false)))
        ;
    out->in_time = !late(&s);
    out->after = size_of(&out->run);
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\n");
    return true;
}
