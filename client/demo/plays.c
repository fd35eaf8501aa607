/* What each demonstration does itself; play.c is the rest. */
#include "plays.h"

#include <string.h>

#define RETRY_CAP_MS 1000 /* so that nobody who looks on must wait for a long back-off */
#define SOON_MS      300  /* a prepared message of this age is asked for: its sender is dead */
#define PATIENCE_MS  2000 /* likewise, when its sender lives a little longer */
#define PIECES       2

/* ---- transfers ---- */

static bool tcc_branch(struct stage *s, const char *name, const char *bank, const char *account,
                       long long amount)
{
    const struct peer *p = stage_peer(s, bank);
    char confirm[96], cancel[96], error[STAGE_ERROR_MAX];
    json_t *data;
    snprintf(confirm, sizeof(confirm), "%s/confirm", p->url);
    snprintf(cancel, sizeof(cancel), "%s/cancel", p->url);
    if (!stage_post(s, "/transaction/branch",
                    json_pack("{s:s, s:s, s:s, s:s}", "xid", s->xid, "branch", name, "confirmUrl", confirm,
                              "cancelUrl", cancel),
                    &data))
        return false;
    json_decref(data);
    bool ok = stage_peer_post(p, "/reserve",
                              json_pack("{s:s, s:s, s:s, s:I}", "xid", s->xid, "branch", name, "account",
                                        account, "amount", (json_int_t)amount),
                              error);
    return claim(s, ok, "branch %-6s is registered, %s reserves %+.2f for %s%s%s", name, p->name,
                 (double)amount / 100, account, ok ? "" : ": ", ok ? "" : error);
}

static bool transfer_tcc(struct stage *s)
{
    json_t *data;
    if (!stage_submit(s, "/transaction/begin",
                      json_pack("{s:s, s:s, s:i, s:i}", "mode", "TCC", "businessType", "transfer",
                                "timeoutMs", 120000, "retryCapMs", RETRY_CAP_MS)) ||
        !tcc_branch(s, "debit", "bank-a", "alice", -s->o.amount) ||
        !tcc_branch(s, "credit", "bank-b", "bob", s->o.amount) ||
        !stage_post(s, "/transaction/commit", json_pack("{s:s}", "xid", s->xid), &data))
        return false;
    bool ok = strncmp(stage_text(data, "status"), "COMMITT", 7) == 0;
    claim(s, ok, "commit answered: the decision is in the log of a majority, status %s",
          stage_text(data, "status"));
    json_decref(data);
    return ok;
}

/* A step whose participant is reached at URL/action and URL/compensate; takes `payload`. */
static json_t *step(struct stage *s, const char *name, const char *peer, const char *folder, json_t *payload)
{
    char action[96], compensate[96];
    snprintf(action, sizeof(action), "%s%s/action", stage_peer(s, peer)->url, folder);
    snprintf(compensate, sizeof(compensate), "%s%s/compensate", stage_peer(s, peer)->url, folder);
    return json_pack("{s:s, s:s, s:s, s:o}", "branch", name, "actionUrl", action, "compensateUrl", compensate,
                     "payload", payload);
}

static json_t *money_step(struct stage *s, const char *name, const char *bank, const char *account,
                          long long amount)
{
    return step(s, name, bank, "", json_pack("{s:s, s:I}", "account", account, "amount", (json_int_t)amount));
}

static bool transfer_saga(struct stage *s)
{
    return stage_submit(s, "/transaction/saga",
                        json_pack("{s:s, s:i, s:[o, o]}", "businessType", "transfer", "retryCapMs",
                                  RETRY_CAP_MS, "steps",
                                  money_step(s, "debit", "bank-a", "alice", -s->o.amount),
                                  money_step(s, "credit", "bank-b", "bob", s->o.amount)));
}

/* A message to bank B about what bank A does in its own local transaction; bank A is asked if nothing is
 * heard. */
static bool message_prepare(struct stage *s, int timeout_ms)
{
    char query[96], action[96];
    snprintf(query, sizeof(query), "%s/query", stage_peer(s, "bank-a")->url);
    snprintf(action, sizeof(action), "%s/action", stage_peer(s, "bank-b")->url);
    return stage_submit(s, "/transaction/message/prepare",
                        json_pack("{s:s, s:i, s:i, s:s, s:[{s:s, s:s, s:{s:s, s:I}}]}", "businessType",
                                  "transfer", "timeoutMs", timeout_ms, "retryCapMs", RETRY_CAP_MS, "queryUrl",
                                  query, "steps", "branch", "credit", "actionUrl", action, "payload",
                                  "account", "bob", "amount", (json_int_t)s->o.amount));
}

/* Bank A's local transaction: the debit and the guard row that says the message is to be sent. */
static bool message_local(struct stage *s, char *error)
{
    return stage_peer_post(stage_peer(s, "bank-a"), "/action",
                           json_pack("{s:s, s:s, s:s, s:I}", "xid", s->xid, "branch", "00", "account",
                                     "alice", "amount", (json_int_t)-s->o.amount),
                           error);
}

static bool transfer_message(struct stage *s)
{
    char error[STAGE_ERROR_MAX];
    if (!message_prepare(s, SOON_MS))
        return false;
    say(s, "the sender dies before its local transaction; nothing is submitted, so bank-a will be asked");
    json_t *t = stage_wait(s, s->xid, "ROLLED_BACK");
    bool denied = t != NULL;
    json_decref(t);
    if (!claim(s, denied, "bank-a says no, the message is ROLLED_BACK and nothing was sent") ||
        !claim(s, !message_local(s, error), "and a debit that comes late is refused: %s", error) ||
        !message_prepare(s, PATIENCE_MS))
        return false;
    bool ok = message_local(s, error);
    claim(s, ok, "bank-a takes %.2f from alice in a local transaction of its own%s%s",
          (double)s->o.amount / 100, ok ? "" : ": ", ok ? "" : error);
    say(s, "the sender dies before it submits; bank-a will be asked, and say yes");
    return ok;
}

/* The application does the steps itself, and dies between them. */
static bool transfer_workflow(struct stage *s)
{
    struct peer *p = stage_peer(s, "application");
    char callback[96], error[STAGE_ERROR_MAX];
    snprintf(callback, sizeof(callback), "%s/callback", p->url);
    snprintf(s->xid, sizeof(s->xid), "transfer-%lld", stage_now_us());
    bool answered = stage_peer_post(p, "/start",
                                    json_pack("{s:s, s:{s:I, s:s}, s:b}", "xid", s->xid, "data", "amount",
                                              (json_int_t)s->o.amount, "callback", callback, "die", 1),
                                    error);
    if (!claim(s, !answered, "the application does not answer: it died"))
        return false;
    peer_wait(p);
    json_t *t = stage_transaction(s, s->xid);
    size_t steps = json_array_size(json_object_get(t, "steps"));
    bool ok = claim(s, steps == 1 && strcmp(stage_text(t, "status"), "ACTIVE") == 0,
                    "workflow %s is %s, %zu step(s) of it recorded", s->xid, stage_text(t, "status"), steps);
    json_decref(t);
    say(s, "the application will be called when nothing was heard of it for 10 s");
    return ok;
}

/* ---- orders ---- */

static json_t *order_step(struct stage *s, const char *name)
{
    char folder[32];
    snprintf(folder, sizeof(folder), "/%s", name);
    return step(s, name, "inventory", folder,
                json_pack("{s:s, s:s, s:i}", "order", "order-17", "item", "widget", "pieces", PIECES));
}

/* The order is written first; the shelf and the customer's account are asked at the same time; the shop gets
 * the money when both have given. */
static bool order(struct stage *s)
{
    json_t *steps = json_pack("[o, o, o, o]", order_step(s, "order"), order_step(s, "stock"),
                              money_step(s, "charge", "bank", "alice", -s->o.amount),
                              money_step(s, "income", "bank", "shop", s->o.amount));
    json_object_set_new(json_array_get(steps, 1), "after", json_pack("[i]", 0));
    json_object_set_new(json_array_get(steps, 2), "after", json_pack("[i]", 0));
    json_object_set_new(json_array_get(steps, 3), "after", json_pack("[i, i]", 1, 2));
    return stage_submit(s, "/transaction/saga",
                        json_pack("{s:s, s:s, s:i, s:b, s:o}", "businessType", "order", "businessKey",
                                  "order-17", "retryCapMs", RETRY_CAP_MS, "concurrent", 1, "steps", steps));
}

/* More than alice has. */
static bool order_refused(struct stage *s)
{
    say(s, "the order costs %.2f, which alice does not have: the bank will refuse",
        (double)(PLAYS_AMOUNT_MAX + s->o.amount) / 100);
    return stage_submit(
        s, "/transaction/saga",
        json_pack("{s:s, s:s, s:i, s:[o, o, o]}", "businessType", "order", "businessKey", "order-17",
                  "retryCapMs", RETRY_CAP_MS, "steps", order_step(s, "order"), order_step(s, "stock"),
                  money_step(s, "charge", "bank", "alice", -(PLAYS_AMOUNT_MAX + s->o.amount))));
}

/* ---- the table ---- */

#define BANK_A                                                                                               \
    {                                                                                                        \
        .kind = "bank", .name = "bank-a", .accounts = "alice=100000"                                         \
    }
#define BANK_B(op)                                                                                           \
    {                                                                                                        \
        .kind = "bank", .name = "bank-b", .accounts = "bob=50000", .gate = (op)                              \
    }
#define TRANSFER                                                                                             \
    {                                                                                                        \
        {.account = "alice", .amounts = -1},                                                                 \
        {                                                                                                    \
            .account = "bob", .amounts = 1                                                                   \
        }                                                                                                    \
    }

static const struct play plays[] = {
    {.name = "transfer",
     .what = "TCC: both banks reserve, one decision, both confirm",
     .peers = {BANK_A, BANK_B("confirm")},
     .act = transfer_tcc,
     .held = "bank-b",
     .end = "COMMITTED",
     .effects = {"bank-a debit try", "bank-a debit confirm", "bank-b credit try", "bank-b credit confirm"},
     .changes = TRANSFER},
    {.name = "transfer-saga",
     .what = "saga: the debit takes effect at once, then the credit",
     .peers = {BANK_A, BANK_B("action")},
     .act = transfer_saga,
     .held = "bank-b",
     .end = "COMMITTED",
     .effects = {"bank-a debit action", "bank-b credit action"},
     .changes = TRANSFER},
    {.name = "transfer-message",
     .what = "message: the sender debits in its own transaction and dies; the credit follows all the same",
     .peers = {BANK_A, BANK_B("action")},
     .act = transfer_message,
     .held = "bank-b",
     .end = "COMMITTED",
     .effects = {"bank-a 00 action", "bank-b credit action"},
     .changes = TRANSFER},
    {.name = "transfer-workflow",
     .what = "workflow: the application does the steps and records them; it dies, and is called back",
     .peers = {BANK_A, BANK_B(NULL), {.kind = "application", .name = "application"}},
     .act = transfer_workflow,
     .absent = "application",
     .end = "COMMITTED",
     .effects = {"bank-a debit action", "bank-b credit action"},
     .changes = TRANSFER},
    {.name = "order",
     .what =
         "concurrent saga: an order, the shelf and the customer's account at the same time, the shop last",
     .peers = {{.kind = "inventory", .name = "inventory", .accounts = "widget=10"},
               {.kind = "bank", .name = "bank", .accounts = "alice=100000,shop=0", .gate = "action"}},
     .act = order,
     .held = "bank",
     .end = "COMMITTED",
     .effects = {"inventory order action", "inventory stock action", "bank charge action",
                 "bank income action"},
     .changes = {{.account = "order-17 widget", .pieces = PIECES},
                 {.account = "widget", .pieces = -PIECES},
                 {.account = "alice", .amounts = -1},
                 {.account = "shop", .amounts = 1}}},
    {.name = "failing-step",
     .what = "saga: the last step is refused, so all that was done before is taken back",
     .peers = {{.kind = "inventory", .name = "inventory", .accounts = "widget=10", .gate = "compensate"},
               {.kind = "bank", .name = "bank", .accounts = "alice=100000,shop=0"}},
     .act = order_refused,
     .held = "inventory",
     .end = "ROLLED_BACK",
     .effects = {"inventory order action", "inventory stock action", "bank charge compensate",
                 "inventory stock compensate", "inventory order compensate"}},
    {.name = "participant-down",
     .what = "saga: a bank is down for a while; the transfer waits and ends once it is back",
     .peers = {BANK_A, BANK_B(NULL)},
     .act = transfer_saga,
     .absent = "bank-b",
     .outage = true,
     .end = "COMMITTED",
     .effects = {"bank-a debit action", "bank-b credit action"},
     .changes = TRANSFER},
};

const struct play *play_find(const char *name)
{
    for (size_t i = 0; i < sizeof(plays) / sizeof(plays[0]); i++)
        if (strcmp(plays[i].name, name) == 0)
            return &plays[i];
    return NULL;
}

void play_list(FILE *out)
{
    for (size_t i = 0; i < sizeof(plays) / sizeof(plays[0]); i++)
        fprintf(out, "  %-18s %s\n", plays[i].name, plays[i].what);
}
