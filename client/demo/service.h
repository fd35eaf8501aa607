/* What every participant of the demonstrations is: an HTTP server over a ledger, with a gate.
 *
 *   GET  /accounts  what each account holds      GET /ledger?xid=  the guard rows: what was called how often
 *   GET  /gate      {"closed","waiting"}         POST /gate {"closed":"confirm"}, or "" to open it
 *
 * A closed gate makes the calls of one operation wait, so that a demonstration can act in the middle of one.
 * A thread per connection, so that a waiting call holds up nobody; the ledger orders what they do.
 *
 *     assent-demo KIND --listen HOST:PORT --data DIR [--name NAME] [--accounts alice=100000,...] [--gate OP]
 */
#ifndef DEMO_SERVICE_H
#define DEMO_SERVICE_H

#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "ledger.h"

struct service;

/* One request; borrowed.  `xid`, `branch` and `op` are the coordinator's headers, NULL where absent. */
struct service_call {
    struct service *service;
    const char *xid, *branch, *op;
    const char *token;
    const json_t *body; /* NULL: not a JSON object */
};
struct service_reply {
    int status;
    json_t *body; /* taken */
};
struct service_reply service_failed(int status, const char *why);
/* 200, or 409 with `why` for a refusal. */
struct service_reply service_outcome(enum ledger_outcome outcome, const char *why);
/* A name a ledger takes. */
bool service_name_ok(const char *name);

/* The coordinator's second call of a branch: confirm, cancel or compensate. */
struct service_reply service_settle(const struct service_call *call, enum ledger_op op);
/* Its first one, by headers, or an application's own, by `xid` and `branch` in the body: `amount` onto the
 * account. */
struct service_reply service_act(const struct service_call *call, const char *account, long long amount);

struct service_route {
    const char *method, *path;
    enum ledger_op op; /* waits at the gate while that is closed; 0: never waits */
    struct service_reply (*run)(const struct service_call *call);
};

struct service {
    const char *kind, *unit; /* "bank", "cents" */
    const struct service_route *routes;
    size_t routes_n;
    bool stateless; /* without a ledger: --data and --accounts are unknown */
    /* A further option; false: unknown.  May be NULL. */
    bool (*option)(struct service *s, const char *name, const char *value);
    void *data;            /* of option and routes */
    struct ledger *ledger; /* private from here on */
    const char *host, *port, *dir, *accounts, *name;
    char listen[128];
    pthread_mutex_t mutex; /* of the gate */
    pthread_cond_t changed;
    char closed[16]; /* operation that waits; "": none */
    uint32_t waiting;
};

/* Serve until SIGTERM; the exit code.  Prints "NAME listens on HOST:PORT" once it does. */
int service_main(struct service *s, int argc, char **argv);

#endif /* DEMO_SERVICE_H */
