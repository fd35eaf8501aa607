/* Clients of clocks.
 *
 *   sequence  take a number: none may be taken twice, none may be lost that was answered
 *   lamport   advance a Lamport clock: later answers are larger */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "clients.h"

#define NUMBERS_MAX 65536

struct numbers {
    bool numbers[NUMBERS_MAX];  /* taken from the sequence */
    uint64_t highest, answered; /* of the sequence; answers */
};

/* ---- sequence ---- */

static struct numbers *numbers_of(struct world *w)
{
    return clients_room(w, &client_sequence, sizeof(struct numbers));
}

static void sequence_begin(struct client *c)
{
    client_head(c, COMMAND_SEQUENCE_NEXT, 1);
    codec_cstr(&c->command, "numbers");
    client_send(c);
}

static void sequence_answered(struct client *c, const struct result *r)
{
    struct numbers *k = numbers_of(c->world);
    uint64_t value = codec_as_uint(codec_get(r->data, "first"));
    if (value < NUMBERS_MAX) {
        if (k->numbers[value])
            cluster_fail(c->world->cluster, "number %" PRIu64 " was taken twice", value);
        k->numbers[value] = true;
        k->answered++;
        k->highest = value > k->highest ? value : k->highest;
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

static void lamport_begin(struct client *c)
{
    client_head(c, COMMAND_LAMPORT_TICK, 1);
    codec_cstr(&c->command, "clock");
    client_send(c);
}

static void lamport_answered(struct client *c, const struct result *r)
{
    (void)r;
    client_done(c);
}

const struct client_kind client_lamport = {"lamport", 1, lamport_begin, lamport_answered, NULL};
