/* Faults of a node's wall clock: set apart, jumping to and fro, too fast or too slow.  Its monotonic clock
 * stays true, and the host's clock is never touched. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http.h"
#include "nemesis.h"

enum { CLOCK_BUMP, CLOCK_STROBE, CLOCK_DRIFT };
static const char *const clock_shapes[] = {"bump", "strobe", "drift", NULL};

/* Below, about and far above what nodes tolerate, in per cent of it. */
static int64_t some_apart_ms(struct run *r)
{
    static const int64_t percents[] = {50, 90, 110, 200, 2000, 12000};
    int64_t ms = percents[nemesis_chance(r, sizeof percents / sizeof percents[0])] * SUT_SKEW_MS / 100;
    return nemesis_chance(r, 2) == 0 ? ms : -ms;
}

/* ---- strobe: a thread, for it jumps every few milliseconds ---- */

struct strobe {
    struct sut *sut;
    uint32_t mask, every_ms;
    int64_t apart_ms;
    atomic_bool stop;
    pthread_t thread;
};

static void set_these(struct sut *s, uint32_t mask, int64_t apart_ms)
{
    for (uint32_t i = 0; i < s->n; i++)
        if ((mask & (1u << i)) != 0)
            sut_clock(s, i, apart_ms, 1);
}

static void *strobe_main(void *data)
{
    struct strobe *s = data;
    for (bool apart = true; !atomic_load(&s->stop); apart = !apart) {
        set_these(s->sut, s->mask, apart ? s->apart_ms : 0);
        sut_nap(s->every_ms);
    }
    return NULL;
}

static bool strobe_begin(struct run *r, uint32_t mask, int64_t apart_ms, uint32_t every_ms)
{
    struct strobe *s = calloc(1, sizeof *s);
    if (s == NULL)
        return false;
    *s = (struct strobe){.sut = &r->sut, .mask = mask, .every_ms = every_ms, .apart_ms = apart_ms};
    if (pthread_create(&s->thread, NULL, strobe_main, s) != 0) {
        free(s);
        return false;
    }
    r->nemesis->strobe = s;
    return true;
}

static void strobe_end(struct run *r)
{
    struct strobe *s = r->nemesis->strobe;
    if (s == NULL)
        return;
    atomic_store(&s->stop, true);
    pthread_join(s->thread, NULL);
    free(s);
    r->nemesis->strobe = NULL;
}

/* ---- the fault ---- */

static bool bump(struct run *r, uint32_t mask, char *text, size_t size)
{
    size_t at = (size_t)snprintf(text, size, "clocks jump:");
    for (uint32_t i = 0; i < r->sut.n && at < size; i++) {
        if ((mask & (1u << i)) == 0)
            continue;
        int64_t ms = some_apart_ms(r);
        sut_clock(&r->sut, i, ms, 1);
        at += (size_t)snprintf(text + at, size - at, " node-%u %+lld ms", i + 1, (long long)ms);
    }
    return true;
}

static bool clock_begin(struct run *r, uint32_t shape, char *text, size_t size)
{
    static const double rates[] = {0.5, 0.9, 1.1, 2, 5};
    static const enum whom whoms[] = {WHOM_ONE, WHOM_LEADER, WHOM_MAJORITY, WHOM_ALL};
    char names[128];
    uint32_t mask = nemesis_whom(r, whoms[nemesis_chance(r, 4)], names, sizeof names);
    double rate = rates[nemesis_chance(r, sizeof rates / sizeof rates[0])];
    int64_t apart_ms = some_apart_ms(r);
    uint32_t every_ms = 4u << nemesis_chance(r, 9); /* 4 ms .. 1 s */
    if (mask == 0)
        return false;
    switch (shape) {
    case CLOCK_BUMP:
        return bump(r, mask, text, size);
    case CLOCK_STROBE:
        snprintf(text, size, "clock of %s jumps %+lld ms and back every %u ms", names, (long long)apart_ms,
                 every_ms);
        return strobe_begin(r, mask, apart_ms, every_ms);
    default:
        for (uint32_t i = 0; i < r->sut.n; i++)
            if ((mask & (1u << i)) != 0)
                sut_clock(&r->sut, i, 0, rate);
        snprintf(text, size, "clock of %s goes %.1f times as fast", names, rate);
        return true;
    }
}

static void clock_end(struct run *r)
{
    strobe_end(r);
    set_these(&r->sut, UINT32_MAX, 0);
}

/* How far the node's clock stands from ours, as it says in its answers. */
static bool apart_ms(struct run *r, uint32_t i, int64_t *apart)
{
    struct http_answer a;
    struct timespec t;
    http_ask(r->sut.nodes[i].base, "GET", "/api/v1/cluster", NULL, NULL, 2000, true, &a);
    clock_gettime(CLOCK_REALTIME, &t);
    *apart = a.server_ms - ((int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000);
    http_close(&a);
    return a.outcome == HTTP_DONE && a.server_ms != 0;
}

static bool stands_apart(struct run *r, int64_t least, int64_t most, const char *how, char *why, size_t size)
{
    int64_t apart = 0;
    if (apart_ms(r, 0, &apart) && apart >= least && apart <= most)
        return true;
    snprintf(why, size, "a clock %s is %lld ms apart", how, (long long)apart);
    clock_end(r);
    return false;
}

/* It was seen on both sides. */
static bool strobe_calibrate(struct run *r, char *why, size_t size)
{
    uint32_t near = 0, far = 0;
    if (!strobe_begin(r, 1, 60000, 8))
        return false;
    for (int k = 0; k < 300 && (near == 0 || far == 0); k++) {
        int64_t apart = 0;
        if (!apart_ms(r, 0, &apart))
            continue;
        near += apart > -1000 && apart < 1000;
        far += apart > 59000 && apart < 61000;
        sut_nap(3);
    }
    clock_end(r);
    snprintf(why, size, "a clock that jumps every 8 ms was seen %u times here, %u times there", near, far);
    return near > 0 && far > 0;
}

static bool clock_calibrate(struct run *r, char *why, size_t size)
{
    static const struct {
        const char *how;
        int64_t apart_ms;
    } rows[] = {{"set 5 s ahead", 5000}, {"set 5 s back", -5000}, {"reset", 0}};
    for (int k = 0; k < 3; k++) {
        sut_clock(&r->sut, 0, rows[k].apart_ms, 1);
        sut_nap(100);
        if (!stands_apart(r, rows[k].apart_ms - 1000, rows[k].apart_ms + 1000, rows[k].how, why, size))
            return false;
    }
    int64_t from = 0, to = 0;
    sut_clock(&r->sut, 0, 0, 5); /* five times as fast: 500 ms are 2 s more */
    bool said = apart_ms(r, 0, &from);
    sut_nap(500);
    if (!said || !apart_ms(r, 0, &to) || to - from < 1500 || to - from > 5000) {
        snprintf(why, size, "a clock five times as fast went %lld ms apart in half a second",
                 (long long)(to - from));
        clock_end(r);
        return false;
    }
    clock_end(r);
    return strobe_calibrate(r, why, size) && stands_apart(r, -1000, 1000, "reset after jumps", why, size);
}

const struct fault fault_clock = {.name = "clock",
                                  .what = "wall clocks set apart, jumping to and fro, too fast or too slow",
                                  .shapes = clock_shapes,
                                  .begin = clock_begin,
                                  .end = clock_end,
                                  .calibrate = clock_calibrate,
                                  .needs = SUT_CLOCKS};
