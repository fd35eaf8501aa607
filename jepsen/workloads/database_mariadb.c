/* MariaDB, as database.h wants it. */
#include <mysql.h>
#include <stdlib.h>

#include "database.h"

static void *maria_connect(const char *socket)
{
    MYSQL *c = mysql_init(NULL);
    unsigned timeout_s = 3;
    if (c == NULL)
        return NULL;
    mysql_options(c, MYSQL_OPT_CONNECT_TIMEOUT, &timeout_s);
    if (mysql_real_connect(c, NULL, "root", NULL, NULL, 0, socket, 0) != NULL)
        return c;
    mysql_close(c);
    return NULL;
}

static void maria_disconnect(void *c)
{
    mysql_close(c);
}

static int error_of(unsigned number)
{
    switch (number) {
    case 1397: /* XAER_NOTA */
        return DATABASE_ENOTHERE;
    case 1062: /* duplicate entry */
        return DATABASE_EXISTS;
    case 4025: /* CHECK constraint */
        return DATABASE_EREFUSED;
    default:
        return DATABASE_EOTHER;
    }
}

/* XA RECOVER tells lengths and bytes; all others one column. */
static void take_row(MYSQL_RES *r, MYSQL_ROW row, json_t *rows)
{
    unsigned long *lengths = mysql_fetch_lengths(r);
    bool recovered = mysql_num_fields(r) == 4;
    size_t n = recovered ? (size_t)atoi(row[1]) : lengths[0];
    json_array_append_new(rows, json_stringn(row[recovered ? 3 : 0], n));
}

static int maria_run(void *c, const char *sql, json_t *rows)
{
    if (mysql_query(c, sql) != 0)
        return error_of(mysql_errno(c));
    MYSQL_RES *r = mysql_store_result(c);
    if (r == NULL)
        return mysql_field_count(c) == 0 ? 0 : DATABASE_EOTHER;
    for (MYSQL_ROW row = mysql_fetch_row(r); rows != NULL && row != NULL; row = mysql_fetch_row(r))
        take_row(r, row, rows);
    mysql_free_result(r);
    return 0;
}

const struct database_kind_of database_mariadb = {
    .server = "mariadbd",
    .init = "mariadb-install-db",
    .package = "mariadb-server-core mariadb-client-core",
    .user = "mysql",
    .connect = maria_connect,
    .disconnect = maria_disconnect,
    .run = maria_run,
    .settings = "set innodb_lock_wait_timeout = 1",
    .begin = "xa start '%s'",
    .prepare = "xa prepare '%s'",
    .commit = "xa commit '%s'",
    .rollback = "xa rollback '%s'",
    .prepared = "xa recover",
};
