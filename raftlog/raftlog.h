/* One agreed order of opaque commands, kept on disk and handed back in that order: Raft (libraft's core) over
 * LMDB.
 *
 * A *command* is what the application proposes.  Commands that arrive in one turn of the loop travel in one
 * log *entry* (index, term), stamped with the leader's time; inside it each has a *slot*.  raftlog never
 * reads a command.
 *
 * Everything here is called on the thread of the loop, and every callback fires on it.  Asynchronous calls:
 * non-zero means the callback never fires; zero means it fires exactly once, later, also when closing. */
#ifndef ASSENT_RAFTLOG_H
#define ASSENT_RAFTLOG_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "assent/error.h"
#include "assent/limits.h"
#include "assent/types.h"

struct raftlog;

/* ---- what the application is
 * ------------------------------------------------------------------------------------ */

/* One committed command on its way into the application. */
struct raftlog_command {
    uint64_t index;  /* of its entry */
    uint64_t term;   /* of its entry */
    uint32_t slot;   /* its place in the entry, from 0 */
    int64_t time_us; /* the leader's stamp of the entry, microseconds since 1970; may run backwards
                        between leaders, so the application takes max(stamp, last) */
    struct assent_bytes command; /* borrowed until `apply` returns */
    bool awaited;                /* somebody on this node waits for the result */
    struct assent_bytes result;  /* filled by `apply` when awaited; borrowed until the next call of `apply` */
};

/* What a snapshot file holds and how to check it. */
struct raftlog_snapshot {
    uint64_t index;  /* last entry the image includes */
    uint64_t term;   /* of that entry */
    uint64_t size;   /* bytes of the file */
    uint64_t digest; /* the application's own digest of the image */
    uint32_t crc;    /* CRC32C of the whole file; filled by raftlog */
    char path[1024]; /* the file */
};

enum raftlog_role { RAFTLOG_FOLLOWER, RAFTLOG_CANDIDATE, RAFTLOG_LEADER, RAFTLOG_STOPPED };

/* The one seam between the log and what is kept in it.  A callback that finds the replica broken does not
 * return. */
struct raftlog_app {
    void *data;
    /* Apply `n` commands in log order (n may be 0: barriers and membership changes); afterwards everything up
     * to `index` is applied.  Effects and `index` become visible together. */
    void (*apply)(void *data, struct raftlog_command *commands, uint32_t n, uint64_t index);
    /* Pin the state as it is now (after `index`) for a dump; gives a handle for `dump`.  Loop thread. */
    void *(*pin)(void *data, uint64_t index);
    /* Write the pinned state to `path` (a new file, fsynced before return), fill `size` and `digest`, release
     * the pin.  WORKER THREAD.  Non-zero: the dump failed, the file is removed, the log is kept and a later
     * try is made. `path` NULL: release the pin without dumping. */
    int (*dump)(void *data, void *pin, const char *path, struct raftlog_snapshot *out);
    /* Replace the whole state by the image (checked against its digest).  WORKER THREAD; the loop thread
     * makes no other call to the application that touches the state until it is done.  Non-zero: the replica
     * is broken. */
    int (*restore)(void *data, const struct raftlog_snapshot *snapshot);
    /* Role, term or leader changed.  `leader` is 0 when unknown.  `ready` on a leader: an entry of its own
     * term is committed and applied, so reads and proposals may go on.  Called again when `ready` turns true.
     */
    void (*role)(void *data, enum raftlog_role role, uint64_t term, uint64_t leader, bool ready);
    /* A message another node's application sent with raftlog_post(); borrowed until return. */
    void (*post)(void *data, uint64_t from, struct assent_bytes message);
    /* One structured event for the log of the node: a fixed event name and `key=value ...` text.  Level: 0
     * debug, 1 info, 2 warning, 3 error. */
    void (*event)(void *data, int level, const char *event, const char *details);
    /* The log cannot go on (disk failure, corruption, broken invariant).  `reason` says what to do.  raftlog
     * is stopped when this is called: proposals fail, peers are disconnected.  The process should exit. */
    void (*broken)(void *data, const char *reason);
    /* The cluster this node belongs to is known: called before the first `apply` or `restore`, in
     * raftlog_open() or, on a node that joins, when the first peer spoke to it.  The number is never 0, is
     * the same on every node of a cluster and never changes.  May be NULL. */
    void (*cluster)(void *data, uint64_t cluster_id);
    /* A `restore` of a running log succeeded: entries follow behind `index`.  Loop thread; may be NULL. */
    void (*restored)(void *data, uint64_t index);
};

/* ---- configuration
 * ----------------------------------------------------------------------------------------------- */

struct raftlog_server {
    uint64_t id;       /* 1.. */
    char address[128]; /* host:port of its raft listener */
    bool voter;
};

struct raftlog_config {
    uint64_t id;              /* this node's; never given to another data directory */
    const char *dir;          /* data directory; raftlog uses `log/` and `snapshots/` in it and a lock file */
    const char *listen;       /* host:port to listen on for peers; "host:0" picks a port */
    const char *cluster_name; /* part of the cluster id: clusters of different names refuse each other */
    const struct raftlog_server *servers; /* initial members, for bootstrap; the same list on every node */
    uint32_t servers_n;
    bool join;             /* do not bootstrap: wait until a leader adds this node */
    uint32_t heartbeat_ms; /* 20..1000, default 50 */
    uint32_t election_ms; /* base election timeout, >= 10 * heartbeat_ms; randomised up to twice that; default
                             500 */
    uint32_t inflight_entries;     /* per follower, default 512 */
    uint64_t snapshot_log_bytes;   /* take a snapshot when the log has grown by this much; default 256 MiB */
    uint64_t snapshot_log_entries; /* or by this many entries; default 500000 */
    uint32_t snapshot_trailing;    /* entries kept behind a snapshot for slow followers, but no more
                                      than a quarter of snapshot_log_bytes; default 20000 */
    uint64_t snapshot_chunk_bytes; /* bytes per pulled chunk; default 1 MiB */
    uint64_t disk_map_bytes;       /* LMDB map size of the log; default 16 GiB (address space, not disk) */
    uint64_t disk_presize_bytes; /* pages made at creation so that commits recycle instead of grow; default 64
                                    MiB */
    int64_t max_skew_us;         /* refuse entries stamped this far ahead of our clock; default 500000 */
    uint64_t queue_bytes_max;    /* proposals waiting or uncommitted; beyond it BUSY; default 64 MiB */
    uint64_t applied;            /* what the application holds already (0: nothing) */
    uint64_t min_free_bytes; /* refuse proposals (NO_SPACE) when the file system has less; default 64 MiB */
    const char *tls_cert, *tls_key, *tls_ca; /* reserved for mutual TLS; NULL */
    struct assent_bytes advert; /* what peers are told about this node (<= 1 KiB), see raftlog_peer() */
    uint64_t seed;              /* of the randomised timeouts; 0: from the kernel */
    /* A fault for tests, 0: none: the n-th commit of the log fails with this errno. */
    uint32_t fail_commit_at;
    int fail_errno;
};

/* Defaults for every field that has one. */
void raftlog_config_init(struct raftlog_config *config);

/* Open the data directory (verify every entry's checksum, refuse a directory of another node or cluster, or
 * one in use by another process), bootstrap it if it is pristine and `join` is not set, restore the newest
 * snapshot into `app` when `config->applied` is older than it, start threads, listen.  Copies `config` and
 * `app`.  On failure returns an assent_error and writes a sentence that says what to do into `err`. */
int raftlog_open(struct raftlog **log, uv_loop_t *loop, const struct raftlog_config *config,
                 const struct raftlog_app *app, char *err, size_t err_size);

/* Stop: pending callbacks fire with ASSENT_SHUTDOWN or ASSENT_UNKNOWN_OUTCOME, queued disk work is finished,
 * threads end; then `closed` fires once and the handle is gone. */
void raftlog_close(struct raftlog *log, void (*closed)(void *data), void *data);

/* ---- proposals
 * --------------------------------------------------------------------------------------------------- */

struct raftlog_propose;
/* status 0: committed and applied, `result` is what apply left (borrowed until return), index and slot name
 * it. ASSENT_UNKNOWN_OUTCOME: leadership was lost, it may still commit: retry with the same command id.
 * ASSENT_NOT_LEADER: it certainly did not commit. */
typedef void (*raftlog_propose_cb)(struct raftlog_propose *req, int status, struct assent_bytes result);

/* One command on its way into the log.  Embed it; it must outlive `cb`. */
struct raftlog_propose {
    void *data;     /* the caller's; raftlog never reads it */
    uint64_t index; /* set before a successful `cb` */
    uint64_t term;  /* set before a successful `cb` */
    uint32_t slot;  /* set before a successful `cb` */
    /* private */
    raftlog_propose_cb cb;
    struct raftlog_propose *next;
};

/* Propose `command` (copied; 1..ASSENT_COMMAND_BYTES_MAX bytes).  It goes out with the others of this loop
 * turn. Returns NOT_LEADER, NO_LEADER (leader without a committed entry of its term, or transferring: hold
 * and retry), BUSY, NO_SPACE, STOPPED, TOO_LARGE or NOMEM, and then `cb` never fires.  Source: Raft
 * dissertation, 6.3. */
int raftlog_propose(struct raftlog *log, struct raftlog_propose *req, struct assent_bytes command,
                    raftlog_propose_cb cb);

/* ---- linearizable reads (ReadIndex, Raft dissertation 6.4)
 * --------------------------------------------------------- */

struct raftlog_read;
/* status 0: everything committed when raftlog_read() was called is applied here.  NO_LEADER, NOT_LEADER,
 * TIMEOUT: retry. */
typedef void (*raftlog_read_cb)(struct raftlog_read *req, int status);

struct raftlog_read {
    void *data;
    uint64_t index; /* the read index, set before `cb` */
    uint64_t term;  /* the term in which leadership was confirmed */
    bool local;     /* confirmed by this node as leader of `term`, after the call */
    /* private */
    raftlog_read_cb cb;
    struct raftlog_read *next;
    uint64_t round, deadline_ms;
};

/* Wait until a read of the local state is linearizable.  On the leader: one probe round shared by all waiting
 * reads; on a follower: the leader is asked for a read index.  Returns NO_LEADER or STOPPED at once. */
int raftlog_read(struct raftlog *log, struct raftlog_read *req, raftlog_read_cb cb);

/* ---- messages between applications
 * ----------------------------------------------------------------------------------- */

/* Send `message` (copied, <= ASSENT_FRAME_BYTES_MAX) to the application of node `to`; may be lost.  Returns
 * UNREACHABLE when there is no connection, BUSY when its queue is full. */
int raftlog_post(struct raftlog *log, uint64_t to, struct assent_bytes message);

/* ---- membership (leader only)
 * ------------------------------------------------------------------------------------------ */

enum raftlog_change { RAFTLOG_ADD, RAFTLOG_PROMOTE, RAFTLOG_DEMOTE, RAFTLOG_REMOVE, RAFTLOG_TRANSFER };

struct raftlog_member;
typedef void (*raftlog_member_cb)(struct raftlog_member *req, int status, const char *detail);
struct raftlog_member {
    void *data;
    /* private */
    raftlog_member_cb cb;
};

/* Change the cluster by one server.  ADD: `id` joins at `address` as a non-voter.  PROMOTE: a non-voter that
 * has caught up becomes a voter (waits for catch-up).  DEMOTE, REMOVE: never below two voters unless the
 * cluster is already smaller (libraft-step G10).  TRANSFER: leadership to `id`, 0 lets raftlog choose.  One
 * change at a time (CHANGE_PENDING), and none before an entry of this term is committed and every voter holds
 * the previous one. `cb` fires when the change is committed (transfer: when another node leads). `detail` is
 * a sentence, borrowed until return. */
int raftlog_member(struct raftlog *log, struct raftlog_member *req, enum raftlog_change change, uint64_t id,
                   const char *address, raftlog_member_cb cb);

/* Offline, on the data directory of a stopped node: make it the only voter of its cluster, with the committed
 * and uncommitted entries it holds, after the majority was lost for good.  Raises the incarnation so that
 * nodes of the old one are refused for ever.  Entries the lost majority had committed and this node does not
 * hold are gone. Fills `err` with a sentence on failure. */
int raftlog_recover(const char *dir, uint64_t id, const char *address, char *err, size_t err_size);

/* What raftlog_restore() builds a data directory from. */
struct raftlog_restore {
    const char *dir;                      /* made here; nothing may be in it */
    uint64_t id;                          /* the node's */
    const char *cluster_name;             /* as the node will be started with */
    const struct raftlog_server *servers; /* members of the new cluster; the same list on every node */
    uint32_t servers_n;
    const char *file; /* holds the image, `offset` bytes behind its start, to its end */
    uint64_t offset;
    struct raftlog_snapshot snapshot; /* of the image; `path` is not read, all else must be known */
};
/* Offline: build the data directory of one member of a NEW cluster whose log begins behind the image.  Called
 * with the same image, name and servers for every member it gives the same history; the cluster id depends on
 * all three, so nodes of the old cluster, and of one restored from another image, are refused.  The image is
 * copied and its checksum verified.  On failure an assent_error and a sentence in `err`; what is left in
 * `dir` then is to be removed. */
int raftlog_restore(const struct raftlog_restore *restore, char *err, size_t err_size);

/* ---- looking
 * -------------------------------------------------------------------------------------------------------- */

struct raftlog_status {
    enum raftlog_role role;
    bool ready; /* leader with a committed entry of its term */
    /* A leader is known and what it has committed is applied here but for the last second at most.  False
     * from the start, and again while no leader is known. */
    bool current;
    uint64_t cluster_id, incarnation;
    uint64_t id, term, leader;
    uint64_t first_index; /* oldest entry in the log */
    uint64_t last_index, stored_index, commit_index, applied_index;
    uint64_t snapshot_index; /* newest durable snapshot */
    uint64_t snapshot_size;
    uint64_t configuration_index;
    bool installing;                      /* a snapshot is being installed */
    uint64_t install_bytes, install_size; /* progress of the pull */
    uint32_t servers_n;
    uint64_t queued_bytes;
    int64_t
        leader_ahead_us; /* newest stamp accepted minus own clock; positive: the leader's clock is ahead */
};
void raftlog_status(const struct raftlog *log, struct raftlog_status *out);

/* One member as this node sees it.  False when `i` >= servers_n. */
struct raftlog_peer {
    uint64_t id;
    char address[128];
    bool voter, self, connected;
    uint64_t match_index; /* leader only, else 0 */
    struct assent_bytes
        advert; /* what it said about itself; empty when never connected; borrowed until the loop turns */
};
bool raftlog_member_at(const struct raftlog *log, uint32_t i, struct raftlog_peer *out);
/* The same by id. */
bool raftlog_peer(const struct raftlog *log, uint64_t id, struct raftlog_peer *out);

/* Counters since start and histograms, for metrics.  Buckets count events with duration <= bound. */
#define RAFTLOG_BUCKETS 16
extern const uint32_t
    raftlog_bucket_us[RAFTLOG_BUCKETS]; /* upper bounds, microseconds; the last is UINT32_MAX */
struct raftlog_histogram {
    uint64_t count, sum_us, bucket[RAFTLOG_BUCKETS];
};
struct raftlog_metrics {
    struct raftlog_histogram disk_commit;   /* group commit: LMDB transaction with sync */
    struct raftlog_histogram quorum_commit; /* propose -> applied, on the leader */
    struct raftlog_histogram read_round;    /* probe rounds */
    uint64_t entries_appended, commands_proposed, commands_applied, bytes_appended, disk_commits;
    uint64_t elections_started, leader_changes, messages_sent, messages_received, messages_refused,
        bytes_sent, bytes_received;
    uint64_t reads, read_rounds, snapshots_taken, snapshots_installed, snapshot_chunks_sent,
        entries_refused_skew;
    uint64_t guard[17]; /* times guard Gn acted, by number (1..16), see guard.h */
};
const struct raftlog_metrics *raftlog_metrics(const struct raftlog *log);

/* Take a snapshot now; `cb` fires with its description (borrowed until return) or an error.  The file stays
 * until two newer snapshots exist. */
struct raftlog_take;
typedef void (*raftlog_take_cb)(struct raftlog_take *req, int status,
                                const struct raftlog_snapshot *snapshot);
struct raftlog_take {
    void *data;
    raftlog_take_cb cb; /* private */
};
int raftlog_take_snapshot(struct raftlog *log, struct raftlog_take *req, raftlog_take_cb cb);
/* Describe the snapshot of this node that ends with entry `index`: its newest or the one before.  False: it
 * has no such snapshot (any more). */
bool raftlog_snapshot_find(const struct raftlog *log, uint64_t index, struct raftlog_snapshot *out);

#endif /* ASSENT_RAFTLOG_H */
