/* Keys of the store: pieces whose bytes sort as what they mean. */
#include <assert.h>
#include <string.h>

#include "store.h"

static uint8_t *key_room(struct store_key *k, size_t size)
{
    assert(size <= STORE_KEY_MAX - k->size);
    uint8_t *at = k->bytes + k->size;
    k->size += (uint32_t)size;
    return at;
}

void key_u64(struct store_key *k, uint64_t v)
{
    uint8_t *at = key_room(k, 8);
    for (int i = 0; i < 8; i++)
        at[i] = (uint8_t)(v >> (56 - 8 * i));
}

void key_u8(struct store_key *k, uint8_t v)
{
    *key_room(k, 1) = v;
}

void key_text(struct store_key *k, struct assent_bytes v)
{
    key_tail(k, v);
    *key_room(k, 1) = 0;
}

void key_tail(struct store_key *k, struct assent_bytes v)
{
    uint8_t *at = key_room(k, v.size);
    if (v.size > 0)
        memcpy(at, v.base, v.size);
}

struct assent_bytes key_bytes(const struct store_key *k)
{
    return (struct assent_bytes){k->bytes, k->size};
}

static void advance(struct assent_bytes *key, size_t size)
{
    key->base += size;
    key->size -= size;
}

bool key_take_u64(struct assent_bytes *key, uint64_t *v)
{
    if (key->size < 8)
        return false;
    *v = 0;
    for (int i = 0; i < 8; i++)
        *v = *v << 8 | key->base[i];
    advance(key, 8);
    return true;
}

bool key_take_u8(struct assent_bytes *key, uint8_t *v)
{
    if (key->size < 1)
        return false;
    *v = key->base[0];
    advance(key, 1);
    return true;
}

bool key_take_text(struct assent_bytes *key, struct assent_bytes *v)
{
    const uint8_t *end = key->size > 0 ? memchr(key->base, 0, key->size) : NULL;
    if (end == NULL)
        return false;
    *v = (struct assent_bytes){key->base, (size_t)(end - key->base)};
    advance(key, v->size + 1);
    return true;
}
