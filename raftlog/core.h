/* The consensus driver: libraft's pure core behind its guards, the log in memory, reads, membership.
 *
 * No clock, no disk, no sockets, no threads: time comes in as an argument, effects go out through struct
 * core_io. The node and the simulator drive exactly this code.  Callbacks of core_io may not call back into
 * the core; what they cause arrives later through core_*().  After every call the driver rearms its timer
 * from core_deadline_ms().
 *
 * Contract of the library underneath: libraft 0.22.1, raft_step(); the guards are in guard.c. */
#ifndef RAFTLOG_CORE_H
#define RAFTLOG_CORE_H

#include <raft.h>
#include <stdbool.h>
#include <stdint.h>

#include "entry.h"
#include "message.h"
#include "raftlog.h"

struct core;

/* Where effects go.  The node's disk and transport implement it; so does the simulator. */
struct core_io {
    void *data;
    /* Make term and vote durable together before returning.  Non-zero: the core stops. */
    int (*persist_vote)(void *data, uint64_t term, uint64_t vote);
    /* Queue a durable append of n sealed entries that start at index `first`; entries the disk holds at or
     * above `first` are replaced.  Takes its own references.  FIFO with install and compact.  When durable
     * the driver calls core_appended(first + n - 1, term of that entry). */
    void (*append)(void *data, uint64_t first, struct entry *const *entries, uint32_t n);
    /* Queue one atomic step behind all earlier appends: record the manifest, drop every entry; then restore
     * the application from the staged file.  When both are done the driver calls core_installed().  Copies
     * `manifest`. */
    void (*install)(void *data, const struct snapshot_manifest *manifest);
    /* Queue: entries at or below `index` are not needed any more. */
    void (*compact)(void *data, uint64_t index);
    /* Send; may be lost.  Borrows `message` until return; entries are taken by reference if kept. */
    void (*send)(void *data, uint64_t to, const char *address, const struct message *message);
    /* A leader (`from`) offers a snapshot newer than our log.  Fetch it; when the file is complete and
     * verified, call core_staged(index, term).  Called again for the same snapshot when the leader repeats
     * its offer: idempotent. Copies `manifest`. */
    void (*stage)(void *data, uint64_t from, const struct snapshot_manifest *manifest);
    /* The newest durable snapshot of our own, for InstallSnapshot.  False: none.  Configuration borrowed
     * until the next call into the driver. */
    bool (*newest_snapshot)(void *data, struct snapshot_manifest *out);
    /* Committed entries in log order, each exactly once; commands, barriers and changes; only entries that
     * are durable on this node, so that the application is never ahead of the log.  At most 1024 entries and
     * about 1 MiB per event; while more wait and there is room the deadline is now.  Synchronous. */
    void (*apply)(void *data, struct entry *const *entries, uint32_t n);
    /* Can the application take more?  False: it has work for a while, what is committed waits in the log (and
     * a new role is told without waiting for all of it).  The driver calls core_tick() when there is room
     * again.  NULL: always. */
    bool (*apply_room)(void *data);
    /* May this entry of a leader's enter our log (time stamp not too far ahead)?  False: the message is
     * dropped. */
    bool (*admit)(void *data, const struct entry *entry);
    /* The set of servers changed: connect to these. */
    void (*servers)(void *data, const struct raft_configuration *configuration);
    /* Role, term, leader or readiness changed. */
    void (*role)(void *data, enum raftlog_role role, uint64_t term, uint64_t leader, bool ready);
    /* A read asked for with core_read() may go on once `index` is applied (it is applied when this is
     * called). status: 0, NO_LEADER, TIMEOUT, BUSY (10 election timeouts without an answer; a change of
     * leader in between is hidden, the read is asked again). `local`: confirmed by this node as leader of
     * `term`. Never called from within core_read(). */
    void (*read_done)(void *data, uint64_t read_id, int status, uint64_t index, uint64_t term, bool local);
    /* A membership request asked for with core_member() ended; `detail` is a sentence.  status: 0;
     * NOT_LEADER: nothing was changed; UNKNOWN_OUTCOME: the change is in the log and may commit;
     * CHANGE_PENDING, UNREACHABLE, TIMEOUT, INVALID.  Never called from within core_member(). */
    void (*member_done)(void *data, uint64_t member_id, int status, const char *detail);
    /* One structured event, as raftlog_app.event. */
    void (*event)(void *data, int level, const char *event, const char *details);
};

/* Bits to switch a guard off in a test build (-DASSENT_TEST_GUARDS); release builds ignore them. */
struct core_config {
    uint64_t id;
    const char *address;
    uint32_t heartbeat_ms, election_ms, inflight_entries;
    uint64_t uncommitted_entries_max; /* back-pressure, libraft-step G15: last - commit */
    bool pre_vote;
    uint32_t seed;
    uint32_t trailing;       /* entries kept behind a snapshot */
    uint64_t trailing_bytes; /* and no more than this of them; 0: no limit */
    uint32_t guards_off;     /* bit n: guard Gn off; test builds only */
};

/* Create a core at rest.  Copies the configuration. */
int core_new(struct core **core, const struct core_config *config, const struct core_io *io);

/* Start from what the disk holds: term and vote, the newest snapshot's manifest or NULL, entries (references
 * taken, contiguous, first index `start_index`).  `applied`: what the application holds, >= the snapshot's
 * index; entries up to it are not applied again.  A sole voter starts in a new term (libraft-step G10). */
int core_start(struct core *core, uint64_t now_ms, uint64_t term, uint64_t vote,
               const struct snapshot_manifest *snapshot, uint64_t start_index, struct entry *const *entries,
               uint32_t n, uint64_t applied);

void core_close(struct core *core);

/* Absolute time (ms, same base as now_ms) at which core_tick() must be called next. */
uint64_t core_deadline_ms(const struct core *core);

/* Every function below takes the current time in ms, which never runs backwards.  A non-zero return other
 * than a documented refusal means the core has stopped: the process must exit (libraft-step section 2,
 * Errors). */
int core_tick(struct core *core, uint64_t now_ms);
/* A decoded message from a peer (RAFT, PROBE, PROBE_ACK, READ_INDEX, READ_INDEX_ACK).  Borrows `message`;
 * entries are taken by reference if kept. */
int core_receive(struct core *core, uint64_t now_ms, const struct message *message, const char *address);
int core_appended(struct core *core, uint64_t now_ms, uint64_t index, uint64_t term);
int core_installed(struct core *core, uint64_t now_ms, const struct snapshot_manifest *manifest);
int core_staged(struct core *core, uint64_t now_ms, uint64_t index, uint64_t term);
/* The fetch of this snapshot has failed for good (the source has it no more): take the leader's next offer.
 * Without this an unfinished fetch is asked for again for a minute before a newer offer of the same leader
 * replaces it. */
int core_unstaged(struct core *core, uint64_t now_ms, uint64_t index, uint64_t term);
/* The application's own snapshot is durable; guard G9 may ignore it. */
int core_snapshot_taken(struct core *core, uint64_t now_ms, const struct snapshot_manifest *manifest);

/* Submit command entries (payload filled, not sealed; the references are taken on success).  On success
 * `*first` is the index of the first one.  Refusals: NOT_LEADER, NO_LEADER (not ready or transferring), BUSY
 * (back-pressure). */
int core_submit(struct core *core, uint64_t now_ms, struct entry **entries, uint32_t n, uint64_t *first);

/* Begin a linearizable read; io.read_done(read_id) follows exactly once when this returns 0.  Refusals:
 * NO_LEADER, BUSY.  When the core stops or is closed, what still waits is not called any more: the driver
 * ends it. */
int core_read(struct core *core, uint64_t now_ms, uint64_t read_id);

/* Begin a membership change or transfer; io.member_done(member_id) follows exactly once on success. Refusals:
 * NOT_LEADER, CHANGE_PENDING, NOT_MEMBER, EXISTS (a member already; already a voter; already none), INVALID
 * (address; removing or demoting this node itself: transfer first; fewer than two voters would remain). */
int core_member(struct core *core, uint64_t now_ms, uint64_t member_id, enum raftlog_change change,
                uint64_t id, const char *address);

/* Is a leader known that has committed an entry of its own term?  Then `*commit` is the newest commit index
 * heard of, which may lie beyond our log; what is applied up to it is the leader's state. */
bool core_leader_commit(const struct core *core, uint64_t *commit);
/* Fill the consensus part of a status. */
void core_status(const struct core *core, struct raftlog_status *out);
/* The configuration in force and match indexes (0 unless leader).  Borrowed until the next call. */
const struct raft_configuration *core_configuration(const struct core *core);
uint64_t core_match_index(const struct core *core, uint64_t id);
/* Configuration committed at or before the applied index, for a snapshot: encoded bytes borrowed until the
 * next call. */
struct assent_bytes core_applied_configuration(const struct core *core, uint64_t *index);
/* Entry in the memory log, or NULL; borrowed until the next call. */
struct entry *core_entry(const struct core *core, uint64_t index);
uint64_t core_term_at(const struct core *core, uint64_t index);
/* Add guard counters, elections, reads, rounds into `m`. */
void core_metrics(const struct core *core, struct raftlog_metrics *m);

#endif /* RAFTLOG_CORE_H */
