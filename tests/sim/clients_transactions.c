/* Clients of transactions.
 *
 *   saga      submit; the coordinator does the rest
 *   tcc       begin with its branches, try each at its participant, commit or roll back
 *   message   prepare with its deliveries, commit the local transaction or not, submit, roll back or forget
 *   execute   begin with tries the coordinator calls */
#include <stdio.h>
#include <string.h>

#include "assent/error.h"
#include "clients.h"

enum { STEP_BEGIN, STEP_DECIDE };

/* ---- commands ---- */

/* Names and sizes of a new transaction. */
static void draw(struct client *c, char letter)
{
    c->step = STEP_BEGIN;
    snprintf(c->xid, sizeof c->xid, "%c-%u-%u", letter, c->id, c->serial);
    c->branches = 1 + (uint32_t)client_random(c, 4);
    c->tried = 0;
    c->commit = client_random(c, 5) != 0;
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

static void decide(struct client *c, uint32_t type)
{
    c->step = STEP_DECIDE;
    client_head(c, type, 1);
    codec_cstr(&c->command, c->xid);
    client_send(c);
}

/* ---- answers ---- */

static void told(struct client *c, const struct result *r)
{
    char status[32];
    struct assent_bytes s = codec_as_bytes(codec_get(r->data, "status"));
    snprintf(status, sizeof status, "%.*s", (int)s.size, (const char *)s.base);
    oracle_told(c->world, client_text(c->xid), status);
}

static void begun(struct client *c, const struct result *r)
{
    if (r->code != ASSENT_OK)
        cluster_fail(c->world->cluster, "client %u: begin of %s was refused with %d", c->id, c->xid, r->code);
    else
        told(c, r);
}

static void decided(struct client *c, const struct result *r)
{
    if (r->code == ASSENT_OK)
        told(c, r);
    else if (r->code != ASSENT_TXN_DECIDED) /* its time may have passed before */
        cluster_fail(c->world->cluster, "client %u: the decision of %s was refused with %d", c->id, c->xid,
                     r->code);
}

static void begun_only(struct client *c, const struct result *r)
{
    begun(c, r);
    client_done(c);
}

/* ---- saga ---- */

static void saga_begin(struct client *c)
{
    struct codec_writer *w = &c->command;
    draw(c, 'x');
    bool concurrent = client_random(c, 2) == 0;
    client_head(c, COMMAND_SAGA_SUBMIT, SAGA_SUBMIT_CONCURRENT + 1);
    begin_head(c, client_random(c, 3) == 0 ? 1000 + client_random(c, 9000) : 0);
    codec_list(w, c->branches);
    for (uint32_t i = 0; i < c->branches; i++) {
        bool after = concurrent && i > 0 && client_random(c, 3) == 0;
        codec_list(w, SAGA_STEP_AFTER + 1);
        codec_nil(w);
        url(c, i, "action");
        url(c, i, "compensate");
        codec_json(w, client_text("{\"amount\":1}"));
        codec_nil(w);
        codec_nil(w);
        codec_list(w, after);
        if (after)
            codec_uint(w, client_random(c, i));
    }
    codec_bool(w, concurrent);
    client_send(c);
}

const struct client_kind client_saga = {"saga", 2, saga_begin, begun_only, NULL};

/* ---- tcc ---- */

static void tcc_begin(struct client *c)
{
    struct codec_writer *w = &c->command;
    draw(c, 'x');
    client_head(c, COMMAND_TXN_BEGIN, TXN_BEGIN_BRANCHES + 1);
    begin_head(c, 2000 + client_random(c, 20000));
    codec_list(w, c->branches);
    for (uint32_t i = 0; i < c->branches; i++) {
        char name[16];
        snprintf(name, sizeof name, "b%u", i);
        codec_list(w, TXN_BRANCH_CANCEL_URL);
        codec_cstr(w, name);
        url(c, i, "confirm");
        url(c, i, "cancel");
    }
    client_send(c);
}

static void tcc_try(struct client *c)
{
    char branch[16];
    snprintf(branch, sizeof branch, "b%u", c->tried);
    bool ok = participants_try(c->world, client_text(c->xid), client_text(branch),
                               (c->id + c->tried) % c->world->knobs.participants);
    c->tried++;
    c->commit = c->commit && ok;
    if (ok && c->tried < c->branches)
        client_later(c, client_delay_us(c), tcc_try);
    else
        decide(c, c->commit ? COMMAND_TXN_COMMIT : COMMAND_TXN_ROLLBACK);
}

static void tcc_answered(struct client *c, const struct result *r)
{
    if (c->step == STEP_BEGIN) {
        begun(c, r);
        client_later(c, client_delay_us(c), tcc_try);
    } else {
        decided(c, r);
        client_done(c);
    }
}

const struct client_kind client_tcc = {"tcc", 2, tcc_begin, tcc_answered, NULL};

/* ---- message ---- */

static void message_begin(struct client *c)
{
    struct codec_writer *w = &c->command;
    draw(c, 'm');
    client_head(c, COMMAND_MESSAGE_PREPARE, MESSAGE_DELAY_MS + 1);
    begin_head(c, 1000 + client_random(c, 3000));
    codec_list(w, c->branches);
    for (uint32_t i = 0; i < c->branches; i++) {
        codec_list(w, SAGA_STEP_PAYLOAD + 1);
        codec_nil(w);
        url(c, i, "action");
        codec_nil(w);
        codec_json(w, client_text("{\"amount\":1}"));
    }
    codec_bool(w, client_random(c, 2) == 0);
    url(c, 0, "query");
    codec_uint(w, client_random(c, 3) == 0 ? client_random(c, 3000) : 0);
    client_send(c);
}

/* The sender's local transaction, and what it says of it. */
static void message_local(struct client *c)
{
    struct world *w = c->world;
    c->commit = c->commit && participants_local(w, client_text(c->xid), c->id % w->knobs.participants);
    if (client_random(c, 3) == 0) /* it dies here: the coordinator asks */
        client_done(c);
    else
        decide(c, c->commit ? COMMAND_MESSAGE_SUBMIT : COMMAND_TXN_ROLLBACK);
}

static void message_answered(struct client *c, const struct result *r)
{
    if (c->step == STEP_BEGIN) {
        begun(c, r);
        client_later(c, client_random(c, 8) == 0 ? 3000000 : client_delay_us(c), message_local);
    } else {
        decided(c, r);
        client_done(c);
    }
}

const struct client_kind client_message = {"message", 2, message_begin, message_answered, NULL};

/* ---- tries by the coordinator ---- */

static void execute_begin(struct client *c)
{
    struct codec_writer *w = &c->command;
    draw(c, 'x');
    client_head(c, COMMAND_TXN_BEGIN, TXN_BEGIN_EXECUTE + 1);
    begin_head(c, 2000 + client_random(c, 20000));
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
        if (k == TXN_BEGIN_OPTIONS + OPTION_ORDER && client_random(c, 2) == 0)
            codec_cstr(w, client_random(c, 2) == 0 ? "forward" : "reverse");
        else
            codec_nil(w);
    }
    codec_bool(w, true);
    client_send(c);
}

const struct client_kind client_execute = {"execute", 1, execute_begin, begun_only, NULL};
