/* A correct object in memory, used by clients with random delays: the source of histories that must be valid.
 *
 * Every operation takes effect at one moment between its invocation and its completion, or, when it ends as
 * info, at some later moment or never.  Same options, same history. */
#ifndef JEPSEN_REFERENCE_H
#define JEPSEN_REFERENCE_H

#include <stdbool.h>

#include "history.h"

struct random {
    uint64_t state;
};
uint64_t random_next(struct random *r);
uint64_t random_below(struct random *r, uint64_t bound);

struct reference;

/* What is asked and what it does.  `ask` gives f, key and value of the next operation.  `act` gives the value
 * of its ok, or NULL: it is refused (fail), and then it had no effect; `error` may then be set. */
struct reference_object {
    void (*ask)(struct reference *ref, int64_t process, const char **f, json_t **key, json_t **value);
    json_t *(*act)(struct reference *ref, int64_t process, const char *f, const json_t *key,
                   const json_t *value, const char **error);
};

struct reference {
    const struct reference_object *object;
    struct random random;
    unsigned clients, operations, keys, values;
    unsigned info_percent; /* of operations that end as info; half of them take effect */
    unsigned read_percent;
    bool effect_early; /* info operations take effect at once or never */
    int64_t register_of[64], version_of[64];
    int64_t counter; /* source of distinct values, tokens, timestamps */
    json_t *lists;   /* key -> list, for append and sets */
};

/* Runs until all operations ended.  `h` is initialised and empty. */
void reference_run(struct reference *ref, struct history *h);

extern const struct reference_object reference_register; /* read, write of distinct values */
extern const struct reference_object reference_cas;      /* read, write, cas of few values */
extern const struct reference_object reference_versioned;
extern const struct reference_object reference_mutex;
extern const struct reference_object reference_lamport;
extern const struct reference_object reference_counter;
extern const struct reference_object reference_txn_status; /* begin, commit, rollback, status */
extern const struct reference_object reference_append;     /* txn of appends and reads over `keys` lists */
extern const struct reference_object reference_set;
extern const struct reference_object reference_tso;
extern const struct reference_object reference_lock; /* acquire, use, release with tokens */

#endif
