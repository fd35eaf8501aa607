/* Checkers that need one pass or one sort.  Each takes a valid history, looks only at the operations named
 * here, and fills and closes `v`.  A value of an unexpected shape makes the verdict UNKNOWN ("harness: ...").
 *
 * "Before" is real time: the one returned before the other was invoked; equal times are concurrent. */
#ifndef JEPSEN_LINEAR_H
#define JEPSEN_LINEAR_H

#include <stdbool.h>

#include "history.h"
#include "verdict.h"

/* One set.  add x -> x; read null -> [x, ...].  An element is lost when it was known (added or seen), and a
 * read begun after its last sighting and after it was known misses it; stale when such a read missed it but a
 * later one saw it; wrong when nobody tried to add it, its add failed, or it occurs twice in a read.
 * `linearizable`: stale is invalid. Elements never read again after they were known are unknown. */
void check_set(const struct history *h, bool linearizable, struct verdict *v);

/* All ok values of operation `f` are distinct, over all keys. */
void check_unique(const struct history *h, const char *f, struct verdict *v);

/* Timestamps: ok values of `f` are t, or [first,count].  Ranges are disjoint, and each starts above every
 * range that was granted before it was asked for. */
void check_tso(const struct history *h, const char *f, struct verdict *v);

/* read null -> {"account": balance, ...} or [balance, ...]; every read sums to `total`; no balance is
 * negative unless `overdraft`. */
void check_bank(const struct history *h, int64_t total, bool overdraft, struct verdict *v);

/* watch null -> [[revision, event], ...], one subscription's stream, per key.  Revisions rise within it; all
 * subscriptions agree what a revision holds, and each is a contiguous piece of the one sequence they form. */
void check_watch(const struct history *h, struct verdict *v);

/* A lock with fencing tokens, per key.  acquire null -> token; use token -> [token, position], where the
 * protected resource itself numbers the uses it accepts; release token -> token.  Tokens rise in the order of
 * grants, the resource never accepts a lower token after a higher one, and only granted tokens (or those of
 * grants nobody heard of). */
void check_lock(const struct history *h, struct verdict *v);

/* A decision that is written once, per key (the transaction).  Any f -> "status"; vote [branch,"yes"|"no"] ->
 * the same; branch null -> [branch, "status"], what a participant did; final null -> {"branch": "status",
 * ...}, what each participant holds in the end.  COMMITTED and ROLLED_BACK (also committed, aborted,
 * rolled_back) are decisions, all others are not.  Any two decisions agree, whenever they were seen; after
 * one was seen, no later operation sees none (those named status); none is COMMITTED after a vote of no; in
 * the end every branch holds the decision. */
void check_decide(const struct history *h, struct verdict *v);

/* One saga per key.  ledger null -> {"steps": n, "parallel": bool, "entries": [["do"|"undo", step], ...]} in
 * the order of the participants' effects; the latest counts.  Each takes effect once, undo only after do and
 * in reverse order (any order when parallel), never a do after an undo, and in the end all steps are done or
 * all that were done undone. */
void check_saga(const struct history *h, struct verdict *v);

/* One idempotency key per key.  request x -> answer, any number of times; effects null -> how often it took
 * effect. All answers are equal; one effect when any request was answered, else at most one. */
void check_idempotency(const struct history *h, struct verdict *v);

/* Sessions that push requests to objects, one object per key.  push [session, request] -> the position it
 * took (1, 2, ...); read [session] -> [position, the request there], [0, null] of an empty one; log null ->
 * [the request of position 1, ...], the last one counts.  Each request stands in the log once if it was
 * answered, at the position its answer told, at most once if nobody knows, and not at all if it failed.  A
 * session's requests stand in its order behind what it had read, and it reads at least what it had written or
 * read (Terry et al.: read your writes, monotonic reads, monotonic writes, writes follow reads). */
void check_sessions(const struct history *h, struct verdict *v);

#endif
