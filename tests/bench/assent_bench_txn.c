/* Whole transactions: N clients, each one transaction at a time, from its first request until it was seen
 * COMMITTED.
 *
 *   (idle) -> REQUEST -> REQUEST ... -> CALLS -> POLL -> (idle)
 *                             \___ the answer says COMMITTED ___/
 *
 * A client needs to know when its transaction is finished, and asking all the time would measure the asking.
 * So it waits until the participant has counted the last call of its transaction (CALLS; shared memory, costs
 * nothing) and asks for the status from then on (POLL), every POLL_MS.  The questions are `stale` reads at
 * the leader: COMMITTED is final, so an answer that says it is right however old it is.  Their cost is in the
 * figures. */
#include "assent_bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_BYTES_MAX  8192
#define REQUEST_BYTES_MAX 2048
#define POLL_FIRST_MS     6 /* after the last call; its report takes a while to be applied */
#define POLL_MS           3
#define PATIENCE_MS       1000 /* without its calls a transaction is asked for so often */
#define STUCK_MS          60000

/* %s: where the participant is, %u: the client.  A begin's xid goes into the requests after it. */
#define GID "bench-0000000000000000" /* its digits are filled in anew for each transaction */
#define URL "\"http://%s/%u/"
static const struct mode {
    const char *name, *mode; /* as the metrics call it */
    const char *begin_path, *begin;
    const char *commit_path; /* NULL: the first request decides */
    uint32_t calls;
    double entries_max, commands_max; /* per transaction, with 64 clients */
} modes[] = {
    {"saga", "SAGA", "/api/v1/transaction/saga",
     "{\"steps\":[{\"actionUrl\":" URL "1\",\"compensateUrl\":" URL "1c\",\"payload\":{\"amount\":30}},"
     "{\"actionUrl\":" URL "2\",\"compensateUrl\":" URL "2c\",\"payload\":{\"amount\":30}}]}",
     NULL, 2, 1.1, 1.5},
    {"saga-concurrent", "SAGA", "/api/v1/transaction/saga",
     "{\"concurrent\":true,\"steps\":[{\"actionUrl\":" URL "1\",\"compensateUrl\":" URL
     "1c\",\"payload\":{\"amount\":30}},{\"actionUrl\":" URL "2\",\"compensateUrl\":" URL
     "2c\",\"payload\":{\"amount\":30}}]}",
     NULL, 2, 1.1, 1.5},
    /* of the backlog: due again every second, and finished for the load when it is accepted */
    {"saga-submit", "SAGA", "/api/v1/transaction/saga",
     "{\"retryBaseMs\":1000,\"retryCapMs\":1000,\"businessType\":\"backlog\",\"steps\":[{\"actionUrl\":" URL
     "1\",\"compensateUrl\":" URL "1c\",\"payload\":{\"amount\":30}}]}",
     NULL, 0, 1.1, 1.5},
    {"saga-empty", "SAGA", "/api/v1/transaction/saga",
     "{\"steps\":[{\"payload\":{\"amount\":30}},{\"payload\":{\"amount\":30}}]}", NULL, 0, 1.1, 1.5},
    {"message", "MESSAGE", "/api/v1/transaction/message",
     "{\"steps\":[{\"actionUrl\":" URL "1\",\"payload\":{\"amount\":30}},{\"actionUrl\":" URL
     "2\",\"payload\":{\"amount\":30}}]}",
     NULL, 2, 1.1, 1.5},
    {"message-prepared", "MESSAGE", "/api/v1/transaction/message/prepare",
     "{\"queryUrl\":" URL "q\",\"steps\":[{\"actionUrl\":" URL
     "1\",\"payload\":{\"amount\":30}},{\"actionUrl\":" URL "2\",\"payload\":{\"amount\":30}}]}",
     "/api/v1/transaction/message", 2, 2.1, 2.5},
    /* as DTM's own bench submits it: answered when it is finished, so nobody asks */
    {"dtm-saga", "SAGA", "/api/dtmsvr/submit",
     "{\"gid\":\"" GID "\",\"trans_type\":\"saga\",\"wait_result\":true,\"steps\":[{\"action\":" URL
     "1\",\"compensate\":" URL "1c\"},{\"action\":" URL "2\",\"compensate\":" URL
     "2c\"}],\"payloads\":[\"{\\\"amount\\\":30}\",\"{\\\"amount\\\":30}\"]}",
     NULL, 2, 1.1, 1.5},
    {"tcc", "TCC", "/api/v1/transaction/begin",
     "{\"mode\":\"TCC\",\"branches\":[{\"branch\":\"01\",\"confirmUrl\":" URL "1\",\"cancelUrl\":" URL
     "1c\",\"payload\":{\"amount\":30}},{\"branch\":\"02\",\"confirmUrl\":" URL "2\",\"cancelUrl\":" URL
     "2c\",\"payload\":{\"amount\":30}}]}",
     "/api/v1/transaction/commit", 2, 3, 3},
    {"xa", "XA", "/api/v1/transaction/begin",
     "{\"mode\":\"XA\",\"branches\":[{\"branch\":\"01\",\"confirmUrl\":" URL "1\",\"cancelUrl\":" URL
     "1c\"},{\"branch\":\"02\",\"confirmUrl\":" URL "2\",\"cancelUrl\":" URL "2c\"}]}",
     "/api/v1/transaction/commit", 2, 3, 3},
};

enum phase { BEGIN, COMMIT, CALLS, POLL };

struct client {
    int fd; /* -1: not connected */
    uint32_t number;
    enum phase phase;
    bool asking;         /* a request is under way */
    uint64_t started;    /* the transaction */
    uint64_t asked, due; /* newest request; next question */
    uint32_t calls_want; /* what the participant will have counted when the last call was made */
    size_t begin_size, have;
    char *gid; /* in `begin`: the digits of a name the client chooses; NULL: it does not */
    char xid[64];
    char begin[REQUEST_BYTES_MAX];
    char answer[ANSWER_BYTES_MAX + 1];
};

struct load {
    int epoll;
    const struct mode *mode;
    struct participant *participant;
    struct bench_result *r;
    struct bench_address leader;
    bool measuring, ending, submit_only;
    uint64_t finished_max; /* 0: until the time is over */
    uint32_t n;
    uint64_t finished, questions; /* of the whole load */
    uint64_t gid;                 /* the next one */
    struct client *clients;
};

static const struct mode *mode_find(const char *op)
{
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++)
        if (strcmp(modes[i].name, op) == 0)
            return &modes[i];
    bench_die("no transactions of kind '%s'", op);
}

void bench_txn_limits(const char *op, double *entries, double *commands)
{
    const struct mode *mode = mode_find(op);
    *entries = mode->entries_max;
    *commands = mode->commands_max;
}

/* ---- requests ---- */

static int request_print(const struct load *l, char *out, const char *method, const char *path,
                         const char *body)
{
    int size = snprintf(
        out, REQUEST_BYTES_MAX, "%s %s HTTP/1.1\r\nHost: %s\r\n%sContent-Length: %zu\r\n\r\n%s", method, path,
        l->leader.text, body[0] != '\0' ? "Content-Type: application/json\r\n" : "", strlen(body), body);
    if (size < 0 || size >= REQUEST_BYTES_MAX)
        bench_die("a request is too long");
    return size;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* the formats are those of the table above */
static void client_prepare(struct load *l, struct client *c)
{
    char body[REQUEST_BYTES_MAX];
    const char *at = participant_address(l->participant);
    snprintf(body, sizeof body, l->mode->begin, at, c->number, at, c->number, at, c->number, at, c->number);
    c->begin_size = (size_t)request_print(l, c->begin, "POST", l->mode->begin_path, body);
    c->gid = strstr(c->begin, GID);
    c->gid = c->gid != NULL ? c->gid + strcspn(c->gid, "0") : NULL;
}
#pragma GCC diagnostic pop

static void client_lose(struct load *l, struct client *c)
{
    close(c->fd);
    c->fd = -1;
    l->r->errors += l->measuring;
}

static void client_ask(struct load *l, struct client *c, const char *request, size_t size)
{
    c->have = 0;
    c->asking = true;
    c->asked = bench_now();
    if (send(c->fd, request, size, MSG_NOSIGNAL) != (ssize_t)size)
        client_lose(l, c);
}

static void client_begin(struct load *l, struct client *c)
{
    c->phase = BEGIN;
    c->asking = false;
    if (l->ending)
        return;
    c->calls_want = participant_calls_of(l->participant, c->number) + l->mode->calls;
    if (c->gid != NULL) {
        char digits[17];
        snprintf(digits, sizeof digits, "%016llx", (unsigned long long)l->gid++);
        memcpy(c->gid, digits, 16);
    }
    client_ask(l, c, c->begin, c->begin_size);
    c->started = c->asked;
}

static void client_connect(struct load *l, struct client *c)
{
    c->fd = bench_connect(l->leader.text);
    if (c->fd < 0)
        return;
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &event);
    client_begin(l, c);
}

static void client_done(struct load *l, struct client *c)
{
    l->finished++;
    if (l->measuring) {
        l->r->done++;
        histogram_add(&l->r->latency, bench_now() - c->started);
    }
    client_begin(l, c);
}

/* ---- answers ---- */

static bool take_xid(struct client *c, const char *body)
{
    const char *at = strstr(body, "\"xid\":\"");
    return at != NULL && sscanf(at, "\"xid\":\"%63[^\"]", c->xid) == 1;
}

/* A complete answer. */
static void client_answered(struct load *l, struct client *c, const char *body)
{
    char path[128], text[128], request[REQUEST_BYTES_MAX];
    bool good = memcmp(c->answer, "HTTP/1.1 200", 12) == 0;
    c->asking = false;
    if (good && c->gid != NULL && strstr(body, "\"SUCCESS\"") != NULL) {
        client_done(l, c);
        return;
    }
    if (!good || (c->phase == BEGIN && !take_xid(c, body))) {
        l->r->errors += l->measuring;
        client_begin(l, c);
        return;
    }
    if (strstr(body, "\"COMMITTED\"") != NULL || l->submit_only) {
        client_done(l, c);
        return;
    }
    if (c->phase == BEGIN && l->mode->commit_path != NULL) {
        c->phase = COMMIT;
        snprintf(path, sizeof path, "%s", l->mode->commit_path);
        snprintf(text, sizeof text, "{\"xid\":\"%s\"}", c->xid);
        client_ask(l, c, request, (size_t)request_print(l, request, "POST", path, text));
        return;
    }
    if (c->phase == POLL) {
        c->due = bench_now() + POLL_MS * 1000000ull;
        return;
    }
    c->phase = CALLS;
    c->due = bench_now() + PATIENCE_MS * 1000000ull;
}

/* False: the connection is of no more use. */
static bool client_read(struct load *l, struct client *c)
{
    ssize_t got = recv(c->fd, c->answer + c->have, ANSWER_BYTES_MAX - c->have, 0);
    if (got <= 0)
        return got < 0 && (errno == EAGAIN || errno == EINTR);
    c->have += (size_t)got;
    c->answer[c->have] = '\0';
    char *end = strstr(c->answer, "\r\n\r\n");
    if (end == NULL)
        return c->have < ANSWER_BYTES_MAX;
    const char *length = strcasestr(c->answer, "\r\ncontent-length:");
    if (length == NULL || length > end)
        return false;
    size_t want = strtoul(length + 17, NULL, 10), have = (size_t)(c->answer + c->have - (end + 4));
    if (have < want)
        return c->have < ANSWER_BYTES_MAX;
    client_answered(l, c, end + 4);
    return true;
}

/* What waits for time or for the participant. */
static void client_look(struct load *l, struct client *c, uint64_t now)
{
    char path[128], request[REQUEST_BYTES_MAX];
    if (c->asking || c->phase == BEGIN)
        return;
    if (c->phase == CALLS &&
        (int32_t)(participant_calls_of(l->participant, c->number) - c->calls_want) >= 0) {
        c->phase = POLL;
        c->due = now + POLL_FIRST_MS * 1000000ull;
    }
    if (now < c->due)
        return;
    if (now - c->started > STUCK_MS * 1000000ull)
        bench_die("transaction %s is not finished after %d s", c->xid, STUCK_MS / 1000);
    c->due = now + PATIENCE_MS * 1000000ull;
    l->questions++;
    snprintf(path, sizeof path, "/api/v1/transaction/status/%s?stale=true", c->xid);
    client_ask(l, c, request, (size_t)request_print(l, request, "GET", path, ""));
}

/* True: every client has ended its transaction. */
static bool turn(struct load *l)
{
    struct epoll_event events[256];
    bool idle = true;
    int n = epoll_wait(l->epoll, events, 256, 1);
    for (int i = 0; i < n; i++) {
        struct client *c = events[i].data.ptr;
        if (!client_read(l, c))
            client_lose(l, c);
    }
    uint64_t now = bench_now();
    for (uint32_t i = 0; i < l->n; i++) {
        struct client *c = &l->clients[i];
        if (c->fd < 0 && !l->ending)
            client_connect(l, c);
        else if (c->fd >= 0)
            client_look(l, c, now);
        idle = idle && (c->fd < 0 || (c->phase == BEGIN && !c->asking));
    }
    return idle;
}

static void loop(struct load *l, double seconds)
{
    for (uint64_t until = bench_now() + (uint64_t)(seconds * 1e9);
         bench_now() < until && !bench_stopped() && (l->finished_max == 0 || l->finished < l->finished_max);)
        turn(l);
}

/* ---- what it cost ---- */

struct cost {
    double index, commands, committed;
    double leader_us, followers_us, participant_us, load_us;
    double busy_us, all_us; /* of the machine: processors at work, processors there are */
};

static void take_machine(struct cost *c)
{
    unsigned long long t[8] = {0}; /* user nice system idle iowait irq softirq steal */
    double tick_us = 1e6 / (double)sysconf(_SC_CLK_TCK);
    FILE *f = fopen("/proc/stat", "r");
    if (f != NULL) {
        if (fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &t[0], &t[1], &t[2], &t[3], &t[4], &t[5],
                   &t[6], &t[7]) != 8)
            memset(t, 0, sizeof t);
        fclose(f);
    }
    c->busy_us = (double)(t[0] + t[1] + t[2] + t[5] + t[6] + t[7]) * tick_us;
    c->all_us = c->busy_us + (double)(t[3] + t[4]) * tick_us;
}

/* Processor time of a process, user and system. */
static double used_us(pid_t pid)
{
    char path[64], text[1024] = "";
    unsigned long long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "r");
    if (f != NULL) {
        if (fgets(text, sizeof text, f) != NULL) {
            const char *after = strrchr(text, ')');
            (void)(after != NULL && sscanf(after, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu",
                                           &user, &system) == 2);
        }
        fclose(f);
    }
    return (double)(user + system) * 1e6 / (double)sysconf(_SC_CLK_TCK);
}

/* The value of a line of the metrics page; 0: there is none. */
static double metric(const char *page, const char *line)
{
    char name[128];
    snprintf(name, sizeof name, "\n%s ", line);
    const char *at = strstr(page, name);
    return at != NULL ? strtod(at + strlen(name), NULL) : 0;
}

static struct cost cost_now(const struct load *l, struct bench_cluster *c, int leader)
{
    static char page[256 * 1024];
    char committed[128];
    struct cost now = {.load_us = used_us(getpid()),
                       .participant_us = used_us(participant_pid(l->participant))};
    for (int i = 0; i < BENCH_NODES; i++)
        *(i == leader ? &now.leader_us : &now.followers_us) += used_us(c->nodes[i].pid);
    if (bench_request(c->nodes[leader].http.text, "GET", "/metrics", "", 10000, page, sizeof page) != 200)
        bench_die("the leader gives no metrics");
    snprintf(committed, sizeof committed, "assent_transactions{mode=\"%s\",status=\"COMMITTED\"}",
             l->mode->mode);
    take_machine(&now);
    now.index = metric(page, "assent_raft_last_index");
    now.commands = metric(page, "assent_apply_commands_total");
    now.committed = metric(page, committed);
    return now;
}

static void cost_take(struct load *l, const struct cost *a, const struct cost *b, struct txn_result *out)
{
    double n = l->finished > 0 ? (double)l->finished : 1;
    out->entries = (b->index - a->index) / n;
    out->commands = (b->commands - a->commands) / n;
    out->questions = (double)l->questions / n;
    out->leader_us = (b->leader_us - a->leader_us) / n;
    out->followers_us = (b->followers_us - a->followers_us) / n;
    out->participant_us = (b->participant_us - a->participant_us) / n;
    out->load_us = (b->load_us - a->load_us) / n;
    double ours_us = (out->leader_us + out->followers_us + out->participant_us + out->load_us) * n;
    double others_us = b->busy_us - a->busy_us - ours_us;
    out->others = b->all_us > a->all_us && others_us > 0 ? others_us / (b->all_us - a->all_us) : 0;
    if (!l->submit_only && b->committed - a->committed < (double)l->finished) {
        fprintf(stderr, "assent-bench: %llu transactions were seen COMMITTED, the coordinator counts %.0f\n",
                (unsigned long long)l->finished, b->committed - a->committed);
        l->r->errors++;
    }
}

void bench_txn(const struct bench_options *o, struct bench_cluster *c, struct participant *p,
               struct txn_result *out)
{
    struct load l = {.mode = mode_find(o->op),
                     .participant = p,
                     .r = &out->r,
                     .n = o->connections,
                     .finished_max = o->transactions,
                     .gid = bench_now()};
    l.submit_only = strcmp(l.mode->name, "saga-submit") == 0;
    int leader = cluster_leader(c, 10000);
    if (leader < 0)
        bench_die("no leader");
    memset(out, 0, sizeof *out);
    l.leader = c->nodes[leader].http;
    l.clients = calloc(l.n, sizeof *l.clients);
    l.epoll = epoll_create1(EPOLL_CLOEXEC);
    for (uint32_t i = 0; i < l.n; i++) {
        l.clients[i].fd = -1;
        l.clients[i].number = i;
        client_prepare(&l, &l.clients[i]);
    }
    uint64_t calls = participant_calls(p);
    struct cost before = cost_now(&l, c, leader);
    loop(&l, o->warmup_seconds);
    uint64_t start = bench_now();
    l.measuring = true;
    loop(&l, o->seconds);
    out->r.seconds = (double)(bench_now() - start) / 1e9;
    l.measuring = false;
    l.ending = true;
    while (!turn(&l) && !bench_stopped())
        ;
    struct cost after = cost_now(&l, c, leader);
    cost_take(&l, &before, &after, out);
    if (participant_calls(p) - calls < l.finished * l.mode->calls && !bench_stopped()) {
        fprintf(stderr, "assent-bench: transactions are COMMITTED whose calls were not made\n");
        out->r.errors++;
    }
    out->r.units = out->r.done;
    out->r.per_second = out->r.seconds > 0 ? (double)out->r.done / out->r.seconds : 0;
    for (uint32_t i = 0; i < l.n; i++)
        if (l.clients[i].fd >= 0)
            close(l.clients[i].fd);
    close(l.epoll);
    free(l.clients);
}

void bench_txn_print(const struct bench_options *o, const struct txn_result *t)
{
    static const char json[] = "{\"bench\":\"%s cost\",\"entries\":%.3f,\"commands\":%.2f,\"questions\":%.2f,"
                               "\"leaderUs\":%.0f,\"followersUs\":%.0f,\"participantUs\":%.0f,"
                               "\"loadUs\":%.0f,\"othersShare\":%.2f}\n";
    static const char plain[] =
        "%-28s entries %.3f  commands %.2f  questions %.2f; processor us: leader %.0f, "
        "followers %.0f, participant %.0f, load %.0f; others' share %.2f\n";
    char name[64];
    snprintf(name, sizeof name, "txn %s", o->op);
    bench_print(o, name, &t->r);
    printf(o->json ? json : plain, o->json ? name : "  per transaction", t->entries, t->commands,
           t->questions, t->leader_us, t->followers_us, t->participant_us, t->load_us, t->others);
}
