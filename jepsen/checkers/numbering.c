#include "numbering.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void numbering_init(struct numbering *nb)
{
    nb->numbers = json_object();
    assert(nb->numbers != NULL);
}

void numbering_close(struct numbering *nb)
{
    json_decref(nb->numbers);
}

size_t numbering_n(const struct numbering *nb)
{
    return json_object_size(nb->numbers);
}

/* Integers, the common case, without an allocation; `*owned` is freed by the caller. */
static const char *spell(const json_t *value, char *room, size_t room_size, char **owned)
{
    *owned = NULL;
    if (value == NULL)
        return "null";
    if (json_is_integer(value)) {
        snprintf(room, room_size, "%lld", (long long)json_integer_value(value));
        return room;
    }
    *owned = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
    assert(*owned != NULL);
    return *owned;
}

size_t numbering_find(const struct numbering *nb, const json_t *value)
{
    char room[24], *owned;
    const json_t *number = json_object_get(nb->numbers, spell(value, room, sizeof room, &owned));
    free(owned);
    return number == NULL ? SIZE_MAX : (size_t)json_integer_value(number);
}

size_t numbering_add(struct numbering *nb, const json_t *value)
{
    size_t number = numbering_find(nb, value);
    if (number != SIZE_MAX)
        return number;
    number = numbering_n(nb);
    char room[24], *owned;
    int rv = json_object_set_new(nb->numbers, spell(value, room, sizeof room, &owned),
                                 json_integer((json_int_t)number));
    assert(rv == 0);
    (void)rv;
    free(owned);
    return number;
}

const char *json_brief(const json_t *value, char *out, size_t out_size)
{
    char room[24], *owned;
    const char *text = spell(value, room, sizeof room, &owned);
    size_t size = strnlen(text, out_size - 1);
    memcpy(out, text, size);
    out[size] = '\0';
    free(owned);
    return out;
}
