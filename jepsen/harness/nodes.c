/* The cluster under test; see nodes.h. */
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

#define STOP_MS    10000
#define TEXT_OF(x) #x
#define TEXT(x)    TEXT_OF(x)
#ifdef __aarch64__
#define FAKETIME "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1"
#else
#define FAKETIME "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
#endif

uint64_t sut_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void sut_nap(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

int sut_command(int ns, const char *format, ...)
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
        network_enter(ns);
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
    if (fd >= 0)
        close(fd);
    return port;
}

static void place(struct sut *s, uint32_t i, uint32_t id)
{
    struct sut_node *node = &s->nodes[i];
    node->id = id;
    snprintf(node->dir, sizeof node->dir, "%s/node-%u", s->dir, id);
    snprintf(node->log, sizeof node->log, "%s/node-%u.log", s->dir, id);
    if (s->wants & SUT_CLOCKS)
        snprintf(node->faketime, sizeof node->faketime, "%s/node-%u.clock", s->dir, id);
    sut_clock(s, i, 0, 1);
}

bool sut_open(struct sut *s, uint32_t n, const char *dir, const char *program, unsigned wants, char *why,
              size_t why_size)
{
    *s = (struct sut){.n = n, .next_id = n + 1, .wants = wants, .own_ns = -1};
    for (uint32_t i = 0; i <= n; i++)
        s->nodes[i].ns = s->nodes[i].loop = -1;
    snprintf(s->dir, sizeof s->dir, "%s", dir);
    snprintf(s->program, sizeof s->program, "%s", program);
    if (access(program, X_OK) != 0) {
        snprintf(why, why_size, "%s is no program: build assentd first", program);
        return false;
    }
    if ((wants & SUT_CLOCKS) && access(FAKETIME, R_OK) != 0) {
        snprintf(why, why_size, "clocks cannot be set apart: %s is missing (package libfaketime)", FAKETIME);
        return false;
    }
    if ((wants & SUT_TRACE) && !tracer_there(why, why_size))
        return false;
    for (uint32_t i = 0; i <= n; i++) {
        snprintf(s->nodes[i].host, sizeof s->nodes[i].host, "127.0.0.1");
        place(s, i, i + 1);
    }
    if ((wants & SUT_NETWORK) && !network_up(s, why, why_size))
        return false;
    if ((wants & SUT_DISKS) && !disks_up(s, why, why_size))
        return false;
    for (uint32_t i = 0; i <= n; i++) {
        struct sut_node *node = &s->nodes[i];
        node->raft = wants & SUT_NETWORK ? 9081 : free_port();
        node->http = wants & SUT_NETWORK ? 8080 : free_port();
        node->rpc = wants & SUT_NETWORK ? 7080 : free_port();
        char host[sizeof node->host]; /* without optimising gcc sees `base` overlap the `host` of another node
                                       */
        memcpy(host, node->host, sizeof host);
        snprintf(node->base, sizeof node->base, "http://%s:%u", host, node->http);
    }
    return true;
}

static void exec_node(struct sut *s, struct sut_node *n)
{
    char id[16], name[32], cluster[512] = "", raft[64], http[64], rpc[64], entries[16], trailing[16];
    snprintf(id, sizeof id, "%u", n->id);
    snprintf(name, sizeof name, "node-%u", n->id);
    for (uint32_t i = 0; i < s->n; i++)
        snprintf(cluster + strlen(cluster), sizeof cluster - strlen(cluster), "%s%u=%s:%u", i > 0 ? "," : "",
                 s->nodes[i].id, s->nodes[i].host, s->nodes[i].raft);
    snprintf(http, sizeof http, "%s:%u", n->host, n->http);
    snprintf(rpc, sizeof rpc, "%s:%u", n->host, n->rpc);
    if (s->wants & SUT_CLOCKS) {
        setenv("LD_PRELOAD", FAKETIME, 1);
        setenv("ASAN_OPTIONS", "verify_asan_link_order=0", 0); /* a node built with sanitizers takes it too */
        setenv("FAKETIME_TIMESTAMP_FILE", n->faketime, 1);
        setenv("FAKETIME_NO_CACHE", "1", 1);
        setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1", 1);
    }
    snprintf(raft, sizeof raft, "%s:%u", n->host, n->raft);
    snprintf(entries, sizeof entries, "%u", s->snapshot_entries);
    snprintf(trailing, sizeof trailing, "%u", s->snapshot_entries / 4);
    const char *words[32] = {s->program,
                             "--id",
                             id,
                             "--name",
                             name,
                             "--data",
                             n->dir,
                             "--http",
                             http,
                             "--rpc",
                             rpc,
                             "--insecure",
                             "--election-ms",
                             TEXT(SUT_ELECTION_MS),
                             "--max-skew-ms",
                             TEXT(SUT_SKEW_MS)};
    int w = 16;
    words[w++] = n->join ? "--join" : "--cluster";
    if (!n->join)
        words[w++] = cluster;
    if (n->join) {
        words[w++] = "--raft-listen";
        words[w++] = raft;
    }
    if (s->snapshot_entries > 0) {
        words[w++] = "--snapshot-log-entries";
        words[w++] = entries;
        words[w++] = "--snapshot-trailing";
        words[w++] = trailing;
        words[w++] = "--snapshot-chunk-kb"; /* the least, so that an install has several pieces */
        words[w++] = "16";
    }
    network_enter(n->ns);
    execv(s->program, (char *const *)words);
    _exit(127);
}

bool sut_start(struct sut *s, uint32_t i)
{
    struct sut_node *n = &s->nodes[i];
    if (n->pid != 0)
        return true;
    pid_t judge = getpid();
    n->exit_status = -1;
    n->started_ms = sut_now_ms();
    n->pid = fork();
    if (n->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != judge)
            _exit(127);
        setpgid(0, 0); /* the terminal's Ctrl-C is for the judge */
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
    tracer_end(s, i);
}

static int status_of(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

int sut_exit_status(struct sut *s, uint32_t i, uint64_t timeout_ms)
{
    struct sut_node *n = &s->nodes[i];
    for (uint64_t from = sut_now_ms(); n->pid != 0; sut_nap(20)) {
        int status;
        if (waitpid(n->pid, &status, WNOHANG) == n->pid) {
            n->pid = 0;
            n->paused = false;
            tracer_end(s, i);
            return status_of(status);
        }
        if (sut_now_ms() - from >= timeout_ms)
            return -1;
    }
    return -1;
}

int sut_stop(struct sut *s, uint32_t i)
{
    if (s->nodes[i].pid == 0)
        return 0;
    sut_pause(s, i, false);
    kill(s->nodes[i].pid, SIGTERM);
    int status = sut_exit_status(s, i, STOP_MS);
    sut_kill(s, i);
    return status;
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
    if ((s->wants & SUT_NETWORK) == 0 || from == to || s->cut[from][to] == cut)
        return;
    network_cut(s, from, to, cut);
    s->cut[from][to] = cut;
}

void sut_heal(struct sut *s)
{
    for (uint32_t i = 0; i < s->n; i++)
        for (uint32_t k = 0; k < s->n; k++)
            sut_cut(s, i, k, false);
}

/* libfaketime counts a rate from the start of the process, so the offset takes back what it would have added
 * until now. */
void sut_clock(struct sut *s, uint32_t i, int64_t offset_ms, double rate)
{
    if (!(s->wants & SUT_CLOCKS))
        return;
    char temporary[340];
    const struct sut_node *n = &s->nodes[i];
    double ran_s = n->pid != 0 ? (double)(sut_now_ms() - n->started_ms) / 1000 : 0;
    snprintf(temporary, sizeof temporary, "%s.new", n->faketime);
    FILE *f = fopen(temporary, "we");
    if (f == NULL)
        return;
    fprintf(f, "%+.3f x%.3f\n", (double)offset_ms / 1000 - (rate - 1) * ran_s, rate);
    fclose(f);
    rename(temporary, n->faketime);
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
    for (uint64_t from = sut_now_ms(); sut_now_ms() - from < timeout_ms; sut_nap(50)) {
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
    for (uint32_t i = 0; i <= s->n; i++) {
        int status;
        struct sut_node *n = &s->nodes[i];
        if (n->pid == 0 || waitpid(n->pid, &status, WNOHANG) != n->pid)
            continue;
        n->pid = 0;
        n->paused = false;
        n->exit_status = status_of(status);
        tracer_end(s, i);
        dead |= 1u << i;
    }
    return dead;
}

uint32_t sut_join(struct sut *s)
{
    uint32_t i = s->n;
    sut_leave(s);
    place(s, i, s->next_id++);
    s->nodes[i].join = true;
    sut_start(s, i);
    return i;
}

void sut_leave(struct sut *s)
{
    sut_kill(s, s->n);
    if (s->nodes[s->n].join)
        sut_command(-1, "rm -rf %s", s->nodes[s->n].dir);
}

void sut_close(struct sut *s)
{
    if (s->n == 0)
        return;
    for (uint32_t i = 0; i <= s->n; i++)
        sut_kill(s, i);
    sut_leave(s);
    disks_down(s);
    network_down(s);
    s->n = 0;
}
