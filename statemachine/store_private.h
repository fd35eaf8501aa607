/* What store.c and store_dump.c share: the handles of the environment. */
#ifndef STATEMACHINE_STORE_PRIVATE_H
#define STATEMACHINE_STORE_PRIVATE_H

#include <lmdb.h>

#include "store.h"

struct store_txn {
    struct store *store;
    MDB_txn *mdb;
    bool write;
    struct store_place place;
    uint64_t digest;
};

struct store {
    MDB_env *env;
    char *dir;
    MDB_dbi tables[STORE_TABLE_NR];
    uint64_t writes[STORE_TABLE_NR];
    struct store_txn writer; /* the one write transaction */
    bool writing;
};

/* This replica cannot go on: say why and abort. */
void store_broken(const char *what, int rc) __attribute__((noreturn));

/* Fill place and digest from META.  False: a row this version does not know. */
bool store_place_read(struct store_txn *txn);

#endif /* STATEMACHINE_STORE_PRIVATE_H */
