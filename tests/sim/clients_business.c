/* Sagas by their name in the business catalogue: the type is put, always the same, and executed. */
#include <stdio.h>

#include "assent/error.h"
#include "clients.h"

#define TYPES 3
#define STEPS 2

enum { STEP_PUT, STEP_EXECUTE };

static void write_type(struct client *c, uint32_t type)
{
    char name[16];
    snprintf(name, sizeof name, "type-%u", type);
    codec_cstr(&c->command, name);
}

static void write_url(struct client *c, uint32_t i, const char *op)
{
    char room[64];
    snprintf(room, sizeof room, "http://p%u/%s", i % c->world->knobs.participants, op);
    codec_cstr(&c->command, room);
}

static void business_begin(struct client *c)
{
    struct codec_writer *w = &c->command;
    c->tried = (uint32_t)client_random(c, TYPES);
    c->step = STEP_PUT;
    client_head(c, COMMAND_BUSINESS_PUT, BUSINESS_PUT_REASON + 1);
    write_type(c, c->tried);
    codec_cstr(w, "SAGA");
    transaction_nils(c, BUSINESS_PUT_RETRY_BASE_MS - BUSINESS_PUT_DESCRIPTION);
    codec_uint(w, 50);
    codec_uint(w, 2000);
    transaction_nils(c, BUSINESS_PUT_STEPS - BUSINESS_PUT_RETRY_FACTOR);
    codec_list(w, STEPS);
    for (uint32_t i = 0; i < STEPS; i++) {
        codec_list(w, SAGA_STEP_COMPENSATE_URL + 1);
        codec_nil(w);
        write_url(c, c->tried + i, "action");
        write_url(c, c->tried + i, "compensate");
    }
    transaction_nils(c, BUSINESS_PUT_BY - BUSINESS_PUT_CONCURRENT);
    codec_cstr(w, "ann");
    codec_cstr(w, "the catalogue");
    client_send(c);
}

static void execute(struct client *c)
{
    uint32_t type = c->tried;
    c->step = STEP_EXECUTE;
    transaction_new(c, 'c', ASKED_SAGA, 0);
    c->asked->branches = STEPS;
    c->asked->before[1] = 1;
    client_head(c, COMMAND_BUSINESS_EXECUTE, BUSINESS_EXECUTE_KEY + 1);
    write_type(c, type);
    codec_nil(&c->command);
    codec_cstr(&c->command, c->xid);
    codec_cstr(&c->command, "order");
    client_send(c);
}

static void business_answered(struct client *c, const struct result *r)
{
    if (c->step == STEP_EXECUTE) {
        transaction_begun(c, r);
        client_done(c);
        return;
    }
    if (r->code != ASSENT_OK)
        cluster_fail(c->world->cluster, "a business type was refused with %d", r->code);
    client_later(c, client_delay_us(c), execute);
}

const struct client_kind client_business = {"business", 1, business_begin, business_answered, NULL};
