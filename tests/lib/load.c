/* Writers that count their answers. */
#include "load.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void *write_on(void *data)
{
    struct writer *w = data;
    while (!atomic_load(w->stop) && w->wrong[0] == 0) {
        json_t *answer, *body = json_pack("{s:s}", "clock", w->clock);
        char error[512];
        bool ok = cluster_call(&w->e, "POST", "/lamport/tick", body, CLUSTER_PATIENCE_MS, &answer, error,
                               sizeof(error));
        json_decref(body);
        unsigned long long want = atomic_load(&w->acknowledged) + 1;
        json_int_t value = json_integer_value(json_object_get(answer, "value"));
        json_decref(answer);
        if (!ok)
            snprintf(w->wrong, sizeof(w->wrong), "%s: tick %llu: %s", w->clock, want, error);
        else if ((unsigned long long)value != want)
            snprintf(w->wrong, sizeof(w->wrong), "%s: tick %llu answered %lld", w->clock, want,
                     (long long)value);
        else
            atomic_store(&w->acknowledged, want);
    }
    return NULL;
}

void load_start(struct load *l, const struct cluster *c)
{
    for (uint32_t i = 0; i < LOAD_WRITERS; i++) {
        struct writer *w = &l->writers[i];
        snprintf(w->clock, sizeof(w->clock), "writer-%u", i);
        cluster_endpoints(c, i, &w->e);
        w->stop = &l->stop;
        if (pthread_create(&w->thread, NULL, write_on, w) != 0)
            abort();
    }
}

void load_stop(struct load *l)
{
    atomic_store(&l->stop, true);
    for (uint32_t i = 0; i < LOAD_WRITERS; i++)
        pthread_join(l->writers[i].thread, NULL);
}

bool load_goes_on(struct load *l, unsigned long long more)
{
    unsigned long long from[LOAD_WRITERS];
    int64_t until = monotonic_ms() + CLUSTER_PATIENCE_MS;
    for (uint32_t i = 0; i < LOAD_WRITERS; i++)
        from[i] = atomic_load(&l->writers[i].acknowledged);
    for (uint32_t i = 0; i < LOAD_WRITERS; i++)
        while (atomic_load(&l->writers[i].acknowledged) < from[i] + more) {
            if (monotonic_ms() > until || l->writers[i].wrong[0] != 0)
                return false;
            sleep_ms(5);
        }
    return true;
}

void load_check(struct load *l, struct cluster *c)
{
    char path[64];
    for (uint32_t i = 0; i < LOAD_WRITERS; i++) {
        struct writer *w = &l->writers[i];
        assert_string_equal(w->wrong, "");
        snprintf(path, sizeof(path), "/lamport/current?clock=%s", w->clock);
        json_t *data = cluster_must(c, "GET", path, NULL);
        assert_int_equal(json_integer_value(json_object_get(data, "value")), atomic_load(&w->acknowledged));
        json_decref(data);
    }
}
