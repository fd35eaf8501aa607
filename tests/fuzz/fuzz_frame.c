/* Frames of the native protocol, from either side, and the results and commands inside. */
#include <stdlib.h>

#include "command.h"
#include "frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_inside(enum frame_kind kind, const struct codec_node *list)
{
    struct result r;
    struct command c;
    struct codec_arena inner;
    char why[64];
    codec_arena_init(&inner);
    if (kind == FRAME_RESULT)
        result_of(codec_at(list, 4), &r);
    if (kind == FRAME_COMMAND || kind == FRAME_QUERY)
        command_decode(&inner, codec_as_bytes(codec_at(list, 2)), kind == FRAME_QUERY, true, &c, why,
                       sizeof why);
    codec_arena_close(&inner);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct assent_bytes in = {data, size}, body;
    struct codec_arena arena;
    int64_t n;
    codec_arena_init(&arena);
    while ((n = frame_next(in, &body)) > 0) {
        enum frame_kind kind;
        uint64_t id;
        const struct codec_node *list;
        if ((size_t)n > in.size || body.base < in.base || body.size + FRAME_LENGTH_BYTES != (size_t)n)
            abort();
        if (frame_decode(&arena, body, &kind, &id, &list))
            look_inside(kind, list);
        in.base += n;
        in.size -= (size_t)n;
    }
    codec_arena_close(&arena);
    return 0;
}
