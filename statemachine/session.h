/* Exactly-once execution: what a client was answered is kept until it says that it knows.
 *
 * Two ways to name a request.  A *session* is opened by a command, whose position in the log becomes the
 * client id; its requests carry a sequence and the highest sequence below which all were answered.  An
 * *Idempotency-Key* names a single request for 24 hours of log time.  Source: Ongaro 2014, section 6.3; Lee
 * et al. 2015 (RIFL).  Private to statemachine/. */
#ifndef STATEMACHINE_SESSION_H
#define STATEMACHINE_SESSION_H

#include "apply.h"

/* A session unused for this long of log time is gone, if it did not ask otherwise. */
#define SESSION_TTL_MS 3600000
/* Open sessions: 64 Ki application processes; the next one takes the place of one that was idle since it was
 * last looked at, or is refused. */
#define SESSIONS_MAX 65536
/* Replies one session may leave unacknowledged: a pipeline of that depth. */
#define SESSION_REPLIES_MAX 1024
/* How long an Idempotency-Key is remembered. */
#define REPLY_TTL_US (INT64_C(24) * 3600 * 1000000)
/* Keys remembered at most, and their bytes; beyond, the oldest are forgotten first. */
#define REPLIES_MAX       1000000
#define REPLIES_BYTES_MAX (UINT64_C(256) * 1024 * 1024)

/* Heads of the sessions in use, and the counts; memory of one state machine. */
struct session_book *session_book_open(void);
void session_book_close(struct session_book *book);
/* Forget all heads and take the counts from the place of the store (after open and restore). */
void session_book_load(struct session_book *book, const struct store_place *place);
/* Write changed heads back and put the counts into the place; at the end of each write transaction. */
void session_book_save(struct session_book *book, struct store_txn *txn, struct store_place *place);

/* What to do with a command. */
enum session_verdict {
    SESSION_EXECUTE, /* execute, then session_store() */
    SESSION_REPEAT,  /* answer `reply`, do not execute */
    SESSION_REFUSE,  /* answer the refusal, do not execute, do not store */
};
/* Before a command with a session: `*reply` borrows the stored reply until the next write; `*code` is the
 * refusal's:
 *   SESSION_EXPIRED  no such session any more, or the sequence was acknowledged (its reply is gone)
 *   LIMIT            too many unacknowledged replies; nothing happened, the sequence stays unused
 *   KEY_REUSED       the key named another request */
enum session_verdict session_check(struct apply *a, struct assent_bytes *reply, int *code);
/* Behind the execution: keep the reply. */
void session_store(struct apply *a, struct assent_bytes reply);

#endif /* STATEMACHINE_SESSION_H */
