/* One run of the judge; see run.h. */
#include "run.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "dice.h"
#include "judge.h"
#include "nemesis.h"
#include "schedule.h"
#include "watch.h"

#define SETTLE_MS 60000

static volatile sig_atomic_t interrupted;

static uint64_t monotonic_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void nap_ns(uint64_t ns)
{
    struct timespec t = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    nanosleep(&t, NULL);
}

uint64_t run_now_ns(const struct run *r)
{
    return monotonic_ns() - r->started_ns;
}

uint64_t run_random(struct run *r, uint64_t below)
{
    return dice_roll(&r->random, below);
}

void run_record(struct run *r, struct op *op)
{
    pthread_mutex_lock(&r->lock);
    struct op *o = history_add(&r->history);
    if (o == NULL)
        abort();
    uint64_t index = o->index;
    *o = *op;
    o->index = index;
    o->time_ns = run_now_ns(r); /* under the lock: the order is that of the times */
    history_write_op(r->file, o);
    r->ok += op->process >= 0 && op->type == OP_OK;
    r->failed += op->process >= 0 && op->type == OP_FAIL;
    r->unknown += op->process >= 0 && op->type == OP_INFO;
    pthread_mutex_unlock(&r->lock);
}

void run_nemesis_op(struct run *r, const char *f, const char *text)
{
    struct op op = {.process = PROCESS_NEMESIS, .type = OP_INFO, .value = json_string(text)};
    snprintf(op.f, sizeof op.f, "%s", f);
    run_record(r, &op);
}

void run_violation(struct run *r, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    run_nemesis_op(r, "violation", text);
    if (r->violation[0] == 0)
        snprintf(r->violation, sizeof r->violation, "%s", text);
}

/* ---- workers ---- */

struct worker {
    struct run *run;
    uint32_t number;
    int64_t process;
    pthread_t thread;
};

static int64_t next_process(struct run *r)
{
    pthread_mutex_lock(&r->lock);
    int64_t process = r->processes++;
    pthread_mutex_unlock(&r->lock);
    return process;
}

/* One operation, from invocation to completion.  False: nothing to ask. */
static bool worker_once(struct worker *w, bool final)
{
    struct run *r = w->run;
    struct op invoke = {.process = w->process, .type = OP_INVOKE};
    pthread_mutex_lock(&r->lock);
    const struct sut_node *node = &r->sut.nodes[(w->number + dice_roll(&r->random_nodes, 8) / 7) % r->sut.n];
    bool asked = r->o.workload->next(r, w->number, final, &invoke);
    pthread_mutex_unlock(&r->lock);
    if (!asked)
        return false;
    snprintf(invoke.node, sizeof invoke.node, "node-%u", node->id);
    struct op mine = invoke; /* the history owns its own references */
    json_incref(mine.key);
    json_incref(mine.value);
    run_record(r, &mine);
    struct op done = {.process = w->process, .key = invoke.key, .type = OP_INFO};
    memcpy(done.f, invoke.f, sizeof done.f);
    memcpy(done.node, invoke.node, sizeof done.node);
    r->o.workload->perform(r, w->number, node, &invoke, &done);
    if (done.type != OP_OK || done.value == NULL) { /* a fail repeats its invocation's value */
        json_decref(done.value);
        done.value = json_incref(invoke.value);
    }
    json_decref(invoke.value);
    bool ended = done.type == OP_INFO;
    run_record(r, &done);
    if (ended)
        w->process = next_process(r);
    return true;
}

static void *worker_main(void *data)
{
    struct worker *w = data;
    struct run *r = w->run;
    uint64_t pause_ns = r->o.rate > 0 ? UINT64_C(1000000000) * r->o.workers / r->o.rate : 0;
    w->process = next_process(r);
    while (!r->stopping && !interrupted) {
        uint64_t from = monotonic_ns();
        if (!worker_once(w, false))
            nap_ns(20000000);
        uint64_t took = monotonic_ns() - from;
        if (took < pause_ns)
            nap_ns(pause_ns - took);
    }
    return NULL;
}

static void *worker_final(void *data)
{
    struct worker *w = data;
    for (int i = 0; i < 100000 && !interrupted && worker_once(w, true); i++) {
    }
    return NULL;
}

static void workers_run(struct run *r, struct worker *workers, void *(*body)(void *))
{
    for (uint32_t i = 0; i < r->o.workers; i++)
        if (pthread_create(&workers[i].thread, NULL, body, &workers[i]) != 0)
            abort();
}

static void workers_join(struct run *r, struct worker *workers)
{
    for (uint32_t i = 0; i < r->o.workers; i++)
        pthread_join(workers[i].thread, NULL);
}

/* ---- the nemesis ---- */

static void progress(const struct run *r, const char *now)
{
    fprintf(stderr, "%s%6.1f s  %8" PRIu64 " ok %6" PRIu64 " refused %5" PRIu64 " unknown  %2u leaders  %s\n",
            isatty(2) ? "\r\033[K" : "", (double)run_now_ns(r) / 1e9, r->ok, r->failed, r->unknown,
            r->leaders_seen, now);
}

/* A line that goes on in place, for people who wait. */
static void heartbeat(struct run *r)
{
    uint64_t second = run_now_ns(r) / 1000000000u;
    if (second == r->second_shown || !isatty(2))
        return;
    fprintf(stderr, "\r\033[K%6" PRIu64 " of %u s  %8" PRIu64 " ok  %4" PRIu64 " a second", second,
            r->o.seconds, r->ok, (r->ok - r->ok_shown) / (second - r->second_shown));
    r->second_shown = second;
    r->ok_shown = r->ok;
}

static void watch_leader(struct run *r)
{
    int leader = sut_leader(&r->sut);
    if (leader >= 0 && leader != r->last_leader) {
        r->leaders_seen += r->last_leader >= 0;
        r->last_leader = leader;
    }
}

struct nemesis_view {
    struct schedule schedule;
    struct schedule_context context;
    uint64_t watched_ms, compared_ms;
    bool no_room; /* it was said */
};

/* Nobody ends by itself, unless a fault gives it a reason. */
static void deaths(struct run *r, const struct schedule *s)
{
    char under[128] = "";
    bool may_die = false;
    for (uint32_t i = 0; i < r->o.faults_n; i++) {
        if ((s->active & (1u << i)) == 0)
            continue;
        may_die = may_die || r->o.faults[i]->may_die;
        snprintf(under + strlen(under), sizeof under - strlen(under), " %s", r->o.faults[i]->name);
    }
    watch_deaths(r, may_die, under[0] != 0 ? under : " no fault");
}

static void begin(struct run *r, struct nemesis_view *v, const struct schedule_step *step, uint64_t now_ms)
{
    char text[256] = "";
    uint32_t i = step->fault;
    const struct fault *f = r->o.faults[i];
    struct schedule before = v->schedule;
    deaths(r, &before);
    v->schedule = step->then;
    if (!f->begin(r, r->o.shapes[i] > 0 ? r->o.shapes[i] - 1 : step->shape, text, sizeof text)) {
        v->schedule = schedule_refused(v->schedule, i, now_ms);
        return;
    }
    v->schedule = schedule_took(v->schedule, i, run_now_ns(r) / 1000000 - now_ms);
    r->faults_applied++;
    r->in_force[i]++;
    run_nemesis_op(r, f->name, text);
    progress(r, text);
}

static void end(struct run *r, struct nemesis_view *v, const struct schedule_step *step)
{
    const struct fault *f = r->o.faults[step->fault];
    deaths(r, &v->schedule);
    v->schedule = step->then;
    f->end(r);
    run_nemesis_op(r, f->name, "end");
    progress(r, "healed");
}

static void look(struct run *r, struct nemesis_view *v, uint64_t now_ms)
{
    for (uint32_t i = 0; i < r->o.faults_n; i++)
        if ((v->schedule.active & (1u << i)) != 0 && r->o.faults[i]->tick != NULL)
            r->o.faults[i]->tick(r);
    if (now_ms - v->watched_ms >= 200) {
        v->watched_ms = now_ms;
        watch_leader(r);
    }
    if (now_ms - v->compared_ms >= 1000) {
        char why[400];
        v->compared_ms = now_ms;
        watch_replicas(r);
        if (!v->no_room && (v->no_room = !watch_room(r->dir, why, sizeof why)))
            run_violation(r, "harness error: %s", why);
    }
    heartbeat(r);
}

static void nemesis(struct run *r)
{
    struct nemesis_view v = {.schedule = schedule_start(r->o.seed),
                             .context = {.classes = r->o.faults_n,
                                         .at_once = r->o.at_once,
                                         .mean_ms = r->o.fault_ms,
                                         .until_ms = (uint64_t)r->o.seconds * 1000}};
    for (uint32_t i = 0; i < r->o.faults_n; i++) {
        const struct fault *f = r->o.faults[i];
        v.context.shapes[i] = r->o.shapes[i] > 0 ? 1 : fault_shapes(f);
        for (uint32_t k = 0; k < r->o.faults_n;
             k++) { /* a full disk that fails too cannot be emptied again */
            const struct fault *g = r->o.faults[k];
            bool disks = (f->needs & SUT_DISKS) != 0 && (g->needs & SUT_DISKS) != 0;
            v.context.apart[i] |= (uint32_t)(f->alone || g->alone || disks) << k;
        }
    }
    for (uint64_t now_ms; !interrupted; nap_ns(50000000)) {
        struct schedule_step step;
        now_ms = run_now_ns(r) / 1000000;
        while (step = schedule_next(v.schedule, &v.context, now_ms),
               step.what != SCHEDULE_WAIT && !interrupted) {
            if (step.what == SCHEDULE_BEGIN)
                begin(r, &v, &step, now_ms);
            else
                end(r, &v, &step);
            now_ms = run_now_ns(r) / 1000000;
        }
        v.schedule = step.then;
        if (now_ms >= v.context.until_ms && v.schedule.active == 0)
            return;
        look(r, &v, now_ms);
    }
}

/* ---- the run ---- */

static void on_signal(int number)
{
    (void)number;
    if (interrupted) /* asked twice: nodes and tracers die with the judge, networks and disks with them */
        _exit(130);
    interrupted = 1;
}

static struct run *closing; /* what an exit must not leave behind */

static void on_exit_close(void)
{
    if (closing != NULL)
        sut_close(&closing->sut);
    closing = NULL;
}

static bool make_dirs(struct run *r, char *why, size_t why_size)
{
    char path[300], stamp[32];
    time_t now = time(NULL);
    struct tm tm;
    localtime_r(&now, &tm);
    strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", &tm);
    mkdir(r->o.out, 0755);
    if (!watch_room(r->o.out, why, why_size))
        return false;
    snprintf(r->dir, sizeof r->dir, "%s/%s-%s-%u", r->o.out, r->o.workload->name, stamp, (unsigned)getpid());
    if (mkdir(r->dir, 0755) != 0) {
        snprintf(why, why_size, "%s: %s", r->dir, strerror(errno));
        return false;
    }
    snprintf(path, sizeof path, "%s/history.jsonl", r->dir);
    r->file = fopen(path, "we");
    return r->file != NULL;
}

static bool start_nodes(struct run *r, char *why, size_t why_size)
{
    unsigned wants = r->o.loopback ? 0 : SUT_NETWORK;
    for (uint32_t i = 0; i < r->o.faults_n; i++)
        wants |= r->o.faults[i]->needs;
    closing = r;
    if (!sut_open(&r->sut, r->o.nodes, r->dir, r->o.program, wants, why, why_size))
        return false;
    r->sut.snapshot_entries = r->o.snapshot_entries;
    for (uint32_t i = 0; i < r->sut.n; i++)
        if (!sut_start(&r->sut, i))
            return false;
    snprintf(why, why_size, "the nodes did not agree on a leader; their logs stand in %s", r->dir);
    return sut_settled(&r->sut, SETTLE_MS);
}

/* A fault that does not do what it says proves nothing. */
static bool calibrate(struct run *r, char *why, size_t why_size)
{
    for (uint32_t i = 0; i < r->o.faults_n && !interrupted; i++) {
        char reason[256] = "";
        const struct fault *f = r->o.faults[i];
        uint64_t from_ns = monotonic_ns();
        bool ok = f->calibrate(r, reason, sizeof reason);
        if (ok && !sut_settled(&r->sut, SETTLE_MS)) {
            snprintf(reason, sizeof reason, "the cluster did not serve again after it");
            ok = false;
        }
        if (!ok) {
            snprintf(why, why_size, "the self-check of %s failed: %s", f->name, reason);
            return false;
        }
        fprintf(stderr, "self-check of %s: good, %.1f s\n", f->name,
                (double)(monotonic_ns() - from_ns) / 1e9);
    }
    snprintf(why, why_size, "interrupted");
    return !interrupted;
}

/* Data of nodes that kept their promises is of no use, and large. */
static void forget_data(const struct run *r)
{
    for (uint32_t i = 0; i < r->o.nodes; i++)
        sut_command(-1, "rm -rf %s/node-%u", r->dir, i + 1);
}

static void judge(struct run *r, bool recovered, struct verdict *v)
{
    if (!recovered)
        run_violation(r, "after healing the cluster did not serve again within %d s", SETTLE_MS / 1000);
    judge_history(r, v);
    if (interrupted && !v->malformed) { /* what was not asked to its end looks lost */
        verdict_init(v);
        verdict_unknown(v, 1, "interrupted");
    }
}

static void work(struct run *r, struct verdict *v)
{
    struct worker workers[64];
    for (uint32_t i = 0; i < r->o.workers; i++)
        workers[i] = (struct worker){.run = r, .number = i};
    workers_run(r, workers, worker_main);
    nemesis(r);
    for (uint32_t i = 0; i < r->o.faults_n; i++)
        r->o.faults[i]->end(r); /* each can be ended twice */
    sut_heal(&r->sut);
    for (uint32_t i = 0; i < r->sut.n; i++) {
        sut_pause(&r->sut, i, false);
        sut_clock(&r->sut, i, 0, 1);
        tracer_end(&r->sut, i);
        sut_start(&r->sut, i);
    }
    bool recovered = sut_settled(&r->sut, SETTLE_MS);
    r->stopping = true;
    workers_join(r, workers);
    r->final = true;
    workers_run(r, workers, worker_final);
    workers_join(r, workers);
    if (recovered)
        watch_end(r);
    judge(r, recovered, v);
}

int run_all(struct run *r, const struct options *o)
{
    char why[512] = "";
    struct verdict v;
    *r = (struct run){.o = *o, .random = o->seed, .random_nodes = o->seed + 1, .last_leader = -1};
    pthread_mutex_init(&r->lock, NULL);
    history_init(&r->history);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    signal(SIGPIPE, SIG_IGN);
    atexit(on_exit_close);
    r->nemesis = nemesis_open(o->seed);
    r->started_ns = monotonic_ns();
    if (!make_dirs(r, why, sizeof why) || !start_nodes(r, why, sizeof why) ||
        !calibrate(r, why, sizeof why)) {
        fprintf(stderr, "assent-jepsen: %s\n", why);
        on_exit_close();
        return 3;
    }
    fprintf(stderr, "%s: %s\n%s\n", o->workload->name, o->workload->what, r->dir);
    r->started_ns = monotonic_ns();
    r->state = o->workload->open != NULL ? o->workload->open(r) : NULL;
    work(r, &v);
    sut_close(&r->sut);
    closing = NULL;
    fclose(r->file);
    report_write(r, &v);
    if (v.valid == VALID)
        forget_data(r);
    if (o->workload->close != NULL)
        o->workload->close(r, r->state);
    printf("%s: %s  %s\n  %" PRIu64 " ok, %" PRIu64 " refused, %" PRIu64
           " unknown; %u faults, %u changes of leader; %s\n",
           o->workload->name, verdict_name(v.valid), v.why, r->ok, r->failed, r->unknown, r->faults_applied,
           r->leaders_seen, r->dir);
    printf("  the picture: %s/index.html\n", r->dir);
    history_close(&r->history);
    watch_close(r);
    nemesis_close(r->nemesis);
    return v.malformed ? 3 : verdict_exit(v.valid);
}
