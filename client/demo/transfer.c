/* assent-demo transfer: money moves between two banks although the leader of the cluster is killed in the
 * middle.
 *
 *   banks up -> begin, register, try -> commit -> A has confirmed, B's confirm is held back at B's gate
 *   -> SIGKILL of the leader -> a new leader calls B again -> the gate opens -> COMMITTED
 *   -> each branch took effect once, the sum is what it was
 *
 * Every claim it prints is checked; the exit code is 0 only if all held. */
#include <errno.h>
#include <ftw.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "demo.h"

#define PATIENCE_MS 30000 /* for one step of the demonstration */
#define ERROR_MAX   512

struct options {
    const char *endpoints, *state, *ctl;
    long long amount;
    bool kill_leader;
};

struct demo {
    struct options o;
    struct endpoints cluster;
    struct bank_process a, b;
    char dir[64];
    char xid[160];
    long long leader_before, leader_after, term_before, term_after;
    uint32_t wrong; /* claims that did not hold */
    int64_t started_ms;
};

__attribute__((format(printf, 2, 3))) static void say(const struct demo *d, const char *format, ...)
{
    va_list args;
    printf("%7.3f s  ", (double)(monotonic_ms() - d->started_ms) / 1000);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
}

__attribute__((format(printf, 3, 4))) static bool claim(struct demo *d, bool holds, const char *format, ...)
{
    va_list args;
    printf("%7.3f s  [%s] ", (double)(monotonic_ms() - d->started_ms) / 1000, holds ? "ok" : "WRONG");
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
    d->wrong += !holds;
    return holds;
}

static long long number(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static const char *text(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    return s != NULL ? s : "";
}

/* ---- the banks ---- */

static json_t *bank_get(const struct bank_process *b, const char *path)
{
    char url[512];
    struct http_answer a;
    snprintf(url, sizeof(url), "%s%s", b->url, path);
    http_call("GET", url, NULL, NULL, 5000, &a);
    json_t *body = a.status == 200 ? json_incref(a.body) : NULL;
    http_answer_clear(&a);
    return body;
}

static bool bank_post(const struct bank_process *b, const char *path, json_t *body, char *error)
{
    char url[128];
    struct http_answer a;
    snprintf(url, sizeof(url), "%s%s", b->url, path);
    http_call("POST", url, NULL, body, 5000, &a);
    json_decref(body);
    bool ok = a.status == 200;
    snprintf(error, ERROR_MAX, "%s: HTTP %d %s%.64s", url, a.status, a.error, text(a.body, "error"));
    http_answer_clear(&a);
    return ok;
}

static json_t *account_of(const struct bank_process *b, json_t **holder)
{
    *holder = bank_get(b, "/accounts");
    return json_array_get(json_object_get(*holder, "accounts"), 0);
}

/* Both balances, printed; their sum. */
static long long show_balances(struct demo *d, const char *when, long long *a_balance, long long *b_balance)
{
    json_t *ha, *hb, *a = account_of(&d->a, &ha), *b = account_of(&d->b, &hb);
    *a_balance = number(a, "balance");
    *b_balance = number(b, "balance");
    long long sum = *a_balance + *b_balance;
    say(d, "%-7s bank-a alice %9.2f (reserved %.2f)   bank-b bob %9.2f (coming %.2f)   sum %.2f", when,
        (double)*a_balance / 100, (double)number(a, "frozen") / 100, (double)*b_balance / 100,
        (double)number(b, "coming") / 100, (double)sum / 100);
    json_decref(ha);
    json_decref(hb);
    return sum;
}

static long long gate_waiting(const struct bank_process *b)
{
    json_t *gate = bank_get(b, "/gate");
    long long n = gate != NULL ? number(gate, "waiting") : -1;
    json_decref(gate);
    return n;
}

/* Calls and effects of one branch's operation in a bank's guard rows. */
static long long guard_calls(const struct bank_process *b, const char *xid, const char *op, uint32_t *rows)
{
    char path[256];
    snprintf(path, sizeof(path), "/ledger?xid=%s", xid);
    json_t *ledger = bank_get(b, path), *e;
    long long calls = 0;
    size_t i;
    *rows = 0;
    json_array_foreach(json_object_get(ledger, "entries"), i, e)
    {
        if (strcmp(text(e, "op"), op) == 0) {
            ++*rows;
            calls += number(e, "calls");
        }
    }
    json_decref(ledger);
    return calls;
}

/* ---- the cluster ---- */

/* Who leads, as one node sees it; 0 while nobody does. */
static bool leader_get(struct endpoints *e, long patience_ms, long long *leader, long long *term)
{
    char error[ERROR_MAX];
    json_t *data;
    if (!cluster_call(e, "GET", "/cluster", NULL, patience_ms, &data, error, sizeof(error)))
        return false;
    *leader = number(data, "leaderId");
    *term = number(data, "term");
    json_decref(data);
    return true;
}

static bool leader_wait(struct demo *d, long long not_this, long long *leader, long long *term)
{
    int64_t until = monotonic_ms() + PATIENCE_MS;
    while (monotonic_ms() < until) {
        if (leader_get(&d->cluster, 100, leader, term) && *leader != 0 && *leader != not_this)
            return true;
        d->cluster.current = (d->cluster.current + 1) % d->cluster.n;
        sleep_ms(20);
    }
    return false;
}

/* Process and HTTP address of a node, from the file of the local cluster. */
static bool node_of(const struct demo *d, long long id, pid_t *pid, char *http, size_t size)
{
    json_error_t error;
    json_t *file = json_load_file(d->o.state, 0, &error), *node;
    size_t i;
    bool found = false;
    json_array_foreach(json_object_get(file, "nodes"), i, node)
    {
        if (number(node, "id") == id) {
            *pid = (pid_t)number(node, "pid");
            snprintf(http, size, "%s", text(node, "http"));
            found = *pid > 1;
        }
    }
    if (file == NULL)
        say(d, "%s: %s", d->o.state, error.text);
    json_decref(file);
    return found;
}

static bool step(struct demo *d, const char *path, json_t *body, json_t **data)
{
    char error[ERROR_MAX] = "";
    bool ok = cluster_call(&d->cluster, "POST", path, body, PATIENCE_MS, data, error, sizeof(error));
    json_decref(body);
    if (!ok)
        claim(d, false, "POST %s: %s", path, error);
    return ok;
}

static bool begin(struct demo *d)
{
    json_t *data;
    if (!step(d, "/transaction/begin",
              json_pack("{s:s, s:s, s:i, s:i, s:{s:I}}", "mode", "TCC", "businessType", "transfer",
                        "timeoutMs", 120000, "retryCapMs", 1000, "customData", "amount",
                        (json_int_t)d->o.amount),
              &data))
        return false;
    snprintf(d->xid, sizeof(d->xid), "%s", text(data, "xid"));
    json_decref(data);
    return claim(d, d->xid[0] != 0, "begun: transaction %s", d->xid);
}

static bool branch(struct demo *d, const char *name, const struct bank_process *bank, const char *account,
                   long long amount)
{
    char confirm[96], cancel[96], error[ERROR_MAX];
    json_t *data;
    snprintf(confirm, sizeof(confirm), "%s/confirm", bank->url);
    snprintf(cancel, sizeof(cancel), "%s/cancel", bank->url);
    if (!step(d, "/transaction/branch",
              json_pack("{s:s, s:s, s:s, s:s, s:{s:s, s:I}}", "xid", d->xid, "branch", name, "confirmUrl",
                        confirm, "cancelUrl", cancel, "payload", "account", account, "amount",
                        (json_int_t)amount),
              &data))
        return false;
    json_decref(data);
    bool ok = bank_post(bank, "/reserve",
                        json_pack("{s:s, s:s, s:s, s:I}", "xid", d->xid, "branch", name, "account", account,
                                  "amount", (json_int_t)amount),
                        error);
    return claim(d, ok, "branch %-6s registered, %s reserves %+.2f for %s%s%s", name, bank->url,
                 (double)amount / 100, account, ok ? "" : ": ", ok ? "" : error);
}

/* ---- the steps ---- */

static bool start_banks(struct demo *d)
{
    snprintf(d->dir, sizeof(d->dir), "/tmp/assent-demo-XXXXXX");
    if (mkdtemp(d->dir) == NULL || !bank_start(&d->a, d->dir, "bank-a", "alice=100000", false) ||
        !bank_start(&d->b, d->dir, "bank-b", "bob=50000", d->o.kill_leader))
        return claim(d, false, "the banks do not start");
    say(d, "two banks run as processes of their own: bank-a (pid %d) %s, bank-b (pid %d) %s", d->a.pid,
        d->a.url, d->b.pid, d->b.url);
    return true;
}

static bool commit(struct demo *d)
{
    json_t *data;
    if (!step(d, "/transaction/commit", json_pack("{s:s}", "xid", d->xid), &data))
        return false;
    bool ok = strncmp(text(data, "status"), "COMMITT", 7) == 0;
    claim(d, ok, "commit answered: the decision is in the log of a majority, status %s",
          text(data, "status"));
    json_decref(data);
    return ok;
}

/* Phase two has reached A, and B has its call but has not answered: the worst moment for a coordinator to
 * die. */
static bool wait_middle(struct demo *d)
{
    int64_t until = monotonic_ms() + PATIENCE_MS;
    uint32_t rows = 0;
    while (monotonic_ms() < until) {
        if (guard_calls(&d->a, d->xid, "confirm", &rows) > 0 && gate_waiting(&d->b) > 0)
            break;
        sleep_ms(10);
    }
    return claim(d, rows == 1 && gate_waiting(&d->b) > 0,
                 "bank-a has confirmed, bank-b holds its confirm back");
}

static bool kill_leader(struct demo *d)
{
    pid_t pid = 0;
    char http[128] = "";
    if (!leader_get(&d->cluster, PATIENCE_MS, &d->leader_before, &d->term_before) ||
        !node_of(d, d->leader_before, &pid, http, sizeof(http)))
        return claim(d, false,
                     "the leader's process is not known (is the cluster up by `assentctl local up`?)");
    long long held = gate_waiting(&d->b);
    int64_t killed_ms = monotonic_ms();
    if (!claim(d, kill(pid, SIGKILL) == 0, "SIGKILL to the leader: node %lld (pid %d, %s), term %lld",
               d->leader_before, (int)pid, http, d->term_before))
        return false;
    if (!leader_wait(d, d->leader_before, &d->leader_after, &d->term_after))
        return claim(d, false, "no new leader");
    claim(d, d->term_after > d->term_before, "new leader after %lld ms: node %lld, term %lld",
          (long long)(monotonic_ms() - killed_ms), d->leader_after, d->term_after);
    int64_t until = monotonic_ms() + PATIENCE_MS;
    while (gate_waiting(&d->b) <= held && monotonic_ms() < until)
        sleep_ms(10);
    return claim(d, gate_waiting(&d->b) > held, "the new leader calls bank-b again, %lld ms after the kill",
                 (long long)(monotonic_ms() - killed_ms));
}

static bool open_gate(struct demo *d)
{
    char error[ERROR_MAX];
    bool ok = bank_post(&d->b, "/gate", json_pack("{s:b}", "open", 1), error);
    return claim(d, ok, "bank-b answers now: the dead leader's call and the new leader's%s%s", ok ? "" : ": ",
                 ok ? "" : error);
}

static bool wait_committed(struct demo *d)
{
    int64_t until = monotonic_ms() + PATIENCE_MS;
    char path[256], error[ERROR_MAX] = "", status[64] = "unknown";
    json_t *data = NULL;
    snprintf(path, sizeof(path), "/transaction/%s", d->xid);
    while (monotonic_ms() < until && strcmp(status, "COMMITTED") != 0) {
        json_decref(data);
        if (cluster_call(&d->cluster, "GET", path, NULL, 5000, &data, error, sizeof(error)))
            snprintf(status, sizeof(status), "%s", text(data, "status"));
        if (strcmp(status, "COMMITTED") != 0)
            sleep_ms(20);
    }
    bool ok = claim(d, strcmp(status, "COMMITTED") == 0, "transaction %s is %s %s", d->xid, status, error);
    json_t *b;
    size_t i;
    json_array_foreach(json_object_get(data, "branches"), i, b)
    {
        claim(d, strcmp(text(b, "status"), "CONFIRMED") == 0, "branch %-6s %s, %lld call(s) answered%s%s",
              text(b, "branch"), text(b, "status"), number(b, "attempts"),
              text(b, "lastError")[0] != 0 ? ", last error: " : "", text(b, "lastError"));
    }
    json_decref(data);
    return ok;
}

static void check_ledgers(struct demo *d)
{
    const struct bank_process *banks[] = {&d->a, &d->b};
    static const char *const names[] = {"bank-a", "bank-b"};
    for (int i = 0; i < 2; i++) {
        uint32_t confirms, cancels;
        long long calls = guard_calls(banks[i], d->xid, "confirm", &confirms);
        guard_calls(banks[i], d->xid, "cancel", &cancels);
        claim(d, confirms == 1 && cancels == 0,
              "%s: confirm called %lld time(s), took effect once, no cancel", names[i], calls);
    }
}

/* `assentctl` beside this program, or one folder up as in a build tree, or on the path. */
static bool local_up(struct demo *d)
{
    char self[PATH_MAX] = "", path[PATH_MAX + 32] = "assentctl";
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (d->o.ctl != NULL) {
        snprintf(path, sizeof(path), "%s", d->o.ctl);
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
    snprintf(state, sizeof(state), "%s", d->o.state);
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

static void restart(struct demo *d)
{
    pid_t pid;
    char http[128] = "", url[192];
    bool up = local_up(d) && node_of(d, d->leader_before, &pid, http, sizeof(http));
    int64_t until = monotonic_ms() + PATIENCE_MS;
    struct http_answer a = {0};
    snprintf(url, sizeof(url), "http://%s/api/v1/cluster", http);
    while (up && a.status != 200 && monotonic_ms() < until) {
        http_answer_clear(&a);
        http_call("GET", url, NULL, NULL, 1000, &a);
        if (a.status != 200)
            sleep_ms(50);
    }
    claim(d, a.status == 200, "the killed node %lld is back as %s", d->leader_before, http);
    http_answer_clear(&a);
}

static bool run(struct demo *d)
{
    long long a_before, b_before, a_after, b_after;
    say(d, "looking for the leader of the cluster at %s", d->o.endpoints);
    if (!leader_wait(d, 0, &d->leader_before, &d->term_before))
        return claim(d, false, "no cluster with a leader answers at %s", d->o.endpoints);
    say(d, "the cluster is led by node %lld in term %lld", d->leader_before, d->term_before);
    if (!start_banks(d))
        return false;
    long long sum = show_balances(d, "before:", &a_before, &b_before);
    if (!begin(d) || !branch(d, "debit", &d->a, "alice", -d->o.amount) ||
        !branch(d, "credit", &d->b, "bob", d->o.amount) || !commit(d))
        return false;
    if (d->o.kill_leader && (!wait_middle(d) || !kill_leader(d) || !open_gate(d)))
        return false;
    wait_committed(d);
    check_ledgers(d);
    long long sum_after = show_balances(d, "after:", &a_after, &b_after);
    claim(d, a_after == a_before - d->o.amount && b_after == b_before + d->o.amount,
          "%.2f went from alice to bob, once", (double)d->o.amount / 100);
    claim(d, sum_after == sum, "the sum is conserved");
    if (d->o.kill_leader)
        restart(d);
    return d->wrong == 0;
}

/* ---- start ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    (void)st, (void)type, (void)walk;
    return remove(path);
}

static bool options_parse(struct options *o, int argc, char **argv)
{
    *o = (struct options){.endpoints = "127.0.0.1:8080,127.0.0.1:8081,127.0.0.1:8082",
                          .state = ".local/nodes.json",
                          .amount = 25000,
                          .kill_leader = true};
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--no-kill") == 0) {
            o->kill_leader = false;
            continue;
        }
        if (i + 1 == argc)
            return false;
        const char *value = argv[i + 1];
        if (strcmp(argv[i], "--endpoints") == 0)
            o->endpoints = value;
        else if (strcmp(argv[i], "--state") == 0)
            o->state = value;
        else if (strcmp(argv[i], "--ctl") == 0)
            o->ctl = value;
        else if (strcmp(argv[i], "--amount") == 0)
            o->amount = strtoll(value, NULL, 10);
        else
            return false;
        i++;
    }
    return o->amount > 0 && o->amount <= 100000;
}

int transfer_main(int argc, char **argv)
{
    struct demo d = {.started_ms = monotonic_ms()};
    if (!options_parse(&d.o, argc, argv) || !endpoints_parse(&d.cluster, d.o.endpoints)) {
        fprintf(stderr,
                "usage: assent-demo transfer [--endpoints HOST:PORT,...] [--amount CENTS (1..100000)]\n"
                "                            [--state .local/nodes.json] [--ctl PATH] [--no-kill]\n");
        return 2;
    }
    http_init();
    signal(SIGPIPE, SIG_IGN);
    bool ok = run(&d);
    bank_stop(&d.a);
    bank_stop(&d.b);
    if (d.dir[0] != 0)
        nftw(d.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    if (ok && d.o.kill_leader)
        say(&d,
            "done: committed once, although node %lld died in the middle and node %lld (term %lld) went on",
            d.leader_before, d.leader_after, d.term_after);
    else
        say(&d, ok ? "done: committed once" : "FAILED: see the lines marked WRONG");
    return ok ? 0 : 1;
}
