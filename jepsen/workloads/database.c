/* Databases of the judge's own; see database.h. */
#include "database.h"

#include <glob.h>
#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define START_S 60

struct database {
    const struct database_kind_of *kind;
    bool mariadb;
    char dir[64], socket[96], program[256], init[256];
    pid_t pid; /* 0: not running */
    /* Who starts it must live as long as the judge, since the server dies with the thread that started it. */
    pthread_t keeper;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool keeps, wanted, closing;
};

static void nap_ms(uint32_t ms)
{
    nanosleep(&(struct timespec){ms / 1000, (long)(ms % 1000) * 1000000}, NULL);
}

/* ---- the server ---- */

static bool find(const char *name, char path[256])
{
    static const char *const places[] = {"/usr/lib/postgresql/*/bin/", "/usr/bin/", "/usr/sbin/"};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        char pattern[128];
        glob_t found = {.gl_pathc = 0};
        snprintf(pattern, sizeof pattern, "%s%s", places[i], name);
        bool yes = glob(pattern, 0, NULL, &found) == 0 && found.gl_pathc > 0;
        if (yes)
            snprintf(path, 256, "%s", found.gl_pathv[found.gl_pathc - 1]);
        globfree(&found);
        if (yes)
            return true;
    }
    return false;
}

/* Servers refuse to run as root: the user their package made, or nobody. */
static const struct passwd *who(const struct database *d)
{
    if (geteuid() != 0)
        return NULL;
    const struct passwd *user = getpwnam(d->kind->user);
    return user != NULL ? user : getpwnam("nobody");
}

static pid_t spawn(const struct database *d, const char *path, char *const argv[])
{
    const struct passwd *user = who(d);
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    char log[96];
    snprintf(log, sizeof log, "%s/log", d->dir);
    if (user != NULL && (setgroups(0, NULL) != 0 || setgid(user->pw_gid) != 0 || setuid(user->pw_uid) != 0))
        _exit(127);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setpgid(0, 0); /* the terminal's Ctrl-C is for the judge */
    if (freopen(log, "a", stdout) == NULL || freopen(log, "a", stderr) == NULL || chdir(d->dir) != 0)
        _exit(127);
    execv(path, argv);
    _exit(127);
}

static pid_t spawn_server(struct database *d)
{
    char data[96], socket[112];
    snprintf(data, sizeof data, d->mariadb ? "--datadir=%s/data" : "%s/data", d->dir);
    snprintf(socket, sizeof socket, d->mariadb ? "--socket=%s" : "%s", d->socket);
    char *pq[] = {d->program,
                  "-D",
                  data,
                  "-k",
                  socket,
                  "-h",
                  "",
                  "-c",
                  "max_prepared_transactions=500",
                  "-c",
                  "shared_buffers=16MB",
                  NULL};
    char *maria[] = {d->program,
                     "--no-defaults",
                     data,
                     socket,
                     "--skip-networking",
                     "--innodb-buffer-pool-size=16M",
                     "--innodb-use-native-aio=0", /* a machine has only so many contexts of it for all */
                     "--max-connections=300",
                     "--pid-file=pid",
                     NULL};
    return spawn(d, d->program, d->mariadb ? maria : pq);
}

static void *keep(void *user)
{
    struct database *d = user;
    pthread_mutex_lock(&d->lock);
    while (!d->closing) {
        if (d->wanted) {
            d->pid = spawn_server(d);
            d->wanted = false;
            pthread_cond_broadcast(&d->changed);
        } else {
            pthread_cond_wait(&d->changed, &d->lock);
        }
    }
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

static void start(struct database *d)
{
    pthread_mutex_lock(&d->lock);
    d->wanted = true;
    pthread_cond_broadcast(&d->changed);
    while (d->wanted)
        pthread_cond_wait(&d->changed, &d->lock);
    pthread_mutex_unlock(&d->lock);
}

static void keeper_end(struct database *d)
{
    if (!d->keeps)
        return;
    pthread_mutex_lock(&d->lock);
    d->closing = true;
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
    pthread_join(d->keeper, NULL);
}

/* Starts it until it answers: after a crash the old one's memory may be in the way for a while. */
static void *answers(struct database *d)
{
    for (int i = 0; i < START_S * 20; i++) {
        if (d->pid > 0 && waitpid(d->pid, NULL, WNOHANG) == d->pid)
            d->pid = 0;
        if (d->pid <= 0)
            start(d);
        nap_ms(50);
        void *c = d->kind->connect(d->socket);
        if (c != NULL)
            return c;
    }
    return NULL;
}

static void end(struct database *d, int number)
{
    if (d->pid <= 0)
        return;
    kill(d->pid, number);
    for (int i = 0; i < 200 && waitpid(d->pid, NULL, WNOHANG) != d->pid; i++) {
        if (i == 150)
            kill(d->pid, SIGKILL);
        nap_ms(20);
    }
    d->pid = 0;
}

static bool initialise(struct database *d)
{
    char data[96];
    int status;
    snprintf(data, sizeof data, d->mariadb ? "--datadir=%s/data" : "%s/data", d->dir);
    char *maria[] = {d->init,
                     "--no-defaults",
                     data,
                     "--auth-root-authentication-method=normal",
                     "--skip-test-db",
                     "--innodb-use-native-aio=0",
                     NULL};
    char *pq[] = {d->init, "-D", data, "-A", "trust", "-U", "judge", "-N", "--no-locale", "-E", "UTF8", NULL};
    pid_t pid = spawn(d, d->init, d->mariadb ? maria : pq);
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static bool make_tables(struct database *d, void *c)
{
    char row[96];
    bool made = true;
    if (d->mariadb)
        made = d->kind->run(c, "create database judge", NULL) == 0 && d->kind->run(c, "use judge", NULL) == 0;
    made = made &&
           d->kind->run(c, "create table account (id int primary key, balance bigint check (balance >= 0))",
                        NULL) == 0 &&
           d->kind->run(c, "create table marker (xid varchar(64) primary key, stands int)", NULL) == 0;
    for (int i = 0; made && i < DATABASE_ACCOUNTS; i++) {
        snprintf(row, sizeof row, "insert into account values (%d, %d)", i, DATABASE_INITIAL);
        made = d->kind->run(c, row, NULL) == 0;
    }
    return made;
}

/* The last line it wrote. */
static void last_words(const struct database *d, char *out, size_t size)
{
    char path[96], line[200];
    snprintf(path, sizeof path, "%s/log", d->dir);
    FILE *f = fopen(path, "re");
    snprintf(out, size, "nothing");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (line[0] != '\n')
            snprintf(out, size, "%.*s", (int)strcspn(line, "\n"), line);
    if (f != NULL)
        fclose(f);
}

struct database *database_open(enum database_kind kind, char *why, size_t why_size)
{
    struct database *d = calloc(1, sizeof *d);
    if (d == NULL)
        abort();
    d->mariadb = kind == DATABASE_MARIADB;
    d->kind = d->mariadb ? &database_mariadb : &database_pq;
    if (!find(d->kind->server, d->program) || !find(d->kind->init, d->init)) {
        snprintf(why, why_size, "%s is not installed (apt-get install %s)", d->kind->server,
                 d->kind->package);
        free(d);
        return NULL;
    }
    snprintf(d->dir, sizeof d->dir, "/tmp/judgeXXXXXX");
    const struct passwd *user = who(d);
    if (mkdtemp(d->dir) == NULL || (user != NULL && chown(d->dir, user->pw_uid, user->pw_gid) != 0)) {
        snprintf(why, why_size, "no folder for %s", d->kind->server);
        free(d);
        return NULL;
    }
    snprintf(d->socket, sizeof d->socket, d->mariadb ? "%s/socket" : "%s", d->dir);
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->changed, NULL);
    d->keeps = pthread_create(&d->keeper, NULL, keep, d) == 0;
    void *c = d->keeps && initialise(d) ? answers(d) : NULL;
    bool made = c != NULL && make_tables(d, c);
    if (c != NULL)
        d->kind->disconnect(c);
    if (!made) {
        char words[160];
        last_words(d, words, sizeof words);
        snprintf(why, why_size, "%s does not start, and says: %s", d->kind->server, words);
        database_close(d);
        return NULL;
    }
    return d;
}

void database_close(struct database *d)
{
    char command[96];
    if (d == NULL)
        return;
    end(d, SIGQUIT);
    keeper_end(d);
    snprintf(command, sizeof command, "rm -rf '%s'", d->dir);
    if (system(command) != 0)
        fprintf(stderr, "assent-jepsen: %s is left behind\n", d->dir);
    free(d);
}

/* SIGQUIT has PostgreSQL end all its processes at once, without a word to the disk. */
void database_crash(struct database *d)
{
    end(d, d->mariadb ? SIGKILL : SIGQUIT);
    void *c = answers(d);
    if (c != NULL)
        d->kind->disconnect(c);
}

/* ---- transactions ---- */

__attribute__((format(printf, 4, 5))) static int run(const struct database *d, void *c, json_t *rows,
                                                     const char *format, ...)
{
    char sql[512];
    va_list args;
    va_start(args, format);
    vsnprintf(sql, sizeof sql, format, args);
    va_end(args);
    return d->kind->run(c, sql, rows);
}

/* A statement with the xid put in. */
static int run_for(const struct database *d, void *c, const char *statement, const char *xid)
{
    char sql[256];
    const char *at = strstr(statement, "%s");
    if (at == NULL)
        return d->kind->run(c, statement, NULL);
    snprintf(sql, sizeof sql, "%.*s%s%s", (int)(at - statement), statement, xid, at + 2);
    return d->kind->run(c, sql, NULL);
}

static void *connect_to(const struct database *d)
{
    void *c = d->kind->connect(d->socket);
    bool good = c != NULL && (!d->mariadb || d->kind->run(c, "use judge", NULL) == 0) &&
                d->kind->run(c, d->kind->settings, NULL) == 0;
    if (c != NULL && !good) {
        d->kind->disconnect(c);
        c = NULL;
    }
    return c;
}

enum database_answer database_prepare(struct database *d, const char *xid, int account, int64_t amount)
{
    void *c = connect_to(d);
    if (c == NULL)
        return DATABASE_REFUSED; /* nothing was begun */
    int e = run_for(d, c, d->kind->begin, xid);
    e = e != 0 ? e : run(d, c, NULL, "insert into marker values ('%s', 1)", xid);
    e = e != 0 ? e
               : run(d, c, NULL, "update account set balance = balance + %lld where id = %d",
                     (long long)amount, account);
    enum database_answer answer = DATABASE_REFUSED; /* what is not prepared ends with its connection */
    if (e == 0) {
        e = d->mariadb ? run_for(d, c, "xa end '%s'", xid) : 0;
        e = e != 0 ? e : run_for(d, c, d->kind->prepare, xid);
        answer = e == 0 ? DATABASE_DONE : e == DATABASE_EREFUSED ? DATABASE_REFUSED : DATABASE_UNKNOWN;
    }
    d->kind->disconnect(c); /* MariaDB leaves what is prepared to others only then */
    return answer;
}

/* 1 it stands, 0 something else is in its place, -1 nothing, -2 nobody knows. */
static int marker(const struct database *d, void *c, const char *xid)
{
    json_t *rows = json_array();
    int stands = run(d, c, rows, "select stands from marker where xid = '%s'", xid) != 0 ? -2 : -1;
    if (stands == -1 && json_array_size(rows) == 1)
        stands = atoi(json_string_value(json_array_get(rows, 0)));
    json_decref(rows);
    return stands;
}

/* Nothing of it stays, and nothing can come. */
static enum database_answer bar(const struct database *d, void *c, const char *xid)
{
    int e = run(d, c, NULL, "insert into marker values ('%s', 0)", xid);
    bool in_place = e == 0 || (e == DATABASE_EXISTS && marker(d, c, xid) == 0);
    return in_place ? DATABASE_DONE : DATABASE_UNKNOWN;
}

/* One that the database does not know was finished before, or never came: the marker tells.  The row after a
 * rollback is also what makes it last: MariaDB does not flush an XA ROLLBACK, and killed at once has it
 * prepared again. */
enum database_answer database_finish(struct database *d, const char *xid, bool commit)
{
    void *c = connect_to(d);
    if (c == NULL)
        return DATABASE_UNKNOWN;
    int e = run_for(d, c, commit ? d->kind->commit : d->kind->rollback, xid);
    enum database_answer answer = DATABASE_UNKNOWN;
    if (commit)
        answer =
            e == 0 || (e == DATABASE_ENOTHERE && marker(d, c, xid) == 1) ? DATABASE_DONE : DATABASE_UNKNOWN;
    else if (e == 0 || e == DATABASE_ENOTHERE)
        answer = bar(d, c, xid);
    d->kind->disconnect(c);
    return answer;
}

json_t *database_state(struct database *d)
{
    json_t *balances = json_array(), *stand = json_array(), *prepared = json_array(), *numbers = json_array(),
           *text;
    size_t i;
    void *c = connect_to(d);
    bool read = c != NULL && d->kind->run(c, "select balance from account order by id", balances) == 0 &&
                d->kind->run(c, "select xid from marker where stands = 1 order by xid", stand) == 0 &&
                d->kind->run(c, d->kind->prepared, prepared) == 0;
    if (c != NULL)
        d->kind->disconnect(c);
    json_array_foreach(balances, i, text)
    {
        json_array_append_new(numbers, json_integer(atoll(json_string_value(text))));
    }
    json_decref(balances);
    json_t *state = json_pack("{s:o,s:o,s:o}", "balances", numbers, "stand", stand, "prepared", prepared);
    if (!read) {
        json_decref(state);
        state = NULL;
    }
    return state;
}
