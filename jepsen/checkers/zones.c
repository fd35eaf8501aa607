/* Registers whose written values are distinct, in O(n log n): a write and the reads that returned its value
 * form a group.  F is the first finish in it, S the last start.  F < S: between them the value must be there
 * all the time, a forward zone; else the value need only be there for one moment in [S,F], a backward zone.
 * Atomic if and only if no read is of nothing, none ends before its write begins, no two forward zones
 * overlap, and no backward zone lies inside a forward one. Sources: Gibbons and Korach, Testing shared
 * memories (1997); Golab, Li and Shah, Analyzing consistency (2011). */
#include <stdlib.h>
#include <string.h>

#include "lin.h"

/* Ranks are shifted by one; the write of the initial value is at 0. */
struct member {
    int64_t value;
    uint64_t start, finish;
    uint32_t op; /* LIN_NEVER: the initial write */
    bool is_write;
};

struct zone {
    uint64_t low, high;
    uint32_t op; /* one of the group, for the report */
    bool forward;
};

static int by_value(const void *left, const void *right)
{
    const struct member *a = left, *b = right;
    if (a->value != b->value)
        return a->value < b->value ? -1 : 1;
    if (a->is_write != b->is_write)
        return a->is_write ? -1 : 1;
    return (a->op > b->op) - (a->op < b->op);
}

static int by_low(const void *left, const void *right)
{
    const struct zone *a = left, *b = right;
    return (a->low > b->low) - (a->low < b->low);
}

/* One member per operation and the initial write; false: not a history of writes and reads. */
static bool gather(const struct model *model, const struct lin_part *part, struct member *members)
{
    members[0] = (struct member){.value = model->initial.a, .op = LIN_NEVER, .is_write = true};
    for (uint32_t i = 0; i < part->n; i++) {
        const struct lin_op *op = &part->ops[i];
        int64_t written, observed;
        bool writes = model->written(&op->op, &written), reads = model->observed(&op->op, &observed);
        if (writes == reads)
            return false; /* compare-and-set or an assertion */
        members[i + 1] = (struct member){.value = writes ? written : observed,
                                         .start = (uint64_t)op->call + 1,
                                         .finish = op->ret == LIN_NEVER ? UINT64_MAX : (uint64_t)op->ret + 1,
                                         .op = i,
                                         .is_write = writes};
    }
    return true;
}

/* The zone of members[from..to).  INVALID: a read of nothing, or before its write.  UNKNOWN: two writes. */
static enum verdict_valid group(const struct member *members, size_t from, size_t to, struct zone *zone,
                                struct lin_stuck *stuck)
{
    uint64_t first_finish = UINT64_MAX, last_start = 0;
    for (size_t i = from; i < to; i++) {
        const struct member *m = &members[i];
        if (i > from && m->is_write)
            return UNKNOWN;
        if (!members[from].is_write || m->finish < members[from].start) {
            stuck->at = m->op;
            return INVALID;
        }
        first_finish = m->finish < first_finish ? m->finish : first_finish;
        last_start = m->start > last_start ? m->start : last_start;
    }
    zone->forward = first_finish < last_start;
    zone->low = zone->forward ? first_finish : last_start;
    zone->high = zone->forward ? last_start : first_finish;
    zone->op = members[to - 1].op;
    return VALID;
}

/* Zones in order of their low end: forward ones must not overlap, backward ones not lie inside a forward one.
 */
static enum verdict_valid sweep(const struct zone *zones, size_t n, struct lin_stuck *stuck)
{
    /* Forward zones that passed so far are disjoint, so only the latest can hold a zone that begins later. */
    const struct zone *forward = NULL;
    for (size_t i = 0; i < n; i++) {
        bool begins_inside = forward != NULL && zones[i].low < forward->high;
#ifdef JEPSEN_BREAK_ZONES
        begins_inside = begins_inside && zones[i].forward; /* a planted fault: backward zones are forgotten */
#endif
        if (begins_inside && (zones[i].forward || zones[i].high < forward->high)) {
            stuck->at = zones[i].op;
            stuck->before = forward->op;
            return INVALID;
        }
        if (zones[i].forward)
            forward = &zones[i];
    }
    return VALID;
}

static enum verdict_valid judge(const struct model *model, const struct lin_part *part,
                                struct member *members, struct zone *zones, struct lin_stuck *stuck,
                                const char **why)
{
    if (!gather(model, part, members)) {
        *why = "zones know writes and reads only";
        return UNKNOWN;
    }
    size_t n = (size_t)part->n + 1, n_zones = 0;
    qsort(members, n, sizeof *members, by_value);
    /* Two writes of one value make the method inapplicable, whatever else is wrong: look for them first. */
    for (size_t i = 1; i < n; i++)
        if (members[i].is_write && members[i].value == members[i - 1].value) {
            *why = "a value was written twice: zones need distinct ones";
            return UNKNOWN;
        }
    for (size_t from = 0, to; from < n; from = to) {
        for (to = from + 1; to < n && members[to].value == members[from].value;)
            to++;
        if (to == from + 1 && members[from].is_write && members[from].finish == UINT64_MAX)
            continue; /* it may never have happened, and nobody saw it */
        enum verdict_valid valid = group(members, from, to, &zones[n_zones], stuck);
        if (valid != VALID)
            return valid;
        n_zones++;
    }
    qsort(zones, n_zones, sizeof *zones, by_low);
    return sweep(zones, n_zones, stuck);
}

enum verdict_valid zones_check(const struct model *model, const struct lin_part *part,
                               const struct lin_budget *budget, struct lin_stuck *stuck, const char **why)
{
    (void)budget;
    if (model != &model_register && model != &model_cas_register) { /* versions are more than values */
        *why = "zones know plain registers only";
        return UNKNOWN;
    }
    struct member *members = malloc(((size_t)part->n + 1) * sizeof *members);
    struct zone *zones = malloc(((size_t)part->n + 1) * sizeof *zones);
    enum verdict_valid valid = UNKNOWN;
    *why = "out of memory";
    if (members != NULL && zones != NULL)
        valid = judge(model, part, members, zones, stuck, why);
    free(members);
    free(zones);
    return valid;
}
