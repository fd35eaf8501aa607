/* The commands that are one call of the REST API: a table of them, and one function that runs a row. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"

#define BASE "/api/v1"

/* Positional arguments by name, in order; '#' a number, '@' JSON, '?' may be left out.  What follows is
 * field=text or field:=json. */
struct row {
    const char *group, *verb, *method, *path, *positional, *columns, *help;
    bool once; /* no Idempotency-Key: a lost answer is of unknown outcome */
};

static const struct row rows[] = {
    {"member", "list", "GET", BASE "/cluster", "",
     "id name role voter state raftAddress httpAddress matchIndex", "members of the cluster", false},
    {"member", "add", "POST", BASE "/cluster/members", "id# address", NULL,
     "let a node join at host:port as a non-voter", true},
    {"member", "promote", "POST", BASE "/cluster/members/{id}/promote", "id", NULL,
     "make a non-voter that has caught up a voter", true},
    {"member", "demote", "POST", BASE "/cluster/members/{id}/demote", "id", NULL, "make a voter a non-voter",
     true},
    {"member", "remove", "POST", BASE "/cluster/members/{id}/remove", "id", NULL, "remove a node for good",
     true},
    {"member", "transfer", "POST", BASE "/cluster/transfer", "id#?", NULL,
     "hand leadership to a node, or to the best one", true},
    {"snapshot", "take", "POST", BASE "/cluster/snapshot", "", NULL,
     "take a snapshot on the leader and say where it is", true},
    {"txn", "list", "GET", BASE "/transactions", "",
     "xid status mode businessType branchCount pendingCount failures createdUs lastError",
     "transactions; status= mode= errorText= failing=true olderThanMs= order= ...", false},
    {"txn", "show", "GET", BASE "/transaction/{xid}", "xid", NULL,
     "a transaction with its branches and its timeline", false},
    {"txn", "tree", "GET", BASE "/transaction/{xid}/tree", "xid", NULL, "it and those nested in it", false},
    {"txn", "status", "GET", BASE "/transaction/status/{xid}", "xid", NULL, "its status", false},
    {"txn", "counts", "GET", BASE "/transactions/counts", "", NULL, "how many by mode and status", false},
    {"txn", "begin", "POST", BASE "/transaction/begin", "xid?", NULL,
     "begin; mode= businessType= timeoutMs:= ...", false},
    {"txn", "branch", "POST", BASE "/transaction/branch", "xid branch confirmUrl cancelUrl payload@?", NULL,
     "register a branch", false},
    {"txn", "commit", "POST", BASE "/transaction/commit", "xid", NULL, "decide to commit", false},
    {"txn", "rollback", "POST", BASE "/transaction/rollback", "xid reason?", NULL, "decide to roll back",
     false},
    {"audit", "", "GET", BASE "/audit", "xid?", "timeUs act by xid branch subject before after reason",
     "what operators did, the newest first; limit= after=", false},
    {"settings", "show", "GET", BASE "/settings", "", NULL, "what is set for the whole cluster", false},
    {"settings", "set", "POST", BASE "/settings", "", NULL,
     "by= reason= retentionMs:= auditRetentionMs:=: how long what has ended is kept", false},
    {"freeze", "list", "GET", BASE "/freezes", "prefix?", "resource mode holders waiters",
     "frozen resources; limit= after=", false},
    {"freeze", "release", "DELETE", BASE "/freeze/{xid}/{resource}", "xid resource", NULL,
     "take a resource from a transaction", false},
    {"freeze", "show", "GET", BASE "/freezes/{resource}", "resource", NULL, "who holds it and who waits",
     false},
    {"business", "list", "GET", BASE "/business", "", "businessType mode description",
     "the business catalogue; limit= after=", false},
    {"business", "show", "GET", BASE "/business/{businessType}", "businessType", NULL,
     "what a business type is", false},
    {"business", "put", "POST", BASE "/business/{businessType}", "businessType mode", NULL,
     "say what it is; steps:=[...] or branches:=[...], timeoutMs:= ...", false},
    {"business", "remove", "DELETE", BASE "/business/{businessType}", "businessType", NULL,
     "remove it; what was executed goes on", false},
    {"statistics", "", "GET", BASE "/statistics", "", NULL,
     "what came of transactions, by mode and business type; mode= businessType=", false},
    {"topic", "list", "GET", BASE "/topics", "", NULL, "topics and who gets what is sent to them", false},
    {"topic", "show", "GET", BASE "/topics/{topic}", "topic", NULL, "one topic", false},
    {"topic", "subscribe", "POST", BASE "/topics/{topic}", "topic url remark?", NULL,
     "send what is sent to the topic to a URL", false},
    {"topic", "unsubscribe", "POST", BASE "/topics/{topic}/unsubscribe", "topic url", NULL, "and no longer",
     false},
    {"topic", "remove", "DELETE", BASE "/topics/{topic}", "topic", NULL, "remove it with all its subscribers",
     false},
    {"clock", "tick", "POST", BASE "/lamport/tick", "clock? count#?", NULL, "advance a Lamport clock", false},
    {"clock", "sync", "POST", BASE "/lamport/sync", "clock received#", NULL, "take up a received stamp",
     false},
    {"clock", "current", "GET", BASE "/lamport/current", "clock?", NULL, "read a Lamport clock", false},
    {"clock", "vector-tick", "POST", BASE "/vector-clock/tick", "clock node", NULL,
     "count an event of a member", false},
    {"clock", "vector-sync", "POST", BASE "/vector-clock/sync", "clock node received@", NULL,
     "a member received {\"member\":count,...}", false},
    {"clock", "vector-current", "GET", BASE "/vector-clock/current", "clock", NULL, "read a vector clock",
     false},
    {"clock", "vector-compare", "POST", BASE "/vector-clock/compare", "a@ b@", NULL, "order of two stamps",
     false},
    {"clock", "vector-join", "POST", BASE "/vector-clock/join", "clock node", NULL, "add a member", false},
    {"clock", "vector-retire", "POST", BASE "/vector-clock/retire", "clock node", NULL, "retire a member",
     false},
    {"clock", "vector-observe", "POST", BASE "/vector-clock/observe", "clock node seen@", NULL,
     "report what a member has seen", false},
    {"clock", "version-increment", "POST", BASE "/version/increment", "object node value@?", NULL,
     "write a version of an object", false},
    {"clock", "version-current", "GET", BASE "/version/current", "object", NULL, "version, siblings, values",
     false},
    {"clock", "version-history", "GET", BASE "/version/history", "object", NULL, "past versions", false},
    {"clock", "version-merge", "POST", BASE "/version/merge", "object version@", NULL, "take up a version",
     false},
    {"clock", "version-resolve", "POST", BASE "/version/resolve", "object node value@", NULL,
     "close a conflict", false},
    {"clock", "version-compare", "POST", BASE "/version/compare", "a@ b@", NULL, "order of two versions",
     false},
    {"clock", "event", "POST", BASE "/timestamp/event", "node eventId?", NULL,
     "record an event; type= business= data:=", false},
    {"clock", "events", "GET", BASE "/timestamp/events", "", "eventId node type business timeUs lamport",
     "list events; node= type= business= fromUs= toUs= limit= after=", false},
    {"clock", "event-compare", "GET", BASE "/timestamp/compare", "eventId1 eventId2", NULL,
     "order of two events", false},
    {"tso", "get", "POST", BASE "/tso", "count#?", NULL, "strictly increasing timestamps", true},
    {"sequence", "next", "POST", BASE "/sequence/{name}", "name count#?", NULL, "the next numbers", false},
    {"sequence", "current", "GET", BASE "/sequence/{name}", "name", NULL, "the last number given", false},
    {"node", "list", "GET", BASE "/nodes", "", "node address status lastSeenUs", "application nodes", false},
    {"node", "register", "POST", BASE "/nodes", "node address?", NULL, "register an application node", false},
    {"node", "heartbeat", "POST", BASE "/nodes/{node}/heartbeat", "node", NULL, "it lives", false},
    {"node", "remove", "DELETE", BASE "/nodes/{node}", "node", NULL, "forget it", false},
};
#define ROWS (sizeof rows / sizeof *rows)

void commands_help(void)
{
    for (size_t i = 0; i < ROWS; i++) {
        char left[128];
        size_t at = (size_t)snprintf(left, sizeof left, "%s %s", rows[i].group, rows[i].verb);
        for (const char *p = rows[i].positional; *p != '\0' && at + 2 < sizeof left; p++) {
            if (p == rows[i].positional) {
                left[at++] = ' ';
            }
            if (*p != '#' && *p != '@') {
                left[at++] = (char)toupper(*p);
            }
        }
        left[at] = '\0';
        (void)printf("  %-52s %s\n", left, rows[i].help);
    }
}

/* A request on its way: the path with its parameters, and the body of a command. */
struct build {
    const struct row *row;
    char path[4096];
    bool query; /* the path has a '?' already */
    json_t *body;
};

/* Put a value into the path's {name}, the query or the body. */
static bool put(struct build *b, const char *name, json_t *value)
{
    char hole[80], text[2048] = "";
    (void)snprintf(hole, sizeof hole, "{%s}", name);
    const char *plain = json_string_value(value);
    char *dumped = plain == NULL ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    char *at = strstr(b->path, hole);
    bool good = true;
    if (at != NULL || strcmp(b->row->method, "POST") != 0) { /* the others have no body */
        good = api_escape(text, sizeof text, plain != NULL ? plain : dumped);
        size_t size = strlen(b->path);
        char rest[512] = "";
        if (at != NULL) {
            (void)snprintf(rest, sizeof rest, "%s", at + strlen(hole));
            *at = '\0';
            size = strlen(b->path);
        }
        good &= size + strlen(text) + strlen(rest) + strlen(name) + 4 < sizeof b->path;
        if (good && at != NULL) {
            (void)snprintf(b->path + size, sizeof b->path - size, "%s%s", text, rest);
        } else if (good) {
            (void)snprintf(b->path + size, sizeof b->path - size, "%c%s=%s", b->query ? '&' : '?', name,
                           text);
            b->query = true;
        }
    } else {
        good = json_object_set(b->body, name, value) == 0; /* refuses what is not UTF-8 */
    }
    free(dumped);
    json_decref(value);
    return good;
}

/* The value of an argument, NULL when it is not of its kind ('#' number, '@' JSON, else text). */
static json_t *value_of(const char *text, char kind)
{
    if (kind == '@') {
        return json_loads(text, JSON_DECODE_ANY, NULL);
    }
    if (kind == '#') {
        char *end;
        errno = 0;
        long long number = strtoll(text, &end, 10);
        return errno == 0 && end != text && *end == '\0' && number >= 0 ? json_integer(number) : NULL;
    }
    return json_string(text);
}

/* field=text or field:=json. */
static enum exit_code put_named(struct build *b, char *argument)
{
    char *equals = strchr(argument, '=');
    if (equals == NULL || equals == argument) {
        return usage_error("'%s' is one argument too many for '%s %s', or lacks its '='", argument,
                           b->row->group, b->row->verb);
    }
    bool json = equals[-1] == ':';
    *equals = '\0';
    equals[json ? -1 : 0] = '\0';
    json_t *value = value_of(equals + 1, json ? '@' : ' ');
    if (value == NULL) {
        return usage_error("'%s' is not valid %s", equals + 1, json ? "JSON" : "UTF-8");
    }
    return put(b, argument, value) ? EXIT_DONE : usage_error("'%s' is too long", argument);
}

static enum exit_code put_arguments(struct build *b, int argc, char **argv)
{
    const char *p = b->row->positional;
    while (*p != '\0') {
        size_t size = strcspn(p, " #@?");
        char name[64], kind = p[size] == '#' || p[size] == '@' ? p[size] : ' ';
        (void)snprintf(name, sizeof name, "%.*s", (int)size, p);
        p += size + (kind != ' ');
        bool optional = *p == '?';
        p += optional;
        p += *p == ' ';
        bool given = argc > 0 && (kind == '@' || strchr(argv[0], '=') == NULL);
        if (!given && !optional) {
            return usage_error("'%s %s' needs %s", b->row->group, b->row->verb, name);
        }
        if (given) {
            json_t *value = value_of(argv[0], kind);
            if (value == NULL) {
                return usage_error("%s: '%s' is not %s", name, argv[0],
                                   kind == '@'   ? "JSON"
                                   : kind == '#' ? "a number"
                                                 : "UTF-8");
            }
            if (!put(b, name, value)) {
                return usage_error("%s is too long", name);
            }
            argc--;
            argv++;
        }
    }
    for (; argc > 0; argc--, argv++) {
        enum exit_code code = put_named(b, argv[0]);
        if (code != EXIT_DONE) {
            return code;
        }
    }
    return EXIT_DONE;
}

/* Does what it changes go on record, with who and why? */
static bool recorded(const struct row *row)
{
    static const char *const groups[] = {"member", "snapshot", "business", "topic", "settings", "freeze"};
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        if (strcmp(groups[i], row->group) == 0) {
            return strcmp(row->method, "GET") != 0;
        }
    }
    return false;
}

struct who {
    const char *by, *reason; /* NULL: not given */
};

/* --by and --reason, out of the arguments; who is logged in when nobody is named. */
static struct who take_who(int *argc, char **argv)
{
    struct who who = {NULL, NULL};
    const char *value;
    int left = 0;
    bool named = false;
    for (int i = 0; i < *argc; i++) {
        if ((value = ctl_option(*argc, argv, &i, "--by")) != NULL) {
            who.by = value;
        } else if ((value = ctl_option(*argc, argv, &i, "--reason")) != NULL) {
            who.reason = value;
        } else {
            named = named || strncmp(argv[i], "by=", 3) == 0;
            argv[left++] = argv[i];
        }
    }
    *argc = left;
    if (who.by == NULL && !named) {
        who.by = ctl_login();
    }
    return who;
}

/* Behind the other arguments: names in the path are in their places then. */
static enum exit_code put_who(struct build *b, const struct who *who)
{
    bool good = (who->by == NULL || who->by[0] == '\0' || put(b, "by", json_string(who->by))) &&
                (who->reason == NULL || put(b, "reason", json_string(who->reason)));
    return good ? EXIT_DONE : usage_error("--by or --reason is too long or not UTF-8");
}

static enum exit_code run(const struct ctl *ctl, const struct row *row, int argc, char **argv)
{
    struct build b = {.row = row, .body = json_object()};
    (void)snprintf(b.path, sizeof b.path, "%s", row->path);
    struct who who = recorded(row) ? take_who(&argc, argv) : (struct who){NULL, NULL};
    enum exit_code code = put_arguments(&b, argc, argv);
    if (code == EXIT_DONE) {
        code = put_who(&b, &who);
    }
    if (code == EXIT_DONE) {
        struct answer a;
        api_call(ctl, row->method, b.path, strcmp(row->method, "POST") == 0 ? b.body : NULL, row->once, &a);
        code = a.code;
        if (code != EXIT_DONE) {
            (void)show_failure(ctl, &a);
        } else if (ctl->json) {
            show_json(a.data);
        } else {
            show_value(a.data, row->columns);
        }
        api_close(&a);
    }
    json_decref(b.body);
    return code;
}

enum exit_code commands_run(const struct ctl *ctl, const char *group, int argc, char **argv)
{
    bool known = false;
    for (size_t i = 0; i < ROWS; i++) {
        if (strcmp(rows[i].group, group) == 0) {
            known = true;
            if (rows[i].verb[0] == '\0') { /* the group is the command */
                return run(ctl, &rows[i], argc, argv);
            }
            if (argc > 0 && strcmp(rows[i].verb, argv[0]) == 0) {
                return run(ctl, &rows[i], argc - 1, argv + 1);
            }
        }
    }
    if (known && argc > 0) {
        return usage_error("'%s' has no command '%s'", group, argv[0]);
    }
    return known ? usage_error("'%s' needs a command", group)
                 : usage_error("there is no command '%s'", group);
}

/* ---- status ---- */

void commands_view(const struct ctl *ctl, struct answer *best)
{
    *best = (struct answer){.code = EXIT_UNREACHABLE, .error = "UNREACHABLE", .message = "no node answers"};
    for (uint32_t i = 0; i < ctl->endpoints_n; i++) {
        struct answer a;
        api_get(ctl->endpoints[i], BASE "/cluster", ctl->timeout_ms < 2000 ? ctl->timeout_ms : 2000, &a);
        json_int_t leader = json_integer_value(json_object_get(a.data, "leaderId"));
        bool leads = leader != 0 && leader == json_integer_value(json_object_get(a.data, "nodeId"));
        if (a.code == EXIT_DONE && (best->data == NULL || leads)) {
            api_close(best);
            *best = a;
        } else {
            api_close(&a);
        }
        if (leads) {
            return;
        }
    }
}

enum exit_code status_main(const struct ctl *ctl, int argc, char **argv)
{
    if (argc > 0) {
        return usage_error("status takes no argument, not '%s'", argv[0]);
    }
    struct answer a;
    commands_view(ctl, &a);
    if (a.code != EXIT_DONE) {
        return show_failure(ctl, &a);
    }
    json_int_t leader = json_integer_value(json_object_get(a.data, "leaderId"));
    json_int_t index = json_integer_value(json_object_get(a.data, "index"));
    size_t i;
    json_t *node;
    json_array_foreach(json_object_get(a.data, "nodes"), i, node)
    {
        json_int_t match = json_integer_value(json_object_get(node, "matchIndex"));
        if (match > 0) {
            (void)json_object_set_new(node, "lag", json_integer(index > match ? index - match : 0));
        }
    }
    if (ctl->json) {
        show_json(a.data);
    } else {
        (void)printf("cluster %s  term %lld  index %lld  leader %lld  (as node %lld sees it)\n",
                     json_string_value(json_object_get(a.data, "clusterId")),
                     json_integer_value(json_object_get(a.data, "term")), index, leader,
                     json_integer_value(json_object_get(a.data, "nodeId")));
        show_value(json_object_get(a.data, "nodes"),
                   "id name role state voter httpAddress raftAddress matchIndex lag");
    }
    api_close(&a);
    if (leader == 0) {
        (void)fprintf(stderr, "assentctl: no leader is known\n");
        return EXIT_UNREACHABLE;
    }
    return EXIT_DONE;
}
