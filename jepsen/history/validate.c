/* The rules of a well-formed history, and who completed what.  One pass, one map from a process to its open
 * operation. */
#include "history.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { PROCESS_FREE, PROCESS_IDLE, PROCESS_OPEN, PROCESS_GONE };

struct slot {
    int64_t process;
    size_t open; /* position of the open invocation */
    int state;
};

/* Open addressing; a power of two at least twice as large as the number of events can fill. */
struct process_map {
    struct slot *slots;
    size_t mask;
};

static int process_map_init(struct process_map *map, size_t events)
{
    size_t size = 16;
    while (size < 2 * events)
        size *= 2;
    map->slots = calloc(size, sizeof *map->slots);
    map->mask = size - 1;
    return map->slots == NULL ? -1 : 0;
}

static struct slot *process_map_get(struct process_map *map, int64_t process)
{
    size_t at = (size_t)((uint64_t)process * 0x9E3779B97F4A7C15u >> 20) & map->mask;
    while (map->slots[at].state != PROCESS_FREE && map->slots[at].process != process)
        at = (at + 1) & map->mask;
    if (map->slots[at].state == PROCESS_FREE)
        map->slots[at] = (struct slot){.process = process, .open = HISTORY_NONE, .state = PROCESS_IDLE};
    return &map->slots[at];
}

static bool same_json(const json_t *a, const json_t *b)
{
    return a == b || (a != NULL && b != NULL && json_equal((json_t *)a, (json_t *)b) == 1);
}

static bool holds_real(const json_t *value)
{
    size_t i;
    const char *name;
    json_t *part;
    if (json_is_real(value))
        return true;
    json_array_foreach((json_t *)value, i, part) if (holds_real(part)) return true;
    json_object_foreach((json_t *)value, name, part) if (holds_real(part)) return true;
    return false;
}

/* Rules 3 to 6 for a client's event; moves its slot.  Returns a complaint or NULL. */
static const char *check_client(const struct history *h, const struct op *op, struct slot *slot)
{
    if (slot->state == PROCESS_GONE)
        return "its process ended with an info before (rule 3)";
    if (op->type == OP_INVOKE) {
        if (slot->state == PROCESS_OPEN)
            return "its process has an open operation (rule 3)";
        slot->state = PROCESS_OPEN;
        slot->open = (size_t)(op - h->ops);
        return NULL;
    }
    if (slot->state != PROCESS_OPEN)
        return "completes what was never invoked (rule 4)";
    const struct op *invoke = &h->ops[slot->open];
    if (strcmp(op->f, invoke->f) != 0)
        return "has another f than its invocation (rule 4)";
    if (!same_json(op->key, invoke->key))
        return "has another key than its invocation (rule 4)";
    if (op->type == OP_FAIL && !same_json(op->value, invoke->value))
        return "is a fail with another value than its invocation (rule 5)";
    if (op->type == OP_OK && strcmp(op->f, "read") == 0 && (op->value == NULL || json_is_null(op->value)))
        return "is an ok read without a value (rule 6)";
    slot->state = op->type == OP_INFO ? PROCESS_GONE : PROCESS_IDLE;
    slot->open = HISTORY_NONE;
    return NULL;
}

static int key_type(const json_t *key)
{
    return key == NULL ? -1 : (int)json_typeof(key);
}

int history_validate(const struct history *h, char *err, size_t err_size)
{
    struct process_map map;
    if (process_map_init(&map, h->n) != 0) {
        snprintf(err, err_size, "out of memory");
        return -1;
    }
    const struct op *first_keyed = NULL; /* the first client event: all others have a key like it */
    const char *complaint = NULL;
    size_t i;
    for (i = 0; i < h->n && complaint == NULL; i++) {
        const struct op *op = &h->ops[i];
        if (op->index != i)
            complaint = "has not the index of its position (rule 1)";
        else if (i > 0 && op->time_ns < h->ops[i - 1].time_ns)
            complaint = "is earlier than the event before it (rule 2)";
        else if (op->process < 0 && op->process != PROCESS_NEMESIS)
            complaint = "has a negative process (rule 3)";
        else if (op->f[0] == '\0')
            complaint = "has no f";
        else if (op->process == PROCESS_NEMESIS)
            complaint = op->type == OP_INFO ? NULL : "is a fault that is not info (rule 8)";
        else if (holds_real(op->value) || holds_real(op->key))
            complaint = "holds a real number (rule 9)";
        else if (first_keyed != NULL && key_type(first_keyed->key) != key_type(op->key))
            complaint = "has a key of another type than the first (rule 9)";
        else {
            first_keyed = first_keyed == NULL ? op : first_keyed;
            complaint = check_client(h, op, process_map_get(&map, op->process));
        }
    }
    free(map.slots);
    if (complaint == NULL)
        return 0;
    const struct op *bad = &h->ops[i - 1];
    snprintf(err, err_size, "event %zu (process %lld %s %s) %s", i - 1, (long long)bad->process,
             op_type_name(bad->type), bad->f, complaint);
    return -1;
}

int history_pairs(const struct history *h, size_t *pair)
{
    struct process_map map;
    if (process_map_init(&map, h->n) != 0)
        return -1;
    for (size_t i = 0; i < h->n; i++) {
        pair[i] = HISTORY_NONE;
        if (h->ops[i].process == PROCESS_NEMESIS)
            continue;
        struct slot *slot = process_map_get(&map, h->ops[i].process);
        if (h->ops[i].type == OP_INVOKE) {
            slot->open = i;
        } else {
            assert(slot->open != HISTORY_NONE);
            pair[i] = slot->open;
            pair[slot->open] = i;
            slot->open = HISTORY_NONE;
        }
    }
    free(map.slots);
    return 0;
}
