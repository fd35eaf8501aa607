/* What may be called text: UTF-8 without NUL, names without control characters, JSON.  Pure; no memory. */
#ifndef STATEMACHINE_TEXT_H
#define STATEMACHINE_TEXT_H

#include <stdbool.h>

#include "assent/types.h"

/* Valid UTF-8 (shortest forms, no surrogates, at most U+10FFFF; Unicode 3.9, table 3-7) without NUL. */
bool text_is_utf8(struct assent_bytes v);

/* Holds a byte below 0x20 or 0x7f. */
bool text_has_control(struct assent_bytes v);

/* One JSON value (RFC 8259) with white space around it allowed, at most ASSENT_NESTING_MAX deep. */
bool text_is_json(struct assent_bytes v);

#endif /* STATEMACHINE_TEXT_H */
