/* What one object may do: a state, and the operations that take it from one to the next.
 *
 *   model             operations and their values in the history (invocation -> ok)
 *   register          write v -> v;  read null -> v;  starts at 0
 *   cas-register      also cas [old,new] -> the same; a fail whose error is "mismatch" asserts state != old
 *   versioned         write v -> [v,version];  read -> [v,version];  cas [old,new] -> [old,new,version];
 *                     versions rise with every write, not necessarily by one (a raft index will do)
 *   mutex             acquire owner, release owner; an owner that is null is one owner for all
 *   lamport           tick null -> t;  sync received -> [received,t];  current null -> t.  tick and sync
 * return more than all before (sync also more than it received); current returns the latest
 *   counter           add n -> n or [n,sum];  read null -> sum
 *   txn-status        begin timeoutMs -> status;  commit, rollback null -> status, or the refusal
 * "TXN_DECIDED", "TXN_NOT_FOUND";  status null -> status, "none" of one that is not there. ACTIVE is left by
 * the first decision, or by itself, for ROLLING_BACK, when it has a time limit; COMMITTING and ROLLING_BACK
 * are left by themselves */
#ifndef JEPSEN_MODEL_H
#define JEPSEN_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "history.h"

struct model_state {
    int64_t a, b;
};

/* One operation, decoded.  Fields that do not matter are 0, so that equal operations are equal field by
 * field. */
struct model_op {
    int kind;     /* the model's own */
    bool unknown; /* it may have happened; what it returned is not known */
    int64_t in[2], out[2];
};

enum model_decoded {
    MODEL_KEEP, /* `*out` is filled */
    MODEL_DROP, /* constrains nothing: a failed operation, a read without an answer */
    MODEL_BAD,  /* not an operation of this model: a harness error */
};

struct model {
    const char *name;
    struct model_state initial;
    /* `completion` is NULL when there was none, which means info. */
    enum model_decoded (*decode)(const struct op *invoke, const struct op *completion, struct model_op *out);
    /* False: impossible in `*state`, which is then unchanged. */
    bool (*step)(struct model_state *state, const struct model_op *op);
    /* The value an operation leaves behind, and the one it must have found; false: none.  NULL in models that
     * are not registers.  Operations whose value nobody found may be taken out without changing the verdict.
     */
    bool (*written)(const struct model_op *op, int64_t *value);
    bool (*observed)(const struct model_op *op, int64_t *value);
    /* True: the operation says what the state was not, so that taking writes out may change the verdict. */
    bool (*asserts)(const struct model_op *op);
};

extern const struct model model_register, model_cas_register, model_versioned, model_mutex, model_lamport,
    model_counter, model_txn_status;

/* By name; NULL: none. */
const struct model *model_find(const char *name);

#endif
