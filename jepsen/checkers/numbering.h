/* Dense numbers, in order of first sight, for keys and elements that are any JSON. */
#ifndef JEPSEN_NUMBERING_H
#define JEPSEN_NUMBERING_H

#include <jansson.h>
#include <stddef.h>

struct numbering {
    json_t *numbers; /* text -> number */
};

void numbering_init(struct numbering *nb);
void numbering_close(struct numbering *nb);
size_t numbering_n(const struct numbering *nb);
/* The number of `value` (NULL counts as null), giving it the next one when it is new. */
size_t numbering_add(struct numbering *nb, const json_t *value);
/* SIZE_MAX: never seen. */
size_t numbering_find(const struct numbering *nb, const json_t *value);
/* The text of a value as findings print it, cut to fit. */
const char *json_brief(const json_t *value, char *out, size_t out_size);

#endif
