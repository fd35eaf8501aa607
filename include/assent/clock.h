/* Pure algebra of logical clocks: no server, no memory allocation, no clock of the machine.
 *
 * A *vector* is a sorted array of (member, counter); an absent member counts as 0.  The same functions serve
 * the state machine and applications.  Sources: Lamport 1978; Fidge and Mattern 1988/89 (vector clocks);
 * Parker et al. 1983 (version vectors); Preguica et al. 2010 (dotted version vectors). */
#ifndef ASSENT_CLOCK_H
#define ASSENT_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "assent/types.h"

/* How two stamps stand to each other.  Of versions, BEFORE reads OLDER and AFTER reads NEWER. */
enum assent_order {
    ASSENT_EQUAL,
    ASSENT_BEFORE,     /* a happened before b: every counter of a is <= b's, one is < */
    ASSENT_AFTER,      /* b happened before a */
    ASSENT_CONCURRENT, /* neither */
};

/* One entry of a vector.  `member` borrows its name from the caller. */
struct assent_counter {
    struct assent_bytes member;
    uint64_t count;
};

/* A vector: `entries` sorted by member (memcmp, shorter first), no duplicates, `n` used of `capacity`. */
struct assent_vector {
    struct assent_counter *entries;
    uint32_t n;
    uint32_t capacity;
};

/* Lamport's rule for a received stamp: max(local, received) + 1.  False on overflow, `*local` unchanged. */
bool assent_lamport_sync(uint64_t *local, uint64_t received);

/* Sort entries by member and check them.  False when a member appears twice or has no name. */
bool assent_vector_sort(struct assent_vector *v);

/* Counter of a member; 0 when absent. */
uint64_t assent_vector_get(const struct assent_vector *v, struct assent_bytes member);

/* Set a counter, inserting the member in order.  False when `capacity` is used up; `v` unchanged. */
bool assent_vector_set(struct assent_vector *v, struct assent_bytes member, uint64_t count);

/* Remove a member if it is there. */
void assent_vector_remove(struct assent_vector *v, struct assent_bytes member);

/* Add one to a member's counter.  False on overflow or when `capacity` is used up. */
bool assent_vector_tick(struct assent_vector *v, struct assent_bytes member);

/* Pairwise maximum into `into`, in place, O(n).  False when the union does not fit `capacity`; `into` is then
 * unchanged. */
bool assent_vector_merge(struct assent_vector *into, const struct assent_vector *from);

/* Order of a against b; both sorted.  O(n). */
enum assent_order assent_vector_compare(const struct assent_vector *a, const struct assent_vector *b);

/* Name for JSON and people: EQUAL BEFORE AFTER CONCURRENT. */
const char *assent_order_name(enum assent_order order);

/* The same of versions: EQUAL OLDER NEWER CONCURRENT. */
const char *assent_version_order_name(enum assent_order order);

/* TSO layout: 46 bits of milliseconds since 1970, 18 bits of logical counter. */
#define ASSENT_TSO_LOGICAL_BITS 18
static inline uint64_t assent_tso_physical_ms(uint64_t ts)
{
    return ts >> ASSENT_TSO_LOGICAL_BITS;
}
static inline uint32_t assent_tso_logical(uint64_t ts)
{
    return (uint32_t)(ts & ((1u << ASSENT_TSO_LOGICAL_BITS) - 1));
}
static inline uint64_t assent_tso_make(uint64_t physical_ms, uint32_t logical)
{
    return physical_ms << ASSENT_TSO_LOGICAL_BITS | logical;
}

#endif /* ASSENT_CLOCK_H */
