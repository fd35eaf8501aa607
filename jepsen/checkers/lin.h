/* Linearizability of objects that have a model, key by key, by one of three engines that share no search
 * code.
 *
 * A history is cut into one part per key: the whole is linearizable when and only when each part is (Herlihy
 * and Wing). Every part is then a problem of its own, bounded in time and memory; a part over its budget is
 * unknown. */
#ifndef JEPSEN_LIN_H
#define JEPSEN_LIN_H

#include "model.h"
#include "verdict.h"

/* An operation that must (or, when it never returned, may) have taken effect at one moment after `call`,
 * before `ret`. Both are ranks among the events of the part, without ties: of two equal times the call comes
 * first, so that the operations count as concurrent. */
struct lin_op {
    struct model_op op;
    uint32_t call, ret;  /* ret is LIN_NEVER for an optional operation */
    size_t invoke, done; /* positions in the history; `done` is HISTORY_NONE without a completion */
};

#define LIN_NEVER UINT32_MAX

/* Operations of one key: the `required` ones first, in order of call, then the optional ones. */
struct lin_part {
    const json_t *key; /* borrowed from the history */
    struct lin_op *ops;
    uint32_t n, required;
};

struct lin_parts {
    struct lin_part *parts;
    size_t n;
};

/* Bounds of one part; 0 is the default: 60 s, 1 GiB. */
struct lin_budget {
    uint64_t ms;
    uint64_t bytes;
};

/* Where a search could not go on; for people. */
struct lin_stuck {
    uint32_t at;              /* operation whose return could not be passed, LIN_NEVER: not known */
    uint32_t before;          /* operation that took effect last, LIN_NEVER: none */
    struct model_state state; /* after it */
};

enum lin_engine { LIN_WGL, LIN_JIT, LIN_ZONES };

/* `stuck` is filled when the verdict is INVALID.  `why` says why it is UNKNOWN. */
enum verdict_valid wgl_check(const struct model *model, const struct lin_part *part,
                             const struct lin_budget *budget, struct lin_stuck *stuck, const char **why);
enum verdict_valid jit_check(const struct model *model, const struct lin_part *part,
                             const struct lin_budget *budget, struct lin_stuck *stuck, const char **why);
/* Registers whose written values are distinct, without compare-and-set; otherwise UNKNOWN.  O(n log n), no
 * budget. */
enum verdict_valid zones_check(const struct model *model, const struct lin_part *part,
                               const struct lin_budget *budget, struct lin_stuck *stuck, const char **why);

/* Cuts a valid history and drops what constrains nothing: failed operations, reads without an answer,
 * optional writes whose value nobody saw.  Non-zero: `err` names an event that is no operation of the model,
 * or memory is short. Nemesis events are left out. */
int lin_split(const struct history *h, const struct model *model, struct lin_parts *parts, char *err,
              size_t err_size);
void lin_parts_close(struct lin_parts *parts);

/* Drops operations while the part stays invalid, a write only with its readers.  `part` is shortened in
 * place. Registers only; others are left alone. */
void lin_minimise(const struct model *model, struct lin_part *part);

/* The checker: split, judge every part, describe the first bad one.  `v` is initialised and closed here. With
 * `second`, WGL's verdict of each part is compared with the just-in-time engine's; a disagreement is INVALID,
 * for a wrong checker is no pass. */
void check_linearizable(const struct history *h, const struct model *model, enum lin_engine engine,
                        bool second, const struct lin_budget *budget, struct verdict *v);

/* Part of the engines' common ground: their budget in absolute numbers. */
struct lin_limit {
    uint64_t deadline_ns, bytes;
};
struct lin_limit lin_limit(const struct lin_budget *budget);
bool lin_limit_late(const struct lin_limit *limit);

#endif
