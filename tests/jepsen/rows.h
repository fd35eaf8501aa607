/* Hand-made histories as text: events separated by ';', each "process type f [@key] [value]", keys and values
 * JSON. Times are 1, 2, 3, ...; a '=' in front of an event gives it the time of the one before.  Fails carry
 * "mismatch". */
#ifndef JEPSEN_ROWS_H
#define JEPSEN_ROWS_H

#include "history.h"

/* Initialises `h`; asserts that the text is well formed. */
void rows_parse(const char *text, struct history *h);

#endif
