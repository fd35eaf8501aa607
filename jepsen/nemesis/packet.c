/* Frames between nodes late, lost, doubled, damaged, out of order or few, on all cables or some. */
#include <stdio.h>
#include <string.h>

#include "nemesis.h"
#include "switch.h"

static const struct {
    const char *what;
    struct switch_rule rule;
} troubles[] = {
    {"take 50..60 ms", {.delay_ms = 50, .jitter_ms = 10}},
    {"are lost, 20 of 100,", {.lost = 20}},
    {"come twice, 20 of 100,", {.doubled = 20}},
    {"are damaged, 5 of 100,", {.damaged = 5}},
    {"come in any order", {.jitter_ms = 20}},
    {"pass at 1 Mbit/s", {.rate_kbit = 1000}},
    {"are late, lost, doubled and damaged",
     {.lost = 5, .doubled = 5, .damaged = 2, .delay_ms = 5, .jitter_ms = 30}},
};
static const char *const packet_shapes[] = {"late",     "lost",   "doubled", "damaged",
                                            "disorder", "narrow", "all",     NULL};

/* On all cables, those of one node, those of the leader, or one cable in one direction. */
static const char *where(struct run *r, bool on[NODES_MAX][NODES_MAX])
{
    static char text[64];
    uint64_t what = nemesis_chance(r, 4);
    struct lot lot = nemesis_lot(r);
    uint32_t one = what == 2 && lot.leader >= 0 ? (uint32_t)lot.leader : lot.order[0],
             other = lot.order[1 % lot.n];
    for (uint32_t i = 0; i < lot.n; i++)
        for (uint32_t k = 0; k < lot.n; k++)
            on[i][k] = i != k && (what == 0 || (what == 3 ? i == one && k == other : i == one || k == one));
    if (what == 0)
        return "between nodes";
    if (what == 3)
        snprintf(text, sizeof text, "from node-%u to node-%u", one + 1, other + 1);
    else
        snprintf(text, sizeof text, "from and to node-%u", one + 1);
    return text;
}

static bool packet_begin(struct run *r, uint32_t shape, char *text, size_t size)
{
    bool on[NODES_MAX][NODES_MAX];
    snprintf(text, size, "frames %s %s", troubles[shape].what, where(r, on));
    for (uint32_t i = 0; i < r->sut.n; i++)
        for (uint32_t k = 0; k < r->sut.n; k++)
            if (on[i][k])
                switch_set(r->sut.fabric, i, k, &troubles[shape].rule);
    return true;
}

static void packet_end(struct run *r)
{
    switch_heal(r->sut.fabric);
}

/* Of 200 datagrams from the first node to another so many arrive under the rule; the first takes at least so
 * long. */
static bool measured(struct run *r, uint32_t to, const struct switch_rule *rule, uint32_t least,
                     uint32_t most, uint64_t first_least_us, char *why, size_t size)
{
    uint64_t first_us = 0;
    switch_set(r->sut.fabric, 0, 1, rule);
    uint32_t arrived = network_probe(&r->sut, 0, to, 200, 300, &first_us);
    switch_heal(r->sut.fabric);
    snprintf(why, size,
             "lost %u%% doubled %u%% damaged %u%% delay %u ms %u kbit/s from node-1 to node-2: of 200 "
             "datagrams to "
             "node-%u %u arrived, the first after %llu us",
             rule->lost, rule->doubled, rule->damaged, rule->delay_ms, rule->rate_kbit, to + 1, arrived,
             (unsigned long long)first_us);
    return arrived >= least && arrived <= most && first_us >= first_least_us;
}

static bool packet_calibrate(struct run *r, char *why, size_t size)
{
    /* A frame of one byte has 43: at 100 kbit/s 3.4 ms, and 73 fit into a quarter of a second. */
    static const struct switch_rule none = {0}, lost = {.lost = 50}, doubled = {.doubled = 50},
                                    damaged = {.damaged = 100}, late = {.delay_ms = 50},
                                    few = {.rate_kbit = 100};
    if (r->sut.n < 2) {
        snprintf(why, size, "one node has no network to others");
        return false;
    }
    return measured(r, 1, &none, 200, 200, 0, why, size) && measured(r, 1, &lost, 60, 140, 0, why, size) &&
           measured(r, 1, &doubled, 260, 340, 0, why, size) &&
           measured(r, 1, &damaged, 0, 20, 0, why, size) &&
           measured(r, 1, &late, 200, 200, 50000, why, size) &&
           measured(r, 1, &few, 20, 100, 3000, why, size) &&
           (r->sut.n < 3 || measured(r, 2, &late, 200, 200, 0, why, size)) &&
           measured(r, 1, &none, 200, 200, 0, why, size);
}

const struct fault fault_packet = {.name = "packet",
                                   .what = "frames late, lost, doubled, damaged, out of order or few",
                                   .shapes = packet_shapes,
                                   .begin = packet_begin,
                                   .end = packet_end,
                                   .calibrate = packet_calibrate,
                                   .needs = SUT_NETWORK | SUT_SWITCH};
