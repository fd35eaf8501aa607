/* Sequence numbers of one session: which are out, and below which every one was answered. */
#include <assert.h>
#include <string.h>

#include "internal.h"

void session_begin(struct session *s, uint64_t client, uint64_t now_ms)
{
    assert(client != 0);
    memset(s->answered, 0, sizeof s->answered);
    s->state = SESSION_READY;
    s->client = client;
    s->next = 1;
    s->acknowledged = 0;
    s->used_ms = now_ms;
}

bool session_has_room(const struct session *s)
{
    return s->next - s->acknowledged <= SESSION_WINDOW;
}

uint64_t session_take(struct session *s)
{
    assert(session_has_room(s));
    return s->next++;
}

void session_answered(struct session *s, uint64_t client, uint64_t sequence)
{
    if (client != s->client) {
        return; /* of a session we gave up */
    }
    assert(sequence > s->acknowledged);
    assert(sequence < s->next);
    uint64_t bit = sequence % SESSION_WINDOW;
    s->answered[bit / 64] |= 1ull << bit % 64;
    for (;;) {
        bit = (s->acknowledged + 1) % SESSION_WINDOW;
        uint64_t mask = 1ull << bit % 64;
        if ((s->answered[bit / 64] & mask) == 0) {
            return;
        }
        s->answered[bit / 64] &= ~mask;
        s->acknowledged++;
    }
}
