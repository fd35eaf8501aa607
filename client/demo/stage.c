/* Narration, the cluster and its leader, participants. */
#include "stage.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

void say(const struct stage *s, const char *format, ...)
{
    va_list args;
    printf("%7.3f s  ", (double)(monotonic_ms() - s->started_ms) / 1000);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
}

bool claim(struct stage *s, bool holds, const char *format, ...)
{
    va_list args;
    printf("%7.3f s  [%s] ", (double)(monotonic_ms() - s->started_ms) / 1000, holds ? "ok" : "WRONG");
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
    s->wrong += !holds;
    return holds;
}

long long stage_number(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

const char *stage_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

/* ---- participants ---- */

struct peer *stage_peer(struct stage *s, const char *name)
{
    for (size_t i = 0; i < STAGE_PEERS_MAX && s->play->peers[i].kind != NULL; i++)
        if (strcmp(s->play->peers[i].name, name) == 0)
            return &s->peers[i];
    abort(); /* a row of the table names a peer it does not have */
}

bool stage_peer_start(struct stage *s, struct peer *p)
{
    size_t i = (size_t)(p - s->peers), n = 0;
    const char *kind = s->play->peers[i].kind, *name = s->play->peers[i].name, *args[12];
    char dir[160];
    snprintf(dir, sizeof(dir), "%s/%s", s->dir, name);
    if (strcmp(kind, "application") == 0) {
        args[n++] = "--endpoints", args[n++] = s->o.endpoints;
        args[n++] = "--from", args[n++] = s->peers[0].url;
        args[n++] = "--to", args[n++] = s->peers[1].url;
    } else {
        args[n++] = "--data", args[n++] = dir;
        args[n++] = "--accounts", args[n++] = s->play->peers[i].accounts;
    }
    if (s->play->peers[i].gate != NULL && s->o.kill_leader)
        args[n++] = "--gate", args[n++] = s->play->peers[i].gate;
    args[n] = NULL;
    return peer_start(p, kind, name, args);
}

bool stage_peers_start(struct stage *s)
{
    snprintf(s->dir, sizeof(s->dir), "/tmp/assent-demo-XXXXXX");
    if (mkdtemp(s->dir) == NULL)
        return claim(s, false, "%s: %s", s->dir, strerror(errno));
    for (size_t i = 0; i < STAGE_PEERS_MAX && s->play->peers[i].kind != NULL; i++) {
        if (!stage_peer_start(s, &s->peers[i]))
            return claim(s, false, "%s does not start", s->play->peers[i].name);
        say(s, "%s runs as a process of its own: pid %d, %s", s->peers[i].name, s->peers[i].pid,
            s->peers[i].url);
    }
    return true;
}

json_t *stage_peer_get(const struct peer *p, const char *path)
{
    char url[512];
    struct http_answer a;
    snprintf(url, sizeof(url), "%s%s", p->url, path);
    http_call("GET", url, NULL, NULL, 5000, &a);
    json_t *body = a.status == 200 ? json_incref(a.body) : NULL;
    http_answer_clear(&a);
    return body;
}

bool stage_peer_post(const struct peer *p, const char *path, json_t *body, char *error)
{
    char url[128];
    struct http_answer a;
    snprintf(url, sizeof(url), "%s%s", p->url, path);
    http_call("POST", url, NULL, body, 5000, &a);
    json_decref(body);
    bool ok = a.status == 200;
    snprintf(error, STAGE_ERROR_MAX, "%s: HTTP %d %s%.64s", url, a.status, a.error,
             stage_text(a.body, "error"));
    http_answer_clear(&a);
    return ok;
}

long long stage_held(const struct peer *p)
{
    json_t *gate = stage_peer_get(p, "/gate");
    long long n = gate != NULL ? stage_number(gate, "waiting") : -1;
    json_decref(gate);
    return n;
}

/* ---- transactions ---- */

bool stage_post(struct stage *s, const char *path, json_t *body, json_t **data)
{
    char error[STAGE_ERROR_MAX] = "";
    bool ok = cluster_call(&s->cluster, "POST", path, body, s->o.patience_ms, data, error, sizeof(error));
    json_decref(body);
    if (!ok)
        claim(s, false, "POST %s: %s", path, error);
    return ok;
}

bool stage_submit(struct stage *s, const char *path, json_t *body)
{
    json_t *data;
    if (!stage_post(s, path, body, &data))
        return false;
    snprintf(s->xid, sizeof(s->xid), "%s", stage_text(data, "xid"));
    json_decref(data);
    return claim(s, s->xid[0] != 0, "POST %s is answered, so it is in the log of a majority: transaction %s",
                 path, s->xid);
}

json_t *stage_transaction(struct stage *s, const char *xid)
{
    char path[256], error[STAGE_ERROR_MAX];
    json_t *data = NULL;
    snprintf(path, sizeof(path), "/transaction/%s", xid);
    return cluster_call(&s->cluster, "GET", path, NULL, 5000, &data, error, sizeof(error)) ? data : NULL;
}

long long stage_now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (long long)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

json_t *stage_wait(struct stage *s, const char *xid, const char *status)
{
    int64_t until = monotonic_ms() + s->o.patience_ms;
    while (monotonic_ms() < until) {
        json_t *data = stage_transaction(s, xid);
        if (strcmp(stage_text(data, "status"), status) == 0)
            return data;
        json_decref(data);
        sleep_ms(20);
    }
    return NULL;
}

/* ---- the leader ---- */

/* As one node sees it; 0 while nobody leads. */
static bool leader_get(struct endpoints *e, long patience_ms, long long *leader, long long *term)
{
    char error[STAGE_ERROR_MAX];
    json_t *data;
    if (!cluster_call(e, "GET", "/cluster", NULL, patience_ms, &data, error, sizeof(error)))
        return false;
    *leader = stage_number(data, "leaderId");
    *term = stage_number(data, "term");
    json_decref(data);
    return true;
}

static bool leader_wait(struct stage *s, long long not_this, long long *leader, long long *term)
{
    int64_t until = monotonic_ms() + s->o.patience_ms;
    while (monotonic_ms() < until) {
        if (leader_get(&s->cluster, 100, leader, term) && *leader != 0 && *leader != not_this)
            return true;
        s->cluster.current = (s->cluster.current + 1) % s->cluster.n;
        sleep_ms(20);
    }
    return false;
}

bool stage_leader_find(struct stage *s)
{
    say(s, "looking for the leader of the cluster at %s", s->o.endpoints);
    if (!leader_wait(s, 0, &s->leader_before, &s->term_before))
        return claim(s, false, "no cluster with a leader answers at %s", s->o.endpoints);
    say(s, "the cluster is led by node %lld in term %lld", s->leader_before, s->term_before);
    return true;
}

/* Process and HTTP address of a node, from the file of the local cluster. */
static bool node_of(const struct stage *s, long long id, pid_t *pid, char *http, size_t size)
{
    json_error_t error;
    json_t *file = json_load_file(s->o.state, 0, &error), *node;
    size_t i;
    bool found = false;
    json_array_foreach(json_object_get(file, "nodes"), i, node)
    {
        if (stage_number(node, "id") == id) {
            *pid = (pid_t)stage_number(node, "pid");
            snprintf(http, size, "%s", stage_text(node, "http"));
            found = *pid > 1;
        }
    }
    if (file == NULL)
        say(s, "%s: %s", s->o.state, error.text);
    json_decref(file);
    return found;
}

bool stage_leader_kill(struct stage *s)
{
    pid_t pid = 0;
    char http[128] = "";
    if (!leader_get(&s->cluster, s->o.patience_ms, &s->leader_before, &s->term_before) ||
        !node_of(s, s->leader_before, &pid, http, sizeof(http)))
        return claim(s, false,
                     "the leader's process is not known (is the cluster up by `assentctl local up`?)");
    int64_t killed_ms = monotonic_ms();
    if (!claim(s, kill(pid, SIGKILL) == 0, "SIGKILL to the leader: node %lld (pid %d, %s), term %lld",
               s->leader_before, (int)pid, http, s->term_before))
        return false;
    if (!leader_wait(s, s->leader_before, &s->leader_after, &s->term_after))
        return claim(s, false, "no new leader");
    return claim(s, s->term_after > s->term_before, "new leader after %lld ms: node %lld, term %lld",
                 (long long)(monotonic_ms() - killed_ms), s->leader_after, s->term_after);
}

/* `assentctl` beside this program, or one folder up as in a build tree, or on the path. */
static bool local_up(struct stage *s)
{
    char self[PATH_MAX] = "", path[PATH_MAX + 32] = "assentctl";
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (s->o.ctl != NULL) {
        snprintf(path, sizeof(path), "%s", s->o.ctl);
    } else if (n > 0) {
        static const char *const places[] = {"", "../", "../ctl/"};
        const char *dir = dirname(self);
        for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
            snprintf(path, sizeof(path), "%s/%sassentctl", dir, places[i]);
            if (access(path, X_OK) == 0)
                break;
            snprintf(path, sizeof(path), "assentctl");
        }
    }
    char state[PATH_MAX];
    snprintf(state, sizeof(state), "%s", s->o.state);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        execlp(path, "assentctl", "local", "up", "--dir", dirname(state), (char *)NULL);
        _exit(127);
    }
    int status = -1;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void stage_leader_restart(struct stage *s)
{
    pid_t pid;
    char http[128] = "", url[192];
    bool up = local_up(s) && node_of(s, s->leader_before, &pid, http, sizeof(http));
    int64_t until = monotonic_ms() + s->o.patience_ms;
    struct http_answer a = {0};
    snprintf(url, sizeof(url), "http://%s/api/v1/cluster", http);
    while (up && a.status != 200 && monotonic_ms() < until) {
        http_answer_clear(&a);
        http_call("GET", url, NULL, NULL, 1000, &a);
        if (a.status != 200)
            sleep_ms(50);
    }
    claim(s, a.status == 200, "the killed node %lld is back as %s", s->leader_before, http);
    http_answer_clear(&a);
}
