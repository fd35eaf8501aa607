/* assentctl as its users run it: against scripted nodes over HTTP, and with a fake assentd for `local`. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char ctl_path[4096];

/* ---- a node: one thread, one request a connection ---- */

struct reply {
    int status; /* 0: read the request and hang up */
    const char *body;
};

struct node {
    int fd;
    char address[32];
    pthread_t thread;
    struct reply script[8]; /* in order; the last repeats */
    int scripted;
    int requests;
    char seen[8192]; /* the last request */
};

static int listen_on(const char *host, int port, char address[32])
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, host, &a.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    socklen_t size = sizeof a;
    if (bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 64) != 0 ||
        getsockname(fd, (struct sockaddr *)&a, &size) != 0) {
        close(fd);
        return -1;
    }
    (void)snprintf(address, 32, "%s:%d", host, ntohs(a.sin_port));
    return fd;
}

/* Read one request into `out`.  False: the peer said nothing. */
static bool read_request(int fd, char *out, size_t size)
{
    size_t at = 0, want = 0;
    while (at + 1 < size) {
        ssize_t n = recv(fd, out + at, size - 1 - at, 0);
        if (n <= 0) {
            return false;
        }
        at += (size_t)n;
        out[at] = '\0';
        const char *end = strstr(out, "\r\n\r\n");
        if (end != NULL) {
            const char *length = strcasestr(out, "\r\nContent-Length:");
            want = (size_t)(end - out) + 4 + (length != NULL ? strtoul(length + 17, NULL, 10) : 0);
            if (at >= want) {
                return true;
            }
        }
    }
    return false;
}

static void answer(int fd, const struct reply *r)
{
    char head[256];
    int n = snprintf(head, sizeof head, "HTTP/1.1 %d X\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
                     r->status, strlen(r->body));
    (void)!write(fd, head, (size_t)n);
    (void)!write(fd, r->body, strlen(r->body));
}

static void *node_main(void *data)
{
    struct node *node = data;
    int fd;
    while ((fd = accept(node->fd, NULL, NULL)) >= 0) {
        if (read_request(fd, node->seen, sizeof node->seen)) {
            int i = node->requests < node->scripted ? node->requests : node->scripted - 1;
            node->requests++;
            if (node->script[i].status != 0) {
                answer(fd, &node->script[i]);
            }
        }
        shutdown(fd, SHUT_WR);
        char rest[256];
        while (recv(fd, rest, sizeof rest, 0) > 0) {
        }
        close(fd);
    }
    return NULL;
}

static void node_start(struct node *node, struct reply first, struct reply then)
{
    *node = (struct node){.script = {first, then}, .scripted = 2};
    node->fd = listen_on("127.0.0.1", 0, node->address);
    assert_true(node->fd >= 0);
    assert_int_equal(pthread_create(&node->thread, NULL, node_main, node), 0);
}

static void node_stop(struct node *node)
{
    shutdown(node->fd, SHUT_RDWR);
    pthread_join(node->thread, NULL);
    close(node->fd);
}

/* ---- running assentctl ---- */

static char output[65536], complaint[8192];

static void drain(int fd, char *out, size_t size)
{
    size_t at = 0;
    ssize_t n;
    while (at < size - 1 && (n = read(fd, out + at, size - 1 - at)) > 0) {
        at += (size_t)n;
    }
    out[at] = '\0';
    close(fd);
}

static int run_array(char **argv)
{
    int out[2], err[2];
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    assert_int_equal(pipe2(err, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(out[1], 1);
        dup2(err[1], 2);
        execv(ctl_path, argv);
        _exit(127);
    }
    close(out[1]);
    close(err[1]);
    drain(out[0], output, sizeof output); /* complaints are short: they fit the pipe meanwhile */
    drain(err[0], complaint, sizeof complaint);
    int status;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Arguments up to NULL. */
#define run(...) run_array((char *[]){ctl_path, __VA_ARGS__, NULL})
#define T(text)  ((char[]){text})

static void shows(const char *text)
{
    if (strstr(output, text) == NULL) {
        fail_msg("no '%s' in:\n%s%s", text, output, complaint);
    }
}

/* ---- the REST commands ---- */

#define OK_TICK                                                                                              \
    {                                                                                                        \
        200, "{\"success\":true,\"data\":{\"clock\":\"c\",\"value\":7},\"timestamp\":1}"                     \
    }
#define ELECTION                                                                                             \
    {                                                                                                        \
        503,                                                                                                 \
            "{\"success\":false,\"error\":{\"code\":\"NO_LEADER\",\"message\":\"none\",\"retryable\":true}}" \
    }

static void a_command_shows_its_result(void **state)
{
    (void)state;
    struct node n;
    node_start(&n, (struct reply)OK_TICK, (struct reply)OK_TICK);
    assert_int_equal(run(T("--endpoints"), n.address, T("clock"), T("tick"), T("c"), T("3")), 0);
    shows("value  7");
    assert_non_null(strstr(n.seen, "POST /api/v1/lamport/tick"));
    assert_non_null(strstr(n.seen, "{\"clock\":\"c\",\"count\":3}"));
    assert_non_null(strstr(n.seen, "Idempotency-Key: ctl-"));
    assert_int_equal(run(T("--endpoints"), n.address, T("clock"), T("tick"), T("--json")), 0);
    shows("\"value\": 7");
    node_stop(&n);
}

static void fields_may_be_named(void **state)
{
    (void)state;
    struct node n;
    node_start(&n, (struct reply)OK_TICK, (struct reply)OK_TICK);
    assert_int_equal(
        run(T("--endpoints"), n.address, T("txn"), T("begin"), T("x 1"), T("timeoutMs:=500"), T("mode=tcc")),
        0);
    assert_non_null(strstr(n.seen, "{\"xid\":\"x 1\",\"timeoutMs\":500,\"mode\":\"tcc\"}"));
    assert_int_equal(run(T("--endpoints"), n.address, T("txn"), T("show"), T("a/b?c")), 0);
    assert_non_null(strstr(n.seen, "GET /api/v1/transaction/a%2Fb%3Fc HTTP"));
    assert_int_equal(run(T("--endpoints"), n.address, T("txn"), T("list"), T("status=ACTIVE"), T("limit:=5")),
                     0);
    assert_non_null(strstr(n.seen, "GET /api/v1/transactions?status=ACTIVE&limit=5 HTTP"));
    node_stop(&n);
}

static void a_list_is_a_table(void **state)
{
    (void)state;
    struct node n;
    const struct reply list = {
        200, "{\"success\":true,\"data\":{\"transactions\":[{\"xid\":\"one\",\"status\":\"ACTIVE\","
             "\"createdUs\":1700000000123456},{\"xid\":\"t\\u001bwo\",\"status\":\"COMMITTED\"}],"
             "\"next\":\"t2\"}}"};
    node_start(&n, list, list);
    assert_int_equal(run(T("--endpoints"), n.address, T("txn"), T("list")), 0);
    shows("XID   STATUS     MODE");
    shows("one   ACTIVE");
    shows("2023-11-14T22:13:20.123Z");
    shows("t?wo  COMMITTED"); /* no escape sequence of a stranger's reaches the terminal */
    shows("after=t2");
    node_stop(&n);
}

static void exit_codes_tell_apart_what_happened(void **state)
{
    (void)state;
    struct node n;
    const struct reply refused = {
        409, "{\"success\":false,\"error\":{\"code\":\"TXN_DECIDED\",\"message\":\"decided\"}}"};
    node_start(&n, refused, refused);
    assert_int_equal(run(T("--endpoints"), n.address, T("txn"), T("commit"), T("x")), 1);
    assert_non_null(strstr(complaint, "TXN_DECIDED: decided"));
    assert_int_equal(run(T("--json"), T("--endpoints"), n.address, T("txn"), T("commit"), T("x")), 1);
    shows("\"error\": \"TXN_DECIDED\"");
    node_stop(&n);
    node_start(&n, (struct reply)ELECTION, (struct reply)ELECTION);
    assert_int_equal(
        run(T("--timeout"), T("0.3"), T("--endpoints"), n.address, T("txn"), T("commit"), T("x")), 3);
    assert_true(n.requests > 1);
    node_stop(&n);
    node_start(&n, (struct reply){0, NULL}, (struct reply){0, NULL});
    assert_int_equal(
        run(T("--timeout"), T("0.3"), T("--endpoints"), n.address, T("txn"), T("commit"), T("x")), 4);
    assert_int_equal(run(T("--timeout"), T("0.3"), T("--endpoints"), n.address, T("txn"), T("list")), 3);
    n.requests = 0;
    assert_int_equal(
        run(T("--timeout"), T("5"), T("--endpoints"), n.address, T("member"), T("remove"), T("3")), 4);
    assert_int_equal(n.requests, 1); /* has no key, so it is not sent again */
    node_stop(&n);
    assert_int_equal(run(T("--timeout"), T("0.3"), T("--endpoints"), T("127.0.0.1:1"), T("status")), 3);
}

static void a_node_that_is_down_is_passed_over(void **state)
{
    (void)state;
    struct node a, b;
    char both[128];
    node_start(&a, (struct reply)ELECTION, (struct reply)OK_TICK);
    node_start(&b, (struct reply){0, NULL}, (struct reply)OK_TICK);
    (void)snprintf(both, sizeof both, "127.0.0.1:1,%s,http://%s", a.address, b.address);
    assert_int_equal(run(T("--endpoints"), both, T("clock"), T("tick")), 0);
    assert_int_equal(a.requests, 2); /* 503, then b lost the answer, then a again */
    assert_int_equal(b.requests, 1);
    node_stop(&a);
    node_stop(&b);
}

#define BY_ANN T("--by"), T("ann"), T("--reason=ledger is back")

static void an_operator_acts_on_a_transaction(void **state)
{
    (void)state;
    struct node n;
    const struct reply done = {200, "{\"success\":true,\"data\":{\"xid\":\"x\",\"status\":\"STOPPED\"}}"};
    node_start(&n, done, done);
    assert_int_equal(run(T("--endpoints"), n.address, T("txn"), T("force"), T("a/b"), BY_ANN), 0);
    shows("status  STOPPED");
    assert_non_null(strstr(n.seen, "POST /api/v1/transaction/a%2Fb/force HTTP"));
    assert_non_null(strstr(n.seen, "{\"by\":\"ann\",\"reason\":\"ledger is back\"}"));
    assert_non_null(strstr(n.seen, "Idempotency-Key: ctl-"));
    assert_null(strstr(n.seen, "X-Assent-Namespace"));
    assert_int_equal(run(T("--namespace=red"), T("--endpoints"), n.address, T("txn"), T("skip"), BY_ANN,
                         T("x"), T("--branch"), T("stock"), T("--json")),
                     0);
    shows("\"status\": \"STOPPED\"");
    assert_non_null(strstr(n.seen, "\"branch\":\"stock\""));
    assert_non_null(strstr(n.seen, "X-Assent-Namespace: red\r\n"));
    assert_int_equal(n.requests, 2);
    node_stop(&n);
}

/* A page whose answer is lost is asked for again, with its own key. */
static void an_operator_acts_on_all_page_by_page(void **state)
{
    (void)state;
    struct node n;
    const struct reply page = {
        200, "{\"success\":true,\"data\":{\"acted\":90,\"refused\":10,\"next\":\"17.t9\"}}"};
    const struct reply last = {200, "{\"success\":true,\"data\":{\"acted\":3,\"refused\":0,\"next\":null}}"};
    const struct reply refused = {
        400, "{\"success\":false,\"error\":{\"code\":\"INVALID\",\"message\":\"status: no such\"}}"};
    node_start(&n, page, last);
    n.script[1] = (struct reply){0, NULL};
    n.script[2] = page;
    n.script[3] = last;
    n.scripted = 4;
    assert_int_equal(run(T("--endpoints"), n.address, T("txn"), T("retry"), T("--all"), T("status=SUSPENDED"),
                         T("olderThanMs=60000"), T("failing=true"), BY_ANN),
                     0);
    shows("183 acted on, 20 refused");
    assert_int_equal(n.requests, 4);
    assert_non_null(strstr(n.seen, "POST /api/v1/transactions/retry HTTP"));
    assert_non_null(strstr(n.seen, "\"status\":\"SUSPENDED\",\"olderThanMs\":60000,\"failing\":true"));
    assert_non_null(strstr(n.seen, "\"after\":\"17.t9\""));
    node_stop(&n);
    node_start(&n, page, refused);
    assert_int_equal(run(T("--endpoints"), n.address, T("txn"), T("pause"), T("--all"), T("mode=SAGA"),
                         BY_ANN, T("--json")),
                     1);
    assert_non_null(strstr(complaint, "90 acted on, 10 refused before; go on with after=17.t9"));
    node_stop(&n);
    node_start(&n, last, last);
    assert_int_equal(run(T("--endpoints"), n.address, T("txn"), T("pause"), T("--all"), T("mode=SAGA"),
                         BY_ANN, T("--json")),
                     0);
    shows("\"acted\": 3");
    node_stop(&n);
}

static void what_operators_look_at(void **state)
{
    (void)state;
    struct node n;
    const struct reply audit = {
        200,
        "{\"success\":true,\"data\":{\"acts\":[{\"timeUs\":1700000000123456,\"act\":\"force\",\"by\":\"ann\","
        "\"reason\":\"lost\",\"xid\":\"x\",\"branch\":\"\",\"before\":\"ACTIVE\",\"after\":\"STOPPED\"}],"
        "\"next\":\"4096.0\"}}"};
    node_start(&n, audit, audit);
    assert_int_equal(run(T("--endpoints"), n.address, T("audit")), 0);
    shows("ACT    BY   XID");
    shows("2023-11-14T22:13:20.123Z  force  ann  x");
    shows("more: after=4096.0");
    assert_non_null(strstr(n.seen, "GET /api/v1/audit HTTP"));
    assert_int_equal(run(T("--endpoints"), n.address, T("audit"), T("x"), T("limit=5"), T("--json")), 0);
    assert_non_null(strstr(n.seen, "GET /api/v1/audit?xid=x&limit=5 HTTP"));
    shows("\"by\": \"ann\"");
    const struct {
        char *arguments[5];
        const char *seen;
    } rows[] = {
        {{"txn", "tree", "x"}, "GET /api/v1/transaction/x/tree HTTP"},
        {{"freeze", "list", "account:"}, "GET /api/v1/freezes?prefix=account%3A HTTP"},
        {{"freeze", "show", "account:7"}, "GET /api/v1/freezes/account%3A7 HTTP"},
        {{"topic", "list"}, "GET /api/v1/topics HTTP"},
        {{"settings", "show"}, "GET /api/v1/settings HTTP"},
        {{"topic", "subscribe", "paid", "http://m/p"}, "POST /api/v1/topics/paid HTTP"},
        {{"topic", "unsubscribe", "paid", "http://m/p"}, "POST /api/v1/topics/paid/unsubscribe HTTP"},
        {{"topic", "remove", "paid"}, "DELETE /api/v1/topics/paid?by="}, /* who is logged in */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *argv[9] = {ctl_path, T("--endpoints"), n.address};
        for (int k = 0; k < 5 && rows[i].arguments[k] != NULL; k++)
            argv[3 + k] = rows[i].arguments[k];
        assert_int_equal(run_array(argv), 0);
        assert_non_null(strstr(n.seen, rows[i].seen));
    }
    assert_int_equal(run(T("--endpoints"), n.address, T("freeze"), T("release"), T("t"), T("a:7"), BY_ANN),
                     0);
    assert_non_null(strstr(n.seen, "DELETE /api/v1/freeze/t/a%3A7?by=ann&reason="));
    assert_int_equal(run(T("--endpoints"), n.address, T("member"), T("remove"), T("4"), BY_ANN), 0);
    assert_non_null(strstr(n.seen, "POST /api/v1/cluster/members/4/remove HTTP"));
    assert_non_null(strstr(n.seen, "\"by\":\"ann\""));
    node_stop(&n);
}

static void bad_command_lines_send_nothing(void **state)
{
    (void)state;
    assert_int_equal(run(T("nothing")), 2);
    assert_int_equal(run(T("txn")), 2);
    assert_int_equal(run(T("txn"), T("fly")), 2);
    assert_int_equal(run(T("txn"), T("commit")), 2);
    assert_int_equal(run(T("txn"), T("commit"), T("x"), T("y")), 2);
    assert_int_equal(run(T("clock"), T("sync"), T("c"), T("-1")), 2);
    assert_int_equal(run(T("clock"), T("vector-compare"), T("{"), T("{}")), 2);
    assert_int_equal(run(T("txn"), T("begin"), T("timeoutMs:={")), 2);
    assert_int_equal(run(T("--endpoints"), T("nowhere"), T("status")), 2);
    assert_int_equal(run(T("--endpoints"), T(""), T("status")), 2);
    assert_int_equal(run(T("--timeout"), T("x"), T("status")), 2);
    assert_int_equal(run(T("--what"), T("status")), 2);
    assert_int_equal(run(T("status"), T("now")), 2);
    assert_int_equal(run(T("local")), 2);
    assert_int_equal(run(T("local"), T("up"), T("--nodes"), T("0")), 2);
    assert_int_equal(run(T("local"), T("kill"), T("--signal"), T("NOPE")), 2);
    assert_int_equal(run(T("local"), T("kill"), T("--leader"), T("2")), 2);
    assert_int_equal(run(T("local"), T("sideways")), 2);
    assert_int_equal(run(T("txn"), T("force"), T("x")), 2);
    assert_int_equal(run(T("txn"), T("force"), T("x"), T("--by"), T("ann")), 2);
    assert_int_equal(run(T("txn"), T("force"), T("x"), T("--reason"), T("r")), 2);
    assert_int_equal(run(T("txn"), T("force"), BY_ANN), 2);
    assert_int_equal(run(T("txn"), T("force"), T("x"), T("y"), BY_ANN), 2);
    assert_int_equal(run(T("txn"), T("force"), T("x"), BY_ANN, T("--branch=b")), 2);
    assert_int_equal(run(T("txn"), T("force"), T("x"), BY_ANN, T("--hard")), 2);
    assert_int_equal(run(T("txn"), T("skip"), T("x"), BY_ANN), 2);
    assert_int_equal(run(T("txn"), T("skip"), T("--all"), T("mode=TCC"), BY_ANN), 2);
    assert_int_equal(run(T("txn"), T("force"), T("--all"), BY_ANN), 2);
    assert_int_equal(run(T("txn"), T("force"), T("--all"), T("x"), BY_ANN), 2);
    assert_int_equal(run(T("txn"), T("force"), T("--all"), T("olderThanMs=soon"), BY_ANN), 2);
    assert_int_equal(run(T("--namespace"), T("a\nb"), T("txn"), T("list")), 2);
    assert_int_equal(run(T("help")), 0);
    assert_int_equal(run(T("--version")), 0);
}

static void status_prefers_the_leaders_view(void **state)
{
    (void)state;
    struct node a, b;
    char both[128];
    const struct reply follower = {
        200, "{\"success\":true,\"data\":{\"clusterId\":\"c\",\"nodeId\":1,\"leaderId\":2,\"term\":3,"
             "\"index\":90,\"nodes\":[{\"id\":1,\"matchIndex\":0}]}}"};
    const struct reply leader = {
        200,
        "{\"success\":true,\"data\":{\"clusterId\":\"c\",\"nodeId\":2,\"leaderId\":2,\"term\":3,"
        "\"index\":100,\"nodes\":[{\"id\":1,\"name\":\"n1\",\"role\":\"FOLLOWER\",\"matchIndex\":88}]}}"};
    node_start(&a, follower, follower);
    node_start(&b, leader, leader);
    (void)snprintf(both, sizeof both, "%s,%s", a.address, b.address);
    assert_int_equal(run(T("--endpoints"), both, T("status")), 0);
    shows("index 100  leader 2  (as node 2 sees it)");
    shows("12"); /* the lag */
    assert_int_equal(run(T("--endpoints"), both, T("--json"), T("status")), 0);
    shows("\"lag\": 12");
    node_stop(&b);
    node_stop(&a);
    const struct reply none = {
        200, "{\"success\":true,\"data\":{\"clusterId\":\"c\",\"nodeId\":1,\"leaderId\":0,\"nodes\":[]}}"};
    node_start(&a, none, none);
    assert_int_equal(run(T("--endpoints"), a.address, T("status")), 3);
    node_stop(&a);
}

/* ---- local: this program, under the name of assentd, is the node ---- */

static volatile sig_atomic_t stubborn_stop;

static void on_term(int sig)
{
    (void)sig;
    if (!stubborn_stop) {
        _exit(0);
    }
}

static const char *flag(int argc, char **argv, const char *name)
{
    for (int i = 1; i + 1 < argc; i++) {
        if (strcmp(argv[i], name) == 0) {
            return argv[i + 1];
        }
    }
    return "";
}

/* Node 2 leads.  With a file `broken` in its data it ends at once; with `stubborn` it ignores SIGTERM. */
static int fake_daemon(int argc, char **argv)
{
    char path[4200], address[32], body[256];
    const char *data = flag(argc, argv, "--data"), *http = flag(argc, argv, "--http");
    signal(SIGTERM, on_term);
    (void)snprintf(path, sizeof path, "%s/broken", data);
    if (access(path, F_OK) == 0) {
        fprintf(stderr, "this node is broken\n");
        return 1;
    }
    (void)snprintf(path, sizeof path, "%s/stubborn", data);
    stubborn_stop = access(path, F_OK) == 0;
    int fd = listen_on("127.0.0.1", atoi(strchr(http, ':') + 1), address), peer;
    if (fd < 0) {
        return 1;
    }
    (void)snprintf(body, sizeof body,
                   "{\"success\":true,\"data\":{\"nodeId\":%s,\"leaderId\":2,\"ready\":true,\"term\":1}}",
                   flag(argc, argv, "--id"));
    while ((peer = accept(fd, NULL, NULL)) >= 0) {
        char request[8192];
        if (read_request(peer, request, sizeof request)) {
            answer(peer, &(struct reply){200, body});
        }
        close(peer);
    }
    return 0;
}

struct cluster {
    char root[64], dir[128], daemon[128];
    char base[16], rpc[16], raft[16];
};

/* Nine ports in a row that are free now, below those the kernel gives to outgoing connections. */
static int free_ports(void)
{
    for (int tries = 0; tries < 100; tries++) {
        char address[32];
        int fds[9], n = 0, base = 20000 + (getpid() + tries * 131) * 9 % 12000;
        while (n < 9 && (fds[n] = listen_on("127.0.0.1", base + n, address)) >= 0) {
            n++;
        }
        for (int i = 0; i < n; i++) {
            close(fds[i]);
        }
        if (n == 9) {
            return base;
        }
    }
    fail_msg("no nine free ports in a row");
    return 0;
}

static int local_set_up(void **state)
{
    struct cluster *c = calloc(1, sizeof *c);
    (void)strcpy(c->root, "/tmp/test_ctl_XXXXXX");
    assert_non_null(mkdtemp(c->root));
    (void)snprintf(c->dir, sizeof c->dir, "%s/local", c->root);
    (void)snprintf(c->daemon, sizeof c->daemon, "%s/assentd", c->root);
    int base = free_ports();
    (void)snprintf(c->base, sizeof c->base, "%d", base);
    (void)snprintf(c->rpc, sizeof c->rpc, "%d", base + 3);
    (void)snprintf(c->raft, sizeof c->raft, "%d", base + 6);
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    assert_true(n > 0);
    self[n] = '\0';
    assert_int_equal(symlink(self, c->daemon), 0);
    setenv("ASSENTD", c->daemon, 1);
    *state = c;
    return 0;
}

static int up(struct cluster *c)
{
    return run(T("local"), T("up"), T("--dir"), c->dir, T("--http-port"), c->base, T("--rpc-port"), c->rpc,
               T("--raft-port"), c->raft);
}
#define local(c, ...) run(T("local"), __VA_ARGS__, T("--dir"), (c)->dir)

static int local_tear_down(void **state)
{
    struct cluster *c = *state;
    assert_int_equal(local(c, T("down"), T("--wipe")), 0);
    char path[256];
    (void)snprintf(path, sizeof path, "%s/lock", c->dir);
    unlink(path);
    rmdir(c->dir);
    unlink(c->daemon);
    assert_int_equal(rmdir(c->root), 0); /* nothing is left behind */
    unsetenv("ASSENTD");
    free(c);
    return 0;
}

static json_t *nodes_of(const struct cluster *c)
{
    char path[256];
    (void)snprintf(path, sizeof path, "%s/nodes.json", c->dir);
    json_t *root = json_load_file(path, 0, NULL);
    assert_non_null(root);
    return root;
}

static pid_t pid_of(const struct cluster *c, size_t i)
{
    json_t *root = nodes_of(c);
    pid_t pid =
        (pid_t)json_integer_value(json_object_get(json_array_get(json_object_get(root, "nodes"), i), "pid"));
    json_decref(root);
    return pid;
}

static void touch(const struct cluster *c, int id, const char *name)
{
    char path[256];
    (void)snprintf(path, sizeof path, "%s/node-%d/%s", c->dir, id, name);
    int fd = open(path, O_CREAT | O_WRONLY, 0644);
    assert_true(fd >= 0);
    close(fd);
}

static void up_may_be_repeated_and_brings_back_the_dead(void **state)
{
    struct cluster *c = *state;
    assert_int_equal(up(c), 0);
    shows("0 of 3 nodes run already, 3 started");
    shows("node-2 leads");
    pid_t first = pid_of(c, 0), second = pid_of(c, 1);
    assert_int_equal(up(c), 0);
    shows("3 of 3 nodes run already, 0 started");
    assert_int_equal(pid_of(c, 0), first);
    assert_int_equal(local(c, T("kill"), T("--leader")), 0);
    shows("SIGKILL sent to node-2");
    assert_int_equal(local(c, T("status"), T("--json")), 0);
    assert_int_equal(local(c, T("status")), 0);
    shows("DEAD");
    assert_int_equal(local(c, T("kill"), T("2")), 1); /* twice dies nobody */
    assert_int_equal(up(c), 0);
    shows("2 of 3 nodes run already, 1 started");
    assert_int_equal(pid_of(c, 0), first);
    assert_int_not_equal(pid_of(c, 1), second);
    assert_int_equal(local(c, T("up"), T("--nodes"), T("5")), 1);
}

static void down_ends_even_a_stubborn_node(void **state)
{
    struct cluster *c = *state;
    assert_int_equal(up(c), 0);
    assert_int_equal(local(c, T("kill"), T("3"), T("--signal"), T("KILL")), 0);
    touch(c, 3, "stubborn");
    assert_int_equal(up(c), 0);
    assert_int_equal(run(T("--timeout"), T("1"), T("local"), T("down"), T("--dir"), c->dir), 0);
    shows("3 nodes stopped, not all of them willingly; their data stays");
    assert_int_equal(local(c, T("status")), 3);
    assert_int_equal(local(c, T("down")), 0);
    shows("0 nodes stopped");
}

static void a_pid_of_a_stranger_is_left_alone(void **state)
{
    struct cluster *c = *state;
    assert_int_equal(up(c), 0);
    assert_int_equal(local(c, T("down")), 0);
    json_t *root = nodes_of(c);
    json_object_set_new(json_array_get(json_object_get(root, "nodes"), 0), "pid", json_integer(getpid()));
    char path[256];
    (void)snprintf(path, sizeof path, "%s/nodes.json", c->dir);
    assert_int_equal(json_dump_file(root, path, 0), 0);
    json_decref(root);
    assert_int_equal(local(c, T("kill"), T("1")), 1);
    assert_int_equal(local(c, T("down")), 0); /* and we are still here */
    shows("0 nodes stopped");
}

static void a_node_that_ends_at_once_shows_its_log(void **state)
{
    struct cluster *c = *state;
    assert_int_equal(up(c), 0);
    assert_int_equal(local(c, T("down")), 0);
    touch(c, 1, "broken");
    assert_int_equal(up(c), 1);
    assert_non_null(strstr(complaint, "node-1 has ended"));
    assert_non_null(strstr(complaint, "this node is broken"));
}

static void a_node_without_its_data_is_not_started_again(void **state)
{
    struct cluster *c = *state;
    assert_int_equal(up(c), 0);
    assert_int_equal(local(c, T("down")), 0);
    char path[256];
    (void)snprintf(path, sizeof path, "%s/node-1", c->dir);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(up(c), 1);
    assert_non_null(strstr(complaint, "the data of node-1 is gone"));
}

static void a_port_that_is_taken_is_named(void **state)
{
    struct cluster *c = *state;
    char address[32];
    int fd = listen_on("127.0.0.1", atoi(c->base) + 1, address);
    assert_int_equal(up(c), 1);
    assert_non_null(strstr(complaint, address));
    close(fd);
    assert_int_equal(up(c), 0); /* and the others were kept */
    shows("1 of 3 nodes run already, 2 started");
}

static void without_a_daemon_nothing_starts(void **state)
{
    struct cluster *c = *state;
    assert_int_equal(up(c), 0);
    setenv("ASSENTD", "/nonexistent/assentd", 1);
    assert_int_equal(up(c), 1);
    assert_non_null(strstr(complaint, "there is no assentd"));
    setenv("ASSENTD", c->daemon, 1);
}

#define LOCAL(name) cmocka_unit_test_setup_teardown(name, local_set_up, local_tear_down)

int main(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/');
    if (strcmp(slash != NULL ? slash + 1 : argv[0], "assentd") == 0) {
        return fake_daemon(argc, argv);
    }
    const char *build = getenv("ASSENT_BUILD_DIR");
    (void)snprintf(ctl_path, sizeof ctl_path, "%s/client/ctl/assentctl", build != NULL ? build : ".");
    signal(SIGPIPE, SIG_IGN);
    unsetenv("ASSENT_ENDPOINTS");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_command_shows_its_result),
        cmocka_unit_test(fields_may_be_named),
        cmocka_unit_test(a_list_is_a_table),
        cmocka_unit_test(exit_codes_tell_apart_what_happened),
        cmocka_unit_test(a_node_that_is_down_is_passed_over),
        cmocka_unit_test(an_operator_acts_on_a_transaction),
        cmocka_unit_test(an_operator_acts_on_all_page_by_page),
        cmocka_unit_test(what_operators_look_at),
        cmocka_unit_test(bad_command_lines_send_nothing),
        cmocka_unit_test(status_prefers_the_leaders_view),
        LOCAL(up_may_be_repeated_and_brings_back_the_dead),
        LOCAL(down_ends_even_a_stubborn_node),
        LOCAL(a_pid_of_a_stranger_is_left_alone),
        LOCAL(a_node_that_ends_at_once_shows_its_log),
        LOCAL(a_node_without_its_data_is_not_started_again),
        LOCAL(a_port_that_is_taken_is_named),
        LOCAL(without_a_daemon_nothing_starts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
