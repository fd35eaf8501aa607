/* Clients of the native protocol's sessions: open one, send numbered requests, repeat them.
 *
 * Each request takes the next number of a sequence of the session's own, so a request that is executed twice
 * or not at all shows at once.  What is not acknowledged is answered again as before; what is acknowledged is
 * refused and never executed again.  Numbers are kept by the client library's client/session.c. */
#include <inttypes.h>
#include <stdio.h>

#include "assent/error.h"
#include "clients.h"
#include "internal.h"

enum { STEP_OPEN, STEP_REQUEST, STEP_REPEAT, STEP_FORGOTTEN };

#define REQUESTS_MAX 24

struct conversation {
    struct session session;
    uint32_t requests;     /* so many */
    uint64_t lag;          /* answers it knows and does not acknowledge yet */
    uint64_t acknowledged; /* highest number that was */
    uint64_t repeats;      /* the number that is sent again */
};

static void session_open_script(struct client *c)
{
    static const struct command_session none = {.kind = SESSION_NONE};
    struct conversation *v = client_script(c, sizeof *v);
    v->requests = 2 + (uint32_t)client_random(c, REQUESTS_MAX - 2);
    v->lag = client_random(c, 4);
    c->step = STEP_OPEN;
    codec_writer_reset(&c->command);
    command_begin(&c->command, COMMAND_SESSION_OPEN, &none, 0);
    c->road = ROAD_LOG;
    c->repeatable = false; /* another session, which nobody uses */
    client_send(c);
}

static void request(struct client *c, uint64_t sequence, uint64_t acknowledged)
{
    struct conversation *v = c->script;
    struct command_session session = {.kind = SESSION_SEQUENCE,
                                      .client = v->session.client,
                                      .sequence = sequence,
                                      .acknowledged = acknowledged};
    char name[32];
    snprintf(name, sizeof name, "s-%u-%u", c->id, c->serial);
    snprintf(c->key, sizeof c->key, "s-%u-%u %" PRIu64, c->id, c->serial, sequence);
    codec_writer_reset(&c->command);
    command_begin(&c->command, COMMAND_SEQUENCE_NEXT, &session, 1);
    codec_cstr(&c->command, name);
    c->road = ROAD_LOG;
    c->repeatable = true;
    client_send(c);
}

/* Below the number that is sent, and some answers behind what is known. */
static uint64_t acknowledges(const struct conversation *v)
{
    uint64_t known = v->session.acknowledged > v->lag ? v->session.acknowledged - v->lag : 0;
    return known > v->acknowledged ? known : v->acknowledged;
}

static void session_next(struct client *c)
{
    struct conversation *v = c->script;
    uint64_t sent = v->session.next - 1, open = sent - v->acknowledged;
    if (v->session.next > v->requests) {
        client_done(c);
    } else if (sent > 0 && open > 0 && client_random(c, 4) == 0) {
        c->step = STEP_REPEAT;
        v->repeats = v->acknowledged + 1 + client_random(c, open);
        request(c, v->repeats, v->acknowledged);
    } else if (v->acknowledged > 0 && client_random(c, 6) == 0) {
        c->step = STEP_FORGOTTEN;
        v->repeats = 1 + client_random(c, v->acknowledged);
        request(c, v->repeats, v->repeats - 1);
    } else {
        c->step = STEP_REQUEST;
        v->acknowledged = acknowledges(v);
        uint64_t sequence = session_take(&v->session);
        request(c, sequence, v->acknowledged);
    }
}

static void session_answered_script(struct client *c, const struct result *r)
{
    struct conversation *v = c->script;
    uint64_t expected = c->step == STEP_REPEAT ? v->repeats : v->session.next - 1;
    if (c->step == STEP_OPEN) {
        session_begin(&v->session, client_number(r, "client"), 0);
    } else if (c->step == STEP_FORGOTTEN) {
        if (r->code != ASSENT_SESSION_EXPIRED)
            cluster_fail(c->world->cluster, "session %s was acknowledged, and is answered with %d", c->key,
                         r->code);
    } else if (r->code != ASSENT_OK || client_number(r, "first") != expected) {
        cluster_fail(c->world->cluster,
                     "session %s was answered %" PRIu64 " (code %d), it is number %" PRIu64, c->key,
                     client_number(r, "first"), r->code, expected);
    }
    if (c->step == STEP_REQUEST)
        session_answered(&v->session, v->session.client, expected);
    client_later(c, client_delay_us(c), session_next);
}

const struct client_kind client_session = {"session", 1, session_open_script, session_answered_script, NULL};
