/* Encoded configurations and snapshot manifests, checked completely before anybody decodes them.
 *
 *   manifest        format u8 = 1 | index u64 | term u64 | configuration index u64 | size u64 | digest u64 |
 *                   crc u32 | chunk size u64 | configuration size u32 | configuration */
#include <assert.h>
#include <string.h>

#include "assent/error.h"
#include "assent/limits.h"
#include "message.h"
#include "wire.h"

#define MANIFEST_FORMAT 1
#define MANIFEST_BYTES  (1 + 5 * 8 + 4 + 8 + 4)
/* Of a configuration: format, count, then per server at least id, an address of one byte, role. */
#define CONFIGURATION_BYTES_MAX (16 + ASSENT_NODES_MAX * (8 + MESSAGE_ADDRESS_BYTES_MAX + 1 + 1))

/* ---- configurations ---- */

bool wire_address_valid(struct assent_bytes a)
{
    if (a.size == 0 || a.size > MESSAGE_ADDRESS_BYTES_MAX) {
        return false;
    }
    for (size_t i = 0; i < a.size; i++) {
        if (a.base[i] <= ' ' || a.base[i] > '~') { /* host names and numbers; nothing that confuses a log */
            return false;
        }
    }
    return true;
}

struct server {
    uint64_t id;
    struct assent_bytes address;
};

static bool server_repeats(const struct server *seen, uint64_t n, const struct server *s)
{
    for (uint64_t i = 0; i < n; i++) {
        if (seen[i].id == s->id || (seen[i].address.size == s->address.size &&
                                    memcmp(seen[i].address.base, s->address.base, s->address.size) == 0)) {
            return true;
        }
    }
    return false;
}

static bool get_server(struct wire_reader *r, struct server *s, bool *voter)
{
    s->id = wire_get(r, 8);
    const uint8_t *zero = r->left > 0 ? memchr(r->p, 0, r->left) : NULL;
    if (!r->ok || s->id == 0 || zero == NULL) {
        return false;
    }
    s->address = wire_get_bytes(r, (size_t)(zero - r->p));
    wire_get(r, 1);
    uint64_t role = wire_get(r, 1);
    *voter = role == RAFT_VOTER;
    return r->ok && wire_address_valid(s->address) &&
           (role == RAFT_STANDBY || role == RAFT_VOTER || role == RAFT_SPARE);
}

bool configuration_bytes_valid(struct assent_bytes bytes)
{
    struct server seen[ASSENT_NODES_MAX];
    if (bytes.base == NULL || bytes.size > CONFIGURATION_BYTES_MAX || bytes.size % 8 != 0) {
        return false;
    }
    struct wire_reader r = {bytes.base, bytes.size, true};
    uint64_t format = wire_get(&r, 1);
    uint64_t n = wire_get(&r, 8);
    if (!r.ok || format != 1 || n == 0 || n > ASSENT_NODES_MAX) {
        return false;
    }
    bool any_voter = false;
    for (uint64_t i = 0; i < n; i++) {
        bool voter;
        if (!get_server(&r, &seen[i], &voter) || server_repeats(seen, i, &seen[i])) {
            return false;
        }
        any_voter = any_voter || voter;
    }
    if (!any_voter || r.left >= 8) {
        return false;
    }
    for (; r.left > 0;) { /* the library pads with zeros to a multiple of 8 */
        if (wire_get(&r, 1) != 0) {
            return false;
        }
    }
    return true;
}

/* ---- manifests ---- */

size_t manifest_encoded_size(const struct snapshot_manifest *m)
{
    return MANIFEST_BYTES + m->configuration.size;
}

void manifest_encode(const struct snapshot_manifest *m, uint8_t *out)
{
    assert(m->configuration.size <= CONFIGURATION_BYTES_MAX);
    struct wire_writer w = {out};
    wire_put(&w, MANIFEST_FORMAT, 1);
    wire_put(&w, m->index, 8);
    wire_put(&w, m->term, 8);
    wire_put(&w, m->configuration_index, 8);
    wire_put(&w, m->size, 8);
    wire_put(&w, m->digest, 8);
    wire_put(&w, m->crc, 4);
    wire_put(&w, m->chunk_size, 8);
    wire_put(&w, m->configuration.size, 4);
    wire_put_bytes(&w, m->configuration);
}

int manifest_decode(struct assent_bytes bytes, struct snapshot_manifest *m)
{
    struct wire_reader r = {bytes.base, bytes.size, true};
    uint64_t format = wire_get(&r, 1);
    *m = (struct snapshot_manifest){0};
    m->index = wire_get_index(&r);
    m->term = wire_get(&r, 8);
    m->configuration_index = wire_get_index(&r);
    m->size = wire_get(&r, 8);
    m->digest = wire_get(&r, 8);
    m->crc = (uint32_t)wire_get(&r, 4);
    m->chunk_size = wire_get(&r, 8);
    m->configuration = wire_get_bytes(&r, (size_t)wire_get(&r, 4));
    if (!r.ok || r.left != 0 || format != MANIFEST_FORMAT || m->index == 0 || m->term == 0 ||
        m->configuration_index == 0 || m->configuration_index > m->index || m->size > INT64_MAX ||
        m->chunk_size == 0 || m->chunk_size > MESSAGE_CHUNK_BYTES_MAX ||
        !configuration_bytes_valid(m->configuration)) {
        *m = (struct snapshot_manifest){0};
        return ASSENT_MALFORMED;
    }
    return 0;
}
