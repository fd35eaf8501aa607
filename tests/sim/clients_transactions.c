/* Clients of transactions.
 *
 *   saga      submit; the coordinator does the rest
 *   tcc       begin with its branches, try each at its participant, commit or roll back, or vanish
 *   message   prepare with its deliveries, commit the local transaction or not, submit, roll back or vanish
 *   execute   begin with tries the coordinator calls */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "assent/error.h"
#include "clients.h"
#include "oracle.h"

enum { STEP_BEGIN, STEP_DECIDE, STEP_AGAIN, STEP_CONTRARY };

/* ---- commands ---- */

void transaction_new(struct client *c, char letter, enum asked_mode mode, uint64_t timeout_ms)
{
    snprintf(c->xid, sizeof c->xid, "%c-%u-%u", letter, c->id, c->serial);
    c->branches = 1 + (uint32_t)client_random(c, 4);
    c->tried = 0;
    c->commit = client_random(c, 5) != 0;
    c->asked = asked_new(c->world, client_text(c->xid), (struct assent_bytes){NULL, 0}, mode, c->branches,
                         timeout_ms);
}

void transaction_url(struct client *c, uint32_t branch, const char *op)
{
    char room[64];
    snprintf(room, sizeof room, "http://p%u/%s", (c->id + branch) % c->world->knobs.participants, op);
    codec_cstr(&c->command, room);
}

void transaction_nils(struct client *c, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        codec_nil(&c->command);
}

void transaction_fields(struct client *c)
{
    struct codec_writer *w = &c->command;
    codec_cstr(w, c->xid);
    transaction_nils(c, 3); /* mode, business type and key */
    codec_uint(w, c->asked->timeout_ms);
    codec_uint(w, 50); /* retries: base and cap */
    codec_uint(w, 2000);
    transaction_nils(c, 3); /* owner, trace, custom data */
}

void transaction_branches(struct client *c)
{
    struct codec_writer *w = &c->command;
    codec_list(w, c->branches);
    for (uint32_t i = 0; i < c->branches; i++) {
        char name[16];
        snprintf(name, sizeof name, "b%u", i);
        codec_list(w, TXN_BRANCH_CANCEL_URL);
        codec_cstr(w, name);
        transaction_url(c, i, "confirm");
        transaction_url(c, i, "cancel");
    }
}

void transaction_decide(struct client *c, uint32_t type)
{
    if (type == COMMAND_TXN_ROLLBACK)
        c->asked->causes |= CAUSE_CLIENT;
    else
        c->asked->commit = true;
    client_head(c, type, 1);
    codec_cstr(&c->command, c->xid);
    client_send(c);
}

/* ---- answers ---- */

void transaction_told(struct client *c, const struct result *r)
{
    char status[32];
    oracle_told(c->world, client_text(c->xid), client_word(r, "status", status, sizeof status));
}

void transaction_begun(struct client *c, const struct result *r)
{
    if (r->code != ASSENT_OK)
        cluster_fail(c->world->cluster, "client %u: begin of %s was refused with %d", c->id, c->xid, r->code);
    else
        transaction_told(c, r);
}

bool transaction_decided(struct client *c, const struct result *r)
{
    if (r->code == ASSENT_OK)
        transaction_told(c, r);
    else if (r->code == ASSENT_CONFLICT && (c->asked->acted || c->asked->child != NULL))
        return true;
    else if (r->code != ASSENT_TXN_DECIDED) /* its time may have passed before */
        cluster_fail(c->world->cluster, "client %u: the decision of %s was refused with %d", c->id, c->xid,
                     r->code);
    return false;
}

static void begun_only(struct client *c, const struct result *r)
{
    transaction_begun(c, r);
    client_done(c);
}

/* ---- saga ---- */

static void saga_begin(struct client *c)
{
    struct codec_writer *w = &c->command;
    transaction_new(c, 'x', ASKED_SAGA, client_random(c, 3) == 0 ? 1000 + client_random(c, 9000) : 0);
    bool concurrent = client_random(c, 2) == 0;
    client_head(c, COMMAND_SAGA_SUBMIT, SAGA_SUBMIT_CONCURRENT + 1);
    transaction_fields(c);
    codec_list(w, c->branches);
    for (uint32_t i = 0; i < c->branches; i++) {
        bool after = concurrent && i > 0 && client_random(c, 3) == 0;
        codec_list(w, SAGA_STEP_AFTER + 1);
        codec_nil(w);
        transaction_url(c, i, "action");
        transaction_url(c, i, "compensate");
        codec_json(w, client_text("{\"amount\":1}"));
        transaction_nils(c, 2);
        codec_list(w, after);
        uint64_t which = after ? client_random(c, i) : i - 1;
        if (after)
            codec_uint(w, which);
        if (after || (!concurrent && i > 0))
            c->asked->before[i] = (uint8_t)(1u << which);
    }
    codec_bool(w, concurrent);
    client_send(c);
}

const struct client_kind client_saga = {"saga", 2, saga_begin, begun_only, NULL};

/* ---- tcc ---- */

static void tcc_begin(struct client *c)
{
    c->step = STEP_BEGIN;
    transaction_new(c, 'x', ASKED_TCC, 2000 + client_random(c, 20000));
    client_head(c, COMMAND_TXN_BEGIN, TXN_BEGIN_BRANCHES + 1);
    transaction_fields(c);
    transaction_branches(c);
    client_send(c);
}

static void tcc_decide(struct client *c)
{
    c->step = STEP_DECIDE;
    transaction_decide(c, c->commit ? COMMAND_TXN_COMMIT : COMMAND_TXN_ROLLBACK);
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
    else if (client_random(c, 12) == 0) /* it dies here: the time limit decides */
        client_done(c);
    else
        tcc_decide(c);
}

/* Behind an answered commit: the same again, or the contrary, under another key. */
static void tcc_once_more(struct client *c)
{
    c->step = client_random(c, 2) == 0 ? STEP_AGAIN : STEP_CONTRARY;
    client_head(c, c->step == STEP_AGAIN ? COMMAND_TXN_COMMIT : COMMAND_TXN_ROLLBACK, 1);
    codec_cstr(&c->command, c->xid);
    client_send(c);
}

static void tcc_judge_once_more(struct client *c, const struct result *r)
{
    bool waits = r->code == ASSENT_CONFLICT && c->asked->acted; /* for an operator */
    bool decided = r->code == ASSENT_TXN_DECIDED;
    bool right = c->step == STEP_AGAIN ? r->code == ASSENT_OK || (decided && c->asked->forced) : decided;
    if (!right && !waits)
        cluster_fail(c->world->cluster, "%s was committed; %s again is answered with %d", c->xid,
                     c->step == STEP_AGAIN ? "commit" : "rollback", r->code);
    client_done(c);
}

static void tcc_answered(struct client *c, const struct result *r)
{
    if (c->step == STEP_AGAIN || c->step == STEP_CONTRARY) {
        tcc_judge_once_more(c, r);
    } else if (c->step == STEP_DECIDE && r->code == ASSENT_OK && c->commit && client_random(c, 4) == 0) {
        transaction_told(c, r);
        client_later(c, 1 + client_random(c, 500000), tcc_once_more);
    } else if (c->step == STEP_BEGIN) {
        transaction_begun(c, r);
        client_later(c, client_delay_us(c), tcc_try);
    } else if (transaction_decided(c, r)) {
        client_later(c, 200000, tcc_decide);
    } else {
        client_done(c);
    }
}

const struct client_kind client_tcc = {"tcc", 2, tcc_begin, tcc_answered, NULL};

/* ---- message ---- */

static void message_begin(struct client *c)
{
    struct codec_writer *w = &c->command;
    c->step = STEP_BEGIN;
    transaction_new(c, 'm', ASKED_MESSAGE, 1000 + client_random(c, 3000));
    client_head(c, COMMAND_MESSAGE_PREPARE, MESSAGE_DELAY_MS + 1);
    transaction_fields(c);
    codec_list(w, c->branches);
    for (uint32_t i = 0; i < c->branches; i++) {
        codec_list(w, SAGA_STEP_PAYLOAD + 1);
        codec_nil(w);
        transaction_url(c, i, "action");
        codec_nil(w);
        codec_json(w, client_text("{\"amount\":1}"));
    }
    bool concurrent = client_random(c, 2) == 0;
    for (uint32_t i = 1; i < c->branches && !concurrent; i++)
        c->asked->before[i] = (uint8_t)(1u << (i - 1));
    codec_bool(w, concurrent);
    c->asked->unasked = client_random(c, 5) == 0;
    if (c->asked->unasked)
        codec_nil(w);
    else
        transaction_url(c, 0, "query");
    codec_uint(w, client_random(c, 3) == 0 ? client_random(c, 3000) : 0);
    client_send(c);
}

static void message_decide(struct client *c)
{
    c->step = STEP_DECIDE;
    transaction_decide(c, c->commit ? COMMAND_MESSAGE_SUBMIT : COMMAND_TXN_ROLLBACK);
}

/* The sender's local transaction, and what it says of it. */
static void message_local(struct client *c)
{
    struct world *w = c->world;
    c->commit = c->commit && participants_local(w, client_text(c->xid), c->id % w->knobs.participants);
    if (client_random(c, 3) == 0) /* it dies here: the coordinator asks */
        client_done(c);
    else
        message_decide(c);
}

static void message_answered(struct client *c, const struct result *r)
{
    if (c->step == STEP_BEGIN) {
        transaction_begun(c, r);
        client_later(c, client_random(c, 8) == 0 ? 3000000 : client_delay_us(c), message_local);
    } else if (transaction_decided(c, r)) {
        client_later(c, 200000, message_decide);
    } else {
        client_done(c);
    }
}

const struct client_kind client_message = {"message", 2, message_begin, message_answered, NULL};

/* ---- tries by the coordinator ---- */

static void execute_order(struct client *c)
{
    struct asked *a = c->asked;
    a->ordered = client_random(c, 2) == 0;
    a->reverse = a->ordered && client_random(c, 2) == 0;
    for (uint32_t i = 1; i < c->branches && a->ordered; i++)
        a->before[i] = (uint8_t)((1u << i) - 1);
}

static void execute_begin(struct client *c)
{
    struct codec_writer *w = &c->command;
    transaction_new(c, 'x', ASKED_EXECUTE, 2000 + client_random(c, 20000));
    execute_order(c);
    client_head(c, COMMAND_TXN_BEGIN, TXN_BEGIN_EXECUTE + 1);
    transaction_fields(c);
    codec_list(w, c->branches);
    for (uint32_t i = 0; i < c->branches; i++) {
        char name[16];
        snprintf(name, sizeof name, "b%u", i);
        codec_list(w, TXN_BRANCH_TRY_URL);
        codec_cstr(w, name);
        transaction_url(c, i, "confirm");
        transaction_url(c, i, "cancel");
        transaction_nils(c, TXN_BRANCH_TRY_URL - TXN_BRANCH_PAYLOAD);
        transaction_url(c, i, "try");
    }
    transaction_nils(c, OPTION_ORDER);
    if (c->asked->ordered)
        codec_cstr(w, c->asked->reverse ? "reverse" : "forward");
    else
        codec_nil(w);
    transaction_nils(c, OPTION_NR - OPTION_ORDER - 1);
    codec_bool(w, true);
    client_send(c);
}

const struct client_kind client_execute = {"execute", 1, execute_begin, begun_only, NULL};
