/* Processes of ours: start one that outlives us, recognise it again, end it. */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define CMDLINE_BYTES_MAX (64 * 1024)

/* What the child tells the parent: who became the daemon, or what failed. */
struct birth {
    pid_t pid;
    int error; /* errno of exec; 0: the program runs when the pipe closes */
};

static void become(char *const *argv, const char *log, int report)
{
    int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int out = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    struct birth birth = {.pid = getpid()};
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    if (in < 0 || out < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0) {
        birth.error = errno;
    }
    /* nothing else of ours may stay open in a process that lives for months: a lock, a pipe of our caller */
    if (report != 3 && birth.error == 0) {
        if (dup3(report, 3, O_CLOEXEC) < 0) {
            birth.error = errno;
        } else {
            report = 3;
        }
    }
    (void)close_range(4, ~0u, 0);
    if (write(report, &birth, sizeof birth) != sizeof birth || birth.error != 0) {
        _exit(1);
    }
    (void)execv(argv[0], argv);
    birth.error = errno;
    (void)!write(report, &birth, sizeof birth);
    _exit(1);
}

/* Twice forked, so that the daemon is nobody's child and never a zombie of ours. */
static void fork_again(char *const *argv, const char *log, int report)
{
    (void)setsid();
    pid_t pid = fork();
    if (pid == 0) {
        become(argv, log, report);
    }
    if (pid < 0) {
        struct birth birth = {.error = errno};
        (void)!write(report, &birth, sizeof birth);
    }
    _exit(0);
}

pid_t process_start(char *const *argv, const char *log, char *err, size_t err_size)
{
    int pipe_ends[2];
    if (pipe2(pipe_ends, O_CLOEXEC) != 0) {
        (void)snprintf(err, err_size, "pipe: %s", strerror(errno));
        return -1;
    }
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        fork_again(argv, log, pipe_ends[1]);
    }
    (void)close(pipe_ends[1]);
    struct birth birth = {.error = pid < 0 ? errno : ECHILD}, next;
    if (pid > 0) {
        (void)waitpid(pid, NULL, 0);
        while (read(pipe_ends[0], &next, sizeof next) == sizeof next) { /* ends when exec closes it */
            birth = next;
        }
    }
    (void)close(pipe_ends[0]);
    if (birth.error != 0) {
        (void)snprintf(err, err_size, "cannot start %s: %s", argv[0], strerror(birth.error));
        return -1;
    }
    return birth.pid;
}

static size_t read_cmdline(pid_t pid, char *out, size_t size)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%ld/cmdline", (long)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    size_t at = 0;
    ssize_t n;
    while (at < size - 1 && (n = read(fd, out + at, size - 1 - at)) > 0) {
        at += (size_t)n;
    }
    (void)close(fd);
    out[at] = '\0';
    return at; /* 0 for a zombie */
}

bool process_is(pid_t pid, const char *name, const char *mark)
{
    char *line = malloc(CMDLINE_BYTES_MAX);
    bool named = false, marked = false;
    if (line != NULL && pid > 0) {
        size_t size = read_cmdline(pid, line, CMDLINE_BYTES_MAX);
        const char *slash = strrchr(line, '/');
        named = size > 0 && strcmp(slash != NULL ? slash + 1 : line, name) == 0;
        for (size_t at = 0; at < size; at += strlen(line + at) + 1) {
            marked |= strcmp(line + at, mark) == 0;
        }
    }
    free(line);
    return named && marked;
}

/* A descriptor of the process, which stays its own even if the number is given away; -1: it is not that
 * program. */
static int pin(pid_t pid, const char *name, const char *mark)
{
    int fd = pid > 0 ? pidfd_open(pid, 0) : -1;
    if (fd >= 0 && !process_is(pid, name, mark)) {
        (void)close(fd);
        fd = -1;
    }
    return fd;
}

bool process_signal(pid_t pid, const char *name, const char *mark, int sig)
{
    int fd = pin(pid, name, mark);
    if (fd < 0) {
        return false;
    }
    bool sent = pidfd_send_signal(fd, sig, NULL, 0) == 0;
    (void)close(fd);
    return sent;
}

bool process_wait(pid_t pid, const char *name, const char *mark, uint32_t timeout_ms)
{
    int fd = pin(pid, name, mark);
    if (fd < 0) {
        return true;
    }
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int rc = poll(&p, 1, (int)timeout_ms);
    (void)close(fd);
    return rc > 0;
}

int process_signal_number(const char *text)
{
    char *end;
    long number = strtol(text, &end, 10);
    if (end != text && *end == '\0') {
        return number > 0 && number < NSIG ? (int)number : 0;
    }
    if (strncasecmp(text, "SIG", 3) == 0) {
        text += 3;
    }
    for (int sig = 1; sig < NSIG; sig++) {
        const char *name = sigabbrev_np(sig);
        if (name != NULL && strcasecmp(name, text) == 0) {
            return sig;
        }
    }
    return 0;
}

bool process_find_daemon(char path[PATH_MAX])
{
    static const char *const places[] = {"", "../node/", "../../node/"};
    const char *named = getenv("ASSENTD");
    if (named != NULL) {
        return (size_t)snprintf(path, PATH_MAX, "%s", named) < PATH_MAX && access(path, X_OK) == 0;
    }
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) {
        return false;
    }
    self[n] = '\0';
    *(strrchr(self, '/') + 1) = '\0';
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if ((size_t)snprintf(path, PATH_MAX,
                             "%s%s"
                             "assentd",
                             self, places[i]) < PATH_MAX &&
            access(path, X_OK) == 0) {
            return true;
        }
    }
    return false;
}
