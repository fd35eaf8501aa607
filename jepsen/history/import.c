/* The way back from export.c: what other tools wrote, or what we want to see unchanged. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "edn.h"
#include "export.h"

static int type_of(const char *text)
{
    for (int type = OP_INVOKE; type <= OP_INFO; type++)
        if (text != NULL && strcmp(text, op_type_name((enum op_type)type)) == 0)
            return type;
    return -1;
}

/* ":read" and "read" are one name. */
static const char *plain(const char *text)
{
    return text != NULL && text[0] == ':' ? text + 1 : text;
}

/* [:r 1 nil] is ["r",1,null]. */
static json_t *without_keywords(const json_t *value)
{
    json_t *list = json_array(), *step;
    size_t i;
    json_array_foreach((json_t *)value, i, step)
    {
        json_t *copy = json_copy(step);
        const char *name = json_string_value(json_array_get(step, 0));
        if (name != NULL)
            json_array_set_new(copy, 0, json_string(plain(name)));
        json_array_append_new(list, copy);
    }
    return list;
}

/* One event from a map whose names carry `prefix` (":" in EDN).  Non-zero: not an event. */
static int add_map(struct history *h, const json_t *map, bool edn)
{
    const char *p = edn ? ":" : "";
    char name[5][16];
    static const char *const fields[] = {"time", "process", "type", "f", "value"};
    const json_t *got[5];
    for (size_t i = 0; i < 5; i++) {
        snprintf(name[i], sizeof name[i], "%s%s", p, fields[i]);
        got[i] = json_object_get(map, name[i]);
    }
    int type = type_of(plain(json_string_value(got[2])));
    const char *f = plain(json_string_value(got[3]));
    const char *error = plain(json_string_value(json_object_get(map, edn ? ":error" : "error")));
    if (!json_is_integer(got[1]) || type < 0 || f == NULL ||
        (got[0] != NULL && json_integer_value(got[0]) < 0))
        return -1;
    json_t *value = got[4] == NULL || json_is_null(got[4]) ? NULL
                    : edn && strcmp(f, "txn") == 0         ? without_keywords(got[4])
                                                           : json_incref((json_t *)got[4]);
    struct op *op = history_add_op(h, (uint64_t)json_integer_value(got[0]), json_integer_value(got[1]),
                                   (enum op_type)type, f, NULL, value);
    if (op == NULL || (error != NULL && strlen(error) >= sizeof op->error))
        return -1;
    if (error != NULL)
        memcpy(op->error, error, strlen(error) + 1);
    return 0;
}

static int add_edn(struct history *h, const char *line)
{
    json_t *map = edn_read(&line);
    int rv = json_is_object(map) && strspn(line, " \r\n") == strlen(line) ? add_map(h, map, true) : -1;
    json_decref(map);
    return rv;
}

/* INFO  jepsen.util - 3<TAB>:invoke<TAB>:cas<TAB>[1 4] */
static int add_porcupine(struct history *h, const char *line)
{
    long long process;
    char type[12], f[24];
    int used = 0;
    if (sscanf(line, "INFO jepsen.util - %lld :%11s :%23s %n", &process, type, f, &used) != 3 || used == 0)
        return -1;
    line += used;
    json_t *value = edn_read(&line);
    if (value == NULL || type_of(type) < 0) {
        json_decref(value);
        return -1;
    }
    const char *word = json_string_value(value);
    if (json_is_null(value) || (word != NULL && strcmp(word, ":timed-out") == 0)) {
        json_decref(value);
        value = NULL;
    }
    return history_add_op(h, 0, process, (enum op_type)type_of(type), f, NULL, value) == NULL ? -1 : 0;
}

static int read_lines(FILE *in, int (*add)(struct history *, const char *), struct history *h, char *err,
                      size_t err_size)
{
    char *line = NULL;
    size_t room = 0, number = 0;
    int rv = 0;
    while (rv == 0 && getline(&line, &room, in) >= 0) {
        number++;
        if (strspn(line, " \t\r\n") != strlen(line) && (rv = add(h, line)) != 0)
            snprintf(err, err_size, "line %zu is no event", number);
    }
    free(line);
    if (rv == 0 && ferror(in)) {
        snprintf(err, err_size, "read: %s", strerror(errno));
        rv = -1;
    }
    return rv;
}

int export_read(FILE *in, enum export_format format, struct history *h, char *err, size_t err_size)
{
    if (format == EXPORT_KNOSSOS || format == EXPORT_ELLE_EDN)
        return read_lines(in, add_edn, h, err, err_size);
    if (format == EXPORT_PORCUPINE)
        return read_lines(in, add_porcupine, h, err, err_size);
    if (format != EXPORT_ELLE_JSON) {
        snprintf(err, err_size, "%s is not read back", export_name(format));
        return -1;
    }
    json_error_t why;
    json_t *all = json_loadf(in, 0, &why), *map;
    size_t i;
    int rv = json_is_array(all) ? 0 : -1;
    snprintf(err, err_size, "%s", all == NULL ? why.text : "not an array");
    json_array_foreach(all, i, map)
    {
        if (rv == 0 && (rv = add_map(h, map, false)) != 0)
            snprintf(err, err_size, "element %zu is no event", i);
    }
    json_decref(all);
    return rv;
}
