/* What tests of transactions share: what is due, how things stand, and reports; of the transaction "t".
 * Include behind cmocka.h. */
#ifndef TESTS_TXN_CASE_H
#define TESTS_TXN_CASE_H

#include <stdio.h>
#include <string.h>

#include "sm_harness.h"

#define ok(h, type, args) assert_int_equal(sm_run(h, type, args), ASSENT_OK)

/* "01:action 02:action" of everything in the work index, whenever it is due; borrowed until the next call. */
static inline const char *due(struct sm_harness *h)
{
    static char out[4096];
    struct sm_work_cursor c = {0};
    struct sm_work w;
    size_t n = 0;
    out[0] = 0;
    sm_work_begin(h->sm, &c);
    while (sm_work_next(h->sm, &c, INT64_MAX - 1, &w) && n + 200 < sizeof(out))
        n += (size_t)snprintf(out + n, sizeof(out) - n, "%s%.*s:%s", n > 0 ? " " : "", (int)w.branch.size,
                              (const char *)w.branch.base, sm_op_name(w.op));
    sm_work_end(h->sm, &c);
    return out;
}

/* The n-th piece of work, 0 for the first; its urls and payload are not filled.  False: there are fewer. */
static inline bool pick(struct sm_harness *h, unsigned nth, struct sm_work *out)
{
    struct sm_work_cursor c = {0};
    bool there = true;
    sm_work_begin(h->sm, &c);
    for (unsigned i = 0; i <= nth && there; i++)
        there = sm_work_next(h->sm, &c, INT64_MAX - 1, out);
    sm_work_end(h->sm, &c);
    return there;
}

/* "": there is no such transaction. */
static inline const char *status(struct sm_harness *h)
{
    return sm_ask(h, QUERY_TXN_STATUS, "{'xid':'t'}") == ASSENT_OK ? sm_text(h, "status") : "";
}

static inline int report_attempt(struct sm_harness *h, const char *branch, enum sm_op op, uint32_t attempt,
                                 enum sm_outcome outcome)
{
    char args[256];
    snprintf(args, sizeof(args),
             "{'xid':'t','branch':'%s','op':%d,'attempt':%u,'success':%s,'error':'%s','outcome':%d}", branch,
             op, attempt, outcome == SM_OUTCOME_SUCCESS ? "true" : "false",
             outcome == SM_OUTCOME_SUCCESS ? "" : "no stock", outcome);
    return sm_run(h, COMMAND_BRANCH_REPORT, args);
}

/* Of the first attempt. */
#define report(h, branch, op, outcome)                                                                       \
    assert_int_equal(report_attempt(h, branch, SM_OP_##op, 0, SM_OUTCOME_##outcome), ASSENT_OK)

/* A random walk per seed, each on a state machine of its own; a failing seed is the last one printed. */
static inline void walk_seeds(void (*walk)(struct sm_harness *h, unsigned seed), unsigned seeds)
{
    for (unsigned seed = 1; seed <= seeds; seed++) {
        struct sm_harness h;
        print_message("seed %u\n", seed);
        sm_harness_open(&h);
        walk(&h, seed);
        sm_harness_close(&h);
    }
}

#endif /* TESTS_TXN_CASE_H */
