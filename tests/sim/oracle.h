/* What the oracle knows from those who were told something. */
#ifndef TESTS_SIM_ORACLE_H
#define TESTS_SIM_ORACLE_H

#include "world.h"

/* The decision somebody was told and nothing may turn: 0 none, 1 commit, 2 back, 3 stopped. */
int oracle_told_decision(struct world *w, struct assent_bytes xid);
/* What is known when a read begins, and what the read then says.  Source: jepsen.md 6.1, C2. */
struct oracle_sight {
    bool begun;
    int told;
    const char *ended; /* NULL: nobody knows of its end */
};
struct oracle_sight oracle_sight(struct world *w, struct assent_bytes xid);
void oracle_read(struct world *w, struct assent_bytes xid, const struct oracle_sight *before, int code,
                 const char *status);

#endif /* TESTS_SIM_ORACLE_H */
