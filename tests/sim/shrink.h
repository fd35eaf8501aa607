/* From a run that found something to a smaller one that still does.
 *
 * First the knobs: classes of faults are switched off one by one, the cluster and the time with faults made
 * smaller.  Then the faults themselves: ranges of them are left out, halves first, single ones at last
 * (delta debugging: Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002).  A
 * smaller run counts when the same kind of finding stays: wrong, stuck or crashed. */
#ifndef TESTS_SIM_SHRINK_H
#define TESTS_SIM_SHRINK_H

#include "runfile.h"

struct shrink_size {
    uint32_t classes; /* of faults that are on */
    uint32_t nodes, clients, participants, chaos_ms, faults;
};
struct shrunk {
    struct runfile run; /* the smallest that was found */
    struct shrink_size before, after;
    uint32_t runs;
    bool in_time; /* there was nothing more to try */
};
/* False: this run finds nothing.  Ends after so many seconds; says on stderr how far it is when that is a
 * terminal.  The caller closes `out->run.script`. */
bool shrink(const struct knobs *from, double seconds, struct shrunk *out);

#endif /* TESTS_SIM_SHRINK_H */
