/* Sessions of the C library: numbered requests that follow the leader, over connections that are cut.
 *
 *   sessions        requests of four sessions, several at a time in each; reads on any node.  Each request
 * takes effect once, in the order of its session, where its answer says; each session reads what it wrote and
 * never goes back sessions-stale  negative control: reads that a node answers alone must break the session's
 * guarantees
 *
 * The only workload that links something of the product: the library is the part that users link.  Its
 * answers are lost on purpose: "cut" shuts every connection that the library has, whatever is on its way, so
 * that it sends again under the same number.  Effects are counted elsewhere: an object's history, read over
 * HTTP, is the log of what was done. */
#include <arpa/inet.h>
#include <assent/client.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common.h"
#include "linear.h"

#define SESSIONS  4
#define KEYS      4
#define PUSHES    400 /* to one object; an object keeps 1000; then another takes its place */
#define KEPT      1000
#define CALL_MS   8000
#define LOG_TRIES 20

struct sessions {
    struct assent_client *clients[SESSIONS];
    uint32_t pushes[KEYS], generation[KEYS], request, final_next;
    json_t *declared; /* objects whose history is kept */
    bool resent_taken;
};

static void *sessions_open(struct run *r)
{
    struct sessions *s = calloc(1, sizeof *s);
    struct assent_options options;
    char endpoints[512] = "";
    if (s == NULL || (s->declared = json_object()) == NULL)
        abort();
    for (uint32_t i = 0; i < r->sut.n; i++)
        snprintf(endpoints + strlen(endpoints), sizeof endpoints - strlen(endpoints), "%s%s:%u",
                 i > 0 ? "," : "", r->sut.nodes[i].host, r->sut.nodes[i].rpc);
    assent_options_init(&options);
    options.endpoints = endpoints;
    options.name = "assent-jepsen";
    options.timeout_ms = CALL_MS;
    for (int i = 0; i < SESSIONS; i++)
        if (assent_open(&s->clients[i], &options) != ASSENT_OK)
            abort();
    return s;
}

static void sessions_close(struct run *r, void *state)
{
    struct sessions *s = state;
    (void)r;
    for (int i = 0; i < SESSIONS; i++)
        assent_close(s->clients[i]);
    json_decref(s->declared);
    free(s);
}

static bool final_next(const struct run *r, struct sessions *s, struct op *invoke)
{
    (void)r;
    uint32_t objects = 0;
    for (int k = 0; k < KEYS; k++)
        objects += s->generation[k] + 1;
    if (s->final_next == objects) {
        if (s->resent_taken)
            return false;
        s->resent_taken = true;
        snprintf(invoke->f, sizeof invoke->f, "resent");
        invoke->key = json_integer(-1);
        invoke->value = json_null();
        return true;
    }
    uint32_t k = 0, generation = s->final_next++;
    while (generation > s->generation[k])
        generation -= s->generation[k++] + 1;
    snprintf(invoke->f, sizeof invoke->f, "log");
    invoke->key = json_integer(k + 1000 * (json_int_t)generation);
    invoke->value = json_null();
    return true;
}

static bool sessions_next(struct run *r, uint32_t worker, bool final, struct op *invoke)
{
    struct sessions *s = r->state;
    if (final)
        return final_next(r, s, invoke);
    uint64_t what = run_random(r, 40), k = run_random(r, KEYS);
    json_int_t session = worker % SESSIONS;
    if (what == 0) {
        snprintf(invoke->f, sizeof invoke->f, "cut");
        invoke->key = json_integer(-1);
        invoke->value = json_null();
        return true;
    }
    if (what >= 20 && s->pushes[k]++ == PUSHES) {
        s->pushes[k] = 0;
        s->generation[k]++;
    }
    snprintf(invoke->f, sizeof invoke->f, what < 20 ? "read" : "push");
    invoke->key = json_integer((json_int_t)k + 1000 * (json_int_t)s->generation[k]);
    invoke->value =
        what < 20 ? json_pack("[I]", session) : json_pack("[I,I]", session, (json_int_t)++s->request);
    return true;
}

/* ---- how it is asked ---- */

static void object_of(const struct op *invoke, char out[32])
{
    snprintf(out, 32, "q%lld", (long long)json_integer_value(invoke->key));
}

/* A descriptor may belong to something else by now: then one HTTP request of the judge breaks, which it
 * bears. */
static json_int_t cut_connections(const struct run *r)
{
    json_int_t cut = 0;
    DIR *dir = opendir("/proc/self/fd");
    for (struct dirent *e = dir != NULL ? readdir(dir) : NULL; e != NULL; e = readdir(dir)) {
        struct sockaddr_in peer;
        socklen_t size = sizeof peer;
        int fd = atoi(e->d_name);
        if (getpeername(fd, (struct sockaddr *)&peer, &size) != 0 || peer.sin_family != AF_INET)
            continue;
        for (uint32_t i = 0; i < r->sut.n; i++)
            if (ntohs(peer.sin_port) == r->sut.nodes[i].rpc && shutdown(fd, SHUT_RDWR) == 0) {
                cut++;
                break;
            }
    }
    closedir(dir);
    return cut;
}

/* Its history must be kept from the first request on.  False: not known to be. */
static bool declare(struct run *r, const struct sut_node *node, const char *object)
{
    struct sessions *s = r->state;
    struct http_answer a;
    pthread_mutex_lock(&r->lock);
    bool known = json_object_get(s->declared, object) != NULL;
    pthread_mutex_unlock(&r->lock);
    if (known)
        return true;
    json_t *body = json_pack("{s:s,s:i}", "object", object, "history", KEPT);
    http_ask(node->base, "POST", "/api/v1/version/declare", NULL, body, ASK_MS, false, &a);
    json_decref(body);
    bool done = a.outcome == HTTP_DONE;
    http_close(&a);
    pthread_mutex_lock(&r->lock);
    if (done)
        json_object_set_new(s->declared, object, json_true());
    pthread_mutex_unlock(&r->lock);
    return done;
}

static void push(struct run *r, uint32_t worker, const struct sut_node *node, const struct op *invoke,
                 struct op *done)
{
    struct sessions *s = r->state;
    struct assent_stamp stamp = {.epoch = 0};
    char object[32];
    object_of(invoke, object);
    if (!declare(r, node, object)) {
        done->type = OP_FAIL;
        snprintf(done->error, sizeof done->error, "not declared");
        return;
    }
    char *value = json_dumps(invoke->value, JSON_COMPACT);
    if (value == NULL)
        abort();
    int rc = assent_clock_version_increment(s->clients[worker % SESSIONS], object, "w", value, NULL, &stamp);
    free(value);
    bool nothing = assent_error_retry(rc) == ASSENT_RETRY_LATER ||
                   (assent_error_retry(rc) == ASSENT_RETRY_NEVER && rc != ASSENT_SESSION_EXPIRED);
    done->type = rc == ASSENT_OK ? OP_OK : nothing ? OP_FAIL : OP_INFO;
    if (rc == ASSENT_OK && stamp.vector.n == 1)
        done->value = json_integer((json_int_t)stamp.vector.entries[0].count);
    else
        snprintf(done->error, sizeof done->error, "%s", assent_error_name(rc));
    assent_stamp_close(&stamp);
}

/* The newest version: its place, and the request that made it. */
static void read_object(const struct sut_node *node, const struct op *invoke, struct op *done, bool stale)
{
    char object[32], path[128];
    struct http_answer a;
    object_of(invoke, object);
    snprintf(path, sizeof path, "/api/v1/version/current?object=%s%s", object, stale ? "&stale=true" : "");
    http_ask(node->base, "GET", path, NULL, NULL, ASK_MS, true, &a);
    op_ended(&a, done);
    json_t *sibling = json_array_get(json_object_get(a.data, "siblings"), 0),
           *position = json_object_get(json_object_get(sibling, "dot"), "w");
    if (done->type == OP_OK && position != NULL)
        done->value = json_pack("[O,O]", position, json_object_get(sibling, "value"));
    if (a.status == 404 || (done->type == OP_OK && position == NULL)) {
        done->type = OP_OK;
        done->error[0] = 0;
        done->value = json_pack("[i,n]", 0);
    }
    http_close(&a);
}

/* The whole history of an object, the oldest first.  Asked at any node until one answers. */
static void read_log(struct run *r, const struct sut_node *node, const struct op *invoke, struct op *done)
{
    char object[32], path[128];
    object_of(invoke, object);
    snprintf(path, sizeof path, "/api/v1/version/history?object=%s&limit=%d", object, KEPT);
    done->type = OP_FAIL;
    for (uint32_t i = 0; i < LOG_TRIES && done->type != OP_OK; i++) {
        struct http_answer a;
        http_ask(r->sut.nodes[(node->id - 1 + i) % r->sut.n].base, "GET", path, NULL, NULL, ASK_MS, true, &a);
        json_t *rows = json_object_get(a.data, "history"), *log = json_array();
        op_ended(&a, done);
        for (size_t k = json_array_size(rows); k > 0; k--)
            json_array_append(log, json_object_get(json_array_get(rows, k - 1), "value"));
        if (a.status == 404) {
            done->type = OP_OK;
            done->error[0] = 0;
        }
        bool whole =
            json_integer_value(json_object_get(a.data, "recorded")) == (json_int_t)json_array_size(rows);
        if (done->type == OP_OK && !whole) { /* never: what was cut off cannot be judged */
            done->type = OP_FAIL;
            snprintf(done->error, sizeof done->error, "history cut off");
        }
        if (done->type == OP_OK)
            done->value = log;
        else
            json_decref(log);
        http_close(&a);
        if (done->type != OP_OK)
            nap_ms(200);
    }
}

static void perform(struct run *r, uint32_t worker, const struct sut_node *node, const struct op *invoke,
                    struct op *done, bool stale)
{
    struct sessions *s = r->state;
    if (strcmp(invoke->f, "push") == 0) {
        push(r, worker, node, invoke, done);
    } else if (strcmp(invoke->f, "read") == 0) {
        read_object(node, invoke, done, stale);
    } else if (strcmp(invoke->f, "log") == 0) {
        read_log(r, node, invoke, done);
    } else if (strcmp(invoke->f, "cut") == 0) {
        done->type = OP_OK;
        done->value = json_integer(cut_connections(r));
    } else { /* how often a request was sent again: none would prove little */
        struct assent_stats stats;
        json_int_t resent = 0;
        for (int i = 0; i < SESSIONS; i++) {
            assent_stats(s->clients[i], &stats);
            resent += (json_int_t)stats.resent;
        }
        done->type = OP_OK;
        done->value = json_integer(resent);
    }
}

static void sessions_perform(struct run *r, uint32_t worker, const struct sut_node *node,
                             const struct op *invoke, struct op *done)
{
    perform(r, worker, node, invoke, done, false);
}

static void stale_perform(struct run *r, uint32_t worker, const struct sut_node *node,
                          const struct op *invoke, struct op *done)
{
    perform(r, worker, node, invoke, done, true);
}

/* Exactly once under repetition is a claim about repetitions: without any, nothing is known. */
static void sessions_check(struct run *r, const struct history *h, struct verdict *v)
{
    (void)r;
    check_sessions(h, v);
    for (size_t i = 0; i < h->n && v->valid == VALID; i++)
        if (h->ops[i].type == OP_OK && strcmp(h->ops[i].f, "resent") == 0 &&
            json_integer_value(h->ops[i].value) == 0)
            verdict_unknown(v, 1, "no request was sent again");
}

const struct workload workload_sessions = {
    "sessions",     "requests of the C library take effect once; sessions never go back",
    sessions_next,  sessions_perform,
    sessions_check, sessions_open,
    sessions_close};
const struct workload workload_sessions_stale = {
    "sessions-stale", "negative control: a partition must break the guarantees of stale reads",
    sessions_next,    stale_perform,
    sessions_check,   sessions_open,
    sessions_close};
