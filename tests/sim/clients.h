/* Clients of the simulation: what the files of their kinds share.
 *
 * A *kind* is a row of functions that plays one script.  A client plays one script at a time: it sends a
 * request to whatever node it likes, repeats it under the same Idempotency-Key until somebody answers, and
 * gives the answer to its kind, which sends the next, waits, or is done.  Answers to repetitions that come
 * later must be the same (C18 of the specification).
 *
 * A *helper* is a client that plays one script and is gone: a participant's acknowledgement, another run of a
 * workflow. */
#ifndef TESTS_SIM_CLIENTS_H
#define TESTS_SIM_CLIENTS_H

#include "asked.h"
#include "world.h"

#define XID_BYTES 48

struct client;

struct client_kind {
    const char *name;
    uint32_t weight; /* how often it is drawn; 0: helpers only */
    /* Begin a script; ends with client_send(), client_later() or client_done(). */
    void (*begin)(struct client *c);
    /* The request was answered: client_send(), client_later() or client_done() follows. */
    void (*answered)(struct client *c, const struct result *r);
    /* At the end of a run: NULL, or what is wrong (written into `why`).  May be NULL. */
    const char *(*judge)(struct world *w, char *why, size_t size);
};
/* clients_transactions.c */
extern const struct client_kind client_saga, client_tcc, client_message, client_execute;
/* clients_operator.c */
extern const struct client_kind client_operator, client_status;
extern const struct client_kind client_asynchronous, client_workflow, client_nested, client_freeze;
extern const struct client_kind client_business;
/* clients_clocks.c */
extern const struct client_kind client_sequence, client_lamport, client_timestamp;
/* clients_vectors.c */
extern const struct client_kind client_vector, client_version;
extern const struct client_kind client_tso;
/* clients_sessions.c */
extern const struct client_kind client_session;

/* How a request travels. */
enum road {
    ROAD_LOG,  /* a command: through the leader's log */
    ROAD_READ, /* a query: any node, behind a round that confirms the leader */
    ROAD_TSO   /* timestamps: the leader alone, from its window (clients_tso.c) */
};

struct client {
    struct world *world;
    uint32_t id;
    bool helper;
    const struct client_kind *kind; /* NULL: it thinks, or is gone */
    int step;                       /* of its kind */
    uint32_t serial;                /* of scripts */
    uint32_t requests;              /* of this script */
    uint32_t letter;                /* of sendings: an answer to an earlier one is late */
    uint32_t turn;                  /* of waits: an earlier one is over */
    enum road road;
    bool repeatable; /* a repetition is answered as before */
    bool answered;
    uint32_t again_from; /* first letter of the request that was answered last */
    uint64_t answer;     /* hash of that answer */
    uint64_t sent_us;    /* this request, first */
    char xid[XID_BYTES], key[XID_BYTES];
    uint32_t branches, tried;
    bool commit;
    struct asked *asked; /* the transaction of this script */
    void *script;        /* see client_script() */
    void (*later)(struct client *c);
    struct codec_writer command;
    struct client *next; /* of helpers */
};

/* Zeroed memory of this script, freed when it is done. */
void *client_script(struct client *c, size_t size);
/* Open a command of `n` fields under a key of its own, or a query; they follow in c->command. */
void client_head(struct client *c, uint32_t type, uint32_t n);
void client_query(struct client *c, uint32_t type, uint32_t n);
/* Send what is written until it is answered. */
void client_send(struct client *c);
/* Go on with `fn` after a while. */
void client_later(struct client *c, uint64_t us, void (*fn)(struct client *c));
/* The script is over. */
void client_done(struct client *c);
/* A helper begins this script; the caller has filled `xid` and `script` of what it gives before anything
 * happens. */
struct client *client_helper(struct world *w, const struct client_kind *kind, struct assent_bytes xid);

/* What participants start: clients_asynchronous.c, clients_workflow.c. */
void client_acknowledge(struct world *w, struct assent_bytes xid, struct assent_bytes branch, bool success);
void client_workflow_again(struct world *w, struct assent_bytes xid);

/* An application does a step of its workflow at its participant, or takes it back; false: refused. */
bool participants_step(struct world *w, struct assent_bytes xid, struct assent_bytes branch, bool back);

/* When a branch was confirmed first; 0: it was not. */
uint64_t participants_confirmed_us(struct world *w, struct assent_bytes xid, struct assent_bytes branch);

/* A number below `n` of the clients' stream. */
uint64_t client_random(struct client *c, uint64_t n);
/* How long it takes to reach somebody. */
uint64_t client_delay_us(struct client *c);
struct assent_bytes client_text(const char *s);
/* The text of a pair of an answer, with a 0 behind; "" when it is not there. */
const char *client_word(const struct result *r, const char *pair, char *out, size_t size);
uint64_t client_number(const struct result *r, const char *pair);

/* ---- what all transactions' kinds need: clients_transactions.c */

/* Names of a new transaction, whose begin goes out now: fills c->xid, c->branches, c->asked. */
void transaction_new(struct client *c, char letter, enum asked_mode mode, uint64_t timeout_ms);
/* The URL of a branch's operation. */
void transaction_url(struct client *c, uint32_t branch, const char *op);
/* The fields every begin has in front. */
void transaction_fields(struct client *c);
/* The branches of a TCC, and n nils. */
void transaction_branches(struct client *c);
void transaction_nils(struct client *c, uint32_t n);
/* Send a command that names the transaction alone. */
void transaction_decide(struct client *c, uint32_t type);
/* The answer to a begin: it cannot be refused. */
void transaction_begun(struct client *c, const struct result *r);
/* The answer to a decision.  True: it waits for an operator or for what is nested in it: ask again. */
bool transaction_decided(struct client *c, const struct result *r);
/* What an answer says of its status. */
void transaction_told(struct client *c, const struct result *r);

/* A request for timestamps at a node whose leadership in `term` a round has confirmed just now; `local`: its
 * own. Writes the answer when it is OK. */
int client_timestamps(struct world *w, uint32_t node, uint64_t term, bool local, struct assent_bytes request,
                      struct codec_writer *out);

/* Zeroed memory of a kind for the whole run; always the same, without pointers of its own. */
void *clients_room(struct world *w, const struct client_kind *kind, size_t size);
/* Ask a node's state when all is over (closes `query`); false: no answer one can read. */
bool clients_ask(struct world *w, uint32_t node, struct codec_writer *query, struct codec_arena *arena,
                 struct result *result);
struct asked_world *clients_asked(struct world *w);

#endif /* TESTS_SIM_CLIENTS_H */
