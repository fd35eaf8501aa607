/* A participant in a process of its own: epoll, keep-alive, an empty 200 for every request, no business of
 * any kind.  What it measures is the coordinator, so it does as little as an HTTP server can.
 *
 * The path of a call begins with the number of the client whose transaction it belongs to: "/17/...".  The
 * calls of each client are counted in memory shared with the load, which so learns without a further request
 * that a transaction's calls have been made. */
#include "assent_bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define IN_BYTES_MAX 16384
#define FD_MAX       4096

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

struct link {
    size_t have;
    char in[IN_BYTES_MAX + 1];
};

struct shared {
    _Atomic uint64_t all;
    _Atomic uint32_t of_client[BENCH_CONNECTIONS_MAX];
};

struct participant {
    pid_t pid; /* 0: it is down */
    struct bench_address address;
    struct shared *shared;
};

/* The one list of this process: atexit() must find them. */
static struct participant *all[8];

/* ---- in the participant's process ---- */

/* Bytes of the first request in `text`, 0 when it is not complete. */
static size_t request_size(const char *text, size_t have)
{
    const char *end = memmem(text, have, "\r\n\r\n", 4);
    if (end == NULL)
        return 0;
    size_t head = (size_t)(end - text) + 4, body = 0;
    const char *length = memmem(text, head, "Content-Length: ", 16);
    if (length != NULL)
        body = strtoul(length + 16, NULL, 10);
    return head + body <= have ? head + body : 0;
}

/* "POST /17/2 HTTP/1.1" */
static void count(struct shared *shared, const char *text)
{
    const char *path = strchr(text, '/');
    unsigned long client = path != NULL ? strtoul(path + 1, NULL, 10) : BENCH_CONNECTIONS_MAX;
    shared->all++;
    if (client < BENCH_CONNECTIONS_MAX)
        shared->of_client[client]++;
}

/* False: the connection is done. */
static bool serve(struct shared *shared, int fd, struct link *l)
{
    ssize_t got = recv(fd, l->in + l->have, IN_BYTES_MAX - l->have, 0);
    if (got <= 0)
        return got < 0 && (errno == EAGAIN || errno == EINTR);
    l->have += (size_t)got;
    l->in[l->have] = '\0';
    for (size_t size; (size = request_size(l->in, l->have)) > 0;) {
        count(shared, l->in);
        if (send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL) != (ssize_t)sizeof answer - 1)
            return false;
        l->have -= size;
        memmove(l->in, l->in + size, l->have + 1);
    }
    return l->have < IN_BYTES_MAX;
}

static void run(struct shared *shared, int listener)
{
    static struct link *links[FD_MAX];
    struct epoll_event events[256], event = {.events = EPOLLIN, .data.fd = listener};
    int epoll = epoll_create1(EPOLL_CLOEXEC), one = 1;
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int n = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
                if (fd < 0 || fd >= FD_MAX) {
                    close(fd);
                    continue;
                }
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                links[fd] = calloc(1, sizeof *links[fd]);
                event.data.fd = fd;
                epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
            } else if (!serve(shared, fd, links[fd])) {
                free(links[fd]);
                close(fd);
            }
        }
    }
}

/* ---- in the bench ---- */

static void stop_all(void)
{
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i] != NULL)
            participant_down(all[i]);
}

struct participant *participant_new(void)
{
    static bool registered;
    struct participant *p = calloc(1, sizeof *p);
    size_t i = 0;
    if (!registered) {
        atexit(stop_all);
        registered = true;
    }
    while (i < sizeof all / sizeof all[0] && all[i] != NULL)
        i++;
    p->shared = mmap(NULL, sizeof *p->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (i == sizeof all / sizeof all[0] || p->shared == MAP_FAILED)
        bench_die("no room for a participant");
    all[i] = p;
    bench_free_addresses(&p->address, 1);
    return p;
}

void participant_up(struct participant *p)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)atoi(strrchr(p->address.text, ':') + 1)),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 512) != 0)
        bench_die("the participant's port is taken");
    p->pid = fork();
    if (p->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGTERM, SIG_DFL);
        run(p->shared, fd);
        _exit(0);
    }
    close(fd);
    if (p->pid < 0)
        bench_die("fork failed");
}

void participant_down(struct participant *p)
{
    if (p->pid > 0) {
        kill(p->pid, SIGKILL);
        waitpid(p->pid, NULL, 0);
        p->pid = 0;
    }
}

void participant_free(struct participant *p)
{
    participant_down(p);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i] == p)
            all[i] = NULL;
    munmap(p->shared, sizeof *p->shared);
    free(p);
}

const char *participant_address(const struct participant *p)
{
    return p->address.text;
}

pid_t participant_pid(const struct participant *p)
{
    return p->pid;
}

uint64_t participant_calls(const struct participant *p)
{
    return p->shared->all;
}

uint32_t participant_calls_of(const struct participant *p, uint32_t client)
{
    return p->shared->of_client[client];
}
