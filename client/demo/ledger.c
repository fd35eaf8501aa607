/* Accounts and guard of the demonstrations' participants. */
#include "ledger.h"

#include <errno.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAP_BYTES (1024ul * 1024 * 1024)
#define KEY_MAX   (2 * (LEDGER_NAME_MAX + 1) + 1)

struct ledger {
    MDB_env *env;
    MDB_dbi accounts; /* name -> balances */
    MDB_dbi branches; /* xid 0 branch 0 -> what was reserved, newest token */
    MDB_dbi guard;    /* xid 0 branch 0 op -> token, calls */
};

/* Values as they are stored; fixed size, no padding. */
struct balances {
    int64_t balance, frozen, coming;
};
struct reservation {
    char account[LEDGER_NAME_MAX];
    int64_t amount;
    uint64_t token;
};
struct guard_row {
    uint64_t token;
    uint64_t calls;
};

const char *ledger_op_name(enum ledger_op op)
{
    static const char *const names[] = {[LEDGER_TRY] = "try",
                                        [LEDGER_CONFIRM] = "confirm",
                                        [LEDGER_CANCEL] = "cancel",
                                        [LEDGER_ACTION] = "action",
                                        [LEDGER_COMPENSATE] = "compensate"};
    return names[op];
}

/* A store that fails in the middle leaves nothing to say to the caller but 500: stop, the next start
 * recovers. */
static void must(int rv, const char *what)
{
    if (rv == 0)
        return;
    fprintf(stderr, "ledger: %s: %s\n", what, mdb_strerror(rv));
    abort();
}

struct ledger *ledger_open(const char *dir, char *err, size_t err_size)
{
    struct ledger *l = calloc(1, sizeof(*l));
    MDB_txn *txn;
    if (l == NULL)
        return NULL;
    if (mkdir(dir, 0777) != 0 && errno != EEXIST) {
        snprintf(err, err_size, "%s: %s", dir, strerror(errno));
        free(l);
        return NULL;
    }
    int rv = mdb_env_create(&l->env);
    if (rv != 0)
        goto err_after_alloc;
    mdb_env_set_maxdbs(l->env, 3);
    mdb_env_set_mapsize(l->env, MAP_BYTES);
    rv = mdb_env_open(l->env, dir, MDB_NOTLS, 0666);
    if (rv != 0)
        goto err_after_env;
    rv = mdb_txn_begin(l->env, NULL, 0, &txn);
    if (rv != 0)
        goto err_after_env;
    must(mdb_dbi_open(txn, "accounts", MDB_CREATE, &l->accounts), "accounts");
    must(mdb_dbi_open(txn, "branches", MDB_CREATE, &l->branches), "branches");
    must(mdb_dbi_open(txn, "guard", MDB_CREATE, &l->guard), "guard");
    must(mdb_txn_commit(txn), "commit");
    return l;

err_after_env:
    mdb_env_close(l->env);
err_after_alloc:
    snprintf(err, err_size, "%s: %s", dir, mdb_strerror(rv));
    free(l);
    return NULL;
}

void ledger_close(struct ledger *l)
{
    mdb_env_close(l->env);
    free(l);
}

/* ---- rows ---- */

static bool get(MDB_txn *txn, MDB_dbi dbi, const void *key, size_t key_size, void *value, size_t size)
{
    MDB_val k = {key_size, (void *)(uintptr_t)key}, v;
    int rv = mdb_get(txn, dbi, &k, &v);
    if (rv == MDB_NOTFOUND)
        return false;
    must(rv, "read");
    must(v.mv_size == size ? 0 : MDB_CORRUPTED, "row");
    memcpy(value, v.mv_data, size);
    return true;
}

static void put(MDB_txn *txn, MDB_dbi dbi, const void *key, size_t key_size, const void *value, size_t size)
{
    MDB_val k = {key_size, (void *)(uintptr_t)key}, v = {size, (void *)(uintptr_t)value};
    must(mdb_put(txn, dbi, &k, &v, 0), "write");
}

struct key {
    size_t size;
    char bytes[KEY_MAX];
};

static struct key branch_key(const char *xid, const char *branch)
{
    struct key k;
    size_t x = strlen(xid) + 1, b = strlen(branch) + 1;
    memcpy(k.bytes, xid, x);
    memcpy(k.bytes + x, branch, b);
    k.size = x + b;
    return k;
}

static struct key guard_key(const char *xid, const char *branch, enum ledger_op op)
{
    struct key k = branch_key(xid, branch);
    k.bytes[k.size++] = (char)op;
    return k;
}

static bool guard_get(MDB_txn *txn, const struct ledger *l, const char *xid, const char *branch,
                      enum ledger_op op, struct guard_row *row)
{
    struct key k = guard_key(xid, branch, op);
    return get(txn, l->guard, k.bytes, k.size, row, sizeof(*row));
}

/* Insert the operation's row, or count one more call.  True: this is the first. */
static bool guard_enter(MDB_txn *txn, const struct ledger *l, const char *xid, const char *branch,
                        enum ledger_op op, uint64_t token)
{
    struct key k = guard_key(xid, branch, op);
    struct guard_row row = {0};
    bool there = get(txn, l->guard, k.bytes, k.size, &row, sizeof(row));
    row.calls++;
    if (token > row.token)
        row.token = token;
    put(txn, l->guard, k.bytes, k.size, &row, sizeof(row));
    return !there;
}

static enum ledger_outcome refused(MDB_txn *txn, char *why, size_t why_size, const char *text)
{
    mdb_txn_abort(txn);
    snprintf(why, why_size, "%s", text);
    return LEDGER_REFUSED;
}

/* ---- operations ---- */

bool ledger_account_add(struct ledger *l, const char *name, int64_t balance, char *err, size_t err_size)
{
    struct balances b = {0};
    size_t size = strlen(name);
    if (size == 0 || size > LEDGER_NAME_MAX || balance < 0) {
        snprintf(err, err_size, "account %s: a name and a balance of at least 0", name);
        return false;
    }
    MDB_txn *txn;
    must(mdb_txn_begin(l->env, NULL, 0, &txn), "begin");
    if (!get(txn, l->accounts, name, size, &b, sizeof(b))) {
        b.balance = balance;
        put(txn, l->accounts, name, size, &b, sizeof(b));
    }
    must(mdb_txn_commit(txn), "commit");
    return true;
}

/* NULL: the account can bear it. */
static const char *amount_refused(const struct balances *b, int64_t amount)
{
    if (amount == 0 || amount < -INT64_MAX / 4 || amount > INT64_MAX / 4)
        return "the amount is zero or too large";
    if (amount < 0 && b->balance - b->frozen < -amount)
        return "insufficient funds";
    if (amount > 0 && b->balance + b->coming > INT64_MAX / 2 - amount)
        return "the account would overflow";
    return NULL;
}

static struct reservation reservation_of(const char *account, int64_t amount, uint64_t token)
{
    struct reservation r = {.amount = amount, .token = token};
    memcpy(r.account, account, strlen(account));
    return r;
}

static bool reservation_same(const struct reservation *r, const char *account, int64_t amount)
{
    return r->amount == amount && strncmp(r->account, account, sizeof(r->account)) == 0;
}

enum ledger_outcome ledger_reserve(struct ledger *l, const char *xid, const char *branch, const char *account,
                                   int64_t amount, char *why, size_t why_size)
{
    struct guard_row row;
    struct balances b;
    struct reservation r;
    struct key k = branch_key(xid, branch);
    MDB_txn *txn;
    must(mdb_txn_begin(l->env, NULL, 0, &txn), "begin");
    if (guard_get(txn, l, xid, branch, LEDGER_CANCEL, &row))
        return refused(txn, why, why_size, "the branch has been cancelled already");
    if (!get(txn, l->accounts, account, strlen(account), &b, sizeof(b)))
        return refused(txn, why, why_size, "no such account");
    if (!guard_enter(txn, l, xid, branch, LEDGER_TRY, 0)) {
        if (!get(txn, l->branches, k.bytes, k.size, &r, sizeof(r)) || !reservation_same(&r, account, amount))
            return refused(txn, why, why_size, "the branch has reserved something else");
        must(mdb_txn_commit(txn), "commit");
        return LEDGER_REPEATED;
    }
    const char *no = amount_refused(&b, amount);
    if (no != NULL)
        return refused(txn, why, why_size, no);
    if (amount < 0)
        b.frozen -= amount;
    else
        b.coming += amount;
    r = reservation_of(account, amount, 0);
    put(txn, l->accounts, account, strlen(account), &b, sizeof(b));
    put(txn, l->branches, k.bytes, k.size, &r, sizeof(r));
    must(mdb_txn_commit(txn), "commit");
    return LEDGER_DONE;
}

enum ledger_outcome ledger_act(struct ledger *l, const char *xid, const char *branch, const char *account,
                               int64_t amount, uint64_t token, char *why, size_t why_size)
{
    enum ledger_outcome outcome = LEDGER_REPEATED;
    struct guard_row row;
    struct balances b;
    struct reservation r = {.amount = 0};
    struct key k = branch_key(xid, branch);
    MDB_txn *txn;
    must(mdb_txn_begin(l->env, NULL, 0, &txn), "begin");
    bool known = get(txn, l->branches, k.bytes, k.size, &r, sizeof(r));
    if (token < r.token)
        return refused(txn, why, why_size, "the token is older than one seen: the caller has been replaced");
    if (guard_get(txn, l, xid, branch, LEDGER_COMPENSATE, &row))
        return refused(txn, why, why_size, "the branch has been taken back already");
    if (!get(txn, l->accounts, account, strlen(account), &b, sizeof(b)))
        return refused(txn, why, why_size, "no such account");
    if (guard_enter(txn, l, xid, branch, LEDGER_ACTION, token)) {
        const char *no = amount_refused(&b, amount);
        if (no != NULL)
            return refused(txn, why, why_size, no);
        b.balance += amount;
        put(txn, l->accounts, account, strlen(account), &b, sizeof(b));
        outcome = LEDGER_DONE;
    } else if (!known || !reservation_same(&r, account, amount)) {
        return refused(txn, why, why_size, "the branch has done something else");
    }
    r = reservation_of(account, amount, token);
    put(txn, l->branches, k.bytes, k.size, &r, sizeof(r));
    must(mdb_txn_commit(txn), "commit");
    return outcome;
}

enum ledger_outcome ledger_ask(struct ledger *l, const char *xid, const char *branch, char *why,
                               size_t why_size)
{
    struct guard_row row;
    MDB_txn *txn;
    must(mdb_txn_begin(l->env, NULL, 0, &txn), "begin");
    bool done = guard_get(txn, l, xid, branch, LEDGER_ACTION, &row);
    if (!done) {
        guard_enter(txn, l, xid, branch, LEDGER_COMPENSATE, 0);
        snprintf(why, why_size, "FAILURE: it has not happened and never will");
    }
    must(mdb_txn_commit(txn), "commit");
    return done ? LEDGER_DONE : LEDGER_REFUSED;
}

/* Move the money, or let go of it, or move it back.  NULL, or why that cannot be. */
static const char *settle_account(MDB_txn *txn, const struct ledger *l, enum ledger_op op,
                                  const struct reservation *r)
{
    struct balances b;
    size_t size = strnlen(r->account, sizeof(r->account));
    bool there = get(txn, l->accounts, r->account, size, &b, sizeof(b));
    must(there ? 0 : MDB_CORRUPTED, "account of a reservation");
    if (op == LEDGER_COMPENSATE) {
        if (r->amount > 0 && b.balance - b.frozen < r->amount)
            return "what came has been spent";
        b.balance -= r->amount;
    } else if (r->amount < 0) {
        b.frozen += r->amount;
    } else {
        b.coming -= r->amount;
    }
    if (op == LEDGER_CONFIRM)
        b.balance += r->amount;
    must(b.balance >= 0 && b.frozen >= 0 && b.coming >= 0 ? 0 : MDB_CORRUPTED, "balances");
    put(txn, l->accounts, r->account, size, &b, sizeof(b));
    return NULL;
}

enum ledger_outcome ledger_settle(struct ledger *l, enum ledger_op op, const char *xid, const char *branch,
                                  uint64_t token, char *why, size_t why_size)
{
    enum ledger_op other = op == LEDGER_CONFIRM ? LEDGER_CANCEL : LEDGER_CONFIRM;
    enum ledger_outcome outcome = LEDGER_DONE;
    const char *no = NULL;
    struct guard_row row;
    struct reservation r = {.amount = 0};
    struct key k = branch_key(xid, branch);
    MDB_txn *txn;
    must(mdb_txn_begin(l->env, NULL, 0, &txn), "begin");
    bool tried = get(txn, l->branches, k.bytes, k.size, &r, sizeof(r)) &&
                 guard_get(txn, l, xid, branch, op == LEDGER_COMPENSATE ? LEDGER_ACTION : LEDGER_TRY, &row);
    if (token < r.token)
        return refused(txn, why, why_size, "the token is older than one seen: the caller has been replaced");
    if (op != LEDGER_COMPENSATE && guard_get(txn, l, xid, branch, other, &row))
        return refused(txn, why, why_size, "the branch has been settled the other way");
    if (op == LEDGER_CONFIRM && !tried)
        return refused(txn, why, why_size, "the branch has reserved nothing");
    r.token = token;
    if (!guard_enter(txn, l, xid, branch, op, token))
        outcome = LEDGER_REPEATED;
    else if (!tried)
        outcome = LEDGER_EMPTY;
    else
        no = settle_account(txn, l, op, &r);
    if (no != NULL)
        return refused(txn, why, why_size, no);
    put(txn, l->branches, k.bytes, k.size, &r, sizeof(r));
    must(mdb_txn_commit(txn), "commit");
    return outcome;
}

/* ---- reading ---- */

void ledger_accounts(struct ledger *l, void (*cb)(void *data, const struct ledger_account *a), void *data)
{
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_val k, v;
    must(mdb_txn_begin(l->env, NULL, MDB_RDONLY, &txn), "begin");
    must(mdb_cursor_open(txn, l->accounts, &cursor), "cursor");
    while (mdb_cursor_get(cursor, &k, &v, MDB_NEXT) == 0) {
        struct ledger_account a = {.balance = 0};
        struct balances b;
        memcpy(a.name, k.mv_data, k.mv_size < LEDGER_NAME_MAX ? k.mv_size : LEDGER_NAME_MAX);
        memcpy(&b, v.mv_data, sizeof(b));
        a.balance = b.balance;
        a.frozen = b.frozen;
        a.coming = b.coming;
        cb(data, &a);
    }
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
}

void ledger_entries(struct ledger *l, const char *xid, void (*cb)(void *data, const struct ledger_entry *e),
                    void *data)
{
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_val k, v;
    must(mdb_txn_begin(l->env, NULL, MDB_RDONLY, &txn), "begin");
    must(mdb_cursor_open(txn, l->guard, &cursor), "cursor");
    k = (MDB_val){xid != NULL ? strlen(xid) + 1 : 0, (void *)(uintptr_t)xid};
    for (int rv = mdb_cursor_get(cursor, &k, &v, xid != NULL ? MDB_SET_RANGE : MDB_FIRST); rv == 0;
         rv = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
        const char *row = k.mv_data;
        size_t x = strlen(row) + 1;
        struct guard_row g;
        struct ledger_entry e = {.op = (enum ledger_op)row[k.mv_size - 1]};
        if (xid != NULL && strcmp(row, xid) != 0)
            break;
        memcpy(e.xid, row, x);
        memcpy(e.branch, row + x, strlen(row + x));
        memcpy(&g, v.mv_data, sizeof(g));
        e.token = g.token;
        e.calls = (uint32_t)g.calls;
        cb(data, &e);
    }
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
}
