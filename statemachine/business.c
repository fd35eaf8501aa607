/* The business catalogue: what a business type is, so that an application names it and brings its data only.
 *
 * A type is stored as the arguments of its mode's own command (TXN_BEGIN, SAGA_SUBMIT, MESSAGE_SUBMIT)
 * without what differs from one execution to the next.  Executing writes those arguments again with the xid,
 * the key and the data in their places and runs the mode's own function: execution, refusals and idempotency
 * are the mode's.  A type that is changed or removed leaves what was executed before as it is. */
#include <stdlib.h>

#include "audit.h"

/* Types of all namespaces together. */
#define BUSINESS_TYPES_MAX  65536
#define BUSINESS_LIMIT      100
#define BUSINESS_PAGE_BYTES (2u * 1024 * 1024)
/* Place of the payload in a branch of a begin and in a step. */
#define MEMBER_PAYLOAD SAGA_STEP_PAYLOAD
static_assert((int)TXN_BRANCH_PAYLOAD - (int)TXN_BRANCH_BRANCH == (int)SAGA_STEP_PAYLOAD,
              "one place of the payload serves branches and steps");
static_assert((int)TXN_BEGIN_BRANCHES == (int)SAGA_SUBMIT_STEPS &&
                  (int)TXN_BEGIN_BRANCHES == (int)MESSAGE_STEPS,
              "one place of the list serves all modes");

/* A field of BUSINESS_PUT and where it goes; `from` BUSINESS_PUT_NR ends a table. */
struct place {
    uint32_t from, to;
};
#define COMMON_PLACES(options)                                                                               \
    {BUSINESS_PUT_TIMEOUT_MS, TXN_BEGIN_TIMEOUT_MS}, {BUSINESS_PUT_RETRY_BASE_MS, TXN_BEGIN_RETRY_BASE_MS},  \
        {BUSINESS_PUT_RETRY_CAP_MS, TXN_BEGIN_RETRY_CAP_MS},                                                 \
        {BUSINESS_PUT_RETRY_FACTOR, (options) + OPTION_RETRY_FACTOR},                                        \
        {BUSINESS_PUT_RETRY_JITTER, (options) + OPTION_RETRY_JITTER},                                        \
        {BUSINESS_PUT_HEADERS, (options) + OPTION_HEADERS},                                                  \
        {BUSINESS_PUT_CALL_TIMEOUT_MS, (options) + OPTION_CALL_TIMEOUT_MS},                                  \
    {                                                                                                        \
        BUSINESS_PUT_PROTOCOL, (options) + OPTION_PROTOCOL                                                   \
    }
#define PLACES_END                                                                                           \
    {                                                                                                        \
        BUSINESS_PUT_NR, 0                                                                                   \
    }

static const struct place begin_places[] = {
    COMMON_PLACES(TXN_BEGIN_OPTIONS),
    {BUSINESS_PUT_ORDER, TXN_BEGIN_OPTIONS + OPTION_ORDER},
    {BUSINESS_PUT_BRANCHES, TXN_BEGIN_BRANCHES},
    PLACES_END,
};
static const struct place saga_places[] = {
    COMMON_PLACES(SAGA_SUBMIT_OPTIONS),
    {BUSINESS_PUT_STEPS, SAGA_SUBMIT_STEPS},
    {BUSINESS_PUT_CONCURRENT, SAGA_SUBMIT_CONCURRENT},
    {BUSINESS_PUT_ON_FAILURE, SAGA_SUBMIT_ON_FAILURE},
    {BUSINESS_PUT_RETRY_LIMIT, SAGA_SUBMIT_RETRY_LIMIT},
    PLACES_END,
};
static const struct place message_places[] = {
    COMMON_PLACES(MESSAGE_OPTIONS),
    {BUSINESS_PUT_STEPS, MESSAGE_STEPS},
    {BUSINESS_PUT_CONCURRENT, MESSAGE_CONCURRENT},
    {BUSINESS_PUT_DELAY_MS, MESSAGE_DELAY_MS},
    PLACES_END,
};

/* How a mode's transactions come into being. */
static const struct kind {
    enum command_type command;
    const struct place *places;
    int (*check)(struct apply *a);
    apply_fn apply;
    uint32_t parent;  /* place of the parent's xid */
    uint32_t execute; /* place of a switch that must be on; 0: none */
} kinds[TXN_MODE_NR] = {
    [TXN_MODE_TCC] = {COMMAND_TXN_BEGIN, begin_places, txn_begin_check, txn_begin,
                      TXN_BEGIN_OPTIONS + OPTION_PARENT, TXN_BEGIN_EXECUTE},
    [TXN_MODE_XA] = {COMMAND_TXN_BEGIN, begin_places, txn_begin_check, txn_begin,
                     TXN_BEGIN_OPTIONS + OPTION_PARENT, TXN_BEGIN_EXECUTE},
    [TXN_MODE_SAGA] = {COMMAND_SAGA_SUBMIT, saga_places, saga_submit_check, saga_submit,
                       SAGA_SUBMIT_OPTIONS + OPTION_PARENT, 0},
    [TXN_MODE_MESSAGE] = {COMMAND_MESSAGE_SUBMIT, message_places, message_submit_check, message_submit,
                          MESSAGE_OPTIONS + OPTION_PARENT, 0},
};

static struct store_key business_key(struct assent_bytes type)
{
    struct assent_bytes ns, name = scoped_name(type, &ns);
    struct store_key k;
    key_init(&k);
    key_text(&k, ns);
    key_tail(&k, name);
    return k;
}

/* A row: mode, description, arguments of the mode's command as a list. */
struct business {
    enum txn_mode mode;
    struct assent_bytes description, arguments; /* borrowed from the store */
};

static struct business business_decode(struct assent_bytes value)
{
    struct business b;
    b.mode = (enum txn_mode)row_take_u8(&value);
    b.description = row_take_bytes(&value);
    b.arguments = row_take_bytes(&value);
    assert(b.mode < TXN_MODE_NR && kinds[b.mode].apply != NULL);
    return b;
}

static int not_found(struct apply *a, struct assent_bytes type)
{
    type = scoped_name(type, NULL);
    return refuse(a, ASSENT_NOT_FOUND, "no business type %.*s", (int)type.size, (const char *)type.base);
}

static int mode_of(struct apply *a, struct assent_bytes word, enum txn_mode *mode)
{
    *mode = txn_mode_by_name(word);
    if (bytes_equal(word, bytes_of("AT")))
        return refuse(a, ASSENT_UNSUPPORTED, "mode AT: no AT resource registered");
    if (*mode == 0 || kinds[*mode].apply == NULL)
        return refuse(a, ASSENT_INVALID, "mode: TCC, XA, SAGA or MESSAGE");
    return ASSENT_OK;
}

/* ---- writing a mode's command ---- */

/* The number of arguments of a command. */
static uint32_t arguments_of(enum command_type type)
{
    uint32_t n = 0;
    for (const struct field *f = command_schema(type)->fields; f->name != NULL; f++)
        n++;
    return n;
}

static void put_node(struct codec_writer *w, const struct codec_node *n)
{
    switch (codec_kind(n)) {
    case CODEC_BOOL:
        codec_bool(w, codec_as_bool(n));
        return;
    case CODEC_UINT:
        codec_uint(w, codec_as_uint(n));
        return;
    case CODEC_INT:
        codec_int(w, codec_as_int(n));
        return;
    case CODEC_TEXT:
        codec_text(w, codec_as_bytes(n));
        return;
    case CODEC_JSON:
        codec_json(w, codec_as_bytes(n));
        return;
    case CODEC_BIN:
        codec_bin(w, codec_as_bytes(n));
        return;
    case CODEC_LIST:
        codec_list(w, codec_size(n));
        for (uint32_t i = 0; i < codec_size(n); i++)
            put_node(w, codec_at(n, i));
        return;
    case CODEC_MAP:
        codec_map(w, codec_size(n));
        for (uint32_t i = 0; i < codec_size(n); i++) {
            put_node(w, codec_key_at(n, i));
            put_node(w, codec_value_at(n, i));
        }
        return;
    case CODEC_NIL:
    case CODEC_OTHER:
        codec_nil(w);
    }
}

/* The branches or steps; those without a payload get `data`, if there is any. */
static void put_members(struct codec_writer *w, const struct codec_node *list, const struct codec_node *data)
{
    codec_list(w, codec_size(list));
    for (uint32_t i = 0; i < codec_size(list); i++) {
        const struct codec_node *member = codec_at(list, i);
        uint32_t n = codec_size(member);
        bool fill =
            codec_kind(data) != CODEC_NIL && codec_kind(codec_at(member, MEMBER_PAYLOAD)) == CODEC_NIL;
        if (fill && n <= MEMBER_PAYLOAD)
            n = MEMBER_PAYLOAD + 1;
        codec_list(w, n);
        for (uint32_t k = 0; k < n; k++)
            put_node(w, fill && k == MEMBER_PAYLOAD ? data : codec_at(member, k));
    }
}

/* Run `run` on a command of the mode, as if it had come in place of the one at hand. */
static int run_inner(struct apply *a, struct assent_bytes bytes, int (*run)(struct apply *a))
{
    const struct command *outer = a->command;
    struct codec_arena arena;
    struct command inner;
    codec_arena_init(&arena);
    int rv = command_decode(&arena, bytes, false, false, &inner, a->detail, sizeof(a->detail));
    if (rv == ASSENT_OK) {
        a->command = &inner;
        rv = run(a);
        a->command = outer;
    }
    codec_arena_close(&arena);
    return rv;
}

static void begin_inner(struct apply *a, struct codec_writer *w, enum command_type type, uint32_t n)
{
    struct command_session session = {.kind = SESSION_NONE, .ns = a->command->session.ns};
    command_begin(w, type, &session, n);
}

/* ---- put, remove ---- */

/* Fields the mode does not know are refused: they would do nothing. */
static int check_places(struct apply *a, const struct kind *kind, enum txn_mode mode)
{
    for (uint32_t i = BUSINESS_PUT_TIMEOUT_MS; i < BUSINESS_PUT_NR; i++) {
        const struct place *p = kind->places;
        while (p->from != BUSINESS_PUT_NR && p->from != i)
            p++;
        if (arg_present(a->command, i) && p->from != i)
            return refuse(a, ASSENT_INVALID, "%s: a %s has no such field",
                          command_schema(COMMAND_BUSINESS_PUT)->fields[i].name, txn_mode_name(mode));
    }
    return ASSENT_OK;
}

/* The arguments the mode's command will have, in its order. */
static void put_arguments(struct apply *a, struct codec_writer *w, const struct kind *kind,
                          enum txn_mode mode, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct place *p = kind->places;
        while (p->from != BUSINESS_PUT_NR && p->to != i)
            p++;
        if (i == TXN_BEGIN_MODE)
            codec_cstr(w, txn_mode_name(mode));
        else if (i == TXN_BEGIN_BUSINESS_TYPE)
            codec_text(w, scoped_name(arg_bytes(a->command, BUSINESS_PUT_TYPE), NULL));
        else if (i == kind->execute && i > 0)
            codec_bool(w, true);
        else
            put_node(w, p->from != BUSINESS_PUT_NR ? codec_at(a->command->args, p->from) : NULL);
    }
}

static void business_save(struct apply *a, const struct store_key *key, enum txn_mode mode,
                          struct assent_bytes arguments)
{
    struct assent_bytes description = arg_bytes(a->command, BUSINESS_PUT_DESCRIPTION);
    size_t room = 1 + row_bytes_size(description) + row_bytes_size(arguments);
    struct row_writer w = {malloc(room), 0, room};
    assert(w.base != NULL);
    row_put_u8(&w, (uint8_t)mode);
    row_put_bytes(&w, description);
    row_put_bytes(&w, arguments);
    store_put(a->txn, STORE_BUSINESS, key_bytes(key), row_written(&w));
    free(w.base);
}

int business_put(struct apply *a)
{
    struct assent_bytes type = arg_bytes(a->command, BUSINESS_PUT_TYPE), value;
    struct store_key key = business_key(type);
    enum txn_mode mode;
    int rv = mode_of(a, arg_bytes(a->command, BUSINESS_PUT_MODE), &mode);
    if (rv == ASSENT_OK)
        rv = check_places(a, &kinds[mode], mode);
    if (rv != ASSENT_OK)
        return rv;
    bool there = store_get(a->txn, STORE_BUSINESS, key_bytes(&key), &value);
    if (!there && store_count(a->txn, STORE_BUSINESS) >= BUSINESS_TYPES_MAX)
        return refuse(a, ASSENT_LIMIT, "the catalogue holds %d business types", BUSINESS_TYPES_MAX);
    uint32_t n = arguments_of(kinds[mode].command), members;
    struct codec_writer w;
    codec_writer_init(&w);
    begin_inner(a, &w, kinds[mode].command, n);
    put_arguments(a, &w, &kinds[mode], mode, n);
    members = codec_size(codec_at(a->command->args, mode == TXN_MODE_SAGA || mode == TXN_MODE_MESSAGE
                                                        ? BUSINESS_PUT_STEPS
                                                        : BUSINESS_PUT_BRANCHES));
    if (members == 0)
        rv = refuse(a, ASSENT_INVALID, "a business type has at least one branch or step");
    else
        rv = run_inner(a, codec_written(&w), kinds[mode].check);
    if (rv == ASSENT_OK) {
        codec_writer_reset(&w);
        codec_list(&w, n);
        put_arguments(a, &w, &kinds[mode], mode, n);
        business_save(a, &key, mode, codec_written(&w));
        audit_act(a, "business_put", (struct assent_bytes){NULL, 0}, scoped_name(type, NULL),
                  BUSINESS_PUT_BY);
        codec_map(a->out, 4);
        codec_pair_text(a->out, "businessType", scoped_name(type, NULL));
        codec_pair_cstr(a->out, "mode", txn_mode_name(mode));
        codec_pair_uint(a->out, "branchCount", members);
        codec_pair_bool(a->out, "created", !there);
    }
    codec_writer_close(&w);
    return rv;
}

int business_remove(struct apply *a)
{
    struct assent_bytes type = arg_bytes(a->command, BUSINESS_REMOVE_TYPE);
    struct store_key key = business_key(type);
    if (!store_del(a->txn, STORE_BUSINESS, key_bytes(&key)))
        return not_found(a, type);
    audit_act(a, "business_remove", (struct assent_bytes){NULL, 0}, scoped_name(type, NULL),
              BUSINESS_REMOVE_BY);
    codec_map(a->out, 1);
    codec_pair_text(a->out, "businessType", scoped_name(type, NULL));
    return ASSENT_OK;
}

/* ---- execute ---- */

/* What of an execution goes where; the xid and the parent without their namespace. */
static const struct codec_node *brought(const struct command *c, const struct kind *kind, uint32_t i)
{
    static const uint32_t from[] = {
        [TXN_BEGIN_BUSINESS_KEY] = BUSINESS_EXECUTE_KEY,
        [TXN_BEGIN_TIMEOUT_MS] = BUSINESS_EXECUTE_TIMEOUT_MS,
        [TXN_BEGIN_OWNER] = BUSINESS_EXECUTE_OWNER,
        [TXN_BEGIN_TRACEPARENT] = BUSINESS_EXECUTE_TRACEPARENT,
        [TXN_BEGIN_CUSTOM_DATA] = BUSINESS_EXECUTE_CUSTOM_DATA,
    };
    if (i == TXN_BEGIN_XID)
        return codec_at(c->args, BUSINESS_EXECUTE_XID);
    if (i == kind->parent)
        return codec_at(c->args, BUSINESS_EXECUTE_PARENT);
    if (i >= sizeof(from) / sizeof(from[0]) || from[i] == 0)
        return NULL;
    return codec_at(c->args, from[i]);
}

/* Copies the stored arguments, with what this execution brings in their places. */
static void put_execution(struct apply *a, struct codec_writer *w, const struct kind *kind,
                          const struct codec_node *stored)
{
    const struct command *c = a->command;
    begin_inner(a, w, kind->command, codec_size(stored));
    for (uint32_t i = 0; i < codec_size(stored); i++) {
        const struct codec_node *n = brought(c, kind, i);
        if (i == TXN_BEGIN_BRANCHES)
            put_members(w, codec_at(stored, i), codec_at(c->args, BUSINESS_EXECUTE_DATA));
        else if (codec_kind(n) != CODEC_NIL && (i == TXN_BEGIN_XID || i == kind->parent))
            codec_text(w, scoped_name(codec_as_bytes(n), NULL));
        else
            put_node(w, codec_kind(n) != CODEC_NIL ? n : codec_at(stored, i));
    }
}

static int execute(struct apply *a, const struct business *b)
{
    const struct kind *kind = &kinds[b->mode];
    struct codec_arena arena;
    codec_arena_init(&arena);
    const struct codec_node *stored = codec_parse(&arena, b->arguments);
    assert(codec_kind(stored) == CODEC_LIST);
    uint64_t members = codec_size(codec_at(stored, TXN_BEGIN_BRANCHES));
    int rv;
    if (members * arg_bytes(a->command, BUSINESS_EXECUTE_DATA).size > ASSENT_COMMAND_BYTES_MAX) {
        rv = refuse(a, ASSENT_TOO_LARGE, "businessData: %llu branches get a copy each, %u bytes in all",
                    (unsigned long long)members, ASSENT_COMMAND_BYTES_MAX);
    } else {
        struct codec_writer w;
        codec_writer_init(&w);
        put_execution(a, &w, kind, stored);
        rv = run_inner(a, codec_written(&w), kind->apply);
        codec_writer_close(&w);
    }
    codec_arena_close(&arena);
    return rv;
}

int business_execute(struct apply *a)
{
    struct assent_bytes type = arg_bytes(a->command, BUSINESS_EXECUTE_TYPE), value;
    struct assent_bytes word = arg_bytes(a->command, BUSINESS_EXECUTE_MODE);
    struct store_key key = business_key(type);
    enum txn_mode mode = (enum txn_mode)0;
    int rv = word.size > 0 ? mode_of(a, word, &mode) : ASSENT_OK;
    if (rv != ASSENT_OK)
        return rv;
    if (!store_get(a->txn, STORE_BUSINESS, key_bytes(&key), &value))
        return not_found(a, type);
    struct business b = business_decode(value);
    if (mode != 0 && mode != b.mode)
        return refuse(a, ASSENT_INVALID, "the business type is a %s", txn_mode_name(b.mode));
    return execute(a, &b);
}

/* ---- reading ---- */

static void put_named(struct codec_writer *w, const struct field *fields, const struct codec_node *list);

/* A value by its field: objects get the names of their fields back. */
static void put_value(struct codec_writer *w, const struct field *f, const struct codec_node *n)
{
    if (f->kind != FIELD_OBJECTS) {
        put_node(w, n);
        return;
    }
    codec_list(w, codec_size(n));
    for (uint32_t i = 0; i < codec_size(n); i++)
        put_named(w, f->fields, codec_at(n, i));
}

static void put_named(struct codec_writer *w, const struct field *fields, const struct codec_node *list)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < codec_size(list); i++)
        n += codec_kind(codec_at(list, i)) != CODEC_NIL;
    codec_map(w, n);
    for (uint32_t i = 0; i < codec_size(list); i++) {
        if (codec_kind(codec_at(list, i)) == CODEC_NIL)
            continue;
        codec_cstr(w, fields[i].name);
        put_value(w, &fields[i], codec_at(list, i));
    }
}

static void put_business(struct codec_writer *w, struct codec_arena *arena, struct assent_bytes name,
                         struct assent_bytes value)
{
    struct business b = business_decode(value);
    codec_map(w, 4);
    codec_pair_text(w, "businessType", name);
    codec_pair_cstr(w, "mode", txn_mode_name(b.mode));
    codec_pair_text(w, "description", b.description);
    codec_cstr(w, "template");
    put_named(w, command_schema(kinds[b.mode].command)->fields, codec_parse(arena, b.arguments));
}

static int query_one(struct apply *a, struct assent_bytes type)
{
    struct store_key key = business_key(type);
    struct assent_bytes value;
    struct codec_arena arena;
    if (!store_get(a->txn, STORE_BUSINESS, key_bytes(&key), &value))
        return not_found(a, type);
    codec_arena_init(&arena);
    put_business(a->out, &arena, scoped_name(type, NULL), value);
    codec_arena_close(&arena);
    return ASSENT_OK;
}

/* A page of the namespace's types in order of their names. */
struct page {
    struct codec_writer rows;
    struct codec_arena arena;
    struct assent_bytes last;
    uint32_t n;
    bool more;
};

static void page_fill(struct apply *a, struct page *p, struct assent_bytes after, uint64_t limit)
{
    struct assent_bytes ns = a->command->session.ns, key, value;
    uint32_t prefix = (uint32_t)ns.size + 1;
    struct store_key from;
    struct store_cursor cursor;
    key_init(&from);
    key_text(&from, ns);
    key_tail(&from, after);
    store_cursor_open(&cursor, a->txn, STORE_BUSINESS);
    bool there = store_cursor_seek(&cursor, key_bytes(&from), &key, &value);
    if (there && after.size > 0 && bytes_equal(key, key_bytes(&from)))
        there = store_cursor_next(&cursor, &key, &value);
    for (; there && key.size > prefix && memcmp(key.base, from.bytes, prefix) == 0;
         there = store_cursor_next(&cursor, &key, &value)) {
        p->more = p->n == limit || codec_written(&p->rows).size > BUSINESS_PAGE_BYTES;
        if (p->more)
            break;
        p->last = (struct assent_bytes){key.base + prefix, key.size - prefix};
        put_business(&p->rows, &p->arena, p->last, value);
        p->n++;
    }
    store_cursor_close(&cursor);
}

int query_business(struct apply *a)
{
    struct assent_bytes type = arg_bytes(a->command, QUERY_BUSINESS_TYPE);
    struct assent_bytes after = arg_bytes(a->command, QUERY_BUSINESS_AFTER);
    uint64_t limit = arg_uint(a->command, QUERY_BUSINESS_LIMIT, BUSINESS_LIMIT);
    if (type.size > 0)
        return query_one(a, type);
    if (limit == 0)
        return refuse(a, ASSENT_INVALID, "limit: 1 to %d", ASSENT_PAGE_ROWS_MAX);
    if (after.size > ASSENT_NAME_BYTES_MAX)
        return refuse(a, ASSENT_INVALID, "after: a business type");
    struct page p = {.n = 0};
    codec_writer_init(&p.rows);
    codec_arena_init(&p.arena);
    page_fill(a, &p, after, limit);
    codec_map(a->out, 2);
    codec_cstr(a->out, "businessTypes");
    codec_list(a->out, p.n);
    codec_raw(a->out, codec_written(&p.rows));
    codec_cstr(a->out, "next");
    if (p.more)
        codec_text(a->out, p.last);
    else
        codec_nil(a->out);
    codec_arena_close(&p.arena);
    codec_writer_close(&p.rows);
    return ASSENT_OK;
}
