/* Network namespaces for tests. */
#include "network.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOWHERE "02:00:00:00:00:fe" /* a link address nobody has */

/* Run a line of `ip` and the like, in the namespace of `keeper` when it is not 0. */
static int shell(pid_t keeper, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int shell(pid_t keeper, const char *format, ...)
{
    char line[512], prefix[64] = "";
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    if (keeper != 0)
        snprintf(prefix, sizeof(prefix), "nsenter --net=/proc/%d/ns/net ", keeper);
    char whole[600];
    snprintf(whole, sizeof(whole), "%s%s", prefix, line);
    char *argv[] = {(char[]){"/bin/sh"}, (char[]){"-c"}, whole, NULL};
    return cluster_run("/dev/stderr", argv);
}

/* A process that does nothing but hold a new namespace. */
static pid_t keep(void)
{
    int ready[2];
    char byte = 0;
    if (pipe2(ready, O_CLOEXEC) != 0)
        return -1;
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent || unshare(CLONE_NEWNET) != 0 || write(ready[1], "", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(ready[1]);
    ssize_t got = read(ready[0], &byte, 1);
    close(ready[0]);
    if (got == 1)
        return pid;
    waitpid(pid, NULL, 0);
    return -1;
}

/* Link addresses are given, not made up: a node's kernel can then be told a wrong one. */
static bool wire(struct network *n, struct cluster_node *node)
{
    uint32_t id = node->id;
    pid_t keeper = n->keepers[id - 1];
    snprintf(node->peer_host, sizeof(node->peer_host), "10.91.0.%u", id);
    snprintf(node->host, sizeof(node->host), "10.91.%u.2", id);
    return shell(0,
                 "ip link add peer%u type veth peer name peers address 02:00:00:00:00:%02x netns %d && "
                 "ip link set peer%u master switch up && "
                 "ip link add client%u type veth peer name clients netns %d && "
                 "ip addr add 10.91.%u.1/24 dev client%u && ip link set client%u up",
                 id, id, keeper, id, id, keeper, id, id, id) == 0 &&
           shell(keeper,
                 "sh -c 'ip link set lo up && ip addr add 10.91.0.%u/24 dev peers && "
                 "ip link set peers up && ip addr add 10.91.%u.2/24 dev clients && "
                 "ip link set clients up'",
                 id, id) == 0;
}

bool network_open(struct network *n, struct cluster *c, char *why, size_t why_size)
{
    *n = (struct network){.cluster = c};
    if (unshare(CLONE_NEWNET) != 0) {
        snprintf(why, why_size, "a network namespace needs root: %s", strerror(errno));
        return false;
    }
    if (shell(0, "ip link set lo up && ip link add switch type bridge && ip link set switch up") != 0) {
        snprintf(why, why_size, "no `ip` (package iproute2) or no bridge in this kernel");
        return false;
    }
    for (uint32_t i = 0; i < c->n; i++) {
        struct cluster_node *node = &c->nodes[i];
        char path[64];
        if ((n->keepers[i] = keep()) < 0 || !wire(n, node)) {
            snprintf(why, why_size, "no further network namespaces or no veth in this kernel");
            return false;
        }
        snprintf(path, sizeof(path), "/proc/%d/ns/net", n->keepers[i]);
        node->netns = open(path, O_RDONLY | O_CLOEXEC);
        assert(node->netns > 0);
    }
    return true;
}

void network_close(struct network *n)
{
    for (uint32_t i = 0; i < CLUSTER_NODES_MAX; i++) {
        if (n->keepers[i] <= 0)
            continue;
        if (n->cluster->nodes[i].netns > 0)
            close(n->cluster->nodes[i].netns);
        kill(n->keepers[i], SIGKILL);
        waitpid(n->keepers[i], NULL, 0);
        n->keepers[i] = 0;
    }
    shell(0, "ip link del switch"); /* this process stays where it is; the next test makes its own */
}

void network_cut(struct network *n, const struct cluster_node *node, bool cut)
{
    (void)n;
    int rv = cut ? shell(0, "ip link set peer%u nomaster", node->id)
                 : shell(0, "ip link set peer%u master switch", node->id);
    assert(rv == 0);
}

void network_deafen(struct network *n, const struct cluster_node *from, const struct cluster_node *to,
                    bool deaf)
{
    char right[32];
    snprintf(right, sizeof(right), "02:00:00:00:00:%02x", to->id);
    int rv = shell(n->keepers[from->id - 1], "ip neigh replace %s lladdr %s nud permanent dev peers",
                   to->peer_host, deaf ? NOWHERE : right);
    assert(rv == 0);
}
