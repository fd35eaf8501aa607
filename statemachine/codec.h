/* Reading and writing the values that commands, queries and results are made of (msgpack; msgpack-c stays in
 * codec.c).
 *
 * Values: nil, bool, unsigned, signed, text, list, map with text keys, and *json*: JSON text carried as it is
 * (msgpack extension type 1), so that payloads reach participants byte for byte. A command or query is one
 * format byte (CODEC_FORMAT) and a list [type, session, arguments] or [type, session, namespace, arguments]:
 * session    nil | [client, sequence, acknowledged] | text (an Idempotency-Key) arguments  a list by position
 * of the schema's fields; trailing absent ones may be left out A result is a list [code, data, detail]: code
 * of assent_error, data a map or nil, detail text or nil. */
#ifndef STATEMACHINE_CODEC_H
#define STATEMACHINE_CODEC_H

#include <stdbool.h>
#include <stdint.h>

#include "assent/error.h"
#include "assent/limits.h"
#include "assent/types.h"

#define CODEC_FORMAT   1
#define CODEC_EXT_JSON 1

/* Values in one parsed tree.  A parsed value takes 24 bytes whatever its encoding, so this bounds what a
 * hostile buffer can make us allocate to about 24 MB. */
#define CODEC_NODES_MAX (1u << 20)

/* ---- writing ---- */

/* A growable buffer with a packer; reusable.  Out of memory aborts the process (small, bounded data). */
struct codec_writer {
    void *buffer; /* private */
};
void codec_writer_init(struct codec_writer *w);
void codec_writer_close(struct codec_writer *w);
void codec_writer_reset(struct codec_writer *w);
/* What was written so far; borrowed until the next write. */
struct assent_bytes codec_written(const struct codec_writer *w);

void codec_nil(struct codec_writer *w);
void codec_bool(struct codec_writer *w, bool v);
void codec_uint(struct codec_writer *w, uint64_t v);
void codec_int(struct codec_writer *w, int64_t v);
void codec_text(struct codec_writer *w, struct assent_bytes v);
void codec_cstr(struct codec_writer *w, const char *v);
void codec_json(struct codec_writer *w, struct assent_bytes v);
void codec_bin(struct codec_writer *w, struct assent_bytes v); /* bytes that are not text */
void codec_list(struct codec_writer *w, uint32_t n);           /* n values follow */
void codec_map(struct codec_writer *w, uint32_t n);            /* n times key, value follow */
/* An already encoded value, end to end. */
void codec_raw(struct codec_writer *w, struct assent_bytes encoded);
/* A byte that is not a value: the format byte in front. */
void codec_byte(struct codec_writer *w, uint8_t b);
/* Forget what was written behind `size` bytes. */
void codec_truncate(struct codec_writer *w, size_t size);
/* Overwrite 4 bytes at `at`, big-endian: a length known only afterwards. */
void codec_patch_u32(struct codec_writer *w, size_t at, uint32_t v);
/* key, value: the common pairs of a result map. */
void codec_pair_uint(struct codec_writer *w, const char *key, uint64_t v);
void codec_pair_int(struct codec_writer *w, const char *key, int64_t v);
void codec_pair_bool(struct codec_writer *w, const char *key, bool v);
void codec_pair_text(struct codec_writer *w, const char *key, struct assent_bytes v);
void codec_pair_cstr(struct codec_writer *w, const char *key, const char *v);
void codec_pair_json(struct codec_writer *w, const char *key, struct assent_bytes v); /* empty: nil */

/* ---- reading ---- */

enum codec_kind {
    CODEC_NIL,
    CODEC_BOOL,
    CODEC_UINT,
    CODEC_INT,
    CODEC_TEXT,
    CODEC_LIST,
    CODEC_MAP,
    CODEC_JSON,
    CODEC_BIN,
    CODEC_OTHER
};

struct codec_node; /* one value of a parsed tree */

/* Memory of parsed trees; reusable.  One arena holds one tree at a time. */
struct codec_arena {
    void *zone; /* private */
};
void codec_arena_init(struct codec_arena *a);
void codec_arena_close(struct codec_arena *a);

/* Parse exactly one value that fills `bytes`.  NULL: malformed, trailing bytes, deeper than
 * ASSENT_NESTING_MAX, more than CODEC_NODES_MAX values, or a count the bytes cannot hold.  The tree borrows
 * texts from `bytes` and lives until the arena parses again. */
const struct codec_node *codec_parse(struct codec_arena *a, struct assent_bytes bytes);

/* Put `prefix` (copied) and `mark` in front of a text of the arena's tree. */
void codec_prefix(struct codec_arena *a, const struct codec_node *text, struct assent_bytes prefix,
                  uint8_t mark);

/* Size of the first value in `bytes`, members included; 0: malformed, deeper than ASSENT_NESTING_MAX, or more
 * than CODEC_NODES_MAX values.  Takes no memory. */
size_t codec_skip(struct assent_bytes bytes);

enum codec_kind codec_kind(const struct codec_node *n); /* NULL reads as CODEC_NIL */
bool codec_as_bool(const struct codec_node *n);
uint64_t codec_as_uint(const struct codec_node *n);
int64_t codec_as_int(const struct codec_node *n);               /* also of a CODEC_UINT below 2^63 */
struct assent_bytes codec_as_bytes(const struct codec_node *n); /* of TEXT, JSON and BIN; empty of NIL */
uint32_t codec_size(const struct codec_node *n);                /* members of a LIST or MAP, else 0 */
const struct codec_node *codec_at(const struct codec_node *n,
                                  uint32_t i); /* of a LIST; NULL beyond the end */
const struct codec_node *codec_key_at(const struct codec_node *n, uint32_t i);   /* of a MAP */
const struct codec_node *codec_value_at(const struct codec_node *n, uint32_t i); /* of a MAP */
const struct codec_node *codec_get(const struct codec_node *n, const char *key); /* of a MAP; NULL: absent */

#endif /* STATEMACHINE_CODEC_H */
