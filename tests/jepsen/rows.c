#include "rows.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static json_t *json_of(const char *text)
{
    json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);
    assert(json != NULL);
    if (!json_is_null(json))
        return json;
    json_decref(json);
    return NULL;
}

static void add_event(struct history *h, const char *text, uint64_t time)
{
    static const char *const types[] = {"invoke", "ok", "fail", "info"};
    char type[8], f[24], key[64] = "null", value[2048] = "null";
    int process, used = 0;
    int fields = sscanf(text, " %d %7s %23s%n", &process, type, f, &used);
    assert(fields == 3);
    text += used;
    if (sscanf(text, " @%63s%n", key, &used) == 1)
        text += used;
    sscanf(text, " %2047[^\n]", value);
    size_t t = 0;
    while (strcmp(types[t], type) != 0)
        assert(++t < 4);
    struct op *op = history_add_op(h, time, process, (enum op_type)t, f, json_of(key), json_of(value));
    assert(op != NULL);
    if (t == OP_FAIL)
        snprintf(op->error, sizeof op->error, "mismatch");
}

void rows_parse(const char *text, struct history *h)
{
    char *copy = strdup(text), *rest = NULL;
    uint64_t time = 0;
    assert(copy != NULL);
    history_init(h);
    for (char *event = strtok_r(copy, ";", &rest); event != NULL; event = strtok_r(NULL, ";", &rest)) {
        event += strspn(event, " \n");
        bool tie = event[0] == '=';
        time += tie ? 0 : 1;
        add_event(h, event + (tie ? 1 : 0), time);
    }
    free(copy);
}
