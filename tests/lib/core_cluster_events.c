/* Virtual time of core_cluster: the heap of events, and what each does. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core_cluster_private.h"

static bool before(const struct event *a, const struct event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->seq < b->seq;
}

struct event *schedule(struct cluster *c, uint64_t after_us, enum event_kind kind, const struct node *n)
{
    if (c->heap_n == c->heap_capacity) {
        c->heap_capacity = c->heap_capacity == 0 ? 256 : 2 * c->heap_capacity;
        c->heap = grown(c->heap, c->heap_capacity, sizeof *c->heap);
    }
    struct event event = {
        .at_us = c->now_us + after_us, .seq = c->seq++, .kind = kind, .node = n->id, .boot = n->boot};
    uint32_t at = c->heap_n++;
    while (at > 0 && before(&event, &c->heap[(at - 1) / 2])) {
        c->heap[at] = c->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    c->heap[at] = event;
    return &c->heap[at];
}

static struct event next_event(struct cluster *c)
{
    struct event first = c->heap[0];
    struct event last = c->heap[--c->heap_n];
    uint32_t at = 0;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= c->heap_n) {
            break;
        }
        if (child + 1 < c->heap_n && before(&c->heap[child + 1], &c->heap[child])) {
            child++;
        }
        if (!before(&c->heap[child], &last)) {
            break;
        }
        c->heap[at] = c->heap[child];
        at = child;
    }
    c->heap[at] = last;
    return first;
}

static void call_later(struct cluster *c, uint32_t id, uint64_t after_us, cluster_call_fn fn, void *data,
                       uint64_t arg)
{
    struct node nobody = {.id = id};
    struct event *e = schedule(c, after_us, EV_CALL, &nobody);
    e->call = fn;
    e->data = data;
    e->arg = arg;
}

void cluster_at(struct cluster *c, uint64_t after_us, cluster_call_fn fn, void *data, uint64_t arg)
{
    call_later(c, 0, after_us, fn, data, arg);
}

void cluster_at_node(struct cluster *c, uint32_t id, uint64_t after_us, cluster_call_fn fn, void *data,
                     uint64_t arg)
{
    call_later(c, id, after_us, fn, data, arg);
}

uint64_t cluster_now_us(const struct cluster *c)
{
    return c->now_us;
}

uint64_t cluster_trace(const struct cluster *c)
{
    return c->trace;
}

void event_free(struct event *e)
{
    free(e->bytes);
    e->bytes = NULL;
    manifest_free(&e->manifest);
}

/* The loop hears of commits: installed, recorded, appended, as disk.h says.  It may die between any two. */
static void on_report(struct cluster *c, struct node *n)
{
    struct disk_report r = n->disk.report;
    if (r.voted || r.failed) {
        n->disk.report.voted = false;
    } else if (n->waits) {
        n->disk.report.due = false; /* the loop stands still; the next commit's report says this too */
        return;
    }
    memset(&n->disk.report, 0, sizeof n->disk.report);
    if (r.failed) { /* the process ends: what a core waits for never comes */
        report_clear(&r);
        take_down(c, n, 0);
        app_close(c, n, false);
        return;
    }
    if (r.voted) {
        stand_voted(c, n);
    }
    if (r.has_installed && lives(n)) {
        struct event *e = schedule(c, between(c, STREAM_NODE, 100, 100000), EV_INSTALLED, n);
        e->manifest = manifest_copy(&r.installed);
    }
    for (uint32_t i = 0; i < r.recorded_n && lives(n); i++) {
        (void)core_snapshot_taken(n->core, local_ms(n), &r.recorded[i]);
    }
    if (r.appended != 0 && lives(n)) {
        (void)core_appended(n->core, local_ms(n), r.appended, r.appended_term);
    }
    report_clear(&r);
}

static void on_dumped(struct cluster *c, struct node *n, const struct snapshot_manifest *m)
{
    if (!lives(n) || n->disk.broken) {
        return;
    }
    struct disk_op *op = disk_queue(n);
    op->kind = OP_RECORD;
    op->manifest = manifest_copy(m);
    disk_kick(c, n);
}

static void on_fetched(struct cluster *c, struct node *n, uint32_t from, const struct snapshot_manifest *m)
{
    const struct node *source = node_of(c, from);
    if (!n->fetching || n->fetch.index != m->index || n->fetch.term != m->term) {
        return;
    }
    n->fetching = false;
    if (source->core == NULL || stands(source) || source->links[n->id].cut || n->links[from].cut ||
        !lives(n)) {
        return; /* broken off; the next offer goes on */
    }
    if (source->disk.has_snapshot && source->disk.snapshot.index == m->index) {
        if (c->o.app != NULL && c->o.app->fetched != NULL) {
            c->o.app->fetched(c->o.app->data, n->id, from, m->index);
        }
        if (lives(n)) {
            (void)core_staged(n->core, local_ms(n), m->index, m->term);
        }
    } else {
        (void)core_unstaged(n->core, local_ms(n), m->index, m->term);
    }
}

static void on_installed(struct cluster *c, struct node *n, const struct snapshot_manifest *m)
{
    if (!lives(n)) {
        return;
    }
    n->applied = m->index;
    n->hash = m->digest;
    if (c->o.app != NULL && c->o.app->restore != NULL) {
        c->o.app->restore(c->o.app->data, n->id, m->index);
    }
    if (lives(n)) {
        (void)core_installed(n->core, local_ms(n), m);
    }
}

static void on_tick(struct node *n, const struct event *e)
{
    if (n->tick_at_us != e->at_us) {
        return;
    }
    n->tick_at_us = 0;
    n->ticks++;
    (void)core_tick(n->core, local_ms(n));
}

/* Does it have to wait until the node goes on?  Disk and thaw go on without the loop. */
static bool waits(const struct node *n, enum event_kind kind)
{
    switch (kind) {
    case EV_TICK:
    case EV_THAW:
        return false;
    case EV_DISK:
    case EV_REPORT:
        return n->paused;
    default:
        return stands(n);
    }
}

static void happen_at(struct cluster *c, struct node *n, struct event *e)
{
    switch (e->kind) {
    case EV_TICK:
        if (stands(n)) {
            n->tick_at_us = 0; /* fires late, when it goes on */
            return;
        }
        on_tick(n, e);
        break;
    case EV_FRAME:
        link_deliver(c, n, e);
        break;
    case EV_DISK:
        disk_commit_ends(c, n);
        return;
    case EV_REPORT:
        on_report(c, n);
        break;
    case EV_FETCHED:
        on_fetched(c, n, e->from, &e->manifest);
        break;
    case EV_INSTALLED:
        on_installed(c, n, &e->manifest);
        break;
    case EV_DUMPED:
        on_dumped(c, n, &e->manifest);
        break;
    case EV_CALL:
    case EV_THAW:
        return; /* not here */
    }
    after(c, n);
}

/* True: the node has kept the event. */
static bool happen(struct cluster *c, struct event *e)
{
    c->trace = mix(c->trace ^ e->at_us ^ ((uint64_t)e->kind << 56) ^ ((uint64_t)e->node << 48) ^
                   ((uint64_t)e->size << 32));
    struct node *n = e->node != 0 ? node_of(c, e->node) : NULL;
    say_event(c, e);
    bool runs = n != NULL && n->core != NULL;
    if (e->kind == EV_THAW) {
        cluster_freeze_disk(c, e->node, false);
        return false;
    }
    if (runs && waits(n, e->kind) && (e->kind == EV_CALL || e->kind == EV_FRAME || e->boot == n->boot)) {
        stand_defer(n, e);
        return true;
    }
    if (e->kind == EV_CALL) {
        e->call(e->data, e->arg);
    } else if (runs && (e->kind == EV_FRAME || e->boot == n->boot)) {
        happen_at(c, n, e);
    }
    return false;
}

uint64_t cluster_now_ms(const struct cluster *c)
{
    return c->now_us / 1000;
}

static bool run_one(struct cluster *c, uint64_t until_us)
{
    if (c->failed || c->heap_n == 0 || c->heap[0].at_us > until_us) {
        return false;
    }
    struct event e = next_event(c);
    c->now_us = e.at_us;
    if (!happen(c, &e)) {
        event_free(&e);
    }
    return true;
}

void cluster_run(struct cluster *c, uint64_t ms)
{
    uint64_t until = c->now_us + ms * 1000;
    while (run_one(c, until)) {
    }
    c->now_us = until;
}

bool cluster_run_until(struct cluster *c, bool (*done)(struct cluster *c, void *arg), void *arg, uint64_t ms)
{
    uint64_t until = c->now_us + ms * 1000;
    while (!done(c, arg)) {
        if (!run_one(c, until)) {
            return false;
        }
    }
    return true;
}
