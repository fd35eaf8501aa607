/* assent-demo bank: a participant.  Accounts in its own durable store, reserve/confirm/cancel over HTTP.
 *
 *   POST /reserve   {"xid","branch","account","amount"}: the try, called by the application
 *   POST /confirm   called by the coordinator: Assent-Xid, Assent-Branch, Assent-Token
 *   POST /cancel    likewise
 *   GET  /accounts  balances           GET /ledger?xid=   the guard rows: what was called how often
 *   GET  /gate      {"open","waiting"} POST /gate {"open"}  a closed gate makes confirms and cancels wait,
 * for demonstrations and tests of slow participants A thread per connection, so that a waiting call holds up
 * nobody; the store orders what they do. */
#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "demo.h"
#include "ledger.h"

#define BODY_MAX        65536
#define CONNECTIONS_MAX 256
#define GATE_WAIT_S     60 /* longest wait of a call at the gate */

struct bank {
    struct ledger *ledger;
    char name[64];
    pthread_mutex_t mutex; /* of the gate */
    pthread_cond_t changed;
    bool open;
    uint32_t waiting;
};

/* One request while its body arrives. */
struct request {
    size_t size;
    char body[BODY_MAX];
    bool too_large;
};

struct reply {
    int status;
    json_t *body;
};

static struct reply failed(int status, const char *why)
{
    return (struct reply){status, json_pack("{s:b, s:s}", "success", 0, "error", why)};
}

/* ---- the gate ---- */

static bool gate_pass(struct bank *b)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += GATE_WAIT_S;
    int rv = 0;
    pthread_mutex_lock(&b->mutex);
    b->waiting++;
    while (!b->open && rv == 0)
        rv = pthread_cond_timedwait(&b->changed, &b->mutex, &until);
    b->waiting--;
    bool open = b->open;
    pthread_mutex_unlock(&b->mutex);
    return open;
}

static struct reply gate_get(struct bank *b)
{
    pthread_mutex_lock(&b->mutex);
    struct reply r = {200, json_pack("{s:b, s:i}", "open", b->open, "waiting", (int)b->waiting)};
    pthread_mutex_unlock(&b->mutex);
    return r;
}

static struct reply gate_set(struct bank *b, const json_t *body)
{
    const json_t *open = json_object_get(body, "open");
    if (!json_is_boolean(open))
        return failed(400, "open: true or false");
    pthread_mutex_lock(&b->mutex);
    b->open = json_is_true(open);
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->mutex);
    return gate_get(b);
}

/* ---- operations ---- */

static bool name_ok(const char *name)
{
    return name != NULL && name[0] != 0 && strlen(name) <= LEDGER_NAME_MAX;
}

static struct reply outcome_reply(enum ledger_outcome outcome, const char *why)
{
    if (outcome == LEDGER_REFUSED)
        return failed(409, why);
    return (struct reply){200, json_pack("{s:b, s:b, s:b}", "success", 1, "repeated",
                                         outcome == LEDGER_REPEATED, "empty", outcome == LEDGER_EMPTY)};
}

static struct reply reserve(struct bank *b, const json_t *body)
{
    const char *xid = json_string_value(json_object_get(body, "xid"));
    const char *branch = json_string_value(json_object_get(body, "branch"));
    const char *account = json_string_value(json_object_get(body, "account"));
    const json_t *amount = json_object_get(body, "amount");
    char why[128] = "";
    if (!name_ok(xid) || !name_ok(branch) || !name_ok(account) || !json_is_integer(amount))
        return failed(400, "xid, branch, account: texts; amount: a number of cents");
    return outcome_reply(
        ledger_reserve(b->ledger, xid, branch, account, json_integer_value(amount), why, sizeof(why)), why);
}

static struct reply settle(struct bank *b, struct MHD_Connection *connection, enum ledger_op op)
{
    const char *xid = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Assent-Xid");
    const char *branch = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Assent-Branch");
    const char *asked = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Assent-Op");
    const char *text = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Assent-Token");
    char *end = NULL, why[128] = "";
    errno = 0;
    unsigned long long token =
        text != NULL && text[0] >= '0' && text[0] <= '9' ? strtoull(text, &end, 10) : 0;
    if (!name_ok(xid) || !name_ok(branch) || end == NULL || *end != 0 || errno != 0)
        return failed(400, "the headers Assent-Xid, Assent-Branch and Assent-Token are needed");
    if (asked != NULL && strcmp(asked, ledger_op_name(op)) != 0)
        return failed(400, "Assent-Op names another operation than the path");
    if (!gate_pass(b))
        return failed(503, "the gate stayed closed");
    return outcome_reply(ledger_settle(b->ledger, op, xid, branch, token, why, sizeof(why)), why);
}

static void add_account(void *data, const struct ledger_account *a)
{
    json_array_append_new(data,
                          json_pack("{s:s, s:I, s:I, s:I, s:I}", "account", a->name, "balance",
                                    (json_int_t)a->balance, "available", (json_int_t)(a->balance - a->frozen),
                                    "frozen", (json_int_t)a->frozen, "coming", (json_int_t)a->coming));
}

static struct reply accounts(struct bank *b)
{
    json_t *list = json_array();
    ledger_accounts(b->ledger, add_account, list);
    return (struct reply){200, json_pack("{s:s, s:o}", "bank", b->name, "accounts", list)};
}

static void add_entry(void *data, const struct ledger_entry *e)
{
    json_array_append_new(data, json_pack("{s:s, s:s, s:s, s:I, s:i}", "xid", e->xid, "branch", e->branch,
                                          "op", ledger_op_name(e->op), "token", (json_int_t)e->token, "calls",
                                          (int)e->calls));
}

static struct reply entries(struct bank *b, struct MHD_Connection *connection)
{
    const char *xid = MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "xid");
    if (xid != NULL && !name_ok(xid))
        return failed(400, "xid is too long");
    json_t *list = json_array();
    ledger_entries(b->ledger, xid, add_entry, list);
    return (struct reply){200, json_pack("{s:o}", "entries", list)};
}

/* ---- HTTP ---- */

static struct reply dispatch(struct bank *b, struct MHD_Connection *connection, const char *method,
                             const char *path, const struct request *r)
{
    bool get = strcmp(method, "GET") == 0, post = strcmp(method, "POST") == 0;
    if (r->too_large)
        return failed(413, "the body is too large");
    if (get && strcmp(path, "/accounts") == 0)
        return accounts(b);
    if (get && strcmp(path, "/ledger") == 0)
        return entries(b, connection);
    if (get && strcmp(path, "/gate") == 0)
        return gate_get(b);
    if (post && strcmp(path, "/confirm") == 0)
        return settle(b, connection, LEDGER_CONFIRM);
    if (post && strcmp(path, "/cancel") == 0)
        return settle(b, connection, LEDGER_CANCEL);
    if (!post || (strcmp(path, "/reserve") != 0 && strcmp(path, "/gate") != 0))
        return failed(404, "no such path");
    json_t *body = json_loadb(r->body, r->size, 0, NULL);
    struct reply reply = !json_is_object(body)           ? failed(400, "the body is not a JSON object")
                         : strcmp(path, "/reserve") == 0 ? reserve(b, body)
                                                         : gate_set(b, body);
    json_decref(body);
    return reply;
}

static enum MHD_Result send_reply(struct MHD_Connection *connection, struct reply reply)
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
    return send_reply(connection, dispatch(data, connection, method, path, r));
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
            snprintf(err, err_size, "--accounts: %s is not name=cents", item);
            ok = false;
        } else {
            *equals = 0;
            ok = ledger_account_add(ledger, item, balance, err, err_size);
        }
    }
    free(copy);
    return ok;
}

struct options {
    const char *host, *port, *dir, *accounts, *name;
    char listen[128];
    bool gate_closed;
};

static bool options_parse(struct options *o, int argc, char **argv)
{
    *o = (struct options){.name = "bank"};
    for (int i = 0; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--gate-closed") == 0) {
            o->gate_closed = true;
            continue;
        }
        if (value == NULL)
            return false;
        if (strcmp(argv[i], "--listen") == 0)
            snprintf(o->listen, sizeof(o->listen), "%s", value);
        else if (strcmp(argv[i], "--data") == 0)
            o->dir = value;
        else if (strcmp(argv[i], "--accounts") == 0)
            o->accounts = value;
        else if (strcmp(argv[i], "--name") == 0)
            o->name = value;
        else
            return false;
        i++;
    }
    char *colon = strrchr(o->listen, ':');
    if (colon == NULL || o->dir == NULL)
        return false;
    *colon = 0;
    o->host = o->listen;
    o->port = colon + 1;
    return true;
}

static struct MHD_Daemon *serve(struct bank *b, const struct options *o, uint16_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    char *end;
    unsigned long number = strtoul(o->port, &end, 10);
    if (*o->port == 0 || *end != 0 || number > UINT16_MAX ||
        inet_pton(AF_INET, o->host, &address.sin_addr) != 1)
        return NULL;
    address.sin_port = htons((uint16_t)number);
    struct MHD_Daemon *daemon = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION, 0, NULL, NULL, on_request, b,
        MHD_OPTION_SOCK_ADDR, (struct sockaddr *)&address, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)CONNECTIONS_MAX, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_END);
    if (daemon == NULL)
        return NULL;
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT);
    *port = info != NULL ? info->port : (uint16_t)number;
    return daemon;
}

int bank_main(int argc, char **argv)
{
    struct options o;
    char err[256] = "";
    if (!options_parse(&o, argc, argv)) {
        fprintf(stderr,
                "usage: assent-demo bank --listen HOST:PORT --data DIR [--accounts alice=100000,...]\n"
                "                        [--name NAME] [--gate-closed]\n");
        return 2;
    }
    struct bank b = {.open = !o.gate_closed};
    snprintf(b.name, sizeof(b.name), "%s", o.name);
    pthread_mutex_init(&b.mutex, NULL);
    pthread_cond_init(&b.changed, NULL);
    b.ledger = ledger_open(o.dir, err, sizeof(err));
    if (b.ledger == NULL || (o.accounts != NULL && !accounts_add(b.ledger, o.accounts, err, sizeof(err)))) {
        fprintf(stderr, "assent-demo bank: %s\n", err);
        return 1;
    }
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    pthread_sigmask(SIG_BLOCK, &stop, NULL); /* the threads of the server inherit it */
    signal(SIGPIPE, SIG_IGN);
    uint16_t port = 0;
    struct MHD_Daemon *daemon = serve(&b, &o, &port);
    if (daemon == NULL) {
        fprintf(stderr, "assent-demo bank: cannot listen on %s:%s: %s\n", o.host, o.port, strerror(errno));
        ledger_close(b.ledger);
        return 1;
    }
    printf("%s listens on %s:%u\n", b.name, o.host, port);
    fflush(stdout);
    int signal_number;
    sigwait(&stop, &signal_number);
    pthread_mutex_lock(&b.mutex); /* let waiting calls go */
    b.open = true;
    pthread_cond_broadcast(&b.changed);
    pthread_mutex_unlock(&b.mutex);
    MHD_stop_daemon(daemon);
    ledger_close(b.ledger);
    return 0;
}
