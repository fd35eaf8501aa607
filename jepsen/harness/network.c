/* The network of the cluster under test: a namespace per node, all on one bridge in a namespace of the judge,
 * or on the judge's own switch.
 *
 * None of the namespaces has a name: they are held by descriptors and processes, and end with them.  A
 * one-way cut is a blackhole route in the sender's namespace; clients come from the judge, which no cut
 * touches. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "nodes.h"
#include "switch.h"

#define NETWORK "10.77.7" /* seen by nobody else */

void network_enter(int ns)
{
    if (ns >= 0 && setns(ns, CLONE_NEWNET) != 0)
        _exit(127); /* whatever came next would happen in the wrong place */
}

static int this_namespace(void)
{
    return open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
}

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* The end of a cable that the switch holds; the other is "eth0" of this thread's namespace. */
static int tap_open(void)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    snprintf(request.ifr_name, sizeof request.ifr_name, "eth0");
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0 && ioctl(fd, TUNSETIFF, &request) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool address(int ns, const char *device, const char *host)
{
    return sut_command(ns, "ip link set lo up") == 0 &&
           sut_command(ns, "ip addr add %s/24 dev %s", host, device) == 0 &&
           sut_command(ns, "ip link set %s up", device) == 0;
}

static bool node_up(struct sut *s, uint32_t i, int *tap)
{
    struct sut_node *n = &s->nodes[i];
    snprintf(n->host, sizeof n->host, NETWORK ".%u", 10 + i);
    if (unshare(CLONE_NEWNET) != 0)
        return false;
    n->ns = this_namespace();
    bool ok = n->ns >= 0;
    if (s->wants & SUT_SWITCH) {
        *tap = tap_open();
        ok = ok && *tap >= 0;
    }
    network_enter(s->own_ns);
    if ((s->wants & SUT_SWITCH) == 0)
        ok = ok && sut_command(-1, "ip link add v%u type veth peer name eth0 netns /proc/%d/fd/%d", i,
                               (int)getpid(), n->ns) == 0;
    ok = ok && address(n->ns, "eth0", n->host);
    return ok && ((s->wants & SUT_SWITCH) || sut_command(-1, "ip link set v%u master bridge up", i) == 0);
}

bool network_up(struct sut *s, char *why, size_t why_size)
{
    int taps[NODES_MAX + 2];
    bool ok = unshare(CLONE_NEWNET) == 0 && (s->own_ns = this_namespace()) >= 0;
    if (s->wants & SUT_SWITCH)
        ok = ok && (taps[0] = tap_open()) >= 0 && address(-1, "eth0", NETWORK ".1");
    else
        ok = ok && sut_command(-1, "ip link add bridge type bridge") == 0 &&
             address(-1, "bridge", NETWORK ".1");
    for (uint32_t i = 0; ok && i <= s->n; i++)
        ok = node_up(s, i, &taps[1 + i]);
    if (ok && (s->wants & SUT_SWITCH))
        ok = (s->fabric = switch_open(taps, s->n + 2)) != NULL;
    if (!ok)
        snprintf(why, why_size, "network namespaces cannot be made here (root, iproute2%s are needed): %s",
                 s->wants & SUT_SWITCH ? ", /dev/net/tun" : "", strerror(errno));
    return ok;
}

void network_down(struct sut *s)
{
    if (s->fabric != NULL)
        switch_close(s->fabric);
    s->fabric = NULL;
    for (uint32_t i = 0; i <= s->n; i++) {
        if (s->nodes[i].ns >= 0)
            close(s->nodes[i].ns);
        s->nodes[i].ns = -1;
    }
}

void network_cut(struct sut *s, uint32_t from, uint32_t to, bool cut)
{
    sut_command(s->nodes[from].ns, "ip route %s blackhole %s/32", cut ? "replace" : "del", s->nodes[to].host);
}

/* A datagram socket of the node; it stays in the node's namespace. */
static int node_socket(struct sut *s, uint32_t i, struct sockaddr_in *at)
{
    socklen_t size = sizeof *at;
    *at = (struct sockaddr_in){.sin_family = AF_INET};
    inet_pton(AF_INET, s->nodes[i].host, &at->sin_addr);
    network_enter(s->nodes[i].ns);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    network_enter(s->own_ns);
    if (fd >= 0 &&
        (bind(fd, (struct sockaddr *)at, size) != 0 || getsockname(fd, (struct sockaddr *)at, &size) != 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

uint32_t network_probe(struct sut *s, uint32_t from, uint32_t to, uint32_t n, int wait_ms, uint64_t *first_us)
{
    struct sockaddr_in a, b;
    char byte = 'p';
    uint32_t arrived = 0;
    int out = node_socket(s, from, &a), in = node_socket(s, to, &b);
    uint64_t sent_us = now_us();
    for (uint32_t i = 0; out >= 0 && in >= 0 && i < n; i++)
        if (sendto(out, &byte, 1, 0, (struct sockaddr *)&b, sizeof b) != 1 && errno == EBADF)
            break;
    for (struct pollfd p = {.fd = in, .events = POLLIN}; in >= 0 && poll(&p, 1, wait_ms) == 1; arrived++) {
        if (recv(in, &byte, 1, MSG_DONTWAIT) < 0)
            break;
        if (arrived == 0 && first_us != NULL)
            *first_us = now_us() - sent_us;
        if (n == 1) { /* nothing else to count */
            arrived++;
            break;
        }
    }
    if (out >= 0)
        close(out);
    if (in >= 0)
        close(in);
    return arrived;
}
