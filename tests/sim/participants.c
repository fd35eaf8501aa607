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

#include "asked.h"
#include "clients.h"
#include "oracle.h"

#define SLOTS 16384u

struct row {
    struct row *next;
    struct asked *asked; /* NULL: not known here */
    uint32_t i;          /* ordinal of the branch, ASKED_BRANCHES_MAX: of the whole */
    bool accepted;       /* its work goes on behind the answer */
    bool tried, cancelled, tombstone, refused;
    bool sender, local, barred;             /* of a message's sender: its local transaction */
    uint32_t confirmed, acted, compensated; /* effects */
    uint64_t token, confirmed_us;
    uint32_t calls;
    uint32_t xid_size, branch_size;
    char name[]; /* xid, branch, 0 */
};
struct participant_world {
    struct row *rows[SLOTS];
    bool away[WORLD_PARTICIPANTS_MAX], crashed[WORLD_PARTICIPANTS_MAX];
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
    r->asked = asked_of(w, xid);
    r->i = asked_branch(branch);
    memcpy(r->name, xid.base, xid.size);
    memcpy(r->name + xid.size, branch.base, branch.size);
    r->next = *slot;
    *slot = r;
    return r;
}

uint64_t participants_confirmed_us(struct world *w, struct assent_bytes xid, struct assent_bytes branch)
{
    return row_of(w, xid, branch)->confirmed_us;
}

static bool word(struct assent_bytes text, const char *is)
{
    return text.size == strlen(is) && memcmp(text.base, is, text.size) == 0;
}

bool participants_try(struct world *w, struct assent_bytes xid, struct assent_bytes branch, uint32_t which)
{
    struct row *r = row_of(w, xid, branch);
    if (participants_away(w, which) || r->cancelled || r->tombstone ||
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
    if (participants_away(w, which) || r->barred || world_chance(w, STREAM_PARTICIPANT, w->knobs.refuse))
        return false;
    r->local = true;
    return true;
}

/* ---- what must hold beside the guard: order, causes, relatives ---- */

static struct row *sibling(struct world *w, const struct asked *a, uint32_t i)
{
    char name[16];
    bool tries = a->mode == ASKED_TCC || a->mode == ASKED_EXECUTE;
    snprintf(name, sizeof name, tries ? "b%u" : "%02u", tries ? i : i + 1);
    return row_of(w, asked_xid(a), (struct assent_bytes){(const uint8_t *)name, strlen(name)});
}

static bool stands(const struct row *r)
{
    return (r->tried && !r->cancelled) || (r->acted > 0 && r->compensated == 0);
}

/* Everything in `others` (a bit each, but those an operator skipped) is as `holds` says. */
static void in_order(struct world *w, const struct row *r, uint32_t others,
                     bool (*holds)(const struct row *r), const char *what)
{
    const struct asked *a = r->asked;
    if (a == NULL || (a->skipped & 1u << r->i) != 0) /* skipped, it may come at any time */
        return;
    for (uint32_t j = 0; j < a->branches; j++)
        if ((others & ~(uint32_t)a->skipped & 1u << j) != 0 && !holds(sibling(w, a, j)))
            cluster_fail(w->cluster, "%s: branch %u %s branch %u", a->xid, r->i, what, j);
}

static uint32_t before(const struct row *r)
{
    return r->asked != NULL && r->i < ASKED_BRANCHES_MAX ? r->asked->before[r->i] : 0;
}

static uint32_t behind(const struct row *r)
{
    uint32_t bits = 0;
    for (uint32_t k = 0; r->asked != NULL && k < r->asked->branches; k++)
        if (r->i < ASKED_BRANCHES_MAX && (r->asked->before[k] & 1u << r->i) != 0)
            bits |= 1u << k;
    return bits;
}

static bool has_acted(const struct row *r)
{
    return r->acted > 0 && r->compensated == 0;
}

static bool has_tried(const struct row *r)
{
    return r->tried;
}

static bool has_confirmed(const struct row *r)
{
    return r->confirmed > 0;
}

static bool is_gone(const struct row *r)
{
    return !stands(r);
}

/* What is nested in it goes first. */
static void nested_gone(struct world *w, const struct asked *a)
{
    for (const struct asked *n = a != NULL ? a->child : NULL; n != NULL; n = n->sibling) {
        for (uint32_t i = 0; i < n->branches && !n->forced; i++)
            if ((n->skipped & 1u << i) == 0 && stands(sibling(w, n, i)))
                cluster_fail(w->cluster, "%s is taken back while branch %u of %s, nested in it, stands",
                             a->xid, i, n->xid);
        nested_gone(w, n);
    }
}

static void because(struct row *r, enum asked_cause cause)
{
    if (r->asked != NULL && (cause != CAUSE_LIMIT || r->asked->asynchronous))
        r->asked->causes |= cause;
}

static struct assent_bytes xid_of(const struct row *r)
{
    return (struct assent_bytes){(const uint8_t *)r->name, r->xid_size};
}

static void undone(struct world *w, const struct row *r)
{
    asked_undone(w, xid_of(r), oracle_told_decision(w, xid_of(r)));
    nested_gone(w, r->asked);
}

static void done(struct world *w, const struct row *r)
{
    asked_done(w, xid_of(r), oracle_told_decision(w, xid_of(r)));
}

/* ---- operations, with the guard of docs/transactions.md: each answers a status ---- */

static int op_query(struct world *w, struct row *r)
{
    (void)w;
    r->sender = true; /* what did not commit by now never will */
    r->barred = !r->local;
    return r->local ? 200 : 409;
}

static int op_try(struct world *w, struct row *r)
{
    if (r->cancelled || r->tombstone)
        return 409;
    if (!r->tried && r->asked != NULL && r->asked->ordered)
        in_order(w, r, before(r), has_tried, "is tried before"); /* in the order of the list */
    r->tried = true;
    return 200;
}

static int op_confirm(struct world *w, struct row *r)
{
    bool skipped = r->asked != NULL && (r->asked->skipped & 1u << r->i) != 0; /* its try, perhaps */
    if ((r->cancelled || r->tombstone || !r->tried) && !skipped) {
        cluster_fail(w->cluster, "branch %s: confirm %s", r->name,
                     r->tried ? "after a cancel" : "without a try");
        return 409;
    }
    if (r->confirmed == 0) {
        r->confirmed_us = cluster_now_us(w->cluster);
        done(w, r);
        if (r->asked != NULL && r->asked->ordered)
            in_order(w, r, r->asked->reverse ? behind(r) : before(r), has_confirmed, "is confirmed before");
    }
    r->confirmed = 1;
    return 200;
}

static int op_cancel(struct world *w, struct row *r)
{
    if (r->confirmed > 0)
        cluster_fail(w->cluster, "branch %s: cancel after a confirm", r->name);
    if (!r->cancelled) {
        undone(w, r);
        if (r->asked != NULL && r->asked->ordered)
            in_order(w, r, r->asked->reverse ? behind(r) : before(r), is_gone, "is cancelled before");
    }
    r->tombstone = r->tombstone || !r->tried;
    r->cancelled = true;
    return 200;
}

static int op_compensate(struct world *w, struct row *r)
{
    if (r->compensated == 0 && !r->tombstone) {
        undone(w, r);
        in_order(w, r, behind(r), is_gone, "is taken back before");
    }
    if (r->acted > 0)
        r->compensated = 1;
    else
        r->tombstone = true;
    return 200;
}

static void act(struct world *w, struct row *r)
{
    if (r->asked != NULL && r->asked->mode == ASKED_MESSAGE)
        done(w, r);
    in_order(w, r, before(r), has_acted, "is done before");
    r->acted = 1;
}

static int op_action(struct world *w, struct row *r)
{
    if (r->tombstone || r->compensated > 0) /* an action behind its own undo */
        return 409;
    if (r->acted == 0)
        act(w, r);
    return 200;
}

static int op_callback(struct world *w, struct row *r)
{
    client_workflow_again(w, xid_of(r));
    return 200;
}

/* ---- work that is accepted and done later ---- */

struct job {
    struct world *world;
    struct row *row;
};

static void on_job(void *data, uint64_t tells)
{
    struct job *j = data;
    struct world *w = j->world;
    struct row *r = j->row;
    free(j);
    if (w->over)
        return;
    bool ok = r->acted > 0 ||
              (!r->tombstone && r->compensated == 0 && !world_chance(w, STREAM_PARTICIPANT, w->knobs.refuse));
    if (ok && r->acted == 0)
        act(w, r);
    r->accepted = false;
    if (tells != 0)
        client_acknowledge(w, xid_of(r),
                           (struct assent_bytes){(const uint8_t *)r->name + r->xid_size, r->branch_size}, ok);
}

static int op_accept(struct world *w, struct row *r)
{
    if (r->tombstone || r->compensated > 0)
        return 409;
    if (r->acted > 0)
        return 200;
    because(r, CAUSE_LIMIT); /* its word may come too late */
    if (!r->accepted) {
        struct job *j = malloc(sizeof *j);
        assert(j != NULL);
        *j = (struct job){w, r};
        r->accepted = true;
        cluster_at(w->cluster, 1000 + world_random(w, STREAM_PARTICIPANT, 3000000), on_job, j,
                   world_random(w, STREAM_PARTICIPANT, 5) != 0);
    }
    return 202;
}

bool participants_step(struct world *w, struct assent_bytes xid, struct assent_bytes branch, bool back)
{
    struct row *r = row_of(w, xid, branch);
    if (back)
        return op_compensate(w, r) == 200;
    r->refused = r->refused || (r->acted == 0 && world_chance(w, STREAM_PARTICIPANT, w->knobs.refuse));
    bool ok = !r->refused && op_action(w, r) == 200;
    if (!ok)
        because(r, CAUSE_REFUSED);
    return ok;
}

static const struct operation {
    const char *op, *path; /* `path`: end of the URL, NULL: any */
    int (*perform)(struct world *w, struct row *r);
} operations[] = {
    {"query", NULL, op_query},           {"try", NULL, op_try},           {"confirm", NULL, op_confirm},
    {"cancel", NULL, op_cancel},         {"action", "accept", op_accept}, {"action", NULL, op_action},
    {"compensate", NULL, op_compensate}, {"callback", NULL, op_callback},
};

static int perform(struct world *w, struct row *r, const struct sim_call *call)
{
    for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++) {
        const char *path = operations[i].path;
        size_t n = path != NULL ? strlen(path) : 0;
        if (word(call->op, operations[i].op) &&
            (path == NULL ||
             (call->url.size > n && memcmp(call->url.base + call->url.size - n, path, n) == 0)))
            return operations[i].perform(w, r);
    }
    cluster_fail(w->cluster, "branch %s: an operation nobody knows", r->name);
    return 404;
}

/* ---- calls ---- */

static void on_restart(void *data, uint64_t which)
{
    struct world *w = data;
    if (!w->over)
        w->participants->crashed[which] = false;
}

/* It dies before or behind what it was asked to do, and comes back with what it has on disk. */
static void crash(struct world *w, struct row *r, const struct sim_call *call, uint32_t which)
{
    if (world_random(w, STREAM_PARTICIPANT, 2) == 0)
        (void)perform(w, r, call);
    w->participants->crashed[which] = true;
    cluster_at(w->cluster, 50000 + world_random(w, STREAM_PARTICIPANT, 2000000), on_restart, w, which);
}

/* Answers that say nothing: the call is made again. */
static int trouble(struct world *w, struct assent_bytes op)
{
    static const int statuses[] = {500, 503, 404, 400, 409};
    bool may_refuse = word(op, "action") || word(op, "try") || word(op, "query");
    return statuses[world_random(w, STREAM_PARTICIPANT, may_refuse ? 4 : 5)];
}

/* Its first call may be refused for good.  What a message announces must be done, and what is retried for
 * ever must be done some day. */
static bool refuses(struct world *w, struct row *r, struct assent_bytes op)
{
    bool message = r->asked != NULL && r->asked->mode == ASKED_MESSAGE;
    bool fresh =
        word(op, "action") ? r->acted == 0 && !r->accepted && !message : word(op, "try") && !r->tried;
    if (!fresh)
        return false;
    if (r->asked != NULL && r->asked->stubborn)
        return w->chaos && world_chance(w, STREAM_PARTICIPANT, w->knobs.refuse);
    r->refused = r->refused || world_chance(w, STREAM_PARTICIPANT, w->knobs.refuse);
    return r->refused; /* once, and for ever */
}

static int answer(struct world *w, struct row *r, const struct sim_call *call, const char **body)
{
    const struct knobs *k = &w->knobs;
    if (w->chaos && world_chance(w, STREAM_PARTICIPANT, k->error)) {
        *body = "trouble";
        return trouble(w, call->op);
    }
    if (w->chaos && world_chance(w, STREAM_PARTICIPANT, k->ongoing)) {
        because(r, CAUSE_LIMIT); /* of an asynchronous step it means: accepted */
        *body = "ONGOING";
        return 425;
    }
    int status = refuses(w, r, call->op) ? 409 : perform(w, r, call);
    if (status == 409) {
        *body = "FAILURE";
        because(r, CAUSE_REFUSED);
    }
    return status;
}

void participants_call(struct world *w, const struct sim_call *call, int *status, const char **body)
{
    struct participant_world *p = w->participants;
    uint32_t which = call->url.size > 8 ? (uint32_t)(call->url.base[8] - '0') : 0; /* http://pN/ */
    struct row *r = row_of(w, call->xid, call->branch);
    *body = "";
    *status = 0;
    p->calls++;
    r->calls++;
    if (which >= WORLD_PARTICIPANTS_MAX || p->away[which] || p->crashed[which])
        return;
    if (call->token < r->token) { /* a deposed leader */
        *status = 500;
        *body = "stale token";
        return;
    }
    r->token = call->token;
    if (w->chaos && w->knobs.error > 0 && world_chance(w, STREAM_PARTICIPANT, w->knobs.error / 8)) {
        crash(w, r, call, which);
        return;
    }
    *status = answer(w, r, call, body);
}

/* ---- the end ---- */

static const char *judge_row(struct world *w, const struct row *r)
{
    struct assent_bytes xid = {(const uint8_t *)r->name, r->xid_size};
    const char *ended = oracle_status(w, xid);
    const char *wrong = NULL;
    bool skipped = r->asked != NULL && r->i < ASKED_BRANCHES_MAX && (r->asked->skipped & 1u << r->i) != 0;
    bool broken_off = r->asked != NULL && r->asked->mode == ASKED_WORKFLOW && r->asked->acted;
    if (ended == NULL || strcmp(ended, "STOPPED") == 0 || skipped || broken_off)
        return NULL; /* unfinished, never begun, or an operator took it upon himself */
    bool committed = strcmp(ended, "COMMITTED") == 0;
    if (r->sender) {
        bool acted = r->asked != NULL && (r->asked->causes & CAUSE_OPERATOR) != 0;
        bool sent = committed && r->asked != NULL && r->asked->unasked;
        if (committed == r->local || (!committed && acted) || sent) /* an operator knows better */
            return NULL;
        snprintf(w->participants->why, sizeof w->participants->why,
                 "message %.*s is %s, its sender's transaction %s", (int)r->xid_size, r->name, ended,
                 r->local ? "stands" : "does not");
        return w->participants->why;
    }
    if (r->i == ASKED_BRANCHES_MAX)
        return NULL; /* the transaction as a whole was called */
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
