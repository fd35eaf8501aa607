/* Virtual time of core_cluster: the heap of events, and what each does. */
#include <assert.h>

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

void cluster_at(struct cluster *c, uint64_t after_us, cluster_call_fn fn, void *data, uint64_t arg)
{
    struct node nobody = {.id = 0};
    struct event *e = schedule(c, after_us, EV_CALL, &nobody);
    e->call = fn;
    e->data = data;
    e->arg = arg;
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
    if (e->message != NULL) {
        message_free(e->message);
    }
    manifest_free(&e->manifest);
}

static void on_disk(struct cluster *c, struct node *n)
{
    struct disk *d = &n->disk;
    uint32_t done = d->committing;
    uint64_t appended = 0, appended_term = 0;
    d->committing = 0;
    if (d->frozen) {
        return; /* as if it had not begun */
    }
    for (uint32_t i = 0; i < done; i++) {
        struct disk_op *op = &d->queue[i];
        op_perform(c, n, op);
        if (op->kind == OP_APPEND) {
            appended = op->index + op->n - 1;
            appended_term = op->entries[op->n - 1]->term;
        }
        if (op->kind == OP_INSTALL) {
            struct event *e = schedule(c, between(c, 100, 100000), EV_INSTALLED, n);
            e->manifest = manifest_copy(&op->manifest);
        }
    }
    /* Reports follow the commit, appends first: the queue may grow meanwhile. */
    struct snapshot_manifest recorded[8];
    uint32_t recorded_n = 0;
    for (uint32_t i = 0; i < done && recorded_n < 8; i++) {
        if (d->queue[i].kind == OP_RECORD) {
            recorded[recorded_n++] = manifest_copy(&d->queue[i].manifest);
        }
    }
    disk_shift(d, done);
    if (appended != 0) {
        (void)core_appended(n->core, c->now_us / 1000, appended, appended_term);
    }
    for (uint32_t i = 0; i < recorded_n; i++) {
        (void)core_snapshot_taken(n->core, c->now_us / 1000, &recorded[i]);
        manifest_free(&recorded[i]);
    }
    disk_kick(c, n);
}

static void on_dumped(struct cluster *c, struct node *n, const struct snapshot_manifest *m)
{
    struct disk_op *op = disk_queue(n);
    op->kind = OP_RECORD;
    op->manifest = manifest_copy(m);
    disk_kick(c, n);
}

static void on_fetched(struct cluster *c, struct node *n, const struct snapshot_manifest *m)
{
    uint32_t from = (uint32_t)m->chunk_size;
    const struct node *source = node_of(c, from);
    if (!n->fetching || n->fetch.index != m->index || n->fetch.term != m->term) {
        return;
    }
    n->fetching = false;
    if (source->core == NULL || source->cut[n->id] || n->cut[from]) {
        return; /* broken off; the next offer goes on */
    }
    if (source->disk.has_snapshot && source->disk.snapshot.index == m->index) {
        if (c->o.app != NULL && c->o.app->fetched != NULL) {
            c->o.app->fetched(c->o.app->data, n->id, from, m->index);
        }
        (void)core_staged(n->core, c->now_us / 1000, m->index, m->term);
    } else {
        (void)core_unstaged(n->core, c->now_us / 1000, m->index, m->term);
    }
}

static void on_installed(struct cluster *c, struct node *n, const struct snapshot_manifest *m)
{
    n->applied = m->index;
    n->hash = m->digest;
    if (c->o.app != NULL && c->o.app->restore != NULL) {
        c->o.app->restore(c->o.app->data, n->id, m->index);
    }
    (void)core_installed(n->core, c->now_us / 1000, m);
}

static void happen(struct cluster *c, struct event *e)
{
    c->trace = mix(c->trace ^ e->at_us ^ ((uint64_t)e->kind << 56) ^ ((uint64_t)e->node << 48));
    say_event(c, e);
    if (e->kind == EV_CALL) {
        e->call(e->data, e->arg);
        return;
    }
    struct node *n = node_of(c, e->node);
    uint64_t now_ms = c->now_us / 1000;
    if (n->core == NULL || (e->kind != EV_MESSAGE && e->boot != n->boot)) {
        return;
    }
    switch (e->kind) {
    case EV_TICK:
        if (n->tick_at_us != e->at_us) {
            return;
        }
        n->tick_at_us = 0;
        n->ticks++;
        (void)core_tick(n->core, now_ms);
        break;
    case EV_MESSAGE:
        say_message(c, n->id, e->message);
        (void)core_receive(n->core, now_ms, e->message, node_of(c, (uint32_t)e->message->from)->address);
        break;
    case EV_DISK:
        on_disk(c, n);
        break;
    case EV_FETCHED:
        on_fetched(c, n, &e->manifest);
        break;
    case EV_INSTALLED:
        on_installed(c, n, &e->manifest);
        break;
    case EV_DUMPED:
        on_dumped(c, n, &e->manifest);
        break;
    case EV_CALL:
        break; /* above */
    }
    after(c, n);
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
    happen(c, &e);
    event_free(&e);
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
