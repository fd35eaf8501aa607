/* Clients that freeze resources for a transaction, work on them under the token, and end.
 *
 * A freeze holds from the moment somebody is told that it was granted until the decision leaves its client,
 * if that decision then proves that the transaction had not ended before: no other conflicting one may hold
 * at that time, and the resource never sees a smaller token from it.  Tokens grow; at the end nothing is
 * frozen (C15 of the specification). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "assent/error.h"
#include "clients.h"

#define RESOURCES 3
#define HOLDS_MAX 4096

enum { STEP_BEGIN, STEP_FREEZE, STEP_LOOK, STEP_DECIDE };

struct hold {
    uint32_t resource;
    bool exclusive, sure; /* `sure`: until `until_us` it certainly held */
    uint64_t token, from_us, until_us;
    char xid[XID_BYTES];
};
struct holds {
    uint32_t n;
    struct hold holds[HOLDS_MAX];
    uint64_t token;                   /* largest anybody was told */
    uint64_t written[RESOURCES];      /* largest token each resource has seen */
    uint64_t refused, writes, denied; /* what the resources refused; what they took; no, or deadlock */
};

struct work {
    uint32_t order[RESOURCES], n, at;
    bool exclusive[RESOURCES];
    uint64_t floor; /* tokens told when the freeze was asked for */
    uint32_t holds[RESOURCES], held;
    uint64_t decided_us;
};

static struct holds *holds_of(struct world *w)
{
    return clients_room(w, &client_freeze, sizeof(struct holds));
}

static void freeze_next(struct client *c);

static void freeze_begin(struct client *c)
{
    struct work *k = client_script(c, sizeof *k);
    transaction_new(c, 'f', ASKED_TCC, 2000 + client_random(c, 10000));
    k->n = 1 + (uint32_t)client_random(c, RESOURCES);
    for (uint32_t i = 0; i < RESOURCES; i++) { /* each order is as likely: they meet in deadlocks */
        uint32_t j = (uint32_t)client_random(c, i + 1);
        k->order[i] = k->order[j];
        k->order[j] = i;
        k->exclusive[i] = client_random(c, 3) != 0;
    }
    c->branches = c->asked->branches = 1;
    c->step = STEP_BEGIN;
    client_head(c, COMMAND_TXN_BEGIN, TXN_BEGIN_BRANCHES + 1);
    transaction_fields(c);
    transaction_branches(c);
    client_send(c);
}

static void decide(struct client *c)
{
    struct work *k = c->script;
    c->step = STEP_DECIDE;
    k->decided_us = cluster_now_us(c->world->cluster);
    transaction_decide(c, c->commit ? COMMAND_TXN_COMMIT : COMMAND_TXN_ROLLBACK);
}

/* The resource refuses a token below the largest it has seen: that is what fencing is for. */
static void work_on(struct client *c)
{
    struct work *k = c->script;
    struct holds *all = holds_of(c->world);
    for (uint32_t i = 0; i < k->held; i++) {
        const struct hold *h = &all->holds[k->holds[i]];
        if (!h->exclusive)
            continue;
        if (h->token < all->written[h->resource]) {
            all->refused++;
            c->commit = false;
        } else {
            all->written[h->resource] = h->token;
            all->writes++;
        }
    }
    c->commit = c->commit && participants_try(c->world, client_text(c->xid), client_text("b0"),
                                              c->id % c->world->knobs.participants);
    decide(c);
}

static void name_resource(const struct work *k, char *out, size_t size)
{
    snprintf(out, size, "r%u", k->order[k->at]);
}

static void ask(struct client *c)
{
    struct work *k = c->script;
    char name[8];
    name_resource(k, name, sizeof name);
    k->floor = holds_of(c->world)->token;
    c->step = STEP_FREEZE;
    client_head(c, COMMAND_FREEZE, FREEZE_WAIT_MS + 1);
    codec_cstr(&c->command, c->xid);
    codec_cstr(&c->command, name);
    codec_cstr(&c->command, k->exclusive[k->at] ? "exclusive" : "shared");
    codec_uint(&c->command, client_random(c, 3) == 0 ? 0 : 500 + client_random(c, 3000));
    client_send(c);
}

static void look(struct client *c)
{
    char name[8];
    name_resource(c->script, name, sizeof name);
    c->step = STEP_LOOK;
    client_query(c, QUERY_FREEZE, 2);
    codec_cstr(&c->command, c->xid);
    codec_cstr(&c->command, name);
    client_send(c);
}

static void freeze_next(struct client *c)
{
    struct work *k = c->script;
    if (k->at < k->n) {
        ask(c);
        return;
    }
    uint64_t long_us = client_random(c, 8) == 0 ? 15000000 : 20000; /* some sleep through their time limit */
    client_later(c, 1 + client_random(c, long_us), work_on);
}

/* Told that it holds: token and time are noted. */
static void granted(struct client *c, uint64_t token)
{
    struct work *k = c->script;
    struct holds *all = holds_of(c->world);
    if (token <= k->floor)
        cluster_fail(c->world->cluster, "r%u is granted with token %" PRIu64 ", behind %" PRIu64,
                     k->order[k->at], token, k->floor);
    all->token = token > all->token ? token : all->token;
    if (all->n == HOLDS_MAX) {
        c->commit = false;
        decide(c);
        return;
    }
    struct hold *h = &all->holds[all->n];
    *h = (struct hold){.resource = k->order[k->at],
                       .exclusive = k->exclusive[k->at],
                       .token = token,
                       .from_us = cluster_now_us(c->world->cluster)};
    memcpy(h->xid, c->xid, sizeof h->xid);
    k->holds[k->held++] = all->n++;
    k->at++;
    client_later(c, client_delay_us(c), freeze_next);
}

static void stood(struct client *c, const struct result *r)
{
    char status[16];
    client_word(r, "status", status, sizeof status);
    if (r->code == ASSENT_OK && strcmp(status, "GRANTED") == 0) {
        granted(c, client_number(r, "token"));
    } else if (r->code == ASSENT_OK && strcmp(status, "WAITING") == 0) {
        client_later(c, 50000 + client_random(c, 200000), look);
    } else { /* in somebody's way, a deadlock, or too late: let go of everything */
        holds_of(c->world)->denied++;
        c->commit = false;
        decide(c);
    }
}

/* The commit was taken: until it left, everything granted was held. */
static void held(struct client *c)
{
    struct work *k = c->script;
    struct holds *all = holds_of(c->world);
    for (uint32_t i = 0; i < k->held; i++) {
        struct hold *h = &all->holds[k->holds[i]];
        h->sure = true;
        h->until_us = k->decided_us;
    }
}

/* A decision releases nothing: it is held until its branch was confirmed. */
static uint64_t until_us(struct world *w, const struct hold *h)
{
    const struct asked *a = asked_of(w, client_text(h->xid));
    uint64_t confirmed_us = participants_confirmed_us(w, client_text(h->xid), client_text("b0"));
    return !a->forced && a->skipped == 0 && confirmed_us > h->until_us ? confirmed_us : h->until_us;
}

static bool met(struct world *w, const struct hold *h, const struct hold *o)
{
    return h->sure && o->sure && h->resource == o->resource && (h->exclusive || o->exclusive) &&
           strcmp(h->xid, o->xid) != 0 && o->from_us < until_us(w, h) && h->from_us < until_us(w, o);
}

static bool alone(struct world *w, char *why, size_t size)
{
    const struct holds *all = holds_of(w);
    for (uint32_t i = 0; i < all->n; i++) {
        for (uint32_t j = 0; j < i; j++) {
            if (!met(w, &all->holds[i], &all->holds[j]))
                continue;
            snprintf(why, size, "%s and %s held r%u at the same time", all->holds[j].xid, all->holds[i].xid,
                     all->holds[i].resource);
            return false;
        }
    }
    return true;
}

static void freeze_answered(struct client *c, const struct result *r)
{
    switch (c->step) {
    case STEP_BEGIN:
        transaction_begun(c, r);
        client_later(c, client_delay_us(c), freeze_next);
        return;
    case STEP_FREEZE:
    case STEP_LOOK:
        stood(c, r);
        return;
    default:
        break;
    }
    if (transaction_decided(c, r)) {
        client_later(c, 200000, decide);
        return;
    }
    if (r->code == ASSENT_OK && c->commit) /* a rollback may have come behind its time limit's */
        held(c);
    client_done(c);
}

/* Nothing is frozen any more. */
static const char *freeze_judge(struct world *w, char *why, size_t size)
{
    static const struct command_session none = {.kind = SESSION_NONE};
    struct codec_writer query;
    struct codec_arena arena;
    struct result r;
    codec_writer_init(&query);
    command_begin(&query, QUERY_FREEZE_LIST, &none, 0);
    codec_arena_init(&arena);
    bool read = clients_ask(w, cluster_leader(w->cluster), &query, &arena, &r) && r.code == ASSENT_OK;
    uint32_t left = read ? codec_size(codec_get(r.data, "freezes")) : 1;
    codec_arena_close(&arena);
    if (!alone(w, why, size))
        return why;
    if (left == 0)
        return NULL;
    snprintf(why, size, "%u resources are frozen when all is over", left);
    return why;
}

const struct client_kind client_freeze = {"freeze", 2, freeze_begin, freeze_answered, freeze_judge};
