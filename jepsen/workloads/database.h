/* Databases of the judge's own, with prepared transactions: PostgreSQL and MariaDB, each in a private folder,
 * on a unix socket, gone with the judge.
 *
 * Each holds accounts, and a marker for every transaction: a row written with the effect (it stands), or in
 * its place by a rollback that found nothing to roll back, so that what is prepared too late cannot be
 * (docs/transactions.md, XA).  Thread-safe. */
#ifndef JEPSEN_DATABASE_H
#define JEPSEN_DATABASE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DATABASE_ACCOUNTS 24
#define DATABASE_INITIAL  100

enum database_kind { DATABASE_POSTGRESQL, DATABASE_MARIADB };
enum database_answer {
    DATABASE_DONE,
    DATABASE_REFUSED, /* for good, nothing stays */
    DATABASE_UNKNOWN  /* ask again */
};
struct database;

/* NULL: `why` names what is missing, or what went wrong. */
struct database *database_open(enum database_kind kind, char *why, size_t why_size);
void database_close(struct database *d);
/* Struck down, and started again; it answers when this returns. */
void database_crash(struct database *d);

/* Prepare a branch: `account` changes by `amount`, and does not fall below zero. */
enum database_answer database_prepare(struct database *d, const char *xid, int account, int64_t amount);
/* The second phase. */
enum database_answer database_finish(struct database *d, const char *xid, bool commit);
/* {"balances": [...], "stand": [xid, ...], "prepared": [xid, ...]}, a new reference; NULL: it does not
 * answer. */
json_t *database_state(struct database *d);

/* What differs.  A connection is a void pointer; `sql` may hold several statements where it says so. */
struct database_kind_of {
    const char *server, *init, *package, *user;
    void *(*connect)(const char *socket); /* NULL: it does not answer */
    void (*disconnect)(void *connection);
    /* One statement.  0: done; else one of DATABASE_E...; rows (may be NULL) get one text each. */
    int (*run)(void *connection, const char *sql, json_t *rows);
    const char *settings;                            /* of each connection */
    const char *begin, *prepare, *commit, *rollback; /* with %s for the xid */
    const char *prepared;                            /* lists what is prepared */
};
enum {
    DATABASE_EOTHER = 1, /* broken connection, lock wait, deadlock, ...: nothing is known */
    DATABASE_EREFUSED,   /* an error of the statement: the transaction cannot go on */
    DATABASE_EXISTS,     /* the key is there */
    DATABASE_ENOTHERE    /* no such prepared transaction */
};
extern const struct database_kind_of database_pq, database_mariadb;

#endif
