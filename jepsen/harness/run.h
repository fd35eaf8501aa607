/* One run of the judge: workers that ask, a nemesis that breaks, one recorder, a verdict.
 *
 *   set-up -> (workers at a rate, nemesis beside them) -> heal -> wait -> final operations -> verdict, report
 *
 * A worker plays a process with one open operation; when it cannot know how one ended it goes on as another
 * process.
 */
#ifndef JEPSEN_RUN_H
#define JEPSEN_RUN_H

#include <pthread.h>

#include "history.h"
#include "nodes.h"
#include "verdict.h"

struct run;

/* What is asked, and how it is judged. */
struct workload {
    const char *name, *what;
    /* Fill an invocation for this worker: f, key, value (given).  Under the run's lock.  `final`: the last
     * phase; false: nothing (more) to ask. */
    bool (*next)(struct run *r, uint32_t worker, bool final, struct op *invoke);
    /* Do it at the node; fill `completion`: type OK, FAIL or INFO, value (given), error. */
    void (*perform)(struct run *r, uint32_t worker, const struct sut_node *node, const struct op *invoke,
                    struct op *completion);
    void (*check)(struct run *r, const struct history *h, struct verdict *v);
    void *(*open)(struct run *r); /* its own state, may be NULL */
    void (*close)(struct run *r, void *state);
};

/* A class of faults. */
struct fault {
    const char *name, *what;
    /* Break something; describe it.  False: not possible now. */
    bool (*begin)(struct run *r, char *text, size_t size);
    void (*end)(struct run *r);
    /* Before the run: does it break what it says, and mend it?  False: `why` says what it did not do. */
    bool (*calibrate)(struct run *r, char *why, size_t size);
    unsigned needs; /* SUT_... */
    bool may_die;   /* a node may end by itself under it */
};
#define FAULTS_MAX 16
extern const struct fault *const faults[];
extern const uint32_t faults_n;
const struct fault *fault_find(const char *name);

struct options {
    const struct workload *workload;
    const struct fault *faults[FAULTS_MAX]; /* one at a time, in random order; none: a calm run */
    uint32_t faults_n;
    uint32_t nodes, workers, seconds;
    uint32_t rate; /* operations per second, all workers together */
    uint64_t seed;
    uint32_t fault_ms; /* mean time a fault lasts, and between two */
    const char *program, *out;
    bool loopback; /* no namespaces */
};

struct run {
    struct options o;
    struct sut sut;
    char dir[256];
    uint64_t started_ns;
    pthread_mutex_t lock; /* of everything below */
    struct history history;
    FILE *file; /* history.jsonl, a line per event */
    uint64_t random;
    int64_t processes; /* numbers given */
    uint32_t faults_applied, leaders_seen;
    uint32_t in_force[FAULTS_MAX]; /* times, of o.faults */
    char violation[256];           /* what a node did under a fault that it must not do; "": nothing */
    int last_leader;
    bool stopping, final;
    void *state;                  /* the workload's */
    uint64_t ok, failed, unknown; /* completions */
};

uint64_t run_random(struct run *r, uint64_t below); /* under the lock */
uint64_t run_now_ns(const struct run *r);
/* Record; takes `key` and `value` of `op`. */
void run_record(struct run *r, struct op *op);
void run_nemesis_op(struct run *r, const char *f, const char *text);
/* A node broke a promise under a fault: the verdict is "false".  The first is kept. */
void run_violation(struct run *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The whole thing: 0 valid, 1 invalid, 2 unknown, 3 the judge itself failed. */
int run_all(struct run *r, const struct options *o);
/* Files people look at, into the run's folder. */
void report_write(struct run *r, const struct verdict *v);

extern const struct workload *const workloads[];
extern const uint32_t workloads_n;

#endif
