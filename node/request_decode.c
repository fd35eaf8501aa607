/* From the bytes of a request to the bytes of its command or query: everything that needs no state to refuse.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dtm.h"
#include "node.h"
#include "request_private.h"
#include "wait.h"

/* Limits of a special's arguments; those of commands are checked by command_decode(). */
static int check_special(struct arguments *a, const struct codec_node *list)
{
    for (uint32_t i = 0; a->fields[i].name != NULL; i++) {
        const struct field *f = &a->fields[i];
        const struct codec_node *v = codec_at(list, i);
        if (codec_kind(v) == CODEC_NIL && (f->flags & FIELD_REQUIRED) != 0) {
            snprintf(a->why, sizeof a->why, "field '%s' is required", f->name);
            return ASSENT_INVALID;
        }
        if (codec_kind(v) == CODEC_NIL)
            continue;
        if (f->max > 0 && (f->kind == FIELD_UINT ? codec_as_uint(v) : codec_as_bytes(v).size) > f->max) {
            snprintf(a->why, sizeof a->why, "field '%s' is above its limit of %llu", f->name,
                     (unsigned long long)f->max);
            return ASSENT_INVALID;
        }
        if (f->kind == FIELD_UINT && codec_as_uint(v) == 0) {
            snprintf(a->why, sizeof a->why, "field '%s' must be 1 or more", f->name);
            return ASSENT_INVALID;
        }
    }
    return ASSENT_OK;
}

int request_step(struct request *r, enum route_kind kind, struct assent_bytes bytes)
{
    if (r->bytes != r->small)
        free(r->bytes);
    r->kind = kind;
    r->bytes = bytes.size <= sizeof r->small ? r->small : malloc(bytes.size);
    if (r->bytes == NULL)
        return ASSENT_NOMEM;
    memcpy(r->bytes, bytes.base, bytes.size);
    r->bytes_size = bytes.size;
    return ASSENT_OK;
}

static int encode(struct request *r, const struct command_session *session)
{
    struct requests *rs = &r->node->requests;
    struct arguments *a = &rs->arguments;
    bool special = r->route->kind == ROUTE_LEADER;
    codec_writer_reset(&rs->writer);
    if (special)
        codec_list(&rs->writer, a->n);
    else
        command_begin(&rs->writer, r->route->type, session, a->n);
    int status = arguments_write(a, &rs->writer);
    if (status != ASSENT_OK)
        return status;
    struct assent_bytes bytes = codec_written(&rs->writer);
    struct command command;
    status = special ? check_special(a, codec_parse(&rs->arena, bytes))
                     : command_decode(&rs->arena, bytes, r->route->kind == ROUTE_QUERY, true, &command,
                                      a->why, sizeof a->why);
    if (status != ASSENT_OK)
        return status;
    r->special = special ? r->route->type : 0;
    return request_step(r, r->route->kind, bytes);
}

static int read_key(struct arguments *a, const char *key, struct command_session *session)
{
    size_t size = strlen(key);
    bool plain = size > 0 && size <= ASSENT_KEY_BYTES_MAX;
    for (size_t i = 0; plain && i < size; i++)
        plain = (uint8_t)key[i] > 0x20 && (uint8_t)key[i] < 0x7f;
    if (!plain) {
        snprintf(a->why, sizeof a->why, "header Idempotency-Key takes 1 to %d visible ASCII characters",
                 ASSENT_KEY_BYTES_MAX);
        return ASSENT_INVALID;
    }
    session->kind = SESSION_KEY;
    session->key = (struct assent_bytes){(const uint8_t *)key, size};
    return ASSENT_OK;
}

/* The trace of the request goes on in the calls of the transaction it begins; what the body says counts more.
 * A header that is none is passed over (W3C Trace Context, 3.2.2). */
static void trace_default(struct arguments *a, const struct request_input *input)
{
    const char *trace = input->header != NULL ? input->header(input->headers, "traceparent") : NULL;
    if (trace == NULL || strlen(trace) < 55 || strlen(trace) > 128)
        return;
    for (const char *c = trace; *c != 0; c++)
        if ((*c < '0' || *c > '9') && (*c < 'a' || *c > 'z') && *c != '-')
            return;
    arguments_default(a, "traceparent", cstr_bytes(trace));
}

/* The number in the path of a local route; 0 where its pattern has none. */
static bool capture_number(const struct route_match *m, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; m->captures > 0 && i < m->capture[0].value_size; i++) {
        unsigned digit = (unsigned)(m->capture[0].value[i] - '0');
        if (digit > 9 || *out > (UINT64_MAX - digit) / 10)
            return false;
        *out = *out * 10 + digit;
    }
    return true;
}

/* Everything that needs no state to refuse. */
int request_decode(struct request *r, const struct request_input *input)
{
    struct arguments *a = &r->node->requests.arguments;
    const uint8_t *mark = memchr(r->uri.base, '?', r->uri.size);
    struct assent_bytes path = {r->uri.base, mark ? (size_t)(mark - r->uri.base) : r->uri.size},
                        query = nothing;
    if (mark != NULL)
        query = (struct assent_bytes){mark + 1, r->uri.size - path.size - 1};
    struct route_match match;
    a->why[0] = 0;
    if (dtm_owns(path)) {
        r->never_forward = false;
        if (dtm_read(r, input, path, query) == REQUEST_ANSWERED)
            request_move(r, REQUEST_DONE);
        return ASSENT_OK;
    }
    int status = route_find(input->method, path, &match);
    r->route = match.route;
    if (status == ASSENT_METHOD)
        memcpy(r->response.allow, match.allow, sizeof r->response.allow);
    if (status == ASSENT_INVALID)
        snprintf(a->why, sizeof a->why, "a part of the path is too long or its percent-encoding is broken");
    if (status != ASSENT_OK)
        return status;
    if (r->route->kind == ROUTE_LOCAL || r->route->kind == ROUTE_PLAIN)
        return capture_number(&match, &r->captured) ? ASSENT_OK : ASSENT_INVALID;
    route_choose(&match, input->body);
    r->route = match.route;
    struct argument_source source = {input->body, query, match.capture, match.captures,
                                     route_has_body(r->route)};
    status = arguments_read(a, route_fields(r->route), &source);
    if (status != ASSENT_OK)
        return status;
    if (r->route->kind == ROUTE_STREAM)
        return stream_open(&r->response.stream, &r->node->streams, a, input->ns, input->last_event);
    if (a->stale && r->route->kind != ROUTE_QUERY) {
        snprintf(a->why, sizeof a->why, "parameter 'stale' belongs to queries");
        return ASSENT_INVALID;
    }
    if (a->wait_ms > 0 && !wait_takes(r->route)) {
        snprintf(a->why, sizeof a->why,
                 "parameter 'waitMs' belongs to commands that begin or decide a transaction");
        return ASSENT_INVALID;
    }
    r->stale = a->stale;
    if (r->route->kind == ROUTE_COMMAND)
        trace_default(a, input);
    struct command_session session = {.kind = SESSION_NONE};
    if (input->ns != NULL && r->route->kind != ROUTE_LEADER) /* checked when it is decoded */
        session.ns = cstr_bytes(input->ns);
    if (input->key != NULL && r->route->kind == ROUTE_COMMAND) {
        status = read_key(a, input->key, &session);
        r->keyed = true;
    }
    if (status == ASSENT_OK)
        status = encode(r, &session);
    return status == ASSENT_OK && a->wait_ms > 0 ? wait_begin(r, a->wait_ms, input->ns) : status;
}
