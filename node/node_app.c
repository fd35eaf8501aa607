/* Where raftlog, the executor and the state machine meet: what each calls when it has something for the
 * others. */
#include "node_app.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* With less room left, a failed write is told as what it most likely is. */
#define FULL_BYTES (1024ull * 1024)

/* ---- what raftlog calls ---- */

/* The tag of generated xids is the raft cluster id: the one number all replicas share, joiners too, that two
 * clusters of one name do not.  It is agreed before any entry arrives, so no replica applies without it. */
static void app_cluster(void *data, uint64_t cluster_id)
{
    struct node *node = data;
    sm_set_cluster_tag(node->sm, cluster_id);
    node->tagged = true;
}

void node_app_restored(struct node *node)
{
    uint64_t applied = sm_applied_index(node->sm);
    if (applied <= node->applied_index)
        return;
    events_gap(&node->events, applied);
    node->applied_index = applied;
}

static void app_apply(void *data, struct raftlog_command *commands, uint32_t n, uint64_t index)
{
    struct node *node = data;
    assert(node->tagged);
    node_app_restored(node);
    if (n > node->batch_capacity) {
        struct sm_command *batch = realloc(node->batch, n * sizeof *batch);
        if (batch == NULL)
            abort();
        node->batch = batch;
        node->batch_capacity = n;
    }
    for (uint32_t i = 0; i < n; i++) {
        node->batch[i] = (struct sm_command){.index = commands[i].index,
                                             .slot = commands[i].slot,
                                             .time_us = commands[i].time_us,
                                             .command = commands[i].command,
                                             .awaited = commands[i].awaited};
    }
    sm_apply(node->sm, node->batch, n, index);
    for (uint32_t i = 0; i < n; i++)
        commands[i].result = node->batch[i].result;
    node->applied_index = index;
    if (node->log == NULL)
        return; /* still opening */
    node_arm_due(node);
    if (events_pending(&node->events))
        node_wake(node);
    if (node->executor != NULL)
        executor_kick(node->executor);
}

static void *app_pin(void *data, uint64_t index)
{
    struct node *node = data;
    assert(sm_applied_index(node->sm) == index);
    return sm_pin(node->sm);
}

static int app_dump(void *data, void *pin, const char *path, struct raftlog_snapshot *out)
{
    struct node *node = data;
    if (path == NULL) {
        sm_unpin(node->sm, pin);
        return ASSENT_OK;
    }
    return sm_dump(node->sm, pin, path, &out->size, &out->digest);
}

static int app_restore(void *data, const struct raftlog_snapshot *snapshot)
{
    struct node *node = data;
    char err[512] = "";
    pthread_mutex_lock(&node->sm_mutex);
    int status = sm_restore(node->sm, snapshot->path, err, sizeof err);
    pthread_mutex_unlock(&node->sm_mutex);
    log_write(&node->logger, status == ASSENT_OK ? LOG_INFO : LOG_ERROR, "snapshot_restored",
              "index=%llu size=%llu status=%s reason=%s", (unsigned long long)snapshot->index,
              (unsigned long long)snapshot->size, assent_error_name(status), err);
    return status;
}

/* Whoever follows events learns of the gap now, not with the next entry. */
static void app_restored(void *data, uint64_t index)
{
    struct node *node = data;
    assert(sm_applied_index(node->sm) == index);
    node_app_restored(node);
    node_arm_due(node);
    node_wake(node);
}

static void app_role(void *data, enum raftlog_role role, uint64_t term, uint64_t leader, bool ready)
{
    static const char *const names[] = {"follower", "candidate", "leader", "stopped"};
    struct node *node = data;
    node->role = role;
    node->term = term;
    node->leader = leader;
    node->ready = ready;
    node->role_changed = true;
    log_write(&node->logger, LOG_INFO, "role", "role=%s term=%llu leader=%llu ready=%d", names[role],
              (unsigned long long)term, (unsigned long long)leader, ready);
    node_wake(node);
}

static void app_post(void *data, uint64_t from, struct assent_bytes message)
{
    struct node *node = data;
    forward_receive(&node->forward, from, message);
}

static void app_event(void *data, int level, const char *event, const char *details)
{
    struct node *node = data;
    log_write(&node->logger, (enum log_level)level, event, "%s", details);
}

/* The replica cannot go on.  The state is rebuilt from log and snapshot at the next start. */
static void app_broken(void *data, const char *reason)
{
    struct node *node = data;
    log_write(&node->logger, LOG_ERROR, "broken", "reason=%s", reason);
    _exit(NODE_EXIT_BROKEN);
}

void node_app_state_broken(void *data, const char *sentence)
{
    struct node *node = data;
    struct statvfs fs;
    char reason[512];
    bool full = statvfs(node->config->data, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize < FULL_BYTES;
    snprintf(reason, sizeof reason, "%s%s", sentence,
             full ? "; the disk is full: make room, then start this node again" : "");
    app_broken(node, reason);
}

struct raftlog_app node_app(struct node *node)
{
    return (struct raftlog_app){.data = node,
                                .apply = app_apply,
                                .pin = app_pin,
                                .dump = app_dump,
                                .restore = app_restore,
                                .restored = app_restored,
                                .role = app_role,
                                .post = app_post,
                                .event = app_event,
                                .broken = app_broken,
                                .cluster = app_cluster};
}

/* ---- what the executor calls ---- */

/* A command with reports of the executor's on its way into the log. */
struct report {
    struct raftlog_propose propose;
    struct node *node;
    void *ticket;
};

static void on_report(struct raftlog_propose *propose, int status, struct assent_bytes bytes)
{
    struct report *report = propose->data;
    struct codec_arena arena;
    struct result result = {.code = status};
    codec_arena_init(&arena);
    if (status == ASSENT_OK && !result_decode(&arena, bytes, &result))
        result.code = ASSENT_MALFORMED;
    uint64_t counted = result.code == ASSENT_OK ? codec_as_uint(codec_get(result.data, "counted")) : 0;
    codec_arena_close(&arena);
    executor_reported(report->node->executor, report->ticket, result.code, counted);
    free(report);
}

static int report_propose(void *data, struct assent_bytes command, void *ticket)
{
    struct node *node = data;
    struct report *report = malloc(sizeof *report);
    if (report == NULL)
        return ASSENT_NOMEM;
    *report = (struct report){.propose.data = report, .node = node, .ticket = ticket};
    int status = raftlog_propose(node->log, &report->propose, command, on_report);
    if (status != ASSENT_OK)
        free(report);
    return status;
}

static void report_failed(void *data, const struct executor_failure *f)
{
    struct node *node = data;
    struct assent_bytes ns, xid = scoped_name(f->xid, &ns);
    log_write(&node->logger, LOG_WARNING, "branch_call_failed",
              "txn=%.*s%s%.*s branch=%.*s op=%s attempt=%u err=%s", (int)xid.size, (const char *)xid.base,
              ns.size > 0 ? " ns=" : "", (int)ns.size, (const char *)ns.base, (int)f->branch.size,
              (const char *)f->branch.base, f->op, f->attempt, f->error);
}

static void fault_simulated(void *data, const struct executor_fault *f)
{
    struct node *node = data;
    struct assent_bytes ns, xid = scoped_name(f->xid, &ns);
    log_write(&node->logger, LOG_WARNING, "fault_simulated",
              "txn=%.*s%s%.*s branch=%.*s op=%s fault=%s rule=%u", (int)xid.size, (const char *)xid.base,
              ns.size > 0 ? " ns=" : "", (int)ns.size, (const char *)ns.base, (int)f->branch.size,
              (const char *)f->branch.base, f->op, f->fault, f->rule + 1);
    if (f->crash)
        _Exit(NODE_EXIT_SIMULATED); /* as a power cut would */
}

struct executor_config node_app_executor(struct node *node)
{
    const struct config *c = node->config;
    return (struct executor_config){.loop = node->loop,
                                    .sm = node->sm,
                                    .in_flight_max = (uint32_t)c->branch_calls,
                                    .per_host_max = (uint32_t)c->branch_calls_per_host,
                                    .timeout_ms = (uint32_t)c->branch_timeout_ms,
                                    .breaker_failures = (uint32_t)c->branch_breaker_failures,
                                    .breaker_open_ms = (uint32_t)c->branch_breaker_open_ms,
                                    .ca_file = c->tls_ca_file,
                                    .verify_nobody = c->branch_insecure,
                                    .simulated = fault_simulated,
                                    .report_lazy_ms = (uint32_t)c->branch_report_lazy_ms,
                                    .data = node,
                                    .propose = report_propose,
                                    .failed = report_failed};
}
