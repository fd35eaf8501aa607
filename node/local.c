/* What a node answers by itself: health, metrics, what it is, and how it sees the cluster. */
#include "local.h"

#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "node.h"

const char *local_not_ready(struct node *node)
{
    if (node->state != NODE_RUNNING)
        return "the node is stopping";
    struct raftlog_status s;
    raftlog_status(node->log, &s);
    if (s.role == RAFTLOG_STOPPED)
        return "the log has stopped";
    if (s.leader == 0 || (s.role == RAFTLOG_LEADER && !s.ready))
        return "no leader is known";
    if (s.installing)
        return "a snapshot is being installed";
    if (!s.current)
        return "this node has not caught up with the leader";
    return NULL;
}

static void plain(struct response *response, int status, const char *type)
{
    response->http_status = status;
    response->content_type = type;
    text_reset(&response->body);
}

/* A value of an advert as a JSON string. */
static void put_advert(struct text *t, const char *name, struct assent_bytes advert, const char *key)
{
    text_printf(t, ",\"%s\":", name);
    json_quote(t, node_advert_get(advert, key));
}

static void put_member(struct node *node, struct text *t, const struct raftlog_status *s,
                       const struct raftlog_peer *p)
{
    struct assent_bytes advert =
        p->self ? (struct assent_bytes){(uint8_t *)node->advert, strlen(node->advert)} : p->advert;
    static const char *const own[] = {"FOLLOWER", "CANDIDATE", "LEADER", "STOPPED"};
    const char *role = p->self ? own[s->role] : p->id == s->leader ? "LEADER" : "FOLLOWER";
    text_printf(t, "{\"id\":%llu", (unsigned long long)p->id);
    put_advert(t, "name", advert, "name");
    text_printf(t, ",\"role\":\"%s\",\"voter\":%s,\"raftAddress\":", role, p->voter ? "true" : "false");
    json_quote_cstr(t, p->address);
    put_advert(t, "httpAddress", advert, "http");
    put_advert(t, "rpcAddress", advert, "rpc");
    put_advert(t, "version", advert, "version");
    text_printf(t, ",\"state\":\"%s\",\"matchIndex\":%llu}", p->self || p->connected ? "UP" : "DOWN",
                (unsigned long long)(p->self ? s->stored_index : p->match_index));
}

static void cluster(struct node *node, struct text *t)
{
    struct raftlog_status s;
    raftlog_status(node->log, &s);
    /* The cluster id is a string: it needs all 64 bits, which JSON readers do not keep. */
    text_printf(t, "{\"clusterId\":\"%016llx\",\"clusterName\":", (unsigned long long)s.cluster_id);
    json_quote_cstr(t, node->config->cluster_name);
    text_printf(t,
                ",\"incarnation\":%llu,\"nodeId\":%llu,\"term\":%llu,\"leaderId\":%llu,\"index\":%llu,"
                "\"commitIndex\":%llu,\"appliedIndex\":%llu,\"snapshotIndex\":%llu,\"ready\":%s",
                (unsigned long long)s.incarnation, (unsigned long long)s.id, (unsigned long long)s.term,
                (unsigned long long)s.leader, (unsigned long long)s.last_index,
                (unsigned long long)s.commit_index, (unsigned long long)s.applied_index,
                (unsigned long long)s.snapshot_index, local_not_ready(node) == NULL ? "true" : "false");
    if (node_sm_enter(node)) {
        text_printf(t, ",\"digest\":\"%016llx\"", (unsigned long long)sm_digest(node->sm));
        node_sm_leave(node);
    }
    text_cstr(t, ",\"nodes\":[");
    struct raftlog_peer p;
    for (uint32_t i = 0; raftlog_member_at(node->log, i, &p); i++) {
        if (i > 0)
            text_char(t, ',');
        put_member(node, t, &s, &p);
    }
    text_cstr(t, "]}");
}

static void health(struct node *node, struct response *response)
{
    const char *why = local_not_ready(node);
    plain(response, why ? 503 : 200, "application/json");
    text_printf(&response->body,
                "{\"status\":\"%s\",\"components\":{\"raft\":{\"status\":\"%s\",\"details\":{",
                why ? "DOWN" : "UP", why ? "DOWN" : "UP");
    text_printf(&response->body,
                "\"term\":%llu,\"leaderId\":%llu,\"reason\":", (unsigned long long)node->term,
                (unsigned long long)node->leader);
    json_quote_cstr(&response->body, why ? why : "");
    text_cstr(&response->body, "}}}}");
}

static void ready(struct node *node, struct response *response)
{
    const char *why = local_not_ready(node);
    plain(response, why ? 503 : 200, "text/plain; charset=utf-8");
    text_printf(&response->body, "%s\n", why ? why : "ready");
    response->retry_later = why != NULL;
}

static void info(struct node *node, struct response *response)
{
    plain(response, 200, "application/json");
    struct text *t = &response->body;
    text_printf(t, "{\"app\":{\"name\":\"assentd\",\"version\":\"%s\"},\"node\":{\"id\":%llu,\"name\":",
                NODE_VERSION, (unsigned long long)node->config->id);
    json_quote_cstr(t, node->config->name);
    text_cstr(t, ",\"cluster\":");
    json_quote_cstr(t, node->config->cluster_name);
    text_printf(t, ",\"uptimeMs\":%llu}}", (unsigned long long)(uv_now(node->loop) - node->started_ms));
}

/* A back-up: the head goes on its way with an open file behind it. */
static void backup(struct node *node, uint64_t index, struct response *response)
{
    static const char gone[] = "this node has no such snapshot (any more); take a new one";
    struct raftlog_status status;
    struct response_file *file = malloc(sizeof *file);
    if (file == NULL)
        abort();
    file->fd = raftlog_snapshot_find(node->log, index, &file->snapshot)
                   ? open(file->snapshot.path, O_RDONLY | O_CLOEXEC)
                   : -1;
    if (file->fd < 0) {
        free(file);
        response_error(response, ASSENT_NOT_FOUND,
                       (struct assent_bytes){(const uint8_t *)gone, sizeof gone - 1});
        return;
    }
    raftlog_status(node->log, &status);
    backup_cover_encode(&file->snapshot, status.cluster_id, file->cover);
    plain(response, 200, "application/octet-stream");
    response->file = file;
}

void local_answer(struct node *node, const struct route *route, uint64_t number, struct response *response)
{
    switch (route->type) {
    case SPECIAL_CLUSTER:
        plain(response, 200, "application/json");
        text_cstr(&response->body, "{\"success\":true,\"data\":");
        cluster(node, &response->body);
        text_printf(&response->body, ",\"timestamp\":%lld}", (long long)(node_now_us() / 1000));
        return;
    case SPECIAL_LIVEZ:
        plain(response, 200, "text/plain; charset=utf-8");
        text_cstr(&response->body, "alive\n");
        return;
    case SPECIAL_READYZ:
        ready(node, response);
        return;
    case SPECIAL_METRICS:
    case SPECIAL_ACTUATOR_METRICS:
        plain(response, 200, "text/plain; version=0.0.4; charset=utf-8");
        metrics_page(node, &response->body);
        return;
    case SPECIAL_HEALTH:
        health(node, response);
        return;
    case SPECIAL_INFO:
        info(node, response);
        return;
    case SPECIAL_OPENAPI:
        plain(response, 200, "application/json");
        routes_openapi(&response->body, NODE_VERSION);
        return;
    case SPECIAL_BACKUP:
        backup(node, number, response);
        return;
    default:
        assert(0 && "a local route without an answer");
    }
}
