/* The executor's calls, on the simulated network: linked in place of node/caller.c.
 *
 * A call reaches its participant after a while, or twice, or after the caller has given up; its answer may be
 * lost. A call that was dropped (its leader stopped) still arrives.  Two calls of one operation under way at
 * one node at a time are an error of the executor's. */
#include "caller.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "assent/error.h"
#include "world.h"

struct caller {
    struct sim_node *node;
    struct flight *flights;
};

/* One call on its way. */
struct flight {
    struct flight *next; /* under way at its node */
    struct caller *caller;
    struct world *world;
    struct caller_call *call; /* NULL: nobody waits any more */
    uint32_t letters;         /* events that name it */
    bool chaos;
    uint64_t token;
    uint32_t attempt;
    char url[64], xid[64], branch[64], op[16];
    int status;
    const char *body;
};

int caller_open(struct caller **out, uv_loop_t *loop, const struct caller_config *config)
{
    (void)config;
    struct caller *c = calloc(1, sizeof *c);
    assert(c != NULL);
    c->node = loop->data;
    *out = c;
    return ASSENT_OK;
}

static void unlink_flight(struct flight *f)
{
    struct flight **at = &f->caller->flights;
    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    f->caller = NULL;
}

static void release(struct flight *f)
{
    if (--f->letters == 0) {
        assert(f->caller == NULL);
        free(f);
    }
}

struct closing {
    void (*cb)(void *data);
    void *data;
};

static void on_closed(void *data, uint64_t arg)
{
    struct closing *c = data;
    (void)arg;
    c->cb(c->data);
    free(c);
}

void caller_close(struct caller *c, void (*cb)(void *data), void *data)
{
    struct world *w = c->node->world;
    while (c->flights != NULL)
        caller_drop(c->flights->call);
    struct closing *closing = malloc(sizeof *closing);
    assert(closing != NULL);
    *closing = (struct closing){cb, data};
    cluster_at(w->cluster, 0, on_closed, closing, 0);
    free(c);
}

static void copy(char *to, size_t size, struct assent_bytes text)
{
    assert(text.size < size);
    memcpy(to, text.base, text.size);
    to[text.size] = 0;
}

static struct assent_bytes header(const struct caller_request *r, const char *name)
{
    for (uint32_t i = 0; i < r->n_headers; i++)
        if (r->headers[i].name.size == strlen(name) &&
            memcmp(r->headers[i].name.base, name, strlen(name)) == 0)
            return r->headers[i].value;
    return (struct assent_bytes){(const uint8_t *)"", 0};
}

static struct assent_bytes text(const char *s)
{
    return (struct assent_bytes){(const uint8_t *)s, strlen(s)};
}

/* ---- there and back ---- */

/* The end for whoever waits: an answer, or (status 0) the time limit. */
static void flight_end(struct flight *f)
{
    struct caller_call *call = f->call;
    char error[CALLER_ERROR_BYTES_MAX] = "";
    unlink_flight(f);
    f->call = NULL;
    call->easy = NULL;
    call->unreachable = f->status == 0;
    size_t n = strlen(f->body);
    memcpy(call->body, f->body, n);
    call->kept = (uint32_t)n;
    if (f->status == 0)
        snprintf(error, sizeof error, "timed out");
    else if (f->status < 200 || f->status > 299)
        snprintf(error, sizeof error, "HTTP %d: %s", f->status, f->body);
    call->cb(call, f->status, error);
}

static void on_answer(void *data, uint64_t arg)
{
    struct flight *f = data;
    (void)arg;
    if (f->call != NULL)
        flight_end(f);
    release(f);
}

static void on_give_up(void *data, uint64_t arg)
{
    struct flight *f = data;
    (void)arg;
    if (f->call != NULL) {
        f->status = 0;
        f->body = "";
        flight_end(f);
    }
    release(f);
}

static uint64_t delay_us(struct world *w)
{
    return 200 + world_random(w, STREAM_PARTICIPANT, 4000);
}

static void on_request(void *data, uint64_t answers)
{
    struct flight *f = data;
    struct world *w = f->world;
    struct sim_call call = {text(f->url), text(f->xid), text(f->branch), text(f->op), f->token, f->attempt};
    int status;
    const char *body;
    participants_call(w, &call, &status, &body);
    if (answers && status != 0 && f->call != NULL &&
        !(f->chaos && world_chance(w, STREAM_PARTICIPANT, w->knobs.reply_lost))) {
        f->status = status;
        f->body = body;
        f->letters++;
        cluster_at_node(w->cluster, f->caller->node->id, delay_us(w), on_answer, f, 0);
    }
    release(f);
}

int caller_start(struct caller *c, struct caller_call *call, const struct caller_request *request,
                 caller_cb cb)
{
    struct world *w = c->node->world;
    const struct knobs *k = &w->knobs;
    struct flight *f = calloc(1, sizeof *f);
    assert(f != NULL);
    *f = (struct flight){.caller = c, .world = w, .call = call, .chaos = w->chaos, .body = ""};
    copy(f->url, sizeof f->url, request->url);
    copy(f->xid, sizeof f->xid, header(request, "Assent-Xid"));
    copy(f->branch, sizeof f->branch, header(request, "Assent-Branch"));
    copy(f->op, sizeof f->op, header(request, "Assent-Op"));
    char number[32];
    copy(number, sizeof number, header(request, "Assent-Token"));
    f->token = strtoull(number, NULL, 10);
    copy(number, sizeof number, header(request, "Assent-Attempt"));
    f->attempt = (uint32_t)strtoul(number, NULL, 10);
    for (const struct flight *o = c->flights; o != NULL; o = o->next)
        if (strcmp(o->xid, f->xid) == 0 && strcmp(o->branch, f->branch) == 0)
            cluster_fail(w->cluster, "node %u calls %s of %s/%s while its %s is under way", c->node->id,
                         f->op, f->xid, f->branch, o->op);
    call->cb = cb;
    call->caller = c;
    call->easy = f;
    call->kept = 0;
    call->total = 0;
    f->next = c->flights;
    c->flights = f;
    c->node->calls++;
    uint64_t there = delay_us(w);
    if (f->chaos && world_chance(w, STREAM_PARTICIPANT, k->late))
        there += (uint64_t)request->timeout_ms * 1000;
    f->letters = 2;
    cluster_at(w->cluster, there, on_request, f, 1);
    cluster_at_node(w->cluster, c->node->id, (uint64_t)request->timeout_ms * 1000, on_give_up, f, 0);
    if (f->chaos &&
        world_chance(w, STREAM_PARTICIPANT, k->twice)) { /* the network repeats it, perhaps much later */
        f->letters++;
        cluster_at(w->cluster, there + world_random(w, STREAM_PARTICIPANT, 5000000), on_request, f, 0);
    }
    return ASSENT_OK;
}

void caller_drop(struct caller_call *call)
{
    struct flight *f = call->easy;
    if (f == NULL)
        return;
    call->easy = NULL;
    f->call = NULL;
    unlink_flight(f);
}

bool caller_answer_has(const struct caller_call *call, enum caller_word word)
{
    const char *wanted = word == CALLER_WORD_ONGOING ? "ONGOING" : "FAILURE";
    return memmem(call->body, call->kept, wanted, strlen(wanted)) != NULL;
}

struct assent_bytes caller_answer(const struct caller_call *call)
{
    return (struct assent_bytes){(const uint8_t *)call->body, call->kept};
}

bool caller_unreachable(const struct caller_call *call)
{
    return call->unreachable;
}

void caller_answer_text(const struct caller_call *call, int status, char *out, size_t size)
{
    snprintf(out, size, "HTTP %d: %.*s", status, (int)call->kept, call->body);
}
