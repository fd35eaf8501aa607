/* Sagas whose steps are accepted and finished later.
 *
 *   asynchronous  submit; look how it stands; take it on when it waits for an operator
 *   acknowledge   a participant's word on a step: perhaps too late, perhaps twice; who took it once does not
 *                 take the contrary (participants.c says when, and when never) */
#include <string.h>

#include "assent/error.h"
#include "clients.h"
#include "oracle.h"

enum { STEP_SUBMIT, STEP_LOOK, STEP_RESUME, STEP_BACK };

/* ---- the saga ---- */

struct watch {
    struct oracle_sight sight;
    uint32_t resumes;
};

static void write_step(struct client *c, bool later)
{
    struct codec_writer *w = &c->command;
    uint32_t i = c->tried++;
    codec_list(w, later ? SAGA_STEP_ACKNOWLEDGE_MS + 1 : SAGA_STEP_COMPENSATE_URL + 1);
    codec_nil(w);
    transaction_url(c, i, later ? "accept" : "action");
    transaction_url(c, i, "compensate");
    if (later) {
        transaction_nils(c, SAGA_STEP_ACKNOWLEDGE_MS - SAGA_STEP_PAYLOAD);
        codec_uint(w, 300 + client_random(c, 4000));
    }
    if (i > 0)
        c->asked->before[i] = (uint8_t)(1u << (i - 1));
}

static void asynchronous_begin(struct client *c)
{
    static const char *const on_failure[] = {NULL, "compensate", "retry", "suspend"};
    const char *how = on_failure[client_random(c, 4)];
    (void)client_script(c, sizeof(struct watch));
    transaction_new(c, 'a', ASKED_SAGA, 0);
    c->asked->stubborn = how != NULL && strcmp(how, "retry") == 0;
    c->asked->asynchronous = true;
    c->step = STEP_SUBMIT;
    client_head(c, COMMAND_SAGA_SUBMIT, SAGA_SUBMIT_ON_FAILURE + 1);
    transaction_fields(c);
    codec_list(&c->command, c->branches);
    for (uint32_t i = 0; i < c->branches; i++)
        write_step(c, client_random(c, 3) != 0);
    codec_bool(&c->command, false);
    if (how != NULL)
        codec_cstr(&c->command, how);
    else
        codec_nil(&c->command);
    client_send(c);
}

static void look(struct client *c)
{
    struct watch *v = c->script;
    v->sight = oracle_sight(c->world, client_text(c->xid));
    c->step = STEP_LOOK;
    client_query(c, QUERY_TXN_STATUS, 1);
    codec_cstr(&c->command, c->xid);
    client_send(c);
}

/* It waits for a person.  What fails again and again is turned back. */
static void resume(struct client *c)
{
    struct watch *v = c->script;
    bool back = v->resumes++ >= 3 || client_random(c, 4) == 0;
    c->step = STEP_RESUME;
    c->asked->acted = true;
    c->asked->causes |= back ? CAUSE_OPERATOR : 0u;
    client_head(c, COMMAND_TXN_RESUME, TXN_RESUME_REASON + 1);
    codec_cstr(&c->command, c->xid);
    codec_cstr(&c->command, back ? "back" : "retry");
    codec_cstr(&c->command, "ann");
    codec_cstr(&c->command, "somebody looked");
    client_send(c);
}

/* Its client wants it undone, whatever is under way. */
static void take_back(struct client *c)
{
    c->step = STEP_BACK;
    transaction_decide(c, COMMAND_TXN_ROLLBACK);
}

static void asynchronous_answered(struct client *c, const struct result *r)
{
    struct watch *v = c->script;
    char status[32];
    client_word(r, "status", status, sizeof status);
    if (c->step == STEP_SUBMIT)
        transaction_begun(c, r);
    if (c->step == STEP_LOOK)
        oracle_read(c->world, client_text(c->xid), &v->sight, r->code, status);
    if (c->step == STEP_LOOK && strcmp(status, "SUSPENDED") == 0)
        resume(c);
    else if (strcmp(status, "COMMITTED") == 0 || strcmp(status, "ROLLED_BACK") == 0 ||
             strcmp(status, "STOPPED") == 0)
        client_done(c);
    else
        client_later(c, 200000 + client_random(c, 1500000), client_random(c, 12) == 0 ? take_back : look);
}

const struct client_kind client_asynchronous = {"asynchronous", 2, asynchronous_begin, asynchronous_answered,
                                                NULL};

/* ---- a participant's word ---- */

struct word {
    char branch[16];
    bool success, contrary, taken;
};

static void say(struct client *c)
{
    const struct word *v = c->script;
    client_head(c, COMMAND_BRANCH_ACKNOWLEDGE, ACKNOWLEDGE_OUTCOME + 1);
    codec_cstr(&c->command, c->xid);
    codec_cstr(&c->command, v->branch);
    codec_cstr(&c->command, v->success != v->contrary ? "success" : "failure");
    client_send(c);
}

static void said(struct client *c, const struct result *r)
{
    struct word *v = c->script;
    if (r->code != ASSENT_OK && r->code != ASSENT_CONFLICT && r->code != ASSENT_TXN_DECIDED)
        cluster_fail(c->world->cluster, "the acknowledgement of %s/%s was refused with %d", c->xid, v->branch,
                     r->code);
    if (v->contrary && v->taken && v->success && r->code == ASSENT_OK)
        cluster_fail(c->world->cluster, "%s/%s was acknowledged as done, and then as failed", c->xid,
                     v->branch);
    bool more = !v->contrary && client_random(c, 3) == 0;
    v->taken = r->code == ASSENT_OK;
    v->contrary = more && client_random(c, 2) == 0 && v->success;
    if (more)
        client_later(c, 1 + client_random(c, 2000000), say);
    else
        client_done(c);
}

static const struct client_kind acknowledge = {"acknowledge", 0, say, said, NULL};

void client_acknowledge(struct world *w, struct assent_bytes xid, struct assent_bytes branch, bool success)
{
    struct client *c = client_helper(w, &acknowledge, xid);
    struct word *v = client_script(c, sizeof *v);
    size_t n = branch.size < sizeof v->branch ? branch.size : sizeof v->branch - 1;
    memcpy(v->branch, branch.base, n);
    v->success = success;
    if (!success && asked_of(w, xid) != NULL)
        asked_of(w, xid)->causes |= CAUSE_REFUSED;
}
