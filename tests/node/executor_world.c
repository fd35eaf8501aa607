/* The world of an executor's test. */
#include "executor_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A proposal on its way. */
struct proposal {
    struct proposal *next;
    void *ticket;
    size_t size;
    uint8_t bytes[];
};

/* ---- the log ---- */

static int apply_bytes(struct world *w, struct assent_bytes bytes, uint64_t *counted)
{
    struct sm_command c = {.index = ++w->h.index, .time_us = w->h.now_us, .command = bytes, .awaited = true};
    struct codec_arena arena;
    struct result result;
    w->h.now_us += w->h.step_us;
    sm_apply(w->h.sm, &c, 1, c.index);
    codec_arena_init(&arena);
    assert_true(result_decode(&arena, c.result, &result));
    int code = result.code;
    *counted = code == ASSENT_OK ? codec_as_uint(codec_get(result.data, "counted")) : 0;
    codec_arena_close(&arena);
    return code;
}

static void on_log(uv_timer_t *timer)
{
    struct world *w = timer->data;
    while (w->first != NULL && !w->log_stopped) {
        struct proposal *p = w->first;
        uint64_t counted;
        w->first = p->next;
        if (w->first == NULL)
            w->last = &w->first;
        int code = apply_bytes(w, (struct assent_bytes){p->bytes, p->size}, &counted);
        if (w->forget > 0) {
            w->forget--;
            code = ASSENT_UNKNOWN_OUTCOME;
        }
        executor_reported(w->ex, p->ticket, code, counted);
        executor_kick(w->ex);
        free(p);
    }
}

static int propose(void *data, struct assent_bytes command, void *ticket)
{
    struct world *w = data;
    if (w->refuse > 0) {
        w->refuse--;
        return ASSENT_BUSY;
    }
    struct proposal *p = malloc(sizeof(*p) + command.size);
    assert_non_null(p);
    *p = (struct proposal){.ticket = ticket, .size = command.size};
    memcpy(p->bytes, command.base, command.size);
    *w->last = p;
    w->last = &p->next;
    w->proposed++;
    uv_timer_start(&w->log, on_log, 0, 0);
    return ASSENT_OK;
}

static void failed(void *data, const struct executor_failure *f)
{
    struct world *w = data;
    w->failures++;
    snprintf(w->error, sizeof(w->error), "%s", f->error);
}

static void simulated(void *data, const struct executor_fault *f)
{
    struct world *w = data;
    w->faults++;
    w->fault = *f;
}

static int64_t now_us(void *data)
{
    struct world *w = data;
    return w->h.now_us;
}

/* ---- the world ---- */

static void on_guard(uv_timer_t *timer)
{
    struct world *w = timer->data;
    w->late = --w->guard_left == 0;
}

void world_guard_start(struct world *w)
{
    w->late = false;
    w->guard_left = 12000; /* turns that wait end after 5 ms */
    uv_timer_start(&w->guard, on_guard, 5, 5);
}

void world_executor(struct world *w, struct executor_config config)
{
    config.loop = &w->loop;
    config.sm = w->h.sm;
    config.data = w;
    config.propose = propose;
    config.failed = failed;
    config.simulated = simulated;
    config.now_us = now_us;
    if (config.timeout_ms == 0)
        config.timeout_ms = 5000;
    assert_int_equal(executor_open(&w->ex, &config), ASSENT_OK);
    executor_start(w->ex);
}

void world_closed(void *data)
{
    ((struct world *)data)->closed = true;
}

void world_run(struct world *w, uint32_t type, const char *format, ...)
{
    char args[4096];
    va_list list;
    va_start(list, format);
    int n = vsnprintf(args, sizeof(args), format, list);
    va_end(list);
    assert_true(n > 0 && n < (int)sizeof(args));
    int rv = sm_run(&w->h, type, args);
    if (rv != ASSENT_OK)
        print_error("%s\n", sm_detail(&w->h));
    assert_int_equal(rv, ASSENT_OK);
    if (w->ex != NULL)
        executor_kick(w->ex);
}

void world_commit(struct world *w, const char *xid, uint16_t port, const char *path, const char *more)
{
    world_run(w, COMMAND_TXN_BEGIN,
              "{'xid':'%s','retryBaseMs':100,'traceparent':'00-aa-bb-01','branches':[{'branch':'b',"
              "'confirmUrl':'http://127.0.0.1:%u%s','cancelUrl':'http://127.0.0.1:%u%s'%s}]}",
              xid, port, path, port, path, more);
    world_run(w, COMMAND_TXN_COMMIT, "{'xid':'%s'}", xid);
}

void world_saga(struct world *w, const char *first, const char *second)
{
    world_run(w, COMMAND_SAGA_SUBMIT,
              "{'xid':'t','retryBaseMs':100,'steps':["
              "{'actionUrl':'http://127.0.0.1:%u%s','compensateUrl':'http://127.0.0.1:%u/ok','payload':[1]},"
              "{'actionUrl':'http://127.0.0.1:%u%s','compensateUrl':'http://127.0.0.1:%u/ok'}]}",
              w->p.port, first, w->p.port, w->p.port, second, w->p.port);
}

bool world_stands(struct world *w, const char *xid, const char *status)
{
    char args[200];
    snprintf(args, sizeof(args), "{'xid':'%s'}", xid);
    assert_int_equal(sm_ask(&w->h, QUERY_TXN_STATUS, args), ASSENT_OK);
    return strcmp(sm_text(&w->h, "status"), status) == 0;
}

void world_log_start(struct world *w)
{
    w->log_stopped = false;
    uv_timer_start(&w->log, on_log, 0, 0);
}

void world_turns(struct world *w, int n)
{
    while (n-- > 0)
        uv_run(&w->loop, UV_RUN_NOWAIT);
}

struct executor_metrics world_metrics(struct world *w)
{
    struct executor_metrics m;
    executor_metrics(w->ex, &m);
    return m;
}

void world_assert_idle(struct world *w)
{
    struct executor_metrics m = world_metrics(w);
    assert_int_equal(m.in_flight + m.queued + m.reporting + m.hosts, 0);
}

int world_setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    assert_int_equal(uv_loop_init(&w->loop), 0);
    sm_harness_open(&w->h);
    participant_open(&w->p, &w->loop);
    participant_open(&w->q, &w->loop);
    uv_timer_init(&w->loop, &w->log);
    uv_timer_init(&w->loop, &w->guard);
    w->log.data = w->guard.data = w;
    w->last = &w->first;
    *state = w;
    return 0;
}

int world_teardown(void **state)
{
    struct world *w = *state;
    w->log_stopped = false;
    if (w->ex != NULL && !w->closed) {
        executor_close(w->ex, world_closed, w);
        until(w, w->closed);
    }
    participant_close(&w->p);
    participant_close(&w->q);
    uv_close((uv_handle_t *)&w->log, NULL);
    uv_close((uv_handle_t *)&w->guard, NULL);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    sm_harness_close(&w->h);
    free(w);
    return 0;
}
