/* Frames of the native protocol: written into a codec writer, found in a stream, held against their kind. */
#include "frame.h"

#include <assert.h>
#include <string.h>

/* Values behind kind and id, one letter each: t text, T text or nil, u unsigned, b bool, B bin, l list. */
static const char *const shapes[] = {
    [FRAME_HELLO] = "tut", [FRAME_WELCOME] = "uuuTb", [FRAME_COMMAND] = "B",  [FRAME_QUERY] = "Bb",
    [FRAME_TSO] = "ub",    [FRAME_RESULT] = "uul",    [FRAME_FAILED] = "uTT", [FRAME_TSO_OK] = "uuu",
    [FRAME_PING] = "",     [FRAME_PONG] = "Tb",
};
#define SHAPES (sizeof shapes / sizeof shapes[0])

size_t frame_open(struct codec_writer *w, enum frame_kind kind, uint64_t id, uint32_t n)
{
    assert((size_t)kind < SHAPES && shapes[kind] != NULL && strlen(shapes[kind]) == n);
    size_t mark = codec_written(w).size;
    for (int i = 0; i < FRAME_LENGTH_BYTES; i++)
        codec_byte(w, 0);
    codec_list(w, n + 2);
    codec_uint(w, (uint64_t)kind);
    codec_uint(w, id);
    return mark;
}

void frame_close(struct codec_writer *w, size_t mark)
{
    size_t body = codec_written(w).size - mark - FRAME_LENGTH_BYTES;
    assert(body > 0 && body <= ASSENT_FRAME_BYTES_MAX);
    codec_patch_u32(w, mark, (uint32_t)body);
}

int64_t frame_next(struct assent_bytes in, struct assent_bytes *body)
{
    if (in.size < FRAME_LENGTH_BYTES)
        return 0;
    uint32_t size = 0;
    for (int i = 0; i < FRAME_LENGTH_BYTES; i++)
        size = size << 8 | in.base[i];
    if (size == 0 || size > ASSENT_FRAME_BYTES_MAX)
        return -1;
    if (in.size - FRAME_LENGTH_BYTES < size)
        return 0;
    *body = (struct assent_bytes){in.base + FRAME_LENGTH_BYTES, size};
    return (int64_t)size + FRAME_LENGTH_BYTES;
}

static bool fits(char shape, enum codec_kind kind)
{
    switch (shape) {
    case 't':
        return kind == CODEC_TEXT;
    case 'T':
        return kind == CODEC_TEXT || kind == CODEC_NIL;
    case 'u':
        return kind == CODEC_UINT;
    case 'b':
        return kind == CODEC_BOOL;
    case 'B':
        return kind == CODEC_BIN;
    case 'l':
        return kind == CODEC_LIST;
    default:
        return false;
    }
}

bool frame_decode(struct codec_arena *a, struct assent_bytes body, enum frame_kind *kind, uint64_t *id,
                  const struct codec_node **list)
{
    const struct codec_node *root = codec_parse(a, body);
    if (codec_kind(root) != CODEC_LIST || codec_kind(codec_at(root, 0)) != CODEC_UINT ||
        codec_kind(codec_at(root, 1)) != CODEC_UINT)
        return false;
    uint64_t number = codec_as_uint(codec_at(root, 0));
    if (number >= SHAPES || shapes[number] == NULL || codec_size(root) != strlen(shapes[number]) + 2)
        return false;
    for (uint32_t i = 0; shapes[number][i] != '\0'; i++) {
        if (!fits(shapes[number][i], codec_kind(codec_at(root, i + 2))))
            return false;
    }
    *kind = (enum frame_kind)number;
    *id = codec_as_uint(codec_at(root, 1));
    *list = root;
    return true;
}
