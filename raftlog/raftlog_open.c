/* Opening: defaults, whose directory it is, bootstrap, the application brought up to date, everything
 * started. */
#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "raftlog_private.h"

void raftlog_config_init(struct raftlog_config *config)
{
    *config = (struct raftlog_config){.heartbeat_ms = 50,
                                      .election_ms = 500,
                                      .inflight_entries = 512,
                                      .snapshot_log_bytes = 256ull << 20,
                                      .snapshot_log_entries = 500000,
                                      .snapshot_trailing = 20000,
                                      .snapshot_chunk_bytes = 1 << 20,
                                      .disk_map_bytes = 16ull << 30,
                                      .disk_presize_bytes = 64ull << 20,
                                      .max_skew_us = 500000,
                                      .queue_bytes_max = 64ull << 20,
                                      .min_free_bytes = 64ull << 20};
}

/* ---- identity ---- */

static uint64_t fnv1a(uint64_t hash, const void *bytes, size_t size)
{
    const uint8_t *p = bytes;
    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ p[i]) * 0x100000001b3;
    }
    return hash;
}

static int by_id(const void *a, const void *b)
{
    const struct raftlog_server *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

/* The cluster's number: FNV-1a (64 bits) over its name, a zero byte, and of each initial server by rising id:
 * id as 8 bytes little-endian, address, a zero byte, 1 for a voter.  Never 0, which means "not known yet". */
static uint64_t cluster_digest(const char *name, const struct raftlog_server *sorted, uint32_t n)
{
    uint64_t hash = fnv1a(0xcbf29ce484222325, name, strlen(name) + 1);
    for (uint32_t i = 0; i < n; i++) {
        uint8_t id[8], voter = sorted[i].voter;
        for (unsigned b = 0; b < 8; b++) {
            id[b] = (uint8_t)(sorted[i].id >> (8 * b));
        }
        hash = fnv1a(hash, id, sizeof id);
        hash = fnv1a(hash, sorted[i].address, strlen(sorted[i].address) + 1);
        hash = fnv1a(hash, &voter, 1);
    }
    return hash != 0 ? hash : 1;
}

static int complain(char *err, size_t err_size, int rv, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static int complain(char *err, size_t err_size, int rv, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(err, err_size, format, args);
    va_end(args);
    return rv;
}

static int check_config(const struct raftlog_config *c, char *err, size_t err_size)
{
    if (c->id == 0) {
        return complain(err, err_size, ASSENT_INVALID, "the node id must not be 0");
    }
    if (c->dir == NULL || c->dir[0] == '\0' || c->listen == NULL) {
        return complain(err, err_size, ASSENT_INVALID, "a data directory and a listen address are needed");
    }
    if (c->heartbeat_ms < 20 || c->heartbeat_ms > 1000 || c->election_ms < 10 * c->heartbeat_ms) {
        return complain(err, err_size, ASSENT_INVALID,
                        "the heartbeat must be 20..1000 ms and the election timeout at least ten heartbeats");
    }
    if (c->inflight_entries == 0 || c->inflight_entries > MESSAGE_ENTRIES_MAX) {
        return complain(err, err_size, ASSENT_INVALID, "entries in flight must be 1..%d",
                        MESSAGE_ENTRIES_MAX);
    }
    if (c->snapshot_chunk_bytes == 0 || c->snapshot_chunk_bytes > MESSAGE_CHUNK_BYTES_MAX) {
        return complain(err, err_size, ASSENT_INVALID, "snapshot chunks must be 1..%d bytes",
                        MESSAGE_CHUNK_BYTES_MAX);
    }
    if (c->advert.size > MESSAGE_ADVERT_BYTES_MAX) {
        return complain(err, err_size, ASSENT_INVALID, "the advert is longer than %d bytes",
                        MESSAGE_ADVERT_BYTES_MAX);
    }
    if (c->servers_n > ASSENT_NODES_MAX) {
        return complain(err, err_size, ASSENT_INVALID, "more than %d servers", ASSENT_NODES_MAX);
    }
    return 0;
}

/* The servers of the configuration as libraft wants them, by rising id: bit-identical on every node. */
static int encode_servers(const struct raftlog_server *sorted, uint32_t n, struct raft_buffer *out)
{
    struct raft_configuration c;
    raft_configuration_init(&c);
    int rv = 0;
    for (uint32_t i = 0; i < n && rv == 0; i++) {
        rv = raft_configuration_add(&c, sorted[i].id, sorted[i].address,
                                    sorted[i].voter ? RAFT_VOTER : RAFT_STANDBY);
    }
    if (rv == 0) {
        rv = raft_configuration_encode(&c, out);
    }
    raft_configuration_close(&c);
    return rv;
}

static int bootstrap(struct raftlog *log, const struct raftlog_server *sorted, uint32_t n,
                     uint64_t cluster_id, char *err, size_t err_size)
{
    struct raft_buffer encoded;
    bool member = false;
    for (uint32_t i = 0; i < n; i++) {
        member = member || sorted[i].id == log->config.id;
    }
    if (!member) {
        return complain(err, err_size, ASSENT_INVALID,
                        "node %" PRIu64
                        " is not among the initial servers; to add it to a running cluster start it "
                        "with join",
                        log->config.id);
    }
    if (encode_servers(sorted, n, &encoded) != 0) {
        return complain(err, err_size, ASSENT_INVALID, "the initial servers repeat an id or an address");
    }
    struct assent_bytes configuration = {encoded.base, encoded.len};
    int rv = ASSENT_INVALID;
    if (!configuration_bytes_valid(configuration)) {
        complain(err, err_size, rv, "the initial servers need at least one voter and addresses as host:port");
    } else {
        rv = disk_bootstrap(log->disk, cluster_id, log->config.id, 1, &configuration, err, err_size);
    }
    raft_free(encoded.base);
    return rv;
}

/* Make the directory ours, or see that it is. */
static int identify(struct raftlog *log, char *err, size_t err_size)
{
    const struct raftlog_config *c = &log->config;
    const struct disk_state *state = disk_state(log->disk);
    struct raftlog_server sorted[ASSENT_NODES_MAX];
    if (c->servers_n > 0) {
        memcpy(sorted, c->servers, c->servers_n * sizeof sorted[0]);
        qsort(sorted, c->servers_n, sizeof sorted[0], by_id);
    }
    const uint64_t cluster_id = cluster_digest(log->cluster_name, sorted, c->servers_n);
    if (state->pristine && c->join) {
        return disk_bootstrap(log->disk, 0, c->id, 0, NULL, err, err_size);
    }
    if (state->pristine) {
        return bootstrap(log, sorted, c->servers_n, cluster_id, err, err_size);
    }
    if (state->node_id != c->id) {
        return complain(err, err_size, ASSENT_FOREIGN,
                        "%s belongs to node %" PRIu64 ", not to node %" PRIu64
                        ": give each node its own directory",
                        log->dir, state->node_id, c->id);
    }
    if (!c->join && c->servers_n > 0 && state->cluster_id != 0 && state->incarnation == 1 &&
        state->cluster_id != cluster_id) {
        return complain(
            err, err_size, ASSENT_FOREIGN,
            "%s belongs to cluster %016" PRIx64 ", but name and initial servers given now make %016" PRIx64
            ": give the list the cluster was started with (later changes are kept in the log), or use "
            "another directory",
            log->dir, state->cluster_id, cluster_id);
    }
    return 0;
}

/* Our address as peers know it: from the list, else what we listen on. */
static const char *own_address(const struct raftlog_config *c)
{
    for (uint32_t i = 0; i < c->servers_n; i++) {
        if (c->servers[i].id == c->id) {
            return c->servers[i].address;
        }
    }
    return c->listen;
}

/* ---- bringing the application up to date ---- */

static int restore_newest(struct raftlog *log, char *err, size_t err_size)
{
    const struct disk_state *state = disk_state(log->disk);
    struct snapshots *s = &log->snapshots;
    log->applied_index = log->config.applied;
    if (!state->has_snapshot) {
        return 0;
    }
    if (!own_manifest_set(&s->newest, &state->snapshot)) {
        return complain(err, err_size, ASSENT_NOMEM, "out of memory");
    }
    if (log->applied_index >= s->newest.m.index) {
        return 0;
    }
    struct raftlog_snapshot snapshot;
    uint32_t crc;
    uint64_t size;
    snapshot_describe(log, &s->newest.m, &snapshot);
    int rv = snapshot_checksum(snapshot.path, &crc, &size);
    if (rv != 0 || crc != s->newest.m.crc || size != s->newest.m.size) {
        return complain(err, err_size, ASSENT_CORRUPT,
                        "snapshot %s is %s; wipe this node and add it to the cluster as a new one",
                        snapshot.path,
                        rv != 0 ? "missing or unreadable" : "damaged (its checksum does not match)");
    }
    rv = log->app.restore(log->app.data, &snapshot);
    if (rv != 0) {
        return complain(
            err, err_size, ASSENT_CORRUPT,
            "snapshot %s could not be restored (%s); wipe this node and add it to the cluster as a new one",
            snapshot.path, assent_error_name(rv));
    }
    log->applied_index = s->newest.m.index;
    return 0;
}

struct loading {
    struct raftlog *log;
    struct entry **entries;
    uint32_t n, capacity;
};

static int on_entry(void *data, struct entry *entry)
{
    struct loading *l = data;
    if (l->n == l->capacity) {
        uint32_t capacity = l->capacity == 0 ? 4096 : 2 * l->capacity;
        struct entry **grown = realloc(l->entries, capacity * sizeof(struct entry *));
        if (grown == NULL) {
            entry_unref(entry);
            return ASSENT_NOMEM;
        }
        l->entries = grown;
        l->capacity = capacity;
    }
    l->entries[l->n++] = entry;
    return 0;
}

/* Entries that were applied before the stop count towards the next snapshot; the others will be counted when
 * they are applied. */
static void count_loaded(struct raftlog *log, const struct loading *l)
{
    struct snapshots *s = &log->snapshots;
    for (uint32_t i = 0; i < l->n; i++) {
        if (l->entries[i]->index > s->newest.m.index && l->entries[i]->index <= log->applied_index) {
            snapshots_applied(log, l->entries[i]);
        }
    }
}

static int start_core(struct raftlog *log, char *err, size_t err_size)
{
    const struct disk_state *state = disk_state(log->disk);
    struct loading l = {.log = log};
    int rv = disk_load(log->disk, on_entry, &l, err, err_size);
    const uint64_t base = log->snapshots.newest.m.index;
    const uint64_t last = l.n > 0 ? l.entries[l.n - 1]->index : base;
    if (rv == 0 && log->applied_index > (last > base ? last : base)) {
        rv = complain(err, err_size, ASSENT_CORRUPT,
                      "the application has applied entry %" PRIu64 ", but the log ends at %" PRIu64
                      ": remove the application's state (it is rebuilt from snapshot and log)",
                      log->applied_index, last);
    }
    if (rv == 0) {
        struct snapshot_manifest *snapshot = state->has_snapshot ? &log->snapshots.newest.m : NULL;
        count_loaded(log, &l);
        rv = core_start(log->core, log_now_ms(), state->term, state->vote, snapshot,
                        l.n > 0 ? l.entries[0]->index : base + 1, l.entries, l.n, log->applied_index);
        if (rv != 0) {
            complain(err, err_size, rv, "the log could not be started (%s)", assent_error_name(rv));
        }
    }
    for (uint32_t i = 0; i < l.n; i++) {
        entry_unref(l.entries[i]);
    }
    free(l.entries);
    return rv;
}

/* ---- open ---- */

static bool copy_config(struct raftlog *log, const struct raftlog_config *config)
{
    log->config = *config;
    log->dir = strdup(config->dir);
    log->cluster_name = strdup(config->cluster_name != NULL ? config->cluster_name : "");
    log->listen = strdup(config->listen);
    log->address = strdup(own_address(config));
    log->advert = malloc(config->advert.size + 1);
    if (log->dir == NULL || log->cluster_name == NULL || log->listen == NULL || log->address == NULL ||
        log->advert == NULL) {
        return false;
    }
    if (config->advert.size > 0) {
        memcpy(log->advert, config->advert.base, config->advert.size);
    }
    log->config.dir = log->dir;
    log->config.cluster_name = log->cluster_name;
    log->config.listen = log->listen;
    log->config.advert.base = log->advert;
    if (log->config.seed == 0 && getrandom(&log->config.seed, sizeof log->config.seed, GRND_NONBLOCK) < 0) {
        log->config.seed = uv_hrtime() ^ config->id << 32;
    }
    return true;
}

static int open_disk(struct raftlog *log, char *err, size_t err_size)
{
    struct disk_config c = {.dir = log->dir,
                            .map_bytes = log->config.disk_map_bytes,
                            .presize_bytes = log->config.disk_presize_bytes,
                            .fail_commit_at = log->config.fail_commit_at,
                            .fail_errno = log->config.fail_errno};
    int rv = disk_open(&log->disk, &c, err, err_size);
    if (rv != 0) {
        return rv;
    }
    log->disk_open = true;
    rv = identify(log, err, err_size);
    log->config.servers = NULL; /* the caller's; from here on the log knows */
    if (rv == 0) {
        log->cluster_id = disk_state(log->disk)->cluster_id;
        log->incarnation = disk_state(log->disk)->incarnation;
        log_cluster_known(log);
        rv = snapshot_dir_open(&log->snapshots.dir, log->dir, err, err_size);
    }
    return rv;
}

static int open_transport(struct raftlog *log, char *err, size_t err_size)
{
    struct transport_callbacks callbacks;
    struct transport_config c = {.id = log->config.id,
                                 .cluster_id = log->cluster_id,
                                 .incarnation = log->incarnation,
                                 .listen = log->listen,
                                 .advertise = log->address,
                                 .advert = log->config.advert};
    log_transport_callbacks(log, &callbacks);
    int rv = transport_open(&log->transport, log->loop, &c, &callbacks, err, err_size);
    log->transport_open = rv == 0;
    return rv;
}

static int make_core(struct raftlog *log, char *err, size_t err_size)
{
    const struct raftlog_config *c = &log->config;
    struct core_config config = {.id = c->id,
                                 .address = log->address,
                                 .heartbeat_ms = c->heartbeat_ms,
                                 .election_ms = c->election_ms,
                                 .inflight_entries = c->inflight_entries,
                                 .uncommitted_entries_max = 4 * (uint64_t)c->inflight_entries,
                                 .pre_vote = true,
                                 .seed = (uint32_t)(c->seed ^ c->seed >> 32),
                                 .trailing = c->snapshot_trailing,
                                 .trailing_bytes = c->snapshot_log_bytes / 4};
    struct core_io io = log_core_io(log);
    int rv = core_new(&log->core, &config, &io);
    return rv == 0 ? 0
                   : complain(err, err_size, rv, "the consensus core could not be made (%s)",
                              assent_error_name(rv));
}

/* Start in the order of dependence: what the core does at its start already goes to disk and peers. */
static int start(struct raftlog *log, char *err, size_t err_size)
{
    struct disk_callbacks callbacks;
    int rv = open_disk(log, err, err_size);
    if (rv == 0) {
        rv = restore_newest(log, err, err_size);
    }
    if (rv == 0) {
        rv = make_core(log, err, err_size);
    }
    if (rv == 0) {
        rv = open_transport(log, err, err_size);
    }
    if (rv == 0) {
        log_disk_callbacks(log, &callbacks);
        rv = disk_start(log->disk, log->loop, &callbacks);
        log->disk_started = rv == 0;
        if (rv != 0) {
            complain(err, err_size, rv, "the log's writer could not be started (%s)", assent_error_name(rv));
        }
    }
    return rv == 0 ? start_core(log, err, err_size) : rv;
}

static void on_failed_open_closed(void *data)
{
    (void)data;
}

int raftlog_open(struct raftlog **out, uv_loop_t *loop, const struct raftlog_config *config,
                 const struct raftlog_app *app, char *err, size_t err_size)
{
    if (err_size > 0) {
        err[0] = '\0';
    }
    int rv = check_config(config, err, err_size);
    if (rv != 0) {
        return rv;
    }
    struct raftlog *log = calloc(1, sizeof *log);
    if (log == NULL || proposals_init(&log->proposals) != 0 || !copy_config(log, config)) {
        if (log != NULL) {
            log_free(log);
        }
        return complain(err, err_size, ASSENT_NOMEM, "out of memory");
    }
    log->loop = loop;
    log->app = *app;
    log->role = RAFTLOG_FOLLOWER;
    rv = start(log, err, err_size);
    log_begin(log);
    if (rv != 0) {
        log->stopped = true;
        log->broken_told = true;
        if (log->disk_open && !log->disk_started) {
            log->disk_open = false;
            disk_close(log->disk, NULL, NULL); /* at once: another open may follow */
        }
        raftlog_close(log, on_failed_open_closed, NULL); /* the rest ends with the loop's next turns */
        return rv;
    }
    *out = log;
    return 0;
}

/* ---- recovery ---- */

int raftlog_recover(const char *dir, uint64_t id, const char *address, char *err, size_t err_size)
{
    struct raftlog_server self = {.id = id, .voter = true};
    struct disk_config c = {.dir = dir};
    struct disk *disk;
    struct raft_buffer encoded;
    if (id == 0 || strlen(address) >= sizeof self.address) {
        return complain(err, err_size, ASSENT_INVALID, "the node id or address is not usable");
    }
    snprintf(self.address, sizeof self.address, "%s", address);
    int rv = disk_open(&disk, &c, err, err_size);
    if (rv != 0) {
        return rv;
    }
    const struct disk_state *state = disk_state(disk);
    if (state->pristine) {
        rv = complain(err, err_size, ASSENT_NOT_FOUND, "%s holds no log to recover from", dir);
    } else if (state->node_id != id) {
        rv = complain(err, err_size, ASSENT_FOREIGN, "%s belongs to node %" PRIu64 ", not to node %" PRIu64,
                      dir, state->node_id, id);
    } else if (encode_servers(&self, 1, &encoded) != 0) {
        rv = complain(err, err_size, ASSENT_NOMEM, "out of memory");
    } else {
        struct assent_bytes configuration = {encoded.base, encoded.len};
        rv = configuration_bytes_valid(configuration)
                 ? disk_recover(disk, id, configuration, err, err_size)
                 : complain(err, err_size, ASSENT_INVALID, "the address must be host:port");
        raft_free(encoded.base);
    }
    disk_close(disk, NULL, NULL);
    return rv;
}

/* ---- restoring a back-up ---- */

/* Incarnation of a restored cluster: not 1, because its cluster id says more than name and servers. */
#define RESTORED_INCARNATION 2

/* The new cluster's number: its name and servers, as for one that begins empty, and what it begins with. */
static uint64_t restored_digest(const struct raftlog_restore *r, const struct raftlog_server *sorted)
{
    const uint64_t image[] = {r->snapshot.index, r->snapshot.term, r->snapshot.size, r->snapshot.digest};
    uint64_t hash = cluster_digest(r->cluster_name, sorted, r->servers_n);
    for (size_t i = 0; i < sizeof image / sizeof image[0]; i++) {
        uint8_t bytes[8];
        for (unsigned b = 0; b < 8; b++) {
            bytes[b] = (uint8_t)(image[i] >> (8 * b));
        }
        hash = fnv1a(hash, bytes, sizeof bytes);
    }
    return hash != 0 ? hash : 1;
}

static int import_image(const struct raftlog_restore *r, char *err, size_t err_size)
{
    const struct raftlog_snapshot *s = &r->snapshot;
    struct snapshot_dir dir = {0};
    uint32_t crc;
    uint64_t size;
    int rv = snapshot_dir_open(&dir, r->dir, err, err_size);
    if (rv != 0) {
        return rv;
    }
    rv = snapshot_import(&dir, r->file, r->offset, s->index, s->term, &crc, &size);
    if (rv != 0) {
        return complain(err, err_size, rv, "%s could not be copied to %s: %s", r->file, r->dir,
                        assent_error_sentence(rv));
    }
    if (crc != s->crc || size != s->size) {
        return complain(err, err_size, ASSENT_CORRUPT, "%s does not match its checksum", r->file);
    }
    return 0;
}

static int restore_into(struct disk *disk, const struct raftlog_restore *r, char *err, size_t err_size)
{
    struct raftlog_server sorted[ASSENT_NODES_MAX];
    struct raft_buffer encoded;
    memcpy(sorted, r->servers, r->servers_n * sizeof sorted[0]);
    qsort(sorted, r->servers_n, sizeof sorted[0], by_id);
    if (!disk_state(disk)->pristine) {
        return complain(err, err_size, ASSENT_CONFLICT, "%s holds the log of a node already", r->dir);
    }
    if (encode_servers(sorted, r->servers_n, &encoded) != 0) {
        return complain(err, err_size, ASSENT_INVALID, "the members repeat an id or an address");
    }
    struct snapshot_manifest m = {.index = r->snapshot.index,
                                  .term = r->snapshot.term,
                                  .configuration_index = r->snapshot.index,
                                  .configuration = {encoded.base, encoded.len},
                                  .size = r->snapshot.size,
                                  .digest = r->snapshot.digest,
                                  .crc = r->snapshot.crc,
                                  .chunk_size = 1 << 20};
    int rv = configuration_bytes_valid(m.configuration)
                 ? import_image(r, err, err_size)
                 : complain(err, err_size, ASSENT_INVALID,
                            "the members need at least one voter and addresses as host:port");
    if (rv == 0) {
        rv = disk_restore(disk, restored_digest(r, sorted), r->id, RESTORED_INCARNATION, &m, err, err_size);
    }
    raft_free(encoded.base);
    return rv;
}

int raftlog_restore(const struct raftlog_restore *r, char *err, size_t err_size)
{
    struct disk_config c = {.dir = r->dir};
    struct disk *disk;
    bool member = false;
    for (uint32_t i = 0; i < r->servers_n && i < ASSENT_NODES_MAX; i++) {
        member = member || r->servers[i].id == r->id;
    }
    if (r->id == 0 || !member || r->servers_n > ASSENT_NODES_MAX) {
        return complain(err, err_size, ASSENT_INVALID, "node %" PRIu64 " is not among the members", r->id);
    }
    if (r->snapshot.index == 0 || r->snapshot.index > MESSAGE_INDEX_MAX || r->snapshot.term == 0) {
        return complain(err, err_size, ASSENT_INVALID, "an image needs an index and a term");
    }
    int rv = disk_open(&disk, &c, err, err_size);
    if (rv == 0) {
        rv = restore_into(disk, r, err, err_size);
        disk_close(disk, NULL, NULL);
    }
    return rv;
}
