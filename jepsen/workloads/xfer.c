/* Transfers between two real databases, PostgreSQL and MariaDB, in two phases.
 *
 *   xa  a client registers its branches, does its work in each database and prepares it, and commits; some
 * clients vanish after the first or the second prepare.  The databases are struck down too.  In the end a
 * transfer's marker stands in both or in none, as it was decided, nothing is prepared any more, and the
 * balances are what the committed transfers leave
 *
 * Between the two commits a reader may see one half: only the end is judged. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "database.h"

#define LIFE_MS   2500
#define CRASH_MS  9000 /* about so often a database is struck down */
#define DATABASES 2

struct xfer {
    struct pool pool;
    struct stub *stub;
    struct database *databases[DATABASES];
    char missing[256]; /* why there are none; "": there are */
    uint64_t crash_ns;
    bool crashing;
};

static const char *const names[DATABASES] = {"postgresql", "mariadb"};

/* A branch is named after its database. */
static unsigned serve(void *user, const struct stub_call *c)
{
    struct xfer *x = user;
    bool confirm = strcmp(c->op, "confirm") == 0;
    for (int i = 0; i < DATABASES; i++)
        if (strcmp(c->branch, names[i]) == 0)
            return database_finish(x->databases[i], c->xid, confirm) == DATABASE_DONE ? 200 : 500;
    return 404;
}

static bool business(void *user, const struct stub_call *c)
{
    (void)user;
    (void)c;
    return false;
}

static void more(void *user, json_t *value)
{
    struct xfer *x = user;
    for (int i = 0; i < DATABASES; i++) {
        json_t *state = NULL;
        for (int k = 0; k < 100 && state == NULL; k++, nap_ms(state == NULL ? 100 : 0))
            state = database_state(x->databases[i]);
        json_object_set_new(value, names[i], state != NULL ? state : json_null());
    }
}

static void *xfer_open(struct run *r)
{
    struct xfer *x = calloc(1, sizeof *x);
    if (x == NULL)
        abort();
    for (int i = 0; i < DATABASES && x->missing[0] == 0; i++)
        x->databases[i] = database_open((enum database_kind)i, x->missing, sizeof x->missing);
    if (x->missing[0] != 0)
        fprintf(stderr, "xa: %s\n", x->missing);
    x->stub = stub_open(r, 30, business, x);
    stub_serves(x->stub, serve);
    pool_open(&x->pool, x->stub);
    x->pool.more = more;
    x->pool.user = x;
    x->crash_ns = run_now_ns(r) + CRASH_MS * UINT64_C(1000000);
    return x;
}

static void xfer_close(struct run *r, void *state)
{
    struct xfer *x = state;
    (void)r;
    stub_close(x->stub);
    pool_close(&x->pool);
    for (int i = 0; i < DATABASES; i++)
        database_close(x->databases[i]);
    free(x);
}

static bool xfer_next(struct run *r, uint32_t worker, bool final, struct op *invoke)
{
    struct xfer *x = r->state;
    (void)worker;
    if (x->missing[0] != 0)
        return false;
    if (final)
        return pool_final(r, &x->pool, invoke);
    if (!x->crashing && run_now_ns(r) > x->crash_ns) {
        x->crashing = true;
        snprintf(invoke->f, sizeof invoke->f, "crash");
        invoke->key = json_string("all");
        invoke->value = json_string(names[run_random(r, DATABASES)]);
        return true;
    }
    if (run_random(r, 4) == 0 && pool_old(r, &x->pool, invoke))
        return true;
    const char *xid = pool_new(r, &x->pool);
    if (xid == NULL)
        return false;
    json_int_t amount = 1 + (json_int_t)run_random(r, 30);
    uint64_t way = run_random(r, 20);
    snprintf(invoke->f, sizeof invoke->f, "%s", way > 1 ? "transfer" : way == 1 ? "vanish" : "vanish-half");
    invoke->key = json_string(xid);
    invoke->value =
        json_pack("[I,I,I]", (json_int_t)run_random(r, DATABASE_ACCOUNTS),
                  (json_int_t)run_random(r, DATABASE_ACCOUNTS), run_random(r, 2) == 0 ? amount : -amount);
    return true;
}

static json_t *branch(const struct xfer *x, const char *name)
{
    char confirm[96], cancel[96];
    snprintf(confirm, sizeof confirm, "%s/confirm", stub_base(x->stub));
    snprintf(cancel, sizeof cancel, "%s/cancel", stub_base(x->stub));
    return json_pack("{s:s,s:s,s:s}", "branch", name, "confirmUrl", confirm, "cancelUrl", cancel);
}

static void crash(struct run *r, struct xfer *x, const struct op *invoke, struct op *done)
{
    for (int i = 0; i < DATABASES; i++)
        if (strcmp(json_string_value(invoke->value), names[i]) == 0)
            database_crash(x->databases[i]);
    pthread_mutex_lock(&r->lock);
    x->crash_ns = run_now_ns(r) + (CRASH_MS / 2 + run_random(r, CRASH_MS)) * UINT64_C(1000000);
    x->crashing = false;
    pthread_mutex_unlock(&r->lock);
    done->type = OP_OK;
    done->value = json_array();
}

/* PostgreSQL gives, MariaDB takes; a negative amount goes the other way. */
static bool work(struct xfer *x, const struct op *invoke)
{
    const char *xid = json_string_value(invoke->key);
    int64_t amount = json_integer_value(json_array_get(invoke->value, 2));
    for (int i = 0; i < DATABASES; i++) {
        int account = (int)json_integer_value(json_array_get(invoke->value, (size_t)i));
        if (database_prepare(x->databases[i], xid, account, i == 0 ? -amount : amount) != DATABASE_DONE)
            return false;
        if (strcmp(invoke->f, "vanish-half") == 0)
            return true;
    }
    return true;
}

static void xfer_perform(struct run *r, uint32_t worker, const struct sut_node *node, const struct op *invoke,
                         struct op *done)
{
    struct xfer *x = r->state;
    struct http_answer a;
    (void)worker;
    if (pool_perform(r, &x->pool, node, invoke, done))
        return;
    if (strcmp(invoke->f, "crash") == 0) {
        crash(r, x, invoke, done);
        return;
    }
    json_t *body =
        json_pack("{s:O,s:s,s:i,s:i,s:i,s:[o,o]}", "xid", invoke->key, "mode", "XA", "timeoutMs", LIFE_MS,
                  "retryBaseMs", 50, "retryCapMs", 500, "branches", branch(x, names[0]), branch(x, names[1]));
    http_ask(node->base, "POST", "/api/v1/transaction/begin", NULL, body, ASK_MS, false, &a);
    json_decref(body);
    op_ended(&a, done);
    if (done->type == OP_OK)
        done->value = json_incref(json_object_get(a.data, "status"));
    http_close(&a);
    if (done->type != OP_OK)
        return;
    bool prepared = work(x, invoke);
    if (prepared && strncmp(invoke->f, "vanish", 6) == 0)
        return;
    body = json_pack("{s:O}", "xid", invoke->key);
    http_ask(node->base, "POST", prepared ? "/api/v1/transaction/commit" : "/api/v1/transaction/rollback",
             NULL, body, ASK_MS, false, &a);
    json_decref(body);
    http_close(&a);
}

/* ---- how it is judged ---- */

static bool contains(const json_t *list, const char *xid)
{
    size_t i;
    json_t *one;
    json_array_foreach((json_t *)(uintptr_t)list, i, one)
    {
        if (strcmp(json_string_value(one), xid) == 0)
            return true;
    }
    return false;
}

static json_t *as_set(const json_t *list)
{
    json_t *set = json_object(), *one;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)list, i, one)
    {
        json_object_set_new(set, json_string_value(one), json_true());
    }
    return set;
}

/* One database against the decisions. */
static void judge_database(const struct txs *t, size_t which, const json_t *state, struct verdict *v)
{
    json_int_t want[DATABASE_ACCOUNTS];
    json_t *stand = as_set(json_object_get(state, "stand"));
    const json_t *prepared = json_object_get(state, "prepared");
    for (int i = 0; i < DATABASE_ACCOUNTS; i++)
        want[i] = DATABASE_INITIAL;
    for (size_t i = 0; i < t->n; i++) {
        const struct tx *x = &t->list[i];
        bool stands = json_object_get(stand, x->xid) != NULL;
        json_int_t amount = json_integer_value(json_array_get(x->value, 2));
        if (x->side == 'R' && stands)
            verdict_invalid(v, "%s is rolled back, and stands in %s", x->xid, names[which]);
        if (x->ended && x->side == 'C' && !stands)
            verdict_invalid(v, "%s is COMMITTED, and does not stand in %s", x->xid, names[which]);
        if (x->ended && contains(prepared, x->xid))
            verdict_invalid(v, "%s has ended, and is still prepared in %s", x->xid, names[which]);
        if (stands)
            want[json_integer_value(json_array_get(x->value, which)) % DATABASE_ACCOUNTS] +=
                which == 0 ? -amount : amount;
    }
    if (t->all_ended && json_array_size(prepared) > 0)
        verdict_invalid(v, "%s is still prepared in %s, and nobody knows of it",
                        json_string_value(json_array_get(prepared, 0)), names[which]);
    for (size_t i = 0; i < DATABASE_ACCOUNTS; i++) {
        json_int_t has = json_integer_value(json_array_get(json_object_get(state, "balances"), i));
        if (has != want[i])
            verdict_invalid(v, "account %zu of %s has %lld, its transfers leave %lld", i, names[which],
                            (long long)has, (long long)want[i]);
    }
    json_decref(stand);
}

static void xfer_check(struct run *r, const struct history *h, struct verdict *v)
{
    struct txs t;
    const struct xfer *x = r != NULL ? r->state : NULL;
    verdict_init(v);
    if (x != NULL && x->missing[0] != 0)
        verdict_unknown(v, 1, "%s", x->missing);
    txs_open(&t, h, NULL, v);
    for (size_t i = 0; i < DATABASES && t.effects != NULL; i++) {
        const json_t *state = json_object_get(t.effects, names[i]);
        if (json_is_object(state))
            judge_database(&t, i, state, v);
        else
            verdict_unknown(v, 1, "%s did not say how it stands", names[i]);
    }
    for (size_t i = 0; i < t.n; i++)
        v->checked += t.list[i].ended;
    txs_close(&t);
    verdict_close(v);
}

const struct workload workload_xa = {
    "xa",       "transfers between PostgreSQL and MariaDB stand in both or in none",
    xfer_next,  xfer_perform,
    xfer_check, xfer_open,
    xfer_close};
