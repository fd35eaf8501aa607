/* The timestamp oracle: allocation inside a window, and the command that moves the window's bound. */
#include "tso.h"

#include <assert.h>

#include "apply.h"
#include "planted.h"
#include "row.h"

/* A new window must reach this much further than the last: overload then waits for time instead of writing an
 * entry every millisecond. */
#define TSO_STEP_MS (TSO_WINDOW_MS / 8)

#define TSO_MS_MAX ((1ull << (64 - ASSENT_TSO_LOGICAL_BITS)) - 1)

/* Advance the oracle's time.  It moves forward with now_ms; a step back of now_ms counts as no time. */
static void advance(struct tso *t, uint64_t now_ms)
{
    if (now_ms > t->seen_ms) {
        t->clock_ms += now_ms - t->seen_ms;
    }
    if (t->clock_ms > TSO_MS_MAX - 2 * TSO_WINDOW_MS) {
        t->clock_ms = TSO_MS_MAX - 2 * TSO_WINDOW_MS; /* the year 4199: grants end at the last bound */
    }
    t->seen_ms = now_ms;
}

/* Where the next grant begins: no earlier than the oracle's time. */
static uint64_t place(const struct tso *t)
{
    uint64_t now = assent_tso_make(t->clock_ms, 0);
    return t->next > now ? t->next : now;
}

void tso_begin(struct tso *t, uint64_t committed_bound, uint64_t now_ms)
{
    assert(now_ms <= TSO_MS_MAX);
    uint64_t bound_ms = assent_tso_physical_ms(committed_bound);
    *t = (struct tso){
        .next = PLANTED(TSO_AT_WALL_CLOCK) ? assent_tso_make(now_ms, 0) : committed_bound,
        .bound = committed_bound,
        .clock_ms = bound_ms > now_ms && !PLANTED(TSO_AT_WALL_CLOCK) ? bound_ms : now_ms,
        .seen_ms = now_ms,
    };
}

uint64_t tso_want_window(struct tso *t, uint64_t now_ms)
{
    advance(t, now_ms);
    uint64_t reach = assent_tso_make(t->clock_ms + TSO_WINDOW_MS, 0);
    if (!t->ready) {
        return reach > t->bound ? reach : 0;
    }
    uint64_t half = assent_tso_make(TSO_WINDOW_MS / 2, 0);
    bool half_used = place(t) >= t->bound || t->bound - place(t) < half;
    bool reaches_further = reach > t->bound && reach - t->bound >= assent_tso_make(TSO_STEP_MS, 0);
    return t->wanted && half_used && reaches_further ? reach : 0;
}

void tso_window_committed(struct tso *t, uint64_t bound)
{
    if (bound > t->bound) {
        t->bound = bound;
    }
    t->ready = true;
    t->wanted = false;
}

void tso_end(struct tso *t)
{
    *t = (struct tso){.next = t->bound, .bound = t->bound};
}

bool tso_grant(struct tso *t, uint64_t now_ms, uint32_t count, uint64_t *first)
{
    assert(count >= 1 && count <= ASSENT_COUNT_MAX);
    advance(t, now_ms);
    t->wanted = true;
    uint64_t from = place(t);
    if (!t->ready || from >= t->bound || t->bound - from < count) {
        return false;
    }
    *first = from;
    t->next = from + count;
    return true;
}

/* ---- the command ---- */

int tso_window(struct apply *a)
{
    static const char name[] = "tso_bound"; /* STORE_META; read back by sm_tso_bound() */
    struct assent_bytes key = {(const uint8_t *)name, sizeof name - 1}, value;
    uint64_t bound = arg_uint(a->command, TSO_WINDOW_BOUND, 0);
    uint64_t committed = store_get(a->txn, STORE_META, key, &value) ? row_take_u64(&value) : 0;
    /* Equal is refused too: two proposers must never both own the same window. */
    if (bound <= committed) {
        return refuse(a, ASSENT_WINDOW_PASSED, "a window up to %llu is committed already",
                      (unsigned long long)committed);
    }
    uint8_t bytes[8];
    struct row_writer row = {bytes, 0, sizeof bytes};
    row_put_u64(&row, bound);
    if (!PLANTED(TSO_BOUND_NOT_KEPT))
        store_put(a->txn, STORE_META, key, row_written(&row));
    codec_map(a->out, 1);
    codec_pair_uint(a->out, "bound", bound);
    return ASSENT_OK;
}
