/* The claims every SQL database has to meet, over a small table of what differs between them. */
#ifndef GUARD_SQL_H
#define GUARD_SQL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "assent/guard.h"

struct guard_sql {
    void *(*connect)(void); /* never NULL */
    void (*disconnect)(void *conn);
    void (*exec)(void *conn, const char *sql); /* fails the test on an error */
    long (*number)(void *conn, const char *sql);
    int (*create)(void *conn, const char *barrier, const char *branch, struct assent_guard_result *result);
    int (*enter)(void *conn, struct assent_guard_call *call, struct assent_guard_result *result);
    int (*branch)(void *conn, const struct assent_guard_call *call, struct assent_guard_result *result);
    int (*outcome)(void *conn, const struct assent_guard_call *call, uint32_t wait_ms,
                   struct assent_guard_result *result);
    int (*prepared)(void *conn, const struct assent_guard_call *call, uint32_t wait_ms,
                    struct assent_guard_result *result);
    const char *xa_begin, *xa_prepare, *xa_commit, *xa_rollback; /* whole texts, several statements by ';' */
};

/* Run them all; returns cmocka's count of failures. */
int guard_sql_run(const struct guard_sql *sql);

#endif /* GUARD_SQL_H */
