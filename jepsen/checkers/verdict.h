/* What a checker concludes, and how the conclusions of several become one. */
#ifndef JEPSEN_VERDICT_H
#define JEPSEN_VERDICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum verdict_valid { VALID, INVALID, UNKNOWN };

struct verdict {
    enum verdict_valid valid;
    char why[512];          /* INVALID: the finding; UNKNOWN: why nothing can be said; VALID: "" */
    uint64_t checked;       /* parts judged (keys, elements, ... ; 1 for a checker of the whole history) */
    uint64_t unknown_parts; /* parts that could not be decided; they are not in `checked` */
    bool malformed;         /* an operation had a shape the checker does not know: never VALID */
};

/* A pass needs one judged part, and no more than one in a hundred undecided. */
#define VERDICT_UNKNOWN_PERCENT_MAX 1

void verdict_init(struct verdict *v);
/* Records a finding.  The first one keeps the text. */
void verdict_invalid(struct verdict *v, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Records that `parts` could not be decided; an INVALID stays, with its text. */
void verdict_unknown(struct verdict *v, uint64_t parts, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Records that the harness, not the system, is at fault. */
void verdict_malformed(struct verdict *v, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The last call of every checker: nothing judged, or too much undecided, is UNKNOWN; a tolerable rest becomes
 * VALID. */
void verdict_close(struct verdict *v);
/* Adds the closed verdict `part` of checker `name`: INVALID over UNKNOWN over VALID.  `name` heads the text.
 */
void verdict_compose(struct verdict *whole, const char *name, const struct verdict *part);

const char *verdict_name(enum verdict_valid valid); /* "true", "false", "unknown", as Jepsen prints them */
int verdict_exit(enum verdict_valid valid);         /* 0 valid, 1 invalid, 2 unknown (3 is a harness error) */

#endif
