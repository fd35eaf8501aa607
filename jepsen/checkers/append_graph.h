/* What append.c found out about transactions and lists, and the search for cycles in it.  Private to the two.
 */
#ifndef JEPSEN_APPEND_GRAPH_H
#define JEPSEN_APPEND_GRAPH_H

#include "append.h"

#define NO_TXN UINT32_MAX

struct txn {
    const struct op *invoke, *done; /* done is NULL: never answered */
    const json_t *steps;            /* of the answer when it is ok, else of the invocation */
    enum op_type status;            /* OP_OK, OP_FAIL or OP_INFO */
};

/* One append of the history. */
struct appended {
    size_t key;
    int64_t value;
    uint32_t txn;
    bool last; /* its transaction's last append to the key */
};

/* One read of an ok transaction. */
struct list_read {
    size_t key;
    const json_t *list;
    uint32_t txn;
    bool first; /* the transaction's first access to the key */
};

struct facts {
    struct txn *txns;
    uint32_t n;
    struct appended *appends; /* by key and value */
    size_t n_appends;
    struct list_read *reads; /* by key */
    size_t n_reads;
    const json_t **longest; /* per key: the longest list read, NULL: none */
    size_t keys;
};

/* NULL: nobody appends it. */
const struct appended *facts_appender(const struct facts *f, size_t key, int64_t value);
void report_add(struct append_report *r, unsigned anomaly, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Non-zero: a cycle exists, and no class could be given to it within the effort allowed. */
int graph_analyse(const struct facts *f, struct append_report *report, char *err, size_t err_size);

#endif
