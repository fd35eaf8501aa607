/* What one node is told at its start: one table of options drives flags, environment, file, help and manual.
 *
 * Precedence: flag, then ASSENT_<NAME> in the environment, then the YAML file of --config, then (with
 * --dtm-environment) what DTM calls it in the environment, then the default.
 * An unknown flag or file key is an error with a sentence. */
#ifndef NODE_CONFIG_H
#define NODE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "raftlog.h"

#define CONFIG_LISTENERS_MAX 8
#define CONFIG_LIST_MAX      64 /* values of a list that is not one of listeners */
#define CONFIG_ERROR_BYTES   512

struct config_list {
    char *item[CONFIG_LIST_MAX];
    uint32_t n;
};

/* Built once in main.c, then const.  Strings are owned by the struct; NULL: not given. */
struct config {
    char *config, *name, *data, *cluster, *cluster_name, *raft_listen;
    struct config_list http, rpc;
    char *host, *http_advertise, *rpc_advertise, *log_format, *log_level;
    bool insecure, join;
    struct config_list branch_secret, simulate;
    char *tls_ca_file;
    bool branch_insecure, allow_simulated_faults;
    uint64_t branch_calls, branch_calls_per_host, branch_timeout_ms;
    uint64_t branch_breaker_failures, branch_breaker_open_ms, simulate_seed;
    uint64_t id;
    uint64_t heartbeat_ms, election_ms, inflight_entries, max_skew_ms;
    uint64_t snapshot_log_mb, snapshot_log_entries, snapshot_trailing, snapshot_chunk_kb;
    uint64_t log_map_gb, log_presize_mb, state_map_gb, queue_mb, min_free_mb;
    uint64_t hold_ms, request_timeout_ms, drain_ms;
    uint64_t branch_report_lazy_ms;
    char *alert_url;
    uint64_t alert_after;
    uint64_t events_kept, event_streams, event_heartbeat_ms;
    struct config_list dtm_http;
    char *dtm_namespace;
    bool dtm_environment;
    uint64_t dtm_retry_interval_s, dtm_retry_cap_s, dtm_timeout_to_fail_s, dtm_request_timeout_s;
    uint64_t http_connections, http_idle_s, http_read_s, rpc_connections, rpc_inflight;
    struct raftlog_server servers[ASSENT_NODES_MAX]; /* --cluster taken apart */
    uint32_t servers_n;
};

enum config_answer {
    CONFIG_RUN,     /* `config` is complete */
    CONFIG_HELP,    /* --help was asked for */
    CONFIG_VERSION, /* --version was asked for */
    CONFIG_ERROR    /* `err` says what is wrong and what to do */
};

/* Read everything.  `env` is environ's shape.  After any answer config_close() frees what is there. */
enum config_answer config_load(struct config *config, int argc, char **argv, char **env, char *err,
                               size_t err_size);
void config_close(struct config *config);

/* The text of --help, and the table of docs/configuration.md. */
void config_help(FILE *out);
void config_manual(FILE *out);

#endif /* NODE_CONFIG_H */
