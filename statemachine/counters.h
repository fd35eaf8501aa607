/* Vectors as commands carry them and replies show them: a map from member to counter.  Private to
 * statemachine/. */
#ifndef STATEMACHINE_COUNTERS_H
#define STATEMACHINE_COUNTERS_H

#include "assent/clock.h"
#include "codec.h"

/* A vector with its own room. */
struct counters {
    struct assent_vector vector;
    struct assent_counter room[ASSENT_VECTOR_MEMBERS_MAX];
};

/* Take `map` (checked against the schema), sorted; false: a member stands twice. */
static inline bool counters_read(struct counters *c, const struct codec_node *map)
{
    c->vector = (struct assent_vector){c->room, 0, ASSENT_VECTOR_MEMBERS_MAX};
    for (uint32_t i = 0; i < codec_size(map); i++) {
        uint64_t count = codec_as_uint(codec_value_at(map, i));
        if (count > 0) { /* an absent member counts as 0, so 0 says nothing */
            c->room[c->vector.n++] = (struct assent_counter){codec_as_bytes(codec_key_at(map, i)), count};
        }
    }
    return assent_vector_sort(&c->vector);
}

static inline void counters_write(struct codec_writer *out, const char *key, const struct assent_vector *v)
{
    codec_cstr(out, key);
    codec_map(out, v->n);
    for (uint32_t i = 0; i < v->n; i++) {
        codec_text(out, v->entries[i].member);
        codec_uint(out, v->entries[i].count);
    }
}

#endif /* STATEMACHINE_COUNTERS_H */
