/* Fuzzer of the way from a HTTP request to a command: method and path, query string, JSON body.
 *
 * Input: a line "METHOD URI", then the body.  What is accepted must be a command the decoder accepts by type,
 * and free JSON values in it must still be JSON. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every JSON value of a decoded tree is JSON. */
static void check_tree(const struct codec_node *n)
{
    if (codec_kind(n) == CODEC_JSON)
        assert(json_valid(codec_as_bytes(n)));
    for (uint32_t i = 0; codec_kind(n) == CODEC_LIST && i < codec_size(n); i++)
        check_tree(codec_at(n, i));
}

static void encode(struct arguments *a, const struct route *route)
{
    struct codec_writer w;
    struct codec_arena arena;
    struct text text;
    codec_writer_init(&w);
    codec_arena_init(&arena);
    text_init(&text, (size_t)ASSENT_BODY_BYTES_MAX * 8);
    codec_list(&w, a->n);
    if (arguments_write(a, &w) == ASSENT_OK) {
        const struct codec_node *list = codec_parse(&arena, codec_written(&w));
        assert(list == NULL || codec_size(list) == a->n); /* NULL: nested too deep for a command */
        check_tree(list);
        json_value(&text, list);
        assert(text.overflow || list == NULL ||
               json_valid((struct assent_bytes){(uint8_t *)text.base, text.size}));
        if (route->kind == ROUTE_COMMAND || route->kind == ROUTE_QUERY) {
            struct command_session none = {.kind = SESSION_NONE};
            struct command command;
            char why[ARGUMENT_WHY_MAX];
            codec_writer_reset(&w);
            command_begin(&w, route->type, &none, a->n);
            assert(arguments_write(a, &w) == ASSENT_OK);
            (void)command_decode(&arena, codec_written(&w), route->kind == ROUTE_QUERY, true, &command, why,
                                 sizeof why);
        }
    } else {
        assert(a->why[0] != 0);
    }
    text_close(&text);
    codec_arena_close(&arena);
    codec_writer_close(&w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *line = size > 0 ? memchr(data, '\n', size) : NULL;
    const uint8_t *space = line != NULL ? memchr(data, ' ', (size_t)(line - data)) : NULL;
    char method[8] = "";
    if (space == NULL || (size_t)(space - data) >= sizeof method)
        return 0;
    memcpy(method, data, (size_t)(space - data));
    const uint8_t *mark = memchr(space, '?', (size_t)(line - space));
    struct assent_bytes path = {space + 1, (size_t)((mark ? mark : line) - space - 1)}, query = {NULL, 0};
    if (mark != NULL)
        query = (struct assent_bytes){mark + 1, (size_t)(line - mark - 1)};
    struct route_match match;
    if (route_find(method, path, &match) != ASSENT_OK)
        return 0;
    struct argument_source source = {
        .body = {line + 1, size - (size_t)(line + 1 - data)},
        .query = query,
        .captures = match.capture,
        .captures_n = match.captures,
        .use_body = strcmp(match.route->method, "POST") == 0,
    };
    struct arguments *a = malloc(sizeof *a);
    assert(a != NULL);
    arguments_init(a);
    if (arguments_read(a, route_fields(match.route), &source) == ASSENT_OK)
        encode(a, match.route);
    arguments_close(a);
    free(a);
    return 0;
}
