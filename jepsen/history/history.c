#include "history.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const type_names[] = {"invoke", "ok", "fail", "info"};

const char *op_type_name(enum op_type type)
{
    return type_names[type];
}

void history_init(struct history *h)
{
    *h = (struct history){0};
}

void history_close(struct history *h)
{
    for (size_t i = 0; i < h->n; i++) {
        json_decref(h->ops[i].key);
        json_decref(h->ops[i].value);
    }
    free(h->ops);
    *h = (struct history){0};
}

struct op *history_add(struct history *h)
{
    if (h->n == h->capacity) {
        size_t capacity = h->capacity == 0 ? 256 : 2 * h->capacity;
        struct op *ops = realloc(h->ops, capacity * sizeof *ops);
        if (ops == NULL)
            return NULL;
        h->ops = ops;
        h->capacity = capacity;
    }
    struct op *op = &h->ops[h->n];
    *op = (struct op){.index = h->n};
    h->n++;
    return op;
}

struct op *history_add_op(struct history *h, uint64_t time_ns, int64_t process, enum op_type type,
                          const char *f, json_t *key, json_t *value)
{
    struct op *op = strlen(f) < sizeof op->f ? history_add(h) : NULL;
    if (op == NULL) {
        json_decref(key);
        json_decref(value);
        return NULL;
    }
    op->time_ns = time_ns;
    op->process = process;
    op->type = type;
    memcpy(op->f, f, strlen(f) + 1);
    op->key = key;
    op->value = value;
    return op;
}

/* The text of field `name` into `out`; absent and null are "".  Returns a complaint or NULL. */
static const char *take_text(json_t *line, const char *name, char *out, size_t out_size)
{
    json_t *field = json_object_get(line, name);
    if (field == NULL || json_is_null(field))
        return NULL;
    const char *text = json_string_value(field);
    if (text == NULL)
        return "is not a string";
    if (strlen(text) >= out_size)
        return "is too long";
    memcpy(out, text, strlen(text) + 1);
    return NULL;
}

static const char *take_number(json_t *line, const char *name, uint64_t *out)
{
    json_t *field = json_object_get(line, name);
    if (!json_is_integer(field) || json_integer_value(field) < 0)
        return "is not a non-negative integer";
    *out = (uint64_t)json_integer_value(field);
    return NULL;
}

static const char *take_process(json_t *line, int64_t *out)
{
    json_t *field = json_object_get(line, "process");
    if (json_is_string(field) && strcmp(json_string_value(field), "nemesis") == 0) {
        *out = PROCESS_NEMESIS;
        return NULL;
    }
    if (!json_is_integer(field) || json_integer_value(field) < 0)
        return "is neither a non-negative integer nor \"nemesis\"";
    *out = json_integer_value(field);
    return NULL;
}

static const char *take_type(json_t *line, enum op_type *out)
{
    const char *text = json_string_value(json_object_get(line, "type"));
    for (size_t i = 0; text != NULL && i < sizeof type_names / sizeof type_names[0]; i++)
        if (strcmp(text, type_names[i]) == 0) {
            *out = (enum op_type)i;
            return NULL;
        }
    return "is not invoke, ok, fail or info";
}

/* A null key is no key: the history has one object. */
static json_t *take_json(json_t *line, const char *name)
{
    json_t *field = json_object_get(line, name);
    return json_is_null(field) ? NULL : json_incref(field);
}

static int parse_line(json_t *line, struct op *op, char *err, size_t err_size, size_t line_number)
{
    const char *field = NULL;
    const char *complaint = NULL;
#define TAKE(name, call)                                                                                     \
    if (complaint == NULL && (complaint = (call)) != NULL)                                                   \
    field = (name)
    if (json_object_get(line, "index") != NULL)
        TAKE("index", take_number(line, "index", &op->index));
    TAKE("time", take_number(line, "time", &op->time_ns));
    TAKE("process", take_process(line, &op->process));
    TAKE("type", take_type(line, &op->type));
    TAKE("f", take_text(line, "f", op->f, sizeof op->f));
    TAKE("node", take_text(line, "node", op->node, sizeof op->node));
    TAKE("error", take_text(line, "error", op->error, sizeof op->error));
#undef TAKE
    if (complaint != NULL) {
        snprintf(err, err_size, "line %zu: %s %s", line_number, field, complaint);
        return -1;
    }
    op->key = take_json(line, "key");
    op->value = take_json(line, "value");
    return 0;
}

int history_read_stream(FILE *in, struct history *h, char *err, size_t err_size)
{
    char *text = NULL;
    size_t room = 0;
    size_t line_number = 0;
    size_t indexed = 0;
    int rv = 0;
    for (ssize_t size; rv == 0 && (size = getline(&text, &room, in)) >= 0;) {
        line_number++;
        if (strspn(text, " \t\r\n") == (size_t)size)
            continue;
        json_error_t why;
        json_t *line = json_loadb(text, (size_t)size, JSON_REJECT_DUPLICATES, &why);
        struct op *op = NULL;
        rv = -1;
        if (!json_is_object(line)) {
            snprintf(err, err_size, "line %zu: %s", line_number, line == NULL ? why.text : "not an object");
        } else if ((op = history_add(h)) == NULL) {
            snprintf(err, err_size, "line %zu: out of memory", line_number);
        } else {
            indexed += json_object_get(line, "index") != NULL;
            rv = parse_line(line, op, err, err_size, line_number);
        }
        json_decref(line);
    }
    free(text);
    if (rv == 0 && ferror(in)) {
        snprintf(err, err_size, "read: %s", strerror(errno));
        return -1;
    }
    if (rv == 0 && indexed != 0 && indexed != h->n) {
        snprintf(err, err_size, "%zu of %zu events carry an index: all must, or none", indexed, h->n);
        return -1;
    }
    return rv;
}

int history_read(const char *path, struct history *h, char *err, size_t err_size)
{
    FILE *in = fopen(path, "r");
    if (in == NULL) {
        snprintf(err, err_size, "%s: %s", path, strerror(errno));
        return -1;
    }
    int rv = history_read_stream(in, h, err, err_size);
    fclose(in);
    return rv;
}

/* `value` as compact JSON; keys of objects are sorted, so that equal histories are equal files. */
static int write_json(FILE *out, const char *name, const json_t *value)
{
    if (value == NULL)
        return fprintf(out, ",\"%s\":null", name) < 0 ? -1 : 0;
    if (fprintf(out, ",\"%s\":", name) < 0)
        return -1;
    return json_dumpf(value, out, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);
}

static int write_text(FILE *out, const char *name, const char *text)
{
    if (text[0] == '\0')
        return 0;
    json_t *string = json_string(text); /* NULL: not UTF-8, which a reply of a broken node may well be */
    int rv = write_json(out, name, string);
    json_decref(string);
    return rv;
}

int history_write_op(FILE *out, const struct op *op)
{
    if (fprintf(out, "{\"index\":%" JSON_INTEGER_FORMAT ",\"time\":%" JSON_INTEGER_FORMAT,
                (json_int_t)op->index, (json_int_t)op->time_ns) < 0)
        return -1;
    if (op->process == PROCESS_NEMESIS ? fputs(",\"process\":\"nemesis\"", out) < 0
                                       : fprintf(out, ",\"process\":%lld", (long long)op->process) < 0)
        return -1;
    if (fprintf(out, ",\"type\":\"%s\"", op_type_name(op->type)) < 0 || write_text(out, "f", op->f) != 0)
        return -1;
    if (op->key != NULL && write_json(out, "key", op->key) != 0)
        return -1;
    if (write_json(out, "value", op->value) != 0 || write_text(out, "node", op->node) != 0 ||
        write_text(out, "error", op->error) != 0)
        return -1;
    return fputs("}\n", out) < 0 ? -1 : 0;
}

int history_write(const char *path, const struct history *h, char *err, size_t err_size)
{
    FILE *out = fopen(path, "w");
    if (out == NULL) {
        snprintf(err, err_size, "%s: %s", path, strerror(errno));
        return -1;
    }
    int rv = 0;
    for (size_t i = 0; rv == 0 && i < h->n; i++)
        rv = history_write_op(out, &h->ops[i]);
    if (fclose(out) != 0 || rv != 0) {
        snprintf(err, err_size, "%s: not written: %s", path, strerror(errno));
        return -1;
    }
    return 0;
}
