/* What an operator sets for the whole cluster.  Private to statemachine/.
 *
 * Replicas must agree on it, so it is no option of a node: it is a command, and one row of META ("settings").
 * What was never set has the default. */
#ifndef STATEMACHINE_SETTINGS_H
#define STATEMACHINE_SETTINGS_H

#include "apply.h"

struct settings {
    uint64_t retention_ms;       /* how long a transaction is kept after its end */
    uint64_t audit_retention_ms; /* how long an act stays on record */
};
#define RETENTION_MS_DEFAULT       (7ull * 24 * 3600 * 1000)
#define AUDIT_RETENTION_MS_DEFAULT (90ull * 24 * 3600 * 1000)
/* A late retry of a client still finds what it asked for. */
#define RETENTION_MS_MIN       60000u
#define AUDIT_RETENTION_MS_MIN (24ull * 3600 * 1000)

struct settings settings_load(struct store_txn *store);
static inline int64_t retention_us(struct store_txn *store)
{
    return (int64_t)settings_load(store).retention_ms * 1000;
}

#endif /* STATEMACHINE_SETTINGS_H */
