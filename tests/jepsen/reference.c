#include "reference.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

uint64_t random_next(struct random *r)
{
    uint64_t x = r->state += 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

uint64_t random_below(struct random *r, uint64_t bound)
{
    return random_next(r) % bound;
}

enum phase { ASKING, ACTING, ANSWERING, LINGERING, DONE };

/* One operation under way.  LINGERING: its client gave up, it may still take effect. */
struct going {
    enum phase phase;
    uint64_t at;
    int64_t process;
    bool lost, effective;
    char f[24];
    json_t *key, *value, *result;
    const char *error;
};

static void ask(struct reference *ref, struct history *h, struct going *g)
{
    const char *f;
    ref->object->ask(ref, g->process, &f, &g->key, &g->value);
    snprintf(g->f, sizeof g->f, "%s", f);
    history_add_op(h, g->at, g->process, OP_INVOKE, f, json_incref(g->key), json_incref(g->value));
    g->lost = random_below(&ref->random, 100) < ref->info_percent;
    g->effective = !g->lost || random_below(&ref->random, 2) == 0;
    g->phase = ACTING;
    g->at += 1 + random_below(&ref->random, 40);
}

static void act(struct reference *ref, struct going *g)
{
    g->error = NULL;
    g->result = g->effective ? ref->object->act(ref, g->process, g->f, g->key, g->value, &g->error) : NULL;
}

static void answer(struct history *h, struct going *g)
{
    enum op_type type = g->lost ? OP_INFO : g->result == NULL ? OP_FAIL : OP_OK;
    struct op *op = history_add_op(h, g->at, g->process, type, g->f, json_incref(g->key),
                                   json_incref(type == OP_OK ? g->result : g->value));
    if (type == OP_INFO)
        snprintf(op->error, sizeof op->error, "timeout");
    else if (g->error != NULL && type == OP_FAIL)
        snprintf(op->error, sizeof op->error, "%s", g->error);
}

static void forget(struct going *g)
{
    json_decref(g->key);
    json_decref(g->value);
    json_decref(g->result);
    g->key = g->value = g->result = NULL;
}

void reference_run(struct reference *ref, struct history *h)
{
    /* Room for each client's current operation and for all that linger. */
    size_t n = ref->clients;
    struct going *all = calloc(ref->clients + ref->operations + 1, sizeof *all);
    assert(all != NULL);
    ref->lists = json_object();
    int64_t next_process = (int64_t)ref->clients;
    unsigned asked = 0;
    for (size_t i = 0; i < n; i++)
        all[i] = (struct going){.process = (int64_t)i, .at = 1 + random_below(&ref->random, 20)};
    for (;;) {
        struct going *g = NULL;
        for (size_t i = 0; i < n; i++)
            if (all[i].phase != DONE && (g == NULL || all[i].at < g->at))
                g = &all[i];
        if (g == NULL)
            break;
        switch (g->phase) {
        case ASKING:
            if (asked++ < ref->operations)
                ask(ref, h, g);
            else
                g->phase = DONE;
            break;
        case ACTING:
            if (g->lost && g->effective && !ref->effect_early && random_below(&ref->random, 2) == 0) {
                /* The client gives up first; the effect comes later. */
                answer(h, g);
                all[n] = *g;
                all[n].phase = LINGERING;
                all[n].at += 1 + random_below(&ref->random, 200);
                n++;
                *g = (struct going){.process = next_process++, .at = g->at + 1};
                break;
            }
            act(ref, g);
            g->phase = ANSWERING;
            g->at += 1 + random_below(&ref->random, 40);
            break;
        case ANSWERING:
            answer(h, g);
            forget(g);
            g->process = g->lost ? next_process++ : g->process;
            g->phase = ASKING;
            g->at += 1 + random_below(&ref->random, 20);
            break;
        case LINGERING:
            act(ref, g);
            forget(g);
            g->phase = DONE;
            break;
        case DONE:
            break;
        }
    }
    free(all);
    json_decref(ref->lists);
    ref->lists = NULL;
}

/* Registers
 * ------------------------------------------------------------------------------------------------------- */

static void ask_key(struct reference *ref, json_t **key)
{
    *key = json_integer((json_int_t)random_below(&ref->random, ref->keys));
}

static bool wants_read(struct reference *ref)
{
    return random_below(&ref->random, 100) < ref->read_percent;
}

static json_int_t element(const json_t *array, size_t i)
{
    return json_integer_value(json_array_get(array, i));
}

static void register_ask(struct reference *ref, int64_t process, const char **f, json_t **key, json_t **value)
{
    (void)process;
    ask_key(ref, key);
    bool read = wants_read(ref);
    *f = read ? "read" : "write";
    *value = read ? NULL : json_integer(++ref->counter);
}

static void cas_ask(struct reference *ref, int64_t process, const char **f, json_t **key, json_t **value)
{
    register_ask(ref, process, f, key, value);
    json_decref(*value);
    *value = NULL;
    if (strcmp(*f, "read") == 0)
        return;
    json_int_t a = (json_int_t)random_below(&ref->random, ref->values);
    json_int_t b = (json_int_t)random_below(&ref->random, ref->values);
    bool cas = random_below(&ref->random, 2) == 0;
    *f = cas ? "cas" : "write";
    *value = cas ? json_pack("[I,I]", a, b) : json_integer(a);
}

static json_t *register_act(struct reference *ref, int64_t process, const char *f, const json_t *key,
                            const json_t *value, const char **error)
{
    (void)process;
    int64_t *state = &ref->register_of[json_integer_value(key)];
    if (strcmp(f, "read") == 0)
        return json_integer(*state);
    if (strcmp(f, "cas") == 0) {
        if (*state != element(value, 0)) {
            *error = "mismatch";
            return NULL;
        }
        *state = element(value, 1);
    } else {
        *state = json_integer_value(value);
    }
    return json_incref((json_t *)value);
}

static json_t *versioned_act(struct reference *ref, int64_t process, const char *f, const json_t *key,
                             const json_t *value, const char **error)
{
    int64_t *version = &ref->version_of[json_integer_value(key)];
    json_t *result = register_act(ref, process, f, key, value, error);
    if (result == NULL)
        return NULL;
    if (strcmp(f, "read") != 0)
        *version += 1 + (int64_t)random_below(&ref->random, 3);
    json_t *versioned =
        json_is_array(result)
            ? json_pack("[I,I,I]", element(result, 0), element(result, 1), (json_int_t)*version)
            : json_pack("[I,I]", json_integer_value(result), (json_int_t)*version);
    json_decref(result);
    return versioned;
}

/* Mutex, clock, counter
 * ------------------------------------------------------------------------------------------- */

static void mutex_ask(struct reference *ref, int64_t process, const char **f, json_t **key, json_t **value)
{
    ask_key(ref, key);
    *f = random_below(&ref->random, 2) == 0 ? "acquire" : "release";
    *value = json_integer(process);
}

static json_t *mutex_act(struct reference *ref, int64_t process, const char *f, const json_t *key,
                         const json_t *value, const char **error)
{
    (void)error;
    int64_t *owner = &ref->register_of[json_integer_value(key)];
    bool acquire = strcmp(f, "acquire") == 0;
    if (*owner != (acquire ? 0 : process + 1))
        return NULL;
    *owner = acquire ? process + 1 : 0;
    return json_incref((json_t *)value);
}

static void lamport_ask(struct reference *ref, int64_t process, const char **f, json_t **key, json_t **value)
{
    (void)process;
    ask_key(ref, key);
    uint64_t what = random_below(&ref->random, 3);
    *f = what == 0 ? "tick" : what == 1 ? "current" : "sync";
    *value = what == 2 ? json_integer((json_int_t)random_below(&ref->random, 100)) : NULL;
}

static json_t *lamport_act(struct reference *ref, int64_t process, const char *f, const json_t *key,
                           const json_t *value, const char **error)
{
    (void)process, (void)error;
    int64_t *clock = &ref->register_of[json_integer_value(key)];
    if (strcmp(f, "current") == 0)
        return json_integer(*clock);
    if (strcmp(f, "tick") == 0)
        return json_integer(++*clock);
    int64_t received = json_integer_value(value);
    *clock = (*clock > received ? *clock : received) + 1;
    return json_pack("[I,I]", (json_int_t)received, (json_int_t)*clock);
}

/* register_of: none, ACTIVE, COMMITTING, COMMITTED, ROLLING_BACK, ROLLED_BACK.  What moves by itself does so
 * when it is looked at. */
static const char *const statuses[] = {"none",      "ACTIVE",       "COMMITTING",
                                       "COMMITTED", "ROLLING_BACK", "ROLLED_BACK"};

static void txn_status_ask(struct reference *ref, int64_t process, const char **f, json_t **key,
                           json_t **value)
{
    static const char *const fs[] = {"begin", "commit", "rollback", "status", "status", "status"};
    (void)process;
    ask_key(ref, key);
    *f = fs[random_below(&ref->random, 6)];
    *value = strcmp(*f, "begin") == 0 ? json_integer(json_integer_value(*key) % 2) : NULL;
}

static json_t *txn_status_act(struct reference *ref, int64_t process, const char *f, const json_t *key,
                              const json_t *value, const char **error)
{
    (void)process, (void)error;
    int64_t *status = &ref->register_of[json_integer_value(key)];
    bool limited = json_integer_value(key) % 2 != 0, commit = strcmp(f, "commit") == 0;
    if (*status == 1 && limited && random_below(&ref->random, 10) == 0)
        *status = 4;
    if ((*status == 2 || *status == 4) && random_below(&ref->random, 3) == 0)
        ++*status;
    if (value != NULL && *status == 0)
        *status = 1;
    if (value != NULL || strcmp(f, "status") == 0)
        return json_string(statuses[*status]);
    if (*status == 0)
        return json_string("TXN_NOT_FOUND");
    if (*status == 1)
        *status = commit ? 2 : 4;
    return json_string((*status <= 3) == commit ? statuses[*status] : "TXN_DECIDED");
}

static void counter_ask(struct reference *ref, int64_t process, const char **f, json_t **key, json_t **value)
{
    register_ask(ref, process, f, key, value);
    if (*value != NULL) {
        *f = "add";
        json_integer_set(*value, (json_int_t)random_below(&ref->random, 5));
    }
}

static json_t *counter_act(struct reference *ref, int64_t process, const char *f, const json_t *key,
                           const json_t *value, const char **error)
{
    (void)process, (void)error;
    int64_t *sum = &ref->register_of[json_integer_value(key)];
    if (strcmp(f, "read") == 0)
        return json_integer(*sum);
    *sum += json_integer_value(value);
    return random_below(&ref->random, 2) == 0
               ? json_incref((json_t *)value)
               : json_pack("[I,I]", json_integer_value(value), (json_int_t)*sum);
}

/* Lists, sets
 * ----------------------------------------------------------------------------------------------------- */

static json_t *list_of(struct reference *ref, json_int_t key)
{
    char name[24];
    snprintf(name, sizeof name, "%lld", (long long)key);
    json_t *list = json_object_get(ref->lists, name);
    if (list == NULL) {
        list = json_array();
        json_object_set_new(ref->lists, name, list);
    }
    return list;
}

static void append_ask(struct reference *ref, int64_t process, const char **f, json_t **key, json_t **value)
{
    (void)process;
    *f = "txn";
    *key = NULL;
    *value = json_array();
    uint64_t n = 1 + random_below(&ref->random, 4);
    for (uint64_t i = 0; i < n; i++) {
        json_int_t at = (json_int_t)random_below(&ref->random, ref->keys);
        json_array_append_new(*value, wants_read(ref)
                                          ? json_pack("[s,I,n]", "r", at)
                                          : json_pack("[s,I,I]", "append", at, (json_int_t)++ref->counter));
    }
}

static json_t *append_act(struct reference *ref, int64_t process, const char *f, const json_t *key,
                          const json_t *value, const char **error)
{
    (void)process, (void)f, (void)key, (void)error;
    if (random_below(&ref->random, 20) == 0)
        return NULL; /* aborted for a reason of its own */
    json_t *result = json_array();
    size_t i;
    json_t *step;
    json_array_foreach((json_t *)value, i, step)
    {
        json_t *list = list_of(ref, element(step, 1));
        if (strcmp(json_string_value(json_array_get(step, 0)), "r") == 0) {
            json_array_append_new(result, json_pack("[s,I,o]", "r", element(step, 1), json_copy(list)));
        } else {
            json_array_append(list, json_array_get(step, 2));
            json_array_append(result, step);
        }
    }
    return result;
}

static void set_ask(struct reference *ref, int64_t process, const char **f, json_t **key, json_t **value)
{
    register_ask(ref, process, f, key, value);
    json_decref(*key);
    *key = NULL;
    if (*value != NULL)
        *f = "add";
}

static json_t *set_act(struct reference *ref, int64_t process, const char *f, const json_t *key,
                       const json_t *value, const char **error)
{
    (void)process, (void)key, (void)error;
    json_t *list = list_of(ref, 0);
    if (strcmp(f, "read") == 0)
        return json_copy(list);
    json_array_append(list, (json_t *)value);
    return json_incref((json_t *)value);
}

/* Timestamps and locks
 * -------------------------------------------------------------------------------------------- */

static void tso_ask(struct reference *ref, int64_t process, const char **f, json_t **key, json_t **value)
{
    (void)process;
    *f = "tso";
    *key = NULL;
    *value = json_integer((json_int_t)(1 + random_below(&ref->random, 10)));
}

static json_t *tso_act(struct reference *ref, int64_t process, const char *f, const json_t *key,
                       const json_t *value, const char **error)
{
    (void)process, (void)f, (void)key, (void)error;
    int64_t first = ref->counter + 1 + (int64_t)random_below(&ref->random, 3);
    ref->counter = first + json_integer_value(value) - 1;
    return json_pack("[I,I]", (json_int_t)first, json_integer_value(value));
}

static void lock_ask(struct reference *ref, int64_t process, const char **f, json_t **key, json_t **value)
{
    (void)process;
    ask_key(ref, key);
    int64_t token = ref->register_of[json_integer_value(*key)];
    uint64_t what = token == 0 ? 0 : random_below(&ref->random, 3);
    *f = what == 0 ? "acquire" : what == 1 ? "use" : "release";
    *value = what == 0 ? NULL : json_integer(token);
}

static json_t *lock_act(struct reference *ref, int64_t process, const char *f, const json_t *key,
                        const json_t *value, const char **error)
{
    (void)process, (void)error;
    int64_t *token = &ref->register_of[json_integer_value(key)];
    int64_t *uses = &ref->version_of[json_integer_value(key)];
    if (strcmp(f, "acquire") == 0) {
        if (*token != 0)
            return NULL;
        *token = ++ref->counter;
        return json_integer(*token);
    }
    if (*token != json_integer_value(value))
        return NULL;
    if (strcmp(f, "use") == 0)
        return json_pack("[I,I]", (json_int_t)*token, (json_int_t)++ * uses);
    *token = 0;
    return json_incref((json_t *)value);
}

const struct reference_object reference_register = {register_ask, register_act};
const struct reference_object reference_cas = {cas_ask, register_act};
const struct reference_object reference_versioned = {cas_ask, versioned_act};
const struct reference_object reference_mutex = {mutex_ask, mutex_act};
const struct reference_object reference_lamport = {lamport_ask, lamport_act};
const struct reference_object reference_counter = {counter_ask, counter_act};
const struct reference_object reference_txn_status = {txn_status_ask, txn_status_act};
const struct reference_object reference_append = {append_ask, append_act};
const struct reference_object reference_set = {set_ask, set_act};
const struct reference_object reference_tso = {tso_ask, tso_act};
const struct reference_object reference_lock = {lock_ask, lock_act};
