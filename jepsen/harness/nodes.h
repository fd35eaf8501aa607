/* The cluster under test: processes of assentd, each in a network namespace and on a disk of its own where
 * that is wanted and possible.
 *
 * Nothing has to be cleaned up, also after SIGKILL of the judge: the network stands in a namespace without a
 * name, disks are deleted files mounted where only the judge and its nodes see them, and the nodes die with
 * the judge; the kernel takes all of it down when the last of these processes has ended. */
#ifndef JEPSEN_NODES_H
#define JEPSEN_NODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define NODES_MAX 7

/* What a run's faults need. */
#define SUT_NETWORK 1u  /* a namespace per node, on a bridge */
#define SUT_SWITCH  2u  /* on a switch of the judge's own instead (with SUT_NETWORK) */
#define SUT_DISKS   4u  /* an ext4 per node */
#define SUT_CLOCKS  8u  /* libfaketime */
#define SUT_TRACE   16u /* strace, to make calls of a node slow */

/* What the nodes are told, for faults that aim at it. */
#define SUT_ELECTION_MS 300
#define SUT_SKEW_MS     500 /* what they tolerate between their clocks */

struct tap_switch;

struct sut_node {
    uint32_t id;
    pid_t pid; /* 0: not running */
    bool paused;
    char host[32]; /* where clients and peers reach it */
    char base[64]; /* "http://host:port" */
    char dir[320], log[320];
    int ns;    /* descriptor of its network namespace; -1: ours */
    int loop;  /* descriptor of the loop device under its directory; -1: none */
    bool join; /* enters a running cluster */
    uint16_t raft, http, rpc;
    char faketime[320]; /* file with the offset of its clock; "": its clock is true */
    uint64_t started_ms;
    pid_t tracer;    /* strace that makes it slow; 0: none */
    int exit_status; /* how it ended by itself: status, or 256 + number of a signal; -1: it did not */
};

struct sut {
    uint32_t n;                           /* nodes that clients ask */
    struct sut_node nodes[NODES_MAX + 1]; /* the one behind them comes and goes by changes of membership */
    uint32_t next_id;
    char dir[256];
    char program[256];              /* assentd */
    unsigned wants;                 /* SUT_...: what there is */
    uint32_t snapshot_entries;      /* a snapshot after so many entries of the log; 0: as the product likes */
    bool cut[NODES_MAX][NODES_MAX]; /* what is cut now */
    int own_ns;                     /* the judge's namespace, while others are entered; -1: none */
    struct tap_switch *fabric;
};

/* Choose addresses, make directories and what is wanted of SUT_...  Before any thread is started: it enters
 * namespaces.  False: `why` says what is missing. */
bool sut_open(struct sut *s, uint32_t n, const char *dir, const char *program, unsigned wants, char *why,
              size_t why_size);
/* Ends everything and takes the network down.  Safe at any time, also from an exit handler. */
void sut_close(struct sut *s);

bool sut_start(struct sut *s, uint32_t i);
void sut_kill(struct sut *s, uint32_t i); /* SIGKILL, and gone */
/* SIGTERM, and gone: how it ended, as sut_exit_status(); -1: only by SIGKILL after ten seconds. */
int sut_stop(struct sut *s, uint32_t i);
/* Wait until the node ends by itself: its exit status (256 + number of a signal), or -1: it lives on. */
int sut_exit_status(struct sut *s, uint32_t i, uint64_t timeout_ms);
void sut_pause(struct sut *s, uint32_t i, bool on);
/* What `from` sends to `to` vanishes. */
void sut_cut(struct sut *s, uint32_t from, uint32_t to, bool cut);
void sut_heal(struct sut *s);
/* Set the node's clock apart by so many milliseconds; from there on it goes `rate` times as fast as the true
 * one.  Its monotonic clock stays true. */
void sut_clock(struct sut *s, uint32_t i, int64_t offset_ms, double rate);
/* Index of the node that says it leads, -1: none answers so. */
int sut_leader(struct sut *s);
/* Wait until somebody leads and all running nodes know it; false after `timeout_ms`. */
bool sut_settled(struct sut *s, uint64_t timeout_ms);
/* A node with a fresh id, an empty directory and `--join` in the place behind the others: its index.  And its
 * end, directory included. */
uint32_t sut_join(struct sut *s);
void sut_leave(struct sut *s);
/* Nodes that died by themselves since the last call: a bit each.  `exit_status` says how. */
uint32_t sut_dead(struct sut *s);

/* ---- network.c ---- */
bool network_up(struct sut *s, char *why, size_t why_size);
void network_down(struct sut *s);
void network_enter(int ns); /* for this thread, until another call */
void network_cut(struct sut *s, uint32_t from, uint32_t to, bool cut);
/* How many of `n` datagrams from one node to another arrive within `wait_ms` after the last; with `first_us`,
 * how long the first took (may be NULL). */
uint32_t network_probe(struct sut *s, uint32_t from, uint32_t to, uint32_t n, int wait_ms,
                       uint64_t *first_us);

/* ---- tracer.c: system calls of a running node, made slow from outside ---- */
bool tracer_there(char *why, size_t why_size);
/* Each of the named calls ("fdatasync,pwrite64") that the node makes from now on takes `delay_us` longer;
 * with `every` only each so-manieth (0: all).  Back when it is in force; false: the node cannot be traced. */
bool tracer_slow(struct sut *s, uint32_t i, const char *calls, uint32_t delay_us, uint32_t every);
void tracer_end(struct sut *s, uint32_t i); /* safe when there is none */

/* ---- disks.c ---- */
bool disks_up(struct sut *s, char *why, size_t why_size);
void disks_down(struct sut *s);
/* The power of the disk goes: what was not synced is lost, and nothing can be written any more. */
bool disk_cut(struct sut *s, uint32_t i);
/* ... and it comes back.  No process may have it open. */
bool disk_again(struct sut *s, uint32_t i);

/* Run a command of words, in a network namespace unless `ns` is -1; its exit status. */
int sut_command(int ns, const char *format, ...) __attribute__((format(printf, 2, 3)));
uint64_t sut_now_ms(void);
void sut_nap(long ms);

#endif
