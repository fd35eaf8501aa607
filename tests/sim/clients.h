/* Clients of the simulation: what the files of their kinds share.
 *
 * A *kind* is a row of functions that plays one script.  A client plays one script at a time: it sends a
 * request to whatever node it likes, repeats it under the same Idempotency-Key until somebody answers, and
 * gives the answer to its kind, which sends the next, waits, or is done. */
#ifndef TESTS_SIM_CLIENTS_H
#define TESTS_SIM_CLIENTS_H

#include "world.h"

#define XID_BYTES 32

struct client;

struct client_kind {
    const char *name;
    uint32_t weight; /* how often it is drawn */
    /* Begin a script; ends with client_send() or client_later(). */
    void (*begin)(struct client *c);
    /* The request was answered: client_send(), client_later() or client_done() follows. */
    void (*answered)(struct client *c, const struct result *r);
    /* At the end of a run: NULL, or what is wrong (written into `why`).  May be NULL. */
    const char *(*judge)(struct world *w, char *why, size_t size);
};
/* clients_transactions.c */
extern const struct client_kind client_saga, client_tcc, client_message, client_execute;
/* clients_clocks.c */
extern const struct client_kind client_sequence, client_lamport;

struct client {
    struct world *world;
    uint32_t id;
    const struct client_kind *kind; /* NULL: it thinks */
    int step;                       /* of its kind; part of the key */
    uint32_t serial;                /* of scripts */
    uint32_t letter;                /* of sendings: an answer to an earlier one is late */
    uint32_t turn;                  /* of waits: an earlier one is over */
    bool answered;
    char xid[XID_BYTES], key[XID_BYTES];
    uint32_t branches, tried;
    bool commit;
    void (*later)(struct client *c);
    struct codec_writer command;
};

/* Open a command of `n` fields under a key of its own; they follow in c->command. */
void client_head(struct client *c, uint32_t type, uint32_t n);
/* Send what is written until it is answered. */
void client_send(struct client *c);
/* Go on with `fn` after a while. */
void client_later(struct client *c, uint64_t us, void (*fn)(struct client *c));
/* The script is over. */
void client_done(struct client *c);

/* A number below `n` of the clients' stream. */
uint64_t client_random(struct client *c, uint64_t n);
/* How long it takes to reach somebody. */
uint64_t client_delay_us(struct client *c);
struct assent_bytes client_text(const char *s);

/* What the clocks' kinds know together; a part of the clients' world. */
struct clocks_world;
struct clocks_world *clients_clocks(struct world *w);
struct clocks_world *clocks_new(void);

#endif /* TESTS_SIM_CLIENTS_H */
