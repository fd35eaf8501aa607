/* TCC and XA whose tries the coordinator calls. */
#include "txn.h"

void try_report(struct apply *a, struct assent_bytes xid, struct txn *t, uint32_t ordinal,
                const struct branch_plan *plan, struct branch_progress *p, const struct report *r)
{
    (void)a, (void)xid, (void)t, (void)ordinal, (void)plan, (void)p, (void)r;
}
