/* Lists that transactions read and append to, kept by the judge, isolated by freezes.
 *
 *   append  a transaction freezes its lists, reads them, registers each append as a branch, and commits; a
 *           confirm appends.  A freeze holds until the last confirm, so that is strict two-phase locking, and
 *           the whole must be strictly serializable
 *
 *   append-unfrozen   negative control: the same without freezes must be judged invalid
 *
 * A transaction with an unknown end appends or not: the checker of lists knows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "append.h"
#include "common.h"

#define LISTS    4  /* at a time */
#define LIST_MAX 40 /* then another takes its place */
#define LIFE_MS  20000

struct lists {
    uint32_t n;
    struct stub *stub;
    bool unfrozen;
    json_t *lists; /* "k" -> [elements]; under the stub's lock */
    uint32_t appends[LISTS], generation[LISTS], element;
};

static bool business(void *user, const struct stub_call *c)
{
    struct lists *s = user;
    char key[24];
    if (strcmp(c->op, "try") == 0 || strcmp(c->op, "cancel") == 0)
        return true;
    snprintf(key, sizeof key, "%lld", (long long)json_integer_value(json_object_get(c->body, "list")));
    json_t *list = json_object_get(s->lists, key);
    if (list == NULL)
        json_object_set_new(s->lists, key, list = json_array());
    json_array_append(list, json_object_get(c->body, "element"));
    return true;
}

static struct lists *open_lists(struct run *r)
{
    struct lists *s = calloc(1, sizeof *s);
    if (s == NULL || (s->lists = json_object()) == NULL)
        abort();
    s->stub = stub_open(r, 40, business, s);
    stub_no_tries(s->stub);
    return s;
}

static void *lists_open(struct run *r)
{
    return open_lists(r);
}

static void *unfrozen_open(struct run *r)
{
    struct lists *s = open_lists(r);
    s->unfrozen = true;
    return s;
}

static void lists_close(struct run *r, void *state)
{
    struct lists *s = state;
    (void)r;
    stub_close(s->stub);
    json_decref(s->lists);
    free(s);
}

static bool lists_next(struct run *r, uint32_t worker, bool final, struct op *invoke)
{
    struct lists *s = r->state;
    (void)worker;
    if (final)
        return false;
    snprintf(invoke->f, sizeof invoke->f, "txn");
    invoke->value = json_array();
    uint32_t first = (uint32_t)run_random(r, LISTS), n = 1 + (uint32_t)run_random(r, 2);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t k = (first + i) % LISTS;
        json_int_t list = k + 1000 * (json_int_t)s->generation[k];
        json_array_append_new(invoke->value, json_pack("[s,I,n]", "r", list));
        if (run_random(r, 3) == 0)
            continue;
        json_array_append_new(invoke->value, json_pack("[s,I,I]", "append", list, (json_int_t)++s->element));
        if (++s->appends[k] == LIST_MAX) {
            s->appends[k] = 0;
            s->generation[k]++;
        }
    }
    return true;
}

static bool post(const struct sut_node *node, const char *path, json_t *body, struct http_answer *a)
{
    http_ask(node->base, "POST", path, NULL, body, ASK_MS, false, a);
    json_decref(body);
    return a->outcome == HTTP_DONE;
}

static bool status_is(const struct http_answer *a, const char *want)
{
    const char *status = json_string_value(json_object_get(a->data, "status"));
    return a->outcome == HTTP_DONE && status != NULL && strcmp(status, want) == 0;
}

/* False: not granted in time; whoever waits in a circle is refused. */
static bool freeze(const struct sut_node *node, const char *xid, json_int_t list)
{
    struct http_answer a;
    char name[32], path[128];
    snprintf(name, sizeof name, "list%lld", (long long)list);
    snprintf(path, sizeof path, "/api/v1/freeze/%s/%s", xid, name);
    post(node, "/api/v1/freeze",
         json_pack("{s:s,s:s,s:s,s:i}", "xid", xid, "resource", name, "mode", "exclusive", "waitMs", 1500),
         &a);
    for (int i = 0; i < 60 && a.outcome == HTTP_DONE && !status_is(&a, "GRANTED"); i++) {
        http_close(&a);
        nap_ms(25);
        http_ask(node->base, "GET", path, NULL, NULL, ASK_MS, true, &a);
    }
    bool granted = status_is(&a, "GRANTED");
    http_close(&a);
    return granted;
}

static json_t *read_list(struct lists *s, json_int_t list)
{
    char key[24];
    snprintf(key, sizeof key, "%lld", (long long)list);
    stub_lock(s->stub);
    json_t *copy = json_deep_copy(json_object_get(s->lists, key));
    stub_unlock(s->stub);
    return copy != NULL ? copy : json_array();
}

static bool add_branch(struct lists *s, const struct sut_node *node, const char *xid, json_int_t list,
                       json_int_t element)
{
    struct http_answer a;
    char name[16], confirm[96], cancel[96];
    snprintf(name, sizeof name, "a%lld", (long long)list);
    snprintf(confirm, sizeof confirm, "%s/confirm", stub_base(s->stub));
    snprintf(cancel, sizeof cancel, "%s/cancel", stub_base(s->stub));
    bool added = post(node, "/api/v1/transaction/branch",
                      json_pack("{s:s,s:s,s:s,s:s,s:{s:I,s:I}}", "xid", xid, "branch", name, "confirmUrl",
                                confirm, "cancelUrl", cancel, "payload", "list", list, "element", element),
                      &a);
    http_close(&a);
    return added;
}

/* Freeze, read and register; false: something did not work, nothing is decided. */
static bool do_work(struct lists *s, const struct sut_node *node, const char *xid, json_t *work)
{
    size_t i;
    json_t *op;
    json_array_foreach(work, i, op)
    {
        json_int_t list = json_integer_value(json_array_get(op, 1));
        bool read = strcmp(json_string_value(json_array_get(op, 0)), "r") == 0;
        if (read && !s->unfrozen && !freeze(node, xid, list))
            return false;
        if (read)
            json_array_set_new(op, 2, read_list(s, list));
        else if (!add_branch(s, node, xid, list, json_integer_value(json_array_get(op, 2))))
            return false;
    }
    return true;
}

static void lists_perform(struct run *r, uint32_t worker, const struct sut_node *node,
                          const struct op *invoke, struct op *done)
{
    struct lists *s = r->state;
    struct http_answer a;
    char xid[48];
    (void)worker;
    pthread_mutex_lock(&r->lock);
    snprintf(xid, sizeof xid, "l%llx-%lld-%u", (unsigned long long)(r->o.seed & 0xffff),
             (long long)done->process, s->n++);
    pthread_mutex_unlock(&r->lock);
    uint64_t from_ns = run_now_ns(r);
    json_t *work = json_deep_copy(invoke->value);
    bool begun = post(node, "/api/v1/transaction/begin",
                      json_pack("{s:s,s:i,s:i,s:i}", "xid", xid, "timeoutMs", LIFE_MS, "retryBaseMs", 30,
                                "retryCapMs", 500),
                      &a);
    http_close(&a);
    bool ready =
        begun && do_work(s, node, xid, work) && run_now_ns(r) - from_ns < LIFE_MS / 2 * UINT64_C(1000000);
    post(node, ready ? "/api/v1/transaction/commit" : "/api/v1/transaction/rollback",
         json_pack("{s:s}", "xid", xid), &a);
    op_ended(&a, done);
    if (!ready) {
        done->type = OP_FAIL; /* nobody decided to commit, and nobody will */
        snprintf(done->error, sizeof done->error, "given up");
    } else if (done->type == OP_OK) {
        done->value = json_incref(work);
    } else if (a.status == 409) {
        done->type = OP_INFO;
    }
    http_close(&a);
    json_decref(work);
}

static void lists_check(struct run *r, const struct history *h, struct verdict *v)
{
    (void)r;
    check_append(h, APPEND_STRICT, v);
}

const struct workload workload_append = {
    "append",    "transactions on frozen lists are strictly serializable",
    lists_next,  lists_perform,
    lists_check, lists_open,
    lists_close};
const struct workload workload_append_unfrozen = {
    "append-unfrozen", "negative control: without freezes this one must be invalid",
    lists_next,        lists_perform,
    lists_check,       unfrozen_open,
    lists_close};
