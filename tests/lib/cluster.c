/* Real nodes for tests. */
#include "cluster.h"

#include <arpa/inet.h>
#include <assert.h>
#include <curl/curl.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ARGS_MAX 48

/* ---- ports, programs, files
 * ------------------------------------------------------------------------------------------ */

static bool port_free(uint16_t port)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    assert(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    bool is = bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
    close(fd);
    return is;
}

/* Below the ephemeral ports, so that no outgoing connection takes one before the node does; programs that run
 * at the same time begin at different places. */
uint16_t cluster_ports(uint32_t n)
{
    static uint32_t next;
    if (next == 0)
        next = (uint32_t)getpid() * 61 % 16000;
    for (int tries = 0; tries < 20000; tries++) {
        uint16_t first = (uint16_t)(10000 + next % 20000);
        uint32_t i = 0;
        while (i < n && port_free((uint16_t)(first + i)))
            i++;
        next += i + 1;
        if (i == n)
            return first;
    }
    abort();
}

void cluster_program(char *path, size_t size, const char *program)
{
    const char *build = getenv("ASSENT_BUILD_DIR");
    if (build == NULL) {
        fprintf(stderr, "ASSENT_BUILD_DIR is not set: run this by ctest\n");
        abort();
    }
    snprintf(path, size, "%s/%s", build, program);
    if (access(path, X_OK) != 0) {
        fprintf(stderr, "%s: %s (it must be built first)\n", path, strerror(errno));
        abort();
    }
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    (void)st, (void)type, (void)walk;
    return remove(path);
}

static void remove_tree(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- what is left behind when the test is killed
 * ------------------------------------------------------------------------ */

/* Kill the processes that name `dir` among their arguments; how many there were. */
static int kill_users_of(const char *dir)
{
    char path[300], arguments[8192];
    int found = 0;
    DIR *proc = opendir("/proc");
    for (struct dirent *e; proc != NULL && (e = readdir(proc)) != NULL;) {
        pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);
        if (pid <= 1 || pid == getpid())
            continue;
        snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd >= 0 ? read(fd, arguments, sizeof(arguments)) : -1;
        if (fd >= 0)
            close(fd);
        if (n > 0 && memmem(arguments, (size_t)n, dir, strlen(dir)) != NULL) {
            kill(pid, SIGKILL);
            found++;
        }
    }
    if (proc != NULL)
        closedir(proc);
    return found;
}

/* Neither child nor in our session, so that who kills the test with all its children spares it; holds
 * nothing open but the pipe, so that who reads the test's output does not wait for it. */
static void guard_run(int pipe_end, const char *dir)
{
    char byte;
    dup2(pipe_end, 0);
    close_range(1, ~0u, 0);
    while (read(0, &byte, 1) < 0 && errno == EINTR)
        continue;
    for (int calm = 0; calm < 5; calm++) { /* one that was just being started shows up a little later */
        if (kill_users_of(dir) > 0)
            calm = 0;
        sleep_ms(50);
    }
    remove_tree(dir);
    _exit(0);
}

static int guard_start(const char *dir)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        abort();
    pid_t pid = fork();
    assert(pid >= 0);
    if (pid == 0) {
        setsid();
        if (fork() == 0)
            guard_run(ends[0], dir);
        _exit(0);
    }
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    close(ends[0]);
    return ends[1];
}

/* `node` NULL: a program that lives where we do. */
static pid_t spawn(const char *log, char *const argv[], const struct cluster_node *node)
{
    pid_t parent = getpid(), pid = fork();
    assert(pid >= 0);
    if (pid > 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(126);
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    dup2(fd, STDOUT_FILENO);
    dup2(fd, STDERR_FILENO);
    if (node != NULL && node->netns != 0 && setns(node->netns, CLONE_NEWNET) != 0)
        _exit(125);
    if (node != NULL && node->preload != NULL) {
        setenv("LD_PRELOAD", node->preload, 1);
        setenv("ASAN_OPTIONS", "verify_asan_link_order=0", 1); /* it may stand before the sanitizer */
        putenv((char *)(uintptr_t)node->preload_env);
    }
    execv(argv[0], argv);
    _exit(127);
}

/* -1: it did not end by itself in time, or by a signal; it is gone in any case. */
static int wait_exit(pid_t pid)
{
    int status = 0;
    int64_t until = monotonic_ms() + CLUSTER_PATIENCE_MS;
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (monotonic_ms() > until) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            return -1;
        }
        sleep_ms(5);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int cluster_run(const char *log, char *const argv[])
{
    return wait_exit(spawn(log, argv, NULL));
}

/* ---- nodes
 * -----------------------------------------------------------------------------------------------------------
 */

static struct cluster_node *node_new(struct cluster *c)
{
    assert(c->n < CLUSTER_NODES_MAX);
    struct cluster_node *node = &c->nodes[c->n];
    uint16_t port = cluster_ports(3);
    *node = (struct cluster_node){
        .id = ++c->n, .raft = port, .http = (uint16_t)(port + 1), .rpc = (uint16_t)(port + 2)};
    snprintf(node->host, sizeof(node->host), "127.0.0.1");
    snprintf(node->peer_host, sizeof(node->peer_host), "127.0.0.1");
    char dir[sizeof(c->dir)]; /* the compiler cannot see that the two do not overlap */
    memcpy(dir, c->dir, sizeof(dir));
    snprintf(node->dir, sizeof(node->dir), "%s/node-%u", dir, node->id);
    snprintf(node->log, sizeof(node->log), "%s/node-%u.log", dir, node->id);
    return node;
}

void cluster_init(struct cluster *c, uint32_t voters, const char *const *flags)
{
    const char *tmp = getenv("TMPDIR");
    http_init();
    *c = (struct cluster){.voters = voters, .flags = flags};
    snprintf(c->dir, sizeof(c->dir), "%s/assent-cluster-XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(c->dir) == NULL)
        abort();
    c->guard = guard_start(c->dir);
    for (uint32_t i = 0; i < voters; i++)
        node_new(c);
}

struct cluster_node *cluster_add(struct cluster *c)
{
    struct cluster_node *node = node_new(c);
    node->join = true;
    return node;
}

static void print_tail(const struct cluster_node *node)
{
    char tail[3000];
    FILE *f = fopen(node->log, "r");
    if (f == NULL)
        return;
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    fseek(f, size > (long)sizeof(tail) ? size - (long)sizeof(tail) : 0, SEEK_SET);
    size_t n = fread(tail, 1, sizeof(tail), f);
    fclose(f);
    fprintf(stderr, "---- end of %s\n%.*s\n", node->log, (int)n, tail);
}

void cluster_close(struct cluster *c, bool failed)
{
    for (uint32_t i = 0; i < c->n; i++) {
        if (failed)
            print_tail(&c->nodes[i]);
        cluster_kill(&c->nodes[i]);
    }
    remove_tree(c->dir);
    close(c->guard);
}

void cluster_start(struct cluster *c, struct cluster_node *node)
{
    char program[600], id[16], voters[512] = "", raft[32], http[32], rpc[32];
    char *argv[ARGS_MAX];
    size_t n = 0, used = 0;
    assert(node->pid == 0);
    cluster_program(program, sizeof(program), "node/assentd");
    for (uint32_t i = 0; i < c->voters; i++)
        used += (size_t)snprintf(voters + used, sizeof(voters) - used, "%s%u=%s:%u", i > 0 ? "," : "",
                                 c->nodes[i].id, c->nodes[i].peer_host, c->nodes[i].raft);
    snprintf(id, sizeof(id), "%u", node->id);
    snprintf(raft, sizeof(raft), "%s:%u", node->peer_host, node->raft);
    snprintf(http, sizeof(http), "%s:%u", node->host, node->http);
    snprintf(rpc, sizeof(rpc), "%s:%u", node->host, node->rpc);
#define ARG(text) argv[n++] = (char *)(uintptr_t)(text)
    ARG(program), ARG("--id"), ARG(id), ARG("--data"), ARG(node->dir), ARG("--http"), ARG(http), ARG("--rpc"),
        ARG(rpc);
    ARG("--insecure");
    if (node->join)
        ARG("--join");
    else
        ARG("--cluster"), ARG(voters);
    ARG("--raft-listen"), ARG(raft);
    if (c->name != NULL)
        ARG("--cluster-name"), ARG(c->name);
    for (const char *const *f = c->flags; f != NULL && *f != NULL; f++) {
        assert(n + 1 < ARGS_MAX);
        ARG(*f);
    }
    argv[n] = NULL;
#undef ARG
    node->pid = spawn(node->log, argv, node);
}

void cluster_start_all(struct cluster *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        if (c->nodes[i].pid == 0)
            cluster_start(c, &c->nodes[i]);
}

void cluster_kill(struct cluster_node *node)
{
    if (node->pid == 0)
        return;
    kill(node->pid, SIGKILL);
    while (waitpid(node->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    node->pid = 0;
}

int cluster_stop(struct cluster_node *node)
{
    kill(node->pid, SIGTERM);
    return cluster_wait_exit(node);
}

int cluster_wait_exit(struct cluster_node *node)
{
    int status = wait_exit(node->pid);
    node->pid = 0;
    return status;
}

void cluster_wipe(struct cluster_node *node)
{
    assert(node->pid == 0);
    remove_tree(node->dir);
}

/* ---- what they say
 * --------------------------------------------------------------------------------------------------- */

json_t *cluster_view(const struct cluster_node *node)
{
    char url[128];
    struct http_answer a;
    snprintf(url, sizeof(url), "http://%s:%u/api/v1/cluster", node->host, node->http);
    http_call("GET", url, NULL, NULL, 2000, &a);
    json_t *data = a.status == 200 ? json_incref(json_object_get(a.body, "data")) : NULL;
    http_answer_clear(&a);
    return data;
}

static json_int_t number(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

struct cluster_node *cluster_leader(struct cluster *c)
{
    int64_t until = monotonic_ms() + CLUSTER_PATIENCE_MS;
    while (monotonic_ms() < until) {
        for (uint32_t i = 0; i < c->n; i++) {
            json_t *view = c->nodes[i].pid != 0 ? cluster_view(&c->nodes[i]) : NULL;
            bool leads = view != NULL && number(view, "leaderId") == c->nodes[i].id &&
                         json_is_true(json_object_get(view, "ready"));
            json_decref(view);
            if (leads)
                return &c->nodes[i];
        }
        sleep_ms(10);
    }
    return NULL;
}

void cluster_endpoints(const struct cluster *c, uint32_t first, struct endpoints *e)
{
    *e = (struct endpoints){.n = c->n, .current = first % c->n};
    for (uint32_t i = 0; i < c->n; i++)
        snprintf(e->at[i], sizeof(e->at[i]), "%s:%u", c->nodes[i].host, c->nodes[i].http);
}

bool cluster_agrees(struct cluster *c)
{
    int64_t until = monotonic_ms() + CLUSTER_PATIENCE_MS;
    while (monotonic_ms() < until) {
        json_int_t index = -1;
        char digest[64] = "";
        bool same = true;
        for (uint32_t i = 0; i < c->n && same; i++) {
            if (c->nodes[i].pid == 0)
                continue;
            json_t *view = cluster_view(&c->nodes[i]);
            const char *d = json_string_value(json_object_get(view, "digest"));
            same =
                d != NULL && (index < 0 || (number(view, "appliedIndex") == index && strcmp(d, digest) == 0));
            index = number(view, "appliedIndex");
            snprintf(digest, sizeof(digest), "%s", d != NULL ? d : "");
            json_decref(view);
        }
        if (same)
            return true;
        sleep_ms(20);
    }
    return false;
}

bool cluster_log_has(const struct cluster_node *node, const char *text)
{
    char line[4096];
    bool found = false;
    FILE *f = fopen(node->log, "r");
    while (f != NULL && !found && fgets(line, sizeof(line), f) != NULL)
        found = strstr(line, text) != NULL;
    if (f != NULL)
        fclose(f);
    return found;
}

bool cluster_log_gets(const struct cluster_node *node, const char *text)
{
    int64_t until = monotonic_ms() + CLUSTER_PATIENCE_MS;
    while (!cluster_log_has(node, text)) {
        if (monotonic_ms() > until)
            return false;
        sleep_ms(10);
    }
    return true;
}

/* ---- asking
 * ----------------------------------------------------------------------------------------------------------
 */

void cluster_ask(const struct cluster_node *node, const char *method, const char *path, const char *header,
                 json_t *body, long timeout_ms, struct http_answer *out)
{
    char url[512];
    snprintf(url, sizeof(url), "http://%s:%u/api/v1%s", node->host, node->http, path);
    http_call(method, url, header, body, timeout_ms, out);
}

json_t *cluster_must(struct cluster *c, const char *method, const char *path, json_t *body)
{
    struct endpoints e;
    json_t *data = NULL;
    char error[512];
    cluster_endpoints(c, 0, &e);
    if (!cluster_call(&e, method, path, body, CLUSTER_PATIENCE_MS, &data, error, sizeof(error)))
        fail_msg("%s %s: %s", method, path, error);
    json_decref(body);
    return data;
}

long long cluster_tick(struct cluster *c)
{
    json_t *data = cluster_must(c, "POST", "/lamport/tick", json_object());
    long long value = number(data, "value");
    json_decref(data);
    return value;
}

struct page {
    char text[128 * 1024];
    size_t size;
};

static size_t on_page(char *data, size_t size, size_t n, void *user)
{
    struct page *page = user;
    size_t bytes = size * n;
    if (page->size + bytes >= sizeof(page->text))
        return 0;
    memcpy(page->text + page->size, data, bytes);
    page->size += bytes;
    page->text[page->size] = 0;
    return bytes;
}

long long cluster_metric(const struct cluster_node *node, const char *name)
{
    char url[128], line[128];
    struct page *page = calloc(1, sizeof(*page));
    CURL *easy = curl_easy_init();
    assert(page != NULL && easy != NULL);
    snprintf(url, sizeof(url), "http://%s:%u/metrics", node->host, node->http);
    snprintf(line, sizeof(line), "\n%s ", name);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 5000L);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_page);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, page);
    long long value = -1;
    if (curl_easy_perform(easy) == CURLE_OK) {
        const char *at = strstr(page->text, line);
        value = at != NULL ? strtoll(at + strlen(line), NULL, 10) : -1;
    }
    curl_easy_cleanup(easy);
    free(page);
    return value;
}
