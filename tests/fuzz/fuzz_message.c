/* Fuzzer of message_decode(): input is a type and a body; what is accepted must encode back to the same
 * bytes.
 *
 * The frame's checksum is made right, so that mutations reach the decoders behind it; an input of type 0 is
 * taken as the 16 bytes of a frame header. */
#include "message.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void put_u32(uint8_t *p, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++) {
        p[i] = (uint8_t)(v >> (8 * i));
    }
}

/* An accepted configuration is safe in the library's hands. */
static void decode_configuration(struct assent_bytes bytes)
{
    struct raft_configuration c;
    struct raft_buffer buf = {(void *)(uintptr_t)bytes.base, bytes.size};
    assert(raft_configuration_decode(&buf, &c) == 0);
    assert(c.n > 0);
    raft_configuration_close(&c);
}

static void check(const struct message *m, const uint8_t *frame, size_t size)
{
    size_t head_size = message_head_size(m);
    assert(head_size + message_tail_size(m) == size);
    uint8_t *again = malloc(size);
    assert(again != NULL);
    size_t at = message_encode_head(m, again);
    for (uint32_t i = 0; i < message_tail_n(m); i++) {
        struct assent_bytes piece = message_tail(m, i);
        memcpy(again + at, piece.base, piece.size);
        at += piece.size;
    }
    assert(at == size && memcmp(again, frame, size) == 0);
    free(again);
    if (m->type == MESSAGE_RAFT && m->raft.raft.type == RAFT_INSTALL_SNAPSHOT) {
        decode_configuration(m->raft.manifest.configuration);
    }
    if (m->type == MESSAGE_RAFT && m->raft.raft.type == RAFT_APPEND_ENTRIES) {
        for (uint32_t i = 0; i < m->raft.raft.append_entries.n_entries; i++) {
            const struct entry *e = m->raft.entries[i];
            if (e->type == ENTRY_CHANGE) {
                decode_configuration((struct assent_bytes){e->payload, e->size});
            }
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum message_type type;
    uint32_t body_size;
    if (size == 0) {
        return 0;
    }
    if (data[0] == 0) {
        if (size >= 1 + MESSAGE_HEADER_BYTES) {
            (void)message_decode_header(data + 1, &type, &body_size);
        }
        return 0;
    }
    uint8_t header[MESSAGE_HEADER_BYTES] = {'A', 'S', 'N', 'T', MESSAGE_VERSION, data[0]};
    put_u32(header + 8, (uint32_t)(size - 1));
    put_u32(header + 12, crc32c(crc32c(0, header + 4, 8), data + 1, size - 1));
    if (message_decode_header(header, &type, &body_size) != 0) {
        return 0;
    }
    struct message m;
    if (message_decode(header, data + 1, body_size, &m) == 0) {
        uint8_t *frame = malloc(MESSAGE_HEADER_BYTES + size);
        assert(frame != NULL);
        memcpy(frame, header, MESSAGE_HEADER_BYTES);
        memcpy(frame + MESSAGE_HEADER_BYTES, data + 1, size - 1);
        check(&m, frame, MESSAGE_HEADER_BYTES + size - 1);
        free(frame);
        message_close(&m);
    }
    return 0;
}
