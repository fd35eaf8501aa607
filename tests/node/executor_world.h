/* The executor's world in tests: a real state machine, participants in the test's own process, and a log that
 * is a list which applies what was proposed on the next turn of the loop. */
#ifndef TESTS_EXECUTOR_WORLD_H
#define TESTS_EXECUTOR_WORLD_H

#include "executor.h"
#include "participant.h"
#include "sm_harness.h"

struct proposal;

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
    uint32_t lazy_ms;
    uint32_t proposed, failures;
    bool closed, late;
    int guard_left;
    char error[300];
};

/* Run the loop until `condition` holds; ten seconds are more than anything here takes. */
#define until(w, condition)                                                                                  \
    do {                                                                                                     \
        (w)->late = false;                                                                                   \
        (w)->guard_left = 2000; /* turns that wait end after 5 ms */                                         \
        uv_timer_start(&(w)->guard, world_on_guard, 5, 5);                                                   \
        while (!(condition) && !(w)->late)                                                                   \
            uv_run(&(w)->loop, UV_RUN_ONCE);                                                                 \
        uv_timer_stop(&(w)->guard);                                                                          \
        assert_true(condition);                                                                              \
    } while (0)

/* Of cmocka: `*state` is a struct world without an executor. */
int world_setup(void **state);
int world_teardown(void **state);
/* Open and start an executor with the settings of the world; 0: its defaults. */
void open_executor(struct world *w, uint32_t in_flight_max, uint32_t per_host_max);
void on_executor_closed(void *data);
void world_on_guard(uv_timer_t *timer);
/* The log goes on after `log_stopped`. */
void start_log(struct world *w);
/* A few turns in which something unwanted could happen. */
void turns(struct world *w, int n);
/* A transaction with one branch, decided. `more`: further fields of the branch. */
void commit(struct world *w, const char *xid, uint16_t port, const char *path, const char *more);
bool is_committed(struct world *w, const char *xid);
/* A saga of two steps, submitted. */
void submit(struct world *w, const char *first, const char *second);
/* Is `t` in that status? */
bool stands(struct world *w, const char *status);
struct executor_metrics metrics(struct world *w);
/* Everything there was to do is done and forgotten. */
void assert_idle(struct world *w);

#endif /* TESTS_EXECUTOR_WORLD_H */
