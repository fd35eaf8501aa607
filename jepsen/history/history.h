/* The history of a run: every operation the clients began and how it ended, in the order one recorder saw
 * them.
 *
 * On disk it is JSONL, one object per line, fields index, time, process, type, f, value, and optionally key,
 * node and error; other fields (dur, gtrid, debug, ...) are allowed and ignored.  history_validate() holds
 * the rules that every checker, ours or foreign, relies on.  Sources: the history formats of Jepsen, Knossos
 * and Elle. */
#ifndef JEPSEN_HISTORY_H
#define JEPSEN_HISTORY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum op_type { OP_INVOKE, OP_OK, OP_FAIL, OP_INFO };

#define PROCESS_NEMESIS (-1) /* written as the word "nemesis" */
#define HISTORY_NONE    SIZE_MAX

/* One event.  An operation is an invocation and at most one completion of the same process. */
struct op {
    uint64_t index;   /* position in the whole history, from 0 without gaps */
    uint64_t time_ns; /* since the start of the run, from the recorder's one monotonic clock */
    int64_t process;  /* >= 0: a client, with at most one open operation; PROCESS_NEMESIS: a fault */
    enum op_type type;
    char f[24];    /* what was asked: "read", "write", "txn", ... */
    json_t *key;   /* owned by the history; NULL: the history has one object only */
    json_t *value; /* owned by the history; NULL is written as null */
    char node[24]; /* who was asked; "" unknown */
    char error[64];
};

struct history {
    struct op *ops;
    size_t n, capacity;
};

void history_init(struct history *h);
/* Releases every key and value.  Safe twice. */
void history_close(struct history *h);

/* A zeroed event at the end, its index set to its position; NULL when memory is short.  The pointer lives
 * until the next call.  The caller fills it and gives one reference of `key` and `value`. */
struct op *history_add(struct history *h);
/* The same, filled.  Takes one reference of `key` and `value`, also on failure. */
struct op *history_add_op(struct history *h, uint64_t time_ns, int64_t process, enum op_type type,
                          const char *f, json_t *key, json_t *value);

/* Appends the file's events to an initialised, empty `h`.  Non-zero: `err` names the line and the reason; `h`
 * must still be closed.  A file without any index is numbered; one where only some events carry it is
 * refused. */
int history_read(const char *path, struct history *h, char *err, size_t err_size);
int history_read_stream(FILE *in, struct history *h, char *err, size_t err_size);
/* Writes to `path` and flushes it.  Non-zero: the file is not complete. */
int history_write(const char *path, const struct history *h, char *err, size_t err_size);
/* One line, not flushed: what a recorder calls per event.  Non-zero: the stream refused. */
int history_write_op(FILE *out, const struct op *op);

/* Non-zero: the history is malformed, `err` names the event and the rule it breaks.  That is an error of the
 * harness, never a pass and never a finding. 1 indexes are 0, 1, 2, ...               2 time never steps back
 *   3 a process has one open operation, and ends with its first info
 *   4 a completion follows its invocation and repeats its f and key; invocations are never missing
 *   5 a fail repeats its invocation's value  6 an ok read carries a value
 *   7 (distinct written values: the checkers that need them say so)
 *   8 faults are info                        9 keys have one type; no value holds a real number
 *  10 (one register per exported file: export.h splits) */
int history_validate(const struct history *h, char *err, size_t err_size);

/* For each event the position of its other half (completion of an invocation, invocation of a completion), or
 * HISTORY_NONE.  `pair` has room for h->n.  Returns non-zero when memory is short.  `h` is valid. */
int history_pairs(const struct history *h, size_t *pair);

const char *op_type_name(enum op_type type);

#endif
