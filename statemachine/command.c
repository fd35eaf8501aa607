/* A command, query or result as a whole: written, taken apart, held against its schema. */
#include "command.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "text.h"

/* Value of one header of a branch call; signed tokens reach several kilobytes. */
#define HEADER_VALUE_BYTES_MAX 8192
/* The list [type, session, arguments] in one byte; longer encodings of the same list are refused, so that a
 * command has one beginning. */
#define COMMAND_LIST        0x93
#define COMMAND_LIST_SCOPED 0x94 /* with a namespace */

void command_begin(struct codec_writer *w, uint32_t type, const struct command_session *session, uint32_t n)
{
    bool scoped = session != NULL && session->ns.size > 0;
    codec_byte(w, CODEC_FORMAT);
    codec_list(w, scoped ? 4 : 3);
    codec_uint(w, type);
    if (session == NULL || session->kind == SESSION_NONE) {
        codec_nil(w);
    } else if (session->kind == SESSION_KEY) {
        codec_text(w, session->key);
    } else {
        codec_list(w, 3);
        codec_uint(w, session->client);
        codec_uint(w, session->sequence);
        codec_uint(w, session->acknowledged);
    }
    if (scoped)
        codec_text(w, session->ns);
    codec_list(w, n);
}

/* ---- checking a value against its field */

/* Where a check is and where its sentence goes. */
struct check {
    struct codec_arena *arena;
    struct assent_bytes ns;
    bool door;
    char *why;
    size_t why_size;
    const char *list; /* inside a list of objects: its name, else NULL */
    uint32_t row;     /* and the member's number */
};

static int fail(const struct check *c, int code, const struct field *f, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static int fail(const struct check *c, int code, const struct field *f, const char *format, ...)
{
    char what[96];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    if (c->why_size > 0 && c->list != NULL)
        snprintf(c->why, c->why_size, "%s[%u].%s %s", c->list, c->row, f->name, what);
    else if (c->why_size > 0)
        snprintf(c->why, c->why_size, "%s %s", f->name, what);
    return code;
}

static int check_text(const struct check *c, const struct field *f, const struct codec_node *n, uint64_t max,
                      bool name)
{
    if (codec_kind(n) != CODEC_TEXT)
        return fail(c, ASSENT_INVALID, f, "must be a text");
    struct assent_bytes v = codec_as_bytes(n);
    if (v.size > max)
        return fail(c, ASSENT_INVALID, f, "is longer than %llu bytes", (unsigned long long)max);
    if (name && v.size == 0)
        return fail(c, ASSENT_INVALID, f, "must not be empty");
    if (!text_is_utf8(v))
        return fail(c, ASSENT_INVALID, f, "is not valid UTF-8 or holds a NUL");
    if (name && text_has_control(v))
        return fail(c, ASSENT_INVALID, f, "holds control characters");
    return ASSENT_OK;
}

static int check_uint(const struct check *c, const struct field *f, const struct codec_node *n, uint64_t max)
{
    if (max == 0)
        max = INT64_MAX;
    if (codec_kind(n) != CODEC_UINT)
        return fail(c, ASSENT_INVALID, f, "must be a whole number, 0 or more");
    if (codec_as_uint(n) > max)
        return fail(c, ASSENT_INVALID, f, "is larger than %llu", (unsigned long long)max);
    return ASSENT_OK;
}

static int check_json(const struct check *c, const struct field *f, const struct codec_node *n)
{
    bool body = (f->flags & FIELD_BODY) != 0;
    bool text = codec_kind(n) == CODEC_TEXT && body, bytes = codec_kind(n) == CODEC_BIN && body;
    if (codec_kind(n) != CODEC_JSON && !text && !bytes)
        return fail(c, ASSENT_INVALID, f, "must be JSON");
    struct assent_bytes v = codec_as_bytes(n);
    if (v.size > f->max)
        return fail(c, ASSENT_TOO_LARGE, f, "is larger than %llu bytes", (unsigned long long)f->max);
    if (bytes)
        return ASSENT_OK;
    if (text)
        return text_is_utf8(v) ? ASSENT_OK : fail(c, ASSENT_INVALID, f, "is not valid UTF-8 or holds a NUL");
    /* What is in the log passed a door: its text need not be read again by every replica. */
    if (c->door && !text_is_json(v))
        return fail(c, ASSENT_INVALID, f, "is not valid JSON");
    return ASSENT_OK;
}

static int check_map(const struct check *c, const struct field *f, const struct codec_node *n)
{
    if (codec_kind(n) != CODEC_MAP)
        return fail(c, ASSENT_INVALID, f, "must be a map");
    if (codec_size(n) > f->max)
        return fail(c, ASSENT_INVALID, f, "has more than %llu members", (unsigned long long)f->max);
    for (uint32_t i = 0; i < codec_size(n); i++) {
        int rc = check_text(c, f, codec_key_at(n, i), ASSENT_NAME_BYTES_MAX, true);
        if (rc == ASSENT_OK && f->kind == FIELD_COUNTERS)
            rc = check_uint(c, f, codec_value_at(n, i), 0);
        else if (rc == ASSENT_OK)
            rc = check_text(c, f, codec_value_at(n, i), HEADER_VALUE_BYTES_MAX, false);
        if (rc != ASSENT_OK)
            return rc;
    }
    return ASSENT_OK;
}

static int check_fields(const struct check *c, const struct field *fields, const struct codec_node *list);

static int check_list(const struct check *c, const struct field *f, const struct codec_node *n)
{
    if (codec_kind(n) != CODEC_LIST)
        return fail(c, ASSENT_INVALID, f, "must be a list");
    if (codec_size(n) > f->max)
        return fail(c, ASSENT_INVALID, f, "has more than %llu members", (unsigned long long)f->max);
    for (uint32_t i = 0; i < codec_size(n); i++) {
        const struct codec_node *member = codec_at(n, i);
        int rc;
        if (f->kind == FIELD_OBJECTS) {
            struct check inner = *c;
            inner.list = f->name;
            inner.row = i;
            rc = codec_kind(member) == CODEC_LIST ? check_fields(&inner, f->fields, member)
                                                  : fail(c, ASSENT_INVALID, f, "must hold objects");
        } else if (codec_kind(member) == CODEC_UINT) {
            rc = check_uint(c, f, member, 0);
        } else {
            rc = check_text(c, f, member, ASSENT_NAME_BYTES_MAX, true);
        }
        if (rc != ASSENT_OK)
            return rc;
    }
    return ASSENT_OK;
}

static int check_scoped(const struct check *c, const struct field *f, const struct codec_node *n)
{
    int rc = check_text(c, f, n, f->max, (f->flags & FIELD_NAME) != 0);
    if (rc == ASSENT_OK && c->ns.size > 0)
        codec_prefix(c->arena, n, c->ns, NAMESPACE_MARK);
    return rc;
}

static int check_value(const struct check *c, const struct field *f, const struct codec_node *n)
{
    if (f->flags & FIELD_SCOPED)
        return check_scoped(c, f, n);
    switch (f->kind) {
    case FIELD_BOOL:
        return codec_kind(n) == CODEC_BOOL ? ASSENT_OK : fail(c, ASSENT_INVALID, f, "must be true or false");
    case FIELD_UINT:
        return check_uint(c, f, n, f->max);
    case FIELD_TEXT:
        return check_text(c, f, n, f->max, (f->flags & FIELD_NAME) != 0);
    case FIELD_JSON:
        return check_json(c, f, n);
    case FIELD_COUNTERS:
    case FIELD_TEXTS:
        return check_map(c, f, n);
    case FIELD_LIST:
    case FIELD_OBJECTS:
        return check_list(c, f, n);
    }
    return fail(c, ASSENT_INVALID, f, "is of a kind this version does not know");
}

static int check_fields(const struct check *c, const struct field *fields, const struct codec_node *list)
{
    uint32_t i = 0;
    for (const struct field *f = fields; f->name != NULL; f++, i++) {
        const struct codec_node *n = codec_at(list, i);
        if (codec_kind(n) == CODEC_NIL) {
            if (f->flags & FIELD_REQUIRED)
                return fail(c, ASSENT_INVALID, f, "is missing");
            continue;
        }
        if (c->door && (f->flags & FIELD_INTERNAL))
            return fail(c, ASSENT_INVALID, f, "is set by the cluster only");
        int rc = check_value(c, f, n);
        if (rc != ASSENT_OK)
            return rc;
    }
    if (codec_size(list) > i) {
        if (c->why_size > 0)
            snprintf(c->why, c->why_size, "more than the %u known fields", i);
        return ASSENT_INVALID;
    }
    return ASSENT_OK;
}

/* ---- taking a command apart */

static int refusal(char *why, size_t why_size, int code, const char *sentence)
{
    if (why_size > 0)
        snprintf(why, why_size, "%s", sentence);
    return code;
}

static int decode_session(const struct codec_node *n, struct command_session *out, char *why, size_t why_size)
{
    *out = (struct command_session){.kind = SESSION_NONE};
    switch (codec_kind(n)) {
    case CODEC_NIL:
        return ASSENT_OK;
    case CODEC_TEXT:
        out->kind = SESSION_KEY;
        out->key = codec_as_bytes(n);
        if (out->key.size == 0 || out->key.size > ASSENT_KEY_BYTES_MAX || !text_is_utf8(out->key))
            return refusal(why, why_size, ASSENT_INVALID,
                           "the idempotency key is empty, too long or no text");
        return ASSENT_OK;
    case CODEC_LIST:
        break;
    default:
        return refusal(why, why_size, ASSENT_MALFORMED, "the session is neither nil, a list nor a text");
    }
    if (codec_size(n) != 3)
        return refusal(why, why_size, ASSENT_MALFORMED, "a session is [client, sequence, acknowledged]");
    for (uint32_t i = 0; i < 3; i++) {
        if (codec_kind(codec_at(n, i)) != CODEC_UINT)
            return refusal(why, why_size, ASSENT_MALFORMED, "a session is [client, sequence, acknowledged]");
    }
    out->kind = SESSION_SEQUENCE;
    out->client = codec_as_uint(codec_at(n, 0));
    out->sequence = codec_as_uint(codec_at(n, 1));
    out->acknowledged = codec_as_uint(codec_at(n, 2));
    if (out->sequence == 0 || out->sequence > INT64_MAX)
        return refusal(why, why_size, ASSENT_INVALID, "sequence must be 1 or more");
    if (out->acknowledged >= out->sequence)
        return refusal(why, why_size, ASSENT_INVALID, "acknowledged must lie below sequence");
    return ASSENT_OK;
}

struct assent_bytes scoped_name(struct assent_bytes stored, struct assent_bytes *ns)
{
    const uint8_t *mark = stored.size > 0 ? memchr(stored.base, NAMESPACE_MARK, stored.size) : NULL;
    size_t size = mark != NULL ? (size_t)(mark - stored.base) : 0;
    if (ns != NULL)
        *ns = (struct assent_bytes){stored.base, size};
    if (mark == NULL)
        return stored;
    return (struct assent_bytes){mark + 1, stored.size - size - 1};
}

/* The namespace, and the key of the session in it. */
static int decode_namespace(struct codec_arena *a, const struct codec_node *root, struct command *out,
                            char *why, size_t why_size)
{
    const struct codec_node *n = codec_at(root, 2);
    struct assent_bytes ns = codec_as_bytes(n);
    if (codec_kind(n) != CODEC_TEXT || ns.size == 0 || ns.size > NAMESPACE_BYTES_MAX || !text_is_utf8(ns) ||
        text_has_control(ns))
        return refusal(why, why_size, ASSENT_INVALID,
                       "a namespace has 1 to 47 bytes of text without control characters");
    out->session.ns = ns;
    if (out->session.kind == SESSION_KEY) {
        codec_prefix(a, codec_at(root, 1), ns, NAMESPACE_MARK);
        out->session.key = codec_as_bytes(codec_at(root, 1));
    }
    return ASSENT_OK;
}

int command_decode(struct codec_arena *a, struct assent_bytes bytes, bool query, bool door,
                   struct command *out, char *why, size_t why_size)
{
    if (bytes.size > ASSENT_COMMAND_BYTES_MAX)
        return refusal(why, why_size, ASSENT_TOO_LARGE, "the command is larger than the limit");
    bool scoped = bytes.size >= 2 && bytes.base[1] == COMMAND_LIST_SCOPED;
    if (bytes.size < 2 || bytes.base[0] != CODEC_FORMAT || (bytes.base[1] != COMMAND_LIST && !scoped))
        return refusal(why, why_size, ASSENT_MALFORMED, "not a command of this format");
    const struct codec_node *root = codec_parse(a, (struct assent_bytes){bytes.base + 1, bytes.size - 1});
    if (root == NULL || codec_kind(codec_at(root, 0)) != CODEC_UINT)
        return refusal(why, why_size, ASSENT_MALFORMED, "not a command of this format");
    uint64_t type = codec_as_uint(codec_at(root, 0));
    const struct schema *schema = NULL;
    if (type <= UINT32_MAX)
        schema = query ? query_schema((uint32_t)type) : command_schema((uint32_t)type);
    if (schema == NULL)
        return refusal(why, why_size, ASSENT_MALFORMED, "no command or query has this number");
    if (door && schema->internal)
        return refusal(why, why_size, ASSENT_INVALID, "only nodes of the cluster propose this command");
    int rc = decode_session(codec_at(root, 1), &out->session, why, why_size);
    if (rc != ASSENT_OK)
        return rc;
    if (query && out->session.kind != SESSION_NONE)
        return refusal(why, why_size, ASSENT_INVALID, "a query has no session");
    if (scoped)
        rc = decode_namespace(a, root, out, why, why_size);
    if (rc != ASSENT_OK)
        return rc;
    out->type = (uint32_t)type;
    out->args = codec_at(root, scoped ? 3 : 2);
    if (codec_kind(out->args) != CODEC_LIST)
        return refusal(why, why_size, ASSENT_MALFORMED, "the arguments are not a list");
    struct assent_bytes rest = {bytes.base + 2, bytes.size - 2};
    for (int i = 0; i < (scoped ? 3 : 2); i++) { /* over type, session, namespace */
        size_t size = codec_skip(rest);
        rest = (struct assent_bytes){rest.base + size, rest.size - size};
    }
    out->args_bytes = rest;
    struct check check = {.arena = a, .ns = out->session.ns, .door = door, .why = why, .why_size = why_size};
    return check_fields(&check, schema->fields, out->args);
}

uint64_t arg_uint(const struct command *c, uint32_t i, uint64_t absent)
{
    const struct codec_node *n = codec_at(c->args, i);
    return codec_kind(n) == CODEC_UINT ? codec_as_uint(n) : absent;
}

bool arg_bool(const struct command *c, uint32_t i, bool absent)
{
    const struct codec_node *n = codec_at(c->args, i);
    return codec_kind(n) == CODEC_BOOL ? codec_as_bool(n) : absent;
}

struct assent_bytes arg_bytes(const struct command *c, uint32_t i)
{
    return codec_as_bytes(codec_at(c->args, i));
}

bool arg_present(const struct command *c, uint32_t i)
{
    return codec_kind(codec_at(c->args, i)) != CODEC_NIL;
}

/* ---- results */

bool result_of(const struct codec_node *n, struct result *out)
{
    if (codec_kind(n) != CODEC_LIST || codec_size(n) != 3 || codec_kind(codec_at(n, 0)) != CODEC_UINT)
        return false;
    uint64_t code = codec_as_uint(codec_at(n, 0));
    enum codec_kind data = codec_kind(codec_at(n, 1));
    enum codec_kind detail = codec_kind(codec_at(n, 2));
    if (code > UINT16_MAX || (data != CODEC_MAP && data != CODEC_NIL) ||
        (detail != CODEC_TEXT && detail != CODEC_NIL))
        return false;
    out->code = (int)code;
    out->data = data == CODEC_MAP ? codec_at(n, 1) : NULL;
    out->detail = codec_as_bytes(codec_at(n, 2));
    return true;
}

bool result_decode(struct codec_arena *a, struct assent_bytes bytes, struct result *out)
{
    return result_of(codec_parse(a, bytes), out);
}

void result_refusal(struct codec_writer *w, int code, const char *detail)
{
    codec_list(w, 3);
    codec_uint(w, (uint64_t)code);
    codec_nil(w);
    if (detail == NULL || detail[0] == '\0')
        codec_nil(w);
    else
        codec_cstr(w, detail);
}
