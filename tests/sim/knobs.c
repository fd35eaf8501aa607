/* What a seed draws. */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#include "world.h"

static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

#define FLAG(field)                                                                                          \
    {                                                                                                        \
#field, offsetof(struct knobs, field), true                                                          \
    }
#define NUMBER(field)                                                                                        \
    {                                                                                                        \
#field, offsetof(struct knobs, field), false                                                         \
    }
const struct knob_class knob_classes[] = {
    FLAG(crashes),    FLAG(inner_crashes),    FLAG(power_cuts),  FLAG(install_crashes),
    FLAG(pauses),     FLAG(clocks),           FLAG(members),     FLAG(wipes),
    FLAG(snapshots),  FLAG(freezes),          FLAG(slow_disks),  FLAG(sync_errors),
    FLAG(partitions), FLAG(swizzles),         FLAG(clogs),       FLAG(captive),
    FLAG(core_only),  NUMBER(drop),           NUMBER(duplicate), NUMBER(stale),
    NUMBER(corrupt),  NUMBER(reply_lost),     NUMBER(late),      NUMBER(refuse),
    NUMBER(error),    NUMBER(ongoing),        NUMBER(twice),     FLAG(outages),
    FLAG(wild),       NUMBER(report_lazy_ms),
};
const uint32_t knob_classes_n = sizeof knob_classes / sizeof knob_classes[0];
#undef FLAG
#undef NUMBER

const struct knob_size knob_sizes[] = {
    {"nodes", offsetof(struct knobs, nodes), 3},
    {"voters", offsetof(struct knobs, voters), KNOB_FIXED}, /* goes with the nodes */
    {"spares", offsetof(struct knobs, spares), 0},
    {"clients", offsetof(struct knobs, clients), 1},
    {"participants", offsetof(struct knobs, participants), 1},
    {"chaos_ms", offsetof(struct knobs, chaos_ms), 100},
    {"heal_ms", offsetof(struct knobs, heal_ms), KNOB_FIXED},
    {"think_us_max", offsetof(struct knobs, think_us_max), KNOB_FIXED},
    {"calm_ms_max", offsetof(struct knobs, calm_ms_max), KNOB_FIXED},
    {"guards_off", offsetof(struct knobs, guards_off), KNOB_FIXED},
    {"kinds", offsetof(struct knobs, kinds), KNOB_FIXED},
};
const uint32_t knob_sizes_n = sizeof knob_sizes / sizeof knob_sizes[0];

void knobs_draw(struct knobs *k, uint64_t seed)
{
    uint64_t at = mix(seed ^ UINT64_C(0x51a));
#define DRAW(n) ((uint32_t)((at = mix(at)) % (n)))
#define HALF    (DRAW(2) == 0)
    *k = (struct knobs){.seed = seed, .nodes = DRAW(4) == 0 ? 5 : 3, .chaos_ms = 20000, .heal_ms = 180000};
    k->members = DRAW(4) == 0;
    k->voters = k->members ? 3 : k->nodes;
    k->nodes = k->members ? 5 : k->nodes;
    k->clients = 1 + DRAW(6);
    k->participants = 1 + DRAW(3);
    k->think_us_max = 20000 + DRAW(10) * 100000;
    k->crashes = HALF;
    k->inner_crashes = HALF;
    k->power_cuts = HALF;
    k->install_crashes = HALF;
    k->pauses = HALF;
    k->clocks = HALF;
    k->wipes = HALF && k->members;
    k->spares = k->wipes ? 2 : 0;
    k->snapshots = HALF;
    k->freezes = HALF;
    k->slow_disks = HALF;
    k->sync_errors = HALF;
    k->partitions = HALF;
    k->swizzles = HALF;
    k->clogs = HALF;
    k->captive = HALF;
    k->core_only = DRAW(4) == 0 && !k->members;
    k->outages = HALF;
    k->drop = HALF ? 10 + DRAW(150) : 0;
    k->duplicate = HALF ? DRAW(100) : 0;
    k->stale = HALF ? DRAW(60) : 0;
    k->corrupt = HALF ? 1 + DRAW(5) : 0;
    k->reply_lost = HALF ? DRAW(200) : 0;
    k->late = HALF ? DRAW(100) : 0;
    k->refuse = HALF ? DRAW(200) : 0;
    k->error = HALF ? DRAW(200) : 0;
    k->ongoing = HALF ? DRAW(100) : 0;
    k->twice = HALF ? DRAW(200) : 0;
    k->report_lazy_ms = HALF ? DRAW(20) : 0;
    k->wild = DRAW(3) == 0;
    k->calm_ms_max = k->wild ? 100u << DRAW(3) : 500u << DRAW(4);
    if (k->wild)
        k->chaos_ms = 10000;
    k->kinds = clients_kinds(mix(at ^ UINT64_C(0xc11e)));
#undef DRAW
#undef HALF
}

void knobs_print(const struct knobs *k)
{
    fprintf(stderr, "seed %" PRIu64 ":", k->seed);
    for (uint32_t i = 0; i < knob_sizes_n; i++)
        fprintf(stderr, " %s %u", knob_sizes[i].name,
                *(const uint32_t *)(const void *)((const char *)k + knob_sizes[i].offset));
    fprintf(stderr, ";");
    for (uint32_t i = 0; i < knob_classes_n; i++) {
        const void *field = (const char *)k + knob_classes[i].offset;
        if (knob_classes[i].flag)
            fprintf(stderr, "%s%s", *(const bool *)field ? " " : "",
                    *(const bool *)field ? knob_classes[i].name : "");
        else if (*(const uint32_t *)field != 0)
            fprintf(stderr, " %s %u", knob_classes[i].name, *(const uint32_t *)field);
    }
    fprintf(stderr, "\n");
}
