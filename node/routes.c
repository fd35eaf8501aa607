/* Every path of the HTTP interface, as rows: method, pattern, and what it is. */
#include "routes.h"

#include <stdio.h>
#include <string.h>

#include "stream.h"

const struct route routes[] = {
    {"POST", "/lamport/tick", ROUTE_COMMAND, COMMAND_LAMPORT_TICK, "Advance a Lamport clock.", false},
    {"GET", "/lamport/current", ROUTE_QUERY, QUERY_LAMPORT, "Read a Lamport clock.", false},
    {"POST", "/lamport/sync", ROUTE_COMMAND, COMMAND_LAMPORT_SYNC, "Take up a received Lamport stamp.",
     false},
    {"POST", "/version/increment", ROUTE_COMMAND, COMMAND_VERSION_INCREMENT,
     "Write a new version of an object.", false},
    {"GET", "/version/current", ROUTE_QUERY, QUERY_VERSION, "Read an object's version and siblings.", false},
    {"POST", "/version/merge", ROUTE_COMMAND, COMMAND_VERSION_MERGE, "Merge a version seen elsewhere.",
     false},
    {"POST", "/version/declare", ROUTE_COMMAND, COMMAND_VERSION_DECLARE,
     "Declare how conflicts are resolved.", false},
    {"POST", "/version/resolve", ROUTE_COMMAND, COMMAND_VERSION_RESOLVE, "Resolve a conflict with a value.",
     false},
    {"GET", "/version/history", ROUTE_QUERY, QUERY_VERSION_HISTORY, "List an object's past versions.", false},
    {"GET", "/version/compare", ROUTE_QUERY, QUERY_VERSION_COMPARE, "Compare two version vectors.", false},
    {"POST", "/version/compare", ROUTE_QUERY, QUERY_VERSION_COMPARE, "Compare two version vectors.", false},
    {"POST", "/vector-clock/tick", ROUTE_COMMAND, COMMAND_VECTOR_TICK, "Count an event of a member.", false},
    {"GET", "/vector-clock/current", ROUTE_QUERY, QUERY_VECTOR, "Read a vector clock.", false},
    {"GET", "/vector-clock/compare", ROUTE_QUERY, QUERY_VECTOR_COMPARE, "Compare two vector stamps.", false},
    {"POST", "/vector-clock/compare", ROUTE_QUERY, QUERY_VECTOR_COMPARE, "Compare two vector stamps.", false},
    {"POST", "/vector-clock/sync", ROUTE_COMMAND, COMMAND_VECTOR_SYNC, "Take up a received vector stamp.",
     false},
    {"POST", "/vector-clock/join", ROUTE_COMMAND, COMMAND_VECTOR_JOIN, "Add a member to a clock domain.",
     false},
    {"POST", "/vector-clock/retire", ROUTE_COMMAND, COMMAND_VECTOR_RETIRE,
     "Retire a member of a clock domain.", false},
    {"POST", "/vector-clock/observe", ROUTE_COMMAND, COMMAND_VECTOR_OBSERVE, "Report what a member has seen.",
     false},
    {"POST", "/timestamp/event", ROUTE_COMMAND, COMMAND_TIMESTAMP_EVENT, "Record an event with its stamps.",
     false},
    {"POST", "/timestamp/sync", ROUTE_COMMAND, COMMAND_TIMESTAMP_SYNC, "Record an event of another node.",
     false},
    {"GET", "/timestamp/compare", ROUTE_QUERY, QUERY_TIMESTAMP_COMPARE, "Order of two events.", false},
    {"GET", "/timestamp/events", ROUTE_QUERY, QUERY_TIMESTAMP_EVENTS,
     "List events by node, type, business, time.", false},
    {"POST", "/tso", ROUTE_LEADER, SPECIAL_TSO, "Grant strictly increasing timestamps.", false},
    {"POST", "/sequence/{name}", ROUTE_COMMAND, COMMAND_SEQUENCE_NEXT,
     "Take the next numbers of a dense sequence.", false},
    {"GET", "/sequence/{name}", ROUTE_QUERY, QUERY_SEQUENCE, "Read a sequence without taking a number.",
     false},
    {"POST", "/session", ROUTE_COMMAND, COMMAND_SESSION_OPEN, "Open a session for exactly-once commands.",
     false},
    {"POST", "/nodes", ROUTE_COMMAND, COMMAND_NODE_REGISTER, "Register an application node.", false},
    {"GET", "/nodes", ROUTE_QUERY, QUERY_NODES, "List application nodes and their state.", false},
    {"POST", "/nodes/{node}/heartbeat", ROUTE_COMMAND, COMMAND_NODE_HEARTBEAT,
     "Say that an application node lives.", false},
    {"DELETE", "/nodes/{node}", ROUTE_COMMAND, COMMAND_NODE_REMOVE, "Remove an application node.", false},
    {"POST", "/transaction/begin", ROUTE_COMMAND, COMMAND_TXN_BEGIN, "Begin a global transaction.", false},
    {"POST", "/transaction/branch", ROUTE_COMMAND, COMMAND_TXN_BRANCH, "Register a branch.", false},
    {"POST", "/transaction/commit", ROUTE_COMMAND, COMMAND_TXN_COMMIT, "Decide to commit.", false},
    {"POST", "/transaction/rollback", ROUTE_COMMAND, COMMAND_TXN_ROLLBACK, "Decide to roll back.", false},
    {"POST", "/transaction/saga", ROUTE_COMMAND, COMMAND_SAGA_SUBMIT, "Submit a saga with all its steps.",
     false},
    {"POST", "/transaction/resume", ROUTE_COMMAND, COMMAND_TXN_RESUME,
     "Say how a suspended transaction goes on.", false},
    {"POST", "/transaction/message", ROUTE_COMMAND, COMMAND_MESSAGE_SUBMIT,
     "Submit a message, whole or prepared before.", false},
    {"POST", "/transaction/message/prepare", ROUTE_COMMAND, COMMAND_MESSAGE_PREPARE,
     "Prepare a message; it is sent when it is submitted or its query says so.", false},
    {"POST", "/transaction/workflow/prepare", ROUTE_COMMAND, COMMAND_WORKFLOW_PREPARE,
     "Begin a workflow, or get what it has recorded.", false},
    {"POST", "/transaction/workflow/step", ROUTE_COMMAND, COMMAND_WORKFLOW_STEP,
     "Record what a step of a workflow came to.", false},
    {"POST", "/transaction/workflow/end", ROUTE_COMMAND, COMMAND_WORKFLOW_END, "End a workflow.", false},
    {"POST", "/transaction/acknowledge", ROUTE_COMMAND, COMMAND_BRANCH_ACKNOWLEDGE,
     "Say what became of a branch that was accepted.", false},
    {"GET", "/transaction/status/{xid}", ROUTE_QUERY, QUERY_TXN_STATUS, "Status of a transaction.", false},
    {"GET", "/transaction/{xid}", ROUTE_QUERY, QUERY_TXN, "A transaction with its branches.", false},
    {"GET", "/transaction/{xid}/tree", ROUTE_QUERY, QUERY_TXN_TREE, "A transaction and those nested in it.",
     false},
    {"GET", "/transactions", ROUTE_QUERY, QUERY_TXN_LIST, "List transactions.", false},
    {"GET", "/transactions/counts", ROUTE_QUERY, QUERY_TXN_COUNTS, "Transactions by mode and status.", false},
    {"POST", "/transaction/{xid}/{act}", ROUTE_COMMAND, COMMAND_TXN_ACT,
     "Operate: retry, skip, force, pause, resume, back.", false},
    {"GET", "/topics", ROUTE_QUERY, QUERY_TOPICS, "List topics and their subscribers.", false},
    {"GET", "/topics/{topic}", ROUTE_QUERY, QUERY_TOPICS, "Who gets what is sent to a topic.", false},
    {"POST", "/transactions/{act}", ROUTE_COMMAND, COMMAND_TXN_ACT_MANY,
     "The same to a page of those a filter finds.", false},
    {"GET", "/settings", ROUTE_QUERY, QUERY_SETTINGS, "What is set for the whole cluster.", false},
    {"POST", "/settings", ROUTE_COMMAND, COMMAND_SETTINGS_PUT, "Set it, with who and why.", false},
    {"GET", "/audit", ROUTE_QUERY, QUERY_AUDIT, "What operators did.", false},
    {"POST", "/topics/{topic}", ROUTE_COMMAND, COMMAND_TOPIC_SUBSCRIBE, "Subscribe a URL to a topic.", false},
    {"POST", "/topics/{topic}/unsubscribe", ROUTE_COMMAND, COMMAND_TOPIC_UNSUBSCRIBE,
     "Take a URL from a topic.", false},
    {"DELETE", "/topics/{topic}", ROUTE_COMMAND, COMMAND_TOPIC_REMOVE, "Remove a topic.", false},
    {"POST", "/freeze", ROUTE_COMMAND, COMMAND_FREEZE, "Freeze a resource for a transaction.", false},
    {"GET", "/freeze/{xid}/{resource}", ROUTE_QUERY, QUERY_FREEZE, "How a transaction stands to a resource.",
     false},
    {"DELETE", "/freeze/{xid}/{resource}", ROUTE_COMMAND, COMMAND_UNFREEZE,
     "Let a resource go, or stop waiting for it.", false},
    {"GET", "/freezes", ROUTE_QUERY, QUERY_FREEZE_LIST, "List frozen resources.", false},
    {"GET", "/freezes/{resource}", ROUTE_QUERY, QUERY_FREEZE_RESOURCE, "Who holds a resource and who waits.",
     false},
    {"GET", "/transaction/{xid}/freezes", ROUTE_QUERY, QUERY_FREEZE_TXN,
     "What a transaction holds and waits for.", false},
    {"PUT", "/business/{businessType}", ROUTE_COMMAND, COMMAND_BUSINESS_PUT,
     "Say what a business type is: mode, branches or steps, policy.", false},
    {"POST", "/business/{businessType}", ROUTE_COMMAND, COMMAND_BUSINESS_PUT,
     "Say what a business type is: mode, branches or steps, policy.", false},
    {"GET", "/business/{businessType}", ROUTE_QUERY, QUERY_BUSINESS, "What a business type is.", false},
    {"DELETE", "/business/{businessType}", ROUTE_COMMAND, COMMAND_BUSINESS_REMOVE,
     "Remove a business type; what was executed goes on.", false},
    {"GET", "/business", ROUTE_QUERY, QUERY_BUSINESS, "List the business catalogue.", false},
    {"POST", "/transaction/tcc", ROUTE_COMMAND, COMMAND_BUSINESS_EXECUTE, "Execute a TCC of the catalogue.",
     false},
    {"POST", "/transaction/at", ROUTE_COMMAND, COMMAND_BUSINESS_EXECUTE,
     "Execute an AT of the catalogue; refused while no AT resource is registered.", false},
    {"POST", "/transaction/saga", ROUTE_COMMAND, COMMAND_BUSINESS_EXECUTE, "Execute a saga of the catalogue.",
     false},
    {"POST", "/transaction/message", ROUTE_COMMAND, COMMAND_BUSINESS_EXECUTE,
     "Send a message of the catalogue.", false},
    {"POST", "/xa-jta/xa/execute", ROUTE_COMMAND, COMMAND_BUSINESS_EXECUTE,
     "Execute an XA transaction of the catalogue.", false},
    {"POST", "/xa-jta/xa/execute", ROUTE_COMMAND, COMMAND_TXN_BEGIN,
     "Execute an XA transaction: try all branches in order, then decide.", false},
    {"POST", "/xa-jta/jta/execute", ROUTE_COMMAND, COMMAND_BUSINESS_EXECUTE,
     "Execute an XA transaction of the catalogue.", false},
    {"POST", "/xa-jta/jta/execute", ROUTE_COMMAND, COMMAND_TXN_BEGIN,
     "Execute an XA transaction: try all branches in order, then decide.", false},
    {"GET", "/xa-jta/xa/statistics", ROUTE_QUERY, QUERY_STATISTICS,
     "What came of XA transactions, by business type.", false},
    {"GET", "/statistics", ROUTE_QUERY, QUERY_STATISTICS,
     "What came of transactions: totals, rates, times, by mode and business type.", false},
    {"GET", "/events", ROUTE_STREAM, SPECIAL_EVENTS, "Follow what happens to transactions.", false},
    {"GET", "/cluster", ROUTE_LOCAL, SPECIAL_CLUSTER, "The cluster as this node sees it.", false},
    {"POST", "/cluster/members", ROUTE_LEADER, SPECIAL_MEMBER_ADD, "Add a node as a non-voter.", false},
    {"POST", "/cluster/members/{id}/promote", ROUTE_LEADER, SPECIAL_MEMBER_PROMOTE,
     "Make a non-voter a voter.", false},
    {"POST", "/cluster/members/{id}/demote", ROUTE_LEADER, SPECIAL_MEMBER_DEMOTE, "Make a voter a non-voter.",
     false},
    {"POST", "/cluster/members/{id}/remove", ROUTE_LEADER, SPECIAL_MEMBER_REMOVE, "Remove a node.", false},
    {"POST", "/cluster/transfer", ROUTE_LEADER, SPECIAL_TRANSFER, "Hand leadership to another node.", false},
    {"POST", "/cluster/snapshot", ROUTE_LEADER, SPECIAL_SNAPSHOT, "Take a snapshot on the leader now.",
     false},
    {"GET", "/cluster/snapshot/{index}", ROUTE_LOCAL, SPECIAL_BACKUP,
     "Stream this node's snapshot of that index as a back-up file.", false},
    {"GET", "/livez", ROUTE_PLAIN, SPECIAL_LIVEZ, "The process lives.", true},
    {"GET", "/readyz", ROUTE_PLAIN, SPECIAL_READYZ, "A leader is known and this node is near it.", true},
    {"GET", "/metrics", ROUTE_PLAIN, SPECIAL_METRICS, "Metrics as Prometheus text.", true},
    {"GET", "/api/actuator/health", ROUTE_PLAIN, SPECIAL_HEALTH, "Health in the shape of Spring's actuator.",
     true},
    {"GET", "/api/actuator/metrics", ROUTE_PLAIN, SPECIAL_ACTUATOR_METRICS, "Metrics as Prometheus text.",
     true},
    {"GET", "/api/actuator/info", ROUTE_PLAIN, SPECIAL_INFO, "What runs here.", true},
    {"GET", "/api/openapi.json", ROUTE_PLAIN, SPECIAL_OPENAPI, "This interface as OpenAPI 3.", true},
};
const uint32_t routes_n = sizeof routes / sizeof routes[0];

static const struct field no_fields[] = {{0}};
static const struct field tso_fields[] = {{"count", FIELD_UINT, 0, ASSENT_COUNT_MAX, NULL}, {0}};
/* Who and why, for the record. */
#define WHO_AND_WHY                                                                                          \
    {"by", FIELD_TEXT, FIELD_NAME, ASSENT_NAME_BYTES_MAX, NULL},                                             \
    {                                                                                                        \
        "reason", FIELD_TEXT, 0, 1024, NULL                                                                  \
    }
static const struct field add_fields[] = {{"id", FIELD_UINT, FIELD_REQUIRED, 0, NULL},
                                          {"address", FIELD_TEXT, FIELD_REQUIRED | FIELD_NAME, 127, NULL},
                                          WHO_AND_WHY,
                                          {0}};
static const struct field member_fields[] = {{"id", FIELD_UINT, FIELD_REQUIRED, 0, NULL}, WHO_AND_WHY, {0}};
static const struct field backup_fields[] = {{"index", FIELD_UINT, FIELD_REQUIRED, 0, NULL}, {0}};
static const struct field transfer_fields[] = {{"id", FIELD_UINT, 0, 0, NULL}, WHO_AND_WHY, {0}};
static const struct field snapshot_fields[] = {WHO_AND_WHY, {0}};

const struct field *route_special_fields(uint32_t special)
{
    switch (special) {
    case SPECIAL_TSO:
        return tso_fields;
    case SPECIAL_MEMBER_ADD:
        return add_fields;
    case SPECIAL_MEMBER_PROMOTE:
    case SPECIAL_MEMBER_DEMOTE:
    case SPECIAL_MEMBER_REMOVE:
        return member_fields;
    case SPECIAL_TRANSFER:
        return transfer_fields;
    case SPECIAL_SNAPSHOT:
        return snapshot_fields;
    case SPECIAL_BACKUP:
        return backup_fields;
    case SPECIAL_EVENTS:
        return stream_fields;
    default:
        return no_fields;
    }
}

const struct field *route_fields(const struct route *route)
{
    if (route->kind == ROUTE_COMMAND)
        return command_schema(route->type)->fields;
    if (route->kind == ROUTE_QUERY)
        return query_schema(route->type)->fields;
    return route_special_fields(route->type);
}

/* ---- finding a row ---- */

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool route_unescape(struct assent_bytes in, bool plus, char *out, size_t out_size, size_t *size)
{
    size_t n = 0;
    for (size_t i = 0; i < in.size; i++) {
        if (n == out_size)
            return false;
        uint8_t c = in.base[i];
        if (c == '%') {
            if (in.size - i < 3 || hex_digit(in.base[i + 1]) < 0 || hex_digit(in.base[i + 2]) < 0)
                return false;
            c = (uint8_t)(hex_digit(in.base[i + 1]) << 4 | hex_digit(in.base[i + 2]));
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        out[n++] = (char)c;
    }
    *size = n;
    return true;
}

/* Cut the next segment off `path` ("/a/b" -> "a", "/b"). */
static bool next_segment(struct assent_bytes *path, struct assent_bytes *segment)
{
    if (path->size == 0 || path->base[0] != '/')
        return false;
    const uint8_t *from = path->base + 1, *end = path->base + path->size;
    const uint8_t *slash = memchr(from, '/', (size_t)(end - from));
    if (slash == NULL)
        slash = end;
    *segment = (struct assent_bytes){from, (size_t)(slash - from)};
    *path = (struct assent_bytes){slash, (size_t)(end - slash)};
    return true;
}

/* Does the path have the shape of the pattern?  Fills the captures, still encoded. */
static bool shape_matches(const struct route *route, struct assent_bytes path, struct assent_bytes *raw,
                          struct route_match *m)
{
    size_t base = sizeof ROUTES_BASE - 1;
    if (!route->root) {
        if (path.size <= base || memcmp(path.base, ROUTES_BASE, base) != 0)
            return false;
        path = (struct assent_bytes){path.base + base, path.size - base};
    }
    struct assent_bytes pattern = {(const uint8_t *)route->pattern, strlen(route->pattern)}, want, have;
    m->captures = 0;
    while (next_segment(&pattern, &want)) {
        if (!next_segment(&path, &have))
            return false;
        if (want.size > 0 && want.base[0] == '{') {
            if (have.size == 0)
                return false;
            struct route_capture *c = &m->capture[m->captures];
            c->name = (const char *)want.base + 1;
            c->name_size = want.size - 2;
            raw[m->captures++] = have;
        } else if (want.size != have.size || memcmp(want.base, have.base, want.size) != 0) {
            return false;
        }
    }
    return path.size == 0;
}

static bool method_is(const char *method, const char *want)
{
    return strcmp(method, want) == 0 || (strcmp(method, "HEAD") == 0 && strcmp(want, "GET") == 0);
}

int route_find(const char *method, struct assent_bytes path, struct route_match *out)
{
    out->route = NULL;
    out->allow[0] = 0;
    for (uint32_t i = 0; i < routes_n; i++) {
        struct assent_bytes raw[ROUTES_CAPTURES_MAX];
        if (!shape_matches(&routes[i], path, raw, out))
            continue;
        if (!method_is(method, routes[i].method)) {
            size_t at = strlen(out->allow);
            if (strstr(out->allow, routes[i].method) != NULL)
                continue; /* rows that are told apart by their bodies */
            snprintf(out->allow + at, sizeof out->allow - at, "%s%s", at ? ", " : "", routes[i].method);
            continue;
        }
        for (uint32_t k = 0; k < out->captures; k++) {
            struct route_capture *c = &out->capture[k];
            if (!route_unescape(raw[k], false, c->value, sizeof c->value, &c->value_size))
                return ASSENT_INVALID;
        }
        out->route = &routes[i];
        return ASSENT_OK;
    }
    return out->allow[0] ? ASSENT_METHOD : ASSENT_NO_ROUTE;
}

/* ---- rows that share a path, and what a path says by itself ---- */

struct hint {
    const char *pattern;
    uint32_t type;       /* of the row, a command or query */
    const char *when;    /* field of the body that tells this row from the first one; NULL: it is the first */
    const char *says[3]; /* "field=value" */
};

static const struct hint hints[] = {
    {"/transaction/tcc", COMMAND_BUSINESS_EXECUTE, NULL, {"mode=TCC"}},
    {"/transaction/at", COMMAND_BUSINESS_EXECUTE, NULL, {"mode=AT"}},
    {"/transaction/saga", COMMAND_BUSINESS_EXECUTE, "businessData", {"mode=SAGA"}},
    {"/transaction/message", COMMAND_BUSINESS_EXECUTE, "businessData", {"mode=MESSAGE"}},
    {"/xa-jta/xa/execute", COMMAND_BUSINESS_EXECUTE, NULL, {"mode=XA"}},
    {"/xa-jta/xa/execute", COMMAND_TXN_BEGIN, "branches", {"mode=XA", "execute=true", "order=forward"}},
    {"/xa-jta/jta/execute", COMMAND_BUSINESS_EXECUTE, NULL, {"mode=XA"}},
    {"/xa-jta/jta/execute", COMMAND_TXN_BEGIN, "branches", {"mode=XA", "execute=true", "order=forward"}},
    {"/xa-jta/xa/statistics", QUERY_STATISTICS, NULL, {"mode=XA"}},
};
#define HINTS (sizeof hints / sizeof hints[0])

/* Has the JSON object this member?  What is no object has none: who reads it next says why. */
static bool has_member(struct assent_bytes body, const char *name)
{
    char quoted[64];
    struct assent_bytes key, value;
    int size = snprintf(quoted, sizeof quoted, "\"%s\"", name);
    if (body.size == 0 || memmem(body.base, body.size, quoted, (size_t)size) == NULL || !json_valid(body))
        return false;
    struct json_cursor c = {(const char *)body.base, (const char *)body.base + body.size};
    while (c.at < c.end && strchr(" \t\r\n", *c.at) != NULL)
        c.at++;
    if (c.at == c.end || *c.at != '{')
        return false;
    for (json_enter(&c); json_next(&c, true, &key, &value);) {
        if (key.size == (size_t)size && memcmp(key.base, quoted, key.size) == 0)
            return true;
    }
    return false;
}

static const struct route *row_of(const struct route *first, uint32_t type)
{
    for (const struct route *r = first; r < routes + routes_n; r++) {
        if (r->type == type && strcmp(r->pattern, first->pattern) == 0 &&
            strcmp(r->method, first->method) == 0)
            return r;
    }
    return first;
}

static void says(struct route_match *m, const char *text)
{
    const char *equals = strchr(text, '=');
    struct route_capture *c = &m->capture[m->captures++];
    c->name = text;
    c->name_size = (size_t)(equals - text);
    c->value_size = strlen(equals + 1);
    memcpy(c->value, equals + 1, c->value_size);
}

void route_choose(struct route_match *m, struct assent_bytes body)
{
    for (size_t i = 0; i < HINTS; i++) {
        if (hints[i].when != NULL && strcmp(hints[i].pattern, m->route->pattern) == 0 &&
            strcmp(m->route->method, "POST") == 0 && has_member(body, hints[i].when))
            m->route = row_of(m->route, hints[i].type);
    }
    for (size_t i = 0; i < HINTS; i++) {
        if (strcmp(hints[i].pattern, m->route->pattern) != 0 || hints[i].type != m->route->type)
            continue;
        for (int k = 0; k < 3 && hints[i].says[k] != NULL; k++)
            says(m, hints[i].says[k]);
    }
}

/* ---- the description ---- */

static void put_object_schema(struct text *out, const struct field *fields);

static void put_field_schema(struct text *out, const struct field *f)
{
    unsigned long long max = f->max;
    switch (f->kind) {
    case FIELD_BOOL:
        text_cstr(out, "{\"type\":\"boolean\"}");
        break;
    case FIELD_UINT:
        text_printf(out, "{\"type\":\"integer\",\"format\":\"int64\",\"minimum\":0");
        if (max > 0)
            text_printf(out, ",\"maximum\":%llu", max);
        text_char(out, '}');
        break;
    case FIELD_TEXT:
        text_printf(out, "{\"type\":\"string\",\"minLength\":%d,\"maxLength\":%llu}",
                    (f->flags & FIELD_NAME) != 0 ? 1 : 0, max);
        break;
    case FIELD_JSON:
        text_cstr(out, "{\"description\":\"any JSON value\"}");
        break;
    case FIELD_COUNTERS:
        text_printf(
            out,
            "{\"type\":\"object\",\"maxProperties\":%llu,\"additionalProperties\":{\"type\":\"integer\","
            "\"minimum\":0}}",
            max);
        break;
    case FIELD_TEXTS:
        text_printf(
            out,
            "{\"type\":\"object\",\"maxProperties\":%llu,\"additionalProperties\":{\"type\":\"string\"}}",
            max);
        break;
    case FIELD_LIST:
        text_printf(out, "{\"type\":\"array\",\"maxItems\":%llu,\"items\":{}}", max);
        break;
    case FIELD_OBJECTS:
        text_printf(out, "{\"type\":\"array\",\"maxItems\":%llu,\"items\":", max);
        put_object_schema(out, f->fields);
        text_char(out, '}');
        break;
    }
}

static bool field_is_public(const struct field *f)
{
    return (f->flags & FIELD_INTERNAL) == 0;
}

static void put_object_schema(struct text *out, const struct field *fields)
{
    text_cstr(out, "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{");
    bool first = true;
    for (const struct field *f = fields; f->name != NULL; f++) {
        if (!field_is_public(f))
            continue;
        text_printf(out, "%s\"%s\":", first ? "" : ",", f->name);
        put_field_schema(out, f);
        first = false;
    }
    text_char(out, '}');
    first = true;
    for (const struct field *f = fields; f->name != NULL; f++) {
        if (!field_is_public(f) || (f->flags & FIELD_REQUIRED) == 0)
            continue;
        text_printf(out, "%s\"%s\"", first ? ",\"required\":[" : ",", f->name);
        first = false;
    }
    text_cstr(out, first ? "}" : "]}");
}

static bool is_captured(const struct route *route, const char *name)
{
    char pattern[ASSENT_NAME_BYTES_MAX + 3];
    snprintf(pattern, sizeof pattern, "{%s}", name);
    return strstr(route->pattern, pattern) != NULL;
}

static void put_parameters(struct text *out, const struct route *route, bool query)
{
    text_cstr(out, ",\"parameters\":[");
    bool first = true;
    for (const struct field *f = route_fields(route); f->name != NULL; f++) {
        bool captured = is_captured(route, f->name);
        if (!field_is_public(f) || (!captured && !query))
            continue;
        text_printf(out, "%s{\"name\":\"%s\",\"in\":\"%s\",\"required\":%s,\"schema\":", first ? "" : ",",
                    f->name, captured ? "path" : "query",
                    captured || (f->flags & FIELD_REQUIRED) != 0 ? "true" : "false");
        put_field_schema(out, f);
        text_char(out, '}');
        first = false;
    }
    if (route->kind == ROUTE_QUERY)
        text_printf(out, "%s{\"name\":\"stale\",\"in\":\"query\",\"schema\":{\"type\":\"boolean\"}}",
                    first ? "" : ",");
    if (route->kind == ROUTE_COMMAND)
        text_printf(
            out,
            "%s{\"name\":\"Idempotency-Key\",\"in\":\"header\",\"schema\":{\"type\":\"string\",\"maxLength\":"
            "%d}}",
            first ? "" : ",", ASSENT_KEY_BYTES_MAX);
    text_char(out, ']');
}

bool route_has_body(const struct route *route)
{
    return strcmp(route->method, "POST") == 0 || strcmp(route->method, "PUT") == 0;
}

static void put_operation(struct text *out, const struct route *route)
{
    bool body = route_has_body(route) && route_fields(route)->name != NULL;
    text_char(out, '"');
    for (const char *c = route->method; *c != 0; c++)
        text_char(out, (char)(*c | 0x20)); /* OpenAPI names methods in lower case */
    text_cstr(out, "\":");
    text_cstr(out, "{\"summary\":");
    json_quote_cstr(out, route->sentence);
    put_parameters(out, route, !body);
    if (body) {
        text_cstr(out, ",\"requestBody\":{\"content\":{\"application/json\":{\"schema\":");
        put_object_schema(out, route_fields(route));
        text_cstr(out, "}}}");
    }
    text_cstr(out, ",\"responses\":{\"200\":{\"description\":\"done\"}");
    if (route->kind != ROUTE_PLAIN)
        text_cstr(out,
                  ",\"default\":{\"description\":\"refused or failed\",\"content\":{\"application/json\":{"
                  "\"schema\":{\"$ref\":\"#/components/schemas/Error\"}}}}");
    text_cstr(out, "}}");
}

void routes_openapi(struct text *out, const char *version)
{
    text_printf(out, "{\"openapi\":\"3.0.3\",\"info\":{\"title\":\"assent\",\"version\":\"%s\"},\"paths\":{",
                version);
    bool first = true;
    for (uint32_t i = 0; i < routes_n; i++) {
        bool seen = false; /* a path stands once, with all its methods */
        for (uint32_t k = 0; k < i; k++)
            seen = seen || strcmp(routes[k].pattern, routes[i].pattern) == 0;
        if (seen)
            continue;
        text_printf(out, "%s\"%s%s\":{", first ? "" : ",", routes[i].root ? "" : ROUTES_BASE,
                    routes[i].pattern);
        first = false;
        bool first_method = true;
        for (uint32_t k = i; k < routes_n; k++) {
            bool described = false; /* a row that is told by its body stands behind the first one's method */
            for (uint32_t j = i; j < k; j++)
                described = described || (strcmp(routes[j].pattern, routes[i].pattern) == 0 &&
                                          strcmp(routes[j].method, routes[k].method) == 0);
            if (described || strcmp(routes[k].pattern, routes[i].pattern) != 0)
                continue;
            if (!first_method)
                text_char(out, ',');
            put_operation(out, &routes[k]);
            first_method = false;
        }
        text_char(out, '}');
    }
    text_cstr(
        out,
        "},\"components\":{\"schemas\":{\"Error\":{\"type\":\"object\",\"properties\":{\"success\":{"
        "\"type\":\"boolean\"},\"error\":{\"type\":\"object\",\"properties\":{\"code\":{\"type\":\"string\"},"
        "\"message\":{\"type\":\"string\"},\"retryable\":{\"type\":\"boolean\"}}}}}}}}");
}
