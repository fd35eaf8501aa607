/* What goes wrong without each guard: directed runs, one table.
 *
 * With all guards on a run notices nothing; with its guard off it does.  What it notices is an oracle of the
 * simulated cluster, a crash, or a figure that is out of all proportion. */
#ifndef TESTS_RAFTLOG_GUARD_SCENARIOS_H
#define TESTS_RAFTLOG_GUARD_SCENARIOS_H

#include <stdbool.h>
#include <stdint.h>

#include "guard.h"

struct guard_scenario {
    enum guard_number guard;
    const char *name;
    const char *seen; /* when the guard is off */
    /* `off`: bit n: guard n is off.  True: something was noticed.  May crash or not end: run it in a child
     * with a time limit. */
    bool (*run)(uint32_t off);
};
extern const struct guard_scenario guard_scenarios[];
extern const uint32_t guard_scenarios_n;

/* Of the table; in a file of its own. */
bool write_of_replaced_entries(uint32_t off);

#endif /* TESTS_RAFTLOG_GUARD_SCENARIOS_H */
