#include "export.h"

#include <stdlib.h>
#include <string.h>

#include "edn.h"

static const char *const names[EXPORT_FORMAT_NR] = {"knossos", "elle-edn", "elle-json", "porcupine", "csv"};

enum export_format export_find(const char *name)
{
    unsigned i = 0;
    while (i < EXPORT_FORMAT_NR && strcmp(names[i], name) != 0)
        i++;
    return (enum export_format)i;
}

const char *export_name(enum export_format format)
{
    return names[format];
}

bool export_per_key(enum export_format format)
{
    return format == EXPORT_KNOSSOS || format == EXPORT_PORCUPINE;
}

/* Normalising
 * ----------------------------------------------------------------------------------------------------- */

/* Numbers keys in order of first sight; `keys` maps their text to the number. */
static size_t number_of(json_t *keys, const json_t *key)
{
    char *text =
        key == NULL ? strdup("null") : json_dumps(key, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
    json_t *number = text == NULL ? NULL : json_object_get(keys, text);
    size_t n = number == NULL ? json_object_size(keys) : (size_t)json_integer_value(number);
    if (number == NULL && text != NULL)
        json_object_set_new(keys, text, json_integer((json_int_t)n));
    free(text);
    return n;
}

size_t history_keys(const struct history *h)
{
    json_t *keys = json_object();
    for (size_t i = 0; i < h->n; i++)
        if (h->ops[i].process != PROCESS_NEMESIS)
            (void)number_of(keys, h->ops[i].key);
    size_t n = json_object_size(keys);
    json_decref(keys);
    return n;
}

static struct op *copy_op(struct history *out, const struct op *op)
{
    return history_add_op(out, op->time_ns, op->process, op->type, op->f, NULL,
                          json_is_null(op->value) ? NULL : json_incref(op->value));
}

static bool is_f(const struct op *op, const char *f)
{
    return strcmp(op->f, f) == 0;
}

/* Foreign registers know no versions: [value, version] is value, [old, new, version] is [old, new].  They
 * only prune our own search; what is not linearizable without them is not with them. */
static void drop_version(struct op *op)
{
    bool cas = is_f(op, "cas");
    if (json_array_size(op->value) != (cas ? 3 : 2) || (!cas && !is_f(op, "read") && !is_f(op, "write")))
        return;
    json_t *value = cas ? json_pack("[O,O]", json_array_get(op->value, 0), json_array_get(op->value, 1))
                        : json_incref(json_array_get(op->value, 0));
    json_decref(op->value);
    op->value = value;
}

/* A register of Knossos and of Porcupine begins as nil, which is not our 0.  Nobody else is called 2^53, the
 * largest integer all readers agree on. */
static int begin_with_zero(struct history *out)
{
    return history_add_op(out, 0, 1ll << 53, OP_INVOKE, "write", NULL, json_integer(0)) == NULL ||
                   history_add_op(out, 0, 1ll << 53, OP_OK, "write", NULL, json_integer(0)) == NULL
               ? -1
               : 0;
}

/* Porcupine's reader takes a failed write for one that may happen yet, and a failed cas for one that found
 * another value: what failed for another reason is left out, both halves. */
static bool left_out(const struct history *h, const size_t *pair, size_t i)
{
    size_t end = h->ops[i].type == OP_INVOKE ? pair[i] : i;
    const struct op *done = end == HISTORY_NONE ? NULL : &h->ops[end];
    return done != NULL && done->type == OP_FAIL && !is_f(done, "read") &&
           !(is_f(done, "cas") && strcmp(done->error, "mismatch") == 0);
}

/* Porcupine's lines know neither times nor errors; a lost operation has no second line, a lost or failed read
 * has. */
static int normalise_porcupine(const struct op *op, struct history *out)
{
    bool read = is_f(op, "read");
    if (op->type == OP_INFO && !read)
        return 0;
    struct op *copy = copy_op(out, op);
    if (copy == NULL)
        return -1;
    drop_version(copy);
    copy->time_ns = 0;
    if (read && op->type != OP_OK) {
        copy->type = op->type == OP_INFO ? OP_FAIL : op->type;
        json_decref(copy->value);
        copy->value = NULL;
    }
    return 0;
}

static int normalise_op(const struct op *op, enum export_format format, struct history *out)
{
    if (format == EXPORT_PORCUPINE)
        return normalise_porcupine(op, out);
    struct op *copy = copy_op(out, op);
    if (copy == NULL)
        return -1;
    memcpy(copy->error, op->error, sizeof copy->error);
    if (format == EXPORT_KNOSSOS)
        drop_version(copy);
    if (format == EXPORT_CSV) {
        copy->key = json_incref(op->key);
        memcpy(copy->node, op->node, sizeof copy->node);
    }
    return 0;
}

int history_normalise(const struct history *h, enum export_format format, size_t key, struct history *out)
{
    json_t *keys = json_object();
    size_t *pair = calloc(h->n + 1, sizeof *pair);
    int rv = keys == NULL || pair == NULL || history_pairs(h, pair) != 0 ? -1 : 0;
    history_init(out);
    for (size_t i = 0; rv == 0 && i < h->n; i++) {
        const struct op *op = &h->ops[i];
        if (op->process == PROCESS_NEMESIS && format != EXPORT_CSV)
            continue;
        if (op->process != PROCESS_NEMESIS && number_of(keys, op->key) != key && key != SIZE_MAX)
            continue;
        if (format == EXPORT_PORCUPINE && left_out(h, pair, i))
            continue;
        if (out->n == 0 && export_per_key(format) && !is_f(op, "acquire") && !is_f(op, "release"))
            rv = begin_with_zero(out);
        rv = rv == 0 ? normalise_op(op, format, out) : rv;
    }
    json_decref(keys);
    free(pair);
    return rv;
}

/* Writing
 * ---------------------------------------------------------------------------------------------------------
 */

/* Micro-operations' names are keywords in EDN: ["r",1,null] is [:r 1 nil]. */
static json_t *with_keywords(const json_t *value)
{
    json_t *list = json_array(), *step;
    size_t i;
    json_array_foreach((json_t *)value, i, step)
    {
        json_t *copy = json_copy(step);
        const char *name = json_string_value(json_array_get(step, 0));
        char keyword[32];
        snprintf(keyword, sizeof keyword, ":%s", name == NULL ? "" : name);
        if (name != NULL)
            json_array_set_new(copy, 0, json_string(keyword));
        json_array_append_new(list, copy);
    }
    return list;
}

static int write_edn(FILE *out, const struct op *op)
{
    json_t *value = strcmp(op->f, "txn") == 0 ? with_keywords(op->value) : json_incref(op->value);
    fprintf(out, "{:index %llu, :time %llu, :process %lld, :type :%s, :f :%s, :value ",
            (unsigned long long)op->index, (unsigned long long)op->time_ns, (long long)op->process,
            op_type_name(op->type), op->f);
    int rv = edn_write(out, value);
    json_decref(value);
    if (op->error[0] != '\0') {
        json_t *error = json_string(op->error);
        fputs(", :error ", out);
        rv = edn_write(out, error) != 0 ? -1 : rv;
        json_decref(error);
    }
    return fputs("}\n", out) < 0 ? -1 : rv;
}

static int write_porcupine(FILE *out, const struct op *op)
{
    fprintf(out, "INFO  jepsen.util - %lld\t:%s\t:%s\t", (long long)op->process, op_type_name(op->type),
            op->f);
    bool lost = op->type == OP_FAIL && strcmp(op->f, "read") == 0;
    int rv = lost ? (fputs(":timed-out", out) < 0 ? -1 : 0) : edn_write(out, op->value);
    return fputc('\n', out) == EOF ? -1 : rv;
}

static int write_csv_json(FILE *out, const json_t *value)
{
    char *text = value == NULL ? NULL : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
    fputs(",\"", out);
    for (const char *p = text; p != NULL && *p != '\0'; p++) {
        if (*p == '"')
            fputc('"', out);
        fputc(*p, out);
    }
    free(text);
    return fputc('"', out) == EOF ? -1 : 0;
}

static int write_csv(FILE *out, const struct op *op)
{
    if (op->index == 0)
        fputs("index,time,process,type,f,key,value,node,error\n", out);
    json_t *node = json_string(op->node), *error = json_string(op->error);
    fprintf(out, "%llu,%llu,%lld,%s,%s", (unsigned long long)op->index, (unsigned long long)op->time_ns,
            (long long)op->process, op_type_name(op->type), op->f);
    int rv = write_csv_json(out, op->key) | write_csv_json(out, op->value) | write_csv_json(out, node) |
             write_csv_json(out, error);
    json_decref(node);
    json_decref(error);
    return fputc('\n', out) == EOF ? -1 : rv;
}

static int write_json(FILE *out, const struct op *op)
{
    json_t *map = json_pack("{s:I,s:I,s:I,s:s,s:s,s:O?}", "index", (json_int_t)op->index, "time",
                            (json_int_t)op->time_ns, "process", (json_int_t)op->process, "type",
                            op_type_name(op->type), "f", op->f, "value", op->value);
    if (map != NULL && op->value == NULL)
        json_object_set_new(map, "value", json_null());
    if (map != NULL && op->error[0] != '\0')
        json_object_set_new(map, "error", json_string(op->error));
    fputs(op->index == 0 ? "[" : ",\n ", out);
    int rv = map == NULL ? -1 : json_dumpf(map, out, JSON_COMPACT);
    json_decref(map);
    return rv;
}

/* What the readers of the format know; CSV says anything. */
static bool can_say(enum export_format format, const struct op *op)
{
    static const char *const known[EXPORT_FORMAT_NR][6] = {
        [EXPORT_KNOSSOS] = {"read", "write", "cas", "acquire", "release"},
        [EXPORT_PORCUPINE] = {"read", "write", "cas"},
        [EXPORT_ELLE_EDN] = {"txn"},
        [EXPORT_ELLE_JSON] = {"txn"},
    };
    for (size_t i = 0; i < 6 && known[format][i] != NULL; i++)
        if (is_f(op, known[format][i]))
            return true;
    return format == EXPORT_CSV;
}

int export_write(FILE *out, const struct history *h, enum export_format format, char *err, size_t err_size)
{
    static int (*const writers[])(FILE *, const struct op *) = {write_edn, write_edn, write_json,
                                                                write_porcupine, write_csv};
    for (size_t i = 0; i < h->n; i++) {
        if (!can_say(format, &h->ops[i])) {
            snprintf(err, err_size, "event %zu (%s) is nothing that %s knows", i, h->ops[i].f, names[format]);
            return -1;
        }
        if (writers[format](out, &h->ops[i]) != 0) {
            snprintf(err, err_size, "event %zu cannot be written as %s", i, names[format]);
            return -1;
        }
    }
    if (format == EXPORT_ELLE_JSON)
        fputs(h->n == 0 ? "[]\n" : "]\n", out);
    if (ferror(out) == 0)
        return 0;
    snprintf(err, err_size, "the stream refused");
    return -1;
}
