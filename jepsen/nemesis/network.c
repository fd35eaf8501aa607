/* Faults of the network between nodes: cut, and lossy, slow, doubling or damaging. */
#include <stdio.h>
#include <string.h>

#include "nemesis.h"
#include "switch.h"

static bool partition_begin(struct run *r, char *text, size_t size)
{
    uint32_t n = r->sut.n, alone = nemesis_target(r);
    switch (nemesis_chance(r, 4)) {
    case 0: /* one-way: nobody hears it */
        for (uint32_t k = 0; k < n; k++)
            sut_cut(&r->sut, alone, k, true);
        snprintf(text, size, "node-%u is not heard", alone + 1);
        break;
    case 1: /* one-way: it hears nobody */
        for (uint32_t k = 0; k < n; k++)
            sut_cut(&r->sut, k, alone, true);
        snprintf(text, size, "node-%u hears nobody", alone + 1);
        break;
    case 2: /* a bridge: two that see each other only through the third */
        sut_cut(&r->sut, (alone + 1) % n, (alone + 2) % n, true);
        sut_cut(&r->sut, (alone + 2) % n, (alone + 1) % n, true);
        snprintf(text, size, "node-%u is a bridge", alone + 1);
        break;
    default:
        for (uint32_t k = 0; k < n; k++) {
            sut_cut(&r->sut, alone, k, true);
            sut_cut(&r->sut, k, alone, true);
        }
        snprintf(text, size, "node-%u is cut off", alone + 1);
    }
    return true;
}

static void partition_end(struct run *r)
{
    sut_heal(&r->sut);
}

static bool passes(struct run *r, uint32_t from, uint32_t to)
{
    return network_probe(&r->sut, from, to, 1, 300, NULL) > 0;
}

static bool partition_calibrate(struct run *r, char *why, size_t size)
{
    const char *wrong = NULL;
    if (r->sut.n < 2)
        wrong = "one node has nobody to be cut off from";
    else if (!passes(r, 0, 1) || !passes(r, 1, 0))
        wrong = "datagrams did not pass before";
    if (wrong == NULL) {
        sut_cut(&r->sut, 0, 1, true);
        if (passes(r, 0, 1))
            wrong = "a datagram passed the cut";
        else if (!passes(r, 1, 0))
            wrong = "a cut in one direction cut the other too";
        sut_heal(&r->sut);
    }
    if (wrong == NULL && (!passes(r, 0, 1) || !passes(r, 1, 0)))
        wrong = "healing did not mend the cut";
    snprintf(why, size, "%s", wrong != NULL ? wrong : "");
    return wrong == NULL;
}

const struct fault fault_partition = {"partition",
                                      "cables cut, also in one direction only",
                                      partition_begin,
                                      partition_end,
                                      partition_calibrate,
                                      SUT_NETWORK,
                                      false};

/* ---- packet ---- */

static const struct {
    const char *what;
    struct switch_rule rule;
} troubles[] = {
    {"frames between nodes take 50..60 ms", {.delay_ms = 50, .jitter_ms = 10}},
    {"20 % of the frames between nodes are lost", {.lost = 20}},
    {"20 % of the frames between nodes come twice", {.doubled = 20}},
    {"5 % of the frames between nodes are damaged", {.damaged = 5}},
    {"frames between nodes come in any order", {.jitter_ms = 20}},
    {"frames between nodes are late, lost, doubled and damaged",
     {.lost = 5, .doubled = 5, .damaged = 2, .delay_ms = 5, .jitter_ms = 30}},
};
#define TROUBLES (sizeof troubles / sizeof troubles[0])

static bool packet_begin(struct run *r, char *text, size_t size)
{
    size_t i = (size_t)nemesis_chance(r, TROUBLES);
    switch_set(r->sut.fabric, &troubles[i].rule);
    snprintf(text, size, "%s", troubles[i].what);
    return true;
}

static void packet_end(struct run *r)
{
    switch_set(r->sut.fabric, NULL);
}

/* Of 200 datagrams so many arrive under the rule; the first takes at least so long. */
static bool measured(struct run *r, const struct switch_rule *rule, uint32_t least, uint32_t most,
                     uint64_t first_least_us, char *why, size_t size)
{
    uint64_t first_us = 0;
    switch_set(r->sut.fabric, rule);
    uint32_t arrived = network_probe(&r->sut, 0, 1, 200, 300, &first_us);
    switch_set(r->sut.fabric, NULL);
    snprintf(why, size,
             "lost %u%% doubled %u%% damaged %u%% delay %u ms: of 200 datagrams %u arrived, the first after "
             "%llu us",
             rule->lost, rule->doubled, rule->damaged, rule->delay_ms, arrived, (unsigned long long)first_us);
    return arrived >= least && arrived <= most && first_us >= first_least_us;
}

static bool packet_calibrate(struct run *r, char *why, size_t size)
{
    static const struct switch_rule none = {0}, lost = {.lost = 50}, doubled = {.doubled = 50},
                                    damaged = {.damaged = 100}, late = {.delay_ms = 50};
    if (r->sut.n < 2) {
        snprintf(why, size, "one node has no network to others");
        return false;
    }
    return measured(r, &none, 200, 200, 0, why, size) && measured(r, &lost, 60, 140, 0, why, size) &&
           measured(r, &doubled, 260, 340, 0, why, size) && measured(r, &damaged, 0, 20, 0, why, size) &&
           measured(r, &late, 200, 200, 50000, why, size) && measured(r, &none, 200, 200, 0, why, size);
}

const struct fault fault_packet = {"packet",
                                   "frames late, lost, doubled, damaged or out of order",
                                   packet_begin,
                                   packet_end,
                                   packet_calibrate,
                                   SUT_NETWORK | SUT_SWITCH,
                                   false};
