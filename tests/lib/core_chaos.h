/* Random faults for some virtual seconds on a cluster of consensus cores, then healing.
 *
 * Oracles watch every step; at the end all nodes must run, agree and commit again. */
#ifndef TESTS_CORE_CHAOS_H
#define TESTS_CORE_CHAOS_H

#include <stdbool.h>
#include <stdint.h>

struct chaos_shape {
    const char *name;
    uint32_t nodes, voters;
    bool membership; /* servers join, are promoted, demoted and removed meanwhile */
    bool harsh;      /* deaths inside calls, pauses, failing and standing disks, damaged and clogged links */
};
extern const struct chaos_shape chaos_three, chaos_five, chaos_changing, chaos_harsh;

/* One run.  Returns NULL, or a sentence that names what failed, valid until the next run; the state of the
 * nodes is then on stderr, unless guards are off.  `counts`: NULL, or 17 counters that the guards add to. */
const char *chaos_run(const struct chaos_shape *shape, uint64_t seed, uint32_t guards_off, uint64_t *counts);

#endif /* TESTS_CORE_CHAOS_H */
