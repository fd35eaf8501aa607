/* Pure algebra of logical clocks; the manual is assent/clock.h. */
#include "assent/clock.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Lexicographic; of a name and its extension the shorter comes first. */
static int member_compare(struct assent_bytes a, struct assent_bytes b)
{
    size_t shorter = a.size < b.size ? a.size : b.size;
    int order = shorter == 0 ? 0 : memcmp(a.base, b.base, shorter);
    if (order != 0) {
        return order;
    }
    return (a.size > b.size) - (a.size < b.size);
}

static int counter_compare(const void *a, const void *b)
{
    const struct assent_counter *left = a, *right = b;
    return member_compare(left->member, right->member);
}

/* Place of the member, or where it would be inserted. */
static uint32_t find(const struct assent_vector *v, struct assent_bytes member, bool *found)
{
    uint32_t low = 0, high = v->n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = member_compare(v->entries[middle].member, member);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *found = false;
    return low;
}

bool assent_lamport_sync(uint64_t *local, uint64_t received)
{
    uint64_t larger = *local > received ? *local : received;
    if (larger == UINT64_MAX) {
        return false;
    }
    *local = larger + 1;
    return true;
}

bool assent_vector_sort(struct assent_vector *v)
{
    if (v->n > 1) {
        qsort(v->entries, v->n, sizeof v->entries[0], counter_compare);
    }
    for (uint32_t i = 0; i < v->n; i++) {
        if (v->entries[i].member.size == 0) {
            return false;
        }
        if (i > 0 && member_compare(v->entries[i - 1].member, v->entries[i].member) == 0) {
            return false;
        }
    }
    return true;
}

uint64_t assent_vector_get(const struct assent_vector *v, struct assent_bytes member)
{
    bool found;
    uint32_t i = find(v, member, &found);
    return found ? v->entries[i].count : 0;
}

bool assent_vector_set(struct assent_vector *v, struct assent_bytes member, uint64_t count)
{
    bool found;
    uint32_t i = find(v, member, &found);
    if (!found) {
        if (v->n >= v->capacity) {
            return false;
        }
        memmove(&v->entries[i + 1], &v->entries[i], (v->n - i) * sizeof v->entries[0]);
        v->entries[i].member = member;
        v->n++;
    }
    v->entries[i].count = count;
    return true;
}

void assent_vector_remove(struct assent_vector *v, struct assent_bytes member)
{
    bool found;
    uint32_t i = find(v, member, &found);
    if (found) {
        memmove(&v->entries[i], &v->entries[i + 1], (v->n - i - 1) * sizeof v->entries[0]);
        v->n--;
    }
}

bool assent_vector_tick(struct assent_vector *v, struct assent_bytes member)
{
    uint64_t count = assent_vector_get(v, member);
    return count < UINT64_MAX && assent_vector_set(v, member, count + 1);
}

/* Members of the union. */
static uint32_t union_count(const struct assent_vector *a, const struct assent_vector *b)
{
    uint32_t i = 0, j = 0, n = 0;
    while (i < a->n && j < b->n) {
        int order = member_compare(a->entries[i].member, b->entries[j].member);
        i += order <= 0;
        j += order >= 0;
        n++;
    }
    return n + (a->n - i) + (b->n - j);
}

bool assent_vector_merge(struct assent_vector *into, const struct assent_vector *from)
{
    uint32_t n = union_count(into, from);
    if (n > into->capacity) {
        return false;
    }
    /* From the back, so that no entry is overwritten before it was read. */
    uint32_t i = into->n, j = from->n, k = n;
    while (j > 0) {
        int order = i == 0 ? -1 : member_compare(into->entries[i - 1].member, from->entries[j - 1].member);
        struct assent_counter entry = order < 0 ? from->entries[j - 1] : into->entries[i - 1];
        if (order == 0 && from->entries[j - 1].count > entry.count) {
            entry.count = from->entries[j - 1].count;
        }
        i -= order >= 0;
        j -= order <= 0;
        into->entries[--k] = entry;
    }
    assert(k == i);
    into->n = n;
    return true;
}

enum assent_order assent_vector_compare(const struct assent_vector *a, const struct assent_vector *b)
{
    uint32_t i = 0, j = 0;
    bool less = false, more = false;
    while (i < a->n || j < b->n) {
        int order;
        if (i == a->n) {
            order = 1;
        } else if (j == b->n) {
            order = -1;
        } else {
            order = member_compare(a->entries[i].member, b->entries[j].member);
        }
        uint64_t left = order <= 0 ? a->entries[i].count : 0;
        uint64_t right = order >= 0 ? b->entries[j].count : 0;
        less |= left < right;
        more |= left > right;
        i += order <= 0;
        j += order >= 0;
    }
    if (less && more) {
        return ASSENT_CONCURRENT;
    }
    return less ? ASSENT_BEFORE : more ? ASSENT_AFTER : ASSENT_EQUAL;
}

const char *assent_order_name(enum assent_order order)
{
    switch (order) {
    case ASSENT_EQUAL:
        return "EQUAL";
    case ASSENT_BEFORE:
        return "BEFORE";
    case ASSENT_AFTER:
        return "AFTER";
    case ASSENT_CONCURRENT:
        return "CONCURRENT";
    }
    assert(false);
    return "";
}

const char *assent_version_order_name(enum assent_order order)
{
    switch (order) {
    case ASSENT_BEFORE:
        return "OLDER";
    case ASSENT_AFTER:
        return "NEWER";
    case ASSENT_EQUAL:
    case ASSENT_CONCURRENT:
        break;
    }
    return assent_order_name(order);
}
