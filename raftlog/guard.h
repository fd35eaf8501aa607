/* The guards around raft_step(): pure functions that look at the library's state and at what goes in or comes
 * out of it, and drop, shorten, split or rewrite what libraft 0.22.1 would mishandle.
 *
 * Each guard answers one fault of the library that has been reproduced; unguarded it commits falsely in two
 * or three of a thousand chaotic runs.  The comment at each function says which fault.  `count[n]` tells how
 * often guard n acted.  Nothing here steps the library or performs an effect; core.c does, in the order given
 * here. */
#ifndef RAFTLOG_GUARD_H
#define RAFTLOG_GUARD_H

#include <raft.h>
#include <stdbool.h>
#include <stdint.h>

#include "entry.h"

#if RAFT_VERSION_NUMBER != 2201
#error "assent drives libraft 0.22.1 exactly: other versions change who owns memory and what must be guarded"
#endif

enum guard_number {
    GUARD_STALE_REPLY = 1,      /* G1: the reply to a message of an older term holds uninitialised memory */
    GUARD_STALE_REJECTION = 2,  /* G2: a late rejection pulls the next index below the match index */
    GUARD_PREV_ZERO = 3,        /* G3: entries from index 1 reaching a compacted log land at the wrong end */
    GUARD_COMMIT_BACK = 4,      /* G4: a late short append moves the commit index back */
    GUARD_CHANGE_FIRST = 5,     /* G5: a change behind other new entries is recorded under their index */
    GUARD_VOTE_RESULT = 6,      /* G6: a vote result is read by a node that is no candidate */
    GUARD_INSTALL_TWICE = 7,    /* G7: an InstallSnapshot during an install leaks */
    GUARD_CHANGE_GATE = 8,      /* G8: membership changes before their predecessors are known */
    GUARD_OWN_SNAPSHOT = 9,     /* G9: an own snapshot that comes too late corrupts the trail */
    GUARD_SOLE_VOTER = 10,      /* G10: a sole voter leads again in a term it has led before */
    GUARD_LEADER_DEADLINE = 11, /* G11: a leader deadline that stays in the past */
    GUARD_PERSISTED = 12,       /* G12: completions of writes that have been overwritten */
    GUARD_TRANSFER = 13,        /* G13: TimeoutNow is sent once and ignored by a target that is behind */
    GUARD_INPUT = 14,           /* G14: fields the library only asserts */
    GUARD_CONFLICT = 15,        /* G15: conflicting tails unwound one index per round trip */
    GUARD_PRE_VOTE = 16,        /* G16: a refused pre-vote hides the refuser's higher term */
    GUARD_NR = 17,
};

struct guard {
    uint32_t off; /* bit n: guard n is off; only in test builds */
    uint64_t count[GUARD_NR];
};

/* Whether guard `n` is in force.  Always, unless compiled with ASSENT_TEST_GUARDS. */
static inline bool guard_on(const struct guard *g, enum guard_number n)
{
#ifdef ASSENT_TEST_GUARDS
    return (g->off & (1U << n)) == 0;
#else
    (void)g;
    (void)n;
    return true;
#endif
}

/* ---- input */

/* Fields that the library asserts or reads without looking (G14), vote results for a non-candidate (G6),
 * InstallSnapshot during an install (G7), late rejections (G2; may raise the hint in `m`).  False: drop the
 * message.  AppendEntries: `entries` are the message's. */
bool guard_message(struct guard *g, const struct raft *r, struct raft_message *m,
                   struct entry *const *entries);

/* AppendEntries on its way in: a window on the sealed entries of one message. */
struct guard_append {
    uint64_t term, prev_index, prev_term, leader_commit;
    struct entry *const *entries;
    uint32_t n;
};

/* G3: from below the base of a compacted log: begin behind the snapshot instead.  From index 1 the library
 * would append at the wrong end; from elsewhere it refuses, and a leader whose match index for us lies below
 * our base then offers the same for ever.  What our snapshot covers is committed, so every leader of this or
 * a later term holds it: it matches without being compared. */
void guard_append_base(struct guard *g, const struct raft *r, struct guard_append *a);

/* Cut the next piece off the front of `rest`, so that a change is always the first entry of its piece (G5),
 * and hide a leader commit that would move ours back (G4).  Every message gives at least one piece, an empty
 * one included. */
struct guard_append guard_append_piece(struct guard *g, const struct raft *r, struct guard_append *rest);

/* G5, second half: the index of the uncommitted change that must be confirmed (RAFT_CONFIGURATION) before
 * this piece goes in, because the piece brings the change after it; 0: none. */
uint64_t guard_append_confirms(struct guard *g, const struct raft *r, const struct guard_append *piece);

/* ---- output */

/* An AppendEntries result on its way out.  `stale`: the step's input was of a term below ours (G1).  A
 * rejection's hint is lowered to the end of the term before the conflicting one (G15). */
void guard_reply(struct guard *g, const struct raft *r, bool stale,
                 struct raft_append_entries_result *result);

/* A vote result on its way out.  The library answers a pre-vote with the term that was asked about, so a
 * candidate with the longer log never learns that the other voter's term is higher, and the other one, whose
 * log is shorter, is never elected: with the third voter down, two live nodes refuse each other for ever.  A
 * refusal carries our term instead, and the candidate moves up to it (G16). */
void guard_vote_reply(struct guard *g, const struct raft *r, struct raft_request_vote_result *result);

/* ---- membership */

enum guard_gate {
    GATE_OPEN,
    GATE_NOT_READY,  /* no entry of this term is committed (G8a) */
    GATE_PENDING,    /* a change, a catch-up or a transfer is under way */
    GATE_UNINFORMED, /* a voter does not hold the configuration in force (G8b) */
};

/* May the next change be submitted?  `ready`: an entry of this term is committed.  `target`: the server the
 * change is about; when it stops voting, what it holds does not matter.  `promoted`: the server that the last
 * change made a voter, 0 when it made none, UINT64_MAX when that is not known.  `patient`: wait for every
 * voter; else only for those that may not know they are voters: only `promoted` can be one, since each
 * earlier promotion passed this gate.  `*who` gets the voter waited for. */
enum guard_gate guard_change_gate(struct guard *g, const struct raft *r, bool ready, uint64_t target,
                                  uint64_t promoted, bool patient, uint64_t *who);

/* G8c and G10: one server differs, the order is kept, and the number of voters does not fall below two by
 * this change. */
bool guard_change_step(struct guard *g, const struct raft_configuration *from,
                       const struct raft_configuration *to);

/* G8, the voter's side: the library refuses votes while its own configuration calls it a non-voter.  A node
 * that has been promoted and has not heard of it is then missing from every quorum that would elect the
 * leader to tell it.  Granting is safe whatever the configuration: candidates count their own voters only
 * (Raft dissertation, 4.2.1).  Returns where our role stands if it must read RAFT_VOTER while a RequestVote
 * is stepped, else NULL; the caller puts it back. */
int *guard_lend_vote(struct guard *g, struct raft *r);

/* G13: the transferee's whole log is durable and equal to ours, so TimeoutNow will be obeyed. */
bool guard_transfer_ready(struct guard *g, struct raft *r, uint64_t target);

/* ---- snapshots, elections, time */

/* G9: may the library hear of our own snapshot at `index`? */
bool guard_own_snapshot(struct guard *g, const struct raft *r, uint64_t index);

/* G10: is `id` the only voter of this configuration? */
bool guard_sole_voter(struct guard *g, const struct raft_configuration *c, uint64_t id);

/* G11: when a leader's RAFT_TIMEOUT may fire.  `library`: raft_timeout(), heartbeat after the *oldest* send.
 * `newest_send`: the newest time the library sent to any server.  Heartbeats to all leave together, at most
 * one heartbeat late: the contact check made at each timeout then finds an answer to the previous one from
 * everybody, and no healthy follower falls back to probing. */
uint64_t guard_leader_deadline(const struct guard *g, uint64_t library, uint64_t newest_send, uint64_t fired,
                               uint64_t heartbeat);

/* G15: may `n` more entries be submitted, with at most `max` uncommitted? */
bool guard_submit(struct guard *g, struct raft *r, uint32_t n, uint64_t max);

/* ---- G12: which part of the appends under way is still what the log says */

struct guard_write {
    uint64_t index, term; /* of its last entry: the name of its completion */
    uint64_t valid;       /* highest index of it, or below it, that has not been replaced since */
};

/* A FIFO of appends handed to the disk. */
struct guard_writes {
    struct guard_write *ring;
    uint32_t capacity, front, n;
    bool replaced; /* an append under way was cut since the FIFO was last empty */
};

void guard_writes_close(struct guard_writes *w);
/* NOMEM. */
int guard_writes_push(struct guard_writes *w, uint64_t index, uint64_t term);
/* Would the completion of such an append be mistaken for another's under way? Only possible when the same
 * entry was replaced and came back meanwhile. */
bool guard_writes_ambiguous(const struct guard_writes *w, uint64_t index, uint64_t term);
/* Entries at and above `index` were replaced. */
void guard_writes_cut(struct guard_writes *w, uint64_t index);
/* A completion: everything up to the named append is durable.  Returns the highest durable index that is
 * still in the log, 0 when the completion is unknown. */
uint64_t guard_writes_done(struct guard *g, struct guard_writes *w, uint64_t index, uint64_t term);
void guard_writes_clear(struct guard_writes *w);

#endif /* RAFTLOG_GUARD_H */
