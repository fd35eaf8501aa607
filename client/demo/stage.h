/* A demonstration that runs: what it says and claims, the cluster it talks to, its participants.
 *
 * Every claim it prints is checked; the exit code is 0 only if all held. */
#ifndef DEMO_STAGE_H
#define DEMO_STAGE_H

#include <sys/types.h>

#include "demo.h"

#define STAGE_PEERS_MAX   4
#define STAGE_EFFECTS_MAX 8
#define STAGE_ERROR_MAX   512

struct stage;

/* One demonstration: a row of the table in plays.c. */
struct play {
    const char *name, *what;
    struct {
        const char *kind, *name, *accounts;
        const char *gate; /* this operation waits at its gate when the leader is to be killed; or NULL */
    } peers[STAGE_PEERS_MAX];
    /* Up to the moment the coordinator goes on alone: sets `xid`. */
    bool (*act)(struct stage *s);
    const char *held;   /* peer in the middle of whose call the leader is killed; NULL: right behind act */
    const char *absent; /* peer that is down when act returns, and comes back; or NULL */
    bool outage;        /* it goes down before act, and for the time of --down */
    const char *end;    /* status */
    const char *effects[STAGE_EFFECTS_MAX]; /* "bank-a debit confirm": all guard rows in the end */
    struct {
        const char *account;
        int amounts, pieces; /* its change: times the amount, or pieces */
    } changes[4];
};

struct stage_options {
    const char *endpoints, *state, *ctl;
    long long amount, down_s;
    long patience_ms; /* for one step */
    bool kill_leader;
};

struct stage {
    const struct play *play;
    struct stage_options o;
    struct endpoints cluster;
    struct peer peers[STAGE_PEERS_MAX];
    char dir[64];
    char xid[160];
    long long leader_before, leader_after, term_before, term_after;
    uint32_t wrong; /* claims that did not hold */
    int64_t started_ms;
};

__attribute__((format(printf, 2, 3))) void say(const struct stage *s, const char *format, ...);
/* Gives `holds` back. */
__attribute__((format(printf, 3, 4))) bool claim(struct stage *s, bool holds, const char *format, ...);

long long stage_number(const json_t *object, const char *key);
const char *stage_text(const json_t *object, const char *key);

/* A POST to the cluster; takes `body`.  False: claimed wrong.  `*data` is the caller's. */
bool stage_post(struct stage *s, const char *path, json_t *body, json_t **data);
/* Likewise, and nothing in the answer matters but its `xid`, which becomes the stage's. */
bool stage_submit(struct stage *s, const char *path, json_t *body);
/* GET /transaction/{xid}; NULL: no answer. */
json_t *stage_transaction(struct stage *s, const char *xid);
/* Now, in microseconds since 1970: for names that nobody had before. */
long long stage_now_us(void);
/* Wait until it has the status; the transaction as it is then, NULL when patience ends. */
json_t *stage_wait(struct stage *s, const char *xid, const char *status);

/* Start all participants of the play. */
bool stage_peers_start(struct stage *s);
/* Start one (again). */
bool stage_peer_start(struct stage *s, struct peer *p);
struct peer *stage_peer(struct stage *s, const char *name);
json_t *stage_peer_get(const struct peer *p, const char *path);
/* Takes `body`; `error` (STAGE_ERROR_MAX) says what came back. */
bool stage_peer_post(const struct peer *p, const char *path, json_t *body, char *error);
/* Calls that wait at its gate; -1: no answer. */
long long stage_held(const struct peer *p);

/* Who leads; false: nobody does. */
bool stage_leader_find(struct stage *s);
/* SIGKILL to the leader; waits for the next one. */
bool stage_leader_kill(struct stage *s);
/* Start the killed node again. */
void stage_leader_restart(struct stage *s);

#endif /* DEMO_STAGE_H */
