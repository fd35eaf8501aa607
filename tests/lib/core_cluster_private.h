/* What the parts of core_cluster share.  Private.
 *
 *   core_cluster.c         life of the cluster and its nodes, what clients ask of them
 *   core_cluster_events.c  virtual time: the heap of events, and what each does
 *   core_cluster_disk.c    simulated disks
 *   core_cluster_net.c     simulated links
 *   core_cluster_stand.c   nodes that stand still: paused, or waiting for their vote to be durable
 *   core_cluster_watch.c   the application of hashes, and the oracles
 *   core_cluster_look.c    what tests look at
 *   core_cluster_say.c     events in words */
#ifndef TESTS_CORE_CLUSTER_PRIVATE_H
#define TESTS_CORE_CLUSTER_PRIVATE_H

#include "core_cluster.h"

#define READS_MAX 65536

/* Streams of numbers, so that one consumer's changes shift no other's. */
enum stream_of_cluster { STREAM_WORK, STREAM_NET, STREAM_DISK, STREAM_NODE, CLUSTER_STREAM_NR };

struct disk_op {
    enum { OP_APPEND, OP_INSTALL, OP_RECORD, OP_COMPACT, OP_VOTE } kind;
    uint64_t index; /* first index; COMPACT: through; VOTE: term */
    uint64_t vote;
    struct entry **entries;
    uint32_t n;
    struct snapshot_manifest manifest;
};

/* What the disk has to say to the loop, which may not listen for a while. */
struct disk_report {
    bool due, failed, voted;
    uint64_t appended, appended_term; /* 0: none */
    struct snapshot_manifest installed, recorded[8];
    bool has_installed;
    uint32_t recorded_n;
};

struct disk {
    uint64_t term, vote;
    bool has_snapshot;
    struct snapshot_manifest snapshot;
    uint64_t base; /* entries base+1 .. base+n */
    struct entry **entries;
    uint64_t n, capacity;
    struct disk_op *queue; /* not durable yet, in order */
    uint32_t queued, queue_capacity;
    uint32_t committing; /* ops of the commit under way */
    bool frozen;
    uint32_t slow;    /* times slower than others; 0: as others */
    bool fails_next;  /* the next commit ends with an error */
    bool broken;      /* one has: nothing more is written */
    bool blank;       /* wiped: no copy of anything, for ever */
    uint32_t commits; /* ended */
    struct disk_report report;
};

/* A frame that waits for the vote it depends on. */
struct letter {
    uint32_t to, size;
    uint8_t *bytes;
};

struct link {
    bool cut;               /* what is sent is lost */
    uint32_t connection;    /* grows when it breaks: what was under way is lost */
    uint64_t down_until_us; /* it is being made again */
    uint64_t clog_until_us; /* what is sent arrives later */
};

struct event;
struct node {
    struct cluster *cluster;
    uint32_t id;
    char address[32];
    struct core *core;
    uint32_t boot;
    uint32_t election_ms;
    struct disk disk;
    /* Its own monotonic clock. */
    int32_t rate_ppm;
    uint64_t local_us, local_at_us; /* what it said, and when */
    /* The application: a hash chain over what was applied. */
    uint64_t applied, hash;
    bool clean;
    uint64_t snapshot_asked; /* index of the newest snapshot begun */
    bool fetching;
    struct snapshot_manifest fetch;
    uint64_t tick_at_us;
    uint64_t ticks;
    uint64_t seen_commit;
    bool seen_leader;
    uint64_t seen_configuration;
    uint32_t seen_voters; /* bit i: node i votes */
    uint64_t guards[17];
    struct link links[CLUSTER_NODES_MAX + 1]; /* links[to] */
    /* Standing still. */
    bool paused; /* the whole process */
    bool waits;  /* its loop, until the vote is durable */
    struct event *backlog;
    uint32_t backlog_n, backlog_capacity;
    struct letter *outbox;
    uint32_t outbox_n, outbox_capacity;
    /* Dying inside a call. */
    uint32_t fuse; /* effects until then; 0: none */
    bool dead;     /* no effect of it happens any more; it is taken down when the call returns */
};

enum event_kind {
    EV_TICK,
    EV_FRAME,
    EV_DISK,
    EV_FETCHED,
    EV_INSTALLED,
    EV_DUMPED,
    EV_CALL,
    EV_REPORT,
    EV_THAW,
};

struct event {
    uint64_t at_us, seq;
    enum event_kind kind;
    uint32_t node, boot;
    uint32_t from; /* FRAME, FETCHED */
    /* FRAME */
    uint32_t size, connection;
    bool damaged;
    uint8_t *bytes;
    struct snapshot_manifest manifest;
    cluster_call_fn call; /* of CALL */
    void *data;
    uint64_t arg;
};

struct committed {
    uint64_t term, hash;
    uint32_t crc;
    uint64_t in_term; /* of the node that applied it first: committed in this term or before */
};

struct read_record {
    uint32_t node, boot;
    uint64_t floor;
    bool done;
};

struct cluster {
    struct cluster_options o;
    struct node nodes[CLUSTER_NODES_MAX + 1];
    uint64_t now_us, seq, random[CLUSTER_STREAM_NR];
    bool chaos;
    uint32_t refused, accepts; /* commands of whose terms are not admitted, except by whom */
    struct event *heap;
    uint32_t heap_n, heap_capacity;
    struct committed *committed; /* by index */
    uint64_t committed_n, committed_capacity;
    uint64_t proven;   /* every index up to it was on a majority of disks when it was committed */
    uint32_t *leaders; /* by term */
    uint64_t leaders_capacity;
    struct read_record *reads;
    uint32_t reads_n, reads_done;
    uint32_t members_n, members_done;
    int member_status;
    uint64_t messages[16];
    uint64_t broken_links, inner_crashes, disk_errors; /* that happened */
    struct assent_bytes bootstrap;
    uint64_t trace;
    uint64_t chances; /* drawn by cluster_chance() */
    bool failed;
    char failure[512];
};

/* ---- core_cluster.c */

void fail(struct cluster *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
uint64_t mix(uint64_t x);
/* A number below `n` of this stream. */
uint64_t draw(struct cluster *c, enum stream_of_cluster stream, uint64_t n);
uint64_t between(struct cluster *c, enum stream_of_cluster stream, uint64_t low, uint64_t high);
void *grown(void *array, size_t n, size_t size);
struct node *node_of(const struct cluster *c, uint32_t id);
struct snapshot_manifest manifest_copy(const struct snapshot_manifest *m);
void manifest_free(struct snapshot_manifest *m);
/* What the node's monotonic clock says. */
uint64_t local_us(const struct node *n);
uint64_t local_ms(const struct node *n);
/* Does the next effect of this node happen?  Asked once before each of them. */
bool lives(struct node *n);
/* Take it down with the process: `survive` more ops of its queue are durable. */
void take_down(struct cluster *c, struct node *n, uint32_t survive);
void app_close(struct cluster *c, struct node *n, bool clean);

/* ---- core_cluster_events.c */

/* The event of this node's present boot; the caller fills in the rest at once. */
struct event *schedule(struct cluster *c, uint64_t after_us, enum event_kind kind, const struct node *n);
void event_free(struct event *e);

/* ---- core_cluster_say.c */

/* This event, in words; nothing when nobody listens. */
void say_event(struct cluster *c, const struct event *e);
/* This message arrives at the node. */
void say_message(struct cluster *c, uint32_t node, const struct message *m);

/* ---- core_cluster_disk.c: effects of a core, as struct core_io has them */

struct entry *disk_entry(const struct disk *d, uint64_t index);
/* Drop what is at or above `first`. */
void disk_cut(struct disk *d, uint64_t first);
/* Takes. */
void disk_put(struct disk *d, struct entry *e);
/* Make one op durable. */
void op_perform(struct cluster *c, struct node *n, struct disk_op *op);
void disk_kick(struct cluster *c, struct node *n);
/* Room for one more op at the end of the queue. */
struct disk_op *disk_queue(struct node *n);
/* Forget the first so many ops. */
void disk_shift(struct disk *d, uint32_t done);
int io_persist_vote(void *data, uint64_t term, uint64_t vote);
void io_append(void *data, uint64_t first, struct entry *const *entries, uint32_t count);
void io_install(void *data, const struct snapshot_manifest *manifest);
void io_compact(void *data, uint64_t index);
bool io_newest_snapshot(void *data, struct snapshot_manifest *out);
void io_stage(void *data, uint64_t from, const struct snapshot_manifest *manifest);

/* A commit ends. */
void disk_commit_ends(struct cluster *c, struct node *n);
void report_clear(struct disk_report *r);

/* ---- core_cluster_net.c */

void io_send(void *data, uint64_t to, const char *address, const struct message *message);
/* Send the frame as the network is.  Takes `bytes`. */
void link_send(struct node *n, uint32_t to, uint8_t *bytes, uint32_t size);
/* A frame arrives. */
void link_deliver(struct cluster *c, struct node *n, struct event *e);

/* ---- core_cluster_stand.c */

/* Does the node's loop stand still?  Then what happens to it happens later. */
bool stands(const struct node *n);
/* Keep the event (taken) until the node goes on. */
void stand_defer(struct node *n, const struct event *e);
/* The vote is durable: what depends on it leaves, and the loop goes on. */
void stand_voted(struct cluster *c, struct node *n);
/* The process is gone, and what waited for it. */
void stand_forget(struct cluster *c, struct node *n);

/* ---- core_cluster_watch.c */

void io_apply(void *data, struct entry *const *entries, uint32_t count);
bool io_admit(void *data, const struct entry *entry);
void io_servers(void *data, const struct raft_configuration *configuration);
void io_role(void *data, enum raftlog_role role, uint64_t term, uint64_t leader, bool ready);
void io_read_done(void *data, uint64_t read_id, int status, uint64_t index, uint64_t term, bool local);
void io_member_done(void *data, uint64_t member_id, int status, const char *detail);
void io_event(void *data, int level, const char *event, const char *details);
/* What a message says of term, vote and log must be durable where it comes from. */
void watch_leaving(struct cluster *c, struct node *n, uint32_t to, const struct message *m);
/* After every call into a core: oracles, a snapshot if one is due, the next tick; or its end. */
void after(struct cluster *c, struct node *n);

#endif /* TESTS_CORE_CLUSTER_PRIVATE_H */
