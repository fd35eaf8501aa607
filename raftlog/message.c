/* The codec of what nodes say to each other; every byte that comes in is taken for hostile.
 *
 * Bodies behind the frame header (integers little-endian, no padding):
 *
 *   HELLO           cluster u64 | incarnation u64 | from u64 | to u64 | address size u16 |
 *                   advert size u16 | address | advert
 *
 *   RAFT            kind u8, then by kind
 *
 *     1 append      term u64 | prev index u64 | prev term u64 | commit u64 | n u32 |
 *                   n x (term u64 | size u32 | crc u32 | type u8) | the payloads, end to end
 *
 *     2 appended    term u64 | rejected u64 | last index u64 | features u16 | capacity u16
 *
 *     3 vote        term u64 | candidate u64 | last index u64 | last term u64 |
 *                   flags u8 (1 disrupt, 2 pre-vote)
 *
 *     4 voted       term u64 | flags u8 (1 granted, 2 pre-vote) | features u16 | capacity u16
 *
 *     5 install     term u64 | manifest (see manifest.c)
 *
 *     6 timeout now term u64 | last index u64 | last term u64
 *
 *   PROBE(_ACK)     term u64 | round u64
 *
 *   READ_INDEX      id u64 | term u64;  its ACK: id u64 | term u64 | index u64 | ok u8
 *
 *   PULL            index u64 | term u64 | offset u64 | size u32;  CHUNK: the same, then `size` bytes
 *
 *   POST            bytes */
#include "message.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "assent/error.h"
#include "assent/limits.h"
#include "wire.h"

static_assert((int)ENTRY_COMMAND == (int)RAFT_COMMAND, "types on the wire are libraft's");
static_assert((int)ENTRY_BARRIER == (int)RAFT_BARRIER, "types on the wire are libraft's");
static_assert((int)ENTRY_CHANGE == (int)RAFT_CHANGE, "types on the wire are libraft's");
static_assert(RAFT_APPEND_ENTRIES == 1 && RAFT_TIMEOUT_NOW == 6, "kinds on the wire are libraft's");

#define MAGIC             "ASNT"
#define ENTRY_HEAD_BYTES  17
#define APPEND_HEAD_BYTES (1 + 4 * 8 + 4)
#define HELLO_HEAD_BYTES  (4 * 8 + 2 * 2)
#define CHUNK_HEAD_BYTES  (3 * 8 + 4)

/* Versions the library writes into its messages at 0.22.1; they never vary, so they do not travel. */
#define VERSION_APPEND_RESULT 2
#define VERSION_VOTE          2
#define VERSION_VOTE_RESULT   2

static bool get_bool(struct wire_reader *r)
{
    uint64_t v = wire_get(r, 1);
    if (v > 1) {
        r->ok = false;
    }
    return v == 1;
}

/* ---- sizes ---- */

static uint32_t append_n(const struct message *m)
{
    return m->type == MESSAGE_RAFT && m->raft.raft.type == RAFT_APPEND_ENTRIES
               ? m->raft.raft.append_entries.n_entries
               : 0;
}

static size_t raft_head_size(const struct message *m)
{
    switch (m->raft.raft.type) {
    case RAFT_APPEND_ENTRIES:
        return APPEND_HEAD_BYTES + (size_t)append_n(m) * ENTRY_HEAD_BYTES;
    case RAFT_APPEND_ENTRIES_RESULT:
        return 1 + 3 * 8 + 2 * 2;
    case RAFT_REQUEST_VOTE:
        return 1 + 4 * 8 + 1;
    case RAFT_REQUEST_VOTE_RESULT:
        return 1 + 8 + 1 + 2 * 2;
    case RAFT_INSTALL_SNAPSHOT:
        return 1 + 8 + manifest_encoded_size(&m->raft.manifest);
    case RAFT_TIMEOUT_NOW:
        return 1 + 3 * 8;
    }
    abort(); /* our own message: there is no other kind */
}

static size_t body_head_size(const struct message *m)
{
    switch (m->type) {
    case MESSAGE_HELLO:
        return HELLO_HEAD_BYTES + m->hello.address.size + m->hello.advert.size;
    case MESSAGE_RAFT:
        return raft_head_size(m);
    case MESSAGE_PROBE:
    case MESSAGE_PROBE_ACK:
    case MESSAGE_READ_INDEX:
        return 2 * 8;
    case MESSAGE_READ_INDEX_ACK:
        return 3 * 8 + 1;
    case MESSAGE_PULL:
    case MESSAGE_CHUNK:
        return CHUNK_HEAD_BYTES;
    case MESSAGE_POST:
        return 0;
    case MESSAGE_TYPE_END:
        break;
    }
    abort();
}

/* Largest body of a type; a longer one is refused before a byte of it is read. */
static size_t body_size_max(enum message_type type)
{
    switch (type) {
    case MESSAGE_HELLO:
        return HELLO_HEAD_BYTES + MESSAGE_ADDRESS_BYTES_MAX + MESSAGE_ADVERT_BYTES_MAX;
    case MESSAGE_RAFT:
        return APPEND_HEAD_BYTES + MESSAGE_ENTRIES_MAX * ENTRY_HEAD_BYTES + MESSAGE_APPEND_BYTES_TARGET +
               ASSENT_ENTRY_BYTES_MAX;
    case MESSAGE_PROBE:
    case MESSAGE_PROBE_ACK:
    case MESSAGE_READ_INDEX:
        return 2 * 8;
    case MESSAGE_READ_INDEX_ACK:
        return 3 * 8 + 1;
    case MESSAGE_PULL:
        return CHUNK_HEAD_BYTES;
    case MESSAGE_CHUNK:
        return CHUNK_HEAD_BYTES + MESSAGE_CHUNK_BYTES_MAX;
    case MESSAGE_POST:
        return ASSENT_FRAME_BYTES_MAX;
    case MESSAGE_TYPE_END:
        break;
    }
    abort();
}

size_t message_head_size(const struct message *m)
{
    return MESSAGE_HEADER_BYTES + body_head_size(m);
}

uint32_t message_tail_n(const struct message *m)
{
    switch (m->type) {
    case MESSAGE_RAFT:
        return append_n(m);
    case MESSAGE_CHUNK:
        return m->chunk.data.size > 0;
    case MESSAGE_POST:
        return m->post.size > 0;
    default:
        return 0;
    }
}

struct assent_bytes message_tail(const struct message *m, uint32_t i)
{
    assert(i < message_tail_n(m));
    if (m->type == MESSAGE_RAFT) {
        const struct entry *e = m->raft.entries[i];
        return (struct assent_bytes){e->payload, e->size};
    }
    return m->type == MESSAGE_CHUNK ? m->chunk.data : m->post;
}

size_t message_tail_size(const struct message *m)
{
    size_t size = 0;
    for (uint32_t i = 0; i < message_tail_n(m); i++) {
        size += message_tail(m, i).size;
    }
    return size;
}

/* ---- encoding ---- */

static void put_append(struct wire_writer *w, const struct message *m)
{
    const struct raft_append_entries *a = &m->raft.raft.append_entries;
    assert(a->n_entries <= MESSAGE_ENTRIES_MAX);
    wire_put(w, a->term, 8);
    wire_put(w, a->prev_log_index, 8);
    wire_put(w, a->prev_log_term, 8);
    wire_put(w, a->leader_commit, 8);
    wire_put(w, a->n_entries, 4);
    for (uint32_t i = 0; i < a->n_entries; i++) {
        const struct entry *e = m->raft.entries[i];
        assert(e->index == a->prev_log_index + 1 + i);
        wire_put(w, e->term, 8);
        wire_put(w, e->size, 4);
        wire_put(w, e->crc, 4);
        wire_put(w, e->type, 1);
    }
}

static void put_raft(struct wire_writer *w, const struct message *m)
{
    const struct raft_message *r = &m->raft.raft;
    wire_put(w, (uint64_t)r->type, 1);
    switch (r->type) {
    case RAFT_APPEND_ENTRIES:
        put_append(w, m);
        break;
    case RAFT_APPEND_ENTRIES_RESULT:
        wire_put(w, r->append_entries_result.term, 8);
        wire_put(w, r->append_entries_result.rejected, 8);
        wire_put(w, r->append_entries_result.last_log_index, 8);
        wire_put(w, r->append_entries_result.features, 2);
        wire_put(w, r->append_entries_result.capacity, 2);
        break;
    case RAFT_REQUEST_VOTE:
        wire_put(w, r->request_vote.term, 8);
        wire_put(w, r->request_vote.candidate_id, 8);
        wire_put(w, r->request_vote.last_log_index, 8);
        wire_put(w, r->request_vote.last_log_term, 8);
        wire_put(w, (r->request_vote.disrupt_leader ? 1u : 0u) | (r->request_vote.pre_vote ? 2u : 0u), 1);
        break;
    case RAFT_REQUEST_VOTE_RESULT:
        wire_put(w, r->request_vote_result.term, 8);
        wire_put(
            w, (r->request_vote_result.vote_granted ? 1u : 0u) | (r->request_vote_result.pre_vote ? 2u : 0u),
            1);
        wire_put(w, r->request_vote_result.features, 2);
        wire_put(w, r->request_vote_result.capacity, 2);
        break;
    case RAFT_INSTALL_SNAPSHOT:
        wire_put(w, r->install_snapshot.term, 8);
        manifest_encode(&m->raft.manifest, w->p);
        w->p += manifest_encoded_size(&m->raft.manifest);
        break;
    case RAFT_TIMEOUT_NOW:
        wire_put(w, r->timeout_now.term, 8);
        wire_put(w, r->timeout_now.last_log_index, 8);
        wire_put(w, r->timeout_now.last_log_term, 8);
        break;
    }
}

static void put_hello(struct wire_writer *w, const struct message *m)
{
    assert(m->hello.address.size <= MESSAGE_ADDRESS_BYTES_MAX);
    assert(m->hello.advert.size <= MESSAGE_ADVERT_BYTES_MAX);
    wire_put(w, m->hello.cluster_id, 8);
    wire_put(w, m->hello.incarnation, 8);
    wire_put(w, m->hello.from, 8);
    wire_put(w, m->hello.to, 8);
    wire_put(w, m->hello.address.size, 2);
    wire_put(w, m->hello.advert.size, 2);
    wire_put_bytes(w, m->hello.address);
    wire_put_bytes(w, m->hello.advert);
}

static void put_body(struct wire_writer *w, const struct message *m)
{
    switch (m->type) {
    case MESSAGE_HELLO:
        put_hello(w, m);
        break;
    case MESSAGE_RAFT:
        put_raft(w, m);
        break;
    case MESSAGE_PROBE:
    case MESSAGE_PROBE_ACK:
        wire_put(w, m->probe.term, 8);
        wire_put(w, m->probe.round, 8);
        break;
    case MESSAGE_READ_INDEX:
    case MESSAGE_READ_INDEX_ACK:
        wire_put(w, m->read_index.id, 8);
        wire_put(w, m->read_index.term, 8);
        if (m->type == MESSAGE_READ_INDEX_ACK) {
            wire_put(w, m->read_index.index, 8);
            wire_put(w, m->read_index.ok, 1);
        }
        break;
    case MESSAGE_PULL:
    case MESSAGE_CHUNK:
        assert(m->type == MESSAGE_PULL || m->chunk.size == m->chunk.data.size);
        wire_put(w, m->chunk.index, 8);
        wire_put(w, m->chunk.term, 8);
        wire_put(w, m->chunk.offset, 8);
        wire_put(w, m->chunk.size, 4);
        break;
    case MESSAGE_POST:
    case MESSAGE_TYPE_END:
        break;
    }
}

size_t message_encode_head(const struct message *m, uint8_t *head)
{
    const size_t head_size = message_head_size(m);
    const size_t body_size = head_size - MESSAGE_HEADER_BYTES + message_tail_size(m);
    assert(body_size <= body_size_max(m->type));
    struct wire_writer w = {head};
    wire_put_bytes(&w, (struct assent_bytes){(const uint8_t *)MAGIC, 4});
    wire_put(&w, MESSAGE_VERSION, 1);
    wire_put(&w, (uint64_t)m->type, 1);
    wire_put(&w, 0, 2);
    wire_put(&w, body_size, 4);
    w.p += 4; /* the checksum, last */
    put_body(&w, m);
    assert(w.p == head + head_size);

    uint32_t crc = crc32c(0, head + 4, 8);
    crc = crc32c(crc, head + MESSAGE_HEADER_BYTES, head_size - MESSAGE_HEADER_BYTES);
    for (uint32_t i = 0; i < message_tail_n(m); i++) {
        struct assent_bytes piece = message_tail(m, i);
        crc = crc32c(crc, piece.base, piece.size);
    }
    w.p = head + 12;
    wire_put(&w, crc, 4);
    return head_size;
}

/* ---- decoding ---- */

int message_decode_header(const uint8_t header[MESSAGE_HEADER_BYTES], enum message_type *type,
                          uint32_t *body_size)
{
    struct wire_reader r = {header + 4, MESSAGE_HEADER_BYTES - 4, true};
    uint64_t version = wire_get(&r, 1);
    uint64_t number = wire_get(&r, 1);
    uint64_t reserved = wire_get(&r, 2);
    uint64_t size = wire_get(&r, 4);
    if (memcmp(header, MAGIC, 4) != 0 || version != MESSAGE_VERSION || number == 0 ||
        number >= MESSAGE_TYPE_END || reserved != 0) {
        return ASSENT_PROTOCOL;
    }
    *type = (enum message_type)number;
    if (size > body_size_max(*type)) {
        return ASSENT_TOO_LARGE;
    }
    *body_size = (uint32_t)size;
    return 0;
}

static void get_hello(struct wire_reader *r, struct message *m)
{
    m->hello.cluster_id = wire_get(r, 8);
    m->hello.incarnation = wire_get(r, 8);
    m->hello.from = wire_get(r, 8);
    m->hello.to = wire_get(r, 8);
    size_t address_size = (size_t)wire_get(r, 2);
    size_t advert_size = (size_t)wire_get(r, 2);
    m->hello.address = wire_get_bytes(r, address_size);
    m->hello.advert = wire_get_bytes(r, advert_size);
    if (m->hello.from == 0 || m->hello.to == 0 || m->hello.from == m->hello.to ||
        !wire_address_valid(m->hello.address) || advert_size > MESSAGE_ADVERT_BYTES_MAX) {
        r->ok = false;
    }
}

/* One entry: its head from `heads`, its payload from `r`. */
static int get_entry(struct wire_reader *heads, struct wire_reader *r, uint64_t index, struct entry **out)
{
    uint64_t term = wire_get(heads, 8);
    uint32_t size = (uint32_t)wire_get(heads, 4);
    uint32_t crc = (uint32_t)wire_get(heads, 4);
    uint8_t type = (uint8_t)wire_get(heads, 1);
    struct assent_bytes payload = wire_get_bytes(r, size);
    struct entry *e = entry_new(type, size);
    if (e == NULL) {
        return ASSENT_NOMEM;
    }
    *out = e;
    if (size > 0) {
        memcpy(e->payload, payload.base, size);
    }
    e->index = index;
    e->term = term;
    e->crc = crc;
    return entry_crc(e) == crc ? 0 : ASSENT_CORRUPT;
}

/* What can be said about the entries before memory is spent on them: types, terms in order, sizes that add up
 * to exactly the bytes behind the heads, configurations. */
static bool entries_plausible(struct wire_reader heads, const struct raft_append_entries *a,
                              struct wire_reader payloads)
{
    uint64_t last_term = a->prev_log_term;
    for (uint32_t i = 0; i < a->n_entries; i++) {
        uint64_t term = wire_get(&heads, 8);
        size_t size = (size_t)wire_get(&heads, 4);
        wire_get(&heads, 4);
        uint64_t type = wire_get(&heads, 1);
        struct assent_bytes payload = wire_get_bytes(&payloads, size);
        if (!payloads.ok || size == 0 || size > ASSENT_ENTRY_BYTES_MAX || term == 0 || term < last_term ||
            term > a->term) {
            return false;
        }
        if (type == ENTRY_CHANGE ? !configuration_bytes_valid(payload)
                                 : type != ENTRY_COMMAND && type != ENTRY_BARRIER) {
            return false;
        }
        last_term = term;
    }
    return heads.ok && payloads.left == 0;
}

static int get_append(struct wire_reader *r, struct message *m)
{
    struct raft_append_entries *a = &m->raft.raft.append_entries;
    a->term = wire_get(r, 8);
    a->prev_log_index = wire_get_index(r);
    a->prev_log_term = wire_get(r, 8);
    a->leader_commit = wire_get_index(r);
    uint32_t n = (uint32_t)wire_get(r, 4);
    if (!r->ok || a->term == 0 || (a->prev_log_index == 0) != (a->prev_log_term == 0) ||
        a->prev_log_term > a->term || n > MESSAGE_ENTRIES_MAX || a->prev_log_index > MESSAGE_INDEX_MAX - n) {
        return ASSENT_MALFORMED;
    }
    struct assent_bytes head_bytes = wire_get_bytes(r, (size_t)n * ENTRY_HEAD_BYTES);
    struct wire_reader heads = {head_bytes.base, head_bytes.size, r->ok};
    a->n_entries = n;
    if (!r->ok || !entries_plausible(heads, a, *r)) {
        a->n_entries = 0;
        return ASSENT_MALFORMED;
    }
    a->n_entries = 0; /* counts what message_close() has to drop */
    if (n == 0) {
        return 0;
    }
    m->raft.entries = malloc(n * sizeof(struct entry *));
    if (m->raft.entries == NULL) {
        return ASSENT_NOMEM;
    }
    for (uint32_t i = 0; i < n; i++) {
        m->raft.entries[i] = NULL;
        a->n_entries = i + 1;
        int rv = get_entry(&heads, r, a->prev_log_index + 1 + i, &m->raft.entries[i]);
        if (rv != 0) {
            return rv;
        }
    }
    return 0;
}

static void get_append_result(struct wire_reader *r, struct raft_append_entries_result *a)
{
    a->version = VERSION_APPEND_RESULT;
    a->term = wire_get(r, 8);
    a->rejected = wire_get_index(r);
    a->last_log_index = wire_get_index(r);
    a->features = (unsigned short)wire_get(r, 2);
    a->capacity = (unsigned short)wire_get(r, 2);
}

static void get_vote(struct wire_reader *r, struct raft_request_vote *v)
{
    v->version = VERSION_VOTE;
    v->term = wire_get(r, 8);
    v->candidate_id = wire_get(r, 8);
    v->last_log_index = wire_get_index(r);
    v->last_log_term = wire_get(r, 8);
    uint64_t flags = wire_get(r, 1);
    v->disrupt_leader = (flags & 1) != 0;
    v->pre_vote = (flags & 2) != 0;
    if (v->term == 0 || v->candidate_id == 0 || flags > 3 || v->last_log_term > v->term ||
        (v->last_log_index == 0) != (v->last_log_term == 0)) {
        r->ok = false;
    }
}

static void get_vote_result(struct wire_reader *r, struct raft_request_vote_result *v)
{
    v->version = VERSION_VOTE_RESULT;
    v->term = wire_get(r, 8);
    uint64_t flags = wire_get(r, 1);
    v->vote_granted = (flags & 1) != 0;
    v->pre_vote = (flags & 2) != 0;
    v->features = (unsigned short)wire_get(r, 2);
    v->capacity = (unsigned short)wire_get(r, 2);
    if (flags > 3) {
        r->ok = false;
    }
}

static int get_install(struct wire_reader *r, struct message *m)
{
    struct raft_install_snapshot *s = &m->raft.raft.install_snapshot;
    s->term = wire_get(r, 8);
    struct assent_bytes rest = wire_get_bytes(r, r->left);
    int rv = manifest_decode(rest, &m->raft.manifest);
    if (rv != 0 || !r->ok || s->term == 0 || m->raft.manifest.term > s->term) {
        return ASSENT_MALFORMED;
    }
    s->last_index = m->raft.manifest.index;
    s->last_term = m->raft.manifest.term;
    s->conf_index = m->raft.manifest.configuration_index;
    return 0;
}

static void get_timeout_now(struct wire_reader *r, struct raft_timeout_now *t)
{
    t->term = wire_get(r, 8);
    t->last_log_index = wire_get_index(r);
    t->last_log_term = wire_get(r, 8);
    if (t->term == 0 || t->last_log_term > t->term || (t->last_log_index == 0) != (t->last_log_term == 0)) {
        r->ok = false;
    }
}

static int get_raft(struct wire_reader *r, struct message *m)
{
    uint64_t kind = wire_get(r, 1);
    if (!r->ok || kind < RAFT_APPEND_ENTRIES || kind > RAFT_TIMEOUT_NOW) {
        return ASSENT_MALFORMED;
    }
    m->raft.raft.type = (enum raft_message_type)kind;
    switch (m->raft.raft.type) {
    case RAFT_APPEND_ENTRIES:
        return get_append(r, m);
    case RAFT_APPEND_ENTRIES_RESULT:
        get_append_result(r, &m->raft.raft.append_entries_result);
        break;
    case RAFT_REQUEST_VOTE:
        get_vote(r, &m->raft.raft.request_vote);
        break;
    case RAFT_REQUEST_VOTE_RESULT:
        get_vote_result(r, &m->raft.raft.request_vote_result);
        break;
    case RAFT_INSTALL_SNAPSHOT:
        return get_install(r, m);
    case RAFT_TIMEOUT_NOW:
        get_timeout_now(r, &m->raft.raft.timeout_now);
        break;
    }
    return 0;
}

static void get_chunk(struct wire_reader *r, struct message *m)
{
    m->chunk.index = wire_get_index(r);
    m->chunk.term = wire_get(r, 8);
    m->chunk.offset = wire_get(r, 8);
    m->chunk.size = (uint32_t)wire_get(r, 4);
    if (m->chunk.index == 0 || m->chunk.term == 0 || m->chunk.offset > INT64_MAX ||
        m->chunk.size > MESSAGE_CHUNK_BYTES_MAX) {
        r->ok = false;
    }
    if (m->type == MESSAGE_CHUNK) {
        m->chunk.data = wire_get_bytes(r, m->chunk.size);
    } else if (m->chunk.size == 0) {
        r->ok = false;
    }
}

static int get_body(struct wire_reader *r, struct message *m)
{
    switch (m->type) {
    case MESSAGE_HELLO:
        get_hello(r, m);
        break;
    case MESSAGE_RAFT:
        return get_raft(r, m);
    case MESSAGE_PROBE:
    case MESSAGE_PROBE_ACK:
        m->probe.term = wire_get(r, 8);
        m->probe.round = wire_get(r, 8);
        if (m->probe.term == 0) {
            r->ok = false;
        }
        break;
    case MESSAGE_READ_INDEX:
    case MESSAGE_READ_INDEX_ACK:
        m->read_index.id = wire_get(r, 8);
        m->read_index.term = wire_get(r, 8);
        if (m->type == MESSAGE_READ_INDEX_ACK) {
            m->read_index.index = wire_get_index(r);
            m->read_index.ok = get_bool(r);
        }
        break;
    case MESSAGE_PULL:
    case MESSAGE_CHUNK:
        get_chunk(r, m);
        break;
    case MESSAGE_POST:
        m->post = wire_get_bytes(r, r->left);
        break;
    case MESSAGE_TYPE_END:
        return ASSENT_MALFORMED;
    }
    return 0;
}

int message_decode(const uint8_t header[MESSAGE_HEADER_BYTES], const uint8_t *body, uint32_t body_size,
                   struct message *m)
{
    uint32_t announced;
    memset(m, 0, sizeof *m);
    if (message_decode_header(header, &m->type, &announced) != 0 || announced != body_size) {
        return ASSENT_MALFORMED;
    }
    struct wire_reader crc = {header + 12, 4, true};
    if (crc32c(crc32c(0, header + 4, 8), body, body_size) != wire_get(&crc, 4)) {
        return ASSENT_CORRUPT;
    }
    struct wire_reader r = {body, body_size, true};
    int rv = get_body(&r, m);
    if (rv == 0 && (!r.ok || r.left != 0)) {
        rv = ASSENT_MALFORMED;
    }
    if (rv != 0) {
        message_close(m);
    }
    return rv;
}

void message_close(struct message *m)
{
    if (m->type == MESSAGE_RAFT && m->raft.raft.type == RAFT_APPEND_ENTRIES) {
        for (uint32_t i = 0; i < m->raft.raft.append_entries.n_entries; i++) {
            entry_unref(m->raft.entries[i]);
        }
        free(m->raft.entries);
        m->raft.entries = NULL;
        m->raft.raft.append_entries.n_entries = 0;
    }
}
