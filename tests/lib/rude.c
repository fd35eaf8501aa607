/* A server without manners: one thread per connection, each looks for the end twenty times a second. */
#include "rude.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TURN_MS     50
#define WORKERS_MAX 512 /* connections in the life of one server */

static struct {
    int listener;
    uint16_t port;
    pthread_t acceptor, workers[WORKERS_MAX];
    int fds[WORKERS_MAX];
    uint32_t n;
    atomic_bool stop;
    atomic_uint requests, turns;
} r;

/* False: the other side hung up, or the server ends. */
static bool pause_and_look(int fd)
{
    struct pollfd p = {fd, POLLIN, 0};
    char sink[256];
    if (poll(&p, 1, TURN_MS) > 0 && recv(fd, sink, sizeof(sink), MSG_DONTWAIT) <= 0)
        return false;
    return !atomic_load(&r.stop);
}

static bool put(int fd, const char *text)
{
    size_t size = strlen(text);
    return send(fd, text, size, MSG_NOSIGNAL) == (ssize_t)size;
}

static void flood(int fd)
{
    static const char chunk[] = "10\r\n0123456789abcdef\r\n";
    put(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    while (!atomic_load(&r.stop) && put(fd, chunk))
        continue;
}

static void drip(int fd)
{
    put(fd, "HTTP/1.1 200 OK\r\nX-Slow: ");
    while (pause_and_look(fd) && put(fd, "a"))
        continue;
}

static void act(int fd, const char *path)
{
    char loop[128];
    if (strncmp(path, "/garbage", 8) == 0) {
        put(fd, "\x01\x02 what is this\r\n\r\n");
    } else if (strncmp(path, "/drip", 5) == 0) {
        drip(fd);
    } else if (strncmp(path, "/flood", 6) == 0) {
        flood(fd);
    } else if (strncmp(path, "/loop", 5) == 0) {
        snprintf(loop, sizeof(loop),
                 "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%u/loop\r\nContent-Length: 0\r\n"
                 "Connection: close\r\n\r\n",
                 r.port);
        put(fd, loop);
    } else if (strncmp(path, "/turns", 6) == 0) {
        bool well = atomic_fetch_add(&r.turns, 1) % 2 == 1;
        put(fd, well ? "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                     : "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    } else if (strncmp(path, "/hang", 5) == 0) {
        while (pause_and_look(fd))
            continue;
    } /* else "/close" */
}

static void *work(void *data)
{
    int fd = *(const int *)data;
    char head[4096];
    size_t n = 0;
    head[0] = 0;
    while (strstr(head, "\r\n\r\n") == NULL && n + 1 < sizeof(head) && !atomic_load(&r.stop)) {
        struct pollfd p = {fd, POLLIN, 0};
        if (poll(&p, 1, TURN_MS) <= 0)
            continue;
        ssize_t got = recv(fd, head + n, sizeof(head) - 1 - n, 0);
        if (got <= 0)
            break;
        n += (size_t)got;
        head[n] = 0;
    }
    const char *path = strchr(head, ' ');
    if (path != NULL && strstr(head, "\r\n\r\n") != NULL) {
        atomic_fetch_add(&r.requests, 1);
        act(fd, path + 1);
    }
    close(fd);
    return NULL;
}

static void *accept_all(void *data)
{
    (void)data;
    while (!atomic_load(&r.stop)) {
        struct pollfd p = {r.listener, POLLIN, 0};
        if (poll(&p, 1, TURN_MS) <= 0 || r.n == WORKERS_MAX)
            continue;
        r.fds[r.n] = accept4(r.listener, NULL, NULL, SOCK_CLOEXEC);
        if (r.fds[r.n] < 0)
            continue;
        if (pthread_create(&r.workers[r.n], NULL, work, &r.fds[r.n]) != 0)
            abort();
        r.n++;
    }
    return NULL;
}

uint16_t rude_open(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(a);
    r.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (r.listener < 0 || bind(r.listener, (struct sockaddr *)&a, sizeof(a)) != 0 ||
        listen(r.listener, 128) != 0 || getsockname(r.listener, (struct sockaddr *)&a, &size) != 0)
        abort();
    r.port = ntohs(a.sin_port);
    atomic_store(&r.stop, false);
    if (pthread_create(&r.acceptor, NULL, accept_all, NULL) != 0)
        abort();
    return r.port;
}

uint32_t rude_requests(void)
{
    return atomic_load(&r.requests);
}

void rude_close(void)
{
    atomic_store(&r.stop, true);
    pthread_join(r.acceptor, NULL);
    for (uint32_t i = 0; i < r.n; i++)
        pthread_join(r.workers[i], NULL);
    close(r.listener);
    r.n = 0;
}
