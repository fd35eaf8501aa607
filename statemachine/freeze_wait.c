/* Deadlocks: before a transaction begins to wait, the graph of who waits for whom is searched for a way back
 * to it.
 *
 * An edge leads from a waiter to every holder it conflicts with and to every conflicting waiter in front of
 * it. Granting from the front of a queue, timeouts and releases only take edges away or replace one by
 * another that led to the same transaction, and an upgrade goes in front of waiters that wait for it already;
 * so a cycle can only be closed by the newcomer's own edges, and looking when somebody begins to wait finds
 * every one.  The newcomer is the victim: it has been promised nothing yet, and the choice is the same on
 * every replica.
 *
 * Nested transactions wait for each other without a freeze, and these edges count too: one that is unfinished
 * lets go only after its undecided children have decided, and a nested TCC or XA only with the one around it.
 * They are there from a child's begin on, when it neither holds nor waits, so they close no cycle by
 * themselves. Source: Holt, Some Deadlock Properties of Computer Systems (1972). */
#include <stdlib.h>

#include "freeze.h"
#include "nest.h"

#define SLOTS (2 * FREEZE_SEARCH_ROWS_MAX) /* a power of two */

struct seen {
    uint8_t size, xid[STORED_XID_BYTES_MAX];
};

/* A wait whose edges were followed.  They include those of every wait of the same line in front of it whose
 * mode is not stronger: a line of a hundred is looked at once, not a hundred times. */
struct line {
    struct store_key resource;
    enum freeze_mode mode;
    enum freeze_rank rank;
    uint64_t ticket;
};

struct search {
    struct store_txn *store;
    struct assent_bytes origin;
    struct seen *seen; /* in order of discovery */
    uint32_t *todo;    /* of `seen`, not followed yet; the newest goes first, so of a line its end */
    uint32_t todo_n;
    uint32_t n, room, rows;
    uint32_t *slot; /* of seen + 1, by hash; 0: free */
    struct line *lines;
    uint32_t lines_n, lines_room;
    bool found;
};

static_assert(STORED_XID_BYTES_MAX <= UINT8_MAX, "seen.size holds an xid's size");
static_assert((SLOTS & (SLOTS - 1)) == 0, "a mask picks the slot");

/* FNV-1a; which slot an xid takes is not visible outside. */
static uint32_t slot_of(struct assent_bytes xid)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < xid.size; i++)
        h = (h ^ xid.base[i]) * 16777619u;
    return h & (SLOTS - 1);
}

static void reach(struct search *s, struct assent_bytes xid)
{
    if (bytes_equal(xid, s->origin)) {
        s->found = true;
        return;
    }
    uint32_t at = slot_of(xid);
    for (; s->slot[at] != 0; at = (at + 1) & (SLOTS - 1)) {
        const struct seen *there = &s->seen[s->slot[at] - 1];
        if (bytes_equal(xid, (struct assent_bytes){there->xid, there->size}))
            return;
    }
    if (s->n == s->room) {
        s->room = s->room == 0 ? 16 : 2 * s->room;
        s->seen = realloc(s->seen, s->room * sizeof(*s->seen));
        s->todo = realloc(s->todo, s->room * sizeof(*s->todo));
        assert(s->seen != NULL && s->todo != NULL);
    }
    struct seen *new = &s->seen[s->n++];
    new->size = (uint8_t)xid.size;
    memcpy(new->xid, xid.base, xid.size);
    s->slot[at] = s->n;
    s->todo[s->todo_n++] = s->n - 1;
}

static bool may_read(struct search *s)
{
    return !s->found && s->rows++ < FREEZE_SEARCH_ROWS_MAX;
}

/* Were the edges of this wait followed already?  If not, they are going to be.  An upgrade holds the resource
 * itself and has no edge to that, so it stands for nobody else. */
static bool line_done(struct search *s, struct assent_bytes resource, enum freeze_mode mode,
                      enum freeze_rank rank, uint64_t ticket)
{
    for (uint32_t i = 0; i < s->lines_n; i++) {
        const struct line *l = &s->lines[i];
        if (l->mode >= mode && (l->rank > rank || (l->rank == rank && l->ticket >= ticket)) &&
            bytes_equal(key_bytes(&l->resource), resource))
            return true;
    }
    if (rank == FREEZE_RANK_UPGRADE)
        return false;
    if (s->lines_n == s->lines_room) {
        s->lines_room = s->lines_room == 0 ? 4 : 2 * s->lines_room;
        s->lines = realloc(s->lines, s->lines_room * sizeof(*s->lines));
        assert(s->lines != NULL);
    }
    struct line *new = &s->lines[s->lines_n++];
    *new = (struct line){.mode = mode, .rank = rank, .ticket = ticket};
    key_tail(&new->resource, resource);
    return false;
}

/* Everybody that a waiter at (rank, ticket) of the resource waits for, save itself. */
static void reach_from(struct search *s, struct assent_bytes waiter, struct assent_bytes resource,
                       enum freeze_mode mode, enum freeze_rank rank, uint64_t ticket)
{
    struct freeze_walk w;
    struct assent_bytes tail, value;
    if (line_done(s, resource, mode, rank, ticket))
        return;
    freeze_walk_open(&w, s->store, FREEZE_KEY_HOLD, resource);
    while (may_read(s) && freeze_walk_next(&w, &tail, &value))
        if (!bytes_equal(tail, waiter) && freeze_conflict(mode, freeze_hold_decode(value).mode))
            reach(s, tail);
    freeze_walk_close(&w);
    freeze_walk_open(&w, s->store, FREEZE_KEY_WAIT, resource);
    while (may_read(s) && freeze_walk_next(&w, &tail, &value)) {
        struct freeze_wait ahead = freeze_wait_decode(tail, value);
        if (ahead.rank > rank || (ahead.rank == rank && ahead.ticket >= ticket))
            break;
        if (freeze_conflict(mode, ahead.mode))
            reach(s, ahead.xid);
    }
    freeze_walk_close(&w);
}

/* Whose decision it waits for before it lets anything go. */
static void reach_relatives(struct search *s, struct assent_bytes xid)
{
    struct txn t, child;
    if (!txn_load(s->store, xid, &t))
        return;
    if (t.mode != TXN_MODE_SAGA && nest_inside(s->store, &t) && may_read(s))
        reach(s, t.parent);
    if (t.children == 0 || t.open_children == 0)
        return;
    struct store_key *list = malloc(t.children * sizeof(*list));
    assert(list != NULL);
    uint32_t n = nest_children(s->store, xid, list, t.children);
    for (uint32_t i = 0; i < n && may_read(s); i++)
        if (txn_load(s->store, key_bytes(&list[i]), &child) && !txn_ended(child.status) &&
            child.status != TXN_PREPARING)
            reach(s, key_bytes(&list[i]));
    free(list);
}

static void reach_from_txn(struct search *s, struct assent_bytes xid)
{
    struct freeze_walk w;
    struct assent_bytes resource, value;
    reach_relatives(s, xid);
    if (freeze_count_load(s->store, xid).waits == 0)
        return;
    freeze_walk_open(&w, s->store, FREEZE_KEY_OF, xid);
    while (may_read(s) && freeze_walk_next(&w, &resource, &value)) {
        struct freeze_of of = freeze_of_decode(value);
        if ((of.state & FREEZE_WAITING) == 0)
            continue;
        struct freeze_wait wait = freeze_wait_load(s->store, resource, of.rank, of.ticket);
        reach_from(s, xid, resource, wait.mode, of.rank, of.ticket);
    }
    freeze_walk_close(&w);
}

int freeze_may_wait(struct apply *a, struct assent_bytes xid, struct assent_bytes resource,
                    enum freeze_mode mode, enum freeze_rank rank)
{
    struct search s = {.store = a->txn, .origin = xid, .slot = calloc(SLOTS, sizeof(uint32_t))};
    assert(s.slot != NULL);
    reach_from(&s, xid, resource, mode, rank, UINT64_MAX);
    while (s.todo_n > 0 && !s.found) {
        struct seen next = s.seen[s.todo[--s.todo_n]]; /* the list may move */
        reach_from_txn(&s, (struct assent_bytes){next.xid, next.size});
    }
    bool found = s.found, all = s.rows <= FREEZE_SEARCH_ROWS_MAX;
    free(s.seen);
    free(s.todo);
    free(s.lines);
    free(s.slot);
    if (found)
        return refuse(a, ASSENT_DEADLOCK, "those it would wait for wait for this transaction");
    if (!all)
        return refuse(a, ASSENT_LIMIT, "too many transactions wait for each other");
    return ASSENT_OK;
}
