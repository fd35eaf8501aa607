/* The frame of a participant: options, HTTP, gate. */
#include "service.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BODY_MAX        65536
#define CONNECTIONS_MAX 256
#define GATE_WAIT_S     60 /* longest wait of a call at the gate */

/* One request while its body arrives. */
struct request {
    size_t size;
    char body[BODY_MAX];
    bool too_large;
};

struct service_reply service_failed(int status, const char *why)
{
    return (struct service_reply){status, json_pack("{s:b, s:s}", "success", 0, "error", why)};
}

struct service_reply service_outcome(enum ledger_outcome outcome, const char *why)
{
    if (outcome == LEDGER_REFUSED)
        return service_failed(409, why);
    return (struct service_reply){200,
                                  json_pack("{s:b, s:b, s:b}", "success", 1, "repeated",
                                            outcome == LEDGER_REPEATED, "empty", outcome == LEDGER_EMPTY)};
}

bool service_name_ok(const char *name)
{
    return name != NULL && name[0] != 0 && strlen(name) <= LEDGER_NAME_MAX;
}

/* ---- the gate ---- */

static bool gate_pass(struct service *s, enum ledger_op op)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += GATE_WAIT_S;
    int rv = 0;
    pthread_mutex_lock(&s->mutex);
    s->waiting++;
    while (strcmp(s->closed, ledger_op_name(op)) == 0 && rv == 0)
        rv = pthread_cond_timedwait(&s->changed, &s->mutex, &until);
    s->waiting--;
    pthread_mutex_unlock(&s->mutex);
    return rv == 0;
}

static void gate_close(struct service *s, const char *op)
{
    pthread_mutex_lock(&s->mutex);
    snprintf(s->closed, sizeof(s->closed), "%s", op);
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
}

static struct service_reply gate_get(const struct service_call *call)
{
    struct service *s = call->service;
    pthread_mutex_lock(&s->mutex);
    struct service_reply r = {200, json_pack("{s:s, s:i}", "closed", s->closed, "waiting", (int)s->waiting)};
    pthread_mutex_unlock(&s->mutex);
    return r;
}

static struct service_reply gate_set(const struct service_call *call)
{
    const char *closed = json_string_value(json_object_get(call->body, "closed"));
    if (closed == NULL)
        return service_failed(400, "closed: the operation that is to wait, or \"\"");
    gate_close(call->service, closed);
    return gate_get(call);
}

/* ---- what all ledgers do ---- */

static bool token_parse(const char *text, uint64_t *token)
{
    char *end = NULL;
    errno = 0;
    *token = text != NULL && text[0] >= '0' && text[0] <= '9' ? strtoull(text, &end, 10) : 0;
    return end != NULL && *end == 0 && errno == 0;
}

struct service_reply service_settle(const struct service_call *call, enum ledger_op op)
{
    uint64_t token;
    char why[128] = "";
    if (!service_name_ok(call->xid) || !service_name_ok(call->branch) || !token_parse(call->token, &token))
        return service_failed(400, "the headers Assent-Xid, Assent-Branch and Assent-Token are needed");
    if (call->op != NULL && strcmp(call->op, ledger_op_name(op)) != 0)
        return service_failed(400, "Assent-Op names another operation than the path");
    return service_outcome(
        ledger_settle(call->service->ledger, op, call->xid, call->branch, token, why, sizeof(why)), why);
}

struct service_reply service_act(const struct service_call *call, const char *account, long long amount)
{
    bool called = call->xid != NULL; /* by the coordinator */
    const char *xid = called ? call->xid : json_string_value(json_object_get(call->body, "xid"));
    const char *branch = called ? call->branch : json_string_value(json_object_get(call->body, "branch"));
    uint64_t token = 0;
    char why[128] = "";
    if (called && !token_parse(call->token, &token))
        return service_failed(400, "the header Assent-Token is needed");
    if (!service_name_ok(xid) || !service_name_ok(branch) || !service_name_ok(account))
        return service_failed(400, "xid, branch and account are needed");
    return service_outcome(
        ledger_act(call->service->ledger, xid, branch, account, amount, token, why, sizeof(why)), why);
}

static void add_account(void *data, const struct ledger_account *a)
{
    json_array_append_new(data,
                          json_pack("{s:s, s:I, s:I, s:I, s:I}", "account", a->name, "balance",
                                    (json_int_t)a->balance, "available", (json_int_t)(a->balance - a->frozen),
                                    "frozen", (json_int_t)a->frozen, "coming", (json_int_t)a->coming));
}

static struct service_reply accounts(const struct service_call *call)
{
    json_t *list = json_array();
    ledger_accounts(call->service->ledger, add_account, list);
    return (struct service_reply){200, json_pack("{s:s, s:s, s:o}", "name", call->service->name, "unit",
                                                 call->service->unit, "accounts", list)};
}

static void add_entry(void *data, const struct ledger_entry *e)
{
    json_array_append_new(data, json_pack("{s:s, s:s, s:s, s:I, s:i}", "xid", e->xid, "branch", e->branch,
                                          "op", ledger_op_name(e->op), "token", (json_int_t)e->token, "calls",
                                          (int)e->calls));
}

static struct service_reply entries(const struct service_call *call, const char *xid)
{
    if (xid != NULL && !service_name_ok(xid))
        return service_failed(400, "xid is too long");
    json_t *list = json_array();
    ledger_entries(call->service->ledger, xid, add_entry, list);
    return (struct service_reply){200, json_pack("{s:o}", "entries", list)};
}

/* ---- HTTP ---- */

static const struct service_route common[] = {
    {"GET", "/accounts", (enum ledger_op)0, accounts},
    {"GET", "/gate", (enum ledger_op)0, gate_get},
    {"POST", "/gate", (enum ledger_op)0, gate_set},
};

static const struct service_route *route_find(const struct service_route *routes, size_t n,
                                              const char *method, const char *path)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(routes[i].method, method) == 0 && strcmp(routes[i].path, path) == 0)
            return &routes[i];
    return NULL;
}

static struct service_call call_of(struct service *s, struct MHD_Connection *connection)
{
    return (struct service_call){
        .service = s,
        .xid = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Assent-Xid"),
        .branch = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Assent-Branch"),
        .op = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Assent-Op"),
        .token = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Assent-Token"),
    };
}

static struct service_reply dispatch(struct service_call *call, struct MHD_Connection *connection,
                                     const char *method, const char *path, const struct request *r)
{
    const struct service *s = call->service;
    if (r->too_large)
        return service_failed(413, "the body is too large");
    if (!s->stateless && strcmp(method, "GET") == 0 && strcmp(path, "/ledger") == 0)
        return entries(call, MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "xid"));
    const struct service_route *route = route_find(s->routes, s->routes_n, method, path);
    if (route == NULL && !s->stateless)
        route = route_find(common, sizeof(common) / sizeof(common[0]), method, path);
    if (route == NULL)
        return service_failed(404, "no such path");
    if (route->op != 0 && !gate_pass(call->service, route->op))
        return service_failed(503, "the gate stayed closed");
    json_t *body = json_loadb(r->body, r->size, 0, NULL);
    call->body = json_is_object(body) ? body : NULL;
    struct service_reply reply = route->run(call);
    json_decref(body);
    return reply;
}

static enum MHD_Result send_reply(struct MHD_Connection *connection, struct service_reply reply)
{
    char *text = json_dumps(reply.body, JSON_COMPACT);
    json_decref(reply.body);
    if (text == NULL)
        return MHD_NO;
    struct MHD_Response *response =
        MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
    MHD_add_response_header(response, "Content-Type", "application/json");
    enum MHD_Result rv = MHD_queue_response(connection, (unsigned)reply.status, response);
    MHD_destroy_response(response);
    return rv;
}

static enum MHD_Result on_request(void *data, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **state)
{
    struct request *r = *state;
    (void)version;
    if (r == NULL) {
        *state = calloc(1, sizeof(*r));
        return *state != NULL ? MHD_YES : MHD_NO;
    }
    if (*upload_size > 0) {
        r->too_large = r->too_large || *upload_size > sizeof(r->body) - r->size;
        if (!r->too_large) {
            memcpy(r->body + r->size, upload, *upload_size);
            r->size += *upload_size;
        }
        *upload_size = 0;
        return MHD_YES;
    }
    struct service_call call = call_of(data, connection);
    return send_reply(connection, dispatch(&call, connection, method, path, r));
}

static void on_completed(void *data, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode why)
{
    (void)data, (void)connection, (void)why;
    free(*state);
    *state = NULL;
}

/* ---- start and stop ---- */

/* "alice=100000,bob=50000" */
static bool accounts_add(struct ledger *ledger, const char *text, char *err, size_t err_size)
{
    char *copy = strdup(text), *rest = copy, *item;
    bool ok = copy != NULL;
    while (ok && (item = strsep(&rest, ",")) != NULL) {
        char *equals = strchr(item, '='), *end = NULL;
        errno = 0;
        long long balance = equals != NULL ? strtoll(equals + 1, &end, 10) : 0;
        if (equals == NULL || end == equals + 1 || *end != 0 || errno != 0) {
            snprintf(err, err_size, "--accounts: %s is not name=number", item);
            ok = false;
        } else {
            *equals = 0;
            ok = ledger_account_add(ledger, item, balance, err, err_size);
        }
    }
    free(copy);
    return ok;
}

static bool option_take(struct service *s, const char *name, const char *value)
{
    if (strcmp(name, "--listen") == 0)
        snprintf(s->listen, sizeof(s->listen), "%s", value);
    else if (strcmp(name, "--name") == 0)
        s->name = value;
    else if (!s->stateless && strcmp(name, "--data") == 0)
        s->dir = value;
    else if (!s->stateless && strcmp(name, "--accounts") == 0)
        s->accounts = value;
    else if (!s->stateless && strcmp(name, "--gate") == 0)
        gate_close(s, value);
    else
        return s->option != NULL && s->option(s, name, value);
    return true;
}

static bool options_parse(struct service *s, int argc, char **argv)
{
    s->name = s->kind;
    for (int i = 0; i < argc; i += 2)
        if (i + 1 == argc || !option_take(s, argv[i], argv[i + 1]))
            return false;
    char *colon = strrchr(s->listen, ':');
    if (colon == NULL || (s->dir == NULL && !s->stateless))
        return false;
    *colon = 0;
    s->host = s->listen;
    s->port = colon + 1;
    return true;
}

static struct MHD_Daemon *serve(struct service *s, uint16_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    char *end;
    unsigned long number = strtoul(s->port, &end, 10);
    if (*s->port == 0 || *end != 0 || number > UINT16_MAX ||
        inet_pton(AF_INET, s->host, &address.sin_addr) != 1)
        return NULL;
    address.sin_port = htons((uint16_t)number);
    struct MHD_Daemon *daemon = MHD_start_daemon(
        MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, on_request, s,
        MHD_OPTION_SOCK_ADDR, (struct sockaddr *)&address, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)CONNECTIONS_MAX, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_END);
    if (daemon == NULL)
        return NULL;
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT);
    *port = info != NULL ? info->port : (uint16_t)number;
    return daemon;
}

int service_main(struct service *s, int argc, char **argv)
{
    char err[256] = "";
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->changed, NULL);
    if (!options_parse(s, argc, argv)) {
        fprintf(stderr, "usage: assent-demo %s --listen HOST:PORT [--name NAME]%s\n", s->kind,
                s->stateless ? " ..." : " --data DIR [--accounts alice=100000,...] [--gate OP]");
        return 2;
    }
    if (!s->stateless) {
        s->ledger = ledger_open(s->dir, err, sizeof(err));
        if (s->ledger == NULL ||
            (s->accounts != NULL && !accounts_add(s->ledger, s->accounts, err, sizeof(err)))) {
            fprintf(stderr, "assent-demo %s: %s\n", s->kind, err);
            return 1;
        }
    }
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    pthread_sigmask(SIG_BLOCK, &stop, NULL); /* the threads of the server inherit it */
    signal(SIGPIPE, SIG_IGN);
    uint16_t port = 0;
    struct MHD_Daemon *daemon = serve(s, &port);
    if (daemon == NULL) {
        fprintf(stderr, "assent-demo %s: cannot listen on %s:%s: %s\n", s->kind, s->host, s->port,
                strerror(errno));
        if (s->ledger != NULL)
            ledger_close(s->ledger);
        return 1;
    }
    printf("%s listens on %s:%u\n", s->name, s->host, port);
    fflush(stdout);
    int signal_number;
    sigwait(&stop, &signal_number);
    gate_close(s, ""); /* let waiting calls go */
    MHD_stop_daemon(daemon);
    if (s->ledger != NULL)
        ledger_close(s->ledger);
    return 0;
}
