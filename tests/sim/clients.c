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
    &client_saga,     &client_tcc,     &client_message,  &client_execute, &client_operator,
    &client_status,   &client_freeze,  &client_sequence, &client_lamport, &client_timestamp,
    &client_vector,   &client_version, &client_tso,      &client_session, &client_asynchronous,
    &client_workflow, &client_nested,  &client_business,
};
#define KINDS (sizeof kinds / sizeof kinds[0])

struct client_world {
    struct client clients[WORLD_CLIENTS_MAX];
    struct client *helpers;
    uint32_t helpers_n;
    struct letter *reading; /* reads under way */
    struct asked_world *asked;
    void *rooms[KINDS];
    uint32_t asking; /* kinds of this run, a bit each */
    bool closing;
    char why[512];
};

/* ---- small things ---- */

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

const char *client_word(const struct result *r, const char *pair, char *out, size_t size)
{
    struct assent_bytes text = codec_as_bytes(codec_get(r->data, pair));
    snprintf(out, size, "%.*s", (int)text.size, (const char *)text.base);
    return out;
}

uint64_t client_number(const struct result *r, const char *pair)
{
    return codec_as_uint(codec_get(r->data, pair));
}

void *clients_room(struct world *w, const struct client_kind *kind, size_t size)
{
    uint32_t k = 0;
    while (kinds[k] != kind)
        k++;
    if (w->clients->rooms[k] == NULL)
        w->clients->rooms[k] = calloc(1, size);
    assert(w->clients->rooms[k] != NULL);
    return w->clients->rooms[k];
}

bool clients_ask(struct world *w, uint32_t node, struct codec_writer *query, struct codec_arena *arena,
                 struct result *result)
{
    struct assent_bytes bytes = sm_query(w->nodes[node].sm, codec_written(query));
    codec_writer_close(query);
    return result_decode(arena, bytes, result);
}

struct asked_world *clients_asked(struct world *w)
{
    return w->clients->asked;
}

/* ---- requests ---- */

void *client_script(struct client *c, size_t size)
{
    assert(c->script == NULL);
    c->script = calloc(1, size);
    assert(c->script != NULL);
    return c->script;
}

void client_head(struct client *c, uint32_t type, uint32_t n)
{
    snprintf(c->key, sizeof c->key, "k-%u-%u-%u", c->id, c->serial, ++c->requests);
    struct command_session session = {.kind = SESSION_KEY, .key = client_text(c->key)};
    codec_writer_reset(&c->command);
    command_begin(&c->command, type, &session, n);
    c->road = ROAD_LOG;
    c->repeatable = true;
}

void client_query(struct client *c, uint32_t type, uint32_t n)
{
    static const struct command_session none = {.kind = SESSION_NONE};
    codec_writer_reset(&c->command);
    command_begin(&c->command, type, &none, n);
    c->road = ROAD_READ;
    c->repeatable = false;
}

/* ---- on its way ---- */

struct letter {
    struct letter *next; /* of those that read */
    uint64_t read;
    struct client *client;
    uint32_t number, node;
    enum road road;
    int status;
    size_t size;
    uint8_t bytes[]; /* the command; on the way back the result */
};

static struct letter *letter_new(struct client *c, uint32_t number, uint32_t node, struct assent_bytes bytes)
{
    struct letter *l = malloc(sizeof *l + bytes.size);
    assert(l != NULL);
    *l = (struct letter){NULL, 0, c, number, node, c->road, ASSENT_OK, bytes.size};
    if (bytes.size > 0)
        memcpy(l->bytes, bytes.base, bytes.size);
    return l;
}

static void judge_answer(struct client *c, int status, struct assent_bytes result);

static uint64_t hash(struct assent_bytes bytes)
{
    uint64_t h = UINT64_C(1469598103934665603);
    for (size_t i = 0; i < bytes.size; i++)
        h = (h ^ bytes.base[i]) * UINT64_C(1099511628211);
    return h;
}

/* It was sent twice and executed once: the other answer says the same. */
static void compare_answer(struct client *c, const struct letter *l)
{
    if (c->repeatable && l->status == ASSENT_OK &&
        hash((struct assent_bytes){l->bytes, l->size}) != c->answer)
        cluster_fail(c->world->cluster, "client %u: two answers to request %s", c->id, c->key);
}

static void on_back(void *data, uint64_t arg)
{
    struct letter *l = data;
    (void)arg;
    struct client *c = l->client;
    if (!c->answered && l->number == c->letter)
        judge_answer(c, l->status, (struct assent_bytes){l->bytes, l->size});
    else if (c->answered && l->number >= c->again_from)
        compare_answer(c, l);
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
    back->road = l->road;
    back->status = status;
    free(l);
    if (lost(w))
        free(back);
    else
        cluster_at(w->cluster, delay_us(w), on_back, back, 0);
}

/* ---- reads ---- */

static struct letter *reading_take(struct world *w, uint64_t read)
{
    for (struct letter **at = &w->clients->reading; *at != NULL; at = &(*at)->next) {
        struct letter *l = *at;
        if (l->read != read)
            continue;
        *at = l->next;
        return l;
    }
    return NULL;
}

static void on_read(void *data, uint32_t node, uint64_t read, int status, uint64_t term, bool local)
{
    struct world *w = data;
    struct letter *l = reading_take(w, read);
    struct codec_writer grant;
    if (l == NULL)
        return;
    assert(l->node == node);
    struct assent_bytes request = {l->bytes, l->size}, result = {NULL, 0};
    codec_writer_init(&grant);
    if (status == ASSENT_OK && l->road == ROAD_TSO) {
        status = client_timestamps(w, node, term, local, request, &grant);
        result = codec_written(&grant);
    } else if (status == ASSENT_OK) {
        result = sm_query(w->nodes[node].sm, request);
    }
    on_result(l, status, result);
    codec_writer_close(&grant);
}

static int begin_read(struct letter *l)
{
    struct world *w = l->client->world;
    if (w->nodes[l->node].sm == NULL)
        return ASSENT_NOT_LEADER;
    l->read = cluster_read_next(w->cluster);
    l->next = w->clients->reading;
    w->clients->reading = l;
    int rv = cluster_read(w->cluster, l->node);
    if (rv != ASSENT_OK)
        (void)reading_take(w, l->read);
    return rv;
}

static void on_arrival(void *data, uint64_t arg)
{
    struct letter *l = data;
    (void)arg;
    struct sim_node *n = &l->client->world->nodes[l->node];
    int rv = l->road != ROAD_LOG ? begin_read(l)
                                 : sim_propose(n, (struct assent_bytes){l->bytes, l->size}, on_result, l);
    if (rv != ASSENT_OK)
        on_result(l, rv, (struct assent_bytes){NULL, 0});
}

/* ---- there and back ---- */

static void post(struct client *c);

/* Nothing was heard of this letter, or nobody would have it. */
static void again(void *data, uint64_t letter)
{
    struct client *c = data;
    if (letter == c->letter && !c->answered)
        post(c);
}

/* To the leader it knows of, or to anybody; a read to any node. */
static uint32_t addressee(struct client *c)
{
    struct world *w = c->world;
    uint32_t leader = cluster_leader(w->cluster);
    uint32_t any = 1 + (uint32_t)client_random(c, w->knobs.nodes);
    if (w->captive != 0)
        return w->captive;
    return leader == 0 || client_random(c, 8) == 0 || (c->road == ROAD_READ && any % 2 == 0) ? any : leader;
}

static void post(struct client *c)
{
    struct world *w = c->world;
    if (w->over)
        return;
    uint32_t node = addressee(c);
    c->letter++;
    cluster_at(w->cluster, RETRY_US, again, c, c->letter);
    struct letter *l = letter_new(c, c->letter, node, codec_written(&c->command));
    if (lost(w))
        free(l);
    else
        cluster_at_node(w->cluster, node, delay_us(w), on_arrival, l, 0);
}

void client_send(struct client *c)
{
    c->answered = false;
    c->sent_us = cluster_now_us(c->world->cluster);
    c->again_from = c->letter + 1;
    post(c);
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
    c->answer = hash(bytes);
    c->world->answers++;
    codec_arena_init(&arena);
    if (!result_decode(&arena, bytes, &result))
        cluster_fail(c->world->cluster, "client %u got an answer it cannot read", c->id);
    else
        c->kind->answered(c, &result);
    codec_arena_close(&arena);
}

/* ---- the script ---- */

static void on_turn(void *data, uint64_t turn)
{
    struct client *c = data;
    if (turn == c->turn && !c->world->over)
        c->later(c);
}

void client_later(struct client *c, uint64_t us, void (*fn)(struct client *c))
{
    c->later = fn;
    cluster_at(c->world->cluster, us, on_turn, c, ++c->turn);
}

uint32_t clients_kind(const char *name)
{
    uint32_t k = 0;
    while (strcmp(kinds[k]->name, name) != 0)
        k++;
    return 1u << k;
}

uint32_t clients_kinds(uint64_t number)
{
    uint32_t asking = (uint32_t)number & ((1u << KINDS) - 1), asked = 0;
    for (uint32_t k = 0; k < KINDS; k++)
        asked += (asking & 1u << k) != 0 ? kinds[k]->weight : 0;
    return asked > 0 ? asking : 1;
}

static const struct client_kind *draw_kind(struct client *c)
{
    uint32_t total = 0, asking = c->world->clients->asking;
    for (uint32_t k = 0; k < KINDS; k++)
        total += (asking & 1u << k) != 0 ? kinds[k]->weight : 0;
    uint64_t at = client_random(c, total);
    for (uint32_t k = 0; k < KINDS; k++) {
        if ((asking & 1u << k) == 0)
            continue;
        if (at < kinds[k]->weight)
            return kinds[k];
        at -= kinds[k]->weight;
    }
    assert(0 && "weights add up");
    return kinds[0];
}

static void play(struct client *c, const struct client_kind *kind)
{
    c->kind = kind;
    c->step = 0;
    c->requests = 0;
    c->asked = NULL;
    c->serial++;
    kind->begin(c);
}

static void think_over(struct client *c)
{
    if (!c->world->clients->closing)
        play(c, draw_kind(c));
}

static void think(struct client *c)
{
    client_later(c, 1 + client_random(c, c->world->knobs.think_us_max), think_over);
}

void client_done(struct client *c)
{
    c->kind = NULL;
    c->asked = NULL;
    free(c->script);
    c->script = NULL;
    if (!c->helper)
        think(c);
}

static void helper_begin(struct client *c)
{
    const struct client_kind *kind = c->kind;
    play(c, kind);
}

struct client *client_helper(struct world *w, const struct client_kind *kind, struct assent_bytes xid)
{
    struct client *c = calloc(1, sizeof *c);
    assert(c != NULL && xid.size < sizeof c->xid);
    *c = (struct client){.world = w, .id = 1000 + w->clients->helpers_n++, .helper = true, .kind = kind};
    codec_writer_init(&c->command);
    memcpy(c->xid, xid.base, xid.size);
    c->next = w->clients->helpers;
    w->clients->helpers = c;
    client_later(c, client_delay_us(c), helper_begin);
    return c;
}

/* ---- all of them ---- */

void clients_init(struct world *w)
{
    struct client_world *cw = calloc(1, sizeof *cw);
    assert(cw != NULL);
    w->clients = cw;
    w->app.read_done = on_read;
    cw->asked = asked_world_new();
    cw->asking = w->knobs.kinds;
    for (uint32_t i = 0; i < w->knobs.clients; i++) {
        cw->clients[i] = (struct client){.world = w, .id = i};
        codec_writer_init(&cw->clients[i].command);
    }
}

static void client_close(struct client *c)
{
    codec_writer_close(&c->command);
    free(c->script);
}

void clients_close(struct world *w)
{
    struct client_world *cw = w->clients;
    for (uint32_t i = 0; i < w->knobs.clients; i++)
        client_close(&cw->clients[i]);
    while (cw->helpers != NULL) {
        struct client *c = cw->helpers;
        cw->helpers = c->next;
        client_close(c);
        free(c);
    }
    while (cw->reading != NULL) {
        struct letter *l = cw->reading;
        cw->reading = l->next;
        free(l);
    }
    for (uint32_t k = 0; k < KINDS; k++)
        free(cw->rooms[k]);
    asked_world_free(cw->asked);
    free(cw);
}

void clients_start(struct world *w)
{
    for (uint32_t i = 0; i < w->knobs.clients; i++)
        think(&w->clients->clients[i]);
}

bool clients_finished(struct world *w)
{
    w->clients->closing = true;
    for (uint32_t i = 0; i < w->knobs.clients; i++)
        if (w->clients->clients[i].kind != NULL)
            return false;
    for (const struct client *c = w->clients->helpers; c != NULL; c = c->next)
        if (c->kind != NULL)
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
