/* The process: one loop thread that owns the log, the state, the doors and the time.
 *
 * What callbacks of raftlog, sockets and timers find is queued where it belongs; the end of each turn of the
 * loop (on_turn) then does it for all at once: one resume of HTTP, one confirmed read, one message per peer,
 * one write per native connection. */
#include "node.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "address.h"
#include "executor.h"
#include "http.h"
#include "node_app.h"
#include "rpc.h"
#include "signature.h"
#include "simulate.h"

#define MIB           (1024ull * 1024)
#define GIB           (1024ull * MIB)
#define TICK_RETRY_MS 100
#define STOP_POLL_MS  10
#define BIT(n)        (1u << (n))

static const uint8_t node_next[NODE_STATE_NR] = {
    [NODE_RUNNING] = BIT(NODE_HANDING_OVER),
    [NODE_HANDING_OVER] = BIT(NODE_DRAINING),
    [NODE_DRAINING] = BIT(NODE_CLOSING),
    [NODE_CLOSING] = BIT(NODE_CLOSED),
};

static void move(struct node *node, enum node_state to)
{
    assert(node_next[node->state] & BIT(to));
    node->state = to;
}

int64_t node_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

bool node_sm_enter(struct node *node)
{
    return pthread_mutex_trylock(&node->sm_mutex) == 0;
}

void node_sm_leave(struct node *node)
{
    pthread_mutex_unlock(&node->sm_mutex);
}

/* ---- adverts ---- */

struct assent_bytes node_advert_get(struct assent_bytes advert, const char *key)
{
    size_t key_size = strlen(key);
    const uint8_t *at = advert.base, *end = advert.base + advert.size;
    while (at < end) {
        const uint8_t *stop = memchr(at, '\n', (size_t)(end - at));
        if (stop == NULL)
            stop = end;
        if ((size_t)(stop - at) > key_size && memcmp(at, key, key_size) == 0 && at[key_size] == '=')
            return (struct assent_bytes){at + key_size + 1, (size_t)(stop - at) - key_size - 1};
        at = stop + 1;
    }
    return (struct assent_bytes){NULL, 0};
}

static void make_advert(struct node *node)
{
    const struct config *c = node->config;
    char http[256], rpc[256];
    address_advertise(c->http_advertise, c->host, http_address(node->http), http, sizeof http);
    address_advertise(c->rpc_advertise, c->host, rpc_address(node->rpc), rpc, sizeof rpc);
    snprintf(node->advert, sizeof node->advert, "name=%s\nhttp=%s\nrpc=%s\nversion=%s\n", c->name, http, rpc,
             NODE_VERSION);
}

bool node_leader_address(const struct node *node, const char *key, char *out, size_t out_size)
{
    struct assent_bytes advert = {(const uint8_t *)node->advert, strlen(node->advert)}, value;
    struct raftlog_peer peer;
    if (node->leader == 0 || node->log == NULL)
        return false;
    if (node->leader != node->config->id) {
        if (!raftlog_peer(node->log, node->leader, &peer))
            return false;
        advert = peer.advert;
    }
    value = node_advert_get(advert, key);
    if (value.size == 0 || value.size >= out_size)
        return false;
    memcpy(out, value.base, value.size);
    out[value.size] = 0;
    return true;
}

/* ---- the end of a turn ---- */

static void on_awake(uv_idle_t *idle)
{
    (void)idle; /* it only keeps the loop from sleeping */
}

void node_wake(struct node *node)
{
    node->awake_wanted = true;
    if (!uv_is_active((uv_handle_t *)&node->awake) && !uv_is_closing((uv_handle_t *)&node->awake))
        uv_idle_start(&node->awake, on_awake);
}

/* Everybody who works only for or with a leader learns of the change; outside raftlog's callback, so that
 * they may call it. */
static void tell_role(struct node *node)
{
    node->role_changed = false;
    tso_service_role(&node->tso);
    if (node->leader != 0 && node->term != node->settled_term) {
        node->settled_term = node->term;
        forward_abandon(&node->forward, 0);
    }
    if (node->executor != NULL && node->state == NODE_RUNNING) {
        if (node->role == RAFTLOG_LEADER && node->ready)
            executor_start(node->executor);
        else
            executor_stop(node->executor);
    }
    requests_wake(&node->requests);
}

static void on_turn(uv_check_t *check)
{
    struct node *node = check->data;
    if (!node->awake_wanted)
        return;
    node->awake_wanted = false;
    if (node->role_changed) {
        tell_role(node);
        node_arm_due(node);
    }
    if (node->http != NULL)
        http_turn(node->http);
    tso_service_turn(&node->tso);
    events_turn(&node->events);
    streams_turn(&node->streams);
    read_gate_turn(&node->reads);
    if (node->log != NULL)
        forward_turn(&node->forward);
    if (node->rpc != NULL)
        rpc_turn(node->rpc);
    if (!node->awake_wanted)
        uv_idle_stop(&node->awake);
}

/* ---- time: what is due without anybody asking ---- */

static void on_tick(struct raftlog_propose *req, int status, struct assent_bytes result)
{
    (void)status; /* what is still due is armed again */
    (void)result;
    struct node *node = req->data;
    node->tick_pending = false;
    node_arm_due(node);
}

static void propose_tick(struct node *node)
{
    struct codec_writer w;
    struct command_session none = {.kind = SESSION_NONE};
    codec_writer_init(&w);
    command_begin(&w, COMMAND_TICK, &none, 0);
    node->tick.data = node;
    node->tick_pending = raftlog_propose(node->log, &node->tick, codec_written(&w), on_tick) == ASSENT_OK;
    codec_writer_close(&w);
}

static void on_due(uv_timer_t *timer)
{
    struct node *node = timer->data;
    if (node->role != RAFTLOG_LEADER || !node->ready || node->state > NODE_DRAINING || node->tick_pending)
        return;
    int64_t due_us = sm_next_due_us(node->sm);
    if (due_us <= node_now_us())
        propose_tick(node);
    node->due_us = INT64_MAX;
    if (due_us <= node_now_us() && !node->tick_pending)
        uv_timer_start(&node->due_timer, on_due, TICK_RETRY_MS, 0);
    else
        node_arm_due(node);
}

void node_arm_due(struct node *node)
{
    if (node->role != RAFTLOG_LEADER || !node->ready || node->state > NODE_DRAINING || node->tick_pending) {
        node->due_us = INT64_MAX;
        return;
    }
    int64_t due_us = sm_next_due_us(node->sm), wait_us = due_us - node_now_us();
    if (due_us == node->due_us)
        return;
    node->due_us = due_us;
    if (due_us == INT64_MAX)
        uv_timer_stop(&node->due_timer);
    else
        uv_timer_start(&node->due_timer, on_due, wait_us > 0 ? (uint64_t)wait_us / 1000 + 1 : 0, 0);
}

/* ---- stopping ---- */

static void stop_poll(struct node *node);

static void on_stop_timer(uv_timer_t *timer)
{
    stop_poll(timer->data);
}

static void on_transfer(struct raftlog_member *req, int status, const char *detail)
{
    struct node *node = req->data;
    node->transfer_pending = false;
    log_write(&node->logger, LOG_INFO, "leadership_handed_over", "status=%s detail=%s",
              assent_error_name(status), detail != NULL ? detail : "");
}

void node_stop(struct node *node)
{
    if (node->state != NODE_RUNNING)
        return;
    log_write(&node->logger, LOG_INFO, "stopping", "%s", "");
    move(node, NODE_HANDING_OVER);
    http_quiesce(node->http);
    rpc_quiesce(node->rpc);
    streams_shutdown(&node->streams);
    node->stop_started_ms = uv_now(node->loop);
    if (node->executor != NULL)
        executor_stop(node->executor);
    struct raftlog_status status;
    raftlog_status(node->log, &status);
    if (status.role == RAFTLOG_LEADER && status.servers_n > 1) {
        node->transfer.data = node;
        node->transfer_pending =
            raftlog_member(node->log, &node->transfer, RAFTLOG_TRANSFER, 0, NULL, on_transfer) == ASSENT_OK;
    }
    uv_timer_start(&node->stop_timer, on_stop_timer, STOP_POLL_MS, STOP_POLL_MS);
}

static void on_log_closed(void *data)
{
    struct node *node = data;
    node->log = NULL;
    read_gate_turn(&node->reads); /* who waits is told */
    forward_abandon(&node->forward, 0);
    tso_service_fail(&node->tso, ASSENT_SHUTDOWN);
    read_gate_turn(&node->reads);
    requests_shutdown(&node->requests);
    http_close(node->http);
    node->http = NULL;
    streams_close(&node->streams);
    rpc_close(node->rpc);
    node->rpc = NULL;
    requests_close(&node->requests);
    tso_service_close(&node->tso);
    uv_close((uv_handle_t *)&node->turn, NULL);
    uv_close((uv_handle_t *)&node->awake, NULL);
    uv_close((uv_handle_t *)&node->due_timer, NULL);
    uv_close((uv_handle_t *)&node->stop_timer, NULL);
    move(node, NODE_CLOSED);
}

static void close_log(void *data)
{
    struct node *node = data;
    node->executor = NULL;
    raftlog_close(node->log, on_log_closed, node);
}

/* One step further when its time has come. */
static void stop_poll(struct node *node)
{
    uint64_t waited_ms = uv_now(node->loop) - node->stop_started_ms;
    if (node->state == NODE_HANDING_OVER &&
        (!node->transfer_pending || waited_ms >= 3 * node->config->election_ms)) {
        move(node, NODE_DRAINING);
        requests_wake(&node->requests); /* held ones are refused now */
    }
    bool idle = http_busy(node->http) == 0 && rpc_busy(node->rpc) == 0 && node->forward.jobs == 0;
    if (node->state == NODE_DRAINING && (idle || waited_ms >= node->config->drain_ms)) {
        move(node, NODE_CLOSING);
        uv_timer_stop(&node->stop_timer);
        uv_timer_stop(&node->due_timer);
        alerts_close(&node->alerts);
        if (node->executor != NULL)
            executor_close(node->executor, close_log, node);
        else
            close_log(node);
    }
}

void node_close(struct node *node)
{
    assert(node->state == NODE_CLOSED);
    sm_close(node->sm, true);
    dtm_close(&node->dtm);
    events_close(&node->events);
    forward_close(&node->forward);
    read_gate_close(&node->reads);
    pthread_mutex_destroy(&node->sm_mutex);
    free(node->batch);
    close(node->lock_fd);
    log_write(&node->logger, LOG_INFO, "stopped", "%s", "");
}

/* ---- opening ---- */

/* One process per data directory, before anything in it is touched: a state that was not closed cleanly is
 * thrown away at open. */
static int lock_directory(struct node *node, char *err, size_t err_size)
{
    char path[1024];
    const char *dir = node->config->data;
    if (mkdir(dir, 0750) != 0 && errno != EEXIST) {
        snprintf(err, err_size, "cannot make the data directory %.300s: %s", dir, strerror(errno));
        return ASSENT_IO;
    }
    snprintf(path, sizeof path, "%s/assentd.lock", dir);
    node->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (node->lock_fd < 0) {
        snprintf(err, err_size, "cannot write in the data directory %.300s: %s", dir, strerror(errno));
        return ASSENT_IO;
    }
    if (flock(node->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        snprintf(err, err_size, "the data directory %.300s is in use by another assentd", dir);
        return ASSENT_BUSY;
    }
    return ASSENT_OK;
}

static int open_state(struct node *node, char *err, size_t err_size)
{
    char dir[1024];
    sm_on_broken(node_app_state_broken, node);
    snprintf(dir, sizeof dir, "%s/state", node->config->data);
    if (mkdir(dir, 0750) != 0 && errno != EEXIST) {
        snprintf(err, err_size, "cannot make %.300s: %s", dir, strerror(errno));
        return ASSENT_IO;
    }
    struct sm_config config = {.dir = dir, .map_bytes = node->config->state_map_gb * GIB};
    int status = sm_open(&node->sm, &config, err, err_size);
    if (status == ASSENT_OK) {
        node->applied_index = sm_applied_index(node->sm);
        events_init(&node->events, node->config->events_kept, node->applied_index);
        sm_on_event(node->sm, events_record, &node->events);
        dtm_init(&node->dtm, node);
    }
    return status;
}

static int open_log(struct node *node, char *err, size_t err_size)
{
    const struct config *c = node->config;
    struct raftlog_config config;
    raftlog_config_init(&config);
    config.id = c->id;
    config.dir = c->data;
    config.listen = c->raft_listen;
    config.cluster_name = c->cluster_name;
    config.servers = c->servers;
    config.servers_n = c->servers_n;
    config.join = c->join;
    config.heartbeat_ms = (uint32_t)c->heartbeat_ms;
    config.election_ms = (uint32_t)c->election_ms;
    config.inflight_entries = (uint32_t)c->inflight_entries;
    config.snapshot_log_bytes = c->snapshot_log_mb * MIB;
    config.snapshot_log_entries = c->snapshot_log_entries;
    config.snapshot_trailing = (uint32_t)c->snapshot_trailing;
    config.snapshot_chunk_bytes = c->snapshot_chunk_kb * 1024;
    config.disk_map_bytes = c->log_map_gb * GIB;
    config.disk_presize_bytes = c->log_presize_mb * MIB;
    config.max_skew_us = (int64_t)c->max_skew_ms * 1000;
    config.queue_bytes_max = c->queue_mb * MIB;
    config.min_free_bytes = c->min_free_mb * MIB;
    config.applied = node->applied_index;
    config.advert = (struct assent_bytes){(const uint8_t *)node->advert, strlen(node->advert)};
    struct raftlog_app app = node_app(node);
    int status = raftlog_open(&node->log, node->loop, &config, &app, err, err_size);
    if (status != ASSENT_OK)
        node->log = NULL;
    else
        node_app_restored(node);
    return status;
}

static int open_executor(struct node *node, char *err, size_t err_size)
{
    const struct config *c = node->config;
    struct executor_config config = node_app_executor(node);
    if (!signature_open(&config.keys, c->branch_secret.item, c->branch_secret.n, err, err_size))
        return ASSENT_INVALID;
    if (!simulate_open(&config.simulate, c->simulate.item, c->simulate.n, c->simulate_seed, err, err_size)) {
        signature_close(config.keys);
        return ASSENT_INVALID;
    }
    if (c->simulate.n > 0)
        log_write(&node->logger, LOG_WARNING, "faults_will_be_simulated", "rules=%u seed=%llu", c->simulate.n,
                  (unsigned long long)c->simulate_seed);
    if (c->branch_insecure)
        log_write(&node->logger, LOG_WARNING, "branch_certificates_not_verified", "%s", "");
    return executor_open(&node->executor, &config);
}

static void init(struct node *node, uv_loop_t *loop, const struct config *config)
{
    memset(node, 0, sizeof *node);
    node->loop = loop;
    node->config = config;
    node->lock_fd = -1;
    node->due_us = INT64_MAX;
    node->started_ms = uv_now(loop);
    node->logger = (struct log){.fd = STDERR_FILENO,
                                .json = strcmp(config->log_format, "json") == 0,
                                .level = (enum log_level)log_level_by_name(config->log_level),
                                .node = config->id};
    pthread_mutex_init(&node->sm_mutex, NULL);
    uv_check_init(loop, &node->turn);
    uv_idle_init(loop, &node->awake);
    uv_timer_init(loop, &node->due_timer);
    uv_timer_init(loop, &node->stop_timer);
    node->turn.data = node->awake.data = node->due_timer.data = node->stop_timer.data = node;
    read_gate_init(&node->reads, node);
    requests_init(&node->requests, node);
    streams_init(&node->streams, node);
    forward_init(&node->forward, node);
    tso_service_init(&node->tso, node);
}

static void forget(void *data)
{
    (void)data;
}

/* Undo a half-made node: everything is told to close, then the loop runs until it has. */
static void unwind(struct node *node)
{
    alerts_close(&node->alerts);
    if (node->executor != NULL)
        executor_close(node->executor, forget, NULL);
    if (node->log != NULL)
        raftlog_close(node->log, forget, NULL);
    if (node->http != NULL)
        http_close(node->http);
    if (node->rpc != NULL)
        rpc_close(node->rpc);
    streams_close(&node->streams);
    requests_close(&node->requests);
    tso_service_close(&node->tso);
    uv_close((uv_handle_t *)&node->turn, NULL);
    uv_close((uv_handle_t *)&node->awake, NULL);
    uv_close((uv_handle_t *)&node->due_timer, NULL);
    uv_close((uv_handle_t *)&node->stop_timer, NULL);
    uv_run(node->loop, UV_RUN_DEFAULT);
    forward_close(&node->forward);
    read_gate_close(&node->reads);
    if (node->sm != NULL) {
        sm_close(node->sm, true);
        dtm_close(&node->dtm);
        events_close(&node->events);
    }
    if (node->lock_fd >= 0)
        close(node->lock_fd);
    pthread_mutex_destroy(&node->sm_mutex);
}

int node_open(struct node *node, uv_loop_t *loop, const struct config *config, char *err, size_t err_size)
{
    init(node, loop, config);
    err[0] = 0;
    int status = lock_directory(node, err, err_size);
    if (status == ASSENT_OK)
        status = http_open(&node->http, node, err, err_size);
    if (status == ASSENT_OK)
        status = rpc_open(&node->rpc, node, err, err_size);
    if (status == ASSENT_OK)
        status = open_state(node, err, err_size);
    if (status == ASSENT_OK) {
        make_advert(node);
        status = open_executor(node, err, err_size);
    }
    if (status == ASSENT_OK)
        status = alerts_open(&node->alerts, node);
    if (status == ASSENT_OK)
        status = open_log(node, err, err_size);
    if (status == ASSENT_OK)
        status = http_serve(node->http, err, err_size);
    if (status != ASSENT_OK) {
        if (err[0] == 0)
            snprintf(err, err_size, "%s", assent_error_sentence(status));
        unwind(node);
        return status;
    }
    rpc_serve(node->rpc);
    uv_check_start(&node->turn, on_turn);
    log_write(&node->logger, LOG_INFO, "started", "version=%s name=%s data=%s raft=%s applied=%llu",
              NODE_VERSION, config->name, config->data, config->raft_listen,
              (unsigned long long)node->applied_index);
    node_wake(node);
    return ASSENT_OK;
}
