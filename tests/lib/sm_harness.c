/* A state machine in a temporary directory, driven by one line per command. */
#include "sm_harness.h"

#include <assert.h>
#include <ftw.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BASE_US INT64_C(1700000000000000)

static void die(const char *what, const char *detail)
{
    fprintf(stderr, "test: %s: %s\n", what, detail);
    abort();
}

static struct assent_bytes cbytes(const char *s)
{
    return (struct assent_bytes){(const uint8_t *)s, strlen(s)};
}

/* ---- temporary directories */

void temp_dir_make(char *path, size_t size)
{
    const char *base = getenv("TMPDIR");
    snprintf(path, size, "%s/assent-test-XXXXXX", base != NULL && base[0] != '\0' ? base : "/tmp");
    if (mkdtemp(path) == NULL)
        die("cannot make a directory", path);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st, (void)kind, (void)where;
    return remove(path);
}

void temp_dir_remove(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- JSON arguments into the bytes of a command */

static void encode_fields(struct codec_writer *w, const struct field *fields, json_t *object);

static void encode_map(struct codec_writer *w, const struct field *f, json_t *v)
{
    const char *key;
    json_t *member;
    codec_map(w, (uint32_t)json_object_size(v));
    json_object_foreach(v, key, member)
    {
        codec_cstr(w, key);
        if (f->kind == FIELD_COUNTERS)
            codec_uint(w, (uint64_t)json_integer_value(member));
        else
            codec_cstr(w, json_string_value(member));
    }
}

static void encode_value(struct codec_writer *w, const struct field *f, json_t *v)
{
    if (f->kind == FIELD_JSON) {
        char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);
        codec_json(w, cbytes(text));
        free(text);
    } else if (v == NULL || json_is_null(v)) {
        codec_nil(w);
    } else if (json_is_object(v)) {
        encode_map(w, f, v);
    } else if (json_is_array(v)) {
        codec_list(w, (uint32_t)json_array_size(v));
        for (size_t i = 0; i < json_array_size(v); i++) {
            json_t *member = json_array_get(v, i);
            if (f->kind == FIELD_OBJECTS)
                encode_fields(w, f->fields, member);
            else
                encode_value(w, f, member);
        }
    } else if (json_is_boolean(v)) {
        codec_bool(w, json_is_true(v));
    } else if (json_is_integer(v)) {
        codec_int(w, json_integer_value(v));
    } else if (json_is_string(v)) {
        codec_text(w, (struct assent_bytes){(const uint8_t *)json_string_value(v), json_string_length(v)});
    } else {
        die("no such kind of argument", f->name);
    }
}

/* Positions up to the last field that is there. */
static void encode_fields(struct codec_writer *w, const struct field *fields, json_t *object)
{
    uint32_t n = 0;
    size_t known = 0;
    for (uint32_t i = 0; fields[i].name != NULL; i++) {
        if (json_object_get(object, fields[i].name) != NULL) {
            n = i + 1;
            known++;
        }
    }
    if (known != json_object_size(object))
        die("an argument is not in the schema", json_dumps(object, JSON_COMPACT));
    codec_list(w, n);
    for (uint32_t i = 0; i < n; i++) {
        json_t *v = json_object_get(object, fields[i].name);
        if (v == NULL)
            codec_nil(w);
        else
            encode_value(w, &fields[i], v);
    }
}

struct assent_bytes sm_encode(struct codec_writer *w, bool query, uint32_t type,
                              const struct command_session *session, const char *args)
{
    const struct schema *schema = query ? query_schema(type) : command_schema(type);
    if (schema == NULL)
        die("no such command or query", args);
    char *text = strdup(args);
    for (char *p = text; *p != '\0'; p++)
        *p = *p == '\'' ? '"' : *p;
    json_error_t error;
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(object))
        die(error.text, args);
    codec_writer_reset(w);
    command_begin(w, type, session, 0);
    codec_truncate(w, codec_written(w).size - 1); /* its empty list */
    encode_fields(w, schema->fields, object);
    json_decref(object);
    free(text);
    return codec_written(w);
}

/* ---- running */

static void open_machine(struct sm_harness *h, const char *name)
{
    char err[256], path[300];
    snprintf(path, sizeof path, "%s/%s", h->dir, name);
    struct sm_config config = {.dir = path, .map_bytes = 1u << 30, .cluster_tag = 7};
    if (sm_open(&h->sm, &config, err, sizeof err) != ASSENT_OK)
        die("sm_open", err);
}

void sm_harness_open(struct sm_harness *h)
{
    memset(h, 0, sizeof *h);
    temp_dir_make(h->dir, sizeof h->dir);
    open_machine(h, "state");
    codec_arena_init(&h->arena);
    codec_writer_init(&h->encoded);
    h->now_us = BASE_US;
    h->step_us = 1000;
}

void sm_harness_close(struct sm_harness *h)
{
    sm_close(h->sm, false);
    codec_arena_close(&h->arena);
    codec_writer_close(&h->encoded);
    free(h->text);
    temp_dir_remove(h->dir);
}

int sm_harness_setup(void **state)
{
    static struct sm_harness h;
    sm_harness_open(&h);
    *state = &h;
    return 0;
}

int sm_harness_teardown(void **state)
{
    sm_harness_close(*state);
    return 0;
}

static int take_result(struct sm_harness *h, struct assent_bytes bytes)
{
    if (!result_decode(&h->arena, bytes, &h->result))
        die("the result is malformed", "");
    return h->result.code;
}

int sm_run(struct sm_harness *h, uint32_t type, const char *args)
{
    struct sm_command c = {.index = ++h->index, .time_us = h->now_us, .awaited = true};
    char why[128];
    struct command decoded;
    c.command = sm_encode(&h->encoded, false, type, &h->session, args);
    int code = command_decode(&h->arena, c.command, false, false, &decoded, why, sizeof why);
    if (code != ASSENT_OK)
        die(why, args);
    h->now_us += h->step_us;
    sm_apply(h->sm, &c, 1, h->index);
    return take_result(h, c.result);
}

int sm_ask(struct sm_harness *h, uint32_t query, const char *args)
{
    struct command_session ns = {.kind = SESSION_NONE, .ns = h->session.ns};
    return take_result(h, sm_query(h->sm, sm_encode(&h->encoded, true, query, &ns, args)));
}

void sm_advance(struct sm_harness *h, int64_t ms)
{
    h->now_us += ms * 1000;
}

void sm_reincarnate(struct sm_harness *h)
{
    char image[300], err[256];
    uint64_t size, digest, before = sm_digest(h->sm);
    static unsigned life;
    snprintf(image, sizeof image, "%s/image", h->dir);
    if (sm_dump(h->sm, sm_pin(h->sm), image, &size, &digest) != ASSENT_OK)
        die("sm_dump", image);
    sm_close(h->sm, false);
    snprintf(err, sizeof err, "state%u", ++life);
    open_machine(h, err);
    if (sm_restore(h->sm, image, err, sizeof err) != ASSENT_OK)
        die("sm_restore", err);
    if (sm_digest(h->sm) != before || sm_applied_index(h->sm) != h->index)
        die("the restored state differs", image);
}

/* ---- looking at a result */

const struct codec_node *sm_node(struct sm_harness *h, const char *path)
{
    const struct codec_node *n = h->result.data;
    while (*path != '\0' && n != NULL) {
        char step[160];
        size_t size = strcspn(path, ".");
        assert(size < sizeof step);
        memcpy(step, path, size);
        step[size] = '\0';
        n = codec_kind(n) == CODEC_LIST ? codec_at(n, (uint32_t)strtoul(step, NULL, 10)) : codec_get(n, step);
        path += size + (path[size] == '.');
    }
    return n;
}

uint64_t sm_uint(struct sm_harness *h, const char *path)
{
    return codec_as_uint(sm_node(h, path));
}

int64_t sm_int(struct sm_harness *h, const char *path)
{
    return codec_as_int(sm_node(h, path));
}

bool sm_bool(struct sm_harness *h, const char *path)
{
    return codec_as_bool(sm_node(h, path));
}

uint32_t sm_count(struct sm_harness *h, const char *path)
{
    return codec_size(sm_node(h, path));
}

static const char *keep(struct sm_harness *h, struct assent_bytes v)
{
    free(h->text);
    h->text = calloc(1, v.size + 1);
    if (v.size > 0)
        memcpy(h->text, v.base, v.size);
    return h->text;
}

const char *sm_text(struct sm_harness *h, const char *path)
{
    return keep(h, codec_as_bytes(sm_node(h, path)));
}

const char *sm_detail(struct sm_harness *h)
{
    return keep(h, h->result.detail);
}

static json_t *to_json(const struct codec_node *n)
{
    struct assent_bytes v = codec_as_bytes(n);
    json_t *out;
    switch (codec_kind(n)) {
    case CODEC_BOOL:
        return json_boolean(codec_as_bool(n));
    case CODEC_UINT:
    case CODEC_INT:
        return json_integer(codec_as_int(n));
    case CODEC_TEXT:
        return json_stringn((const char *)v.base, v.size);
    case CODEC_JSON:
        return json_loadb((const char *)v.base, v.size, JSON_DECODE_ANY, NULL);
    case CODEC_LIST:
        out = json_array();
        for (uint32_t i = 0; i < codec_size(n); i++)
            json_array_append_new(out, to_json(codec_at(n, i)));
        return out;
    case CODEC_MAP:
        out = json_object();
        for (uint32_t i = 0; i < codec_size(n); i++) {
            struct assent_bytes k = codec_as_bytes(codec_key_at(n, i));
            char key[512];
            assert(k.size < sizeof key);
            memcpy(key, k.base, k.size);
            key[k.size] = '\0';
            json_object_set_new(out, key, to_json(codec_value_at(n, i)));
        }
        return out;
    default:
        return json_null();
    }
}

const char *sm_json(struct sm_harness *h)
{
    json_t *root = to_json(h->result.data);
    free(h->text);
    h->text = json_dumps(root, JSON_COMPACT | JSON_ENCODE_ANY);
    json_decref(root);
    return h->text;
}
