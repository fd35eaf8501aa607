/* What one node is told at its start: one table of options drives flags, environment, file, help and manual.
 */
#include "config.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

#include "address.h"
#include "log.h"

/* LISTENERS and LIST may be given several times; in the environment their values are separated by commas,
 * those of RULES, which hold commas, by semicolons. */
enum option_kind { OPTION_TEXT, OPTION_UINT, OPTION_BOOL, OPTION_LISTENERS, OPTION_LIST, OPTION_RULES };

struct option_def {
    const char *name;
    enum option_kind kind;
    size_t offset;
    const char *absent; /* the default as it would be written; NULL: none */
    uint64_t min, max;  /* of OPTION_UINT */
    const char *unit;
    const char *sentence;
};

#define FIELD(name)      offsetof(struct config, name)
#define TEXT(field)      OPTION_TEXT, FIELD(field)
#define UINT(field)      OPTION_UINT, FIELD(field)
#define FLAG(field)      OPTION_BOOL, FIELD(field)
#define LISTENERS(field) OPTION_LISTENERS, FIELD(field)
#define LIST(field)      OPTION_LIST, FIELD(field)
#define RULES(field)     OPTION_RULES, FIELD(field)

static const struct option_def options[] = {
    {"config", TEXT(config), NULL, 0, 0, "file", "YAML file with any of these options by name."},
    {"id", UINT(id), NULL, 1, UINT64_MAX >> 16, NULL,
     "Number of this node, 1 or more; never given to another data directory."},
    {"name", TEXT(name), NULL, 0, 0, NULL, "Name of this node for people; default node-<id>."},
    {"data", TEXT(data), NULL, 0, 0, "directory", "Where log, snapshots and state are kept."},
    {"cluster", TEXT(cluster), NULL, 0, 0, "id=host:port,...",
     "The first voters of the cluster with their raft addresses, the same list on every node."},
    {"cluster-name", TEXT(cluster_name), "assent", 0, 0, NULL,
     "Clusters of different names refuse each other."},
    {"join", FLAG(join), NULL, 0, 0, NULL,
     "Do not bootstrap: wait until the leader of a running cluster adds this node."},
    {"raft-listen", TEXT(raft_listen), NULL, 0, 0, "host:port",
     "Where to listen for the other nodes; default this node's address in --cluster."},
    {"http", LISTENERS(http), "127.0.0.1:8080", 0, 0, "host:port",
     "Where to serve HTTP; may be given several times."},
    {"rpc", LISTENERS(rpc), "127.0.0.1:7080", 0, 0, "host:port",
     "Where to serve the native protocol; may be given several times."},
    {"host", TEXT(host), NULL, 0, 0, "host",
     "Host that clients and nodes reach this node by, where it listens on all addresses."},
    {"http-advertise", TEXT(http_advertise), NULL, 0, 0, "host:port",
     "HTTP address told to others; default --host, or the first --http."},
    {"rpc-advertise", TEXT(rpc_advertise), NULL, 0, 0, "host:port",
     "Native address told to others; default --host, or the first --rpc."},
    {"insecure", FLAG(insecure), NULL, 0, 0, NULL,
     "Serve without credentials and TLS.  Required: this version has no other way."},
    {"heartbeat-ms", UINT(heartbeat_ms), "30", 20, 1000, "ms", "How often a leader shows that it lives."},
    {"election-ms", UINT(election_ms), "300", 200, 60000, "ms",
     "Silence after which an election starts (randomised up to twice that); at least 10 heartbeats."},
    {"inflight-entries", UINT(inflight_entries), "512", 16, 4096, NULL,
     "Log entries on their way to one follower."},
    {"max-skew-ms", UINT(max_skew_ms), "500", 10, 3600000, "ms",
     "Refuse entries whose stamp is this far ahead of this node's clock."},
    {"snapshot-log-mb", UINT(snapshot_log_mb), "256", 1, 1 << 20, "MiB",
     "Take a snapshot when the log has grown by this much."},
    {"snapshot-log-entries", UINT(snapshot_log_entries), "500000", 100, UINT32_MAX, NULL,
     "Or when it has grown by this many entries."},
    {"snapshot-trailing", UINT(snapshot_trailing), "20000", 0, UINT32_MAX, NULL,
     "Entries kept behind a snapshot for slow followers."},
    {"snapshot-chunk-kb", UINT(snapshot_chunk_kb), "1024", 16, 4096, "KiB",
     "Size of the pieces in which a snapshot is pulled."},
    {"log-map-gb", UINT(log_map_gb), "16", 1, 1 << 14, "GiB", "Largest size of the log (address space)."},
    {"log-presize-mb", UINT(log_presize_mb), "64", 0, 1 << 16, "MiB",
     "Pages made at creation, so that commits recycle instead of grow."},
    {"state-map-gb", UINT(state_map_gb), "64", 1, 1 << 14, "GiB",
     "Largest size of the state (address space)."},
    {"queue-mb", UINT(queue_mb), "64", 1, 1 << 16, "MiB",
     "Commands waiting or uncommitted; beyond it requests get BUSY."},
    {"min-free-mb", UINT(min_free_mb), "64", 0, 1 << 20, "MiB",
     "Refuse commands (NO_SPACE) when the file system has less."},
    {"hold-ms", UINT(hold_ms), "3000", 0, 60000, "ms",
     "How long an HTTP request waits for a leader before it gets 503."},
    {"request-timeout-ms", UINT(request_timeout_ms), "10000", 100, 600000, "ms",
     "How long an HTTP request may take in all before it gets 504."},
    {"drain-ms", UINT(drain_ms), "5000", 0, 600000, "ms",
     "How long a graceful stop waits for requests under way."},
    {"events-kept", UINT(events_kept), "65536", 16, 1 << 24, NULL,
     "Events of transactions kept in memory for streams that come back (64 MiB at most)."},
    {"branch-report-lazy-ms", UINT(branch_report_lazy_ms), "5", 0, 1000, "ms",
     "How long the report of a call that nobody waits for may wait for those of calls under way, to share a "
     "command; 0: never."},
    {"branch-calls", UINT(branch_calls), "256", 1, 4096, NULL,
     "Calls to branches under way at once, in all."},
    {"branch-calls-per-host", UINT(branch_calls_per_host), "32", 1, 1024, NULL, "And to one host and port."},
    {"branch-timeout-ms", UINT(branch_timeout_ms), "10000", 1, 600000, "ms",
     "Time limit of a call whose transaction names none (3000 for DTM's clients)."},
    {"branch-breaker-failures", UINT(branch_breaker_failures), "5", 0, 1000000, NULL,
     "Calls in a row without an answer after which a host is left alone for a while; 0: never."},
    {"branch-breaker-open-ms", UINT(branch_breaker_open_ms), "5000", 1, 3600000, "ms",
     "How long it is left alone before one call tries it again."},
    {"tls-ca-file", TEXT(tls_ca_file), NULL, 0, 0, "file",
     "PEM certificates that https branches must be signed by, in place of the system's."},
    {"branch-insecure", FLAG(branch_insecure), NULL, 0, 0, NULL,
     "Take any certificate of https branches.  Needs --insecure."},
    {"branch-secret", LIST(branch_secret), NULL, 0, 0, "url-prefix=file",
     "Sign calls below this URL with the key in the file; may be given several times."},
    {"simulate", RULES(simulate), NULL, 0, 0, "rule",
     "Inject faults into calls to branches, for tests; may be given several times."},
    {"simulate-seed", UINT(simulate_seed), "1", 0, UINT64_MAX, NULL, "Seed of the dice of --simulate."},
    {"allow-simulated-faults", FLAG(allow_simulated_faults), NULL, 0, 0, NULL,
     "Without it and --insecure a node with --simulate does not start."},
    {"event-streams", UINT(event_streams), "256", 0, 100000, NULL,
     "Streams of events (GET /api/v1/events) at once; beyond it 503."},
    {"event-heartbeat-ms", UINT(event_heartbeat_ms), "15000", 40, 600000, "ms",
     "A stream of events sends a comment after so long without an event."},
    {"alert-url", TEXT(alert_url), NULL, 0, 0, "URL",
     "Where the leader posts alerts: transactions that fail again and again, or for good."},
    {"alert-after", UINT(alert_after), "3", 1, 1000000, NULL,
     "Failed calls of a transaction, with no success between, from which on each is an alert."},
    {"http-connections", UINT(http_connections), "4096", 1, 100000, NULL, "HTTP connections at once."},
    {"http-idle-s", UINT(http_idle_s), "75", 1, 86400, "s",
     "Close an HTTP connection that is idle for so long."},
    {"http-read-s", UINT(http_read_s), "20", 1, 3600, "s",
     "Longest time one HTTP request may take to arrive."},
    {"rpc-connections", UINT(rpc_connections), "1024", 1, 100000, NULL, "Native connections at once."},
    {"rpc-inflight", UINT(rpc_inflight), "16384", 1, 1 << 20, NULL,
     "Native requests under way per connection; beyond it reading stops."},
    {"dtm-http", LISTENERS(dtm_http), NULL, 0, 0, "host:port",
     "Further addresses to serve HTTP on, for clients of DTM (0.0.0.0:36789); may be given several times."},
    {"dtm-namespace", TEXT(dtm_namespace), NULL, 0, 0, NULL,
     "Namespace of what clients of DTM begin, who cannot name one; default none."},
    {"dtm-retry-interval-s", UINT(dtm_retry_interval_s), "10", 1, 86400, "s",
     "First wait of a failed call of DTM's clients who name none."},
    {"dtm-retry-cap-s", UINT(dtm_retry_cap_s), "300", 1, 86400, "s",
     "Longest wait between their failed calls, unless the first is longer."},
    {"dtm-timeout-to-fail-s", UINT(dtm_timeout_to_fail_s), "35", 1, 2592000, "s",
     "Time after which their tcc and xa are rolled back and a msg is asked for, when they name none."},
    {"dtm-request-timeout-s", UINT(dtm_request_timeout_s), "3", 1, 600, "s",
     "Time limit of a call of theirs that names none."},
    {"dtm-environment", FLAG(dtm_environment), NULL, 0, 0, NULL,
     "Take from the environment, by DTM's names, what is given nowhere else: see the manual's page for its "
     "clients."},
    {"log-format", TEXT(log_format), "json", 0, 0, "json|text", "Shape of the lines on standard error."},
    {"log-level", TEXT(log_level), "info", 0, 0, "debug|info|warning|error", "Least level that is written."},
};
enum { OPTION_NR = sizeof options / sizeof options[0] };

/* Which options have been given. */
struct seen {
    bool option[OPTION_NR];
};

static bool is_list(const struct option_def *o)
{
    return o->kind == OPTION_LISTENERS || o->kind == OPTION_LIST || o->kind == OPTION_RULES;
}

static const char *kind_hint(const struct option_def *o)
{
    return o->unit != NULL ? o->unit : o->kind == OPTION_UINT ? "number" : "text";
}

/* ---- setting one option ---- */

static char *copy(const char *text)
{
    char *made = strdup(text);
    if (made == NULL)
        abort();
    return made;
}

static bool parse_uint(const char *text, uint64_t *out)
{
    if (*text == 0 || strlen(text) > 20)
        return false;
    for (const char *c = text; *c != 0; c++) {
        if (!isdigit((unsigned char)*c))
            return false;
    }
    errno = 0;
    *out = strtoull(text, NULL, 10);
    return errno == 0;
}

static bool parse_bool(const char *text, bool *out)
{
    static const char *const yes[] = {"true", "yes", "on", "1"}, *const no[] = {"false", "no", "off", "0"};
    for (int i = 0; i < 4; i++) {
        if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
            *out = strcasecmp(text, yes[i]) == 0;
            return true;
        }
    }
    return false;
}

/* Set a value that came from `where` (for the sentence of the error). */
static bool set(struct config *config, const struct option_def *o, const char *text, const char *where,
                char *err, size_t err_size)
{
    void *field = (char *)config + o->offset;
    switch (o->kind) {
    case OPTION_TEXT: {
        char **slot = (char **)field;
        free(*slot);
        *slot = copy(text);
        return true;
    }
    case OPTION_UINT: {
        uint64_t v;
        if (!parse_uint(text, &v) || v < o->min || v > o->max) {
            snprintf(err, err_size, "%s: --%s takes a whole number from %llu to %llu, not '%.40s'", where,
                     o->name, (unsigned long long)o->min, (unsigned long long)o->max, text);
            return false;
        }
        *(uint64_t *)field = v;
        return true;
    }
    case OPTION_BOOL:
        if (!parse_bool(text, (bool *)field)) {
            snprintf(err, err_size, "%s: --%s takes true or false, not '%.40s'", where, o->name, text);
            return false;
        }
        return true;
    case OPTION_LISTENERS:
    case OPTION_LIST:
    case OPTION_RULES: {
        struct config_list *list = (struct config_list *)field;
        uint32_t max = o->kind == OPTION_LISTENERS ? CONFIG_LISTENERS_MAX : CONFIG_LIST_MAX;
        if (list->n == max) {
            snprintf(err, err_size, "%s: --%s may be given %u times at most", where, o->name, max);
            return false;
        }
        list->item[list->n++] = copy(text);
        return true;
    }
    }
    return false;
}

static const struct option_def *option_by_name(const char *name)
{
    for (int i = 0; i < OPTION_NR; i++) {
        if (strcmp(options[i].name, name) == 0)
            return &options[i];
    }
    return NULL;
}

static bool *seen_at(struct seen *seen, const struct option_def *o)
{
    return &seen->option[o - options];
}

static void seen_add(struct seen *seen, const struct seen *more)
{
    for (int i = 0; i < OPTION_NR; i++)
        seen->option[i] = seen->option[i] || more->option[i];
}

/* ---- the sources ---- */

static enum config_answer load_flags(struct config *config, int argc, char **argv, struct seen *seen,
                                     char *err, size_t err_size)
{
    struct option longs[OPTION_NR + 3] = {0};
    for (int i = 0; i < OPTION_NR; i++) {
        longs[i] = (struct option){
            options[i].name, options[i].kind == OPTION_BOOL ? no_argument : required_argument, NULL, 256 + i};
    }
    longs[OPTION_NR] = (struct option){"help", no_argument, NULL, 'h'};
    longs[OPTION_NR + 1] = (struct option){"version", no_argument, NULL, 'v'};
    optind = 0; /* glibc: start anew, so that a test may parse twice */
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, ":h", longs, NULL)) != -1;) {
        if (c == 'h')
            return CONFIG_HELP;
        if (c == 'v')
            return CONFIG_VERSION;
        if (c < 256) {
            snprintf(err, err_size, "%s '%.80s'; assentd --help lists the options",
                     c == ':' ? "a value is missing behind" : "there is no option", argv[optind - 1]);
            return CONFIG_ERROR;
        }
        const struct option_def *o = &options[c - 256];
        if (!is_list(o) && *seen_at(seen, o)) {
            snprintf(err, err_size, "--%s is given twice", o->name);
            return CONFIG_ERROR;
        }
        if (!set(config, o, o->kind == OPTION_BOOL ? "true" : optarg, "command line", err, err_size))
            return CONFIG_ERROR;
        *seen_at(seen, o) = true;
    }
    if (optind < argc) {
        snprintf(err, err_size, "'%.80s' is not an option; assentd --help lists them", argv[optind]);
        return CONFIG_ERROR;
    }
    return CONFIG_RUN;
}

/* ASSENT_HTTP_IDLE_S -> http-idle-s. */
static void env_to_name(const char *env, size_t size, char *name)
{
    for (size_t i = 0; i < size; i++)
        name[i] = env[i] == '_' ? '-' : (char)tolower((unsigned char)env[i]);
    name[size] = 0;
}

static bool set_env(struct config *config, const struct option_def *o, const char *value, char *err,
                    size_t err_size)
{
    if (!is_list(o))
        return set(config, o, value, "environment", err, err_size);
    char *whole = copy(value), *rest = whole;
    bool ok = true;
    for (char *item; ok && (item = strsep(&rest, o->kind == OPTION_RULES ? ";" : ",")) != NULL;)
        ok = set(config, o, item, "environment", err, err_size);
    free(whole);
    return ok;
}

static bool load_env(struct config *config, char **env, struct seen *seen, char *err, size_t err_size)
{
    static const char prefix[] = "ASSENT_";
    struct seen here = {0};
    for (; env != NULL && *env != NULL; env++) {
        if (strncmp(*env, prefix, sizeof prefix - 1) != 0)
            continue;
        const char *key = *env + sizeof prefix - 1, *value = strchr(key, '=');
        char name[64];
        if (value == NULL || (size_t)(value - key) >= sizeof name)
            continue;
        env_to_name(key, (size_t)(value - key), name);
        const struct option_def *o = option_by_name(name);
        if (o == NULL || *seen_at(seen, o))
            continue; /* other programs of the family share the prefix */
        if (!set_env(config, o, value + 1, err, err_size))
            return false;
        *seen_at(&here, o) = true;
    }
    seen_add(seen, &here);
    return true;
}

/* Walk of the file: a flat map from option to scalar or list of scalars. */
struct file_walk {
    struct config *config;
    struct seen seen; /* by a source of higher precedence */
    struct seen here; /* in this file */
    const char *path;
    const struct option_def *option; /* whose value comes next; NULL: a key */
    int depth;                       /* 0 outside, 1 in the map, 2 in a list */
    char *err;
    size_t err_size;
};

static bool walk_scalar(struct file_walk *w, const char *text, size_t line)
{
    char where[256];
    snprintf(where, sizeof where, "%.200s line %zu", w->path, line);
    if (w->depth == 0) {
        snprintf(w->err, w->err_size, "%s: the file must be a map from option to value", where);
        return false;
    }
    if (w->option == NULL) {
        w->option = option_by_name(text);
        if (w->option == NULL || strcmp(text, "config") == 0) {
            snprintf(w->err, w->err_size, "%s: there is no option '%.80s'; assentd --help lists them", where,
                     text);
            return false;
        }
        if (*seen_at(&w->here, w->option)) {
            snprintf(w->err, w->err_size, "%s: '%.80s' is given twice", where, text);
            return false;
        }
        *seen_at(&w->here, w->option) = true;
        return true;
    }
    const struct option_def *o = w->option;
    if (w->depth == 1)
        w->option = NULL;
    return *seen_at(&w->seen, o) || set(w->config, o, text, where, w->err, w->err_size);
}

static bool walk_event(struct file_walk *w, const yaml_event_t *event)
{
    size_t line = event->start_mark.line + 1;
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return walk_scalar(w, (const char *)event->data.scalar.value, line);
    case YAML_MAPPING_START_EVENT:
        if (w->depth == 0) {
            w->depth = 1;
            return true;
        }
        break;
    case YAML_SEQUENCE_START_EVENT:
        if (w->depth == 1 && w->option != NULL && is_list(w->option)) {
            w->depth = 2;
            return true;
        }
        break;
    case YAML_SEQUENCE_END_EVENT:
        w->option = NULL;
        w->depth = 1;
        return true;
    case YAML_MAPPING_END_EVENT:
        w->depth = 0;
        return true;
    case YAML_ALIAS_EVENT:
        break;
    default:
        return true;
    }
    snprintf(w->err, w->err_size, "%.200s line %zu: '%s' takes a single value", w->path, line,
             w->option ? w->option->name : "the file");
    return false;
}

static bool load_file(struct config *config, struct seen *seen, char *err, size_t err_size)
{
    FILE *in = fopen(config->config, "rb");
    if (in == NULL) {
        snprintf(err, err_size, "cannot read %.200s: %s", config->config, strerror(errno));
        return false;
    }
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        abort();
    yaml_parser_set_input_file(&parser, in);
    struct file_walk w = {
        .config = config, .seen = *seen, .path = config->config, .err = err, .err_size = err_size};
    bool ok = true, end = false;
    while (ok && !end) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            snprintf(err, err_size, "%.200s line %zu: not YAML: %s", config->config,
                     parser.problem_mark.line + 1, parser.problem ? parser.problem : "unreadable");
            ok = false;
            break;
        }
        end = event.type == YAML_STREAM_END_EVENT;
        ok = walk_event(&w, &event);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    fclose(in);
    seen_add(seen, &w.here);
    return ok;
}

/* DTM's own names, below every other source: in DTM too the file wins.  Source: docs/dtm.md. */
static const struct {
    const char *dtm, *option;
} dtm_names[] = {
    {"RETRY_INTERVAL", "dtm-retry-interval-s"},
    {"TIMEOUT_TO_FAIL", "dtm-timeout-to-fail-s"},
    {"REQUEST_TIMEOUT", "dtm-request-timeout-s"},
    {"HTTP_PORT", "dtm-http"},
    {"ALERT_WEB_HOOK", "alert-url"},
    {"ALERT_RETRY_LIMIT", "alert-after"},
    {"LOG_LEVEL", "log-level"},
};

static const char *value_of(char **env, const char *name)
{
    size_t size = strlen(name);
    for (; env != NULL && *env != NULL; env++)
        if (strncmp(*env, name, size) == 0 && (*env)[size] == '=')
            return *env + size + 1;
    return NULL;
}

/* Set what DTM calls `name` and nobody else has set; an empty value is none. */
static bool set_dtm(struct config *config, const char *name, const struct option_def *o, const char *value,
                    char *err, size_t err_size)
{
    char where[48], text[32];
    snprintf(where, sizeof where, "environment (%s)", name);
    if (strcmp(name, "HTTP_PORT") == 0) {
        uint64_t port;
        if (!parse_uint(value, &port) || port == 0 || port > UINT16_MAX) {
            snprintf(err, err_size, "%s: a port is 1 to 65535, not '%.40s'", where, value);
            return false;
        }
        snprintf(text, sizeof text, "0.0.0.0:%u", (unsigned)port);
        value = text;
    }
    if (strcmp(name, "LOG_LEVEL") == 0 && strcmp(value, "warn") == 0)
        value = "warning";
    return set(config, o, value, where, err, err_size);
}

static bool load_dtm(struct config *config, char **env, struct seen *seen, char *err, size_t err_size)
{
    for (size_t i = 0; i < sizeof dtm_names / sizeof dtm_names[0]; i++) {
        const struct option_def *o = option_by_name(dtm_names[i].option);
        const char *value = value_of(env, dtm_names[i].dtm);
        assert(o != NULL);
        if (value == NULL || *value == 0 || *seen_at(seen, o))
            continue;
        if (!set_dtm(config, dtm_names[i].dtm, o, value, err, err_size))
            return false;
        *seen_at(seen, o) = true;
    }
    return true;
}

/* ---- what the values mean together ---- */

static bool check_address(const char *option, const char *text, char *err, size_t err_size)
{
    char host[128];
    uint16_t port;
    if (address_split(text, host, sizeof host, &port))
        return true;
    snprintf(err, err_size, "--%s takes host:port, not '%.100s'", option, text);
    return false;
}

/* Take --cluster apart. */
static bool parse_cluster(struct config *config, char *err, size_t err_size)
{
    char *whole = copy(config->cluster), *rest = whole;
    bool ok = true;
    for (char *item; ok && (item = strsep(&rest, ",")) != NULL;) {
        char *address = strchr(item, '=');
        uint64_t id = 0;
        if (address != NULL)
            *address++ = 0;
        if (address == NULL || !parse_uint(item, &id) || id == 0 ||
            strlen(address) >= sizeof config->servers[0].address) {
            snprintf(err, err_size, "--cluster takes id=host:port,id=host:port,..., not '%.100s'",
                     config->cluster);
            ok = false;
            break;
        }
        ok = check_address("cluster", address, err, err_size);
        for (uint32_t i = 0; ok && i < config->servers_n; i++) {
            if (config->servers[i].id == id) {
                snprintf(err, err_size, "--cluster names node %llu twice", (unsigned long long)id);
                ok = false;
            }
        }
        if (ok && config->servers_n == ASSENT_NODES_MAX) {
            snprintf(err, err_size, "--cluster takes %d nodes at most", ASSENT_NODES_MAX);
            ok = false;
        }
        if (ok) {
            struct raftlog_server *s = &config->servers[config->servers_n++];
            *s = (struct raftlog_server){.id = id, .voter = true};
            memcpy(s->address, address, strlen(address));
        }
    }
    free(whole);
    return ok;
}

/* The node's own raft address, unless it has been given. */
static bool check_members(struct config *config, char *err, size_t err_size)
{
    if (config->cluster != NULL && !parse_cluster(config, err, err_size))
        return false;
    for (uint32_t i = 0; i < config->servers_n; i++) {
        if (config->servers[i].id == config->id && config->raft_listen == NULL)
            config->raft_listen = copy(config->servers[i].address);
    }
    if (config->raft_listen == NULL) {
        snprintf(
            err, err_size, "%s",
            config->join
                ? "--join needs --raft-listen host:port, the address other nodes reach this one by"
                : "--cluster must name this node: --cluster <id>=host:port,... with the --id given, or use "
                  "--join to enter a running cluster");
        return false;
    }
    return check_address("raft-listen", config->raft_listen, err, err_size);
}

static bool check_words(struct config *config, char *err, size_t err_size)
{
    if (strcmp(config->log_format, "json") != 0 && strcmp(config->log_format, "text") != 0) {
        snprintf(err, err_size, "--log-format takes json or text, not '%.40s'", config->log_format);
        return false;
    }
    if (log_level_by_name(config->log_level) < 0) {
        snprintf(err, err_size, "--log-level takes debug, info, warning or error, not '%.40s'",
                 config->log_level);
        return false;
    }
    for (const char *c = config->name; *c != 0; c++) {
        if (iscntrl((unsigned char)*c)) {
            snprintf(err, err_size, "--name must not hold control characters");
            return false;
        }
    }
    if (strlen(config->name) > ASSENT_NAME_BYTES_MAX || *config->name == 0 ||
        strlen(config->cluster_name) > ASSENT_NAME_BYTES_MAX || *config->cluster_name == 0) {
        snprintf(err, err_size, "--name and --cluster-name take 1 to %d bytes", ASSENT_NAME_BYTES_MAX);
        return false;
    }
    return true;
}

static bool check(struct config *config, char *err, size_t err_size)
{
    if (config->id == 0 || config->data == NULL) {
        snprintf(err, err_size,
                 "--id and --data are required: the number of this node and its data directory");
        return false;
    }
    if (!config->insecure && (config->branch_insecure || config->simulate.n > 0)) {
        snprintf(err, err_size, "--%s is for tests: it needs --insecure too",
                 config->branch_insecure ? "branch-insecure" : "simulate");
        return false;
    }
    if (!config->insecure) {
        snprintf(err, err_size,
                 "this version serves without credentials and TLS: say --insecure to accept that, and keep "
                 "its ports on "
                 "a private network");
        return false;
    }
    if (config->alert_url != NULL && strncmp(config->alert_url, "http://", 7) != 0 &&
        strncmp(config->alert_url, "https://", 8) != 0) {
        snprintf(err, err_size, "--alert-url takes an http:// or https:// URL, not '%.200s'",
                 config->alert_url);
        return false;
    }
    if (config->simulate.n > 0 && !config->allow_simulated_faults) {
        snprintf(
            err, err_size,
            "--simulate makes calls to branches fail on purpose: say --allow-simulated-faults if this node "
            "is there for tests, else take the rules out");
        return false;
    }
    if (config->tls_ca_file != NULL && access(config->tls_ca_file, R_OK) != 0) {
        snprintf(err, err_size, "--tls-ca-file %.200s: %s", config->tls_ca_file, strerror(errno));
        return false;
    }
    if (config->election_ms < 10 * config->heartbeat_ms) {
        snprintf(err, err_size, "--election-ms (%llu) must be at least 10 times --heartbeat-ms (%llu)",
                 (unsigned long long)config->election_ms, (unsigned long long)config->heartbeat_ms);
        return false;
    }
    if (config->name == NULL && asprintf(&config->name, "node-%llu", (unsigned long long)config->id) < 0)
        abort();
    for (uint32_t i = 0; i < config->http.n; i++) {
        if (!check_address("http", config->http.item[i], err, err_size))
            return false;
    }
    for (uint32_t i = 0; i < config->dtm_http.n; i++) {
        if (!check_address("dtm-http", config->dtm_http.item[i], err, err_size))
            return false;
    }
    for (uint32_t i = 0; i < config->rpc.n; i++) {
        if (!check_address("rpc", config->rpc.item[i], err, err_size))
            return false;
    }
    if ((config->http_advertise && !check_address("http-advertise", config->http_advertise, err, err_size)) ||
        (config->rpc_advertise && !check_address("rpc-advertise", config->rpc_advertise, err, err_size)))
        return false;
    return check_words(config, err, err_size) && check_members(config, err, err_size);
}

enum config_answer config_load(struct config *config, int argc, char **argv, char **env, char *err,
                               size_t err_size)
{
    *config = (struct config){0};
    struct seen seen = {0};
    enum config_answer answer = load_flags(config, argc, argv, &seen, err, err_size);
    if (answer != CONFIG_RUN)
        return answer;
    if (!load_env(config, env, &seen, err, err_size))
        return CONFIG_ERROR;
    if (config->config != NULL && !load_file(config, &seen, err, err_size))
        return CONFIG_ERROR;
    if (config->dtm_environment && !load_dtm(config, env, &seen, err, err_size))
        return CONFIG_ERROR;
    for (int i = 0; i < OPTION_NR; i++) {
        const struct option_def *o = &options[i];
        const void *field = (const char *)config + o->offset;
        bool absent = o->kind == OPTION_TEXT   ? *(char *const *)field == NULL
                      : is_list(o)             ? ((const struct config_list *)field)->n == 0
                      : o->kind == OPTION_UINT ? *(const uint64_t *)field == 0 && !*seen_at(&seen, o)
                                               : false;
        if (absent && o->absent != NULL && !set(config, o, o->absent, "default", err, err_size))
            return CONFIG_ERROR;
    }
    return check(config, err, err_size) ? CONFIG_RUN : CONFIG_ERROR;
}

void config_close(struct config *config)
{
    for (int i = 0; i < OPTION_NR; i++) {
        void *field = (char *)config + options[i].offset;
        if (options[i].kind == OPTION_TEXT)
            free(*(char **)field);
        if (is_list(&options[i])) {
            struct config_list *list = (struct config_list *)field;
            for (uint32_t k = 0; k < list->n; k++)
                free(list->item[k]);
        }
    }
    *config = (struct config){0};
}

/* ---- what people read ---- */

void config_help(FILE *out)
{
    fprintf(
        out,
        "assentd: one node of a replicated transaction coordinator and clock service\n\n"
        "  assentd --id 1 --data DIR --cluster 1=HOST:PORT,2=HOST:PORT,3=HOST:PORT --insecure [option...]\n"
        "  assentd recover --help      make a node the only voter after the majority was lost for good\n"
        "  assentd restore --help      build a new cluster's data directory from a back-up\n"
        "  assentd manual              this table as the manual holds it\n\n"
        "Each option may also stand in the environment (ASSENT_HTTP_IDLE_S for --http-idle-s) or in the\n"
        "YAML file of --config (http-idle-s: 30).  A flag wins over the environment, that over the "
        "file.\n\n");
    for (int i = 0; i < OPTION_NR; i++) {
        const struct option_def *o = &options[i];
        char left[64];
        snprintf(left, sizeof left, "--%s%s%s", o->name, o->kind == OPTION_BOOL ? "" : " ",
                 o->kind == OPTION_BOOL ? "" : kind_hint(o));
        fprintf(out, "  %-38s %s", left, o->sentence);
        if (o->absent != NULL)
            fprintf(out, " [%s]", o->absent);
        fputc('\n', out);
    }
    fprintf(out, "  %-38s %s\n  %-38s %s\n", "--help", "Print this.", "--version", "Print the version.");
}

void config_manual(FILE *out)
{
    fprintf(out, "| option | value | default | meaning |\n|---|---|---|---|\n");
    for (int i = 0; i < OPTION_NR; i++) {
        const struct option_def *o = &options[i];
        fprintf(out, "| `%s` | ", o->name);
        if (o->kind == OPTION_UINT)
            fprintf(out, "%llu to %llu%s%s", (unsigned long long)o->min, (unsigned long long)o->max,
                    o->unit ? " " : "", o->unit ? o->unit : "");
        else
            for (const char *c = o->kind == OPTION_BOOL ? "true or false" : kind_hint(o); *c != 0; c++)
                fprintf(out, *c == '|' ? " or " : "%c", *c);
        fprintf(out, " | %s | %s |\n", o->absent ? o->absent : "", o->sentence);
    }
}
