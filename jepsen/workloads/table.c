/* Every workload. */
#include "run.h"

extern const struct workload workload_lamport, workload_tso, workload_sequence, workload_decide,
    workload_saga, workload_bank, workload_tcc, workload_saga_order, workload_message, workload_register,
    workload_register_stale, workload_registered, workload_idempotency, workload_vector, workload_freeze,
    workload_events, workload_append, workload_append_unfrozen, workload_sessions, workload_sessions_stale,
    workload_status, workload_deadline, workload_orphan, workload_nested, workload_workflow, workload_async;

#ifdef JEPSEN_DATABASES
extern const struct workload workload_xa;
#endif

const struct workload *const workloads[] = {
    &workload_decide,
    &workload_status,
    &workload_deadline,
    &workload_orphan,
    &workload_nested,
    &workload_workflow,
    &workload_async,
    &workload_sessions,
    &workload_sessions_stale,
    &workload_saga,
    &workload_saga_order,
    &workload_tcc,
    &workload_bank,
    &workload_message,
    &workload_register,
    &workload_register_stale,
    &workload_registered,
    &workload_idempotency,
    &workload_vector,
    &workload_freeze,
    &workload_events,
    &workload_append,
    &workload_append_unfrozen,
    &workload_tso,
    &workload_sequence,
    &workload_lamport,
#ifdef JEPSEN_DATABASES
    &workload_xa,
#endif
};
const uint32_t workloads_n = sizeof workloads / sizeof workloads[0];
