/* Clients of the simulation: each has one operation under way, sends it to whatever node it likes, repeats it
 * under the same Idempotency-Key until somebody answers, and remembers what it was told.
 *
 *   saga      submit; the coordinator does the rest
 *   tcc       begin with its branches, try each at its participant, commit or roll back
 *   message   prepare with its deliveries, commit the local transaction or not, submit, roll back or forget
 * it execute   begin with tries the coordinator calls sequence  take a number: none may be taken twice, none
 * may be lost that was answered tick      advance a Lamport clock: later answers are larger status    ask for
 * a transaction of one's own */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "assent/error.h"
#include "world.h"

#define XID_BYTES   32
#define RETRY_US    400000 /* no answer: again, elsewhere */
#define NUMBERS_MAX 65536

enum step {
    STEP_IDLE,
    STEP_SAGA,
    STEP_BEGIN,
    STEP_TRY,
    STEP_DECIDE,
    STEP_PREPARE,
    STEP_LOCAL,
    STEP_SUBMIT,
    STEP_EXECUTE,
    STEP_SEQUENCE,
    STEP_TICK
};

struct client {
    struct world *world;
    uint32_t id;
    enum step step;
    uint32_t serial;   /* of operations */
    uint32_t request;  /* of sendings: an answer to an earlier one is late */
    uint32_t attempts; /* of this operation */
    bool answered;
    char xid[XID_BYTES], key[XID_BYTES];
    uint32_t branches, tried;
    bool commit;
    struct codec_writer command;
};
struct client_world {
    struct client clients[WORLD_CLIENTS_MAX];
    bool numbers[NUMBERS_MAX];  /* taken from the sequence */
    uint64_t highest, answered; /* of the sequence; answers */
    uint64_t tick;              /* largest stamp answered */
    bool closing;
    char why[256];
};

static void next_step(struct client *c);

static struct assent_bytes text(const char *s)
{
    return (struct assent_bytes){(const uint8_t *)s, strlen(s)};
}

/* ---- commands ---- */

static void head(struct client *c, uint32_t type, uint32_t n)
{
    snprintf(c->key, sizeof c->key, "k-%u-%u-%d", c->id, c->serial, (int)c->step);
    struct command_session session = {.kind = SESSION_KEY, .key = text(c->key)};
    codec_writer_reset(&c->command);
    command_begin(&c->command, type, &session, n);
}

static void url(struct client *c, uint32_t branch, const char *op)
{
    char room[64];
    snprintf(room, sizeof room, "http://p%u/%s", (c->id + branch) % c->world->knobs.participants, op);
    codec_cstr(&c->command, room);
}

/* The fields every begin has in front. */
static void begin_head(struct client *c, uint64_t timeout_ms)
{
    struct codec_writer *w = &c->command;
    codec_cstr(w, c->xid);
    for (int i = 0; i < 3; i++)
        codec_nil(w); /* mode, business type and key */
    codec_uint(w, timeout_ms);
    codec_uint(w, 50); /* retries: base and cap */
    codec_uint(w, 2000);
    for (int i = 0; i < 3; i++)
        codec_nil(w); /* owner, trace, custom data */
}

static void write_saga(struct client *c)
{
    struct world *world = c->world;
    struct codec_writer *w = &c->command;
    bool concurrent = world_random(world, STREAM_CLIENT, 2) == 0;
    head(c, COMMAND_SAGA_SUBMIT, SAGA_SUBMIT_CONCURRENT + 1);
    begin_head(c, world_random(world, STREAM_CLIENT, 3) == 0 ? 1000 + world_random(world, STREAM_CLIENT, 9000)
                                                             : 0);
    codec_list(w, c->branches);
    for (uint32_t i = 0; i < c->branches; i++) {
        bool after = concurrent && i > 0 && world_random(world, STREAM_CLIENT, 3) == 0;
        codec_list(w, SAGA_STEP_AFTER + 1);
        codec_nil(w);
        url(c, i, "action");
        url(c, i, "compensate");
        codec_json(w, text("{\"amount\":1}"));
        codec_nil(w);
        codec_nil(w);
        codec_list(w, after);
        if (after)
            codec_uint(w, world_random(world, STREAM_CLIENT, i));
    }
    codec_bool(w, concurrent);
}

static void write_begin(struct client *c)
{
    struct codec_writer *w = &c->command;
    head(c, COMMAND_TXN_BEGIN, TXN_BEGIN_BRANCHES + 1);
    begin_head(c, 2000 + world_random(c->world, STREAM_CLIENT, 20000));
    codec_list(w, c->branches);
    for (uint32_t i = 0; i < c->branches; i++) {
        char name[16];
        snprintf(name, sizeof name, "b%u", i);
        codec_list(w, TXN_BRANCH_CANCEL_URL);
        codec_cstr(w, name);
        url(c, i, "confirm");
        url(c, i, "cancel");
    }
}

static void write_steps(struct client *c)
{
    codec_list(&c->command, c->branches);
    for (uint32_t i = 0; i < c->branches; i++) {
        codec_list(&c->command, SAGA_STEP_PAYLOAD + 1);
        codec_nil(&c->command);
        url(c, i, "action");
        codec_nil(&c->command);
        codec_json(&c->command, text("{\"amount\":1}"));
    }
}

static void write_message(struct client *c)
{
    struct world *world = c->world;
    struct codec_writer *w = &c->command;
    head(c, COMMAND_MESSAGE_PREPARE, MESSAGE_DELAY_MS + 1);
    begin_head(c, 1000 + world_random(world, STREAM_CLIENT, 3000));
    write_steps(c);
    codec_bool(w, world_random(world, STREAM_CLIENT, 2) == 0);
    url(c, 0, "query");
    codec_uint(w, world_random(world, STREAM_CLIENT, 3) == 0 ? world_random(world, STREAM_CLIENT, 3000) : 0);
}

static void write_execute(struct client *c)
{
    struct codec_writer *w = &c->command;
    head(c, COMMAND_TXN_BEGIN, TXN_BEGIN_EXECUTE + 1);
    begin_head(c, 2000 + world_random(c->world, STREAM_CLIENT, 20000));
    codec_list(w, c->branches);
    for (uint32_t i = 0; i < c->branches; i++) {
        char name[16];
        snprintf(name, sizeof name, "b%u", i);
        codec_list(w, TXN_BRANCH_TRY_URL);
        codec_cstr(w, name);
        url(c, i, "confirm");
        url(c, i, "cancel");
        for (uint32_t k = TXN_BRANCH_PAYLOAD; k < TXN_BRANCH_TRY_URL; k++)
            codec_nil(w);
        url(c, i, "try");
    }
    for (uint32_t k = TXN_BEGIN_OPTIONS; k < TXN_BEGIN_EXECUTE; k++) {
        if (k == TXN_BEGIN_OPTIONS + OPTION_ORDER && world_random(c->world, STREAM_CLIENT, 2) == 0)
            codec_cstr(w, world_random(c->world, STREAM_CLIENT, 2) == 0 ? "forward" : "reverse");
        else
            codec_nil(w);
    }
    codec_bool(w, true);
}

static void write_command(struct client *c)
{
    struct codec_writer *w = &c->command;
    switch (c->step) {
    case STEP_SAGA:
        write_saga(c);
        return;
    case STEP_PREPARE:
        write_message(c);
        return;
    case STEP_EXECUTE:
        write_execute(c);
        return;
    case STEP_SUBMIT:
        head(c, c->commit ? COMMAND_MESSAGE_SUBMIT : COMMAND_TXN_ROLLBACK, 1);
        codec_cstr(w, c->xid);
        return;
    case STEP_BEGIN:
        write_begin(c);
        return;
    case STEP_DECIDE:
        head(c, c->commit ? COMMAND_TXN_COMMIT : COMMAND_TXN_ROLLBACK, 1);
        codec_cstr(w, c->xid);
        return;
    case STEP_SEQUENCE:
        head(c, COMMAND_SEQUENCE_NEXT, 1);
        codec_cstr(w, "numbers");
        return;
    case STEP_TICK:
        head(c, COMMAND_LAMPORT_TICK, 1);
        codec_cstr(w, "clock");
        return;
    default:
        assert(0 && "no command belongs to this step");
    }
}

/* ---- on its way ---- */

struct letter {
    struct client *client;
    uint32_t request, node;
    int status;
    size_t size;
    uint8_t bytes[]; /* the command; on the way back the result */
};

static struct letter *letter_new(struct client *c, uint32_t request, uint32_t node, struct assent_bytes bytes)
{
    struct letter *l = malloc(sizeof *l + bytes.size);
    assert(l != NULL);
    *l = (struct letter){c, request, node, ASSENT_OK, bytes.size};
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
    if (l->request == c->request && !c->answered)
        judge_answer(c, l->status, (struct assent_bytes){l->bytes, l->size});
    free(l);
}

static uint64_t delay_us(struct world *w)
{
    return 100 + world_random(w, STREAM_CLIENT, 3000);
}

static bool lost(struct world *w)
{
    return w->chaos && world_chance(w, STREAM_CLIENT, w->knobs.drop);
}

static void on_result(void *data, int status, struct assent_bytes result)
{
    struct letter *l = data;
    struct world *w = l->client->world;
    struct letter *back = letter_new(l->client, l->request, l->node, result);
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

static void on_timeout(void *data, uint64_t request)
{
    struct client *c = data;
    if (request == c->request && !c->answered)
        post(c);
}

/* To the leader it knows of, or to anybody. */
static void post(struct client *c)
{
    struct world *w = c->world;
    uint32_t node = cluster_leader(w->cluster);
    if (w->over)
        return;
    if (node == 0 || world_random(w, STREAM_CLIENT, 8) == 0)
        node = 1 + (uint32_t)world_random(w, STREAM_CLIENT, w->knobs.nodes);
    c->request++;
    c->attempts++;
    cluster_at(w->cluster, RETRY_US, on_timeout, c, c->request);
    struct letter *l = letter_new(c, c->request, node, codec_written(&c->command));
    if (lost(w))
        free(l);
    else
        cluster_at(w->cluster, delay_us(w), on_arrival, l, 0);
}

/* ---- what was answered ---- */

static void again_soon(void *data, uint64_t request)
{
    struct client *c = data;
    if (request == c->request && !c->answered)
        post(c);
}

static void sequence_answered(struct client *c, const struct result *r)
{
    struct client_world *cw = c->world->clients;
    uint64_t value = codec_as_uint(codec_get(r->data, "first"));
    if (value >= NUMBERS_MAX)
        return;
    if (cw->numbers[value])
        cluster_fail(c->world->cluster, "number %" PRIu64 " was taken twice", value);
    cw->numbers[value] = true;
    cw->answered++;
    cw->highest = value > cw->highest ? value : cw->highest;
}

static void told(struct client *c, const struct result *r)
{
    char status[32];
    struct assent_bytes s = codec_as_bytes(codec_get(r->data, "status"));
    snprintf(status, sizeof status, "%.*s", (int)s.size, (const char *)s.base);
    oracle_told(c->world, text(c->xid), status);
}

static void answered(struct client *c, const struct result *r)
{
    switch (c->step) {
    case STEP_SAGA:
    case STEP_BEGIN:
    case STEP_PREPARE:
    case STEP_EXECUTE:
        if (r->code != ASSENT_OK)
            cluster_fail(c->world->cluster, "client %u: begin of %s was refused with %d", c->id, c->xid,
                         r->code);
        else
            told(c, r);
        break;
    case STEP_SUBMIT:
    case STEP_DECIDE: /* its time may have passed before */
        if (r->code == ASSENT_OK)
            told(c, r);
        else if (r->code != ASSENT_TXN_DECIDED)
            cluster_fail(c->world->cluster, "client %u: the decision of %s was refused with %d", c->id,
                         c->xid, r->code);
        break;
    case STEP_SEQUENCE:
        sequence_answered(c, r);
        break;
    default:
        break;
    }
}

static void judge_answer(struct client *c, int status, struct assent_bytes bytes)
{
    struct codec_arena arena;
    struct result result;
    if (status != ASSENT_OK) { /* nobody did it, or nobody knows: the key makes a repetition safe */
        cluster_at(c->world->cluster, 20000 + world_random(c->world, STREAM_CLIENT, 80000), again_soon, c,
                   c->request);
        return;
    }
    c->answered = true;
    c->world->answers++;
    codec_arena_init(&arena);
    if (!result_decode(&arena, bytes, &result))
        cluster_fail(c->world->cluster, "client %u got an answer it cannot read", c->id);
    else
        answered(c, &result);
    codec_arena_close(&arena);
    next_step(c);
}

/* ---- the script ---- */

static void go(struct client *c, enum step step)
{
    c->step = step;
    c->answered = false;
    c->attempts = 0;
    write_command(c);
    post(c);
}

static void on_tried(void *data, uint64_t serial)
{
    struct client *c = data;
    char branch[16];
    if (serial != c->serial || c->step != STEP_TRY)
        return;
    snprintf(branch, sizeof branch, "b%u", c->tried);
    bool ok = participants_try(c->world, text(c->xid), text(branch),
                               (c->id + c->tried) % c->world->knobs.participants);
    c->tried++;
    c->commit = c->commit && ok;
    if (ok && c->tried < c->branches)
        cluster_at(c->world->cluster, delay_us(c->world), on_tried, c, c->serial);
    else
        go(c, STEP_DECIDE);
}

/* The sender's local transaction, and what it says of it. */
static void on_local(void *data, uint64_t serial)
{
    struct client *c = data;
    struct world *w = c->world;
    if (serial != c->serial || c->step != STEP_LOCAL)
        return;
    c->commit = c->commit && participants_local(w, text(c->xid), c->id % w->knobs.participants);
    if (world_random(w, STREAM_CLIENT, 3) == 0) { /* it dies here: the coordinator asks */
        c->step = STEP_IDLE;
        next_step(c);
    } else {
        go(c, STEP_SUBMIT);
    }
}

static void on_thought(void *data, uint64_t serial)
{
    struct client *c = data;
    struct world *w = c->world;
    static const enum step steps[] = {STEP_SAGA,    STEP_SAGA,    STEP_BEGIN,    STEP_BEGIN, STEP_PREPARE,
                                      STEP_PREPARE, STEP_EXECUTE, STEP_SEQUENCE, STEP_TICK};
    if (serial != c->serial || w->clients->closing)
        return;
    enum step step = steps[world_random(w, STREAM_CLIENT, sizeof steps / sizeof steps[0])];
    c->serial++;
    snprintf(c->xid, sizeof c->xid, "%c-%u-%u", step == STEP_PREPARE ? 'm' : 'x', c->id, c->serial);
    c->branches = 1 + (uint32_t)world_random(w, STREAM_CLIENT, 4);
    c->tried = 0;
    c->commit = world_random(w, STREAM_CLIENT, 5) != 0;
    go(c, step);
}

static void next_step(struct client *c)
{
    struct world *w = c->world;
    if (c->step == STEP_BEGIN) {
        c->step = STEP_TRY;
        cluster_at(w->cluster, delay_us(w), on_tried, c, c->serial);
        return;
    }
    if (c->step == STEP_PREPARE) {
        c->step = STEP_LOCAL;
        cluster_at(w->cluster, world_random(w, STREAM_CLIENT, 8) == 0 ? 3000000 : delay_us(w), on_local, c,
                   c->serial);
        return;
    }
    c->step = STEP_IDLE;
    cluster_at(w->cluster, 1 + world_random(w, STREAM_CLIENT, w->knobs.think_us_max), on_thought, c,
               c->serial);
}

void clients_init(struct world *w)
{
    w->clients = calloc(1, sizeof *w->clients);
    assert(w->clients != NULL);
    for (uint32_t i = 0; i < w->knobs.clients; i++) {
        w->clients->clients[i] = (struct client){.world = w, .id = i};
        codec_writer_init(&w->clients->clients[i].command);
    }
}

void clients_close(struct world *w)
{
    for (uint32_t i = 0; i < w->knobs.clients; i++)
        codec_writer_close(&w->clients->clients[i].command);
    free(w->clients);
}

void clients_start(struct world *w)
{
    for (uint32_t i = 0; i < w->knobs.clients; i++)
        next_step(&w->clients->clients[i]);
}

bool clients_finished(struct world *w)
{
    w->clients->closing = true;
    for (uint32_t i = 0; i < w->knobs.clients; i++)
        if (w->clients->clients[i].step != STEP_IDLE)
            return false;
    return true;
}

const char *clients_judge(struct world *w)
{
    struct client_world *cw = w->clients;
    if (cw->answered != cw->highest && cw->highest < NUMBERS_MAX) {
        snprintf(cw->why, sizeof cw->why, "%" PRIu64 " numbers were answered, the highest is %" PRIu64,
                 cw->answered, cw->highest);
        return cw->why;
    }
    return NULL;
}
