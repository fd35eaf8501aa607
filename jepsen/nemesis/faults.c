/* Every class of faults, as a table; see nemesis.h. */
#include <assert.h>
#include <string.h>

#include "nemesis.h"

uint64_t nemesis_chance(struct run *r, uint64_t n)
{
    pthread_mutex_lock(&r->lock);
    uint64_t x = run_random(r, n);
    pthread_mutex_unlock(&r->lock);
    return x;
}

uint32_t nemesis_target(struct run *r)
{
    int leader = sut_leader(&r->sut);
    if (leader >= 0 && nemesis_chance(r, 2) == 0)
        return (uint32_t)leader;
    return (uint32_t)nemesis_chance(r, r->sut.n);
}

void nemesis_start_all(struct run *r)
{
    for (uint32_t i = 0; i < r->sut.n; i++)
        sut_start(&r->sut, i);
}

const struct fault *const faults[] = {
    &fault_kill,  &fault_stop, &fault_pause, &fault_partition, &fault_packet, &fault_clock,
    &fault_power, &fault_full, &fault_eio,   &fault_flip,      &fault_member,
};
const uint32_t faults_n = sizeof faults / sizeof faults[0];
static_assert(sizeof faults / sizeof faults[0] <= FAULTS_MAX, "options hold every class at once");

const struct fault *fault_find(const char *name)
{
    for (uint32_t i = 0; i < faults_n; i++)
        if (strcmp(faults[i]->name, name) == 0)
            return faults[i];
    return NULL;
}
