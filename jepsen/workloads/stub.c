/* A participant with guard rows; see stub.h. */
#include "stub.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "run.h"

#define BUCKETS 65536u
#define LATE_MS 900

struct record {
    char xid[40], branch[16], op[16];
    uint64_t token;
    enum stub_what what;
    uint32_t older; /* in the same bucket: its number + 1 */
};

struct stub {
    struct MHD_Daemon *daemon;
    char base[64];
    stub_business business;
    void *user;
    pthread_mutex_t lock; /* of what follows */
    struct record *records;
    uint32_t n, capacity;
    uint32_t buckets[BUCKETS];
    uint64_t random;
    uint32_t trouble;
    bool no_tries, away;
    stub_answer answer;
    stub_serve serve;
};

struct body {
    char *bytes;
    size_t n;
};

static uint32_t bucket(const char *xid, const char *branch, const char *op)
{
    uint32_t x = 2166136261u;
    const char *const parts[] = {xid, branch, op};
    for (int i = 0; i < 3; i++)
        for (const char *c = parts[i]; *c != 0; c++)
            x = (x ^ (unsigned char)*c) * 16777619u;
    return x % BUCKETS;
}

static const struct record *find(const struct stub *s, const char *xid, const char *branch, const char *op)
{
    for (uint32_t i = s->buckets[bucket(xid, branch, op)]; i > 0; i = s->records[i - 1].older) {
        const struct record *e = &s->records[i - 1];
        if (strcmp(e->xid, xid) == 0 && strcmp(e->branch, branch) == 0 && strcmp(e->op, op) == 0)
            return e;
    }
    return NULL;
}

static void keep(struct stub *s, const struct stub_call *c, enum stub_what what)
{
    if (s->n == s->capacity) {
        s->capacity = s->capacity == 0 ? 1024 : 2 * s->capacity;
        s->records = realloc(s->records, s->capacity * sizeof *s->records);
        if (s->records == NULL)
            abort();
    }
    uint32_t *head = &s->buckets[bucket(c->xid, c->branch, c->op)];
    struct record *e = &s->records[s->n++];
    *e = (struct record){.token = c->token, .what = what, .older = *head};
    snprintf(e->xid, sizeof e->xid, "%s", c->xid);
    snprintf(e->branch, sizeof e->branch, "%s", c->branch);
    snprintf(e->op, sizeof e->op, "%s", c->op);
    *head = s->n;
}

static bool stands(const struct record *e)
{
    return e != NULL && e->what == STUB_DONE;
}

/* The guard: what the call does, or did when it came first. */
static enum stub_what take(struct stub *s, const struct stub_call *c)
{
    const struct record *before = find(s, c->xid, c->branch, c->op);
    bool trial = strcmp(c->op, "try") == 0, action = strcmp(c->op, "action") == 0,
         cancel = strcmp(c->op, "cancel") == 0, compensate = strcmp(c->op, "compensate") == 0,
         confirm = strcmp(c->op, "confirm") == 0;
    if (before != NULL)
        return before->what;
    enum stub_what what;
    if ((trial && find(s, c->xid, c->branch, "cancel") != NULL) ||
        (action && find(s, c->xid, c->branch, "compensate") != NULL))
        what = STUB_HANGING;
    else if ((cancel && !stands(find(s, c->xid, c->branch, "try"))) ||
             (compensate && !stands(find(s, c->xid, c->branch, "action"))))
        what = STUB_NULL;
    else if (confirm && !s->no_tries && !stands(find(s, c->xid, c->branch, "try")))
        what = STUB_BARE;
    else
        what = s->business(s->user, c) ? STUB_DONE : STUB_REFUSED;
    keep(s, c, what);
    return what;
}

/* The status of the answer. */
static unsigned guard(struct stub *s, const struct stub_call *c)
{
    enum stub_what what = take(s, c);
    unsigned status = what == STUB_REFUSED || what == STUB_HANGING ? 409 : 200;
    return s->answer != NULL ? s->answer(s->user, c, what, status) : status;
}

static uint64_t chance(struct stub *s, uint64_t n)
{
    s->random = s->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (s->random >> 33) % n;
}

static void late(uint64_t luck)
{
    uint64_t ms = luck * 7 % LATE_MS;
    struct timespec t = {0, (long)ms * 1000000};
    nanosleep(&t, NULL);
}

static const char *header(struct MHD_Connection *c, const char *name)
{
    const char *value = MHD_lookup_connection_value(c, MHD_HEADER_KIND, name);
    return value != NULL ? value : "";
}

static enum MHD_Result answer(struct stub *s, struct MHD_Connection *c, const struct body *body)
{
    static char failure[] = "FAILURE", empty[] = "";
    json_t *payload = body->n > 0 ? json_loadb(body->bytes, body->n, 0, NULL) : NULL;
    const struct stub_call call = {header(c, "Assent-Xid"), header(c, "Assent-Branch"),
                                   header(c, "Assent-Op"), strtoull(header(c, "Assent-Token"), NULL, 10),
                                   payload};
    stub_lock(s);
    uint64_t luck = chance(s, 1000), way = luck < s->trouble ? luck % 4 : 9;
    bool away = s->away;
    stub_unlock(s);
    if (way == 3 && !away) /* it takes effect when the caller may have given up */
        late(luck);
    unsigned status = way == 0 ? 500 : 0;
    if (!away && way != 0) {
        status = s->serve != NULL ? s->serve(s->user, &call) : 0;
        stub_lock(s);
        if (status == 0)
            status = guard(s, &call);
        stub_unlock(s);
    }
    json_decref(payload);
    if (way == 1 || away)
        return MHD_NO; /* done, but the answer is lost */
    if (way == 2)
        late(luck);
    char *text = status == 409 ? failure : empty;
    struct MHD_Response *r = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_PERSISTENT);
    enum MHD_Result rv = MHD_queue_response(c, status, r);
    MHD_destroy_response(r);
    return rv;
}

static enum MHD_Result on_call(void *cls, struct MHD_Connection *c, const char *url, const char *method,
                               const char *version, const char *data, size_t *size, void **context)
{
    struct body *body = *context;
    (void)url;
    (void)method;
    (void)version;
    if (body == NULL)
        return (*context = calloc(1, sizeof *body)) != NULL ? MHD_YES : MHD_NO;
    if (*size > 0) {
        char *more = realloc(body->bytes, body->n + *size);
        if (more == NULL)
            return MHD_NO;
        memcpy(more + body->n, data, *size);
        body->bytes = more;
        body->n += *size;
        *size = 0;
        return MHD_YES;
    }
    return answer(cls, c, body);
}

static void on_end(void *cls, struct MHD_Connection *c, void **context, enum MHD_RequestTerminationCode why)
{
    struct body *body = *context;
    (void)cls;
    (void)c;
    (void)why;
    if (body != NULL)
        free(body->bytes);
    free(body);
    *context = NULL;
}

struct stub *stub_open(struct run *r, uint32_t trouble, stub_business business, void *user)
{
    struct stub *s = calloc(1, sizeof *s);
    struct sockaddr_in a = {.sin_family = AF_INET};
    char host[32] = "127.0.0.1";
    if (r->sut.wants & SUT_NETWORK) { /* the bridge's address: the nodes' with 1 at the end */
        snprintf(host, sizeof host, "%s", r->sut.nodes[0].host);
        snprintf(strrchr(host, '.'), 4, ".1");
    }
    if (s == NULL || inet_pton(AF_INET, host, &a.sin_addr) != 1)
        abort();
    pthread_mutex_init(&s->lock, NULL);
    s->random = r->o.seed * 2 + 1;
    s->trouble = trouble;
    s->business = business;
    s->user = user;
    s->daemon =
        MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION, 0, NULL, NULL,
                         on_call, s, MHD_OPTION_SOCK_ADDR, (struct sockaddr *)&a, MHD_OPTION_CONNECTION_LIMIT,
                         512u, MHD_OPTION_NOTIFY_COMPLETED, on_end, NULL, MHD_OPTION_END);
    if (s->daemon == NULL) {
        fprintf(stderr, "assent-jepsen: no participant can listen on %s\n", host);
        exit(3);
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_BIND_PORT);
    snprintf(s->base, sizeof s->base, "http://%s:%u", host, info != NULL ? info->port : 0u);
    return s;
}

void stub_close(struct stub *s)
{
    if (s == NULL)
        return;
    MHD_stop_daemon(s->daemon);
    pthread_mutex_destroy(&s->lock);
    free(s->records);
    free(s);
}

const char *stub_base(const struct stub *s)
{
    return s->base;
}

void stub_calm(struct stub *s)
{
    stub_lock(s);
    s->trouble = 0;
    stub_unlock(s);
}

void stub_no_tries(struct stub *s)
{
    s->no_tries = true;
}

void stub_away(struct stub *s, bool away)
{
    stub_lock(s);
    s->away = away;
    stub_unlock(s);
}

enum stub_what stub_do(struct stub *s, const struct stub_call *call)
{
    stub_lock(s);
    enum stub_what what = take(s, call);
    stub_unlock(s);
    return what;
}

void stub_answers(struct stub *s, stub_answer choose)
{
    s->answer = choose;
}

void stub_serves(struct stub *s, stub_serve serve)
{
    s->serve = serve;
}

void stub_lock(struct stub *s)
{
    pthread_mutex_lock(&s->lock);
}

void stub_unlock(struct stub *s)
{
    pthread_mutex_unlock(&s->lock);
}

const char *stub_what_name(enum stub_what what)
{
    static const char *const names[] = {"done", "refused", "null", "hanging", "bare"};
    return names[what];
}

json_t *stub_records(struct stub *s)
{
    json_t *list = json_array();
    stub_lock(s);
    for (uint32_t i = 0; i < s->n; i++) {
        const struct record *e = &s->records[i];
        json_array_append_new(list, json_pack("[s,s,s,I,s]", e->xid, e->branch, e->op, (json_int_t)e->token,
                                              stub_what_name(e->what)));
    }
    stub_unlock(s);
    return list;
}
