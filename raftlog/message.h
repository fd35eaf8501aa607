/* What nodes say to each other, in memory and on the wire.
 *
 * A frame: magic "ASNT" (4 bytes), version u8, type u8, reserved u16 = 0, length u32 (of the body), crc u32
 * (CRC32C of the 8 bytes from version to length, then of the body), then the body.  All integers
 * little-endian. The first frame each way is HELLO.  The bodies are drawn in message.c. */
#ifndef RAFTLOG_MESSAGE_H
#define RAFTLOG_MESSAGE_H

#include <raft.h>
#include <stdbool.h>
#include <stdint.h>

#include "assent/types.h"
#include "entry.h"

#define MESSAGE_VERSION      1
#define MESSAGE_HEADER_BYTES 16
#define MESSAGE_ENTRIES_MAX  4096
/* An address as host:port; struct raftlog_server has room for it and a terminator. */
#define MESSAGE_ADDRESS_BYTES_MAX 127
/* What a node says about itself: some host:port and a name; it travels in every HELLO. */
#define MESSAGE_ADVERT_BYTES_MAX 1024
/* Entries of one AppendEntries beyond this many payload bytes belong in a further message, so that a frame
 * fits memory and a heartbeat does not wait behind it for long.  A single larger entry still travels, alone.
 */
#define MESSAGE_APPEND_BYTES_TARGET (1024 * 1024)
/* One chunk of a snapshot: what a loop turn may read from a file and copy. */
#define MESSAGE_CHUNK_BYTES_MAX (4 * 1024 * 1024)
/* Log indexes stay below this so that a position (index and slot) fits 64 bits. */
#define MESSAGE_INDEX_MAX (UINT64_MAX >> ASSENT_POSITION_SLOT_BITS)

/* Numbers on the wire; never reused. */
enum message_type {
    MESSAGE_HELLO = 1,          /* who speaks, to whom, of which cluster */
    MESSAGE_RAFT = 2,           /* one struct raft_message with its entries */
    MESSAGE_PROBE = 3,          /* leader: "is this still your term?", round number */
    MESSAGE_PROBE_ACK = 4,      /* follower of the same term: the round it answers */
    MESSAGE_READ_INDEX = 5,     /* follower asks the leader for a read index */
    MESSAGE_READ_INDEX_ACK = 6, /* leader: confirmed read index, or refused */
    MESSAGE_PULL = 7,           /* follower asks for a chunk of a snapshot */
    MESSAGE_CHUNK = 8,          /* a chunk */
    MESSAGE_POST = 9,           /* bytes between applications */
    MESSAGE_TYPE_END
};

/* A snapshot as the log records it and as InstallSnapshot carries it (in `data`; never the image itself). */
struct snapshot_manifest {
    uint64_t index, term; /* last entry in the image */
    uint64_t configuration_index;
    struct assent_bytes
        configuration;     /* raft_configuration_encode() bytes; who owns them is said at each use */
    uint64_t size, digest; /* of the file; digest by the application */
    uint32_t crc;          /* CRC32C of the file */
    uint64_t chunk_size;   /* bytes per chunk */
};

struct message {
    enum message_type type;
    uint64_t from; /* filled by the transport from the connection's HELLO, never from the frame */
    union {
        struct {
            uint64_t cluster_id, incarnation, from, to;
            struct assent_bytes address; /* the speaker's raft address */
            struct assent_bytes advert;
        } hello;
        struct {
            /* `raft.append_entries.entries` is NULL: the entries are here, n of them =
             * raft.append_entries.n_entries. Of INSTALL_SNAPSHOT, `conf` and `data` are empty: the manifest
             * is here. */
            struct raft_message raft;
            struct entry **entries; /* sealed; index = prev_log_index + 1 ... */
            struct snapshot_manifest manifest;
        } raft;
        struct {
            uint64_t term, round;
        } probe; /* PROBE, PROBE_ACK */
        struct {
            uint64_t id; /* the asker's number for it */
            uint64_t term;
            uint64_t index; /* ACK only */
            bool ok;        /* ACK only; false: not the leader, or not ready */
        } read_index;
        struct {
            uint64_t index, term; /* of the snapshot */
            uint64_t offset;
            uint32_t size; /* PULL: wanted at most; CHUNK: bytes that follow; 0 in a CHUNK: no such snapshot
                              any more */
            struct assent_bytes data; /* CHUNK only */
        } chunk;
        struct assent_bytes post;
    };
};

/* Encode the frame header and everything up to (not including) the bulk: entry payloads of AppendEntries,
 * `data` of CHUNK and `post` are NOT copied but named as tail pieces, so that the transport writes them in
 * place. `head` receives the head bytes; it must hold message_head_size(m).  `crc` of the frame covers the
 * tail too. */
size_t message_head_size(const struct message *m);
size_t message_encode_head(const struct message *m, uint8_t *head);
/* Bytes behind the head. */
size_t message_tail_size(const struct message *m);
/* Number of tail pieces and the i-th of them, in wire order after the head. */
uint32_t message_tail_n(const struct message *m);
struct assent_bytes message_tail(const struct message *m, uint32_t i);

/* Look at a frame header.  0: `*type` and `*body_size` are set.  PROTOCOL: wrong magic, version or type;
 * TOO_LARGE: longer than the limit of its type. */
int message_decode_header(const uint8_t header[MESSAGE_HEADER_BYTES], enum message_type *type,
                          uint32_t *body_size);

/* Decode a body and verify the frame's CRC, every entry's CRC, and all that libraft only asserts
 * (libraft-step G14): entry types and terms, terms non-decreasing and <= message term, prev term 0 only with
 * prev 0, lengths, configuration blobs of change entries (bounds, counts, roles, duplicates).  Byte fields
 * borrow from `body`; entries are new references given to `m` and freed by message_close().  Returns CORRUPT,
 * MALFORMED or NOMEM. */
int message_decode(const uint8_t header[MESSAGE_HEADER_BYTES], const uint8_t *body, uint32_t body_size,
                   struct message *m);

/* Drop what message_decode() gave. */
void message_close(struct message *m);

/* Check the bytes of an encoded raft_configuration before libraft decodes them with unchecked reads. */
bool configuration_bytes_valid(struct assent_bytes bytes);

/* Encode a manifest for disk and wire; decode borrows from `bytes`. */
size_t manifest_encoded_size(const struct snapshot_manifest *m);
void manifest_encode(const struct snapshot_manifest *m, uint8_t *out);
int manifest_decode(struct assent_bytes bytes, struct snapshot_manifest *m);

#endif /* RAFTLOG_MESSAGE_H */
