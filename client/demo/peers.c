/* The other processes of a demonstration: participants, and the time that passes while waiting for them. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "demo.h"

#define ARGS_MAX 24

int64_t monotonic_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void sleep_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static void peer_exec(const struct peer *p, const char *const *args, pid_t parent)
{
    char listen[32];
    const char *argv[ARGS_MAX] = {"assent-demo", p->kind, "--listen", listen, "--name", p->name};
    size_t n = 6;
    snprintf(listen, sizeof(listen), "127.0.0.1:%u", p->port);
    for (; *args != NULL && n + 1 < ARGS_MAX; args++)
        argv[n++] = *args;
    argv[n] = NULL;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(1);
    execv("/proc/self/exe", (char *const *)(uintptr_t)argv);
    _exit(127);
}

/* "NAME listens on 127.0.0.1:PORT", within five seconds. */
static bool read_port(int fd, uint16_t *port)
{
    char line[256] = "";
    size_t n = 0;
    int64_t until = monotonic_ms() + 5000;
    while (n + 1 < sizeof(line) && strchr(line, '\n') == NULL) {
        struct pollfd p = {fd, POLLIN, 0};
        int64_t left = until - monotonic_ms();
        if (left <= 0 || poll(&p, 1, (int)left) <= 0)
            return false;
        ssize_t got = read(fd, line + n, sizeof(line) - 1 - n);
        if (got <= 0)
            return false;
        n += (size_t)got;
    }
    const char *colon = strrchr(line, ':');
    unsigned long number = colon != NULL ? strtoul(colon + 1, NULL, 10) : 0;
    *port = (uint16_t)number;
    return number > 0 && number <= UINT16_MAX;
}

/* While it is down nobody else gets its port: bound, but nobody listens. */
static int port_keep(uint16_t port)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
                    bind(fd, (struct sockaddr *)&a, sizeof(a)) != 0)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

bool peer_start(struct peer *p, const char *kind, const char *name, const char *const *args)
{
    int fds[2];
    p->kind = kind;
    p->name = name;
    if (pipe2(fds, O_CLOEXEC) != 0)
        return false;
    if (p->kept > 0)
        close(p->kept);
    p->kept = 0;
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        dup2(fds[1], STDOUT_FILENO);
        peer_exec(p, args, parent);
    }
    close(fds[1]);
    p->pid = pid;
    bool ok = pid > 0 && read_port(fds[0], &p->port);
    close(fds[0]);
    if (ok)
        snprintf(p->url, sizeof(p->url), "http://127.0.0.1:%u", p->port);
    else
        peer_stop(p);
    return ok;
}

void peer_wait(struct peer *p)
{
    while (p->pid > 0 && waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    p->pid = 0;
    p->kept = port_keep(p->port);
}

void peer_stop(struct peer *p)
{
    if (p->pid <= 0)
        return;
    kill(p->pid, SIGTERM);
    peer_wait(p);
}
