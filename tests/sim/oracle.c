/* What must hold whatever happens, watched at the boundary: events all nodes tell, digests, what clients were
 * told.
 *
 *   agreement     the n-th event of a position is the same on every node, and so is the digest behind an
 * index one decision  a transaction that was decided one way never goes the other stability     what somebody
 * was told of a transaction, everybody finds who asks afterwards, on any node no loss       whoever was told
 * of a decision finds it at the end */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "asked.h"
#include "assent/error.h"
#include "clients.h"
#include "oracle.h"

#define SLOTS 65536u

struct txn_seen {
    struct txn_seen *next;
    const char *status; /* newest */
    uint64_t position;  /* of it */
    int decision, told; /* 0 none, 1 commit, 2 back, 3 stopped */
    bool begun_told, final;
    const char *ended_told; /* a final status somebody was told; NULL: none */
    uint32_t size;
    uint8_t xid[];
};
struct event_seen {
    struct event_seen *next;
    uint64_t position, hash;
    uint32_t number;
};
struct oracle {
    struct txn_seen *txns[SLOTS];
    struct event_seen *events[SLOTS];
    uint64_t *digests; /* by index; 0: not seen */
    uint64_t digests_n;
    uint32_t n, unfinished, ended[4]; /* by decision */
};

static uint64_t hash(uint64_t h, const void *data, size_t size)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < size; i++)
        h = (h ^ p[i]) * UINT64_C(1099511628211);
    return h ^ h >> 29;
}

static uint64_t hash_text(uint64_t h, const char *text)
{
    return text != NULL ? hash(h, text, strlen(text)) : h * 31;
}

void oracle_init(struct world *w)
{
    w->oracle = calloc(1, sizeof *w->oracle);
    assert(w->oracle != NULL);
}

void oracle_close(struct world *w)
{
    struct oracle *o = w->oracle;
    for (uint32_t i = 0; i < SLOTS; i++) {
        while (o->txns[i] != NULL) {
            struct txn_seen *t = o->txns[i];
            o->txns[i] = t->next;
            free(t);
        }
        while (o->events[i] != NULL) {
            struct event_seen *e = o->events[i];
            o->events[i] = e->next;
            free(e);
        }
    }
    free(o->digests);
    free(o);
}

static struct txn_seen *txn_of(struct oracle *o, struct assent_bytes xid)
{
    struct txn_seen **slot = &o->txns[hash(7, xid.base, xid.size) % SLOTS];
    for (struct txn_seen *t = *slot; t != NULL; t = t->next)
        if (t->size == xid.size && memcmp(t->xid, xid.base, xid.size) == 0)
            return t;
    struct txn_seen *t = calloc(1, sizeof *t + xid.size);
    assert(t != NULL);
    t->size = (uint32_t)xid.size;
    memcpy(t->xid, xid.base, xid.size);
    t->next = *slot;
    *slot = t;
    return t;
}

static int decision_of(const char *status)
{
    if (strcmp(status, "COMMITTING") == 0 || strcmp(status, "COMMITTED") == 0)
        return 1;
    if (strcmp(status, "ROLLING_BACK") == 0 || strcmp(status, "ROLLED_BACK") == 0)
        return 2;
    return strcmp(status, "STOPPED") == 0 ? 3 : 0;
}

/* The words themselves, to keep. */
static const char *status_name(const char *status)
{
    static const char *const names[] = {"COMMITTED", "ROLLED_BACK", "STOPPED"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], status) == 0)
            return names[i];
    return NULL;
}

/* Another node, or this one again after a restart, has told of it before. */
static bool seen_before(struct world *w, const struct sm_event *e)
{
    struct oracle *o = w->oracle;
    uint64_t h = hash(e->kind, e->xid.base, e->xid.size);
    h = hash(h, e->branch.base, e->branch.size);
    h = hash(h, e->detail.base, e->detail.size);
    h = hash_text(hash_text(h, e->status), e->op) + (uint64_t)e->outcome + ((uint64_t)e->time_us << 8);
    struct event_seen **slot = &o->events[(e->position * 31 + e->number) % SLOTS];
    for (struct event_seen *s = *slot; s != NULL; s = s->next) {
        if (s->position != e->position || s->number != e->number)
            continue;
        if (s->hash != h)
            cluster_fail(w->cluster, "two nodes tell different events at position %llu.%u",
                         (unsigned long long)e->position, e->number);
        return true;
    }
    struct event_seen *s = calloc(1, sizeof *s);
    assert(s != NULL);
    *s = (struct event_seen){*slot, e->position, h, e->number};
    *slot = s;
    return false;
}

void oracle_event(struct world *w, const struct sm_event *e)
{
    struct oracle *o = w->oracle;
    if (seen_before(w, e) || e->kind != SM_EVENT_STATUS)
        return;
    struct txn_seen *t = txn_of(o, e->xid);
    if (t->status == NULL) {
        o->n++;
        o->unfinished++;
    }
    int decision = decision_of(e->status);
    bool turned = t->decision == 1 && decision == 2 && !asked_may_turn(asked_of(w, e->xid));
    if (t->final || turned || (t->decision == 2 && decision == 1))
        cluster_fail(w->cluster, "transaction %.*s went from %s to %s", (int)t->size, (const char *)t->xid,
                     t->status, e->status);
    t->status = e->status;
    t->position = e->position;
    t->decision = decision != 0 ? decision : t->decision;
    if (e->final) {
        o->unfinished--;
        o->ended[t->decision]++;
    }
    t->final = e->final;
}

void oracle_applied(struct world *w, uint32_t node, uint64_t index, uint64_t digest)
{
    struct oracle *o = w->oracle;
    if (index >= o->digests_n) {
        uint64_t n = 2 * index + 1024;
        o->digests = realloc(o->digests, n * sizeof *o->digests);
        assert(o->digests != NULL);
        memset(o->digests + o->digests_n, 0, (n - o->digests_n) * sizeof *o->digests);
        o->digests_n = n;
    }
    if (o->digests[index] == 0)
        o->digests[index] = digest + 1;
    if (o->digests[index] != digest + 1)
        cluster_fail(w->cluster, "node %u has another state than others behind entry %llu", node,
                     (unsigned long long)index);
}

const char *oracle_status(struct world *w, struct assent_bytes xid)
{
    struct txn_seen *t = txn_of(w->oracle, xid);
    return t->final ? t->status : NULL;
}

int oracle_told_decision(struct world *w, struct assent_bytes xid)
{
    return txn_of(w->oracle, xid)->told;
}

/* Answered, and so final for whoever asks later; a nested saga may turn, and a force ends anything. */
static bool ends(const struct asked *a, const char *status)
{
    return (strcmp(status, "COMMITTED") == 0 && !asked_may_turn(a)) || strcmp(status, "ROLLED_BACK") == 0 ||
           strcmp(status, "STOPPED") == 0;
}

void oracle_told(struct world *w, struct assent_bytes xid, const char *status)
{
    struct txn_seen *t = txn_of(w->oracle, xid);
    const struct asked *a = asked_of(w, xid);
    int decision = decision_of(status);
    bool open = asked_may_turn(a) || (a != NULL && a->forced);
    if (t->status == NULL)
        cluster_fail(w->cluster, "a client was told that %.*s is %s, but no node has applied it",
                     (int)xid.size, (const char *)xid.base, status);
    if (decision != 0 && t->decision != decision && !open)
        cluster_fail(w->cluster, "a client was told that %.*s is %s, but it is %s", (int)xid.size,
                     (const char *)xid.base, status, t->status);
    if (decision == 2)
        asked_undone(w, xid, t->told);
    if (decision == 1 && (a == NULL || a->mode != ASKED_SAGA))
        asked_done(w, xid, t->told);
    t->begun_told = true;
    if (decision != 0 && !(asked_may_turn(a) && decision == 1))
        t->told = decision;
    if (ends(a, status))
        t->ended_told = status_name(status);
}

struct oracle_sight oracle_sight(struct world *w, struct assent_bytes xid)
{
    const struct txn_seen *t = txn_of(w->oracle, xid);
    return (struct oracle_sight){t->begun_told, t->told, t->ended_told};
}

void oracle_read(struct world *w, struct assent_bytes xid, const struct oracle_sight *before, int code,
                 const char *status)
{
    const struct asked *a = asked_of(w, xid);
    bool forced = a != NULL && a->forced;
    if (code == ASSENT_TXN_NOT_FOUND) {
        if (before->begun)
            cluster_fail(w->cluster,
                         "%.*s is not found by a read that began when its begin had been answered",
                         (int)xid.size, (const char *)xid.base);
        return;
    }
    if (code != ASSENT_OK) {
        cluster_fail(w->cluster, "a read of %.*s was refused with %d", (int)xid.size, (const char *)xid.base,
                     code);
        return;
    }
    int decision = decision_of(status);
    bool other = before->told != 0 && decision != before->told && strcmp(status, "SUSPENDED") != 0;
    if ((other && !forced) || (before->ended != NULL && strcmp(before->ended, status) != 0))
        cluster_fail(w->cluster, "%.*s was %s when a read began that says %s", (int)xid.size,
                     (const char *)xid.base,
                     before->ended != NULL ? before->ended
                     : before->told == 1   ? "to be committed"
                                           : "to be undone",
                     status);
    oracle_told(w, xid, status);
}

uint32_t oracle_unfinished(struct world *w)
{
    return w->oracle->unfinished;
}

void oracle_report(struct world *w, struct world_report *report)
{
    report->transactions = w->oracle->n;
    report->committed = w->oracle->ended[1];
    report->rolled_back = w->oracle->ended[2];
}

/* How its branches stand at the leader. */
static void print_branches(struct world *w, const struct txn_seen *t)
{
    static const struct command_session none = {.kind = SESSION_NONE};
    uint32_t node = cluster_leader(w->cluster);
    struct codec_writer query;
    struct codec_arena arena;
    struct result result;
    codec_writer_init(&query);
    command_begin(&query, QUERY_TXN, &none, 1);
    codec_text(&query, (struct assent_bytes){t->xid, t->size});
    codec_arena_init(&arena);
    if (node != 0 && clients_ask(w, node, &query, &arena, &result)) {
        const struct codec_node *rows = codec_get(result.data, "branches");
        for (uint32_t i = 0; i < codec_size(rows); i++) {
            const struct codec_node *row = codec_at(rows, i);
            struct assent_bytes name = codec_as_bytes(codec_get(row, "branch"));
            struct assent_bytes status = codec_as_bytes(codec_get(row, "status"));
            fprintf(stderr, "      %.*s %.*s, %llu attempts, due %lld\n", (int)name.size,
                    (const char *)name.base, (int)status.size, (const char *)status.base,
                    (unsigned long long)codec_as_uint(codec_get(row, "attempts")),
                    (long long)codec_as_int(codec_get(row, "nextDueUs")));
        }
    }
    codec_arena_close(&arena);
}

void oracle_print_unfinished(struct world *w)
{
    uint32_t shown = 0;
    for (uint32_t i = 0; i < SLOTS && shown < 10; i++) {
        for (const struct txn_seen *t = w->oracle->txns[i]; t != NULL && shown < 10; t = t->next) {
            if (t->status == NULL || t->final)
                continue;
            fprintf(stderr, "    %.*s is %s since %llu\n", (int)t->size, (const char *)t->xid, t->status,
                    (unsigned long long)t->position);
            print_branches(w, t);
            shown++;
        }
    }
}
