/* What was asked for: a table by xid, and the rules that hold answers and effects against it. */
#include "asked.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clients.h"

#define SLOTS 4096u

struct asked_world {
    struct asked *slots[SLOTS];
    struct asked **all; /* in the order of their begin */
    uint32_t n, room;
};

struct asked_world *asked_world_new(void)
{
    struct asked_world *all = calloc(1, sizeof *all);
    assert(all != NULL);
    return all;
}

void asked_world_free(struct asked_world *all)
{
    for (uint32_t i = 0; i < all->n; i++)
        free(all->all[i]);
    free(all->all);
    free(all);
}

static struct asked **slot_of(struct world *w, struct assent_bytes xid)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < xid.size; i++)
        h = (h ^ xid.base[i]) * 16777619u;
    return &clients_asked(w)->slots[h % SLOTS];
}

struct asked *asked_of(struct world *w, struct assent_bytes xid)
{
    for (struct asked *a = *slot_of(w, xid); a != NULL; a = a->next)
        if (a->xid_size == xid.size && memcmp(a->xid, xid.base, xid.size) == 0)
            return a;
    return NULL;
}

struct asked *asked_new(struct world *w, struct assent_bytes xid, struct assent_bytes parent,
                        enum asked_mode mode, uint32_t branches, uint64_t timeout_ms)
{
    struct asked_world *all = clients_asked(w);
    struct asked **slot = slot_of(w, xid), *a = calloc(1, sizeof *a + xid.size + 1);
    assert(a != NULL && asked_of(w, xid) == NULL && branches <= ASKED_BRANCHES_MAX);
    if (all->n == all->room) {
        all->room = all->room * 2 + 64;
        all->all = realloc(all->all, all->room * sizeof(struct asked *));
        assert(all->all != NULL);
    }
    a->mode = mode;
    a->branches = branches;
    a->timeout_ms = timeout_ms;
    a->sent_us = cluster_now_us(w->cluster);
    a->xid_size = (uint32_t)xid.size;
    memcpy(a->xid, xid.base, xid.size);
    a->next = *slot;
    *slot = a;
    if (parent.size > 0) {
        a->parent = asked_of(w, parent);
        assert(a->parent != NULL);
        a->sibling = a->parent->child;
        a->parent->child = a;
    }
    a->serial = all->n;
    all->all[all->n++] = a;
    return a;
}

struct asked *asked_at(struct world *w, uint32_t n)
{
    return n < clients_asked(w)->n ? clients_asked(w)->all[n] : NULL;
}

uint32_t asked_count(struct world *w)
{
    return clients_asked(w)->n;
}

struct assent_bytes asked_xid(const struct asked *a)
{
    return (struct assent_bytes){(const uint8_t *)a->xid, a->xid_size};
}

/* "b0", "b1", ...; a saga's are "01", "02", ... */
uint32_t asked_branch(struct assent_bytes branch)
{
    if (branch.size != 2 || branch.base[1] < '0' || branch.base[1] > '9')
        return ASKED_BRANCHES_MAX;
    uint32_t digit = (uint32_t)(branch.base[1] - '0');
    uint32_t i = branch.base[0] == 'b' ? digit : digit - 1;
    return i < ASKED_BRANCHES_MAX ? i : ASKED_BRANCHES_MAX;
}

bool asked_may_turn(const struct asked *a)
{
    return a != NULL && a->parent != NULL && a->mode == ASKED_SAGA;
}

static bool anywhere_above(const struct asked *a, bool (*holds)(const struct asked *a))
{
    for (; a != NULL; a = a->parent)
        if (holds(a))
            return true;
    return false;
}

static bool was_forced(const struct asked *a)
{
    return a->forced;
}

static bool has_cause(const struct asked *a)
{
    return a->causes != 0;
}

void asked_undone(struct world *w, struct assent_bytes xid, int told)
{
    const struct asked *a = asked_of(w, xid);
    uint64_t now_us = cluster_now_us(w->cluster);
    if (a == NULL) {
        cluster_fail(w->cluster, "%.*s is undone, and nobody began it", (int)xid.size,
                     (const char *)xid.base);
        return;
    }
    if (told == 1 && !asked_may_turn(a) && !a->forced)
        cluster_fail(w->cluster, "%s is undone, and somebody was told that it is committed", a->xid);
    if (anywhere_above(a, has_cause))
        return;
    for (const struct asked *at = a; at != NULL; at = at->parent) {
        uint64_t error_us = 1000 + (uint64_t)(w->lead_us + w->lag_us); /* of the clocks */
        if (at->timeout_ms > 0 && now_us + error_us >= at->sent_us + at->timeout_ms * 1000)
            return;
    }
    cluster_fail(w->cluster,
                 "%s is undone %" PRIu64 " ms after its begin, for no cause (%" PRIu64 " ms were asked for)",
                 a->xid, (now_us - a->sent_us) / 1000, a->timeout_ms);
}

void asked_done(struct world *w, struct assent_bytes xid, int told)
{
    const struct asked *a = asked_of(w, xid);
    if (a == NULL) {
        cluster_fail(w->cluster, "%.*s is done, and nobody began it", (int)xid.size, (const char *)xid.base);
        return;
    }
    if (told == 2 && !a->forced)
        cluster_fail(w->cluster, "%s is done, and somebody was told that it is rolled back", a->xid);
    if (anywhere_above(a, was_forced))
        return;
    for (; a != NULL; a = a->parent)
        if (a->mode == ASKED_TCC && !a->commit)
            cluster_fail(w->cluster, "%.*s is done, and nobody has asked to commit %s", (int)xid.size,
                         (const char *)xid.base, a->xid);
}
