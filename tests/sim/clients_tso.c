/* Timestamps: clients that ask for ranges of them, and the leader's end as node/tso_service.c has it around
 * statemachine/tso.c: a read round confirms the leader, then it grants from the window it has committed.
 *
 * Ranges are disjoint, and each is above all that was answered before it was asked for, whoever led; what was
 * granted stays below the bound in the log (C16 of the specification). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "assent/clock.h"
#include "assent/error.h"
#include "clients.h"
#include "tso.h"

#define RANGES_MAX 16384

struct granter {
    struct sim_node *node;
    uint32_t boot;
    uint64_t term; /* of its leadership; 0: it does not lead */
    struct tso tso;
    bool proposing;
    uint64_t window_term, window_bound;
};
struct range {
    uint64_t first, count;
};
struct timestamps {
    struct granter granters[WORLD_NODES_MAX + 1];
    uint64_t highest;
    uint32_t n;
    struct range ranges[RANGES_MAX];
};

static struct timestamps *timestamps_of(struct world *w)
{
    return clients_room(w, &client_tso, sizeof(struct timestamps));
}

/* ---- the leader's end ---- */

static uint64_t wall_ms(const struct sim_node *n)
{
    return (uint64_t)(sim_wall_us(n) / 1000);
}

/* Leadership begins or ends. */
static void follow_role(struct granter *g)
{
    const struct sim_node *n = g->node;
    bool leads = n->sm != NULL && n->role == RAFTLOG_LEADER && n->ready;
    if (leads && (g->term != n->term || g->boot != n->boot)) {
        g->term = n->term;
        g->boot = n->boot;
        tso_begin(&g->tso, sm_tso_bound(n->sm), wall_ms(n));
    } else if (!leads) {
        g->term = 0;
        tso_end(&g->tso);
    }
}

static void on_window(void *data, int status, struct assent_bytes bytes)
{
    struct granter *g = data;
    struct codec_arena arena;
    struct result r;
    g->proposing = false;
    if (status != ASSENT_OK || g->term == 0 || g->term != g->window_term || g->boot != g->node->boot)
        return;
    codec_arena_init(&arena);
    if (result_decode(&arena, bytes, &r) && r.code == ASSENT_OK)
        tso_window_committed(&g->tso, g->window_bound);
    else /* WINDOW_PASSED: start behind the newest one */
        tso_begin(&g->tso, sm_tso_bound(g->node->sm), wall_ms(g->node));
    codec_arena_close(&arena);
}

static void propose_window(struct granter *g)
{
    static const struct command_session none = {.kind = SESSION_NONE};
    uint64_t bound = tso_want_window(&g->tso, wall_ms(g->node));
    struct codec_writer w;
    if (bound == 0 || g->proposing)
        return;
    g->window_bound = bound;
    g->window_term = g->term;
    codec_writer_init(&w);
    command_begin(&w, COMMAND_TSO_WINDOW, &none, 1);
    codec_uint(&w, bound);
    g->proposing = sim_propose(g->node, codec_written(&w), on_window, g) == ASSENT_OK;
    codec_writer_close(&w);
}

int client_timestamps(struct world *w, uint32_t node, uint64_t term, bool local, struct assent_bytes request,
                      struct codec_writer *out)
{
    struct granter *g = &timestamps_of(w)->granters[node];
    uint32_t count;
    uint64_t first;
    g->node = &w->nodes[node];
    follow_role(g);
    if (!local || g->term == 0 || g->term != term || request.size != sizeof count)
        return ASSENT_NOT_LEADER;
    memcpy(&count, request.base, sizeof count);
    bool granted = tso_grant(&g->tso, wall_ms(g->node), count, &first);
    propose_window(g);
    if (!granted)
        return ASSENT_BUSY;
    codec_list(out, 3);
    codec_uint(out, ASSENT_OK);
    codec_map(out, 1);
    codec_pair_uint(out, "first", first);
    codec_nil(out);
    return ASSENT_OK;
}

/* ---- the client's end ---- */

static void ask(struct client *c)
{
    struct range *asked = c->script;
    uint32_t count = client_random(c, 4) == 0 ? 1 + (uint32_t)client_random(c, 200000)
                                              : 1 + (uint32_t)client_random(c, 10);
    *asked = (struct range){timestamps_of(c->world)->highest, count};
    codec_writer_reset(&c->command);
    codec_raw(&c->command, (struct assent_bytes){(const uint8_t *)&count, sizeof count});
    c->road = ROAD_TSO;
    c->repeatable = false;
    client_send(c);
}

/* One after the other for a while, so that leaders change in between. */
static void tso_begin_script(struct client *c)
{
    (void)client_script(c, sizeof(struct range));
    c->branches = 1 + (uint32_t)client_random(c, 15);
    ask(c);
}

static void tso_answered(struct client *c, const struct result *r)
{
    struct timestamps *t = timestamps_of(c->world);
    const struct range *asked = c->script;
    uint64_t first = client_number(r, "first"), last = first + asked->count - 1;
    uint64_t now_ms = (uint64_t)(sim_true_us(c->world) / 1000);
    uint64_t lead_ms = 6000 + 1000 * c->world->leaders + c->world->jumped_us / 1000;
    if (first <= asked->first)
        cluster_fail(c->world->cluster, "timestamp %" PRIu64 " was answered behind %" PRIu64, first,
                     asked->first);
    if (assent_tso_physical_ms(last) > now_ms + lead_ms)
        cluster_fail(c->world->cluster, "timestamps run %" PRIu64 " ms ahead",
                     assent_tso_physical_ms(last) - now_ms);
    if (t->n < RANGES_MAX)
        t->ranges[t->n++] = (struct range){first, asked->count};
    t->highest = last > t->highest ? last : t->highest;
    if (--c->branches > 0)
        client_later(c, 1 + client_random(c, 100000), ask);
    else
        client_done(c);
}

static int by_first(const void *a, const void *b)
{
    uint64_t x = ((const struct range *)a)->first, y = ((const struct range *)b)->first;
    return x < y ? -1 : x > y;
}

static const char *tso_judge(struct world *w, char *why, size_t size)
{
    struct timestamps *t = timestamps_of(w);
    uint64_t bound = sm_tso_bound(w->nodes[cluster_leader(w->cluster)].sm);
    qsort(t->ranges, t->n, sizeof t->ranges[0], by_first);
    for (uint32_t i = 1; i < t->n; i++) {
        if (t->ranges[i].first >= t->ranges[i - 1].first + t->ranges[i - 1].count)
            continue;
        snprintf(why, size, "timestamp %" PRIu64 " was given twice", t->ranges[i].first);
        return why;
    }
    if (t->n > 0 && t->highest >= bound) {
        snprintf(why, size, "timestamp %" PRIu64 " was given, the log's bound is %" PRIu64, t->highest,
                 bound);
        return why;
    }
    return NULL;
}

const struct client_kind client_tso = {"tso", 3, tso_begin_script, tso_answered, tso_judge};
