/* Small histories for the checkers of workloads, a row each: who judges, what comes of it, and why. */
#ifndef JEPSEN_WORKLOAD_ROWS_H
#define JEPSEN_WORKLOAD_ROWS_H

#include "rows.h"
#include "run.h"

struct workload_row {
    const struct workload *workload;
    enum verdict_valid want;
    const char *why; /* part of it */
    const char *history;
};

/* Judges each; prints what is not as the row says, and returns how many. */
int workload_rows_wrong(const struct workload_row *rows, size_t n);

/* A transaction "t", asked for, acknowledged, ended; then what the participants did. */
#define TXN(f, value, status)                                                                                \
    "0 invoke " f " @\"t\" " value "; 0 ok " f " @\"t\" " value                                              \
    "; 0 invoke status @\"t\"; 0 ok status @\"t\" \"" status "\"; 0 invoke effects @\"all\";"
#define EFFECTS(records, rest) "0 ok effects @\"all\" {\"records\":[" records "]" rest "}"
#define R(branch, op, what)    "[\"t\",\"" branch "\",\"" op "\",5,\"" what "\"]"

#endif
