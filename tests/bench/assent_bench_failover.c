/* How long nobody can write after kill -9 of the leader, and what an idle node costs. */
#include "assent_bench.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A failover that takes longer counts as an error. */
#define FAILOVER_MS_MAX 15000

static const char tick_format[] =
    "POST /api/v1/lamport/tick HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n"
    "Content-Type: application/json\r\nContent-Length: 17\r\n\r\n{\"clock\":\"bench\"}";

/* Ask; -1: not even connected. */
static int send_tick(const char *address)
{
    char request[512];
    int fd = bench_connect(address), size = snprintf(request, sizeof request, tick_format, address);
    if (fd >= 0 && send(fd, request, (size_t)size, MSG_NOSIGNAL) != size) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* Both survivors are asked at once; who refuses is asked again.  The first success ends it. */
static bool first_write(struct bench_cluster *c, int dead, uint64_t until)
{
    struct pollfd polls[BENCH_NODES];
    bool done = false;
    for (int i = 0; i < BENCH_NODES; i++) {
        polls[i] = (struct pollfd){.fd = -1, .events = POLLIN};
    }
    while (!done && bench_now() < until && !bench_stopped()) {
        for (int i = 0; i < BENCH_NODES; i++) {
            if (i != dead && polls[i].fd < 0) {
                polls[i].fd = send_tick(c->nodes[i].http.text);
            }
        }
        poll(polls, BENCH_NODES, 5);
        for (int i = 0; i < BENCH_NODES && !done; i++) {
            char answer[64] = "";
            if (polls[i].fd < 0 || (polls[i].revents & (POLLIN | POLLHUP | POLLERR)) == 0) {
                continue;
            }
            done = recv(polls[i].fd, answer, sizeof answer - 1, 0) > 12 &&
                   memcmp(answer, "HTTP/1.1 200", 12) == 0;
            close(polls[i].fd);
            polls[i].fd = -1;
            if (!done) {
                usleep(1000);
            }
        }
    }
    for (int i = 0; i < BENCH_NODES; i++) {
        if (polls[i].fd >= 0) {
            close(polls[i].fd);
        }
    }
    return done;
}

void bench_failover(const struct bench_options *o, struct bench_cluster *c, struct bench_result *r)
{
    memset(r, 0, sizeof *r);
    uint64_t total = 0;
    for (uint32_t n = 0; n < o->kills && !bench_stopped(); n++) {
        int leader = cluster_leader(c, FAILOVER_MS_MAX);
        if (leader < 0) {
            bench_die("no leader before kill %u", n + 1);
        }
        /* It is at work when it dies: a write through each of the others has just gone through. */
        if (!first_write(c, leader, bench_now() + FAILOVER_MS_MAX * 1000000ull)) {
            bench_die("no write went through before kill %u", n + 1);
        }
        uint64_t start = bench_now();
        cluster_kill(c, leader);
        if (first_write(c, leader, start + FAILOVER_MS_MAX * 1000000ull)) {
            uint64_t took = bench_now() - start;
            histogram_add(&r->latency, took);
            total += took;
            r->done++;
            if (o->verbose) {
                fprintf(stderr, "kill %u of node %d: %.0f ms\n", n + 1, leader + 1, (double)took / 1e6);
            }
        } else {
            r->errors += !bench_stopped();
        }
        cluster_restart(c, leader);
        if (!cluster_wait_ready(c, leader, 30000) && !bench_stopped()) {
            bench_die("node %d did not come back", leader + 1);
        }
    }
    r->units = r->done;
    r->seconds = (double)total / 1e9;
    r->per_second = total > 0 ? (double)r->done / r->seconds : 0;
}

uint64_t bench_idle(const struct bench_options *o, struct bench_cluster *c, uint64_t *anonymous)
{
    uint64_t largest = 0;
    *anonymous = 0;
    bench_sleep_ms((uint32_t)(o->seconds * 1000));
    for (int i = 0; i < BENCH_NODES; i++) {
        uint64_t own, resident = cluster_resident(c, i, &own);
        if (resident > largest) {
            largest = resident;
            *anonymous = own;
        }
    }
    return largest;
}
