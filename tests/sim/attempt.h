/* One run in a process of its own, because an assertion of the product may be what it finds. */
#ifndef TESTS_SIM_ATTEMPT_H
#define TESTS_SIM_ATTEMPT_H

#include "script.h"
#include "world.h"

/* X(name in the code, name for people, exit status) */
#define FINDINGS(X)                                                                                          \
    X(NOTHING, "nothing", 0)                                                                                 \
    X(CRASHED, "crashed", 127)                                                                               \
    X(STUCK, "stuck", 128)                                                                                   \
    X(WRONG, "wrong", 129)

enum finding {
#define FINDING_ENUM(name, text, status) FINDING_##name,
    FINDINGS(FINDING_ENUM)
#undef FINDING_ENUM
        FINDING_NR
};
const char *finding_name(enum finding finding);
int finding_exit(enum finding finding);

struct attempt {
    enum finding finding;
    char why[512];       /* a sentence; of a crash: what it said last */
    uint64_t virtual_ms; /* when it ended; 0: it crashed */
    struct script happened;
};

/* What comes of this run.  `script` NULL: faults as the dice fall.  A run that takes longer than this counts
 * as one without a finding: nothing is known about it.  The caller closes `out->happened`. */
void attempt(const struct knobs *k, const struct script *script, uint32_t seconds_max, struct attempt *out);

#endif /* TESTS_SIM_ATTEMPT_H */
