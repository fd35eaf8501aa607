/* A participant's accounts and its guard, durable in one LMDB environment.
 *
 * The guard is what a participant needs so that repeated, late and stale calls change nothing: one row per
 * (xid, branch, operation), written in the same local transaction as the effect.  It gives
 *
 *   idempotence    a second call of an operation finds its row and only counts itself
 *   empty cancel   a cancel (or compensation) that comes without its try (or action) leaves its row, succeeds
 *   anti-hanging   a try (or action) that comes behind that row is refused
 *   fencing        a call whose token is older than the branch's newest is refused
 *
 * An account counts whatever its owner likes: cents, or pieces on a shelf. */
#ifndef DEMO_LEDGER_H
#define DEMO_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LEDGER_NAME_MAX 128 /* bytes of an account's name, an xid, a branch */

struct ledger;

/* Numbers are stored. */
enum ledger_op {
    LEDGER_TRY = 1,
    LEDGER_CONFIRM = 2,
    LEDGER_CANCEL = 3,
    LEDGER_ACTION = 4,     /* of a saga, a message, a workflow: takes effect at once */
    LEDGER_COMPENSATE = 5, /* takes it back; the tombstone of a query that found nothing, too */
};
const char *ledger_op_name(enum ledger_op op);

enum ledger_outcome {
    LEDGER_DONE,     /* the call had its effect now */
    LEDGER_REPEATED, /* it had it before; nothing changed */
    LEDGER_EMPTY,    /* a cancel without a try: remembered, nothing to undo */
    LEDGER_REFUSED   /* `why` says it; nothing changed */
};

struct ledger_account {
    char name[LEDGER_NAME_MAX + 1];
    int64_t balance; /* what is reserved is still in it */
    int64_t frozen;  /* reserved by debits that are not confirmed or cancelled yet */
    int64_t coming;  /* announced by credits likewise */
};
struct ledger_entry {
    char xid[LEDGER_NAME_MAX + 1], branch[LEDGER_NAME_MAX + 1];
    enum ledger_op op;
    uint64_t token;
    uint32_t calls; /* how often it was called; the effect happened once */
};

/* Open or create below `dir`.  NULL: `err` says why. */
struct ledger *ledger_open(const char *dir, char *err, size_t err_size);
void ledger_close(struct ledger *l);

/* Create an account if it is not there. */
bool ledger_account_add(struct ledger *l, const char *name, int64_t balance, char *err, size_t err_size);

/* Reserve `amount` of an account for a branch: negative a debit, positive a credit. */
enum ledger_outcome ledger_reserve(struct ledger *l, const char *xid, const char *branch, const char *account,
                                   int64_t amount, char *why, size_t why_size);
/* Move `amount` at once: negative off the account, positive onto it. */
enum ledger_outcome ledger_act(struct ledger *l, const char *xid, const char *branch, const char *account,
                               int64_t amount, uint64_t token, char *why, size_t why_size);
/* Did the action of the branch happen?  DONE: it did.  REFUSED: it did not, and a late one will be refused.
 */
enum ledger_outcome ledger_ask(struct ledger *l, const char *xid, const char *branch, char *why,
                               size_t why_size);
/* Confirm or cancel what the branch reserved, or compensate what it did. */
enum ledger_outcome ledger_settle(struct ledger *l, enum ledger_op op, const char *xid, const char *branch,
                                  uint64_t token, char *why, size_t why_size);

/* Walk accounts, or the guard rows of `xid` (NULL: of all). */
void ledger_accounts(struct ledger *l, void (*cb)(void *data, const struct ledger_account *a), void *data);
void ledger_entries(struct ledger *l, const char *xid, void (*cb)(void *data, const struct ledger_entry *e),
                    void *data);

#endif /* DEMO_LEDGER_H */
