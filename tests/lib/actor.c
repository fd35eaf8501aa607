/* A participant that follows a script. */
#include "actor.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

struct token {
    char branch[ACTOR_NAME_MAX * 2]; /* with its xid: nested transactions share a scene */
    uint64_t newest;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct MHD_Daemon *daemon;
    char url[64];
    char scene[ACTOR_NAME_MAX];
    const struct actor_rule *rules;
    void (*react)(const char *call, const char *xid);
    struct actor_call calls[ACTOR_CALLS_MAX];
    uint32_t order[ACTOR_CALLS_MAX], effects; /* calls in order of their effect */
    uint32_t n;
    struct token tokens[ACTOR_CALLS_MAX];
    uint32_t tokens_n;
    char hold[ACTOR_NAME_MAX];
    bool held, open, abandoned; /* the held call's caller has hung up */
    int held_fd;
    uint32_t held_call; /* index of its name */
    uint32_t epoch;     /* a held call of an earlier scene goes when this grows */
    char wrong[256];
} a = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static struct actor_call *find(const char *name, bool make)
{
    for (uint32_t i = 0; i < a.n; i++)
        if (strcmp(a.calls[i].name, name) == 0)
            return &a.calls[i];
    if (!make || a.n == ACTOR_CALLS_MAX)
        return NULL;
    struct actor_call *c = &a.calls[a.n++];
    *c = (struct actor_call){.received = 0};
    snprintf(c->name, sizeof(c->name), "%s", name);
    return c;
}

static void wrong(const char *what, const char *call)
{
    if (a.wrong[0] == 0)
        snprintf(a.wrong, sizeof(a.wrong), "%s: %s", call, what);
}

static void token_check(const char *xid, const char *branch, const char *call, const char *text)
{
    char key[sizeof(a.tokens[0].branch)];
    struct token *t = NULL;
    char *end = NULL;
    uint64_t token = text != NULL ? strtoull(text, &end, 10) : 0;
    if (end == NULL || end == text || *end != 0) {
        wrong("no fencing token", call);
        return;
    }
    snprintf(key, sizeof(key), "%.60s %.60s", xid, branch);
    for (uint32_t i = 0; i < a.tokens_n; i++)
        if (strcmp(a.tokens[i].branch, key) == 0)
            t = &a.tokens[i];
    if (t == NULL && a.tokens_n < ACTOR_CALLS_MAX) {
        t = &a.tokens[a.tokens_n++];
        *t = (struct token){.newest = 0};
        memcpy(t->branch, key, sizeof(key));
    }
    if (t == NULL)
        return;
    if (token < t->newest)
        wrong("its token is older than one seen", call);
    t->newest = token > t->newest ? token : t->newest;
}

/* An action behind its compensation, a try behind its cancel: nobody would ever take it back. */
static bool late(const char *branch, const char *op)
{
    char undo[ACTOR_NAME_MAX];
    const char *other = strcmp(op, "action") == 0 ? "compensate" : strcmp(op, "try") == 0 ? "cancel" : NULL;
    if (other == NULL)
        return false;
    snprintf(undo, sizeof(undo), "%.30s %s", branch, other);
    const struct actor_call *c = find(undo, false);
    return c != NULL && c->effect;
}

static const struct actor_rule *rule_of(struct actor_call *c)
{
    uint32_t used = c->ruled;
    for (const struct actor_rule *r = a.rules; r != NULL && r->call != NULL; r++) {
        if (strcmp(r->call, c->name) != 0)
            continue;
        if (r->times == 0 || used < r->times) {
            c->ruled++;
            return r;
        }
        used -= r->times;
    }
    return NULL;
}

/* A caller that was replaced has hung up, or died: its call is not under way any more. */
static void look_after_held(void)
{
    struct pollfd p = {a.held_fd, POLLRDHUP, 0};
    if (!a.held || a.open || a.abandoned || poll(&p, 1, 0) <= 0)
        return;
    a.abandoned = true;
    a.calls[a.held_call].at_a_time--;
}

/* With the lock.  True: the call is still under way. */
static bool hold(const struct actor_call *c, int fd)
{
    uint32_t epoch = a.epoch;
    if (a.held || a.hold[0] == 0 || strcmp(a.hold, c->name) != 0)
        return true;
    a.held = true;
    a.held_fd = fd;
    a.held_call = (uint32_t)(c - a.calls);
    pthread_cond_broadcast(&a.changed);
    while (!a.open && a.epoch == epoch)
        pthread_cond_wait(&a.changed, &a.lock);
    return a.epoch == epoch && !a.abandoned;
}

/* The status and body of the answer. */
static int answer(int fd, const char *xid, const char *branch, const char *op, const char *token,
                  const char **body)
{
    char name[ACTOR_NAME_MAX];
    int status = 200;
    *body = "{}";
    snprintf(name, sizeof(name), "%.30s %.30s", branch, op);
    pthread_mutex_lock(&a.lock);
    struct actor_call *c = strncmp(xid, a.scene, strlen(a.scene)) == 0 ? find(name, true) : NULL;
    uint32_t epoch = a.epoch;
    if (c == NULL) {
        pthread_mutex_unlock(&a.lock);
        return status;
    }
    c->received++;
    look_after_held();
    if (++c->at_a_time > 1)
        wrong("two calls at a time", name);
    token_check(xid, branch, name, token);
    const struct actor_rule *r = rule_of(c);
    if (r != NULL) {
        status = r->status;
        *body = r->body != NULL ? r->body : "{}";
    } else if (late(branch, op)) {
        status = 409;
    }
    if (status / 100 == 2 && !c->effect) {
        c->effect = true;
        a.order[a.effects++] = (uint32_t)(c - a.calls);
    }
    void (*react)(const char *, const char *) = a.react;
    pthread_cond_broadcast(&a.changed);
    if (react != NULL) {
        pthread_mutex_unlock(&a.lock);
        react(name, xid);
        pthread_mutex_lock(&a.lock);
    }
    if (a.epoch == epoch && hold(c, fd)) /* else the scene is over, and its calls are */
        c->at_a_time--;
    pthread_mutex_unlock(&a.lock);
    return status;
}

static enum MHD_Result on_call(void *data, struct MHD_Connection *connection, const char *url,
                               const char *method, const char *version, const char *upload, size_t *size,
                               void **seen)
{
    static char mark;
    (void)data, (void)url, (void)method, (void)version, (void)upload;
    if (*seen == NULL || *size > 0) {
        *seen = &mark;
        *size = 0;
        return MHD_YES;
    }
#define HEADER(name) MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name)
    const char *xid = HEADER("Assent-Xid"), *branch = HEADER("Assent-Branch"), *op = HEADER("Assent-Op");
    const char *body;
    int fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    int status = answer(fd, xid != NULL ? xid : "", branch != NULL ? branch : "", op != NULL ? op : "",
                        HEADER("Assent-Token"), &body);
#undef HEADER
    struct MHD_Response *r =
        MHD_create_response_from_buffer(strlen(body), (void *)(uintptr_t)body, MHD_RESPMEM_MUST_COPY);
    enum MHD_Result rv = MHD_queue_response(connection, (unsigned)status, r);
    MHD_destroy_response(r);
    return rv;
}

const char *actor_open(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    a.daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION, 0, NULL,
                                NULL, on_call, NULL, MHD_OPTION_SOCK_ADDR, &address, MHD_OPTION_END);
    if (a.daemon == NULL)
        abort();
    snprintf(a.url, sizeof(a.url), "http://127.0.0.1:%u/",
             MHD_get_daemon_info(a.daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
    return a.url;
}

void actor_close(void)
{
    actor_scene("\x01 none", NULL, NULL, NULL);
    MHD_stop_daemon(a.daemon);
    a.daemon = NULL;
}

void actor_scene(const char *xid, const char *call, const struct actor_rule *rules,
                 void (*react)(const char *call, const char *xid))
{
    pthread_mutex_lock(&a.lock);
    snprintf(a.scene, sizeof(a.scene), "%s", xid);
    snprintf(a.hold, sizeof(a.hold), "%s", call != NULL ? call : "");
    a.rules = rules;
    a.react = react;
    a.n = a.effects = a.tokens_n = 0;
    a.held = a.open = a.abandoned = false;
    a.wrong[0] = 0;
    a.epoch++;
    pthread_cond_broadcast(&a.changed);
    pthread_mutex_unlock(&a.lock);
}

static struct timespec time_in(long ms)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += ms % 1000 * 1000000;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}

bool actor_wait_held(long patience_ms)
{
    struct timespec until = time_in(patience_ms);
    int rv = 0;
    pthread_mutex_lock(&a.lock);
    while (!a.held && rv == 0)
        rv = pthread_cond_timedwait(&a.changed, &a.lock, &until);
    bool held = a.held;
    pthread_mutex_unlock(&a.lock);
    return held;
}

void actor_release(void)
{
    pthread_mutex_lock(&a.lock);
    a.open = true;
    pthread_cond_broadcast(&a.changed);
    pthread_mutex_unlock(&a.lock);
}

bool actor_wait_calls(const char *call, uint32_t n, long patience_ms)
{
    struct timespec until = time_in(patience_ms);
    int rv = 0;
    pthread_mutex_lock(&a.lock);
    const struct actor_call *c;
    while (((c = find(call, false)) == NULL || c->received < n) && rv == 0)
        rv = pthread_cond_timedwait(&a.changed, &a.lock, &until);
    bool came = c != NULL && c->received >= n;
    pthread_mutex_unlock(&a.lock);
    return came;
}

void actor_effects(char *out, size_t size)
{
    size_t used = 0;
    out[0] = 0;
    pthread_mutex_lock(&a.lock);
    for (uint32_t i = 0; i < a.effects && used < size; i++)
        used +=
            (size_t)snprintf(out + used, size - used, "%s%s", i > 0 ? ", " : "", a.calls[a.order[i]].name);
    pthread_mutex_unlock(&a.lock);
}

bool actor_call_get(const char *call, struct actor_call *out)
{
    pthread_mutex_lock(&a.lock);
    const struct actor_call *c = find(call, false);
    if (c != NULL)
        *out = *c;
    pthread_mutex_unlock(&a.lock);
    return c != NULL;
}

const char *actor_wrong(void)
{
    static char copy[sizeof(a.wrong)];
    pthread_mutex_lock(&a.lock);
    memcpy(copy, a.wrong, sizeof(copy));
    pthread_mutex_unlock(&a.lock);
    return copy;
}
