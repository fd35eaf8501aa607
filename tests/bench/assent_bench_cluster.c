/* A cluster of three assentd processes on loopback, and the plain requests that look after it. */
#include "assent_bench.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_MS_MAX 30000

/* The one cluster of this process: atexit() must find it. */
static struct bench_cluster *running;
static const struct bench_options *running_options;
/* For a start that failed: the logs say why. */
static const struct bench_options keep_options = {.keep = true};

/* ---- addresses and requests ---- */

static bool is_loopback(const char *host)
{
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "localhost") == 0;
}

uint32_t bench_addresses(const char *list, struct bench_address *out)
{
    uint32_t n = 0;
    while (*list != '\0') {
        size_t size = strcspn(list, ",");
        if (n == BENCH_ENDPOINTS_MAX || size == 0 || size >= sizeof out->text) {
            bench_die("--endpoints takes up to %d of host:port,host:port", BENCH_ENDPOINTS_MAX);
        }
        memcpy(out[n].text, list, size);
        out[n].text[size] = '\0';
        char host[64];
        snprintf(host, sizeof host, "%.*s", (int)strcspn(out[n].text, ":"), out[n].text);
        if (strchr(out[n].text, ':') == NULL || !is_loopback(host)) {
            bench_die("%s: only loopback addresses (127.x.x.x:port, localhost:port)", out[n].text);
        }
        n++;
        list += size + (list[size] == ',');
    }
    return n;
}

int bench_connect(const char *address)
{
    const char *colon = strrchr(address, ':');
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(colon + 1))};
    char host[64];
    snprintf(host, sizeof host, "%.*s", (int)(colon - address), address);
    if (inet_pton(AF_INET, strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, &to.sin_addr) != 1) {
        return -1;
    }
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
        close(fd);
        return -1;
    }
    if (fd >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    return fd;
}

/* Read until the peer closes, the buffer is full or time is over. */
static size_t read_all(int fd, uint64_t until, char *buffer, size_t size)
{
    size_t have = 0;
    while (have < size - 1 && bench_now() < until && !bench_stopped()) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, 20) > 0) {
            ssize_t got = recv(fd, buffer + have, size - 1 - have, 0);
            if (got <= 0) {
                break;
            }
            have += (size_t)got;
        }
    }
    buffer[have] = '\0';
    return have;
}

int bench_request(const char *address, const char *method, const char *path, const char *content,
                  uint32_t timeout_ms, char *body, size_t body_size)
{
    char request[1024], *answer;
    int fd = bench_connect(address), status = 0;
    body[0] = '\0';
    if (fd < 0) {
        return 0;
    }
    int size =
        snprintf(request, sizeof request,
                 "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Type: application/json\r\n"
                 "Content-Length: %zu\r\n\r\n%s",
                 method, path, address, strlen(content), content);
    answer = malloc(body_size + 4096);
    if (size > 0 && (size_t)size < sizeof request && send(fd, request, (size_t)size, MSG_NOSIGNAL) == size) {
        read_all(fd, bench_now() + timeout_ms * 1000000ull, answer, body_size + 4096);
        char *end = strstr(answer, "\r\n\r\n");
        if (end != NULL && sscanf(answer, "HTTP/1.%*d %d", &status) == 1) {
            snprintf(body, body_size, "%s", end + 4);
        }
    }
    free(answer);
    close(fd);
    return status;
}

/* Ask one node who leads; false: it does not know. */
static bool ask_leader(const char *address, uint64_t *id, struct bench_address *out)
{
    char body[8192];
    if (bench_request(address, "GET", "/api/v1/cluster", "", 500, body, sizeof body) != 200) {
        return false;
    }
    json_t *root = json_loads(body, 0, NULL), *data = json_object_get(root, "data"), *node;
    data = data != NULL ? data : root;
    *id = (uint64_t)json_integer_value(json_object_get(data, "leaderId"));
    bool found = false;
    size_t i;
    json_array_foreach(json_object_get(data, "nodes"), i, node)
    {
        const char *http = json_string_value(json_object_get(node, "httpAddress"));
        if (*id != 0 && (uint64_t)json_integer_value(json_object_get(node, "id")) == *id) {
            found = true;
            out->text[0] = '\0';
            if (http != NULL) {
                const char *host = strstr(http, "://");
                snprintf(out->text, sizeof out->text, "%s", host != NULL ? host + 3 : http);
            }
        }
    }
    json_decref(root);
    return found;
}

bool bench_leader(const struct bench_address *endpoints, uint32_t n, uint32_t wait_ms, uint64_t *id,
                  struct bench_address *out)
{
    uint64_t until = bench_now() + wait_ms * 1000000ull;
    do {
        for (uint32_t i = 0; i < n; i++) {
            if (ask_leader(endpoints[i].text, id, out) && out->text[0] != '\0') {
                return true;
            }
        }
        bench_sleep_ms(20);
    } while (bench_now() < until && !bench_stopped());
    return false;
}

/* ---- processes ---- */

/* Bind a free port below the range from which the kernel takes ports of outgoing connections (a node's own
 * link to a peer would else now and then hold the port of the next node).  The caller keeps the socket until
 * all are chosen. */
static int free_address(struct bench_address *out)
{
    static uint32_t next;
    for (int tries = 0; tries < 5000; tries++) {
        uint32_t port = 20000 + ((uint32_t)getpid() * 16 + next++) % 12000;
        struct sockaddr_in a = {.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0) {
            break;
        }
        if (bind(fd, (struct sockaddr *)&a, sizeof a) == 0) {
            snprintf(out->text, sizeof out->text, "127.0.0.1:%u", port);
            return fd;
        }
        close(fd);
    }
    bench_die("no free port on loopback");
}

void bench_free_addresses(struct bench_address *out, int n)
{
    int fds[16];
    if (n > 16) {
        bench_die("at most 16 addresses at once");
    }
    for (int i = 0; i < n; i++) {
        fds[i] = free_address(&out[i]);
    }
    for (int i = 0; i < n; i++) {
        close(fds[i]);
    }
}

static void choose_addresses(struct bench_cluster *c)
{
    int fds[3 * BENCH_NODES];
    for (int i = 0; i < BENCH_NODES; i++) {
        fds[3 * i] = free_address(&c->nodes[i].raft);
        fds[3 * i + 1] = free_address(&c->nodes[i].http);
        fds[3 * i + 2] = free_address(&c->nodes[i].native);
        size_t http = strlen(c->http_list), native = strlen(c->native_list);
        snprintf(c->http_list + http, sizeof c->http_list - http, "%s%s", i > 0 ? "," : "",
                 c->nodes[i].http.text);
        snprintf(c->native_list + native, sizeof c->native_list - native, "%s%s", i > 0 ? "," : "",
                 c->nodes[i].native.text);
    }
    for (int i = 0; i < 3 * BENCH_NODES; i++) {
        close(fds[i]);
    }
}

static void find_assentd(char *path, size_t size)
{
    char self[512];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    self[n > 0 ? n : 0] = '\0';
    for (int up = 0; up < 3; up++) { /* build/x/tests/bench/assent-bench -> build/x */
        char *slash = strrchr(self, '/');
        if (slash != NULL) {
            *slash = '\0';
        }
        snprintf(path, size, up == 0 ? "%s/assentd" : "%s/node/assentd", self);
        if (access(path, X_OK) == 0) {
            return;
        }
    }
    bench_die("no assentd beside this program; name it with --assentd");
}

static void exec_node(const struct bench_cluster *c, int i, const char *assentd)
{
    char id[16], name[32], data[192], log[192], peers[256];
    snprintf(id, sizeof id, "%d", i + 1);
    snprintf(name, sizeof name, "node-%d", i + 1);
    snprintf(data, sizeof data, "%s/%d", c->dir, i + 1);
    snprintf(log, sizeof log, "%s/%d.log", c->dir, i + 1);
    snprintf(peers, sizeof peers, "1=%s,2=%s,3=%s", c->nodes[0].raft.text, c->nodes[1].raft.text,
             c->nodes[2].raft.text);
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(fd, 1);
    dup2(fd, 2);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* not even kill -9 of the bench leaves a node behind */
    execl(assentd, assentd, "--id", id, "--name", name, "--data", data, "--cluster", peers, "--http",
          c->nodes[i].http.text, "--rpc", c->nodes[i].native.text, "--insecure", "--log-level", "warning",
          (char *)NULL);
    perror(assentd);
    _exit(127);
}

void cluster_restart(struct bench_cluster *c, int node)
{
    char assentd[600];
    if (running_options->assentd != NULL) {
        snprintf(assentd, sizeof assentd, "%s", running_options->assentd);
    } else {
        find_assentd(assentd, sizeof assentd);
    }
    pid_t pid = fork();
    if (pid == 0) {
        exec_node(c, node, assentd);
    }
    if (pid < 0) {
        bench_die("fork failed");
    }
    c->nodes[node].pid = pid;
}

void cluster_kill(struct bench_cluster *c, int node)
{
    if (c->nodes[node].pid > 0) {
        kill(c->nodes[node].pid, SIGKILL);
        waitpid(c->nodes[node].pid, NULL, 0);
        c->nodes[node].pid = 0;
    }
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st, (void)kind, (void)where;
    return remove(path);
}

void bench_remove(const char *dir)
{
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Ask them to end, and insist after five seconds. */
static void stop_running(void)
{
    struct bench_cluster *c = running;
    if (c == NULL) {
        return;
    }
    running = NULL;
    for (int i = 0; i < BENCH_NODES; i++) {
        if (c->nodes[i].pid > 0) {
            kill(c->nodes[i].pid, SIGTERM);
        }
    }
    uint64_t until = bench_now() + 5000000000u;
    for (int i = 0; i < BENCH_NODES; i++) {
        while (c->nodes[i].pid > 0 && bench_now() < until) {
            if (waitpid(c->nodes[i].pid, NULL, WNOHANG) != 0) {
                c->nodes[i].pid = 0;
            }
            usleep(10000);
        }
        cluster_kill(c, i);
    }
    if (running_options->keep) {
        fprintf(stderr, "assent-bench: kept %s\n", c->dir);
    } else {
        bench_remove(c->dir);
    }
    free(c);
}

void cluster_stop(struct bench_cluster *c)
{
    if (c != NULL) {
        stop_running();
    }
}

bool cluster_wait_ready(struct bench_cluster *c, int node, uint32_t wait_ms)
{
    char body[1024];
    uint64_t until = bench_now() + wait_ms * 1000000ull;
    while (bench_now() < until && !bench_stopped()) {
        if (bench_request(c->nodes[node].http.text, "GET", "/readyz", "", 500, body, sizeof body) == 200) {
            return true;
        }
        if (waitpid(c->nodes[node].pid, NULL, WNOHANG) != 0) {
            c->nodes[node].pid = 0; /* it ended by itself */
            return false;
        }
        bench_sleep_ms(20);
    }
    return false;
}

int cluster_leader(struct bench_cluster *c, uint32_t wait_ms)
{
    uint64_t until = bench_now() + wait_ms * 1000000ull;
    while (bench_now() < until && !bench_stopped()) {
        for (int i = 0; i < BENCH_NODES; i++) {
            struct bench_address http;
            uint64_t id;
            if (c->nodes[i].pid > 0 && ask_leader(c->nodes[i].http.text, &id, &http) && id <= BENCH_NODES &&
                c->nodes[id - 1].pid > 0) {
                return (int)id - 1;
            }
        }
        bench_sleep_ms(20);
    }
    return -1;
}

struct bench_cluster *cluster_start(const struct bench_options *o)
{
    static bool registered;
    struct bench_cluster *c = calloc(1, sizeof *c);
    const char *base = getenv("TMPDIR");
    running_options = o;
    snprintf(c->dir, sizeof c->dir, "%s/assent-bench-cluster-XXXXXX",
             base != NULL && base[0] != '\0' ? base : "/tmp");
    if (mkdtemp(c->dir) == NULL) {
        bench_die("no directory %s", c->dir);
    }
    running = c;
    if (!registered) {
        atexit(stop_running);
        registered = true;
    }
    choose_addresses(c);
    for (int i = 0; i < BENCH_NODES; i++) {
        cluster_restart(c, i);
    }
    for (int i = 0; i < BENCH_NODES; i++) {
        if (!cluster_wait_ready(c, i, START_MS_MAX)) {
            running_options = &keep_options;
            bench_die("node %d ended or was not ready within %d s; its log is %s/%d.log", i + 1,
                      START_MS_MAX / 1000, c->dir, i + 1);
        }
    }
    return c;
}

uint64_t cluster_resident(const struct bench_cluster *c, int node, uint64_t *anonymous)
{
    char path[64], line[256];
    uint64_t resident = 0;
    *anonymous = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)c->nodes[node].pid);
    FILE *f = fopen(path, "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        unsigned long long kib;
        if (sscanf(line, "VmRSS: %llu", &kib) == 1) {
            resident = kib * 1024;
        } else if (sscanf(line, "RssAnon: %llu", &kib) == 1) {
            *anonymous = kib * 1024;
        }
    }
    if (f != NULL) {
        fclose(f);
    }
    return resident;
}
