/* Clients of the simulation: how a request travels, is repeated and answered; which kinds there are. */
#include "clients.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "assent/error.h"

#define RETRY_US 400000 /* no answer: again, elsewhere */

static const struct client_kind *const kinds[] = {
    &client_saga, &client_tcc, &client_message, &client_execute, &client_sequence, &client_lamport,
};
#define KINDS (sizeof kinds / sizeof kinds[0])

struct client_world {
    struct client clients[WORLD_CLIENTS_MAX];
    struct clocks_world *clocks;
    bool closing;
    char why[256];
};

struct assent_bytes client_text(const char *s)
{
    return (struct assent_bytes){(const uint8_t *)s, strlen(s)};
}

uint64_t client_random(struct client *c, uint64_t n)
{
    return world_random(c->world, STREAM_CLIENT, n);
}

static uint64_t delay_us(struct world *w)
{
    return 100 + world_random(w, STREAM_CLIENT, 3000);
}

uint64_t client_delay_us(struct client *c)
{
    return delay_us(c->world);
}

void client_head(struct client *c, uint32_t type, uint32_t n)
{
    snprintf(c->key, sizeof c->key, "k-%u-%u-%d", c->id, c->serial, c->step);
    struct command_session session = {.kind = SESSION_KEY, .key = client_text(c->key)};
    codec_writer_reset(&c->command);
    command_begin(&c->command, type, &session, n);
}

/* ---- on its way ---- */

struct letter {
    struct client *client;
    uint32_t number, node;
    int status;
    size_t size;
    uint8_t bytes[]; /* the command; on the way back the result */
};

static struct letter *letter_new(struct client *c, uint32_t number, uint32_t node, struct assent_bytes bytes)
{
    struct letter *l = malloc(sizeof *l + bytes.size);
    assert(l != NULL);
    *l = (struct letter){c, number, node, ASSENT_OK, bytes.size};
    if (bytes.size > 0)
        memcpy(l->bytes, bytes.base, bytes.size);
    return l;
}

static void judge_answer(struct client *c, int status, struct assent_bytes result);

static void on_back(void *data, uint64_t arg)
{
    struct letter *l = data;
    (void)arg;
    struct client *c = l->client;
    if (l->number == c->letter && !c->answered)
        judge_answer(c, l->status, (struct assent_bytes){l->bytes, l->size});
    free(l);
}

static bool lost(struct world *w)
{
    return w->chaos && world_chance(w, STREAM_CLIENT, w->knobs.drop);
}

static void on_result(void *data, int status, struct assent_bytes result)
{
    struct letter *l = data;
    struct world *w = l->client->world;
    struct letter *back = letter_new(l->client, l->number, l->node, result);
    back->status = status;
    free(l);
    if (lost(w))
        free(back);
    else
        cluster_at(w->cluster, delay_us(w), on_back, back, 0);
}

static void on_arrival(void *data, uint64_t arg)
{
    struct letter *l = data;
    (void)arg;
    struct sim_node *n = &l->client->world->nodes[l->node];
    int rv = sim_propose(n, (struct assent_bytes){l->bytes, l->size}, on_result, l);
    if (rv != ASSENT_OK)
        on_result(l, rv, (struct assent_bytes){NULL, 0});
}

static void post(struct client *c);

/* Nothing was heard of this letter, or nobody would have it. */
static void again(void *data, uint64_t letter)
{
    struct client *c = data;
    if (letter == c->letter && !c->answered)
        post(c);
}

/* To the leader it knows of, or to anybody. */
static void post(struct client *c)
{
    struct world *w = c->world;
    uint32_t node = cluster_leader(w->cluster);
    if (w->over)
        return;
    if (node == 0 || client_random(c, 8) == 0)
        node = 1 + (uint32_t)client_random(c, w->knobs.nodes);
    c->letter++;
    cluster_at(w->cluster, RETRY_US, again, c, c->letter);
    struct letter *l = letter_new(c, c->letter, node, codec_written(&c->command));
    if (lost(w))
        free(l);
    else
        cluster_at(w->cluster, delay_us(w), on_arrival, l, 0);
}

static void judge_answer(struct client *c, int status, struct assent_bytes bytes)
{
    struct codec_arena arena;
    struct result result;
    if (status != ASSENT_OK) { /* nobody did it, or nobody knows: the key makes a repetition safe */
        cluster_at(c->world->cluster, 20000 + client_random(c, 80000), again, c, c->letter);
        return;
    }
    c->answered = true;
    c->world->answers++;
    codec_arena_init(&arena);
    if (!result_decode(&arena, bytes, &result))
        cluster_fail(c->world->cluster, "client %u got an answer it cannot read", c->id);
    else
        c->kind->answered(c, &result);
    codec_arena_close(&arena);
}

/* ---- the script ---- */

void client_send(struct client *c)
{
    c->answered = false;
    post(c);
}

static void on_turn(void *data, uint64_t turn)
{
    struct client *c = data;
    if (turn == c->turn)
        c->later(c);
}

void client_later(struct client *c, uint64_t us, void (*fn)(struct client *c))
{
    c->later = fn;
    cluster_at(c->world->cluster, us, on_turn, c, ++c->turn);
}

static const struct client_kind *draw_kind(struct client *c)
{
    uint32_t total = 0, i = 0;
    for (uint32_t k = 0; k < KINDS; k++)
        total += kinds[k]->weight;
    for (uint64_t at = client_random(c, total); at >= kinds[i]->weight; i++)
        at -= kinds[i]->weight;
    return kinds[i];
}

static void think_over(struct client *c)
{
    if (c->world->clients->closing)
        return;
    c->kind = draw_kind(c);
    c->serial++;
    c->kind->begin(c);
}

void client_done(struct client *c)
{
    c->kind = NULL;
    c->step = 0;
    client_later(c, 1 + client_random(c, c->world->knobs.think_us_max), think_over);
}

/* ---- all of them ---- */

struct clocks_world *clients_clocks(struct world *w)
{
    return w->clients->clocks;
}

void clients_init(struct world *w)
{
    w->clients = calloc(1, sizeof *w->clients);
    assert(w->clients != NULL);
    w->clients->clocks = clocks_new();
    for (uint32_t i = 0; i < w->knobs.clients; i++) {
        w->clients->clients[i] = (struct client){.world = w, .id = i};
        codec_writer_init(&w->clients->clients[i].command);
    }
}

void clients_close(struct world *w)
{
    for (uint32_t i = 0; i < w->knobs.clients; i++)
        codec_writer_close(&w->clients->clients[i].command);
    free(w->clients->clocks);
    free(w->clients);
}

void clients_start(struct world *w)
{
    for (uint32_t i = 0; i < w->knobs.clients; i++)
        client_done(&w->clients->clients[i]);
}

bool clients_finished(struct world *w)
{
    w->clients->closing = true;
    for (uint32_t i = 0; i < w->knobs.clients; i++)
        if (w->clients->clients[i].kind != NULL)
            return false;
    return true;
}

const char *clients_judge(struct world *w)
{
    struct client_world *cw = w->clients;
    const char *why = NULL;
    for (uint32_t i = 0; i < KINDS && why == NULL; i++)
        if (kinds[i]->judge != NULL)
            why = kinds[i]->judge(w, cw->why, sizeof cw->why);
    return why;
}
