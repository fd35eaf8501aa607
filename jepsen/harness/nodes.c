/* The cluster under test; see nodes.h.
 *
 * With namespaces: a bridge <prefix>b in ours, per node a namespace and a cable; a one-way cut is a blackhole
 * route in the sender's namespace.  Clients come over the bridge, which no cut touches. */
#include "nodes.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "http.h"

#define STOP_MS  10000
#define FAKETIME "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void nap(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

/* Run a command of words; its exit status. */
static int command(const char *format, ...) __attribute__((format(printf, 1, 2)));

static int command(const char *format, ...)
{
    char line[512], *words[32];
    int n = 0;
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    for (char *save = NULL, *w = strtok_r(line, " ", &save); w != NULL && n < 31;
         w = strtok_r(NULL, " ", &save))
        words[n++] = w;
    words[n] = NULL;
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        dup2(null, 0);
        dup2(null, 1);
        dup2(null, 2);
        execvp(words[0], words);
        _exit(127);
    }
    int status;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static uint16_t free_port(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;
    uint16_t port = 0;
    if (fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0 &&
        getsockname(fd, (struct sockaddr *)&a, &size) == 0)
        port = ntohs(a.sin_port);
    close(fd);
    return port;
}

static bool network_up(struct sut *s)
{
    uint32_t net = (uint32_t)getpid() % 200 + 20;
    bool ok = command("ip link add %sb type bridge", s->prefix) == 0 &&
              command("ip addr add 10.%u.7.1/24 dev %sb", net, s->prefix) == 0 &&
              command("ip link set %sb up", s->prefix) == 0;
    for (uint32_t i = 0; ok && i < s->n; i++) {
        struct sut_node *n = &s->nodes[i];
        snprintf(n->ns, sizeof n->ns, "%s%u", s->prefix, i);
        snprintf(n->host, sizeof n->host, "10.%u.7.%u", net, 10 + i);
        ok = command("ip netns add %s", n->ns) == 0 &&
             command("ip link add %sv%u type veth peer name eth0 netns %s", s->prefix, i, n->ns) == 0 &&
             command("ip link set %sv%u master %sb up", s->prefix, i, s->prefix) == 0 &&
             command("ip -n %s addr add %s/24 dev eth0", n->ns, n->host) == 0 &&
             command("ip -n %s link set eth0 up", n->ns) == 0 &&
             command("ip -n %s link set lo up", n->ns) == 0;
    }
    return ok;
}

static void network_down(struct sut *s)
{
    for (uint32_t i = 0; i < s->n; i++)
        if (s->nodes[i].ns[0] != 0)
            command("ip netns del %s", s->nodes[i].ns);
    command("ip link del %sb", s->prefix);
}

bool sut_open(struct sut *s, uint32_t n, const char *dir, const char *program, bool namespaces, char *why,
              size_t why_size)
{
    *s = (struct sut){.n = n, .namespaces = namespaces};
    s->clocks = access(FAKETIME, R_OK) == 0;
    snprintf(s->dir, sizeof s->dir, "%s", dir);
    snprintf(s->program, sizeof s->program, "%s", program);
    snprintf(s->prefix, sizeof s->prefix, "aj%x", (unsigned)getpid() & 0xffff);
    if (access(program, X_OK) != 0) {
        snprintf(why, why_size, "%s is no program: build assentd first", program);
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        struct sut_node *node = &s->nodes[i];
        node->id = i + 1;
        snprintf(node->host, sizeof node->host, "127.0.0.1");
        snprintf(node->dir, sizeof node->dir, "%s/node-%u", dir, node->id);
        snprintf(node->log, sizeof node->log, "%s/node-%u.log", dir, node->id);
        if (s->clocks)
            snprintf(node->faketime, sizeof node->faketime, "%s/node-%u.clock", dir, node->id);
    }
    if (namespaces && !network_up(s)) {
        network_down(s);
        snprintf(why, why_size, "network namespaces cannot be made here (root and iproute2 are needed)");
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        struct sut_node *node = &s->nodes[i];
        node->raft = namespaces ? 9081 : free_port();
        node->http = namespaces ? 8080 : free_port();
        node->rpc = namespaces ? 7080 : free_port();
        snprintf(node->base, sizeof node->base, "http://%s:%u", node->host, node->http);
        sut_clock(s, i, 0);
    }
    return true;
}

static void exec_node(struct sut *s, struct sut_node *n)
{
    char id[16], name[32], cluster[512] = "", http[64], rpc[64];
    snprintf(id, sizeof id, "%u", n->id);
    snprintf(name, sizeof name, "node-%u", n->id);
    for (uint32_t i = 0; i < s->n; i++)
        snprintf(cluster + strlen(cluster), sizeof cluster - strlen(cluster), "%s%u=%s:%u", i > 0 ? "," : "",
                 s->nodes[i].id, s->nodes[i].host, s->nodes[i].raft);
    snprintf(http, sizeof http, "%s:%u", n->host, n->http);
    snprintf(rpc, sizeof rpc, "%s:%u", n->host, n->rpc);
    if (s->clocks) {
        setenv("LD_PRELOAD", FAKETIME, 1);
        setenv("FAKETIME_TIMESTAMP_FILE", n->faketime, 1);
        setenv("FAKETIME_NO_CACHE", "1", 1);
        setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1", 1);
    }
    char *args[32];
    int k = 0;
    if (n->ns[0] != 0) {
        static char ip[] = "ip", netns[] = "netns", exec[] = "exec";
        args[k++] = ip, args[k++] = netns, args[k++] = exec, args[k++] = n->ns;
    }
    char *const rest[] = {s->program, "--id",   id,   "--name", name, "--data",     n->dir, "--cluster",
                          cluster,    "--http", http, "--rpc",  rpc,  "--insecure", NULL};
    for (int i = 0; rest[i] != NULL; i++)
        args[k++] = rest[i];
    args[k] = NULL;
    execvp(args[0], args);
    _exit(127);
}

bool sut_start(struct sut *s, uint32_t i)
{
    struct sut_node *n = &s->nodes[i];
    if (n->pid != 0)
        return true;
    pid_t judge = getpid();
    n->pid = fork();
    if (n->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != judge)
            _exit(127);
        int log = open(n->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        dup2(log, 1);
        dup2(log, 2);
        exec_node(s, n);
    }
    return n->pid > 0;
}

static void gone(struct sut_node *n)
{
    int status;
    while (n->pid != 0 && waitpid(n->pid, &status, 0) < 0 && errno == EINTR) {
    }
    n->pid = 0;
    n->paused = false;
}

void sut_kill(struct sut *s, uint32_t i)
{
    if (s->nodes[i].pid == 0)
        return;
    kill(s->nodes[i].pid, SIGKILL);
    gone(&s->nodes[i]);
}

void sut_stop(struct sut *s, uint32_t i)
{
    struct sut_node *n = &s->nodes[i];
    if (n->pid == 0)
        return;
    sut_pause(s, i, false);
    kill(n->pid, SIGTERM);
    for (uint64_t from = now_ms(); now_ms() - from < STOP_MS; nap(20)) {
        int status;
        if (waitpid(n->pid, &status, WNOHANG) == n->pid) {
            n->pid = 0;
            return;
        }
    }
    sut_kill(s, i);
}

void sut_pause(struct sut *s, uint32_t i, bool on)
{
    struct sut_node *n = &s->nodes[i];
    if (n->pid == 0 || n->paused == on)
        return;
    kill(n->pid, on ? SIGSTOP : SIGCONT);
    n->paused = on;
}

void sut_cut(struct sut *s, uint32_t from, uint32_t to, bool cut)
{
    if (!s->namespaces || from == to)
        return;
    command("ip -n %s route %s blackhole %s/32", s->nodes[from].ns, cut ? "replace" : "del",
            s->nodes[to].host);
}

void sut_heal(struct sut *s)
{
    for (uint32_t i = 0; i < s->n; i++)
        for (uint32_t k = 0; k < s->n; k++)
            sut_cut(s, i, k, false);
}

void sut_clock(struct sut *s, uint32_t i, int64_t offset_ms)
{
    if (!s->clocks)
        return;
    char temporary[340];
    snprintf(temporary, sizeof temporary, "%s.new", s->nodes[i].faketime);
    FILE *f = fopen(temporary, "we");
    if (f == NULL)
        return;
    fprintf(f, "%+.3f\n", (double)offset_ms / 1000);
    fclose(f);
    rename(temporary, s->nodes[i].faketime);
}

int sut_leader(struct sut *s)
{
    for (uint32_t i = 0; i < s->n; i++) {
        struct http_answer a;
        if (s->nodes[i].pid == 0 || s->nodes[i].paused)
            continue;
        http_ask(s->nodes[i].base, "GET", "/api/v1/cluster", NULL, NULL, 500, true, &a);
        json_int_t leader = json_integer_value(json_object_get(a.data, "leaderId"));
        http_close(&a);
        if (leader == (json_int_t)s->nodes[i].id)
            return (int)i;
    }
    return -1;
}

bool sut_settled(struct sut *s, uint64_t timeout_ms)
{
    for (uint64_t from = now_ms(); now_ms() - from < timeout_ms; nap(50)) {
        bool all = sut_leader(s) >= 0;
        for (uint32_t i = 0; all && i < s->n; i++) {
            struct http_answer a;
            if (s->nodes[i].pid == 0)
                continue;
            http_ask(s->nodes[i].base, "GET", "/api/v1/lamport/current?clock=settled", NULL, NULL, 1000, true,
                     &a);
            all = a.outcome == HTTP_DONE || a.status == 404;
            http_close(&a);
        }
        if (all)
            return true;
    }
    return false;
}

uint32_t sut_dead(struct sut *s)
{
    uint32_t dead = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        int status;
        if (s->nodes[i].pid != 0 && waitpid(s->nodes[i].pid, &status, WNOHANG) == s->nodes[i].pid) {
            s->nodes[i].pid = 0;
            dead++;
        }
    }
    return dead;
}

void sut_close(struct sut *s)
{
    for (uint32_t i = 0; i < s->n; i++)
        sut_kill(s, i);
    if (s->namespaces)
        network_down(s);
    s->n = 0;
}
