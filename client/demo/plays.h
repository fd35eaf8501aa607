/* The demonstrations, one row each. */
#ifndef DEMO_PLAYS_H
#define DEMO_PLAYS_H

#include "stage.h"

#define PLAYS_AMOUNT_MAX 100000 /* cents: what alice has */

/* NULL: there is none of that name. */
const struct play *play_find(const char *name);

#endif /* DEMO_PLAYS_H */
