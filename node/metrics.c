/* What the node counts about itself, and the page Prometheus reads. */
#include "metrics.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "executor.h"
#include "http.h"
#include "node.h"
#include "rpc.h"
#include "simulate.h"

/* Codes told apart; what is in no row is counted in the last one. */
static const int codes[METRICS_CODES] = {200, 307, 400, 403, 404, 405, 409, 410, 413,
                                         422, 429, 500, 501, 502, 503, 504, 507, 0};

void metrics_http(struct metrics *m, const struct route *route, int http_status, uint64_t took_us)
{
    uint32_t row = route != NULL ? (uint32_t)(route - routes) : METRICS_ROUTES_MAX - 1, code = 0;
    assert(row < METRICS_ROUTES_MAX);
    while (code < METRICS_CODES - 1 && codes[code] != http_status)
        code++;
    m->http[row][code]++;
    uint32_t kind = route == NULL ? 2 : route->kind == ROUTE_COMMAND ? 0 : route->kind == ROUTE_QUERY ? 1 : 2;
    struct raftlog_histogram *h = &m->http_latency[kind];
    h->count++;
    h->sum_us += took_us;
    uint32_t bucket = 0;
    while (bucket < RAFTLOG_BUCKETS - 1 && took_us > raftlog_bucket_us[bucket])
        bucket++;
    h->bucket[bucket]++;
}

/* ---- lines
 * ----------------------------------------------------------------------------------------------------------
 */

static void head(struct text *out, const char *name, const char *type, const char *help)
{
    text_printf(out, "# HELP assent_%s %s\n# TYPE assent_%s %s\n", name, help, name, type);
}

static void single(struct text *out, const char *name, const char *type, const char *help, uint64_t value)
{
    head(out, name, type, help);
    text_printf(out, "assent_%s %llu\n", name, (unsigned long long)value);
}

static void counter(struct text *out, const char *name, const char *help, uint64_t value)
{
    single(out, name, "counter", help, value);
}

static void gauge(struct text *out, const char *name, const char *help, uint64_t value)
{
    single(out, name, "gauge", help, value);
}

/* Label values: backslash, quote and newline are escaped. */
static void label(struct text *out, struct assent_bytes value)
{
    for (size_t i = 0; i < value.size; i++) {
        char c = (char)value.base[i];
        if (c == '\\' || c == '"')
            text_char(out, '\\');
        if (c == '\n')
            text_cstr(out, "\\n");
        else
            text_char(out, c);
    }
}

/* Buckets in struct raftlog_histogram count events by the smallest bound that holds them. */
void metrics_histogram(struct text *out, const char *name, const char *labels,
                       const struct raftlog_histogram *h)
{
    uint64_t below = 0;
    const char *comma = *labels ? "," : "";
    for (uint32_t i = 0; i + 1 < RAFTLOG_BUCKETS; i++) {
        below += h->bucket[i];
        text_printf(out, "assent_%s_bucket{%s%sle=\"%g\"} %llu\n", name, labels, comma,
                    raftlog_bucket_us[i] / 1e6, (unsigned long long)below);
    }
    text_printf(out, "assent_%s_bucket{%s%sle=\"+Inf\"} %llu\n", name, labels, comma,
                (unsigned long long)h->count);
    const char *open = *labels ? "{" : "", *close = *labels ? "}" : "";
    text_printf(out, "assent_%s_sum%s%s%s %.6f\n", name, open, labels, close, (double)h->sum_us / 1e6);
    text_printf(out, "assent_%s_count%s%s%s %llu\n", name, open, labels, close, (unsigned long long)h->count);
}

static void histogram(struct text *out, const char *name, const char *help, const struct raftlog_histogram *h)
{
    head(out, name, "histogram", help);
    metrics_histogram(out, name, "", h);
}

/* ---- parts
 * ----------------------------------------------------------------------------------------------------------
 */

static void put_raft(struct node *node, struct text *out)
{
    static const char *const roles[] = {"follower", "candidate", "leader", "stopped"};
    struct raftlog_status s;
    raftlog_status(node->log, &s);
    head(out, "raft_role", "gauge", "1 for the role this node has.");
    for (int i = RAFTLOG_FOLLOWER; i <= RAFTLOG_STOPPED; i++)
        text_printf(out, "assent_raft_role{role=\"%s\"} %d\n", roles[i], (int)s.role == i);
    gauge(out, "raft_ready", "1 when this node leads and serves.", s.ready);
    gauge(out, "raft_term", "Current term.", s.term);
    gauge(out, "raft_leader_id", "The leader this node knows, 0 when none.", s.leader);
    gauge(out, "raft_first_index", "Oldest entry in the log.", s.first_index);
    gauge(out, "raft_last_index", "Newest entry in the log.", s.last_index);
    gauge(out, "raft_stored_index", "Newest durable entry.", s.stored_index);
    gauge(out, "raft_commit_index", "Newest committed entry.", s.commit_index);
    gauge(out, "raft_applied_index", "Newest applied entry.", s.applied_index);
    gauge(out, "raft_snapshot_index", "Last entry of the newest snapshot.", s.snapshot_index);
    gauge(out, "raft_snapshot_bytes", "Size of the newest snapshot.", s.snapshot_size);
    gauge(out, "raft_installing", "1 while a snapshot is being installed.", s.installing);
    gauge(out, "raft_queued_bytes", "Commands waiting or uncommitted.", s.queued_bytes);
    head(out, "clock_leader_ahead_seconds", "gauge", "Newest accepted stamp minus this node's clock.");
    text_printf(out, "assent_clock_leader_ahead_seconds %.6f\n", (double)s.leader_ahead_us / 1e6);
    head(out, "raft_peer_lag_entries", "gauge", "Entries a node is behind the leader; on the leader only.");
    struct raftlog_peer p;
    for (uint32_t i = 0; s.role == RAFTLOG_LEADER && raftlog_member_at(node->log, i, &p); i++)
        text_printf(
            out, "assent_raft_peer_lag_entries{peer=\"%llu\"} %llu\n", (unsigned long long)p.id,
            (unsigned long long)(p.self || p.match_index > s.last_index ? 0 : s.last_index - p.match_index));
    head(out, "raft_peer_connected", "gauge", "1 when there is a connection to the node.");
    for (uint32_t i = 0; raftlog_member_at(node->log, i, &p); i++)
        text_printf(out, "assent_raft_peer_connected{peer=\"%llu\"} %d\n", (unsigned long long)p.id,
                    p.self || p.connected);
}

static void put_log(struct node *node, struct text *out)
{
    const struct raftlog_metrics *m = raftlog_metrics(node->log);
    histogram(out, "log_disk_commit_seconds", "Group commit: one transaction with its sync.",
              &m->disk_commit);
    histogram(out, "log_quorum_commit_seconds", "From proposal to applied, on the leader.",
              &m->quorum_commit);
    histogram(out, "log_read_round_seconds", "Probe rounds of linearizable reads.", &m->read_round);
    counter(out, "log_entries_appended_total", "Entries written.", m->entries_appended);
    counter(out, "log_bytes_appended_total", "Bytes written.", m->bytes_appended);
    counter(out, "log_disk_commits_total", "Disk transactions.", m->disk_commits);
    counter(out, "log_commands_proposed_total", "Commands proposed here.", m->commands_proposed);
    counter(out, "log_commands_applied_total", "Commands applied here.", m->commands_applied);
    counter(out, "log_reads_total", "Linearizable reads.", m->reads);
    counter(out, "log_read_rounds_total", "Rounds they shared.", m->read_rounds);
    counter(out, "raft_elections_started_total", "Elections this node started.", m->elections_started);
    counter(out, "raft_leader_changes_total", "Changes of the known leader.", m->leader_changes);
    counter(out, "raft_messages_sent_total", "Messages to peers.", m->messages_sent);
    counter(out, "raft_messages_received_total", "Messages from peers.", m->messages_received);
    counter(out, "raft_messages_refused_total", "Messages refused: foreign, old or broken.",
            m->messages_refused);
    counter(out, "raft_bytes_sent_total", "Bytes to peers.", m->bytes_sent);
    counter(out, "raft_bytes_received_total", "Bytes from peers.", m->bytes_received);
    counter(out, "raft_snapshots_taken_total", "Snapshots taken.", m->snapshots_taken);
    counter(out, "raft_snapshots_installed_total", "Snapshots installed.", m->snapshots_installed);
    counter(out, "raft_snapshot_chunks_sent_total", "Pieces of snapshots sent.", m->snapshot_chunks_sent);
    counter(out, "raft_entries_refused_skew_total", "Entries refused: stamped too far ahead.",
            m->entries_refused_skew);
    head(out, "raft_guard_total", "counter", "Times a guard around the library acted.");
    for (size_t i = 1; i < sizeof m->guard / sizeof m->guard[0]; i++)
        text_printf(out, "assent_raft_guard_total{guard=\"G%zu\"} %llu\n", i,
                    (unsigned long long)m->guard[i]);
}

static void put_state(struct node *node, struct text *out)
{
    if (!node_sm_enter(node))
        return; /* a snapshot is being restored */
    struct sm_metrics m;
    sm_metrics(node->sm, &m);
    counter(out, "apply_commands_total", "Commands the state machine ran.", m.commands);
    counter(out, "apply_refusals_total", "Commands it refused.", m.refusals);
    counter(out, "apply_replies_repeated_total", "Retries answered from the stored reply.",
            m.replies_repeated);
    counter(out, "apply_timers_fired_total", "Timers that fired.", m.timers_fired);
    gauge(out, "state_bytes", "Size of the state store.", m.store_bytes);
    gauge(out, "state_digest_low", "Low 32 bits of the running digest; equal on nodes at one applied index.",
          sm_digest(node->sm) & UINT32_MAX);
    head(out, "apply_command_total", "counter", "Commands by type.");
    for (uint32_t i = 0; i < sizeof m.command_count / sizeof m.command_count[0]; i++) {
        const struct schema *schema = m.command_count[i] > 0 ? command_schema(i) : NULL;
        if (schema != NULL)
            text_printf(out, "assent_apply_command_total{command=\"%s\"} %llu\n", schema->name,
                        (unsigned long long)m.command_count[i]);
    }
    node_sm_leave(node);
}

/* How many stand in a status, of all modes. */
static uint64_t in_status(const struct codec_node *counts, const char *status)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < codec_size(counts); i++) {
        struct assent_bytes name = codec_as_bytes(codec_get(codec_at(counts, i), "status"));
        if (name.size == strlen(status) && memcmp(name.base, status, name.size) == 0)
            n += codec_as_uint(codec_get(codec_at(counts, i), "count"));
    }
    return n;
}

/* What an operator should look at, of all namespaces; none of it has a label. */
static void put_attention(const struct codec_node *data, struct text *out)
{
    const struct codec_node *counts = codec_get(data, "counts");
    int64_t oldest_us = codec_as_int(codec_get(data, "oldestUnfinishedUs"));
    int64_t age_us = oldest_us != 0 ? node_now_us() - oldest_us : 0;
    gauge(out, "transactions_suspended", "Transactions that wait for an operator.",
          in_status(counts, "SUSPENDED"));
    gauge(out, "transactions_stopped", "Transactions an operator gave up, until they are removed.",
          in_status(counts, "STOPPED"));
    head(out, "transaction_oldest_unfinished_seconds", "gauge",
         "Age of the oldest transaction that has not ended; 0: all have.");
    text_printf(out, "assent_transaction_oldest_unfinished_seconds %.3f\n",
                age_us > 0 ? (double)age_us / 1e6 : 0);
    gauge(out, "freezes_held", "Frozen resources, once per transaction that holds one.",
          codec_as_uint(codec_get(data, "freezesHeld")));
    gauge(out, "freezes_waiting", "Waits for frozen resources.",
          codec_as_uint(codec_get(data, "freezesWaiting")));
}

/* The rows of QUERY_TXN_COUNTS: [{mode, status, count}, ...] under "counts". */
static void put_transactions(struct node *node, struct text *out)
{
    struct codec_writer w;
    struct codec_arena arena;
    struct result result;
    struct command_session none = {.kind = SESSION_NONE};
    codec_writer_init(&w);
    codec_arena_init(&arena);
    command_begin(&w, QUERY_TXN_COUNTS, &none, 1);
    codec_bool(&w, true); /* of all namespaces */
    if (node_sm_enter(node)) {
        if (result_decode(&arena, sm_query(node->sm, codec_written(&w)), &result) &&
            result.code == ASSENT_OK) {
            const struct codec_node *counts = codec_get(result.data, "counts");
            gauge(out, "branch_calls_pending", "Calls to branches that have been planned and not answered.",
                  codec_as_uint(codec_get(result.data, "callsPending")));
            head(out, "transactions", "gauge", "Transactions kept, by mode and status.");
            for (uint32_t i = 0; i < codec_size(counts); i++) {
                const struct codec_node *row = codec_at(counts, i);
                text_cstr(out, "assent_transactions{mode=\"");
                label(out, codec_as_bytes(codec_get(row, "mode")));
                text_cstr(out, "\",status=\"");
                label(out, codec_as_bytes(codec_get(row, "status")));
                text_printf(out, "\"} %llu\n", (unsigned long long)codec_as_uint(codec_get(row, "count")));
            }
            put_attention(result.data, out);
        }
        node_sm_leave(node);
    }
    codec_arena_close(&arena);
    codec_writer_close(&w);
}

static void put_executor(struct node *node, struct text *out)
{
    if (node->executor == NULL)
        return;
    struct executor_metrics m;
    executor_metrics(node->executor, &m);
    counter(out, "executor_calls_total", "Calls to branches that ended.", m.calls);
    counter(out, "executor_failures_total", "Of these, without success.", m.failures);
    counter(out, "executor_reports_retried_total", "Reports that had to be proposed again.",
            m.reports_retried);
    counter(out, "executor_report_commands_total", "Commands that carried reports of calls.",
            m.report_commands);
    gauge(out, "executor_in_flight", "Calls under way.", m.in_flight);
    gauge(out, "executor_queued", "Due calls that wait for a slot.", m.queued);
    gauge(out, "executor_reporting", "Ended calls whose report is not applied yet.", m.reporting);
    head(out, "executor_hosts", "gauge",
         "Hosts with due work in memory or failures to remember, by breaker.");
    text_printf(out,
                "assent_executor_hosts{breaker=\"closed\"} %u\nassent_executor_hosts{breaker=\"open\"} %u\n"
                "assent_executor_hosts{breaker=\"half-open\"} %u\n",
                m.hosts - m.hosts_open - m.hosts_half_open, m.hosts_open, m.hosts_half_open);
    counter(out, "executor_breaker_opened_total", "Times a host was left alone.", m.breaker_opened);
    head(out, "simulated_faults_total", "counter", "Faults that rules of --simulate injected.");
    for (int i = SIMULATE_NONE + 1; i < SIMULATE_FAULT_NR; i++)
        text_printf(out, "assent_simulated_faults_total{fault=\"%s\"} %llu\n",
                    simulate_fault_name((enum simulate_fault)i), (unsigned long long)m.simulated[i]);
    head(out, "executor_call_seconds", "histogram", "Calls to branches.");
    uint64_t below = 0;
    for (int i = 0; i < EXECUTOR_BUCKETS; i++) {
        below += m.latency[i];
        text_printf(out, "assent_executor_call_seconds_bucket{le=\"%g\"} %llu\n", (double)(1u << i) / 1e3,
                    (unsigned long long)below);
    }
    text_printf(
        out,
        "assent_executor_call_seconds_bucket{le=\"+Inf\"} %llu\nassent_executor_call_seconds_sum %.6f\n"
        "assent_executor_call_seconds_count %llu\n",
        (unsigned long long)m.calls, (double)m.latency_sum_us / 1e6, (unsigned long long)m.calls);
}

static void put_http(struct node *node, struct text *out)
{
    struct http_metrics h;
    http_metrics(node->http, &h);
    gauge(out, "http_connections", "Open HTTP connections.", h.connections);
    gauge(out, "http_in_flight", "HTTP requests under way.", h.exchanges);
    counter(out, "http_accepted_total", "HTTP connections accepted.", h.accepted);
    counter(out, "http_refused_total", "HTTP connections refused at the limit.", h.refused);
    counter(out, "http_slow_closed_total", "HTTP connections closed because they were too slow.",
            h.slow_closed);
    gauge(out, "http_held", "Requests that wait for a leader.", node->requests.held);
    counter(out, "alerts_sent_total", "Alerts the receiver took.", node->alerts.sent);
    counter(out, "alerts_failed_total", "Alerts given up after the last try.", node->alerts.failed);
    counter(out, "alerts_dropped_total", "Alerts that found the queue full.", node->alerts.dropped);
    gauge(out, "alerts_queued", "Alerts that wait or are under way.", node->alerts.queued);
    gauge(out, "event_streams", "Open streams of events.", node->streams.open);
    counter(out, "event_streams_refused_total", "Streams of events refused at the limit.",
            node->streams.refused);
    counter(out, "event_streams_slow_total", "Streams of events that were overtaken by the ring.",
            node->streams.overtaken);
    counter(out, "event_gaps_total", "Times the state was replaced under the ring of events.",
            node->events.gaps);
    head(out, "http_requests_total", "counter", "HTTP requests by route and code.");
    for (uint32_t r = 0; r < METRICS_ROUTES_MAX; r++) {
        for (uint32_t c = 0; c < METRICS_CODES; c++) {
            uint64_t n = node->metrics.http[r][c];
            if (n > 0)
                text_printf(
                    out, "assent_http_requests_total{method=\"%s\",route=\"%s%s\",code=\"%d\"} %llu\n",
                    r < routes_n ? routes[r].method : "", r < routes_n && !routes[r].root ? ROUTES_BASE : "",
                    r < routes_n ? routes[r].pattern : "none", codes[c], (unsigned long long)n);
        }
    }
    static const char *const kinds[] = {"kind=\"command\"", "kind=\"query\"", "kind=\"other\""};
    head(out, "http_request_seconds", "histogram", "From the complete request to the complete answer.");
    for (int i = 0; i < 3; i++)
        metrics_histogram(out, "http_request_seconds", kinds[i], &node->metrics.http_latency[i]);
}

static void put_rpc(struct node *node, struct text *out)
{
    struct rpc_metrics m;
    rpc_metrics(node->rpc, &m);
    gauge(out, "rpc_connections", "Open native connections.", m.connections);
    gauge(out, "rpc_in_flight", "Native requests under way.", m.in_flight);
    counter(out, "rpc_accepted_total", "Native connections accepted.", m.accepted);
    counter(out, "rpc_refused_total", "Native connections refused at the limit.", m.refused);
    counter(out, "rpc_malformed_total", "Native connections closed because of what they sent.", m.malformed);
    counter(out, "rpc_slow_closed_total", "Native connections closed because they were too slow.",
            m.slow_closed);
    counter(out, "rpc_commands_total", "Native commands.", m.commands);
    counter(out, "rpc_queries_total", "Native queries.", m.queries);
    counter(out, "rpc_tso_total", "Native requests for timestamps.", m.tso);
    counter(out, "rpc_failed_total", "Native requests answered with an operating error.", m.failed);
    counter(out, "rpc_bytes_received_total", "Bytes from native clients.", m.bytes_in);
    counter(out, "rpc_bytes_sent_total", "Bytes to native clients.", m.bytes_out);
}

static void put_process(struct node *node, struct text *out)
{
    unsigned long long pages = 0, resident = 0;
    FILE *in = fopen("/proc/self/statm", "r");
    if (in != NULL) {
        if (fscanf(in, "%llu %llu", &pages, &resident) != 2)
            resident = 0;
        fclose(in);
    }
    gauge(out, "process_resident_bytes", "Resident memory.", resident * (uint64_t)sysconf(_SC_PAGESIZE));
    gauge(out, "process_uptime_seconds", "Time since start.", (uv_now(node->loop) - node->started_ms) / 1000);
    head(out, "build_info", "gauge", "What runs here.");
    text_printf(out, "assent_build_info{version=\"%s\"} 1\n", NODE_VERSION);
    counter(out, "tso_granted_total", "Timestamps granted.", node->tso.granted);
    counter(out, "tso_batches_total", "Confirmed batches of timestamp requests.", node->tso.batches);
    counter(out, "tso_windows_total", "Windows committed.", node->tso.windows);
    counter(out, "forward_sent_total", "Requests forwarded to the leader.", node->forward.sent);
    counter(out, "forward_served_total", "Requests of other nodes performed here.", node->forward.served);
    counter(out, "forward_malformed_total", "Malformed messages from other nodes.", node->forward.malformed);
}

void metrics_page(struct node *node, struct text *out)
{
    put_process(node, out);
    put_http(node, out);
    put_rpc(node, out);
    put_state(node, out);
    put_transactions(node, out);
    put_executor(node, out);
    dtm_metrics_put(&node->dtm, out);
    if (node->log != NULL) {
        put_raft(node, out);
        put_log(node, out);
    }
}
