/* Every class of faults, as a table; see nemesis.h. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dice.h"
#include "http.h"
#include "nemesis.h"
#include "schedule.h"

struct nemesis *nemesis_open(uint64_t seed)
{
    struct nemesis *n = calloc(1, sizeof *n);
    if (n == NULL)
        abort();
    n->dice = seed + 2; /* the run's dice begin at the seed */
    return n;
}

void nemesis_close(struct nemesis *n)
{
    free(n);
}

uint64_t nemesis_chance(struct run *r, uint64_t n)
{
    return dice_roll(&r->nemesis->dice, n);
}

uint32_t nemesis_target(struct run *r)
{
    bool leads = nemesis_chance(r, 2) == 0;
    uint32_t anybody = (uint32_t)nemesis_chance(r, r->sut.n);
    int leader = leads ? sut_leader(&r->sut) : -1;
    for (uint32_t k = 0; k < r->sut.n && r->sut.nodes[anybody].pid == 0; k++)
        anybody = (anybody + 1) % r->sut.n; /* another fault has struck that one down */
    return leader >= 0 ? (uint32_t)leader : anybody;
}

struct lot nemesis_lot(struct run *r)
{
    return lot_draw(&r->nemesis->dice, r->sut.n, sut_leader(&r->sut));
}

uint32_t nemesis_whom(struct run *r, enum whom whom, char *text, size_t size)
{
    struct lot lot = nemesis_lot(r);
    uint32_t mask = whom_mask(whom, &lot);
    whom_text(mask, text, size);
    return mask;
}

void nemesis_start_all(struct run *r)
{
    for (uint32_t i = 0; i < r->sut.n; i++)
        sut_start(&r->sut, i);
}

bool nemesis_answers(struct run *r, uint32_t i, long timeout_ms)
{
    struct http_answer a;
    http_ask(r->sut.nodes[i].base, "GET", "/api/v1/cluster", NULL, NULL, timeout_ms, true, &a);
    http_close(&a);
    return a.outcome == HTTP_DONE;
}

uint64_t nemesis_index(struct run *r, uint32_t i, const char *name)
{
    struct http_answer a;
    http_ask(r->sut.nodes[i].base, "GET", "/api/v1/cluster", NULL, NULL, 1000, true, &a);
    uint64_t value = (uint64_t)json_integer_value(json_object_get(a.data, name));
    http_close(&a);
    return value;
}

int64_t nemesis_command_ms(struct run *r, uint32_t i)
{
    struct http_answer a;
    json_t *body = json_pack("{s:s}", "clock", "jepsen-nemesis");
    uint64_t from = sut_now_ms();
    http_ask(r->sut.nodes[i].base, "POST", "/api/v1/lamport/tick", NULL, body, 15000, false, &a);
    int64_t took = (int64_t)(sut_now_ms() - from);
    json_decref(body);
    http_close(&a);
    return a.outcome == HTTP_DONE ? took : -1;
}

const struct fault *const faults[] = {
    &fault_kill, &fault_stop, &fault_pause, &fault_partition, &fault_packet, &fault_clock,   &fault_power,
    &fault_full, &fault_eio,  &fault_slow,  &fault_flip,      &fault_member, &fault_install,
};
const uint32_t faults_n = sizeof faults / sizeof faults[0];
static_assert(sizeof faults / sizeof faults[0] <= FAULTS_MAX, "options hold every class at once");
static_assert(FAULTS_MAX <= SCHEDULE_CLASSES, "a schedule holds them too");

const struct fault *fault_find(const char *name)
{
    for (uint32_t i = 0; i < faults_n; i++)
        if (strcmp(faults[i]->name, name) == 0)
            return faults[i];
    return NULL;
}

uint32_t fault_shapes(const struct fault *f)
{
    uint32_t n = 0;
    while (f->shapes != NULL && f->shapes[n] != NULL)
        n++;
    return n == 0 ? 1 : n;
}
