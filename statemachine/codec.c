/* Values in msgpack: the writer, a skimmer that proves a buffer safe to parse, and the parsed tree. */
#include "codec.h"

#include <assert.h>
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A writer that once held a huge value gives its memory back at the next reset. */
#define WRITER_KEEP_BYTES (4u * 1024 * 1024)

/* msgpack-c's own parser keeps a stack of 32 containers and refuses more: our limit must not promise more. */
static_assert(ASSENT_NESTING_MAX <= 32, "msgpack-c parses as deep as we allow");

/* ---- writing */

struct writer {
    msgpack_sbuffer out;
    msgpack_packer pack;
};

static void out_of_memory(void)
{
    fputs("assent: out of memory while encoding\n", stderr);
    abort();
}

void codec_writer_init(struct codec_writer *w)
{
    struct writer *x = malloc(sizeof *x);
    if (x == NULL)
        out_of_memory();
    msgpack_sbuffer_init(&x->out);
    msgpack_packer_init(&x->pack, &x->out, msgpack_sbuffer_write);
    w->buffer = x;
}

void codec_writer_close(struct codec_writer *w)
{
    struct writer *x = w->buffer;
    if (x == NULL)
        return;
    msgpack_sbuffer_destroy(&x->out);
    free(x);
    w->buffer = NULL;
}

static struct writer *writer(const struct codec_writer *w)
{
    assert(w->buffer != NULL);
    return w->buffer;
}

void codec_writer_reset(struct codec_writer *w)
{
    struct writer *x = writer(w);
    if (x->out.alloc > WRITER_KEEP_BYTES) {
        msgpack_sbuffer_destroy(&x->out);
        msgpack_sbuffer_init(&x->out);
    }
    msgpack_sbuffer_clear(&x->out);
}

struct assent_bytes codec_written(const struct codec_writer *w)
{
    const struct writer *x = writer(w);
    return (struct assent_bytes){(const uint8_t *)x->out.data, x->out.size};
}

void codec_truncate(struct codec_writer *w, size_t size)
{
    struct writer *x = writer(w);
    assert(size <= x->out.size);
    x->out.size = size;
}

void codec_patch_u32(struct codec_writer *w, size_t at, uint32_t v)
{
    struct writer *x = writer(w);
    assert(at + 4 <= x->out.size);
    for (int i = 0; i < 4; i++)
        x->out.data[at + (size_t)i] = (char)(uint8_t)(v >> (24 - 8 * i));
}

/* msgpack-c reports failure to grow by a non-zero return and nothing else can fail here. */
static void packed(int rc)
{
    if (rc != 0)
        out_of_memory();
}

static void body(struct writer *x, struct assent_bytes v)
{
    if (v.size > 0)
        packed(msgpack_sbuffer_write(&x->out, (const char *)v.base, v.size));
}

void codec_nil(struct codec_writer *w)
{
    packed(msgpack_pack_nil(&writer(w)->pack));
}

void codec_bool(struct codec_writer *w, bool v)
{
    packed(v ? msgpack_pack_true(&writer(w)->pack) : msgpack_pack_false(&writer(w)->pack));
}

void codec_uint(struct codec_writer *w, uint64_t v)
{
    packed(msgpack_pack_uint64(&writer(w)->pack, v));
}

void codec_int(struct codec_writer *w, int64_t v)
{
    packed(msgpack_pack_int64(&writer(w)->pack, v));
}

void codec_text(struct codec_writer *w, struct assent_bytes v)
{
    packed(msgpack_pack_str(&writer(w)->pack, v.size));
    body(writer(w), v);
}

void codec_cstr(struct codec_writer *w, const char *v)
{
    codec_text(w, (struct assent_bytes){(const uint8_t *)v, strlen(v)});
}

void codec_json(struct codec_writer *w, struct assent_bytes v)
{
    packed(msgpack_pack_ext(&writer(w)->pack, v.size, CODEC_EXT_JSON));
    body(writer(w), v);
}

void codec_bin(struct codec_writer *w, struct assent_bytes v)
{
    packed(msgpack_pack_bin(&writer(w)->pack, v.size));
    body(writer(w), v);
}

void codec_list(struct codec_writer *w, uint32_t n)
{
    packed(msgpack_pack_array(&writer(w)->pack, n));
}

void codec_map(struct codec_writer *w, uint32_t n)
{
    packed(msgpack_pack_map(&writer(w)->pack, n));
}

void codec_raw(struct codec_writer *w, struct assent_bytes encoded)
{
    body(writer(w), encoded);
}

void codec_byte(struct codec_writer *w, uint8_t b)
{
    body(writer(w), (struct assent_bytes){&b, 1});
}

void codec_pair_uint(struct codec_writer *w, const char *key, uint64_t v)
{
    codec_cstr(w, key);
    codec_uint(w, v);
}

void codec_pair_int(struct codec_writer *w, const char *key, int64_t v)
{
    codec_cstr(w, key);
    codec_int(w, v);
}

void codec_pair_bool(struct codec_writer *w, const char *key, bool v)
{
    codec_cstr(w, key);
    codec_bool(w, v);
}

void codec_pair_text(struct codec_writer *w, const char *key, struct assent_bytes v)
{
    codec_cstr(w, key);
    codec_text(w, v);
}

void codec_pair_cstr(struct codec_writer *w, const char *key, const char *v)
{
    codec_cstr(w, key);
    codec_cstr(w, v);
}

void codec_pair_json(struct codec_writer *w, const char *key, struct assent_bytes v)
{
    codec_cstr(w, key);
    if (v.size == 0)
        codec_nil(w);
    else
        codec_json(w, v);
}

/* ---- skimming: msgpack-c allocates a container by the count in its header, before it has seen a member.  So
 * every buffer is walked first, without recursion and without memory, and every count is held against the
 * bytes that are left. */

/* What the head of a value says: bytes of the head, bytes of the body behind it, values inside it. */
struct head {
    uint32_t size;
    uint64_t body;
    uint64_t members;
    bool container;
};

/* Big-endian length field of `width` bytes behind the first byte. */
static uint64_t length_field(const uint8_t *p, uint32_t width)
{
    uint64_t v = 0;
    for (uint32_t i = 1; i <= width; i++)
        v = v << 8 | p[i];
    return v;
}

/* First bytes 0xc0 to 0xdf: width of the length field, fixed body bytes, what the length counts. */
enum counted { NOTHING, BODY_BYTES, LIST_MEMBERS, MAP_PAIRS, RESERVED };
static const struct {
    uint8_t width, fixed, counts;
} heads[32] = {
    [0x00] = {0, 0, NOTHING},    [0x01] = {0, 0, RESERVED},     [0x02] = {0, 0, NOTHING},
    [0x03] = {0, 0, NOTHING},    [0x04] = {1, 0, BODY_BYTES},   [0x05] = {2, 0, BODY_BYTES},
    [0x06] = {4, 0, BODY_BYTES}, [0x07] = {1, 1, BODY_BYTES},   [0x08] = {2, 1, BODY_BYTES},
    [0x09] = {4, 1, BODY_BYTES}, [0x0a] = {0, 4, NOTHING},      [0x0b] = {0, 8, NOTHING},
    [0x0c] = {0, 1, NOTHING},    [0x0d] = {0, 2, NOTHING},      [0x0e] = {0, 4, NOTHING},
    [0x0f] = {0, 8, NOTHING},    [0x10] = {0, 1, NOTHING},      [0x11] = {0, 2, NOTHING},
    [0x12] = {0, 4, NOTHING},    [0x13] = {0, 8, NOTHING},      [0x14] = {0, 2, NOTHING},
    [0x15] = {0, 3, NOTHING},    [0x16] = {0, 5, NOTHING},      [0x17] = {0, 9, NOTHING},
    [0x18] = {0, 17, NOTHING},   [0x19] = {1, 0, BODY_BYTES},   [0x1a] = {2, 0, BODY_BYTES},
    [0x1b] = {4, 0, BODY_BYTES}, [0x1c] = {2, 0, LIST_MEMBERS}, [0x1d] = {4, 0, LIST_MEMBERS},
    [0x1e] = {2, 0, MAP_PAIRS},  [0x1f] = {4, 0, MAP_PAIRS},
};

static bool head_of(const uint8_t *p, size_t left, struct head *h)
{
    uint8_t b = p[0];
    *h = (struct head){.size = 1};
    if (b <= 0x7f || b >= 0xe0)
        return true; /* small integers */
    if (b <= 0x8f) {
        h->container = true;
        h->members = 2u * (b & 0x0f);
    } else if (b <= 0x9f) {
        h->container = true;
        h->members = b & 0x0f;
    } else if (b <= 0xbf) {
        h->body = b & 0x1f;
    } else {
        uint8_t width = heads[b - 0xc0].width;
        if (heads[b - 0xc0].counts == RESERVED || left < 1u + width)
            return false;
        uint64_t n = length_field(p, width);
        h->size = 1u + width;
        h->body = heads[b - 0xc0].fixed;
        h->container = heads[b - 0xc0].counts == LIST_MEMBERS || heads[b - 0xc0].counts == MAP_PAIRS;
        if (heads[b - 0xc0].counts == BODY_BYTES)
            h->body += n;
        else if (heads[b - 0xc0].counts == LIST_MEMBERS)
            h->members = n;
        else if (heads[b - 0xc0].counts == MAP_PAIRS)
            h->members = 2 * n;
    }
    return true;
}

size_t codec_skip(struct assent_bytes bytes)
{
    uint64_t open[ASSENT_NESTING_MAX + 1]; /* values still to come at each depth */
    uint32_t depth = 0;
    size_t at = 0;
    uint32_t nodes = 0;
    open[0] = 1;
    for (;;) {
        struct head h;
        if (at >= bytes.size || !head_of(bytes.base + at, bytes.size - at, &h))
            return 0;
        if (h.body > bytes.size - at - h.size || ++nodes > CODEC_NODES_MAX)
            return 0;
        if (h.container && depth == ASSENT_NESTING_MAX) /* an empty one too: the parser gives up there */
            return 0;
        at += h.size + (size_t)h.body;
        open[depth]--;
        if (h.members > 0) {
            if (h.members > bytes.size - at)
                return 0;
            open[++depth] = h.members;
        }
        while (open[depth] == 0) {
            if (depth == 0)
                return at;
            depth--;
        }
    }
}

/* ---- reading: a node is msgpack-c's object under another name, so that its header stays here */

struct arena {
    msgpack_zone zone;
    msgpack_object root;
};

void codec_arena_init(struct codec_arena *a)
{
    struct arena *x = calloc(1, sizeof *x);
    if (x == NULL || !msgpack_zone_init(&x->zone, MSGPACK_ZONE_CHUNK_SIZE))
        out_of_memory();
    a->zone = x;
}

void codec_arena_close(struct codec_arena *a)
{
    struct arena *x = a->zone;
    if (x == NULL)
        return;
    msgpack_zone_destroy(&x->zone);
    free(x);
    a->zone = NULL;
}

const struct codec_node *codec_parse(struct codec_arena *a, struct assent_bytes bytes)
{
    struct arena *x = a->zone;
    assert(x != NULL);
    msgpack_zone_clear(&x->zone);
    if (bytes.size == 0 || codec_skip(bytes) != bytes.size)
        return NULL;
    size_t used = 0;
    msgpack_unpack_return rc =
        msgpack_unpack((const char *)bytes.base, bytes.size, &used, &x->zone, &x->root);
    if (rc == MSGPACK_UNPACK_NOMEM_ERROR)
        out_of_memory();
    if (rc != MSGPACK_UNPACK_SUCCESS || used != bytes.size)
        return NULL;
    return (const struct codec_node *)&x->root;
}

static const msgpack_object *object(const struct codec_node *n)
{
    return (const msgpack_object *)n;
}

void codec_prefix(struct codec_arena *a, const struct codec_node *text, struct assent_bytes prefix,
                  uint8_t mark)
{
    struct arena *x = a->zone;
    msgpack_object *o = (msgpack_object *)(uintptr_t)object(text); /* of our own arena */
    assert(o->type == MSGPACK_OBJECT_STR);
    uint32_t size = (uint32_t)prefix.size + 1 + o->via.str.size;
    char *room = msgpack_zone_malloc(&x->zone, size);
    if (room == NULL)
        abort();
    memcpy(room, prefix.base, prefix.size);
    room[prefix.size] = (char)mark;
    if (o->via.str.size > 0)
        memcpy(room + prefix.size + 1, o->via.str.ptr, o->via.str.size);
    o->via.str.ptr = room;
    o->via.str.size = size;
}

static const struct codec_node *node(const msgpack_object *o)
{
    return (const struct codec_node *)o;
}

enum codec_kind codec_kind(const struct codec_node *n)
{
    if (n == NULL)
        return CODEC_NIL;
    switch (object(n)->type) {
    case MSGPACK_OBJECT_NIL:
        return CODEC_NIL;
    case MSGPACK_OBJECT_BOOLEAN:
        return CODEC_BOOL;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        return CODEC_UINT;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        return CODEC_INT;
    case MSGPACK_OBJECT_STR:
        return CODEC_TEXT;
    case MSGPACK_OBJECT_ARRAY:
        return CODEC_LIST;
    case MSGPACK_OBJECT_MAP:
        return CODEC_MAP;
    case MSGPACK_OBJECT_BIN:
        return CODEC_BIN;
    case MSGPACK_OBJECT_EXT:
        return object(n)->via.ext.type == CODEC_EXT_JSON ? CODEC_JSON : CODEC_OTHER;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        return CODEC_OTHER;
    }
    return CODEC_OTHER;
}

bool codec_as_bool(const struct codec_node *n)
{
    return codec_kind(n) == CODEC_BOOL && object(n)->via.boolean;
}

uint64_t codec_as_uint(const struct codec_node *n)
{
    return codec_kind(n) == CODEC_UINT ? object(n)->via.u64 : 0;
}

int64_t codec_as_int(const struct codec_node *n)
{
    switch (codec_kind(n)) {
    case CODEC_UINT:
        return object(n)->via.u64 <= INT64_MAX ? (int64_t)object(n)->via.u64 : INT64_MAX;
    case CODEC_INT:
        return object(n)->via.i64;
    default:
        return 0;
    }
}

struct assent_bytes codec_as_bytes(const struct codec_node *n)
{
    switch (codec_kind(n)) {
    case CODEC_TEXT:
        return (struct assent_bytes){(const uint8_t *)object(n)->via.str.ptr, object(n)->via.str.size};
    case CODEC_JSON:
        return (struct assent_bytes){(const uint8_t *)object(n)->via.ext.ptr, object(n)->via.ext.size};
    case CODEC_BIN:
        return (struct assent_bytes){(const uint8_t *)object(n)->via.bin.ptr, object(n)->via.bin.size};
    default:
        return (struct assent_bytes){NULL, 0};
    }
}

uint32_t codec_size(const struct codec_node *n)
{
    switch (codec_kind(n)) {
    case CODEC_LIST:
        return object(n)->via.array.size;
    case CODEC_MAP:
        return object(n)->via.map.size;
    default:
        return 0;
    }
}

const struct codec_node *codec_at(const struct codec_node *n, uint32_t i)
{
    if (codec_kind(n) != CODEC_LIST || i >= object(n)->via.array.size)
        return NULL;
    return node(&object(n)->via.array.ptr[i]);
}

const struct codec_node *codec_key_at(const struct codec_node *n, uint32_t i)
{
    if (codec_kind(n) != CODEC_MAP || i >= object(n)->via.map.size)
        return NULL;
    return node(&object(n)->via.map.ptr[i].key);
}

const struct codec_node *codec_value_at(const struct codec_node *n, uint32_t i)
{
    if (codec_kind(n) != CODEC_MAP || i >= object(n)->via.map.size)
        return NULL;
    return node(&object(n)->via.map.ptr[i].val);
}

const struct codec_node *codec_get(const struct codec_node *n, const char *key)
{
    size_t size = strlen(key);
    for (uint32_t i = 0; i < codec_size(n) && codec_kind(n) == CODEC_MAP; i++) {
        struct assent_bytes k = codec_as_bytes(codec_key_at(n, i));
        if (k.size == size && (size == 0 || memcmp(k.base, key, size) == 0))
            return codec_value_at(n, i);
    }
    return NULL;
}
