#include "model.h"

#include <string.h>

enum { READ, WRITE, CAS, CAS_MISMATCH, ACQUIRE, RELEASE, TICK, SYNC, ADD, BEGIN, DECIDE };

static bool integer(const json_t *value, int64_t *out)
{
    if (!json_is_integer(value))
        return false;
    *out = json_integer_value(value);
    return true;
}

static bool element(const json_t *value, size_t i, int64_t *out)
{
    return integer(json_array_get(value, i), out);
}

static bool is_ok(const struct op *completion)
{
    return completion != NULL && completion->type == OP_OK;
}

static bool is_fail(const struct op *completion)
{
    return completion != NULL && completion->type == OP_FAIL;
}

static bool is_f(const struct op *op, const char *f)
{
    return strcmp(op->f, f) == 0;
}

static bool mismatch(const struct op *completion)
{
    return is_fail(completion) && strcmp(completion->error, "mismatch") == 0;
}

static enum model_decoded decoded(bool fits)
{
    return fits ? MODEL_KEEP : MODEL_BAD;
}

/* Registers
 * ------------------------------------------------------------------------------------------------------ */

static enum model_decoded register_decode(const struct op *invoke, const struct op *completion,
                                          struct model_op *out)
{
    *out = (struct model_op){.kind = READ};
    if (is_f(invoke, "read"))
        return is_ok(completion) ? decoded(integer(completion->value, &out->out[0])) : MODEL_DROP;
    if (!is_f(invoke, "write"))
        return MODEL_BAD;
    *out = (struct model_op){.kind = WRITE, .unknown = !is_ok(completion)};
    if (!integer(invoke->value, &out->in[0]))
        return MODEL_BAD;
    return is_fail(completion) ? MODEL_DROP : MODEL_KEEP;
}

static enum model_decoded cas_decode(const struct op *invoke, const struct op *completion,
                                     struct model_op *out)
{
    if (!is_f(invoke, "cas"))
        return register_decode(invoke, completion, out);
    *out = (struct model_op){.kind = CAS, .unknown = !is_ok(completion)};
    if (!element(invoke->value, 0, &out->in[0]) || !element(invoke->value, 1, &out->in[1]))
        return MODEL_BAD;
    if (!is_fail(completion))
        return MODEL_KEEP;
    *out = (struct model_op){.kind = CAS_MISMATCH, .in = {out->in[0], 0}};
    return mismatch(completion) ? MODEL_KEEP : MODEL_DROP;
}

static bool register_step(struct model_state *state, const struct model_op *op)
{
    switch (op->kind) {
    case READ:
        return state->a == op->out[0];
    case WRITE:
        state->a = op->in[0];
        return true;
    case CAS:
        if (state->a != op->in[0])
            return false;
        state->a = op->in[1];
        return true;
    default:
        return state->a != op->in[0];
    }
}

static bool register_written(const struct model_op *op, int64_t *value)
{
    *value = op->kind == CAS ? op->in[1] : op->in[0];
    return op->kind == WRITE || op->kind == CAS;
}

static bool register_observed(const struct model_op *op, int64_t *value)
{
    *value = op->kind == CAS ? op->in[0] : op->out[0];
    return op->kind == READ || op->kind == CAS;
}

static bool register_asserts(const struct model_op *op)
{
    return op->kind == CAS_MISMATCH;
}

/* Versioned register: b is twice the version, plus one when it is only known to be at least that.
 * ----------------- */

static enum model_decoded versioned_decode(const struct op *invoke, const struct op *completion,
                                           struct model_op *out)
{
    if (is_f(invoke, "read")) {
        *out = (struct model_op){.kind = READ};
        if (!is_ok(completion))
            return MODEL_DROP;
        return decoded(element(completion->value, 0, &out->out[0]) &&
                       element(completion->value, 1, &out->out[1]));
    }
    enum model_decoded rv = cas_decode(invoke, NULL, out);
    if (rv != MODEL_KEEP)
        return rv;
    if (is_fail(completion)) {
        *out = (struct model_op){.kind = CAS_MISMATCH, .in = {out->in[0], 0}};
        return is_f(invoke, "cas") && mismatch(completion) ? MODEL_KEEP : MODEL_DROP;
    }
    out->unknown = !is_ok(completion);
    return decoded(out->unknown || element(completion->value, out->kind == CAS ? 2 : 1, &out->out[1]));
}

/* A number that rises: `*mark` is twice its value, plus one when it is a lower bound.  An operation raised it
 * to `to`, or by an unknown amount. */
static bool raise_mark(int64_t *mark, bool unknown, int64_t to)
{
    int64_t least = *mark >> 1;
    if (unknown) {
        *mark = ((least + 1) << 1) | 1;
        return true;
    }
    if (to <= least)
        return false;
    *mark = to * 2;
    return true;
}

static bool match_mark(int64_t *mark, int64_t seen)
{
    int64_t least = *mark >> 1;
    if ((*mark & 1) != 0 ? seen < least : seen != least)
        return false;
    *mark = seen * 2;
    return true;
}

static bool versioned_step(struct model_state *state, const struct model_op *op)
{
    switch (op->kind) {
    case READ:
        return state->a == op->out[0] && match_mark(&state->b, op->out[1]);
    case WRITE:
        if (!raise_mark(&state->b, op->unknown, op->out[1]))
            return false;
        state->a = op->in[0];
        return true;
    case CAS:
        if (state->a != op->in[0] || !raise_mark(&state->b, op->unknown, op->out[1]))
            return false;
        state->a = op->in[1];
        return true;
    default:
        return state->a != op->in[0];
    }
}

/* Mutex: a is the owner, 0 when free.
 * ----------------------------------------------------------------------------- */

static enum model_decoded mutex_decode(const struct op *invoke, const struct op *completion,
                                       struct model_op *out)
{
    *out =
        (struct model_op){.kind = is_f(invoke, "acquire") ? ACQUIRE : RELEASE, .unknown = !is_ok(completion)};
    if (!is_f(invoke, "acquire") && !is_f(invoke, "release"))
        return MODEL_BAD;
    int64_t owner = 0;
    if (invoke->value != NULL && !json_is_null(invoke->value) && !integer(invoke->value, &owner))
        return MODEL_BAD;
    out->in[0] = owner >= 0 ? owner + 1 : owner;
    return is_fail(completion) ? MODEL_DROP : MODEL_KEEP;
}

static bool mutex_step(struct model_state *state, const struct model_op *op)
{
    if (state->a != (op->kind == ACQUIRE ? 0 : op->in[0]))
        return false;
    state->a = op->kind == ACQUIRE ? op->in[0] : 0;
    return true;
}

/* Lamport clock: a is a rising number as above.
 * ------------------------------------------------------------------- */

static enum model_decoded lamport_decode(const struct op *invoke, const struct op *completion,
                                         struct model_op *out)
{
    *out = (struct model_op){.unknown = !is_ok(completion)};
    if (is_f(invoke, "current") || is_f(invoke, "read")) {
        out->kind = READ;
        return out->unknown ? MODEL_DROP : decoded(integer(completion->value, &out->out[0]));
    }
    if (is_fail(completion))
        return is_f(invoke, "tick") || is_f(invoke, "sync") ? MODEL_DROP : MODEL_BAD;
    if (is_f(invoke, "tick")) {
        out->kind = TICK;
        return decoded(out->unknown || integer(completion->value, &out->out[0]));
    }
    out->kind = SYNC;
    if (!is_f(invoke, "sync") || !integer(invoke->value, &out->in[0]))
        return MODEL_BAD;
    return decoded(out->unknown || element(completion->value, 1, &out->out[0]));
}

static bool lamport_step(struct model_state *state, const struct model_op *op)
{
    if (op->kind == READ)
        return match_mark(&state->a, op->out[0]);
    if (op->kind == SYNC && !op->unknown && op->out[0] <= op->in[0])
        return false;
    if (!raise_mark(&state->a, op->unknown, op->out[0]))
        return false;
    if (op->kind == SYNC && op->unknown && state->a >> 1 <= op->in[0])
        state->a = (op->in[0] + 1) * 2 + 1;
    return true;
}

/* Counter
 * ---------------------------------------------------------------------------------------------------------
 */

static enum model_decoded counter_decode(const struct op *invoke, const struct op *completion,
                                         struct model_op *out)
{
    *out = (struct model_op){.kind = READ};
    if (is_f(invoke, "read"))
        return is_ok(completion) ? decoded(integer(completion->value, &out->out[0])) : MODEL_DROP;
    *out = (struct model_op){.kind = ADD, .unknown = true};
    if (!is_f(invoke, "add") || !integer(invoke->value, &out->in[0]))
        return MODEL_BAD;
    if (is_ok(completion) && json_is_array(completion->value)) {
        out->unknown = false;
        return decoded(element(completion->value, 1, &out->out[0]));
    }
    return is_fail(completion) ? MODEL_DROP : MODEL_KEEP;
}

static bool counter_step(struct model_state *state, const struct model_op *op)
{
    if (op->kind == READ)
        return state->a == op->out[0];
    int64_t sum;
    if (__builtin_add_overflow(state->a, op->in[0], &sum) || (!op->unknown && sum != op->out[0]))
        return false;
    state->a = sum;
    return true;
}

/* Status of a transaction: a is the status, b whether it has a time limit.
 * ------------------------------------------------------------------- */

enum { TXN_NONE, TXN_ACTIVE, TXN_COMMITTING, TXN_COMMITTED, TXN_ROLLING_BACK, TXN_ROLLED_BACK, TXN_REFUSED };

static bool txn_status_of(const json_t *value, int64_t *out)
{
    static const char *const names[] = {"none",         "ACTIVE",      "COMMITTING", "COMMITTED",
                                        "ROLLING_BACK", "ROLLED_BACK", "TXN_DECIDED"};
    const char *text = json_string_value(value);
    for (int64_t i = 0; text != NULL && i <= TXN_REFUSED; i++)
        if (strcmp(text, names[i]) == 0) {
            *out = i;
            return true;
        }
    *out = TXN_NONE; /* what a decision is told of one that is not there */
    return text != NULL && strcmp(text, "TXN_NOT_FOUND") == 0;
}

static enum model_decoded txn_status_decode(const struct op *invoke, const struct op *completion,
                                            struct model_op *out)
{
    bool begin = is_f(invoke, "begin"), commit = is_f(invoke, "commit"), rollback = is_f(invoke, "rollback");
    *out = (struct model_op){.kind = begin ? BEGIN : READ, .unknown = !is_ok(completion)};
    if (commit || rollback) {
        out->kind = DECIDE;
        out->in[0] = commit ? TXN_COMMITTING : TXN_ROLLING_BACK;
    } else if (begin) {
        if (!json_is_integer(invoke->value))
            return MODEL_BAD;
        out->in[0] = json_integer_value(invoke->value) > 0;
    } else if (!is_f(invoke, "status")) {
        return MODEL_BAD;
    } else if (out->unknown) {
        return MODEL_DROP;
    }
    if (is_fail(completion))
        return MODEL_DROP;
    return decoded(out->unknown || txn_status_of(completion->value, &out->out[0]));
}

/* What it does by itself between two operations takes it there. */
static bool txn_status_goes(struct model_state *state, int64_t to)
{
    bool late = state->a == TXN_ACTIVE && state->b != 0;
    bool goes = state->a == to || (state->a == TXN_COMMITTING && to == TXN_COMMITTED) ||
                (state->a == TXN_ROLLING_BACK && to == TXN_ROLLED_BACK) ||
                (late && (to == TXN_ROLLING_BACK || to == TXN_ROLLED_BACK));
    if (goes)
        state->a = to;
    return goes;
}

static bool txn_status_decide(struct model_state *state, const struct model_op *op)
{
    int64_t other = op->in[0] == TXN_COMMITTING ? TXN_ROLLING_BACK : TXN_COMMITTING;
    if (op->unknown) {
        if (state->a == TXN_ACTIVE)
            state->a = op->in[0];
        return true;
    }
    if (op->out[0] == TXN_NONE)
        return state->a == TXN_NONE;
    if (op->out[0] == TXN_REFUSED) /* the other decision stands, wherever it has got to */
        return state->a == other + 1 || txn_status_goes(state, other);
    if (op->out[0] != op->in[0] && op->out[0] != op->in[0] + 1)
        return false;
    if (state->a == TXN_ACTIVE)
        state->a = op->in[0];
    return txn_status_goes(state, op->out[0]);
}

static bool txn_status_step(struct model_state *state, const struct model_op *op)
{
    if (op->kind == READ)
        return txn_status_goes(state, op->out[0]);
    if (op->kind == DECIDE)
        return txn_status_decide(state, op);
    if (state->a == TXN_NONE) {
        if (!op->unknown && op->out[0] != TXN_ACTIVE)
            return false;
        *state = (struct model_state){TXN_ACTIVE, op->in[0]};
        return true;
    }
    return op->unknown || txn_status_goes(state, op->out[0]);
}

const struct model model_register = {"register",      {0, 0},           register_decode,
                                     register_step,   register_written, register_observed,
                                     register_asserts};
const struct model model_cas_register = {
    "cas-register", {0, 0}, cas_decode, register_step, register_written, register_observed, register_asserts};
const struct model model_versioned = {"versioned",     {0, 1},           versioned_decode,
                                      versioned_step,  register_written, register_observed,
                                      register_asserts};
const struct model model_mutex = {.name = "mutex", .decode = mutex_decode, .step = mutex_step};
const struct model model_lamport = {.name = "lamport", .decode = lamport_decode, .step = lamport_step};
const struct model model_counter = {.name = "counter", .decode = counter_decode, .step = counter_step};
const struct model model_txn_status = {
    .name = "txn-status", .decode = txn_status_decode, .step = txn_status_step};

const struct model *model_find(const char *name)
{
    static const struct model *const all[] = {&model_register,  &model_cas_register, &model_versioned,
                                              &model_mutex,     &model_lamport,      &model_counter,
                                              &model_txn_status};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (strcmp(all[i]->name, name) == 0)
            return all[i];
    return NULL;
}
