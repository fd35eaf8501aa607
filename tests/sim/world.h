/* A whole cluster in one process and one thread: the production consensus core, state machine and executor on
 * virtual time, with simulated disks, network, clocks, participants and clients; one seed gives one run.
 *
 * Everything that happens is an event of core_cluster; nothing reads a real clock. */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "codec.h"
#include "command.h"
#include "core_cluster.h"
#include "executor.h"
#include "script.h"
#include "statemachine.h"

#define WORLD_NODES_MAX        CLUSTER_NODES_MAX
#define WORLD_CLIENTS_MAX      16
#define WORLD_PARTICIPANTS_MAX 4
#define SIM_TIMERS_MAX         8 /* of one node's executor */

/* What a seed draws: each class of faults is off in half of the runs. */
struct knobs {
    uint64_t seed;
    uint32_t nodes, voters, clients, participants;
    uint32_t spares;            /* ids of servers that may take the place of wiped ones */
    uint32_t chaos_ms, heal_ms; /* virtual time with faults, and at most until everything is done */
    uint32_t think_us_max;      /* a client's pause between two operations */
    uint32_t calm_ms_max;       /* between two rounds of faults */
    /* Nodes. */
    bool crashes;         /* stops, and crashes between two events */
    bool inner_crashes;   /* crashes inside a call into the core: between any two of its effects */
    bool power_cuts;      /* of a majority, or of all at once */
    bool install_crashes; /* of all while one installs a snapshot */
    bool pauses;          /* a node stands still and then goes on, late */
    bool clocks;          /* offset, drift, jumps, standing still */
    bool members;         /* the set of servers changes */
    bool wipes;           /* a machine loses its disk and comes back as a new server; with `members` */
    bool snapshots;
    /* Disks. */
    bool freezes, slow_disks, sync_errors;
    /* Links. */
    bool partitions, swizzles, clogs;
    bool captive;   /* a leader cut off keeps its clients for a while */
    bool core_only; /* only a majority is healed at the end; the others stay dead or cut off for ever */
    uint32_t drop, duplicate, stale, corrupt;                 /* of messages between nodes, per thousand */
    uint32_t reply_lost, late, refuse, error, ongoing, twice; /* of participants' calls, per thousand */
    bool outages;                                             /* participants are away for a while */
    bool wild;               /* faults come thick and fast, logs are short, disks slow */
    uint32_t report_lazy_ms; /* of the executor */
    uint32_t guards_off;     /* see core_config */
    uint32_t kinds;          /* of clients, a bit each */
};
/* The classes of faults: what may be switched off by setting it to zero. */
struct knob_class {
    const char *name;
    size_t offset;
    bool flag; /* of type bool; else uint32_t */
};
extern const struct knob_class knob_classes[];
extern const uint32_t knob_classes_n;
/* The other knobs, all uint32_t. */
struct knob_size {
    const char *name;
    size_t offset;
    uint32_t smallest; /* a run that is shrunk goes down to this; KNOB_FIXED: stays as it is */
};
#define KNOB_FIXED UINT32_MAX
extern const struct knob_size knob_sizes[];
extern const uint32_t knob_sizes_n;
void knobs_draw(struct knobs *k, uint64_t seed);
/* All of them, on one line of stderr. */
void knobs_print(const struct knobs *k);

struct world;

/* ---- a proposal: what came of a command at this node */

typedef void (*propose_cb)(void *data, int status, struct assent_bytes result);

struct proposal {
    struct proposal *next;
    uint64_t index;
    uint32_t slot;
    uint64_t term;
    propose_cb cb;
    void *data;
    struct assent_bytes command; /* owned */
};

/* ---- a node */

struct sim_node {
    struct world *world;
    uint32_t id;
    uv_loop_t loop; /* its timers; nothing of libuv runs */
    uv_timer_t *timers[SIM_TIMERS_MAX];
    uint32_t timers_n;
    struct sm *sm;
    struct executor *executor;
    uint32_t boot; /* grows with each start and stop */
    enum raftlog_role role;
    uint64_t term, leader;
    bool ready;
    bool gone; /* for ever: wiped, or left behind when the others are healed */
    /* Its wall clock: what it showed at some time, and how it goes on. */
    int64_t clock_us, clock_at_us, drift_ppm;
    bool clock_stands;
    uint64_t applied;
    struct proposal *waiting, **waiting_last;   /* in the log or on the way there, in order */
    struct proposal *gathered, **gathered_last; /* of this turn */
    bool flush_due;
    bool tick_proposed;
    int64_t tick_due_us;  /* what the armed timer waits for; INT64_MAX: none */
    uint64_t tick_number; /* of the armed timer */
    uint64_t calls;       /* of the executor, of all boots */
};

/* ---- the world */

struct participant_world;
struct client_world;
struct oracle;

struct world {
    struct knobs knobs;
    struct cluster *cluster;
    struct cluster_app app;
    struct script *script; /* NULL: faults happen as they are drawn */
    uint64_t round;        /* of faults */
    struct sim_node nodes[WORLD_NODES_MAX + 1];
    uint32_t servers;        /* that exist by now */
    uint32_t replaced;       /* the wiped one whose place the newest is to take; 0: none */
    int64_t lead_us, lag_us; /* how far a leader's clock was ahead of time, and behind it, when it stamped */
    uint64_t jumped_us;      /* how far clocks ran ahead of time in all, steps back not counted */
    struct participant_world *participants;
    struct client_world *clients;
    struct oracle *oracle;
    bool chaos;          /* faults may happen */
    bool over;           /* nobody begins anything any more */
    uint32_t captive;    /* the node every client talks to; 0: whichever it likes */
    uint64_t streams[4]; /* numbers drawn, by stream */
    uint64_t faults;     /* applied */
    uint64_t leaders;    /* times a node became leader */
    uint64_t answers;    /* clients got */
    void (*say)(void *data, uint64_t at_us, const char *text);
    void *say_data;
    char why[256];
};

/* What a run was. */
struct world_report {
    bool stuck;     /* it did not finish, nothing wrong was seen */
    uint64_t trace; /* hash of all events: equal for equal runs */
    uint64_t virtual_ms;
    uint64_t transactions, committed, rolled_back, calls, leaders, faults, answers;
};
/* One run; NULL, or what is wrong (valid until the next run). */
const char *world_run(const struct knobs *k, struct world_report *report);
/* The same; faults are noted in `script`, or follow it.  `say` hears of everything that happens, in words;
 * may be NULL. */
const char *world_run_script(const struct knobs *k, struct script *script,
                             void (*say)(void *data, uint64_t at_us, const char *text), void *say_data,
                             struct world_report *report);

/* A number below `n` of a stream of its own, so that one consumer's changes shift no other's. */
enum stream { STREAM_FAULT, STREAM_CLIENT, STREAM_PARTICIPANT, STREAM_CLOCK, STREAM_NR };
uint64_t world_random(struct world *w, enum stream stream, uint64_t n);
/* A fault of chance.  Everything that goes wrong by chance is drawn here or in cluster_chance(), so that runs
 * can be shrunk (script.h). */
bool world_chance(struct world *w, enum stream stream, uint32_t per_thousand);
/* A fault of this round, drawn with STREAM_FAULT, is about to happen: does it?  `what`: in words. */
bool world_fault(struct world *w, const char *what);

/* ---- nodes: sim_node.c */

void sim_nodes_init(struct world *w);
void sim_nodes_close(struct world *w);
struct cluster_app sim_nodes_app(struct world *w);
/* Copies `command`.  ASSENT_OK: `cb` fires exactly once, later; else never. */
int sim_propose(struct sim_node *n, struct assent_bytes command, propose_cb cb, void *data);
/* The time, and what the wall clock of the node shows, microseconds. */
int64_t sim_true_us(const struct world *w);
int64_t sim_wall_us(const struct sim_node *n);
/* It jumps to so much before or behind the right time; runs so many millionths faster; stands still or goes
 * on from where it stood; is set right. */
void sim_clock_step(struct sim_node *n, int64_t us);
void sim_clock_drift(struct sim_node *n, int64_t ppm);
void sim_clock_stands(struct sim_node *n, bool stands);
void sim_clock_right(struct sim_node *n);

/* ---- virtual libuv: sim_uv.c */

/* The loop belongs to a node; timers of an earlier boot never fire. */
void sim_uv_init(uv_loop_t *loop, struct sim_node *node);

/* ---- participants: participants.c */

void participants_init(struct world *w);
void participants_close(struct world *w);
/* A call arrives: what it does and answers.  `status` 0: no answer. */
struct sim_call {
    struct assent_bytes url, xid, branch, op;
    uint64_t token;
    uint32_t attempt;
};
void participants_call(struct world *w, const struct sim_call *call, int *status, const char **body);
/* The application itself tries a branch, as before a begin's commit.  False: refused. */
bool participants_try(struct world *w, struct assent_bytes xid, struct assent_bytes branch, uint32_t which);
/* The local transaction of a message's sender commits.  False: refused, or it was asked for before and
 * barred. */
bool participants_local(struct world *w, struct assent_bytes xid, uint32_t which);
/* Away or back. */
void participants_outage(struct world *w, uint32_t which, bool away);
bool participants_away(const struct world *w, uint32_t which);
/* Everything that stands at a participant agrees with how each transaction ended; NULL or a sentence. */
const char *participants_judge(struct world *w);

/* ---- clients: clients.c */

/* Which kinds a run asks, from some number: each is left out by half of them. */
uint32_t clients_kinds(uint64_t number);
/* The bit of one, which must exist. */
uint32_t clients_kind(const char *name);
void clients_init(struct world *w);
void clients_close(struct world *w);
void clients_start(struct world *w);
/* No new work; true: nothing is under way. */
bool clients_finished(struct world *w);
const char *clients_judge(struct world *w);

/* ---- the oracle: oracle.c */

void oracle_init(struct world *w);
void oracle_close(struct world *w);
void oracle_event(struct world *w, const struct sm_event *event);
void oracle_applied(struct world *w, uint32_t node, uint64_t index, uint64_t digest);
/* How a transaction ended; NULL: it has not. */
const char *oracle_status(struct world *w, struct assent_bytes xid);
/* Somebody was told this status of the transaction. */
void oracle_told(struct world *w, struct assent_bytes xid, const char *status);
uint32_t oracle_unfinished(struct world *w);
/* Some of them on stderr. */
void oracle_print_unfinished(struct world *w);
void oracle_report(struct world *w, struct world_report *report);

#endif /* TESTS_SIM_WORLD_H */
