/* Every workload. */
#include "run.h"

extern const struct workload workload_lamport, workload_tso, workload_sequence, workload_decide,
    workload_saga;

const struct workload *const workloads[] = {&workload_decide, &workload_saga, &workload_tso,
                                            &workload_sequence, &workload_lamport};
const uint32_t workloads_n = sizeof workloads / sizeof workloads[0];
