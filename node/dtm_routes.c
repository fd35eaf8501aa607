/* The paths of the DTM door. */
#include "dtm_routes.h"

#include <string.h>

#include "dtm.h"
#include "routes.h"

#define BASE "/api/dtmsvr"

static const struct row {
    const char *method; /* NULL: every one */
    const char *path;   /* a slash at the end: one more segment is captured */
    enum dtm_op op;
} rows[] = {
    {"GET", BASE "/newGid", DTM_NEW_GID},
    {"POST", BASE "/prepare", DTM_PREPARE},
    {"POST", BASE "/submit", DTM_SUBMIT},
    {"POST", BASE "/abort", DTM_ABORT},
    {"POST", BASE "/registerBranch", DTM_REGISTER_BRANCH},
    {"POST", BASE "/registerTccBranch", DTM_REGISTER_BRANCH}, /* what old clients call */
    {"POST", BASE "/registerXaBranch", DTM_REGISTER_BRANCH},
    {"POST", BASE "/prepareWorkflow", DTM_PREPARE_WORKFLOW},
    {"POST", BASE "/forceStop", DTM_FORCE_STOP},
    {"POST", BASE "/resetNextCronTime", DTM_RESET_NEXT_CRON_TIME},
    {"GET", BASE "/query", DTM_QUERY},
    {"GET", BASE "/all", DTM_ALL},
    {"GET", BASE "/resetCronTime", DTM_RESET_CRON_TIME},
    {"GET", BASE "/subscribe", DTM_SUBSCRIBE},
    {"GET", BASE "/unsubscribe", DTM_UNSUBSCRIBE},
    {"DELETE", BASE "/topic/", DTM_DELETE_TOPIC},
    {"GET", BASE "/queryKV", DTM_QUERY_KV},
    {"GET", BASE "/scanKV", DTM_SCAN_KV},
    {"GET", BASE "/version", DTM_VERSION},
    {NULL, "/api/ping", DTM_PING},
    {"GET", "/api/metrics", DTM_METRICS},
    {"POST", "/api/json-rpc", DTM_JSON_RPC},
#ifdef ASSENT_TEST_HOOKS
    {"POST", BASE "/testPoll", DTM_TEST_POLL},
    {"GET", BASE "/testRounds", DTM_TEST_ROUNDS},
    {"POST", BASE "/testPolling", DTM_TEST_POLLING},
    {"POST", BASE "/testWipe", DTM_TEST_WIPE},
#endif
};

static const char *const names[DTM_OP_NR] = {
    [DTM_NEW_GID] = "newgid",
    [DTM_PREPARE] = "prepare",
    [DTM_SUBMIT] = "submit",
    [DTM_ABORT] = "abort",
    [DTM_REGISTER_BRANCH] = "registerbranch",
    [DTM_PREPARE_WORKFLOW] = "prepareworkflow",
    [DTM_FORCE_STOP] = "forcestop",
    [DTM_RESET_NEXT_CRON_TIME] = "resetnextcrontime",
    [DTM_QUERY] = "query",
    [DTM_ALL] = "all",
    [DTM_RESET_CRON_TIME] = "resetcrontime",
    [DTM_SUBSCRIBE] = "subscribe",
    [DTM_UNSUBSCRIBE] = "unsubscribe",
    [DTM_DELETE_TOPIC] = "topic",
    [DTM_QUERY_KV] = "querykv",
    [DTM_SCAN_KV] = "scankv",
    [DTM_VERSION] = "version",
    [DTM_PING] = "ping",
    [DTM_METRICS] = "metrics",
    [DTM_JSON_RPC] = "json-rpc",
    [DTM_TEST_POLL] = "testpoll",
    [DTM_TEST_ROUNDS] = "testrounds",
    [DTM_TEST_POLLING] = "testpolling",
    [DTM_TEST_WIPE] = "testwipe",
    [DTM_NOWHERE] = "none",
};

const char *dtm_op_name(enum dtm_op op)
{
    return names[op];
}

static bool starts(struct assent_bytes path, const char *with)
{
    size_t size = strlen(with);
    return path.size >= size && memcmp(path.base, with, size) == 0;
}

static bool is(struct assent_bytes path, const char *what)
{
    return starts(path, what) && path.size == strlen(what);
}

bool dtm_owns(struct assent_bytes path)
{
    static const char *const alone[] = {BASE, "/api/ping", "/api/metrics", "/api/json-rpc"};
    if (starts(path, BASE "/"))
        return true;
    struct assent_bytes bare = path;
    if (bare.size > 1 && bare.base[bare.size - 1] == '/')
        bare.size--;
    for (size_t i = 0; i < sizeof alone / sizeof alone[0]; i++)
        if (is(bare, alone[i]))
            return true;
    return false;
}

static bool row_matches(const struct row *row, const char *method, struct assent_bytes path,
                        struct assent_bytes *name)
{
    size_t size = strlen(row->path);
    if (row->method != NULL && strcmp(method, row->method) != 0)
        return false;
    *name = (struct assent_bytes){NULL, 0};
    if (row->path[size - 1] != '/')
        return is(path, row->path);
    if (!starts(path, row->path) || path.size == size)
        return false;
    *name = (struct assent_bytes){path.base + size, path.size - size};
    return memchr(name->base, '/', name->size) == NULL;
}

static bool find(const char *method, struct assent_bytes path, struct dtm_route_match *out)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (row_matches(&rows[i], method, path, &out->name)) {
            out->op = rows[i].op;
            return true;
        }
    }
    return false;
}

void dtm_route_find(const char *method, struct assent_bytes path, struct dtm_route_match *out)
{
    *out = (struct dtm_route_match){.op = DTM_NOWHERE};
    if (find(method, path, out))
        return;
    struct assent_bytes bare = path;
    if (bare.size > 1 && bare.base[bare.size - 1] == '/') {
        bare.size--;
        out->slash = find(method, bare, out);
    }
    out->op = DTM_NOWHERE;
}

bool dtm_parameter(struct assent_bytes query, const char *name, char *out, size_t size)
{
    size_t name_size = strlen(name), written;
    const uint8_t *at = query.base, *end = query.base + query.size;
    while (at != NULL && at < end) {
        const uint8_t *stop = memchr(at, '&', (size_t)(end - at));
        if (stop == NULL)
            stop = end;
        const uint8_t *sign = memchr(at, '=', (size_t)(stop - at));
        size_t key = (size_t)((sign != NULL ? sign : stop) - at);
        if (key == name_size && memcmp(at, name, key) == 0) {
            struct assent_bytes value = {stop, 0};
            if (sign != NULL)
                value = (struct assent_bytes){sign + 1, (size_t)(stop - sign) - 1};
            if (!route_unescape(value, true, out, size - 1, &written) || memchr(out, 0, written) != NULL)
                return false;
            out[written] = 0;
            return true;
        }
        at = stop + 1;
    }
    return false;
}
