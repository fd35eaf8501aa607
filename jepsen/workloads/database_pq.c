/* PostgreSQL, as database.h wants it. */
#include <libpq-fe.h>
#include <stdio.h>
#include <string.h>

#include "database.h"

/* A server that is struck down says so to everybody. */
static void say_nothing(void *user, const char *message)
{
    (void)user;
    (void)message;
}

static void *pq_connect(const char *socket)
{
    char text[256];
    snprintf(text, sizeof text, "host=%s user=judge dbname=postgres connect_timeout=3", socket);
    PGconn *c = PQconnectdb(text);
    PQsetNoticeProcessor(c, say_nothing, NULL);
    if (PQstatus(c) == CONNECTION_OK)
        return c;
    PQfinish(c);
    return NULL;
}

static void pq_disconnect(void *c)
{
    PQfinish(c);
}

static int error_of(const PGresult *r)
{
    static const struct {
        const char *state;
        int error;
    } states[] = {
        {"42704", DATABASE_ENOTHERE}, /* undefined_object */
        {"23505", DATABASE_EXISTS},   /* unique_violation */
        {"23514", DATABASE_EREFUSED}, /* check_violation */
    };
    const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
    for (size_t i = 0; state != NULL && i < sizeof states / sizeof states[0]; i++)
        if (strcmp(state, states[i].state) == 0)
            return states[i].error;
    return DATABASE_EOTHER;
}

static int pq_run(void *c, const char *sql, json_t *rows)
{
    PGresult *r = PQexec(c, sql);
    ExecStatusType status = PQresultStatus(r);
    int e = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK ? 0 : error_of(r);
    /* A failed transaction is rolled back by its PREPARE, and that is no error. */
    if (e == 0 && strncmp(sql, "prepare", 7) == 0 && strcmp(PQcmdStatus(r), "PREPARE TRANSACTION") != 0)
        e = DATABASE_EREFUSED;
    for (int i = 0; e == 0 && rows != NULL && i < PQntuples(r); i++)
        json_array_append_new(rows, json_string(PQgetvalue(r, i, 0)));
    PQclear(r);
    return e;
}

const struct database_kind_of database_pq = {
    .server = "postgres",
    .init = "initdb",
    .package = "postgresql",
    .user = "postgres",
    .connect = pq_connect,
    .disconnect = pq_disconnect,
    .run = pq_run,
    .settings = "set lock_timeout = 700",
    .begin = "begin",
    .prepare = "prepare transaction '%s'",
    .commit = "commit prepared '%s'",
    .rollback = "rollback prepared '%s'",
    .prepared = "select gid from pg_prepared_xacts order by gid",
};
