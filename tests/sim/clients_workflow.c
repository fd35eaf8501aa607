/* Workflows: a run prepares, does what is not recorded yet, records it, ends.  Runs die; somebody is called
 * to go on, and two runs may meet.  What a run was told is recorded, every later run finds. */
#include <stdio.h>
#include <string.h>

#include "assent/error.h"
#include "clients.h"
#include "oracle.h"

enum { STEP_PREPARE, STEP_RECORD, STEP_END };

struct run {
    uint32_t done, undone;      /* recorded, a bit each */
    uint32_t failed;            /* recorded as failed */
    uint32_t must, must_undone; /* what it has to find */
    uint32_t i;                 /* the step that is recorded now */
    bool back;                  /* the step's undo */
};

static void prepare(struct client *c)
{
    struct run *v = c->script;
    v->must = c->asked->recorded;
    v->must_undone = c->asked->recorded_undone;
    c->branches = c->asked->branches;
    c->step = STEP_PREPARE;
    client_head(c, COMMAND_WORKFLOW_PREPARE, WORKFLOW_PREPARE_CALLBACK_URL + 1);
    transaction_fields(c);
    codec_cstr(&c->command, "order");
    codec_cstr(&c->command, "http://p0/callback");
    client_send(c);
}

static void workflow_begin(struct client *c)
{
    (void)client_script(c, sizeof(struct run));
    transaction_new(c, 'w', ASKED_WORKFLOW, 0);
    for (uint32_t i = 1; i < c->branches; i++)
        c->asked->before[i] = (uint8_t)(1u << (i - 1));
    prepare(c);
}

static void workflow_go_on(struct client *c)
{
    c->asked = asked_of(c->world, client_text(c->xid));
    prepare(c);
}

static void record(struct client *c, uint32_t i, bool back, bool ok)
{
    struct run *v = c->script;
    char name[16];
    v->i = i;
    v->back = back;
    c->commit = ok;
    snprintf(name, sizeof name, "%02u", i + 1);
    c->step = STEP_RECORD;
    client_head(c, COMMAND_WORKFLOW_STEP, WORKFLOW_STEP_STATUS + 1);
    codec_cstr(&c->command, c->xid);
    codec_cstr(&c->command, name);
    codec_cstr(&c->command, back ? "rollback" : "action");
    codec_cstr(&c->command, ok ? "SUCCEEDED" : "FAILED");
    client_send(c);
}

static void end(struct client *c, bool ok)
{
    c->step = STEP_END;
    c->asked->causes |= ok ? 0u : CAUSE_CLIENT;
    client_head(c, COMMAND_WORKFLOW_END, WORKFLOW_END_STATUS + 1);
    codec_cstr(&c->command, c->xid);
    codec_cstr(&c->command, ok ? "SUCCEEDED" : "FAILED");
    client_send(c);
}

/* The function: forward until a step fails, then back. */
static void work(struct client *c)
{
    struct run *v = c->script;
    char name[16];
    for (uint32_t i = 0; i < c->branches && v->failed == 0; i++) {
        if ((v->done & 1u << i) != 0)
            continue;
        snprintf(name, sizeof name, "%02u", i + 1);
        bool ok = participants_step(c->world, client_text(c->xid), client_text(name), false);
        if (c->world->chaos && client_random(c, 8) == 0)
            client_done(c); /* it dies between the effect and its record */
        else
            record(c, i, false, ok);
        return;
    }
    for (uint32_t i = c->branches; i-- > 0 && v->failed != 0;) {
        if ((v->done & 1u << i) == 0 || (v->undone & 1u << i) != 0)
            continue;
        snprintf(name, sizeof name, "%02u", i + 1);
        (void)participants_step(c->world, client_text(c->xid), client_text(name), true);
        record(c, i, true, true);
        return;
    }
    end(c, v->failed == 0);
}

static void read_steps(struct client *c, const struct result *r)
{
    struct run *v = c->script;
    const struct codec_node *steps = codec_get(r->data, "steps");
    for (uint32_t k = 0; k < codec_size(steps); k++) {
        const struct codec_node *step = codec_at(steps, k);
        uint32_t i = asked_branch(codec_as_bytes(codec_get(step, "branch")));
        bool ok = codec_as_bytes(codec_get(step, "status")).size == strlen("SUCCEEDED");
        if (codec_as_bytes(codec_get(step, "op")).size == strlen("rollback"))
            v->undone |= 1u << i;
        else
            v->done |= 1u << i;
        v->failed |= ok ? 0u : 1u << i;
    }
    if ((v->must & ~v->done) != 0 || (v->must_undone & ~v->undone) != 0)
        cluster_fail(c->world->cluster, "workflow %s has lost a recorded step", c->xid);
}

static bool ended(struct client *c, const struct result *r)
{
    char status[32];
    client_word(r, "status", status, sizeof status);
    return strcmp(status, "ACTIVE") != 0 || c->step == STEP_END;
}

static void recorded(struct client *c)
{
    struct run *v = c->script;
    uint32_t bit = 1u << v->i;
    if (v->back) {
        v->undone |= bit;
        c->asked->recorded_undone |= (uint8_t)bit;
        return;
    }
    v->done |= bit;
    c->asked->recorded |= (uint8_t)bit;
    v->failed |= c->commit ? 0 : bit;
}

static void workflow_answered(struct client *c, const struct result *r)
{
    if (r->code != ASSENT_OK) { /* somebody else has recorded it, or it is over, or waits */
        if (c->step == STEP_PREPARE ||
            (r->code != ASSENT_BRANCH_EXISTS && r->code != ASSENT_TXN_DECIDED && r->code != ASSENT_CONFLICT))
            cluster_fail(c->world->cluster, "workflow %s was refused with %d", c->xid, r->code);
        client_done(c);
        return;
    }
    if (c->step != STEP_RECORD)
        transaction_told(c, r);
    if (c->step == STEP_PREPARE)
        read_steps(c, r);
    if (c->step == STEP_RECORD)
        recorded(c);
    if (ended(c, r))
        client_done(c);
    else
        client_later(c, client_delay_us(c), work);
}

const struct client_kind client_workflow = {"workflow", 1, workflow_begin, workflow_answered, NULL};

static const struct client_kind go_on = {"workflow-again", 0, workflow_go_on, workflow_answered, NULL};

void client_workflow_again(struct world *w, struct assent_bytes xid)
{
    if (asked_of(w, xid) != NULL)
        (void)client_script(client_helper(w, &go_on, xid), sizeof(struct run));
}
