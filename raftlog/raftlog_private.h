/* What the files of the glue share: struct raftlog, and how its parts call each other.
 *
 *   raftlog.c           begin, stop and close, status
 *   raftlog_turn.c      effects out to the application, once per turn of the loop; the core's timer
 *   raftlog_io.c        disk and peers into the core, the core to disk and peers
 *   raftlog_open.c      configuration, identity, bootstrap, start, recovery
 *   raftlog_propose.c   commands into entries, committed entries into the application
 *   raftlog_read.c      linearizable reads
 *   raftlog_snapshot.c  take, serve, pull, install, clean up
 *
 * One rule keeps this simple: the application is never called from inside the core.  What the core wants done
 * (apply, role, reads, membership) is queued as an *effect* and drained once per turn of the loop, in order;
 * so a callback may call any function of raftlog.h. */
#ifndef RAFTLOG_PRIVATE_H
#define RAFTLOG_PRIVATE_H

#include "core.h"
#include "disk.h"
#include "raftlog.h"
#include "snapshot.h"
#include "stamp.h"
#include "transport.h"

/* ---- effects ---- */

enum effect_kind { EFFECT_APPLY, EFFECT_ROLE, EFFECT_READ, EFFECT_MEMBER };

struct effect {
    enum effect_kind kind;
    int status;
    union {
        uint32_t entries_n; /* APPLY: the next n of effects.entries */
        struct {
            enum raftlog_role role;
            bool ready;
            uint64_t term, leader;
        } role;
        struct {
            uint64_t group, index, term;
            bool local;
        } read;
        struct {
            uint64_t id;
            char *detail; /* ours */
        } member;
    };
};

/* Two queues in arrays that start over whenever they run empty; no allocation in the steady state. */
struct effects {
    struct effect *items;
    uint32_t head, n, capacity;
    struct entry **entries;
    uint32_t entries_head, entries_n, entries_capacity;
    uint64_t entries_bytes; /* of those that wait */
};

/* ---- proposals ---- */

struct proposal_list {
    struct raftlog_propose *head, **tail;
};

/* An entry of ours on its way through the quorum. */
struct flight {
    uint64_t index, term;
    uint64_t staged_us; /* when its first command came */
    uint32_t bytes;
};

struct proposals {
    struct proposal_list staged; /* wait for the end of the turn, or for a free place in the pipeline */
    uint8_t *bytes;              /* their commands, end to end */
    size_t bytes_used, bytes_capacity;
    uint32_t *sizes;
    uint32_t n, capacity;
    uint64_t staged_us;
    struct assent_bytes *batch; /* scratch, ASSENT_ENTRY_COMMANDS_MAX */

    struct proposal_list pending; /* in the log, by index and slot */
    struct flight *flights;       /* ring, capacity a power of two */
    uint32_t flights_head, flights_n, flights_capacity;
    uint64_t flight_bytes;
    int64_t stamp_us;          /* newest stamp given or seen */
    uint64_t lost_deadline_ms; /* leadership was lost: pending ones wait no longer than this; 0: not lost */

    struct raftlog_command *commands; /* scratch of apply */
    uint32_t commands_capacity;
};

/* ---- reads ---- */

/* All reads of one turn: one round of the core. */
struct read_group {
    struct read_group *next, **link;
    struct raftlog_read *head, **tail;
    uint64_t started_us, deadline_ms;
};

/* ---- snapshots ---- */

#define TAKES_MAX  16
#define SERVES_MAX 8

struct own_manifest {
    bool present;
    struct snapshot_manifest m;
    uint8_t *configuration; /* ours; m.configuration points here */
};

struct snapshots {
    struct snapshot_dir dir;
    struct own_manifest newest;       /* durable and recorded */
    struct raftlog_snapshot previous; /* the one before, whose file is kept too; index 0: none */
    uint64_t log_bytes, log_entries;  /* applied since */
    uint64_t apply_us;                /* what applying them took: a restart takes as long */
    uint64_t dump_us;                 /* what the last dump took */
    /* taking one */
    struct dump *dump;
    struct own_manifest recording;         /* dumped, on its way into the disk's queue */
    struct raftlog_take *takes[TAKES_MAX]; /* who waits for the dump under way */
    uint32_t takes_n;
    uint64_t failed_ms; /* last failed try; the next automatic one waits */
    /* pulling one */
    struct snapshot_pull *pull;
    uint64_t pull_from, pull_asked_ms, pull_offset;
    bool pull_asked, pull_finishing, pull_abandoned;
    /* installing one */
    struct own_manifest installing;
    bool install_recorded; /* the log is replaced; the application is not yet */
    bool restoring;
    /* serving */
    uint32_t serves_n;
    uint64_t pinned_index, pinned_until_ms;
    uint64_t taken, installed, chunks_sent;
};

/* ---- the whole ---- */

struct raftlog {
    uv_loop_t *loop;
    struct raftlog_config config; /* strings are ours */
    struct raftlog_app app;
    char *dir, *cluster_name, *listen, *address;
    uint8_t *advert;
    uint64_t cluster_id, incarnation;
    struct core *core;
    struct disk *disk;
    struct transport *transport;
    uv_timer_t timer; /* the core's deadline */
    uv_timer_t housekeeping;
    uv_timer_t closer; /* makes raftlog_close() asynchronous */
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle; /* keeps the loop turning while effects wait */
    uint64_t timer_ms;
    uint32_t handles; /* of the above, open */
    uint32_t jobs;    /* on the thread pool */
    bool turning, opened;
    bool stopped; /* the core or the disk failed, or we are closing */
    bool broken_told;
    char *broken; /* why, until the application was told */
    bool closing, transport_open, disk_started, disk_open;
    void (*closed)(void *data);
    void *closed_data;

    struct effects effects;
    struct proposals proposals;
    struct read_group *groups, *open_group;
    struct raftlog_member *member; /* the change under way */
    struct snapshots snapshots;

    /* As the application was told last. */
    enum raftlog_role role;
    uint64_t term, leader;
    bool ready;
    uint64_t applied_index;
    uint64_t servers[ASSENT_NODES_MAX];
    uint32_t servers_n;
    /* How far behind the leader's commit index we are, in time. */
    bool current;
    uint64_t mark_index, mark_ms; /* where it stood then; applied here when we reach it; 0: nothing waits */
    bool no_space;
    struct stamp stamp;
    bool stepped; /* the wall clock is away from it */
    uint64_t skew_event_ms;
    int64_t leader_ahead_us;
    struct raftlog_metrics metrics;
};

/* raftlog.c */
uint64_t log_now_ms(void);
uint64_t log_now_us(void);
/* Time to stamp entries with and to judge a leader's stamps by. */
int64_t log_stamp_us(struct raftlog *log);
void log_event(struct raftlog *log, int level, const char *event, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The log cannot go on; the application is told at the end of the turn. */
void log_break(struct raftlog *log, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Look at what a core function returned that may only succeed. */
void log_check(struct raftlog *log, int rv);
void log_histogram(struct raftlog_histogram *h, uint64_t us);
void log_job_done(struct raftlog *log);
/* Everybody who waits gets `status`; proposals that are in the log get `pending_status`. */
void log_fail_all(struct raftlog *log, int status, int pending_status);
void log_stop_transport(struct raftlog *log);
/* Start handles and timers. */
void log_begin(struct raftlog *log);
void log_free(struct raftlog *log);

/* raftlog_turn.c */
void log_turn(struct raftlog *log);
bool effects_empty(const struct raftlog *log);
/* May the core hand out more committed entries? */
bool effects_room(const struct raftlog *log);
struct effect *effect_add(struct raftlog *log, enum effect_kind kind);
/* Queue committed entries; takes references. */
void effects_add_entries(struct raftlog *log, struct entry *const *entries, uint32_t n);
void effects_close(struct raftlog *log);

/* raftlog_io.c */
struct core_io log_core_io(struct raftlog *log);
void log_disk_callbacks(struct raftlog *log, struct disk_callbacks *out);
/* The cluster id is known: tell the application. */
void log_cluster_known(struct raftlog *log);
void log_transport_callbacks(struct raftlog *log, struct transport_callbacks *out);

/* raftlog_propose.c */
int proposals_init(struct proposals *p);
void proposals_close(struct proposals *p);
/* Staged commands into the core, unless the pipeline is full and waiting makes better batches. */
void proposals_flush(struct raftlog *log);
/* Fail what is staged and pending. */
void proposals_fail(struct raftlog *log, int staged_status, int pending_status);
/* Leadership changed. */
void proposals_role(struct raftlog *log, bool lost);
void proposals_housekeeping(struct raftlog *log, uint64_t now_ms);
/* Everything up to `index` was replaced by a snapshot. */
void proposals_installed(struct raftlog *log, uint64_t index);
/* Apply the next `n` queued entries, or some of them; returns how many. */
uint32_t apply_some(struct raftlog *log, struct entry *const *entries, uint32_t n);
bool apply_admits(struct raftlog *log, const struct entry *e);

/* raftlog_read.c */
void reads_flush(struct raftlog *log);
void reads_done(struct raftlog *log, const struct effect *e);
void reads_fail(struct raftlog *log, int status);
void reads_housekeeping(struct raftlog *log, uint64_t now_ms);

/* raftlog_snapshot.c */
bool own_manifest_set(struct own_manifest *own, const struct snapshot_manifest *m);
void own_manifest_clear(struct own_manifest *own);
void snapshots_applied(struct raftlog *log, const struct entry *e);
/* Once per turn: start what waits for the effects to be drained. */
void snapshots_turn(struct raftlog *log);
void snapshots_housekeeping(struct raftlog *log, uint64_t now_ms);
void snapshots_recorded(struct raftlog *log);
void snapshots_install(struct raftlog *log, const struct snapshot_manifest *m);
void snapshots_log_replaced(struct raftlog *log);
void snapshots_stage(struct raftlog *log, uint64_t from, const struct snapshot_manifest *m);
void snapshots_serve(struct raftlog *log, const struct message *m);
void snapshots_chunk(struct raftlog *log, const struct message *m);
void snapshots_fail(struct raftlog *log, int status);
void snapshots_close(struct raftlog *log);
void snapshot_describe(const struct raftlog *log, const struct snapshot_manifest *m,
                       struct raftlog_snapshot *out);

#endif /* RAFTLOG_PRIVATE_H */
