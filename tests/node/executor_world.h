/* The world of an executor's test: a real state machine, two scripted participants, and a log that applies
 * what was proposed on the next turn of the loop. */
#ifndef TESTS_EXECUTOR_WORLD_H
#define TESTS_EXECUTOR_WORLD_H

#include "executor.h"
#include "participant.h"
#include "sm_harness.h"

struct world {
    uv_loop_t loop;
    struct sm_harness h;
    struct executor *ex;
    struct participant p, q;
    uv_timer_t log, guard;
    struct proposal *first, **last;
    bool log_stopped; /* keep proposals waiting */
    int refuse;       /* so many proposals are refused with BUSY */
    int forget;       /* so many are applied, but answered with UNKNOWN_OUTCOME */
    uint32_t proposed, failures;
    struct executor_fault fault; /* the last one; its texts are gone */
    uint32_t faults;
    bool closed, late;
    int guard_left;
    char error[300]; /* of the last failed call */
};

int world_setup(void **state);
int world_teardown(void **state);
/* Open the executor and start it; callbacks, loop and state machine are filled in. */
void world_executor(struct world *w, struct executor_config config);
/* Apply a command; refusals end the test. */
void world_run(struct world *w, uint32_t type, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* A transaction of TCC with one branch, decided. `more`: further fields of the branch. */
void world_commit(struct world *w, const char *xid, uint16_t port, const char *path, const char *more);
/* The saga "t" of two steps, submitted. */
void world_saga(struct world *w, const char *first, const char *second);
/* Does the transaction stand so? */
bool world_stands(struct world *w, const char *xid, const char *status);
/* A few turns in which something unwanted could happen. */
void world_turns(struct world *w, int n);
struct executor_metrics world_metrics(struct world *w);
/* Everything there was to do is done and forgotten. */
void world_assert_idle(struct world *w);

/* The log goes on after `log_stopped`. */
void world_log_start(struct world *w);
/* Of executor_close(): sets `closed`. */
void world_closed(void *data);

void world_guard_start(struct world *w);

/* Run the loop until `condition` holds; the guard ends it after many times what anything here takes. */
#define until(w, condition)                                                                                  \
    do {                                                                                                     \
        world_guard_start(w);                                                                                \
        while (!(condition) && !(w)->late)                                                                   \
            uv_run(&(w)->loop, UV_RUN_ONCE);                                                                 \
        uv_timer_stop(&(w)->guard);                                                                          \
        assert_true(condition);                                                                              \
    } while (0)

#endif /* TESTS_EXECUTOR_WORLD_H */
