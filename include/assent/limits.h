/* Every bound assent keeps, each with its reason.  At a limit we refuse early with a clear error. */
#ifndef ASSENT_LIMITS_H
#define ASSENT_LIMITS_H

#include <assert.h>

#include "assent/types.h"

/* Names of clocks, sequences, objects, nodes, branches, business types; LMDB keys hold at most 511 bytes and
 * some keys join two names. */
#define ASSENT_NAME_BYTES_MAX 128
/* A global transaction id.  DTM's gid column holds 128. */
#define ASSENT_XID_BYTES_MAX 128
/* An `Idempotency-Key`; a UUID has 36, some frameworks hash to 64. */
#define ASSENT_KEY_BYTES_MAX 128
/* A URL of a branch operation: what browsers and proxies accept everywhere. */
#define ASSENT_URL_BYTES_MAX 2048
/* A payload (branch body, custom data, event data).  Larger data belongs in a store of the participant's. */
#define ASSENT_PAYLOAD_BYTES_MAX (1024 * 1024)
/* One encoded command: a begin may carry several branches with payloads. */
#define ASSENT_COMMAND_BYTES_MAX (4 * 1024 * 1024)
/* Commands in one log entry: the slot bits of a position. */
#define ASSENT_ENTRY_COMMANDS_MAX (1 << ASSENT_POSITION_SLOT_BITS)
/* Payload of one log entry: at least one command of full size and its framing. */
#define ASSENT_ENTRY_BYTES_MAX (ASSENT_COMMAND_BYTES_MAX + 64 * 1024)
/* An entry stops taking further commands beyond this, so that latency and message sizes stay even. */
#define ASSENT_ENTRY_BYTES_TARGET (256 * 1024)
/* Body of an HTTP request: one command of full size with JSON's overhead. */
#define ASSENT_BODY_BYTES_MAX (6 * 1024 * 1024)
/* A frame of the native protocol: one command or one result of full size. */
#define ASSENT_FRAME_BYTES_MAX (ASSENT_BODY_BYTES_MAX)
/* Branches of one transaction. */
#define ASSENT_BRANCHES_MAX 10000
/* Members of one vector clock or version vector. */
#define ASSENT_VECTOR_MEMBERS_MAX 1024
/* Rows in one page of a listing. */
#define ASSENT_PAGE_ROWS_MAX 1000
/* Numbers handed out by one tick, sequence or TSO call. */
#define ASSENT_COUNT_MAX (1 << 18)
/* Depth of nested maps and lists in a command or a JSON body; jansson's own limit is 2048. */
#define ASSENT_NESTING_MAX 32
/* Nodes of one cluster, voters and non-voters; Raft clusters have 3 or 5 voters. */
#define ASSENT_NODES_MAX 64

static_assert(ASSENT_COMMAND_BYTES_MAX < ASSENT_ENTRY_BYTES_MAX, "an entry holds a command of full size");
static_assert(ASSENT_ENTRY_BYTES_TARGET <= ASSENT_ENTRY_BYTES_MAX, "the target lies below the limit");
static_assert(ASSENT_COMMAND_BYTES_MAX < ASSENT_BODY_BYTES_MAX, "a body holds a command of full size");
static_assert(ASSENT_PAYLOAD_BYTES_MAX < ASSENT_COMMAND_BYTES_MAX, "a command holds a payload of full size");

#endif /* ASSENT_LIMITS_H */
