/* What the files of the consensus driver share: struct core, and the steps they take on each other's behalf.
 *
 *   core.c         life cycle, time, disk and proposals in, status
 *   core_receive.c messages in
 *   core_update.c  one raft_step() and everything its update asks for, in order
 *   core_apply.c   committed entries to the application
 *   membership.c   one change or transfer at a time
 *   read_index.c   linearizable reads
 *   guard.c        pure filters around raft_step() */
#ifndef RAFTLOG_CORE_STATE_H
#define RAFTLOG_CORE_STATE_H

#include "core.h"
#include "guard.h"
#include "membership.h"
#include "memlog.h"
#include "read_index.h"

/* The library's flags are unparenthesised shifts. */
enum core_update_flag {
    UPDATE_TERM = (RAFT_UPDATE_CURRENT_TERM),
    UPDATE_VOTE = (RAFT_UPDATE_VOTED_FOR),
    UPDATE_ENTRIES = (RAFT_UPDATE_ENTRIES),
    UPDATE_SNAPSHOT = (RAFT_UPDATE_SNAPSHOT),
    UPDATE_MESSAGES = (RAFT_UPDATE_MESSAGES),
};

/* What we know of another server beyond what the library keeps. */
struct core_peer {
    uint64_t id;
    uint64_t sent_ms;     /* newest AppendEntries or InstallSnapshot the library made */
    uint64_t left_ms;     /* newest AppendEntries that left */
    uint64_t heard_ms;    /* newest message from it */
    uint64_t acked_round; /* newest probe round it answered in `acked_term` */
    uint64_t acked_term;
    uint64_t offered_index, offered_ms; /* newest InstallSnapshot that left */
};

/* A snapshot offered to us by a leader: fetched, then injected, then installed. */
struct core_offer {
    bool present, staged;
    uint64_t from, offer_term; /* the leader that offered it, in this term */
    uint64_t since_ms;
    struct snapshot_manifest manifest; /* configuration: our copy */
};

/* The newest configuration at or below the applied index, and what led to it. */
struct core_applied_change {
    uint64_t index;
    struct entry *entry; /* holds the bytes as payload */
    uint64_t promoted;   /* server it made a voter; 0: none; UINT64_MAX: its predecessor is not known */
};

struct core {
    struct core_config config;
    char address[256];
    struct core_io io;
    struct raft raft;
    struct guard guard;
    uint64_t now_ms;
    bool running, stopped;
    int stop_status;

    struct memlog log;
    struct guard_writes writes;
    uint64_t held_first; /* appends held back until `writes` is empty, from this index; 0: none */
    struct entry **scratch;
    uint32_t scratch_n;
    struct raft_entry *entries; /* what the library is given; it reads the payload of changes only */
    uint32_t entries_n;

    /* Of the step under way. */
    struct entry *const *source; /* our entries behind the library's, first index `source_first` */
    uint64_t source_first;
    bool source_taken; /* the log takes the caller's references (submit), else its own (receive) */
    void *batch;       /* ours again when the update has entries, else freed by the library */
    bool input_stale;  /* the message's term is below ours */
    bool submitting;

    uint64_t applied;
    bool lags; /* more is committed than one pass of apply: this node could not serve for a while */
    uint64_t heard_commit; /* newest commit index a leader told, perhaps beyond our log */
    struct core_applied_change change;
    struct core_offer offer;

    /* Leadership. */
    unsigned short state; /* as last seen */
    uint64_t term;        /* as last seen */
    bool barrier_wanted;
    uint64_t barrier_index; /* own-term entry that opens service; 0: none yet */
    uint64_t fired_ms;      /* last leader timeout */
    uint64_t elected_self;  /* term entered with a vote for ourselves as the sole voter (G10) */
    struct core_peer peers[ASSENT_NODES_MAX];
    uint32_t peers_n;

    /* As last told. */
    enum raftlog_role told_role;
    uint64_t told_term, told_leader;
    bool told_ready;
    uint64_t told_committed, told_uncommitted, told_uncommitted_term; /* configuration in force */

    struct membership member;
    struct read_index reads;

    uint64_t elections, leader_changes, snapshots_installed, entries_refused;
};

/* core.c */

/* Begin a public call: time never runs backwards.  False: stopped. */
bool core_enter(struct core *c, uint64_t now_ms);
void core_drop_offer(struct core *c);

/* core_update.c */

/* Step the library and consume its update.  A refusal of the library's is stored in `*refusal` and is no
 * error; with `refusal` NULL any refusal stops the core.  Returns 0 or STOPPED. */
int core_step(struct core *c, struct raft_event *event, int *refusal);
/* Submit entries (one reference each is taken on success).  `*refusal` as core_step(). */
int core_submit_entries(struct core *c, struct entry *const *entries, uint32_t n, int *refusal);
/* After an event: barrier, apply, configuration events, membership, reads, notifications. */
int core_settle(struct core *c);
/* The core cannot go on. */
int core_stop(struct core *c, int status, const char *event, const char *details);
void core_event(struct core *c, int level, const char *event, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
struct core_peer *core_peer(struct core *c, uint64_t id);
bool core_is_leader(const struct core *c);
/* Leader with a committed and applied entry of its own term. */
bool core_is_ready(const struct core *c);
uint64_t core_leader(const struct core *c);
/* Is anything committed and durable here that has not been applied? */
bool core_apply_waits(const struct core *c);
/* The same, and may it be handed out now? */
bool core_apply_can(const struct core *c);
/* Hand out one bounded pass of it. */
void core_apply(struct core *c);
/* Send; drops what is addressed to ourselves. */
void core_send(struct core *c, uint64_t to, const char *address, const struct message *m);
/* Tell a follower our commit index now instead of with the next heartbeat. */
void core_send_commit(struct core *c, uint64_t to);
const struct raft_server *core_server(const struct core *c, uint64_t id);
/* Put the appends that were held back into the disk's queue. */
void core_release_held(struct core *c);
/* Note the applied configuration; `known_before`: the one before it is the one noted last. */
int core_note_change(struct core *c, uint64_t index, struct entry *e, bool known_before);
/* Decode bytes that have been validated; the library allocates. */
int core_decode_configuration(const void *base, size_t size, struct raft_configuration *out);
/* Grow the scratch arrays. */
int core_reserve(struct core *c, uint32_t n);

#endif /* RAFTLOG_CORE_STATE_H */
