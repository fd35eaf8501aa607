/* A deterministic cluster of consensus cores in one process: virtual time, seeded faults, simulated disks and
 * network, and oracles that watch every step.
 *
 * Nothing here reads a clock or sleeps: the same options give the same run.  An oracle that fails stops the
 * run and leaves a sentence in cluster_failure().  Node ids are 1 .. nodes. */
#ifndef TESTS_CORE_CLUSTER_H
#define TESTS_CORE_CLUSTER_H

#include <stdbool.h>
#include <stdint.h>

#include "core.h"

#define CLUSTER_NODES_MAX 9

/* An application beside the chain of hashes every node keeps.  Each callback may be NULL.  Nodes hold what
 * `open` made until `close`. */
struct cluster_app {
    void *data;
    /* The node starts and holds everything up to `applied`: as it was left (`kept`), or from its own snapshot
     * of that index (0: none). */
    void (*open)(void *data, uint32_t node, uint64_t applied, bool kept);
    void (*close)(void *data, uint32_t node, bool clean);
    void (*apply)(void *data, uint32_t node, struct entry *const *entries, uint32_t n);
    /* Keep the state as it is now as the node's snapshot of `index`; forget its snapshots before `forget`. */
    void (*dump)(void *data, uint32_t node, uint64_t index, uint64_t forget);
    /* The node has fetched `from`'s snapshot of `index`; later: take it as the state. */
    void (*fetched)(void *data, uint32_t node, uint32_t from, uint64_t index);
    void (*restore)(void *data, uint32_t node, uint64_t index);
    void (*role)(void *data, uint32_t node, enum raftlog_role role, uint64_t term, uint64_t leader,
                 bool ready);
    bool (*admit)(void *data, uint32_t node, const struct entry *entry);
    /* The node begins to install this snapshot: it is not durable yet. */
    void (*installing)(void *data, uint32_t node, uint64_t index);
    /* `term`: of the leader that confirmed it; `local`: the node itself. */
    void (*read_done)(void *data, uint32_t node, uint64_t read, int status, uint64_t term, bool local);
};

struct cluster_options {
    const struct cluster_app *app; /* NULL: none; borrowed */
    uint64_t seed;
    uint32_t nodes;  /* servers that exist */
    uint32_t voters; /* the first so many are bootstrapped as voters, the others wait to be added */
    uint32_t heartbeat_ms, election_ms;
    uint32_t inflight_entries, trailing;
    uint64_t uncommitted_max;
    uint32_t guards_off;     /* see core_config */
    uint32_t snapshot_every; /* applied entries between snapshots of a node; 0: none */
    /* Faults of the network, per thousand messages, while cluster_chaos() is on. */
    uint32_t drop, duplicate, stale;
    uint32_t corrupt;                /* frames whose bytes are damaged: the connection is closed */
    uint32_t net_us_min, net_us_max; /* delay of a message; stale ones take up to `stale_us_max` */
    uint32_t stale_us_max;
    uint32_t disk_us_min, disk_us_max; /* duration of a group commit */
    uint32_t fetch_us_max;             /* duration of fetching a snapshot */
    /* Who watches the run, or gives it another course; each may be NULL. */
    void *watch_data;
    /* Fault of chance number n (1, 2, ...; cluster_chance()) was drawn so: does it happen? */
    bool (*decide)(void *data, uint64_t n, bool drawn);
    /* Something happened, in words. */
    void (*say)(void *data, uint64_t at_us, const char *text);
};
/* A well-behaved network of `nodes` voters. */
void cluster_options_init(struct cluster_options *o, uint32_t nodes, uint64_t seed);

struct cluster;
struct cluster *cluster_new(const struct cluster_options *options);
/* Nothing may be running any more; frees everything. */
void cluster_close(struct cluster *c);
/* Sentence of the first oracle that failed, or NULL. */
const char *cluster_failure(const struct cluster *c);

/* ---- disks before the start: what a node holds when it boots */
void cluster_disk_vote(struct cluster *c, uint32_t id, uint64_t term, uint64_t vote);
/* A command entry of `term` at the end of its log; equal (index, term) have equal content. */
void cluster_disk_entry(struct cluster *c, uint32_t id, uint64_t term);

/* ---- nodes */
void cluster_start(struct cluster *c, uint32_t id);
void cluster_start_all(struct cluster *c);
/* Power cut: a random prefix of what is queued to the disk survives, the application's state does not. */
void cluster_crash(struct cluster *c, uint32_t id);
/* As a crash, but later and inside a call into the core or the report of a commit: before the so-many-th of
 * the node's effects from now (a write, a message, an apply, ...); 1: before the next one. */
void cluster_crash_inside(struct cluster *c, uint32_t id, uint32_t effects);
/* Clean stop: the queue is written, the application's state is kept. */
void cluster_stop(struct cluster *c, uint32_t id);
bool cluster_up(const struct cluster *c, uint32_t id);
/* Stop and continue the process: its timers are late then, and what was sent to it waits for it. */
void cluster_pause(struct cluster *c, uint32_t id, bool paused);
bool cluster_paused(const struct cluster *c, uint32_t id);
/* Its monotonic clock runs so many millionths faster than time. */
void cluster_rate(struct cluster *c, uint32_t id, int32_t ppm);
/* Applies at the next start of the node. */
void cluster_election_ms(struct cluster *c, uint32_t id, uint32_t election_ms);
struct core *cluster_core(struct cluster *c, uint32_t id);

/* ---- disks */

/* Freeze or thaw a node's disk: nothing becomes durable meanwhile. */
void cluster_freeze_disk(struct cluster *c, uint32_t id, bool frozen);
/* Frozen for so long. */
void cluster_stall_disk(struct cluster *c, uint32_t id, uint64_t us);
/* Commits take so many times as long as elsewhere. */
void cluster_slow_disk(struct cluster *c, uint32_t id, uint32_t times);
/* The next commit fails.  As in the product nothing is written from then on, and the process ends as soon as
 * it hears of it; whether the commit is there after a restart is chance. */
void cluster_fail_disk(struct cluster *c, uint32_t id);
/* The node, which is down, loses everything for ever.  It must not be started again. */
void cluster_wipe_disk(struct cluster *c, uint32_t id);

/* ---- network: one-way links, all open at first */
void cluster_cut(struct cluster *c, uint32_t from, uint32_t to, bool cut);
void cluster_isolate(struct cluster *c, uint32_t id, bool cut);
/* A link is so slow that what is sent now and later arrives after this time only. */
void cluster_clog(struct cluster *c, uint32_t from, uint32_t to, uint64_t us);
void cluster_heal(struct cluster *c);
/* Random faults on or off. */
void cluster_chaos(struct cluster *c, bool on);
/* Deliver this message now, whatever the network is like. Borrows. */
void cluster_deliver(struct cluster *c, uint32_t to, const struct message *m);
/* The others, but for `except`, do not admit commands of terms that node `id` leads, as if its clock ran
 * ahead; 0: nobody's. */
void cluster_refuse(struct cluster *c, uint32_t id, uint32_t except);

/* ---- time */
uint64_t cluster_now_ms(const struct cluster *c);
void cluster_run(struct cluster *c, uint64_t ms);
/* Run until `done` holds or `ms` have passed; false: it never held. */
bool cluster_run_until(struct cluster *c, bool (*done)(struct cluster *c, void *arg), void *arg, uint64_t ms);

/* Call `fn` after so many microseconds, whatever happens to nodes meanwhile. */
typedef void (*cluster_call_fn)(void *data, uint64_t arg);
void cluster_at(struct cluster *c, uint64_t after_us, cluster_call_fn fn, void *data, uint64_t arg);
/* The same at a node: it waits while the node stands still. */
void cluster_at_node(struct cluster *c, uint32_t id, uint64_t after_us, cluster_call_fn fn, void *data,
                     uint64_t arg);
uint64_t cluster_now_us(const struct cluster *c);
/* Fail the run, as an oracle does. */
void cluster_fail(struct cluster *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A line for whoever watches (cluster_options.say). */
void cluster_say(struct cluster *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A hash of every event so far: equal runs have equal ones. */
uint64_t cluster_trace(const struct cluster *c);

/* ---- clients */
/* Submit one entry (taken); `*index` on success.  As core_submit(). */
int cluster_submit_entry(struct cluster *c, uint32_t id, struct entry *entry, uint64_t *index);
/* Submit n commands of random content at a node; as core_submit(). */
int cluster_submit(struct cluster *c, uint32_t id, uint32_t n);
/* Begin a read; the oracle checks its index when it ends. As core_read(). */
int cluster_read(struct cluster *c, uint32_t id);
/* The number the next read will have. */
uint64_t cluster_read_next(const struct cluster *c);
int cluster_member(struct cluster *c, uint32_t id, enum raftlog_change change, uint64_t target);
/* Reads that ended well, and member requests that ended, with the status of the last one. */
uint32_t cluster_reads_done(const struct cluster *c);
uint32_t cluster_members_done(const struct cluster *c, int *status);

/* ---- looking */
/* The ready leader of the highest term, 0: none. */
uint32_t cluster_leader(const struct cluster *c);
struct raftlog_status cluster_status(const struct cluster *c, uint32_t id);
/* One line per node on stderr. */
void cluster_print(const struct cluster *c);
/* Index that every running member of the leader's configuration has applied; 0 without a leader. */
uint64_t cluster_applied_everywhere(const struct cluster *c);
/* Highest index applied anywhere, and the term of the entry there. */
uint64_t cluster_committed(const struct cluster *c);
uint64_t cluster_committed_term(const struct cluster *c, uint64_t index);
uint64_t cluster_messages(const struct cluster *c, enum raft_message_type type);
uint64_t cluster_ticks(const struct cluster *c, uint32_t id);
/* Counters of guard n over all nodes. */
uint64_t cluster_guard(const struct cluster *c, uint32_t n);
/* Every majority of the voters in force must hold what is committed; fails the run if not. */
void cluster_check_durable(struct cluster *c);
struct cluster_faults {
    uint64_t broken_links, inner_crashes, disk_errors;
};
/* Faults that took effect. */
struct cluster_faults cluster_faults(const struct cluster *c);
uint64_t cluster_random(struct cluster *c, uint64_t below);
/* A fault that happens so many times in a thousand.  Everything that goes wrong by chance is drawn here. */
bool cluster_chance(struct cluster *c, uint32_t per_thousand);

#endif /* TESTS_CORE_CLUSTER_H */
