/* Clients that look after others' transactions.
 *
 *   operator  does to a transaction what operators do, and undoes a pause; each act that was not refused is
 * on record once, none that was refused is status    asks any node how a transaction stands: what somebody
 * was told before, this one is told too */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "assent/error.h"
#include "clients.h"
#include "oracle.h"

#define YOUNG    30 /* the newest transactions are looked after */
#define ACTS_MAX 4096

enum { STEP_ACT, STEP_RESUME, STEP_BACK };

/* One of the newest transactions; NULL: there is none. */
static struct asked *some_transaction(struct client *c)
{
    uint32_t n = asked_count(c->world);
    uint32_t back = (uint32_t)client_random(c, n < YOUNG ? n : YOUNG);
    return n == 0 ? NULL : asked_at(c->world, n - 1 - back);
}

/* ---- operators ---- */

struct acts {
    uint32_t n;
    struct {
        struct asked *asked;
        char by[24];
        bool done, refused; /* neither: nobody knows */
    } acts[ACTS_MAX];
};

static struct acts *acts_of(struct world *w)
{
    return clients_room(w, &client_operator, sizeof(struct acts));
}

/* What will follow from it is noted before it is sent. */
static void note_consequences(struct client *c, const char *act, uint32_t branch)
{
    struct asked *a = c->asked;
    a->acted = true;
    if (strcmp(act, "force") == 0)
        a->forced = true;
    else if (strcmp(act, "back") == 0)
        a->causes |= CAUSE_OPERATOR;
    else if (strcmp(act, "skip") == 0)
        a->skipped |= (uint8_t)(1u << branch);
}

static void act(struct client *c, const char *what)
{
    struct acts *acts = acts_of(c->world);
    struct codec_writer *w = &c->command;
    bool skip = strcmp(what, "skip") == 0;
    bool tries = c->asked->mode == ASKED_TCC || c->asked->mode == ASKED_EXECUTE;
    uint32_t branch = (uint32_t)client_random(c, c->asked->branches);
    char name[16];
    snprintf(name, sizeof name, tries ? "b%u" : "%02u", tries ? branch : branch + 1);
    if (acts->n == ACTS_MAX) {
        client_done(c);
        return;
    }
    note_consequences(c, what, branch);
    acts->acts[acts->n].asked = c->asked;
    snprintf(acts->acts[acts->n].by, sizeof acts->acts[0].by, "op-%u", acts->n);
    client_head(c, COMMAND_TXN_ACT, skip ? TXN_ACT_BRANCH + 1 : TXN_ACT_BRANCH);
    codec_cstr(w, c->asked->xid);
    codec_cstr(w, what);
    codec_cstr(w, acts->acts[acts->n].by);
    codec_cstr(w, "because");
    if (skip)
        codec_cstr(w, name);
    c->tried = acts->n++;
    client_send(c);
}

static void operator_begin(struct client *c)
{
    static const char *const what[] = {"pause", "pause", "pause", "retry", "retry",
                                       "back",  "skip",  "force", "resume"};
    c->asked = some_transaction(c);
    if (c->asked == NULL) {
        client_done(c);
        return;
    }
    uint32_t i = (uint32_t)client_random(c, sizeof what / sizeof what[0]);
    bool related = c->asked->parent != NULL || c->asked->xid[0] == 'n'; /* something may be nested by then */
    if (related && strcmp(what[i], "force") == 0)
        i = 0; /* those nested in it would wait for somebody for ever */
    c->step = STEP_ACT;
    c->commit = strcmp(what[i], "pause") == 0; /* somebody must resume it */
    c->tried = 0;
    act(c, what[i]);
}

static void operator_resume(struct client *c)
{
    c->step = STEP_RESUME;
    act(c, "resume");
}

/* The time limit of what was paused beyond it is none any more, and its client may be gone. */
static void operator_back(struct client *c)
{
    c->step = STEP_BACK;
    act(c, "back");
}

static bool may_be_forgotten(const struct client *c)
{
    uint64_t late_us = c->asked->sent_us + c->asked->timeout_ms * 1000;
    return c->asked->timeout_ms > 0 && cluster_now_us(c->world->cluster) + 4000000 > late_us;
}

static void operator_answered(struct client *c, const struct result *r)
{
    struct acts *acts = acts_of(c->world);
    acts->acts[c->tried].done = r->code == ASSENT_OK;
    acts->acts[c->tried].refused = r->code != ASSENT_OK;
    if (r->code == ASSENT_OK && c->step == STEP_ACT && c->commit)
        client_later(c, 100000 + client_random(c, 3000000), operator_resume);
    else if (r->code == ASSENT_OK && c->step != STEP_BACK && may_be_forgotten(c))
        client_later(c, 500000, operator_back);
    else
        client_done(c);
}

/* Rows of the record that name this act. */
static uint32_t rows_of(struct world *w, uint32_t node, const struct asked *a, const char *by)
{
    static const struct command_session none = {.kind = SESSION_NONE};
    struct codec_writer query;
    struct codec_arena arena;
    struct result result;
    uint32_t n = 0;
    codec_writer_init(&query);
    command_begin(&query, QUERY_AUDIT, &none, QUERY_AUDIT_LIMIT + 1);
    codec_cstr(&query, a->xid);
    codec_nil(&query);
    codec_uint(&query, 1000);
    codec_arena_init(&arena);
    if (clients_ask(w, node, &query, &arena, &result)) {
        const struct codec_node *rows = codec_get(result.data, "acts");
        for (uint32_t i = 0; i < codec_size(rows); i++) {
            struct assent_bytes who = codec_as_bytes(codec_get(codec_at(rows, i), "by"));
            n += who.size == strlen(by) && memcmp(who.base, by, who.size) == 0;
        }
    }
    codec_arena_close(&arena);
    return n;
}

static const char *operator_judge(struct world *w, char *why, size_t size)
{
    struct acts *acts = acts_of(w);
    for (uint32_t i = 0; i < acts->n; i++) {
        uint32_t node = cluster_leader(w->cluster);
        uint32_t rows = rows_of(w, node, acts->acts[i].asked, acts->acts[i].by);
        if ((acts->acts[i].done && rows != 1) || (acts->acts[i].refused && rows != 0)) {
            snprintf(why, size, "the act of %s to %s was %s, and is on record %u times", acts->acts[i].by,
                     acts->acts[i].asked->xid, acts->acts[i].done ? "done" : "refused", rows);
            return why;
        }
    }
    return NULL;
}

const struct client_kind client_operator = {"operator", 1, operator_begin, operator_answered, operator_judge};

/* ---- status ---- */

static void status_begin(struct client *c)
{
    struct asked *a = some_transaction(c);
    if (a == NULL) {
        client_done(c);
        return;
    }
    struct oracle_sight *sight = client_script(c, sizeof *sight);
    *sight = oracle_sight(c->world, asked_xid(a));
    c->asked = a;
    client_query(c, QUERY_TXN_STATUS, 1);
    codec_cstr(&c->command, a->xid);
    client_send(c);
}

static void status_answered(struct client *c, const struct result *r)
{
    char status[32];
    oracle_read(c->world, asked_xid(c->asked), c->script, r->code,
                client_word(r, "status", status, sizeof status));
    client_done(c);
}

/* At the end every node says of each transaction what the others say, and what was told of it. */
static bool status_agrees(struct world *w, uint32_t node, struct asked *a, char *why, size_t size)
{
    static const struct command_session none = {.kind = SESSION_NONE};
    struct oracle_sight sight = oracle_sight(w, asked_xid(a));
    const char *ended = oracle_status(w, asked_xid(a));
    struct codec_writer query;
    struct codec_arena arena;
    struct result result;
    char status[32] = "";
    codec_writer_init(&query);
    command_begin(&query, QUERY_TXN_STATUS, &none, 1);
    codec_cstr(&query, a->xid);
    codec_arena_init(&arena);
    bool read = clients_ask(w, node, &query, &arena, &result);
    if (read)
        client_word(&result, "status", status, sizeof status);
    codec_arena_close(&arena);
    if (!sight.begun && ended == NULL)
        return true; /* its begin may never have arrived */
    if (ended != NULL && strcmp(ended, status) == 0)
        return true;
    snprintf(why, size, "at the end node %u says that %s is %s; told was %s", node, a->xid,
             status[0] != 0 ? status : "not there", ended != NULL ? ended : "no end");
    return false;
}

static const char *status_judge(struct world *w, char *why, size_t size)
{
    for (uint32_t i = 0; i < asked_count(w); i++) {
        uint32_t node = cluster_leader(w->cluster);
        if (!status_agrees(w, node, asked_at(w, i), why, size))
            return why;
    }
    return NULL;
}

const struct client_kind client_status = {"status", 2, status_begin, status_answered, status_judge};
