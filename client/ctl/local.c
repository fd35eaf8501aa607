/* A cluster on this machine for trying and developing: `assentctl local up|down|status|kill`.
 *
 * DIR (default .local) holds a data directory and a log per node and nodes.json, which says who runs where.
 * A pid in it is believed only while /proc shows our assentd with that data directory.  `up` starts what is
 * missing, so that it can be repeated; a lock file keeps two of them apart. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ctl.h"
#include "process.h"

#define NODES_MAX      9
#define DAEMON         "assentd"
#define READY_MS       30000 /* a first start makes files; an old log is verified */
#define POLL_MS        50
#define TAIL_BYTES     2000
#define EXTRA_ARGS_MAX 32

struct node {
    int id;
    pid_t pid; /* 0: never started or stopped by us */
    char name[32], http[48], rpc[48], raft[48];
    char data[PATH_MAX], log[PATH_MAX];
    bool started; /* by this call */
};

struct local {
    const struct ctl *ctl;
    char dir[PATH_MAX - 64]; /* absolute */
    int nodes_n;
    bool nodes_given;
    bool known; /* the cluster has run before */
    int http_port, rpc_port, raft_port;
    char **extra; /* more flags for every node */
    int extra_n;
    bool wipe, leader;
    int kill_id, sig;
    int lock;
    struct node nodes[NODES_MAX];
};

static void pause_ms(long ms)
{
    const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    (void)nanosleep(&t, NULL);
}

static enum exit_code fail(const char *what, const char *path)
{
    (void)fprintf(stderr, "assentctl: %s %s: %s\n", what, path, strerror(errno));
    return EXIT_REFUSED;
}

static bool alive(const struct node *n)
{
    return n->pid != 0 && process_is(n->pid, DAEMON, n->data);
}

/* ---- nodes.json ---- */

static void state_path(const struct local *l, char path[PATH_MAX])
{
    (void)snprintf(path, PATH_MAX, "%s/nodes.json", l->dir);
}

static bool copy(char *out, size_t size, const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL && (size_t)snprintf(out, size, "%s", text) < size;
}

/* Read what an earlier call wrote.  False: there is none, or it is damaged. */
static bool load(struct local *l)
{
    char path[PATH_MAX];
    state_path(l, path);
    json_t *root = json_load_file(path, 0, NULL);
    const json_t *list = json_object_get(root, "nodes"), *row;
    size_t n = json_array_size(list), i;
    bool good = n > 0 && n <= NODES_MAX;
    json_array_foreach(list, i, row)
    {
        if (!good) {
            break;
        }
        struct node *node = &l->nodes[i];
        *node = (struct node){.id = (int)json_integer_value(json_object_get(row, "id")),
                              .pid = (pid_t)json_integer_value(json_object_get(row, "pid"))};
        good = copy(node->name, sizeof node->name, row, "name") &&
               copy(node->http, sizeof node->http, row, "http") &&
               copy(node->rpc, sizeof node->rpc, row, "rpc") &&
               copy(node->raft, sizeof node->raft, row, "raft") &&
               copy(node->data, sizeof node->data, row, "data") &&
               copy(node->log, sizeof node->log, row, "log");
    }
    json_decref(root);
    if (good) {
        l->nodes_n = (int)n;
    }
    return good;
}

static json_t *describe(const struct local *l)
{
    json_t *list = json_array();
    for (int i = 0; i < l->nodes_n; i++) {
        const struct node *n = &l->nodes[i];
        (void)json_array_append_new(list,
                                    json_pack("{s:i s:s s:I s:s s:s s:s s:s s:s}", "id", n->id, "name",
                                              n->name, "pid", (json_int_t)n->pid, "http", n->http, "rpc",
                                              n->rpc, "raft", n->raft, "data", n->data, "log", n->log));
    }
    return json_pack("{s:o}", "nodes", list);
}

static enum exit_code save(const struct local *l)
{
    char path[PATH_MAX], fresh[PATH_MAX + 8];
    state_path(l, path);
    (void)snprintf(fresh, sizeof fresh, "%s.new", path);
    json_t *root = describe(l);
    int rc = json_dump_file(root, fresh, JSON_INDENT(2));
    json_decref(root);
    return rc == 0 && rename(fresh, path) == 0 ? EXIT_DONE : fail("cannot write", path);
}

/* ---- starting ---- */

static void plan(struct local *l)
{
    for (int i = 0; i < l->nodes_n; i++) {
        struct node *n = &l->nodes[i];
        *n = (struct node){.id = i + 1};
        (void)snprintf(n->name, sizeof n->name, "node-%d", n->id);
        (void)snprintf(n->http, sizeof n->http, "127.0.0.1:%d", l->http_port + i);
        (void)snprintf(n->rpc, sizeof n->rpc, "127.0.0.1:%d", l->rpc_port + i);
        (void)snprintf(n->raft, sizeof n->raft, "127.0.0.1:%d", l->raft_port + i);
        (void)snprintf(n->data, sizeof n->data, "%s/node-%d", l->dir, i + 1);
        (void)snprintf(n->log, sizeof n->log, "%s/node-%d.log", l->dir, i + 1);
    }
}

/* A cluster of another directory on the same ports would answer in our place. */
static bool is_free(const char *address)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)atoi(strchr(address, ':') + 1)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one); /* as the daemon will */
    bool taken = bind(fd, (const struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 1) != 0;
    (void)close(fd);
    if (taken) {
        (void)fprintf(stderr,
                      "assentctl: another program listens on %s; choose others with --http-port, --rpc-port, "
                      "--raft-port\n",
                      address);
    }
    return !taken;
}

static enum exit_code start(struct local *l, struct node *n, char *program)
{
    if (!is_free(n->http) || !is_free(n->rpc) || !is_free(n->raft)) {
        return EXIT_REFUSED;
    }
    char cluster[NODES_MAX * 64] = "", id[16], err[PATH_MAX + 128];
    size_t at = 0;
    for (int i = 0; i < l->nodes_n; i++) {
        at += (size_t)snprintf(cluster + at, sizeof cluster - at, "%s%d=%s", i == 0 ? "" : ",",
                               l->nodes[i].id, l->nodes[i].raft);
    }
    (void)snprintf(id, sizeof id, "%d", n->id);
    char *const fixed[] = {program, (char[]){"--id"},      id,      (char[]){"--name"},
                           n->name, (char[]){"--data"},    n->data, (char[]){"--cluster"},
                           cluster, (char[]){"--http"},    n->http, (char[]){"--rpc"},
                           n->rpc,  (char[]){"--insecure"}};
    char *argv[sizeof fixed / sizeof *fixed + EXTRA_ARGS_MAX + 1];
    memcpy(argv, fixed, sizeof fixed);
    int argc = (int)(sizeof fixed / sizeof *fixed);
    for (int i = 0; i < l->extra_n; i++) {
        argv[argc++] = l->extra[i];
    }
    argv[argc] = NULL;
    if (l->known && access(n->data, F_OK) != 0) {
        /* An empty node under an old id would vote again where it has voted: two leaders of one term. */
        (void)fprintf(stderr,
                      "assentctl: the data of %s is gone; 'assentctl local down --wipe' starts over\n",
                      n->name);
        return EXIT_REFUSED;
    }
    n->pid = process_start(argv, n->log, err, sizeof err);
    if (n->pid < 0) {
        n->pid = 0;
        (void)fprintf(stderr, "assentctl: %s\n", err);
        return EXIT_REFUSED;
    }
    n->started = true;
    return EXIT_DONE;
}

static void show_tail(const struct node *n)
{
    (void)fprintf(stderr, "assentctl: %s has ended; the end of %s:\n", n->name, n->log);
    FILE *log = fopen(n->log, "r");
    if (log == NULL) {
        return;
    }
    char text[TAIL_BYTES + 1];
    if (fseek(log, -TAIL_BYTES, SEEK_END) != 0) {
        rewind(log);
    }
    size_t size = fread(text, 1, TAIL_BYTES, log);
    (void)fclose(log);
    (void)fwrite(text, 1, size, stderr);
    (void)fputc('\n', stderr);
}

/* Id of the node that leads and is ready; 0: none yet.  `role` (may be NULL) gets the role of `asked`. */
static int ask(const struct node *asked, char *role, size_t role_size)
{
    struct answer a;
    api_get(asked->http, "/api/v1/cluster", 1000, &a);
    json_int_t leader = json_integer_value(json_object_get(a.data, "leaderId"));
    json_int_t self = json_integer_value(json_object_get(a.data, "nodeId"));
    bool ready = json_is_true(json_object_get(a.data, "ready"));
    if (role != NULL) {
        (void)snprintf(role, role_size, "%s",
                       a.code != EXIT_DONE             ? "-"
                       : leader == self && leader != 0 ? "LEADER"
                                                       : "FOLLOWER");
    }
    api_close(&a);
    return ready ? (int)leader : 0;
}

/* Wait until every node knows a leader that is ready. */
static enum exit_code await_ready(struct local *l)
{
    int leader = 0;
    for (int waited = 0; waited < READY_MS; waited += POLL_MS) {
        int ready = 0;
        for (int i = 0; i < l->nodes_n; i++) {
            if (!alive(&l->nodes[i])) {
                show_tail(&l->nodes[i]);
                return EXIT_REFUSED;
            }
            int knows = ask(&l->nodes[i], NULL, 0);
            leader = knows != 0 ? knows : leader;
            ready += knows != 0;
        }
        if (ready == l->nodes_n) {
            if (!l->ctl->json) {
                (void)printf("node-%d leads\n", leader);
            }
            return EXIT_DONE;
        }
        if (waited % 5000 == 0 && waited > 0) {
            (void)fprintf(stderr, "waiting for a leader: %d of %d nodes are ready\n", ready, l->nodes_n);
        }
        pause_ms(POLL_MS);
    }
    (void)fprintf(stderr, "assentctl: no leader within %d s; see %s/node-*.log\n", READY_MS / 1000, l->dir);
    return EXIT_UNREACHABLE;
}

static enum exit_code local_status(struct local *l);

static enum exit_code local_up(struct local *l)
{
    char program[PATH_MAX];
    int wanted = l->nodes_n;
    l->known = load(l);
    if (l->known) {
        if (l->nodes_given && wanted != l->nodes_n) {
            (void)fprintf(
                stderr,
                "assentctl: %s holds a cluster of %d nodes; 'assentctl local down --wipe' removes it\n",
                l->dir, l->nodes_n);
            return EXIT_REFUSED;
        }
    } else {
        plan(l);
    }
    for (int i = 0; i < l->nodes_n && !l->known; i++) {
        if (mkdir(l->nodes[i].data, 0755) != 0 && errno != EEXIST) {
            return fail("cannot make", l->nodes[i].data);
        }
    }
    if (!process_find_daemon(program)) {
        (void)fprintf(stderr, "assentctl: there is no " DAEMON
                              " beside this program; build it or name it in $ASSENTD\n");
        return EXIT_REFUSED;
    }
    int kept = 0;
    enum exit_code code = EXIT_DONE;
    for (int i = 0; i < l->nodes_n && code == EXIT_DONE; i++) {
        kept += alive(&l->nodes[i]);
        code = alive(&l->nodes[i]) ? EXIT_DONE : start(l, &l->nodes[i], program);
    }
    enum exit_code saved = save(l); /* also after a failure: what was started is ours */
    code = code != EXIT_DONE ? code : saved;
    if (code == EXIT_DONE && !l->ctl->json) {
        (void)printf("%d of %d nodes run already, %d started\n", kept, l->nodes_n, l->nodes_n - kept);
    }
    if (code == EXIT_DONE) {
        code = await_ready(l);
    }
    return code == EXIT_DONE ? local_status(l) : code;
}

/* ---- stopping ---- */

static enum exit_code wipe(const struct local *l)
{
    for (int i = 0; i < l->nodes_n; i++) {
        char *const argv[] = {(char[]){"/bin/rm"},
                              (char[]){"-rf"},
                              (char[]){"--"},
                              (char *)(uintptr_t)l->nodes[i].data,
                              (char *)(uintptr_t)l->nodes[i].log,
                              NULL};
        char err[256];
        pid_t pid = process_start(argv, "/dev/null", err, sizeof err);
        if (pid < 0) {
            (void)fprintf(stderr, "assentctl: %s\n", err);
            return EXIT_REFUSED;
        }
        (void)process_wait(pid, "rm", l->nodes[i].data, l->ctl->timeout_ms);
        if (access(l->nodes[i].data, F_OK) == 0) {
            errno = ENOTEMPTY;
            return fail("cannot remove", l->nodes[i].data);
        }
    }
    char path[PATH_MAX];
    state_path(l, path);
    return unlink(path) == 0 ? EXIT_DONE : fail("cannot remove", path);
}

static enum exit_code local_down(struct local *l)
{
    if (!load(l)) {
        (void)printf("nothing runs: there is no %s/nodes.json\n", l->dir);
        return EXIT_DONE;
    }
    int stopped = 0, killed = 0;
    for (int i = 0; i < l->nodes_n; i++) {
        stopped += process_signal(l->nodes[i].pid, DAEMON, l->nodes[i].data, SIGTERM);
    }
    for (int i = 0; i < l->nodes_n; i++) {
        struct node *n = &l->nodes[i];
        if (!process_wait(n->pid, DAEMON, n->data, l->ctl->timeout_ms)) {
            (void)fprintf(stderr, "assentctl: %s does not stop; killing it\n", n->name);
            killed += process_signal(n->pid, DAEMON, n->data, SIGKILL);
            if (!process_wait(n->pid, DAEMON, n->data, l->ctl->timeout_ms)) {
                (void)fprintf(stderr, "assentctl: %s (pid %ld) cannot be ended\n", n->name, (long)n->pid);
                return EXIT_REFUSED;
            }
        }
        n->pid = 0;
    }
    enum exit_code code = save(l);
    if (code == EXIT_DONE && l->wipe) {
        code = wipe(l);
    }
    if (code == EXIT_DONE) {
        (void)printf("%d nodes stopped%s; %s\n", stopped, killed > 0 ? ", not all of them willingly" : "",
                     l->wipe ? "their data is removed" : "their data stays");
    }
    return code;
}

static enum exit_code local_kill(struct local *l)
{
    if (!load(l)) {
        (void)fprintf(stderr, "assentctl: there is no %s/nodes.json: nothing was started here\n", l->dir);
        return EXIT_REFUSED;
    }
    int id = l->kill_id;
    for (int i = 0; i < l->nodes_n && id == 0; i++) {
        id = alive(&l->nodes[i]) ? ask(&l->nodes[i], NULL, 0) : 0;
    }
    if (id == 0) {
        (void)fprintf(stderr, "assentctl: no leader is known; name a node\n");
        return EXIT_UNREACHABLE;
    }
    for (int i = 0; i < l->nodes_n; i++) {
        struct node *n = &l->nodes[i];
        if (n->id != id) {
            continue;
        }
        if (!process_signal(n->pid, DAEMON, n->data, l->sig)) {
            (void)fprintf(stderr, "assentctl: %s does not run\n", n->name);
            return EXIT_REFUSED;
        }
        if (l->sig == SIGKILL && !process_wait(n->pid, DAEMON, n->data, l->ctl->timeout_ms)) {
            (void)fprintf(stderr, "assentctl: %s (pid %ld) cannot be ended\n", n->name, (long)n->pid);
            return EXIT_REFUSED;
        }
        if (l->ctl->json) {
            json_t *v = json_pack("{s:i s:s s:I s:s}", "id", n->id, "name", n->name, "pid",
                                  (json_int_t)n->pid, "signal", sigabbrev_np(l->sig));
            show_json(v);
            json_decref(v);
        } else {
            (void)printf("SIG%s sent to %s (pid %ld)\n", sigabbrev_np(l->sig), n->name, (long)n->pid);
        }
        return EXIT_DONE;
    }
    return usage_error("there is no node %d in %s", id, l->dir);
}

/* ---- looking ---- */

static enum exit_code local_status(struct local *l)
{
    if (!load(l)) {
        (void)fprintf(stderr, "assentctl: there is no %s/nodes.json: nothing was started here\n", l->dir);
        return EXIT_REFUSED;
    }
    json_t *root = describe(l);
    int running = 0;
    for (int i = 0; i < l->nodes_n; i++) {
        char role[16] = "-";
        bool up = alive(&l->nodes[i]);
        running += up;
        if (up) {
            (void)ask(&l->nodes[i], role, sizeof role);
        }
        json_t *row = json_array_get(json_object_get(root, "nodes"), (size_t)i);
        (void)json_object_set_new(row, "state", json_string(up ? "RUNNING" : "DEAD"));
        (void)json_object_set_new(row, "role", json_string(role));
    }
    if (l->ctl->json) {
        show_json(root);
    } else {
        show_value(json_object_get(root, "nodes"), "id name state role pid http rpc raft log");
    }
    json_decref(root);
    return running > 0 ? EXIT_DONE : EXIT_UNREACHABLE;
}

/* ---- command line ---- */

static bool number(const char *text, int least, int most, int *out)
{
    char *end;
    long value = strtol(text, &end, 10);
    if (end == text || *end != '\0' || value < least || value > most) {
        return false;
    }
    *out = (int)value;
    return true;
}

/* Options with a value; the number of arguments taken, 0: not one of them, -1: its value makes no sense. */
static int take_option(struct local *l, int argc, char **argv, const char **dir)
{
    const struct {
        const char *name;
        int least, most, *value;
    } numbers[] = {{"--nodes", 1, NODES_MAX, &l->nodes_n},
                   {"--http-port", 1, 65000, &l->http_port},
                   {"--rpc-port", 1, 65000, &l->rpc_port},
                   {"--raft-port", 1, 65000, &l->raft_port}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (strcmp(argv[0], numbers[i].name) == 0) {
            l->nodes_given |= i == 0;
            return argc > 1 && number(argv[1], numbers[i].least, numbers[i].most, numbers[i].value) ? 2 : -1;
        }
    }
    if (strcmp(argv[0], "--dir") == 0) {
        *dir = argc > 1 ? argv[1] : NULL;
        return argc > 1 ? 2 : -1;
    }
    if (strcmp(argv[0], "--signal") == 0) {
        l->sig = argc > 1 ? process_signal_number(argv[1]) : 0;
        return l->sig != 0 ? 2 : -1;
    }
    return 0;
}

static enum exit_code parse(struct local *l, const char *verb, int argc, char **argv, const char **dir)
{
    while (argc > 0) {
        int taken = take_option(l, argc, argv, dir);
        if (taken < 0) {
            return usage_error("local: %s needs a value that makes sense", argv[0]);
        }
        if (taken > 0) {
            argc -= taken;
            argv += taken;
            continue;
        }
        if (strcmp(argv[0], "--wipe") == 0) {
            l->wipe = true;
        } else if (strcmp(argv[0], "--leader") == 0) {
            l->leader = true;
        } else if (strcmp(argv[0], "--") == 0 && argc - 1 <= EXTRA_ARGS_MAX) {
            l->extra = argv + 1;
            l->extra_n = argc - 1;
            return EXIT_DONE;
        } else if (strcmp(verb, "kill") != 0 || !number(argv[0], 1, INT_MAX, &l->kill_id)) {
            return usage_error("local %s: what is '%s'?", verb, argv[0]);
        }
        argc--;
        argv++;
    }
    return l->leader && l->kill_id != 0 ? usage_error("local kill: the leader or a node, not both")
                                        : EXIT_DONE;
}

/* Make the directory, take its absolute path and its lock. */
static enum exit_code settle(struct local *l, const char *dir)
{
    char path[PATH_MAX];
    if (mkdir(dir, 0755) != 0 && errno != EEXIST) {
        return fail("cannot make", dir);
    }
    if (realpath(dir, path) == NULL || strlen(path) >= sizeof l->dir) {
        return fail("cannot use", dir);
    }
    memcpy(l->dir, path, strlen(path) + 1);
    (void)snprintf(path, sizeof path, "%s/lock", l->dir);
    l->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (l->lock < 0 || flock(l->lock, LOCK_EX) != 0) {
        return fail("cannot lock", path);
    }
    return EXIT_DONE;
}

enum exit_code local_main(const struct ctl *ctl, int argc, char **argv)
{
    static const struct {
        const char *verb;
        enum exit_code (*run)(struct local *l);
    } verbs[] = {{"up", local_up}, {"down", local_down}, {"status", local_status}, {"kill", local_kill}};
    struct local l = {.ctl = ctl,
                      .nodes_n = 3,
                      .http_port = 8080,
                      .rpc_port = 7080,
                      .raft_port = 9081,
                      .sig = SIGKILL,
                      .lock = -1};
    const char *dir = ".local";
    for (size_t i = 0; argc > 0 && i < sizeof verbs / sizeof *verbs; i++) {
        if (strcmp(verbs[i].verb, argv[0]) != 0) {
            continue;
        }
        enum exit_code code = parse(&l, argv[0], argc - 1, argv + 1, &dir);
        code = code == EXIT_DONE ? settle(&l, dir) : code;
        code = code == EXIT_DONE ? verbs[i].run(&l) : code;
        if (l.lock >= 0) {
            (void)close(l.lock);
        }
        return code;
    }
    return argc > 0 ? usage_error("local has no command '%s'", argv[0])
                    : usage_error("local needs a command");
}
