/* A participant of the judge's own; see participant.h. */
#include "participant.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

struct participant {
    struct MHD_Daemon *daemon;
    char base[64];
    pthread_mutex_t lock; /* of what follows */
    struct effect *effects;
    uint32_t n, capacity;
    uint64_t random;
    uint32_t trouble, refuse;
};

static uint64_t chance(struct participant *p, uint64_t n)
{
    p->random = p->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (p->random >> 33) % n;
}

static const struct effect *find(const struct participant *p, const char *xid, const char *branch,
                                 const char *op)
{
    for (uint32_t i = p->n; i > 0; i--) {
        const struct effect *e = &p->effects[i - 1];
        if (strcmp(e->xid, xid) == 0 && strcmp(e->branch, branch) == 0 && strcmp(e->op, op) == 0)
            return e;
    }
    return NULL;
}

static void keep(struct participant *p, const char *xid, const char *branch, const char *op, uint64_t token,
                 bool refused)
{
    if (p->n == p->capacity) {
        p->capacity = p->capacity == 0 ? 1024 : 2 * p->capacity;
        p->effects = realloc(p->effects, p->capacity * sizeof *p->effects);
        if (p->effects == NULL)
            abort();
    }
    struct effect *e = &p->effects[p->n];
    *e = (struct effect){.token = token, .number = p->n, .refused = refused};
    snprintf(e->xid, sizeof e->xid, "%s", xid);
    snprintf(e->branch, sizeof e->branch, "%s", branch);
    snprintf(e->op, sizeof e->op, "%s", op);
    p->n++;
}

/* The guard: what the call does, and the status of its answer. */
static unsigned take(struct participant *p, const char *xid, const char *branch, const char *op,
                     uint64_t token)
{
    bool action = strcmp(op, "action") == 0, compensate = strcmp(op, "compensate") == 0;
    const struct effect *before = find(p, xid, branch, op);
    if (before != NULL)
        return before->refused ? 409 : 200;
    if (action && find(p, xid, branch, "compensate") != NULL)
        return 409; /* behind its own undo */
    bool refused = action && chance(p, 1000) < p->refuse;
    keep(p, xid, branch, op, token, refused);
    (void)compensate;
    return refused ? 409 : 200;
}

static const char *header(struct MHD_Connection *c, const char *name)
{
    const char *value = MHD_lookup_connection_value(c, MHD_HEADER_KIND, name);
    return value != NULL ? value : "";
}

static enum MHD_Result on_call(void *cls, struct MHD_Connection *c, const char *url, const char *method,
                               const char *version, const char *data, size_t *size, void **context)
{
    static int seen;
    struct participant *p = cls;
    (void)url;
    (void)method;
    (void)version;
    (void)data;
    if (*context == NULL) {
        *context = &seen;
        return MHD_YES;
    }
    if (*size > 0) { /* the body says nothing we need */
        *size = 0;
        return MHD_YES;
    }
    pthread_mutex_lock(&p->lock);
    uint64_t luck = chance(p, 1000);
    bool trouble = luck < p->trouble;
    unsigned status = trouble && luck % 3 == 0
                          ? 500
                          : take(p, header(c, "Assent-Xid"), header(c, "Assent-Branch"),
                                 header(c, "Assent-Op"), strtoull(header(c, "Assent-Token"), NULL, 10));
    pthread_mutex_unlock(&p->lock);
    if (trouble && luck % 3 == 1)
        return MHD_NO; /* done, but the answer is lost */
    if (trouble && luck % 3 == 2) {
        struct timespec t = {0, (long)(luck % 100) * 10000000};
        nanosleep(&t, NULL);
    }
    static char failure[] = "FAILURE", empty[] = "";
    char *body = status == 409 ? failure : empty;
    struct MHD_Response *r = MHD_create_response_from_buffer(strlen(body), body, MHD_RESPMEM_PERSISTENT);
    enum MHD_Result rv = MHD_queue_response(c, status, r);
    MHD_destroy_response(r);
    return rv;
}

struct participant *participant_open(const char *host, uint64_t seed, uint32_t trouble, uint32_t refuse)
{
    struct participant *p = calloc(1, sizeof *p);
    struct sockaddr_in a = {.sin_family = AF_INET};
    if (p == NULL || inet_pton(AF_INET, host, &a.sin_addr) != 1) {
        free(p);
        return NULL;
    }
    pthread_mutex_init(&p->lock, NULL);
    p->random = seed * 2 + 1;
    p->trouble = trouble;
    p->refuse = refuse;
    p->daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL, 0, NULL, NULL, on_call, p,
                                 MHD_OPTION_SOCK_ADDR, (struct sockaddr *)&a, MHD_OPTION_THREAD_POOL_SIZE, 4u,
                                 MHD_OPTION_CONNECTION_LIMIT, 512u, MHD_OPTION_END);
    if (p->daemon == NULL) {
        free(p);
        return NULL;
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(p->daemon, MHD_DAEMON_INFO_BIND_PORT);
    snprintf(p->base, sizeof p->base, "http://%s:%u", host, info != NULL ? info->port : 0u);
    return p;
}

void participant_close(struct participant *p)
{
    if (p == NULL)
        return;
    MHD_stop_daemon(p->daemon);
    free(p->effects);
    free(p);
}

const char *participant_base(const struct participant *p)
{
    return p->base;
}

void participant_calm(struct participant *p)
{
    pthread_mutex_lock(&p->lock);
    p->trouble = 0;
    pthread_mutex_unlock(&p->lock);
}

const struct effect *participant_effects(struct participant *p, uint32_t *n)
{
    *n = p->n;
    return p->effects;
}
