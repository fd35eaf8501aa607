/* What the parts of assent-bench share: options, histogram, results, a local cluster.  Nothing here is
 * shipped. */
#ifndef TESTS_ASSENT_BENCH_H
#define TESTS_ASSENT_BENCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define BENCH_ENDPOINTS_MAX   16
#define BENCH_CONNECTIONS_MAX 4096
#define BENCH_PIPELINE_MAX    65536
#define BENCH_SECONDS_MAX     600
#define BENCH_KILLS_MAX       1000
#define BENCH_RUNS_MAX        25
#define BENCH_NODES           3

struct bench_options {
    const char *endpoints; /* "127.0.0.1:8080,..."; loopback only */
    const char *op;        /* of http and native */
    const char *assentd;   /* program of local clusters */
    uint32_t connections, pipeline, count, kills, runs;
    uint32_t transactions; /* of txn: end after so many, 0: by time; of backlog and listing: how many */
    double seconds, warmup_seconds;
    bool json;
    bool spread; /* use the endpoints as they are, do not look for the leader */
    bool keep;   /* keep the directory of a local cluster */
    bool verbose;
};

/* Set by SIGINT and SIGTERM; every loop looks at it. */
bool bench_stopped(void);
/* Monotonic nanoseconds. */
uint64_t bench_now(void);
/* Sleep, or return early when stopped. */
void bench_sleep_ms(uint32_t ms);
/* Print to stderr and exit by the ordinary way, so that what was started is stopped. */
void bench_die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* ---- latencies: log-linear buckets, 64 to a power of two, so within 1.6 % of the value ---- */

#define HISTOGRAM_SUB_BITS 6
struct histogram {
    uint64_t n, max;
    uint64_t buckets[(64 - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS];
};
void histogram_add(struct histogram *h, uint64_t ns);
/* The value that a share `q` (0..1] of all lies at or below; 0 when empty. */
uint64_t histogram_at(const struct histogram *h, double q);

/* ---- a measurement ---- */

struct bench_result {
    uint64_t done;   /* operations answered with success while measuring */
    uint64_t units;  /* what `per_second` counts: operations, or timestamps */
    uint64_t errors; /* answers that are no success, and lost connections */
    double seconds, per_second;
    struct histogram latency;
};
void bench_print(const struct bench_options *o, const char *what, const struct bench_result *r);

void bench_http(const struct bench_options *o, struct bench_result *r);
void bench_native(const struct bench_options *o, struct bench_result *r);
void bench_tso(const struct bench_options *o, struct bench_result *r);

/* ---- addresses ---- */

struct bench_address {
    char text[64]; /* host:port */
};
/* Take a list apart; dies unless every host is 127.0.0.0/8, ::1 or localhost. */
uint32_t bench_addresses(const char *list, struct bench_address *out);
/* Choose `n` free ports on loopback. */
void bench_free_addresses(struct bench_address *out, int n);
/* Remove a folder and what is in it. */
void bench_remove(const char *dir);
/* Connect, blocking, TCP_NODELAY; -1: refused. */
int bench_connect(const char *address);
/* One HTTP request on a connection of its own.  The status, 0: no answer within the time; the body's start,
 * terminated, goes to `body`. */
int bench_request(const char *address, const char *method, const char *path, const char *content,
                  uint32_t timeout_ms, char *body, size_t body_size);
/* The HTTP address of the leader among the endpoints, waiting up to `wait_ms`; false: there is none. */
bool bench_leader(const struct bench_address *endpoints, uint32_t n, uint32_t wait_ms, uint64_t *id,
                  struct bench_address *out);

/* ---- a cluster of our own on free loopback ports, in a temporary directory; gone when the program ends ----
 */

struct bench_cluster {
    struct {
        pid_t pid; /* 0: not running */
        struct bench_address raft, http, native;
    } nodes[BENCH_NODES];
    char dir[128];
    char http_list[256], native_list[256];
};
/* Start and wait until all three answer and agree on a leader; dies when they do not within 30 s. */
struct bench_cluster *cluster_start(const struct bench_options *o);
void cluster_stop(struct bench_cluster *c);
/* Place of the leader in `nodes`; waits up to `wait_ms`; -1: none. */
int cluster_leader(struct bench_cluster *c, uint32_t wait_ms);
void cluster_kill(struct bench_cluster *c, int node); /* SIGKILL, and wait for its end */
void cluster_restart(struct bench_cluster *c, int node);
/* Wait until the node is ready (leader known, log near the leader's). */
bool cluster_wait_ready(struct bench_cluster *c, int node, uint32_t wait_ms);
/* Resident memory of a node in bytes, all and without mapped files. */
uint64_t cluster_resident(const struct bench_cluster *c, int node, uint64_t *anonymous);

/* ---- a participant: a process of its own that answers every call with an empty 200 ---- */

struct participant;
/* Choose its address; it is down. */
struct participant *participant_new(void);
void participant_up(struct participant *p);
/* Kill it; who calls is refused the connection. */
void participant_down(struct participant *p);
void participant_free(struct participant *p);
const char *participant_address(const struct participant *p);
pid_t participant_pid(const struct participant *p);
/* Calls it has answered; those whose path begins with the number of `client`. */
uint64_t participant_calls(const struct participant *p);
uint32_t participant_calls_of(const struct participant *p, uint32_t client);

/* ---- transactions: from the first request to the answer that says COMMITTED ---- */

struct txn_result {
    struct bench_result r;
    /* Per finished transaction of the whole load, warm-up included: growth of the log's index, commands
     * applied, questions for the status, and processor time of the leader, the two followers, the participant
     * and the load itself. */
    double entries, commands, questions;
    double leader_us, followers_us, participant_us, load_us;
    double others; /* share of the machine that was busy with something else: 0.1 spoils a figure */
};
/* `o->op` of `o->connections` clients, each one transaction at a time.  A transaction that is counted in `r`
 * was seen COMMITTED; the coordinator's own counts are compared with that afterwards. */
void bench_txn(const struct bench_options *o, struct bench_cluster *c, struct participant *p,
               struct txn_result *out);
void bench_txn_print(const struct bench_options *o, const struct txn_result *t);
/* Entries and commands that a transaction of this kind may cost at most when 64 clients share them. */
void bench_txn_limits(const char *op, double *entries, double *commands);

/* Transactions that wait for a participant which is down, due all the time, and others beside them. */
struct backlog_result {
    double accepted_per_second;
    double worked_off_s;                          /* from the participant's return to the last one's end */
    struct bench_result beside_down, beside_back; /* the others, while it is down and after it came back */
    uint64_t resident, anonymous;                 /* of the leader at its largest */
    uint64_t left;                                /* not finished when patience ended */
};
/* `o->transactions` of them. */
void bench_backlog(const struct bench_options *o, struct bench_cluster *c, struct backlog_result *out);
/* Median time of a page by status among `o->transactions` finished ones, the slower of two statuses: of all
 * of them, of none. */
double bench_listing(const struct bench_options *o, struct bench_cluster *c, struct txn_result *filled,
                     double *worst_ms);

/* ---- the peer: three etcd members on free loopback ports, when the program is installed ---- */

bool etcd_installed(void);
/* Start them and wait for a leader; false: there was none in time. */
bool etcd_start(struct bench_address *leader);
void etcd_stop(void);

/* Time from SIGKILL of the leader to the first write that another node acknowledged, `o->kills` times. */
void bench_failover(const struct bench_options *o, struct bench_cluster *c, struct bench_result *r);
/* Largest resident memory of the three nodes after `o->seconds` without any request. */
uint64_t bench_idle(const struct bench_options *o, struct bench_cluster *c, uint64_t *anonymous);
/* The table of figures; false: a target was missed. */
bool bench_all(const struct bench_options *o);
/* Its rows of transactions alone. */
bool bench_transactions(const struct bench_options *o);

#endif /* TESTS_ASSENT_BENCH_H */
