/* Both ends of the core: what it wants done goes to disk, peers and the queue of effects; what disk and peers
 * say goes into it. */
#include <assert.h>
#include <string.h>

#include "raftlog_private.h"

/* ---- what the core wants done ---- */

static int io_persist_vote(void *data, uint64_t term, uint64_t vote)
{
    struct raftlog *log = data;
    return disk_persist_vote(log->disk, term, vote);
}

static void io_append(void *data, uint64_t first, struct entry *const *entries, uint32_t n)
{
    struct raftlog *log = data;
    for (uint32_t i = 0; i < n; i++) {
        log->metrics.bytes_appended += entries[i]->size;
    }
    log->metrics.entries_appended += n;
    disk_append(log->disk, first, entries, n);
}

static void io_install(void *data, const struct snapshot_manifest *manifest)
{
    snapshots_install(data, manifest);
}

static void io_compact(void *data, uint64_t index)
{
    struct raftlog *log = data;
    disk_compact(log->disk, index);
}

static bool is_server(const struct raftlog *log, uint64_t id)
{
    for (uint32_t i = 0; i < log->servers_n; i++) {
        if (log->servers[i] == id) {
            return true;
        }
    }
    return false;
}

static void send_one(struct raftlog *log, uint64_t to, const char *address, const struct message *m)
{
    int rv = transport_send(log->transport, to, m);
    /* A node that does not know the cluster yet answers the leader that found it. */
    if (rv == ASSENT_UNREACHABLE && address != NULL && address[0] != '\0' && !is_server(log, to)) {
        transport_connect(log->transport, to, address);
    }
}

/* An AppendEntries of many large entries travels as several: to the follower they are consecutive messages.
 */
static void send_append(struct raftlog *log, uint64_t to, const char *address, const struct message *m)
{
    const struct raft_append_entries *whole = &m->raft.raft.append_entries;
    struct message part = *m;
    struct raft_append_entries *a = &part.raft.raft.append_entries;
    uint32_t done = 0;
    do {
        size_t bytes = 0;
        uint32_t n = 0;
        while (done + n < whole->n_entries && n < MESSAGE_ENTRIES_MAX &&
               (n == 0 || bytes + m->raft.entries[done + n]->size <= MESSAGE_APPEND_BYTES_TARGET)) {
            bytes += m->raft.entries[done + n]->size;
            n++;
        }
        if (done > 0) {
            a->prev_log_index = m->raft.entries[done - 1]->index;
            a->prev_log_term = m->raft.entries[done - 1]->term;
        }
        a->n_entries = n;
        part.raft.entries = m->raft.entries + done;
        send_one(log, to, address, &part);
        done += n;
    } while (done < whole->n_entries);
}

static void io_send(void *data, uint64_t to, const char *address, const struct message *m)
{
    struct raftlog *log = data;
    if (!log->transport_open) {
        return;
    }
    if (m->type == MESSAGE_RAFT && m->raft.raft.type == RAFT_APPEND_ENTRIES) {
        send_append(log, to, address, m);
    } else {
        send_one(log, to, address, m);
    }
}

static void io_stage(void *data, uint64_t from, const struct snapshot_manifest *manifest)
{
    snapshots_stage(data, from, manifest);
}

static bool io_newest_snapshot(void *data, struct snapshot_manifest *out)
{
    struct raftlog *log = data;
    if (log->snapshots.newest.present) {
        *out = log->snapshots.newest.m;
    }
    return log->snapshots.newest.present;
}

static void io_apply(void *data, struct entry *const *entries, uint32_t n)
{
    effects_add_entries(data, entries, n);
}

static bool io_apply_room(void *data)
{
    return effects_room(data);
}

static bool io_admit(void *data, const struct entry *entry)
{
    return apply_admits(data, entry);
}

static void io_servers(void *data, const struct raft_configuration *configuration)
{
    struct raftlog *log = data;
    uint64_t before[ASSENT_NODES_MAX];
    uint32_t before_n = log->servers_n;
    memcpy(before, log->servers, sizeof before);
    assert(configuration->n <= ASSENT_NODES_MAX);
    log->servers_n = 0;
    for (unsigned i = 0; i < configuration->n; i++) {
        const struct raft_server *s = &configuration->servers[i];
        log->servers[log->servers_n++] = s->id;
        if (s->id != log->config.id && log->transport_open) {
            transport_connect(log->transport, s->id, s->address);
        }
    }
    for (uint32_t i = 0; i < before_n && log->transport_open; i++) {
        if (!is_server(log, before[i])) {
            transport_disconnect(log->transport, before[i]);
        }
    }
}

static void io_role(void *data, enum raftlog_role role, uint64_t term, uint64_t leader, bool ready)
{
    struct effect *e = effect_add(data, EFFECT_ROLE);
    e->role.role = role;
    e->role.term = term;
    e->role.leader = leader;
    e->role.ready = ready;
}

static void io_read_done(void *data, uint64_t read_id, int status, uint64_t index, uint64_t term, bool local)
{
    struct effect *e = effect_add(data, EFFECT_READ);
    e->status = status;
    e->read.group = read_id;
    e->read.index = index;
    e->read.term = term;
    e->read.local = local;
}

static void io_member_done(void *data, uint64_t member_id, int status, const char *detail)
{
    struct effect *e = effect_add(data, EFFECT_MEMBER);
    e->status = status;
    e->member.id = member_id;
    e->member.detail = detail != NULL ? strdup(detail) : NULL;
}

static void io_event(void *data, int level, const char *event, const char *details)
{
    struct raftlog *log = data;
    log->app.event(log->app.data, level, event, details);
}

struct core_io log_core_io(struct raftlog *log)
{
    return (struct core_io){.data = log,
                            .persist_vote = io_persist_vote,
                            .append = io_append,
                            .install = io_install,
                            .compact = io_compact,
                            .send = io_send,
                            .stage = io_stage,
                            .newest_snapshot = io_newest_snapshot,
                            .apply = io_apply,
                            .apply_room = io_apply_room,
                            .admit = io_admit,
                            .servers = io_servers,
                            .role = io_role,
                            .read_done = io_read_done,
                            .member_done = io_member_done,
                            .event = io_event};
}

/* ---- what the disk tells ---- */

static void on_appended(void *data, uint64_t index, uint64_t term)
{
    struct raftlog *log = data;
    if (!log->stopped) {
        log_check(log, core_appended(log->core, log_now_ms(), index, term));
    }
}

static void on_installed(void *data)
{
    struct raftlog *log = data;
    if (!log->stopped) {
        snapshots_log_replaced(log);
    }
}

static void on_recorded(void *data)
{
    struct raftlog *log = data;
    if (!log->stopped) {
        snapshots_recorded(log);
    }
}

static void on_disk_failed(void *data, int error, const char *what)
{
    struct raftlog *log = data;
    log_event(log, 3, "disk_failed", "what=\"%s\" errno=%d", what, error);
    log_break(log, "%s; nothing more is written, because a later sync may lie: repair the disk, then restart",
              what);
}

static void on_commit_us(void *data, uint64_t us, uint32_t entries, uint64_t bytes)
{
    struct raftlog *log = data;
    (void)entries;
    (void)bytes;
    log_histogram(&log->metrics.disk_commit, us);
    log->metrics.disk_commits++;
}

void log_disk_callbacks(struct raftlog *log, struct disk_callbacks *out)
{
    *out = (struct disk_callbacks){.data = log,
                                   .appended = on_appended,
                                   .installed = on_installed,
                                   .recorded = on_recorded,
                                   .failed = on_disk_failed,
                                   .commit_us = on_commit_us};
}

/* ---- what peers say ---- */

static void on_message(void *data, const struct message *m, const char *address)
{
    struct raftlog *log = data;
    if (log->stopped) {
        return;
    }
    switch (m->type) {
    case MESSAGE_RAFT:
    case MESSAGE_PROBE:
    case MESSAGE_PROBE_ACK:
    case MESSAGE_READ_INDEX:
    case MESSAGE_READ_INDEX_ACK:
        log_check(log, core_receive(log->core, log_now_ms(), m, address));
        break;
    case MESSAGE_PULL:
        snapshots_serve(log, m);
        break;
    case MESSAGE_CHUNK:
        snapshots_chunk(log, m);
        break;
    case MESSAGE_POST:
        log->app.post(log->app.data, m->from, m->post);
        break;
    case MESSAGE_HELLO:
    case MESSAGE_TYPE_END:
        break;
    }
}

void log_cluster_known(struct raftlog *log)
{
    if (log->cluster_id != 0 && log->app.cluster != NULL) {
        log->app.cluster(log->app.data, log->cluster_id);
    }
}

static int on_adopt(void *data, uint64_t cluster_id, uint64_t incarnation)
{
    struct raftlog *log = data;
    if (log->stopped) {
        return ASSENT_STOPPED;
    }
    int rv = disk_adopt(log->disk, cluster_id, incarnation);
    if (rv == 0) {
        log->cluster_id = cluster_id;
        log->incarnation = incarnation;
        log_cluster_known(log);
        log_event(log, 1, "cluster_joined", "cluster=%016llx incarnation=%llu",
                  (unsigned long long)cluster_id, (unsigned long long)incarnation);
    }
    return rv;
}

static void on_link(void *data, uint64_t id, bool up)
{
    (void)data; /* the transport has logged it; a pull in progress asks again by itself */
    (void)id;
    (void)up;
}

void log_transport_callbacks(struct raftlog *log, struct transport_callbacks *out)
{
    *out = (struct transport_callbacks){
        .data = log, .message = on_message, .adopt = on_adopt, .link = on_link, .event = io_event};
}
