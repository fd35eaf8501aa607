/* Strict timestamps through libassent's asynchronous face: many callers wait, the library makes few frames of
 * them.  Each answer is checked: nothing twice, and nothing below what an earlier finished call got. */
#include "assent_bench.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "assent/client.h"

struct caller {
    struct load *load;
    uint64_t started;
    uint64_t floor; /* largest timestamp of calls that had finished when this one began */
};

struct load {
    const struct bench_options *o;
    struct bench_result *r;
    struct assent_async *async;
    bool measuring, ending;
    uint64_t largest;
    uint32_t under_way;
    struct caller *callers, **idle; /* idle: those that could not ask; they try again in the next turn */
    uint32_t idle_n;
};

static void done(void *data, const struct assent_reply *reply);

static void ask(struct caller *c)
{
    struct load *l = c->load;
    c->started = bench_now();
    c->floor = l->largest;
    if (assent_async_tso(l->async, l->o->count, 0, done, c) == ASSENT_OK) {
        l->under_way++;
    } else {
        l->r->errors++;
        l->idle[l->idle_n++] = c;
    }
}

static void done(void *data, const struct assent_reply *reply)
{
    struct caller *c = data;
    struct load *l = c->load;
    l->under_way--;
    if (reply->code == ASSENT_OK) {
        uint64_t last = reply->first + reply->count - 1;
        if (reply->first <= c->floor) {
            bench_die("timestamp %llu is not above %llu, which a finished call had got",
                      (unsigned long long)reply->first, (unsigned long long)c->floor);
        }
        l->largest = last > l->largest ? last : l->largest;
        if (l->measuring) {
            l->r->done++;
            l->r->units += reply->count;
            histogram_add(&l->r->latency, bench_now() - c->started);
        }
    } else if (l->measuring) {
        l->r->errors++;
    }
    if (!l->ending) {
        ask(c);
    }
}

/* Those that could not ask, every 20 ms; it also lets the loop look at the time and at signals. */
static void turn(uv_timer_t *timer)
{
    struct load *l = timer->data;
    uint32_t n = l->idle_n;
    l->idle_n = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct caller *c = l->idle[i];
        ask(c); /* writes only to places at or before i */
    }
}

static void run_until(uv_loop_t *loop, uint64_t until)
{
    while (bench_now() < until && !bench_stopped()) {
        uv_run(loop, UV_RUN_ONCE);
    }
}

static void closed(void *data)
{
    *(bool *)data = true;
}

void bench_tso(const struct bench_options *o, struct bench_result *r)
{
    uv_loop_t loop;
    uv_timer_t timer;
    struct assent_options options;
    struct load l = {.o = o, .r = r};
    bool is_closed = false;
    memset(r, 0, sizeof *r);
    uint32_t n = o->pipeline < ASSENT_INFLIGHT_MAX ? o->pipeline : ASSENT_INFLIGHT_MAX;
    l.callers = calloc(n, sizeof *l.callers);
    l.idle = calloc(n, sizeof *l.idle);
    uv_loop_init(&loop);
    assent_options_init(&options);
    options.endpoints = o->endpoints;
    options.name = "assent-bench";
    options.inflight_max = n;
    int rc = assent_async_open(&l.async, &loop, &options);
    if (rc != ASSENT_OK) {
        bench_die("libassent: %s", assent_error_sentence(rc));
    }
    uv_timer_init(&loop, &timer);
    timer.data = &l;
    uv_timer_start(&timer, turn, 20, 20);
    for (uint32_t i = 0; i < n; i++) {
        l.callers[i].load = &l;
        ask(&l.callers[i]);
    }
    run_until(&loop, bench_now() + (uint64_t)(o->warmup_seconds * 1e9));
    uint64_t start = bench_now();
    l.measuring = true;
    run_until(&loop, start + (uint64_t)(o->seconds * 1e9));
    r->seconds = (double)(bench_now() - start) / 1e9;
    r->per_second = r->seconds > 0 ? (double)r->units / r->seconds : 0;
    l.measuring = false;
    l.ending = true;
    assent_async_close(l.async, closed, &is_closed);
    while (!is_closed) {
        uv_run(&loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    free(l.callers);
    free(l.idle);
}
