/* Faults on demand, for testers: chosen calls to branches fail in a chosen way.
 *
 * A rule is a text of key=value pairs separated by commas:
 *
 *   url=<beginning>   the call's URL lies below it; absent: any
 *   mode=<name>       TCC, XA, SAGA, MESSAGE or WORKFLOW; absent: any
 *   op=<name>         confirm, cancel, action, compensate, try, query or callback; absent: any
 *   fault=<name>      what happens, below; required
 *   count=<N>         so many times, then never again in this process; absent: always
 *   probability=<P>   0 to 1; absent: 1
 *
 *   fail-before   the participant is not called; the outcome is an ERROR
 *   fail-after    the participant is called, its answer is lost; the outcome is an ERROR
 *   timeout       the participant is not called; an ERROR after the call's time limit
 *   refuse        the participant is not called; the outcome is a FAILURE
 *   crash-before  the process ends at once, before the participant is called
 *   crash         the process ends at once, after the participant has answered and before that is reported
 *
 * The first rule that fits and whose dice fall decides.  The dice are seeded, so a run can be repeated as far
 * as the order of calls is the same.  assentd takes rules only together with --insecure and
 * --allow-simulated-faults. */
#ifndef NODE_SIMULATE_H
#define NODE_SIMULATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "statemachine.h"

enum simulate_fault {
    SIMULATE_NONE,
    SIMULATE_FAIL_BEFORE,
    SIMULATE_FAIL_AFTER,
    SIMULATE_TIMEOUT,
    SIMULATE_REFUSE,
    SIMULATE_CRASH_BEFORE,
    SIMULATE_CRASH,
    SIMULATE_FAULT_NR
};
const char *simulate_fault_name(enum simulate_fault fault);

#define SIMULATE_RULES_MAX 64

struct simulate;

/* False with a sentence in `err`. */
bool simulate_open(struct simulate **simulate, char *const *rules, uint32_t n, uint64_t seed, char *err,
                   size_t err_size);
void simulate_close(struct simulate *simulate); /* NULL: nothing */

/* The fate of one call; counts and dice move.  `rule` is set to the number of the rule, 0 for the first.
 * `simulate` may be NULL. */
enum simulate_fault simulate_pick(struct simulate *simulate, const struct sm_work *work, uint32_t *rule);

#endif /* NODE_SIMULATE_H */
