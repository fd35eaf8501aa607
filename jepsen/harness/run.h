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
    const char *const *shapes; /* their names, NULL at the end; NULL: there is one only */
    /* Break something in this shape; describe it.  False: not possible now, nothing is broken. */
    bool (*begin)(struct run *r, uint32_t shape, char *text, size_t size);
    void (*tick)(struct run *r); /* about every 50 ms while in force; may be NULL */
    void (*end)(struct run *r);
    /* Before the run: does it break what it says, and mend it?  False: `why` says what it did not do. */
    bool (*calibrate)(struct run *r, char *why, size_t size);
    unsigned needs; /* SUT_... */
    bool may_die;   /* a node may end by itself under it, with FAULT_EXIT */
    bool alone;     /* not together with others: it needs a cluster that serves */
};
#define FAULTS_MAX 16
#define FAULT_EXIT 70 /* docs/configuration.md: this replica cannot go on */
extern const struct fault *const faults[];
extern const uint32_t faults_n;
const struct fault *fault_find(const char *name); /* NULL: none */
uint32_t fault_shapes(const struct fault *f);     /* how many, 1 or more */

struct options {
    const struct workload *workload;
    const struct fault *faults[FAULTS_MAX]; /* in random order; none: a calm run */
    uint32_t shapes[FAULTS_MAX];            /* of each: its number + 1; 0: all of them by turns */
    uint32_t faults_n, at_once;             /* how many may be in force together */
    uint32_t nodes, workers, seconds;
    uint32_t rate; /* operations per second, all workers together */
    uint64_t seed;
    uint32_t fault_ms; /* mean time a fault lasts, and between two */
    uint32_t snapshot_entries;
    const char *program, *out;
    char *list;    /* of faults, as given */
    bool loopback; /* no namespaces */
};

struct run {
    struct options o;
    struct sut sut;
    char dir[256];
    uint64_t started_ns;
    pthread_mutex_t lock; /* of everything below */
    struct history history;
    FILE *file;                    /* history.jsonl, a line per event */
    uint64_t random, random_nodes; /* dice: what is asked; whom */
    struct nemesis *nemesis;       /* the nemesis thread's */
    int64_t processes;             /* numbers given */
    uint32_t faults_applied, leaders_seen;
    uint32_t in_force[FAULTS_MAX]; /* times, of o.faults */
    char violation[256];           /* what a node did under a fault that it must not do; "": nothing */
    int last_leader;
    bool stopping, final;
    void *state;                     /* the workload's */
    uint64_t ok, failed, unknown;    /* completions */
    uint64_t second_shown, ok_shown; /* of the progress line */
    struct watch *watch;             /* watch.c's */
};

/* Dice of `next` and nobody else: a seed and the answers fix what is asked.  Under the lock. */
uint64_t run_random(struct run *r, uint64_t below);
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
