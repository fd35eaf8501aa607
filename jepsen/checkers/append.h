/* Transactions over lists: what Elle does.  Operations are f "txn" without a key, their value a list of
 * ["append",k,v] and ["r",k,null -> [...]].  Every (k, v) is appended once.
 *
 * From what reads returned follow the order of versions of each list, and from that who must have come before
 * whom; a cycle is an anomaly.  A finding names it with its reasons, each derived once more from the history;
 * a cycle whose reasons cannot be derived is a fault of this checker and aborts.
 *
 * Source: Alvaro and Kingsbury, Elle: Inferring isolation anomalies from experimental observations (2020);
 * Adya (1999). */
#ifndef JEPSEN_APPEND_H
#define JEPSEN_APPEND_H

#include <stdbool.h>

#include "history.h"
#include "verdict.h"

/* Each level forbids what the levels before it forbid, and more. */
enum append_model {
    APPEND_READ_COMMITTED,     /* G0, G1a, G1b, G1c, and what no database may do: see append_findings */
    APPEND_SNAPSHOT_ISOLATION, /* and lost updates, G-single, G-nonadjacent */
    APPEND_SERIALIZABLE,       /* and G2-item */
    APPEND_STRICT,             /* and the same cycles through the order of processes and of real time */
};

/* Bits of what was found, whether the model forbids it or not. */
enum append_anomaly {
    APPEND_INTERNAL,     /* a transaction disagrees with its own earlier operations */
    APPEND_FUTURE,       /* it reads what it appends later */
    APPEND_DUPLICATE,    /* an element twice in a list */
    APPEND_GARBAGE,      /* an element nobody appended */
    APPEND_G1A,          /* an element of a failed transaction */
    APPEND_G1B,          /* a state in the middle of another transaction */
    APPEND_INCOMPATIBLE, /* two reads of a list, neither a prefix of the other */
    APPEND_DIRTY_UPDATE, /* an ok append upon one of a failed transaction */
    APPEND_LOST_UPDATE,  /* two transactions read one version and both append to it */
    APPEND_G0,           /* cycles: the same five classes in the same order ... */
    APPEND_G1C,
    APPEND_G_SINGLE,
    APPEND_G_NONADJACENT,
    APPEND_G2_ITEM,
    APPEND_G0_PROCESS,                          /* ... that need the order of a process ... */
    APPEND_G0_REALTIME = APPEND_G0_PROCESS + 5, /* ... or of real time */
    APPEND_ANOMALY_NR = APPEND_G0_REALTIME + 5
};

struct append_report {
    uint32_t found; /* bits of enum append_anomaly */
    uint64_t transactions, edges;
    char why[APPEND_ANOMALY_NR][512]; /* the first finding of each */
};

/* Analyses a valid history.  Non-zero: `err` says why nothing can be said (an element appended twice, an odd
 * shape). */
int append_analyse(const struct history *h, struct append_report *report, char *err, size_t err_size);
const char *append_anomaly_name(enum append_anomaly anomaly);
/* True when something was found that `model` forbids; `*first` is the worst of it. */
bool append_forbidden(enum append_model model, const struct append_report *report,
                      enum append_anomaly *first);

void check_append(const struct history *h, enum append_model model, struct verdict *v);

#endif
