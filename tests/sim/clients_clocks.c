/* Clients of clocks that count.  Whatever was answered before a request was sent is smaller than its answer.
 *
 *   sequence   take a number: none may be taken twice, none may be lost that was answered
 *   lamport    advance or synchronise a Lamport clock, or read it on any node
 *   timestamp  put an event on record: time, stamp and place grow */
#include <inttypes.h>
#include <stdio.h>

#include "assent/error.h"
#include "clients.h"

/* The answer is larger than what anybody had been told when the request left. */
static void above(struct client *c, const char *what, uint64_t floor, uint64_t value)
{
    if (value <= floor)
        cluster_fail(c->world->cluster, "%s: %" PRIu64 " was answered behind %" PRIu64, what, value, floor);
}

static void grow(uint64_t *largest, uint64_t value)
{
    *largest = value > *largest ? value : *largest;
}

/* ---- sequence ---- */

#define NUMBERS_MAX 65536

struct numbers {
    bool taken[NUMBERS_MAX];
    uint64_t highest, answered;
};

static struct numbers *numbers_of(struct world *w)
{
    return clients_room(w, &client_sequence, sizeof(struct numbers));
}

static void sequence_begin(struct client *c)
{
    uint64_t *floor = client_script(c, sizeof *floor);
    *floor = numbers_of(c->world)->highest;
    client_head(c, COMMAND_SEQUENCE_NEXT, 1);
    codec_cstr(&c->command, "numbers");
    client_send(c);
}

static void sequence_answered(struct client *c, const struct result *r)
{
    struct numbers *k = numbers_of(c->world);
    uint64_t value = client_number(r, "first");
    above(c, "sequence", *(const uint64_t *)c->script, value);
    if (value < NUMBERS_MAX) {
        if (k->taken[value])
            cluster_fail(c->world->cluster, "number %" PRIu64 " was taken twice", value);
        k->taken[value] = true;
        k->answered++;
        grow(&k->highest, value);
    }
    client_done(c);
}

static const char *sequence_judge(struct world *w, char *why, size_t size)
{
    const struct numbers *k = numbers_of(w);
    if (k->answered == k->highest || k->highest >= NUMBERS_MAX)
        return NULL;
    snprintf(why, size, "%" PRIu64 " numbers were answered, the highest is %" PRIu64, k->answered,
             k->highest);
    return why;
}

const struct client_kind client_sequence = {"sequence", 1, sequence_begin, sequence_answered, sequence_judge};

/* ---- Lamport ---- */

struct stamp {
    uint64_t floor, received;
    bool read;
};

static uint64_t *stamp_highest(struct world *w)
{
    return clients_room(w, &client_lamport, sizeof(uint64_t));
}

static void lamport_begin(struct client *c)
{
    struct stamp *s = client_script(c, sizeof *s);
    s->floor = *stamp_highest(c->world);
    uint64_t what = client_random(c, 4);
    s->read = what == 0;
    if (what == 0) {
        client_query(c, QUERY_LAMPORT, 1);
    } else if (what == 1) {
        s->received = s->floor + client_random(c, 5);
        client_head(c, COMMAND_LAMPORT_SYNC, 2);
    } else {
        client_head(c, COMMAND_LAMPORT_TICK, 1);
    }
    codec_cstr(&c->command, "clock");
    if (what == 1)
        codec_uint(&c->command, s->received);
    client_send(c);
}

static void lamport_answered(struct client *c, const struct result *r)
{
    const struct stamp *s = c->script;
    uint64_t value = client_number(r, "value");
    above(c, "lamport", s->floor, s->read ? value + 1 : value);
    if (s->received > 0)
        above(c, "lamport, received", s->received, value);
    grow(stamp_highest(c->world), value);
    client_done(c);
}

const struct client_kind client_lamport = {"lamport", 2, lamport_begin, lamport_answered, NULL};

/* ---- events ---- */

struct happened {
    uint64_t time_us, lamport, position;
};

static struct happened *newest(struct world *w)
{
    return clients_room(w, &client_timestamp, sizeof(struct happened));
}

static void timestamp_begin(struct client *c)
{
    struct happened *floor = client_script(c, sizeof *floor);
    *floor = *newest(c->world);
    snprintf(c->xid, sizeof c->xid, "e-%u-%u", c->id, c->serial);
    client_head(c, COMMAND_TIMESTAMP_EVENT, TIMESTAMP_EVENT_TYPE + 1);
    codec_cstr(&c->command, c->xid);
    codec_cstr(&c->command, "here");
    codec_cstr(&c->command, "payment");
    client_send(c);
}

static void timestamp_answered(struct client *c, const struct result *r)
{
    const struct happened *floor = c->script;
    struct happened *n = newest(c->world);
    if (r->code != ASSENT_OK)
        cluster_fail(c->world->cluster, "event %s was refused with %d", c->xid, r->code);
    above(c, "event's time", floor->time_us, client_number(r, "timeUs"));
    above(c, "event's stamp", floor->lamport, client_number(r, "lamport"));
    above(c, "event's position", floor->position, client_number(r, "position"));
    grow(&n->time_us, client_number(r, "timeUs"));
    grow(&n->lamport, client_number(r, "lamport"));
    grow(&n->position, client_number(r, "position"));
    client_done(c);
}

const struct client_kind client_timestamp = {"timestamp", 1, timestamp_begin, timestamp_answered, NULL};
