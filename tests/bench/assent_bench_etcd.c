/* The peer in the same run: three etcd members on this machine, one durable replicated put per request over
 * etcd's own HTTP gateway, with the same load generator.  Only when an `etcd` program is installed (Debian:
 * etcd-server). */
#include "assent_bench.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ETCD_START_MS 20000

struct bench_etcd {
    pid_t pids[BENCH_NODES];
    struct bench_address client[BENCH_NODES], peer[BENCH_NODES];
    char dir[128];
};

static struct bench_etcd *running;

static void exec_member(const struct bench_etcd *e, int i)
{
    char name[16], data[160], log[160], client[96], peer[96], members[384];
    snprintf(name, sizeof name, "e%d", i + 1);
    snprintf(data, sizeof data, "%s/%d", e->dir, i + 1);
    snprintf(log, sizeof log, "%s/%d.log", e->dir, i + 1);
    snprintf(client, sizeof client, "http://%s", e->client[i].text);
    snprintf(peer, sizeof peer, "http://%s", e->peer[i].text);
    snprintf(members, sizeof members, "e1=http://%s,e2=http://%s,e3=http://%s", e->peer[0].text,
             e->peer[1].text, e->peer[2].text);
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(fd, 1);
    dup2(fd, 2);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execlp("etcd", "etcd", "--name", name, "--data-dir", data, "--listen-client-urls", client,
           "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls",
           peer, "--initial-cluster", members, "--initial-cluster-state", "new", "--log-level", "error",
           (char *)NULL);
    _exit(127);
}

static void stop(void)
{
    struct bench_etcd *e = running;
    running = NULL;
    for (int i = 0; e != NULL && i < BENCH_NODES; i++) {
        if (e->pids[i] > 0) {
            kill(e->pids[i], SIGKILL);
            waitpid(e->pids[i], NULL, 0);
        }
    }
    if (e != NULL) {
        bench_remove(e->dir);
        free(e);
    }
}

bool etcd_installed(void)
{
    const char *path = getenv("PATH");
    char copy[4096], file[4200];
    snprintf(copy, sizeof copy, "%s", path != NULL ? path : "");
    for (char *at = copy, *folder; (folder = strsep(&at, ":")) != NULL;) {
        snprintf(file, sizeof file, "%s/etcd", folder);
        if (access(file, X_OK) == 0) {
            return true;
        }
    }
    return false;
}

/* The member that says of itself that it leads, as etcd's status call tells it. */
static bool etcd_leader(const struct bench_etcd *e, struct bench_address *leader)
{
    for (int i = 0; i < BENCH_NODES; i++) {
        char body[4096];
        if (bench_request(e->client[i].text, "POST", "/v3/maintenance/status", "{}", 500, body,
                          sizeof body) != 200) {
            continue;
        }
        json_t *root = json_loads(body, 0, NULL);
        const char *id = json_string_value(json_object_get(json_object_get(root, "header"), "member_id"));
        const char *leads = json_string_value(json_object_get(root, "leader"));
        bool found = id != NULL && leads != NULL && strcmp(id, leads) == 0;
        json_decref(root);
        if (found) {
            *leader = e->client[i];
            return true;
        }
    }
    return false;
}

bool etcd_start(struct bench_address *leader)
{
    struct bench_etcd *e = calloc(1, sizeof *e);
    const char *base = getenv("TMPDIR");
    snprintf(e->dir, sizeof e->dir, "%s/assent-bench-etcd-XXXXXX",
             base != NULL && base[0] != '\0' ? base : "/tmp");
    if (mkdtemp(e->dir) == NULL) {
        bench_die("no directory %s", e->dir);
    }
    running = e;
    atexit(stop);
    bench_free_addresses(e->client, BENCH_NODES);
    bench_free_addresses(e->peer, BENCH_NODES);
    for (int i = 0; i < BENCH_NODES; i++) {
        e->pids[i] = fork();
        if (e->pids[i] == 0) {
            exec_member(e, i);
        }
    }
    uint64_t until = bench_now() + ETCD_START_MS * 1000000ull;
    while (bench_now() < until && !bench_stopped()) {
        if (etcd_leader(e, leader)) {
            return true;
        }
        bench_sleep_ms(50);
    }
    return false;
}

void etcd_stop(void)
{
    stop();
}
