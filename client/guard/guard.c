/* The guard's logic, free of any database: which rows in which order, and what their presence means. */
#include "assent/guard.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "planted.h"

/* ---- the call */

/* Copy an id or word that will be a column and a part of a Redis key. */
static int text_set(char *to, size_t size, const char *text)
{
    if (text == NULL || *text == '\0')
        return ASSENT_INVALID;
    size_t n = strlen(text);
    if (n >= size)
        return ASSENT_TOO_LARGE;
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return ASSENT_INVALID;
    }
    memcpy(to, text, n + 1);
    return ASSENT_OK;
}

int assent_guard_call_init(struct assent_guard_call *call, const char *trans_type, const char *gid,
                           const char *branch, const char *op)
{
    assert(call != NULL);
    memset(call, 0, sizeof *call);
    int rc = text_set(call->trans_type, sizeof call->trans_type, trans_type);
    if (rc == ASSENT_OK)
        rc = text_set(call->gid, sizeof call->gid, gid);
    if (rc == ASSENT_OK)
        rc = text_set(call->branch, sizeof call->branch, branch);
    if (rc == ASSENT_OK)
        rc = text_set(call->op, sizeof call->op, op);
    return rc;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Decode one value of a form.  Longer than `to`: ASSENT_TOO_LARGE. */
static int form_decode(char *to, size_t size, const char *from, size_t n)
{
    size_t out = 0;
    for (size_t i = 0; i < n; i++) {
        char c = from[i] == '+' ? ' ' : from[i];
        if (c == '%') {
            int high = n - i > 2 ? hex_digit(from[i + 1]) : -1;
            int low = n - i > 2 ? hex_digit(from[i + 2]) : -1;
            if (high < 0 || low < 0 || (high | low) == 0)
                return ASSENT_MALFORMED;
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (out + 1 >= size)
            return ASSENT_TOO_LARGE;
        to[out++] = c;
    }
    to[out] = '\0';
    return ASSENT_OK;
}

int assent_guard_call_query(struct assent_guard_call *call, const char *query)
{
    char trans_type[ASSENT_GUARD_WORD_BYTES_MAX + 1] = "", gid[ASSENT_GUARD_ID_BYTES_MAX + 1] = "";
    char branch[ASSENT_GUARD_ID_BYTES_MAX + 1] = "", op[ASSENT_GUARD_WORD_BYTES_MAX + 1] = "";
    const struct {
        const char *name;
        char *to;
        size_t size;
    } fields[] = {{"trans_type", trans_type, sizeof trans_type},
                  {"gid", gid, sizeof gid},
                  {"branch_id", branch, sizeof branch},
                  {"op", op, sizeof op}};
    assert(call != NULL);
    memset(call, 0, sizeof *call);
    if (query == NULL)
        return ASSENT_INVALID;
    for (const char *at = *query == '?' ? query + 1 : query; *at != '\0';) {
        size_t n = strcspn(at, "&"), name = strcspn(at, "=&");
        for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
            if (name == strlen(fields[i].name) && memcmp(at, fields[i].name, name) == 0 && name < n) {
                int rc = form_decode(fields[i].to, fields[i].size, at + name + 1, n - name - 1);
                if (rc != ASSENT_OK)
                    return rc;
            }
        }
        at += n + (at[n] == '&');
    }
    return assent_guard_call_init(call, trans_type, gid, branch, op);
}

/* DTM's name of the mode an operation belongs to: Assent's headers do not carry it. */
static const char *trans_type_of(const char *op)
{
    static const struct {
        const char *op, *trans_type;
    } rows[] = {{"try", "tcc"},     {"confirm", "tcc"},     {"cancel", "tcc"},
                {"action", "saga"}, {"compensate", "saga"}, {"prepare", "xa"},
                {"commit", "xa"},   {"rollback", "xa"},     {"msg", "msg"}};
    for (size_t i = 0; op != NULL && i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(op, rows[i].op) == 0)
            return rows[i].trans_type;
    }
    return "assent";
}

int assent_guard_call_headers(struct assent_guard_call *call,
                              const char *(*get)(void *data, const char *header), void *data)
{
    assert(get != NULL);
    const char *op = get(data, "Assent-Op"), *text = get(data, "Assent-Token");
    int rc = assent_guard_call_init(call, trans_type_of(op), get(data, "Assent-Xid"),
                                    get(data, "Assent-Branch"), op);
    if (rc != ASSENT_OK || text == NULL)
        return rc;
    uint64_t token = 0;
    for (const char *c = text; *c != '\0' || c == text; c++) {
        if (*c < '0' || *c > '9')
            return ASSENT_INVALID;
        uint64_t digit = (uint64_t)(*c - '0');
        if (token > ((uint64_t)INT64_MAX - digit) / 10)
            return ASSENT_TOO_LARGE; /* a signed column holds it */
        token = token * 10 + digit;
    }
    call->token = token;
    return ASSENT_OK;
}

bool assent_guard_table_ok(const char *table)
{
    size_t n = strlen(table), dots = 0;
    for (size_t i = 0; i < n; i++) {
        bool letter =
            (table[i] >= 'a' && table[i] <= 'z') || (table[i] >= 'A' && table[i] <= 'Z') || table[i] == '_';
        bool first = i == 0 || table[i - 1] == '.';
        if (table[i] == '.' && !first)
            dots++;
        else if (!letter && (first || table[i] < '0' || table[i] > '9'))
            return false;
    }
    return n > 0 && n <= ASSENT_GUARD_TABLE_MAX && dots <= 1 && table[n - 1] != '.';
}

/* ---- answers */

const char *assent_guard_verdict_name(enum assent_guard_verdict verdict)
{
    static const char *const names[] = {
        [ASSENT_GUARD_RUN] = "RUN",           [ASSENT_GUARD_DUPLICATE] = "DUPLICATE",
        [ASSENT_GUARD_EMPTY] = "EMPTY",       [ASSENT_GUARD_LATE] = "LATE",
        [ASSENT_GUARD_STALE] = "STALE",       [ASSENT_GUARD_NO_TRY] = "NO_TRY",
        [ASSENT_GUARD_CONFLICT] = "CONFLICT", [ASSENT_GUARD_REFUSED] = "REFUSED",
    };
    bool known = verdict >= ASSENT_GUARD_RUN && verdict <= ASSENT_GUARD_REFUSED;
    return known ? names[verdict] : "UNKNOWN";
}

int assent_guard_http(int rc, const struct assent_guard_result *result)
{
    if (rc == ASSENT_INVALID || rc == ASSENT_MALFORMED || rc == ASSENT_TOO_LARGE)
        return 400;
    if (rc == ASSENT_BUSY || rc == ASSENT_UNREACHABLE || rc == ASSENT_UNKNOWN_OUTCOME ||
        rc == ASSENT_NOT_LEADER || rc == ASSENT_NOMEM || rc == ASSENT_NO_SPACE || rc == ASSENT_TIMEOUT)
        return 503;
    if (rc != ASSENT_OK)
        return 500;
    if (result->outcome != 0)
        return result->outcome == ASSENT_GUARD_COMMITTED ? 200
               : result->outcome == ASSENT_GUARD_ABORTED ? 409
                                                         : 425;
    return result->verdict <= ASSENT_GUARD_EMPTY ? 200 : 409;
}

/* ---- the barrier: dtm-protocol section 15 */

const char *assent_guard_origin(const char *op)
{
    if (strcmp(op, "cancel") == 0)
        return "try";
    if (strcmp(op, "compensate") == 0 || strcmp(op, "rollback") == 0)
        return "action";
    return NULL;
}

/* A row was there already: the same call again, or its other half? */
static int judge_present(const struct assent_guard_store *store, void *db,
                         const struct assent_guard_barrier *row, enum assent_guard_verdict other,
                         struct assent_guard_result *result)
{
    char reason[ASSENT_GUARD_WORD_BYTES_MAX + 1];
    int rc = store->reason(db, row, reason, result);
    if (rc == ASSENT_OK)
        result->verdict = strcmp(reason, row->reason) == 0 ? ASSENT_GUARD_DUPLICATE : other;
    return rc;
}

/* An XA branch has no compensation of ours: its rollback is the database's, the row only bars a late action.
 */
static int enter_xa(const struct assent_guard_store *store, void *db, struct assent_guard_barrier *row,
                    struct assent_guard_result *result)
{
    bool inserted = false, undo = strcmp(row->op, "rollback") == 0;
    if (strcmp(row->op, "commit") == 0) {
        result->verdict = ASSENT_GUARD_RUN; /* the database's own commit is the compare-and-set */
        return ASSENT_OK;
    }
    if (undo) {
        row->reason = "rollback";
        row->op = "action";
    }
    int rc = store->insert(db, row, &inserted, result);
    if (rc != ASSENT_OK)
        return rc;
    if (!inserted)
        return judge_present(store, db, row, undo ? ASSENT_GUARD_CONFLICT : ASSENT_GUARD_LATE, result);
    result->verdict = undo ? ASSENT_GUARD_EMPTY : ASSENT_GUARD_RUN;
    return ASSENT_OK;
}

static int enter_plain(const struct assent_guard_store *store, void *db,
                       const struct assent_guard_barrier *row, struct assent_guard_result *result)
{
    bool no_origin = false, first = false;
    const char *origin = assent_guard_origin(row->op);
    int rc = ASSENT_OK;
    if (origin != NULL) {
        struct assent_guard_barrier undone = *row;
        undone.op = origin;
        rc = store->insert(db, &undone, &no_origin, result);
    }
    if (rc == ASSENT_OK)
        rc = store->insert(db, row, &first, result);
    if (rc != ASSENT_OK)
        return rc;
    if (!first)
        return judge_present(store, db, row, ASSENT_GUARD_LATE, result);
    result->verdict = no_origin && !PLANTED(NULL_COMPENSATION) ? ASSENT_GUARD_EMPTY : ASSENT_GUARD_RUN;
    return ASSENT_OK;
}

int assent_guard_enter(const struct assent_guard_store *store, void *db, struct assent_guard_call *call,
                       struct assent_guard_result *result)
{
    memset(result, 0, sizeof *result);
    const char *table = call->table != NULL ? call->table : ASSENT_GUARD_BARRIER_TABLE;
    if (!assent_guard_table_ok(table) || !store->open(db)) {
        snprintf(result->detail, sizeof result->detail, "%s",
                 assent_guard_table_ok(table) ? "no transaction is open" : "bad name of a table");
        return ASSENT_INVALID;
    }
    char id[16];
    snprintf(id, sizeof id, "%02u", (unsigned)(call->uses + 1));
    struct assent_guard_barrier row = {.table = table,
                                       .trans_type = call->trans_type,
                                       .gid = call->gid,
                                       .branch = call->branch,
                                       .op = call->op,
                                       .barrier_id = id,
                                       .reason = call->op};
    bool xa = strcmp(call->trans_type, "xa") == 0;
    int rc = xa ? enter_xa(store, db, &row, result) : enter_plain(store, db, &row, result);
    /* After an error the whole transaction is rolled back: the next attempt counts from the start. */
    call->uses = rc == ASSENT_OK ? call->uses + 1 : 0;
    return rc;
}

/* ---- the guard row: clocks-and-commit 3.3 */

enum assent_guard_class assent_guard_class_of(const char *op)
{
    static const char *const rows[ASSENT_GUARD_CLASS_NR][3] = {
        {"try", "action", "prepare"}, {"confirm", "commit", "commit"}, {"cancel", "compensate", "rollback"}};
    for (int c = 0; c < ASSENT_GUARD_CLASS_NR; c++) {
        for (int i = 0; i < 3; i++) {
            if (strcmp(op, rows[c][i]) == 0)
                return (enum assent_guard_class)c;
        }
    }
    return ASSENT_GUARD_CLASS_NR;
}

/* What a call means to a row that is there. */
static const uint8_t guard_verdicts[][ASSENT_GUARD_CLASS_NR] = {
    /*                         try                   confirm                 cancel */
    [ASSENT_GUARD_TRIED] = {ASSENT_GUARD_DUPLICATE, ASSENT_GUARD_RUN, ASSENT_GUARD_RUN},
    [ASSENT_GUARD_CONFIRMED] = {ASSENT_GUARD_DUPLICATE, ASSENT_GUARD_DUPLICATE, ASSENT_GUARD_CONFLICT},
    [ASSENT_GUARD_CANCELLED] = {ASSENT_GUARD_LATE, ASSENT_GUARD_CONFLICT, ASSENT_GUARD_DUPLICATE},
    [ASSENT_GUARD_TOMBSTONE] = {ASSENT_GUARD_LATE, ASSENT_GUARD_CONFLICT, ASSENT_GUARD_DUPLICATE},
};

enum assent_guard_verdict assent_guard_verdict_of(enum assent_guard_state state,
                                                  enum assent_guard_class class)
{
    assert(state >= ASSENT_GUARD_TRIED && state <= ASSENT_GUARD_TOMBSTONE && class < ASSENT_GUARD_CLASS_NR);
    return (enum assent_guard_verdict)guard_verdicts[state][class];
}

static bool row_ok(const struct assent_guard_row *row, struct assent_guard_result *result)
{
    if (row->state >= ASSENT_GUARD_TRIED && row->state <= ASSENT_GUARD_TOMBSTONE)
        return true;
    snprintf(result->detail, sizeof result->detail, "guard row with unknown state %d", (int)row->state);
    return false;
}

/* The row is locked: judge the call, move the row. */
static int branch_move(const struct assent_guard_store *store, void *db, const struct assent_guard_call *call,
                       enum assent_guard_class class, const struct assent_guard_row *row,
                       struct assent_guard_result *result)
{
    if (!row_ok(row, result))
        return ASSENT_CORRUPT;
    if (call->token != 0 && call->token < row->token) {
        result->verdict = ASSENT_GUARD_STALE;
        return ASSENT_OK;
    }
    enum assent_guard_verdict verdict = assent_guard_verdict_of(row->state, class);
    enum assent_guard_state state = row->state;
    if (verdict == ASSENT_GUARD_RUN)
        state = class == ASSENT_GUARD_CLASS_CONFIRM ? ASSENT_GUARD_CONFIRMED : ASSENT_GUARD_CANCELLED;
    uint64_t token = call->token > row->token ? call->token : row->token;
    int rc = ASSENT_OK;
    if (state != row->state || token != row->token)
        rc = store->set(db, call, state, token, result);
    if (rc == ASSENT_OK)
        result->verdict = verdict;
    return rc;
}

/* Before anything is asked of the database. */
static int branch_check(const struct assent_guard_call *call, struct assent_guard_result *result)
{
    memset(result, 0, sizeof *result);
    if (call->table != NULL && !assent_guard_table_ok(call->table)) {
        snprintf(result->detail, sizeof result->detail, "bad name of a table");
        return ASSENT_INVALID;
    }
    return call->token > (uint64_t)INT64_MAX ? ASSENT_TOO_LARGE : ASSENT_OK;
}

int assent_guard_branch(const struct assent_guard_store *store, void *db,
                        const struct assent_guard_call *call, struct assent_guard_result *result)
{
    enum assent_guard_class class = assent_guard_class_of(call->op);
    int rc = branch_check(call, result);
    if (rc != ASSENT_OK)
        return rc;
    if (class == ASSENT_GUARD_CLASS_NR || !store->open(db)) {
        snprintf(result->detail, sizeof result->detail, "%s",
                 class == ASSENT_GUARD_CLASS_NR ? "the guard row does not know this operation"
                                                : "no transaction is open");
        return ASSENT_INVALID;
    }
    struct assent_guard_row row = {.found = false};
    if (class == ASSENT_GUARD_CLASS_CONFIRM) /* never makes a row */
        rc = store->lock(db, call, &row, result);
    else
        rc = store->put(db, call,
                        class == ASSENT_GUARD_CLASS_TRY ? ASSENT_GUARD_TRIED : ASSENT_GUARD_TOMBSTONE, &row,
                        result);
    if (rc != ASSENT_OK)
        return rc;
    if (row.found)
        return branch_move(store, db, call, class, &row, result);
    result->verdict = class == ASSENT_GUARD_CLASS_TRY       ? ASSENT_GUARD_RUN
                      : class == ASSENT_GUARD_CLASS_CONFIRM ? ASSENT_GUARD_NO_TRY
                                                            : ASSENT_GUARD_EMPTY;
    return ASSENT_OK;
}

/* ---- what became of it */

/* End the guard's own transaction.  A lock that was waited for in vain says: not decided yet. */
static int own_end(const struct assent_guard_store *store, void *db, int rc,
                   struct assent_guard_result *result)
{
    if (rc == ASSENT_OK)
        rc = store->commit(db, result);
    else
        store->rollback(db);
    if (rc != ASSENT_OK)
        result->outcome = 0;
    if (rc == ASSENT_BUSY) {
        result->outcome = ASSENT_GUARD_UNDECIDED;
        return ASSENT_OK;
    }
    return rc;
}

static int own_begin(const struct assent_guard_store *store, void *db, uint32_t wait_ms,
                     struct assent_guard_result *result)
{
    if (wait_ms == 0 || store->open(db)) {
        snprintf(result->detail, sizeof result->detail, "%s",
                 wait_ms == 0 ? "wait_ms is 0" : "a transaction is open");
        return ASSENT_INVALID;
    }
    return store->begin(db, wait_ms, result);
}

int assent_guard_outcome(const struct assent_guard_store *store, void *db,
                         const struct assent_guard_call *call, uint32_t wait_ms,
                         struct assent_guard_result *result)
{
    int rc = branch_check(call, result);
    if (rc == ASSENT_OK)
        rc = own_begin(store, db, wait_ms, result);
    if (rc != ASSENT_OK)
        return rc;
    struct assent_guard_row row = {.found = false};
    rc = store->put(db, call, ASSENT_GUARD_TOMBSTONE, &row, result);
    if (rc == ASSENT_OK && row.found && !row_ok(&row, result))
        rc = ASSENT_CORRUPT;
    if (rc == ASSENT_OK) {
        bool stands = row.found && (row.state == ASSENT_GUARD_TRIED || row.state == ASSENT_GUARD_CONFIRMED);
        result->outcome = stands ? ASSENT_GUARD_COMMITTED : ASSENT_GUARD_ABORTED;
    }
    return own_end(store, db, rc, result);
}

int assent_guard_prepared(const struct assent_guard_store *store, void *db,
                          const struct assent_guard_call *call, uint32_t wait_ms,
                          struct assent_guard_result *result)
{
    int rc = branch_check(call, result);
    if (rc == ASSENT_OK)
        rc = own_begin(store, db, wait_ms, result);
    if (rc != ASSENT_OK)
        return rc;
    const struct assent_guard_barrier row = {.table = call->table != NULL ? call->table
                                                                          : ASSENT_GUARD_BARRIER_TABLE,
                                             .trans_type = call->trans_type,
                                             .gid = call->gid,
                                             .branch = "00",
                                             .op = "msg",
                                             .barrier_id = "01",
                                             .reason = "rollback"};
    char reason[ASSENT_GUARD_WORD_BYTES_MAX + 1] = "rollback";
    bool inserted = false;
    rc = store->insert(db, &row, &inserted, result);
    if (rc == ASSENT_OK && !inserted)
        rc = store->reason(db, &row, reason, result);
    if (rc == ASSENT_OK)
        result->outcome = strcmp(reason, "rollback") == 0 ? ASSENT_GUARD_ABORTED : ASSENT_GUARD_COMMITTED;
    return own_end(store, db, rc, result);
}
