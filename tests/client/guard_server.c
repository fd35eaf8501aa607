/* Starts and ends a database server of the test's own. */
#include "guard_server.h"

#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const struct {
    const char *server, *init, *package, *user;
} programs[] = {
    [GUARD_SERVER_POSTGRESQL] = {"postgres", "initdb", "postgresql", "postgres"},
    [GUARD_SERVER_MARIADB] = {"mariadbd", "mariadb-install-db", "mariadb-server-core", "mysql"},
    [GUARD_SERVER_REDIS] = {"redis-server", NULL, "redis-tools", "redis"},
};

static bool find(const char *name, char path[256])
{
    const char *patterns[] = {"/usr/lib/postgresql/*/bin/%s", "/usr/bin/%s", "/usr/sbin/%s",
                              "/usr/local/bin/%s"};
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        char pattern[128];
        const char *percent = strstr(patterns[i], "%s");
        snprintf(pattern, sizeof pattern, "%.*s%s", (int)(percent - patterns[i]), patterns[i], name);
        glob_t found = {.gl_pathc = 0};
        bool yes = glob(pattern, 0, NULL, &found) == 0 && found.gl_pathc > 0;
        if (yes)
            snprintf(path, 256, "%s", found.gl_pathv[found.gl_pathc - 1]);
        globfree(&found);
        if (yes)
            return true;
    }
    return false;
}

static void find_or_skip(const char *name, const char *package, char path[256])
{
    if (find(name, path))
        return;
    fprintf(stderr, "SKIPPED: %s is not installed; to run this test: apt-get install %s\n", name, package);
    exit(77);
}

/* Servers refuse to run as root: become the user their package made, or nobody. */
static const struct passwd *who(enum guard_server_kind kind)
{
    if (geteuid() != 0)
        return NULL;
    const struct passwd *user = getpwnam(programs[kind].user);
    return user != NULL ? user : getpwnam("nobody");
}

static pid_t spawn(struct guard_server *s, enum guard_server_kind kind, const char *path, char *const argv[])
{
    const struct passwd *user = who(kind);
    fflush(NULL);
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    char log[96];
    snprintf(log, sizeof log, "%s/log", s->dir);
    if (user != NULL && (setgroups(0, NULL) != 0 || setgid(user->pw_gid) != 0 || setuid(user->pw_uid) != 0))
        _exit(127);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (freopen(log, "a", stdout) == NULL || freopen(log, "a", stderr) == NULL || chdir(s->dir) != 0)
        _exit(127);
    execv(path, argv);
    _exit(127);
}

static void fail(struct guard_server *s, const char *what)
{
    char command[128];
    fprintf(stderr, "%s; its log:\n", what);
    snprintf(command, sizeof command, "tail -n 20 %s/log >&2", s->dir);
    if (system(command) != 0)
        fprintf(stderr, "(none)\n");
    guard_server_stop(s);
    exit(1);
}

static void initialise(struct guard_server *s, enum guard_server_kind kind)
{
    char init[256], data[96];
    int status;
    if (programs[kind].init == NULL)
        return;
    find_or_skip(programs[kind].init, programs[kind].package, init);
    snprintf(data, sizeof data, kind == GUARD_SERVER_MARIADB ? "--datadir=%s/data" : "%s/data", s->dir);
    char *mariadb[] = {
        init, "--no-defaults", data, "--auth-root-authentication-method=normal", "--skip-test-db", NULL};
    char *postgresql[] = {init,    "-D", data,          "-A", "trust", "-U",
                          "guard", "-N", "--no-locale", "-E", "UTF8",  NULL};
    pid_t pid = spawn(s, kind, init, kind == GUARD_SERVER_MARIADB ? mariadb : postgresql);
    if (waitpid(pid, &status, 0) != pid || status != 0)
        fail(s, "the server's folder could not be initialised");
}

void guard_server_start(struct guard_server *s, enum guard_server_kind kind)
{
    char program[256], data[256], socket[160];
    memset(s, 0, sizeof *s);
    /* Debian's redis-tools has the server under this name: one program, told what to be by its name */
    if (kind != GUARD_SERVER_REDIS || !find("redis-check-rdb", program))
        find_or_skip(programs[kind].server, programs[kind].package, program);
    if (programs[kind].init != NULL) /* before there is a folder to clean up */
        find_or_skip(programs[kind].init, programs[kind].package, data);
    if (kind == GUARD_SERVER_MARIADB)
        find_or_skip("my_print_defaults", "mariadb-client-core", data);
    const char *tmp = getenv("TMPDIR");
    snprintf(s->dir, sizeof s->dir, "%s/guardXXXXXX", tmp != NULL && strlen(tmp) < 40 ? tmp : "/tmp");
    if (mkdtemp(s->dir) == NULL) {
        perror("mkdtemp");
        exit(1);
    }
    const struct passwd *user = who(kind);
    if (user != NULL && chown(s->dir, user->pw_uid, user->pw_gid) != 0)
        fail(s, "chown");
    initialise(s, kind);
    snprintf(data, sizeof data, kind == GUARD_SERVER_MARIADB ? "--datadir=%s/data" : "%s/data", s->dir);
    snprintf(s->socket, sizeof s->socket, kind == GUARD_SERVER_POSTGRESQL ? "%s" : "%s/socket", s->dir);
    snprintf(socket, sizeof socket, kind == GUARD_SERVER_MARIADB ? "--socket=%s" : "%s", s->socket);
    char *postgresql[] = {program,
                          "-D",
                          data,
                          "-k",
                          socket,
                          "-h",
                          "",
                          "-c",
                          "max_prepared_transactions=10",
                          "-c",
                          "fsync=off",
                          "-c",
                          "shared_buffers=16MB",
                          NULL};
    char *mariadb[] = {program,
                       "--no-defaults",
                       data,
                       socket,
                       "--skip-networking",
                       "--innodb-buffer-pool-size=16M",
                       "--innodb-flush-log-at-trx-commit=0",
                       "--pid-file=pid",
                       NULL};
    char *redis[] = {"redis-server", "--port", "0", "--unixsocket", socket, "--save", "",
                     "--appendonly", "no",     NULL};
    char *const *all[] = {postgresql, mariadb, redis};
    s->pid = spawn(s, kind, program, all[kind]);
    if (s->pid < 0)
        fail(s, "fork");
}

void guard_server_wait(struct guard_server *s)
{
    static int waits;
    int status;
    if (waitpid(s->pid, &status, WNOHANG) == s->pid) {
        s->pid = 0;
        fail(s, "the server ended");
    }
    if (++waits > 3000)
        fail(s, "the server does not answer");
    nanosleep(&(struct timespec){.tv_nsec = 20 * 1000 * 1000}, NULL);
}

void guard_server_stop(struct guard_server *s)
{
    char command[128];
    if (s->pid > 0) {
        kill(s->pid, SIGQUIT); /* PostgreSQL: at once, and its children too */
        for (int i = 0; i < 100 && s->pid > 0; i++) {
            if (waitpid(s->pid, NULL, WNOHANG) == s->pid)
                s->pid = 0;
            else
                nanosleep(&(struct timespec){.tv_nsec = 20 * 1000 * 1000}, NULL);
        }
        if (s->pid > 0) {
            kill(s->pid, SIGKILL);
            waitpid(s->pid, NULL, 0);
        }
    }
    snprintf(command, sizeof command, "rm -rf '%s'", s->dir);
    if (s->dir[0] != '\0' && system(command) != 0)
        fprintf(stderr, "%s is left behind\n", s->dir);
    s->pid = 0;
    s->dir[0] = '\0';
}
