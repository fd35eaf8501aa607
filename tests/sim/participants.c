/* Participants of the simulation: each keeps a guard row for every branch it has heard of, and behaves as
 * badly as the knobs say.
 *
 * A row counts effects, which is what money would do: a confirm or an action that took effect is +1, a
 * compensation -1.  Judged at the end against how the transaction ended, and on the way against its siblings.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

#define SLOTS 16384u

struct row {
    struct row *next;
    bool tried, cancelled, tombstone, refused;
    bool sender, local, barred;             /* of a message's sender: its local transaction */
    uint32_t confirmed, acted, compensated; /* effects */
    uint64_t token;
    uint32_t calls;
    uint32_t xid_size, branch_size;
    char name[]; /* xid, branch, 0 */
};
struct participant_world {
    struct row *rows[SLOTS];
    bool away[WORLD_PARTICIPANTS_MAX];
    uint64_t calls;
    char why[256];
};

void participants_init(struct world *w)
{
    w->participants = calloc(1, sizeof *w->participants);
    assert(w->participants != NULL);
}

void participants_close(struct world *w)
{
    for (uint32_t i = 0; i < SLOTS; i++) {
        while (w->participants->rows[i] != NULL) {
            struct row *r = w->participants->rows[i];
            w->participants->rows[i] = r->next;
            free(r);
        }
    }
    free(w->participants);
}

void participants_outage(struct world *w, uint32_t which, bool away)
{
    w->participants->away[which] = away;
}

bool participants_away(const struct world *w, uint32_t which)
{
    return w->participants->away[which];
}

static struct row *row_of(struct world *w, struct assent_bytes xid, struct assent_bytes branch)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < xid.size; i++)
        h = (h ^ xid.base[i]) * 16777619u;
    for (size_t i = 0; i < branch.size; i++)
        h = (h ^ branch.base[i]) * 16777619u;
    struct row **slot = &w->participants->rows[h % SLOTS];
    for (struct row *r = *slot; r != NULL; r = r->next)
        if (r->xid_size == xid.size && r->branch_size == branch.size &&
            memcmp(r->name, xid.base, xid.size) == 0 &&
            memcmp(r->name + xid.size, branch.base, branch.size) == 0)
            return r;
    struct row *r = calloc(1, sizeof *r + xid.size + branch.size + 1);
    assert(r != NULL);
    r->xid_size = (uint32_t)xid.size;
    r->branch_size = (uint32_t)branch.size;
    memcpy(r->name, xid.base, xid.size);
    memcpy(r->name + xid.size, branch.base, branch.size);
    r->next = *slot;
    *slot = r;
    return r;
}

static bool word(struct assent_bytes text, const char *is)
{
    return text.size == strlen(is) && memcmp(text.base, is, text.size) == 0;
}

bool participants_try(struct world *w, struct assent_bytes xid, struct assent_bytes branch, uint32_t which)
{
    struct row *r = row_of(w, xid, branch);
    if (w->participants->away[which] || r->cancelled || r->tombstone ||
        world_chance(w, STREAM_PARTICIPANT, w->knobs.refuse))
        return false;
    r->tried = true;
    return true;
}

bool participants_local(struct world *w, struct assent_bytes xid, uint32_t which)
{
    struct assent_bytes whole = {(const uint8_t *)SM_WHOLE, strlen(SM_WHOLE)};
    struct row *r = row_of(w, xid, whole);
    r->sender = true;
    if (w->participants->away[which] || r->barred || world_chance(w, STREAM_PARTICIPANT, w->knobs.refuse))
        return false;
    r->local = true;
    return true;
}

/* The guard of docs/transactions.md.  Answers the status. */
static int perform(struct world *w, struct row *r, struct assent_bytes op)
{
    if (word(op, "query")) { /* what did not commit by now never will */
        r->sender = true;
        r->barred = !r->local;
        return r->local ? 200 : 409;
    }
    if (word(op, "try")) {
        if (r->cancelled || r->tombstone)
            return 409;
        r->tried = true;
        return 200;
    }
    if (word(op, "confirm")) {
        if (r->cancelled || r->tombstone || !r->tried) {
            cluster_fail(w->cluster, "branch %s: confirm %s", r->name,
                         r->tried ? "after a cancel" : "without a try");
            return 409;
        }
        r->confirmed = 1;
        return 200;
    }
    if (word(op, "cancel")) {
        if (r->confirmed > 0)
            cluster_fail(w->cluster, "branch %s: cancel after a confirm", r->name);
        r->tombstone = r->tombstone || !r->tried;
        r->cancelled = true;
        return 200;
    }
    if (word(op, "compensate")) {
        if (r->acted > 0)
            r->compensated = 1;
        else
            r->tombstone = true;
        return 200;
    }
    if (r->tombstone || r->compensated > 0) /* an action behind its own undo */
        return 409;
    r->acted = 1;
    return 200;
}

/* What a message announces must be done: nobody may refuse it. */
static bool message(struct assent_bytes xid)
{
    return xid.size > 0 && xid.base[0] == 'm';
}

void participants_call(struct world *w, const struct sim_call *call, int *status, const char **body)
{
    const struct knobs *k = &w->knobs;
    uint32_t which = call->url.size > 8 ? (uint32_t)(call->url.base[8] - '0') : 0; /* http://pN/ */
    struct row *r = row_of(w, call->xid, call->branch);
    bool action = (word(call->op, "action") && r->acted == 0 && !message(call->xid)) ||
                  (word(call->op, "try") && !r->tried);
    *body = "";
    *status = 0;
    w->participants->calls++;
    r->calls++;
    if (which >= WORLD_PARTICIPANTS_MAX || w->participants->away[which])
        return;
    if (call->token < r->token) { /* a deposed leader */
        *status = 500;
        *body = "stale token";
        return;
    }
    r->token = call->token;
    if (w->chaos && world_chance(w, STREAM_PARTICIPANT, k->error)) {
        *status = 500;
        *body = "trouble";
    } else if (w->chaos && world_chance(w, STREAM_PARTICIPANT, k->ongoing)) {
        *status = 425;
        *body = "ONGOING";
    } else if (action && (r->refused || world_chance(w, STREAM_PARTICIPANT, k->refuse))) {
        r->refused = true; /* refused once, refused for ever */
        *status = 409;
        *body = "FAILURE";
    } else {
        *status = perform(w, r, call->op);
        *body = *status == 409 ? "FAILURE" : "";
    }
}

static const char *judge_row(struct world *w, const struct row *r)
{
    struct assent_bytes xid = {(const uint8_t *)r->name, r->xid_size};
    const char *ended = oracle_status(w, xid);
    const char *wrong = NULL;
    if (ended == NULL)
        return NULL; /* reported as unfinished, or it never was begun */
    bool committed = strcmp(ended, "COMMITTED") == 0;
    if (r->sender) {
        if (committed == r->local)
            return NULL;
        snprintf(w->participants->why, sizeof w->participants->why,
                 "message %.*s is %s, its sender's transaction %s", (int)r->xid_size, r->name, ended,
                 r->local ? "stands" : "does not");
        return w->participants->why;
    }
    if (committed && (r->cancelled || r->compensated > 0))
        wrong = "was taken back";
    else if (committed && r->confirmed + r->acted == 0)
        wrong = "had no effect";
    else if (!committed && (r->confirmed > 0 || r->acted != r->compensated))
        wrong = "stands";
    else if (!committed && r->tried && !r->cancelled)
        wrong = "is still reserved";
    if (wrong == NULL)
        return NULL;
    snprintf(w->participants->why, sizeof w->participants->why, "%.*s is %s, but its branch %.*s %s",
             (int)r->xid_size, r->name, ended, (int)r->branch_size, r->name + r->xid_size, wrong);
    return w->participants->why;
}

const char *participants_judge(struct world *w)
{
    const char *why = NULL;
    for (uint32_t i = 0; i < SLOTS && why == NULL; i++)
        for (const struct row *r = w->participants->rows[i]; r != NULL && why == NULL; r = r->next)
            why = judge_row(w, r);
    return why;
}
