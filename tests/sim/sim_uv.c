/* The part of libuv the executor uses, on virtual time: the simulator links it in place of the library. */
#include <assert.h>
#include <string.h>

#include "world.h"

/* Fields of a timer used here: `timeout` is when it is due (us), `start_id` which start that is, 0: none. */
static uint64_t starts;

void sim_uv_init(uv_loop_t *loop, struct sim_node *node)
{
    memset(loop, 0, sizeof *loop);
    loop->data = node;
}

static struct sim_node *node_of(const uv_loop_t *loop)
{
    return loop->data;
}

static uint64_t now_us(const uv_loop_t *loop)
{
    return cluster_now_us(node_of(loop)->world->cluster);
}

uint64_t uv_now(const uv_loop_t *loop)
{
    return now_us(loop) / 1000;
}

static const uv_loop_t *newest_loop; /* uv_hrtime() has no loop: virtual time is the same for all */

uint64_t uv_hrtime(void)
{
    return newest_loop != NULL ? now_us(newest_loop) * 1000 : 0;
}

int uv_gettimeofday(uv_timeval64_t *tv)
{
    uint64_t us = newest_loop != NULL ? now_us(newest_loop) : 0;
    tv->tv_sec = (int64_t)(us / 1000000);
    tv->tv_usec = (int32_t)(us % 1000000);
    return 0;
}

int uv_timer_init(uv_loop_t *loop, uv_timer_t *timer)
{
    void *data = timer->data;
    memset(timer, 0, sizeof *timer);
    timer->data = data;
    timer->loop = loop;
    newest_loop = loop;
    return 0;
}

static void on_due(void *data, uint64_t id)
{
    struct sim_node *n = data;
    for (uint32_t i = 0; i < n->timers_n; i++) {
        uv_timer_t *timer = n->timers[i];
        if (timer->start_id == id) {
            timer->start_id = 0;
            timer->timer_cb(timer);
            return;
        }
    }
}

static void enlist(struct sim_node *n, uv_timer_t *timer)
{
    for (uint32_t i = 0; i < n->timers_n; i++)
        if (n->timers[i] == timer)
            return;
    assert(n->timers_n < SIM_TIMERS_MAX);
    n->timers[n->timers_n++] = timer;
}

static void unlist(struct sim_node *n, const uv_timer_t *timer)
{
    for (uint32_t i = 0; i < n->timers_n; i++) {
        if (n->timers[i] == timer) {
            n->timers[i] = n->timers[--n->timers_n];
            return;
        }
    }
}

int uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout, uint64_t repeat)
{
    struct sim_node *n = node_of(timer->loop);
    assert(repeat == 0);
    timer->timer_cb = cb;
    timer->start_id = ++starts;
    timer->timeout = now_us(timer->loop) + timeout * 1000;
    enlist(n, timer);
    cluster_at_node(n->world->cluster, n->id, timeout * 1000, on_due, n, timer->start_id);
    return 0;
}

int uv_timer_stop(uv_timer_t *timer)
{
    timer->start_id = 0;
    return 0;
}

uint64_t uv_timer_get_due_in(const uv_timer_t *timer)
{
    uint64_t now = now_us(timer->loop);
    return timer->start_id != 0 && timer->timeout > now ? (timer->timeout - now) / 1000 : 0;
}

int uv_is_active(const uv_handle_t *handle)
{
    return ((const uv_timer_t *)handle)->start_id != 0;
}

int uv_is_closing(const uv_handle_t *handle)
{
    return handle->close_cb != NULL;
}

static void on_closed(void *data, uint64_t arg)
{
    uv_handle_t *handle = data;
    (void)arg;
    uv_close_cb cb = handle->close_cb;
    cb(handle);
}

/* As libuv: the callback comes in a later turn. */
void uv_close(uv_handle_t *handle, uv_close_cb cb)
{
    uv_timer_t *timer = (uv_timer_t *)handle;
    struct sim_node *n = node_of(timer->loop);
    uv_timer_stop(timer);
    unlist(n, timer);
    handle->close_cb = cb;
    if (cb != NULL)
        cluster_at(n->world->cluster, 0, on_closed, handle, 0);
}
