/* A database server of the test's own: private folder, unix socket, no port, gone with the test. */
#ifndef GUARD_SERVER_H
#define GUARD_SERVER_H

#include <sys/types.h>

struct guard_server {
    char dir[64];     /* everything of it, the socket included */
    char socket[128]; /* the socket's path (PostgreSQL: its folder) */
    pid_t pid;
};

enum guard_server_kind { GUARD_SERVER_POSTGRESQL, GUARD_SERVER_MARIADB, GUARD_SERVER_REDIS };

/* Start one; it may not answer yet.  Ends the test program as skipped (77), with the package's name, when the
 * server is not installed, and as failed when it does not start. */
void guard_server_start(struct guard_server *s, enum guard_server_kind kind);
/* Call between attempts to connect: waits 20 ms; ends the program when the server died or took 60 s. */
void guard_server_wait(struct guard_server *s);
/* Kill it and remove its folder. */
void guard_server_stop(struct guard_server *s);

#endif /* GUARD_SERVER_H */
