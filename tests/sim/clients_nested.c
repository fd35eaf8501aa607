/* Transactions in transactions: an outer one with branches of its own, and in it others that vote, or run and
 * may be turned back.
 *
 * asked.c and participants.c hold what happens against it: nothing nested is done before the outer one was to
 * be committed, the outer one's own branches are undone behind those nested in it, and what is undone
 * somewhere has its cause there or above. */
#include <stdio.h>
#include <string.h>

#include "assent/error.h"
#include "clients.h"

enum { STEP_OUTER, STEP_INNER, STEP_VOTE, STEP_DECIDE };

struct nest {
    struct asked *outer;
    uint32_t inner, inners; /* begun so far, of so many */
    bool commit;            /* the outer one */
    struct asked *begun;    /* the newest inner one that was not refused */
};

static void next(struct client *c);

static void become(struct client *c, struct asked *a)
{
    snprintf(c->xid, sizeof c->xid, "%s", a->xid);
    c->asked = a;
    c->branches = a->branches;
    c->tried = 0;
}

static void nested_begin(struct client *c)
{
    struct nest *v = client_script(c, sizeof *v);
    transaction_new(c, 'n', ASKED_TCC, 4000 + client_random(c, 20000));
    v->outer = c->asked;
    v->commit = c->commit;
    v->inners = 1 + (uint32_t)client_random(c, 3);
    c->commit = true;
    c->step = STEP_OUTER;
    client_head(c, COMMAND_TXN_BEGIN, TXN_BEGIN_BRANCHES + 1);
    transaction_fields(c);
    transaction_branches(c);
    client_send(c);
}

static void write_saga_steps(struct client *c)
{
    codec_list(&c->command, c->branches);
    for (uint32_t i = 0; i < c->branches; i++) {
        codec_list(&c->command, SAGA_STEP_COMPENSATE_URL + 1);
        codec_nil(&c->command);
        transaction_url(c, i, "action");
        transaction_url(c, i, "compensate");
        if (i > 0)
            c->asked->before[i] = (uint8_t)(1u << (i - 1));
    }
    transaction_nils(c, 3); /* concurrent, onFailure, retryLimit */
}

/* Inside the outer one, or inside one that is inside already. */
static void inner_begin(struct client *c)
{
    struct nest *v = c->script;
    bool saga = client_random(c, 3) == 0;
    char xid[XID_BYTES];
    struct asked *around = v->outer;
    if (v->begun != NULL && v->begun->mode == ASKED_TCC && !v->begun->commit && client_random(c, 3) == 0)
        around = v->begun;
    int n = snprintf(xid, sizeof xid, "%.40s.%u", v->outer->xid, v->inner++);
    struct assent_bytes name = {(const uint8_t *)xid, (size_t)n};
    become(c, asked_new(c->world, name, asked_xid(around), saga ? ASKED_SAGA : ASKED_TCC,
                        1 + (uint32_t)client_random(c, 3), saga ? 0 : 3000 + client_random(c, 15000)));
    c->commit = client_random(c, 6) != 0;
    c->step = STEP_INNER;
    client_head(c, saga ? COMMAND_SAGA_SUBMIT : COMMAND_TXN_BEGIN,
                saga ? SAGA_SUBMIT_OPTIONS + OPTION_PARENT + 1 : TXN_BEGIN_OPTIONS + OPTION_PARENT + 1);
    transaction_fields(c);
    if (saga)
        write_saga_steps(c);
    else
        transaction_branches(c);
    codec_cstr(&c->command, around->xid);
    client_send(c);
}

static void decide(struct client *c)
{
    transaction_decide(c, c->commit ? COMMAND_TXN_COMMIT : COMMAND_TXN_ROLLBACK);
}

static void outer_decide(struct client *c)
{
    struct nest *v = c->script;
    become(c, v->outer);
    c->commit = v->commit;
    c->step = STEP_DECIDE;
    decide(c);
}

static void try_branch(struct client *c)
{
    char branch[16];
    snprintf(branch, sizeof branch, "b%u", c->tried);
    bool ok = participants_try(c->world, client_text(c->xid), client_text(branch),
                               (c->id + c->tried) % c->world->knobs.participants);
    c->tried++;
    c->commit = c->commit && ok;
    if (ok && c->tried < c->branches) {
        client_later(c, client_delay_us(c), try_branch);
    } else if (c->step == STEP_OUTER) {
        struct nest *v = c->script;
        v->commit = v->commit && ok;
        next(c);
    } else {
        c->step = STEP_VOTE;
        decide(c);
    }
}

static void next(struct client *c)
{
    const struct nest *v = c->script;
    if (v->inner < v->inners)
        inner_begin(c);
    else if (client_random(c, 12) == 0) /* it dies here: the time limit decides */
        client_done(c);
    else
        outer_decide(c);
}

static void inner_begun(struct client *c, const struct result *r)
{
    struct nest *v = c->script;
    if (r->code != ASSENT_OK) { /* what is around it is decided, or waits for an operator */
        if (r->code != ASSENT_TXN_DECIDED && r->code != ASSENT_CONFLICT)
            cluster_fail(c->world->cluster, "begin of %s was refused with %d", c->xid, r->code);
        v->commit = false;
        next(c);
        return;
    }
    v->begun = c->asked;
    transaction_told(c, r);
    client_later(c, client_delay_us(c), c->asked->mode == ASKED_SAGA ? next : try_branch);
}

static void nested_answered(struct client *c, const struct result *r)
{
    switch (c->step) {
    case STEP_OUTER:
        transaction_begun(c, r);
        client_later(c, client_delay_us(c), try_branch);
        return;
    case STEP_INNER:
        inner_begun(c, r);
        return;
    default:
        break;
    }
    if (transaction_decided(c, r))
        client_later(c, 200000, decide);
    else if (c->step == STEP_VOTE)
        next(c);
    else
        client_done(c);
}

const struct client_kind client_nested = {"nested", 2, nested_begin, nested_answered, NULL};
