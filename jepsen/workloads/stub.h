/* A participant with a guard row for every (xid, branch, operation), whose business is a function.
 *
 * The rules of docs/transactions.md, "What a participant must do": a repetition changes nothing, an undo
 * without its action takes none away and keeps the action out, an action behind its undo is refused. It
 * fails, answers late, or answers and is not heard, by chance. */
#ifndef JEPSEN_STUB_H
#define JEPSEN_STUB_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct run;
struct stub;

struct stub_call {
    const char *xid, *branch, *op;
    uint64_t token;
    const json_t *body; /* NULL: none */
};

/* What was done about a call the first time. */
enum stub_what {
    STUB_DONE,
    STUB_REFUSED, /* by the business */
    STUB_NULL,    /* an undo with nothing to undo */
    STUB_HANGING, /* an action behind its undo: refused */
    STUB_BARE     /* a confirm without its try */
};

/* True: done; false: refused for good (409).  Called once per (xid, branch, op), under the stub's lock; also
 * for "query". */
typedef bool (*stub_business)(void *user, const struct stub_call *call);

/* Listens where the run's nodes reach it.  `trouble`: calls of a thousand that go wrong. */
struct stub *stub_open(struct run *r, uint32_t trouble, stub_business business, void *user);
void stub_close(struct stub *s);
const char *stub_base(const struct stub *s); /* "http://host:port" */
void stub_calm(struct stub *s);              /* from now on it answers */
void stub_no_tries(struct stub *s);          /* its clients make the tries themselves: confirms come bare */
void stub_away(struct stub *s, bool away);   /* whoever calls is hung up on, and nothing is done */
/* As if called over HTTP, without trouble: what the judge does in the participant's name, or a client's try.
 */
enum stub_what stub_do(struct stub *s, const struct stub_call *call);
/* Chooses the answer's status where the guard's would not do, under the stub's lock; before any call. */
typedef unsigned (*stub_answer)(void *user, const struct stub_call *call, enum stub_what what,
                                unsigned status);
void stub_answers(struct stub *s, stub_answer answer);
/* Serves calls in place of the guard, each time they come, not under the lock: the status of its answer, or 0
 * to leave the call to the guard.  Before any call. */
typedef unsigned (*stub_serve)(void *user, const struct stub_call *call);
void stub_serves(struct stub *s, stub_serve serve);
void stub_lock(struct stub *s);
void stub_unlock(struct stub *s);
/* [[xid, branch, op, token, what], ...] in order; a new reference. */
json_t *stub_records(struct stub *s);
const char *stub_what_name(enum stub_what what);

#endif
