/* The other processes of a demonstration: banks, and the time that passes while waiting for them. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "demo.h"

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

static void bank_exec(const struct bank_process *b, const char *name, const char *accounts, bool gate_closed,
                      pid_t parent)
{
    char *argv[] = {(char *)(uintptr_t) "assent-demo",
                    (char *)(uintptr_t) "bank",
                    (char *)(uintptr_t) "--listen",
                    (char *)(uintptr_t) "127.0.0.1:0",
                    (char *)(uintptr_t) "--data",
                    (char *)(uintptr_t)b->dir,
                    (char *)(uintptr_t) "--name",
                    (char *)(uintptr_t)name,
                    (char *)(uintptr_t) "--accounts",
                    (char *)(uintptr_t)accounts,
                    gate_closed ? (char *)(uintptr_t) "--gate-closed" : NULL,
                    NULL};
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(1);
    execv("/proc/self/exe", argv);
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

bool bank_start(struct bank_process *b, const char *dir, const char *name, const char *accounts,
                bool gate_closed)
{
    int fds[2];
    *b = (struct bank_process){0};
    if (snprintf(b->dir, sizeof(b->dir), "%s/%s", dir, name) >= (int)sizeof(b->dir) ||
        pipe2(fds, O_CLOEXEC) != 0)
        return false;
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        dup2(fds[1], STDOUT_FILENO);
        bank_exec(b, name, accounts, gate_closed, parent);
    }
    close(fds[1]);
    bool ok = pid > 0 && read_port(fds[0], &b->port);
    close(fds[0]);
    b->pid = pid;
    if (ok)
        snprintf(b->url, sizeof(b->url), "http://127.0.0.1:%u", b->port);
    else
        bank_stop(b);
    return ok;
}

void bank_stop(struct bank_process *b)
{
    if (b->pid <= 0)
        return;
    kill(b->pid, SIGTERM);
    while (waitpid(b->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    b->pid = 0;
}
