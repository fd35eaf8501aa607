/* The codec: every type survives the round trip, its bytes are pinned, and malformed input is refused. */
#include "message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "assent/error.h"
#include "assent/limits.h"

#define FRAME_MAX (1 << 16)

/* A configuration of two voters and a standby, as the library encodes it. */
static struct assent_bytes configuration(void)
{
    static uint8_t bytes[512];
    static size_t size;
    if (size == 0) {
        struct raft_configuration c;
        struct raft_buffer buf;
        raft_configuration_init(&c);
        assert_int_equal(raft_configuration_add(&c, 1, "10.0.0.1:9081", RAFT_VOTER), 0);
        assert_int_equal(raft_configuration_add(&c, 2, "10.0.0.2:9081", RAFT_VOTER), 0);
        assert_int_equal(raft_configuration_add(&c, 3, "node-3.example:9081", RAFT_STANDBY), 0);
        assert_int_equal(raft_configuration_encode(&c, &buf), 0);
        assert_true(buf.len <= sizeof bytes);
        memcpy(bytes, buf.base, buf.len);
        size = buf.len;
        raft_free(buf.base);
        raft_configuration_close(&c);
    }
    return (struct assent_bytes){bytes, size};
}

static size_t encode(const struct message *m, uint8_t *frame)
{
    size_t size = message_encode_head(m, frame);
    assert_int_equal(size, message_head_size(m));
    for (uint32_t i = 0; i < message_tail_n(m); i++) {
        struct assent_bytes piece = message_tail(m, i);
        memcpy(frame + size, piece.base, piece.size);
        size += piece.size;
    }
    assert_int_equal(size, message_head_size(m) + message_tail_size(m));
    assert_true(size <= FRAME_MAX);
    return size;
}

/* Decode from a block of exactly the right size, so that the sanitizer sees a read past the end. */
static int decode(const uint8_t *frame, size_t size, struct message *m)
{
    enum message_type type;
    uint32_t body_size;
    int rv = message_decode_header(frame, &type, &body_size);
    if (rv != 0) {
        return rv;
    }
    assert_int_equal(body_size, size - MESSAGE_HEADER_BYTES);
    uint8_t *body = malloc(body_size > 0 ? body_size : 1);
    assert_non_null(body);
    memcpy(body, frame + MESSAGE_HEADER_BYTES, body_size);
    rv = message_decode(frame, body, body_size, m);
    if (rv == 0) {
        uint8_t again[FRAME_MAX];
        assert_int_equal(encode(m, again), size);
        assert_memory_equal(again, frame, size); /* one meaning, one encoding */
    }
    if (rv == 0 && m->type != MESSAGE_RAFT) {
        /* byte fields borrow from the body: let them live as long as the test */
        static uint8_t *kept;
        free(kept);
        kept = body;
        return 0;
    }
    if (rv == 0 && m->raft.raft.type == RAFT_INSTALL_SNAPSHOT) {
        static uint8_t *kept;
        free(kept);
        kept = body;
        return 0;
    }
    free(body);
    return rv;
}

/* Make header length and checksum of an altered frame right again. */
static void reseal(uint8_t *frame, size_t size)
{
    uint32_t body = (uint32_t)(size - MESSAGE_HEADER_BYTES);
    for (unsigned i = 0; i < 4; i++) {
        frame[8 + i] = (uint8_t)(body >> (8 * i));
    }
    uint32_t crc = crc32c(crc32c(0, frame + 4, 8), frame + MESSAGE_HEADER_BYTES, body);
    for (unsigned i = 0; i < 4; i++) {
        frame[12 + i] = (uint8_t)(crc >> (8 * i));
    }
}

/* ---- one message of each kind ---- */

static struct entry *entry(uint8_t type, const void *payload, size_t size, uint64_t index, uint64_t term)
{
    struct entry *e = entry_new(type, (uint32_t)size);
    assert_non_null(e);
    memcpy(e->payload, payload, size);
    entry_seal(e, index, term);
    return e;
}

static struct message hello(void)
{
    return (struct message){.type = MESSAGE_HELLO,
                            .hello = {.cluster_id = 0x1122334455667788,
                                      .incarnation = 2,
                                      .from = 1,
                                      .to = 3,
                                      .address = {(const uint8_t *)"10.0.0.1:9081", 13},
                                      .advert = {(const uint8_t *)"http=10.0.0.1:8080", 18}}};
}

static struct entry *append_entries[3];

static struct message append(void)
{
    struct message m = {.type = MESSAGE_RAFT};
    struct assent_bytes c = configuration();
    append_entries[0] = entry(ENTRY_BARRIER, "\0\0\0\0\0\0\0\0", 8, 42, 6);
    append_entries[1] = entry(ENTRY_COMMAND, "transfer 10 from a to b", 23, 43, 6);
    append_entries[2] = entry(ENTRY_CHANGE, c.base, c.size, 44, 7);
    m.raft.raft.type = RAFT_APPEND_ENTRIES;
    m.raft.raft.append_entries = (struct raft_append_entries){
        .term = 7, .prev_log_index = 41, .prev_log_term = 5, .leader_commit = 40, .n_entries = 3};
    m.raft.entries = append_entries;
    return m;
}

static void append_done(void)
{
    for (unsigned i = 0; i < 3; i++) {
        entry_unref(append_entries[i]);
        append_entries[i] = NULL;
    }
}

static struct message appended(void)
{
    struct message m = {.type = MESSAGE_RAFT};
    m.raft.raft.type = RAFT_APPEND_ENTRIES_RESULT;
    m.raft.raft.append_entries_result = (struct raft_append_entries_result){
        .version = 2, .term = 7, .rejected = 41, .last_log_index = 30, .features = 1, .capacity = 9};
    return m;
}

static struct message vote(void)
{
    struct message m = {.type = MESSAGE_RAFT};
    m.raft.raft.type = RAFT_REQUEST_VOTE;
    m.raft.raft.request_vote = (struct raft_request_vote){.version = 2,
                                                          .term = 8,
                                                          .candidate_id = 2,
                                                          .last_log_index = 44,
                                                          .last_log_term = 7,
                                                          .pre_vote = true};
    return m;
}

static struct message voted(void)
{
    struct message m = {.type = MESSAGE_RAFT};
    m.raft.raft.type = RAFT_REQUEST_VOTE_RESULT;
    m.raft.raft.request_vote_result = (struct raft_request_vote_result){
        .version = 2, .term = 8, .vote_granted = true, .features = 1, .capacity = 9};
    return m;
}

static struct message install(void)
{
    struct message m = {.type = MESSAGE_RAFT};
    m.raft.raft.type = RAFT_INSTALL_SNAPSHOT;
    m.raft.raft.install_snapshot =
        (struct raft_install_snapshot){.term = 9, .last_index = 1000, .last_term = 7, .conf_index = 44};
    m.raft.manifest = (struct snapshot_manifest){.index = 1000,
                                                 .term = 7,
                                                 .configuration_index = 44,
                                                 .configuration = configuration(),
                                                 .size = 5000000000,
                                                 .digest = 0xfeedfacecafebeef,
                                                 .crc = 0x01020304,
                                                 .chunk_size = 1 << 20};
    return m;
}

static struct message timeout_now(void)
{
    struct message m = {.type = MESSAGE_RAFT};
    m.raft.raft.type = RAFT_TIMEOUT_NOW;
    m.raft.raft.timeout_now = (struct raft_timeout_now){.term = 9, .last_log_index = 44, .last_log_term = 7};
    return m;
}

static struct message probe(void)
{
    return (struct message){.type = MESSAGE_PROBE, .probe = {.term = 9, .round = 77}};
}

static struct message probe_ack(void)
{
    return (struct message){.type = MESSAGE_PROBE_ACK, .probe = {.term = 9, .round = 77}};
}

static struct message read_index(void)
{
    return (struct message){.type = MESSAGE_READ_INDEX, .read_index = {.id = 5, .term = 9}};
}

static struct message read_index_ack(void)
{
    return (struct message){.type = MESSAGE_READ_INDEX_ACK,
                            .read_index = {.id = 5, .term = 9, .index = 1001, .ok = true}};
}

static struct message pull(void)
{
    return (struct message){.type = MESSAGE_PULL,
                            .chunk = {.index = 1000, .term = 7, .offset = 1 << 20, .size = 1 << 20}};
}

static struct message chunk(void)
{
    return (struct message){
        .type = MESSAGE_CHUNK,
        .chunk = {
            .index = 1000, .term = 7, .offset = 1 << 20, .size = 6, .data = {(const uint8_t *)"chunk!", 6}}};
}

static struct message post(void)
{
    return (struct message){.type = MESSAGE_POST, .post = {(const uint8_t *)"any bytes", 9}};
}

static const struct {
    const char *name;
    struct message (*make)(void);
} kinds[] = {
    {"hello", hello},
    {"append", append},
    {"appended", appended},
    {"vote", vote},
    {"voted", voted},
    {"install", install},
    {"timeout_now", timeout_now},
    {"probe", probe},
    {"probe_ack", probe_ack},
    {"read_index", read_index},
    {"read_index_ack", read_index_ack},
    {"pull", pull},
    {"chunk", chunk},
    {"post", post},
};
#define KINDS (sizeof kinds / sizeof kinds[0])

/* ---- golden bytes ---- */

static size_t read_golden(const char *name, uint8_t *out)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s.hex", GOLDEN_DIR, name);
    FILE *f = fopen(path, "r");
    if (f == NULL) {
        return 0;
    }
    size_t n = 0;
    unsigned byte;
    while (n < FRAME_MAX && fscanf(f, "%2x", &byte) == 1) {
        out[n++] = (uint8_t)byte;
    }
    fclose(f);
    return n;
}

static void each_type_has_its_golden_bytes(void **state)
{
    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        uint8_t frame[FRAME_MAX], golden[FRAME_MAX];
        struct message m = kinds[k].make();
        size_t size = encode(&m, frame);
        size_t golden_size = read_golden(kinds[k].name, golden);
        if (golden_size != size || memcmp(frame, golden, size) != 0) {
            fprintf(stderr, "%s.hex should hold:", kinds[k].name);
            for (size_t i = 0; i < size; i++) {
                fprintf(stderr, "%s%02x", i % 16 == 0 ? "\n" : " ", frame[i]);
            }
            fprintf(stderr, "\n");
        }
        assert_int_equal(golden_size, size);
        assert_memory_equal(frame, golden, size);
        append_done();
    }
}

/* ---- round trip ---- */

static void bytes_equal(struct assent_bytes a, struct assent_bytes b)
{
    assert_int_equal(a.size, b.size);
    if (a.size > 0) {
        assert_memory_equal(a.base, b.base, a.size);
    }
}

static void each_type_survives_the_round_trip(void **state)
{
    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        uint8_t frame[FRAME_MAX];
        struct message m = kinds[k].make(), got;
        size_t size = encode(&m, frame);
        assert_int_equal(decode(frame, size, &got), 0); /* encodes `got` again and compares the bytes */
        assert_int_equal(got.type, m.type);
        message_close(&got);
        append_done();
    }
}

static void decoded_entries_carry_index_term_and_payload(void **state)
{
    (void)state;
    uint8_t frame[FRAME_MAX];
    struct message m = append(), got;
    size_t size = encode(&m, frame);
    assert_int_equal(decode(frame, size, &got), 0);
    const struct raft_append_entries *a = &got.raft.raft.append_entries;
    assert_int_equal(a->term, 7);
    assert_int_equal(a->prev_log_index, 41);
    assert_int_equal(a->prev_log_term, 5);
    assert_int_equal(a->leader_commit, 40);
    assert_int_equal(a->n_entries, 3);
    assert_null(a->entries);
    for (unsigned i = 0; i < 3; i++) {
        const struct entry *e = got.raft.entries[i], *want = append_entries[i];
        assert_int_equal(e->index, 42 + i);
        assert_int_equal(e->term, want->term);
        assert_int_equal(e->type, want->type);
        assert_int_equal(e->crc, want->crc);
        bytes_equal((struct assent_bytes){e->payload, e->size},
                    (struct assent_bytes){want->payload, want->size});
    }
    /* an entry outlives the message it came with */
    struct entry *kept = entry_ref(got.raft.entries[1]);
    message_close(&got);
    assert_int_equal(entry_crc(kept), kept->crc);
    entry_unref(kept);
    append_done();
}

static void install_carries_the_manifest(void **state)
{
    (void)state;
    uint8_t frame[FRAME_MAX];
    struct message m = install(), got;
    assert_int_equal(decode(frame, encode(&m, frame), &got), 0);
    assert_int_equal(got.raft.raft.install_snapshot.last_index, 1000);
    assert_int_equal(got.raft.raft.install_snapshot.last_term, 7);
    assert_int_equal(got.raft.raft.install_snapshot.conf_index, 44);
    assert_int_equal(got.raft.manifest.size, 5000000000);
    assert_int_equal(got.raft.manifest.digest, 0xfeedfacecafebeef);
    assert_int_equal(got.raft.manifest.crc, 0x01020304);
    bytes_equal(got.raft.manifest.configuration, configuration());
    message_close(&got);
}

static void an_empty_append_is_a_heartbeat(void **state)
{
    (void)state;
    uint8_t frame[FRAME_MAX];
    struct message m = {.type = MESSAGE_RAFT}, got;
    m.raft.raft.type = RAFT_APPEND_ENTRIES;
    m.raft.raft.append_entries = (struct raft_append_entries){.term = 1};
    assert_int_equal(decode(frame, encode(&m, frame), &got), 0);
    assert_int_equal(got.raft.raft.append_entries.n_entries, 0);
    message_close(&got);
}

/* ---- refusals ---- */

static void a_damaged_byte_anywhere_is_refused(void **state)
{
    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        uint8_t frame[FRAME_MAX];
        struct message m = kinds[k].make(), got;
        size_t size = encode(&m, frame);
        for (size_t i = 0; i < size; i++) {
            enum message_type type;
            uint32_t body_size;
            frame[i] ^= 0x20;
            if (message_decode_header(frame, &type, &body_size) == 0 &&
                body_size == size - MESSAGE_HEADER_BYTES) {
                assert_int_not_equal(message_decode(frame, frame + MESSAGE_HEADER_BYTES, body_size, &got), 0);
            }
            frame[i] ^= 0x20;
        }
        append_done();
    }
}

static void a_short_or_long_body_is_refused(void **state)
{
    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        uint8_t frame[FRAME_MAX];
        struct message m = kinds[k].make(), got;
        size_t size = encode(&m, frame);
        if (m.type == MESSAGE_POST) {
            continue; /* any length is a post */
        }
        for (size_t cut = MESSAGE_HEADER_BYTES; cut < size; cut++) {
            uint8_t part[FRAME_MAX];
            memcpy(part, frame, cut);
            reseal(part, cut);
            assert_int_not_equal(decode(part, cut, &got), 0);
        }
        frame[size] = 0;
        reseal(frame, size + 1);
        assert_int_not_equal(decode(frame, size + 1, &got), 0);
        append_done();
    }
}

static void headers_are_checked_before_anything_is_read(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        uint8_t at, value;
        int want;
    } rows[] = {
        {"magic", 0, 'B', ASSENT_PROTOCOL},
        {"version", 4, 2, ASSENT_PROTOCOL},
        {"type 0", 5, 0, ASSENT_PROTOCOL},
        {"type too high", 5, MESSAGE_TYPE_END, ASSENT_PROTOCOL},
        {"reserved", 6, 1, ASSENT_PROTOCOL},
        {"reserved, high", 7, 1, ASSENT_PROTOCOL},
        {"length of 16 MiB", 11, 1, ASSENT_TOO_LARGE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t frame[FRAME_MAX];
        struct message m = probe();
        enum message_type type;
        uint32_t body_size;
        encode(&m, frame);
        frame[rows[i].at] = rows[i].value;
        print_message("%s\n", rows[i].why);
        assert_int_equal(message_decode_header(frame, &type, &body_size), rows[i].want);
    }
}

/* Offsets into the body of append(): kind 0, term 1, prev index 9, prev term 17, commit 25, n 33, heads 37.
 */
#define HEAD(i) (37 + 17 * (i))

static void append_fields_are_checked(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        unsigned at, bytes;
        uint64_t value;
    } rows[] = {
        {"unknown kind", 0, 1, 7},
        {"kind 0", 0, 1, 0},
        {"term 0", 1, 8, 0},
        {"message term below an entry's", 1, 8, 6},
        {"prev index 0 with a term", 9, 8, 0},
        {"prev index beyond the last possible", 9, 8, MESSAGE_INDEX_MAX - 1},
        {"prev index with term 0", 17, 8, 0},
        {"prev term above the message's", 17, 8, 8},
        {"prev term above the first entry's", 17, 8, 7},
        {"commit index beyond the last possible", 25, 8, UINT64_MAX},
        {"fewer entries than bytes", 33, 4, 2},
        {"more entries than bytes", 33, 4, 4},
        {"far too many entries", 33, 4, UINT32_MAX},
        {"entry term 0", HEAD(0), 8, 0},
        {"entry terms that fall", HEAD(0), 8, 7},
        {"entry size 0", HEAD(1) + 8, 4, 0},
        {"entry size too large", HEAD(1) + 8, 4, 24},
        {"entry size far too large", HEAD(1) + 8, 4, UINT32_MAX},
        {"entry checksum", HEAD(1) + 12, 4, 1},
        {"entry type 0", HEAD(1) + 16, 1, 0},
        {"entry type 4", HEAD(1) + 16, 1, 4},
        {"a command that calls itself a change", HEAD(1) + 16, 1, ENTRY_CHANGE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t frame[FRAME_MAX];
        struct message m = append(), got;
        size_t size = encode(&m, frame);
        for (unsigned b = 0; b < rows[i].bytes; b++) {
            frame[MESSAGE_HEADER_BYTES + rows[i].at + b] = (uint8_t)(rows[i].value >> (8 * b));
        }
        reseal(frame, size);
        print_message("%s\n", rows[i].why);
        assert_int_not_equal(decode(frame, size, &got), 0);
        append_done();
    }
}

static void other_fields_are_checked(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        struct message (*make)(void);
        unsigned at, bytes;
        uint64_t value;
    } rows[] = {
        {"hello from 0", hello, 16, 8, 0},
        {"hello to 0", hello, 24, 8, 0},
        {"hello to itself", hello, 24, 8, 1},
        {"hello without an address", hello, 32, 2, 0},
        {"hello with an address that is too long", hello, 32, 2, 300},
        {"hello with a space in the address", hello, 37, 1, ' '},
        {"hello with a NUL in the address", hello, 37, 1, 0},
        {"vote for term 0", vote, 1, 8, 0},
        {"vote for nobody", vote, 9, 8, 0},
        {"vote with an index and no term", vote, 25, 8, 0},
        {"vote with a log from the future", vote, 25, 8, 9},
        {"vote with unknown flags", vote, 33, 1, 4},
        {"voted with unknown flags", voted, 9, 1, 8},
        {"install at term 0", install, 1, 8, 0},
        {"install of a snapshot from the future", install, 1, 8, 6},
        {"manifest of another format", install, 9, 1, 2},
        {"manifest of index 0", install, 10, 8, 0},
        {"manifest of term 0", install, 18, 8, 0},
        {"manifest without a configuration index", install, 26, 8, 0},
        {"manifest with a later configuration", install, 26, 8, 1001},
        {"manifest of impossible size", install, 34, 8, UINT64_MAX},
        {"manifest with chunks of 0", install, 54, 8, 0},
        {"manifest with huge chunks", install, 54, 8, 1 << 30},
        {"manifest with a short configuration", install, 62, 4, 8},
        {"timeout now at term 0", timeout_now, 1, 8, 0},
        {"probe of term 0", probe, 0, 8, 0},
        {"ack that is neither yes nor no", read_index_ack, 24, 1, 2},
        {"pull of snapshot 0", pull, 0, 8, 0},
        {"pull of nothing", pull, 24, 4, 0},
        {"pull of too much", pull, 24, 4, MESSAGE_CHUNK_BYTES_MAX + 1},
        {"pull at an impossible offset", pull, 16, 8, UINT64_MAX},
        {"chunk that says more than it has", chunk, 24, 4, 7},
        {"chunk that says less than it has", chunk, 24, 4, 5},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t frame[FRAME_MAX];
        struct message m = rows[i].make(), got;
        size_t size = encode(&m, frame);
        for (unsigned b = 0; b < rows[i].bytes; b++) {
            frame[MESSAGE_HEADER_BYTES + rows[i].at + b] = (uint8_t)(rows[i].value >> (8 * b));
        }
        reseal(frame, size);
        print_message("%s\n", rows[i].why);
        assert_int_equal(decode(frame, size, &got), ASSENT_MALFORMED);
    }
}

static void configurations_are_checked_before_the_library_reads_them(void **state)
{
    (void)state;
    struct assent_bytes good = configuration();
    assert_true(configuration_bytes_valid(good));
    /* format 0, count 1, server 1: id 9, address 17, role 31; server 2: id 32, address 40, role 54 */
    static const struct {
        const char *why;
        size_t at;
        uint8_t value;
    } rows[] = {
        {"format", 0, 2},
        {"no servers", 1, 0},
        {"more servers than bytes", 1, 4},
        {"far too many servers", 8, 1},
        {"id 0", 9, 0},
        {"the same id twice", 32, 1},
        {"the same address twice", 47, '1'},
        {"an unknown role", 31, 3},
        {"an empty address", 17, 0},
        {"a line break in the address", 18, '\n'},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t *copy = malloc(good.size);
        assert_non_null(copy);
        memcpy(copy, good.base, good.size);
        assert_int_not_equal(copy[rows[i].at], rows[i].value);
        copy[rows[i].at] = rows[i].value;
        print_message("%s\n", rows[i].why);
        assert_false(configuration_bytes_valid((struct assent_bytes){copy, good.size}));
        free(copy);
    }
    for (size_t cut = 0; cut < good.size; cut++) {
        uint8_t *copy = malloc(cut > 0 ? cut : 1);
        assert_non_null(copy);
        memcpy(copy, good.base, cut);
        assert_false(configuration_bytes_valid((struct assent_bytes){copy, cut}));
        free(copy);
    }
    assert_false(configuration_bytes_valid((struct assent_bytes){NULL, 0}));
}

static void a_configuration_without_a_voter_is_refused(void **state)
{
    (void)state;
    struct raft_configuration c;
    struct raft_buffer buf;
    raft_configuration_init(&c);
    assert_int_equal(raft_configuration_add(&c, 1, "a:1", RAFT_STANDBY), 0);
    assert_int_equal(raft_configuration_encode(&c, &buf), 0);
    assert_false(configuration_bytes_valid((struct assent_bytes){buf.base, buf.len}));
    raft_free(buf.base);
    raft_configuration_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_type_has_its_golden_bytes),
        cmocka_unit_test(each_type_survives_the_round_trip),
        cmocka_unit_test(decoded_entries_carry_index_term_and_payload),
        cmocka_unit_test(install_carries_the_manifest),
        cmocka_unit_test(an_empty_append_is_a_heartbeat),
        cmocka_unit_test(a_damaged_byte_anywhere_is_refused),
        cmocka_unit_test(a_short_or_long_body_is_refused),
        cmocka_unit_test(headers_are_checked_before_anything_is_read),
        cmocka_unit_test(append_fields_are_checked),
        cmocka_unit_test(other_fields_are_checked),
        cmocka_unit_test(configurations_are_checked_before_the_library_reads_them),
        cmocka_unit_test(a_configuration_without_a_voter_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
