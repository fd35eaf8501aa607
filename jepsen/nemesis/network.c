/* Cables between nodes that are cut. */
#include <stdio.h>
#include <string.h>

#include "nemesis.h"

static void apply(struct run *r, const struct cut *cut)
{
    for (uint32_t i = 0; i < cut->n; i++)
        for (uint32_t k = 0; k < cut->n; k++)
            sut_cut(&r->sut, i, k, cut->gone[i][k]);
}

static bool partition_begin(struct run *r, uint32_t shape, char *text, size_t size)
{
    struct lot lot = nemesis_lot(r), coming = lot_draw(&r->nemesis->dice, r->sut.n, -1);
    struct cut cut;
    if (!cut_make((enum cut_shape)shape, &lot, &cut, text, size))
        return false;
    apply(r, &cut);
    r->nemesis->cut.swizzle = shape == CUT_SWIZZLE;
    r->nemesis->cut.going = lot;
    r->nemesis->cut.coming = coming;
    r->nemesis->cut.members = cut_members(&lot);
    r->nemesis->cut.alone = 0;
    r->nemesis->cut.from_ms = sut_now_ms();
    return true;
}

static void partition_tick(struct run *r)
{
    if (!r->nemesis->cut.swizzle)
        return;
    uint64_t permille = (sut_now_ms() - r->nemesis->cut.from_ms) * 1000 / r->o.fault_ms;
    uint32_t alone = cut_swizzle(&r->nemesis->cut.going, &r->nemesis->cut.coming, r->nemesis->cut.members,
                                 permille < 1000 ? (uint32_t)permille : 1000);
    if (alone == r->nemesis->cut.alone)
        return;
    struct cut cut = cut_alone(r->sut.n, alone);
    apply(r, &cut);
    r->nemesis->cut.alone = alone;
    char names[128];
    whom_text(alone, names, sizeof names);
    run_nemesis_op(r, "cut off", alone != 0 ? names : "nobody"); /* not another fault: its course */
}

static void partition_end(struct run *r)
{
    r->nemesis->cut.swizzle = false;
    sut_heal(&r->sut);
}

static bool passes(struct run *r, uint32_t from, uint32_t to, int wait_ms)
{
    return network_probe(&r->sut, from, to, 1, wait_ms, NULL) > 0;
}

/* Every cable is what the cut says; `why` names one that is not. */
static bool as_cut(struct run *r, const struct cut *cut, char *why, size_t size)
{
    for (uint32_t i = 0; i < cut->n; i++)
        for (uint32_t k = 0; k < cut->n; k++) {
            if (i == k || passes(r, i, k, cut->gone[i][k] ? 40 : 500) == !cut->gone[i][k])
                continue;
            snprintf(why, size, "a datagram from node-%u to node-%u %s", i + 1, k + 1,
                     cut->gone[i][k] ? "passed the cut" : "did not pass");
            return false;
        }
    return true;
}

static bool partition_calibrate(struct run *r, char *why, size_t size)
{
    struct lot lot = {.n = r->sut.n};
    struct cut none = {.n = r->sut.n}, cut;
    char text[256];
    if (r->sut.n < 2) {
        snprintf(why, size, "one node has nobody to be cut off from");
        return false;
    }
    for (uint32_t i = 0; i < lot.n; i++)
        lot.order[i] = i;
    bool good = as_cut(r, &none, why, size);
    for (int shape = 0; good && shape < CUT_NR; shape++) {
        if (!cut_make((enum cut_shape)shape, &lot, &cut, text, sizeof text))
            continue;
        apply(r, &cut);
        good = as_cut(r, &cut, why, size);
        if (!good)
            snprintf(why + strlen(why), size - strlen(why), " (%s)", cut_names[shape]);
    }
    partition_end(r);
    return good && as_cut(r, &none, why, size);
}

const struct fault fault_partition = {
    .name = "partition",
    .what = "cables cut: one node, halves, a ring, a bridge, one way, one by one",
    .shapes = cut_names,
    .begin = partition_begin,
    .tick = partition_tick,
    .end = partition_end,
    .calibrate = partition_calibrate,
    .needs = SUT_NETWORK};
