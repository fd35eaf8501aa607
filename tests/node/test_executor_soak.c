/* The executor under everything at once: seeded rows of transactions, hosts that go down and come back, hang
 * and refuse, leadership lost and regained, proposals lost and refused.  At the end all is decided, called
 * and forgotten.
 *
 * ASSENT_SEED=<n> runs one seed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "executor_world.h"

#define SEEDS 30
#define STEPS 400

struct soak {
    struct world *w;
    uint64_t dice;
    int begun;
};

static uint32_t below(struct soak *s, uint32_t n)
{
    uint64_t z = s->dice += UINT64_C(0x9e3779b97f4a7c15); /* SplitMix64 */
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)((z ^ z >> 31) % n);
}

/* Paths that end in success sooner or later, when the hosts are up. */
static void url(struct soak *s, char *out, size_t size)
{
    static const char *const paths[] = {"/ok", "/ok", "/once", "/later", "/flip", "/moved", "/hold"};
    struct world *w = s->w;
    snprintf(out, size, "http://%s:%u%s", below(s, 4) == 0 ? "localhost" : "127.0.0.1",
             below(s, 2) == 0 ? w->p.port : w->q.port, paths[below(s, sizeof(paths) / sizeof(paths[0]))]);
}

static void begin(struct soak *s)
{
    struct world *w = s->w;
    char forward[80], back[80], other[80];
    int i = s->begun++;
    url(s, forward, sizeof(forward));
    url(s, back, sizeof(back));
    url(s, other, sizeof(other));
    switch (below(s, 3)) {
    case 0:
        world_run(w, COMMAND_SAGA_SUBMIT,
                  "{'xid':'t%d','style':%u,'retryBaseMs':20,'retryCapMs':200,'concurrent':%s,'steps':["
                  "{'actionUrl':'%s','compensateUrl':'%s','timeoutMs':60},"
                  "{'actionUrl':'http://127.0.0.1:%u/%s','compensateUrl':'%s','timeoutMs':60}]}",
                  i, below(s, 2), below(s, 2) ? "true" : "false", forward, back, w->p.port,
                  below(s, 3) == 0 ? "refuse" : "ok", other);
        break;
    case 1:
        world_run(w, COMMAND_TXN_BEGIN,
                  "{'xid':'t%d','execute':true,'retryBaseMs':20,'retryCapMs':200,'branches':[{'branch':'b',"
                  "'tryUrl':'%s','confirmUrl':'%s','cancelUrl':'%s','timeoutMs':60}]}",
                  i, forward, back, other);
        break;
    default:
        world_run(w, COMMAND_TXN_BEGIN,
                  "{'xid':'t%d','retryBaseMs':20,'retryCapMs':200,'order':'%s','branches':["
                  "{'branch':'a','confirmUrl':'%s','cancelUrl':'%s','timeoutMs':60},"
                  "{'branch':'b','confirmUrl':'%s','cancelUrl':'%s','timeoutMs':60}]}",
                  i, below(s, 2) ? "reverse" : "parallel", forward, back, back, forward);
        world_run(w, below(s, 3) ? COMMAND_TXN_COMMIT : COMMAND_TXN_ROLLBACK, "{'xid':'t%d'}", i);
        break;
    }
}

static void step(struct soak *s)
{
    struct world *w = s->w;
    char args[40];
    switch (below(s, 12)) {
    case 0:
        w->p.down = !w->p.down;
        break;
    case 1:
        w->q.down = !w->q.down;
        break;
    case 2: /* another leader, for a moment */
        executor_stop(w->ex);
        world_turns(w, (int)below(s, 5));
        executor_start(w->ex);
        break;
    case 3:
        w->refuse = (int)below(s, 3);
        break;
    case 4:
        w->forget = (int)below(s, 3);
        break;
    case 5: /* what may be too late, or allowed */
        if (s->begun > 0) {
            snprintf(args, sizeof(args), "{'xid':'t%u'}", below(s, (uint32_t)s->begun));
            sm_run(&w->h, COMMAND_TXN_ROLLBACK, args);
            executor_kick(w->ex);
        }
        break;
    case 6:
        sm_advance(&w->h, below(s, 300));
        executor_kick(w->ex);
        break;
    default:
        begin(s);
    }
    world_turns(w, (int)below(s, 20));
}

static bool all_ended(struct soak *s)
{
    struct world *w = s->w;
    assert_int_equal(sm_ask(&w->h, QUERY_TXN_COUNTS, "{}"), ASSENT_OK);
    for (uint32_t i = 0; i < sm_count(&w->h, "counts"); i++) {
        char path[40];
        snprintf(path, sizeof(path), "counts.%u.status", i);
        const char *status = sm_text(&w->h, path);
        if (strcmp(status, "COMMITTED") != 0 && strcmp(status, "ROLLED_BACK") != 0)
            return false;
    }
    return true;
}

static void soak(uint64_t seed)
{
    void *state;
    world_setup(&state);
    struct soak s = {.w = state, .dice = seed};
    struct world *w = s.w;
    world_executor(w, (struct executor_config){.in_flight_max = 1 + below(&s, 16),
                                               .per_host_max = 1 + below(&s, 8),
                                               .breaker_failures = below(&s, 5),
                                               .breaker_open_ms = 1 + below(&s, 30),
                                               .hosts_max = 2 + below(&s, 6),
                                               .report_lazy_ms = below(&s, 4)});
    for (int i = 0; i < STEPS; i++)
        step(&s);
    w->p.down = w->q.down = false;
    w->refuse = w->forget = 0;
    participant_release(&w->p);
    participant_release(&w->q);
    until(w, (w->h.now_us += 50000, executor_kick(w->ex), all_ended(&s)));
    until(w, world_metrics(w).reporting == 0);
    assert_true(sm_next_work_us(w->h.sm) == INT64_MAX);
    struct executor_metrics m = world_metrics(w);
    assert_int_equal(m.in_flight + m.queued, 0);
    world_teardown(&state);
}

static void everything_ends_whatever_happens(void **state)
{
    const char *one = getenv("ASSENT_SEED");
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint64_t number = one != NULL ? strtoull(one, NULL, 10) : seed;
        print_message("ASSENT_SEED=%llu\n", (unsigned long long)number);
        soak(number);
        if (one != NULL)
            break;
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_ends_whatever_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
