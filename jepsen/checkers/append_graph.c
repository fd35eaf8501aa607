/* Dependencies between transactions, and cycles in them.  Components by Tarjan's algorithm without recursion;
 * in each component, a shortest cycle through an edge of the kind that makes a class. */
#include "append_graph.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum edge_type { WW, WR, RW, PROCESS, REALTIME };

#define BIT(type)  (1u << (type))
#define EFFORT_MAX 200000000u /* edges looked at; beyond it a component's cycle has no class */

struct edge {
    uint32_t from, to;
    enum edge_type type;
};

struct graph {
    const struct facts *f;
    struct edge *edges;
    size_t n, capacity;
    size_t *first; /* per transaction: its first edge once they are sorted */
    uint32_t *component;
    /* Breadth-first search over (transaction, was the latest edge rw): state 2t + flag */
    uint32_t *queue, *mark;
    size_t *through; /* state -> the edge that led there */
    uint32_t *parent;
    uint32_t round;
    uint64_t effort;
};

static void *room(size_t n, size_t size)
{
    void *p = calloc(n + 1, size);
    assert(p != NULL);
    return p;
}

static void add_edge(struct graph *g, uint32_t from, uint32_t to, enum edge_type type)
{
    if (from == to || g->f->txns[from].status == OP_FAIL || g->f->txns[to].status == OP_FAIL)
        return;
    if (g->n == g->capacity) {
        g->capacity = g->capacity == 0 ? 1024 : 2 * g->capacity;
        g->edges = realloc(g->edges, g->capacity * sizeof *g->edges);
        assert(g->edges != NULL);
    }
    g->edges[g->n++] = (struct edge){from, to, type};
}

static int64_t at(const json_t *list, size_t i)
{
    return json_integer_value(json_array_get(list, i));
}

static uint32_t appender(const struct facts *f, size_t key, int64_t value)
{
    const struct appended *a = facts_appender(f, key, value);
    return a == NULL ? NO_TXN : a->txn;
}

/* Appends that no read saw come after all that were seen. */
static bool observed(const struct appended *a, const int64_t *sorted, size_t n)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (sorted[middle] < a->value)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && sorted[low] == a->value;
}

static int by_number(const void *left, const void *right)
{
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

/* The appends of one key are f->appends[from..to), its reads f->reads[reads_from..reads_to). */
static void add_key_edges(struct graph *g, size_t key, size_t from, size_t to, size_t reads_from,
                          size_t reads_to)
{
    const struct facts *f = g->f;
    const json_t *longest = f->longest[key];
    size_t n = json_array_size(longest), n_unseen = 0;
    uint32_t *unseen = room(to - from, sizeof *unseen);
    int64_t *sorted = room(n, sizeof *sorted);
    for (size_t i = 0; i < n; i++)
        sorted[i] = at(longest, i);
    qsort(sorted, n, sizeof *sorted, by_number);
    for (size_t i = from; i < to; i++)
        if (!observed(&f->appends[i], sorted, n))
            unseen[n_unseen++] = f->appends[i].txn;
    for (size_t i = 0; i < n; i++) {
        uint32_t before = appender(f, key, at(longest, i));
        uint32_t after = i + 1 < n ? appender(f, key, at(longest, i + 1)) : NO_TXN;
        if (before != NO_TXN && after != NO_TXN)
            add_edge(g, before, after, WW);
        for (size_t u = 0; i + 1 == n && before != NO_TXN && u < n_unseen; u++)
            add_edge(g, before, unseen[u], WW);
    }
    for (size_t i = reads_from; i < reads_to; i++) {
        const struct list_read *r = &f->reads[i];
        size_t length = json_array_size(r->list);
        uint32_t last = length == 0 ? NO_TXN : appender(f, key, at(r->list, length - 1));
        if (last != NO_TXN)
            add_edge(g, last, r->txn, WR);
        uint32_t next = length < n ? appender(f, key, at(longest, length)) : NO_TXN;
        if (next != NO_TXN && (length == 0 || at(longest, length - 1) == at(r->list, length - 1)))
            add_edge(g, r->txn, next, RW);
        bool whole = length == n && (n == 0 || at(longest, n - 1) == at(r->list, n - 1));
        for (size_t u = 0; whole && u < n_unseen; u++)
            add_edge(g, r->txn, unseen[u], RW);
    }
    free(sorted);
    free(unseen);
}

static void add_data_edges(struct graph *g)
{
    const struct facts *f = g->f;
    size_t a = 0, r = 0; /* both arrays are in order of key */
    for (size_t key = 0; key < f->keys; key++) {
        size_t a_from = a, r_from = r;
        while (a < f->n_appends && f->appends[a].key == key)
            a++;
        while (r < f->n_reads && f->reads[r].key == key)
            r++;
        add_key_edges(g, key, a_from, a, r_from, r);
    }
}

/* Orders of processes and of real time
 * ---------------------------------------------------------------------------- */

struct by_process {
    int64_t process;
    uint32_t txn;
};

static int by_process(const void *left, const void *right)
{
    const struct by_process *a = left, *b = right;
    if (a->process != b->process)
        return a->process < b->process ? -1 : 1;
    return (a->txn > b->txn) - (a->txn < b->txn);
}

static void add_process_edges(struct graph *g)
{
    const struct facts *f = g->f;
    struct by_process *order = room(f->n, sizeof *order);
    size_t n = 0;
    for (uint32_t i = 0; i < f->n; i++)
        if (f->txns[i].status != OP_FAIL)
            order[n++] = (struct by_process){f->txns[i].invoke->process, i};
    qsort(order, n, sizeof *order, by_process);
    for (size_t i = 1; i < n; i++)
        if (order[i].process == order[i - 1].process)
            add_edge(g, order[i - 1].txn, order[i].txn, PROCESS);
    free(order);
}

static int by_end(const void *left, const void *right)
{
    const struct txn *a = *(struct txn *const *)left, *b = *(struct txn *const *)right;
    return (a->done->index > b->done->index) - (a->done->index < b->done->index);
}

/* Transitively reduced: a frontier of ok completions none of which precedes another. */
static void add_realtime_edges(struct graph *g)
{
    const struct facts *f = g->f;
    struct txn **ends = room(f->n, sizeof *ends);
    uint32_t *frontier = room(f->n, sizeof *frontier);
    size_t n_ends = 0, next_end = 0, n_frontier = 0;
    for (uint32_t i = 0; i < f->n; i++)
        if (f->txns[i].status == OP_OK)
            ends[n_ends++] = &f->txns[i];
    qsort(ends, n_ends, sizeof(struct txn *), by_end);
    for (uint32_t i = 0; i < f->n; i++) { /* in order of invocation */
        for (; next_end < n_ends && ends[next_end]->done->time_ns < f->txns[i].invoke->time_ns; next_end++) {
            size_t kept = 0;
            for (size_t j = 0; j < n_frontier; j++)
                if (f->txns[frontier[j]].done->time_ns >= ends[next_end]->invoke->time_ns)
                    frontier[kept++] = frontier[j];
            frontier[kept++] = (uint32_t)(ends[next_end] - f->txns);
            n_frontier = kept;
        }
        for (size_t j = 0; j < n_frontier; j++)
            add_edge(g, frontier[j], i, REALTIME);
    }
    free(frontier);
    free(ends);
}

static int by_from(const void *left, const void *right)
{
    const struct edge *a = left, *b = right;
    if (a->from != b->from)
        return a->from < b->from ? -1 : 1;
    if (a->to != b->to)
        return a->to < b->to ? -1 : 1;
    return (int)a->type - (int)b->type;
}

static void sort_edges(struct graph *g)
{
    if (g->n > 0)
        qsort(g->edges, g->n, sizeof *g->edges, by_from);
    g->first = room((size_t)g->f->n + 1, sizeof *g->first);
    for (size_t i = 0; i < g->n; i++)
        g->first[g->edges[i].from + 1]++;
    for (uint32_t i = 0; i < g->f->n; i++)
        g->first[i + 1] += g->first[i];
}

/* Components
 * ------------------------------------------------------------------------------------------------------ */

struct tarjan {
    uint32_t *index, *low, *stack, *path;
    size_t *next;
    bool *on_stack;
};

/* Numbers the components over edges of `types`; true: one has more than one member. */
static bool components(struct graph *g, unsigned types)
{
    uint32_t n = g->f->n, counter = 0, component = 0;
    struct tarjan t = {room(n, 4),           room(n, 4), room(n, 4), room(n, 4), room(n, sizeof(size_t)),
                       room(n, sizeof(bool))};
    size_t depth = 0, stacked = 0;
    bool found = false;
    for (uint32_t root = 0; root < n; root++) {
        if (t.index[root] != 0)
            continue;
        t.path[depth++] = root;
        while (depth > 0) {
            uint32_t v = t.path[depth - 1];
            if (t.index[v] == 0) {
                t.index[v] = t.low[v] = ++counter;
                t.stack[stacked++] = v;
                t.on_stack[v] = true;
                t.next[v] = g->first[v];
            }
            bool descended = false;
            for (; t.next[v] < g->first[v + 1] && !descended; t.next[v]++) {
                const struct edge *e = &g->edges[t.next[v]];
                if ((types & BIT(e->type)) == 0)
                    continue;
                if (t.index[e->to] == 0) {
                    t.path[depth++] = e->to;
                    descended = true;
                } else if (t.on_stack[e->to] && t.index[e->to] < t.low[v]) {
                    t.low[v] = t.index[e->to];
                }
            }
            if (descended)
                continue;
            depth--;
            if (depth > 0 && t.low[v] < t.low[t.path[depth - 1]])
                t.low[t.path[depth - 1]] = t.low[v];
            if (t.low[v] != t.index[v])
                continue;
            uint32_t member;
            do {
                member = t.stack[--stacked];
                t.on_stack[member] = false;
                g->component[member] = component;
                found = found || member != v;
            } while (member != v);
            component++;
        }
    }
    free(t.index);
    free(t.low);
    free(t.stack);
    free(t.path);
    free(t.next);
    free(t.on_stack);
    return found;
}

/* Cycles
 * ----------------------------------------------------------------------------------------------------------
 */

/* A shortest way from the end of `start` back to its beginning over edges of `types`, within the component.
 * With `apart` no two rw edges follow each other, the closing one included.  Fills `cycle` (edges, start
 * first); 0: none. */
static size_t find_cycle(struct graph *g, size_t start, unsigned types, bool apart, size_t *cycle,
                         size_t cycle_max)
{
    const struct edge *s = &g->edges[start];
    uint32_t first = 2 * s->to + (s->type == RW && apart ? 1 : 0), goal = UINT32_MAX;
    size_t head = 0, tail = 0;
    g->round++;
    g->queue[tail++] = first;
    g->mark[first] = g->round;
    g->parent[first] = UINT32_MAX;
    while (head < tail && goal == UINT32_MAX) {
        uint32_t state = g->queue[head++];
        for (size_t i = g->first[state / 2]; i < g->first[state / 2 + 1] && goal == UINT32_MAX; i++) {
            const struct edge *e = &g->edges[i];
            g->effort++;
            if ((types & BIT(e->type)) == 0 || g->component[e->to] != g->component[s->from] ||
                (apart && e->type == RW && state % 2 == 1))
                continue;
            uint32_t next = 2 * e->to + (e->type == RW && apart ? 1 : 0);
            if (g->mark[next] == g->round)
                continue;
            g->mark[next] = g->round;
            g->parent[next] = state;
            g->through[next] = i;
            g->queue[tail++] = next;
            if (e->to == s->from && !(apart && s->type == RW && next % 2 == 1))
                goal = next;
        }
    }
    if (goal == UINT32_MAX)
        return 0;
    size_t n = 1;
    for (uint32_t state = goal; state != first; state = g->parent[state])
        n++;
    if (n > cycle_max)
        return 0;
    size_t place = n;
    for (uint32_t state = goal; state != first; state = g->parent[state])
        cycle[--place] = g->through[state];
    cycle[0] = start;
    return n;
}

/* The class of a cycle, from its edges alone. */
static unsigned classify(const struct graph *g, const size_t *cycle, size_t n)
{
    unsigned rw = 0, wr = 0, adjacent = 0, process = 0, realtime = 0;
    for (size_t i = 0; i < n; i++) {
        enum edge_type type = g->edges[cycle[i]].type, next = g->edges[cycle[(i + 1) % n]].type;
        rw += type == RW ? 1 : 0;
        wr += type == WR ? 1 : 0;
        adjacent += type == RW && next == RW && n > 1 ? 1 : 0;
        process += type == PROCESS ? 1 : 0;
        realtime += type == REALTIME ? 1 : 0;
    }
    unsigned base = rw > 1    ? (adjacent > 0 ? APPEND_G2_ITEM : APPEND_G_NONADJACENT)
                    : rw == 1 ? APPEND_G_SINGLE
                    : wr > 0  ? APPEND_G1C
                              : APPEND_G0;
    return base + (realtime > 0 ? 10u : process > 0 ? 5u : 0u);
}

/* Why an edge holds, from the raw history: the last line of defence against a wrong search. */
static bool derive(const struct graph *g, const struct edge *e, char *out, size_t out_size)
{
    const struct facts *f = g->f;
    const struct txn *a = &f->txns[e->from], *b = &f->txns[e->to];
    unsigned long long from = (unsigned long long)a->invoke->index, to = (unsigned long long)b->invoke->index;
    if (e->type == PROCESS) {
        snprintf(out, out_size, "#%llu before #%llu: process %lld did one after the other", from, to,
                 (long long)a->invoke->process);
        return a->invoke->process == b->invoke->process && a->done != NULL &&
               a->done->index < b->invoke->index;
    }
    if (e->type == REALTIME) {
        snprintf(out, out_size, "#%llu before #%llu: it ended before the other began", from, to);
        return a->done != NULL && a->done->type == OP_OK && a->done->time_ns < b->invoke->time_ns;
    }
    for (size_t i = 0; e->type != WW && i < f->n_reads; i++) {
        const struct list_read *r = &f->reads[i];
        size_t length = json_array_size(r->list), n = json_array_size(f->longest[r->key]);
        if (e->type == WR && r->txn == e->to && length > 0 &&
            appender(f, r->key, at(r->list, length - 1)) == e->from) {
            snprintf(out, out_size, "#%llu before #%llu: that saw its append of %lld", from, to,
                     (long long)at(r->list, length - 1));
            return true;
        }
        if (e->type != RW || r->txn != e->from)
            continue;
        for (size_t k = 0; k < f->n_appends; k++) {
            const struct appended *x = &f->appends[k];
            if (x->txn != e->to || x->key != r->key)
                continue;
            bool seen = false, unseen = true;
            for (size_t p = 0; p < n; p++) {
                seen = seen || (p == length && at(f->longest[r->key], p) == x->value);
                unseen = unseen && at(f->longest[r->key], p) != x->value;
            }
            if (seen || (unseen && length == n)) {
                snprintf(out, out_size, "#%llu before #%llu: it did not see the append of %lld", from, to,
                         (long long)x->value);
                return true;
            }
        }
    }
    for (size_t k = 0; e->type == WW && k < f->n_appends; k++) {
        const struct appended *x = &f->appends[k];
        const json_t *longest = f->longest[x->key];
        for (size_t place = 1; x->txn == e->to && place < json_array_size(longest); place++)
            if (at(longest, place) == x->value && appender(f, x->key, at(longest, place - 1)) == e->from) {
                snprintf(out, out_size, "#%llu before #%llu: that appended %lld after its %lld", from, to,
                         (long long)x->value, (long long)at(longest, place - 1));
                return true;
            }
        /* Or nobody saw it, and it comes after all that was seen. */
        size_t n = json_array_size(longest);
        bool unseen = x->txn == e->to && n > 0;
        for (size_t place = 0; unseen && place < n; place++)
            unseen = at(longest, place) != x->value;
        if (unseen && appender(f, x->key, at(longest, n - 1)) == e->from) {
            snprintf(out, out_size, "#%llu before #%llu: its %lld was seen, that appended the unseen %lld",
                     from, to, (long long)at(longest, n - 1), (long long)x->value);
            return true;
        }
    }
    return false;
}

static void report_cycle(const struct graph *g, const size_t *cycle, size_t n, struct append_report *report)
{
    char text[512] = "";
    unsigned class = classify(g, cycle, n);
    if ((report->found >> class & 1) != 0)
        return;
    for (size_t i = 0; i < n; i++) {
        char reason[160];
        bool derived = derive(g, &g->edges[cycle[i]], reason, sizeof reason);
        assert(derived); /* else this checker is wrong */
        (void)derived;
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s%s", i == 0 ? "" : "; ", reason);
    }
    report_add(report, class, "%s", text);
}

/* What makes a class: the edge it must have, those it may have. */
static const struct {
    unsigned must, may;
    bool apart;
} classes[] = {
    {BIT(WW), BIT(WW), false},
    {BIT(WR), BIT(WW) | BIT(WR), false},
    {BIT(RW), BIT(WW) | BIT(WR), false},
    {BIT(RW), BIT(WW) | BIT(WR) | BIT(RW), true},
    {BIT(RW), BIT(WW) | BIT(WR) | BIT(RW), false},
};

/* One rung of the ladder: data edges plus those of `order`.  False: too much effort. */
static bool search_class(struct graph *g, size_t class, unsigned order, size_t *cycle,
                         struct append_report *report)
{
    uint32_t before = report->found;
    if (!components(g, classes[class].must | classes[class].may | order))
        return true;
    for (size_t i = 0; i < g->n && report->found == before; i++) {
        const struct edge *e = &g->edges[i];
        if ((classes[class].must & BIT(e->type)) == 0 || g->component[e->from] != g->component[e->to])
            continue;
        size_t n = find_cycle(g, i, classes[class].may | order, classes[class].apart, cycle, g->f->n);
        if (n > 0)
            report_cycle(g, cycle, n, report);
        if (g->effort > EFFORT_MAX)
            return report->found >> APPEND_G0 != 0;
    }
    return true;
}

int graph_analyse(const struct facts *f, struct append_report *report, char *err, size_t err_size)
{
    static const unsigned orders[] = {0, BIT(PROCESS), BIT(PROCESS) | BIT(REALTIME)};
    struct graph g = {.f = f};
    int rv = 0;
    add_data_edges(&g);
    report->edges = g.n;
    add_process_edges(&g);
    add_realtime_edges(&g);
    sort_edges(&g);
    size_t states = 2 * (size_t)f->n;
    g.component = room(f->n, sizeof *g.component);
    g.queue = room(states, sizeof *g.queue);
    g.mark = room(states, sizeof *g.mark);
    g.parent = room(states, sizeof *g.parent);
    g.through = room(states, sizeof *g.through);
    size_t *cycle = room(f->n, sizeof *cycle);
    for (size_t o = 0; o < sizeof orders / sizeof orders[0] && rv == 0; o++)
        for (size_t c = 0; c < sizeof classes / sizeof classes[0] && rv == 0; c++)
            if (!search_class(&g, c, orders[o], cycle, report)) {
                snprintf(err, err_size,
                         "transactions depend on each other in a circle; no class was found in time");
                rv = -1;
            }
    free(cycle);
    free(g.through);
    free(g.parent);
    free(g.mark);
    free(g.queue);
    free(g.component);
    free(g.first);
    free(g.edges);
    return rv;
}
