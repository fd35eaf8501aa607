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

#include "judge.h"

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
    r->random += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t x = r->random;
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    x ^= x >> 31;
    return below == 0 ? 0 : x % below;
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
    const struct sut_node *node = &r->sut.nodes[(w->number + run_random(r, 8) / 7) % r->sut.n];
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

static void watch_leader(struct run *r)
{
    int leader = sut_leader(&r->sut);
    if (leader >= 0 && leader != r->last_leader) {
        r->leaders_seen += r->last_leader >= 0;
        r->last_leader = leader;
    }
}

static void wait_ms(struct run *r, uint64_t ms, uint64_t until_ns)
{
    uint64_t end = run_now_ns(r) + ms * 1000000;
    while (run_now_ns(r) < end && run_now_ns(r) < until_ns && !interrupted) {
        watch_leader(r);
        nap_ns(100000000);
    }
}

static uint64_t about(struct run *r, uint64_t ms)
{
    pthread_mutex_lock(&r->lock);
    uint64_t t = ms / 2 + run_random(r, ms + 1);
    pthread_mutex_unlock(&r->lock);
    return t;
}

static void progress(const struct run *r, const char *now)
{
    fprintf(stderr, "%6.1f s  %8" PRIu64 " ok %6" PRIu64 " refused %5" PRIu64 " unknown  %2u leaders  %s\n",
            (double)run_now_ns(r) / 1e9, r->ok, r->failed, r->unknown, r->leaders_seen, now);
}

/* Nobody ends by itself, unless a fault gives it a reason. */
static void watch_deaths(struct run *r, const struct fault *f)
{
    uint32_t dead = sut_dead(&r->sut);
    if (dead > 0 && (f == NULL || !f->may_die))
        run_violation(r, "%u nodes ended by themselves %s %s: see their logs", dead,
                      f != NULL ? "under" : "without a fault", f != NULL ? f->name : "");
}

/* Every class once before any comes again, in random order. */
static uint32_t choose(struct run *r, uint32_t *left)
{
    pthread_mutex_lock(&r->lock);
    if (*left == 0)
        *left = (1u << r->o.faults_n) - 1;
    uint32_t i;
    do
        i = (uint32_t)run_random(r, r->o.faults_n);
    while ((*left & (1u << i)) == 0);
    *left &= ~(1u << i);
    pthread_mutex_unlock(&r->lock);
    return i;
}

static void nemesis(struct run *r)
{
    uint64_t until_ns = (uint64_t)r->o.seconds * 1000000000u;
    uint32_t left = 0;
    wait_ms(r, 3000, until_ns); /* a calm beginning to compare with */
    while (run_now_ns(r) < until_ns && !interrupted) {
        char text[256] = "";
        uint32_t i = r->o.faults_n > 0 ? choose(r, &left) : 0;
        const struct fault *f = r->o.faults_n > 0 ? r->o.faults[i] : NULL;
        watch_deaths(r, NULL);
        if (f != NULL && f->begin(r, text, sizeof text)) {
            r->faults_applied++;
            r->in_force[i]++;
            run_nemesis_op(r, f->name, text);
            progress(r, text);
            wait_ms(r, about(r, r->o.fault_ms), until_ns);
            watch_deaths(r, f);
            f->end(r);
            run_nemesis_op(r, f->name, "end");
        }
        wait_ms(r, about(r, r->o.fault_ms / 2 + 500), until_ns);
        progress(r, f != NULL ? "healed" : "calm");
    }
}

/* ---- the run ---- */

static void on_signal(int number)
{
    (void)number;
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
        sut_clock(&r->sut, i, 0);
        sut_start(&r->sut, i);
    }
    bool recovered = sut_settled(&r->sut, SETTLE_MS);
    r->stopping = true;
    workers_join(r, workers);
    r->final = true;
    workers_run(r, workers, worker_final);
    workers_join(r, workers);
    judge(r, recovered, v);
}

int run_all(struct run *r, const struct options *o)
{
    char why[512] = "";
    struct verdict v;
    *r = (struct run){.o = *o, .random = o->seed, .last_leader = -1};
    pthread_mutex_init(&r->lock, NULL);
    history_init(&r->history);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    signal(SIGPIPE, SIG_IGN);
    atexit(on_exit_close);
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
    if (o->workload->close != NULL)
        o->workload->close(r, r->state);
    printf("%s: %s  %s\n  %" PRIu64 " ok, %" PRIu64 " refused, %" PRIu64
           " unknown; %u faults, %u changes of leader; %s\n",
           o->workload->name, verdict_name(v.valid), v.why, r->ok, r->failed, r->unknown, r->faults_applied,
           r->leaders_seen, r->dir);
    history_close(&r->history);
    return v.malformed ? 3 : verdict_exit(v.valid);
}
